/*
 * A running case, for the files that make it: case_run.c leads it from step to step, step_*.c are what steps do, and
 * post_mortem.c looks at a machine in which one failed.
 *
 * Whoever is called by the event loop ends with case_advance(), behind which the run may be gone.
 */
#ifndef VMM_RUNNER_CASE_PRIVATE_H
#define VMM_RUNNER_CASE_PRIVATE_H

#include "vmm/runner/case_file.h"
#include "vmm/runner/case_run.h"
#include "vmm/runner/clock.h"
#include "vmm/runner/line_match.h"
#include "vmm/runner/machine_process.h"
#include "vmm/scenario/console_watch.h"
#include "vmm/scenario/ktap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull
/* How often something that is not there yet is looked for: a socket of a machine that starts. */
#define CASE_RETRY_NS (20 * NS_PER_MS)
/* The machine's end, which is the better reason, is seen soon after the end of what was connected to it. */
#define CASE_LOST_NS NS_PER_S

enum case_timer {
    /* The step's time is up; the case's. */
    CASE_TIMER_STEP,
    CASE_TIMER_CASE,
    /* The console has been silent for a while. */
    CASE_TIMER_QUIET,
    /* The step's own, and that of a request on the control socket. */
    CASE_TIMER_WAKE,
    CASE_TIMER_CONTROL,
    /* A kernel that panicked has had time to say why. */
    CASE_TIMER_PANIC,
    /* The look at a machine takes too long. */
    CASE_TIMER_POST_MORTEM,
    CASE_TIMER_COUNT,
};

enum case_phase {
    CASE_STEPS,
    /* Something failed; the machine is looked at. */
    CASE_POST_MORTEM,
    /* It only has to end. */
    CASE_ENDING,
    CASE_OVER,
};

struct control_job;
struct step_agent;
struct step_gdb;

struct case_run {
    struct event_loop *loop;
    const struct scenario *scenario;
    size_t index;
    struct case_run_settings settings;
    struct case_run_handlers handlers;
    struct result_case *result;

    enum case_phase phase;
    struct machine_process *machine;
    /* Its guest has crashed, and it waits to be looked at. */
    bool machine_waits;
    /* For steps, it runs no more; its process has gone. */
    bool machine_has_ended;
    bool machine_is_gone;
    char *kernel;
    /* The file that it runs from. */
    char *machine_path;
    /* "unix:PATH" */
    char *agent_address;
    char *control_address;
    char *gdb_address;

    struct console_watch *watch;
    struct pattern **ignored;
    size_t ignored_count;
    struct ktap *console_ktap;
    struct case_file console_log;
    struct case_file console_timed;
    struct case_file machine_log;
    /* There is none before the first command. */
    struct case_file exec_log;
    /* What was printed to it last is no whole line. */
    bool exec_log_has_tail;

    int timer_fd;
    /* Of CLOCK_MONOTONIC, in ns; 0: it is not set. */
    uint64_t timers[CASE_TIMER_COUNT];
    /* It has been late, and its time was made longer for that. */
    bool was_late[CASE_TIMER_COUNT];
    uint64_t started_ns;

    struct scenario_values values;
    size_t step;
    uint64_t step_started_ns;
    bool step_has_begun;
    /* What has become of the step; RESULT_NOT_RUN: nothing yet. */
    enum result_status step_status;
    char *step_message;
    /* Lines, added to the step's result. */
    char *step_detail;
    bool timed_out;
    /* The first failure, of a step or of the machine; RESULT_PASSED: there is none. */
    enum result_status status;
    uint64_t failed_at_ns;
    char *message;

    /* What the step that runs has. */
    struct {
        struct pattern *wanted;
        struct pattern *forbidden[CONSOLE_FORBIDDEN_MAX];
        size_t forbidden_count;
        struct control_job *control;
        struct step_agent *agent;
        struct step_gdb *gdb;
    } at;
    struct control_job *post_mortem;
    /* vmcore is being written; and is whole. */
    bool is_dumping;
    bool has_dump;
};

/* What a kind of step does. Any may be NULL. */
struct step_kind {
    void (*begin)(struct case_run *run);
    /* The console has printed, or been silent for a while; or the machine has ended. */
    void (*look)(struct case_run *run);
    /* CASE_TIMER_WAKE has come. */
    void (*wake)(struct case_run *run);
    /* Time is up: what was waited for, as in "PATTERN has not come on the console". */
    void (*describe)(struct case_run *run, char *text, size_t size);
    /* The machine has ended: whether the step may come to its own end nevertheless. NULL: it does not. */
    bool (*outlives)(const struct case_run *run);
    /* Lets go of what it has, whatever came of it. */
    void (*end)(struct case_run *run);
};

