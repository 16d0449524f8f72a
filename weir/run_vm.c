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
#include "weir/run.h"

#include "weir/message.h"
#include "weir/run_internal.h"
#include "weir/run_setup.h"
#include "weir/sandbox_trust.h"
#include "weir/vm.h"
#include "weir/vm_clock.h"
#include "weir/vm_stdio.h"
#include "weir/vm_tail.h"

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
/* From hello to ready, and until a command has begun. */
#define PATIENCE_AGENT (60 * NS_PER_S)
/* The agent is gone: so long until its machine is, whose end says more. */
#define PATIENCE_END (NS_PER_S)
/* A machine that writes to a disk of ours is told to end, so that nothing is lost. */
#define PATIENCE_SHUTDOWN (10 * NS_PER_S)
#define SHUTDOWN_GRACE_MS 1000

struct machine_run {
	struct run run;
	struct vm_choice choice;
	struct vm_parts parts;
	char **argv;			     /* what runs in there */
	int agent_fd, console_fd, errors_fd; /* ours, until the loop is there */
	struct agent *agent;
	struct agent_relay *relay; /* weir exec and its like; NULL before the first */
	bool ready;
	struct agent_stream *command;
	struct vm_stdio stdio;
	struct vm_clock clock;
	size_t owed; /* bytes of its output that were taken, and not told so yet */
	struct vm_tail console, errors;
	struct loop_timer patience;
	struct loop_io monitor;
	const char *waiting_for;
	bool shutting_down;
};

static struct machine_run *machine_of(struct run *r)
{
	return container_of(r, struct machine_run, run);
}

static void wait_for(struct machine_run *m, const char *what, uint64_t patience)
{
	m->waiting_for = what;
	loop_timer_set(m->run.loop, &m->patience, loop_now(m->run.loop) + patience);
}

/* What the machine and its monitor had to say last. */
static void tell_tails(struct machine_run *m)
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
	tell_tails(m);
	run_fail(&m->run, "%s", m->waiting_for);
}

/* ---- the command ------------------------------------------------------------------------ */

/* A folder's disk is a copy without a name. */
static bool keeps_what_is_written(const struct machine_run *m)
{
	struct stat st;

	for (size_t i = 0; i < m->parts.n_volumes; i++)
		if (!m->parts.volumes[i].read_only &&
		    (stat(m->parts.volumes[i].source, &st) < 0 || !S_ISDIR(st.st_mode)))
			return true;
	return false;
}

static void on_drained(struct vm_stdio *s)
{
	static const struct agent_stream_events none = { 0 };
	static const struct agent_shutdown how = { AGENT_SHUTDOWN_POWER_OFF, SHUTDOWN_GRACE_MS };
	struct machine_run *m = container_of(s, struct machine_run, stdio);
	struct agent_stream *ignored;

	if (m->run.ending)
		return;
	if (keeps_what_is_written(m) &&
	    agent_shutdown(m->agent, &how, 0, &none, NULL, &ignored) == 0) {
		m->shutting_down = true;
		wait_for(m, "", PATIENCE_SHUTDOWN);
		return;
	}
	run_end(&m->run);
}

static void on_started(struct agent_stream *s, uint32_t pid, void *arg)
{
	struct machine_run *m = arg;

	(void)pid;
	loop_timer_del(m->run.loop, &m->patience);
	run_life_active(&m->run);
	run_detach_ready(&m->run);
	vm_stdio_attach(&m->stdio, s);
	if (m->run.cfg->life.detach)
		run_attach_pump(&m->run);
}

static void on_data(struct agent_stream *s, enum agent_type type, const uint8_t *p, size_t n,
		    void *arg)
{
	struct machine_run *m = arg;

	if (!m->run.cfg->life.detach) {
		run_life_active(&m->run);
		vm_stdio_data(&m->stdio, type, p, n);
	} else if (run_attach_output(&m->run, type, p, n)) {
		agent_stream_taken(s, n);
	} else {
		m->owed += n;
	}
}

static void on_room(struct agent_stream *s, void *arg)
{
	struct machine_run *m = arg;

	(void)s;
	if (m->run.cfg->life.detach) {
		run_attach_pump(&m->run);
		return;
	}
	run_life_active(&m->run);
	vm_stdio_room(&m->stdio);
}

