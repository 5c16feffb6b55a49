/*
 * Guest memory for the fuzz targets of loader/: 32 MiB that are fresh for each input.
 */
#ifndef TESTS_FUZZ_MACHINE_H
#define TESTS_FUZZ_MACHINE_H

#include "loader/loader.h"

#include "fuzz_require.h"

#include <sys/mman.h>

#define FUZZ_RAM_SIZE MIB(32)

static inline void *fuzz_host_address(void *context, uint64_t gpa, uint64_t size)
{
    uint8_t *base = context;

    /* The hole below the ROM counts as memory here: nothing that the loader writes may depend on it. */
    return gpa <= FUZZ_RAM_SIZE && FUZZ_RAM_SIZE - gpa >= size ? base + gpa : NULL;
}

/* Loads a kernel, as quire would; the outcome does not matter. */
static inline void fuzz_load(const uint8_t *data, size_t size, enum firmware_tables tables, enum elf_entry elf_entry)
{
    static const uint32_t apic_ids[] = {0, 1};
    static const uint8_t initrd[8192];
    static uint8_t *base;
    struct platform platform = {.cpu_count = 2, .apic_ids = apic_ids, .physical_address_bits = 40};
    /* Without one the kernel may lie up to the end of the memory. */
    const bool has_initrd = size / 8 % 2 == 0;
    const struct boot_request request = {.files = {.kernel = data,
                                                   .kernel_size = size,
                                                   .kernel_name = "kernel",
                                                   .initrd = has_initrd ? initrd : NULL,
                                                   .initrd_size = has_initrd ? sizeof(initrd) : 0,
                                                   .initrd_name = "initrd"},
                                         .cmdline = "console=ttyS0",
                                         .tables = tables,
                                         .elf_entry = elf_entry};
    struct boot_entry entry;
    struct error error;

    if (!base) {
        base = mmap(NULL, FUZZ_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(base != MAP_FAILED);
    }
    const struct guest_memory memory = {.host_address = fuzz_host_address, .context = base};
    ram_layout_compute(FUZZ_RAM_SIZE, &platform.ram);
    if (loader_load(&request, &platform, &memory, &entry, &error) == 0)
        require(entry.rip < FUZZ_RAM_SIZE);
    (void)madvise(base, FUZZ_RAM_SIZE, MADV_DONTNEED);
}

#endif
