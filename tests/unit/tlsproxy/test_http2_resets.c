/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resets, held bodies, GOAWAY and lost connections at every point, chosen by a generator
 * with a fixed seed, in all pairings of protocols. Whatever happens each request that was
 * judged is reported exactly once, and nothing is left open.
 */
#include "http2_wire.h"
#include "tlsproxy/http2_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint32_t seed;

static uint32_t any(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

/* By the number in the request's query. */
static bool judged[128];
static unsigned reported[128];

static unsigned id_of(const struct tlsproxy_request *req)
{
	const char *q = strchr(req->target, '?');

	return q ? (unsigned)strtoul(q + 1, NULL, 10) : 127;
}

static void note_judge(void *ctx, const struct tlsproxy_request *req, struct tlsproxy_verdict *ret)
{
	judged[id_of(req)] = true;
	rig_judge(ctx, req, ret);
}

static void note_event(void *ctx, const struct tlsproxy_http_event *e)
{
	rig_http_event(ctx, e);
	reported[id_of(e->req)]++;
}

static const char *const paths[] = { "/echo",  "/size/5",   "/size/70000", "/trailers", "/early",
				     "/hang",  "/reset/8",  "/reset/7",	   "/late/2",	"/hints",
				     "/empty", "/denied/x", "/size/100000" };

static void some_request(struct h2_rig *r)
{
	static const uint64_t sizes[] = { 0, 1, 1000, 20000, 100000 };
	uint64_t body = sizes[any(5)];
	struct h2_stream *st;
	char path[64];

	if (r->n_c > 60)
		return;
	snprintf(path, sizeof(path), "%s?%zu", paths[any(ARRAY_SIZE(paths))], r->n_c);
	st = h2_request(r, body ? "POST" : "GET", path, body, any(4) == 0);
	st->held = body && any(3) == 0;
}

static struct h2_stream *some_stream(struct h2_rig *r, bool server)
{
	size_t n = server ? r->n_s : r->n_c;

	return n ? (server ? r->s : r->c)[any((uint32_t)n)] : NULL;
}

static void reset_one(struct h2_rig *r, bool server)
{
	struct h2_stream *st = some_stream(r, server);

	if (!st || st->closed)
		return;
	rig_must(nghttp2_submit_rst_stream(server ? r->server : r->client, 0, st->id, any(14)));
}

static void release_one(struct h2_rig *r, bool server)
{
	struct h2_stream *st = some_stream(r, server);

	if (!st || st->closed || str_starts(st->path, "/late"))
		return;
	st->held = !st->held;
	nghttp2_session_resume_data(server ? r->server : r->client, st->id);
}

/* Not until nothing moves, only a little. */
static void move(struct h2_rig *r)
{
	switch (any(4)) {
	case 0:
		h2_say(r->client, &r->to_filter);
		h2_into(r, true, &r->to_filter);
		break;
	case 1:
		h2_say(r->server, &r->to_filter_up);
		h2_into(r, false, &r->to_filter_up);
		break;
	case 2:
		h2_out(r->server, &r->g.up, false);
		break;
	default:
		h2_out(r->client, &r->g.guest, false);
		break;
	}
}

static void step(struct h2_rig *r)
{
	switch (any(40)) {
	case 0 ... 9:
		some_request(r);
		break;
	case 10 ... 12:
		reset_one(r, false);
		break;
	case 13 ... 15:
		reset_one(r, true);
		break;
	case 16 ... 18:
		release_one(r, any(2));
		break;
	case 19:
		h2_run(r);
		break;
	case 20:
		if (any(8) == 0)
			rig_must(nghttp2_submit_goaway(r->server, 0, r->n_s ? r->s[0]->id : 0, 0,
						       NULL, 0));
		break;
	case 21:
		if (any(20) == 0 && r->g.state == HTTP_OK)
			r->g.state = http_upstream_eof(r->g.filter, &r->g.up, &r->g.guest);
		break;
	case 22:
		if (any(20) == 0 && r->g.state == HTTP_OK)
			r->g.state = http_guest_eof(r->g.filter, &r->g.up, &r->g.guest);
		break;
	case 23:
		if (any(10) == 0 && r->g.state == HTTP_OK) {
			snprintf(r->g.deny_path, sizeof(r->g.deny_path), "/hang");
			assert_false(http_filter_rejudge(r->g.filter, true, &r->g.up, &r->g.guest));
		}
		break;
	default:
		move(r);
		break;
	}
}

static void finish_all(struct h2_rig *r)
{
	for (size_t i = 0; i < r->n_c; i++) {
		r->c[i]->held = false;
		if (!r->c[i]->closed)
			nghttp2_session_resume_data(r->client, r->c[i]->id);
	}
	for (size_t i = 0; i < r->n_s; i++)
		if (!r->s[i]->closed) {
			r->s[i]->held = false;
			nghttp2_session_resume_data(r->server, r->s[i]->id);
		}
	h2_run(r);
	for (size_t i = 0; i < r->n_c; i++)
		if (!r->c[i]->closed)
			rig_must(nghttp2_submit_rst_stream(r->client, 0, r->c[i]->id, NGHTTP2_CANCEL));
	h2_run(r);
}

static void one_life(uint32_t n, bool guest_h2, bool upstream_h2)
{
	struct tlsproxy_ops ops;
	struct h2_rig r;

	seed = n;
	memset(judged, 0, sizeof(judged));
	memset(reported, 0, sizeof(reported));
	h2_prepare(&r, true, NULL);
	ops = *r.g.cfg.ops;
	ops.judge_http = note_judge;
	ops.http_event = note_event;
	r.g.cfg.ops = &ops;
	r.g.cfg.guest_h2 = guest_h2;
	r.g.cfg.upstream_h2 = upstream_h2;
	r.g.cut = any(3) ? 0 : any(1000);
	r.g.buf_cap = any(2) ? HTTP_BUF_MIN : RIG_CAP;
	snprintf(r.g.deny_path, sizeof(r.g.deny_path), "/denied");
	h2_start(&r);
	for (unsigned i = 0, steps = 20 + any(200); i < steps; i++)
		step(&r);
	r.g.deny_path[0] = 0;
	finish_all(&r);
	if (r.g.state == HTTP_OK)
		assert_true(http_filter_idle(r.g.filter));
	rig_end(&r.g);
	for (size_t i = 0; i < ARRAY_SIZE(judged); i++)
		if (reported[i] > 1 || (judged[i] && !reported[i]))
			fail_msg("seed %u: request %zu was reported %u times", n, i, reported[i]);
	for (size_t i = 0; i < r.n_c && r.g.state == HTTP_OK; i++)
		assert_true(r.c[i]->closed);
	h2_free(&r);
}

static void resets_at_every_point(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 400; i++)
		one_life(i, true, true);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resets_at_every_point),
	};

	if (argc > 1) {
		one_life((uint32_t)strtoul(argv[1], NULL, 10), true, true);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
