/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another policy for a run that lives.
 *
 *   request ─► loaded here by the worker, printed in its one form, sealed
 *           ─► MSG_POLICY to gateway and tlsproxy: each loads it aside
 *           ─► both MSG_POLICY_READY ─► on the record ─► MSG_POLICY_COMMIT
 *           ─► both MSG_POLICY_DONE ─► on the record ─► the client is told
 *
 * Until both are ready any failure leaves the old policy in force everywhere.
 * From the commit on nothing can fail but a process, and that ends the run.
 * Between the two commits what passes must pass both, the old and the new, for
 * each process judges what it does by itself.
 *
 * The operator's floor and --net-strict stay; what --net-rule and its like put in
 * front of the old policy goes with it.
 */
#include "weir/run_internal.h"

#include "weir/message.h"
#include "weir/sealed.h"

#include <stdio.h>
#include <unistd.h>

/* Loading a million rules takes ten seconds; a machine may be slow and busy. */
#define SWAP_DEADLINE (300 * NS_PER_S)

static const char ending[] = "the sandbox is ending";

struct policy_swap {
	struct worker_job loading;
	int loaded; /* negative: err says why */
	struct conf_error err;
	struct policy *next;
	int request; /* as it came */
	int fd;	     /* its text, in our words */
	char digest[72];
	uint64_t generation;
	bool committed;
	unsigned waiting; /* helpers that have not said their word */
	uint64_t reset;
	uid_t uid;
	struct ctl_client *client; /* NULL: it left */
	struct loop_timer deadline;
	struct run *run;
	bool loading_done;
};

/* ---- the record -------------------------------------------------------------------- */

static void record(struct run *r, const struct policy_swap *p, const char *event, const char *why)
{
	struct audit_event e;
	const char *text;
	size_t len;

	audit_event_begin(&e, "policy");
	audit_str(&e, "event", event);
	/* Refused: the one that stays. */
	audit_u64(&e, "generation", str_eq(event, "refused") ? r->generation : p->generation);
	audit_u64(&e, "uid", p->uid);
	if (p->next || p->committed) {
		const struct policy *shown = p->next ? p->next : r->cfg->policy;

		audit_str(&e, "policy", p->digest);
		audit_u64(&e, "rules", policy_rule_count(shown));
	}
	if (str_eq(event, "applied"))
		audit_u64(&e, "flows_reset", p->reset);
	audit_str(&e, "detail", why);
	text = audit_event_end(&e, &len);
	run_record_append(r, "weir", text, len);
}

/* ---- the end of a change ------------------------------------------------------------- */

static void free_policy(void *policy)
{
	policy_free(policy);
}

static void free_aside(struct run *r, struct policy *p)
{
	if (p)
		worker_later(&r->worker, free_policy, p);
}

static void forget(struct policy_swap *p)
{
	struct run *r = p->run;

	loop_timer_del(r->loop, &p->deadline);
	free_aside(r, p->next);
	fd_close(p->request);
	fd_close(p->fd);
	if (r->change == p)
		r->change = NULL;
	free(p);
}

static void tell(struct run *r, enum msg_type type, const struct policy_swap *p, int fd)
{
	struct child *helpers[] = { &r->gateway, &r->proxy };
	struct msg m = { .policy = { .generation = p->generation } };

	/* One that is gone ends the run, as soon as the loop hears of it. */
	for (size_t i = 0; i < ARRAY_SIZE(helpers); i++)
		if (helpers[i]->pid && msg_send(helpers[i]->sock, type, 0, &m.policy,
						sizeof(m.policy), &fd, fd >= 0) < 0)
			log_debug("the %s is gone", helpers[i]->name);
}

/* Nothing was changed. */
static void give_up(struct policy_swap *p, const char *why)
{
	struct run *r = p->run;

	tell(r, MSG_POLICY_ABORT, p, -1);
	record(r, p, "refused", why);
	if (p->client)
		run_ctl_refuse(p->client, "%s", why);
	forget(p);
}

static void on_deadline(struct loop_timer *t)
{
	struct policy_swap *p = container_of(t, struct policy_swap, deadline);

	if (p->committed)
		run_fail(p->run, "a process did not take over the policy; %s",
			 p->run->subject->stopped);
	else
		give_up(p, "a process did not load the policy in time; the old one stays in force");
}

/* ---- the steps ------------------------------------------------------------------------ */

static unsigned helpers_of(const struct run *r)
{
	return (r->gateway.pid != 0) + (r->proxy.pid != 0);
}

static void commit(struct policy_swap *p)
{
	struct run *r = p->run;

	record(r, p, "set", NULL);
	p->committed = true;
	p->waiting = helpers_of(r);
	tell(r, MSG_POLICY_COMMIT, p, -1);
	policy_set_floor(p->next, policy_take_floor(r->cfg->policy));
	free_aside(r, r->cfg->policy);
	r->cfg->policy = p->next;
	p->next = NULL;
	fd_close(r->policy_fd);
	r->policy_fd = steal_fd(&p->fd);
	r->generation = p->generation;
	memcpy(r->policy_digest, p->digest, sizeof(r->policy_digest));
}

static void applied(struct policy_swap *p)
{
	struct run *r = p->run;

	record(r, p, "applied", NULL);
	if (p->client)
		run_ctl_reply(p->client,
			      json_pack("{s:b, s:I, s:s, s:I, s:I}", "ok", 1, "generation",
					(json_int_t)p->generation, "policy", p->digest, "rules",
					(json_int_t)policy_rule_count(r->cfg->policy),
					"flows_reset", (json_int_t)p->reset),
			      -1);
	forget(p);
}

