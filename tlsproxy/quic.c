/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ClientHello in the first datagrams of a QUIC connection, versions 1 and 2
 * (RFC 9000, 9001 5, 9369). Initial packets are encrypted with keys that anybody
 * can derive from the connection id in front of them: read here without state,
 * from all datagrams that have come so far. Every byte is hostile.
 *
 *   datagram ─► long headers, one after the other ─► Initial: header protection
 *   off, AES-128-GCM opened ─► frames ─► CRYPTO bytes at their offsets ─► one
 *   ClientHello, read by the reader of TLS over TCP
 *
 * What a server would not take tells nothing: a packet that does not open is
 * passed over. What would give two readings is refused: a second connection in
 * the same datagrams, bytes that contradict earlier ones at the same offset,
 * frames that have no place in an Initial packet, a packet without the fixed bit
 * (RFC 9287), larger than any path's or behind more others than a client sends.
 */
#include "tlsproxy/tlsproxy_int.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

enum {
	VERSION_1 = 0x00000001,
	VERSION_2 = 0x6b3343cf,
	CID_MAX = 20,
	KEY_LEN = 16,
	IV_LEN = 12,
	TAG_LEN = 16,
	SAMPLE_LEN = 16,
	SECRET_LEN = 32,
	FRAME_PADDING = 0,
	FRAME_PING = 1,
	FRAME_ACK = 2,
	FRAME_ACK_ECN = 3,
	FRAME_CRYPTO = 6,
	FRAME_CLOSE = 0x1c,
};

struct tlsproxy_quic {
	EVP_CIPHER *gcm, *ecb;
	EVP_KDF *hkdf;
	EVP_CIPHER_CTX *cipher;
};

struct version {
	uint32_t number;
	uint8_t initial_type;
	uint8_t salt[20];
	const char *key, *iv, *hp;
};

static const struct version versions[] = {
	{ VERSION_1,
	  0,
	  { 0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
	    0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a },
	  "quic key",
	  "quic iv",
	  "quic hp" },
	{ VERSION_2,
	  1,
	  { 0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93,
	    0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9 },
	  "quicv2 key",
	  "quicv2 iv",
	  "quicv2 hp" },
};

struct keys {
	uint8_t key[KEY_LEN], iv[IV_LEN], hp[KEY_LEN];
};

/* What the datagrams have told so far. */
struct hello {
	const struct version *version; /* NULL: no Initial packet opened yet */
	uint8_t dcid[CID_MAX], dcid_len;
	bool bad;
	const uint8_t *first_dcid; /* of the datagram at hand; NULL: none yet */
	uint8_t first_len;
	size_t end; /* of what has come, gaps included */
	uint8_t have[TLSPROXY_HELLO_MAX / 8];
	uint8_t bytes[TLSPROXY_HELLO_MAX];
};

/* ---- algorithms ---------------------------------------------------------------- */

struct tlsproxy_quic *tlsproxy_quic_new(void)
{
	struct tlsproxy_quic *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->gcm = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
	q->ecb = EVP_CIPHER_fetch(NULL, "AES-128-ECB", NULL);
	q->hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	q->cipher = EVP_CIPHER_CTX_new();
	if (q->gcm && q->ecb && q->hkdf && q->cipher)
		return q;
	tlsproxy_quic_free(q);
	return NULL;
}

void tlsproxy_quic_free(struct tlsproxy_quic *q)
{
	if (!q)
		return;
	EVP_CIPHER_free(q->gcm);
	EVP_CIPHER_free(q->ecb);
	EVP_KDF_free(q->hkdf);
	EVP_CIPHER_CTX_free(q->cipher);
	free(q);
}

static bool hkdf(const struct tlsproxy_quic *q, int mode, const uint8_t *key, size_t key_len,
		 const char *by, const uint8_t *data, size_t data_len, uint8_t *ret, size_t ret_len)
{
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(q->hkdf);
	OSSL_PARAM p[] = {
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){ "SHA256" }, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key, key_len),
		OSSL_PARAM_construct_octet_string(by, (void *)(uintptr_t)data, data_len),
		OSSL_PARAM_construct_end(),
	};
	bool ok = ctx && EVP_KDF_derive(ctx, ret, ret_len, p) > 0;

	EVP_KDF_CTX_free(ctx);
	return ok;
}

