/* SPDX-License-Identifier: Apache-2.0 */
/* A filter for pipes and WebSocket that shortens, lengthens, holds back and stops. */
#ifndef TOY_FILTER_H
#define TOY_FILTER_H

#include "tlsproxy/http_pipe.h"

/* Holds back a '<'; makes "<n>" n bytes of '*'; stops at '\x03'. */
struct toy {
	struct http_pipe_filter filter;
	uint8_t held[2];
	size_t n_held;
	size_t fed;
	bool ended, stops;
};

static inline int toy_byte(struct toy *t, uint8_t c, struct buf *out)
{
	static const uint8_t stars[] = "*********";
	int r = 0;

	t->held[t->n_held++] = c;
	if (t->n_held == 1 && c == '<')
		return 0;
	if (t->n_held == 2 && c >= '0' && c <= '9')
		r = out ? buf_append(out, stars, (size_t)(c - '0')) : 0;
	else if (out)
		r = buf_append(out, t->held, t->n_held);
	t->n_held = 0;
	return r;
}

static inline int toy_feed(void *ctx, const uint8_t *p, size_t n, struct buf *out)
{
	struct toy *t = ctx;
	int r = 0;

	assert(!t->ended);
	t->fed += n;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = t->stops && p[i] == 3 ? -EPERM : toy_byte(t, p[i], out);
	return r;
}

static inline int toy_end(void *ctx, struct buf *out)
{
	struct toy *t = ctx;

	assert(!t->ended);
	t->ended = true;
	return out && t->n_held ? buf_append(out, t->held, t->n_held) : 0;
}

static inline size_t toy_fits(void *ctx, size_t room)
{
	struct toy *t = ctx;

	return room > t->n_held ? (room - t->n_held) / 9 : 0;
}

static inline size_t toy_end_room(void *ctx)
{
	return ((struct toy *)ctx)->n_held;
}

static inline bool toy_keeps(void *ctx)
{
	return ((struct toy *)ctx)->stops;
}

static inline void toy_init(struct toy *t)
{
	*t = (struct toy){
		.filter = { t, toy_feed, toy_end, toy_fits, toy_end_room, toy_keeps },
	};
}

#endif
