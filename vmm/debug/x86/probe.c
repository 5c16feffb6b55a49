#include "vmm/debug/x86/probe.h"

#include <asm/processor-flags.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * The guest's memory, from guest-physical address 0 on, one page each. The code is 64-bit, and linear addresses are
 * physical ones.
 */
enum {
    PAGE = 4096,
    GDT = 0,
    TSS = GDT + PAGE / 2,
    IDT = PAGE,
    PML4 = 2 * PAGE,
    PDPT = 3 * PAGE,
    DIRECTORY = 4 * PAGE,
    CODE = 5 * PAGE,
    HANDLER = CODE + PAGE / 2,
    DATA = 6 * PAGE,
    STACK_TOP = 8 * PAGE,
    KERNEL_STACK_TOP = STACK_TOP - PAGE / 2,
    MEMORY_SIZE = 8 * PAGE,
};

enum { VECTOR_DB = 1, VECTOR_BP = 3, VECTOR_COUNT = 32 };

/* Ports where a program ends: its own end, and the handler of any exception. */
enum { PORT_END = 0x10, PORT_HANDLER = 0x11 };

/* Selectors, as the GDT below has them. */
enum { KERNEL_CODE = 0x08, KERNEL_DATA = 0x10, USER_DATA = 0x1b, USER_CODE = 0x23, TASK = 0x28 };

/*
 * nop; nop; mov [DATA], eax; mov eax, [DATA + 8]; nop; end: out PORT_END, al; jmp end
 * The addresses are filled in.
 */
static const uint8_t program[] = {0x90, 0x90, 0x89, 0x04, 0x25, 0,    0,    0,        0,    0x8b, 0x04,
                                  0x25, 0,    0,    0,    0,    0x90, 0xe6, PORT_END, 0xeb, 0xfc};
enum { AT_SECOND = 1, AT_STORE = 2, AT_LOAD = 9, AT_LAST = 16, STORE_ADDRESS = 5, LOAD_ADDRESS = 12 };

/* nop; int3; end: out PORT_END, al; jmp end */
static const uint8_t with_int3[] = {0x90, 0xcc, 0xe6, PORT_END, 0xeb, 0xfc};
enum { AT_INT3 = 1 };

/* end: out PORT_HANDLER, al; jmp end */
static const uint8_t handler[] = {0xe6, PORT_HANDLER, 0xeb, 0xfc};

struct guest {
    int vm_fd;
    int vcpu_fd;
    uint8_t *memory;
    struct kvm_run *run;
    size_t run_size;
    /* The segments of power-on, which the others are made from. */
    struct kvm_sregs sregs;
};

static int refused(struct error *error, const char *request)
{
    return error_set(error, ERROR_HOST, "KVM refused %s: %s", request, strerror(errno));
}

/* ---- The guest's tables ---- */

static void put(struct guest *guest, uint64_t gpa, uint64_t value)
{
    memcpy(guest->memory + gpa, &value, sizeof(value));
}

/* Intel SDM volume 3: 3.4.5 (segments), 7.2.3 (TSS descriptor), 7.7 (TSS), 6.14.1 (IDT), 4.5 (page tables). */
static void write_tables(struct guest *guest)
{
    static const uint64_t segments[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff,
                                        0x00affb000000ffff};
    const uint64_t tss_limit = 0x67;
    const uint64_t present_writable_user = 7;
    const uint64_t large_page = 1 << 7;

    memcpy(guest->memory + GDT, segments, sizeof(segments));
    put(guest, GDT + TASK, tss_limit | (uint64_t)TSS << 16 | 0x8bull << 40);
    put(guest, TSS + 4, KERNEL_STACK_TOP);
    for (unsigned vector = 0; vector < VECTOR_COUNT; vector++)
        put(guest, IDT + 16 * vector, HANDLER | KERNEL_CODE << 16 | (vector == VECTOR_BP ? 0xeeull : 0x8eull) << 40);
    put(guest, PML4, PDPT | present_writable_user);
    put(guest, PDPT, DIRECTORY | present_writable_user);
    put(guest, DIRECTORY, large_page | present_writable_user);
    memcpy(guest->memory + HANDLER, handler, sizeof(handler));
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool is_code)
{
    return (struct kvm_segment){.limit = 0xffffffff,
                                .selector = selector,
                                .type = type,
                                .present = 1,
                                .dpl = selector & 3,
                                .db = !is_code,
                                .s = 1,
                                .l = is_code,
                                .g = 1};
}

