/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies through the filter, each byte once and in order, in all four pairings of protocols:
 * with a length and without, through the secrets' pipe and past it, between ends that take and
 * give a little at a time, so that buffers are full and windows shut at any point. What happens
 * is chosen by a generator with a fixed seed: a failure comes again.
 */
#include "http2_rig.h"
#include "secret_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ROUNDS 400000

static uint32_t seed;

static uint32_t any(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

/* At least one, at most `most` and n. */
static size_t piece(uint32_t most, size_t n)
{
	size_t k = (size_t)1 + any(most);

	return MIN(n, k);
}

/* How an end is: so many bytes at most in one step, and idle in so many of 8. */
struct pace {
	uint32_t most, idle;
};

static size_t some(const struct pace *p, size_t n)
{
	return any(8) < p->idle ? 0 : piece(p->most, n);
}

/* ---- ends ------------------------------------------------------------------------------- */

/* An end in HTTP/1: what it says next, and what it was told. */
struct h1_end {
	struct buf says, heard;
};

struct bench {
	struct h2_rig r;
	struct h1_end guest, upstream;
	struct pace up, down; /* of the two readers */
	uint32_t input;	      /* bytes given to the filter at once, at most */
};

static void feed(struct bench *b, bool guest, struct buf *from)
{
	struct rig *g = &b->r.g;
	size_t used = 0, n = piece(b->input, from->len);

	if (g->state == HTTP_CLOSE || g->state == HTTP_ABORT)
		return;
	if (guest)
		g->state = http_from_guest(g->filter, n ? buf_at(from) : NULL, n, &used, &g->up,
					   &g->guest);
	else
		g->state = http_from_upstream(g->filter, n ? buf_at(from) : NULL, n, &used, &g->up,
					      &g->guest);
	assert_true(used <= n);
	buf_consume(from, used);
}

static void take(const struct pace *p, struct buf *from, nghttp2_session *s, struct buf *heard)
{
	size_t n = some(p, from->len);

	if (n == 0)
		return;
	if (s)
		assert_int_equal(nghttp2_session_mem_recv(s, buf_at(from), n), n);
	else
		rig_must(buf_append(heard, buf_at(from), n));
	buf_consume(from, n);
}

static void step(struct bench *b)
{
	const struct http_filter_config *cfg = &b->r.g.cfg;

	if (cfg->guest_h2)
		h2_say(b->r.client, &b->guest.says);
	if (cfg->upstream_h2)
		h2_say(b->r.server, &b->upstream.says);
	feed(b, true, &b->guest.says);
	take(&b->up, &b->r.g.up, cfg->upstream_h2 ? b->r.server : NULL, &b->upstream.heard);
	feed(b, false, &b->upstream.says);
	take(&b->down, &b->r.g.guest, cfg->guest_h2 ? b->r.client : NULL, &b->guest.heard);
}

/* ---- messages in HTTP/1 -------------------------------------------------------------------- */

static void body_bytes(struct buf *out, uint32_t s, uint64_t from, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t c = h2_byte(s, from + i);

		rig_must(buf_append(out, &c, 1));
	}
}

static void h1_message(struct buf *out, const char *start, uint32_t s, size_t size, bool length)
{
	rig_must(buf_printf(out, "%s", start));
	if (length) {
		rig_must(buf_printf(out, "Content-Length: %zu\r\n\r\n", size));
		body_bytes(out, s, 0, size);
		return;
	}
	rig_must(buf_append_str(out, "Transfer-Encoding: chunked\r\n\r\n"));
	for (size_t at = 0; at < size;) {
		size_t n = piece(30000, size - at);

		rig_must(buf_printf(out, "%zx\r\n", n));
		body_bytes(out, s, at, n);
		rig_must(buf_append_str(out, "\r\n"));
		at += n;
	}
	rig_must(buf_append_str(out, "0\r\n\r\n"));
}

