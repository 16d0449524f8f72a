/* SPDX-License-Identifier: Apache-2.0 */
/* Which flows begin: half-open connections and who gives way, the memory budget, totals. */
#include "frames.h"

#include "netstack/netstack_internal.h"

static struct ip_addr g4;

static void syn(struct rig *r, const char *dst, uint16_t port)
{
	struct ip_addr d = addr(dst);
	struct frame f;

	frame_tcp(&f, &g4, port, &d, 443, TCP_SYN, 1000, 0, NULL, 0);
	rig_send(r, &f);
}

/* The next segment to the guest. */
static bool segment(struct rig *r, struct tcp_seg *s, struct frame *f)
{
	if (!rig_recv(r, f))
		return false;
	check_out(f, r);
	assert_int_equal(f->b[L2 + 9], IPPROTO_TCP);
	assert_int_equal(tcp_seg_parse(f->b + L2 + 20, f->len - L2 - 20, s), 0);
	return true;
}

static void many(struct netstack_config *c)
{
	c->max_tcp = 40;
	c->max_half_open = 16;
}

/* A scan of silent hosts: the oldest gives way, is answered, and nothing is refused. */
/* Parity: lesson-18. */
static void test_oldest_gives_way(void **state)
{
	struct rig r;
	struct tcp_seg s;
	struct frame f;
	char dst[32];

	(void)state;
	rig_start_with(&r, many);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(dst, sizeof(dst), "10.1.%u.%u", i / 200, i % 200 + 1);
		syn(&r, dst, (uint16_t)(2000 + i));
	}
	assert_int_equal(r.begun, 100);
	assert_int_equal(r.refused, 0);
	assert_int_equal(r.ended, 84);
	assert_int_equal(r.how, NETSTACK_END_LIMIT);
	assert_int_equal(rig_stats(&r).half_open, 16);
	assert_int_equal(rig_stats(&r).evicted_half_open, 84);
	for (unsigned i = 0; i < 84; i++) {
		assert_true(segment(&r, &s, &f));
		assert_int_equal(s.dst_port, 2000 + i);
		assert_true(s.flags & TCP_RST);
	}
	assert_true(rig_silent(&r));
	rig_stop(&r);
}

static struct netstack_flow *kept;

static void keep_first(struct rig *r, struct netstack_flow *f)
{
	if (r->begun == 1)
		kept = f;
}

/* A flood at one host costs that host's own oldest, however old another's is. */
static void test_the_flooded_host_pays(void **state)
{
	struct rig r;
	struct tcp_seg s;
	struct frame f;
	int sv[2];

	(void)state;
	rig_start_with(&r, many);
	r.on_new = keep_first;
	syn(&r, "10.1.0.1", 1999);
	for (unsigned i = 0; i < 200; i++)
		syn(&r, "10.2.0.1", (uint16_t)(2000 + i));
	assert_int_equal(r.begun, 201);
	assert_int_equal(r.ended, 185);
	while (segment(&r, &s, &f))
		assert_int_not_equal(s.dst_port, 1999);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	netstack_flow_attach(kept, sv[0], false);
	rig_run(&r);
	assert_true(segment(&r, &s, &f));
	assert_int_equal(s.dst_port, 1999);
	assert_int_equal(s.flags, TCP_SYN | TCP_ACK);
	/* Attached, and still half open: the guest has not answered. */
	assert_int_equal(rig_stats(&r).half_open, 16);
	{
		struct ip_addr d = addr("10.1.0.1");

		frame_tcp(&f, &g4, 1999, &d, 443, TCP_ACK, 1001, s.seq + 1, NULL, 0);
		rig_send(&r, &f);
	}
	assert_int_equal(rig_stats(&r).half_open, 15);
	close(sv[1]);
	rig_stop(&r);
}

static int pairs[64][2];
static unsigned n_pairs;

static void attach(struct rig *r, struct netstack_flow *f)
{
	(void)r;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pairs[n_pairs]), 0);
	netstack_flow_attach(f, pairs[n_pairs++][0], false);
}

/* Established connections are never anybody's victims. */
/* Parity: n25. */
static void test_established_stay(void **state)
{
	struct ip_addr d = addr("10.1.0.1");
	struct rig r;
	struct tcp_seg s;
	struct frame f;

	(void)state;
	rig_start_with(&r, many);
	n_pairs = 0;
	r.on_new = attach;
	for (unsigned i = 0; i < 20; i++) {
		syn(&r, "10.1.0.1", (uint16_t)(100 + i));
		assert_true(segment(&r, &s, &f));
		frame_tcp(&f, &g4, (uint16_t)(100 + i), &d, 443, TCP_ACK, 1001, s.seq + 1, NULL, 0);
		rig_send(&r, &f);
	}
	r.on_new = NULL;
	for (unsigned i = 0; i < 300; i++)
		syn(&r, "10.1.0.1", (uint16_t)(2000 + i));
	assert_int_equal(rig_stats(&r).half_open, 16);
	assert_int_equal(rig_stats(&r).tcp_flows, 36);
	assert_int_equal(r.ended, 284);
	for (unsigned i = 0; i < n_pairs; i++)
		assert_int_equal(write(pairs[i][1], "hello", 5), 5);
	rig_run(&r);
	for (unsigned i = 0, got = 0; segment(&r, &s, &f) || got < 20; i++) {
		assert_true(i < 10000);
		got += s.len == 5;
	}
	for (unsigned i = 0; i < n_pairs; i++)
		close(pairs[i][1]);
	rig_stop(&r);
}

