/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serving end of a local client's connection: bytes to messages and back. The clients of relay.c
 * and hub.c are programs of the same user; still they may be slow, broken or gone.
 */
#ifndef WEIR_AGENT_SERVE_H
#define WEIR_AGENT_SERVE_H

#include "agent/agent.h"
#include "agent/agent_int.h"

struct served;

struct served_ops {
	/* Negative: this client breaks the rules, and gone() is called. */
	int (*message)(struct served *s, const struct agent_message *m);
	/* The connection is over: served_stop() is the callee's to call. */
	void (*gone)(struct served *s);
	/* Whether more may be read now; NULL: always. served_read_on() when it may again. */
	bool (*may_read)(const struct served *s);
};

struct served {
	struct loop *loop;
	const struct served_ops *ops;
	int fd;
	struct loop_io io;
	struct loop_task flush;
	struct frames in;
	struct buf out;
};

/* Greets it. fd is taken over on success. */
must_check int served_start(struct served *s, struct loop *l, int fd, size_t out_max,
			    const struct agent_hello *hello, const struct served_ops *ops);
void served_stop(struct served *s);
/*
 * After something was appended to out, r its result: what could not be ends the connection. Nothing is
 * called from within it.
 */
void served_queue(struct served *s, int r);
void served_refuse(struct served *s, uint32_t id, enum agent_stage stage, int err, const char *text);
void served_read_on(struct served *s);

#endif
