/*
 * What the memory subsystem costs, each against the bare ioctls or instructions that it cannot avoid, in turns.
 * Prints samples for tools/bench: who, quantity, value.
 * usage: bench_memory ROUNDS [MIB], the size of the region of which a page is protected, 4096 at most
 */
#include <Hypervisor/hvx.h>
#include <Hypervisor/hvx_dma.h>

#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, MANY = 30000, SOME = 100 };

static const hv_memory_flags_t ALL = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;
/* A processor starts 16 bytes below 4 GiB (Intel SDM volume 3, 10.1.4). */
static const hv_gpaddr_t RESET_PAGE = 0xfffff000;

static unsigned rounds;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void sample(const char *who, const char *quantity, double value)
{
    printf("%s\t%s\t%.3f\n", who, quantity, value);
    fflush(stdout);
}

static void must(bool done, const char *what)
{
    if (done)
        return;
    fprintf(stderr, "bench_memory: %s failed\n", what);
    exit(1);
}

#define MUST(call) must((call) == HV_SUCCESS, #call)
#define MUST_IOCTL(call) must((call) >= 0, #call)

/* ---- A bare KVM VM beside ours ---- */

static struct bare_vm {
    int system_fd;
    int vm_fd;
    int vcpu_fd;
    struct kvm_run *run;
} bare;

static void bare_slot(unsigned id, uint64_t gpa, uint64_t size, const void *memory, uint32_t flags)
{
    struct kvm_userspace_memory_region region = {
        .slot = id, .flags = flags, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = (uintptr_t)memory};
    MUST_IOCTL(ioctl(bare.vm_fd, KVM_SET_USER_MEMORY_REGION, &region));
}

/* What KVM has to offer; newer kernels have no 64-bit mode for a vCPU without it. Before the first run. */
static void give_cpuid(int vcpu_fd)
{
    enum { ENTRIES = 256 };
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + ENTRIES * sizeof(cpuid->entries[0]));

    must(cpuid != NULL, "memory for CPUID");
    cpuid->nent = ENTRIES;
    MUST_IOCTL(ioctl(bare.system_fd, KVM_GET_SUPPORTED_CPUID, cpuid));
    MUST_IOCTL(ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid));
    free(cpuid);
}

static void bare_create(void)
{
    bare.system_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    MUST_IOCTL(bare.system_fd);
    MUST_IOCTL(bare.vm_fd = ioctl(bare.system_fd, KVM_CREATE_VM, 0));
    MUST_IOCTL(bare.vcpu_fd = ioctl(bare.vm_fd, KVM_CREATE_VCPU, 0));
    const int size = ioctl(bare.system_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    bare.run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, bare.vcpu_fd, 0);
    must(bare.run != MAP_FAILED, "mmap of kvm_run");
    give_cpuid(bare.vcpu_fd);
}

static void bare_run_to_halt(void)
{
    do
        MUST_IOCTL(ioctl(bare.vcpu_fd, KVM_RUN, 0));
    while (bare.run->exit_reason != KVM_EXIT_HLT);
}

static void our_run_to_halt(hv_vcpuid_t vcpu)
{
    hvx_vcpu_exit_t exit;

    do {
        MUST(hv_vcpu_run(vcpu));
        MUST(hvx_vcpu_exit(vcpu, &exit));
    } while (exit.reason != HVX_EXIT_HALT);
}

/* ---- Mapping ---- */

/* Regions that do not join: every other page. */
static hv_gpaddr_t region_gpa(unsigned index)
{
    return 0x100000000ull + (uint64_t)index * 2 * PAGE;
}

static void measure_maps(uint8_t *memory, const char *quantity, unsigned present)
{
    enum { BATCH = 50 };

    for (unsigned round = 0; round < rounds; round++) {
        double begin = now();
        for (unsigned i = 0; i < BATCH; i++) {
            MUST(hv_vm_map(memory, region_gpa(present), PAGE, ALL));
            MUST(hv_vm_unmap(region_gpa(present), PAGE));
        }
        sample("quire", quantity, (now() - begin) / BATCH / 1e3);
        begin = now();
        for (unsigned i = 0; i < BATCH; i++) {
            bare_slot(present + 1, region_gpa(present), PAGE, memory, 0);
            bare_slot(present + 1, region_gpa(present), 0, memory, 0);
        }
        sample("bare", quantity, (now() - begin) / BATCH / 1e3);
    }
}

