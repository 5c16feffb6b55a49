#include "memory/host_memory.h"
#include "unit_test.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096 };

static const hvx_backing_t anonymous = {.fd = -1};

START_TEST(memory_is_zero_and_writable_and_large_pieces_are_aligned_for_huge_pages)
{
    const size_t huge = (size_t)2 << 20;
    uint8_t *small = host_memory_allocate(PAGE, &anonymous);
    uint8_t *large = host_memory_allocate(huge + PAGE, &anonymous);

    ck_assert_ptr_nonnull(small);
    ck_assert_ptr_nonnull(large);
    ck_assert_uint_eq((uintptr_t)large % huge, 0);
    ck_assert_uint_eq(small[PAGE - 1], 0);
    ck_assert_uint_eq(large[huge + PAGE - 1], 0);
    small[0] = 1;
    large[huge + PAGE - 1] = 1;
    host_memory_free(large, huge + PAGE);
    host_memory_free(small, PAGE);
}
END_TEST

START_TEST(what_the_host_cannot_promise_is_refused)
{
    ck_assert_ptr_null(host_memory_allocate((size_t)1 << 60, &anonymous));
    ck_assert_int_eq(errno, ENOMEM);
    ck_assert_ptr_null(host_memory_allocate(SIZE_MAX - PAGE + 1, &anonymous));
}
END_TEST

START_TEST(a_memfd_is_shared_and_has_to_be_long_enough)
{
    const hvx_backing_t backing = {.fd = memfd_create("test", 0), .offset = PAGE, .prefault = true};
    uint8_t byte = 0;

    ck_assert_int_ge(backing.fd, 0);
    ck_assert_int_eq(ftruncate(backing.fd, 3 * PAGE), 0);
    ck_assert_ptr_null(host_memory_allocate(3 * PAGE, &backing));
    uint8_t *memory = host_memory_allocate(2 * PAGE, &backing);
    ck_assert_ptr_nonnull(memory);
    memory[7] = 0x5a;
    ck_assert_int_eq(pread(backing.fd, &byte, 1, PAGE + 7), 1);
    ck_assert_uint_eq(byte, 0x5a);
    host_memory_free(memory, 2 * PAGE);
    close(backing.fd);
    ck_assert_ptr_null(host_memory_allocate(PAGE, &backing));
}
END_TEST

START_TEST(prefaulted_memory_is_there)
{
    const hvx_backing_t backing = {.fd = -1, .pages = HVX_PAGES_SMALL, .prefault = true};
    unsigned char resident[16];
    uint8_t *memory = host_memory_allocate(16 * PAGE, &backing);

    ck_assert_ptr_nonnull(memory);
    ck_assert_int_eq(mincore(memory, 16 * PAGE, resident), 0);
    for (unsigned i = 0; i < 16; i++)
        ck_assert(resident[i] & 1);
    host_memory_free(memory, 16 * PAGE);
}
END_TEST

START_TEST(a_hole_anywhere_in_a_range_is_found)
{
    uint8_t *memory = mmap(NULL, 3 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_int_eq(host_memory_access(memory, 3 * PAGE), HOST_READ_ONLY);
    mprotect(memory, 2 * PAGE, PROT_READ | PROT_WRITE);
    ck_assert_int_eq(host_memory_access(memory, 2 * PAGE), HOST_WRITABLE);
    ck_assert_int_eq(host_memory_access(memory, 2 * PAGE + 1), HOST_READ_ONLY);
    munmap(memory + PAGE, PAGE);
    ck_assert_int_eq(host_memory_access(memory, PAGE), HOST_WRITABLE);
    ck_assert_int_eq(host_memory_access(memory + 2 * PAGE, PAGE), HOST_READ_ONLY);
    ck_assert_int_eq(host_memory_access(memory, 3 * PAGE), HOST_NOT_MAPPED);
    ck_assert_int_eq(host_memory_access(memory + PAGE, 2 * PAGE), HOST_NOT_MAPPED);
    ck_assert_int_eq(host_memory_access(memory, 2 * PAGE), HOST_NOT_MAPPED);
}
END_TEST

/* The VmFlags of the mapping that holds an address: "dd" is "do not dump" (proc(5)). */
static int is_kept_out_of_dumps(const void *address)
{
    FILE *smaps = fopen("/proc/self/smaps", "re");
    char line[512];
    unsigned long start, end;
    int inside = 0;
    int found = 0;

    ck_assert_ptr_nonnull(smaps);
    while (fgets(line, sizeof(line), smaps) != NULL) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = start <= (uintptr_t)address && (uintptr_t)address < end;
        if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " dd") != NULL;
    }
    fclose(smaps);
    return found;
}

