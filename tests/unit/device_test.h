/*
 * What the tests of devices share: a recorder for interrupts and requests, random numbers, and a guest gone mad.
 */
#ifndef TESTS_DEVICE_TEST_H
#define TESTS_DEVICE_TEST_H

#include "devices/bus.h"
#include "test_random.h"
#include "unit_test.h"

/* Refuses a change that is none. */
struct test_irq {
    int level;
    unsigned rises;
};

static inline void test_irq_set_level(void *context, uint32_t gsi, int level)
{
    struct test_irq *irq = context;

    ck_assert_uint_eq(gsi, 4);
    ck_assert_int_ne(level, irq->level);
    irq->level = level;
    irq->rises += level != 0;
}

static inline struct irq_line test_irq_line(struct test_irq *irq)
{
    return (struct irq_line){.set_level = test_irq_set_level, .context = irq, .gsi = 4};
}

struct test_requests {
    unsigned count;
    enum system_request last;
    uint32_t argument;
};

static inline void test_request(void *context, enum system_request request, uint32_t argument)
{
    struct test_requests *requests = context;

    requests->count++;
    requests->last = request;
    requests->argument = argument;
}

static inline struct system_requests test_system_requests(struct test_requests *requests)
{
    return (struct system_requests){.request = test_request, .context = requests};
}

/* A bus of 64 KiB with the device at 0x100. */
#define TEST_DEVICE_BASE 0x100u

static inline struct bus *test_bus_with(struct device *device, uint64_t size)
{
    struct error error;
    struct bus *bus = bus_create("ports", 0x10000);

    ck_assert_ptr_nonnull(bus);
    ck_assert_int_eq(bus_attach(bus, TEST_DEVICE_BASE, size, device, &error), 0);
    return bus;
}

/* 200000 accesses of all widths in and around a device of this size, with a reset now and then. */
static inline void test_device_survives_anything(struct device *device, uint64_t size)
{
    static const unsigned widths[] = {1, 1, 1, 2, 4, 8, 0, 3, 16};
    struct bus *bus = test_bus_with(device, size);
    uint64_t seed = test_random_seed();

    for (unsigned i = 0; i < 200000; i++) {
        uint64_t address = TEST_DEVICE_BASE - 4 + test_random_below(&seed, (unsigned)size + 8);
        unsigned width = widths[test_random_below(&seed, sizeof(widths) / sizeof(widths[0]))];

        if (test_random_below(&seed, 2))
            bus_write(bus, address, width, test_random(&seed));
        else if (width < 8)
            ck_assert_uint_eq(bus_read(bus, address, width) >> 8 * width, 0);
        else
            (void)bus_read(bus, address, width);
        if (test_random_below(&seed, 1000) == 0)
            device_reset(device);
    }
    bus_destroy(bus);
}

#endif
