/* SPDX-License-Identifier: Apache-2.0 */
/* The tables at their limits: virtual ranges, pins, records, cache entries, questions under way. */
#include "dns/dns_int.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#define MAX_ASKS (2 * DNS_CACHE_ENTRIES + 64)

static struct {
	struct dns *d;
	uint64_t now;
	struct dns_ask *asks[MAX_ASKS];
	size_t n_asks;
	unsigned called;
	int error;
} T;

static bool yes_query(void *ctx, const struct dns_question *q, bool *ret_exact, struct dns_denial *ret)
{
	*ret_exact = true;
	(void)ctx, (void)q, (void)ret;
	return true;
}

static bool yes_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
		       struct dns_denial *ret)
{
	(void)ctx, (void)q, (void)a, (void)ret;
	return true;
}

static void no_event(void *ctx, const struct dns_event *e)
{
	(void)ctx, (void)e;
}

static int up_ask(void *up, struct dns_ask *a)
{
	(void)up;
	assert_true(T.n_asks < MAX_ASKS);
	T.asks[T.n_asks++] = a;
	return 0;
}

static uint64_t up_now(void *up)
{
	(void)up;
	return T.now;
}

static void up_wake(void *up, uint64_t when)
{
	(void)up, (void)when;
}

static void up_free(void *up)
{
	(void)up;
}

static int new_dns(const struct dns_config *cfg)
{
	static const struct dns_ops ops = { .judge_query = yes_query,
					    .judge_answer = yes_answer,
					    .event = no_event };
	static const struct dns_upstream up = {
		.ask = up_ask, .now = up_now, .wake = up_wake, .free = up_free
	};

	memset(&T, 0, sizeof(T));
	T.now = NS_PER_S;
	return dns_new_with(NULL, cfg, &ops, NULL, &up, NULL, &T.d);
}

static struct name nth(const char *what, unsigned i)
{
	char s[64];
	struct name n;

	snprintf(s, sizeof(s), "%s%u.example", what, i);
	assert_int_equal(name_parse(s, strlen(s), &n, NULL), 0);
	return n;
}

static struct ip_prefix prefix(const char *s)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(s, strlen(s), &p, NULL), 0);
	return p;
}

/* Every number has its own address in each range, none ends in .0 or .255, and all lead back. */
static void test_virtual_range(void **state)
{
	struct dns_config cfg = {
		.virtual4 = prefix("198.18.0.0/20"),
		.virtual6 = prefix("fd77:1:2:3::/64"),
	};
	struct ip_addr a4, a6;
	struct name n, back;
	char s[IP_STRLEN];

	(void)state;
	assert_int_equal(new_dns(&cfg), 0);
	for (unsigned i = 0; i < 16 * 254; i++) {
		n = nth("n", i);
		assert_int_equal(dns_virtual_get(T.d, &n, 4, &a4), 0);
		assert_int_equal(dns_virtual_get(T.d, &n, 6, &a6), 0);
		assert_true(a4.b[3] != 0 && a4.b[3] != 255);
		assert_true(dns_virtual_name(T.d, &a4, &back) && name_equal(&back, &n));
		assert_true(dns_virtual_name(T.d, &a6, &back) && name_equal(&back, &n));
	}
	assert_string_equal(ip_format(&a4, s), "198.18.15.254");
	assert_string_equal(ip_format(&a6, s), "fd77:1:2:3::ffe");
	n = nth("n", 16 * 254);
	assert_int_equal(dns_virtual_get(T.d, &n, 4, &a4), -ENOSPC);
	assert_int_equal(dns_virtual_get(T.d, &n, 6, &a6), -ENOSPC);
	n = nth("n", 0);
	assert_int_equal(dns_virtual_get(T.d, &n, 4, &a4), 0);
	assert_string_equal(ip_format(&a4, s), "198.18.0.1");
	/* In the range, and nobody's. */
	a6.b[10] = 1;
	assert_true(dns_is_virtual(T.d, &a6));
	assert_false(dns_virtual_name(T.d, &a6, &back));
	a4 = ip4(198, 18, 3, 255);
	assert_false(dns_virtual_name(T.d, &a4, &back));
	a4 = ip4(198, 18, 16, 1);
	assert_false(dns_is_virtual(T.d, &a4));
	dns_free(T.d);
}

