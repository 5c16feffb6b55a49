/*
 * devices/net/tap, with tap interfaces of the test's own: it needs /dev/net/tun and CAP_NET_ADMIN, and is skipped where
 * they are not. It makes a network namespace for itself.
 */
#include "devices/net/tap.h"

#include "unit_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = sizeof(struct virtio_net_hdr_v1), FRAME = 60, SKIPPED = 77 };

/* Protocols that nothing else uses: for local experiments. The second is that of frames which ask whether any come. */
#define PROTOCOL 0x88b5
#define PROBE_PROTOCOL 0x88b6

static struct event_loop *loop;
static struct net_backend *tap;
static struct error error;
static struct log log_nowhere = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};
static unsigned readable[4], writable[4], lost;

static void on_readable(void *context, unsigned pair)
{
    (void)context;
    readable[pair]++;
    event_loop_stop(loop);
}

static void on_writable(void *context, unsigned pair)
{
    (void)context;
    writable[pair]++;
    event_loop_stop(loop);
}

static void on_lost(void *context, const char *why)
{
    (void)context, (void)why;
    lost++;
    event_loop_stop(loop);
}

static const struct net_client client = {.readable = on_readable, .writable = on_writable, .lost = on_lost};

/* ---- Interfaces ---- */

static int make_interface(const char *name, int flags)
{
    struct ifreq request = {.ifr_flags = (short)flags};
    const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
        return -1;
    close(fd);
    return 0;
}

static void set_up(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_UP};
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
}

/* Takes the persistence from an interface that somebody else has open: only `ip link del` can. */
static void delete_interface(const char *name)
{
    char command[64];

    snprintf(command, sizeof(command), "ip link del %s", name);
    ck_assert_int_eq(system(command), 0);
}

static bool exists(const char *name)
{
    struct ifreq request = {0};
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    const int result = ioctl(fd, SIOCGIFFLAGS, &request);
    close(fd);
    return result == 0;
}

/* A socket for the frames of our protocol on an interface. */
static int open_wire(const char *name)
{
    struct ifreq request = {0};
    const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(PROTOCOL));

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    ck_assert_int_eq(ioctl(fd, SIOCGIFINDEX, &request), 0);
    const struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(PROTOCOL), .sll_ifindex = request.ifr_ifindex};
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void make_frame(uint8_t frame[FRAME], uint8_t seed)
{
    memset(frame, seed, FRAME);
    memset(frame, 0xff, 6);
    memset(frame + 6, 2, 6);
    frame[12] = PROTOCOL >> 8;
    frame[13] = PROTOCOL & 0xff;
}

/* The next frame on the wire, which the kernel passes on when it has the time to. */
static void expect_on_wire(int wire, const uint8_t frame[FRAME])
{
    struct pollfd one = {.fd = wire, .events = POLLIN};
    uint8_t got[2048];

    ck_assert_int_eq(poll(&one, 1, -1), 1);
    ck_assert_int_eq(recv(wire, got, sizeof(got), 0), FRAME);
    ck_assert_mem_eq(got, frame, FRAME);
}

/* ---- Cases ---- */

static struct net_backend *open_tap(const char *name, unsigned pairs)
{
    return net_tap_open(&(struct net_tap_options){.interface = name, .queue_pairs = pairs}, &error);
}

static void setup(void)
{
    ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
    ck_assert_int_eq(make_interface("one", IFF_TAP | IFF_NO_PI), 0);
    ck_assert_int_eq(make_interface("many", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE), 0);
    set_up("one");
    set_up("many");
    loop = event_loop_create(&error);
    tap = NULL;
}

static void teardown(void)
{
    net_backend_close(tap);
    event_loop_destroy(loop);
}

static void attach(const char *name, unsigned pairs)
{
    tap = open_tap(name, pairs);
    ck_assert_msg(tap != NULL, "%s", error.text);
    ck_assert_int_eq(tap->ops->attach(tap, loop, "net0", &log_nowhere, &client, &error), 0);
}

/* The next frame of our protocol; what the host sends by itself is left out. */
static ssize_t receive(unsigned pair, uint8_t *bytes, size_t size)
{
    const struct iovec pieces[] = {{bytes, 20}, {bytes + 20, size - 20}};
    ssize_t got;

    do
        got = tap->ops->receive(tap, pair, pieces, 2);
    while (got >= HEADER + 14 && (bytes[HEADER + 12] != PROTOCOL >> 8 || bytes[HEADER + 13] != (PROTOCOL & 0xff)));
    return got;
}

