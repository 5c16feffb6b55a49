/* What the user sees: the bytes on a terminal, and in a pipe. */
#include "vmm/runner/live.h"
#include "vmm/runner/progress.h"

#include "unit_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MILLISECONDS = 60000 };

static struct error error;
static struct event_loop *loop;
static struct results *results;
static struct progress *progress;
/* The terminal's, or the pipe's, other end. */
static int reader;
static FILE *out;
/* A pipe: there is something urgent when there is something in it. */
static int urgent[2];
static struct view view;
static struct view_case running[40];
/* How often the view was asked for, which is how often it was drawn; and whether that ends the loop. */
static unsigned looks;
static bool stops_at_look;

static void setup(void)
{
    (void)setenv("TERM", "xterm", 1);
    (void)unsetenv("NO_COLOR");
    loop = event_loop_create(&error);
    results = results_create("test", &error);
    ck_assert_ptr_nonnull(results_add_case(results, "boot[vcpus=4]", "boot.toml", &error));
    running[0] = (struct view_case){.name = "slow",
                                    .kind = "expect",
                                    .step = 2,
                                    .step_count = 7,
                                    .elapsed_ns = 12000000000u,
                                    .expected_ns = 80000000000u};
    running[1] = (struct view_case){.name = "other", .elapsed_ns = 1000000000u};
    view = (struct view){.running = running, .running_count = 2, .waiting = 5, .round = 1, .rounds = 1};
    view.tallies[RESULT_PASSED] = 3;
    view.tallies[RESULT_FAILED] = 1;
    looks = 0;
    stops_at_look = false;
    ck_assert_int_eq(pipe(urgent), 0);
}

static void teardown(void)
{
    results_free(results);
    event_loop_destroy(loop);
}

static const struct view *on_look(void *context)
{
    (void)context;
    looks++;
    if (stops_at_look)
        event_loop_stop(loop);
    return &view;
}

static void open_terminal(unsigned columns, unsigned rows)
{
    const struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
    int writer;

    ck_assert_int_eq(openpty(&reader, &writer, NULL, NULL, &size), 0);
    out = fdopen(writer, "w");
}

static void open_pipe(void)
{
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    reader = ends[0];
    out = fdopen(ends[1], "w");
}

static void create(bool is_quiet, bool is_verbose)
{
    const struct progress_settings settings = {.style = progress_style_for(out),
                                               .has_colour = progress_has_colour_on(out),
                                               .is_quiet = is_quiet,
                                               .is_verbose = is_verbose,
                                               .out = out,
                                               .urgent_fd = urgent[0],
                                               .look = on_look};

    (void)setvbuf(out, NULL, _IOFBF, 65536);
    progress = progress_create(loop, &settings, &error);
    ck_assert_ptr_nonnull(progress);
}

static void end(enum result_status status, const char *message)
{
    struct result_case *one = results->cases[0];

    one->status = status;
    one->duration_ns = 1230000000;
    ck_assert_int_eq(result_set_text(&one->message, message, &error), 0);
    progress_ended(progress, one);
}

static void on_timer(void *context, uint32_t events)
{
    (void)context;
    (void)events;
    event_loop_stop(loop);
}

static void serve(unsigned milliseconds)
{
    const struct itimerspec when = {.it_value = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000}};
    const int fd = timerfd_create(CLOCK_MONOTONIC, 0);

    ck_assert_int_eq(timerfd_settime(fd, 0, &when, NULL), 0);
    ck_assert_int_eq(event_loop_add(loop, fd, EPOLLIN, on_timer, NULL, &error), 0);
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
    event_loop_remove(loop, fd);
    close(fd);
}

/* Once: what stands for longer is drawn again. */
static void serve_until_drawn(void)
{
    stops_at_look = true;
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
    stops_at_look = false;
}

