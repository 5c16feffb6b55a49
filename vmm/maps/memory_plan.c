#include "vmm/maps/memory_plan.h"

#include "memory/x86/layout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE 4096u
#define ADDRESS_END (1ull << 48)
/* Without nested paging 8 for its way back from a page to the tables that have it, and 2 for who watches it. */
#define KVM_BYTES_FOR_PAGE 10u

static const hv_memory_flags_t ALL = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;

static void reserve(struct memory_plan *plan, uint64_t gpa, uint64_t size, const char *what)
{
    plan->reserved[plan->reserved_count++] = (struct plan_reserved){gpa, size, what};
}

/* In ascending order: see memory/x86/layout.h. */
static void reserve_all(struct memory_plan *plan)
{
    const size_t mmio_count = device_plan_count(plan->config, CONFIG_TRANSPORT_MMIO);

    if (device_plan_count(plan->config, CONFIG_TRANSPORT_PCI) > 0) {
        reserve(plan, LAYOUT_PCI_WINDOW_GPA, LAYOUT_PCI_WINDOW_SIZE, "registers of PCI devices");
        reserve(plan, LAYOUT_PCI_MMCONFIG_GPA, LAYOUT_PCI_MMCONFIG_SIZE, "the configuration of PCI devices");
    }
    if (mmio_count > 0)
        reserve(plan, LAYOUT_VIRTIO_MMIO_GPA, mmio_count * LAYOUT_VIRTIO_MMIO_SIZE, "registers of virtio devices");
    reserve(plan, LAYOUT_IOAPIC_GPA, PAGE_SIZE, "the I/O APIC");
    reserve(plan, LAYOUT_LAPIC_GPA, PAGE_SIZE, "the local APICs");
    reserve(plan, LAYOUT_KVM_IDENTITY_MAP_GPA, PAGE_SIZE, "KVM's identity map");
    reserve(plan, LAYOUT_KVM_TSS_GPA, 3 * PAGE_SIZE, "KVM's task state segment");
}

size_t memory_plan_space(const struct memory_plan *plan, const char *name)
{
    size_t index = 0;

    while (index + 1 < plan->space_count && strcmp(plan->spaces[index].name, name) != 0)
        index++;
    return index;
}

/* ---- Growing ---- */

static int out_of_memory(struct error *error)
{
    return error_set(error, ERROR_HOST, "out of memory");
}

/* Room for one more of count items; NULL: there is none, and items stay. */
static void *grow(void *items, size_t count, size_t size)
{
    const bool is_full = (count & (count - 1)) == 0;

    return is_full ? reallocarray(items, count == 0 ? 1 : 2 * count, size) : items;
}

static int add_memory(struct memory_plan *plan, const struct plan_memory *memory, struct error *error)
{
    struct plan_memory *grown = grow(plan->memories, plan->memory_count, sizeof(*grown));

    if (grown == NULL)
        return out_of_memory(error);
    plan->memories = grown;
    grown[plan->memory_count++] = *memory;
    return 0;
}

static int add_range(struct plan_space *space, const struct plan_range *range, struct error *error)
{
    struct plan_range *grown = grow(space->ranges, space->count, sizeof(*grown));

    if (grown == NULL)
        return out_of_memory(error);
    space->ranges = grown;
    grown[space->count++] = *range;
    return 0;
}

static int compare_ranges(const void *left, const void *right)
{
    const struct plan_range *a = left;
    const struct plan_range *b = right;

    return (a->gpa > b->gpa) - (a->gpa < b->gpa);
}

static void sort_ranges(struct plan_space *space)
{
    if (space->count > 1)
        qsort(space->ranges, space->count, sizeof(*space->ranges), compare_ranges);
}

/* ---- What the machine has of itself ---- */

