#include "vmm/machine/machine_memory.h"

#include "vmm/config/config.h"

#include <Hypervisor/hvx.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- What is behind it ---- */

/* For whom memory is, and what the user calls the key that is wrong. */
struct source {
    const struct config *config;
    const struct plan_memory *memory;
    struct error *error;
};

/* Says what is wrong with one of the keys that [memory] and a range have both. */
__attribute__((format(printf, 4, 5))) static int fail(const struct source *source, enum config_key ram_key,
                                                      enum config_range_key range_key, const char *format, ...)
{
    static const char *const names[CONFIG_RANGE_KEY_COUNT] = {
        [CONFIG_RANGE_SIZE] = "range.size",
        [CONFIG_RANGE_PATH] = "range.path",
        [CONFIG_RANGE_PAGES] = "range.pages",
        [CONFIG_RANGE_NODE] = "range.node",
    };
    const struct config_range *range = source->memory->range;
    char text[400];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (range == NULL)
        return config_error(source->config, ram_key, source->error, "%s", text);
    return config_error_at(source->config, &range->positions[range_key], names[range_key], source->error, "%s", text);
}

static int open_memfd(const struct source *source)
{
    static const unsigned flags_of[] = {
        [CONFIG_PAGES_2MIB] = MFD_HUGETLB | MFD_HUGE_2MB,
        [CONFIG_PAGES_1GIB] = MFD_HUGETLB | MFD_HUGE_1GB,
    };

    int fd = memfd_create(source->memory->name, MFD_CLOEXEC | flags_of[source->memory->host->pages]);
    if (fd < 0)
        return fail(source, CONFIG_MEMORY_PAGES, CONFIG_RANGE_PAGES, "the host has no such pages: %s", strerror(errno));
    if (ftruncate(fd, (off_t)source->memory->size) == 0)
        return fd;
    close(fd);
    return error_set(source->error, ERROR_HOST, "the host gives no file in memory of that size: %s", strerror(errno));
}

static int fail_room(const struct source *source)
{
    return fail(source, CONFIG_MEMORY_PATH, CONFIG_RANGE_PATH,
                "%s: its file system has no room for %" PRIu64 " MiB; make room, or make the memory smaller",
                source->memory->host->path, source->memory->size >> 20);
}

/* Whether all of the file fits the file system. The guest's first write to a page that does not would be SIGBUS. */
static bool has_room(int fd, uint64_t size)
{
    struct stat status;
    struct statvfs filesystem;

    /* f_blocks 0: there is no limit. */
    if (fstat(fd, &status) < 0 || fstatvfs(fd, &filesystem) < 0 || filesystem.f_blocks == 0)
        return true;
    const uint64_t has = (uint64_t)status.st_blocks * 512;
    const uint64_t missing = has < size ? size - has : 0;
    return (missing + filesystem.f_frsize - 1) / filesystem.f_frsize <= filesystem.f_bavail;
}

static int size_file(const struct source *source, int fd)
{
    const char *path = source->memory->host->path;
    const uint64_t size = source->memory->size;
    struct stat status;

    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return fail(source, CONFIG_MEMORY_PATH, CONFIG_RANGE_PATH,
                    "%s: not a regular file; name one, or one to be made", path);
    if (!has_room(fd, size))
        return fail_room(source);
    if ((uint64_t)status.st_size >= size || ftruncate(fd, (off_t)size) == 0)
        return 0;
    return fail(source, CONFIG_MEMORY_PATH, CONFIG_RANGE_PATH,
                "%s: cannot have %" PRIu64 " MiB: %s; name another, or make the memory smaller", path, size >> 20,
                strerror(errno));
}

/* *ret_made: there was none, and this has made it. */
static int open_file(const struct source *source, bool *ret_made)
{
    const int flags = O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    const char *path = source->memory->host->path;

    int fd = open(path, flags);
    if (fd < 0 && errno == ENOENT) {
        fd = open(path, flags | O_CREAT | O_EXCL, 0600);
        *ret_made = fd >= 0;
    }
    /* A symbolic link to what is not there yet, or somebody else has made it meanwhile. */
    if (fd < 0 && errno == EEXIST)
        fd = open(path, flags | O_CREAT, 0600);
    if (fd < 0)
        return fail(source, CONFIG_MEMORY_PATH, CONFIG_RANGE_PATH, "%s: %s; name another", path, strerror(errno));
    if (size_file(source, fd) == 0)
        return fd;
    close(fd);
    return -1;
}

