#include "vmm/control/vmcore.h"

#include "vmm/debug/linux/direct_map.h"
#include "vmm/debug/resident.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    PORTION = 1 << 20,
    /* The note's segment, and the kernel's text, besides memory. */
    EXTRA_SEGMENTS = 2,
};

/* __START_KERNEL_map, and KERNEL_IMAGE_SIZE where VMCOREINFO does not say, in Linux's <asm/page_64_types.h>. */
static const uint64_t KERNEL_MAP = UINT64_C(0xffffffff80000000);
static const uint64_t KERNEL_IMAGE_SIZE = UINT64_C(512) << 20;

struct vmcore {
    int fd;
    int pagemap;
    /* Headers and notes. */
    uint8_t *head;
    size_t head_size;
    size_t head_written;
    struct vmcore_range *ranges;
    size_t range_count;
    /* What comes next, and where the ranges begin in the file. */
    size_t range;
    uint64_t offset;
    uint64_t range_start;
    /* How long the file is, so far and in the end. */
    uint64_t file_end;
    uint64_t file_size;
    struct vmcore_progress progress;
};

/* ---- Headers and notes ---- */

/* Bytes that are put together. Once something has not fitted, `failed` is set, and nothing more is added. */
struct builder {
    uint8_t *bytes;
    size_t used;
    size_t size;
    bool failed;
};

static void add(struct builder *builder, const void *bytes, size_t size)
{
    if (builder->failed || size > builder->size - builder->used) {
        builder->failed = true;
        return;
    }
    memcpy(builder->bytes + builder->used, bytes, size);
    builder->used += size;
}

/* The rest is zero already. */
static void align(struct builder *builder, size_t to)
{
    const size_t rest = -builder->used % to;

    if (rest > builder->size - builder->used)
        builder->failed = true;
    else
        builder->used += rest;
}

static void add_note(struct builder *builder, const char *name, uint32_t type, const void *bytes, size_t size)
{
    const Elf64_Nhdr header = {.n_namesz = (uint32_t)strlen(name) + 1, .n_descsz = (uint32_t)size, .n_type = type};

    add(builder, &header, sizeof(header));
    add(builder, name, header.n_namesz);
    align(builder, 4);
    add(builder, bytes, size);
    align(builder, 4);
}

