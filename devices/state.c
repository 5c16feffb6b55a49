#include "devices/state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t MAGIC[8] = {'Q', 'S', 'T', 'A', 'T', 'E', '1', '\n'};

/* ---- Descriptions ---- */

bool state_is_whole(const struct state_description *description)
{
    size_t end = 0;

    for (size_t i = 0; i < description->count; i++) {
        const struct state_field *field = &description->fields[i];
        if (field->offset != end)
            return false;
        end += (size_t)field->width * field->count;
    }
    return end == description->size;
}

void state_add(struct state_parts *parts, const struct state_description *description, void *state)
{
    assert(parts->count < STATE_PART_MAX);
    assert(state_is_whole(description));
    parts->items[parts->count].description = description;
    parts->items[parts->count].state = state;
    parts->count++;
}

static uint64_t load(const void *at, unsigned width)
{
    uint8_t one;
    uint16_t two;
    uint32_t four;
    uint64_t eight;

    switch (width) {
    case 1:
        return memcpy(&one, at, 1), one;
    case 2:
        return memcpy(&two, at, 2), two;
    case 4:
        return memcpy(&four, at, 4), four;
    default:
        return memcpy(&eight, at, 8), eight;
    }
}

static void store(void *at, unsigned width, uint64_t value)
{
    const uint8_t one = (uint8_t)value;
    const uint16_t two = (uint16_t)value;
    const uint32_t four = (uint32_t)value;

    switch (width) {
    case 1:
        memcpy(at, &one, 1);
        break;
    case 2:
        memcpy(at, &two, 2);
        break;
    case 4:
        memcpy(at, &four, 4);
        break;
    default:
        memcpy(at, &value, 8);
        break;
    }
}

/* ---- Writing ---- */

/* Without bytes it counts. */
struct writer {
    uint8_t *bytes;
    size_t size;
};

static void put(struct writer *writer, uint64_t value, unsigned width)
{
    for (unsigned i = 0; i < width; i++, writer->size++)
        if (writer->bytes != NULL)
            writer->bytes[writer->size] = (uint8_t)(value >> 8 * i);
}

static void put_name(struct writer *writer, const char *name)
{
    const size_t length = strlen(name);

    assert(length <= UINT8_MAX);
    put(writer, length, 1);
    for (size_t i = 0; i < length; i++)
        put(writer, (uint8_t)name[i], 1);
}

static void put_part(struct writer *writer, const struct state_description *description, const uint8_t *state)
{
    put_name(writer, description->name);
    put(writer, description->version, 4);
    put(writer, description->count, 4);
    for (size_t i = 0; i < description->count; i++) {
        const struct state_field *field = &description->fields[i];
        put_name(writer, field->name);
        put(writer, field->width, 1);
        put(writer, field->count, 4);
        for (uint32_t k = 0; k < field->count; k++)
            put(writer, load(state + field->offset + (size_t)k * field->width, field->width), field->width);
    }
}

static void put_all(struct writer *writer, const struct state_parts *parts)
{
    for (size_t i = 0; i < sizeof(MAGIC); i++)
        put(writer, MAGIC[i], 1);
    put(writer, parts->count, 4);
    for (size_t i = 0; i < parts->count; i++) {
        struct writer length = {0};
        put_part(&length, parts->items[i].description, parts->items[i].state);
        put(writer, length.size, 4);
        put_part(writer, parts->items[i].description, parts->items[i].state);
    }
}

uint8_t *state_write(const struct state_parts *parts, size_t *ret_size)
{
    struct writer writer = {0};

    put_all(&writer, parts);
    *ret_size = writer.size;
    writer.bytes = malloc(writer.size);
    writer.size = 0;
    if (writer.bytes != NULL)
        put_all(&writer, parts);
    return writer.bytes;
}

/* ---- Reading ---- */

struct reader {
    const uint8_t *at;
    size_t left;
    struct error *error;
};

/* A name as the bytes have it, which may be anything, to be shown to a person. */
struct shown_name {
    char text[32];
};

static struct shown_name show(const uint8_t *name, size_t length)
{
    struct shown_name shown = {{0}};

    for (size_t i = 0; i < length && i < sizeof(shown.text) - 1; i++)
        shown.text[i] = (char)(name[i] > ' ' && name[i] < 0x7f ? name[i] : '?');
    return shown;
}

static int take(struct reader *reader, size_t size, const uint8_t **ret_bytes)
{
    *ret_bytes = reader->at;
    if (size > reader->left)
        return error_set(reader->error, ERROR_CONFIG, "the saved state is cut short");
    reader->at += size;
    reader->left -= size;
    return 0;
}

static int take_number(struct reader *reader, unsigned width, uint64_t *ret_value)
{
    const uint8_t *bytes;

    if (take(reader, width, &bytes) < 0)
        return -1;
    *ret_value = 0;
    for (unsigned i = 0; i < width; i++)
        *ret_value |= (uint64_t)bytes[i] << 8 * i;
    return 0;
}

static int take_name(struct reader *reader, const uint8_t **ret_name, uint64_t *ret_length)
{
    return take_number(reader, 1, ret_length) < 0 ? -1 : take(reader, (size_t)*ret_length, ret_name);
}

static bool is_named(const char *expected, const uint8_t *name, uint64_t length)
{
    return strlen(expected) == length && memcmp(expected, name, (size_t)length) == 0;
}

