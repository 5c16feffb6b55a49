/* Registers and modes: MC146818 data sheet (Motorola); the century byte is where the FADT of PCs has it. */
#include "devices/cmos.h"

#include <stdbool.h>
#include <stdlib.h>

enum { CMOS_INDEX_PORT, CMOS_DATA_PORT };

enum {
    CMOS_SECONDS = 0x00,
    CMOS_MINUTES = 0x02,
    CMOS_HOURS = 0x04,
    CMOS_DAY_OF_WEEK = 0x06,
    CMOS_DAY_OF_MONTH = 0x07,
    CMOS_MONTH = 0x08,
    CMOS_YEAR = 0x09,
    CMOS_STATUS_A = 0x0a,
    CMOS_STATUS_B = 0x0b,
    CMOS_STATUS_C = 0x0c,
    CMOS_STATUS_D = 0x0d,
    CMOS_CENTURY = 0x32,
    CMOS_RAM_SIZE = 0x80,
};

/* Bit 7 of the index port masks NMIs on a PC. */
#define CMOS_INDEX_MASK 0x7fu

/*
 * Update in progress, bit 7 of status A, never shows: registers are computed at the moment they are read. A guest that
 * reads them across a second's end sees the seconds change, and starts again.
 */
#define CMOS_A_UIP 0x80u
/* A 32.768 kHz crystal and a periodic rate of 1024 Hz, as firmware leaves it. */
#define CMOS_A_DEFAULT 0x26u
/* The guest sets the time: the registers stand still and take what is written. */
#define CMOS_B_SET 0x80u
#define CMOS_B_BINARY 0x04u
#define CMOS_B_24_HOURS 0x02u
/* PIE, AIE, UIE and SQWE: what the RESET pin clears. */
#define CMOS_B_CLEARED_BY_RESET 0x78u
/* Valid RAM and time: the battery is good. */
#define CMOS_D_VRT 0x80u
#define CMOS_HOURS_PM 0x80u

/* All that the guest can observe: plain data. */
struct cmos_state {
    /* What the guest has set the clock ahead of the host's, in seconds. Unused while CMOS_B_SET is on. */
    int64_t offset;
    /* Time registers in here are up to date while CMOS_B_SET is on, in whatever format the guest has written. */
    uint8_t ram[CMOS_RAM_SIZE];
    uint8_t index;
    uint8_t unused[7];
};

static const struct state_field fields[] = {
    STATE_FIELD(struct cmos_state, offset),
    STATE_ARRAY(struct cmos_state, ram),
    STATE_FIELD_UP_TO(struct cmos_state, index, CMOS_INDEX_MASK),
    STATE_UNUSED(struct cmos_state),
};
STATE_DESCRIPTION(description, struct cmos_state, "cmos", 1, fields);

/* Further than the registers can say: years of up to 165 in the century and the year. In seconds. */
#define CMOS_OFFSET_MAX (INT64_C(100000) * 366 * 86400)

struct cmos {
    struct device device;
    struct cmos_state state;
    time_t (*now)(time_t *);
};

static bool cmos_is_time(uint8_t index)
{
    switch (index) {
    case CMOS_SECONDS:
    case CMOS_MINUTES:
    case CMOS_HOURS:
    case CMOS_DAY_OF_WEEK:
    case CMOS_DAY_OF_MONTH:
    case CMOS_MONTH:
    case CMOS_YEAR:
    case CMOS_CENTURY:
        return true;
    default:
        return false;
    }
}

static uint8_t cmos_encode(const struct cmos_state *state, int value)
{
    return (uint8_t)(state->ram[CMOS_STATUS_B] & CMOS_B_BINARY ? value : value / 10 << 4 | value % 10);
}

/* Takes any byte: what is not BCD gives some number of up to 165. */
static int cmos_decode(const struct cmos_state *state, uint8_t value)
{
    return state->ram[CMOS_STATUS_B] & CMOS_B_BINARY ? value : (value >> 4) * 10 + (value & 0xf);
}

static uint8_t cmos_encode_hour(const struct cmos_state *state, int hour)
{
    if (state->ram[CMOS_STATUS_B] & CMOS_B_24_HOURS)
        return cmos_encode(state, hour);
    return cmos_encode(state, hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? CMOS_HOURS_PM : 0);
}

static int cmos_decode_hour(const struct cmos_state *state, uint8_t value)
{
    if (state->ram[CMOS_STATUS_B] & CMOS_B_24_HOURS)
        return cmos_decode(state, value);
    return cmos_decode(state, value & (uint8_t)~CMOS_HOURS_PM) % 12 + (value & CMOS_HOURS_PM ? 12 : 0);
}

/* Puts the time of now into the registers. */
static void cmos_load_time(struct cmos *cmos)
{
    struct cmos_state *state = &cmos->state;
    time_t now = cmos->now(NULL) + state->offset;
    struct tm tm;

    if (!gmtime_r(&now, &tm))
        return;
    /* A guest can set a date that normalises to one before the year 0. */
    int year = ((tm.tm_year + 1900) % 10000 + 10000) % 10000;
    state->ram[CMOS_SECONDS] = cmos_encode(state, tm.tm_sec);
    state->ram[CMOS_MINUTES] = cmos_encode(state, tm.tm_min);
    state->ram[CMOS_HOURS] = cmos_encode_hour(state, tm.tm_hour);
    state->ram[CMOS_DAY_OF_WEEK] = cmos_encode(state, tm.tm_wday + 1);
    state->ram[CMOS_DAY_OF_MONTH] = cmos_encode(state, tm.tm_mday);
    state->ram[CMOS_MONTH] = cmos_encode(state, tm.tm_mon + 1);
    state->ram[CMOS_YEAR] = cmos_encode(state, year % 100);
    state->ram[CMOS_CENTURY] = cmos_encode(state, year / 100);
}

