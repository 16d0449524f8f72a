/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run needs before its processes exist: resolvers, the command's environment, the paths it must not see.
 */
#ifndef WEIR_RUN_SETUP_H
#define WEIR_RUN_SETUP_H

#include "weir/config.h"

#define RUN_MAX_RESOLVERS 8

/* From the configuration, else /etc/resolv.conf. May be none. */
size_t run_resolvers(const struct weir_config *cfg, struct endpoint ret[static RUN_MAX_RESOLVERS]);

/*
 * An environment (NULL: our own) without the secrets' sources, with placeholders and, when
 * there is a CA, the variables by which programs find it. NULL-terminated.
 */
must_check int run_environment(const struct weir_config *cfg, char *const *from,
			       char *const *placeholders, bool has_ca, char ***ret);

/*
 * Paths that are covered in the sandbox: the record and the directory of earlier
 * ones, the capture, files that hold secrets, and every Unix socket that has a path. NULL-terminated.
 */
must_check int run_hidden_paths(const struct weir_config *cfg, const char *audit_path, char ***ret);

/* Absolute names of the files that secrets are read from, as they were given. NULL-terminated, or NULL. */
must_check int run_secret_paths(const struct weir_config *cfg, char ***ret);

/* Warns of hosts that secrets name and the policy denies: a mistake in one of the two. */
void run_warn_useless_secrets(const struct weir_config *cfg);

void run_strv_free(char **v);

#endif
