/* SPDX-License-Identifier: Apache-2.0 */
/* Several clients at one command: what each sees and types, who is dropped, and how it ends. */
#include "tests/unit/agent/guest_rig.h"

#include "agent/serve.h"

struct command {
	struct loop *loop;
	struct agent_hub *hub;
	char typed[65536];
	size_t n_typed, takes; /* takes: bytes of input that there is room for */
	unsigned sizes, rows, cols, rooms, drained;
	int signal;
};

static size_t on_input(const uint8_t *p, size_t n, void *arg)
{
	struct command *c = arg;

	n = MIN(n, MIN(c->takes, sizeof(c->typed) - c->n_typed));
	memcpy(c->typed + c->n_typed, p, n);
	c->n_typed += n;
	c->takes -= n;
	return n;
}

static void on_resize(uint32_t rows, uint32_t cols, void *arg)
{
	struct command *c = arg;

	c->sizes++;
	c->rows = rows;
	c->cols = cols;
}

static void on_signal(int number, void *arg)
{
	((struct command *)arg)->signal = number;
}

static void on_room(void *arg)
{
	((struct command *)arg)->rooms++;
}

static void on_drained(void *arg)
{
	((struct command *)arg)->drained++;
}

static const struct agent_hub_events hub_events = {
	.input = on_input,
	.resize = on_resize,
	.signal = on_signal,
	.room = on_room,
	.drained = on_drained,
};

static int setup(void **state)
{
	struct command *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->takes = SIZE_MAX;
	assert_int_equal(loop_new(&c->loop), 0);
	assert_int_equal(agent_hub_new(c->loop, &hub_events, c, &c->hub), 0);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct command *c = *state;

	agent_hub_free(c->hub);
	loop_free(c->loop);
	free(c);
	return 0;
}

static void join(struct command *c, struct rig *client)
{
	int pair[2];

	*client = (struct rig){ .loop = c->loop };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(agent_hub_add(c->hub, pair[1]), 0);
	assert_int_equal(agent_join(c->loop, pair[0], &rig_events, client, &client->agent), 0);
	rig_until(client, client->ready);
}

static void attach(struct command *c, struct rig *client, struct told *t,
		   const struct agent_attach *x)
{
	join(c, client);
	assert_int_equal(agent_attach(client->agent, x, 0, &told_events, t, &t->s), 0);
	rig_until(client, t->started || t->ended);
}

static void say(struct command *c, const char *text)
{
	agent_hub_output(c->hub, AGENT_OUTPUT, (const uint8_t *)text, strlen(text));
}

static const struct agent_attach with_input = { .flags = AGENT_ATTACH_INPUT };

/* A06: both see all from when they came; what both type arrives; one leaves, the other stays to the end. */
static void a06_two_at_one(void **state)
{
	struct command *c = *state;
	struct agent_attach sized = { .flags = AGENT_ATTACH_INPUT, .rows = 33, .cols = 101 };
	struct told t1 = told_new(), t2 = told_new();
	struct rig one, two;

	say(c, "nobody\n");
	attach(c, &one, &t1, &sized);
	assert_int_equal(c->rows, 33);
	assert_int_equal(c->cols, 101);
	assert_int_equal(c->sizes, 2); /* so that it differs from before */
	say(c, "first\n");
	attach(c, &two, &t2, &with_input);
	say(c, "second\n");
	agent_hub_output(c->hub, AGENT_ERRORS, (const uint8_t *)"bad\n", 4);
	rig_until(c, t1.err.len == 4 && t2.err.len == 4);
	assert_string_equal(buf_str(&t1.out), "first\nsecond\n");
	assert_string_equal(buf_str(&t2.out), "second\n");
	assert_int_equal(agent_stream_write(t1.s, "a", 1), 0);
	rig_until(c, c->n_typed == 1);
	assert_int_equal(agent_stream_write(t2.s, "b", 1), 0);
	assert_int_equal(agent_stream_resize(t2.s, 20, 70), 0);
	assert_int_equal(agent_stream_signal(t2.s, SIGUSR1), 0);
	rig_until(c, c->n_typed == 2 && c->rows == 20 && c->signal == SIGUSR1);
	assert_memory_equal(c->typed, "ab", 2);
	assert_int_equal(agent_stream_eof(t1.s), 0);
	agent_free(one.agent);
	rig_until(c, agent_hub_clients(c->hub) == 1);
	say(c, "third\n");
	agent_hub_end(c->hub, &(struct agent_exited){ .code = 7 });
	assert_int_equal(agent_hub_add(c->hub, -1), -EPIPE);
	rig_until(c, t2.ended);
	assert_string_equal(buf_str(&t2.out), "second\nthird\n");
	assert_int_equal(agent_end_status(&t2.end), 7);
	assert_int_equal(c->drained, 0);
	agent_free(two.agent);
	rig_until(c, c->drained == 1);
	told_fini(&t1);
	told_fini(&t2);
}