/* The default range, whole: each address means one name, then there is none, and none is lost. */
static void test_range_used_up(void **state)
{
	struct dns_config cfg = { .mode = DNS_VIRTUAL,
				  .virtual4 = prefix("198.18.0.0/15"),
				  .virtual6 = prefix("fd77::/64"),
				  .max_names = 1000000 };
	const unsigned all = 512 * 254;
	struct ip_addr a, first = ip4(198, 18, 0, 1), last = ip4(198, 19, 255, 254);
	struct name n, back;

	(void)state;
	assert_int_equal(new_dns(&cfg), 0);
	for (unsigned i = 0; i < all; i++) {
		n = nth("n", i);
		assert_int_equal(dns_virtual_get(T.d, &n, 4, &a), 0);
		assert_true(i > 0 || ip_equal(&a, &first));
	}
	assert_true(ip_equal(&a, &last));
	for (unsigned i = all; i < all + 3; i++) {
		n = nth("n", i);
		assert_int_equal(dns_virtual_get(T.d, &n, 4, &a), -ENOSPC);
		assert_int_equal(dns_virtual_get(T.d, &n, 6, &a), -ENOSPC);
	}
	for (unsigned i = 0; i < all; i++) {
		n = nth("n", i);
		assert_int_equal(dns_virtual_get(T.d, &n, i % 2 ? 4 : 6, &a), 0);
		assert_true(dns_virtual_name(T.d, &a, &back) && name_equal(&back, &n));
	}
	dns_free(T.d);
}

static void test_config(void **state)
{
	struct dns_record rec[DNS_MAX_ADDRS + 1];
	struct dns_config cfg = { .mode = DNS_VIRTUAL };

	(void)state;
	/* Virtual answers without a range, or with the families mixed up. */
	assert_int_equal(new_dns(&cfg), -EINVAL);
	cfg.virtual4 = prefix("fd77::/64");
	assert_int_equal(new_dns(&cfg), -EINVAL);
	cfg.virtual4 = prefix("198.18.0.0/15");
	/* A record inside the range; one without an address; too many of one name. */
	rec[0] = (struct dns_record){ nth("r", 0), ip4(198, 19, 0, 1) };
	cfg.records = rec;
	cfg.n_records = 1;
	assert_int_equal(new_dns(&cfg), -EINVAL);
	rec[0].addr = (struct ip_addr){ 0 };
	assert_int_equal(new_dns(&cfg), -EINVAL);
	for (unsigned i = 0; i <= DNS_MAX_ADDRS; i++)
		rec[i] = (struct dns_record){ nth("r", 0), ip4(10, 0, 0, (uint8_t)i) };
	cfg.n_records = DNS_MAX_ADDRS;
	assert_int_equal(new_dns(&cfg), 0);
	dns_free(T.d);
	cfg.n_records = DNS_MAX_ADDRS + 1;
	assert_int_equal(new_dns(&cfg), -E2BIG);
}

static bool pinned(const char *what, unsigned i, const struct ip_addr *a)
{
	struct name n = nth(what, i), names[64];
	size_t k = dns_names_of(T.d, a, names, ARRAY_SIZE(names));

	for (size_t j = 0; j < k; j++)
		if (name_equal(&names[j], &n))
			return true;
	return false;
}

