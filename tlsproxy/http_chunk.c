/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunked coding (RFC 9112 7.1), strict: hex digits at once, a bounded
 * extension that is dropped, CRLF and nothing else. Data is handed out as it
 * lies in the input.
 */
#include "tlsproxy/http_internal.h"

enum { SIZE = 0, EXT = 1, SIZE_CR = 2, DATA = 3, DATA_CR = 4, DATA_LF = 5, LAST = 6 };

static int bad(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EBADMSG;
}

/* One byte of a size line. */
static int size_line(struct http_chunks *c, uint8_t b, const char **ret_why)
{
	int d = c->state == SIZE ? str_hex_digit(b) : -1;

	if (++c->line > HTTP_CHUNK_LINE_MAX)
		return bad(ret_why, "chunk size line too long");
	if (c->state == SIZE_CR) {
		if (b != '\n')
			return bad(ret_why, "CR without LF in a chunk size line");
		c->state = c->left ? DATA : LAST;
		return 0;
	}
	if (d >= 0) {
		if (++c->digits > HTTP_CHUNK_DIGITS_MAX)
			return bad(ret_why, "chunk size too large");
		c->left = c->left << 4 | (uint64_t)d;
		return 0;
	}
	if (c->digits == 0)
		return bad(ret_why, "chunk size is not a hexadecimal number");
	if (b == '\r') {
		c->state = SIZE_CR;
		return 0;
	}
	if (c->state == SIZE && b != ';')
		return bad(ret_why, "chunk size is not a hexadecimal number");
	if ((b < 0x20 && b != '\t') || b >= 0x7f)
		return bad(ret_why, "bad byte in a chunk extension");
	if (++c->ext > HTTP_CHUNK_EXT_MAX)
		return bad(ret_why, "too many chunk extensions");
	c->state = EXT;
	return 0;
}

int http_chunks_feed(struct http_chunks *c, const uint8_t *p, size_t n, size_t *ret_taken,
		     const uint8_t **ret_data, size_t *ret_len, bool *ret_last, const char **ret_why)
{
	size_t i = 0;
	int r;

	*ret_len = 0;
	*ret_last = false;
	for (; i < n && c->state != DATA && c->state != LAST; i++) {
		if (c->state <= SIZE_CR) {
			r = size_line(c, p[i], ret_why);
			if (r < 0)
				return r;
		} else if (p[i] != (c->state == DATA_CR ? '\r' : '\n')) {
			return bad(ret_why, "chunk data does not end with CRLF");
		} else if (c->state == DATA_CR) {
			c->state = DATA_LF;
		} else {
			*c = (struct http_chunks){ .ext = c->ext };
		}
	}
	if (c->state == DATA && i < n) {
		*ret_data = p + i;
		*ret_len = (size_t)MIN(c->left, (uint64_t)(n - i));
		c->left -= *ret_len;
		i += *ret_len;
		if (c->left == 0)
			c->state = DATA_CR;
	}
	*ret_last = c->state == LAST;
	*ret_taken = i;
	return 0;
}
