/*
 * A kernel's symbols: what function an address is in.
 *
 * Threads: any, once it is open.
 */
#ifndef VMM_RUNNER_SYMBOLS_H
#define VMM_RUNNER_SYMBOLS_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct symbols;

/* Reads a vmlinux (ELF with a symbol table) or a System.map. NULL with *error (ERROR_CONFIG, ERROR_HOST). */
struct symbols *symbols_open(const char *path, struct error *error);
void symbols_free(struct symbols *symbols);

/*
 * The file that has the symbols of a kernel image, by what lies where kernel trees, Debian's packages and tools/guest
 * put it. Its path, the caller's to free; NULL: there is none, or no memory. It is not read.
 */
char *symbols_find(const char *kernel);

/* "name+0x12/0x40", as the kernel writes it; false, with text untouched: no function has this address. */
bool symbols_describe(const struct symbols *symbols, uint64_t address, char *text, size_t size);

#endif
