#include "devices/virtio/net_private.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* ---- What the driver wants ---- */

/* NULL, or what is wrong with the segments that the driver wants. */
static const char *check_segments(const struct virtio_net *net, const struct virtio_net_hdr_v1 *header, size_t size)
{
    const struct virtio_device *device = &net->device;
    const unsigned type = header->gso_type & ~(unsigned)VIRTIO_NET_HDR_GSO_ECN;
    const bool has_ecn = (header->gso_type & VIRTIO_NET_HDR_GSO_ECN) != 0;

    if (!(type == VIRTIO_NET_HDR_GSO_TCPV4 && virtio_has_feature(device, VIRTIO_NET_F_HOST_TSO4)) &&
        !(type == VIRTIO_NET_HDR_GSO_TCPV6 && virtio_has_feature(device, VIRTIO_NET_F_HOST_TSO6)))
        return "its kind of segments was not agreed on";
    if (has_ecn && !virtio_has_feature(device, VIRTIO_NET_F_HOST_ECN))
        return "ECN in segments was not agreed on";
    if (!(header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
        return "its segments have no checksum to fill in";
    if (le16toh(header->gso_size) == 0 || le16toh(header->gso_size) >= size)
        return "its segments have a wrong size";
    if (le16toh(header->hdr_len) > size)
        return "its headers are longer than it is";
    return NULL;
}

/*
 * Checks a copy of the driver's header against the size of the frame, and clears what is no business of the host's:
 * virtio 1.2, 5.1.6.2. NULL, or what is wrong.
 */
static const char *check_header(const struct virtio_net *net, struct virtio_net_hdr_v1 *header, size_t size)
{
    if (size < ETH_HLEN)
        return "it has no Ethernet header";
    if (size > NET_FRAME_MAX)
        return "it is too long";
    header->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header->num_buffers = 0;
    if (header->flags != 0) {
        const size_t start = le16toh(header->csum_start);
        if (!virtio_has_feature(&net->device, VIRTIO_NET_F_CSUM))
            return "checksums were not agreed on";
        if (start < ETH_HLEN || start + le16toh(header->csum_offset) + sizeof(uint16_t) > size)
            return "its checksum is outside of it";
    } else {
        header->csum_start = 0;
        header->csum_offset = 0;
    }
    if (header->gso_type != VIRTIO_NET_HDR_GSO_NONE)
        return check_segments(net, header, size);
    header->hdr_len = 0;
    header->gso_size = 0;
    return NULL;
}

/* ---- Packets ---- */

/* The pieces of a chain from an offset on; how many. */
static size_t skip(const struct iovec *pieces, size_t count, size_t offset, struct iovec *rest)
{
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        if (offset >= pieces[i].iov_len) {
            offset -= pieces[i].iov_len;
            continue;
        }
        rest[used++] =
            (struct iovec){.iov_base = (char *)pieces[i].iov_base + offset, .iov_len = pieces[i].iov_len - offset};
        offset = 0;
    }
    return used;
}

/* false: the backend has no room now. */
static bool send_chain(struct virtio_net *net, unsigned pair, const struct virtq_chain *chain)
{
    struct virtio_net_hdr_v1 header;
    struct iovec pieces[1 + 2 * VIRTQ_CHAIN_MAX];
    const char *wrong = NULL;

    if (chain->is_refused)
        wrong = "a buffer may not be read";
    else if (virtq_read(chain, 0, &header, sizeof(header)) < sizeof(header))
        wrong = "it has no header";
    else
        wrong = check_header(net, &header, chain->readable_size - NET_HEADER_SIZE);
    if (wrong == NULL) {
        pieces[0] = (struct iovec){.iov_base = &header, .iov_len = sizeof(header)};
        const size_t count = skip(chain->readable, chain->readable_count, NET_HEADER_SIZE, pieces + 1);
        const int result = net->backend->ops->send(net->backend, pair, pieces, 1 + count);
        if (result == -EAGAIN)
            return false;
        if (result < 0)
            wrong = result == -EIO ? "the host's interface is down: 'ip link set' brings it up" : strerror(-result);
    }
    if (wrong == NULL) {
        net->counters.sent++;
        net->has_large = net->has_large || chain->readable_size >= NET_LARGE_MIN;
        return true;
    }
    net->counters.sent_dropped++;
    net_report_dropped(net, "a packet of the driver's", wrong);
    return true;
}

unsigned net_send_batch(struct virtio_net *net, unsigned pair)
{
    const unsigned queue = net_send_queue(pair);
    struct virtio_device *device = &net->device;
    unsigned done = 0;

    for (; done < NET_BATCH; done++) {
        struct virtq_chain *chain = virtio_pop(device, queue);
        if (chain == NULL)
            break;
        if (!send_chain(net, pair, chain)) {
            virtq_unpop(virtio_queue(device, queue), chain);
            net->pairs[pair].is_full = true;
            break;
        }
        virtio_push(device, queue, chain, 0);
    }
    return done;
}
