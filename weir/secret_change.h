/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A change of the secrets while the sandbox runs, as one JSON text that the
 * supervisor and the tlsproxy read alike, each into its own copy of the configuration:
 *
 *   {"op": "set", "secret": {as in a configuration file, without "from"}}
 *   {"op": "value", "env": ENV}                    the same secret, another value
 *   {"op": "hosts", "env": ENV, "hosts": [...]}
 *   {"op": "rm", "env": ENV}
 *
 * No value stands in it: that comes from a descriptor beside it.
 */
#ifndef WEIR_SECRET_CHANGE_H
#define WEIR_SECRET_CHANGE_H

#include "weir/config.h"

enum secret_op { SECRET_SET = 1, SECRET_VALUE = 2, SECRET_HOSTS = 3, SECRET_REMOVE = 4 };

struct secret_change {
	enum secret_op op;
	char *env;
	struct weir_config *def; /* holds one secret: set, hosts */
};
/* Against what there is: a secret that is meant must exist. err says what is wrong. */
must_check int secret_change_parse(const struct weir_config *cfg, const char *text, size_t len,
				   struct secret_change *ret, struct conf_error *err);
void secret_change_fini(struct secret_change *c);
/*
 * The definitions as they would be: a copy of the array that points into cfg and
 * c, to be freed as such. *ret_at: where the secret stands, or stood.
 */
must_check int secret_change_preview(const struct weir_config *cfg, const struct secret_change *c,
				     struct secret_config **ret, size_t *ret_n, size_t *ret_at);
/* The same, for good: takes over next of secret_change_preview() and what is in c. */
void secret_change_apply(struct weir_config *cfg, struct secret_change *c,
			 struct secret_config *next, size_t n);
/* Index of the secret; cfg->n_secrets when there is none of this name. */
size_t secret_index(const struct weir_config *cfg, const char *env);

#endif
