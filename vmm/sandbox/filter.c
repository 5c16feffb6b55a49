#include "vmm/sandbox/filter.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZER_RUNTIME
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZER_RUNTIME
#endif
#endif

#define DEBUGGED (1u << SANDBOX_VCPU_DEBUGGED)
#define VCPU (1u << SANDBOX_VCPU | DEBUGGED)
#define LOOP (1u << SANDBOX_LOOP)
#define DISK (1u << SANDBOX_DISK)
#define TAP (1u << SANDBOX_TAP)
#define SLIRP (1u << SANDBOX_SLIRP)
#define WORKERS (DISK | TAP | SLIRP)
#define LOOPS (LOOP | WORKERS)
#define ANY (VCPU | LOOPS)

/* A system call, or the calls of it with (argument & mask) == value. Several rules for one call add up. */
struct rule {
    uint16_t call;
    uint8_t threads;
    uint8_t argument;
    /* The value is this process's number, which the table cannot know. */
    bool value_is_pid;
    /* The first argument is 0 too, which is how such calls name the thread that makes them. */
    bool is_of_caller;
    /* 0: every call of it. */
    uint32_t mask;
    uint32_t value;
};

/* The kernel uses 32 bits of the arguments that rules look at. The reasons are for the reader alone. */
#define CALL(name, threads, why)                                                                                       \
    {                                                                                                                  \
        __NR_##name, threads, 0, false, false, 0, 0                                                                    \
    }
#define CALL_WHEN(name, threads, argument, mask, value, why)                                                           \
    {                                                                                                                  \
        __NR_##name, threads, argument, false, false, mask, value                                                      \
    }
#define CALL_ON_SELF(name, threads, why)                                                                               \
    {                                                                                                                  \
        __NR_##name, threads, 0, true, false, UINT32_MAX, 0                                                            \
    }
#define CALL_ON_CALLER(name, threads, argument, value, why)                                                            \
    {                                                                                                                  \
        __NR_##name, threads, argument, false, true, UINT32_MAX, value                                                 \
    }
#define IOCTL(request, threads, why)                                                                                   \
    {                                                                                                                  \
        __NR_ioctl, threads, 1, false, false, UINT32_MAX, request                                                      \
    }

