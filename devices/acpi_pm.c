/* Bits: ACPI 6.4, 4.8.3. */
#include "devices/acpi_pm.h"

#include "memory/x86/layout.h"

#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

/* PM1 status (4.8.3.1.1) and enable (4.8.3.1.2) have their bits in the same places. */
#define PM1_TIMER 0x0001u
#define PM1_GLOBAL 0x0020u
#define PM1_POWER_BUTTON 0x0100u
#define PM1_SLEEP_BUTTON 0x0200u
#define PM1_RTC 0x0400u
#define PM1_ENABLE_MASK (PM1_TIMER | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_SLEEP_BUTTON | PM1_RTC)

/* PM1 control (4.8.3.2.1). */
#define PM1_CONTROL_SCI_EN 0x0001u
#define PM1_CONTROL_BM_RLD 0x0002u
#define PM1_CONTROL_SLP_TYP_SHIFT 10
#define PM1_CONTROL_SLP_TYP (7u << PM1_CONTROL_SLP_TYP_SHIFT)
#define PM1_CONTROL_SLP_EN 0x2000u

/* 4.8.3.3. */
#define PM_TIMER_HZ UINT64_C(3579545)

/* Registers of 16 bits each. */
enum {
    PM1_STATUS_OFFSET = ACPI_PM1_EVENT_OFFSET,
    PM1_ENABLE_OFFSET = ACPI_PM1_EVENT_OFFSET + 2,
    PM1_CONTROL_OFFSET = ACPI_PM1_CONTROL_OFFSET,
};

/* All that the guest can observe: plain data. */
struct acpi_pm_state {
    /* How long the timer had run when the state was saved, in nanoseconds. */
    uint64_t timer_ns;
    uint16_t status;
    uint16_t enable;
    /* Without SCI_EN, which is always on, and SLP_EN, which reads as 0. */
    uint16_t control;
    /* What the SCI was last set to. */
    uint8_t sci_level;
    uint8_t unused[1];
};

static const struct state_field fields[] = {
    STATE_FIELD(struct acpi_pm_state, timer_ns),
    STATE_FIELD(struct acpi_pm_state, status),
    STATE_FIELD_UP_TO(struct acpi_pm_state, enable, PM1_ENABLE_MASK),
    STATE_FIELD_UP_TO(struct acpi_pm_state, control, PM1_CONTROL_BM_RLD | PM1_CONTROL_SLP_TYP),
    STATE_FIELD_UP_TO(struct acpi_pm_state, sci_level, 1),
    STATE_UNUSED(struct acpi_pm_state),
};
STATE_DESCRIPTION(description, struct acpi_pm_state, "acpi_pm", 1, fields);

struct acpi_pm {
    struct device device;
    struct acpi_pm_state state;
    struct irq_line sci;
    struct system_requests requests;
    const struct log *log;
    struct log_limit limit;
    /* CLOCK_MONOTONIC when the timer was 0, in nanoseconds. */
    uint64_t timer_start;
};

static uint64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Its overflow sets no status bit: guests that care read the timer often enough. */
static uint32_t acpi_pm_timer(const struct acpi_pm *pm)
{
    uint64_t ns = monotonic_ns() - pm->timer_start;
    const uint64_t second = UINT64_C(1000000000);

    return (uint32_t)(ns / second * PM_TIMER_HZ + ns % second * PM_TIMER_HZ / second);
}

static void acpi_pm_update_sci(struct acpi_pm *pm)
{
    struct acpi_pm_state *state = &pm->state;
    uint8_t level = (state->status & state->enable) != 0;

    if (level == state->sci_level)
        return;
    state->sci_level = level;
    irq_line_set(&pm->sci, level);
}

static void put_bytes(uint8_t *block, unsigned offset, unsigned size, uint32_t value)
{
    for (unsigned i = 0; i < size; i++)
        block[offset + i] = (uint8_t)(value >> 8 * i);
}

static uint64_t acpi_pm_read(struct device *device, uint64_t offset, unsigned size)
{
    const struct acpi_pm *pm = (struct acpi_pm *)device;
    uint8_t block[ACPI_PM_BLOCK_SIZE] = {0};
    uint64_t value = 0;

    put_bytes(block, PM1_STATUS_OFFSET, 2, pm->state.status);
    put_bytes(block, PM1_ENABLE_OFFSET, 2, pm->state.enable);
    put_bytes(block, PM1_CONTROL_OFFSET, 2, pm->state.control | PM1_CONTROL_SCI_EN);
    if (offset + size > ACPI_PM_TIMER_OFFSET)
        put_bytes(block, ACPI_PM_TIMER_OFFSET, 4, acpi_pm_timer(pm));
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)block[offset + i] << 8 * i;
    return value;
}

