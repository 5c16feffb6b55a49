/* RC, reset control register: 82371AB (PIIX4) data sheet, 4.2.8. */
#include "devices/reset_register.h"

#include <stdlib.h>

/* Hard reset rather than soft: the machine knows one kind. */
#define RESET_REGISTER_HARD 0x02u
#define RESET_REGISTER_CPU 0x04u

/* All that the guest can observe: plain data. */
struct reset_register_state {
    uint8_t value;
};

static const struct state_field fields[] = {
    STATE_FIELD_UP_TO(struct reset_register_state, value, RESET_REGISTER_HARD | RESET_REGISTER_CPU),
};
STATE_DESCRIPTION(description, struct reset_register_state, "reset_register", 1, fields);

struct reset_register {
    struct device device;
    struct reset_register_state state;
    struct system_requests requests;
};

static uint64_t reset_register_read(struct device *device, uint64_t offset, unsigned size)
{
    (void)offset;
    (void)size;
    return ((struct reset_register *)device)->state.value;
}

static void reset_register_write(struct device *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct reset_register *reset_register = (struct reset_register *)device;
    const struct system_requests *requests = &reset_register->requests;

    (void)offset;
    (void)size;
    reset_register->state.value = value & (RESET_REGISTER_HARD | RESET_REGISTER_CPU);
    if (value & RESET_REGISTER_CPU)
        requests->request(requests->context, SYSTEM_RESET, 0);
}

static void reset_register_reset(struct device *device)
{
    ((struct reset_register *)device)->state = (struct reset_register_state){0};
}

static void reset_register_add_state(struct device *device, struct state_parts *parts)
{
    state_add(parts, &description, &((struct reset_register *)device)->state);
}

static const struct device_ops reset_register_ops = {
    .name = "reset-register",
    .min_access = 1,
    .max_access = 1,
    .read = reset_register_read,
    .write = reset_register_write,
    .reset = reset_register_reset,
    .add_state = reset_register_add_state,
};

struct reset_register *reset_register_create(const struct system_requests *requests)
{
    struct reset_register *reset_register = calloc(1, sizeof(*reset_register));

    if (!reset_register)
        return NULL;
    device_init(&reset_register->device, &reset_register_ops);
    reset_register->requests = *requests;
    return reset_register;
}

void reset_register_destroy(struct reset_register *reset_register)
{
    if (!reset_register)
        return;
    device_fini(&reset_register->device);
    free(reset_register);
}

struct device *reset_register_device(struct reset_register *reset_register)
{
    return &reset_register->device;
}
