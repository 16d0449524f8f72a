/* SPDX-License-Identifier: Apache-2.0 */
/* The handshakes with upstream proxies, their URL, credentials and ways around; the PROXY header. */
#include "weir/proxy_header.h"
#include "weir/upstream.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct endpoint v4 = { { 4, { 192, 0, 2, 1 } }, 443 };
static const struct endpoint v6 = { { 6, { 0x20, 1, 0xd, 0xb8, [15] = 7 } }, 80 };
static const struct name example = { 11, "example.com" };
static const struct upstream_auth auth = { "user", "pass" };

#define SAYS(text) (const uint8_t *)(text), sizeof(text) - 1

static void expect_out(const struct upstream_shake *s, const uint8_t *p, size_t n)
{
	assert_int_equal(s->out_len, n);
	assert_memory_equal(s->out, p, n);
}

static void input(struct upstream_shake *s, const uint8_t *p, size_t n, size_t used)
{
	assert_int_equal(upstream_shake_input(s, p, n), used);
}

static void begin(struct upstream_shake *s, enum upstream_kind kind, const struct upstream_auth *a,
		  const struct endpoint *to, const struct name *name)
{
	assert_int_equal(upstream_shake_begin(s, kind, a, to, name), 0);
	assert_int_equal(s->state, UPSTREAM_MORE);
}

static void test_socks5(void **state)
{
	struct upstream_shake s;

	(void)state;
	begin(&s, UPSTREAM_SOCKS5, NULL, &v4, NULL);
	expect_out(&s, SAYS("\5\1\0"));
	input(&s, SAYS("\5\0"), 2);
	expect_out(&s, SAYS("\5\1\0\1\300\0\2\1\1\273"));
	/* The target's first bytes, glued to the answer, are not taken. */
	input(&s, SAYS("\5\0\0\1\1\2\3\4\0\5SSH-2.0"), 10);
	assert_int_equal(s.state, UPSTREAM_DONE);

	begin(&s, UPSTREAM_SOCKS5, NULL, &v6, NULL);
	input(&s, SAYS("\5\0"), 2);
	expect_out(&s, SAYS("\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7\0\120"));
	for (size_t i = 0; i < 4; i++)
		input(&s, (const uint8_t *)"\5\0\0\4" + i, 1, 1);
	input(&s, SAYS("0123456789abcdef12x"), 18);
	assert_int_equal(s.state, UPSTREAM_DONE);

	begin(&s, UPSTREAM_SOCKS5, NULL, &v4, &example);
	input(&s, SAYS("\5\0"), 2);
	expect_out(&s, SAYS("\5\1\0\3\13example.com\1\273"));
	input(&s, SAYS("\5\0\0\3\2ab\0\1z"), 9);
	assert_int_equal(s.state, UPSTREAM_DONE);
	upstream_shake_fini(&s);
}

/* Parity: n27. */
static void test_socks5_password(void **state)
{
	struct upstream_shake s;

	(void)state;
	begin(&s, UPSTREAM_SOCKS5, &auth, &v4, NULL);
	expect_out(&s, SAYS("\5\2\0\2"));
	input(&s, SAYS("\5\2"), 2);
	expect_out(&s, SAYS("\1\4user\4pass"));
	input(&s, SAYS("\1\0"), 2);
	expect_out(&s, SAYS("\5\1\0\1\300\0\2\1\1\273"));
	begin(&s, UPSTREAM_SOCKS5, &auth, &v4, NULL);
	input(&s, SAYS("\5\2"), 2);
	input(&s, SAYS("\1\1"), 2);
	assert_int_equal(s.state, UPSTREAM_FAILED);
	assert_int_equal(s.error, EACCES);
	assert_false(s.of_target);
	/* It may take us without one. */
	begin(&s, UPSTREAM_SOCKS5, &auth, &v4, NULL);
	input(&s, SAYS("\5\0"), 2);
	expect_out(&s, SAYS("\5\1\0\1\300\0\2\1\1\273"));
}

