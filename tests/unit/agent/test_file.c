/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the guest, metrics, the loopback's ports, time: the other requests. */
#include "tests/unit/agent/guest_rig.h"

#include <arpa/inet.h>

#define OUT(t) (buf_str(&(t)->out) ? buf_str(&(t)->out) : "")

static const char *in(const struct rig *r, const char *name)
{
	static char paths[4][200];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", r->dir, name);
	return path;
}

static int put(struct rig *r, struct told *t, const struct agent_file *f, const char *p, size_t n)
{
	*t = told_new();
	assert_int_equal(agent_file(r->agent, AGENT_PUT, f, 0, &told_events, t, &t->s), 0);
	while (n && !t->ended) {
		size_t room = MIN(agent_stream_room(t->s), n);

		assert_int_equal(agent_stream_write(t->s, p, room), 0);
		p += room;
		n -= room;
		rig_until(r, !n || t->ended || agent_stream_room(t->s));
	}
	if (!t->ended)
		assert_int_equal(agent_stream_eof(t->s), 0);
	rig_until(r, t->ended);
	return t->end.kind == AGENT_ENDED_DONE ? 0 : -(int)t->end.failed.err;
}

static void expect_text(const char *path, const char *text)
{
	struct buf b = BUF_INIT(1 << 20);

	assert_int_equal(file_read(path, 1 << 20, &b), 0);
	assert_string_equal(buf_str(&b) ? buf_str(&b) : "", text);
	buf_fini(&b);
}

/* F01, F02: both ways, more than the window, byte for byte; the mode and time as asked. */
static void f01_f02_put_and_get(void **state)
{
	struct rig *r = *state;
	struct agent_file f = { .path = in(r, "big"),
				.flags = AGENT_FILE_MODE | AGENT_FILE_TIME,
				.mode = 0640,
				.mtime_ns = 1234567890 * NS_PER_S };
	static char data[1500007];
	struct told t;
	struct stat st;

	random_bytes(data, sizeof(data));
	assert_int_equal(put(r, &t, &f, data, sizeof(data)), 0);
	told_fini(&t);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_mtime, 1234567890);
	assert_int_equal(rig_file(r, &t, AGENT_GET, &(struct agent_file){ .path = f.path }), 0);
	assert_int_equal(t.out.len, sizeof(data));
	assert_memory_equal(buf_at(&t.out), data, sizeof(data));
	assert_int_equal(t.entry.size, sizeof(data));
	assert_string_equal(t.names, " big");
	told_fini(&t);
	f = (struct agent_file){ .path = f.path, .offset = 1000, .length = 300 };
	assert_int_equal(rig_file(r, &t, AGENT_GET, &f), 0);
	assert_int_equal(t.out.len, 300);
	assert_memory_equal(buf_at(&t.out), data + 1000, 300);
	told_fini(&t);
}

/* A reader sees the old file or the new one; what is broken off leaves nothing. */
static void f02_put_is_whole(void **state)
{
	struct rig *r = *state;
	struct agent_file f = { .path = in(r, "whole") };
	struct told t = told_new(), t2;

	rig_write(f.path, "old");
	assert_int_equal(chmod(f.path, 0604), 0);
	assert_int_equal(agent_file(r->agent, AGENT_PUT, &f, 0, &told_events, &t, &t.s), 0);
	assert_int_equal(agent_stream_write(t.s, "new", 3), 0);
	assert_int_equal(rig_sh(r, &t2, "true"), 0);
	told_fini(&t2);
	expect_text(f.path, "old");
	agent_stream_close(t.s);
	assert_int_equal(rig_sh(r, &t2, "true"), 0);
	told_fini(&t2);
	expect_text(f.path, "old");
	assert_int_equal(rig_file(r, &t2, AGENT_LIST, &(struct agent_file){ .path = r->dir }), 0);
	assert_null(strstr(t2.names, ".weir"));
	told_fini(&t2);
	assert_int_equal(put(r, &t2, &f, "newer", 5), 0);
	expect_text(f.path, "newer");
	told_fini(&t2);
	assert_int_equal(rig_file(r, &t2, AGENT_STAT, &f), 0);
	assert_int_equal(t2.entry.mode & 07777, 0604);
	told_fini(&t2);
	told_fini(&t);
}

