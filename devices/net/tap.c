#include "devices/net/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char TUN_DEVICE[] = "/dev/net/tun";

struct tap;

/* One queue of the interface. */
struct tap_queue {
    struct tap *tap;
    int fd;
    uint32_t events;
    /* The interface gives it packets. */
    bool is_attached;
};

struct tap {
    /* the first: see backend.h */
    struct net_backend backend;
    struct event_loop *loop;
    struct net_client client;
    /* The interface has been deleted. */
    bool is_lost;
    struct tap_queue queues[NET_QUEUE_PAIRS_MAX];
};

static struct tap *tap_of(struct net_backend *backend)
{
    return (struct tap *)(void *)backend;
}

/* ---- Events ---- */

static void lose(struct tap *tap)
{
    if (tap->is_lost)
        return;
    tap->is_lost = true;
    for (unsigned i = 0; i < tap->backend.queue_pairs; i++)
        event_loop_remove(tap->loop, tap->queues[i].fd);
    tap->client.lost(tap->client.context, "its tap interface has been deleted");
}

static void on_event(void *context, uint32_t events)
{
    struct tap_queue *queue = context;
    struct tap *tap = queue->tap;
    const unsigned pair = (unsigned)(queue - tap->queues);

    /* Errors stay, and would be reported again without end. */
    if (events & (EPOLLERR | EPOLLHUP)) {
        lose(tap);
        return;
    }
    if (events & EPOLLOUT)
        tap->client.writable(tap->client.context, pair);
    if (events & EPOLLIN)
        tap->client.readable(tap->client.context, pair);
}

static void tap_listen(struct net_backend *backend, unsigned pair, bool for_packets, bool for_room)
{
    struct tap *tap = tap_of(backend);
    struct tap_queue *queue = &tap->queues[pair];
    const uint32_t events = (for_packets ? (uint32_t)EPOLLIN : 0) | (for_room ? (uint32_t)EPOLLOUT : 0);

    if (events == queue->events)
        return;
    queue->events = events;
    if (!tap->is_lost)
        event_loop_modify(tap->loop, queue->fd, events);
}

static int tap_attach(struct net_backend *backend, struct event_loop *loop, const char *name, const struct log *log,
                      const struct net_client *client, struct error *error)
{
    struct tap *tap = tap_of(backend);

    (void)name;
    (void)log;
    tap->loop = loop;
    tap->client = *client;
    for (unsigned i = 0; i < backend->queue_pairs; i++)
        if (event_loop_add(loop, tap->queues[i].fd, 0, on_event, &tap->queues[i], error) < 0)
            return -1;
    return 0;
}

/* ---- Packets ---- */

static int tap_send(struct net_backend *backend, unsigned pair, const struct iovec *pieces, size_t count)
{
    ssize_t written;

    do
        written = writev(tap_of(backend)->queues[pair].fd, pieces, (int)count);
    while (written < 0 && errno == EINTR);
    return written < 0 ? -errno : 0;
}

static ssize_t tap_receive(struct net_backend *backend, unsigned pair, const struct iovec *pieces, size_t count)
{
    ssize_t got;

    do
        got = readv(tap_of(backend)->queues[pair].fd, pieces, (int)count);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

/* ---- Settings ---- */

static int set_attached(struct tap_queue *queue, bool is_attached)
{
    struct ifreq request = {.ifr_flags = (short)(is_attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE)};

    if (queue->is_attached == is_attached)
        return 0;
    if (ioctl(queue->fd, TUNSETQUEUE, &request) < 0)
        return -1;
    queue->is_attached = is_attached;
    return 0;
}

static int tap_set_pairs(struct net_backend *backend, unsigned pairs)
{
    struct tap *tap = tap_of(backend);

    if (tap->is_lost)
        return -1;
    for (unsigned i = 1; i < backend->queue_pairs; i++)
        if (set_attached(&tap->queues[i], i < pairs) < 0)
            return -1;
    return 0;
}

static void tap_set_offloads(struct net_backend *backend, unsigned offloads)
{
    unsigned long flags = 0;

    if (offloads & NET_OFFLOAD_CHECKSUM)
        flags |= TUN_F_CSUM;
    if (offloads & NET_OFFLOAD_TSO4)
        flags |= TUN_F_TSO4;
    if (offloads & NET_OFFLOAD_TSO6)
        flags |= TUN_F_TSO6;
    if (offloads & NET_OFFLOAD_ECN)
        flags |= TUN_F_TSO_ECN;
    /* It fails for an interface that is gone, which has no packets either. */
    (void)ioctl(tap_of(backend)->queues[0].fd, TUNSETOFFLOAD, flags);
}

/* ---- Beginning and end ---- */

static void tap_close(struct net_backend *backend)
{
    struct tap *tap = tap_of(backend);

    /* Offloads stay as they are: whoever opens it sets his own, and the sandbox has no ioctl for this thread. */
    for (unsigned i = 0; i < backend->queue_pairs; i++) {
        if (tap->loop != NULL)
            event_loop_remove(tap->loop, tap->queues[i].fd);
        if (tap->queues[i].fd >= 0)
            close(tap->queues[i].fd);
    }
    free(tap);
}

static int explain_tun_device(int why, struct error *error)
{
    if (why == ENOENT || why == ENODEV)
        return error_set(error, ERROR_CONFIG, "there is no %s: load the module with 'sudo modprobe tun'", TUN_DEVICE);
    if (why == EACCES || why == EPERM)
        return error_set(error, ERROR_CONFIG,
                         "%s cannot be opened: %s; have the administrator permit it, or use the "
                         "user-mode network",
                         TUN_DEVICE, strerror(why));
    return error_set(error, ERROR_HOST, "%s cannot be opened: %s", TUN_DEVICE, strerror(why));
}

static int explain_interface(const struct net_tap_options *options, int why, struct error *error)
{
    const char *name = options->interface;
    const char *several = options->queue_pairs > 1 ? " multi_queue" : "";

    if (why == EPERM)
        return error_set(error, ERROR_CONFIG,
                         "the interface '%s' belongs to somebody else: make one of your own with "
                         "'sudo ip tuntap add dev NAME mode tap user $USER%s'",
                         name, several);
    if (why == EBUSY)
        return error_set(error, ERROR_CONFIG,
                         "the interface '%s' is in use by another program: end that, or name "
                         "another interface",
                         name);
    if (why == EINVAL && options->queue_pairs > 1)
        return error_set(error, ERROR_CONFIG,
                         "the interface '%s' is not a tap interface with several queues: make one "
                         "with 'sudo ip tuntap add dev NAME mode tap user $USER multi_queue'",
                         name);
    if (why == EINVAL)
        return error_set(error, ERROR_CONFIG,
                         "the interface '%s' is not a tap interface: make one with 'sudo ip "
                         "tuntap add dev NAME mode tap user $USER'",
                         name);
    if (why == E2BIG)
        return error_set(error, ERROR_CONFIG, "the interface '%s' has not as many queues as %u: take fewer", name,
                         options->queue_pairs);
    return error_set(error, ERROR_HOST, "the interface '%s' cannot be used: %s", name, strerror(why));
}

/* The kernel would make an interface whose name is misspelt, if we may do that. */
static int check_name(const struct net_tap_options *options, int fd, struct error *error)
{
    struct ifreq request = {0};
    const char *name = options->interface;

    if (name[0] == '\0' || strlen(name) >= sizeof(request.ifr_name) || strpbrk(name, "/%: \t\n") != NULL)
        return error_set(error, ERROR_CONFIG, "'%s' cannot be the name of an interface", name);
    memcpy(request.ifr_name, name, strlen(name));
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0)
        return 0;
    if (errno != ENODEV)
        return error_set(error, ERROR_HOST, "the interface '%s' cannot be looked at: %s", name, strerror(errno));
    return error_set(error, ERROR_CONFIG,
                     "there is no interface '%s': make it with 'sudo ip tuntap add dev %s mode "
                     "tap user $USER%s' and 'sudo ip link set %s up'",
                     name, name, options->queue_pairs > 1 ? " multi_queue" : "", name);
}

