#include "linux_fixture.h"

#include <asm/processor-flags.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint8_t fixture_bytes[FIXTURE_SIZE];
char fixture_info[8192];

static struct log {
    unsigned count_bits, size_bits;
    uint64_t head_id, tail_id;
    uint64_t head_lpos, tail_lpos;
    size_t count;
} ring;

static const char info_text[] = "OSRELEASE=6.1.0-fixture\n"
                                "BUILD-ID=0123456789abcdef0123456789abcdef01234567\n"
                                "PAGESIZE=4096\n"
                                "SYMBOL(init_uts_ns)=ffffffff81046000\n"
                                "OFFSET(uts_namespace.name)=4\n"
                                "SYMBOL(swapper_pg_dir)=ffffffff81001000\n"
                                "SYMBOL(_stext)=ffffffff81000000\n"
                                "SIZE(list_head)=16\n"
                                "SYMBOL(prb)=ffffffff81007000\n"
                                "SIZE(printk_ringbuffer)=88\n"
                                "OFFSET(printk_ringbuffer.desc_ring)=0\n"
                                "OFFSET(printk_ringbuffer.text_data_ring)=48\n"
                                "OFFSET(printk_ringbuffer.fail)=80\n"
                                "SIZE(prb_desc_ring)=48\n"
                                "OFFSET(prb_desc_ring.count_bits)=0\n"
                                "OFFSET(prb_desc_ring.descs)=8\n"
                                "OFFSET(prb_desc_ring.infos)=16\n"
                                "OFFSET(prb_desc_ring.head_id)=24\n"
                                "OFFSET(prb_desc_ring.tail_id)=32\n"
                                "SIZE(prb_desc)=24\n"
                                "OFFSET(prb_desc.state_var)=0\n"
                                "OFFSET(prb_desc.text_blk_lpos)=8\n"
                                "SIZE(prb_data_blk_lpos)=16\n"
                                "OFFSET(prb_data_blk_lpos.begin)=0\n"
                                "OFFSET(prb_data_blk_lpos.next)=8\n"
                                "SIZE(printk_info)=88\n"
                                "OFFSET(printk_info.seq)=0\n"
                                "OFFSET(printk_info.ts_nsec)=8\n"
                                "OFFSET(printk_info.text_len)=16\n"
                                "SIZE(prb_data_ring)=32\n"
                                "OFFSET(prb_data_ring.size_bits)=0\n"
                                "OFFSET(prb_data_ring.data)=8\n"
                                "NUMBER(phys_base)=-16777216\n"
                                "SYMBOL(init_top_pgt)=ffffffff81001000\n"
                                "NUMBER(pgtable_l5_enabled)=0\n"
                                "KERNELOFFSET=1c000000\n";

void fixture_put64(uint64_t gpa, uint64_t value)
{
    memcpy(&fixture_bytes[gpa], &value, sizeof(value));
}

uint64_t fixture_get64(uint64_t gpa)
{
    uint64_t value;

    memcpy(&value, &fixture_bytes[gpa], sizeof(value));
    return value;
}

void fixture_put_info(uint64_t gpa)
{
    const size_t length = strnlen(fixture_info, 4096);

    memset(&fixture_bytes[gpa], 0, 4096);
    memcpy(&fixture_bytes[gpa], fixture_info, length);
}

void fixture_make_info(void)
{
    strcpy(fixture_info, info_text);
    fixture_put_info(FIXTURE_INFO);
}

void fixture_change_line(const char *start, const char *replacement)
{
    static char changed[sizeof(fixture_info)];
    char *line = strstr(fixture_info, start);

    if (line == NULL)
        abort();
    const char *rest = strchr(line, '\n');
    *line = '\0';
    if (snprintf(changed, sizeof(changed), "%s%s%s", fixture_info, replacement, rest + (*replacement == '\0')) < 0)
        abort();
    strcpy(fixture_info, changed);
    fixture_put_info(FIXTURE_INFO);
}

