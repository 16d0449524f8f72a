/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content codings: what each library makes is read whatever the pieces and the room,
 * broken bodies are refused for the right reason, and memory stays constant and
 * counted. Lesson 34: a body is never changed but where it is decoded.
 */
#include "coding_rig.h"

#include <stdio.h>

#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#define BIG ((size_t)1 << 20)

static const enum http_coding all[] = { HTTP_CODING_GZIP, HTTP_CODING_DEFLATE, HTTP_CODING_BR,
					HTTP_CODING_ZSTD };

/* ---- fields --------------------------------------------------------------------------- */

static void test_list(void **state)
{
	static const struct {
		const char *s;
		int r;
		struct http_codings want;
	} cases[] = {
		{ "", 0, { 0 } },
		{ "identity", 0, { 0 } },
		{ "gzip", 0, { 1, { HTTP_CODING_GZIP } } },
		{ "X-GZIP", 0, { 1, { HTTP_CODING_GZIP } } },
		{ "deflate", 0, { 1, { HTTP_CODING_DEFLATE } } },
		{ "br", 0, { 1, { HTTP_CODING_BR } } },
		{ "zstd", 0, { 1, { HTTP_CODING_ZSTD } } },
		{ " gzip ,\tbr ", 0, { 2, { HTTP_CODING_GZIP, HTTP_CODING_BR } } },
		{ ",gzip,,identity,", 0, { 1, { HTTP_CODING_GZIP } } },
		{ "gzip, gzip", 0, { 2, { HTTP_CODING_GZIP, HTTP_CODING_GZIP } } },
		{ "gzip, br, zstd", -ENOTSUP, { 0 } },
		{ "compress", -ENOTSUP, { 0 } },
		{ "gzip2", -ENOTSUP, { 0 } },
		{ "dcb", -ENOTSUP, { 0 } },
		{ "gzip;q=1", -EINVAL, { 0 } },
		{ "gzip br", -EINVAL, { 0 } },
		{ "gz\x01ip", -EINVAL, { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http_codings got = { 0 };
		int r = http_codings_add(&got, cases[i].s, strlen(cases[i].s));

		if (r != cases[i].r || memcmp(&got, &cases[i].want, sizeof(got)) != 0)
			fail_msg("\"%s\": %d, %zu codings", cases[i].s, r, got.n);
	}
}

static void test_list_of_several_fields(void **state)
{
	struct http_codings got = { 0 };

	(void)state;
	assert_int_equal(http_codings_add(&got, "gzip", 4), 0);
	assert_int_equal(http_codings_add(&got, "br", 2), 0);
	assert_int_equal(http_codings_add(&got, "zstd", 4), -ENOTSUP);
	assert_int_equal(got.n, 2);
	assert_int_equal(got.list[1], HTTP_CODING_BR);
}

static void test_accept(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "gzip, deflate, br, zstd", "gzip, deflate, br, zstd" },
		{ "gzip, compress, dcb, br", "gzip, br" },
		{ "gzip;q=0.5, br;q=1.000", "gzip;q=0.5, br;q=1.000" },
		{ "GZIP ; Q=0.001", "GZIP ; Q=0.001" },
		{ "gzip;q=0", "gzip;q=0" },
		{ "", "identity" },
		{ "*", "identity" },
		{ "compress, *;q=0.1", "identity" },
		{ "gzip, *;q=0", "gzip, *;q=0" },
		{ "identity;q=0, gzip", "identity;q=0, gzip" },
		{ "gzip;q=1.1, br", "br" },
		{ "gzip;q=0.1234, br", "br" },
		{ "gzip;level=1, br", "br" },
		{ "gzip;q=, br", "br" },
		{ "gzip;q=1;x=2", "identity" },
		{ ",,gzip,,", "gzip" },
		{ "gz ip, x-gzip", "x-gzip" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf out = BUF_INIT(256);

		assert_int_equal(http_coding_accept(cases[i].in, strlen(cases[i].in), &out), 0);
		must_equal(&out, cases[i].out, strlen(cases[i].out), cases[i].in);
		buf_fini(&out);
	}
}

/* ---- what passes ------------------------------------------------------------------------ */

static void there_and_back(const struct http_codings *list, const uint8_t *p, size_t n,
			   struct pace pace)
{
	struct buf coded = BUF_INIT(4 * BIG), plain = BUF_INIT(4 * BIG);
	char what[64];

	snprintf(what, sizeof(what), "%s of %zu, %zu bytes, pieces %zu, room %zu",
		 http_coding_name(list->list[0]), list->n, n, pace.piece, pace.room);
	assert_int_equal(code_all(list, false, p, n, pace, &coded, NULL), 0);
	assert_int_equal(code_all(list, true, buf_at(&coded), coded.len, pace, &plain, NULL), 0);
	must_equal(&plain, p, n, what);
	assert_int_equal(http_coding_memory(), 0);
	buf_fini(&coded);
	buf_fini(&plain);
}

static void test_there_and_back(void **state)
{
	static const size_t sizes[] = { 0, 1, 2, 3, 17, 255, 4096, 65535, 65536, 70001, BIG };
	static const struct pace paces[] = { { 0, 0 },	    { 1, 0 },	 { 100, 100 },
					     { 5000, 300 }, { 0, 1000 }, { 70000, 70000 } };
	uint8_t *p = malloc(BIG);

	(void)state;
	fill(p, BIG);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		for (size_t s = 0; s < ARRAY_SIZE(sizes); s++)
			for (size_t k = 0; k < ARRAY_SIZE(paces); k++) {
				struct http_codings list = codings(all[i], 0);

				if (sizes[s] <= 70001 || paces[k].piece != 1)
					there_and_back(&list, p, sizes[s], paces[k]);
			}
	free(p);
}

static void test_two_codings(void **state)
{
	static const struct pace paces[] = { { 0, 0 }, { 1, 100 }, { 700, 64 }, { 0, 20000 } };
	size_t n = 50000;
	uint8_t *p = malloc(n);

	(void)state;
	fill(p, n);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		for (size_t j = 0; j < ARRAY_SIZE(all); j++)
			for (size_t k = 0; k < ARRAY_SIZE(paces); k++) {
				struct http_codings list = codings(all[i], all[j]);

				there_and_back(&list, p, rnd(2) ? n : rnd(3), paces[k]);
			}
	free(p);
}

/* ---- what libraries make --------------------------------------------------------------------- */

static size_t made_by_zlib(int bits, int level, const uint8_t *p, size_t n, uint8_t *out, size_t cap)
{
	z_stream z = { 0 };

	assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (Bytef *)(uintptr_t)p;
	z.avail_in = (uInt)n;
	z.next_out = out;
	z.avail_out = (uInt)cap;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return cap - z.avail_out;
}

static size_t made_by_br(int window, const uint8_t *p, size_t n, uint8_t *out, size_t cap)
{
	assert_true(BrotliEncoderCompress(5, window, BROTLI_MODE_GENERIC, n, p, &cap, out));
	return cap;
}

static size_t made_by_zstd(int level, int window, const uint8_t *p, size_t n, uint8_t *out, size_t cap)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	ZSTD_inBuffer in = { p, n, 0 };
	ZSTD_outBuffer o = { out, cap, 0 };

	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window);
	/* In two steps, so that the size is not known and the window stands. */
	assert_false(ZSTD_isError(ZSTD_compressStream2(c, &o, &in, ZSTD_e_flush)));
	assert_int_equal(ZSTD_compressStream2(c, &o, &in, ZSTD_e_end), 0);
	ZSTD_freeCCtx(c);
	return o.pos;
}

