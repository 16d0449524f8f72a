/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QUIC Initial packets: the published vectors, hellos cut over frames, packets
 * and datagrams in any order, and what must give no name. Parity: n31.
 */
#include <setjmp.h>
#include <stdio.h>

#include "quic_rig.h"

#include <cmocka.h>

/* RFC 9001 A.2: the ClientHello, its CRYPTO frame's header apart. */
static const char hello_hex[] =
	"010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302"
	"010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007"
	"000504616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa"
	"71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403050306030203080408050806002d000201"
	"01001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff080110010480007530090110"
	"0f"
	"088394c8f03e51570806048000ffff";

static uint8_t hello[512];
static size_t hello_len;
static struct tlsproxy_quic *quic;

static size_t unhex(const char *s, uint8_t *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	for (; s[0] && s[1]; s += 2)
		out[n++] = (uint8_t)((strchr(digits, s[0]) - digits) << 4 |
				     (strchr(digits, s[1]) - digits));
	return n;
}

static struct tlsproxy_sniff sniff(struct iovec *v, size_t n)
{
	struct tlsproxy_sniff s;

	memset(&s, 0xa5, sizeof(s));
	tlsproxy_sniff_quic(quic, v, n, &s);
	return s;
}

static struct tlsproxy_sniff sniff_one(void *p, size_t n)
{
	struct iovec v = { p, n };

	return sniff(&v, 1);
}

static int set_up(void **state)
{
	(void)state;
	hello_len = unhex(hello_hex, hello);
	assert_int_equal(hello_len, 0xed + 4);
	quic = tlsproxy_quic_new();
	return quic ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	tlsproxy_quic_free(quic);
	return 0;
}

/* Parity: n31. */
static void test_published_packets(void **state)
{
	static const struct {
		uint32_t version;
		const char *begins, *ends;
	} t[] = {
		/* RFC 9001 A.2 */
		{ QUIC1,
		  "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9b",
		  "e221af44860018ab0856972e194cd934" },
		/* RFC 9369 A.2 */
		{ QUIC2,
		  "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071", "" },
	};
	uint8_t frame[600], d[2000], want[64];
	struct tlsproxy_sniff s;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		/* The vector writes the offset in one byte. */
		size_t n = quic_crypto(0, hello, hello_len, frame), m;

		memmove(frame + 2, frame + 3, n - 3);
		frame[1] = 0;
		n = quic_initial(t[i].version, rfc_dcid, 8, 2, frame, n - 1, 1200, d);
		assert_int_equal(n, 1200);
		m = unhex(t[i].begins, want);
		assert_memory_equal(d, want, m);
		m = unhex(t[i].ends, want);
		assert_memory_equal(d + n - m, want, m);
		s = sniff_one(d, n);
		assert_int_equal(s.kind, TLSPROXY_SNIFF_TLS);
		assert_true(s.has_sni);
		assert_string_equal(s.sni.s, "example.com");
		assert_string_equal(s.alpn, "alpn");
		assert_false(s.has_ech);
		/* One bit anywhere and it does not open: no name, and no hello either. */
		for (size_t at = 0; at < n; at += 7) {
			d[at] ^= 4;
			s = sniff_one(d, n);
			assert_int_equal(s.kind, TLSPROXY_SNIFF_OTHER);
			assert_false(s.has_sni);
			d[at] ^= 4;
		}
		for (size_t cut = 0; cut < n; cut += 13)
			assert_int_equal(sniff_one(d, cut).kind, TLSPROXY_SNIFF_OTHER);
	}
}

