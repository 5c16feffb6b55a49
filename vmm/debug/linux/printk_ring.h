/*
 * Linux's printk ring buffer (since 5.10), as kernel/printk/printk_ringbuffer.h in Linux's tree describes it: a ring of
 * descriptors with their infos, and one of the texts. Sizes and offsets are the kernel's own, from its VMCOREINFO.
 *
 * A descriptor has an id, of which the lower bits are its place; its state says how far its writer has come.
 */
#ifndef VMM_DEBUG_LINUX_PRINTK_RING_H
#define VMM_DEBUG_LINUX_PRINTK_RING_H

#include "vmm/debug/linux/kernel.h"

/* Ids have 62 bits, and wrap. */
#define PRINTK_RING_ID_MASK (UINT64_MAX >> 2)

enum printk_ring_structure {
    PRINTK_RING_BUFFER,
    PRINTK_RING_DESC_RING,
    PRINTK_RING_DATA_RING,
    PRINTK_RING_DESC,
    PRINTK_RING_BLOCK,
    PRINTK_RING_INFO,
    PRINTK_RING_STRUCTURE_COUNT,
};

enum printk_ring_member {
    PRINTK_RING_BUFFER_DESC_RING,
    PRINTK_RING_BUFFER_DATA_RING,
    PRINTK_RING_COUNT_BITS,
    PRINTK_RING_DESCS,
    PRINTK_RING_INFOS,
    PRINTK_RING_HEAD_ID,
    PRINTK_RING_TAIL_ID,
    PRINTK_RING_SIZE_BITS,
    PRINTK_RING_DATA,
    PRINTK_RING_DESC_STATE,
    PRINTK_RING_DESC_BLOCK,
    PRINTK_RING_BLOCK_BEGIN,
    PRINTK_RING_BLOCK_NEXT,
    PRINTK_RING_INFO_SEQ,
    PRINTK_RING_INFO_TIME,
    PRINTK_RING_INFO_TEXT_LENGTH,
    PRINTK_RING_MEMBER_COUNT,
};

struct printk_ring {
    /* Bytes; members lie within their structures. */
    size_t sizes[PRINTK_RING_STRUCTURE_COUNT];
    size_t offsets[PRINTK_RING_MEMBER_COUNT];
    /* 2 to the power of these: descriptors, and bytes of text. */
    unsigned count_bits;
    unsigned size_bits;
    /* Kernel addresses, of arrays. */
    uint64_t descs;
    uint64_t infos;
    uint64_t data;
    /* Ids of the newest and the oldest descriptor; they may be anything. */
    uint64_t head;
    uint64_t tail;
};

enum printk_ring_state {
    /* Its place has another descriptor, or could not be read. */
    PRINTK_RING_MISSING,
    /* Being written. Text and length may or may not be there. */
    PRINTK_RING_RESERVED,
    PRINTK_RING_WRITTEN,
    /* Its writer is done, and its text has made room for others'. */
    PRINTK_RING_REUSABLE,
};

struct printk_ring_record {
    enum printk_ring_state state;
    uint64_t seq;
    /* Nanoseconds since boot. */
    uint64_t time;
    /* A kernel address and bytes; at most 65535. */
    uint64_t text;
    size_t text_size;
    /* There was a text, and it is not there. */
    bool is_lost;
};

/* Where the kernel's ring is, checked so far that reading it is bounded. -1 with an error: it has none that fits. */
int printk_ring_open(const struct linux_kernel *kernel, struct printk_ring *ret_ring, struct error *error);

/* Looks at the descriptor with an id; nothing of it is there but for what the state says. */
void printk_ring_read(const struct linux_kernel *kernel, const struct printk_ring *ring, uint64_t id,
                      struct printk_ring_record *ret_record);

#endif
