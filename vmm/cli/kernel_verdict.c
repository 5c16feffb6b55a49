#include "vmm/cli/kernel_verdict.h"

#include "memory/support/utf8.h"
#include "vmm/machine/outcome.h"
#include "vmm/runner/verdict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Of the console, in a report. */
    SHOWN_LINES = 25,
    SHOWN_TROUBLE = 10,
};

/*
 * A line of this program's. The guest, or a machine that it has taken over, may have had a hand in the words, and must
 * not reach the user's terminal with them.
 */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    char *text;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    fputs("quire: test: ", stderr);
    if (text != NULL)
        utf8_write_plain(text, strlen(text), stderr);
    fputc('\n', stderr);
    free(text);
}

/* A line of the console's. */
static void show(const char *text, size_t length)
{
    fputs("  | ", stderr);
    utf8_write_plain(text, length, stderr);
    fputc('\n', stderr);
}

/* The lines with the places from first down to last, of which 0 is the newest. */
static void print_lines(const struct kernel_facts *facts, size_t first, size_t last)
{
    struct console_line line;

    for (size_t i = first + 1; i-- > last;)
        if (console_watch_tail(facts->watch, i, &line))
            show(line.text, line.length);
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
        say("the console has said nothing");
        return;
    }
    say("the console's last lines:");
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

/* The length of a place that a text starts with, "FILE:LINE:COLUMN: "; 0: it starts with none. */
static size_t measure_place(const struct kernel_facts *facts, const char *text)
{
    size_t length = strlen(facts->file);

    if (strncmp(text, facts->file, length) != 0)
        return 0;
    for (int i = 0; i < 2; i++) {
        const size_t digits = text[length] == ':' ? strspn(text + length + 1, "0123456789") : 0;
        if (digits == 0)
            return 0;
        length += 1 + digits;
    }
    return strncmp(text + length, ": ", 2) == 0 ? length + 2 : 0;
}

/* Without the places in it. */
static void print_log_line(const struct kernel_facts *facts, const char *line, const char *end)
{
    const char *rest = line;

    while (line < end) {
        const size_t place = measure_place(facts, line);
        if (place == 0 || place > (size_t)(end - line)) {
            line++;
            continue;
        }
        utf8_write_plain(rest, (size_t)(line - rest), stderr);
        line += place;
        rest = line;
    }
    utf8_write_plain(rest, (size_t)(end - rest), stderr);
    fputc('\n', stderr);
}

static void print_log(const struct kernel_facts *facts)
{
    if (facts->options->verbose)
        return;
    for (const char *line = facts->log; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        print_log_line(facts, line, end);
        line = *end != '\0' ? end + 1 : end;
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

/* How often there was trouble of a kind that counts. */
static uint64_t count_trouble(const struct kernel_facts *facts, enum trouble_kind kind)
{
    return facts->options->allowed[kind] ? 0 : console_watch_trouble_count(facts->watch, kind);
}

static bool has_trouble(const struct kernel_facts *facts)
{
    for (enum trouble_kind kind = 0; kind < TROUBLE_KIND_COUNT; kind++)
        if (count_trouble(facts, kind) > 0)
            return true;
    return false;
}

/* "warning (3 times), panic" */
static void print_kinds(const struct kernel_facts *facts)
{
    const char *between = "";

    fputs("quire: test: the kernel is in trouble: ", stderr);
    for (enum trouble_kind kind = 0; kind < TROUBLE_KIND_COUNT; kind++) {
        const uint64_t count = count_trouble(facts, kind);
        if (count == 0)
            continue;
        fprintf(stderr, "%s%s", between, trouble_name(kind));
        if (count > 1)
            fprintf(stderr, " (%" PRIu64 " times)", count);
        between = ", ";
    }
    fputc('\n', stderr);
}

static void print_trouble(const struct kernel_facts *facts)
{
    size_t index = 0;
    size_t count = 1;
    const struct console_trouble *first = find_trouble(facts, &index);
    const struct console_trouble *trouble;

    /* What is allowed has taken all the room. */
    if (first == NULL) {
        say("so much trouble that is allowed came before it that its line is not known");
        print_last_lines(facts);
        return;
    }
    if (facts->options->verbose)
        show(first->text, strlen(first->text));
    print_lines_from(facts, first->line);
    for (; (trouble = find_trouble(facts, &index)) != NULL && count < SHOWN_TROUBLE; count++) {
        say("and %s, on line %" PRIu64 " of the console:", trouble_name(trouble->kind), trouble->line);
        show(trouble->text, strlen(trouble->text));
    }
    if (trouble != NULL)
        say("and more");
}

/* What the console tells of; whether there is any. */
static bool report_console_trouble(const struct kernel_facts *facts)
{
    if (!has_trouble(facts))
        return false;
    print_kinds(facts);
    print_trouble(facts);
    return true;
}

/* What the machine tells of: a triple fault, or a panic by way of pvpanic, whose text may have gone elsewhere. */
static bool report_machine_trouble(const struct kernel_facts *facts)
{
    const enum trouble_kind kind = facts->was_killed ? TROUBLE_NONE : trouble_find(facts->machine->name);

    if (kind == TROUBLE_NONE || facts->options->allowed[kind])
        return false;
    say("the kernel is in trouble: %s", trouble_name(kind));
    print_log(facts);
    print_last_lines(facts);
    return true;
}

/* The machine, and not the guest, is why it has ended: the status; 0: it is not. */
static int status_of_machine(const struct kernel_facts *facts)
{
    return !facts->was_killed && machine_end_is_hosts(facts->machine) ? facts->machine->status : 0;
}

static int fail_late(const struct kernel_facts *facts)
{
    if (facts->has_booted)
        say("out of time, and the command is ended");
    else if (facts->command->kind == EXEC_OUT_OF_TIME)
        say("out of time, and the guest has not booted yet");
    else
        say("the guest does not boot, or its kernel has no 8250 serial ports for the agent; --wait has it more time, "
            "--verbose shows its console");
    print_last_lines(facts);
    return EXIT_STATUS_OUT_OF_TIME;
}

/* The guest has gone before the command's end. */
static int fail_gone(const struct kernel_facts *facts)
{
    if (!facts->has_booted)
        say("the kernel does not boot: %s", facts->was_killed ? facts->command->text : facts->machine->text);
    else if (facts->was_killed)
        say("what has become of the command is not known: %s", facts->command->text);
    else
        say("the guest has gone before the command's end: %s", facts->machine->text);
    print_last_lines(facts);
    return EXIT_STATUS_TEST_FAILED;
}

static int status_of_command(const struct kernel_facts *facts)
{
    const struct kernel_test_options *options = facts->options;
    const struct exec_end *command = facts->command;

    if (command->kind == EXEC_NOT_RUN)
        say("%s: %s", options->command_count > 0 ? options->command[0] : "sh", command->text);
    /* To git, these would be the end of its bisection. */
    return options->bisect && command->status >= EXIT_STATUS_SIGNAL_BASE ? EXIT_STATUS_TEST_FAILED : command->status;
}

int kernel_verdict_of_error(const struct kernel_test_options *options, const struct error *error)
{
    say("%s", error->text);
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
            say("%s", facts->machine->text);
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
