#include "devices/host/unix_socket.h"

#include "devices/host/unix_address.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void unix_socket_remove_stale(const struct sockaddr_un *address)
{
    struct stat status;

    if (lstat(address->sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
        return;
    /* Nonblocking: a connection to a listener that is busy would wait. */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED)
        (void)unlink(address->sun_path);
    close(fd);
}

static int listen_on(int fd, const struct sockaddr_un *where, const char *address, const char *what, int backlog,
                     struct error *error)
{
    /* bind(2) gives the socket's name the mode that the socket has: there is no moment when others could connect. */
    if (fchmod(fd, S_IRUSR | S_IWUSR) < 0)
        return error_set(error, ERROR_HOST, "the host gave no socket: %s", strerror(errno));
    unix_socket_remove_stale(where);
    if (bind(fd, (const struct sockaddr *)where, sizeof(*where)) < 0) {
        const int why = errno;
        return error_set(error, ERROR_CONFIG, "%s: %s cannot be made: %s%s", address, what, strerror(why),
                         why == EADDRINUSE ? "; end what uses it, or choose another" : "; choose another path");
    }
    if (listen(fd, backlog) == 0)
        return 0;
    error_set(error, ERROR_HOST, "%s: %s cannot be listened on: %s", address, what, strerror(errno));
    (void)unlink(where->sun_path);
    return -1;
}

int unix_socket_listen(const char *address, const char *what, int backlog, struct error *error)
{
    struct sockaddr_un where;

    if (unix_address_fill(address, &where, error) < 0)
        return -1;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(error, ERROR_HOST, "the host gave no socket: %s", strerror(errno));
    if (listen_on(fd, &where, address, what, backlog, error) == 0)
        return fd;
    close(fd);
    return -1;
}

static void fail_connect(const char *address, const char *key, int why, struct error *error)
{
    if (why == EACCES || why == EPERM)
        error_set(error, ERROR_HOST,
                  "%s: no machine can be reached there: %s; only the user who runs the machine may; is that you?",
                  address, strerror(why));
    else
        error_set(error, ERROR_HOST,
                  "%s: no machine can be reached there: %s; is the machine running, and is this the %s of its file?",
                  address, strerror(why), key);
}

int unix_socket_connect(const char *address, const char *key, bool waits, struct error *error)
{
    struct sockaddr_un where;

    if (unix_address_fill(address, &where, error) < 0) {
        errno = EINVAL;
        return -1;
    }
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (waits ? 0 : SOCK_NONBLOCK), 0);
    if (fd < 0)
        return error_set(error, ERROR_HOST, "the host gave no socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&where, sizeof(where)) == 0)
        return fd;
    const int why = errno;
    close(fd);
    fail_connect(address, key, why, error);
    errno = why;
    return -1;
}
