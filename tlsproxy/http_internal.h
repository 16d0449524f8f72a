/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP filter, shared by its files.
 *
 *   http_filter.c    the public calls, the list of exchanges
 *   http_exchange.c  an exchange's life and its ends
 *   http_judge.c     may its request go on
 *   http_override.c  what else it may be taken for
 *   http_request.c   its request: gathered, sent
 *   http_response.c  its response: checked, scrubbed, handed to the guest
 *   http_fields.c    heads written anew
 *   http_content.c   bodies decoded, substituted or scrubbed, coded again
 *   http_agree.c     Host, SNI, port and flow name are one
 *   http_doh.c       is there a DNS query in it
 *   http_secret.c    where secrets may go, violations
 *   http_tunnel.c    what passes after an upgrade
 *   http_await.c     requests that wait for a value
 *   http_mask.c      replies that bring tokens
 *   http_sign.c      requests signed anew
 *   http_answer.c    the filter's own answers
 *
 *   http1_*.c        HTTP/1 on either side: http1.h
 *   http_collect.c   a head's bytes, checked one by one
 *   http_head.c      a head's meaning: start lines and fields
 *   http_framing.c   where a message ends
 *   http_chunk.c     chunked bodies
 */
#ifndef WEIR_TLSPROXY_HTTP_INTERNAL_H
#define WEIR_TLSPROXY_HTTP_INTERNAL_H

#include "tlsproxy/http.h"
#include "tlsproxy/http_limits.h"
#include "tlsproxy/http_pipe.h"
#include "tlsproxy/http_side.h"
#include "tlsproxy/secret_internal.h"

#include <strings.h>

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
/* The index of the first control character that is no tab, of which no head has one; n: none. */
size_t http_plain_run(const uint8_t *p, size_t n);

/* ---- a head's meaning ----------------------------------------------------------------- */

struct http_text {
	const char *s;
	size_t len;
};
/* Of a literal, for tables. */
#define HTTP_TEXT(s)                                                                               \
	{                                                                                          \
		s, sizeof(s) - 1                                                                   \
	}
struct http_field {
	struct http_text name, value; /* value without surrounding white space */
	bool sensitive; /* never indexed by HPACK: a secret, or so marked by its sender */
};
struct http_head {
	/* request */
	struct http_text method, target; /* target in origin form after http_agree() */
	bool target_sensitive;		 /* a value was put into it */
	bool absolute;			 /* goes out in absolute form, to an explicit proxy */
	unsigned minor;			 /* HTTP/1.minor */
	/*
	 * HTTP/2: pseudo-header fields (RFC 9113 8.3.1, RFC 8441 4); empty otherwise. In a
	 * head that goes out scheme and authority are always set, and there is no Host.
	 */
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
/* Why a field may not stand among trailers, static; NULL: it may. */
const char *http_trailer_fault(struct http_text name);
/* Its texts lie behind it; freed as one. NULL: out of memory. */
struct http_head *http_head_copy(const struct http_head *h);
bool http_text_is(struct http_text t, const char *s); /* exact */
/* RFC 9110 5.6.2 */
bool http_is_token_char(uint8_t c);
/* Whatever their case: most names differ in length already. */
static inline bool http_text_same(struct http_text a, struct http_text b)
{
	return a.len == b.len && strncasecmp(a.s, b.s, a.len) == 0;
}
static inline bool http_text_ieq(struct http_text t, const char *s)
{
	return http_text_same(t, (struct http_text){ s, strlen(s) });
}
bool http_text_among(struct http_text t, const struct http_text *names, size_t n);
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
	bool open;	 /* HTTP/2: no body, but its head did not end it: trailers may come */
	uint64_t length;
};
must_check int http_framing_request(const struct http_head *h, struct http_framing *ret,
				    struct http_refusal *ret_refusal);
must_check int http_framing_response(const struct http_head *h, bool head_request,
				     struct http_framing *ret, const char **ret_why);
