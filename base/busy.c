/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What serves another process should not stop it in the midst of its turn.
 *
 * By default the kernel lets who wakes up run at once in place of who woke him, if both share a
 * processor. For one that sleeps mostly that is right: nobody waits for it. Where many connections
 * are carried it means a switch to and fro for every single one, though the first process was
 * about to bring more of them. SCHED_BATCH (sched(7)) says: when it is done, or its time is up.
 *
 * Behind processes of others that use up a processor this costs milliseconds at every wake-up. So
 * it holds only while this thread itself uses much of one, and no more when it then comes to less
 * than half of that: its work is over, or such others are there. They are if it is busy again as
 * soon as it need not wait for them; then the next try comes later, each time.
 */
#include "base/base.h"

#include <sched.h>

/* How much of a processor is much, in per cent, and how long that is looked at. */
#define BUSY_FROM 10
#define BUSY_WINDOW_NS (50 * NS_PER_MS)
/* Until it is less: longer than the pauses in which a client draws breath. */
#define BUSY_REST_NS (200 * NS_PER_MS)
/* What ends before this may have been in vain, and if it was is not tried again for so long. */
#define BUSY_SOON_NS NS_PER_S
#define BUSY_PAUSE_NS (400 * NS_PER_MS)
#define BUSY_PAUSE_MAX_NS (10 * NS_PER_S)

static bool set_policy(int policy)
{
	struct sched_param p = { 0 };

	return sched_setscheduler(0, policy, &p) == 0;
}

static void enter(struct busy *b, uint64_t now, uint64_t used)
{
	b->batch = true;
	b->changed = now;
	b->used = used;
	b->on = set_policy(SCHED_BATCH);
}

static void leave(struct busy *b, uint64_t now)
{
	b->doubt = now - b->changed < BUSY_SOON_NS;
	if (!b->doubt)
		b->pause = 0;
	b->batch = false;
	b->changed = now;
	b->on = set_policy(SCHED_OTHER);
}

/* What came after it tells why it ended. */
static void resolve(struct busy *b, uint64_t used)
{
	b->doubt = false;
	b->pause = used < BUSY_FROM ? 0 : MIN(MAX(4 * b->pause, BUSY_PAUSE_NS), BUSY_PAUSE_MAX_NS);
}

void busy_begin(struct busy *b, uint64_t now)
{
	/* Whoever started us with another policy meant it. */
	*b = (struct busy){
		.on = sched_getscheduler(0) == SCHED_OTHER,
		.looked = now,
		.cpu = time_thread_ns(),
	};
}

void busy_look(struct busy *b, uint64_t now)
{
	uint64_t cpu, used, wall = now - b->looked;

	if (!b->on || wall < (b->batch ? BUSY_REST_NS : BUSY_WINDOW_NS))
		return;
	cpu = time_thread_ns();
	used = (cpu - b->cpu) * 100 / wall;
	b->looked = now;
	b->cpu = cpu;
	if (b->doubt)
		resolve(b, used);
	if (b->batch && used < b->used / 2)
		leave(b, now);
	else if (!b->batch && used >= BUSY_FROM && now - b->changed >= b->pause)
		enter(b, now, used);
}
