/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network card: what it says to the back end and when, what it does with wrong answers, and
 * the back end's death at each stage. The back end's answers are put into the socket beforehand;
 * what it was told is read afterwards.
 */
#include "virtio_rig.h"

#include <linux/virtio_net.h>
#include <sys/socket.h>

#define PROTOCOL VIRTIO_BIT(30)
#define OFFERS                                                                                     \
	(PROTOCOL | VIRTIO_BIT(VIRTIO_F_VERSION_1) | VIRTIO_BIT(VIRTIO_NET_F_CSUM) |               \
	 VIRTIO_BIT(VIRTIO_NET_F_HOST_TSO4) | VIRTIO_BIT(VIRTIO_NET_F_MRG_RXBUF) |                 \
	 VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX) | VIRTIO_BIT(VIRTIO_NET_F_CTRL_VQ))

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

struct card {
	struct rig r;
	int back; /* the back end's end of the socket */
	int front;
	const char *why;
};

struct message {
	uint32_t request, flags, size;
	uint8_t p[256];
	int fds[8];
	unsigned n_fds;
};

static void answer(struct card *c, uint32_t request, uint64_t v)
{
	uint8_t b[20];
	uint32_t head[3] = { request, 5, 8 };

	memcpy(b, head, sizeof(head));
	memcpy(b + sizeof(head), &v, 8);
	assert_int_equal(send(c->back, b, sizeof(b), 0), sizeof(b));
}

/* The next thing the back end was told. */
static void told(struct card *c, uint32_t request, struct message *m)
{
	char control[CMSG_SPACE(8 * sizeof(int))];
	struct iovec iov = { m, 12 };
	struct msghdr h = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *cm;

	assert_int_equal(recvmsg(c->back, &h, MSG_DONTWAIT), 12);
	assert_int_equal(m->request, request);
	assert_true(m->size <= sizeof(m->p));
	if (m->size)
		assert_int_equal(recv(c->back, m->p, m->size, MSG_DONTWAIT), m->size);
	m->n_fds = 0;
	cm = CMSG_FIRSTHDR(&h);
	if (cm) {
		m->n_fds = (unsigned)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(m->fds, CMSG_DATA(cm), m->n_fds * sizeof(int));
	}
	for (unsigned i = 0; i < m->n_fds; i++)
		assert_int_equal(fcntl(m->fds[i], F_GETFD) & FD_CLOEXEC, 0);
}

static void close_fds(struct message *m)
{
	for (unsigned i = 0; i < m->n_fds; i++)
		close(m->fds[i]);
}

static bool silent(struct card *c)
{
	uint8_t b;

	return recv(c->back, &b, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
}

static int make(struct card *c)
{
	struct virtio_net_setup s = { .fd = c->front, .mac = { 2, 0, 0, 0, 0, 9 }, .mtu = 1500 };

	return virtio_net_new(c->r.loop, &c->r.mem, &s, &c->r.d, &c->why);
}

static void pair(struct card *c)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	c->front = sv[0];
	c->back = sv[1];
}

static void acquaint(struct card *c)
{
	struct message m;

	answer(c, GET_FEATURES, OFFERS);
	answer(c, GET_PROTOCOL_FEATURES, UINT64_MAX);
	answer(c, SET_OWNER, 0);
	assert_int_equal(make(c), 0);
	told(c, GET_FEATURES, &m);
	told(c, GET_PROTOCOL_FEATURES, &m);
	told(c, SET_PROTOCOL_FEATURES, &m);
	assert_int_equal(m.p[0], 8); /* REPLY_ACK and nothing else */
	told(c, SET_OWNER, &m);
	assert_true(silent(c));
}

static int setup(void **state)
{
	struct card *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	rig_open(&c->r);
	pair(c);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct card *c = *state;

	fd_close(c->back); /* so that nobody waits for its answers */
	rig_close(&c->r);
	fd_close(c->front);
	free(c);
	return 0;
}