/* RFC 8446 7.1, without context. */
static bool expand_label(const struct tlsproxy_quic *q, const uint8_t secret[SECRET_LEN],
			 const char *label, uint8_t *ret, size_t ret_len)
{
	static const char prefix[] = "tls13 ";
	size_t n = sizeof(prefix) - 1, m = strlen(label);
	uint8_t info[64];

	put_be16(info, (uint16_t)ret_len);
	info[2] = (uint8_t)(n + m);
	memcpy(info + 3, prefix, n);
	memcpy(info + 3 + n, label, m);
	info[3 + n + m] = 0;
	return hkdf(q, EVP_KDF_HKDF_MODE_EXPAND_ONLY, secret, SECRET_LEN, OSSL_KDF_PARAM_INFO, info,
		    4 + n + m, ret, ret_len);
}

/* RFC 9001 5.2 */
static bool client_keys(const struct tlsproxy_quic *q, const struct version *v, const uint8_t *dcid,
			size_t dcid_len, struct keys *ret)
{
	uint8_t initial[SECRET_LEN], client[SECRET_LEN];

	return hkdf(q, EVP_KDF_HKDF_MODE_EXTRACT_ONLY, dcid, dcid_len, OSSL_KDF_PARAM_SALT, v->salt,
		    sizeof(v->salt), initial, sizeof(initial)) &&
	       expand_label(q, initial, "client in", client, sizeof(client)) &&
	       expand_label(q, client, v->key, ret->key, KEY_LEN) &&
	       expand_label(q, client, v->iv, ret->iv, IV_LEN) &&
	       expand_label(q, client, v->hp, ret->hp, KEY_LEN);
}

static bool hp_mask(struct tlsproxy_quic *q, const struct keys *k, const uint8_t *sample,
		    uint8_t mask[SAMPLE_LEN])
{
	int n = 0;

	return EVP_EncryptInit_ex2(q->cipher, q->ecb, k->hp, NULL, NULL) > 0 &&
	       EVP_CIPHER_CTX_set_padding(q->cipher, 0) > 0 &&
	       EVP_EncryptUpdate(q->cipher, mask, &n, sample, SAMPLE_LEN) > 0 && n == SAMPLE_LEN;
}

/* RFC 9001 5.3; p is ciphertext and tag, out has room for len bytes. */
static bool open_packet(struct tlsproxy_quic *q, const struct keys *k, uint32_t pn,
			const uint8_t *head, size_t head_len, const uint8_t *p, size_t len,
			uint8_t *out)
{
	uint8_t nonce[IV_LEN], tag[TAG_LEN];
	int n = 0;

	memcpy(nonce, k->iv, IV_LEN);
	for (unsigned i = 0; i < 4; i++)
		nonce[IV_LEN - 1 - i] ^= (uint8_t)(pn >> (8 * i));
	memcpy(tag, p + len - TAG_LEN, TAG_LEN);
	return EVP_DecryptInit_ex2(q->cipher, q->gcm, k->key, nonce, NULL) > 0 &&
	       EVP_DecryptUpdate(q->cipher, NULL, &n, head, (int)head_len) > 0 &&
	       EVP_DecryptUpdate(q->cipher, out, &n, p, (int)(len - TAG_LEN)) > 0 &&
	       EVP_CIPHER_CTX_ctrl(q->cipher, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) > 0 &&
	       EVP_DecryptFinal_ex(q->cipher, out + n, &n) > 0;
}

/* ---- frames ---------------------------------------------------------------------- */

/* RFC 9000 16 */
must_check static bool rd_varint(struct rd *r, uint64_t *ret)
{
	uint8_t first, more;
	uint64_t v;

	if (!rd_u8(r, &first))
		return false;
	v = first & 0x3f;
	for (unsigned n = (1u << (first >> 6)) - 1; n; n--) {
		if (!rd_u8(r, &more))
			return false;
		v = v << 8 | more;
	}
	*ret = v;
	return true;
}

