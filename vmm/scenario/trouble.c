#include "vmm/scenario/trouble.h"

#include "vmm/config/place.h"
#include "vmm/config/text.h"
#include "vmm/scenario/pattern.h"
#include "vmm/scenario/words.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const char *doc;
} kinds[TROUBLE_KIND_COUNT] = {
    [TROUBLE_PANIC] = {"panic", "the kernel panicked"},
    [TROUBLE_OOPS] = {"oops", "an exception in the kernel that it has no answer to"},
    [TROUBLE_PAGE_FAULT] = {"page-fault", "the kernel accessed memory that is not there"},
    [TROUBLE_PROTECTION_FAULT] = {"general-protection", "a general protection fault in the kernel"},
    [TROUBLE_BUG] = {"bug", "a BUG() or another message that starts with BUG"},
    [TROUBLE_ATOMIC] = {"atomic", "sleeping or scheduling where that is forbidden"},
    [TROUBLE_WARNING] = {"warning", "a WARN() or another message of that form"},
    [TROUBLE_SOFT_LOCKUP] = {"soft-lockup", "a vCPU that does not schedule any more"},
    [TROUBLE_HARD_LOCKUP] = {"hard-lockup", "a vCPU that takes no interrupts any more"},
    [TROUBLE_RCU_STALL] = {"rcu-stall", "a grace period of RCU that does not end"},
    [TROUBLE_HUNG_TASK] = {"hung-task", "a task that has been waiting for minutes"},
    [TROUBLE_KASAN] = {"kasan", "a report of KASAN: memory used after it was freed, or beyond its end"},
    [TROUBLE_KFENCE] = {"kfence", "a report of KFENCE: the same, found by sampling"},
    [TROUBLE_KCSAN] = {"kcsan", "a report of KCSAN: a data race"},
    [TROUBLE_KMSAN] = {"kmsan", "a report of KMSAN: memory used before it was written"},
    [TROUBLE_UBSAN] = {"ubsan", "a report of UBSAN: behaviour that C leaves undefined"},
    [TROUBLE_LOCKDEP] = {"lockdep", "a report of lockdep, or of RCU used without its locks"},
    [TROUBLE_LIST] = {"list-corruption", "a linked list whose pointers disagree"},
    [TROUBLE_REFCOUNT] = {"refcount", "a reference count that overflowed or was used after its end"},
    [TROUBLE_TRIPLE_FAULT] = {"triple-fault", "a vCPU triple-faulted"},
    [TROUBLE_UNHANDLED_EXIT] = {"unhandled-exit", "the guest did what the machine has no answer to"},
};

/*
 * Not tied to the start of a line: in front may be a level, a time stamp, a caller's id, and whatever else was printed
 * without a newline. Times and CPU numbers are as printk writes them.
 */
