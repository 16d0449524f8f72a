/* SPDX-License-Identifier: Apache-2.0 */
/* Verdicts into rulings, and one policy after the other. */
#include "weir/judge.h"

#include "weir/message.h"
#include "weir/record.h"
#include "weir/sealed.h"

#include <unistd.h>

void judge_init(struct judge *j, struct policy *policy, bool observe)
{
	*j = (struct judge){ .policy = policy, .generation = 1, .observe = observe };
}

void judge_fini(struct judge *j)
{
	judge_abort(j);
}

/* ---- rulings ------------------------------------------------------------------- */

/* floor: its own verdict, NULL without one; v has heard it already. */
static struct ruling rule(const struct judge *j, struct policy_verdict v,
			  const struct policy_verdict *floor)
{
	struct ruling r = {
		.answer = v.answer,
		.by = v,
		.ruled = true,
		.generation = j->generation,
	};

	if (!j->observe || v.answer != POLICY_ANSWER_DENY)
		return r;
	if (floor && floor->answer == POLICY_ANSWER_DENY) {
		r.by = *floor;
		r.by.floor = true;
		return r;
	}
	r.observed = true;
	r.answer = floor ? floor->answer : POLICY_ANSWER_ALLOW;
	return r;
}

struct ruling judge_facts(const struct judge *j, const struct policy_facts *f)
{
	struct policy_verdict v = policy_decide(j->policy, f), low;
	const struct policy *floor = policy_floor(j->policy);

	if (!j->observe || !floor)
		return rule(j, v, NULL);
	low = policy_decide(floor, f);
	return rule(j, v, &low);
}

struct ruling judge_name(const struct judge *j, const struct name *n)
{
	struct policy_verdict v = policy_decide_query(j->policy, n), low;
	const struct policy *floor = policy_floor(j->policy);

	if (!j->observe || !floor)
		return rule(j, v, NULL);
	low = policy_decide_query(floor, n);
	return rule(j, v, &low);
}

struct ruling judge_alias_of(const struct judge *j, const struct name *asked, const struct name *alias)
{
	struct policy_verdict v = policy_decide_alias(j->policy, asked, alias), low;
	const struct policy *floor = policy_floor(j->policy);

	if (!j->observe || !floor)
		return rule(j, v, NULL);
	low = policy_decide_alias(floor, asked, alias);
	return rule(j, v, &low);
}

struct ruling judge_address(const struct judge *j, const struct ip_addr *a)
{
	const struct policy *floor = policy_floor(j->policy);
	struct policy_verdict v = { .answer = POLICY_ANSWER_ALLOW, .rule = -1 }, low = v;
	struct ruling r;

	if (floor && !policy_answer_ok(floor, a)) {
		low.answer = v.answer = POLICY_ANSWER_DENY;
		low.floor = v.floor = true;
	} else if (!policy_answer_ok(j->policy, a)) {
		v.answer = POLICY_ANSWER_DENY;
	}
	r = rule(j, v, floor ? &low : NULL);
	r.ruled = false;
	return r;
}

struct ruling judge_refusal(const struct judge *j)
{
	return (struct ruling){
		.answer = POLICY_ANSWER_DENY,
		.by = { .answer = POLICY_ANSWER_DENY, .rule = -1 },
		.generation = j->generation,
	};
}

bool judge_enforces(const struct judge *j)
{
	return !j->observe || policy_floor(j->policy);
}

struct ruling judge_own_refusal(const struct judge *j)
{
	struct ruling r = judge_refusal(j);

	if (!judge_enforces(j)) {
		r.answer = POLICY_ANSWER_ALLOW;
		r.observed = true;
	}
	return r;
}

bool judge_means_doh(const struct judge *j, const struct ruling *r)
{
	return !r->observed && r->answer != POLICY_ANSWER_DENY &&
	       policy_verdict_is_doh(j->policy, &r->by);
}

/* ---- another policy --------------------------------------------------------------- */

