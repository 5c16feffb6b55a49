/*
 * What this library has beyond Apple's API: names and policies for ranges, queries, the host's view of guest memory,
 * the description of an exit, and the way to KVM for what the API does not cover. The rules of <Hypervisor/hv.h>
 * (units, order of checks, threads) hold here too.
 */
#ifndef HYPERVISOR_HVX_H
#define HYPERVISOR_HVX_H

#include <Hypervisor/hv.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Names longer than this, with the terminating null, are cut. */
#define HVX_NAME_SIZE 32

/* ---- Memory ---------------------------------------------------------------------------------------------- */

/* What becomes of an access that a mapping's flags forbid; counted it is in any case (see hvx_space_info_t). */
typedef enum {
    /* A vCPU's is an exit, and the fault is recorded (see hvx_vm_faults()). What a new mapping has. */
    HVX_POLICY_CLIENT = 0,
    /* The same; the exit says that the client is to end the machine. */
    HVX_POLICY_STOP,
    /* hv_vcpu_run() answers it as an open bus does, and goes on: a store is dropped, a load gives all ones. Recorded.
     */
    HVX_POLICY_LOG,
    /* As HVX_POLICY_LOG, and not recorded. */
    HVX_POLICY_COUNT,
} hvx_policy_t;

/* One range of a space: contiguous in the guest and in the host, with the same flags, policy and name throughout. */
typedef struct {
    hv_gpaddr_t gpa;
    uint64_t size;
    hv_uvaddr_t uva;
    hv_memory_flags_t flags;
    hvx_policy_t policy;
    char name[HVX_NAME_SIZE];
} hvx_range_t;

/* What the host's KVM can do. */
typedef struct {
    /* Spaces, the default one included, and vCPUs: what hv_capability() says. */
    unsigned spaces;
    unsigned vcpus;
    /* Memory slots for each space; a range with flags takes one, at least. */
    unsigned slots;
    /* Bits of a guest-physical address that a guest can use; what lies above is recorded, and inert. */
    unsigned address_bits;
    /* The host's memory, in bytes. */
    uint64_t memory;
} hvx_host_limits_t;

/* Works without a VM. Errors are those of hv_vm_create() that are the host's. */
HV_API hv_return_t hvx_host_limits(hvx_host_limits_t *limits);

/* As hv_vm_map_space(), with a name that faults, maps and errors use. NULL is the empty name. */
HV_API hv_return_t hvx_vm_map_space_named(hv_vm_space_t asid, hv_uvaddr_t uva, hv_gpaddr_t gpa, size_t size,
                                          hv_memory_flags_t flags, const char *name);

/*
 * Sets the policy of a range that is wholly mapped, over as many mappings as it spans; it is the mapping's, as its name
 * is: hv_vm_protect() leaves it, hv_vm_unmap() ends it. It costs no KVM slot, holds no vCPU, and counts from the next
 * fault on, an access that is still pending included.
 * A fetch cannot be answered: it is an exit whatever the policy. Nor is a device's access ever answered: it gets
 * HV_DENIED. What an access is, KVM says: at most 8 bytes in one page; a longer one, or one over a page's end, is two.
 * A guest whose accesses are answered without end still leaves for hv_vcpu_interrupt() and for a deadline. A signal of
 * the client's own ends a run only if it comes while the vCPU is in the guest.
 * HV_ERROR: part of the range is not mapped. HV_NO_RESOURCES: no memory.
 */
HV_API hv_return_t hvx_vm_set_policy(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size, hvx_policy_t policy);

