/* SPDX-License-Identifier: Apache-2.0 */
/* How far a machine's clock is off, read at an unknown moment between question and answer. */
#include "weir/vm_clock.h"

#include <setjmp.h>
#include <cmocka.h>

static void between_is_right(void **state)
{
	const uint64_t t = UINT64_C(1700000000) * NS_PER_S;

	(void)state;
	assert_int_equal(vm_clock_off(t, t, t), 0);
	/* However long it took: what lies in between may be right. */
	assert_int_equal(vm_clock_off(t + 5 * NS_PER_S, t, t + 10 * NS_PER_S), 0);
	assert_int_equal(vm_clock_off(t + 11 * NS_PER_S, t, t + 10 * NS_PER_S), NS_PER_S);
	assert_int_equal(vm_clock_off(t - 3, t, t + 10), 3);
	assert_int_equal(vm_clock_off(0, t, t), t);
	assert_int_equal(vm_clock_off(UINT64_MAX, 0, 0), UINT64_MAX);
	/* Our own clock was set back in between: asked once more it will agree. */
	assert_int_equal(vm_clock_off(t, t, t - NS_PER_S), NS_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(between_is_right) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