static int add_ram(struct memory_plan *plan, const struct config *config, struct error *error)
{
    const struct plan_memory memory = {.name = "ram", .size = config->memory.size, .host = &config->memory.host};
    struct ram_layout layout;

    ram_layout_compute(config->memory.size, &layout);
    if (add_memory(plan, &memory, error) < 0)
        return -1;
    for (size_t i = 0; i < layout.count; i++) {
        const struct layout_range *range = &layout.ranges[i];
        const bool is_above = range->gpa >= LAYOUT_RAM_ABOVE_4G_GPA;
        /*
         * What the guest has below 3 GiB is at the same offset here, and the rest comes behind it. So guest and host
         * addresses have the same offset in 2 MiB, without which KVM cannot map that much at once.
         */
        const struct plan_range planned = {
            .gpa = range->gpa,
            .size = range->size,
            .flags = ALL,
            .name = "ram",
            .memory = PLAN_RAM,
            .offset = is_above ? range->gpa - LAYOUT_RAM_ABOVE_4G_GPA + LAYOUT_DEVICES_GPA : range->gpa,
        };
        if (add_range(&plan->spaces[0], &planned, error) < 0)
            return -1;
    }
    return 0;
}

/* Memory of the machine's own, besides the RAM: firmware tables, page tables. */
static int add_fixed(struct memory_plan *plan, size_t space, const struct plan_range *own, struct error *error)
{
    const struct plan_memory memory = {.name = own->name, .size = own->size};
    struct plan_range range = *own;

    range.memory = plan->memory_count;
    return add_memory(plan, &memory, error) < 0 ? -1 : add_range(&plan->spaces[space], &range, error);
}

/* Whether a vCPU starts in a space. */
static bool is_entered(const struct memory_plan *plan, size_t space)
{
    const struct config *config = plan->config;

    for (size_t i = 0; i < config->lists.vcpu_count; i++)
        if (memory_plan_space(plan, config->lists.vcpus[i].space) == space)
            return true;
    return space == 0 && config->cpu.count > config->lists.vcpu_count;
}

static int add_boot_memory(struct memory_plan *plan, const struct config *config, struct error *error)
{
    const struct plan_range rom = {
        .gpa = LAYOUT_ROM_GPA, .size = LAYOUT_ROM_SIZE, .flags = HV_MEMORY_READ | HV_MEMORY_EXEC, .name = "rom"};
    /*
     * AMD's nested paging takes each look at a guest's page table for a write (APM volume 2, 15.25). From a read-only
     * slot KVM would emulate the instruction, and may put what it stores where the table's entry is.
     */
    const struct plan_range tables = {.gpa = LAYOUT_FLAT_PAGE_TABLES_GPA,
                                      .size = LAYOUT_FLAT_PAGE_TABLES_SIZE,
                                      .flags = HV_MEMORY_READ | HV_MEMORY_WRITE,
                                      .name = "page-tables"};

    if (config->boot.flat == NULL)
        return add_fixed(plan, 0, &rom, error);
    if (config->boot.mode != CONFIG_MODE_LONG)
        return 0;
    for (size_t i = 0; i < plan->space_count; i++) {
        if (is_entered(plan, i) && add_fixed(plan, i, &tables, error) < 0)
            return -1;
    }
    return 0;
}

/* ---- What the file asks for ---- */

static hvx_policy_t policy_of(enum config_fault fault)
{
    switch (fault) {
    case CONFIG_FAULT_LOG:
        return HVX_POLICY_LOG;
    case CONFIG_FAULT_COUNT:
        return HVX_POLICY_COUNT;
    default:
        return HVX_POLICY_STOP;
    }
}

static struct plan_range plan_of(const struct config_range *range)
{
    return (struct plan_range){
        .gpa = range->at,
        .size = range->size,
        .flags = (range->flags & CONFIG_FLAG_READ ? HV_MEMORY_READ : 0) |
                 (range->flags & CONFIG_FLAG_WRITE ? HV_MEMORY_WRITE : 0) |
                 (range->flags & CONFIG_FLAG_EXEC ? HV_MEMORY_EXEC : 0),
        .policy = policy_of(range->fault),
        .name = range->name,
        .range = range,
    };
}

