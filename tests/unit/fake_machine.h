/*
 * A machine for the control socket, without one: it says what has been asked of it.
 */
#ifndef TESTS_UNIT_FAKE_MACHINE_H
#define TESTS_UNIT_FAKE_MACHINE_H

#include "vmm/control/control_target.h"

enum { FAKE_MACHINE_MAX_VCPUS = 240 };

struct fake_machine {
    struct control_target target;
    struct control_status status;
    struct control_vcpu vcpus[FAKE_MACHINE_MAX_VCPUS];
    /* What has been asked for, a letter each: p, r, b (the button), R, n, q, v, d, s (a step of a dump), a (aborted).
     */
    char log[4096];
    unsigned nmi_vcpu;
    /* pause() and its like are refused. */
    bool refuses;
    /* Steps that the next dump takes, and whether it fails then. */
    unsigned dump_steps;
    bool dump_fails;
    /* The file of a dump that is under way; -1: there is none. */
    int dump_fd;
};

void fake_machine_init(struct fake_machine *machine, unsigned vcpu_count);
void fake_machine_fini(struct fake_machine *machine);

#endif
