/*
 * A machine of plain memory, and kernels made up for the tests of loader/.
 */
#ifndef TESTS_UNIT_LOADER_FIXTURE_H
#define TESTS_UNIT_LOADER_FIXTURE_H

#include "loader/decompress.h"
#include "loader/kernel_image.h"
#include "loader/loader.h"

#define FIXTURE_MAX_CPUS 8500u

struct fixture_machine {
    /* The RAM below 4 GiB and the ROM, from address 0. */
    uint8_t *memory_base;
    uint32_t apic_ids[FIXTURE_MAX_CPUS];
    struct platform platform;
    struct guest_memory memory;
};

/* Zeroed memory; APIC ids are 0, 1, 2, ... . Memory above 4 GiB is in the layout only. */
void fixture_machine_init(struct fixture_machine *machine, uint64_t ram_size, uint32_t cpu_count);
void fixture_machine_fini(struct fixture_machine *machine);

/* A file in the heap. */
struct fixture_file {
    uint8_t *data;
    size_t size;
};
void fixture_file_free(struct fixture_file *file);

struct fixture_segment {
    uint64_t offset;
    uint64_t gpa;
    uint64_t file_size;
    uint64_t memory_size;
};

/* What the byte of a segment that belongs at gpa is: never 0. */
uint8_t fixture_byte(uint64_t gpa);

/* pvh_entry 0: without a note. The file ends trailing bytes after the last segment's. */
struct fixture_file fixture_elf64(uint64_t entry, uint64_t pvh_entry, const struct fixture_segment *segments,
                                  size_t count, size_t trailing);
struct fixture_file fixture_elf32(uint32_t entry, uint32_t pvh_entry, const struct fixture_segment *segment);

/* Compressed, and followed by its size where the format wants that. PAYLOAD_UNKNOWN: as it is. */
struct fixture_file fixture_pack(enum payload_format format, const struct fixture_file *file);

/* Protocol 2.15, 64-bit, relocatable, with 0x400 bytes of code and then the payload. */
#define FIXTURE_CODE_SIZE 0x400u
#define FIXTURE_PREF_ADDRESS MIB(16)
#define FIXTURE_INIT_SIZE MIB(4)
struct fixture_file fixture_bzimage(const struct fixture_file *payload);

/* The image's header, to be changed. */
struct setup_header *fixture_header(struct fixture_file *image);

#endif
