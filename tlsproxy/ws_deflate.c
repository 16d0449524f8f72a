/* SPDX-License-Identifier: Apache-2.0 */
/*
 * permessage-deflate (RFC 7692 7.2) for one direction: what comes in is inflated with the
 * largest window, what goes out is deflated with no more than was agreed upon, and with
 * no more than is worth its memory here.
 *
 * A peer may agree to a window of 256 bytes, which zlib does not make. Of 512 it makes
 * one whose distances stay below 256 (a deflater keeps 262 bytes of lookahead out of
 * reach), which such a peer can read.
 */
#include "tlsproxy/http_coding_int.h"
#include "tlsproxy/ws_int.h"

#define LEVEL 1
#define BITS_MIN 9
#define BITS_MAX 13
#define MEM_LEVEL 6

void ws_coder_init(struct ws_coder *c, bool no_takeover, uint8_t bits)
{
	*c = (struct ws_coder){ .no_takeover = no_takeover };
	c->bits = (uint8_t)MAX(BITS_MIN, MIN(bits, BITS_MAX));
	c->in.zalloc = c->out.zalloc = coding_zalloc;
	c->in.zfree = c->out.zfree = coding_zfree;
}

void ws_coder_fini(struct ws_coder *c)
{
	if (c->in_ready)
		inflateEnd(&c->in);
	if (c->out_ready)
		deflateEnd(&c->out);
	c->in_ready = c->out_ready = false;
}

int ws_coder_message(struct ws_coder *c)
{
	bool fresh = !c->in_ready;

	if (!c->in_ready && inflateInit2(&c->in, -MAX_WBITS) != Z_OK)
		return -ENOMEM;
	c->in_ready = true;
	if (!c->out_ready && deflateInit2(&c->out, LEVEL, Z_DEFLATED, -(int)c->bits, MEM_LEVEL,
					  Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	c->out_ready = true;
	if (!fresh && c->no_takeover &&
	    (inflateReset(&c->in) != Z_OK || deflateReset(&c->out) != Z_OK))
		return -ENOMEM;
	return 0;
}

int ws_inflate(struct ws_coder *c, const uint8_t *p, size_t n, struct buf *text, size_t *ret_taken)
{
	size_t room = text->cap - text->len;
	uint8_t *dst;
	int z, r = buf_reserve(text, room, &dst);

	if (r < 0)
		return r;
	c->in.next_in = p;
	c->in.avail_in = (uInt)n;
	c->in.next_out = dst;
	c->in.avail_out = (uInt)room;
	do {
		z = inflate(&c->in, Z_SYNC_FLUSH);
		/*
		 * A last block in the midst (7.2.3.5): what follows is a stream of its own with the
		 * same history, which this call keeps, and copies nothing.
		 */
		if (z == Z_STREAM_END && inflateResetKeep(&c->in) != Z_OK)
			z = Z_MEM_ERROR;
	} while (z == Z_STREAM_END && c->in.avail_in && c->in.avail_out);
	buf_commit(text, room - c->in.avail_out);
	c->in_full = c->in.avail_out == 0;
	*ret_taken = n - c->in.avail_in;
	if (z == Z_MEM_ERROR)
		return -ENOMEM;
	return z == Z_OK || z == Z_STREAM_END || z == Z_BUF_ERROR ? 0 : -EPROTO;
}

bool ws_inflated(const struct ws_coder *c)
{
	return c->in.data_type & 128; /* zlib: between two blocks */
}

int ws_deflate(struct ws_coder *c, const uint8_t *p, size_t n, bool flush, struct buf *payload,
	       size_t *ret_taken, bool *ret_done)
{
	size_t room = payload->cap - payload->len;
	uint8_t *dst;
	int r = buf_reserve(payload, room, &dst);

	if (r < 0)
		return r;
	c->out.next_in = p;
	c->out.avail_in = (uInt)n;
	c->out.next_out = dst;
	c->out.avail_out = (uInt)room;
	deflate(&c->out, flush ? Z_SYNC_FLUSH : Z_NO_FLUSH);
	buf_commit(payload, room - c->out.avail_out);
	*ret_taken = n - c->out.avail_in;
	*ret_done = c->out.avail_in == 0 && c->out.avail_out > 0;
	return 0;
}