static void make_tables(void)
{
    fixture_put64(FIXTURE_ROOT + 511 * 8, FIXTURE_PDPT | 3);
    fixture_put64(FIXTURE_PDPT + 510 * 8, FIXTURE_PD | 3);
    fixture_put64(FIXTURE_PD + 8 * 8, FIXTURE_PT | 3);
    for (unsigned i = 0; i < FIXTURE_SIZE / 4096; i++)
        fixture_put64(FIXTURE_PT + i * 8, (uint64_t)i * 4096 | 3);
}

static void put_ids(void)
{
    fixture_put64(FIXTURE_RING + FIXTURE_HEAD_ID, ring.head_id);
    fixture_put64(FIXTURE_RING + FIXTURE_TAIL_ID, ring.tail_id);
}

uint64_t fixture_desc(uint64_t id)
{
    return FIXTURE_DESCS + (id & ((UINT64_C(1) << ring.count_bits) - 1)) * FIXTURE_DESC_SIZE;
}

uint64_t fixture_desc_info(uint64_t id)
{
    return FIXTURE_INFOS + (id & ((UINT64_C(1) << ring.count_bits) - 1)) * FIXTURE_INFO_SIZE;
}

void fixture_set_state(uint64_t id, unsigned state)
{
    fixture_put64(fixture_desc(id), (uint64_t)state << 62 | id);
}

static uint64_t mask_id(uint64_t id)
{
    return id & UINT64_MAX >> 2;
}

void fixture_make(unsigned count_bits, unsigned size_bits)
{
    memset(fixture_bytes, 0, sizeof(fixture_bytes));
    make_tables();
    fixture_make_info();
    strcpy((char *)&fixture_bytes[FIXTURE_UTS + 4 + 130], "6.1.0-fixture");

    /* DESC0_ID and BLK0_LPOS: both soon wrap. */
    ring = (struct log){.count_bits = count_bits, .size_bits = size_bits};
    ring.head_id = ring.tail_id = mask_id(-((UINT64_C(1) << count_bits) + 1));
    ring.head_lpos = ring.tail_lpos = -(UINT64_C(1) << size_bits);
    fixture_put64(FIXTURE_PRB, FIXTURE_LINEAR + FIXTURE_RING);
    fixture_put64(FIXTURE_RING + FIXTURE_COUNT_BITS, count_bits);
    fixture_put64(FIXTURE_RING + FIXTURE_DESCS_POINTER, FIXTURE_LINEAR + FIXTURE_DESCS);
    fixture_put64(FIXTURE_RING + FIXTURE_INFOS_POINTER, FIXTURE_LINEAR + FIXTURE_INFOS);
    fixture_put64(FIXTURE_RING + FIXTURE_SIZE_BITS, size_bits);
    fixture_put64(FIXTURE_RING + FIXTURE_DATA_POINTER, FIXTURE_LINEAR + FIXTURE_DATA);
    put_ids();
    fixture_set_state(ring.head_id, FIXTURE_REUSABLE);
    fixture_put64(fixture_desc(ring.head_id) + 8, 1);
    fixture_put64(fixture_desc(ring.head_id) + 16, 1);
}

static uint64_t data_index(uint64_t lpos)
{
    return lpos & ((UINT64_C(1) << ring.size_bits) - 1);
}

/* data_push_tail(): records lose their text until there is room up to lpos. */
static void make_room(uint64_t lpos)
{
    while (lpos - ring.tail_lpos > UINT64_C(1) << ring.size_bits) {
        const uint64_t id = fixture_get64(FIXTURE_DATA + data_index(ring.tail_lpos));
        fixture_set_state(id, FIXTURE_REUSABLE);
        ring.tail_lpos = fixture_get64(fixture_desc(id) + 16);
    }
}

