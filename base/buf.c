/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growable byte buffer. Content sits at data[off..off+len); consuming moves
 * `off`, and room is made by moving content down before growing. The cap bounds
 * content, so hostile input can make a buffer refuse but never grow without end.
 */
#include "base/base.h"

#include <stdio.h>

/* Storage above this is given back on reset, so one large use does not stay. */
#define BUF_KEEP 4096

void buf_init(struct buf *b, size_t cap)
{
	*b = BUF_INIT(cap);
}

void buf_fini(struct buf *b)
{
	free(b->data);
	*b = BUF_INIT(b->cap);
}

void buf_fini_wiped(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->size);
	buf_fini(b);
}

void buf_reset(struct buf *b)
{
	b->off = b->len = 0;
	if (b->size > BUF_KEEP)
		buf_fini(b);
}

int buf_reserve(struct buf *b, size_t n, uint8_t **ret_p)
{
	size_t want, size;
	uint8_t *data;

	if (add_overflows(b->len, n, &want) || want > b->cap)
		return -ENOBUFS;
	if (b->off && b->size - b->off < want) {
		memmove(b->data, b->data + b->off, b->len);
		b->off = 0;
	}
	if (b->size < want) {
		size = MAX(b->size, (size_t)256);
		while (size < want)
			size = size > SIZE_MAX / 2 ? want : size * 2;
		size = MIN(size, MAX(b->cap, want));
		data = realloc(b->data, size);
		if (!data)
			return -ENOMEM;
		b->data = data;
		b->size = size;
	}
	*ret_p = b->data ? b->data + b->off + b->len : NULL;
	return 0;
}

void buf_commit(struct buf *b, size_t n)
{
	assert(n <= b->size - b->off - b->len);
	b->len += n;
}

int buf_append(struct buf *b, const void *p, size_t n)
{
	uint8_t *dst;
	int r;

	if (n == 0)
		return 0;
	r = buf_reserve(b, n, &dst);
	if (r < 0)
		return r;
	memcpy(dst, p, n);
	b->len += n;
	return 0;
}

int buf_append_str(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

int buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	size_t cap = b->cap, spare = b->size - b->off - b->len;
	va_list copy;
	uint8_t *dst;
	int n, r;

	/* Mostly it fits into what there is, and needs no second look. */
	va_copy(copy, ap);
	n = vsnprintf(spare ? (char *)buf_at(b) + b->len : NULL, spare, fmt, copy);
	va_end(copy);
	if (n < 0)
		return -EINVAL;
	if ((size_t)n > cap - b->len)
		return -ENOBUFS;
	if ((size_t)n < spare) {
		b->len += (size_t)n;
		return 0;
	}
	/* One byte more for vsnprintf's NUL, which is not content. */
	b->cap = cap + 1;
	r = buf_reserve(b, (size_t)n + 1, &dst);
	b->cap = cap;
	if (r < 0)
		return r;
	vsnprintf((char *)dst, (size_t)n + 1, fmt, ap);
	b->len += (size_t)n;
	return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return r;
}

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= b->len);
	b->off += n;
	b->len -= n;
	if (b->len == 0)
		b->off = 0;
}

const char *buf_str(struct buf *b)
{
	size_t cap = b->cap;
	uint8_t *dst;
	int r;

	b->cap = b->len + 1;
	r = buf_reserve(b, 1, &dst);
	b->cap = cap;
	if (r < 0)
		return NULL;
	*dst = 0;
	return (const char *)buf_at(b);
}