/*
 * Has accesses of these kinds (HV_MEMORY_READ, _WRITE, _EXEC) to a range, which is wholly mapped, exit although its
 * flags allow them; 0: none any more. For debuggers: it binds vCPUs alone, and neither devices nor the client, nor is
 * it in a range's flags. It is the mapping's, over as many mappings as it spans: hv_vm_protect() leaves it,
 * hv_vm_unmap() ends it. It splits ranges as a policy does, and counts from the next access on when this returns.
 *
 * The exit is HVX_EXIT_MEMORY with is_trap; it is no fault, and the mapping's policy has no say in it. A load or store
 * has not happened, although RIP may be behind it: hvx_vcpu_allow() carries it out, hvx_vcpu_complete() says that the
 * client has, and without either the next run tries it again, as the map is then. A fetch exits with RIP at the
 * instruction, of which nothing is done, and gpa where nothing could be fetched, which is on the next page if the
 * instruction reaches there; for it to go on the trap has to be lifted.
 *
 * KVM has no slot for a range that is trapped for HV_MEMORY_READ or _EXEC, and a read-only one where it is for
 * HV_MEMORY_WRITE alone. Other accesses that exit for that reason are served in hv_vcpu_run() as in a strict space (see
 * hvx_vm_space_set_strict(), also for what KVM makes of fetches): at the cost of an exit each, read-modify-write
 * instructions are not atomic, and an instruction that KVM cannot emulate exits as HVX_EXIT_EMULATION_FAILURE. What the
 * processor itself reads or writes outside of instructions' operands (page tables, descriptor tables, the frames of
 * interrupts) cannot be served: with a trap for HV_MEMORY_READ or _EXEC there the guest fails.
 * HV_ERROR: part of the range is not mapped. HV_NO_RESOURCES: no memory, or KVM is out of slots.
 */
HV_API hv_return_t hvx_vm_set_traps(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size, hv_memory_flags_t access);

/* Pages of memory that hvx_vm_allocate_backed() gives. */
typedef enum {
    /* Huge pages where the host has them at hand: what hv_vm_allocate() does. */
    HVX_PAGES_ADVISE_HUGE,
    HVX_PAGES_SMALL,
} hvx_pages_t;

/* What is behind memory for guests. */
typedef struct {
    /* A file, a memfd or a file of hugetlbfs, which is mapped shared; -1: anonymous memory. It stays the caller's. */
    int fd;
    /* Where in the file the memory begins: a multiple of 4096, or of the file's own page size. */
    uint64_t offset;
    hvx_pages_t pages;
    /* Have the host provide all of it now, instead of when it is first touched. */
    bool prefault;
    /*
     * Take its pages from one NUMA node of the host alone; without has_node from where the host likes. Pages that a
     * file has already stay where they are, and those of a file on disk are where the host has read them.
     */
    bool has_node;
    unsigned node;
} hvx_backing_t;

/*
 * As hv_vm_allocate(), with a choice of what is behind the memory; hv_vm_deallocate() releases it. Memory of 2 MiB or
 * more begins at a multiple of that, of 1 GiB or more, from a file, at a multiple of 1 GiB. HV_ERROR: the descriptor
 * cannot be mapped so, or is too short, or the host lets nobody choose a node. HV_NO_RESOURCES: the host, or the node
 * if it is prefaulted, has not that much. HV_BAD_ARGUMENT: the host has no such node, or none with memory that this
 * process may use. HV_UNSUPPORTED: a node is asked for, and the host's kernel knows none.
 */
HV_API hv_return_t hvx_vm_allocate_backed(void **uvap, size_t size, const hvx_backing_t *backing);

/*
 * Gives the range that holds gpa, or, where nothing is mapped there, the next one above it.
 * HV_ERROR: there is neither. Calling again with gpa + size of the last one lists a space.
 */
HV_API hv_return_t hvx_vm_query_space(hv_vm_space_t asid, hv_gpaddr_t gpa, hvx_range_t *range);

/* What a space consists of, in numbers. */
typedef struct {
    /* Ranges, as hvx_vm_query_space() lists them. */
    size_t range_count;
    /* KVM memory slots in use; 0 where no vCPU has been in the space, so that it has no KVM VM. */
    size_t slot_count;
    bool is_strict;
    unsigned vcpu_count;
    /*
     * Faults (see hvx_fault_t) of vCPUs and devices since the space was made, whatever their policy. A load or store
     * that is repeated is one; a fetch is one each time it is tried.
     */
    uint64_t fault_count;
} hvx_space_info_t;

HV_API hv_return_t hvx_vm_space_info(hv_vm_space_t asid, hvx_space_info_t *info);

/*
 * Copies size bytes between the caller and guest memory, over as many mappings as they span. The client is the
 * machine's owner: the mappings' flags do not bind it. HV_ERROR: not all of it is mapped; nothing was copied.
 * Neither is atomic: a guest that runs meanwhile may see, or make, half of it.
 */
