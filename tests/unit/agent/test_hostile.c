/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host against a guest that lies: each breach ends the connection, ends every stream once,
 * and nothing else. The other end of the socket is the test's.
 */
#include "tests/unit/agent/guest_rig.h"

#include "agent/client_int.h"

struct lab {
	struct rig r;
	int guest;
	struct frames from_host;
};

static void lab_open(struct lab *l)
{
	int pair[2];

	*l = (struct lab){ 0 };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	l->guest = pair[1];
	assert_int_equal(fd_set_nonblock(l->guest, true), 0);
	frames_init(&l->from_host, AGENT_MESSAGE_MAX);
	assert_int_equal(loop_new(&l->r.loop), 0);
	assert_int_equal(agent_new(l->r.loop, pair[0], &rig_events, &l->r, &l->r.agent), 0);
}

static void say(struct lab *l, uint32_t id, uint16_t type, const void *body, size_t n)
{
	struct buf out = BUF_INIT(1 << 20);

	assert_int_equal(frames_write(&out, id, type, body, n), 0);
	assert_int_equal(write(l->guest, buf_at(&out), out.len), out.len);
	buf_fini(&out);
}

static void tell(struct lab *l, uint32_t id, uint16_t type, const void *from)
{
	struct buf out = BUF_INIT(1 << 20);

	assert_int_equal(frames_write_message(&out, id, type, from), 0);
	assert_int_equal(write(l->guest, buf_at(&out), out.len), out.len);
	buf_fini(&out);
}

static void lab_ready(struct lab *l)
{
	struct agent_init init = { .hostname = "x" };

	lab_open(l);
	tell(l, 0, AGENT_HELLO, &(struct agent_hello){ .protocol = 1, .version = "1" });
	rig_until(&l->r, l->r.hello);
	assert_int_equal(agent_send_init(l->r.agent, &init), 0);
	tell(l, 0, AGENT_READY, NULL);
	rig_until(&l->r, l->r.ready);
}

static void lab_close(struct lab *l)
{
	agent_free(l->r.agent);
	loop_free(l->r.loop);
	frames_fini(&l->from_host);
	close(l->guest);
}

/* The next message of a type from the host. */
static uint32_t hear(struct lab *l, uint16_t type)
{
	uint64_t end = time_mono_ns() + RIG_PATIENCE;
	struct agent_message m;
	uint8_t *p;
	size_t room;
	int r;

	while (time_mono_ns() < end) {
		while ((r = frames_next(&l->from_host, &m)) > 0)
			if (m.type == type)
				return m.id;
		assert_int_equal(r, 0);
		assert_true(loop_step(l->r.loop, 5) >= 0);
		assert_int_equal(frames_room(&l->from_host, &p, &room), 0);
		ssize_t n = read(l->guest, p, room);
		if (n > 0)
			frames_filled(&l->from_host, (size_t)n);
	}
	fail_msg("the host never sent message %u", type);
	return 0;
}

static void expect_lost(struct lab *l, int err)
{
	rig_until(&l->r, l->r.lost);
	assert_int_equal(l->r.lost, err);
	lab_close(l);
}

static void order_of_the_connection(void **state)
{
	struct agent_hello h = { .protocol = 1 };
	struct lab l;

	(void)state;
	lab_open(&l);
	tell(&l, 0, AGENT_READY, NULL);
	expect_lost(&l, -EPROTO);
	lab_open(&l);
	tell(&l, 0, AGENT_LOG, &(struct agent_log){ 0, "early" });
	expect_lost(&l, -EPROTO);
	lab_open(&l);
	tell(&l, 0, AGENT_HELLO, &h);
	tell(&l, 0, AGENT_HELLO, &h);
	expect_lost(&l, -EPROTO);
	/* READY before INIT: who believed it would send commands to a machine that is none yet. */
	lab_open(&l);
	tell(&l, 0, AGENT_HELLO, &h);
	tell(&l, 0, AGENT_READY, NULL);
	expect_lost(&l, -EPROTO);
	assert_false(l.r.ready);
	lab_ready(&l);
	tell(&l, 0, AGENT_READY, NULL);
	expect_lost(&l, -EPROTO);
	lab_ready(&l);
	say(&l, 0, AGENT_OUTPUT, "x", 1);
	expect_lost(&l, -EPROTO);
	lab_ready(&l);
	say(&l, 0, 9999, "x", 1);
	expect_lost(&l, -EPROTO);
}

