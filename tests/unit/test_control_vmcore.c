/* Dumps: what is in the file, and what becomes of files that are none. */
#include "vmm/control/vmcore.h"

#include "linux_fixture.h"
#include "unit_test.h"
#include "vmm/debug/linux/direct_map.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    LOW_SIZE = 640 << 10,
    HIGH_SIZE = 64 << 20,
    VCPUS = 3,
    /* Free pages of the fixture's. */
    DIRECT_PDPT = 0x5000,
};

/* Where the fixture's direct map is: an entry of the PML4's upper half, and a gigabyte in it. */
#define DIRECT_PML4 277u
#define DIRECT_GIB 5u
#define DIRECT_BASE (UINT64_C(0xffff000000000000) | (uint64_t)DIRECT_PML4 << 39 | (uint64_t)DIRECT_GIB << 30)

static uint8_t *low, *high;
static struct vmcore_range ranges[2];
static struct debug_registers vcpus[VCPUS];
static struct vmcore_contents contents;
static struct linux_memory memory;
static struct linux_kernel kernel;
static struct error error;
static int file = -1;

static uint8_t *allocate(size_t size)
{
    uint8_t *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(bytes, MAP_FAILED);
    (void)madvise(bytes, size, MADV_NOHUGEPAGE);
    return bytes;
}

