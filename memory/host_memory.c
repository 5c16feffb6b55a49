#include "memory/host_memory.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The sizes of x86's and arm64's (with 4 KiB granule) next larger pages. */
static const size_t HUGE_PAGE_SIZE = (size_t)2 << 20;
static const size_t GIGANTIC_PAGE_SIZE = (size_t)1 << 30;

static size_t alignment_of(size_t size, const hvx_backing_t *backing)
{
    if (backing->fd >= 0 && size >= GIGANTIC_PAGE_SIZE)
        return GIGANTIC_PAGE_SIZE;
    return size < HUGE_PAGE_SIZE ? 0 : HUGE_PAGE_SIZE;
}

/* A place for size bytes, where nothing is yet. */
static uint8_t *reserve(size_t size, size_t alignment)
{
    size_t reserved;

    if (__builtin_add_overflow(size, alignment, &reserved)) {
        errno = ENOMEM;
        return NULL;
    }
    uint8_t *start = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    if (alignment != 0) {
        size_t before = (alignment - (uintptr_t)start % alignment) % alignment;
        if (before > 0)
            munmap(start, before);
        if (before < alignment)
            munmap(start + before + size, alignment - before);
        start += before;
    }
    return start;
}

/*
 * Whether the file has all of it: what lies behind its end would be SIGBUS. Of hugetlbfs it has to be whole pages,
 * because the kernel would map all of the last one, over whatever is behind.
 */
static bool has_room(const hvx_backing_t *backing, size_t size)
{
    struct statfs filesystem;
    struct stat status;
    uint64_t end;

    if (fstatfs(backing->fd, &filesystem) == 0 && filesystem.f_type == HUGETLBFS_MAGIC &&
        (size % (uint64_t)filesystem.f_bsize != 0 || backing->offset % (uint64_t)filesystem.f_bsize != 0))
        return false;
    return fstat(backing->fd, &status) == 0 && !__builtin_add_overflow(backing->offset, size, &end) &&
           (uint64_t)status.st_size >= end;
}

/* Has the host take the pages of a range from one node. ENXIO: there is no such node. */
static bool bind_to_node(uint8_t *start, size_t size, unsigned node)
{
    /* The longest set of nodes that mbind() takes is a page, one bit a node. */
    enum { PAGE_SIZE = 4096, WORD_BITS = 8 * sizeof(unsigned long) };
    unsigned long nodes[PAGE_SIZE / sizeof(unsigned long)] = {0};

    if (node >= PAGE_SIZE * 8) {
        errno = ENXIO;
        return false;
    }
    nodes[node / WORD_BITS] = 1ul << (node % WORD_BITS);
    /* The kernel looks at one bit less than it is told of. */
    if (syscall(SYS_mbind, start, size, MPOL_BIND, nodes, node + 2ul, 0) == 0)
        return true;
    if (errno == EINVAL)
        errno = ENXIO;
    return false;
}

static bool fill_in(uint8_t *start, size_t size, const hvx_backing_t *backing)
{
    const int flags = MAP_FIXED | (backing->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);

    if (backing->fd >= 0 && !has_room(backing, size)) {
        errno = EINVAL;
        return false;
    }
    if (mmap(start, size, PROT_READ | PROT_WRITE, flags, backing->fd, (off_t)backing->offset) == MAP_FAILED)
        return false;
    if (backing->has_node && !bind_to_node(start, size, backing->node))
        return false;
    /* Advice only: a host without the feature goes on without it. */
    (void)madvise(start, size, MADV_DONTDUMP);
    (void)madvise(start, size, backing->pages == HVX_PAGES_SMALL ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    return !backing->prefault || madvise(start, size, MADV_POPULATE_WRITE) == 0;
}

void *host_memory_allocate(size_t size, const hvx_backing_t *backing)
{
    uint8_t *start = reserve(size, alignment_of(size, backing));
    if (start == NULL)
        return NULL;
    if (fill_in(start, size, backing))
        return start;
    const int error = errno;
    munmap(start, size);
    errno = error;
    return NULL;
}

void host_memory_free(void *memory, size_t size)
{
    if (memory != NULL)
        munmap(memory, size);
}

/* Without /proc. MS_ASYNC writes nothing on Linux; it walks the range and says ENOMEM where nothing is mapped
 * (msync(2)). */
static enum host_access access_by_msync(const void *address, size_t size)
{
    return msync((void *)(uintptr_t)address, size, MS_ASYNC) == 0 || errno != ENOMEM ? HOST_WRITABLE : HOST_NOT_MAPPED;
}

enum host_access host_memory_access(const void *address, size_t size)
{
    const uintptr_t end = (uintptr_t)address + size;
    uintptr_t at = (uintptr_t)address;
    enum host_access access = HOST_WRITABLE;
    uintptr_t first, last;
    char permissions[5];
    FILE *maps = fopen("/proc/self/maps", "re");

    if (maps == NULL)
        return access_by_msync(address, size);
    /* Lines are in ascending order: "first-last rwxp ..." (proc(5)). */
    while (at < end && fscanf(maps, "%" SCNxPTR "-%" SCNxPTR " %4s%*[^\n]", &first, &last, permissions) == 3) {
        if (last <= at)
            continue;
        if (first > at)
            break;
        if (permissions[1] != 'w')
            access = HOST_READ_ONLY;
        at = last;
    }
    fclose(maps);
    return at >= end ? access : HOST_NOT_MAPPED;
}
