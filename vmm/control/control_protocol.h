/*
 * What is said on the control socket: a request is a line that holds a JSON object, {"do": "status"}, and is answered
 * by one, {"ok": true, ...} or {"ok": false, "error": "a sentence"}. A dump is answered by lines {"progress": {...}}
 * first. Knows no sockets.
 */
#ifndef VMM_CONTROL_CONTROL_PROTOCOL_H
#define VMM_CONTROL_CONTROL_PROTOCOL_H

#include "vmm/control/control_target.h"

#include <stdbool.h>
#include <stddef.h>

/* The longest request, in bytes, with its newline. */
enum { CONTROL_LINE_MAX = 4096 };

/* Before the sandbox is entered: what the JSON library would open files for later. */
void control_protocol_prepare(void);

/*
 * Acts on a request, without its newline, and gives the answer, with one and a NUL; the caller's to free. NULL: there
 * is no memory. *fd: the file that came with it, or -1; -1 afterwards where it was taken. *ret_dumps: there is no
 * answer but NULL yet, and control_go_on() is to be called until there is.
 */
char *control_answer(const struct control_target *target, const char *line, size_t size, int *fd, bool *ret_dumps);

/* A request that is too long. */
char *control_answer_too_long(void);

/* The next portion of a dump. *ret_is_over: the result answers it. Otherwise it tells of progress, and may be left out.
 */
char *control_go_on(const struct control_target *target, bool *ret_is_over);

#endif
