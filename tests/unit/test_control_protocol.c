/* What is said on the control socket, with a machine that is none. */
#include "vmm/control/control_protocol.h"

#include "fake_machine.h"
#include "unit_test.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct fake_machine machine;
static json_t *answer;
static int file = -1;
static bool dumps;

static void setup(void)
{
    fake_machine_init(&machine, 2);
}

static void teardown(void)
{
    json_decref(answer);
    answer = NULL;
    if (file >= 0)
        close(file);
    file = -1;
    fake_machine_fini(&machine);
}

/* An answer is one line, and an object that says whether all is well. */
static void take(char *line)
{
    ck_assert_ptr_nonnull(line);
    const size_t length = strlen(line);
    ck_assert_uint_gt(length, 0);
    ck_assert_ptr_eq(strchr(line, '\n'), line + length - 1);
    json_decref(answer);
    answer = json_loads(line, 0, NULL);
    ck_assert_msg(json_is_object(answer), "%s", line);
    free(line);
}

static void ask_bytes(const char *bytes, size_t size)
{
    take(control_answer(&machine.target, bytes, size, &file, &dumps));
    ck_assert(json_is_boolean(json_object_get(answer, "ok")));
}

static void ask(const char *line)
{
    ask_bytes(line, strlen(line));
}

static void expect_ok(const char *line)
{
    ask(line);
    ck_assert_msg(json_is_true(json_object_get(answer, "ok")), "%s", line);
}

static void expect_error(const char *line, const char *text)
{
    ask(line);
    ck_assert(json_is_false(json_object_get(answer, "ok")));
    const char *why = json_string_value(json_object_get(answer, "error"));
    ck_assert_ptr_nonnull(why);
    ck_assert_msg(strstr(why, text) != NULL, "%s: %s", line, why);
}

static const char *text_at(const char *key)
{
    return json_string_value(json_object_get(answer, key));
}

START_TEST(the_status_is_told)
{
    static const char *const states[] = {"running", "paused", "stopped", "crashed"};

    for (int state = CONTROL_RUNNING; state <= CONTROL_CRASHED; state++) {
        machine.status.state = (enum control_state)state;
        expect_ok("{\"do\": \"status\"}");
        ck_assert_str_eq(text_at("state"), states[state]);
    }
    ck_assert_str_eq(text_at("name"), "fake");
    ck_assert_int_eq(json_integer_value(json_object_get(answer, "vcpus")), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(answer, "memory")), 512 << 20);
    ck_assert_double_eq(json_real_value(json_object_get(answer, "uptime")), 1.5);
    ck_assert_uint_eq(json_array_size(json_object_get(answer, "spaces")), 2);
    ck_assert(json_is_false(json_object_get(answer, "dumping")));
}
END_TEST

START_TEST(a_name_of_any_bytes_is_told)
{
    machine.status.name = "m\xff\"\x01";
    expect_ok("{\"do\": \"status\"}");
    ck_assert_str_eq(text_at("name"), "m?\"\x01");
}
END_TEST

START_TEST(each_request_reaches_the_machine)
{
    expect_ok("{\"do\": \"pause\"}");
    expect_ok(" {\"do\":\"resume\"} \r");
    expect_ok("{\"do\": \"power-button\"}");
    expect_ok("{\"do\": \"reset\"}");
    expect_ok("{\"do\": \"nmi\"}");
    ck_assert_uint_eq(machine.nmi_vcpu, 0);
    expect_ok("{\"do\": \"nmi\", \"vcpu\": 1}");
    ck_assert_uint_eq(machine.nmi_vcpu, 1);
    expect_ok("{\"do\": \"quit\"}");
    ck_assert_str_eq(machine.log, "prbRnnq");
}
END_TEST

