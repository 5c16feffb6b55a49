#include "vmm/agent/guest/guest.h"

#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_SIZE = 4096 };

static void mount_at(const char *path, const char *type)
{
    (void)mkdir(path, 0755);
    (void)mount(type, path, type, 0, NULL);
}

static void set_loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return;
    (void)ioctl(fd, SIOCSIFFLAGS, &request);
    close(fd);
}

/* The modules that the devices present ask for; a second time for the devices behind a virtio transport. */
static void load_modules(void)
{
    static const char script[] = "for i in 1 2; do cat /sys/bus/*/devices/*/modalias | sort -u | xargs modprobe -a -q; "
                                 "done >/dev/null 2>&1";
    pid_t pid;

    if (access("/lib/modules", F_OK) != 0 || access("/bin/sh", X_OK) != 0)
        return;
    pid = fork();
    if (pid == 0) {
        setenv("PATH", "/sbin:/bin:/usr/sbin:/usr/bin", 1);
        execl("/bin/sh", "sh", "-c", script, (char *)NULL);
        _exit(127);
    }
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
}

static void open_console(void)
{
    int fd = open("/dev/console", O_RDWR | O_NOCTTY);

    if (fd < 0)
        return;
    for (int i = 0; i <= STDERR_FILENO; i++)
        (void)dup2(fd, i);
    if (fd > STDERR_FILENO)
        close(fd);
}

void init_set_up(void)
{
    mount_at("/proc", "proc");
    mount_at("/sys", "sysfs");
    mount_at("/dev", "devtmpfs");
    mount_at("/dev/pts", "devpts");
    mount_at("/run", "tmpfs");
    mount_at("/tmp", "tmpfs");
    (void)chmod("/tmp", 01777);
    open_console();
    (void)setenv("HOME", "/root", 1);
    (void)mkdir("/root", 0700);
    if (chdir("/root") < 0 && chdir("/") < 0)
        return;
    set_loopback_up();
    load_modules();
}

const char *init_word(const char *name)
{
    static char line[LINE_SIZE];
    const size_t length = strlen(name);
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd >= 0 ? read(fd, line, sizeof(line) - 1) : -1;

    if (fd >= 0)
        close(fd);
    if (got <= 0)
        return NULL;
    line[got] = '\0';
    for (char *at = line; (at = strstr(at, name)) != NULL; at += length) {
        if ((at > line && at[-1] != ' ') || at[length] != '=')
            continue;
        char *value = at + length + 1;
        const bool is_quoted = *value == '"';
        value += is_quoted;
        value[strcspn(value, is_quoted ? "\"\n" : " \n")] = '\0';
        return value;
    }
    return NULL;
}

void power(enum agent_power what)
{
    sync();
    (void)reboot(what == AGENT_POWER_OFF ? RB_POWER_OFF : RB_AUTOBOOT);
}
