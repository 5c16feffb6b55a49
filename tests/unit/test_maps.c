/*
 * vmm/maps: text, JSON, pictures and changes of one plan.
 */
#include "vmm/maps/maps.h"

#include "unit_test.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char machine_text[] = "machine.name = 'a<b>&\"c\"'\nboot.kernel = '/k'\nmemory.size = '32MiB'\n"
                                   "[[memory.range]]\nname = 'mailbox'\nat = 0xd0000000\nsize = '64KiB'\n"
                                   "flags = 'rw'\nbacking = 'memfd'\npages = 'small'\npopulate = 'prefault'\nnode = 1\n"
                                   "[[space]]\nname = 'monitor'\nstrict = true\n"
                                   "[[space.range]]\nname = 'window'\nat = 0x1000\nsize = '4KiB'\nflags = 'r'\n"
                                   "fault = 'count'\nof = 'default'\nfrom = 0xd0001000\n";

static struct config config;
static struct config other_config;
static struct memory_plan plan;
static struct memory_plan other;
static struct error error;
/* What a writer has written. */
static char *text;
static size_t length;

static void make(const char *from, struct config *to, struct memory_plan *planned)
{
    ck_assert_int_eq(config_defaults(to, &error), 0);
    if (config_parse(to, "vm.toml", from, strlen(from), &error) < 0 || config_check(to, &error) < 0 ||
        memory_plan_create(to, planned, &error) < 0)
        ck_abort_msg("%s", error.text);
}

static void setup(void)
{
    make(machine_text, &config, &plan);
}

static void teardown(void)
{
    memory_plan_free(&plan);
    memory_plan_free(&other);
    config_free(&config);
    config_free(&other_config);
    free(text);
    text = NULL;
}

static void add_line(void *context, const char *line)
{
    fprintf(context, "%s\n", line);
}

static void write_text(const struct maps_state *state)
{
    free(text);
    FILE *out = open_memstream(&text, &length);
    maps_write_text(&plan, state, add_line, out);
    ck_assert_int_eq(fclose(out), 0);
}

START_TEST(text_has_every_range_with_what_is_behind_it)
{
    write_text(NULL);
    ck_assert_str_eq(text,
                     "space \"default\": 4 ranges\n"
                     "  0x000000000000 - 0x00000009ffff  rwx  ram            640 KiB  anonymous, thp\n"
                     "  0x0000000c0000 - 0x0000000fffff  r-x  rom            256 KiB  anonymous\n"
                     "  0x000000100000 - 0x000001ffffff  rwx  ram             31 MiB  anonymous, thp\n"
                     "  0x0000d0000000 - 0x0000d000ffff  rw-  mailbox         64 KiB  memfd, small, prefault, node 1; "
                     "fault: stop\n"
                     "  0x0000fec00000 - 0x0000fec00fff  the I/O APIC\n"
                     "  0x0000fee00000 - 0x0000fee00fff  the local APICs\n"
                     "  0x0000feffc000 - 0x0000feffcfff  KVM's identity map\n"
                     "  0x0000feffd000 - 0x0000feffffff  KVM's task state segment\n"
                     "space \"monitor\", strict: 1 ranges\n"
                     "  0x000000001000 - 0x000000001fff  r--  window           4 KiB  default 0xd0001000 (mailbox); "
                     "fault: count\n");
}
END_TEST

START_TEST(text_of_a_running_machine_has_counts_and_faults)
{
    const hvx_space_info_t infos[] = {{.slot_count = 3, .vcpu_count = 2, .fault_count = 9},
                                      {.is_strict = true, .slot_count = 1, .vcpu_count = 0}};
    const hvx_fault_t faults[] = {{.number = 7,
                                   .space = 0,
                                   .gpa = 0xc0010,
                                   .access = HV_MEMORY_WRITE,
                                   .allowed = HV_MEMORY_READ | HV_MEMORY_EXEC,
                                   .length = 4,
                                   .data = {0x78, 0x56, 0x34, 0x12},
                                   .mapping = "rom",
                                   .vcpu = 1,
                                   .rip = 0xfff0},
                                  {.number = 8,
                                   .space = 1,
                                   .access = HV_MEMORY_READ,
                                   .length = 512,
                                   .vcpu = HVX_FAULT_NO_VCPU,
                                   .device = "disk0"}};
    const struct maps_state state = {.spaces = infos, .faults = faults, .fault_count = 2, .fault_total = 9};

    write_text(&state);
    ck_assert_ptr_nonnull(strstr(text, "space \"default\": 4 ranges in 3 KVM slots, 2 vCPUs, 9 faults\n"));
    ck_assert_ptr_nonnull(strstr(text, "space \"monitor\", strict: 1 ranges in 1 KVM slots, 0 vCPUs, 0 faults\n"));
    ck_assert_ptr_nonnull(strstr(text, "9 faults recorded; the last:\n"));
    ck_assert_ptr_nonnull(strstr(text, "  fault 7: vCPU 1 at rip 0xfff0 wrote 4 bytes at guest-physical 0xc0010 "
                                       "(0x12345678), \"rom\" of space \"default\", which allows r-x\n"));
    ck_assert_ptr_nonnull(
        strstr(text, "  fault 8: disk0 read 512 bytes at guest-physical 0x0 of space \"monitor\", where nothing is "
                     "allowed\n"));
}
END_TEST

