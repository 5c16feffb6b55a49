#include "loader/loader.h"

#include "loader/decompress.h"
#include "loader/elf_image.h"
#include "loader/initrd.h"
#include "loader/kernel_image.h"
#include "loader/kernel_place.h"
#include "loader/x86/acpi.h"
#include "loader/x86/boot_params.h"
#include "loader/x86/device_tree.h"
#include "loader/x86/entry.h"
#include "loader/x86/pvh.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* boot.rst, "64-bit Boot Protocol": the entry's distance from the 32-bit one. */
#define BZIMAGE_ENTRY64_OFFSET 0x200u
/* boot.rst, "cmdline_size" before it was given. */
#define CMDLINE_MAX_DEFAULT 255u
/* Room for a word of the command line for each virtio device without PCI. */
#define VIRTIO_MMIO_WORDS_SIZE (LAYOUT_VIRTIO_MMIO_COUNT * 64u)

/* What loader_load() is about. */
struct load {
    const struct boot_request *request;
    const struct platform *platform;
    const struct guest_memory *memory;
    struct error *error;
};

struct loaded_kernel {
    struct setup_header header;
    enum boot_mode mode;
    uint64_t entry;
    /* One past what it occupies until it knows the memory map. */
    uint64_t end;
    /* Where a bzImage's own code lies; 0: only what it holds was loaded. */
    uint64_t code_gpa;
    const char *description;
    struct boot_segment segments[BOOT_SEGMENTS_MAX];
    size_t segment_count;
};

/* Remembers where an ELF's segments will be: in the upper half of the address space, where they are not yet. */
static void note_segments(struct loaded_kernel *kernel, const struct elf_image *image)
{
    for (size_t i = 0; i < image->segment_count && kernel->segment_count < BOOT_SEGMENTS_MAX; i++) {
        const struct elf_segment *segment = &image->segments[i];
        if (segment->linear >> 63 != 0)
            kernel->segments[kernel->segment_count++] =
                (struct boot_segment){.linear = segment->linear, .gpa = segment->gpa, .size = segment->memory_size};
    }
}

/*
 * For a kernel that has no other description of virtio devices: kernel-parameters.txt, "virtio_mmio.device". The words
 * come before the user's, in which a "--" may end the kernel's. Returns their length.
 */
static size_t make_virtio_mmio_words(const struct load *load, char words[VIRTIO_MMIO_WORDS_SIZE])
{
    unsigned count = load->request->tables == FIRMWARE_NONE ? load->platform->virtio_mmio_count : 0;
    size_t length = 0;

    assert(count <= LAYOUT_VIRTIO_MMIO_COUNT);
    for (unsigned i = 0; i < count; i++)
        length += (size_t)snprintf(words + length, VIRTIO_MMIO_WORDS_SIZE - length, "virtio_mmio.device=%uK@0x%x:%u ",
                                   LAYOUT_VIRTIO_MMIO_SIZE / 1024, LAYOUT_VIRTIO_MMIO_GPA + i * LAYOUT_VIRTIO_MMIO_SIZE,
                                   layout_virtio_mmio_gsi(i, false));
    assert(length < VIRTIO_MMIO_WORDS_SIZE);
    return length;
}

static int write_cmdline(const struct load *load, const struct setup_header *header)
{
    const char *cmdline = load->request->cmdline ? load->request->cmdline : "";
    char words[VIRTIO_MMIO_WORDS_SIZE];
    size_t words_length = make_virtio_mmio_words(load, words);
    size_t length = words_length + strlen(cmdline);
    size_t length_max = header->cmdline_size ? header->cmdline_size : CMDLINE_MAX_DEFAULT;
    void *address;

    if (length_max > LAYOUT_CMDLINE_MAX_SIZE - 1)
        length_max = LAYOUT_CMDLINE_MAX_SIZE - 1;
    if (length > length_max)
        return error_set(load->error, ERROR_CONFIG,
                         "the kernel command line has %zu characters, and %s takes %zu; shorten it", length,
                         load->request->files.kernel_name, length_max);
    if (guest_memory_find(load->memory, LAYOUT_CMDLINE_GPA, length + 1, &address, load->error))
        return -1;
    memcpy(address, words, words_length);
    memcpy((char *)address + words_length, cmdline, length + 1 - words_length);
    return 0;
}

static const char *bzimage_description(enum payload_format format)
{
    static const char *const names[] = {
        [PAYLOAD_UNKNOWN] = "bzImage, its own decompressor",
        [PAYLOAD_GZIP] = "bzImage, gzip payload",
        [PAYLOAD_XZ] = "bzImage, xz payload",
        [PAYLOAD_LZ4] = "bzImage, lz4 payload",
        [PAYLOAD_ZSTD] = "bzImage, zstd payload",
    };
    return names[format];
}

