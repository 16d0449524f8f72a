/* SPDX-License-Identifier: Apache-2.0 */
/* The token in what a command writes. */
#include "weir/secret_token.h"

#include "tlsproxy/tlsproxy.h"

#include <time.h>

/* In place: text may be a window into locked memory, which another buffer is not. */
static void replace(struct buf *text, const char *p, size_t len)
{
	uint8_t *at = buf_at(text);

	explicit_bzero(at, text->len);
	memcpy(at, p, len);
	text->len = len;
}

int secret_token_take(struct buf *text, uint32_t *ret_life_s, const char **ret_why)
{
	struct tlsproxy_token t;
	bool is_json = text->len && buf_at(text)[0] == '{';
	int r = tlsproxy_token_read(buf_at(text), text->len, (uint64_t)time(NULL), &t, ret_why);

	if (r < 0)
		return r;
	/* A token is a part of what was written, or all of it. */
	assert(t.access_len <= text->len);
	replace(text, t.access, t.access_len);
	*ret_life_s = is_json ? (uint32_t)t.life_s : 0;
	explicit_bzero(&t, sizeof(t));
	return 0;
}
