#include "loader/kernel_place.h"

#include <elf.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

/* Where Linux's linker script puts the first segment in the file: its largest page size. */
#define VMLINUX_FIRST_OFFSET MIB(2)
/* CONFIG_PHYSICAL_START of nearly every kernel, for those too old to say. */
#define DEFAULT_KERNEL_GPA MIB(16)

uint64_t kernel_place_ram_end(const struct ram_layout *ram)
{
    for (size_t i = 0; i < ram->count; i++) {
        if (ram->ranges[i].gpa == LAYOUT_HIGH_RAM_GPA)
            return LAYOUT_HIGH_RAM_GPA + ram->ranges[i].size;
    }
    return LAYOUT_HIGH_RAM_GPA;
}

static uint64_t mib_up(uint64_t size)
{
    return size / MIB(1) + (size % MIB(1) != 0);
}

int kernel_place_check(const struct platform *platform, uint64_t gpa, uint64_t size, struct error *error)
{
    uint64_t ram_end = kernel_place_ram_end(&platform->ram);
    uint64_t end;

    if (__builtin_add_overflow(gpa, size, &end) || end > LAYOUT_DEVICES_GPA)
        return error_set(error, ERROR_CONFIG,
                         "it wants 0x%" PRIx64 " bytes of RAM at 0x%" PRIx64 ", and kernels have to lie between 0x%x "
                         "and 0x%x; link it elsewhere",
                         size, gpa, LAYOUT_HIGH_RAM_GPA, LAYOUT_DEVICES_GPA);
    if (gpa < LAYOUT_HIGH_RAM_GPA)
        return error_set(error, ERROR_CONFIG,
                         "it wants to lie at 0x%" PRIx64 ", and below 1 MiB there is the boot data; link it elsewhere",
                         gpa);
    if (end > ram_end)
        return error_set(error, ERROR_CONFIG,
                         "it needs %" PRIu64 " MiB of memory, and the machine has %" PRIu64 " MiB; give it more",
                         mib_up(end), ram_end / MIB(1));
    return 0;
}

/* All at once, so that the error names what the whole kernel needs. */
static int check_segments(const struct elf_image *image, const struct platform *platform, struct error *error)
{
    uint64_t start = image->segments[0].gpa;

    return kernel_place_check(platform, start, elf_image_end(image) - start, error);
}

int kernel_place_segments(const struct elf_image *image, const void *file, const struct platform *platform,
                          const struct guest_memory *memory, struct error *error)
{
    if (check_segments(image, platform, error))
        return -1;
    for (size_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *segment = &image->segments[i];
        void *address;

        if (guest_memory_find(memory, segment->gpa, segment->memory_size, &address, error))
            return -1;
        memcpy(address, (const uint8_t *)file + segment->file_offset, segment->file_size);
    }
    return 0;
}

/*
 * Where a payload is unpacked to. Guest memory if it can be, in such a way that the largest segments need not move:
 *
 *   file    | headers | first segment .......... | second | symbols |
 *   guest   | area    ^ preferred_gpa
 */
struct unpack_area {
    uint8_t *address;
    size_t size;
    /* Where it is in the guest; 0: it is in the host only. */
    uint64_t gpa;
};

/* NULL with an ERROR_HOST where there is no memory. */
static uint8_t *map_scratch(size_t size, struct error *error)
{
    void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (address != MAP_FAILED)
        return address;
    error_set(error, ERROR_HOST, "there is no memory to unpack it: %" PRIu64 " MiB are needed", mib_up(size));
    return NULL;
}

static int area_choose(struct unpack_area *area, uint64_t preferred_gpa, const struct platform *platform,
                       const struct guest_memory *memory, struct error *error)
{
    uint64_t gpa = (preferred_gpa ? preferred_gpa : DEFAULT_KERNEL_GPA) - VMLINUX_FIRST_OFFSET;
    struct error ignored;

    if (kernel_place_check(platform, gpa, area->size, &ignored) == 0) {
        area->address = memory->host_address(memory->context, gpa, area->size);
        area->gpa = gpa;
        if (area->address)
            return 0;
    }
    area->gpa = 0;
    area->address = map_scratch(area->size, error);
    return area->address ? 0 : -1;
}

static void area_release(struct unpack_area *area)
{
    if (!area->gpa)
        (void)munmap(area->address, area->size);
}

