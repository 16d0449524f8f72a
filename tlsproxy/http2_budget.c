/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer may ask for without bringing anything. Frames that only cost us
 * (PING and its ack, settings, priorities, windows a byte at a time) and streams
 * that are given up unanswered are paid from a budget; requests, body bytes and
 * served responses earn it back. So there is no clock in it: a peer that works may
 * talk as it likes, one that does not is told ENHANCE_YOUR_CALM (RFC 9113 10.5).
 */
#include "tlsproxy/http2_internal.h"

void http2_budget_init(struct http2_budget *b)
{
	*b = (struct http2_budget){ HTTP2_FRAMES_MAX, HTTP2_RESETS_MAX };
}

static bool spend(unsigned *left)
{
	if (*left == 0)
		return false;
	(*left)--;
	return true;
}

bool http2_budget_spend(struct http2_budget *b)
{
	return spend(&b->frames);
}

bool http2_budget_frame(struct http2_budget *b, const nghttp2_frame_hd *hd)
{
	switch (hd->type) {
	case NGHTTP2_HEADERS:
		return true; /* paid for by the stream, or by its reset */
	case NGHTTP2_DATA:
		if (hd->length || (hd->flags & NGHTTP2_FLAG_END_STREAM))
			return true;
		break;
	default:
		break;
	}
	return spend(&b->frames);
}

bool http2_budget_reset(struct http2_budget *b)
{
	return spend(&b->resets);
}

void http2_budget_earn(struct http2_budget *b, unsigned frames)
{
	b->frames = MIN(b->frames + frames, (unsigned)HTTP2_FRAMES_MAX);
}

void http2_budget_served(struct http2_budget *b)
{
	b->resets = MIN(b->resets + 1, (unsigned)HTTP2_RESETS_MAX);
}
