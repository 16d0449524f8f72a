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
	struct kept_token tokens[KEPT_TOKENS_MAX];
	uint32_t lives[CONFIG_SECRETS_MAX]; /* seconds that the first tokens are good; 0: not said */
};

/* The values from their sources (first), or what a process before this has left in the vault. */
must_check int proxy_secrets_open(struct proxy_secrets *ps, bool first, struct conf_error *err);
/* What tlsproxy_new() takes, and what it points to that is not the configuration's. */
struct secret_list {
	struct tlsproxy_secret *v;
	size_t n;
	struct tlsproxy_mask *masks;
	struct tlsproxy_host_pattern *hosts; /* of tokens */
	struct locked unknown;		     /* in place of values that are not there */
};
/*
 * secret_list.c: one for each definition, in their order, with what kept has for it, then one for
 * each token of kept. A secret without a value gets one that nobody knows, and no host.
 */
must_check int secret_list_new(const struct secret_config *defs, size_t n, const struct kept *kept,
			       struct secret_list *ret);
void secret_list_free(struct secret_list *l);
/* NULL: none of this name. */
const struct kept_secret *kept_find(const struct kept *k, const char *env);
/* From now on the secrets are the definitions' and no other: what a process before this had
 * besides has been known to the proxy, and is a violation. */
must_check int proxy_secrets_begin(struct proxy_secrets *ps, struct tlsproxy *tp,
				   struct conf_error *err);
/*
 * These tokens in place of those there were, in proxy and vault, or in neither: then err says
 * why. A new one's placeholder is "", and set.
 */
must_check int proxy_secrets_tokens(struct proxy_secrets *ps, struct tlsproxy *tp,
				    struct kept_token *tokens, size_t n, struct conf_error *err);
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
