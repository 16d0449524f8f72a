/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another processor of the guest rewrites rings, descriptors, tables and headers while the
 * devices work on them. Whatever they make of it: memory on either side of the guest's is as it
 * was, an image under a layer as well, and after a reset the device serves as before.
 */
#include "virtio_rig.h"

#include <linux/virtio_blk.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>

#define ALL ~UINT64_C(0)
#define IN VRING_DESC_F_WRITE
#define ROUNDS 30000u
#define GUARD 0x10000u
#define IMAGE 65536u

struct scribbler {
	struct rig *r;
	unsigned pieces, out; /* of a chain, the first of them read by the device */
	unsigned queues;
	atomic_bool stop;
	uint64_t seed;
};

static uint32_t dice(uint64_t *s, uint32_t n)
{
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*s >> 33) % n;
}

/* Mostly what is almost right: broken rings end the device at once and nothing more is seen. */
static struct vring_desc any_desc(const struct scribbler *w, uint64_t *s, unsigned i)
{
	static const uint64_t places[] = { RIG_DATA, RIG_HIGH_GPA, RIG_LOW - 64, RIG_HIGH_GPA + 4096 };
	struct vring_desc d = { .len = 16, .next = (uint16_t)(i + 1) };
	bool wild = dice(s, 400) == 0;

	d.addr = places[dice(s, wild ? ARRAY_SIZE(places) : 2)] + dice(s, 8) * 8;
	if (i % w->pieces >= w->out)
		d.flags |= IN;
	if (i % w->pieces < w->pieces - 1)
		d.flags |= VRING_DESC_F_NEXT;
	if (d.flags & IN)
		d.len = d.flags & VRING_DESC_F_NEXT ? 512 * dice(s, 4) : 1 + dice(s, 64);
	if (wild)
		d = (struct vring_desc){ d.addr, dice(s, 2) ? UINT32_MAX : 48, (uint16_t)dice(s, 8),
					 (uint16_t)dice(s, RIG_QUEUE) };
	return d;
}

/* What a driver would have there, before it goes mad. */
static void fill(struct scribbler *w)
{
	uint64_t s = 1;

	rig_start(w->r, ALL);
	for (unsigned q = 0; q < w->queues; q++)
		for (unsigned i = 0; i < RIG_QUEUE; i++) {
			struct vring_desc d = any_desc(w, &s, i);

			rig_desc(w->r, q, i, d.addr, d.len, d.flags, d.next);
		}
}

static void *scribble(void *arg)
{
	struct scribbler *w = arg;

	while (!atomic_load(&w->stop)) {
		unsigned q = dice(&w->seed, w->queues), i = dice(&w->seed, RIG_QUEUE);
		struct vring_desc d = any_desc(w, &w->seed, i);
		volatile uint64_t *to = (void *)rig_at(w->r, RIG_DESC(q) + 16u * i);
		uint64_t words[2];

		memcpy(words, &d, sizeof(d));
		to[0] = words[0];
		to[1] = words[1];
		*(volatile uint32_t *)(void *)rig_at(w->r, RIG_DATA + 4 * dice(&w->seed, 16)) =
			dice(&w->seed, 10);
		if (dice(&w->seed, 1000) == 0)
			*(volatile uint16_t *)(void *)rig_at(
				w->r, RIG_AVAIL(q) + 4 + 2 * dice(&w->seed, RIG_QUEUE)) =
				(uint16_t)dice(&w->seed, RIG_QUEUE);
	}
	return NULL;
}

