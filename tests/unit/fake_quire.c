/*
 * Stands in for quire where a test needs machines that do as they are told: `fake_quire run --status-fd 3 -- FILE`
 * reads boot.cmdline of the file, words that are obeyed in their order:
 *     print:TEXT      a line on the console; "_" is a blank
 *     prompt:TEXT     the same without its end
 *     read            waits for a line on the console, and prints it in brackets
 *     flood:MIB       so much on the console, in lines; binary:MIB the same of all bytes, and no line ends
 *     end:NAME:STATUS says on descriptor 3 that it ends so, and does
 *     waits:NAME:STATUS   says on descriptor 3 that it would end so, but waits
 *     wait:MS         does nothing for a while
 *     log:TEXT        a line of the machine's own; "_" is a blank, "@" is FILE; many-logs:N so many lines, with numbers
 *     hangup          takes a client of the agent's socket, and leaves it at once
 *     agent:N         is the agent for N of its clients, one after the other; the guest is this host, but for its
 * power: what follows says what becomes of that signal:N        sends this signal to who has started it linger takes
 * its time when it is told to go, by SIGTERM: it says so on the console first vanish          is killed by a signal
 *     crash:NAME      says that it ends so, and is killed by a signal
 *     deaf            its control socket does not answer
 * Behind the last it goes on for ever. It prints its process's number first. On the control socket it says what is
 * asked of it on the console, and does it.
 */
#include "vmm/agent/protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *machine_file;
static bool is_deaf;
static int agent_listener = -1;

static void say(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        _exit(1);
}

static void end(const char *name, int status)
{
    dprintf(3, "%s %d the guest did that\n", name, status);
    exit(status);
}

/* The value of `key = "..."` in the file. */
static bool find(const char *file, const char *section, const char *key, char *value, size_t size)
{
    char line[4096];
    bool is_there = false;
    FILE *in = fopen(file, "re");
    const size_t length = strlen(key);

    while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
        if (line[0] == '[')
            is_there = strncmp(line, section, strlen(section)) == 0;
        if (!is_there || strncmp(line, key, length) != 0 || strncmp(line + length, " = \"", 4) != 0)
            continue;
        (void)snprintf(value, size, "%s", line + length + 4);
        value[strcspn(value, "\"")] = '\0';
        fclose(in);
        return true;
    }
    if (in != NULL)
        fclose(in);
    return false;
}

/* ---- Control ---- */

static int listen_at(const char *address)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    const char *path = address + strlen("unix:");
    const size_t length = strlen(path);

    if (length >= sizeof(name.sun_path))
        _exit(1);
    memcpy(name.sun_path, path, length);
    if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(fd, 8) < 0)
        _exit(1);
    return fd;
}

/* A request and the descriptor that it has brought; -1: none. */
static ssize_t receive(int fd, char *bytes, size_t size, int *ret_file)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = size - 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    const ssize_t got = recvmsg(fd, &message, 0);
    const struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;

    *ret_file = -1;
    if (header != NULL)
        memcpy(ret_file, CMSG_DATA(header), sizeof(*ret_file));
    bytes[got > 0 ? got : 0] = '\0';
    return got;
}

static void answer(int fd)
{
    static const char vcpus[] =
        "{\"ok\": true, \"vcpus\": [{\"space\": \"default\", \"state\": \"halted\", \"bits\": 64, "
        "\"privilege\": 0, \"linear_rip\": \"0xffffffff81000010\", \"registers\": {\"rsp\": "
        "\"0x1234\"}}]}\n";
    char request[4096];
    int file;

    if (receive(fd, request, sizeof(request), &file) <= 0) {
        close(fd);
        return;
    }
    say("asked: ");
    say(request);
    if (strstr(request, "vcpus") != NULL) {
        dprintf(fd, "%s", vcpus);
    } else if (strstr(request, "dump") != NULL) {
        dprintf(file, "a dump");
        dprintf(fd, "{\"progress\": {\"done\": 1, \"total\": 2, \"written\": 1}}\n{\"ok\": true}\n");
    } else if (strstr(request, "power-button") != NULL) {
        dprintf(fd, "{\"ok\": true}\n");
        end("power-off", 0);
    } else if (strstr(request, "resume") != NULL) {
        dprintf(fd, "{\"ok\": false, \"error\": \"it does not want to\"}\n");
    } else {
        dprintf(fd, "{\"ok\": true}\n");
    }
    if (file >= 0)
        close(file);
}

