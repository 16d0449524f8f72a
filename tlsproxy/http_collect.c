/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gathers one section of lines (a head, or trailers) and checks every byte as
 * it comes: lines end with CRLF and nothing else, no CR or LF stands alone, no
 * control character but the tab. What comes out can be split at CRLF without
 * a second thought. The verdict on a stream does not depend on its pieces.
 */
#include "tlsproxy/http_internal.h"

enum { BOL = 0, BOL_CR = 1, IN = 2, IN_CR = 3, DONE = 4 };

void http_collect_init(struct http_collect *c, enum http_collect_kind kind)
{
	*c = (struct http_collect){ .kind = kind };
	/* One byte more: buf_str() style terminators are never content. */
	buf_init(&c->bytes, kind == HTTP_COLLECT_TRAILERS ? HTTP_TRAILERS_MAX : HTTP_HEAD_MAX);
}

void http_collect_fini(struct http_collect *c)
{
	buf_fini_wiped(&c->bytes);
	http_collect_init(c, c->kind);
}

bool http_collect_empty(const struct http_collect *c)
{
	return c->bytes.len == 0 && c->state == BOL;
}

static int bad(const char **ret_why, const char *why, int r)
{
	*ret_why = why;
	return r;
}

static size_t max_lines(const struct http_collect *c)
{
	return c->kind == HTTP_COLLECT_TRAILERS ? HTTP_TRAILER_FIELDS_MAX : HTTP_FIELDS_MAX + 1;
}

/* The byte that ends a line, or one that stands where a line could begin. */
static int step(struct http_collect *c, uint8_t b, bool *ret_keep, const char **ret_why)
{
	*ret_keep = true;
	if (c->state == BOL_CR || c->state == IN_CR) {
		if (b != '\n')
			return bad(ret_why, "CR without LF", -EBADMSG);
		if (c->state == IN_CR) {
			c->state = BOL;
			c->lines++;
			return 0;
		}
		*ret_keep = false;
		if (c->lines || c->kind == HTTP_COLLECT_TRAILERS) {
			c->state = DONE;
			return 0;
		}
		if (c->kind != HTTP_COLLECT_REQUEST || c->skipped)
			return bad(ret_why, "empty start line", -EBADMSG);
		c->skipped = true;
		c->state = BOL;
		return 0;
	}
	if (b == '\n')
		return bad(ret_why, "LF without CR", -EBADMSG);
	if (b == '\r') {
		*ret_keep = c->state == IN;
		c->state = c->state == IN ? IN_CR : BOL_CR;
		return 0;
	}
	if ((b < 0x20 && b != '\t') || b == 0x7f)
		return bad(ret_why, "control character in a head", -EBADMSG);
	if (c->state == BOL && c->lines >= max_lines(c))
		return bad(ret_why, "too many fields", -E2BIG);
	c->state = IN;
	return 0;
}

/* A byte below 0x20, or 0x7f, among eight. */
static bool has_control(uint64_t w)
{
	const uint64_t ones = UINT64_MAX / 255, tops = ones << 7;
	uint64_t del = w ^ ones * 0x7f;

	return ((w - ones * 0x20) & ~w & tops) || ((del - ones) & ~del & tops);
}

size_t http_plain_run(const uint8_t *p, size_t n)
{
	size_t i = 0;

	for (uint64_t w; n - i >= sizeof(w); i += sizeof(w)) {
		memcpy(&w, p + i, sizeof(w));
		if (has_control(w))
			break;
	}
	while (i < n && ((p[i] >= 0x20 && p[i] != 0x7f) || p[i] == '\t'))
		i++;
	return i;
}

/* Appends; outgrown storage is wiped, as a reply's head may hold a value. */
static int append(struct buf *b, const uint8_t *p, size_t n)
{
	struct buf larger = BUF_INIT(b->cap);
	uint8_t *dst;
	int r;

	if (b->size - b->off - b->len >= n)
		return buf_append(b, p, n);
	r = buf_reserve(&larger, MIN(b->cap, MAX(2 * b->len, b->len + n)), &dst);
	if (r < 0)
		return r;
	if (b->len)
		r = buf_append(&larger, buf_at(b), b->len);
	if (r == 0)
		r = buf_append(&larger, p, n);
	if (r < 0) {
		buf_fini_wiped(&larger);
		return r;
	}
	buf_fini_wiped(b);
	*b = larger;
	return 0;
}

int http_collect_feed(struct http_collect *c, const uint8_t *p, size_t n, size_t *ret_taken,
		      bool *ret_done, const char **ret_why)
{
	size_t i = 0, from = 0; /* what lies between is kept: it goes in with one copy */
	int r;

	while (i < n && c->state != DONE) {
		size_t room = buf_room(&c->bytes) - (i - from);
		size_t run = c->state == IN ? MIN(http_plain_run(p + i, n - i), room) : 0;
		bool keep = true;

		if (!run) {
			r = step(c, p[i], &keep, ret_why);
			if (r < 0)
				return r;
			run = 1;
		}
		if (keep && !room)
			return bad(ret_why, "head section too long", -E2BIG);
		if (!keep && append(&c->bytes, p + from, i - from) < 0)
			return bad(ret_why, "out of memory", -ENOMEM);
		i += run;
		from = keep ? from : i;
	}
	if (append(&c->bytes, p + from, i - from) < 0)
		return bad(ret_why, "out of memory", -ENOMEM);
	*ret_taken = i;
	*ret_done = c->state == DONE;
	return 0;
}
