/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzzer of operations starts from, as an ordinary test; each file also cut off anywhere. */
#include "fuzz/fuzz_image_patch.c"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_corpus(void **state)
{
	glob_t g;

	(void)state;
	if (glob("fuzz/corpus/image_patch/*", 0, NULL, &g) != 0) {
		print_message("SKIPPED: not run in the source directory\n");
		skip();
	}
	for (size_t i = 0; i < g.gl_pathc; i++) {
		struct buf b = BUF_INIT(1 << 20);

		assert_int_equal(file_read(g.gl_pathv[i], 1 << 20, &b), 0);
		for (size_t n = 0; n < b.len; n += 1 + b.len / 31)
			LLVMFuzzerTestOneInput(buf_at(&b), n);
		LLVMFuzzerTestOneInput(buf_at(&b), b.len);
		buf_fini(&b);
	}
	assert_true(g.gl_pathc >= 5);
	globfree(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_corpus) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
