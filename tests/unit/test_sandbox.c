#include "vmm/sandbox/sandbox.h"

#include "unit_test.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kvm.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* Statuses of children that are not the sandbox's. */
enum { CHILD_WENT_ON = 0, CHILD_NOT_PREPARED = 90, CHILD_SURPRISED = 91 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZER_RUNTIME
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZER_RUNTIME
#endif
#endif

static const enum sandbox_thread kinds[] = {SANDBOX_VCPU, SANDBOX_VCPU_DEBUGGED, SANDBOX_LOOP,
                                            SANDBOX_DISK, SANDBOX_TAP,           SANDBOX_SLIRP};
static const char *const names[] = {"vcpu0", "vcpu1", "loop", "disk0", "net0", "net1"};
enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

struct outcome {
    int wait_status;
    char text[1024];
};

/* Where a child's log and hook write; the log has to outlive sandbox_prepare(). */
static struct log child_log = {.level = LOG_LEVEL_INFO};

static void prepare_or_exit(enum config_seccomp mode)
{
    struct error error;

    if (sandbox_prepare(mode, (1u << SANDBOX_THREAD_COUNT) - 1, &child_log, &error) < 0) {
        dprintf(child_log.fd, "%s", error.text);
        _exit(CHILD_NOT_PREPARED);
    }
}

static void enter_or_exit(enum sandbox_thread kind, const char *name)
{
    struct error error;

    if (sandbox_enter(kind, name, &error) < 0) {
        dprintf(child_log.fd, "%s", error.text);
        _exit(CHILD_NOT_PREPARED);
    }
}

static struct outcome run_in_child(enum config_seccomp mode, enum sandbox_thread kind, void (*body)(void))
{
    struct outcome outcome = {0};
    size_t used = 0;
    ssize_t count;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        child_log.fd = ends[1];
        prepare_or_exit(mode);
        enter_or_exit(kind, names[kind]);
        body();
        _exit(CHILD_WENT_ON);
    }
    ck_assert_int_gt(child, 0);
    close(ends[1]);
    while ((count = read(ends[0], outcome.text + used, sizeof(outcome.text) - 1 - used)) > 0)
        used += (size_t)count;
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &outcome.wait_status, 0), child);
    return outcome;
}

static void expect_status(const struct outcome *outcome, int status)
{
    ck_assert_msg(WIFEXITED(outcome->wait_status) && WEXITSTATUS(outcome->wait_status) == status,
                  "expected status %d, but got wait status 0x%x, text: %s", status, (unsigned)outcome->wait_status,
                  outcome->text);
}

static void expect_refused(void (*body)(void), enum sandbox_thread kind, const char *call)
{
    struct outcome outcome = run_in_child(CONFIG_SECCOMP_KILL, kind, body);
    char expected[256];

    expect_status(&outcome, SANDBOX_EXIT_STATUS);
    snprintf(expected, sizeof(expected),
             "quire: sandbox: thread \"%s\" made the system call %s, which it may not; if you think it should, "
             "please report it\n",
             names[kind], call);
    ck_assert_str_eq(outcome.text, expected);
}

static void expect_allowed(void (*body)(void), enum sandbox_thread kind)
{
    struct outcome outcome = run_in_child(CONFIG_SECCOMP_KILL, kind, body);

    expect_status(&outcome, CHILD_WENT_ON);
    ck_assert_str_eq(outcome.text, "");
}

/* For calls that may be made: in the child, where Check cannot report. */
static void child_check(bool holds)
{
    if (!holds)
        _exit(CHILD_SURPRISED);
}

/* Bodies. */

static void use_memory(void)
{
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    child_check(pages != MAP_FAILED);
    pages[0] = 1;
    child_check(mprotect(pages, 4096, PROT_READ) == 0);
    child_check(madvise(pages + 4096, 4096, MADV_DONTNEED) == 0);
    child_check(munmap(pages, 8192) == 0);
    char *volatile block = malloc(1 << 20);
    child_check(block != NULL);
    block = realloc(block, 1 << 22);
    child_check(block != NULL);
    free(block);
}

static void call_openat2(void)
{
    const struct open_how how = {.flags = O_RDONLY};

    (void)syscall(SYS_openat2, AT_FDCWD, "/dev/null", &how, sizeof(how));
}

static void call_execve(void)
{
    (void)syscall(SYS_execve, "/bin/true", NULL, NULL);
}

static void call_socket(void)
{
    (void)syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
}

