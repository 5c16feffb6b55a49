/*
 * Seccomp filters from the table of allowed system calls. Internal to vmm/sandbox/.
 */
#ifndef VMM_SANDBOX_FILTER_H
#define VMM_SANDBOX_FILTER_H

#include "memory/support/error.h"
#include "vmm/sandbox/sandbox.h"

#include <linux/filter.h>
#include <stdbool.h>

/* A program for the kernel; filter is NULL, or filter_free()'s to free. */
struct filter {
    struct sock_fprog program;
};

/*
 * Builds the filter of a kind of thread. What is not allowed is trapped with SIGSYS, or let through and logged by the
 * kernel (log_only). It is good for this process only: it holds its number. 0, or -1 with *error.
 */
int filter_build(enum sandbox_thread kind, bool log_only, struct filter *filter, struct error *error);

/* Binds the calling thread, which has no_new_privs. 0, or -1 with *error. */
int filter_load(const struct filter *filter, struct error *error);

/* Takes a zeroed struct, and zeroes. */
void filter_free(struct filter *filter);

#endif
