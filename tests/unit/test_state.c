/*
 * devices/state.c: bytes of plain structs, there and back, and everything that is refused.
 */
#include "devices/state.h"

#include "test_random.h"
#include "unit_test.h"

#include <string.h>

struct example {
    uint64_t eight;
    int64_t negative;
    uint32_t four[2][2];
    uint16_t two;
    struct {
        uint8_t one;
        bool is_set;
    } inner;
    bool flags[3];
    uint8_t unused[1];
};

static const struct state_field fields[] = {
    STATE_FIELD(struct example, eight),
    STATE_FIELD(struct example, negative),
    STATE_ELEMENTS(struct example, four, four[0][0], UINT32_MAX),
    STATE_FIELD_UP_TO(struct example, two, 999),
    STATE_FIELD(struct example, inner.one),
    STATE_FIELD(struct example, inner.is_set),
    STATE_ARRAY(struct example, flags),
    STATE_UNUSED(struct example),
};
enum { FIELDS = sizeof(fields) / sizeof(fields[0]), TWO = 3, ONE = 4, FLAGS = 6 };
STATE_DESCRIPTION(description, struct example, "example", 3, fields);

static const struct example filled = {
    .eight = 0x1122334455667788,
    .negative = -2,
    .four = {{1, 2}, {3, UINT32_MAX}},
    .two = 999,
    .inner = {.one = 0xfe, .is_set = true},
    .flags = {true, false, true},
};

static struct state_parts parts_of(const struct state_description *with, struct example *state)
{
    /* Not by state_add(), for some are broken. */
    return (struct state_parts){.items = {{.description = with, .state = state}}, .count = 1};
}

static uint8_t *write_with(const struct state_description *with, size_t *size)
{
    struct example state = filled;
    const struct state_parts parts = parts_of(with, &state);
    uint8_t *bytes = state_write(&parts, size);

    ck_assert_ptr_nonnull(bytes);
    return bytes;
}

/* Reads, and checks the promise: all of it, or nothing and a sentence. */
static int read_into(struct example *state, const uint8_t *bytes, size_t size, struct error *error)
{
    const struct state_parts parts = parts_of(&description, state);
    const struct example before = *state;

    *error = (struct error){0};
    /* In memory of its own, where the sanitizer sees its end. */
    uint8_t *copy = malloc(size);
    memcpy(copy, bytes, size);
    const int result = state_read(&parts, copy, size, error);
    free(copy);
    if (result == 0)
        return 0;
    ck_assert_mem_eq(&before, state, sizeof(before));
    ck_assert_int_eq(error->kind, ERROR_CONFIG);
    ck_assert_uint_gt(strlen(error->text), 10);
    ck_assert_ptr_null(strpbrk(error->text, "\n\x1b"));
    return -1;
}

static void refused(const uint8_t *bytes, size_t size, const char *why)
{
    struct example state;
    struct error error;

    memset(&state, 0, sizeof(state));
    ck_assert_int_eq(read_into(&state, bytes, size, &error), -1);
    ck_assert_msg(strstr(error.text, why) != NULL, "\"%s\" does not say \"%s\"", error.text, why);
}

/* The bytes of a struct with another description are refused by the right one. */
static void refused_from(const struct state_description *other, const char *why)
{
    size_t size;
    uint8_t *bytes = write_with(other, &size);

    refused(bytes, size, why);
    free(bytes);
}

START_TEST(what_is_written_is_read_again)
{
    struct example state;
    struct error error;
    size_t size, size_again;
    uint8_t *bytes = write_with(&description, &size);

    memset(&state, 0, sizeof(state));
    ck_assert_int_eq(read_into(&state, bytes, size, &error), 0);
    ck_assert_mem_eq(&state, &filled, sizeof(state));
    const struct state_parts parts = parts_of(&description, &state);
    uint8_t *again = state_write(&parts, &size_again);
    ck_assert_uint_eq(size, size_again);
    ck_assert_mem_eq(bytes, again, size);
    free(again);
    free(bytes);
}
END_TEST

