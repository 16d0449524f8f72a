/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tlsproxy's life: started before anything else, and started again when it
 * dies, because a run that ends with every crash is a run that whoever can crash
 * it can end.
 *
 *   it dies ─► the gateway sees its channel end: flows that it carried are reset,
 *              new ones wait a while (gateway_proxy.c); nothing passes unread
 *           ─► on the record, with how and how often
 *           ─► a successor is forked: the CA, values and placeholders are the
 *              vault's (vault.h), the policy and the secrets' rules are ours
 *           ─► it is ready: the gateway gets its channel, what waited goes on
 *
 * Whatever brings it down again and again may be somebody who guesses: more than
 * `limits.tlsproxy_restarts` deaths within a minute end the run.
 *
 * Nothing here waits for it but the first start, when nobody waits for us. A
 * fork takes the thread that forks and no other: while the worker loads a policy
 * there is none, and the change is refused when it has loaded; the little that it
 * may clear away is waited for.
 */
#include "weir/run_internal.h"

#include "weir/message.h"
#include "weir/proxy.h"

#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

/* It reads the system's certificates; a machine may be busy. */
#define START_DEADLINE (60 * NS_PER_S)
#define DEATHS_WINDOW (60 * NS_PER_S)

/* ---- the record ----------------------------------------------------------------- */

static void record(struct run *r, const char *event, const char *why)
{
	struct audit_event e;
	const char *text;
	size_t len;

	audit_event_begin(&e, "run");
	audit_str(&e, "event", event);
	audit_u64(&e, "generation", r->generation);
	audit_u64(&e, "restarts", r->life.restarts);
	audit_str(&e, "detail", why);
	text = audit_event_end(&e, &len);
	run_record_append(r, "weir", text, len);
}

/* ---- a new process ------------------------------------------------------------------ */

static int fork_proxy(struct run *r, int sup[2], int flows[2])
{
	pid_t self = getpid();

	worker_hold(&r->worker);
	vault_share_key(&r->vault, true);
	r->proxy.pid = fork();
	if (r->proxy.pid == 0) {
		struct proxy_spec spec = { .parent = self,
					   .cfg = r->cfg,
					   .run = r->id,
					   .supervisor = sup[1],
					   .gateway = flows[1],
					   .vault = r->vault,
					   .generation = r->generation,
					   .restarts = r->life.restarts,
					   .keylog = r->capture >= 0 };

		fd_close(sup[0]);
		fd_close(flows[0]);
		proxy_main(&spec);
	}
	vault_share_key(&r->vault, false);
	worker_release(&r->worker);
	return r->proxy.pid < 0 ? -errno : 0;
}

/* The process and its channels; r->life.gateway_end is for the gateway. */
static int start(struct run *r, struct conf_error *err)
{
	int sup[2], flows[2], rc = run_channel(sup, err);

	if (rc < 0)
		return rc;
	rc = run_channel(flows, err);
	if (rc < 0) {
		fd_close(sup[0]);
		fd_close(sup[1]);
		return rc;
	}
	rc = fork_proxy(r, sup, flows);
	fd_close(sup[1]);
	fd_close(flows[1]);
	if (rc < 0) {
		fd_close(sup[0]);
		fd_close(flows[0]);
		r->proxy.pid = 0;
		conf_error_set(err, "no process for the tlsproxy: %s", strerror(-rc));
		return rc;
	}
	r->proxy.sock = sup[0];
	r->life.gateway_end = flows[0];
	return 0;
}

int run_proxy_first(struct run *r, struct conf_error *err)
{
	struct msg m;
	int rc = vault_new(&r->vault, err);

	if (rc == 0)
		rc = start(r, err);
	for (size_t i = 0; rc == 0 && i < r->cfg->n_secrets; i++) {
		rc = run_first_words(&r->proxy, &m, MSG_PLACEHOLDER, NULL, err);
		if (rc == 0)
			r->placeholders[i] = strdup(m.text);
	}
	if (rc == 0)
		rc = run_first_words(&r->proxy, &m, MSG_CA, NULL, err);
	if (rc < 0)
		return rc;
	r->ca_pem = strdup(m.text);
	rc = run_first_words(&r->proxy, &m, MSG_READY, NULL, err);
	r->life.up = rc == 0;
	return rc;
}

