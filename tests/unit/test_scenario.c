/*
 * Scenarios: what a file becomes, the matrix, the machine of each case, and variables while a case runs.
 */
#include "vmm/scenario/scenario.h"

#include "vmm/scenario/pattern.h"

#include "scratch_folder.h"
#include "unit_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECOND 1000000000ull

static struct scenario *load(const char *name)
{
    struct scenario *scenario;
    struct error error;
    char path[512];

    (void)snprintf(path, sizeof(path), SOURCE_FOLDER "/tests/scenarios/good/%s", name);
    if (scenario_load(path, NULL, &scenario, &error) < 0)
        ck_abort_msg("%s", error.text);
    return scenario;
}

static int parse_dry(const char *text, struct scenario **scenario, struct error *error)
{
    const struct scenario_options options = {.is_dry = true};

    return scenario_parse("/tmp/test.toml", text, strlen(text), &options, scenario, error);
}

static struct scenario *parse(const char *text)
{
    struct scenario *scenario;
    struct error error;

    if (parse_dry(text, &scenario, &error) < 0)
        ck_abort_msg("%s", error.text);
    return scenario;
}

/* ---- Steps ---- */

START_TEST(steps_are_as_in_the_file)
{
    struct scenario *scenario = load("every-step.toml");
    const struct scenario_step *step = scenario->steps;

    ck_assert_str_eq(scenario->name, "every-step");
    ck_assert_str_eq(scenario->description, "reads as it should");
    ck_assert_uint_eq(scenario->limit_ns, 600 * SECOND);
    ck_assert(scenario->allowed[TROUBLE_WARNING] && scenario->allowed[TROUBLE_LOCKDEP]);
    ck_assert(!scenario->allowed[TROUBLE_PANIC] && scenario->expected[TROUBLE_PANIC]);
    ck_assert_uint_eq(scenario->ignored.count, 2);
    ck_assert_uint_eq(scenario->step_count, 19);

    /* Of the file that is included; the includer's defaults. */
    ck_assert_int_eq(step[0].kind, SCENARIO_EXPECT);
    ck_assert_str_eq(step[0].what.text, "login: ");
    ck_assert_uint_eq(step[0].timeout_ns, 120 * SECOND);
    ck_assert_ptr_nonnull(strstr(step[0].position.file, "parts/login.toml"));
    ck_assert_int_eq(step[1].kind, SCENARIO_SEND);

    ck_assert_int_eq(step[2].kind, SCENARIO_EXPECT);
    ck_assert_uint_eq(step[2].timeout_ns, SECOND / 2);
    ck_assert_uint_eq(step[2].forbidden.count, 2);
    ck_assert_str_eq(step[2].forbidden.items[1].text, "timed out");
    ck_assert_str_eq(step[2].message.text, "no prompt for ${user}");
    ck_assert_uint_eq(step[2].position.line, 37);
    ck_assert(!step[3].is_raw);
    ck_assert(step[4].is_raw);
    ck_assert_str_eq(step[4].what.text, "\x03");
    ck_assert_int_eq(step[5].kind, SCENARIO_EXEC);
    ck_assert(step[5].any_status);
    ck_assert_str_eq(step[5].capture.text, "all");
    ck_assert_str_eq(step[5].errors.text, "x*");
    ck_assert_uint_eq(step[5].timeout_ns, 3600 * SECOND);
    ck_assert_int_eq(step[6].kind, SCENARIO_PUT);
    ck_assert_str_eq(step[6].what.text, "parts/kernel");
    ck_assert_uint_eq(step[6].mode, 0755);
    ck_assert_str_eq(step[7].to.text, "config.gz");
    ck_assert_str_eq(step[8].to.text, "result");
    ck_assert_int_eq(step[9].source, SCENARIO_KTAP_CONSOLE);
    ck_assert_int_eq(step[10].source, SCENARIO_KTAP_EXEC);
    ck_assert_int_eq(step[11].kind, SCENARIO_PAUSE);
    ck_assert_uint_eq(step[12].commands.count, 2);
    ck_assert_ptr_null(step[12].what.text);
    ck_assert_ptr_nonnull(strstr(step[13].what.text, "/parts/script.gdb"));
    ck_assert_uint_eq(step[15].duration_ns, SECOND);
    ck_assert_int_eq(step[17].kind, SCENARIO_POWER_BUTTON);
    ck_assert_int_eq(step[18].exit, SCENARIO_EXIT_POWER_OFF);
    scenario_free(scenario);
}
END_TEST

