/* SPDX-License-Identifier: Apache-2.0 */
/* Frames written and read by hand (RFC 9113 4.1), for what no library would send. */
#ifndef WEIR_TEST_HTTP2_WIRE_H
#define WEIR_TEST_HTTP2_WIRE_H

#include "http2_rig.h"

enum {
	W_DATA = 0,
	W_HEADERS = 1,
	W_PRIORITY = 2,
	W_RST = 3,
	W_SETTINGS = 4,
	W_PUSH = 5,
	W_PING = 6,
	W_GOAWAY = 7,
	W_WINDOW = 8,
	W_CONTINUATION = 9,
};
enum { W_END_STREAM = 1, W_ACK = 1, W_END_HEADERS = 4, W_PADDED = 8, W_PRIO = 32 };

#define W_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

static inline void wire_be32(struct buf *b, uint32_t v)
{
	uint8_t p[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };

	rig_must(buf_append(b, p, 4));
}

static inline void wire_frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t id,
			      const void *p, size_t n)
{
	uint8_t head[5] = { (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags };

	rig_must(buf_append(b, head, 5));
	wire_be32(b, id);
	rig_must(buf_append(b, p, n));
}

static inline void wire_u32_frame(struct buf *b, uint8_t type, uint32_t id, uint32_t value)
{
	uint8_t p[4] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
			 (uint8_t)value };

	wire_frame(b, type, 0, id, p, 4);
}

static inline void wire_int(struct buf *b, uint8_t first, unsigned bits, size_t v)
{
	size_t max = (1u << bits) - 1;
	uint8_t c;

	if (v < max) {
		c = (uint8_t)(first | v);
		rig_must(buf_append(b, &c, 1));
		return;
	}
	c = (uint8_t)(first | max);
	rig_must(buf_append(b, &c, 1));
	for (v -= max; v >= 128; v >>= 7) {
		c = (uint8_t)(v | 128);
		rig_must(buf_append(b, &c, 1));
	}
	c = (uint8_t)v;
	rig_must(buf_append(b, &c, 1));
}

/* A literal (RFC 7541 6.2): first 0x00 without indexing, 0x10 never, 0x40 indexed. */
static inline void wire_literal(struct buf *b, uint8_t first, const char *name, const void *value,
				size_t n)
{
	rig_must(buf_append(b, &first, 1));
	wire_int(b, 0, 7, strlen(name));
	rig_must(buf_append_str(b, name));
	wire_int(b, 0, 7, n);
	rig_must(buf_append(b, value, n));
}

static inline void wire_field(struct buf *b, const char *name, const char *value)
{
	wire_literal(b, 0, name, value, strlen(value));
}

static inline void wire_request(struct buf *b, const char *method, const char *path)
{
	wire_field(b, ":method", method);
	wire_field(b, ":scheme", "https");
	wire_field(b, ":authority", "api.example.com");
	wire_field(b, ":path", path);
}

static inline void wire_get(struct buf *b, uint32_t id, const char *path)
{
	struct buf block = BUF_INIT(65536);

	wire_request(&block, "GET", path);
	wire_frame(b, W_HEADERS, W_END_HEADERS | W_END_STREAM, id, buf_at(&block), block.len);
	buf_fini(&block);
}

static inline void wire_begin(struct buf *b)
{
	rig_must(buf_append_str(b, W_PREFACE));
	wire_frame(b, W_SETTINGS, 0, 0, NULL, 0);
}

/* ---- what came ------------------------------------------------------------------------- */

struct wire_frame {
	uint8_t type, flags;
	uint32_t id;
	const uint8_t *p;
	size_t n;
};

static inline uint32_t wire_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The frame at *at; false when there is none. */
static inline bool wire_next(const struct buf *b, size_t *at, struct wire_frame *ret)
{
	const uint8_t *p = buf_at(b);

	if (b->len < *at + 9)
		return false;
	p += *at;
	ret->n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
	if (b->len < *at + 9 + ret->n)
		return false;
	ret->type = p[3];
	ret->flags = p[4];
	ret->id = wire_u32(p + 5);
	ret->p = p + 9;
	*at += 9 + ret->n;
	return true;
}

/* Code of the first frame of that type (RST_STREAM of that stream, or GOAWAY); -1: none. */
static inline int64_t wire_code(const struct buf *b, uint8_t type, uint32_t id)
{
	struct wire_frame f;

	for (size_t at = 0; wire_next(b, &at, &f);)
		if (f.type == type && f.id == id)
			return wire_u32(f.p + (type == W_GOAWAY ? 4 : 0));
	return -1;
}

static inline size_t wire_count(const struct buf *b, uint8_t type)
{
	struct wire_frame f;
	size_t n = 0;

	for (size_t at = 0; wire_next(b, &at, &f);)
		n += f.type == type;
	return n;
}

/* ---- a filter without peers ---------------------------------------------------------------- */

static inline void wire_start(struct h2_rig *r, bool h2_upstream)
{
	h2_prepare(r, true, NULL);
	r->g.cfg.upstream_h2 = h2_upstream;
	r->g.buf_cap = RIG_CAP;
	h2_start(r);
}

/* All of it from the guest; stops when it is taken no more. */
static inline bool wire_feed(struct h2_rig *r, struct buf *b)
{
	bool all = rig_feed(&r->g, true, buf_at(b), b->len);

	b->len = b->off = 0;
	return all;
}

#endif
