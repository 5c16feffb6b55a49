/*
 * The outer layer of the API: finds the process's VM, checks arguments in the order of <Hypervisor/hv.h>, and passes
 * them on. What is process-wide is here and nowhere else: the VM, and the list of hv_vm_allocate()'s memory.
 */
#include "memory/host_memory.h"
#include "memory/rcu.h"
#include "memory/vm.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE_SIZE = 4096 };

static const hv_memory_flags_t ACCESS_FLAGS = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;
static const hv_memory_flags_t KNOWN_FLAGS = (HV_MEMORY_MAXPROT_UEXEC << 1) - 1;
static const hv_vm_options_t KNOWN_VM_OPTIONS =
    HV_VM_SPECIFY_MITIGATIONS | HV_VM_MITIGATION_A_ENABLE | HV_VM_MITIGATION_B_ENABLE | HV_VM_MITIGATION_C_ENABLE |
    HV_VM_MITIGATION_D_ENABLE | HV_VM_MITIGATION_E_ENABLE | HV_VM_ACCEL_APIC;

struct allocation {
    struct allocation *next;
    void *memory;
    size_t size;
};

/*
 * process.lock guards the VM's existence: it is held wherever `vm` is read or changed, and taken before vm->lock.
 */
static struct {
    pthread_mutex_t lock;
    struct vm *vm;
    struct allocation *allocations;
    bool fork_handler;
} process = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- The VM ---- */

struct vm *vm_lock(void)
{
    pthread_mutex_lock(&process.lock);
    struct vm *vm = process.vm;
    if (vm != NULL)
        pthread_mutex_lock(&vm->lock);
    pthread_mutex_unlock(&process.lock);
    return vm;
}

void vm_unlock(struct vm *vm)
{
    pthread_mutex_unlock(&vm->lock);
}

#ifdef __SANITIZE_THREAD__
char rcu_order;
#endif

static void before_fork(void)
{
    pthread_mutex_lock(&process.lock);
    if (process.vm != NULL)
        pthread_mutex_lock(&process.vm->lock);
    urcu_bp_before_fork();
}

static void after_fork_in_parent(void)
{
    urcu_bp_after_fork_parent();
    if (process.vm != NULL)
        pthread_mutex_unlock(&process.vm->lock);
    pthread_mutex_unlock(&process.lock);
}

static void after_fork_in_child(void)
{
    urcu_bp_after_fork_child();
    if (process.vm != NULL) {
        pthread_mutex_unlock(&process.vm->lock);
        vm_abandon(process.vm);
        process.vm = NULL;
    }
    pthread_mutex_unlock(&process.lock);
}

hv_return_t hv_vm_create(hv_vm_options_t flags)
{
    hv_return_t result = HV_BUSY;

    if (flags & ~KNOWN_VM_OPTIONS)
        return HV_BAD_ARGUMENT;
    if (flags != HV_VM_DEFAULT)
        return HV_UNSUPPORTED;
    pthread_mutex_lock(&process.lock);
    if (!process.fork_handler)
        process.fork_handler = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
    if (process.vm == NULL)
        result = vm_create(&process.vm);
    pthread_mutex_unlock(&process.lock);
    return result;
}

hv_return_t hv_vm_destroy(void)
{
    pthread_mutex_lock(&process.lock);
    struct vm *vm = process.vm;
    hv_return_t result = HV_NO_DEVICE;
    if (vm != NULL) {
        /* Whoever has the VM locked is let out first; nobody comes in while process.lock is held. */
        pthread_mutex_lock(&vm->lock);
        result = vm->vcpu_count > 0 || vm->dma_count > 0 ? HV_BUSY : HV_SUCCESS;
        pthread_mutex_unlock(&vm->lock);
    }
    if (result == HV_SUCCESS) {
        process.vm = NULL;
        vm_destroy(vm);
    }
    pthread_mutex_unlock(&process.lock);
    return result;
}

hv_return_t hv_capability(hv_capability_t capability, uint64_t *value)
{
    if (value == NULL || capability > HV_CAP_ADDRSPACEMAX)
        return HV_BAD_ARGUMENT;
    if (capability == HV_CAP_ADDRSPACEMAX) {
        *value = VM_SPACE_MAX;
        return HV_SUCCESS;
    }
    hvx_host_limits_t limits;
    hv_return_t result = hvx_host_limits(&limits);
    if (result == HV_SUCCESS)
        *value = limits.vcpus;
    return result;
}