static void reads_as(enum http_coding c, const uint8_t *coded, size_t n, const uint8_t *want,
		     size_t want_n, const char *what)
{
	static const struct pace paces[] = { { 0, 0 }, { 1, 16 }, { 50, 1000 } };
	struct http_codings list = codings(c, 0);

	for (size_t i = 0; i < ARRAY_SIZE(paces); i++) {
		struct buf plain = BUF_INIT(4 * BIG);
		enum http_coding_fault f;

		if (code_all(&list, true, coded, n, paces[i], &plain, &f) < 0)
			fail_msg("%s: %s", what, http_coding_fault_text(f));
		must_equal(&plain, want, want_n, what);
		buf_fini(&plain);
	}
}

static void test_made_elsewhere(void **state)
{
	size_t n = 100000, cap = 3 * n, k;
	uint8_t *p = malloc(n), *out = malloc(cap);

	(void)state;
	fill(p, n);
	for (int level = 0; level <= 9; level += 3) {
		k = made_by_zlib(31, level, p, n, out, cap);
		reads_as(HTTP_CODING_GZIP, out, k, p, n, "gzip");
		k = made_by_zlib(15, level, p, n, out, cap);
		reads_as(HTTP_CODING_DEFLATE, out, k, p, n, "zlib");
		k = made_by_zlib(9, level, p, n, out, cap);
		reads_as(HTTP_CODING_DEFLATE, out, k, p, n, "zlib, small window");
		k = made_by_zlib(-15, level, p, n, out, cap);
		reads_as(HTTP_CODING_DEFLATE, out, k, p, n, "raw deflate");
	}
	for (int window = 10; window <= 24; window += 7) {
		k = made_by_br(window, p, n, out, cap);
		reads_as(HTTP_CODING_BR, out, k, p, n, "br");
	}
	for (int window = 10; window <= 23; window++) {
		k = made_by_zstd(1 + window % 7, window, p, n, out, cap);
		reads_as(HTTP_CODING_ZSTD, out, k, p, n, "zstd");
	}
	k = ZSTD_compress(out, cap, p, n, 3);
	reads_as(HTTP_CODING_ZSTD, out, k, p, n, "zstd, one segment");
	free(p);
	free(out);
}

