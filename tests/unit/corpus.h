/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fuzz target starts from, as an ordinary test: each file of its corpus, whole and
 * cut off in some places. The target's own file is included before this one.
 */
#ifndef WEIR_TESTS_CORPUS_H
#define WEIR_TESTS_CORPUS_H

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define CORPUS_FILE_MAX (1 << 20)
#define CORPUS_CUTS 31

/* folder: below fuzz/corpus; least: as many files are there, or more. */
static inline void corpus_test(const char *folder, size_t least)
{
	char pattern[128];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "fuzz/corpus/%s/*", folder);
	if (glob(pattern, 0, NULL, &g) != 0) {
		print_message("SKIPPED: not run in the source directory\n");
		skip();
	}
	for (size_t i = 0; i < g.gl_pathc; i++) {
		struct buf b = BUF_INIT(CORPUS_FILE_MAX);

		assert_int_equal(file_read(g.gl_pathv[i], CORPUS_FILE_MAX, &b), 0);
		for (size_t n = 0; n < b.len; n += 1 + b.len / CORPUS_CUTS)
			LLVMFuzzerTestOneInput(buf_at(&b), n);
		LLVMFuzzerTestOneInput(buf_at(&b), b.len);
		buf_fini(&b);
	}
	assert_true(g.gl_pathc >= least);
	globfree(&g);
}

#endif