/* data_alloc() */
static void put_text(uint64_t id, const char *text)
{
    const size_t length = strlen(text);
    const uint64_t size = (length + 8 + 7) / 8 * 8;
    const uint64_t begin = ring.head_lpos;
    uint64_t next = begin + size, index = data_index(begin);

    if (begin >> ring.size_bits != next >> ring.size_bits) {
        next = (next >> ring.size_bits << ring.size_bits) + size;
        index = 0;
    }
    make_room(next);
    ring.head_lpos = next;
    fixture_put64(FIXTURE_DATA + data_index(begin), id);
    fixture_put64(FIXTURE_DATA + index, id);
    memcpy(&fixture_bytes[FIXTURE_DATA + index + 8], text, length);
    fixture_put64(fixture_desc(id) + 8, begin);
    fixture_put64(fixture_desc(id) + 16, next);
    fixture_put64(fixture_desc_info(id) + 16, length | 0xabcdef0000);
}

uint64_t fixture_log(uint64_t nanoseconds, const char *text)
{
    const uint64_t id = mask_id(ring.head_id + 1);

    /* desc_reserve(): the oldest descriptor goes, with its text. */
    if (mask_id(id - ring.tail_id) == UINT64_C(1) << ring.count_bits) {
        if (fixture_get64(fixture_desc(ring.tail_id)) >> 62 != FIXTURE_REUSABLE &&
            !(fixture_get64(fixture_desc(ring.tail_id) + 8) & 1)) {
            const uint64_t next = fixture_get64(fixture_desc(ring.tail_id) + 16);
            fixture_set_state(ring.tail_id, FIXTURE_REUSABLE);
            ring.tail_lpos = next;
        }
        ring.tail_id = mask_id(ring.tail_id + 1);
    }
    ring.head_id = id;
    put_ids();
    fixture_put64(fixture_desc_info(id), ring.count++);
    fixture_put64(fixture_desc_info(id) + 8, nanoseconds);
    fixture_put64(fixture_desc_info(id) + 16, 0);
    fixture_put64(fixture_desc(id) + 8, 3);
    fixture_put64(fixture_desc(id) + 16, 3);
    if (text != NULL)
        put_text(id, text);
    fixture_set_state(id, FIXTURE_FINALIZED);
    return id;
}

size_t fixture_log_count(void)
{
    return ring.count;
}

uint64_t fixture_first_id(void)
{
    return mask_id(ring.head_id - ring.count + 1);
}

bool fixture_log_is_whole(size_t index)
{
    const uint64_t id = mask_id(fixture_first_id() + index);

    return mask_id(id - ring.tail_id) < UINT64_C(1) << ring.count_bits &&
           fixture_get64(fixture_desc(id)) == ((uint64_t)FIXTURE_FINALIZED << 62 | id);
}

static bool read_bytes(void *context, uint64_t gpa, void *buffer, size_t size)
{
    (void)context;
    if (gpa > FIXTURE_SIZE || size > FIXTURE_SIZE - gpa)
        return false;
    memcpy(buffer, &fixture_bytes[gpa], size);
    return true;
}

/* Two ranges with a hole; the second is read through calls. */
static bool next_range(void *context, uint64_t gpa, struct linux_range *ret_range)
{
    (void)context;
    if (gpa < 0x40000)
        *ret_range = (struct linux_range){0, 0x40000, fixture_bytes};
    else
        *ret_range = (struct linux_range){0x44800, FIXTURE_SIZE - 0x44800, NULL};
    return gpa < FIXTURE_SIZE;
}

struct linux_memory fixture_memory(const struct walk_registers *registers)
{
    return (struct linux_memory){.read = read_bytes, .next_range = next_range, .registers = registers};
}

struct walk_registers fixture_registers(void)
{
    return (struct walk_registers){X86_CR0_PG | X86_CR0_WP, FIXTURE_ROOT, X86_CR4_PAE, 1u << 10 | 1u << 11};
}

static void append(void *context, const char *bytes, size_t size)
{
    struct fixture_text *text = context;

    if (size >= text->capacity - text->size) {
        text->capacity = 2 * text->capacity + size + 1;
        text->bytes = realloc(text->bytes, text->capacity);
        if (text->bytes == NULL)
            abort();
    }
    memcpy(&text->bytes[text->size], bytes, size);
    text->size += size;
    text->bytes[text->size] = '\0';
}

struct debug_output fixture_output(struct fixture_text *text)
{
    *text = (struct fixture_text){0};
    append(text, "", 0);
    return (struct debug_output){append, text};
}
