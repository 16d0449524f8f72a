/* SPDX-License-Identifier: Apache-2.0 */
/* A busy thread's policy: from what on, until when, and what is left alone. Time is told, not waited for. */
#include "base/base.h"

#include <sched.h>
#include <setjmp.h>
#include <cmocka.h>

/* Longer than any that busy.c looks at. */
#define WINDOW (250 * NS_PER_MS)

/* As if a window had gone by in which this much of a processor was used. */
static void pass(struct busy *b, uint64_t *now, uint64_t used_ns)
{
	uint64_t until = time_thread_ns() + used_ns;

	while (time_thread_ns() < until)
		;
	*now += WINDOW;
	busy_look(b, *now);
}

static void begin(struct busy *b, uint64_t *now)
{
	struct sched_param p = { 0 };

	assert_int_equal(sched_setscheduler(0, SCHED_OTHER, &p), 0);
	*now = NS_PER_S;
	busy_begin(b, *now);
}

static void test_enters_and_leaves(void **state)
{
	struct busy b;
	uint64_t now;

	(void)state;
	begin(&b, &now);
	pass(&b, &now, 0);
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
	pass(&b, &now, WINDOW / 2);
	assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
	pass(&b, &now, WINDOW / 2);
	assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
	pass(&b, &now, 0);
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
}

/* Within a window nothing is asked and nothing changes. */
static void test_window(void **state)
{
	struct busy b;
	uint64_t now;

	(void)state;
	begin(&b, &now);
	pass(&b, &now, WINDOW / 2);
	busy_look(&b, now + WINDOW / 2);
	assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
	assert_int_equal(b.looked, now);
}

/* What was in vain is tried again after a pause, each time a longer one; what was not, at once. */
static void test_pauses(void **state)
{
	struct busy b;
	uint64_t now, tried[3];

	(void)state;
	begin(&b, &now);
	for (size_t i = 0; i < ARRAY_SIZE(tried); i++) {
		uint64_t from = now;

		do
			pass(&b, &now, WINDOW / 6);
		while (sched_getscheduler(0) == SCHED_OTHER);
		tried[i] = now - from;
		pass(&b, &now, 0);
		assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
	}
	assert_true(tried[0] == WINDOW && tried[1] == 2 * WINDOW && tried[2] == 7 * WINDOW);
	do
		pass(&b, &now, WINDOW / 6);
	while (sched_getscheduler(0) == SCHED_OTHER);
	now += 2 * NS_PER_S;
	busy_look(&b, now);
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
	assert_int_equal(b.pause, 0);
}

/* Bursts of work, each of them short: every one is met at once. */
static void test_bursts(void **state)
{
	struct busy b;
	uint64_t now;

	(void)state;
	begin(&b, &now);
	for (int i = 0; i < 4; i++) {
		pass(&b, &now, WINDOW / 6);
		assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
		pass(&b, &now, 0);
		assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
		pass(&b, &now, 0);
	}
}

static void test_left_alone(void **state)
{
	struct sched_param p = { 0 };
	struct busy b;
	uint64_t now = NS_PER_S;

	(void)state;
	assert_int_equal(sched_setscheduler(0, SCHED_BATCH, &p), 0);
	busy_begin(&b, now);
	pass(&b, &now, WINDOW);
	pass(&b, &now, 0);
	pass(&b, &now, 0);
	assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
	assert_int_equal(sched_setscheduler(0, SCHED_OTHER, &p), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_enters_and_leaves),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_pauses),
		cmocka_unit_test(test_bursts),
		cmocka_unit_test(test_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
