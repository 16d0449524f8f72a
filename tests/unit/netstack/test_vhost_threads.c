/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver on a thread of its own, as in life. First one that sleeps whenever
 * it may (kicks only when asked, waits for calls only where it asked): a single lost
 * wake-up in either direction stops it for good. Then one that rewrites rings,
 * descriptors and headers while the device runs.
 */
#include "vhost_rig.h"

#include <pthread.h>

#define FRAMES 20000u

struct player {
	struct vrig *v;
	unsigned sent, got;
	uint64_t seed;
	int stop;
	int done; /* eventfd, tells the loop */
};

/* Sleeps until a call, after having asked for one; false: none came in ten seconds. */
static bool sleep_for_call(struct dq *q)
{
	struct pollfd p = { q->call, POLLIN, 0 };
	uint64_t n;

	return poll(&p, 1, 10000) == 1 && read(q->call, &n, 8) == 8;
}

/* Answers not yet read; then the wish to be called, the barrier, and another look. */
static unsigned take_answers(struct drv *d, struct frame *f)
{
	unsigned n = 0;

	while (drv_rx(d, f))
		n++;
	return n;
}

static void *play(void *arg)
{
	static struct frame f, g;
	struct player *p = arg;
	struct drv *d = &p->v->d;

	vrig_arp(&f);
	while (p->got < FRAMES) {
		while (p->sent < FRAMES && p->sent - p->got < 48 && drv_tx(d, f.b, f.len))
			p->sent++;
		p->got += take_answers(d, &g);
		if (p->sent - p->got < 40 && p->sent < FRAMES)
			continue;
		if (p->got < FRAMES && p->got < p->sent) {
			unsigned n = take_answers(d, &g);

			p->got += n;
			if (!n && !sleep_for_call(&d->q[0]))
				break;
		}
	}
	(void)!write(p->done, &(uint64_t){ 1 }, 8);
	return NULL;
}

static bool finished;

static void on_done(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	loop_io_del(io);
	finished = true;
}

static void nothing_lost(uint64_t features)
{
	struct vrig v;
	struct player p = { .v = &v };
	struct loop_io io = { 0 };
	pthread_t t;

	vrig_start(&v, features);
	drv_rx_fill(&v.d);
	p.done = eventfd(0, EFD_CLOEXEC);
	finished = false;
	assert_int_equal(loop_io_add(v.r.loop, &io, p.done, EPOLLIN, on_done), 0);
	assert_int_equal(pthread_create(&t, NULL, play, &p), 0);
	while (!finished)
		assert_int_equal(loop_step(v.r.loop, -1), 0);
	pthread_join(t, NULL);
	assert_int_equal(p.sent, FRAMES);
	assert_int_equal(p.got, FRAMES);
	fprintf(stderr, "  %u frames, %u kicks\n", FRAMES, v.d.q[1].kicks);
	close(p.done);
	vrig_stop(&v);
}

static void test_no_wakeup_is_lost(void **state)
{
	(void)state;
	nothing_lost(drv_all);
	nothing_lost(drv_all & ~VHOST_F(VHOST_F_EVENT_IDX));
	nothing_lost(VHOST_F(VHOST_F_VERSION_1) | VHOST_F(VHOST_F_PROTOCOL_FEATURES));
}

/* ---- a guest gone mad --------------------------------------------------- */

static uint32_t dice(uint64_t *s, uint32_t n)
{
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*s >> 33) % n;
}

static void scribble16(struct drv *d, uint64_t *s)
{
	struct dq *q = &d->q[dice(s, 2)];
	uint64_t at[] = { q->avail + 2, q->avail + 4 + 2 * (uint64_t)dice(s, q->num),
			  q->used + 2,	q->avail + 4 + 2 * (uint64_t)q->num,
			  q->used,	q->avail };
	unsigned i = dice(s, 64);

	/* Mostly heads: an index that is wrong ends the link at once. */
	drv_set16(d, at[i < 6 ? i : 1], (uint16_t)(dice(s, 8) ? dice(s, q->num) : dice(s, 65536)));
}