/* Connections from outside wait for room; those that the guest has long not answered give way. */
static void test_inbound(void **state)
{
	struct endpoint guest = { ip4(10, 9, 0, 2), 80 };
	struct netstack_flow *fl;
	struct rig r;

	(void)state;
	rig_start_with(&r, many);
	for (unsigned i = 0; i < 50; i++) {
		struct endpoint from = { ip4(192, 0, 2, (uint8_t)(i + 1)), 4000 };
		int sv[2], n;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
		close(sv[1]);
		n = netstack_connect(r.ns, NETSTACK_TCP, &from, &guest, sv[0], NULL, &fl);
		if (i >= 16) {
			assert_int_equal(n, -ENOBUFS);
			container_of(r.ns->half[1].all.next, struct netstack_flow, half_all)->c.start_ns -=
				LIMIT_HALF_OPEN_ANSWER_NS;
			n = netstack_connect(r.ns, NETSTACK_TCP, &from, &guest, sv[0], NULL, &fl);
		}
		assert_int_equal(n, 0);
		r.begun++;
		rig_run(&r);
	}
	assert_int_equal(r.ended, 34);
	assert_int_equal(rig_stats(&r).half_open, 16);
	rig_stop(&r);
}

static void little(struct netstack_config *c)
{
	c->max_tcp = 1000;
	c->max_half_open = 1000;
	c->memory = 4u << 20;
}

/* What connections may need is set aside: at the budget new ones are refused with its reason. */
/* Parity: lesson-23. */
static void test_memory(void **state)
{
	unsigned most = (4u << 20) / 4 * 3 / LIMIT_TCP_FLOW_MEM;
	struct rig r;

	(void)state;
	rig_start_with(&r, little);
	for (unsigned i = 0; i < most + 10; i++)
		syn(&r, "10.1.0.1", (uint16_t)(2000 + i));
	assert_int_equal(r.begun, most);
	assert_int_equal(r.refused, 10);
	assert_int_equal(r.refusal, NETSTACK_MEMORY);
	assert_int_equal(rig_stats(&r).refused_memory, 10);
	assert_int_equal(rig_stats(&r).refused_limit, 0);
	assert_true(rig_stats(&r).memory_used <= rig_stats(&r).memory_max);
	rig_stop(&r);
}

/* Fragments and waiting packets are on the same account, and come off it. */
static void twenty_thousand(struct netstack_config *c)
{
	c->max_tcp = 20000;
}

/* Room is set aside for each connection: by default there is enough for all of them. */
static void test_memory_for_many(void **state)
{
	struct rig r;

	(void)state;
	rig_start(&r);
	assert_int_equal(rig_stats(&r).memory_max, 256u << 20);
	rig_stop(&r);
	rig_start_with(&r, twenty_thousand);
	assert_true(rig_stats(&r).memory_max / 4 * 3 >= UINT64_C(20000) * (24 << 10));
	rig_stop(&r);
}

static void test_memory_is_given_back(void **state)
{
	struct ip_addr d = addr("10.1.0.1");
	uint8_t data[1000] = { 0 };
	struct rig r;
	struct frame f;

	(void)state;
	rig_start_with(&r, little);
	for (unsigned i = 0; i < 8; i++) {
		frame_udp(&f, &g4, (uint16_t)(5000 + i), &d, 53, data, sizeof(data));
		rig_send(&r, &f);
	}
	assert_int_equal(r.begun, 8);
	assert_true(rig_stats(&r).memory_used >= 8000);
	for (unsigned i = 0; i < 8; i++)
		if (r.flow)
			netstack_flow_refuse(r.flow, NETSTACK_SILENT);
	netstack_free(r.ns);
	r.ns = NULL;
	rig_stop(&r);
}

/* Parity: n34, p9.4-23. */
static void test_totals(void **state)
{
	struct ip_addr d = addr("10.1.0.1");
	struct netstack_stats s;
	struct rig r;
	struct frame f;
	int sv[2];

	(void)state;
	rig_start(&r);
	frame_udp(&f, &g4, 5000, &d, 7, "abcd", 4);
	rig_send(&r, &f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv), 0);
	netstack_flow_attach(r.flow, sv[0], false);
	assert_int_equal(write(sv[1], "xyz", 3), 3);
	rig_run(&r);
	s = rig_stats(&r); /* of a flow that lives */
	assert_int_equal(s.by_proto[NETSTACK_UDP].flows, 1);
	assert_int_equal(s.by_proto[NETSTACK_UDP].bytes_up, 4);
	assert_int_equal(s.by_proto[NETSTACK_UDP].bytes_down, 3);
	netstack_flow_abort(r.flow);
	s = rig_stats(&r); /* and of one that ended */
	assert_int_equal(s.by_proto[NETSTACK_UDP].bytes_up, 4);
	assert_int_equal(s.by_proto[NETSTACK_UDP].bytes_down, 3);
	assert_int_equal(s.by_proto[NETSTACK_UDP].packets_up, 1);
	assert_int_equal(s.by_proto[NETSTACK_UDP].packets_down, 1);
	close(sv[1]);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_oldest_gives_way),
		cmocka_unit_test(test_the_flooded_host_pays),
		cmocka_unit_test(test_established_stay),
		cmocka_unit_test(test_inbound),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_memory_for_many),
		cmocka_unit_test(test_memory_is_given_back),
		cmocka_unit_test(test_totals),
	};

	g4 = ip4(10, 9, 0, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