hv_return_t hvx_host_limits(hvx_host_limits_t *limits)
{
    struct kvm_system kvm;

    if (limits == NULL)
        return HV_BAD_ARGUMENT;
    hv_return_t result = kvm_system_open(&kvm);
    if (result != HV_SUCCESS)
        return result;
    *limits = (hvx_host_limits_t){
        .spaces = VM_SPACE_MAX,
        .vcpus = kvm.vcpu_limit < VM_VCPU_MAX ? kvm.vcpu_limit : VM_VCPU_MAX,
        .slots = kvm.slot_limit,
        .address_bits = (unsigned)__builtin_ctzll(kvm.address_limit),
        .memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE),
    };
    kvm_system_close(&kvm);
    return HV_SUCCESS;
}

/* ---- Memory of spaces ---- */

static hv_return_t check_range(hv_gpaddr_t gpa, size_t size)
{
    hv_gpaddr_t end;

    if (size == 0 || gpa % PAGE_SIZE != 0 || size % PAGE_SIZE != 0)
        return HV_BAD_ARGUMENT;
    if (__builtin_add_overflow(gpa, size, &end) || end > REGION_GPA_END)
        return HV_BAD_ARGUMENT;
    return HV_SUCCESS;
}

static hv_return_t check_flags(hv_memory_flags_t flags)
{
    if (flags & ~KNOWN_FLAGS)
        return HV_BAD_ARGUMENT;
    return flags & ~ACCESS_FLAGS ? HV_UNSUPPORTED : HV_SUCCESS;
}

static hv_return_t check_uva(hv_uvaddr_t uva, size_t size)
{
    uintptr_t end;

    if (uva == NULL || (uintptr_t)uva % PAGE_SIZE != 0 || __builtin_add_overflow((uintptr_t)uva, size, &end))
        return HV_BAD_ARGUMENT;
    return HV_SUCCESS;
}

/* HV_SUCCESS with the VM locked and *ret_space its space; or an error with nothing locked. */
static hv_return_t lock_space(hv_vm_space_t asid, hv_return_t arguments, struct vm **ret_vm, struct space **ret_space)
{
    struct vm *vm = vm_lock();

    if (vm == NULL)
        return HV_NO_DEVICE;
    struct space *space = vm_space(vm, asid);
    if (arguments == HV_SUCCESS && space == NULL)
        arguments = HV_BAD_ARGUMENT;
    if (arguments != HV_SUCCESS) {
        vm_unlock(vm);
        return arguments;
    }
    *ret_vm = vm;
    *ret_space = space;
    return HV_SUCCESS;
}

static hv_return_t first_error(hv_return_t a, hv_return_t b)
{
    return a != HV_SUCCESS ? a : b;
}

/* Whether it is part of hv_vm_allocate()'s memory, so that nobody has to ask the kernel. */
static bool is_allocated(const uint8_t *memory, size_t size)
{
    bool found = false;

    pthread_mutex_lock(&process.lock);
    for (const struct allocation *one = process.allocations; one != NULL && !found; one = one->next) {
        const uint8_t *start = one->memory;
        found = memory >= start && size <= one->size && (size_t)(memory - start) <= one->size - size;
    }
    pthread_mutex_unlock(&process.lock);
    return found;
}

