#include "memory/faults.h"

void faults_init(struct faults *faults)
{
    pthread_mutex_init(&faults->lock, NULL);
    faults->count = 0;
    faults->listener = NULL;
}

void faults_fini(struct faults *faults)
{
    pthread_mutex_destroy(&faults->lock);
}

void faults_add(struct faults *faults, hvx_fault_t *fault)
{
    pthread_mutex_lock(&faults->lock);
    fault->number = faults->count++;
    faults->kept[fault->number % FAULTS_KEPT] = *fault;
    pthread_mutex_unlock(&faults->lock);
    if (faults->listener != NULL)
        faults->listener(faults->listener_context, fault);
}

void faults_list(struct faults *faults, hvx_fault_t *list, size_t *count, uint64_t *ret_total)
{
    pthread_mutex_lock(&faults->lock);
    uint64_t available = faults->count < FAULTS_KEPT ? faults->count : FAULTS_KEPT;
    if (available > *count)
        available = *count;
    for (uint64_t i = 0; i < available; i++)
        list[i] = faults->kept[(faults->count - available + i) % FAULTS_KEPT];
    *count = (size_t)available;
    *ret_total = faults->count;
    pthread_mutex_unlock(&faults->lock);
}
