/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content codings (RFC 9110 8.4.1) as streams: gzip (RFC 1952), deflate (RFC 1950),
 * br (RFC 7932), zstd (RFC 8878, windows as RFC 9659), undone and done again in
 * constant memory.
 *
 *     struct http_codings list = { 0 };
 *     r = http_codings_add(&list, value, len);            for each Content-Encoding field
 *     r = http_decoder_new(&list, &dec);
 *     do {
 *             r = http_coder_run(dec, p, n, HTTP_CODING_RUN, &out, &taken, &done);
 *             p += taken, n -= taken;
 *             use and consume out;
 *     } while (r == 0 && !done);
 *     ... at the end of the body the same with HTTP_CODING_END until done
 *
 * What a decoder is given is hostile. It never writes more than the room of the
 * caller's buffer at a time, so how far a body unfolds costs time only as the caller
 * goes on asking, and never memory. Checksums and lengths in a coding are checked.
 * What a body says of itself beside its bytes (names in a gzip head, skippable frames)
 * is dropped: a decoder yields the content alone.
 *
 * All memory of both directions is overwritten before it is given back, as bodies may
 * hold values of secrets. All of it is counted against HTTP_CODING_MEMORY_ALL.
 */
#ifndef WEIR_TLSPROXY_HTTP_CODING_H
#define WEIR_TLSPROXY_HTTP_CODING_H

#include "base/base.h"

/* ---- names --------------------------------------------------------------------------- */

enum http_coding {
	HTTP_CODING_GZIP = 1, /* and its old name, x-gzip */
	HTTP_CODING_DEFLATE = 2,
	HTTP_CODING_BR = 3,
	HTTP_CODING_ZSTD = 4,
};

/* Codings of one body: each costs a window; more than one is already rare. */
#define HTTP_CODINGS_MAX 2

/* In the order in which they were applied; n 0: the body as it is. Begin with { 0 }. */
struct http_codings {
	size_t n;
	enum http_coding list[HTTP_CODINGS_MAX];
};

/*
 * Adds what a Content-Encoding value lists ("identity" adds nothing, neither does an
 * empty member). -ENOTSUP: a coding that is not one of ours, or too many; -EINVAL: no
 * list of tokens. On failure *list is as before.
 */
must_check int http_codings_add(struct http_codings *list, const char *s, size_t len);
/* "gzip", "deflate", "br", "zstd". */
const char *http_coding_name(enum http_coding c);
/*
 * Appends an Accept-Encoding value (RFC 9110 12.5.3) reduced to what can be undone
 * here: the members that name one of ours or identity, with their weights, and "*" only
 * where it refuses (q=0). "identity" when nothing is left. Members that cannot be read
 * are dropped. For several fields join the values with ", " first. 0, -ENOBUFS, -ENOMEM.
 */
must_check int http_coding_accept(const char *s, size_t len, struct buf *out);

/* ---- streams ------------------------------------------------------------------------------ */

enum http_coding_fault {
	HTTP_CODING_OK = 0,
	HTTP_CODING_CORRUPT = 1,
	HTTP_CODING_TRUNCATED = 2,  /* the body ended before the coding did */
	HTTP_CODING_TRAILING = 3,   /* bytes behind the coding's end */
	HTTP_CODING_DICTIONARY = 4, /* needs a dictionary that nobody has */
	HTTP_CODING_WINDOW = 5,	    /* a window above what is allowed (zstd: 8 MiB) */
	HTTP_CODING_MEMORY = 6,	    /* HTTP_CODING_MEMORY_ALL is used up */
};
/* A static phrase: "corrupt", "truncated", ... */
const char *http_coding_fault_text(enum http_coding_fault f);

enum http_coding_op {
	HTTP_CODING_RUN = 0,   /* more comes */
	HTTP_CODING_FLUSH = 1, /* more comes, but what came so far has to be readable (encoders) */
	HTTP_CODING_END = 2,   /* nothing comes behind these bytes */
};

struct http_coder;

/* list->n is at least 1. 0, -ENOMEM (also: HTTP_CODING_MEMORY_ALL is used up). */
must_check int http_decoder_new(const struct http_codings *list, struct http_coder **ret);
must_check int http_encoder_new(const struct http_codings *list, struct http_coder **ret);
void http_coder_free(struct http_coder *c);

/*
 * Takes from p[0..n) and appends to `out`, as far as its cap allows (all room is
 * reserved at once if `out` has storage for it; else in steps of HTTP_CODING_STEP).
 * *ret_taken bytes were taken. *ret_done: all were, and op is carried out: there is
 * nothing more to come for them. Not done: call again with what was not taken (maybe
 * nothing) and the same op, once there is room. At most HTTP_CODING_WORK bytes come out
 * of one call: not done although there is room means that others may have their turn.
 *
 * A decoder yields all that can be known from what it was given whatever op is; with
 * HTTP_CODING_END a coding that is not complete is a fault, but for no bytes at all, which
 * some servers send for an empty body. An encoder makes a complete coding of nothing.
 *
 * 0, -EBADMSG (http_coder_fault() says why; what was appended before stands),
 * -ENOMEM. After an error the coder is over.
 */
must_check int http_coder_run(struct http_coder *c, const uint8_t *p, size_t n,
			      enum http_coding_op op, struct buf *out, size_t *ret_taken,
			      bool *ret_done);
enum http_coding_fault http_coder_fault(const struct http_coder *c);

/* Bytes that all coders of this process hold now. */
size_t http_coding_memory(void);

#endif
