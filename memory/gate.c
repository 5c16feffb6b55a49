#include "memory/gate.h"

void gate_init(struct gate *gate)
{
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
    atomic_init(&gate->held, false);
    gate->passes = NULL;
}

void gate_fini(struct gate *gate)
{
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->lock);
}

void gate_add(struct gate *gate, struct gate_pass *pass)
{
    pthread_mutex_lock(&gate->lock);
    pass->next = gate->passes;
    gate->passes = pass;
    pthread_mutex_unlock(&gate->lock);
}

void gate_remove(struct gate *gate, struct gate_pass *pass)
{
    pthread_mutex_lock(&gate->lock);
    struct gate_pass **link = &gate->passes;
    while (*link != NULL && *link != pass)
        link = &(*link)->next;
    if (*link != NULL)
        *link = pass->next;
    pthread_mutex_unlock(&gate->lock);
}

static void wait_until_released(struct gate *gate, struct gate_pass *pass)
{
    pthread_mutex_lock(&gate->lock);
    atomic_store(&pass->inside, false);
    pthread_cond_broadcast(&gate->changed);
    while (atomic_load(&gate->held))
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

void gate_enter(struct gate *gate, struct gate_pass *pass)
{
    for (;;) {
        /* Sequentially consistent, as is gate_hold()'s side: one of the two sees the other. */
        atomic_store(&pass->inside, true);
        if (!atomic_load(&gate->held))
            return;
        wait_until_released(gate, pass);
    }
}

void gate_leave(struct gate *gate, struct gate_pass *pass)
{
    atomic_store(&pass->inside, false);
    if (!atomic_load(&gate->held))
        return;
    pthread_mutex_lock(&gate->lock);
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

void gate_hold(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    atomic_store(&gate->held, true);
    for (struct gate_pass *pass = gate->passes; pass != NULL; pass = pass->next)
        if (atomic_load(&pass->inside))
            pass->kick(pass->context);
    for (struct gate_pass *pass = gate->passes; pass != NULL; pass = pass->next)
        while (atomic_load(&pass->inside))
            pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

void gate_release(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    atomic_store(&gate->held, false);
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}