must_check static bool skip_varints(struct rd *r, uint64_t n)
{
	uint64_t v;

	while (n--)
		if (!rd_varint(r, &v))
			return false;
	return true;
}

/* False: too long, or another byte stood there before. */
static bool take_crypto(struct hello *h, struct rd *r)
{
	uint64_t off, len;
	const uint8_t *p;

	if (!rd_varint(r, &off) || !rd_varint(r, &len) || len > rd_left(r) ||
	    off > sizeof(h->bytes) || len > sizeof(h->bytes) - off || !rd_bytes(r, (size_t)len, &p))
		return false;
	for (size_t i = 0, at = (size_t)off; i < len; i++, at++) {
		uint8_t bit = (uint8_t)(1u << at % 8);

		if (h->have[at / 8] & bit && h->bytes[at] != p[i])
			return false;
		h->have[at / 8] |= bit;
		h->bytes[at] = p[i];
	}
	h->end = MAX(h->end, (size_t)(off + len));
	return true;
}

/* RFC 9000 19.3: ranges, and three counts with ECN. */
static bool skip_ack(struct rd *r, bool ecn)
{
	uint64_t ranges;

	return skip_varints(r, 2) && rd_varint(r, &ranges) && ranges <= rd_left(r) &&
	       skip_varints(r, 1 + 2 * ranges + (ecn ? 3 : 0));
}

static bool skip_close(struct rd *r)
{
	uint64_t len;

	return skip_varints(r, 2) && rd_varint(r, &len) && len <= rd_left(r) &&
	       rd_skip(r, (size_t)len);
}

/* RFC 9000 12.4: what an Initial packet may hold. */
static bool read_frames(struct hello *h, const uint8_t *p, size_t len)
{
	struct rd r = rd_init(p, len);
	uint8_t type;
	bool ok = len > 0;

	while (ok && rd_u8(&r, &type)) {
		if (type == FRAME_CRYPTO)
			ok = take_crypto(h, &r);
		else if (type == FRAME_ACK || type == FRAME_ACK_ECN)
			ok = skip_ack(&r, type == FRAME_ACK_ECN);
		else if (type == FRAME_CLOSE)
			ok = skip_close(&r);
		else
			ok = type == FRAME_PADDING || type == FRAME_PING;
	}
	return ok;
}

/* ---- packets ---------------------------------------------------------------------- */

static const struct version *find_version(uint32_t number)
{
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
		if (versions[i].number == number)
			return &versions[i];
	return NULL;
}

/* One Initial packet: head up to the packet number, rest from there to its end. */
static void read_initial(struct tlsproxy_quic *q, struct hello *h, const struct version *v,
			 const uint8_t *dcid, uint8_t dcid_len, const uint8_t *head,
			 size_t head_len, size_t rest)
{
	uint8_t mask[SAMPLE_LEN], clear[TLSPROXY_QUIC_DATAGRAM], plain[TLSPROXY_QUIC_DATAGRAM];
	const uint8_t *p = head + head_len;
	struct keys k;
	uint32_t pn = 0;
	size_t pn_len;

	if (head_len + rest > sizeof(plain)) {
		h->bad = true;
		return;
	}
	if (rest < 4 + SAMPLE_LEN || !client_keys(q, v, dcid, dcid_len, &k) ||
	    !hp_mask(q, &k, p + 4, mask))
		return;
	memcpy(clear, head, head_len + 4);
	clear[0] ^= mask[0] & 0x0f;
	pn_len = (clear[0] & 3u) + 1;
	for (size_t i = 0; i < pn_len; i++) {
		clear[head_len + i] ^= mask[1 + i];
		pn = pn << 8 | clear[head_len + i];
	}
	if (!open_packet(q, &k, pn, clear, head_len + pn_len, p + pn_len, rest - pn_len, plain))
		return;
	/* RFC 9000 12.2: all packets of a datagram are for one connection. */
	if (!(head[0] & 0x40) || h->first_len != dcid_len ||
	    memcmp(h->first_dcid, dcid, dcid_len) != 0) {
		h->bad = true;
		return;
	}
	if (h->version &&
	    (h->version != v || h->dcid_len != dcid_len || memcmp(h->dcid, dcid, dcid_len) != 0)) {
		h->bad = true;
		return;
	}
	h->version = v;
	h->dcid_len = dcid_len;
	memcpy(h->dcid, dcid, dcid_len);
	/* Reserved bits, RFC 9000 17.2 */
	if (clear[0] & 0x0c || !read_frames(h, plain, rest - pn_len - TAG_LEN))
		h->bad = true;
}

