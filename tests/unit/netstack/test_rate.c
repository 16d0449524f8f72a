/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets: their arithmetic with a time of our own, and what they do to flows. */
#include "frames.h"

#include "netstack/netstack_internal.h"

static struct ip_addr g4, d4;

/* However the time is cut, what is handed out is rate times time, and never more than the depth at once. */
static void test_bucket(void **state)
{
	static const uint64_t rates[] = { 1, 7, 1000, 1250000, 125000000, UINT64_C(16000000000) };
	static const uint64_t steps[] = { 1, 999, 1000003, 50000017, NS_PER_S + 1 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rates); i++)
		for (size_t k = 0; k < ARRAY_SIZE(steps); k++) {
			uint64_t now = 5 * NS_PER_S, start = now, spent = 0,
				 depth = UINT64_C(1) << 40;
			struct rate_bucket b = { 0 };
			double want;

			rate_bucket_set(&b, rates[i], depth, now);
			rate_bucket_spend(&b, depth);
			for (int n = 0; n < 20000 && now - start < 100 * NS_PER_S; n++) {
				int64_t have;

				now += steps[k];
				have = rate_bucket_tokens(&b, now);
				assert_true(have >= 0);
				rate_bucket_spend(&b, (uint64_t)have);
				spent += (uint64_t)have;
			}
			want = (double)rates[i] * (double)(now - start) / 1e9;
			if ((double)spent > want + 1 || (double)spent < want * 0.999 - 1)
				fail_msg("rate %llu step %llu: %llu, not %.0f",
					 (unsigned long long)rates[i], (unsigned long long)steps[k],
					 (unsigned long long)spent, want);
		}
}

static void test_bucket_depth_and_wait(void **state)
{
	struct rate_bucket b = { 0 };
	uint64_t now = 77;

	(void)state;
	assert_true(rate_bucket_tokens(&b, now) == INT64_MAX);
	assert_int_equal(rate_bucket_wait(&b, 1000, now), 0);
	rate_bucket_set(&b, 1000, 5000, now);
	assert_int_equal(rate_bucket_tokens(&b, now), 5000);
	assert_int_equal(rate_bucket_tokens(&b, now + 3600 * NS_PER_S), 5000);
	now += 3600 * NS_PER_S;
	rate_bucket_spend(&b, 7000); /* one datagram more than there was */
	assert_int_equal(rate_bucket_tokens(&b, now), -2000);
	assert_int_equal(rate_bucket_wait(&b, 500, now), 2500 * NS_PER_MS);
	assert_int_equal(rate_bucket_tokens(&b, now + 2500 * NS_PER_MS), 500);
	/* A new rate starts from what there is; none takes the limit away. */
	rate_bucket_set(&b, 10, 100, now + 2500 * NS_PER_MS);
	assert_int_equal(rate_bucket_tokens(&b, now + 2500 * NS_PER_MS), 100);
	rate_bucket_set(&b, 0, 100, now + 2500 * NS_PER_MS);
	assert_true(rate_bucket_tokens(&b, now) == INT64_MAX);
	/* A clock that stands or goes back earns nothing. */
	b = (struct rate_bucket){ 0 };
	rate_bucket_set(&b, 1000, 1000, NS_PER_S);
	rate_bucket_spend(&b, 1000);
	assert_int_equal(rate_bucket_tokens(&b, 0), 0);
}

static int far; /* the other end of what is attached */

