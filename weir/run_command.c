/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `weir run` runs: a command in a sandbox of namespaces. Its pid 1 is ours
 * (sandbox.c) and hands us the tap; the command's end is the run's, its status
 * ours. Signals and the terminal are passed on to it.
 */
#include "weir/run.h"

#include "weir/message.h"
#include "weir/run_detach.h"
#include "weir/run_internal.h"
#include "weir/run_setup.h"
#include "weir/run_stdio.h"
#include "weir/sandbox.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the sandbox ------------------------------------------------------------------ */

struct command_run {
	struct run run;
	struct run_stdio stdio; /* in the background */
};

static struct run_stdio *stdio_of(struct run *r)
{
	return &container_of(r, struct command_run, run)->stdio;
}

/* In the background its descriptors are ours. */
static int start_sandbox(struct run *r, const struct sandbox_spec *spec, struct conf_error *err)
{
	struct sandbox sb;
	struct msg m;
	int terminal = -1, rc = sandbox_start(spec, &sb, err);

	if (rc < 0)
		return rc;
	r->sandbox.pid = sb.pid;
	r->sandbox.sock = sb.sock;
	if (spec->tty)
		rc = run_first_words(&r->sandbox, &m, MSG_TERMINAL, &terminal, err);
	if (rc == 0 && r->cfg->life.detach && (rc = run_stdio_given(stdio_of(r), terminal)) < 0)
		conf_error_set(err, "the command's descriptors: %s", strerror(-rc));
	return rc;
}

static int command_start(struct run *r, struct run_link *ret, struct conf_error *err)
{
	struct run_stdio *io = stdio_of(r);
	struct sandbox_spec spec;
	struct msg m;
	int rc = run_environment(r->cfg, NULL, r->placeholders, r->ca_pem || r->host_cas, &r->envp);

	if (rc == 0)
		rc = run_secret_paths(r->cfg, &r->secret_paths);
	if (rc == 0)
		rc = run_hidden_paths(r->cfg, r->audit_path, &r->hidden);
	if (rc == 0 && r->cfg->life.detach)
		rc = run_stdio_open(io, &r->cfg->life);
	if (rc < 0) {
		conf_error_set(err, "%s", strerror(-rc));
		return rc;
	}
	spec = (struct sandbox_spec){
		.argv = r->cfg->command,
		.envp = r->envp,
		.hostname = r->cfg->machine.hostname ? r->cfg->machine.hostname : r->cfg->name,
		.rlimits = r->cfg->machine.rlimits,
		.n_rlimits = r->cfg->machine.n_rlimits,
		.net = &r->cfg->net,
		.ca_pem = r->ca_pem,
		.secret_paths = r->secret_paths,
		.host_cas = r->host_cas,
		.hidden_paths = r->hidden,
		.stdio = { io->child[0], io->child[1], io->child[2] },
		.tty = r->cfg->life.detach && r->cfg->life.tty,
		.foreground = r->given,
		.root = geteuid() == 0,
	};
	rc = start_sandbox(r, &spec, err);
	if (rc < 0)
		return rc;
	ret->kind = NETSTACK_LINK_TAP;
	return run_first_words(&r->sandbox, &m, MSG_LINK, &ret->fd, err);
}

/* ---- job control ---------------------------------------------------------------- */

static bool in_foreground(const struct run *r)
{
	return r->tty >= 0 && tcgetpgrp(r->tty) == getpgrp();
}

/* One that is gone has said how it ended, or its channel's end says that it was killed. */
static void tell_sandbox(struct run *r, enum msg_type type, int value)
{
	if (msg_send(r->sandbox.sock, type, value, NULL, 0, NULL, 0) < 0)
		log_debug("the sandbox is gone");
}

