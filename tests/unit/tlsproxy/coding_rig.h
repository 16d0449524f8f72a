/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies and coders for the tests: any pieces, any room. */
#ifndef CODING_RIG_H
#define CODING_RIG_H

#include "tlsproxy/http_pipe.h"
#include "tlsproxy/http_limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static uint32_t rig_seed = 1;

static inline uint32_t rnd(uint32_t n)
{
	rig_seed = rig_seed * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)(rig_seed >> 4) * n) >> 28);
}

/* Half words, half noise: compressible, but not only. */
static inline void fill(uint8_t *p, size_t n)
{
	static const char words[] = "{\"token\": \"the weir measures what flows past it\", ";

	for (size_t i = 0; i < n; i++)
		p[i] = i / 64 % 2 ? (uint8_t)rnd(256) : (uint8_t)words[(i + rnd(2)) % sizeof(words)];
}

static inline struct http_codings codings(enum http_coding a, enum http_coding b)
{
	return (struct http_codings){ (a != 0) + (b != 0), { a ? a : b, b } };
}

/* How bytes come and how much room there is for what comes out; 0: all at once. */
struct pace {
	size_t piece, room;
};

static inline size_t pace_next(size_t limit, size_t left)
{
	size_t n = limit == 0 ? left : 1 + rnd((uint32_t)limit);

	return MIN(n, left);
}

/* One body through a coder, all of it. 0 or the coder's error. */
static inline int coder_all(struct http_coder *c, const uint8_t *p, size_t n, struct pace pace,
			    struct buf *ret)
{
	size_t at = 0, taken, cap = pace.room ? pace.room : HTTP_CODING_WORK;
	struct buf out = BUF_INIT(cap);
	bool done = false;
	int r = 0;

	while (r == 0 && !done) {
		size_t k = pace_next(pace.piece, n - at);
		enum http_coding_op op = at + k == n ? HTTP_CODING_END : HTTP_CODING_RUN;

		do {
			r = http_coder_run(c, k ? p + at : NULL, k, op, &out, &taken, &done);
			if (r < 0)
				break;
			assert_true(out.len <= cap);
			assert_true(taken <= k);
			at += taken;
			k -= taken;
			if (out.len)
				assert_int_equal(buf_append(ret, buf_at(&out), out.len), 0);
			out.len = out.off = 0;
		} while (!done);
		done = r == 0 && op == HTTP_CODING_END;
	}
	buf_fini(&out);
	return r;
}

static inline int code_all(const struct http_codings *list, bool decode, const uint8_t *p, size_t n,
			   struct pace pace, struct buf *ret, enum http_coding_fault *ret_fault)
{
	struct http_coder *c;
	int r;

	assert_int_equal(decode ? http_decoder_new(list, &c) : http_encoder_new(list, &c), 0);
	r = coder_all(c, p, n, pace, ret);
	if (ret_fault)
		*ret_fault = http_coder_fault(c);
	http_coder_free(c);
	return r;
}

static inline void must_equal(const struct buf *got, const void *want, size_t n, const char *what)
{
	if (got->len != n)
		fail_msg("%s: %zu bytes, not %zu", what, got->len, n);
	if (n && memcmp(buf_at(got), want, n) != 0)
		fail_msg("%s: other bytes", what);
}

#endif
