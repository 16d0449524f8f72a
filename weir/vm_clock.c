/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine that is slow to answer must not have a right clock set wrong, so the question comes first: its
 * time was read between our question and its answer, and only what lies outside of that is off.
 * What it is then set to may be late by as long as the message took, which the next look,
 * soon after, finds and mends. What a hostile machine answers decides about its own clock alone.
 *
 * The kernel tells steps of our clock, and the end of a suspend, on a timer that is
 * cancelled by them; the interval is for drift, and for pauses that only the machine had.
 */
#include "weir/vm_clock.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PATIENCE (30 * NS_PER_S)
/* After it was set. */
#define SOON (5 * NS_PER_S)
#define FAR_S (INT64_C(1) << 40)

uint64_t vm_clock_off(uint64_t machine, uint64_t before, uint64_t after)
{
	if (machine < before)
		return before - machine;
	return machine > after ? machine - after : 0;
}

static void again_in(struct vm_clock *c, uint64_t ns)
{
	loop_timer_set(c->loop, &c->timer, loop_now_update(c->loop) + ns);
}

static void on_set(struct agent_stream *s, const struct agent_end *e, void *arg)
{
	struct vm_clock *c = arg;

	(void)s;
	c->stream = NULL;
	if (!c->agent)
		return;
	if (e->kind == AGENT_ENDED_DONE)
		log_info("the machine's clock was off by %llu ms, and is set",
			 (unsigned long long)(c->off / NS_PER_MS));
	again_in(c, SOON);
}

static void on_sample(struct agent_stream *s, const struct agent_sample *m, void *arg)
{
	struct vm_clock *c = arg;

	(void)s;
	if (m->realtime_ns)
		c->off = vm_clock_off(m->realtime_ns, c->asked, time_real_ns());
}

static void on_answered(struct agent_stream *s, const struct agent_end *e, void *arg)
{
	static const struct agent_stream_events events = { .ended = on_set };
	struct vm_clock *c = arg;

	(void)s;
	c->stream = NULL;
	if (!c->agent || (e->kind == AGENT_ENDED_FAILED && e->failed.stage == AGENT_STAGE_LOST))
		return;
	again_in(c, VM_CLOCK_INTERVAL);
	if (c->off > VM_CLOCK_OFF &&
	    agent_clock(c->agent, time_real_ns(), loop_now(c->loop) + PATIENCE, &events, c,
			&c->stream) < 0)
		log_debug("the machine's clock cannot be set now");
}

void vm_clock_look(struct vm_clock *c)
{
	static const struct agent_stream_events events = { .sample = on_sample, .ended = on_answered };

	if (!c->agent || c->stream)
		return;
	c->off = 0;
	c->asked = time_real_ns();
	again_in(c, VM_CLOCK_INTERVAL);
	if (agent_metrics(c->agent, 0, loop_now(c->loop) + PATIENCE, &events, c, &c->stream) < 0)
		log_debug("the machine cannot be asked for its time now");
}

static void on_timer(struct loop_timer *t)
{
	vm_clock_look(container_of(t, struct vm_clock, timer));
}

/* So far ahead that only its cancelling is ever told. */
static int arm(int fd)
{
	struct itimerspec far = { .it_value = { .tv_sec = (time_t)FAR_S } };

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, NULL) < 0
		       ? -errno
		       : 0;
}

static void on_step(struct loop_io *io, uint32_t revents)
{
	struct vm_clock *c = container_of(io, struct vm_clock, step);
	uint64_t count;

	(void)revents;
	if (read(io->fd, &count, sizeof(count)) < 0 && errno != ECANCELED)
		return;
	if (arm(io->fd) < 0)
		loop_io_del(io);
	vm_clock_look(c);
}

int vm_clock_start(struct vm_clock *c, struct loop *l, struct agent *a)
{
	int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	int r = fd < 0 ? -errno : arm(fd);

	*c = (struct vm_clock){ .loop = l, .agent = a, .timer.cb = on_timer };
	if (r == 0)
		r = loop_io_add(l, &c->step, fd, EPOLLIN, on_step);
	if (r < 0) {
		fd_close(fd);
		c->agent = NULL;
		return r;
	}
	again_in(c, VM_CLOCK_INTERVAL);
	return 0;
}

void vm_clock_stop(struct vm_clock *c)
{
	if (!c->agent)
		return;
	c->agent = NULL;
	loop_timer_del(c->loop, &c->timer);
	loop_io_del(&c->step);
	fd_close(c->step.fd);
}