static void test_socks5_refusals(void **state)
{
	static const struct {
		uint8_t rep;
		int error;
		bool of_target;
	} reps[] = {
		{ 1, EHOSTUNREACH, true }, { 2, EACCES, true },	      { 3, ENETUNREACH, true },
		{ 4, EHOSTUNREACH, true }, { 5, ECONNREFUSED, true }, { 6, EHOSTUNREACH, true },
		{ 7, EPROTO, false },	   { 8, EAFNOSUPPORT, true }, { 9, EPROTO, false },
		{ 255, EPROTO, false },
	};
	struct upstream_shake s;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(reps); i++) {
		uint8_t answer[] = { 5, reps[i].rep, 0, 1, 0 };

		begin(&s, UPSTREAM_SOCKS5, NULL, &v4, NULL);
		input(&s, SAYS("\5\0"), 2);
		input(&s, answer, sizeof(answer), sizeof(answer));
		assert_int_equal(s.state, UPSTREAM_FAILED);
		assert_int_equal(s.error, reps[i].error);
		assert_int_equal(s.of_target, reps[i].of_target);
		assert_non_null(s.why);
	}
}

static void test_socks_garbage(void **state)
{
	static const struct {
		const char *p;
		size_t n;
	} first[] = { { "\4\0", 2 },
		      { "\5\1", 2 },
		      { "\5\377", 2 },
		      { "HTTP", 4 },
		      { "\5\2", 2 },
		      /* An answer to what was not asked yet. */
		      { "\5\0\5\0\0\1", 6 } };
	static const char *const reply[] = { "\4\0\0\1", "\5\0\0\2", "\5\0\0\0" };
	struct upstream_shake s;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
		begin(&s, UPSTREAM_SOCKS5, NULL, &v4, NULL);
		(void)upstream_shake_input(&s, (const uint8_t *)first[i].p, first[i].n);
		assert_int_equal(s.state, UPSTREAM_FAILED);
	}
	for (size_t i = 0; i < ARRAY_SIZE(reply); i++) {
		begin(&s, UPSTREAM_SOCKS5, NULL, &v4, NULL);
		input(&s, SAYS("\5\0"), 2);
		input(&s, (const uint8_t *)reply[i], 5, 5);
		assert_int_equal(s.state, UPSTREAM_FAILED);
		assert_int_equal(s.error, EPROTO);
	}
}

static void test_socks4(void **state)
{
	static const struct upstream_auth user = { "me", "" };
	struct upstream_shake s;

	(void)state;
	assert_int_equal(upstream_shake_begin(&s, UPSTREAM_SOCKS4, NULL, &v6, NULL), -EAFNOSUPPORT);
	begin(&s, UPSTREAM_SOCKS4, &user, &v4, NULL);
	expect_out(&s, SAYS("\4\1\1\273\300\0\2\1me\0"));
	input(&s, SAYS("\0\132\0\0\0\0\0\0more"), 8);
	assert_int_equal(s.state, UPSTREAM_DONE);
	begin(&s, UPSTREAM_SOCKS4, NULL, &v6, &example);
	expect_out(&s, SAYS("\4\1\0\120\0\0\0\1\0example.com\0"));
	input(&s, SAYS("\0\133\0\0\0\0\0\0"), 8);
	assert_int_equal(s.error, EHOSTUNREACH);
	begin(&s, UPSTREAM_SOCKS4, NULL, &v4, NULL);
	input(&s, SAYS("\0\135\0\0\0\0\0\0"), 8);
	assert_int_equal(s.error, EACCES);
	begin(&s, UPSTREAM_SOCKS4, NULL, &v4, NULL);
	input(&s, SAYS("\4\132\0\0\0\0\0\0"), 8);
	assert_int_equal(s.error, EPROTO);
}

