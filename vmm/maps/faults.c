/*
 * Refused accesses to guest memory, in words.
 */
#include "vmm/maps/maps.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PART_SIZE = 96 };

/* What was done, up to the address: "wrote 4 bytes at". A device can have wanted both. */
static void format_access(const hvx_fault_t *fault, char text[PART_SIZE])
{
    const bool reads = (fault->access & HV_MEMORY_READ) != 0;
    const bool writes = (fault->access & HV_MEMORY_WRITE) != 0;

    if (fault->access == HV_MEMORY_EXEC)
        (void)snprintf(text, PART_SIZE, "jumped to");
    else
        (void)snprintf(text, PART_SIZE, "%s %" PRIu64 " byte%s at",
                       reads && writes ? "read and wrote"
                       : writes        ? "wrote"
                                       : "read",
                       fault->length, fault->length == 1 ? "" : "s");
}

/* What a vCPU wanted to store: " (0x12345678)". Nothing, of other accesses. */
static void format_data(const hvx_fault_t *fault, char text[PART_SIZE])
{
    uint64_t value = 0;

    text[0] = '\0';
    if (fault->vcpu == HVX_FAULT_NO_VCPU || fault->access != HV_MEMORY_WRITE || fault->length > sizeof(value))
        return;
    memcpy(&value, fault->data, fault->length);
    (void)snprintf(text, PART_SIZE, " (0x%" PRIx64 ")", value);
}

static void describe(const hvx_fault_t *fault, const char *who, const char *space, char *text, size_t size)
{
    char access[PART_SIZE], data[PART_SIZE];
    char allowed[MAPS_FLAGS_SIZE];

    format_access(fault, access);
    format_data(fault, data);
    maps_format_flags(fault->allowed, allowed);
    if (fault->mapping[0] != '\0')
        (void)snprintf(text, size, "%s %s guest-physical 0x%" PRIx64 "%s, \"%s\" of space \"%s\", which allows %s", who,
                       access, fault->gpa, data, fault->mapping, space, fault->allowed != 0 ? allowed : "nothing");
    else
        (void)snprintf(text, size, "%s %s guest-physical 0x%" PRIx64 "%s of space \"%s\", where %s is allowed", who,
                       access, fault->gpa, data, space, fault->allowed != 0 ? allowed : "nothing");
}

void maps_describe_fault(const hvx_fault_t *fault, const char *space, char *text, size_t size)
{
    char who[PART_SIZE];

    if (fault->vcpu == HVX_FAULT_NO_VCPU)
        (void)snprintf(who, sizeof(who), "%s", fault->device);
    else
        (void)snprintf(who, sizeof(who), "vCPU %u at rip 0x%" PRIx64, fault->vcpu, fault->rip);
    describe(fault, who, space, text, size);
}

void maps_describe_exit(const hvx_exit_memory_t *access, const char *space, char *text, size_t size)
{
    hvx_fault_t fault = {.space = access->space,
                         .gpa = access->gpa,
                         .access = access->access,
                         .allowed = access->allowed,
                         .length = access->length};
    hvx_range_t range;

    memcpy(fault.data, access->data, sizeof(fault.data));
    if (hvx_vm_query_space(access->space, access->gpa, &range) == HV_SUCCESS && range.gpa <= access->gpa) {
        memcpy(fault.mapping, range.name, sizeof(fault.mapping));
    } else if (access->access == HV_MEMORY_EXEC) {
        (void)snprintf(text, size,
                       "it jumped to guest-physical 0x%" PRIx64 " of space \"%s\", where there is no memory",
                       access->gpa, space);
        return;
    }
    describe(&fault, "it", space, text, size);
}
