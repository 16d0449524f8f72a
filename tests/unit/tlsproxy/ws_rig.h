/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket peers for the tests and the fuzzer: frames made, and what the engine makes
 * of them read by a parser of its own, which is as strict as a peer may be.
 */
#ifndef WS_RIG_H
#define WS_RIG_H

#include "tlsproxy/http_limits.h"
#include "tlsproxy/ws.h"

#include <zlib.h>

/* ---- making frames ------------------------------------------------------------------------ */

static inline void ws_rig_append(struct buf *b, const void *p, size_t n)
{
	int r = n ? buf_append(b, p, n) : 0;

	assert(r == 0);
}

/* key NULL: not masked. */
static inline void ws_rig_frame(struct buf *b, uint8_t first, const uint8_t *p, size_t n,
				const uint8_t *key)
{
	uint8_t head[10] = { first, (uint8_t)(n < 126 ? n : n < 65536 ? 126 : 127) };
	size_t len = n < 126 ? 2 : n < 65536 ? 4 : 10, at;

	head[1] |= key ? 0x80 : 0;
	for (size_t i = 2; i < len; i++)
		head[i] = (uint8_t)((uint64_t)n >> 8 * (len - 1 - i));
	ws_rig_append(b, head, len);
	if (key)
		ws_rig_append(b, key, 4);
	at = b->len;
	ws_rig_append(b, p, n);
	for (size_t i = 0; key && i < n; i++)
		buf_at(b)[at + i] ^= key[i % 4];
}

/* permessage-deflate as a sender: the message without its tail. */
static inline void ws_rig_deflate(z_stream *z, const uint8_t *p, size_t n, struct buf *out)
{
	static const uint8_t tail[4] = { 0, 0, 0xff, 0xff };
	uint8_t *dst;
	size_t room = n + n / 100 + 1000, at = out->len;
	int r = buf_reserve(out, room, &dst);

	assert(r == 0);
	z->next_in = (Bytef *)(uintptr_t)p;
	z->avail_in = (uInt)n;
	z->next_out = dst;
	z->avail_out = (uInt)room;
	r = deflate(z, Z_SYNC_FLUSH);
	assert(r == Z_OK || r == Z_BUF_ERROR);
	assert(z->avail_in == 0 && z->avail_out > 0);
	buf_commit(out, room - z->avail_out);
	if (out->len - at >= 4 && memcmp(buf_at(out) + out->len - 4, tail, 4) == 0)
		out->len -= 4;
	if (out->len == at)
		ws_rig_append(out, "", 1);
}

/* ---- reading frames ---------------------------------------------------------------------------- */

/* One message or control frame, with what its frames were. */
struct ws_rig_message {
	uint8_t opcode;
	bool compressed;
	size_t at, n;	   /* in `bytes` of the reader */
	size_t frames[64]; /* lengths of the first ones, as on the wire */
	size_t n_frames;
};

struct ws_rig_reader {
	bool masked;	 /* what the frames have to be */
	unsigned window; /* of the inflater, 8..15; 0: none */
	bool no_takeover;
	struct buf bytes;
	struct ws_rig_message *messages; /* as they ended: control frames before their message */
	size_t n, size;
	z_stream z;
	bool z_ready;
	uint32_t keys[3]; /* the last ones */
};

static inline void ws_rig_reader_init(struct ws_rig_reader *r, bool masked, unsigned window,
				      bool no_takeover)
{
	*r = (struct ws_rig_reader){ .masked = masked,
				     .window = window,
				     .no_takeover = no_takeover,
				     .bytes = BUF_INIT((size_t)256 << 20) };
}

static inline void ws_rig_reader_fini(struct ws_rig_reader *r)
{
	if (r->z_ready)
		inflateEnd(&r->z);
	buf_fini(&r->bytes);
	free(r->messages);
}

static inline struct ws_rig_message *ws_rig_add(struct ws_rig_reader *r)
{
	if (r->n == r->size) {
		r->size = r->size ? 2 * r->size : 16;
		r->messages = realloc(r->messages, r->size * sizeof(*r->messages));
		assert(r->messages);
	}
	r->messages[r->n] = (struct ws_rig_message){ 0 };
	return &r->messages[r->n++];
}

