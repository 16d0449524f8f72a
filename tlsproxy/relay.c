/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes between the legs, through the HTTP filter.
 *
 *   guest.in ─► http_from_guest ─► upstream.out
 *   upstream.in ─► http_from_upstream ─► guest.out
 *
 * Either call may make output on both legs: answers of ours, what waited, and what
 * HTTP/2 tells its peer.
 *
 * Back-pressure: nothing is read for a direction while its out buffer is above
 * a mark (relay_has_room), or while the filter has not taken what was read before.
 * So a slow reader on either side stops the writer on the other.
 *
 * Ends: an end is told to the filter once everything before it was taken. A
 * guest that half-closes is half-closed upstream too, as without us. A TLS
 * upstream that goes without close_notify has cut the stream (RFC 8446 6.1): that
 * is passed on as a reset unless everything owed had arrived, or nothing had, in
 * which case the filter answers 502.
 */
#include "tlsproxy/tlsproxy_int.h"

static void apply(struct session *s, enum http_state st)
{
	switch (st) {
	case HTTP_OK:
		break;
	case HTTP_TUNNEL:
		s->tunnel = true;
		break;
	case HTTP_CONNECTED:
		session_set_state(s, SESSION_FIRST);
		break;
	case HTTP_CLOSE:
		/* The guest's connection ends; the upstream's need not. */
		(void)upstream_pool_park(s);
		session_set_state(s, SESSION_CLOSING);
		break;
	case HTTP_ABORT:
		session_end(s, true);
		break;
	}
}

/* Of n bytes at p, used were taken; the rest waits in in (where it may stand already). */
static void keep_rest(struct session *s, struct leg *leg, const uint8_t *p, size_t n, size_t used)
{
	if (leg->in.len)
		buf_consume(&leg->in, used);
	else if (buf_append(&leg->in, p + used, n - used) < 0)
		session_end(s, true);
}

static bool crowded(const struct session *s)
{
	return s->tp->n_sessions > TLSPROXY_CROWD;
}

bool relay_has_room(const struct session *s, const struct leg *to)
{
	return to->out.len < (crowded(s) ? TLSPROXY_CROWD_BYTES : TLSPROXY_OUT_HIGH);
}

/* Requests can make answers of ours; in a tunnel the directions do not touch. */
bool relay_may_read_guest(const struct session *s)
{
	return relay_has_room(s, &s->upstream) && (s->tunnel || relay_has_room(s, &s->guest));
}

static size_t waiting(const struct session *s)
{
	return s->upstream.out.len + s->guest.out.len;
}

/* Values may be written to it: no copies of them. */
static bool reserve_upstream(struct session *s)
{
	if (!secret_set_count(s->tp->secrets) || leg_reserve(&s->upstream) == 0)
		return true;
	session_end(s, true);
	return false;
}

/* The next bytes of a leg: those left over, or freshly read ones. */
static enum leg_status next_bytes(struct session *s, struct leg *leg, const uint8_t **ret_p,
				  size_t *ret_n)
{
	enum leg_status st;

	if (leg->in.len) {
		*ret_p = buf_at(&leg->in);
		*ret_n = leg->in.len;
		return LEG_OK;
	}
	if (leg->ended)
		return LEG_AGAIN;
	st = leg_read(leg, s->tp->scratch, crowded(s) ? TLSPROXY_CROWD_BYTES : TLSPROXY_READ, ret_n);
	*ret_p = s->tp->scratch;
	return st;
}

/* ---- upstream to guest -------------------------------------------------------------- */

/*
 * With TLS 1.3 a server says what it misses of the client (a certificate, mostly)
 * only after the handshake. The guest's first request is answered with it.
 */
