/* SPDX-License-Identifier: Apache-2.0 */
/* Commands in the guest: what they get, what comes back, and how each way of failing is told. */
#include "tests/unit/agent/guest_rig.h"

#define OUT(t) (buf_str(&(t)->out) ? buf_str(&(t)->out) : "")
#define ERR(t) (buf_str(&(t)->err) ? buf_str(&(t)->err) : "")

/* A01: output, errors and the code, apart. */
static void a01_collect(void **state)
{
	struct told t;

	assert_int_equal(rig_sh(*state, &t, "echo out; echo err >&2; exit 7"), 7);
	assert_string_equal(OUT(&t), "out\n");
	assert_string_equal(ERR(&t), "err\n");
	assert_true(t.started);
	assert_true(t.pid > 1);
	assert_int_equal(t.end.exited.signal, 0);
	told_fini(&t);
	assert_int_equal(rig_sh(*state, &t, "kill -9 $$"), 128 + 9);
	assert_int_equal(t.end.exited.signal, 9);
	told_fini(&t);
}

/* A02: far more than the window, all of it, in order. */
static void a02_much_output(void **state)
{
	struct told t;
	char *end;
	long n = 1;

	assert_int_equal(rig_sh(*state, &t, "seq 1 200000; seq 1 1000 >&2"), 0);
	for (const char *p = OUT(&t); *p; p = end + 1, n++)
		assert_int_equal(strtol(p, &end, 10), n);
	assert_int_equal(n, 200001);
	assert_int_equal(t.err.len, 3893);
	told_fini(&t);
}

/* A stream that nobody reads stands still at its window; others go on. */
static void a02_credit_holds_one_stream(void **state)
{
	struct agent_exec loud = { .argv = ARGV("/bin/sh", "-c", "head -c 3000000 /dev/zero") };
	struct told t = told_new(), other;
	struct rig *r = *state;

	t.keep_credit = true;
	rig_exec(r, &loud, &t);
	rig_until(r, t.out.len == AGENT_WINDOW);
	assert_int_equal(rig_sh(r, &other, "echo still here"), 0);
	assert_string_equal(OUT(&other), "still here\n");
	assert_int_equal(t.out.len, AGENT_WINDOW);
	assert_false(t.ended);
	t.keep_credit = false;
	agent_stream_taken(t.s, AGENT_WINDOW);
	rig_until(r, t.ended);
	assert_int_equal(t.out.len, 3000000);
	assert_int_equal(agent_end_status(&t.end), 0);
	told_fini(&t);
	told_fini(&other);
}

/* A03: arguments, folder, variables; what INIT gave stands behind them. */
static void a03_arguments_cwd_env(void **state)
{
	struct agent_exec x = {
		.argv = ARGV("sh", "-c",
			     "printf '%s|' \"$0\" \"$1\" \"$PWD\" \"$A\" \"$HOME\" \"$USER\"",
			     "with blank", "q'u\"o"),
		.env = ARGV("A=1", "A=2"),
		.cwd = "/usr",
	};
	struct told t = told_new();
	struct rig *r = *state;

	rig_exec(r, &x, &t);
	rig_until(r, t.ended);
	assert_int_equal(agent_end_status(&t.end), 0);
	assert_string_equal(OUT(&t), "with blank|q'u\"o|/usr|2|/root|root|");
	told_fini(&t);
}

/* A03: another user, with its groups; only where the test has more than one. */
static void a03_user(void **state)
{
	struct agent_exec x = { .argv = ARGV("sh", "-c", "id -u; id -g; echo $HOME"),
				.user = "daemon" };
	struct told t = told_new();
	struct rig *r = *state;

	if (geteuid() != 0)
		skip();
	rig_exec(r, &x, &t);
	rig_until(r, t.ended);
	assert_string_equal(OUT(&t), "1\n1\n/usr/sbin\n");
	told_fini(&t);
	x.user = "12345:54321";
	t = told_new();
	rig_exec(r, &x, &t);
	rig_until(r, t.ended);
	assert_string_equal(OUT(&t), "12345\n54321\n/\n");
	told_fini(&t);
}

/* A03: limits of the command alone. */
static void a03_rlimits(void **state)
{
	struct agent_exec x = { .argv = ARGV("sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c"),
				.rlimits = ARGV("nofile=64:128", "core=0") };
	struct told t = told_new();
	struct rig *r = *state;

	rig_exec(r, &x, &t);
	rig_until(r, t.ended);
	assert_string_equal(OUT(&t), "64\n128\n0\n");
	told_fini(&t);
}

