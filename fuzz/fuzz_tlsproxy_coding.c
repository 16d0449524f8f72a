/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content codings: a body is decoded alike in whatever pieces it comes and however little
 * room there is; what is encoded decodes to itself; a filter in a pipe sees and makes the
 * same as one beside it; and all memory is given back.
 *
 * First byte: bits 0..1 coding, 2..3 another one behind it (0: none), 4 the bytes are a
 * body to be encoded, 5 and up the way it is cut.
 */
#include "tests/unit/tlsproxy/toy_filter.h"

#include "tlsproxy/http_limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bodies that unfold to more are not read to their end. */
#define OUT_MAX ((size_t)1 << 20)

static uint32_t seed;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

static size_t cut_next(unsigned cut, size_t left)
{
	size_t n = cut == 0 ? left : cut == 1 ? 1 : 1 + rnd(cut * 37);

	return n < left ? n : left;
}

static void keep(struct buf *to, struct buf *from)
{
	int r = from->len ? buf_append(to, buf_at(from), from->len) : 0;

	assert(r == 0);
	from->len = from->off = 0;
}

/* 1: stopped at OUT_MAX. */
static int run_coder(bool decode, const struct http_codings *list, const uint8_t *p, size_t n,
		     unsigned cut, struct buf *ret)
{
	struct buf out = BUF_INIT(cut ? 16 + rnd(200) : 65536);
	struct http_coder *c = NULL;
	size_t at = 0, taken;
	bool done = false;
	int r = decode ? http_decoder_new(list, &c) : http_encoder_new(list, &c);

	assert(r == 0);
	for (bool over = false; r == 0 && !over;) {
		size_t k = cut_next(cut, n - at);
		bool last = at + k == n;

		do {
			r = http_coder_run(c, k ? p + at : NULL, k,
					   last ? HTTP_CODING_END : HTTP_CODING_RUN, &out, &taken,
					   &done);
			at += r == 0 ? taken : 0;
			k -= r == 0 ? taken : 0;
			keep(ret, &out);
			r = r == 0 && ret->len > OUT_MAX ? 1 : r;
		} while (r == 0 && !done);
		over = last;
	}
	assert(r == 0 || r == 1 || r == -EBADMSG);
	assert((r == -EBADMSG) == (http_coder_fault(c) != HTTP_CODING_OK));
	http_coder_free(c);
	buf_fini(&out);
	return r;
}

static int run_pipe(const struct http_codings *list, const uint8_t *p, size_t n, unsigned cut,
		    enum http_pipe_mode mode, size_t *ret_fed, struct buf *ret)
{
	struct buf out = BUF_INIT(cut ? 64 + rnd(200) : 65536);
	struct http_pipe *pipe = NULL;
	size_t at = 0, taken;
	struct toy t;
	bool done;
	int r;

	toy_init(&t);
	r = http_pipe_new(list, &t.filter, mode, &pipe);
	assert(r == 0);
	for (bool over = false; r == 0 && !over;) {
		size_t k = cut_next(cut, n - at);
		enum http_coding_op op = at + k == n ? HTTP_CODING_END
					 : rnd(2)    ? HTTP_CODING_RUN
						     : HTTP_CODING_FLUSH;

		do {
			r = http_pipe_run(pipe, k ? p + at : NULL, k, op, &out, &taken, &done);
			at += r == 0 ? taken : 0;
			k -= r == 0 ? taken : 0;
			keep(ret, &out);
		} while (r == 0 && !done);
		over = op == HTTP_CODING_END;
	}
	*ret_fed = t.fed;
	http_pipe_free(pipe);
	buf_fini(&out);
	return r;
}

static void must_equal(const struct buf *a, const void *p, size_t n)
{
	assert(a->len == n);
	assert(n == 0 || memcmp(buf_at(a), p, n) == 0);
}

/* The body through pipes: filtered as beside them, and as it came when only looked at. */
static void pipes(const struct http_codings *list, const uint8_t *p, size_t n,
		  const struct buf *plain, unsigned cut)
{
	struct buf want = BUF_INIT(16 * OUT_MAX), coded = BUF_INIT(16 * OUT_MAX);
	struct buf got = BUF_INIT(16 * OUT_MAX), looked = BUF_INIT(16 * OUT_MAX);
	struct toy t;
	size_t fed;
	int r;

	toy_init(&t);
	r = toy_feed(&t, buf_at(plain), plain->len, &want);
	assert(r == 0);
	r = toy_end(&t, &want);
	assert(r == 0);
	r = run_pipe(list, p, n, cut, HTTP_PIPE_CHANGE, &fed, &coded);
	assert(r == 0 && fed == plain->len);
	r = run_coder(true, list, buf_at(&coded), coded.len, 0, &got);
	assert(r == 1 || r == 0);
	if (r == 0)
		must_equal(&got, buf_at(&want), want.len);
	r = run_pipe(list, p, n, cut, HTTP_PIPE_LOOK, &fed, &looked);
	assert(r == 0 && fed == plain->len);
	must_equal(&looked, p, n);
	buf_fini(&want);
	buf_fini(&coded);
	buf_fini(&got);
	buf_fini(&looked);
}

static void decode_any(const struct http_codings *list, const uint8_t *p, size_t n, unsigned cut)
{
	struct buf one = BUF_INIT(2 * OUT_MAX), other = BUF_INIT(2 * OUT_MAX);
	int a = run_coder(true, list, p, n, 0, &one);
	int b = run_coder(true, list, p, n, cut, &other);

	assert((a < 0) == (b < 0) || a == 1 || b == 1);
	if (a == 0 && b == 0) {
		must_equal(&other, buf_at(&one), one.len);
		pipes(list, p, n, &one, cut);
	}
	buf_fini(&one);
	buf_fini(&other);
}

static void encode_any(const struct http_codings *list, const uint8_t *p, size_t n, unsigned cut)
{
	struct buf coded = BUF_INIT(2 * OUT_MAX), plain = BUF_INIT(2 * OUT_MAX);
	int r = run_coder(false, list, p, n, cut, &coded);

	assert(r == 0);
	r = run_coder(true, list, buf_at(&coded), coded.len, cut, &plain);
	assert(r == 0);
	must_equal(&plain, p, n);
	pipes(list, buf_at(&coded), coded.len, &plain, cut);
	buf_fini(&coded);
	buf_fini(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_codings list = { .n = 1 };
	unsigned cut;

	if (size < 1 || size > 65536)
		return 0;
	seed = (uint32_t)size;
	list.list[0] = (enum http_coding)(1 + (data[0] & 3));
	if (data[0] >> 2 & 3)
		list.list[list.n++] = (enum http_coding)(data[0] >> 2 & 3);
	cut = 1 + (data[0] >> 5);
	if (data[0] & 16)
		encode_any(&list, data + 1, size - 1, cut);
	else
		decode_any(&list, data + 1, size - 1, cut);
	assert(http_coding_memory() == 0);
	return 0;
}
