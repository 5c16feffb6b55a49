#include "vmm/sandbox/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Everything of Landlock's first version: what is not listed here is not restricted. */
static const uint64_t ALL_ACCESS =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
    LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
    LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
    LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
    LANDLOCK_ACCESS_FS_MAKE_SYM;

static int fail(const char *call, struct error *error)
{
    return error_set(error, ERROR_HOST, "the kernel does not take %s: %s", call, strerror(errno));
}

/* Adds the file to a set of rules; one that is not there is no error. */
static int add_file(int rules, const char *path, struct error *error)
{
    const int fd = open(path, O_PATH | O_CLOEXEC);
    const struct landlock_path_beneath_attr rule = {.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE, .parent_fd = fd};

    if (fd < 0)
        return 0;
    const long result = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    const int saved = errno;
    close(fd);
    errno = saved;
    return result < 0 ? fail("a rule of Landlock's", error) : 0;
}

int files_allow_reading(const char *path, struct error *error)
{
    const struct landlock_ruleset_attr attributes = {.handled_access_fs = ALL_ACCESS};

    const int rules = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0);
    if (rules < 0)
        return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : fail("Landlock's rules", error);
    int result = add_file(rules, path, error);
    if (result == 0 && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        result = fail("Landlock's rules", error);
    close(rules);
    return result;
}
