/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets for tests: made from C strings. */
#ifndef WEIR_TEST_SECRET_RIG_H
#define WEIR_TEST_SECRET_RIG_H

#include "tlsproxy/secret_internal.h"

#include <stdio.h>

struct secret_spec {
	const char *env, *value, *host;
	unsigned places;
	enum tlsproxy_violation on_violation;
};

#define SECRET_RIG_MAX 32

static inline struct secret_set *secret_rig(const struct secret_spec *spec, size_t n)
{
	struct tlsproxy_host_pattern hosts[SECRET_RIG_MAX];
	struct tlsproxy_secret in[SECRET_RIG_MAX];
	struct secret_set *set;
	char err[256] = "";

	char names[SECRET_RIG_MAX][24];

	for (size_t i = 0; i < n; i++) {
		/* Tests that do not care call them all the same. */
		snprintf(names[i], sizeof(names[i]), i ? "%s%zu" : "%s", spec[i].env, i);
		if (tlsproxy_host_pattern_parse(spec[i].host, strlen(spec[i].host), &hosts[i],
						NULL) < 0)
			abort();
		in[i] = (struct tlsproxy_secret){ .env = n > 1 && str_eq(spec[0].env, spec[1].env)
								 ? names[i]
								 : spec[i].env,
						  .value = spec[i].value,
						  .value_len = strlen(spec[i].value),
						  .hosts = &hosts[i],
						  .n_hosts = 1,
						  .places = spec[i].places,
						  .on_violation = spec[i].on_violation };
	}
	if (secret_set_new(in, n, &set, err, sizeof(err)) < 0) {
		fprintf(stderr, "%s (%s)\n", err, spec[0].value);
		abort();
	}
	return set;
}

#endif