HV_API hv_return_t hvx_vm_read_space(hv_vm_space_t asid, hv_gpaddr_t gpa, void *buffer, size_t size);
HV_API hv_return_t hvx_vm_write_space(hv_vm_space_t asid, hv_gpaddr_t gpa, const void *buffer, size_t size);

/*
 * Makes a space strict, or not, at any time. In a strict space a missing HV_MEMORY_EXEC holds: KVM gets no slot for
 * such a range, a fetch from it exits as HVX_EXIT_MEMORY with HV_MEMORY_EXEC, and data accesses that the flags allow
 * are served by the library, at the cost of an exit each; read-modify-write instructions on them are not atomic. A
 * missing HV_MEMORY_READ holds too, except where HV_MEMORY_EXEC is given: what KVM can fetch it can read.
 * A KVM that emulates the processor in software answers such a fetch at CPL 3 with an exception: it is an exit only if
 * the guest has no handler for that. HV_NO_RESOURCES: KVM is out of slots, and the space is as before.
 */
HV_API hv_return_t hvx_vm_space_set_strict(hv_vm_space_t asid, bool strict);

/*
 * Tracks which pages of a range are written from now on: by vCPUs, by devices, and by hvx_vm_write_space(); not by the
 * client's own stores. What is mapped there may change meanwhile, and nothing need be mapped.
 * HV_ERROR: part of it is tracked already. HV_NO_RESOURCES: no memory.
 */
HV_API hv_return_t hvx_vm_dirty_start(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size);

/* Ends it, for a range as it was started. HV_ERROR: there is none. */
HV_API hv_return_t hvx_vm_dirty_stop(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size);

/*
 * Says which pages of a range, or of a part of it, have been written since the last time, and forgets them: bit i of
 * bitmap, counted from the lowest of the first word, is the page at gpa + 4096 * i. bitmap has room for size / 4096
 * bits, in whole words. A page that is written meanwhile is in this answer or in the next. HV_ERROR: part of the range
 * is not tracked. HV_NO_RESOURCES: no memory; nothing is forgotten.
 */
HV_API hv_return_t hvx_vm_dirty_fetch(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size, uint64_t *bitmap);

/*
 * Has the vCPUs of a space report what they write through KVM's rings, each with one of so many entries, instead of a
 * bitmap: then a fetch costs what has been written, and not what is tracked, and keeps the vCPUs outside the guest
 * while it collects. Tracking is the same otherwise. A ring that is full is emptied by hv_vcpu_run(). A KVM that
 * emulates the processor in software may overrun a ring; then all that is tracked in the space counts as written. It
 * holds as long as the space does, and takes 16 bytes of kernel memory for each entry of each vCPU.
 *
 * entries: a power of two. HV_BAD_ARGUMENT: it is none, or fewer or more than KVM has (256 or 1024 to 65536, today).
 * HV_UNSUPPORTED: KVM has no rings. HV_BUSY: a vCPU has been in the space, or it has rings. HV_NO_RESOURCES.
 */
HV_API hv_return_t hvx_vm_dirty_use_ring(hv_vm_space_t asid, uint32_t entries);

/* In the place of a vCPU's id: the access was a device's. */
#define HVX_FAULT_NO_VCPU UINT32_MAX

/* An access that the flags of a mapping forbid, or a fetch or a device's access where nothing is mapped. */
typedef struct {
    /* From 0 on, over the VM's life, of those that are recorded. */
    uint64_t number;
    hv_vm_space_t space;
    hv_gpaddr_t gpa;
    /* What was tried, of HV_MEMORY_READ, HV_MEMORY_WRITE, HV_MEMORY_EXEC, and what the mapping allows. */
    hv_memory_flags_t access;
    hv_memory_flags_t allowed;
    /* Bytes, from gpa on. */
    uint64_t length;
    /* What a vCPU's write wanted to store. */
    uint8_t data[8];
    /* The mapping's policy and name; HVX_POLICY_CLIENT and none where nothing is mapped. */
    hvx_policy_t policy;
    char mapping[HVX_NAME_SIZE];
    /* Who it was: a vCPU, whose RIP is where KVM left it, or a device. */
    hv_vcpuid_t vcpu;
    uint64_t rip;
    char device[HVX_NAME_SIZE];
} hvx_fault_t;

