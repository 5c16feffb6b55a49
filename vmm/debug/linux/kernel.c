/*
 * Any page can begin like VMCOREINFO, and a guest's user code may want that. So each that does is judged: the page
 * tables that it leads to have to lead back to what it says, the log has to look like one, and where there is a vCPU,
 * its tables have to agree. The first of the best is taken.
 */
#include "vmm/debug/linux/kernel.h"

#include "vmm/debug/linux/printk_ring.h"

#include <asm/processor-flags.h>
#include <inttypes.h>
#include <string.h>

enum {
    PAGE_SIZE = 4096,
    /* Pages that are judged: many more than kexec and caches make, and done in a moment. */
    MAX_CANDIDATES = 32768,
    /* struct new_utsname, <linux/utsname.h>: sysname, nodename, release, ..., each of 65 bytes. */
    UTS_LENGTH = 65,
    UTS_RELEASE = 2 * UTS_LENGTH,
};

/* __START_KERNEL_map in Linux's <asm/page_64_types.h>: where the kernel's text and data are mapped. */
static const uint64_t KERNEL_MAP = UINT64_C(0xffffffff80000000);
/* Physical addresses have at most 52 bits. */
static const uint64_t MAX_PHYSICAL = UINT64_C(1) << 52;
/* IA32_EFER, Intel SDM volume 3, 2.2.1: LMA and NXE. */
static const uint64_t EFER_LONG = 1u << 10 | 1u << 11;
/*
 * PTI_USER_PGTABLE_MASK in Linux's <asm/pgtable.h>: with page table isolation, user code has a root of its own that
 * maps next to nothing of the kernel; the kernel's is the page before it.
 */
static const uint64_t CR3_USER_ROOT = 1u << 12;

/* How far a candidate can be believed; each is worth more than those before it together. */
enum { IS_CONSISTENT = 1, HAS_LOG = 2, AGREES_IN_PART = 4, AGREES = 8 };

bool linux_kernel_read(const struct linux_kernel *kernel, uint64_t linear, void *buffer, size_t size)
{
    uint8_t *bytes = buffer;

    while (size > 0) {
        const uint64_t left = PAGE_SIZE - linear % PAGE_SIZE;
        const size_t piece = size < left ? size : (size_t)left;
        struct walk walk;
        walk_address(&kernel->tables, kernel->memory->read, kernel->memory->context, linear, &walk);
        if (!walk.is_mapped || !kernel->memory->read(kernel->memory->context, walk.gpa, bytes, piece))
            return false;
        /* The last piece may end where addresses do; wrapping leads to where nothing is mapped. */
        linear += piece;
        bytes += piece;
        size -= piece;
    }
    return true;
}

/* The kernel's own tables, as arch_crash_save_vmcoreinfo() tells of them. */
static bool find_tables(struct linux_kernel *kernel)
{
    uint64_t root, phys_base, has_five_levels;

    if (!vmcoreinfo_symbol(&kernel->info, "init_top_pgt", &root) &&
        !vmcoreinfo_symbol(&kernel->info, "swapper_pg_dir", &root))
        return false;
    if (!vmcoreinfo_number(&kernel->info, "phys_base", &phys_base))
        return false;
    if (!vmcoreinfo_number(&kernel->info, "pgtable_l5_enabled", &has_five_levels))
        has_five_levels = 0;
    root = root - KERNEL_MAP + phys_base;
    if (root % PAGE_SIZE != 0 || root >= MAX_PHYSICAL)
        return false;
    kernel->tables = (struct walk_registers){.cr0 = X86_CR0_PG | X86_CR0_WP,
                                             .cr3 = root,
                                             .cr4 = X86_CR4_PAE | (has_five_levels != 0 ? X86_CR4_LA57 : 0),
                                             .efer = EFER_LONG};
    return true;
}

/* What init_uts_ns says has to be what OSRELEASE does. */
static bool has_its_release(const struct linux_kernel *kernel)
{
    char expected[UTS_LENGTH], release[UTS_LENGTH];
    uint64_t uts, name;

    return vmcoreinfo_text(&kernel->info, "OSRELEASE", expected, sizeof(expected)) &&
           vmcoreinfo_symbol(&kernel->info, "init_uts_ns", &uts) &&
           vmcoreinfo_offset(&kernel->info, "uts_namespace.name", &name) &&
           linux_kernel_read(kernel, uts + name + UTS_RELEASE, release, sizeof(release)) &&
           strncmp(release, expected, sizeof(release)) == 0;
}

/* Whether a vCPU's tables have the kernel's name, and so its data, where its own do. */
static bool agrees(const struct linux_kernel *kernel, const struct walk_registers *registers)
{
    const struct linux_memory *memory = kernel->memory;
    struct walk own, other;
    uint64_t linear;

    if (!(registers->cr0 & X86_CR0_PG) || !vmcoreinfo_symbol(&kernel->info, "init_uts_ns", &linear))
        return false;
    walk_address(&kernel->tables, memory->read, memory->context, linear, &own);
    walk_address(registers, memory->read, memory->context, linear, &other);
    return own.is_mapped && other.is_mapped && own.gpa == other.gpa && !other.is_user;
}

