#include "vmm/gdb/gdb_packet.h"
#include "vmm/gdb/gdb_protocol.h"
#include "vmm/gdb/gdb_registers.h"
#include "vmm/gdb/gdb_text.h"

#include "fake_target.h"
#include "unit_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LARGE = GDB_PACKET_SIZE + 64 };

#define BASE "ffffffff81000000"

static struct fake_target fake;
static struct gdb_protocol *protocol;
static struct log silent = {.level = LOG_LEVEL_DEBUG};
static struct error error;
/* What has been sent, taken and not yet looked at. */
static char output[4 * GDB_WRITER_SIZE];
static size_t output_size;

static void stopped(void *server, const struct debug_stop *stop)
{
    gdb_protocol_stopped(server, stop);
}

static void setup_with(bool has_avx)
{
    silent.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    fake_target_init(&fake, has_avx);
    protocol = gdb_protocol_create(&fake.target, &silent, &error);
    ck_assert_ptr_nonnull(protocol);
    fake.target.stopped = stopped;
    fake.target.server = protocol;
}

static void teardown(void)
{
    gdb_protocol_destroy(protocol);
    fake_target_fini(&fake);
    close(silent.fd);
}

/* ---- A client ---- */

static void collect(void)
{
    size_t size;
    const uint8_t *bytes = gdb_protocol_output(protocol, &size);

    ck_assert_uint_le(output_size + size, sizeof(output) - 1);
    memcpy(output + output_size, bytes, size);
    output_size += size;
    output[output_size] = '\0';
    gdb_protocol_sent(protocol, size);
}

/* As a connection would. Output that comes is taken at once. */
static void push(const void *bytes, size_t size)
{
    static uint8_t input[16 * 1024 * 1024];
    size_t left = size;

    memcpy(input, bytes, size);
    for (;;) {
        const size_t used = gdb_protocol_take(protocol, input + size - left, left, 0);
        left -= used;
        collect();
        if (gdb_protocol_has_work(protocol))
            gdb_protocol_work(protocol);
        else if (used == 0)
            break;
        collect();
    }
}

static size_t make_packet(char *packet, const void *payload, size_t size)
{
    const uint8_t *from = payload;
    uint8_t sum = 0;
    size_t used = 0;

    packet[used++] = '$';
    for (size_t i = 0; i < size; i++) {
        if (from[i] == '#' || from[i] == '$' || from[i] == '}') {
            packet[used++] = '}';
            packet[used++] = (char)(from[i] ^ 0x20);
        } else {
            packet[used++] = (char)from[i];
        }
    }
    for (size_t i = 1; i < used; i++)
        sum = (uint8_t)(sum + (uint8_t)packet[i]);
    return used + (size_t)sprintf(packet + used, "#%02x", sum);
}

static void push_payload(const void *payload, size_t size)
{
    static char packet[2 * LARGE];

    push(packet, make_packet(packet, payload, size));
}

static void push_text(const char *payload)
{
    push_payload(payload, strlen(payload));
}

/* The next packet of the output, without frame and escapes, in *size bytes. NULL: there is none. */
static const char *next_packet(size_t *size)
{
    static char payload[GDB_WRITER_SIZE];
    size_t used = 0, at = 1;

    if (output_size == 0)
        return NULL;
    ck_assert_int_eq(output[0], '$');
    ck_assert_ptr_nonnull(memchr(output, '#', output_size));
    uint8_t sum = 0;
    for (; output[at] != '#'; at++) {
        sum = (uint8_t)(sum + (uint8_t)output[at]);
        if (output[at] == '}') {
            sum = (uint8_t)(sum + (uint8_t)output[++at]);
            payload[used++] = (char)(output[at] ^ 0x20);
        } else if (output[at] == '*') {
            /* The character before, so many times more. */
            sum = (uint8_t)(sum + (uint8_t)output[++at]);
            memset(payload + used, payload[used - 1], (size_t)output[at] - 29);
            used += (size_t)output[at] - 29;
        } else {
            payload[used++] = output[at];
        }
    }
    uint8_t claimed;
    ck_assert(gdb_hex_decode(&claimed, (const uint8_t *)output + at + 1, 1));
    ck_assert_uint_eq(claimed, sum);
    output_size -= at + 3;
    memmove(output, output + at + 3, output_size + 1);
    payload[used] = '\0';
    *size = used;
    return payload;
}

static const char *next_text(void)
{
    size_t size;
    const char *text = next_packet(&size);

    if (text != NULL)
        ck_assert_uint_eq(strlen(text), size);
    return text;
}

/* The one reply; nothing more has been sent. */
static const char *ask(const char *payload)
{
    push_text(payload);
    const char *reply = next_text();
    ck_assert_msg(reply != NULL, "no reply to %s", payload);
    ck_assert_msg(output_size == 0, "more than a reply to %s: %s", payload, output);
    return reply;
}

static void check(const char *payload, const char *expected)
{
    const char *reply = ask(payload);

    ck_assert_msg(strcmp(reply, expected) == 0, "%s: %s, expected %s", payload, reply, expected);
}

static void check_silent(void)
{
    ck_assert_msg(output_size == 0, "unexpected: %s", output);
}

/* A client that has connected and asked for no acknowledgements. */
static void connect_client(void)
{
    gdb_protocol_connect(protocol);
    if (!fake.stops_at_once)
        fake_target_stop(&fake, DEBUG_STOP_INTERRUPTED, 0);
    collect();
    check_silent();
    push_text("QStartNoAckMode");
    ck_assert_str_eq(output, "+$OK#9a");
    output_size = 0;
}

static void setup(void)
{
    setup_with(true);
    connect_client();
}

static void setup_without_avx(void)
{
    setup_with(false);
    connect_client();
}

static void setup_unconnected(void)
{
    setup_with(true);
}

/* ---- The session ---- */

