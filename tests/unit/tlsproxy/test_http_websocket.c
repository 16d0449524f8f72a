/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A WebSocket in the filter: nothing is lost when a peer takes little at a time, nor at
 * the end, and a Close waits for room as everything else. (Contents: test_ws.c and the
 * scenarios.)
 */
#include "http_rig.h"
#include "secret_rig.h"
#include "ws_rig.h"

#include <setjmp.h>
#include <cmocka.h>

static const struct secret_spec spec = { "KEY", "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
					 "api.example.com", TLSPROXY_IN_WEBSOCKET,
					 TLSPROXY_BLOCK_AND_LOG };

/* Upgraded, with buffers of the smallest size. */
static void open_tunnel(struct rig *g, struct secret_set *set)
{
	rig_prepare(g, true, set);
	g->buf_cap = HTTP_BUF_MIN;
	rig_start(g);
	assert_true(rig_guest(g, "GET /ws HTTP/1.1\r\nHost: api.example.com\r\n"
				 "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"));
	assert_true(rig_upstream(g, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
				    "Upgrade: websocket\r\n\r\n"));
	assert_int_equal(g->state, HTTP_TUNNEL);
	g->up.len = g->up.off = g->guest.len = g->guest.off = 0;
}

static void drain(struct buf *from, size_t most, struct buf *to)
{
	size_t n = MIN(from->len, most);

	ws_rig_append(to, buf_at(from), n);
	buf_consume(from, n);
}

/* Bytes in, while the receiver takes `most` at a time. */
static void push(struct rig *g, bool from_guest, const struct buf *wire, size_t most, struct buf *got)
{
	size_t at = 0, used;

	while (at < wire->len && g->state == HTTP_TUNNEL) {
		const uint8_t *p = buf_at(wire) + at;
		size_t n = MIN(wire->len - at, (size_t)16384);

		used = 0;
		g->state = from_guest
				   ? http_from_guest(g->filter, p, n, &used, &g->up, &g->guest)
				   : http_from_upstream(g->filter, p, n, &used, &g->up, &g->guest);
		at += used;
		drain(from_guest ? &g->up : &g->guest, most, got);
	}
}

static void test_slow_receiver(void **state)
{
	struct secret_set *set = secret_rig(&spec, 1);

	(void)state;
	for (int from_guest = 0; from_guest < 2; from_guest++) {
		struct buf wire = BUF_INIT(RIG_CAP), got = BUF_INIT(RIG_CAP);
		uint8_t *p = malloc(60000);
		struct ws_rig_reader r;
		struct rig g;

		memset(p, 'x', 60000);
		open_tunnel(&g, set);
		for (int i = 0; i < 20; i++)
			ws_rig_frame(&wire, 0x82, p, 60000,
				     from_guest ? (const uint8_t *)"\1\2\3\4" : NULL);
		push(&g, from_guest, &wire, 700, &got);
		for (int i = 0;
		     i < 100000 && g.state == HTTP_TUNNEL && (g.up.len || g.guest.len || i < 100);
		     i++) {
			size_t used;

			drain(from_guest ? &g.up : &g.guest, 700, &got);
			g.state = http_from_guest(g.filter, NULL, 0, &used, &g.up, &g.guest);
		}
		assert_int_equal(g.state, HTTP_TUNNEL);
		ws_rig_reader_init(&r, from_guest, 0, false);
		ws_rig_read(&r, &got, false);
		assert_int_equal(r.n, 20);
		assert_int_equal(r.bytes.len, 20 * 60000);
		ws_rig_reader_fini(&r);
		rig_free(&g);
		free(p);
		buf_fini(&wire);
		buf_fini(&got);
	}
	secret_set_free(set);
}