/* One text on its way to be a policy. Called off, it ends all the same, for nobody. */
struct judge_load {
	struct worker_job job;
	struct judge *judge;
	int fd;
	uint64_t generation;
	struct policy *policy; /* NULL: refused, err says why */
	struct conf_error err;
};

static void free_policy(void *policy)
{
	policy_free(policy);
}

static void free_aside(struct judge *j, struct policy *p)
{
	if (p)
		worker_later(j->worker, free_policy, p);
}

/* A supervisor that cannot be told has gone, and so do we. */
static void tell(const struct judge *j, enum msg_type type, uint64_t generation, uint64_t reset)
{
	struct msg m = { .policy = { .generation = generation, .reset = reset } };

	record_flush(j->record);
	if (msg_send(j->record->sock, type, 0, &m.policy, sizeof(m.policy), NULL, 0) < 0)
		_exit(1);
}

static void refuse(const struct judge *j, const char *why)
{
	record_flush(j->record);
	if (msg_send_text(j->record->sock, MSG_POLICY_REFUSED, 0, why) < 0)
		_exit(1);
}

static void load(struct worker_job *job)
{
	struct judge_load *l = container_of(job, struct judge_load, job);

	if (sealed_policy(l->fd, "policy", &l->policy, &l->err) < 0)
		l->policy = NULL;
	fd_close(l->fd);
}

static void loaded(struct worker_job *job)
{
	struct judge_load *l = container_of(job, struct judge_load, job);
	struct judge *j = l->judge;

	if (j->loading != l) {
		free_aside(j, l->policy);
	} else if (l->policy) {
		j->loading = NULL;
		j->next = l->policy;
		j->next_generation = l->generation;
		tell(j, MSG_POLICY_READY, l->generation, 0);
	} else {
		j->loading = NULL;
		refuse(j, l->err.text);
	}
	free(l);
}

void judge_listen(struct judge *j, struct worker *w, struct record *r)
{
	j->worker = w;
	j->record = r;
}

void judge_prepare(struct judge *j, int fd, uint64_t generation)
{
	struct judge_load *l = calloc(1, sizeof(*l));

	judge_abort(j);
	if (!l) {
		fd_close(fd);
		refuse(j, "out of memory");
		return;
	}
	*l = (struct judge_load){
		.job = { .work = load, .done = loaded },
		.judge = j,
		.fd = fd,
		.generation = generation,
	};
	j->loading = l;
	worker_post(j->worker, &l->job);
}

void judge_abort(struct judge *j)
{
	free_aside(j, j->next);
	j->next = NULL;
	j->loading = NULL;
}

int judge_commit(struct judge *j, uint64_t generation, struct policy **ret_old)
{
	if (!j->next || j->next_generation != generation)
		return -ENOENT;
	policy_set_floor(j->next, policy_take_floor(j->policy));
	*ret_old = j->policy;
	j->policy = j->next;
	j->generation = generation;
	j->next = NULL;
	return 0;
}

bool judge_message(struct judge *j, const struct msg *m, size_t body, int fd,
		   size_t (*rejudge)(void *ctx), void *ctx)
{
	cleanup_close int owned = fd;
	struct policy *old = NULL;
	uint64_t generation;

	if (m->head.type != MSG_POLICY && m->head.type != MSG_POLICY_COMMIT &&
	    m->head.type != MSG_POLICY_ABORT) {
		owned = -1;
		return false;
	}
	if (body < sizeof(m->policy))
		return true;
	generation = m->policy.generation;
	if (m->head.type == MSG_POLICY_ABORT) {
		judge_abort(j);
	} else if (m->head.type == MSG_POLICY) {
		judge_prepare(j, steal_fd(&owned), generation);
	} else if (judge_commit(j, generation, &old) == 0) {
		tell(j, MSG_POLICY_DONE, generation, rejudge(ctx));
		free_aside(j, old);
	}
	return true;
}