static void test_raw_deflate_of_little(void **state)
{
	uint8_t p[8] = "abcdefgh", out[64];

	(void)state;
	for (size_t n = 0; n <= sizeof(p); n++)
		for (int level = 0; level <= 1; level++) {
			size_t k = made_by_zlib(-15, level, p, n, out, sizeof(out));

			reads_as(HTTP_CODING_DEFLATE, out, k, p, n, "raw deflate of little");
		}
}

static void test_members_and_frames(void **state)
{
	static const uint8_t skip[] = { 0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c' };
	uint8_t out[512];
	size_t k = made_by_zlib(31, 6, (const uint8_t *)"one", 3, out, 200);

	(void)state;
	k += made_by_zlib(31, 6, NULL, 0, out + k, 100);
	k += made_by_zlib(31, 6, (const uint8_t *)"two", 3, out + k, 200);
	reads_as(HTTP_CODING_GZIP, out, k, (const uint8_t *)"onetwo", 6, "members");

	memcpy(out, skip, sizeof(skip));
	k = sizeof(skip);
	k += ZSTD_compress(out + k, 100, "one", 3, 1);
	memcpy(out + k, skip, sizeof(skip));
	k += sizeof(skip);
	k += ZSTD_compress(out + k, 100, "", 0, 1);
	k += ZSTD_compress(out + k, 100, "two", 3, 1);
	memcpy(out + k, skip, sizeof(skip));
	k += sizeof(skip);
	reads_as(HTTP_CODING_ZSTD, out, k, (const uint8_t *)"onetwo", 6, "frames");
}

/* A body of no bytes at all is what some servers send for an empty one. */
static void test_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		reads_as(all[i], NULL, 0, NULL, 0, "nothing");
}

/* ---- what is refused ------------------------------------------------------------------------------ */

static void refused(enum http_coding c, const uint8_t *p, size_t n, enum http_coding_fault want,
		    const char *what)
{
	static const struct pace paces[] = { { 0, 0 }, { 1, 16 }, { 7, 100 } };
	struct http_codings list = codings(c, 0);

	for (size_t i = 0; i < ARRAY_SIZE(paces); i++) {
		struct buf plain = BUF_INIT(4 * BIG);
		enum http_coding_fault f = HTTP_CODING_OK;
		int r = code_all(&list, true, p, n, paces[i], &plain, &f);

		if (r != -EBADMSG || f != want)
			fail_msg("%s %s, pace %zu: %d, %s", http_coding_name(c), what, i, r,
				 http_coding_fault_text(f));
		buf_fini(&plain);
	}
	assert_int_equal(http_coding_memory(), 0);
}