/* A03: a command that takes too long is killed with all that it started. */
static void a03_timeout(void **state)
{
	struct agent_exec x = { .argv = ARGV("sh", "-c", "sleep 4567 & sleep 4567; echo no"),
				.timeout_ms = 100 };
	struct told t = told_new();
	struct rig *r = *state;

	rig_exec(r, &x, &t);
	rig_until(r, t.ended);
	assert_int_equal(agent_end_status(&t.end), 124);
	assert_int_equal(t.out.len, 0);
	told_fini(&t);
	assert_int_equal(rig_sh(r, &t, "pgrep -f '[s]leep 4567'"), 1);
	told_fini(&t);
}

static void write_all(struct rig *r, struct told *t, const char *p, size_t n)
{
	while (n) {
		size_t room = MIN(agent_stream_room(t->s), n);

		assert_int_equal(agent_stream_write(t->s, p, room), 0);
		p += room;
		n -= room;
		if (n)
			rig_until(r, agent_stream_room(t->s));
	}
}

/* A05: input of more than the window, and its end. */
static void a05_input(void **state)
{
	struct agent_exec x = { .argv = ARGV("sh", "-c", "sleep 0.1; md5sum; exec cat"),
				.flags = AGENT_EXEC_INPUT };
	static char data[1000003];
	struct told t = told_new();
	struct rig *r = *state;

	memset(data, 'x', sizeof(data));
	rig_exec(r, &x, &t);
	assert_int_equal(agent_stream_room(t.s), AGENT_WINDOW);
	write_all(r, &t, data, sizeof(data));
	assert_int_equal(agent_stream_eof(t.s), 0);
	assert_int_equal(agent_stream_eof(t.s), -EPIPE);
	assert_int_equal(agent_stream_write(t.s, "x", 1), -EPIPE);
	rig_until(r, t.ended);
	assert_string_equal(OUT(&t), "55a76be3046fa1e602ae663deccfcd78  -\n");
	told_fini(&t);
}

/* A05: a command that does not read its input takes it nevertheless, and ends. */
static void a05_input_unread(void **state)
{
	struct agent_exec x = { .argv = ARGV("sh", "-c", "exec <&-; sleep 0.2; echo end"),
				.flags = AGENT_EXEC_INPUT };
	static char data[1000003];
	struct told t = told_new();
	struct rig *r = *state;

	rig_exec(r, &x, &t);
	rig_until(r, t.started);
	write_all(r, &t, data, 600000);
	rig_until(r, t.ended);
	assert_string_equal(OUT(&t), "end\n");
	told_fini(&t);
}

/* Without INPUT a command finds its input empty. */
static void a03_no_input(void **state)
{
	struct told t;

	assert_int_equal(rig_sh(*state, &t, "cat; echo end"), 0);
	assert_string_equal(OUT(&t), "end\n");
	told_fini(&t);
}

/* A08: a signal reaches the whole group. */
static void a08_signal_group(void **state)
{
	struct agent_exec x = {
		.argv = ARGV("sh", "-c",
			     "trap 'wait; exit 3' TERM; "
			     "sh -c 'trap \"echo child\" TERM; echo up; sleep 5 & wait' & "
			     "wait; wait; exit 3"),
	};
	struct told t = told_new();
	struct rig *r = *state;

	rig_exec(r, &x, &t);
	rig_until(r, t.out.len >= 3);
	assert_int_equal(agent_stream_signal(t.s, 0), -EINVAL);
	assert_int_equal(agent_stream_signal(t.s, SIGTERM), 0);
	rig_until(r, t.ended);
	assert_string_equal(OUT(&t), "up\nchild\n");
	assert_int_equal(agent_end_status(&t.end), 3);
	told_fini(&t);
}

/* A08: closing the stream kills the group; the id comes free for others. */
static void a08_close_kills(void **state)
{
	struct agent_exec x = { .argv = ARGV("sh", "-c", "echo up; sleep 7654 & sleep 7654") };
	struct told t = told_new(), after;
	struct rig *r = *state;

	rig_exec(r, &x, &t);
	rig_until(r, t.out.len == 3);
	agent_stream_close(t.s);
	do
		assert_true(rig_sh(r, &after, "pgrep -f '[s]leep 7654'") <= 1);
	while (agent_end_status(&after.end) == 0 && (told_fini(&after), true));
	assert_false(t.ended);
	told_fini(&after);
	told_fini(&t);
}