/* What has come by now, behind what there is already. */
static size_t read_more(char *text, size_t used, size_t size)
{
    ck_assert_int_eq(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
    const ssize_t got = read(reader, text + used, size - used - 1);
    used += got > 0 ? (size_t)got : 0;
    text[used] = '\0';
    return used;
}

static void drop_seen(void)
{
    static char text[65536];

    (void)read_more(text, 0, sizeof(text));
}

/*
 * Waits for it: what is written to a terminal is at its other end a moment later, and may come there in pieces. A
 * terminal's line ends are CR LF.
 */
static void expect_seen(const char *wanted)
{
    static char text[65536];
    struct pollfd one = {.fd = reader, .events = POLLIN};

    text[0] = '\0';
    for (size_t used = 0; used < strlen(wanted) && poll(&one, 1, PATIENCE_MILLISECONDS) == 1;)
        used = read_more(text, used, sizeof(text));
    ck_assert_str_eq(text, wanted);
}

static void finish(void)
{
    progress_finish(progress);
    progress_destroy(progress);
    (void)fclose(out);
    close(reader);
}

/* ---- In a pipe ---- */

START_TEST(a_pipe_gets_lines)
{
    open_pipe();
    create(false, false);
    progress_began(progress);
    end(RESULT_PASSED, NULL);
    end(RESULT_FAILED, "it \x1b[31m did");
    end(RESULT_NOT_RUN, "interrupted");
    serve(20);
    expect_seen("ok     boot[vcpus=4]  1.23 s\nFAILED boot[vcpus=4]  1.23 s\n  why: it \\x1b[31m did\n");
    ck_assert_uint_eq(looks, 0);
    finish();
}
END_TEST

START_TEST(quiet_is_only_failures)
{
    open_pipe();
    create(true, false);
    end(RESULT_PASSED, NULL);
    end(RESULT_SKIPPED, "why");
    end(RESULT_BROKEN, NULL);
    expect_seen("BROKEN boot[vcpus=4]  1.23 s\n");
    finish();
}
END_TEST

START_TEST(verbose_has_steps)
{
    static const char text[] = "override.boot.kernel = \"k\"\n[[step]]\nsleep = \"1s\"\n";
    const struct scenario_options options = {.is_dry = true};
    struct scenario *scenario;

    ck_assert_int_eq(scenario_parse("a.toml", text, strlen(text), &options, &scenario, &error), 0);
    open_pipe();
    create(false, true);
    progress_step(progress, "a", scenario, 0);
    expect_seen("step   a  1/1 sleep\n");
    finish();
    scenario_free(scenario);
}
END_TEST

START_TEST(dumb_terminals_get_lines)
{
    (void)setenv("TERM", _i == 0 ? "dumb" : "", 1);
    open_terminal(80, 24);
    create(false, false);
    progress_began(progress);
    end(RESULT_FAILED, NULL);
    serve(20);
    expect_seen("FAILED boot[vcpus=4]  1.23 s\r\n");
    ck_assert_uint_eq(looks, 0);
    finish();
}
END_TEST

/* ---- In a pipe that nobody reads ---- */

enum { FILLER = 65536 };

static void fill_pipe(void)
{
    static const char bytes[4096];
    const int fd = fileno(out);
    const int flags = fcntl(fd, F_GETFL);
    size_t written = 0;

    ck_assert_int_eq(fcntl(fd, F_SETPIPE_SZ, FILLER), FILLER);
    ck_assert_int_eq(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    for (ssize_t some; (some = write(fd, bytes, sizeof(bytes))) > 0;)
        written += (size_t)some;
    ck_assert_uint_eq(written, FILLER);
    ck_assert_int_eq(fcntl(fd, F_SETFL, flags), 0);
}

/* A line with this number in it, some hundred bytes long. */
static void end_numbered(unsigned number)
{
    char message[300];

    memset(message, 'x', sizeof(message));
    (void)snprintf(message + 280, sizeof(message) - 280, "%u", number);
    end(RESULT_FAILED, message);
}

/* Reads lines with the numbers from 0 on. */
static void check_numbers(unsigned count)
{
    char *line = NULL;
    size_t size = 0;
    unsigned next = 0;
    ssize_t length;
    FILE *in = fdopen(dup(reader), "r");

    while (next < count && (length = getdelim(&line, &size, '\n', in)) > 0) {
        /* In front of the first line is what has filled the pipe. */
        const char *why = memmem(line, (size_t)length, "why: x", 6);
        if (why == NULL)
            continue;
        ck_assert_uint_eq(strtoul(why + strlen("why: ") + 280, NULL, 10), next);
        next++;
    }
    ck_assert_uint_eq(next, count);
    free(line);
    (void)fclose(in);
}

static pid_t start_reader(unsigned count)
{
    const pid_t child = fork();

    if (child == 0) {
        (void)fclose(out);
        check_numbers(count);
        _exit(0);
    }
    return child;
}

static void check_reader(pid_t child)
{
    int status;

    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}

START_TEST(who_does_not_read_holds_nobody_up)
{
    open_pipe();
    fill_pipe();
    create(false, false);
    for (unsigned i = 0; i < 1000; i++)
        end_numbered(i);
    /* It goes on by itself when somebody reads. */
    const pid_t child = start_reader(1000);
    int status;
    while (waitpid(child, &status, WNOHANG) == 0)
        serve(20);
    ck_assert_int_eq(status, 0);
    finish();
}
END_TEST

START_TEST(nothing_is_lost_to_a_slow_reader)
{
    open_pipe();
    fill_pipe();
    create(false, false);
    /* More than is kept, so that the last lines have to wait for the reader. */
    const pid_t child = start_reader(20000);
    for (unsigned i = 0; i < 20000; i++)
        end_numbered(i);
    progress_finish(progress);
    check_reader(child);
    finish();
}
END_TEST

START_TEST(what_is_urgent_is_not_held_up)
{
    open_pipe();
    fill_pipe();
    create(false, false);
    const pid_t child = fork();
    if (child == 0) {
        const struct timespec soon = {.tv_nsec = 300000000};
        (void)nanosleep(&soon, NULL);
        _exit(write(urgent[1], "x", 1) == 1 ? 0 : 1);
    }
    for (unsigned i = 0; i < 8000; i++)
        end_numbered(i);
    /* Only the urgent one has had it go on. */
    check_reader(child);
    (void)!read(urgent[0], &(char){0}, 1);
    progress_hurry(progress);
    for (unsigned i = 0; i < 8000; i++)
        end_numbered(i);
    ck_assert(!progress_has_failed(progress));
    progress_destroy(progress);
    (void)fclose(out);
    close(reader);
}
END_TEST

START_TEST(a_reader_that_has_gone_is_a_failure)
{
    (void)signal(SIGPIPE, SIG_IGN);
    open_pipe();
    fill_pipe();
    create(false, false);
    end_numbered(0);
    ck_assert(!progress_has_failed(progress));
    close(reader);
    serve(20);
    ck_assert(progress_has_failed(progress));
    for (unsigned i = 0; i < 20000; i++)
        end_numbered(i);
    finish();
}
END_TEST

/* ---- On a terminal ---- */

#define LIVE_LINES "slow  3/7 expect  12 s of 1 min 20 s\r\nother  1 s\r\n3 passed, 1 failed, 2 running, 5 waiting"

START_TEST(a_terminal_shows_what_runs)
{
    open_terminal(80, 24);
    create(false, false);
    progress_began(progress);
    serve_until_drawn();
    expect_seen(LIVE_LINES);
    /* What passed is a number, what failed goes above. */
    view.tallies[RESULT_PASSED] = 4;
    end(RESULT_PASSED, NULL);
    end(RESULT_FAILED, "so");
    serve_until_drawn();
    expect_seen("\r\x1b[2A\x1b[J\x1b[31mFAILED boot[vcpus=4]  1.23 s\r\n  why: so\r\n\x1b[0m"
                "slow  3/7 expect  12 s of 1 min 20 s\r\nother  1 s\r\n"
                "4 passed, 1 failed, 2 running, 5 waiting");
    /* At the end nothing is left of it, and the cursor was never hidden. */
    progress_warn(progress, "odd");
    progress_finish(progress);
    expect_seen("\r\x1b[2A\x1b[Jquire: odd\r\n");
    finish();
}
END_TEST

START_TEST(no_colour_where_it_is_not_wanted)
{
    (void)setenv("NO_COLOR", "1", 1);
    open_terminal(80, 24);
    create(false, false);
    end(RESULT_FAILED, NULL);
    serve_until_drawn();
    expect_seen("FAILED boot[vcpus=4]  1.23 s\r\n" LIVE_LINES);
    finish();
}
END_TEST

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

START_TEST(it_is_not_drawn_too_often)
{
    open_terminal(80, 24);
    create(false, false);
    uint64_t start = now_ms();
    for (unsigned i = 0; i < 50; i++) {
        progress_began(progress);
        serve(5);
        drop_seen();
    }
    /* The first at once, and then one in 100 ms, however long that took. */
    ck_assert_uint_ge(looks, 2);
    ck_assert_uint_le(looks, (now_ms() - start) / 100 + 1);
    /* And each second by itself. */
    serve(200);
    start = now_ms();
    looks = 0;
    serve(2300);
    ck_assert_uint_ge(looks, 1);
    /* One may have been due before. */
    ck_assert_uint_le(looks, (now_ms() - start) / 1000 + 2);
    finish();
}
END_TEST

START_TEST(a_held_terminal_holds_nothing_up)
{
    open_terminal(80, 24);
    create(false, false);
    /* As with Ctrl-S. */
    ck_assert_int_eq(tcflow(fileno(out), TCOOFF), 0);
    progress_began(progress);
    serve(150);
    ck_assert_uint_eq(looks, 0);
    ck_assert_int_eq(tcflow(fileno(out), TCOON), 0);
    progress_began(progress);
    serve_until_drawn();
    finish();
}
END_TEST

/* ---- Lines ---- */

static struct live live;

static const char *draw(unsigned columns, unsigned rows)
{
    static char text[65536];
    FILE *to = fmemopen(text, sizeof(text), "w");

    live_draw(&live, &view, columns, rows, to);
    (void)fclose(to);
    return text;
}

static const char *erase(unsigned columns)
{
    static char text[256];
    FILE *to = fmemopen(text, sizeof(text), "w");

    text[0] = '\0';
    live_erase(&live, columns, to);
    (void)fclose(to);
    return text;
}

START_TEST(narrow_terminals_cut_names_first)
{
    running[0].name = "a-rather-long-name[of=a,case=that]";
    view.running_count = 1;
    ck_assert_str_eq(
        draw(60, 24),
        "a-rather-long-name[of=a,cas  3/7 expect  12 s of 1 min 20 s\n3 passed, 1 failed, 1 running, 5 waiting");
    ck_assert_str_eq(draw(20, 24), "a-rather  3/7 expec\n3 passed, 1 failed,");
    ck_assert_str_eq(draw(5, 24), "a-ra\n3 pa");
    ck_assert_str_eq(draw(1, 24), "a\n3");
}
END_TEST

START_TEST(names_are_characters)
{
    running[0] = (struct view_case){.name = "\xc3\xbc\xc3\xbc\xc3\xbc\x1b[m\xe2\x80\xae\xc3\xbc\xc3\xbc\xc3\xbc"};
    view.running_count = 1;
    ck_assert_str_eq(draw(14, 24), "\xc3\xbc\xc3\xbc\xc3\xbc?[m?\xc3\xbc  0 s\n3 passed, 1 f");
    ck_assert_uint_eq(live.widths[0], 13);
}
END_TEST

START_TEST(low_terminals_show_some)
{
    for (size_t i = 0; i < 40; i++)
        running[i] = (struct view_case){.name = "x"};
    view.running_count = 40;
    ck_assert_str_eq(draw(80, 6), "x  0 s\nx  0 s\nx  0 s\nand 37 more\n3 passed, 1 failed, 40 running, 5 waiting");
    ck_assert_str_eq(draw(80, 1), "and 40 more\n3 passed, 1 failed, 40 running, 5 waiting");
    (void)draw(80, 1000);
    ck_assert_uint_eq(live.count, LIVE_MAX_LINES);
}
END_TEST

START_TEST(a_terminal_that_was_made_narrower)
{
    (void)draw(80, 24);
    ck_assert_str_eq(erase(80), "\r\x1b[2A\x1b[J");
    ck_assert_str_eq(erase(80), "");
    (void)draw(80, 24);
    /* Of 36, 10 and 40 characters: 4, 1 and 4 rows of 10. */
    ck_assert_str_eq(erase(10), "\r\x1b[8A\x1b[J");
}
END_TEST

START_TEST(all_is_told)
{
    view.tallies[RESULT_BROKEN] = 2;
    view.tallies[RESULT_SKIPPED] = 4;
    view.running_count = 0;
    view.round = 3;
    view.rounds = 50;
    view.knows_left = true;
    view.left_ns = 7500000000000u;
    ck_assert_str_eq(draw(200, 24),
                     "3 passed, 1 failed, 2 broken, 4 skipped, 0 running, 5 waiting, round 3 of 50, about "
                     "2 h 5 min left");
    view.rounds = 0;
    view.knows_left = false;
    ck_assert_str_eq(draw(200, 24), "3 passed, 1 failed, 2 broken, 4 skipped, 0 running, 5 waiting, round 3");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runner_progress");
    TCase *cases = tcase_create("progress");

    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, a_pipe_gets_lines);
    tcase_add_test(cases, quiet_is_only_failures);
    tcase_add_test(cases, verbose_has_steps);
    tcase_add_loop_test(cases, dumb_terminals_get_lines, 0, 2);
    tcase_add_test(cases, who_does_not_read_holds_nobody_up);
    tcase_add_test(cases, nothing_is_lost_to_a_slow_reader);
    tcase_add_test(cases, what_is_urgent_is_not_held_up);
    tcase_add_test(cases, a_reader_that_has_gone_is_a_failure);
    tcase_add_test(cases, a_terminal_shows_what_runs);
    tcase_add_test(cases, no_colour_where_it_is_not_wanted);
    tcase_add_test(cases, it_is_not_drawn_too_often);
    tcase_add_test(cases, a_held_terminal_holds_nothing_up);
    tcase_add_test(cases, narrow_terminals_cut_names_first);
    tcase_add_test(cases, names_are_characters);
    tcase_add_test(cases, low_terminals_show_some);
    tcase_add_test(cases, a_terminal_that_was_made_narrower);
    tcase_add_test(cases, all_is_told);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