/* Input that the command does not take waits, a window of it, and is there when it does. */
static void input_waits(void **state)
{
	static uint8_t much[AGENT_WINDOW];
	struct command *c = *state;
	struct told t = told_new();
	struct rig one;

	c->takes = 10;
	attach(c, &one, &t, &with_input);
	memset(much, 'x', sizeof(much));
	assert_int_equal(agent_stream_write(t.s, much, sizeof(much)), 0);
	assert_int_equal(agent_stream_room(t.s), 0);
	rig_until(c, c->n_typed == 10);
	for (int i = 0; i < 50; i++)
		assert_true(loop_step(c->loop, 0) >= 0);
	assert_int_equal(c->n_typed, 10);
	c->takes = SIZE_MAX;
	while (agent_stream_room(t.s) < AGENT_WINDOW / 2) {
		c->n_typed = 0;
		agent_hub_pump(c->hub);
		assert_true(loop_step(c->loop, 20) >= 0);
	}
	agent_free(one.agent);
	told_fini(&t);
}

/* One that does not read: the other goes on within the patience, and the slow one is told and gone. */
static void slow_one_is_dropped(void **state)
{
	struct command *c = *state;
	struct told slow = told_new(), quick = told_new();
	struct rig one, two;
	size_t said = 0;
	char piece[8192];

	memset(piece, 'y', sizeof(piece));
	slow.keep_credit = true;
	attach(c, &one, &slow, &with_input);
	attach(c, &two, &quick, &with_input);
	while (!agent_hub_full(c->hub)) {
		agent_hub_output(c->hub, AGENT_OUTPUT, (const uint8_t *)piece, sizeof(piece));
		said += sizeof(piece);
		assert_true(said < 4 << 20);
		assert_true(loop_step(c->loop, 0) >= 0);
	}
	assert_int_equal(c->rooms, 0);
	rig_until(c, slow.ended && c->rooms == 1);
	assert_false(agent_hub_full(c->hub));
	assert_int_equal(slow.end.kind, AGENT_ENDED_FAILED);
	assert_non_null(strstr(slow.end_text, "too slow"));
	rig_until(c, quick.out.len == said);
	assert_false(quick.ended);
	agent_free(one.agent);
	agent_free(two.agent);
	told_fini(&slow);
	told_fini(&quick);
}

/* More at once than the hub keeps, from a user that does not ask whether it is full. */
static void flood_is_bounded(void **state)
{
	struct command *c = *state;
	struct told t = told_new();
	struct rig one;
	char piece[65536];

	memset(piece, 'z', sizeof(piece));
	t.keep_credit = true;
	attach(c, &one, &t, &with_input);
	for (int i = 0; i < 64; i++)
		agent_hub_output(c->hub, AGENT_OUTPUT, (const uint8_t *)piece, sizeof(piece));
	rig_until(c, t.ended);
	assert_true(t.out.len <= AGENT_WINDOW);
	assert_non_null(strstr(t.end_text, "too slow"));
	agent_free(one.agent);
	told_fini(&t);
}

/* The end comes behind all that was written, however much of it waited. */
static void end_comes_last(void **state)
{
	struct command *c = *state;
	struct told t = told_new();
	struct rig one;
	char piece[16384];

	memset(piece, 'w', sizeof(piece));
	attach(c, &one, &t, &with_input);
	for (int i = 0; i < 40; i++)
		agent_hub_output(c->hub, AGENT_OUTPUT, (const uint8_t *)piece, sizeof(piece));
	agent_hub_end(c->hub, &(struct agent_exited){ .code = 3 });
	rig_until(c, t.ended);
	assert_int_equal(t.out.len, 40 * sizeof(piece));
	assert_int_equal(agent_end_status(&t.end), 3);
	agent_free(one.agent);
	told_fini(&t);
}

/* One who came before the end and attaches behind it is told, and has as long to leave as the others. */
static void end_waits_for_nobody(void **state)
{
	struct command *c = *state;
	struct told t = told_new();
	struct rig one;

	join(c, &one);
	agent_hub_end(c->hub, &(struct agent_exited){ .code = 4 });
	assert_int_equal(agent_attach(one.agent, &with_input, 0, &told_events, &t, &t.s), 0);
	rig_until(c, t.ended);
	assert_int_equal(agent_end_status(&t.end), 4);
	rig_until(c, c->drained == 1);
	assert_int_equal(agent_hub_clients(c->hub), 0);
	agent_free(one.agent);
	told_fini(&t);
}

