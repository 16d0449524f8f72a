/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's side in HTTP/2: we are the server. Each stream is a request, judged by
 * itself: one connection carries one authority, as agreement with the TLS name is
 * checked for every stream (421 otherwise, and the connection stays).
 *
 * A malformed request (RFC 9113 8.1.1) is answered 400 with its reason, and its
 * stream then reset with PROTOCOL_ERROR instead of ended. A request over our limits is
 * answered 431. After an answer that is complete before its request is, some more of
 * that is dropped, then comes RST_STREAM(NO_ERROR).
 */
#include "tlsproxy/http2_internal.h"

#include <stdio.h>

/* ---- requests --------------------------------------------------------------------------- */

static void malformed(struct http2_stream *st, unsigned status, const char *why)
{
	struct http_exchange *x = st->x;

	st->malformed = status == 400;
	/* Nothing of it waits any more, but the exchange may still be answered. */
	st->drop = true;
	if (x)
		http_request_bad(x, status, why);
	else
		http2_stream_reset(st, NGHTTP2_PROTOCOL_ERROR);
}

static enum http_flow refuse(struct http2_stream *st, unsigned status, const char *why)
{
	malformed(st, status, why);
	return HTTP_FLOW_REFUSED;
}

/* Fields that say how long the body is, against whether DATA follows. */
static int framing(struct http2_stream *st, const struct http_head *head, struct http_framing *fr,
		   struct http_refusal *refusal)
{
	int r = http_framing_request(head, fr, refusal);

	if (r < 0)
		return r;
	refusal->status = 400;
	r = http2_stream_framing(st, false, fr->has_length, fr->length, fr, &refusal->why);
	if (r == 0 && fr->body != HTTP_BODY_NONE && http_text_is(head->method, "TRACE")) {
		refusal->why = "TRACE with a body";
		r = -EBADMSG;
	}
	return r;
}

static enum http_flow head(struct http2_stream *st, struct http2_block *b)
{
	struct http_refusal refusal = { 400, "malformed request" };
	struct http_filter *f = st->h->side.filter;
	struct http_framing fr;
	struct http_head h;

	if (!st->x) {
		st->x = http_exchange_new(f);
		if (!st->x)
			return HTTP_FLOW_ABORT;
		http_exchange_set_guest(st->x, st);
		if (http2_block_join_cookies(b) < 0)
			return HTTP_FLOW_ABORT;
	}
	st->final = true;
	if (http2_block_request(b, f->cfg.tls, st->h->connect, &h, &refusal) < 0)
		return refuse(st, refusal.status, refusal.why);
	if (!st->framed && framing(st, &h, &st->framing, &refusal) < 0)
		return refuse(st, refusal.status, refusal.why);
	st->framed = true;
	fr = st->framing;
	return http_request_head(st->x, &h, &fr);
}

static void gone(struct http2_stream *st, uint32_t code)
{
	struct http_exchange *x = st->x;

	if (!x)
		return;
	http2_stream_detach(st);
	http_exchange_set_guest(x, NULL);
	/* It is here that it is given up (http2_stream.c), and nothing of it went out. */
	if (!st->closed) {
		http_exchange_mirror_reset(x, code, "too many requests wait for the upstream");
		return;
	}
	http_exchange_set_code(x, code);
	http_request_cancel(x);
}

static void frame(struct http2 *h, const nghttp2_frame *fr)
{
	(void)h;
	(void)fr;
}

/* ---- responses ------------------------------------------------------------------------------ */

static bool ready(const struct http2 *h)
{
	(void)h;
	return true;
}

static int submit(struct http2_stream *st, struct http2_fields *w, bool interim, bool whole)
{
	nghttp2_data_provider source = http2_stream_source(st);
	nghttp2_session *session = st->h->session;

	if (interim)
		return nghttp2_submit_headers(session, NGHTTP2_FLAG_NONE, st->id, NULL, w->nv, w->n,
					      NULL);
	return nghttp2_submit_response(session, st->id, w->nv, w->n, whole ? NULL : &source);
}

static int response_head(struct http2 *h2, struct http_exchange *x, const struct http_head *h,
			 const struct http_framing *fr)
{
	struct http2_stream *st = http_exchange_guest(x);
	bool interim = h->status < 200;
	struct http2_fields w;
	char status[4];
	int r;

	if (!st || st->closed || st->reset)
		return 0;
	w.n = w.size = 0;
	snprintf(status, sizeof(status), "%03u", h->status % 1000);
	http2_fields_add(&w, http_text_of(":status"), http_text_of(status), false);
	r = http2_fields_head(&w, h, interim ? NULL : fr);
	if (r == 0)
		r = http2_fields_fit(&w, st->h);
	if (r < 0)
		return r;
	if (!interim) {
		st->out_begun = true;
		st->out_whole = fr->body == HTTP_BODY_NONE && !fr->open && !st->malformed;
	}
	if (submit(st, &w, interim, st->out_whole) < 0)
		return -ENOMEM;
	http2_flush(h2);
	return 0;
}

static uint32_t reset_code(struct http2_stream *st, uint32_t code)
{
	/* What the upstream did is not the guest's doing. */
	st->excused = !st->malformed;
	if (st->malformed)
		return NGHTTP2_PROTOCOL_ERROR;
	return code ? code : NGHTTP2_INTERNAL_ERROR;
}

static struct http2_stream *stream(const struct http_exchange *x)
{
	return http_exchange_guest(x);
}

static const struct http2_role role = {
	.head = head,
	.body = http_request_body,
	.room = http_request_room,
	.end = http_request_end,
	.malformed = malformed,
	.gone = gone,
	.frame = frame,
	.ready = ready,
	.write_head = response_head,
	.reset_code = reset_code,
	.stream = stream,
	.set_stream = http_exchange_set_guest,
};

int http2_guest_new(struct http_filter *f, struct http_side **ret)
{
	struct http2 *h;
	int r = http2_new(f, true, &role, &h);

	if (r == 0)
		*ret = &h->side;
	return r;
}

void http2_guest_offer_connect(struct http_side *s)
{
	const nghttp2_settings_entry entry = { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 };
	struct http2 *h = http2_of(s);

	if (h->connect || h->dead)
		return;
	h->connect = true;
	if (nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, &entry, 1) < 0)
		h->over = HTTP_ABORT;
	if (!h->entered)
		http2_flush(h);
}
