/*
 * A module that brings its kernel into trouble, for real: insmod provoke.ko; echo warning >/dev/provoke
 *
 * LKDTM is made for that, and Debian's kernels do not have it. tools/guest builds this one.
 */
#include <linux/atomic.h>
#include <linux/bug.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/processor.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include <asm/desc.h>
#include <asm/msr.h>

/* What takes time takes this much: more than whoever watches over the kernel gives it, once told to be impatient. */
static unsigned int seconds = 5;
module_param(seconds, uint, 0);

static void do_panic(void)
{
    panic("provoked");
}

static void do_bug(void)
{
    BUG();
}

static void do_warning(void)
{
    WARN(1, "provoked\n");
}

static void do_null(void)
{
    *(volatile int *)0x10;
}

/* No address of x86-64's is like that. */
static void do_protection(void)
{
    *(volatile int *)0x1234567812345678;
}

static void do_atomic(void)
{
    preempt_disable();
    schedule_timeout_uninterruptible(1);
    preempt_enable();
}

/* Nothing else gets this vCPU for a while, though interrupts do. */
static void do_spin(void)
{
    const unsigned long end = jiffies + seconds * HZ;

    preempt_disable();
    while (time_before(jiffies, end))
        cpu_relax();
    preempt_enable();
}

static void do_rcu(void)
{
    const unsigned long end = jiffies + seconds * HZ;

    rcu_read_lock();
    while (time_before(jiffies, end))
        cpu_relax();
    rcu_read_unlock();
}

/* As a driver waits whose device never answers. */
static void do_hang(void)
{
    schedule_timeout_uninterruptible(seconds * HZ);
}

static void do_list(void)
{
    LIST_HEAD(head);
    struct list_head first, second;

    list_add(&first, &head);
    head.next = &second;
    list_add(&second, &head);
}

static void do_refcount(void)
{
    refcount_t count = REFCOUNT_INIT(0);

    refcount_inc(&count);
}

static void do_msr(void)
{
    wrmsrl(0x12345678, 0);
}

/* Only some allocations are KFENCE's; a page of its own is what tells them. */
static void do_free(void)
{
    const unsigned long end = jiffies + seconds * HZ;

    while (time_before(jiffies, end)) {
        char *bytes = kmalloc(64, GFP_KERNEL);
        kfree(bytes);
        if (bytes)
            *(volatile char *)bytes;
        usleep_range(500, 1000);
    }
}

/* No exception has a handler any more, and neither has the one that tells of that. */
static void do_triple_fault(void)
{
    const struct desc_ptr none = {};

    local_irq_disable();
    load_idt(&none);
    BUG();
}

static const struct {
    const char *name;
    void (*provoke)(void);
} kinds[] = {
    {"panic", do_panic},
    {"bug", do_bug},
    {"warning", do_warning},
    {"null", do_null},
    {"protection", do_protection},
    {"atomic", do_atomic},
    {"spin", do_spin},
    {"rcu", do_rcu},
    {"hang", do_hang},
    {"list", do_list},
    {"refcount", do_refcount},
    {"msr", do_msr},
    {"free", do_free},
    {"triple-fault", do_triple_fault},
};

static ssize_t provoke_write(struct file *file, const char __user *text, size_t size, loff_t *position)
{
    char word[32] = "";
    unsigned int i;

    if (size >= sizeof(word))
        return -EINVAL;
    if (copy_from_user(word, text, size))
        return -EFAULT;
    for (i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(kinds[i].name, strim(word)) == 0) {
            kinds[i].provoke();
            return size;
        }
    }
    return -EINVAL;
}

static const struct file_operations provoke_file = {
    .owner = THIS_MODULE,
    .write = provoke_write,
};
static struct miscdevice provoke_device = {
    .minor = MISC_DYNAMIC_MINOR,
    .name = "provoke",
    .fops = &provoke_file,
};

module_misc_device(provoke_device);
MODULE_DESCRIPTION("Trouble, for tests");
MODULE_LICENSE("GPL");