static void f01_put_variants(void **state)
{
	struct rig *r = *state;
	struct agent_file f = { .path = in(r, "log"), .flags = AGENT_FILE_APPEND };
	struct told t;

	assert_int_equal(put(r, &t, &f, "a", 1), 0);
	told_fini(&t);
	assert_int_equal(put(r, &t, &f, "b", 1), 0);
	told_fini(&t);
	expect_text(f.path, "ab");
	f.flags = AGENT_FILE_NEW;
	assert_int_equal(put(r, &t, &f, "c", 1), -EEXIST);
	assert_int_equal(t.end.failed.stage, AGENT_STAGE_OPEN);
	told_fini(&t);
	f = (struct agent_file){ .path = in(r, "a/b/c"), .flags = AGENT_FILE_PARENTS };
	assert_int_equal(put(r, &t, &f, "", 0), 0);
	told_fini(&t);
	expect_text(f.path, "");
	f = (struct agent_file){ .path = in(r, "a") };
	assert_int_equal(put(r, &t, &f, "x", 1), -EISDIR);
	told_fini(&t);
	f = (struct agent_file){ .path = in(r, "none/x") };
	assert_int_equal(put(r, &t, &f, "x", 1), -ENOENT);
	told_fini(&t);
	f = (struct agent_file){ .path = "relative" };
	assert_int_equal(put(r, &t, &f, "x", 1), -EINVAL);
	told_fini(&t);
}

/* F03: the operations on names. */
static void f03_operations(void **state)
{
	struct rig *r = *state;
	struct agent_file f = { .path = in(r, "d/e/f") };
	struct told t;
	struct stat st;

	assert_int_equal(rig_file(r, &t, AGENT_MKDIR, &f), -ENOENT);
	told_fini(&t);
	f.flags = AGENT_FILE_PARENTS | AGENT_FILE_MODE;
	f.mode = 0711;
	assert_int_equal(rig_file(r, &t, AGENT_MKDIR, &f), 0);
	told_fini(&t);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0711);
	assert_int_equal(rig_file(r, &t, AGENT_MKDIR, &f), 0);
	told_fini(&t);

	f = (struct agent_file){ .path = in(r, "d/link"), .to = "e/f" };
	assert_int_equal(rig_file(r, &t, AGENT_SYMLINK, &f), 0);
	told_fini(&t);
	assert_int_equal(rig_file(r, &t, AGENT_STAT, &f), 0);
	assert_string_equal(t.names, " link->e/f");
	assert_true(S_ISLNK(t.entry.mode));
	told_fini(&t);
	f.flags = AGENT_FILE_FOLLOW;
	assert_int_equal(rig_file(r, &t, AGENT_STAT, &f), 0);
	assert_true(S_ISDIR(t.entry.mode));
	told_fini(&t);

	rig_write(in(r, "d/x"), "content");
	f = (struct agent_file){ .path = in(r, "d/x"), .to = in(r, "d/y") };
	assert_int_equal(rig_file(r, &t, AGENT_COPY, &f), 0);
	told_fini(&t);
	expect_text(in(r, "d/y"), "content");
	f.flags = AGENT_FILE_NEW;
	assert_int_equal(rig_file(r, &t, AGENT_RENAME, &f), -EEXIST);
	told_fini(&t);
	f.flags = 0;
	assert_int_equal(rig_file(r, &t, AGENT_RENAME, &f), 0);
	told_fini(&t);
	assert_int_equal(rig_file(r, &t, AGENT_STAT, &f), -ENOENT);
	told_fini(&t);

	f = (struct agent_file){ .path = in(r, "d/y"), .flags = AGENT_FILE_MODE, .mode = 0400 };
	assert_int_equal(rig_file(r, &t, AGENT_CHANGE, &f), 0);
	told_fini(&t);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0400);

	f = (struct agent_file){ .path = in(r, "d") };
	assert_int_equal(rig_file(r, &t, AGENT_REMOVE, &f), -ENOTEMPTY);
	told_fini(&t);
	f.flags = AGENT_FILE_RECURSIVE;
	assert_int_equal(rig_file(r, &t, AGENT_REMOVE, &f), 0);
	told_fini(&t);
	assert_int_equal(stat(f.path, &st), -1);
	assert_int_equal(rig_file(r, &t, AGENT_REMOVE, &f), -ENOENT);
	told_fini(&t);
}

