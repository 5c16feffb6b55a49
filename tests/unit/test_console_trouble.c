/*
 * Trouble on a console: each signature in the words of the kernel, under every kind of prefix, and what only looks
 * alike.
 */
#include "vmm/scenario/trouble.h"

#include "unit_test.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
    enum trouble_kind kind;
    const char *line;
} lines[] = {
    {TROUBLE_PANIC, "Kernel panic - not syncing: sysrq triggered crash"},
    {TROUBLE_PANIC, "---[ end Kernel panic - not syncing: Fatal exception ]---"},
    {TROUBLE_PANIC, "Kernel panic - not syncing: softlockup: hung tasks"},
    {TROUBLE_PANIC, "PANIC: double fault, error_code: 0x0"},
    {TROUBLE_KASAN, "BUG: KASAN: slab-out-of-bounds in lkdtm_SLAB_LINEAR_OVERFLOW+0x4a/0x60"},
    {TROUBLE_KFENCE, "BUG: KFENCE: use-after-free read in test_use_after_free_read+0xb3/0x143"},
    {TROUBLE_KCSAN, "BUG: KCSAN: data-race in test_kernel_read / test_kernel_write"},
    {TROUBLE_KMSAN, "BUG: KMSAN: uninit-value in test_uninit_kmsan_check_memory+0x1be/0x380"},
    {TROUBLE_UBSAN, "UBSAN: array-index-out-of-bounds in drivers/misc/lkdtm/bugs.c:393:16"},
    {TROUBLE_UBSAN, "UBSAN: Undefined behaviour in lib/test.c:12:3"},
    {TROUBLE_SOFT_LOCKUP, "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [bash:412]"},
    {TROUBLE_SOFT_LOCKUP, "NMI watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]"},
    {TROUBLE_SOFT_LOCKUP, "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 41s!"},
    {TROUBLE_HARD_LOCKUP, "NMI watchdog: Watchdog detected hard LOCKUP on cpu 3"},
    {TROUBLE_HARD_LOCKUP, "watchdog: Watchdog detected hard LOCKUP on cpu 0"},
    {TROUBLE_RCU_STALL, "rcu: INFO: rcu_preempt self-detected stall on CPU"},
    {TROUBLE_RCU_STALL, "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"},
    {TROUBLE_RCU_STALL, "INFO: rcu_sched self-detected stall on CPU { 0}  (t=2100 jiffies)"},
    {TROUBLE_RCU_STALL, "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-...D } 6417 jiffies"},
    {TROUBLE_RCU_STALL, "INFO: rcu_tasks detected stalls on tasks:"},
    {TROUBLE_RCU_STALL, "rcu: rcu_preempt kthread starved for 5252 jiffies! g-1195 f0x0 RCU_GP_WAIT_FQS(5)"},
    {TROUBLE_RCU_STALL, "rcu: rcu_preempt kthread timer wakeup didn't happen for 5251 jiffies! g-1195 f0x0"},
    {TROUBLE_HUNG_TASK, "INFO: task cat:187 blocked for more than 122 seconds."},
    {TROUBLE_HUNG_TASK, "INFO: task kworker/u8:2:87 blocked for more than 120 seconds."},
    {TROUBLE_LOCKDEP, "WARNING: possible circular locking dependency detected"},
    {TROUBLE_LOCKDEP, "WARNING: possible recursive locking detected"},
    {TROUBLE_LOCKDEP, "[ INFO: possible recursive locking detected ]"},
    {TROUBLE_LOCKDEP, "WARNING: possible irq lock inversion dependency detected"},
    {TROUBLE_LOCKDEP, "WARNING: inconsistent lock state"},
    {TROUBLE_LOCKDEP, "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected"},
    {TROUBLE_LOCKDEP, "WARNING: bad unlock balance detected!"},
    {TROUBLE_LOCKDEP, "WARNING: held lock freed!"},
    {TROUBLE_LOCKDEP, "WARNING: lock held when returning to user space!"},
    {TROUBLE_LOCKDEP, "WARNING: init/1 still has locks held!"},
    {TROUBLE_LOCKDEP, "[ BUG: Invalid wait context ]"},
    {TROUBLE_LOCKDEP, "WARNING: suspicious RCU usage"},
    {TROUBLE_LOCKDEP, "DEBUG_LOCKS_WARN_ON(lock->magic != lock)"},
    {TROUBLE_LIST, "list_add corruption. next->prev should be prev (ffff8880), but was 0000. (next=ffff)."},
    {TROUBLE_LIST, "list_del corruption, ffff888004f3b000->next is LIST_POISON1 (dead000000000100)"},
    {TROUBLE_REFCOUNT, "refcount_t: underflow; use-after-free."},
    {TROUBLE_REFCOUNT, "refcount_t: addition on 0; use-after-free."},
    {TROUBLE_REFCOUNT, "refcount_t: saturated; leaking memory."},
    {TROUBLE_ATOMIC, "BUG: scheduling while atomic: insmod/101/0x00000002"},
    {TROUBLE_ATOMIC, "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580"},
    {TROUBLE_PAGE_FAULT, "BUG: unable to handle page fault for address: ffffffffdeadbeef"},
    {TROUBLE_PAGE_FAULT, "BUG: unable to handle kernel paging request at ffffffffdeadbeef"},
    {TROUBLE_PAGE_FAULT, "BUG: unable to handle kernel NULL pointer dereference at 0000000000000008"},
    {TROUBLE_PAGE_FAULT, "BUG: kernel NULL pointer dereference, address: 0000000000000000"},
    {TROUBLE_PROTECTION_FAULT, "general protection fault: 0000 [#1] SMP PTI"},
    {TROUBLE_PROTECTION_FAULT,
     "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP"},
    {TROUBLE_PROTECTION_FAULT, "Oops: general protection fault, maybe for address 0xffff: 0000 [#2] SMP NOPTI"},
    {TROUBLE_BUG, "kernel BUG at drivers/misc/lkdtm/bugs.c:105!"},
    {TROUBLE_OOPS, "Oops: 0002 [#1] PREEMPT SMP NOPTI"},
    {TROUBLE_OOPS, "Oops: Oops: 0000 [#1] SMP NOPTI"},
    {TROUBLE_OOPS, "Oops: invalid opcode: 0000 [#1] SMP NOPTI"},
    {TROUBLE_OOPS, "invalid opcode: 0000 [#1] PREEMPT SMP PTI"},
    {TROUBLE_OOPS, "divide error: 0000 [#1] SMP"},
    {TROUBLE_BUG, "BUG: Bad page state in process insmod  pfn:04f3b"},
    {TROUBLE_BUG, "BUG: spinlock bad magic on CPU#0, swapper/0/1"},
    {TROUBLE_BUG, "BUG: using smp_processor_id() in preemptible [00000000] code: cat/77"},
    {TROUBLE_BUG, "BUG kmalloc-64 (Not tainted): Poison overwritten"},
    {TROUBLE_BUG, "BUG kmalloc-rnd-04-64 (Tainted: G    B             ): Object already free"},
    {TROUBLE_WARNING, "WARNING: CPU: 0 PID: 187 at drivers/misc/lkdtm/bugs.c:113 lkdtm_WARNING+0x20/0x30"},
    {TROUBLE_WARNING, "WARNING: CPU: 1 PID: 1 at __warn_thunk+0x2a/0x40"},
    {TROUBLE_WARNING, "WARNING: drivers/misc/lkdtm/bugs.c:113 at lkdtm_WARNING+0x20/0x30, CPU#0: bash/187"},
    {TROUBLE_WARNING, "unchecked MSR access error: RDMSR from 0x1a2 at rIP: 0xffffffff81 (native_read_msr+0x4/0x30)"},
    {TROUBLE_WARNING, "irq 11: nobody cared (try booting with the \"irqpoll\" option)"},
};

