/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where values come from, asked again while the sandbox runs.
 *
 *   file      followed by name (file_watch.h); opened here when it is another one,
 *             read by the tlsproxy alone
 *   command   run again every `refresh`: what it writes goes through a pipe whose
 *             reading end the tlsproxy has; here it is only waited for
 *
 * A command that writes tokens is run again before the one there is ends, which the
 * tlsproxy tells: the time, never the token.
 *
 * What fails leaves the old value, which is said and recorded; until `ttl`, if
 * there is one, has passed since the last one came: from then on there is none,
 * and what needs it is refused.
 *
 * A command is no child to wait for with patience: beyond COMMAND_NS its whole
 * process group is killed. It sees our environment, in which the sources of
 * environment secrets have been wiped.
 */
#include "weir/message.h"
#include "weir/run_secrets.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#define COMMAND_NS (30 * NS_PER_S)
/* After a failure, and no later than the next turn. */
#define RETRY_NS (10 * NS_PER_S)
/* A token is asked for a tenth of its life before it ends, but no earlier than this. */
#define LIFE_MARGIN_NS (60 * NS_PER_S)
/* Of one that says nothing of its life, where the configuration does not either. */
#define TOKEN_TURN_NS (300 * NS_PER_S)

struct secret_source_state {
	struct list in_run;
	struct run *run;
	char *env, *arg;
	enum secret_source kind;
	uint64_t refresh_ns, ttl_ns; /* 0: none */
	uint64_t life_ns;	     /* of the token that is there or comes; 0: not known */
	uint64_t came;		     /* when the value that counts did */
	int32_t number;		     /* of the question under way; 0: none */
	bool wanted;		     /* once more, when that is answered */
	bool expired;
	bool writes_token;
	pid_t pid; /* of the command; 0: none */
	struct file_watch file;
	struct loop_timer again, expires, late;
};

static struct secret_source_state *find(const struct run *r, const char *env)
{
	list_for_each (it, &r->secrets.sources) {
		struct secret_source_state *s = container_of(it, struct secret_source_state, in_run);

		if (str_eq(s->env, env))
			return s;
	}
	return NULL;
}

/* ---- times ------------------------------------------------------------------------ */

/* From one value to the question for the next; never, if only its file asks. */
static uint64_t next_turn(const struct secret_source_state *s)
{
	uint64_t ns = s->refresh_ns ? s->refresh_ns : UINT64_MAX;

	if (s->life_ns)
		ns = MIN(ns, s->life_ns - MIN(s->life_ns / 10, LIFE_MARGIN_NS));
	else if (s->writes_token)
		ns = MIN(ns, TOKEN_TURN_NS);
	return ns;
}

/* How long the value is good. */
static uint64_t good_for(const struct secret_source_state *s)
{
	uint64_t ns = s->ttl_ns ? s->ttl_ns : UINT64_MAX;

	return s->life_ns ? MIN(ns, s->life_ns) : ns;
}

/* ---- asking ----------------------------------------------------------------------- */

static void failed(struct secret_source_state *s, const char *why)
{
	struct run *r = s->run;

	log_warn("secret %s: %s; its value stays as it was", s->env, why);
	run_secret_record(r, s->env, "refresh_failed", NULL, why);
	if (s->refresh_ns || s->writes_token)
		loop_timer_set(r->loop, &s->again,
			       loop_now_update(r->loop) + MIN(RETRY_NS, next_turn(s)));
}

/* fd is not taken over. */
static void send_fd(struct secret_source_state *s, enum msg_type type, int fd)
{
	struct run *r = s->run;

	s->number = ++r->secrets.last_number;
	/* One that died is noticed as such, and its successor asked. */
	if (msg_send(r->proxy.sock, type, s->number, s->env, strlen(s->env), &fd, fd >= 0) < 0) {
		s->number = 0;
		s->wanted = true;
	}
}

static void ask_file(struct secret_source_state *s)
{
	cleanup_close int fd = open(s->arg, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		failed(s, errno == ENOENT ? "its file is gone" : strerror(errno));
	else
		send_fd(s, MSG_SECRET_VALUE, fd);
}

static _Noreturn void run_command(const char *command, int out, pid_t parent)
{
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char *)(uintptr_t)command, NULL };
	sigset_t none;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGTTOU, SIG_DFL);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(127);
	close_range(3, ~0U, 0);
	execv("/bin/sh", argv);
	_exit(127);
}

