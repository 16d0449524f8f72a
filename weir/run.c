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

#include "weir/gateway.h"
#include "weir/message.h"
#include "weir/proxy.h"
#include "weir/record.h"
#include "weir/run_setup.h"
#include "weir/sandbox.h"
#include "weir/secret_source.h"
#include "weir/state.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_WEIR_FAILED 125
/* How long the helpers may take to say their last words. */
#define LAST_WORDS (5 * NS_PER_S)

struct child {
	struct run *run;
	const char *name;
	pid_t pid; /* 0: not started or reaped */
	int status;
	struct loop_io io;
	int sock;
};

struct run {
	struct weir_config *cfg;
	char id[RUN_ID_LEN + 1];
	struct loop *loop;
	struct audit_log *log;
	char *audit_path;
	struct stat audit_stat;
	char policy_digest[72]; /* "sha256:HEX" of `weir policy show` */
	struct child gateway, proxy, sandbox;
	struct loop_io signals;
	struct loop_timer deadline;
	struct loop_task flush;
	char **placeholders, **envp, **hidden;
	char *ca_pem;
	int capture;
	int *published;
	int tty;	 /* the controlling terminal or -1 */
	bool foreground; /* we were started in its foreground */
	bool given;	 /* the command's group is its foreground now */
	bool command_ended, failed;
	int status; /* exit status */
};

/* ---- record -------------------------------------------------------------------- */

static void fail_run(struct run *r, const char *fmt, ...) printf_like(2, 3);

static void append(struct run *r, const char *from, const char *text, size_t len)
{
	int rc = audit_log_append(r->log, from, text, len);

	if (rc == -EINVAL)
		log_warn("an event of the %s was malformed and is not on the record", from);
	else if (rc < 0)
		fail_run(r, "cannot write the record %s: %s", r->audit_path, strerror(-rc));
	loop_task_queue(r->loop, &r->flush);
}

static void on_flush(struct loop_task *t)
{
	struct run *r = container_of(t, struct run, flush);
	int rc = audit_log_flush(r->log);

	if (rc < 0)
		fail_run(r, "cannot write the record %s: %s", r->audit_path, strerror(-rc));
}

static void record_run(struct run *r, const char *event, const char *detail)
{
	struct audit_event e;
	size_t len;
	const char *text;

	audit_event_begin(&e, "run");
	audit_str(&e, "event", event);
	audit_str(&e, "name", r->cfg->name);
	audit_str(&e, "backend", "netns");
	audit_str(&e, "command", r->cfg->command[0]);
	audit_str(&e, "policy", r->policy_digest);
	if (str_eq(event, "end"))
		audit_u64(&e, "status", (uint64_t)r->status);
	audit_str(&e, "detail", detail);
	text = audit_event_end(&e, &len);
	append(r, "weir", text, len);
}

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

static void fail_run(struct run *r, const char *fmt, ...)
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
		record_run(r, "failed", text);
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
		fail_run(c->run, "the %s ended unexpectedly; the sandbox was stopped", c->name);
	check_end(c->run);
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
		append(c->run, c->name, m.text, (size_t)n);
	else if (m.head.type == MSG_TERMINATE)
		fail_run(c->run, "secret %.100s was about to leave for the wrong place; the sandbox was stopped",
			 m.text);
	else if (m.head.type == MSG_FAILED)
		fail_run(c->run, "%s", m.text);
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
			fail_run(r, "the sandbox was killed");
		check_end(r);
	} else if (m.head.type == MSG_STOPPED) {
		on_stopped(r, m.head.value);
	} else if (m.head.type == MSG_FAILED) {
		fail_run(r, "%s", m.text);
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

/* ---- starting ---------------------------------------------------------------------- */

static int channel(int sv[2], struct conf_error *err)
{
	int size = 1 << 20;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0) {
		int r = -errno;

		conf_error_set(err, "socketpair: %s", strerror(errno));
		return r;
	}
	for (int i = 0; i < 2; i++)
		(void)setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return 0;
}

/*
 * Waits for a child's first words. Blocking is fine here: nothing runs yet
 * that could wait for us, and a child that dies ends the stream.
 */
static int first_words(struct child *c, struct msg *m, enum msg_type want, int *ret_fd,
		       struct conf_error *err)
{
	size_t n_fds = 0;
	ssize_t n;
	int fd = -1;

	n = msg_recv(c->sock, m, &fd, 1, &n_fds);
	if (n >= 0 && m->head.type == MSG_FAILED) {
		conf_error_set(err, "%s", m->text);
		return -EIO;
	}
	if (n >= 0 && m->head.type == (uint32_t)want) {
		if (ret_fd)
			*ret_fd = fd;
		else
			fd_close(fd);
		return 0;
	}
	fd_close(fd);
	conf_error_set(err, "the %s did not start", c->name);
	return -EIO;
}

