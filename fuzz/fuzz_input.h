/* SPDX-License-Identifier: Apache-2.0 */
/* The fuzzer's input as a script: bytes that decide, and bytes that somebody says. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include "base/base.h"

#include "fuzz_must.h"

static struct rd input;

/* 0 behind its end. */
static inline uint8_t next(void)
{
	uint8_t b = 0;

	return rd_u8(&input, &b) ? b : 0;
}

/* A length, and as many bytes, or those there are. */
static inline const uint8_t *some(size_t *ret_n)
{
	size_t n = next();
	const uint8_t *p;

	*ret_n = MIN(n, rd_left(&input));
	MUST(rd_bytes(&input, *ret_n, &p));
	return p;
}

#endif
