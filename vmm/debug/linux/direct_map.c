#include "vmm/debug/linux/direct_map.h"

#include <asm/processor-flags.h>

/* Documentation/arch/x86/x86_64/mm.rst in Linux's tree: behind the guard hole, before the kernel's text. */
static const uint64_t FIRST_OF_4_LEVELS = UINT64_C(0xffff880000000000);
static const uint64_t FIRST_OF_5_LEVELS = UINT64_C(0xff10000000000000);
static const uint64_t END = UINT64_C(0xffffff8000000000);

/* PUD_SIZE, and what an entry of a PML4 and of a PML5 maps. */
static const uint64_t STEP = UINT64_C(1) << 30;
static const uint64_t PML4_ENTRY = UINT64_C(1) << 39;
static const uint64_t PML5_ENTRY = UINT64_C(1) << 48;

static bool maps(const struct linux_kernel *kernel, uint64_t base, uint64_t gpa, struct walk *ret_walk)
{
    walk_address(&kernel->tables, kernel->memory->read, kernel->memory->context, base + gpa, ret_walk);
    return ret_walk->is_mapped && ret_walk->gpa == gpa;
}

/* How far the next address is that may be mapped otherwise. */
static uint64_t step_over(const struct walk *walk, bool has_five_levels, uint64_t base)
{
    uint64_t size = STEP;

    if (!walk->is_mapped && walk->level_count == 1)
        size = has_five_levels ? PML5_ENTRY : PML4_ENTRY;
    else if (!walk->is_mapped && walk->level_count == 2 && has_five_levels)
        size = PML4_ENTRY;
    return size - base % size;
}

bool linux_direct_map_find(const struct linux_kernel *kernel, uint64_t *ret_base)
{
    const bool has_five_levels = (kernel->tables.cr4 & X86_CR4_LA57) != 0;
    /* Two pages of the kernel's own: its VMCOREINFO, and the root of its tables. */
    const uint64_t root = kernel->tables.cr3 & ~UINT64_C(4095);
    uint64_t base = has_five_levels ? FIRST_OF_5_LEVELS : FIRST_OF_4_LEVELS;
    struct walk walk, other;

    while (base < END) {
        if (maps(kernel, base, kernel->info_gpa, &walk) && maps(kernel, base, root, &other)) {
            *ret_base = base;
            return true;
        }
        base += step_over(&walk, has_five_levels, base);
    }
    return false;
}
