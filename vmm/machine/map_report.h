/*
 * The maps of a running machine, for the log: what its spaces hold now, and the last faults.
 */
#ifndef VMM_MACHINE_MAP_REPORT_H
#define VMM_MACHINE_MAP_REPORT_H

#include "memory/support/log.h"
#include "vmm/machine/machine_memory.h"
#include "vmm/maps/maps.h"

/* Any thread, also while vCPUs run. Shown whatever the log's level: it has been asked for. */
void map_report(const struct machine_memory *memory, const struct log *log);

/* The same, line by line. */
void map_report_write(const struct machine_memory *memory, maps_line *line, void *context);

#endif