/* Everything that may be called. A new row says who needs it for what. */
static const struct rule rules[] = {
    /* the C library: memory and threads */
    CALL(brk, ANY, "malloc"),
    CALL(munmap, ANY, "free, a vCPU's shared page, a thread's stack"),
    CALL(mremap, ANY, "realloc"),
    CALL_WHEN(mmap, ANY, 2, PROT_EXEC, 0, "malloc; nothing that could be executed"),
    CALL_WHEN(mprotect, ANY, 2, PROT_EXEC, 0, "growing arenas of malloc; nothing that could be executed"),
    CALL_WHEN(madvise, ANY, 2, UINT32_MAX, MADV_DONTNEED, "free, a thread's stack"),
    CALL(futex, ANY, "locks, pthread_join"),
    CALL(sched_yield, ANY, "spinning locks"),
    CALL(sched_getaffinity, ANY, "malloc decides how many arenas there may be"),
    CALL(membarrier, ANY, "RCU"),
    CALL(rt_sigprocmask, ANY, "pthread_kill, abort, the end of a thread"),
    CALL(rt_sigreturn, ANY, "the end of every signal handler"),
    CALL(restart_syscall, ANY, "the kernel, after a stop signal"),
    CALL(getpid, ANY, "pthread_kill, abort"),
    CALL(gettid, ANY, "pthread_kill, abort"),
    CALL_ON_SELF(tgkill, ANY, "hv_vcpu_interrupt, abort; threads of this process only"),
    CALL(clock_gettime, ANY, "clocks of devices, where the vDSO cannot answer"),
    CALL(exit, ANY, "the end of a thread"),
    CALL(exit_group, ANY, "the end"),

    /* devices and their back ends */
    CALL(write, ANY, "console, log, event descriptors"),
    CALL(writev, ANY, "console, the C library's own messages"),
    CALL(sendto, ANY, "a serial port on a socket"),
    CALL(poll, ANY, "whether a back end takes more"),
    CALL(close, ANY, "a vCPU's end, a client that has gone"),
    CALL(timerfd_settime, ANY, "timers of devices"),
    CALL_WHEN(fcntl, ANY, 1, UINT32_MAX, F_GETFL, "standard input and output go back to how they were"),
    CALL_WHEN(fcntl, ANY, 1, UINT32_MAX, F_SETFL, "the same"),
    IOCTL(TCSETS, ANY, "the terminal goes back to how it was, whoever ends the process"),
    IOCTL(TCSETSW, ANY, "the same"),
    IOCTL(TCSETSF, ANY, "the same"),
    IOCTL(TCSETS2, ANY, "the same, glibc from 2.42 on"),
    IOCTL(TCSETSW2, ANY, "the same"),
    IOCTL(TCSETSF2, ANY, "the same"),
    IOCTL(TCGETS, ANY, "isatty, and what the terminal is now"),
    IOCTL(TCGETS2, ANY, "the same, glibc from 2.42 on"),
    IOCTL(TIOCGPGRP, ANY, "whether the terminal is ours, in the handler of SIGCONT"),
    CALL(getpgrp, ANY, "the same"),
    CALL(epoll_ctl, ANY, "back ends that want to write, clients that come and go"),
    IOCTL(KVM_IRQ_LINE, ANY, "interrupts of devices"),
    IOCTL(KVM_SET_GSI_ROUTING, ANY, "what their messages are"),
    IOCTL(KVM_IOEVENTFD, ANY, "where the guest notifies them"),

    /* threads of devices: devices/host/pace.h. No other thread's policy, and none that comes before others. */
    CALL_ON_CALLER(sched_setscheduler, WORKERS, 1, SCHED_BATCH, "the guest goes on, and brings several requests"),
    CALL_ON_CALLER(sched_setscheduler, WORKERS, 1, SCHED_OTHER, "the guest is put aside, and waits less"),

    /* event loops */
    CALL(epoll_wait, LOOPS, "its heart"),
    CALL(epoll_pwait, LOOPS, "the same"),
    CALL(read, LOOPS, "input, signals, timers, event descriptors"),
    CALL(readv, LOOP | TAP, "input, packets"),
    CALL(sysinfo, LOOP, "qsort(3) of the pages of many break- and watchpoints, in the C library of Debian 12"),
    CALL(recvfrom, LOOP | SLIRP, "a serial port on a socket, connections of guests"),
    CALL(accept4, LOOP, "the same: its next client"),
    CALL(recvmsg, LOOP, "clients of the control socket, and the file for a dump that comes with a request"),
    CALL_WHEN(fcntl, LOOP, 1, UINT32_MAX, F_DUPFD_CLOEXEC, "the same: reading and writing apart"),
    CALL(shutdown, LOOP | SLIRP, "the same: a client's end"),
    CALL(unlink, LOOP, "the link to a pty, a socket's name"),
    CALL(rt_sigaction, LOOP, "signals go back to their defaults at the end"),
    CALL(nanosleep, LOOP, "waiting for what has no descriptor"),
    CALL(clock_nanosleep, LOOP, "the same"),
    IOCTL(TIOCGWINSZ, LOOP, "the terminal's size, for a console"),

    /* disks: io_uring, or the calls themselves */
    CALL(io_uring_enter, DISK | LOOP, "reads, writes and syncs; the ring takes no others, and just the image's files"),
    CALL(preadv, DISK, "the same without a ring"),
    CALL(pwritev, DISK, "the same without a ring"),
    CALL(fdatasync, DISK, "the same without a ring"),
    CALL(fallocate, DISK, "the same without a ring"),

    /* taps */
    IOCTL(TUNSETOFFLOAD, TAP, "what the guest's driver can do"),
    IOCTL(TUNSETQUEUE, TAP, "how many queues it uses"),

    /* libslirp: the guest's connections become this thread's */
    CALL_WHEN(socket, SLIRP, 0, UINT32_MAX, AF_INET, "connections of guests"),
    CALL(connect, SLIRP, "the same"),
    CALL(bind, SLIRP, "the same"),
    CALL(listen, SLIRP, "the same"),
    CALL(accept, SLIRP, "connections to guests"),
    CALL(accept4, SLIRP, "the same"),
    CALL(recvmsg, SLIRP, "errors of connections"),
    CALL(getsockname, SLIRP, "addresses of connections"),
    CALL(getpeername, SLIRP, "the same"),
    CALL(getsockopt, SLIRP, "errors of connections"),
    CALL(setsockopt, SLIRP, "time to live, urgent data"),
    IOCTL(FIONREAD, SLIRP, "how much there is to receive"),
    CALL_WHEN(openat, SLIRP, 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY, "/etc/resolv.conf; Landlock allows no other"),
    CALL(newfstatat, SLIRP, "the same"),
    CALL(fstat, SLIRP, "the same"),
    CALL(lseek, SLIRP, "the same"),

    /* a reset of the machine */
    CALL(pread64, LOOP, "kernel and initrd, once more; /proc/self/pagemap, for a dump"),
    CALL_WHEN(madvise, LOOP, 2, UINT32_MAX, MADV_DONTDUMP, "memory for them"),
    CALL_WHEN(madvise, LOOP, 2, UINT32_MAX, MADV_HUGEPAGE, "the same"),
    CALL_WHEN(madvise, LOOP, 2, UINT32_MAX, MADV_REMOVE, "RAM that a file is behind is cleared"),
    CALL(lseek, LOOP, "the same; standard output at exit; the holes of a dump"),
    CALL(fstat, LOOP, "the same"),
    CALL_WHEN(newfstatat, LOOP, 3, AT_EMPTY_PATH, AT_EMPTY_PATH, "fstat as glibc makes it"),
    CALL(msync, LOOP, "memory that a file backs"),
    CALL(getrandom, LOOP, "the guest's seed"),
    IOCTL(KVM_GET_IRQCHIP, LOOP, "interrupt controllers"),
    IOCTL(KVM_SET_IRQCHIP, LOOP, "interrupt controllers"),
    IOCTL(KVM_GET_PIT2, LOOP, "timer"),
    IOCTL(KVM_SET_PIT2, LOOP, "timer"),

    /* the end of the machine */
    IOCTL(KVM_SET_USER_MEMORY_REGION, LOOP, "hv_vm_unmap"),

    /* vCPUs: running, a reset, the registers of a crash */
    IOCTL(KVM_RUN, VCPU, "hv_vcpu_run"),
    IOCTL(KVM_GET_REGS, VCPU, "registers"),
    IOCTL(KVM_SET_REGS, VCPU, "registers"),
    IOCTL(KVM_GET_SREGS, VCPU, "segments and control registers"),
    IOCTL(KVM_SET_SREGS, VCPU, "segments and control registers"),
    IOCTL(KVM_GET_SREGS2, VCPU, "the same, with PDPTRs"),
    IOCTL(KVM_SET_SREGS2, VCPU, "the same, with PDPTRs"),
    IOCTL(KVM_GET_FPU, VCPU, "floating point"),
    IOCTL(KVM_SET_FPU, VCPU, "floating point"),
    IOCTL(KVM_GET_XSAVE, VCPU, "extended state"),
    IOCTL(KVM_GET_XSAVE2, VCPU, "extended state over 4 KiB"),
    IOCTL(KVM_SET_XSAVE, VCPU, "extended state"),
    IOCTL(KVM_GET_XCRS, VCPU, "XCR0"),
    IOCTL(KVM_SET_XCRS, VCPU, "XCR0"),
    IOCTL(KVM_GET_DEBUGREGS, VCPU, "debug registers"),
    IOCTL(KVM_SET_DEBUGREGS, VCPU, "debug registers"),
    IOCTL(KVM_GET_VCPU_EVENTS, VCPU, "pending events"),
    IOCTL(KVM_SET_VCPU_EVENTS, VCPU, "pending events"),
    IOCTL(KVM_GET_MSRS, VCPU, "model-specific registers"),
    IOCTL(KVM_SET_MSRS, VCPU, "model-specific registers"),
    IOCTL(KVM_GET_LAPIC, VCPU, "local APIC"),
    IOCTL(KVM_SET_LAPIC, VCPU, "local APIC"),
    IOCTL(KVM_GET_MP_STATE, VCPU, "waiting for a start-up interrupt, or running"),
    IOCTL(KVM_SET_MP_STATE, VCPU, "the same"),
    IOCTL(KVM_GET_DEVICE_ATTR, VCPU, "a move between spaces: the offset of the time stamp counter"),
    IOCTL(KVM_SET_DEVICE_ATTR, VCPU, "the same"),
    IOCTL(KVM_TRANSLATE, VCPU, "where a crash's instruction lies in memory"),

    /* the control socket */
    IOCTL(KVM_NMI, VCPU, "nmi, and a debugger's monitor nmi"),
    IOCTL(KVM_KVMCLOCK_CTRL, VCPU, "the guest is told that it was paused"),

    /* a debugger */
    IOCTL(KVM_SET_GUEST_DEBUG, DEBUGGED, "steps and breakpoints"),
    IOCTL(KVM_SET_USER_MEMORY_REGION, DEBUGGED, "past a breakpoint by page: hvx_vm_set_traps"),
    CALL(mincore, LOOP, "monitor dmesg, dumps: what the host has no memory for is not looked at"),
    CALL(timer_create, DEBUGGED, "no step is waited for without end: hv_vcpu_run_until"),
    CALL(timer_settime, DEBUGGED, "the same"),
    CALL(timer_delete, DEBUGGED, "a vCPU's end"),
};

