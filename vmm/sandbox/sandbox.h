/*
 * What the process takes from itself before a guest runs: capabilities, new privileges, and every system call that a
 * thread of its kind does not make. The allow-list is one table, in filter.c.
 *
 * The state here is the process's, as capabilities and signal handlers are: there is one sandbox in a process.
 */
#ifndef VMM_SANDBOX_SANDBOX_H
#define VMM_SANDBOX_SANDBOX_H

#include "memory/support/error.h"
#include "memory/support/log.h"
#include "vmm/config/config.h"

/* Exit status after a system call that is not allowed. */
#define SANDBOX_EXIT_STATUS 4

enum sandbox_thread {
    /* Runs a vCPU, with the accesses of devices and the vCPU's part of a reset. */
    SANDBOX_VCPU,
    /* The same, with a debugger that has a say in it. */
    SANDBOX_VCPU_DEBUGGED,
    /* The event loop: devices' back ends, signals, the end of the machine. */
    SANDBOX_LOOP,
    /* Serves a device: an event loop, and the device's side on the host, a disk image, a tap interface or libslirp. */
    SANDBOX_DISK,
    SANDBOX_TAP,
    SANDBOX_SLIRP,
    SANDBOX_THREAD_COUNT,
};

/*
 * Once, while the process has one thread, after everything that needs the user's capabilities is open: drops all
 * capabilities, also those that a later exec could bring back, and sets no_new_privs. Unless mode is
 * CONFIG_SECCOMP_OFF it builds the filters for sandbox_enter(), and installs the handler for SIGSYS.
 * CONFIG_SECCOMP_LOG: what is not allowed goes on, and into the kernel's audit log.
 * kinds: those that threads will enter, as 1 << kind; building a filter takes time.
 * log: where a violation is reported; kept, and has to stay valid.
 * 0, or -1 with *error (ERROR_HOST: the kernel lacks something; CONFIG: it helps to set sandbox.seccomp to "off").
 */
int sandbox_prepare(enum config_seccomp mode, unsigned kinds, const struct log *log, struct error *error);

/*
 * The calling thread may make only the system calls of its kind, which was among the prepared ones, from here on; in
 * mode CONFIG_SECCOMP_OFF it changes nothing. It makes no thread after this. Takes no memory. thread_name ("vcpu0") is
 * copied, and cut at 31 bytes. 0, or -1 with *error (ERROR_HOST). Any thread, once, after sandbox_prepare().
 */
int sandbox_enter(enum sandbox_thread kind, const char *thread_name, struct error *error);

/*
 * hook is called before a violation ends the process with SANDBOX_EXIT_STATUS, on the thread that made the call, in its
 * signal handler: it is async-signal-safe, makes calls of all kinds of thread only, and gives the terminal back.
 * NULL: none. Any thread, any time.
 */
void sandbox_set_fatal_hook(void (*hook)(void));

/* Gives back what sandbox_prepare() has built; threads stay as they are. For the end of the process, and for tests. */
void sandbox_release(void);

#endif
