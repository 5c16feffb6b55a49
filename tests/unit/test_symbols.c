/* A kernel's symbols: what is read of ELF files and System.maps, good ones and others, and where they are found. */
#include "vmm/runner/symbols.h"

#include "unit_test.h"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static struct error error;

static void setup(void)
{
    strcpy(folder, "/tmp/quire-test-symbols-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void teardown(void)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static const char *path_of(const char *name)
{
    static char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *bytes, size_t size)
{
    FILE *file = fopen(path_of(name), "we");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}

static struct symbols *open_text(const char *text)
{
    write_file("System.map", text, strlen(text));
    return symbols_open(path_of("System.map"), &error);
}

static void expect_at(const struct symbols *symbols, uint64_t address, const char *wanted)
{
    char text[128] = "untouched";

    ck_assert_ptr_nonnull(symbols);
    const bool found = symbols_describe(symbols, address, text, sizeof(text));
    ck_assert_str_eq(text, wanted != NULL ? wanted : "untouched");
    ck_assert_int_eq(found, wanted != NULL);
}

static void expect_bad(const char *name, const char *text)
{
    ck_assert_ptr_null(symbols_open(path_of(name), &error));
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_msg(strncmp(error.text, path_of(name), strlen(path_of(name))) == 0, "%s", error.text);
    ck_assert_msg(strstr(error.text, text) != NULL, "%s", error.text);
}

/* ---- System.map ---- */

static const char good_map[] = "0000000000000000 D __per_cpu_start\n"
                               "                 w __kernel_vsyscall\n"
                               "ffffffff81000000 T _stext\n"
                               "ffffffff81000000 T __startup\n"
                               "ffffffff81000000 W aaa\n"
                               "ffffffff81000040 t do_one\n"
                               "ffffffff81000100 r a_table\n"
                               "ffffffff81000200 T do_two\n"
                               "ffffffff81000300 D __end_of_it\n";

START_TEST(a_system_map)
{
    struct symbols *symbols = open_text(good_map);

    expect_at(symbols, 0, NULL);
    expect_at(symbols, 0xffffffff80ffffff, NULL);
    /* As kallsyms has it: not a weak one, and the fewest underscores. */
    expect_at(symbols, 0xffffffff81000000, "_stext+0x0/0x40");
    expect_at(symbols, 0xffffffff8100003f, "_stext+0x3f/0x40");
    expect_at(symbols, 0xffffffff81000040, "do_one+0x0/0xc0");
    /* Data lies between functions. */
    expect_at(symbols, 0xffffffff81000100, NULL);
    expect_at(symbols, 0xffffffff810002ff, "do_two+0xff/0x100");
    expect_at(symbols, 0xffffffff81000300, NULL);
    expect_at(symbols, UINT64_MAX, NULL);
    symbols_free(symbols);
}
END_TEST

START_TEST(other_maps)
{
    /* Not in order, with CR LF, an empty line, a module's symbol, and without an end of line. */
    struct symbols *symbols = open_text("ffffffffc0000100 t second\t[module]\r\n\nffffffffc0000000 T first\r\n"
                                        "ffffffffc0000200 T last");
    expect_at(symbols, 0xffffffffc0000001, "first+0x1/0x100");
    expect_at(symbols, 0xffffffffc0000101, "second+0x1/0x100");
    /* Nothing says where the last one ends. */
    expect_at(symbols, 0xffffffffc0000210, "last+0x10/0x1000");
    expect_at(symbols, 0xffffffffc0001200, NULL);
    symbols_free(symbols);
    symbols = open_text("fffffffffffffff0 T at_the_end\n");
    expect_at(symbols, 0xfffffffffffffff8, "at_the_end+0x8/0xf");
    symbols_free(symbols);
    symbols = open_text("c1000000 T i386\n");
    expect_at(symbols, 0xc1000002, "i386+0x2/0x1000");
    symbols_free(symbols);
}
END_TEST

START_TEST(a_short_buffer_is_enough)
{
    struct symbols *symbols = open_text(good_map);
    char text[8];

    ck_assert(symbols_describe(symbols, 0xffffffff81000040, text, sizeof(text)));
    ck_assert_str_eq(text, "do_one+");
    symbols_free(symbols);
}
END_TEST

START_TEST(maps_that_are_none)
{
    static const struct {
        const char *text, *error;
    } bad[] = {
        {"", "names no functions"},
        {"ffffffffffffffff B The real System.map is in the linux-image-dbg package\n", "names no functions"},
        {"ffffffff81000000 T a\nffffffff81000000\n", ":2: is neither"},
        {"ffffffff81000000 T a\nffffffff81000000 T \n", ":2: is neither"},
        {"ffffffff81000000 T a\nffffffff81000000 ", ":2: is neither"},
        {"fffffffff81000000 T a\n", ":1: is neither"},
        {"-1 T a\n", ":1: is neither"},
        {"#!/bin/sh\n", ":1: is neither"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_file("bad", bad[i].text, strlen(bad[i].text));
        expect_bad("bad", bad[i].error);
    }
    write_file("bad", "ffffffff81000000 T a\n\0rest", 26);
    struct symbols *symbols = symbols_open(path_of("bad"), &error);
    expect_at(symbols, 0xffffffff81000000, "a+0x0/0x1000");
    symbols_free(symbols);
    expect_bad("no-such-file", "No such file");
    expect_bad(".", "is not a file");
    ck_assert_int_eq(mkfifo(path_of("fifo"), 0600), 0);
    expect_bad("fifo", "is not a file");
}
END_TEST

START_TEST(a_map_that_is_too_large)
{
    int fd = open(path_of("large"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    ck_assert_int_eq(ftruncate(fd, (off_t)1 << 40), 0);
    close(fd);
    expect_bad("large", "too large");
}
END_TEST

/* ---- ELF ---- */

struct elf_symbol {
    const char *name;
    uint64_t value, size;
    unsigned type, bind, section;
};

enum { SECTION_TEXT = 1, SECTION_DATA, SECTION_SYMBOLS, SECTION_NAMES, SECTION_SECTION_NAMES };

static const uint64_t text_at = 0xffffffff81000000;
static const char section_names[] = "\0.text\0.data\0.symtab\0.strtab\0.shstrtab";
static char code[0x200];

static const struct elf_symbol elf_symbols[] = {
    {"sized", text_at, 0x30, STT_FUNC, STB_GLOBAL, SECTION_TEXT},
    {"__sized_alias", text_at, 0x30, STT_FUNC, STB_GLOBAL, SECTION_TEXT},
    {"label", text_at, 0, STT_NOTYPE, STB_LOCAL, SECTION_TEXT},
    {"assembly", text_at + 0x40, 0, STT_NOTYPE, STB_GLOBAL, SECTION_TEXT},
    {"weak", text_at + 0x80, 0x10, STT_FUNC, STB_WEAK, SECTION_TEXT},
    {"strong", text_at + 0x80, 0x10, STT_FUNC, STB_GLOBAL, SECTION_TEXT},
    {"inner", text_at + 0x88, 4, STT_FUNC, STB_LOCAL, SECTION_TEXT},
    {"file.c", text_at + 0x90, 0, STT_FILE, STB_LOCAL, SHN_ABS},
    {"absolute", text_at + 0x98, 8, STT_NOTYPE, STB_GLOBAL, SHN_ABS},
    {"object", text_at + 0xa0, 0x10, STT_OBJECT, STB_GLOBAL, SECTION_TEXT},
    {"too_large", text_at + 0xc0, UINT64_MAX, STT_FUNC, STB_GLOBAL, SECTION_TEXT},
    {"last", text_at + 0x100, 0, STT_FUNC, STB_GLOBAL, SECTION_TEXT},
    {"data", text_at + 0x1000, 0x10, STT_FUNC, STB_GLOBAL, SECTION_DATA},
    {"nowhere", text_at + 0x2000, 0x10, STT_FUNC, STB_GLOBAL, 77},
};
enum { ELF_SYMBOL_COUNT = sizeof(elf_symbols) / sizeof(elf_symbols[0]) };

static void add_section(Elf *elf, const char *name, GElf_Word type, GElf_Xword flags, uint64_t address, GElf_Word link,
                        void *bytes, size_t size)
{
    Elf_Scn *section = elf_newscn(elf);
    Elf_Data *data = elf_newdata(section);
    GElf_Shdr header;

    data->d_buf = bytes;
    data->d_size = size;
    data->d_align = 8;
    data->d_type = type == SHT_SYMTAB ? ELF_T_SYM : ELF_T_BYTE;
    ck_assert_ptr_nonnull(gelf_getshdr(section, &header));
    header.sh_name =
        (GElf_Word)((const char *)memmem(section_names, sizeof(section_names), name, strlen(name) + 1) - section_names);
    header.sh_type = type;
    header.sh_flags = flags;
    header.sh_addr = address;
    header.sh_link = link;
    header.sh_entsize = type == SHT_SYMTAB ? sizeof(Elf64_Sym) : 0;
    ck_assert_int_ne(gelf_update_shdr(section, &header), 0);
}

/* Of that type; with or without a symbol table. */
static void write_elf(const char *name, GElf_Half type, bool has_table)
{
    static Elf64_Sym table[ELF_SYMBOL_COUNT + 1];
    static char names[512];
    static char names_of_sections[sizeof(section_names)];
    size_t used = 1;
    GElf_Ehdr header;
    int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_uint_ne(elf_version(EV_CURRENT), EV_NONE);
    Elf *elf = elf_begin(fd, ELF_C_WRITE, NULL);
    ck_assert_ptr_nonnull(gelf_newehdr(elf, ELFCLASS64));
    ck_assert_ptr_nonnull(gelf_getehdr(elf, &header));
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = type;
    header.e_machine = EM_X86_64;
    header.e_version = EV_CURRENT;
    header.e_shstrndx = SECTION_SECTION_NAMES;
    ck_assert_int_ne(gelf_update_ehdr(elf, &header), 0);
    for (size_t i = 0; i < ELF_SYMBOL_COUNT; i++) {
        const struct elf_symbol *symbol = &elf_symbols[i];
        table[i + 1] = (Elf64_Sym){.st_name = (Elf64_Word)used,
                                   .st_info = (unsigned char)ELF64_ST_INFO(symbol->bind, symbol->type),
                                   .st_shndx = (Elf64_Half)symbol->section,
                                   .st_value = symbol->value,
                                   .st_size = symbol->size};
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s", symbol->name) + 1;
    }
    memcpy(names_of_sections, section_names, sizeof(section_names));
    add_section(elf, ".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, text_at, 0, code, sizeof(code));
    add_section(elf, ".data", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, text_at + 0x1000, 0, code, sizeof(code));
    add_section(elf, ".symtab", has_table ? SHT_SYMTAB : SHT_PROGBITS, 0, 0, SECTION_NAMES, table, sizeof(table));
    add_section(elf, ".strtab", SHT_STRTAB, 0, 0, 0, names, used);
    add_section(elf, ".shstrtab", SHT_STRTAB, 0, 0, 0, names_of_sections, sizeof(names_of_sections));
    ck_assert_int_gt(elf_update(elf, ELF_C_WRITE), 0);
    ck_assert_int_eq(elf_end(elf), 0);
    close(fd);
}

START_TEST(a_vmlinux)
{
    write_elf("vmlinux", ET_EXEC, true);
    struct symbols *symbols = symbols_open(path_of("vmlinux"), &error);

    ck_assert_msg(symbols != NULL, "%s", error.text);
    expect_at(symbols, text_at - 1, NULL);
    expect_at(symbols, text_at, "sized+0x0/0x30");
    expect_at(symbols, text_at + 0x2f, "sized+0x2f/0x30");
    /* Its size is known, and this is behind it. */
    expect_at(symbols, text_at + 0x30, NULL);
    expect_at(symbols, text_at + 0x41, "assembly+0x1/0x40");
    expect_at(symbols, text_at + 0x80, "strong+0x0/0x10");
    /* One within another. */
    expect_at(symbols, text_at + 0x89, "inner+0x1/0x4");
    expect_at(symbols, text_at + 0x98, NULL);
    expect_at(symbols, text_at + 0xa0, NULL);
    expect_at(symbols, text_at + 0xc8, "too_large+0x8/0x40");
    /* It ends with its section. */
    expect_at(symbols, text_at + 0x1ff, "last+0xff/0x100");
    expect_at(symbols, text_at + 0x200, NULL);
    expect_at(symbols, text_at + 0x1000, NULL);
    expect_at(symbols, text_at + 0x2000, NULL);
    symbols_free(symbols);
}
END_TEST

START_TEST(elf_files_without_symbols)
{
    write_elf("stripped", ET_EXEC, false);
    expect_bad("stripped", "has no symbol table");
    write_elf("module.ko", ET_REL, true);
    expect_bad("module.ko", "is an object file");
}
END_TEST

/* This program itself, which is linked by somebody else. */
START_TEST(a_real_program)
{
    struct symbols *symbols = symbols_open("/proc/self/exe", &error);

    ck_assert_msg(symbols != NULL, "%s", error.text);
    symbols_free(symbols);
}
END_TEST

/* Each byte of the headers and tables wrong, in several ways, and every length: an answer or an error, and no more. */
START_TEST(damaged_elf_files)
{
    static const unsigned char masks[] = {0xff, 0x80, 0x01};
    static char bytes[8192], damaged[8192];
    char text[128];
    uint64_t opened = 0;

    write_elf("vmlinux", ET_EXEC, true);
    FILE *file = fopen(path_of("vmlinux"), "re");
    const size_t size = fread(bytes, 1, sizeof(bytes), file);
    (void)fclose(file);
    ck_assert_uint_lt(size, sizeof(bytes));
    for (size_t i = 0; i < 4 * size; i++) {
        const size_t at = i % size;
        const bool is_cut = i >= 3 * size;
        memcpy(damaged, bytes, size);
        damaged[at] = (char)(damaged[at] ^ masks[i / size % 3]);
        write_file("damaged", damaged, is_cut ? at : size);
        struct symbols *symbols = symbols_open(path_of("damaged"), &error);
        if (symbols == NULL)
            ck_assert_ptr_nonnull(strstr(error.text, "damaged"));
        for (uint64_t address = text_at; symbols != NULL && address < text_at + 0x200; address += 8)
            opened += symbols_describe(symbols, address, text, sizeof(text));
        symbols_free(symbols);
    }
    ck_assert_uint_gt(opened, 0);
}
END_TEST

/* ---- Where they are ---- */

static void make_folders(const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s/", folder, name);
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
}

static void expect_found(const char *kernel, const char *wanted)
{
    char *found = symbols_find(path_of(kernel));
    char *found_real = found != NULL ? realpath(found, NULL) : NULL;

    if (wanted == NULL) {
        ck_assert_msg(found == NULL, "%s", found);
    } else {
        ck_assert_msg(found != NULL, "%s", kernel);
        ck_assert_str_eq(found_real, path_of(wanted));
    }
    free(found);
    free(found_real);
}

static void write_map(const char *name)
{
    write_file(name, good_map, sizeof(good_map) - 1);
}

START_TEST(a_kernel_tree)
{
    make_folders("arch/old/arch/x86/boot");
    write_file("arch/old/arch/x86/boot/bzImage", "MZ", 2);
    expect_found("arch/old/arch/x86/boot/bzImage", NULL);
    write_map("arch/old/System.map");
    expect_found("arch/old/arch/x86/boot/bzImage", "arch/old/System.map");
    write_elf("arch/old/vmlinux", ET_EXEC, false);
    expect_found("arch/old/arch/x86/boot/bzImage", "arch/old/System.map");
    write_elf("arch/old/vmlinux", ET_EXEC, true);
    expect_found("arch/old/arch/x86/boot/bzImage", "arch/old/vmlinux");
    /* By way of a link, and from where there is no folder in its name. */
    ck_assert_int_eq(symlink("arch/old/arch/x86/boot/bzImage", path_of("link")), 0);
    expect_found("link", "arch/old/vmlinux");
    ck_assert_int_eq(chdir(path_of("arch/old/arch/x86/boot")), 0);
    char *found = symbols_find("bzImage");
    ck_assert_ptr_nonnull(found);
    free(found);
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(a_distribution)
{
    static const char stub[] = "ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n";

    write_file("vmlinuz-0.0-none", "MZ", 2);
    write_file("System.map-0.0-none", stub, sizeof(stub) - 1);
    expect_found("vmlinuz-0.0-none", NULL);
    write_map("System.map-0.0-none");
    expect_found("vmlinuz-0.0-none", "System.map-0.0-none");
    write_elf("vmlinux-0.0-none", ET_EXEC, true);
    expect_found("vmlinuz-0.0-none", "vmlinux-0.0-none");
    write_file("vmlinuz-0.0-other", "MZ", 2);
    expect_found("vmlinuz-0.0-other", NULL);
}
END_TEST

START_TEST(beside_the_image)
{
    write_file("bzImage", "MZ", 2);
    write_elf("vmlinux.symbols", ET_EXEC, true);
    expect_found("bzImage", "vmlinux.symbols");
    write_map("System.map");
    expect_found("bzImage", "System.map");
    write_elf("vmlinux", ET_EXEC, true);
    expect_found("bzImage", "vmlinux");
    /* A kernel that has its own. */
    write_elf("kernel", ET_EXEC, true);
    expect_found("kernel", "kernel");
    expect_found("no-such-kernel", "vmlinux");
    ck_assert_ptr_null(symbols_find("/no/such/folder/bzImage"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("symbols");
    TCase *tcase = tcase_create("symbols");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_system_map);
    tcase_add_test(tcase, other_maps);
    tcase_add_test(tcase, a_short_buffer_is_enough);
    tcase_add_test(tcase, maps_that_are_none);
    tcase_add_test(tcase, a_map_that_is_too_large);
    tcase_add_test(tcase, a_vmlinux);
    tcase_add_test(tcase, elf_files_without_symbols);
    tcase_add_test(tcase, a_real_program);
    tcase_add_test(tcase, damaged_elf_files);
    tcase_add_test(tcase, a_kernel_tree);
    tcase_add_test(tcase, a_distribution);
    tcase_add_test(tcase, beside_the_image);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