/* Fields that tell where a message ends or whom it is for. */
bool http_field_is_framing(struct http_text name);
/* Read as one of them by servers that take an underscore for a hyphen. */
bool http_field_disguised(struct http_text name);

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

/* ---- exchanges ------------------------------------------------------------------------------ */

/* Where text of a request stands: what decides over a hit. */
struct http_place {
	struct http_exchange *x;
	enum tlsproxy_place place;
	unsigned forms;		  /* 1 << enum secret_form that may be replaced */
	const char *barred;	  /* why nothing may be put in here at all, static; or NULL */
	enum secret_form natural; /* how clients write a text here: plain, percent, JSON */
	bool skip_base64;	  /* Basic credentials are looked at decoded */
	struct http_text name;	  /* of the field or key, where it is known */
	uint64_t fields;	  /* of a body: bits of the named ones that this piece is in */
	uint64_t name_at;	  /* bytes of the same value before this piece */
};

/* The field or key that a secret was put into first, for the record. */
#define HTTP_PUT_NAME_MAX 64
#define HTTP_PUT_NAMES 4
struct http_put_name {
	uint16_t secret;
	uint8_t place;
	char name[HTTP_PUT_NAME_MAX];
};

/* Both directions after an upgrade. */
struct http_tunnel;

/* A body that is looked at. All zero: bytes pass as they are. */
struct http_content {
	struct http_pipe *pipe;
	struct http_pipe_filter filter;
	struct buf rest; /* taken, and waiting for room or time */
	bool waits;	 /* for that: nothing more is taken */
	bool unflushed;	 /* a coder may hold what came last */
	bool ended;
};

/* n texts, each with its NUL. */
struct http_others {
	char *texts; /* or NULL */
	size_t n, size;
};

/* One request and its response. */
struct http_exchange {
	struct list node;
	struct http_filter *filter;
	void *guest, *upstream; /* the sides' own */
	uint32_t code;		/* with what one side's stream was reset */
	struct authority authority;
	char method[HTTP_METHOD_MAX + 1];
	char *target;
	struct http_others methods, targets; /* that it may be taken for as well */
	size_t kept;			     /* bytes of all, counted in target_bytes */
	bool is_head;
	bool http10;		       /* the guest speaks HTTP/1.0 */
	bool keep;		       /* the guest wants the connection to stay */
	bool websocket;		       /* asks for an upgrade to it */
	bool ws_offered;	       /* with an extension */
	bool connect;		       /* CONNECT to an explicit proxy */
	struct tlsproxy_flow *proxied; /* to such a proxy: the flow to its target; or NULL */
	bool doh;		       /* a DNS query inside */
	bool expect;		       /* 100-continue asked */
	bool judged;		       /* its head was, and may go upstream */
	bool sent;		       /* its head went upstream */
	bool body_begun;	       /* a byte of the request body arrived */
	bool request_done;	       /* read to its end, and sent unless refused */
	bool response_begun;	       /* its head went to the guest */
	bool response_done;
	unsigned interim;
	uint64_t up, down;
	char authority_text[NAME_MAX_LEN + 16];
	char max_forwards[8]; /* of TRACE and OPTIONS, one less than it came */
	size_t head_size;     /* what the head that is to be written next takes at most in HTTP/1 */

	/* A short body waits here with its head until it is complete. */
	bool gathers;
	struct http_head *waiting_head; /* its texts lie behind it */
	struct http_framing waiting_framing;
	struct buf gathered;
	struct buf ready; /* the same with values in it, as the side takes it; wiped */

	bool awaits;		/* a value that is still to come, see http_await.c */
	struct http_mask *mask; /* a token endpoint's reply on its way; or NULL */
	/* Signed with a secret, see http_sign.c. */
	bool signs;
	bool sign_body;	  /* its body with it: it is in gathered, whatever its size */
	size_t sign_kept; /* of the process's limit */
	const struct sign_plan *sign_plan; /* while its head is written; or NULL */