START_TEST(a_file_is_included_once)
{
    static const char *const sent[] = {"common", "a", "b", "last"};
    static const uint64_t seconds[] = {60, 60, 5, 60};
    struct scenario *scenario = load("diamond.toml");

    ck_assert_uint_eq(scenario->step_count, 4);
    ck_assert_uint_eq(scenario->file_count, 4);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_str_eq(scenario->steps[i].what.text, sent[i]);
        ck_assert_uint_eq(scenario->steps[i].timeout_ns, seconds[i] * SECOND);
    }
    scenario_free(scenario);
}
END_TEST

START_TEST(a_file_that_includes_itself_can_have_any_name)
{
    static const char text[] = "include = [\"a\\nb\\u001b.toml\"]\n";
    struct scenario *scenario;
    struct error error;

    scratch_folder_make();
    ck_assert_int_eq(chdir(scratch_folder), 0);
    scratch_write("a\nb\x1b.toml", text);
    ck_assert_int_eq(scenario_load("a\nb\x1b.toml", NULL, &scenario, &error), -1);
    scratch_folder_remove();
    ck_assert_str_eq(error.text,
                     "a\\x0ab\\x1b.toml:1:12: include: a\\x0ab\\x1b.toml includes a\\x0ab\\x1b.toml, and so "
                     "on; take one out");
}
END_TEST

START_TEST(an_exit_can_be_a_status)
{
    struct scenario *scenario = load("no-machine.toml");

    ck_assert_str_eq(scenario->name, "no-machine");
    ck_assert_int_eq(scenario->steps[0].exit, SCENARIO_EXIT_STATUS);
    ck_assert_uint_eq(scenario->steps[0].status, 7);
    scenario_free(scenario);
}
END_TEST

START_TEST(times)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } cases[] = {
        {"1ms", 1000000}, {"1s", SECOND}, {"90s", 90 * SECOND}, {"2m", 120 * SECOND}, {"168h", 168 * 3600 * SECOND},
    };
    static const char *const wrong[] = {
        "", "s", "1", "-1s", "1.5s", " 1s", "1 s", "1S", "1d", "99999999999h", "18446744073709551616s", "1s\\u0000",
    };
    struct scenario *scenario;
    struct error error;
    char text[128];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)snprintf(text, sizeof(text), "[[step]]\nsleep = \"%s\"\n", cases[i].text);
        scenario = parse(text);
        ck_assert_uint_eq(scenario->steps[0].duration_ns, cases[i].ns);
        scenario_free(scenario);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        (void)snprintf(text, sizeof(text), "[[step]]\nsleep = \"%s\"\n", wrong[i]);
        if (parse_dry(text, &scenario, &error) == 0)
            ck_abort_msg("accepted: %s", wrong[i]);
    }
}
END_TEST

START_TEST(there_are_limits)
{
    enum { SIZE = 200000 };
    struct scenario *scenario;
    struct error error;
    char *text = calloc(1, SIZE);
    size_t used = 0;

    for (unsigned i = 0; i <= SCENARIO_MAX_STEPS; i++)
        used += (size_t)snprintf(text + used, SIZE - used, "[[step]]\nreset = true\n");
    ck_assert_int_eq(parse_dry(text, &scenario, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "there are more than 4096 steps"));
    used = 0;
    for (unsigned i = 0; i <= SCENARIO_MAX_AXES; i++)
        used += (size_t)snprintf(text + used, SIZE - used,
                                 "[[matrix]]\naxis = \"a%u\"\nkey = \"cpu.count\"\nvalues = [1]\n", i);
    ck_assert_int_eq(parse_dry(text, &scenario, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "there are more than 16 axes"));
    /* Before anything else is done with them all. */
    used = (size_t)snprintf(text, SIZE, "[[matrix]]\naxis = \"a\"\nkey = \"boot.cmdline\"\nvalues = [\"x\"");
    for (unsigned i = 0; i < SCENARIO_MAX_CASES; i++)
        used += (size_t)snprintf(text + used, SIZE - used, ", \"%u\"", i);
    (void)snprintf(text + used, SIZE - used, "]\n");
    ck_assert_int_eq(parse_dry(text, &scenario, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "makes more than 4096 cases"));
    free(text);
    text = calloc(1, SCENARIO_MAX_FILE_SIZE + 1);
    ck_assert_int_eq(scenario_parse("x.toml", text, SCENARIO_MAX_FILE_SIZE + 1, NULL, &scenario, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "larger than 1 MiB"));
    free(text);
}
END_TEST