static void test_http(void **state)
{
	static const char plain[] = "CONNECT 192.0.2.1:443 HTTP/1.1\r\nHost: 192.0.2.1:443\r\n\r\n";
	static const char six[] =
		"CONNECT [2001:db8::7]:80 HTTP/1.1\r\nHost: [2001:db8::7]:80\r\n\r\n";
	static const char named[] = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n"
				    "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n";
	static const char ok[] = "HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n";
	struct upstream_shake s;

	(void)state;
	begin(&s, UPSTREAM_HTTP, NULL, &v4, NULL);
	expect_out(&s, SAYS(plain));
	input(&s, SAYS("HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\nhello"),
	      sizeof(ok) - 1);
	assert_int_equal(s.state, UPSTREAM_DONE);
	begin(&s, UPSTREAM_HTTP, NULL, &v6, NULL);
	expect_out(&s, SAYS(six));
	for (size_t i = 0; i < sizeof(ok) - 1; i++)
		input(&s, (const uint8_t *)ok + i, 1, 1);
	assert_int_equal(s.state, UPSTREAM_DONE);
	begin(&s, UPSTREAM_HTTP, &auth, &v4, &example);
	expect_out(&s, SAYS(named));
	input(&s, SAYS("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 204\n\nrest"), 51);
	assert_int_equal(s.state, UPSTREAM_DONE);
	upstream_shake_fini(&s);
	for (size_t i = 0; i < sizeof(s); i++)
		assert_int_equal(((const uint8_t *)&s)[i], 0);
}

static void test_http_refusals(void **state)
{
	static const struct {
		const char *line;
		int error;
		bool of_target;
	} all[] = {
		{ "HTTP/1.1 407 Auth\r\n", EACCES, false },
		{ "HTTP/1.1 403 no\r\n", EACCES, true },
		{ "HTTP/1.1 502 Bad\r\n", EHOSTUNREACH, true },
		{ "HTTP/1.0 503\r\n", EHOSTUNREACH, true },
		{ "HTTP/1.1 504 slow\n", EHOSTUNREACH, true },
		{ "HTTP/1.1 405 no\r\n", EPROTO, false },
		{ "HTTP/1.1 301 there\r\n", EPROTO, false },
		{ "HTTP/1.1 101 Switching\r\n", EPROTO, false },
		{ "HTTP/1.1 2000 OK\r\n", EPROTO, false },
		{ "HTTP/1.1 20 OK\r\n", EPROTO, false },
		{ "HTTP/1.1  200 OK\r\n", EPROTO, false },
		{ "HTTP/2 200 OK\r\n", EPROTO, false },
		{ "http/1.1 200 OK\r\n", EPROTO, false },
		{ "SSH-2.0-x\r\n", EPROTO, false },
		{ "\r\n", EPROTO, false },
		{ "HTTP/1.1 200 OK\r\nA: b\r\r\n", EPROTO, false },
	};
	struct upstream_shake s;
	uint8_t x[512];
	size_t sent = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		begin(&s, UPSTREAM_HTTP, NULL, &v4, NULL);
		(void)upstream_shake_input(&s, (const uint8_t *)all[i].line, strlen(all[i].line));
		assert_int_equal(s.state, UPSTREAM_FAILED);
		assert_int_equal(s.error, all[i].error);
		assert_int_equal(s.of_target, all[i].of_target);
	}
	/* A head without an end. */
	begin(&s, UPSTREAM_HTTP, NULL, &v4, NULL);
	input(&s, SAYS("HTTP/1.1 200 OK\r\n"), 17);
	memset(x, 'x', sizeof(x));
	while (s.state == UPSTREAM_MORE && sent < 1 << 20)
		sent += upstream_shake_input(&s, x, sizeof(x));
	assert_int_equal(s.state, UPSTREAM_FAILED);
	assert_true(sent <= UPSTREAM_HEAD_MAX);
}

