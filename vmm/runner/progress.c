#include "vmm/runner/progress.h"

#include "vmm/config/place.h"
#include "vmm/runner/clock.h"
#include "vmm/runner/live.h"
#include "vmm/runner/outlet.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { COLUMNS_DEFAULT = 80, ROWS_DEFAULT = 24 };

struct progress {
    struct event_loop *loop;
    struct progress_settings settings;
    /* Where nothing is live. */
    struct outlet *lines;
    struct outlet *warnings;
    /* For what is live; -1: there is nothing. */
    int timer_fd;
    uint64_t drawn_ns;
    struct live live;
    /* Lines that go above what is live, when that is drawn next. */
    FILE *above;
    char *above_text;
    size_t above_size;
};

enum progress_style progress_style_for(FILE *out)
{
    const char *term = getenv("TERM");

    if (!isatty(fileno(out)) || term == NULL || term[0] == '\0' || strcmp(term, "dumb") == 0)
        return PROGRESS_LINES;
    return PROGRESS_LIVE;
}

bool progress_has_colour_on(FILE *out)
{
    const char *no_colour = getenv("NO_COLOR");

    return progress_style_for(out) == PROGRESS_LIVE && (no_colour == NULL || no_colour[0] == '\0');
}

/* ---- What is live ---- */

static void get_size(const struct progress *progress, unsigned *ret_columns, unsigned *ret_rows)
{
    struct winsize size = {0};

    (void)ioctl(fileno(progress->settings.out), TIOCGWINSZ, &size);
    *ret_columns = size.ws_col > 0 ? size.ws_col : COLUMNS_DEFAULT;
    *ret_rows = size.ws_row > 0 ? size.ws_row : ROWS_DEFAULT;
}

/* A terminal that the user holds up (Ctrl-S) is not to hold up the machines' timeouts. */
static bool can_write(const struct progress *progress)
{
    struct pollfd poll_fd = {.fd = fileno(progress->settings.out), .events = POLLOUT};

    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT) != 0;
}

static void flush_above(struct progress *progress)
{
    (void)fflush(progress->above);
    (void)fwrite(progress->above_text, 1, progress->above_size, progress->settings.out);
    rewind(progress->above);
}

/* All in one write, so that nothing flickers. */
static void draw(struct progress *progress)
{
    FILE *out = progress->settings.out;
    unsigned columns, rows;

    get_size(progress, &columns, &rows);
    live_erase(&progress->live, columns, out);
    flush_above(progress);
    live_draw(&progress->live, progress->settings.look(progress->settings.context), columns, rows, out);
    (void)fflush(out);
    progress->drawn_ns = clock_now_ns();
}