static void resume(struct run *r, bool give)
{
	r->given = r->given || give;
	tell_sandbox(r, MSG_RESUME, r->given);
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
	if (wants_terminal)
		tell_sandbox(r, MSG_SIGNAL, SIGHUP);
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
		if (!r->ending)
			run_fail(r, "the sandbox was killed");
		run_check_end(r);
	} else if (m.head.type == MSG_STOPPED) {
		on_stopped(r, m.head.value);
	} else if (m.head.type == MSG_FAILED) {
		run_fail(r, "%s", m.text);
	} else if (m.head.type == MSG_EXIT) {
		if (n > 0)
			log_error("%s", m.text);
		r->status = WIFEXITED(m.head.value) ? WEXITSTATUS(m.head.value)
						    : 128 + WTERMSIG(m.head.value);
		run_end(r);
	}
}

/* ---- what the supervisor asks ------------------------------------------------------- */

static int command_listen(struct run *r)
{
	int rc = r->cfg->life.detach ? run_stdio_listen(stdio_of(r), r) : 0;

	return rc < 0 ? rc : run_listen_to(r, &r->sandbox, on_sandbox);
}

static void command_go(struct run *r)
{
	if (msg_send(r->sandbox.sock, MSG_GO, 0, NULL, 0, NULL, 0) < 0)
		run_fail(r, "the sandbox ended before it began");
	else
		run_detach_ready(r);
}

static void command_signal(struct run *r, int sig)
{
	if (sig == SIGCONT)
		resume(r, in_foreground(r) && isatty(STDOUT_FILENO));
	else
		tell_sandbox(r, MSG_SIGNAL, sig);
}

/* What it wrote last is still on the way. */
static void command_ending(struct run *r)
{
	if (r->attach.hub)
		run_stdio_drain(stdio_of(r));
}

static void command_finish(struct run *r)
{
	run_stdio_fini(stdio_of(r));
	take_terminal(r);
	fd_close(r->tty);
}

static const struct run_subject command = {
	.key = "command",
	.backend = "netns",
	.stopped = "the sandbox was stopped",
	.start = command_start,
	.listen = command_listen,
	.go = command_go,
	.signal = command_signal,
	.ending = command_ending,
	.finish = command_finish,
};

/* ---- the command line ---------------------------------------------------------------- */

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

/* In the foreground the command has ours, or none. */
static int check_terminal(const struct weir_config *cfg, struct conf_error *err)
{
	if (!cfg->life.tty || cfg->life.detach || (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)))
		return 0;
	conf_error_set(err,
		       "--tty: standard input and output are no terminal; leave it out, or run the "
		       "command in the background (--detach), where it gets one of its own");
	return -ENOTTY;
}

static int run_in_namespaces(struct weir_config *cfg)
{
	struct command_run c = {
		.run = { .subject = &command, .cfg = cfg, .what = cfg->command[0], .tty = -1 },
		.stdio = RUN_STDIO_NONE,
	};
	struct run *r = &c.run;

	r->tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	r->foreground = in_foreground(r);
	/* What comes after us in a pipeline may need the terminal more: the command gets it when it asks. */
	r->given = r->foreground && isatty(STDOUT_FILENO);
	return run_main(r);
}

int cmd_run(int argc, char **argv)
{
	struct weir_config *cfg = NULL;
	struct conf_error err = { { 0 } };
	int rc = weir_config_load(CONFIG_RUN, argc - 1, argv + 1, &cfg, &err);
	int (*run)(struct weir_config * cfg) = run_in_namespaces;

	if (rc == -ECANCELED) {
		weir_help_print(CONFIG_RUN);
		return 0;
	}
	if (rc == 0) {
		log_setup("", cfg->log_level);
		if (cfg->backend != BACKEND_NETNS)
			run = run_machine;
		else if (!cfg->life.detach)
			rc = check_descriptors(&err);
		if (rc == 0)
			rc = check_terminal(cfg, &err);
	}
	if (rc < 0) {
		log_error("%s", err.text);
		weir_config_free(cfg);
		return EXIT_WEIR_FAILED;
	}
	return cfg->life.detach ? run_detached(cfg, run) : run(cfg);
}
