/*
 * The socket on which debuggers are waited for.
 */
#ifndef VMM_GDB_GDB_LISTEN_H
#define VMM_GDB_GDB_LISTEN_H

#include "memory/support/error.h"
#include "vmm/gdb/gdb_address.h"

/*
 * A nonblocking socket that listens, the caller's to close, or -1 with *error. *address is changed to what has been
 * bound: the port, if any was wanted. A unix socket is this user's alone; its name is the caller's to remove. A stale
 * one is replaced.
 */
int gdb_listen(struct gdb_address *address, struct error *error);

#endif
