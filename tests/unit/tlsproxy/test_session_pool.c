/* SPDX-License-Identifier: Apache-2.0 */
/* Upstream connections that outlive a flow: which are kept, for whom, and for how long. */
#include "tests/unit/tlsproxy/session_rig.h"

#define H1 "\x08http/1.1"

static atomic_int n_requests;
static const char *server_extra = "";

/* Any number of requests, each answered, until the connection ends. */
static void server_keeps(struct flow_case *c, struct end *e)
{
	char head[4096], reply[512];

	while (end_head(e, head, sizeof(head))) {
		c->received++;
		n_requests++;
		snprintf(reply, sizeof(reply),
			 "HTTP/1.1 200 OK\r\n%sContent-Length: 5\r\n\r\nhello", server_extra);
		end_puts(e, reply);
	}
}

static const char *client_extra = "";

/* One request on a connection that is meant to stay, and goodbye. */
static void client_once(struct flow_case *c, struct end *e)
{
	char head[512];
	int r;

	snprintf(head, sizeof(head), "GET /a HTTP/1.1\r\nHost: %s\r\n%s\r\n", c->sni, client_extra);
	end_puts(e, head);
	while (!strstr(c->reply, "hello") && c->n_reply < sizeof(c->reply) - 1) {
		r = end_read(e, c->reply + c->n_reply, sizeof(c->reply) - 1 - c->n_reply);
		if (r <= 0)
			break;
		c->n_reply += (size_t)r;
		c->reply[c->n_reply] = 0;
	}
	SSL_shutdown(e->ssl);
}

static struct flow_case flow(const char *alpn)
{
	return (struct flow_case){ .client = client_once,
				   .server = server_keeps,
				   .sni = HOST,
				   .flow_name = HOST,
				   .alpn = alpn,
				   .server_alpn = H1,
				   .server_stays = true };
}

static void rig_with_pool(struct rig *rig)
{
	struct tlsproxy_config cfg = { 0 };

	rig_up(rig, &cfg);
	rig->tp->pool.max = 4;
	n_requests = 0;
}

static void test_next_flow_takes_it(void **state)
{
	struct flow_case a = flow(NULL), b[5];
	struct rig rig;

	(void)state;
	for (int tls12 = 0; tls12 < 2; tls12++) {
		rig_with_pool(&rig);
		a = flow(H1);
		a.server_tls12 = tls12;
		run_on(&rig, &a);
		expect_reply(&a, "hello");
		assert_int_equal(rig.tp->pool.count, 1);
		for (size_t i = 0; i < ARRAY_SIZE(b); i++) {
			b[i] = flow(H1);
			run_on(&rig, &b[i]);
			expect_reply(&b[i], "hello");
			assert_string_equal(b[i].client_alpn, "http/1.1");
			assert_true(b[i].tls_ok);
			assert_int_equal(rig.tp->pool.count, 1);
			server_gone(&b[i]);
			assert_false(b[i].server_tls_up);
		}
		rig_down(&rig);
		server_gone(&a);
		assert_int_equal(a.received, 1 + ARRAY_SIZE(b));
	}
}

enum difference { NAME, ADDRESS, PORT, GENERATION, OFFER, KINDS };

/* What is not just the same gets its own. */
static void test_not_for_others(void **state)
{
	(void)state;
	for (int how = 0; how < KINDS; how++) {
		struct flow_case a = flow(H1), b = flow(how == OFFER ? NULL : H1);
		struct rig rig;

		rig_with_pool(&rig);
		run_on(&rig, &a);
		assert_int_equal(rig.tp->pool.count, 1);
		if (how == NAME)
			b.sni = b.flow_name = b.server_cert = "v2.example.com";
		if (how == ADDRESS)
			b.remote = ip4(198, 18, 0, 2);
		if (how == PORT)
			b.port = 8443;
		if (how == GENERATION) {
			assert_int_equal(tlsproxy_rejudge(rig.tp), 0);
			assert_int_equal(rig.tp->pool.count, 0);
		}
		run_on(&rig, &b);
		if (!b.server_tls_up)
			fail_msg("difference %d was not seen", how);
		expect_reply(&b, "hello");
		rig_down(&rig);
		server_gone(&a);
		server_gone(&b);
	}
}

/* Nothing is parked that is refused, a client's own, unverified, or ends. */
static void test_not_parked(void **state)
{
	static const struct {
		const char *client, *server;
		bool off, unverified;
	} t[] = {
		{ .off = true },
		{ .server = "Connection: close\r\n" },
		{ .client = "Authorization: negotiate abc\r\n" },
		{ .server = "WWW-Authenticate: NTLM\r\n" },
		{ .unverified = true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct tlsproxy_config cfg = { .no_verify = t[i].unverified };
		struct flow_case a = flow(H1);
		struct rig rig;

		rig_up(&rig, &cfg);
		rig.tp->pool.max = t[i].off ? 0 : 4;
		client_extra = t[i].client ? t[i].client : "";
		server_extra = t[i].server ? t[i].server : "";
		run_on(&rig, &a);
		expect_reply(&a, "hello");
		if (rig.tp->pool.count)
			fail_msg("case %zu is parked", i);
		rig_down(&rig);
		server_gone(&a);
	}
	client_extra = server_extra = "";
}

/* One that its server closed is not given to anybody. */
static void server_leaves(struct flow_case *c, struct end *e)
{
	char head[4096];

	c->received++;
	if (end_head(e, head, sizeof(head)))
		end_puts(e, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
	while (!c->phase)
		usleep(1000);
}

static void test_closed_by_the_server(void **state)
{
	struct flow_case a = flow(H1), b = flow(H1);
	struct rig rig;

	(void)state;
	rig_with_pool(&rig);
	a.server = server_leaves;
	run_on(&rig, &a);
	assert_int_equal(rig.tp->pool.count, 1);
	a.phase = 1;
	server_gone(&a);
	/* The loop has not seen it yet. */
	run_on(&rig, &b);
	expect_reply(&b, "hello");
	assert_true(b.server_tls_up);
	rig_down(&rig);
	server_gone(&b);
}

static void test_bounds(void **state)
{
	static const char *const hosts[] = {
		HOST,		"b.example.com", "c.example.com", "d.example.com", "e.example.com",
		"f.example.com"
	};
	struct flow_case c[ARRAY_SIZE(hosts)];
	uint64_t end;
	struct rig rig;

	(void)state;
	rig_with_pool(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		c[i] = flow(H1);
		c[i].sni = c[i].flow_name = c[i].server_cert = hosts[i];
		run_on(&rig, &c[i]);
		assert_int_equal(rig.tp->pool.count, MIN(i + 1, (size_t)4));
	}
	/* Those that are not used end by themselves. */
	end = time_mono_ns() + (TLSPROXY_POOL_S + 5) * NS_PER_S;
	while (rig.tp->pool.count && time_mono_ns() < end)
		assert_int_equal(loop_step(rig.loop, 50), 0);
	assert_int_equal(rig.tp->pool.count, 0);
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		server_gone(&c[i]);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_next_flow_takes_it),
		cmocka_unit_test(test_not_for_others),
		cmocka_unit_test(test_not_parked),
		cmocka_unit_test(test_closed_by_the_server),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, group_up, group_down);
}
