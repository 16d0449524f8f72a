/* SPDX-License-Identifier: Apache-2.0 */
/* Frames, streams and captured flows: what the packets of others say, and how they are judged. */
#include "tests/unit/policy/policy_test.h"
#include "weir/capture.h"

/* ---- frames, made by hand ---------------------------------------------------------- */

static uint8_t frame[4096];
static size_t frame_len;

static void put(const void *p, size_t n)
{
	assert_true(frame_len + n <= sizeof(frame));
	memcpy(frame + frame_len, p, n);
	frame_len += n;
}

static void put16(uint16_t v)
{
	uint8_t b[2];

	put_be16(b, v);
	put(b, 2);
}

static void put32(uint32_t v)
{
	put16((uint16_t)(v >> 16));
	put16((uint16_t)v);
}

static void ipv4(const char *src, const char *dst, uint8_t proto, size_t len, uint16_t fragment)
{
	struct ip_addr s = must_ip(src), d = must_ip(dst);
	uint8_t ttl_proto[2] = { 64, proto };

	frame_len = 0;
	put("\x45", 2); /* and TOS 0 */
	put16((uint16_t)(20 + len));
	put16(1);
	put16(fragment);
	put(ttl_proto, 2);
	put16(0);
	put(s.b, 4);
	put(d.b, 4);
}

static void udp(const char *src, uint16_t sport, const char *dst, uint16_t dport, const void *p,
		size_t len)
{
	ipv4(src, dst, 17, 8 + len, 0);
	put16(sport);
	put16(dport);
	put16((uint16_t)(8 + len));
	put16(0);
	put(p, len);
}

static void tcp(const char *src, uint16_t sport, const char *dst, uint16_t dport, uint8_t flags,
		uint32_t seq, const char *text)
{
	uint8_t offset_flags[2] = { 0x50, flags };

	ipv4(src, dst, 6, 20 + strlen(text), 0);
	put16(sport);
	put16(dport);
	put32(seq);
	put32(0);
	put(offset_flags, 2);
	put16(65535);
	put32(0);
	put(text, strlen(text));
}

static struct packet read_as(int link, const void *head, size_t head_len)
{
	uint8_t whole[5000];
	static struct packet p;
	static uint8_t kept[5000];

	memcpy(whole, head, head_len);
	memcpy(whole + head_len, frame, frame_len);
	memcpy(kept, whole, head_len + frame_len);
	packet_read(link, kept, head_len + frame_len, &p);
	return p;
}

