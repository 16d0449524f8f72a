/* SPDX-License-Identifier: Apache-2.0 */
/* The codec: names, pointers, hostile messages, replies at their limits. */
#include "dns/dns_int.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static struct name name(const char *s)
{
	struct name n;

	assert_int_equal(name_parse(s, strlen(s), &n, NULL), 0);
	return n;
}

/* Every read of a name at `at` in these bytes, copied to the heap for the sanitizer. */
static bool read_name(const void *bytes, size_t len, size_t at, bool pointers, struct dns_wname *ret)
{
	uint8_t *copy = malloc(len);
	struct dns_msg m = { .p = copy, .len = len, .at = at };
	bool r;

	memcpy(copy, bytes, len);
	r = dns_name_read(&m, pointers, ret);
	free(copy);
	return r;
}

#define HEAD "\0\0\0\0\0\0\0\0\0\0\0\0"

static void test_names(void **state)
{
	static const struct {
		const char *bytes;
		size_t len, at;
		bool pointers, ok;
	} t[] = {
#define ROW(s, at, pointers, ok) { HEAD s, sizeof(HEAD s) - 1, 12 + (at), pointers, ok }
		ROW("\1a\0", 0, true, true),
		ROW("\0", 0, true, true),
		ROW("", 0, true, false),		     /* nothing there */
		ROW("\1", 0, true, false),		     /* label cut */
		ROW("\1a", 0, true, false),		     /* no root */
		ROW("\77a", 0, true, false),		     /* label longer than the rest */
		ROW("\1a\0\xc0\x0c", 3, true, true),	     /* pointer */
		ROW("\1a\0\1b\xc0\x0c", 3, true, true),	     /* label, then pointer */
		ROW("\1a\0\xc0\x0c", 3, false, false),	     /* pointer where none may be */
		ROW("\1a\0\xc0", 3, true, false),	     /* half a pointer */
		ROW("\xc0\x0c", 0, true, false),	     /* to itself */
		ROW("\xc0\x0e\1a\0", 0, true, false),	     /* forwards */
		ROW("\1a\xc0\x0c", 0, true, false),	     /* into its own first label: a loop */
		ROW("\xc0\x00", 0, true, false),	     /* into the header */
		ROW("\1a\0\xc0\x0c\xc0\x0f", 5, true, true), /* pointer to pointer */
		ROW("\x80zzz\0", 0, true, false),	     /* label type 10 */
		ROW("\x41zzz\0", 0, true, false),	     /* extended label type */
		ROW("\1a\0\xff\xff", 3, true, false),	     /* beyond the message */
#undef ROW
	};
	struct dns_wname w;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		if (read_name(t[i].bytes, t[i].len, t[i].at, t[i].pointers, &w) != t[i].ok)
			fail_msg("row %zu: expected %d", i, t[i].ok);
}

/* 255 bytes are a name, 256 are not; 32 pointers are followed, 33 are not. */
static void test_name_bounds(void **state)
{
	uint8_t b[600] = { 0 };
	struct dns_wname w;
	size_t at = 12;

	(void)state;
	for (int i = 0; i < 127; i++) {
		b[at++] = 1;
		b[at++] = 'A';
	}
	assert_true(read_name(b, at + 1, 12, true, &w));
	assert_int_equal(w.len, 255);
	assert_int_equal(w.b[1], 'a');
	/* One more label in front. */
	b[at + 1] = 1;
	b[at + 2] = 'a';
	put_be16(b + at + 3, 0xc00c);
	assert_false(read_name(b, at + 5, at + 1, true, &w));

	memset(b, 0, sizeof(b));
	at = 13; /* the root at 12 */
	for (unsigned i = 0; i < 40; i++, at += 2)
		put_be16(b + at, (uint16_t)(0xc000 | (i ? at - 2 : 12)));
	assert_true(read_name(b, sizeof(b), 13 + 2 * (DNS_MAX_POINTERS - 1), true, &w));
	assert_false(read_name(b, sizeof(b), 13 + 2 * DNS_MAX_POINTERS, true, &w));
}

