#include "loader/kernel_image.h"

#include <elf.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

/* Offsets in the file and magic numbers: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". */
#define SETUP_HEADER_OFFSET offsetof(struct boot_params, hdr)
#define SETUP_BOOT_FLAG 0xaa55u
#define SETUP_HEADER_MAGIC 0x53726448u /* "HdrS" */
/* The header ends at 0x202 plus the byte at 0x201, the distance of the jump over it. */
#define SETUP_JUMP_END 0x202u
#define SETUP_SECTOR_SIZE 512u
/* What setup_sects = 0 stands for. */
#define SETUP_SECTORS_DEFAULT 4u
/* syssize counts paragraphs. */
#define SYSSIZE_UNIT 16u

/* Files that people try, by what stands at an offset. */
struct known_file {
    size_t offset;
    const char *magic;
    size_t magic_size;
    const char *name;
};

#define MAGIC(bytes) bytes, sizeof(bytes) - 1
static const struct known_file known_files[] = {
    {0x38, MAGIC("ARM\x64"), "an arm64 kernel Image, for another processor"},
    {0x38, MAGIC("RISCV\0\0\0"), "a RISC-V kernel Image, for another processor"},
    {0x8001, MAGIC("CD001"), "an ISO 9660 image; take the kernel out of it"},
    {0, MAGIC("\x1f\x8b"), "a gzip file; unpack it first (an initrd belongs under initrd)"},
    {0,
     MAGIC("\xfd"
           "7zXZ\0"),
     "an xz file; unpack it first"},
    {0, MAGIC("\x28\xb5\x2f\xfd"), "a zstd file; unpack it first (an initrd belongs under initrd)"},
    {0, MAGIC("BZh"), "a bzip2 file; unpack it first"},
    {0, MAGIC("\x02\x21\x4c\x18"), "an lz4 file; unpack it first"},
    {0, MAGIC("\x04\x22\x4d\x18"), "an lz4 file; unpack it first"},
    {0, MAGIC("070701"), "a cpio archive; an initrd belongs under initrd"},
    {0, MAGIC("!<arch>\n"), "an ar archive (a Debian package?); take the kernel out of it"},
    {0, MAGIC("QFI\xfb"), "a qcow2 disk image"},
    {0, MAGIC("#!"), "a script"},
};

static const char *known_file_name(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < sizeof(known_files) / sizeof(known_files[0]); i++) {
        const struct known_file *known = &known_files[i];

        if (size >= known->offset + known->magic_size &&
            memcmp(data + known->offset, known->magic, known->magic_size) == 0)
            return known->name;
    }
    return NULL;
}

/* The header's fixed fields; the rest of *header is zero if the file ends inside it. */
static bool setup_header_present(const uint8_t *data, size_t size, struct setup_header *header)
{
    size_t available = size > SETUP_HEADER_OFFSET ? size - SETUP_HEADER_OFFSET : 0;

    *header = (struct setup_header){0};
    memcpy(header, data + (available ? SETUP_HEADER_OFFSET : 0),
           available < sizeof(*header) ? available : sizeof(*header));
    return header->boot_flag == SETUP_BOOT_FLAG && header->header == SETUP_HEADER_MAGIC;
}

static int refuse_unknown(const uint8_t *data, size_t size, const struct setup_header *header, struct error *error)
{
    const char *name = known_file_name(data, size);

    if (name)
        return error_set(error, ERROR_CONFIG, "it is %s; give a bzImage or an ELF vmlinux for x86-64", name);
    if (header->boot_flag == SETUP_BOOT_FLAG)
        return error_set(
            error, ERROR_CONFIG,
            "it is a boot sector, a disk image or a Linux before 2.0, and not a bzImage; give a bzImage or "
            "an ELF vmlinux for x86-64");
    if (size < SETUP_JUMP_END + sizeof(uint32_t))
        return error_set(
            error, ERROR_CONFIG,
            "it is cut short or not a kernel: %zu bytes are less than the header of any; give a bzImage or "
            "an ELF vmlinux for x86-64",
            size);
    return error_set(error, ERROR_CONFIG, "it is neither a bzImage nor an ELF file; give one of them, for x86-64");
}

