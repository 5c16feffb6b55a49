#include "device_test.h"

#include <pthread.h>
#include <string.h>

/* Gives what it was last asked, and counts what it was told. */
struct probe {
    struct device device;
    uint64_t offset;
    unsigned size;
    uint64_t value;
    unsigned reads;
    unsigned writes;
};

static uint64_t probe_read(struct device *device, uint64_t offset, unsigned size)
{
    struct probe *probe = (struct probe *)device;

    probe->offset = offset;
    probe->size = size;
    probe->reads++;
    return probe->value;
}

static void probe_write(struct device *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct probe *probe = (struct probe *)device;

    probe->offset = offset;
    probe->size = size;
    probe->value = value;
    probe->writes++;
}

static void probe_reset(struct device *device)
{
    ((struct probe *)device)->value = 0;
}

static const struct device_ops probe_ops = {
    .name = "probe", .min_access = 2, .max_access = 4, .read = probe_read, .write = probe_write, .reset = probe_reset};
static const struct device_ops other_ops = {
    .name = "other", .min_access = 1, .max_access = 8, .read = probe_read, .write = probe_write, .reset = probe_reset};

static struct probe probe;
static struct probe other;
static struct bus *bus;
static struct error error;

static void setup(void)
{
    probe = (struct probe){0};
    other = (struct probe){0};
    device_init(&probe.device, &probe_ops);
    device_init(&other.device, &other_ops);
    bus = bus_create("ports", 0x10000);
    ck_assert_ptr_nonnull(bus);
}

static void teardown(void)
{
    bus_destroy(bus);
    device_fini(&probe.device);
    device_fini(&other.device);
}

static void attach(struct probe *at, uint64_t base, uint64_t size)
{
    ck_assert_int_eq(bus_attach(bus, base, size, &at->device, &error), 0);
}

static void refuse(uint64_t base, uint64_t size)
{
    size_t count = bus_list(bus, 0, NULL, NULL, NULL);

    error = (struct error){0};
    ck_assert_int_eq(bus_attach(bus, base, size, &other.device, &error), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_ptr_nonnull(strstr(error.text, "other"));
    ck_assert_uint_eq(bus_list(bus, 0, NULL, NULL, NULL), count);
}

static void refuse_overlap(uint64_t base, uint64_t size)
{
    refuse(base, size);
    ck_assert_ptr_nonnull(strstr(error.text, "probe"));
    ck_assert_ptr_nonnull(strstr(error.text, "overlaps"));
}

START_TEST(access_reaches_the_device_with_its_offset)
{
    attach(&probe, 0x3f8, 8);
    bus_write(bus, 0x3fc, 2, 0x1234);
    ck_assert_uint_eq(probe.offset, 4);
    ck_assert_uint_eq(probe.size, 2);
    ck_assert_uint_eq(probe.value, 0x1234);
    ck_assert_uint_eq(bus_read(bus, 0x3f8, 4), 0x1234);
    ck_assert_uint_eq(probe.offset, 0);
    ck_assert_uint_eq(probe.size, 4);
}
END_TEST

START_TEST(values_are_cut_to_the_width)
{
    attach(&probe, 0x10, 8);
    bus_write(bus, 0x10, 2, UINT64_MAX);
    ck_assert_uint_eq(probe.value, 0xffff);
    probe.value = UINT64_MAX;
    ck_assert_uint_eq(bus_read(bus, 0x10, 4), 0xffffffff);
}
END_TEST

START_TEST(where_nothing_is_reads_give_ones_and_writes_are_dropped)
{
    attach(&probe, 0x10, 8);
    ck_assert_uint_eq(bus_read(bus, 0xf, 1), 0xff);
    ck_assert_uint_eq(bus_read(bus, 0x18, 2), 0xffff);
    ck_assert_uint_eq(bus_read(bus, 0xffff, 4), 0xffffffff);
    ck_assert_uint_eq(bus_read(bus, UINT64_MAX, 8), UINT64_MAX);
    bus_write(bus, 0x18, 2, 1);
    bus_write(bus, 0, 2, 1);
    ck_assert_uint_eq(probe.reads + probe.writes, 0);
}
END_TEST

START_TEST(empty_bus_reads_ones)
{
    ck_assert_uint_eq(bus_read(bus, 0, 8), UINT64_MAX);
    bus_write(bus, 0, 8, 0);
}
END_TEST

START_TEST(access_across_the_end_is_nobodys)
{
    attach(&probe, 0x10, 8);
    attach(&other, 0x18, 8);
    ck_assert_uint_eq(bus_read(bus, 0x17, 2), 0xffff);
    ck_assert_uint_eq(bus_read(bus, 0x16, 4), 0xffffffff);
    bus_write(bus, 0x15, 4, 0);
    ck_assert_uint_eq(bus_read(bus, 0xf, 2), 0xffff);
    ck_assert_uint_eq(probe.reads + probe.writes + other.reads + other.writes, 0);
    (void)bus_read(bus, 0x16, 2);
    ck_assert_uint_eq(probe.reads, 1);
}
END_TEST

START_TEST(widths_that_a_device_does_not_take_do_not_reach_it)
{
    static const unsigned widths[] = {0, 1, 3, 8, 16};

    attach(&probe, 0x10, 32);
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        bus_write(bus, 0x10, widths[i], 0);
        (void)bus_read(bus, 0x10, widths[i]);
    }
    ck_assert_uint_eq(probe.reads + probe.writes, 0);
    ck_assert_uint_eq(bus_read(bus, 0x10, 1), 0xff);
    ck_assert_uint_eq(bus_read(bus, 0x10, 3), 0xffffff);
    ck_assert_uint_eq(bus_read(bus, 0x10, 8), UINT64_MAX);
}
END_TEST