/* ---- Cases ---- */

START_TEST(cases_have_stable_names)
{
    static const char *const names[] = {
        "every-step[kernel=6.1,vcpus=1]",
        "every-step[kernel=6.1,vcpus=4]",
        "every-step[kernel=6.12,vcpus=1]",
        "every-step[kernel=6.12,vcpus=4]",
    };
    struct scenario *scenario = load("every-step.toml");

    ck_assert_uint_eq(scenario->case_count, 4);
    for (size_t i = 0; i < 4; i++)
        ck_assert_str_eq(scenario->cases[i].name, names[i]);
    scenario_free(scenario);
    scenario = load("diamond.toml");
    ck_assert_uint_eq(scenario->case_count, 1);
    ck_assert_str_eq(scenario->cases[0].name, "diamond");
    scenario_free(scenario);
}
END_TEST

START_TEST(a_filter_picks_cases)
{
    static const struct {
        const char *filter;
        unsigned cases;
    } cases_of[] = {
        {"", 15},      {"kernel=6.1", 3}, {"kernel=6.1*", 15}, {"vcpus=4", 10},           {"kernel=6.12,vcpus=4", 8},
        {"every", 15}, {"nothing", 0},    {"colour=red", 0},   {"every-step,vcpus=1", 5}, {"vcpus=?", 15},
        {"st?p", 15},
    };
    struct scenario *scenario = load("every-step.toml");

    for (size_t i = 0; i < sizeof(cases_of) / sizeof(cases_of[0]); i++) {
        unsigned cases = 0;
        for (size_t j = 0; j < scenario->case_count; j++)
            cases |= (unsigned)scenario_case_fits(scenario, j, cases_of[i].filter) << j;
        if (cases != cases_of[i].cases)
            ck_abort_msg("%s: %u", cases_of[i].filter, cases);
    }
    scenario_free(scenario);
}
END_TEST

START_TEST(each_case_has_its_machine)
{
    const char *const assignments[] = {"memory.size=256MiB"};
    const struct scenario_options options = {.assignments = assignments, .assignment_count = 1};
    struct scenario *scenario = load("every-step.toml");
    struct config config;
    struct error error;

    ck_assert_int_eq(scenario_case_config(scenario, 1, NULL, &config, &error), 0);
    ck_assert_str_eq(config.machine.name, "machine");
    ck_assert_uint_eq(config.cpu.count, 4);
    ck_assert_uint_eq(config.memory.size, 1u << 30);
    ck_assert_str_eq(config.boot.cmdline, "console=ttyS0 quiet");
    ck_assert_uint_eq(config.cpu.hide.count, 2);
    ck_assert_str_eq(config.gdb.listen, "unix:" SOURCE_FOLDER "/tests/scenarios/good/gdb.sock");
    ck_assert_str_eq(config.boot.kernel, SOURCE_FOLDER "/tests/scenarios/good/parts/kernel");
    config_free(&config);
    ck_assert_int_eq(scenario_case_config(scenario, 2, &options, &config, &error), 0);
    ck_assert_str_eq(config.machine.name, "other");
    ck_assert_uint_eq(config.cpu.count, 1);
    ck_assert_uint_eq(config.memory.size, 256u << 20);
    config_free(&config);
    scenario_free(scenario);
}
END_TEST

/* ---- Variables ---- */

static void assert_expanded(const struct scenario_values *values, const char *text, bool is_pattern,
                            const char *expected)
{
    char *expanded = scenario_expand(values, text, is_pattern);

    ck_assert_str_eq(expanded, expected);
    free(expanded);
}

