/*
 * What is saved of a device: plain structs, each with a description that names every member, and the bytes that they
 * are written to: self-describing, with versions, the same on every host. Reading is strict, for bytes come from files.
 *
 * All numbers are little-endian:
 *   "QSTATE1\n", parts (4 bytes), then for each part:
 *     length of what follows (4), name (1 byte of length, then text), version (4), fields (4), then for each field:
 *       name, width (1), count (4), the elements
 */
#ifndef DEVICES_STATE_H
#define DEVICES_STATE_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A member: count unsigned numbers (or bit patterns) of width bytes, none of which may be above max. */
struct state_field {
    const char *name;
    size_t offset;
    uint8_t width;
    uint32_t count;
    uint64_t max;
};

/*
 * A struct. Fields stand in the order of its members and cover it: it has no padding, and where the compiler would put
 * some it has a member "unused", with 0 as its maximum. A change of the members is a new version.
 */
struct state_description {
    const char *name;
    uint32_t version;
    size_t size;
    const struct state_field *fields;
    size_t count;
};

/* Any other type does not compile. */
#define STATE_WIDTH(value)                                                                                             \
    _Generic((value), bool : 1, uint8_t : 1, uint16_t : 2, uint32_t : 4, uint64_t : 8, int64_t : 8)
#define STATE_MAX(value) _Generic((value), bool : 1, default : UINT64_MAX >> (64 - 8 * sizeof(value)))

/* element: the member itself, or the first element of an array, of whatever dimensions. */
#define STATE_ELEMENTS(type, member, element, greatest)                                                                \
    {                                                                                                                  \
        .name = #member, .offset = offsetof(type, member), .width = STATE_WIDTH(((type *)0)->element),                 \
        .count = sizeof(((type *)0)->member) / sizeof(((type *)0)->element), .max = (greatest),                        \
    }
/* One number or bool; one with a maximum; an array of numbers or bools; what is unused. */
#define STATE_FIELD(type, member) STATE_ELEMENTS(type, member, member, STATE_MAX(((type *)0)->member))
#define STATE_FIELD_UP_TO(type, member, greatest) STATE_ELEMENTS(type, member, member, greatest)
#define STATE_ARRAY(type, member) STATE_ELEMENTS(type, member, member[0], STATE_MAX(((type *)0)->member[0]))
#define STATE_UNUSED(type) STATE_ELEMENTS(type, unused, unused[0], 0)

/* Defines a description with the fields of an array. */
#define STATE_DESCRIPTION(identifier, type, text, number, array)                                                       \
    static const struct state_description identifier = {.name = (text),                                                \
                                                        .version = (number),                                           \
                                                        .size = sizeof(type),                                          \
                                                        .fields = (array),                                             \
                                                        .count = sizeof(array) / sizeof((array)[0])}

/* Structs that are saved and restored together, as one device's. Room for a virtio console with all ports. */
#define STATE_PART_MAX 112u

struct state_parts {
    struct {
        const struct state_description *description;
        void *state;
    } items[STATE_PART_MAX];
    size_t count;
};

/* Adds a struct, which must have a whole description: an assertion. */
void state_add(struct state_parts *parts, const struct state_description *description, void *state);

/* Whether a description covers each byte of its struct once. */
bool state_is_whole(const struct state_description *description);

/* The bytes of all parts, to be freed with free(). NULL: no memory. */
uint8_t *state_write(const struct state_parts *parts, size_t *ret_size);

/*
 * Reads what state_write() has made of the same kinds of parts. Anything else is an error, of ERROR_CONFIG: bytes that
 * are missing or too many, parts or fields that are unknown, missing or there twice, other widths, counts or versions,
 * numbers above their maximum. All parts are read, or none is touched.
 */
int state_read(const struct state_parts *parts, const void *bytes, size_t size, struct error *error);

#endif
