#include "vmm/scenario/results.h"

#include "vmm/config/place.h"

#include <stdlib.h>
#include <string.h>

static const char *const status_names[RESULT_STATUS_COUNT] = {
    [RESULT_NOT_RUN] = "not run", [RESULT_PASSED] = "passed", [RESULT_FAILED] = "failed",
    [RESULT_SKIPPED] = "skipped", [RESULT_BROKEN] = "broken",
};

const char *result_status_name(enum result_status status)
{
    return status_names[status];
}

int result_set_text(char **to, const char *text, struct error *error)
{
    char *copy = text != NULL ? strdup(text) : NULL;

    if (text != NULL && copy == NULL)
        return config_out_of_memory(error);
    free(*to);
    *to = copy;
    return 0;
}

struct results *results_create(const char *suite, struct error *error)
{
    struct results *results = calloc(1, sizeof(*results));

    if (results == NULL || result_set_text(&results->suite, suite, error) < 0) {
        free(results);
        (void)config_out_of_memory(error);
        return NULL;
    }
    return results;
}

/* One more element, zeroed. */
static void *grow(void **items, size_t *count, size_t size, struct error *error)
{
    char *grown = reallocarray(*items, *count + 1, size);

    if (grown == NULL) {
        (void)config_out_of_memory(error);
        return NULL;
    }
    *items = grown;
    return memset(grown + (*count)++ * size, 0, size);
}

struct result_case *results_add_case(struct results *results, const char *name, const char *file, struct error *error)
{
    struct result_case **place = grow((void **)&results->cases, &results->case_count, sizeof(*results->cases), error);
    struct result_case *one = calloc(1, sizeof(*one));

    if (place == NULL || one == NULL) {
        free(one);
        if (place != NULL)
            results->case_count--;
        (void)config_out_of_memory(error);
        return NULL;
    }
    *place = one;
    if (result_set_text(&one->name, name, error) < 0 || result_set_text(&one->file, file, error) < 0)
        return NULL;
    return one;
}

struct result_step *result_add_step(struct result_case *one, const char *kind, const char *title, struct error *error)
{
    struct result_step *step = grow((void **)&one->steps, &one->step_count, sizeof(*step), error);

    if (step == NULL || result_set_text(&step->kind, kind, error) < 0 ||
        result_set_text(&step->title, title, error) < 0)
        return NULL;
    return step;
}

struct result_trouble *result_add_trouble(struct result_case *one, enum trouble_kind kind, const char *text,
                                          struct error *error)
{
    struct result_trouble *trouble = grow((void **)&one->trouble, &one->trouble_count, sizeof(*trouble), error);

    if (trouble == NULL)
        return NULL;
    trouble->kind = kind;
    return result_set_text(&trouble->text, text, error) < 0 ? NULL : trouble;
}

struct result_attachment *result_add_attachment(struct result_case *one, const char *name, const char *path,
                                                struct error *error)
{
    struct result_attachment *attachment =
        grow((void **)&one->attachments, &one->attachment_count, sizeof(*attachment), error);

    if (attachment == NULL || result_set_text(&attachment->name, name, error) < 0 ||
        result_set_text(&attachment->path, path, error) < 0)
        return NULL;
    return attachment;
}

struct result_subtest *result_add_subtest(struct result_case *one, const char *name, struct error *error)
{
    struct result_subtest *subtest = grow((void **)&one->subtests, &one->subtest_count, sizeof(*subtest), error);

    return subtest == NULL || result_set_text(&subtest->name, name, error) < 0 ? NULL : subtest;
}

static int add_subtest(struct result_case *one, const char *name, enum ktap_status status, const char *reason,
                       const char *diagnostics, struct error *error)
{
    struct result_subtest *subtest = result_add_subtest(one, name, error);

    if (subtest == NULL)
        return -1;
    subtest->status = status;
    if (result_set_text(&subtest->reason, reason[0] != '\0' ? reason : NULL, error) < 0)
        return -1;
    return result_set_text(&subtest->diagnostics, diagnostics[0] != '\0' ? diagnostics : NULL, error);
}

int result_add_ktap(struct result_case *one, const struct ktap *ktap, const char *prefix, struct error *error)
{
    for (size_t i = 0; i < ktap_count(ktap); i++) {
        const struct ktap_result result = ktap_result(ktap, i);
        char path[KTAP_PATH_SIZE];
        char name[KTAP_PATH_SIZE + 256];
        if (result.is_suite && !ktap_status_is_bad(result.status))
            continue;
        (void)snprintf(name, sizeof(name), "%.200s%s%s", prefix != NULL ? prefix : "",
                       prefix != NULL && prefix[0] != '\0' ? "/" : "", ktap_path(ktap, i, path));
        if (add_subtest(one, name, result.status, result.reason, result.diagnostics, error) < 0)
            return -1;
    }
    for (size_t i = 0; ktap_problem(ktap, i) != NULL; i++) {
        if (add_subtest(one, "KTAP", KTAP_ERROR, ktap_problem(ktap, i), "", error) < 0)
            return -1;
    }
    return 0;
}

static void free_case(struct result_case *one)
{
    for (size_t i = 0; i < one->step_count; i++) {
        free(one->steps[i].kind);
        free(one->steps[i].title);
        free(one->steps[i].message);
        free(one->steps[i].detail);
    }
    for (size_t i = 0; i < one->subtest_count; i++) {
        free(one->subtests[i].name);
        free(one->subtests[i].reason);
        free(one->subtests[i].diagnostics);
    }
    for (size_t i = 0; i < one->trouble_count; i++)
        free(one->trouble[i].text);
    for (size_t i = 0; i < one->attachment_count; i++) {
        free(one->attachments[i].name);
        free(one->attachments[i].path);
    }
    free(one->steps);
    free(one->subtests);
    free(one->trouble);
    free(one->attachments);
    free(one->name);
    free(one->file);
    free(one->message);
    free(one->console);
    free(one);
}

void results_free(struct results *results)
{
    if (results == NULL)
        return;
    for (size_t i = 0; i < results->case_count; i++)
        free_case(results->cases[i]);
    free(results->cases);
    free(results->suite);
    free(results);
}

size_t results_tally(const struct results *results, enum result_status status)
{
    size_t count = 0;

    for (size_t i = 0; i < results->case_count; i++)
        count += results->cases[i]->status == status;
    return count;
}

int results_exit_status(const struct results *results)
{
    if (results_tally(results, RESULT_BROKEN) + results_tally(results, RESULT_NOT_RUN) > 0)
        return 4;
    return results_tally(results, RESULT_FAILED) > 0 ? 1 : 0;
}
