/*
 * One case of a scenario, run: a machine in a process of its own, the steps with it, and what came of them as a
 * result. It lives in an event loop, beside others.
 *
 * Whatever happens to the machine, or is done by its guest, becomes part of the result; the run itself goes on, within
 * bounds of memory and time, and ends. If this process dies, the machine does.
 *
 * Artefacts, in the case's folder, which are the result's attachments, too:
 *     machine.toml    the machine, for quire run; the test's differs in its console and its sockets
 *     maps.svg        its memory maps
 *     console.log     what the guest printed, as it came
 *     console.timed   the same for people: lines "SECONDS TEXT", since the case's start; "SECONDS+TEXT" is more of the
 *                     line before
 *     quire.log       what the machine's own process said
 *     vmcore          the guest's memory, where one was asked for
 *     gdb-STEP.gdb    what gdb was told; STEP counts from 1
 *     gdb-STEP.log    what it printed
 *     exec.log        what commands in the guest printed, both streams as they came, between lines "[step 4] COMMAND"
 *                     and "[step 4] status 0"
 *     files/          what steps get from the guest
 *
 * Threads: the loop's.
 */
#ifndef VMM_RUNNER_CASE_RUN_H
#define VMM_RUNNER_CASE_RUN_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"
#include "vmm/scenario/results.h"
#include "vmm/scenario/scenario.h"

#include <stdbool.h>
#include <stddef.h>

/* Of console.log, and of console.timed; what comes behind is counted and left out. */
#define CASE_RUN_CONSOLE_MAX (64u << 20)

struct case_run;

struct case_run_settings {
    /* The program that machines run in: a quire. */
    const char *quire;
    /* The case's folder, absolute; it is there. */
    const char *folder;
    /* A folder for sockets and the like, absolute and short; it is there, and nobody else's. Shared by runs. */
    const char *sockets;
    /* As the scenario was loaded with. */
    const struct scenario_options *options;
    /* A vmlinux or System.map for addresses; NULL: what is found beside the kernel. */
    const char *symbols;
    /* A case that fails while its machine is there leaves a vmcore. */
    bool dumps;
};

struct case_run_handlers {
    /* A step has begun. NULL: nobody wants to know. */
    void (*step)(void *context, size_t index);
    /* It is over, and the result is complete. The run may be destroyed in it. */
    void (*ended)(void *context);
    void *context;
};

/*
 * Starts a case; handlers->ended() is called once for it, later. All arguments must outlive the run; *handlers and
 * *settings are copied, their texts are not. NULL with *error: it could not be started, and result says so, too
 * (RESULT_BROKEN).
 */
struct case_run *case_run_start(struct event_loop *loop, const struct scenario *scenario, size_t index,
                                const struct case_run_settings *settings, const struct case_run_handlers *handlers,
                                struct result_case *result, struct error *error);

/* Ends it before its time: the machine is killed, and the result is RESULT_NOT_RUN with why. ended() is called. */
void case_run_interrupt(struct case_run *run, const char *why);

/* One that has not ended is killed without a word. Takes NULL. */
void case_run_destroy(struct case_run *run);

#endif