	/* Secrets as they were when it began; place bits, one byte a secret, see http_secret.c. */
	struct secret_set *secrets;
	size_t n_secrets;
	uint8_t *pending, *reported;
	/*
	 * Of what comes back: the newest, since a host may have been told a value on another
	 * connection meanwhile. A body's stream refers to it.
	 */
	struct secret_set *reply_secrets;
	bool unread; /* what comes passes unread, and its host may know a secret by now */
	struct http_put_name put_names[HTTP_PUT_NAMES];
	size_t n_put_names;
	const char *request_barred;
	bool secret_host; /* may know a secret: what hides one in replies is not asked for */
	struct http_place body_place;
	struct secret_stream request_body, response_body;
	struct http_rewrite *rewrite; /* tells the request's fields, where a secret names some */
	struct http_content up_body, down_body;
	bool used;	       /* a value was put in */
	char violation_id[40]; /* of the violation that stopped it */
	char violation_text[HTTP_TEXT_MAX];
	struct http_tunnel *tunnel; /* after 101; or NULL */

	/* Answered here: */
	bool local;
	bool close; /* and nothing after it, where a connection has one request at a time */
	enum tlsproxy_http_outcome outcome;
	unsigned status;
	const char *detail; /* static */
	const char *error;  /* Proxy-Status error token, static */
	char extra[HTTP_TEXT_MAX];
	bool has_verdict;
	struct tlsproxy_verdict verdict; /* also carries our own denial id */
};

struct http_filter {
	struct http_filter_config cfg;
	struct secret_set *secrets; /* of the next request */
	struct http_side *guest, *upstream;
	struct list exchanges; /* in the order of requests */
	size_t n_exchanges, target_bytes;
	size_t preface; /* bytes that are HTTP/2's preface so far */
	bool begun;	/* it is known which protocol the guest speaks */
	bool guest_ended;
	bool upstream_gone;	      /* takes no more requests */
	bool upstream_rest;	      /* it sent more than was asked for, which was dropped */
	bool busy;		      /* work is left that waits for nothing but its turn */
	bool secret_used;	      /* a value went to this upstream */
	bool bound;		      /* the connection is a client's own (http_filter_bound) */
	bool connected;		      /* CONNECT was answered 2xx */
	struct tlsproxy_flow *inside; /* the one in it, or NULL: it is large, and rare */
	struct tlsproxy_verdict inside_verdict;
	bool switched; /* the whole connection is a tunnel (HTTP/1 after 101) */
	/* HTTP_CLOSE or HTTP_ABORT was said: nothing changes any more. Sides may set it. */
	enum http_state over;
	/* Text of the present head and bytes of a body, rewritten: hold values, wiped. */
	struct buf arena, scratch;

	bool failed; /* upstream cannot be used */
	unsigned fail_status;
	char fail_error[64], fail_detail[HTTP_TEXT_MAX];
	bool denied;
	struct tlsproxy_verdict deny;
};

static inline size_t buf_room(const struct buf *b)
{
	return b->cap - b->len;
}
struct http_exchange *http_exchange_first(const struct http_filter *f);
/* Where both halves are over it is reported and freed: x is gone then. */
void http_exchange_settle(struct http_exchange *x);
/* Reports it, lets both sides forget it, frees it. */
void http_exchange_finish(struct http_exchange *x);
/* It gets an answer of ours, as soon as the guest's side is ready for it. */
void http_refuse(struct http_exchange *x, enum tlsproxy_http_outcome outcome, unsigned status,
		 const char *error, const char *detail);