/* One name that rotates keeps its newest 64; all together stay within max_names. */
static void test_pin_limits(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL, .max_names = 100, .pin_grace_s = 10 };
	struct ip_addr quiet = ip4(192, 0, 2, 1), a;
	struct name n = nth("quiet", 0);

	(void)state;
	assert_int_equal(new_dns(&cfg), 0);
	dns_pin(T.d, &n, &quiet, 60);
	n = nth("rotating", 0);
	for (unsigned i = 0; i < 1000; i++) {
		a = ip4(203, 0, (uint8_t)(i / 256), (uint8_t)(i % 256));
		dns_pin(T.d, &n, &a, 60);
	}
	assert_int_equal(T.d->pins.count, 1 + DNS_PINS_PER_NAME);
	assert_true(pinned("quiet", 0, &quiet));
	a = ip4(203, 0, 999 / 256, 999 % 256);
	assert_true(pinned("rotating", 0, &a));
	a = ip4(203, 0, 0, 0);
	assert_false(pinned("rotating", 0, &a));
	/* Many names: the first to expire among the oldest goes. */
	for (unsigned i = 0; i < 1000; i++) {
		n = nth("many", i);
		dns_pin(T.d, &n, &quiet, 30);
	}
	assert_int_equal(T.d->pins.count, 100);
	assert_true(pinned("many", 999, &quiet) || dns_names_of(T.d, &quiet, &n, 1) == 1);
	/* Given again, a pin lives on; time takes them all. */
	T.now += 41 * NS_PER_S;
	n = nth("many", 999);
	dns_pin(T.d, &n, &quiet, 0);
	assert_true(pinned("many", 999, &quiet));
	assert_false(pinned("many", 998, &quiet));
	T.now += 11 * NS_PER_S;
	assert_false(pinned("many", 999, &quiet));
	dns_free(T.d);
}

/* Names without end at one address: the newest stay, the work is bounded. */
static void test_shared_address(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL };
	struct ip_addr shared = ip4(203, 0, 113, 1);
	struct name names[DNS_PINS_PER_ADDR + 1], n;

	(void)state;
	assert_int_equal(new_dns(&cfg), 0);
	for (unsigned i = 0; i < 5000; i++) {
		n = nth("n", i);
		dns_pin(T.d, &n, &shared, 60);
	}
	assert_int_equal(T.d->pins.count, DNS_PINS_PER_ADDR);
	assert_int_equal(T.d->pins.names.count, DNS_PINS_PER_ADDR);
	assert_int_equal(dns_names_of(T.d, &shared, names, 2), 2);
	assert_string_equal(names[0].s, "n4999.example");
	assert_string_equal(names[1].s, "n4998.example");
	assert_int_equal(dns_names_of(T.d, &shared, names, ARRAY_SIZE(names)), DNS_PINS_PER_ADDR);
	T.now += 1000 * NS_PER_S;
	assert_int_equal(dns_names_of(T.d, &shared, names, 2), 0);
	assert_int_equal(T.d->pins.count, 0);
	assert_int_equal(T.d->pins.addrs.count, 0);
	assert_int_equal(T.d->pins.names.count, 0);
	dns_free(T.d);
}

/* Flows to any number of addresses: bounded, counted, and gone when they end. */
static void test_holds(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL, .max_names = 100, .pin_grace_s = 10 };
	struct ip_addr a;
	struct name n = nth("n", 0), got[4];

	(void)state;
	assert_int_equal(new_dns(&cfg), 0);
	for (unsigned i = 0; i < 1000; i++) {
		a = ip4(203, 0, (uint8_t)(i / 256), (uint8_t)(i % 256));
		dns_hold(T.d, &a);
	}
	assert_int_equal(T.d->pins.addrs.count, 200);
	/* The table is full of held addresses: a pin still finds its place. */
	a = ip4(192, 0, 2, 1);
	dns_pin(T.d, &n, &a, 60);
	assert_int_equal(dns_names_of(T.d, &a, got, 4), 1);
	for (unsigned i = 0; i < 1000; i++) {
		a = ip4(203, 0, (uint8_t)(i / 256), (uint8_t)(i % 256));
		dns_release(T.d, &a);
		dns_release(T.d, &a);
	}
	assert_int_equal(T.d->pins.addrs.count, 1);
	/* Those that flows hold stay when room is made. */
	a = ip4(192, 0, 2, 1);
	dns_hold(T.d, &a);
	for (unsigned i = 0; i < 1000; i++) {
		struct ip_addr b = ip4(198, 51, (uint8_t)(i / 256), (uint8_t)(i % 256));

		n = nth("m", i);
		dns_pin(T.d, &n, &b, 60);
	}
	assert_int_equal(T.d->pins.count, 100);
	assert_int_equal(dns_names_of(T.d, &a, got, 4), 1);
	/* Freed while held: nothing leaks. */
	a = ip4(192, 0, 2, 77);
	dns_hold(T.d, &a);
	dns_free(T.d);
}

