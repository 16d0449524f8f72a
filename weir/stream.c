/* SPDX-License-Identifier: Apache-2.0 */
/* Segments in the order of their bytes. Of bytes that come twice the first are kept. */
#include "weir/stream.h"

void stream_init(struct stream *s, struct stream_budget *b)
{
	*s = (struct stream){ .budget = b, .data = BUF_INIT(STREAM_MAX) };
}

static void drop_held(struct stream *s, size_t i)
{
	s->budget->left += s->held[i].len;
	free(s->held[i].p);
	s->held[i].p = NULL;
}

void stream_fini(struct stream *s)
{
	for (size_t i = 0; i < STREAM_HELD; i++)
		if (s->held[i].p)
			drop_held(s, i);
	if (s->budget)
		s->budget->left += s->data.len;
	buf_fini(&s->data);
}

void stream_start(struct stream *s, uint32_t seq)
{
	if (!s->started)
		s->next = seq;
	s->started = true;
}

static void append(struct stream *s, const uint8_t *p, size_t len)
{
	if (len > s->budget->left || buf_append(&s->data, p, len) < 0) {
		s->lost = true;
		return;
	}
	s->budget->left -= len;
	s->next += (uint32_t)len;
}

/* How far the segment begins behind (positive) or before what is expected. */
static int32_t distance(const struct stream *s, uint32_t seq)
{
	return (int32_t)(seq - s->next);
}

/* A segment that begins at or before what is expected. */
static void take(struct stream *s, uint32_t seq, const uint8_t *p, size_t len)
{
	size_t old = (size_t) - (int64_t)distance(s, seq);

	if (len > old)
		append(s, p + old, len - old);
}

static void hold(struct stream *s, uint32_t seq, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < STREAM_HELD; i++) {
		if (s->held[i].p)
			continue;
		if (len > s->budget->left || len > STREAM_MAX)
			break;
		s->held[i].p = malloc(len);
		if (!s->held[i].p)
			break;
		memcpy(s->held[i].p, p, len);
		s->held[i].len = len;
		s->held[i].seq = seq;
		s->budget->left -= len;
		return;
	}
	s->lost = true;
}

/* One held segment whose turn it is now. */
static bool take_held(struct stream *s)
{
	for (size_t i = 0; i < STREAM_HELD; i++) {
		if (!s->held[i].p || distance(s, s->held[i].seq) > 0)
			continue;
		take(s, s->held[i].seq, s->held[i].p, s->held[i].len);
		drop_held(s, i);
		return true;
	}
	return false;
}

void stream_add(struct stream *s, uint32_t seq, const uint8_t *p, size_t len)
{
	if (len == 0 || s->lost)
		return;
	stream_start(s, seq);
	if (distance(s, seq) > 0) {
		hold(s, seq, p, len);
		return;
	}
	take(s, seq, p, len);
	while (!s->lost && take_held(s))
		;
}

void stream_consume(struct stream *s, size_t n)
{
	buf_consume(&s->data, n);
	s->budget->left += n;
}