static void test_longest(void **state)
{
	struct upstream_auth most;
	struct name name = { .len = NAME_MAX_LEN };
	struct upstream_shake s;

	(void)state;
	memset(most.user, 'u', sizeof(most.user));
	memset(most.password, 'p', sizeof(most.password));
	most.user[UPSTREAM_AUTH_MAX] = most.password[UPSTREAM_AUTH_MAX] = 0;
	memset(name.s, 'n', NAME_MAX_LEN);
	name.s[NAME_MAX_LEN] = 0;
	begin(&s, UPSTREAM_HTTP, &most, &v4, &name);
	assert_true(s.out_len > 2 * NAME_MAX_LEN + 4 * UPSTREAM_AUTH_MAX / 3);
	begin(&s, UPSTREAM_SOCKS5, &most, &v4, &name);
	input(&s, SAYS("\5\2"), 2);
	assert_int_equal(s.out_len, 3 + 2 * UPSTREAM_AUTH_MAX);
	input(&s, SAYS("\1\0"), 2);
	assert_int_equal(s.out_len, 7 + NAME_MAX_LEN);
}

static void test_url(void **state)
{
	static const struct {
		const char *url, *why;
	} bad[] = {
		{ "socks5://u:secret@h:1", "a password does not stand here" },
		{ "https://h:1", "TLS to the proxy" },
		{ "ftp://h:1", "an upstream proxy is" },
		{ "h:1", "an upstream proxy is" },
		{ "socks5://h", "port is missing" },
		{ "socks5://1.2.3.4", "port is missing" },
		{ "socks5://[::1]", "port is missing" },
		{ "socks5://:1080", "" },
		{ "socks5://", "port is missing" },
		{ "socks5://h:0", "a port is" },
		{ "socks5://h:1080/x", "nothing stands behind" },
		{ "socks5://@h:1080", "a user has" },
		{ "socks5://a%20b@h:1080", "%-escapes" },
	};
	struct upstream_config c;
	const char *why;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		why = NULL;
		assert_int_equal(upstream_parse(bad[i].url, &c, &why), -EINVAL);
		assert_non_null(why);
		if (!strstr(why, bad[i].why))
			fail_msg("%s: %s", bad[i].url, why);
	}
	assert_int_equal(upstream_parse("socks5h://me@proxy.example:1080/", &c, &why), 0);
	assert_int_equal(c.kind, UPSTREAM_SOCKS5);
	assert_true(c.names);
	assert_string_equal(c.user, "me");
	assert_string_equal(c.host.s, "proxy.example");
	assert_int_equal(c.port, 1080);
	assert_int_equal(upstream_parse("http://[::1]:3128", &c, &why), 0);
	assert_int_equal(c.addr.family, 6);
	assert_int_equal(c.port, 3128);
	assert_int_equal(upstream_parse("socks4://9.9.9.9:1", &c, &why), 0);
	assert_int_equal(c.addr.b[0], 9);
	assert_int_equal(upstream_parse("socks4a://3com.example:1", &c, &why), 0);
	assert_string_equal(c.host.s, "3com.example");
}

static void test_itself(void **state)
{
	struct upstream u = { .to = { { ip4(10, 0, 0, 5), 1080 } }, .n = 1 };
	struct endpoint e;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		static const char *const all[] = { "10.0.0.5:1080", "[::ffff:10.0.0.5]:1080",
						   "[64:ff9b::10.0.0.5]:1080", "[::10.0.0.5]:1080" };

		assert_int_equal(endpoint_parse(all[i], strlen(all[i]), 0, &e, NULL), 0);
		assert_true(upstream_is(&u, &e));
		e.port = 1081;
		assert_false(upstream_is(&u, &e));
	}
	assert_int_equal(endpoint_parse("[::ffff:10.0.0.6]:1080", 22, 0, &e, NULL), 0);
	assert_false(upstream_is(&u, &e));
}