static void add_vcpu(struct builder *builder, unsigned index, const struct debug_registers *registers)
{
    const uint64_t *general = registers->general;
    const struct user_regs_struct regs = {
        .r15 = general[DEBUG_R15],
        .r14 = general[DEBUG_R14],
        .r13 = general[DEBUG_R13],
        .r12 = general[DEBUG_R12],
        .rbp = general[DEBUG_RBP],
        .rbx = general[DEBUG_RBX],
        .r11 = general[DEBUG_R11],
        .r10 = general[DEBUG_R10],
        .r9 = general[DEBUG_R9],
        .r8 = general[DEBUG_R8],
        .rax = general[DEBUG_RAX],
        .rcx = general[DEBUG_RCX],
        .rdx = general[DEBUG_RDX],
        .rsi = general[DEBUG_RSI],
        .rdi = general[DEBUG_RDI],
        .orig_rax = UINT64_MAX, /* in no system call */
        .rip = registers->code_base + registers->rip,
        .cs = registers->selectors[DEBUG_CS],
        .eflags = registers->rflags,
        .rsp = general[DEBUG_RSP],
        .ss = registers->selectors[DEBUG_SS],
        .fs_base = registers->fs_base,
        .gs_base = registers->gs_base,
        .ds = registers->selectors[DEBUG_DS],
        .es = registers->selectors[DEBUG_ES],
        .fs = registers->selectors[DEBUG_FS],
        .gs = registers->selectors[DEBUG_GS],
    };
    /* gdb's threads have numbers from 1 on. */
    struct elf_prstatus status = {.pr_pid = (pid_t)index + 1};

    _Static_assert(sizeof(status.pr_reg) == sizeof(regs), "the registers of a core file");
    memcpy(&status.pr_reg, &regs, sizeof(regs));
    add_note(builder, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

static void add_notes(struct builder *builder, const struct vmcore_contents *contents)
{
    for (size_t i = 0; i < contents->vcpu_count; i++)
        add_vcpu(builder, (unsigned)i, &contents->vcpus[i]);
    if (contents->kernel != NULL)
        add_note(builder, "VMCOREINFO", 0, contents->kernel->info.text, strlen(contents->kernel->info.text));
}

/* The range that the kernel's text and data are in, as the kernel addresses it; false: they are not known. */
static bool find_text(const struct vmcore_contents *contents, Elf64_Phdr *ret_segment)
{
    uint64_t text, phys_base, image_size;
    const struct linux_kernel *kernel = contents->kernel;

    if (kernel == NULL || !vmcoreinfo_symbol(&kernel->info, "_stext", &text) ||
        !vmcoreinfo_number(&kernel->info, "phys_base", &phys_base) || text < KERNEL_MAP)
        return false;
    if (!vmcoreinfo_number(&kernel->info, "KERNEL_IMAGE_SIZE", &image_size))
        image_size = KERNEL_IMAGE_SIZE;
    text &= ~(uint64_t)(PAGE - 1);
    const uint64_t gpa = text - KERNEL_MAP + phys_base;
    const uint64_t left = text - KERNEL_MAP < image_size ? image_size - (text - KERNEL_MAP) : 0;
    uint64_t offset = 0;
    for (size_t i = 0; i < contents->range_count && left > 0; i++) {
        const struct vmcore_range *range = &contents->ranges[i];
        if (gpa >= range->gpa && gpa - range->gpa < range->size) {
            const uint64_t rest = range->size - (gpa - range->gpa);
            const uint64_t size = (rest < left ? rest : left) & ~(uint64_t)(PAGE - 1);
            *ret_segment = (Elf64_Phdr){.p_type = PT_LOAD,
                                        .p_flags = PF_R | PF_W | PF_X,
                                        .p_offset = offset + (gpa - range->gpa),
                                        .p_vaddr = text,
                                        .p_paddr = gpa,
                                        .p_filesz = size,
                                        .p_memsz = size,
                                        .p_align = PAGE};
            return size > 0;
        }
        offset += range->size;
    }
    return false;
}

/* Memory begins behind headers and notes, at `start`. */
static void add_segments(struct builder *builder, const struct vmcore_contents *contents, size_t notes_size,
                         const Elf64_Phdr *text, uint64_t start)
{
    const size_t count = contents->range_count + 1 + (text != NULL);
    const Elf64_Phdr notes = {.p_type = PT_NOTE,
                              .p_offset = sizeof(Elf64_Ehdr) + count * sizeof(Elf64_Phdr),
                              .p_filesz = notes_size,
                              .p_memsz = notes_size,
                              .p_align = 4};
    uint64_t base = 0, offset = start;

    if (contents->kernel != NULL && !linux_direct_map_find(contents->kernel, &base))
        base = 0;
    add(builder, &notes, sizeof(notes));
    if (text != NULL) {
        Elf64_Phdr placed = *text;
        placed.p_offset += start;
        add(builder, &placed, sizeof(placed));
    }
    for (size_t i = 0; i < contents->range_count; i++) {
        const struct vmcore_range *range = &contents->ranges[i];
        const Elf64_Phdr segment = {.p_type = PT_LOAD,
                                    .p_flags = PF_R | PF_W | PF_X,
                                    .p_offset = offset,
                                    .p_vaddr = base + range->gpa,
                                    .p_paddr = range->gpa,
                                    .p_filesz = range->size,
                                    .p_memsz = range->size,
                                    .p_align = PAGE};
        add(builder, &segment, sizeof(segment));
        offset += range->size;
    }
}

static int build_head(struct vmcore *vmcore, const struct vmcore_contents *contents, struct error *error)
{
    Elf64_Phdr text;
    const bool has_text = find_text(contents, &text);
    const size_t segments = contents->range_count + 1 + has_text;
    const size_t size = sizeof(Elf64_Ehdr) + (contents->range_count + EXTRA_SEGMENTS) * sizeof(Elf64_Phdr) +
                        contents->vcpu_count * (sizeof(struct elf_prstatus) + 64) + VMCOREINFO_SIZE + 64 + PAGE;
    Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_CORE,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof(header),
        .e_ehsize = sizeof(header),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = (uint16_t)segments,
    };

    if (segments >= PN_XNUM)
        return error_set(error, ERROR_CONFIG, "the default space has %zu ranges, and a dump holds %d",
                         contents->range_count, PN_XNUM - EXTRA_SEGMENTS);
    vmcore->head = calloc(1, size);
    if (vmcore->head == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    /* The notes come first into being, where they belong: the others have to know how long they are. */
    struct builder notes = {.bytes = vmcore->head, .size = size};
    notes.used = sizeof(header) + segments * sizeof(Elf64_Phdr);
    const size_t notes_start = notes.used;
    add_notes(&notes, contents);
    const size_t notes_size = notes.used - notes_start;
    align(&notes, PAGE);
    struct builder builder = {.bytes = vmcore->head, .size = notes_start};
    add(&builder, &header, sizeof(header));
    add_segments(&builder, contents, notes_size, has_text ? &text : NULL, notes.used);
    if (notes.failed || builder.failed)
        return error_set(error, ERROR_HOST, "the dump's headers do not fit");
    vmcore->head_size = notes.used;
    return 0;
}

/* ---- The file ---- */

static int check_file(int fd, struct error *error)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return error_set(error, ERROR_CONFIG, "the dump's file cannot be looked at: %s", strerror(errno));
    if (!S_ISREG(status.st_mode))
        return error_set(error, ERROR_CONFIG, "a dump has holes, and needs a regular file; pass one");
    if (status.st_size != 0)
        return error_set(error, ERROR_CONFIG, "the dump's file is not empty; pass an empty one");
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || (flags & (O_APPEND | O_PATH)) != 0)
        return error_set(error, ERROR_CONFIG,
                         "the dump's file cannot be written to at any place; open it with O_RDWR, without O_APPEND");
    return 0;
}

