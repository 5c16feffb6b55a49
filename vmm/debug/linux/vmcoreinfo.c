#include "vmm/debug/linux/vmcoreinfo.h"

#include <string.h>

static bool is_text(char c)
{
    return c == '\n' || (c >= ' ' && c <= '~');
}

bool vmcoreinfo_parse(const void *page, size_t size, struct vmcoreinfo *ret_info)
{
    const char *bytes = page;
    size_t length = 0;

    while (length < size && length < VMCOREINFO_SIZE && is_text(bytes[length]))
        length++;
    memcpy(ret_info->text, bytes, length);
    ret_info->text[length] = '\0';
    return strncmp(ret_info->text, VMCOREINFO_START, strlen(VMCOREINFO_START)) == 0;
}

/* A value: up to the line's end, and no NUL behind it. */
struct value {
    const char *text;
    size_t length;
};

/* "kind(name)=", or "kind=" without a name. Returns what is behind it, or NULL. */
static const char *skip_key(const char *line, const char *kind, const char *name)
{
    const size_t kind_length = strlen(kind);

    if (strncmp(line, kind, kind_length) != 0)
        return NULL;
    line += kind_length;
    if (name != NULL) {
        const size_t name_length = strlen(name);
        if (line[0] != '(' || strncmp(line + 1, name, name_length) != 0 || line[1 + name_length] != ')')
            return NULL;
        line += name_length + 2;
    }
    return *line == '=' ? line + 1 : NULL;
}

static bool find_value(const struct vmcoreinfo *info, const char *kind, const char *name, struct value *ret_value)
{
    const char *line = info->text;

    while (*line != '\0') {
        const size_t length = strcspn(line, "\n");
        const char *value = skip_key(line, kind, name);
        if (value != NULL) {
            *ret_value = (struct value){value, length - (size_t)(value - line)};
            return true;
        }
        line += length;
        line += *line == '\n';
    }
    return false;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

static bool parse_number(const struct value *value, unsigned base, uint64_t *ret)
{
    uint64_t number = 0;

    for (size_t i = 0; i < value->length; i++) {
        const int digit = digit_of(value->text[i]);
        if (digit < 0 || (unsigned)digit >= base || __builtin_mul_overflow(number, base, &number) ||
            __builtin_add_overflow(number, (unsigned)digit, &number))
            return false;
    }
    *ret = number;
    return value->length > 0;
}

static bool find_number(const struct vmcoreinfo *info, const char *kind, const char *name, unsigned base, uint64_t *ret)
{
    struct value value;

    return find_value(info, kind, name, &value) && parse_number(&value, base, ret);
}

bool vmcoreinfo_text(const struct vmcoreinfo *info, const char *key, char *ret, size_t size)
{
    struct value value;

    if (!find_value(info, key, NULL, &value) || value.length >= size)
        return false;
    memcpy(ret, value.text, value.length);
    ret[value.length] = '\0';
    return true;
}

bool vmcoreinfo_symbol(const struct vmcoreinfo *info, const char *name, uint64_t *ret)
{
    return find_number(info, "SYMBOL", name, 16, ret);
}

bool vmcoreinfo_offset(const struct vmcoreinfo *info, const char *member, uint64_t *ret)
{
    return find_number(info, "OFFSET", member, 10, ret);
}

bool vmcoreinfo_size(const struct vmcoreinfo *info, const char *structure, uint64_t *ret)
{
    return find_number(info, "SIZE", structure, 10, ret);
}

bool vmcoreinfo_number(const struct vmcoreinfo *info, const char *name, uint64_t *ret)
{
    struct value value;

    if (!find_value(info, "NUMBER", name, &value))
        return false;
    const bool is_negative = value.length > 0 && value.text[0] == '-';
    if (is_negative) {
        value.text++;
        value.length--;
    }
    if (!parse_number(&value, 10, ret))
        return false;
    if (is_negative)
        *ret = -*ret;
    return true;
}

bool vmcoreinfo_kernel_offset(const struct vmcoreinfo *info, uint64_t *ret)
{
    return find_number(info, "KERNELOFFSET", NULL, 16, ret);
}
