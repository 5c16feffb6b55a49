/*
 * How the address of a unix socket is written: "unix:PATH".
 */
#ifndef DEVICES_HOST_UNIX_ADDRESS_H
#define DEVICES_HOST_UNIX_ADDRESS_H

#include "memory/support/error.h"

#include <sys/socket.h>
#include <sys/un.h>

/* 0: an address of the right form; or -1 with *error, which is to follow what is called wrong. */
int unix_address_check(const char *address, struct error *error);

/* For the system's calls. 0, or -1 with *error, which names the address. */
int unix_address_fill(const char *address, struct sockaddr_un *ret_address, struct error *error);

#endif
