/* SPDX-License-Identifier: Apache-2.0 */
/* Several clients on one agent: each sees its own, one's end is not another's. */
#include "tests/unit/agent/guest_rig.h"

#define OUT(t) (buf_str(&(t)->out) ? buf_str(&(t)->out) : "")

static struct agent_relay *relay_of(struct rig *r)
{
	struct agent_relay *relay;

	assert_int_equal(agent_relay_new(r->loop, r->agent, &relay), 0);
	return relay;
}

/* Both ends turn in the same loop. */
static void join(struct rig *r, struct agent_relay *relay, struct rig *client)
{
	int pair[2];

	*client = (struct rig){ .loop = r->loop };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(agent_relay_add(relay, pair[1]), 0);
	assert_int_equal(agent_join(r->loop, pair[0], &rig_events, client, &client->agent), 0);
	rig_until(r, client->ready);
	assert_string_equal(agent_hello(client->agent)->boot_id, agent_hello(r->agent)->boot_id);
}

/* A09: the same requests, side by side, each to its own. */
static void a09_side_by_side(void **state)
{
	struct rig *r = *state, one, two;
	struct agent_relay *relay = relay_of(r);
	struct agent_exec x1 = { .argv = ARGV("sh", "-c", "read a; echo one $a"),
				 .flags = AGENT_EXEC_INPUT };
	struct agent_exec x2 = { .argv = ARGV("sh", "-c", "read a; echo two $a; exit 4"),
				 .flags = AGENT_EXEC_INPUT };
	struct told t1 = told_new(), t2 = told_new(), t3;

	join(r, relay, &one);
	join(r, relay, &two);
	assert_int_equal(agent_relay_clients(relay), 2);
	rig_exec(&one, &x1, &t1);
	rig_exec(&two, &x2, &t2);
	assert_int_equal(agent_stream_write(t2.s, "b\n", 2), 0);
	assert_int_equal(agent_stream_write(t1.s, "a\n", 2), 0);
	rig_until(r, t1.ended && t2.ended);
	assert_string_equal(OUT(&t1), "one a\n");
	assert_string_equal(OUT(&t2), "two b\n");
	assert_int_equal(agent_end_status(&t2.end), 4);
	assert_int_equal(rig_sh(r, &t3, "echo own"), 0);
	told_fini(&t1);
	told_fini(&t2);
	told_fini(&t3);
	agent_free(one.agent);
	agent_free(two.agent);
	rig_until(r, agent_relay_clients(relay) == 0);
	agent_relay_free(relay);
}

/* One megabyte through the relay, both ways, and a client that does not read. */
static void much_and_slow(void **state)
{
	struct rig *r = *state, one, two;
	struct agent_relay *relay = relay_of(r);
	struct agent_exec x = { .argv = ARGV("sh", "-c", "head -c 3000000 /dev/zero") };
	struct told t1 = told_new(), t2 = told_new();

	join(r, relay, &one);
	join(r, relay, &two);
	t1.keep_credit = true;
	rig_exec(&one, &x, &t1);
	rig_exec(&two, &x, &t2);
	rig_until(r, t2.ended && t1.out.len == AGENT_WINDOW);
	assert_int_equal(t2.out.len, 3000000);
	t1.keep_credit = false;
	agent_stream_taken(t1.s, AGENT_WINDOW);
	rig_until(r, t1.ended);
	assert_int_equal(t1.out.len, 3000000);
	told_fini(&t1);
	told_fini(&t2);
	agent_free(one.agent);
	agent_free(two.agent);
	agent_relay_free(relay);
}

/* A08: a client that goes takes its commands along, and nobody else's. */
static void client_death(void **state)
{
	struct rig *r = *state, one, two;
	struct agent_relay *relay = relay_of(r);
	struct agent_exec x1 = { .argv = ARGV("sh", "-c", "echo up; exec sleep 8642") };
	struct agent_exec x2 = { .argv = ARGV("sh", "-c", "echo up; read a; echo $a"),
				 .flags = AGENT_EXEC_INPUT };
	struct told t1 = told_new(), t2 = told_new(), t3;
	int status;

	join(r, relay, &one);
	join(r, relay, &two);
	rig_exec(&one, &x1, &t1);
	rig_exec(&two, &x2, &t2);
	rig_until(r, t1.out.len && t2.out.len);
	agent_free(one.agent);
	rig_until(r, agent_relay_clients(relay) == 1);
	do {
		status = rig_sh(r, &t3, "pgrep -f '[s]leep 8642'");
		told_fini(&t3);
	} while (status == 0);
	assert_int_equal(status, 1);
	assert_int_equal(agent_stream_write(t2.s, "on\n", 3), 0);
	rig_until(r, t2.ended);
	assert_string_equal(OUT(&t2), "up\non\n");
	told_fini(&t1);
	told_fini(&t2);
	agent_free(two.agent);
	agent_relay_free(relay);
}

/* INIT and SHUTDOWN are not a client's; one that breaks the rules is put out alone. */
static void what_is_refused(void **state)
{
	struct rig *r = *state, one, two;
	struct agent_relay *relay = relay_of(r);
	struct agent_shutdown how = { 0 };
	struct told t = told_new();
	static const uint8_t init[] = { 0, 0, 0, 0, 0, 0, 0, 0, AGENT_INIT, 0, 0, 0 };
	uint8_t sink[256];
	int pair[2];

	join(r, relay, &one);
	assert_int_equal(agent_send_init(one.agent, &(struct agent_init){ 0 }), -ENOTCONN);
	assert_int_equal(agent_shutdown(one.agent, &how, 0, &told_events, &t, &t.s), 0);
	rig_until(r, t.ended);
	assert_int_equal(t.end.kind, AGENT_ENDED_FAILED);
	assert_int_equal(t.end.failed.err, EPERM);
	told_fini(&t);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(agent_relay_add(relay, pair[1]), 0);
	assert_int_equal(write(pair[0], init, sizeof(init)), sizeof(init));
	rig_until(r, agent_relay_clients(relay) == 1);
	assert_true(read(pair[0], sink, sizeof(sink)) >= 0);
	close(pair[0]);

	join(r, relay, &two);
	assert_int_equal(rig_sh(&two, &t, "echo fine"), 0);
	told_fini(&t);
	agent_free(one.agent);
	agent_free(two.agent);
	agent_relay_free(relay);
}

/* The agent goes while clients wait: they see the end of their connection. */
static void agent_death(void **state)
{
	struct rig r, one;
	struct agent_relay *relay;
	struct agent_exec x = { .argv = ARGV("sh", "-c", "echo up; sleep 60") };
	struct agent_exec end = { .argv = ARGV("sh", "-c", "kill -TERM 1; sleep 60") };
	struct told t = told_new(), t2 = told_new();

	(void)state;
	rig_start(&r);
	rig_init(&r, &(struct agent_init){ 0 });
	relay = relay_of(&r);
	join(&r, relay, &one);
	rig_exec(&one, &x, &t);
	rig_exec(&r, &end, &t2);
	rig_until(&r, r.lost);
	assert_int_equal(r.lost, -ECONNRESET);
	agent_relay_free(relay);
	rig_until(&r, one.lost);
	assert_true(t.ended);
	assert_true(t2.ended);
	agent_free(one.agent);
	told_fini(&t);
	told_fini(&t2);
	rig_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a09_side_by_side), cmocka_unit_test(much_and_slow),
		cmocka_unit_test(client_death),	    cmocka_unit_test(what_is_refused),
		cmocka_unit_test(agent_death),
	};

	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
