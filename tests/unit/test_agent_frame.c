/* Frames and payloads: to bytes and back, in any pieces, in the middle of anything. */
#include "vmm/agent/protocol.h"

#include "test_random.h"
#include "unit_test.h"

#include <string.h>

static uint64_t seed;
static struct agent_decoder decoder;
static uint8_t wire[4 * AGENT_WIRE_MAX];
static uint8_t payload[AGENT_PAYLOAD_MAX];

static void setup(void)
{
    seed = test_random_seed();
    decoder = (struct agent_decoder){0};
}

static void fill(size_t size, unsigned kind)
{
    for (size_t i = 0; i < size; i++)
        payload[i] = kind == 0   ? 0
                     : kind == 1 ? 0xff
                     : kind == 2 ? (uint8_t)(test_random_below(&seed, 4))
                                 : (uint8_t)test_random(&seed);
}

static size_t encode(uint8_t type, size_t size)
{
    const struct agent_frame frame = {.type = type, .stream = 2, .id = 0x01020304, .payload = payload, .size = size};

    return agent_frame_encode(&frame, wire);
}

/* The first frame, or damage, in len bytes, of which *ret_taken are taken. */
static enum agent_decoded decode(const uint8_t *bytes, size_t len, size_t *ret_taken, struct agent_frame *frame)
{
    return agent_decode(&decoder, bytes, len, ret_taken, frame);
}

static void expect_frame(const struct agent_frame *frame, uint8_t type, size_t size)
{
    ck_assert_uint_eq(frame->type, type);
    ck_assert_uint_eq(frame->stream, 2);
    ck_assert_uint_eq(frame->id, 0x01020304);
    ck_assert_uint_eq(frame->size, size);
    ck_assert(size == 0 || memcmp(frame->payload, payload, size) == 0);
}

/* RFC 3720, B.4, and the usual check value. */
START_TEST(the_crc_is_crc32c)
{
    const uint8_t zeros[32] = {0};

    ck_assert_uint_eq(agent_crc((const uint8_t *)"123456789", 9), 0xe3069283);
    ck_assert_uint_eq(agent_crc(zeros, sizeof(zeros)), 0x8a9136aa);
}
END_TEST

START_TEST(a_frame_of_any_size_and_content_comes_back)
{
    static const size_t sizes[] = {
        0, 1, 2, 242, 243, 244, 245, 246, 247, 253, 254, 255, 508, 509, 510, 1016, AGENT_DATA_MAX, AGENT_PAYLOAD_MAX};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (unsigned kind = 0; kind < 4; kind++) {
            struct agent_frame frame;
            size_t taken;
            fill(sizes[i], kind);
            const size_t len = encode(7, sizes[i]);
            ck_assert_uint_le(len, AGENT_WIRE_SIZE(sizes[i]));
            ck_assert_int_eq(wire[0], 0);
            ck_assert_ptr_eq(memchr(wire + 1, 0, len - 1), &wire[len - 1]);
            ck_assert_int_eq(decode(wire, len, &taken, &frame), AGENT_DECODED_FRAME);
            ck_assert_uint_eq(taken, len);
            expect_frame(&frame, 7, sizes[i]);
        }
    }
}
END_TEST

START_TEST(pieces_of_any_size_make_the_same_frame)
{
    for (int i = 0; i < 300; i++) {
        const size_t size = test_random_below(&seed, 2000);
        struct agent_frame frame;
        size_t at = 0;
        enum agent_decoded what = AGENT_DECODED_NOTHING;
        fill(size, 2);
        const size_t len = encode(9, size);
        while (what == AGENT_DECODED_NOTHING && at < len) {
            size_t piece = 1 + test_random_below(&seed, 40), taken;
            piece = piece < len - at ? piece : len - at;
            what = decode(wire + at, piece, &taken, &frame);
            at += taken;
        }
        ck_assert_int_eq(what, AGENT_DECODED_FRAME);
        ck_assert_uint_eq(at, len);
        expect_frame(&frame, 9, size);
    }
}
END_TEST

START_TEST(a_frame_after_anything_is_found)
{
    for (int i = 0; i < 300; i++) {
        const size_t garbage = 1 + test_random_below(&seed, 3 * AGENT_BODY_MAX / 2);
        static uint8_t bytes[sizeof(wire) + 2 * AGENT_BODY_MAX];
        struct agent_frame frame = {0};
        bool is_found = false;
        for (size_t j = 0; j < garbage; j++)
            bytes[j] = (uint8_t)test_random(&seed);
        fill(100, 3);
        const size_t len = encode(5, 100);
        memcpy(bytes + garbage, wire, len);
        for (size_t at = 0, taken; at < garbage + len; at += taken)
            is_found = decode(bytes + at, garbage + len - at, &taken, &frame) == AGENT_DECODED_FRAME;
        ck_assert(is_found);
        expect_frame(&frame, 5, 100);
    }
}
END_TEST

