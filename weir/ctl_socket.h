/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where running sandboxes can be talked to: a directory of the user's own, in
 * it one SOCK_SEQPACKET socket per run, named ID@NAME.sock.
 *
 *   root               /run/weir
 *   else               $XDG_RUNTIME_DIR/weir
 *   without one        $XDG_STATE_HOME/weir/run, $HOME/.local/state/weir/run
 *
 * One request, one reply, then the connection is over. Each is a message of one
 * JSON object; a text that does not fit travels as a sealed memory file beside
 * it (sealed.h).
 *
 *   {"verb":"policy.set"} + text      {"ok":true,"generation":2,...}
 *   {"verb":"counters"}               {"ok":true,...} + text
 *   anything refused                  {"ok":false,"error":"..."}
 */
#ifndef WEIR_CTL_SOCKET_H
#define WEIR_CTL_SOCKET_H

#include "base/base.h"
#include "weir/record.h"

/* A request or reply; what is longer goes beside it. */
#define CTL_MESSAGE_MAX 16384
#define CTL_NAME_MAX 63
/* Directories a user may have; a run takes the first that can be made. */
#define CTL_DIRS 3

struct ctl_run {
	char dir[256];
	char id[RUN_ID_LEN + 1];
	char name[CTL_NAME_MAX + 1];
};

/* The candidates in order, each freed by the caller; returns how many. */
size_t ctl_dirs(char *ret[static CTL_DIRS]);
/* Opens the first of them that can be made and is ours; *ret_path (ret_path may be NULL) is freed by the caller. */
must_check int ctl_dir_open(int *ret, char **ret_path);
/* "ID@NAME.sock" taken apart; false: no socket of a run. */
bool ctl_file_parse(const char *file, struct ctl_run *ret);

/*
 * Makes the directory, takes away what dead runs left in it, and listens. The
 * socket exists under its name only once it can be connected to.
 */
struct ctl_listener {
	int fd, dir;
	char file[RUN_ID_LEN + 1 + CTL_NAME_MAX + 8];
};
must_check int ctl_listen(const char *id, const char *name, struct ctl_listener *ret);
void ctl_unlisten(struct ctl_listener *l);

/* Live runs of this user, in no order; *ret is freed by the caller. */
must_check int ctl_list(struct ctl_run **ret, size_t *ret_n);
/* Whether one of this name or id runs; ret may be NULL. */
bool ctl_runs(const char *name, struct ctl_run *ret);
/* -ECONNREFUSED: nobody listens any more. */
must_check int ctl_connect(const struct ctl_run *r, int *ret_fd);

#endif
