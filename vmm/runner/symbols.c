#include "vmm/runner/symbols.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <libelf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    /* Of the last function, if nothing says where it ends. */
    LAST_SIZE = 4096,
    ADDRESS_DIGITS = 16,
};
/* A System.map, and an ELF file's tables; today's are a tenth of it. */
#define FILE_MAX ((size_t)256 << 20)

struct symbol {
    uint64_t address;
    /* Not inclusive. Where the next symbol is, if has_size is not set, and here at the latest. */
    uint64_t end;
    const char *name;
    /* In the file: of two equals the first counts. */
    uint32_t order;
    bool has_size;
    bool is_text;
    bool is_weak;
};

struct symbols {
    /* Sorted by address; functions only, and one for each address, when it is open. */
    struct symbol *list;
    size_t count;
    size_t room;
    /* What names point into. */
    char *names;
};

static int out_of_memory(struct error *error)
{
    return error_set(error, ERROR_HOST, "out of memory");
}

static int add(struct symbols *symbols, const struct symbol *symbol, struct error *error)
{
    if (symbols->count == symbols->room) {
        const size_t room = symbols->room == 0 ? 1024 : symbols->room * 2;
        struct symbol *list = reallocarray(symbols->list, room, sizeof(*list));
        if (list == NULL)
            return out_of_memory(error);
        symbols->list = list;
        symbols->room = room;
    }
    symbols->list[symbols->count] = *symbol;
    symbols->list[symbols->count].order = (uint32_t)symbols->count;
    symbols->count++;
    return 0;
}

/* ---- System.map ---- */

/* Takes "ffffffff81000000 T _text", maybe with "[module]" behind it. The name ends with the line, which is changed. */
static bool parse_line(char *line, struct symbol *symbol)
{
    const size_t digits = strspn(line, "0123456789abcdefABCDEF");

    if (digits == 0 || digits > ADDRESS_DIGITS || line[digits] != ' ' || line[digits + 1] == '\0' ||
        line[digits + 2] != ' ')
        return false;
    char *name = line + digits + 3;
    name[strcspn(name, " \t\r")] = '\0';
    const char type = line[digits + 1];
    *symbol = (struct symbol){
        .address = strtoull(line, NULL, 16),
        .end = UINT64_MAX,
        .name = name,
        .is_text = strchr("TtWw", type) != NULL,
        .is_weak = type == 'W' || type == 'w',
    };
    return *name != '\0';
}

/* Nothing, or what nm writes of a symbol that is not there: "                 w name". */
static bool is_blank(const char *line)
{
    return line[0] == '\0' || line[0] == ' ';
}

static int read_map(struct symbols *symbols, const char *path, struct error *error)
{
    size_t number = 1;
    char *next;

    for (char *line = symbols->names; *line != '\0'; line = next, number++) {
        struct symbol symbol;
        next = line + strcspn(line, "\n");
        if (*next == '\n')
            *next++ = '\0';
        if (is_blank(line))
            continue;
        if (!parse_line(line, &symbol))
            return error_set(error, ERROR_CONFIG,
                             "%s:%zu: is neither ELF nor a line of a System.map; give the kernel's vmlinux, or its "
                             "System.map",
                             path, number);
        if (add(symbols, &symbol, error) < 0)
            return -1;
    }
    return 0;
}

/* The whole file, with a NUL behind it, into names. */
static int read_whole(struct symbols *symbols, const char *path, int fd, size_t size, struct error *error)
{
    size_t done = 0;
    ssize_t got = 1;

    if (size > FILE_MAX)
        return error_set(error, ERROR_CONFIG, "%s: is not ELF, and too large for a System.map", path);
    symbols->names = malloc(size + 1);
    if (symbols->names == NULL)
        return out_of_memory(error);
    while (done < size && got > 0) {
        got = pread(fd, symbols->names + done, size - done, (off_t)done);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got < 0)
            return error_set(error, ERROR_CONFIG, "%s: cannot be read: %s", path, strerror(errno));
        else
            done += (size_t)got;
    }
    symbols->names[done] = '\0';
    return 0;
}

/* ---- ELF ---- */

