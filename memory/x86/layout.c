#include "memory/x86/layout.h"

#include <assert.h>

void ram_layout_compute(uint64_t ram_size, struct ram_layout *layout)
{
    assert(ram_size >= LAYOUT_MIN_RAM_SIZE && ram_size <= LAYOUT_MAX_RAM_SIZE && ram_size % 4096 == 0);

    uint64_t below_4g = ram_size < LAYOUT_DEVICES_GPA ? ram_size : LAYOUT_DEVICES_GPA;

    *layout = (struct ram_layout){
        .ranges = {{.gpa = 0, .size = LAYOUT_LOW_RAM_END_GPA},
                   {.gpa = LAYOUT_HIGH_RAM_GPA, .size = below_4g - LAYOUT_HIGH_RAM_GPA}},
        .count = 2,
    };
    if (ram_size > below_4g) {
        layout->ranges[2] = (struct layout_range){.gpa = LAYOUT_RAM_ABOVE_4G_GPA, .size = ram_size - below_4g};
        layout->count = 3;
    }
}

uint32_t layout_virtio_mmio_gsi(unsigned index, bool has_io_apic)
{
    assert(index < LAYOUT_VIRTIO_MMIO_COUNT);
    _Static_assert(LAYOUT_VIRTIO_MMIO_COUNT <= LAYOUT_PCI_GSI_COUNT, "an input for each");
    _Static_assert(__builtin_popcount(LAYOUT_8259_VIRTIO_GSIS) == LAYOUT_VIRTIO_MMIO_COUNT, "an input for each");

    if (has_io_apic)
        return LAYOUT_PCI_FIRST_GSI + index;

    uint32_t left = LAYOUT_8259_VIRTIO_GSIS;
    while (index-- > 0)
        left &= left - 1;
    return (uint32_t)__builtin_ctz(left);
}