/* The same, waiting for it: what the host sends by itself may be there first. */
static ssize_t wait_and_receive(unsigned pair, uint8_t *bytes, size_t size)
{
    ssize_t got;

    tap->ops->listen(tap, pair, true, false);
    while ((got = receive(pair, bytes, size)) == -EAGAIN)
        ck_assert_int_eq(event_loop_run(loop, &error), 0);
    return got;
}

static void send_frame(unsigned pair, uint8_t seed)
{
    struct virtio_net_hdr_v1 header = {0};
    uint8_t frame[FRAME];
    const struct iovec pieces[] = {{&header, sizeof(header)}, {frame, 20}, {frame + 20, FRAME - 20}};

    make_frame(frame, seed);
    ck_assert_int_eq(tap->ops->send(tap, pair, pieces, 3), 0);
}

/* Just after an interface has come up the kernel drops what goes out of it: waits until it does so no more. */
static void wait_for_wire(int wire)
{
    uint8_t frame[FRAME], got[2048];
    const struct iovec piece = {got, sizeof(got)};
    ssize_t size;

    make_frame(frame, 1);
    frame[12] = PROBE_PROTOCOL >> 8;
    frame[13] = PROBE_PROTOCOL & 0xff;
    do {
        while ((size = tap->ops->receive(tap, 0, &piece, 1)) == -EAGAIN) {
            ck_assert_int_eq(send(wire, frame, FRAME, 0), FRAME);
            usleep(1000);
        }
    } while (size != HEADER + FRAME || memcmp(got + HEADER, frame, FRAME) != 0);
}

START_TEST(packets_go_both_ways)
{
    static const char *const names[] = {"one", "many"};
    uint8_t frame[FRAME], got[2048];

    attach(names[_i], 1);
    const int wire = open_wire(names[_i]);
    send_frame(0, 7);
    make_frame(frame, 7);
    expect_on_wire(wire, frame);
    ck_assert_int_eq(receive(0, got, sizeof(got)), -EAGAIN);
    wait_for_wire(wire);
    make_frame(frame, 8);
    ck_assert_int_eq(send(wire, frame, FRAME, 0), FRAME);
    tap->ops->listen(tap, 0, true, false);
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
    ck_assert_uint_eq(readable[0], 1);
    ck_assert_int_eq(wait_and_receive(0, got, sizeof(got)), HEADER + FRAME);
    ck_assert_mem_eq(got + HEADER, frame, FRAME);
    tap->ops->listen(tap, 0, false, true);
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
    ck_assert_uint_eq(writable[0], 1);
    close(wire);
}
END_TEST

START_TEST(segments_are_taken_with_their_header)
{
    struct virtio_net_hdr_v1 header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                       .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                       .hdr_len = 54,
                                       .gso_size = 1000,
                                       .csum_start = 34,
                                       .csum_offset = 16};
    static uint8_t frame[9054] = {
        [12] = 8, [14] = 0x45, [16] = 9040 >> 8, [17] = 9040 & 0xff, [22] = 64, [23] = 6, [46] = 0x50};
    const struct iovec pieces[] = {{&header, sizeof(header)}, {frame, sizeof(frame)}};

    attach("one", 1);
    ck_assert_int_eq(tap->ops->send(tap, 0, pieces, 2), 0);
    header.hdr_len = 10000;
    ck_assert_int_eq(tap->ops->send(tap, 0, pieces, 2), -EINVAL);
    tap->ops->set_offloads(tap, tap->offloads);
    tap->ops->set_offloads(tap, 0);
}
END_TEST

/* Queues that the interface gives no packets, of all that this process has open. */
static unsigned count_resting(void)
{
    unsigned count = 0;

    for (int fd = 3; fd < 32; fd++) {
        struct ifreq request = {0};
        count += ioctl(fd, TUNGETIFF, &request) == 0 && (request.ifr_flags & IFF_DETACH_QUEUE) != 0;
    }
    return count;
}

START_TEST(queues_are_attached_as_they_are_used)
{
    uint8_t got[2048], frame[FRAME];

    attach("many", 3);
    ck_assert_uint_eq(count_resting(), 2);
    ck_assert_int_eq(tap->ops->set_pairs(tap, 3), 0);
    ck_assert_uint_eq(count_resting(), 0);
    const int wire = open_wire("many");
    send_frame(2, 9);
    make_frame(frame, 9);
    expect_on_wire(wire, frame);
    ck_assert_int_eq(tap->ops->set_pairs(tap, 1), 0);
    ck_assert_uint_eq(count_resting(), 2);
    wait_for_wire(wire);
    make_frame(frame, 1);
    ck_assert_int_eq(send(wire, frame, FRAME, 0), FRAME);
    ck_assert_int_eq(wait_and_receive(0, got, sizeof(got)), HEADER + FRAME);
    /* Queues that rest report nothing. */
    tap->ops->listen(tap, 0, false, true);
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
    ck_assert_uint_eq(lost, 0);
    close(wire);
}
END_TEST

