/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: their end when there may be no more of them. */
#include "base/base.h"

#include <setjmp.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <unistd.h>

static void test_limit(void **state)
{
	int to = memfd_create("log", MFD_CLOEXEC), before = dup(STDERR_FILENO);
	char text[512] = "";

	(void)state;
	assert_true(to >= 0 && before >= 0);
	assert_int_equal(dup2(to, STDERR_FILENO), STDERR_FILENO);
	log_setup("unit", LOG_LEVEL_WARN);
	log_limit(64);
	for (int i = 0; i < 100; i++)
		log_warn("line %d", i);
	log_limit(UINT64_MAX);
	log_error("again");
	dup2(before, STDERR_FILENO);
	close(before);
	assert_true(pread(to, text, sizeof(text) - 1, 0) > 0);
	close(to);
	assert_string_equal(text, "weir[unit]: warning: line 0\n"
				  "weir[unit]: warning: line 1\n"
				  "weir[unit]: no more of its own words are kept\n"
				  "weir[unit]: error: again\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_limit) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
