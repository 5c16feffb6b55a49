/*
 * Maps as text, and what changed from one to another.
 */
#include "vmm/maps/maps.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_SIZE = 512 };

struct writer {
    maps_line *line;
    void *context;
};

__attribute__((format(printf, 2, 3))) static void say(const struct writer *writer, const char *format, ...)
{
    char text[LINE_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    writer->line(writer->context, text);
}

static const char *format_range(const struct memory_plan *plan, const struct plan_range *range, char out[LINE_SIZE])
{
    const char *policy = maps_policy_name(range->policy);
    char flags[MAPS_FLAGS_SIZE];
    char size[MAPS_SIZE_SIZE];
    char source[MAPS_SOURCE_SIZE];

    (void)snprintf(out, LINE_SIZE, "0x%012" PRIx64 " - 0x%012" PRIx64 "  %s  %-12s %9s  %s%s%s", range->gpa,
                   range->gpa + range->size - 1, maps_format_flags(range->flags, flags), range->name,
                   maps_format_size(range->size, size), maps_format_source(plan, range, source),
                   policy != NULL ? "; fault: " : "", policy != NULL ? policy : "");
    return out;
}

static void say_reserved(const struct writer *writer, const struct plan_reserved *reserved)
{
    say(writer, "  0x%012" PRIx64 " - 0x%012" PRIx64 "  %s", reserved->gpa, reserved->gpa + reserved->size - 1,
        reserved->what);
}

/* Ranges and, in the default space, what is reserved, in the order of their addresses. */
static void say_ranges(const struct writer *writer, const struct memory_plan *plan, size_t space)
{
    const struct plan_space *planned = &plan->spaces[space];
    const size_t reserved_count = space == 0 ? plan->reserved_count : 0;
    char text[LINE_SIZE];
    size_t reserved = 0;

    for (size_t i = 0; i < planned->count; i++) {
        while (reserved < reserved_count && plan->reserved[reserved].gpa < planned->ranges[i].gpa)
            say_reserved(writer, &plan->reserved[reserved++]);
        say(writer, "  %s", format_range(plan, &planned->ranges[i], text));
    }
    while (reserved < reserved_count)
        say_reserved(writer, &plan->reserved[reserved++]);
}

static void say_devices(const struct writer *writer, const struct memory_plan *plan, size_t space)
{
    char text[MAPS_DEVICE_SIZE];

    for (size_t i = 0; i < plan->config->lists.device_count; i++)
        if (maps_device_is_in(plan, i, space))
            say(writer, "  device %s: %s", plan->devices[i].config->name, maps_format_device(&plan->devices[i], text));
}

static void say_fault(const struct writer *writer, const struct memory_plan *plan, const hvx_fault_t *fault)
{
    char text[LINE_SIZE];

    maps_describe_fault(fault, fault->space < plan->space_count ? plan->spaces[fault->space].name : "?", text,
                        sizeof(text));
    say(writer, "  fault %" PRIu64 ": %s", fault->number, text);
}

void maps_write_text(const struct memory_plan *plan, const struct maps_state *state, maps_line *line, void *context)
{
    const struct writer writer = {line, context};

    for (size_t i = 0; i < plan->space_count; i++) {
        const struct plan_space *space = &plan->spaces[i];
        if (state == NULL)
            say(&writer, "space \"%s\"%s: %zu ranges", space->name, space->is_strict ? ", strict" : "", space->count);
        else
            say(&writer, "space \"%s\"%s: %zu ranges in %zu KVM slots, %u vCPUs, %" PRIu64 " faults", space->name,
                state->spaces[i].is_strict ? ", strict" : "", space->count, state->spaces[i].slot_count,
                state->spaces[i].vcpu_count, state->spaces[i].fault_count);
        say_ranges(&writer, plan, i);
        say_devices(&writer, plan, i);
    }
    if (state == NULL)
        return;
    say(&writer, "%" PRIu64 " faults recorded%s", state->fault_total, state->fault_count > 0 ? "; the last:" : "");
    for (size_t i = 0; i < state->fault_count; i++)
        say_fault(&writer, plan, &state->faults[i]);
}

/* ---- Changes ---- */

/* The space of that name, or NULL. */
static const struct plan_space *find_space(const struct memory_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->space_count; i++)
        if (strcmp(plan->spaces[i].name, name) == 0)
            return &plan->spaces[i];
    return NULL;
}

/* One side of a comparison: a plan, a space of it or NULL, and how far it has been read. */
struct side {
    const struct memory_plan *plan;
    const struct plan_space *space;
    size_t next;
    char sign;
};

/* The next range as text; NULL at the end. */
static const char *peek(const struct side *side, char out[LINE_SIZE])
{
    if (side->space == NULL || side->next == side->space->count)
        return NULL;
    return format_range(side->plan, &side->space->ranges[side->next], out);
}

/* Writes heading once, before the first change of a space. */
static void open_space(const char *name, bool *is_open, FILE *out)
{
    if (!*is_open)
        fprintf(out, "space \"%s\"\n", name);
    *is_open = true;
}

static size_t compare_spaces(struct side *from, struct side *to, const char *name, FILE *out)
{
    char old_text[LINE_SIZE], new_text[LINE_SIZE];
    bool is_open = false;
    size_t changes = 0;

    for (;;) {
        const char *old = peek(from, old_text);
        const char *new = peek(to, new_text);
        if (old == NULL && new == NULL)
            return changes;
        if (old != NULL && new != NULL && strcmp(old, new) == 0) {
            from->next++;
            to->next++;
            continue;
        }
        /* What is at the lower address comes first; the old before the new. The text begins with the address. */
        struct side *side =
            new == NULL || (old != NULL && strncmp(old, new, strlen("0x000000000000")) <= 0) ? from : to;
        open_space(name, &is_open, out);
        fprintf(out, "%c %s\n", side->sign, side == from ? old : new);
        side->next++;
        changes++;
    }
}

static size_t compare_strictness(const struct plan_space *from, const struct plan_space *to, FILE *out)
{
    if (from == NULL || to == NULL) {
        fprintf(out, "%c space \"%s\"%s\n", from == NULL ? '+' : '-', (from == NULL ? to : from)->name,
                (from == NULL ? to : from)->is_strict ? ", strict" : "");
        return 1;
    }
    if (from->is_strict == to->is_strict)
        return 0;
    fprintf(out, "%c space \"%s\", strict\n", to->is_strict ? '+' : '-', to->name);
    return 1;
}

size_t maps_write_changes(const struct memory_plan *from, const struct memory_plan *to, FILE *out)
{
    size_t changes = 0;

    for (size_t i = 0; i < from->space_count + to->space_count; i++) {
        const bool is_new = i >= from->space_count;
        const char *name = is_new ? to->spaces[i - from->space_count].name : from->spaces[i].name;
        struct side old = {.plan = from, .space = find_space(from, name), .sign = '-'};
        struct side new = {.plan = to, .space = find_space(to, name), .sign = '+'};
        if (is_new && old.space != NULL)
            continue; /* it has had its turn */
        changes += compare_strictness(old.space, new.space, out);
        changes += compare_spaces(&old, &new, name, out);
    }
    return changes;
}
