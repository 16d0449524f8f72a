/* SPDX-License-Identifier: Apache-2.0 */
/* The thread beside the loop: order, who is told when, and what an end leaves behind. */
#include "weir/worker.h"

#include <setjmp.h>
#include <cmocka.h>
#include <sys/syscall.h>
#include <unistd.h>

#define JOBS 1000

struct numbered {
	struct worker_job job;
	unsigned n;
	pid_t worked_in;
	int *gate; /* read from before it works */
};

static unsigned worked, finished;

static void work(struct worker_job *job)
{
	struct numbered *x = container_of(job, struct numbered, job);
	char c;

	if (x->gate && read(*x->gate, &c, 1) < 0)
		_exit(1);
	x->worked_in = (pid_t)syscall(SYS_gettid);
	if (x->n == worked)
		worked++;
}

static void done(struct worker_job *job)
{
	struct numbered *x = container_of(job, struct numbered, job);

	assert_int_equal(x->n, finished);
	assert_int_not_equal(x->worked_in, (pid_t)syscall(SYS_gettid));
	finished++;
}

static void begin(struct loop **ret, struct worker *w)
{
	worked = finished = 0;
	assert_int_equal(loop_new(ret), 0);
	assert_int_equal(worker_start(w, *ret), 0);
}

static void post(struct worker *w, struct numbered *x, unsigned n)
{
	*x = (struct numbered){ .job = { .work = work, .done = done }, .n = n };
	worker_post(w, &x->job);
}

static void test_one_after_the_other(void **state)
{
	static struct numbered jobs[JOBS];
	struct loop *loop;
	struct worker w;

	(void)state;
	begin(&loop, &w);
	for (unsigned i = 0; i < JOBS; i++) {
		post(&w, &jobs[i], i);
		if (i % 7 == 0)
			assert_int_equal(loop_step(loop, 0), 0);
	}
	while (finished < JOBS)
		assert_int_equal(loop_step(loop, 10000), 0);
	assert_int_equal(worked, JOBS);
	worker_stop(&w);
	worker_stop(&w);
	loop_free(loop);
}

/* While it is held it has nothing at hand, and begins nothing. */
static void test_hold(void **state)
{
	static struct numbered jobs[JOBS];
	struct loop *loop;
	struct worker w;
	unsigned seen;

	(void)state;
	begin(&loop, &w);
	for (unsigned i = 0; i < JOBS; i++)
		post(&w, &jobs[i], i);
	for (unsigned i = 0; i < 50; i++) {
		worker_hold(&w);
		seen = __atomic_load_n(&worked, __ATOMIC_RELAXED);
		usleep(200);
		assert_int_equal(__atomic_load_n(&worked, __ATOMIC_RELAXED), seen);
		worker_release(&w);
	}
	while (finished < JOBS)
		assert_int_equal(loop_step(loop, 10000), 0);
	worker_stop(&w);
	/* One that does not run: nothing to wait for. */
	worker_hold(&w);
	worker_release(&w);
	loop_free(loop);
}

static unsigned later;

static void count(void *arg)
{
	later += *(unsigned *)arg;
	free(arg);
}

static unsigned *number(unsigned n)
{
	unsigned *p = malloc(sizeof(*p));

	assert_non_null(p);
	*p = n;
	return p;
}

/* The job at hand ends, what nobody else owns is done, what has an owner is left to it. */
static void test_stop(void **state)
{
	struct numbered held = { .job = { .work = work, .done = done } };
	struct numbered never = { .job = { .work = work, .done = done }, .n = 1 };
	struct loop *loop;
	struct worker w;
	int gate[2];

	(void)state;
	worked = finished = later = 0;
	assert_int_equal(pipe(gate), 0);
	held.gate = &gate[0];
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(worker_start(&w, loop), 0);
	worker_post(&w, &held.job);
	worker_post(&w, &never.job);
	worker_later(&w, count, number(5));
	/* Only what was begun is waited for. */
	while (held.job.in_queue.next != &held.job.in_queue)
		usleep(1000);
	pthread_mutex_lock(&w.lock);
	w.stop = true;
	pthread_mutex_unlock(&w.lock);
	assert_int_equal(write(gate[1], "x", 1), 1);
	worker_stop(&w);
	assert_int_equal(worked, 1);
	assert_int_equal(never.worked_in, 0);
	assert_int_equal(later, 5);
	assert_int_equal(finished, 0);
	/* Without one, at once. */
	worker_later(&w, count, number(2));
	worker_later(NULL, count, number(1));
	assert_int_equal(later, 8);
	close(gate[0]);
	close(gate[1]);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_after_the_other),
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
