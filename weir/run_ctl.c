/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket of a run: who may ask, one request each, one reply.
 *
 * A client is the user (or root), yet it may be slow, broken or gone: there are
 * few at a time, each has a deadline, and nothing here waits for one. A request
 * that takes the other processes a while (a policy) goes on without its client
 * when that leaves: it is done whole or not at all.
 *
 * What the sandbox runs cannot come here: the directory of the sockets is
 * covered in it, and the kernel says who connects.
 */
#include "weir/run_internal.h"

#include "weir/sealed.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CTL_DEADLINE (10 * NS_PER_S)

static void close_client(struct ctl_client *c)
{
	loop_io_del(&c->io);
	loop_timer_del(c->run->loop, &c->deadline);
	fd_close(c->fd);
	c->fd = -1;
	run_policy_forget(c->run, c);
	run_ports_forget(c->run, c);
	run_secrets_forget(c->run, c);
}

void run_ctl_reply(struct ctl_client *c, json_t *o, int fd)
{
	char *text = o ? json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;

	json_decref(o);
	/* A client that cannot take its answer at once has lost it. */
	if (c && text && strlen(text) < CTL_MESSAGE_MAX &&
	    ipc_send(c->fd, text, strlen(text), &fd, fd >= 0) < 0)
		log_debug("control: a client did not take its reply");
	free(text);
	if (c)
		close_client(c);
}

void run_ctl_refuse(struct ctl_client *c, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* A text that was cut may end within a character, which JSON would not carry. */
	for (char *s = text; *s; s++)
		if (*s < 0x20 || *s > 0x7e)
			*s = '?';
	run_ctl_reply(c, json_pack("{s:b, s:s}", "ok", 0, "error", text), -1);
}

void run_ctl_hand_out(struct ctl_client *c, int (*add)(void *to, int fd), void *to, json_t *o)
{
	int sv[2], r = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		r = -errno;
	if (r == 0) {
		r = add(to, sv[0]);
		if (r == 0)
			run_ctl_reply(c, o, sv[1]);
		else
			fd_close(sv[0]);
		fd_close(sv[1]);
	}
	if (r < 0) {
		json_decref(o);
		run_ctl_refuse(c, "no connection: %s",
			       r == -EAGAIN ? "too many are open" : strerror(-r));
	}
}

/* ---- verbs ---------------------------------------------------------------------- */

static void tell_status(struct run *r, struct ctl_client *c, bool heard)
{
	const struct policy *floor = policy_floor(r->cfg->policy);
	struct audit_totals t;
	json_t *o;

	audit_log_totals(r->log, &t);
	o = json_pack("{s:b, s:s, s:s, s:i, s:s?, s:I, s:I, s:s, s:I, s:b, s:b, s:s, s:b}", "ok", 1,
		      "id", r->id, "name", r->cfg->name, "pid", (int)getpid(), r->subject->key,
		      r->what, "uptime_ms", (json_int_t)((loop_now(r->loop) - r->began) / NS_PER_MS),
		      "generation", (json_int_t)r->generation, "policy", r->policy_digest, "rules",
		      (json_int_t)policy_rule_count(r->cfg->policy), "observe", r->cfg->observe,
		      "floor", floor != NULL, "record", r->audit_path, "tls_intercept",
		      r->cfg->tls_intercept);
	if (o) {
		run_life_json(r, o);
		run_totals_json(o, &t);
		run_stats_json(r, heard, o);
	}
	run_ctl_reply(c, o, -1);
}

static void do_status(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	(void)request;
	(void)fd;
	run_stats_ask(r, c, tell_status);
}

static void do_rate(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	(void)fd;
	run_rates_set(r, c, json_string_value(json_object_get(request, "rate")));
}

static void do_show(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	(void)request;
	(void)fd;
	run_ctl_reply(c,
		      json_pack("{s:b, s:I, s:s}", "ok", 1, "generation", (json_int_t)r->generation,
				"policy", r->policy_digest),
		      r->policy_fd);
}

