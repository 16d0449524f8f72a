/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The secret automaton against a naive search: what comes out is the input with
 * every plain placeholder replaced, whatever the pieces; and what went out
 * becomes the input again on its way back.
 *
 * Bytes 0xf0..0xf7 of the input stand for a placeholder or half of one. As a reply,
 * 0xd8..0xef stand for a value in some spelling: whatever the pieces, the same comes
 * out, and no value with it.
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

/* Values whose placeholders have another length and shape. */
static struct secret_set *odd_set(void)
{
	static const struct tlsproxy_secret in[] = {
		{ .env = "A",
		  .value = "16C7e42F292c6912E771",
		  .value_len = 20,
		  .placeholder = "tok_abcdefgh" },
		{ .env = "B",
		  .value = "aB3+xY/9kLm\"Qr\\7&s=<V>",
		  .value_len = 22,
		  .placeholder = "q0q1q2q3q4q5q6q7q8q9" },
		{ .env = "C",
		  .value = "16C7e42F292c6912E771zz",
		  .value_len = 22,
		  .placeholder = "p0p1p2p3p4" },
		{ .env = "D",
		  .value = "with space %41",
		  .value_len = 14,
		  .placeholder = "r0r1r2r3r4r5r6" },
	};
	static struct secret_set *set;
	char err[256];

	if (!set && secret_set_new(in, ARRAY_SIZE(in), &set, err, sizeof(err)) < 0)
		abort();
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

static void spell(const struct secret *s, unsigned how, struct buf *out)
{
	uint8_t text[256];

	for (size_t i = 0; how < 3 && i < s->len; i++) {
		uint8_t c = s->value[i];

		if (how == 0)
			must(buf_printf(out, "%%%02x", c));
		else if (how == 1)
			must(buf_printf(out, "\\u%04x", c));
		else
			must(buf_printf(out, "&#x%02x;", c));
	}
	if (how == 3)
		must(buf_append(out, text, secret_encode_base64(0, false, s->value, s->len, text)));
}

/* Base64 in lines of 16, as they stand or in a JSON string. */
static void spell_lines(const struct secret *s, bool json, struct buf *out)
{
	uint8_t text[256];
	size_t n = secret_encode_base64(0, false, s->value, s->len, text);

	for (size_t i = 0; i < n; i += 16) {
		must(buf_append(out, text + i, MIN(n - i, (size_t)16)));
		must(buf_append_str(out, json ? "\\n" : "\r\n"));
	}
}

static void expand_reply(const struct secret_set *set, const uint8_t *p, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		const struct secret *s = &set->secrets[p[i] & 3];

		if (p[i] >= 0xe0 && p[i] <= 0xef)
			spell(s, p[i] >> 2 & 3, out);
		else if (p[i] >= 0xd8 && p[i] <= 0xdf)
			spell_lines(s, p[i] & 4, out);
		else if (p[i] >= 0xf0 && p[i] <= 0xf7)
			must(buf_append(out, s->value, p[i] & 4 ? s->len / 2 : s->len));
		else
			must(buf_append(out, p + i, 1));
	}
}

/* Fed no more than fits: what comes out is as long as was said. */
static void run_back(const struct secret_set *set, const struct buf *in, uint32_t cut, struct buf *out)
{
	struct secret_stream s;
	size_t at = 0;

	secret_stream_back(&s, set);
	while (at < in->len) {
		size_t n = cut == 0   ? in->len
			   : cut == 1 ? 1
				      : 1 + (cut >> 16) % 19,
		       before = out->len;
		size_t room = SECRET_ROOM + (cut >> 8) % 5000;

		cut = cut < 2 ? cut : (cut * 1664525u + 1013904223u) | 2;
		n = MIN(MIN(n, in->len - at), secret_stream_fits(&s, room));
		if (n == 0)
			abort();
		must(secret_stream_feed(&s, buf_at(in) + at, n, out));
		if (out->len - before > room)
			abort();
		at += n;
	}
	must(secret_stream_end(&s, out));
	secret_stream_fini(&s);
}

/* Is part of [from, to) a placeholder's? */
static bool meets_placeholder(const struct secret_set *set, const struct buf *b, size_t from,
			      size_t to)
{
	for (size_t i = 0; i < set->n; i++) {
		size_t len = strlen(set->secrets[i].placeholder);

		for (size_t at = from > len ? from - len + 1 : 0; at < to && at + len <= b->len; at++)
			if (memcmp(buf_at(b) + at, set->secrets[i].placeholder, len) == 0)
				return true;
	}
	return false;
}

/*
 * No value is left. One whose first bytes were the last of another value is: that one is
 * found, and its placeholder may happen to end with the same bytes.
 */
static void check_is_gone(const struct secret_set *set, const struct secret *s, const struct buf *b)
{
	const uint8_t *p, *end;

	if (!b->len)
		return;
	p = buf_at(b);
	end = p + b->len;
	while ((p = memmem(p, (size_t)(end - p), s->value, s->len))) {
		size_t at = (size_t)(p - buf_at(b));

		if (!meets_placeholder(set, b, at, at + s->len))
			abort();
		p++;
	}
}

static void check_reply(const struct secret_set *set, const uint8_t *data, size_t size)
{
	struct buf in = BUF_INIT(CAP), want = BUF_INIT(CAP);

	expand_reply(set, data, size, &in);
	run_back(set, &in, 0, &want);
	if (in.len && secret_clean_back(set, buf_at(&in), in.len) && !same(&want, &in))
		abort();
	for (size_t i = 0; i < set->n; i++)
		check_is_gone(set, &set->secrets[i], &want);
	for (uint32_t cut = 1; cut < 4; cut++) {
		struct buf out = BUF_INIT(CAP);

		run_back(set, &in, cut < 2 ? cut : cut * 7919, &out);
		if (!same(&out, &want))
			abort();
		buf_fini(&out);
	}
	if (set->keeps_back && want.len != in.len)
		abort();
	buf_fini(&in);
	buf_fini(&want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct secret_set *set = the_set();
	struct buf in = BUF_INIT(CAP), want = BUF_INIT(CAP);
	size_t hits[3] = { 0 };
	bool has_value;

	if (size > 8192)
		return 0;
	check_reply(set, data, size);
	check_reply(odd_set(), data, size);
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
	if (in.len && hits[0] && secret_clean_out(set, buf_at(&in), in.len))
		abort();
	buf_fini(&in);
	buf_fini(&want);
	return 0;
}
