#include "vmm/debug/linux/printk_ring.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

enum {
    /* None of the structures is as large in any kernel; the largest, printk_info, has 88 bytes. */
    MAX_STRUCTURE = 256,
    /* 32 MiB of text, and a descriptor for each 32 bytes of it: PRB_AVGBITS in kernel/printk/printk.c. */
    MAX_SIZE_BITS = 25,
    MAX_COUNT_BITS = MAX_SIZE_BITS - 5,
    /* An id is the least that a block of text has. */
    MIN_SIZE_BITS = 4,
};

/* enum desc_state, in the upper two bits of state_var. */
enum { DESC_RESERVED, DESC_COMMITTED, DESC_FINALIZED, DESC_REUSABLE };
enum { DESC_STATE_SHIFT = 62 };

/* FAILED_LPOS and NO_LPOS: a record whose text found no room, and one without text. Others are even. */
static const uint64_t LPOS_ODD = 1;
static const uint64_t LPOS_NONE = 3;

static const char *const structure_names[PRINTK_RING_STRUCTURE_COUNT] = {
    [PRINTK_RING_BUFFER] = "printk_ringbuffer", [PRINTK_RING_DESC_RING] = "prb_desc_ring",
    [PRINTK_RING_DATA_RING] = "prb_data_ring",  [PRINTK_RING_DESC] = "prb_desc",
    [PRINTK_RING_BLOCK] = "prb_data_blk_lpos",  [PRINTK_RING_INFO] = "printk_info",
};

static const struct {
    const char *name;
    enum printk_ring_structure owner;
    /* Bytes; or 0 and the structure that it is. */
    unsigned width;
    enum printk_ring_structure structure;
} members[PRINTK_RING_MEMBER_COUNT] = {
    [PRINTK_RING_BUFFER_DESC_RING] = {"printk_ringbuffer.desc_ring", PRINTK_RING_BUFFER, 0, PRINTK_RING_DESC_RING},
    [PRINTK_RING_BUFFER_DATA_RING] = {"printk_ringbuffer.text_data_ring", PRINTK_RING_BUFFER, 0, PRINTK_RING_DATA_RING},
    [PRINTK_RING_COUNT_BITS] = {"prb_desc_ring.count_bits", PRINTK_RING_DESC_RING, 4, 0},
    [PRINTK_RING_DESCS] = {"prb_desc_ring.descs", PRINTK_RING_DESC_RING, 8, 0},
    [PRINTK_RING_INFOS] = {"prb_desc_ring.infos", PRINTK_RING_DESC_RING, 8, 0},
    [PRINTK_RING_HEAD_ID] = {"prb_desc_ring.head_id", PRINTK_RING_DESC_RING, 8, 0},
    [PRINTK_RING_TAIL_ID] = {"prb_desc_ring.tail_id", PRINTK_RING_DESC_RING, 8, 0},
    [PRINTK_RING_SIZE_BITS] = {"prb_data_ring.size_bits", PRINTK_RING_DATA_RING, 4, 0},
    [PRINTK_RING_DATA] = {"prb_data_ring.data", PRINTK_RING_DATA_RING, 8, 0},
    [PRINTK_RING_DESC_STATE] = {"prb_desc.state_var", PRINTK_RING_DESC, 8, 0},
    [PRINTK_RING_DESC_BLOCK] = {"prb_desc.text_blk_lpos", PRINTK_RING_DESC, 0, PRINTK_RING_BLOCK},
    [PRINTK_RING_BLOCK_BEGIN] = {"prb_data_blk_lpos.begin", PRINTK_RING_BLOCK, 8, 0},
    [PRINTK_RING_BLOCK_NEXT] = {"prb_data_blk_lpos.next", PRINTK_RING_BLOCK, 8, 0},
    [PRINTK_RING_INFO_SEQ] = {"printk_info.seq", PRINTK_RING_INFO, 8, 0},
    [PRINTK_RING_INFO_TIME] = {"printk_info.ts_nsec", PRINTK_RING_INFO, 8, 0},
    [PRINTK_RING_INFO_TEXT_LENGTH] = {"printk_info.text_len", PRINTK_RING_INFO, 2, 0},
};

/* A structure of the guest's, copied. */
struct copy {
    uint8_t bytes[MAX_STRUCTURE];
};

static uint64_t get64(const struct copy *copy, size_t offset)
{
    uint64_t value;

    memcpy(&value, &copy->bytes[offset], sizeof(value));
    return le64toh(value);
}

static uint32_t get32(const struct copy *copy, size_t offset)
{
    uint32_t value;

    memcpy(&value, &copy->bytes[offset], sizeof(value));
    return le32toh(value);
}

static uint16_t get16(const struct copy *copy, size_t offset)
{
    uint16_t value;

    memcpy(&value, &copy->bytes[offset], sizeof(value));
    return le16toh(value);
}