struct elf_file {
    const char *path;
    Elf *elf;
    /* The symbol table. */
    GElf_Shdr header;
    Elf_Data *table;
    size_t names_size;
};

static int fail_elf(const struct elf_file *file, struct error *error)
{
    return error_set(error, ERROR_CONFIG, "%s: the ELF file is damaged: %s", file->path, elf_errmsg(-1));
}

/* The section with the symbol table; NULL: there is none. */
static Elf_Scn *find_table(Elf *elf, GElf_Shdr *ret_header)
{
    Elf_Scn *section = NULL;

    while ((section = elf_nextscn(elf, section)) != NULL)
        if (gelf_getshdr(section, ret_header) != NULL && ret_header->sh_type == SHT_SYMTAB)
            return section;
    return NULL;
}

/* A section's content; libelf sees to it that the file has it. */
static Elf_Data *read_section(Elf_Scn *section)
{
    GElf_Shdr header;

    if (section == NULL || gelf_getshdr(section, &header) == NULL || header.sh_size > FILE_MAX)
        return NULL;
    Elf_Data *data = elf_getdata(section, NULL);
    return data != NULL && data->d_buf != NULL ? data : NULL;
}

/* The table, and a copy of its names. */
static int read_tables(struct symbols *symbols, struct elf_file *file, struct error *error)
{
    GElf_Ehdr header;

    if (gelf_getehdr(file->elf, &header) == NULL)
        return fail_elf(file, error);
    if (header.e_type == ET_REL)
        return error_set(error, ERROR_CONFIG,
                         "%s: is an object file, such as a module, and has no addresses; give the kernel's vmlinux",
                         file->path);
    Elf_Scn *section = find_table(file->elf, &file->header);
    if (section == NULL)
        return error_set(error, ERROR_CONFIG,
                         "%s: has no symbol table; give a vmlinux that is not stripped, or a System.map", file->path);
    file->table = read_section(section);
    const Elf_Data *names = read_section(elf_getscn(file->elf, file->header.sh_link));
    if (file->table == NULL || names == NULL)
        return fail_elf(file, error);
    symbols->names = malloc(names->d_size + 1);
    if (symbols->names == NULL)
        return out_of_memory(error);
    memcpy(symbols->names, names->d_buf, names->d_size);
    symbols->names[names->d_size] = '\0';
    file->names_size = names->d_size;
    return 0;
}

/* A symbol in a section of code: a function, or a label of assembly. Others do not matter. */
static bool take_symbol(const struct symbols *symbols, const struct elf_file *file, const GElf_Sym *from,
                        struct symbol *symbol)
{
    const unsigned type = GELF_ST_TYPE(from->st_info);
    GElf_Shdr section;

    if ((type != STT_FUNC && type != STT_NOTYPE) || from->st_shndx == SHN_UNDEF || from->st_shndx >= SHN_LORESERVE ||
        from->st_name >= file->names_size || symbols->names[from->st_name] == '\0')
        return false;
    if (gelf_getshdr(elf_getscn(file->elf, from->st_shndx), &section) == NULL ||
        (section.sh_flags & SHF_EXECINSTR) == 0)
        return false;
    const bool has_size = from->st_size > 0 && from->st_size <= UINT64_MAX - from->st_value;
    const uint64_t section_end =
        section.sh_size <= UINT64_MAX - section.sh_addr ? section.sh_addr + section.sh_size : UINT64_MAX;
    *symbol = (struct symbol){
        .address = from->st_value,
        .end = has_size ? from->st_value + from->st_size : section_end,
        .name = symbols->names + from->st_name,
        .has_size = has_size,
        .is_text = true,
        .is_weak = GELF_ST_BIND(from->st_info) == STB_WEAK,
    };
    return true;
}

static int read_symbols(struct symbols *symbols, struct elf_file *file, struct error *error)
{
    const size_t entry = gelf_fsize(file->elf, ELF_T_SYM, 1, EV_CURRENT);
    const size_t count = entry > 0 ? (size_t)file->header.sh_size / entry : 0;

    for (size_t i = 0; i < count && i <= INT32_MAX; i++) {
        struct symbol symbol;
        GElf_Sym from;
        if (gelf_getsym(file->table, (int)i, &from) == NULL)
            return fail_elf(file, error);
        if (take_symbol(symbols, file, &from, &symbol) && add(symbols, &symbol, error) < 0)
            return -1;
    }
    return 0;
}

