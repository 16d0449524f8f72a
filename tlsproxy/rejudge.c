/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy is another one: what is under way is judged again.
 *
 * A flow's TLS name is asked about from the moment it was judged first; then
 * each request that is between its head and the last byte of its response, or
 * is a tunnel since. Between requests there is nothing to judge: the next one
 * will be. What is no longer allowed is reset, never answered: its peer may be
 * in the middle of anything. A flow that is being refused already goes on to say
 * why. Where TLS only ends here, the resolver behind judges every name by itself.
 */
#include "tlsproxy/tlsproxy_int.h"

/* Does it rest on a word of the policy? */
static bool is_judged(const struct session *s)
{
	return !s->refused && !s->flow.terminate && s->state != SESSION_CLOSING &&
	       s->state != SESSION_DONE;
}

static bool name_is_denied(struct session *s)
{
	/* Inside a CONNECT, before it is read and where it is not. */
	if (s->flow.connect && !s->judged) {
		s->tp->ops.judge_connect(s->tp->ctx, &s->flow, &s->verdict);
		return !s->verdict.allow || (s->verdict.need_http && s->state == SESSION_SPLICE);
	}
	if (!s->judged)
		return false;
	s->tp->ops.judge_tls(s->tp->ctx, &s->flow, s->has_sni, &s->sni, &s->verdict);
	return !s->verdict.allow && !s->verdict.need_http;
}

/* True: it is reset. */
static bool rejudge(struct session *s)
{
	if (!is_judged(s))
		return false;
	if (name_is_denied(s))
		session_event(s, false, HTTP_NOW_DENIED);
	else if (!s->filter || !http_filter_rejudge(s->filter, !s->flow.tls || s->verdict.need_http,
						    &s->upstream.out, &s->guest.out))
		return false;
	session_end(s, true);
	return true;
}

size_t tlsproxy_rejudge(struct tlsproxy *tp)
{
	size_t n = 0;

	/* What was agreed under the old one is not resumed: tickets are bound to it. */
	tp->generation++;
	resume_drop_all(&tp->resume);
	upstream_pool_drop_all(&tp->pool);
	list_for_each_safe (it, next, &tp->sessions) {
		struct session *s = container_of(it, struct session, node);

		if (rejudge(s)) {
			n++;
			session_run(s); /* frees it */
		} else if (s->filter) {
			/* Streams may have been reset, and both peers wait to be told. */
			loop_timer_set(tp->loop, &s->again, loop_now(tp->loop));
		}
	}
	return n;
}
