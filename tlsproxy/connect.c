/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flow inside a CONNECT that an explicit proxy agreed to: its first bytes decide
 * what it is, as for a flow that was dialled directly.
 *
 *   RELAY (CONNECT 2xx) ─► FIRST ─┬─► HELLO   TLS that is to be read
 *                                 ├─► RELAY   HTTP
 *                                 └─► SPLICE  what the rules need not read
 *
 * The flow's name is the target's: a server name that differs is refused, as is what
 * cannot be read where it must be. The server may speak first, too. What is spliced
 * passes as it is; its target was judged, and is again when the policy changes.
 */
#include "tlsproxy/tlsproxy_int.h"

/* ---- outcomes ------------------------------------------------------------------------- */

static bool refuse(struct session *s, const char *why)
{
	session_event(s, false, why);
	session_end(s, true);
	return true;
}

static bool move_buf(struct buf *from, struct buf *to)
{
	if (from->len && buf_append(to, buf_at(from), from->len) < 0)
		return false;
	buf_fini_wiped(from);
	return true;
}

/* In clear text: HTTP/1, or HTTP/2 with prior knowledge. */
static bool begin_http(struct session *s)
{
	s->alpn = s->upstream_alpn = ALPN_NONE;
	if (session_start_filter(s) < 0 || !move_buf(&s->guest.head, &s->guest.in)) {
		session_end(s, true);
		return true;
	}
	session_set_state(s, SESSION_RELAY);
	return true;
}

static bool begin_splice(struct session *s)
{
	if (s->verdict.need_http)
		return refuse(
			s, "what came inside CONNECT cannot be read, and the rules need a request");
	if (!move_buf(&s->guest.head, &s->upstream.out) || !move_buf(&s->upstream.in, &s->guest.out)) {
		session_end(s, true);
		return true;
	}
	session_set_state(s, SESSION_SPLICE);
	return true;
}

static bool begin_tls(struct session *s, const struct tlsproxy_sniff *sniff)
{
	const struct tlsproxy_flow *f = &s->flow;

	if (s->verdict.intercept || s->verdict.need_http) {
		s->flow.tls = true;
		session_set_state(s, SESSION_HELLO);
		return handshake_hello(s, sniff);
	}
	if (sniff->sni_invalid ||
	    (sniff->has_sni && f->has_name && !name_equal(&sniff->sni, &f->name)))
		return refuse(s, "the TLS server name is not the target of CONNECT");
	return begin_splice(s);
}

/* ---- looking ----------------------------------------------------------------------------- */

static bool look_inside(struct session *s, const struct tlsproxy_sniff *sniff, bool eof)
{
	switch (sniff->kind) {
	case TLSPROXY_SNIFF_MORE:
		if (eof)
			return s->guest.head.len ? begin_splice(s) : (session_end(s, false), true);
		return true;
	case TLSPROXY_SNIFF_TLS:
		return begin_tls(s, sniff);
	case TLSPROXY_SNIFF_BAD_TLS:
		return refuse(s, "ClientHello cannot be read");
	case TLSPROXY_SNIFF_HTTP:
	case TLSPROXY_SNIFF_H2C:
		return begin_http(s);
	case TLSPROXY_SNIFF_OTHER:
		break;
	}
	return begin_splice(s);
}

/* The other end speaks, or goes, before the client did. */
static bool server_first(struct session *s)
{
	uint8_t bytes[4096];
	ssize_t n;

	if (s->upstream.in.len)
		return begin_splice(s);
	n = leg_recv(&s->upstream, bytes, sizeof(bytes));
	if (n == -EAGAIN)
		return false;
	if (n <= 0 || buf_append(&s->upstream.in, bytes, (size_t)n) < 0) {
		session_end(s, n != 0);
		return true;
	}
	return begin_splice(s);
}

static bool judge_first(struct session *s)
{
	struct leg *g = &s->guest;
	struct tlsproxy_sniff sniff;

	tlsproxy_sniff(buf_at(&g->head), g->head.len, g->fd_eof, &sniff);
	return look_inside(s, &sniff, g->fd_eof);
}

static bool look(struct session *s)
{
	struct leg *g = &s->guest;
	size_t room = MIN(g->head.cap - g->head.len, (size_t)4096);
	bool fresh = g->head.len == 0;
	uint8_t *p;
	ssize_t n;

	/* What came right behind CONNECT. */
	if (!s->looked && !fresh) {
		s->looked = true;
		return judge_first(s);
	}
	if (room == 0 || buf_reserve(&g->head, room, &p) < 0)
		return refuse(s, "the first bytes cannot be read");
	n = leg_recv(g, p, room);
	if (n == -EAGAIN)
		return server_first(s);
	if (n < 0) {
		session_end(s, true);
		return true;
	}
	buf_commit(&g->head, (size_t)n);
	s->looked = true;
	/* From the first byte on there is a time for the rest. */
	if (fresh && n)
		session_set_state(s, SESSION_FIRST);
	return judge_first(s);
}

/* The flow to the proxy becomes the one inside; bytes read too far are its first. */
static bool enter(struct session *s)
{
	struct tlsproxy_flow inside = *http_filter_connected(s->filter, &s->verdict);

	http_filter_free(s->filter);
	s->filter = NULL;
	s->flow = inside;
	s->looked = s->event_sent = s->judged = s->tunnel = false;
	s->from_guest = s->from_upstream = s->answered = 0;
	if (!move_buf(&s->guest.in, &s->guest.head))
		return refuse(s, "too many bytes behind CONNECT before it was answered");
	return true;
}

bool first_step(struct session *s)
{
	bool moved;

	if (!s->filter)
		return look(s);
	moved = leg_flush(&s->upstream);
	moved |= leg_flush(&s->guest);
	if (s->guest.wr_dead) {
		session_end(s, true);
		return true;
	}
	if (s->upstream.out.len || s->guest.out.len)
		return moved;
	return enter(s);
}

void first_timeout(struct session *s)
{
	if (!s->guest.head.len || s->filter)
		session_end(s, s->filter != NULL);
	else
		refuse(s, "the first bytes inside CONNECT could not be read in time");
}

/* ---- SPLICE ------------------------------------------------------------------------------------ */

static bool pass(struct session *s, struct leg *from, struct leg *to)
{
	enum leg_status st;
	size_t n = 0;

	if (from->ended || !relay_has_room(s, to))
		return false;
	st = leg_read(from, s->tp->scratch, TLSPROXY_READ, &n);
	if (st == LEG_AGAIN)
		return false;
	if (st == LEG_CUT)
		session_end(s, true);
	else if (st == LEG_OK && buf_append(&to->out, s->tp->scratch, n) < 0)
		session_end(s, true);
	return true;
}

bool splice_step(struct session *s)
{
	struct leg *g = &s->guest, *u = &s->upstream;
	bool moved = leg_flush(u);

	moved |= leg_flush(g);
	if (g->wr_dead || u->wr_dead) {
		session_end(s, true);
		return true;
	}
	moved |= pass(s, u, g);
	if (s->state == SESSION_SPLICE)
		moved |= pass(s, g, u);
	if (s->state != SESSION_SPLICE)
		return true;
	if (g->ended && !u->out.len)
		leg_shutdown(u);
	if (u->ended && !g->out.len)
		leg_shutdown(g);
	if (g->ended && u->ended && !g->out.len && !u->out.len)
		session_set_state(s, SESSION_CLOSING);
	return moved || s->state != SESSION_SPLICE;
}
