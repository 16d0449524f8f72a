/* SPDX-License-Identifier: Apache-2.0 */
/* Simulated links of every kind; tcp_sim.h says what is checked in each run. */
#include <stdarg.h>
#include <stddef.h>

#include "tcp_sim.h"

/* TCP_SIM_SEEDS=N in the environment: N times as many seeds. */
static uint64_t seeds(uint64_t n)
{
	const char *s = getenv("TCP_SIM_SEEDS");

	return s ? n * strtoull(s, NULL, 10) : n;
}

static struct sim_config base(uint64_t seed)
{
	return (struct sim_config){
		.seed = seed + 1,
		.bytes_of = { 200000, 100000 },
		.delay = 50 * 1000,
		.abort_at = -1,
		.close_at = -1,
		.dead_at = -1,
		.rx_max = 1 << 20,
		.tx_max = 1 << 20,
		.mem_max = 16 << 20,
		.tso_max = 65536,
	};
}

static void lossless(void **state)
{
	struct sim s;

	(void)state;
	for (uint64_t seed = 0; seed < seeds(300); seed++) {
		struct sim_config c = base(seed);

		c.gro = seed & 1;
		c.full = seed & 2 ? 100 : 0;
		c.slow_reader = seed % 5 == 0;
		c.no_opts = seed % 7 == 0;
		c.tso_max = seed & 4 ? 1460 : 65536;
		c.bytes_of[0] = (uint32_t)(seed * 7919 % 1000000);
		c.external = seed % 3 == 1;
		sim_init(&s, &c);
		sim_run(&s);
		sim_expect_complete(&s);
		SIM_CHECK(&s, s.stack.retransmits == 0, "%llu",
			  (unsigned long long)s.stack.retransmits);
		sim_fini(&s);
	}
}

/* Every kind of trouble at once, its amount drawn from the seed. */
static void lossy(void **state)
{
	struct sim s;

	(void)state;
	for (uint64_t seed = 0; seed < seeds(1500); seed++) {
		struct sim_config c = base(seed);

		c.loss = (unsigned)(seed * 31 % 200);
		c.dup = seed % 3 ? 0 : 50;
		c.reorder = seed % 4 ? 0 : 100;
		c.burst = seed % 5 ? 0 : 20;
		c.full = seed % 6 ? 0 : 50;
		c.slow_reader = seed % 11 == 0;
		c.gro = seed % 2;
		c.no_opts = seed % 13 == 0;
		c.tso_max = seed % 8 ? 65536 : 1460;
		c.delay = seed % 10 == 9 ? 50 * NS_PER_MS : 50 * 1000;
		c.bytes_of[0] = (uint32_t)(seed * 104729 % 300000);
		c.bytes_of[1] = seed % 4 == 1 ? 0 : (uint32_t)(seed * 15485863 % 100000);
		c.simultaneous_open = seed % 17 == 0;
		c.external = seed % 3 == 1;
		sim_init(&s, &c);
		sim_run(&s);
		/*
		 * With loss the last ACK may be lost and TIME-WAIT over before the
		 * FIN comes again, as on any network: then the other end is reset
		 * after everything has arrived.
		 */
		for (int i = 0; i < 2; i++) {
			SIM_CHECK(&s, s.e[i].received == c.bytes_of[!i], "end %d: %llu of %u", i,
				  (unsigned long long)s.e[i].received, c.bytes_of[!i]);
			SIM_CHECK(&s, s.e[i].closed, "end %d", i);
		}
		sim_fini(&s);
	}
}

/*
 * An application that falls silent for minutes at a time, on either side or both, now
 * and then with keep-alive questions in between; one direction may be long closed.
 */