/* ---- Making it ---- */

static int set_cpuid(struct guest *guest, const struct kvm_cpuid2 *cpuid)
{
    /* The request takes a pointer to what is not const. */
    return ioctl(guest->vcpu_fd, KVM_SET_CPUID2, (void *)(uintptr_t)cpuid);
}

static int guest_create(struct guest *guest, int system_fd, const struct kvm_cpuid2 *cpuid, struct error *error)
{
    /* As in libhv's VMs. An older KVM has it not. */
    struct kvm_enable_cap exit_on_failure = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = {1}};

    *guest = (struct guest){.vm_fd = -1, .vcpu_fd = -1, .memory = MAP_FAILED, .run = MAP_FAILED};
    do
        guest->vm_fd = ioctl(system_fd, KVM_CREATE_VM, 0);
    while (guest->vm_fd < 0 && errno == EINTR);
    if (guest->vm_fd < 0)
        return refused(error, "KVM_CREATE_VM");
    (void)ioctl(guest->vm_fd, KVM_ENABLE_CAP, &exit_on_failure);
    guest->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (guest->memory == MAP_FAILED)
        return error_set(error, ERROR_HOST, "no memory for a guest: %s", strerror(errno));
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY_SIZE,
                                                 .userspace_addr = (uintptr_t)guest->memory};
    if (ioctl(guest->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return refused(error, "KVM_SET_USER_MEMORY_REGION");
    guest->vcpu_fd = ioctl(guest->vm_fd, KVM_CREATE_VCPU, 0);
    if (guest->vcpu_fd < 0)
        return refused(error, "KVM_CREATE_VCPU");
    const int run_size = ioctl(system_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < (int)sizeof(*guest->run))
        return refused(error, "KVM_GET_VCPU_MMAP_SIZE");
    guest->run_size = (size_t)run_size;
    guest->run = mmap(NULL, guest->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, guest->vcpu_fd, 0);
    if (guest->run == MAP_FAILED)
        return error_set(error, ERROR_HOST, "cannot map a vCPU's page: %s", strerror(errno));
    if (set_cpuid(guest, cpuid) < 0)
        return refused(error, "KVM_SET_CPUID2");
    if (ioctl(guest->vcpu_fd, KVM_GET_SREGS, &guest->sregs) < 0)
        return refused(error, "KVM_GET_SREGS");
    write_tables(guest);
    return 0;
}

static void guest_destroy(struct guest *guest)
{
    if (guest->run != MAP_FAILED)
        munmap(guest->run, guest->run_size);
    if (guest->vcpu_fd >= 0)
        close(guest->vcpu_fd);
    if (guest->vm_fd >= 0)
        close(guest->vm_fd);
    if (guest->memory != MAP_FAILED)
        munmap(guest->memory, MEMORY_SIZE);
}

/* ---- Running it ---- */

/* Puts the vCPU before the first instruction of a program, at privilege level 0 or 3. */
static int guest_start(struct guest *guest, const uint8_t *code, size_t size, bool is_user, struct error *error)
{
    enum { CODE_TYPE = 0xb, DATA_TYPE = 0x3, TSS_TYPE = 0xb };
    const uint64_t efer_long_mode = 1 << 8 | 1 << 10;
    struct kvm_sregs sregs = guest->sregs;
    /* With I/O privilege level 3 any may use ports. */
    struct kvm_regs regs = {.rip = CODE, .rsp = STACK_TOP, .rflags = X86_EFLAGS_FIXED | X86_EFLAGS_IOPL};

    memcpy(guest->memory + CODE, code, size);
    sregs.cs = segment(is_user ? USER_CODE : KERNEL_CODE, CODE_TYPE, true);
    sregs.ss = sregs.ds = sregs.es = sregs.fs = sregs.gs = segment(is_user ? USER_DATA : KERNEL_DATA, DATA_TYPE, false);
    sregs.tr = (struct kvm_segment){.base = TSS, .limit = 0x67, .selector = TASK, .type = TSS_TYPE, .present = 1};
    sregs.gdt = (struct kvm_dtable){.base = GDT, .limit = TASK + 15};
    sregs.idt = (struct kvm_dtable){.base = IDT, .limit = 16 * VECTOR_COUNT - 1};
    sregs.cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_PG;
    sregs.cr3 = PML4;
    sregs.cr4 = X86_CR4_PAE;
    sregs.efer = efer_long_mode;
    if (ioctl(guest->vcpu_fd, KVM_SET_SREGS, &sregs) < 0)
        return refused(error, "KVM_SET_SREGS");
    if (ioctl(guest->vcpu_fd, KVM_SET_REGS, &regs) < 0)
        return refused(error, "KVM_SET_REGS");
    return 0;
}

/* Has KVM debug the guest, or no more; whether it takes that. */
static bool guest_debug(const struct guest *guest, uint32_t control, uint64_t address, uint64_t dr7)
{
    struct kvm_guest_debug debug = {.control = control};

    debug.arch.debugreg[0] = address;
    debug.arch.debugreg[7] = dr7;
    return ioctl(guest->vcpu_fd, KVM_SET_GUEST_DEBUG, &debug) == 0;
}

/* Runs to an exit. Every program ends, and so does what it is interrupted by. False: there is none. */
static bool guest_run(const struct guest *guest)
{
    enum { TRIES_MAX = 100 };
    int result = -1;

    errno = EINTR;
    for (unsigned i = 0; i < TRIES_MAX && result < 0 && (errno == EINTR || errno == EAGAIN); i++)
        result = ioctl(guest->vcpu_fd, KVM_RUN, 0);
    return result == 0;
}

/* Has KVM finish what the last exit has left, and debug no more. */
static void guest_stop(const struct guest *guest)
{
    guest->run->immediate_exit = 1;
    (void)ioctl(guest->vcpu_fd, KVM_RUN, 0);
    guest->run->immediate_exit = 0;
    (void)guest_debug(guest, 0, 0, 0);
}

/* Whether the last exit is a debugger's, where it is to be. */
static bool stopped_at(const struct guest *guest, uint32_t vector, unsigned offset)
{
    return guest->run->exit_reason == KVM_EXIT_DEBUG && guest->run->debug.arch.exception == vector &&
           guest->run->debug.arch.pc == CODE + offset;
}

/* ---- What is tried ---- */

/* Whether steps stop behind each of the first instructions. The flag is asked for before each, as libhv does. */
static bool try_steps(const struct guest *guest)
{
    static const unsigned stops[] = {AT_SECOND, AT_STORE, AT_LOAD, AT_LAST};
    bool is_honoured = true;

    for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]) && is_honoured; i++)
        is_honoured = guest_debug(guest, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, 0, 0) && guest_run(guest) &&
                      stopped_at(guest, VECTOR_DB, stops[i]);
    return is_honoured;
}

