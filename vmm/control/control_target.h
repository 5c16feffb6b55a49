/*
 * What the control socket needs of the machine, and all that it knows of it. vCPUs are numbered from 0. For the main
 * thread.
 */
#ifndef VMM_CONTROL_CONTROL_TARGET_H
#define VMM_CONTROL_CONTROL_TARGET_H

#include "memory/support/error.h"
#include "vmm/control/vmcore.h"
#include "vmm/debug/x86/registers.h"

#include <stdbool.h>
#include <stdint.h>

enum control_state {
    CONTROL_RUNNING,
    CONTROL_PAUSED,
    /* By a debugger, or it has not started yet for one. */
    CONTROL_STOPPED,
    /* It is there still for a debugger to look at. */
    CONTROL_CRASHED,
};

struct control_status {
    const char *name;
    enum control_state state;
    bool is_dumping;
    double uptime_seconds;
    unsigned vcpu_count;
    uint64_t memory;
};

struct control_vcpu {
    struct debug_registers registers;
    const char *space;
    /* It waits for an interrupt; or, as another processor than the first at the start, for being started. */
    bool is_halted;
    bool is_waiting;
    /* The guest-physical address of RIP; false: the guest's page tables have none. */
    bool rip_is_mapped;
    uint64_t rip_gpa;
};

struct control_target {
    void *context;
    void (*get_status)(void *context, struct control_status *ret_status);
    /* The spaces' names, by number; NULL: there are no more. */
    const char *(*space_name)(void *context, unsigned index);
    /* 0, or -1 with *error, here and below. To pause what is paused, or resume what runs, is fine. */
    int (*pause)(void *context, struct error *error);
    int (*resume)(void *context, struct error *error);
    void (*press_power_button)(void *context);
    void (*reset)(void *context);
    int (*send_nmi)(void *context, unsigned vcpu, struct error *error);
    void (*quit)(void *context);
    /* All of them; ret_vcpus has room for vcpu_count. They stop for it, and go on if they ran. */
    int (*look_at_vcpus)(void *context, struct control_vcpu *ret_vcpus, struct error *error);

    /* A dump, one at a time, into a file that is taken over whatever the result. The guest pauses until its end. */
    int (*begin_dump)(void *context, int fd, struct error *error);
    /* 1: there is more to do; 0: it is complete; -1: it has ended with *error. */
    int (*step_dump)(void *context, struct vmcore_progress *ret_progress, struct error *error);
    /* It is over before its time. */
    void (*abort_dump)(void *context);
};

#endif
