/*
 * Refused accesses to guest memory, in words.
 */
#ifndef VMM_MACHINE_FAULT_REPORT_H
#define VMM_MACHINE_FAULT_REPORT_H

#include "memory/support/log.h"

#include <Hypervisor/hvx.h>

#include <stddef.h>

/* Room for flags, and for any sentence. */
enum { FAULT_FLAGS_SIZE = 4, FAULT_TEXT_SIZE = 512 };

/* "r-x", in the caller's text, which it gives back. */
const char *fault_format_flags(hv_memory_flags_t flags, char text[FAULT_FLAGS_SIZE]);

/* One sentence without a full stop: who did what, and where. Too long a one is cut. */
void fault_describe(const hvx_fault_t *fault, char *text, size_t size);

/* The same of a vCPU's exit, where the vCPU is "it". Asks for the mapping's name. Any thread. */
void fault_describe_exit(const hvx_exit_memory_t *access, char *text, size_t size);

struct fault_log {
    const struct log *log;
    struct log_limit limit;
};

/*
 * For hvx_vm_set_fault_listener(), with a struct fault_log: warns, at a limited rate, of what the guest does not notice
 * or a device has been refused. Other accesses of vCPUs are exits, and an ordinary kernel that looks for ROMs makes
 * some.
 */
void fault_log_listen(void *context, const hvx_fault_t *fault);

#endif
