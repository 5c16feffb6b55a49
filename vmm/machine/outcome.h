/*
 * How a machine's run can end, or be interrupted.
 */
#ifndef VMM_MACHINE_OUTCOME_H
#define VMM_MACHINE_OUTCOME_H

#include <stdint.h>

enum machine_event {
    MACHINE_NO_EVENT,
    /* The guest powered itself off. */
    MACHINE_POWERED_OFF,
    /* The guest asked for a reset. */
    MACHINE_RESET,
    /* The guest kernel reported a panic through pvpanic. */
    MACHINE_GUEST_PANIC,
    /* The guest wrote to the debug-exit port; argument is the value. */
    MACHINE_DEBUG_EXIT,
    MACHINE_TRIPLE_FAULT,
    /* An exit that this program does not handle, a jump to where nothing may be executed, or a fault that is to stop.
     */
    MACHINE_UNHANDLED_EXIT,
    /* KVM cannot carry out an instruction of the guest. */
    MACHINE_EMULATION_FAILURE,
    /* A system call that must work did not; the text says which. */
    MACHINE_HOST_FAILURE,
    /* A signal or a key of the console; argument is the signal, or 0. */
    MACHINE_ENDED_BY_USER,
};

struct machine_outcome {
    enum machine_event event;
    uint32_t argument;
    /* The vCPU that it came from, or -1. */
    int vcpu;
    /* What more there is to say, for people; may be empty. */
    char text[512];
};

/* In front of what --status-fd says of a machine that waits for a debugger after a crash. */
#define MACHINE_WAITS "waits "

/* Exit statuses of quire, and what a crash, an orderly end, and so on, come to. */
enum {
    EXIT_STATUS_ORDERLY = 0,
    EXIT_STATUS_TEST_FAILED = 1,
    EXIT_STATUS_USAGE = 2,
    EXIT_STATUS_GUEST_CRASHED = 3,
    EXIT_STATUS_HOST_FAILED = 4,
    /* As timeout(1) has it. */
    EXIT_STATUS_OUT_OF_TIME = 124,
    /* 128 and the signal's number, as shells have it. */
    EXIT_STATUS_SIGNAL_BASE = 128,
};

int machine_outcome_status(const struct machine_outcome *outcome);

/* A word for programs: "power-off", "panic". */
const char *machine_outcome_name(const struct machine_outcome *outcome);

/* One sentence without a full stop, for people: "the guest powered off". */
void machine_outcome_describe(const struct machine_outcome *outcome, char *text, unsigned long size);

#endif