/* Takes the unpacked file out of guest memory again. */
static int area_leave_guest(struct unpack_area *area, struct error *error)
{
    uint8_t *scratch = map_scratch(area->size, error);

    if (!scratch)
        return -1;
    memcpy(scratch, area->address, area->size);
    memset(area->address, 0, area->size);
    area->address = scratch;
    area->gpa = 0;
    return 0;
}

/*
 * Whether no segment has to move up. They move in ascending order, so each then lands below where all later ones come
 * from.
 */
static bool segments_move_down(const struct elf_image *image, uint64_t file_gpa)
{
    for (size_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *segment = &image->segments[i];

        if (segment->file_size && segment->gpa > file_gpa + segment->file_offset)
            return false;
    }
    return true;
}

/* Zeroes the area where no segment's bytes have come to lie. base: the host's address of the guest's address 0. */
static void area_clear_rest(const struct unpack_area *area, const struct elf_image *image, uint8_t *base)
{
    uint64_t end = area->gpa + area->size;
    uint64_t position = area->gpa;

    for (size_t i = 0; i < image->segment_count && position < end; i++) {
        const struct elf_segment *segment = &image->segments[i];
        uint64_t segment_end = segment->gpa + segment->file_size;

        if (segment->gpa > position)
            memset(base + position, 0, (segment->gpa < end ? segment->gpa : end) - position);
        if (segment_end > position)
            position = segment_end;
    }
    if (position < end)
        memset(base + position, 0, end - position);
}

/* Moves the segments within guest memory. False, with nothing done, where they lie too unlike any vmlinux. */
static bool area_settle(const struct unpack_area *area, const struct elf_image *image,
                        const struct guest_memory *memory)
{
    uint64_t start = image->segments[0].gpa < area->gpa ? image->segments[0].gpa : area->gpa;
    uint64_t end = elf_image_end(image) > area->gpa + area->size ? elf_image_end(image) : area->gpa + area->size;
    uint8_t *address = memory->host_address(memory->context, start, end - start);

    if (!address || !segments_move_down(image, area->gpa))
        return false;
    for (size_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *segment = &image->segments[i];
        uint8_t *destination = address + (segment->gpa - start);

        if (destination != area->address + segment->file_offset)
            memmove(destination, area->address + segment->file_offset, segment->file_size);
    }
    area_clear_rest(area, image, address - start);
    return true;
}

/* As kernel_place_payload(), once the data is unpacked. */
static int place_unpacked(struct unpack_area *area, const struct platform *platform, const struct guest_memory *memory,
                          struct elf_image *image, struct error *error)
{
    bool is_elf = area->size >= SELFMAG && memcmp(area->address, ELFMAG, SELFMAG) == 0;

    if (!is_elf || area->address[EI_CLASS] != ELFCLASS64) {
        if (area->gpa)
            memset(area->address, 0, area->size);
        return 1;
    }
    if (elf_image_parse(area->address, area->size, image, error) || check_segments(image, platform, error))
        return -1;
    if (area->gpa && area_settle(area, image, memory))
        return 0;
    if (area->gpa && area_leave_guest(area, error))
        return -1;
    return kernel_place_segments(image, area->address, platform, memory, error);
}

int kernel_place_payload(enum payload_format format, const uint8_t *payload, size_t size, uint64_t preferred_gpa,
                         const struct platform *platform, const struct guest_memory *memory, struct elf_image *image,
                         struct error *error)
{
    struct unpack_area area = {.size = payload_unpacked_size(payload, size)};
    uint64_t room = kernel_place_ram_end(&platform->ram) - LAYOUT_HIGH_RAM_GPA;

    if (area.size <= EI_NIDENT)
        return error_set(error, ERROR_CONFIG, "its payload says that it unpacks to %zu bytes; get it again", area.size);
    if (area.size > room)
        return error_set(error, ERROR_CONFIG,
                         "its payload unpacks to %" PRIu64 " MiB, and the machine has %" PRIu64
                         " MiB of memory for it; give it more",
                         mib_up(area.size), room / MIB(1));
    if (area_choose(&area, preferred_gpa, platform, memory, error))
        return -1;
    int result = -1;
    if (payload_unpack(format, payload, size, area.address, area.size, error) == 0)
        result = place_unpacked(&area, platform, memory, image, error);
    area_release(&area);
    return result;
}
