/* SPDX-License-Identifier: Apache-2.0 */
#include "tlsproxy/byteset.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

void byteset_add(struct byteset *set, uint8_t c)
{
	set->has[c] = true;
	set->low[c >> 7][c & 15] |= (uint8_t)(1u << (c >> 4 & 7));
}

static size_t find_each(const struct byteset *set, const uint8_t *p, size_t i, size_t n)
{
	while (i < n && !set->has[p[i]])
		i++;
	return i;
}

#if defined(__x86_64__)
/*
 * Of each byte, its low half chooses from either table the high halves that are in the
 * set with it; its high half chooses which bit of that counts. A shuffle gives 0 where the
 * index has its highest bit, so each table answers for its own half of all bytes.
 */
__attribute__((target("ssse3"))) static size_t find_many(const struct byteset *set,
							 const uint8_t *p, size_t n)
{
	const __m128i low0 = _mm_loadu_si128((const __m128i *)(const void *)set->low[0]);
	const __m128i low1 = _mm_loadu_si128((const __m128i *)(const void *)set->low[1]);
	const __m128i bits =
		_mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
	const __m128i keep = _mm_set1_epi8((char)0x8f), top = _mm_set1_epi8((char)0x80);
	size_t i = 0;

	for (; n - i >= 16; i += 16) {
		__m128i c = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
		__m128i index = _mm_and_si128(c, keep);
		__m128i high = _mm_and_si128(_mm_srli_epi16(c, 4), _mm_set1_epi8(15));
		__m128i in = _mm_or_si128(_mm_shuffle_epi8(low0, index),
					  _mm_shuffle_epi8(low1, _mm_xor_si128(index, top)));
		__m128i hit = _mm_and_si128(in, _mm_shuffle_epi8(bits, high));
		unsigned none = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(hit, _mm_setzero_si128()));

		if (none != 0xffff)
			return i + (size_t)__builtin_ctz(~none);
	}
	return find_each(set, p, i, n);
}
#endif

size_t byteset_find(const struct byteset *set, const uint8_t *p, size_t n)
{
#if defined(__x86_64__)
	if (n >= 16 && __builtin_cpu_supports("ssse3"))
		return find_many(set, p, n);
#endif
	return find_each(set, p, 0, n);
}
