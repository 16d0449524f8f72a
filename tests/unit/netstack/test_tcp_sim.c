/* SPDX-License-Identifier: Apache-2.0 */
/* Simulated links of every kind; tcp_sim.h says what is checked in each run. */
#include <stdarg.h>
#include <stddef.h>

#include "tcp_sim.h"

static struct sim_config base(uint64_t seed)
{
	return (struct sim_config){
		.seed = seed + 1,
		.bytes_of = { 200000, 100000 },
		.delay = 50 * 1000,
		.abort_at = -1,
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
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct sim_config c = base(seed);

		c.gro = seed & 1;
		c.full = seed & 2 ? 100 : 0;
		c.slow_reader = seed % 5 == 0;
		c.no_opts = seed % 7 == 0;
		c.tso_max = seed & 4 ? 1460 : 65536;
		c.bytes_of[0] = (uint32_t)(seed * 7919 % 1000000);
		sim_init(&s, &c);
		sim_run(&s);
		sim_expect_complete(&s);
		SIM_CHECK(&s, s.stack.retransmits == 0, "%llu",
			  (unsigned long long)s.stack.retransmits);
		sim_fini(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lossless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