static void test_links(void **state)
{
	static const struct {
		int link;
		const char *head;
		size_t len;
	} links[] = {
		{ PACKET_LINK_RAW, "", 0 },
		{ PACKET_LINK_IPV4, "", 0 },
		{ PACKET_LINK_NULL, "\2\0\0\0", 4 },
		{ PACKET_LINK_ETHERNET, "\0\0\0\0\0\0\0\0\0\0\0\0\x08\0", 14 },
		{ PACKET_LINK_ETHERNET, "\0\0\0\0\0\0\0\0\0\0\0\0\x81\0\0\7\x08\0", 18 },
		{ PACKET_LINK_ETHERNET, "\0\0\0\0\0\0\0\0\0\0\0\0\x88\xa8\0\7\x81\0\0\7\x08\0", 22 },
		{ PACKET_LINK_SLL, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\0", 16 },
		{ PACKET_LINK_SLL2, "\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20 },
	};

	(void)state;
	tcp("10.0.0.1", 1234, "93.184.216.34", 443, PACKET_SYN, 7, "abc");
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		struct packet p = read_as(links[i].link, links[i].head, links[i].len);

		if (p.kind != PACKET_TCP || p.src.port != 1234 || p.dst.port != 443 || p.seq != 7 ||
		    p.len != 3 || memcmp(p.payload, "abc", 3) != 0 || p.cut)
			fail_msg("link %zu: kind %d", i, p.kind);
		assert_true(packet_link_known(links[i].link));
	}
	assert_false(packet_link_known(105));
	/* More tags than anybody stacks. */
	assert_int_equal(
		read_as(PACKET_LINK_ETHERNET,
			"\0\0\0\0\0\0\0\0\0\0\0\0\x81\0\0\7\x81\0\0\7\x81\0\0\7\x81\0\0\7\x81"
			"\0\0\7\x08\0",
			34)
			.kind,
		PACKET_UNREADABLE);
	assert_int_equal(read_as(PACKET_LINK_ETHERNET, "\0\0\0\0\0\0\0\0\0\0\0\0\x08\x06", 14).kind,
			 PACKET_CONTROL);
}

static void test_every_cut(void **state)
{
	struct packet p;

	(void)state;
	tcp("10.0.0.1", 1234, "93.184.216.34", 443, PACKET_SYN, 7, "abcdef");
	for (size_t n = 0; n < frame_len; n++) {
		uint8_t *exact = malloc(n ? n : 1);

		memcpy(exact, frame, n);
		packet_read(PACKET_LINK_RAW, exact, n, &p);
		if (n < 40 ? p.kind != PACKET_UNREADABLE : !p.cut || p.len != n - 40)
			fail_msg("%zu bytes: kind %d, cut %d, %zu", n, p.kind, p.cut, p.len);
		free(exact);
	}
}

static void test_fragments(void **state)
{
	struct packet p;

	(void)state;
	ipv4("10.0.0.1", "1.2.3.4", 17, 13, 0x2000);
	put16(1);
	put16(9);
	put16(8 + 100); /* the rest is in other fragments */
	put16(0);
	put("first", 5);
	p = read_as(PACKET_LINK_RAW, "", 0);
	assert_int_equal(p.kind, PACKET_UDP);
	assert_true(p.cut);
	ipv4("10.0.0.1", "1.2.3.4", 17, 4, 2);
	put("rest", 4);
	p = read_as(PACKET_LINK_RAW, "", 0);
	assert_int_equal(p.kind, PACKET_FRAGMENT);
}

/* ---- streams ------------------------------------------------------------------------- */

static void stream_is(const struct stream *s, const char *text)
{
	if (s->data.len != strlen(text) ||
	    (s->data.len && memcmp(buf_at(&s->data), text, s->data.len)))
		fail_msg("\"%.*s\", not \"%s\"", (int)s->data.len, (char *)buf_at(&s->data), text);
}

static void add(struct stream *s, uint32_t seq, const char *text)
{
	stream_add(s, seq, (const uint8_t *)text, strlen(text));
}

static void test_stream(void **state)
{
	struct stream_budget b = { 1000 };
	struct stream s;

	(void)state;
	stream_init(&s, &b);
	stream_start(&s, UINT32_MAX - 1);
	add(&s, 3, "fg");
	add(&s, 1, "de");
	stream_is(&s, "");
	add(&s, UINT32_MAX - 1, "abc"); /* over the end of the numbers */
	stream_is(&s, "abcdefg");
	add(&s, 1, "XY"); /* again, and other: the first stays */
	add(&s, 4, "ghi");
	stream_is(&s, "abcdefghi");
	stream_consume(&s, 8);
	stream_is(&s, "i");
	assert_int_equal(b.left, 999);
	stream_fini(&s);
	assert_int_equal(b.left, 1000);
}

static void test_stream_bounds(void **state)
{
	struct stream_budget b = { 8 };
	uint8_t big[STREAM_MAX + 1] = { 0 };
	struct stream s;

	(void)state;
	stream_init(&s, &b);
	add(&s, 0, "12345");
	add(&s, 5, "6789");
	stream_is(&s, "12345");
	assert_true(s.lost);
	stream_fini(&s);
	assert_int_equal(b.left, 8);
	b.left = sizeof(big) * 2;
	stream_init(&s, &b);
	stream_add(&s, 0, big, sizeof(big));
	assert_true(s.lost);
	stream_fini(&s);
	stream_init(&s, &b);
	stream_start(&s, 0);
	for (uint32_t i = 0; i < STREAM_HELD + 1; i++)
		add(&s, 10 + 2 * i, "x");
	assert_true(s.lost);
	stream_fini(&s);
	assert_int_equal(b.left, sizeof(big) * 2);
}

/* ---- flows --------------------------------------------------------------------------- */

static struct capture c;
static struct policy *policy;

static void begin(const char *rules, const char *guest)
{
	char text[2048];
	struct ip_prefix g;

	snprintf(text, sizeof(text),
		 "{\"default_egress\":\"deny\",\"default_ingress\":\"deny\",\"rules\":[%s]}", rules);
	policy = must_load(text);
	if (guest)
		assert_int_equal(ip_prefix_parse(guest, strlen(guest), &g, NULL), 0);
	assert_int_equal(capture_init(&c, policy, guest ? &g : NULL), 0);
}

static void see(void)
{
	capture_frame(&c, PACKET_LINK_RAW, frame, frame_len);
}

/* Ends the capture; the groups are "NOW N UNIT WHAT", each expected once, and there are no others. */
static void expect(const char *const *want, size_t n)
{
	json_t *o, *g;
	size_t i;

	capture_end(&c);
	assert_int_equal(c.flows.count, 0);
	assert_int_equal(c.budget.left, CAPTURE_STREAM_BYTES);
	o = replay_report_json(&c.report);
	json_array_foreach(json_object_get(o, "groups"), i, g)
	{
		char line[400];
		size_t k;

		snprintf(line, sizeof(line), "%s %lld %s %s",
			 json_string_value(json_object_get(g, "now")),
			 json_integer_value(json_object_get(g, "count")),
			 json_string_value(json_object_get(g, "unit")),
			 json_string_value(json_object_get(g, "what")));
		for (k = 0; k < n && strcmp(want[k], line) != 0; k++)
			;
		if (k == n)
			fail_msg("unexpected: %s", line);
	}
	if (i != n)
		fail_msg("%zu groups instead of %zu", i, n);
	json_decref(o);
	capture_fini(&c);
	policy_free(policy);
}

#define EXPECT(...)                                                                                \
	do {                                                                                       \
		static const char *const want[] = { __VA_ARGS__ };                                 \
		expect(want, ARRAY_SIZE(want));                                                    \
	} while (0)

static const char query_bytes[] = "\0\1\1\0\0\1\0\0\0\0\0\0\3api\7example\3com\0\0\1\0\1";
static const char answer_bytes[] = "\0\1\x81\x80\0\1\0\1\0\0\0\0\3api\7example\3com\0\0\1\0\1"
				   "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x5d\xb8\xd8\x0a";

static void lookup(void)
{
	udp("10.0.0.1", 5000, "10.0.0.53", 53, query_bytes, sizeof(query_bytes) - 1);
	see();
	udp("10.0.0.53", 53, "10.0.0.1", 5000, answer_bytes, sizeof(answer_bytes) - 1);
	see();
}

static void connect_and_say(const char *dst, uint16_t port, const char *text)
{
	tcp("10.0.0.1", 4000, dst, port, PACKET_SYN, 100, "");
	see();
	tcp(dst, port, "10.0.0.1", 4000, PACKET_SYN | PACKET_ACK, 900, "");
	see();
	for (size_t i = 0; text[i]; i++) {
		tcp("10.0.0.1", 4000, dst, port, PACKET_ACK, 101 + (uint32_t)i,
		    (char[]){ text[i], 0 });
		see();
	}
}

#define BY_NAME "{\"action\":\"allow\",\"destination\":\"api.example.com\",\"ports\":[80]}"
#define BY_PATH                                                                                    \
	"{\"action\":\"allow\",\"destination\":\"api.example.com\",\"http\":{\"methods\":"         \
	"[\"GET\"],\"paths\":[\"/v1/**\"]}}"
#define GET(path) "GET " path " HTTP/1.1\r\nHost: api.example.com\r\n\r\n"

static void test_names_prove_flows(void **state)
{
	(void)state;
	begin(BY_NAME, NULL);
	lookup();
	connect_and_say("93.184.216.10", 80, GET("/"));
	EXPECT("allow 1 query api.example.com", "allow 1 flow tcp api.example.com:80",
	       "allow 1 request GET api.example.com:80/");
	/* The address was never given out for the name that the client claims. */
	begin(BY_NAME, NULL);
	connect_and_say("93.184.216.10", 80, GET("/"));
	EXPECT("deny 1 flow tcp 93.184.216.10:80 that shows api.example.com");
}

/* The gateway's own answers say which addresses a run from a pool had. */
static void test_gateway_of_a_pool(void **state)
{
	static const char host[] = "{\"action\":\"allow\",\"destination_kind\":\"group\","
				   "\"destination\":\"host\"}";
	static const uint8_t arp[] = { 2,  0,  0, 0, 0, 9, 2, 0x77, 0x65, 0x69, 0x72, 1,    8,	  6,
				       0,  1,  8, 0, 6, 4, 0, 2,    2,	  0x77, 0x65, 0x69, 0x72, 1,
				       10, 77, 0, 1, 2, 0, 0, 0,    0,	  9,	10,   77,   0,	  2 };
	uint8_t other[sizeof(arp)];

	(void)state;
	begin(host, NULL);
	/* Somebody else's word, and one that is cut, teach nothing. */
	memcpy(other, arp, sizeof(arp));
	other[11] = 7;
	capture_frame(&c, PACKET_LINK_ETHERNET, other, sizeof(other));
	for (size_t n = 0; n < sizeof(arp); n++)
		capture_frame(&c, PACKET_LINK_ETHERNET, arp, n);
	capture_frame(&c, PACKET_LINK_RAW, arp, sizeof(arp));
	assert_true(ip_equal(&c.net.gateway4, &sandbox_net_default.gateway4));
	capture_frame(&c, PACKET_LINK_ETHERNET, arp, sizeof(arp));
	udp("10.77.0.2", 4000, "10.77.0.1", 9999, "x", 1);
	see();
	udp("10.77.0.2", 4000, "192.0.0.1", 9999, "x", 1);
	see();
	EXPECT("allow 1 flow udp 10.77.0.1:9999", "deny 1 flow udp 192.0.0.1:9999");
}

static void test_answers_of_denied_queries_prove_nothing(void **state)
{
	(void)state;
	begin("{\"action\":\"deny\",\"destination\":\"api.example.com\"}," BY_NAME, NULL);
	lookup();
	connect_and_say("93.184.216.10", 80, GET("/"));
	EXPECT("deny 1 query api.example.com",
	       "deny 1 flow tcp 93.184.216.10:80 that shows api.example.com");
}

static void test_requests(void **state)
{
	(void)state;
	begin(BY_PATH, NULL);
	lookup();
	connect_and_say("93.184.216.10", 80,
			GET("/v1/a") GET("/v2") GET("/v1/%2e%2e/v2") GET("/v1//a"));
	EXPECT("allow 1 query api.example.com", "allow 1 flow tcp api.example.com:80",
	       "allow 1 request GET api.example.com:80/v1/a",
	       "deny 1 request GET api.example.com:80/v2",
	       "deny 1 request GET api.example.com:80/v1/%2e%2e/v2",
	       "deny 1 request GET api.example.com:80/v1//a");
}

static void test_direction(void **state)
{
	static const char rules[] =
		"{\"action\":\"allow\",\"direction\":\"ingress\",\"destination\":\"203.0.113.9\","
		"\"ports\":[8080]}";

	(void)state;
	begin(rules, "10.0.0.0/24");
	tcp("203.0.113.9", 999, "10.0.0.1", 8080, PACKET_SYN, 1, "");
	see();
	tcp("203.0.113.9", 998, "10.0.0.1", 22, PACKET_SYN, 1, "");
	see();
	tcp("203.0.113.9", 997, "203.0.113.7", 22, PACKET_SYN, 1, "");
	see();
	/* The answer was captured first: who sent the SYN began. */
	tcp("203.0.113.5", 25, "10.0.0.1", 996, PACKET_SYN | PACKET_ACK, 1, "");
	see();
	assert_int_equal(json_integer_value(json_object_get(c.report.apart,
							    "flow: between others than the guest")),
			 1);
	EXPECT("allow 1 flow ingress tcp port 8080 from 203.0.113.9",
	       "deny 1 flow ingress tcp port 22 from 203.0.113.9", "deny 1 flow tcp 203.0.113.5:25");
}

static void test_what_is_not_there(void **state)
{
	(void)state;
	begin(BY_PATH, NULL);
	lookup();
	tcp("10.0.0.1", 4000, "93.184.216.10", 80, PACKET_ACK, 5, "later");
	see();
	tcp("10.0.0.1", 4001, "93.184.216.10", 80, PACKET_SYN, 5, "");
	see();
	tcp("10.0.0.1", 4002, "93.184.216.10", 80, PACKET_ACK | PACKET_FIN, 5, "");
	see();
	udp("10.0.0.1", 68, "255.255.255.255", 67, "x", 1);
	see();
	udp("10.0.0.1", 5353, "224.0.0.251", 5353, "x", 1);
	see();
	EXPECT("allow 1 query api.example.com", "depends 1 flow tcp 93.184.216.10:80",
	       "depends 1 flow tcp 93.184.216.10:80", "deny 1 flow udp 224.0.0.251:5353");
}

/* As many flows as there are ports, several times: memory stays where it is. */
static void test_flood(void **state)
{
	(void)state;
	begin("{\"action\":\"allow\",\"destination\":\"public\"}", NULL);
	for (unsigned i = 0; i < CAPTURE_FLOWS_MAX + 5000; i++) {
		char src[32];

		snprintf(src, sizeof(src), "10.%u.%u.1", 1 + i / 50000, i % 250);
		tcp(src, (uint16_t)(1 + i % 60000), "93.184.216.10", 80, PACKET_SYN, i, "");
		see();
	}
	assert_true(c.pool.used <= CAPTURE_FLOWS_MAX);
	capture_end(&c);
	assert_true(c.report.judged >= CAPTURE_FLOWS_MAX);
	assert_int_equal(c.report.judged, c.report.now[REPLAY_ALLOW]);
	capture_fini(&c);
	policy_free(policy);
}

static void test_answers(void **state)
{
	struct dns_peek m;

	(void)state;
	assert_true(dns_peek((const uint8_t *)answer_bytes, sizeof(answer_bytes) - 1, &m));
	assert_true(m.response && m.has_name);
	assert_string_equal(m.name.s, "api.example.com");
	assert_int_equal(m.n_addrs, 1);
	for (size_t n = 0; n < sizeof(answer_bytes) - 1; n++) {
		uint8_t *exact = malloc(n ? n : 1);

		memcpy(exact, answer_bytes, n);
		if (dns_peek(exact, n, &m) && m.n_addrs)
			fail_msg("an address from %zu bytes", n);
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_stream_bounds),
		cmocka_unit_test(test_names_prove_flows),
		cmocka_unit_test(test_answers_of_denied_queries_prove_nothing),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_direction),
		cmocka_unit_test(test_what_is_not_there),
		cmocka_unit_test(test_gateway_of_a_pool),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