START_TEST(variables_are_put_in)
{
    struct scenario_values values = {0};

    ck_assert_int_eq(scenario_values_set(&values, "a", "one", 3), 0);
    ck_assert_int_eq(scenario_values_set(&values, "b_2", "x.y*\0z", 6), 0);
    assert_expanded(&values, "", false, "");
    assert_expanded(&values, "${a}", false, "one");
    assert_expanded(&values, "<${a}${b_2}>", false, "<onex.y*z>");
    assert_expanded(&values, "$${a} $a $$ $", false, "${a} $a $$ $");
    assert_expanded(&values, "${none}!", false, "!");
    assert_expanded(&values, "^${b_2}+$", true, "^(?:x\\.y\\*z)+$");
    ck_assert_int_eq(scenario_values_set(&values, "a", "two", 3), 0);
    assert_expanded(&values, "${a}", false, "two");
    ck_assert_ptr_null(scenario_values_get(&values, "none"));
    ck_assert_str_eq(scenario_values_get(&values, "a"), "two");
    scenario_values_free(&values);
}
END_TEST

START_TEST(a_value_is_letters_in_a_pattern)
{
    struct scenario_values values = {0};
    struct pattern_failure failure;
    struct error error;
    char all[128];

    for (int i = 1; i < 128; i++)
        all[i - 1] = (char)i;
    ck_assert_int_eq(scenario_values_set(&values, "v", all, 127), 0);
    char *text = scenario_expand(&values, "^${v}$", true);
    struct pattern *pattern = pattern_compile(text, &failure);
    ck_assert_ptr_nonnull(pattern);
    ck_assert_int_eq(pattern_match(pattern, all, 127, 0, false, &error), PATTERN_MATCH);
    pattern_free(pattern);
    free(text);
    scenario_values_free(&values);
}
END_TEST

START_TEST(a_case_starts_with_its_variables)
{
    struct scenario *scenario = load("every-step.toml");
    struct scenario_values values = {0};

    ck_assert_int_eq(scenario_values_begin(&values, scenario, 3), 0);
    ck_assert_str_eq(scenario_values_get(&values, "user"), "root");
    ck_assert_str_eq(scenario_values_get(&values, "kernel"), "6.12");
    ck_assert_str_eq(scenario_values_get(&values, "vcpus"), "4");
    scenario_values_free(&values);
    scenario_free(scenario);
}
END_TEST

START_TEST(sockets_need_not_be_in_the_machines_file)
{
    static const char text[] = "override.boot.flat = '/dev/null'\noverride.agent.port = 'serial'\n"
                               "override.gdb.on-crash = 'wait'\n[[step]]\nexec = 'true'\n[[step]]\ngdb = ['x']\n";
    struct scenario *scenario;
    struct config config;
    struct error error;

    if (scenario_parse("/tmp/a.toml", text, strlen(text), NULL, &scenario, &error) < 0)
        ck_abort_msg("%s", error.text);
    ck_assert_int_eq(scenario_case_config(scenario, 0, NULL, &config, &error), 0);
    ck_assert(scenario_wants_agent(scenario, &config));
    ck_assert(scenario_wants_gdb(scenario, &config));
    /* What stood in for them does not stay. */
    ck_assert_ptr_null(config.agent.listen);
    ck_assert_ptr_null(config.gdb.listen);
    config_free(&config);
    scenario_free(scenario);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("scenario");
    TCase *scenarios = tcase_create("scenarios");

    tcase_add_test(scenarios, steps_are_as_in_the_file);
    tcase_add_test(scenarios, a_file_is_included_once);
    tcase_add_test(scenarios, a_file_that_includes_itself_can_have_any_name);
    tcase_add_test(scenarios, an_exit_can_be_a_status);
    tcase_add_test(scenarios, times);
    tcase_add_test(scenarios, there_are_limits);
    tcase_add_test(scenarios, cases_have_stable_names);
    tcase_add_test(scenarios, a_filter_picks_cases);
    tcase_add_test(scenarios, each_case_has_its_machine);
    tcase_add_test(scenarios, variables_are_put_in);
    tcase_add_test(scenarios, a_value_is_letters_in_a_pattern);
    tcase_add_test(scenarios, a_case_starts_with_its_variables);
    tcase_add_test(scenarios, sockets_need_not_be_in_the_machines_file);
    tcase_set_timeout(scenarios, 60);
    suite_add_tcase(all, scenarios);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
