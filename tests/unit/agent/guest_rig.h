/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real weir-agent as pid 1 of namespaces of its own, and a host's connection to it: all but
 * the virtual machine. Waiting is bounded; a test that waits in vain fails.
 */
#ifndef WEIR_TESTS_AGENT_GUEST_RIG_H
#define WEIR_TESTS_AGENT_GUEST_RIG_H

#include "agent/agent.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define RIG_PATIENCE (60 * NS_PER_S)

struct rig {
	struct loop *loop;
	struct agent *agent;
	pid_t pid;
	char dir[64]; /* on the host and in the guest alike: a folder of its own */
	bool hello, ready, init_failed;
	int lost;
	struct agent_failed failed;
	char failed_text[400], log[2000];
};

/* What a stream told. */
struct told {
	struct agent_stream *s;
	bool started, ended;
	uint32_t pid;
	struct buf out, err;
	struct agent_end end;
	char end_text[400];
	unsigned entries, samples;
	char names[4096]; /* of entries, each behind a blank */
	struct agent_entry entry;
	struct agent_sample sample;
	bool keep_credit;
};

static inline void rig_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

static inline void rig_hello(struct agent *a, const struct agent_hello *h, void *arg)
{
	struct rig *r = arg;

	assert_int_equal(h->protocol, AGENT_PROTOCOL);
	assert_ptr_equal(agent_hello(a), h);
	r->hello = true;
}

static inline void rig_ready(struct agent *a, void *arg)
{
	(void)a;
	((struct rig *)arg)->ready = true;
}

static inline void rig_init_failed(struct agent *a, const struct agent_failed *f, void *arg)
{
	struct rig *r = arg;

	(void)a;
	r->init_failed = true;
	r->failed = *f;
	snprintf(r->failed_text, sizeof(r->failed_text), "%s", f->text);
}

static inline void rig_log(struct agent *a, const struct agent_log *l, void *arg)
{
	struct rig *r = arg;
	size_t n = strlen(r->log);

	(void)a;
	snprintf(r->log + n, sizeof(r->log) - n, "%s\n", l->text);
}

static inline void rig_lost(struct agent *a, int err, const char *why, void *arg)
{
	(void)a;
	(void)why;
	((struct rig *)arg)->lost = err;
}

static const struct agent_events rig_events = {
	.hello = rig_hello,
	.ready = rig_ready,
	.init_failed = rig_init_failed,
	.log = rig_log,
	.lost = rig_lost,
};

/* Steps until the condition holds; the line that waited in vain is told. */
#define rig_until(r, condition)                                                                    \
	do {                                                                                       \
		uint64_t end_ = time_mono_ns() + RIG_PATIENCE;                                     \
		while (!(condition)) {                                                             \
			if (time_mono_ns() > end_)                                                 \
				fail_msg("waited in vain for %s", #condition);                     \
			assert_true(loop_step((r)->loop, 20) >= 0);                                \
		}                                                                                  \
	} while (0)

/* In the child: namespaces as the machine has them, a root when one is wanted, and the program. */
static inline void rig_child(int port, const char *dir, void (*root)(const char *dir),
			     const char *program)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char text[32];
	pid_t pid;
	int status;

	if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC |
		    (uid ? CLONE_NEWUSER : 0)) < 0)
		_exit(77);
	if (uid) {
		rig_write("/proc/self/setgroups", "deny");
		snprintf(text, sizeof(text), "0 %u 1", uid);
		rig_write("/proc/self/uid_map", text);
		snprintf(text, sizeof(text), "0 %u 1", gid);
		rig_write("/proc/self/gid_map", text);
	}
	/* A first process has three descriptors, and this one has its port. */
	if (dup2(port, 3) < 0 || close_range(4, ~0U, 0) < 0)
		_exit(96);
	pid = fork();
	if (pid) {
		close(3);
		waitpid(pid, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0 ||
	    mount("proc", "/proc", "proc", 0, NULL) < 0)
		_exit(98);
	if (root)
		root(dir);
	execl(program, program, "--port-fd", "3", (char *)NULL);
	_exit(97);
}

static inline void rig_make(struct rig *r)
{
	*r = (struct rig){ 0 };
	snprintf(r->dir, sizeof(r->dir), "/tmp/weir-agent-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
}

/* A connection and its program; INIT is the test's. */
static inline void rig_boot(struct rig *r, void (*root)(const char *dir), const char *program)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0) {
		close(pair[0]);
		rig_child(pair[1], r->dir, root, program);
	}
	close(pair[1]);
	assert_int_equal(loop_new(&r->loop), 0);
	assert_int_equal(agent_new(r->loop, pair[0], &rig_events, r, &r->agent), 0);
	rig_until(r, r->hello || r->lost);
	assert_int_equal(r->lost, 0);
}