/* One write, which may be a part: how much; or -1 with *error. */
static int64_t write_at(struct vmcore *vmcore, uint64_t offset, const uint8_t *bytes, uint64_t size,
                        struct error *error)
{
    ssize_t written = -1;

    if (lseek(vmcore->fd, (off_t)offset, SEEK_SET) >= 0)
        written = write(vmcore->fd, bytes, size < PORTION ? (size_t)size : PORTION);
    if (written < 0 && errno == EINTR)
        return 0;
    if (written <= 0)
        return error_set(error, ERROR_HOST, "the dump cannot be written: %s",
                         written < 0 ? strerror(errno) : "the host takes nothing");
    if (offset + (uint64_t)written > vmcore->file_end)
        vmcore->file_end = offset + (uint64_t)written;
    return written;
}

static int write_head(struct vmcore *vmcore, struct error *error)
{
    const int64_t written = write_at(vmcore, vmcore->head_written, vmcore->head + vmcore->head_written,
                                     vmcore->head_size - vmcore->head_written, error);

    if (written < 0)
        return -1;
    vmcore->head_written += (size_t)written;
    return 1;
}

static void go_on(struct vmcore *vmcore, uint64_t size)
{
    vmcore->offset += size;
    vmcore->progress.done += size;
    if (vmcore->offset < vmcore->ranges[vmcore->range].size)
        return;
    vmcore->range_start += vmcore->offset;
    vmcore->offset = 0;
    vmcore->range++;
}

static int write_memory(struct vmcore *vmcore, struct error *error)
{
    const struct vmcore_range *range = &vmcore->ranges[vmcore->range];
    const uint8_t *bytes = range->bytes + vmcore->offset;
    const uint64_t left = range->size - vmcore->offset;
    uint64_t start = 0, end = left;

    if (!range->is_files && !resident_find(bytes, left, vmcore->pagemap, &start, &end)) {
        go_on(vmcore, left < RESIDENT_WINDOW ? left : RESIDENT_WINDOW);
        return 1;
    }
    const int64_t written =
        write_at(vmcore, vmcore->range_start + vmcore->offset + start, bytes + start, end - start, error);
    if (written < 0)
        return -1;
    vmcore->progress.written += (uint64_t)written;
    /* A part of a page may be left, which is found again with what is before it. */
    const uint64_t whole = (start + (uint64_t)written) & ~(uint64_t)(PAGE - 1);
    if (whole > 0)
        go_on(vmcore, whole);
    return 1;
}

/* A hole at the end ends with a byte. */
static int write_end(struct vmcore *vmcore, struct error *error)
{
    static const uint8_t zero;

    while (vmcore->file_end < vmcore->file_size)
        if (write_at(vmcore, vmcore->file_size - 1, &zero, 1, error) < 0)
            return -1;
    return 0;
}

int vmcore_step(struct vmcore *vmcore, struct error *error)
{
    if (vmcore->head_written < vmcore->head_size)
        return write_head(vmcore, error);
    if (vmcore->range < vmcore->range_count)
        return write_memory(vmcore, error);
    return write_end(vmcore, error);
}

void vmcore_progress(const struct vmcore *vmcore, struct vmcore_progress *ret_progress)
{
    *ret_progress = vmcore->progress;
}

/* ---- Its life ---- */

static int prepare(struct vmcore *vmcore, const struct vmcore_contents *contents, struct error *error)
{
    if (check_file(vmcore->fd, error) < 0 || build_head(vmcore, contents, error) < 0)
        return -1;
    vmcore->ranges = calloc(contents->range_count + 1, sizeof(*vmcore->ranges));
    if (vmcore->ranges == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    memcpy(vmcore->ranges, contents->ranges, contents->range_count * sizeof(*vmcore->ranges));
    vmcore->range_count = contents->range_count;
    for (size_t i = 0; i < contents->range_count; i++)
        vmcore->progress.total += contents->ranges[i].size;
    vmcore->range_start = vmcore->head_size;
    vmcore->file_size = vmcore->head_size + vmcore->progress.total;
    return 0;
}

struct vmcore *vmcore_begin(const struct vmcore_contents *contents, int fd, int pagemap, struct error *error)
{
    struct vmcore *vmcore = calloc(1, sizeof(*vmcore));

    if (vmcore == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        close(fd);
        return NULL;
    }
    vmcore->fd = fd;
    vmcore->pagemap = pagemap;
    if (prepare(vmcore, contents, error) == 0)
        return vmcore;
    vmcore_end(vmcore);
    return NULL;
}

void vmcore_end(struct vmcore *vmcore)
{
    if (vmcore == NULL)
        return;
    close(vmcore->fd);
    free(vmcore->head);
    free(vmcore->ranges);
    free(vmcore);
}
