/*
 * For tests of a server: an event loop, a place for its socket, and clients of it, all on one thread. What is said to
 * the server is served before the function returns.
 */
#ifndef TESTS_SERVER_RIG_H
#define TESTS_SERVER_RIG_H

#include "devices/host/event_loop.h"
#include "memory/support/log.h"

#include <stdbool.h>
#include <stddef.h>

/* Turns of the loop, in which all is served that one client has said. */
enum { RIG_TURNS = 10 };

extern struct event_loop *rig_loop;
/* What rig_log_says() looks through. */
extern struct log rig_log;
/* In a folder of the test's own (scratch_folder.h), where nothing is yet. */
extern char rig_path[80];

void rig_make(void);
/* After the server's end. The test fails if anything is left in the folder. */
void rig_end(void);

/* What is ready is served, so many times over. */
void rig_turn(unsigned turns);

/* A client's nonblocking socket, which is connected; the caller's. */
int rig_enter(void);
void rig_leave(int fd);
void rig_say(int fd, const char *text);
void rig_say_bytes(int fd, const char *bytes, size_t size);

/* What has arrived, until the next call; "" where the connection has ended, NULL where nothing has. */
const char *rig_hear(int fd);

bool rig_log_says(const char *text);

#endif
