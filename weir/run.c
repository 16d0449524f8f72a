/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor of one run, whatever is run: a sandboxed command
 * (run_command.c), one in a microVM (run_vm.c) or a link to somebody else's
 * machine (run_link.c).
 *
 *   tlsproxy forked ─► its placeholders and CA arrive ─► our copy of the
 *   secrets is wiped ─► the link is there ─► gateway forked ─► go ─► ... ─►
 *   what is run ends ─► gateway and tlsproxy say their last words ─► record
 *   closed ─► exit
 *
 * It owns the record: the other processes send events, it alone numbers and
 * writes them. It never waits for a child with a blocking call while another
 * could be blocked on it. Whatever dies out of turn ends the run: fail closed;
 * but for the tlsproxy, which has a successor (run_proxy.c).
 */
#include "weir/message.h"
#include "weir/run_addresses.h"
#include "weir/run_internal.h"
#include "weir/run_setup.h"

#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long the helpers may take to say their last words. */
#define LAST_WORDS (5 * NS_PER_S)
/* More than wait in a helper's channel. */
#define CHANNEL_MESSAGES 1024

/* ---- ending -------------------------------------------------------------------- */

static void kill_child(struct child *c)
{
	if (c->pid > 0)
		kill(c->pid, SIGKILL);
}

void run_end(struct run *r)
{
	struct child *helpers[] = { &r->gateway, &r->proxy };

	if (r->ending)
		return;
	r->ending = true;
	run_life_end(r);
	if (r->subject->ending)
		r->subject->ending(r);
	run_attach_end(r);
	kill_child(&r->sandbox);
	/* The gateway first: to it a tlsproxy that ends before that has died. */
	for (size_t i = 0; i < 2; i++)
		if (helpers[i]->pid)
			shutdown(helpers[i]->sock, SHUT_WR);
	loop_timer_set(r->loop, &r->deadline, loop_now(r->loop) + LAST_WORDS);
}

void run_fail(struct run *r, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (r->failed || r->ending)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_error("%s", text);
	r->failed = true;
	r->status = EXIT_WEIR_FAILED;
	if (r->log)
		run_record_event(r, "failed", text);
	run_end(r);
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
	       !r->sandbox.pid && !run_attach_count(r);
}

void run_check_end(struct run *r)
{
	if (r->ending && all_gone(r))
		loop_stop(r->loop, 0);
}

/* ---- messages -------------------------------------------------------------------- */

static void channel_closed(struct child *c)
{
	const struct run *r = c->run;

	loop_io_del(&c->io);
	if (c == &r->proxy && run_proxy_lost(c->run))
		return;
	if (!c->run->ending)
		run_fail(c->run, "the %s ended unexpectedly; %s", c->name, r->subject->stopped);
	run_check_end(c->run);
}

/* Whether each is an event is checked where it is taken up. */
static void record_lines(struct child *c, const char *text, size_t len)
{
	for (const char *end; len; text = end + 1) {
		end = memchr(text, '\n', len);
		if (!end)
			end = text + len;
		run_record_append(c->run, c->name, text, (size_t)(end - text));
		if (c == &c->run->proxy)
			run_secrets_event(c->run, text, (size_t)(end - text));
		if (end == text + len)
			return;
		len -= (size_t)(end - text) + 1;
	}
}

/* n: its length, or an error. */
static void take_up(struct child *c, const struct msg *m, ssize_t n)
{
	if (n < 0)
		channel_closed(c);
	else if (m->head.type == MSG_EVENT)
		record_lines(c, m->text, (size_t)n);
	else if (m->head.type == MSG_TERMINATE)
		run_fail(c->run, "secret %.100s was about to leave for the wrong place; %s",
			 m->text, c->run->subject->stopped);
	else if (m->head.type == MSG_FAILED)
		run_fail(c->run, "%s", m->text);
	else if (c == &c->run->proxy && (run_proxy_word(c->run, m) || run_secrets_word(c->run, m)))
		return;
	else if (m->head.type == MSG_POLICY_READY || m->head.type == MSG_POLICY_REFUSED ||
		 m->head.type == MSG_POLICY_DONE)
		run_policy_word(c, m, (size_t)n);
	else if (m->head.type == MSG_STATS && c == &c->run->gateway)
		run_stats_word(c->run, m, (size_t)n);
	else if (m->head.type == MSG_LINK_LOST && c->run->subject->link_lost)
		c->run->subject->link_lost(c->run);
	else if (c == &c->run->gateway)
		run_ports_word(c->run, m, (size_t)n);
}

/* False: it says nothing now, or never again. */
static bool listen_to(struct child *c, struct msg *m, ssize_t *ret_n)
{
	if (!c->io.loop)
		return false;
	*ret_n = msg_recv_now(c->sock, m);
	return *ret_n != -EAGAIN;
}

static void hear_all(struct child *c)
{
	struct msg m;
	ssize_t n;

	for (unsigned i = 0; i < CHANNEL_MESSAGES && listen_to(c, &m, &n); i++)
		take_up(c, &m, n);
}

/*
 * What the tlsproxy tells of a flow follows from what the gateway told before it handed the flow
 * over, and stands behind it on the record, however late we come to read them: when its word
 * has been received, all that led to it is in the gateway's channel.
 */
void run_on_helper(struct loop_io *io, uint32_t revents)
{
	struct child *c = container_of(io, struct child, io);
	struct child *first = &c->run->gateway;
	struct msg m;
	ssize_t n;

	(void)revents;
	if (c == first) {
		hear_all(first);
	} else if (listen_to(c, &m, &n)) {
		hear_all(first);
		take_up(c, &m, n);
	}
}

/* ---- signals --------------------------------------------------------------------- */