/* As of a writer that was killed. */
START_TEST(a_frame_that_breaks_off_ends_where_the_next_begins)
{
    struct agent_frame frame;
    size_t taken;

    fill(500, 3);
    const size_t len = encode(5, 500);
    for (size_t cut = 2; cut < len; cut++) {
        decoder = (struct agent_decoder){0};
        ck_assert_int_eq(decode(wire, cut, &taken, &frame), AGENT_DECODED_NOTHING);
        ck_assert_uint_eq(taken, cut);
        ck_assert_int_eq(decode(wire, len, &taken, &frame),
                         cut == len - 1 ? AGENT_DECODED_FRAME : AGENT_DECODED_DAMAGE);
        if (cut == len - 1)
            continue;
        ck_assert_uint_eq(taken, 1);
        ck_assert_int_eq(decode(wire + 1, len - 1, &taken, &frame), AGENT_DECODED_FRAME);
        expect_frame(&frame, 5, 500);
    }
}
END_TEST

START_TEST(a_changed_byte_is_noticed)
{
    struct agent_frame frame;
    size_t taken;

    fill(60, 3);
    const size_t len = encode(5, 60);
    for (size_t i = 1; i + 1 < len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            enum agent_decoded what = AGENT_DECODED_NOTHING;
            wire[i] ^= (uint8_t)(1 << bit);
            for (size_t at = 0; at < len && what != AGENT_DECODED_FRAME; at += taken)
                what = decode(wire + at, len - at, &taken, &frame);
            ck_assert_int_ne(what, AGENT_DECODED_FRAME);
            wire[i] ^= (uint8_t)(1 << bit);
        }
    }
}
END_TEST

START_TEST(what_is_too_large_is_dropped_to_its_end)
{
    static uint8_t bytes[3 * AGENT_BODY_MAX];
    struct agent_frame frame;
    size_t taken;

    memset(bytes, 0xff, sizeof(bytes));
    ck_assert_int_eq(decode(bytes, sizeof(bytes), &taken, &frame), AGENT_DECODED_NOTHING);
    fill(10, 3);
    const size_t len = encode(5, 10);
    ck_assert_int_eq(decode(wire, len, &taken, &frame), AGENT_DECODED_DAMAGE);
    ck_assert_int_eq(decode(wire + taken, len - taken, &taken, &frame), AGENT_DECODED_FRAME);
    expect_frame(&frame, 5, 10);
}
END_TEST

/* ---- Payloads ---- */

static struct agent_exec example(void)
{
    return (struct agent_exec){.flags = AGENT_EXEC_TTY,
                               .rows = 24,
                               .columns = 80,
                               .uid = 1000,
                               .gid = 100,
                               .cwd = "/tmp",
                               .argc = 3,
                               .argv = {"sh", "-c", ""},
                               .env_count = 1,
                               .env = {"A=b"}};
}

START_TEST(a_command_comes_back)
{
    const struct agent_exec in = example();
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};
    static struct agent_exec out;

    ck_assert(agent_exec_encode(&in, &writer));
    const struct agent_frame frame = {.payload = payload, .size = writer.used};
    ck_assert(agent_exec_decode(&frame, &out));
    ck_assert_uint_eq(out.flags, in.flags);
    ck_assert_uint_eq(out.rows, 24);
    ck_assert_uint_eq(out.columns, 80);
    ck_assert_uint_eq(out.uid, 1000);
    ck_assert_uint_eq(out.gid, 100);
    ck_assert_str_eq(out.cwd, "/tmp");
    ck_assert_uint_eq(out.argc, 3);
    ck_assert_str_eq(out.argv[1], "-c");
    ck_assert_str_eq(out.argv[2], "");
    ck_assert_ptr_null(out.argv[3]);
    ck_assert_str_eq(out.env[0], "A=b");
    ck_assert_ptr_null(out.env[1]);
}
END_TEST

START_TEST(a_command_that_is_cut_or_goes_on_is_none)
{
    const struct agent_exec in = example();
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};
    static struct agent_exec out;

    ck_assert(agent_exec_encode(&in, &writer));
    for (size_t size = 0; size <= writer.used + 1; size++) {
        /* In memory of its own, so that a sanitizer sees a step beyond the end. */
        uint8_t *copy = malloc(size + (size == 0));
        memcpy(copy, payload, size);
        const struct agent_frame frame = {.payload = copy, .size = size};
        ck_assert_int_eq(agent_exec_decode(&frame, &out), size == writer.used);
        free(copy);
    }
}
END_TEST

