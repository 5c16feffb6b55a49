#include "vmm/machine/boot.h"

#include "loader/flat_image.h"
#include "vmm/machine/machine_memory.h"

#include <Hypervisor/hv.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* A vmlinux with all that a debugger wants has a gigabyte or two. */
static const uint64_t KERNEL_SIZE_MAX = 4ull << 30;
/* None of the modes that a flat binary is entered in reaches more. */
static const uint64_t FLAT_END = 4ull << 30;

/*
 * A whole file, read into memory of its own: a mapping of the file would change, or fault, when the file does. The
 * memory is hv_vm_allocate()'s because of the huge pages: reading 14 MB into small ones costs as much again as the
 * reading.
 */
struct file_bytes {
    void *data;
    size_t size;
    size_t allocated;
};

static int source_open(const char *path, struct error *error)
{
    struct stat status;

    /* O_NONBLOCK: a named pipe must not hold us up before we can say what is wrong with it. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(error, ERROR_CONFIG, "%s: %s", path, strerror(errno));
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        return fd;
    close(fd);
    return error_set(error, ERROR_CONFIG, "%s: not a regular file; give the image itself", path);
}

/* Opens what a key names; NULL: nothing, and -1 in *ret_fd. */
static int open_key(const struct config *config, enum config_key key, const char *path, int *ret_fd,
                    struct error *error)
{
    *ret_fd = -1;
    if (path == NULL)
        return 0;
    *ret_fd = source_open(path, error);
    return *ret_fd < 0 ? config_error(config, key, error, "%s", strdupa(error->text)) : 0;
}

int boot_sources_open(struct boot_sources *sources, const struct config *config, struct error *error)
{
    *sources = (struct boot_sources){.kernel_fd = -1, .initrd_fd = -1, .flat_fd = -1};
    if (open_key(config, CONFIG_BOOT_FLAT, config->boot.flat, &sources->flat_fd, error) == 0 &&
        open_key(config, CONFIG_BOOT_KERNEL, config->boot.kernel, &sources->kernel_fd, error) == 0 &&
        open_key(config, CONFIG_BOOT_INITRD, config->boot.initrd, &sources->initrd_fd, error) == 0)
        return 0;
    boot_sources_close(sources);
    return -1;
}

void boot_sources_close(struct boot_sources *sources)
{
    if (sources->kernel_fd >= 0)
        close(sources->kernel_fd);
    if (sources->initrd_fd >= 0)
        close(sources->initrd_fd);
    if (sources->flat_fd >= 0)
        close(sources->flat_fd);
    *sources = (struct boot_sources){.kernel_fd = -1, .initrd_fd = -1, .flat_fd = -1};
}

/* Reads up to size bytes from the file's start; a file that has become shorter gives what it has. -1 with errno. */
static ssize_t read_all(int fd, uint8_t *data, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got = pread(fd, data + done, size - done, (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static void file_free(struct file_bytes *bytes)
{
    if (bytes->data != NULL)
        hv_vm_deallocate(bytes->data, bytes->allocated);
}

/* limit: more bytes than that the image cannot have, and they are not read. */
static int file_read(int fd, const char *path, uint64_t limit, struct file_bytes *ret_bytes, struct error *error)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return error_set(error, ERROR_CONFIG, "%s: %s", path, strerror(errno));
    size_t size = (size_t)status.st_size;
    if (size == 0)
        return error_set(error, ERROR_CONFIG, "%s: the file is empty; give the image itself", path);
    if (size > limit)
        return error_set(error, ERROR_CONFIG,
                         "%s: the file has %zu bytes, and there is room for %" PRIu64 "; give a smaller one", path,
                         size, limit);
    struct file_bytes bytes = {.size = size, .allocated = (size + 4095) & ~(size_t)4095};
    if (bytes.allocated < size || hv_vm_allocate(&bytes.data, bytes.allocated, HV_ALLOCATE_DEFAULT) != HV_SUCCESS)
        return error_set(error, ERROR_HOST, "%s: no memory to read %zu bytes", path, size);
    ssize_t got = read_all(fd, bytes.data, size);
    if (got < 0)
        error_set(error, ERROR_CONFIG, "%s: %s", path, strerror(errno));
    else if ((size_t)got < size)
        error_set(error, ERROR_CONFIG, "%s: the file became shorter while it was read", path);
    if (got < 0 || (size_t)got < size) {
        file_free(&bytes);
        return -1;
    }
    *ret_bytes = bytes;
    return 0;
}

static enum firmware_tables tables_of(enum config_tables tables)
{
    switch (tables) {
    case CONFIG_TABLES_DEVICE_TREE:
        return FIRMWARE_DEVICE_TREE;
    case CONFIG_TABLES_NONE:
        return FIRMWARE_NONE;
    default:
        return FIRMWARE_ACPI;
    }
}

static enum elf_entry elf_entry_of(enum config_entry entry)
{
    switch (entry) {
    case CONFIG_ENTRY_LINUX64:
        return ELF_ENTRY_LINUX64;
    case CONFIG_ENTRY_PVH:
        return ELF_ENTRY_PVH;
    default:
        return ELF_ENTRY_AUTO;
    }
}

/* As file_read(), of what a key names. */
static int key_read(const struct config *config, enum config_key key, int fd, const char *path, uint64_t limit,
                    struct file_bytes *ret_bytes, struct error *error)
{
    if (file_read(fd, path, limit, ret_bytes, error) == 0)
        return 0;
    return config_error_of(config, key, error);
}

int boot_load(const struct boot_sources *sources, const struct config *config, const struct platform *platform,
              struct boot_entry *entry, struct error *error)
{
    struct file_bytes kernel = {0};
    struct file_bytes initrd = {0};
    struct guest_memory memory = machine_memory_loader_view(HV_VM_SPACE_DEFAULT);

    int result =
        key_read(config, CONFIG_BOOT_KERNEL, sources->kernel_fd, config->boot.kernel, KERNEL_SIZE_MAX, &kernel, error);
    if (result == 0 && sources->initrd_fd >= 0)
        result = key_read(config, CONFIG_BOOT_INITRD, sources->initrd_fd, config->boot.initrd, config->memory.size,
                          &initrd, error);
    if (result == 0) {
        struct boot_request request = {
            .files = {.kernel = kernel.data,
                      .kernel_size = kernel.size,
                      .kernel_name = config->boot.kernel,
                      .initrd = initrd.data,
                      .initrd_size = initrd.size,
                      .initrd_name = config->boot.initrd},
            .cmdline = config->boot.cmdline,
            .tables = tables_of(config->boot.tables),
            .elf_entry = elf_entry_of(config->boot.entry),
        };
        if (getrandom(request.rng_seed, sizeof(request.rng_seed), 0) == (ssize_t)sizeof(request.rng_seed))
            result = loader_load(&request, platform, &memory, entry, error);
        else
            result = error_set(error, ERROR_HOST, "the host has no random numbers: %s", strerror(errno));
        explicit_bzero(request.rng_seed, sizeof(request.rng_seed));
    }
    file_free(&initrd);
    file_free(&kernel);
    return result;
}

static enum flat_mode flat_mode_of(enum config_mode mode)
{
    switch (mode) {
    case CONFIG_MODE_REAL:
        return FLAT_REAL;
    case CONFIG_MODE_LONG:
        return FLAT_LONG;
    default:
        return FLAT_PROTECTED;
    }
}

/* Whether one of the vCPUs before this one starts in the same space. */
static bool is_loaded(const hv_vm_space_t *spaces, uint32_t vcpu)
{
    bool loaded = false;

    for (uint32_t i = 0; i < vcpu && !loaded; i++)
        loaded = spaces[i] == spaces[vcpu];
    return loaded;
}

int boot_load_flat(const struct boot_sources *sources, const struct config *config, const hv_vm_space_t *spaces,
                   struct boot_entry *entry, struct error *error)
{
    struct file_bytes bytes;

    if (key_read(config, CONFIG_BOOT_FLAT, sources->flat_fd, config->boot.flat, FLAT_END - config->boot.at, &bytes,
                 error) < 0)
        return -1;
    struct flat_image image = {
        .data = bytes.data,
        .size = bytes.size,
        .gpa = config->boot.at,
        .mode = flat_mode_of(config->boot.mode),
        .name = config->boot.flat,
    };
    int result = 0;
    for (uint32_t i = 0; i < config->cpu.count && result == 0; i++) {
        const struct guest_memory memory = machine_memory_loader_view(spaces[i]);
        image.space_name = i < config->lists.vcpu_count ? config->lists.vcpus[i].space : CONFIG_DEFAULT_SPACE;
        if (!is_loaded(spaces, i))
            result = flat_image_load(&image, &memory, entry, error);
    }
    if (result < 0)
        (void)config_error_of(config, CONFIG_BOOT_FLAT, error);
    file_free(&bytes);
    return result;
}