static bool refused_by_alert(struct session *s)
{
	int alert = s->upstream.tls_reason - SSL_AD_REASON_OFFSET;

	if (alert < 0 || s->from_upstream || s->fail_status)
		return false;
	s->fail_status = 502;
	snprintf(s->detail, sizeof(s->detail), "upstream sent the TLS alert: %s%s%.100s%s",
		 tls_alert_text(alert),
		 alert == SSL_AD_CERTIFICATE_REQUIRED ? " (--tls-client-cert " : "",
		 alert == SSL_AD_CERTIFICATE_REQUIRED ? s->key.id.text : "",
		 alert == SSL_AD_CERTIFICATE_REQUIRED ? "=CERT shows one)" : "");
	resume_drop(&s->tp->resume, &s->key);
	leg_close(&s->upstream, false);
	session_event(s, false, s->detail);
	http_filter_fail_upstream(s->filter, 502, "tls_alert_received", s->detail);
	if (!http_filter_idle(s->filter))
		apply(s, http_upstream_eof(s->filter, &s->upstream.out, &s->guest.out));
	return true;
}

static void upstream_ended(struct session *s, bool cut)
{
	bool begun = s->from_upstream != s->answered;
	bool idle = http_filter_idle(s->filter);

	if (cut && !s->tunnel && refused_by_alert(s))
		return;
	/* HTTP/2 says where each reply ends: what is whole goes on, the rest is reset. */
	if (cut && (s->tunnel || (begun && !idle && s->upstream_alpn != ALPN_H2))) {
		session_end(s, true);
		return;
	}
	/* A kept connection that ends as the next request arrives: the guest's client knows how
	 * to try again when it sees just that (RFC 9112 9.3.1), not a 502. In HTTP/2 each stream
	 * is told by itself (http2_upstream.c). */
	if ((s->answered || s->reused) && !begun && !idle && !s->tunnel &&
	    s->upstream_alpn != ALPN_H2) {
		session_set_state(s, SESSION_CLOSING);
		return;
	}
	apply(s, http_upstream_eof(s->filter, &s->upstream.out, &s->guest.out));
	if (s->state == SESSION_RELAY && http_filter_idle(s->filter))
		session_set_state(s, SESSION_CLOSING);
}

static bool relay_down(struct session *s)
{
	size_t n = 0, used = 0, before = waiting(s);
	struct leg *u = &s->upstream;
	enum leg_status st;
	enum http_state hs;
	const uint8_t *p;

	if (!relay_has_room(s, &s->guest))
		return false;
	st = next_bytes(s, u, &p, &n);
	if (st == LEG_AGAIN)
		return false;
	if (st != LEG_OK) {
		upstream_ended(s, st == LEG_CUT);
		return true;
	}
	if (!reserve_upstream(s))
		return true;
	hs = http_from_upstream(s->filter, p, n, &used, &s->upstream.out, &s->guest.out);
	s->from_upstream += used;
	if (http_filter_idle(s->filter))
		s->answered = s->from_upstream;
	keep_rest(s, u, p, n, used);
	/* A reply may have held a value; the next flow's bytes may be long in coming. */
	if (p == s->tp->scratch && secret_set_count(s->tp->secrets))
		explicit_bzero(s->tp->scratch, n);
	if (s->state == SESSION_RELAY)
		apply(s, hs);
	return used || waiting(s) != before || s->state != SESSION_RELAY;
}

/* ---- guest to upstream ----------------------------------------------------------------- */

/* Some clients look at our certificate only after the handshake (TLS 1.3). */
static void explain_silence(struct session *s)
{
	if (s->flow.tls && s->from_guest == 0 && !s->refused)
		session_event(s, false, handshake_silence_text(s));
}

static void guest_ended(struct session *s, bool cut)
{
	struct leg *g = &s->guest;

	explain_silence(s);
	/* FIN without close_notify is how many clients say goodbye: requests have
	 * lengths, the filter sees a cut one. Anything worse ends the flow. */
	if (cut && (s->tunnel || g->error || !g->fd_eof)) {
		session_end(s, true);
		return;
	}
	/* Between two requests: the next flow may have it. */
	if (!s->tunnel && upstream_pool_park(s)) {
		session_set_state(s, SESSION_CLOSING);
		return;
	}
	apply(s, http_guest_eof(s->filter, &s->upstream.out, &s->guest.out));
	if (s->state == SESSION_RELAY && !s->tunnel && http_filter_idle(s->filter))
		session_set_state(s, SESSION_CLOSING);
}

