/* SPDX-License-Identifier: Apache-2.0 */
/* Runs that go on in the background, and the files they leave for later. */
#ifndef WEIR_RUN_DETACH_H
#define WEIR_RUN_DETACH_H

#include "weir/config.h"
#include "weir/ctl_socket.h"

#include <jansson.h>

/* Longer than any name with what stands behind it. */
#define RUN_DETACH_FILE 96

/* "NAME.log", "NAME.ended": in the folder of control sockets. */
void run_detach_file(char out[static RUN_DETACH_FILE], const char *name, const char *what);
/* The way back: file becomes the name. False, and it stays: it is none of these. */
bool run_detach_file_name(char *file, const char *what);
/*
 * What "NAME.ended" in this folder says: name, id, command, status, began, ended (seconds). NULL: it
 * is not there, or is none. The caller's to json_decref().
 */
json_t *run_detach_ended(int dir, const char *file);
/*
 * What a person calls a sandbox, its name or its id, as the name by which files of runs in the
 * background are found; the word itself where none is known.
 */
void run_detach_name(const char *word, char ret[static CTL_NAME_MAX + 1]);
/* The status it ended with; 125 where nobody left word. */
int run_detach_status(int dir, const char *name);
/* One of this name begins or runs in the background. */
bool run_detach_lives(int dir, const char *name);
/*
 * What is known of one that is over: the same and "state": "ended"; or name and "state":
 * "killed" of one whose processes were killed before any could write it. NULL: there is none.
 */
json_t *run_detach_over(int dir, const char *name);
/*
 * run(cfg) in a process of its own; returns when the command has begun (0, and its name was
 * printed) or cannot begin (the status; why was printed). cfg is taken over.
 */
int run_detached(struct weir_config *cfg, int (*run)(struct weir_config *cfg));

#endif