static void check_bytes(const uint8_t *p, size_t n, uint32_t s, uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != h2_byte(s, at + i))
			fail_msg("byte %llu is %u", (unsigned long long)(at + i), p[i]);
}

/* Is a whole message in b; its body must be those bytes. */
static bool h1_whole(struct buf *b, uint32_t s, size_t size)
{
	const char *text = b->len ? (const char *)buf_at(b) : "", *end, *p;
	size_t at = 0;

	end = b->len ? memmem(text, b->len, "\r\n\r\n", 4) : NULL;
	if (!end)
		return false;
	p = end + 4;
	if (!memmem(text, (size_t)(end - text), "chunked", 7) &&
	    !memmem(text, (size_t)(end - text), "Content-Length: ", 16))
		return size == 0 && p == text + b->len;
	if (memmem(text, (size_t)(end - text), "Content-Length: ", 16)) {
		at = b->len - (size_t)(p - text);
		assert_true(at <= size);
		check_bytes((const uint8_t *)p, at, s, 0);
		return at == size;
	}
	for (;;) {
		const char *stop = text + b->len, *eol = memmem(p, (size_t)(stop - p), "\r\n", 2);
		size_t n = eol ? strtoul(p, NULL, 16) : 0;

		if (!eol || (size_t)(stop - eol) < n + 4)
			return false;
		check_bytes((const uint8_t *)eol + 2, n, s, at);
		at += n;
		p = eol + 2 + n + 2;
		if (n == 0) {
			assert_int_equal(at, size);
			assert_ptr_equal(p, stop);
			return true;
		}
	}
}

/* ---- runs ------------------------------------------------------------------------------------ */

static void bench_up(struct bench *b, bool guest_h2, bool upstream_h2, const struct secret_set *set)
{
	nghttp2_settings_entry window = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 + any(100000) };

	*b = (struct bench){ .up = { 1 + any(40000), any(7) }, .down = { 1 + any(40000), any(7) } };
	/* Small pieces only now and then: each costs a call. */
	b->input = any(4) ? 40000 : 300;
	h2_prepare(&b->r, true, set);
	b->r.g.cfg.guest_h2 = guest_h2;
	b->r.g.cfg.upstream_h2 = upstream_h2;
	h2_start(&b->r);
	rig_must(nghttp2_submit_settings(b->r.server, 0, &window, 1));
	rig_must(nghttp2_submit_settings(b->r.client, 0, &window, 1));
	b->guest = (struct h1_end){ BUF_INIT(4 * RIG_CAP), BUF_INIT(4 * RIG_CAP) };
	b->upstream = (struct h1_end){ BUF_INIT(4 * RIG_CAP), BUF_INIT(4 * RIG_CAP) };
}

static void bench_down(struct bench *b)
{
	h2_free(&b->r);
	buf_fini(&b->guest.says);
	buf_fini(&b->guest.heard);
	buf_fini(&b->upstream.says);
	buf_fini(&b->upstream.heard);
}

static size_t some_size(void)
{
	static const size_t sizes[] = { 0,     1,     100,    16383,  16384,  16385, 65535,
					65536, 65537, 131072, 262144, 262145, 400001 };

	return sizes[any(ARRAY_SIZE(sizes))];
}

static struct h2_stream *h2_upload(struct bench *b, const char *path, size_t size, bool length)
{
	char number[24] = "";
	nghttp2_nv nv[] = { H2_NV(":method", "POST"), H2_NV(":scheme", "https"),
			    H2_NV(":authority", "api.example.com"), H2_NV(":path", path),
			    H2_NV("content-length", number) };

	snprintf(number, sizeof(number), "%zu", size);
	nv[4].valuelen = strlen(number);
	return h2_request_nv(&b->r, nv, length ? 5 : 4, size, false);
}

