/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner of access tokens, see proxy_tokens.h. Fetching begins when a request
 * first needs a token, goes on before it ends as long as it is used, one
 * at a time for each; failures are recorded and tried again with growing pauses.
 * Tokens stand in locked memory and are wiped; the reasons that are told hold nothing
 * of what a server said.
 */
#include "weir/proxy_tokens.h"

#include "weir/secret_change.h"
#include "weir/token_clock.h"

#include <stdio.h>

struct token_state {
	char *env;
	struct token_clock clock;
	struct locked memory; /* the token */
	size_t len;
	uint64_t id; /* of the connection that was asked for; 0: none */
	struct tlsproxy_fetch *fetch;
};

static struct {
	struct proxy_secrets *ps;
	struct tlsproxy *tp;
	struct loop *loop;
	struct record *record;
	const struct loop_io *gateway;
	struct token_state list[CONFIG_SECRETS_MAX];
	size_t n;
	uint64_t last_id;
	struct loop_task look;
	struct loop_timer next;
} all;

static struct token_state *find(const char *env)
{
	for (size_t i = 0; i < all.n; i++)
		if (str_eq(all.list[i].env, env))
			return &all.list[i];
	return NULL;
}

static const struct secret_config *config_of(const char *env)
{
	size_t i = secret_index(all.ps->cfg, env);

	return i < all.ps->cfg->n_secrets ? &all.ps->cfg->secrets[i] : NULL;
}

const uint8_t *proxy_token_value(const char *env, size_t *ret_len)
{
	const struct token_state *t = find(env);

	if (!t || !t->len)
		return NULL;
	*ret_len = t->len;
	return t->memory.p;
}

/* ---- the record ------------------------------------------------------------------------- */

static void record(const struct token_state *t, bool ok, const char *why)
{
	const struct secret_config *c = config_of(t->env);
	struct audit_event e;

	audit_event_begin(&e, "secret");
	audit_str(&e, "secret", t->env);
	audit_str(&e, "event", ok ? "token" : "token_failed");
	audit_str(&e, "verdict", ok ? "allow" : "fail");
	audit_str(&e, "host", c && c->token ? c->token->host : NULL);
	audit_str(&e, "detail", ok ? NULL : why);
	record_send(all.record, &e);
}

/* ---- outcomes ----------------------------------------------------------------------------- */

static void look_later(void)
{
	loop_task_queue(all.loop, &all.look);
}

static void failed(struct token_state *t, const char *why)
{
	t->id = 0;
	t->fetch = NULL;
	token_clock_failed(&t->clock, loop_now_update(all.loop));
	log_warn("secret %s: no access token: %s", t->env, why);
	record(t, false, why);
	look_later();
}

/* The token, and with it perhaps another refresh token, are in force. */
static int take(struct token_state *t, const struct tlsproxy_token *token)
{
	const struct weir_config *cfg = all.ps->cfg;
	struct buf next = { .data = (uint8_t *)(uintptr_t)token->refresh,
			    .len = token->refresh_len,
			    .size = sizeof(token->refresh),
			    .cap = sizeof(token->refresh) };
	const struct secret_config *c = config_of(t->env);
	bool rotates =
		c && c->token && c->token->grant == TLSPROXY_REFRESH_TOKEN && token->refresh_len;
	struct conf_error err = { "" };
	int r;

	memcpy(t->memory.p, token->access, token->access_len);
	t->len = token->access_len;
	r = proxy_secrets_change(all.ps, all.tp, cfg->secrets, cfg->n_secrets, t->env,
				 rotates ? VALUE_PUT : VALUE_KEPT, rotates ? &next : NULL, &err);
	if (r < 0) {
		explicit_bzero(t->memory.p, t->len);
		t->len = 0;
		log_warn("secret %s: %s", t->env, err.text);
	}
	return r;
}

static void on_fetched(void *ctx, const struct tlsproxy_token *token, const char *why)
{
	struct token_state *t = ctx;

	t->fetch = NULL;
	t->id = 0;
	if (!token) {
		failed(t, why);
		return;
	}
	if (take(t, token) < 0) {
		failed(t, "the token cannot be used as a secret");
		return;
	}
	token_clock_got(&t->clock, loop_now_update(all.loop), token->life_s);
	record(t, true, NULL);
	look_later();
}

/* ---- fetching -------------------------------------------------------------------------------- */

static void begin(struct token_state *t)
{
	const struct secret_config *c = config_of(t->env);
	struct msg_dial m = { 0 };

	token_clock_begin(&t->clock, loop_now(all.loop));
	if (!c || !c->token || name_parse(c->token->host, strlen(c->token->host), &m.name, NULL) < 0) {
		failed(t, "it is no longer configured");
		return;
	}
	m.port = c->token->port;
	m.id = t->id = ++all.last_id;
	if (msg_send(all.gateway->fd, MSG_DIAL, 0, &m, sizeof(m), NULL, 0) < 0)
		failed(t, "the gateway cannot be asked for a connection");
}