static void frames_that_are_none(void **state)
{
	static const uint8_t longer[AGENT_HEADER_LEN] = { 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1 };
	static const uint8_t more[AGENT_HEADER_LEN] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0 };
	struct lab l;

	(void)state;
	lab_open(&l);
	assert_int_equal(write(l.guest, longer, sizeof(longer)), sizeof(longer));
	expect_lost(&l, -EPROTO);
	/* Only the host may send a message in parts. */
	lab_open(&l);
	assert_int_equal(write(l.guest, more, sizeof(more)), sizeof(more));
	expect_lost(&l, -EPROTO);
	lab_open(&l);
	assert_int_equal(shutdown(l.guest, SHUT_WR), 0);
	expect_lost(&l, -ECONNRESET);
}

struct breach {
	uint16_t first, second; /* messages, 0: none */
	bool exec;		/* else LIST */
};

static void speak(struct lab *l, uint32_t id, uint16_t type)
{
	const struct agent_started started = { 7 };
	const struct agent_entry entry = { .name = "x" };
	const struct agent_credit credit = { 1 };
	const struct agent_failed failed = { 1, 1, "no" };
	const struct agent_exited exited = { 0 };
	const void *from = type == AGENT_STARTED  ? (const void *)&started
			   : type == AGENT_ENTRY  ? (const void *)&entry
			   : type == AGENT_CREDIT ? (const void *)&credit
			   : type == AGENT_FAILED ? (const void *)&failed
			   : type == AGENT_EXITED ? (const void *)&exited
						  : NULL;

	if (message_is_bytes(type))
		say(l, id, type, "x", 1);
	else
		tell(l, id, type, from);
}

