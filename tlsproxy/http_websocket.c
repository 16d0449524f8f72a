/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies after an upgrade to WebSocket (RFC 6455 5.2): values in the payload
 * become placeholders again. A value and its placeholder are equally long, so the
 * frames keep their lengths and only have to be told from what they carry.
 *
 * What could begin a value is held back inside a frame but never past its end: a
 * message that ends like a value begins must not wait for the next one. So a value
 * that a server cuts over two frames is not found. Compression is not negotiated
 * for hosts of secrets (http_fields.c). The upstream is hostile: a masked frame,
 * which no server may send, ends the connection.
 */
#include "tlsproxy/http_internal.h"

/* Whether the header is complete with it. */
static bool header_byte(struct http_frames *w, uint8_t b)
{
	if (w->n_head == 1)
		w->want = (b & 0x7f) == 126 ? 4 : (b & 0x7f) == 127 ? 10 : 2;
	if (w->n_head == 1 && w->want == 2)
		w->left = b & 0x7f;
	if (w->n_head >= 2)
		w->left = w->left << 8 | b;
	w->masked |= w->n_head == 1 && (b & 0x80);
	w->head[w->n_head++] = b;
	return w->n_head >= 2 && w->n_head == w->want;
}

int http_frames_feed(struct http_frames *w, const uint8_t *p, size_t n, struct http_frame_piece *ret)
{
	struct http_frame_piece piece = { 0 };

	while (!w->payload && piece.taken < n) {
		w->payload = header_byte(w, p[piece.taken++]);
		piece.n_head = w->payload ? w->n_head : 0;
		if (w->masked || (w->payload && w->left >> 63))
			return -EBADMSG;
	}
	if (w->payload) {
		piece.payload = p + piece.taken;
		piece.n_payload = (size_t)MIN(w->left, (uint64_t)(n - piece.taken));
		piece.taken += piece.n_payload;
		w->left -= piece.n_payload;
		piece.end = w->left == 0;
	}
	if (piece.end) {
		w->payload = false;
		w->n_head = w->want = 0;
	}
	*ret = piece;
	return 0;
}
