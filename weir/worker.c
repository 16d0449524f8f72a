/* SPDX-License-Identifier: Apache-2.0 */
/* The thread beside the loop. */
#include "weir/worker.h"

#include <malloc.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

/* A policy's text nests deeply, but not without bound. */
#define WORKER_STACK ((size_t)8 << 20)

static struct worker_job *take(struct list *queue)
{
	struct list *first = queue->next;

	if (list_empty(queue))
		return NULL;
	list_del(first);
	return container_of(first, struct worker_job, in_queue);
}

/* ---- the thread ------------------------------------------------------------------ */

static void tell_loop(int fd)
{
	uint64_t one = 1;

	/* Full means that it has been told and did not yet listen. */
	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		_exit(1);
}

static void work_on(struct worker *w, struct worker_job *job)
{
	bool has_done = job->done;

	w->at_work = true;
	pthread_mutex_unlock(&w->lock);
	job->work(job);
	pthread_mutex_lock(&w->lock);
	w->at_work = false;
	pthread_cond_signal(&w->rests);
	if (!has_done)
		return;
	list_add_tail(&w->finished, &job->in_queue);
	tell_loop(w->wake_loop);
}

static void *run(void *arg)
{
	struct worker *w = arg;
	struct worker_job *job;

	prctl(PR_SET_NAME, "weir-worker");
	pthread_mutex_lock(&w->lock);
	w->running = true;
	pthread_cond_signal(&w->wake);
	while (!w->stop) {
		job = take(&w->todo);
		if (job)
			work_on(w, job);
		else
			pthread_cond_wait(&w->wake, &w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* ---- the loop's side --------------------------------------------------------------- */

static void on_finished(struct loop_io *io, uint32_t revents)
{
	struct worker *w = container_of(io, struct worker, io);
	struct worker_job *job;
	uint64_t n;

	(void)revents;
	if (read(io->fd, &n, sizeof(n)) < 0)
		return;
	for (;;) {
		pthread_mutex_lock(&w->lock);
		job = take(&w->finished);
		pthread_mutex_unlock(&w->lock);
		if (!job)
			return;
		job->done(job);
	}
}

void worker_post(struct worker *w, struct worker_job *job)
{
	pthread_mutex_lock(&w->lock);
	list_add_tail(&w->todo, &job->in_queue);
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

struct later {
	struct worker_job job;
	void (*fn)(void *arg);
	void *arg;
};

static void do_later(struct worker_job *job)
{
	struct later *l = container_of(job, struct later, job);

	l->fn(l->arg);
	free(l);
}

void worker_later(struct worker *w, void (*fn)(void *arg), void *arg)
{
	struct later *l = w && w->started ? calloc(1, sizeof(*l)) : NULL;

	if (!l) {
		fn(arg);
		return;
	}
	*l = (struct later){ .job.work = do_later, .fn = fn, .arg = arg };
	worker_post(w, &l->job);
}

void worker_hold(struct worker *w)
{
	if (!w->started)
		return;
	pthread_mutex_lock(&w->lock);
	while (w->at_work)
		pthread_cond_wait(&w->rests, &w->lock);
}

void worker_release(struct worker *w)
{
	if (w->started)
		pthread_mutex_unlock(&w->lock);
}

/* Signals are the loop's; those that a thread causes itself stay its own. */
static int start_thread(struct worker *w)
{
	static const int own[] = { SIGSYS, SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };
	sigset_t all, before;
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);

	if (r)
		return -r;
	sigfillset(&all);
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		sigdelset(&all, own[i]);
	r = pthread_attr_setstacksize(&attr, WORKER_STACK);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (r == 0)
		r = pthread_create(&w->thread, &attr, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

int worker_start(struct worker *w, struct loop *loop)
{
	int r;

	/*
	 * Memory of its own, so that neither waits for the other's; and said, for
	 * else the allocator counts processors with calls that are not allowed.
	 */
	mallopt(M_ARENA_MAX, 2);
	*w = (struct worker){ .wake_loop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	if (w->wake_loop < 0)
		return -errno;
	list_init(&w->todo);
	list_init(&w->finished);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wake, NULL);
	pthread_cond_init(&w->rests, NULL);
	r = loop_io_add(loop, &w->io, w->wake_loop, EPOLLIN, on_finished);
	if (r == 0)
		r = start_thread(w);
	if (r < 0) {
		loop_io_del(&w->io);
		fd_close(w->wake_loop);
		return r;
	}
	/* What a thread asks the kernel for when it begins is on no list of calls. */
	pthread_mutex_lock(&w->lock);
	while (!w->running)
		pthread_cond_wait(&w->wake, &w->lock);
	pthread_mutex_unlock(&w->lock);
	w->started = true;
	return 0;
}

void worker_stop(struct worker *w)
{
	struct worker_job *job;

	if (!w->started)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	/* Nobody else has these; what has an owner goes with that. */
	while ((job = take(&w->todo)))
		if (!job->done)
			job->work(job);
	pthread_cond_destroy(&w->wake);
	pthread_cond_destroy(&w->rests);
	pthread_mutex_destroy(&w->lock);
	loop_io_del(&w->io);
	fd_close(w->wake_loop);
	w->started = false;
}
