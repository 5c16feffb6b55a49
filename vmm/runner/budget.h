/*
 * How much of the host's memory machines take, and how much there is for them.
 */
#ifndef VMM_RUNNER_BUDGET_H
#define VMM_RUNNER_BUDGET_H

#include "vmm/config/config.h"

#include <stdint.h>

/* What a machine may take at the most, in bytes: all memory that its guest can touch, and something for its process. */
uint64_t budget_of_machine(const struct config *config);

/*
 * What is free for new processes, in bytes: of the host ("MemAvailable"), and within the memory.max of this process's
 * control group and those above it, where there are any (cgroup v2). UINT64_MAX: nobody knows.
 * proc, cgroup: where these are mounted, "/proc" and "/sys/fs/cgroup"; tests have others.
 */
uint64_t budget_of_host(const char *proc, const char *cgroup);

#endif
