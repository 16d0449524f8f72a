/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A person, or a pipeline, at a command that runs elsewhere: standard input, output, terminal and
 * signals of ours are its own until it ends (weir exec, weir attach).
 */
#ifndef WEIR_CALL_SESSION_H
#define WEIR_CALL_SESSION_H

#include "weir/detach_keys.h"
#include "weir/machine_call.h"
#include "weir/vm_stdio.h"

#define SESSION_FAILED 125
#define SESSION_PATIENCE (60 * NS_PER_S)

struct call_session {
	struct machine_call call;    /* open */
	struct vm_stdio stdio;	     /* tty and no_input are set */
	struct detach_keys keys;     /* with a terminal: end the session */
	bool keep_signals;	     /* those of ours end the session, not the command */
	struct agent_stream *stream; /* what begin() began; NULL when it has ended */
	struct loop_io signals;
	int status;    /* to end with */
	bool detached; /* by the keys */
	bool ended;    /* the command, or the connection */
	bool failed;   /* not by its exit */
	bool over;
};

/* Of the stream that begin() begins, with the session as arg. */
extern const struct agent_stream_events call_session_events;
/* Until it is over, one way or another. Negative: it could not go on; complained of. */
must_check int call_session_run(struct call_session *x,
				int (*begin)(struct call_session *x, void *arg), void *arg);

#endif