/* -EPERM: by the violation that was found. */
void http_refuse_violation(struct http_exchange *x);
/* No answer can be given any more: both halves are reset. x is gone afterwards. */
void http_exchange_cut(struct http_exchange *x, const char *detail);
/* The guest gave it up, and nobody answered: what goes on the record of it. */
void http_exchange_cancelled(struct http_exchange *x, const char *detail);
/* The upstream cannot be had for it. x may be gone afterwards. */
void http_refuse_failed(struct http_exchange *x);
/*
 * The upstream reset its stream before it answered (HTTP/2), and the guest's stream ends
 * with the same code: it says more than a 502, CANCEL to gRPC, and REFUSED_STREAM that
 * the request may be sent again. x is gone afterwards.
 */
void http_exchange_mirror_reset(struct http_exchange *x, uint32_t code, const char *detail);
void http_event_request(const struct http_exchange *x, struct tlsproxy_request *ret);
/* Malformed, but h can be read: its host and method go on the record. */
void http_request_bad_head(struct http_exchange *x, struct http_head *h,
			   const struct http_refusal *refusal);
/* Refused with r's status; REFUSED. */
enum http_flow http_bad_request(struct http_exchange *x, const struct http_refusal *r);
/* The first time a head is seen. ON: it may go upstream. */
must_check enum http_flow http_judge_head(struct http_exchange *x, struct http_head *h,
					  const struct http_framing *fr);
/* Fields by which servers take a request for one with another method or target. */
bool http_field_overrides(struct http_text name);
/* The methods and targets it may be taken for, into x. -ENOMEM. */
must_check int http_overrides_remember(struct http_exchange *x, const struct http_head *h);
/* -EBADMSG: one that cannot be judged, or too many. */
must_check int http_overrides_check(const struct http_head *h, struct http_refusal *refusal);
/* Judged by its method and target, and by every one that it may be taken for. */
void http_judge(const struct http_exchange *x, struct tlsproxy_verdict *ret);
/* At most how many bytes h takes as an HTTP/1 head. */
size_t http_head_size(const struct http_head *h);

/* ---- agreement ------------------------------------------------------------------------------------ */

/*
 * Whom the request is for; h->target becomes origin form. -EBADMSG with
 * *ret_refusal; *ret is then whom a readable Host names, for the record only.
 */
must_check int http_agree(const struct http_filter *f, struct http_head *h, struct authority *ret,
			  struct http_refusal *ret_refusal);

/*
 * A request in absolute form for another host, to a flow that may be one to an explicit
 * proxy: plain, and not on the port of HTTP itself.
 */
bool http_is_proxied(const struct http_filter *f, const struct http_head *h);

/* ---- DNS over HTTPS --------------------------------------------------------------------------------- */

/* h->target is in origin form. */
bool http_doh_request(const struct http_head *h);
/* A response that says it is a DNS message. */
bool http_doh_response(const struct http_head *h);

/* ---- heads written anew ------------------------------------------------------------------------------ */

/*
 * What goes on, from what came in: secrets put in or values taken out, fields of
 * one hop left out. *ret's texts lie in h and in the filter's arena, until
 * http_heads_done(). 0, -ENOBUFS, -ENOMEM, -EPERM (violation).
 */
must_check int http_heads_request(struct http_exchange *x, const struct http_head *h,
				  struct http_head *ret);
must_check int http_heads_response(struct http_exchange *x, const struct http_head *h,
				   struct http_head *ret);
must_check int http_heads_trailers(struct http_exchange *x, const struct http_head *h, bool request,
				   struct http_head *ret);
void http_heads_done(struct http_filter *f);
/* Appends the values of all fields of that name, joined by commas. */
must_check int http_fields_join(const struct http_head *h, const char *name, struct buf *out);
/*
 * Storage that will not move or leave a copy behind; what is in it goes. What is behind
 * its content was overwritten or never written: http_cut() wipes as much as was used.
 */
must_check int http_wiped_reserve(struct buf *b, size_t n);
void http_wiped_free(struct buf *b);
/* Forget what was written after `len`, overwriting it: it may hold values. */
void http_cut(struct buf *b, size_t len);

/* ---- bodies ------------------------------------------------------------------------------------------ */

