/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access tokens that are fetched outside the sandbox (internal to tlsproxy): the
 * sandbox holds a placeholder of the token, never what the token is bought with.
 *
 *   definition ─► token_request ─► POST, over verified TLS ─► token_reader ─► token
 *                      ▲                                                       │
 *                 token_clock: when to fetch, when to try again, how long it is good
 *
 * RFC 6749: client credentials (4.4) and refresh tokens (6), the client being known by Basic or in the
 * body (2.3.1). Pure: bytes and times in and out. Replies are hostile.
 */
#ifndef WEIR_TLSPROXY_TOKEN_H
#define WEIR_TLSPROXY_TOKEN_H

#include "tlsproxy/http_internal.h"

/* ---- limits ------------------------------------------------------------------------- */

/* A token endpoint's reply: a server that never ends. RFC 6749 replies have less than 10 KiB. */
#define TOKEN_REPLY_MAX ((size_t)64 * 1024)
/* Nesting of its JSON: recursion in the parser. */
#define TOKEN_JSON_DEPTH 16
/* For connection, handshake and answer together: an endpoint that hangs. */
#define TOKEN_FETCH_NS (20 * NS_PER_S)
/* What a request waits for its token; then it is answered 502. */
#define TOKEN_WAIT_NS (25 * NS_PER_S)
/* Requests of one kind of token while its endpoint fails: doubled with every failure. */
#define TOKEN_RETRY_MIN_NS (1 * NS_PER_S)
#define TOKEN_RETRY_MAX_NS (300 * NS_PER_S)
/* A reply that says nothing of its lifetime; and longer ones are not believed. */
#define TOKEN_LIFE_DEFAULT_S 300
#define TOKEN_LIFE_MAX_S (30 * 86400)
/* A token is renewed this long before it ends, or a tenth of its life. */
#define TOKEN_MARGIN_S 60

/* ---- one token ------------------------------------------------------------------------ */

struct token {
	char access[TLSPROXY_SECRET_MAX + 1];
	size_t access_len;
	char refresh[TLSPROXY_SECRET_MAX + 1]; /* another refresh token (rotation), or "" */
	size_t refresh_len;
	uint64_t life_s;
};
void token_wipe(struct token *t);
/*
 * A token in JSON: "access_token" or "token"; "expires_in" (seconds) or "expires_at"
 * (RFC 3339); "refresh_token"; a "token_type" other than bearer is refused. now_s: seconds
 * of the epoch. -EBADMSG with *ret_why, static.
 */
must_check int token_read_json(const void *p, size_t n, uint64_t now_s, struct token *ret,
			       const char **ret_why);
/* What a command prints: JSON as above, or the token alone. */
must_check int token_read_output(const void *p, size_t n, uint64_t now_s, struct token *ret,
				 const char **ret_why);

/* ---- the request ------------------------------------------------------------------------- */

enum token_grant { TOKEN_CLIENT_CREDENTIALS = 0, TOKEN_REFRESH = 1 };
enum token_auth { TOKEN_AUTH_BASIC = 0, TOKEN_AUTH_POST = 1 };
struct token_request {
	enum token_grant grant;
	enum token_auth auth;
	const char *host, *path; /* of the endpoint; path in origin form */
	uint16_t port;
	const char *client_id;	      /* may be NULL with a refresh token */
	const char *scope, *audience; /* may be NULL */
	struct http_text secret;      /* of the client; empty: a public client */
	struct http_text refresh;     /* the refresh token */
};
/* All of out's storage is reserved first: it holds the secrets. */
must_check int token_request_write(const struct token_request *q, struct buf *out);
#define TOKEN_REQUEST_MAX ((size_t)64 * 1024)

/* ---- the reply ----------------------------------------------------------------------------- */

struct token_reader {
	struct http_collect head;
	struct http_chunks chunks;
	enum http_body body;
	uint64_t left;
	unsigned status;
	uint8_t state;
	struct buf text; /* the body; wiped */
	char why[96];	 /* of what failed */
};
must_check int token_reader_init(struct token_reader *r);
void token_reader_fini(struct token_reader *r);
/*
 * Bytes as they come; eof with the last. 1: *ret is filled in. 0: more. -EBADMSG: no
 * token comes of this; r->why says so without quoting anything that may be secret.
 */
must_check int token_reader_feed(struct token_reader *r, const uint8_t *p, size_t n, bool eof,
				 uint64_t now_s, struct token *ret);

/* ---- when ------------------------------------------------------------------------------------- */

struct token_clock {
	bool has;      /* a token, good until `until` */
	bool fetching; /* one at a time */
	bool wanted;   /* used since it was fetched: renew it before it ends */
	uint64_t until, renew, retry, started;
	unsigned failures;
};
/* Somebody needs it. True: it is good now. */
bool token_clock_want(struct token_clock *c, uint64_t now);
/* Is it time to fetch: begin then. */
bool token_clock_due(const struct token_clock *c, uint64_t now);
void token_clock_begin(struct token_clock *c, uint64_t now);
void token_clock_got(struct token_clock *c, uint64_t now, uint64_t life_s);
void token_clock_failed(struct token_clock *c, uint64_t now);
/* When to look again; UINT64_MAX: not by itself. */
uint64_t token_clock_next(const struct token_clock *c);

#endif
