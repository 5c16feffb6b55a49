#include "loader/x86/entry.h"

#include <endian.h>

/* Segment descriptors, base 0: Intel SDM, volume 3, 3.4.5 "Segment Descriptors" and 7.2 "TSS". */
#define DESCRIPTOR_CODE32 0x00cf9b000000ffffu /* 4 GiB, execute/read, accessed, D */
#define DESCRIPTOR_CODE64 0x00af9b000000ffffu /* the same, L */
#define DESCRIPTOR_DATA 0x00cf93000000ffffu   /* 4 GiB, read/write, accessed */
#define DESCRIPTOR_TSS 0x00008b0000000067u    /* 104 bytes, busy; in long mode, the second half is zero */
/* A null descriptor, an unused one, code, data, and two places for the TSS. */
#define GDT_ENTRIES 6u

/* Page table entries: Intel SDM, volume 3, 4.5 "4-Level Paging". */
#define PAGE_PRESENT_WRITE 0x3u
#define PAGE_ACCESSED 0x20u
#define PAGE_DIRTY 0x40u
#define PAGE_LARGE 0x80u
#define TABLE_ENTRIES 512u
#define TABLE_SIZE 4096u

static int write_gdt(const struct guest_memory *memory, struct boot_entry *entry, struct error *error)
{
    void *address;

    if (guest_memory_find(memory, LAYOUT_GDT_GPA, GDT_ENTRIES * sizeof(uint64_t), &address, error))
        return -1;
    uint64_t *gdt = address;
    gdt[0] = gdt[1] = 0;
    gdt[BOOT_CODE_SELECTOR / 8] = htole64(entry->mode == BOOT_LINUX_64 ? DESCRIPTOR_CODE64 : DESCRIPTOR_CODE32);
    gdt[BOOT_DATA_SELECTOR / 8] = htole64(DESCRIPTOR_DATA);
    gdt[BOOT_TSS_SELECTOR / 8] = htole64(DESCRIPTOR_TSS);
    gdt[BOOT_TSS_SELECTOR / 8 + 1] = 0;
    entry->gdt_gpa = LAYOUT_GDT_GPA;
    entry->gdt_limit = GDT_ENTRIES * sizeof(uint64_t) - 1;
    return 0;
}

static void fill_table(uint64_t *table, uint64_t first_gpa, uint64_t step, uint64_t flags)
{
    for (unsigned i = 0; i < TABLE_ENTRIES; i++)
        table[i] = htole64((first_gpa + i * step) | flags);
}

/* A directory of four entries, and four tables of 2 MiB pages behind it. */
static void fill_small_tables(uint64_t *directory, uint64_t directory_gpa, uint64_t flags)
{
    for (unsigned i = 0; i < 4; i++) {
        directory[i] = htole64((directory_gpa + (i + 1) * TABLE_SIZE) | flags);
        fill_table(directory + (i + 1) * TABLE_ENTRIES, GIB(i), MIB(2), flags | PAGE_LARGE);
    }
}

/* A root and one directory of 1 GiB pages; or a root, a directory of four entries, and four tables of 2 MiB pages. */
static int write_page_tables(const struct platform *platform, const struct guest_memory *memory,
                             struct boot_entry *entry, struct error *error)
{
    unsigned tables = platform->has_1gib_pages ? 2 : 6;
    uint64_t directory_gpa = LAYOUT_PAGE_TABLES_GPA + TABLE_SIZE;
    void *address;

    if (guest_memory_find(memory, LAYOUT_PAGE_TABLES_GPA, (uint64_t)tables * TABLE_SIZE, &address, error))
        return -1;
    uint64_t *root = address;
    uint64_t *directory = root + TABLE_ENTRIES;
    root[0] = htole64(directory_gpa | PAGE_PRESENT_WRITE);
    if (platform->has_1gib_pages)
        fill_table(directory, 0, GIB(1), PAGE_PRESENT_WRITE | PAGE_LARGE);
    else
        fill_small_tables(directory, directory_gpa, PAGE_PRESENT_WRITE);
    entry->cr3 = LAYOUT_PAGE_TABLES_GPA;
    return 0;
}

int entry_write_flat_page_tables(const struct guest_memory *memory, struct boot_entry *entry, struct error *error)
{
    /* The guest may not write there, so the processor is to find nothing to set. */
    const uint64_t flags = PAGE_PRESENT_WRITE | PAGE_ACCESSED | PAGE_DIRTY;
    const uint64_t directory_gpa = LAYOUT_FLAT_PAGE_TABLES_GPA + TABLE_SIZE;
    void *address;

    if (guest_memory_find(memory, LAYOUT_FLAT_PAGE_TABLES_GPA, LAYOUT_FLAT_PAGE_TABLES_SIZE, &address, error))
        return -1;
    uint64_t *root = address;
    root[0] = htole64(directory_gpa | flags);
    fill_small_tables(root + TABLE_ENTRIES, directory_gpa, flags);
    entry->cr3 = LAYOUT_FLAT_PAGE_TABLES_GPA;
    return 0;
}

int entry_write(const struct platform *platform, const struct guest_memory *memory, struct boot_entry *entry,
                struct error *error)
{
    if (write_gdt(memory, entry, error))
        return -1;
    entry->rsp = LAYOUT_BOOT_STACK_TOP_GPA;
    entry->cr3 = 0;
    return entry->mode == BOOT_LINUX_64 ? write_page_tables(platform, memory, entry, error) : 0;
}
