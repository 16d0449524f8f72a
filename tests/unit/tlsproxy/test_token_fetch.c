/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token fetched from an endpoint that OpenSSL's own server plays: what it is asked,
 * whom the proxy believes, and how each failure is told.
 */
#include "tests/unit/tlsproxy/session_rig.h"

#include "tlsproxy/token.h"

struct told {
	bool done, got;
	char access[64], why[200];
};

static void on_fetched(void *ctx, const struct tlsproxy_token *t, const char *why)
{
	struct told *told = ctx;

	assert_false(told->done);
	told->done = true;
	told->got = t != NULL;
	snprintf(told->access, sizeof(told->access), "%.60s", t ? t->access : "");
	snprintf(told->why, sizeof(told->why), "%.190s", why);
}

static char asked[4096];

#define REPLY "{\"access_token\":\"2YotnFZFEjr1zCsicMWpAA\",\"expires_in\":60}"

static void answer(struct flow_case *c, struct end *e)
{
	(void)c;
	end_head(e, asked, sizeof(asked));
	end_puts(e, "HTTP/1.1 200 OK\r\nContent-Length: 57\r\n\r\n" REPLY);
	SSL_shutdown(e->ssl);
}

static void until_it_closes(struct flow_case *c, struct end *e)
{
	(void)c;
	end_head(e, asked, sizeof(asked));
	end_puts(e, "HTTP/1.1 200 OK\r\n\r\n" REPLY);
	SSL_shutdown(e->ssl);
}

/* Without the end that TLS tells: somebody on the way may have cut it. */
static void cut(struct flow_case *c, struct end *e)
{
	(void)c;
	end_head(e, asked, sizeof(asked));
	end_puts(e, "HTTP/1.1 200 OK\r\n\r\n" REPLY);
}

static void refuse(struct flow_case *c, struct end *e)
{
	(void)c;
	end_head(e, asked, sizeof(asked));
	end_puts(e, "HTTP/1.1 400 No\r\nContent-Length: 25\r\n\r\n{\"error\":\"invalid_grant\"}\n");
	SSL_shutdown(e->ssl);
}

static int fetch(struct rig *rig, struct flow_case *c, struct told *told)
{
	const struct tlsproxy_token_request q = { .host = HOST,
						  .path = "/token",
						  .port = 443,
						  .client_id = "id",
						  .secret = "secret",
						  .secret_len = 6 };
	struct thread_arg server = { .c = c };
	uint64_t end = time_mono_ns() + 60 * NS_PER_S;
	struct tlsproxy_fetch *f;
	pthread_t st;
	int u[2], r;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, u), 0);
	assert_int_equal(fd_set_nonblock(u[0], true), 0);
	server.end.fd = u[1];
	server.end.ctx = server_ctx(c);
	now_running = c;
	c->threads_left = 1;
	assert_int_equal(pthread_create(&st, NULL, server_thread, &server), 0);
	r = tlsproxy_fetch_token(rig->tp, &q, u[0], on_fetched, told, &f);
	while (r == 0 && !told->done && time_mono_ns() < end)
		assert_int_equal(loop_step(rig->loop, 20), 0);
	pthread_join(st, NULL);
	SSL_CTX_free(server.end.ctx);
	return r;
}

static void check(struct flow_case *c, const char *why)
{
	struct tlsproxy_config cfg = { 0 };
	struct told told = { 0 };
	struct rig rig;

	rig_up(&rig, &cfg);
	asked[0] = 0;
	assert_int_equal(fetch(&rig, c, &told), 0);
	assert_true(told.done);
	if (why ? told.got || !strstr(told.why, why) : !told.got)
		fail_msg("got %d \"%s\", expected \"%s\"", told.got, told.why, why ? why : "a token");
	if (!why)
		assert_string_equal(told.access, "2YotnFZFEjr1zCsicMWpAA");
	rig_down(&rig);
}

static void a_token_comes(void **state)
{
	struct flow_case c = { .server = answer, .server_alpn = "\x08http/1.1" };
	struct flow_case old = { .server = until_it_closes, .server_tls12 = true };

	(void)state;
	check(&c, NULL);
	assert_non_null(strstr(asked, "POST /token HTTP/1.1\r\nHost: api.example.com\r\n"));
	assert_non_null(strstr(asked, "Authorization: Basic aWQ6c2VjcmV0\r\n"));
	check(&old, NULL);
}

static void failures_are_told(void **state)
{
	struct flow_case c_refuse = { .server = refuse }, c_cut = { .server = cut };
	struct flow_case untrusted = { .server = answer, .server_untrusted = true };
	struct flow_case other = { .server = answer, .server_cert = "other.example.com" };
	struct flow_case plain = { .server_no_tls = true };

	(void)state;
	check(&c_refuse, "answered 400 invalid_grant");
	check(&c_cut, "cut");
	check(&untrusted, "certificate");
	check(&other, "certificate");
	check(&plain, "the token endpoint");
	/* Nothing was said to whom is not believed. */
	assert_string_equal(asked, "");
}

static void an_unverified_endpoint_is_not_asked(void **state)
{
	struct tlsproxy_config cfg = { .no_verify = true };
	struct flow_case c = { .server = answer };
	struct told told = { 0 };
	struct rig rig;

	(void)state;
	rig_up(&rig, &cfg);
	assert_int_equal(fetch(&rig, &c, &told), -EPERM);
	assert_false(told.done);
	rig_down(&rig);
}

static void cancelled(void **state)
{
	const struct tlsproxy_token_request q = { .host = HOST, .path = "/t", .port = 443 };
	struct tlsproxy_config cfg = { 0 };
	struct tlsproxy_fetch *f;
	struct told told = { 0 };
	struct rig rig;
	int u[2];

	(void)state;
	rig_up(&rig, &cfg);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, u), 0);
	assert_int_equal(tlsproxy_fetch_token(rig.tp, &q, u[0], on_fetched, &told, &f), 0);
	close(u[1]);
	tlsproxy_fetch_cancel(f);
	assert_int_equal(loop_step(rig.loop, 0), 0);
	assert_false(told.done);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_comes),
		cmocka_unit_test(failures_are_told),
		cmocka_unit_test(an_unverified_endpoint_is_not_asked),
		cmocka_unit_test(cancelled),
	};

	return cmocka_run_group_tests(tests, group_up, group_down);
}
