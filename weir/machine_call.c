/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor's control socket hands out a connection to the relay; see machine_call.h. */
#include "weir/machine_call.h"

#include "weir/cmd_ctl.h"

#include <stdio.h>

/* Of the supervisor, which is idle but for packets and us. */
#define READY_PATIENCE (30 * NS_PER_S)
/* A guest that takes longer for the first answer is stuck or hostile. */
#define ANSWER_PATIENCE (60 * NS_PER_S)

static void on_ready(struct agent *a, void *arg)
{
	(void)a;
	((struct machine_call *)arg)->ready = true;
}

static void on_lost(struct agent *a, int err, const char *why, void *arg)
{
	(void)a;
	(void)why;
	((struct machine_call *)arg)->lost = err;
}

static int join(struct machine_call *c, const char *name, const char *verb, json_t **ret)
{
	static const struct agent_events events = { .ready = on_ready, .lost = on_lost };
	uint64_t end = time_mono_ns() + READY_PATIENCE;
	cleanup_close int fd = -1;
	struct ctl_run run;
	json_t *reply = NULL;
	int r = ctl_find(name, &run);

	*c = (struct machine_call){ .name = name };
	if (r == 0)
		r = ctl_ask_for(&run, json_pack("{s:s}", "verb", verb), &reply, &fd);
	if (r) {
		json_decref(reply);
		return r;
	}
	r = fd < 0 ? -EPROTO : loop_new(&c->loop);
	if (r == 0)
		r = agent_join(c->loop, fd, &events, c, &c->agent);
	if (r == 0)
		fd = -1;
	while (r == 0 && !c->ready && !c->lost && time_mono_ns() < end)
		r = MIN(loop_step(c->loop, 100), 0);
	if (r == 0 && c->ready) {
		*ret = reply;
		return 0;
	}
	json_decref(reply);
	machine_call_close(c);
	return ctl_complain(CTL_REFUSED, "%s: it does not answer", name);
}

int machine_call_open(struct machine_call *c, const char *name)
{
	json_t *reply = NULL;
	int r = join(c, name, "agent", &reply);

	json_decref(reply);
	return r;
}

int machine_call_attach(struct machine_call *c, const char *name, json_t **ret)
{
	return join(c, name, "attach", ret);
}

void machine_call_close(struct machine_call *c)
{
	agent_free(c->agent);
	if (c->loop)
		loop_free(c->loop);
	c->agent = NULL;
	c->loop = NULL;
}

/* ---- waiting ----------------------------------------------------------------------- */

static void wait_started(struct agent_stream *s, uint32_t pid, void *arg)
{
	(void)s;
	(void)pid;
	((struct machine_wait *)arg)->started = true;
}

static void stop(struct machine_wait *w, struct agent_stream *s, int r)
{
	if (!r || w->stopped)
		return;
	w->stopped = r;
	w->s = NULL;
	agent_stream_close(s);
}

static void wait_data(struct agent_stream *s, enum agent_type type, const uint8_t *p, size_t n,
		      void *arg)
{
	struct machine_wait *w = arg;
	int r = w->data ? w->data(w, p, n) : 0;

	(void)type;
	agent_stream_taken(s, n);
	stop(w, s, r);
}

static void wait_entry(struct agent_stream *s, const struct agent_entry *e, void *arg)
{
	struct machine_wait *w = arg;

	if (w->entry)
		stop(w, s, w->entry(w, e));
}

static void wait_sample(struct agent_stream *s, const struct agent_sample *m, void *arg)
{
	struct machine_wait *w = arg;

	if (w->sample)
		stop(w, s, w->sample(w, m));
}

static void wait_ended(struct agent_stream *s, const struct agent_end *e, void *arg)
{
	struct machine_wait *w = arg;

	(void)s;
	w->s = NULL;
	w->ended = true;
	w->end = *e;
	if (e->kind == AGENT_ENDED_FAILED) {
		char text[200];

		log_quote(e->failed.text, strlen(e->failed.text), text, sizeof(text));
		snprintf(w->why, sizeof(w->why), "%s%s%s", text, e->failed.err ? ": " : "",
			 e->failed.err ? strerror((int)MIN(e->failed.err, 4095u)) : "");
		w->end.failed.text = w->why;
	}
}

const struct agent_stream_events machine_wait_events = {
	.started = wait_started,
	.data = wait_data,
	.entry = wait_entry,
	.sample = wait_sample,
	.ended = wait_ended,
};

int machine_wait_end(struct machine_call *c, struct machine_wait *w)
{
	int r = 0;

	while (r >= 0 && !w->ended && !w->stopped)
		r = loop_step(c->loop, -1);
	if (r < 0 || w->stopped)
		return r < 0 ? r : w->stopped;
	if (w->end.kind != AGENT_ENDED_FAILED)
		return 0;
	return w->end.failed.err && w->end.failed.err < 4096 ? -(int)w->end.failed.err : -EIO;
}

int machine_file(struct machine_call *c, enum agent_type type, const struct agent_file *f,
		 struct machine_wait *w)
{
	int r = agent_file(c->agent, type, f, loop_now_update(c->loop) + ANSWER_PATIENCE,
			   &machine_wait_events, w, &w->s);

	if (r < 0) {
		snprintf(w->why, sizeof(w->why), "%s", strerror(-r));
		return r;
	}
	return machine_wait_end(c, w);
}
