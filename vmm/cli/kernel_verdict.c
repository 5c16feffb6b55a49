#include "vmm/cli/kernel_verdict.h"

#include "vmm/machine/outcome.h"
#include "vmm/runner/verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    /* Of the console, in a report. */
    SHOWN_LINES = 25,
    SHOWN_TROUBLE = 10,
};

/* What a guest has printed, without what a terminal would obey. */
static void print_text(const char *front, const char *text, size_t length)
{
    fputs(front, stderr);
    for (size_t i = 0; i < length; i++) {
        const unsigned char byte = (unsigned char)text[i];
        fputc(byte == '\t' || (byte >= 0x20 && byte < 0x7f) ? byte : '?', stderr);
    }
    fputc('\n', stderr);
}

/* The lines with the places from first down to last, of which 0 is the newest. */
static void print_lines(const struct kernel_facts *facts, size_t first, size_t last)
{
    struct console_line line;

    for (size_t i = first + 1; i-- > last;)
        if (console_watch_tail(facts->watch, i, &line))
            print_text("  | ", line.text, line.length);
}

/* Unless they have been shown already. */
static void print_last_lines(const struct kernel_facts *facts)
{
    struct console_line line;
    size_t count = 0;

    if (facts->options->verbose)
        return;
    while (count < SHOWN_LINES && console_watch_tail(facts->watch, count, &line))
        count++;
    if (count == 0) {
        fputs("quire: test: the console has said nothing\n", stderr);
        return;
    }
    fputs("quire: test: the console's last lines:\n", stderr);
    print_lines(facts, count - 1, 0);
}

/* From a line on. */
static void print_lines_from(const struct kernel_facts *facts, uint64_t number)
{
    struct console_line line;
    size_t count = 0;

    if (facts->options->verbose)
        return;
    while (console_watch_tail(facts->watch, count, &line) && line.number >= number)
        count++;
    if (count > 0)
        print_lines(facts, count - 1, count > SHOWN_LINES ? count - SHOWN_LINES : 0);
}

/* How much of a text is a place in the machine's file, "FILE:LINE:COLUMN: ", which nobody has written. */
static size_t measure_place(const struct kernel_facts *facts, const char *text)
{
    const size_t length = strlen(facts->file);
    int more = 0;

    if (strncmp(text, facts->file, length) != 0 || sscanf(text + length, ":%*u:%*u: %n", &more) < 0)
        return 0;
    return more > 0 ? length + (size_t)more : 0;
}

static void print_log(const struct kernel_facts *facts)
{
    if (facts->options->verbose)
        return;
    for (const char *at = facts->log; *at != '\0';) {
        const size_t place = measure_place(facts, at);
        if (place == 0)
            fputc(*at, stderr);
        at += place > 0 ? place : 1;
    }
}

static const struct console_trouble *find_trouble(const struct kernel_facts *facts, size_t *index)
{
    const struct console_trouble *trouble;

    while ((trouble = console_watch_trouble(facts->watch, *index)) != NULL) {
        ++*index;
        if (!facts->options->allowed[trouble->kind])
            return trouble;
    }
    return NULL;
}

/* "warning (3 times), panic" */
static void print_kinds(const struct kernel_facts *facts)
{
    const char *between = "";

    fputs("quire: test: the kernel is in trouble: ", stderr);
    for (size_t kind = 0; kind < TROUBLE_KIND_COUNT; kind++) {
        const uint64_t count = console_watch_trouble_count(facts->watch, kind);
        if (count == 0 || facts->options->allowed[kind])
            continue;
        fprintf(stderr, "%s%s", between, trouble_name(kind));
        if (count > 1)
            fprintf(stderr, " (%" PRIu64 " times)", count);
        between = ", ";
    }
    fputc('\n', stderr);
}

/* What the console tells of; whether there is any. */
static bool report_console_trouble(const struct kernel_facts *facts)
{
    size_t index = 0;
    size_t count = 1;
    const struct console_trouble *first = find_trouble(facts, &index);
    const struct console_trouble *trouble;

    if (first == NULL)
        return false;
    print_kinds(facts);
    if (facts->options->verbose)
        print_text("  | ", first->text, strlen(first->text));
    print_lines_from(facts, first->line);
    for (; (trouble = find_trouble(facts, &index)) != NULL && count < SHOWN_TROUBLE; count++) {
        fprintf(stderr, "quire: test: and %s, on line %" PRIu64 " of the console:\n", trouble_name(trouble->kind),
                trouble->line);
        print_text("  | ", trouble->text, strlen(trouble->text));
    }
    if (trouble != NULL)
        fputs("quire: test: and more\n", stderr);
    return true;
}

