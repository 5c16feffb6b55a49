/*
 * Access to guest memory for devices: through a handle that belongs to one space, checked against its mappings' flags,
 * and safe against changes of the space while it goes on.
 *
 * A device never holds a pointer into guest memory for longer than it holds a pin. Lookups take no lock and do not wait
 * for changes. HV_MEMORY_READ on a mapping lets devices read, HV_MEMORY_WRITE write; HV_MEMORY_EXEC means nothing to
 * them. Errors:
 *   HV_BAD_ARGUMENT  a NULL pointer, or a range that wraps or reaches past 2^48
 *   HV_DENIED        part of the range is not mapped, or its flags forbid the access: nothing has been read or written,
 *                    and the fault is counted, and recorded if the mapping's policy is not HVX_POLICY_COUNT
 *                    (see hvx_vm_faults())
 *   HV_NO_RESOURCES  more segments than the caller has room for; nothing is pinned
 */
#ifndef HYPERVISOR_HVX_DMA_H
#define HYPERVISOR_HVX_DMA_H

#include <Hypervisor/hv.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A device's way to the memory of a space. Any thread may use it; it keeps the space from being destroyed. */
typedef struct hvx_dma hvx_dma_t;

/*
 * Opens a handle; device names it in faults, and is copied. A device with several queues opens one for each and has the
 * name say which, as in "disk0 queue 2", so that a fault does. HV_NO_DEVICE: there is no VM. HV_BAD_ARGUMENT: no such
 * space. To be closed before hv_vm_destroy(), which gives HV_BUSY otherwise.
 */
HV_API hv_return_t hvx_dma_open(hv_vm_space_t asid, const char *device, hvx_dma_t **dma);

/* Nobody uses the handle any more, and it has no pins. Takes NULL. */
HV_API void hvx_dma_close(hvx_dma_t *dma);

/* Copies between a buffer and guest memory, over as many mappings as they span. */
HV_API hv_return_t hvx_dma_read(hvx_dma_t *dma, hv_gpaddr_t gpa, void *buffer, size_t size);
HV_API hv_return_t hvx_dma_write(hvx_dma_t *dma, hv_gpaddr_t gpa, const void *buffer, size_t size);

/*
 * Loads and stores one little-endian number, whole: neither vCPUs nor other threads see half of it. Loads acquire and
 * stores release, as rings need it. The address is a multiple of the number's size.
 */
HV_API hv_return_t hvx_dma_load16(hvx_dma_t *dma, hv_gpaddr_t gpa, uint16_t *value);
HV_API hv_return_t hvx_dma_load32(hvx_dma_t *dma, hv_gpaddr_t gpa, uint32_t *value);
HV_API hv_return_t hvx_dma_store16(hvx_dma_t *dma, hv_gpaddr_t gpa, uint16_t value);
HV_API hv_return_t hvx_dma_store32(hvx_dma_t *dma, hv_gpaddr_t gpa, uint32_t value);

/* A piece of guest memory that is contiguous in the host. */
typedef struct {
    void *address;
    size_t size;
} hvx_dma_segment_t;

/* What keeps pinned memory from being taken away: hv_vm_unmap() and its kin return only when it is let go. */
typedef struct {
    unsigned generation;
    hv_gpaddr_t gpa;
    size_t size;
    hv_memory_flags_t access;
} hvx_dma_pin_t;

/*
 * Gives the host's segments of a guest range for the length of a request, in order. access: HV_MEMORY_READ,
 * HV_MEMORY_WRITE or both. *count is the room at segments, and afterwards how many there are. Other changes of the
 * space go on; what they say of this range counts from the next lookup. Memory pinned for writing counts
 * as written when it is let go.
 */
HV_API hv_return_t hvx_dma_pin(hvx_dma_t *dma, hv_gpaddr_t gpa, size_t size, hv_memory_flags_t access,
                               hvx_dma_segment_t *segments, size_t *count, hvx_dma_pin_t *pin);
HV_API void hvx_dma_unpin(hvx_dma_t *dma, const hvx_dma_pin_t *pin);

#ifdef __cplusplus
}
#endif

#endif