/* printk's time, its caller's id, levels as console_msg_format=syslog has them, and what a process left on the line. */
static const char *const prefixes[] = {
    "",
    "[    1.234567] ",
    "[12345.678901][    C0] ",
    "[    0.000000][    T0] ",
    "<4>[    3.141592] ",
    "<1>",
    "[    2.718281] [  T187] ",
    "login: [    9.999999] ",
    "/ # ",
};

static const char *const innocent[] = {
    "DEBUG: nothing to see",
    "WARNING: the system clock is off",
    "WARNING: CPU frequency unknown",
    "traps: prog[77] general protection fault ip:55d0c3e2a139 sp:7ffd error:0 in prog[1000+1000]",
    "prog[77]: segfault at 0 ip 000055 sp 00007ffd error 4 in prog",
    "rcu: \tRCU restricting CPUs from NR_CPUS=64 to nr_cpu_ids=2.",
    "rcu: Hierarchical SRCU implementation.",
    "INFO: lockdep is turned off.",
    "Kernel command line: console=ttyS0 panic=-1 hung_task_panic=1",
    "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.",
    "UBSAN is on",
    "KASAN: null-ptr-deref in range [0x0000000000000010-0x0000000000000017]",
    "kasan: KernelAddressSanitizer initialized",
    "kfence: initialized - using 2097152 bytes for 255 objects at 0x(____ptrval____)",
    "Key type .fscrypt registered",
    "Oops, that was wrong",
    "LSM: Security Framework initializing",
    "usb 1-1: new device detected",
    "Kernel pani",
    "",
};

