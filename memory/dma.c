/*
 * Devices' access to guest memory: hvx_dma_*.
 */
#include "memory/rcu.h"
#include "memory/vm.h"

#include <Hypervisor/hvx_dma.h>

#include <endian.h>
#include <stdlib.h>
#include <string.h>

struct hvx_dma {
    struct vm *vm;
    struct space *space;
    /* No other handle has ever had it. */
    uint64_t id;
    char device[HVX_NAME_SIZE];
};

/* Handles that there have been in this process, of whatever VM. */
static atomic_uint_fast64_t handle_count;

/* The calling thread's last translation. It holds for this handle and this version of its space. */
static _Thread_local struct {
    uint64_t id;
    uint64_t version;
    struct region region;
} last __attribute__((tls_model("initial-exec")));

hv_return_t hvx_dma_open(hv_vm_space_t asid, const char *device, hvx_dma_t **dma)
{
    struct vm *vm = vm_lock();
    if (vm == NULL)
        return HV_NO_DEVICE;

    struct space *space = vm_space(vm, asid);
    hv_return_t result = dma == NULL || device == NULL || space == NULL ? HV_BAD_ARGUMENT : HV_SUCCESS;
    struct hvx_dma *opened = result == HV_SUCCESS ? calloc(1, sizeof(*opened)) : NULL;
    if (result == HV_SUCCESS && opened == NULL)
        result = HV_NO_RESOURCES;
    if (result == HV_SUCCESS) {
        opened->id = atomic_fetch_add(&handle_count, 1) + 1;
        opened->vm = vm;
        opened->space = space;
        strncpy(opened->device, device, sizeof(opened->device) - 1);
        space->dma_references++;
        vm->dma_count++;
        *dma = opened;
    }
    vm_unlock(vm);
    return result;
}

void hvx_dma_close(hvx_dma_t *dma)
{
    if (dma == NULL)
        return;
    struct vm *vm = vm_lock();
    if (vm == dma->vm) {
        dma->space->dma_references--;
        vm->dma_count--;
    }
    if (vm != NULL)
        vm_unlock(vm);
    free(dma);
}

/* ---- Lookups ---- */

static bool range_is_sound(hv_gpaddr_t gpa, size_t size)
{
    hv_gpaddr_t end;

    return !__builtin_add_overflow(gpa, size, &end) && end <= REGION_GPA_END;
}

/*
 * The first address in [gpa, gpa + size) where one of the accesses is not allowed, or the range's end. Inside an RCU
 * section, as all that uses a map.
 */
static uint64_t first_refused(const struct region_map *map, uint64_t gpa, uint64_t size, hv_memory_flags_t access)
{
    const uint64_t end = gpa + size;

    while (gpa < end) {
        const struct region *region = region_map_find(map, gpa);
        if (region == NULL || region->gpa > gpa || !region_allows(region, access))
            return gpa;
        gpa = region_end(region);
    }
    return end;
}

/* Outside of the RCU section: it takes a lock, and calls the client. */
static hv_return_t refuse(const hvx_dma_t *dma, uint64_t gpa, uint64_t size, hv_memory_flags_t access)
{
    hvx_fault_t fault = {
        .space = dma->space->id, .gpa = gpa, .access = access, .length = size, .vcpu = HVX_FAULT_NO_VCPU};

    rcu_enter();
    vm_describe_mapping(dma->space, &fault);
    rcu_leave();
    memcpy(fault.device, dma->device, sizeof(fault.device));
    vm_take_fault(dma->vm, dma->space, &fault);
    return HV_DENIED;
}

/* ---- Copies ---- */

static hv_return_t copy(const hvx_dma_t *dma, uint64_t gpa, uint64_t size, void *to, const void *from)
{
    const hv_memory_flags_t access = to != NULL ? HV_MEMORY_READ : HV_MEMORY_WRITE;

    if (dma == NULL || (to == NULL && from == NULL) || !range_is_sound(gpa, size))
        return HV_BAD_ARGUMENT;
    rcu_enter();
    const struct region_map *map = atomic_load_explicit(&dma->space->map, memory_order_acquire);
    const uint64_t refused = first_refused(map, gpa, size, access);
    if (refused == gpa + size) {
        region_map_copy(map, gpa, size, to, from);
        if (from != NULL)
            dirty_log_mark(atomic_load_explicit(&dma->space->dirty, memory_order_acquire), gpa, size);
    }
    rcu_leave();
    return refused == gpa + size ? HV_SUCCESS : refuse(dma, refused, gpa + size - refused, access);
}

hv_return_t hvx_dma_read(hvx_dma_t *dma, hv_gpaddr_t gpa, void *buffer, size_t size)
{
    return copy(dma, gpa, size, buffer, NULL);
}

hv_return_t hvx_dma_write(hvx_dma_t *dma, hv_gpaddr_t gpa, const void *buffer, size_t size)
{
    return copy(dma, gpa, size, NULL, buffer);
}

/* ---- Numbers ---- */

/* Looks the address up and remembers what is there. */
static bool look_up(const hvx_dma_t *dma, uint64_t gpa)
{
    /* The count first: if the map is newer than it says, what is remembered is dropped once too often, and no harm
     * done. */
    const uint64_t version = atomic_load_explicit(&dma->space->version, memory_order_acquire);
    const struct region_map *map = atomic_load_explicit(&dma->space->map, memory_order_acquire);
    const struct region *region = region_map_find(map, gpa);

    if (region == NULL || region->gpa > gpa)
        return false;
    last.id = dma->id;
    last.version = version;
    last.region = *region;
    return true;
}