static int start_proxy(struct run *r, int *ret_gateway_end, struct conf_error *err)
{
	struct weir_config *cfg = r->cfg;
	int sup[2], flows[2], rc;
	pid_t self = getpid();
	struct msg m;

	rc = channel(sup, err);
	if (rc < 0)
		return rc;
	rc = channel(flows, err);
	if (rc < 0)
		return rc;
	r->proxy.pid = fork();
	if (r->proxy.pid == 0) {
		struct proxy_spec spec = { .parent = self,
					   .cfg = cfg,
					   .run = r->id,
					   .supervisor = sup[1],
					   .gateway = flows[1],
					   .keylog = r->capture >= 0 };

		fd_close(sup[0]);
		fd_close(flows[0]);
		proxy_main(&spec);
	}
	fd_close(sup[1]);
	fd_close(flows[1]);
	r->proxy.sock = sup[0];
	*ret_gateway_end = flows[0];
	for (size_t i = 0; i < cfg->n_secrets; i++) {
		rc = first_words(&r->proxy, &m, MSG_PLACEHOLDER, NULL, err);
		if (rc < 0)
			return rc;
		r->placeholders[i] = strdup(m.text);
	}
	rc = first_words(&r->proxy, &m, MSG_CA, NULL, err);
	if (rc < 0)
		return rc;
	r->ca_pem = strdup(m.text);
	return first_words(&r->proxy, &m, MSG_READY, NULL, err);
}

static int start_sandbox(struct run *r, int *ret_tap, struct conf_error *err)
{
	struct sandbox_spec spec;
	struct sandbox sb;
	struct msg m;
	int rc = run_environment(r->cfg, r->placeholders, r->ca_pem != NULL, &r->envp);

	if (rc == 0)
		rc = run_hidden_paths(r->cfg, r->audit_path, &r->hidden);
	if (rc < 0) {
		conf_error_set(err, "%s", strerror(-rc));
		return rc;
	}
	spec = (struct sandbox_spec){
		.argv = r->cfg->command,
		.envp = r->envp,
		.hostname = r->cfg->name,
		.ca_pem = r->ca_pem,
		.hidden_paths = r->hidden,
		.foreground = r->given,
		.root = geteuid() == 0,
	};
	rc = sandbox_start(&spec, &sb, err);
	if (rc < 0)
		return rc;
	r->sandbox.pid = sb.pid;
	r->sandbox.sock = sb.sock;
	return first_words(&r->sandbox, &m, MSG_LINK, ret_tap, err);
}

static int start_gateway(struct run *r, int tap, int proxy_end, struct conf_error *err)
{
	struct endpoint resolvers[RUN_MAX_RESOLVERS];
	struct gateway_spec spec = {
		.parent = getpid(),
		.cfg = r->cfg,
		.run = r->id,
		.proxy = proxy_end,
		.capture = r->capture,
		.published = r->published,
		.resolvers = resolvers,
		.n_resolvers = run_resolvers(r->cfg, resolvers),
	};
	struct msg m;
	int sup[2], rc = channel(sup, err);

	if (rc < 0)
		return rc;
	if (!spec.n_resolvers)
		log_warn("no resolver: /etc/resolv.conf names none; use --dns-server");
	r->gateway.pid = fork();
	if (r->gateway.pid == 0) {
		spec.supervisor = sup[1];
		gateway_main(&spec, tap);
	}
	fd_close(sup[1]);
	r->gateway.sock = sup[0];
	return first_words(&r->gateway, &m, MSG_READY, NULL, err);
}

static int listen_to(struct run *r, struct child *c, void (*cb)(struct loop_io *io, uint32_t revents))
{
	return c->pid ? loop_io_add(r->loop, &c->io, c->sock, EPOLLIN, cb) : 0;
}

/*
 * Requests are read where TLS is intercepted, and on plain HTTP where rules go
 * by name: one connection can carry requests for several hosts.
 */
static bool needs_proxy(const struct weir_config *cfg)
{
	return cfg->tls_intercept || policy_has_names(cfg->policy);
}

