#include "vmm/debug/linux/vmcoreinfo.h"

#include "unit_test.h"

#include <stdio.h>
#include <string.h>

static struct vmcoreinfo parse(const char *text)
{
    struct vmcoreinfo info;
    char page[VMCOREINFO_SIZE] = "";

    strncpy(page, text, sizeof(page));
    ck_assert(vmcoreinfo_parse(page, sizeof(page), &info));
    return info;
}

START_TEST(values_are_found)
{
    const struct vmcoreinfo info = parse("OSRELEASE=6.1.0\n"
                                         "SYMBOL(prb)=ffffffff82a5c0e8\n"
                                         "SYMBOL(prb)=1\n"
                                         "OFFSET(list_head.next)=0\n"
                                         "SIZE(page)=64\n"
                                         "NUMBER(phys_base)=-16777216\n"
                                         "NUMBER(pgtable_l5_enabled)=1\n"
                                         "KERNELOFFSET=1c000000\n"
                                         "EMPTY=\n"
                                         "CRASHTIME=1");
    char text[8];
    uint64_t value;

    ck_assert(vmcoreinfo_text(&info, "OSRELEASE", text, sizeof(text)));
    ck_assert_str_eq(text, "6.1.0");
    ck_assert(!vmcoreinfo_text(&info, "OSRELEASE", text, 5));
    ck_assert(vmcoreinfo_text(&info, "OSRELEASE", text, 6));
    ck_assert(vmcoreinfo_text(&info, "EMPTY", text, 1));
    ck_assert_str_eq(text, "");
    ck_assert(vmcoreinfo_text(&info, "CRASHTIME", text, sizeof(text)));
    ck_assert_str_eq(text, "1");
    ck_assert(vmcoreinfo_symbol(&info, "prb", &value));
    ck_assert_uint_eq(value, UINT64_C(0xffffffff82a5c0e8));
    ck_assert(vmcoreinfo_offset(&info, "list_head.next", &value));
    ck_assert_uint_eq(value, 0);
    ck_assert(vmcoreinfo_size(&info, "page", &value));
    ck_assert_uint_eq(value, 64);
    ck_assert(vmcoreinfo_number(&info, "phys_base", &value));
    ck_assert_int_eq((int64_t)value, -16777216);
    ck_assert(vmcoreinfo_number(&info, "pgtable_l5_enabled", &value));
    ck_assert_uint_eq(value, 1);
    ck_assert(vmcoreinfo_kernel_offset(&info, &value));
    ck_assert_uint_eq(value, 0x1c000000);
}
END_TEST

START_TEST(keys_are_whole)
{
    const struct vmcoreinfo info =
        parse("OSRELEASE=6.1.0\n"
              "XSYMBOL(a)=1\nSYMBOL(ab)=2\nSYMBOL(a=3\nSYMBOLa)=4\nSYMBOL(a)5\nSYMBOL(b\n)=6\n"
              "\n\nSYMBOL(\nSYMBOL\nOSRELEASE\nKERNELOFFSET(a)=7\nSIZE(a)=8");
    uint64_t value;
    char text[8];

    ck_assert(!vmcoreinfo_symbol(&info, "a", &value));
    ck_assert(!vmcoreinfo_symbol(&info, "b", &value));
    ck_assert(!vmcoreinfo_symbol(&info, "", &value));
    ck_assert(!vmcoreinfo_offset(&info, "a", &value));
    ck_assert(!vmcoreinfo_kernel_offset(&info, &value));
    ck_assert(!vmcoreinfo_text(&info, "RELEASE", text, sizeof(text)));
    ck_assert(vmcoreinfo_size(&info, "a", &value));
}
END_TEST

START_TEST(what_is_no_number_is_not_taken)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "--1",
                                      "x",
                                      "1x",
                                      "0x1",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "1-",
                                      "g",
                                      "f",
                                      "1a",
                                      "18446744073709551616",
                                      "99999999999999999999999999999999999"};
    static const char *const bad_hex[] = {"10000000000000000", "fffffffffffffffff", "FF", "0xff", "-1", "f f"};
    uint64_t value;
    char text[100];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_gt(
            snprintf(text, sizeof(text), "OSRELEASE=\nNUMBER(a)=%s\nSIZE(a)=%s\nSIZE(b)=-1\n", bad[i], bad[i]), 0);
        const struct vmcoreinfo info = parse(text);
        ck_assert_msg(!vmcoreinfo_number(&info, "a", &value), "%s", bad[i]);
        ck_assert_msg(!vmcoreinfo_size(&info, "a", &value), "%s", bad[i]);
        ck_assert(!vmcoreinfo_size(&info, "b", &value));
    }
    for (size_t i = 0; i < sizeof(bad_hex) / sizeof(bad_hex[0]); i++) {
        ck_assert_int_gt(snprintf(text, sizeof(text), "OSRELEASE=\nSYMBOL(a)=%s\n", bad_hex[i]), 0);
        const struct vmcoreinfo info = parse(text);
        ck_assert_msg(!vmcoreinfo_symbol(&info, "a", &value), "%s", bad_hex[i]);
    }
    const struct vmcoreinfo info = parse("OSRELEASE=\nNUMBER(a)=18446744073709551615\nSYMBOL(a)=ffffffffffffffff\n");
    ck_assert(vmcoreinfo_number(&info, "a", &value) && value == UINT64_MAX);
    ck_assert(vmcoreinfo_symbol(&info, "a", &value) && value == UINT64_MAX);
}
END_TEST

START_TEST(text_ends_at_the_first_other_byte)
{
    struct vmcoreinfo info;
    char page[VMCOREINFO_SIZE + 8], text[8];
    uint64_t value;

    memset(page, 'a', sizeof(page));
    ck_assert(!vmcoreinfo_parse(page, sizeof(page), &info));
    memcpy(page, "OSRELEASE=", 10);
    ck_assert(vmcoreinfo_parse(page, sizeof(page), &info));
    ck_assert_uint_eq(strlen(info.text), VMCOREINFO_SIZE);
    ck_assert(!vmcoreinfo_text(&info, "OSRELEASE", text, sizeof(text)));

    static const char bad[] = {'\0', '\x1b', '\t', '\r', '\x7f', '\x80', '\xff'};
    for (size_t i = 0; i < sizeof(bad); i++) {
        strcpy(page, "OSRELEASE=6\nSIZE(a)=1?\nSIZE(b)=2\n");
        *strchr(page, '?') = bad[i];
        ck_assert(vmcoreinfo_parse(page, sizeof(page), &info));
        ck_assert(vmcoreinfo_size(&info, "a", &value));
        ck_assert(!vmcoreinfo_size(&info, "b", &value));
    }
    ck_assert(!vmcoreinfo_parse(page, 9, &info));
    ck_assert(!vmcoreinfo_parse(page, 0, &info));
    page[0] = '\0';
    ck_assert(!vmcoreinfo_parse(page, sizeof(page), &info));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vmcoreinfo");
    TCase *cases = tcase_create("all");

    tcase_add_test(cases, values_are_found);
    tcase_add_test(cases, keys_are_whole);
    tcase_add_test(cases, what_is_no_number_is_not_taken);
    tcase_add_test(cases, text_ends_at_the_first_other_byte);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