/* Makes the registers' time that of now. Values out of range carry over; the day of the week follows from the date. */
static void cmos_store_time(struct cmos *cmos)
{
    struct cmos_state *state = &cmos->state;
    struct tm tm = {
        .tm_sec = cmos_decode(state, state->ram[CMOS_SECONDS]),
        .tm_min = cmos_decode(state, state->ram[CMOS_MINUTES]),
        .tm_hour = cmos_decode_hour(state, state->ram[CMOS_HOURS]),
        .tm_mday = cmos_decode(state, state->ram[CMOS_DAY_OF_MONTH]),
        .tm_mon = cmos_decode(state, state->ram[CMOS_MONTH]) - 1,
        .tm_year =
            cmos_decode(state, state->ram[CMOS_CENTURY]) * 100 + cmos_decode(state, state->ram[CMOS_YEAR]) - 1900,
    };

    state->offset = (int64_t)timegm(&tm) - (int64_t)cmos->now(NULL);
}

static uint8_t cmos_read_data(struct cmos *cmos)
{
    struct cmos_state *state = &cmos->state;

    if (cmos_is_time(state->index) && !(state->ram[CMOS_STATUS_B] & CMOS_B_SET))
        cmos_load_time(cmos);
    return state->ram[state->index];
}

static void cmos_write_time(struct cmos *cmos, uint8_t value)
{
    struct cmos_state *state = &cmos->state;

    if (state->ram[CMOS_STATUS_B] & CMOS_B_SET) {
        state->ram[state->index] = value;
        return;
    }
    cmos_load_time(cmos);
    state->ram[state->index] = value;
    cmos_store_time(cmos);
}

static void cmos_write_status_b(struct cmos *cmos, uint8_t value)
{
    struct cmos_state *state = &cmos->state;
    uint8_t old = state->ram[CMOS_STATUS_B];

    if (value & ~old & CMOS_B_SET)
        cmos_load_time(cmos);
    state->ram[CMOS_STATUS_B] = value;
    if (old & ~value & CMOS_B_SET)
        cmos_store_time(cmos);
}

static void cmos_write_data(struct cmos *cmos, uint8_t value)
{
    struct cmos_state *state = &cmos->state;

    switch (state->index) {
    case CMOS_STATUS_A:
        state->ram[CMOS_STATUS_A] = value & (uint8_t)~CMOS_A_UIP;
        break;
    case CMOS_STATUS_B:
        cmos_write_status_b(cmos, value);
        break;
    case CMOS_STATUS_C:
    case CMOS_STATUS_D:
        break;
    default:
        if (cmos_is_time(state->index))
            cmos_write_time(cmos, value);
        else
            state->ram[state->index] = value;
    }
}

static uint64_t cmos_read(struct device *device, uint64_t offset, unsigned size)
{
    (void)size;
    /* The index cannot be read back. */
    return offset == CMOS_DATA_PORT ? cmos_read_data((struct cmos *)device) : UINT64_MAX;
}

static void cmos_write(struct device *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct cmos *cmos = (struct cmos *)device;

    (void)size;
    if (offset == CMOS_INDEX_PORT)
        cmos->state.index = value & CMOS_INDEX_MASK;
    else
        cmos_write_data(cmos, (uint8_t)value);
}

/* The battery keeps the time and the RAM. */
static void cmos_reset(struct device *device)
{
    struct cmos_state *state = &((struct cmos *)device)->state;

    state->index = 0;
    state->ram[CMOS_STATUS_B] &= (uint8_t)~CMOS_B_CLEARED_BY_RESET;
}

static void cmos_add_state(struct device *device, struct state_parts *parts)
{
    state_add(parts, &description, &((struct cmos *)device)->state);
}

static void cmos_restored(struct device *device)
{
    struct cmos_state *state = &((struct cmos *)device)->state;

    /* No guest can have set that, and the time would overflow. */
    if (state->offset > CMOS_OFFSET_MAX || state->offset < -CMOS_OFFSET_MAX)
        state->offset = 0;
}

static const struct device_ops cmos_ops = {
    .name = "cmos",
    .min_access = 1,
    .max_access = 1,
    .read = cmos_read,
    .write = cmos_write,
    .reset = cmos_reset,
    .add_state = cmos_add_state,
    .restored = cmos_restored,
};

struct cmos *cmos_create(time_t (*now)(time_t *))
{
    struct cmos *cmos = calloc(1, sizeof(*cmos));

    if (!cmos)
        return NULL;
    device_init(&cmos->device, &cmos_ops);
    cmos->now = now;
    /* gmtime_r(3) reads the host's time zone when it is first called, and a sandboxed thread may open no files. */
    tzset();
    cmos->state.ram[CMOS_STATUS_A] = CMOS_A_DEFAULT;
    cmos->state.ram[CMOS_STATUS_B] = CMOS_B_24_HOURS;
    cmos->state.ram[CMOS_STATUS_D] = CMOS_D_VRT;
    return cmos;
}

void cmos_destroy(struct cmos *cmos)
{
    if (!cmos)
        return;
    device_fini(&cmos->device);
    free(cmos);
}

struct device *cmos_device(struct cmos *cmos)
{
    return &cmos->device;
}