static int start_fetch(struct token_state *t, const struct secret_config *c, int fd)
{
	const struct token_config *tc = c->token;
	const struct kept_secret *own = proxy_secrets_find(all.ps, c->env), *other = NULL;
	struct tlsproxy_token_request q = {
		.grant = tc->grant,
		.auth = tc->auth,
		.host = tc->host,
		.path = tc->path,
		.port = tc->port,
		.client_id = tc->client_id,
		.scope = tc->scope,
		.audience = tc->audience,
	};

	if (tc->client_secret)
		other = proxy_secrets_find(all.ps, tc->client_secret);
	if (!own || !own->value || (tc->client_secret && (!other || !other->value))) {
		fd_close(fd);
		return -ENODATA;
	}
	if (tc->grant == TLSPROXY_REFRESH_TOKEN) {
		q.refresh = (const char *)own->value;
		q.refresh_len = own->len;
		own = other;
	}
	if (own) {
		q.secret = (const char *)own->value;
		q.secret_len = own->len;
	}
	return tlsproxy_fetch_token(all.tp, &q, fd, on_fetched, t, &t->fetch);
}

void proxy_tokens_dialled(const struct msg *m, int fd)
{
	const struct secret_config *c;
	struct token_state *t = NULL;
	char why[128];
	int r;

	for (size_t i = 0; i < all.n; i++)
		if (all.list[i].id == m->dial.id && m->dial.id && !all.list[i].fetch)
			t = &all.list[i];
	c = t ? config_of(t->env) : NULL;
	if (!t || fd < 0 || !c || !c->token) {
		fd_close(fd);
		if (!t)
			return;
		snprintf(why, sizeof(why), "its endpoint cannot be reached: %s",
			 m->head.value > 0 ? strerror(m->head.value) : "no connection");
		failed(t, why);
		return;
	}
	r = start_fetch(t, c, fd);
	if (r < 0)
		failed(t, r == -EPERM	  ? "its endpoint would not be verified"
			  : r == -ENODATA ? "there is nothing to buy it with"
					  : strerror(-r));
}

/* ---- when ------------------------------------------------------------------------------------ */

/* No request is to get it any more; those that need one wait for the next. */
static void drop(struct token_state *t)
{
	const struct weir_config *cfg = all.ps->cfg;
	struct conf_error err = { "" };

	explicit_bzero(t->memory.p, t->len);
	t->len = 0;
	if (proxy_secrets_change(all.ps, all.tp, cfg->secrets, cfg->n_secrets, t->env, VALUE_KEPT,
				 NULL, &err) < 0)
		log_warn("secret %s: %s", t->env, err.text);
}

/* Whose time is over is forgotten, whose time has come is fetched. */
static void look_at(struct token_state *t, uint64_t now)
{
	if (token_clock_over(&t->clock, now))
		drop(t);
	/* The gateway died, or does not answer. */
	if (t->clock.fetching && !t->fetch && now >= t->clock.started + TLSPROXY_FETCH_NS) {
		failed(t, "its endpoint cannot be reached in time");
		return;
	}
	if (token_clock_due(&t->clock, now))
		begin(t);
}

static void look(void)
{
	uint64_t now = loop_now_update(all.loop), next = UINT64_MAX;

	for (size_t i = 0; i < all.n; i++) {
		look_at(&all.list[i], now);
		next = MIN(next, token_clock_next(&all.list[i].clock));
	}
	if (next == UINT64_MAX)
		loop_timer_del(all.loop, &all.next);
	else
		loop_timer_set(all.loop, &all.next, MAX(next, now + NS_PER_MS));
	tlsproxy_wake(all.tp);
}

static void on_look(struct loop_task *t)
{
	(void)t;
	look();
}

static void on_next(struct loop_timer *t)
{
	(void)t;
	look();
}

static struct token_state *add(const char *env)
{
	struct token_state *t;

	if (all.n == ARRAY_SIZE(all.list))
		return NULL;
	t = &all.list[all.n];
	*t = (struct token_state){ .env = strdup(env) };
	if (!t->env || locked_new(TLSPROXY_SECRET_MAX, &t->memory) < 0) {
		free(t->env);
		return NULL;
	}
	all.n++;
	return t;
}

bool proxy_token_want(void *ctx, const char *env)
{
	uint64_t now = loop_now(all.loop);
	struct token_state *t = find(env);

	(void)ctx;
	if (!t)
		t = add(env);
	if (!t)
		return false;
	if (token_clock_want(&t->clock, now))
		return true;
	/* Under way: its end is what is waited for. Looking for it would never sleep. */
	if (t->clock.fetching)
		return true;
	if (!token_clock_due(&t->clock, now))
		return false;
	look_later();
	return true;
}

void proxy_token_used(const char *env)
{
	struct token_state *t = find(env);

	if (!t || t->clock.wanted)
		return;
	t->clock.wanted = true;
	look_later();
}

void proxy_tokens_init(struct proxy_secrets *ps, struct tlsproxy *tp, struct loop *loop,
		       struct record *rec, const struct loop_io *gateway)
{
	all.ps = ps;
	all.tp = tp;
	all.loop = loop;
	all.record = rec;
	all.gateway = gateway;
	all.look.cb = on_look;
	all.next.cb = on_next;
}
