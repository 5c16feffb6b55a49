/* A file that output goes to, or nothing at all: no input. */
#include "vmm/console/char_end.h"

#include <fcntl.h>

static int open_file(struct char_host *host, const char *path, struct error *error)
{
    /* O_NONBLOCK for what is not a regular file: a device, or a FIFO, which has to have a reader. */
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);

    if (fd < 0)
        return char_host_path_failed(error, "it cannot be written", path);
    host->output_watch.fd = fd;
    char_output_connect(&host->output, fd, CHAR_OUTPUT_NONBLOCKING);
    return 0;
}

const struct char_end char_end_file = {.size = sizeof(struct char_host), .open = open_file};

const struct char_end char_end_none = {.size = sizeof(struct char_host)};