const struct trouble_signature trouble_signatures[] = {
    {TROUBLE_PANIC, "Kernel panic", "Kernel panic - not syncing", "all; kernel/panic.c, panic()"},
    {TROUBLE_PANIC, "PANIC: ", "PANIC: (?:double fault|early exception)", "all; arch/x86/kernel/traps.c, head_64.S"},

    {TROUBLE_KASAN, "KASAN: ", "BUG: KASAN: ", "4.0 on; mm/kasan/report.c"},
    {TROUBLE_KFENCE, "KFENCE: ", "BUG: KFENCE: ", "5.12 on; mm/kfence/report.c"},
    {TROUBLE_KCSAN, "KCSAN: ", "BUG: KCSAN: ", "5.8 on; kernel/kcsan/report.c"},
    {TROUBLE_KMSAN, "KMSAN: ", "BUG: KMSAN: ", "6.1 on; mm/kmsan/report.c"},
    {TROUBLE_UBSAN, "UBSAN: ", "UBSAN: [A-Za-z-][A-Za-z -]* in ", "4.5 on; lib/ubsan.c"},

    {TROUBLE_SOFT_LOCKUP, "soft lockup", "BUG: soft lockup - CPU#\\d+ stuck for ", "all; kernel/watchdog.c"},
    {TROUBLE_SOFT_LOCKUP, "workqueue lockup", "BUG: workqueue lockup - pool", "4.5 on; kernel/workqueue.c"},
    {TROUBLE_HARD_LOCKUP, "hard LOCKUP", "[Ww]atchdog detected hard LOCKUP on cpu",
     "all; kernel/watchdog_hld.c, since 6.5 watchdog.c"},
    {TROUBLE_RCU_STALL, "detected", "INFO: rcu\\w* (?:self-)?detected (?:expedited )?stalls? on ",
     "all; kernel/rcu/tree_stall.h, tree_exp.h, tasks.h; since 5.0 with \"rcu: \" in front"},
    {TROUBLE_RCU_STALL, "kthread starved", "rcu\\w* kthread starved for \\d+ jiffies",
     "4.0 on; kernel/rcu/tree_stall.h"},
    {TROUBLE_RCU_STALL, "kthread timer", "rcu\\w* kthread timer wakeup didn't happen for ",
     "5.11 on; kernel/rcu/tree_stall.h"},
    {TROUBLE_HUNG_TASK, "INFO: task ", "INFO: task .{1,64}:\\d+ blocked (?:in I/O wait )?for more than \\d+ seconds",
     "all; kernel/hung_task.c"},

    {TROUBLE_LOCKDEP, ": possible ", "(?:WARNING|INFO): possible (?:(?:circular|recursive) locking|irq lock inversion)",
     "2.6.18 on; kernel/locking/lockdep.c; \"INFO\" until 4.10"},
    {TROUBLE_LOCKDEP, "lock state", "(?:WARNING|INFO): inconsistent lock state", "kernel/locking/lockdep.c"},
    {TROUBLE_LOCKDEP, "unsafe lock order", "(?:WARNING|INFO): [A-Z_]+-safe -> [A-Z_]+-unsafe lock order detected",
     "kernel/locking/lockdep.c"},
    {TROUBLE_LOCKDEP, "unlock balance", "(?:WARNING|BUG): bad unlock balance detected", "kernel/locking/lockdep.c"},
    {TROUBLE_LOCKDEP, "held lock freed", "(?:WARNING|BUG): held lock freed", "kernel/locking/lockdep.c"},
    {TROUBLE_LOCKDEP, "lock held when", "(?:WARNING|BUG): lock held when returning to user space",
     "kernel/locking/lockdep.c"},
    {TROUBLE_LOCKDEP, "still has locks held", "(?:WARNING|BUG): .{1,64} still has locks held",
     "kernel/locking/lockdep.c"},
    {TROUBLE_LOCKDEP, "Invalid wait context", "BUG: Invalid wait context", "5.7 on; kernel/locking/lockdep.c"},
    {TROUBLE_LOCKDEP, "RCU usage", "(?:WARNING|INFO): suspicious RCU usage", "all; kernel/locking/lockdep.c"},
    {TROUBLE_LOCKDEP, "DEBUG_LOCKS_WARN_ON", "DEBUG_LOCKS_WARN_ON\\(", "all; include/linux/debug_locks.h"},

    {TROUBLE_LIST, "corruption", "list_(?:add|del) corruption", "all; lib/list_debug.c"},
    {TROUBLE_REFCOUNT,
     "refcount_t: ", "refcount_t: (?:saturated|addition on 0|underflow|decrement hit 0|increment on 0|unknown)",
     "4.11 on; lib/refcount.c"},
    {TROUBLE_ATOMIC, "scheduling while atomic", "BUG: scheduling while atomic: ", "all; kernel/sched/core.c"},
    {TROUBLE_ATOMIC, "sleeping function", "BUG: sleeping function called from invalid context at ",
     "all; kernel/sched/core.c"},

    {TROUBLE_PAGE_FAULT, "unable to handle",
     "BUG: unable to handle (?:page fault for address|kernel (?:paging request|NULL pointer dereference))",
     "all; arch/x86/mm/fault.c; the first since 5.1"},
    {TROUBLE_PAGE_FAULT, "NULL pointer dereference",
     "BUG: kernel NULL pointer dereference, address: ", "5.1 on; arch/x86/mm/fault.c"},
    /* A process's own is "traps: NAME[PID] general protection fault ip:". */
    {TROUBLE_PROTECTION_FAULT, "general protection fault",
     "general protection fault(?:, (?:probably|maybe) for .{1,64})?: [0-9a-f]{4} \\[#\\d+\\]|Oops: general protection",
     "all; arch/x86/kernel/traps.c; since 6.10 with \"Oops: \" in front"},
    {TROUBLE_BUG, "kernel BUG at ", "kernel BUG at ", "all; lib/bug.c"},
    {TROUBLE_OOPS, "Oops: ", "Oops: .{0,200}\\[#\\d+\\]", "all; arch/x86/kernel/dumpstack.c"},
    {TROUBLE_OOPS, ": 0000 [#", "[a-z]: 0000 \\[#\\d+\\]", "until 6.9, other exceptions; arch/x86/kernel/dumpstack.c"},
    {TROUBLE_BUG, "BUG: ", "(?<![A-Z_])BUG: ", "all; Bad page state, spinlock bad magic, using smp_processor_id() ..."},
    {TROUBLE_BUG, "ainted", "BUG .{1,64} \\((?:Not tainted|Tainted)", "all; mm/slub.c, slab_bug()"},
    {TROUBLE_WARNING,
     "WARNING: ", "WARNING: (?:CPU: \\d+ PID: \\d+ at |\\S+:\\d+ at \\S+, CPU#\\d+: |at \\S+, CPU#\\d+: )",
     "all; kernel/panic.c, __warn(); the second form since 6.18"},
    {TROUBLE_WARNING, "unchecked MSR access", "unchecked MSR access error: ", "all; arch/x86/mm/extable.c"},
    {TROUBLE_WARNING, "nobody cared", "irq \\d+: nobody cared", "all; kernel/irq/spurious.c"},
};
const size_t trouble_signature_count = sizeof(trouble_signatures) / sizeof(trouble_signatures[0]);

