/*
 * The state of the boot processor that lies in memory: its GDT and its page tables.
 */
#ifndef LOADER_X86_ENTRY_H
#define LOADER_X86_ENTRY_H

#include "loader/loader.h"

/* Writes them for entry->mode and fills in gdt_gpa, gdt_limit, cr3 and rsp. */
int entry_write(const struct platform *platform, const struct guest_memory *memory, struct boot_entry *entry,
                struct error *error);

/* Writes page tables at LAYOUT_FLAT_PAGE_TABLES_GPA that map 4 GiB to themselves, and fills in cr3. */
int entry_write_flat_page_tables(const struct guest_memory *memory, struct boot_entry *entry, struct error *error);

#endif
