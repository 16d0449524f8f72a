/* SPDX-License-Identifier: Apache-2.0 */
/* Counted queries: every one is in exactly one line's count, whatever their mix, and none waits long. */
#include "weir/gateway_int.h"
#include "weir/message.h"

#include <setjmp.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

static struct gateway gw;
static int record;

/* What the record got, by name. */
#define NAMES (DNS_REPEAT_KINDS + 1000)
static struct {
	uint64_t lines, sum, asked;
	char denial[DENIAL_ID_LEN];
} seen[NAMES];

static int setup(void **state)
{
	int sv[2];

	(void)state;
	memset(&gw, 0, sizeof(gw));
	memset(seen, 0, sizeof(seen));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	assert_int_equal(loop_new(&gw.loop), 0);
	gw.record = (struct record){ .sock = sv[0], .run = "r", .tag = 'g' };
	record = sv[1];
	return gateway_dns_repeats_start(&gw);
}

static int teardown(void **state)
{
	(void)state;
	gateway_dns_repeats_forget(&gw);
	assert_int_equal(gw.repeats.pool.used, 0);
	assert_int_equal(gw.repeats.by_said.count, 0);
	assert_false(loop_timer_armed(&gw.repeats.timer));
	pool_fini(&gw.repeats.pool);
	hmap_fini(&gw.repeats.by_said);
	loop_free(gw.loop);
	close(record);
	close(gw.record.sock);
	return 0;
}

/* Lines that are waiting in the socket. */
static size_t read_record(void)
{
	char text[AUDIT_EVENT_MAX + 64];
	size_t lines = 0;
	ssize_t n;

	while ((n = recv(record, text, sizeof(text), MSG_DONTWAIT)) > 0) {
		size_t head = sizeof(struct msg_head);
		json_t *e = json_loadb(text + head, (size_t)n - head, 0, NULL);
		unsigned name;

		name = (unsigned)strtoul(audit_get(e, "name") + 1, NULL, 10);
		assert_true(name < NAMES);
		seen[name].lines++;
		seen[name].sum += audit_count_of(e);
		snprintf(seen[name].denial, sizeof(seen[name].denial), "%s", audit_get(e, "denial"));
		json_decref(e);
		lines++;
	}
	return lines;
}

/* As gateway_dns_event() does with what it was told. */
static bool ask(unsigned name, const struct ip_addr *answers, size_t n, const char *denial)
{
	struct dns_question q = { .type = 1, .transport = DNS_UDP };
	struct dns_said s = {
		.q = &q,
		.result = denial ? DNS_DENIED : DNS_ANSWERED,
		.denied = denial,
		.denial = denial,
		.answers = answers,
		.n_answers = n,
	};

	q.name.len = (uint8_t)snprintf(q.name.s, sizeof(q.name.s), "n%u.example", name);
	seen[name].asked++;
	if (gateway_dns_counted(&gw, &s))
		return true;
	gateway_dns_line(&gw, &s, denial, 0);
	gateway_dns_remember(&gw, &s, denial);
	read_record();
	return false;
}

/* The socket takes less than all numbers at once. */
static void drain(void)
{
	for (unsigned i = 0; i < 3 * NAMES / DNS_REPEAT_BATCH; i++) {
		assert_int_equal(loop_step(gw.loop, 0), 0);
		read_record();
	}
}

static void use_up_lines(void)
{
	for (unsigned i = 0; i < DNS_EVENTS_PER_S; i++)
		assert_false(ask(0, NULL, 0, NULL));
	assert_true(ask(0, NULL, 0, NULL));
}

static void test_few_are_not_counted(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DNS_EVENTS_PER_S; i++)
		assert_false(ask(i % 3, NULL, 0, NULL));
	assert_int_equal(seen[0].lines + seen[1].lines + seen[2].lines, DNS_EVENTS_PER_S);
}