/* What is on disk does not change by accident. */
START_TEST(bytes_are_as_the_header_says)
{
    static const uint16_t value = 0x1234;
    static const struct state_field field[] = {{.name = "x", .width = 2, .count = 1, .max = UINT16_MAX}};
    static const struct state_description small = {.name = "ab", .version = 5, .size = 2, .fields = field, .count = 1};
    static const uint8_t expected[] = "QSTATE1\n"
                                      "\1\0\0\0"
                                      "\24\0\0\0"
                                      "\2ab\5\0\0\0\1\0\0\0"
                                      "\1x\2\1\0\0\0\x34\x12";
    uint16_t copy = value;
    struct state_parts parts = {.count = 0};
    size_t size;

    state_add(&parts, &small, &copy);
    uint8_t *bytes = state_write(&parts, &size);
    ck_assert_uint_eq(size, sizeof(expected) - 1);
    ck_assert_mem_eq(bytes, expected, size);
    free(bytes);
}
END_TEST

START_TEST(several_parts_are_read_together_or_not_at_all)
{
    struct example states[2] = {filled, filled};
    struct state_parts parts = {.count = 0};
    struct error error;
    size_t size;

    state_add(&parts, &description, &states[0]);
    state_add(&parts, &description, &states[1]);
    states[1].two = 7;
    uint8_t *bytes = state_write(&parts, &size);
    memset(states, 0, sizeof(states));
    ck_assert_int_eq(state_read(&parts, bytes, size, &error), 0);
    ck_assert_uint_eq(states[0].two, 999);
    ck_assert_uint_eq(states[1].two, 7);
    /* The last byte is the unused one. */
    memset(states, 0, sizeof(states));
    bytes[size - 1] = 1;
    ck_assert_int_eq(state_read(&parts, bytes, size, &error), -1);
    ck_assert_uint_eq(states[0].two, 0);
    refused(bytes, size, "2 parts, and the device has 1");
    free(bytes);
}
END_TEST

START_TEST(no_parts_are_bytes_too)
{
    const struct state_parts none = {.count = 0};
    struct error error;
    size_t size;
    uint8_t *bytes = state_write(&none, &size);

    ck_assert_int_eq(state_read(&none, bytes, size, &error), 0);
    ck_assert_int_eq(state_read(&none, bytes, size - 1, &error), -1);
    refused(bytes, size, "0 parts");
    free(bytes);
}
END_TEST

START_TEST(each_truncation_is_refused)
{
    size_t size;
    uint8_t *bytes = write_with(&description, &size);

    for (size_t cut = 0; cut < size; cut++)
        refused(bytes, cut, "cut short");
    free(bytes);
}
END_TEST

START_TEST(bytes_behind_the_end_are_refused)
{
    size_t size;
    uint8_t *bytes = write_with(&description, &size);
    uint8_t *longer = calloc(1, size + 1);

    memcpy(longer, bytes, size);
    refused(longer, size + 1, "behind its end");
    /* And in the part, whose length is behind the magic and the count. */
    longer[12]++;
    refused(longer, size + 1, "behind its last field");
    free(longer);
    free(bytes);
}
END_TEST

START_TEST(other_things_are_refused)
{
    size_t size;
    uint8_t *bytes = write_with(&description, &size);

    bytes[0] ^= 1;
    refused(bytes, size, "no saved state");
    free(bytes);

    struct state_description other = description;
    other.name = "exam\nple";
    refused_from(&other, "exam?ple in the saved state where example");
    other = description;
    other.version = 4;
    refused_from(&other, "a newer one has saved it");
    other.version = 2;
    refused_from(&other, "cannot read any more");
}
END_TEST

/* A description with one field changed. */
static struct state_description with_fields(struct state_field *changed)
{
    struct state_description other = description;

    memcpy(changed, fields, sizeof(fields));
    other.fields = changed;
    return other;
}

