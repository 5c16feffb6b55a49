/*
 * Where things are in a machine's guest-physical memory: every fixed address, and the RAM that a size gives.
 *
 *   0x0000_0000  RAM, boot data at the addresses below
 *   0x000a_0000  nothing (the VGA window of a PC)
 *   0x000c_0000  ROM: read-only, and from 0xe0000 on ACPI tables
 *   0x0010_0000  RAM, to 3 GiB at the most
 *   0xc000_0000  devices
 *   0x1_0000_0000  RAM, what is left of it
 */
#ifndef MEMORY_X86_LAYOUT_H
#define MEMORY_X86_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

/* What the loader writes below 640 KiB: the kernel reads it before it takes the memory over. */
#define LAYOUT_GDT_GPA 0x1000u
#define LAYOUT_PVH_START_INFO_GPA 0x2000u
#define LAYOUT_BOOT_PARAMS_GPA 0x7000u
/* Identity map of the first 512 GiB in 1 GiB pages, or of the first 4 GiB in 2 MiB pages: up to 6 pages. */
#define LAYOUT_PAGE_TABLES_GPA 0x9000u
#define LAYOUT_BOOT_STACK_TOP_GPA 0x8ff0u
/* The command line's longest form is the kernel's COMMAND_LINE_SIZE, 2048 bytes; there is room for more. */
#define LAYOUT_CMDLINE_GPA 0x20000u
#define LAYOUT_CMDLINE_MAX_SIZE 0x10000u
/* Linux's setup_data, up to the FACS: seed of the random number generator, device tree. */
#define LAYOUT_SETUP_DATA_GPA 0x30000u
/* Reserved in the E820 map: ACPI's FACS, which the guest writes. */
#define LAYOUT_FACS_GPA 0x9f000u
#define LAYOUT_LOW_RAM_END_GPA 0xa0000u

/* The first half is empty: a kernel looks for option ROMs there, and each read of what is not there would be an exit.
 */
#define LAYOUT_ROM_GPA 0xc0000u
#define LAYOUT_ROM_SIZE 0x40000u
#define LAYOUT_TABLES_GPA 0xe0000u
#define LAYOUT_TABLES_SIZE 0x20000u
#define LAYOUT_HIGH_RAM_GPA 0x100000u

/* The hole below 4 GiB. */
#define LAYOUT_DEVICES_GPA 0xc0000000u
/* Registers of PCI devices: what a guest may give to their base address registers. */
#define LAYOUT_PCI_WINDOW_GPA 0xc0000000u
#define LAYOUT_PCI_WINDOW_SIZE 0x10000000u
#define LAYOUT_PCI_MMCONFIG_GPA 0xe0000000u
#define LAYOUT_PCI_MMCONFIG_SIZE 0x10000000u
/* Registers of virtio devices without PCI, a page for each. */
#define LAYOUT_VIRTIO_MMIO_GPA 0xfeb00000u
#define LAYOUT_VIRTIO_MMIO_SIZE 0x1000u
#define LAYOUT_VIRTIO_MMIO_COUNT 8u
#define LAYOUT_IOAPIC_GPA 0xfec00000u
#define LAYOUT_LAPIC_GPA 0xfee00000u
/* Page tables of a flat binary in long mode: a root, a directory, and four tables of 2 MiB pages. */
#define LAYOUT_FLAT_PAGE_TABLES_GPA 0xfeff0000u
#define LAYOUT_FLAT_PAGE_TABLES_SIZE 0x6000u
/* What KVM keeps: a page for an identity map, then three for a TSS (KVM_SET_IDENTITY_MAP_ADDR, KVM_SET_TSS_ADDR). */
#define LAYOUT_KVM_IDENTITY_MAP_GPA 0xfeffc000u
#define LAYOUT_KVM_TSS_GPA 0xfeffd000u
#define LAYOUT_RAM_ABOVE_4G_GPA 0x100000000ull

/* I/O ports. */
#define LAYOUT_PCI_CONFIG_PORT 0xcf8u
#define LAYOUT_COM1_PORT 0x3f8u
#define LAYOUT_COM2_PORT 0x2f8u
#define LAYOUT_I8042_PORT 0x60u
#define LAYOUT_CMOS_PORT 0x70u
#define LAYOUT_DEBUG_EXIT_PORT 0xf4u
#define LAYOUT_PVPANIC_PORT 0x505u
#define LAYOUT_ACPI_PM_PORT 0x600u
/* The ACPI fixed hardware behind that port, as the FADT announces it (ACPI 6.4, 4.8.3): offsets and size in bytes. */
#define ACPI_PM1_EVENT_OFFSET 0u
#define ACPI_PM1_CONTROL_OFFSET 4u
#define ACPI_PM_TIMER_OFFSET 8u
#define ACPI_PM_BLOCK_SIZE 12u
/* The sleep type that the DSDT gives for S5, soft off. */
#define ACPI_SLEEP_TYPE_S5 5u
/* The reset register of the FADT, where PCs have it. */
#define LAYOUT_RESET_PORT 0xcf9u

/* Interrupts, as GSIs. */
#define LAYOUT_COM2_GSI 3u
#define LAYOUT_COM1_GSI 4u
#define LAYOUT_CMOS_GSI 8u
#define LAYOUT_ACPI_SCI_GSI 9u
/* The pins of PCI slots, and of virtio devices without PCI: the I/O APIC's inputs that a PC has them on. */
#define LAYOUT_PCI_FIRST_GSI 16u
#define LAYOUT_PCI_GSI_COUNT 8u
/*
 * A kernel that is told of no I/O APIC has the 8259s alone: there virtio devices without PCI are at the inputs that a
 * PC has free, one bit for each, and these are level triggered.
 */
#define LAYOUT_8259_VIRTIO_GSIS 0xdce0u

#define LAYOUT_MIN_RAM_SIZE MIB(32)
/* 2^46: what 46 physical address bits reach, well below the host's own address space. */
#define LAYOUT_MAX_RAM_SIZE (1ull << 46)

struct layout_range {
    uint64_t gpa;
    uint64_t size;
};

/* RAM in ascending order: [0, 640 KiB), [1 MiB, at most 3 GiB), [4 GiB, ...). */
struct ram_layout {
    struct layout_range ranges[3];
    size_t count;
};

/*
 * Spreads ram_size bytes of RAM around the holes. The 384 KiB between 640 KiB and 1 MiB count as RAM that cannot be
 * seen, as on a PC: 512 MiB of RAM end at 512 MiB.
 * ram_size: a multiple of 4096 from LAYOUT_MIN_RAM_SIZE to LAYOUT_MAX_RAM_SIZE. Pure: no I/O, no state.
 */
void ram_layout_compute(uint64_t ram_size, struct ram_layout *layout);

/* The GSI of a virtio device without PCI, index below LAYOUT_VIRTIO_MMIO_COUNT. Pure. */
uint32_t layout_virtio_mmio_gsi(unsigned index, bool has_io_apic);

#endif