hv_return_t hvx_vm_map_space_named(hv_vm_space_t asid, hv_uvaddr_t uva, hv_gpaddr_t gpa, size_t size,
                                   hv_memory_flags_t flags, const char *name)
{
    struct vm *vm;
    struct space *space;
    hv_return_t arguments = first_error(check_uva(uva, size), first_error(check_range(gpa, size), check_flags(flags)));
    const bool is_ours = arguments == HV_SUCCESS && is_allocated(uva, size);
    hv_return_t result = lock_space(asid, arguments, &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    struct region region = {.gpa = gpa, .size = size, .hva = (uint8_t *)(uintptr_t)uva, .flags = flags};
    if (name != NULL)
        strncpy(region.name, name, sizeof(region.name) - 1);
    const enum host_access access = is_ours ? HOST_WRITABLE : host_memory_access(uva, size);
    region.host_is_read_only = access == HOST_READ_ONLY;
    result = access == HOST_NOT_MAPPED ? HV_ERROR : space_map(space, &region);
    vm_unlock(vm);
    return result;
}

hv_return_t hv_vm_map_space(hv_vm_space_t asid, hv_uvaddr_t uva, hv_gpaddr_t gpa, size_t size, hv_memory_flags_t flags)
{
    return hvx_vm_map_space_named(asid, uva, gpa, size, flags, NULL);
}

/* Unlocks the VM, and waits for devices that hold pins of what a change has taken away. Other calls go on meanwhile. */
static void unlock_after_change(struct vm *vm, struct space *space, hv_return_t result)
{
    const bool wait = result == HV_SUCCESS && space_has_pins(space);

    if (wait) {
        space->dma_references++;
        vm->dma_count++;
    }
    vm_unlock(vm);
    if (!wait)
        return;
    space_wait_for_pins(space);
    pthread_mutex_lock(&vm->lock);
    space->dma_references--;
    vm->dma_count--;
    pthread_mutex_unlock(&vm->lock);
}

hv_return_t hv_vm_unmap_space(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size)
{
    struct vm *vm;
    struct space *space;
    hv_return_t result = lock_space(asid, check_range(gpa, size), &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    result = space_unmap(space, gpa, size);
    unlock_after_change(vm, space, result);
    return result;
}

hv_return_t hv_vm_protect_space(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size, hv_memory_flags_t flags)
{
    struct vm *vm;
    struct space *space;
    hv_return_t result = lock_space(asid, first_error(check_range(gpa, size), check_flags(flags)), &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    result = space_protect(space, gpa, size, flags);
    unlock_after_change(vm, space, result);
    return result;
}

static hv_return_t check_policy(hvx_policy_t policy)
{
    switch (policy) {
    case HVX_POLICY_CLIENT:
    case HVX_POLICY_STOP:
    case HVX_POLICY_LOG:
    case HVX_POLICY_COUNT:
        return HV_SUCCESS;
    }
    return HV_BAD_ARGUMENT;
}

hv_return_t hvx_vm_set_policy(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size, hvx_policy_t policy)
{
    struct vm *vm;
    struct space *space;
    hv_return_t result = lock_space(asid, first_error(check_range(gpa, size), check_policy(policy)), &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    result = space_set_policy(space, gpa, size, policy);
    vm_unlock(vm);
    return result;
}

hv_return_t hvx_vm_set_traps(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size, hv_memory_flags_t access)
{
    struct vm *vm;
    struct space *space;
    hv_return_t result = lock_space(asid, first_error(check_range(gpa, size), check_flags(access)), &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    result = space_set_traps(space, gpa, size, access);
    vm_unlock(vm);
    return result;
}

hv_return_t hv_vm_map(hv_uvaddr_t uva, hv_gpaddr_t gpa, size_t size, hv_memory_flags_t flags)
{
    return hv_vm_map_space(HV_VM_SPACE_DEFAULT, uva, gpa, size, flags);
}

hv_return_t hv_vm_unmap(hv_gpaddr_t gpa, size_t size)
{
    return hv_vm_unmap_space(HV_VM_SPACE_DEFAULT, gpa, size);
}

hv_return_t hv_vm_protect(hv_gpaddr_t gpa, size_t size, hv_memory_flags_t flags)
{
    return hv_vm_protect_space(HV_VM_SPACE_DEFAULT, gpa, size, flags);
}

hv_return_t hv_vm_space_create(hv_vm_space_t *asid)
{
    hv_return_t result = HV_NO_RESOURCES;
    struct vm *vm = vm_lock();

    if (vm == NULL)
        return HV_NO_DEVICE;
    if (asid == NULL) {
        vm_unlock(vm);
        return HV_BAD_ARGUMENT;
    }
    for (hv_vm_space_t id = HV_VM_SPACE_DEFAULT + 1; id < VM_SPACE_MAX; id++) {
        if (vm->spaces[id] != NULL)
            continue;
        vm->spaces[id] = space_create(id);
        if (vm->spaces[id] != NULL) {
            *asid = id;
            result = HV_SUCCESS;
        }
        break;
    }
    vm_unlock(vm);
    return result;
}

hv_return_t hv_vm_space_destroy(hv_vm_space_t asid)
{
    struct vm *vm;
    struct space *space;
    hv_return_t result = lock_space(asid, asid == HV_VM_SPACE_DEFAULT ? HV_BAD_ARGUMENT : HV_SUCCESS, &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    if (space->vcpu_references > 0 || space->dma_references > 0)
        result = HV_BUSY;
    else
        vm_remove_space(vm, asid);
    vm_unlock(vm);
    return result;
}

static hv_return_t call_on_range(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size,
                                 hv_return_t (*call)(struct space *space, uint64_t gpa, uint64_t size))
{
    struct vm *vm;
    struct space *space;
    hv_return_t result = lock_space(asid, check_range(gpa, size), &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    result = call(space, gpa, size);
    vm_unlock(vm);
    return result;
}

hv_return_t hvx_vm_dirty_start(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size)
{
    return call_on_range(asid, gpa, size, space_dirty_start);
}

hv_return_t hvx_vm_dirty_stop(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size)
{
    return call_on_range(asid, gpa, size, space_dirty_stop);
}

hv_return_t hvx_vm_dirty_use_ring(hv_vm_space_t asid, uint32_t entries)
{
    struct vm *vm;
    struct space *space;
    const bool is_power_of_two = entries != 0 && (entries & (entries - 1)) == 0;
    hv_return_t result = lock_space(asid, is_power_of_two ? HV_SUCCESS : HV_BAD_ARGUMENT, &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    result = vm_use_ring(vm, asid, entries);
    vm_unlock(vm);
    return result;
}

hv_return_t hvx_vm_dirty_fetch(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size, uint64_t *bitmap)
{
    struct vm *vm;
    struct space *space;
    hv_return_t arguments = first_error(bitmap == NULL ? HV_BAD_ARGUMENT : HV_SUCCESS, check_range(gpa, size));
    hv_return_t result = lock_space(asid, arguments, &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    result = space_dirty_fetch(space, gpa, size, bitmap);
    vm_unlock(vm);
    return result;
}

hv_return_t hvx_vm_space_set_strict(hv_vm_space_t asid, bool strict)
{
    struct vm *vm;
    struct space *space;
    hv_return_t result = lock_space(asid, HV_SUCCESS, &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    result = space_set_strict(space, strict);
    vm_unlock(vm);
    return result;
}

hv_return_t hvx_vm_faults(hvx_fault_t *faults, size_t *count, uint64_t *total)
{
    struct vm *vm = vm_lock();

    if (vm == NULL)
        return HV_NO_DEVICE;
    hv_return_t result = faults == NULL || count == NULL || total == NULL ? HV_BAD_ARGUMENT : HV_SUCCESS;
    if (result == HV_SUCCESS)
        faults_list(&vm->faults, faults, count, total);
    vm_unlock(vm);
    return result;
}

hv_return_t hvx_vm_set_fault_listener(void (*listener)(void *context, const hvx_fault_t *fault), void *context)
{
    struct vm *vm = vm_lock();

    if (vm == NULL)
        return HV_NO_DEVICE;
    /* Whoever could cause a fault comes to be with the lock held, later, and so sees this one or none. */
    const hv_return_t result = vm->vcpu_count > 0 || vm->dma_count > 0 ? HV_BUSY : HV_SUCCESS;
    if (result == HV_SUCCESS) {
        vm->faults.listener = listener;
        vm->faults.listener_context = context;
    }
    vm_unlock(vm);
    return result;
}

hv_return_t hvx_vm_query_space(hv_vm_space_t asid, hv_gpaddr_t gpa, hvx_range_t *range)
{
    struct vm *vm;
    struct space *space;
    hv_return_t result = lock_space(asid, range == NULL ? HV_BAD_ARGUMENT : HV_SUCCESS, &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    const struct region *region = region_map_find(space->map, gpa);
    if (region == NULL) {
        result = HV_ERROR;
    } else {
        *range = (hvx_range_t){.gpa = region->gpa,
                               .size = region->size,
                               .uva = region->hva,
                               .flags = region->flags,
                               .policy = region->policy};
        memcpy(range->name, region->name, sizeof(range->name));
    }
    vm_unlock(vm);
    return result;
}

hv_return_t hvx_vm_space_info(hv_vm_space_t asid, hvx_space_info_t *info)
{
    struct vm *vm;
    struct space *space;
    hv_return_t result = lock_space(asid, info == NULL ? HV_BAD_ARGUMENT : HV_SUCCESS, &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    *info = (hvx_space_info_t){
        .range_count = region_map_count(space->map),
        .slot_count = vm->slots[asid] == NULL ? 0 : kvm_slots_count(vm->slots[asid]),
        .is_strict = space->is_strict,
        .vcpu_count = space->vcpu_count,
        .fault_count = atomic_load_explicit(&space->fault_count, memory_order_relaxed),
    };
    vm_unlock(vm);
    return HV_SUCCESS;
}

static hv_return_t copy_space(hv_vm_space_t asid, hv_gpaddr_t gpa, void *to, const void *from, size_t size)
{
    struct vm *vm;
    struct space *space;
    hv_gpaddr_t end;
    bool bad = (to == NULL && from == NULL) || __builtin_add_overflow(gpa, size, &end);
    hv_return_t result = lock_space(asid, bad ? HV_BAD_ARGUMENT : HV_SUCCESS, &vm, &space);

    if (result != HV_SUCCESS)
        return result;
    result = space_copy(space, gpa, size, to, from);
    vm_unlock(vm);
    return result;
}

hv_return_t hvx_vm_read_space(hv_vm_space_t asid, hv_gpaddr_t gpa, void *buffer, size_t size)
{
    return copy_space(asid, gpa, buffer, NULL, size);
}

hv_return_t hvx_vm_write_space(hv_vm_space_t asid, hv_gpaddr_t gpa, const void *buffer, size_t size)
{
    return copy_space(asid, gpa, NULL, buffer, size);
}

/* ---- Host memory ---- */

static hv_return_t allocation_error(int error)
{
    switch (error) {
    case ENOMEM:
    case EAGAIN:
    case EFAULT:
        return HV_NO_RESOURCES;
    case ENXIO:
        return HV_BAD_ARGUMENT;
    case ENOSYS:
        return HV_UNSUPPORTED;
    default:
        return HV_ERROR;
    }
}

hv_return_t hvx_vm_allocate_backed(void **uvap, size_t size, const hvx_backing_t *backing)
{
    if (uvap == NULL || backing == NULL || size == 0 || size % PAGE_SIZE != 0 || backing->offset % PAGE_SIZE != 0 ||
        (backing->pages != HVX_PAGES_ADVISE_HUGE && backing->pages != HVX_PAGES_SMALL))
        return HV_BAD_ARGUMENT;
    struct allocation *allocation = malloc(sizeof(*allocation));
    if (allocation == NULL)
        return HV_NO_RESOURCES;
    allocation->size = size;
    allocation->memory = host_memory_allocate(size, backing);
    if (allocation->memory == NULL) {
        const hv_return_t result = allocation_error(errno);
        free(allocation);
        return result;
    }
    *uvap = allocation->memory;
    pthread_mutex_lock(&process.lock);
    allocation->next = process.allocations;
    process.allocations = allocation;
    pthread_mutex_unlock(&process.lock);
    return HV_SUCCESS;
}

hv_return_t hv_vm_allocate(void **uvap, size_t size, hv_allocate_flags_t flags)
{
    static const hvx_backing_t anonymous = {.fd = -1};

    return flags != HV_ALLOCATE_DEFAULT ? HV_BAD_ARGUMENT : hvx_vm_allocate_backed(uvap, size, &anonymous);
}

/* Whether a guest has part of a host range. With process.lock held. */
static bool is_guest_mapped(const uint8_t *memory, size_t size)
{
    struct vm *vm = process.vm;
    bool found = false;

    if (vm == NULL)
        return false;
    pthread_mutex_lock(&vm->lock);
    for (size_t i = 0; i < VM_SPACE_MAX && !found; i++) {
        const struct region *region = NULL;
        if (vm->spaces[i] != NULL)
            region = region_map_find(vm->spaces[i]->map, 0);
        while (region != NULL && !found) {
            found = region->hva < memory + size && memory < region->hva + region->size;
            region = region_map_find(vm->spaces[i]->map, region_end(region));
        }
    }
    pthread_mutex_unlock(&vm->lock);
    return found;
}

hv_return_t hv_vm_deallocate(void *uva, size_t size)
{
    hv_return_t result = HV_BAD_ARGUMENT;
    struct allocation *freed = NULL;

    pthread_mutex_lock(&process.lock);
    for (struct allocation **link = &process.allocations; *link != NULL; link = &(*link)->next) {
        if ((*link)->memory != uva || (*link)->size != size)
            continue;
        if (is_guest_mapped(uva, size)) {
            result = HV_BUSY;
        } else {
            freed = *link;
            *link = freed->next;
            result = HV_SUCCESS;
        }
        break;
    }
    pthread_mutex_unlock(&process.lock);
    if (freed != NULL) {
        host_memory_free(freed->memory, freed->size);
        free(freed);
    }
    return result;
}

/* ---- KVM ---- */

hv_return_t hvx_system_kvm_fd(int *fd)
{
    struct vm *vm = vm_lock();

    if (vm == NULL)
        return HV_NO_DEVICE;
    if (fd != NULL)
        *fd = vm->kvm.fd;
    vm_unlock(vm);
    return fd != NULL ? HV_SUCCESS : HV_BAD_ARGUMENT;
}

hv_return_t hvx_vm_kvm_fd(int *fd)
{
    struct vm *vm = vm_lock();

    if (vm == NULL)
        return HV_NO_DEVICE;
    if (fd != NULL)
        *fd = kvm_slots_vm_fd(vm->slots[HV_VM_SPACE_DEFAULT]);
    vm_unlock(vm);
    return fd != NULL ? HV_SUCCESS : HV_BAD_ARGUMENT;
}
