/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One body on its way: its codings undone, its bytes given to a filter, and coded again.
 *
 *     changing   in ─► decode ─► filter ─► encode ─► out
 *     looking    in ─┬─────────────────────────────► out
 *                    └► decode ─► filter (keeps nothing, says only whether to stop)
 *
 * Without codings nothing is decoded or encoded; without a filter bytes pass as they
 * are, coded or not. Memory is constant: HTTP_PIPE_STEP and HTTP_PIPE_ROOM bytes beside
 * the coders, made when they are needed, wiped.
 */
#ifndef WEIR_TLSPROXY_HTTP_PIPE_H
#define WEIR_TLSPROXY_HTTP_PIPE_H

#include "tlsproxy/http_coding.h"

/*
 * What is done to the bytes: a table, so that a secret_stream, a rewriter of fields or a
 * test can stand in it. What comes out may be longer or shorter than what went in, and
 * later.
 */
struct http_pipe_filter {
	void *ctx;
	/*
	 * Bytes in, bytes appended to out; out NULL: look only. n is never more than fits()
	 * said. 0 or negative errno, which ends the body: -EPERM for a violation.
	 */
	int (*feed)(void *ctx, const uint8_t *p, size_t n, struct buf *out);
	/* The text is over: what is held back goes out. */
	int (*end)(void *ctx, struct buf *out);
	/*
	 * How many bytes may be fed so that what comes out surely fits in `room`; with
	 * HTTP_PIPE_ROOM of room at least 1.
	 */
	size_t (*fits)(void *ctx, size_t room);
	/* What end() writes at most, now. At most HTTP_PIPE_ROOM. */
	size_t (*end_room)(void *ctx);
	/* As many bytes come out as go in, whatever they are. Asked before the first byte. */
	bool (*keeps_length)(void *ctx);
};

enum http_pipe_mode {
	HTTP_PIPE_CHANGE = 0,
	HTTP_PIPE_LOOK = 1, /* what passes is what came; the filter is given out NULL */
};

struct http_pipe;

/* codings is copied; the filter (may be NULL) has to live as long as the pipe. 0, -ENOMEM. */
must_check int http_pipe_new(const struct http_codings *codings,
			     const struct http_pipe_filter *filter, enum http_pipe_mode mode,
			     struct http_pipe **ret);
void http_pipe_free(struct http_pipe *p);

/*
 * As http_coder_run(): takes from p[0..n), appends to `out` within its cap, and says by
 * *ret_done whether op is carried out. With HTTP_CODING_FLUSH what the filter does not
 * hold back is out and readable. Not done: call again with the rest, when there is room in
 * `out` (64 bytes at least); *ret_done false with more room left means that the call did
 * HTTP_CODING_WORK of work and is to be repeated when others had their turn.
 *
 * In mode LOOK bytes are passed once they were looked at: none that completes a
 * violation gets out.
 *
 * 0, -EBADMSG (http_pipe_fault()), -ENOMEM, or what the filter returned. After an error
 * the pipe is over. What was appended in a failed call is cut off again, overwritten.
 */
must_check int http_pipe_run(struct http_pipe *p, const uint8_t *bytes, size_t n,
			     enum http_coding_op op, struct buf *out, size_t *ret_taken,
			     bool *ret_done);
/* Whether what comes out can have another length than what goes in: no Content-Length then. */
bool http_pipe_changes_length(const struct http_pipe *p);
/* Why -EBADMSG. */
enum http_coding_fault http_pipe_fault(const struct http_pipe *p);

#endif
