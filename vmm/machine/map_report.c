#include "vmm/machine/map_report.h"

#include "vmm/maps/maps.h"

#include <Hypervisor/hvx.h>

#include <stdlib.h>
#include <string.h>

enum { FAULTS_SHOWN = 16 };

/* What the spaces hold now, in the form of a plan, whose names its ranges point into. */
struct snapshot {
    struct memory_plan plan;
    hvx_space_info_t *infos;
    /* The names, HVX_NAME_SIZE each. */
    struct name {
        char text[HVX_NAME_SIZE];
    } * *names;
};

/* Which of the machine's memories holds a host address, and where in it; the number of memories if none does. */
static size_t find_memory(const struct machine_memory *memory, const uint8_t *address, uint64_t *ret_offset)
{
    for (size_t i = 0; i < memory->plan->memory_count; i++) {
        const uint8_t *start = memory->memories[i];
        if (address >= start && (uint64_t)(address - start) < memory->plan->memories[i].size) {
            *ret_offset = (uint64_t)(address - start);
            return i;
        }
    }
    return memory->plan->memory_count;
}

/* Whether the plan has that memory at another place only. */
static bool is_alias(const struct machine_memory *memory, size_t space, const struct plan_range *range)
{
    const struct maps_home home = maps_find_home(memory->plan, range);

    return home.range == NULL || home.space != space || home.gpa != range->gpa;
}

static bool take_range(const struct machine_memory *memory, struct snapshot *snapshot, size_t space,
                       const hvx_range_t *range)
{
    struct plan_space *taken = &snapshot->plan.spaces[space];
    struct plan_range *ranges = reallocarray(taken->ranges, taken->count + 1, sizeof(*ranges));
    if (ranges == NULL)
        return false;
    taken->ranges = ranges;
    struct name *names = reallocarray(snapshot->names[space], taken->count + 1, sizeof(*names));
    if (names == NULL)
        return false;
    snapshot->names[space] = names;
    memcpy(names[taken->count].text, range->name, sizeof(range->name));

    struct plan_range *added = &ranges[taken->count++];
    *added =
        (struct plan_range){.gpa = range->gpa, .size = range->size, .flags = range->flags, .policy = range->policy};
    added->memory = find_memory(memory, range->uva, &added->offset);
    added->is_alias = is_alias(memory, space, added);
    return true;
}

static bool take_space(const struct machine_memory *memory, struct snapshot *snapshot, size_t space)
{
    const hv_vm_space_t id = memory->spaces[space];
    struct plan_space *taken = &snapshot->plan.spaces[space];
    hvx_range_t range = {0};

    taken->name = memory->plan->spaces[space].name;
    if (hvx_vm_space_info(id, &snapshot->infos[space]) != HV_SUCCESS)
        return true;
    for (hv_gpaddr_t gpa = 0; hvx_vm_query_space(id, gpa, &range) == HV_SUCCESS; gpa = range.gpa + range.size)
        if (!take_range(memory, snapshot, space, &range))
            return false;
    /* They move no more. */
    for (size_t i = 0; i < taken->count; i++)
        taken->ranges[i].name = snapshot->names[space][i].text;
    return true;
}

static void free_snapshot(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->plan.space_count; i++) {
        free(snapshot->plan.spaces[i].ranges);
        if (snapshot->names != NULL)
            free(snapshot->names[i]);
    }
    free(snapshot->plan.spaces);
    free(snapshot->names);
    free(snapshot->infos);
}

static bool take_snapshot(const struct machine_memory *memory, struct snapshot *snapshot)
{
    const size_t count = memory->space_count;

    *snapshot = (struct snapshot){.plan = {.config = memory->plan->config,
                                           .devices = memory->plan->devices,
                                           .reserved_count = memory->plan->reserved_count,
                                           .memories = memory->plan->memories,
                                           .memory_count = memory->plan->memory_count}};
    memcpy(snapshot->plan.reserved, memory->plan->reserved, sizeof(snapshot->plan.reserved));
    snapshot->plan.spaces = calloc(count, sizeof(*snapshot->plan.spaces));
    snapshot->names = calloc(count, sizeof(*snapshot->names));
    snapshot->infos = calloc(count, sizeof(*snapshot->infos));
    if (snapshot->plan.spaces == NULL || snapshot->names == NULL || snapshot->infos == NULL)
        return false;
    snapshot->plan.space_count = count;
    for (size_t i = 0; i < count; i++)
        if (!take_space(memory, snapshot, i))
            return false;
    return true;
}

static void say(void *context, const char *text)
{
    log_line(context, LOG_LEVEL_ERROR, "maps", "%s", text);
}

void map_report_write(const struct machine_memory *memory, maps_line *line, void *context)
{
    hvx_fault_t faults[FAULTS_SHOWN];
    struct snapshot snapshot;
    struct maps_state state = {.faults = faults, .fault_count = FAULTS_SHOWN};

    if (take_snapshot(memory, &snapshot)) {
        state.spaces = snapshot.infos;
        if (hvx_vm_faults(faults, &state.fault_count, &state.fault_total) != HV_SUCCESS)
            state.fault_count = 0;
        maps_write_text(&snapshot.plan, &state, line, context);
    } else {
        line(context, "no memory to list the maps");
    }
    free_snapshot(&snapshot);
}

void map_report(const struct machine_memory *memory, const struct log *log)
{
    map_report_write(memory, say, (void *)(uintptr_t)log);
}