/* Whether the debug registers with this address and DR7 stop the program at an offset, and it ends then. */
static bool try_register(const struct guest *guest, uint64_t address, uint64_t dr7, unsigned offset)
{
    return guest_debug(guest, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, address, dr7) && guest_run(guest) &&
           stopped_at(guest, VECTOR_DB, offset);
}

static enum debug_int3 try_int3(const struct guest *guest)
{
    const struct kvm_run *run = guest->run;
    struct kvm_regs regs;

    if (!guest_debug(guest, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP, 0, 0) || !guest_run(guest) ||
        ioctl(guest->vcpu_fd, KVM_GET_REGS, &regs) < 0)
        return INT3_NO;
    if (stopped_at(guest, VECTOR_BP, AT_INT3))
        return INT3_EXITS;
    if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR && run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
        regs.rip == CODE + AT_INT3)
        return INT3_FAILS;
    return INT3_NO;
}

/* Intel SDM volume 3, 18.2.4: DR0 is enabled, its kind, and its length in bytes. */
static const uint64_t DR7_EXECUTE = 0x402;
static const uint64_t DR7_WRITE_4 = 0x402 | 0x1 << 16 | 0x3 << 18;
static const uint64_t DR7_ACCESS_4 = 0x402 | 0x3 << 16 | 0x3 << 18;

