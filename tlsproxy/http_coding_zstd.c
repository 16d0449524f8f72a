/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zstd (RFC 8878): any number of frames, skippable ones dropped; windows of up to 8 MiB
 * (RFC 9659). Every frame's magic number is checked here first: the library may also
 * read formats from before the standard, which bound nothing.
 *
 * The constructors that take an allocator are in the library's "static only" part, which
 * Debian's shared library exports; without them a window could not be wiped.
 */
#define ZSTD_STATIC_LINKING_ONLY
#include "tlsproxy/http_coding_int.h"

#include <zstd.h>
#include <zstd_errors.h>

/* Cheap, as our output lives for one hop; the window bounds the memory of a stream. */
#define LEVEL 1
#define WINDOW_LOG 17

struct coding_zstd {
	struct coding_stage stage;
	ZSTD_DCtx *dec;
	ZSTD_CCtx *enc;
	uint8_t magic[4]; /* which magic number this frame began with */
	uint8_t n_magic;
	bool started, ended, dirty; /* as in the other codings */
	bool frames;		    /* one was complete */
	bool full;		    /* decoder: the last room was filled, so there may be more */
};

static struct coding_zstd *zstd_of(struct coding_stage *s)
{
	return container_of(s, struct coding_zstd, stage);
}

static void *zstd_alloc(void *opaque, size_t n)
{
	(void)opaque;
	return coding_alloc(n);
}

static void zstd_release(void *opaque, void *p)
{
	coding_zfree(opaque, p);
}

/* ---- decoding --------------------------------------------------------------------------- */

static bool magic_fits(struct coding_zstd *c, const struct coding_io *io)
{
	static const uint8_t frame[4] = { 0x28, 0xb5, 0x2f, 0xfd };
	static const uint8_t skip[4] = { 0x50, 0x2a, 0x4d, 0x18 };

	for (size_t i = 0; i < io->n_in && c->n_magic < 4; i++) {
		const uint8_t *want = c->n_magic ? c->magic : io->in[0] == frame[0] ? frame : skip;
		uint8_t mask = want[0] == skip[0] && c->n_magic == 0 ? 0xf0 : 0xff;

		if ((io->in[i] & mask) != want[c->n_magic])
			return false;
		if (c->n_magic++ == 0)
			memcpy(c->magic, want, 4);
	}
	return true;
}

static enum http_coding_fault fault_of(size_t r)
{
	switch (ZSTD_getErrorCode(r)) {
	case ZSTD_error_memory_allocation:
		return HTTP_CODING_MEMORY;
	case ZSTD_error_frameParameter_windowTooLarge:
		return HTTP_CODING_WINDOW;
	case ZSTD_error_dictionary_wrong:
	case ZSTD_error_dictionary_corrupted:
		return HTTP_CODING_DICTIONARY;
	default:
		return HTTP_CODING_CORRUPT;
	}
}

/* Up to the end of a frame, of the input, or of the room. */
static int decode_some(struct coding_zstd *c, struct coding_io *io, enum http_coding_fault *ret_fault)
{
	ZSTD_inBuffer in = { io->in, io->n_in, 0 };
	ZSTD_outBuffer out = { io->out, io->n_out, 0 };
	size_t r;

	if (!magic_fits(c, io)) {
		*ret_fault = c->frames ? HTTP_CODING_TRAILING : HTTP_CODING_CORRUPT;
		return -EBADMSG;
	}
	r = ZSTD_decompressStream(c->dec, &out, &in);
	coding_took(io, in.pos, out.pos);
	if (ZSTD_isError(r)) {
		*ret_fault = fault_of(r);
		return *ret_fault == HTTP_CODING_MEMORY ? -ENOMEM : -EBADMSG;
	}
	c->ended = r == 0;
	c->frames |= c->ended;
	if (c->ended)
		c->n_magic = 0;
	return 0;
}

