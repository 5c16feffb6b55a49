#include "vmm/maps/device_plan.h"

#include "vmm/config/schema.h"

#include <stdbool.h>

size_t device_plan_count(const struct config *config, enum config_transport transport)
{
    size_t count = 0;

    for (size_t i = 0; i < config->lists.device_count; i++)
        count += config->lists.devices[i].transport == transport;
    return count;
}

const char *device_plan_kind(enum config_device_kind kind)
{
    return config_device_tables[kind].keys[0].section;
}

void device_plan_fill(const struct config *config, struct plan_device *devices)
{
    const struct config_lists *lists = &config->lists;
    bool is_taken[CONFIG_MAX_SLOT + 1] = {true};
    unsigned mmio_count = 0;

    for (size_t i = 0; i < lists->device_count; i++)
        if (lists->devices[i].slot != CONFIG_NOT_GIVEN)
            is_taken[lists->devices[i].slot] = true;
    for (size_t i = 0; i < lists->device_count; i++) {
        const struct config_device *device = &lists->devices[i];
        unsigned slot = 0;
        devices[i].config = device;
        if (device->transport == CONFIG_TRANSPORT_MMIO) {
            devices[i].place = mmio_count++;
            continue;
        }
        if (device->slot != CONFIG_NOT_GIVEN) {
            devices[i].place = device->slot;
            continue;
        }
        while (slot < CONFIG_MAX_SLOT && is_taken[slot])
            slot++;
        is_taken[slot] = true;
        devices[i].place = slot;
    }
}