START_TEST(fields_that_are_not_as_described_are_refused)
{
    struct state_field changed[FIELDS + 1];
    struct state_description other = with_fields(changed);

    changed[TWO].name = "tw\x1b";
    refused_from(&other, "a field tw?, which is not known");
    other = with_fields(changed);
    changed[TWO] = changed[ONE];
    refused_from(&other, "no field two before inner.one");
    changed[TWO] = changed[0];
    refused_from(&other, "the field eight twice");
    other = with_fields(changed);
    changed[FIELDS] = changed[0];
    other.count = FIELDS + 1;
    refused_from(&other, "the field eight twice");
    other.count = FIELDS - 1;
    refused_from(&other, "no field unused");
    other.count = 0;
    refused_from(&other, "no field eight");
    other = with_fields(changed);
    changed[TWO].width = 4;
    refused_from(&other, "1 numbers of 4 bytes, and should be 1 of 2");
    other = with_fields(changed);
    changed[FLAGS].count = 2;
    refused_from(&other, "2 numbers of 1 bytes, and should be 3 of 1");
}
END_TEST

START_TEST(numbers_above_their_maximum_are_refused)
{
    struct example state = filled;
    const struct state_parts parts = parts_of(&description, &state);
    size_t size;

    state.two = 1000;
    uint8_t *bytes = state_write(&parts, &size);
    refused(bytes, size, "example.two is 1000, and 999 at the most");
    free(bytes);
    state = filled;
    memset(&state.flags[2], 2, 1);
    bytes = state_write(&parts, &size);
    refused(bytes, size, "example.flags is 2");
    free(bytes);
    state = filled;
    state.unused[0] = 1;
    bytes = state_write(&parts, &size);
    refused(bytes, size, "example.unused is 1");
    free(bytes);
}
END_TEST

START_TEST(corruption_is_refused_or_another_value)
{
    struct example state;
    struct error error;
    size_t size;
    uint8_t *bytes = write_with(&description, &size);

    for (size_t i = 0; i < size; i++) {
        const uint8_t before = bytes[i];
        for (unsigned value = 0; value <= UINT8_MAX; value++) {
            bytes[i] = (uint8_t)value;
            memset(&state, 0, sizeof(state));
            (void)read_into(&state, bytes, size, &error);
        }
        bytes[i] = before;
    }
    free(bytes);
}
END_TEST

START_TEST(random_bytes_do_no_harm)
{
    uint64_t seed = test_random_seed();
    struct example state;
    struct error error;
    size_t size;

    for (unsigned round = 0; round < 20000; round++) {
        uint8_t *bytes = write_with(&description, &size);
        for (unsigned i = test_random_below(&seed, 8); i < 8; i++)
            bytes[12 + test_random_below(&seed, (unsigned)size - 12)] = (uint8_t)test_random(&seed);
        memset(&state, 0, sizeof(state));
        (void)read_into(&state, bytes, size - test_random_below(&seed, 2), &error);
        free(bytes);
    }
}
END_TEST

START_TEST(description_covers_the_whole_struct)
{
    struct state_field changed[FIELDS + 1];
    struct state_description other = with_fields(changed);

    ck_assert(state_is_whole(&description));
    other.size++;
    ck_assert(!state_is_whole(&other));
    other = with_fields(changed);
    other.count--;
    ck_assert(!state_is_whole(&other));
    other = with_fields(changed);
    memmove(&changed[ONE], &changed[ONE + 1], (FIELDS - ONE - 1) * sizeof(changed[0]));
    other.count--;
    ck_assert(!state_is_whole(&other));
    other = with_fields(changed);
    /* One twice and one not at all, with as many bytes. */
    changed[1] = changed[0];
    ck_assert(!state_is_whole(&other));
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("state");
    TCase *tests = tcase_create("state");

    tcase_add_test(tests, what_is_written_is_read_again);
    tcase_add_test(tests, bytes_are_as_the_header_says);
    tcase_add_test(tests, several_parts_are_read_together_or_not_at_all);
    tcase_add_test(tests, no_parts_are_bytes_too);
    tcase_add_test(tests, each_truncation_is_refused);
    tcase_add_test(tests, bytes_behind_the_end_are_refused);
    tcase_add_test(tests, other_things_are_refused);
    tcase_add_test(tests, fields_that_are_not_as_described_are_refused);
    tcase_add_test(tests, numbers_above_their_maximum_are_refused);
    tcase_add_test(tests, corruption_is_refused_or_another_value);
    tcase_add_test(tests, random_bytes_do_no_harm);
    tcase_add_test(tests, description_covers_the_whole_struct);
    suite_add_tcase(all, tests);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