START_TEST(features_are_announced)
{
    const char *reply = ask("qSupported");
    ck_assert_ptr_nonnull(strstr(reply, "PacketSize=20000;QStartNoAckMode+;qXfer:features:read+;qXfer:threads:read+"));
    ck_assert_ptr_nonnull(strstr(reply, ";vContSupported+"));
    ck_assert_ptr_nonnull(strstr(reply, ";binary-upload+"));
    ck_assert_ptr_nonnull(strstr(reply, ";multiprocess-"));
    ck_assert_ptr_null(strstr(reply, "swbreak"));
    ck_assert_ptr_null(strstr(reply, "hwbreak"));
    ck_assert_ptr_null(strstr(reply, "error-message"));
    reply = ask("qSupported:multiprocess+;swbreak+;hwbreak+;xmlRegisters=i386;error-message+;;x");
    ck_assert_ptr_nonnull(strstr(reply, ";swbreak+"));
    ck_assert_ptr_nonnull(strstr(reply, ";hwbreak+"));
    ck_assert_ptr_nonnull(strstr(reply, ";error-message+"));
}
END_TEST

static const char *const unknown[] = {"vMustReplyEmpty",
                                      "qTStatus",
                                      "QThreadSuffixSupported",
                                      "vRun;",
                                      "vFile:setfs:0",
                                      "qOffsets",
                                      "j",
                                      "",
                                      "Z5,0,1",
                                      "z9,0,1",
                                      "qSupportedX",
                                      "qXfer:memory-map:read::0,8",
                                      "vContX",
                                      "QNonStop:1",
                                      "bc",
                                      "qC2",
                                      "\x01"};

START_TEST(unknown_packets_get_an_empty_reply)
{
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        check(unknown[i], "");
}
END_TEST

static const char *const malformed[] = {"H",
                                        "Hg",
                                        "Hx1",
                                        "Hg4",
                                        "Hg1x",
                                        "Hgp1.1",
                                        "Hc99999999999999999",
                                        "T",
                                        "T0",
                                        "T4",
                                        "T-1",
                                        "Tx",
                                        "m",
                                        "m0",
                                        "m,1",
                                        "m0,",
                                        "m" BASE ",0",
                                        "m" BASE ",1,",
                                        "mx,1",
                                        "m11111111111111111,1",
                                        "x",
                                        "x1",
                                        "x" BASE ",1;",
                                        "M",
                                        "M" BASE ",1",
                                        "M" BASE ",1:",
                                        "M" BASE ",1:0",
                                        "M" BASE ",1:0g",
                                        "M" BASE ",2:00",
                                        "M" BASE ",1:0000",
                                        "X" BASE ",1:",
                                        "X" BASE ",1:ab",
                                        "X" BASE "1:a",
                                        "p",
                                        "px",
                                        "p52",
                                        "pffffffffffffffff",
                                        "p0=",
                                        "P",
                                        "P0",
                                        "P0=",
                                        "P0=00",
                                        "P0=000000000000000g",
                                        "P52=00000000000000000000000000000000",
                                        "P0=00000000000000000",
                                        "G",
                                        "G00",
                                        "Gxx",
                                        "Z",
                                        "Z0",
                                        "Z0,",
                                        "Z0," BASE,
                                        "Z0," BASE ",",
                                        "Z0," BASE ",1;X1,0",
                                        "Z2," BASE ",0",
                                        "z0",
                                        "z3," BASE ",0",
                                        "vCont",
                                        "vCont;",
                                        "vCont;x",
                                        "vCont;c:",
                                        "vCont;c:4",
                                        "vCont;c:x",
                                        "vCont;s:1;",
                                        "vCont;C",
                                        "vCont;C:1",
                                        "vCont;C100",
                                        "vCont;r",
                                        "vCont;r1",
                                        "vCont;r1,",
                                        "vCont;r2,1",
                                        "vCont;cs",
                                        "vCont:c",
                                        "cx",
                                        "c1x",
                                        "sx",
                                        "C",
                                        "Cx",
                                        "C05;",
                                        "C05;x",
                                        "C05,1",
                                        "S",
                                        "Szz",
                                        "S05;x",
                                        "qXfer:features:read",
                                        "qXfer:features:read:target.xml",
                                        "qXfer:features:read:target.xml:0",
                                        "qXfer:features:read:target.xml:0,",
                                        "qXfer:features:read:other.xml:0,10",
                                        "qXfer:features:read::0,10",
                                        "qXfer:features:read:target.xml:ffffff,10",
                                        "qXfer:features:read:target.xml:0,10,",
                                        "qXfer:threads:read:x:0,10",
                                        "qXfer:threads:read::ffffff,10",
                                        "qThreadExtraInfo",
                                        "qThreadExtraInfo,",
                                        "qThreadExtraInfo,0",
                                        "qThreadExtraInfo,-1",
                                        "qThreadExtraInfo,4",
                                        "qThreadExtraInfo,1x",
                                        "qRcmd",
                                        "qRcmd,6",
                                        "qRcmd,6x",
                                        "qSearch:memory",
                                        "qSearch:memory:",
                                        "qSearch:memory:0",
                                        "qSearch:memory:0;1",
                                        "qSearch:memory:0;1;",
                                        "qSearch:memory:x;1;a",
                                        "qSearch:memory:2;ffffffffffffffff;a",
                                        "qCRC",
                                        "qCRC:",
                                        "qCRC:0",
                                        "qCRC:0,1,",
                                        "qCRC:2,ffffffffffffffff",
                                        "Qqemu.PhyMemMode",
                                        "Qqemu.PhyMemMode:",
                                        "Qqemu.PhyMemMode:x",
                                        "Qqemu.PhyMemMode:1x"};

