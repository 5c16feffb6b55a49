/*
 * A kernel's symbols: what function an address is in.
 *
 * The files are the user's, and may be anything: what is wrong with one is said, and nothing else follows.
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

/*
 * Reads a vmlinux (ELF with a symbol table), a System.map, or what somebody has copied from /proc/kallsyms. NULL with
 * *error (ERROR_CONFIG, ERROR_HOST), which names the file. One without functions is an error, too.
 */
struct symbols *symbols_open(const char *path, struct error *error);
/* NULL is fine. */
void symbols_free(struct symbols *symbols);

/*
 * The file that has the symbols of a kernel image, by what lies where kernel trees, distributions' packages and
 * tools/guest put it. Its path, the caller's to free; NULL: there is none, or no memory. It is looked into, but not
 * compared with the image.
 */
char *symbols_find(const char *kernel);

/*
 * "name+0x12/0x40", as the kernel writes it; false, with text untouched: no function has this address. Addresses are
 * those of the file: a kernel that has moved itself (KASLR) has others. Sizes are the ELF file's, where it has them, or
 * reach to the next symbol. Of several symbols at an address the name is the kernel's own choice: not a weak one, and
 * with the fewest underscores in front.
 */
bool symbols_describe(const struct symbols *symbols, uint64_t address, char *text, size_t size);

#endif
