#include "loader/x86/device_tree.h"

#include <inttypes.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

/* Cells of addresses and sizes at the root: 64 bits. */
#define ROOT_CELLS 2u
/* Devicetree specification 0.4, annex to IEEE 1275 for ISA: the first cell of an address is 1 for I/O space. */
#define ISA_IO_SPACE 1u
#define ISA_IO_SIZE 0x10000u
/* What the second cell of an interrupt means to "intel,ce4100-ioapic": level or edge, active high. */
#define INTERRUPT_LEVEL_HIGH 1u
#define INTERRUPT_EDGE_RISING 3u
#define IOAPIC_PHANDLE 1u
#define APIC_REGISTERS_SIZE 0x1000u
#define COM1_CLOCK_HZ 1843200u
/* Bytes for all but what is counted, for one processor, and for one virtio device: about twice what they take. */
#define FIXED_SIZE 4096u
#define CPU_SIZE 128u
#define VIRTIO_MMIO_NODE_SIZE 256u

/* A tree that is being written; after an error, nothing more happens to it. */
struct tree {
    void *fdt;
    int error;
};

static void note(struct tree *tree, int result)
{
    if (!tree->error && result < 0)
        tree->error = result;
}

static void begin(struct tree *tree, const char *name)
{
    if (!tree->error)
        note(tree, fdt_begin_node(tree->fdt, name));
}

static void begin_at(struct tree *tree, const char *name, uint64_t address)
{
    char full_name[64];

    (void)snprintf(full_name, sizeof(full_name), "%s@%" PRIx64, name, address);
    begin(tree, full_name);
}

static void end(struct tree *tree)
{
    if (!tree->error)
        note(tree, fdt_end_node(tree->fdt));
}

static void put_string(struct tree *tree, const char *name, const char *value)
{
    if (!tree->error)
        note(tree, fdt_property_string(tree->fdt, name, value));
}

static void put_empty(struct tree *tree, const char *name)
{
    if (!tree->error)
        note(tree, fdt_property(tree->fdt, name, NULL, 0));
}

