#include "vmm/debug/resident.h"

#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, WINDOW_PAGES = RESIDENT_WINDOW / PAGE };

/* An entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst in Linux's tree): present, or swapped. */
static const uint64_t PAGEMAP_THERE = UINT64_C(3) << 62;

/* Adds what mincore(2) does not tell of: pages in swap. */
static void add_swapped(const uint8_t *bytes, size_t pages, int pagemap, unsigned char *resident)
{
    enum { ENTRIES = 512 };
    uint64_t entries[ENTRIES];

    for (size_t i = 0; i < pages; i += ENTRIES) {
        const size_t count = pages - i < ENTRIES ? pages - i : ENTRIES;
        const uint64_t first = (uintptr_t)bytes / PAGE + i;
        const ssize_t size = (ssize_t)(count * sizeof(entries[0]));
        if (pread(pagemap, entries, (size_t)size, (off_t)(first * sizeof(entries[0]))) != size)
            return;
        for (size_t j = 0; j < count; j++)
            resident[i + j] |= (entries[j] & PAGEMAP_THERE) != 0;
    }
}

bool resident_find(const uint8_t *bytes, uint64_t size, int pagemap, uint64_t *ret_start, uint64_t *ret_end)
{
    const size_t pages = size < RESIDENT_WINDOW ? (size_t)(size / PAGE) : WINDOW_PAGES;
    unsigned char resident[WINDOW_PAGES];
    size_t first = 0;

    if (mincore((void *)(uintptr_t)bytes, pages * PAGE, resident) < 0)
        return false;
    if (pagemap >= 0)
        add_swapped(bytes, pages, pagemap, resident);
    while (first < pages && (resident[first] & 1) == 0)
        first++;
    size_t end = first;
    while (end < pages && (resident[end] & 1) != 0)
        end++;
    *ret_start = (uint64_t)first * PAGE;
    *ret_end = (uint64_t)end * PAGE;
    return end > first;
}
