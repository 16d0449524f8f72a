/* SPDX-License-Identifier: Apache-2.0 */
/* Pools: the limit, zeroed objects, and that what a flood needed is given back. */
#include "base/base.h"

#include <malloc.h>
#include <setjmp.h>
#include <cmocka.h>

#define N 20000

static size_t in_use(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static void check(size_t size)
{
	static void *v[N];
	struct pool p;
	size_t before = in_use(), n = size > 60000 ? 50 : N;

	pool_init(&p, size, n);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < n; i++) {
			v[i] = pool_get(&p);
			assert_non_null(v[i]);
			assert_int_equal(((uintptr_t)v[i]) % _Alignof(max_align_t), 0);
			for (size_t k = 0; k < size; k += 7)
				assert_int_equal(((uint8_t *)v[i])[k], 0);
			memset(v[i], (int)i | 1, size);
		}
		assert_null(pool_get(&p));
		assert_int_equal(p.used, n);
		/* Nobody's memory is anybody else's. */
		for (size_t i = 0; i < n; i++)
			assert_true(((uint8_t *)v[i])[0] == (uint8_t)(i | 1) &&
				    ((uint8_t *)v[i])[size - 1] == (uint8_t)(i | 1));
		for (size_t i = 0; i < n; i++)
			pool_put(&p, v[(i * 7919) % n]);
		assert_int_equal(p.used, 0);
	}
	/* What malloc counts, not what it holds; a sanitizer's does not count. */
	assert_true(in_use() <= before + 4 * p.slab_size);
	pool_put(&p, NULL);
	pool_fini(&p);
}

static void test_sizes(void **state)
{
	(void)state;
	check(8);
	check(700);
	check(3001);
	check(70000);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_sizes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
