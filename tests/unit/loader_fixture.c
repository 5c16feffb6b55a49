#include "loader_fixture.h"

#include <check.h>
#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

#define SETUP_SIZE 1024u
#define LZ4_BLOCK_SIZE ((size_t)8 << 20)

static bool range_contains(uint64_t start, uint64_t range_size, uint64_t gpa, uint64_t size)
{
    return gpa >= start && gpa - start <= range_size && range_size - (gpa - start) >= size;
}

static void *host_address(void *context, uint64_t gpa, uint64_t size)
{
    struct fixture_machine *machine = context;
    const struct ram_layout *ram = &machine->platform.ram;

    for (size_t i = 0; i < ram->count && i < 2; i++) {
        if (range_contains(ram->ranges[i].gpa, ram->ranges[i].size, gpa, size))
            return machine->memory_base + gpa;
    }
    if (range_contains(LAYOUT_ROM_GPA, LAYOUT_ROM_SIZE, gpa, size))
        return machine->memory_base + gpa;
    return NULL;
}

void fixture_machine_init(struct fixture_machine *machine, uint64_t ram_size, uint32_t cpu_count)
{
    ck_assert_uint_le(cpu_count, FIXTURE_MAX_CPUS);
    memset(machine, 0, sizeof(*machine));
    ram_layout_compute(ram_size, &machine->platform.ram);
    machine->memory_base =
        mmap(NULL, LAYOUT_DEVICES_GPA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ck_assert_ptr_ne(machine->memory_base, MAP_FAILED);
    for (uint32_t i = 0; i < cpu_count; i++)
        machine->apic_ids[i] = i;
    machine->platform.cpu_count = cpu_count;
    machine->platform.apic_ids = machine->apic_ids;
    machine->platform.physical_address_bits = 46;
    machine->platform.has_1gib_pages = true;
    machine->memory = (struct guest_memory){.host_address = host_address, .context = machine};
}

void fixture_machine_fini(struct fixture_machine *machine)
{
    (void)munmap(machine->memory_base, LAYOUT_DEVICES_GPA);
}

static struct fixture_file file_create(size_t size)
{
    struct fixture_file file = {.data = calloc(1, size), .size = size};

    ck_assert_ptr_nonnull(file.data);
    return file;
}

void fixture_file_free(struct fixture_file *file)
{
    free(file->data);
    *file = (struct fixture_file){0};
}

uint8_t fixture_byte(uint64_t gpa)
{
    return (uint8_t)(1 + (gpa ^ gpa >> 8 ^ gpa >> 16) % 255);
}

static void fill_segment(struct fixture_file *file, const struct fixture_segment *segment)
{
    for (uint64_t i = 0; i < segment->file_size; i++)
        file->data[segment->offset + i] = fixture_byte(segment->gpa + i);
}

/* The note of a PVH kernel, as the linker leaves it. */
struct pvh_note {
    Elf64_Nhdr header;
    char name[4];
    uint32_t entry;
};

#define ELF64_NOTE_OFFSET 0x800u

struct fixture_file fixture_elf64(uint64_t entry, uint64_t pvh_entry, const struct fixture_segment *segments,
                                  size_t count, size_t trailing)
{
    size_t size = ELF64_NOTE_OFFSET + sizeof(struct pvh_note);

    for (size_t i = 0; i < count; i++) {
        if (segments[i].offset + segments[i].file_size > size)
            size = segments[i].offset + segments[i].file_size;
    }
    struct fixture_file file = file_create(size + trailing);
    memset(file.data + size, 0xee, trailing);
    Elf64_Ehdr header = {.e_type = ET_EXEC,
                         .e_machine = EM_X86_64,
                         .e_version = EV_CURRENT,
                         .e_entry = entry,
                         .e_phoff = sizeof(header),
                         .e_ehsize = sizeof(header),
                         .e_phentsize = sizeof(Elf64_Phdr),
                         .e_phnum = (Elf64_Half)(count + (pvh_entry ? 1 : 0))};
    memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    memcpy(file.data, &header, sizeof(header));
    Elf64_Phdr *program_headers = (Elf64_Phdr *)(file.data + sizeof(header));
    for (size_t i = 0; i < count; i++) {
        program_headers[i] = (Elf64_Phdr){.p_type = PT_LOAD,
                                          .p_offset = segments[i].offset,
                                          .p_paddr = segments[i].gpa,
                                          .p_filesz = segments[i].file_size,
                                          .p_memsz = segments[i].memory_size};
        fill_segment(&file, &segments[i]);
    }
    if (pvh_entry) {
        struct pvh_note note = {.header = {.n_namesz = 4, .n_descsz = 4, .n_type = 18}, .entry = (uint32_t)pvh_entry};

        memcpy(note.name, "Xen", 4);
        memcpy(file.data + ELF64_NOTE_OFFSET, &note, sizeof(note));
        program_headers[count] =
            (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = ELF64_NOTE_OFFSET, .p_filesz = sizeof(note), .p_align = 4};
    }
    return file;
}

struct fixture_file fixture_elf32(uint32_t entry, uint32_t pvh_entry, const struct fixture_segment *segment)
{
    struct pvh_note note = {.header = {.n_namesz = 4, .n_descsz = 4, .n_type = 18}, .entry = pvh_entry};
    uint32_t note_offset = (uint32_t)(segment->offset + segment->file_size);
    struct fixture_file file = file_create(note_offset + sizeof(note));
    Elf32_Ehdr header = {.e_type = ET_EXEC,
                         .e_machine = EM_386,
                         .e_entry = entry,
                         .e_phoff = sizeof(header),
                         .e_phentsize = sizeof(Elf32_Phdr),
                         .e_phnum = pvh_entry ? 2 : 1};
    const Elf32_Phdr program_headers[] = {
        {.p_type = PT_LOAD,
         .p_offset = (Elf32_Off)segment->offset,
         .p_paddr = (Elf32_Addr)segment->gpa,
         .p_filesz = (Elf32_Word)segment->file_size,
         .p_memsz = (Elf32_Word)segment->memory_size},
        {.p_type = PT_NOTE, .p_offset = note_offset, .p_filesz = sizeof(note), .p_align = 4},
    };

    memcpy(note.name, "Xen", 4);
    memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS32;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    memcpy(file.data, &header, sizeof(header));
    memcpy(file.data + sizeof(header), program_headers, sizeof(program_headers));
    fill_segment(&file, segment);
    memcpy(file.data + note_offset, &note, sizeof(note));
    return file;
}

static size_t pack_gzip(const struct fixture_file *file, uint8_t *output, size_t room)
{
    z_stream stream = {
        .next_in = file->data, .avail_in = (uInt)file->size, .next_out = output, .avail_out = (uInt)room};

    ck_assert_int_eq(deflateInit2(&stream, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    size_t size = stream.total_out;
    (void)deflateEnd(&stream);
    return size;
}

static size_t pack_xz(const struct fixture_file *file, uint8_t *output, size_t room)
{
    size_t size = 0;

    ck_assert_int_eq(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, NULL, file->data, file->size, output, &size, room),
                     LZMA_OK);
    return size;
}

static size_t pack_lz4(const struct fixture_file *file, uint8_t *output, size_t room)
{
    size_t size = 4;

    memcpy(output, "\x02\x21\x4c\x18", 4);
    for (size_t position = 0; position < file->size; position += LZ4_BLOCK_SIZE) {
        size_t rest = file->size - position;
        int block = LZ4_compress_default((const char *)file->data + position, (char *)output + size + 4,
                                         (int)(rest < LZ4_BLOCK_SIZE ? rest : LZ4_BLOCK_SIZE), (int)(room - size - 4));

        ck_assert_int_gt(block, 0);
        memcpy(output + size, &block, 4);
        size += 4 + (size_t)block;
    }
    return size;
}

static size_t pack_zstd(const struct fixture_file *file, uint8_t *output, size_t room)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();

    ck_assert_ptr_nonnull(context);
    (void)ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    size_t size = ZSTD_compress2(context, output, room, file->data, file->size);
    ck_assert(!ZSTD_isError(size));
    (void)ZSTD_freeCCtx(context);
    return size;
}

struct fixture_file fixture_pack(enum payload_format format, const struct fixture_file *file)
{
    size_t room = file->size + file->size / 2 + 4096;
    struct fixture_file packed = file_create(room);
    uint32_t unpacked_size = (uint32_t)file->size;

    switch (format) {
    case PAYLOAD_UNKNOWN:
        memcpy(packed.data, file->data, file->size);
        packed.size = file->size;
        return packed;
    case PAYLOAD_GZIP:
        packed.size = pack_gzip(file, packed.data, room);
        return packed;
    case PAYLOAD_XZ:
        packed.size = pack_xz(file, packed.data, room);
        break;
    case PAYLOAD_LZ4:
        packed.size = pack_lz4(file, packed.data, room);
        break;
    case PAYLOAD_ZSTD:
        packed.size = pack_zstd(file, packed.data, room);
        break;
    }
    memcpy(packed.data + packed.size, &unpacked_size, sizeof(unpacked_size));
    packed.size += sizeof(unpacked_size);
    return packed;
}

struct setup_header *fixture_header(struct fixture_file *image)
{
    return (struct setup_header *)(image->data + offsetof(struct boot_params, hdr));
}

struct fixture_file fixture_bzimage(const struct fixture_file *payload)
{
    size_t code_size = (FIXTURE_CODE_SIZE + payload->size + 15) / 16 * 16;
    struct fixture_file image = file_create(SETUP_SIZE + code_size);

    *fixture_header(&image) = (struct setup_header){
        .setup_sects = SETUP_SIZE / 512 - 1,
        .root_flags = 1,
        .syssize = (uint32_t)(code_size / 16),
        .boot_flag = 0xaa55,
        /* "jmp" over the header, to 0x202 + 0x6a. */
        .jump = 0x6aeb,
        .header = 0x53726448,
        .version = 0x020f,
        .loadflags = LOADED_HIGH,
        .initrd_addr_max = 0x7fffffff,
        .kernel_alignment = 0x200000,
        .relocatable_kernel = 1,
        .xloadflags = XLF_KERNEL_64,
        .cmdline_size = 2047,
        .payload_offset = FIXTURE_CODE_SIZE,
        .payload_length = (uint32_t)payload->size,
        .pref_address = FIXTURE_PREF_ADDRESS,
        .init_size = FIXTURE_INIT_SIZE,
    };
    memset(image.data + SETUP_SIZE, 0xc0, FIXTURE_CODE_SIZE);
    memcpy(image.data + SETUP_SIZE + FIXTURE_CODE_SIZE, payload->data, payload->size);
    return image;
}
