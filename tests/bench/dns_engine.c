/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one query costs the resolver's engine: dns_query() from the guest's bytes
 * to the reply's, cached answers and refusals, without sockets and without policy
 * (the judges say yes at once, the record is a counter).
 *
 *   dns_engine [--check]     a line "CASE NAMES NS" for each measurement;
 *                            --check: exit 1 when a cached answer takes more than 2 us
 *
 * The least of some timings of CPU time: what others do on the machine only ever adds.
 */
#include "dns/dns_int.h"

#include <stdio.h>
#include <time.h>

#define QUERIES 4096 /* in turn; as many as the cache has entries for */
#define REPEATS 15
#define SLICE_NS 20000000.0
#define TARGET_NS 2000.0

static struct {
	struct dns *d;
	uint64_t now;
	struct dns_ask *asks[16];
	size_t n_asks, replies, events, bytes;
	bool nxdomain;
	uint8_t msg[QUERIES][DNS_ASK_MAX];
	size_t len[QUERIES];
	size_t n;
	bool slow;
} B;

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static bool judge_query(void *ctx, const struct dns_question *q, bool *ret_exact,
			struct dns_denial *ret)
{
	(void)ctx;
	*ret_exact = false;
	snprintf(ret->id, sizeof(ret->id), "id");
	snprintf(ret->text, sizeof(ret->text), "denied");
	return q->name.s[0] != 'd';
}

static bool judge_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
			 struct dns_denial *ret)
{
	(void)ctx, (void)q, (void)a, (void)ret;
	return true;
}

static void on_event(void *ctx, const struct dns_event *e)
{
	(void)ctx, (void)e;
	B.events++;
}

static void on_reply(void *user, const uint8_t *msg, size_t len)
{
	(void)user, (void)msg;
	B.replies++;
	B.bytes += len;
}

static int up_ask(void *up, struct dns_ask *a)
{
	(void)up;
	if (B.n_asks == ARRAY_SIZE(B.asks))
		return -EIO;
	B.asks[B.n_asks++] = a;
	return 0;
}

static uint64_t up_now(void *up)
{
	(void)up;
	return B.now;
}

static void up_wake(void *up, uint64_t when)
{
	(void)up, (void)when;
}

static void up_free(void *up)
{
	(void)up;
}

static void answer_asks(void)
{
	while (B.n_asks) {
		static const uint8_t a[] = { 0xc0, 12, 0, 1, 0,	 1,   0,   0,
					     14,   16, 0, 4, 93, 184, 216, 34 };
		uint8_t msg[DNS_ASK_MAX + sizeof(a)];
		struct dns_ask *ask = B.asks[--B.n_asks];
		size_t len = dns_ask_build(1, &ask->name, ask->type, false, msg);

		msg[2] |= 0x80;
		if (B.nxdomain) {
			msg[3] |= DNS_RCODE_NXDOMAIN;
		} else if (ask->type == DNS_TYPE_A) {
			msg[7] = 1;
			memcpy(msg + len, a, sizeof(a));
			len += sizeof(a);
		}
		dns_upstream_done(B.d, ask, 0, msg, len);
	}
}

static void query(const uint8_t *msg, size_t len)
{
	static const struct endpoint guest = { { 4, { 192, 0, 0, 2 } }, 40000 },
				     server = { { 4, { 192, 0, 0, 1 } }, 53 };

	dns_query(B.d, msg, len, DNS_UDP, &guest, &server, on_reply, NULL);
	answer_asks();
}

static size_t make(uint8_t *msg, const char *prefix, size_t i, uint16_t type)
{
	char s[64];
	struct name n;
	int k = snprintf(s, sizeof(s), "%s%zu.bench.example", prefix, i);

	if (name_parse(s, (size_t)k, &n, NULL) < 0)
		abort();
	return dns_ask_build((uint16_t)i, &n, type, true, msg);
}

