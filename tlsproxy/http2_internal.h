/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2 (RFC 9113) on either side of a flow, shared by its files. Framing and
 * HPACK are nghttp2's; what a message may look like, how much of anything there
 * may be, and who waits for whom is decided here.
 *
 *   http2_session.c   one connection: bytes in and out, its beginning and its end
 *   http2_input.c     what nghttp2 read, into streams
 *   http2_output.c    what nghttp2 sends, into the buffer
 *   http2_windows.c   what may wait, in a connection and in the process
 *   http2_stream.c    one stream: its life
 *   http2_stream_in.c   what came in on it, until its exchange takes it
 *   http2_stream_out.c  what goes out on it, until a window opens
 *   http2_side.c      a connection as a side of a flow
 *   http2_block.c     a field section: gathered, checked, made a head
 *   http2_write.c     a head, made a field section
 *   http2_read.c      input, frame by frame
 *   http2_budget.c    frames that cost more than they bring
 *   http2_stall.c     streams that stand still
 *   http2_mem.c       nghttp2's memory: counted, and wiped
 *   http2_guest.c     the server side: requests in, responses out
 *   http2_upstream.c  the client side
 *
 * Flow control is end to end: a peer's window opens again as the bytes it sent
 * leave on the other side, so what one connection may make us hold is its
 * connection window and no more.
 */
#ifndef WEIR_TLSPROXY_HTTP2_INTERNAL_H
#define WEIR_TLSPROXY_HTTP2_INTERNAL_H

#include "tlsproxy/http_internal.h"
#include "tlsproxy/http_side.h"

#include <nghttp2/nghttp2.h>

/* ---- nghttp2's memory ------------------------------------------------------------- */

/* Refuses beyond max; overwrites all that it gives back, as values go through it. */
struct http2_mem {
	nghttp2_mem table;
	size_t used, max;
};
void http2_mem_init(struct http2_mem *m, size_t max);

/* ---- a field section --------------------------------------------------------------- */

struct http2_slot {
	uint32_t name, name_len, value, value_len; /* offsets into text */
	bool sensitive;				   /* never indexed, as its sender said */
};
struct http2_block {
	struct buf text; /* wiped: replies may hold values */
	struct http2_slot slots[HTTP_FIELDS_MAX + HTTP2_PSEUDO_MAX];
	size_t n;
	size_t size;	 /* as RFC 9113 6.5.2 counts */
	const char *why; /* over a limit, static; or NULL */
};
must_check int http2_block_new(struct http2_block **ret);
void http2_block_free(struct http2_block *b);
/* Over a limit it is only noted, as the decoder has to see all of the section. */
must_check int http2_block_add(struct http2_block *b, struct http_text name, struct http_text value,
			       bool sensitive);
/* Crumbs become one Cookie field (RFC 9113 8.2.3). Once, before the head is made. */
must_check int http2_block_join_cookies(struct http2_block *b);
struct http_text http2_block_name(const struct http2_block *b, size_t i);
struct http_text http2_block_value(const struct http2_block *b, size_t i);
/*
 * A head whose texts point into b. -EBADMSG: 400 is a malformed message (8.1.1), any
 * other status one that is well-formed but not served. connect: SETTINGS_ENABLE_CONNECT_PROTOCOL
 * was sent.
 */
must_check int http2_block_request(const struct http2_block *b, bool tls, bool connect,
				   struct http_head *ret, struct http_refusal *ret_refusal);
must_check int http2_block_response(const struct http2_block *b, struct http_head *ret,
				    const char **ret_why);
must_check int http2_block_trailers(const struct http2_block *b, struct http_head *ret,
				    const char **ret_why);

/* ---- one connection ------------------------------------------------------------------ */

struct http2;
struct http2_stream;

/* What differs between server and client. Each call may end the stream's exchange. */
struct http2_role {
	/* A first section (1xx: several) is complete, or waited and is tried again. */
	enum http_flow (*head)(struct http2_stream *st, struct http2_block *b);
	enum http_flow (*body)(struct http_exchange *x, const uint8_t *p, size_t n);
	size_t (*room)(const struct http_exchange *x);
	enum http_flow (*end)(struct http_exchange *x, const struct http_head *trailers);
	/* A message that breaks the rules: tell the exchange, reset the stream. */
	void (*malformed)(struct http2_stream *st, unsigned status, const char *why);
	/* The stream is gone, and its exchange is not over: tell it. */
	void (*gone)(struct http2_stream *st, uint32_t code);
	/* A frame was read; what concerns streams is done by the caller. */
	void (*frame)(struct http2 *h, const nghttp2_frame *frame);

