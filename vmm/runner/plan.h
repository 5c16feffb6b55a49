/*
 * Which cases there are to run: those of scenario files, under names that are unique, with what is known of each before
 * anything boots.
 *
 * Threads: one at a time for each struct plan.
 */
#ifndef VMM_RUNNER_PLAN_H
#define VMM_RUNNER_PLAN_H

#include "memory/support/error.h"
#include "vmm/scenario/results.h"
#include "vmm/scenario/scenario.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plan_scenario {
    struct scenario *scenario;
    /* As it was given, for people; and absolute, without links: what it is known by from run to run. */
    char *file;
    char *path;
};

struct plan_case {
    /* The plan's. */
    const struct plan_scenario *from;
    size_t index;
    /* The case's, with the file in front if another scenario has the same name: "a/boot.toml:boot[vcpus=4]". Owned. */
    char *name;
    /* What its machine takes of the host's memory at the most, in bytes. */
    uint64_t memory;
    /* What earlier runs have shown (plan_recall()): how long it takes, 0 where that is not known, and what came of the
     * last one. */
    uint64_t expected_ns;
    bool was_run;
    enum result_status last;
};

struct plan {
    struct plan_scenario **scenarios;
    size_t scenario_count;
    /* In the order in which files were given, and the files have them. */
    struct plan_case *cases;
    size_t count;
};

/* Called with each mistake in the files: ERROR_CONFIG, or ERROR_HOST where there is no memory. */
typedef void plan_reporter(void *context, const struct error *error);

/*
 * Reads scenarios. A path is a file, or a folder, which stands for the *.toml in it that have steps, in the order of
 * their names, and not for those in folders below. A file that is named several ways is there once. options as for
 * scenario_load(), and they outlive the plan.
 *
 * 0, or -1: everything that is wrong has been reported. plan_free() is due in any case.
 */
int plan_load(const char *const *paths, size_t count, const struct scenario_options *options, struct plan *plan,
              plan_reporter *report, void *context);

/* A zeroed struct is fine, and so is a second call. */
void plan_free(struct plan *plan);

/* Takes the cases out for which keep has false. */
void plan_keep(struct plan *plan, const bool *keep);

#endif