/* As browsers do it: pieces out of order, over two datagrams, with pings and padding between. */
static void test_scrambled(void **state)
{
	uint8_t f[2][700], d[2][2000];
	struct iovec v[2];
	size_t n[2] = { 0 }, step = 50, pieces = (hello_len + step - 1) / step;

	(void)state;
	for (size_t i = pieces; i-- > 0;) {
		size_t len = MIN(step, hello_len - i * step), w = i % 2;

		f[w][n[w]++] = 1;
		f[w][n[w]++] = 0;
		n[w] += quic_crypto(i * step, hello + i * step, len, f[w] + n[w]);
	}
	for (unsigned w = 0; w < 2; w++)
		v[w] = (struct iovec){ d[w],
				       quic_initial(QUIC1, rfc_dcid, 8, w, f[w], n[w], 1200, d[w]) };
	assert_int_equal(sniff(v, 1).kind, TLSPROXY_SNIFF_MORE);
	assert_int_equal(sniff(v + 1, 1).kind, TLSPROXY_SNIFF_MORE);
	assert_string_equal(sniff(v, 2).sni.s, "example.com");
	v[0] = v[1];
	v[1] = (struct iovec){ d[0], v[0].iov_len };
	assert_string_equal(sniff(v, 2).sni.s, "example.com");
	/* Two packets in one datagram; behind them something that is no QUIC at all. */
	n[0] = quic_initial(QUIC1, rfc_dcid, 8, 0, f[0], n[0], 0, d[0]);
	n[0] += quic_initial(QUIC1, rfc_dcid, 8, 1, f[1], n[1], 0, d[0] + n[0]);
	memset(d[0] + n[0], 'x', 30);
	assert_string_equal(sniff_one(d[0], n[0] + 30).sni.s, "example.com");
	/* An acknowledgement before it: a client repeats itself after a first answer. */
	n[1] = 0;
	memcpy(f[0], (const uint8_t[]){ 2, 9, 0, 1, 1, 0, 2, 3, 9, 0, 0, 0, 1, 2, 3 }, 15);
	n[1] = 15 + quic_crypto(0, hello, hello_len, f[0] + 15);
	n[0] = quic_initial(QUIC1, rfc_dcid, 8, 0, f[0], n[1], 1200, d[0]);
	assert_string_equal(sniff_one(d[0], n[0]).sni.s, "example.com");
}

static size_t put(uint8_t *d, const uint8_t *f, size_t n)
{
	return quic_initial(QUIC1, rfc_dcid, 8, 0, f, n, 1200, d);
}

