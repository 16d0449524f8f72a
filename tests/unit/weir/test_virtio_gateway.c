/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's network card and the gateway's stack, put together: our front end of vhost-user
 * against our back end, which runs on a thread of its own as it does in a process of its own. A driver
 * asks by ARP for the gateway and is answered, before and after a reset; either side's death
 * is the other's link down.
 */
#include "tests/unit/vmm/virtio_rig.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "netstack/netstack.h"

#define ALL ~UINT64_C(0)
#define HEAD 12 /* of virtio-net */

struct gateway {
	pthread_t thread;
	struct loop *loop;
	struct loop_io end_io;
	struct netstack *ns;
	int end; /* eventfd: stop */
	atomic_uint ups, downs;
};

struct lab {
	struct rig r;
	struct gateway g;
	int front;
};

static void on_up(void *ctx)
{
	atomic_fetch_add(&((struct gateway *)ctx)->ups, 1);
}

static void on_down(void *ctx, const char *why, bool last)
{
	(void)why;
	(void)last;
	atomic_fetch_add(&((struct gateway *)ctx)->downs, 1);
}

static const struct netstack_ops ops = { .link_up = on_up, .link_down = on_down };

static void on_end(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	loop_stop(io->loop, 0);
}

static void *serve(void *arg)
{
	struct gateway *g = arg;

	(void)!loop_run(g->loop);
	netstack_free(g->ns);
	return NULL;
}

static void gateway_start(struct gateway *g, int fd)
{
	struct netstack_config cfg = {
		.gateway_mac = { 2, 0, 0, 0, 0, 1 },
		.gateway4 = ip4(10, 9, 0, 1),
		.guest4 = ip4(10, 9, 0, 2),
		.mtu = 1500,
		.max_tcp = 8,
		.max_udp = 8,
		.max_icmp = 8,
	};

	assert_int_equal(loop_new(&g->loop), 0);
	assert_int_equal(netstack_new(g->loop, NETSTACK_LINK_VHOST_USER, fd, &cfg, &ops, g, &g->ns),
			 0);
	g->end = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(loop_io_add(g->loop, &g->end_io, g->end, EPOLLIN, on_end), 0);
	assert_int_equal(pthread_create(&g->thread, NULL, serve, g), 0);
}

static void gateway_end(struct gateway *g)
{
	if (g->end < 0)
		return;
	assert_int_equal(write(g->end, &(uint64_t){ 1 }, 8), 8);
	pthread_join(g->thread, NULL);
	loop_free(g->loop);
	fd_close(steal_fd(&g->end));
}

static int setup(void **state)
{
	struct lab *l = calloc(1, sizeof(*l));
	struct virtio_net_setup s = { .mac = { 2, 0, 0, 0, 0, 9 }, .mtu = 1500 };
	const char *why = NULL;
	int sv[2];

	assert_non_null(l);
	rig_open(&l->r);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	gateway_start(&l->g, sv[1]);
	l->front = s.fd = sv[0];
	assert_int_equal(virtio_net_new(l->r.loop, &l->r.mem, &s, &l->r.d, &why), 0);
	*state = l;
	return 0;
}

static int teardown(void **state)
{
	struct lab *l = *state;

	rig_close(&l->r);
	gateway_end(&l->g);
	fd_close(l->front);
	free(l);
	return 0;
}

/* A call, within seconds. */
static bool called(struct lab *l)
{
	struct pollfd p = { .fd = virtio_call_fd(l->r.d), .events = POLLIN };

	return poll(&p, 1, 10000) == 1 && rig_calls(&l->r) > 0;
}

/* Wants to be called for the next chain that comes back. */
static void wants_call(struct lab *l, unsigned q)
{
	memcpy(rig_at(&l->r, RIG_AVAIL(q) + 4 + 2 * RIG_QUEUE), &l->r.taken[q], 2);
}

