/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chains of byte streams. A layer of a container image is read through five of
 * them (file, digest of what is stored, unpacker, digest of what it means, tar), so
 * that its bytes are looked at once, whatever their size, and nothing of it is
 * kept that has not been counted against a limit.
 */
#include "image/stream.h"

#include <archive.h>
#include <lzma.h>
#include <openssl/evp.h>
#include <unistd.h>

int stream_drain(struct stream *s)
{
	const uint8_t *p;
	size_t n;
	int r;

	do {
		r = stream_next(s, &p, &n);
	} while (r == 0 && n > 0);
	return r;
}

int stream_read_all(struct stream *s, struct buf *ret)
{
	const uint8_t *p;
	size_t n;
	int r;

	for (;;) {
		r = stream_next(s, &p, &n);
		if (r < 0 || n == 0)
			return r;
		r = buf_append(ret, p, n);
		if (r < 0)
			return r == -ENOBUFS ? -EFBIG : r;
	}
}

/* ---- memory and files ---- */

static int mem_next(struct stream *s, const uint8_t **ret, size_t *ret_len)
{
	struct stream_mem *m = container_of(s, struct stream_mem, s);

	*ret = m->p;
	*ret_len = m->len;
	m->len = 0;
	return 0;
}

void stream_mem_init(struct stream_mem *m, const void *p, size_t len)
{
	*m = (struct stream_mem){ .s.next = mem_next, .p = p, .len = len };
}

static int file_next(struct stream *s, const uint8_t **ret, size_t *ret_len)
{
	struct stream_file *f = container_of(s, struct stream_file, s);
	size_t want = (size_t)MIN(f->end - f->pos, (uint64_t)sizeof(f->block));
	ssize_t n = 0;

	if (want) {
		do {
			n = pread(f->fd, f->block, want, (off_t)f->pos);
		} while (n < 0 && errno == EINTR);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	f->pos += (uint64_t)n;
	*ret = f->block;
	*ret_len = (size_t)n;
	return 0;
}

void stream_file_init(struct stream_file *f, int fd, uint64_t pos, uint64_t end)
{
	assert(pos <= end);
	f->s.next = file_next;
	f->fd = fd;
	f->pos = pos;
	f->end = end;
}

/* ---- digests ---- */

int digest_init(struct digest *d)
{
	d->ctx = EVP_MD_CTX_new();
	if (!d->ctx)
		return -ENOMEM;
	if (EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) != 1) {
		digest_fini(d);
		return -ENOMEM;
	}
	return 0;
}

void digest_fini(struct digest *d)
{
	EVP_MD_CTX_free(d->ctx);
	d->ctx = NULL;
}

void digest_add(struct digest *d, const void *p, size_t n)
{
	/* SHA-256 over bytes in memory has no way to fail; a wrong name must not come of it. */
	if (EVP_DigestUpdate(d->ctx, p, n) != 1)
		abort();
}

void digest_add_str(struct digest *d, const char *s)
{
	digest_add(d, s, strlen(s) + 1);
}

void digest_add_u64(struct digest *d, uint64_t v)
{
	uint8_t b[8];

	put_be32(b, (uint32_t)(v >> 32));
	put_be32(b + 4, (uint32_t)v);
	digest_add(d, b, sizeof(b));
}

void digest_end(struct digest *d, char ret_hex[static DIGEST_HEX])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t sum[EVP_MAX_MD_SIZE];
	unsigned len;

	if (EVP_DigestFinal_ex(d->ctx, sum, &len) != 1 || len != DIGEST_LEN)
		abort();
	for (size_t i = 0; i < DIGEST_LEN; i++) {
		ret_hex[2 * i] = digits[sum[i] >> 4];
		ret_hex[2 * i + 1] = digits[sum[i] & 15];
	}
	ret_hex[2 * (size_t)DIGEST_LEN] = '\0';
	digest_fini(d);
}

static int digest_next(struct stream *s, const uint8_t **ret, size_t *ret_len)
{
	struct stream_digest *d = container_of(s, struct stream_digest, s);
	const uint8_t *p;
	size_t n;
	int r = stream_next(d->from, &p, &n);

	if (r < 0)
		return r;
	if (n > d->limit - d->passed)
		return -EFBIG;
	d->passed += n;
	digest_add(&d->digest, p, n);
	*ret = p;
	*ret_len = n;
	return 0;
}

int stream_digest_init(struct stream_digest *d, struct stream *from, uint64_t limit)
{
	*d = (struct stream_digest){ .s.next = digest_next, .from = from, .limit = limit };
	return digest_init(&d->digest);
}

void stream_digest_fini(struct stream_digest *d)
{
	digest_fini(&d->digest);
}

