/*
 * devices/net/user: libslirp in the event loop, against a guest of hand-made packets.
 */
#include "devices/net/user.h"

#include "unit_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = sizeof(struct virtio_net_hdr_v1), IP = ETH_HLEN, TRANSPORT = ETH_HLEN + 20, FRAME_MAX = 2048 };

static const uint8_t GUEST_MAC[6] = {0x52, 0x54, 0, 1, 2, 3};
static const char GUEST[] = "10.0.2.15", GATEWAY[] = "10.0.2.2";

static struct event_loop *loop;
static struct net_backend *user;
static struct error error;
static struct log log_nowhere = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};

/* The last packet that came, without the header of virtio. */
static uint8_t frame[FRAME_MAX];
static ssize_t frame_size;

static void on_readable(void *context, unsigned pair)
{
    struct virtio_net_hdr_v1 header;
    const struct iovec pieces[] = {{&header, sizeof(header)}, {frame, 30}, {frame + 30, sizeof(frame) - 30}};
    static const struct virtio_net_hdr_v1 zero;

    (void)context;
    const ssize_t got = user->ops->receive(user, pair, pieces, 3);
    ck_assert_int_ge(got, HEADER + ETH_HLEN);
    ck_assert_mem_eq(&header, &zero, sizeof(header));
    frame_size = got - HEADER;
    event_loop_stop(loop);
}

static void must_not_be_called(void *context, unsigned pair)
{
    (void)context, (void)pair;
    ck_abort();
}

static const struct net_client client = {.readable = on_readable, .writable = must_not_be_called};

static void open_user(const struct net_forward *forwards, size_t count)
{
    const struct net_user_options options = {.forwards = forwards, .forward_count = count};

    user = net_user_open(&options, &error);
    ck_assert_msg(user != NULL, "%s", error.text);
    ck_assert_uint_eq(user->offloads, 0);
    ck_assert_int_eq(user->ops->attach(user, loop, "net0", &log_nowhere, &client, &error), 0);
    user->ops->listen(user, 0, true, false);
}

static void setup(void)
{
    loop = event_loop_create(&error);
}

static void teardown(void)
{
    net_backend_close(user);
    event_loop_destroy(loop);
}

/* ---- Packets ---- */

static void send_frame(const void *bytes, size_t size)
{
    struct virtio_net_hdr_v1 header = {0};
    const struct iovec pieces[] = {{&header, sizeof(header)}, {(void *)(uintptr_t)bytes, size}};

    ck_assert_int_eq(user->ops->send(user, 0, pieces, 2), 0);
}

static uint16_t type_of_frame(void)
{
    return (uint16_t)(frame[12] << 8 | frame[13]);
}

static uint32_t sum(const void *bytes, size_t size, uint32_t value)
{
    const uint8_t *at = bytes;

    for (size_t i = 0; i < size; i++)
        value += i % 2 == 0 ? (uint32_t)at[i] << 8 : at[i];
    return value;
}

static uint16_t checksum(uint32_t value)
{
    while (value >> 16 != 0)
        value = (value & 0xffff) + (value >> 16);
    return htons((uint16_t)~value);
}

/* Puts Ethernet and IP headers in front of a payload at TRANSPORT; the frame's size. */
static size_t wrap(uint8_t *bytes, uint8_t protocol, const char *from, const char *to, size_t size)
{
    struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = protocol};

    memset(bytes, 0xff, 6);
    memcpy(bytes + 6, GUEST_MAC, 6);
    bytes[12] = 8;
    bytes[13] = 0;
    ip.tot_len = htons((uint16_t)(20 + size));
    ip.saddr = inet_addr(from);
    ip.daddr = inet_addr(to);
    ip.check = checksum(sum(&ip, sizeof(ip), 0));
    memcpy(bytes + IP, &ip, sizeof(ip));
    return TRANSPORT + size;
}

static void answer_arp(void)
{
    struct ether_arp arp;
    struct ether_arp answer;
    uint8_t bytes[ETH_HLEN + sizeof(arp)] = {[12] = 8, [13] = 6};

    memcpy(&arp, frame + ETH_HLEN, sizeof(arp));
    answer = arp;
    answer.ea_hdr.ar_op = htons(ARPOP_REPLY);
    memcpy(answer.arp_tha, arp.arp_sha, 6);
    memcpy(answer.arp_tpa, arp.arp_spa, 4);
    memcpy(answer.arp_sha, GUEST_MAC, 6);
    memcpy(answer.arp_spa, arp.arp_tpa, 4);
    memcpy(bytes, arp.arp_sha, 6);
    memcpy(bytes + 6, GUEST_MAC, 6);
    memcpy(bytes + ETH_HLEN, &answer, sizeof(answer));
    send_frame(bytes, sizeof(bytes));
}