	/* ---- messages out: as in struct http_side_ops ---- */
	bool (*ready)(const struct http2 *h);
	int (*write_head)(struct http2 *h, struct http_exchange *x, const struct http_head *head,
			  const struct http_framing *fr);
	/* The exchange wants the stream reset, for that of the other side's code (0: none). */
	uint32_t (*reset_code)(struct http2_stream *st, uint32_t code);
	/* The exchange is over, and is about to forget the stream. */
	void (*left)(struct http2_stream *st);
	struct http2_stream *(*stream)(const struct http_exchange *x);
	void (*set_stream)(struct http_exchange *x, void *stream);
};

struct http2_budget {
	unsigned frames; /* left */
	unsigned resets; /* left */
};

struct http2_gap {
	uint32_t from, to;
};
struct http2_reader {
	bool server;
	uint8_t header[9]; /* of which a part has arrived */
	size_t n_header;
	size_t left; /* of the present frame */
	unsigned continuations;
	uint32_t last_id; /* the highest of a client's streams */
	struct http2_gap gaps[HTTP2_GAPS_MAX];
};

struct http2 {
	struct http_side side;
	const struct http2_role *role;
	bool server;
	bool wiped; /* what is kept may hold values of secrets */
	nghttp2_session *session;
	struct http2_mem mem;
	struct list streams;
	size_t n_streams;
	struct http2_block *block; /* being received: there is one at a time (6.10) */
	size_t waiting_bytes;	   /* of field sections that wait */
	size_t out_bytes;	   /* of bodies that wait for a window */
	struct http2_budget budget;
	struct http2_reader reader;
	enum http_state over; /* HTTP_ABORT: say so at once */
	bool silent;	      /* nothing may be said yet */
	bool busy;	      /* within nghttp2: it must not be called to send */
	bool entered;	      /* within feed or pump */
	bool reap;	      /* a stream was closed */
	bool secret_frame;    /* nghttp2 is sending a frame that may hold values */
	bool dead;	      /* given up: GOAWAY with an error, nothing is read any more */
	bool ended;	      /* nothing comes or goes any more */
	bool draining;	      /* GOAWAY went out, or came in */
	bool connect;	      /* SETTINGS_ENABLE_CONNECT_PROTOCOL: sent by us, or received */
	bool settled;	      /* the peer's SETTINGS are here */
	bool counted;	      /* among the connections of the process */
	bool narrow;	      /* its windows are, as the process is crowded */
	bool pinged;	      /* by us, and has not answered yet */
	bool served;	      /* an answer came to its end: a connection that was kept */
	bool disturbed;	      /* a stream did not end in order */
};

struct http2_stream {
	struct list node;
	struct http2 *h;
	int32_t id;
	struct http_exchange *x; /* NULL: none yet, or none any more */

	/* in */
	struct http2_block *block, *trailers; /* sections that wait */
	struct buf in;			      /* body that waits */
	size_t unconsumed;		      /* bytes whose window was not given back */
	bool counted;			      /* Content-Length was there: */
	uint64_t left;			      /* bytes of it that are still to come */
	bool final;			      /* its first, final head is read */
	bool framed;			      /* and this is what it says: */
	struct http_framing framing;
	bool head_waits;
	bool in_ended, in_told; /* END_STREAM seen; the exchange knows */
	size_t late;		/* bytes that came after the response's end */
	bool drop;		/* whatever else comes is dropped */

	/* out */
	struct buf out;	       /* body that waits */
	const uint8_t *direct; /* body that need not be kept: the caller's, for one call */
	size_t n_direct;
	bool out_begun, out_ended, out_done; /* head given; end given; END_STREAM sent */
	bool out_whole;			     /* END_STREAM goes with the head */
	struct http2_block *out_trailers;

	uint8_t still;	/* ticks without a byte while something waits: http2_stall.c */
	bool malformed; /* its message is: it ends with RST_STREAM(PROTOCOL_ERROR) */
	bool excused;	/* a reset that is not its peer's doing */
	bool reset;	/* RST_STREAM is queued */
	bool closed;	/* nghttp2 knows it no more */
	uint32_t code;	/* with what it was closed */
};

/* connection (http2_session.c) */
must_check int http2_new(struct http_filter *f, bool server, const struct http2_role *role,
			 struct http2 **ret);
static inline struct http2 *http2_of(const struct http_side *s)
{
	return (struct http2 *)(uintptr_t)s; /* its first member */
}
enum http_state http2_feed(struct http_side *s, const uint8_t *p, size_t n, size_t *ret_taken);
enum http_state http2_pump(struct http_side *s);
bool http2_idle(const struct http_side *s);
enum http_state http2_eof(struct http_side *s);
void http2_drain(struct http_side *s);
void http2_ping(struct http_side *s);
void http2_free(struct http_side *s);
/* Give up the connection: GOAWAY with that code, and nothing is read any more. */
void http2_terminate(struct http2 *h, uint32_t code);
/* Write what is ready as far as there is room; not within nghttp2. */
void http2_flush(struct http2 *h);

