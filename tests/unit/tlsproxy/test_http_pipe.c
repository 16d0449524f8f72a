/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A body through decoder, filter and encoder: with filters that shorten, lengthen and
 * hold back, for any pieces and any room. Lesson 34: what a filter does not touch
 * arrives byte for byte, coded or not.
 */
#include "coding_rig.h"
#include "toy_filter.h"

#define BIG ((size_t)1 << 20)

/* ---- bodies -------------------------------------------------------------------------- */

static void toy_alone(const uint8_t *p, size_t n, struct buf *out)
{
	struct toy t;

	toy_init(&t);
	assert_int_equal(toy_feed(&t, p, n, out), 0);
	assert_int_equal(toy_end(&t, out), 0);
}

static void fill_marks(uint8_t *p, size_t n)
{
	fill(p, n);
	for (size_t i = 0; i < n; i++)
		p[i] = rnd(20) == 0 ? '<' : rnd(10) == 0 ? (uint8_t)('0' + rnd(10)) : MAX(p[i], 4);
}

/* ---- running ------------------------------------------------------------------------------ */

static int pipe_all(struct http_pipe *pipe, const uint8_t *p, size_t n, struct pace pace,
		    struct buf *ret)
{
	size_t at = 0, taken, cap = pace.room ? pace.room : 65536;
	struct buf out = BUF_INIT(cap);
	bool done = false, over = false;
	int r = 0;

	while (r == 0 && !over) {
		size_t k = pace_next(pace.piece, n - at);
		enum http_coding_op op = at + k == n ? HTTP_CODING_END
					 : rnd(4)    ? HTTP_CODING_RUN
						     : HTTP_CODING_FLUSH;

		for (done = false; r == 0 && !done;) {
			r = http_pipe_run(pipe, k ? p + at : NULL, k, op, &out, &taken, &done);
			if (r < 0)
				break;
			at += taken;
			k -= taken;
			if (out.len)
				assert_int_equal(buf_append(ret, buf_at(&out), out.len), 0);
			out.len = out.off = 0;
		}
		over = r == 0 && op == HTTP_CODING_END;
	}
	if (r < 0)
		assert_int_equal(out.len, 0);
	buf_fini(&out);
	return r;
}

static const struct pace paces[] = { { 0, 0 }, { 1, 64 }, { 100, 100 }, { 0, 70 }, { 9000, 5000 } };
static const enum http_coding first[] = { 0, HTTP_CODING_GZIP, HTTP_CODING_DEFLATE, HTTP_CODING_BR,
					  HTTP_CODING_ZSTD };

static void code(const struct http_codings *list, bool decode, const struct buf *in, struct buf *out)
{
	if (list->n)
		assert_int_equal(
			code_all(list, decode, buf_at(in), in->len, (struct pace){ 0 }, out, NULL),
			0);
	else if (in->len)
		assert_int_equal(buf_append(out, buf_at(in), in->len), 0);
}

static void changed(const struct http_codings *list, const struct buf *body, struct pace pace)
{
	struct buf coded = BUF_INIT(BIG), got = BUF_INIT(4 * BIG), plain = BUF_INIT(4 * BIG);
	struct buf want = BUF_INIT(4 * BIG);
	struct http_pipe *pipe;
	struct toy t;

	toy_init(&t);
	toy_alone(buf_at(body), body->len, &want);
	code(list, false, body, &coded);
	assert_int_equal(http_pipe_new(list, &t.filter, HTTP_PIPE_CHANGE, &pipe), 0);
	assert_true(http_pipe_changes_length(pipe));
	assert_int_equal(pipe_all(pipe, buf_at(&coded), coded.len, pace, &got), 0);
	assert_true(t.ended && t.fed == body->len);
	code(list, true, &got, &plain);
	must_equal(&plain, buf_at(&want), want.len, "filtered body");
	http_pipe_free(pipe);
	buf_fini(&coded);
	buf_fini(&got);
	buf_fini(&plain);
	buf_fini(&want);
}