/* Pages before and behind each piece of memory whose content is known. */
static void guarded_open(struct rig *r)
{
	struct gmem_region g[2];
	uint8_t *p;

	rig_open(r);
	p = mmap(NULL, RIG_RAM + 3 * GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	memset(p, 0x5c, RIG_RAM + 3 * GUARD);
	memcpy(g, r->mem.r, sizeof(g));
	for (unsigned i = 0; i < 2; i++) {
		g[i].host = p + GUARD + i * (RIG_LOW + GUARD);
		assert_ptr_equal(mmap(g[i].host, RIG_LOW, PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_FIXED, r->memfd, (off_t)g[i].fd_offset),
				 g[i].host);
	}
	assert_int_equal(gmem_init(&r->mem, g, 2), 0);
}

static void guards_hold(struct rig *r)
{
	for (unsigned i = 0; i < 2; i++)
		for (unsigned k = 0; k < GUARD; k++) {
			assert_int_equal(r->mem.r[i].host[-1 - (ptrdiff_t)k], 0x5c);
			assert_int_equal(r->mem.r[i].host[RIG_LOW + k], 0x5c);
		}
}

static void play(struct rig *r, unsigned pieces, unsigned out, void (*host)(void *ctx), void *ctx)
{
	struct scribbler w = { r, pieces, out, virtio_queues(r->d), false, 7 };
	struct virtio_counters before, after;
	unsigned lost = 0;
	pthread_t t;

	log_setup("test", LOG_LEVEL_ERROR);
	fill(&w);
	virtio_count(r->d, &before);
	assert_int_equal(pthread_create(&t, NULL, scribble, &w), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned q = i % w.queues;

		rig_offer(r, q, (uint16_t)(i * 7 % (RIG_QUEUE / pieces) * pieces));
		rig_write(r, VIRTIO_MMIO_QUEUE_NOTIFY, q);
		assert_int_equal(loop_step(r->loop, 0), 0);
		if (host)
			host(ctx);
		if (rig_lost(r)) {
			lost++;
			fill(&w);
		}
	}
	atomic_store(&w.stop, true);
	pthread_join(t, NULL);
	virtio_count(r->d, &after);
	assert_true(after.chains - before.chains > ROUNDS / 50);
	fprintf(stderr, "  %s: %llu chains, lost %u times\n", virtio_name(r->d),
		(unsigned long long)(after.chains - before.chains), lost);
	guards_hold(r);
	rig_start(r, ALL);
	assert_false(rig_lost(r));
}

static void entropy(void **state)
{
	struct rig r;

	(void)state;
	guarded_open(&r);
	assert_int_equal(virtio_rng_new(r.loop, &r.mem, &r.d), 0);
	play(&r, 2, 0, NULL, NULL);
	rig_close(&r);
}

static void balloon(void **state)
{
	struct rig r;

	(void)state;
	guarded_open(&r);
	assert_int_equal(virtio_balloon_new(r.loop, &r.mem, &r.d), 0);
	play(&r, 2, 1, NULL, NULL);
	rig_close(&r);
}

static void disk(void **state)
{
	struct virtio_block_setup s = { .fd = memfd_create("image", MFD_CLOEXEC),
					.layer_fd = memfd_create("layer", MFD_CLOEXEC) };
	const char *why = NULL;
	static uint8_t b[IMAGE];
	struct rig r;

	(void)state;
	guarded_open(&r);
	memset(b, 0x3d, sizeof(b));
	assert_int_equal(pwrite(s.fd, b, sizeof(b), 0), sizeof(b));
	assert_int_equal(virtio_block_new(r.loop, &r.mem, &s, &r.d, &why), 0);
	play(&r, 3, 1, NULL, NULL);
	assert_int_equal(pread(s.fd, b, sizeof(b), 0), sizeof(b));
	for (size_t i = 0; i < sizeof(b); i++)
		assert_int_equal(b[i], 0x3d);
	rig_close(&r);
	close(s.fd);
	close(s.layer_fd);
}

static void talk(void *ctx)
{
	int fd = *(int *)ctx;
	static uint8_t b[65536];

	(void)!send(fd, b, 100, MSG_DONTWAIT);
	(void)!recv(fd, b, sizeof(b), MSG_DONTWAIT);
}

static void console(void **state)
{
	struct virtio_console_setup s = { .out_fd = -1, .port_name = "agent" };
	struct rig r;
	int sv[2];

	(void)state;
	guarded_open(&r);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	s.stream_fd = sv[1];
	assert_int_equal(virtio_console_new(r.loop, &r.mem, &s, &r.d), 0);
	play(&r, 2, 1, talk, &sv[0]);
	rig_close(&r);
	close(sv[0]);
	close(sv[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entropy),
		cmocka_unit_test(balloon),
		cmocka_unit_test(disk),
		cmocka_unit_test(console),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
