/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer may ask for without bringing anything. Frames that only cost us
 * (PING and its ack, settings, priorities, windows a byte at a time) and streams
 * that are given up unanswered are paid from a budget; requests, body bytes and
 * served responses earn it back. So there is no clock in it: a peer that works may
 * talk as it likes, one that does not is told ENHANCE_YOUR_CALM (RFC 9113 10.5). Only
 * that life is shown on a silent connection is paid by time (http2_stall.c).
 *
 * A field section has to be decoded whatever it is for: it costs as much as a stream
 * earns, and that is given back where the stream is one (http2_session.c). A stream that
 * is given up behind its response's head costs a little more than it earned: who wanted
 * some of the body has paid with that.
 */
#include "tlsproxy/http2_internal.h"

void http2_budget_init(struct http2_budget *b)
{
	*b = (struct http2_budget){ HTTP2_FRAMES_MAX, HTTP2_RESETS_MAX };
}

bool http2_budget_spend(struct http2_budget *b, unsigned frames)
{
	if (b->frames < frames)
		return false;
	b->frames -= frames;
	return true;
}

bool http2_budget_frame(struct http2_budget *b, const nghttp2_frame_hd *hd)
{
	switch (hd->type) {
	case NGHTTP2_HEADERS:
		return http2_budget_spend(b, HTTP2_FRAMES_PER_STREAM);
	case NGHTTP2_DATA:
		if (hd->length || (hd->flags & NGHTTP2_FLAG_END_STREAM))
			return true;
		break;
	default:
		break;
	}
	return http2_budget_spend(b, 1);
}

bool http2_budget_reset(struct http2_budget *b)
{
	if (b->resets == 0)
		return false;
	b->resets--;
	return true;
}

void http2_budget_earn(struct http2_budget *b, unsigned frames)
{
	b->frames = MIN(b->frames + frames, (unsigned)HTTP2_FRAMES_MAX);
}

void http2_budget_served(struct http2_budget *b)
{
	b->resets = MIN(b->resets + 1, (unsigned)HTTP2_RESETS_MAX);
}
