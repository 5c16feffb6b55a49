/*
 * The PC's clock and CMOS RAM: an MC146818 behind an index and a data port. The time is the host's, in UTC, plus what
 * the guest has set it off by. It raises no interrupts: their enable bits read back, and the alarm registers are RAM.
 */
#ifndef DEVICES_CMOS_H
#define DEVICES_CMOS_H

#include "devices/device.h"

#include <time.h>

/* What it takes on the bus, in bytes: index, data. */
#define CMOS_PORT_COUNT 2u

struct cmos;

/* now gives the time as time(2) does, which is what to pass outside of tests. NULL: no memory. */
struct cmos *cmos_create(time_t (*now)(time_t *));

/* Takes NULL. */
void cmos_destroy(struct cmos *cmos);

struct device *cmos_device(struct cmos *cmos);

#endif
