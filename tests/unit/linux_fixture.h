/*
 * Memory with a Linux kernel in it, as far as a debugger looks at it: its page tables, VMCOREINFO, name, and a log that
 * is written as printk does.
 */
#ifndef TESTS_UNIT_LINUX_FIXTURE_H
#define TESTS_UNIT_LINUX_FIXTURE_H

#include "vmm/debug/linux/memory.h"
#include "vmm/debug/target.h"

#include <stddef.h>
#include <stdint.h>

enum {
    FIXTURE_SIZE = 0x100000,
    /* Guest-physical. */
    FIXTURE_ROOT = 0x1000,
    FIXTURE_PDPT = 0x2000,
    FIXTURE_PD = 0x3000,
    FIXTURE_PT = 0x4000,
    FIXTURE_INFO = 0x45000,
    FIXTURE_UTS = 0x46000,
    FIXTURE_PRB = 0x7000,
    FIXTURE_RING = 0x7ff0, /* across two pages, which follow each other in linear addresses alone */
    FIXTURE_DESCS = 0x9000,
    FIXTURE_INFOS = 0x60000,
    FIXTURE_DATA = 0x30000,
    FIXTURE_DESC_SIZE = 24,
    FIXTURE_INFO_SIZE = 88,
    /* In the ring. */
    FIXTURE_COUNT_BITS = 0,
    FIXTURE_DESCS_POINTER = 8,
    FIXTURE_INFOS_POINTER = 16,
    FIXTURE_HEAD_ID = 24,
    FIXTURE_TAIL_ID = 32,
    FIXTURE_SIZE_BITS = 48,
    FIXTURE_DATA_POINTER = 56,
};

/* The states of descriptors. */
enum { FIXTURE_RESERVED, FIXTURE_COMMITTED, FIXTURE_FINALIZED, FIXTURE_REUSABLE };

/* The linear address of the first byte of memory. */
#define FIXTURE_LINEAR UINT64_C(0xffffffff81000000)

extern uint8_t fixture_bytes[FIXTURE_SIZE];
/* The text of VMCOREINFO; fixture_put_info() copies it to memory. */
extern char fixture_info[8192];

/* Begins anew, with an empty log. */
void fixture_make(unsigned count_bits, unsigned size_bits);
/* All of memory at once; registers are the kernel's, or NULL. */
struct linux_memory fixture_memory(const struct walk_registers *registers);
struct walk_registers fixture_registers(void);

void fixture_put64(uint64_t gpa, uint64_t value);
uint64_t fixture_get64(uint64_t gpa);

void fixture_put_info(uint64_t gpa);
/* The text as fixture_make() has it, at its place. */
void fixture_make_info(void);
/* Takes away the line that begins like this, or has another instead of it. */
void fixture_change_line(const char *start, const char *replacement);

/* Writes a record: any bytes. NULL: one without a text. Returns its id. */
uint64_t fixture_log(uint64_t nanoseconds, const char *text);
/* How many have ever been written, and whether the i-th is still whole. */
size_t fixture_log_count(void);
bool fixture_log_is_whole(size_t index);
/* Addresses of what belongs to a descriptor. */
uint64_t fixture_desc(uint64_t id);
uint64_t fixture_desc_info(uint64_t id);
void fixture_set_state(uint64_t id, unsigned state);
uint64_t fixture_first_id(void);

/* What has been printed. */
struct fixture_text {
    char *bytes;
    size_t size;
    size_t capacity;
};
struct debug_output fixture_output(struct fixture_text *text);

#endif