void run_policy_word(struct child *c, const struct msg *m, size_t body)
{
	struct policy_swap *p = c->run->change;
	char why[sizeof(struct conf_error) + 64];

	/* As long as the worker has it, nobody has been asked about it. */
	if (!p || !p->loading_done)
		return;
	if (m->head.type == MSG_POLICY_REFUSED && !p->committed) {
		snprintf(why, sizeof(why), "the %s: %.700s", c->name, m->text);
		give_up(p, why);
		return;
	}
	/* A process that was taken over may say what it likes, but each word counts once. */
	if (body < sizeof(m->policy) || m->policy.generation != p->generation ||
	    (m->head.type == MSG_POLICY_DONE) != p->committed || c->policy_said == m->head.type)
		return;
	c->policy_said = (uint32_t)m->head.type;
	p->reset += m->policy.reset;
	if (--p->waiting)
		return;
	if (p->committed)
		applied(p);
	else
		commit(p);
}

/* Rules that would silently not be enforced, because what they need was not started. */
static int check_needs(const struct run *r, const struct policy *p, struct conf_error *err)
{
	if (policy_has_http(p) && !r->cfg->tls_intercept) {
		conf_error_set(err, "rules with \"http\" need TLS interception, and this run was "
				    "started without: start it with --tls-intercept");
		return -EINVAL;
	}
	if (policy_has_names(p) && !r->proxy.pid) {
		conf_error_set(err, "rules by name need the tlsproxy, which is not running");
		return -EINVAL;
	}
	return 0;
}

/* In the worker's thread: what the policy is, in our own words. */
static void load(struct worker_job *job)
{
	struct policy_swap *p = container_of(job, struct policy_swap, loading);
	struct policy_flags flags = { .strict_names = p->run->cfg->strict_names };
	int r = sealed_policy(p->request, "policy", &p->next, &p->err);

	if (r == 0 && flags.strict_names) {
		struct policy *base = p->next;

		p->next = NULL;
		r = policy_compose(base, &flags, &p->next, &p->err);
	}
	if (r == 0) {
		r = sealed_print_policy(p->next, &p->fd, p->digest);
		if (r < 0)
			conf_error_set(&p->err, "the policy cannot be passed on: %s", strerror(-r));
	}
	p->loaded = r;
}

static void on_loaded(struct worker_job *job)
{
	struct policy_swap *p = container_of(job, struct policy_swap, loading);
	struct run *r = p->run;

	p->loading_done = true;
	if (p->loaded == 0 && !r->ending && !r->life.up) {
		p->loaded = -EAGAIN;
		conf_error_set(&p->err, "the tlsproxy died and is being started again: try again");
	} else if (p->loaded == 0 && r->ending) {
		p->loaded = -ECANCELED;
		conf_error_set(&p->err, "%s", ending);
	} else if (p->loaded == 0) {
		p->loaded = check_needs(r, p->next, &p->err);
	}
	if (p->loaded < 0) {
		/* Nobody else has heard of this generation. */
		r->last_generation--;
		give_up(p, p->err.text);
		run_proxy_loaded(r);
		return;
	}
	r->gateway.policy_said = r->proxy.policy_said = 0;
	p->waiting = helpers_of(r);
	tell(r, MSG_POLICY, p, p->fd);
	loop_timer_set(r->loop, &p->deadline, loop_now_update(r->loop) + SWAP_DEADLINE);
}

void run_policy_set(struct run *r, struct ctl_client *c, int fd)
{
	cleanup_close int request = fd;
	struct policy_swap *p;

	if (r->ending) {
		run_ctl_refuse(c, "%s", ending);
		return;
	}
	if (r->change) {
		run_ctl_refuse(c, "another policy is being put in force: try again");
		return;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		run_ctl_refuse(c, "out of memory");
		return;
	}
	*p = (struct policy_swap){
		.loading = { .work = load, .done = on_loaded },
		.run = r,
		.request = steal_fd(&request),
		.fd = -1,
		.client = c,
		.uid = c->uid,
		.generation = ++r->last_generation,
		.deadline.cb = on_deadline,
	};
	r->change = p;
	worker_post(&r->worker, &p->loading);
}

bool run_policy_loading(const struct run *r)
{
	return r->change && !r->change->loading_done;
}

void run_policy_helper_gone(struct child *c)
{
	struct policy_swap *p = c->run->change;

	if (!p || !p->loading_done)
		return;
	if (!p->committed) {
		give_up(p, "a process died meanwhile; the old policy stays in force: try again");
		return;
	}
	/* Its flows were reset, and its successor begins with the new policy. */
	if (c->policy_said == MSG_POLICY_DONE)
		return;
	c->policy_said = MSG_POLICY_DONE;
	if (--p->waiting == 0)
		applied(p);
}

void run_policy_forget(struct run *r, const struct ctl_client *c)
{
	if (r->change && r->change->client == c)
		r->change->client = NULL;
}

void run_policy_end(struct run *r)
{
	/* What it is about to load is not touched before it is done. */
	worker_stop(&r->worker);
	if (r->change)
		forget(r->change);
	fd_close(r->policy_fd);
	r->policy_fd = -1;
}
