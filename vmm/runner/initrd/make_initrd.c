/*
 * Makes the initial RAM disk of 'quire test --kernel', at build time: a cpio archive with quire-agent as /init and, if
 * there is one to give it, busybox as the shell. The same files give the same bytes: there is no time in it, no user,
 * and no order but the one below. It needs no root, for the devices in it are only written about.
 */
#include "vmm/runner/initrd/cpio.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char usage[] = "usage: make-initrd OUT AGENT [BUSYBOX APPLETS]\n"
                            "\n"
                            "AGENT becomes /init. BUSYBOX is a static program, and APPLETS what its --list prints.\n";

struct archive {
    struct cpio cpio;
    const char *path;
};

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    va_list arguments;

    fputs("make-initrd: ", stderr);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void add(struct archive *archive, const struct cpio_entry *entry)
{
    if (!cpio_add(&archive->cpio, entry))
        fail("%s: %s: %s", archive->path, entry->name, strerror(errno));
}

static void add_link(struct archive *archive, const char *name, const char *target)
{
    add(archive, &(struct cpio_entry){.name = name, .mode = S_IFLNK | 0777, .bytes = target, .size = strlen(target)});
}

static char *read_file(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "re");
    char *bytes = NULL;
    size_t size = 0, room = 0, got;

    if (file == NULL)
        fail("%s: %s", path, strerror(errno));
    do {
        if (size == room) {
            room = room == 0 ? 1 << 20 : room * 2;
            bytes = realloc(bytes, room + 1);
            if (bytes == NULL)
                fail("out of memory");
        }
        got = fread(bytes + size, 1, room - size, file);
        size += got;
    } while (got > 0);
    if (ferror(file))
        fail("%s: %s", path, strerror(errno));
    (void)fclose(file);
    bytes[size] = '\0';
    *ret_size = size;
    return bytes;
}

static void add_program(struct archive *archive, const char *name, const char *path)
{
    size_t size;
    char *bytes = read_file(path, &size);

    add(archive, &(struct cpio_entry){.name = name, .mode = S_IFREG | 0755, .bytes = bytes, .size = size});
    free(bytes);
}

/* ---- What is in it ---- */

static const struct {
    const char *name;
    uint32_t mode;
} folders[] = {
    {"bin", 0755},  {"dev", 0755},  {"dev/pts", 0755}, {"dev/shm", 01777}, {"etc", 0755},  {"lib", 0755},
    {"proc", 0555}, {"root", 0700}, {"run", 0755},     {"sys", 0555},      {"tmp", 01777}, {"usr", 0755},
};

/* For kernels without devtmpfs; numbers as in Documentation/admin-guide/devices.txt. */
static const struct {
    const char *name;
    uint32_t mode;
    unsigned major, minor;
} devices[] = {
    {"dev/console", 0600, 5, 1}, {"dev/full", 0666, 1, 7},    {"dev/kmsg", 0644, 1, 11}, {"dev/null", 0666, 1, 3},
    {"dev/ptmx", 0666, 5, 2},    {"dev/random", 0666, 1, 8},  {"dev/tty", 0666, 5, 0},   {"dev/ttyS0", 0660, 4, 64},
    {"dev/ttyS1", 0660, 4, 65},  {"dev/urandom", 0666, 1, 9}, {"dev/zero", 0666, 1, 5},
};

static const struct {
    const char *name, *text;
} files[] = {
    {"etc/group", "root:x:0:\nnogroup:x:65534:\n"},
    {"etc/hosts", "127.0.0.1 localhost\n"},
    {"etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
};

/* The kernel asks for /sbin/modprobe, and scripts for /usr/bin/env. */
static const struct {
    const char *name, *target;
} links[] = {{"sbin", "bin"}, {"usr/bin", "../bin"}, {"usr/sbin", "../bin"}};

static void add_system(struct archive *archive)
{
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        add(archive, &(struct cpio_entry){.name = folders[i].name, .mode = S_IFDIR | folders[i].mode});
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
        add(archive, &(struct cpio_entry){.name = devices[i].name,
                                          .mode = S_IFCHR | devices[i].mode,
                                          .major = devices[i].major,
                                          .minor = devices[i].minor});
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        add(archive,
            &(struct cpio_entry){
                .name = files[i].name, .mode = S_IFREG | 0644, .bytes = files[i].text, .size = strlen(files[i].text)});
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        add_link(archive, links[i].name, links[i].target);
}

static void add_busybox(struct archive *archive, const char *program, const char *list_path)
{
    size_t size;
    char *list = read_file(list_path, &size);
    char *rest = list;
    char name[128];

    add_program(archive, "bin/busybox", program);
    for (char *applet; (applet = strsep(&rest, "\n")) != NULL;) {
        if (*applet == '\0' || strcmp(applet, "busybox") == 0)
            continue;
        if (strchr(applet, '/') != NULL || strlen(applet) > sizeof(name) - sizeof("bin/"))
            fail("%s: %s is no applet's name", list_path, applet);
        (void)snprintf(name, sizeof(name), "bin/%s", applet);
        add_link(archive, name, "busybox");
    }
    free(list);
}

int main(int argc, char *argv[])
{
    if (argc != 3 && argc != 5) {
        fputs(usage, stderr);
        return 2;
    }
    struct archive archive = {.path = argv[1], .cpio.out = fopen(argv[1], "we")};
    if (archive.cpio.out == NULL)
        fail("%s: %s", argv[1], strerror(errno));
    add_system(&archive);
    add_program(&archive, "init", argv[2]);
    if (argc == 5)
        add_busybox(&archive, argv[3], argv[4]);
    if (!cpio_end(&archive.cpio) || fclose(archive.cpio.out) != 0)
        fail("%s: %s", argv[1], strerror(errno));
    return 0;
}
