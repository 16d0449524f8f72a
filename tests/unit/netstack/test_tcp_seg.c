/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of headers and options, and the answer to strangers (tcp_refuse). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#include "netstack/tcp.h"

/* Header with the given option bytes, padded to a multiple of four with END. */
static size_t build(uint8_t p[80], uint8_t flags, const uint8_t *opts, size_t n, size_t payload)
{
	size_t head = 20 + (n + 3) / 4 * 4;

	memset(p, 0, 80);
	put_be16(p, 1234);
	put_be16(p + 2, 80);
	put_be32(p + 4, 0x01020304);
	put_be32(p + 8, 0x05060708);
	p[12] = (uint8_t)(head / 4 << 4);
	p[13] = flags;
	put_be16(p + 14, 4321);
	if (n)
		memcpy(p + 20, opts, n);
	return head + payload;
}

static int parse(uint8_t flags, const uint8_t *opts, size_t n, struct tcp_seg *s)
{
	uint8_t p[80];

	return tcp_seg_parse(p, build(p, flags, opts, n, 3), s);
}

static void fields(void **state)
{
	static const uint8_t opts[] = { 2, 4,  5, 180, 1, 3, 3, 15, 4, 2,
					8, 10, 0, 0,   0, 7, 0, 0,  0, 9 };
	struct tcp_seg s;

	(void)state;
	assert_int_equal(parse(TCP_SYN, opts, sizeof(opts), &s), 0);
	assert_int_equal(s.src_port, 1234);
	assert_int_equal(s.dst_port, 80);
	assert_int_equal(s.seq, 0x01020304);
	assert_int_equal(s.ack, 0x05060708);
	assert_int_equal(s.wnd, 4321);
	assert_int_equal(s.flags, TCP_SYN);
	assert_true(s.has_mss && s.has_wscale && s.has_ts && s.sack_ok);
	assert_int_equal(s.mss, 1460);
	assert_int_equal(s.wscale, 14); /* capped */
	assert_int_equal(s.ts_val, 7);
	assert_int_equal(s.ts_ecr, 9);
	assert_int_equal(s.len, 3);
}

static void sack_blocks(void **state)
{
	static const uint8_t opts[] = { 1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4 };
	struct tcp_seg s;

	(void)state;
	assert_int_equal(parse(TCP_ACK, opts, sizeof(opts), &s), 0);
	assert_int_equal(s.n_sack, 2);
	assert_int_equal(s.sack[1].lo, 3);
	assert_int_equal(s.sack[1].hi, 4);
}

static void refused(void **state)
{
	static const struct {
		const char *what;
		uint8_t flags;
		uint8_t opts[12];
		size_t n;
	} bad[] = {
		{ "SYN and FIN", TCP_SYN | TCP_FIN, { 0 }, 0 },
		{ "SYN and RST", TCP_SYN | TCP_RST, { 0 }, 0 },
		{ "option length 0", TCP_ACK, { 99, 0, 1, 1 }, 4 },
		{ "option length 1", TCP_ACK, { 99, 1, 1, 1 }, 4 },
		{ "option beyond the header", TCP_ACK, { 99, 5, 0, 0 }, 4 },
		{ "option without length", TCP_ACK, { 1, 1, 1, 99 }, 4 },
		{ "MSS of length 3", TCP_SYN, { 2, 3, 5, 1 }, 4 },
		{ "scale of length 4", TCP_SYN, { 3, 4, 5, 1 }, 4 },
		{ "two MSS", TCP_SYN, { 2, 4, 5, 180, 2, 4, 5, 180 }, 8 },
		{ "two scales", TCP_SYN, { 3, 3, 1, 3, 3, 2, 1, 1 }, 8 },
		{ "SACK of 7 bytes", TCP_ACK, { 5, 9, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1 }, 12 },
		{ "empty SACK", TCP_ACK, { 5, 2, 1, 1 }, 4 },
	};
	struct tcp_seg s;
	uint8_t p[80];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (parse(bad[i].flags, bad[i].opts, bad[i].n, &s) != -EINVAL)
			fail_msg("accepted: %s", bad[i].what);
	build(p, TCP_ACK, NULL, 0, 0);
	assert_int_equal(tcp_seg_parse(p, 19, &s), -EINVAL);
	p[12] = 4 << 4; /* header of 16 bytes */
	assert_int_equal(tcp_seg_parse(p, 40, &s), -EINVAL);
	p[12] = 15 << 4; /* header beyond the segment */
	assert_int_equal(tcp_seg_parse(p, 59, &s), -EINVAL);
}

/* An unknown option is skipped; END ends the list, whatever follows. */
static void tolerated(void **state)
{
	static const uint8_t unknown[] = { 34, 6, 1, 2, 3, 4, 2, 4, 2, 24 };
	static const uint8_t after_end[] = { 2, 4, 2, 24, 0, 99, 0, 0 };
	struct tcp_seg s;

	(void)state;
	assert_int_equal(parse(TCP_SYN, unknown, sizeof(unknown), &s), 0);
	assert_int_equal(s.mss, 536);
	assert_int_equal(parse(TCP_SYN, after_end, sizeof(after_end), &s), 0);
	assert_int_equal(s.mss, 536);
}

/* RFC 9293 3.10.7.1 */
static void refusals(void **state)
{
	struct tcp_seg s = { .src_port = 5, .dst_port = 6, .seq = 100, .ack = 200, .len = 7 };
	struct tcp_out o;

	(void)state;
	s.flags = TCP_SYN;
	assert_true(tcp_refuse(&s, &o));
	assert_int_equal(get_be16(o.head), 6);
	assert_int_equal(get_be16(o.head + 2), 5);
	assert_int_equal(get_be32(o.head + 4), 0);
	assert_int_equal(get_be32(o.head + 8), 108); /* SYN counts */
	assert_int_equal(o.head[13], TCP_RST | TCP_ACK);
	s.flags = TCP_ACK;
	assert_true(tcp_refuse(&s, &o));
	assert_int_equal(get_be32(o.head + 4), 200);
	assert_int_equal(o.head[13], TCP_RST);
	s.flags = TCP_RST | TCP_ACK;
	assert_false(tcp_refuse(&s, &o));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields),   cmocka_unit_test(sack_blocks),
		cmocka_unit_test(refused),  cmocka_unit_test(tolerated),
		cmocka_unit_test(refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
