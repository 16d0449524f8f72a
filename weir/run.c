/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor of one sandbox.
 *
 *   tlsproxy forked ─► its placeholders and CA arrive ─► our copy of the
 *   secrets is wiped ─► sandbox made, its tap arrives ─► gateway forked ─►
 *   command started ─► ... ─► command ends ─► gateway and tlsproxy say their
 *   last words ─► record closed ─► exit with the command's status
 *
 * It owns the record: the other processes send events, it alone numbers and
 * writes them. It never waits for a child with a blocking call while another
 * could be blocked on it. Whatever dies out of turn ends the run: fail closed.
 */
#include "weir/run.h"

#include "weir/message.h"
#include "weir/run_internal.h"
#include "weir/run_setup.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_WEIR_FAILED 125
/* How long the helpers may take to say their last words. */
#define LAST_WORDS (5 * NS_PER_S)

/* ---- ending -------------------------------------------------------------------- */

static void kill_child(struct child *c)
{
	if (c->pid > 0)
		kill(c->pid, SIGKILL);
}

/* The command is over, one way or another: let the helpers finish. */
static void begin_end(struct run *r)
{
	struct child *helpers[] = { &r->gateway, &r->proxy };

	if (r->command_ended)
		return;
	r->command_ended = true;
	kill_child(&r->sandbox);
	for (size_t i = 0; i < 2; i++)
		if (helpers[i]->pid)
			shutdown(helpers[i]->sock, SHUT_WR);
	loop_timer_set(r->loop, &r->deadline, loop_now(r->loop) + LAST_WORDS);
}

void run_fail(struct run *r, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (r->failed || r->command_ended)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_error("%s", text);
	r->failed = true;
	r->status = EXIT_WEIR_FAILED;
	if (r->log)
		run_record_event(r, "failed", text);
	begin_end(r);
}

static void on_deadline(struct loop_timer *t)
{
	struct run *r = container_of(t, struct run, deadline);

	kill_child(&r->gateway);
	kill_child(&r->proxy);
}

static bool all_gone(const struct run *r)
{
	return !r->gateway.io.loop && !r->proxy.io.loop && !r->gateway.pid && !r->proxy.pid &&
	       !r->sandbox.pid;
}

static void check_end(struct run *r)
{
	if (r->command_ended && all_gone(r))
		loop_stop(r->loop, 0);
}

/* ---- messages -------------------------------------------------------------------- */

static void channel_closed(struct child *c)
{
	loop_io_del(&c->io);
	if (!c->run->command_ended)
		run_fail(c->run, "the %s ended unexpectedly; the sandbox was stopped", c->name);
	check_end(c->run);
}

/* Whether each is an event is checked where it is taken up. */
static void record_lines(struct child *c, const char *text, size_t len)
{
	for (const char *end; len; text = end + 1) {
		end = memchr(text, '\n', len);
		if (!end)
			end = text + len;
		run_record_append(c->run, c->name, text, (size_t)(end - text));
		if (end == text + len)
			return;
		len -= (size_t)(end - text) + 1;
	}
}

static void on_helper(struct loop_io *io, uint32_t revents)
{
	struct child *c = container_of(io, struct child, io);
	struct msg m;
	ssize_t n = msg_recv(io->fd, &m, NULL, 0, NULL);

	(void)revents;
	if (n == -EAGAIN)
		return;
	if (n < 0) {
		channel_closed(c);
		return;
	}
	if (m.head.type == MSG_EVENT)
		record_lines(c, m.text, (size_t)n);
	else if (m.head.type == MSG_TERMINATE)
		run_fail(c->run, "secret %.100s was about to leave for the wrong place; the sandbox was stopped",
			 m.text);
	else if (m.head.type == MSG_FAILED)
		run_fail(c->run, "%s", m.text);
	else if (m.head.type == MSG_POLICY_READY || m.head.type == MSG_POLICY_REFUSED ||
		 m.head.type == MSG_POLICY_DONE)
		run_policy_word(c, &m, (size_t)n);
	else if (m.head.type == MSG_STATS && c == &c->run->gateway)
		run_stats_word(c->run, &m, (size_t)n);
	else if (c == &c->run->gateway)
		run_ports_word(c->run, &m, (size_t)n);
}

/* ---- job control ---------------------------------------------------------------- */

static bool in_foreground(const struct run *r)
{
	return r->tty >= 0 && tcgetpgrp(r->tty) == getpgrp();
}

static void resume(struct run *r, bool give)
{
	r->given = r->given || give;
	if (msg_send(r->sandbox.sock, MSG_RESUME, r->given, NULL, 0, NULL, 0) < 0)
		begin_end(r);
}

/*
 * The command stopped. What asks for the terminal gets it if it is ours to
 * give. Otherwise our whole job stops, as the shell expects of ^Z; going on
 * arrives as SIGCONT. In a group that no shell watches SIGTSTP has no effect:
 * the command then goes on at once, or, where it wants a terminal it can never
 * have, is hung up as the kernel does with orphans.
 */