static void test_truncated(void **state)
{
	uint8_t p[300];

	(void)state;
	fill(p, sizeof(p));
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct http_codings list = codings(all[i], 0);
		struct buf coded = BUF_INIT(4096);

		assert_int_equal(
			code_all(&list, false, p, sizeof(p), (struct pace){ 0 }, &coded, NULL), 0);
		for (size_t n = 1; n < coded.len; n++)
			refused(all[i], buf_at(&coded), n, HTTP_CODING_TRUNCATED, "truncated");
		buf_fini(&coded);
	}
}

static void test_trailing(void **state)
{
	uint8_t p[300];

	(void)state;
	fill(p, sizeof(p));
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct http_codings list = codings(all[i], 0);
		struct buf coded = BUF_INIT(4096);

		assert_int_equal(
			code_all(&list, false, p, sizeof(p), (struct pace){ 0 }, &coded, NULL), 0);
		assert_int_equal(buf_append(&coded, "\0", 1), 0);
		refused(all[i], buf_at(&coded), coded.len, HTTP_CODING_TRAILING, "and a NUL");
		coded.len--;
		assert_int_equal(buf_append_str(&coded, "more"), 0);
		refused(all[i], buf_at(&coded), coded.len, HTTP_CODING_TRAILING, "and more");
		buf_fini(&coded);
	}
}

/* A flipped bit is an error; where no checksum tells, other bytes; never a hang or more memory. */
static void test_flipped(void **state)
{
	uint8_t p[200];
	size_t errors = 0;

	(void)state;
	fill(p, sizeof(p));
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct http_codings list = codings(all[i], 0);
		struct buf coded = BUF_INIT(4096);

		assert_int_equal(
			code_all(&list, false, p, sizeof(p), (struct pace){ 0 }, &coded, NULL), 0);
		for (size_t bit = 0; bit < 8 * coded.len; bit++) {
			struct buf plain = BUF_INIT(4 * BIG);
			int r;

			buf_at(&coded)[bit / 8] ^= (uint8_t)(1u << bit % 8);
			r = code_all(&list, true, buf_at(&coded), coded.len, (struct pace){ 0 },
				     &plain, NULL);
			assert_true(r == 0 || r == -EBADMSG);
			errors += r < 0;
			if (r == 0 && all[i] <= HTTP_CODING_DEFLATE)
				must_equal(&plain, p, sizeof(p), "a bit of the head");
			buf_at(&coded)[bit / 8] ^= (uint8_t)(1u << bit % 8);
			buf_fini(&plain);
		}
		buf_fini(&coded);
	}
	assert_true(errors > 2000);
	assert_int_equal(http_coding_memory(), 0);
}

static void test_corrupt(void **state)
{
	static const uint8_t gzip_method[] = { 0x1f, 0x8b, 7, 0, 0, 0, 0, 0, 0, 3, 3, 0 };
	static const uint8_t block_type[] = { 0x07, 0 };
	static const uint8_t large_br[] = { 0x11, 0x1e, 0, 0 };
	/* The magic number of a format from before the standard. */
	static const uint8_t old_zstd[] = { 0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0 };
	uint8_t sum[64];
	size_t n = made_by_zlib(31, 6, (const uint8_t *)"checked", 7, sum, sizeof(sum));

	(void)state;
	refused(HTTP_CODING_GZIP, (const uint8_t *)"plain text", 10, HTTP_CODING_CORRUPT, "text");
	refused(HTTP_CODING_ZSTD, (const uint8_t *)"plain text", 10, HTTP_CODING_CORRUPT, "text");
	refused(HTTP_CODING_DEFLATE, block_type, 2, HTTP_CODING_CORRUPT, "block type 3");
	refused(HTTP_CODING_GZIP, gzip_method, sizeof(gzip_method), HTTP_CODING_CORRUPT, "method");
	refused(HTTP_CODING_BR, large_br, sizeof(large_br), HTTP_CODING_CORRUPT, "large window");
	refused(HTTP_CODING_ZSTD, old_zstd, sizeof(old_zstd), HTTP_CODING_CORRUPT, "old format");
	sum[n - 8] ^= 1;
	refused(HTTP_CODING_GZIP, sum, n, HTTP_CODING_CORRUPT, "checksum");
	sum[n - 8] ^= 1;
	sum[n - 1] ^= 1;
	refused(HTTP_CODING_GZIP, sum, n, HTTP_CODING_CORRUPT, "length");
}

