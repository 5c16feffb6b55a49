#include "devices/i8042.h"

#include <stdlib.h>

/* The status and command port, counted from the data port. */
#define I8042_COMMAND_PORT 4u

/*
 * All ones, as where no device is, but for "input buffer full" (bit 1): a kernel that reboots waits for that bit to
 * clear before each command, and all ones would hold it up. "Output buffer full" (bit 0) stays on, so that a driver
 * gives up draining the data port and does not wait for answers to its commands.
 */
#define I8042_STATUS 0xfdu

/* Commands 0xf0 to 0xff pulse those of the output port's bits 0 to 3 that are 0 in the command; bit 0 is reset. */
#define I8042_COMMAND_PULSE 0xf0u
#define I8042_PULSE_NOT_RESET 0x01u

struct i8042 {
    struct device device;
    struct system_requests requests;
};

static uint64_t i8042_read(struct device *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)size;
    return offset == I8042_COMMAND_PORT ? I8042_STATUS : UINT64_MAX;
}

static void i8042_write(struct device *device, uint64_t offset, unsigned size, uint64_t value)
{
    const struct system_requests *requests = &((struct i8042 *)device)->requests;

    (void)size;
    if (offset == I8042_COMMAND_PORT && (value & (0xf0u | I8042_PULSE_NOT_RESET)) == I8042_COMMAND_PULSE)
        requests->request(requests->context, SYSTEM_RESET, 0);
}

static void i8042_reset(struct device *device)
{
    (void)device;
}

static const struct device_ops i8042_ops = {
    .name = "i8042",
    .min_access = 1,
    .max_access = 1,
    .read = i8042_read,
    .write = i8042_write,
    .reset = i8042_reset,
};

struct i8042 *i8042_create(const struct system_requests *requests)
{
    struct i8042 *i8042 = calloc(1, sizeof(*i8042));

    if (!i8042)
        return NULL;
    device_init(&i8042->device, &i8042_ops);
    i8042->requests = *requests;
    return i8042;
}

void i8042_destroy(struct i8042 *i8042)
{
    if (!i8042)
        return;
    device_fini(&i8042->device);
    free(i8042);
}

struct device *i8042_device(struct i8042 *i8042)
{
    return &i8042->device;
}