/* Two readings, or a beginning that no server takes. */
static void test_bad(void **state)
{
	static const uint8_t other_dcid[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	uint8_t f[2000], d[2][3000];
	struct iovec v[2];
	size_t n, m;

	(void)state;
	/* bytes that contradict earlier ones */
	n = quic_crypto(0, hello, hello_len, f);
	hello[60] ^= 1;
	m = n + quic_crypto(50, hello + 50, 30, f + n);
	hello[60] ^= 1;
	assert_int_equal(sniff_one(d[0], put(d[0], f, m)).kind, TLSPROXY_SNIFF_BAD_TLS);
	/* the same bytes again are nothing new */
	m = n + quic_crypto(50, hello + 50, 30, f + n);
	assert_int_equal(sniff_one(d[0], put(d[0], f, m)).kind, TLSPROXY_SNIFF_TLS);
	/* more behind the hello; a frame that may not be there; a message that is none */
	m = n + quic_crypto(hello_len, hello, 1, f + n);
	assert_int_equal(sniff_one(d[0], put(d[0], f, m)).kind, TLSPROXY_SNIFF_BAD_TLS);
	f[n] = 8;
	assert_int_equal(sniff_one(d[0], put(d[0], f, n + 1)).kind, TLSPROXY_SNIFF_BAD_TLS);
	f[5] = 2;
	assert_int_equal(sniff_one(d[0], put(d[0], f, n)).kind, TLSPROXY_SNIFF_BAD_TLS);
	f[5] = 1;
	f[7] = 0xff; /* 65,000 bytes of hello */
	assert_int_equal(sniff_one(d[0], put(d[0], f, n)).kind, TLSPROXY_SNIFF_BAD_TLS);
	/* a frame longer than its packet; one beyond every bound */
	n = quic_crypto(0, hello, 20, f);
	put_be16(f + 3, 0x4000 | 1500);
	assert_int_equal(sniff_one(d[0], put(d[0], f, n)).kind, TLSPROXY_SNIFF_BAD_TLS);
	memcpy(f, (const uint8_t[]){ 6, 0xff, 255, 255, 255, 255, 255, 255, 255, 1, 1 }, 11);
	assert_int_equal(sniff_one(d[0], put(d[0], f, 11)).kind, TLSPROXY_SNIFF_BAD_TLS);
	/* two connections */
	n = quic_crypto(0, hello, hello_len, f);
	v[0] = (struct iovec){ d[0], put(d[0], f, n) };
	v[1] = (struct iovec){ d[1], quic_initial(QUIC1, other_dcid, 8, 0, f, n, 1200, d[1]) };
	assert_int_equal(sniff(v, 1).kind, TLSPROXY_SNIFF_TLS);
	assert_int_equal(sniff(v, 2).kind, TLSPROXY_SNIFF_BAD_TLS);
	v[1] = (struct iovec){ d[1], quic_initial(QUIC2, rfc_dcid, 8, 0, f, n, 1200, d[1]) };
	assert_int_equal(sniff(v, 2).kind, TLSPROXY_SNIFF_BAD_TLS);
}

/* What a server may read further than we do, or for another connection than the first. */
static void test_too_much(void **state)
{
	static const uint8_t ping = 1;
	static const uint8_t handshake[] = { 0xe0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 2, 9, 9 };
	uint8_t f[700], d[4000];
	size_t n = quic_crypto(0, hello, hello_len, f), at;

	(void)state;
	for (unsigned before = 3; before <= 4; before++) {
		at = 0;
		for (unsigned i = 0; i < before; i++)
			at += quic_initial(QUIC1, rfc_dcid, 8, i, &ping, 1, 60, d + at);
		at += quic_initial(QUIC1, rfc_dcid, 8, before, f, n, 0, d + at);
		assert_int_equal(sniff_one(d, at).kind,
				 before == 3 ? TLSPROXY_SNIFF_TLS : TLSPROXY_SNIFF_BAD_TLS);
	}
	at = quic_initial(QUIC1, rfc_dcid, 8, 0, f, n, 2048, d);
	assert_int_equal(sniff_one(d, at).kind, TLSPROXY_SNIFF_TLS);
	at = quic_initial(QUIC1, rfc_dcid, 8, 0, f, n, 2049, d);
	assert_int_equal(sniff_one(d, at).kind, TLSPROXY_SNIFF_BAD_TLS);
	memcpy(d, handshake, sizeof(handshake));
	at = sizeof(handshake);
	at += quic_initial(QUIC1, rfc_dcid, 8, 0, f, n, 1200, d + at);
	assert_int_equal(sniff_one(d, at).kind, TLSPROXY_SNIFF_BAD_TLS);
	memcpy(d + 6, rfc_dcid, 8);
	assert_int_equal(sniff_one(d, at).kind, TLSPROXY_SNIFF_TLS);
	quic_first = 0xbf; /* no fixed bit */
	at = quic_initial(QUIC1, rfc_dcid, 8, 0, f, n, 1200, d);
	assert_int_equal(sniff_one(d, at).kind, TLSPROXY_SNIFF_BAD_TLS);
	quic_first = 0xff;
}

/* Not QUIC, or not a version whose keys are known. */
static void test_other(void **state)
{
	static const char *const hex[] = {
		"", "00", "c0", "c000000001", "c00000000115", "4000000001", "c0ff00001d08", "ff"
	};
	uint8_t f[700], d[2000];
	size_t n = quic_crypto(0, hello, hello_len, f);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hex); i++)
		assert_int_equal(sniff_one(d, unhex(hex[i], d)).kind, TLSPROXY_SNIFF_OTHER);
	n = put(d, f, n);
	put_be32(d + 1, 2); /* a version of the future */
	assert_int_equal(sniff_one(d, n).kind, TLSPROXY_SNIFF_OTHER);
	assert_int_equal(sniff(NULL, 0).kind, TLSPROXY_SNIFF_OTHER);
	memset(d, 0xff, sizeof(d));
	assert_int_equal(sniff_one(d, sizeof(d)).kind, TLSPROXY_SNIFF_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_packets),
		cmocka_unit_test(test_scrambled),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_other),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