static void test_dictionary(void **state)
{
	/* FDICT set, with the dictionary's Adler-32. */
	static const uint8_t zlib[] = { 0x78, 0xbb, 1, 2, 3, 4, 3, 0 };
	/* Dictionary_ID_flag 1: id 42. */
	static const uint8_t zstd[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x21, 42, 1, 1, 0, 0 };

	(void)state;
	refused(HTTP_CODING_DEFLATE, zlib, sizeof(zlib), HTTP_CODING_DICTIONARY, "dictionary");
	refused(HTTP_CODING_ZSTD, zstd, sizeof(zstd), HTTP_CODING_DICTIONARY, "dictionary");
}

static void test_window(void **state)
{
	size_t n = 1000, cap = 4096, k;
	uint8_t p[1000], out[4096];

	(void)state;
	fill(p, n);
	for (int window = 24; window <= 27; window++) {
		k = made_by_zstd(1, window, p, n, out, cap);
		refused(HTTP_CODING_ZSTD, out, k, HTTP_CODING_WINDOW, "window");
	}
}

/* ---- flushes ------------------------------------------------------------------------------------------ */

/* Events one by one: each is readable behind it when the encoder was flushed. */
static void flushed(const struct http_codings *list, size_t room)
{
	struct http_coder *enc, *dec;
	struct buf coded = BUF_INIT(room), plain = BUF_INIT(4096);
	char event[64];

	assert_int_equal(http_encoder_new(list, &enc), 0);
	assert_int_equal(http_decoder_new(list, &dec), 0);
	for (int i = 0; i < 200; i++) {
		int n = snprintf(event, sizeof(event), "data: event %d\n\n", i * 7919);
		size_t at = 0, taken;
		bool done = false, got;

		while (!done) {
			assert_int_equal(http_coder_run(enc, (uint8_t *)event + at, (size_t)n - at,
							HTTP_CODING_FLUSH, &coded, &taken, &done),
					 0);
			at += taken;
			assert_int_equal(http_coder_run(dec, buf_at(&coded), coded.len,
							HTTP_CODING_RUN, &plain, &taken, &got),
					 0);
			assert_true(got);
			buf_consume(&coded, taken);
		}
		must_equal(&plain, event, (size_t)n, "flushed event");
		buf_consume(&plain, plain.len);
		/* Nothing new: nothing to flush. */
		assert_int_equal(
			http_coder_run(enc, NULL, 0, HTTP_CODING_FLUSH, &coded, &taken, &done), 0);
		assert_true(done && coded.len == 0);
	}
	http_coder_free(enc);
	http_coder_free(dec);
	buf_fini(&coded);
	buf_fini(&plain);
}

static void test_flush(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		for (size_t j = 0; j <= ARRAY_SIZE(all); j++) {
			struct http_codings list = codings(all[i], j ? all[j - 1] : 0);

			flushed(&list, 4096);
			flushed(&list, 20);
		}
}

/* ---- memory and work ------------------------------------------------------------------------------------ */

/* 100 MB through an encoder and a decoder, in pieces of 10000 bytes. */
static size_t stream_100mb(const struct http_codings *list)
{
	struct http_coder *enc, *dec;
	struct buf coded = BUF_INIT(16384), plain = BUF_INIT(16384);
	size_t total = 0, back = 0, peak = 0, taken;
	static uint8_t piece[10000];
	bool done, got;

	assert_int_equal(http_encoder_new(list, &enc), 0);
	assert_int_equal(http_decoder_new(list, &dec), 0);
	while (total < 100000000) {
		total += sizeof(piece);
		fill(piece, total % 1000000 ? 100 : sizeof(piece));
		for (size_t at = 0, last = total == 100000000;; at += taken) {
			enum http_coding_op op = last ? HTTP_CODING_END : HTTP_CODING_RUN;

			assert_int_equal(http_coder_run(enc, piece + at, sizeof(piece) - at, op,
							&coded, &taken, &done),
					 0);
			do {
				size_t used;

				assert_int_equal(http_coder_run(dec, buf_at(&coded), coded.len,
								done ? op : HTTP_CODING_RUN, &plain,
								&used, &got),
						 0);
				back += plain.len;
				buf_consume(&coded, used);
				buf_consume(&plain, plain.len);
				peak = MAX(peak, http_coding_memory());
			} while (!got);
			if (done)
				break;
		}
	}
	assert_int_equal(back, total);
	http_coder_free(enc);
	http_coder_free(dec);
	buf_fini(&coded);
	buf_fini(&plain);
	return peak;
}