/* The descriptor for the configured backing in *ret_fd, or -1 there for anonymous memory. */
static int open_backing(const struct source *source, int *ret_fd, bool *ret_made)
{
    *ret_fd = -1;
    if (source->memory->host->backing == CONFIG_BACKING_ANONYMOUS)
        return 0;
    *ret_fd = source->memory->host->backing == CONFIG_BACKING_MEMFD ? open_memfd(source) : open_file(source, ret_made);
    return *ret_fd < 0 ? -1 : 0;
}

static int fail_allocation(const struct source *source, int fd)
{
    const struct config_host_memory *host = source->memory->host;

    if (host->pages == CONFIG_PAGES_2MIB || host->pages == CONFIG_PAGES_1GIB)
        return fail(source, CONFIG_MEMORY_PAGES, CONFIG_RANGE_PAGES,
                    "the host has too few such pages left; set more aside (sysctl vm.nr_hugepages), or choose \"thp\"");
    if (host->node != CONFIG_NOT_GIVEN)
        return fail(source, CONFIG_MEMORY_NODE, CONFIG_RANGE_NODE,
                    "the host has no such node, or not that much memory on it; leave it out, or see lscpu for others");
    if (host->backing == CONFIG_BACKING_FILE && !has_room(fd, source->memory->size))
        return fail_room(source);
    return fail(source, CONFIG_MEMORY_SIZE, CONFIG_RANGE_SIZE,
                "the host cannot promise %" PRIu64 " MiB of memory; make it smaller", source->memory->size >> 20);
}

static int allocate(const struct source *source, void **ret_memory, bool *ret_made)
{
    const struct config_host_memory *host = source->memory->host;

    if (host == NULL) {
        if (hv_vm_allocate(ret_memory, source->memory->size, HV_ALLOCATE_DEFAULT) == HV_SUCCESS)
            return 0;
        return error_set(source->error, ERROR_HOST, "out of memory");
    }
    hvx_backing_t backing = {
        .pages = host->pages == CONFIG_PAGES_SMALL ? HVX_PAGES_SMALL : HVX_PAGES_ADVISE_HUGE,
        .prefault = host->populate == CONFIG_POPULATE_PREFAULT,
        .has_node = host->node != CONFIG_NOT_GIVEN,
        .node = host->node,
    };
    if (open_backing(source, &backing.fd, ret_made) < 0)
        return -1;
    int result = 0;
    if (hvx_vm_allocate_backed(ret_memory, source->memory->size, &backing) != HV_SUCCESS)
        result = fail_allocation(source, backing.fd);
    if (backing.fd >= 0)
        close(backing.fd);
    return result;
}

