/*
 * What a running machine's spaces are, for a user who asks.
 */
#ifndef VMM_MACHINE_MAPS_H
#define VMM_MACHINE_MAPS_H

#include "memory/support/log.h"

/* Logs every space with its ranges, and the last faults, at a level that is always shown. Any thread; vCPUs may run. */
void maps_report(const struct log *log);

#endif
