/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzzer of container archives starts from, as an ordinary test; each file also cut off anywhere. */
#include "fuzz/fuzz_image_archive.c"
#include "tests/unit/corpus.h"

static void test_corpus(void **state)
{
	(void)state;
	corpus_test("image_archive", 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_corpus) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
