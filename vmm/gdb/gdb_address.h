/*
 * Where a debugger connects, as people write it: "unix:PATH", "tcp:ADDRESS:PORT" with an address in figures, such as
 * "tcp:127.0.0.1:1234", or "tcp:[::1]:1234". Plain data; any thread.
 */
#ifndef VMM_GDB_GDB_ADDRESS_H
#define VMM_GDB_GDB_ADDRESS_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stdint.h>

enum gdb_address_kind { GDB_ADDRESS_UNIX, GDB_ADDRESS_TCP4, GDB_ADDRESS_TCP6 };

/* What a socket's path may have, with its NUL (unix(7)). */
enum { GDB_ADDRESS_PATH_SIZE = 108, GDB_ADDRESS_TEXT_SIZE = 128 };

struct gdb_address {
    enum gdb_address_kind kind;
    char path[GDB_ADDRESS_PATH_SIZE];
    /* In the network's order; TCP4 has the first four bytes. */
    uint8_t host[16];
    /* 0: any that is free. */
    uint16_t port;
    /* Only this host can connect. */
    bool is_loopback;
};

/*
 * 0, or -1 with *error (ERROR_CONFIG): what is wrong with the text, which the caller names, and the form that is
 * expected. The text itself, which may be long or hold anything, is not in it.
 */
int gdb_address_parse(const char *text, struct gdb_address *address, struct error *error);

/* The address as it is written. */
void gdb_address_format(const struct gdb_address *address, char text[GDB_ADDRESS_TEXT_SIZE]);

#endif