static void fill(uint8_t *memory, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        MUST(hv_vm_map(memory, region_gpa(i), PAGE, ALL));
        bare_slot(i + 1, region_gpa(i), PAGE, memory, 0);
    }
}

static void measure_merging(uint8_t *memory)
{
    enum { PIECES = 10000 };
    const hv_gpaddr_t gpa = 0x8000000000;
    hvx_space_info_t before, after;

    MUST(hvx_vm_space_info(HV_VM_SPACE_DEFAULT, &before));
    for (unsigned i = 0; i < PIECES; i++)
        MUST(hv_vm_map(memory + (size_t)i * PAGE, gpa + (uint64_t)i * PAGE, PAGE, ALL));
    MUST(hvx_vm_space_info(HV_VM_SPACE_DEFAULT, &after));
    sample("quire", "slots", (double)(after.slot_count - before.slot_count));
    sample("bare", "slots", PIECES);
    MUST(hv_vm_unmap(gpa, (size_t)PIECES * PAGE));
}

/* ---- Translation ---- */

static atomic_bool stop_mapping;

static void *map_without_pause(void *memory)
{
    while (!atomic_load(&stop_mapping)) {
        MUST(hv_vm_map(memory, region_gpa(MANY + 10), PAGE, ALL));
        MUST(hv_vm_unmap(region_gpa(MANY + 10), PAGE));
    }
    return NULL;
}

static void measure_translation(const char *suffix)
{
    enum { LOOKUPS = 200000, RANDOM = 10000 };
    static hv_gpaddr_t addresses[RANDOM];
    char quantity[40];
    uint32_t value;
    hvx_dma_t *dma;

    MUST(hvx_dma_open(HV_VM_SPACE_DEFAULT, "bench", &dma));
    for (unsigned i = 0; i < RANDOM; i++)
        addresses[i] = region_gpa((unsigned)rand() % RANDOM);
    for (unsigned round = 0; round < rounds; round++) {
        double begin = now();
        for (unsigned i = 0; i < LOOKUPS; i++)
            hvx_dma_load32(dma, region_gpa(5), &value);
        snprintf(quantity, sizeof(quantity), "same%s", suffix);
        sample("quire", quantity, (now() - begin) / LOOKUPS);
        begin = now();
        for (unsigned i = 0; i < LOOKUPS; i++)
            hvx_dma_load32(dma, addresses[i % RANDOM], &value);
        snprintf(quantity, sizeof(quantity), "random%s", suffix);
        sample("quire", quantity, (now() - begin) / LOOKUPS);
    }
    hvx_dma_close(dma);
}

/* ---- Running ---- */

/* again: hlt; jmp again */
static const uint8_t halting[] = {0xf4, 0xeb, 0xfd};

static void measure_runs(hv_vcpuid_t vcpu)
{
    enum { RUNS = 2000 };

    for (unsigned round = 0; round < rounds; round++) {
        double begin = now();
        for (unsigned i = 0; i < RUNS; i++)
            our_run_to_halt(vcpu);
        sample("quire", "run", (now() - begin) / RUNS / 1e3);
        begin = now();
        for (unsigned i = 0; i < RUNS; i++)
            bare_run_to_halt();
        sample("bare", "run", (now() - begin) / RUNS / 1e3);
    }
}

