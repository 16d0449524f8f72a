/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip (RFC 1952, any number of members) and deflate.
 *
 * "deflate" means the zlib wrapper (RFC 1950); some servers send raw deflate data
 * instead, and every browser takes it. The first two bytes decide: a valid zlib head is
 * one, anything else is raw. (A zlib head could be read as the beginning of an unusual
 * stored block too. No reader in use does, and what goes on is written anew with the
 * wrapper, so nobody behind us gets to choose.)
 */
#define ZLIB_CONST
#include "tlsproxy/http_coding_int.h"

#include <zlib.h>

#define GZIP_MAGIC_0 0x1f
/* Cheap: our output lives for one hop. 128 KiB a stream instead of 256. */
#define LEVEL 1
#define WINDOW_BITS 14
#define MEM_LEVEL 7

struct coding_zlib {
	struct coding_stage stage;
	z_stream z;
	bool gzip;
	bool ready;   /* z is set up */
	bool started; /* a byte came in */
	bool ended;   /* decoder: between members or behind the end; encoder: finished */
	bool dirty;   /* encoder: bytes since the last flush */
	uint8_t head[2];
	uint8_t n_head;
};

static struct coding_zlib *zlib_of(struct coding_stage *s)
{
	return container_of(s, struct coding_zlib, stage);
}

/* ---- decoding ------------------------------------------------------------------------- */

static int inflate_begin(struct coding_zlib *c, int bits)
{
	if (inflateInit2(&c->z, bits) != Z_OK)
		return -ENOMEM;
	c->ready = true;
	return 0;
}

static bool is_zlib_head(const uint8_t h[2])
{
	return (h[0] & 0x0f) == 8 && h[0] >> 4 <= 7 && (h[0] << 8 | h[1]) % 31 == 0;
}

/* One call of inflate over in[0..n); the number of bytes taken or a negative error. */
static ssize_t inflate_some(struct coding_zlib *c, const uint8_t *in, size_t n,
			    struct coding_io *io, enum http_coding_fault *ret_fault)
{
	size_t room = MIN(io->n_out, (size_t)UINT32_MAX), take = MIN(n, (size_t)UINT32_MAX);
	int z;

	c->z.next_in = in;
	c->z.avail_in = (uInt)take;
	c->z.next_out = io->out;
	c->z.avail_out = (uInt)room;
	z = inflate(&c->z, Z_NO_FLUSH);
	coding_took(io, 0, room - c->z.avail_out);
	if (z == Z_MEM_ERROR)
		return -ENOMEM;
	if (z != Z_OK && z != Z_STREAM_END && z != Z_BUF_ERROR) {
		*ret_fault = z == Z_NEED_DICT ? HTTP_CODING_DICTIONARY : HTTP_CODING_CORRUPT;
		return -EBADMSG;
	}
	c->ended = z == Z_STREAM_END;
	return (ssize_t)(take - c->z.avail_in);
}

/* The first two bytes of "deflate" are kept until they can be told, then go in first. */
static int deflate_head(struct coding_zlib *c, struct coding_io *io, enum http_coding_fault *ret_fault)
{
	ssize_t r;

	while (c->n_head < 2 && io->n_in) {
		c->head[c->n_head++] = *io->in;
		coding_took(io, 1, 0);
	}
	if (c->n_head < 2)
		return 0;
	r = inflate_begin(c, is_zlib_head(c->head) ? MAX_WBITS : -MAX_WBITS);
	if (r == 0)
		r = inflate_some(c, c->head, 2, io, ret_fault);
	/* Two bytes yield less than CODING_ROOM_MIN. */
	assert(r < 0 || r == 2);
	return (int)MIN(r, 0);
}

static int decode_begin(struct coding_zlib *c, struct coding_io *io, enum http_coding_fault *ret_fault)
{
	int r = 0;

	c->started |= io->n_in > 0;
	if (!c->ready && c->started)
		r = c->gzip ? inflate_begin(c, MAX_WBITS + 16) : deflate_head(c, io, ret_fault);
	return r;
}

/* What stands behind an end: another member of gzip, or nothing. */
static int decode_behind(struct coding_zlib *c, const struct coding_io *io,
			 enum http_coding_fault *ret_fault)
{
	if (!c->gzip || io->in[0] != GZIP_MAGIC_0) {
		*ret_fault = HTTP_CODING_TRAILING;
		return -EBADMSG;
	}
	c->ended = false;
	return inflateReset(&c->z) == Z_OK ? 0 : -ENOMEM;
}

