/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of WebSocket frames (RFC 6455 5.2), read strictly and written. */
#include "tlsproxy/ws_int.h"

#define FIN 0x80
#define RSV1 0x40
#define RSV23 0x30
#define MASKED 0x80

static bool opcode_known(uint8_t op)
{
	return op <= WS_BINARY || (op >= WS_CLOSE && op <= WS_PONG);
}

static enum ws_fault first_byte(struct ws_head *h, uint8_t b)
{
	h->fin = b & FIN;
	h->rsv1 = b & RSV1;
	h->opcode = b & 0x0f;
	if ((b & RSV23) || !opcode_known(h->opcode))
		return WS_BAD_FRAME;
	return h->opcode >= WS_CLOSE && (!h->fin || h->rsv1) ? WS_BAD_CONTROL : WS_OK;
}

static enum ws_fault second_byte(struct ws_head *h, uint8_t b)
{
	uint8_t len = b & 0x7f;

	h->masked = b & MASKED;
	h->want = (uint8_t)(2 + (len == 126 ? 2 : len == 127 ? 8 : 0) + (h->masked ? 4 : 0));
	h->length = len < 126 ? len : 0;
	return h->opcode >= WS_CLOSE && len > WS_CONTROL_MAX ? WS_BAD_CONTROL : WS_OK;
}

static enum ws_fault finish_head(struct ws_head *h)
{
	uint8_t len = h->bytes[1] & 0x7f;
	size_t n = len == 126 ? 2 : len == 127 ? 8 : 0;

	for (size_t i = 0; i < n; i++)
		h->length = h->length << 8 | h->bytes[2 + i];
	if (h->masked)
		memcpy(h->key, h->bytes + 2 + n, 4);
	if ((n == 2 && h->length < 126) || (n == 8 && h->length < 65536) || h->length >> 63)
		return WS_BAD_FRAME;
	return WS_OK;
}

enum ws_fault ws_head_feed(struct ws_head *h, const uint8_t *p, size_t n, size_t *ret_taken,
			   bool *ret_done)
{
	enum ws_fault f = WS_OK;
	size_t i = 0;

	while (f == WS_OK && i < n && (h->want == 0 || h->n < h->want)) {
		h->bytes[h->n++] = p[i++];
		if (h->n == 1)
			f = first_byte(h, h->bytes[0]);
		else if (h->n == 2)
			f = second_byte(h, h->bytes[1]);
	}
	*ret_taken = i;
	*ret_done = f == WS_OK && h->want && h->n == h->want;
	return *ret_done ? finish_head(h) : f;
}

size_t ws_head_write(uint8_t *end, uint8_t first, size_t length, const uint8_t *key)
{
	size_t ext = length < 126 ? 0 : length < 65536 ? 2 : 8, n = 2 + ext + (key ? 4 : 0);
	uint8_t *p = end - n;

	p[0] = first;
	p[1] = (uint8_t)((key ? MASKED : 0) | (ext == 0 ? length : ext == 2 ? 126 : 127));
	for (size_t i = 0; i < ext; i++)
		p[2 + i] = (uint8_t)((uint64_t)length >> (8 * (ext - 1 - i)));
	if (key)
		memcpy(p + 2 + ext, key, 4);
	return n;
}

void ws_mask(uint8_t *p, size_t n, const uint8_t key[4], size_t at)
{
	uint8_t k[8];
	uint64_t word, bytes;
	size_t i = 0;

	for (size_t j = 0; j < 8; j++)
		k[j] = key[(at + j) % 4];
	memcpy(&word, k, 8);
	for (; i + 8 <= n; i += 8) {
		memcpy(&bytes, p + i, 8);
		bytes ^= word;
		memcpy(p + i, &bytes, 8);
	}
	for (; i < n; i++)
		p[i] ^= k[i % 8];
}

bool ws_close_code_valid(uint16_t code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}

const char *ws_fault_text(enum ws_fault f)
{
	static const char *const texts[] = {
		[WS_OK] = "no fault",
		[WS_BAD_FRAME] = "a WebSocket frame that is malformed",
		[WS_BAD_MASK] = "a WebSocket frame that is masked as only the other side may",
		[WS_BAD_CONTROL] = "a WebSocket control frame that is malformed",
		[WS_BAD_SEQUENCE] = "WebSocket frames in an order that is none",
		[WS_BAD_DEFLATE] = "compressed WebSocket data that is corrupt",
		[WS_TOO_LONG] = "a WebSocket control frame that is too long once filtered",
	};

	return (size_t)f < ARRAY_SIZE(texts) ? texts[f] : "unknown";
}

uint16_t ws_fault_code(enum ws_fault f)
{
	return f == WS_BAD_DEFLATE ? 1007 : f == WS_TOO_LONG ? 1009 : 1002;
}