static void ask_command(struct secret_source_state *s)
{
	pid_t self = getpid();
	int p[2];

	/* The one before is on its way out; its end asks again. */
	if (s->pid) {
		s->wanted = true;
		return;
	}
	if (pipe2(p, O_CLOEXEC) < 0) {
		failed(s, strerror(errno));
		return;
	}
	/* Its reader has other things to do than to wait for it. */
	if (fd_set_nonblock(p[0], true) < 0)
		log_debug("a pipe that blocks");
	s->pid = fork();
	if (s->pid == 0)
		run_command(s->arg, p[1], self);
	fd_close(p[1]);
	if (s->pid < 0) {
		s->pid = 0;
		failed(s, strerror(errno));
	} else {
		send_fd(s, MSG_SECRET_COMMAND, p[0]);
		loop_timer_set(s->run->loop, &s->late, loop_now_update(s->run->loop) + COMMAND_NS);
	}
	fd_close(p[0]);
}

static void ask(struct secret_source_state *s)
{
	if (s->run->ending)
		return;
	if (s->number || !s->run->life.up) {
		s->wanted = true;
		return;
	}
	s->wanted = false;
	s->life_ns = 0;
	if (s->kind == SECRET_FROM_FILE)
		ask_file(s);
	else
		ask_command(s);
}

/* ---- time -------------------------------------------------------------------------- */

static void on_again(struct loop_timer *t)
{
	ask(container_of(t, struct secret_source_state, again));
}

static void on_late(struct loop_timer *t)
{
	struct secret_source_state *s = container_of(t, struct secret_source_state, late);

	if (s->pid)
		kill(-s->pid, SIGKILL);
}

static void on_expired(struct loop_timer *t)
{
	struct secret_source_state *s = container_of(t, struct secret_source_state, expires);
	struct run *r = s->run;

	if (!r->life.up || msg_send_text(r->proxy.sock, MSG_SECRET_EXPIRED, 0, s->env) < 0) {
		/* Its successor is told when it is there. */
		loop_timer_set(r->loop, t, loop_now_update(r->loop) + NS_PER_S / 10);
		return;
	}
	s->expired = true;
	log_warn("secret %s: its value has expired and no other came; what needs it is refused",
		 s->env);
	r->secrets.generation++;
	run_secret_record(r, s->env, "expired", NULL, NULL);
}

static void on_file(struct file_watch *w)
{
	ask(container_of(w, struct secret_source_state, file));
}

/* A value came: the next one's turn, and how long this one is good. */
static void came(struct secret_source_state *s)
{
	struct run *r = s->run;
	uint64_t now = loop_now_update(r->loop);

	s->came = now;
	s->expired = false;
	if (next_turn(s) != UINT64_MAX)
		loop_timer_set(r->loop, &s->again, now + next_turn(s));
	if (good_for(s) != UINT64_MAX)
		loop_timer_set(r->loop, &s->expires, now + good_for(s));
	else
		loop_timer_del(r->loop, &s->expires);
}

/* ---- answers ------------------------------------------------------------------------ */

/* In front of the answer that puts the token in force; or, of the first, alone. */
void run_source_life(struct run *r, const struct msg *m)
{
	struct secret_source_state *s = find(r, m->text);

	if (!s || !s->writes_token || m->head.value <= 0 || m->head.value > TLSPROXY_TOKEN_LIFE_MAX_S)
		return;
	s->life_ns = (uint64_t)m->head.value * NS_PER_S;
	if (!s->number)
		came(s);
}

void run_source_word(struct run *r, const struct msg *m)
{
	list_for_each (it, &r->secrets.sources) {
		struct secret_source_state *s = container_of(it, struct secret_source_state, in_run);

		if (!s->number || s->number != m->head.value)
			continue;
		s->number = 0;
		if (m->head.type == MSG_SECRET_REFUSED) {
			failed(s, m->text);
		} else {
			came(s);
			if (m->head.type == MSG_SECRET_DONE) {
				r->secrets.generation++;
				run_secret_record(r, s->env, "refreshed", NULL, NULL);
			}
		}
		if (s->wanted)
			ask(s);
		return;
	}
}