/* False: no more packets in this datagram that could be read. */
static bool read_packet(struct tlsproxy_quic *q, struct hello *h, struct rd *r)
{
	const uint8_t *head = r->p, *dcid;
	const struct version *v;
	uint64_t token, len;
	uint8_t first, n, dcid_len;
	uint32_t number;
	bool initial;

	if (!rd_u8(r, &first) || !(first & 0x80) || !rd_be32(r, &number) || !rd_u8(r, &dcid_len) ||
	    dcid_len > CID_MAX || !rd_bytes(r, dcid_len, &dcid) || !rd_u8(r, &n) || n > CID_MAX ||
	    !rd_skip(r, n))
		return false;
	v = find_version(number);
	if (!v)
		return false;
	if (!h->first_dcid) {
		h->first_dcid = dcid;
		h->first_len = dcid_len;
	}
	initial = (first >> 4 & 3) == v->initial_type;
	/* A retry has no length, and no client sends one. */
	if ((first >> 4 & 3) == ((v->initial_type + 3) & 3))
		return false;
	if (initial && (!rd_varint(r, &token) || token > rd_left(r) || !rd_skip(r, (size_t)token)))
		return false;
	if (!rd_varint(r, &len) || len > rd_left(r))
		return false;
	if (initial)
		read_initial(q, h, v, dcid, dcid_len, head, (size_t)(r->p - head), (size_t)len);
	return rd_skip(r, (size_t)len);
}

/* Bytes of the message from its start without a gap. */
static size_t contiguous(const struct hello *h)
{
	size_t n = 0;

	while (n < h->end && h->have[n / 8] & (1u << n % 8))
		n++;
	return n;
}

static void read_message(const struct hello *h, struct tlsproxy_sniff *s)
{
	size_t have = contiguous(h), want;

	s->kind = TLSPROXY_SNIFF_MORE;
	if (have < 4)
		return;
	want = 4 + ((size_t)h->bytes[1] << 16 | (size_t)h->bytes[2] << 8 | h->bytes[3]);
	if (h->bytes[0] != 1 || want > sizeof(h->bytes)) {
		s->kind = TLSPROXY_SNIFF_BAD_TLS;
		return;
	}
	if (have < want)
		return;
	s->kind = TLSPROXY_SNIFF_TLS;
	/* Nothing but a hello fits in front of the server's answer. */
	if (h->end > want || !sniff_hello(h->bytes + 4, want - 4, s))
		*s = (struct tlsproxy_sniff){ .kind = TLSPROXY_SNIFF_BAD_TLS };
}

void tlsproxy_sniff_quic(struct tlsproxy_quic *q, const struct iovec *datagrams, size_t n,
			 struct tlsproxy_sniff *ret)
{
	struct hello h;

	memset(&h, 0, sizeof(h));
	*ret = (struct tlsproxy_sniff){ .kind = TLSPROXY_SNIFF_OTHER };
	for (size_t i = 0; i < n && !h.bad; i++) {
		struct rd r = rd_init(datagrams[i].iov_base, datagrams[i].iov_len);
		unsigned packets = 0;

		h.first_dcid = NULL;
		while (packets <= TLSPROXY_QUIC_PACKETS && read_packet(q, &h, &r))
			packets++;
		h.bad |= packets > TLSPROXY_QUIC_PACKETS;
	}
	if (h.bad)
		ret->kind = TLSPROXY_SNIFF_BAD_TLS;
	else if (h.version)
		read_message(&h, ret);
}
