#include "vmm/gdb/gdb_registers.h"

#include "unit_test.h"

#include <stdio.h>
#include <string.h>

/* Places in XSAVE's area, as Intel's manual has them. */
enum { FCW = 0, FSW = 2, FTW = 4, FOP = 6, FIP = 8, FDP = 16, MXCSR = 24, ST0 = 32, XMM0 = 160, XSTATE_BV = 512 };

static struct gdb_registers registers;

static void setup(void)
{
    memset(&registers, 0, sizeof(registers));
    registers.vectors.has_avx = true;
}

/* The number that the description gives a register; it fails the test where there is none. */
static unsigned number_of(const char *name)
{
    char wanted[64];
    unsigned number;
    char *xml = gdb_registers_describe(true);

    ck_assert_ptr_nonnull(xml);
    (void)snprintf(wanted, sizeof(wanted), "<reg name=\"%s\" ", name);
    const char *found = strstr(xml, wanted);
    ck_assert_msg(found != NULL, "no register %s", name);
    found = strstr(found, "regnum=\"");
    ck_assert_int_eq(sscanf(found, "regnum=\"%u\"", &number), 1);
    free(xml);
    return number;
}

static uint64_t get(const char *name)
{
    const unsigned number = number_of(name);
    uint8_t bytes[GDB_REGISTER_MAX];
    uint64_t value = 0;

    gdb_register_get(&registers, number, bytes);
    memcpy(&value, bytes, gdb_register_size(number) < 8 ? gdb_register_size(number) : 8);
    return value;
}

static void set(const char *name, uint64_t value)
{
    uint8_t bytes[GDB_REGISTER_MAX] = {0};

    memcpy(bytes, &value, sizeof(value));
    gdb_register_set(&registers, number_of(name), bytes);
}

static void put16(size_t offset, uint16_t value)
{
    memcpy(registers.vectors.xsave + offset, &value, sizeof(value));
}

START_TEST(numbers_are_gdbs)
{
    ck_assert_uint_eq(number_of("rax"), 0);
    ck_assert_uint_eq(number_of("rbp"), GDB_REGISTER_RBP);
    ck_assert_uint_eq(number_of("rsp"), GDB_REGISTER_RSP);
    ck_assert_uint_eq(number_of("rip"), GDB_REGISTER_RIP);
    ck_assert_uint_eq(number_of("eflags"), GDB_REGISTER_RFLAGS);
    ck_assert_uint_eq(number_of("gs"), 23);
    ck_assert_uint_eq(number_of("st0"), 24);
    ck_assert_uint_eq(number_of("fop"), 39);
    ck_assert_uint_eq(number_of("mxcsr"), 56);
    ck_assert_uint_eq(number_of("ymm15h"), gdb_register_count(true) - 1);
}
END_TEST

/* Attributes "regnum" count up from 0, and "bitsize" adds up to the `g` packet. */
static void check_description(bool has_avx)
{
    char *xml = gdb_registers_describe(has_avx);
    unsigned count = 0, bits = 0;

    ck_assert_ptr_nonnull(xml);
    for (const char *at = xml; (at = strstr(at, "<reg ")) != NULL; at++, count++) {
        unsigned size, number;
        ck_assert_int_eq(sscanf(strstr(at, "bitsize"), "bitsize=\"%u\"", &size), 1);
        ck_assert_int_eq(sscanf(strstr(at, "regnum"), "regnum=\"%u\"", &number), 1);
        ck_assert_uint_eq(number, count);
        ck_assert_uint_eq(size, 8 * gdb_register_size(number));
        ck_assert_uint_le(size, 8 * GDB_REGISTER_MAX);
        bits += size;
    }
    ck_assert_uint_eq(count, gdb_register_count(has_avx));
    ck_assert_uint_eq(bits, 8 * gdb_registers_size(has_avx));
    ck_assert_uint_le(gdb_registers_size(has_avx), GDB_REGISTERS_MAX);
    ck_assert_int_eq(strstr(xml, "org.gnu.gdb.i386.avx") != NULL, has_avx);
    ck_assert_ptr_nonnull(strstr(xml, "org.gnu.gdb.i386.core"));
    ck_assert_ptr_nonnull(strstr(xml, "org.gnu.gdb.i386.sse"));
    ck_assert_ptr_nonnull(strstr(xml, "org.gnu.gdb.i386.segments"));
    free(xml);
}

