/* SPDX-License-Identifier: Apache-2.0 */
/* Every cap of policy/, each with what it stops. Internal to policy/. */
#ifndef WEIR_POLICY_LIMITS_H
#define WEIR_POLICY_LIMITS_H

/* A file that is read whole: memory, and a /dev/zero given as a path. */
#define CONF_FILE_MAX ((size_t)128 << 20)
/*
 * What a file may hold: "[" is one byte in it and some 150 once parsed, "1," some
 * 30, and YAML and TOML note where each stands. A million rules of six members
 * each are within these.
 */
#define CONF_LISTS_MAX ((size_t)4 << 20)  /* objects and lists */
#define CONF_VALUES_MAX ((size_t)8 << 20) /* values; of JSON, what stands between commas */
/* Nested values: jansson and toml++ parse and free by recursion, so depth is stack. */
#define CONF_DEPTH_MAX 64

/*
 * Rules after expansion: memory, some 300 bytes each at most while they are
 * compiled; a decision costs the same. A rule's number must fit an int.
 */
#define POLICY_RULES_MAX ((size_t)1 << 20)
/* Of one rule: methods and paths are walked by a decision, ports take room in the index. */
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
/* What a rule's limit may say: below it is an outage, above it no limit. */
#define POLICY_BANDWIDTH_MIN UINT64_C(1000)
#define POLICY_BANDWIDTH_MAX UINT64_C(16000000000)
#define POLICY_BURST_MIN UINT64_C(2048)
#define POLICY_BURST_MAX (UINT64_C(1) << 32)
#define POLICY_PACKETS_MAX UINT64_C(100000000)
#define POLICY_CONNECTIONS_MAX UINT64_C(1000000)
/* One --net-rule argument. */
#define POLICY_TOKENS_MAX 65536
/* Steps through what its names imply that the TOML parser may take: some two seconds' worth. */
#define CONF_TOML_STEPS_MAX (UINT64_C(1) << 32)

#endif
