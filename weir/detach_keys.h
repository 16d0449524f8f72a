/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that mean weir and not the program in the terminal, written as Docker writes them. */
#ifndef WEIR_DETACH_KEYS_H
#define WEIR_DETACH_KEYS_H

#include "base/base.h"

#define DETACH_KEYS_MAX 8

struct detach_keys {
	uint8_t key[DETACH_KEYS_MAX];
	size_t n;     /* 0: none */
	size_t typed; /* of them in a row, held back */
};

/* ctrl-p,ctrl-q */
#define DETACH_KEYS_DEFAULT ((struct detach_keys){ .key = { 16, 17 }, .n = 2 })

/* "ctrl-]", "ctrl-p,ctrl-q", "a,b"; "none" or "": there are none. */
must_check int detach_keys_parse(const char *text, struct detach_keys *ret, const char **ret_why);
/*
 * Copies what was typed to out, which has room for DETACH_KEYS_MAX more; the number of bytes.
 * What begins the sequence is held back until it turns out to be no such. Behind the
 * whole sequence nothing is copied.
 */
size_t detach_keys_filter(struct detach_keys *k, const uint8_t *in, size_t n, uint8_t *out,
			  bool *ret_whole);

#endif
