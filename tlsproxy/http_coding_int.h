/* SPDX-License-Identifier: Apache-2.0 */
/* Content codings, shared by their files: one stage is one coding in one direction. */
#ifndef WEIR_TLSPROXY_HTTP_CODING_INT_H
#define WEIR_TLSPROXY_HTTP_CODING_INT_H

#include "tlsproxy/http_coding.h"
#include "tlsproxy/http_limits.h"

/* Room that every library gets, so that each call of one moves something. */
#define CODING_ROOM_MIN 16

struct coding_io {
	const uint8_t *in;
	size_t n_in;
	uint8_t *out;
	size_t n_out;
};

struct coding_stage;
struct coding_ops {
	/*
	 * Moves *io on until its input or its room is used up. *ret_done: the input is, and op is
	 * carried out. -EBADMSG: *ret_fault; -ENOMEM. Called with CODING_ROOM_MIN of room or more.
	 */
	int (*run)(struct coding_stage *s, struct coding_io *io, enum http_coding_op op,
		   bool *ret_done, enum http_coding_fault *ret_fault);
	void (*free)(struct coding_stage *s);
};

struct coding_stage {
	const struct coding_ops *ops;
};

/* Memory that is counted, and overwritten when it is given back. */
void *coding_alloc(size_t n); /* zeroed; NULL: none left, or HTTP_CODING_MEMORY_ALL */
void coding_free(void *p);

must_check int coding_zlib_decoder(bool gzip, struct coding_stage **ret);
must_check int coding_zlib_encoder(bool gzip, struct coding_stage **ret);
must_check int coding_br_decoder(struct coding_stage **ret);
must_check int coding_br_encoder(struct coding_stage **ret);
must_check int coding_zstd_decoder(struct coding_stage **ret);
must_check int coding_zstd_encoder(struct coding_stage **ret);

/* For libraries with callbacks of zlib's kind. */
void *coding_zalloc(void *opaque, unsigned items, unsigned size);
void coding_zfree(void *opaque, void *p);

static inline void coding_took(struct coding_io *io, size_t in, size_t out)
{
	/* No input may be NULL. */
	if (in)
		io->in += in;
	io->n_in -= in;
	io->out += out;
	io->n_out -= out;
}

#endif