START_TEST(malformed_packets_get_an_error_and_change_nothing)
{
    const struct debug_registers before = fake.registers[0];

    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        check(malformed[i], "E01");
    ck_assert_mem_eq(&before, &fake.registers[0], sizeof(before));
    ck_assert_uint_eq(fake.resumes, 0);
    ck_assert_uint_eq(fake.point_count, 0);
    (void)ask("qSupported:error-message+");
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        check(malformed[i], "E.the packet is malformed");
    ck_assert_str_eq(ask("?") + 1,
                     "02thread:1;06:40000881ffffffff;07:00000881ffffffff;10:00000081ffffffff;11:46020000;");
}
END_TEST

START_TEST(errors_of_the_target_are_told)
{
    static const char *const asked[] = {
        "g", "p0",      "p20",  "Z0," BASE ",1", "z0," BASE ",1", "m0,1", "x0,1", "M" BASE ",1:00", "X" BASE ",1:a",
        "c", "vCont;c", "s1234"};
    fake.fails = true;
    for (size_t i = 0; i < 9; i++)
        check(asked[i], "E01");
    (void)ask("qSupported:error-message+");
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        const char *reply = ask(asked[i]);
        ck_assert_msg(strncmp(reply, "E.", 2) == 0, "%s: %s", asked[i], reply);
        if (i != 5 && i != 6)
            ck_assert_str_eq(reply, "E.the fake target was told to fail#$}");
    }
    fake.fails = false;
    ck_assert_str_eq(ask("p6"), "40000881ffffffff");
}
END_TEST

START_TEST(acknowledgements_until_they_are_switched_off)
{
    gdb_protocol_connect(protocol);
    fake_target_stop(&fake, DEBUG_STOP_INTERRUPTED, 0);
    push("$qC#b4", 6);
    ck_assert_str_eq(output, "+$QC1#c5");
    output_size = 0;
    /* Asked again, until it has arrived. */
    push("-", 1);
    ck_assert_str_eq(output, "$QC1#c5");
    output_size = 0;
    push("+-", 2);
    check_silent();
    push("$qC#b5", 6);
    ck_assert_str_eq(output, "-");
    output_size = 0;
    push("$qC#b4", 6);
    output_size = 0;
    for (unsigned i = 0; i < GDB_RETRANSMISSIONS; i++)
        push("-", 1);
    ck_assert(!gdb_protocol_is_over(protocol));
    push("-", 1);
    ck_assert(gdb_protocol_is_over(protocol));
    if (_i == 1)
        gdb_protocol_exited(protocol, 0);
    gdb_protocol_disconnect(protocol);
    ck_assert_uint_eq(fake.detaches, _i == 0 ? 1 : 0);
}
END_TEST

START_TEST(without_acknowledgements_a_bad_packet_is_an_error)
{
    push("$qC#b5", 6);
    ck_assert_str_eq(next_text(), "E01");
    check_silent();
    push("-+", 2);
    check_silent();
}
END_TEST

START_TEST(too_long_a_packet_is_an_error_and_dropped_whole)
{
    static char payload[10 * 1024 * 1024];

    memset(payload, 'm', sizeof(payload));
    static char packet[sizeof(payload) + 8];
    push(packet, make_packet(packet, payload, sizeof(payload)));
    ck_assert_str_eq(next_text(), "E01");
    check_silent();
    check("qC", "QC1");
}
END_TEST

START_TEST(bytes_may_come_one_at_a_time)
{
    static const char bytes[] = "junk$qC#b4+$qAttached#8f";

    for (size_t i = 0; i < sizeof(bytes) - 1; i++)
        push(bytes + i, 1);
    ck_assert_str_eq(next_text(), "QC1");
    ck_assert_str_eq(next_text(), "1");
    check_silent();
}
END_TEST

START_TEST(nothing_is_taken_while_a_reply_waits)
{
    uint8_t bytes[] = "$qC#b4$qC#b4$qC#b4";
    size_t size;

    ck_assert_uint_eq(gdb_protocol_take(protocol, bytes, 18, 0), 6);
    ck_assert_uint_eq(gdb_protocol_take(protocol, bytes + 6, 12, 12), 0);
    (void)gdb_protocol_output(protocol, &size);
    ck_assert_uint_eq(size, 7);
    gdb_protocol_sent(protocol, 6);
    ck_assert_uint_eq(gdb_protocol_take(protocol, bytes + 6, 12, 12), 0);
    gdb_protocol_sent(protocol, 1);
    ck_assert_uint_eq(gdb_protocol_take(protocol, bytes + 6, 12, 12), 6);
}
END_TEST

/* ---- Small commands ---- */

START_TEST(threads_are_vcpus)
{
    check("qfThreadInfo", "m1,2,3");
    check("qsThreadInfo", "l");
    check("qC", "QC1");
    check("Hg2", "OK");
    check("qC", "QC2");
    check("Hg0", "OK");
    check("Hg-1", "OK");
    check("qC", "QC2");
    check("Hc3", "OK");
    check("Hc-1", "OK");
    check("T3", "OK");
    check("p10", "00100081ffffffff");
    const char *reply = ask("qThreadExtraInfo,3");
    char text[64] = "";
    ck_assert(gdb_hex_decode(text, (const uint8_t *)reply, strlen(reply) / 2));
    ck_assert_str_eq(text, "halted, space \"<2&>\"");
    ck_assert_str_eq(ask("qXfer:threads:read::0,1000"),
                     "l<?xml version=\"1.0\"?>\n<threads>\n"
                     "<thread id=\"1\" core=\"0\" name=\"vCPU 0\">halted, space &#34;&#60;0&#38;&#62;&#34;</thread>\n"
                     "<thread id=\"2\" core=\"1\" name=\"vCPU 1\">halted, space &#34;&#60;1&#38;&#62;&#34;</thread>\n"
                     "<thread id=\"3\" core=\"2\" name=\"vCPU 2\">halted, space &#34;&#60;2&#38;&#62;&#34;</thread>\n"
                     "</threads>\n");
}
END_TEST