/* what it is to the flow (http2_side.c) */
extern const struct http_side_ops http2_side_ops;

/* callbacks (http2_input.c, http2_output.c) */
void http2_input_callbacks(nghttp2_session_callbacks *cb);
void http2_output_callbacks(nghttp2_session_callbacks *cb);

/* what may wait (http2_windows.c) */
must_check int http2_windows_begin(struct http2 *h); /* announces them, with the other settings */
void http2_windows_end(struct http2 *h);
/* Narrow while the process is crowded, wide again when a tick finds it is not any more. */
void http2_fit_windows(struct http2 *h, bool tick);
/* Body bytes that wait: for the other side, for a window of the peer. */
void http2_count_in(size_t more, size_t less);
void http2_count_out(struct http2 *h, size_t more, size_t less);
/* How many may wait for one stream's window. */
size_t http2_out_cap(const struct http2 *h);

/* time (http2_stall.c) */
void http2_tick(struct http_side *s);

/* input (http2_read.c) */
void http2_reader_init(struct http2_reader *r, bool server);
void http2_read(struct http2 *h, const uint8_t *p, size_t n);

/* streams (http2_stream.c) */
must_check struct http2_stream *http2_stream_new(struct http2 *h, int32_t id);
void http2_stream_free(struct http2_stream *st);
struct http2_stream *http2_stream_find(struct http2 *h, int32_t id);
void http2_stream_reset(struct http2_stream *st, uint32_t code);
/* Forget the exchange. What has not gone on is dropped and its window given back. */
void http2_stream_detach(struct http2_stream *st);
/* n bytes that came in went on: their window is given back. */
void http2_stream_taken(struct http2_stream *st, size_t n);
/* All that came in and waits is dropped. */
void http2_stream_drop_in(struct http2_stream *st);
/* A section waits no more. */
void http2_drop_block(struct http2 *h, struct http2_block *b);
/* Appends to one of the stream's buffers; outgrown storage is wiped where it may have held values. */
must_check int http2_stream_keep(const struct http2_stream *st, struct buf *b, const uint8_t *p,
				 size_t n);

/* in (http2_stream_in.c) */
/* A field section is complete. */
void http2_stream_section(struct http2_stream *st, bool end);
void http2_stream_data(struct http2_stream *st, const uint8_t *p, size_t n);
void http2_stream_end(struct http2_stream *st);
/* What waits goes on, as far as it is taken. */
enum http_flow http2_stream_deliver(struct http2_stream *st);
/* Framing of a message from its Content-Length and whether DATA follows. -EBADMSG. */
must_check int http2_stream_framing(struct http2_stream *st, bool bodyless, bool has_length,
				    uint64_t length, struct http_framing *ret, const char **ret_why);

/* out (http2_stream_out.c) */
size_t http2_stream_room(const struct http2_stream *st);
must_check int http2_stream_body(struct http2_stream *st, const uint8_t *p, size_t n);
must_check int http2_stream_finish(struct http2_stream *st, const struct http_head *trailers);
nghttp2_data_provider http2_stream_source(struct http2_stream *st);
/* n bytes of what the source offered, written. -EPIPE: they are gone. */
must_check int http2_stream_emit(struct http2_stream *st, size_t n);

/* heads (http2_write.c) */
struct http2_fields {
	nghttp2_nv nv[HTTP_FIELDS_MAX + HTTP2_PSEUDO_MAX];
	size_t n, size;
	char number[24], authority[NAME_MAX_LEN + 16];
};
void http2_fields_add(struct http2_fields *w, struct http_text name, struct http_text value,
		      bool sensitive);
static inline struct http_text http_text_of(const char *s)
{
	return (struct http_text){ s, strlen(s) };
}
/* All of h's fields that HTTP/2 has, and Content-Length. -ENOBUFS: too many. */
must_check int http2_fields_head(struct http2_fields *w, const struct http_head *h,
				 const struct http_framing *fr);
/* -ENOBUFS: the peer said that it takes less. */
must_check int http2_fields_fit(const struct http2_fields *w, const struct http2 *h);

/* budget (http2_budget.c): false when it is used up */
void http2_budget_init(struct http2_budget *b);
must_check bool http2_budget_frame(struct http2_budget *b, const nghttp2_frame_hd *hd);
must_check bool http2_budget_spend(struct http2_budget *b, unsigned frames);
must_check bool http2_budget_reset(struct http2_budget *b);
void http2_budget_earn(struct http2_budget *b, unsigned frames);
void http2_budget_served(struct http2_budget *b);

#endif