/* The field at index has another name than is expected there: says how that can be. */
static int refuse_name(struct reader *reader, const struct state_description *description, size_t index,
                       const uint8_t *name, uint64_t length)
{
    const struct shown_name shown = show(name, (size_t)length);

    for (size_t i = 0; i < description->count; i++) {
        if (!is_named(description->fields[i].name, name, length))
            continue;
        if (i < index)
            return error_set(reader->error, ERROR_CONFIG, "%s has the field %s twice", description->name, shown.text);
        return error_set(reader->error, ERROR_CONFIG, "%s has no field %s before %s", description->name,
                         description->fields[index].name, shown.text);
    }
    return error_set(reader->error, ERROR_CONFIG, "%s has a field %s, which is not known", description->name,
                     shown.text);
}

/* The elements; state: where they go, or NULL. */
static int read_elements(struct reader *reader, const struct state_description *description,
                         const struct state_field *field, uint8_t *state)
{
    uint64_t value;

    for (uint32_t i = 0; i < field->count; i++) {
        if (take_number(reader, field->width, &value) < 0)
            return -1;
        if (value > field->max)
            return error_set(reader->error, ERROR_CONFIG, "%s.%s is %llu, and %llu at the most is possible",
                             description->name, field->name, (unsigned long long)value, (unsigned long long)field->max);
        if (state != NULL)
            store(state + field->offset + (size_t)i * field->width, field->width, value);
    }
    return 0;
}

static int read_field(struct reader *reader, const struct state_description *description, size_t index, uint8_t *state)
{
    const uint8_t *name;
    uint64_t length, width, count;

    if (take_name(reader, &name, &length) < 0)
        return -1;
    if (index >= description->count || !is_named(description->fields[index].name, name, length))
        return refuse_name(reader, description, index, name, length);
    const struct state_field *field = &description->fields[index];
    if (take_number(reader, 1, &width) < 0 || take_number(reader, 4, &count) < 0)
        return -1;
    if (width != field->width || count != field->count)
        return error_set(reader->error, ERROR_CONFIG, "%s.%s is %llu numbers of %llu bytes, and should be %u of %u",
                         description->name, field->name, (unsigned long long)count, (unsigned long long)width,
                         field->count, field->width);
    return read_elements(reader, description, field, state);
}

static int check_version(struct reader *reader, const struct state_description *description, uint64_t version)
{
    if (version > description->version)
        return error_set(reader->error, ERROR_CONFIG,
                         "%s has version %llu, and this program knows %u: a newer one has saved it", description->name,
                         (unsigned long long)version, description->version);
    if (version < description->version)
        return error_set(reader->error, ERROR_CONFIG, "%s has version %llu, which this program cannot read any more",
                         description->name, (unsigned long long)version);
    return 0;
}

/* The reader has just this part. */
static int read_part(struct reader *reader, const struct state_description *description, uint8_t *state)
{
    const uint8_t *name;
    uint64_t length, version, count;

    if (take_name(reader, &name, &length) < 0)
        return -1;
    if (!is_named(description->name, name, length))
        return error_set(reader->error, ERROR_CONFIG, "there is %s in the saved state where %s should be",
                         show(name, (size_t)length).text, description->name);
    if (take_number(reader, 4, &version) < 0 || check_version(reader, description, version) < 0 ||
        take_number(reader, 4, &count) < 0)
        return -1;
    for (uint64_t i = 0; i < count; i++)
        if (read_field(reader, description, (size_t)i, state) < 0)
            return -1;
    if (count < description->count)
        return error_set(reader->error, ERROR_CONFIG, "%s has no field %s", description->name,
                         description->fields[count].name);
    if (reader->left > 0)
        return error_set(reader->error, ERROR_CONFIG, "%s has bytes behind its last field", description->name);
    return 0;
}

static int read_all(const struct state_parts *parts, struct reader reader, bool is_check)
{
    const uint8_t *bytes;
    uint64_t count, length;

    if (take(&reader, sizeof(MAGIC), &bytes) < 0)
        return -1;
    if (memcmp(bytes, MAGIC, sizeof(MAGIC)) != 0)
        return error_set(reader.error, ERROR_CONFIG, "this is no saved state of a device");
    if (take_number(&reader, 4, &count) < 0)
        return -1;
    if (count != parts->count)
        return error_set(reader.error, ERROR_CONFIG, "the saved state has %llu parts, and the device has %zu",
                         (unsigned long long)count, parts->count);
    for (size_t i = 0; i < parts->count; i++) {
        if (take_number(&reader, 4, &length) < 0 || take(&reader, (size_t)length, &bytes) < 0)
            return -1;
        struct reader part = {.at = bytes, .left = (size_t)length, .error = reader.error};
        if (read_part(&part, parts->items[i].description, is_check ? NULL : parts->items[i].state) < 0)
            return -1;
    }
    if (reader.left > 0)
        return error_set(reader.error, ERROR_CONFIG, "the saved state has bytes behind its end");
    return 0;
}

int state_read(const struct state_parts *parts, const void *bytes, size_t size, struct error *error)
{
    const struct reader reader = {.at = bytes, .left = size, .error = error};

    if (read_all(parts, reader, true) < 0)
        return -1;
    return read_all(parts, reader, false);
}
