#include "report_fixture.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND 1000000000ull

static struct error error;

static void *need(void *pointer)
{
    if (pointer == NULL)
        abort();
    return pointer;
}

static void set(char **to, const char *text)
{
    if (result_set_text(to, text, &error) < 0)
        abort();
}

static void path_of(char out[512], const char *folder, const char *name, const char *file)
{
    (void)snprintf(out, 512, "%s/%s/%s", folder, name, file);
}

static void attach(struct result_case *one, const char *folder, const char *name, const char *file)
{
    char path[512];
    struct stat status;

    path_of(path, folder, name, file);
    if (stat(path, &status) < 0)
        return;
    (void)snprintf(path, sizeof(path), "%s/%s", name, file);
    need(result_add_attachment(one, file, path, &error));
}

static struct result_case *add(struct results *results, const char *name, enum result_status status, double seconds,
                               const char *message)
{
    struct result_case *one = need(results_add_case(results, name, "tests/boot.toml", &error));

    one->status = status;
    one->started_at = results->started_at;
    one->duration_ns = (uint64_t)(seconds * 1e9);
    results->duration_ns += one->duration_ns;
    set(&one->message, message);
    return one;
}

static struct result_step *step(struct result_case *one, const char *kind, const char *title, double start, double took)
{
    struct result_step *step = need(result_add_step(one, kind, title, &error));

    step->status = RESULT_PASSED;
    step->start_ns = (uint64_t)(start * 1e9);
    step->duration_ns = (uint64_t)(took * 1e9);
    return step;
}

/* ---- Consoles ---- */

struct console {
    struct result_case *one;
    FILE *timed;
    double at;
    /* Of the kernel's clock. */
    double offset;
    uint64_t line;
};

static struct console open_console(struct result_case *one, const char *folder, const char *name, double offset)
{
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    (void)mkdir(path, 0755);
    path_of(path, folder, name, "console.timed");
    return (struct console){.one = one, .timed = need(fopen(path, "w")), .offset = offset};
}

/* Lines that the kernel has stamped came at that time; others soon after the one before. */
static void console_line(struct console *console, const char *text)
{
    double stamp;

    console->at += 0.0004;
    if (sscanf(text, "[%lf]", &stamp) == 1 && stamp + console->offset > console->at)
        console->at = stamp + console->offset;
    (void)fprintf(console->timed, "%.6f %s\n", console->at, text);
    console->line++;
}

static void note_trouble(struct console *console, const char *text, enum trouble_kind kind)
{
    struct result_trouble *trouble = need(result_add_trouble(console->one, kind, text, &error));

    trouble->line = console->line;
    trouble->at_ns = (uint64_t)(console->at * 1e9);
}

/* A log of tests/scenarios/logs; where a line has words, that is trouble. */
static void console_log(struct console *console, const char *log, const char *words, enum trouble_kind kind)
{
    char path[512];
    char line[4096];

    (void)snprintf(path, sizeof(path), SOURCE_FOLDER "/tests/scenarios/logs/%s", log);
    FILE *in = need(fopen(path, "r"));
    while (fgets(line, sizeof(line), in) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        console_line(console, line);
        if (words != NULL && strstr(line, words) != NULL)
            note_trouble(console, line, kind);
    }
    (void)fclose(in);
}

static void close_console(struct console *console, const char *folder, const char *name)
{
    if (fclose(console->timed) != 0)
        abort();
    attach(console->one, folder, name, "console.timed");
    attach(console->one, folder, name, "maps.svg");
}

/* ---- Cases ---- */

static void add_boot(struct results *results, const char *folder)
{
    struct result_case *one = add(results, "boot[kernel=6.1]", RESULT_PASSED, 12.4, NULL);
    struct console console = open_console(one, folder, "boot-1", 0.21);

    console_log(&console, "systemd-6.1.log", NULL, TROUBLE_NONE);
    close_console(&console, folder, "boot-1");
    step(one, "expect", "login:", 0.1, 8.2);
    step(one, "send", "root", 8.3, 0.05);
    step(one, "expect", "~#", 8.4, 1.3);
    step(one, "run", "systemctl is-system-running --wait", 9.7, 1.9);
    step(one, "shutdown", "", 11.6, 0.7);
}