static void acpi_pm_sleep(struct acpi_pm *pm)
{
    unsigned type = pm->state.control >> PM1_CONTROL_SLP_TYP_SHIFT;

    if (type == ACPI_SLEEP_TYPE_S5)
        pm->requests.request(pm->requests.context, SYSTEM_POWER_OFF, 0);
    else
        log_guest_misbehaviour(pm->log, &pm->limit, "acpi-pm",
                               "the guest asked for sleep type %u, which the machine does not announce", type);
}

/* The bits of an access that fall into the 16-bit register at register_offset, and which bits these are. */
static uint16_t register_part(unsigned register_offset, uint64_t offset, unsigned size, uint64_t value,
                              uint16_t *ret_mask)
{
    uint8_t part[2] = {0};
    uint8_t mask[2] = {0};

    for (unsigned i = 0; i < size; i++) {
        if (offset + i == register_offset || offset + i == register_offset + 1) {
            part[offset + i - register_offset] = (uint8_t)(value >> 8 * i);
            mask[offset + i - register_offset] = 0xff;
        }
    }
    *ret_mask = (uint16_t)(mask[0] | mask[1] << 8);
    return (uint16_t)(part[0] | part[1] << 8);
}

static void acpi_pm_write(struct device *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct acpi_pm *pm = (struct acpi_pm *)device;
    struct acpi_pm_state *state = &pm->state;
    uint16_t mask;

    /* A 1 clears its status bit. */
    state->status &= ~register_part(PM1_STATUS_OFFSET, offset, size, value, &mask);

    uint16_t enable = register_part(PM1_ENABLE_OFFSET, offset, size, value, &mask);
    state->enable = ((state->enable & ~mask) | enable) & PM1_ENABLE_MASK;

    uint16_t control = register_part(PM1_CONTROL_OFFSET, offset, size, value, &mask);
    state->control = ((state->control & ~mask) | control) & (PM1_CONTROL_BM_RLD | PM1_CONTROL_SLP_TYP);
    acpi_pm_update_sci(pm);
    if (control & PM1_CONTROL_SLP_EN)
        acpi_pm_sleep(pm);
}

static void acpi_pm_reset(struct device *device)
{
    struct acpi_pm *pm = (struct acpi_pm *)device;

    pm->state = (struct acpi_pm_state){.sci_level = pm->state.sci_level};
    acpi_pm_update_sci(pm);
}

static void acpi_pm_add_state(struct device *device, struct state_parts *parts)
{
    struct acpi_pm *pm = (struct acpi_pm *)device;

    pm->state.timer_ns = monotonic_ns() - pm->timer_start;
    state_add(parts, &description, &pm->state);
}

static void acpi_pm_restored(struct device *device)
{
    struct acpi_pm *pm = (struct acpi_pm *)device;

    pm->timer_start = monotonic_ns() - pm->state.timer_ns;
    pm->state.sci_level = (pm->state.status & pm->state.enable) != 0;
    irq_line_set(&pm->sci, pm->state.sci_level);
}

static const struct device_ops acpi_pm_ops = {
    .name = "acpi-pm",
    .min_access = 1,
    .max_access = 4,
    .read = acpi_pm_read,
    .write = acpi_pm_write,
    .reset = acpi_pm_reset,
    .add_state = acpi_pm_add_state,
    .restored = acpi_pm_restored,
};

struct acpi_pm *acpi_pm_create(const struct irq_line *sci, const struct system_requests *requests,
                               const struct log *log)
{
    struct acpi_pm *pm = calloc(1, sizeof(*pm));

    if (!pm)
        return NULL;
    device_init(&pm->device, &acpi_pm_ops);
    pm->sci = *sci;
    pm->requests = *requests;
    pm->log = log;
    pm->timer_start = monotonic_ns();
    return pm;
}

void acpi_pm_destroy(struct acpi_pm *pm)
{
    if (!pm)
        return;
    device_fini(&pm->device);
    free(pm);
}

struct device *acpi_pm_device(struct acpi_pm *pm)
{
    return &pm->device;
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
    pthread_mutex_lock(&pm->device.lock);
    pm->state.status |= PM1_POWER_BUTTON;
    acpi_pm_update_sci(pm);
    pthread_mutex_unlock(&pm->device.lock);
}
