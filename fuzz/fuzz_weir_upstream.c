/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upstream proxy's answers: the first byte chooses the protocol, the second
 * how the rest is cut into pieces. However it is cut, the verdict and the
 * number of bytes that are the proxy's are the same.
 */
#include "weir/upstream_shake.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size);

static size_t run(enum upstream_kind kind, const struct upstream_auth *auth, const struct name *name,
		  const uint8_t *p, size_t len, size_t piece, struct upstream_shake *s)
{
	struct endpoint to = { ip4(192, 0, 2, 1), 443 };
	size_t at = 0;

	if (upstream_shake_begin(s, kind, auth, &to, name) < 0)
		abort();
	while (at < len && s->state == UPSTREAM_MORE) {
		size_t n = MIN(piece, len - at), used = upstream_shake_input(s, p + at, n);

		if (used > n || (s->state == UPSTREAM_MORE && used != n))
			abort();
		at += used;
	}
	if (s->state == UPSTREAM_FAILED && (!s->why || s->error <= 0))
		abort();
	return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size)
{
	static const struct upstream_auth auth = { "user", "password" };
	static const struct name name = { 11, "example.com" };
	struct upstream_shake whole, cut;
	size_t a, b, piece;

	if (size < 2)
		return 0;
	enum upstream_kind kind = (enum upstream_kind)(p[0] % 3 + 1);
	const struct upstream_auth *with = p[0] & 0x40 ? &auth : NULL;
	const struct name *by_name = p[0] & 0x80 ? &name : NULL;

	piece = p[1] % 16 + 1;
	/* SOCKS proxies that talk out of turn are refused, which depends on the cut: byte by byte is not. */
	a = run(kind, with, by_name, p + 2, size - 2, 1, &whole);
	b = run(kind, with, by_name, p + 2, size - 2, kind == UPSTREAM_HTTP ? piece : 1, &cut);
	if (whole.state != cut.state || whole.error != cut.error || a != b)
		abort();
	(void)run(kind, with, by_name, p + 2, size - 2, piece, &cut);
	return 0;
}
