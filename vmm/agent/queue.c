#include "vmm/agent/queue.h"

#include <assert.h>
#include <string.h>

size_t agent_queue_room(const struct agent_queue *queue)
{
    return queue->size - queue->used;
}

uint8_t *agent_queue_end(struct agent_queue *queue, size_t len)
{
    if (len > agent_queue_room(queue))
        return NULL;
    if (len > queue->size - queue->start - queue->used) {
        memmove(queue->bytes, queue->bytes + queue->start, queue->used);
        queue->start = 0;
    }
    return queue->bytes + queue->start + queue->used;
}

void agent_queue_added(struct agent_queue *queue, size_t len)
{
    assert(len <= queue->size - queue->start - queue->used);
    queue->used += len;
}

bool agent_queue_add(struct agent_queue *queue, const uint8_t *bytes, size_t len)
{
    uint8_t *end = agent_queue_end(queue, len);

    if (end == NULL)
        return false;
    memcpy(end, bytes, len);
    agent_queue_added(queue, len);
    return true;
}

bool agent_queue_add_frame(struct agent_queue *queue, const struct agent_frame *frame)
{
    uint8_t *end = agent_queue_end(queue, AGENT_WIRE_SIZE(frame->size));

    if (end == NULL)
        return false;
    agent_queue_added(queue, agent_frame_encode(frame, end));
    return true;
}

const uint8_t *agent_queue_bytes(const struct agent_queue *queue)
{
    return queue->bytes + queue->start;
}

void agent_queue_take(struct agent_queue *queue, size_t len)
{
    assert(len <= queue->used);
    queue->used -= len;
    queue->start = queue->used == 0 ? 0 : queue->start + len;
}

void agent_queue_clear(struct agent_queue *queue)
{
    queue->start = 0;
    queue->used = 0;
}