static int probe_level(struct guest *guest, unsigned level, struct debug_host *host, struct error *error)
{
    const bool is_user = level == 1;
    uint8_t code[sizeof(program)];
    const uint32_t store = DATA;
    const uint32_t load = DATA + 8;
    bool written;

    memcpy(code, program, sizeof(code));
    memcpy(code + STORE_ADDRESS, &store, sizeof(store));
    memcpy(code + LOAD_ADDRESS, &load, sizeof(load));
    if (guest_start(guest, code, sizeof(code), is_user, error) < 0)
        return -1;
    host->single_step[level] = try_steps(guest);
    guest_stop(guest);
    if (guest_start(guest, code, sizeof(code), is_user, error) < 0)
        return -1;
    host->execute_breakpoint[level] = try_register(guest, CODE + AT_SECOND, DR7_EXECUTE, AT_SECOND);
    guest_stop(guest);
    if (guest_start(guest, code, sizeof(code), is_user, error) < 0)
        return -1;
    written = try_register(guest, DATA, DR7_WRITE_4, AT_LOAD);
    guest_stop(guest);
    if (guest_start(guest, code, sizeof(code), is_user, error) < 0)
        return -1;
    host->watchpoint[level] = try_register(guest, DATA + 8, DR7_ACCESS_4, AT_LAST) && written;
    guest_stop(guest);
    if (guest_start(guest, with_int3, sizeof(with_int3), is_user, error) < 0)
        return -1;
    host->int3[level] = try_int3(guest);
    guest_stop(guest);
    return 0;
}

static bool offers_avx(const struct kvm_cpuid2 *cpuid)
{
    /* Intel SDM volume 2, CPUID leaf 1: bits of ECX. */
    const uint32_t xsave_and_avx = 1u << 26 | 1u << 28;
    bool found = false;

    for (uint32_t i = 0; i < cpuid->nent && !found; i++)
        found = cpuid->entries[i].function == 1 && (cpuid->entries[i].ecx & xsave_and_avx) == xsave_and_avx;
    return found;
}

int debug_host_probe(int system_fd, struct debug_host *host, struct error *error)
{
    enum { CPUID_ENTRIES = 256 };
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
    struct debug_host found = {0};
    struct guest guest;
    int result;

    if (cpuid == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    cpuid->nent = CPUID_ENTRIES;
    if (ioctl(system_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0) {
        free(cpuid);
        return refused(error, "KVM_GET_SUPPORTED_CPUID");
    }
    const int flags = ioctl(system_fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG2);
    found.holds_interrupts = flags > 0 && ((uint32_t)flags & KVM_GUESTDBG_BLOCKIRQ) != 0;
    found.has_avx = offers_avx(cpuid);
    result = guest_create(&guest, system_fd, cpuid, error);
    free(cpuid);
    for (unsigned level = 0; level < 2 && result == 0; level++)
        result = probe_level(&guest, level, &found, error);
    guest_destroy(&guest);
    if (result == 0)
        *host = found;
    return result;
}