static bool relay_up(struct session *s)
{
	size_t n = 0, used = 0, before = waiting(s);
	struct leg *g = &s->guest;
	enum leg_status st;
	enum http_state hs;
	const uint8_t *p;

	if (!relay_may_read_guest(s))
		return false;
	st = next_bytes(s, g, &p, &n);
	if (st == LEG_AGAIN)
		return false;
	if (st != LEG_OK) {
		guest_ended(s, st == LEG_CUT);
		return true;
	}
	if (!reserve_upstream(s))
		return true;
	hs = http_from_guest(s->filter, p, n, &used, &s->upstream.out, &s->guest.out);
	s->from_guest += used;
	keep_rest(s, g, p, n, used);
	if (s->state == SESSION_RELAY)
		apply(s, hs);
	return used || waiting(s) != before || s->state != SESSION_RELAY;
}

/* ---- steps --------------------------------------------------------------------------------- */

/* Nothing may go to an upstream that is refused, whatever the filter says. */
static bool flush(struct session *s)
{
	bool moved;

	if (s->refused)
		buf_consume(&s->upstream.out, s->upstream.out.len);
	moved = leg_flush(&s->upstream);
	return leg_flush(&s->guest) || moved;
}

/*
 * Room was made, or the other side moved on: what the filter holds back may go
 * now. Without new bytes, so it is cheap.
 */
static void nudge(struct session *s)
{
	size_t used = 0;

	apply(s, http_from_guest(s->filter, NULL, 0, &used, &s->upstream.out, &s->guest.out));
}

bool relay_step(struct session *s)
{
	bool flushed = flush(s), fed, moved;
	size_t before;

	if (s->guest.wr_dead) {
		session_end(s, true);
		return true;
	}
	fed = relay_down(s);
	if (s->state == SESSION_RELAY)
		fed |= relay_up(s);
	moved = flushed || fed;
	before = waiting(s);
	/* A filter that was given bytes has tried all that waits. */
	if (s->state == SESSION_RELAY &&
	    ((flushed && !fed) || http_filter_busy(s->filter) || http_filter_awaits(s->filter)))
		nudge(s);
	if (s->state != SESSION_RELAY)
		return true;
	/* Half-closes, once what was before them is written. */
	if (s->guest.ended && !s->guest.in.len && !s->upstream.out.len)
		leg_shutdown(&s->upstream);
	return moved || waiting(s) != before;
}

/* Wait for the guest's FIN, so that our last bytes are not lost to a reset. */
static bool discard(struct session *s)
{
	ssize_t n = leg_recv(&s->guest, s->tp->scratch, TLSPROXY_READ);

	if (n == -EAGAIN)
		return false;
	if (n > 0) {
		s->discarded += (size_t)n;
		/* A short read of what was all over before it leaves nothing but the end. */
		if (s->discarded <= TLSPROXY_LINGER_BYTES &&
		    !(s->guest.gone && (size_t)n < TLSPROXY_READ))
			return true;
	}
	session_end(s, false);
	return true;
}

bool relay_close_step(struct session *s)
{
	bool moved = flush(s), open = s->upstream.fd >= 0;

	if (s->guest.wr_dead) {
		session_end(s, true);
		return true;
	}
	if (open && !s->upstream.out.len && leg_shutdown(&s->upstream)) {
		leg_close(&s->upstream, false);
		moved = true;
	}
	if (s->guest.out.len || !leg_shutdown(&s->guest))
		return moved;
	if (!s->lingering) {
		s->lingering = true;
		session_set_state(s, SESSION_CLOSING);
	}
	return discard(s) || moved;
}
