/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After an upgrade: bytes of both directions as bodies without end. From the
 * guest they are watched (a masked frame hides what it carries), from the upstream
 * values in the payload of frames become placeholders again.
 */
#include "tlsproxy/http_internal.h"

int http_tunnel_begin(struct http_exchange *x)
{
	x->tunnel = calloc(1, sizeof(*x->tunnel));
	if (!x->tunnel)
		return -ENOMEM;
	http_secret_tunnel(x);
	return 0;
}

void http_tunnel_free(struct http_tunnel *t)
{
	if (t)
		secret_stream_fini(&t->down);
	free(t);
}

size_t http_tunnel_room_up(const struct http_exchange *x)
{
	const struct http_side *up = x->filter->upstream;

	return MIN(up->ops->room(up, x), HTTP_SLICE);
}

/* A frame's header comes out at once, with bytes of it that were taken before. */
size_t http_tunnel_room_down(const struct http_exchange *x)
{
	const struct http_side *guest = x->filter->guest;
	size_t room = guest->ops->room(guest, x), need = 0;

	if (x->n_secrets)
		need = secret_stream_held(&x->tunnel->down) + sizeof(x->tunnel->frames.head);
	return room > need ? MIN(room - need, HTTP_SLICE) : 0;
}

static enum http_flow cut(struct http_exchange *x, const char *why)
{
	http_exchange_cut(x, why);
	return HTTP_FLOW_REFUSED;
}

enum http_flow http_tunnel_up(struct http_exchange *x, const uint8_t *p, size_t n)
{
	struct http_side *up = x->filter->upstream;

	if (x->n_secrets && secret_stream_feed(&x->tunnel->up, p, n, NULL) < 0)
		return cut(x, "a secret where it may not be");
	if (up->ops->body(up, x, p, n) < 0)
		return HTTP_FLOW_ABORT;
	x->up += n;
	return HTTP_FLOW_ON;
}

/* One frame's piece, values in its payload replaced. */
static int piece(struct http_tunnel *t, const uint8_t *p, size_t n, size_t *ret_taken, struct buf *out)
{
	struct http_frame_piece piece;
	int r = http_frames_feed(&t->frames, p, n, &piece);

	if (r < 0)
		return r;
	*ret_taken = piece.taken;
	if (piece.n_head)
		r = buf_append(out, t->frames.head, piece.n_head);
	if (r == 0 && piece.n_payload)
		r = secret_stream_feed(&t->down, piece.payload, piece.n_payload, out);
	if (r == 0 && piece.end)
		r = secret_stream_end(&t->down, out);
	return r;
}

static int pass_on(struct http_exchange *x)
{
	struct http_side *guest = x->filter->guest;
	struct buf *b = &x->filter->scratch;
	int r = b->len ? guest->ops->body(guest, x, buf_at(b), b->len) : 0;

	http_cut(b, 0);
	return r;
}

enum http_flow http_tunnel_down(struct http_exchange *x, const uint8_t *p, size_t n)
{
	struct http_side *guest = x->filter->guest;
	struct http_tunnel *t = x->tunnel;
	struct buf *b = &x->filter->scratch;
	size_t at = 0, taken = 0;
	int r = 0;

	x->down += n;
	if (!x->n_secrets)
		return guest->ops->body(guest, x, p, n) < 0 ? HTTP_FLOW_ABORT : HTTP_FLOW_ON;
	r = http_wiped_reserve(b, n + secret_stream_held(&t->down) + sizeof(t->frames.head));
	for (; r == 0 && at < n; at += taken)
		r = piece(t, p + at, n - at, &taken, b);
	if (r == -EBADMSG) {
		http_cut(b, 0);
		return cut(x, "not a WebSocket frame of a server");
	}
	return r < 0 || pass_on(x) < 0 ? HTTP_FLOW_ABORT : HTTP_FLOW_ON;
}

enum http_flow http_tunnel_down_end(struct http_exchange *x)
{
	struct http_tunnel *t = x->tunnel;

	if (!x->n_secrets)
		return HTTP_FLOW_ON;
	if (http_wiped_reserve(&x->filter->scratch, secret_stream_held(&t->down)) < 0 ||
	    secret_stream_end(&t->down, &x->filter->scratch) < 0 || pass_on(x) < 0)
		return HTTP_FLOW_ABORT;
	return HTTP_FLOW_ON;
}