/* ---- its death --------------------------------------------------------------------------- */

static bool is_gone(const struct run *r)
{
	return !r->proxy.pid && !r->proxy.io.loop;
}

static void on_late(struct loop_timer *t)
{
	struct run *r = container_of(t, struct run, life.late);

	if (!r->ending)
		run_fail(r, "the tlsproxy did not start again in time; %s", r->subject->stopped);
}

static void start_again(struct run *r)
{
	struct conf_error err = { { 0 } };
	int rc;

	/* Its thread holds what a child would need; who loads comes back here. */
	if (r->ending || run_policy_loading(r))
		return;
	rc = start(r, &err);
	if (rc == 0)
		rc = run_listen_to(r, &r->proxy, run_on_helper);
	if (rc < 0) {
		run_fail(r, "the tlsproxy cannot be started again: %s; %s",
			 err.text[0] ? err.text : strerror(-rc), r->subject->stopped);
		return;
	}
	r->life.late.cb = on_late;
	loop_timer_set(r->loop, &r->life.late, loop_now(r->loop) + START_DEADLINE);
}

static bool too_often(struct run *r)
{
	uint64_t now = loop_now(r->loop);

	if (r->life.deaths == 0 || now - r->life.since > DEATHS_WINDOW) {
		r->life.since = now;
		r->life.deaths = 0;
	}
	return ++r->life.deaths > r->cfg->proxy_restarts;
}

static void how_it_died(const struct run *r, char *out, size_t size)
{
	int status = r->proxy.status;

	if (WIFSIGNALED(status))
		snprintf(out, size, "killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(out, size, "ended with status %d", WEXITSTATUS(status));
}

static void died(struct run *r)
{
	char how[96];

	r->life.up = false;
	fd_close(r->proxy.sock);
	fd_close(r->life.gateway_end);
	r->proxy.sock = r->life.gateway_end = -1;
	loop_timer_del(r->loop, &r->life.late);
	how_it_died(r, how, sizeof(how));
	record(r, "tlsproxy_died", how);
	log_warn("the tlsproxy was %s; what it carried is reset", how);
	run_policy_helper_gone(&r->proxy);
	run_secrets_proxy_died(r);
	if (too_often(r)) {
		run_fail(r, "the tlsproxy died %u times within a minute (%s); %s", r->life.deaths,
			 how, r->subject->stopped);
		return;
	}
	r->life.restarts++;
	start_again(r);
}

bool run_proxy_lost(struct run *r)
{
	if (r->ending || r->failed)
		return false;
	/* One that closes its channel and lives on is none of ours any more. */
	if (r->proxy.pid)
		kill(r->proxy.pid, SIGKILL);
	if (is_gone(r))
		died(r);
	return true;
}

void run_proxy_reaped(struct run *r)
{
	if (!r->ending && !r->failed && is_gone(r))
		died(r);
}

void run_proxy_loaded(struct run *r)
{
	if (!r->life.up && is_gone(r))
		start_again(r);
}

bool run_proxy_word(struct run *r, const struct msg *m)
{
	if (m->head.type == MSG_PLACEHOLDER || m->head.type == MSG_CA)
		return true; /* as they were */
	if (m->head.type != MSG_READY || r->life.up)
		return false;
	r->life.up = true;
	loop_timer_del(r->loop, &r->life.late);
	/* A gateway that is gone ends the run as soon as the loop hears of it. */
	if (msg_send(r->gateway.sock, MSG_SUCCESSOR, 0, NULL, 0, &r->life.gateway_end, 1) < 0)
		log_debug("the gateway is gone");
	fd_close(r->life.gateway_end);
	r->life.gateway_end = -1;
	record(r, "tlsproxy_started", NULL);
	run_sources_proxy_up(r);
	return true;
}