static int read_sizes(const struct vmcoreinfo *info, struct printk_ring *ring, struct error *error)
{
    for (unsigned i = 0; i < PRINTK_RING_STRUCTURE_COUNT; i++) {
        uint64_t size;
        if (!vmcoreinfo_size(info, structure_names[i], &size) || size > MAX_STRUCTURE)
            return error_set(error, ERROR_CONFIG, "the kernel's VMCOREINFO has no size of %s that can be one",
                             structure_names[i]);
        ring->sizes[i] = (size_t)size;
    }
    return 0;
}

static int read_offsets(const struct vmcoreinfo *info, struct printk_ring *ring, struct error *error)
{
    for (unsigned i = 0; i < PRINTK_RING_MEMBER_COUNT; i++) {
        const size_t width = members[i].width != 0 ? members[i].width : ring->sizes[members[i].structure];
        const size_t room = ring->sizes[members[i].owner];
        uint64_t offset;
        if (!vmcoreinfo_offset(info, members[i].name, &offset) || width > room || offset > room - width)
            return error_set(error, ERROR_CONFIG, "the kernel's VMCOREINFO has no offset of %s that can be one",
                             members[i].name);
        ring->offsets[i] = (size_t)offset;
    }
    return 0;
}

static int read_layout(const struct vmcoreinfo *info, struct printk_ring *ring, struct error *error)
{
    uint64_t ignored;

    if (!vmcoreinfo_symbol(info, "prb", &ignored)) {
        if (vmcoreinfo_symbol(info, "log_buf", &ignored))
            return error_set(error, ERROR_CONFIG,
                             "the kernel's log is of the kind before Linux 5.10, which is not understood here");
        return error_set(error, ERROR_CONFIG, "the kernel's VMCOREINFO does not say where its log is");
    }
    if (read_sizes(info, ring, error) < 0)
        return -1;
    return read_offsets(info, ring, error);
}

static int read_header(const struct linux_kernel *kernel, struct printk_ring *ring, struct error *error)
{
    uint64_t symbol, pointer;
    struct copy copy;

    /* prb is a pointer. */
    if (!vmcoreinfo_symbol(&kernel->info, "prb", &symbol) ||
        !linux_kernel_read(kernel, symbol, &pointer, sizeof(pointer)))
        return error_set(error, ERROR_CONFIG, "the kernel's log is not there: prb is not mapped");
    pointer = le64toh(pointer);
    if (!linux_kernel_read(kernel, pointer, copy.bytes, ring->sizes[PRINTK_RING_BUFFER]))
        return error_set(error, ERROR_CONFIG, "the kernel's log is damaged: prb is 0x%" PRIx64 ", which is not mapped",
                         pointer);
    const size_t *offsets = ring->offsets;
    const size_t desc_ring = offsets[PRINTK_RING_BUFFER_DESC_RING];
    const size_t data_ring = offsets[PRINTK_RING_BUFFER_DATA_RING];
    ring->count_bits = get32(&copy, desc_ring + offsets[PRINTK_RING_COUNT_BITS]);
    ring->descs = get64(&copy, desc_ring + offsets[PRINTK_RING_DESCS]);
    ring->infos = get64(&copy, desc_ring + offsets[PRINTK_RING_INFOS]);
    ring->head = get64(&copy, desc_ring + offsets[PRINTK_RING_HEAD_ID]) & PRINTK_RING_ID_MASK;
    ring->tail = get64(&copy, desc_ring + offsets[PRINTK_RING_TAIL_ID]) & PRINTK_RING_ID_MASK;
    ring->size_bits = get32(&copy, data_ring + offsets[PRINTK_RING_SIZE_BITS]);
    ring->data = get64(&copy, data_ring + offsets[PRINTK_RING_DATA]);
    return 0;
}

/* Each array's ends have to be there. What lies between may still turn out not to be. Sums may wrap: any address is
 * read. */
static int check_arrays(const struct linux_kernel *kernel, const struct printk_ring *ring, struct error *error)
{
    const struct {
        const char *name;
        uint64_t start, size;
    } arrays[] = {
        {"descriptors", ring->descs, (uint64_t)ring->sizes[PRINTK_RING_DESC] << ring->count_bits},
        {"infos", ring->infos, (uint64_t)ring->sizes[PRINTK_RING_INFO] << ring->count_bits},
        {"texts", ring->data, UINT64_C(1) << ring->size_bits},
    };

    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
        const uint64_t last = arrays[i].start + arrays[i].size - 1;
        uint8_t byte;
        if (!linux_kernel_read(kernel, arrays[i].start, &byte, 1) || !linux_kernel_read(kernel, last, &byte, 1))
            return error_set(error, ERROR_CONFIG,
                             "the kernel's log is damaged: its %s, %" PRIu64 " bytes at 0x%" PRIx64 ", "
                             "are not mapped",
                             arrays[i].name, arrays[i].size, arrays[i].start);
    }
    return 0;
}