static int decode(struct coding_stage *s, struct coding_io *io, enum http_coding_op op,
		  bool *ret_done, enum http_coding_fault *ret_fault)
{
	struct coding_zlib *c = zlib_of(s);
	ssize_t n;
	int r = decode_begin(c, io, ret_fault);

	while (r == 0 && c->ready && io->n_out) {
		if (c->ended && io->n_in == 0)
			break;
		if (c->ended)
			r = decode_behind(c, io, ret_fault);
		if (r < 0)
			break;
		n = inflate_some(c, io->in, io->n_in, io, ret_fault);
		if (n < 0)
			return (int)n;
		coding_took(io, (size_t)n, 0);
		if (io->n_in == 0 && !c->ended)
			break;
	}
	if (r < 0)
		return r;
	*ret_done = io->n_in == 0 && (io->n_out > 0 || c->ended);
	if (*ret_done && op == HTTP_CODING_END && c->started && !c->ended) {
		*ret_fault = HTTP_CODING_TRUNCATED;
		return -EBADMSG;
	}
	return 0;
}

static void decoder_free(struct coding_stage *s)
{
	struct coding_zlib *c = zlib_of(s);

	if (c->ready)
		inflateEnd(&c->z);
	coding_free(c);
}

/* ---- encoding ----------------------------------------------------------------------------- */

static int encode(struct coding_stage *s, struct coding_io *io, enum http_coding_op op,
		  bool *ret_done, enum http_coding_fault *ret_fault)
{
	static const int flush[] = { Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH };
	struct coding_zlib *c = zlib_of(s);
	int z;

	(void)ret_fault;
	c->dirty |= io->n_in > 0;
	if (c->ended || (op != HTTP_CODING_END && !c->dirty)) {
		*ret_done = true;
		return 0;
	}
	do {
		size_t take = MIN(io->n_in, (size_t)UINT32_MAX);
		size_t room = MIN(io->n_out, (size_t)UINT32_MAX);

		c->z.next_in = io->in;
		c->z.avail_in = (uInt)take;
		c->z.next_out = io->out;
		c->z.avail_out = (uInt)room;
		z = deflate(&c->z, take < io->n_in ? Z_NO_FLUSH : flush[op]);
		coding_took(io, take - c->z.avail_in, room - c->z.avail_out);
		c->ended = z == Z_STREAM_END;
	} while (z == Z_OK && io->n_in && io->n_out);
	*ret_done = io->n_in == 0 && (op == HTTP_CODING_RUN || c->ended ||
				      (op == HTTP_CODING_FLUSH && io->n_out > 0));
	c->dirty &= !(*ret_done && op != HTTP_CODING_RUN);
	return 0;
}

static void encoder_free(struct coding_stage *s)
{
	struct coding_zlib *c = zlib_of(s);

	deflateEnd(&c->z);
	coding_free(c);
}

/* ---- making ---------------------------------------------------------------------------------- */

static const struct coding_ops decoder_ops = { decode, decoder_free };
static const struct coding_ops encoder_ops = { encode, encoder_free };

static struct coding_zlib *zlib_new(const struct coding_ops *ops, bool gzip)
{
	struct coding_zlib *c = coding_alloc(sizeof(*c));

	if (!c)
		return NULL;
	c->stage.ops = ops;
	c->gzip = gzip;
	c->z.zalloc = coding_zalloc;
	c->z.zfree = coding_zfree;
	return c;
}

int coding_zlib_decoder(bool gzip, struct coding_stage **ret)
{
	struct coding_zlib *c = zlib_new(&decoder_ops, gzip);

	if (!c)
		return -ENOMEM;
	*ret = &c->stage;
	return 0;
}

int coding_zlib_encoder(bool gzip, struct coding_stage **ret)
{
	struct coding_zlib *c = zlib_new(&encoder_ops, gzip);

	if (!c)
		return -ENOMEM;
	if (deflateInit2(&c->z, LEVEL, Z_DEFLATED, gzip ? WINDOW_BITS + 16 : WINDOW_BITS, MEM_LEVEL,
			 Z_DEFAULT_STRATEGY) != Z_OK) {
		coding_free(c);
		return -ENOMEM;
	}
	*ret = &c->stage;
	return 0;
}