START_TEST(description_and_packet_agree)
{
    check_description(false);
    check_description(true);
}
END_TEST

/* What is set in one register is read from it, and from no other. */
START_TEST(each_register_is_its_own)
{
    const unsigned count = gdb_register_count(true), tags = number_of("ftag");
    uint8_t ones[GDB_REGISTER_MAX], bytes[GDB_REGISTER_MAX];

    memset(ones, 0xff, sizeof(ones));
    for (unsigned i = 0; i < count; i++) {
        setup();
        gdb_register_set(&registers, i, ones);
        for (unsigned j = 0; j < count; j++) {
            bool is_zero = true;
            gdb_register_get(&registers, j, bytes);
            for (size_t k = 0; k < gdb_register_size(j); k++)
                is_zero &= bytes[k] == 0;
            /* Tags are what the registers, TOP and the tag word say together. */
            if (j != tags && i != tags)
                ck_assert_msg(is_zero == (i != j), "register %u, set register %u", j, i);
        }
    }
}
END_TEST

START_TEST(all_at_once_come_back)
{
    uint8_t bytes[GDB_REGISTERS_MAX], again[GDB_REGISTERS_MAX];
    const size_t size = gdb_registers_size(true);

    for (size_t i = 0; i < sizeof(registers.vectors.xsave); i++)
        registers.vectors.xsave[i] = (uint8_t)(i * 7);
    gdb_vectors_prepare(&registers.vectors);
    for (unsigned i = 0; i < DEBUG_GENERAL_COUNT; i++)
        registers.core.general[i] = 0x0123456789abcdef * (i + 1);
    registers.core.selectors[DEBUG_GS] = 0x2b;
    registers.core.efer = 0xd01;
    gdb_registers_get(&registers, bytes);
    const struct gdb_registers before = registers;
    memset(&registers.core, 0, sizeof(registers.core));
    gdb_registers_set(&registers, bytes);
    ck_assert_mem_eq(&registers.core, &before.core, sizeof(before.core));
    ck_assert_mem_eq(&registers.vectors, &before.vectors, sizeof(before.vectors));
    gdb_registers_get(&registers, again);
    ck_assert_mem_eq(bytes, again, size);
}
END_TEST

START_TEST(upper_half_of_rflags_stays)
{
    registers.core.rflags = 0xabcd000000000002;
    ck_assert_uint_eq(get("eflags"), 2);
    set("eflags", 0x246);
    ck_assert_uint_eq(registers.core.rflags, 0xabcd000000000246);
}
END_TEST

START_TEST(selectors_have_16_bits)
{
    set("cs", 0xffff0010);
    ck_assert_uint_eq(registers.core.selectors[DEBUG_CS], 0x10);
    ck_assert_uint_eq(registers.core.selectors[DEBUG_SS], 0);
    ck_assert_uint_eq(get("cs"), 0x10);
}
END_TEST

static void put_st(unsigned index, uint16_t exponent, uint64_t mantissa)
{
    memcpy(registers.vectors.xsave + ST0 + 16 * index, &mantissa, 8);
    memcpy(registers.vectors.xsave + ST0 + 16 * index + 8, &exponent, 2);
}

/* TOP is 6: ST(0) is R6, ST(1) R7, ST(2) R0, ST(3) R1. */
START_TEST(tags_are_worked_out_of_the_registers)
{
    put16(FSW, 6 << 11);
    put_st(0, 0x3fff, UINT64_C(1) << 63); /* 1.0: valid */
    put_st(1, 0, 0);                      /* zero */
    put_st(2, 0x7fff, UINT64_C(1) << 63); /* infinity: special */
    put_st(3, 0, 1);                      /* denormal: special */
    put_st(4, 0x3fff, 1);                 /* unnormal: special */
    put_st(5, 0xbfff, UINT64_C(1) << 63); /* -1.0: valid, but empty */
    registers.vectors.xsave[FTW] = 0xc7;
    ck_assert_uint_eq(get("ftag"), 1u << 14 | 0u << 12 | 3u << 10 | 3u << 8 | 3u << 6 | 2u << 4 | 2u << 2 | 2u << 0);
    set("ftag", 0xffff);
    ck_assert_uint_eq(registers.vectors.xsave[FTW], 0);
    ck_assert_uint_eq(get("ftag"), 0xffff);
    set("ftag", 0x3ffe);
    ck_assert_uint_eq(registers.vectors.xsave[FTW], 0x81);
}
END_TEST

