/*
 * Read-copy-update, through liburcu ("bulletproof" flavour: threads need not register). Readers take no lock and never
 * wait; rcu_wait_for_readers() waits for those who read when it was called.
 *
 * liburcu orders memory with instructions that the thread sanitizer does not see, so it is told.
 */
#ifndef MEMORY_RCU_H
#define MEMORY_RCU_H

#if defined(__has_feature)
#define RCU_HAS_FEATURE(name) __has_feature(name)
#else
#define RCU_HAS_FEATURE(name) 0
#endif

/*
 * Its read side inline, which it asks only programs of a licence that goes with the LGPL to do: MIT does. Not under the
 * address and undefined-behaviour sanitizers, because its readers are not aligned as their type says.
 */
#if !defined(__SANITIZE_ADDRESS__) && !RCU_HAS_FEATURE(address_sanitizer)
#define _LGPL_SOURCE
#endif
#include <urcu/urcu-bp.h>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
extern char rcu_order;
#define RCU_READERS_ARE_DONE() __tsan_acquire(&rcu_order)
#define RCU_READER_IS_DONE() __tsan_release(&rcu_order)
#else
#define RCU_READERS_ARE_DONE() (void)0
#define RCU_READER_IS_DONE() (void)0
#endif

static inline void rcu_enter(void)
{
    urcu_bp_read_lock();
}

static inline void rcu_leave(void)
{
    RCU_READER_IS_DONE();
    urcu_bp_read_unlock();
}

/* Not from a reader. */
static inline void rcu_wait_for_readers(void)
{
    urcu_bp_synchronize_rcu();
    RCU_READERS_ARE_DONE();
}

#endif
