/*
 * Words that the writers of maps share.
 */
#include "vmm/maps/maps.h"

#include "memory/x86/layout.h"
#include "vmm/config/schema.h"
#include "vmm/config/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *maps_format_flags(hv_memory_flags_t flags, char out[MAPS_FLAGS_SIZE])
{
    out[0] = flags & HV_MEMORY_READ ? 'r' : '-';
    out[1] = flags & HV_MEMORY_WRITE ? 'w' : '-';
    out[2] = flags & HV_MEMORY_EXEC ? 'x' : '-';
    out[3] = '\0';
    return out;
}

const char *maps_format_size(uint64_t size, char out[MAPS_SIZE_SIZE])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;

    while (unit + 1 < sizeof(units) / sizeof(units[0]) && size != 0 && size % 1024 == 0) {
        size /= 1024;
        unit++;
    }
    (void)snprintf(out, MAPS_SIZE_SIZE, "%" PRIu64 " %s", size, units[unit]);
    return out;
}

const char *maps_policy_name(hvx_policy_t policy)
{
    switch (policy) {
    case HVX_POLICY_STOP:
        return "stop";
    case HVX_POLICY_LOG:
        return "log";
    case HVX_POLICY_COUNT:
        return "count";
    case HVX_POLICY_CLIENT:
        break;
    }
    return NULL;
}

bool maps_device_is_in(const struct memory_plan *plan, size_t device, size_t space)
{
    return strcmp(plan->devices[device].config->space, plan->spaces[space].name) == 0;
}

const char *maps_format_device(const struct plan_device *device, char out[MAPS_DEVICE_SIZE])
{
    const char *kind = device_plan_kind(device->config->kind);

    if (device->config->transport == CONFIG_TRANSPORT_PCI)
        (void)snprintf(out, MAPS_DEVICE_SIZE, "%s, PCI slot %u", kind, device->place);
    else
        (void)snprintf(out, MAPS_DEVICE_SIZE, "%s, registers at 0x%" PRIx64, kind,
                       LAYOUT_VIRTIO_MMIO_GPA + (uint64_t)device->place * LAYOUT_VIRTIO_MMIO_SIZE);
    return out;
}

struct maps_home maps_find_home(const struct memory_plan *plan, const struct plan_range *range)
{
    for (size_t i = 0; i < plan->space_count; i++) {
        for (size_t j = 0; j < plan->spaces[i].count; j++) {
            const struct plan_range *home = &plan->spaces[i].ranges[j];
            if (!home->is_alias && home->memory == range->memory && range->offset >= home->offset &&
                range->offset - home->offset < home->size)
                return (struct maps_home){i, home, home->gpa + (range->offset - home->offset)};
        }
    }
    return (struct maps_home){0};
}

/* "file /path", "memfd, 2MiB", ... */
static const char *format_host(const struct config_host_memory *host, char out[MAPS_SOURCE_SIZE])
{
    const struct schema_key *keys = config_range_table.keys;
    char path[CONFIG_TEXT_SIZE] = "";
    int used;

    if (host == NULL)
        return strcpy(out, "anonymous");
    if (host->path != NULL)
        (void)config_text_escape_tail(path, host->path);
    used = snprintf(out, MAPS_SOURCE_SIZE, "%s%s%.90s, %s", keys[CONFIG_RANGE_BACKING].choices[host->backing],
                    path[0] != '\0' ? " " : "", path, keys[CONFIG_RANGE_PAGES].choices[host->pages]);
    if (host->populate == CONFIG_POPULATE_PREFAULT)
        used += snprintf(out + used, MAPS_SOURCE_SIZE - (size_t)used, ", prefault");
    if (host->node != CONFIG_NOT_GIVEN)
        (void)snprintf(out + used, MAPS_SOURCE_SIZE - (size_t)used, ", node %" PRIu32, host->node);
    return out;
}

const char *maps_format_source(const struct memory_plan *plan, const struct plan_range *range,
                               char out[MAPS_SOURCE_SIZE])
{
    if (!range->is_alias)
        return format_host(plan->memories[range->memory].host, out);
    const struct maps_home home = maps_find_home(plan, range);
    if (home.range == NULL)
        return strcpy(out, "not of this machine");
    (void)snprintf(out, MAPS_SOURCE_SIZE, "%s 0x%" PRIx64 " (%s)", plan->spaces[home.space].name, home.gpa,
                   home.range->name);
    return out;
}