static int check_end(const struct config *config, const struct config_range *range, struct error *error)
{
    if (range->size <= ADDRESS_END - range->at)
        return 0;
    return config_error_at(config, &range->positions[CONFIG_RANGE_SIZE], "range.size", error,
                           "\"%s\" would end above 256TiB; make it smaller, or place it lower", range->name);
}

static int add_own(struct memory_plan *plan, size_t space, const struct config_range *range, struct error *error)
{
    const struct plan_memory memory = {.name = range->name, .size = range->size, .host = &range->host, .range = range};
    struct plan_range planned = plan_of(range);

    planned.memory = plan->memory_count;
    return add_memory(plan, &memory, error) < 0 ? -1 : add_range(&plan->spaces[space], &planned, error);
}

/* The range of a space that holds gpa, with memory of its own; NULL where there is none. */
static const struct plan_range *own_range_at(const struct plan_space *space, uint64_t gpa)
{
    for (size_t i = 0; i < space->count; i++) {
        const struct plan_range *range = &space->ranges[i];
        if (!range->is_alias && gpa >= range->gpa && gpa - range->gpa < range->size)
            return range;
    }
    return NULL;
}

/* Adds as many ranges as the memory has pieces. */
static int add_alias(struct memory_plan *plan, size_t space, const struct config_range *range, struct error *error)
{
    const struct plan_space *source = &plan->spaces[memory_plan_space(plan, range->of)];
    uint64_t size;

    for (uint64_t done = 0; done < range->size; done += size) {
        const uint64_t from = range->from + done;
        const struct plan_range *there = own_range_at(source, from);
        struct plan_range part = plan_of(range);
        if (there == NULL)
            return config_error_at(plan->config, &range->positions[CONFIG_RANGE_OF], "range.of", error,
                                   "\"%s\" shows \"%s\" from 0x%" PRIx64 " on, which has no memory of its own at "
                                   "0x%" PRIx64 "; change range.from or range.size",
                                   range->name, range->of, range->from, from);
        if (plan->alias_count++ >= PLAN_ALIASES_MAX)
            return config_error_at(plan->config, &range->positions[CONFIG_RANGE_OF], "range.of", error,
                                   "\"%s\" has a piece for each range of \"%s\" that it shows, and all such pieces "
                                   "would be more than %u; show less, or join ranges of \"%s\"",
                                   range->name, range->of, PLAN_ALIASES_MAX, range->of);
        const uint64_t offset = from - there->gpa;
        size = there->size - offset < range->size - done ? there->size - offset : range->size - done;
        part.gpa = range->at + done;
        part.size = size;
        part.memory = there->memory;
        part.offset = there->offset + offset;
        part.is_alias = true;
        if (add_range(&plan->spaces[space], &part, error) < 0)
            return -1;
    }
    return 0;
}

static const struct config_ranges *ranges_of(const struct config *config, size_t space)
{
    return space == 0 ? &config->lists.ranges : &config->lists.spaces[space - 1].ranges;
}

/* All that have memory of their own, or all that have not. */
static int add_ranges(struct memory_plan *plan, bool aliases, struct error *error)
{
    for (size_t i = 0; i < plan->space_count; i++) {
        const struct config_ranges *ranges = ranges_of(plan->config, i);
        for (size_t j = 0; j < ranges->count; j++) {
            const struct config_range *range = &ranges->items[j];
            if ((range->of[0] != '\0') != aliases)
                continue;
            if (check_end(plan->config, range, error) < 0 ||
                (aliases ? add_alias(plan, i, range, error) : add_own(plan, i, range, error)) < 0)
                return -1;
        }
    }
    return 0;
}

/* ---- Whether it can be so ---- */

