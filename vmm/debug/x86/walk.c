/*
 * Page tables: Intel SDM volume 3, 4.3 (32-bit), 4.4 (PAE), 4.5 (4 and 5 levels).
 */
#include "vmm/debug/x86/walk.h"

#include "vmm/debug/output.h"

#include <asm/processor-flags.h>
#include <endian.h>
#include <inttypes.h>

/* IA32_EFER, Intel SDM volume 3, 2.2.1. */
static const uint64_t EFER_LMA = 1u << 10;
static const uint64_t EFER_NXE = 1u << 11;

/* An entry's bits, Intel SDM volume 3, tables 4-5 and 4-15 to 4-20. */
static const uint64_t ENTRY_PRESENT = 1u << 0;
static const uint64_t ENTRY_WRITE = 1u << 1;
static const uint64_t ENTRY_USER = 1u << 2;
static const uint64_t ENTRY_ACCESSED = 1u << 5;
static const uint64_t ENTRY_DIRTY = 1u << 6;
static const uint64_t ENTRY_PAGE_SIZE = 1u << 7;
static const uint64_t ENTRY_GLOBAL = 1u << 8;
static const uint64_t ENTRY_NO_EXECUTE = UINT64_C(1) << 63;

/* Bits 51:12: physical addresses have at most 52 bits. */
static const uint64_t ENTRY_ADDRESS = UINT64_C(0x000ffffffffff000);
/* Of a PAE root, which is 32 bytes: SDM table 4-7. */
static const uint64_t PAE_ROOT_ADDRESS = 0xffffffe0u;

enum { PAGE_BITS = 12 };

/* What a level can be called, and what can be wrong with it. */
struct level_words {
    const char *name;
    const char *not_readable;
    const char *not_present;
    const char *not_a_page;
};

#define LEVEL_WORDS(name)                                                                                              \
    {                                                                                                                  \
        name, "its " name " entry lies where there is no memory", "its " name " entry is not present",                 \
            "its " name " entry has the reserved bit 7 set"                                                            \
    }

/* From the page on: a level's number is its place here. */
static const struct level_words level_words[WALK_MAX_LEVELS] = {
    LEVEL_WORDS("PT"), LEVEL_WORDS("PD"), LEVEL_WORDS("PDPT"), LEVEL_WORDS("PML4"), LEVEL_WORDS("PML5"),
};

enum { LEVEL_PT, LEVEL_PD, LEVEL_PDPT };

/* How the registers have addresses translated. */
struct mode {
    unsigned levels;
    unsigned entry_size;
    /* Bits of the linear address for each level; the root of PAE has the rest. */
    unsigned index_bits;
    unsigned linear_bits;
    bool is_canonical;
    /* Up to which level an entry can be a page. */
    unsigned last_page_level;
    uint64_t root;
};

static struct mode find_mode(const struct walk_registers *registers)
{
    if (!(registers->cr0 & X86_CR0_PG))
        return (struct mode){.linear_bits = 32};
    if (registers->efer & EFER_LMA) {
        const unsigned levels = registers->cr4 & X86_CR4_LA57 ? 5 : 4;
        return (struct mode){.levels = levels,
                             .entry_size = 8,
                             .index_bits = 9,
                             .linear_bits = PAGE_BITS + levels * 9,
                             .is_canonical = true,
                             .last_page_level = LEVEL_PDPT,
                             .root = registers->cr3 & ENTRY_ADDRESS};
    }
    if (registers->cr4 & X86_CR4_PAE)
        return (struct mode){.levels = 3,
                             .entry_size = 8,
                             .index_bits = 9,
                             .linear_bits = 32,
                             .last_page_level = LEVEL_PD,
                             .root = registers->cr3 & PAE_ROOT_ADDRESS};
    return (struct mode){.levels = 2,
                         .entry_size = 4,
                         .index_bits = 10,
                         .linear_bits = 32,
                         .last_page_level = registers->cr4 & X86_CR4_PSE ? LEVEL_PD : LEVEL_PT,
                         .root = registers->cr3 & ENTRY_ADDRESS & UINT32_MAX};
}

/* Why the mode has no such address, or NULL. */
static const char *check_linear(const struct mode *mode, uint64_t linear)
{
    if (!mode->is_canonical)
        return linear >> mode->linear_bits == 0 ? NULL : "outside of 64-bit mode addresses end at 4 GiB";
    /* All bits above the highest one that is translated are like it. */
    const uint64_t upper = linear >> (mode->linear_bits - 1);
    return upper == 0 || upper == UINT64_MAX >> (mode->linear_bits - 1) ? NULL : "it is not canonical";
}

static unsigned level_shift(const struct mode *mode, unsigned level)
{
    return PAGE_BITS + level * mode->index_bits;
}

/* Reads the entry of a table that the address selects. */
static bool read_entry(const struct mode *mode, walk_read *read, void *context, uint64_t table, uint64_t linear,
                       unsigned level, struct walk_level *entry)
{
    const uint64_t index = linear >> level_shift(mode, level) & ((UINT64_C(1) << mode->index_bits) - 1);

    *entry = (struct walk_level){
        .name = level_words[level].name, .entry_gpa = table + index * mode->entry_size, .entry_size = mode->entry_size};
    if (mode->entry_size == sizeof(uint32_t)) {
        uint32_t narrow;
        entry->readable = read(context, entry->entry_gpa, &narrow, sizeof(narrow));
        entry->entry = entry->readable ? le32toh(narrow) : 0;
    } else {
        uint64_t wide;
        entry->readable = read(context, entry->entry_gpa, &wide, sizeof(wide));
        entry->entry = entry->readable ? le64toh(wide) : 0;
    }
    return entry->readable;
}

