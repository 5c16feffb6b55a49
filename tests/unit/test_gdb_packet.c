#include "vmm/gdb/gdb_packet.h"
#include "vmm/gdb/gdb_text.h"

#include "unit_test.h"

#include <stdio.h>
#include <string.h>

static struct gdb_reader reader;
static struct gdb_writer writer;

static void setup(void)
{
    gdb_reader_reset(&reader);
    gdb_writer_reset(&writer);
}

/* ---- In ---- */

struct event {
    enum gdb_event event;
    /* Of packets. */
    const char *payload;
};

/* All events of the bytes, and no more of them; the same whether they come at once or one by one. */
static void check_events(const char *bytes, size_t size, const struct event *events, size_t count)
{
    for (size_t step = 1; step <= size; step += size - 1 > 0 ? size - 1 : 1) {
        size_t seen = 0;
        gdb_reader_reset(&reader);
        for (size_t at = 0; at < size;) {
            size_t used;
            const enum gdb_event event =
                gdb_reader_take(&reader, (const uint8_t *)bytes + at, step < size - at ? step : size - at, &used);
            ck_assert_uint_gt(used, 0);
            at += used;
            if (event == GDB_EVENT_NONE)
                continue;
            ck_assert_uint_lt(seen, count);
            ck_assert_int_eq(event, events[seen].event);
            if (event == GDB_EVENT_PACKET) {
                ck_assert_str_eq((const char *)reader.payload, events[seen].payload);
                ck_assert_uint_eq(reader.size, strlen(events[seen].payload));
            }
            seen++;
        }
        ck_assert_uint_eq(seen, count);
    }
}

#define CHECK(bytes, ...)                                                                                              \
    do {                                                                                                               \
        const struct event expected[] = {__VA_ARGS__};                                                                 \
        check_events(bytes, sizeof(bytes) - 1, expected, sizeof(expected) / sizeof(expected[0]));                      \
    } while (0)
#define CHECK_NOTHING(bytes) check_events(bytes, sizeof(bytes) - 1, NULL, 0)

START_TEST(packets_and_what_is_between_them)
{
    CHECK("$g#67", {GDB_EVENT_PACKET, "g"});
    CHECK("$#00", {GDB_EVENT_PACKET, ""});
    CHECK("+$g#67$c#63", {GDB_EVENT_ACK, NULL}, {GDB_EVENT_PACKET, "g"}, {GDB_EVENT_PACKET, "c"});
    CHECK("garbage #67 %$g#67more", {GDB_EVENT_PACKET, "g"});
    CHECK("+-\x03", {GDB_EVENT_ACK, NULL}, {GDB_EVENT_NACK, NULL}, {GDB_EVENT_INTERRUPT, NULL});
    CHECK_NOTHING("$g");
    CHECK_NOTHING("$g#");
    CHECK_NOTHING("$g#6");
    CHECK_NOTHING("\xff\xfe\n\r }*");
}
END_TEST

START_TEST(digits_of_the_checksum_have_either_case)
{
    CHECK("$mj#d7", {GDB_EVENT_PACKET, "mj"});
    CHECK("$mj#D7", {GDB_EVENT_PACKET, "mj"});
}
END_TEST

START_TEST(wrong_checksums_are_told)
{
    CHECK("$g#68", {GDB_EVENT_BAD_CHECKSUM, NULL});
    CHECK("$g#6x$g#67", {GDB_EVENT_BAD_CHECKSUM, NULL}, {GDB_EVENT_PACKET, "g"});
    CHECK("$g#x7", {GDB_EVENT_BAD_CHECKSUM, NULL});
    CHECK("$#zz", {GDB_EVENT_BAD_CHECKSUM, NULL});
}
END_TEST

START_TEST(new_packet_replaces_one_that_was_cut_off)
{
    CHECK("$qSupp$g#67", {GDB_EVENT_PACKET, "g"});
    CHECK("$X}$g#67", {GDB_EVENT_PACKET, "g"});
}
END_TEST

START_TEST(escapes_are_undone)
{
    /* "}\x03" is '#', "}\x04" '$', "}]" '}', and the checksum is of what is sent. */
    CHECK("$X}\x03}\x04}]#33", {GDB_EVENT_PACKET, "X#$}"});
    CHECK("$}}#fa", {GDB_EVENT_PACKET, "]"});
    /* Interrupts and acknowledgements within are the packet's. Runs are not: '*' is a character. */
    CHECK("$\x03+-0* #d5", {GDB_EVENT_PACKET, "\x03+-0* "});
}
END_TEST