static void call_clone(void)
{
    if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0)
        _exit(CHILD_SURPRISED);
}

static void call_clone3(void)
{
    (void)syscall(SYS_clone3, NULL, 0);
}

static void map_executable(void)
{
    (void)syscall(SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void protect_executable(void)
{
    (void)syscall(SYS_mprotect, 0, 0, PROT_READ | PROT_EXEC);
}

static void type_into_terminal(void)
{
    (void)syscall(SYS_ioctl, 0, TIOCSTI, "x");
}

static void try_kvm_run(void)
{
    child_check(syscall(SYS_ioctl, -1, KVM_RUN, 0) == -1 && errno == EBADF);
}

static void try_kvm_reset_irqchip(void)
{
    child_check(syscall(SYS_ioctl, -1, KVM_SET_IRQCHIP, 0) == -1 && errno == EBADF);
}

static void try_kvm_set_guest_debug(void)
{
    child_check(syscall(SYS_ioctl, -1, KVM_SET_GUEST_DEBUG, 0) == -1 && errno == EBADF);
}

static void try_kvm_irq_line(void)
{
    child_check(syscall(SYS_ioctl, -1, KVM_IRQ_LINE, 0) == -1 && errno == EBADF);
}

static void try_kvm_nmi(void)
{
    child_check(syscall(SYS_ioctl, -1, KVM_NMI, 0) == -1 && errno == EBADF);
}

static void try_kvm_kvmclock_ctrl(void)
{
    child_check(syscall(SYS_ioctl, -1, KVM_KVMCLOCK_CTRL, 0) == -1 && errno == EBADF);
}

static void receive_message(void)
{
    child_check(syscall(SYS_recvmsg, -1, NULL, 0) == -1 && errno == EBADF);
}

static void create_vm(void)
{
    (void)syscall(SYS_ioctl, -1, KVM_CREATE_VM, 0);
}

static void signal_self(void)
{
    child_check(pthread_kill(pthread_self(), 0) == 0);
}

static void block_on_nothing(void)
{
    const struct itimerspec never = {0};

    child_check(timerfd_settime(-1, 0, &never, NULL) == -1 && errno == EBADF);
    child_check(poll(NULL, 0, 0) == 0);
    child_check(sched_yield() == 0);
}

static void check_no_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    memset(data, 0xff, sizeof(data));
    child_check(syscall(SYS_capget, &header, data) == 0);
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        child_check(data[i].effective == 0 && data[i].permitted == 0 && data[i].inheritable == 0);
    for (unsigned long capability = 0; capability <= CAP_LAST_CAP; capability++)
        child_check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) <= 0);
    child_check(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

static void check_no_bounding_set(void)
{
    for (unsigned long capability = 0; capability <= CAP_LAST_CAP; capability++)
        child_check(prctl(PR_CAPBSET_READ, capability, 0, 0, 0) <= 0);
}

/* Cases. */

START_TEST(memory_can_be_had_and_given_back)
{
    expect_allowed(use_memory, kinds[_i]);
}
END_TEST

START_TEST(waiting_and_timers_are_allowed)
{
    expect_allowed(block_on_nothing, kinds[_i]);
}
END_TEST

START_TEST(opening_a_file_is_refused)
{
    expect_refused(call_openat2, kinds[_i], "openat2 (437)");
}
END_TEST

START_TEST(execve_is_refused)
{
    expect_refused(call_execve, kinds[_i], "execve (59)");
}
END_TEST

START_TEST(socket_is_refused)
{
    expect_refused(call_socket, kinds[_i], "socket (41)");
}
END_TEST

START_TEST(a_new_process_is_refused)
{
    expect_refused(call_clone, kinds[_i], "clone (56)");
}
END_TEST

START_TEST(a_new_thread_is_refused)
{
    expect_refused(call_clone3, kinds[_i], "clone3 (435)");
}
END_TEST

/* The run-times of sanitizers may do this. */
#ifndef SANITIZER_RUNTIME
static void call_openat(void)
{
    (void)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY);
}

static void call_ptrace(void)
{
    (void)syscall(SYS_ptrace, 0, 0, 0, 0);
}

/* What libslirp opens, and nothing else. Where the kernel has no Landlock, nothing can be told. */
static bool has_landlock;
static bool has_resolver;

static void open_files(void)
{
    const int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);

    child_check(!has_landlock || (fd < 0 && errno == EACCES));
    child_check(!has_resolver || open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC) >= 0);
}