static void tell_failure(const struct machine_run *m, const struct agent_failed *f)
{
	const char *name = m->argv[0];
	char text[256];

	log_quote(f->text ? f->text : "", MIN(strlen(f->text ? f->text : ""), (size_t)60), text,
		  sizeof(text));
	if (f->stage == AGENT_STAGE_LOOKUP && !strchr(name, '/'))
		log_error("%s: not found in any folder of the machine's PATH", name);
	else if (f->stage == AGENT_STAGE_LOOKUP || f->stage == AGENT_STAGE_EXEC)
		log_error("%s: cannot be executed: %s", name, strerror((int)(f->err & 0xfff)));
	else
		log_error("%s: %s%s%s%s%s", name, agent_stage_text(f->stage), f->err ? ": " : "",
			  f->err ? strerror((int)(f->err & 0xfff)) : "", text[0] ? ": " : "", text);
}

static void on_ended(struct agent_stream *s, const struct agent_end *e, void *arg)
{
	struct machine_run *m = arg;

	(void)s;
	m->command = NULL;
	/* The machine's end, which is told elsewhere. */
	if (e->kind == AGENT_ENDED_FAILED && e->failed.stage == AGENT_STAGE_LOST)
		return;
	loop_timer_del(m->run.loop, &m->patience);
	if (e->kind == AGENT_ENDED_FAILED)
		tell_failure(m, &e->failed);
	m->run.status = agent_end_status(e);
	vm_stdio_ended(&m->stdio);
}

static const struct agent_stream_events command_events = {
	.started = on_started,
	.data = on_data,
	.room = on_room,
	.ended = on_ended,
};

static void begin_command(struct machine_run *m)
{
	const char *const *argv = (const char *const *)m->argv;
	const struct life_config *l = &m->run.cfg->life;
	bool input = !l->detach || l->input, tty = l->detach ? l->tty : m->stdio.tty;
	struct agent_exec x = { .flags = (input ? AGENT_EXEC_INPUT : 0) | (tty ? AGENT_EXEC_TTY : 0) };
	int r;

	while (argv[x.argv.n])
		x.argv.n++;
	x.argv.v = argv;
	vm_stdio_size(&x.rows, &x.cols);
	wait_for(m, "the machine did not start the command in time", PATIENCE_AGENT);
	r = agent_exec(m->agent, &x, 0, &command_events, m, &m->command);
	if (r < 0)
		run_fail(&m->run, "the machine cannot be asked to run the command: %s", strerror(-r));
}

/* ---- who is attached ---------------------------------------------------------------------- */

/* What came while somebody was behind. */
static void on_hub_room(void *arg)
{
	struct machine_run *m = machine_of(arg);
	size_t n = m->owed;

	m->owed = 0;
	if (m->command)
		agent_stream_taken(m->command, n);
}

static size_t on_typed(const uint8_t *p, size_t n, void *arg)
{
	struct machine_run *m = machine_of(arg);
	size_t take = m->command ? MIN(n, agent_stream_room(m->command)) : 0;

	return take && agent_stream_write(m->command, p, take) == 0 ? take : 0;
}

static void on_resize(uint32_t rows, uint32_t cols, void *arg)
{
	struct machine_run *m = machine_of(arg);

	if (m->run.cfg->life.tty && m->command && agent_stream_resize(m->command, rows, cols) < 0)
		log_debug("the machine was not told the terminal's size");
}

static int start_attach(struct run *r)
{
	const struct agent_hub_events ev = {
		.input = r->cfg->life.input ? on_typed : NULL,
		.resize = on_resize,
		.room = on_hub_room,
	};

	return run_attach_start(r, &ev, r);
}

/* ---- the agent --------------------------------------------------------------------------- */

static void on_hello(struct agent *a, const struct agent_hello *h, void *arg)
{
	struct machine_run *m = arg;
	struct vm_guest g = { .env = m->run.envp,
			      .ca_pem = m->run.ca_pem,
			      .roots_pem = m->run.host_cas };
	char kernel[128], hash[9];
	int r;

	if (g.ca_pem && guest_trust_hash(g.ca_pem, hash))
		g.ca_hash = hash;
	log_quote(h->kernel, MIN(strlen(h->kernel), (size_t)60), kernel, sizeof(kernel));
	log_info("the machine runs Linux %s; its agent spoke %llu ms after the start", kernel,
		 (unsigned long long)((time_mono_ns() - m->run.began) / NS_PER_MS));
	wait_for(m, "the machine was not set up in time", PATIENCE_AGENT);
	r = vm_guest_init(a, m->run.cfg, &m->parts, &g);
	if (r < 0)
		run_fail(&m->run, "the machine cannot be told what it is: %s", strerror(-r));
}

