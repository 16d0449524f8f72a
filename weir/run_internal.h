/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the supervisor share.
 *
 *   run_start.c   the processes, one after the other, until each is ready
 *   run.c         what they say, who may die when, how it ends
 *   run_report.c  the record that it owns, and what it tells the person
 */
#ifndef WEIR_RUN_INTERNAL_H
#define WEIR_RUN_INTERNAL_H

#include "audit/audit.h"
#include "weir/config.h"
#include "weir/record.h"

#include <sys/stat.h>

struct child {
	struct run *run;
	const char *name;
	pid_t pid; /* 0: not started or reaped */
	int status;
	struct loop_io io;
	int sock;
};

struct run {
	struct weir_config *cfg;
	char id[RUN_ID_LEN + 1];
	struct loop *loop;
	struct audit_log *log;
	char *audit_path;
	struct stat audit_stat;
	char policy_digest[72]; /* "sha256:HEX" of `weir policy show` */
	struct child gateway, proxy, sandbox;
	struct loop_io signals;
	struct loop_timer deadline;
	struct loop_task flush;
	char **placeholders, **envp, **hidden;
	char *ca_pem;
	int capture;
	int *published;
	int tty;	 /* the controlling terminal or -1 */
	bool foreground; /* we were started in its foreground */
	bool given;	 /* the command's group is its foreground now */
	bool command_ended, failed;
	int status; /* exit status */
};

/* ---- run.c ------------------------------------------------------------------------- */

/* Ends the run: the message is shown and recorded; the status becomes 125. */
void run_fail(struct run *r, const char *fmt, ...) printf_like(2, 3);

/* ---- run_start.c -------------------------------------------------------------------- */

/*
 * tlsproxy, sandbox and gateway, each until it is ready; the command waits for
 * MSG_GO. Wipes the secrets' values from this process. What was started when
 * it fails is the caller's to end.
 */
must_check int run_start(struct run *r, struct conf_error *err);

/* ---- run_report.c ------------------------------------------------------------------- */

/* Record, capture and published ports, before any process exists. */
must_check int run_record_open(struct run *r, struct conf_error *err);
/* An event as a helper or we ourselves built it; what cannot be written ends the run. */
void run_record_append(struct run *r, const char *from, const char *text, size_t len);
/* A loop task. */
void run_record_flush(struct loop_task *t);
/* event: begin, failed or end; detail may be NULL. */
void run_record_event(struct run *r, const char *event, const char *detail);
/* After the end: what was denied and where to read of it, or the totals as JSON. */
void run_report(const struct run *r);

#endif
