/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP/1 filter, shared by its files.
 *
 *   http_filter.c    the public calls, the queue of exchanges
 *   http_guest.c     requests: reading, judging, forwarding
 *   http_upstream.c  responses: reading, forwarding
 *   http_collect.c   a head's bytes, checked one by one
 *   http_head.c      a head's meaning: start lines and fields
 *   http_framing.c   where a message ends
 *   http_chunk.c     chunked bodies
 *   http_websocket.c frames from a server after an upgrade
 *   http_agree.c     Host, SNI, port and flow name are one
 *   http_doh.c       is there a DNS query in it
 *   http_write.c     heads written anew
 *   http_secret.c    where secrets may go, violations
 *   http_answer.c    the filter's own answers
 */
#ifndef WEIR_TLSPROXY_HTTP_INTERNAL_H
#define WEIR_TLSPROXY_HTTP_INTERNAL_H

#include "tlsproxy/http.h"
#include "tlsproxy/http_limits.h"
#include "tlsproxy/secret_internal.h"

/* ---- a head's bytes ---------------------------------------------------------------- */

enum http_collect_kind {
	HTTP_COLLECT_REQUEST = 0, /* one empty line in front is tolerated */
	HTTP_COLLECT_RESPONSE = 1,
	HTTP_COLLECT_TRAILERS = 2, /* may be empty */
};
struct http_collect {
	struct buf bytes; /* the lines, each with its CRLF; without the empty last one */
	enum http_collect_kind kind;
	uint8_t state;
	bool skipped; /* the empty line in front */
	size_t lines;
};
void http_collect_init(struct http_collect *c, enum http_collect_kind kind);
void http_collect_fini(struct http_collect *c);
bool http_collect_empty(const struct http_collect *c);
/*
 * Takes bytes up to the end of the section. *ret_done: complete. -EBADMSG: a byte
 * that has no place there, -E2BIG: too long or too many lines; *ret_why says which.
 */
must_check int http_collect_feed(struct http_collect *c, const uint8_t *p, size_t n,
				 size_t *ret_taken, bool *ret_done, const char **ret_why);

/* ---- a head's meaning ----------------------------------------------------------------- */

struct http_text {
	const char *s;
	size_t len;
};
struct http_field {
	struct http_text name, value; /* value without surrounding white space */
	bool sensitive; /* never indexed by HPACK: a secret, or so marked by its sender */
};
struct http_head {
	/* request */
	struct http_text method, target; /* target in origin form after http_agree() */
	unsigned minor;			 /* HTTP/1.minor */
	/* HTTP/2: pseudo-header fields (RFC 9113 8.3.1, RFC 8441 4); empty otherwise */
	bool http2;
	struct http_text scheme, authority, protocol;
	/* response */
	unsigned status;
	struct http_text reason;
	struct http_field fields[HTTP_FIELDS_MAX];
	size_t n_fields;
};
/* A refusal: status for the guest and a static sentence. */
struct http_refusal {
	unsigned status;
	const char *why;
};
/* -EBADMSG with *ret filled in. */
must_check int http_head_request(const struct http_collect *c, struct http_head *ret,
				 struct http_refusal *ret_refusal);
must_check int http_head_response(const struct http_collect *c, struct http_head *ret,
				  const char **ret_why);
must_check int http_head_trailers(const struct http_collect *c, struct http_head *ret,
				  const char **ret_why);
bool http_text_is(struct http_text t, const char *s); /* exact */
/* RFC 9110 5.6.2 */
bool http_is_token_char(uint8_t c);
bool http_text_ieq(struct http_text t, const char *s); /* ASCII case ignored */
/* Number of fields of that name; *ret is the first. */
size_t http_field_find(const struct http_head *h, const char *name, struct http_text *ret);
/* Is `token` an element of the comma-separated lists in all fields of that name. */
bool http_field_lists(const struct http_head *h, const char *name, struct http_text token);
bool http_field_has_token(const struct http_head *h, const char *name, const char *token);