static void test_first_of_a_kind_is_written_at_once(void **state)
{
	struct ip_addr one = ip4(1, 2, 3, 4), other = ip4(1, 2, 3, 5), many[DNS_REPEAT_ANSWERS + 1];

	(void)state;
	use_up_lines();
	assert_false(ask(1, &one, 1, NULL));
	assert_true(ask(1, &one, 1, NULL));
	/* Another answer is another line, and both are known from now on. */
	assert_false(ask(1, &other, 1, NULL));
	assert_true(ask(1, &other, 1, NULL));
	assert_true(ask(1, &one, 1, NULL));
	assert_int_equal(seen[1].lines, 2);
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = one;
	assert_false(ask(2, many, ARRAY_SIZE(many), NULL));
	assert_false(ask(2, many, ARRAY_SIZE(many), NULL));
}

static void test_denials_share_the_id_that_was_told(void **state)
{
	struct dns_question q = { .type = 1, .transport = DNS_UDP };
	struct dns_said s = { .q = &q, .result = DNS_DENIED, .denied = true };

	(void)state;
	q.name.len = (uint8_t)snprintf(q.name.s, sizeof(q.name.s), "n7.example");
	use_up_lines();
	assert_null(gateway_dns_denial_again(&gw, &s));
	assert_false(ask(7, NULL, 0, "r-g1"));
	assert_string_equal(gateway_dns_denial_again(&gw, &s), "r-g1");
	assert_true(ask(7, NULL, 0, "r-g1"));
	assert_true(ask(7, NULL, 0, "r-g1"));
	/* One that was told another id is not counted with those. */
	assert_false(ask(7, NULL, 0, "r-g2"));
	assert_int_equal(seen[7].lines, 3);
	assert_int_equal(seen[7].sum, 4);
	/* The number of those was written after the line that parted from them. */
	assert_string_equal(seen[7].denial, "r-g1");
	assert_true(ask(7, NULL, 0, "r-g2"));
	gateway_dns_repeats_flush(&gw);
	read_record();
	assert_int_equal(seen[7].sum, 5);
	assert_string_equal(seen[7].denial, "r-g2");
}

static void test_written_in_time(void **state)
{
	uint64_t t0 = time_mono_ns(), t1;

	(void)state;
	loop_now_update(gw.loop);
	use_up_lines();
	ask(1, NULL, 0, NULL);
	for (unsigned i = 0; i < 100; i++)
		assert_true(ask(1, NULL, 0, NULL));
	assert_int_equal(seen[1].sum, 1);
	while (seen[1].sum < 101 && time_mono_ns() - t0 < 10 * NS_PER_S) {
		assert_int_equal(loop_step(gw.loop, -1), 0);
		read_record();
	}
	t1 = time_mono_ns();
	assert_int_equal(seen[1].sum, 101);
	assert_int_equal(seen[1].lines, 2);
	assert_true(t1 - t0 >= DNS_REPEAT_WAIT && t1 - t0 < 5 * NS_PER_S);
}

/* More kinds than are remembered, skewed, with the loop's time going on: no query is lost or told twice. */
static void test_every_query_is_counted_once(void **state)
{
	uint64_t seed = 88172645463325252u, lines = 0, asked = 0;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		ask((unsigned)(seed % (seed >> 60 ? 50 : NAMES)), NULL, 0, NULL);
		if (i % 1000 == 0) {
			assert_int_equal(loop_step(gw.loop, 0), 0);
			read_record();
		}
		assert_true(gw.repeats.pool.used <= DNS_REPEAT_KINDS);
	}
	while (!list_empty(&gw.repeats.counted)) {
		usleep(20000);
		drain();
	}
	for (unsigned i = 0; i < NAMES; i++) {
		assert_int_equal(seen[i].sum, seen[i].asked);
		lines += seen[i].lines;
		asked += seen[i].asked;
	}
	assert_int_equal(asked, 200000);
	assert_true(lines < asked / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_few_are_not_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_first_of_a_kind_is_written_at_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_denials_share_the_id_that_was_told, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_written_in_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_query_is_counted_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
