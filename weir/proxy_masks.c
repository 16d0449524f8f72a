/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner of the tokens that replies brought, see proxy_masks.h. They stand in the vault's
 * image with everything else; here is when they come and go. What a reply says of their time is
 * believed: a value that no server takes any more is not worth keeping.
 */
#include "weir/proxy_masks.h"

#include <stdio.h>
#include <time.h>

/* After a change that failed for want of memory. */
#define AGAIN_NS (10 * NS_PER_S)

static struct {
	struct proxy_secrets *ps;
	struct tlsproxy *tp;
	struct loop *loop;
	struct record *record;
	void (*changed)(void *ctx);
	void *ctx;
	struct loop_timer next;
	struct loop_task tell;
	uint64_t last; /* number of the newest name */
} all;

/* What is to be: tokens, the oldest first, of which the last `fresh` are those of now. */
struct draft {
	struct kept_token v[KEPT_TOKENS_MAX];
	size_t n, fresh;
	char names[KEPT_TOKENS_MAX][KEPT_TOKEN_NAME_MAX]; /* of new ones */
	size_t n_names;
};

/* ---- when -------------------------------------------------------------------------------- */

static uint64_t now_s(void)
{
	return (uint64_t)time(NULL);
}

static void set_timer(void)
{
	const struct kept *k = &all.ps->kept;
	uint64_t first = UINT64_MAX, now = now_s();

	for (size_t i = 0; i < k->n_tokens; i++)
		if (k->tokens[i].value && k->tokens[i].until)
			first = MIN(first, k->tokens[i].until);
	if (first == UINT64_MAX)
		loop_timer_del(all.loop, &all.next);
	else
		loop_timer_set(all.loop, &all.next,
			       loop_now(all.loop) + (first > now ? first - now : 0) * NS_PER_S +
				       NS_PER_S / 10);
}

/* Their values are forgotten; the sandbox may still have the placeholders. */
static void expire(void)
{
	struct kept_token next[KEPT_TOKENS_MAX];
	struct conf_error err = { "" };
	size_t n = all.ps->kept.n_tokens, over = 0;
	uint64_t now = now_s();

	memcpy(next, all.ps->kept.tokens, n * sizeof(*next));
	for (size_t i = 0; i < n; i++)
		if (next[i].value && next[i].until && next[i].until <= now) {
			next[i].value = NULL;
			next[i].len = 0;
			over++;
		}
	if (over && proxy_secrets_tokens(all.ps, all.tp, next, n, &err) < 0) {
		log_warn("tokens whose time is over are still known: %s", err.text);
		loop_timer_set(all.loop, &all.next, loop_now(all.loop) + AGAIN_NS);
		return;
	}
	set_timer();
}

static void on_next(struct loop_timer *t)
{
	(void)t;
	expire();
}

static void on_tell(struct loop_task *t)
{
	(void)t;
	all.changed(all.ctx);
}

/* ---- new ones ------------------------------------------------------------------------------ */

static void drop(struct draft *d, size_t at, size_t n)
{
	memmove(&d->v[at], &d->v[at + n], (d->n - at - n) * sizeof(d->v[0]));
	d->n -= n;
}

static uint64_t until_of(const struct tlsproxy_fresh *f)
{
	return f->life_s ? now_s() + f->life_s : f->until_s;
}

/* Is it there already: with another lifetime then, and among the newest. */
static bool find(const struct draft *d, const char *env, const struct tlsproxy_fresh *f, size_t *ret)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i].value && d->v[i].len == f->len && str_eq(d->v[i].of, env) &&
		    memcmp(d->v[i].value, f->value, f->len) == 0) {
			*ret = i;
			return true;
		}
	return false;
}