static void set_timer(const struct progress *progress, uint64_t at)
{
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)}};

    (void)timerfd_settime(progress->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Has it drawn as soon as may be. */
static void draw_soon(const struct progress *progress)
{
    if (progress->settings.style == PROGRESS_LIVE)
        set_timer(progress, progress->drawn_ns + PROGRESS_LEAST_NS);
}

static void on_timer(void *context, uint32_t events)
{
    struct progress *progress = context;
    uint64_t count;

    (void)events;
    if (read(progress->timer_fd, &count, sizeof(count)) != sizeof(count))
        return;
    if (can_write(progress))
        draw(progress);
    /* And in any case in a while. */
    set_timer(progress, clock_now_ns() + PROGRESS_MOST_NS);
}

static int open_lines(struct progress *progress, struct error *error)
{
    const int urgent_fd = progress->settings.urgent_fd;

    progress->lines = outlet_create(progress->loop, fileno(progress->settings.out), urgent_fd, error);
    if (progress->lines == NULL)
        return -1;
    progress->warnings = outlet_create(progress->loop, STDERR_FILENO, urgent_fd, error);
    return progress->warnings != NULL ? 0 : -1;
}

static int open_live(struct progress *progress, struct error *error)
{
    progress->above = open_memstream(&progress->above_text, &progress->above_size);
    if (progress->above == NULL)
        return config_out_of_memory(error);
    progress->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (progress->timer_fd < 0)
        return error_set(error, ERROR_HOST, "no timer for the terminal: %s", strerror(errno));
    return event_loop_add(progress->loop, progress->timer_fd, EPOLLIN, on_timer, progress, error);
}

struct progress *progress_create(struct event_loop *loop, const struct progress_settings *settings, struct error *error)
{
    struct progress *progress = calloc(1, sizeof(*progress));

    if (progress == NULL) {
        (void)config_out_of_memory(error);
        return NULL;
    }
    progress->loop = loop;
    progress->settings = *settings;
    progress->timer_fd = -1;
    if ((settings->style == PROGRESS_LIVE ? open_live : open_lines)(progress, error) == 0)
        return progress;
    progress_destroy(progress);
    return NULL;
}

static void leave_terminal(struct progress *progress)
{
    unsigned columns, rows;

    get_size(progress, &columns, &rows);
    live_erase(&progress->live, columns, progress->settings.out);
    flush_above(progress);
    (void)fflush(progress->settings.out);
}

void progress_hurry(struct progress *progress)
{
    if (progress->settings.style == PROGRESS_LIVE)
        return;
    outlet_hurry(progress->lines);
    outlet_hurry(progress->warnings);
}

bool progress_has_failed(const struct progress *progress)
{
    return progress->settings.style == PROGRESS_LIVE ? ferror(progress->settings.out) != 0
                                                     : outlet_has_failed(progress->lines);
}

void progress_finish(struct progress *progress)
{
    if (progress->settings.style == PROGRESS_LIVE) {
        leave_terminal(progress);
        return;
    }
    outlet_finish(progress->lines);
    outlet_finish(progress->warnings);
}

void progress_destroy(struct progress *progress)
{
    if (progress == NULL)
        return;
    outlet_destroy(progress->lines);
    outlet_destroy(progress->warnings);
    if (progress->above != NULL) {
        if (can_write(progress))
            leave_terminal(progress);
        (void)fclose(progress->above);
        free(progress->above_text);
    }
    if (progress->timer_fd >= 0) {
        event_loop_remove(progress->loop, progress->timer_fd);
        close(progress->timer_fd);
    }
    free(progress);
}

/* ---- What has happened ---- */

/* Where lines go; end_lines() is due. */
static FILE *begin_lines(const struct progress *progress)
{
    return progress->settings.style == PROGRESS_LIVE ? progress->above : outlet_stream(progress->lines);
}

static void end_lines(const struct progress *progress)
{
    if (progress->settings.style == PROGRESS_LIVE)
        draw_soon(progress);
    else
        outlet_push(progress->lines);
}

void progress_began(struct progress *progress)
{
    draw_soon(progress);
}

void progress_step(struct progress *progress, const char *name, const struct scenario *scenario, size_t step)
{
    if (progress->settings.is_verbose && progress->settings.style != PROGRESS_NOTHING) {
        (void)fprintf(begin_lines(progress), "step   %s  %zu/%zu %s\n", name, step + 1, scenario->step_count,
                      scenario_step_name(scenario->steps[step].kind));
        end_lines(progress);
    }
    draw_soon(progress);
}

static bool is_shown(const struct progress *progress, const struct result_case *result)
{
    const bool is_fine = result->status == RESULT_PASSED || result->status == RESULT_SKIPPED;

    if (progress->settings.style == PROGRESS_NOTHING)
        return false;
    if (!is_fine)
        return result->status != RESULT_NOT_RUN;
    return progress->settings.style == PROGRESS_LIVE ? progress->settings.is_verbose : !progress->settings.is_quiet;
}

static void write_result(const struct progress *progress, const struct result_case *result, FILE *out)
{
    const bool is_bad = result->status == RESULT_FAILED || result->status == RESULT_BROKEN;
    const bool is_red = is_bad && progress->settings.has_colour;

    (void)fputs(is_red ? "\x1b[31m" : "", out);
    results_write_line(result, out);
    (void)fputs(is_red ? "\x1b[0m" : "", out);
}

void progress_ended(struct progress *progress, const struct result_case *result)
{
    if (is_shown(progress, result)) {
        write_result(progress, result, begin_lines(progress));
        end_lines(progress);
    }
    draw_soon(progress);
}

void progress_warn(struct progress *progress, const char *text)
{
    if (progress->settings.style != PROGRESS_LIVE) {
        (void)fprintf(outlet_stream(progress->warnings), "quire: %s\n", text);
        outlet_push(progress->warnings);
        return;
    }
    (void)fprintf(begin_lines(progress), "quire: %s\n", text);
    end_lines(progress);
}
