/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests: QUIC Initial packets as a client makes them, on HMAC alone. */
#ifndef WEIR_TEST_QUIC_RIG_H
#define WEIR_TEST_QUIC_RIG_H

#include "tlsproxy/tlsproxy.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#pragma GCC diagnostic ignored "-Wunused-function"

#define QUIC1 0x00000001u
#define QUIC2 0x6b3343cfu

static const uint8_t rfc_dcid[8] = { 0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08 };

static void quic_hmac(const uint8_t *key, size_t n, const uint8_t *p, size_t len, uint8_t out[32])
{
	unsigned m = 32;

	if (!HMAC(EVP_sha256(), key, (int)n, p, len, out, &m))
		abort();
}

static void quic_expand(const uint8_t secret[32], const char *label, uint8_t *out, size_t n)
{
	uint8_t info[80], t[32];
	int m = snprintf((char *)info + 3, 60, "tls13 %s", label);

	put_be16(info, (uint16_t)n);
	info[2] = (uint8_t)m;
	info[3 + m] = 0;
	info[4 + m] = 1;
	quic_hmac(secret, 32, info, (size_t)m + 5, t);
	memcpy(out, t, n);
}

static void quic_aes_block(const uint8_t key[16], const uint8_t in[16], uint8_t out[16])
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n;

	if (EVP_EncryptInit_ex(c, EVP_aes_128_ecb(), NULL, key, NULL) <= 0 ||
	    EVP_EncryptUpdate(c, out, &n, in, 16) <= 0)
		abort();
	EVP_CIPHER_CTX_free(c);
}

/* Bits of the first byte that are kept. */
static uint8_t quic_first = 0xff;

/* Returns the datagram's length; frames are padded so that it has at least `least` bytes. */
static size_t quic_initial(uint32_t version, const uint8_t *dcid, uint8_t dcid_len, uint32_t pn,
			   const uint8_t *frames, size_t len, size_t least, uint8_t *out)
{
	static const uint8_t salt1[20] = { 0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34,
					   0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8,
					   0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a };
	static const uint8_t salt2[20] = { 0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6,
					   0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26,
					   0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9 };
	bool two = version == QUIC2;
	uint8_t initial[32], secret[32], key[16], iv[12], hp[16], mask[16], plain[4096] = { 0 };
	size_t head = 0, body;
	EVP_CIPHER_CTX *c;
	int n;

	quic_hmac(two ? salt2 : salt1, 20, dcid, dcid_len, initial);
	quic_expand(initial, "client in", secret, 32);
	quic_expand(secret, two ? "quicv2 key" : "quic key", key, 16);
	quic_expand(secret, two ? "quicv2 iv" : "quic iv", iv, 12);
	quic_expand(secret, two ? "quicv2 hp" : "quic hp", hp, 16);
	memcpy(plain, frames, len);
	out[head++] = (two ? 0xd3 : 0xc3) & quic_first; /* packet number of four bytes */
	put_be32(out + head, version);
	head += 4;
	out[head++] = dcid_len;
	memcpy(out + head, dcid, dcid_len);
	head += dcid_len;
	out[head++] = 0; /* source id */
	out[head++] = 0; /* token */
	body = MAX(len, least > head + 2 + 4 + 16 ? least - head - 2 - 4 - 16 : 0);
	put_be16(out + head, (uint16_t)(0x4000 | (4 + body + 16)));
	head += 2;
	put_be32(out + head, pn);
	head += 4;
	for (unsigned i = 0; i < 4; i++)
		iv[11 - i] ^= (uint8_t)(pn >> 8 * i);
	c = EVP_CIPHER_CTX_new();
	if (EVP_EncryptInit_ex(c, EVP_aes_128_gcm(), NULL, key, iv) <= 0 ||
	    EVP_EncryptUpdate(c, NULL, &n, out, (int)head) <= 0 ||
	    EVP_EncryptUpdate(c, out + head, &n, plain, (int)body) <= 0 ||
	    EVP_EncryptFinal_ex(c, out + head + n, &n) <= 0 ||
	    EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, out + head + body) <= 0)
		abort();
	EVP_CIPHER_CTX_free(c);
	quic_aes_block(hp, out + head, mask);
	out[0] ^= mask[0] & 0x0f;
	for (unsigned i = 0; i < 4; i++)
		out[head - 4 + i] ^= mask[1 + i];
	return head + body + 16;
}

/* A CRYPTO frame; lengths as two bytes. */
static size_t quic_crypto(size_t off, const uint8_t *p, size_t len, uint8_t *out)
{
	out[0] = 6;
	put_be16(out + 1, (uint16_t)(0x4000 | off));
	put_be16(out + 3, (uint16_t)(0x4000 | len));
	memcpy(out + 5, p, len);
	return 5 + len;
}

#endif
