#include "devices/pvpanic.h"

#include <misc/pvpanic.h>
#include <stdlib.h>

struct pvpanic {
    struct device device;
    struct system_requests requests;
    const struct log *log;
    struct log_limit limit;
};

/* Reading tells which events may be written. */
static uint64_t pvpanic_read(struct device *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
}

static void pvpanic_write(struct device *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pvpanic *pvpanic = (struct pvpanic *)device;

    (void)offset;
    (void)size;
    if (value & PVPANIC_PANICKED)
        pvpanic->requests.request(pvpanic->requests.context, SYSTEM_GUEST_PANIC, 0);
    else if (value & PVPANIC_CRASH_LOADED)
        log_line(pvpanic->log, LOG_LEVEL_DEBUG, "pvpanic", "the guest has panicked and goes on in its crash kernel");
    else
        log_guest_misbehaviour(pvpanic->log, &pvpanic->limit, "pvpanic", "the guest wrote 0x%02x, which is no event",
                               (unsigned)value);
}

static void pvpanic_reset(struct device *device)
{
    (void)device;
}

static const struct device_ops pvpanic_ops = {
    .name = "pvpanic",
    .min_access = 1,
    .max_access = 1,
    .read = pvpanic_read,
    .write = pvpanic_write,
    .reset = pvpanic_reset,
};

struct pvpanic *pvpanic_create(const struct system_requests *requests, const struct log *log)
{
    struct pvpanic *pvpanic = calloc(1, sizeof(*pvpanic));

    if (!pvpanic)
        return NULL;
    device_init(&pvpanic->device, &pvpanic_ops);
    pvpanic->requests = *requests;
    pvpanic->log = log;
    return pvpanic;
}

void pvpanic_destroy(struct pvpanic *pvpanic)
{
    if (!pvpanic)
        return;
    device_fini(&pvpanic->device);
    free(pvpanic);
}

struct device *pvpanic_device(struct pvpanic *pvpanic)
{
    return &pvpanic->device;
}
