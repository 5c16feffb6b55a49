#include "vmm/machine/guest_ram.h"

#include <Hypervisor/hvx.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- What is behind it ---- */

static int open_memfd(const struct config *config, struct error *error)
{
    static const unsigned flags_of[] = {
        [CONFIG_PAGES_2MIB] = MFD_HUGETLB | MFD_HUGE_2MB,
        [CONFIG_PAGES_1GIB] = MFD_HUGETLB | MFD_HUGE_1GB,
    };

    int fd = memfd_create("guest RAM", MFD_CLOEXEC | flags_of[config->memory.pages]);
    if (fd < 0)
        return config_error(config, CONFIG_MEMORY_PAGES, error, "the host has no such pages: %s", strerror(errno));
    if (ftruncate(fd, (off_t)config->memory.size) == 0)
        return fd;
    close(fd);
    return error_set(error, ERROR_HOST, "the host gives no file in memory of that size: %s", strerror(errno));
}

static int open_file(const struct config *config, struct error *error)
{
    struct stat status;

    int fd = open(config->memory.path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (fd < 0)
        return config_error(config, CONFIG_MEMORY_PATH, error, "%s: %s", config->memory.path, strerror(errno));
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
        ((uint64_t)status.st_size >= config->memory.size || ftruncate(fd, (off_t)config->memory.size) == 0))
        return fd;
    config_error(config, CONFIG_MEMORY_PATH, error, "%s: %s", config->memory.path,
                 S_ISREG(status.st_mode) ? strerror(errno) : "not a regular file; name one, or one to be made");
    close(fd);
    return -1;
}

/* The descriptor for the configured backing in *ret_fd, or -1 there for anonymous memory. */
static int open_backing(const struct config *config, int *ret_fd, struct error *error)
{
    *ret_fd = -1;
    if (config->memory.backing == CONFIG_BACKING_ANONYMOUS)
        return 0;
    *ret_fd = config->memory.backing == CONFIG_BACKING_MEMFD ? open_memfd(config, error) : open_file(config, error);
    return *ret_fd < 0 ? -1 : 0;
}

static int allocate(struct guest_ram *ram, const struct config *config, struct error *error)
{
    hvx_backing_t backing = {
        .pages = config->memory.pages == CONFIG_PAGES_SMALL ? HVX_PAGES_SMALL : HVX_PAGES_ADVISE_HUGE,
        .prefault = config->memory.populate == CONFIG_POPULATE_PREFAULT,
    };

    if (open_backing(config, &backing.fd, error) < 0)
        return -1;
    const hv_return_t result = hvx_vm_allocate_backed(&ram->memory, config->memory.size, &backing);
    if (backing.fd >= 0)
        close(backing.fd);
    if (result != HV_SUCCESS && config->memory.pages >= CONFIG_PAGES_2MIB)
        return config_error(config, CONFIG_MEMORY_PAGES, error,
                            "the host has too few such pages left; set more aside (sysctl vm.nr_hugepages), or choose "
                            "\"thp\"");
    if (result != HV_SUCCESS)
        return error_set(error, ERROR_HOST,
                         "the host cannot promise %llu MiB of memory for the guest; make memory.size smaller",
                         (unsigned long long)(config->memory.size >> 20));
    ram->size = config->memory.size;
    ram->is_shared = backing.fd >= 0;
    return 0;
}

/* ---- Where the guest has it ---- */

static int map(void *memory, uint64_t gpa, uint64_t size, hv_memory_flags_t flags, const char *name,
               struct error *error)
{
    const hv_return_t result = hvx_vm_map_space_named(HV_VM_SPACE_DEFAULT, memory, gpa, size, flags, name);

    if (result == HV_SUCCESS)
        return 0;
    return error_set(error, ERROR_HOST, "KVM refused %s at 0x%llx, %llu MiB (error 0x%x)", name,
                     (unsigned long long)gpa, (unsigned long long)(size >> 20), (unsigned)result);
}

static int map_ram(struct guest_ram *ram, struct error *error)
{
    const hv_memory_flags_t all = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;

    for (size_t i = 0; i < ram->layout.count; i++) {
        const struct layout_range *range = &ram->layout.ranges[i];
        const bool is_above = range->gpa >= LAYOUT_RAM_ABOVE_4G_GPA;
        const uint64_t offset = is_above ? range->gpa - LAYOUT_RAM_ABOVE_4G_GPA + LAYOUT_DEVICES_GPA : range->gpa;
        if (map((uint8_t *)ram->memory + offset, range->gpa, range->size, all, "ram", error) < 0)
            return -1;
    }
    return 0;
}

int guest_ram_create(struct guest_ram *ram, const struct config *config, struct error *error)
{
    memset(ram, 0, sizeof(*ram));
    ram_layout_compute(config->memory.size, &ram->layout);
    if (allocate(ram, config, error) < 0 || map_ram(ram, error) < 0)
        goto fail;
    if (hv_vm_allocate(&ram->rom, LAYOUT_ROM_SIZE, HV_ALLOCATE_DEFAULT) != HV_SUCCESS) {
        error_set(error, ERROR_HOST, "out of memory");
        goto fail;
    }
    if (map(ram->rom, LAYOUT_ROM_GPA, LAYOUT_ROM_SIZE, HV_MEMORY_READ | HV_MEMORY_EXEC, "rom", error) == 0)
        return 0;
fail:
    guest_ram_destroy(ram);
    return -1;
}

void guest_ram_destroy(struct guest_ram *ram)
{
    for (size_t i = 0; i < ram->layout.count; i++)
        hv_vm_unmap(ram->layout.ranges[i].gpa, ram->layout.ranges[i].size);
    hv_vm_unmap(LAYOUT_ROM_GPA, LAYOUT_ROM_SIZE);
    if (ram->memory != NULL)
        hv_vm_deallocate(ram->memory, ram->size);
    if (ram->rom != NULL)
        hv_vm_deallocate(ram->rom, LAYOUT_ROM_SIZE);
    memset(ram, 0, sizeof(*ram));
}

int guest_ram_clear(struct guest_ram *ram, struct error *error)
{
    /* Of a file it makes a hole, where the file system can. */
    if (madvise(ram->memory, ram->size, ram->is_shared ? MADV_REMOVE : MADV_DONTNEED) < 0) {
        if (!ram->is_shared)
            return error_set(error, ERROR_HOST, "the guest's memory cannot be cleared: %s", strerror(errno));
        memset(ram->memory, 0, ram->size);
    }
    if (madvise(ram->rom, LAYOUT_ROM_SIZE, MADV_DONTNEED) < 0)
        return error_set(error, ERROR_HOST, "the guest's ROM cannot be cleared: %s", strerror(errno));
    return 0;
}

static void *host_address(void *context, uint64_t gpa, uint64_t size)
{
    hvx_range_t range;

    (void)context;
    if (hvx_vm_query_space(HV_VM_SPACE_DEFAULT, gpa, &range) != HV_SUCCESS || range.gpa > gpa)
        return NULL;
    if (size > range.size - (gpa - range.gpa))
        return NULL;
    /* The client's own memory, whatever the API's type says. */
    return (uint8_t *)(uintptr_t)range.uva + (gpa - range.gpa);
}

struct guest_memory guest_ram_loader_view(void)
{
    return (struct guest_memory){.host_address = host_address};
}