static const uint32_t start_order[] = {
	SET_FEATURES,	SET_MEM_TABLE,	SET_VRING_NUM,	  SET_VRING_BASE,   SET_VRING_ADDR,
	SET_VRING_CALL, SET_VRING_KICK, SET_VRING_ENABLE, SET_VRING_NUM,    SET_VRING_BASE,
	SET_VRING_ADDR, SET_VRING_CALL, SET_VRING_KICK,	  SET_VRING_ENABLE,
};

static void bring_up(struct card *c, uint64_t features)
{
	for (size_t i = 0; i < ARRAY_SIZE(start_order); i++)
		answer(c, start_order[i], 0);
	rig_features(&c->r, features);
	rig_queues(&c->r);
	rig_go(&c->r);
}

static uint16_t status(struct card *c)
{
	uint16_t v = 0;

	virtio_mmio_read(c->r.d, VIRTIO_MMIO_CONFIG + 6, &v, 2);
	return v;
}

/* ---- */

static void offers_what_the_back_end_does(void **state)
{
	struct card *c = *state;
	uint64_t f;
	uint16_t mtu = 0;
	uint8_t mac[6];

	acquaint(c);
	f = rig_offers(&c->r);
	assert_int_equal(f, (OFFERS & ~PROTOCOL & ~VIRTIO_BIT(VIRTIO_NET_F_CTRL_VQ)) |
				    VIRTIO_BIT(VIRTIO_NET_F_MAC) | VIRTIO_BIT(VIRTIO_NET_F_MTU) |
				    VIRTIO_BIT(VIRTIO_NET_F_STATUS));
	for (unsigned i = 0; i < 6; i++)
		virtio_mmio_read(c->r.d, VIRTIO_MMIO_CONFIG + i, &mac[i], 1);
	assert_memory_equal(mac, "\2\0\0\0\0\11", 6);
	virtio_mmio_read(c->r.d, VIRTIO_MMIO_CONFIG + 10, &mtu, 2);
	assert_int_equal(mtu, 1500);
	assert_int_equal(status(c), VIRTIO_NET_S_LINK_UP);
}

static void hands_over_memory_and_rings(void **state)
{
	struct card *c = *state;
	struct message m;
	uint64_t v[5], one = 1;
	uint32_t n;

	acquaint(c);
	bring_up(c, ~UINT64_C(0));
	assert_int_equal(rig_status(&c->r), 15);
	assert_true(virtio_net_link_up(c->r.d));
	told(c, SET_FEATURES, &m);
	memcpy(v, m.p, 8);
	assert_int_equal(v[0], OFFERS & ~VIRTIO_BIT(VIRTIO_NET_F_CTRL_VQ));
	told(c, SET_MEM_TABLE, &m);
	assert_int_equal(m.size, 8 + 2 * 32);
	assert_int_equal(m.n_fds, 2);
	memcpy(&n, m.p, 4);
	assert_int_equal(n, 2);
	memcpy(v, m.p + 8 + 32, 32);
	assert_int_equal(v[0], RIG_HIGH_GPA);
	assert_int_equal(v[1], RIG_LOW);
	assert_int_equal(v[2], RIG_HIGH_GPA); /* no address of our process */
	assert_int_equal(v[3], RIG_LOW);
	close_fds(&m);
	for (unsigned q = 0; q < 2; q++) {
		told(c, SET_VRING_NUM, &m);
		memcpy(&n, m.p + 4, 4);
		assert_int_equal(n, RIG_QUEUE);
		told(c, SET_VRING_BASE, &m);
		told(c, SET_VRING_ADDR, &m);
		memcpy(v, m.p, 40);
		assert_int_equal(v[0], q);
		assert_int_equal(v[1], RIG_DESC(q));
		assert_int_equal(v[2], RIG_USED(q));
		assert_int_equal(v[3], RIG_AVAIL(q));
		told(c, SET_VRING_CALL, &m);
		assert_int_equal(m.n_fds, 1);
		/* A call of the back end's is the device's interrupt. */
		rig_calls(&c->r);
		assert_int_equal(write(m.fds[0], &one, 8), 8);
		assert_int_equal(rig_calls(&c->r), 1);
		close_fds(&m);
		told(c, SET_VRING_KICK, &m);
		/* Kicked already, in case the driver was early. */
		assert_int_equal(read(m.fds[0], &one, 8), 8);
		rig_write(&c->r, VIRTIO_MMIO_QUEUE_NOTIFY, q);
		assert_int_equal(read(m.fds[0], &one, 8), 8);
		close_fds(&m);
		told(c, SET_VRING_ENABLE, &m);
		one = 1;
	}
	assert_true(silent(c));
	/* An interrupt of the queues' is always possible. */
	assert_int_equal(virtio_mmio_isr(c->r.d), VIRTIO_MMIO_INT_VRING);
}