static int check_exists(const struct net_tap_options *options, struct error *error)
{
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return error_set(error, ERROR_HOST, "no socket to look at interfaces: %s", strerror(errno));
    const int result = check_name(options, fd, error);
    close(fd);
    return result;
}

/* 0, or an errno. */
static int take_interface(int fd, const char *name, bool is_multiple)
{
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)};

    if (is_multiple)
        request.ifr_flags |= IFF_MULTI_QUEUE;
    memcpy(request.ifr_name, name, strlen(name));
    return ioctl(fd, TUNSETIFF, &request) < 0 ? errno : 0;
}

static int open_queue(struct tap_queue *queue, const struct net_tap_options *options, struct error *error)
{
    const bool is_multiple = options->queue_pairs > 1;
    int size = sizeof(struct virtio_net_hdr_v1);

    queue->fd = open(TUN_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (queue->fd < 0)
        return explain_tun_device(errno, error);
    int why = take_interface(queue->fd, options->interface, is_multiple);
    /* One that was made for several queues is fine with one. */
    if (why == EINVAL && !is_multiple)
        why = take_interface(queue->fd, options->interface, true);
    if (why != 0)
        return explain_interface(options, why, error);
    queue->is_attached = true;
    if (ioctl(queue->fd, TUNSETVNETHDRSZ, &size) < 0)
        return error_set(error, ERROR_HOST, "the interface '%s' does not take headers of virtio 1.0: %s",
                         options->interface, strerror(errno));
    return 0;
}

static int open_queues(struct tap *tap, const struct net_tap_options *options, struct error *error)
{
    for (unsigned i = 0; i < options->queue_pairs; i++) {
        tap->backend.queue_pairs = i + 1;
        if (open_queue(&tap->queues[i], options, error) < 0)
            return -1;
        /* The driver begins with one. */
        if (i > 0 && set_attached(&tap->queues[i], false) < 0)
            return error_set(error, ERROR_HOST, "the interface '%s' does not let a queue rest: %s", options->interface,
                             strerror(errno));
    }
    tap_set_offloads(&tap->backend, 0);
    return 0;
}

static const struct net_backend_ops ops = {
    .attach = tap_attach,
    .send = tap_send,
    .receive = tap_receive,
    .listen = tap_listen,
    .set_pairs = tap_set_pairs,
    .set_offloads = tap_set_offloads,
    .close = tap_close,
};

struct net_backend *net_tap_open(const struct net_tap_options *options, struct error *error)
{
    struct tap *tap = calloc(1, sizeof(*tap));

    if (tap == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    tap->backend.ops = &ops;
    tap->backend.offloads = NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;
    for (unsigned i = 0; i < NET_QUEUE_PAIRS_MAX; i++)
        tap->queues[i] = (struct tap_queue){.tap = tap, .fd = -1};
    if (options->queue_pairs < 1 || options->queue_pairs > NET_QUEUE_PAIRS_MAX)
        error_set(error, ERROR_CONFIG, "the interface '%s' can have 1 to %u queue pairs, and not %u",
                  options->interface, NET_QUEUE_PAIRS_MAX, options->queue_pairs);
    else if (check_exists(options, error) == 0 && open_queues(tap, options, error) == 0)
        return &tap->backend;
    tap_close(&tap->backend);
    return NULL;
}