static unsigned judge_agreement(const struct linux_kernel *kernel)
{
    const struct walk_registers *registers = kernel->memory->registers;

    if (registers == NULL)
        return 0;
    if (agrees(kernel, registers))
        return AGREES;
    if (!(registers->cr3 & CR3_USER_ROOT))
        return 0;
    struct walk_registers isolated = *registers;
    isolated.cr3 &= ~CR3_USER_ROOT;
    return agrees(kernel, &isolated) ? AGREES_IN_PART : 0;
}

/* 0: it is none. Fills in the tables. The log, which takes longest, is only looked at if more than `least` depends on
 * it. */
static unsigned judge(struct linux_kernel *kernel, unsigned least)
{
    struct printk_ring ring;
    struct error ignored;

    unsigned score = IS_CONSISTENT;
    if (find_tables(kernel) && has_its_release(kernel)) {
        score |= judge_agreement(kernel);
    } else {
        /* A vCPU's, for want of better ones. User code may have a part in these. */
        if (kernel->memory->registers == NULL)
            return 0;
        kernel->tables = *kernel->memory->registers;
        if (!has_its_release(kernel))
            return 0;
    }
    if ((score | HAS_LOG) > least && printk_ring_open(kernel, &ring, &ignored) == 0)
        score |= HAS_LOG;
    return score;
}

struct search {
    struct linux_kernel *best;
    unsigned best_score;
    unsigned candidates;
    /* Why a candidate that would have been one was not taken. */
    bool saw_32bit;
};

/* SIZE(list_head): two pointers. */
static bool is_32bit(const struct vmcoreinfo *info)
{
    uint64_t size;

    return vmcoreinfo_size(info, "list_head", &size) && size == 8;
}

static void consider(const struct linux_memory *memory, uint64_t gpa, struct search *search)
{
    struct linux_kernel candidate = {.memory = memory, .info_gpa = gpa};
    uint8_t page[PAGE_SIZE];

    search->candidates++;
    if (!memory->read(memory->context, gpa, page, sizeof(page)) ||
        !vmcoreinfo_parse(page, sizeof(page), &candidate.info))
        return;
    if (is_32bit(&candidate.info)) {
        search->saw_32bit = true;
        return;
    }
    const unsigned score = judge(&candidate, search->best_score);
    if (score <= search->best_score)
        return;
    candidate.is_certain = (score & (AGREES | AGREES_IN_PART)) != 0;
    *search->best = candidate;
    search->best_score = score;
}

/* Nothing that may follow can be better, or it has been enough. */
static bool is_over(const struct linux_memory *memory, const struct search *search)
{
    const unsigned best = IS_CONSISTENT | HAS_LOG | (memory->registers != NULL ? AGREES : 0);

    return search->best_score >= best || search->candidates >= MAX_CANDIDATES;
}

static bool starts_like_info(const struct linux_memory *memory, const struct linux_range *range, uint64_t offset)
{
    char start[sizeof(VMCOREINFO_START) - 1];

    if (range->bytes != NULL)
        memcpy(start, &range->bytes[offset], sizeof(start));
    else if (!memory->read(memory->context, range->gpa + offset, start, sizeof(start)))
        return false;
    return memcmp(start, VMCOREINFO_START, sizeof(start)) == 0;
}

static void search_range(const struct linux_memory *memory, const struct linux_range *range, uint64_t from,
                         struct search *search)
{
    uint64_t offset = from > range->gpa ? from - range->gpa : 0;

    offset += -(range->gpa + offset) % PAGE_SIZE;
    for (; offset < range->size && range->size - offset >= PAGE_SIZE; offset += PAGE_SIZE) {
        if (starts_like_info(memory, range, offset))
            consider(memory, range->gpa + offset, search);
        if (is_over(memory, search))
            return;
    }
}

static int explain(const struct search *search, struct error *error)
{
    if (search->saw_32bit)
        return error_set(error, ERROR_CONFIG,
                         "the guest's kernel is a 32-bit one, whose memory is not understood here");
    if (search->candidates >= MAX_CANDIDATES)
        return error_set(
            error, ERROR_CONFIG,
            "%d pages of the guest imitate VMCOREINFO; none of these is a kernel's, and no more were looked at",
            MAX_CANDIDATES);
    return error_set(error, ERROR_CONFIG,
                     "there is no Linux kernel's VMCOREINFO in the guest's memory%s: it has none before its "
                     "subsys_initcalls, nor without CONFIG_VMCORE_INFO (CONFIG_CRASH_CORE before Linux 6.9)",
                     search->candidates > 0 ? " that fits the rest of it" : "");
}

int linux_kernel_find(const struct linux_memory *memory, struct linux_kernel *ret_kernel, struct error *error)
{
    struct search search = {.best = ret_kernel};
    struct linux_range range;
    uint64_t gpa = 0;

    while (!is_over(memory, &search) && memory->next_range(memory->context, gpa, &range)) {
        uint64_t end;
        if (__builtin_add_overflow(range.gpa, range.size, &end) || end <= gpa)
            break;
        search_range(memory, &range, gpa, &search);
        gpa = end;
    }
    return search.best_score > 0 ? 0 : explain(&search, error);
}