static void idle_periods(void **state)
{
	struct sim s;

	(void)state;
	for (uint64_t seed = 0; seed < seeds(200); seed++) {
		struct sim_config c = base(seed);

		c.idle = 20 + (unsigned)(seed % 5) * 40;
		c.keep_idle = seed % 3 ? 60 * NS_PER_S : 0;
		c.loss = seed % 2 ? 50 : 0;
		c.dup = seed % 4 ? 0 : 50;
		c.slow_reader = seed % 7 == 0;
		c.bytes_of[0] = (uint32_t)(seed * 7919 % 200000);
		c.bytes_of[1] = seed % 3 == 2 ? 0 : (uint32_t)(seed * 104729 % 100000);
		c.external = seed % 3 == 1;
		sim_init(&s, &c);
		sim_run(&s);
		for (int i = 0; i < 2; i++) {
			SIM_CHECK(&s, s.e[i].received == c.bytes_of[!i], "end %d: %llu of %u", i,
				  (unsigned long long)s.e[i].received, c.bytes_of[!i]);
			SIM_CHECK(&s, s.e[i].closed, "end %d", i);
		}
		if (!c.loss)
			sim_expect_complete(&s);
		sim_fini(&s);
	}
}

/* Memory for a tenth of what the windows would like: slower, never stuck, never over. */
static void little_memory(void **state)
{
	struct sim s;

	(void)state;
	for (uint64_t seed = 0; seed < seeds(300); seed++) {
		struct sim_config c = base(seed);

		c.mem_max = seed % 3 ? 100000 : 0;
		c.loss = seed % 2 ? 30 : 0;
		c.slow_reader = seed % 4 == 0;
		c.rx_max = seed % 5 ? 1 << 20 : 3000;
		c.tx_max = seed % 7 ? 1 << 20 : 3000;
		sim_init(&s, &c);
		sim_run(&s);
		for (int i = 0; i < 2; i++)
			SIM_CHECK(&s, s.e[i].received == c.bytes_of[!i], "end %d", i);
		if (!c.loss)
			sim_expect_complete(&s);
		sim_fini(&s);
	}
}

/* End 0 aborts at some event; both ends learn it and nothing is left. */
static void aborts(void **state)
{
	struct sim s;

	(void)state;
	for (uint64_t seed = 0; seed < seeds(500); seed++) {
		struct sim_config c = base(seed);

		c.abort_at = (int)(1 + seed * 3 % 400);
		c.full = seed % 3 ? 0 : 200;
		c.slow_reader = seed % 4 == 0;
		c.external = seed % 3 == 1;
		sim_init(&s, &c);
		sim_run(&s);
		SIM_CHECK(&s, s.e[0].closed, "aborted end not closed");
		SIM_CHECK(&s, s.e[1].closed || !s.e[1].established, "the other end hangs");
		sim_fini(&s);
	}
}

/* End 1 closes for good at some event, whatever is under way: both ends come to an end. */
static void closes(void **state)
{
	struct sim s;

	(void)state;
	for (uint64_t seed = 0; seed < seeds(500); seed++) {
		struct sim_config c = base(seed);

		c.close_at = (int)(4 + seed * 7 % 500);
		c.full = seed % 3 ? 0 : 200;
		c.slow_reader = seed % 4 == 0;
		c.bytes_of[0] = (uint32_t)(seed * 7919 % 300000);
		c.bytes_of[1] = (uint32_t)(seed * 104729 % 300000);
		c.external = seed % 3 == 1;
		sim_init(&s, &c);
		sim_run(&s);
		for (int i = 0; i < 2; i++)
			SIM_CHECK(&s, s.e[i].closed || !s.e[i].established, "end %d hangs", i);
		/* What was closed in order before is delivered in full all the same. */
		if (!s.e[0].reset && !s.e[1].reset && s.e[0].eof_seen)
			SIM_CHECK(&s, s.e[0].received == s.e[1].sent || s.e[1].sent < c.bytes_of[1],
				  "lost");
		sim_fini(&s);
	}
}