/* The state that a vCPU has, from one KVM vCPU to another, with nothing else around it. */
static void bare_move(int from, int to, struct kvm_msrs *msrs)
{
    static struct kvm_regs regs;
    static struct kvm_sregs sregs;
    static struct kvm_debugregs debug;
    static struct kvm_vcpu_events events;
    static struct kvm_xcrs xcrs;
    static struct kvm_xsave xsave;
    uint64_t offset;
    struct kvm_device_attr attribute = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&offset};

    MUST_IOCTL(ioctl(from, KVM_GET_REGS, &regs));
    MUST_IOCTL(ioctl(from, KVM_GET_SREGS, &sregs));
    MUST_IOCTL(ioctl(from, KVM_GET_XSAVE, &xsave));
    MUST_IOCTL(ioctl(from, KVM_GET_XCRS, &xcrs));
    MUST_IOCTL(ioctl(from, KVM_GET_DEBUGREGS, &debug));
    MUST_IOCTL(ioctl(from, KVM_GET_VCPU_EVENTS, &events));
    MUST_IOCTL(ioctl(from, KVM_GET_MSRS, msrs));
    if (xcrs.nr_xcrs > 0)
        MUST_IOCTL(ioctl(to, KVM_SET_XCRS, &xcrs));
    MUST_IOCTL(ioctl(to, KVM_SET_SREGS, &sregs));
    MUST_IOCTL(ioctl(to, KVM_SET_REGS, &regs));
    MUST_IOCTL(ioctl(to, KVM_SET_XSAVE, &xsave));
    MUST_IOCTL(ioctl(to, KVM_SET_DEBUGREGS, &debug));
    MUST_IOCTL(ioctl(to, KVM_SET_VCPU_EVENTS, &events));
    MUST_IOCTL(ioctl(to, KVM_SET_MSRS, msrs));
    if (ioctl(from, KVM_GET_DEVICE_ATTR, &attribute) == 0)
        MUST_IOCTL(ioctl(to, KVM_SET_DEVICE_ATTR, &attribute));
}

static void measure_moves(hv_vcpuid_t vcpu, hv_vm_space_t other, uint8_t *code)
{
    enum { MOVES = 200, MSRS = 40 };
    const int second_vm = ioctl(bare.system_fd, KVM_CREATE_VM, 0);
    const int second_vcpu = ioctl(second_vm, KVM_CREATE_VCPU, 0);
    struct kvm_userspace_memory_region region = {
        .guest_phys_addr = RESET_PAGE, .memory_size = PAGE, .userspace_addr = (uintptr_t)code};
    const int size = ioctl(bare.system_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    struct kvm_run *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, second_vcpu, 0);
    /* As many MSRs as the library carries are had by asking for one of them that often. */
    struct kvm_msrs *msrs = calloc(1, sizeof(*msrs) + MSRS * sizeof(msrs->entries[0]));

    MUST_IOCTL(ioctl(second_vm, KVM_SET_USER_MEMORY_REGION, &region));
    msrs->nmsrs = MSRS;
    for (unsigned i = 0; i < MSRS; i++)
        msrs->entries[i].index = 0xc0000102; /* IA32_KERNEL_GS_BASE, Intel SDM volume 4, table 2-2 */
    for (unsigned round = 0; round < rounds; round++) {
        double begin = now();
        for (unsigned i = 0; i < MOVES; i++) {
            MUST(hv_vcpu_set_space(vcpu, i % 2 == 0 ? other : HV_VM_SPACE_DEFAULT));
            our_run_to_halt(vcpu);
        }
        sample("quire", "move", (now() - begin) / MOVES / 1e3);
        begin = now();
        for (unsigned i = 0; i < MOVES; i++) {
            const int from = i % 2 == 0 ? bare.vcpu_fd : second_vcpu;
            const int to = i % 2 == 0 ? second_vcpu : bare.vcpu_fd;
            bare_move(from, to, msrs);
            do
                MUST_IOCTL(ioctl(to, KVM_RUN, 0));
            while ((i % 2 == 0 ? run : bare.run)->exit_reason != KVM_EXIT_HLT);
        }
        sample("bare", "move", (now() - begin) / MOVES / 1e3);
    }
}

/* ---- Written pages ---- */

/* again: mov [ebx], al; add ebx, 0x100000; loop again; hlt: 32-bit code that writes to a page of each MiB */
static const uint8_t writing[] = {0x88, 0x03, 0x81, 0xc3, 0x00, 0x00, 0x10, 0x00, 0xe2, 0xf6, 0xf4};
static const hv_gpaddr_t WRITING_PAGE = 0x10000;
static const hv_gpaddr_t WRITTEN_GPA = 0x40000000;

