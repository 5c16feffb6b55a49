#include "vmm/sandbox/capabilities.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What an exec could give back. Only who has CAP_SETPCAP may do this; to others no_new_privs says the same. */
static int drop_bounding_set(struct error *error)
{
    for (unsigned long capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++)
        ;
    /* EINVAL: past the last one that the kernel knows. */
    if (errno != EINVAL && errno != EPERM)
        return error_set(error, ERROR_HOST, "cannot drop the bounding set of capabilities: %s", strerror(errno));
    return 0;
}

int capabilities_drop(struct error *error)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    if (drop_bounding_set(error) < 0)
        return -1;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return error_set(error, ERROR_HOST, "cannot drop the ambient capabilities: %s", strerror(errno));
    if (syscall(SYS_capset, &header, none) < 0)
        return error_set(error, ERROR_HOST, "cannot drop capabilities: %s", strerror(errno));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(error, ERROR_HOST, "cannot set no_new_privs: %s", strerror(errno));
    return 0;
}