START_TEST(documents_come_in_parts)
{
    char *xml = gdb_registers_describe(true), *joined = calloc(1, strlen(xml) + 1);
    char request[64];
    bool is_last = false;

    while (!is_last) {
        (void)snprintf(request, sizeof(request), "qXfer:features:read:target.xml:%zx,%x", strlen(joined), 1000);
        const char *reply = ask(request);
        is_last = reply[0] == 'l';
        ck_assert(is_last || reply[0] == 'm');
        ck_assert_uint_le(strlen(joined) + strlen(reply + 1), strlen(xml));
        ck_assert(is_last || strlen(reply + 1) == 1000);
        strcat(joined, reply + 1);
    }
    ck_assert_str_eq(joined, xml);
    (void)snprintf(request, sizeof(request), "qXfer:features:read:target.xml:%zx,10", strlen(xml));
    check(request, "l");
    free(joined);
    free(xml);
}
END_TEST

START_TEST(small_commands)
{
    check("!", "OK");
    check("qAttached", "1");
    check("qAttached:1", "1");
    check("qSymbol::", "OK");
    check("vCont?", "vCont;c;C;s;S;t;r");
    check("qqemu.Supported", "PhyMemMode");
    check("qqemu.PhyMemMode", "0");
    check("Qqemu.PhyMemMode:1", "OK");
    ck_assert(fake.is_physical);
    check("qqemu.PhyMemMode", "1");
    check("Qqemu.PhyMemMode:0", "OK");
    ck_assert(!fake.is_physical);
}
END_TEST

/* ---- Registers ---- */

START_TEST(registers_are_read_and_written)
{
    check("p0", "1010101010101010");
    check("P0=0807060504030201", "OK");
    ck_assert_uint_eq(fake.registers[0].general[DEBUG_RAX], 0x0102030405060708);
    check("p0", "0807060504030201");
    check("Hg3", "OK");
    check("P3b=8877665544332211", "OK");
    ck_assert_uint_eq(fake.registers[2].kernel_gs_base, 0x1122334455667788);
    check("p3c", "3300058000000000");
    /* xmm1, and the component with it */
    check("P29=00112233445566778899aabbccddeeff", "OK");
    ck_assert_uint_eq(fake.vectors[2].xsave[160 + 16 + 1], 0x11);
    ck_assert_uint_eq(fake.vectors[2].xsave[512], 7);
    ck_assert_uint_eq(fake.vectors[0].xsave[160 + 16 + 1], 0);
    check("p51", "00000000000000000000000000000000");
}
END_TEST

START_TEST(all_registers_come_back)
{
    char all[2 * GDB_REGISTERS_MAX + 2] = "G";

    strcat(all, ask("g"));
    ck_assert_uint_eq(strlen(all), 1 + 2 * gdb_registers_size(true));
    const struct debug_registers before = fake.registers[0];
    fake.registers[0].general[DEBUG_R15] = 0;
    fake.registers[0].cr3 = 0;
    check(all, "OK");
    ck_assert_mem_eq(&fake.registers[0], &before, sizeof(before));
    all[strlen(all) - 1] = '\0';
    check(all, "E01");
}
END_TEST

START_TEST(without_avx_there_are_fewer)
{
    ck_assert_uint_eq(strlen(ask("g")), 2 * gdb_registers_size(false));
    check("p41", "010d000000000000");
    check("p42", "E01");
    check("P42=00000000000000000000000000000000", "E01");
    ck_assert_ptr_null(strstr(ask("qXfer:features:read:target.xml:0,20000"), "avx"));
}
END_TEST

/* ---- Memory ---- */

START_TEST(memory_is_read_and_written)
{
    size_t size;

    check("M" BASE ",4:deadBEEF", "OK");
    check("m" BASE ",5", "deadbeef00");
    push_payload("X" BASE ",5:#$}*\0", 25);
    ck_assert_str_eq(next_text(), "OK");
    ck_assert_mem_eq(fake.memory, "#$}*", 5);
    push_text("x" BASE ",5");
    ck_assert_mem_eq(next_packet(&size), "b#$}*", 6);
    ck_assert_uint_eq(size, 6);
    check("X" BASE ",0:", "OK");
    check("M" BASE ",0:", "OK");
    check("x0,0", "b");
    /* What cannot be read ends it. */
    check("mffffffff810fffff,10", "00");
    push_text("xffffffff810fffff,10");
    ck_assert_mem_eq(next_packet(&size), "b", 2);
    ck_assert_uint_eq(size, 2);
    check("mffffffff80ffffff,10", "E01");
    check("xffffffff80ffffff,10", "E01");
    check("Mffffffff810fffff,2:0000", "E01");
}
END_TEST

START_TEST(large_reads_fill_a_packet)
{
    size_t size;

    memset(fake.memory, '#', FAKE_MEMORY_SIZE / 2);
    ck_assert_uint_eq(strlen(ask("m" BASE ",ffffffffffffffff")), GDB_PACKET_SIZE);
    ck_assert_uint_eq(strlen(ask("m" BASE ",10000")), GDB_PACKET_SIZE);
    push_text("x" BASE ",20000");
    (void)next_packet(&size);
    ck_assert_uint_eq(size, GDB_PACKET_SIZE / 2);
    push_text("xffffffff81080000,20000");
    (void)next_packet(&size);
    ck_assert_uint_eq(size, GDB_PACKET_SIZE);
}
END_TEST

START_TEST(large_writes_arrive)
{
    static char payload[GDB_PACKET_SIZE];
    const int head = sprintf(payload, "Xffffffff81000001,%x:", GDB_PACKET_SIZE - 25);

    ck_assert_int_eq(head, 25 - 1);
    for (size_t i = (size_t)head; i < sizeof(payload); i++)
        payload[i] = (char)(i * 3);
    push_payload(payload, (size_t)head + GDB_PACKET_SIZE - 25);
    ck_assert_str_eq(next_text(), "OK");
    ck_assert_mem_eq(fake.memory + 1, payload + head, GDB_PACKET_SIZE - 25);
}
END_TEST