/* Parity: weak-18. */
static void lesson_34_changed(void **state)
{
	static const size_t sizes[] = { 0, 1, 2, 100, 5000, 60000 };
	struct buf body = BUF_INIT(BIG);
	uint8_t *p;

	(void)state;
	assert_int_equal(buf_reserve(&body, 60000, &p), 0);
	fill_marks(p, 60000);
	for (size_t i = 0; i < ARRAY_SIZE(first); i++)
		for (size_t s = 0; s < ARRAY_SIZE(sizes); s++)
			for (size_t k = 0; k < ARRAY_SIZE(paces); k++) {
				struct http_codings list = codings(first[i], 0);

				body.len = sizes[s];
				changed(&list, &body, paces[k]);
				list = codings(first[i], HTTP_CODING_GZIP);
				if (first[i])
					changed(&list, &body, paces[k]);
			}
	assert_int_equal(http_coding_memory(), 0);
	buf_fini(&body);
}

static void lesson_34_looked_at(void **state)
{
	size_t n = 60000;
	struct buf body = BUF_INIT(BIG);
	uint8_t *p;

	(void)state;
	assert_int_equal(buf_reserve(&body, n, &p), 0);
	fill_marks(p, n);
	body.len = n;
	for (size_t i = 0; i < ARRAY_SIZE(first); i++)
		for (size_t k = 0; k < ARRAY_SIZE(paces); k++) {
			struct http_codings list = codings(first[i], 0);
			struct buf coded = BUF_INIT(BIG), got = BUF_INIT(BIG);
			struct http_pipe *pipe;
			struct toy t;

			toy_init(&t);
			code(&list, false, &body, &coded);
			assert_int_equal(http_pipe_new(&list, &t.filter, HTTP_PIPE_LOOK, &pipe), 0);
			assert_false(http_pipe_changes_length(pipe));
			assert_int_equal(pipe_all(pipe, buf_at(&coded), coded.len, paces[k], &got),
					 0);
			must_equal(&got, buf_at(&coded), coded.len, "looked at");
			assert_true(t.ended && t.fed == n);
			http_pipe_free(pipe);
			buf_fini(&coded);
			buf_fini(&got);
		}
	buf_fini(&body);
}

static void test_no_filter(void **state)
{
	struct http_codings list = codings(HTTP_CODING_BR, 0);
	struct http_pipe *pipe;
	uint8_t p[5000];

	(void)state;
	fill(p, sizeof(p));
	for (size_t k = 0; k < ARRAY_SIZE(paces); k++) {
		struct buf got = BUF_INIT(BIG);

		assert_int_equal(http_pipe_new(&list, NULL, HTTP_PIPE_CHANGE, &pipe), 0);
		assert_false(http_pipe_changes_length(pipe));
		assert_int_equal(pipe_all(pipe, p, sizeof(p), paces[k], &got), 0);
		must_equal(&got, p, sizeof(p), "not even br");
		http_pipe_free(pipe);
		buf_fini(&got);
	}
}

/* ---- what stops it ---------------------------------------------------------------------------- */

