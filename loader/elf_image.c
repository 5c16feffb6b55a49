#include "loader/elf_image.h"

#include <elf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Xen's public header elfnote.h: the note's name, and the type of the note that holds PVH's entry. */
#define XEN_NOTE_NAME "Xen"
#define XEN_ELFNOTE_PHYS32_ENTRY 18u
/* Kernels have under ten program headers and under 1 KiB of notes; the bounds keep a made-up file from taking long. */
#define PROGRAM_HEADERS_MAX 64u
#define NOTES_MAX_SIZE (UINT64_C(1) << 20)

struct elf_file {
    const uint8_t *data;
    size_t size;
    bool is_64bit;
    uint64_t entry;
    uint64_t program_headers_offset;
    uint16_t program_header_size;
    uint16_t program_header_count;
};

static const char *machine_name(uint16_t machine)
{
    switch (machine) {
    case EM_AARCH64:
        return "arm64";
    case EM_ARM:
        return "32-bit arm";
    case EM_RISCV:
        return "RISC-V";
    case EM_PPC64:
        return "64-bit PowerPC";
    case EM_S390:
        return "s390";
    case EM_LOONGARCH:
        return "LoongArch";
    default:
        return NULL;
    }
}

static int check_machine(uint16_t machine, bool is_64bit, struct error *error)
{
    const char *name = machine_name(machine);

    if (machine == (is_64bit ? EM_X86_64 : EM_386))
        return 0;
    if (name)
        return error_set(error, ERROR_CONFIG, "it is a program for %s; give a kernel for x86-64", name);
    return error_set(error, ERROR_CONFIG, "it is a program for another processor (ELF machine %u); give one for x86-64",
                     machine);
}

static int check_ident(const uint8_t *data, size_t size, struct error *error)
{
    if (size < EI_NIDENT || memcmp(data, ELFMAG, SELFMAG) != 0)
        return error_set(error, ERROR_CONFIG, "it is not an ELF file");
    if (data[EI_DATA] != ELFDATA2LSB)
        return error_set(error, ERROR_CONFIG, "it is a big-endian program; give a kernel for x86-64");
    if (data[EI_CLASS] != ELFCLASS64 && data[EI_CLASS] != ELFCLASS32)
        return error_set(error, ERROR_CONFIG, "its ELF header is damaged (class %u); get it again", data[EI_CLASS]);
    return 0;
}

/* Copies one structure out of the file. */
static bool read_bytes(const struct elf_file *file, uint64_t offset, void *output, size_t output_size)
{
    if (offset > file->size || file->size - offset < output_size)
        return false;
    memcpy(output, file->data + offset, output_size);
    return true;
}

static int read_header(struct elf_file *file, struct error *error)
{
    Elf64_Ehdr header64;
    Elf32_Ehdr header32;
    uint16_t machine;

    if (check_ident(file->data, file->size, error))
        return -1;
    file->is_64bit = file->data[EI_CLASS] == ELFCLASS64;
    if (!(file->is_64bit ? read_bytes(file, 0, &header64, sizeof(header64))
                         : read_bytes(file, 0, &header32, sizeof(header32))))
        return error_set(error, ERROR_CONFIG, "it is cut short inside the ELF header; get it again");
    if (file->is_64bit) {
        machine = header64.e_machine;
        file->entry = header64.e_entry;
        file->program_headers_offset = header64.e_phoff;
        file->program_header_size = header64.e_phentsize;
        file->program_header_count = header64.e_phnum;
    } else {
        machine = header32.e_machine;
        file->entry = header32.e_entry;
        file->program_headers_offset = header32.e_phoff;
        file->program_header_size = header32.e_phentsize;
        file->program_header_count = header32.e_phnum;
    }
    return check_machine(machine, file->is_64bit, error);
}

static int check_program_headers(const struct elf_file *file, struct error *error)
{
    size_t expected = file->is_64bit ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    uint64_t table_size = (uint64_t)file->program_header_count * expected;

    if (file->program_header_count == 0)
        return error_set(error, ERROR_CONFIG,
                         "it has no segments: it is an object file or a module; give the linked vmlinux");
    if (file->program_header_count > PROGRAM_HEADERS_MAX)
        return error_set(error, ERROR_CONFIG, "it has %u program headers, and no kernel has more than %u",
                         file->program_header_count, PROGRAM_HEADERS_MAX);
    if (file->program_header_size != expected)
        return error_set(error, ERROR_CONFIG, "its program headers have %u bytes each instead of %zu; get it again",
                         file->program_header_size, expected);
    if (file->program_headers_offset > file->size || file->size - file->program_headers_offset < table_size)
        return error_set(error, ERROR_CONFIG, "it is cut short inside the program headers; get it again");
    return 0;
}

/* Reads a program header of either class. The table is known to lie in the file. */
static void read_program_header(const struct elf_file *file, unsigned index, Elf64_Phdr *ret_header)
{
    const uint8_t *table = file->data + file->program_headers_offset;
    Elf32_Phdr header32;

    if (file->is_64bit) {
        memcpy(ret_header, table + index * sizeof(*ret_header), sizeof(*ret_header));
        return;
    }
    memcpy(&header32, table + index * sizeof(header32), sizeof(header32));
    *ret_header = (Elf64_Phdr){.p_type = header32.p_type,
                               .p_offset = header32.p_offset,
                               .p_paddr = header32.p_paddr,
                               .p_filesz = header32.p_filesz,
                               .p_memsz = header32.p_memsz,
                               .p_align = header32.p_align};
}

