/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent: the host's side of the conversation with the program that is pid 1 in
 * a guest (protocol.h tells what is said). Driven by a loop over one stream
 * socket; nothing here blocks.
 *
 * The guest is hostile: whoever is root there may speak in the agent's place. Every
 * message is checked against what its id may say at that point, every text against
 * its limits, every byte against the credit that was given. The first breach ends the
 * connection (`lost`, -EPROTO), and with it every stream. No path the guest
 * names is used here, and what it may make us keep is bounded: AGENT_WINDOW for each
 * stream that is not read.
 */
#ifndef WEIR_AGENT_H
#define WEIR_AGENT_H

#include "agent/protocol.h"
#include "base/base.h"

struct agent;
struct agent_stream;

/* ---- the connection --------------------------------------------------------------- */

/* Any of them may be NULL. None is called from within a function of this header. */
struct agent_events {
	/* The first message; texts are the guest's. Now agent_send_init(), or, behind a relay, requests. */
	void (*hello)(struct agent *a, const struct agent_hello *h, void *arg);
	/* INIT is done. */
	void (*ready)(struct agent *a, void *arg);
	/* INIT failed; the agent lives on and says so, but does nothing else but SHUTDOWN. */
	void (*init_failed)(struct agent *a, const struct agent_failed *f, void *arg);
	void (*log)(struct agent *a, const struct agent_log *l, void *arg);
	/*
	 * The last event: -ECONNRESET the other end is gone, -EPROTO it broke the rules, else
	 * what the socket said. `why` is a text of ours for people. Every stream has had its `ended`
	 * before.
	 */
	void (*lost)(struct agent *a, int err, const char *why, void *arg);
};

/* fd: a connected stream socket, the agent's on success. ev is copied. */
must_check int agent_new(struct loop *l, int fd, const struct agent_events *ev, void *arg,
			 struct agent **ret);
/* The same for a client of a relay: READY comes by itself, and INIT is not its own to send. */
must_check int agent_join(struct loop *l, int fd, const struct agent_events *ev, void *arg,
			  struct agent **ret);
/* From an event, too. No event comes any more, not for streams either; their handles are gone with it. */
void agent_free(struct agent *a);

/* -E2BIG: more than AGENT_MESSAGE_MAX; -EALREADY; -ENOTCONN before hello and after lost. */
must_check int agent_send_init(struct agent *a, const struct agent_init *init);
/* Of the guest's hello; NULL before it. Lives as long as the agent. */
const struct agent_hello *agent_hello(const struct agent *a);

/* ---- requests --------------------------------------------------------------------- */

enum agent_end_kind {
	AGENT_ENDED_DONE,
	AGENT_ENDED_FAILED, /* failed; also for what the host itself ended: deadline, connection lost */
	AGENT_ENDED_EXITED, /* exited */
};

struct agent_end {
	enum agent_end_kind kind;
	union {
		struct agent_failed failed;
		struct agent_exited exited;
	};
};

/* Any may be NULL. All that is pointed to is gone when the call returns. */
struct agent_stream_events {
	void (*started)(struct agent_stream *s, uint32_t pid, void *arg);
	/*
	 * Bytes, type AGENT_OUTPUT or AGENT_ERRORS. They count against the window until
	 * agent_stream_taken() says that they found their place.
	 */
	void (*data)(struct agent_stream *s, enum agent_type type, const uint8_t *p, size_t n,
		     void *arg);
	void (*entry)(struct agent_stream *s, const struct agent_entry *e, void *arg);
	void (*sample)(struct agent_stream *s, const struct agent_sample *m, void *arg);
	/* There is room again after agent_stream_room() was less than wanted. */
	void (*room)(struct agent_stream *s, void *arg);
	/* The last event; the handle is gone when it returns. */
	void (*ended)(struct agent_stream *s, const struct agent_end *e, void *arg);
};

/*
 * Each begins a stream. deadline (loop time, 0: none) is for the first answer: STARTED for
 * EXEC and CONNECT, the first ENTRY, SAMPLE or the end for others; when it
 * passes, the stream ends as failed with AGENT_STAGE_DEADLINE. ev stays the caller's
 * and stays valid. -EAGAIN: AGENT_STREAMS_MAX are open, or more waits to be sent than is kept;
 * -ENOTCONN: not ready; -E2BIG: the request is longer than AGENT_MESSAGE_MAX.
 */
must_check int agent_exec(struct agent *a, const struct agent_exec *x, uint64_t deadline,
			  const struct agent_stream_events *ev, void *arg, struct agent_stream **ret);
/* Of a hub's client. */
must_check int agent_attach(struct agent *a, const struct agent_attach *x, uint64_t deadline,
			    const struct agent_stream_events *ev, void *arg,
			    struct agent_stream **ret);
/* type: AGENT_PUT to AGENT_COPY. */
must_check int agent_file(struct agent *a, enum agent_type type, const struct agent_file *f,
			  uint64_t deadline, const struct agent_stream_events *ev, void *arg,
			  struct agent_stream **ret);
must_check int agent_metrics(struct agent *a, uint32_t interval_ms, uint64_t deadline,
			     const struct agent_stream_events *ev, void *arg,
			     struct agent_stream **ret);
must_check int agent_ping(struct agent *a, uint64_t deadline, const struct agent_stream_events *ev,
			  void *arg, struct agent_stream **ret);