/* Serves the socket until there is something on the console, or for ever. */
static void serve(int listener, bool reads)
{
    static int client = -1;

    for (;;) {
        struct pollfd polls[] = {{.fd = is_deaf ? -1 : listener, .events = POLLIN},
                                 {.fd = client, .events = POLLIN},
                                 {.fd = reads ? STDIN_FILENO : -1, .events = POLLIN}};
        (void)poll(polls, 3, -1);
        if (polls[2].revents != 0)
            return;
        if (polls[1].revents != 0) {
            answer(client);
            client = polls[1].revents & POLLHUP ? -1 : client;
        }
        if (polls[0].revents != 0)
            client = accept(listener, NULL, NULL);
    }
}

/* ---- The agent ---- */

/* A connection of a client's: it has one job. */
struct client {
    int fd;
    struct agent_decoder decoder;
    uint8_t bytes[4096];
    size_t used;
    size_t taken;
};

static void send_frame(const struct client *client, uint8_t type, uint8_t stream, const void *payload, size_t size)
{
    static uint8_t wire[AGENT_WIRE_MAX];
    const struct agent_frame frame = {.type = type, .stream = stream, .payload = payload, .size = size};
    const size_t length = agent_frame_encode(&frame, wire);

    if (send(client->fd, wire, length, MSG_NOSIGNAL) != (ssize_t)length)
        _exit(1);
}

static void send_numbers(const struct client *client, uint8_t type, uint32_t first, uint32_t second)
{
    uint8_t payload[8];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, first);
    agent_put_u32(&writer, second);
    send_frame(client, type, 0, payload, writer.used);
}

static struct agent_frame next_frame(struct client *client)
{
    struct agent_frame frame;

    for (;;) {
        size_t taken;
        const enum agent_decoded what =
            agent_decode(&client->decoder, client->bytes + client->taken, client->used - client->taken, &taken, &frame);
        client->taken += taken;
        if (what == AGENT_DECODED_FRAME)
            return frame;
        if (client->taken < client->used)
            continue;
        const ssize_t got = read(client->fd, client->bytes, sizeof(client->bytes));
        if (got <= 0)
            _exit(1);
        client->used = (size_t)got;
        client->taken = 0;
    }
}

/* Whatever can be read, as the standard output of the job. */
static void send_all(const struct client *client, int fd)
{
    char bytes[4096];
    ssize_t got;

    while ((got = read(fd, bytes, sizeof(bytes))) > 0)
        send_frame(client, AGENT_DATA, AGENT_STDOUT, bytes, (size_t)got);
}

static void run_command(const struct client *client, const struct agent_frame *frame)
{
    static struct agent_exec exec;

    if (!agent_exec_decode(frame, &exec))
        _exit(1);
    FILE *output = popen(exec.argv[exec.argc - 1], "re");
    send_numbers(client, AGENT_STARTED, 1, 0);
    send_all(client, fileno(output));
    const int status = pclose(output);
    if (WIFSIGNALED(status))
        send_numbers(client, AGENT_EXIT, AGENT_SIGNALLED, (uint32_t)WTERMSIG(status));
    else
        send_numbers(client, AGENT_EXIT, AGENT_EXITED, (uint32_t)WEXITSTATUS(status));
}

static void take_file(struct client *client, const char *path)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    struct agent_frame frame;

    send_numbers(client, AGENT_STARTED, 1, 0);
    while ((frame = next_frame(client)).type == AGENT_DATA) {
        if (write(fd, frame.payload, frame.size) != (ssize_t)frame.size)
            _exit(1);
    }
    close(fd);
    send_numbers(client, AGENT_EXIT, AGENT_EXITED, 0);
}

static void give_file(const struct client *client, const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    send_numbers(client, AGENT_STARTED, 1, 0);
    send_all(client, fd);
    close(fd);
    send_numbers(client, AGENT_EXIT, AGENT_EXITED, 0);
}

static void be_agent(void)
{
    static struct client client;
    struct agent_file file;

    client = (struct client){.fd = accept(agent_listener, NULL, NULL)};
    send_numbers(&client, AGENT_HELLO, AGENT_VERSION, 0);
    const struct agent_frame frame = next_frame(&client);
    if (frame.type == AGENT_EXEC)
        run_command(&client, &frame);
    else if (frame.type == AGENT_POWER)
        send_numbers(&client, AGENT_STARTED, 0, 0);
    else if (!agent_file_decode(&frame, &file))
        _exit(1);
    else if (frame.type == AGENT_PUT)
        take_file(&client, strdupa(file.path));
    else
        give_file(&client, file.path);
    close(client.fd);
}

/* ---- What it is told ---- */

static void read_line(int listener)
{
    char byte;

    serve(listener, true);
    say("[");
    while (read(STDIN_FILENO, &byte, 1) == 1 && byte != '\r')
        (void)!write(STDOUT_FILENO, &byte, 1);
    say("]\n");
}

