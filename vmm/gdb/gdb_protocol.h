/*
 * gdb's remote protocol, the inner layer (gdb manual, appendix E): one client's packets carried out on a debug_target.
 * It knows no sockets: whoever has the connection brings bytes and takes bytes. What it keeps is bounded whatever the
 * client sends and whether it reads: nothing is taken while a reply waits to be sent.
 *
 * Thread ids are vCPUs' numbers + 1; there is one process.
 *
 * Threads: the target's, which is the machine's main thread.
 */
#ifndef VMM_GDB_GDB_PROTOCOL_H
#define VMM_GDB_GDB_PROTOCOL_H

#include "memory/support/error.h"
#include "memory/support/log.h"
#include "vmm/debug/target.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gdb_protocol;

/*
 * NULL with *error. target and log stay the caller's, and stay; target->vcpu_count is final, and target->stopped leads
 * to gdb_protocol_stopped().
 */
struct gdb_protocol *gdb_protocol_create(struct debug_target *target, const struct log *log, struct error *error);
/* Does not call the target. Takes NULL. */
void gdb_protocol_destroy(struct gdb_protocol *protocol);

/* A client has come, or gone: these attach the target, and detach it unless that has been done. */
void gdb_protocol_connect(struct gdb_protocol *protocol);
void gdb_protocol_disconnect(struct gdb_protocol *protocol);

/*
 * Takes bytes of the client, and says how many; the rest is to be offered again when output has been sent, work has
 * been done or the target has stopped. Of what it does not take, a Ctrl-C for a guest that runs counts at once, and is
 * overwritten: `seen` is how many of the bytes were offered before.
 */
size_t gdb_protocol_take(struct gdb_protocol *protocol, uint8_t *bytes, size_t size, size_t seen);

/* What is to be sent, *size bytes, 0 for none; then how many of them have been. */
const uint8_t *gdb_protocol_output(const struct gdb_protocol *protocol, size_t *size);
void gdb_protocol_sent(struct gdb_protocol *protocol, size_t size);

/* There is something to do without further bytes: to be called, in turns with others' events, while no output waits. */
bool gdb_protocol_has_work(const struct gdb_protocol *protocol);
void gdb_protocol_work(struct gdb_protocol *protocol);

/* The connection is to be closed once all output has been sent. */
bool gdb_protocol_is_over(const struct gdb_protocol *protocol);

/* The target has stopped. */
void gdb_protocol_stopped(struct gdb_protocol *protocol, const struct debug_stop *stop);

/* The machine has ended, and the target is not called any more; status as for gdb_server_exited(). */
void gdb_protocol_exited(struct gdb_protocol *protocol, int status);

#endif