static int decode(struct coding_stage *s, struct coding_io *io, enum http_coding_op op,
		  bool *ret_done, enum http_coding_fault *ret_fault)
{
	struct coding_zstd *c = zstd_of(s);
	size_t left;
	int r;

	c->started |= io->n_in > 0;
	/* The library takes idle calls for an error: it is asked only where there may be more. */
	while (c->started && io->n_out && (io->n_in || (c->full && !c->ended))) {
		left = io->n_in;
		r = decode_some(c, io, ret_fault);
		if (r < 0)
			return r;
		/* With room left and no input there is nothing more in it. */
		if (!c->ended && (io->n_in == 0 || io->n_in == left) && io->n_out)
			break;
	}
	c->full = io->n_out == 0;
	*ret_done = io->n_in == 0 && (!c->full || c->ended);
	if (*ret_done && op == HTTP_CODING_END && c->started && !c->ended) {
		*ret_fault = HTTP_CODING_TRUNCATED;
		return -EBADMSG;
	}
	return 0;
}

/* ---- encoding --------------------------------------------------------------------------------- */

static int encode(struct coding_stage *s, struct coding_io *io, enum http_coding_op op,
		  bool *ret_done, enum http_coding_fault *ret_fault)
{
	static const ZSTD_EndDirective ops[] = { ZSTD_e_continue, ZSTD_e_flush, ZSTD_e_end };
	struct coding_zstd *c = zstd_of(s);
	ZSTD_inBuffer in = { io->in, io->n_in, 0 };
	ZSTD_outBuffer out = { io->out, io->n_out, 0 };
	size_t r;

	(void)ret_fault;
	c->dirty |= io->n_in > 0;
	if (c->ended || (op != HTTP_CODING_END && !c->dirty)) {
		*ret_done = true;
		return 0;
	}
	do {
		r = ZSTD_compressStream2(c->enc, &out, &in, ops[op]);
		if (ZSTD_isError(r))
			return -ENOMEM;
	} while (out.pos < out.size && (in.pos < in.size || (op != HTTP_CODING_RUN && r)));
	coding_took(io, in.pos, out.pos);
	*ret_done = io->n_in == 0 && (op == HTTP_CODING_RUN || r == 0);
	c->ended = op == HTTP_CODING_END && *ret_done;
	c->dirty &= !(*ret_done && op != HTTP_CODING_RUN);
	return 0;
}

/* ---- making --------------------------------------------------------------------------------------- */

static void zstd_free(struct coding_stage *s)
{
	struct coding_zstd *c = zstd_of(s);

	ZSTD_freeDCtx(c->dec);
	ZSTD_freeCCtx(c->enc);
	coding_free(c);
}

static const struct coding_ops decoder_ops = { decode, zstd_free };
static const struct coding_ops encoder_ops = { encode, zstd_free };
static const ZSTD_customMem memory = { zstd_alloc, zstd_release, NULL };

int coding_zstd_decoder(struct coding_stage **ret)
{
	struct coding_zstd *c = coding_alloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->stage.ops = &decoder_ops;
	c->dec = ZSTD_createDCtx_advanced(memory);
	if (!c->dec || ZSTD_isError(ZSTD_DCtx_setParameter(c->dec, ZSTD_d_windowLogMax,
							   HTTP_CODING_ZSTD_WINDOW))) {
		zstd_free(&c->stage);
		return -ENOMEM;
	}
	*ret = &c->stage;
	return 0;
}

int coding_zstd_encoder(struct coding_stage **ret)
{
	struct coding_zstd *c = coding_alloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->stage.ops = &encoder_ops;
	c->enc = ZSTD_createCCtx_advanced(memory);
	if (!c->enc || ZSTD_isError(ZSTD_CCtx_setParameter(c->enc, ZSTD_c_compressionLevel, LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(c->enc, ZSTD_c_windowLog, WINDOW_LOG))) {
		zstd_free(&c->stage);
		return -ENOMEM;
	}
	*ret = &c->stage;
	return 0;
}