/*
 * Gives the last recorded faults of all spaces, the oldest first: *count is the room at faults, and afterwards how many
 * there are, 64 at most; *total is how many were ever recorded.
 */
HV_API hv_return_t hvx_vm_faults(hvx_fault_t *faults, size_t *count, uint64_t *total);

/*
 * Has a function called for each fault when it has been recorded; NULL: none any more. It is called on the thread that
 * caused the fault, in hv_vcpu_run() or in a device's call, with no lock of the library's held, and by several threads
 * at once. They wait for it, so it is to be quick. fault is valid until it returns. Of this library it may call what
 * only looks (hvx_vm_faults(), hvx_vm_query_space(), hvx_vm_space_info(), hvx_vm_read_space()) and hv_vcpu_interrupt().
 * HV_BUSY: there are vCPUs or DMA handles, whose faults could be under way. Ends with the VM.
 */
HV_API hv_return_t hvx_vm_set_fault_listener(void (*listener)(void *context, const hvx_fault_t *fault), void *context);

/* ---- vCPUs ----------------------------------------------------------------------------------------------- */

typedef enum {
    /* The vCPU has not run yet. */
    HVX_EXIT_NONE = 0,
    /* An access that no mapping allows, or a trap's; see hvx_vcpu_complete(). */
    HVX_EXIT_MEMORY,
    /* An I/O port instruction; data is to be read or filled in before the next run. */
    HVX_EXIT_PORT,
    /* HLT, where no in-kernel interrupt controller waits for an interrupt. */
    HVX_EXIT_HALT,
    /* A triple fault. */
    HVX_EXIT_SHUTDOWN,
    /* hv_vcpu_interrupt(), a signal, or the deadline of hv_vcpu_run_until(). */
    HVX_EXIT_INTERRUPTED,
    /* A breakpoint, watchpoint or single step that was asked for: see hvx_vcpu_set_debug(). */
    HVX_EXIT_DEBUG,
    /* KVM met an instruction that it cannot carry out. */
    HVX_EXIT_EMULATION_FAILURE,
    /* Anything else: KVM's own reason is in raw_reason. */
    HVX_EXIT_UNKNOWN,
} hvx_exit_reason_t;

/* HVX_EXIT_MEMORY */
typedef struct {
    hv_vm_space_t space;
    hv_gpaddr_t gpa;
    /* One of HV_MEMORY_READ, HV_MEMORY_WRITE, HV_MEMORY_EXEC. */
    hv_memory_flags_t access;
    /* What the mapping at gpa allows, and its policy; 0 and HVX_POLICY_CLIENT where there is none. */
    hv_memory_flags_t allowed;
    hvx_policy_t policy;
    /* The mapping allows it, and a trap caught it: see hvx_vm_set_traps(). */
    bool is_trap;
    /* Bytes, 1 to 8. */
    uint32_t length;
    /* What a write wants to store, in the guest's byte order. */
    uint8_t data[8];
} hvx_exit_memory_t;

/* HVX_EXIT_PORT */
typedef struct {
    uint16_t port;
    /* Bytes per item: 1, 2 or 4. */
    uint8_t size;
    bool is_write;
    /* Items; more than one for string instructions. */
    uint32_t count;
    /* count * size bytes, valid until the next run: what OUT wrote, or where to put what IN shall read. */
    void *data;
} hvx_exit_port_t;

/* HVX_EXIT_DEBUG */
typedef struct {
    /* 1: #DB, a single step or the debug registers; 3: #BP, of INT3. */
    uint32_t exception;
    /* The linear address of the instruction that comes next; of #BP that of the INT3. */
    uint64_t pc;
    /* Of #DB: what was met, as in these registers (Intel SDM volume 3, 18.2). */
    uint64_t dr6;
    uint64_t dr7;
} hvx_exit_debug_t;

/* HVX_EXIT_EMULATION_FAILURE */
typedef struct {
    uint32_t suberror;
    /* The bytes at RIP that KVM had fetched, 0 to 15 of them. */
    uint32_t instruction_size;
    uint8_t instruction[15];
} hvx_exit_emulation_t;

