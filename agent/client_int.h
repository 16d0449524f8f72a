/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side: what the connection, its streams and the relay know of each other. */
#ifndef WEIR_AGENT_CLIENT_INT_H
#define WEIR_AGENT_CLIENT_INT_H

#include "agent/agent.h"
#include "agent/agent_int.h"

/* Waiting to be sent: a request, and what all windows together hold, need not fit; writers wait. */
#define CLIENT_OUT_MAX (4 << 20)
/* Above this nobody is told of room. */
#define CLIENT_OUT_FULL (1 << 20)
/* Streams of one client of a relay's; the others get their share of the agent's. */
#define CLIENT_STREAMS_MAX 64
/* Waiting for it: all its windows full, and the answers beside them. More, and it is put out. */
#define RELAY_OUT_MAX (CLIENT_STREAMS_MAX * (size_t)AGENT_WINDOW + (4 << 20))

enum client_state {
	CLIENT_NEW,	    /* nothing has come */
	CLIENT_HELLO,	    /* the guest told who it is */
	CLIENT_INIT,	    /* INIT was sent */
	CLIENT_READY,	    /* requests may go */
	CLIENT_INIT_FAILED, /* only SHUTDOWN may */
	CLIENT_LOST,
};

struct agent {
	struct loop *loop;
	int fd;
	struct agent_events ev;
	void *arg;
	bool joined; /* behind a relay */
	enum client_state state;
	struct frames in;
	struct buf out;
	struct loop_io io;
	struct loop_task flush, tell_lost;
	struct agent_hello hello;
	char *hello_texts[3];
	int lost_err;
	const char *lost_why;
	uint32_t counter; /* upper part of the next id */
	struct agent_stream *streams[AGENT_STREAMS_MAX];
	/* A relay's: what waited to be sent is below CLIENT_OUT_FULL again. */
	void (*drained)(struct agent *a, void *arg);
	void *drained_arg;
	/* In an event: freeing waits until the outermost is over. */
	unsigned busy;
	bool freed;
};

struct agent_stream {
	struct agent *a;
	uint32_t id; /* its low byte is the place in streams[] */
	struct rules rules;
	const struct agent_stream_events *ev; /* NULL: closed by us, waits for the guest's end */
	/* A relay's: every message as it came, instead of events; NULL when the agent is lost. */
	void (*raw)(struct agent_stream *s, const struct agent_message *m, void *arg);
	void *arg;
	struct loop_timer deadline;
	size_t held;  /* given to data(), not yet taken */
	size_t taken; /* taken, not yet told as credit */
};

/* Breaks the connection: told from the loop, not from here. */
void client_break(struct agent *a, int err, const char *why);
/* Appends to what is sent. */
must_check int client_send(struct agent *a, uint32_t id, uint16_t type, const void *body, size_t len);

/* A message for an id other than 0 (client_stream.c). */
void client_stream_message(struct agent *a, const struct agent_message *m, const union agent_body *b);
/* Ends all, as failed with AGENT_STAGE_LOST; silent: without telling. */
void client_streams_end(struct agent *a, bool silent);
/* There is room to send again. */
void client_streams_room(struct agent *a);

/*
 * Begins a stream with a body that is written already, as `b` reads. Exactly one of ev and raw.
 */
must_check int client_stream_begin(struct agent *a, uint16_t type, const void *body, size_t len,
				   const union agent_body *b, uint64_t deadline,
				   const struct agent_stream_events *ev,
				   void (*raw)(struct agent_stream *s,
					       const struct agent_message *m, void *arg),
				   void *arg, struct agent_stream **ret);
/* A message within the stream, from a relay's client; -EPROTO: it may not come now. */
must_check int client_stream_pass(struct agent_stream *s, const struct agent_message *m,
				  const union agent_body *b);

/* Around every event, so that agent_free() may be called from it; false: the agent is gone. */
static inline void client_enter(struct agent *a)
{
	a->busy++;
}
bool client_leave(struct agent *a);

#endif
