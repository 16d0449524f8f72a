/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ends a run from outside: its longest life, nothing happening, and people (weir
 * stop, weir kill). The command is asked first, and gets a while to do as it was asked.
 */
#include "weir/run_internal.h"

#include "weir/message.h"

#include <signal.h>
#include <unistd.h>

#define EXPIRED_STATUS 124 /* as timeout(1) */
#define EXPIRED_GRACE (10 * NS_PER_S)
#define GRACE_MAX_S 3600
/* How often it is looked whether something happened. */
#define IDLE_LOOK_MAX (5 * NS_PER_S)

void run_life_active(struct run *r)
{
	r->clock.active = loop_now(r->loop);
}

/* ---- ending ------------------------------------------------------------------------- */

static void on_grace(struct loop_timer *t)
{
	struct run *r = container_of(t, struct run, clock.grace);

	r->status = 128 + SIGKILL;
	run_end(r);
}

void run_life_stop(struct run *r, uint64_t grace)
{
	if (r->ending)
		return;
	if (!grace) {
		on_grace(&r->clock.grace);
		return;
	}
	r->clock.grace.cb = on_grace;
	if (!loop_timer_armed(&r->clock.grace) || r->clock.grace.when > loop_now(r->loop) + grace)
		loop_timer_set(r->loop, &r->clock.grace, loop_now(r->loop) + grace);
	r->subject->signal(r, SIGTERM);
}

static void expire(struct run *r, const char *why, uint32_t seconds)
{
	log_warn("%s of %u s is over", why, seconds);
	r->clock.expired = true;
	run_life_stop(r, EXPIRED_GRACE);
}

static void on_max(struct loop_timer *t)
{
	struct run *r = container_of(t, struct run, clock.max);

	expire(r, "the longest life (--max-duration)", r->cfg->life.max_s);
}

/* Payload: a machine's own neighbour discovery is no sign of life. */
static uint64_t flow_bytes(const struct run *r)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(r->stats.by_proto); i++)
		sum += r->stats.by_proto[i].bytes_up + r->stats.by_proto[i].bytes_down;
	return sum;
}

static uint64_t idle_look(const struct run *r)
{
	return MIN(r->cfg->life.idle_s * (uint64_t)NS_PER_S / 4, (uint64_t)IDLE_LOOK_MAX);
}

/* The gateway's numbers are those of the question before: late by one look, which is part of the wait. */
static void on_idle(struct loop_timer *t)
{
	struct run *r = container_of(t, struct run, clock.idle);
	uint64_t now = loop_now(r->loop);

	if (flow_bytes(r) != r->clock.bytes) {
		r->clock.bytes = flow_bytes(r);
		r->clock.active = now;
	}
	if (run_attach_count(r) || (r->subject->busy && r->subject->busy(r)))
		r->clock.active = now;
	if (now - r->clock.active >= r->cfg->life.idle_s * (uint64_t)NS_PER_S) {
		expire(r, "the longest idleness (--idle-timeout)", r->cfg->life.idle_s);
		return;
	}
	if (msg_send(r->gateway.sock, MSG_STATS, (int32_t)(++r->stats_asked & INT32_MAX), NULL, 0,
		     NULL, 0) < 0)
		log_debug("the gateway does not count any more");
	loop_timer_set(r->loop, &r->clock.idle, now + idle_look(r));
}

void run_life_start(struct run *r)
{
	const struct life_config *l = &r->cfg->life;

	if (r->ending)
		return;
	r->clock.max.cb = on_max;
	r->clock.idle.cb = on_idle;
	run_life_active(r);
	if (l->max_s)
		loop_timer_set(r->loop, &r->clock.max,
			       loop_now(r->loop) + l->max_s * (uint64_t)NS_PER_S);
	if (l->idle_s)
		loop_timer_set(r->loop, &r->clock.idle, loop_now(r->loop) + idle_look(r));
}

void run_life_end(struct run *r)
{
	struct loop_timer *all[] = { &r->clock.max, &r->clock.idle, &r->clock.grace };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (loop_timer_armed(all[i]))
			loop_timer_del(r->loop, all[i]);
	if (r->clock.expired)
		r->status = EXPIRED_STATUS;
}

/* ---- people ----------------------------------------------------------------------------- */

static void ask_stop(struct run *r, struct ctl_client *c, const json_t *request)
{
	json_int_t grace = json_integer_value(json_object_get(request, "grace_s"));

	if (grace < 0 || grace > GRACE_MAX_S) {
		run_ctl_refuse(c, "a grace is up to %d seconds", GRACE_MAX_S);
		return;
	}
	run_ctl_reply(c, json_pack("{s:b, s:i}", "ok", 1, "pid", (int)getpid()), -1);
	run_life_stop(r, (uint64_t)grace * NS_PER_S);
}

static void ask_signal(struct run *r, struct ctl_client *c, const json_t *request)
{
	json_int_t n = json_integer_value(json_object_get(request, "signal"));

	if (n < 1 || n > 64) {
		run_ctl_refuse(c, "a signal is a number from 1 to 64");
		return;
	}
	run_ctl_reply(c, json_pack("{s:b}", "ok", 1), -1);
	if (!r->ending)
		r->subject->signal(r, (int)n);
}

bool run_life_ask(struct run *r, struct ctl_client *c, const char *verb, const json_t *request)
{
	if (str_eq(verb, "stop"))
		ask_stop(r, c, request);
	else if (str_eq(verb, "signal"))
		ask_signal(r, c, request);
	else
		return false;
	return true;
}

static json_t *labels_json(const struct life_config *l)
{
	json_t *o = json_object();

	for (size_t i = 0; o && i < l->n_labels; i++) {
		const char *eq = strchr(l->labels[i], '=');

		(void)json_object_setn_new(o, l->labels[i], (size_t)(eq - l->labels[i]),
					   json_string(eq + 1));
	}
	return o;
}

void run_life_json(const struct run *r, json_t *o)
{
	const struct life_config *l = &r->cfg->life;

	(void)json_object_set_new(o, "backend",
				  json_string(r->subject->backend ? r->subject->backend : "link"));
	(void)json_object_set_new(o, "labels", labels_json(l));
	(void)json_object_set_new(o, "detached", json_boolean(l->detach));
	if (l->detach)
		(void)json_object_set_new(o, "attached",
					  json_integer((json_int_t)run_attach_count(r)));
	(void)json_object_set_new(o, "max_duration_s", json_integer(l->max_s));
	(void)json_object_set_new(o, "idle_timeout_s", json_integer(l->idle_s));
}