/* ---- packed bytes ---- */

static const struct {
	enum packing packing;
	uint8_t len;
	uint8_t magic[6];
	int filter;
	const char *name;
} packings[] = {
	{ PACKING_GZIP, 2, { 0x1f, 0x8b }, ARCHIVE_FILTER_GZIP, "gzip" },
	{ PACKING_BZIP2, 3, { 'B', 'Z', 'h' }, ARCHIVE_FILTER_BZIP2, "bzip2" },
	{ PACKING_XZ, 6, { 0xfd, '7', 'z', 'X', 'Z', 0 }, ARCHIVE_FILTER_NONE, "xz" },
	{ PACKING_LZMA, 3, { 0x5d, 0, 0 }, ARCHIVE_FILTER_NONE, "lzma" },
	{ PACKING_LZ4, 4, { 0x02, 0x21, 0x4c, 0x18 }, ARCHIVE_FILTER_LZ4, "lz4" }, /* legacy */
	{ PACKING_LZ4, 4, { 0x04, 0x22, 0x4d, 0x18 }, ARCHIVE_FILTER_LZ4, "lz4" },
	{ PACKING_ZSTD, 4, { 0x28, 0xb5, 0x2f, 0xfd }, ARCHIVE_FILTER_ZSTD, "zstd" },
};

enum packing packing_of(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(packings); i++)
		if (n >= packings[i].len && memcmp(p, packings[i].magic, packings[i].len) == 0)
			return packings[i].packing;
	return PACKING_NONE;
}

const char *packing_name(enum packing p)
{
	for (size_t i = 0; i < ARRAY_SIZE(packings); i++)
		if (packings[i].packing == p)
			return packings[i].name;
	return "plain";
}

static int packing_filter(enum packing p)
{
	for (size_t i = 0; i < ARRAY_SIZE(packings); i++)
		if (packings[i].packing == p)
			return packings[i].filter;
	return ARCHIVE_FILTER_NONE;
}

static la_ssize_t source_read(struct archive *a, void *ctx, const void **ret)
{
	struct stream_source *src = ctx;
	const uint8_t *p;
	size_t n;
	int r = stream_next(src->from, &p, &n);

	if (r < 0) {
		src->error = r;
		archive_set_error(a, -r, "read");
		return ARCHIVE_FATAL;
	}
	*ret = p;
	return (la_ssize_t)n;
}

static la_int64_t source_skip(struct archive *a, void *ctx, la_int64_t want)
{
	struct stream_source *src = ctx;
	uint64_t n;

	(void)a;
	if (!src->file || want <= 0)
		return 0;
	n = MIN((uint64_t)want, src->file->end - src->file->pos);
	src->file->pos += n;
	return (la_int64_t)n;
}

int stream_source_open(struct archive *a, struct stream_source *src)
{
	return archive_read_open2(a, src, NULL, source_read, source_skip, NULL);
}

struct archive *tar_reader_new(void)
{
	struct archive *a = archive_read_new();

	if (a && (archive_read_support_format_tar(a) != ARCHIVE_OK ||
		  archive_read_append_filter(a, ARCHIVE_FILTER_NONE) != ARCHIVE_OK)) {
		archive_read_free(a);
		return NULL;
	}
	return a;
}

static int entry_next(struct stream *s, const uint8_t **ret, size_t *ret_len)
{
	struct stream_entry *e = container_of(s, struct stream_entry, s);
	const void *p = NULL;
	size_t n = 0;
	la_int64_t off = 0;
	int r;

	do {
		r = archive_read_data_block(e->archive, &p, &n, &off);
	} while (r == ARCHIVE_OK && n == 0);
	if (r == ARCHIVE_EOF) {
		*ret = NULL;
		*ret_len = 0;
		return 0;
	}
	if (r != ARCHIVE_OK)
		return *e->error ? *e->error : -EBADMSG;
	if ((uint64_t)off != e->passed)
		return -EBADMSG;
	e->passed += n;
	*ret = p;
	*ret_len = n;
	return 0;
}

void stream_entry_init(struct stream_entry *e, struct archive *a, int *source_error)
{
	*e = (struct stream_entry){ .s.next = entry_next, .archive = a, .error = source_error };
}

static int peek_next(struct stream *s, const uint8_t **ret, size_t *ret_len)
{
	struct stream_peek *k = container_of(s, struct stream_peek, s);

	if (!k->first)
		return stream_next(k->from, ret, ret_len);
	*ret = k->first;
	*ret_len = k->first_len;
	k->first = NULL;
	return 0;
}

int stream_peek_init(struct stream_peek *k, struct stream *from)
{
	*k = (struct stream_peek){ .s.next = peek_next, .from = from };
	return stream_next(from, &k->first, &k->first_len);
}