/* PSE-36: bits 20:13 of a 4 MiB page's entry are bits 39:32 of its address (SDM table 4-4). */
static uint64_t pse36_address(uint64_t entry)
{
    return (entry & 0xffc00000u) | (entry >> 13 & 0xff) << 32;
}

static void set_page(const struct mode *mode, unsigned level, uint64_t entry, uint64_t linear, struct walk *walk)
{
    walk->is_mapped = true;
    walk->page_size = UINT64_C(1) << level_shift(mode, level);
    const uint64_t offset = linear & (walk->page_size - 1);
    const uint64_t page =
        mode->entry_size == sizeof(uint32_t) && level == LEVEL_PD ? pse36_address(entry) : entry & ENTRY_ADDRESS;
    walk->gpa = (page & ~(walk->page_size - 1)) | offset;
}

/* The root of PAE, four entries, has no rights (SDM table 4-8). */
static bool has_rights(const struct mode *mode, unsigned level)
{
    return mode->is_canonical || level < LEVEL_PDPT;
}

static void add_rights(uint64_t entry, bool has_no_execute, struct walk *walk)
{
    walk->is_writable = walk->is_writable && entry & ENTRY_WRITE;
    walk->is_user = walk->is_user && entry & ENTRY_USER;
    walk->is_executable = walk->is_executable && !(has_no_execute && entry & ENTRY_NO_EXECUTE);
}

static void walk_tables(const struct mode *mode, bool has_no_execute, walk_read *read, void *context, uint64_t linear,
                        struct walk *walk)
{
    uint64_t table = mode->root;

    for (unsigned level = mode->levels; level-- > 0;) {
        struct walk_level *entry = &walk->levels[walk->level_count++];
        if (!read_entry(mode, read, context, table, linear, level, entry)) {
            walk->problem = level_words[level].not_readable;
            return;
        }
        if (!(entry->entry & ENTRY_PRESENT)) {
            walk->problem = level_words[level].not_present;
            return;
        }
        if (has_rights(mode, level))
            add_rights(entry->entry, has_no_execute, walk);
        const bool has_page_size = level != LEVEL_PT && entry->entry & ENTRY_PAGE_SIZE;
        if (level == LEVEL_PT || (has_page_size && level <= mode->last_page_level)) {
            set_page(mode, level, entry->entry, linear, walk);
            return;
        }
        /* Without CR4.PSE the bit is ignored. */
        if (has_page_size && mode->entry_size == sizeof(uint64_t)) {
            walk->problem = level_words[level].not_a_page;
            return;
        }
        table = entry->entry & ENTRY_ADDRESS;
    }
}

void walk_address(const struct walk_registers *registers, walk_read *read, void *context, uint64_t linear,
                  struct walk *ret_walk)
{
    const struct mode mode = find_mode(registers);
    struct walk *walk = ret_walk;

    *walk = (struct walk){.is_writable = true, .is_user = true, .is_executable = true};
    walk->problem = check_linear(&mode, linear);
    if (walk->problem == NULL && mode.levels == 0) {
        walk->is_mapped = true;
        walk->gpa = linear;
        walk->page_size = UINT64_C(1) << PAGE_BITS;
    } else if (walk->problem == NULL) {
        walk_tables(&mode, mode.entry_size == sizeof(uint64_t) && registers->efer & EFER_NXE, read, context, linear,
                    walk);
        walk->is_writable = walk->is_writable || !(registers->cr0 & X86_CR0_WP);
    }
    if (!walk->is_mapped)
        walk->is_writable = walk->is_user = walk->is_executable = false;
}

static void print_flags(const struct walk_level *level, const struct debug_output *output)
{
    static const struct {
        const uint64_t *bit;
        const char *word;
    } flags[] = {
        {&ENTRY_WRITE, "write"}, {&ENTRY_USER, "user"},     {&ENTRY_ACCESSED, "accessed"},
        {&ENTRY_DIRTY, "dirty"}, {&ENTRY_GLOBAL, "global"}, {&ENTRY_NO_EXECUTE, "no-execute"},
    };

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (level->entry & *flags[i].bit)
            debug_print(output, " %s", flags[i].word);
    }
}

static void print_level(const struct walk_level *level, const struct debug_output *output)
{
    debug_print(output, "%-8s at 0x%" PRIx64 ": ", level->name, level->entry_gpa);
    if (!level->readable) {
        debug_print(output, "no memory there\n");
        return;
    }
    debug_print(output, "0x%0*" PRIx64, (int)level->entry_size * 2, level->entry);
    if (level->entry & ENTRY_PRESENT)
        print_flags(level, output);
    else
        debug_print(output, " not present");
    debug_print(output, "\n");
}

static const char *size_words(uint64_t size)
{
    switch (size) {
    case UINT64_C(1) << 12:
        return "4 KiB";
    case UINT64_C(1) << 21:
        return "2 MiB";
    case UINT64_C(1) << 22:
        return "4 MiB";
    default:
        return "1 GiB";
    }
}

void walk_print(const struct walk *walk, uint64_t linear, const struct debug_output *output)
{
    debug_print(output, "linear   0x%" PRIx64 "\n", linear);
    for (unsigned i = 0; i < walk->level_count; i++)
        print_level(&walk->levels[i], output);
    if (!walk->is_mapped)
        debug_print(output, "not mapped: %s\n", walk->problem);
    else if (walk->level_count == 0)
        debug_print(output, "physical 0x%" PRIx64 ", without paging\n", walk->gpa);
    else
        debug_print(output, "physical 0x%" PRIx64 ", in a page of %s: %s, %s, %s\n", walk->gpa,
                    size_words(walk->page_size), walk->is_writable ? "writable" : "read-only",
                    walk->is_executable ? "executable" : "no code",
                    walk->is_user ? "for user code too" : "for the kernel alone");
}
