/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session: one flow from its two descriptors to flow_done.
 *
 *   HELLO ─► UPSTREAM ─► GUEST ─► RELAY ─► CLOSING ─► DONE
 *     │          └─ failed ─┘               ▲
 *     └─ refused ─────────────┴─────────────┘      a plain flow starts in RELAY,
 *                                                 one that only ends TLS skips UPSTREAM
 *   RELAY, a CONNECT in it ─► FIRST ─► HELLO, RELAY or SPLICE: connect.c
 *
 * Everything happens in session_run(): it takes steps until none moves, tells
 * epoll what is wanted next, and is the only place that frees the session. Work
 * per wake-up is bounded by what each leg may read (TLSPROXY_BUDGET); a leg
 * stopped by that goes on in the next round of the loop.
 *
 * The filter has no clock, so a slow timer tells it that time passes.
 *
 * One deadline timer: a hard one for each handshake; in RELAY and CLOSING one for
 * idleness, moved only when it fires, so that bytes cost no timer work.
 */
#include "tlsproxy/http_limits.h"
#include "tlsproxy/tlsproxy_int.h"

static void session_free(struct session *s)
{
	struct tlsproxy *tp = s->tp;
	uint64_t id = s->flow.id;
	bool reset = s->reset;
	int guest_fd = -1;

	loop_timer_del(tp->loop, &s->deadline);
	loop_timer_del(tp->loop, &s->again);
	loop_timer_del(tp->loop, &s->tick);
	http_filter_free(s->filter);
	http_side_free(s->parted);
	leg_close(&s->upstream, reset);
	/* An end of stream must not overtake the word that it is no proper one. */
	if (reset)
		guest_fd = leg_take_fd(&s->guest);
	leg_close(&s->guest, reset);
	list_del(&s->node);
	list_del(&s->dialling);
	tp->n_sessions--;
	explicit_bzero(s, sizeof(*s));
	free(s);
	tp->ops.flow_done(tp->ctx, id, reset);
	fd_close(guest_fd);
}

void session_end(struct session *s, bool reset)
{
	if (s->state == SESSION_DONE)
		return;
	s->reset = reset;
	s->state = SESSION_DONE;
}

/* How long without progress the present state may last. */
static uint64_t patience(const struct session *s)
{
	switch (s->state) {
	case SESSION_RELAY:
	case SESSION_SPLICE:
		return s->tp->idle_ns;
	case SESSION_FIRST:
		/* Clients open tunnels ahead of their use. */
		return s->guest.head.len ? s->tp->handshake_ns : s->tp->idle_ns;
	case SESSION_CLOSING:
		return s->lingering ? TLSPROXY_LINGER_S * NS_PER_S
				    : MIN(s->tp->idle_ns, TLSPROXY_FLUSH_S * NS_PER_S);
	default:
		return s->tp->handshake_ns;
	}
}

void session_set_state(struct session *s, enum session_state state)
{
	if (s->state == SESSION_DONE)
		return;
	s->state = state;
	s->last_active = loop_now(s->tp->loop);
	loop_timer_set(s->tp->loop, &s->deadline, s->last_active + patience(s));
}

void session_event(struct session *s, bool ok, const char *detail)
{
	struct tlsproxy_tls_event e = {
		.flow = &s->flow,
		.ok = ok,
		.has_sni = s->has_sni,
		.sni = s->sni,
		.detail = detail,
		.unverified = !s->terms.verify && s->key.id.text[0] && !s->flow.terminate,
		.reused = s->reused,
		.dialled = s->dialled,
		.verdict = s->judged ? &s->verdict : NULL,
	};

	if (s->event_sent && ok)
		return;
	if (s->event_sent && !s->event_ok)
		return;
	s->event_sent = true;
	s->event_ok = ok;
	s->tp->ops.tls_event(s->tp->ctx, &e);
}