/* What a command left running does not hold its end up. */
static void background_children(void **state)
{
	uint64_t began = time_mono_ns();
	struct told t;

	assert_int_equal(rig_sh(*state, &t, "sleep 30 & echo told"), 0);
	assert_string_equal(OUT(&t), "told\n");
	assert_true(time_mono_ns() - began < 20 * NS_PER_S);
	told_fini(&t);
}

static void expect_failure(struct rig *r, const struct agent_exec *x, uint32_t stage, int err,
			   int status)
{
	struct told t = told_new();

	rig_exec(r, x, &t);
	rig_until(r, t.ended);
	assert_false(t.started);
	assert_int_equal(t.end.kind, AGENT_ENDED_FAILED);
	assert_int_equal(t.end.failed.stage, stage);
	assert_int_equal(t.end.failed.err, err);
	assert_int_equal(agent_end_status(&t.end), status);
	assert_true(strlen(t.end_text) > 0);
	told_fini(&t);
}

/* A07: each way of not starting, by its stage and errno. */
static void a07_failures(void **state)
{
	struct rig *r = *state;
	char script[128], interpreter[128], folder[80];

	snprintf(script, sizeof(script), "%s/script", r->dir);
	snprintf(interpreter, sizeof(interpreter), "%s/bad", r->dir);
	snprintf(folder, sizeof(folder), "%s", r->dir);
	rig_write(script, "echo hi\n");
	rig_write(interpreter, "#!/no/such/interpreter\n");
	assert_int_equal(chmod(interpreter, 0755), 0);
	expect_failure(r, &(struct agent_exec){ .argv = ARGV("/no/such/program") },
		       AGENT_STAGE_LOOKUP, ENOENT, 127);
	expect_failure(r, &(struct agent_exec){ .argv = ARGV("no-such-program") },
		       AGENT_STAGE_LOOKUP, ENOENT, 127);
	expect_failure(r, &(struct agent_exec){ .argv = ARGV("") }, AGENT_STAGE_LOOKUP, ENOENT, 127);
	expect_failure(r, &(struct agent_exec){ .argv = { (const char *const[]){ script }, 1 } },
		       AGENT_STAGE_EXEC, EACCES, 126);
	expect_failure(r, &(struct agent_exec){ .argv = { (const char *const[]){ folder }, 1 } },
		       AGENT_STAGE_EXEC, EACCES, 126);
	expect_failure(r, &(struct agent_exec){ .argv = { (const char *const[]){ interpreter }, 1 } },
		       AGENT_STAGE_EXEC, ENOENT, 126);
	expect_failure(r, &(struct agent_exec){ .argv = ARGV("true"), .cwd = "/no/such/folder" },
		       AGENT_STAGE_CWD, ENOENT, 125);
	expect_failure(r, &(struct agent_exec){ .argv = ARGV("true"), .user = "nobody-at-all" },
		       AGENT_STAGE_USER, ENOENT, 125);
	expect_failure(r, &(struct agent_exec){ .argv = ARGV("true"), .user = "root:no-group" },
		       AGENT_STAGE_USER, ENOENT, 125);
	expect_failure(r, &(struct agent_exec){ .argv = ARGV("true"), .rlimits = ARGV("files=3") },
		       AGENT_STAGE_RLIMIT, EINVAL, 125);
	expect_failure(r, &(struct agent_exec){ .argv = ARGV("true"), .rlimits = ARGV("nofile=9:3") },
		       AGENT_STAGE_RLIMIT, EINVAL, 125);
}

/* As shells do: a script without "#!" that may be run. */
static void script_without_interpreter(void **state)
{
	struct rig *r = *state;
	struct told t = told_new();
	char script[128];
	struct agent_exec x = { .argv = { (const char *const[]){ script, "word" }, 2 } };

	snprintf(script, sizeof(script), "%s/plain", r->dir);
	rig_write(script, "echo plain $1\n");
	assert_int_equal(chmod(script, 0755), 0);
	x.argv.v = (const char *const[]){ script, "word" };
	rig_exec(r, &x, &t);
	rig_until(r, t.ended);
	assert_string_equal(OUT(&t), "plain word\n");
	told_fini(&t);
}

/* A04: the user's shell, its arguments ours. */
static void a04_shell(void **state)
{
	struct agent_exec x = { .argv = ARGV("-c", "echo from $SHELL"), .flags = AGENT_EXEC_SHELL };
	struct told t = told_new();
	struct rig *r = *state;

	rig_exec(r, &x, &t);
	rig_until(r, t.ended);
	assert_memory_equal(OUT(&t), "from /bin/", 10);
	told_fini(&t);
}