static void drain(struct card *c)
{
	struct message m;

	for (size_t i = 0; i < ARRAY_SIZE(start_order); i++) {
		told(c, start_order[i], &m);
		close_fds(&m);
	}
}

static void takes_the_rings_back_at_reset(void **state)
{
	struct card *c = *state;
	struct message m;

	acquaint(c);
	bring_up(c, 0);
	drain(c);
	answer(c, GET_VRING_BASE, 5);
	answer(c, GET_VRING_BASE, 7);
	rig_write(&c->r, VIRTIO_MMIO_STATUS, 0);
	told(c, GET_VRING_BASE, &m);
	told(c, GET_VRING_BASE, &m);
	assert_true(silent(c));
	assert_int_equal(virtio_mmio_isr(c->r.d), 0);
	/* Another driver. */
	bring_up(c, ~UINT64_C(0));
	drain(c);
	rig_run(&c->r);
	assert_int_equal(rig_status(&c->r), 15);
}

/* The base that the back end is told for each of the rings, in order. */
static void told_bases(struct card *c, uint32_t rx, uint32_t tx)
{
	const uint32_t want[] = { rx, tx };
	unsigned ring = 0;

	for (size_t i = 0; i < ARRAY_SIZE(start_order); i++) {
		struct message m;
		uint32_t state[2];

		told(c, start_order[i], &m);
		close_fds(&m);
		if (start_order[i] != SET_VRING_BASE)
			continue;
		memcpy(state, m.p, sizeof(state));
		assert_int_equal(state[0], ring);
		assert_int_equal(state[1], want[ring++]);
	}
}

/* The same queues at another back end go on where the first one stopped. */
static void goes_on_from_a_saved_state(void **state)
{
	struct card *c = *state;
	struct virtio_state saved;
	struct message m;

	acquaint(c);
	bring_up(c, ~UINT64_C(0));
	drain(c);
	answer(c, GET_VRING_BASE, UINT64_C(5) << 32);
	answer(c, GET_VRING_BASE, UINT64_C(65535) << 32 | 1);
	for (size_t i = 0; i < ARRAY_SIZE(start_order); i++)
		answer(c, start_order[i], 0);
	assert_int_equal(virtio_save(c->r.d, &saved), 0);
	told(c, GET_VRING_BASE, &m);
	told(c, GET_VRING_BASE, &m);
	told_bases(c, 5, 65535);
	assert_true(silent(c));
	assert_int_equal(rig_status(&c->r), 15);
	/* This process is gone; another one has a back end of its own. */
	fd_close(steal_fd(&c->back));
	virtio_free(c->r.d);
	fd_close(c->front);
	pair(c);
	acquaint(c);
	for (size_t i = 0; i < ARRAY_SIZE(start_order); i++)
		answer(c, start_order[i], 0);
	assert_int_equal(virtio_load(c->r.d, &saved, &c->why), 0);
	assert_int_equal(rig_status(&c->r), 15);
	told_bases(c, 5, 65535);
	assert_true(virtio_net_link_up(c->r.d));
	assert_int_equal(rig_read(&c->r, VIRTIO_MMIO_CONFIG_GENERATION), saved.regs.generation);
}

static void cannot_be_saved_without_its_back_end(void **state)
{
	struct card *c = *state;
	struct virtio_state saved;

	acquaint(c);
	bring_up(c, ~UINT64_C(0));
	drain(c);
	fd_close(steal_fd(&c->back));
	assert_int_equal(virtio_save(c->r.d, &saved), -EIO);
	assert_true(rig_lost(&c->r));
}

