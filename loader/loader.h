/*
 * Puts a kernel and what it needs to boot into guest memory.
 *
 * Everything that is read from files is treated as hostile: it may be cut short, lie about its sizes, or change its
 * mind. Errors are ERROR_CONFIG with a sentence that names the file and the remedy.
 */
#ifndef LOADER_LOADER_H
#define LOADER_LOADER_H

#include "loader/guest_memory.h"
#include "memory/support/error.h"
#include "memory/x86/layout.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the machine consists of, as the firmware tables and the device tree describe it. */
struct platform {
    uint32_t cpu_count;
    /* local APIC ids, cpu_count of them */
    const uint32_t *apic_ids;
    struct ram_layout ram;
    /* Host's physical address width as the guest's CPUID tells it. */
    uint8_t physical_address_bits;
    /* Largest page of the identity map that the guest's CPU has: 1 GiB pages, or else 2 MiB. */
    bool has_1gib_pages;
    /* The frequency of the guest's time stamp counter and of its local APIC timer in Hz; 0: not known. */
    uint64_t tsc_hz;
    /* A PCI bus: see devices/pci/pci.h. Kernels find it by its ports; only ACPI describes it beyond that. */
    bool has_pci;
    /* Virtio devices at LAYOUT_VIRTIO_MMIO_GPA, from the first one on: up to LAYOUT_VIRTIO_MMIO_COUNT. */
    unsigned virtio_mmio_count;
};

enum firmware_tables {
    FIRMWARE_ACPI,
    /* A flattened device tree instead of ACPI, through a setup_data entry. */
    FIRMWARE_DEVICE_TREE,
    /* Virtio devices without PCI are told of on the command line. */
    FIRMWARE_NONE,
};

struct boot_files {
    /* Whole files, mapped or read by the caller, and their names for messages. */
    const void *kernel;
    size_t kernel_size;
    const char *kernel_name;
    /* NULL where there is none. */
    const void *initrd;
    size_t initrd_size;
    const char *initrd_name;
};

/* Which entry of an ELF kernel is used; a bzImage has no choice. */
enum elf_entry {
    /* The 64-bit entry where there is one, else PVH. */
    ELF_ENTRY_AUTO,
    /* e_entry, with boot_params. */
    ELF_ENTRY_LINUX64,
    /* The address in the note XEN_ELFNOTE_PHYS32_ENTRY. */
    ELF_ENTRY_PVH,
};

struct boot_request {
    struct boot_files files;
    /* NULL counts as empty. */
    const char *cmdline;
    enum firmware_tables tables;
    enum elf_entry elf_entry;
    /* Entropy for the kernel's random number generator (SETUP_RNG_SEED), fresh for each boot. */
    uint8_t rng_seed[32];
};

/* How the boot processor starts. */
enum boot_mode {
    /* Long mode, identity-mapped, RSI = boot_params: Documentation/arch/x86/boot.rst, "64-bit Boot Protocol". */
    BOOT_LINUX_64,
    /* Protected mode, flat, no paging, ESI = boot_params: the same, "32-bit Boot Protocol". */
    BOOT_LINUX_32,
    /* Protected mode, flat, no paging, EBX = hvm_start_info: Xen's "x86/HVM direct boot ABI". */
    BOOT_PVH,
    /* Every processor at once, without memory of the loader's but page tables: see flat_image.h. */
    BOOT_FLAT_REAL,
    BOOT_FLAT_PROTECTED,
    BOOT_FLAT_LONG,
};

/* Where a part of the kernel will be once it has turned its own paging on, and where it is. */
struct boot_segment {
    uint64_t linear;
    uint64_t gpa;
    uint64_t size;
};

enum { BOOT_SEGMENTS_MAX = 8 };

struct boot_entry {
    enum boot_mode mode;
    uint64_t rip;
    uint64_t rsp;
    /* The guest-physical address that goes into RSI (Linux) or RBX (PVH). */
    uint64_t argument;
    /* The flat GDT that the loader has written, and the page tables' root (BOOT_LINUX_64, BOOT_FLAT_LONG). */
    uint64_t gdt_gpa;
    uint16_t gdt_limit;
    uint64_t cr3;
    /* For the log: "bzImage, xz payload", "ELF, PVH entry". A string constant. */
    const char *description;
    /* Those of an ELF kernel whose addresses say that; none where the kernel unpacks itself. */
    struct boot_segment segments[BOOT_SEGMENTS_MAX];
    size_t segment_count;
};

/* Selectors in the GDT at entry: __BOOT_CS and __BOOT_DS of the boot protocol, and a TSS. */
#define BOOT_CODE_SELECTOR 0x10u
#define BOOT_DATA_SELECTOR 0x18u
#define BOOT_TSS_SELECTOR 0x20u

/*
 * Loads kernel, initrd, command line, tables and boot parameters into the memory of a machine that is not running.
 * 0 with *entry filled in, or -1 with *error; guest memory may then hold part of it all, and is not fit for a boot.
 * Nothing of the request is kept. Any thread; calls for different memory do not touch each other.
 */
int loader_load(const struct boot_request *request, const struct platform *platform, const struct guest_memory *memory,
                struct boot_entry *entry, struct error *error);

#endif