/* What the machine tells of: a triple fault, or a panic by way of pvpanic, whose text may have gone elsewhere. */
static bool report_machine_trouble(const struct kernel_facts *facts)
{
    const enum trouble_kind kind = facts->was_killed ? TROUBLE_NONE : trouble_find(facts->machine->name);

    if (kind == TROUBLE_NONE || facts->options->allowed[kind])
        return false;
    fprintf(stderr, "quire: test: the kernel is in trouble: %s\n", trouble_name(kind));
    print_log(facts);
    print_last_lines(facts);
    return true;
}

/* The machine, and not the guest, is why it has ended: the status; 0: it is not. */
static int status_of_machine(const struct kernel_facts *facts)
{
    return !facts->was_killed && machine_end_is_hosts(facts->machine) ? facts->machine->status : 0;
}

static int fail_with_lines(const struct kernel_facts *facts, int status, const char *text)
{
    fprintf(stderr, "quire: test: %s\n", text);
    print_last_lines(facts);
    return status;
}

static int fail_late(const struct kernel_facts *facts)
{
    if (facts->has_booted)
        return fail_with_lines(facts, EXIT_STATUS_OUT_OF_TIME, "out of time, and the command is ended");
    if (facts->command->kind == EXEC_OUT_OF_TIME)
        return fail_with_lines(facts, EXIT_STATUS_OUT_OF_TIME, "out of time, and the guest has not booted yet");
    return fail_with_lines(facts, EXIT_STATUS_OUT_OF_TIME,
                           "the guest does not boot, or its kernel has no 8250 serial ports for the agent; --wait has "
                           "it more time, --verbose shows its console");
}

/* The guest has gone before the command's end. */
static int fail_gone(const struct kernel_facts *facts)
{
    char text[1024];

    if (!facts->has_booted)
        (void)snprintf(text, sizeof(text), "the kernel does not boot: %s", facts->machine->text);
    else if (facts->was_killed)
        (void)snprintf(text, sizeof(text), "what has become of the command is not known: %s", facts->command->text);
    else
        (void)snprintf(text, sizeof(text), "the guest has gone before the command's end: %s", facts->machine->text);
    return fail_with_lines(facts, EXIT_STATUS_TEST_FAILED, text);
}

static int status_of_command(const struct kernel_facts *facts)
{
    const struct kernel_test_options *options = facts->options;
    const struct exec_end *command = facts->command;

    if (command->kind == EXEC_NOT_RUN)
        fprintf(stderr, "quire: test: %s: %s\n", options->command_count > 0 ? options->command[0] : "sh",
                command->text);
    /* To git, these would be the end of its bisection. */
    return options->bisect && command->status >= EXIT_STATUS_SIGNAL_BASE ? EXIT_STATUS_TEST_FAILED : command->status;
}

int kernel_verdict_of_error(const struct kernel_test_options *options, const struct error *error)
{
    fprintf(stderr, "quire: test: %s\n", error->text);
    const int status = error->kind == ERROR_CONFIG ? EXIT_STATUS_USAGE : EXIT_STATUS_HOST_FAILED;
    return options->bisect ? verdict_for_bisect(status) : status;
}

static int fail_endless(const struct kernel_facts *facts)
{
    struct error error;

    error_set(&error, ERROR_HOST, "the machine's process cannot be ended");
    return kernel_verdict_of_error(facts->options, &error);
}

int kernel_verdict(const struct kernel_facts *facts)
{
    const struct exec_end *command = facts->command;

    if (facts->machine == NULL)
        return fail_endless(facts);
    if (command->kind == EXEC_SIGNALLED)
        return command->status;
    const int machine_status = status_of_machine(facts);
    if (machine_status != 0) {
        print_log(facts);
        if (strcmp(facts->machine->name, "killed") == 0)
            fprintf(stderr, "quire: test: %s\n", facts->machine->text);
        /* It is the kernel that it does not take: the next one may be another. */
        return facts->options->bisect ? VERDICT_BISECT_SKIP : machine_status;
    }
    if (report_console_trouble(facts) || report_machine_trouble(facts))
        return EXIT_STATUS_TEST_FAILED;
    if (command->kind == EXEC_FAILED)
        return kernel_verdict_of_error(facts->options, &command->error);
    if (command->kind == EXEC_NO_ANSWER || command->kind == EXEC_OUT_OF_TIME)
        return fail_late(facts);
    if (command->kind == EXEC_STOPPED || command->kind == EXEC_LOST)
        return fail_gone(facts);
    return status_of_command(facts);
}