static void goes_on_without_its_back_end(void **state)
{
	struct card *c = *state;
	uint32_t generation;

	acquaint(c);
	bring_up(c, ~UINT64_C(0));
	drain(c);
	rig_run(&c->r);
	assert_false(rig_lost(&c->r));
	generation = rig_read(&c->r, VIRTIO_MMIO_CONFIG_GENERATION);
	rig_calls(&c->r);
	fd_close(steal_fd(&c->back));
	rig_run(&c->r);
	assert_true(rig_lost(&c->r));
	assert_int_equal(status(c), 0);
	assert_true(generation != rig_read(&c->r, VIRTIO_MMIO_CONFIG_GENERATION));
	assert_int_equal(rig_calls(&c->r), 1);
	assert_true(virtio_mmio_isr(c->r.d) & VIRTIO_MMIO_INT_CONFIG);
	assert_false(virtio_net_link_up(c->r.d));
	/* The driver may take the card again; its link is down. */
	rig_start(&c->r, 0);
	rig_kick(&c->r, 1);
	assert_int_equal(status(c), 0);
}

static void dies_while_the_driver_starts(void **state)
{
	struct card *c = *state;

	acquaint(c);
	answer(c, SET_FEATURES, 0);
	assert_int_equal(shutdown(c->back, SHUT_WR), 0);
	rig_features(&c->r, 0);
	rig_queues(&c->r);
	rig_go(&c->r);
	assert_true(rig_lost(&c->r));
	assert_string_equal(virtio_broken(c->r.d), "the back end of the network is gone");
	assert_int_equal(status(c), 0);
}

static void a_refusal_is_the_drivers(void **state)
{
	struct card *c = *state;

	acquaint(c);
	answer(c, SET_FEATURES, 0);
	answer(c, SET_MEM_TABLE, 1);
	rig_features(&c->r, 0);
	rig_queues(&c->r);
	rig_go(&c->r);
	assert_true(rig_lost(&c->r));
	assert_non_null(strstr(virtio_broken(c->r.d), "refuses"));
}

static void wrong_answers_end_it(void **state)
{
	struct card *c = *state;
	uint32_t head[3] = { GET_FEATURES, 5, 4096 };

	answer(c, GET_PROTOCOL_FEATURES, 0);
	assert_int_equal(make(c), -EPROTO);
	fd_close(c->back);
	fd_close(c->front);
	pair(c);
	assert_int_equal(send(c->back, head, sizeof(head), 0), sizeof(head));
	assert_int_equal(make(c), -EPROTO);
	fd_close(c->back);
	fd_close(c->front);
	pair(c);
	answer(c, GET_FEATURES, 0); /* of before virtio 1.0, and without acknowledgements */
	assert_int_equal(make(c), -EPROTO);
	assert_non_null(strstr(c->why, "1.0"));
	fd_close(steal_fd(&c->back));
	assert_int_equal(make(c), -EPIPE);
}

static void unasked_words_end_it(void **state)
{
	struct card *c = *state;

	acquaint(c);
	bring_up(c, 0);
	drain(c);
	answer(c, SET_FEATURES, 0);
	rig_run(&c->r);
	assert_true(rig_lost(&c->r));
	assert_int_equal(status(c), 0);
}

static void a_card_has_two_queues(void **state)
{
	struct card *c = *state;

	acquaint(c);
	rig_features(&c->r, 0);
	rig_place(&c->r, 0, RIG_QUEUE, RIG_DESC(0), RIG_AVAIL(0), RIG_USED(0));
	rig_go(&c->r);
	assert_true(rig_lost(&c->r));
	assert_true(virtio_net_link_up(c->r.d)); /* the back end heard nothing of it */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(offers_what_the_back_end_does), T(hands_over_memory_and_rings),
		T(takes_the_rings_back_at_reset), T(goes_on_without_its_back_end),
		T(goes_on_from_a_saved_state),	  T(cannot_be_saved_without_its_back_end),
		T(dies_while_the_driver_starts),  T(a_refusal_is_the_drivers),
		T(wrong_answers_end_it),	  T(unasked_words_end_it),
		T(a_card_has_two_queues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