/* Who has 10.9.0.1? The gateway says so in a buffer of ours, high in memory. */
static void asks_and_is_answered(struct lab *l)
{
	static const uint8_t question[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0,  0, 0, 0, 9, 8, 6, 0, 1, 8, 0,  6, 4, 0,
		1,    2,    0,	  0,	0,    0,    9, 10, 9, 0, 2, 0, 0, 0, 0, 0, 0, 10, 9, 0, 1,
	};
	const uint8_t *frame = rig_at(&l->r, RIG_HIGH_GPA + HEAD);
	uint32_t head = 0, len = 0;

	wants_call(l, 0);
	wants_call(l, 1);
	rig_desc(&l->r, 0, 0, RIG_HIGH_GPA, 2048, VRING_DESC_F_WRITE, 0);
	rig_offer(&l->r, 0, 0);
	rig_kick(&l->r, 0);
	memset(rig_at(&l->r, RIG_DATA), 0, HEAD);
	memcpy(rig_at(&l->r, RIG_DATA + HEAD), question, sizeof(question));
	rig_desc(&l->r, 1, 0, RIG_DATA, HEAD + sizeof(question), 0, 0);
	rig_offer(&l->r, 1, 0);
	rig_kick(&l->r, 1);
	while (!rig_take(&l->r, 0, &head, &len))
		assert_true(called(l));
	assert_true(len >= HEAD + 42);
	assert_memory_equal(frame + 12, "\x08\x06", 2);
	assert_int_equal(frame[21], 2); /* a reply */
	assert_memory_equal(frame + 22, "\2\0\0\0\0\1\12\11\0\1", 10);
	while (!rig_take(&l->r, 1, &head, &len))
		assert_true(called(l));
	assert_true(virtio_mmio_isr(l->r.d) & VIRTIO_MMIO_INT_VRING);
}

static void frames_go_both_ways(void **state)
{
	struct lab *l = *state;

	rig_start(&l->r, ALL);
	asks_and_is_answered(l);
	asks_and_is_answered(l);
	assert_true(virtio_net_link_up(l->r.d));
	assert_int_equal(l->g.ups, 1);
}

static void another_driver_begins_anew(void **state)
{
	struct lab *l = *state;

	rig_start(&l->r, ALL);
	asks_and_is_answered(l);
	rig_start(&l->r, 0); /* a reset, and no features at all */
	asks_and_is_answered(l);
	rig_start(&l->r, VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX));
	asks_and_is_answered(l);
	assert_int_equal(l->g.downs, l->g.ups - 1);
}

static void a_gateway_that_dies_is_a_link_down(void **state)
{
	struct lab *l = *state;

	rig_start(&l->r, ALL);
	asks_and_is_answered(l);
	gateway_end(&l->g);
	rig_run(&l->r);
	assert_true(rig_lost(&l->r));
	assert_false(virtio_net_link_up(l->r.d));
	/* The machine goes on: the driver may take the card again, and reset it. */
	rig_start(&l->r, ALL);
	rig_kick(&l->r, 1);
	rig_write(&l->r, VIRTIO_MMIO_STATUS, 0);
}

static void a_broken_ring_ends_this_link_only(void **state)
{
	struct lab *l = *state;

	rig_start(&l->r, ALL);
	asks_and_is_answered(l);
	rig_idx(&l->r, 1, 30000);
	rig_write(&l->r, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	/* The socket is closed before the gateway's owner is told. */
	for (unsigned i = 0; i < 1000 && (virtio_net_link_up(l->r.d) || !l->g.downs); i++)
		assert_int_equal(loop_step(l->r.loop, 10), 0);
	assert_false(virtio_net_link_up(l->r.d));
	assert_true(rig_lost(&l->r));
	assert_int_equal(l->g.downs, 1);
	/* The driver's reset gives it a card back that works, and no link behind it. */
	rig_start(&l->r, ALL);
	assert_false(rig_lost(&l->r));
	rig_kick(&l->r, 1);
	assert_false(virtio_net_link_up(l->r.d));
	assert_int_equal(l->g.ups, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(frames_go_both_ways),
		T(another_driver_begins_anew),
		T(a_gateway_that_dies_is_a_link_down),
		T(a_broken_ring_ends_this_link_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