START_TEST(x87_control_is_where_fxsave_has_it)
{
    set("fctrl", 0xffff037f);
    set("fstat", 0x3800);
    set("fop", 0x7ff);
    set("fioff", 0x11223344);
    set("fiseg", 0x55667788);
    set("fooff", 0x99aabbcc);
    set("foseg", 0xddeeff00);
    set("mxcsr", 0x1fa0);
    static const uint8_t expected[28] = {0x7f, 3,    0,    0x38, 0,    0,    0xff, 7,    0x44, 0x33,
                                         0x22, 0x11, 0x88, 0x77, 0x66, 0x55, 0xcc, 0xbb, 0xaa, 0x99,
                                         0,    0xff, 0xee, 0xdd, 0xa0, 0x1f, 0,    0};
    ck_assert_mem_eq(registers.vectors.xsave, expected, sizeof(expected));
    ck_assert_uint_eq(get("fctrl"), 0x37f);
    ck_assert_uint_eq(get("fiseg"), 0x55667788);
}
END_TEST

START_TEST(components_in_their_initial_state_get_its_bytes)
{
    memset(registers.vectors.xsave, 0xee, XSTATE_BV);
    memset(registers.vectors.xsave + DEBUG_VECTORS_YMM_HIGH, 0xee, 256);
    gdb_vectors_prepare(&registers.vectors);
    ck_assert_uint_eq(get("fctrl"), 0x37f);
    ck_assert_uint_eq(get("fstat"), 0);
    ck_assert_uint_eq(get("ftag"), 0xffff);
    ck_assert_uint_eq(get("mxcsr"), 0x1f80);
    ck_assert_uint_eq(get("st7"), 0);
    ck_assert_uint_eq(get("xmm15"), 0);
    ck_assert_uint_eq(get("ymm15h"), 0);
    ck_assert_uint_eq(registers.vectors.xsave[XSTATE_BV], 7);
    /* The mask of MXCSR's bits is nobody's state. */
    ck_assert_uint_eq(registers.vectors.xsave[28], 0xee);
}
END_TEST

START_TEST(components_that_are_there_stay)
{
    memset(registers.vectors.xsave, 0x11, XSTATE_BV);
    memset(registers.vectors.xsave + DEBUG_VECTORS_YMM_HIGH, 0x11, 256);
    registers.vectors.xsave[XSTATE_BV] = 7;
    const struct debug_vectors before = registers.vectors;
    gdb_vectors_prepare(&registers.vectors);
    ck_assert_mem_eq(&registers.vectors, &before, sizeof(before));
    /* Without AVX its component is not made; MXCSR is also AVX's. */
    registers.vectors.has_avx = false;
    registers.vectors.xsave[XSTATE_BV] = 0;
    gdb_vectors_prepare(&registers.vectors);
    ck_assert_uint_eq(registers.vectors.xsave[XSTATE_BV], 3);
    ck_assert_uint_eq(registers.vectors.xsave[DEBUG_VECTORS_YMM_HIGH], 0x11);
}
END_TEST

START_TEST(mxcsr_stays_with_avx_alone)
{
    registers.vectors.xsave[XSTATE_BV] = 4;
    registers.vectors.xsave[MXCSR] = 0x55;
    memset(registers.vectors.xsave + XMM0, 0xee, 16);
    gdb_vectors_prepare(&registers.vectors);
    ck_assert_uint_eq(get("mxcsr"), 0x55);
    ck_assert_uint_eq(get("xmm0"), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gdb_registers");
    TCase *tcase = tcase_create("gdb_registers");

    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, numbers_are_gdbs);
    tcase_add_test(tcase, description_and_packet_agree);
    tcase_add_test(tcase, each_register_is_its_own);
    tcase_add_test(tcase, all_at_once_come_back);
    tcase_add_test(tcase, upper_half_of_rflags_stays);
    tcase_add_test(tcase, selectors_have_16_bits);
    tcase_add_test(tcase, tags_are_worked_out_of_the_registers);
    tcase_add_test(tcase, x87_control_is_where_fxsave_has_it);
    tcase_add_test(tcase, components_in_their_initial_state_get_its_bytes);
    tcase_add_test(tcase, components_that_are_there_stay);
    tcase_add_test(tcase, mxcsr_stays_with_avx_alone);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