static struct trouble_scanner *create(void)
{
    struct error error;
    struct trouble_scanner *scanner = trouble_scanner_create(&error);

    ck_assert_ptr_nonnull(scanner);
    return scanner;
}

START_TEST(every_message_is_found_under_every_prefix)
{
    struct trouble_scanner *scanner = create();
    char line[512];
    size_t start;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        for (size_t j = 0; j < sizeof(prefixes) / sizeof(prefixes[0]); j++) {
            (void)snprintf(line, sizeof(line), "%s%s", prefixes[j], lines[i].line);
            const enum trouble_kind kind = trouble_scan(scanner, line, strlen(line), 0, &start);
            if (kind != lines[i].kind)
                ck_abort_msg("%s: %s", line, kind == TROUBLE_NONE ? "nothing" : trouble_name(kind));
            ck_assert_uint_ge(start + strlen("[ "), strlen(prefixes[j]));
        }
    }
    trouble_scanner_free(scanner);
}
END_TEST

START_TEST(every_signature_has_a_message_here)
{
    for (size_t i = 0; i < trouble_signature_count; i++) {
        bool is_found = false;
        ck_assert_uint_ge(strlen(trouble_signatures[i].anchor), TROUBLE_LEAST_ANCHOR);
        for (size_t j = 0; j < sizeof(lines) / sizeof(lines[0]); j++)
            is_found |= lines[j].kind == trouble_signatures[i].kind &&
                        strstr(lines[j].line, trouble_signatures[i].anchor) != NULL;
        if (!is_found)
            ck_abort_msg("no message for %s", trouble_signatures[i].pattern);
    }
}
END_TEST

START_TEST(innocent_lines_are_not_trouble)
{
    struct trouble_scanner *scanner = create();
    size_t start;

    for (size_t i = 0; i < sizeof(innocent) / sizeof(innocent[0]); i++) {
        const enum trouble_kind kind = trouble_scan(scanner, innocent[i], strlen(innocent[i]), 0, &start);
        if (kind != TROUBLE_NONE)
            ck_abort_msg("%s: %s", innocent[i], trouble_name(kind));
    }
    trouble_scanner_free(scanner);
}
END_TEST

START_TEST(known_words_do_not_count_again)
{
    struct trouble_scanner *scanner = create();
    const char *line = "BUG: KASAN: a, BUG: KASAN: b";
    size_t start;

    ck_assert_int_eq(trouble_scan(scanner, line, strlen(line), 12, &start), TROUBLE_KASAN);
    ck_assert_uint_eq(start, 15);
    ck_assert_int_eq(trouble_scan(scanner, line, strlen(line), strlen(line), &start), TROUBLE_NONE);
    trouble_scanner_free(scanner);
}
END_TEST

START_TEST(kinds_have_names)
{
    for (int kind = 0; kind < TROUBLE_KIND_COUNT; kind++) {
        ck_assert_int_eq(trouble_find(trouble_name((enum trouble_kind)kind)), kind);
        ck_assert_uint_gt(strlen(trouble_doc((enum trouble_kind)kind)), 0);
    }
    ck_assert_int_eq(trouble_find("panik"), TROUBLE_NONE);
    ck_assert_str_eq(trouble_nearest("panik"), "panic");
    ck_assert_ptr_null(trouble_nearest("weather"));
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("console_trouble");
    TCase *trouble = tcase_create("trouble");

    tcase_add_test(trouble, every_message_is_found_under_every_prefix);
    tcase_add_test(trouble, every_signature_has_a_message_here);
    tcase_add_test(trouble, innocent_lines_are_not_trouble);
    tcase_add_test(trouble, known_words_do_not_count_again);
    tcase_add_test(trouble, kinds_have_names);
    tcase_set_timeout(trouble, 60);
    suite_add_tcase(all, trouble);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