/* Waits for a packet of a protocol of IP; ARP is answered meanwhile. */
static void wait_for(uint8_t protocol)
{
    do {
        ck_assert_int_eq(event_loop_run(loop, &error), 0);
        if (type_of_frame() == ETHERTYPE_ARP)
            answer_arp();
    } while (type_of_frame() != ETHERTYPE_IP || frame[IP + 9] != protocol);
}

static void send_tcp(const struct tcphdr *to, uint8_t flags, uint32_t sequence, const char *text)
{
    uint8_t bytes[FRAME_MAX] = {0};
    const size_t size = sizeof(struct tcphdr) + strlen(text);
    struct tcphdr tcp = {.source = to->dest, .dest = to->source, .seq = htonl(sequence), .doff = 5};
    const uint32_t ends[2] = {inet_addr(GUEST), inet_addr(GATEWAY)};

    tcp.ack_seq = htonl(ntohl(to->seq) + (to->syn ? 1 : 0));
    tcp.th_flags = flags;
    tcp.window = htons(8000);
    memcpy(bytes + TRANSPORT, &tcp, sizeof(tcp));
    memcpy(bytes + TRANSPORT + sizeof(tcp), text, strlen(text));
    tcp.check = checksum(sum(ends, sizeof(ends), sum(bytes + TRANSPORT, size, (uint32_t)(IPPROTO_TCP + size))));
    memcpy(bytes + TRANSPORT, &tcp, sizeof(tcp));
    send_frame(bytes, wrap(bytes, IPPROTO_TCP, GUEST, GATEWAY, size));
}

/* ---- Cases ---- */

START_TEST(gateway_answers_arp_and_ping)
{
    uint8_t bytes[FRAME_MAX] = {[12] = 8, [13] = 6};
    struct ether_arp arp = {.ea_hdr = {htons(1), htons(ETHERTYPE_IP), 6, 4, htons(ARPOP_REQUEST)}};
    struct icmphdr icmp = {.type = ICMP_ECHO, .un.echo = {.id = 5, .sequence = 6}};

    open_user(NULL, 0);
    memset(bytes, 0xff, 6);
    memcpy(bytes + 6, GUEST_MAC, 6);
    memcpy(arp.arp_sha, GUEST_MAC, 6);
    (void)inet_pton(AF_INET, GUEST, arp.arp_spa);
    (void)inet_pton(AF_INET, GATEWAY, arp.arp_tpa);
    memcpy(bytes + ETH_HLEN, &arp, sizeof(arp));
    send_frame(bytes, ETH_HLEN + sizeof(arp));
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
    memcpy(&arp, frame + ETH_HLEN, sizeof(arp));
    ck_assert_uint_eq(arp.ea_hdr.ar_op, htons(ARPOP_REPLY));

    icmp.checksum = checksum(sum(&icmp, sizeof(icmp), 0));
    memcpy(bytes + TRANSPORT, &icmp, sizeof(icmp));
    send_frame(bytes, wrap(bytes, IPPROTO_ICMP, GUEST, GATEWAY, sizeof(icmp)));
    wait_for(IPPROTO_ICMP);
    memcpy(&icmp, frame + TRANSPORT, sizeof(icmp));
    ck_assert_uint_eq(icmp.type, ICMP_ECHOREPLY);
    ck_assert_uint_eq(icmp.un.echo.sequence, 6);
}
END_TEST

START_TEST(dhcp_gives_the_first_address)
{
    /* BOOTP: RFC 2131, 2; options: DHCPDISCOVER. */
    enum { BOOTP = TRANSPORT + 8, OPTIONS = BOOTP + 236, BOOTP_SIZE = 300 };
    static const uint8_t options[] = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255};
    uint8_t bytes[FRAME_MAX] = {[BOOTP] = 1, [BOOTP + 1] = 1, [BOOTP + 2] = 6, [BOOTP + 10] = 0x80};
    const struct udphdr udp = {.source = htons(68), .dest = htons(67), .len = htons(8 + BOOTP_SIZE)};
    struct in_addr offered;

    open_user(NULL, 0);
    memcpy(bytes + TRANSPORT, &udp, sizeof(udp));
    memcpy(bytes + BOOTP + 28, GUEST_MAC, 6);
    memcpy(bytes + OPTIONS, options, sizeof(options));
    send_frame(bytes, wrap(bytes, IPPROTO_UDP, "0.0.0.0", "255.255.255.255", 8 + BOOTP_SIZE));
    wait_for(IPPROTO_UDP);
    ck_assert_uint_eq(frame[BOOTP], 2);
    memcpy(&offered, frame + BOOTP + 16, sizeof(offered));
    ck_assert_str_eq(inet_ntoa(offered), GUEST);
}
END_TEST

