/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking an upstream proxy for a connection: SOCKS 4 and 4A, SOCKS 5 (RFC
 * 1928, 1929), HTTP CONNECT (RFC 9110 9.3.6). An engine without I/O: bytes in,
 * bytes out. The proxy's bytes are foreign; each state takes a bounded number
 * of them, and none beyond its answer, because what follows is the target's.
 *
 *   begin ─► send out[] ─► input() of what has arrived ─► MORE: send, wait
 *                                                      ─► DONE: the rest is the target's
 *                                                      ─► FAILED: error, why
 */
#ifndef WEIR_UPSTREAM_SHAKE_H
#define WEIR_UPSTREAM_SHAKE_H

#include "base/base.h"

enum upstream_kind {
	UPSTREAM_NONE = 0,
	UPSTREAM_SOCKS4 = 1,
	UPSTREAM_SOCKS5 = 2,
	UPSTREAM_HTTP = 3,
};

/* Each at most 255 bytes (RFC 1929), without control characters; wiped by whoever owns it. */
#define UPSTREAM_AUTH_MAX 255
struct upstream_auth {
	char user[UPSTREAM_AUTH_MAX + 1];
	char password[UPSTREAM_AUTH_MAX + 1]; /* empty with SOCKS 4, and with none */
};

enum upstream_state { UPSTREAM_MORE = 0, UPSTREAM_DONE = 1, UPSTREAM_FAILED = 2 };

#define UPSTREAM_OUT_MAX 1536
#define UPSTREAM_HEAD_MAX 16384

struct upstream_shake {
	enum upstream_kind kind;
	enum upstream_state state;
	int step;
	const struct upstream_auth *auth;
	struct endpoint to;
	struct name name;	       /* len 0: asked for by address */
	uint8_t out[UPSTREAM_OUT_MAX]; /* to be sent; may hold the password: upstream_shake_fini() */
	size_t out_len;
	uint8_t in[264]; /* of the answer that is being read: SOCKS whole, HTTP its status line */
	size_t in_len, need;
	size_t head;	 /* HTTP: bytes of it so far */
	size_t line;	 /* HTTP: bytes of the line so far, its end not counted */
	bool cr;	 /* HTTP: the byte before was one */
	int status;	 /* HTTP */
	int error;	 /* FAILED: positive errno, as if the target had been dialled */
	bool of_target;	 /* FAILED: another address may do better */
	const char *why; /* FAILED: static text */
};

/*
 * auth may be NULL and is kept; name may be NULL, else the proxy resolves it.
 * -EAFNOSUPPORT: this proxy cannot be asked for such an address.
 */
must_check int upstream_shake_begin(struct upstream_shake *s, enum upstream_kind kind,
				    const struct upstream_auth *auth, const struct endpoint *to,
				    const struct name *name);
/* What arrived, and out[] has gone: how many of the bytes were the proxy's. out[] is set anew. */
size_t upstream_shake_input(struct upstream_shake *s, const uint8_t *p, size_t len);
/* Wipes it. */
void upstream_shake_fini(struct upstream_shake *s);

#endif
