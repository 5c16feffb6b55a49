#include "vmm/machine/outcome.h"

#include <stdio.h>
#include <string.h>

int machine_outcome_status(const struct machine_outcome *outcome)
{
    switch (outcome->event) {
    case MACHINE_NO_EVENT:
    case MACHINE_POWERED_OFF:
    case MACHINE_RESET:
        return EXIT_STATUS_ORDERLY;
    case MACHINE_DEBUG_EXIT:
        return outcome->argument == 0 ? EXIT_STATUS_ORDERLY : EXIT_STATUS_TEST_FAILED;
    case MACHINE_GUEST_PANIC:
    case MACHINE_TRIPLE_FAULT:
    case MACHINE_UNHANDLED_EXIT:
        return EXIT_STATUS_GUEST_CRASHED;
    case MACHINE_EMULATION_FAILURE:
    case MACHINE_HOST_FAILURE:
        return EXIT_STATUS_HOST_FAILED;
    case MACHINE_ENDED_BY_USER:
        return outcome->argument == 0 ? EXIT_STATUS_ORDERLY : EXIT_STATUS_SIGNAL_BASE + (int)outcome->argument;
    }
    return EXIT_STATUS_HOST_FAILED;
}

const char *machine_outcome_name(const struct machine_outcome *outcome)
{
    static const char *const names[] = {[MACHINE_NO_EVENT] = "none",
                                        [MACHINE_POWERED_OFF] = "power-off",
                                        [MACHINE_RESET] = "reset",
                                        [MACHINE_GUEST_PANIC] = "panic",
                                        [MACHINE_DEBUG_EXIT] = "debug-exit",
                                        [MACHINE_TRIPLE_FAULT] = "triple-fault",
                                        [MACHINE_UNHANDLED_EXIT] = "unhandled-exit",
                                        [MACHINE_EMULATION_FAILURE] = "emulation-failure",
                                        [MACHINE_HOST_FAILURE] = "host-failure",
                                        [MACHINE_ENDED_BY_USER] = "user"};

    return names[outcome->event];
}

void machine_outcome_describe(const struct machine_outcome *outcome, char *text, unsigned long size)
{
    switch (outcome->event) {
    case MACHINE_NO_EVENT:
        (void)snprintf(text, size, "the machine has not run");
        break;
    case MACHINE_POWERED_OFF:
        (void)snprintf(text, size, "the guest powered off");
        break;
    case MACHINE_RESET:
        (void)snprintf(text, size, "the guest asked for a reset");
        break;
    case MACHINE_GUEST_PANIC:
        (void)snprintf(text, size, "the guest kernel panicked");
        break;
    case MACHINE_DEBUG_EXIT:
        (void)snprintf(text, size, "the guest ended the machine through debug-exit with code %u", outcome->argument);
        break;
    case MACHINE_TRIPLE_FAULT:
        (void)snprintf(text, size, "vCPU %d stopped with a triple fault", outcome->vcpu);
        break;
    case MACHINE_UNHANDLED_EXIT:
    case MACHINE_EMULATION_FAILURE:
        (void)snprintf(text, size, "vCPU %d stopped: %s", outcome->vcpu, outcome->text);
        break;
    case MACHINE_HOST_FAILURE:
        (void)snprintf(text, size, "%s", outcome->text);
        break;
    case MACHINE_ENDED_BY_USER:
        if (outcome->argument == 0)
            (void)snprintf(text, size, "ended from the console");
        else
            (void)snprintf(text, size, "ended by signal %s", strsignal((int)outcome->argument));
        break;
    }
}
