/* SPDX-License-Identifier: Apache-2.0 */
/* Software segmentation against a reference that is written differently: byte by byte, sums in 16 bits. */
#include "netstack/netstack_internal.h"

#include <setjmp.h>

#include <cmocka.h>

#define FRAMES 1000

struct sink {
	unsigned n, stop_at;
	size_t len[FRAMES];
	uint8_t b[FRAMES][2000];
	struct link_tx last;
};

static struct sink sink;
static uint8_t payload[65536];

static int put(void *ctx, const struct link_tx *one)
{
	struct sink *s = ctx;
	size_t n = 0;

	s->last = *one;
	if (s->stop_at && s->n == s->stop_at)
		return -EAGAIN;
	assert_true(s->n < FRAMES);
	assert_true(link_tx_len(one) <= sizeof(s->b[0]));
	memcpy(s->b[s->n], one->head, one->head_len);
	n = one->head_len;
	for (unsigned i = 0; i < one->n_data; i++) {
		memcpy(s->b[s->n] + n, one->data[i].iov_base, one->data[i].iov_len);
		n += one->data[i].iov_len;
	}
	s->len[s->n++] = n;
	return 0;
}

/* ---- the reference ------------------------------------------------------- */

static uint32_t ref_add(uint32_t s, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
		s = (s & 0xffff) + (s >> 16);
	}
	return s;
}

static uint32_t ref_pseudo(const uint8_t *ip, uint8_t proto, size_t n)
{
	uint32_t s = ip[0] >> 4 == 4 ? ref_add(0, ip + 12, 8) : ref_add(0, ip + 8, 32);

	s += proto + (uint32_t)n;
	return (s & 0xffff) + (s >> 16);
}

struct super {
	uint8_t head[160];
	size_t head_len, ip, l4;
	bool four, tcp;
	struct link_tx tx;
};

/* Headers of a super-segment as ip_out.c makes them; opts: bytes of TCP options. */
static void make(struct super *s, bool four, bool tcp, size_t opts, size_t len, uint16_t gso)
{
	uint8_t *ip = s->head + 14, *l4;
	size_t l4_head = tcp ? 20 + opts : 8;
	uint32_t sum;

	*s = (struct super){ .four = four, .tcp = tcp };
	memset(s->head, 0x42, 12);
	put_be16(s->head + 12, four ? 0x0800 : 0x86dd);
	s->ip = four ? 20 : 40;
	if (four) {
		ip[0] = 0x45;
		put_be16(ip + 2, (uint16_t)(20 + l4_head + len));
		put_be16(ip + 4, 0xfffe); /* wraps on the third */
		put_be16(ip + 6, 0x4000);
		ip[8] = 64;
		ip[9] = tcp ? 6 : 17;
		memcpy(ip + 12, "\x0a\x09\x00\x01\x0a\x09\x00\x02", 8);
		put_be16(ip + 10, (uint16_t)~ref_add(0, ip, 20));
	} else {
		ip[0] = 0x60;
		put_be16(ip + 4, (uint16_t)(l4_head + len));
		ip[6] = tcp ? 6 : 17;
		ip[7] = 64;
		for (int i = 0; i < 32; i++)
			ip[8 + i] = (uint8_t)(i * 37);
	}
	s->l4 = 14 + s->ip;
	l4 = s->head + s->l4;
	put_be16(l4, 443);
	put_be16(l4 + 2, 40000);
	if (tcp) {
		put_be32(l4 + 4, 0xfffffc00); /* wraps as well */
		put_be32(l4 + 8, 77);
		l4[12] = (uint8_t)((20 + opts) / 4 << 4);
		l4[13] = TCP_FIN | TCP_PSH | TCP_ACK | 0x80 /* CWR */;
		put_be16(l4 + 14, 1234);
		memset(l4 + 20, 1, opts);
	} else {
		put_be16(l4 + 4, (uint16_t)(8 + len));
	}
	sum = ref_pseudo(ip, tcp ? 6 : 17, l4_head + len);
	put_be16(l4 + (tcp ? 16 : 6), (uint16_t)sum);
	s->head_len = s->l4 + l4_head;
	s->tx = (struct link_tx){
		.head = s->head,
		.head_len = s->head_len,
		.partial_csum = true,
		.csum_start = (uint16_t)s->l4,
		.csum_off = tcp ? 16 : 6,
		.gso_size = gso,
	};
	if (gso)
		s->tx.gso = !tcp ? LINK_GSO_UDP : four ? LINK_GSO_TCP4 : LINK_GSO_TCP6;
}

/* Payload in one piece, or cut in two at `cut`. */
static void give(struct super *s, size_t len, size_t cut)
{
	if (cut)
		s->tx.data[s->tx.n_data++] = (struct iovec){ payload, cut };
	if (len > cut)
		s->tx.data[s->tx.n_data++] = (struct iovec){ payload + cut, len - cut };
}