/* Where a body goes. */
struct http_way {
	struct http_side *to;
	struct http_exchange *x;
};
/* What Content-Encoding lists; false: something that cannot be undone. */
bool http_content_codings(const struct http_head *h, struct http_codings *ret);
/* What the filter refers to has to live as long as b. 0, -ENOMEM. */
must_check int http_content_open(struct http_content *b, const struct http_pipe_filter *filter,
				 const struct http_codings *codings, enum http_pipe_mode mode);
void http_content_fini(struct http_content *b);
/* All of the following: 0, -EBADMSG (http_pipe_fault()), -EPERM, -ENOMEM. */
/* Bytes that are taken when the side has that much room. */
size_t http_content_room(const struct http_content *b, size_t room);
must_check int http_content_feed(struct http_content *b, const struct http_way *way,
				 const uint8_t *p, size_t n);
/* Goes on with what waits, and flushes. */
must_check int http_content_pump(struct http_content *b, const struct http_way *way);
must_check int http_content_end(struct http_content *b, const struct http_way *way, bool *ret_done);
/* A body that is there as a whole; -EFBIG: it does not fit out, or unfolds without end. */
must_check int http_content_whole(struct http_content *b, const struct buf *in, struct buf *out);
/* Both bodies of x go on; x may be gone afterwards. */
void http_request_pump(struct http_exchange *x);
void http_response_pump(struct http_exchange *x);

/* ---- secrets --------------------------------------------------------------------------------------------- */

/* A request begins: nothing marked. */
void http_secret_begin(struct http_exchange *x);
/* For streams; ctx is the http_place. */
enum secret_verdict http_secret_decide(void *ctx, struct secret_hit *hit);
/* Was it put into this request. */
bool http_secret_carried(const struct http_exchange *x, size_t secret);
/* Could any secret go in there: else nothing is held back. */
bool http_secret_may_replace(const struct http_exchange *x, const struct http_place *place);
/* A field in which a value would leave its host. */
bool http_secret_field_barred(const char *name, size_t len);
enum secret_escape http_place_escape(const struct http_place *place);
/* Look only: -EPERM when the text holds a placeholder. */
must_check int http_secret_scan(struct http_exchange *x, struct http_text t, const char *barred);
/*
 * The newest secrets from now on: for a request of which nothing went out, or between one
 * message of a WebSocket and the next. -ENOMEM: as before.
 */
must_check int http_secret_renew(struct http_exchange *x);
/* What comes back next is read by the newest set; false: there are no secrets. */
bool http_secret_reply(struct http_exchange *x);
/* The sandbox's secrets are others: can what is under way still be read as it should. */
void http_secret_changed(struct http_exchange *x);
/* Towards the guest: values become placeholders; after http_secret_reply(). */
must_check int http_secret_scrub(struct http_exchange *x, struct http_text t, struct buf *out);
/* Names of fields lose their case (RFC 9113 8.2): does this one hold a value but for that. */
bool http_secret_name_folded(const struct http_exchange *x, struct http_text name);
must_check int http_secret_target(struct http_exchange *x, struct http_text target, struct buf *out);
must_check int http_secret_field(struct http_exchange *x, const struct http_field *fld,
				 struct buf *out);
/* Prepare the body's stream from the head; known: its codings can be undone. */
must_check int http_secret_body(struct http_exchange *x, const struct http_head *h, bool known);
/* What a pipe does with a request's body, and with a response's. */
struct http_pipe_filter http_secret_up(struct http_exchange *x);
struct http_pipe_filter http_secret_down(struct http_exchange *x);
/* The head or a piece of body went out: report what was put in since. */
void http_secret_report(struct http_exchange *x);
void http_secret_forget(struct http_exchange *x); /* not sent after all */

