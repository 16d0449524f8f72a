/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL's memory: overwritten as it comes back, whole for who gets it next, never twice the same. */
#include "weir/wiped_heap.h"

#include "base/base.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define N 200

/* What is given back is wiped where it lies. Read at once, before anybody else gets it. */
static void test_wiped(void **state)
{
	static const size_t sizes[] = { 1,    8,    24,	   25,	  40,	 500,  1000,
					1040, 5000, 16384, 16712, 17000, 40000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint8_t *p = OPENSSL_malloc(sizes[i]);

		assert_non_null(p);
		memset(p, 0xa5, sizes[i]);
		OPENSSL_free(p);
		p = OPENSSL_malloc(sizes[i]);
		assert_non_null(p);
		for (size_t k = 16; k < sizes[i]; k++)
			assert_int_not_equal(p[k], 0xa5);
		OPENSSL_free(p);
	}
}

/* Blocks of any size, many at a time and in any order: each is of one owner and large enough. */
static void test_apart(void **state)
{
	uint8_t *p[N] = { NULL };
	size_t size[N] = { 0 };
	uint32_t seed = 1;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		unsigned i = (seed = seed * 1664525u + 1013904223u) >> 8 & 0xffff;
		size_t want = i % 7 == 0 ? 16300 + i % 2300 : 1 + i % 1200;

		i %= N;
		if (p[i]) {
			for (size_t k = 0; k < size[i]; k++)
				assert_int_equal(p[i][k], i);
			if (round % 3 == 0) {
				p[i] = OPENSSL_realloc(p[i], want);
				assert_non_null(p[i]);
				for (size_t k = 0; k < MIN(size[i], want); k++)
					assert_int_equal(p[i][k], i);
			} else {
				OPENSSL_free(p[i]);
				p[i] = OPENSSL_malloc(want);
			}
		} else {
			p[i] = OPENSSL_malloc(want);
		}
		assert_non_null(p[i]);
		assert_true(malloc_usable_size(p[i]) >= want);
		size[i] = want;
		memset(p[i], (int)i, want);
	}
	for (unsigned i = 0; i < N; i++)
		OPENSSL_free(p[i]);
}

/* By a child: SIGABRT, and by a sanitizer whatever it ends with. */
static void test_twice(void **state)
{
	static const size_t sizes[] = { 40, 16712 };
	int status;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			void *volatile p = OPENSSL_malloc(sizes[i]);

			(void)!freopen("/dev/null", "w", stderr);
			signal(SIGABRT, SIG_DFL);
			OPENSSL_free(p);
			OPENSSL_free(p);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) || WEXITSTATUS(status));
	}
}

static void *other_thread(void *p)
{
	OPENSSL_free(p);
	return OPENSSL_malloc(40);
}

/* The shelves are one thread's; what another gives back is nobody's there. */
static void test_threads(void **state)
{
	void *p = OPENSSL_malloc(40), *q;
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, other_thread, p), 0);
	assert_int_equal(pthread_join(t, &q), 0);
	assert_non_null(q);
	OPENSSL_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wiped),
		cmocka_unit_test(test_apart),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_threads),
	};

	wiped_heap_prepare();
	wiped_heap_begin();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
