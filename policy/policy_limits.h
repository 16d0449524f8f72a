/* SPDX-License-Identifier: Apache-2.0 */
/* Every cap of policy/, each with what it stops. Internal to policy/. */
#ifndef WEIR_POLICY_LIMITS_H
#define WEIR_POLICY_LIMITS_H

/* A file that is read whole: memory, and a /dev/zero given as a path. */
#define CONF_FILE_MAX ((size_t)16 << 20)
/* Nested values: jansson and toml++ parse and free by recursion, so depth is stack. */
#define CONF_DEPTH_MAX 64
/* Values of a YAML or TOML file, which note where each stands: memory. */
#define CONF_VALUES_MAX (CONF_FILE_MAX / 4)

/* Rules after expansion: the walk is linear, so this bounds a decision's cost. */
#define POLICY_RULES_MAX 65536
/* Ports, methods and paths of one rule: the same, within a rule. */
#define POLICY_PORTS_MAX 1024
#define POLICY_METHODS_MAX 64
#define POLICY_PATHS_MAX 1024
/* Bytes of one path pattern and of one path, normalised: matching is their product. */
#define POLICY_PATTERN_MAX 2048
#define POLICY_PATH_MAX 16384
/* Texts that are copied into every verdict, record and 403 answer. */
#define POLICY_ID_MAX 64
#define POLICY_REASON_MAX 512
#define POLICY_METHOD_MAX 32
/* One --net-rule argument. */
#define POLICY_TOKENS_MAX 65536

#endif