/* "ram" (0x0 - 0xfff), or with the line of its table. */
static const char *describe(const struct plan_range *range, char *text, size_t size)
{
    const uint64_t last = range->gpa + range->size - 1;

    if (range->range != NULL && range->range->position.line != 0)
        (void)snprintf(text, size, "\"%s\" of line %u (0x%" PRIx64 " - 0x%" PRIx64 ")", range->name,
                       range->range->position.line, range->gpa, last);
    else
        (void)snprintf(text, size, "\"%s\" (0x%" PRIx64 " - 0x%" PRIx64 ")", range->name, range->gpa, last);
    return text;
}

static int fail_overlap(const struct memory_plan *plan, const struct plan_space *space, const struct plan_range *a,
                        const struct plan_range *b, struct error *error)
{
    static const struct config_position nowhere;
    /* The one that the file says later is the one to blame. */
    const bool b_is_later =
        b->range != NULL && (a->range == NULL || b->range->position.line >= a->range->position.line);
    const struct plan_range *blamed = b_is_later ? b : a;
    const struct plan_range *other = b_is_later ? a : b;
    char first[96], second[96];

    return config_error_at(plan->config, blamed->range != NULL ? &blamed->range->positions[CONFIG_RANGE_AT] : &nowhere,
                           "range.at", error, "%s overlaps %s in space \"%s\"; move one of them",
                           describe(blamed, first, sizeof(first)), describe(other, second, sizeof(second)),
                           space->name);
}

static int check_overlaps(const struct memory_plan *plan, const struct plan_space *space, struct error *error)
{
    for (size_t i = 1; i < space->count; i++) {
        const struct plan_range *before = &space->ranges[i - 1];
        if (before->size > space->ranges[i].gpa - before->gpa)
            return fail_overlap(plan, space, before, &space->ranges[i], error);
    }
    return 0;
}

static int check_reserved(const struct memory_plan *plan, struct error *error)
{
    const struct plan_space *space = &plan->spaces[0];
    char text[96];

    for (size_t i = 0; i < space->count; i++) {
        const struct plan_range *range = &space->ranges[i];
        for (size_t j = 0; j < plan->reserved_count && range->range != NULL; j++) {
            const uint64_t end = plan->reserved[j].gpa + plan->reserved[j].size;
            if (range->gpa < end && plan->reserved[j].gpa < range->gpa + range->size)
                return config_error_at(
                    plan->config, &range->range->positions[CONFIG_RANGE_AT], "range.at", error,
                    "%s overlaps %s (0x%" PRIx64 " - 0x%" PRIx64 "), which this machine has there; move it",
                    describe(range, text, sizeof(text)), plan->reserved[j].what, plan->reserved[j].gpa, end - 1);
        }
    }
    return 0;
}

static int build(struct memory_plan *plan, struct error *error)
{
    const struct config *config = plan->config;

    if (add_ram(plan, config, error) < 0 || add_boot_memory(plan, config, error) < 0 ||
        add_ranges(plan, false, error) < 0 || add_ranges(plan, true, error) < 0)
        return -1;
    for (size_t i = 0; i < plan->space_count; i++) {
        sort_ranges(&plan->spaces[i]);
        if (check_overlaps(plan, &plan->spaces[i], error) < 0)
            return -1;
    }
    return check_reserved(plan, error);
}

int memory_plan_create(const struct config *config, struct memory_plan *plan, struct error *error)
{
    const size_t count = config->lists.space_count + 1;

    *plan = (struct memory_plan){.config = config};
    plan->spaces = calloc(count, sizeof(*plan->spaces));
    plan->devices = calloc(config->lists.device_count + 1, sizeof(*plan->devices));
    if (plan->spaces == NULL || plan->devices == NULL) {
        memory_plan_free(plan);
        return out_of_memory(error);
    }
    device_plan_fill(config, plan->devices);
    reserve_all(plan);
    plan->space_count = count;
    plan->spaces[0].name = CONFIG_DEFAULT_SPACE;
    for (size_t i = 1; i < count; i++) {
        plan->spaces[i].name = config->lists.spaces[i - 1].name;
        plan->spaces[i].is_strict = config->lists.spaces[i - 1].strict;
    }
    if (build(plan, error) == 0)
        return 0;
    memory_plan_free(plan);
    return -1;
}