/* May the request be signed with it, by host, method, path and uses; static, NULL: it may. */
const char *http_secret_why_unsigned(const struct http_exchange *x, size_t secret);
/* It was: one of its uses. */
void http_secret_signed(struct http_exchange *x, size_t secret, enum tlsproxy_place place);
/* A signature that cannot be made: a violation. -EPERM, or 0 where that lets it pass as it is. */
must_check int http_secret_unsigned(struct http_exchange *x, size_t secret,
				    enum tlsproxy_place place, const char *why);

/* ---- values that are still to come ---------------------------------------------------------------------- */

/* ON: none is needed. WAIT: once more, with the same head. REFUSED. */
must_check enum http_flow http_await(struct http_exchange *x, const struct http_head *h);

/* ---- replies that bring tokens (http_mask.c) ---------------------------------------------------------- */

struct http_mask;
/* Is the reply to x one whose tokens the sandbox is not to see. */
bool http_mask_wanted(const struct http_exchange *x);
/* The final head, nothing of which goes on before the body was read. */
must_check enum http_flow http_mask_begin(struct http_exchange *x, const struct http_head *h,
					  const struct http_framing *fr);
size_t http_mask_room(const struct http_exchange *x);
must_check enum http_flow http_mask_body(struct http_exchange *x, const uint8_t *p, size_t n);
/* The body is over: head and body with placeholders go on. ON: all did, but the end. */
must_check enum http_flow http_mask_end(struct http_exchange *x);
void http_mask_free(struct http_mask *m);
/* http_response.c: the head goes to the guest, and how its body is looked at is settled. */
must_check enum http_flow http_response_open(struct http_exchange *x, const struct http_head *h,
					     const struct http_framing *fr);
/* 502; or, when the guest has a part of it, its half is reset. why: static. REFUSED. */
enum http_flow http_response_bad(struct http_exchange *x, const char *why);

/* ---- signatures (sign.h) ----------------------------------------------------------------------------------- */

struct sign_plan;
/* The head was judged: is it signed with a secret, is its body. ON, or REFUSED. */
must_check enum http_flow http_sign_begin(struct http_exchange *x, const struct http_head *h,
					  const struct http_framing *fr);
/* 1: to be signed, 0: as it is. -EPERM: refused. */
must_check int http_sign_verify(struct http_exchange *x, const struct http_head *h,
				struct sign_plan *ret);
/* out: with all secrets in it; a body that was gathered is ready to go out. */
must_check int http_sign_head(struct http_exchange *x, const struct sign_plan *p,
			      struct http_head *out);
void http_sign_free(struct http_exchange *x);

/* ---- after an upgrade --------------------------------------------------------------------------------------- */

/* h: the response that accepts. 0, -ENOMEM, -EPROTO: extensions that were not offered. */
must_check int http_tunnel_begin(struct http_exchange *x, const struct http_head *h);
void http_tunnel_free(struct http_tunnel *t);
/* Are its messages read: were there secrets when it began. */
bool http_tunnel_reads(const struct http_tunnel *t);
size_t http_tunnel_room_up(const struct http_exchange *x);
size_t http_tunnel_room_down(const struct http_exchange *x);
/* Bytes of the guest, of the upstream. REFUSED: the exchange was cut. */
must_check enum http_flow http_tunnel_up(struct http_exchange *x, const uint8_t *p, size_t n);
must_check enum http_flow http_tunnel_down(struct http_exchange *x, const uint8_t *p, size_t n);
/* A peer's half is over (HTTP/2; HTTP/1: the upstream's). WAIT: not all went on yet. */
must_check enum http_flow http_tunnel_up_end(struct http_exchange *x);
must_check enum http_flow http_tunnel_down_end(struct http_exchange *x);
/* What waits goes on; x may be gone afterwards. */
void http_tunnel_pump(struct http_exchange *x);

/* ---- answers ------------------------------------------------------------------------------------------------ */

/* Hands x's answer to the guest's side, if that is ready for it: true, and x is gone. */
bool http_answer(struct http_exchange *x);

#endif