static void attach(struct rig *r, struct netstack_flow *f)
{
	bool tcp = netstack_flow_tuple(f)->proto == NETSTACK_TCP;
	int sv[2];

	(void)r;
	assert_int_equal(
		socketpair(AF_UNIX, (tcp ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_NONBLOCK, 0, sv), 0);
	far = sv[1];
	netstack_flow_attach(f, sv[0], false);
}

static unsigned far_datagrams(void)
{
	char b[2000];
	unsigned n = 0;

	while (read(far, b, sizeof(b)) > 0)
		n++;
	return n;
}

/* The guest's datagrams: as many as the burst, the rest dropped and counted; the local flow is spared. */
static void test_datagrams_up(void **state)
{
	struct netstack_rates rates = { .up = { .bytes = 1000, .burst = 5000 } };
	uint8_t data[1000] = { 1 };
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	netstack_set_rates(r.ns, &rates);
	r.on_new = attach;
	frame_udp(&f, &g4, 5000, &d4, 7, data, sizeof(data));
	for (int i = 0; i < 20; i++)
		rig_send(&r, &f);
	assert_in_range(far_datagrams(), 5, 6); /* a second of a very slow machine is one more */
	assert_in_range(rig_stats(&r).dropped_rate, 14, 15);
	assert_int_equal(
		rig_stats(&r).by_proto[NETSTACK_UDP].packets_up + rig_stats(&r).dropped_rate, 20);
	r.on_new = NULL;
	frame_udp(&f, &g4, 5001, &d4, 53, data, sizeof(data));
	rig_send(&r, &f);
	netstack_flow_local(r.flow);
	for (int i = 0; i < 19; i++)
		rig_send(&r, &f);
	assert_int_equal(r.datagrams, 20);
	close(far);
	rig_stop(&r);
}

/* To the guest they wait in the socket: nothing is lost, and no more passes than the rate lets. */
static void test_datagrams_down(void **state)
{
	struct netstack_rates rates = { .down = { .packets = 400 } }; /* 32 at once */
	uint64_t start = time_mono_ns();
	uint64_t got = 0;
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	netstack_set_rates(r.ns, &rates);
	r.on_new = attach;
	frame_udp(&f, &g4, 5000, &d4, 7, "x", 1);
	rig_send(&r, &f);
	for (int i = 0; i < 100; i++)
		assert_int_equal(write(far, "reply", 5), 5);
	while (got < 100) {
		double most;

		assert_int_equal(loop_step(r.loop, 5), 0);
		while (rig_recv(&r, &f)) /* one may stand for several */
			;
		got = rig_stats(&r).by_proto[NETSTACK_UDP].packets_down;
		most = 32 + 16 + 400 * (double)(time_mono_ns() - start) / 1e9;
		assert_true(got <= most + 1);
		assert_true(time_mono_ns() - start < 20 * NS_PER_S);
	}
	assert_true(time_mono_ns() - start >= 80 * NS_PER_MS);
	close(far);
	rig_stop(&r);
}

/* ---- TCP ------------------------------------------------------------------------ */

struct end {
	uint16_t port;
	uint32_t seq, ack;
	uint64_t got;
	int far;
};

static void end_open(struct rig *r, struct end *e, uint16_t port)
{
	struct tcp_seg s;
	struct frame f;

	*e = (struct end){ .port = port, .seq = 1000 };
	frame_tcp(&f, &g4, port, &d4, 443, TCP_SYN, e->seq++, 0, NULL, 0);
	rig_send(r, &f);
	e->far = far;
	assert_true(rig_recv(r, &f));
	assert_int_equal(tcp_seg_parse(f.b + L2 + 20, f.len - L2 - 20, &s), 0);
	e->ack = s.seq + 1;
	frame_tcp(&f, &g4, port, &d4, 443, TCP_ACK, e->seq, e->ack, NULL, 0);
	rig_send(r, &f);
}

/* Takes and acknowledges all that has arrived. */
static void ends_drain(struct rig *r, struct end *e, unsigned n)
{
	struct tcp_seg s;
	struct frame f;

	while (rig_recv(r, &f)) {
		assert_int_equal(tcp_seg_parse(f.b + L2 + 20, f.len - L2 - 20, &s), 0);
		for (unsigned i = 0; i < n; i++)
			if (s.dst_port == e[i].port && s.len && s.seq == e[i].ack) {
				e[i].ack += (uint32_t)s.len;
				e[i].got += s.len;
				frame_tcp(&f, &g4, e[i].port, &d4, 443, TCP_ACK, e[i].seq, e[i].ack,
					  NULL, 0);
				rig_put(r, &f);
			}
	}
}

static void end_fill(struct end *e, uint64_t *left)
{
	static const uint8_t data[65536];
	ssize_t n = write(e->far, data, MIN(*left, sizeof(data)));

	if (n > 0)
		*left -= (uint64_t)n;
}

/* Two flows share the bucket evenly, all of it arrives, and never more than the rate lets. */
/* Parity: n26. */
static void test_tcp_down_is_shared(void **state)
{
	struct netstack_rates rates = { .down = { .bytes = 1000000, .burst = 20000 } };
	uint64_t start, left[2] = { 150000, 150000 };
	struct end e[2];
	struct rig r;

	(void)state;
	rig_start(&r);
	r.on_new = attach;
	end_open(&r, &e[0], 6000);
	end_open(&r, &e[1], 6001);
	netstack_set_rates(r.ns, &rates);
	start = time_mono_ns();
	while (e[0].got + e[1].got < 300000) {
		double most;

		end_fill(&e[0], &left[0]);
		end_fill(&e[1], &left[1]);
		assert_int_equal(loop_step(r.loop, 5), 0);
		ends_drain(&r, e, 2);
		most = 20000 + (double)(time_mono_ns() - start) / 1e9 * 1000000;
		if ((double)(e[0].got + e[1].got) > most + 1)
			fail_msg("%llu and %llu, not %.0f", (unsigned long long)e[0].got,
				 (unsigned long long)e[1].got, most);
		if (e[0].got < 150000 && e[1].got < 150000)
			assert_in_range(e[0].got + 60000 - e[1].got, 0, 120000);
		assert_true(time_mono_ns() - start < 30 * NS_PER_S);
	}
	assert_true(rig_stats(&r).delayed_rate > 0);
	assert_int_equal(rig_stats(&r).dropped_rate, 0);
	close(e[0].far);
	close(e[1].far);
	rig_stop(&r);
}

/* The guest's bytes wait in the window, unread; a class's rate holds beside the stack's. */
static void test_tcp_up_and_class(void **state)
{
	struct netstack_rates none = { 0 }, rates = { .up = { .bytes = 100000, .burst = 3000 } };
	static uint8_t data[1400];
	struct netstack_class *k;
	uint64_t start, got = 0;
	struct end e;
	struct rig r;
	struct frame f;
	char b[4096];
	ssize_t n;

	(void)state;
	rig_start(&r);
	r.on_new = attach;
	end_open(&r, &e, 6000);
	assert_int_equal(netstack_class_new(r.ns, &rates, &k), 0);
	netstack_flow_set_class(r.flow, k);
	assert_int_equal(netstack_class_flows(k), 1);
	start = time_mono_ns();
	for (int i = 0; i < 20; i++) {
		frame_tcp(&f, &g4, e.port, &d4, 443, TCP_ACK, e.seq, e.ack, data, sizeof(data));
		e.seq += sizeof(data);
		rig_send(&r, &f);
	}
	while (got < 20 * sizeof(data)) {
		assert_int_equal(loop_step(r.loop, 5), 0);
		while ((n = read(e.far, b, sizeof(b))) > 0)
			got += (uint64_t)n;
		assert_true((double)got <= 3001 + (double)(time_mono_ns() - start) / 1e9 * 100000);
		assert_true(time_mono_ns() - start < 20 * NS_PER_S);
		ends_drain(&r, &e, 1);
	}
	/* The owner lets go of the class; the flow keeps it, then leaves it. */
	netstack_class_free(k);
	netstack_flow_set_class(r.flow, NULL);
	netstack_set_rates(r.ns, &none);
	close(e.far);
	rig_stop(&r);
}

/* One that waits goes on at once when its limit goes, or is over without a trace. */
static void test_waiting_flow_is_released(void **state)
{
	struct netstack_rates slow = { .up = { .bytes = 1, .burst = 1 } }, none = { 0 };
	struct netstack_class *k;
	struct end e;
	struct rig r;
	struct frame f;
	char b[16];

	(void)state;
	rig_start(&r);
	r.on_new = attach;
	end_open(&r, &e, 6000);
	assert_int_equal(netstack_class_new(r.ns, &slow, &k), 0);
	netstack_flow_set_class(r.flow, k);
	frame_tcp(&f, &g4, e.port, &d4, 443, TCP_ACK, e.seq, e.ack, "abcdefgh", 8);
	e.seq += 8;
	rig_send(&r, &f);
	assert_true(read(e.far, b, sizeof(b)) <= 1);
	netstack_flow_set_class(r.flow, NULL);
	rig_run_ms(&r, 20);
	assert_int_equal(read(e.far, b, sizeof(b)), 7);
	netstack_set_rates(r.ns, &slow);
	frame_tcp(&f, &g4, e.port, &d4, 443, TCP_ACK, e.seq, e.ack, "abcdefgh", 8);
	e.seq += 8;
	rig_send(&r, &f);
	assert_true(read(e.far, b, sizeof(b)) <= 1);
	netstack_set_rates(r.ns, &none);
	rig_run_ms(&r, 20);
	assert_int_equal(read(e.far, b, sizeof(b)), 7);
	netstack_set_rates(r.ns, &slow);
	frame_tcp(&f, &g4, e.port, &d4, 443, TCP_ACK, e.seq, e.ack, "abcdefgh", 8);
	rig_send(&r, &f);
	netstack_class_free(k);
	close(e.far);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_bucket_depth_and_wait),
		cmocka_unit_test(test_datagrams_up),
		cmocka_unit_test(test_datagrams_down),
		cmocka_unit_test(test_tcp_down_is_shared),
		cmocka_unit_test(test_tcp_up_and_class),
		cmocka_unit_test(test_waiting_flow_is_released),
	};

	g4 = ip4(10, 9, 0, 2);
	d4 = ip4(10, 1, 0, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
