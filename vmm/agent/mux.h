/*
 * Between the guest's agent and the clients that want something of it: the host's side of a session, and a job for each
 * client. protocol.h says what goes each way.
 *
 * Without descriptors or clocks: bytes go in and come out. The guest is taken for hostile, and clients for careless:
 * whatever they send, memory is bounded by the number of clients, no call takes longer than its bytes, and one client's
 * mistakes end that client alone. A guest that breaks the protocol ends its session.
 *
 * Threads: one at a time.
 */
#ifndef VMM_AGENT_MUX_H
#define VMM_AGENT_MUX_H

#include "memory/support/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGENT_CLIENT_MAX 32u

struct agent_mux;

/*
 * seed: a number that no earlier machine has had for the same guest. log is told of sessions, and stays the caller's.
 * The way to the guest is closed at first. NULL: no memory.
 */
struct agent_mux *agent_mux_create(uint64_t seed, const struct log *log);
/* Takes NULL. */
void agent_mux_destroy(struct agent_mux *mux);

/* ---- The guest ---- */

/* Somebody in the guest has opened its end of the way, or closed it. */
void agent_mux_set_open(struct agent_mux *mux, bool is_open);

/* The guest has started anew: whatever its agent did, it does no longer. why: for those who waited for it. */
void agent_mux_lose(struct agent_mux *mux, const char *why);

/* What came from the guest. */
void agent_mux_from_guest(struct agent_mux *mux, const uint8_t *bytes, size_t len);

/* What is to go to the guest, and how many bytes of it have gone. The bytes are good until the next call. */
const uint8_t *agent_mux_to_guest(struct agent_mux *mux, size_t *ret_size);
void agent_mux_sent_to_guest(struct agent_mux *mux, size_t len);

/* ---- Clients ---- */

/* A new one's number, below AGENT_CLIENT_MAX; -1: there are as many as there can be, or there is no memory. */
int agent_mux_connect(struct agent_mux *mux);
/* It has gone: what it had begun is ended. Its number may be a new client's as soon as agent_mux_is_free() says so. */
void agent_mux_disconnect(struct agent_mux *mux, int client);
/* Whether agent_mux_connect() would find room. */
bool agent_mux_is_free(const struct agent_mux *mux);

/* What came from it: returns how many bytes have been taken. What is left is to be offered again. */
size_t agent_mux_from_client(struct agent_mux *mux, int client, const uint8_t *bytes, size_t len);
/* Whether any would be taken now. */
bool agent_mux_wants(const struct agent_mux *mux, int client);

const uint8_t *agent_mux_to_client(struct agent_mux *mux, int client, size_t *ret_size);
void agent_mux_sent_to_client(struct agent_mux *mux, int client, size_t len);
/* Nothing more will go to it than what is there: once that has been sent, disconnect it. */
bool agent_mux_is_over(const struct agent_mux *mux, int client);

#endif
