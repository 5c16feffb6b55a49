#include "devices/host/pace.h"

#include <sched.h>

void pace_init(struct pace *pace)
{
    *pace = (struct pace){.is_fixed = sched_getscheduler(0) != SCHED_OTHER};
}

static void count_several(struct pace *pace)
{
    pace->score += PACE_SEVERAL;
    if (pace->score < PACE_FULL)
        return;
    pace->score = PACE_FULL;
    pace->is_patient = true;
    pace->interval = PACE_FIRST_TRY;
}

static void begin_try(struct pace *pace)
{
    pace->alone = 0;
    pace->score = PACE_TRY;
    pace->is_patient = true;
    /* One that is not in vain puts it back. */
    pace->interval = pace->interval < PACE_LAST_TRY / 2 ? 2 * pace->interval : PACE_LAST_TRY;
}

static void count_single(struct pace *pace)
{
    if (pace->score > 0)
        pace->score--;
    if (pace->is_patient) {
        pace->is_patient = pace->score > 0;
        return;
    }
    if (pace->interval == 0)
        pace->interval = PACE_FIRST_TRY;
    if (++pace->alone >= pace->interval)
        begin_try(pace);
}

void pace_expect_several(struct pace *pace)
{
    pace->score = PACE_FULL;
}

bool pace_count(struct pace *pace, bool has_several)
{
    if (has_several)
        count_several(pace);
    else
        count_single(pace);
    return pace->is_patient;
}

void pace_turn(struct pace *pace, bool has_several)
{
    const struct sched_param parameters = {.sched_priority = 0};
    const bool was_patient = pace->is_patient;

    if (pace->is_fixed || pace_count(pace, has_several) == was_patient)
        return;
    (void)sched_setscheduler(0, pace->is_patient ? SCHED_BATCH : SCHED_OTHER, &parameters);
}