START_TEST(overlap_is_refused_and_both_are_named)
{
    attach(&probe, 0x100, 0x10);
    refuse_overlap(0x100, 0x10);
    refuse_overlap(0x10f, 1);
    refuse_overlap(0x10f, 0x10);
    refuse_overlap(0xf1, 0x10);
    refuse_overlap(0x104, 2);
    refuse_overlap(0, 0x10000);
    ck_assert_ptr_nonnull(strstr(error.text, "ports"));
}
END_TEST

START_TEST(neighbours_are_not_overlap)
{
    attach(&probe, 0x100, 0x10);
    attach(&other, 0x110, 0x10);
    attach(&other, 0xf0, 0x10);
    bus_write(bus, 0x10f - 1, 2, 7);
    bus_write(bus, 0x110, 1, 8);
    bus_write(bus, 0xff, 1, 9);
    ck_assert_uint_eq(probe.writes, 1);
    ck_assert_uint_eq(other.writes, 2);
    ck_assert_uint_eq(other.offset, 0xf);
}
END_TEST

START_TEST(empty_wrapping_and_beyond_the_end_are_refused)
{
    refuse(0x100, 0);
    refuse(0x10000, 1);
    refuse(0xffff, 2);
    refuse(0, 0x10001);
    refuse(0x100, UINT64_MAX);
    refuse(UINT64_MAX, 1);
    refuse(UINT64_MAX - 1, UINT64_MAX);
    attach(&probe, 0xfffe, 2);
    (void)bus_read(bus, 0xfffe, 2);
    ck_assert_uint_eq(probe.reads, 1);
}
END_TEST

START_TEST(list_ascends_whatever_the_order_of_attaching)
{
    uint64_t base;
    uint64_t size;
    const char *name;
    uint64_t seed = test_random_seed();
    unsigned places[64];

    for (unsigned i = 0; i < 64; i++) {
        unsigned swap = test_random_below(&seed, i + 1);

        places[i] = places[swap];
        places[swap] = i;
    }
    for (unsigned i = 0; i < 64; i++)
        attach(places[i] % 2 ? &probe : &other, places[i] * 16, 8);
    for (unsigned i = 0; i < 64; i++) {
        ck_assert_uint_eq(bus_list(bus, i, &base, &size, &name), 64);
        ck_assert_uint_eq(base, i * 16);
        ck_assert_uint_eq(size, 8);
        ck_assert_str_eq(name, i % 2 ? "probe" : "other");
        bus_write(bus, i * 16 + 4, 2, i);
        ck_assert_uint_eq((i % 2 ? &probe : &other)->value, i);
        bus_write(bus, i * 16 + 8, 2, 1000);
        ck_assert_uint_eq((i % 2 ? &probe : &other)->value, i);
    }
    base = 77;
    ck_assert_uint_eq(bus_list(bus, 64, &base, &size, &name), 64);
    ck_assert_uint_eq(base, 77);
}
END_TEST

static void *access_often(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 20000; i++) {
        bus_write(bus, 0x10, 2, bus_read(bus, 0x10, 2));
        bus_write(bus, 0x20, 8, i);
    }
    return NULL;
}

START_TEST(accesses_of_many_threads_take_turns)
{
    pthread_t threads[4];

    attach(&probe, 0x10, 8);
    attach(&other, 0x20, 8);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, access_often, NULL), 0);
    for (unsigned i = 0; i < 100; i++)
        device_reset(&probe.device);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(probe.writes, 80000);
    ck_assert_uint_eq(probe.reads, 80000);
    ck_assert_uint_eq(other.writes, 80000);
}
END_TEST

START_TEST(destroy_takes_null)
{
    bus_destroy(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bus");
    TCase *tcase = tcase_create("bus");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, access_reaches_the_device_with_its_offset);
    tcase_add_test(tcase, values_are_cut_to_the_width);
    tcase_add_test(tcase, where_nothing_is_reads_give_ones_and_writes_are_dropped);
    tcase_add_test(tcase, empty_bus_reads_ones);
    tcase_add_test(tcase, access_across_the_end_is_nobodys);
    tcase_add_test(tcase, widths_that_a_device_does_not_take_do_not_reach_it);
    tcase_add_test(tcase, overlap_is_refused_and_both_are_named);
    tcase_add_test(tcase, neighbours_are_not_overlap);
    tcase_add_test(tcase, empty_wrapping_and_beyond_the_end_are_refused);
    tcase_add_test(tcase, list_ascends_whatever_the_order_of_attaching);
    tcase_add_test(tcase, accesses_of_many_threads_take_turns);
    tcase_add_test(tcase, destroy_takes_null);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
