/*
 * Formatted text for a command's answer.
 */
#ifndef VMM_DEBUG_OUTPUT_H
#define VMM_DEBUG_OUTPUT_H

#include "vmm/debug/target.h"

/* At most 511 bytes; what is longer is cut. */
__attribute__((format(printf, 2, 3))) void debug_print(const struct debug_output *output, const char *format, ...);

#endif
