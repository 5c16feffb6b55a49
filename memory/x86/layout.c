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
