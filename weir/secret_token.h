/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a token command writes, `"from": {"command": …, "output": "token"}`: the value is the
 * token in it, and how long it is good says when the command is run again. Only the
 * tlsproxy process calls this; what it tells others is the time.
 */
#ifndef WEIR_SECRET_TOKEN_H
#define WEIR_SECRET_TOKEN_H

#include "base/base.h"

/* JSON around a token, perhaps with others beside it. Stops a command that never ends. */
#define SECRET_TOKEN_OUTPUT_MAX ((size_t)16 * 1024)

/*
 * text, a token or JSON, becomes the token, in its place; the rest is wiped. *ret_life_s is 0
 * for a token alone, of which nothing is known. -EBADMSG with *ret_why, static, and text
 * as it was.
 */
must_check int secret_token_take(struct buf *text, uint32_t *ret_life_s, const char **ret_why);

#endif