static void do_counters(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	json_t *rules = audit_log_rules(r->log);
	char *text = rules ? json_dumps(rules, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
	cleanup_close int out = -1;

	(void)request;
	(void)fd;
	json_decref(rules);
	if (!text || sealed_new(text, strlen(text), &out) < 0)
		run_ctl_refuse(c, "out of memory");
	else
		run_ctl_reply(
			c, json_pack("{s:b, s:I}", "ok", 1, "generation", (json_int_t)r->generation),
			out);
	free(text);
}

static void do_set(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	(void)request;
	if (fd < 0)
		run_ctl_refuse(c, "policy.set: the policy is missing beside the request");
	else
		run_policy_set(r, c, fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

static const char *spec_of(const json_t *request)
{
	return json_string_value(json_object_get(request, "port"));
}

static void do_publish(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	(void)fd;
	run_ports_publish(r, c, spec_of(request));
}

static void do_unpublish(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	(void)fd;
	run_ports_unpublish(r, c, spec_of(request),
			    json_is_true(json_object_get(request, "end_flows")));
}

static void do_ports(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	(void)request;
	(void)fd;
	run_ports_show(r, c);
}

/* The certificate, never the key: that is the tlsproxy's alone. */
static void do_ca(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	cleanup_close int out = -1;

	(void)request;
	(void)fd;
	if (!r->ca_pem)
		run_ctl_refuse(c, "its TLS is not read (--tls-intercept): it has no authority");
	else if (sealed_new(r->ca_pem, strlen(r->ca_pem), &out) < 0)
		run_ctl_refuse(c, "out of memory");
	else
		run_ctl_reply(c, json_pack("{s:b}", "ok", 1), out);
}

static void do_secret(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	run_secrets_change(r, c, request, fd);
}

static void do_secrets(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	(void)request;
	(void)fd;
	run_secrets_list(r, c);
}

static void do_attach(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	(void)request;
	(void)fd;
	run_attach_client(r, c);
}

static void dispatch(struct run *r, struct ctl_client *c, const json_t *request, int fd)
{
	static const struct {
		const char *verb;
		void (*fn)(struct run *r, struct ctl_client *c, const json_t *request, int fd);
	} verbs[] = {
		{ "status", do_status },
		{ "policy.set", do_set },
		{ "policy.show", do_show },
		{ "counters", do_counters },
		{ "ports.publish", do_publish },
		{ "ports.unpublish", do_unpublish },
		{ "ports.show", do_ports },
		{ "rate.set", do_rate },
		{ "ca.show", do_ca },
		{ "secret.change", do_secret },
		{ "secret.list", do_secrets },
		{ "attach", do_attach },
	};
	const char *verb = json_string_value(json_object_get(request, "verb"));

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (str_eq(verb, verbs[i].verb)) {
			verbs[i].fn(r, c, request, fd);
			return;
		}
	if (run_life_ask(r, c, verb, request) ||
	    (r->subject->ask && r->subject->ask(r, c, verb, request)))
		return;
	if (str_eq(verb, "agent"))
		run_ctl_refuse(c,
			       "it is no microVM: weir exec, shell, cp and metrics are for those "
			       "(weir run --backend kvm or qemu)");
	else
		run_ctl_refuse(c,
			       "this run (weir " WEIR_VERSION ") does not know what was asked for");
}

/* ---- clients -------------------------------------------------------------------- */

static void on_client(struct loop_io *io, uint32_t revents)
{
	struct ctl_client *c = container_of(io, struct ctl_client, io);
	char text[CTL_MESSAGE_MAX];
	cleanup_close int fd = -1;
	size_t n_fds = 0;
	json_t *o;
	ssize_t n;

	/* Its request is under way, and it has nothing more to say. */
	if (c->asked || !(revents & EPOLLIN)) {
		close_client(c);
		return;
	}
	n = ipc_recv(io->fd, text, sizeof(text), &fd, 1, &n_fds);
	if (n == -EAGAIN)
		return;
	if (n == -EMSGSIZE) {
		run_ctl_refuse(c, "the request is too long");
		return;
	}
	if (n <= 0) {
		close_client(c);
		return;
	}
	c->asked = true;
	loop_io_set(io, 0);
	loop_timer_del(c->run->loop, &c->deadline);
	o = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_string(json_object_get(o, "verb")))
		dispatch(c->run, c, o, fd);
	else
		run_ctl_refuse(c, "a request is a JSON object with a \"verb\"");
	json_decref(o);
}

static void on_deadline(struct loop_timer *t)
{
	struct ctl_client *c = container_of(t, struct ctl_client, deadline);

	if (!run_stats_late(c->run, c))
		close_client(c);
}

/* The user who runs us, and root. */
static bool may_ask(int fd, uid_t *ret_uid)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return false;
	*ret_uid = who.uid;
	return who.uid == geteuid() || who.uid == 0;
}

static struct ctl_client *free_client(struct run *r)
{
	for (size_t i = 0; i < CTL_CLIENTS; i++)
		if (r->clients[i].fd < 0)
			return &r->clients[i];
	return NULL;
}

/* What a client has sent must be read before its connection is closed, or it loses the answer. */
static void turn_away(int fd)
{
	static const char busy[] = "{\"ok\":false,\"error\":\"too many are asking: try again\"}";
	char unread[64];

	shutdown(fd, SHUT_RD);
	while (recv(fd, unread, sizeof(unread), MSG_DONTWAIT) > 0)
		;
	if (ipc_send(fd, busy, sizeof(busy) - 1, NULL, 0) < 0)
		log_debug("control: too many clients");
	fd_close(fd);
}

static void take(struct run *r, int fd)
{
	struct ctl_client *c = free_client(r);
	uid_t uid;

	if (!may_ask(fd, &uid)) {
		fd_close(fd);
		return;
	}
	if (!c) {
		turn_away(fd);
		return;
	}
	*c = (struct ctl_client){ .run = r, .fd = fd, .uid = uid, .deadline.cb = on_deadline };
	if (loop_io_add(r->loop, &c->io, fd, EPOLLIN, on_client) < 0) {
		fd_close(fd);
		c->fd = -1;
		return;
	}
	loop_timer_set(r->loop, &c->deadline, loop_now(r->loop) + CTL_DEADLINE);
}

static void on_connect(struct loop_io *io, uint32_t revents)
{
	struct run *r = container_of(io, struct run, ctl_io);

	(void)revents;
	for (size_t i = 0; i < CTL_CLIENTS; i++) {
		int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		take(r, fd);
	}
}

int run_ctl_start(struct run *r)
{
	int rc = ctl_listen(r->id, r->cfg->name, &r->ctl);

	if (rc < 0) {
		log_info(
			"this run cannot be controlled (weir ctl): no directory for its socket: %s",
			strerror(-rc));
		return 0;
	}
	return loop_io_add(r->loop, &r->ctl_io, r->ctl.fd, EPOLLIN, on_connect);
}

void run_ctl_end(struct run *r)
{
	for (size_t i = 0; i < CTL_CLIENTS; i++)
		if (r->clients[i].fd >= 0)
			close_client(&r->clients[i]);
	loop_io_del(&r->ctl_io);
	ctl_unlisten(&r->ctl);
}
