/*
 * When a device's thread goes on, where it shares its processor with the guest that has woken it: at once, which is
 * best for a guest that waits for the one thing it wants, or when the guest pauses or has had its time, by when it may
 * have brought several. The first is the scheduling policy SCHED_OTHER, the second SCHED_BATCH; where there are
 * processors for both there is no difference. A thread chooses by what its turns find.
 *
 * A thread that goes on at once finds a single thing whatever the guest is up to. So now and then the other way is
 * tried.
 */
#ifndef DEVICES_HOST_PACE_H
#define DEVICES_HOST_PACE_H

#include <stdbool.h>

enum {
    /* Turns with several things weigh twice as much as turns with one. */
    PACE_SEVERAL = 2,
    /* Patience begins at this score, and ends at 0. */
    PACE_FULL = 8,
    /* The score at which a try begins: so many turns with one thing end it. */
    PACE_TRY = 4,
    /* Turns with one thing before the first try; each try in vain doubles them. */
    PACE_FIRST_TRY = 32,
    PACE_LAST_TRY = 128,
};

/* Plain data, of the thread's. All zero is a thread that goes on at once. */
struct pace {
    bool is_patient;
    /* Somebody has chosen the policy: it stays. */
    bool is_fixed;
    unsigned score;
    /* Turns with one thing since the last try, and how many there are to be before the next; 0: PACE_FIRST_TRY. */
    unsigned alone;
    unsigned interval;
};

/* For a thread that the caller will start, whose policy is the caller's then. Before the sandbox. */
void pace_init(struct pace *pace);

/* The decision: counts a turn that found one thing, or several; whether the thread is to be patient from now on. */
bool pace_count(struct pace *pace, bool has_several);

/* Before a turn with several is counted, which is enough then: more are certain to come. */
void pace_expect_several(struct pace *pace);

/*
 * The same on the thread, whose policy follows. A turn is what it did between two waits; one that found nothing is
 * none. Where the host does not allow it, the policy stays.
 */
void pace_turn(struct pace *pace, bool has_several);

#endif
