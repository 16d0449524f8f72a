/* SPDX-License-Identifier: Apache-2.0 */
/* What the compiler takes for granted. */
#include "tests/guests/guest.h"

void *memcpy(void *dst, const void *src, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		((volatile uint8_t *)dst)[i] = ((const uint8_t *)src)[i];
	return dst;
}

void *memset(void *dst, int c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		((volatile uint8_t *)dst)[i] = (uint8_t)c;
	return dst;
}
