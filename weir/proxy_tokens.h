/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access tokens in the tlsproxy process: what is configured as "token", each with its
 * clock, the token that is good now, and the question under way.
 *
 *   a request needs it ─► proxy_token_want ─► gateway: MSG_DIAL ─► MSG_DIALLED + descriptor
 *      ─► tlsproxy_fetch_token ─► in force (tlsproxy_secrets_replace), requests go on
 *
 * A refresh token that the endpoint replaces is kept in the vault for a successor of this
 * process; it is not written back to where the first one came from.
 */
#ifndef WEIR_PROXY_TOKENS_H
#define WEIR_PROXY_TOKENS_H

#include "weir/message.h"
#include "weir/proxy_secrets.h"
#include "weir/record.h"

/* One for the process. gateway: the loop's own, whose descriptor leads there. */
void proxy_tokens_init(struct proxy_secrets *ps, struct tlsproxy *tp, struct loop *loop,
		       struct record *record, const struct loop_io *gateway);
/* NULL: there is none now. */
const uint8_t *proxy_token_value(const char *env, size_t *ret_len);
/* ops.await */
bool proxy_token_want(void *ctx, const char *env);
/* A request carried it: it is renewed before it ends. From any callback. */
void proxy_token_used(const char *env);
/* MSG_DIALLED; fd is taken over. */
void proxy_tokens_dialled(const struct msg *m, int fd);

#endif