/* ---- framing ----------------------------------------------------------------------------- */

enum http_body {
	HTTP_BODY_NONE = 0,
	HTTP_BODY_LENGTH = 1,
	HTTP_BODY_CHUNKED = 2,
	HTTP_BODY_CLOSE = 3, /* responses: until the connection ends */
};
struct http_framing {
	enum http_body body;
	bool has_length; /* Content-Length was there (HEAD, 304: without a body) */
	uint64_t length;
};
must_check int http_framing_request(const struct http_head *h, struct http_framing *ret,
				    struct http_refusal *ret_refusal);
must_check int http_framing_response(const struct http_head *h, bool head_request,
				     struct http_framing *ret, const char **ret_why);
/* Fields that tell where a message ends or whom it is for. */
bool http_field_is_framing(struct http_text name);

/* ---- chunked bodies ----------------------------------------------------------------------- */

struct http_chunks {
	uint8_t state;
	uint8_t digits;
	uint16_t line; /* bytes of this size line */
	size_t ext;    /* extension bytes of the body */
	uint64_t left; /* of this chunk */
};
/*
 * Takes bytes up to the end of one piece of data. *ret_data of *ret_len bytes
 * (may be 0). *ret_last: the last chunk's size line was read, trailers follow.
 * -EBADMSG with *ret_why.
 */
must_check int http_chunks_feed(struct http_chunks *c, const uint8_t *p, size_t n,
				size_t *ret_taken, const uint8_t **ret_data, size_t *ret_len,
				bool *ret_last, const char **ret_why);

/* ---- WebSocket frames from a server --------------------------------------------------------- */

struct http_frames {
	bool payload; /* the header was read */
	bool masked;
	uint8_t head[10];     /* of the present frame, or of the last one */
	uint8_t n_head, want; /* header bytes read, and wanted once the second is known */
	uint64_t left;	      /* of this frame's payload */
};
struct http_frame_piece {
	size_t taken;	/* of the input */
	uint8_t n_head; /* when not 0: http_frames.head is complete and goes first */
	const uint8_t *payload;
	size_t n_payload;
	bool end; /* of the frame */
};
/* Takes bytes of one frame at most. -EBADMSG: no frame a server may send. */
must_check int http_frames_feed(struct http_frames *w, const uint8_t *p, size_t n,
				struct http_frame_piece *ret);

/* ---- exchanges ------------------------------------------------------------------------------ */

/* One request and its response, in the order of requests. */
struct http_exchange {
	struct list node;
	struct authority authority;
	char method[HTTP_METHOD_MAX + 1];
	char *target;
	char *overrides; /* methods it may be taken for as well, each with its NUL; or NULL */
	size_t n_overrides;
	size_t kept; /* bytes of both, counted in target_bytes */
	bool is_head;
	bool http10;
	bool keep; /* the guest wants the connection to stay */
	bool websocket;
	bool doh;	   /* a DNS query inside */
	bool expect;	   /* 100-continue asked */
	bool sent;	   /* its head went upstream */
	bool body_begun;   /* a byte of the request body arrived */
	bool request_done; /* read to its end */
	bool response_begun;
	bool response_done;
	unsigned interim;
	uint64_t up, down;

	/* Answered here: */
	bool local;
	bool close; /* and nothing after it */
	enum tlsproxy_http_outcome outcome;
	unsigned status;
	const char *detail; /* static */
	const char *error;  /* Proxy-Status error token, static */
	char extra[HTTP_TEXT_MAX];
	bool has_verdict;
	struct tlsproxy_verdict verdict; /* also carries our own denial id */
};

