/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that are pulled block by block through a chain: a part of a file, a digest
 * of what passes, an unpacker. A block belongs to its stream and lives until the next pull.
 */
#ifndef WEIR_IMAGE_STREAM_H
#define WEIR_IMAGE_STREAM_H

#include "image/image_int.h"

struct archive;
struct evp_md_ctx_st;
struct xz;

struct stream {
	/* 0 with *ret_len 0 at the end; or a negative errno, from then on always. */
	int (*next)(struct stream *s, const uint8_t **ret, size_t *ret_len);
};

must_check static inline int stream_next(struct stream *s, const uint8_t **ret, size_t *ret_len)
{
	return s->next(s, ret, ret_len);
}
/* Pulls until the end. */
must_check int stream_drain(struct stream *s);
/* All of it, -EFBIG beyond buf's cap. */
must_check int stream_read_all(struct stream *s, struct buf *ret);

/* ---- memory and files ---- */

struct stream_mem {
	struct stream s;
	const uint8_t *p; /* not owned */
	size_t len;
};
void stream_mem_init(struct stream_mem *m, const void *p, size_t len);

/* Bytes [pos, end) of a file that is read by offset; a file that ends before is -EIO. */
struct stream_file {
	struct stream s;
	int fd; /* not owned */
	uint64_t pos, end;
	uint8_t block[64 << 10];
};
void stream_file_init(struct stream_file *f, int fd, uint64_t pos, uint64_t end);

/* ---- digests ---- */

#define DIGEST_LEN 32
#define DIGEST_HEX (2 * DIGEST_LEN + 1)

struct digest {
	struct evp_md_ctx_st *ctx;
};
must_check int digest_init(struct digest *d);
void digest_add(struct digest *d, const void *p, size_t n);
/* A text and a NUL, so that two texts in a row are not one. */
void digest_add_str(struct digest *d, const char *s);
void digest_add_u64(struct digest *d, uint64_t v);
void digest_end(struct digest *d, char ret_hex[static DIGEST_HEX]);
void digest_fini(struct digest *d);

/* SHA-256 of what passes, and a limit (-EFBIG beyond). */
struct stream_digest {
	struct stream s;
	struct stream *from;
	struct digest digest;
	uint64_t passed, limit;
};
must_check int stream_digest_init(struct stream_digest *d, struct stream *from, uint64_t limit);
void stream_digest_fini(struct stream_digest *d);

/* ---- packed bytes ---- */

enum packing {
	PACKING_NONE,
	PACKING_GZIP,
	PACKING_BZIP2,
	PACKING_XZ,
	PACKING_LZMA,
	PACKING_LZ4,
	PACKING_ZSTD,
};
/* By the first bytes; none is PACKING_NONE. */
enum packing packing_of(const uint8_t *p, size_t n);
const char *packing_name(enum packing p);

/* What is broken is -EBADMSG. Never a program of the host's: only what the library does itself. */
struct stream_unpack {
	struct stream s;
	struct stream *from;
	struct archive *archive; /* NULL: nothing is packed, bytes pass through */
	struct xz *xz; /* or this: what asks for memory by its header has a limit of its own */
	int error;
};
must_check int stream_unpack_init(struct stream_unpack *u, struct stream *from, enum packing p);
void stream_unpack_fini(struct stream_unpack *u);

/* The first bytes of a stream, looked at before it is read. */
struct stream_peek {
	struct stream s;
	struct stream *from;
	const uint8_t *first;
	size_t first_len;
};
must_check int stream_peek_init(struct stream_peek *k, struct stream *from);

/* Contents of the entry that a library reader (not owned) is at; holes are an error (-EBADMSG). */
struct stream_entry {
	struct stream s;
	struct archive *archive;
	uint64_t passed;
	int *error; /* of the reader's source */
};
void stream_entry_init(struct stream_entry *e, struct archive *a, int *source_error);

/* A library reader over a stream: for archive_read_open(); errors of the stream stay in *error. */
struct stream_source {
	struct stream *from;
	struct stream_file *file; /* from, when it is a file: parts that are not wanted are not read */
	int error;
};
/* As archive_read_open(). */
int stream_source_open(struct archive *a, struct stream_source *src);
/* A new reader of tar and nothing else, not packed; NULL: out of memory. */
struct archive *tar_reader_new(void);

#endif
