/*
 * The last faults of a VM, for whoever looks: accesses that the mappings' flags forbid, of vCPUs and of devices.
 */
#ifndef MEMORY_FAULTS_H
#define MEMORY_FAULTS_H

#include <Hypervisor/hvx.h>

#include <pthread.h>

enum { FAULTS_KEPT = 64 };

struct faults {
    /* Told of each fault after it has been added; NULL: nobody. Changed only while nobody can cause one. */
    void (*listener)(void *context, const hvx_fault_t *fault);
    void *listener_context;
    pthread_mutex_t lock;
    /* All that there ever were; the last FAULTS_KEPT of them are at their number modulo that. */
    uint64_t count;
    hvx_fault_t kept[FAULTS_KEPT];
};

void faults_init(struct faults *faults);
void faults_fini(struct faults *faults);

/* Fills the record's number in, keeps a copy, and tells the listener. Any thread, without the VM's lock. */
void faults_add(struct faults *faults, hvx_fault_t *fault);

/* Gives up to *count of the last, the oldest first, and how many they are; and how many there ever were. Any thread. */
void faults_list(struct faults *faults, hvx_fault_t *list, size_t *count, uint64_t *ret_total);

#endif