START_TEST(libslirp_may_read_one_file)
{
    has_landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
    has_resolver = access("/etc/resolv.conf", R_OK) == 0;
    if (!has_landlock)
        printf("this kernel has no Landlock: that files are refused was not tested\n");
    expect_allowed(open_files, SANDBOX_SLIRP);
}
END_TEST

START_TEST(openat_and_ptrace_are_refused)
{
    expect_refused(call_openat, kinds[_i], "openat (257)");
    expect_refused(call_ptrace, kinds[_i], "ptrace (101)");
}
END_TEST
#endif

START_TEST(executable_memory_is_refused)
{
    expect_refused(map_executable, kinds[_i], "mmap (9)");
    expect_refused(protect_executable, kinds[_i], "mprotect (10)");
}
END_TEST

START_TEST(an_ioctl_that_is_not_listed_is_refused_with_its_request)
{
    char call[64];

    snprintf(call, sizeof(call), "ioctl (16, request 0x%x)", (unsigned)TIOCSTI);
    expect_refused(type_into_terminal, kinds[_i], call);
    snprintf(call, sizeof(call), "ioctl (16, request 0x%x)", (unsigned)KVM_CREATE_VM);
    expect_refused(create_vm, kinds[_i], call);
}
END_TEST

START_TEST(ioctls_are_allowed_by_kind_of_thread)
{
    char run[64];
    char reset[64];
    char debug[64];

    snprintf(run, sizeof(run), "ioctl (16, request 0x%x)", (unsigned)KVM_RUN);
    snprintf(reset, sizeof(reset), "ioctl (16, request 0x%x)", (unsigned)KVM_SET_IRQCHIP);
    snprintf(debug, sizeof(debug), "ioctl (16, request 0x%x)", (unsigned)KVM_SET_GUEST_DEBUG);
    expect_allowed(try_kvm_run, SANDBOX_VCPU);
    expect_refused(try_kvm_run, SANDBOX_LOOP, run);
    expect_allowed(try_kvm_reset_irqchip, SANDBOX_LOOP);
    expect_refused(try_kvm_reset_irqchip, SANDBOX_VCPU, reset);
    expect_allowed(try_kvm_set_guest_debug, SANDBOX_VCPU_DEBUGGED);
    expect_refused(try_kvm_set_guest_debug, SANDBOX_VCPU, debug);
    expect_allowed(try_kvm_irq_line, SANDBOX_VCPU);
    expect_allowed(try_kvm_irq_line, SANDBOX_LOOP);
}
END_TEST

START_TEST(what_the_control_socket_needs_is_allowed_to_who_needs_it)
{
    char nmi[64];

    snprintf(nmi, sizeof(nmi), "ioctl (16, request 0x%x)", (unsigned)KVM_NMI);
    expect_allowed(try_kvm_nmi, SANDBOX_VCPU);
    expect_allowed(try_kvm_nmi, SANDBOX_VCPU_DEBUGGED);
    expect_allowed(try_kvm_kvmclock_ctrl, SANDBOX_VCPU);
    expect_refused(try_kvm_nmi, SANDBOX_LOOP, nmi);
    expect_allowed(receive_message, SANDBOX_LOOP);
    expect_refused(receive_message, SANDBOX_VCPU, "recvmsg (47)");
    expect_refused(receive_message, SANDBOX_DISK, "recvmsg (47)");
}
END_TEST

static pid_t other_process;

static void signal_other_process(void)
{
    (void)syscall(SYS_tgkill, other_process, other_process, 0);
}

START_TEST(signals_reach_threads_of_this_process_only)
{
    expect_allowed(signal_self, kinds[_i]);
    other_process = getpid();
    expect_refused(signal_other_process, kinds[_i], "tgkill (234)");
}
END_TEST

static pid_t policy_of;
static int policy;

static void set_policy(void)
{
    const struct sched_param parameters = {0};

    (void)syscall(SYS_sched_setscheduler, policy_of, policy, &parameters);
}

static void set_policies(void)
{
    const struct sched_param parameters = {0};

    child_check(sched_setscheduler(0, SCHED_BATCH, &parameters) == 0);
    child_check(sched_setscheduler(0, SCHED_OTHER, &parameters) == 0);
}