static void reap(struct run *r)
{
	struct child *all[] = { &r->gateway, &r->proxy, &r->sandbox };
	bool had_proxy = r->proxy.pid, had_sandbox = r->sandbox.pid;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (run_source_reaped(r, pid, status))
			continue;
		for (size_t i = 0; i < 3; i++)
			if (all[i]->pid == pid) {
				all[i]->pid = 0;
				all[i]->status = status;
			}
	}
	/*
	 * When the command is gone as well the run ends, and this would not be told any more. A
	 * process closes its channel before it can be reaped: all it had said is there.
	 */
	if (had_proxy && !r->proxy.pid) {
		hear_all(&r->gateway);
		hear_all(&r->proxy);
		run_proxy_reaped(r);
	}
	if (had_sandbox && !r->sandbox.pid && r->subject->reaped)
		r->subject->reaped(r);
	run_check_end(r);
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
	else if (!r->ending)
		r->subject->signal(r, (int)si.ssi_signo);
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

int run_listen_to(struct run *r, struct child *c, void (*cb)(struct loop_io *io, uint32_t revents))
{
	return c->pid ? loop_io_add(r->loop, &c->io, c->sock, EPOLLIN, cb) : 0;
}

/* From here on the loop hears everybody. */
static int listen_to_all(struct run *r, struct conf_error *err)
{
	int rc = start_signals(r);

	if (rc == 0)
		rc = run_listen_to(r, &r->gateway, run_on_helper);
	if (rc == 0)
		rc = run_listen_to(r, &r->proxy, run_on_helper);
	if (rc == 0)
		rc = r->subject->listen(r);
	if (rc < 0)
		conf_error_set(err, "%s", strerror(-rc));
	else
		reap(r); /* Whoever died before: a signal that is not blocked yet leaves no trace. */
	return rc;
}

/* "k3v9qd2m": unguessable enough to tell runs apart, short enough to type. */
void run_make_id(char ret[static RUN_ID_LEN + 1])
{
	static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
	uint8_t b[RUN_ID_LEN];

	random_bytes(b, sizeof(b));
	for (size_t i = 0; i < RUN_ID_LEN; i++)
		ret[i] = alphabet[b[i] % 32];
	/* An id never reads as a number. */
	ret[0] = alphabet[10 + b[0] % 22];
	ret[RUN_ID_LEN] = 0;
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
	if (r->subject->finish)
		r->subject->finish(r);
	run_attach_free(r);
	/* Said before the socket goes: at no moment does nobody know of it. */
	if (run_detach_end(r) < 0 && !r->status)
		r->status = EXIT_WEIR_FAILED;
	run_ctl_end(r);
	run_secrets_end(r);
	run_policy_end(r);
	run_resolvers_end(r);
	slots_release(&r->slots);
	run_strv_free(r->envp);
	run_strv_free(r->hidden);
	run_strv_free(r->secret_paths);
	for (size_t i = 0; r->placeholders && i < r->cfg->n_secrets; i++)
		free(r->placeholders[i]);
	free(r->placeholders);
	run_ports_end(r);
	fd_close(r->upstream_auth);
	fd_close(r->life.gateway_end);
	vault_free(&r->vault);
	free(r->ca_pem);
	free(r->host_cas);
	audit_log_close(r->log);
	free(r->audit_path);
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

static int supervise(struct run *r, struct conf_error *err)
{
	int rc = loop_new(&r->loop);

	if (rc < 0) {
		conf_error_set(err, "%s", strerror(-rc));
		return rc;
	}
	/* Taps of one namespace meet there; other machines are alone on their link. */
	rc = run_addresses(r->cfg, r->cfg->link.kind == LINK_TAP ? SLOTS_APART : SLOTS_ALONE,
			   &r->slots, err);
	if (rc == 0)
		rc = run_record_open(r, err);
	if (rc == 0)
		rc = run_start(r, err);
	if (rc == 0)
		rc = listen_to_all(r, err);
	if (rc == 0)
		rc = worker_start(&r->worker, r->loop);
	if (rc == 0)
		rc = run_secrets_start(r);
	if (rc == 0)
		rc = run_ctl_start(r);
	if (rc == 0)
		rc = run_resolvers_follow(r);
	if (rc < 0) {
		record_start_failure(r, err->text[0] ? err->text : strerror(-rc));
		return rc;
	}
	run_record_event(r, "begin", NULL);
	run_life_start(r);
	if (!r->ending)
		r->subject->go(r);
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

int run_main(struct run *r)
{
	struct conf_error err = { { 0 } };
	int rc;

	run_warn_useless_secrets(r->cfg);
	for (size_t i = 0; i < CTL_CLIENTS; i++)
		r->clients[i].fd = -1;
	r->began = time_mono_ns();
	list_init(&r->secrets.sources);
	run_make_id(r->id);
	if (!r->cfg->name)
		r->cfg->name = strdup(r->id);
	r->capture = r->policy_fd = r->upstream_auth = r->life.gateway_end = -1;
	r->vault = VAULT_NONE;
	r->generation = r->last_generation = 1;
	r->ctl = (struct ctl_listener){ .fd = -1, .dir = -1 };
	r->gateway = (struct child){ .run = r, .name = "gateway", .sock = -1 };
	r->proxy = (struct child){ .run = r, .name = "tlsproxy", .sock = -1 };
	r->sandbox = (struct child){ .run = r, .name = "sandbox", .sock = -1 };
	r->deadline.cb = on_deadline;
	r->flush.cb = run_record_flush;
	rc = supervise(r, &err);
	if (rc < 0) {
		log_error("%s", err.text[0] ? err.text : strerror(-rc));
		r->status = EXIT_WEIR_FAILED;
	}
	finish(r);
	return r->status;
}
