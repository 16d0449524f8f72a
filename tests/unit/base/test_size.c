/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and bandwidths as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/base.h"

static void test_good(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
		bool bandwidth;
		const char *shown;
	} v[] = {
		{ "1B", 1, false, "1B" },
		{ "64KiB", 65536, false, "64KiB" },
		{ "64kib", 65536, false, "64KiB" },
		{ "10MB", 10000000, false, "10MB" },
		{ "1000kB", 1000000, false, "1MB" },
		{ "1gib", 1 << 30, false, "1GiB" },
		{ "10mbit", 1250000, true, "10mbit" },
		{ "10Mbit", 1250000, true, "10mbit" },
		{ "8bit", 1, true, "8bit" },
		{ "1MB", 1000000, true, "8mbit" },
		{ "128gbit", UINT64_C(16000000000), true, "128gbit" },
		{ "1500bit", 187, true, "1496bit" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		const char *why = NULL;
		char out[SIZE_STRLEN];
		uint64_t n = 0;

		if (v[i].bandwidth) {
			assert_int_equal(bandwidth_parse(v[i].text, strlen(v[i].text), &n, &why), 0);
			assert_string_equal(bandwidth_format(n, out), v[i].shown);
		} else {
			assert_int_equal(size_parse(v[i].text, strlen(v[i].text), &n, &why), 0);
			assert_string_equal(size_format(n, out), v[i].shown);
		}
		assert_int_equal(n, v[i].bytes);
	}
}

static void test_bad(void **state)
{
	static const char *const v[] = { "",
					 "10",
					 "0B",
					 "010B",
					 "-1B",
					 "1.5MB",
					 "1 MB",
					 "B",
					 "1mb/s",
					 "1TB",
					 "1kbits",
					 "1bi",
					 "18446744073709551616B",
					 "18446744073709551615kB",
					 "10mbps" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		const char *why = NULL;
		uint64_t n = 42;

		assert_int_equal(size_parse(v[i], strlen(v[i]), &n, &why), -EINVAL);
		assert_non_null(why);
		assert_int_equal(bandwidth_parse(v[i], strlen(v[i]), &n, &why), -EINVAL);
		assert_int_equal(n, 42);
	}
	{
		const char *why = NULL;
		uint64_t n;

		assert_int_equal(size_parse("1mbit", 5, &n, &why), -EINVAL);
		assert_int_equal(bandwidth_parse("7bit", 4, &n, &why), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_good), cmocka_unit_test(test_bad) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
