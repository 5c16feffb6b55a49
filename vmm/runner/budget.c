#include "vmm/runner/budget.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A machine's process besides its guest's memory, and what is beside it for a while: gdb, a dump's pages. */
static const uint64_t PROCESS_BYTES = 64u << 20;

/* ---- Machines ---- */

static uint64_t bytes_of(const struct config_ranges *ranges)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < ranges->count; i++) {
        const struct config_range *range = &ranges->items[i];
        if (range->of[0] == '\0' && __builtin_add_overflow(sum, range->size, &sum))
            return UINT64_MAX;
    }
    return sum;
}

uint64_t budget_of_machine(const struct config *config)
{
    const struct config_lists *lists = &config->lists;
    uint64_t sum = bytes_of(&lists->ranges);

    if (__builtin_add_overflow(sum, PROCESS_BYTES, &sum) || __builtin_add_overflow(sum, config->memory.size, &sum))
        return UINT64_MAX;
    for (size_t i = 0; i < lists->space_count; i++) {
        if (__builtin_add_overflow(sum, bytes_of(&lists->spaces[i].ranges), &sum))
            return UINT64_MAX;
    }
    return sum;
}

/* ---- The host ---- */

/*
 * The number behind key, at the start of a line of folder/name; of a file that has only a number, with "" as key.
 * false: it is not there, or no number ("max").
 */
static bool read_number(const char *folder, const char *name, const char *key, uint64_t *ret_number)
{
    char path[4400];
    char line[256];
    bool found = false;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), in) != NULL) {
        const char *text = line + strlen(key);
        char *end;
        if (strncmp(line, key, strlen(key)) != 0)
            continue;
        errno = 0;
        *ret_number = strtoull(text, &end, 10);
        found = end != text && errno == 0;
    }
    (void)fclose(in);
    return found;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/*
 * What one control group leaves. Pages of files that nobody has used for a while go when others need the room, so they
 * do not count as taken.
 */
static uint64_t room_of_group(const char *folder)
{
    uint64_t most;
    uint64_t current = 0;
    uint64_t files = 0;

    if (!read_number(folder, "memory.max", "", &most))
        return UINT64_MAX;
    (void)read_number(folder, "memory.current", "", &current);
    (void)read_number(folder, "memory.stat", "inactive_file ", &files);
    return less(most, less(current, files));
}

/* The group's path in the unified hierarchy, "0::/user.slice/..." (cgroups(7)); false: there is none. */
static bool read_group(const char *proc, char *path, size_t size)
{
    char name[256];
    char line[4200];
    bool found = false;

    (void)snprintf(name, sizeof(name), "%s/self/cgroup", proc);
    FILE *in = fopen(name, "re");
    if (in == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), in) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, "0::/", 4) == 0;
    }
    (void)fclose(in);
    if (found)
        (void)snprintf(path, size, "%s", line + 3);
    return found;
}

/* A limit binds all groups below. */
static uint64_t room_of_groups(const char *proc, const char *cgroup)
{
    char group[4200];
    uint64_t room = UINT64_MAX;

    if (!read_group(proc, group, sizeof(group)))
        return UINT64_MAX;
    for (;;) {
        char folder[4350];
        (void)snprintf(folder, sizeof(folder), "%.100s%s", cgroup, group);
        const uint64_t here = room_of_group(folder);
        room = here < room ? here : room;
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            return room;
        *slash = '\0';
    }
}

uint64_t budget_of_host(const char *proc, const char *cgroup)
{
    const uint64_t within = room_of_groups(proc, cgroup);
    uint64_t kib;

    if (!read_number(proc, "meminfo", "MemAvailable:", &kib))
        return within;
    return kib < within / 1024 ? kib * 1024 : within;
}