static size_t feed(uint8_t byte, size_t count, enum gdb_event *event)
{
    static uint8_t bytes[4096];
    size_t total = 0;

    memset(bytes, byte, sizeof(bytes));
    while (total < count) {
        size_t used;
        *event = gdb_reader_take(&reader, bytes, count - total < sizeof(bytes) ? count - total : sizeof(bytes), &used);
        total += used;
    }
    return total;
}

static enum gdb_event feed_text(const char *text)
{
    size_t used;

    return gdb_reader_take(&reader, (const uint8_t *)text, strlen(text), &used);
}

static enum gdb_event feed_packet_of(size_t size, uint8_t byte)
{
    enum gdb_event event = GDB_EVENT_NONE;
    char tail[8];

    ck_assert_int_eq(feed_text("$"), GDB_EVENT_NONE);
    feed(byte, size, &event);
    ck_assert_int_eq(event, GDB_EVENT_NONE);
    (void)snprintf(tail, sizeof(tail), "#%02x", (unsigned)(size * byte) & 0xff);
    return feed_text(tail);
}

START_TEST(largest_packet_fits_and_larger_ones_are_dropped_whole)
{
    ck_assert_int_eq(feed_packet_of(GDB_PACKET_SIZE, 'a'), GDB_EVENT_PACKET);
    ck_assert_uint_eq(reader.size, GDB_PACKET_SIZE);
    ck_assert_uint_eq(reader.payload[GDB_PACKET_SIZE], 0);
    ck_assert_int_eq(feed_packet_of(GDB_PACKET_SIZE + 1, 'a'), GDB_EVENT_TOO_LONG);
    ck_assert_int_eq(feed_packet_of(10 * 1024 * 1024, 'a'), GDB_EVENT_TOO_LONG);
    ck_assert_int_eq(feed_text("$g#67"), GDB_EVENT_PACKET);
    ck_assert_str_eq((const char *)reader.payload, "g");
}
END_TEST

START_TEST(interrupts_are_found_outside_of_packets_only)
{
    static const char bytes[] = "$X\x03#\x03\x03+$}\x03#00+\x03+";
    enum gdb_framing framing = GDB_OUTSIDE;

    ck_assert_uint_eq(gdb_find_interrupt(&framing, (const uint8_t *)bytes, sizeof(bytes) - 1), sizeof(bytes) - 3);
    framing = GDB_OUTSIDE;
    for (size_t i = 0; i < sizeof(bytes) - 1; i++)
        ck_assert_uint_eq(gdb_find_interrupt(&framing, (const uint8_t *)bytes + i, 1), i == sizeof(bytes) - 3 ? 0 : 1);
}
END_TEST

/* ---- Out ---- */

static void check_output(const char *expected)
{
    ck_assert_uint_eq(writer.size - writer.sent, strlen(expected));
    ck_assert_mem_eq(writer.bytes + writer.sent, expected, strlen(expected));
}

static void send_all(void)
{
    gdb_writer_sent(&writer, writer.size - writer.sent);
    ck_assert(gdb_writer_is_empty(&writer));
}

static void put_packet(const char *text)
{
    gdb_put_begin(&writer);
    gdb_put_text(&writer, text);
    gdb_put_end(&writer);
}

START_TEST(packets_have_their_checksums)
{
    gdb_writer_acknowledge(&writer, true);
    put_packet("OK");
    check_output("+$OK#9a");
    send_all();
    put_packet("");
    check_output("$#00");
}
END_TEST

START_TEST(bytes_are_written_as_digits_or_escaped)
{
    gdb_put_begin(&writer);
    ck_assert_uint_eq(gdb_put_hex(&writer, "\x00\x9f\xfa", 3), 3);
    gdb_put_end(&writer);
    check_output("$009ffa#c6");
    send_all();
    gdb_put_begin(&writer);
    gdb_put_text(&writer, "m");
    ck_assert_uint_eq(gdb_put_binary(&writer, "#$}*a", 5), 5);
    gdb_put_first(&writer, 'l');
    gdb_put_end(&writer);
    check_output("$l}\x03}\x04}]}\na#2f");
}
END_TEST

/* What a client makes of runs. */
static size_t expand(uint8_t *to)
{
    const uint8_t *from = writer.bytes + writer.packet + 1;
    size_t size = 0;

    for (; *from != '#'; from++) {
        if (*from != '*') {
            to[size++] = *from;
            continue;
        }
        ck_assert_uint_gt(size, 0);
        const unsigned repeats = *++from - 29u;
        ck_assert_uint_ge(repeats, 3);
        ck_assert_uint_le(*from, 126);
        ck_assert_ptr_null(strchr("#$+-", *from));
        memset(to + size, to[size - 1], repeats);
        size += repeats;
    }
    return size;
}

