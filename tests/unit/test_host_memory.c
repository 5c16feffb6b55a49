#include "memory/host_memory.h"
#include "unit_test.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
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
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
