/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conversation with the agent of a machine that runs: weir exec and its like. Their
 * run's supervisor relays it; the guest's messages have been checked there and are
 * checked here once more.
 */
#ifndef WEIR_MACHINE_CALL_H
#define WEIR_MACHINE_CALL_H

#include "agent/agent.h"

#include <jansson.h>

struct machine_call {
	const char *name;
	struct loop *loop;
	struct agent *agent;
	bool ready;
	int lost; /* negative errno once the connection is over */
};

/* Connects to the sandbox's agent; 0, or a status to end with: complained of. */
must_check int machine_call_open(struct machine_call *c, const char *name);
/* The same with who serves its main command; *ret: what is said of that, the caller's. */
must_check int machine_call_attach(struct machine_call *c, const char *name, json_t **ret);
void machine_call_close(struct machine_call *c);

/* One request at a time, waited for: what commands that copy files are made of. */
struct machine_wait {
	struct agent_stream *s; /* NULL once it ended */
	bool started, ended;
	struct agent_end end;
	char why[320]; /* of a failure, printable */
	/* Where what comes goes; NULL: nowhere. A non-zero return closes the stream and is kept. */
	int (*data)(struct machine_wait *w, const uint8_t *p, size_t n);
	int (*entry)(struct machine_wait *w, const struct agent_entry *e);
	int (*sample)(struct machine_wait *w, const struct agent_sample *m);
	int stopped;
	void *arg;
};
extern const struct agent_stream_events machine_wait_events; /* arg: the struct machine_wait */
/* Until the stream ended, or was stopped, or the connection is lost. 0: DONE; else negative errno, w->why says more. */
must_check int machine_wait_end(struct machine_call *c, struct machine_wait *w);
/* A request on files, to its end. */
must_check int machine_file(struct machine_call *c, enum agent_type type,
			    const struct agent_file *f, struct machine_wait *w);

#endif
