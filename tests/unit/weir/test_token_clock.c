/* SPDX-License-Identifier: Apache-2.0 */
/* When a token is fetched: wanted, renewed, tried again with growing pauses. */
#include "weir/token_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define S(n) ((uint64_t)(n)*NS_PER_S)

static void clock_of_a_token(void **state)
{
	struct token_clock c = { 0 };

	(void)state;
	/* Nobody wants it: nothing happens. */
	assert_false(token_clock_due(&c, S(1)));
	assert_true(token_clock_next(&c) == UINT64_MAX);
	assert_false(token_clock_want(&c, S(1)));
	assert_true(token_clock_due(&c, S(1)));
	token_clock_begin(&c, S(1));
	/* One at a time. */
	assert_false(token_clock_want(&c, S(2)));
	assert_false(token_clock_due(&c, S(2)));
	assert_true(token_clock_next(&c) == S(1) + TLSPROXY_FETCH_NS);
	token_clock_got(&c, S(3), 3600);
	/* Unused, it only ends. */
	assert_true(token_clock_next(&c) == S(3 + 3600));
	assert_true(token_clock_want(&c, S(4)));
	assert_false(token_clock_due(&c, S(4)));
	/* Used: renewed a minute before its end, and good meanwhile. */
	assert_true(token_clock_next(&c) == S(3 + 3540));
	assert_true(token_clock_due(&c, S(3 + 3540)));
	assert_true(token_clock_want(&c, S(3 + 3540)));
	token_clock_begin(&c, S(3 + 3540));
	token_clock_failed(&c, S(3 + 3541));
	assert_true(token_clock_want(&c, S(3 + 3599)));
	/* Over, which is told once. */
	assert_false(token_clock_over(&c, S(3 + 3599)));
	assert_true(token_clock_over(&c, S(3 + 3600)));
	assert_false(token_clock_over(&c, S(3 + 3600)));
	assert_false(token_clock_want(&c, S(3 + 3600)));
}

static void pauses_grow(void **state)
{
	struct token_clock c = { 0 };
	uint64_t now = S(10), last = 0;

	(void)state;
	token_clock_want(&c, now);
	for (unsigned i = 0; i < 40; i++) {
		assert_true(token_clock_due(&c, now));
		token_clock_begin(&c, now);
		token_clock_failed(&c, now);
		assert_false(token_clock_due(&c, now));
		assert_true(c.retry - now >= last);
		assert_true(c.retry - now <= TOKEN_RETRY_MAX_NS);
		last = c.retry - now;
		now = c.retry;
	}
	assert_true(last == TOKEN_RETRY_MAX_NS);
	token_clock_begin(&c, now);
	token_clock_got(&c, now, UINT64_MAX);
	assert_int_equal(c.failures, 0);
	assert_true(c.until == now + S(TLSPROXY_TOKEN_LIFE_MAX_S));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clock_of_a_token),
		cmocka_unit_test(pauses_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