int session_start_filter(struct session *s)
{
	struct http_filter_config cfg = {
		.secrets = s->tp->secrets,
		.ops = &s->tp->ops,
		.ctx = s->tp->ctx,
		.flow = &s->flow,
		.tls = s->flow.tls,
		.has_sni = s->has_sni,
		.sni = s->sni,
		.judge_each = !s->flow.tls || s->verdict.need_http,
		.guest_h2 = s->alpn == ALPN_H2,
		.unverified = s->flow.tls && !s->terms.verify,
		.upstream_h2 = s->upstream_alpn == ALPN_H2,
		.keep_upstream = upstream_pool_wants(s),
		.upstream = s->parted,
	};
	int r = http_filter_new(&cfg, &s->filter);

	s->parted = NULL;
	if (r < 0)
		return r;
	loop_timer_set(s->tp->loop, &s->tick, loop_now(s->tp->loop) + HTTP2_TICK_S * NS_PER_S);
	if (s->fail_status)
		http_filter_fail_upstream(s->filter, s->fail_status, s->fail_token, s->detail);
	else if (s->mismatch)
		/* The filter sees the disagreement itself, and says 421; this is the net. */
		http_filter_fail_upstream(s->filter, 502, "destination_unavailable", s->detail);
	else if (s->refused)
		http_filter_deny_all(s->filter, &s->verdict);
	return 0;
}

/* ---- running ---------------------------------------------------------------------------- */

static bool step(struct session *s)
{
	switch (s->state) {
	case SESSION_HELLO:
	case SESSION_UPSTREAM:
	case SESSION_GUEST:
		return handshake_step(s);
	case SESSION_RELAY:
		return s->flow.terminate ? terminate_step(s) : relay_step(s);
	case SESSION_CLOSING:
		return relay_close_step(s);
	case SESSION_FIRST:
		return first_step(s);
	case SESSION_SPLICE:
		return splice_step(s);
	case SESSION_DONE:
		break;
	}
	return false;
}

/* Which legs are to be read next. */
static void arm(struct session *s)
{
	struct leg *g = &s->guest, *u = &s->upstream;
	bool guest = false, upstream = false;

	switch (s->state) {
	case SESSION_HELLO:
	case SESSION_GUEST:
		guest = true;
		break;
	case SESSION_UPSTREAM:
		upstream = true;
		break;
	case SESSION_RELAY:
		upstream = !u->ended && !u->in.len && relay_has_room(s, g);
		guest = !g->ended && !g->in.len && relay_may_read_guest(s);
		break;
	case SESSION_CLOSING:
		guest = s->lingering;
		break;
	case SESSION_FIRST:
		guest = !s->filter;
		upstream = !s->filter && !u->in.len;
		break;
	case SESSION_SPLICE:
		guest = !g->ended && relay_has_room(s, u);
		upstream = !u->ended && relay_has_room(s, g);
		break;
	case SESSION_DONE:
		break;
	}
	leg_arm(g, guest);
	leg_arm(u, upstream);
}

/* True: there is one more thing to look at. */
static bool take_steps(struct session *s)
{
	bool up, down;

	leg_cork(&s->guest);
	leg_cork(&s->upstream);
	while (step(s))
		;
	if (s->state == SESSION_DONE)
		return false;
	up = leg_uncork(&s->upstream);
	down = leg_uncork(&s->guest);
	return up || down;
}

void session_run(struct session *s)
{
	s->guest.budget = s->upstream.budget = TLSPROXY_BUDGET;
	s->guest.throttled = s->upstream.throttled = false;
	while (take_steps(s))
		;
	if (s->state == SESSION_DONE) {
		session_free(s);
		return;
	}
	arm(s);
	/* One tick later, so that every other source has its turn first. */
	if (s->guest.throttled || s->upstream.throttled || (s->filter && http_filter_busy(s->filter)))
		loop_timer_set(s->tp->loop, &s->again, loop_now(s->tp->loop) + 1);
}

static void on_io(struct loop_io *io, uint32_t revents)
{
	struct leg *leg = container_of(io, struct leg, io);
	struct session *s = leg->session;

	leg_note(leg, revents);
	s->last_active = loop_now(s->tp->loop);
	session_run(s);
}

static void on_again(struct loop_timer *t)
{
	session_run(container_of(t, struct session, again));
}

static void on_tick(struct loop_timer *t)
{
	struct session *s = container_of(t, struct session, tick);

	loop_timer_set(s->tp->loop, t, loop_now(s->tp->loop) + HTTP2_TICK_S * NS_PER_S);
	if (s->state != SESSION_RELAY || !s->filter)
		return;
	http_filter_tick(s->filter, &s->upstream.out, &s->guest.out);
	session_run(s);
}