/* A05, A06: a terminal of the size that was said, resized, interrupted by its key. */
static void a06_terminal(void **state)
{
	struct agent_exec x = {
		.argv = ARGV("sh", "-c",
			     "stty size; tty >/dev/null && echo is tty; read a; echo got $a; "
			     "stty size; trap 'echo int; exit 5' INT; echo wait; "
			     "while :; do sleep 0.05; done"),
		.flags = AGENT_EXEC_TTY | AGENT_EXEC_INPUT,
		.rows = 33,
		.cols = 101,
	};
	struct told t = told_new();
	struct rig *r = *state;

	rig_exec(r, &x, &t);
	rig_until(r, strstr(OUT(&t), "is tty"));
	assert_non_null(strstr(OUT(&t), "33 101"));
	assert_int_equal(agent_stream_resize(t.s, 44, 99), 0);
	assert_int_equal(agent_stream_write(t.s, "word\n", 5), 0);
	rig_until(r, strstr(OUT(&t), "wait\r\n"));
	assert_non_null(strstr(OUT(&t), "got word\r\n"));
	assert_non_null(strstr(OUT(&t), "44 99\r\n"));
	assert_int_equal(agent_stream_write(t.s, "\003", 1), 0);
	rig_until(r, t.ended);
	assert_int_equal(agent_end_status(&t.end), 5);
	assert_non_null(strstr(OUT(&t), "int\r\n"));
	assert_int_equal(t.err.len, 0);
	told_fini(&t);
}

/* A06: all that was written to a terminal comes, however fast its command ends. */
static void a06_terminal_drained(void **state)
{
	struct agent_exec x = { .argv = ARGV("sh", "-c", "seq 1 20000"), .flags = AGENT_EXEC_TTY };
	struct told t = told_new();
	struct rig *r = *state;

	rig_exec(r, &x, &t);
	rig_until(r, t.ended);
	assert_int_equal(t.out.len, 108894 + 20000);
	told_fini(&t);
}

/* Many at a time, each with its own; the limit is an error and not a hang. */
static void many_at_once(void **state)
{
	static struct told all[AGENT_STREAMS_MAX + 1];
	struct agent_exec x = { .argv = ARGV("sh", "-c", "read a; echo $a"),
				.flags = AGENT_EXEC_INPUT };
	struct rig *r = *state;
	char text[16];

	for (int i = 0; i < AGENT_STREAMS_MAX; i++) {
		all[i] = told_new();
		rig_exec(r, &x, &all[i]);
	}
	assert_int_equal(agent_exec(r->agent, &x, 0, &told_events, NULL, &all[AGENT_STREAMS_MAX].s),
			 -EAGAIN);
	for (int i = AGENT_STREAMS_MAX - 1; i >= 0; i--) {
		snprintf(text, sizeof(text), "n%d\n", i);
		assert_int_equal(agent_stream_write(all[i].s, text, strlen(text)), 0);
	}
	for (int i = 0; i < AGENT_STREAMS_MAX; i++) {
		rig_until(r, all[i].ended);
		snprintf(text, sizeof(text), "n%d\n", i);
		assert_string_equal(OUT(&all[i]), text);
		told_fini(&all[i]);
	}
}

/* A guest's command inherits nothing of the agent's. */
static void no_descriptors_inherited(void **state)
{
	struct told t;

	assert_int_equal(rig_sh(*state, &t, "exec ls /proc/self/fd"), 0);
	/* The fourth is the folder that ls reads. */
	assert_string_equal(OUT(&t), "0\n1\n2\n3\n");
	told_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a01_collect),
		cmocka_unit_test(a02_much_output),
		cmocka_unit_test(a02_credit_holds_one_stream),
		cmocka_unit_test(a03_arguments_cwd_env),
		cmocka_unit_test(a03_user),
		cmocka_unit_test(a03_rlimits),
		cmocka_unit_test(a03_timeout),
		cmocka_unit_test(a03_no_input),
		cmocka_unit_test(a04_shell),
		cmocka_unit_test(a05_input),
		cmocka_unit_test(a05_input_unread),
		cmocka_unit_test(a06_terminal),
		cmocka_unit_test(a06_terminal_drained),
		cmocka_unit_test(a07_failures),
		cmocka_unit_test(a08_signal_group),
		cmocka_unit_test(a08_close_kills),
		cmocka_unit_test(background_children),
		cmocka_unit_test(script_without_interpreter),
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(no_descriptors_inherited),
	};

	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
