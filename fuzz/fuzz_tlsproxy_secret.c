/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The secret automaton against a naive search: what comes out is the input with
 * every plain placeholder replaced, whatever the pieces; and what went out
 * becomes the input again on its way back.
 *
 * Bytes 0xf0..0xf7 of the input stand for a placeholder or half of one.
 */
#include "tests/unit/tlsproxy/secret_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CAP ((size_t)1 << 22)

static struct secret_set *the_set(void)
{
	static const struct secret_spec spec[] = {
		{ "A", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "a.example.com", 31, 1 },
		{ "B", "aB3+xY/9kLm\"Qr\\7Ts=uV~w*z%41", "a.example.com", 31, 1 },
		{ "C", "ghp_ZZZZyyyyXXXXwwwwVVVV", "a.example.com", 31, 1 },
		{ "D", "12345678", "a.example.com", 31, 1 },
	};
	static struct secret_set *set;

	if (!set)
		set = secret_rig(spec, ARRAY_SIZE(spec));
	return set;
}

static enum secret_verdict put_plain(void *ctx, struct secret_hit *hit)
{
	(void)ctx;
	return hit->form == SECRET_PLAIN ? SECRET_PUT : SECRET_LEAVE;
}

static enum secret_verdict leave(void *ctx, struct secret_hit *hit)
{
	size_t *hits = ctx;

	(void)hit;
	(*hits)++;
	return SECRET_LEAVE;
}

static void must(int r)
{
	if (r < 0)
		abort();
}

static void expand(const struct secret_set *set, const uint8_t *p, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		const struct secret *s = &set->secrets[p[i] & 3];

		if (p[i] < 0xf0 || p[i] > 0xf7)
			must(buf_append(out, p + i, 1));
		else
			must(buf_append(out, s->placeholder, p[i] & 4 ? s->len / 2 : s->len));
	}
}

/* First end wins, the longest of those that end there. */
static void naive(const struct secret_set *set, struct buf *b)
{
	uint8_t *t = buf_at(b);

	for (size_t end = 1, from = 0; end <= b->len; end++) {
		const struct secret *best = NULL;

		for (size_t i = 0; i < set->n; i++) {
			const struct secret *s = &set->secrets[i];

			if (end - from >= s->len && (!best || s->len > best->len) &&
			    memcmp(t + end - s->len, s->placeholder, s->len) == 0)
				best = s;
		}
		if (!best)
			continue;
		memcpy(t + end - best->len, best->value, best->len);
		from = end;
	}
}

static void run(struct secret_stream *s, const struct buf *in, uint32_t cut, struct buf *out)
{
	size_t at = 0;

	while (at < in->len) {
		size_t n = cut == 0 ? in->len : cut == 1 ? 1 : 1 + (cut >> 16) % 9;

		cut = cut < 2 ? cut : (cut * 1664525u + 1013904223u) | 2;
		n = MIN(n, in->len - at);
		must(secret_stream_feed(s, buf_at(in) + at, n, out));
		if (out->len + secret_stream_held(s) != at + n)
			abort();
		at += n;
	}
	must(secret_stream_end(s, out));
}

static bool same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(buf_at(a), buf_at(b), a->len) == 0);
}

/* An input with a value in it does not come back as it was. */
static bool back_changes_nothing(const struct secret_set *set, const struct buf *in)
{
	struct buf out = BUF_INIT(CAP);
	struct secret_stream s;
	bool r;

	secret_stream_back(&s, set);
	run(&s, in, 0, &out);
	r = same(&out, in);
	buf_fini(&out);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct secret_set *set = the_set();
	struct buf in = BUF_INIT(CAP), want = BUF_INIT(CAP);
	size_t hits[3] = { 0 };
	bool has_value;

	if (size > 8192)
		return 0;
	expand(set, data, size, &in);
	expand(set, data, size, &want);
	if (want.len)
		naive(set, &want);
	has_value = !back_changes_nothing(set, &in);
	for (uint32_t cut = 0; cut < 3; cut++) {
		struct buf out = BUF_INIT(CAP), back = BUF_INIT(CAP), scan = BUF_INIT(CAP);
		struct secret_stream s;

		secret_stream_out(&s, set, true, put_plain, NULL);
		run(&s, &in, cut < 2 ? cut : 12345, &out);
		if (!same(&out, &want))
			abort();
		secret_stream_back(&s, set);
		run(&s, &out, cut < 2 ? cut : 999, &back);
		if (!has_value && !same(&back, &in))
			abort();
		secret_stream_out(&s, set, false, leave, &hits[cut]);
		run(&s, &in, cut < 2 ? cut : 77, &scan);
		if (!same(&scan, &in) || hits[cut] != hits[0])
			abort();
		buf_fini(&out);
		buf_fini(&back);
		buf_fini(&scan);
	}
	buf_fini(&in);
	buf_fini(&want);
	return 0;
}
