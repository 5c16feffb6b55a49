#include "vmm/gdb/gdb_registers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- XSAVE's area (Intel SDM volume 1, 13.4), whose first part is FXSAVE's (10.5.1) ---- */

enum {
    XSAVE_FCW = 0,
    XSAVE_FSW = 2,
    XSAVE_FTW = 4,
    XSAVE_FOP = 6,
    XSAVE_FIP = 8,
    XSAVE_FDP = 16,
    XSAVE_MXCSR = 24,
    XSAVE_ST = 32,
    XSAVE_XMM = 160,
    XSAVE_XMM_END = 416,
    XSAVE_XSTATE_BV = 512,
    XSAVE_YMM_END = DEBUG_VECTORS_YMM_HIGH + 256,
};

/* Bits of XSTATE_BV. */
enum { COMPONENT_X87 = 1 << 0, COMPONENT_SSE = 1 << 1, COMPONENT_AVX = 1 << 2 };

enum { FCW_INITIAL = 0x37f, MXCSR_INITIAL = 0x1f80 };

void gdb_vectors_prepare(struct debug_vectors *vectors)
{
    const uint16_t fcw = FCW_INITIAL;
    const uint32_t mxcsr = MXCSR_INITIAL;
    uint8_t *area = vectors->xsave;
    uint64_t present;

    memcpy(&present, area + XSAVE_XSTATE_BV, sizeof(present));
    if ((present & COMPONENT_X87) == 0) {
        memset(area, 0, XSAVE_MXCSR);
        memset(area + XSAVE_ST, 0, XSAVE_XMM - XSAVE_ST);
        memcpy(area + XSAVE_FCW, &fcw, sizeof(fcw));
    }
    /* MXCSR belongs to both. */
    if ((present & (COMPONENT_SSE | COMPONENT_AVX)) == 0)
        memcpy(area + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
    if ((present & COMPONENT_SSE) == 0)
        memset(area + XSAVE_XMM, 0, XSAVE_XMM_END - XSAVE_XMM);
    present |= COMPONENT_X87 | COMPONENT_SSE;
    if (vectors->has_avx && (present & COMPONENT_AVX) == 0) {
        memset(area + DEBUG_VECTORS_YMM_HIGH, 0, XSAVE_YMM_END - DEBUG_VECTORS_YMM_HIGH);
        present |= COMPONENT_AVX;
    }
    memcpy(area + XSAVE_XSTATE_BV, &present, sizeof(present));
}

/* ---- x87 tags: XSAVE's are a bit for each register that is not empty, the processor's have two ---- */

enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

/* What a value's tag is (Intel SDM volume 1, 8.1.7). */
static unsigned tag_of(const uint8_t *value)
{
    uint64_t mantissa;
    uint16_t exponent;

    memcpy(&mantissa, value, sizeof(mantissa));
    memcpy(&exponent, value + sizeof(mantissa), sizeof(exponent));
    exponent &= 0x7fff;
    if (exponent == 0)
        return mantissa == 0 ? TAG_ZERO : TAG_SPECIAL;
    return exponent == 0x7fff || mantissa >> 63 == 0 ? TAG_SPECIAL : TAG_VALID;
}

/* Tags are of the registers R0 to R7; the area has ST(0) first, which is R[TOP]. */
static uint32_t get_tags(const uint8_t *area)
{
    const unsigned top = (area[XSAVE_FSW + 1] >> 3) & 7;
    uint32_t tags = 0;

    for (unsigned i = 0; i < 8; i++) {
        const unsigned tag =
            (area[XSAVE_FTW] >> i & 1) != 0 ? tag_of(area + XSAVE_ST + 16 * ((i - top) & 7)) : TAG_EMPTY;
        tags |= tag << (2 * i);
    }
    return tags;
}

static void set_tags(uint8_t *area, uint32_t tags)
{
    uint8_t used = 0;

    for (unsigned i = 0; i < 8; i++)
        if ((tags >> (2 * i) & 3) != TAG_EMPTY)
            used |= (uint8_t)(1u << i);
    area[XSAVE_FTW] = used;
}

/* ---- The table ---- */

enum place { PLACE_CORE, PLACE_XSAVE, PLACE_TAGS };

enum feature { FEATURE_CORE, FEATURE_SSE, FEATURE_SEGMENTS, FEATURE_SYSTEM, FEATURE_AVX };

struct gdb_register {
    const char *name;
    const char *type;
    /* Or NULL: as gdb thinks. */
    const char *attributes;
    uint8_t feature;
    /* As gdb sees it. */
    uint8_t size;
    /* Where it is, and how many bytes are kept there: the upper ones are zero. */
    uint8_t place;
    uint8_t kept;
    uint16_t offset;
};

#define CORE_FIELD(register_name, register_type, register_feature, register_size, field, more)                         \
    {                                                                                                                  \
        .name = register_name, .type = register_type, .attributes = more, .feature = register_feature,                 \
        .size = register_size, .place = PLACE_CORE, .kept = sizeof(((struct debug_registers *)0)->field),              \
        .offset = offsetof(struct debug_registers, field)                                                              \
    }
#define GENERAL(name, type, index) CORE_FIELD(name, type, FEATURE_CORE, 8, general[index], NULL)
#define SELECTOR(name, index) CORE_FIELD(name, "int32", FEATURE_CORE, 4, selectors[index], NULL)
/* A function that gdb calls in the guest leaves these as they are. */
#define SYSTEM(name, type, field) CORE_FIELD(name, type, FEATURE_SYSTEM, 8, field, " save-restore=\"no\"")
#define XSAVE_FIELD(register_name, register_type, register_feature, register_size, width, at, more)                    \
    {                                                                                                                  \
        .name = register_name, .type = register_type, .attributes = more, .feature = register_feature,                 \
        .size = register_size, .place = PLACE_XSAVE, .kept = width, .offset = at                                       \
    }
#define ST(index) XSAVE_FIELD("st" #index, "i387_ext", FEATURE_CORE, 10, 10, XSAVE_ST + 16 * index, NULL)
#define X87(name, width, at) XSAVE_FIELD(name, "int", FEATURE_CORE, 4, width, at, " group=\"float\"")
#define XMM(index) XSAVE_FIELD("xmm" #index, "vec128", FEATURE_SSE, 16, 16, XSAVE_XMM + 16 * index, NULL)
#define YMM(index)                                                                                                     \
    XSAVE_FIELD("ymm" #index "h", "uint128", FEATURE_AVX, 16, 16, DEBUG_VECTORS_YMM_HIGH + 16 * index, NULL)

/* In gdb's order: its features/i386/64bit-*.xml. */
static const struct gdb_register registers_of_gdb[] = {
    GENERAL("rax", "int64", DEBUG_RAX),
    GENERAL("rbx", "int64", DEBUG_RBX),
    GENERAL("rcx", "int64", DEBUG_RCX),
    GENERAL("rdx", "int64", DEBUG_RDX),
    GENERAL("rsi", "int64", DEBUG_RSI),
    GENERAL("rdi", "int64", DEBUG_RDI),
    GENERAL("rbp", "data_ptr", DEBUG_RBP),
    GENERAL("rsp", "data_ptr", DEBUG_RSP),
    GENERAL("r8", "int64", DEBUG_R8),
    GENERAL("r9", "int64", DEBUG_R9),
    GENERAL("r10", "int64", DEBUG_R10),
    GENERAL("r11", "int64", DEBUG_R11),
    GENERAL("r12", "int64", DEBUG_R12),
    GENERAL("r13", "int64", DEBUG_R13),
    GENERAL("r14", "int64", DEBUG_R14),
    GENERAL("r15", "int64", DEBUG_R15),
    CORE_FIELD("rip", "code_ptr", FEATURE_CORE, 8, rip, NULL),
    CORE_FIELD("eflags", "i386_eflags", FEATURE_CORE, 4, rflags, NULL),
    SELECTOR("cs", DEBUG_CS),
    SELECTOR("ss", DEBUG_SS),
    SELECTOR("ds", DEBUG_DS),
    SELECTOR("es", DEBUG_ES),
    SELECTOR("fs", DEBUG_FS),
    SELECTOR("gs", DEBUG_GS),
    ST(0),
    ST(1),
    ST(2),
    ST(3),
    ST(4),
    ST(5),
    ST(6),
    ST(7),
    X87("fctrl", 2, XSAVE_FCW),
    X87("fstat", 2, XSAVE_FSW),
    {.name = "ftag", .type = "int", .attributes = " group=\"float\"", .size = 4, .place = PLACE_TAGS},
    /* XSAVE's 64-bit form has 64 bits where the 32-bit one has offset and selector; gdb takes its upper half as such.
     */
    X87("fiseg", 4, XSAVE_FIP + 4),
    X87("fioff", 4, XSAVE_FIP),
    X87("foseg", 4, XSAVE_FDP + 4),
    X87("fooff", 4, XSAVE_FDP),
    X87("fop", 2, XSAVE_FOP),
    XMM(0),
    XMM(1),
    XMM(2),
    XMM(3),
    XMM(4),
    XMM(5),
    XMM(6),
    XMM(7),
    XMM(8),
    XMM(9),
    XMM(10),
    XMM(11),
    XMM(12),
    XMM(13),
    XMM(14),
    XMM(15),
    XSAVE_FIELD("mxcsr", "i386_mxcsr", FEATURE_SSE, 4, 4, XSAVE_MXCSR, " group=\"vector\""),
    CORE_FIELD("fs_base", "int64", FEATURE_SEGMENTS, 8, fs_base, NULL),
    CORE_FIELD("gs_base", "int64", FEATURE_SEGMENTS, 8, gs_base, NULL),
    SYSTEM("k_gs_base", "int64", kernel_gs_base),
    SYSTEM("cr0", "x64_cr0", cr0),
    SYSTEM("cr2", "data_ptr", cr2),
    SYSTEM("cr3", "x64_cr3", cr3),
    SYSTEM("cr4", "x64_cr4", cr4),
    SYSTEM("cr8", "x64_cr8", cr8),
    SYSTEM("efer", "x64_efer", efer),
    YMM(0),
    YMM(1),
    YMM(2),
    YMM(3),
    YMM(4),
    YMM(5),
    YMM(6),
    YMM(7),
    YMM(8),
    YMM(9),
    YMM(10),
    YMM(11),
    YMM(12),
    YMM(13),
    YMM(14),
    YMM(15),
};

enum { REGISTER_COUNT = sizeof(registers_of_gdb) / sizeof(registers_of_gdb[0]), AVX_COUNT = 16 };

unsigned gdb_register_count(bool has_avx)
{
    return has_avx ? REGISTER_COUNT : REGISTER_COUNT - AVX_COUNT;
}

size_t gdb_register_size(unsigned number)
{
    return registers_of_gdb[number].size;
}

bool gdb_register_is_vector(unsigned number)
{
    return registers_of_gdb[number].place != PLACE_CORE;
}

void gdb_register_get(const struct gdb_registers *registers, unsigned number, uint8_t *bytes)
{
    const struct gdb_register *it = &registers_of_gdb[number];
    const void *base = it->place == PLACE_CORE ? (const void *)&registers->core : registers->vectors.xsave;

    if (it->place == PLACE_TAGS) {
        const uint32_t tags = get_tags(registers->vectors.xsave);
        memcpy(bytes, &tags, sizeof(tags));
        return;
    }
    const size_t copied = it->kept < it->size ? it->kept : it->size;
    memcpy(bytes, (const uint8_t *)base + it->offset, copied);
    memset(bytes + copied, 0, it->size - copied);
}

void gdb_register_set(struct gdb_registers *registers, unsigned number, const uint8_t *bytes)
{
    const struct gdb_register *it = &registers_of_gdb[number];
    void *base = it->place == PLACE_CORE ? (void *)&registers->core : registers->vectors.xsave;

    if (it->place == PLACE_TAGS) {
        uint32_t tags;
        memcpy(&tags, bytes, sizeof(tags));
        set_tags(registers->vectors.xsave, tags);
        return;
    }
    /* What is kept of it and not seen, RFLAGS' upper half, stays. */
    memcpy((uint8_t *)base + it->offset, bytes, it->kept < it->size ? it->kept : it->size);
}

size_t gdb_registers_size(bool has_avx)
{
    const unsigned count = gdb_register_count(has_avx);
    size_t size = 0;

    for (unsigned i = 0; i < count; i++)
        size += registers_of_gdb[i].size;
    return size;
}

void gdb_registers_get(const struct gdb_registers *registers, uint8_t *bytes)
{
    const unsigned count = gdb_register_count(registers->vectors.has_avx);

    for (unsigned i = 0; i < count; i++) {
        gdb_register_get(registers, i, bytes);
        bytes += registers_of_gdb[i].size;
    }
}

void gdb_registers_set(struct gdb_registers *registers, const uint8_t *bytes)
{
    const unsigned count = gdb_register_count(registers->vectors.has_avx);

    for (unsigned i = 0; i < count; i++) {
        gdb_register_set(registers, i, bytes);
        bytes += registers_of_gdb[i].size;
    }
}

/* ---- The description (gdb manual, appendix G) ---- */

struct field {
    const char *name;
    uint8_t first;
    uint8_t last;
};

struct flags {
    const char *name;
    uint8_t feature;
    uint8_t size;
    /* Up to one without a name. */
    struct field fields[28];
};

#define BIT(name, number)                                                                                              \
    {                                                                                                                  \
        name, number, number                                                                                           \
    }

/* Intel SDM volume 1, 3.4.3 and 10.2.3; volume 3, 2.5 and 2.2.1; AMD APM volume 2, 3.1.7. */
static const struct flags all_flags[] = {
    {"i386_eflags",
     FEATURE_CORE,
     4,
     {BIT("CF", 0),
      BIT("PF", 2),
      BIT("AF", 4),
      BIT("ZF", 6),
      BIT("SF", 7),
      BIT("TF", 8),
      BIT("IF", 9),
      BIT("DF", 10),
      BIT("OF", 11),
      {"IOPL", 12, 13},
      BIT("NT", 14),
      BIT("RF", 16),
      BIT("VM", 17),
      BIT("AC", 18),
      BIT("VIF", 19),
      BIT("VIP", 20),
      BIT("ID", 21)}},
    {"i386_mxcsr",
     FEATURE_SSE,
     4,
     {BIT("IE", 0),
      BIT("DE", 1),
      BIT("ZE", 2),
      BIT("OE", 3),
      BIT("UE", 4),
      BIT("PE", 5),
      BIT("DAZ", 6),
      BIT("IM", 7),
      BIT("DM", 8),
      BIT("ZM", 9),
      BIT("OM", 10),
      BIT("UM", 11),
      BIT("PM", 12),
      {"RC", 13, 14},
      BIT("FZ", 15)}},
    {"x64_cr0",
     FEATURE_SYSTEM,
     8,
     {BIT("PE", 0), BIT("MP", 1), BIT("EM", 2), BIT("TS", 3), BIT("ET", 4), BIT("NE", 5), BIT("WP", 16), BIT("AM", 18),
      BIT("NW", 29), BIT("CD", 30), BIT("PG", 31)}},
    {"x64_cr3", FEATURE_SYSTEM, 8, {{"PCID", 0, 11}, {"PDBR", 12, 60}, BIT("LAM_U57", 61), BIT("LAM_U48", 62)}},
    {"x64_cr4", FEATURE_SYSTEM, 8, {BIT("VME", 0),    BIT("PVI", 1),      BIT("TSD", 2),         BIT("DE", 3),
                                    BIT("PSE", 4),    BIT("PAE", 5),      BIT("MCE", 6),         BIT("PGE", 7),
                                    BIT("PCE", 8),    BIT("OSFXSR", 9),   BIT("OSXMMEXCPT", 10), BIT("UMIP", 11),
                                    BIT("LA57", 12),  BIT("VMXE", 13),    BIT("SMXE", 14),       BIT("FSGSBASE", 16),
                                    BIT("PCIDE", 17), BIT("OSXSAVE", 18), BIT("SMEP", 20),       BIT("SMAP", 21),
                                    BIT("PKE", 22),   BIT("CET", 23),     BIT("PKS", 24),        BIT("LAM_SUP", 28)}},
    {"x64_cr8", FEATURE_SYSTEM, 8, {{"TPR", 0, 3}}},
    {"x64_efer",
     FEATURE_SYSTEM,
     8,
     {BIT("SCE", 0), BIT("LME", 8), BIT("LMA", 10), BIT("NXE", 11), BIT("SVME", 12), BIT("LMSLE", 13), BIT("FFXSR", 14),
      BIT("TCE", 15), BIT("AIBRSE", 21)}},
};

static const char *const feature_names[] = {
    [FEATURE_CORE] = "org.gnu.gdb.i386.core",         [FEATURE_SSE] = "org.gnu.gdb.i386.sse",
    [FEATURE_SEGMENTS] = "org.gnu.gdb.i386.segments", [FEATURE_SYSTEM] = "org.quire.i386.system",
    [FEATURE_AVX] = "org.gnu.gdb.i386.avx",
};

static const char vector_types[] = "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>\n"
                                   "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>\n"
                                   "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>\n"
                                   "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>\n"
                                   "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>\n"
                                   "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>\n"
                                   "<union id=\"vec128\">\n"
                                   "<field name=\"v4_float\" type=\"v4f\"/>\n"
                                   "<field name=\"v2_double\" type=\"v2d\"/>\n"
                                   "<field name=\"v16_int8\" type=\"v16i8\"/>\n"
                                   "<field name=\"v8_int16\" type=\"v8i16\"/>\n"
                                   "<field name=\"v4_int32\" type=\"v4i32\"/>\n"
                                   "<field name=\"v2_int64\" type=\"v2i64\"/>\n"
                                   "<field name=\"uint128\" type=\"uint128\"/>\n"
                                   "</union>\n";

static void describe_flags(FILE *file, const struct flags *flags)
{
    fprintf(file, "<flags id=\"%s\" size=\"%u\">\n", flags->name, flags->size);
    for (const struct field *field = flags->fields; field->name != NULL; field++)
        fprintf(file, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>\n", field->name, field->first, field->last);
    fputs("</flags>\n", file);
}

static void begin_feature(FILE *file, unsigned feature)
{
    fprintf(file, "<feature name=\"%s\">\n", feature_names[feature]);
    if (feature == FEATURE_SSE)
        fputs(vector_types, file);
    for (size_t i = 0; i < sizeof(all_flags) / sizeof(all_flags[0]); i++)
        if (all_flags[i].feature == feature)
            describe_flags(file, &all_flags[i]);
}

static void describe(FILE *file, unsigned count)
{
    fputs("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n"
          "<architecture>i386:x86-64</architecture>\n",
          file);
    for (unsigned i = 0; i < count; i++) {
        const struct gdb_register *it = &registers_of_gdb[i];
        if (i == 0 || it->feature != registers_of_gdb[i - 1].feature)
            begin_feature(file, it->feature);
        fprintf(file, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"%s/>\n", it->name, it->size * 8u,
                it->type, i, it->attributes == NULL ? "" : it->attributes);
        if (i + 1 == count || it->feature != registers_of_gdb[i + 1].feature)
            fputs("</feature>\n", file);
    }
    fputs("</target>\n", file);
}

char *gdb_registers_describe(bool has_avx)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    if (file == NULL)
        return NULL;
    describe(file, gdb_register_count(has_avx));
    const int failed = ferror(file);
    if (fclose(file) == 0 && !failed)
        return text;
    free(text);
    return NULL;
}