/* A port of 127.0.0.1 that was free a moment ago. */
static uint16_t find_port(int type)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static int connect_to(uint16_t port, int type)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

START_TEST(forwarded_connection_reaches_the_guest_and_its_answer_the_host)
{
    struct net_forward forward = {.host_address.s_addr = htonl(INADDR_LOOPBACK), .guest_port = 22};
    char text[sizeof("hello")] = {0};
    struct tcphdr tcp;
    struct pollfd ready;

    forward.host_port = find_port(SOCK_STREAM);
    open_user(&forward, 1);
    const int fd = connect_to(forward.host_port, SOCK_STREAM);
    wait_for(IPPROTO_TCP);
    memcpy(&tcp, frame + TRANSPORT, sizeof(tcp));
    ck_assert(tcp.syn && !tcp.ack);
    ck_assert_uint_eq(tcp.dest, htons(22));
    send_tcp(&tcp, TH_SYN | TH_ACK, 1000, "");
    do {
        wait_for(IPPROTO_TCP);
        memcpy(&tcp, frame + TRANSPORT, sizeof(tcp));
    } while (tcp.syn);
    send_tcp(&tcp, TH_ACK | TH_PUSH, 1001, "hello");
    ready = (struct pollfd){.fd = fd, .events = POLLIN};
    /* What the guest has sent is acknowledged: the loop's turn has passed it on. */
    wait_for(IPPROTO_TCP);
    ck_assert_int_eq(poll(&ready, 1, 3000), 1);
    ck_assert_int_eq(recv(fd, text, sizeof(text), 0), 5);
    ck_assert_str_eq(text, "hello");
    /* And the other way. */
    ck_assert_int_eq(send(fd, "world", 5, 0), 5);
    do {
        wait_for(IPPROTO_TCP);
        memcpy(&tcp, frame + TRANSPORT, sizeof(tcp));
    } while (!tcp.psh);
    ck_assert_mem_eq(frame + TRANSPORT + 4 * tcp.doff, "world", 5);
    close(fd);
}
END_TEST

START_TEST(forwarded_datagram_reaches_the_guest)
{
    struct net_forward forward = {.is_udp = true, .host_address.s_addr = htonl(INADDR_LOOPBACK), .guest_port = 53};
    struct udphdr udp;

    forward.host_port = find_port(SOCK_DGRAM);
    open_user(&forward, 1);
    const int fd = connect_to(forward.host_port, SOCK_DGRAM);
    ck_assert_int_eq(send(fd, "question", 8, 0), 8);
    wait_for(IPPROTO_UDP);
    memcpy(&udp, frame + TRANSPORT, sizeof(udp));
    ck_assert_uint_eq(udp.dest, htons(53));
    ck_assert_mem_eq(frame + TRANSPORT + sizeof(udp), "question", 8);
    close(fd);
}
END_TEST

START_TEST(port_that_is_taken_is_said)
{
    struct net_forward forward = {.host_address.s_addr = htonl(INADDR_LOOPBACK), .guest_port = 22};
    const struct net_user_options options = {.forwards = &forward, .forward_count = 1};

    forward.host_port = find_port(SOCK_STREAM);
    open_user(&forward, 1);
    ck_assert_ptr_null(net_user_open(&options, &error));
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_msg(strstr(error.text, "127.0.0.1:") != NULL && strstr(error.text, "in use") != NULL, "%s", error.text);
}
END_TEST

START_TEST(packets_that_wait_are_bounded)
{
    uint8_t bytes[FRAME_MAX] = {0};
    struct icmphdr icmp = {.type = ICMP_ECHO};
    unsigned count = 0;

    /* Only then has libslirp the guest's address, and does not ask for it. */
    open_user(NULL, 0);
    icmp.checksum = checksum(sum(&icmp, sizeof(icmp), 0));
    memcpy(bytes + TRANSPORT, &icmp, sizeof(icmp));
    send_frame(bytes, wrap(bytes, IPPROTO_ICMP, GUEST, GATEWAY, sizeof(icmp)));
    wait_for(IPPROTO_ICMP);
    user->ops->listen(user, 0, false, false);
    for (unsigned i = 0; i < 2 * NET_USER_WAITING_MAX; i++)
        send_frame(bytes, wrap(bytes, IPPROTO_ICMP, GUEST, GATEWAY, sizeof(icmp)));
    const struct iovec piece = {frame, sizeof(frame)};
    while (user->ops->receive(user, 0, &piece, 1) > 0)
        count++;
    ck_assert_uint_eq(count, NET_USER_WAITING_MAX);
}
END_TEST

