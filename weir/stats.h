/* SPDX-License-Identifier: Apache-2.0 */
/* The totals of a sandbox's network under the names that status, metrics and the record use. */
#ifndef WEIR_STATS_H
#define WEIR_STATS_H

#include "netstack/netstack.h"

struct stat_item {
	const char *key; /* "tcp_bytes_up"; "_now" or "memory_": may go down again */
	uint64_t value;
};
#define STATS_MAX 48

/* Returns how many. */
size_t stats_list(const struct netstack_stats *s, struct stat_item ret[static STATS_MAX]);
/* Counts what goes down again. */
bool stats_is_gauge(const char *key);

#endif