/* HVX_EXIT_UNKNOWN */
typedef struct {
    uint64_t hardware_reason;
    /* An errno value where KVM_RUN itself failed, 0 otherwise. */
    int error;
} hvx_exit_unknown_t;

/* Why a vCPU left the guest. */
typedef struct {
    hvx_exit_reason_t reason;
    /* KVM_EXIT_* of <linux/kvm.h>, for messages. */
    uint32_t raw_reason;
    union {
        hvx_exit_memory_t memory;
        hvx_exit_port_t port;
        hvx_exit_debug_t debug;
        hvx_exit_emulation_t emulation;
        hvx_exit_unknown_t unknown;
    };
} hvx_vcpu_exit_t;

/* Describes the last exit. For the owner. */
HV_API hv_return_t hvx_vcpu_exit(hv_vcpuid_t vcpu, hvx_vcpu_exit_t *exit);

/*
 * Says that the client has carried out the access of an HVX_EXIT_MEMORY; data is what a read shall see (length
 * bytes; ignored for a write, may be NULL there). Without this call the access has not happened: the next run tries
 * it again, and succeeds, exactly once, if the map now allows it.
 * HV_ERROR: the last exit was no such access, or it is complete.
 */
HV_API hv_return_t hvx_vcpu_complete(hv_vcpuid_t vcpu, const void *data);

/*
 * Carries out the load or store of the last exit, which a trap caught, as the mapping's flags allow it. What the
 * instruction does with it shows when the vCPU runs, or after hvx_vcpu_finish(). For the owner.
 * HV_ERROR: the last exit was none of a trap's, or a fetch, or the access is complete. HV_DENIED: the map does not
 * allow it any more; it is pending as before.
 */
HV_API hv_return_t hvx_vcpu_allow(hv_vcpuid_t vcpu);

/*
 * Has KVM finish the instruction of the last exit (the data of an HVX_EXIT_PORT are there, or an access is complete)
 * without entering the guest, so that the registers are as after it; of a string instruction that repeats, as after one
 * or more rounds of it. Accesses that hv_vcpu_run() would serve by itself it serves too. For the owner.
 *
 * HV_SUCCESS, also where there is nothing to finish: hvx_vcpu_exit() gives the last exit still; or, where the vCPU
 * single-steps and there was something to finish, an HVX_EXIT_DEBUG, which the next run does not report again.
 * HV_BUSY: the access of the last exit is not complete; or the instruction has another one to make, or something else
 * has come up: that is the last exit now.
 */
HV_API hv_return_t hvx_vcpu_finish(hv_vcpuid_t vcpu);

/* What a debugger wants of a vCPU. */
typedef struct {
    /* A run ends after one instruction. */
    bool single_step;
    /* No external interrupt is delivered. */
    bool hold_interrupts;
    /* INT3 exits, with RIP at it, and does not reach the guest. */
    bool catch_int3;
    /*
     * DR0 to DR3 and DR7 (Intel SDM volume 3, 18.2) as the processor shall use them, for the client: what they meet is
     * an exit. The guest's own registers stay as they are, and are not in force. control 0: they are. Of control: bits
     * 0 to 10 and 16 to 31.
     */
    uint64_t breakpoints[4];
    uint64_t control;
} hvx_vcpu_debug_t;

/*
 * Has the vCPU's runs end for a debugger, as HVX_EXIT_DEBUG; NULL: no more. It is the vCPU's, goes along when it moves
 * to another space, and ends with it and with hvx_vcpu_reset(). A host's KVM, one that is nested or emulates the
 * processor in software above all, may not honour all of it, and does not say so. For the owner.
 *
 * A step ends behind the instruction. What that does may be an exit of its own first; the next run, or
 * hvx_vcpu_finish(), ends the step then and does not enter the guest any more. So does the first run that steps, where
 * the instruction of the last exit was not finished. HLT may be HVX_EXIT_HALT, where that is an exit, or a step. After
 * a step over HLT, and in a step of a vCPU that waits in one while interrupts are held, it goes on as if it had been
 * woken for nothing; a KVM that emulates the processor in software may have it wait, or exit, later, when it no more
 * steps. A step into a handler (by an exception, an interrupt, INT n, SYSCALL) may end no sooner than that has
 * returned. While it steps, the guest's own RFLAGS.TF does not count and reads as 0; it is lost.
 *
 * With single_step or control, all #DB are exits, the guest's own too, and with catch_int3 all #BP: a guest that was
 * meant to have one gets it with hvx_vcpu_reflect().
 *
 * HV_BAD_ARGUMENT: other bits are set in control. HV_UNSUPPORTED: this KVM cannot hold interrupts (before Linux 5.15),
 * or cannot debug this guest.
 */
