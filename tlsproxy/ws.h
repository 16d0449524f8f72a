/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket (RFC 6455) with permessage-deflate (RFC 7692), both directions of one
 * connection behind its handshake: frames read strictly, messages unmasked and
 * inflated, given to a filter, deflated, masked with fresh keys and framed again.
 *
 *     out    guest ──► upstream   masked frames in, masked frames out
 *     back   guest ◄── upstream   neither
 *
 * Messages keep their kind, their order and their ends. A frame whose payload is up to
 * WS_FRAME_MAX bytes when it goes on stays one frame, also when its length changes, but
 * what a filter holds back at its end comes with the next one; a longer frame is cut
 * into several of the same message (RFC 6455 5.4 allows that to an intermediary that
 * knows all extensions). So a Close can always be sent at once. Frames without a byte in
 * the midst of a message are dropped. Control frames stay where they stood.
 *
 * Text is not checked for UTF-8 and never repaired: that is between the two ends.
 * Memory per direction: about 110 KiB, made with the first message, and with the first
 * compressed one 64 KiB more, an inflater and a deflater; wiped.
 */
#ifndef WEIR_TLSPROXY_WS_H
#define WEIR_TLSPROXY_WS_H

#include "tlsproxy/http_pipe.h"

/* ---- negotiation ------------------------------------------------------------------------- */

/* RFC 7692 7.1, as the server's answer settles it. */
struct ws_deflate_params {
	bool on;
	bool server_no_takeover, client_no_takeover;
	uint8_t server_bits, client_bits; /* 8..15 */
};

/*
 * Appends a client's Sec-WebSocket-Extensions value reduced to those offers of
 * permessage-deflate that this engine can carry out, in their order; *ret_any false:
 * none is left and nothing was appended, so the field has to be dropped. Offers that
 * cannot be read are dropped. For several fields join the values with ", " first.
 * 0, -ENOBUFS, -ENOMEM.
 */
must_check int ws_extensions_offer(const char *s, size_t len, struct buf *out, bool *ret_any);
/*
 * Reads the server's answer (len 0: no field). -EPROTO: another extension than
 * permessage-deflate, or more than one; a parameter that is unknown, repeated or out of
 * range. An answer where nothing was offered is the caller's to refuse.
 */
must_check int ws_extensions_accept(const char *s, size_t len, struct ws_deflate_params *ret);

/* ---- the connection --------------------------------------------------------------------------- */

enum ws_direction { WS_OUT = 0, WS_BACK = 1 };

/* Numbers as on the wire (RFC 6455 11.8). */
enum ws_opcode {
	WS_CONTINUATION = 0,
	WS_TEXT = 1,
	WS_BINARY = 2,
	WS_CLOSE = 8,
	WS_PING = 9,
	WS_PONG = 10,
};

struct ws_ops {
	/*
	 * A message begins: what its bytes go through (NULL: they pass). The filter's text
	 * ends with the message. opcode is WS_TEXT or WS_BINARY.
	 */
	const struct http_pipe_filter *(*message)(void *ctx, enum ws_direction d,
						  enum ws_opcode opcode);
	/*
	 * A control frame, whole: its payload (Close: from the reason on; the code stays) as it
	 * is to go on is appended to out. 0 or negative errno.
	 */
	int (*control)(void *ctx, enum ws_direction d, enum ws_opcode opcode, const uint8_t *p,
		       size_t n, struct buf *out);
	/* n bytes nobody can guess: masking keys (RFC 6455 10.3). */
	void (*random)(void *ctx, void *p, size_t n);
};

enum ws_fault {
	WS_OK = 0,
	WS_BAD_FRAME = 1,   /* reserved bits or opcode, length not minimal or too large, ... */
	WS_BAD_MASK = 2,    /* a client's frame without, a server's with a masking key */
	WS_BAD_CONTROL = 3, /* a control frame that is cut, too long, or a Close with a bad code */
	WS_BAD_SEQUENCE = 4, /* continuation of nothing, a message in a message, frames behind a Close */
	WS_BAD_DEFLATE = 5, /* compressed data that is corrupt */
	WS_TOO_LONG = 6,    /* a control frame that would be too long once filtered */
};
const char *ws_fault_text(enum ws_fault f);
/* The code a Close for this fault carries: 1002, 1007, ... */
uint16_t ws_fault_code(enum ws_fault f);

struct ws;

/* ops has to live as long. 0, -ENOMEM. */
must_check int ws_new(const struct ws_deflate_params *deflate, const struct ws_ops *ops, void *ctx,
		      struct ws **ret);
void ws_free(struct ws *w);

/*
 * Takes from p[0..n) what came in this direction and appends whole or partial frames
 * to `out` within its cap. *ret_taken, *ret_done as in http_coder_run(): not done: again
 * with the rest once `out` (cap at least 16) has been emptied, or at once when there is room.
 *
 * 0; -EPROTO (ws_fault()); -ENOMEM; or what the filter returned (-EPERM: a violation).
 * After an error in either direction nothing more is taken in both: say ws_close() for
 * both, send that, and end the connection. What is in `out` may be sent: nothing of the
 * bytes that were refused is in it.
 */
must_check int ws_feed(struct ws *w, enum ws_direction d, const uint8_t *p, size_t n,
		       struct buf *out, size_t *ret_taken, bool *ret_done);
enum ws_fault ws_fault(const struct ws *w);
/*
 * Appends what is left of the frame that partly went out in this direction, and a Close
 * frame of our own (code 1008 for a violation; reason up to 123 bytes, cut at that) unless
 * one has gone by. 0; -ENOBUFS: call again once `out` was emptied; -ENOMEM.
 */
must_check int ws_close(struct ws *w, enum ws_direction d, uint16_t code, const char *reason,
			struct buf *out);
/* Whether this direction stands between messages: where its end cuts nothing off. */
bool ws_at_boundary(const struct ws *w, enum ws_direction d);
/* Whether a Close has gone by in this direction. */
bool ws_closed(const struct ws *w, enum ws_direction d);

#endif