/*
 * Sanitizer builds only: what the run-times call besides, at the end of threads, in reports and in looking for leaks,
 * for which a tracer stops all threads. A symbolizer of its own process is not let in.
 */
#ifdef SANITIZER_RUNTIME
static const struct rule sanitizer_runtime_rules[] = {
    CALL(madvise, ANY, "shadow memory"),
    CALL(sigaltstack, ANY, "the end of a thread"),
    CALL(rt_sigaction, ANY, "tracer"),
    CALL(openat, ANY, "/proc/self/maps and task; symbols for reports"),
    CALL(open, ANY, "the same"),
    CALL(read, ANY, "the same"),
    CALL(fstat, ANY, "the same"),
    CALL(newfstatat, ANY, "the same"),
    CALL(readlink, ANY, "the same"),
    CALL(getdents, ANY, "the same"),
    CALL(getdents64, ANY, "the same"),
    CALL_WHEN(clone, ANY, 0, UINT32_MAX, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_UNTRACED, "tracer"),
    CALL(prctl, ANY, "tracer"),
    CALL(ptrace, ANY, "tracer"),
    CALL(wait4, ANY, "tracer"),
    CALL(getppid, ANY, "tracer"),
    CALL(pipe2, ANY, "reports: whether memory can be read"),
    CALL(fcntl, ANY, "reports: files with symbols"),
};
#endif

