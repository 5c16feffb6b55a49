#include "server_rig.h"

#include "scratch_folder.h"
#include "unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct event_loop *rig_loop;
struct log rig_log = {.level = LOG_LEVEL_INFO};
char rig_path[80];

static struct error error;
static unsigned turns_left;

void rig_make(void)
{
    scratch_folder_make();
    (void)snprintf(rig_path, sizeof(rig_path), "%s/socket", scratch_folder);
    rig_log.fd = open(scratch_folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    ck_assert_int_ge(rig_log.fd, 0);
    rig_loop = event_loop_create(&error);
    ck_assert_ptr_nonnull(rig_loop);
}

void rig_end(void)
{
    event_loop_destroy(rig_loop);
    close(rig_log.fd);
    ck_assert_int_eq(rmdir(scratch_folder), 0);
}

static int count_turn(void *context)
{
    (void)context;
    if (turns_left == 0 || --turns_left == 0)
        event_loop_stop(rig_loop);
    return 0;
}

void rig_turn(unsigned turns)
{
    struct event_hook hook = {.prepare = count_turn};

    turns_left = turns;
    event_loop_add_hook(rig_loop, &hook);
    ck_assert_int_eq(event_loop_run(rig_loop, &error), 0);
    event_loop_remove_hook(rig_loop, &hook);
}

int rig_enter(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ck_assert_int_ge(fd, 0);
    strcpy(name.sun_path, rig_path);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
    rig_turn(RIG_TURNS);
    return fd;
}

void rig_leave(int fd)
{
    close(fd);
    rig_turn(RIG_TURNS);
}

void rig_say(int fd, const char *text)
{
    rig_say_bytes(fd, text, strlen(text));
}

void rig_say_bytes(int fd, const char *bytes, size_t size)
{
    ck_assert_int_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
    rig_turn(RIG_TURNS);
}

const char *rig_hear(int fd)
{
    static char text[8192];
    const ssize_t got = recv(fd, text, sizeof(text) - 1, 0);

    if (got < 0 && errno == ECONNRESET)
        return "";
    if (got < 0)
        return NULL;
    text[got] = '\0';
    return text;
}

bool rig_log_says(const char *text)
{
    static char all[16384];
    const ssize_t got = pread(rig_log.fd, all, sizeof(all) - 1, 0);

    ck_assert_int_ge(got, 0);
    all[got] = '\0';
    return strstr(all, text) != NULL;
}