static inline void ws_rig_inflate(struct ws_rig_reader *r, const struct buf *in)
{
	static const uint8_t tail[4] = { 0, 0, 0xff, 0xff };
	uint8_t *dst;
	int z;

	assert(r->window);
	if (!r->z_ready)
		z = inflateInit2(&r->z, -(int)r->window);
	else
		z = r->no_takeover ? inflateReset(&r->z) : Z_OK;
	assert(z == Z_OK);
	r->z_ready = true;
	for (int i = 0; i < 2; i++) {
		r->z.next_in = (Bytef *)(uintptr_t)(i ? tail : buf_at(in));
		r->z.avail_in = (uInt)(i ? 4 : in->len);
		do {
			z = buf_reserve(&r->bytes, 65536, &dst);
			assert(z == 0);
			r->z.next_out = dst;
			r->z.avail_out = 65536;
			z = inflate(&r->z, Z_SYNC_FLUSH);
			assert(z == Z_OK || z == Z_BUF_ERROR);
			buf_commit(&r->bytes, 65536 - r->z.avail_out);
		} while (r->z.avail_out == 0);
		assert(r->z.avail_in == 0);
	}
}

static inline void ws_rig_end(struct ws_rig_reader *r, struct ws_rig_message *m, const struct buf *in)
{
	m->at = r->bytes.len;
	if (m->compressed)
		ws_rig_inflate(r, in);
	else
		ws_rig_append(&r->bytes, buf_at(in), in->len);
	m->n = r->bytes.len - m->at;
	*ws_rig_add(r) = *m;
}

/* Everything one direction of the engine wrote. Asserts that it is well formed; cut: it may end early. */
static inline void ws_rig_read(struct ws_rig_reader *r, const struct buf *wire, bool cut)
{
	struct rd in = rd_init(wire->len ? buf_at(wire) : (const uint8_t *)"", wire->len);
	struct buf parts = BUF_INIT((size_t)256 << 20), control = BUF_INIT(256);
	struct ws_rig_message m = { 0 }, c;
	bool in_message = false, closed = false;

	while (rd_left(&in)) {
		uint8_t first, second;
		uint64_t n;
		const uint8_t *key = NULL, *p;
		bool ok = rd_u8(&in, &first) && rd_u8(&in, &second), is_control = first & 8;
		size_t ext, at;
		struct buf *to = is_control ? &control : &parts;

		assert(ok || cut);
		if (!ok)
			break;
		assert(!closed);
		n = second & 0x7f;
		ext = n == 126 ? 2 : n == 127 ? 8 : 0;
		ok = rd_bytes(&in, ext, &p);
		if (ok && ext) {
			n = 0;
			for (size_t i = 0; i < ext; i++)
				n = n << 8 | p[i];
			assert(ext == 2 ? n >= 126 : n >= 65536);
		}
		ok = ok && (!(second & 0x80) || rd_bytes(&in, 4, &key));
		ok = ok && rd_bytes(&in, (size_t)n, &p);
		assert(ok || cut);
		if (!ok)
			break;
		assert(r->masked == (key != NULL));
		assert((first & 0x30) == 0);
		if (key) {
			memmove(r->keys + 1, r->keys, 8);
			memcpy(r->keys, key, 4);
		}
		at = to->len;
		ws_rig_append(to, p, (size_t)n);
		for (size_t i = 0; key && i < n; i++)
			buf_at(to)[at + i] ^= key[i % 4];
		if (is_control) {
			assert(first >> 4 == 8 && n <= 125 && (first & 15) <= 10);
			c = (struct ws_rig_message){ .opcode = first & 15 };
			ws_rig_end(r, &c, &control);
			control.len = control.off = 0;
			closed = (first & 15) == 8;
			continue;
		}
		assert((first & 15) <= 2 && in_message == ((first & 15) == 0));
		assert(!(first & 0x40) || !in_message);
		if (!in_message)
			m = (struct ws_rig_message){ .opcode = first & 15,
						     .compressed = (first & 0x40) != 0 };
		in_message = true;
		if (m.n_frames < ARRAY_SIZE(m.frames))
			m.frames[m.n_frames] = (size_t)n;
		m.n_frames++;
		if (!(first & 0x80))
			continue;
		ws_rig_end(r, &m, &parts);
		parts.len = parts.off = 0;
		in_message = false;
	}
	assert(!in_message || cut || closed);
	buf_fini(&parts);
	buf_fini(&control);
}

#endif
