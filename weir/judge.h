/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place that turns policy's word into what is done. The gateway and the
 * tlsproxy each hold a judge; it knows the policy in force, which generation of
 * it that is, and whether denials are enforced or only observed (--observe).
 *
 * Observed: what the rules deny is allowed and recorded as a denial that was
 * not enforced. What the operator's floor denies stays denied. A verdict that
 * waits for a fact waits for it all the same, so that what is recorded is what
 * the rules would have done.
 *
 * Another policy comes in two steps, so that it is in force in both processes or
 * in neither: judge_prepare() loads it and changes nothing; judge_commit()
 * cannot fail. Loading is the worker's: what lives goes on meanwhile.
 */
#ifndef WEIR_JUDGE_H
#define WEIR_JUDGE_H

#include "base/base.h"
#include "policy/policy.h"
#include "weir/worker.h"

struct record;

struct judge_load;

struct judge {
	struct policy *policy; /* with the floor below it */
	uint64_t generation;   /* 1: what the run began with */
	bool observe;
	struct policy *next; /* prepared; NULL: none */
	uint64_t next_generation;
	struct judge_load *loading; /* the worker's; NULL: none that still counts */
	struct worker *worker;
	struct record *record; /* its socket leads to the supervisor, who is told */
};

struct ruling {
	enum policy_answer answer; /* what is done */
	struct policy_verdict by;  /* the rule; by.answer is the policy's own word */
	bool ruled;		   /* a rule or the default decided; else a reason of weir's own */
	bool observed;		   /* by denies, and is not enforced */
	uint64_t generation;
};

/* policy is the caller's until the first commit, which frees it. */
void judge_init(struct judge *j, struct policy *policy, bool observe);
/* From now on it hears of other policies (judge_message). All outlive j. */
void judge_listen(struct judge *j, struct worker *w, struct record *r);
/* Frees what was prepared. A worker it listened with must have been stopped. */
void judge_fini(struct judge *j);

struct ruling judge_facts(const struct judge *j, const struct policy_facts *f);
struct ruling judge_name(const struct judge *j, const struct name *n);
struct ruling judge_alias_of(const struct judge *j, const struct name *asked,
			     const struct name *alias);
/* Rebinding: allow or deny; no rule is named, but by.floor may be set. */
struct ruling judge_address(const struct judge *j, const struct ip_addr *a);
/* A refusal that no rule asked for. */
struct ruling judge_refusal(const struct judge *j);
/*
 * Is a refusal that serves the rules, without being one (a name or a request
 * that cannot be read), enforced? Not while only observing, unless there is a
 * floor: what it would say of the unread is not known.
 */
bool judge_enforces(const struct judge *j);
/* Such a refusal: denied, or allowed and observed. */
struct ruling judge_own_refusal(const struct judge *j);

/* Did a rule on group doh allow it: is a resolver of the sandbox's own what was meant? */
bool judge_means_doh(const struct judge *j, const struct ruling *r);

/*
 * fd holds the text (sealed.h) and is taken over. What was prepared before is
 * forgotten. The supervisor is told when it is ready, or why it is refused.
 */
void judge_prepare(struct judge *j, int fd, uint64_t generation);
/* Forgets what is prepared, and what is being. */
void judge_abort(struct judge *j);
/*
 * Puts the prepared policy in force and moves the floor over to it. -ENOENT when none
 * of this generation is prepared. *ret_old is the caller's to free, when nothing
 * points into it any more.
 */
must_check int judge_commit(struct judge *j, uint64_t generation, struct policy **ret_old);

struct msg;
/*
 * A message of the supervisor that may be about policies (message.h); body is its
 * length, fd its descriptor or -1, which is closed. rejudge is called with a new
 * policy in force and returns how many flows it ended; texts of the old one's
 * verdicts are valid until it returns. False: not about policies.
 */
bool judge_message(struct judge *j, const struct msg *m, size_t body, int fd,
		   size_t (*rejudge)(void *ctx), void *ctx);

#endif
