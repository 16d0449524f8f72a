/* SPDX-License-Identifier: Apache-2.0 */
/* Initial sequence numbers: RFC 6528, and what a guest must not learn from them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#include "netstack/tcp.h"

static uint32_t last_isn, last_ts;

static bool on_emit(struct tcp *t, const struct tcp_out *o)
{
	struct tcp_seg s;

	(void)t;
	assert_int_equal(tcp_seg_parse(o->head, o->head_len, &s), 0);
	last_isn = s.seq;
	last_ts = s.ts_val;
	return true;
}

static void on_note(struct tcp *t, enum tcp_note n)
{
	(void)t;
	(void)n;
}

static void on_timer(struct tcp *t, uint64_t when)
{
	(void)t;
	(void)when;
}

static const struct tcp_ops ops = { .emit = on_emit, .note = on_note, .set_timer = on_timer };

static uint32_t isn(uint64_t key, uint8_t host, uint16_t port, uint64_t now)
{
	struct tcp_stack s = { .ops = &ops,
			       .isn_key = { { key, ~key } },
			       .mss4 = 1460,
			       .rx_max = 65536,
			       .tx_max = 65536,
			       .mem_max = 1 << 20,
			       .tso_max = 1460 };
	struct endpoint a = { ip4(192, 0, 2, 1), 80 }, b = { ip4(10, 0, 0, host), port };
	struct tcp *t;

	assert_int_equal(tcp_new(&s, &a, &b, NULL, &t), 0);
	tcp_connect(t, now);
	tcp_free(t);
	return last_isn;
}

/* One four-tuple: the number follows the 4 us clock, so a reopened one is always ahead. */
static void clock_ticks(void **state)
{
	uint32_t at = isn(7, 2, 4000, NS_PER_S);

	(void)state;
	assert_int_equal(isn(7, 2, 4000, NS_PER_S), at);
	assert_int_equal((uint32_t)(isn(7, 2, 4000, NS_PER_S + 4000) - at), 1);
	assert_int_equal((uint32_t)(isn(7, 2, 4000, 2 * NS_PER_S) - at), 250000);
}

/* Another tuple or another key: nothing in common, timestamps included. */
static void tuples_differ(void **state)
{
	uint32_t at = isn(7, 2, 4000, NS_PER_S), ts = last_ts;

	(void)state;
	assert_true(isn(7, 2, 4001, NS_PER_S) - at + 1000000 > 2000000);
	assert_true(last_ts - ts + 1000000 > 2000000);
	assert_true(isn(7, 3, 4000, NS_PER_S) - at + 1000000 > 2000000);
	assert_true(isn(8, 2, 4000, NS_PER_S) - at + 1000000 > 2000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clock_ticks),
		cmocka_unit_test(tuples_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