/* Of the bytes that complete a violation none gets out, coded or not. */
static void stopped(const struct http_codings *list, enum http_pipe_mode mode, struct pace pace)
{
	struct buf body = BUF_INIT(BIG), coded = BUF_INIT(BIG), got = BUF_INIT(BIG);
	struct buf plain = BUF_INIT(BIG);
	struct http_coder *dec;
	struct http_pipe *pipe;
	size_t n = 40000, taken;
	struct toy t;
	uint8_t *p;
	bool done;
	int r;

	assert_int_equal(buf_reserve(&body, n, &p), 0);
	fill_marks(p, n);
	p[30000] = 3;
	buf_commit(&body, n);
	toy_init(&t);
	t.stops = true;
	code(list, false, &body, &coded);
	assert_int_equal(http_pipe_new(list, &t.filter, mode, &pipe), 0);
	assert_int_equal(http_pipe_changes_length(pipe), list->n && mode == HTTP_PIPE_CHANGE);
	assert_int_equal(pipe_all(pipe, buf_at(&coded), coded.len, pace, &got), -EPERM);
	r = http_pipe_run(pipe, NULL, 0, HTTP_CODING_END, &got, &taken, &done);
	assert_int_equal(r, -EPERM);
	if (list->n == 0)
		assert_int_equal(buf_append(&plain, buf_at(&got), got.len), 0);
	while (list->n && got.len) {
		assert_int_equal(http_decoder_new(list, &dec), 0);
		do {
			assert_int_equal(http_coder_run(dec, buf_at(&got), got.len, HTTP_CODING_RUN,
							&plain, &taken, &done),
					 0);
			buf_consume(&got, taken);
		} while (!done);
		http_coder_free(dec);
	}
	assert_null(plain.len ? memchr(buf_at(&plain), 3, plain.len) : NULL);
	http_pipe_free(pipe);
	buf_fini(&body);
	buf_fini(&coded);
	buf_fini(&got);
	buf_fini(&plain);
}

static void test_stopped(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(first); i++)
		for (size_t k = 0; k < ARRAY_SIZE(paces); k++) {
			struct http_codings list = codings(first[i], 0);

			stopped(&list, HTTP_PIPE_CHANGE, paces[k]);
			stopped(&list, HTTP_PIPE_LOOK, paces[k]);
		}
}

static void test_broken_coding(void **state)
{
	static const struct {
		enum http_coding c;
		const char *s;
		enum http_coding_fault want;
	} cases[] = {
		{ HTTP_CODING_GZIP, "this is no gzip", HTTP_CODING_CORRUPT },
		{ HTTP_CODING_ZSTD, "\x28\xb5\x2f", HTTP_CODING_TRUNCATED },
		{ HTTP_CODING_BR, "\x06more", HTTP_CODING_TRAILING },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t k = 0; k < 2 * ARRAY_SIZE(paces); k++) {
			struct http_codings list = codings(cases[i].c, 0);
			struct buf got = BUF_INIT(BIG);
			struct http_pipe *pipe;
			struct toy t;

			toy_init(&t);
			assert_int_equal(http_pipe_new(&list, &t.filter,
						       k % 2 ? HTTP_PIPE_LOOK : HTTP_PIPE_CHANGE,
						       &pipe),
					 0);
			assert_int_equal(pipe_all(pipe, (const uint8_t *)cases[i].s,
						  strlen(cases[i].s), paces[k / 2], &got),
					 -EBADMSG);
			assert_int_equal(http_pipe_fault(pipe), cases[i].want);
			http_pipe_free(pipe);
			buf_fini(&got);
		}
	assert_int_equal(http_coding_memory(), 0);
}

/* ---- flushes and work ------------------------------------------------------------------------------ */

/* A server that sends an event now and then: each arrives with its flush. */
static void test_events(void **state)
{
	(void)state;
	for (size_t i = 1; i < ARRAY_SIZE(first); i++) {
		struct http_codings list = codings(first[i], 0);
		struct buf in = BUF_INIT(4096), out = BUF_INIT(4096), plain = BUF_INIT(4096);
		struct http_coder *enc, *dec;
		struct http_pipe *pipe;
		struct toy t;
		size_t taken;
		bool done;

		toy_init(&t);
		assert_int_equal(http_encoder_new(&list, &enc), 0);
		assert_int_equal(http_decoder_new(&list, &dec), 0);
		assert_int_equal(http_pipe_new(&list, &t.filter, HTTP_PIPE_CHANGE, &pipe), 0);
		for (int n = 0; n < 50; n++) {
			assert_int_equal(http_coder_run(enc, (const uint8_t *)"event <3\n", 9,
							HTTP_CODING_FLUSH, &in, &taken, &done),
					 0);
			assert_true(done);
			assert_int_equal(http_pipe_run(pipe, buf_at(&in), in.len, HTTP_CODING_FLUSH,
						       &out, &taken, &done),
					 0);
			assert_true(done && taken == in.len);
			assert_int_equal(http_coder_run(dec, buf_at(&out), out.len, HTTP_CODING_RUN,
							&plain, &taken, &done),
					 0);
			assert_true(done && taken == out.len);
			must_equal(&plain, "event ***\n", 10, "event");
			in.len = out.len = plain.len = 0;
		}
		http_pipe_free(pipe);
		http_coder_free(enc);
		http_coder_free(dec);
		buf_fini(&in);
		buf_fini(&out);
		buf_fini(&plain);
	}
}