/* The link dies: whoever waits for an answer gives up in bounded time. */
static void dead_link(void **state)
{
	struct sim s;

	(void)state;
	for (uint64_t seed = 0; seed < seeds(100); seed++) {
		struct sim_config c = base(seed);

		c.dead_at = (int)(1 + seed * 5 % 200);
		sim_init(&s, &c);
		tcp_connect(s.e[0].t, s.now);
		while (!(s.e[0].closed && s.e[1].closed) && sim_step(&s) && s.now < 600 * NS_PER_S) {
			sim_invariants(&s);
			/* The applications have no more to say: nothing but timers. */
			if (s.events > (unsigned long)c.dead_at)
				s.e[0].next_app = s.e[1].next_app = 0;
		}
		for (int i = 0; i < 2; i++)
			SIM_CHECK(&s, s.e[i].closed || s.e[i].sent == s.e[i].acked, "end %d", i);
		sim_fini(&s);
	}
}

/* A bulk transfer grows its windows; an idle connection gives all buffers back. */
static void idle_costs_nothing(void **state)
{
	struct sim_config c = base(1);
	struct sim s;
	uint8_t *p[2];
	size_t len[2];

	(void)state;
	c.bytes_of[0] = 4000000;
	c.bytes_of[1] = 1; /* never written: no close from that side */
	sim_init(&s, &c);
	tcp_connect(s.e[0].t, s.now);
	s.e[1].shut = true;
	while (s.e[1].received < c.bytes_of[0] && sim_step(&s))
		;
	assert_true(s.stack.mem_used > 500000);
	for (int i = 0; i < 2; i++)
		s.e[i].next_app = 0;
	while (sim_step(&s) && s.now < 100 * NS_PER_S)
		;
	/* What stays charged is the window once promised. */
	assert_true(s.stack.mem_used <= (1 << 20) + 65536);
	assert_int_equal(tcp_tx_space(s.e[1].t, p, len), 16384);
	sim_fini(&s);
}

/*
 * Bulk over a link of 20 us that loses: what counts is virtual time. Lost tails and
 * lost retransmissions must not wait for the retransmission timer each time.
 */
static double goodput(unsigned loss, bool gro, uint64_t seed)
{
	struct sim_config c = base(seed);
	struct sim s;
	uint64_t start, end = 0;

	c.bytes_of[0] = 20000000;
	c.bytes_of[1] = 0;
	c.delay = 20 * 1000;
	c.loss = loss;
	c.gro = gro;
	c.rx_max = c.tx_max = 4 << 20;
	sim_init(&s, &c);
	start = s.now;
	tcp_connect(s.e[0].t, s.now);
	while (s.e[1].received < c.bytes_of[0]) {
		SIM_CHECK(&s, sim_step(&s), "over");
		sim_invariants(&s);
	}
	end = s.now;
	sim_fini(&s);
	return 20.0 / ((double)(end - start) / 1e9);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void goodput_under_loss(void **state)
{
	static const struct {
		unsigned loss; /* per thousand */
		bool gro;
		double least; /* MB/s, median */
	} rows[] = {
		{ 0, false, 80 }, { 10, false, 60 }, { 50, false, 40 }, { 100, false, 20 },
		{ 0, true, 80 },  { 10, true, 60 },  { 50, true, 10 },	{ 100, true, 4 },
	};
	double v[5];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (uint64_t seed = 0; seed < ARRAY_SIZE(v); seed++)
			v[seed] = goodput(rows[i].loss, rows[i].gro, seed);
		qsort(v, ARRAY_SIZE(v), sizeof(v[0]), by_value);
		print_message("  loss %.1f %% of %s: %.1f MB/s (%.1f-%.1f)\n", rows[i].loss / 10.0,
			      rows[i].gro ? "super-segments" : "segments", v[ARRAY_SIZE(v) / 2],
			      v[0], v[ARRAY_SIZE(v) - 1]);
		assert_true(v[ARRAY_SIZE(v) / 2] >= rows[i].least);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lossless),
		cmocka_unit_test(lossy),
		cmocka_unit_test(idle_periods),
		cmocka_unit_test(little_memory),
		cmocka_unit_test(aborts),
		cmocka_unit_test(closes),
		cmocka_unit_test(dead_link),
		cmocka_unit_test(idle_costs_nothing),
		cmocka_unit_test(goodput_under_loss),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
