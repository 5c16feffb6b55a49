/*
 * VMCOREINFO: what a Linux kernel says of itself to those who look at its memory, lines of text in a page of its own
 * (Documentation/admin-guide/kdump/vmcoreinfo.rst in Linux's tree). A pure function on bytes.
 */
#ifndef VMM_DEBUG_LINUX_VMCOREINFO_H
#define VMM_DEBUG_LINUX_VMCOREINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* VMCOREINFO_BYTES in Linux's <linux/crash_core.h>: a page. */
enum { VMCOREINFO_SIZE = 4096 };

/* How the text begins, in each version. */
#define VMCOREINFO_START "OSRELEASE="

struct vmcoreinfo {
    /* Lines of printable ASCII, and NUL behind them. */
    char text[VMCOREINFO_SIZE + 1];
};

/* Takes over the lines that a page begins with, up to the first byte that is no text. false: these are none. */
bool vmcoreinfo_parse(const void *page, size_t size, struct vmcoreinfo *ret_info);

/* KEY=text. false, here and below, if the line is not there, or its value no such number, or too long for *ret. */
bool vmcoreinfo_text(const struct vmcoreinfo *info, const char *key, char *ret, size_t size);
/* SYMBOL(name)=address */
bool vmcoreinfo_symbol(const struct vmcoreinfo *info, const char *name, uint64_t *ret);
/* OFFSET(structure.member)=bytes */
bool vmcoreinfo_offset(const struct vmcoreinfo *info, const char *member, uint64_t *ret);
/* SIZE(structure)=bytes */
bool vmcoreinfo_size(const struct vmcoreinfo *info, const char *structure, uint64_t *ret);
/* NUMBER(name)=number; a negative one is the two's complement. */
bool vmcoreinfo_number(const struct vmcoreinfo *info, const char *name, uint64_t *ret);
/* KERNELOFFSET=bytes: how far KASLR has moved the kernel's text. */
bool vmcoreinfo_kernel_offset(const struct vmcoreinfo *info, uint64_t *ret);

#endif
