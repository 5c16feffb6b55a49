/*
 * A client of a machine's control socket (control_protocol.h says what is said there), in another process.
 * One thread at a time for each client.
 */
#ifndef VMM_CONTROL_CONTROL_CLIENT_H
#define VMM_CONTROL_CONTROL_CLIENT_H

#include "memory/support/error.h"

#include <stdbool.h>

struct control_client;

/* Connects to "unix:PATH". NULL with *error, which names the socket and the remedy. */
struct control_client *control_client_connect(const char *address, struct error *error);

/* Takes NULL. A dump that is under way is aborted by it. */
void control_client_destroy(struct control_client *client);

/* Can be read when there is something to receive. */
int control_client_fd(const struct control_client *client);

/* Sends a request, a line without its newline, and with it a file, the caller's still; -1: none. 0, or -1 with *error.
 */
int control_client_send(struct control_client *client, const char *request, int file, struct error *error);

/*
 * The next line, without its newline, good until the next call. Waits for it for milliseconds at the most, -1: as long
 * as it takes. NULL with *error: the machine has ended, or none has come; *ret_timed_out tells, if it is not NULL.
 */
const char *control_client_receive(struct control_client *client, int milliseconds, bool *ret_timed_out,
                                   struct error *error);

#endif
