/* SPDX-License-Identifier: Apache-2.0 */
/* What a YAML scalar without quotes is. */
#ifndef WEIR_POLICY_CONF_YAML_H
#define WEIR_POLICY_CONF_YAML_H

#include <stddef.h>
#include <stdint.h>

enum yaml_plain {
	YAML_PLAIN_TEXT = 0,
	YAML_PLAIN_NULL = 1,
	YAML_PLAIN_TRUE = 2,
	YAML_PLAIN_FALSE = 3,
	YAML_PLAIN_INTEGER = 4,
	YAML_PLAIN_AMBIGUOUS = 5,
};

/* *ret_n: of an integer. *ret_what: what else an ambiguous one may be read as. */
enum yaml_plain conf_yaml_plain(const char *s, size_t len, int64_t *ret_n, const char **ret_what);

#endif