static void add_warning(struct results *results, const char *folder)
{
    struct result_case *one =
        add(results, "boot[kernel=6.12]", RESULT_FAILED, 14.9, "the kernel was in trouble: a warning, on line 243");
    struct console console = open_console(one, folder, "boot-2", 0.2);

    console_log(&console, "warning-6.12.log", "WARNING: ", TROUBLE_WARNING);
    close_console(&console, folder, "boot-2");
    step(one, "expect", "Run /init as init process", 0, 2.4);
    step(one, "run", "modprobe faulty", 2.4, 3.3);
    struct result_step *failed = step(one, "expect", "done: (?<count>[0-9]+)", 5.7, 9.2);
    failed->status = RESULT_FAILED;
    set(&failed->message, "the pattern was not seen within 9 s");
    set(&failed->detail, "What was seen last:\n[    5.1] faulty: loading out-of-tree module taints kernel.\n");
    step(one, "shutdown", "", 0, 0)->status = RESULT_NOT_RUN;
}

static void add_crash(struct results *results, const char *folder)
{
    struct result_case *one = add(results, "crash/sysrq", RESULT_FAILED, 6.2, "the guest crashed: its kernel panicked");
    struct console console = open_console(one, folder, "sysrq-1", 0.2);

    console_log(&console, "sysrq-crash-6.12.log", "Kernel panic", TROUBLE_PANIC);
    close_console(&console, folder, "sysrq-1");
    step(one, "expect", "#", 0, 4.1);
    step(one, "run", "echo c > /proc/sysrq-trigger", 4.1, 2.1)->status = RESULT_FAILED;
}

static void add_subtests(struct result_case *one, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "list-test/%s_%zu", i % 3 == 0 ? "list_test_list_add" : "hlist_test_del", i);
        struct result_subtest *subtest = need(result_add_subtest(one, name, &error));
        subtest->status = i % 97 == 50 ? KTAP_FAILED : i % 31 == 7 ? KTAP_SKIPPED : KTAP_PASSED;
        if (subtest->status == KTAP_FAILED)
            set(&subtest->diagnostics,
                "# list_test_list_add: EXPECTATION FAILED at lib/list-test.c:57\n    Expected list.next == &b, but\n"
                "        list.next == ffff888003d0fe10\n        &b == ffff888003d0fe20\n");
        if (subtest->status == KTAP_SKIPPED)
            set(&subtest->reason, "needs CONFIG_DEBUG_LIST");
    }
}

static void add_kunit(struct results *results, const char *folder)
{
    struct result_case *one = add(results, "kunit", RESULT_FAILED, 3.3, "3 of 300 tests in the guest failed");
    struct console console = open_console(one, folder, "kunit-1", 0.2);

    console_log(&console, "kunit-6.12.log", NULL, TROUBLE_NONE);
    close_console(&console, folder, "kunit-1");
    add_subtests(one, 300);
    struct result_step *failed = step(one, "ktap", "the console", 0, 3.2);
    failed->status = RESULT_FAILED;
    set(&failed->message, "3 of 300 tests failed");
}

static void add_selftests(struct results *results, const char *folder)
{
    struct result_case *one = add(results, "kselftest[net]", RESULT_PASSED, 48, NULL);
    struct console console = open_console(one, folder, "kselftest-1", 0.2);

    console_log(&console, "kselftest.log", NULL, TROUBLE_NONE);
    close_console(&console, folder, "kselftest-1");
    add_subtests(one, 4);
    step(one, "ktap", "the console", 0, 47.5);
}

