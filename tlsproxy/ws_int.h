/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket, shared by its files.
 *
 *   ws.c             the public calls; one direction's steps
 *   ws_frame.c       a frame's head, read and written; close codes
 *   ws_deflate.c     permessage-deflate: inflating and deflating of messages
 *   ws_extensions.c  its negotiation
 */
#ifndef WEIR_TLSPROXY_WS_INT_H
#define WEIR_TLSPROXY_WS_INT_H

#include "tlsproxy/http_limits.h"
#include "tlsproxy/ws.h"

#define ZLIB_CONST
#include <zlib.h>

#define WS_HEAD_MAX 14
#define WS_CONTROL_MAX 125
/* What a sync flush ends with and a message goes without (RFC 7692 7.2.1). */
#define WS_TAIL 4

/* ---- frames ---------------------------------------------------------------------------- */

/* A head as it is read byte by byte. */
struct ws_head {
	uint8_t bytes[WS_HEAD_MAX];
	uint8_t n, want; /* want 0: not known yet */
	bool fin, rsv1, masked;
	uint8_t opcode;
	uint64_t length;
	uint8_t key[4];
};
/* Takes from p; *ret_done: the head is complete. What a head alone can break is checked. */
enum ws_fault ws_head_feed(struct ws_head *h, const uint8_t *p, size_t n, size_t *ret_taken,
			   bool *ret_done);
/* Writes the head so that it ends at `end`; returns its length. key NULL: not masked. */
size_t ws_head_write(uint8_t *end, uint8_t first, size_t length, const uint8_t *key);
/* p ^= key, from the key's byte `at` on. */
void ws_mask(uint8_t *p, size_t n, const uint8_t key[4], size_t at);
/* Codes that may stand in a Close frame (RFC 6455 7.4). */
bool ws_close_code_valid(uint16_t code);

/* ---- messages' compression ----------------------------------------------------------------- */

struct ws_coder {
	z_stream in, out;
	bool in_ready, out_ready;
	bool in_full; /* the last room was filled: there may be more */
	bool no_takeover;
	uint8_t bits;
};
void ws_coder_init(struct ws_coder *c, bool no_takeover, uint8_t bits);
void ws_coder_fini(struct ws_coder *c);
/* A compressed message begins. 0, -ENOMEM. */
must_check int ws_coder_message(struct ws_coder *c);
/* As much as `text` has room for; takes from p. 0, -EPROTO, -ENOMEM. */
must_check int ws_inflate(struct ws_coder *c, const uint8_t *p, size_t n, struct buf *text,
			  size_t *ret_taken);
/* Whether what was inflated ends with a block, as a message with its tail does. */
bool ws_inflated(const struct ws_coder *c);
/* The same the other way; flush: *ret_done when all is out and ends with WS_TAIL. */
must_check int ws_deflate(struct ws_coder *c, const uint8_t *p, size_t n, bool flush,
			  struct buf *payload, size_t *ret_taken, bool *ret_done);

/* ---- one direction ------------------------------------------------------------------------------ */

/* How far the end of a frame has been dealt with. */
enum ws_end {
	WS_END_NONE = 0,
	WS_END_INFLATED = 1, /* the tail was given to the inflater */
	WS_END_FILTERED = 2, /* the filter was told */
};

struct ws_side {
	enum ws_direction d;
	int error;
	struct ws_head head;
	bool in_payload;
	uint64_t left; /* of the frame's payload */
	size_t key_at;
	enum ws_end end;
	bool closed;

	/* the message */
	bool in_message, compressed;
	bool started; /* a frame of it went out */
	uint8_t opcode;
	const struct http_pipe_filter *filter;
	uint8_t tail[WS_TAIL]; /* the last deflated bytes: dropped if the message ends there */
	size_t n_tail;

	uint8_t control[WS_CONTROL_MAX];
	struct buf coded;    /* unmasked, to be inflated */
	struct buf text;     /* to be filtered */
	struct buf filtered; /* to be deflated */
	struct buf frame;    /* WS_HEAD_MAX bytes, then the payload of the next frame */
	bool draining;	     /* frame is complete and on its way out */
	struct ws_coder coder;
};

#endif