static void on_deadline(struct loop_timer *t)
{
	struct session *s = container_of(t, struct session, deadline);
	uint64_t due = s->last_active + patience(s);

	if (s->state == SESSION_RELAY || s->state == SESSION_CLOSING || s->state == SESSION_SPLICE) {
		/* The linger is counted from its start: a guest that goes on sending does
		 * not prolong it. */
		if (!s->lingering && due > loop_now(s->tp->loop)) {
			loop_timer_set(s->tp->loop, t, due);
			return;
		}
		if (s->state != SESSION_CLOSING && (!s->filter || http_filter_idle(s->filter)))
			session_set_state(s, SESSION_CLOSING); /* between requests: in order */
		else
			session_end(s, !s->lingering);
	} else if (s->state == SESSION_FIRST) {
		first_timeout(s);
	} else {
		handshake_timeout(s);
	}
	session_run(s);
}

void session_adopt_upstream(struct session *s, struct leg *from)
{
	leg_move(from, &s->upstream, s, on_io);
	s->upstream.readable = false;
	s->upstream.budget = TLSPROXY_BUDGET;
}

static int watch_upstream(struct session *s)
{
	leg_no_delay(&s->upstream);
	s->upstream.budget = TLSPROXY_BUDGET;
	return leg_watch(&s->upstream, s->tp->loop, on_io);
}

/* ---- starting ------------------------------------------------------------------------------ */

static int session_new(struct tlsproxy *tp, const struct tlsproxy_flow *f, int guest_fd,
		       int upstream_fd, struct session **ret)
{
	struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		fd_close(guest_fd);
		fd_close(upstream_fd);
		return -ENOMEM;
	}
	s->tp = tp;
	s->flow = *f;
	s->deadline.cb = on_deadline;
	s->again.cb = on_again;
	s->tick.cb = on_tick;
	list_init(&s->node);
	list_init(&s->dialling);
	leg_init(&s->guest, s, guest_fd);
	leg_init(&s->upstream, s, upstream_fd);
	r = leg_watch(&s->guest, tp->loop, on_io);
	if (r == 0 && upstream_fd >= 0)
		r = watch_upstream(s);
	if (r == 0 && !f->tls)
		r = session_start_filter(s);
	if (r < 0) {
		leg_close(&s->guest, true);
		leg_close(&s->upstream, true);
		free(s);
		return r;
	}
	list_add_tail(&tp->sessions, &s->node);
	tp->n_sessions++;
	*ret = s;
	return 0;
}

/* At the limit the flow is refused on the record, like any other. */
static void refuse_flow(struct tlsproxy *tp, const struct tlsproxy_flow *f)
{
	struct tlsproxy_tls_event e = {
		.flow = f,
		.detail = "too many flows at a time in the TLS proxy (limits.max_connections)",
	};

	tp->ops.tls_event(tp->ctx, &e);
	tp->ops.flow_done(tp->ctx, f->id, true);
}

int tlsproxy_flow_start(struct tlsproxy *tp, const struct tlsproxy_flow *f, int guest_fd,
			int upstream_fd)
{
	struct session *s;
	int r;

	if ((f->terminate && !f->tls) ||
	    (upstream_fd < 0 && (!f->tls || f->terminate || !tp->ops.dial))) {
		fd_close(guest_fd);
		fd_close(upstream_fd);
		return -EINVAL;
	}
	if (tp->n_sessions >= tp->max_flows) {
		fd_close(guest_fd);
		fd_close(upstream_fd);
		refuse_flow(tp, f);
		return 0;
	}
	r = session_new(tp, f, guest_fd, upstream_fd, &s);
	if (r < 0)
		return r;
	session_set_state(s, f->tls ? SESSION_HELLO : SESSION_RELAY);
	/* From the loop, so that no callback runs before this returned. */
	loop_timer_set(tp->loop, &s->again, loop_now(tp->loop));
	return 0;
}

/* ---- dialled after all ---------------------------------------------------------------------- */

void tlsproxy_flow_dialled(struct tlsproxy *tp, uint64_t id, int fd, const struct endpoint *to,
			   const char *why)
{
	struct session *s = NULL;

	list_for_each (it, &tp->dialling) {
		s = container_of(it, struct session, dialling);
		if (s->flow.id == id)
			break;
		s = NULL;
	}
	if (!s) {
		fd_close(fd);
		return;
	}
	list_del(&s->dialling);
	list_init(&s->dialling);
	if (fd >= 0) {
		s->dialled = true;
		s->flow.upstream = s->key.to = *to;
		leg_init(&s->upstream, s, fd);
	}
	if (fd < 0)
		handshake_no_upstream(s, 502, "connection_refused", why);
	else if (watch_upstream(s) < 0)
		session_end(s, true);
	else
		handshake_upstream(s);
	session_run(s);
}
