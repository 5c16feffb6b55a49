#include "vmm/runner/select.h"

#include "vmm/config/place.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t UNKNOWN_NS = 1000000000u;

static const char *own_name(const struct plan_case *one)
{
    return one->from->scenario->cases[one->index].name;
}

void plan_recall(struct plan *plan, const struct times *times)
{
    for (size_t i = 0; i < plan->count; i++) {
        struct plan_case *one = &plan->cases[i];
        const struct times_entry *entry = times_find(times, one->from->path, own_name(one));
        if (entry == NULL)
            continue;
        one->was_run = true;
        one->last = entry->status;
        one->expected_ns = entry->duration_ns;
    }
}

/* ---- By name, and by what came of them ---- */

static bool fits(const struct plan_case *one, const char *const *filters, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (scenario_case_fits(one->from->scenario, one->index, filters[i]))
            return true;
    }
    return false;
}

int plan_filter(struct plan *plan, const char *const *filters, size_t count, struct error *error)
{
    bool *keep = calloc(plan->count + 1, sizeof(*keep));

    if (keep == NULL)
        return config_out_of_memory(error);
    for (size_t i = 0; i < plan->count; i++)
        keep[i] = fits(&plan->cases[i], filters, count);
    plan_keep(plan, keep);
    free(keep);
    return 0;
}

int plan_keep_failed(struct plan *plan, struct error *error)
{
    bool *keep = calloc(plan->count + 1, sizeof(*keep));

    if (keep == NULL)
        return config_out_of_memory(error);
    for (size_t i = 0; i < plan->count; i++) {
        const struct plan_case *one = &plan->cases[i];
        keep[i] = one->was_run && one->last != RESULT_PASSED && one->last != RESULT_SKIPPED;
    }
    plan_keep(plan, keep);
    free(keep);
    return 0;
}

/* ---- By time ---- */

static void weigh(const struct plan *plan, uint64_t *weights)
{
    uint64_t known_ns = 0;
    size_t known = 0;

    /* At most a week each (SCENARIO_MAX_TIME_NS), so that thousands do not overflow. */
    for (size_t i = 0; i < plan->count; i++) {
        known_ns += plan->cases[i].expected_ns;
        known += plan->cases[i].expected_ns > 0;
    }
    const uint64_t mean = known > 0 ? known_ns / known : UNKNOWN_NS;
    for (size_t i = 0; i < plan->count; i++)
        weights[i] = plan->cases[i].expected_ns > 0 ? plan->cases[i].expected_ns : mean;
}

struct weighed {
    const char *name;
    uint64_t weight;
    size_t place;
};

/* Names differ, so this is an order whatever the plan's is. */
static int compare_for_shards(const void *a, const void *b)
{
    const struct weighed *x = a;
    const struct weighed *y = b;

    if (x->weight != y->weight)
        return x->weight < y->weight ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* What takes as long stays in the order in which the user has it. */
static int compare_for_run(const void *a, const void *b)
{
    const struct weighed *x = a;
    const struct weighed *y = b;

    if (x->weight != y->weight)
        return x->weight < y->weight ? 1 : -1;
    return (x->place > y->place) - (x->place < y->place);
}

/* NULL, with *error: out of memory. */
static struct weighed *sort(const struct plan *plan, int (*compare)(const void *, const void *), struct error *error)
{
    struct weighed *sorted = calloc(plan->count + 1, sizeof(*sorted));
    uint64_t *weights = calloc(plan->count + 1, sizeof(*weights));

    if (sorted == NULL || weights == NULL) {
        free(sorted);
        free(weights);
        (void)config_out_of_memory(error);
        return NULL;
    }
    weigh(plan, weights);
    for (size_t i = 0; i < plan->count; i++)
        sorted[i] = (struct weighed){.name = plan->cases[i].name, .weight = weights[i], .place = i};
    free(weights);
    qsort(sorted, plan->count, sizeof(*sorted), compare);
    return sorted;
}

static unsigned least_loaded(const uint64_t *loads, unsigned count)
{
    unsigned least = 0;

    for (unsigned i = 1; i < count; i++) {
        if (loads[i] < loads[least])
            least = i;
    }
    return least;
}

/* The longest first, each to whom has least so far. */
int plan_keep_shard(struct plan *plan, unsigned number, unsigned count, struct error *error)
{
    struct weighed *sorted = sort(plan, compare_for_shards, error);
    uint64_t *loads = calloc(count, sizeof(*loads));
    bool *keep = calloc(plan->count + 1, sizeof(*keep));
    int result = -1;

    if (sorted == NULL || loads == NULL || keep == NULL) {
        (void)config_out_of_memory(error);
        goto out;
    }
    for (size_t i = 0; i < plan->count; i++) {
        const unsigned shard = least_loaded(loads, count);
        loads[shard] += sorted[i].weight;
        keep[sorted[i].place] = shard == number - 1;
    }
    plan_keep(plan, keep);
    result = 0;
out:
    free(sorted);
    free(loads);
    free(keep);
    return result;
}

int plan_order(const struct plan *plan, size_t **ret_order, uint64_t **ret_weights, struct error *error)
{
    struct weighed *sorted = sort(plan, compare_for_run, error);

    *ret_order = calloc(plan->count + 1, sizeof(**ret_order));
    *ret_weights = calloc(plan->count + 1, sizeof(**ret_weights));
    if (sorted == NULL || *ret_order == NULL || *ret_weights == NULL) {
        free(sorted);
        free(*ret_order);
        free(*ret_weights);
        *ret_order = NULL;
        *ret_weights = NULL;
        return config_out_of_memory(error);
    }
    for (size_t i = 0; i < plan->count; i++) {
        (*ret_order)[i] = sorted[i].place;
        (*ret_weights)[sorted[i].place] = sorted[i].weight;
    }
    free(sorted);
    return 0;
}