/* More than is shown, with trouble in the middle. */
static void add_flood(struct results *results, const char *folder)
{
    struct result_case *one = add(results, "flood", RESULT_FAILED, 130, "a task hung");
    struct console console = open_console(one, folder, "flood-1", 0);
    char line[200];

    for (unsigned i = 0; i < 60000; i++) {
        console.at += 0.001;
        (void)snprintf(line, sizeof(line), "[%12.6f] systemd-journald[212]: Failed to write entry %u, ignoring",
                       console.at, i);
        console_line(&console, line);
        if (i == 30000) {
            console_line(&console, "INFO: task kworker/0:1:12 blocked for more than 20 seconds.");
            note_trouble(&console, "INFO: task kworker/0:1:12 blocked for more than 20 seconds.", TROUBLE_HUNG_TASK);
            console.at += 25;
        }
    }
    close_console(&console, folder, "flood-1");
    step(one, "expect", "login:", 0, 129)->status = RESULT_FAILED;
}

static void add_hostile(struct results *results, const char *folder)
{
    struct result_case *one = add(results, "hostile " REPORT_FIXTURE_HOSTILE, RESULT_FAILED, 2, REPORT_FIXTURE_HOSTILE);
    struct console console = open_console(one, folder, "hostile-1", 0);
    struct result_step *failed = step(one, "expect", REPORT_FIXTURE_HOSTILE, 0, 1);
    char *line = need(calloc(1, 70001));

    console_line(&console, REPORT_FIXTURE_HOSTILE);
    note_trouble(&console, REPORT_FIXTURE_HOSTILE, TROUBLE_OOPS);
    (void)fprintf(console.timed, "0.9+%s\n-1 %s\n99999999999999999999.5 x\n\n1.5\n.5 y\n", REPORT_FIXTURE_HOSTILE,
                  REPORT_FIXTURE_HOSTILE);
    memset(line, 'x', 70000);
    console_line(&console, line);
    free(line);
    (void)fputs("1.9 no end", console.timed);
    close_console(&console, folder, "hostile-1");
    failed->status = RESULT_FAILED;
    set(&failed->message, REPORT_FIXTURE_HOSTILE);
    set(&failed->detail, REPORT_FIXTURE_HOSTILE);
    struct result_subtest *subtest = need(result_add_subtest(one, REPORT_FIXTURE_HOSTILE, &error));
    subtest->status = KTAP_FAILED;
    set(&subtest->reason, REPORT_FIXTURE_HOSTILE);
    set(&subtest->diagnostics, REPORT_FIXTURE_HOSTILE);
    need(result_add_attachment(one, "javascript:alert(1)", "javascript:alert(1)", &error));
    need(result_add_attachment(one, REPORT_FIXTURE_HOSTILE, "//example.org/x", &error));
    need(result_add_attachment(one, REPORT_FIXTURE_HOSTILE, "../../etc/passwd", &error));
}

struct results *report_fixture(const char *folder)
{
    struct results *results = need(results_create("linux boots", &error));

    results->started_at = 1790000000;
    add_boot(results, folder);
    add_warning(results, folder);
    add_crash(results, folder);
    add_kunit(results, folder);
    add_selftests(results, folder);
    struct result_case *broken = add(results, "boot[kernel=5.10]", RESULT_BROKEN, 0.4,
                                     "the host has no memory left for the guest: Cannot allocate memory");
    step(broken, "expect", "login:", 0, 0.4)->status = RESULT_BROKEN;
    set(&broken->console, "[    0.000000] Linux version 5.10.0\n[    0.000000] Command line: console=ttyS0\n");
    add(results, "suspend", RESULT_SKIPPED, 0, "needs a machine with ACPI S3");
    add(results, "hotplug", RESULT_NOT_RUN, 0, "interrupted");
    add(results, "a-test-with-a-name-that-is-as-long-as-names-get-and-has-no-blank[in=it]", RESULT_PASSED, 1.02, NULL);
    add_flood(results, folder);
    add_hostile(results, folder);
    return results;
}