START_TEST(refusals_are_passed_on)
{
    machine.refuses = true;
    expect_error("{\"do\": \"pause\"}", "gdb has the guest stopped");
    expect_error("{\"do\": \"resume\"}", "gdb has the guest stopped");
    expect_error("{\"do\": \"vcpus\"}", "gdb has the guest stopped");
    expect_error("{\"do\": \"nmi\"}", "gdb has the guest stopped");
}
END_TEST

START_TEST(vcpus_are_told)
{
    machine.vcpus[1].is_halted = true;
    machine.vcpus[0].rip_is_mapped = true;
    machine.vcpus[0].rip_gpa = 0x1000000;
    machine.vcpus[0].registers.general[DEBUG_R15] = UINT64_MAX;
    expect_ok("{\"do\": \"vcpus\"}");
    const json_t *vcpus = json_object_get(answer, "vcpus");
    ck_assert_uint_eq(json_array_size(vcpus), 2);
    const json_t *first = json_array_get(vcpus, 0), *second = json_array_get(vcpus, 1);
    const json_t *registers = json_object_get(first, "registers");
    ck_assert_str_eq(json_string_value(json_object_get(registers, "rip")), "0xffffffff81000000");
    ck_assert_str_eq(json_string_value(json_object_get(registers, "r15")), "0xffffffffffffffff");
    ck_assert_str_eq(json_string_value(json_object_get(first, "physical_rip")), "0x1000000");
    ck_assert_str_eq(json_string_value(json_object_get(first, "state")), "running");
    ck_assert_str_eq(json_string_value(json_object_get(second, "state")), "halted");
    ck_assert(json_is_null(json_object_get(second, "physical_rip")));
    ck_assert_str_eq(json_string_value(json_object_get(second, "space")), "default");
}
END_TEST

START_TEST(what_is_no_request_is_answered)
{
    expect_error("", "no JSON");
    expect_error("status", "no JSON");
    expect_error("{\"do\": \"status\"", "no JSON");
    expect_error("{\"do\": \"status\"} {}", "no JSON");
    expect_error("{\"do\": \"pause\", \"do\": \"quit\"}", "no JSON");
    expect_error("[]", "a request is an object");
    expect_error("[\"status\"]", "a request is an object");
    expect_error("{}", "\"do\" names no command");
    expect_error("{\"do\": 1}", "\"do\" names no command");
    expect_error("{\"do\": null}", "\"do\" names no command");
    expect_error("{\"do\": [\"quit\"]}", "\"do\" names no command");
    expect_error("{\"do\": \"Quit\"}", "\"do\" names no command");
    expect_error("{\"do\": \"quit \"}", "\"do\" names no command");
    expect_error("{\"do\": \"quit\\u0000\"}", "no JSON");
    expect_error("{\"do\": \"\xff\"}", "no JSON");
    expect_error("{\"do\": \"quit\", \"force\": true}", "\"quit\" takes no other key");
    expect_error("{\"do\": \"nmi\", \"cpu\": 1}", "\"nmi\" takes \"vcpu\" besides \"do\"");
    expect_error("{\"do\": \"nmi\", \"vcpu\": 1, \"cpu\": 1}", "\"nmi\" takes \"vcpu\" besides \"do\"");
    expect_error("{\"do\": \"nmi\", \"vcpu\": 2}", "from 0 to 1");
    expect_error("{\"do\": \"nmi\", \"vcpu\": -1}", "from 0 to 1");
    expect_error("{\"do\": \"nmi\", \"vcpu\": 4294967296}", "from 0 to 1");
    expect_error("{\"do\": \"nmi\", \"vcpu\": 99999999999999999999}", "no JSON");
    expect_error("{\"do\": \"nmi\", \"vcpu\": 1.0}", "from 0 to 1");
    expect_error("{\"do\": \"nmi\", \"vcpu\": \"1\"}", "from 0 to 1");
    ask_bytes("{\"do\": \"quit\"\0}", 15);
    ck_assert(json_is_false(json_object_get(answer, "ok")));
    ck_assert_str_eq(machine.log, "");
    take(control_answer_too_long());
    ck_assert(json_is_false(json_object_get(answer, "ok")));
}
END_TEST