static void what_is_refused(void **state)
{
	static const struct agent_hub_events no_input = { .room = on_room };
	static const struct agent_attach huge = { .rows = 24, .cols = 1 << 16 };
	struct command *c = *state;
	struct agent_exec x = { .argv = ARGV("true") };
	struct told t = told_new(), t2 = told_new(), t3 = told_new();
	struct rig one, two;

	/* Another request, and to attach twice. */
	attach(c, &one, &t, &with_input);
	assert_int_equal(agent_exec(one.agent, &x, 0, &told_events, &t2, &t2.s), 0);
	rig_until(c, t2.ended);
	assert_int_equal(t2.end.failed.stage, AGENT_STAGE_UNKNOWN);
	assert_int_equal(agent_attach(one.agent, &with_input, 0, &told_events, &t3, &t3.s), 0);
	rig_until(c, t3.ended);
	assert_int_equal(t3.end.kind, AGENT_ENDED_FAILED);
	assert_false(t.ended);
	agent_free(one.agent);
	/* A terminal larger than any. */
	told_fini(&t);
	t = told_new();
	attach(c, &one, &t, &huge);
	assert_true(t.ended);
	assert_int_equal(c->sizes, 0);
	agent_free(one.agent);
	agent_hub_free(c->hub);
	/* Input where there is none. */
	assert_int_equal(agent_hub_new(c->loop, &no_input, c, &c->hub), 0);
	told_fini(&t);
	t = told_new();
	attach(c, &two, &t, &with_input);
	assert_true(t.ended);
	assert_non_null(strstr(t.end_text, "no input"));
	agent_free(two.agent);
	told_fini(&t);
	told_fini(&t2);
	told_fini(&t3);
}

/* Bytes that are no messages, credit that nobody has, what no kernel knows: that client alone is gone. */
static void broken_clients(void **state)
{
	struct command *c = *state;
	static const char nonsense[] = "\xff\xff\xff\xff nonsense";
	struct agent_credit credit = { 1 };
	struct agent_resize size = { .rows = 1 << 16, .cols = 80 };
	struct agent_signal number = { 65 };
	static const uint16_t types[] = { AGENT_HELLO, AGENT_CREDIT, AGENT_RESIZE, AGENT_SIGNAL };
	const void *const bodies[] = { NULL, &credit, &size, &number };
	struct buf out = BUF_INIT(4096);
	struct told t = told_new();
	struct rig good;
	int pair[2];

	attach(c, &good, &t, &with_input);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct agent_attach x = { .flags = 0 };

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		assert_int_equal(agent_hub_add(c->hub, pair[1]), 0);
		buf_reset(&out);
		if (i == 0)
			assert_int_equal(buf_append(&out, nonsense, sizeof(nonsense)), 0);
		else {
			assert_int_equal(frames_write_message(&out, 5, AGENT_ATTACH, &x), 0);
			assert_int_equal(frames_write_message(&out, 5, types[i], bodies[i]), 0);
		}
		assert_int_equal(write(pair[0], buf_at(&out), out.len), out.len);
		rig_until(c, agent_hub_clients(c->hub) == 1);
		close(pair[0]);
	}
	assert_int_equal(c->sizes, 0);
	assert_int_equal(c->signal, 0);
	say(c, "still here\n");
	rig_until(c, t.out.len == 11);
	agent_free(good.agent);
	buf_fini(&out);
	told_fini(&t);
}

static void as_many_as_there_are_places(void **state)
{
	struct command *c = *state;
	struct rig one[AGENT_HUB_CLIENTS_MAX];
	struct told t[AGENT_HUB_CLIENTS_MAX];
	int pair[2];

	for (size_t i = 0; i < AGENT_HUB_CLIENTS_MAX; i++) {
		t[i] = told_new();
		attach(c, &one[i], &t[i], &with_input);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(agent_hub_add(c->hub, pair[1]), -EAGAIN);
	close(pair[0]);
	close(pair[1]);
	for (size_t i = 0; i < AGENT_HUB_CLIENTS_MAX; i++) {
		agent_free(one[i].agent);
		told_fini(&t[i]);
	}
	rig_until(c, agent_hub_clients(c->hub) == 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a06_two_at_one),	    TEST(input_waits),
		TEST(slow_one_is_dropped),  TEST(flood_is_bounded),
		TEST(end_comes_last),	    TEST(what_is_refused),
		TEST(broken_clients),	    TEST(as_many_as_there_are_places),
		TEST(end_waits_for_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