static void flood(unsigned mib, bool is_binary)
{
    static char piece[1 << 16];

    for (size_t i = 0; i < sizeof(piece); i++)
        piece[i] = is_binary      ? (char)(i * 7 % 251 == 10 || i * 7 % 251 == 13 ? 0 : i * 7 % 251)
                   : i % 64 == 63 ? '\n'
                                  : 'x';
    for (unsigned i = 0; i < mib * 16; i++)
        for (size_t done = 0; done < sizeof(piece);) {
            const ssize_t some = write(STDOUT_FILENO, piece + done, sizeof(piece) - done);
            if (some < 0)
                _exit(1);
            done += (size_t)some;
        }
}

static void put_blanks(char *text)
{
    for (char *at = text; *at != '\0'; at++)
        *at = *at == '_' ? ' ' : *at;
}

static void print(char *text, const char *tail)
{
    put_blanks(text);
    say(text);
    say(tail);
}

static void log_text(char *text)
{
    put_blanks(text);
    for (; *text != '\0'; text++) {
        if (*text == '@')
            dprintf(STDERR_FILENO, "%s", machine_file);
        else
            dprintf(STDERR_FILENO, "%c", *text);
    }
    dprintf(STDERR_FILENO, "\n");
}

static void log_many(int count)
{
    for (int i = 1; i <= count; i++)
        dprintf(STDERR_FILENO, "fake: line %d\n", i);
}

static sigset_t terminated(void)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    return mask;
}

static void linger(void)
{
    const sigset_t mask = terminated();
    int number;

    (void)sigwait(&mask, &number);
    say("going\n");
    raise(SIGKILL);
}

/* NAME:STATUS */
static void end_as(char *argument)
{
    const char *name = strsep(&argument, ":");

    end(name, atoi(argument));
}

static void wait_as(char *argument)
{
    const char *name = strsep(&argument, ":");

    dprintf(3, "waits %s %d the guest did that\n", name, atoi(argument));
}

static void wait_for(unsigned ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&time, NULL);
}

static void hang_up(void)
{
    close(accept(agent_listener, NULL, NULL));
    wait_for(100);
}

static void obey(char *word, int listener)
{
    char *argument = strchr(word, ':');

    if (argument != NULL)
        *argument++ = '\0';
    if (strcmp(word, "print") == 0)
        print(argument, "\n");
    else if (strcmp(word, "prompt") == 0)
        print(argument, "");
    else if (strcmp(word, "read") == 0)
        read_line(listener);
    else if (strcmp(word, "flood") == 0 || strcmp(word, "binary") == 0)
        flood((unsigned)atoi(argument), word[0] == 'b');
    else if (strcmp(word, "end") == 0)
        end_as(argument);
    else if (strcmp(word, "waits") == 0)
        wait_as(argument);
    else if (strcmp(word, "wait") == 0)
        wait_for((unsigned)atoi(argument));
    else if (strcmp(word, "log") == 0)
        log_text(argument);
    else if (strcmp(word, "many-logs") == 0)
        log_many(atoi(argument));
    else if (strcmp(word, "signal") == 0)
        (void)kill(getppid(), atoi(argument));
    else if (strcmp(word, "linger") == 0)
        linger();
    else if (strcmp(word, "hangup") == 0)
        hang_up();
    else if (strcmp(word, "agent") == 0)
        for (int count = atoi(argument); count > 0; count--)
            be_agent();
    else if (strcmp(word, "crash") == 0)
        dprintf(3, "%s 0 the guest did that\n", argument);
    if (strcmp(word, "vanish") == 0 || strcmp(word, "crash") == 0)
        raise(SIGKILL);
}

int main(int argc, char *argv[])
{
    char cmdline[4096] = "";
    char address[256] = "";
    char first[32];
    char *rest = cmdline;
    char *word;

    machine_file = argv[argc - 1];
    (void)find(machine_file, "[boot]", "cmdline", cmdline, sizeof(cmdline));
    is_deaf = strstr(cmdline, "deaf") != NULL;
    if (strstr(cmdline, "linger") != NULL) {
        const sigset_t mask = terminated();
        sigprocmask(SIG_BLOCK, &mask, NULL);
    }
    const int listener = find(machine_file, "[control]", "listen", address, sizeof(address)) ? listen_at(address) : -1;
    if (find(machine_file, "[agent]", "listen", address, sizeof(address)))
        agent_listener = listen_at(address);
    (void)snprintf(first, sizeof(first), "process %d\n", (int)getpid());
    say(first);
    while ((word = strsep(&rest, " ")) != NULL)
        obey(word, listener);
    serve(listener, false);
    return 0;
}
