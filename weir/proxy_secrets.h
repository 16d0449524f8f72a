/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The secrets as the tlsproxy process has them: what the configuration says of
 * each, and its value and placeholder, which stand in locked memory in the form
 * in which the vault keeps them (vault.h). The proxy itself (tlsproxy.h) has its
 * own copy, which it searches with.
 */
#ifndef WEIR_PROXY_SECRETS_H
#define WEIR_PROXY_SECRETS_H

#include "weir/config_internal.h"
#include "weir/vault.h"

struct proxy_secrets {
	struct weir_config *cfg; /* this process's own, which changes */
	struct vault vault;
	struct locked image; /* as it is in the vault */
	struct kept kept;    /* points into it */
	struct kept_secret list[CONFIG_SECRETS_MAX];
	uint32_t lives[CONFIG_SECRETS_MAX]; /* seconds that the first tokens are good; 0: not said */
};

/* The values from their sources (first), or what a process before this has left in the vault. */
must_check int proxy_secrets_open(struct proxy_secrets *ps, bool first, struct conf_error *err);
/*
 * What tlsproxy_new() takes: one for each definition, in their order, with what kept
 * has for it. Freed by proxy_secrets_unlist(). A secret without a value gets one that
 * nobody knows, and no host.
 */
must_check int proxy_secrets_list(const struct secret_config *defs, size_t n, const struct kept *kept,
				  struct tlsproxy_secret **ret, struct locked *ret_unknown);
void proxy_secrets_unlist(struct tlsproxy_secret *list, struct locked *unknown);
/* The proxy is there: its authority and placeholders go into the vault. */
must_check int proxy_secrets_keep(struct proxy_secrets *ps, const struct tlsproxy *tp,
				  struct conf_error *err);
/*
 * The definitions, and one that allows nothing for each secret that is gone: who begins
 * with these and goes on with cfg's knows the placeholders of both. *ret is the
 * caller's to free, what it points to is not.
 */
must_check int proxy_secrets_removed(const struct proxy_secrets *ps, struct secret_config **ret,
				     size_t *ret_n);
/* A request carried it: a successor goes on counting from there. */
void proxy_secrets_used(struct proxy_secrets *ps, const char *env, uint64_t uses);
/* NULL: none of this name. */
const struct kept_secret *proxy_secrets_find(const struct proxy_secrets *ps, const char *env);
/* What becomes of the value of one secret. */
enum value_change { VALUE_KEPT = 0, VALUE_PUT = 1, VALUE_DROPPED = 2 };
/*
 * These definitions, in place of cfg's, which stay the caller's to exchange; value is
 * env's new one with VALUE_PUT. In force in the proxy and in the vault, or in neither:
 * then err says why.
 */
must_check int proxy_secrets_change(struct proxy_secrets *ps, struct tlsproxy *tp,
				    const struct secret_config *defs, size_t n, const char *env,
				    enum value_change how, const struct buf *value,
				    struct conf_error *err);
void proxy_secrets_close(struct proxy_secrets *ps);

#endif
