/* SPDX-License-Identifier: Apache-2.0 */
/* br (RFC 7932): windows of up to 16 MiB, as far as the library needs them; no shared dictionary. */
#include "tlsproxy/http_coding_int.h"

#include <brotli/decode.h>
#include <brotli/encode.h>

/* Cheap, as our output lives for one hop; the window bounds the memory of a stream. */
#define QUALITY 2
#define WINDOW_BITS 16

struct coding_br {
	struct coding_stage stage;
	BrotliDecoderState *dec;
	BrotliEncoderState *enc;
	bool started; /* a byte came in */
	bool ended;
	bool dirty; /* encoder: bytes since the last flush */
};

static struct coding_br *br_of(struct coding_stage *s)
{
	return container_of(s, struct coding_br, stage);
}

static void *br_alloc(void *opaque, size_t n)
{
	(void)opaque;
	return coding_alloc(n);
}

static bool out_of_memory(BrotliDecoderErrorCode e)
{
	return e <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES &&
	       e >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES;
}

static int decode_failed(struct coding_br *c, enum http_coding_fault *ret_fault)
{
	BrotliDecoderErrorCode e = BrotliDecoderGetErrorCode(c->dec);

	if (out_of_memory(e))
		return -ENOMEM;
	*ret_fault = e == BROTLI_DECODER_ERROR_DICTIONARY_NOT_SET ? HTTP_CODING_DICTIONARY
								  : HTTP_CODING_CORRUPT;
	return -EBADMSG;
}

static int decode(struct coding_stage *s, struct coding_io *io, enum http_coding_op op,
		  bool *ret_done, enum http_coding_fault *ret_fault)
{
	struct coding_br *c = br_of(s);
	BrotliDecoderResult r = BROTLI_DECODER_RESULT_SUCCESS;

	c->started |= io->n_in > 0;
	if (c->started && !c->ended)
		r = BrotliDecoderDecompressStream(c->dec, &io->n_in, &io->in, &io->n_out, &io->out,
						  NULL);
	if (r == BROTLI_DECODER_RESULT_ERROR)
		return decode_failed(c, ret_fault);
	c->ended = c->started && r == BROTLI_DECODER_RESULT_SUCCESS;
	*ret_done = r != BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT;
	*ret_fault = c->ended && io->n_in ? HTTP_CODING_TRAILING
		     : op == HTTP_CODING_END && r == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT
			     ? HTTP_CODING_TRUNCATED
			     : HTTP_CODING_OK;
	return *ret_fault ? -EBADMSG : 0;
}

static int encode(struct coding_stage *s, struct coding_io *io, enum http_coding_op op,
		  bool *ret_done, enum http_coding_fault *ret_fault)
{
	static const BrotliEncoderOperation ops[] = {
		BROTLI_OPERATION_PROCESS,
		BROTLI_OPERATION_FLUSH,
		BROTLI_OPERATION_FINISH,
	};
	struct coding_br *c = br_of(s);

	(void)ret_fault;
	c->dirty |= io->n_in > 0;
	if (c->ended || (op != HTTP_CODING_END && !c->dirty)) {
		*ret_done = true;
		return 0;
	}
	do {
		if (!BrotliEncoderCompressStream(c->enc, ops[op], &io->n_in, &io->in, &io->n_out,
						 &io->out, NULL))
			return -ENOMEM;
	} while (io->n_in && io->n_out);
	*ret_done = io->n_in == 0 && (op == HTTP_CODING_RUN || !BrotliEncoderHasMoreOutput(c->enc));
	c->ended = op == HTTP_CODING_END && *ret_done;
	c->dirty &= !(*ret_done && op != HTTP_CODING_RUN);
	return 0;
}

static void br_free(struct coding_stage *s)
{
	struct coding_br *c = br_of(s);

	if (c->dec)
		BrotliDecoderDestroyInstance(c->dec);
	if (c->enc)
		BrotliEncoderDestroyInstance(c->enc);
	coding_free(c);
}

static void br_release(void *opaque, void *p)
{
	coding_zfree(opaque, p);
}

static const struct coding_ops decoder_ops = { decode, br_free };
static const struct coding_ops encoder_ops = { encode, br_free };

int coding_br_decoder(struct coding_stage **ret)
{
	struct coding_br *c = coding_alloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->stage.ops = &decoder_ops;
	c->dec = BrotliDecoderCreateInstance(br_alloc, br_release, NULL);
	if (!c->dec) {
		br_free(&c->stage);
		return -ENOMEM;
	}
	*ret = &c->stage;
	return 0;
}

int coding_br_encoder(struct coding_stage **ret)
{
	struct coding_br *c = coding_alloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->stage.ops = &encoder_ops;
	c->enc = BrotliEncoderCreateInstance(br_alloc, br_release, NULL);
	if (!c->enc || !BrotliEncoderSetParameter(c->enc, BROTLI_PARAM_QUALITY, QUALITY) ||
	    !BrotliEncoderSetParameter(c->enc, BROTLI_PARAM_LGWIN, WINDOW_BITS)) {
		br_free(&c->stage);
		return -ENOMEM;
	}
	*ret = &c->stage;
	return 0;
}