#define SIGNATURE_COUNT (sizeof(trouble_signatures) / sizeof(trouble_signatures[0]))
_Static_assert(SIGNATURE_COUNT <= WORDS_MAX, "an anchor for each signature");

/* ---- Names ---- */

const char *trouble_name(enum trouble_kind kind)
{
    return kinds[kind].name;
}

const char *trouble_doc(enum trouble_kind kind)
{
    return kinds[kind].doc;
}

enum trouble_kind trouble_find(const char *name)
{
    size_t i = 0;

    while (i < TROUBLE_KIND_COUNT && strcmp(kinds[i].name, name) != 0)
        i++;
    return (enum trouble_kind)i;
}

const char *trouble_nearest(const char *name)
{
    const char *names[TROUBLE_KIND_COUNT + 1] = {0};

    for (size_t i = 0; i < TROUBLE_KIND_COUNT; i++)
        names[i] = kinds[i].name;
    return config_text_nearest(name, names);
}

/* ---- Scanning ---- */

struct trouble_scanner {
    struct words *anchors;
    /* Compiled when an anchor is first seen: most runs see none. */
    struct pattern *patterns[SIGNATURE_COUNT];
};

struct trouble_scanner *trouble_scanner_create(struct error *error)
{
    struct trouble_scanner *scanner = calloc(1, sizeof(*scanner));
    struct word anchors[SIGNATURE_COUNT];

    for (unsigned i = 0; i < SIGNATURE_COUNT; i++)
        anchors[i] = (struct word){trouble_signatures[i].anchor, strlen(trouble_signatures[i].anchor), i};
    if (scanner != NULL)
        scanner->anchors = words_create(anchors, SIGNATURE_COUNT);
    if (scanner != NULL && scanner->anchors != NULL)
        return scanner;
    trouble_scanner_free(scanner);
    (void)config_out_of_memory(error);
    return NULL;
}

void trouble_scanner_free(struct trouble_scanner *scanner)
{
    if (scanner == NULL)
        return;
    for (size_t i = 0; i < SIGNATURE_COUNT; i++)
        pattern_free(scanner->patterns[i]);
    words_free(scanner->anchors);
    free(scanner);
}

/* Giving up counts as a match: silence would be a verdict, too, and the wrong one. */
static bool fits(struct trouble_scanner *scanner, unsigned index, const char *line, size_t length, size_t known,
                 size_t *start)
{
    struct pattern_failure failure;
    struct error error;
    size_t from = 0;

    if (scanner->patterns[index] == NULL)
        scanner->patterns[index] = pattern_compile(trouble_signatures[index].pattern, &failure);
    struct pattern *pattern = scanner->patterns[index];
    *start = 0;
    if (pattern == NULL)
        return true;
    for (;;) {
        const enum pattern_result result = pattern_match(pattern, line, length, from, false, &error);
        if (result == PATTERN_NO_MATCH)
            return false;
        if (result == PATTERN_FAILED)
            return true;
        *start = pattern_start(pattern);
        if (pattern_end(pattern) > known)
            return true;
        from = pattern_end(pattern);
    }
}

enum trouble_kind trouble_scan(struct trouble_scanner *scanner, const char *line, size_t length, size_t known,
                               size_t *start)
{
    for (uint64_t found = words_find(scanner->anchors, line, length); found != 0; found &= found - 1) {
        const unsigned index = (unsigned)__builtin_ctzll(found);
        if (fits(scanner, index, line, length, known, start))
            return trouble_signatures[index].kind;
    }
    return TROUBLE_NONE;
}
