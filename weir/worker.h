/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread beside the loop, for the work that would hold up everything that
 * lives: reading and compiling a policy of a hundred thousand rules.
 *
 * A job is the worker's from worker_post() until its done() is called, in the
 * loop's thread; nobody else touches it meanwhile, so nothing in it is locked.
 * Jobs are done one after the other, in the order they came. What work() reads
 * outside of its job must not change while it lives.
 *
 * The thread lives under the same system call list as its process
 * (harden_seccomp applies to all threads), which is why it has to be started
 * before. It does not touch the loop, descriptors of flows or OpenSSL's objects.
 */
#ifndef WEIR_WORKER_H
#define WEIR_WORKER_H

#include "base/base.h"

#include <pthread.h>

struct worker_job {
	struct list in_queue;
	void (*work)(struct worker_job *job); /* in the worker's thread */
	/* In the loop. NULL: none, and the job's memory is work()'s from the start. */
	void (*done)(struct worker_job *job);
};

struct worker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake, rests;
	struct list todo, finished;  /* struct worker_job, under the lock */
	bool running, at_work, stop; /* under the lock */
	struct loop_io io;
	int wake_loop; /* eventfd */
	bool started;
};

/* Returns with the thread waiting for its first job; *w may not move any more. */
must_check int worker_start(struct worker *w, struct loop *loop);
/* Waits for the job at hand; those that were not begun are not, no done() is called any more. */
void worker_stop(struct worker *w);
void worker_post(struct worker *w, struct worker_job *job);
/* fn(arg), some time; at once when no worker runs or there is no memory to wait with. */
void worker_later(struct worker *w, void (*fn)(void *arg), void *arg);
/*
 * Between the two it does nothing: for a fork, whose child would keep for ever what locks
 * (of an allocator, say) the thread held. Waits for the job at hand.
 */
void worker_hold(struct worker *w);
void worker_release(struct worker *w);

#endif
