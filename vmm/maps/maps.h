/*
 * What lies where in a machine's spaces, for people and programs: as text, as JSON, as a picture.
 */
#ifndef VMM_MAPS_MAPS_H
#define VMM_MAPS_MAPS_H

#include "memory/support/error.h"
#include "vmm/maps/memory_plan.h"

#include <Hypervisor/hvx.h>

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What there is to say of a machine that runs, besides its plan. */
struct maps_state {
    /* one for each space of the plan */
    const hvx_space_info_t *spaces;
    /* the last ones */
    const hvx_fault_t *faults;
    size_t fault_count;
    uint64_t fault_total;
};

/* Takes one line, without its end. */
typedef void maps_line(void *context, const char *text);

/* Any of these may be called from any thread, for a plan that nobody changes meanwhile. */

/* A line for each range, and for each space and fault. state: NULL for a machine that does not run. */
void maps_write_text(const struct memory_plan *plan, const struct maps_state *state, maps_line *line, void *context);

/* One object, {"machine": NAME, "spaces": [...]}; quire(1) describes it. -1 with ERROR_HOST: no memory. */
int maps_write_json(const struct memory_plan *plan, FILE *out, struct error *error);

/* An SVG picture: the spaces side by side, and lines between what shares memory. */
void maps_write_svg(const struct memory_plan *plan, FILE *out);

/* Lines of what only one of two plans has, in the manner of diff; returns how many. */
size_t maps_write_changes(const struct memory_plan *from, const struct memory_plan *to, FILE *out);

/* ---- Words for the writers ---- */

#define MAPS_FLAGS_SIZE 4u
/* "rwx", with "-" for what is missing. */
const char *maps_format_flags(hv_memory_flags_t flags, char out[MAPS_FLAGS_SIZE]);

#define MAPS_SIZE_SIZE 24u
/* "640 KiB": in the largest unit that leaves it whole. */
const char *maps_format_size(uint64_t size, char out[MAPS_SIZE_SIZE]);

#define MAPS_SOURCE_SIZE 160u
/* Where a range's memory comes from: "anonymous, thp", or "default 0x1000 (ram)" for what is another's. */
const char *maps_format_source(const struct memory_plan *plan, const struct plan_range *range,
                               char out[MAPS_SOURCE_SIZE]);

/* One sentence without a full stop: who did what in the space of that name, and where. Too long a one is cut. */
void maps_describe_fault(const hvx_fault_t *fault, const char *space, char *text, size_t size);

/* The same of a vCPU's exit, where the vCPU is "it". Asks the VM for the mapping's name. */
void maps_describe_exit(const hvx_exit_memory_t *access, const char *space, char *text, size_t size);

/* The word of the configuration for a policy; NULL for that of the machine's own memory. */
const char *maps_policy_name(hvx_policy_t policy);

/* Whether a device of the plan reaches a space. */
bool maps_device_is_in(const struct memory_plan *plan, size_t device, size_t space);

#define MAPS_DEVICE_SIZE 64u
/* "rng, PCI slot 1" */
const char *maps_format_device(const struct plan_device *device, char out[MAPS_DEVICE_SIZE]);

/* Where the memory of a range is at home: the range of memory of its own, and its space. */
struct maps_home {
    size_t space;
    const struct plan_range *range;
    /* of the range that was asked for, in that space */
    uint64_t gpa;
};
struct maps_home maps_find_home(const struct memory_plan *plan, const struct plan_range *range);

#endif
