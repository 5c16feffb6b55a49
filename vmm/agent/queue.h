/*
 * Bytes on their way: a bounded buffer whose content is one piece, so that it can be given to send(2). Plain data; one
 * thread.
 */
#ifndef VMM_AGENT_QUEUE_H
#define VMM_AGENT_QUEUE_H

#include "vmm/agent/frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* bytes is the user's, and has room for `size`. */
struct agent_queue {
    uint8_t *bytes;
    size_t size;
    size_t start;
    size_t used;
};

/* How much more it can hold. */
size_t agent_queue_room(const struct agent_queue *queue);

/* Where the next `len` bytes go, which agent_queue_added() then adds; NULL: there is no room for so many. */
uint8_t *agent_queue_end(struct agent_queue *queue, size_t len);
void agent_queue_added(struct agent_queue *queue, size_t len);

/* False: there is no room for all of them, and none has been added. */
bool agent_queue_add(struct agent_queue *queue, const uint8_t *bytes, size_t len);
/* The same for a frame. There has to be room for AGENT_WIRE_SIZE() of its payload. */
bool agent_queue_add_frame(struct agent_queue *queue, const struct agent_frame *frame);

/* What is there, from the first byte; and len of it have gone. */
const uint8_t *agent_queue_bytes(const struct agent_queue *queue);
void agent_queue_take(struct agent_queue *queue, size_t len);
void agent_queue_clear(struct agent_queue *queue);

#endif
