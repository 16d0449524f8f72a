/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access tokens that are fetched outside the sandbox (internal to tlsproxy): the
 * sandbox holds a placeholder of the token, never what the token is bought with.
 *
 *   definition ─► token_request ─► POST, over verified TLS ─► token_reader ─► token
 *
 * RFC 6749: client credentials (4.4) and refresh tokens (6), the client being known by Basic or in the
 * body (2.3.1). Pure: bytes and times in and out. Replies are hostile.
 */
#ifndef WEIR_TLSPROXY_TOKEN_H
#define WEIR_TLSPROXY_TOKEN_H

#include "tlsproxy/http_internal.h"

#include <jansson.h>

/* ---- limits ------------------------------------------------------------------------- */

/* A token endpoint's reply: a server that never ends. RFC 6749 replies have less than 10 KiB. */
#define TOKEN_REPLY_MAX ((size_t)64 * 1024)
/* Nesting of its JSON: recursion in the parser. */
#define TOKEN_JSON_DEPTH 16
/* For connection, handshake and answer together: an endpoint that hangs. */
#define TOKEN_FETCH_NS TLSPROXY_FETCH_NS
/* A reply that says nothing of its lifetime; and longer ones are not believed. */
#define TOKEN_LIFE_DEFAULT_S 300
#define TOKEN_LIFE_MAX_S TLSPROXY_TOKEN_LIFE_MAX_S

/* ---- one token ------------------------------------------------------------------------ */

void token_wipe(struct tlsproxy_token *t);
/* From now on all of this process's JSON is wiped when it is freed; before any thread reads some. */
void token_wipe_json(void);
/*
 * A token in JSON: "access_token" or "token"; "expires_in" (seconds) or "expires_at"
 * (RFC 3339); "refresh_token"; a "token_type" other than bearer is refused. now_s: seconds
 * of the epoch. -EBADMSG with *ret_why, static.
 */
must_check int token_read_json(const void *p, size_t n, uint64_t now_s, struct tlsproxy_token *ret,
			       const char **ret_why);

/* What every reply of a token endpoint is read by: not too deep, no key twice. NULL: it is none. */
json_t *token_load_json(const void *p, size_t n);
/* "2026-01-01T00:00:00Z", as seconds of the epoch; 0: not one. */
uint64_t token_time(const char *s);

/* ---- tokens that the sandbox asks for itself (token_mask.c) ------------------------------- */

struct token_reply;
/*
 * A reply in JSON, and the tokens in it: the texts of these keys, however deep. fields has to
 * live as long. -EBADMSG with *ret_why, static: it cannot be read, or a token cannot be kept.
 */
must_check int token_reply_read(const void *p, size_t n, const char *const *fields, size_t n_fields,
				struct token_reply **ret, const char **ret_why);
void token_reply_free(struct token_reply *t);
/* A token's text is there until another is put in its place. */
const struct tlsproxy_fresh *token_reply_list(const struct token_reply *t, size_t *ret_n);
must_check int token_reply_put(struct token_reply *t, size_t i, const char *placeholder);
/* Appends the reply as it is now. -ENOBUFS, -ENOMEM. */
must_check int token_reply_write(const struct token_reply *t, struct buf *out);

/* ---- the request ------------------------------------------------------------------------- */

/* All of out's storage is reserved first: it holds the secrets. */
must_check int token_request_write(const struct tlsproxy_token_request *q, struct buf *out);
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
				 uint64_t now_s, struct tlsproxy_token *ret);

#endif