static int add_segment(const struct elf_file *file, const Elf64_Phdr *header, struct elf_image *image,
                       struct error *error)
{
    uint64_t end;

    if (header->p_memsz == 0)
        return 0;
    if (header->p_filesz > header->p_memsz || __builtin_add_overflow(header->p_paddr, header->p_memsz, &end))
        return error_set(error, ERROR_CONFIG,
                         "its segment at 0x%" PRIx64 " has impossible sizes (0x%" PRIx64 " in the file, 0x%" PRIx64
                         " in memory); get it again",
                         (uint64_t)header->p_paddr, (uint64_t)header->p_filesz, (uint64_t)header->p_memsz);
    if (header->p_offset > file->size || file->size - header->p_offset < header->p_filesz)
        return error_set(error, ERROR_CONFIG,
                         "it is cut short: its segment at 0x%" PRIx64 " is not wholly in the file's %zu bytes; get it "
                         "again",
                         (uint64_t)header->p_paddr, file->size);
    if (image->segment_count == ELF_IMAGE_MAX_SEGMENTS)
        return error_set(error, ERROR_CONFIG, "it has more than %u segments, which no kernel has",
                         ELF_IMAGE_MAX_SEGMENTS);
    image->segments[image->segment_count++] = (struct elf_segment){.gpa = header->p_paddr,
                                                                   .linear = header->p_vaddr,
                                                                   .memory_size = header->p_memsz,
                                                                   .file_offset = header->p_offset,
                                                                   .file_size = header->p_filesz};
    return 0;
}

/* A note's name and description are padded to the segment's alignment: 4, or 8 if it says so. */
static uint64_t note_padded(uint64_t size, uint64_t alignment)
{
    return (size + alignment - 1) & ~(alignment - 1);
}

static bool note_is_pvh_entry(const struct elf_file *file, const Elf64_Nhdr *note, uint64_t name_offset)
{
    char name[sizeof(XEN_NOTE_NAME)];

    return note->n_type == XEN_ELFNOTE_PHYS32_ENTRY && note->n_namesz == sizeof(name) &&
           read_bytes(file, name_offset, name, sizeof(name)) && memcmp(name, XEN_NOTE_NAME, sizeof(name)) == 0;
}

/* Looks for PVH's entry among the notes of one PT_NOTE. What is cut short, too long or unknown is passed over. */
static void read_notes(const struct elf_file *file, const Elf64_Phdr *header, struct elf_image *image)
{
    uint64_t alignment = header->p_align == 8 ? 8 : 4;
    uint64_t offset = header->p_offset;
    uint64_t end;
    Elf64_Nhdr note;

    if (header->p_filesz > NOTES_MAX_SIZE || __builtin_add_overflow(offset, header->p_filesz, &end) || end > file->size)
        return;
    while (offset < end && end - offset >= sizeof(note) && read_bytes(file, offset, &note, sizeof(note))) {
        uint64_t name_offset = offset + sizeof(note);
        uint64_t description_offset = name_offset + note_padded(note.n_namesz, alignment);
        uint64_t entry = 0;

        /* The entry is as long as the toolchain's idea of a pointer. */
        if (note_is_pvh_entry(file, &note, name_offset) && (note.n_descsz == 4 || note.n_descsz == 8) &&
            read_bytes(file, description_offset, &entry, note.n_descsz)) {
            image->has_pvh_entry = true;
            image->pvh_entry = entry;
        }
        offset = description_offset + note_padded(note.n_descsz, alignment);
    }
}

static int compare_segments(const void *left, const void *right)
{
    const struct elf_segment *a = left;
    const struct elf_segment *b = right;

    return (a->gpa > b->gpa) - (a->gpa < b->gpa);
}

static int sort_segments(struct elf_image *image, struct error *error)
{
    if (image->segment_count == 0)
        return error_set(error, ERROR_CONFIG, "it has no segment to load; give the linked vmlinux");
    qsort(image->segments, image->segment_count, sizeof(image->segments[0]), compare_segments);
    for (size_t i = 1; i < image->segment_count; i++) {
        const struct elf_segment *previous = &image->segments[i - 1];

        if (previous->gpa + previous->memory_size > image->segments[i].gpa)
            return error_set(error, ERROR_CONFIG,
                             "its segments at 0x%" PRIx64 " and 0x%" PRIx64 " overlap; get it again", previous->gpa,
                             image->segments[i].gpa);
    }
    return 0;
}

int elf_image_parse(const void *data, size_t size, struct elf_image *image, struct error *error)
{
    struct elf_file file = {.data = data, .size = size};

    *image = (struct elf_image){0};
    if (read_header(&file, error) || check_program_headers(&file, error))
        return -1;
    image->is_64bit = file.is_64bit;
    image->entry = file.entry;
    for (unsigned i = 0; i < file.program_header_count; i++) {
        Elf64_Phdr header;

        read_program_header(&file, i, &header);
        if (header.p_type == PT_LOAD && add_segment(&file, &header, image, error))
            return -1;
        if (header.p_type == PT_NOTE)
            read_notes(&file, &header, image);
    }
    return sort_segments(image, error);
}

bool elf_image_contains(const struct elf_image *image, uint64_t gpa)
{
    for (size_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *segment = &image->segments[i];

        if (gpa >= segment->gpa && gpa - segment->gpa < segment->memory_size)
            return true;
    }
    return false;
}

uint64_t elf_image_end(const struct elf_image *image)
{
    const struct elf_segment *last = &image->segments[image->segment_count - 1];

    return last->gpa + last->memory_size;
}