START_TEST(json_says_the_same)
{
    FILE *out = open_memstream(&text, &length);
    const char *name, *flags, *fault, *kind, *pages, *populate, *of_space, *of_range;
    json_int_t gpa, size, node, of_gpa;
    int strict;

    ck_assert_int_eq(maps_write_json(&plan, out, &error), 0);
    ck_assert_int_eq(fclose(out), 0);
    json_t *root = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_str_eq(json_string_value(json_object_get(root, "machine")), "a<b>&\"c\"");
    json_t *spaces = json_object_get(root, "spaces");
    ck_assert_uint_eq(json_array_size(spaces), 2);
    json_t *space = json_array_get(spaces, 0);
    ck_assert_uint_eq(json_array_size(json_object_get(space, "reserved")), plan.reserved_count);
    json_t *range = json_array_get(json_object_get(space, "ranges"), 3);
    ck_assert_int_eq(json_unpack(range, "{s:s, s:I, s:I, s:s, s:s, s:{s:s, s:s, s:s, s:I}}", "name", &name, "gpa", &gpa,
                                 "size", &size, "flags", &flags, "fault", &fault, "backing", "kind", &kind, "pages",
                                 &pages, "populate", &populate, "node", &node),
                     0);
    ck_assert_str_eq(name, "mailbox");
    ck_assert_int_eq(gpa, 0xd0000000);
    ck_assert_int_eq(size, 64 << 10);
    ck_assert_str_eq(flags, "rw-");
    ck_assert_str_eq(fault, "stop");
    ck_assert_str_eq(kind, "memfd");
    ck_assert_str_eq(pages, "small");
    ck_assert_str_eq(populate, "prefault");
    ck_assert_int_eq(node, 1);
    space = json_array_get(spaces, 1);
    ck_assert_int_eq(json_unpack(space, "{s:s, s:b}", "name", &name, "strict", &strict), 0);
    ck_assert_str_eq(name, "monitor");
    ck_assert_int_eq(strict, 1);
    range = json_array_get(json_object_get(space, "ranges"), 0);
    ck_assert_int_eq(
        json_unpack(range, "{s:{s:s, s:I, s:s}}", "of", "space", &of_space, "gpa", &of_gpa, "range", &of_range), 0);
    ck_assert_str_eq(of_space, "default");
    ck_assert_int_eq(of_gpa, 0xd0001000);
    ck_assert_str_eq(of_range, "mailbox");
    ck_assert_ptr_null(json_object_get(range, "backing"));
    json_decref(root);
}
END_TEST

/* How often a word is there. */
static unsigned count(const char *word)
{
    unsigned found = 0;

    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word))
        found++;
    return found;
}

START_TEST(picture_has_boxes_a_line_and_safe_names)
{
    FILE *out = open_memstream(&text, &length);

    maps_write_svg(&plan, out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_uint_eq(count("<svg "), 1);
    ck_assert_uint_eq(count("</svg>"), 1);
    /* the background, five ranges, and what is reserved */
    ck_assert_uint_eq(count("<rect "), 1 + 5 + (unsigned)plan.reserved_count);
    ck_assert_uint_eq(count("<path "), 1);
    ck_assert_uint_eq(count("a&#60;b&#62;&#38;&#34;c&#34;"), 2);
    ck_assert_uint_eq(count("<text "), count("</text>"));
    ck_assert_uint_eq(count("space monitor, strict"), 1);
}
END_TEST

static size_t changes_to(const char *to)
{
    free(text);
    make(to, &other_config, &other);
    FILE *out = open_memstream(&text, &length);
    const size_t changes = maps_write_changes(&plan, &other, out);
    ck_assert_int_eq(fclose(out), 0);
    return changes;
}

START_TEST(same_machine_has_no_changes)
{
    ck_assert_uint_eq(changes_to(machine_text), 0);
    ck_assert_str_eq(text, "");
}
END_TEST

START_TEST(changes_are_what_only_one_has)
{
    ck_assert_uint_eq(changes_to("boot.kernel = '/k'\nmemory.size = '64MiB'\n"
                                 "[[memory.range]]\nname = 'mailbox'\nat = 0xd0000000\nsize = '64KiB'\n"
                                 "flags = 'rw'\nbacking = 'memfd'\npages = 'small'\npopulate = 'prefault'\nnode = 1\n"
                                 "[[space]]\nname = 'other'\n"),
                      5);
    ck_assert_str_eq(text,
                     "space \"default\"\n"
                     "- 0x000000100000 - 0x000001ffffff  rwx  ram             31 MiB  anonymous, thp\n"
                     "+ 0x000000100000 - 0x000003ffffff  rwx  ram             63 MiB  anonymous, thp\n"
                     "- space \"monitor\", strict\n"
                     "space \"monitor\"\n"
                     "- 0x000000001000 - 0x000000001fff  r--  window           4 KiB  default 0xd0001000 (mailbox); "
                     "fault: count\n"
                     "+ space \"other\"\n");
}
END_TEST

START_TEST(strictness_is_a_change)
{
    char changed[sizeof(machine_text)];

    memcpy(changed, machine_text, sizeof(changed));
    char *strict = strstr(changed, "strict = true\n");
    memset(strict, '\n', strlen("strict = true"));
    ck_assert_uint_eq(changes_to(changed), 1);
    ck_assert_str_eq(text, "- space \"monitor\", strict\n");
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("maps");
    TCase *writers = tcase_create("writers");

    tcase_add_checked_fixture(writers, setup, teardown);
    tcase_add_test(writers, text_has_every_range_with_what_is_behind_it);
    tcase_add_test(writers, text_of_a_running_machine_has_counts_and_faults);
    tcase_add_test(writers, json_says_the_same);
    tcase_add_test(writers, picture_has_boxes_a_line_and_safe_names);
    tcase_add_test(writers, same_machine_has_no_changes);
    tcase_add_test(writers, changes_are_what_only_one_has);
    tcase_add_test(writers, strictness_is_a_change);
    suite_add_tcase(all, writers);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