static void test_around(void **state)
{
	struct upstream_config c = { .kind = UPSTREAM_SOCKS5 };
	struct ip_addr ten = ip4(10, 1, 2, 3), mapped = { 6, { [10] = 0xff, 0xff, 10, 1, 2, 3 } };
	struct ip_addr other = ip4(192, 0, 2, 1), lo = ip4(127, 0, 0, 1);
	struct name inner;
	const char *why;

	(void)state;
	assert_int_equal(upstream_add_bypass(&c, "10.0.0.0/8", &why), 0);
	assert_int_equal(upstream_add_bypass(&c, "2001:db8::7", &why), 0);
	assert_int_equal(upstream_add_bypass(&c, ".corp.example", &why), 0);
	assert_int_equal(upstream_add_bypass(&c, "10.0.0.1/8", &why), -EINVAL);
	assert_int_equal(upstream_add_bypass(&c, "a b", &why), -EINVAL);
	assert_true(upstream_bypasses(&c, &ten));
	assert_true(upstream_bypasses(&c, &mapped));
	assert_true(upstream_bypasses(&c, &v6.addr));
	assert_true(upstream_bypasses(&c, &lo));
	assert_false(upstream_bypasses(&c, &other));
	assert_int_equal(name_parse("git.corp.example", 16, &inner, &why), 0);
	assert_true(upstream_bypasses_name(&c, &inner));
	assert_false(upstream_bypasses_name(&c, &example));
	upstream_config_fini(&c);
}

static void test_credentials(void **state)
{
	struct upstream_config c = { .kind = UPSTREAM_SOCKS5 };
	struct upstream u = { .cfg = &c };
	struct conf_error err;
	char longest[600];

	(void)state;
	assert_int_equal(upstream_set_auth(&u, "me:a:b", 6, &err), 0);
	assert_string_equal(u.auth.user, "me");
	assert_string_equal(u.auth.password, "a:b");
	memset(longest, 'x', sizeof(longest));
	u = (struct upstream){ .cfg = &c };
	assert_int_equal(upstream_set_auth(&u, "nocolon", 7, &err), -EINVAL);
	assert_int_equal(upstream_set_auth(&u, ":x", 2, &err), -EINVAL);
	assert_int_equal(upstream_set_auth(&u, "x:", 2, &err), -EINVAL);
	assert_int_equal(upstream_set_auth(&u, "", 0, &err), -EINVAL);
	assert_int_equal(upstream_set_auth(&u, "a:b\nc", 5, &err), -EINVAL);
	assert_null(strstr(err.text, "b"));
	longest[2] = ':';
	assert_int_equal(upstream_set_auth(&u, longest, sizeof(longest), &err), -EINVAL);
	assert_false(u.has_auth);
	memcpy(c.user, "url", 4);
	assert_int_equal(upstream_set_auth(&u, "pa:ss", 5, &err), 0);
	assert_string_equal(u.auth.user, "url");
	assert_string_equal(u.auth.password, "pa:ss");
}

static void test_proxy_header(void **state)
{
	static const char sig[] = "\r\n\r\n\0\r\nQUIT\n";
	static const struct endpoint to = { { 4, { 10, 0, 0, 1 } }, 8080 };
	static const struct endpoint to6 = { { 6, { [15] = 1 } }, 8080 };
	uint8_t out[PROXY_HEADER_MAX];

	(void)state;
	assert_int_equal(proxy_header_v2(&v4, &to, out), 28);
	assert_memory_equal(out, sig, 12);
	assert_memory_equal(out + 12, "\x21\x11\0\14\300\0\2\1\12\0\0\1\1\273\37\220", 16);
	assert_int_equal(proxy_header_v2(&v6, &to6, out), 52);
	assert_memory_equal(out + 12, "\x21\x21\0\44", 4);
	assert_memory_equal(out + 16, v6.addr.b, 16);
	assert_memory_equal(out + 32, to6.addr.b, 16);
	assert_memory_equal(out + 48, "\0\120\37\220", 4);
	assert_int_equal(proxy_header_v2(&v4, NULL, out), 16);
	assert_memory_equal(out + 12, "\x20\0\0\0", 4);
	assert_int_equal(proxy_header_v2(&v4, &to6, out), 16);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_socks5),
		cmocka_unit_test(test_socks5_password),
		cmocka_unit_test(test_socks5_refusals),
		cmocka_unit_test(test_socks_garbage),
		cmocka_unit_test(test_socks4),
		cmocka_unit_test(test_http),
		cmocka_unit_test(test_http_refusals),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_url),
		cmocka_unit_test(test_itself),
		cmocka_unit_test(test_around),
		cmocka_unit_test(test_credentials),
		cmocka_unit_test(test_proxy_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