static void test_convert(void **state)
{
	static const char *const good[] = { "a", "a.b", "_dmarc.example.com",
					    "xn--bcher-kva.example" };
	static const struct {
		const char *wire;
		size_t len;
	} bad[] = {
#define B(s) { s, sizeof(s) - 1 }
		B("\0"),
		B("\3a.b\0"),
		B("\3a b\0"),
		B("\2a\0\0"),
		B("\1*\1a\0"),
		B("\2\xc3\xbc\0"),
		B("\1a\1"
		  "1\0"),
		B("\2-a\0"),
		B("\1@\0"),
		B("\1%\0"),
#undef B
	};
	struct dns_wname w;
	struct name n;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct name from = name(good[i]);

		dns_wname_from(&from, &w);
		assert_int_equal(dns_wname_to(&w, &n), 0);
		assert_string_equal(n.s, good[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		w = (struct dns_wname){ .len = (uint8_t)bad[i].len };
		memcpy(w.b, bad[i].wire, bad[i].len);
		if (dns_wname_to(&w, &n) == 0)
			fail_msg("bad name %zu was read as %s", i, n.s);
	}
}

static void test_in_zone(void **state)
{
	static const struct {
		const char *n, *zone;
		bool in;
	} t[] = {
		{ "example.com", "example.com", true },
		{ "www.example.com", "example.com", true },
		{ "notexample.com", "example.com", false },
		{ "com", "example.com", false },
		{ "example.com.evil", "example.com", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct name n = name(t[i].n), z = name(t[i].zone);
		struct dns_wname wn, wz, root = { .len = 1 };

		dns_wname_from(&n, &wn);
		dns_wname_from(&z, &wz);
		if (dns_wname_in_zone(&wn, &wz) != t[i].in)
			fail_msg("%s in %s", t[i].n, t[i].zone);
		assert_true(dns_wname_in_zone(&wn, &root));
	}
}

static void test_arpa(void **state)
{
	static const char *const bad[] = {
		"0.18.198.in-addr.arpa",
		"5.1.0.18.198.in-addr.arpa",
		"256.0.18.198.in-addr.arpa",
		"01.0.18.198.in-addr.arpa",
		"a.0.18.198.in-addr.arpa",
		"in-addr.arpa",
		"1.0.18.198.in-addr.arpa.b",
		"x1.0.18.198xin-addr.arpa",
		"1.ip6.arpa",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.7.d.g.ip6.arpa",
		"10.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.7.d.f.ip6.arpa",
	};
	struct ip_addr a;
	struct name n = name("4.3.2.1.in-addr.arpa");
	char s[IP_STRLEN];

	(void)state;
	assert_true(dns_arpa_addr(&n, &a));
	assert_string_equal(ip_format(&a, s), "1.2.3.4");
	n = name("b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa");
	assert_true(dns_arpa_addr(&n, &a));
	assert_string_equal(ip_format(&a, s), "4321:0:1:2:3:4:567:89ab");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		n = name(bad[i]);
		if (dns_arpa_addr(&n, &a))
			fail_msg("%s was read as %s", bad[i], ip_format(&a, s));
	}
}

/* Every cut and every flipped bit of a good query is refused or read, never more than read. */
static void test_mangled(void **state)
{
	static const uint8_t good[] = { 0x12, 0x34, 1,	 0,   0, 1, 0, 0, 0, 0, 0, 1,  1,
					'a',  2,    'b', 'c', 0, 0, 1, 0, 1, 0, 0, 41, 4,
					0xd0, 0,    0,	 0,   0, 0, 6, 0, 8, 0, 2, 1,  2 };
	struct dns_request rq;
	const char *why;

	(void)state;
	assert_int_equal(dns_request_read(good, sizeof(good), &rq, &why), 0);
	assert_null(why);
	assert_true(rq.edns);
	assert_int_equal(rq.udp_size, 1232);
	for (size_t len = 0; len < sizeof(good); len++) {
		uint8_t *copy = malloc(len ? len : 1);

		memcpy(copy, good, len);
		if (dns_request_read(copy, len, &rq, &why) == 0)
			fail_msg("cut to %zu bytes and taken", len);
		assert_non_null(why);
		free(copy);
	}
	for (size_t bit = 0; bit < sizeof(good) * 8; bit++) {
		uint8_t *copy = malloc(sizeof(good));

		memcpy(copy, good, sizeof(good));
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (dns_request_read(copy, sizeof(good), &rq, &why) != 0)
			assert_non_null(why);
		free(copy);
	}
}

static void test_reply_sizes(void **state)
{
	struct dns_request rq = { .id = 1, .edns = true };
	struct ip_addr addrs[DNS_MAX_ADDRS];
	struct dns_reply r = { .addrs = addrs, .n_addrs = ARRAY_SIZE(addrs), .ede = DNS_EDE_NONE };
	uint8_t out[DNS_REPLY_MAX];
	size_t len;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(addrs); i++)
		addrs[i] = (struct ip_addr){ 6, { 0x20, 1 } };
	rq.question_len = DNS_QUESTION_MAX;
	len = dns_reply_build(&rq, &r, DNS_UDP_MIN, out);
	assert_int_equal(len, 12 + DNS_QUESTION_MAX + 11);
	assert_int_equal(out[2] & 2, 2);
	assert_int_equal(get_be16(out + 6), 0);
	len = dns_reply_build(&rq, &r, DNS_REPLY_MAX, out);
	assert_int_equal(len, 12 + DNS_QUESTION_MAX + 32 * 28 + 11);
	assert_int_equal(get_be16(out + 6), 32);
	/* The reason is left out before the SOA and the answer are. */
	r = (struct dns_reply){ .rcode = 3, .soa = true, .ede = 15, .ede_id = "id" };
	r.ede_text = "a reason of the length that a person would need to understand what was "
		     "refused here, by which rule of which policy, and why, and whom to ask: "
		     "which is a long text indeed for a resource record";
	len = dns_reply_build(&rq, &r, DNS_UDP_MIN, out);
	assert_int_equal(get_be16(out + 8), 1);
	assert_int_equal(out[2] & 2, 0);
	assert_true(len <= DNS_UDP_MIN);
}

/* What goes upstream is the same whatever the guest sent: 12 + name + 4 + an empty OPT. */
static void test_ask(void **state)
{
	static const uint8_t want[] = { 0, 7, 1,   0, 0,    1,	 0, 0, 0,  0, 0,
					1, 1, 'a', 2, 'b',  'c', 0, 0, 28, 0, 1,
					0, 0, 41,  4, 0xd0, 0,	 0, 0, 0,  0, 0 };
	struct name n = name("A.bC.");
	uint8_t out[DNS_REPLY_MAX];
	size_t len = dns_ask_build(7, &n, DNS_TYPE_AAAA, true, out);

	(void)state;
	assert_int_equal(len, sizeof(want));
	assert_memory_equal(out, want, len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),	    cmocka_unit_test(test_name_bounds),
		cmocka_unit_test(test_convert),	    cmocka_unit_test(test_in_zone),
		cmocka_unit_test(test_arpa),	    cmocka_unit_test(test_mangled),
		cmocka_unit_test(test_reply_sizes), cmocka_unit_test(test_ask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
