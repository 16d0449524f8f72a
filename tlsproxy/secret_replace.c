/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other secrets for requests that begin from now on, on connections that are there
 * as well; requests under way keep what they began with.
 */
#include "tlsproxy/secret_internal.h"
#include "tlsproxy/tlsproxy_int.h"

int tlsproxy_secrets_replace(struct tlsproxy *tp, const struct tlsproxy_secret *secrets, size_t n,
			     char *err, size_t err_size)
{
	struct secret_set *next, *old = tp->secrets;
	int r = secret_set_next(old, secrets, n, time_mono_ns() / NS_PER_S, &next, err, err_size);

	if (r < 0)
		return r;
	tp->secrets = next;
	/* As tls.c does where there are secrets from the start. */
	SSL_CTX_set_options(tp->upstream_ctx, SSL_OP_CLEANSE_PLAINTEXT);
	list_for_each (it, &tp->sessions) {
		struct session *s = container_of(it, struct session, node);

		if (s->filter)
			http_filter_secrets(s->filter, next);
	}
	secret_set_unref(old);
	return 0;
}

bool tlsproxy_known(const struct tlsproxy *tp, size_t i, struct tlsproxy_known *ret)
{
	const struct secret *s;

	if (i >= secret_set_count(tp->secrets))
		return false;
	s = &tp->secrets->secrets[i];
	*ret = (struct tlsproxy_known){ .env = s->env,
					.placeholder = s->placeholder,
					.on_violation = s->on_violation };
	return true;
}