static const size_t rule_count = sizeof(rules) / sizeof(rules[0]);

static int out_of_memory(struct error *error)
{
    return error_set(error, ERROR_HOST, "no memory for a seccomp filter");
}

static int unsupported(struct error *error, const char *what, int errno_value)
{
    return error_set(error, ERROR_HOST,
                     "%s: %s; sandbox.seccomp = \"off\" runs without system call filters on a kernel that has none",
                     what, strerror(errno_value));
}

static int add_rule(scmp_filter_ctx context, const struct rule *rule)
{
    if (rule->mask == 0)
        return seccomp_rule_add_exact_array(context, SCMP_ACT_ALLOW, rule->call, 0, NULL);
    const struct scmp_arg_cmp conditions[] = {
        {.arg = rule->argument,
         .op = SCMP_CMP_MASKED_EQ,
         .datum_a = rule->mask,
         .datum_b = rule->value_is_pid ? (uint32_t)getpid() : rule->value},
        {.arg = 0, .op = SCMP_CMP_MASKED_EQ, .datum_a = UINT32_MAX, .datum_b = 0},
    };
    return seccomp_rule_add_exact_array(context, SCMP_ACT_ALLOW, rule->call, rule->is_of_caller ? 2 : 1, conditions);
}

static int add_rules(scmp_filter_ctx context, enum sandbox_thread kind, const struct rule *from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int result = (from[i].threads & (1u << kind)) != 0 ? add_rule(context, &from[i]) : 0;
        if (result < 0)
            return result;
    }
    return 0;
}