/* F03: a folder of many entries, under credit. */
static void f03_list(void **state)
{
	struct rig *r = *state;
	struct agent_file f = { .path = in(r, "many") };
	struct told t;
	char script[300];

	snprintf(script, sizeof(script),
		 "mkdir %s && cd %s && seq -f 'file-with-a-long-name-%%g' 5000 | xargs touch",
		 f.path, f.path);
	assert_int_equal(rig_sh(r, &t, script), 0);
	told_fini(&t);
	assert_int_equal(rig_file(r, &t, AGENT_LIST, &f), 0);
	assert_int_equal(t.entries, 5000);
	told_fini(&t);
	f.path = in(r, "none");
	assert_int_equal(rig_file(r, &t, AGENT_LIST, &f), -ENOENT);
	told_fini(&t);
	f.path = "/proc/self/status";
	assert_int_equal(rig_file(r, &t, AGENT_LIST, &f), -ENOTDIR);
	told_fini(&t);
	assert_int_equal(rig_file(r, &t, AGENT_GET, &f), 0);
	assert_non_null(strstr(OUT(&t), "weir-agent"));
	told_fini(&t);
	f.path = "/dev/zero";
	assert_int_equal(rig_file(r, &t, AGENT_GET, &f), -EINVAL);
	told_fini(&t);
	f.path = "/";
	assert_int_equal(rig_file(r, &t, AGENT_STAT, &f), 0);
	assert_string_equal(t.names, " root");
	told_fini(&t);
}

/* O01: one sample, and a stream of them until it is closed. */
static void o01_metrics(void **state)
{
	struct rig *r = *state;
	struct told t = told_new();

	assert_int_equal(agent_metrics(r->agent, 0, 0, &told_events, &t, &t.s), 0);
	rig_until(r, t.ended);
	assert_int_equal(t.samples, 1);
	assert_true(t.sample.uptime_ns > 0);
	assert_true(t.sample.cpus >= 1);
	assert_true(t.sample.cpu_busy_ns > 0);
	assert_true(t.sample.memory_total > t.sample.memory_available);
	assert_true(t.sample.memory_available > 1 << 20);
	assert_true(t.sample.root_total > t.sample.root_free);
	assert_int_equal(t.end.kind, AGENT_ENDED_DONE);
	told_fini(&t);
	t = told_new();
	assert_int_equal(agent_metrics(r->agent, 60, 0, &told_events, &t, &t.s), 0);
	rig_until(r, t.samples >= 3);
	agent_stream_close(t.s);
	told_fini(&t);
}

/* A10: a server of the guest's loopback, each direction with an end of its own. */
static void a10_connect(void **state)
{
	struct agent_exec server = {
		.argv = ARGV("python3", "-c",
			     "import socket\n"
			     "s = socket.create_server(('127.0.0.1', 4321))\n"
			     "print('up', flush=True)\n"
			     "c, _ = s.accept()\n"
			     "d = b''\n"
			     "while b := c.recv(65536): d += b\n"
			     "c.sendall(d[::-1] * 3)\n"),
	};
	struct told t = told_new(), served = told_new();
	struct rig *r = *state;
	static char data[200000];

	memset(data, 'x', sizeof(data));
	data[0] = 'a';
	assert_int_equal(agent_connect(r->agent, 4321, 0, &told_events, &t, &t.s), 0);
	rig_until(r, t.ended);
	assert_int_equal(t.end.failed.stage, AGENT_STAGE_CONNECT);
	assert_int_equal(t.end.failed.err, ECONNREFUSED);
	told_fini(&t);

	rig_exec(r, &server, &served);
	rig_until(r, served.out.len);
	t = told_new();
	assert_int_equal(agent_connect(r->agent, 4321, 0, &told_events, &t, &t.s), 0);
	assert_int_equal(agent_stream_write(t.s, data, sizeof(data)), 0);
	assert_int_equal(agent_stream_eof(t.s), 0);
	rig_until(r, t.ended);
	assert_int_equal(t.end.kind, AGENT_ENDED_DONE);
	assert_int_equal(t.out.len, 3 * sizeof(data));
	assert_int_equal(buf_at(&t.out)[sizeof(data) - 1], 'a');
	rig_until(r, served.ended);
	told_fini(&t);
	told_fini(&served);
}

static void ping_and_clock(void **state)
{
	struct rig *r = *state;
	struct told t = told_new();

	assert_int_equal(agent_ping(r->agent, loop_now_update(r->loop) + 5 * NS_PER_S, &told_events,
				    &t, &t.s),
			 0);
	rig_until(r, t.ended);
	assert_int_equal(t.end.kind, AGENT_ENDED_DONE);
	told_fini(&t);
	t = told_new();
	/* Right to a tenth of a second: nothing is set. */
	assert_int_equal(agent_clock(r->agent, time_real_ns(), 0, &told_events, &t, &t.s), 0);
	rig_until(r, t.ended);
	assert_int_equal(t.end.kind, AGENT_ENDED_DONE);
	told_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(f01_f02_put_and_get),
		cmocka_unit_test(f02_put_is_whole),
		cmocka_unit_test(f01_put_variants),
		cmocka_unit_test(f03_operations),
		cmocka_unit_test(f03_list),
		cmocka_unit_test(o01_metrics),
		cmocka_unit_test(a10_connect),
		cmocka_unit_test(ping_and_clock),
	};

	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