START_TEST(memory_is_searched)
{
    memcpy(fake.memory + 0x3fffe, "needle", 6); /* across two readings */
    check("qSearch:memory:" BASE ";100000;needle", "1,ffffffff8103fffe");
    check("qSearch:memory:" BASE ";40004;needle", "1,ffffffff8103fffe");
    check("qSearch:memory:" BASE ";40003;needle", "0");
    check("qSearch:memory:ffffffff8103ffff;1000;needle", "0");
    check("qSearch:memory:" BASE ";0;needle", "0");
    check("qSearch:memory:" BASE ";7f000000;needle", "1,ffffffff8103fffe");
    check("qSearch:memory:" BASE ";7f000000;thread", "E01");
    check("qSearch:memory:0;10;needle", "E01");
    push_payload("qSearch:memory:" BASE ";100000;\0\0n", 42);
    ck_assert_str_eq(next_text(), "1,ffffffff8103fffc");
    check("qC", "QC1");
}
END_TEST

START_TEST(checksums_are_gdbs)
{
    memcpy(fake.memory, "123456789", 9);
    /* CRC-32/MPEG-2 of these is 0x0376e6e7. */
    check("qCRC:" BASE ",9", "C0376e6e7");
    check("qCRC:" BASE ",0", "Cffffffff");
    ck_assert_int_eq(ask("qCRC:" BASE ",100000")[0], 'C');
    check("qCRC:" BASE ",100001", "E01");
    check("qCRC:0,1", "E01");
}
END_TEST

START_TEST(points_are_inserted_and_removed)
{
    for (unsigned kind = 0; kind < DEBUG_POINT_KIND_COUNT; kind++) {
        char request[64];
        (void)snprintf(request, sizeof(request), "Z%u," BASE ",%u", kind, kind == 0 ? 1 : 8);
        check("Hg2", "OK");
        check(request, "OK");
        check(request, "OK");
        ck_assert_uint_eq(fake.point_count, 1);
        ck_assert_uint_eq(fake.points[0].kind, kind);
        ck_assert_uint_eq(fake.points[0].vcpu, 1);
        ck_assert_uint_eq(fake.points[0].address, FAKE_MEMORY_BASE);
        ck_assert_uint_eq(fake.points[0].size, kind == 0 ? 1 : 8);
        request[0] = 'z';
        check(request, "OK");
        ck_assert_uint_eq(fake.point_count, 0);
        check(request, "E01");
    }
}
END_TEST

/* ---- Going on ---- */

static void check_actions(const char *request, const char *expected)
{
    push_text(request);
    check_silent();
    ck_assert(fake.is_running);
    for (unsigned i = 0; i < FAKE_VCPUS; i++)
        ck_assert_msg("tcs"[fake.actions[i]] == expected[i], "%s: vCPU %u", request, i);
    fake_target_stop(&fake, DEBUG_STOP_BREAKPOINT, 1);
    collect();
    ck_assert_str_eq(next_text(),
                     "T05thread:2;06:40100881ffffffff;07:00100881ffffffff;10:00100081ffffffff;11:46020000;");
    check_silent();
}

START_TEST(each_vcpu_does_as_it_is_told)
{
    check_actions("vCont;c", "ccc");
    check_actions("vCont;s", "sss");
    check_actions("vCont;s:1", "stt");
    check_actions("vCont;s:1;c", "scc");
    check_actions("vCont;c;s:1", "ccc"); /* the leftmost counts */
    check_actions("vCont;t:2;c:-1", "ctc");
    check_actions("vCont;C05:3;S0b:2;t", "tsc");
    check_actions("vCont;s:0;t", "tst"); /* any: that of the last stop */
    check_actions("vCont;r1000,2000:3", "tts");
    check_actions("vCont;r0,0:1;c", "scc");
    check_actions("c", "ccc");
    check_actions("C0b", "ccc");
    check_actions("s", "tst");
    check_actions("S05", "tst");
    check("Hc3", "OK");
    check_actions("s", "tts");
    check_actions("c", "ttc");
}
END_TEST

START_TEST(they_may_go_on_elsewhere)
{
    check("Hc1", "OK");
    check_actions("sffffffff81000040", "stt");
    ck_assert_uint_eq(fake.registers[0].rip, FAKE_MEMORY_BASE + 0x40);
    check_actions("C05;ffffffff81000050", "ctt");
    ck_assert_uint_eq(fake.registers[0].rip, FAKE_MEMORY_BASE + 0x50);
}
END_TEST

START_TEST(nobody_running_is_an_error)
{
    check("vCont;t", "E.no vCPU would run; let one continue or step");
    check("vCont;t:1;t:2", "E.no vCPU would run; let one continue or step");
    ck_assert_uint_eq(fake.resumes, 0);
}
END_TEST

static const char *stop_with(enum debug_stop_reason reason, enum debug_point_kind kind)
{
    const struct debug_stop stop = {.reason = reason, .kind = kind, .address = 0xffffffff81234560};

    push_text("vCont;c");
    check_silent();
    fake.is_running = false;
    gdb_protocol_stopped(protocol, &stop);
    collect();
    static char text[256];
    (void)snprintf(text, sizeof(text), "%s", next_text());
    char *rest = strstr(text, "06:");
    ck_assert_ptr_nonnull(rest);
    *rest = '\0';
    check_silent();
    return text;
}