static int make_file(void)
{
    const int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static void setup(void)
{
    low = allocate(LOW_SIZE);
    high = allocate(HIGH_SIZE);
    ranges[0] = (struct vmcore_range){.gpa = 0, .size = LOW_SIZE, .bytes = low};
    ranges[1] = (struct vmcore_range){.gpa = 1 << 20, .size = HIGH_SIZE, .bytes = high};
    for (unsigned i = 0; i < VCPUS; i++) {
        vcpus[i].rip = 0x1000 + i;
        vcpus[i].general[DEBUG_RSP] = 0x2000 + i;
        vcpus[i].gs_base = 0x3000 + i;
    }
    contents = (struct vmcore_contents){.ranges = ranges, .range_count = 2, .vcpus = vcpus, .vcpu_count = VCPUS};
    file = make_file();
}

static void teardown(void)
{
    munmap(low, LOW_SIZE);
    munmap(high, HIGH_SIZE);
    close(file);
}

/* ---- Reading it ---- */

static void read_at(uint64_t offset, void *bytes, size_t size)
{
    ck_assert_int_eq(pread(file, bytes, size, (off_t)offset), (ssize_t)size);
}

static Elf64_Phdr segment(unsigned index)
{
    Elf64_Phdr header;

    read_at(sizeof(Elf64_Ehdr) + index * sizeof(header), &header, sizeof(header));
    return header;
}

static unsigned segment_count(void)
{
    Elf64_Ehdr header;

    read_at(0, &header, sizeof(header));
    ck_assert_int_eq(memcmp(header.e_ident, ELFMAG, SELFMAG), 0);
    ck_assert_uint_eq(header.e_type, ET_CORE);
    ck_assert_uint_eq(header.e_machine, EM_X86_64);
    return header.e_phnum;
}

/* Its i-th note. */
static size_t read_note(unsigned index, char name[16], void *content, size_t room)
{
    uint64_t offset = segment(0).p_offset;
    Elf64_Nhdr header;

    for (;; index--) {
        read_at(offset, &header, sizeof(header));
        if (index == 0)
            break;
        offset += sizeof(header) + (header.n_namesz + 3) / 4 * 4 + (header.n_descsz + 3) / 4 * 4;
    }
    ck_assert_uint_le(header.n_namesz, 16);
    ck_assert_uint_le(header.n_descsz, room);
    read_at(offset + sizeof(header), name, header.n_namesz);
    read_at(offset + sizeof(header) + (header.n_namesz + 3) / 4 * 4, content, header.n_descsz);
    return header.n_descsz;
}

static struct vmcore_progress write_all(void)
{
    struct vmcore_progress progress;
    int result;

    struct vmcore *vmcore = vmcore_begin(&contents, dup(file), -1, &error);
    ck_assert_msg(vmcore != NULL, "%s", error.text);
    while ((result = vmcore_step(vmcore, &error)) > 0)
        continue;
    ck_assert_msg(result == 0, "%s", error.text);
    vmcore_progress(vmcore, &progress);
    vmcore_end(vmcore);
    ck_assert_uint_eq(progress.done, progress.total);
    return progress;
}

/* What the file has for guest-physical memory is what there is. */
static void compare(void)
{
    static uint8_t page[PAGE];

    for (unsigned i = 1; i < segment_count(); i++) {
        const Elf64_Phdr header = segment(i);
        const struct vmcore_range *range = header.p_paddr < 1 << 20 ? &ranges[0] : &ranges[1];
        for (uint64_t offset = 0; offset < header.p_filesz; offset += PAGE) {
            read_at(header.p_offset + offset, page, PAGE);
            ck_assert(memcmp(page, range->bytes + (header.p_paddr - range->gpa) + offset, PAGE) == 0);
        }
    }
}

static uint64_t room_on_disk(void)
{
    struct stat status;

    ck_assert_int_eq(fstat(file, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

START_TEST(memory_and_registers_are_in_it)
{
    struct elf_prstatus status;
    struct user_regs_struct regs;
    char name[16];

    memset(low + 8 * PAGE, 1, PAGE);
    memset(high, 2, 3 * PAGE + 1);
    memset(high + (40 << 20), 3, 5 << 20);
    const struct vmcore_progress progress = write_all();
    ck_assert_uint_eq(progress.total, LOW_SIZE + HIGH_SIZE);
    ck_assert_uint_eq(progress.written, 5 * PAGE + (5 << 20));
    ck_assert_uint_lt(room_on_disk(), 6 << 20);
    ck_assert_uint_eq(segment_count(), 3);
    ck_assert_uint_eq(segment(1).p_paddr, 0);
    ck_assert_uint_eq(segment(2).p_paddr, 1 << 20);
    /* No kernel: linear addresses are the guest-physical ones. */
    ck_assert_uint_eq(segment(2).p_vaddr, 1 << 20);
    compare();
    for (unsigned i = 0; i < VCPUS; i++) {
        ck_assert_uint_eq(read_note(i, name, &status, sizeof(status)), sizeof(status));
        ck_assert_str_eq(name, "CORE");
        memcpy(&regs, &status.pr_reg, sizeof(regs));
        ck_assert_int_eq(status.pr_pid, (pid_t)i + 1);
        ck_assert_uint_eq(regs.rip, 0x1000 + i);
        ck_assert_uint_eq(regs.rsp, 0x2000 + i);
        ck_assert_uint_eq(regs.gs_base, 0x3000 + i);
    }
}
END_TEST

START_TEST(the_end_may_be_a_hole_or_not)
{
    struct stat status;

    high[0] = 1;
    write_all();
    ck_assert_int_eq(fstat(file, &status), 0);
    ck_assert_uint_eq((uint64_t)status.st_size, segment(2).p_offset + HIGH_SIZE);
    compare();
    ck_assert_int_eq(ftruncate(file, 0), 0);
    memset(high + HIGH_SIZE - PAGE, 0xff, PAGE);
    write_all();
    ck_assert_int_eq(fstat(file, &status), 0);
    ck_assert_uint_eq((uint64_t)status.st_size, segment(2).p_offset + HIGH_SIZE);
    compare();
}
END_TEST

START_TEST(memory_of_files_is_there_in_whole)
{
    ranges[0].is_files = true;
    const struct vmcore_progress progress = write_all();
    ck_assert_uint_eq(progress.written, LOW_SIZE);
    compare();
}
END_TEST

START_TEST(with_the_pagemap_it_is_the_same)
{
    const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    struct vmcore_progress progress;
    int result;

    if (pagemap < 0)
        return;
    memset(high + (17 << 20), 3, 2 * PAGE);
    struct vmcore *vmcore = vmcore_begin(&contents, dup(file), pagemap, &error);
    ck_assert_ptr_nonnull(vmcore);
    while ((result = vmcore_step(vmcore, &error)) > 0)
        continue;
    ck_assert_int_eq(result, 0);
    vmcore_progress(vmcore, &progress);
    vmcore_end(vmcore);
    ck_assert_uint_eq(progress.written, 2 * PAGE);
    compare();
    close(pagemap);
}
END_TEST

START_TEST(a_portion_is_small)
{
    struct vmcore_progress before = {0}, after;

    memset(high, 5, HIGH_SIZE);
    struct vmcore *vmcore = vmcore_begin(&contents, dup(file), -1, &error);
    ck_assert_ptr_nonnull(vmcore);
    unsigned steps = 0;
    while (vmcore_step(vmcore, &error) > 0) {
        vmcore_progress(vmcore, &after);
        ck_assert_uint_le(after.written - before.written, 1 << 20);
        before = after;
        steps++;
    }
    vmcore_end(vmcore);
    ck_assert_uint_ge(steps, HIGH_SIZE >> 20);
    compare();
}
END_TEST

/* The fixture is the low range, as far as that goes. */
static void put_kernel(bool has_direct_map)
{
    fixture_make(5, 12);
    if (has_direct_map) {
        fixture_put64(FIXTURE_ROOT + DIRECT_PML4 * 8, DIRECT_PDPT | 3);
        fixture_put64(DIRECT_PDPT + DIRECT_GIB * 8, 0x83); /* a page of 1 GiB */
        /* Others that are mapped before it, elsewhere. */
        fixture_put64(DIRECT_PDPT + 3 * 8, (UINT64_C(1) << 30) | 0x83);
    }
    memory = fixture_memory(NULL);
    ck_assert_msg(linux_kernel_find(&memory, &kernel, &error) == 0, "%s", error.text);
    memcpy(low, fixture_bytes, LOW_SIZE);
    contents.kernel = &kernel;
}

START_TEST(a_kernel_is_told_of)
{
    static char text[VMCOREINFO_SIZE + 1];
    char name[16];
    uint64_t base;

    put_kernel(true);
    ck_assert(linux_direct_map_find(&kernel, &base));
    ck_assert_uint_eq(base, DIRECT_BASE);
    write_all();
    compare();
    ck_assert_uint_eq(segment_count(), 4);
    /* Its text and data: from _stext to the end of the range. */
    ck_assert_uint_eq(segment(1).p_vaddr, FIXTURE_LINEAR);
    ck_assert_uint_eq(segment(1).p_paddr, 0);
    ck_assert_uint_eq(segment(1).p_filesz, LOW_SIZE);
    ck_assert_uint_eq(segment(1).p_offset, segment(2).p_offset);
    ck_assert_uint_eq(segment(2).p_vaddr, DIRECT_BASE);
    ck_assert_uint_eq(segment(3).p_vaddr, DIRECT_BASE + (1 << 20));
    const size_t size = read_note(VCPUS, name, text, sizeof(text));
    ck_assert_str_eq(name, "VMCOREINFO");
    ck_assert_uint_eq(size, strlen(kernel.info.text));
    ck_assert_int_eq(memcmp(text, kernel.info.text, size), 0);
}
END_TEST

START_TEST(a_direct_map_may_be_missing)
{
    uint64_t base;

    put_kernel(false);
    ck_assert(!linux_direct_map_find(&kernel, &base));
    write_all();
    ck_assert_uint_eq(segment(1).p_vaddr, FIXTURE_LINEAR);
    ck_assert_uint_eq(segment(3).p_vaddr, 1 << 20);
}
END_TEST

START_TEST(what_a_kernel_says_is_not_believed)
{
    static const char *const lines[] = {
        "SYMBOL(_stext)=0\n",
        "SYMBOL(_stext)=ffffffffffffffff\n",
        "SYMBOL(_stext)=ffffffff80000000\n",
        "SYMBOL(_stext)=ffffffffc0000000\n",
        "NUMBER(KERNEL_IMAGE_SIZE)=18446744073709551615\nSYMBOL(_stext)=ffffffff81000000\n",
        "NUMBER(KERNEL_IMAGE_SIZE)=0\nSYMBOL(_stext)=ffffffff81000000\n",
        "SYMBOL(_stext)=ffffffff8109ffff\n"};

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        put_kernel(true);
        char *at = strstr(kernel.info.text, "SYMBOL(_stext)");
        char rest[VMCOREINFO_SIZE];
        strcpy(rest, strchr(at, '\n') + 1);
        strcpy(at, lines[i]);
        strcat(at, rest);
        ck_assert_int_eq(ftruncate(file, 0), 0);
        write_all();
        compare();
    }
}
END_TEST

static void expect_refused(int fd, const char *text)
{
    ck_assert_ptr_null(vmcore_begin(&contents, fd, -1, &error));
    ck_assert_msg(strstr(error.text, text) != NULL, "%s", error.text);
    /* It was taken over all the same. */
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}

START_TEST(files_that_are_none_are_refused)
{
    int ends[2];
    char path[64];

    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    expect_refused(ends[1], "needs a regular file");
    close(ends[0]);
    expect_refused(open("/dev/null", O_RDWR | O_CLOEXEC), "needs a regular file");
    expect_refused(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "needs a regular file");
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    expect_refused(open(path, O_RDONLY | O_CLOEXEC), "cannot be written to");
    expect_refused(open(path, O_WRONLY | O_APPEND | O_CLOEXEC), "without O_APPEND");
    expect_refused(open(path, O_PATH | O_CLOEXEC), "cannot be written to");
    ck_assert_int_eq(write(file, "x", 1), 1);
    expect_refused(dup(file), "is not empty");
}
END_TEST

START_TEST(a_full_disk_is_an_error)
{
    const struct rlimit limit = {.rlim_cur = 3 << 20, .rlim_max = RLIM_INFINITY};
    int result;

    signal(SIGXFSZ, SIG_IGN);
    memset(high, 1, 8 << 20);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct vmcore *vmcore = vmcore_begin(&contents, dup(file), -1, &error);
    ck_assert_ptr_nonnull(vmcore);
    while ((result = vmcore_step(vmcore, &error)) > 0)
        continue;
    ck_assert_int_eq(result, -1);
    ck_assert_ptr_nonnull(strstr(error.text, strerror(EFBIG)));
    ck_assert_int_eq(error.kind, ERROR_HOST);
    vmcore_end(vmcore);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vmcore");
    TCase *tests = tcase_create("all");

    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, memory_and_registers_are_in_it);
    tcase_add_test(tests, the_end_may_be_a_hole_or_not);
    tcase_add_test(tests, memory_of_files_is_there_in_whole);
    tcase_add_test(tests, with_the_pagemap_it_is_the_same);
    tcase_add_test(tests, a_portion_is_small);
    tcase_add_test(tests, a_kernel_is_told_of);
    tcase_add_test(tests, a_direct_map_may_be_missing);
    tcase_add_test(tests, what_a_kernel_says_is_not_believed);
    tcase_add_test(tests, files_that_are_none_are_refused);
    tcase_add_test(tests, a_full_disk_is_an_error);
    suite_add_tcase(suite, tests);
    return unit_test_run(suite);
}
