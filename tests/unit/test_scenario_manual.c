/*
 * quire.scenario(5) tells of every key, with its default, and of every kind of trouble; its examples are scenarios.
 */
#include "vmm/scenario/scenario.h"
#include "vmm/scenario/schema.h"
#include "vmm/scenario/trouble.h"

#include "unit_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The whole page; the caller frees it. */
static char *read_page(void)
{
    FILE *file = fopen(SOURCE_FOLDER "/docs/man/quire.scenario.5", "r");
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

    if (start == NULL)
        return NULL;
    start += strlen(opening);
    size_t length = strlen(start);
    for (; *closings != NULL; closings++) {
        const char *end = strstr(start, *closings);
        if (end != NULL && (size_t)(end - start) < length)
            length = (size_t)(end - start);
    }
    return strndup(start, length);
}

static char *cut_section(const char *page, const struct scenario_table *table)
{
    static const char *const ends[] = {"\n.Ss ", "\n.Sh ", NULL};
    const bool is_list = strncmp(table->title, "[[", 2) == 0;
    char opening[80] = "\n.Ss The top of the file\n";

    if (table->title[0] != '\0')
        (void)snprintf(opening, sizeof(opening), "\n.Ss The %s %s\n", table->title, is_list ? "tables" : "table");
    char *section = cut(page, opening, ends);
    if (section == NULL)
        ck_abort_msg("there is no section%s", opening);
    return section;
}

static void assert_entry(const char *section, const struct scenario_key *key)
{
    static const char *const ends[] = {"\n.It Ic ", NULL};
    char text[80];

    (void)snprintf(text, sizeof(text), "\n.It Ic %s No = ", key->name);
    char *entry = cut(section, text, ends);
    if (entry == NULL)
        ck_abort_msg("%s has no entry", key->name);
    if (key->default_text != NULL)
        (void)snprintf(text, sizeof(text), "The default is\n.Ql %s ", key->default_text);
    else if (key->is_required)
        (void)snprintf(text, sizeof(text), "There must be one.");
    else
        (void)snprintf(text, sizeof(text), "There is no default");
    if (!key->is_kind && strstr(entry, text) == NULL)
        ck_abort_msg("%s: not in its entry: %s", key->name, text);
    for (int kind = 0; !key->is_kind && kind < SCENARIO_STEP_KIND_COUNT; kind++) {
        (void)snprintf(text, sizeof(text), "\n.Ic %s", scenario_step_name((enum scenario_step_kind)kind));
        if ((key->kinds & 1u << kind) != 0 && strstr(entry, text) == NULL)
            ck_abort_msg("%s: does not say that it goes with%s", key->name, text + strlen("\n.Ic"));
    }
    free(entry);
}

START_TEST(every_key_has_an_entry_with_its_default)
{
    char *page = read_page();
    size_t keys = 0;
    size_t entries = 0;

    for (const struct scenario_table *const *table = scenario_tables; *table != NULL; table++) {
        char *section = cut_section(page, *table);
        for (size_t i = 0; i < (*table)->count; i++)
            assert_entry(section, &(*table)->keys[i]);
        keys += (*table)->count;
        free(section);
    }
    for (const char *at = strstr(page, "\n.It Ic "); at != NULL; at = strstr(at + 1, "\n.It Ic "))
        entries++;
    ck_assert_uint_eq(entries, keys);
    free(page);
}
END_TEST

START_TEST(every_word_has_an_entry)
{
    static const char *const ends[] = {"\n.Sh ", NULL};
    char *page = read_page();
    char *section = cut(page, "\n.Sh TROUBLE\n", ends);
    size_t entries = 0;
    char text[80];

    for (int kind = 0; kind < TROUBLE_KIND_COUNT; kind++) {
        (void)snprintf(text, sizeof(text), "\n.It Cm %s\n", trouble_name((enum trouble_kind)kind));
        if (strstr(section, text) == NULL)
            ck_abort_msg("not there: %s", text);
    }
    for (const char *at = strstr(section, "\n.It Cm "); at != NULL; at = strstr(at + 1, "\n.It Cm "))
        entries++;
    ck_assert_uint_eq(entries, TROUBLE_KIND_COUNT);
    for (size_t i = 0; scenario_exit_names[i] != NULL; i++) {
        (void)snprintf(text, sizeof(text), "\n.It Cm %s\n", scenario_exit_names[i]);
        if (strstr(page, text) == NULL)
            ck_abort_msg("not there: %s", text);
    }
    free(section);
    free(page);
}
END_TEST

/* The text of an example, as a reader sees it. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; from++) {
        if (strncmp(from, "\\e", 2) == 0) {
            *to++ = '\\';
            from++;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

START_TEST(every_example_is_a_scenario)
{
    static const char opening[] = "\n.Bd -literal -offset indent\n";
    static const char *const ends[] = {"\n.Ed", NULL};
    const struct scenario_options options = {.is_dry = true};
    char *page = read_page();
    size_t count = 0;

    for (const char *at = strstr(page, opening); at != NULL; at = strstr(at + 1, opening)) {
        char *example = cut(at, opening, ends);
        char text[4096];
        struct scenario *scenario;
        struct error error;
        unescape(example);
        /* One is a part, to be put in front of steps. */
        (void)snprintf(text, sizeof(text), "%s\n%s", example,
                       strstr(example, "[[step]]") == NULL ? "[[step]]\nreset = true\n" : "");
        if (scenario_parse("/example.toml", text, strlen(text), &options, &scenario, &error) < 0)
            ck_abort_msg("%s\nin: %s", error.text, text);
        scenario_free(scenario);
        free(example);
        count++;
    }
    ck_assert_uint_ge(count, 4);
    free(page);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("scenario_manual");
    TCase *page = tcase_create("page");

    tcase_add_test(page, every_key_has_an_entry_with_its_default);
    tcase_add_test(page, every_word_has_an_entry);
    tcase_add_test(page, every_example_is_a_scenario);
    suite_add_tcase(all, page);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