static void scribble_desc(struct drv *d, uint64_t *s)
{
	struct dq *q = &d->q[dice(s, 2)];
	uint16_t flags = (uint16_t)(q == &d->q[0] ? 2 : 0);
	uint64_t table = dice(s, 2) ? q->desc : 0x80000 + dice(s, 64) * 256;

	if (dice(s, 3) == 0)
		flags |= 1;
	if (dice(s, 200) == 0)
		flags = (uint16_t)dice(s, 8);
	if (dice(s, 8) == 0 && table == q->desc) /* an indirect table, more or less */
		drv_desc(d, table, dice(s, q->num), 0x80000 + dice(s, 64) * 256,
			 16 * (1 + dice(s, 8)), 4, 0);
	else
		drv_desc(d, table, dice(s, table == q->desc ? q->num : 16),
			 GPA_HIGH + dice(s, MEM_SIZE - MEM_LOW - 70000), 1 + dice(s, 70000), flags,
			 (uint16_t)dice(s, 16));
}

static void scribble_frame(struct drv *d, uint64_t *s)
{
	uint8_t *p = drv_at(d, tx_gpa(dice(s, TX_SLOTS)));

	for (unsigned i = 0; i < 80; i++)
		__atomic_store_n(p + dice(s, 120), (uint8_t)dice(s, 256), __ATOMIC_RELAXED);
}

static void *scribble(void *arg)
{
	struct player *p = arg;
	struct drv *d = &p->v->d;

	while (!__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE)) {
		for (unsigned i = 0; i < 20; i++) {
			unsigned what = dice(&p->seed, 10);

			if (what < 2)
				scribble16(d, &p->seed);
			else if (what < 5)
				scribble_desc(d, &p->seed);
			else
				scribble_frame(d, &p->seed);
		}
		drv_kick_now(&d->q[dice(&p->seed, 2)]);
	}
	return NULL;
}

/* As many frames as fit, valid when they are written; the other thread does the rest. */
static void offer_frames(struct vrig *v)
{
	static struct frame f;
	struct dq *q = &v->d.q[VHOST_TX];
	struct ip_addr guest = ip4(10, 9, 0, 2), remote = ip4(192, 0, 2, 1);

	frame_tcp(&f, &guest, 4000, &remote, 443, 0x18, 1001, 1, f.b + 2000, 3000);
	f.b[0] = 1;
	for (unsigned s = 0; s < TX_SLOTS; s++) {
		uint8_t *p = drv_at(&v->d, tx_gpa(s));

		for (size_t i = 0; i < 200; i++)
			__atomic_store_n(p + i, f.b[i], __ATOMIC_RELAXED);
		drv_chain(&v->d, q, s * TX_PIECES, tx_gpa(s), (uint32_t)f.len, 0);
		drv_offer(&v->d, q, (uint16_t)(s * TX_PIECES));
	}
	drv_publish(&v->d, q);
	for (unsigned i = 0; i < 16; i++) {
		v->d.indirect = i & 1;
		drv_rx_offer(&v->d, i);
	}
	v->d.indirect = false;
	drv_publish(&v->d, &v->d.q[VHOST_RX]);
}

static void attach_sink(struct rig *r, struct netstack_flow *f)
{
	int sv[2];

	(void)r;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	close(sv[1]);
	netstack_flow_attach(f, sv[0], false);
}

static void test_rewritten_while_read(void **state)
{
	struct vrig v;
	uint64_t end = time_mono_ns() + 1500 * NS_PER_MS;
	unsigned guests = 0, turns = 0;

	(void)state;
	log_setup("test", LOG_LEVEL_ERROR);
	vrig_open(&v, drv_all, true);
	v.r.on_new = attach_sink;
	for (; time_mono_ns() < end; guests++) {
		struct player p = { .v = &v, .seed = guests * 77 + 1 };
		uint64_t guest_end = time_mono_ns() + 50 * NS_PER_MS;
		pthread_t t;

		drv_reset(&v.d);
		vrig_connect(&v);
		vmm_start(&v.d, v.r.loop);
		assert_true(vrig_up(&v));
		assert_int_equal(pthread_create(&t, NULL, scribble, &p), 0);
		while (vrig_up(&v) && time_mono_ns() < guest_end) {
			offer_frames(&v);
			rig_run(&v.r);
			turns++;
		}
		__atomic_store_n(&p.stop, 1, __ATOMIC_RELEASE);
		pthread_join(t, NULL);
	}
	assert_true(guests > 5 && turns > 5);
	/* And a sane one is served after all of them. */
	v.r.on_new = NULL;
	new_guest(&v);
	vrig_stop(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_wakeup_is_lost),
		cmocka_unit_test(test_rewritten_while_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
