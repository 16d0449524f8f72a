/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `weir run` runs with --backend kvm, qemu or auto: a command in a Linux machine
 * of its own, whose only network is the gateway.
 *
 *   image/ finds or makes kernel, root file system, disks ─► the monitor is started
 *   ─► the agent says hello ─► it is told what its machine is ─► ready ─► the command
 *   ─► its end is the run's, its status ours ─► the monitor is killed
 *
 * The machine boots while gateway and tlsproxy start; the command waits for all. The
 * guest is hostile, its agent included: the wait for it is bounded, what it says is
 * checked by agent/, and nothing of it is used but bytes for our output and a status.
 */
#include "weir/message.h"
#include "weir/run_setup.h"
#include "weir/run_vm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Until hello: a stock kernel takes a second with KVM, some five without; twenty and more where
 * KVM is emulated itself, or the machine is busy.
 */
#define PATIENCE_KVM (90 * NS_PER_S)
#define PATIENCE_EMULATED (180 * NS_PER_S)

void machine_wait(struct machine_run *m, const char *what, uint64_t patience)
{
	m->waiting_for = what;
	loop_timer_set(m->run.loop, &m->patience, loop_now(m->run.loop) + patience);
}

/* What the machine and its monitor had to say last. */
void machine_tell_tails(struct machine_run *m)
{
	vm_tail_tell(&m->errors);
	vm_tail_tell(&m->console);
}

static void on_patience(struct loop_timer *t)
{
	struct machine_run *m = container_of(t, struct machine_run, patience);

	if (m->run.ending)
		return;
	if (m->shutting_down) {
		log_warn(
			"the machine did not end in time; what it wrote last to its volumes may be "
			"missing");
		run_end(&m->run);
		return;
	}
	machine_tell_tails(m);
	run_fail(&m->run, "%s", m->waiting_for);
}

/* ---- the monitor ---------------------------------------------------------------------------- */

/* Before it is executed it says what went wrong; its channel ends when it is. */
static void on_monitor(struct loop_io *io, uint32_t revents)
{
	struct machine_run *m = container_of(io, struct machine_run, monitor);
	struct msg word;

	(void)revents;
	if (msg_recv(io->fd, &word, NULL, 0, NULL) < 0)
		loop_io_del(io);
	else if (word.head.type == MSG_FAILED)
		run_fail(&m->run, "%s", word.text);
}

static const char *end_text(int status)
{
	static char text[64];

	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "its monitor was killed by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) == 0)
		return "it was powered off";
	else if (WEXITSTATUS(status) == 2)
		return "it was restarted, which ends it";
	else if (WEXITSTATUS(status) == 3)
		return "its kernel crashed";
	else
		snprintf(text, sizeof(text), "its monitor failed with status %d",
			 WEXITSTATUS(status));
	return text;
}

static void machine_reaped(struct run *r)
{
	struct machine_run *m = machine_of(r);

	if (r->ending)
		return;
	if (m->shutting_down) {
		run_end(r);
		return;
	}
	/* Its last bytes may still be on the way, and it ended after the command. */
	if (m->stdio.ended)
		return;
	machine_tell_tails(m);
	run_fail(r, "the machine ended before the command did: %s", end_text(r->sandbox.status));
}

static int start_monitor(struct machine_run *m, const struct vm_wires *w, int *ret_link,
			 struct conf_error *err)
{
	struct run *r = &m->run;
	struct vm_process p;
	struct msg word;
	int rc;

	if (m->choice.backend == BACKEND_KVM)
		rc = vm_kvm_start(r->cfg, &m->choice, &m->parts, w, &p, ret_link, err);
	else
		rc = vm_qemu_start(r->cfg, &m->choice, &m->parts, w, &p, err);
	if (rc < 0)
		return rc;
	r->sandbox.pid = p.pid;
	r->sandbox.sock = p.sock;
	return m->choice.backend == BACKEND_KVM
		       ? 0
		       : run_first_words(&r->sandbox, &word, MSG_LINK, ret_link, err);
}

static int machine_environment(struct machine_run *m, struct conf_error *err)
{
	struct run *r = &m->run;
	struct vm_args env;
	int rc = vm_environment(r->cfg, &m->parts, &env);

	if (rc == 0) {
		rc = run_environment(r->cfg, env.v, r->placeholders, r->ca_pem || r->host_cas,
				     &r->envp);
		vm_args_fini(&env);
	}
	if (rc < 0)
		conf_error_set(err, "%s", strerror(-rc));
	return rc;
}

static int machine_start(struct run *r, struct run_link *ret, struct conf_error *err)
{
	struct machine_run *m = machine_of(r);
	int agent[2] = { -1, -1 }, console[2] = { -1, -1 }, errors[2] = { -1, -1 };
	struct vm_wires w;
	int rc = machine_environment(m, err);

	if (rc < 0)
		return rc;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, agent) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console) < 0 ||
	    pipe2(errors, O_CLOEXEC) < 0) {
		rc = -errno;
		conf_error_set(err, "cannot make the machine's channels: %s", strerror(-rc));
	}
	m->agent_fd = agent[0];
	m->console_fd = console[0];
	m->errors_fd = errors[0];
	w = (struct vm_wires){ .agent = agent[1], .console = console[1], .errors = errors[1] };
	if (rc == 0) {
		ret->kind = NETSTACK_LINK_VHOST_USER;
		rc = start_monitor(m, &w, &ret->fd, err);
	}
	fd_close(w.agent);
	fd_close(w.console);
	fd_close(w.errors);
	return rc;
}