/* Several at a time, to a server that sends them back as they come. */
static void both_h2(const struct secret_set *set)
{
	size_t size[6], n = 1 + any(6);
	unsigned rounds = 0, open;
	struct bench b;

	bench_up(&b, true, true, set);
	for (size_t i = 0; i < n; i++) {
		size[i] = some_size();
		h2_upload(&b, "/echo", size[i], any(2));
	}
	do {
		step(&b);
		open = 0;
		for (size_t i = 0; i < n; i++)
			open += !b.r.c[i]->closed;
	} while (open && ++rounds < ROUNDS);
	for (size_t i = 0; i < n; i++) {
		assert_true(b.r.c[i]->ended && b.r.c[i]->status == 200 && b.r.c[i]->code == 0);
		assert_int_equal(b.r.c[i]->got, size[i]);
		assert_int_equal(b.r.c[i]->sum, h2_sum(3, size[i]));
	}
	bench_down(&b);
}

static void h2_to_h1(const struct secret_set *set)
{
	size_t up = some_size(), down = some_size();
	struct h2_stream *st;
	unsigned rounds = 0;
	struct bench b;

	bench_up(&b, true, false, set);
	st = h2_upload(&b, "/a", up, any(2));
	while (!h1_whole(&b.upstream.heard, 3, up) && ++rounds < ROUNDS)
		step(&b);
	h1_message(&b.upstream.says, "HTTP/1.1 200 OK\r\n", 9, down, any(2));
	while (!st->closed && ++rounds < ROUNDS)
		step(&b);
	assert_true(st->ended && st->status == 200);
	assert_int_equal(st->got, down);
	assert_int_equal(st->sum, h2_sum(9, down));
	bench_down(&b);
}

static void h1_to_h2(const struct secret_set *set)
{
	size_t size = some_size();
	unsigned rounds = 0;
	struct bench b;

	bench_up(&b, false, true, set);
	h1_message(&b.guest.says, "POST /echo HTTP/1.1\r\nHost: api.example.com\r\n", 3, size,
		   any(2));
	while (!h1_whole(&b.guest.heard, 3, size) && ++rounds < ROUNDS)
		step(&b);
	assert_true(h1_whole(&b.guest.heard, 3, size));
	assert_int_equal(b.r.s[0]->got, size);
	assert_int_equal(b.r.s[0]->sum, h2_sum(3, size));
	bench_down(&b);
}

static void both_h1(const struct secret_set *set)
{
	size_t up = some_size(), down = some_size();
	unsigned rounds = 0;
	struct bench b;

	bench_up(&b, false, false, set);
	h1_message(&b.guest.says, "POST /a HTTP/1.1\r\nHost: api.example.com\r\n", 3, up, any(2));
	while (!h1_whole(&b.upstream.heard, 3, up) && ++rounds < ROUNDS)
		step(&b);
	h1_message(&b.upstream.says, "HTTP/1.1 200 OK\r\n", 9, down, any(2));
	while (!h1_whole(&b.guest.heard, 9, down) && ++rounds < ROUNDS)
		step(&b);
	assert_true(h1_whole(&b.guest.heard, 9, down));
	bench_down(&b);
}

static void many(void (*one)(const struct secret_set *set))
{
	struct secret_spec spec = { "T", "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
				    "api.example.com", 31, TLSPROXY_BLOCK_AND_LOG };
	const char *more = getenv("WEIR_LIVES");
	uint32_t n = more ? (uint32_t)strtoul(more, NULL, 10) : 6;
	struct secret_set *set = secret_rig(&spec, 1);

	for (uint32_t i = 0; i < n; i++) {
		seed = i * 7919 + 1;
		one(i & 1 ? set : NULL);
	}
	secret_set_free(set);
}

static void h2_h2(void **state)
{
	(void)state;
	many(both_h2);
}

static void h2_h1(void **state)
{
	(void)state;
	many(h2_to_h1);
}

static void h1_h2(void **state)
{
	(void)state;
	many(h1_to_h2);
}

static void h1_h1(void **state)
{
	(void)state;
	many(both_h1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(h2_h2),
		cmocka_unit_test(h2_h1),
		cmocka_unit_test(h1_h2),
		cmocka_unit_test(h1_h1),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
