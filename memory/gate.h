/*
 * Holds vCPUs outside the guest while their space changes in a way that has a moment in between which neither the old
 * map nor the new one describes.
 *
 * A vCPU passes the gate before each KVM_RUN and leaves it afterwards. In the usual case that is one atomic exchange
 * and one load.
 */
#ifndef MEMORY_GATE_H
#define MEMORY_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* One vCPU's place at a gate. */
struct gate_pass {
    struct gate_pass *next;
    /* Gets the vCPU out of the guest, or keeps it from entering, soon. Any thread. */
    void (*kick)(void *context);
    void *context;
    atomic_bool inside;
};

struct gate {
    pthread_mutex_t lock;
    /* A vCPU has left, or the hold has ended. */
    pthread_cond_t changed;
    atomic_bool held;
    /* Guarded by lock. */
    struct gate_pass *passes;
};

void gate_init(struct gate *gate);
void gate_fini(struct gate *gate);

/* Any thread; the pass is not inside. */
void gate_add(struct gate *gate, struct gate_pass *pass);
void gate_remove(struct gate *gate, struct gate_pass *pass);

/* The vCPU's thread: waits as long as the gate is held, and is inside on return. */
void gate_enter(struct gate *gate, struct gate_pass *pass);
void gate_leave(struct gate *gate, struct gate_pass *pass);

/*
 * On return no vCPU is inside, and none enters until gate_release(). For one thread at a time, which must not be
 * inside itself.
 */
void gate_hold(struct gate *gate);
void gate_release(struct gate *gate);

#endif
