#include "vmm/agent/protocol.h"

#include <string.h>

/* ---- Numbers and strings ---- */

void agent_put_bytes(struct agent_writer *writer, const void *bytes, size_t len)
{
    if (writer->is_full || len > writer->room - writer->used) {
        writer->is_full = true;
        return;
    }
    memcpy(writer->bytes + writer->used, bytes, len);
    writer->used += len;
}

static void put_number(struct agent_writer *writer, uint64_t value, unsigned size)
{
    uint8_t bytes[8];

    for (unsigned i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    agent_put_bytes(writer, bytes, size);
}

void agent_put_u16(struct agent_writer *writer, uint16_t value)
{
    put_number(writer, value, 2);
}

void agent_put_u32(struct agent_writer *writer, uint32_t value)
{
    put_number(writer, value, 4);
}

void agent_put_u64(struct agent_writer *writer, uint64_t value)
{
    put_number(writer, value, 8);
}

void agent_put_string(struct agent_writer *writer, const char *text)
{
    agent_put_bytes(writer, text, strlen(text) + 1);
}

struct agent_reader agent_reader_of(const struct agent_frame *frame)
{
    return (struct agent_reader){.bytes = frame->payload, .left = frame->size};
}

static uint64_t get_number(struct agent_reader *reader, unsigned size)
{
    uint64_t value = 0;

    if (reader->left < size) {
        reader->is_bad = true;
        reader->left = 0;
        return 0;
    }
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)reader->bytes[i] << (8 * i);
    reader->bytes += size;
    reader->left -= size;
    return value;
}

uint16_t agent_get_u16(struct agent_reader *reader)
{
    return (uint16_t)get_number(reader, 2);
}

uint32_t agent_get_u32(struct agent_reader *reader)
{
    return (uint32_t)get_number(reader, 4);
}

uint64_t agent_get_u64(struct agent_reader *reader)
{
    return get_number(reader, 8);
}

const char *agent_get_string(struct agent_reader *reader)
{
    const char *text = (const char *)reader->bytes;
    const size_t size = strnlen(text, reader->left) + 1;

    if (size > reader->left) {
        reader->is_bad = true;
        reader->left = 0;
        return "";
    }
    reader->bytes += size;
    reader->left -= size;
    return text;
}

bool agent_reader_is_done(const struct agent_reader *reader)
{
    return !reader->is_bad && reader->left == 0;
}

/* ---- Jobs ---- */

static void put_list(struct agent_writer *writer, const char *const *list, size_t count)
{
    agent_put_u16(writer, (uint16_t)count);
    for (size_t i = 0; i < count; i++)
        agent_put_string(writer, list[i]);
}

static size_t get_list(struct agent_reader *reader, const char **list)
{
    const size_t count = agent_get_u16(reader);

    if (count > AGENT_ARGUMENT_MAX)
        reader->is_bad = true;
    for (size_t i = 0; i < count && !reader->is_bad; i++)
        list[i] = agent_get_string(reader);
    list[reader->is_bad ? 0 : count] = NULL;
    return reader->is_bad ? 0 : count;
}

bool agent_exec_encode(const struct agent_exec *exec, struct agent_writer *writer)
{
    if (exec->argc == 0 || exec->argc > AGENT_ARGUMENT_MAX || exec->env_count > AGENT_ARGUMENT_MAX)
        return false;
    agent_put_u32(writer, exec->flags);
    agent_put_u16(writer, exec->rows);
    agent_put_u16(writer, exec->columns);
    agent_put_u32(writer, exec->uid);
    agent_put_u32(writer, exec->gid);
    agent_put_string(writer, exec->cwd);
    put_list(writer, exec->argv, exec->argc);
    put_list(writer, exec->env, exec->env_count);
    return !writer->is_full;
}

bool agent_exec_decode(const struct agent_frame *frame, struct agent_exec *exec)
{
    struct agent_reader reader = agent_reader_of(frame);

    exec->flags = agent_get_u32(&reader);
    exec->rows = agent_get_u16(&reader);
    exec->columns = agent_get_u16(&reader);
    exec->uid = agent_get_u32(&reader);
    exec->gid = agent_get_u32(&reader);
    exec->cwd = agent_get_string(&reader);
    exec->argc = get_list(&reader, exec->argv);
    exec->env_count = get_list(&reader, exec->env);
    return agent_reader_is_done(&reader) && exec->argc > 0;
}

bool agent_file_encode(const struct agent_file *file, struct agent_writer *writer)
{
    agent_put_u32(writer, file->mode);
    agent_put_string(writer, file->path);
    return !writer->is_full;
}

bool agent_file_decode(const struct agent_frame *frame, struct agent_file *file)
{
    struct agent_reader reader = agent_reader_of(frame);

    file->mode = agent_get_u32(&reader);
    file->path = agent_get_string(&reader);
    return agent_reader_is_done(&reader) && file->path[0] != '\0' && file->mode <= 07777;
}

void agent_fail_encode(struct agent_writer *writer, enum agent_failure why, const char *text)
{
    agent_put_u32(writer, why);
    const size_t room = writer->room - writer->used;
    const size_t size = strlen(text) + 1;
    const size_t fits = size <= room ? size - 1 : room - 1;

    agent_put_bytes(writer, text, fits);
    agent_put_bytes(writer, "", 1);
}
