/* SPDX-License-Identifier: Apache-2.0 */
/* TOML is read in two steps: a look at what toml++ does not check, then toml++. */
#ifndef WEIR_POLICY_CONF_TOML_H
#define WEIR_POLICY_CONF_TOML_H

#include "policy/conf_tree.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Refuses what is deeper than CONF_DEPTH_MAX, and a header without a name. */
int conf_toml_scan(struct conf_tree *t, const char *text, size_t len);

#ifdef __cplusplus
}
#endif

#endif
