/* SPDX-License-Identifier: Apache-2.0 */
/* Resource limits as texts: all kinds, both values, and what is none. */
#include "base/base.h"

#include <setjmp.h>
#include <cmocka.h>
#include <sys/resource.h>

/* V23: the sixteen kinds. */
static void v23_kinds(void **state)
{
	static const struct {
		const char *text;
		int which;
		rlim_t soft, hard;
	} good[] = {
		{ "as=1", RLIMIT_AS, 1, 1 },
		{ "core=0", RLIMIT_CORE, 0, 0 },
		{ "cpu=1:2", RLIMIT_CPU, 1, 2 },
		{ "data=3:3", RLIMIT_DATA, 3, 3 },
		{ "fsize=unlimited", RLIMIT_FSIZE, RLIM_INFINITY, RLIM_INFINITY },
		{ "locks=5:infinity", RLIMIT_LOCKS, 5, RLIM_INFINITY },
		{ "memlock=-1", RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY },
		{ "msgqueue=1:-1", RLIMIT_MSGQUEUE, 1, RLIM_INFINITY },
		{ "nice=20", RLIMIT_NICE, 20, 20 },
		{ "NOFILE=1024:4096", RLIMIT_NOFILE, 1024, 4096 },
		{ "nproc=7", RLIMIT_NPROC, 7, 7 },
		{ "rss=8", RLIMIT_RSS, 8, 8 },
		{ "rtprio=9", RLIMIT_RTPRIO, 9, 9 },
		{ "rttime=10", RLIMIT_RTTIME, 10, 10 },
		{ "sigpending=11", RLIMIT_SIGPENDING, 11, 11 },
		{ "stack=9223372036854775807", RLIMIT_STACK, INT64_MAX, INT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		const char *why = NULL;
		struct rlimit r;
		int which = -1;

		if (rlimit_parse(good[i].text, &which, &r, &why) < 0)
			fail_msg("%s: %s", good[i].text, why);
		assert_int_equal(which, good[i].which);
		assert_int_equal(r.rlim_cur, good[i].soft);
		assert_int_equal(r.rlim_max, good[i].hard);
	}
}

static void what_is_none(void **state)
{
	static const char *const bad[][2] = {
		{ "", "write" },
		{ "nofile", "write" },
		{ "=1", "no limit" },
		{ "files=1", "no limit" },
		{ "nofile=", "number" },
		{ "nofile=1:", "number" },
		{ "nofile=:1", "number" },
		{ "nofile=1:2:3", "number" },
		{ "nofile=-2", "number" },
		{ "nofile=2:1", "above" },
		{ "nofile=unlimited:1", "above" },
		{ "nofile=1k", "number" },
		{ "nofile= 1", "number" },
		{ "nofile=18446744073709551616", "number" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct rlimit r = { 77, 77 };
		const char *why = "";
		int which = 77;

		if (rlimit_parse(bad[i][0], &which, &r, &why) != -EINVAL || !strstr(why, bad[i][1]))
			fail_msg("%s: %s", bad[i][0], why);
		assert_int_equal(which, 77);
		assert_int_equal(r.rlim_max, 77);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v23_kinds),
		cmocka_unit_test(what_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
