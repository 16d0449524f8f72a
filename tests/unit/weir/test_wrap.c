/* SPDX-License-Identifier: Apache-2.0 */
/* Folding: no line is wider than asked for where it has a blank, and nothing but blanks is lost. */
#include "weir/wrap.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

static void check(unsigned columns, unsigned indent, const char *text, const char *want)
{
	char *out = NULL;
	size_t n;
	FILE *f = open_memstream(&out, &n);

	assert_non_null(f);
	wrap_put(f, columns, indent, text);
	fclose(f);
	assert_string_equal(out, want);
	free(out);
}

static void test_folds(void **state)
{
	static const char text[] = "note: one two three four five six seven eight nine ten";

	(void)state;
	check(0, 4, text, "note: one two three four five six seven eight nine ten\n");
	check(40, 4, text, "note: one two three four five six seven\n    eight nine ten\n");
	check(54, 4, text, "note: one two three four five six seven eight nine ten\n");
	check(53, 4, text, "note: one two three four five six seven eight nine\n    ten\n");
	/* Columns stay columns. */
	check(40, 8, "deny    1 flow   tcp", "deny    1 flow   tcp\n");
	check(40, 4, "", "\n");
	check(40, 4, "   ", "   \n");
}

static void test_long_words(void **state)
{
	static const char word[] = "0123456789012345678901234567890123456789012345";

	(void)state;
	check(40, 4, word, "0123456789012345678901234567890123456789012345\n");
	check(40, 4, "a 0123456789012345678901234567890123456789012345 b",
	      "a 0123456789012345678901234567890123456789012345\n    b\n");
	/* Too narrow to be of use, and an indent that leaves no room. */
	check(20, 4, "one two three four five six", "one two three four five six\n");
	check(45, 45, "one two", "one two\n");
}

static void test_characters_not_bytes(void **state)
{
	(void)state;
	check(40, 2,
	      "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9 "
	      "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9 x y",
	      "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9 "
	      "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9 x y\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_folds),
		cmocka_unit_test(test_long_words),
		cmocka_unit_test(test_characters_not_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