static void check_runs(const uint8_t *bytes, size_t size)
{
    static uint8_t digits[2 * 4096], expanded[2 * 4096];

    gdb_hex_encode(digits, bytes, size);
    gdb_writer_reset(&writer);
    gdb_put_begin(&writer);
    ck_assert_uint_eq(gdb_put_hex_runs(&writer, bytes, size), size);
    ck_assert_uint_le(writer.size, 1 + 2 * size);
    gdb_put_end(&writer);
    ck_assert_uint_eq(expand(expanded), 2 * size);
    ck_assert_mem_eq(digits, expanded, 2 * size);
}

START_TEST(runs_are_said_shortly)
{
    static const uint8_t values[] = {0, 0xff, 0x11, 0x01};
    static uint8_t bytes[4096];

    /* Whole blocks make every rest that a longest run can leave. */
    for (size_t value = 0; value < sizeof(values); value++) {
        for (size_t length = 0; length <= 2048; length += length < 64 ? 1 : 16) {
            memset(bytes, 0x12, sizeof(bytes));
            memset(bytes + length / 3, values[value], length);
            check_runs(bytes, length / 3 + length + length % 5);
        }
    }
    memset(bytes, 0, sizeof(bytes));
    check_runs(bytes, 1024);
    ck_assert_uint_lt(writer.size, 80);
    check_runs(bytes, 8);
    ck_assert_uint_eq(writer.size, 8 * 2 + 4);
}
END_TEST

START_TEST(what_does_not_fit_is_left_away)
{
    static uint8_t bytes[GDB_PACKET_SIZE + 1];

    gdb_put_begin(&writer);
    ck_assert_uint_eq(gdb_put_hex(&writer, bytes, sizeof(bytes)), GDB_PACKET_SIZE / 2);
    ck_assert_uint_eq(gdb_put_room(&writer), 0);
    gdb_put_text(&writer, "no room");
    gdb_put_end(&writer);
    ck_assert_uint_eq(writer.size, GDB_PACKET_SIZE + 4);
    send_all();
    memset(bytes, '#', sizeof(bytes));
    gdb_put_begin(&writer);
    ck_assert_uint_eq(gdb_put_binary(&writer, bytes, sizeof(bytes)), GDB_PACKET_SIZE / 2);
    gdb_put_end(&writer);
    ck_assert_uint_eq(writer.size, GDB_PACKET_SIZE + 4);
}
END_TEST

START_TEST(buffer_never_overflows_while_nobody_reads)
{
    for (size_t i = 0; i < 2 * GDB_WRITER_SIZE; i++)
        gdb_writer_acknowledge(&writer, false);
    ck_assert_uint_eq(writer.size, GDB_WRITER_SIZE);
}
END_TEST

START_TEST(last_packet_is_sent_again_when_it_is_asked_for)
{
    put_packet("O61");
    put_packet("OK");
    send_all();
    ck_assert(gdb_writer_again(&writer));
    check_output("$OK#9a");
    /* Not twice while it is on its way. */
    ck_assert(gdb_writer_again(&writer));
    check_output("$OK#9a");
    send_all();
    gdb_writer_acknowledged(&writer);
    ck_assert(gdb_writer_again(&writer));
    check_output("");
}
END_TEST

START_TEST(it_is_not_sent_again_without_end)
{
    put_packet("OK");
    send_all();
    for (unsigned i = 0; i < GDB_RETRANSMISSIONS; i++) {
        ck_assert(gdb_writer_again(&writer));
        send_all();
    }
    ck_assert(!gdb_writer_again(&writer));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gdb_packet");
    TCase *tcase = tcase_create("gdb_packet");

    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, packets_and_what_is_between_them);
    tcase_add_test(tcase, digits_of_the_checksum_have_either_case);
    tcase_add_test(tcase, wrong_checksums_are_told);
    tcase_add_test(tcase, new_packet_replaces_one_that_was_cut_off);
    tcase_add_test(tcase, escapes_are_undone);
    tcase_add_test(tcase, largest_packet_fits_and_larger_ones_are_dropped_whole);
    tcase_add_test(tcase, interrupts_are_found_outside_of_packets_only);
    tcase_add_test(tcase, packets_have_their_checksums);
    tcase_add_test(tcase, bytes_are_written_as_digits_or_escaped);
    tcase_add_test(tcase, runs_are_said_shortly);
    tcase_add_test(tcase, what_does_not_fit_is_left_away);
    tcase_add_test(tcase, buffer_never_overflows_while_nobody_reads);
    tcase_add_test(tcase, last_packet_is_sent_again_when_it_is_asked_for);
    tcase_add_test(tcase, it_is_not_sent_again_without_end);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