static void on_stopped(struct run *r, int sig)
{
	bool wants_terminal = sig == SIGTTIN || sig == SIGTTOU;
	sigset_t pending;

	if (r->tty < 0)
		return;
	if (wants_terminal && in_foreground(r)) {
		resume(r, true);
		return;
	}
	if (r->given)
		tcsetpgrp(r->tty, getpgrp());
	kill(0, SIGTSTP);
	sigpending(&pending);
	if (sigismember(&pending, SIGCONT)) {
		r->given = false;
		return;
	}
	if (wants_terminal && msg_send(r->sandbox.sock, MSG_SIGNAL, SIGHUP, NULL, 0, NULL, 0) < 0)
		begin_end(r);
	else
		resume(r, false);
}

/* A terminal whose foreground has gone is taken back; one that somebody else has by now is not. */
static void take_terminal(struct run *r)
{
	pid_t group = r->given ? tcgetpgrp(r->tty) : -1;

	if (group > 0 && kill(-group, 0) < 0 && errno == ESRCH)
		tcsetpgrp(r->tty, getpgrp());
}

static void on_sandbox(struct loop_io *io, uint32_t revents)
{
	struct child *c = container_of(io, struct child, io);
	struct run *r = c->run;
	struct msg m;
	ssize_t n = msg_recv(io->fd, &m, NULL, 0, NULL);

	(void)revents;
	if (n < 0) {
		loop_io_del(io);
		if (!r->command_ended)
			run_fail(r, "the sandbox was killed");
		check_end(r);
	} else if (m.head.type == MSG_STOPPED) {
		on_stopped(r, m.head.value);
	} else if (m.head.type == MSG_FAILED) {
		run_fail(r, "%s", m.text);
	} else if (m.head.type == MSG_EXIT) {
		if (n > 0)
			log_error("%s", m.text);
		r->status = WIFEXITED(m.head.value) ? WEXITSTATUS(m.head.value)
						    : 128 + WTERMSIG(m.head.value);
		begin_end(r);
	}
}

/* ---- signals --------------------------------------------------------------------- */

static void reap(struct run *r)
{
	struct child *all[] = { &r->gateway, &r->proxy, &r->sandbox };
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < 3; i++)
			if (all[i]->pid == pid) {
				all[i]->pid = 0;
				all[i]->status = status;
			}
	check_end(r);
}