static void test_constant_memory(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct http_codings list = codings(all[i], 0);
		size_t peak = stream_100mb(&list);

		if (peak > (size_t)3 << 20)
			fail_msg("%s: %zu bytes", http_coding_name(all[i]), peak);
		print_message("%s: %zu KiB for both ways\n", http_coding_name(all[i]), peak >> 10);
		assert_int_equal(http_coding_memory(), 0);
	}
}

/* A few bytes that unfold to 1 GB: each call does a bounded part of it. */
static void test_bomb(void **state)
{
	size_t n = (size_t)64 << 20, cap = (size_t)1 << 20, k, taken, at = 0, total = 0;
	uint8_t *zeros = calloc(1, n), *out = malloc(cap);
	struct http_codings list = codings(HTTP_CODING_ZSTD, 0);
	struct buf plain = BUF_INIT((size_t)16 << 20);
	struct http_coder *dec;
	bool done = false;

	(void)state;
	k = ZSTD_compress(out, cap, zeros, n, 19);
	assert_true(k < 10000);
	assert_int_equal(http_decoder_new(&list, &dec), 0);
	while (!done) {
		assert_int_equal(http_coder_run(dec, out + at, k - at, HTTP_CODING_END, &plain,
						&taken, &done),
				 0);
		at += taken;
		total += plain.len;
		assert_true(plain.len <= HTTP_CODING_WORK);
		assert_true(http_coding_memory() < (size_t)10 << 20);
		buf_consume(&plain, plain.len);
	}
	assert_int_equal(total, n);
	http_coder_free(dec);
	buf_fini(&plain);
	free(zeros);
	free(out);
}

/* Many bodies that each ask for the largest window: refused, and the rest goes on. */
static void test_memory_of_all(void **state)
{
	static const struct http_codings list = { 1, { HTTP_CODING_BR } };
	struct http_coder *dec[128];
	size_t n = 100000, cap = 300000, k, taken, made = 0, failed = 0;
	uint8_t *p = malloc(n), *out = malloc(cap);
	struct buf plain = BUF_INIT(HTTP_CODING_STEP);
	bool done;

	(void)state;
	fill(p, n);
	k = made_by_br(24, p, n, out, cap) - 1;
	for (size_t i = 0; i < ARRAY_SIZE(dec); i++) {
		size_t at = 0;
		int r;

		if (http_decoder_new(&list, &dec[made]) < 0) {
			failed++;
			continue;
		}
		do {
			r = http_coder_run(dec[made], out + at, k - at, HTTP_CODING_RUN, &plain,
					   &taken, &done);
			at += r < 0 ? 0 : taken;
			plain.len = plain.off = 0;
		} while (r == 0 && !done);
		if (r < 0) {
			assert_int_equal(r, -ENOMEM);
			assert_int_equal(http_coder_fault(dec[made]), HTTP_CODING_MEMORY);
			failed++;
		}
		made++;
		assert_true(http_coding_memory() <= HTTP_CODING_MEMORY_ALL);
	}
	assert_true(made - failed > 20);
	for (size_t i = 0; i < made; i++)
		http_coder_free(dec[i]);
	assert_int_equal(http_coding_memory(), 0);
	buf_fini(&plain);
	free(p);
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_list_of_several_fields),
		cmocka_unit_test(test_accept),
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_two_codings),
		cmocka_unit_test(test_made_elsewhere),
		cmocka_unit_test(test_raw_deflate_of_little),
		cmocka_unit_test(test_members_and_frames),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_trailing),
		cmocka_unit_test(test_flipped),
		cmocka_unit_test(test_corrupt),
		cmocka_unit_test(test_dictionary),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_constant_memory),
		cmocka_unit_test(test_bomb),
		cmocka_unit_test(test_memory_of_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