START_TEST(threads_of_devices_choose_between_two_policies_for_themselves)
{
    static const int others[] = {SCHED_FIFO, SCHED_RR, SCHED_IDLE, SCHED_BATCH | SCHED_RESET_ON_FORK};
    const enum sandbox_thread kind = kinds[_i];

    policy_of = 0;
    policy = SCHED_BATCH;
    if (kind != SANDBOX_DISK && kind != SANDBOX_TAP && kind != SANDBOX_SLIRP) {
        expect_refused(set_policy, kind, "sched_setscheduler (144)");
        return;
    }
    expect_allowed(set_policies, kind);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        policy = others[i];
        expect_refused(set_policy, kind, "sched_setscheduler (144)");
    }
    policy_of = getpid();
    policy = SCHED_BATCH;
    expect_refused(set_policy, kind, "sched_setscheduler (144)");
    policy = SCHED_OTHER;
    expect_refused(set_policy, kind, "sched_setscheduler (144)");
}
END_TEST

static void call_by_the_32_bit_door(void)
{
    long number = 20; /* getpid there, writev here */

    __asm__ volatile("int $0x80" : "+a"(number) : : "memory", "r8", "r9", "r10", "r11");
}

START_TEST(the_32_bit_door_is_shut)
{
    struct outcome outcome = run_in_child(CONFIG_SECCOMP_KILL, kinds[_i], call_by_the_32_bit_door);

    /* A kernel that has no such calls answers with SIGSEGV. */
    if (WIFSIGNALED(outcome.wait_status) && WTERMSIG(outcome.wait_status) == SIGSEGV)
        return;
    expect_status(&outcome, SANDBOX_EXIT_STATUS);
    ck_assert_ptr_nonnull(strstr(outcome.text, "without a name (20 of another architecture)"));
}
END_TEST

START_TEST(log_mode_lets_forbidden_calls_through)
{
    struct outcome outcome = run_in_child(CONFIG_SECCOMP_LOG, kinds[_i], call_socket);

    expect_status(&outcome, CHILD_WENT_ON);
    ck_assert_str_eq(outcome.text, "");
}
END_TEST

static void check_socket_works_under_filter(void)
{
    child_check(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
    child_check(prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2);
}

START_TEST(log_mode_has_a_filter)
{
    struct outcome outcome = run_in_child(CONFIG_SECCOMP_LOG, kinds[_i], check_socket_works_under_filter);

    expect_status(&outcome, CHILD_WENT_ON);
}
END_TEST

static void check_no_filter(void)
{
    child_check(prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 0);
}

START_TEST(off_mode_has_no_filter)
{
    struct outcome outcome = run_in_child(CONFIG_SECCOMP_OFF, kinds[_i], check_no_filter);

    expect_status(&outcome, CHILD_WENT_ON);
}
END_TEST

START_TEST(capabilities_are_gone_in_log_and_off_mode)
{
    struct outcome outcome = run_in_child(CONFIG_SECCOMP_LOG, SANDBOX_LOOP, check_no_capabilities);

    expect_status(&outcome, CHILD_WENT_ON);
    outcome = run_in_child(CONFIG_SECCOMP_OFF, SANDBOX_LOOP, check_no_capabilities);
    expect_status(&outcome, CHILD_WENT_ON);
}
END_TEST

START_TEST(the_bounding_set_is_empty_if_it_could_be_emptied)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    ck_assert_int_eq(syscall(SYS_capget, &header, data), 0);
    if ((data[0].effective & (1u << CAP_SETPCAP)) == 0)
        return;
    struct outcome outcome = run_in_child(CONFIG_SECCOMP_OFF, SANDBOX_LOOP, check_no_bounding_set);
    expect_status(&outcome, CHILD_WENT_ON);
}
END_TEST