/* The unpacker's own source, so that its errors can be told from broken bytes. */
static la_ssize_t unpack_read(struct archive *a, void *ctx, const void **ret)
{
	struct stream_unpack *u = ctx;
	struct stream_source src = { .from = u->from };
	la_ssize_t n = source_read(a, &src, ret);

	if (n < 0)
		u->error = src.error;
	return n;
}

/*
 * xz and lzma name the memory they want in their headers, up to 4 GiB. Through the library of
 * archives there is no limit to it, so these go to their own.
 */
struct xz {
	lzma_stream z;
	bool ended;
	uint8_t out[64 << 10];
};

static int xz_next(struct stream_unpack *u, const uint8_t **ret, size_t *ret_len)
{
	struct xz *x = u->xz;
	lzma_ret e = LZMA_OK;
	bool at_end = false;
	int r;

	x->z.next_out = x->out;
	x->z.avail_out = sizeof(x->out);
	while (!x->ended && x->z.avail_out) {
		if (!x->z.avail_in && !at_end) {
			r = stream_next(u->from, &x->z.next_in, &x->z.avail_in);
			if (r < 0)
				return r;
			at_end = x->z.avail_in == 0;
		}
		e = lzma_code(&x->z, at_end ? LZMA_FINISH : LZMA_RUN);
		x->ended = e == LZMA_STREAM_END;
		if (e != LZMA_OK && e != LZMA_STREAM_END)
			return e == LZMA_MEMLIMIT_ERROR || e == LZMA_MEM_ERROR ? -ENOMEM : -EBADMSG;
	}
	*ret = x->out;
	*ret_len = sizeof(x->out) - x->z.avail_out;
	return 0;
}

static int xz_init(struct stream_unpack *u, enum packing p)
{
	struct xz *x = calloc(1, sizeof(*x));
	lzma_ret e;

	if (!x)
		return -ENOMEM;
	x->z = (lzma_stream)LZMA_STREAM_INIT;
	e = p == PACKING_XZ ? lzma_stream_decoder(&x->z, XZ_MEMORY_MAX, 0)
			    : lzma_alone_decoder(&x->z, XZ_MEMORY_MAX);
	if (e != LZMA_OK) {
		free(x);
		return -ENOMEM;
	}
	u->xz = x;
	return 0;
}

static int unpack_next(struct stream *s, const uint8_t **ret, size_t *ret_len)
{
	struct stream_unpack *u = container_of(s, struct stream_unpack, s);
	const void *p = NULL;
	size_t n = 0;
	la_int64_t off;
	int r;

	if (u->error)
		return u->error;
	if (u->xz) {
		u->error = xz_next(u, ret, ret_len);
		return u->error;
	}
	if (!u->archive)
		return stream_next(u->from, ret, ret_len);
	do {
		r = archive_read_data_block(u->archive, &p, &n, &off);
	} while (r == ARCHIVE_OK && n == 0);
	if (r == ARCHIVE_EOF) {
		*ret = NULL;
		*ret_len = 0;
		return 0;
	}
	if (r != ARCHIVE_OK) {
		if (!u->error)
			u->error = -EBADMSG;
		return u->error;
	}
	*ret = p;
	*ret_len = n;
	return 0;
}

int stream_unpack_init(struct stream_unpack *u, struct stream *from, enum packing p)
{
	struct archive_entry *entry;
	int r;

	*u = (struct stream_unpack){ .s.next = unpack_next, .from = from };
	if (p == PACKING_NONE)
		return 0;
	if (p == PACKING_XZ || p == PACKING_LZMA)
		return xz_init(u, p);
	u->archive = archive_read_new();
	if (!u->archive)
		return -ENOMEM;
	/* One filter by name: detection would also take filters inside filters. */
	if (archive_read_support_format_raw(u->archive) != ARCHIVE_OK ||
	    archive_read_append_filter(u->archive, packing_filter(p)) != ARCHIVE_OK) {
		stream_unpack_fini(u);
		return -ENOTSUP;
	}
	r = archive_read_open(u->archive, u, NULL, unpack_read, NULL);
	if (r == ARCHIVE_OK)
		r = archive_read_next_header(u->archive, &entry);
	if (r != ARCHIVE_OK) {
		r = u->error ? u->error : -EBADMSG;
		stream_unpack_fini(u);
		return r;
	}
	return 0;
}

void stream_unpack_fini(struct stream_unpack *u)
{
	if (u->archive)
		archive_read_free(u->archive);
	u->archive = NULL;
	if (u->xz)
		lzma_end(&u->xz->z);
	free(u->xz);
	u->xz = NULL;
}
