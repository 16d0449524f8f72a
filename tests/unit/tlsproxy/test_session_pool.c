/* SPDX-License-Identifier: Apache-2.0 */
/* Upstream connections that outlive a flow: which are kept, for whom, and for how long. */
#include "tests/unit/tlsproxy/session_rig.h"

#define H1 "\x08http/1.1"

static atomic_int n_requests, n_asked_to_close;
static const char *server_extra = "", *server_more = "";

/* Any number of requests, each answered, until the connection ends. */
static void server_keeps(struct flow_case *c, struct end *e)
{
	char head[4096], reply[512];

	while (end_head(e, head, sizeof(head))) {
		c->received++;
		n_requests++;
		n_asked_to_close += strstr(head, "Connection: close") != NULL;
		snprintf(reply, sizeof(reply),
			 "HTTP/1.1 200 OK\r\n%sContent-Length: 5\r\n\r\nhello%s", server_extra,
			 server_more);
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
		const char *client, *server, *more;
		bool off, unverified;
	} t[] = {
		{ .off = true },
		{ .server = "Connection: close\r\n" },
		{ .client = "Authorization: negotiate abc\r\n" },
		{ .server = "WWW-Authenticate: NTLM\r\n" },
		{ .unverified = true },
		/* What nobody asked for would be the next flow's. */
		{ .more = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" },
		{ .client = "Connection: close\r\n",
		  .more = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" },
		{ .client = "Connection: close\r\n", .server = "Connection: close\r\n" },
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
		server_more = t[i].more ? t[i].more : "";
		run_on(&rig, &a);
		expect_reply(&a, "hello");
		if (rig.tp->pool.count)
			fail_msg("case %zu is parked", i);
		rig_down(&rig);
		server_gone(&a);
	}
	client_extra = server_extra = server_more = "";
}

/* A guest that will have no other request has its connection ended, not the upstream's. */
static void test_guest_closes(void **state)
{
	struct flow_case a = flow(H1), b = flow(H1);
	struct rig rig;

	(void)state;
	rig_with_pool(&rig);
	n_asked_to_close = 0;
	client_extra = "Connection: close\r\n";
	run_on(&rig, &a);
	expect_reply(&a, "Connection: close");
	assert_int_equal(rig.tp->pool.count, 1);
	run_on(&rig, &b);
	expect_reply(&b, "hello");
	assert_false(b.server_tls_up);
	assert_int_equal(n_requests, 2);
	assert_int_equal(n_asked_to_close, 0);
	client_extra = "";
	rig_down(&rig);
	server_gone(&a);
	server_gone(&b);
}

/* ---- flows that nothing was dialled for ---------------------------------------------------- */

static int n_dials, n_told;
static bool told[8];

static void on_parked(void *ctx, const struct name *host, const struct endpoint *to, bool any)
{
	(void)ctx;
	assert_string_equal(host->s, HOST);
	assert_int_equal(to->port, 443);
	assert_true(n_told < (int)ARRAY_SIZE(told));
	told[n_told++] = any;
}

static void on_dial(void *ctx, uint64_t id)
{
	(void)ctx;
	assert_int_equal(id, 7);
	n_dials++;
}

static void rig_undialled(struct rig *rig)
{
	rig_with_pool(rig);
	rig->tp->ops.dial = on_dial;
	rig->tp->pool.tell = on_parked;
	n_dials = n_told = 0;
}

static void test_undialled_takes_parked(void **state)
{
	struct flow_case a = flow(H1), b = flow(H1);
	struct rig rig;

	(void)state;
	rig_undialled(&rig);
	run_on(&rig, &a);
	assert_int_equal(n_told, 1);
	assert_true(told[0]);
	b.undialled = true;
	run_on(&rig, &b);
	expect_reply(&b, "hello");
	assert_true(b.tls_ok);
	assert_int_equal(n_dials, 0);
	close(b.undialled_fd);
	server_gone(&b);
	/* Taken, and back. */
	assert_int_equal(n_told, 3);
	assert_false(told[1]);
	assert_true(told[2]);
	/* Another policy: nothing is left, and that is said. */
	assert_int_equal(tlsproxy_rejudge(rig.tp), 0);
	assert_int_equal(n_told, 4);
	assert_false(told[3]);
	rig_down(&rig);
	server_gone(&a);
}

static struct endpoint dialled_to;

static void give_it(struct rig *rig, struct flow_case *c)
{
	if (!n_dials || c->phase)
		return;
	c->phase = 1;
	/* Another's answer is not its own. */
	tlsproxy_flow_dialled(rig->tp, 8, -1, NULL, "not asked for");
	tlsproxy_flow_dialled(rig->tp, 7, c->undialled_fd, &dialled_to, NULL);
}

static void give_none(struct rig *rig, struct flow_case *c)
{
	if (!n_dials || c->phase)
		return;
	c->phase = 1;
	close(c->undialled_fd);
	tlsproxy_flow_dialled(rig->tp, 7, -1, NULL, "Connection refused");
}

static void test_undialled_asks(void **state)
{
	struct flow_case a = flow(H1), b = flow(H1);
	struct rig rig;

	(void)state;
	rig_undialled(&rig);
	dialled_to = (struct endpoint){ ip4(198, 18, 0, 9), 443 };
	a.undialled = true;
	a.tick = give_it;
	run_on(&rig, &a);
	expect_reply(&a, "hello");
	assert_true(a.server_tls_up);
	assert_int_equal(n_dials, 1);
	assert_int_equal(rig.tp->pool.count, 1);
	/* Kept for where it went, not for where it was to go. */
	n_dials = 0;
	b.undialled = true;
	b.tick = give_none;
	run_on(&rig, &b);
	expect_reply(&b, " 502 ");
	expect_reply(&b, "Connection refused");
	assert_int_equal(n_dials, 1);
	assert_false(b.tls_ok);
	rig_down(&rig);
	server_gone(&a);
	server_gone(&b);
}

static void client_leaves(struct flow_case *c, struct end *e)
{
	(void)c;
	(void)e;
}

static void leave_it(struct rig *rig, struct flow_case *c)
{
	if (!n_dials || c->phase)
		return;
	c->phase = 1;
	/* As a client that gives up: its end of the flow is gone. */
	shutdown(c->client_fd, SHUT_RDWR);
	(void)rig;
}

/* It comes too late: nobody waits for it any more. */
static void test_undialled_left(void **state)
{
	struct flow_case a = flow(H1);
	struct rig rig;

	(void)state;
	rig_undialled(&rig);
	a.undialled = true;
	a.client = client_leaves;
	a.tick = leave_it;
	run_on(&rig, &a);
	assert_int_equal(n_dials, 1);
	assert_false(a.tls_ok);
	tlsproxy_flow_dialled(rig.tp, 7, a.undialled_fd, &dialled_to, NULL);
	server_gone(&a);
	rig_down(&rig);
}

/* What cannot be served so is not begun. */
static void test_undialled_must_be_read(void **state)
{
	struct tlsproxy_flow f = { .id = 7, .tls = true };
	struct rig rig;
	int g[2];

	(void)state;
	rig_undialled(&rig);
	for (int how = 0; how < 3; how++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, g), 0);
		f.tls = how != 0;
		f.terminate = how == 1;
		if (how == 2)
			rig.tp->ops.dial = NULL;
		assert_int_equal(tlsproxy_flow_start(rig.tp, &f, g[0], -1), -EINVAL);
		close(g[1]);
	}
	rig_down(&rig);
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
		cmocka_unit_test(test_guest_closes),
		cmocka_unit_test(test_undialled_takes_parked),
		cmocka_unit_test(test_undialled_asks),
		cmocka_unit_test(test_undialled_left),
		cmocka_unit_test(test_undialled_must_be_read),
		cmocka_unit_test(test_closed_by_the_server),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, group_up, group_down);
}