/* The upstream ends while the guest's buffer is full: what it said before still arrives. */
static void test_end_behind_a_full_buffer(void **state)
{
	struct secret_set *set = secret_rig(&spec, 1);
	struct buf wire = BUF_INIT(RIG_CAP), got = BUF_INIT(RIG_CAP);
	uint8_t p[30000] = { 0 };
	struct ws_rig_reader r;
	size_t at = 0, used;
	struct rig g;

	(void)state;
	open_tunnel(&g, set);
	for (int i = 0; i < 8; i++)
		ws_rig_frame(&wire, 0x82, p, sizeof(p), NULL);
	/* All that is taken without anything going on. */
	for (int i = 0; i < 100 && at < wire.len; i++) {
		used = 0;
		g.state = http_from_upstream(g.filter, buf_at(&wire) + at,
					     MIN(wire.len - at, (size_t)9000), &used, &g.up,
					     &g.guest);
		at += used;
	}
	assert_true(at > g.guest.len && at < wire.len);
	g.state = http_upstream_eof(g.filter, &g.up, &g.guest);
	for (int i = 0; i < 100 && g.state != HTTP_CLOSE; i++) {
		drain(&g.guest, SIZE_MAX, &got);
		g.state = http_from_guest(g.filter, NULL, 0, &used, &g.up, &g.guest);
	}
	assert_int_equal(g.state, HTTP_CLOSE);
	drain(&g.guest, SIZE_MAX, &got);
	ws_rig_reader_init(&r, false, 0, false);
	ws_rig_read(&r, &got, true);
	/* What was taken, less a frame that was not complete. */
	assert_int_equal(r.n, at / (sizeof(p) + 4));
	ws_rig_reader_fini(&r);
	rig_free(&g);
	buf_fini(&wire);
	buf_fini(&got);
	secret_set_free(set);
}

/* A violation while the guest takes nothing: its Close comes once it does. */
static void test_close_waits_for_room(void **state)
{
	struct secret_set *set = secret_rig(&spec, 1);
	struct buf wire = BUF_INIT(RIG_CAP), got = BUF_INIT(RIG_CAP), up = BUF_INIT(RIG_CAP);
	const char *key = secret_set_placeholder(set, 0);
	uint8_t p[30000] = { 0 };
	struct ws_rig_reader r;
	size_t used;
	struct rig g;

	(void)state;
	open_tunnel(&g, set);
	for (int i = 0; i < 6; i++) {
		wire.len = wire.off = 0;
		ws_rig_frame(&wire, 0x82, p, sizeof(p), NULL);
		g.state = http_from_upstream(g.filter, buf_at(&wire), wire.len, &used, &g.up,
					     &g.guest);
	}
	wire.len = wire.off = 0;
	ws_rig_frame(&wire, 0x82, (const uint8_t *)key, strlen(key), (const uint8_t *)"\1\2\3\4");
	g.state = http_from_guest(g.filter, buf_at(&wire), wire.len, &used, &g.up, &g.guest);
	assert_int_equal(g.state, HTTP_TUNNEL);
	assert_int_equal(g.violations, 1);
	for (int i = 0; i < 100 && g.state != HTTP_CLOSE; i++) {
		drain(&g.guest, SIZE_MAX, &got);
		g.state = http_from_guest(g.filter, NULL, 0, &used, &g.up, &g.guest);
	}
	assert_int_equal(g.state, HTTP_CLOSE);
	drain(&g.guest, SIZE_MAX, &got);
	ws_rig_reader_init(&r, false, 0, false);
	ws_rig_read(&r, &got, true);
	assert_true(r.n > 1);
	assert_int_equal(r.messages[r.n - 1].opcode, WS_CLOSE);
	ws_rig_reader_fini(&r);
	drain(&g.up, SIZE_MAX, &up);
	ws_rig_reader_init(&r, true, 0, false);
	ws_rig_read(&r, &up, true);
	assert_int_equal(r.n, 1);
	assert_memory_equal(buf_at(&r.bytes), "\x03\xf0", 2);
	ws_rig_reader_fini(&r);
	rig_free(&g);
	buf_fini(&wire);
	buf_fini(&got);
	buf_fini(&up);
	secret_set_free(set);
}

/* Without secrets nothing is read: bytes pass as they are, frames or not. */
static void test_without_secrets(void **state)
{
	struct rig g;

	(void)state;
	open_tunnel(&g, NULL);
	assert_true(rig_guest(&g, "no frames"));
	assert_true(rig_upstream(&g, "at all"));
	assert_string_equal(rig_text(&g.up), "no frames");
	assert_string_equal(rig_text(&g.guest), "at all");
	rig_free(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slow_receiver),
		cmocka_unit_test(test_end_behind_a_full_buffer),
		cmocka_unit_test(test_close_waits_for_room),
		cmocka_unit_test(test_without_secrets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
