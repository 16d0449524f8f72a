/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens that the sandbox asks for itself, in the tlsproxy process: what a reply brought for a
 * secret with mask_tokens becomes a secret of its own, for as long as the reply says.
 *
 *   reply ─► proxy_mask (ops.mask) ─► in force and in the vault ─► the sandbox gets placeholders
 *   its time is over ─► the value is forgotten; the placeholder goes out as it is
 *   more than KEPT_TOKENS_MAX, or than there is locked memory for ─► the oldest are forgotten
 */
#ifndef WEIR_PROXY_MASKS_H
#define WEIR_PROXY_MASKS_H

#include "weir/proxy_secrets.h"
#include "weir/record.h"

/* One for the process. changed: the placeholders are others; from the loop. */
void proxy_masks_init(struct proxy_secrets *ps, struct tlsproxy *tp, struct loop *loop,
		      struct record *record, void (*changed)(void *ctx), void *ctx);
/* ops.mask */
int proxy_mask(void *ctx, const struct tlsproxy_flow *f, const char *env,
	       const struct tlsproxy_fresh *list, size_t n);

#endif