/* Flat 32-bit protected mode, at the start of that program. */
static void enter_protected_mode(int vcpu_fd)
{
    const struct kvm_segment code = {
        .limit = 0xffffffff, .selector = 8, .type = 0xb, .present = 1, .s = 1, .db = 1, .g = 1};
    struct kvm_segment data = code;
    struct kvm_sregs sregs;

    data.selector = 16;
    data.type = 3;
    MUST_IOCTL(ioctl(vcpu_fd, KVM_GET_SREGS, &sregs));
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cr0 |= 1;
    MUST_IOCTL(ioctl(vcpu_fd, KVM_SET_SREGS, &sregs));
}

static void point_at_writing(int vcpu_fd, unsigned pages)
{
    const struct kvm_regs regs = {.rip = WRITING_PAGE, .rbx = WRITTEN_GPA, .rcx = pages, .rflags = 2};

    MUST_IOCTL(ioctl(vcpu_fd, KVM_SET_REGS, &regs));
}

static void measure_dirty(hv_vcpuid_t vcpu, uint8_t *code, uint8_t *memory, size_t size)
{
    enum { DIRTY = 1000, CODE_SLOT = 31000, SLOT = 31001 };
    uint64_t *bitmap = calloc(size / PAGE / 64, sizeof(*bitmap));
    int fd;

    memcpy(code, writing, sizeof(writing));
    MUST(hv_vm_map(code, WRITING_PAGE, PAGE, ALL));
    MUST(hv_vm_map(memory, WRITTEN_GPA, size, ALL));
    MUST(hvx_vm_dirty_start(HV_VM_SPACE_DEFAULT, WRITTEN_GPA, size));
    bare_slot(CODE_SLOT, WRITING_PAGE, PAGE, code, 0);
    bare_slot(SLOT, WRITTEN_GPA, size, memory, KVM_MEM_LOG_DIRTY_PAGES);
    MUST(hvx_vcpu_kvm_fd(vcpu, &fd));
    enter_protected_mode(fd);
    enter_protected_mode(bare.vcpu_fd);
    for (unsigned round = 0; round < rounds; round++) {
        point_at_writing(fd, DIRTY);
        our_run_to_halt(vcpu);
        double begin = now();
        MUST(hvx_vm_dirty_fetch(HV_VM_SPACE_DEFAULT, WRITTEN_GPA, size, bitmap));
        sample("quire", "dirty", (now() - begin) / 1e3);
        point_at_writing(bare.vcpu_fd, DIRTY);
        bare_run_to_halt();
        struct kvm_dirty_log log = {.slot = SLOT, .dirty_bitmap = bitmap};
        begin = now();
        MUST_IOCTL(ioctl(bare.vm_fd, KVM_GET_DIRTY_LOG, &log));
        sample("bare", "dirty", (now() - begin) / 1e3);
    }
    MUST(hvx_vm_dirty_stop(HV_VM_SPACE_DEFAULT, WRITTEN_GPA, size));
    MUST(hv_vm_unmap(WRITTEN_GPA, size));
    bare_slot(SLOT, WRITTEN_GPA, 0, memory, 0);
    free(bitmap);
}

/* ---- The same with rings ---- */

enum { RING_ENTRIES = 65536 };