enum http_guest_state {
	HTTP_G_HEAD = 0,
	HTTP_G_READY = 1, /* head complete, waits for room or its turn */
	HTTP_G_LENGTH = 2,
	HTTP_G_CHUNKS = 3,
	HTTP_G_TRAILERS = 4,
	HTTP_G_DRAIN = 5,  /* body of a denied request */
	HTTP_G_SWITCH = 6, /* asked for an upgrade: nothing is read until the answer */
	HTTP_G_TUNNEL = 7,
	HTTP_G_STOP = 8,   /* whatever comes is dropped */
	HTTP_G_GATHER = 9, /* a short body, before its head goes out */
};
enum http_upstream_state {
	HTTP_U_HEAD = 0,
	HTTP_U_READY = 1,
	HTTP_U_LENGTH = 2,
	HTTP_U_CHUNKS = 3,
	HTTP_U_TRAILERS = 4,
	HTTP_U_CLOSE = 5, /* body until the end of the connection */
	HTTP_U_TUNNEL = 6,
	HTTP_U_STOP = 7,
};

/* Where text of the present request stands: what decides over a hit. */
struct http_place {
	struct http_filter *filter;
	enum tlsproxy_place place;
	unsigned forms;		  /* 1 << enum secret_form that may be replaced */
	const char *barred;	  /* why nothing may be put in here at all, static; or NULL */
	bool grows;		  /* the text may get longer: unshaped values are escaped */
	enum secret_form natural; /* when it may not: how a value has to be written here */
	bool skip_base64;	  /* Basic credentials are looked at decoded */
};

struct http_filter {
	struct http_filter_config cfg;
	size_t n_secrets;
	enum http_guest_state g;
	enum http_upstream_state u;
	struct list exchanges;
	size_t n_exchanges, target_bytes;
	struct http_exchange *current; /* request being read; on the list */
	bool guest_ended, upstream_ended;
	enum http_state over; /* HTTP_CLOSE or HTTP_ABORT was returned: nothing changes any more */

	struct http_collect request_head, response_head;
	struct buf gathered; /* HTTP_G_GATHER */
	struct http_chunks request_chunks, response_chunks;
	uint64_t request_left, response_left, drain_left;
	bool response_chunked_out; /* the guest gets chunks */
	bool response_plain;	   /* the body is not looked at */
	bool response_keep;	   /* connection stays after this response */

	/* The present request's secrets: place bits, one byte a secret, see http_secret.c. */
	uint8_t *pending, *reported;
	const char *request_barred;
	bool secret_host; /* this request's host may be sent a secret */
	struct http_place body_place;
	struct secret_stream request_body, response_body, tunnel, tunnel_back;
	struct http_frames frames; /* of the upstream, in a tunnel */
	uint64_t body_in, body_out;

	char violation_id[40]; /* of the violation that stopped the present request */
	char violation_text[HTTP_TEXT_MAX];

	bool failed; /* upstream cannot be used */
	unsigned fail_status;
	char fail_error[64], fail_detail[HTTP_TEXT_MAX];
	bool denied;
	struct tlsproxy_verdict deny;
};

/* ---- exchanges (http_filter.c) ---------------------------------------------------------------- */

must_check struct http_exchange *http_exchange_add(struct http_filter *f);
/* Reports it and takes it off the queue. */
void http_exchange_finish(struct http_filter *f, struct http_exchange *x);
struct http_exchange *http_exchange_first(const struct http_filter *f);
/* Both halves are over: finish. */
void http_exchange_settle(struct http_filter *f, struct http_exchange *x);
/* Writes the local answers whose turn it is. HTTP_CLOSE after one that closes. */
must_check enum http_state http_pump(struct http_filter *f, struct buf *to_guest);
void http_event_request(const struct http_filter *f, const struct http_exchange *x,
			struct tlsproxy_request *ret);
static inline size_t buf_room(const struct buf *b)
{
	return b->cap - b->len;
}

/* ---- guest side, upstream side ------------------------------------------------------------------ */