START_TEST(stops_say_why)
{
    ck_assert_str_eq(stop_with(DEBUG_STOP_INTERRUPTED, 0), "T02thread:1;");
    ck_assert_str_eq(stop_with(DEBUG_STOP_STEPPED, 0), "T05thread:1;");
    ck_assert_str_eq(stop_with(DEBUG_STOP_BREAKPOINT, DEBUG_POINT_SOFTWARE), "T05thread:1;");
    ck_assert_str_eq(stop_with(DEBUG_STOP_BREAKPOINT, DEBUG_POINT_HARDWARE), "T05thread:1;");
    ck_assert_str_eq(stop_with(DEBUG_STOP_WATCHPOINT, DEBUG_POINT_WRITE), "T05thread:1;watch:ffffffff81234560;");
    ck_assert_str_eq(stop_with(DEBUG_STOP_WATCHPOINT, DEBUG_POINT_READ), "T05thread:1;rwatch:ffffffff81234560;");
    ck_assert_str_eq(stop_with(DEBUG_STOP_WATCHPOINT, DEBUG_POINT_ACCESS), "T05thread:1;awatch:ffffffff81234560;");
    (void)ask("qSupported:swbreak+;hwbreak+");
    ck_assert_str_eq(stop_with(DEBUG_STOP_BREAKPOINT, DEBUG_POINT_SOFTWARE), "T05thread:1;swbreak:;");
    ck_assert_str_eq(stop_with(DEBUG_STOP_BREAKPOINT, DEBUG_POINT_HARDWARE), "T05thread:1;hwbreak:;");
    ck_assert_str_eq(stop_with(DEBUG_STOP_CRASHED, 0), "T06thread:1;");
}
END_TEST

START_TEST(crash_comes_with_its_text)
{
    push_text("c");
    fake_target_stop(&fake, DEBUG_STOP_CRASHED, 2);
    collect();
    const char *text = next_text();
    char line[64] = "";
    ck_assert_int_eq(text[0], 'O');
    ck_assert(gdb_hex_decode(line, (const uint8_t *)text + 1, strlen(text) / 2));
    ck_assert_str_eq(line, "the guest has panicked\n");
    ck_assert(strncmp(next_text(), "T06thread:3;", 12) == 0);
    check_silent();
    /* Asked again, it has no text: the client expects one packet. */
    ck_assert(strncmp(ask("?"), "T06thread:3;", 12) == 0);
    fake.fails = true;
    check("vCont;c", "E.the fake target was told to fail#$}");
}
END_TEST

START_TEST(target_may_stop_at_once)
{
    fake.stops_at_once = true;
    ck_assert(strncmp(ask("vCont;s:2"), "T05thread:2;", 12) == 0);
    ck_assert_uint_eq(fake.registers[1].rip, FAKE_MEMORY_BASE + 0x1001);
}
END_TEST

START_TEST(ctrl_c_stops_a_guest_that_runs)
{
    push("\x03", 1);
    ck_assert_uint_eq(fake.interrupts, 0);
    push_text("c");
    push("\x03\x03", 2);
    ck_assert_uint_eq(fake.interrupts, 1);
    check_silent();
    fake_target_stop(&fake, DEBUG_STOP_INTERRUPTED, 0);
    collect();
    ck_assert(strncmp(next_text(), "T02thread:1;", 12) == 0);
    push("\x03", 1);
    ck_assert_uint_eq(fake.interrupts, 1);
}
END_TEST

START_TEST(packets_wait_until_the_guest_has_stopped)
{
    uint8_t bytes[] = "$qC#b4$X\x03#00+\x03$qAttached#8f";
    const size_t size = sizeof(bytes) - 1;

    push_text("c");
    const size_t used = gdb_protocol_take(protocol, bytes, size, 0);
    ck_assert_uint_eq(used, 6);
    /* The Ctrl-C behind it counts, once; the one in a packet does not. */
    ck_assert_uint_eq(fake.interrupts, 1);
    ck_assert_uint_eq(gdb_protocol_take(protocol, bytes + used, size - used, size - used), 0);
    ck_assert_uint_eq(fake.interrupts, 1);
    ck_assert(!gdb_protocol_has_work(protocol));
    collect();
    check_silent();
    fake_target_stop(&fake, DEBUG_STOP_INTERRUPTED, 1);
    ck_assert(gdb_protocol_has_work(protocol));
    push(bytes + used, size - used);
    ck_assert(strncmp(next_text(), "T02", 3) == 0);
    ck_assert_str_eq(next_text(), "QC2");
    ck_assert_str_eq(next_text(), "E01"); /* the checksum */
    ck_assert_str_eq(next_text(), "1");
    check_silent();
    ck_assert_uint_eq(fake.interrupts, 1);
}
END_TEST

/* ---- Steps in a range ---- */

START_TEST(steps_in_a_range_are_not_told)
{
    const uint64_t start = fake.registers[0].rip;

    push_text("vCont;rffffffff81000000,ffffffff81000010:1");
    for (unsigned i = 1; i < 0x10; i++) {
        fake.registers[0].rip = start + i;
        fake_target_stop(&fake, DEBUG_STOP_STEPPED, 0);
        collect();
        check_silent();
        ck_assert(fake.is_running);
        ck_assert_uint_eq(fake.resumes, i + 1);
        ck_assert_int_eq(fake.actions[0], DEBUG_STEP);
        ck_assert_int_eq(fake.actions[1], DEBUG_HOLD);
    }
    fake.registers[0].rip = start + 0x10;
    fake_target_stop(&fake, DEBUG_STOP_STEPPED, 0);
    collect();
    ck_assert(strncmp(next_text(), "T05thread:1;", 12) == 0);
}
END_TEST

START_TEST(steps_in_a_range_may_be_immediate)
{
    fake.stops_at_once = true;
    ck_assert_ptr_nonnull(strstr(ask("vCont;rffffffff81000000,ffffffff81001000:1"), "10:00100081ffffffff"));
    ck_assert_uint_eq(fake.resumes, 0x1000);
}
END_TEST