/* Names are made known first; then the last of them, as many as are cached, are asked in turn. */
static void measure(const char *what, enum dns_mode mode, const char *prefix, size_t names,
		    uint16_t type)
{
	static const struct dns_ops ops = { .judge_query = judge_query,
					    .judge_answer = judge_answer,
					    .event = on_event };
	static const struct dns_upstream up = {
		.ask = up_ask, .now = up_now, .wake = up_wake, .free = up_free
	};
	struct dns_config cfg = {
		.mode = mode,
		.virtual4 = { { 4, { 198, 18 } }, 15 },
		.virtual6 = { { 6, { 0xfd, 0x77 } }, 64 },
		.max_names = 120000,
		.budget.off = true,
	};
	uint8_t msg[DNS_ASK_MAX];
	double best = 1e9;
	size_t replies;

	/* A virtual answer has an entry of each family. */
	B.n = MIN(names, (size_t)QUERIES / 2);
	B.now = NS_PER_S;
	if (dns_new_with(NULL, &cfg, &ops, NULL, &up, NULL, &B.d) < 0)
		abort();
	for (size_t i = 0; i < names; i++)
		query(msg, make(msg, prefix, i, type));
	for (size_t i = 0; i < B.n; i++)
		B.len[i] = make(B.msg[i], prefix, names - 1 - i, type);
	replies = B.replies;
	for (unsigned r = 0; r < REPEATS; r++) {
		size_t done = 0;
		double from = cpu_ns(), took;

		do {
			/* Enough between two looks at the clock, which is a system call. */
			for (size_t i = 0; i < QUERIES; i++)
				query(B.msg[i % B.n], B.len[i % B.n]);
			done += QUERIES;
			took = cpu_ns() - from;
		} while (took < SLICE_NS);
		best = MIN(best, took / (double)done);
		replies += done;
	}
	if (B.replies != replies || B.events != B.replies)
		abort();
	printf("%-18s %7zu %7.0f\n", what, names, best);
	B.slow |= best > TARGET_NS;
	dns_free(B.d);
}

/* The other direction: the name of a flow's address. */
static void measure_reverse(size_t names)
{
	static const struct dns_ops ops = { .judge_query = judge_query,
					    .judge_answer = judge_answer,
					    .event = on_event };
	static const struct dns_upstream up = {
		.ask = up_ask, .now = up_now, .wake = up_wake, .free = up_free
	};
	struct dns_config cfg = { .virtual4 = { { 4, { 198, 18 } }, 15 },
				  .max_names = 120000,
				  .budget.off = true };
	uint8_t msg[DNS_ASK_MAX];
	struct ip_addr a;
	struct name n;
	double best = 1e9;

	B.now = NS_PER_S;
	if (dns_new_with(NULL, &cfg, &ops, NULL, &up, NULL, &B.d) < 0)
		abort();
	for (size_t i = 0; i < names; i++)
		query(msg, make(msg, "n", i, DNS_TYPE_A));
	for (unsigned r = 0; r < REPEATS; r++) {
		double from = cpu_ns();

		for (size_t i = 0; i < 100000; i++) {
			size_t k = i * 7919 % names;

			a = ip4(198, (uint8_t)(18 + k / 254 / 256), (uint8_t)(k / 254 % 256),
				(uint8_t)(k % 254 + 1));
			if (!dns_virtual_name(B.d, &a, &n))
				abort();
		}
		best = MIN(best, (cpu_ns() - from) / 100000);
	}
	printf("%-18s %7zu %7.0f\n", "address-to-name", names, best);
	dns_free(B.d);
}

int main(int argc, char **argv)
{
	static const size_t counts[] = { 1, 1000, 100000 };
	bool check = argc > 1 && str_eq(argv[1], "--check");

	printf("%-18s %7s %7s\n", "case", "names", "ns");
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		measure("virtual A", DNS_VIRTUAL, "n", counts[i], DNS_TYPE_A);
		measure("virtual AAAA", DNS_VIRTUAL, "n", counts[i], DNS_TYPE_AAAA);
		measure("real A", DNS_REAL, "n", counts[i], DNS_TYPE_A);
		measure("denied", DNS_VIRTUAL, "d", counts[i], DNS_TYPE_A);
		measure_reverse(counts[i]);
	}
	B.nxdomain = true;
	measure("no such name", DNS_VIRTUAL, "n", 1000, DNS_TYPE_A);
	return check && B.slow;
}