static inline void rig_start(struct rig *r)
{
	rig_make(r);
	rig_boot(r, NULL, WEIR_AGENT);
}

static inline void rig_init(struct rig *r, const struct agent_init *init)
{
	assert_int_equal(agent_send_init(r->agent, init), 0);
	assert_int_equal(agent_send_init(r->agent, init), -EALREADY);
	rig_until(r, r->ready || r->init_failed || r->lost);
}

static inline int rig_setup(void **state)
{
	struct rig *r = malloc(sizeof(*r));

	rig_start(r);
	rig_init(r, &(struct agent_init){ .hostname = "box" });
	if (!r->ready)
		fail_msg("INIT failed: %s", r->failed_text);
	*state = r;
	return 0;
}

static inline int rig_end(struct rig *r)
{
	char command[128];
	int status;

	agent_free(r->agent);
	waitpid(r->pid, &status, 0);
	loop_free(r->loop);
	snprintf(command, sizeof(command), "%s", r->dir);
	if (fork() == 0) {
		execlp("rm", "rm", "-rf", command, (char *)NULL);
		_exit(1);
	}
	wait(NULL);
	/* When the port ends, so does the agent, by itself and well. */
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	return 0;
}

static inline int rig_teardown(void **state)
{
	rig_end(*state);
	free(*state);
	return 0;
}

/* ---- streams ---------------------------------------------------------------------- */

static inline void told_started(struct agent_stream *s, uint32_t pid, void *arg)
{
	struct told *t = arg;

	(void)s;
	t->started = true;
	t->pid = pid;
}

static inline void told_data(struct agent_stream *s, enum agent_type type, const uint8_t *p,
			     size_t n, void *arg)
{
	struct told *t = arg;

	assert_int_equal(buf_append(type == AGENT_OUTPUT ? &t->out : &t->err, p, n), 0);
	if (!t->keep_credit)
		agent_stream_taken(s, n);
}

static inline void told_entry(struct agent_stream *s, const struct agent_entry *e, void *arg)
{
	struct told *t = arg;
	size_t n = strlen(t->names);

	(void)s;
	t->entries++;
	t->entry = *e;
	t->entry.name = t->entry.target = NULL;
	snprintf(t->names + n, sizeof(t->names) - n, " %s%s%s", e->name, e->target ? "->" : "",
		 e->target ? e->target : "");
}

static inline void told_sample(struct agent_stream *s, const struct agent_sample *m, void *arg)
{
	struct told *t = arg;

	(void)s;
	t->samples++;
	t->sample = *m;
}

static inline void told_ended(struct agent_stream *s, const struct agent_end *e, void *arg)
{
	struct told *t = arg;

	(void)s;
	assert_false(t->ended);
	t->ended = true;
	t->end = *e;
	t->s = NULL;
	if (e->kind == AGENT_ENDED_FAILED)
		snprintf(t->end_text, sizeof(t->end_text), "%s", e->failed.text);
}

static const struct agent_stream_events told_events = {
	.started = told_started,
	.data = told_data,
	.entry = told_entry,
	.sample = told_sample,
	.ended = told_ended,
};

static inline struct told told_new(void)
{
	return (struct told){ .out = BUF_INIT(64 << 20), .err = BUF_INIT(64 << 20) };
}

static inline void told_fini(struct told *t)
{
	buf_fini(&t->out);
	buf_fini(&t->err);
}

#define ARGV(...)                                                                                  \
	{                                                                                          \
		(const char *const[]){ __VA_ARGS__ },                                              \
			sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *)              \
	}

static inline void rig_exec(struct rig *r, const struct agent_exec *x, struct told *t)
{
	assert_int_equal(agent_exec(r->agent, x, 0, &told_events, t, &t->s), 0);
}

/* Runs a script to its end; its status. */
static inline int rig_sh(struct rig *r, struct told *t, const char *script)
{
	struct agent_exec x = { .argv = ARGV("/bin/sh", "-c", script) };

	*t = told_new();
	rig_exec(r, &x, t);
	rig_until(r, t->ended);
	return agent_end_status(&t->end);
}

/* A request on files, to its end. */
static inline int rig_file(struct rig *r, struct told *t, enum agent_type type,
			   const struct agent_file *f)
{
	*t = told_new();
	assert_int_equal(agent_file(r->agent, type, f, 0, &told_events, t, &t->s), 0);
	rig_until(r, t->ended);
	return t->end.kind == AGENT_ENDED_DONE ? 0 : -(int)t->end.failed.err;
}

#endif