static void start_range(void)
{
    push_text("vCont;rffffffff81000000,ffffffff81000010:1");
    check_silent();
}

START_TEST(steps_in_a_range_end_for_other_reasons)
{
    start_range();
    fake_target_stop(&fake, DEBUG_STOP_BREAKPOINT, 0);
    collect();
    ck_assert(strncmp(next_text(), "T05", 3) == 0);
    /* Another vCPU's step is no step of the range. */
    start_range();
    fake_target_stop(&fake, DEBUG_STOP_STEPPED, 1);
    collect();
    ck_assert(strncmp(next_text(), "T05thread:2;", 12) == 0);
    /* A Ctrl-C that the step was quicker than. */
    start_range();
    push("\x03", 1);
    fake_target_stop(&fake, DEBUG_STOP_STEPPED, 0);
    collect();
    ck_assert(strncmp(next_text(), "T02thread:1;", 12) == 0);
    /* The target does not go on. */
    start_range();
    fake.fails = true;
    fake_target_stop(&fake, DEBUG_STOP_STEPPED, 0);
    collect();
    ck_assert_str_eq(next_text(), "T05thread:1;");
    fake.fails = false;
    /* An old range means nothing later. */
    push_text("vCont;s:1");
    fake_target_stop(&fake, DEBUG_STOP_STEPPED, 0);
    collect();
    ck_assert(strncmp(next_text(), "T05thread:1;", 12) == 0);
    check_silent();
}
END_TEST

/* ---- monitor ---- */

START_TEST(monitor_answers_with_console_output)
{
    check("Hg2", "OK");
    push_text("qRcmd,68656c6c6f"); /* hello */
    ck_assert_str_eq(fake.command, "hello");
    ck_assert_uint_eq(fake.monitor_vcpu, 1);
    ck_assert_str_eq(next_text(), "O68656c6c6f0a");
    ck_assert_str_eq(next_text(), "OK");
    check_silent();
    check("qRcmd,6e", "OK");
    check("qRcmd,", "OK");
    ck_assert_str_eq(fake.command, "");
}
END_TEST

/* Asks for `monitor long`, and adds up what comes before the reply. */
static size_t long_answer(void)
{
    static char packet[64];
    size_t size, total = 0;

    size = make_packet(packet, "qRcmd,6c6f6e67", 14);
    ck_assert_uint_eq(gdb_protocol_take(protocol, (uint8_t *)packet, size, 0), size);
    for (;;) {
        collect();
        for (const char *text; (text = next_packet(&size)) != NULL;) {
            if (strcmp(text, "OK") == 0)
                return total;
            ck_assert_int_eq(text[0], 'O');
            total += size / 2;
        }
        ck_assert(gdb_protocol_has_work(protocol));
        /* Nothing else is done meanwhile. */
        ck_assert_uint_eq(gdb_protocol_take(protocol, (uint8_t *)packet, 6, 0), 0);
        gdb_protocol_work(protocol);
    }
}

START_TEST(long_answers_come_in_pieces_and_have_an_end)
{
    fake.answer_size = 100000;
    ck_assert_uint_eq(long_answer(), 100000);
    fake.answer_size = 16 * 1024;
    ck_assert_uint_eq(long_answer(), 16 * 1024);
    fake.answer_size = 20 * 1024 * 1024;
    const size_t size = long_answer();
    ck_assert_uint_gt(size, 16 * 1024 * 1024 - 100);
    ck_assert_uint_lt(size, 16 * 1024 * 1024 + 100);
    check("qC", "QC1");
}
END_TEST

/* ---- Coming and going ---- */

START_TEST(nothing_is_said_before_the_guest_has_stopped)
{
    gdb_protocol_connect(protocol);
    ck_assert_uint_eq(fake.attaches, 1);
    push("+$?#3f", 6);
    ck_assert_str_eq(output, "+");
    output_size = 0;
    fake_target_stop(&fake, DEBUG_STOP_INTERRUPTED, 2);
    push("", 0);
    ck_assert(strncmp(output, "$T02thread:3;", 13) == 0);
    output_size = 0;
    push("+$qC#b4", 7);
    ck_assert_str_eq(output, "+$QC3#c7");
}
END_TEST

START_TEST(leaving_detaches_once)
{
    gdb_protocol_disconnect(protocol);
    ck_assert_uint_eq(fake.detaches, 1);
    gdb_protocol_disconnect(protocol);
    ck_assert_uint_eq(fake.detaches, 1);
    connect_client();
    push_text("c");
    gdb_protocol_disconnect(protocol);
    ck_assert_uint_eq(fake.detaches, 2);
    /* A stop that comes too late concerns nobody. */
    fake_target_stop(&fake, DEBUG_STOP_BREAKPOINT, 0);
    collect();
    check_silent();
}
END_TEST

START_TEST(detach_ends_the_connection)
{
    check(_i == 0 ? "D" : "D;1", "OK");
    ck_assert(gdb_protocol_is_over(protocol));
    ck_assert_uint_eq(fake.detaches, 1);
    push_text("qC");
    check_silent();
    gdb_protocol_disconnect(protocol);
    ck_assert_uint_eq(fake.detaches, 1);
}
END_TEST

START_TEST(kill_ends_the_machine)
{
    if (_i == 0) {
        push_text("k");
        check_silent();
    } else {
        check("vKill;1", "OK");
    }
    ck_assert_uint_eq(fake.kills, 1);
    ck_assert(gdb_protocol_is_over(protocol));
    gdb_protocol_exited(protocol, 0);
    collect();
    check_silent();
    gdb_protocol_disconnect(protocol);
    ck_assert_uint_eq(fake.detaches, 0);
}
END_TEST