/* Capabilities, filter and message under "kill", where the child cannot ask: the parent looks. */
START_TEST(kill_mode_drops_capabilities_too)
{
    char name[64];
    char status[4096] = "";
    int ends[2];
    char byte = 0;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    pid_t child = fork();
    if (child == 0) {
        child_log.fd = STDERR_FILENO;
        prepare_or_exit(CONFIG_SECCOMP_KILL);
        enter_or_exit(SANDBOX_LOOP, "loop");
        (void)!write(ends[1], "x", 1);
        (void)!read(ends[1], &byte, 1);
        _exit(CHILD_WENT_ON);
    }
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    snprintf(name, sizeof(name), "/proc/%d/status", (int)child);
    FILE *file = fopen(name, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_gt(fread(status, 1, sizeof(status) - 1, file), 0);
    fclose(file);
    ck_assert_int_eq(write(ends[0], "x", 1), 1);
    waitpid(child, NULL, 0);
    ck_assert_ptr_nonnull(strstr(status, "CapInh:\t0000000000000000"));
    ck_assert_ptr_nonnull(strstr(status, "CapPrm:\t0000000000000000"));
    ck_assert_ptr_nonnull(strstr(status, "CapEff:\t0000000000000000"));
    ck_assert_ptr_nonnull(strstr(status, "CapAmb:\t0000000000000000"));
    ck_assert_ptr_nonnull(strstr(status, "NoNewPrivs:\t1"));
    ck_assert_ptr_nonnull(strstr(status, "Seccomp:\t2"));
}
END_TEST

static void announce_hook(void)
{
    (void)!write(child_log.fd, "hook, ", 6);
}

static void violate_with_hook(void)
{
    sandbox_set_fatal_hook(announce_hook);
    call_socket();
}

START_TEST(the_hook_runs_before_the_message)
{
    struct outcome outcome = run_in_child(CONFIG_SECCOMP_KILL, kinds[_i], violate_with_hook);

    expect_status(&outcome, SANDBOX_EXIT_STATUS);
    ck_assert_int_eq(strncmp(outcome.text, "hook, quire: sandbox: thread ", 29), 0);
}
END_TEST

/* The thread has blocked all signals before it enters. */
START_TEST(a_blocked_sigsys_is_reported_all_the_same)
{
    sigset_t all;

    sigfillset(&all);
    ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
    expect_refused(call_socket, kinds[_i], "socket (41)");
}
END_TEST

static pthread_barrier_t both_entered;

static void *violate_as_vcpu(void *argument)
{
    enter_or_exit(SANDBOX_VCPU, "vcpu17");
    pthread_barrier_wait(&both_entered);
    pthread_barrier_wait(&both_entered);
    call_socket();
    return argument;
}

/* The name is the thread's own, not the one of the thread that entered last. */
START_TEST(the_message_names_the_thread_that_made_the_call)
{
    char text[512] = "";
    pthread_t thread;
    int status;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        child_log.fd = ends[1];
        prepare_or_exit(CONFIG_SECCOMP_KILL);
        pthread_barrier_init(&both_entered, NULL, 2);
        if (pthread_create(&thread, NULL, violate_as_vcpu, NULL) != 0)
            _exit(CHILD_SURPRISED);
        pthread_barrier_wait(&both_entered);
        enter_or_exit(SANDBOX_LOOP, "loop");
        pthread_barrier_wait(&both_entered);
        pthread_join(thread, NULL);
        _exit(CHILD_WENT_ON);
    }
    close(ends[1]);
    ck_assert_int_gt(read(ends[0], text, sizeof(text) - 1), 0);
    close(ends[0]);
    waitpid(child, &status, 0);
    ck_assert_int_eq(WEXITSTATUS(status), SANDBOX_EXIT_STATUS);
    ck_assert_ptr_nonnull(strstr(text, "thread \"vcpu17\" made the system call socket (41)"));
}
END_TEST

static void *enter_and_end(void *argument)
{
    enter_or_exit(SANDBOX_VCPU, "vcpu0");
    pthread_barrier_wait(&both_entered);
    char *volatile block = malloc(100000);
    free(block);
    return argument;
}

/* What a thread does at its end, and who joins it, is allowed. */
START_TEST(threads_end_and_are_joined)
{
    pthread_t thread;
    int status;

    pid_t child = fork();
    if (child == 0) {
        child_log.fd = STDERR_FILENO;
        prepare_or_exit(CONFIG_SECCOMP_KILL);
        pthread_barrier_init(&both_entered, NULL, 2);
        if (pthread_create(&thread, NULL, enter_and_end, NULL) != 0)
            _exit(CHILD_SURPRISED);
        enter_or_exit(SANDBOX_LOOP, "loop");
        pthread_barrier_wait(&both_entered);
        pthread_join(thread, NULL);
        exit(CHILD_WENT_ON);
    }
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(a_long_name_is_cut)
{
    char text[512] = "";
    int status;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        child_log.fd = ends[1];
        prepare_or_exit(CONFIG_SECCOMP_KILL);
        enter_or_exit(SANDBOX_LOOP, "0123456789012345678901234567890123456789");
        call_socket();
        _exit(CHILD_WENT_ON);
    }
    close(ends[1]);
    ck_assert_int_gt(read(ends[0], text, sizeof(text) - 1), 0);
    close(ends[0]);
    waitpid(child, &status, 0);
    ck_assert_int_eq(WEXITSTATUS(status), SANDBOX_EXIT_STATUS);
    ck_assert_ptr_nonnull(strstr(text, "thread \"0123456789012345678901234567890\" made"));
}
END_TEST

