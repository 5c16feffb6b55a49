/*
 * A processor's registers as gdb numbers, sizes and describes them (gdb manual, G.5.3 "x86 Features"): one table makes
 * the `g` packet, `p` and `P`, and the target description, so that they agree. Pure functions of plain data.
 */
#ifndef VMM_GDB_GDB_REGISTERS_H
#define VMM_GDB_GDB_REGISTERS_H

#include "vmm/debug/x86/registers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* gdb's numbers of those that a stop reply tells of at once. */
enum { GDB_REGISTER_RBP = 6, GDB_REGISTER_RSP = 7, GDB_REGISTER_RIP = 16, GDB_REGISTER_RFLAGS = 17 };

/* Bytes: the largest register; no less than all of them. */
enum { GDB_REGISTER_MAX = 16, GDB_REGISTERS_MAX = 2048 };

struct gdb_registers {
    struct debug_registers core;
    struct debug_vectors vectors;
};

/* Registers are numbered from 0 up to this. AVX's are the last. */
unsigned gdb_register_count(bool has_avx);
/* Its bytes. */
size_t gdb_register_size(unsigned number);
/* It is in struct debug_vectors, and not in struct debug_registers. */
bool gdb_register_is_vector(unsigned number);
/* Its gdb_register_size() bytes, the least significant first. */
void gdb_register_get(const struct gdb_registers *registers, unsigned number, uint8_t *bytes);
void gdb_register_set(struct gdb_registers *registers, unsigned number, const uint8_t *bytes);

/* All of them, in order of their numbers: the `g` packet's bytes, and how many these are. */
size_t gdb_registers_size(bool has_avx);
void gdb_registers_get(const struct gdb_registers *registers, uint8_t *bytes);
void gdb_registers_set(struct gdb_registers *registers, const uint8_t *bytes);

/*
 * Components that the area says are in their initial state (Intel SDM volume 1, 13.6) get this state's bytes, and are
 * marked as there, so that what is set in them later counts. Before the other functions see the vectors.
 */
void gdb_vectors_prepare(struct debug_vectors *vectors);

/* The target description, the caller's to free; NULL: no memory. */
char *gdb_registers_describe(bool has_avx);

#endif