/* A short body that unfolds far: each call does a bounded part, in either mode. */
static void test_bomb(void **state)
{
	struct http_codings list = codings(HTTP_CODING_BR, 0);
	size_t n = (size_t)16 << 20;
	uint8_t *zeros = calloc(1, n);
	struct buf coded = BUF_INIT(BIG), out = BUF_INIT(BIG);

	(void)state;
	assert_int_equal(code_all(&list, false, zeros, n, (struct pace){ 0 }, &coded, NULL), 0);
	for (int mode = 0; mode < 2; mode++) {
		struct http_pipe *pipe;
		size_t at = 0, taken, fed = 0, calls = 0;
		bool done = false;
		struct toy t;

		toy_init(&t);
		assert_int_equal(http_pipe_new(&list, &t.filter, (enum http_pipe_mode)mode, &pipe),
				 0);
		for (; !done; calls++) {
			assert_int_equal(http_pipe_run(pipe, buf_at(&coded) + at, coded.len - at,
						       HTTP_CODING_END, &out, &taken, &done),
					 0);
			at += taken;
			out.len = out.off = 0;
			assert_true(t.fed - fed <= HTTP_CODING_WORK + HTTP_PIPE_STEP);
			fed = t.fed;
		}
		assert_int_equal(fed, n);
		assert_true(calls >= n / (HTTP_CODING_WORK + HTTP_PIPE_STEP));
		http_pipe_free(pipe);
	}
	buf_fini(&coded);
	buf_fini(&out);
	free(zeros);
}

/* 100 MB, with memory that does not grow. */
static void test_constant_memory(void **state)
{
	static uint8_t piece[10000];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
		struct http_codings list = codings(first[i], 0);
		struct buf out = BUF_INIT(20000), coded = BUF_INIT(BIG);
		size_t taken, early = 0, peak = 0;
		struct http_coder *enc = NULL;
		struct http_pipe *pipe;
		struct toy t;
		bool done;

		toy_init(&t);
		assert_int_equal(http_pipe_new(&list, &t.filter, HTTP_PIPE_CHANGE, &pipe), 0);
		if (list.n)
			assert_int_equal(http_encoder_new(&list, &enc), 0);
		for (size_t k = 0; k < 10000; k++) {
			size_t at = 0;

			fill_marks(piece, 100);
			if (enc)
				assert_int_equal(http_coder_run(enc, piece, sizeof(piece),
								HTTP_CODING_FLUSH, &coded, &taken,
								&done),
						 0);
			else
				assert_int_equal(buf_append(&coded, piece, sizeof(piece)), 0);
			for (done = false; !done; out.len = out.off = 0) {
				assert_int_equal(http_pipe_run(pipe, buf_at(&coded) + at,
							       coded.len - at, HTTP_CODING_RUN,
							       &out, &taken, &done),
						 0);
				at += taken;
			}
			coded.len = coded.off = 0;
			peak = MAX(peak, http_coding_memory());
			if (k == 1000)
				early = peak;
		}
		assert_int_equal(t.fed, (size_t)100000000);
		assert_int_equal(peak, early);
		http_pipe_free(pipe);
		http_coder_free(enc);
		buf_fini(&out);
		buf_fini(&coded);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lesson_34_changed),  cmocka_unit_test(lesson_34_looked_at),
		cmocka_unit_test(test_no_filter),     cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_broken_coding), cmocka_unit_test(test_events),
		cmocka_unit_test(test_bomb),	      cmocka_unit_test(test_constant_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