static void raise_sigsys(void)
{
    pthread_kill(pthread_self(), SIGSYS);
}

START_TEST(a_sigsys_that_somebody_sent_is_called_that)
{
    struct outcome outcome = run_in_child(CONFIG_SECCOMP_KILL, kinds[_i], raise_sigsys);

    expect_status(&outcome, SANDBOX_EXIT_STATUS);
    ck_assert_str_eq(outcome.text, "quire: sandbox: ended by a SIGSYS that a process has sent\n");
}
END_TEST

static void fail_assertion(void)
{
    abort();
}

START_TEST(abort_ends_the_process_with_its_own_signal)
{
    struct outcome outcome = run_in_child(CONFIG_SECCOMP_KILL, kinds[_i], fail_assertion);

    ck_assert(WIFSIGNALED(outcome.wait_status));
    ck_assert_int_eq(WTERMSIG(outcome.wait_status), SIGABRT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sandbox");
    TCase *allowed = tcase_create("allowed");
    TCase *refused = tcase_create("refused");
    TCase *modes = tcase_create("modes");
    TCase *violations = tcase_create("violations");

    tcase_add_loop_test(allowed, memory_can_be_had_and_given_back, 0, KIND_COUNT);
    tcase_add_loop_test(allowed, waiting_and_timers_are_allowed, 0, KIND_COUNT);
    tcase_add_test(allowed, ioctls_are_allowed_by_kind_of_thread);
    tcase_add_test(allowed, what_the_control_socket_needs_is_allowed_to_who_needs_it);
    tcase_add_test(allowed, threads_end_and_are_joined);
    tcase_add_loop_test(allowed, abort_ends_the_process_with_its_own_signal, 0, KIND_COUNT);
    suite_add_tcase(suite, allowed);

    tcase_add_loop_test(refused, opening_a_file_is_refused, 0, KIND_COUNT);
    tcase_add_loop_test(refused, execve_is_refused, 0, KIND_COUNT);
    tcase_add_loop_test(refused, socket_is_refused, 0, KIND_COUNT);
    tcase_add_loop_test(refused, a_new_process_is_refused, 0, KIND_COUNT);
    tcase_add_loop_test(refused, a_new_thread_is_refused, 0, KIND_COUNT);
#ifndef SANITIZER_RUNTIME
    tcase_add_loop_test(refused, openat_and_ptrace_are_refused, 0, KIND_COUNT);
    tcase_add_test(refused, libslirp_may_read_one_file);
#endif
    tcase_add_loop_test(refused, executable_memory_is_refused, 0, KIND_COUNT);
    tcase_add_loop_test(refused, an_ioctl_that_is_not_listed_is_refused_with_its_request, 0, KIND_COUNT);
    tcase_add_loop_test(refused, signals_reach_threads_of_this_process_only, 0, KIND_COUNT);
    tcase_add_loop_test(refused, threads_of_devices_choose_between_two_policies_for_themselves, 0, KIND_COUNT);
    tcase_add_loop_test(refused, the_32_bit_door_is_shut, 0, KIND_COUNT);
    suite_add_tcase(suite, refused);

    tcase_add_loop_test(modes, log_mode_lets_forbidden_calls_through, 0, KIND_COUNT);
    tcase_add_loop_test(modes, log_mode_has_a_filter, 0, KIND_COUNT);
    tcase_add_loop_test(modes, off_mode_has_no_filter, 0, KIND_COUNT);
    tcase_add_test(modes, capabilities_are_gone_in_log_and_off_mode);
    tcase_add_test(modes, kill_mode_drops_capabilities_too);
    tcase_add_test(modes, the_bounding_set_is_empty_if_it_could_be_emptied);
    suite_add_tcase(suite, modes);

    tcase_add_loop_test(violations, the_hook_runs_before_the_message, 0, KIND_COUNT);
    tcase_add_loop_test(violations, a_blocked_sigsys_is_reported_all_the_same, 0, KIND_COUNT);
    tcase_add_test(violations, the_message_names_the_thread_that_made_the_call);
    tcase_add_test(violations, a_long_name_is_cut);
    tcase_add_loop_test(violations, a_sigsys_that_somebody_sent_is_called_that, 0, KIND_COUNT);
    suite_add_tcase(suite, violations);
    return unit_test_run(suite);
}
