/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `weir ctl` share. */
#ifndef WEIR_CMD_CTL_INT_H
#define WEIR_CMD_CTL_INT_H

#include "weir/cmd_ctl.h"

/* Behind a verb. */
struct ctl_words {
	const char *arg; /* NULL: it takes none */
	bool json;
	bool end; /* --end: flows too */
};

/* ---- cmd_ctl_verbs.c: each returns the exit status -------------------------------------- */

int ctl_do_status(const struct ctl_run *run, const struct ctl_words *w);
int ctl_do_show(const struct ctl_run *run, const struct ctl_words *w);
int ctl_do_counters(const struct ctl_run *run, const struct ctl_words *w);
int ctl_do_set(const struct ctl_run *run, const struct ctl_words *w);
int ctl_do_ports(const struct ctl_run *run, const struct ctl_words *w);
int ctl_do_publish(const struct ctl_run *run, const struct ctl_words *w);
int ctl_do_unpublish(const struct ctl_run *run, const struct ctl_words *w);
int ctl_do_rate(const struct ctl_run *run, const struct ctl_words *w);
int ctl_do_metrics(const struct ctl_run *run, const struct ctl_words *w);
/* The running sandboxes, as a table or as JSON. */
int ctl_list_all(bool json);

/* ---- cmd_ctl_ask.c -------------------------------------------------------------------------- */

/* Both of ctl_ask() and ctl_ask_for(). */
int ctl_ask_with(const struct ctl_run *run, json_t *request, int fd, json_t **ret_reply, int *ret_fd);
/* Complains; r: of ctl_list(). */
int ctl_list_failed(int r);

#endif
