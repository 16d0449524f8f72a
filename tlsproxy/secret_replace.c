/* SPDX-License-Identifier: Apache-2.0 */
/* Other secrets for flows that begin from now on; those under way keep what they began with. */
#include "tlsproxy/tlsproxy_int.h"
#include "tlsproxy/secret_internal.h"

int tlsproxy_secrets_replace(struct tlsproxy *tp, const struct tlsproxy_secret *secrets, size_t n,
			     char *err, size_t err_size)
{
	struct secret_set *set;
	int r = secret_set_new(secrets, n, &set, err, err_size);

	if (r == 0)
		tp->secrets = set;
	return r;
}