static int read_elf(struct symbols *symbols, const char *path, Elf *elf, struct error *error)
{
    struct elf_file file = {.path = path, .elf = elf};

    return read_tables(symbols, &file, error) < 0 ? -1 : read_symbols(symbols, &file, error);
}

/* ---- In order ---- */

/* By address; of those at one address the one that is to be named comes first. */
static int compare(const void *a, const void *b)
{
    const struct symbol *left = a, *right = b;

    if (left->address != right->address)
        return left->address < right->address ? -1 : 1;
    if (left->is_text != right->is_text)
        return left->is_text ? -1 : 1;
    if (left->has_size != right->has_size)
        return left->has_size ? -1 : 1;
    if (left->is_weak != right->is_weak)
        return left->is_weak ? 1 : -1;
    const size_t left_score = strspn(left->name, "_"), right_score = strspn(right->name, "_");
    if (left_score != right_score)
        return left_score < right_score ? -1 : 1;
    return left->order < right->order ? -1 : left->order > right->order;
}

/* Where a symbol without a size ends. next is the first at another address; NULL: there is none. */
static uint64_t end_of(const struct symbol *symbol, const struct symbol *next)
{
    uint64_t end = symbol->end;

    if (symbol->has_size)
        return end;
    if (next != NULL && next->address < end)
        end = next->address;
    return end == UINT64_MAX && symbol->address < UINT64_MAX - LAST_SIZE ? symbol->address + LAST_SIZE : end;
}

/* Sorts, settles sizes, and keeps a function for each address. */
static void settle(struct symbols *symbols)
{
    size_t kept = 0;
    size_t next;

    if (symbols->count > 0)
        qsort(symbols->list, symbols->count, sizeof(symbols->list[0]), compare);
    for (size_t i = 0; i < symbols->count; i = next) {
        struct symbol symbol = symbols->list[i];
        for (next = i; next < symbols->count && symbols->list[next].address == symbol.address;)
            next++;
        symbol.end = end_of(&symbol, next < symbols->count ? &symbols->list[next] : NULL);
        if (symbol.is_text && symbol.end > symbol.address)
            symbols->list[kept++] = symbol;
    }
    symbols->count = kept;
}

/* ---- Files ---- */

