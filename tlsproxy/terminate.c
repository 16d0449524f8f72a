/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows whose TLS ends here and whose plaintext is another process's business:
 * DNS over TLS (RFC 7858), read by our own resolver at the other descriptor.
 *
 *   guest.in ─► TLS ─► upstream.out ─► resolver
 *   resolver ─► guest.out ─► TLS ─► guest
 *
 * No HTTP, nothing put in and nothing taken out: a placeholder in a name stays
 * one. The same rules as in relay.c for back-pressure and ends: a direction is
 * not read while its reader is slow, a guest's half-close is passed on. How long a
 * connection may be idle is the resolver's word, whose end of it ends the flow.
 */
#include "tlsproxy/tlsproxy_int.h"

static void direction_ended(struct session *s, const struct leg *from, bool cut)
{
	/* A resolver that is done takes no more questions; one it left unread is no error. */
	if (from == &s->upstream) {
		session_set_state(s, SESSION_CLOSING);
		return;
	}
	if (s->from_guest == 0)
		session_event(s, false, handshake_silence_text(s));
	/* FIN without close_notify is how many clients say goodbye; messages have lengths. */
	if (cut && (from->error || !from->fd_eof))
		session_end(s, true);
}

static bool pass(struct session *s, struct leg *from, struct leg *to, uint64_t *count)
{
	enum leg_status st;
	size_t n = 0;

	if (from->ended || !relay_has_room(s, to))
		return false;
	st = leg_read(from, s->tp->scratch, TLSPROXY_CROWD_BYTES, &n);
	if (st == LEG_AGAIN)
		return false;
	if (st != LEG_OK) {
		direction_ended(s, from, st == LEG_CUT);
		return true;
	}
	*count += n;
	if (buf_append(&to->out, s->tp->scratch, n) < 0)
		session_end(s, true);
	return true;
}

bool terminate_step(struct session *s)
{
	struct leg *g = &s->guest, *u = &s->upstream;
	bool moved = leg_flush(u);

	moved |= leg_flush(g);
	if (g->wr_dead) {
		session_end(s, true);
		return true;
	}
	moved |= pass(s, u, g, &s->from_upstream);
	if (s->state == SESSION_RELAY)
		moved |= pass(s, g, u, &s->from_guest);
	if (s->state == SESSION_RELAY && g->ended && !u->out.len)
		leg_shutdown(u);
	return moved || s->state != SESSION_RELAY;
}