int printk_ring_open(const struct linux_kernel *kernel, struct printk_ring *ret_ring, struct error *error)
{
    struct printk_ring *ring = ret_ring;

    if (read_layout(&kernel->info, ring, error) < 0 || read_header(kernel, ring, error) < 0)
        return -1;
    if (ring->count_bits > MAX_COUNT_BITS || ring->size_bits < MIN_SIZE_BITS || ring->size_bits > MAX_SIZE_BITS)
        return error_set(error, ERROR_CONFIG,
                         "the kernel's log is damaged, or larger than is understood here: it has 2^%u records and 2^%u "
                         "bytes of text; 2^%d and 2^%d are the most",
                         ring->count_bits, ring->size_bits, MAX_COUNT_BITS, MAX_SIZE_BITS);
    return check_arrays(kernel, ring, error);
}

/*
 * Where a block of text lies, as get_data() finds it: behind an id; at the ring's start if it would not have fitted in
 * before its end. false: it cannot be one.
 */
static bool find_block(const struct printk_ring *ring, uint64_t begin, uint64_t next, uint64_t *index, uint64_t *size)
{
    const uint64_t ring_size = UINT64_C(1) << ring->size_bits;
    const uint64_t begin_turn = begin >> ring->size_bits, last_turn = (next - 1) >> ring->size_bits;
    const uint64_t next_turn = (begin + ring_size) >> ring->size_bits;

    if (begin % sizeof(uint64_t) != 0 || next % sizeof(uint64_t) != 0)
        return false;
    if (begin_turn == last_turn) {
        *index = begin & (ring_size - 1);
        *size = next - begin;
    } else if (last_turn == next_turn) {
        *index = 0;
        *size = ((next - 1) & (ring_size - 1)) + 1;
    } else {
        return false;
    }
    return *size >= sizeof(uint64_t) && *size <= ring_size - *index;
}

/* Fills in where the text is: none if length is 0. */
static void find_text(const struct linux_kernel *kernel, const struct printk_ring *ring, uint64_t id,
                      const struct copy *desc, size_t length, struct printk_ring_record *record)
{
    const size_t block = ring->offsets[PRINTK_RING_DESC_BLOCK];
    const uint64_t begin = get64(desc, block + ring->offsets[PRINTK_RING_BLOCK_BEGIN]);
    const uint64_t next = get64(desc, block + ring->offsets[PRINTK_RING_BLOCK_NEXT]);
    uint64_t index, size, owner;

    if (begin & next & LPOS_ODD) {
        record->is_lost = begin != LPOS_NONE || next != LPOS_NONE;
        return;
    }
    if (!find_block(ring, begin, next, &index, &size) ||
        !linux_kernel_read(kernel, ring->data + index, &owner, sizeof(owner)) || le64toh(owner) != id) {
        record->is_lost = true;
        return;
    }
    size -= sizeof(owner);
    record->text = ring->data + index + sizeof(owner);
    record->text_size = length < size ? length : (size_t)size;
}

void printk_ring_read(const struct linux_kernel *kernel, const struct printk_ring *ring, uint64_t id,
                      struct printk_ring_record *ret_record)
{
    const uint64_t index = id & ((UINT64_C(1) << ring->count_bits) - 1);
    const size_t desc_size = ring->sizes[PRINTK_RING_DESC], info_size = ring->sizes[PRINTK_RING_INFO];
    struct copy desc, info;

    *ret_record = (struct printk_ring_record){.state = PRINTK_RING_MISSING};
    if (!linux_kernel_read(kernel, ring->descs + index * desc_size, desc.bytes, desc_size) ||
        !linux_kernel_read(kernel, ring->infos + index * info_size, info.bytes, info_size))
        return;
    const uint64_t state = get64(&desc, ring->offsets[PRINTK_RING_DESC_STATE]);
    if ((state & PRINTK_RING_ID_MASK) != id)
        return;
    switch (state >> DESC_STATE_SHIFT) {
    case DESC_RESERVED:
        ret_record->state = PRINTK_RING_RESERVED;
        break;
    case DESC_COMMITTED:
    case DESC_FINALIZED:
        ret_record->state = PRINTK_RING_WRITTEN;
        break;
    default:
        ret_record->state = PRINTK_RING_REUSABLE;
        return;
    }
    ret_record->seq = get64(&info, ring->offsets[PRINTK_RING_INFO_SEQ]);
    ret_record->time = get64(&info, ring->offsets[PRINTK_RING_INFO_TIME]);
    find_text(kernel, ring, id, &desc, get16(&info, ring->offsets[PRINTK_RING_INFO_TEXT_LENGTH]), ret_record);
}
