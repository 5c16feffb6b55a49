#include "devices/virtio/net_private.h"

#include <endian.h>
#include <string.h>

enum { CONTROL_SIZE_MAX = 4096 };

/* A request of the driver's, read once. */
struct control {
    struct virtio_net_ctrl_hdr header;
    uint8_t data[CONTROL_SIZE_MAX];
    size_t size;
};

static bool set_receive_mode(struct virtio_net *net, const struct control *control)
{
    const unsigned command = control->header.cmd;
    const unsigned feature = command <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX : VIRTIO_NET_F_CTRL_RX_EXTRA;

    if (command > VIRTIO_NET_CTRL_RX_NOBCAST || control->size != 1 || !virtio_has_feature(&net->device, feature))
        return false;
    net->state.receive_modes &= (uint8_t) ~(1u << command);
    net->state.receive_modes |= (uint8_t)((control->data[0] != 0) << command);
    return true;
}

/* The tables are filters, which need not be exact: all is let through. Whether they are well-formed. */
static bool check_mac_tables(const struct control *control)
{
    size_t offset = 0;

    for (unsigned i = 0; i < 2; i++) {
        uint32_t count;
        if (control->size - offset < sizeof(count))
            return false;
        memcpy(&count, control->data + offset, sizeof(count));
        offset += sizeof(count);
        if (le32toh(count) > (control->size - offset) / NET_MAC_SIZE)
            return false;
        offset += (size_t)le32toh(count) * NET_MAC_SIZE;
    }
    return offset == control->size;
}

static bool set_mac(struct virtio_net *net, const struct control *control)
{
    if (control->header.cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
        return virtio_has_feature(&net->device, VIRTIO_NET_F_CTRL_RX) && check_mac_tables(control);
    if (control->header.cmd != VIRTIO_NET_CTRL_MAC_ADDR_SET || control->size != NET_MAC_SIZE ||
        !virtio_has_feature(&net->device, VIRTIO_NET_F_CTRL_MAC_ADDR) || !net_mac_is_unicast(control->data))
        return false;
    memcpy(net->state.mac, control->data, NET_MAC_SIZE);
    return true;
}

static bool set_pairs(struct virtio_net *net, const struct control *control)
{
    uint16_t pairs;

    if (control->header.cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || control->size != sizeof(pairs) ||
        !virtio_has_feature(&net->device, VIRTIO_NET_F_MQ))
        return false;
    memcpy(&pairs, control->data, sizeof(pairs));
    pairs = le16toh(pairs);
    if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > net->options.queue_pairs)
        return false;
    if (net->backend->ops->set_pairs(net->backend, pairs) < 0) {
        (void)net->backend->ops->set_pairs(net->backend, net->state.active_pairs);
        net_report_dropped(net, "a request for more queues", "the host's side does not take them");
        return false;
    }
    net->state.active_pairs = pairs;
    for (unsigned i = 0; i < 2u * pairs; i++)
        virtio_notify(&net->device, i);
    return true;
}

static bool execute(struct virtio_net *net, const struct control *control)
{
    switch (control->header.class) {
    case VIRTIO_NET_CTRL_RX:
        return set_receive_mode(net, control);
    case VIRTIO_NET_CTRL_MAC:
        return set_mac(net, control);
    case VIRTIO_NET_CTRL_MQ:
        return set_pairs(net, control);
    default:
        return false;
    }
}

static uint8_t answer_control(struct virtio_net *net, const struct virtq_chain *chain)
{
    struct control control;

    if (chain->readable_size < sizeof(control.header) ||
        chain->readable_size - sizeof(control.header) > sizeof(control.data))
        return VIRTIO_NET_ERR;
    (void)virtq_read(chain, 0, &control.header, sizeof(control.header));
    control.size = virtq_read(chain, sizeof(control.header), control.data, sizeof(control.data));
    return execute(net, &control) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
}

void net_control_serve(struct virtio_net *net, unsigned queue)
{
    struct virtio_device *device = &net->device;

    for (unsigned i = 0; i < NET_BATCH; i++) {
        struct virtq_chain *chain = virtio_pop(device, queue);
        if (chain == NULL)
            break;
        if (chain->is_refused || chain->writable_size == 0) {
            virtio_push(device, queue, chain, 0);
            virtio_fail(device, queue, "a control request has no place for its answer");
            return;
        }
        const uint8_t answer = answer_control(net, chain);
        virtio_push(device, queue, chain, (uint32_t)virtq_write(chain, 0, &answer, sizeof(answer)));
    }
    virtio_flush(device, queue);
    if (virtq_enable_notifications(virtio_queue(device, queue)))
        virtio_notify(device, queue);
}