/* The host address of an aligned number, which lies in one page and so in one mapping; NULL where it is refused. */
static void *find_number(const hvx_dma_t *dma, uint64_t gpa, hv_memory_flags_t access)
{
    const bool is_known = last.id == dma->id &&
                          last.version == atomic_load_explicit(&dma->space->version, memory_order_acquire) &&
                          gpa - last.region.gpa < last.region.size;

    if ((!is_known && !look_up(dma, gpa)) || !region_allows(&last.region, access))
        return NULL;
    return last.region.hva + (gpa - last.region.gpa);
}

#define DEFINE_NUMBER(bits)                                                                                            \
    hv_return_t hvx_dma_load##bits(hvx_dma_t *dma, hv_gpaddr_t gpa, uint##bits##_t *value)                             \
    {                                                                                                                  \
        if (dma == NULL || value == NULL || gpa % sizeof(*value) != 0 || !range_is_sound(gpa, sizeof(*value)))         \
            return HV_BAD_ARGUMENT;                                                                                    \
        rcu_enter();                                                                                                   \
        const uint##bits##_t *number = find_number(dma, gpa, HV_MEMORY_READ);                                          \
        if (number != NULL)                                                                                            \
            *value = le##bits##toh(__atomic_load_n(number, __ATOMIC_ACQUIRE));                                         \
        rcu_leave();                                                                                                   \
        return number != NULL ? HV_SUCCESS : refuse(dma, gpa, sizeof(*value), HV_MEMORY_READ);                         \
    }                                                                                                                  \
                                                                                                                       \
    hv_return_t hvx_dma_store##bits(hvx_dma_t *dma, hv_gpaddr_t gpa, uint##bits##_t value)                             \
    {                                                                                                                  \
        if (dma == NULL || gpa % sizeof(value) != 0 || !range_is_sound(gpa, sizeof(value)))                            \
            return HV_BAD_ARGUMENT;                                                                                    \
        rcu_enter();                                                                                                   \
        uint##bits##_t *number = find_number(dma, gpa, HV_MEMORY_WRITE);                                               \
        if (number != NULL) {                                                                                          \
            __atomic_store_n(number, htole##bits(value), __ATOMIC_RELEASE);                                            \
            dirty_log_mark(atomic_load_explicit(&dma->space->dirty, memory_order_acquire), gpa, sizeof(value));        \
        }                                                                                                              \
        rcu_leave();                                                                                                   \
        return number != NULL ? HV_SUCCESS : refuse(dma, gpa, sizeof(value), HV_MEMORY_WRITE);                         \
    }

DEFINE_NUMBER(16)
DEFINE_NUMBER(32)

/* ---- Pins ---- */

/* The segments of a range that is allowed throughout; joined where they touch in the host. false: there is no room. */
static bool list_segments(const struct region_map *map, uint64_t gpa, uint64_t size, hvx_dma_segment_t *segments,
                          size_t *count)
{
    uint64_t piece;
    size_t used = 0;

    for (uint64_t done = 0; done < size; done += piece) {
        uint8_t *hva = region_map_piece(map, gpa + done, size - done, &piece);
        if (used > 0 && (uint8_t *)segments[used - 1].address + segments[used - 1].size == hva) {
            segments[used - 1].size += piece;
        } else {
            if (used == *count)
                return false;
            segments[used++] = (hvx_dma_segment_t){.address = hva, .size = piece};
        }
    }
    *count = used;
    return true;
}

hv_return_t hvx_dma_pin(hvx_dma_t *dma, hv_gpaddr_t gpa, size_t size, hv_memory_flags_t access,
                        hvx_dma_segment_t *segments, size_t *count, hvx_dma_pin_t *pin)
{
    const hv_memory_flags_t both = HV_MEMORY_READ | HV_MEMORY_WRITE;
    hv_return_t result = HV_SUCCESS;

    if (dma == NULL || segments == NULL || count == NULL || pin == NULL || !range_is_sound(gpa, size) ||
        (access & both) == 0 || (access & ~both) != 0)
        return HV_BAD_ARGUMENT;
    rcu_enter();
    const struct region_map *map = atomic_load_explicit(&dma->space->map, memory_order_acquire);
    const uint64_t refused = first_refused(map, gpa, size, access);
    if (refused != gpa + size)
        result = HV_DENIED;
    else if (!list_segments(map, gpa, size, segments, count))
        result = HV_NO_RESOURCES;
    else
        *pin = (hvx_dma_pin_t){.generation = space_pin(dma->space), .gpa = gpa, .size = size, .access = access};
    rcu_leave();
    return result == HV_DENIED ? refuse(dma, refused, gpa + size - refused, access) : result;
}

void hvx_dma_unpin(hvx_dma_t *dma, const hvx_dma_pin_t *pin)
{
    if (pin->access & HV_MEMORY_WRITE) {
        rcu_enter();
        dirty_log_mark(atomic_load_explicit(&dma->space->dirty, memory_order_acquire), pin->gpa, pin->size);
        rcu_leave();
    }
    space_unpin(dma->space, pin->generation);
}