/* What may not follow: each from a fresh connection. */
static void order_of_a_stream(void **state)
{
	static const struct breach breaches[] = {
		{ AGENT_OUTPUT, 0, true },
		{ AGENT_EXITED, 0, true },
		{ AGENT_DONE, 0, true },
		{ AGENT_ENTRY, 0, true },
		{ AGENT_STARTED, AGENT_STARTED, true },
		{ AGENT_STARTED, AGENT_FAILED, true },
		{ AGENT_STARTED, AGENT_CREDIT, true }, /* it takes no input */
		{ AGENT_INPUT, 0, true },
		{ AGENT_CLOSE, 0, true },
		{ AGENT_OUTPUT, 0, false },
		{ AGENT_STARTED, 0, false },
		{ AGENT_EXITED, 0, false },
		{ AGENT_DONE, AGENT_DONE, false },
		{ AGENT_FAILED, AGENT_ENTRY, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(breaches); i++) {
		const struct breach *b = &breaches[i];
		struct agent_exec x = { .argv = ARGV("true") };
		struct agent_file f = { .path = "/" };
		struct told t = told_new();
		struct lab l;
		uint32_t id;

		lab_ready(&l);
		if (b->exec)
			rig_exec(&l.r, &x, &t);
		else
			assert_int_equal(
				agent_file(l.r.agent, AGENT_LIST, &f, 0, &told_events, &t, &t.s), 0);
		id = hear(&l, b->exec ? AGENT_EXEC : AGENT_LIST);
		speak(&l, id, b->first);
		if (b->second)
			speak(&l, id, b->second);
		rig_until(&l.r, l.r.lost);
		assert_int_equal(l.r.lost, -EPROTO);
		assert_true(t.ended);
		lab_close(&l);
		told_fini(&t);
	}
}

/* Ids that were never given out. */
static void unknown_ids(void **state)
{
	struct lab l;

	(void)state;
	lab_ready(&l);
	tell(&l, 77, AGENT_DONE, NULL);
	expect_lost(&l, -EPROTO);
	lab_ready(&l);
	tell(&l, 0xffffffff, AGENT_STARTED, &(struct agent_started){ 1 });
	expect_lost(&l, -EPROTO);
}

/* More than the window: what it may make us keep is bounded. */
static void bytes_beyond_credit(void **state)
{
	static const uint8_t bytes[AGENT_WINDOW / 8];
	struct agent_exec x = { .argv = ARGV("true") };
	struct told t = told_new();
	struct lab l;
	uint32_t id;

	(void)state;
	lab_ready(&l);
	t.keep_credit = true;
	rig_exec(&l.r, &x, &t);
	id = hear(&l, AGENT_EXEC);
	tell(&l, id, AGENT_STARTED, &(struct agent_started){ 7 });
	for (int i = 0; i < 8; i++) {
		say(&l, id, AGENT_OUTPUT, bytes, sizeof(bytes));
		rig_until(&l.r, t.out.len == (size_t)(i + 1) * sizeof(bytes));
	}
	assert_int_equal(l.r.lost, 0);
	say(&l, id, AGENT_ERRORS, "x", 1);
	rig_until(&l.r, l.r.lost);
	assert_int_equal(l.r.lost, -EPROTO);
	assert_int_equal(t.out.len, AGENT_WINDOW);
	assert_int_equal(t.err.len, 0);
	assert_int_equal(t.end.failed.stage, AGENT_STAGE_LOST);
	lab_close(&l);
	told_fini(&t);
}

/* Credit above the window would let a guest make us send without end. */
static void credit_beyond_the_window(void **state)
{
	struct agent_exec x = { .argv = ARGV("true"), .flags = AGENT_EXEC_INPUT };
	struct told t = told_new();
	struct lab l;
	uint32_t id;

	(void)state;
	lab_ready(&l);
	rig_exec(&l.r, &x, &t);
	id = hear(&l, AGENT_EXEC);
	assert_int_equal(agent_stream_write(t.s, "abc", 3), 0);
	tell(&l, id, AGENT_CREDIT, &(struct agent_credit){ 3 });
	rig_until(&l.r, agent_stream_room(t.s) == AGENT_WINDOW);
	tell(&l, id, AGENT_CREDIT, &(struct agent_credit){ 1 });
	expect_lost(&l, -EPROTO);
	told_fini(&t);
}

/* Names that a copy to the host would trip over. */
static void names_of_entries(void **state)
{
	static const char *const names[] = { "", ".", "..", "a/b", "/etc/passwd", "../../x" };
	char longer[300];

	(void)state;
	memset(longer, 'n', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	assert_false(agent_name_ok(longer));
	assert_true(agent_name_ok("..."));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct agent_file f = { .path = "/" };
		struct told t = told_new();
		struct lab l;
		uint32_t id;

		lab_ready(&l);
		assert_int_equal(agent_file(l.r.agent, AGENT_LIST, &f, 0, &told_events, &t, &t.s), 0);
		id = hear(&l, AGENT_LIST);
		tell(&l, id, AGENT_ENTRY, &(struct agent_entry){ .name = names[i] });
		rig_until(&l.r, l.r.lost);
		assert_int_equal(l.r.lost, -EPROTO);
		assert_int_equal(t.entries, 0);
		lab_close(&l);
		told_fini(&t);
	}
}

/* A guest that does not answer: the deadline ends the stream once; its late answer is nothing. */
static void no_answer_in_time(void **state)
{
	struct agent_exec x = { .argv = ARGV("true") };
	struct told t = told_new(), t2 = told_new();
	struct lab l;
	uint32_t id;

	(void)state;
	lab_ready(&l);
	assert_int_equal(agent_exec(l.r.agent, &x, loop_now_update(l.r.loop) + 20 * NS_PER_MS,
				    &told_events, &t, &t.s),
			 0);
	id = hear(&l, AGENT_EXEC);
	rig_until(&l.r, t.ended);
	assert_int_equal(t.end.failed.stage, AGENT_STAGE_DEADLINE);
	assert_int_equal(agent_end_status(&t.end), 125);
	assert_int_equal(hear(&l, AGENT_CLOSE), id);
	tell(&l, id, AGENT_STARTED, &(struct agent_started){ 7 });
	say(&l, id, AGENT_OUTPUT, "late", 4);
	tell(&l, id, AGENT_EXITED, &(struct agent_exited){ 0 });
	assert_int_equal(agent_ping(l.r.agent, 0, &told_events, &t2, &t2.s), 0);
	tell(&l, hear(&l, AGENT_PING), AGENT_DONE, NULL);
	rig_until(&l.r, t2.ended);
	assert_int_equal(l.r.lost, 0);
	assert_int_equal(t.out.len, 0);
	lab_close(&l);
	told_fini(&t);
	told_fini(&t2);
}

/* A guest that never ends what was closed cannot be asked for ever more. */
static void zombies_are_bounded(void **state)
{
	struct told t = told_new();
	struct lab l;
	int r = 0;

	(void)state;
	lab_ready(&l);
	for (int i = 0; i < AGENT_STREAMS_MAX; i++) {
		assert_int_equal(agent_ping(l.r.agent, 0, &told_events, &t, &t.s), 0);
		agent_stream_close(t.s);
	}
	r = agent_ping(l.r.agent, 0, &told_events, &t, &t.s);
	assert_int_equal(r, -EAGAIN);
	tell(&l, hear(&l, AGENT_PING), AGENT_DONE, NULL);
	do
		assert_true(loop_step(l.r.loop, 20) >= 0);
	while ((r = agent_ping(l.r.agent, 0, &told_events, &t, &t.s)) == -EAGAIN);
	assert_int_equal(r, 0);
	lab_close(&l);
	told_fini(&t);
}

static void free_in_ended(struct agent_stream *s, const struct agent_end *e, void *arg)
{
	struct lab *l = arg;

	(void)s;
	(void)e;
	agent_free(l->r.agent);
	l->r.agent = NULL;
}

/* The user may end all of it from any event. */
static void freed_in_an_event(void **state)
{
	static const struct agent_stream_events ev = { .ended = free_in_ended };
	struct agent_stream *s;
	struct lab l;

	(void)state;
	for (int lost = 0; lost < 2; lost++) {
		lab_ready(&l);
		assert_int_equal(agent_ping(l.r.agent, 0, &ev, &l, &s), 0);
		if (lost)
			tell(&l, 12345, AGENT_DONE, NULL);
		else
			tell(&l, hear(&l, AGENT_PING), AGENT_DONE, NULL);
		rig_until(&l.r, !l.r.agent);
		lab_close(&l);
	}
}

/* INIT that failed: nothing but the end may be asked for. */
static void init_failed(void **state)
{
	struct agent_init init = { .hostname = "x" };
	struct agent_shutdown how = { 0 };
	struct told t = told_new();
	struct lab l;

	(void)state;
	lab_open(&l);
	tell(&l, 0, AGENT_HELLO, &(struct agent_hello){ .protocol = 1 });
	rig_until(&l.r, l.r.hello);
	assert_int_equal(agent_send_init(l.r.agent, &init), 0);
	tell(&l, 0, AGENT_FAILED, &(struct agent_failed){ AGENT_STAGE_ROOT, ENODEV, "no disk" });
	rig_until(&l.r, l.r.init_failed);
	assert_string_equal(l.r.failed_text, "no disk");
	assert_int_equal(agent_ping(l.r.agent, 0, &told_events, &t, &t.s), -ENOTCONN);
	assert_int_equal(agent_shutdown(l.r.agent, &how, 0, &told_events, &t, &t.s), 0);
	tell(&l, hear(&l, AGENT_SHUTDOWN), AGENT_DONE, NULL);
	rig_until(&l.r, t.ended);
	lab_close(&l);
	told_fini(&t);
}

/*
 * A guest that takes nothing, and a relay's client that hangs up behind it: it is let go at once and not
 * heard of at every turn until the guest takes again, and what it had begun is closed.
 */
static void gone_while_nothing_is_taken(void **state)
{
	static char variable[700000];
	struct agent_exec x = { .argv = ARGV("true"), .env = ARGV(variable) };
	struct told t = told_new();
	struct rig client = { 0 };
	struct agent_relay *relay;
	struct lab l;
	int pair[2];

	(void)state;
	memset(variable, 'v', sizeof(variable) - 1);
	lab_ready(&l);
	client.loop = l.r.loop;
	assert_int_equal(agent_relay_new(l.r.loop, l.r.agent, &relay), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(agent_relay_add(relay, pair[1]), 0);
	assert_int_equal(agent_join(l.r.loop, pair[0], &rig_events, &client, &client.agent), 0);
	rig_until(&l.r, client.ready);
	for (int i = 0; i < 3; i++)
		rig_exec(&client, &x, &t);
	rig_until(&l.r, l.r.agent->out.len >= CLIENT_OUT_FULL);
	agent_free(client.agent);
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_step(l.r.loop, 1), 0);
	assert_int_equal(agent_relay_clients(relay), 0);
	assert_true(l.r.agent->out.len >= CLIENT_OUT_FULL);
	tell(&l, hear(&l, AGENT_CLOSE), AGENT_FAILED, &(struct agent_failed){ 4, 0, "closed" });
	agent_relay_free(relay);
	lab_close(&l);
	told_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_of_the_connection),
		cmocka_unit_test(frames_that_are_none),
		cmocka_unit_test(order_of_a_stream),
		cmocka_unit_test(unknown_ids),
		cmocka_unit_test(bytes_beyond_credit),
		cmocka_unit_test(credit_beyond_the_window),
		cmocka_unit_test(names_of_entries),
		cmocka_unit_test(no_answer_in_time),
		cmocka_unit_test(zombies_are_bounded),
		cmocka_unit_test(freed_in_an_event),
		cmocka_unit_test(init_failed),
		cmocka_unit_test(gone_while_nothing_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