static int start_all(struct run *r, struct conf_error *err)
{
	int tap = -1, proxy_end = -1, rc = 0;

	if (needs_proxy(r->cfg))
		rc = start_proxy(r, &proxy_end, err);
	if (!r->cfg->tls_intercept) {
		free(r->ca_pem);
		r->ca_pem = NULL;
	}
	/* From here on no process but the tlsproxy has a value. */
	secret_wipe_environment(r->cfg);
	if (rc == 0)
		rc = start_sandbox(r, &tap, err);
	if (rc == 0)
		rc = start_gateway(r, tap, proxy_end, err);
	fd_close(tap);
	fd_close(proxy_end);
	if (rc < 0)
		return rc;
	rc = start_signals(r);
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

/* Two runs with the same digest were judged by the same rules. */
static int digest_policy(struct run *r)
{
	unsigned char sum[32];
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int rc = f ? policy_print(r->cfg->policy, f) : -ENOMEM;

	if (f && fclose(f) != 0)
		rc = -ENOMEM;
	if (rc == 0 && EVP_Digest(text, len, sum, NULL, EVP_sha256(), NULL) != 1)
		rc = -EIO;
	free(text);
	snprintf(r->policy_digest, sizeof(r->policy_digest), "sha256:");
	for (size_t i = 0; rc == 0 && i < sizeof(sum); i++)
		snprintf(r->policy_digest + 7 + 2 * i, 3, "%02x", sum[i]);
	return rc;
}

static int open_files(struct run *r, struct conf_error *err)
{
	const struct weir_config *cfg = r->cfg;
	int rc = 0;

	if (cfg->audit_path)
		r->audit_path = strdup(cfg->audit_path);
	else
		rc = state_audit_path(r->id, &r->audit_path);
	if (rc == 0)
		rc = audit_log_open(r->audit_path, -1, r->id, cfg->name, &r->log);
	if (rc == 0 && stat(r->audit_path, &r->audit_stat) < 0)
		rc = -errno;
	if (rc < 0) {
		conf_error_set(err, "cannot open the record %s: %s",
			       r->audit_path ? r->audit_path : "", audit_log_why(rc));
		return rc;
	}
	if (r->audit_stat.st_nlink > 1) {
		conf_error_set(err,
			       "the record %s has other names (hard links) that the sandbox could "
			       "change it by; name another one",
			       r->audit_path);
		return -EMLINK;
	}
	r->capture = -1;
	if (cfg->capture_path) {
		r->capture = open(cfg->capture_path,
				  O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (r->capture < 0) {
			rc = -errno;
			conf_error_set(err, "cannot open the capture %s: %s", cfg->capture_path,
				       strerror(errno));
			return rc;
		}
	}
	r->published = calloc(cfg->n_publish + 1, sizeof(*r->published));
	r->placeholders = calloc(cfg->n_secrets + 1, sizeof(*r->placeholders));
	return run_publish(cfg, r->published, err);
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

static void say_json(const struct run *r, const struct audit_totals *t)
{
	json_t *o = json_pack("{s:s, s:s, s:i, s:s}", "run", r->id, "name", r->cfg->name, "status",
			      r->status, "record", r->audit_path);
	const struct {
		const char *key;
		uint64_t value;
	} counts[] = {
		{ "events", t->events },	 { "allowed", t->allowed },
		{ "denied", t->denied },	 { "failed", t->failed },
		{ "violations", t->violations }, { "secrets_used", t->secrets_used },
		{ "bytes_up", t->bytes_up },	 { "bytes_down", t->bytes_down },
	};

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		(void)json_object_set_new(o, counts[i].key,
					  json_integer((json_int_t)counts[i].value));
	if (json_dumpf(o, stderr, JSON_COMPACT) == 0)
		fputc('\n', stderr);
	json_decref(o);
}

static void say_summary(const struct run *r)
{
	struct audit_totals t;
	struct stat now;

	audit_log_totals(r->log, &t);
	if (r->cfg->json)
		say_json(r, &t);
	else if (isatty(STDERR_FILENO) && (t.denied || t.violations))
		log_line(LOG_LEVEL_WARN, "%llu denied, %llu violation%s; see: weir audit %s",
			 (unsigned long long)t.denied, (unsigned long long)t.violations,
			 t.violations == 1 ? "" : "s", r->audit_path);
	/* Who shares the directory can put another file in its place. */
	if (stat(r->audit_path, &now) < 0 || now.st_dev != r->audit_stat.st_dev ||
	    now.st_ino != r->audit_stat.st_ino)
		log_error("the record %s was replaced while the sandbox ran: do not trust it",
			  r->audit_path);
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
	run_strv_free(r->envp);
	run_strv_free(r->hidden);
	for (size_t i = 0; r->placeholders && i < r->cfg->n_secrets; i++)
		free(r->placeholders[i]);
	free(r->placeholders);
	free(r->published);
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
	record_run(r, "failed", text);
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
	rc = open_files(r, err);
	if (rc == 0)
		rc = digest_policy(r);
	if (rc == 0)
		rc = start_all(r, err);
	if (rc < 0) {
		record_start_failure(r, err->text[0] ? err->text : strerror(-rc));
		return rc;
	}
	record_run(r, "begin", NULL);
	if (!r->command_ended && msg_send(r->sandbox.sock, MSG_GO, 0, NULL, 0, NULL, 0) < 0)
		fail_run(r, "the sandbox ended before it began");
	rc = loop_run(r->loop);
	if (rc < 0)
		return rc;
	if (!r->failed)
		record_run(r, "end", NULL);
	rc = audit_log_flush(r->log);
	if (rc < 0) {
		conf_error_set(err, "cannot write the record %s: %s", r->audit_path, strerror(-rc));
		return rc;
	}
	say_summary(r);
	return 0;
}

int cmd_run(int argc, char **argv)
{
	struct run r = { .capture = -1, .tty = -1 };
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
	make_id(&r);
	if (!r.cfg->name)
		r.cfg->name = strdup(r.id);
	r.gateway = (struct child){ .run = &r, .name = "gateway", .sock = -1 };
	r.proxy = (struct child){ .run = &r, .name = "tlsproxy", .sock = -1 };
	r.sandbox = (struct child){ .run = &r, .name = "sandbox", .sock = -1 };
	r.deadline.cb = on_deadline;
	r.flush.cb = on_flush;
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
