/* SPDX-License-Identifier: Apache-2.0 */
/* `weir ctl`: what can be asked of a sandbox that runs. */
#ifndef WEIR_CMD_CTL_H
#define WEIR_CMD_CTL_H

#include "weir/ctl_socket.h"

#include <jansson.h>

/* argv[0] is "ctl". Returns the exit status of the program. */
int cmd_ctl(int argc, char **argv);

/* ---- for its own files, and commands like it --------------------------------------- */

enum { CTL_DONE = 0, CTL_REFUSED = 1, CTL_USAGE = 2 };

/* What complaints begin with: "weir COMMAND: ". "ctl" unless told otherwise. */
void ctl_speak_as(const char *command);
int ctl_complain(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One request (taken over) and fd beside it (-1: none; not taken over); *ret is the caller's. */
int ctl_ask(const struct ctl_run *run, json_t *request, int fd, json_t **ret);
/* The same, without one; *ret_fd: the descriptor beside the reply (-1: none), the caller's. */
int ctl_ask_for(const struct ctl_run *run, json_t *request, json_t **ret, int *ret_fd);
/* By id, which is one run's, or by name, which several may have. 0, or complained of. */
int ctl_find(const char *name, struct ctl_run *ret);
int ctl_print_json(json_t *o);
/* Printable, whatever the other side sent; in one of a few buffers. */
const char *ctl_text(const json_t *o, const char *key);

/* cmd_ctl_secret.c: words behind "secret", n of them. */
int ctl_secret(const struct ctl_run *run, char **words, size_t n, const char *hosts,
	       const char *places, const char *from, bool json);

#endif
