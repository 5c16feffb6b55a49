/*
 * A TOML 1.0 document as a plain tree. Behind it is toml++; nothing else in the program is C++.
 */
#ifndef VMM_CONFIG_TOML_H
#define VMM_CONFIG_TOML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Arrays and inline tables within each other, and tables below tables: deeper ones are refused. */
#define TOML_MAX_DEPTH 8u
/*
 * toml++ makes and destroys tables by recursion, and does not limit how many a dotted key opens. A dotted key is on one
 * line, so a limit of dots in a line, those in strings too, limits the stack. It is far above what a line for a person
 * holds.
 */
#define TOML_MAX_DOTS_IN_LINE 256u

enum toml_kind {
    TOML_KIND_TABLE,
    TOML_KIND_ARRAY,
    TOML_KIND_STRING,
    TOML_KIND_INTEGER,
    TOML_KIND_FLOAT,
    TOML_KIND_BOOLEAN,
    /* A date, a time or both. */
    TOML_KIND_TIME,
};

/* Lines and columns count from 1; columns are characters. */
struct toml_node {
    enum toml_kind kind;
    unsigned line;
    unsigned column;

    /* In a table: the key, and where it stands. NULL otherwise. It may hold NUL characters. */
    char *key;
    size_t key_length;
    unsigned key_line;
    unsigned key_column;

    /* TABLE, in the order of the file, and ARRAY. */
    struct toml_node *children;
    size_t count;

    /* STRING: UTF-8, ended by a NUL that is not counted in length; it may hold others. */
    char *string;
    size_t length;
    int64_t integer;
    double number;
    bool boolean;
};

struct toml_failure {
    bool out_of_memory;
    unsigned line;
    unsigned column;
    /* A sentence without a full stop; it may quote bytes of the document. */
    char text[200];
};

/*
 * Parses length bytes at text. Returns the top table, for toml_free(); or NULL with *failure filled in: not TOML, a key
 * given twice, nested too deeply, or out of memory. Any thread.
 */
struct toml_node *toml_parse(const char *text, size_t length, struct toml_failure *failure);

/* NULL is fine. */
void toml_free(struct toml_node *root);

#ifdef __cplusplus
}
#endif

#endif
