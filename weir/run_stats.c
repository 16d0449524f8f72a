/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network's totals, which the gateway counts: asked for when somebody wants
 * to know, and sent by it when it ends. And other rates, while it runs.
 *
 * Questions are numbered, and the gateway answers in order: whoever asked with
 * a number is told when the answer to it, or to a later one, comes; or that none
 * came in time, since what stands still must not keep anybody from asking why.
 */
#include "weir/run_internal.h"

#include "weir/message.h"
#include "weir/stats.h"

/* Well below the patience of weir ctl (CTL_TIMEOUT_S). */
#define ANSWER_DEADLINE (2 * NS_PER_S)

static void add(json_t *o, const struct netstack_stats *s)
{
	struct stat_item items[STATS_MAX];
	size_t n = stats_list(s, items);

	for (size_t i = 0; i < n; i++)
		(void)json_object_set_new(o, items[i].key, json_integer((json_int_t)items[i].value));
}

void run_stats_json(const struct run *r, bool heard, json_t *o)
{
	json_t *net = heard ? json_object() : json_null();

	if (net && heard)
		add(net, &r->stats);
	(void)json_object_set_new(o, "network", net);
}

void run_stats_record(const struct run *r, struct audit_event *e)
{
	struct stat_item items[STATS_MAX];
	size_t n = stats_list(&r->stats, items);

	for (size_t i = 0; i < n; i++)
		if (!stats_is_gauge(items[i].key))
			audit_u64(e, items[i].key, items[i].value);
}

/* False: there is nobody left to ask. */
static bool ask(struct run *r, struct ctl_client *c, run_stats_fn *then)
{
	int32_t number = (int32_t)(++r->stats_asked & INT32_MAX);

	if (r->ending || !r->gateway.pid ||
	    msg_send(r->gateway.sock, MSG_STATS, number, NULL, 0, NULL, 0) < 0)
		return false;
	c->stats_number = r->stats_asked;
	c->stats_then = then;
	loop_timer_set(r->loop, &c->deadline, loop_now(r->loop) + ANSWER_DEADLINE);
	return true;
}

void run_stats_ask(struct run *r, struct ctl_client *c, run_stats_fn *then)
{
	if (!ask(r, c, then))
		then(r, c, true);
}

bool run_stats_late(struct run *r, struct ctl_client *c)
{
	run_stats_fn *then = c->stats_then;

	c->stats_then = NULL;
	if (then)
		then(r, c, false);
	return then;
}

void run_stats_word(struct run *r, const struct msg *m, size_t body)
{
	if (body < sizeof(m->stats))
		return;
	r->stats = m->stats;
	for (size_t i = 0; i < CTL_CLIENTS; i++) {
		struct ctl_client *c = &r->clients[i];
		run_stats_fn *then = c->stats_then;

		if (c->fd < 0 || !then || (int32_t)(c->stats_number & INT32_MAX) > m->head.value)
			continue;
		c->stats_then = NULL;
		then(r, c, true);
	}
}

/* ---- rates ----------------------------------------------------------------------- */

static void rates_applied(struct run *r, struct ctl_client *c, bool heard)
{
	(void)r;
	if (!heard)
		run_ctl_refuse(c, "the gateway does not answer; the rate is set once it does");
	else
		run_ctl_reply(c, json_pack("{s:b}", "ok", 1), -1);
}

void run_rates_set(struct run *r, struct ctl_client *c, const char *text)
{
	struct netstack_rates rates = r->cfg->rates;
	struct conf_error err = { "" };
	struct audit_event e;
	const char *line;
	size_t len;

	if (!text || config_rate_change(text, &rates, &err) < 0) {
		run_ctl_refuse(c, "%s", text ? err.text : "the rate is missing");
		return;
	}
	if (r->ending || msg_send(r->gateway.sock, MSG_RATES, 0, &rates, sizeof(rates), NULL, 0) < 0) {
		run_ctl_refuse(c, "the sandbox is ending");
		return;
	}
	r->cfg->rates = rates;
	audit_event_begin(&e, "run");
	audit_str(&e, "event", "rate");
	audit_str(&e, "detail", text);
	audit_u64(&e, "uid", c->uid);
	line = audit_event_end(&e, &len);
	run_record_append(r, "weir", line, len);
	run_stats_ask(r, c, rates_applied);
}