/* Where one of them fails, the files that were made for it and those before it go again. */
static int allocate_all(struct machine_memory *memory, struct error *error)
{
    const struct memory_plan *plan = memory->plan;
    bool *is_made = calloc(plan->memory_count, sizeof(*is_made));
    int result = 0;

    if (is_made == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    for (size_t i = 0; i < plan->memory_count && result == 0; i++) {
        const struct source source = {.config = plan->config, .memory = &plan->memories[i], .error = error};
        result = allocate(&source, &memory->memories[i], &is_made[i]);
    }
    for (size_t i = 0; i < plan->memory_count && result < 0; i++)
        if (is_made[i])
            (void)unlink(plan->memories[i].host->path);
    free(is_made);
    return result;
}

/* ---- Where the guest has it ---- */

static int map_range(const struct machine_memory *memory, size_t space, const struct plan_range *range,
                     struct error *error)
{
    uint8_t *address = (uint8_t *)memory->memories[range->memory] + range->offset;
    const hv_vm_space_t id = memory->spaces[space];

    hv_return_t result = hvx_vm_map_space_named(id, address, range->gpa, range->size, range->flags, range->name);
    if (result == HV_SUCCESS && range->policy != HVX_POLICY_CLIENT)
        result = hvx_vm_set_policy(id, range->gpa, range->size, range->policy);
    if (result == HV_SUCCESS)
        return 0;
    return error_set(error, ERROR_HOST,
                     "KVM refused \"%s\" of space \"%s\" at 0x%" PRIx64 ", %" PRIu64 " KiB (error 0x%x)", range->name,
                     memory->plan->spaces[space].name, range->gpa, range->size >> 10, (unsigned)result);
}

/* Makes the next space of the plan, and fills it. */
static int make_space(struct machine_memory *memory, struct error *error)
{
    const size_t index = memory->space_count;
    const struct plan_space *space = &memory->plan->spaces[index];
    hv_return_t result = HV_SUCCESS;

    memory->spaces[index] = HV_VM_SPACE_DEFAULT;
    if (index > 0)
        result = hv_vm_space_create(&memory->spaces[index]);
    if (result == HV_SUCCESS) {
        memory->space_count++;
        if (space->is_strict)
            result = hvx_vm_space_set_strict(memory->spaces[index], true);
    }
    if (result != HV_SUCCESS)
        return error_set(error, ERROR_HOST, "there can be no space \"%s\" (error 0x%x)", space->name, (unsigned)result);
    for (size_t i = 0; i < space->count; i++)
        if (map_range(memory, index, &space->ranges[i], error) < 0)
            return -1;
    return 0;
}

int machine_memory_create(struct machine_memory *memory, const struct memory_plan *plan, struct error *error)
{
    int result = 0;

    *memory = (struct machine_memory){.plan = plan};
    memory->memories = calloc(plan->memory_count, sizeof(*memory->memories));
    memory->spaces = calloc(plan->space_count, sizeof(*memory->spaces));
    if (memory->memories == NULL || memory->spaces == NULL)
        result = error_set(error, ERROR_HOST, "out of memory");
    if (result == 0)
        result = allocate_all(memory, error);
    while (result == 0 && memory->space_count < plan->space_count)
        result = make_space(memory, error);
    if (result < 0)
        machine_memory_destroy(memory);
    return result;
}

void machine_memory_destroy(struct machine_memory *memory)
{
    /* A space that a vCPU has ended in stays, and ends with the VM. */
    for (size_t i = memory->space_count; i-- > 0;) {
        hv_vm_unmap_space(memory->spaces[i], 0, 1ull << 48);
        if (i > 0)
            hv_vm_space_destroy(memory->spaces[i]);
    }
    for (size_t i = 0; memory->memories != NULL && i < memory->plan->memory_count; i++)
        if (memory->memories[i] != NULL)
            hv_vm_deallocate(memory->memories[i], memory->plan->memories[i].size);
    free(memory->memories);
    free(memory->spaces);
    *memory = (struct machine_memory){0};
}

/* ---- A reset ---- */

static bool is_shared(const struct plan_memory *planned)
{
    return planned->host != NULL && planned->host->backing != CONFIG_BACKING_ANONYMOUS;
}

/* A file besides the RAM's is there for what it holds. */
static bool is_kept(const struct plan_memory *planned)
{
    return planned->range != NULL && planned->host->backing == CONFIG_BACKING_FILE;
}

int machine_memory_clear(struct machine_memory *memory, struct error *error)
{
    for (size_t i = 0; i < memory->plan->memory_count; i++) {
        const struct plan_memory *planned = &memory->plan->memories[i];
        if (is_kept(planned))
            continue;
        /* Of a file it makes a hole, where the file system can. */
        if (madvise(memory->memories[i], planned->size, is_shared(planned) ? MADV_REMOVE : MADV_DONTNEED) == 0)
            continue;
        if (!is_shared(planned))
            return error_set(error, ERROR_HOST, "the guest's memory cannot be cleared: %s", strerror(errno));
        memset(memory->memories[i], 0, planned->size);
    }
    return 0;
}

const char *machine_memory_space_name(const struct machine_memory *memory, hv_vm_space_t space)
{
    for (size_t i = 0; i < memory->space_count; i++)
        if (memory->spaces[i] == space)
            return memory->plan->spaces[i].name;
    return "?";
}

/* ---- The loader ---- */

/* Of a range, what lies from gpa on; false: there is nothing at gpa. */
static bool find_rest(hv_vm_space_t space, uint64_t gpa, uint8_t **ret_address, uint64_t *ret_size)
{
    hvx_range_t range;

    if (hvx_vm_query_space(space, gpa, &range) != HV_SUCCESS || range.gpa > gpa)
        return false;
    /* The client's own memory, whatever the API's type says. */
    *ret_address = (uint8_t *)(uintptr_t)range.uva + (gpa - range.gpa);
    *ret_size = range.size - (gpa - range.gpa);
    return true;
}

/* A debugger's traps cut ranges, whose memory still is in one piece. */
static void *host_address(void *context, uint64_t gpa, uint64_t size)
{
    const hv_vm_space_t space = (hv_vm_space_t)(uintptr_t)context;
    uint8_t *address, *next;
    uint64_t found, more;

    if (!find_rest(space, gpa, &address, &found))
        return NULL;
    while (found < size) {
        if (!find_rest(space, gpa + found, &next, &more) || next != address + found)
            return NULL;
        found += more;
    }
    return address;
}

struct guest_memory machine_memory_loader_view(hv_vm_space_t space)
{
    return (struct guest_memory){.host_address = host_address, .context = (void *)(uintptr_t)space};
}