/* The old way: the image's own code, which unpacks the kernel in the guest. */
static int place_bzimage_code(const struct load *load, const struct bzimage *image, struct loaded_kernel *kernel)
{
    bool movable = image->header.relocatable_kernel && image->header.pref_address;
    uint64_t gpa = movable ? image->header.pref_address : LAYOUT_HIGH_RAM_GPA;
    bool has_entry64 = image->header.xloadflags & XLF_KERNEL_64;
    uint64_t size = image->protected_mode_size;
    void *address;

    if (has_entry64 && image->protected_mode_size <= BZIMAGE_ENTRY64_OFFSET)
        return error_set(
            load->error, ERROR_CONFIG,
            "its header lies: it has a 64-bit entry at 0x%x, and there are %zu bytes of code; get it again",
            BZIMAGE_ENTRY64_OFFSET, image->protected_mode_size);
    if (size < image->header.init_size)
        size = image->header.init_size;
    if (kernel_place_check(load->platform, gpa, size, load->error) ||
        guest_memory_find(load->memory, gpa, size, &address, load->error))
        return -1;
    memcpy(address, image->protected_mode, image->protected_mode_size);
    kernel->mode = has_entry64 ? BOOT_LINUX_64 : BOOT_LINUX_32;
    kernel->entry = gpa + (has_entry64 ? BZIMAGE_ENTRY64_OFFSET : 0);
    kernel->code_gpa = gpa;
    if (kernel->end < gpa + size)
        kernel->end = gpa + size;
    kernel->description = bzimage_description(PAYLOAD_UNKNOWN);
    return 0;
}

/* 1: the payload cannot be entered without the image's own code. */
static int place_bzimage_payload(const struct load *load, const struct bzimage *image, struct loaded_kernel *kernel)
{
    enum payload_format format = payload_format_find(image->payload, image->payload_size);
    struct elf_image elf;

    if (format == PAYLOAD_UNKNOWN)
        return 1;
    int result = kernel_place_payload(format, image->payload, image->payload_size, image->header.pref_address,
                                      load->platform, load->memory, &elf, load->error);
    if (result)
        return result;
    if (!elf_image_contains(&elf, elf.entry))
        return error_set(load->error, ERROR_CONFIG,
                         "the kernel in it has its entry at 0x%" PRIx64 ", outside of all its segments; get it again",
                         elf.entry);
    kernel->mode = BOOT_LINUX_64;
    kernel->entry = elf.entry;
    if (kernel->end < elf_image_end(&elf))
        kernel->end = elf_image_end(&elf);
    kernel->description = bzimage_description(format);
    note_segments(kernel, &elf);
    return 0;
}

static int load_bzimage(const struct load *load, struct loaded_kernel *kernel)
{
    const struct boot_files *files = &load->request->files;
    struct bzimage image;

    if (bzimage_parse(files->kernel, files->kernel_size, &image, load->error))
        return -1;
    kernel->header = image.header;
    /* Wherever it is entered, the kernel needs this much from its preferred address on (boot.rst, "init_size"). */
    if (image.header.init_size) {
        if (kernel_place_check(load->platform, image.header.pref_address, image.header.init_size, load->error))
            return -1;
        kernel->end = image.header.pref_address + image.header.init_size;
    }
    int result = place_bzimage_payload(load, &image, kernel);
    return result == 1 ? place_bzimage_code(load, &image, kernel) : result;
}

static int choose_elf_entry(const struct load *load, const struct elf_image *image, struct loaded_kernel *kernel)
{
    enum elf_entry choice = load->request->elf_entry;
    bool has_linux64 = image->is_64bit && elf_image_contains(image, image->entry);
    bool has_pvh = image->has_pvh_entry && elf_image_contains(image, image->pvh_entry);

    if (has_linux64 && choice != ELF_ENTRY_PVH) {
        kernel->mode = BOOT_LINUX_64;
        kernel->entry = image->entry;
        kernel->description = "ELF, 64-bit entry";
        return 0;
    }
    if (has_pvh && choice != ELF_ENTRY_LINUX64) {
        kernel->mode = BOOT_PVH;
        kernel->entry = image->pvh_entry;
        kernel->description = "ELF, PVH entry";
        return 0;
    }
    if (choice == ELF_ENTRY_LINUX64)
        return error_set(load->error, ERROR_CONFIG,
                         "it has no 64-bit entry at a physical address; choose its PVH entry or another kernel");
    return error_set(load->error, ERROR_CONFIG, "it has no %sPVH entry (a kernel has one with CONFIG_PVH)",
                     choice == ELF_ENTRY_PVH ? "" : "64-bit entry at a physical address, and no ");
}

static int load_elf(const struct load *load, struct loaded_kernel *kernel)
{
    const struct boot_files *files = &load->request->files;
    struct elf_image image;

    if (elf_image_parse(files->kernel, files->kernel_size, &image, load->error) ||
        choose_elf_entry(load, &image, kernel))
        return -1;
    boot_params_header_default(&kernel->header);
    kernel->end = elf_image_end(&image);
    note_segments(kernel, &image);
    return kernel_place_segments(&image, files->kernel, load->platform, load->memory, load->error);
}