static void check_frame(const struct super *s, unsigned i, size_t off, size_t n, bool last)
{
	const uint8_t *b = sink.b[i], *ip = b + 14, *l4 = b + s->l4;
	size_t l4_head = s->head_len - s->l4, l4_len = l4_head + n;

	assert_int_equal(sink.len[i], s->head_len + n);
	assert_memory_equal(b, s->head, 14);
	assert_memory_equal(b + s->head_len, payload + off, n);
	if (s->four) {
		assert_int_equal(get_be16(ip + 2), 20 + l4_len);
		assert_int_equal(get_be16(ip + 4), (uint16_t)(0xfffe + i));
		assert_int_equal(get_be16(ip + 6), 0x4000);
		assert_int_equal(ref_add(0, ip, 20), 0xffff);
		assert_memory_equal(ip + 12, s->head + 14 + 12, 8);
	} else {
		assert_int_equal(get_be16(ip + 4), l4_len);
		assert_memory_equal(ip + 6, s->head + 14 + 6, 34);
	}
	assert_int_equal(ref_add(ref_pseudo(ip, s->tcp ? 6 : 17, l4_len), l4, l4_len), 0xffff);
	assert_int_equal(get_be16(l4), 443);
	assert_int_equal(get_be16(l4 + 2), 40000);
	if (!s->tcp) {
		assert_int_equal(get_be16(l4 + 4), l4_len);
		assert_int_not_equal(get_be16(l4 + 6), 0);
		return;
	}
	assert_int_equal(get_be32(l4 + 4), (uint32_t)(0xfffffc00 + off));
	assert_int_equal(get_be32(l4 + 8), 77);
	assert_int_equal(l4[13], TCP_ACK | (last ? TCP_FIN | TCP_PSH : 0) | (i ? 0 : 0x80));
	assert_int_equal(get_be16(l4 + 14), 1234);
	assert_memory_equal(l4 + 20, s->head + s->l4 + 20, l4_head - 20);
}

static void one_case(bool four, bool tcp, size_t opts, size_t len, uint16_t gso, size_t cut)
{
	const struct link_caps none = { 0 };
	struct super s;
	size_t size = gso ? gso : len, off = 0;
	unsigned i = 0;

	make(&s, four, tcp, opts, len, gso);
	give(&s, len, cut);
	sink.n = sink.stop_at = 0;
	assert_int_equal(link_segment(&s.tx, &none, put, &sink), 0);
	do {
		size_t n = MIN(size, len - off);

		assert_true(i < sink.n);
		check_frame(&s, i++, off, n, off + n == len);
		off += n;
	} while (off < len);
	assert_int_equal(i, sink.n);
}

static void test_against_reference(void **state)
{
	static const size_t lens[] = { 0, 1, 2, 1447, 1448, 1449, 2895, 2896, 20001, 65435 };

	(void)state;
	for (unsigned k = 0; k < 4; k++)
		for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
			bool four = k & 1, tcp = k & 2;

			if (!tcp && lens[i] > 1448 * 40u)
				continue;
			one_case(four, tcp, tcp ? 12 : 0, lens[i], 1448, 0);
			/* cut inside a segment, at its edge, at odd places */
			one_case(four, tcp, 0, lens[i], 1448, lens[i] / 2);
			one_case(four, tcp, tcp ? 40 : 0, lens[i], 1447, MIN(lens[i], (size_t)1447));
			one_case(four, tcp, tcp ? 4 : 0, lens[i], 1301, MIN(lens[i], (size_t)1));
			if (lens[i] < 1800) /* no segmentation, only the checksum */
				one_case(four, tcp, 0, lens[i], 0, lens[i] / 3);
		}
}

static void test_tiny_segments(void **state)
{
	(void)state;
	one_case(true, true, 12, 65435, 76, 333);
	one_case(false, false, 0, 128, 1, 77);
}

static void test_zero_sum_is_sent_as_ones(void **state)
{
	const struct link_caps none = { 0 };
	struct super s;
	uint8_t two[2];
	uint32_t sum;

	(void)state;
	make(&s, true, false, 0, 2, 0);
	/* The payload that makes the sum zero. */
	sum = ref_pseudo(s.head + 14, 17, 10);
	put_be16(s.head + s.l4 + 6, 0);
	sum = ref_add(sum, s.head + s.l4, 8);
	put_be16(two, (uint16_t)~sum);
	s.tx.data[s.tx.n_data++] = (struct iovec){ two, 2 };
	sink.n = sink.stop_at = 0;
	assert_int_equal(link_segment(&s.tx, &none, put, &sink), 0);
	assert_int_equal(get_be16(sink.b[0] + s.l4 + 6), 0xffff);
	assert_int_equal(link_copy(&s.tx, sink.b[1]), sink.len[0]);
	assert_memory_equal(sink.b[0], sink.b[1], sink.len[0]);
}