static void on_ready(struct agent *a, void *arg)
{
	struct machine_run *m = arg;

	m->ready = true;
	if (vm_clock_start(&m->clock, m->run.loop, a) < 0)
		log_warn("the machine's clock will not be corrected while it runs");
	begin_command(m);
}

static void on_init_failed(struct agent *a, const struct agent_failed *f, void *arg)
{
	struct machine_run *m = arg;
	char text[512];

	(void)a;
	log_quote(f->text ? f->text : "", MIN(strlen(f->text ? f->text : ""), (size_t)120), text,
		  sizeof(text));
	tell_tails(m);
	run_fail(&m->run, "the machine cannot be set up: %s%s%s%s%s", agent_stage_text(f->stage),
		 f->err ? ": " : "", f->err ? strerror((int)(f->err & 0xfff)) : "",
		 text[0] ? ": " : "", text);
}

static void on_log(struct agent *a, const struct agent_log *l, void *arg)
{
	char text[1024];

	(void)a;
	(void)arg;
	log_quote(l->text, MIN(strlen(l->text), (size_t)250), text, sizeof(text));
	if (l->level == AGENT_LOG_ERROR || l->level == AGENT_LOG_WARN)
		log_warn("in the machine: %s", text);
	else
		log_info("in the machine: %s", text);
}

static void on_lost(struct agent *a, int err, const char *why, void *arg)
{
	struct machine_run *m = arg;

	(void)a;
	vm_clock_stop(&m->clock);
	agent_relay_free(m->relay);
	m->relay = NULL;
	m->ready = false;
	if (m->run.ending || m->shutting_down || m->stdio.ended)
		return;
	if (err == -EPROTO) {
		run_fail(&m->run, "the machine's agent broke its protocol: %s", why);
		return;
	}
	wait_for(m, "the machine's agent is gone, and with it the command", PATIENCE_END);
}

static const struct agent_events agent_events = {
	.hello = on_hello,
	.ready = on_ready,
	.init_failed = on_init_failed,
	.log = on_log,
	.lost = on_lost,
};

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
	tell_tails(m);
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
	int rc = agent_new(r->loop, m->agent_fd, &agent_events, m, &m->agent);

	if (rc < 0)
		return rc;
	m->agent_fd = -1;
	rc = vm_tail_start(&m->console, r->loop, "console", steal_fd(&m->console_fd));
	if (rc == 0)
		rc = vm_tail_start(&m->errors, r->loop, "monitor", steal_fd(&m->errors_fd));
	if (rc == 0)
		rc = loop_io_add(r->loop, &m->monitor, r->sandbox.sock, EPOLLIN, on_monitor);
	m->stdio = (struct vm_stdio){ .loop = r->loop,
				      .drained = on_drained,
				      .tty = vm_stdio_wants_tty(),
				      .no_input = r->cfg->life.detach };
	if (rc == 0 && r->cfg->life.detach)
		rc = start_attach(r);
	return rc < 0 ? rc : vm_stdio_start(&m->stdio);
}

static void machine_go(struct run *r)
{
	struct machine_run *m = machine_of(r);
	bool emulated = m->choice.backend == BACKEND_QEMU && !m->choice.kvm;

	m->patience.cb = on_patience;
	wait_for(m, "the machine did not start in time: its agent was not heard of",
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

/* A connection to the agent for weir exec, cp, metrics and their like. */
static int add_client(void *to, int fd)
{
	struct machine_run *m = to;
	int rc = agent_relay_add(m->relay, fd);

	if (rc == 0)
		run_life_active(&m->run);
	return rc;
}

static void ask_agent(struct machine_run *m, struct ctl_client *c)
{
	int rc;

	if (!m->ready) {
		run_ctl_refuse(c, "the machine is not ready yet");
		return;
	}
	rc = m->relay ? 0 : agent_relay_new(m->run.loop, m->agent, &m->relay);
	if (rc < 0)
		run_ctl_refuse(c, "no connection to the machine's agent: %s", strerror(-rc));
	else
		run_ctl_hand_out(c, add_client, m, json_pack("{s:b}", "ok", 1));
}

static bool machine_ask(struct run *r, struct ctl_client *c, const char *verb, const json_t *request)
{
	(void)request;
	if (!str_eq(verb, "agent"))
		return false;
	ask_agent(machine_of(r), c);
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
