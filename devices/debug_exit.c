#include "devices/debug_exit.h"

#include <stdlib.h>

struct debug_exit {
    struct device device;
    struct system_requests requests;
};

static uint64_t debug_exit_read(struct device *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return UINT64_MAX;
}

static void debug_exit_write(struct device *device, uint64_t offset, unsigned size, uint64_t value)
{
    const struct system_requests *requests = &((struct debug_exit *)device)->requests;

    (void)size;
    if (offset == 0)
        requests->request(requests->context, SYSTEM_DEBUG_EXIT, (uint32_t)value);
}

static void debug_exit_reset(struct device *device)
{
    (void)device;
}

static const struct device_ops debug_exit_ops = {
    .name = "debug-exit",
    .min_access = 1,
    .max_access = 4,
    .read = debug_exit_read,
    .write = debug_exit_write,
    .reset = debug_exit_reset,
};

struct debug_exit *debug_exit_create(const struct system_requests *requests)
{
    struct debug_exit *debug_exit = calloc(1, sizeof(*debug_exit));

    if (!debug_exit)
        return NULL;
    device_init(&debug_exit->device, &debug_exit_ops);
    debug_exit->requests = *requests;
    return debug_exit;
}

void debug_exit_destroy(struct debug_exit *debug_exit)
{
    if (!debug_exit)
        return;
    device_fini(&debug_exit->device);
    free(debug_exit);
}

struct device *debug_exit_device(struct debug_exit *debug_exit)
{
    return &debug_exit->device;
}