START_TEST(nesting_is_bounded)
{
    char line[CONTROL_LINE_MAX];

    memset(line, '[', sizeof(line));
    ask_bytes(line, sizeof(line));
    ck_assert(json_is_false(json_object_get(answer, "ok")));
}
END_TEST

START_TEST(any_bytes_are_answered)
{
    static const char *const seeds[] = {"{\"do\": \"status\"}", "{\"do\": \"nmi\", \"vcpu\": 1}",
                                        "{\"do\": \"vcpus\"}"};
    uint64_t random = 1;
    char line[64];

    for (unsigned i = 0; i < 20000; i++) {
        const char *seed = seeds[i % 3];
        const size_t size = strlen(seed);
        memcpy(line, seed, size);
        for (unsigned changes = 0; changes < 1 + i % 4; changes++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            line[(random >> 40) % size] = (char)(random >> 33);
        }
        ask_bytes(line, (random >> 20) % 8 == 0 ? (random >> 24) % size : size);
    }
}
END_TEST

START_TEST(a_dump_needs_a_file)
{
    expect_error("{\"do\": \"dump\"}", "SCM_RIGHTS");
    expect_error("{\"do\": \"dump\", \"path\": \"/tmp/x\"}", "no other key");
    ck_assert_str_eq(machine.log, "");
}
END_TEST

START_TEST(a_dump_comes_in_steps)
{
    static const char line[] = "{\"do\": \"dump\"}";
    bool is_over;

    file = dup(STDOUT_FILENO);
    machine.dump_steps = 3;
    ck_assert_ptr_null(control_answer(&machine.target, line, strlen(line), &file, &dumps));
    ck_assert(dumps);
    ck_assert_int_eq(file, -1);
    for (unsigned i = 0; i < 2; i++) {
        take(control_go_on(&machine.target, &is_over));
        ck_assert(!is_over);
        const json_t *progress = json_object_get(answer, "progress");
        ck_assert_int_eq(json_integer_value(json_object_get(progress, "total")), 2);
    }
    take(control_go_on(&machine.target, &is_over));
    ck_assert(is_over);
    ck_assert(json_is_true(json_object_get(answer, "ok")));
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(answer, "dump"), "written")), 3);
    ck_assert_str_eq(machine.log, "dsss");
}
END_TEST

START_TEST(a_dump_can_fail)
{
    static const char line[] = "{\"do\": \"dump\"}";
    bool is_over;

    file = dup(STDOUT_FILENO);
    machine.dump_fails = true;
    ck_assert_ptr_null(control_answer(&machine.target, line, strlen(line), &file, &dumps));
    take(control_go_on(&machine.target, &is_over));
    ck_assert(is_over);
    ck_assert_str_eq(text_at("error"), "the dump cannot be written: no room");
    file = dup(STDOUT_FILENO);
    machine.refuses = true;
    expect_error(line, "another dump");
    ck_assert_int_eq(file, -1);
    ck_assert(!dumps);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control_protocol");
    TCase *tests = tcase_create("all");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, the_status_is_told);
    tcase_add_test(tests, a_name_of_any_bytes_is_told);
    tcase_add_test(tests, each_request_reaches_the_machine);
    tcase_add_test(tests, refusals_are_passed_on);
    tcase_add_test(tests, vcpus_are_told);
    tcase_add_test(tests, what_is_no_request_is_answered);
    tcase_add_test(tests, nesting_is_bounded);
    tcase_add_test(tests, any_bytes_are_answered);
    tcase_add_test(tests, a_dump_needs_a_file);
    tcase_add_test(tests, a_dump_comes_in_steps);
    tcase_add_test(tests, a_dump_can_fail);
    suite_add_tcase(suite, tests);
    return unit_test_run(suite);
}