START_TEST(killed_in_extended_mode_it_waits_for_a_restart)
{
    check("!", "OK");
    check("vKill;1", "OK");
    ck_assert_uint_eq(fake.kills, 0);
    ck_assert(!gdb_protocol_is_over(protocol));
    if (_i == 0) {
        push_text("R00");
        check_silent();
        ck_assert_uint_eq(fake.restarts, 1);
    }
    gdb_protocol_disconnect(protocol);
    ck_assert_uint_eq(fake.kills, _i == 0 ? 0 : 1);
    ck_assert_uint_eq(fake.detaches, _i == 0 ? 1 : 0);
}
END_TEST

START_TEST(restart_is_silent)
{
    push_text("vCont;c");
    fake_target_stop(&fake, DEBUG_STOP_BREAKPOINT, 1);
    collect();
    output_size = 0;
    check("p0", "2020202020202020");
    fake.registers[0].general[DEBUG_RAX] = 7;
    push_text("R00");
    check_silent();
    ck_assert_uint_eq(fake.restarts, 1);
    check("qC", "QC1");
    check("p0", "0700000000000000");
    ck_assert(strncmp(ask("?"), "T02thread:1;", 12) == 0);
    fake.fails = true;
    push_text("R00");
    check_silent();
}
END_TEST

START_TEST(end_of_the_machine_is_told_to_who_waits)
{
    gdb_protocol_exited(protocol, 3);
    collect();
    check_silent();
    ck_assert(gdb_protocol_is_over(protocol));
    gdb_protocol_disconnect(protocol);
    ck_assert_uint_eq(fake.detaches, 0);
    connect_client();
    push_text("c");
    gdb_protocol_exited(protocol, _i == 0 ? 3 : -9);
    collect();
    ck_assert_str_eq(next_text(), _i == 0 ? "W03" : "X09");
}
END_TEST

START_TEST(registers_are_asked_for_anew_after_each_stop)
{
    check("p0", "1010101010101010");
    push_text("vCont;c");
    fake.registers[0].general[DEBUG_RAX] = 1;
    fake_target_stop(&fake, DEBUG_STOP_BREAKPOINT, 0);
    collect();
    output_size = 0;
    check("p0", "0100000000000000");
    fake.registers[0].general[DEBUG_RAX] = 2;
    push_text("qRcmd,");
    output_size = 0;
    check("p0", "0200000000000000");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gdb_protocol");
    TCase *tcase = tcase_create("gdb_protocol");
    TCase *without_avx = tcase_create("gdb_protocol_without_avx");
    TCase *unconnected = tcase_create("gdb_protocol_unconnected");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, features_are_announced);
    tcase_add_test(tcase, unknown_packets_get_an_empty_reply);
    tcase_add_test(tcase, malformed_packets_get_an_error_and_change_nothing);
    tcase_add_test(tcase, errors_of_the_target_are_told);
    tcase_add_test(tcase, without_acknowledgements_a_bad_packet_is_an_error);
    tcase_add_test(tcase, too_long_a_packet_is_an_error_and_dropped_whole);
    tcase_add_test(tcase, bytes_may_come_one_at_a_time);
    tcase_add_test(tcase, nothing_is_taken_while_a_reply_waits);
    tcase_add_test(tcase, threads_are_vcpus);
    tcase_add_test(tcase, documents_come_in_parts);
    tcase_add_test(tcase, small_commands);
    tcase_add_test(tcase, registers_are_read_and_written);
    tcase_add_test(tcase, all_registers_come_back);
    tcase_add_test(tcase, memory_is_read_and_written);
    tcase_add_test(tcase, large_reads_fill_a_packet);
    tcase_add_test(tcase, large_writes_arrive);
    tcase_add_test(tcase, memory_is_searched);
    tcase_add_test(tcase, checksums_are_gdbs);
    tcase_add_test(tcase, points_are_inserted_and_removed);
    tcase_add_test(tcase, each_vcpu_does_as_it_is_told);
    tcase_add_test(tcase, they_may_go_on_elsewhere);
    tcase_add_test(tcase, nobody_running_is_an_error);
    tcase_add_test(tcase, stops_say_why);
    tcase_add_test(tcase, crash_comes_with_its_text);
    tcase_add_test(tcase, target_may_stop_at_once);
    tcase_add_test(tcase, ctrl_c_stops_a_guest_that_runs);
    tcase_add_test(tcase, packets_wait_until_the_guest_has_stopped);
    tcase_add_test(tcase, steps_in_a_range_are_not_told);
    tcase_add_test(tcase, steps_in_a_range_may_be_immediate);
    tcase_add_test(tcase, steps_in_a_range_end_for_other_reasons);
    tcase_add_test(tcase, monitor_answers_with_console_output);
    tcase_add_test(tcase, long_answers_come_in_pieces_and_have_an_end);
    tcase_add_test(tcase, leaving_detaches_once);
    tcase_add_loop_test(tcase, detach_ends_the_connection, 0, 2);
    tcase_add_loop_test(tcase, kill_ends_the_machine, 0, 2);
    tcase_add_loop_test(tcase, killed_in_extended_mode_it_waits_for_a_restart, 0, 2);
    tcase_add_test(tcase, restart_is_silent);
    tcase_add_loop_test(tcase, end_of_the_machine_is_told_to_who_waits, 0, 2);
    tcase_add_test(tcase, registers_are_asked_for_anew_after_each_stop);
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(without_avx, setup_without_avx, teardown);
    tcase_add_test(without_avx, without_avx_there_are_fewer);
    suite_add_tcase(suite, without_avx);
    tcase_add_checked_fixture(unconnected, setup_unconnected, teardown);
    tcase_add_loop_test(unconnected, acknowledgements_until_they_are_switched_off, 0, 2);
    tcase_add_test(unconnected, nothing_is_said_before_the_guest_has_stopped);
    suite_add_tcase(suite, unconnected);
    return unit_test_run(suite);
}