void memory_plan_free(struct memory_plan *plan)
{
    for (size_t i = 0; i < plan->space_count; i++)
        free(plan->spaces[i].ranges);
    free(plan->spaces);
    free(plan->devices);
    free(plan->memories);
    *plan = (struct memory_plan){0};
}

/* ---- Whether the host can do it ---- */

static int check_space_on_host(const struct memory_plan *plan, const struct plan_space *space,
                               const hvx_host_limits_t *limits, struct error *error)
{
    size_t slots = 0;

    for (size_t i = 0; i < space->count; i++) {
        const struct plan_range *range = &space->ranges[i];
        slots += range->flags != 0;
        if (range->gpa + range->size <= 1ull << limits->address_bits)
            continue;
        if (range->range == NULL)
            return config_error(plan->config, CONFIG_MEMORY_SIZE, error,
                                "this host's processor addresses 2^%u bytes; make it smaller", limits->address_bits);
        return config_error_at(plan->config, &range->range->positions[CONFIG_RANGE_AT], "range.at", error,
                               "\"%s\" ends above the 2^%u bytes that this host's processor addresses; place it lower",
                               range->name, limits->address_bits);
    }
    if (slots > limits->slots)
        return error_set(error, ERROR_CONFIG,
                         "space \"%s\" has %zu ranges, and this host's KVM has %u slots for a space; join some of them",
                         space->name, slots, limits->slots);
    return 0;
}

/*
 * KVM's own tables for what is mapped are memory of the kernel's, whether the guest uses it or not: the host would go
 * down with them.
 */
static int check_tables_on_host(const struct memory_plan *plan, const hvx_host_limits_t *limits, struct error *error)
{
    static const char text[] = "with what else is mapped KVM would need %" PRIu64 " MiB for its own tables, which may "
                               "be half of the host's %" PRIu64 " MiB; make it smaller";
    const struct plan_range *largest = NULL;
    uint64_t pages = 0;

    for (size_t i = 0; i < plan->space_count; i++) {
        for (size_t j = 0; j < plan->spaces[i].count; j++) {
            const struct plan_range *range = &plan->spaces[i].ranges[j];
            if (range->flags == 0)
                continue;
            pages += range->size / PAGE_SIZE;
            if (largest == NULL || range->size > largest->size)
                largest = range;
        }
    }
    const uint64_t needed = pages * KVM_BYTES_FOR_PAGE;
    if (limits->memory == 0 || needed <= limits->memory / 2)
        return 0;
    if (largest->range == NULL)
        return config_error(plan->config, CONFIG_MEMORY_SIZE, error, text, needed >> 20, limits->memory >> 20);
    return config_error_at(plan->config, &largest->range->positions[CONFIG_RANGE_SIZE], "range.size", error, text,
                           needed >> 20, limits->memory >> 20);
}

int memory_plan_check_host(const struct memory_plan *plan, const hvx_host_limits_t *limits, struct error *error)
{
    if (plan->config->cpu.count > limits->vcpus)
        return config_error(plan->config, CONFIG_CPU_COUNT, error, "this host's KVM has %u vCPUs at most",
                            limits->vcpus);
    if (plan->space_count > limits->spaces)
        return config_error_at(plan->config, &plan->config->lists.spaces[limits->spaces - 1].position, "space", error,
                               "there can be %u of them at most, besides the default one", limits->spaces - 1);
    for (size_t i = 0; i < plan->space_count; i++)
        if (check_space_on_host(plan, &plan->spaces[i], limits, error) < 0)
            return -1;
    return check_tables_on_host(plan, limits, error);
}
