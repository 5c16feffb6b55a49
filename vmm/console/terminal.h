/*
 * The user's terminal while a guest has it: raw, with one escape key, and given back whatever happens.
 *
 * The terminal is the process's, and so is the state here: there is one.
 */
#ifndef VMM_CONSOLE_TERMINAL_H
#define VMM_CONSOLE_TERMINAL_H

#include "memory/support/error.h"
#include "memory/support/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the keys after Ctrl-A ask for. */
enum console_command {
    CONSOLE_LEAVE,
    CONSOLE_POWER_BUTTON,
    CONSOLE_RESET,
    CONSOLE_MAPS,
};

struct console_commands {
    void (*command)(void *context, enum console_command command);
    void *context;
};

/*
 * Makes the terminal behind fd raw, unless the process is in the background: see terminal_resume(). It is given back
 * when the process exits or a signal ends it, and while it is stopped. While it is raw, log's lines end with CR LF.
 * fd and log must stay until terminal_close(). Takes over the signals that end a process by default, as far as nobody
 * else has (a handler that is there already is called after ours), SIGTSTP and SIGCONT; ignores SIGTTIN and SIGTTOU.
 * 0, or -1 with *error; not a terminal: 0, and nothing is changed. While the process has one thread.
 */
int terminal_open(int fd, struct log *log, struct error *error);

/* Gives it back, and the signals. Any number of calls. Not together with the others, but for signals. */
void terminal_close(void);

/* Gives it back; the process is about to end. Any thread, and signal handlers. */
void terminal_restore_from_signal(void);

/*
 * hook is called, in a signal handler on any thread, when a stopped process goes on: terminal_resume() is due, from
 * where it is allowed. Before terminal_open().
 */
void terminal_set_continue_hook(void (*hook)(void *context), void *context);

/*
 * Makes the terminal raw, once more if it should be already, if it is ours: the process is in the foreground, or not
 * under this terminal's job control. Whether it is raw now; false also without a terminal. Threads: one.
 */
bool terminal_resume(void);

/* Its size in characters; 0 where the terminal does not know. false: there is no terminal. Threads: one. */
bool terminal_get_size(uint16_t *ret_columns, uint16_t *ret_rows);

/* Shows a text on the terminal, past the guest. Never waits: a terminal that is held up loses it. */
void terminal_print(const char *text);

/* Reads keys: what is for the guest, and what is for us. Zero-initialised. */
struct terminal_filter {
    bool escaped;
};

/* What one key comes to. */
enum terminal_key {
    /* The byte is for the guest. */
    TERMINAL_KEY_GUEST,
    /* Part of an escape; nothing to do. */
    TERMINAL_KEY_NOTHING,
    /* *ret_command is asked for. */
    TERMINAL_KEY_COMMAND,
    /* The list of keys is asked for. */
    TERMINAL_KEY_HELP,
    /* No such key: TERMINAL_HINT is to be shown. */
    TERMINAL_KEY_UNKNOWN,
};

/* *byte becomes what the guest is to get. A pure function of its arguments. */
enum terminal_key terminal_filter_key(struct terminal_filter *filter, uint8_t *byte, enum console_command *ret_command);

#define TERMINAL_HELP_SIZE 512u
#define TERMINAL_HINT "\r\nCtrl-A ? lists the keys\r\n"

/* Writes the list of keys, for people; lines end with CR LF. */
void terminal_format_help(char text[TERMINAL_HELP_SIZE]);

#endif