bool run_source_reaped(struct run *r, pid_t pid, int status)
{
	list_for_each (it, &r->secrets.sources) {
		struct secret_source_state *s = container_of(it, struct secret_source_state, in_run);

		if (s->pid != pid)
			continue;
		s->pid = 0;
		loop_timer_del(r->loop, &s->late);
		if (s->number && msg_send(r->proxy.sock, MSG_SECRET_EXIT, s->number, &status,
					  sizeof(status), NULL, 0) < 0)
			log_debug("the tlsproxy is gone");
		if (s->wanted)
			ask(s);
		return true;
	}
	return false;
}

void run_sources_proxy_died(struct run *r)
{
	list_for_each (it, &r->secrets.sources) {
		struct secret_source_state *s = container_of(it, struct secret_source_state, in_run);

		s->wanted = s->wanted || s->number;
		s->number = 0;
		/* What it writes has no reader. */
		if (s->pid)
			kill(-s->pid, SIGKILL);
	}
}

void run_sources_proxy_up(struct run *r)
{
	list_for_each (it, &r->secrets.sources) {
		struct secret_source_state *s = container_of(it, struct secret_source_state, in_run);

		if (s->wanted)
			ask(s);
	}
}

/* ---- life ------------------------------------------------------------------------------ */

static int add(struct run *r, const struct secret_config *c)
{
	struct secret_source_state *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	*s = (struct secret_source_state){
		.run = r,
		.env = strdup(c->env),
		.arg = strdup(c->arg),
		.kind = c->source,
		.refresh_ns = c->refresh_s * NS_PER_S,
		.ttl_ns = c->ttl_s * NS_PER_S,
		.writes_token = c->writes_token,
		.again.cb = on_again,
		.expires.cb = on_expired,
		.late.cb = on_late,
	};
	list_add_tail(&r->secrets.sources, &s->in_run);
	came(s);
	if (!s->env || !s->arg)
		return -ENOMEM;
	if (c->source != SECRET_FROM_FILE)
		return 0;
	/* Once more now: it may have changed since the tlsproxy read it. */
	loop_timer_set(r->loop, &s->again, loop_now(r->loop));
	return file_watch_add(&r->secrets.files, &s->file, s->arg, on_file);
}

static void forget(struct secret_source_state *s)
{
	struct loop *loop = s->run->loop;

	if (s->pid)
		kill(-s->pid, SIGKILL);
	loop_timer_del(loop, &s->again);
	loop_timer_del(loop, &s->expires);
	loop_timer_del(loop, &s->late);
	file_watch_del(&s->file);
	list_del(&s->in_run);
	free(s->env);
	free(s->arg);
	free(s);
}

int run_sources_start(struct run *r)
{
	int rc = 0;

	list_init(&r->secrets.sources);
	file_watcher_init(&r->secrets.files, r->loop);
	for (size_t i = 0; rc == 0 && i < r->cfg->n_secrets; i++) {
		const struct secret_config *c = &r->cfg->secrets[i];

		if (c->source == SECRET_FROM_FILE || (c->source == SECRET_FROM_COMMAND &&
						      (c->refresh_s || c->ttl_s || c->writes_token)))
			rc = add(r, c);
	}
	return rc;
}

void run_sources_end(struct run *r)
{
	if (!r->secrets.files.loop)
		return;
	list_for_each_safe (it, next, &r->secrets.sources)
		forget(container_of(it, struct secret_source_state, in_run));
	file_watcher_fini(&r->secrets.files);
}

void run_source_forget(struct run *r, const char *env)
{
	struct secret_source_state *s = find(r, env);

	if (s)
		forget(s);
}

void run_source_tell(const struct run *r, const char *env, json_t *o)
{
	const struct secret_source_state *s = find(r, env);

	if (!s || !o)
		return;
	json_object_set_new(o, "age_s",
			    json_integer((json_int_t)((loop_now(r->loop) - s->came) / NS_PER_S)));
	if (s->refresh_ns)
		json_object_set_new(o, "refresh_s",
				    json_integer((json_int_t)(s->refresh_ns / NS_PER_S)));
	if (s->ttl_ns)
		json_object_set_new(o, "ttl_s", json_integer((json_int_t)(s->ttl_ns / NS_PER_S)));
	if (s->life_ns)
		json_object_set_new(o, "life_s", json_integer((json_int_t)(s->life_ns / NS_PER_S)));
	json_object_set_new(o, "expired", json_boolean(s->expired));
}