static void on_addrs(void *user, int error, const struct ip_addr *a, size_t n)
{
	(void)user, (void)a, (void)n;
	T.called++;
	T.error = error;
}

static void answer_all(void)
{
	uint8_t msg[DNS_REPLY_MAX];

	for (size_t i = 0; i < T.n_asks; i++) {
		struct dns_ask *a = T.asks[i];
		size_t len = dns_ask_build(1, &a->name, a->type, false, msg);

		msg[2] |= 0x80;
		dns_upstream_done(T.d, a, 0, msg, len);
	}
	T.n_asks = 0;
}

/* Questions under way have an end, and so has what is remembered of the answers. */
static void test_cache_limits(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL, .budget.off = true };
	unsigned waiting = 0;

	(void)state;
	assert_int_equal(new_dns(&cfg), 0);
	for (unsigned i = 0; i < DNS_MAX_ASKS; i++) {
		struct name n = nth("n", i);

		waiting += dns_resolve(T.d, &n, on_addrs, NULL) != NULL;
	}
	assert_int_equal(T.n_asks, DNS_MAX_ASKS);
	assert_int_equal(waiting, DNS_MAX_ASKS / 2);
	assert_int_equal(T.called, DNS_MAX_ASKS / 2);
	assert_int_equal(T.error, -EIO);
	answer_all();
	assert_int_equal(T.called, DNS_MAX_ASKS);
	assert_int_equal(T.error, -ENODATA);
	/* Names without end, each remembered for a second: the table does not grow. */
	for (unsigned i = 0; i < 5 * DNS_CACHE_ENTRIES; i++) {
		struct name n = nth("m", i);

		assert_non_null(dns_resolve(T.d, &n, on_addrs, NULL));
		answer_all();
	}
	assert_int_equal(T.d->cache.pool.used, DNS_CACHE_ENTRIES);
	assert_int_equal(T.d->cache.table.count, DNS_CACHE_ENTRIES);
	assert_int_equal(T.d->cache.asks, 0);
	assert_int_equal(T.d->lookup_pool.used, 0);
	dns_free(T.d);
}

/* An answer to the last question: n strings of 229 bytes, none like another answer's. */
static void answer_text(unsigned n)
{
	static uint8_t msg[65535];
	struct dns_ask *a = T.asks[--T.n_asks];
	struct dns_out o = { .p = msg, .cap = sizeof(msg) };

	o.len = dns_ask_build(1, &a->name, a->type, false, msg);
	msg[2] |= 0x80;
	for (unsigned i = 0; i < n; i++) {
		uint8_t text[230] = { 229, (uint8_t)i };

		dns_put(&o, "\xc0\x0c\0\x10\0\1\0\0\x0e\x10\0\xe6", 12);
		dns_put(&o, text, sizeof(text));
	}
	put_be16(msg + 6, (uint16_t)n);
	dns_upstream_done(T.d, a, 0, msg, o.len);
}

static void gathered(struct dns_gather *g)
{
	T.error = g->wait[0].entry->rr.error;
	dns_gather_end(g);
}