/* As libseccomp's functions: 0, or a negative errno value. */
static int fill_context(scmp_filter_ctx context, enum sandbox_thread kind, uint32_t refusal)
{
    /* Calls of the 32-bit and x32 kinds are no better than others that are not in the table. */
    int result = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, refusal);
    /* KVM_RUN is what is called most; the kernel keeps the answers that hang on no argument in a bitmap. */
    if (result == 0)
        result = seccomp_syscall_priority(context, __NR_ioctl, UINT8_MAX);
    if (result == 0)
        result = add_rules(context, kind, rules, rule_count);
#ifdef SANITIZER_RUNTIME
    if (result == 0)
        result = add_rules(context, kind, sanitizer_runtime_rules,
                           sizeof(sanitizer_runtime_rules) / sizeof(sanitizer_runtime_rules[0]));
#endif
    return result;
}

/* libseccomp writes programs to files only. */
static int read_program(int fd, struct sock_fprog *program)
{
    off_t size = lseek(fd, 0, SEEK_END);

    if (size <= 0 || (size_t)size > BPF_MAXINSNS * sizeof(struct sock_filter))
        return -EINVAL;
    struct sock_filter *code = malloc((size_t)size);
    if (code == NULL)
        return -ENOMEM;
    if (pread(fd, code, (size_t)size, 0) != size) {
        free(code);
        return -EIO;
    }
    program->len = (unsigned short)((size_t)size / sizeof(struct sock_filter));
    program->filter = code;
    return 0;
}

static int export_program(scmp_filter_ctx context, struct sock_fprog *program)
{
    int fd = memfd_create("seccomp filter", MFD_CLOEXEC);

    if (fd < 0)
        return -errno;
    int result = seccomp_export_bpf(context, fd);
    if (result == 0)
        result = read_program(fd, program);
    close(fd);
    return result;
}

int filter_build(enum sandbox_thread kind, bool log_only, struct filter *filter, struct error *error)
{
    const uint32_t refusal = log_only ? SCMP_ACT_LOG : SCMP_ACT_TRAP;
    scmp_filter_ctx context = seccomp_init(refusal);

    memset(filter, 0, sizeof(*filter));
    if (context == NULL)
        return out_of_memory(error);
    int result = fill_context(context, kind, refusal);
    if (result == 0)
        result = export_program(context, &filter->program);
    seccomp_release(context);
    if (result == -ENOMEM)
        return out_of_memory(error);
    return result < 0 ? unsupported(error, "cannot build a seccomp filter", -result) : 0;
}

int filter_load(const struct filter *filter, struct error *error)
{
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter->program) < 0)
        return unsupported(error, "the kernel does not take a seccomp filter", errno);
    return 0;
}

void filter_free(struct filter *filter)
{
    free(filter->program.filter);
    memset(filter, 0, sizeof(*filter));
}