must_check int agent_clock(struct agent *a, uint64_t realtime_ns, uint64_t deadline,
			   const struct agent_stream_events *ev, void *arg,
			   struct agent_stream **ret);
/* After DONE the machine ends within grace_ms and a second; the caller's own deadline decides. */
must_check int agent_shutdown(struct agent *a, const struct agent_shutdown *how, uint64_t deadline,
			      const struct agent_stream_events *ev, void *arg,
			      struct agent_stream **ret);
/* A port of the guest's loopback; the stream ends when both directions have. */
must_check int agent_connect(struct agent *a, uint16_t port, uint64_t deadline,
			     const struct agent_stream_events *ev, void *arg,
			     struct agent_stream **ret);

/* ---- an open stream ----------------------------------------------------------------- */

/* Bytes that agent_stream_write() takes now. */
size_t agent_stream_room(const struct agent_stream *s);
/* n at most agent_stream_room(); all of it or an error. -EPIPE: EOF was sent, or the stream takes none. */
must_check int agent_stream_write(struct agent_stream *s, const void *p, size_t n);
must_check int agent_stream_eof(struct agent_stream *s);
must_check int agent_stream_signal(struct agent_stream *s, int number);
must_check int agent_stream_resize(struct agent_stream *s, uint32_t rows, uint32_t cols);
/* n bytes of what data() gave found their place: the guest may send as many more. */
void agent_stream_taken(struct agent_stream *s, size_t n);
/* The guest ends it (commands: SIGKILL to the group); no event comes any more, the handle is gone. */
void agent_stream_close(struct agent_stream *s);

/*
 * What a shell's caller would see: the exit code, 128 + signal, 124 after a timeout, 127 for a program
 * that is not there, 126 for one that cannot be run, 125 for everything else.
 */
int agent_end_status(const struct agent_end *e);
/* "the working directory", "no such program": of what a stage is about. Never NULL. */
const char *agent_stage_text(uint32_t stage);
/*
 * A name that a guest gave, fit to be made in a folder of ours: one component, not "." or "..",
 * at most 255 bytes. agent_entry.name has been through it.
 */
bool agent_name_ok(const char *name);

/* ---- several programs, one agent ------------------------------------------------------ */

/*
 * Gives local clients, each a stream socket that speaks the same protocol, the use of one
 * connection: a client calls agent_new() on its end, gets the guest's hello and READY, and
 * begins requests of its own. Ids are the relay's own towards the guest. When a
 * client goes, its streams are closed; INIT and SHUTDOWN are refused to it.
 */
struct agent_relay;
#define AGENT_RELAY_CLIENTS_MAX 64

/* a must be ready, and outlive the relay. */
must_check int agent_relay_new(struct loop *l, struct agent *a, struct agent_relay **ret);
/* Call before agent_free(), and when the agent is lost: its clients are told by the end of their sockets. */
void agent_relay_free(struct agent_relay *r);
/* fd is the relay's on success. -EAGAIN: AGENT_RELAY_CLIENTS_MAX. */
must_check int agent_relay_add(struct agent_relay *r, int fd);
/* Clients that are connected; for an idle timeout. */
size_t agent_relay_clients(const struct agent_relay *r);

/* ---- one command, several who watch it -------------------------------------------------- */

/*
 * Local clients attach to a command that runs, in a machine or anywhere else. Each is a stream socket that
 * speaks the same protocol: a client calls agent_join() and agent_attach() on its end. All of
 * them see the command's output from then on, and what each types is its input; the end of one's
 * input is that one's alone.
 *
 * Who reads slowly slows the command down for HUB_PATIENCE at most; then that client is
 * dropped, with a word to it. What waits for one is bounded by HUB_LATE_MAX and its window.
 */
struct agent_hub;
#define AGENT_HUB_CLIENTS_MAX 16
#define AGENT_HUB_PATIENCE (2 * NS_PER_S)

struct agent_hub_events {
	/*
	 * Bytes for the command's input; how many of them it takes now. The rest is kept and offered again
	 * by agent_hub_pump(). NULL: it has none, and who brings some is refused.
	 */
	size_t (*input)(const uint8_t *p, size_t n, void *arg);
	/* The terminal of one of them; also when it comes. */
	void (*resize)(uint32_t rows, uint32_t cols, void *arg);
	void (*signal)(int number, void *arg);
	/* agent_hub_full() was true, and is not any more. */
	void (*room)(void *arg);
	/* After agent_hub_end(): every client has been told, or is gone. */
	void (*drained)(void *arg);
};

/* ev is copied. */
must_check int agent_hub_new(struct loop *l, const struct agent_hub_events *ev, void *arg,
			     struct agent_hub **ret);
/* Not from an event of its own. */
void agent_hub_free(struct agent_hub *h);
/* fd is the hub's on success. -EAGAIN: AGENT_HUB_CLIENTS_MAX; -EPIPE: the command is over. */
must_check int agent_hub_add(struct agent_hub *h, int fd);
/* type: AGENT_OUTPUT or AGENT_ERRORS. */
void agent_hub_output(struct agent_hub *h, enum agent_type type, const uint8_t *p, size_t n);
/* Somebody is behind: no more output, please, until room() is called. */
bool agent_hub_full(const struct agent_hub *h);
/* The command takes input again. */
void agent_hub_pump(struct agent_hub *h);
/* The command is over; e: as the clients are to see it. */
void agent_hub_end(struct agent_hub *h, const struct agent_exited *e);
size_t agent_hub_clients(const struct agent_hub *h);

#endif
