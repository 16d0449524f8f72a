/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole texts in which there is nothing to find, as most of a head are. A text without a
 * byte that begins an escape has one reading, and what no pattern ends in needs no
 * stream. No escape is shorter than what it stands for: a text shorter than the
 * shortest pattern holds none, however it is written.
 */
#include "tlsproxy/secret_internal.h"

static bool is_clean(const struct secret_machine *m, const struct byteset *wakes, const uint8_t *p,
		     size_t n)
{
	uint32_t state = 0;
	size_t i = byteset_find(wakes, p, n);

	while (i < n) {
		state = secret_machine_next(m, state, p[i++]);
		if (m->nodes[state].match)
			return false;
		if (!state)
			i += byteset_find(wakes, p + i, n - i);
	}
	return true;
}

bool secret_clean_out(const struct secret_set *set, const void *p, size_t n)
{
	return n < set->shortest_out || (byteset_find(&set->escapes_out, p, n) == n &&
					 is_clean(&set->out, &set->wakes_out, p, n));
}

bool secret_clean_back(const struct secret_set *set, const void *p, size_t n)
{
	return n < set->shortest_back ||
	       (byteset_find(&set->escapes, p, n) == n && is_clean(&set->back, &set->wakes, p, n));
}
