/*
 * A Linux guest's log, read from its memory and printed as dmesg(1) does.
 *
 * Threads: any, while the guest is stopped.
 */
#ifndef VMM_DEBUG_LINUX_KERNEL_LOG_H
#define VMM_DEBUG_LINUX_KERNEL_LOG_H

#include "vmm/debug/linux/kernel.h"

#define KERNEL_LOG_ALL UINT64_MAX
/* More than any log that is no attack: the largest ring with the time in front of each record. */
#define KERNEL_LOG_PRINTED_MAX (64u << 20)

/*
 * Prints the last records of the log, `count` of them at most: "[    1.234567] text", further lines of a record
 * indented, and bytes that are not printable ASCII as \x1b. Lines that begin with "-- " are ours: they say what is
 * damaged or was being written. -1 with an error, and nothing printed: there is no log that could be read.
 *
 * Of rings of at most 32 MiB of text and 2^20 records. What the guest can have printed ends with the record that
 * goes beyond KERNEL_LOG_PRINTED_MAX bytes, and takes about a second.
 */
int kernel_log_print(const struct linux_memory *memory, uint64_t count, const struct debug_output *output,
                     struct error *error);

#endif