/* ---- what the supervisor asks --------------------------------------------------------------- */

static int machine_listen(struct run *r)
{
	struct machine_run *m = machine_of(r);
	int rc = machine_agent_listen(m);

	if (rc < 0)
		return rc;
	rc = vm_tail_start(&m->console, r->loop, "console", steal_fd(&m->console_fd));
	if (rc == 0)
		rc = vm_tail_start(&m->errors, r->loop, "monitor", steal_fd(&m->errors_fd));
	if (rc == 0)
		rc = loop_io_add(r->loop, &m->monitor, r->sandbox.sock, EPOLLIN, on_monitor);
	return rc < 0 ? rc : machine_command_listen(m);
}

static void machine_go(struct run *r)
{
	struct machine_run *m = machine_of(r);
	bool emulated = m->choice.backend == BACKEND_QEMU && !m->choice.kvm;

	m->patience.cb = on_patience;
	machine_wait(m, "the machine did not start in time: its agent was not heard of",
		     emulated ? PATIENCE_EMULATED : PATIENCE_KVM);
}

static void machine_signal(struct run *r, int sig)
{
	struct machine_run *m = machine_of(r);
	bool ends = sig == SIGTERM || sig == SIGINT || sig == SIGHUP || sig == SIGQUIT;

	if (sig == SIGCONT) {
		vm_stdio_continued(&m->stdio);
		vm_clock_look(&m->clock);
	}
	if (m->command) {
		if (agent_stream_signal(m->command, sig) < 0)
			log_debug("signal %d does not reach the command", sig);
	} else if (ends) {
		/* Nothing that could decide for itself: it still boots, or its output finds nobody. */
		if (!m->stdio.ended)
			r->status = 128 + sig;
		run_end(r);
	}
}

static bool machine_ask(struct run *r, struct ctl_client *c, const char *verb, const json_t *request)
{
	(void)request;
	if (!str_eq(verb, "agent"))
		return false;
	machine_agent_ask(machine_of(r), c);
	return true;
}

static bool machine_busy(struct run *r)
{
	const struct machine_run *m = machine_of(r);

	/* One that boots has had no chance to be anything else. */
	return !m->ready || (m->relay && agent_relay_clients(m->relay) > 0);
}

static void machine_ending(struct run *r)
{
	struct machine_run *m = machine_of(r);

	if (m->patience.cb)
		loop_timer_del(r->loop, &m->patience);
	vm_stdio_stop(&m->stdio);
	vm_clock_stop(&m->clock);
	agent_relay_free(m->relay);
	m->relay = NULL;
	m->ready = false;
	agent_free(m->agent);
	m->agent = NULL;
	m->command = NULL;
	loop_io_del(&m->monitor);
	vm_tail_stop(&m->console);
	vm_tail_stop(&m->errors);
}

static void machine_finish(struct run *r)
{
	struct machine_run *m = machine_of(r);

	if (!r->ending && r->loop)
		machine_ending(r);
	fd_close(m->agent_fd);
	fd_close(m->console_fd);
	fd_close(m->errors_fd);
	free(m->argv);
	vm_parts_fini(&m->parts);
}

#define MACHINE_SUBJECT(name)                                                                      \
	{                                                                                          \
		.key = "command", .backend = (name), .stopped = "the machine was stopped",         \
		.start = machine_start, .listen = machine_listen, .go = machine_go,                \
		.signal = machine_signal, .ask = machine_ask, .busy = machine_busy,                \
		.reaped = machine_reaped, .ending = machine_ending, .finish = machine_finish       \
	}
static const struct run_subject kvm_machine = MACHINE_SUBJECT("kvm");
static const struct run_subject qemu_machine = MACHINE_SUBJECT("qemu");

/* ---- the beginning ------------------------------------------------------------------------------ */

static int prepare(struct machine_run *m, struct conf_error *err)
{
	struct weir_config *cfg = m->run.cfg;
	int rc = vm_choose(cfg->backend, &m->choice, err);

	if (rc < 0)
		return rc;
	m->run.subject = m->choice.backend == BACKEND_KVM ? &kvm_machine : &qemu_machine;
	if (cfg->backend == BACKEND_AUTO && m->choice.backend == BACKEND_QEMU && !m->choice.kvm)
		log_warn("backend qemu: %s", m->choice.why);
	else
		log_info("backend %s: %s", m->run.subject->backend, m->choice.why);
	rc = vm_parts_open(cfg, &m->choice, &m->parts, err);
	if (rc == 0)
		rc = vm_command(cfg, &m->parts.root.config, &m->argv, err);
	if (rc == 0)
		m->run.what = m->argv[0];
	return rc;
}

int run_machine(struct weir_config *cfg)
{
	struct machine_run m = { .run = { .cfg = cfg, .tty = -1 },
				 .parts = { .layer = -1 },
				 .agent_fd = -1,
				 .console_fd = -1,
				 .errors_fd = -1,
				 .console = { .fd = -1 },
				 .errors = { .fd = -1 } };
	struct conf_error err = { { 0 } };

	if (prepare(&m, &err) < 0) {
		log_error("%s", err.text);
		vm_parts_fini(&m.parts);
		weir_config_free(cfg);
		return EXIT_WEIR_FAILED;
	}
	return run_main(&m.run);
}
