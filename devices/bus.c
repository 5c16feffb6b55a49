#include "devices/bus.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct bus_range {
    uint64_t base;
    uint64_t size;
    struct device *device;
};

/* Ranges ascend and do not overlap. They do not change once the machine runs, so that lookups need no lock. */
struct bus {
    const char *name;
    uint64_t size;
    struct bus_range *ranges;
    size_t count;
};

struct bus *bus_create(const char *name, uint64_t size)
{
    struct bus *bus = calloc(1, sizeof(*bus));

    if (!bus)
        return NULL;
    bus->name = name;
    bus->size = size;
    return bus;
}

void bus_destroy(struct bus *bus)
{
    if (!bus)
        return;
    free(bus->ranges);
    free(bus);
}

/* How many ranges begin at or below address. */
static size_t bus_count_up_to(const struct bus *bus, uint64_t address)
{
    size_t low = 0;
    size_t high = bus->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (bus->ranges[middle].base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int bus_refuse_overlap(const struct bus *bus, uint64_t base, uint64_t size, const char *name,
                              const struct bus_range *other, struct error *error)
{
    return error_set(
        error, ERROR_CONFIG,
        "%s: %s at 0x%" PRIx64 "-0x%" PRIx64 " overlaps %s at 0x%" PRIx64 "-0x%" PRIx64 ": move one of them", bus->name,
        name, base, base + size - 1, other->device->ops->name, other->base, other->base + other->size - 1);
}

int bus_attach(struct bus *bus, uint64_t base, uint64_t size, struct device *device, struct error *error)
{
    const char *name = device->ops->name;

    if (size == 0)
        return error_set(error, ERROR_CONFIG, "%s: %s at 0x%" PRIx64 " has no size", bus->name, name, base);
    if (base >= bus->size || size > bus->size - base)
        return error_set(error, ERROR_CONFIG,
                         "%s: %s at 0x%" PRIx64 ", 0x%" PRIx64 " long, goes beyond the last address, 0x%" PRIx64,
                         bus->name, name, base, size, bus->size - 1);

    size_t at = bus_count_up_to(bus, base);
    const struct bus_range *below = at > 0 ? &bus->ranges[at - 1] : NULL;
    const struct bus_range *above = at < bus->count ? &bus->ranges[at] : NULL;
    if (below && base - below->base < below->size)
        return bus_refuse_overlap(bus, base, size, name, below, error);
    if (above && above->base - base < size)
        return bus_refuse_overlap(bus, base, size, name, above, error);

    struct bus_range *ranges = realloc(bus->ranges, (bus->count + 1) * sizeof(*ranges));
    if (!ranges)
        return error_set(error, ERROR_HOST, "%s: no memory to attach %s", bus->name, name);
    memmove(&ranges[at + 1], &ranges[at], (bus->count - at) * sizeof(*ranges));
    ranges[at] = (struct bus_range){.base = base, .size = size, .device = device};
    bus->ranges = ranges;
    bus->count++;
    return 0;
}

static bool device_takes_width(const struct device_ops *ops, unsigned size)
{
    return size >= ops->min_access && size <= ops->max_access && (size & (size - 1)) == 0;
}

/* The device that takes the whole access, and the offset into it; NULL if there is none. */
static struct device *bus_find(const struct bus *bus, uint64_t address, unsigned size, uint64_t *ret_offset)
{
    size_t at = bus_count_up_to(bus, address);
    if (at == 0)
        return NULL;

    const struct bus_range *range = &bus->ranges[at - 1];
    uint64_t offset = address - range->base;
    const bool fits = offset < range->size && (size <= range->size - offset || range->device->ops->may_reach_over);
    if (!fits || !device_takes_width(range->device->ops, size))
        return NULL;
    *ret_offset = offset;
    return range->device;
}

/* All ones of the access's width. */
static uint64_t width_mask(unsigned size)
{
    return size >= sizeof(uint64_t) ? UINT64_MAX : (UINT64_C(1) << (8 * size)) - 1;
}

uint64_t bus_read(struct bus *bus, uint64_t address, unsigned size)
{
    uint64_t offset;
    struct device *device = bus_find(bus, address, size, &offset);
    if (!device)
        return width_mask(size);

    pthread_mutex_lock(&device->lock);
    uint64_t value = device->ops->read(device, offset, size);
    pthread_mutex_unlock(&device->lock);
    return value & width_mask(size);
}

void bus_write(struct bus *bus, uint64_t address, unsigned size, uint64_t value)
{
    uint64_t offset;
    struct device *device = bus_find(bus, address, size, &offset);
    if (!device)
        return;

    pthread_mutex_lock(&device->lock);
    device->ops->write(device, offset, size, value & width_mask(size));
    pthread_mutex_unlock(&device->lock);
}

size_t bus_list(const struct bus *bus, size_t index, uint64_t *base, uint64_t *size, const char **name)
{
    if (index < bus->count) {
        const struct bus_range *range = &bus->ranges[index];

        if (base)
            *base = range->base;
        if (size)
            *size = range->size;
        if (name)
            *name = range->device->ops->name;
    }
    return bus->count;
}
