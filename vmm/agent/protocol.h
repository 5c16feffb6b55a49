/*
 * What the host and the guest's agent say to each other. Frames carry it (frame.h); numbers are little-endian.
 *
 * Sessions. The host begins one with SYNC and a number that it has not used before; the agent ends what it was doing,
 * and answers HELLO with that number. What comes before that answer belongs to no session, and is dropped. An agent
 * that has started, or that has received something that is no frame, says HELLO with the number 0, until it hears SYNC.
 * Frames that were damaged or lost end the session, as nobody knows what was in them.
 *
 * Jobs. EXEC, PUT or GET begins one, under a number of the host's. The agent says STARTED, or FAIL, which ends the job;
 * DATA and END of the standard streams go both ways; EXIT ends the job, after all of its output. The host's CANCEL has
 * the agent end it, by force if need be; that is answered with EXIT or FAIL, too.
 *
 * Windows. Of each stream a sender has AGENT_WINDOW to begin with. A DATA frame costs its size and AGENT_FRAME_COST,
 * and CREDIT gives back what the receiver has passed on. So what a receiver may have to keep is bounded, whatever the
 * other side does; who sends more than it may has broken the protocol.
 *
 * Between a client (quire exec) and the machine the same frames go over a socket, with one job for a connection, under
 * the number 0. The machine says HELLO when an agent is there, and takes nothing from a client before.
 *
 * Plain data, pure functions: any thread.
 */
#ifndef VMM_AGENT_PROTOCOL_H
#define VMM_AGENT_PROTOCOL_H

#include "vmm/agent/frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGENT_VERSION 1u

/* The name of its virtio-console port. */
#define AGENT_PORT_NAME "quire.agent"

#define AGENT_WINDOW (128u << 10)
#define AGENT_FRAME_COST 64u
/* Bytes of a DATA frame at the most. */
#define AGENT_DATA_MAX 8192u
/* Credit is given back in pieces of at least that, so that it costs little and nobody waits for it. */
#define AGENT_CREDIT_STEP (AGENT_WINDOW / 4)

/* No frame of this size takes more room on the wire than it costs. */
_Static_assert(AGENT_WIRE_SIZE(AGENT_DATA_MAX) <= AGENT_DATA_MAX + AGENT_FRAME_COST, "a window bounds memory");

enum agent_message {
    /* host to agent: version, u64 number */
    AGENT_SYNC = 1,
    /* agent to host: version, u64 number of SYNC, or 0 */
    AGENT_HELLO,
    /* host: struct agent_exec; struct agent_file */
    AGENT_EXEC,
    AGENT_PUT,
    AGENT_GET,
    /* agent: u32 process number in the guest */
    AGENT_STARTED,
    /* both: bytes of the stream, at least one; nothing; u32 */
    AGENT_DATA,
    AGENT_END,
    AGENT_CREDIT,
    /* host: u32 signal, in Linux's numbers; u16 rows, u16 columns; nothing */
    AGENT_SIGNAL,
    AGENT_RESIZE,
    AGENT_CANCEL,
    /* agent: u32 enum agent_ending, u32 status or signal */
    AGENT_EXIT,
    /* agent, and the machine: u32 enum agent_failure, text */
    AGENT_FAIL,
    /* host and agent: any bytes up to AGENT_PING_MAX, the same in the answer; a job of its own for PING */
    AGENT_PING,
    AGENT_PONG,
    /* host: u32 enum agent_power; answered with STARTED if it is on its way, or FAIL */
    AGENT_POWER,
};

enum { AGENT_PING_MAX = 64 };

enum agent_stream { AGENT_STDIN, AGENT_STDOUT, AGENT_STDERR, AGENT_STREAM_COUNT };

enum agent_ending { AGENT_EXITED, AGENT_SIGNALLED };

enum agent_failure {
    /* The command is not there; it may not be run; anything else of the guest's. */
    AGENT_FAILED_NOT_FOUND = 1,
    AGENT_FAILED_NOT_EXECUTABLE,
    AGENT_FAILED,
    /* The agent, or the way to it, has gone: the job may or may not go on. */
    AGENT_FAILED_LOST,
    /* Something that the protocol does not know. */
    AGENT_FAILED_PROTOCOL,
};

enum agent_power { AGENT_POWER_OFF, AGENT_POWER_RESET };

/* ---- Payloads ---- */

/* Writes to a payload; too much sets is_full and is left out. */
struct agent_writer {
    uint8_t *bytes;
    size_t room;
    size_t used;
    bool is_full;
};

void agent_put_u16(struct agent_writer *writer, uint16_t value);
void agent_put_u32(struct agent_writer *writer, uint32_t value);
void agent_put_u64(struct agent_writer *writer, uint64_t value);
/* With the NUL. */
void agent_put_string(struct agent_writer *writer, const char *text);
/* The bytes as they are. */
void agent_put_bytes(struct agent_writer *writer, const void *bytes, size_t len);

/* Reads a payload; what is not there is 0 or "", and sets is_bad. */
struct agent_reader {
    const uint8_t *bytes;
    size_t left;
    bool is_bad;
};

struct agent_reader agent_reader_of(const struct agent_frame *frame);
uint16_t agent_get_u16(struct agent_reader *reader);
uint32_t agent_get_u32(struct agent_reader *reader);
uint64_t agent_get_u64(struct agent_reader *reader);
/* In the payload. */
const char *agent_get_string(struct agent_reader *reader);
/* Nothing was missing, and nothing is left. */
bool agent_reader_is_done(const struct agent_reader *reader);

#define AGENT_ARGUMENT_MAX 1024u

/* A job has a terminal; its environment is just env, and not added to the agent's own; uid and gid count. */
enum { AGENT_EXEC_TTY = 1, AGENT_EXEC_ONLY_ENV = 2, AGENT_EXEC_AS_USER = 4 };

/* A command. Strings are the caller's, or, decoded, in the payload. */
struct agent_exec {
    /* AGENT_EXEC_* */
    uint32_t flags;
    uint16_t rows;
    uint16_t columns;
    uint32_t uid;
    uint32_t gid;
    /* "": where the agent starts its jobs */
    const char *cwd;
    /* argv[0] is looked for in PATH; at least one. Lists end in NULL. */
    size_t argc;
    const char *argv[AGENT_ARGUMENT_MAX + 1];
    /* NAME=VALUE */
    size_t env_count;
    const char *env[AGENT_ARGUMENT_MAX + 1];
};

/* False: it does not fit in a payload. */
bool agent_exec_encode(const struct agent_exec *exec, struct agent_writer *writer);
/* False: it is not one. */
bool agent_exec_decode(const struct agent_frame *frame, struct agent_exec *exec);

/* A file to be put, under this mode (its 07777), or got. */
struct agent_file {
    uint32_t mode;
    const char *path;
};

bool agent_file_encode(const struct agent_file *file, struct agent_writer *writer);
bool agent_file_decode(const struct agent_frame *frame, struct agent_file *file);

/* Of FAIL: cut to what fits. */
void agent_fail_encode(struct agent_writer *writer, enum agent_failure why, const char *text);

#endif