HV_API hv_return_t hvx_vcpu_set_debug(hv_vcpuid_t vcpu, const hvx_vcpu_debug_t *debug);

/*
 * The exception of the last exit, an HVX_EXIT_DEBUG, is the guest's own: it is delivered, once, when the vCPU next
 * runs, DR6 and DR7 being as it leaves them. RIP is to be where it was, and neither it nor a general register or RFLAGS
 * is written before that run, nor the vCPU moved. For the owner.
 *
 * HV_ERROR: the last exit was none, or its exception has been given back. HV_BUSY: another exception waits.
 */
HV_API hv_return_t hvx_vcpu_reflect(hv_vcpuid_t vcpu);

/*
 * As hv_vcpu_read_register() for each of `count` registers, in their order. HV_BAD_ARGUMENT: one is no register;
 * nothing was read.
 */
HV_API hv_return_t hvx_vcpu_read_registers(hv_vcpuid_t vcpu, const hv_x86_reg_t *registers, uint64_t *values,
                                           size_t count);

/*
 * As hv_vcpu_write_register() for each, all at once: what one needs of another (CR0, CR4, the selectors) may be in any
 * order, and of one that is there twice the last value counts. HV_BAD_ARGUMENT: one is no register, or a value does not
 * fit into it, and nothing was written; or KVM does not take a value. It is given, each as a whole, first the segments
 * and descriptor tables with CR0 to CR4 and TPR, then XCR0, the debug registers, and last the others: those before
 * stay.
 */
HV_API hv_return_t hvx_vcpu_write_registers(hv_vcpuid_t vcpu, const hv_x86_reg_t *registers, const uint64_t *values,
                                            size_t count);

/* A segment register with its hidden part. */
typedef struct {
    uint64_t base;
    /* In bytes. */
    uint32_t limit;
    /* Access rights as HV_X86_TSS_AR has them (Intel SDM volume 3, table 25-2). */
    uint32_t access;
    uint16_t selector;
} hvx_segment_t;

/* selector_register: HV_X86_CS to HV_X86_GS, HV_X86_LDTR or HV_X86_TR. For the owner. */
HV_API hv_return_t hvx_vcpu_read_segment(hv_vcpuid_t vcpu, hv_x86_reg_t selector_register, hvx_segment_t *segment);

/* The space that the vCPU is in. For the owner. */
HV_API hv_return_t hvx_vcpu_get_space(hv_vcpuid_t vcpu, hv_vm_space_t *asid);

/*
 * Gives the vCPU the state in which it was made, local APIC included, as at a reset; the time stamp counter goes on.
 * What the client has set since with ioctls that a reset leaves alone, CPUID above all, stays. The last exit is void,
 * and hvx_vcpu_set_debug() ends.
 * HV_BUSY: it is not in the default space. For the owner.
 */
HV_API hv_return_t hvx_vcpu_reset(hv_vcpuid_t vcpu);

/*
 * The real-time signal with which hv_vcpu_interrupt() gets a thread out of the guest; the client leaves it alone.
 * hv_vcpu_create() unblocks it for its thread.
 */
HV_API int hvx_interrupt_signal(void);

/* ---- KVM ------------------------------------------------------------------------------------------------- */

/*
 * The descriptors behind the VM's default space and behind a vCPU, for what this API does not cover: interrupt
 * controllers, CPUID, clocks. They stay the library's, and memory slots, KVM_RUN and the registers that this API
 * has are to be left alone. hvx_system_kvm_fd() is /dev/kvm itself.
 */
HV_API hv_return_t hvx_system_kvm_fd(int *fd);
HV_API hv_return_t hvx_vm_kvm_fd(int *fd);
HV_API hv_return_t hvx_vcpu_kvm_fd(hv_vcpuid_t vcpu, int *fd);

#ifdef __cplusplus
}
#endif

#endif