static void add(struct draft *d, const char *env, const struct tlsproxy_fresh *f, size_t max)
{
	struct kept_token t = { .of = env,
				.placeholder = "",
				.value = (const uint8_t *)f->value,
				.len = f->len,
				.renews = f->renews };
	bool was_fresh = false;
	size_t i;

	if (find(d, env, f, &i)) {
		was_fresh = i >= d->n - d->fresh;
		t = d->v[i];
		t.renews |= f->renews;
		drop(d, i, 1);
	} else if (d->n >= max) {
		drop(d, 0, 1);
	}
	t.until = until_of(f);
	if (!t.env) {
		t.env = d->names[d->n_names];
		snprintf(d->names[d->n_names++], KEPT_TOKEN_NAME_MAX, "%s.%s.%llu", env, f->field,
			 (unsigned long long)++all.last);
	}
	d->v[d->n++] = t;
	d->fresh += !was_fresh;
}

/* Where there is no room for all, the oldest make some. */
static int put(struct draft *d, struct conf_error *err)
{
	for (;;) {
		size_t old = d->n - d->fresh;
		int r = proxy_secrets_tokens(all.ps, all.tp, d->v, d->n, err);

		if (r == 0 || r == -EINVAL || old == 0)
			return r;
		drop(d, 0, (old + 1) / 2);
	}
}

static void record(const struct tlsproxy_flow *f, const char *env, const char *field, const char *why)
{
	struct audit_event e;
	char id[DENIAL_ID_LEN];

	audit_event_begin(&e, "secret");
	record_flow_id(all.record, f->id, id);
	audit_str(&e, "id", id);
	audit_str(&e, "secret", env);
	audit_str(&e, "event", why ? "mask_failed" : "masked");
	audit_str(&e, "verdict", why ? "fail" : "allow");
	audit_str(&e, "name", field);
	audit_str(&e, "host", f->has_name ? f->name.s : NULL);
	audit_str(&e, "detail", why);
	record_send(all.record, &e);
}

int proxy_mask(void *ctx, const struct tlsproxy_flow *f, const char *env,
	       const struct tlsproxy_fresh *list, size_t n)
{
	size_t max = MIN((size_t)KEPT_TOKENS_MAX, CONFIG_SECRETS_MAX - all.ps->cfg->n_secrets);
	const struct kept *k = &all.ps->kept;
	struct conf_error err = { "" };
	static struct draft d;
	int r;

	(void)ctx;
	d.n = k->n_tokens;
	d.fresh = d.n_names = 0;
	memcpy(d.v, k->tokens, d.n * sizeof(d.v[0]));
	for (size_t i = 0; i < n && n <= max; i++)
		add(&d, env, &list[i], max);
	r = n <= max ? put(&d, &err) : -ENOSPC;
	if (r < 0) {
		log_warn("secret %s: tokens that came for it: %s", env, err.text);
		record(f, env, NULL, *err.text ? err.text : strerror(-r));
		return r;
	}
	for (size_t i = 0; i < n; i++)
		record(f, env, list[i].field, NULL);
	loop_task_queue(all.loop, &all.tell);
	set_timer();
	return 0;
}

/* ---- the beginning ---------------------------------------------------------------------------- */

/* Names of before are not given out again. */
static uint64_t last_number(const struct kept *k)
{
	uint64_t last = 0, number;

	for (size_t i = 0; i < k->n_tokens; i++) {
		const char *dot = strrchr(k->tokens[i].env, '.');

		if (dot && uint_parse(dot + 1, strlen(dot + 1), 0, UINT64_MAX, &number, NULL) == 0)
			last = MAX(last, number);
	}
	return last;
}

void proxy_masks_init(struct proxy_secrets *ps, struct tlsproxy *tp, struct loop *loop,
		      struct record *rec, void (*changed)(void *ctx), void *ctx)
{
	all.ps = ps;
	all.tp = tp;
	all.loop = loop;
	all.record = rec;
	all.changed = changed;
	all.ctx = ctx;
	all.next.cb = on_next;
	all.tell.cb = on_tell;
	all.last = last_number(&ps->kept);
	set_timer();
}