extern const struct step_kind step_expect, step_send, step_console_ktap;
extern const struct step_kind step_exec, step_put, step_get, step_exec_ktap;
extern const struct step_kind step_power_button, step_reset, step_pause, step_resume;
extern const struct step_kind step_expect_exit, step_sleep;
extern const struct step_kind step_gdb;

/* ---- The machine (case_machine.c) ---- */

/* Makes its file and starts it. -1 with *error. */
int case_start_machine(struct case_run *run, struct error *error);
/* Lets go of files and the machine. */
void case_end_machine(struct case_run *run);

/* Whether the machine listens at this address by now: one that has just started does soon. */
bool case_listens(const char *address);
/* The file with the kernel's symbols, which the caller frees; NULL: none is known of. */
char *case_find_symbols(const struct case_run *run);

/* ---- The verdict (case_verdict.c) ---- */

/* Whether trouble of this kind makes the case fail. */
bool case_tolerates(const struct case_run *run, enum trouble_kind kind);
/* Trouble that is not tolerated, and after which a guest does nothing more. */
bool case_has_panicked(const struct case_run *run);
/* The case has failed, unless it had before. */
__attribute__((format(printf, 3, 4))) void case_fail(struct case_run *run, enum result_status status,
                                                     const char *format, ...);
/* The step that has begun, and what has become of it, into the result. */
void case_record_step(struct case_run *run);
/* All the rest of the result, when the machine has ended. */
void case_conclude(struct case_run *run);

/* ---- What commands print (case_exec_log.c) ---- */

struct agent_outcome;

/* The name of run->exec_log. */
#define CASE_EXEC_LOG "exec.log"

/* The step's command begins. The file is made for the first one: if it cannot be, the step is broken. */
void case_log_command(struct case_run *run, const char *command);
/* It has printed this, on either stream. */
void case_log_output(struct case_run *run, const char *bytes, size_t length);
/* It has ended, as far as anybody knows. */
void case_log_outcome(struct case_run *run, const struct agent_outcome *outcome);

/* ---- For steps ---- */

static inline const struct scenario_step *case_step(const struct case_run *run)
{
    return &run->scenario->steps[run->step];
}

/* Sets, or with 0 takes back, a timer. */
void case_set_timer(struct case_run *run, enum case_timer timer, uint64_t at_ns);

/* What has become of the step: it has done what it should; the guest has not; the host could not. The first counts. */
void case_step_pass(struct case_run *run);
__attribute__((format(printf, 2, 3))) void case_step_fail(struct case_run *run, const char *format, ...);
__attribute__((format(printf, 2, 3))) void case_step_break(struct case_run *run, const char *format, ...);
/* A line more about the step. Too many are left out. */
__attribute__((format(printf, 2, 3))) void case_step_add_detail(struct case_run *run, const char *format, ...);

/* With variables; NULL, and the step is broken: out of memory. The caller frees it. */
char *case_expand(struct case_run *run, const struct scenario_text *text);
/* Compiles a pattern with variables; NULL, and the step has failed: it is none. The caller frees it. */
struct pattern *case_compile(struct case_run *run, const struct scenario_text *text);

/*
 * A command's output has ended: fails the step if no line of it was right, and keeps the variables of the line that
 * was. name: "standard output".
 */
void case_take_match(struct case_run *run, struct line_match *match, const char *name);
/* The last lines of it become the step's detail. */
void case_show_output(struct case_run *run, const struct line_match *match, const char *name);

/* What KTAP had in it becomes part of the result, and what is wrong with it the step's detail. */
void case_take_ktap(struct case_run *run, struct ktap *ktap);

/* A file of the case has come to be; path is its name in the case's folder. */
void case_attach(struct case_run *run, const char *name);

/* Goes on with whatever can be done now. The run may be gone behind it. */
void case_advance(struct case_run *run);

/* ---- The control socket ---- */

struct json_t;
/*
 * A line of an answer, as an object; NULL: there will be none, and why says so. The job may be freed in it. Return true
 * if more lines are to come.
 */
typedef bool control_answer(struct case_run *run, const struct json_t *answer, const char *why);

/*
 * Sends a request, when the machine listens. file: goes with it, and is closed with the job; -1: none. NULL, with the
 * file the caller's still, and no call: out of memory.
 */
struct control_job *control_job_start(struct case_run *run, const char *request, int file, control_answer *answer);
/* CASE_TIMER_CONTROL has come. */
void control_job_wake(struct control_job *job);
void control_job_free(struct control_job *job);

/* ---- A machine in which a step failed ---- */

/* Looks at it, and has it end. */
void post_mortem_begin(struct case_run *run);
/* It takes too long, or the machine has ended. */
void post_mortem_stop(struct case_run *run);

#endif
