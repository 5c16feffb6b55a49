#include "vmm/agent/guest/guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* Without udev, nobody makes links in /dev/virtio-ports: the names are in sysfs. */
static int open_by_name(void)
{
    static const char folder[] = "/sys/class/virtio-ports";
    DIR *ports = opendir(folder);
    const struct dirent *entry;
    int fd = -1;

    while (ports != NULL && fd < 0 && (entry = readdir(ports)) != NULL) {
        char path[512];
        char name[64] = "";
        (void)snprintf(path, sizeof(path), "%s/%s/name", folder, entry->d_name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0)
            continue;
        const ssize_t got = read(file, name, sizeof(name) - 1);
        close(file);
        if (got <= 0)
            continue;
        name[strcspn(name, "\n")] = '\0';
        if (strcmp(name, AGENT_PORT_NAME) != 0)
            continue;
        (void)snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    if (ports != NULL)
        closedir(ports);
    return fd;
}

/* -1 where there is no such port: its file is there nevertheless. */
static int open_serial(void)
{
    struct termios settings;
    int fd = open("/dev/ttyS1", O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    if (tcgetattr(fd, &settings) < 0) {
        close(fd);
        return -1;
    }
    cfmakeraw(&settings);
    /* The line has no speed; but the kernel reckons with one when it waits. CRTSCTS: nothing is lost that waits here.
     */
    settings.c_cflag |= CLOCAL | CREAD | CRTSCTS;
    settings.c_cc[VMIN] = 1;
    settings.c_cc[VTIME] = 0;
    cfsetspeed(&settings, B115200);
    if (tcsetattr(fd, TCSANOW, &settings) == 0)
        return fd;
    close(fd);
    return -1;
}

int port_open(void)
{
    int fd = open("/dev/virtio-ports/" AGENT_PORT_NAME, O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        fd = open_by_name();
    return fd < 0 ? open_serial() : fd;
}