static void test_copy_is_the_same_frame(void **state)
{
	const struct link_caps none = { 0 };

	(void)state;
	for (size_t len = 0; len < 1400; len += 1 + len / 16)
		for (unsigned k = 0; k < 4; k++) {
			struct super s;

			make(&s, k & 1, k & 2, k & 2 ? 12 : 0, len, 0);
			give(&s, len, len * 2 / 3);
			sink.n = sink.stop_at = 0;
			assert_int_equal(link_segment(&s.tx, &none, put, &sink), 0);
			assert_int_equal(link_copy(&s.tx, sink.b[1]), sink.len[0]);
			assert_memory_equal(sink.b[0], sink.b[1], sink.len[0]);
		}
}

static void test_stops_where_put_says(void **state)
{
	const struct link_caps none = { 0 };
	struct super s;

	(void)state;
	make(&s, true, true, 0, 10000, 1000);
	give(&s, 10000, 0);
	sink.n = 0;
	sink.stop_at = 3;
	assert_int_equal(link_segment(&s.tx, &none, put, &sink), -EAGAIN);
	assert_int_equal(sink.n, 3);
	sink.stop_at = 0;
}

static void test_what_the_guest_does_is_left(void **state)
{
	const struct link_caps all = { true, true, true, true }, sum = { .csum = true };
	struct super s;
	size_t off;

	(void)state;
	make(&s, true, true, 0, 3000, 1400);
	give(&s, 3000, 0);
	sink.n = sink.stop_at = 0;
	sink.b[0][0] = 0;
	assert_true(sizeof(sink.b[0]) < 3000 + s.head_len);
	sink.stop_at = 1; /* too large for the sink: look at what was put */
	sink.n = 1;
	assert_int_equal(link_segment(&s.tx, &all, put, &sink), -EAGAIN);
	assert_int_equal(sink.last.gso, LINK_GSO_TCP4);
	assert_int_equal(link_tx_len(&sink.last), s.head_len + 3000);
	/* Checksums, but no segmentation: the pseudo header's sum alone. */
	sink.n = sink.stop_at = 0;
	assert_int_equal(link_segment(&s.tx, &sum, put, &sink), 0);
	assert_int_equal(sink.n, 3);
	off = s.l4;
	assert_true(sink.last.partial_csum && sink.last.gso == 0);
	assert_int_equal(get_be16(sink.b[0] + off + 16), ref_pseudo(sink.b[0] + 14, 6, 1420));
	assert_int_equal(get_be16(sink.b[2] + off + 16), ref_pseudo(sink.b[2] + 14, 6, 220));
}

static void test_what_does_not_add_up(void **state)
{
	const struct link_caps none = { 0 };
	struct super s;

	(void)state;
	sink.n = sink.stop_at = 0;
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		make(&s, true, true, 0, 3000, 1400);                                               \
		give(&s, 3000, 0);                                                                 \
		change;                                                                            \
		assert_int_equal(link_segment(&s.tx, &none, put, &sink), -EINVAL);                 \
	} while (0)
	REFUSED(s.tx.gso_size = 0);
	REFUSED(s.tx.gso = 3);
	REFUSED(s.tx.gso = LINK_GSO_TCP6);
	REFUSED(s.tx.gso = LINK_GSO_UDP);
	REFUSED(s.tx.csum_start = 60000);
	REFUSED(s.tx.csum_start = 10);
	REFUSED(s.tx.csum_start = 53);
	REFUSED(s.tx.csum_off = 19);
	REFUSED(s.tx.head_len = 13);
	REFUSED(s.tx.head_len = 45);
	REFUSED(s.tx.partial_csum = false);
	REFUSED(s.head[13] = 1);
	assert_int_equal(sink.n, 0);
}

static void test_sum_and_copy(void **state)
{
	uint8_t dst[300];

	(void)state;
	for (size_t n = 0; n < 200; n++)
		for (size_t from = 0; from < 9; from++) {
			struct csum a = { 0 }, b = { 0 };
			uint8_t sum[2], copied[2];

			memset(dst, 0xee, sizeof(dst));
			csum_feed(&a, payload + from, n);
			csum_feed_copy(&b, dst + 1, payload + from, n);
			assert_memory_equal(dst + 1, payload + from, n);
			assert_int_equal(dst[0], 0xee);
			assert_int_equal(dst[1 + n], 0xee);
			csum_store_partial(&a, sum);
			csum_store_partial(&b, copied);
			assert_memory_equal(sum, copied, 2);
			assert_int_equal(get_be16(sum), ref_add(0, payload + from, n));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_reference),
		cmocka_unit_test(test_tiny_segments),
		cmocka_unit_test(test_zero_sum_is_sent_as_ones),
		cmocka_unit_test(test_copy_is_the_same_frame),
		cmocka_unit_test(test_stops_where_put_says),
		cmocka_unit_test(test_what_the_guest_does_is_left),
		cmocka_unit_test(test_what_does_not_add_up),
		cmocka_unit_test(test_sum_and_copy),
	};
	uint32_t x = 1;

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
	return cmocka_run_group_tests_name("netstack/link_segment", tests, NULL, NULL);
}