static void put_cells(struct tree *tree, const char *name, const uint32_t *cells, size_t count)
{
    void *value;

    if (tree->error)
        return;
    note(tree, fdt_property_placeholder(tree->fdt, name, (int)(count * sizeof(fdt32_t)), &value));
    for (size_t i = 0; i < count && !tree->error; i++)
        fdt32_st((fdt32_t *)value + i, cells[i]);
}
#define PUT_CELLS(tree, name, ...)                                                                                     \
    put_cells(tree, name, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* A reg property at the root. */
static void put_range(struct tree *tree, uint64_t gpa, uint64_t size)
{
    PUT_CELLS(tree, "reg", (uint32_t)(gpa >> 32), (uint32_t)gpa, (uint32_t)(size >> 32), (uint32_t)size);
}

static void put_chosen(struct tree *tree, const char *cmdline, const struct layout_range *initrd)
{
    begin(tree, "chosen");
    put_string(tree, "bootargs", cmdline);
    if (initrd->size) {
        uint64_t initrd_end = initrd->gpa + initrd->size;

        PUT_CELLS(tree, "linux,initrd-start", (uint32_t)(initrd->gpa >> 32), (uint32_t)initrd->gpa);
        PUT_CELLS(tree, "linux,initrd-end", (uint32_t)(initrd_end >> 32), (uint32_t)initrd_end);
    }
    end(tree);
}

static void put_cpus(struct tree *tree, const struct platform *platform)
{
    begin(tree, "cpus");
    PUT_CELLS(tree, "#address-cells", 1);
    PUT_CELLS(tree, "#size-cells", 0);
    for (uint32_t i = 0; i < platform->cpu_count && !tree->error; i++) {
        begin_at(tree, "cpu", platform->apic_ids[i]);
        put_string(tree, "device_type", "cpu");
        PUT_CELLS(tree, "reg", platform->apic_ids[i]);
        end(tree);
    }
    end(tree);
}

static void put_memory(struct tree *tree, const struct ram_layout *ram)
{
    for (size_t i = 0; i < ram->count; i++) {
        begin_at(tree, "memory", ram->ranges[i].gpa);
        put_string(tree, "device_type", "memory");
        put_range(tree, ram->ranges[i].gpa, ram->ranges[i].size);
        end(tree);
    }
}

static void put_interrupt_controllers(struct tree *tree)
{
    begin_at(tree, "interrupt-controller", LAYOUT_LAPIC_GPA);
    put_string(tree, "compatible", "intel,ce4100-lapic");
    put_range(tree, LAYOUT_LAPIC_GPA, APIC_REGISTERS_SIZE);
    end(tree);

    begin_at(tree, "interrupt-controller", LAYOUT_IOAPIC_GPA);
    put_string(tree, "compatible", "intel,ce4100-ioapic");
    put_empty(tree, "interrupt-controller");
    PUT_CELLS(tree, "#interrupt-cells", 2);
    PUT_CELLS(tree, "#address-cells", 0);
    PUT_CELLS(tree, "phandle", IOAPIC_PHANDLE);
    put_range(tree, LAYOUT_IOAPIC_GPA, APIC_REGISTERS_SIZE);
    end(tree);
}

/* Linux translates ISA's I/O addresses through ranges; here they stay what they are. */
static void put_isa(struct tree *tree)
{
    begin(tree, "isa");
    put_string(tree, "compatible", "isa");
    put_string(tree, "device_type", "isa");
    PUT_CELLS(tree, "#address-cells", 2);
    PUT_CELLS(tree, "#size-cells", 1);
    PUT_CELLS(tree, "ranges", ISA_IO_SPACE, 0, 0, 0, ISA_IO_SIZE);

    begin(tree, "serial@i3f8");
    put_string(tree, "compatible", "ns16550a");
    PUT_CELLS(tree, "reg", ISA_IO_SPACE, LAYOUT_COM1_PORT, 8);
    PUT_CELLS(tree, "interrupts", LAYOUT_COM1_GSI, INTERRUPT_EDGE_RISING);
    PUT_CELLS(tree, "clock-frequency", COM1_CLOCK_HZ);
    end(tree);

    begin(tree, "rtc@i70");
    put_string(tree, "compatible", "motorola,mc146818");
    PUT_CELLS(tree, "reg", ISA_IO_SPACE, LAYOUT_CMOS_PORT, 2);
    PUT_CELLS(tree, "interrupts", LAYOUT_CMOS_GSI, INTERRUPT_EDGE_RISING);
    end(tree);

    end(tree);
}

/* Documentation/devicetree/bindings/virtio/mmio.yaml */
static void put_virtio_mmio(struct tree *tree, unsigned index)
{
    uint64_t gpa = LAYOUT_VIRTIO_MMIO_GPA + index * LAYOUT_VIRTIO_MMIO_SIZE;

    begin_at(tree, "virtio", gpa);
    put_string(tree, "compatible", "virtio,mmio");
    put_range(tree, gpa, LAYOUT_VIRTIO_MMIO_SIZE);
    PUT_CELLS(tree, "interrupts", layout_virtio_mmio_gsi(index, true), INTERRUPT_LEVEL_HIGH);
    end(tree);
}

size_t device_tree_size_max(const struct platform *platform, const char *cmdline)
{
    return FIXED_SIZE + (size_t)platform->cpu_count * CPU_SIZE +
           (size_t)platform->virtio_mmio_count * VIRTIO_MMIO_NODE_SIZE + strlen(cmdline);
}

int device_tree_write(const struct platform *platform, const char *cmdline, const struct layout_range *initrd,
                      void *tree_address, size_t size, struct error *error)
{
    struct tree tree = {.fdt = tree_address};

    note(&tree, fdt_create(tree.fdt, (int)size));
    if (!tree.error)
        note(&tree, fdt_finish_reservemap(tree.fdt));
    begin(&tree, "");
    PUT_CELLS(&tree, "#address-cells", ROOT_CELLS);
    PUT_CELLS(&tree, "#size-cells", ROOT_CELLS);
    PUT_CELLS(&tree, "interrupt-parent", IOAPIC_PHANDLE);
    put_string(&tree, "compatible", "quire,machine");
    put_string(&tree, "model", "Quire");
    put_chosen(&tree, cmdline, initrd);
    put_cpus(&tree, platform);
    put_memory(&tree, &platform->ram);
    put_interrupt_controllers(&tree);
    put_isa(&tree);
    for (unsigned i = 0; i < platform->virtio_mmio_count; i++)
        put_virtio_mmio(&tree, i);
    end(&tree);
    if (!tree.error)
        note(&tree, fdt_finish(tree.fdt));
    if (tree.error)
        return error_set(error, ERROR_CONFIG, "the device tree of %u vCPUs cannot be made (%s); give the machine fewer",
                         platform->cpu_count, fdt_strerror(tree.error));
    return 0;
}