must_check enum http_state http_guest_feed(struct http_filter *f, const uint8_t *p, size_t n,
					   size_t *ret_taken, struct buf *to_upstream,
					   struct buf *to_guest);
must_check enum http_state http_upstream_feed(struct http_filter *f, const uint8_t *p, size_t n,
					      size_t *ret_taken, struct buf *to_guest);
must_check enum http_state http_upstream_end(struct http_filter *f, struct buf *to_guest);
/* The request being read is refused; nothing of it went upstream, or upstream is given up. */
void http_refuse(struct http_filter *f, struct http_exchange *x, enum tlsproxy_http_outcome outcome,
		 unsigned status, const char *error, const char *detail);

/* Judged by its method and by every one that it may be taken for. */
void http_judge(struct http_filter *f, const struct http_exchange *x, struct tlsproxy_verdict *ret);

/* ---- agreement ------------------------------------------------------------------------------------ */

/*
 * Whom the request is for; h->target becomes origin form. -EBADMSG with
 * *ret_refusal; *ret is then whom a readable Host names, for the record only.
 */
must_check int http_agree(const struct http_filter *f, struct http_head *h, struct authority *ret,
			  struct http_refusal *ret_refusal);

/* ---- DNS over HTTPS --------------------------------------------------------------------------------- */

/* h->target is in origin form. */
bool http_doh_request(const struct http_head *h);
/* A response that says it is a DNS message. */
bool http_doh_response(const struct http_head *h);

/* ---- writing ---------------------------------------------------------------------------------------- */

/* 0, -ENOBUFS, -ENOMEM, -EPERM (violation). Roll back on failure is the caller's. */
must_check int http_write_request(struct http_filter *f, const struct http_head *h,
				  const struct http_exchange *x, const struct http_framing *fr,
				  struct buf *out);
/* Interim responses (1xx) too: without framing, keep and chunked are not looked at. */
must_check int http_write_response(struct http_filter *f, const struct http_head *h,
				   const struct http_exchange *x, const struct http_framing *fr,
				   bool keep, bool chunked, struct buf *out);
must_check int http_write_trailers(struct http_filter *f, const struct http_head *h, bool request,
				   struct buf *out);
/*
 * Body bytes through the stream (NULL: as they are), as a chunk or plain.
 * end: flush what is held back first. Takes at most HTTP_SLICE.
 */
must_check int http_write_body(struct secret_stream *s, bool chunked, const uint8_t *p, size_t n,
			       bool end, struct buf *out, size_t *ret_written);
/* Forget what was written after `len`, overwriting it: it may hold values. */
void http_cut(struct buf *b, size_t len);
/* Room in out for one slice: how many input bytes fit. */
size_t http_body_fits(const struct secret_stream *s, const struct buf *out);

/* ---- secrets --------------------------------------------------------------------------------------------- */

/* A request begins: nothing marked. */
void http_secret_begin(struct http_filter *f);
/* Look only: -EPERM when the text holds a placeholder. */
must_check int http_secret_scan(struct http_filter *f, struct http_text t, const char *barred);
/* Towards the guest: values become placeholders. */
must_check int http_secret_scrub(struct http_filter *f, struct http_text t, struct buf *out);
must_check int http_secret_target(struct http_filter *f, struct http_text target, struct buf *out);
must_check int http_secret_field(struct http_filter *f, const struct http_field *fld,
				 struct buf *out);
/* Prepare the body's stream from the head. */
void http_secret_body(struct http_filter *f, const struct http_head *h);
void http_secret_tunnel(struct http_filter *f);
/* The head or a piece of body went out: report what was put in since. */
void http_secret_report(struct http_filter *f);
void http_secret_forget(struct http_filter *f); /* not sent after all */

/* ---- answers ------------------------------------------------------------------------------------------------ */

must_check int http_answer_write(const struct http_filter *f, const struct http_exchange *x,
				 struct buf *out, size_t *ret_body);

#endif