static int load_kernel(const struct load *load, struct loaded_kernel *kernel)
{
    const struct boot_files *files = &load->request->files;
    enum kernel_kind kind;

    *kernel = (struct loaded_kernel){0};
    if (kernel_image_identify(files->kernel, files->kernel_size, &kind, load->error) ||
        (kind == KERNEL_ELF ? load_elf(load, kernel) : load_bzimage(load, kernel)))
        return error_prefix(load->error, "kernel %s", files->kernel_name);
    return 0;
}

static int load_initrd(const struct load *load, const struct loaded_kernel *kernel, struct layout_range *ret_range)
{
    const struct boot_files *files = &load->request->files;

    if (initrd_load(files, load->platform, load->memory, kernel->end, kernel->header.initrd_addr_max, ret_range,
                    load->error))
        return error_prefix(load->error, "initrd %s", files->initrd_name);
    return 0;
}

static int add_rng_seed(const struct load *load, struct setup_data_chain *chain)
{
    void *seed;

    if (setup_data_add(chain, load->memory, SETUP_RNG_SEED, sizeof(load->request->rng_seed), &seed, load->error))
        return -1;
    memcpy(seed, load->request->rng_seed, sizeof(load->request->rng_seed));
    return 0;
}

static int add_device_tree(const struct load *load, const struct layout_range *initrd, struct setup_data_chain *chain)
{
    const char *cmdline = load->request->cmdline ? load->request->cmdline : "";
    size_t size = device_tree_size_max(load->platform, cmdline);
    void *tree;

    if (setup_data_add(chain, load->memory, SETUP_DTB, size, &tree, load->error))
        return -1;
    return device_tree_write(load->platform, cmdline, initrd, tree, size, load->error);
}

static int write_setup_data(const struct load *load, const struct loaded_kernel *kernel,
                            const struct layout_range *initrd, struct setup_data_chain *chain)
{
    bool wants_tree = load->request->tables == FIRMWARE_DEVICE_TREE;

    if (kernel->header.version < BZIMAGE_PROTOCOL_SETUP_DATA)
        return wants_tree ? error_set(load->error, ERROR_CONFIG,
                                      "kernel %s is too old for a device tree (boot protocol 2.09); choose ACPI",
                                      load->request->files.kernel_name)
                          : 0;
    if (add_rng_seed(load, chain))
        return -1;
    return wants_tree ? add_device_tree(load, initrd, chain) : 0;
}

static int write_linux_data(const struct load *load, const struct loaded_kernel *kernel,
                            const struct layout_range *initrd, uint64_t rsdp_gpa, struct boot_entry *entry)
{
    struct setup_data_chain chain = {0};

    if (write_setup_data(load, kernel, initrd, &chain))
        return -1;
    const struct boot_params_request request = {.header = &kernel->header,
                                                .platform = load->platform,
                                                .rsdp_gpa = rsdp_gpa,
                                                .setup_data_gpa = chain.first_gpa,
                                                .initrd = *initrd,
                                                .code_gpa = kernel->code_gpa};
    entry->argument = LAYOUT_BOOT_PARAMS_GPA;
    return boot_params_write(&request, load->memory, load->error);
}

static int write_pvh_data(const struct load *load, const struct layout_range *initrd, uint64_t rsdp_gpa,
                          struct boot_entry *entry)
{
    if (load->request->tables == FIRMWARE_DEVICE_TREE)
        return error_set(load->error, ERROR_CONFIG,
                         "kernel %s is entered by PVH, which has no place for a device tree; choose ACPI",
                         load->request->files.kernel_name);
    entry->argument = LAYOUT_PVH_START_INFO_GPA;
    return pvh_write(load->platform, initrd, rsdp_gpa, load->memory, load->error);
}

int loader_load(const struct boot_request *request, const struct platform *platform, const struct guest_memory *memory,
                struct boot_entry *entry, struct error *error)
{
    const struct load load = {.request = request, .platform = platform, .memory = memory, .error = error};
    struct loaded_kernel kernel;
    struct layout_range initrd;
    uint64_t rsdp_gpa = 0;

    if (load_kernel(&load, &kernel) || write_cmdline(&load, &kernel.header) || load_initrd(&load, &kernel, &initrd))
        return -1;
    if (request->tables == FIRMWARE_ACPI && acpi_write(platform, memory, &rsdp_gpa, error))
        return -1;
    *entry = (struct boot_entry){.mode = kernel.mode,
                                 .rip = kernel.entry,
                                 .description = kernel.description,
                                 .segment_count = kernel.segment_count};
    memcpy(entry->segments, kernel.segments, sizeof(kernel.segments));
    if (kernel.mode == BOOT_PVH ? write_pvh_data(&load, &initrd, rsdp_gpa, entry)
                                : write_linux_data(&load, &kernel, &initrd, rsdp_gpa, entry))
        return -1;
    return entry_write(platform, memory, entry, error);
}