START_TEST(packets_of_any_shape_are_survived)
{
    uint8_t bytes[FRAME_MAX] = {0};
    struct virtio_net_hdr_v1 header = {0};
    static uint8_t large[66000];
    const struct iovec pieces[] = {{&header, sizeof(header)}, {large, sizeof(large)}};
    uint32_t random = 1;

    open_user(NULL, 0);
    user->ops->listen(user, 0, false, false);
    for (unsigned i = 0; i < 20000; i++) {
        static const uint8_t protocols[] = {IPPROTO_ICMP, IPPROTO_UDP, 99, IPPROTO_UDP};
        for (size_t k = 0; k < 200; k++)
            bytes[k] = (uint8_t)((random = random * 1664525 + 1013904223) >> 24);
        size_t size = random >> 16 & 127;
        if (i % 2 == 0)
            size = wrap(bytes, protocols[i / 2 % 4], GUEST, GATEWAY, size);
        send_frame(bytes, size < ETH_HLEN ? ETH_HLEN : size);
    }
    ck_assert_int_eq(user->ops->send(user, 0, pieces, 2), -EMSGSIZE);
}
END_TEST

/* Forwards, and how they are read: "" where they are not. */
static const struct {
    const char *text;
    const char *host;
    unsigned host_port;
    const char *guest;
    unsigned guest_port;
} forwards[] = {
    {"tcp:127.0.0.1:2222-:22", "127.0.0.1", 2222, "0.0.0.0", 22},
    {"tcp::2222-:22", "127.0.0.1", 2222, "0.0.0.0", 22},
    {"udp:5353-53", "127.0.0.1", 5353, "0.0.0.0", 53},
    {"tcp:0.0.0.0:65535-10.0.2.20:1", "0.0.0.0", 65535, "10.0.2.20", 1},
    {"", "", 0, "", 0},
    {"tcp", "", 0, "", 0},
    {"tcp:", "", 0, "", 0},
    {"sctp:1-1", "", 0, "", 0},
    {"tcp:22", "", 0, "", 0},
    {"tcp:22-", "", 0, "", 0},
    {"tcp:-22", "", 0, "", 0},
    {"tcp:0-22", "", 0, "", 0},
    {"tcp:65536-22", "", 0, "", 0},
    {"tcp:22-22-22", "", 0, "", 0},
    {"tcp:localhost:22-22", "", 0, "", 0},
    {"tcp:127.0.0.1:127.0.0.1:22-22", "", 0, "", 0},
    {"tcp: 22-22", "", 0, "", 0},
    {"tcp:+22-22", "", 0, "", 0},
    {"tcp:256.0.0.1:22-22", "", 0, "", 0},
};

START_TEST(forwards_are_read)
{
    struct net_forward forward = {.host_port = 7};
    char address[INET_ADDRSTRLEN];
    const int result = net_forward_parse(forwards[_i].text, &forward, &error);

    if (forwards[_i].host[0] == '\0') {
        ck_assert_int_eq(result, -1);
        ck_assert_int_eq(error.kind, ERROR_CONFIG);
        ck_assert_uint_eq(forward.host_port, 7);
        return;
    }
    ck_assert_int_eq(result, 0);
    ck_assert_int_eq(forward.is_udp, forwards[_i].text[0] == 'u');
    ck_assert_str_eq(inet_ntop(AF_INET, &forward.host_address, address, sizeof(address)), forwards[_i].host);
    ck_assert_str_eq(inet_ntop(AF_INET, &forward.guest_address, address, sizeof(address)), forwards[_i].guest);
    ck_assert_uint_eq(forward.host_port, forwards[_i].host_port);
    ck_assert_uint_eq(forward.guest_port, forwards[_i].guest_port);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("net_user");
    TCase *tests = tcase_create("user");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, gateway_answers_arp_and_ping);
    tcase_add_test(tests, dhcp_gives_the_first_address);
    tcase_add_test(tests, forwarded_connection_reaches_the_guest_and_its_answer_the_host);
    tcase_add_test(tests, forwarded_datagram_reaches_the_guest);
    tcase_add_test(tests, port_that_is_taken_is_said);
    tcase_add_test(tests, packets_that_wait_are_bounded);
    tcase_add_test(tests, packets_of_any_shape_are_survived);
    tcase_add_loop_test(tests, forwards_are_read, 0, sizeof(forwards) / sizeof(forwards[0]));
    suite_add_tcase(all, tests);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
