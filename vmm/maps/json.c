/*
 * Maps as JSON.
 */
#include "vmm/maps/maps.h"

#include "memory/x86/layout.h"
#include "vmm/config/schema.h"

#include <jansson.h>

/* The functions here give NULL where there is no memory; jansson's takes of NULL fail alike, and free what they took.
 */

static json_t *json_of_host(const struct config_host_memory *host)
{
    const struct schema_key *keys = config_range_table.keys;

    if (host == NULL)
        return json_pack("{s:s}", "kind", keys[CONFIG_RANGE_BACKING].choices[CONFIG_BACKING_ANONYMOUS]);
    return json_pack("{s:s, s:s, s:s, s:s*, s:o*}", "kind", keys[CONFIG_RANGE_BACKING].choices[host->backing], "pages",
                     keys[CONFIG_RANGE_PAGES].choices[host->pages], "populate",
                     keys[CONFIG_RANGE_POPULATE].choices[host->populate], "path", host->path, "node",
                     host->node == CONFIG_NOT_GIVEN ? NULL : json_integer(host->node));
}

static json_t *json_of_home(const struct memory_plan *plan, const struct plan_range *range)
{
    const struct maps_home home = maps_find_home(plan, range);

    return json_pack("{s:s, s:I, s:s}", "space", plan->spaces[home.space].name, "gpa", (json_int_t)home.gpa, "range",
                     home.range->name);
}

static json_t *json_of_range(const struct memory_plan *plan, const struct plan_range *range)
{
    char flags[MAPS_FLAGS_SIZE];
    const char *policy = maps_policy_name(range->policy);

    return json_pack("{s:s, s:I, s:I, s:s, s:s*, s:o*, s:o*}", "name", range->name, "gpa", (json_int_t)range->gpa,
                     "size", (json_int_t)range->size, "flags", maps_format_flags(range->flags, flags), "fault", policy,
                     "backing", range->is_alias ? NULL : json_of_host(plan->memories[range->memory].host), "of",
                     range->is_alias ? json_of_home(plan, range) : NULL);
}

static json_t *json_of_reserved(const struct memory_plan *plan)
{
    json_t *list = json_array();

    for (size_t i = 0; list != NULL && i < plan->reserved_count; i++) {
        const struct plan_reserved *reserved = &plan->reserved[i];
        json_t *item = json_pack("{s:s, s:I, s:I}", "name", reserved->what, "gpa", (json_int_t)reserved->gpa, "size",
                                 (json_int_t)reserved->size);
        if (json_array_append_new(list, item) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *json_of_device(const struct plan_device *device)
{
    const bool is_pci = device->config->transport == CONFIG_TRANSPORT_PCI;
    const uint64_t gpa = LAYOUT_VIRTIO_MMIO_GPA + (uint64_t)device->place * LAYOUT_VIRTIO_MMIO_SIZE;

    return json_pack("{s:s, s:s, s:I}", "name", device->config->name, "kind", device_plan_kind(device->config->kind),
                     is_pci ? "slot" : "gpa", is_pci ? (json_int_t)device->place : (json_int_t)gpa);
}

static json_t *json_of_devices(const struct memory_plan *plan, size_t space)
{
    json_t *list = json_array();

    for (size_t i = 0; list != NULL && i < plan->config->lists.device_count; i++) {
        if (maps_device_is_in(plan, i, space) && json_array_append_new(list, json_of_device(&plan->devices[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *json_of_space(const struct memory_plan *plan, size_t index)
{
    const struct plan_space *space = &plan->spaces[index];
    json_t *ranges = json_array();

    for (size_t i = 0; ranges != NULL && i < space->count; i++) {
        if (json_array_append_new(ranges, json_of_range(plan, &space->ranges[i])) < 0) {
            json_decref(ranges);
            return NULL;
        }
    }
    json_t *object = json_pack("{s:s, s:b, s:o, s:o}", "name", space->name, "strict", space->is_strict, "ranges",
                               ranges, "devices", json_of_devices(plan, index));
    if (object != NULL && index == 0 && json_object_set_new(object, "reserved", json_of_reserved(plan)) < 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *json_of_plan(const struct memory_plan *plan)
{
    json_t *spaces = json_array();

    for (size_t i = 0; spaces != NULL && i < plan->space_count; i++) {
        if (json_array_append_new(spaces, json_of_space(plan, i)) < 0) {
            json_decref(spaces);
            return NULL;
        }
    }
    return json_pack("{s:s, s:o}", "machine", plan->config->machine.name, "spaces", spaces);
}

int maps_write_json(const struct memory_plan *plan, FILE *out, struct error *error)
{
    json_t *object = json_of_plan(plan);

    if (object == NULL)
        return error_set(error, ERROR_HOST, "out of memory, or machine.name is not UTF-8");
    (void)json_dumpf(object, out, JSON_INDENT(2));
    putc('\n', out);
    json_decref(object);
    return 0;
}
