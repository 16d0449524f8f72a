/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of bytes, and the first of them in a text: many bytes at a time where the
 * processor can look 16 up at once (SSSE3, found out when it runs), else one by one.
 */
#ifndef WEIR_TLSPROXY_BYTESET_H
#define WEIR_TLSPROXY_BYTESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct byteset {
	bool has[256];
	/* By the low half of a byte: bit i stands for high half i (low[0]), i + 8 (low[1]). */
	uint8_t low[2][16];
};

/* An empty one is all zero. */
void byteset_add(struct byteset *set, uint8_t c);
/* The index of the first that is in the set; n: none. */
size_t byteset_find(const struct byteset *set, const uint8_t *p, size_t n);

#endif
