/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of bytes: what is found is what a walk over the bytes finds, wherever it stands. */
#include "base/base.h"
#include "tlsproxy/byteset.h"

#include <setjmp.h>
#include <cmocka.h>

static size_t walk(const bool *has, const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && !has[p[i]])
		i++;
	return i;
}

/* Each byte in a set of its own, among each other byte, at each place of two blocks. */
static void test_each_byte(void **state)
{
	uint8_t text[40];

	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		struct byteset set = { 0 };

		byteset_add(&set, (uint8_t)c);
		for (unsigned other = 0; other < 256; other++) {
			memset(text, (int)other, sizeof(text));
			assert_int_equal(byteset_find(&set, text, sizeof(text)),
					 other == c ? 0 : sizeof(text));
		}
		for (size_t at = 0; at < sizeof(text); at++) {
			memset(text, (int)(c ^ 0x80), sizeof(text));
			text[at] = (uint8_t)c;
			assert_int_equal(byteset_find(&set, text, sizeof(text)), at);
			assert_int_equal(byteset_find(&set, text, at), at);
		}
	}
}

static void test_random_sets(void **state)
{
	uint32_t seed = 1;
	uint8_t text[80];

	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct byteset set = { 0 };
		bool has[256] = { false };
		size_t n, off;

		for (unsigned k = seed >> 28; k; k--) {
			seed = seed * 1664525 + 1013904223;
			byteset_add(&set, (uint8_t)(seed >> 24));
			has[(uint8_t)(seed >> 24)] = true;
		}
		for (size_t i = 0; i < sizeof(text); i++) {
			seed = seed * 1664525 + 1013904223;
			text[i] = (uint8_t)(seed >> 24);
		}
		off = seed >> 8 & 15;
		n = (seed >> 12) % (sizeof(text) - off);
		assert_int_equal(byteset_find(&set, text + off, n), walk(has, text + off, n));
		seed = seed * 1664525 + 1013904223;
	}
}

static void test_none(void **state)
{
	struct byteset set = { 0 };

	(void)state;
	assert_int_equal(byteset_find(&set, NULL, 0), 0);
	assert_int_equal(byteset_find(&set, (const uint8_t *)"0123456789abcdef0", 17), 17);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_byte),
		cmocka_unit_test(test_random_sets),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