START_TEST(deleted_interface_is_reported_once)
{
    uint8_t got[2048];
    struct virtio_net_hdr_v1 header = {0};
    const struct iovec piece = {&header, sizeof(header)};

    attach("many", 2);
    ck_assert_int_eq(tap->ops->set_pairs(tap, 2), 0);
    tap->ops->listen(tap, 0, true, false);
    while (receive(0, got, sizeof(got)) > 0)
        ;
    delete_interface("many");
    readable[0] = 0;
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
    ck_assert_uint_eq(lost, 1);
    ck_assert_int_eq(receive(0, got, sizeof(got)), -EBADFD);
    ck_assert_int_eq(tap->ops->send(tap, 0, &piece, 1), -EBADFD);
    ck_assert_int_eq(tap->ops->set_pairs(tap, 1), -1);
    tap->ops->listen(tap, 0, false, false);
}
END_TEST

START_TEST(interface_outlives_its_user)
{
    attach("one", 1);
    ck_assert_ptr_null(open_tap("one", 1));
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_ptr_nonnull(strstr(error.text, "in use"));
    net_backend_close(tap);
    tap = NULL;
    ck_assert(exists("one"));
    attach("one", 1);
}
END_TEST

/* What cannot be used, and what its sentence says. */
static const struct {
    const char *name;
    unsigned pairs;
    const char *text;
} bad[] = {
    {"none", 1, "ip tuntap add dev none mode tap"},
    {"lo", 1, "not a tap"},
    {"one", 2, "multi_queue"},
    {"tun", 1, "not a tap"},
    {"", 1, "cannot be the name"},
    {"0123456789abcdef", 1, "cannot be the name"},
    {"a%d", 1, "cannot be the name"},
    {"one", 0, "1 to 16"},
    {"many", 17, "1 to 16"},
};

START_TEST(what_cannot_be_used_is_said)
{
    ck_assert_int_eq(make_interface("tun", IFF_TUN | IFF_NO_PI), 0);
    ck_assert_ptr_null(open_tap(bad[_i].name, bad[_i].pairs));
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_msg(strstr(error.text, bad[_i].text) != NULL, "%s", error.text);
    ck_assert(!exists("none"));
}
END_TEST

START_TEST(user_without_privileges_has_its_own_only)
{
    const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI, .ifr_name = "one"};

    ck_assert_int_eq(ioctl(fd, TUNSETIFF, &request), 0);
    ck_assert_int_eq(ioctl(fd, TUNSETOWNER, 12345), 0);
    close(fd);
    if (access("/dev/net/tun", R_OK | W_OK) != 0 || setresuid(12345, 12345, 12345) != 0)
        return;
    tap = open_tap("many", 1);
    ck_assert_ptr_null(tap);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    tap = open_tap("one", 1);
    /* Where only root may open the device, the sentence says so. */
    ck_assert_msg(tap != NULL || strstr(error.text, "/dev/net/tun") != NULL, "%s", error.text);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("net_tap");
    TCase *tests = tcase_create("tap");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, packets_go_both_ways, 0, 2);
    tcase_add_test(tests, segments_are_taken_with_their_header);
    tcase_add_test(tests, queues_are_attached_as_they_are_used);
    tcase_add_test(tests, deleted_interface_is_reported_once);
    tcase_add_test(tests, interface_outlives_its_user);
    tcase_add_loop_test(tests, what_cannot_be_used_is_said, 0, sizeof(bad) / sizeof(bad[0]));
    tcase_add_test(tests, user_without_privileges_has_its_own_only);
    suite_add_tcase(all, tests);
    return all;
}

/* In a namespace of its own, which the cases' processes leave for one of theirs. */
static const char *why_not(void)
{
    if (unshare(CLONE_NEWNET) != 0)
        return "a network namespace needs CAP_SYS_ADMIN";
    if (make_interface("probe", IFF_TAP | IFF_NO_PI) != 0)
        return "tap interfaces need /dev/net/tun and CAP_NET_ADMIN";
    return NULL;
}

int main(void)
{
    const char *why = why_not();

    if (why == NULL)
        return unit_test_run(suite());
    printf("skipped: %s\n", why);
    return SKIPPED;
}