START_TEST(guest_memory_is_kept_out_of_core_dumps)
{
    void *memory = host_memory_allocate(4 * PAGE, &anonymous);

    ck_assert(is_kept_out_of_dumps(memory));
    host_memory_free(memory, 4 * PAGE);
}
END_TEST

/* A node of which this process may have memory; -1, and it is said: this kernel lets nobody choose one. */
static int any_node(void)
{
    unsigned long nodes[512] = {0};

    if (syscall(SYS_get_mempolicy, NULL, nodes, 8 * sizeof(nodes), NULL, MPOL_F_MEMS_ALLOWED) != 0) {
        printf("skipped: no choice of NUMA nodes here (%s)\n", strerror(errno));
        return -1;
    }
    for (unsigned node = 0; node < 8 * sizeof(nodes); node++)
        if (nodes[node / 64] >> (node % 64) & 1)
            return (int)node;
    return -1;
}

START_TEST(memory_of_a_node_is_bound_to_it_and_comes_from_it)
{
    const int node = any_node();
    hvx_backing_t backing = {.fd = -1, .prefault = true, .has_node = true, .node = (unsigned)node};

    if (node < 0)
        return;
    if (_i == 1) {
        backing.fd = memfd_create("test", 0);
        ck_assert_int_eq(ftruncate(backing.fd, 4 * PAGE), 0);
    }
    uint8_t *memory = host_memory_allocate(4 * PAGE, &backing);
    ck_assert_ptr_nonnull(memory);
    for (unsigned i = 0; i < 4; i++) {
        unsigned long nodes[512] = {0};
        int mode = -1;
        int from = -1;
        ck_assert_int_eq(syscall(SYS_get_mempolicy, &mode, nodes, 8 * sizeof(nodes), memory + i * PAGE, MPOL_F_ADDR),
                         0);
        ck_assert_int_eq(mode, MPOL_BIND);
        for (unsigned word = 0; word < 512; word++)
            ck_assert_uint_eq(nodes[word], word == (unsigned)node / 64 ? 1ul << (node % 64) : 0);
        ck_assert_int_eq(syscall(SYS_get_mempolicy, &from, NULL, 0ul, memory + i * PAGE, MPOL_F_NODE | MPOL_F_ADDR), 0);
        ck_assert_int_eq(from, node);
    }
    host_memory_free(memory, 4 * PAGE);
    /* Without has_node the number means nothing. */
    backing.has_node = false;
    backing.node = 1000;
    memory = host_memory_allocate(4 * PAGE, &backing);
    ck_assert_ptr_nonnull(memory);
    host_memory_free(memory, 4 * PAGE);
}
END_TEST

/* Pages of address space in use: the first number of /proc/self/statm (proc(5)). */
static unsigned long pages_mapped(void)
{
    FILE *statm = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;

    ck_assert_ptr_nonnull(statm);
    ck_assert_int_eq(fscanf(statm, "%lu", &pages), 1);
    fclose(statm);
    return pages;
}

START_TEST(a_node_that_is_not_there_is_refused)
{
    static const unsigned wrong[] = {1000, 4096 * 8 - 1, 4096 * 8, UINT32_MAX};
    const size_t size = (size_t)1 << 30;

    if (any_node() < 0)
        return;
    const unsigned long before = pages_mapped();
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const hvx_backing_t backing = {.fd = -1, .has_node = true, .node = wrong[i]};
        void *memory;
        ck_assert_ptr_null(host_memory_allocate(size, &backing));
        ck_assert_int_eq(errno, ENXIO);
        ck_assert_int_eq(hvx_vm_allocate_backed(&memory, size, &backing), HV_BAD_ARGUMENT);
    }
    ck_assert_uint_lt(pages_mapped() - before, size / PAGE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("host_memory");
    TCase *tcase = tcase_create("host_memory");

    tcase_add_test(tcase, memory_is_zero_and_writable_and_large_pieces_are_aligned_for_huge_pages);
    tcase_add_test(tcase, what_the_host_cannot_promise_is_refused);
    tcase_add_test(tcase, a_memfd_is_shared_and_has_to_be_long_enough);
    tcase_add_test(tcase, prefaulted_memory_is_there);
    tcase_add_test(tcase, a_hole_anywhere_in_a_range_is_found);
    tcase_add_test(tcase, guest_memory_is_kept_out_of_core_dumps);
    tcase_add_loop_test(tcase, memory_of_a_node_is_bound_to_it_and_comes_from_it, 0, 2);
    tcase_add_test(tcase, a_node_that_is_not_there_is_refused);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