/* A bare KVM VM with a ring, in the place of the one before; and the ring. */
static struct kvm_dirty_gfn *bare_create_with_ring(void)
{
    struct kvm_enable_cap ring = {.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
                                  .args = {RING_ENTRIES * sizeof(struct kvm_dirty_gfn)}};
    const int size = ioctl(bare.system_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

    MUST_IOCTL(bare.vm_fd = ioctl(bare.system_fd, KVM_CREATE_VM, 0));
    MUST_IOCTL(ioctl(bare.vm_fd, KVM_ENABLE_CAP, &ring));
    MUST_IOCTL(bare.vcpu_fd = ioctl(bare.vm_fd, KVM_CREATE_VCPU, 0));
    bare.run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, bare.vcpu_fd, 0);
    void *entries = mmap(NULL, RING_ENTRIES * sizeof(struct kvm_dirty_gfn), PROT_READ | PROT_WRITE, MAP_SHARED,
                         bare.vcpu_fd, (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * PAGE);
    must(bare.run != MAP_FAILED && entries != MAP_FAILED, "mmap of a vCPU");
    return entries;
}

/* What is in the ring goes to the bitmap of one slot. */
static void bare_fetch_ring(struct kvm_dirty_gfn *ring, uint32_t *next, uint64_t *bitmap, size_t bitmap_size)
{
    memset(bitmap, 0, bitmap_size);
    for (;; ++*next) {
        struct kvm_dirty_gfn *entry = &ring[*next % RING_ENTRIES];
        if (__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
            break;
        bitmap[entry->offset / 64] |= 1ull << (entry->offset % 64);
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    }
    MUST_IOCTL(ioctl(bare.vm_fd, KVM_RESET_DIRTY_RINGS, 0));
}

static void measure_dirty_rings(hv_vcpuid_t vcpu, uint8_t *code, uint8_t *memory, size_t size)
{
    enum { DIRTY = 1000 };
    const size_t bitmap_size = size / PAGE / 8;
    uint64_t *bitmap = malloc(bitmap_size);
    hv_vm_space_t space;
    uint32_t next = 0;
    int fd;

    MUST(hv_vm_space_create(&space));
    /* A KVM without rings has no such row. */
    if (hvx_vm_dirty_use_ring(space, RING_ENTRIES) != HV_SUCCESS)
        return;
    const struct bare_vm before = bare;
    struct kvm_dirty_gfn *ring = bare_create_with_ring();
    MUST(hv_vm_map_space(space, code, WRITING_PAGE, PAGE, ALL));
    MUST(hv_vm_map_space(space, memory, WRITTEN_GPA, size, ALL));
    MUST(hvx_vm_dirty_start(space, WRITTEN_GPA, size));
    bare_slot(0, WRITING_PAGE, PAGE, code, 0);
    bare_slot(1, WRITTEN_GPA, size, memory, KVM_MEM_LOG_DIRTY_PAGES);
    MUST(hv_vcpu_set_space(vcpu, space));
    MUST(hvx_vcpu_kvm_fd(vcpu, &fd));
    enter_protected_mode(bare.vcpu_fd);
    for (unsigned round = 0; round < rounds; round++) {
        point_at_writing(fd, DIRTY);
        our_run_to_halt(vcpu);
        double begin = now();
        MUST(hvx_vm_dirty_fetch(space, WRITTEN_GPA, size, bitmap));
        sample("quire", "dirty-ring", (now() - begin) / 1e3);
        point_at_writing(bare.vcpu_fd, DIRTY);
        bare_run_to_halt();
        begin = now();
        bare_fetch_ring(ring, &next, bitmap, bitmap_size);
        sample("bare", "dirty-ring", (now() - begin) / 1e3);
    }
    MUST(hv_vcpu_set_space(vcpu, HV_VM_SPACE_DEFAULT));
    MUST(hv_vm_space_destroy(space));
    munmap(ring, RING_ENTRIES * sizeof(*ring));
    munmap(bare.run, (size_t)ioctl(bare.system_fd, KVM_GET_VCPU_MMAP_SIZE, 0));
    close(bare.vcpu_fd);
    close(bare.vm_fd);
    bare = before;
    free(bitmap);
}

/* ---- One page of a large region ---- */

enum { TABLES = 8, TABLES_GPA = 0x20000, TOUCHING_GPA = 0x30000, DONE_GPA = 0x100000 };
static const hv_gpaddr_t TOUCHED_GPA = 0x200000000;
static size_t touched_size;

/*
 * 64-bit code that reads from each page of the region and says so with a store to where nothing is, for ever:
 * again: mov rbx, gpa; mov ecx, pages; next: mov al, [rbx]; add rbx, 4096; dec ecx; jnz next; mov [0x100000], al;
 * jmp again
 */
static void write_touching(uint8_t *code)
{
    static const uint8_t program[] = {0x48, 0xbb, 0,    0,    0,    0,    0,    0,    0,    0,    0xb9, 0,    0,
                                      0,    0,    0x8a, 0x03, 0x48, 0x81, 0xc3, 0x00, 0x10, 0,    0,    0xff, 0xc9,
                                      0x75, 0xf3, 0x88, 0x04, 0x25, 0x00, 0x00, 0x10, 0,    0xeb, 0xdb};
    const uint32_t pages = (uint32_t)(touched_size / PAGE);

    memcpy(code, program, sizeof(program));
    memcpy(code + 2, &TOUCHED_GPA, sizeof(TOUCHED_GPA));
    memcpy(code + 11, &pages, sizeof(pages));
}

/*
 * Page tables that map the region and the first 2 MiB where they are, in pages of 2 MiB: a page of the fourth level,
 * one of the third, and second-level ones (Intel SDM volume 3, 4.5; 7: present, writable, user; 0x80: a large page).
 */
static void write_tables(uint64_t *tables)
{
    uint64_t *third = tables + 512;
    uint64_t *second = tables + 1024;

    tables[0] = (TABLES_GPA + PAGE) | 7;
    third[0] = (TABLES_GPA + 2 * PAGE) | 7;
    second[0] = 0x87;
    for (unsigned gib = 0; gib < (touched_size + (1u << 30) - 1) >> 30; gib++) {
        third[(TOUCHED_GPA >> 30) + gib] = (TABLES_GPA + (3 + gib) * PAGE) | 7;
        for (unsigned i = 0; i < 512; i++)
            second[512 * (1 + gib) + i] = (TOUCHED_GPA + ((uint64_t)gib << 30) + ((uint64_t)i << 21)) | 0x87;
    }
}

/* 64-bit user mode, which an emulating KVM runs as it is, at the start of that program. */
static void point_at_touching(int vcpu_fd)
{
    const struct kvm_segment code = {
        .limit = 0xffffffff, .selector = 0x1b, .type = 0xb, .present = 1, .dpl = 3, .s = 1, .l = 1, .g = 1};
    const struct kvm_regs regs = {.rip = TOUCHING_GPA, .rflags = 2};
    struct kvm_segment data = code;
    struct kvm_sregs sregs;

    data.selector = 0x23;
    data.type = 3;
    data.l = 0;
    data.db = 1;
    MUST_IOCTL(ioctl(vcpu_fd, KVM_GET_SREGS, &sregs));
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cr3 = TABLES_GPA;
    sregs.cr4 |= 0x20;       /* PAE (SDM volume 3, 2.5) */
    sregs.cr0 |= 0x80000001; /* PG, PE (the same) */
    sregs.efer |= 0x500;     /* LME, LMA (2.2.1) */
    MUST_IOCTL(ioctl(vcpu_fd, KVM_SET_SREGS, &sregs));
    MUST_IOCTL(ioctl(vcpu_fd, KVM_SET_REGS, &regs));
}

static void our_run_to_store(hv_vcpuid_t vcpu)
{
    hvx_vcpu_exit_t exit;

    do {
        MUST(hv_vcpu_run(vcpu));
        MUST(hvx_vcpu_exit(vcpu, &exit));
    } while (exit.reason == HVX_EXIT_INTERRUPTED);
    must(exit.reason == HVX_EXIT_MEMORY && exit.memory.gpa == (hv_gpaddr_t)DONE_GPA, "touching all pages");
    MUST(hvx_vcpu_complete(vcpu, NULL));
}

static void bare_run_to_store(void)
{
    MUST_IOCTL(ioctl(bare.vcpu_fd, KVM_RUN, 0));
    must(bare.run->exit_reason == KVM_EXIT_MMIO && bare.run->mmio.phys_addr == DONE_GPA, "touching all pages");
}

/*
 * A page of a region all of which the guest has in its page tables loses a permission, and the guest touches all of the
 * region. Another page each time, far from the others: the first cut is what costs. Pages of 4 KiB, on the host too, as
 * large ones make faults few and all this is about them.
 */
static void measure_protect(hv_vcpuid_t vcpu, uint8_t *low)
{
    enum { SLOT = 31002, LOW_SLOT = 31003 };
    const size_t low_size = TOUCHING_GPA + PAGE - TABLES_GPA;
    uint8_t *memory =
        mmap(NULL, touched_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int fd;

    must(memory != MAP_FAILED && madvise(memory, touched_size, MADV_NOHUGEPAGE) == 0, "memory for a large region");
    memset(memory, 1, touched_size);
    memset(low, 0, TABLES * PAGE);
    write_tables((uint64_t *)(void *)low);
    write_touching(low + TOUCHING_GPA - TABLES_GPA);
    MUST(hv_vm_map(low, TABLES_GPA, low_size, ALL));
    MUST(hv_vm_map(memory, TOUCHED_GPA, touched_size, ALL));
    bare_slot(LOW_SLOT, TABLES_GPA, low_size, low, 0);
    bare_slot(SLOT, TOUCHED_GPA, touched_size, memory, 0);
    MUST(hvx_vcpu_kvm_fd(vcpu, &fd));
    point_at_touching(fd);
    point_at_touching(bare.vcpu_fd);
    our_run_to_store(vcpu);
    bare_run_to_store();
    for (unsigned round = 0; round < rounds; round++) {
        double begin = now();
        our_run_to_store(vcpu);
        sample("quire", "touch", (now() - begin) / 1e3);
        begin = now();
        MUST(hv_vm_protect(TOUCHED_GPA + (100ull << 20) * round % touched_size + 7 * PAGE, PAGE, HV_MEMORY_READ));
        sample("quire", "protect-call", (now() - begin) / 1e3);
        our_run_to_store(vcpu);
        sample("quire", "protect", (now() - begin) / 1e3);
        begin = now();
        bare_slot(SLOT, TOUCHED_GPA, 0, memory, 0);
        bare_slot(SLOT, TOUCHED_GPA, touched_size, memory, 0);
        sample("bare", "protect-call", (now() - begin) / 1e3);
        bare_run_to_store();
        sample("bare", "protect", (now() - begin) / 1e3);
    }
    MUST(hv_vm_unmap(TOUCHED_GPA, touched_size));
    MUST(hv_vm_unmap(TABLES_GPA, low_size));
    bare_slot(SLOT, TOUCHED_GPA, 0, memory, 0);
    bare_slot(LOW_SLOT, TABLES_GPA, 0, low, 0);
    munmap(memory, touched_size);
}

int main(int argc, char **argv)
{
    const size_t size = (size_t)1 << 30;
    hv_vm_space_t other;
    pthread_t mapper;
    hv_vcpuid_t vcpu;
    void *allocated;
    int fd;

    rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 5;
    touched_size = (size_t)(argc > 2 ? atoi(argv[2]) : 4096) << 20;
    MUST(hv_vm_create(HV_VM_DEFAULT));
    MUST(hv_vm_space_create(&other));
    MUST(hv_vm_allocate(&allocated, size + PAGE, HV_ALLOCATE_DEFAULT));
    uint8_t *memory = allocated;
    memcpy(memory + 0xff0, halting, sizeof(halting));
    MUST(hv_vm_map(memory, RESET_PAGE, PAGE, ALL));
    MUST(hv_vm_map_space(other, memory, RESET_PAGE, PAGE, ALL));
    MUST(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT));
    bare_create();
    MUST(hvx_vcpu_kvm_fd(vcpu, &fd));
    give_cpuid(fd);
    bare_slot(0, RESET_PAGE, PAGE, memory, 0);
    our_run_to_halt(vcpu);
    bare_run_to_halt();

    measure_runs(vcpu);
    measure_moves(vcpu, other, memory);
    fill(memory, 0, SOME);
    measure_maps(memory, "map100", SOME);
    measure_dirty(vcpu, memory + size, memory, size);
    measure_dirty_rings(vcpu, memory + size, memory, size);
    measure_protect(vcpu, memory + PAGE);
    fill(memory, SOME, MANY);
    measure_maps(memory, "map30000", MANY);
    measure_merging(memory);
    measure_translation("");
    pthread_create(&mapper, NULL, map_without_pause, memory);
    measure_translation("-busy");
    atomic_store(&stop_mapping, true);
    pthread_join(mapper, NULL);
    return 0;
}