static int open_file(const char *path, size_t *ret_size, struct error *error)
{
    struct stat status;
    /* A FIFO would have us wait. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &status) < 0) {
        error_set(error, ERROR_CONFIG, "%s: cannot be opened: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    if (!S_ISREG(status.st_mode)) {
        close(fd);
        return error_set(error, ERROR_CONFIG, "%s: is not a file; give a vmlinux or a System.map", path);
    }
    *ret_size = (size_t)status.st_size;
    return fd;
}

/* Read, not mapped: a file that shrinks meanwhile would end us. */
static Elf *open_elf(int fd)
{
    (void)elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    if (elf != NULL && elf_kind(elf) == ELF_K_ELF)
        return elf;
    elf_end(elf);
    return NULL;
}

static int read_file(struct symbols *symbols, const char *path, struct error *error)
{
    size_t size;
    int result;
    int fd = open_file(path, &size, error);

    if (fd < 0)
        return -1;
    Elf *elf = open_elf(fd);
    if (elf != NULL)
        result = read_elf(symbols, path, elf, error);
    else if (read_whole(symbols, path, fd, size, error) < 0)
        result = -1;
    else
        result = read_map(symbols, path, error);
    elf_end(elf);
    close(fd);
    if (result < 0)
        return -1;
    settle(symbols);
    if (symbols->count == 0)
        return error_set(error, ERROR_CONFIG,
                         "%s: names no functions; give a vmlinux that is not stripped, or a System.map", path);
    return 0;
}

struct symbols *symbols_open(const char *path, struct error *error)
{
    struct symbols *symbols = calloc(1, sizeof(*symbols));

    if (symbols == NULL) {
        out_of_memory(error);
        return NULL;
    }
    if (read_file(symbols, path, error) == 0)
        return symbols;
    symbols_free(symbols);
    return NULL;
}

void symbols_free(struct symbols *symbols)
{
    if (symbols == NULL)
        return;
    free(symbols->list);
    free(symbols->names);
    free(symbols);
}

bool symbols_describe(const struct symbols *symbols, uint64_t address, char *text, size_t size)
{
    size_t low = 0, high = symbols->count;

    /* The number of functions that begin at the address or below. */
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (symbols->list[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || address >= symbols->list[low - 1].end)
        return false;
    const struct symbol *symbol = &symbols->list[low - 1];
    (void)snprintf(text, size, "%s+0x%" PRIx64 "/0x%" PRIx64, symbol->name, address - symbol->address,
                   symbol->end - symbol->address);
    return true;
}

/* ---- Finding them ---- */

/* Whether a file that is no ELF starts as a System.map does, and goes on to a function. Debian has some that do not. */
static bool map_has_function(const char *path)
{
    FILE *file = fopen(path, "re");
    char line[1024];
    bool found = false;
    struct symbol symbol;

    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (is_blank(line))
            continue;
        if (!parse_line(line, &symbol))
            break;
        found = symbol.is_text;
    }
    if (file != NULL)
        (void)fclose(file);
    return found;
}

static bool has_symbols(const char *path)
{
    struct error error;
    GElf_Shdr header;
    size_t size;
    int fd = open_file(path, &size, &error);

    if (fd < 0)
        return false;
    Elf *elf = open_elf(fd);
    const bool found = elf != NULL ? find_table(elf, &header) != NULL : size <= FILE_MAX && map_has_function(path);
    elf_end(elf);
    close(fd);
    return found;
}

/* If the file is one, its path is *found. */
__attribute__((format(printf, 2, 3))) static bool try_file(char **found, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    const int length = vasprintf(found, format, arguments);
    va_end(arguments);
    if (length < 0) {
        *found = NULL;
        return false;
    }
    if (has_symbols(*found))
        return true;
    free(*found);
    *found = NULL;
    return false;
}

/* .../arch/x86/boot: where a kernel tree has its image. */
static bool is_in_tree(const char *folder)
{
    const char *arch = strstr(folder, "/arch/");
    const char *last = arch;

    while (arch != NULL && (arch = strstr(arch + 1, "/arch/")) != NULL)
        last = arch;
    return last != NULL && strcmp(last + strlen("/arch/") + strcspn(last + strlen("/arch/"), "/"), "/boot") == 0;
}

static char *find_beside(const char *folder, const char *name)
{
    static const char *const beside[] = {"vmlinux", "System.map", "vmlinux.symbols"};
    const char *version = strncmp(name, "vmlinuz-", 8) == 0 ? name + 8 : NULL;
    char *found = NULL;

    if (is_in_tree(folder) &&
        (try_file(&found, "%s/../../../vmlinux", folder) || try_file(&found, "%s/../../../System.map", folder)))
        return found;
    if (version != NULL &&
        (try_file(&found, "/usr/lib/debug/boot/vmlinux-%s", version) ||
         try_file(&found, "/usr/lib/debug/lib/modules/%s/vmlinux", version) ||
         try_file(&found, "%s/vmlinux-%s", folder, version) || try_file(&found, "%s/System.map-%s", folder, version)))
        return found;
    for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++)
        if (try_file(&found, "%s/%s", folder, beside[i]))
            return found;
    return NULL;
}

static char *find_by_path(const char *kernel)
{
    const char *slash = strrchr(kernel, '/');
    char *folder = slash == NULL ? strdup(".") : strndup(kernel, slash == kernel ? 1 : (size_t)(slash - kernel));
    char *found = folder != NULL ? find_beside(folder, slash == NULL ? kernel : slash + 1) : NULL;

    free(folder);
    return found;
}

char *symbols_find(const char *kernel)
{
    char *found = NULL;

    /* Its own symbols fit for sure; but an image of another kind is no System.map either. */
    if (try_file(&found, "%s", kernel))
        return found;
    /* A link may stand beside them, or what it leads to. */
    found = find_by_path(kernel);
    char *real = found == NULL ? realpath(kernel, NULL) : NULL;
    if (real != NULL)
        found = find_by_path(real);
    free(real);
    return found;
}
