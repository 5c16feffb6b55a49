#include "vmm/machine/vcpu_exits.h"

#include "vmm/machine/lost_page.h"
#include "vmm/maps/maps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void serve_port(const struct vcpus_environment *environment, const hvx_vcpu_exit_t *exit)
{
    uint8_t *data = exit->port.data;

    for (uint32_t i = 0; i < exit->port.count; i++, data += exit->port.size) {
        uint64_t value = 0;
        if (exit->port.is_write) {
            memcpy(&value, data, exit->port.size);
            bus_write(environment->ports, exit->port.port, exit->port.size, value);
        } else {
            value = bus_read(environment->ports, exit->port.port, exit->port.size);
            memcpy(data, &value, exit->port.size);
        }
    }
}

/* The bus answers for what no device has: all ones for a read, nothing for a write, as for writes to ROM. */
static void serve_mmio(const struct vcpus_environment *environment, hv_vcpuid_t id, const hvx_vcpu_exit_t *exit)
{
    uint64_t value = 0;

    if (exit->memory.access == HV_MEMORY_WRITE) {
        memcpy(&value, exit->memory.data, exit->memory.length);
        bus_write(environment->mmio, exit->memory.gpa, exit->memory.length, value);
    } else {
        value = bus_read(environment->mmio, exit->memory.gpa, exit->memory.length);
    }
    hvx_vcpu_complete(id, &value);
}

static void stop(const struct vcpus_environment *environment, unsigned index, struct machine_outcome *outcome)
{
    outcome->vcpu = (int)index;
    environment->stopped(environment->context, outcome);
}

static void stop_for_emulation_failure(const struct vcpus_environment *environment, unsigned index,
                                       const hvx_vcpu_exit_t *exit)
{
    struct machine_outcome outcome = {.event = MACHINE_EMULATION_FAILURE};
    char bytes[3 * sizeof(exit->emulation.instruction) + 1] = "";

    for (uint32_t i = 0; i < exit->emulation.instruction_size; i++)
        (void)snprintf(bytes + 3 * i, 4, " %02x", exit->emulation.instruction[i]);
    (void)snprintf(
        outcome.text, sizeof(outcome.text),
        "this host's KVM cannot carry out the instruction%s%s; hide the processor feature that it belongs to "
        "(cpu.hide), or, if the host emulates KVM in software, run where KVM uses the processor's own "
        "virtualisation (tools/quickstart finds a way)",
        bytes[0] != '\0' ? " that begins" : " at RIP", bytes);
    stop(environment, index, &outcome);
}

static void stop_for_fault(const struct vcpus_environment *environment, unsigned index, const hvx_vcpu_exit_t *exit)
{
    struct machine_outcome outcome = {.event = MACHINE_UNHANDLED_EXIT};

    maps_describe_exit(&exit->memory, environment->space_name(environment->context, exit->memory.space), outcome.text,
                       sizeof(outcome.text));
    stop(environment, index, &outcome);
}

static void stop_for_unknown(const struct vcpus_environment *environment, unsigned index, const hvx_vcpu_exit_t *exit)
{
    struct machine_outcome outcome = {.event = MACHINE_UNHANDLED_EXIT};

    if (exit->unknown.error != 0) {
        outcome.event = MACHINE_HOST_FAILURE;
        (void)snprintf(outcome.text, sizeof(outcome.text), "KVM cannot run vCPU %u: %s", index,
                       exit->unknown.error == EFAULT ? LOST_PAGE_TEXT : strerror(exit->unknown.error));
    } else {
        (void)snprintf(outcome.text, sizeof(outcome.text), "KVM exit %u, hardware reason 0x%" PRIx64, exit->raw_reason,
                       exit->unknown.hardware_reason);
    }
    stop(environment, index, &outcome);
}

void vcpu_exit_serve(const struct vcpus_environment *environment, unsigned index, hv_vcpuid_t id,
                     const hvx_vcpu_exit_t *exit)
{
    switch (exit->reason) {
    case HVX_EXIT_PORT:
        serve_port(environment, exit);
        break;
    case HVX_EXIT_MEMORY:
        /* Devices have registers in the default space only: elsewhere there is nothing that would answer. */
        if (exit->memory.access == HV_MEMORY_EXEC || exit->memory.policy == HVX_POLICY_STOP ||
            exit->memory.space != HV_VM_SPACE_DEFAULT)
            stop_for_fault(environment, index, exit);
        else
            serve_mmio(environment, id, exit);
        break;
    case HVX_EXIT_SHUTDOWN:
        stop(environment, index, &(struct machine_outcome){.event = MACHINE_TRIPLE_FAULT});
        break;
    case HVX_EXIT_EMULATION_FAILURE:
        stop_for_emulation_failure(environment, index, exit);
        break;
    case HVX_EXIT_UNKNOWN:
        stop_for_unknown(environment, index, exit);
        break;
    case HVX_EXIT_HALT:
    case HVX_EXIT_NONE:
    case HVX_EXIT_INTERRUPTED:
    case HVX_EXIT_DEBUG:
        break;
    }
}