static void on_signal(struct loop_io *io, uint32_t revents)
{
	struct run *r = container_of(io, struct run, signals);
	struct signalfd_siginfo si;

	(void)revents;
	if (read(io->fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGCHLD)
		reap(r);
	else if (si.ssi_signo == SIGCONT && !r->command_ended)
		resume(r, in_foreground(r) && isatty(STDOUT_FILENO));
	else if (!r->command_ended &&
		 msg_send(r->sandbox.sock, MSG_SIGNAL, (int32_t)si.ssi_signo, NULL, 0, NULL, 0) < 0)
		begin_end(r);
}

static int start_signals(struct run *r)
{
	static const int passed[] = { SIGINT,  SIGTERM, SIGHUP,	 SIGQUIT,
				      SIGUSR1, SIGUSR2, SIGCONT, SIGCHLD };
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(passed); i++)
		sigaddset(&set, passed[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : loop_io_add(r->loop, &r->signals, fd, EPOLLIN, on_signal);
}

static int listen_to(struct run *r, struct child *c, void (*cb)(struct loop_io *io, uint32_t revents))
{
	return c->pid ? loop_io_add(r->loop, &c->io, c->sock, EPOLLIN, cb) : 0;
}

/* From here on the loop hears everybody. */
static int listen_to_all(struct run *r, struct conf_error *err)
{
	int rc = start_signals(r);

	if (rc == 0)
		rc = listen_to(r, &r->gateway, on_helper);
	if (rc == 0)
		rc = listen_to(r, &r->proxy, on_helper);
	if (rc == 0)
		rc = listen_to(r, &r->sandbox, on_sandbox);
	if (rc < 0)
		conf_error_set(err, "%s", strerror(-rc));
	return rc;
}

/* "k3v9qd2m": unguessable enough to tell runs apart, short enough to type. */
static void make_id(struct run *r)
{
	static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
	uint8_t b[RUN_ID_LEN];

	random_bytes(b, sizeof(b));
	for (size_t i = 0; i < RUN_ID_LEN; i++)
		r->id[i] = alphabet[b[i] % 32];
	/* An id never reads as a number. */
	r->id[0] = alphabet[10 + b[0] % 22];
}

static int check_backend(const struct weir_config *cfg, struct conf_error *err)
{
	if (cfg->backend == BACKEND_NETNS)
		return 0;
	conf_error_set(err,
		       cfg->backend == BACKEND_AUTO
			       ? "auto takes only a microVM, which this version does not have; "
				 "to isolate with namespaces, say so: --backend netns"
			       : "the microVM backends kvm and qemu are not in this version; use "
				 "--backend netns");
	return -ENOTSUP;
}

static void finish(struct run *r)
{
	struct child *all[] = { &r->sandbox, &r->gateway, &r->proxy };

	for (size_t i = 0; i < 3; i++) {
		kill_child(all[i]);
		if (all[i]->pid > 0)
			waitpid(all[i]->pid, NULL, 0);
		fd_close(all[i]->sock);
	}
	take_terminal(r);
	run_ctl_end(r);
	run_policy_end(r);
	run_resolvers_end(r);
	run_strv_free(r->envp);
	run_strv_free(r->hidden);
	for (size_t i = 0; r->placeholders && i < r->cfg->n_secrets; i++)
		free(r->placeholders[i]);
	free(r->placeholders);
	run_ports_end(r);
	free(r->ca_pem);
	audit_log_close(r->log);
	free(r->audit_path);
	fd_close(r->tty);
	loop_free(r->loop);
	weir_config_free(r->cfg);
}

/* The error itself is told by the caller; that it cannot be recorded as well is no news. */
static void record_start_failure(struct run *r, const char *text)
{
	if (!r->log)
		return;
	r->failed = true;
	r->status = EXIT_WEIR_FAILED;
	run_record_event(r, "failed", text);
	if (audit_log_flush(r->log) < 0)
		log_debug("the record %s has no word of it", r->audit_path);
}

/*
 * An open directory is a way around every cover: its parents can be walked in
 * the host's mounts.
 */
static int check_descriptors(struct conf_error *err)
{
	struct stat st;

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
			conf_error_set(
				err,
				"standard %s is a directory, which would lead out of the sandbox",
				fd == 0	  ? "input"
				: fd == 1 ? "output"
					  : "error");
			return -EINVAL;
		}
	return 0;
}

static int supervise(struct run *r, struct conf_error *err)
{
	int rc = loop_new(&r->loop);

	if (rc < 0) {
		conf_error_set(err, "%s", strerror(-rc));
		return rc;
	}
	rc = run_record_open(r, err);
	if (rc == 0)
		rc = run_start(r, err);
	if (rc == 0)
		rc = listen_to_all(r, err);
	if (rc == 0)
		rc = worker_start(&r->worker, r->loop);
	if (rc == 0)
		rc = run_ctl_start(r);
	if (rc == 0)
		rc = run_resolvers_follow(r);
	if (rc < 0) {
		record_start_failure(r, err->text[0] ? err->text : strerror(-rc));
		return rc;
	}
	run_record_event(r, "begin", NULL);
	if (!r->command_ended && msg_send(r->sandbox.sock, MSG_GO, 0, NULL, 0, NULL, 0) < 0)
		run_fail(r, "the sandbox ended before it began");
	rc = loop_run(r->loop);
	if (rc < 0)
		return rc;
	if (!r->failed)
		run_record_event(r, "end", NULL);
	rc = audit_log_flush(r->log);
	if (rc < 0) {
		conf_error_set(err, "cannot write the record %s: %s", r->audit_path, strerror(-rc));
		return rc;
	}
	run_report(r);
	return 0;
}

int cmd_run(int argc, char **argv)
{
	struct run r = {
		.capture = -1,
		.tty = -1,
		.policy_fd = -1,
		.generation = 1,
		.last_generation = 1,
		.ctl = { .fd = -1, .dir = -1 },
	};
	struct conf_error err = { { 0 } };
	int rc = weir_config_load(argc - 1, argv + 1, &r.cfg, &err);

	if (rc == -ECANCELED) {
		fputs(weir_run_help, stdout);
		return 0;
	}
	if (rc == 0) {
		log_setup("", r.cfg->log_level);
		rc = check_backend(r.cfg, &err);
	}
	if (rc == 0)
		rc = check_descriptors(&err);
	if (rc < 0) {
		log_error("%s", err.text);
		weir_config_free(r.cfg);
		return EXIT_WEIR_FAILED;
	}
	run_warn_useless_secrets(r.cfg);
	for (size_t i = 0; i < CTL_CLIENTS; i++)
		r.clients[i].fd = -1;
	r.began = time_mono_ns();
	make_id(&r);
	if (!r.cfg->name)
		r.cfg->name = strdup(r.id);
	r.gateway = (struct child){ .run = &r, .name = "gateway", .sock = -1 };
	r.proxy = (struct child){ .run = &r, .name = "tlsproxy", .sock = -1 };
	r.sandbox = (struct child){ .run = &r, .name = "sandbox", .sock = -1 };
	r.deadline.cb = on_deadline;
	r.flush.cb = run_record_flush;
	r.tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	r.foreground = in_foreground(&r);
	/* What comes after us in a pipeline may need the terminal more: the command gets it when it asks. */
	r.given = r.foreground && isatty(STDOUT_FILENO);
	rc = supervise(&r, &err);
	if (rc < 0) {
		log_error("%s", err.text[0] ? err.text : strerror(-rc));
		r.status = EXIT_WEIR_FAILED;
	}
	finish(&r);
	return r.status;
}