START_TEST(a_command_without_words_or_with_too_many_is_refused)
{
    static struct agent_exec exec, out;
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    exec.cwd = "";
    ck_assert(!agent_exec_encode(&exec, &writer));
    exec.argc = AGENT_ARGUMENT_MAX + 1;
    for (size_t i = 0; i <= AGENT_ARGUMENT_MAX; i++)
        exec.argv[i] = "x";
    ck_assert(!agent_exec_encode(&exec, &writer));
    /* On the wire, too. */
    writer = (struct agent_writer){.bytes = payload, .room = sizeof(payload)};
    exec.argc = AGENT_ARGUMENT_MAX;
    ck_assert(agent_exec_encode(&exec, &writer));
    payload[17] = 1 + (AGENT_ARGUMENT_MAX & 0xff);
    const struct agent_frame frame = {.payload = payload, .size = writer.used};
    ck_assert(!agent_exec_decode(&frame, &out));
}
END_TEST

START_TEST(what_does_not_fit_is_said_not_to)
{
    static char text[AGENT_PAYLOAD_MAX];
    struct agent_exec exec = example();
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    memset(text, 'x', sizeof(text) - 1);
    exec.argv[2] = text;
    ck_assert(!agent_exec_encode(&exec, &writer));
    ck_assert_uint_le(writer.used, sizeof(payload));
}
END_TEST

START_TEST(a_file_comes_back_and_has_a_name)
{
    const struct agent_file in = {.mode = 0755, .path = "/a"}, nameless = {.mode = 0755, .path = ""};
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};
    struct agent_file out;

    ck_assert(agent_file_encode(&in, &writer));
    struct agent_frame frame = {.payload = payload, .size = writer.used};
    ck_assert(agent_file_decode(&frame, &out));
    ck_assert_uint_eq(out.mode, 0755);
    ck_assert_str_eq(out.path, "/a");
    payload[1] = 0xff; /* a mode of more than 07777 */
    ck_assert(!agent_file_decode(&frame, &out));
    writer = (struct agent_writer){.bytes = payload, .room = sizeof(payload)};
    ck_assert(agent_file_encode(&nameless, &writer));
    frame.size = writer.used;
    ck_assert(!agent_file_decode(&frame, &out));
}
END_TEST

START_TEST(a_long_reason_is_cut)
{
    uint8_t small[16];
    struct agent_writer writer = {.bytes = small, .room = sizeof(small)};

    agent_fail_encode(&writer, AGENT_FAILED, "a reason that is longer than that");
    ck_assert(!writer.is_full);
    struct agent_frame frame = {.payload = small, .size = writer.used};
    struct agent_reader reader = agent_reader_of(&frame);
    ck_assert_uint_eq(agent_get_u32(&reader), AGENT_FAILED);
    ck_assert_str_eq(agent_get_string(&reader), "a reason th");
    ck_assert(agent_reader_is_done(&reader));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("agent_frame");
    TCase *frames = tcase_create("frames");
    TCase *payloads = tcase_create("payloads");

    tcase_add_checked_fixture(frames, setup, NULL);
    tcase_set_timeout(frames, 120);
    tcase_add_test(frames, the_crc_is_crc32c);
    tcase_add_test(frames, a_frame_of_any_size_and_content_comes_back);
    tcase_add_test(frames, pieces_of_any_size_make_the_same_frame);
    tcase_add_test(frames, a_frame_after_anything_is_found);
    tcase_add_test(frames, a_frame_that_breaks_off_ends_where_the_next_begins);
    tcase_add_test(frames, a_changed_byte_is_noticed);
    tcase_add_test(frames, what_is_too_large_is_dropped_to_its_end);
    suite_add_tcase(suite, frames);
    tcase_add_test(payloads, a_command_comes_back);
    tcase_add_test(payloads, a_command_that_is_cut_or_goes_on_is_none);
    tcase_add_test(payloads, a_command_without_words_or_with_too_many_is_refused);
    tcase_add_test(payloads, what_does_not_fit_is_said_not_to);
    tcase_add_test(payloads, a_file_comes_back_and_has_a_name);
    tcase_add_test(payloads, a_long_reason_is_cut);
    suite_add_tcase(suite, payloads);
    return unit_test_run(suite);
}
