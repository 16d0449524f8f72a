/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams that stand still through their peer's doing: bytes wait for a window that does not
 * open, or a body that was announced by its length does not come. Each holds memory, a stream
 * of the other side, and the one request that it is. There is no clock here: the owner ticks,
 * and a stream that has waited through HTTP2_STALL_TICKS of them is reset; the others of the
 * connection go on.
 *
 * Who only has nothing to say is not meant: a body without a length, as gRPC's, may pause for
 * as long as the flow may. That is for ever, as long as either peer sends a PING now and then:
 * any byte is life to the flow, a PING that one peer sends is followed by one to the other
 * (http2_ping), and each minute pays for a few.
 */
#include "tlsproxy/http2_internal.h"

static const char slow[] = "the reader took nothing for minutes while bytes waited for it";
static const char cut_short[] = "a body stopped before its Content-Length, for minutes";

/* What is waited for, or NULL. */
static const char *waits_for(const struct http2_stream *st)
{
	if (st->closed || st->reset)
		return NULL;
	if (st->out.len)
		return slow;
	/* Not while it is we who keep the window shut. */
	if (st->h->server && st->x && st->counted && st->left && !st->in_ended && !st->drop &&
	    !st->unconsumed)
		return cut_short;
	return NULL;
}

void http2_tick(struct http_side *s)
{
	struct http2 *h = http2_of(s);

	http2_fit_windows(h, true);
	if (!list_empty(&h->streams))
		http2_budget_earn(&h->budget, HTTP2_FRAMES_PER_TICK);
	list_for_each_safe (it, next, &h->streams) {
		struct http2_stream *st = container_of(it, struct http2_stream, node);
		const char *why = waits_for(st);

		if (!why) {
			st->still = 0;
			continue;
		}
		if (++st->still <= HTTP2_STALL_TICKS)
			continue;
		/* Told on both sides, and on the record; streams are freed later. */
		if (st->x)
			http_exchange_mirror_reset(st->x, NGHTTP2_CANCEL, why);
		else
			http2_stream_reset(st, NGHTTP2_CANCEL);
	}
}