/* Text without end: one answer has a bound, and so has what is remembered of all. */
static void test_data_limits(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL };
	static const uint16_t txt[] = { DNS_TYPE_TXT };
	struct dns_gather g = { 0 };
	struct name n;

	(void)state;
	assert_int_equal(new_dns(&cfg), 0);
	for (unsigned i = 0; i < 1000; i++) {
		n = nth("t", i);
		dns_gather_start(T.d, &g, &n, txt, 1, gathered);
		answer_text(60);
		assert_true(T.d->cache.data <= DNS_CACHE_DATA);
	}
	assert_true(T.d->cache.data > DNS_CACHE_DATA / 2);
	/* The latest is there; the first has gone. */
	dns_gather_start(T.d, &g, &n, txt, 1, gathered);
	assert_int_equal(T.n_asks, 0);
	n = nth("t", 0);
	dns_gather_start(T.d, &g, &n, txt, 1, gathered);
	assert_int_equal(T.n_asks, 1);
	/* 62 of them are more than 14 KiB, and an answer is kept as a whole or not at all. */
	answer_text(61);
	assert_int_equal(T.error, 0);
	n = nth("t", 1);
	dns_gather_start(T.d, &g, &n, txt, 1, gathered);
	answer_text(62);
	assert_int_equal(T.error, -EMSGSIZE);
	dns_free(T.d);
}

/* Entries that somebody waits on are passed over when room is made. */
static void test_evict_referenced(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL, .budget.off = true };
	struct dns_ask *half[2 * 3 * DNS_EVICT_SCAN];
	size_t n_half;

	(void)state;
	assert_int_equal(new_dns(&cfg), 0);
	for (unsigned i = 0; i < 3 * DNS_EVICT_SCAN; i++) {
		struct name n = nth("half", i);

		assert_non_null(dns_resolve(T.d, &n, on_addrs, NULL));
	}
	/* The first of each two is answered, and held. */
	n_half = T.n_asks;
	memcpy(half, T.asks, n_half * sizeof(half[0]));
	for (size_t i = 0; i < n_half; i += 2) {
		T.asks[0] = half[i];
		T.n_asks = 1;
		answer_all();
	}
	for (unsigned i = 0; i < DNS_CACHE_ENTRIES; i++) {
		struct name n = nth("m", i);

		/* A handful fail while the held ones move out of the way. */
		(void)dns_resolve(T.d, &n, on_addrs, NULL);
		answer_all();
	}
	assert_int_equal(T.d->cache.pool.used, DNS_CACHE_ENTRIES);
	T.called = 0;
	for (size_t i = 1; i < n_half; i += 2) {
		T.asks[0] = half[i];
		T.n_asks = 1;
		answer_all();
	}
	assert_int_equal(T.called, n_half / 2);
	assert_int_equal(T.error, -ENODATA);
	dns_free(T.d);
}

static struct dns_lookup *again;

/* From inside the callback: the same name once more, another name, and a cancel. */
static void on_addrs_busy(void *user, int error, const struct ip_addr *a, size_t n)
{
	struct name same = nth("same", 0), other = nth("other", 0);

	(void)user, (void)error, (void)a, (void)n;
	if (T.called++ == 0) {
		dns_resolve_cancel(again);
		assert_null(dns_resolve(T.d, &same, on_addrs, NULL));
		assert_non_null(dns_resolve(T.d, &other, on_addrs, NULL));
	}
}

static void test_callbacks(void **state)
{
	struct dns_config cfg = { .mode = DNS_REAL };
	struct name n = nth("same", 0);
	unsigned before;

	(void)state;
	assert_int_equal(new_dns(&cfg), 0);
	assert_non_null(dns_resolve(T.d, &n, on_addrs_busy, NULL));
	again = dns_resolve(T.d, &n, on_addrs_busy, NULL);
	assert_int_equal(T.n_asks, 2);
	before = T.called;
	answer_all();
	assert_int_equal(T.called, before + 3); /* first, same, other; the second was cancelled */
	dns_free(T.d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_virtual_range),	 cmocka_unit_test(test_range_used_up),
		cmocka_unit_test(test_data_limits),	 cmocka_unit_test(test_config),
		cmocka_unit_test(test_pin_limits),	 cmocka_unit_test(test_holds),
		cmocka_unit_test(test_cache_limits),	 cmocka_unit_test(test_callbacks),
		cmocka_unit_test(test_evict_referenced), cmocka_unit_test(test_shared_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
