/*
 * gdb_client SOCKET COMMAND...: measures a debugger's stub. It speaks the remote protocol itself, so that no debugger's
 * own time hides the stub's, and says the same to every stub. See usage().
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_SIZE = 1 << 20 };

/* The one connection. */
static struct {
    int fd;
    bool acks;
    size_t packet_size;
    bool has_x;
    /* received[taken, used) has not been looked at. */
    size_t taken;
    size_t used;
    char received[BUFFER_SIZE];
    /* The last reply's payload, escapes and all. */
    size_t reply_size;
    char reply[BUFFER_SIZE];
} stub;

static void usage(void)
{
    fputs("usage: gdb_client SOCKET COMMAND...\n"
          "Connects to the stub at a unix socket, which stops the guest, and carries out commands, each of several\n"
          "arguments. Figures are lines \"NAME<TAB>VALUE\". An ADDRESS is in hexadecimal, or @POINTER+OFFSET.\n"
          "  steps N                         steps-rate: single steps a second\n"
          "  looks N                         looks-rate: the same, with all general registers read after each\n"
          "  dump ADDRESS MIB                dump-rate, dumpx-rate: MiB a second, by `m` and by `x`\n"
          "  breaks KIND ADDRESS N           breaks-us: from one hit of a breakpoint (0 software, 1 hardware) to the\n"
          "                                  next, with what gdb does at each; breaks-only-us: continue to stop\n"
          "  watch ADDRESS COUNT SIZE STEP   watch-us: to set one of COUNT write watchpoints\n"
          "  run MS                          run-stops: lets the guest run so long, past what stops it\n"
          "  pc                              pc: where it is\n",
          stderr);
    exit(2);
}

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("gdb_client: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- Packets ---- */

static void send_bytes(const char *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t sent = send(stub.fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0)
            fail("send: %s", strerror(errno));
        bytes += sent;
        size -= (size_t)sent;
    }
}

/* False: nothing has come in so many milliseconds; -1: for ever, which is two minutes. */
static bool fill(int ms)
{
    struct pollfd poller = {.fd = stub.fd, .events = POLLIN};

    const int ready = ms < 0 ? 1 : poll(&poller, 1, ms);
    if (ready == 0)
        return false;
    if (stub.taken > 0) {
        memmove(stub.received, stub.received + stub.taken, stub.used - stub.taken);
        stub.used -= stub.taken;
        stub.taken = 0;
    }
    const ssize_t got = recv(stub.fd, stub.received + stub.used, sizeof(stub.received) - stub.used, 0);
    if (got <= 0)
        fail("the stub has gone: %s", got < 0 ? strerror(errno) : "end of file");
    stub.used += (size_t)got;
    return true;
}

static bool take_packet(int ms)
{
    const char *start, *end;

    for (;;) {
        start = memchr(stub.received + stub.taken, '$', stub.used - stub.taken);
        end = start == NULL ? NULL : memchr(start, '#', (size_t)(stub.received + stub.used - start));
        if (end != NULL && stub.received + stub.used - end >= 3)
            break;
        if (!fill(ms))
            return false;
    }
    stub.reply_size = (size_t)(end - start - 1);
    memcpy(stub.reply, start + 1, stub.reply_size);
    stub.reply[stub.reply_size] = '\0';
    stub.taken = (size_t)(end + 3 - stub.received);
    if (stub.acks)
        send_bytes("+", 1);
    return true;
}

__attribute__((format(printf, 1, 2))) static void put(const char *format, ...)
{
    static char packet[4096] = "$";
    uint8_t sum = 0;
    va_list args;

    va_start(args, format);
    int size = 1 + vsnprintf(packet + 1, sizeof(packet) - 8, format, args);
    va_end(args);
    for (int i = 1; i < size; i++)
        sum += (uint8_t)packet[i];
    size += snprintf(packet + size, 8, "#%02x", sum);
    send_bytes(packet, (size_t)size);
}

#define ASK(...) (put(__VA_ARGS__), (void)take_packet(-1))

static void expect_ok(const char *what)
{
    if (strcmp(stub.reply, "OK") != 0)
        fail("%s: the stub says \"%.60s\"", what, stub.reply);
}

static void expect_stop(void)
{
    while (stub.reply[0] == 'O')
        (void)take_packet(-1);
    if (stub.reply[0] != 'T' && stub.reply[0] != 'S')
        fail("no stop, but \"%.200s\"", stub.reply);
}