int kernel_image_identify(const void *data, size_t size, enum kernel_kind *ret_kind, struct error *error)
{
    struct setup_header header;

    if (size == 0)
        return error_set(error, ERROR_CONFIG, "the file is empty; give a bzImage or an ELF vmlinux for x86-64");
    if (size >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0) {
        *ret_kind = KERNEL_ELF;
        return 0;
    }
    if (!setup_header_present(data, size, &header))
        return refuse_unknown(data, size, &header, error);
    *ret_kind = KERNEL_BZIMAGE;
    return 0;
}

/* Zeroes what lies past the image's own header or belongs to a later protocol than the image's. */
static void setup_header_clear_unknown(struct setup_header *header)
{
    /* The jump's distance is the high byte of the field; it counts from the field's end. */
    size_t size = SETUP_JUMP_END + (header->jump >> 8) - SETUP_HEADER_OFFSET;

    if (size < sizeof(*header))
        memset((uint8_t *)header + size, 0, sizeof(*header) - size);
    if (header->version < BZIMAGE_PROTOCOL_PAYLOAD)
        header->payload_offset = header->payload_length = 0;
    if (header->version < BZIMAGE_PROTOCOL_INIT_SIZE) {
        header->pref_address = 0;
        header->init_size = 0;
    }
    if (header->version < BZIMAGE_PROTOCOL_XLOADFLAGS)
        header->xloadflags = 0;
}

static int find_protected_mode(struct bzimage *image, const uint8_t *data, size_t size, struct error *error)
{
    unsigned sectors = image->header.setup_sects ? image->header.setup_sects : SETUP_SECTORS_DEFAULT;
    uint64_t start = (sectors + 1u) * (uint64_t)SETUP_SECTOR_SIZE;
    uint64_t needed = start + image->header.syssize * (uint64_t)SYSSIZE_UNIT;

    if (image->header.syssize == 0)
        return error_set(error, ERROR_CONFIG, "its header says that it has no code (syssize is 0); get it again");
    if (size < needed)
        return error_set(error, ERROR_CONFIG,
                         "it is cut short: %zu bytes, and its header speaks of %" PRIu64 "; get it again", size,
                         needed);
    image->protected_mode = data + start;
    image->protected_mode_size = (size_t)(needed - start);
    return 0;
}

static int find_payload(struct bzimage *image, struct error *error)
{
    uint64_t offset = image->header.payload_offset;
    uint64_t length = image->header.payload_length;

    image->payload = NULL;
    image->payload_size = 0;
    if (length == 0)
        return 0;
    if (offset + length > image->protected_mode_size)
        return error_set(error, ERROR_CONFIG,
                         "its header lies: it puts a payload of %" PRIu64 " bytes at 0x%" PRIx64
                         ", and there are %zu bytes of code; get it again",
                         length, offset, image->protected_mode_size);
    image->payload = image->protected_mode + offset;
    image->payload_size = (size_t)length;
    return 0;
}

int bzimage_parse(const void *data, size_t size, struct bzimage *image, struct error *error)
{
    *image = (struct bzimage){0};
    if (!setup_header_present(data, size, &image->header))
        return error_set(error, ERROR_CONFIG, "it is not a bzImage");
    if (image->header.version < BZIMAGE_PROTOCOL_MIN)
        return error_set(error, ERROR_CONFIG,
                         "it speaks boot protocol %u.%02u, and 2.06 is the oldest that works (Linux 2.6.22)",
                         image->header.version >> 8, image->header.version & 0xffu);
    if (!(image->header.loadflags & LOADED_HIGH))
        return error_set(error, ERROR_CONFIG, "it is a zImage, which loads below 1 MiB; build a bzImage");
    setup_header_clear_unknown(&image->header);
    if (find_protected_mode(image, data, size, error))
        return -1;
    return find_payload(image, error);
}
