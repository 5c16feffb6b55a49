/*
 * The manual pages tell of every key and every option, and of the right defaults.
 */
#include "vmm/cli/options.h"
#include "vmm/config/schema.h"
#include "vmm/config/value.h"

#include "unit_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The whole file; the caller frees it. */
static char *read_page(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 1 << 16);

    ck_assert_ptr_nonnull(file);
    ck_assert_ptr_nonnull(text);
    ck_assert_uint_lt(fread(text, 1, 1 << 16, file), (1 << 16) - 1);
    (void)fclose(file);
    return text;
}

/* What stands between "opening" and the nearest of the closing lines; the caller frees it. NULL: no such opening. */
static char *cut(const char *text, const char *opening, const char *const *closings)
{
    const char *start = strstr(text, opening);
    size_t length;

    if (start == NULL)
        return NULL;
    start += strlen(opening);
    length = strlen(start);
    for (; *closings != NULL; closings++) {
        const char *end = strstr(start, *closings);
        if (end != NULL && (size_t)(end - start) < length)
            length = (size_t)(end - start);
    }
    return strndup(start, length);
}

/* The entry of a key in quire.toml(5). */
static char *cut_entry(const char *page, const char *heading, const struct schema_key *key)
{
    static const char *const section_ends[] = {"\n.Ss ", "\n.Sh ", NULL};
    static const char *const entry_ends[] = {"\n.It Ic ", NULL};
    char opening[80];

    (void)snprintf(opening, sizeof(opening), "\n.Ss The %s\n", heading);
    char *section = cut(page, opening, section_ends);
    if (section == NULL)
        ck_abort_msg("[%s] has no section", key->section);
    (void)snprintf(opening, sizeof(opening), "\n.It Ic %s No = ", key->name);
    char *entry = cut(section, opening, entry_ends);
    if (entry == NULL)
        ck_abort_msg("%s.%s has no entry", key->section, key->name);
    free(section);
    return entry;
}

static void assert_holds(const struct schema_key *key, const char *entry, const char *text)
{
    if (strstr(entry, text) == NULL)
        ck_abort_msg("%s.%s: not in its entry: %s", key->section, key->name, text);
}

static void assert_default(const struct schema_key *key, const char *entry)
{
    char text[64];

    if (key->is_required) {
        assert_holds(key, entry, "There must be one.");
        return;
    }
    if (key->default_text[0] == '\0' && key->type != SCHEMA_NAMES) {
        assert_holds(key, entry, "There is no default");
        return;
    }
    assert_holds(key, entry, key == &config_schema[CONFIG_MACHINE_NAME] ? "the default is\n" : "The default is\n");
    (void)snprintf(text, sizeof(text), "default is\n.Ql %s ", key->type == SCHEMA_NAMES ? "[]" : key->default_text);
    assert_holds(key, entry, text);
}

static void assert_range(const struct schema_key *key, const char *entry)
{
    char minimum[CONFIG_SIZE_TEXT_SIZE];
    char maximum[CONFIG_SIZE_TEXT_SIZE];
    char text[80];

    switch (key->type) {
    case SCHEMA_INTEGER:
    case SCHEMA_OPTIONAL:
        (void)snprintf(text, sizeof(text), "%" PRIu64 " to %" PRIu64, key->minimum, key->maximum);
        assert_holds(key, entry, text);
        break;
    case SCHEMA_SIZE:
        (void)snprintf(text, sizeof(text), "%s to %s", config_size_format(key->minimum, minimum),
                       config_size_format(key->maximum, maximum));
        assert_holds(key, entry, text);
        break;
    case SCHEMA_STRING:
        (void)snprintf(text, sizeof(text), "%" PRIu64 " bytes", key->maximum);
        assert_holds(key, entry, text);
        break;
    case SCHEMA_BOOLEAN:
        assert_holds(key, entry, "Cm true | false");
        break;
    case SCHEMA_CHOICE:
        for (size_t i = 0; key->choices[i] != NULL; i++) {
            (void)snprintf(text, sizeof(text), ".It Cm %s\n", key->choices[i]);
            if (strstr(entry, text) == NULL) {
                (void)snprintf(text, sizeof(text), "\n.Cm %s\n", key->choices[i]);
                assert_holds(key, entry, text);
            }
        }
        break;
    case SCHEMA_NAME:
    case SCHEMA_PATH:
    case SCHEMA_SOCKET:
    case SCHEMA_NAMES:
    case SCHEMA_WORDS:
    case SCHEMA_ADDRESS:
    case SCHEMA_FLAGS:
        break;
    }
}

static void assert_entry(const char *page, const char *heading, const struct schema_key *key)
{
    char *entry = cut_entry(page, heading, key);

    assert_default(key, entry);
    assert_range(key, entry);
    free(entry);
}

START_TEST(every_key_has_an_entry_with_its_default_and_range)
{
    char *page = read_page(SOURCE_FOLDER "/docs/man/quire.toml.5");
    char heading[64];

    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        (void)snprintf(heading, sizeof(heading), "[%s] section", config_schema[i].section);
        assert_entry(page, heading, &config_schema[i]);
    }
    for (const struct schema_table *const *table = config_tables; *table != NULL; table++) {
        (void)snprintf(heading, sizeof(heading), "%s tables", (*table)->title);
        for (size_t i = 0; i < (*table)->count; i++)
            assert_entry(page, heading, &(*table)->keys[i]);
    }
    free(page);
}
END_TEST

START_TEST(no_entry_is_of_a_key_that_does_not_exist)
{
    char *page = read_page(SOURCE_FOLDER "/docs/man/quire.toml.5");
    size_t entries = 0;
    size_t keys = CONFIG_KEY_COUNT;

    for (const char *at = strstr(page, "\n.It Ic "); at != NULL; at = strstr(at + 1, "\n.It Ic "))
        entries++;
    for (const struct schema_table *const *table = config_tables; *table != NULL; table++)
        keys += (*table)->count;
    ck_assert_uint_eq(entries, keys);
    free(page);
}
END_TEST

START_TEST(every_option_that_help_lists_has_an_entry)
{
    char command[2][8] = {"run", "test"};
    char quire[] = "quire";
    char help[] = "help";
    char *argv[] = {quire, help, command[_i], NULL};
    struct options options;
    struct error error;
    char *text = NULL;
    size_t length = 0;
    size_t count = 0;
    FILE *out = open_memstream(&text, &length);

    ck_assert_int_eq(options_parse(3, argv, out, &options, &error), 0);
    ck_assert_int_eq(fclose(out), 0);
    char *page = read_page(SOURCE_FOLDER "/docs/man/quire.1");
    for (const char *at = strstr(text, " --"); at != NULL; at = strstr(at + 1, " --")) {
        char entry[64];
        (void)snprintf(entry, sizeof(entry), "Fl Fl %.*s", (int)strspn(at + 3, "abcdefghijklmnopqrstuvwxyz-"), at + 3);
        if (strstr(page, entry) == NULL)
            ck_abort_msg("not in quire.1: %s", entry);
        count++;
    }
    ck_assert_uint_ge(count, 10);
    options_free(&options);
    free(page);
    free(text);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("config_manual");
    TCase *pages = tcase_create("pages");

    tcase_add_test(pages, every_key_has_an_entry_with_its_default_and_range);
    tcase_add_test(pages, no_entry_is_of_a_key_that_does_not_exist);
    tcase_add_loop_test(pages, every_option_that_help_lists_has_an_entry, 0, 2);
    suite_add_tcase(all, pages);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