static void open_stub(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = 120};

    stub.fd = socket(AF_UNIX, SOCK_STREAM, 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(stub.fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail("%s: %s", path, strerror(errno));
    (void)setsockopt(stub.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    stub.acks = true;
    /* Some say of themselves that the guest has stopped now. */
    while (take_packet(300))
        continue;
    ASK("qSupported:swbreak+;hwbreak+");
    const char *size = strstr(stub.reply, "PacketSize=");
    stub.packet_size = size == NULL ? 400 : strtoull(size + strlen("PacketSize="), NULL, 16);
    stub.has_x = strstr(stub.reply, "binary-upload+") != NULL;
    ASK("QStartNoAckMode");
    stub.acks = strcmp(stub.reply, "OK") != 0;
    ASK("vCont?");
    ASK("?");
    expect_stop();
    ASK("Hg1");
    expect_ok("Hg");
}

/* ---- Numbers ---- */

static uint64_t read_number(uint64_t address)
{
    uint64_t value = 0;

    ASK("m%llx,8", (unsigned long long)address);
    if (stub.reply_size != 16)
        fail("nothing can be read at %llx", (unsigned long long)address);
    for (int i = 7; i >= 0; i--) {
        const char digits[3] = {stub.reply[2 * i], stub.reply[2 * i + 1], '\0'};
        value = value << 8 | strtoull(digits, NULL, 16);
    }
    return value;
}

static uint64_t address_of(const char *text)
{
    char *end;

    const uint64_t first = strtoull(text + (text[0] == '@'), &end, 16);
    const uint64_t base = text[0] == '@' ? read_number(first) : first;
    return *end == '+' ? base + strtoull(end + 1, NULL, 16) : base;
}

/* ---- Commands ---- */

static void step(void)
{
    ASK("vCont;s:1");
    expect_stop();
}

static void go_on(void)
{
    ASK("vCont;c");
    expect_stop();
}

static void measure_steps(char **args)
{
    const long count = strtol(args[0], NULL, 10);

    step();
    const double start = now();
    for (long i = 0; i < count; i++)
        step();
    printf("steps-rate\t%.1f\n", (double)count / (now() - start));
}

static void measure_looks(char **args)
{
    const long count = strtol(args[0], NULL, 10);

    const double start = now();
    for (long i = 0; i < count; i++) {
        step();
        ASK("g");
    }
    printf("looks-rate\t%.1f\n", (double)count / (now() - start));
}

/* Bytes in a reply to `m` or `x`. */
static uint64_t reply_bytes(bool binary)
{
    uint64_t bytes = 0;

    if (!binary)
        return stub.reply[0] == 'E' ? 0 : stub.reply_size / 2;
    for (size_t i = 1; i < stub.reply_size && stub.reply[0] == 'b'; i++)
        bytes += stub.reply[i] != '}';
    return bytes;
}

static double dump(uint64_t address, uint64_t size, bool binary)
{
    const uint64_t part = binary ? stub.packet_size - 1 : stub.packet_size / 2;

    const double start = now();
    for (uint64_t done = 0; done < size;) {
        const uint64_t left = size - done;
        ASK("%c%llx,%llx", binary ? 'x' : 'm', (unsigned long long)(address + done),
            (unsigned long long)(left < part ? left : part));
        const uint64_t got = reply_bytes(binary);
        if (got == 0)
            fail("nothing can be read at %llx: \"%.60s\"", (unsigned long long)(address + done), stub.reply);
        done += got;
    }
    return now() - start;
}

static void measure_dump(char **args)
{
    const uint64_t address = address_of(args[0]);
    const long mib = strtol(args[1], NULL, 10);

    for (int binary = 0; binary <= stub.has_x; binary++) {
        printf("dump%s-rate\t%.2f\n", binary ? "x" : "", (double)mib / dump(address, (uint64_t)mib << 20, binary));
    }
}

/* A stop at a breakpoint has gdb take it away, step, set it again and go on. */
static void measure_breaks(char **args)
{
    const int kind = args[0][0] - '0';
    const unsigned long long address = address_of(args[1]);
    const long count = strtol(args[2], NULL, 10);
    double running = 0;

    ASK("Z%d,%llx,1", kind, address);
    expect_ok("Z");
    go_on();
    const double start = now();
    for (long i = 0; i < count; i++) {
        ASK("g");
        ASK("z%d,%llx,1", kind, address);
        expect_ok("z");
        step();
        ASK("Z%d,%llx,1", kind, address);
        expect_ok("Z");
        const double from = now();
        go_on();
        running += now() - from;
    }
    printf("breaks-us\t%.1f\n", (now() - start) / (double)count * 1e6);
    printf("breaks-only-us\t%.1f\n", running / (double)count * 1e6);
    ASK("z%d,%llx,1", kind, address);
}

static void set_watchpoints(char **args)
{
    const uint64_t address = address_of(args[0]);
    const long count = strtol(args[1], NULL, 10);
    const long step_size = strtol(args[3], NULL, 10);

    const double start = now();
    for (long i = 0; i < count; i++) {
        ASK("Z2,%llx,%s", (unsigned long long)(address + (uint64_t)(i * step_size)), args[2]);
        expect_ok("Z2");
    }
    printf("watch-us\t%.1f\n", (now() - start) / (double)count * 1e6);
}

static void let_run(char **args)
{
    const double end = now() + strtod(args[0], NULL) / 1e3;
    long stops = 0;

    for (;;) {
        put("vCont;c");
        const double left = end - now();
        if (left <= 0 || !take_packet((int)(left * 1e3) + 1))
            break;
        expect_stop();
        stops++;
    }
    send_bytes("\003", 1);
    (void)take_packet(-1);
    expect_stop();
    printf("run-stops\t%ld\n", stops);
}

static void show_pc(char **args)
{
    (void)args;
    ASK("g");
    printf("pc\t%.16s\n", stub.reply_size >= 17 * 16 ? stub.reply + 16 * 16 : "?");
}

static const struct {
    const char *name;
    int arguments;
    void (*run)(char **args);
} commands[] = {
    {"steps", 1, measure_steps},
    {"looks", 1, measure_looks},
    {"dump", 2, measure_dump},
    {"breaks", 3, measure_breaks},
    {"watch", 4, set_watchpoints},
    {"run", 1, let_run},
    {"pc", 0, show_pc},
};

int main(int argc, char **argv)
{
    if (argc < 3)
        usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    open_stub(argv[1]);
    for (int i = 2; i < argc;) {
        size_t which = 0;
        while (which < sizeof(commands) / sizeof(commands[0]) && strcmp(commands[which].name, argv[i]) != 0)
            which++;
        if (which == sizeof(commands) / sizeof(commands[0]) || argc - i - 1 < commands[which].arguments)
            usage();
        commands[which].run(argv + i + 1);
        i += 1 + commands[which].arguments;
    }
    ASK("D");
    return 0;
}
