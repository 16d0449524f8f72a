/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The response of an exchange, from the upstream's side to the guest's. Values in
 * it become placeholders again. What cannot be passed on is 502 when nothing of it
 * was, else the guest's half is reset, so that the guest cannot take a part for the
 * whole.
 */
#include "tlsproxy/http_internal.h"

#include <stdio.h>

enum http_flow http_response_bad(struct http_exchange *x, const char *why)
{
	http_response_fail(x, "http_protocol_error", why, false);
	return HTTP_FLOW_REFUSED;
}

void http_response_fail(struct http_exchange *x, const char *token, const char *why, bool retry)
{
	if (x->local)
		return;
	if (x->response_begun)
		http_exchange_cut(x, why);
	else if ((retry || x->code) && x->filter->cfg.guest_h2)
		http_exchange_mirror_reset(x, x->code ? x->code : HTTP2_REFUSED_STREAM, why);
	else if (x->filter->failed)
		http_refuse_failed(x);
	else
		http_refuse(x, TLSPROXY_HTTP_UPSTREAM_FAILED, 502, token, why);
}

/* ---- heads ------------------------------------------------------------------------------- */

static int pass_head(struct http_exchange *x, const struct http_head *h, const struct http_framing *fr)
{
	struct http_side *guest = x->filter->guest;
	struct http_head out;
	int r = http_heads_response(x, h, &out);

	if (r == 0)
		r = guest->ops->head(guest, x, &out, fr);
	http_heads_done(x->filter);
	return r;
}

static enum http_flow interim(struct http_exchange *x, const struct http_head *h)
{
	if (++x->interim > HTTP_INTERIM_MAX)
		return http_response_bad(x, "too many interim responses");
	if (h->status == 100)
		x->expect = false;
	if (pass_head(x, h, &(struct http_framing){ 0 }) < 0)
		return http_response_bad(x, "an interim response that cannot be passed on");
	return HTTP_FLOW_ON;
}

static enum http_flow switch_protocols(struct http_exchange *x, const struct http_head *h)
{
	int r;

	if (!x->websocket || !x->request_done || !http_field_has_token(h, "Upgrade", "websocket"))
		return http_response_bad(x, "101 that nobody asked for");
	r = http_tunnel_begin(x, h);
	if (r == -EPROTO)
		return http_response_bad(x, "WebSocket extensions that were not asked for");
	if (r < 0)
		return HTTP_FLOW_ABORT;
	if (pass_head(x, h, &(struct http_framing){ 0 }) < 0)
		return http_response_bad(x, "a response head that cannot be passed on");
	x->status = 101;
	x->response_begun = x->response_done = true;
	return HTTP_FLOW_ON;
}

/*
 * The answer to a query that did not look like one: only now it is known what the
 * request was, and it is judged as that.
 */
static bool hidden_doh_denied(struct http_exchange *x)
{
	struct tlsproxy_verdict v;

	x->doh = true;
	http_judge(x, &v);
	if (v.allow)
		return false;
	x->verdict = v;
	http_refuse(x, TLSPROXY_HTTP_DENIED, 403, NULL,
		    "the response is a DNS message, and the request did not say so");
	return true;
}

/*
 * How the body is looked at, and with it how long it may be said to be. Coded replies
 * are undone where a value may have gone; elsewhere they pass as they are.
 */
static int open_body(struct http_exchange *x, const struct http_head *h, struct http_framing *fr,
		     const char **ret_why)
{
	struct http_codings codings;
	bool known = http_content_codings(h, &codings);
	struct http_pipe_filter filter;
	int r;

	*ret_why = "out of memory for the body's coding";
	if (!http_secret_reply(x))
		return 0;
	if (!known && (x->filter->secret_used || x->secret_host)) {
		*ret_why = "a content coding that cannot be read, from a host that may know a "
			   "secret";
		return -EBADMSG;
	}
	if (!known || (codings.n && !x->secret_host))
		return 0;
	if (fr->body == HTTP_BODY_NONE) {
		/* HEAD, 304: of a body that would get another length. */
		fr->has_length &= codings.n == 0;
		return 0;
	}
	filter = http_secret_down(x);
	r = http_content_open(&x->down_body, &filter, &codings, HTTP_PIPE_CHANGE);
	if (r == 0 && http_pipe_changes_length(x->down_body.pipe)) {
		fr->has_length = false;
		if (fr->body == HTTP_BODY_LENGTH)
			fr->body = HTTP_BODY_CHUNKED;
	}
	return r;
}

/* A part of a reply would show a value piece by piece: ranges are not asked for. */
static bool is_unasked_part(const struct http_exchange *x, const struct http_head *h)
{
	return x->secret_host &&
	       (h->status == 206 ||
		(h->status < 300 && http_field_find(h, "Content-Range", &(struct http_text){ 0 })));
}

/* Over HTTP/2 (RFC 8441 5), read if there is anything to look for. */
static bool accepts_websocket(const struct http_exchange *x, const struct http_head *h)
{
	return x->websocket && x->n_secrets && h->http2 && h->status < 300;
}

/* RFC 9110 9.3.6: what follows the head is another flow. */
static enum http_flow connected(struct http_exchange *x, const struct http_head *h)
{
	struct http_filter *f = x->filter;

	if (!f->inside)
		f->inside = malloc(sizeof(*f->inside));
	if (!f->inside)
		return http_response_bad(x, strerror(ENOMEM));
	f->connected = true;
	*f->inside = *x->proxied;
	f->inside_verdict = x->verdict;
	if (pass_head(x, h, &(struct http_framing){ 0 }) < 0) {
		f->connected = false;
		return http_response_bad(x, "a response head that cannot be passed on");
	}
	x->response_begun = true;
	x->status = h->status;
	return HTTP_FLOW_ON;
}

enum http_flow http_response_open(struct http_exchange *x, const struct http_head *h,
				  const struct http_framing *fr)
{
	struct http_framing framing = *fr;
	const char *why = NULL;

	if (!x->tunnel && open_body(x, h, &framing, &why) < 0)
		return http_response_bad(x, why);
	if (pass_head(x, h, &framing) < 0)
		return http_response_bad(x, "a response head that cannot be passed on");
	x->response_begun = true;
	x->status = h->status;
	return HTTP_FLOW_ON;
}

static enum http_flow final_response(struct http_exchange *x, const struct http_head *h,
				     const struct http_framing *fr)
{
	if (!x->doh && http_doh_response(h) && hidden_doh_denied(x))
		return HTTP_FLOW_REFUSED;
	if (x->connect && h->status < 300)
		return connected(x, h);
	if (is_unasked_part(x, h))
		return http_response_bad(x, "a partial response that was not asked for");
	if (accepts_websocket(x, h) && http_tunnel_begin(x, h) < 0)
		return http_response_bad(x, "WebSocket extensions that were not asked for");
	if (!x->tunnel && fr->body != HTTP_BODY_NONE && http_mask_wanted(x))
		return http_mask_begin(x, h, fr);
	return http_response_open(x, h, fr);
}

enum http_flow http_response_head(struct http_exchange *x, struct http_head *h,
				  const struct http_framing *fr)
{
	struct http_side *guest = x->filter->guest;

	if (x->local)
		return HTTP_FLOW_REFUSED;
	x->head_size = http_head_size(h);
	if (!guest->ops->ready(guest, x))
		return HTTP_FLOW_WAIT;
	if (h->status == 101)
		return switch_protocols(x, h);
	if (h->status < 200)
		return interim(x, h);
	return final_response(x, h, fr);
}

/* ---- bodies ------------------------------------------------------------------------------- */

static struct http_way downward(struct http_exchange *x)
{
	return (struct http_way){ x->filter->guest, x };
}

static enum http_flow give_up_body(struct http_exchange *x, int r)
{
	if (r == -EMSGSIZE) {
		http_exchange_cut(x, "a secret's value in a reply whose length was told before the "
				     "secrets changed");
		return HTTP_FLOW_REFUSED;
	}
	if (r != -EBADMSG)
		return HTTP_FLOW_ABORT;
	snprintf(x->extra, sizeof(x->extra), "the content coding of the response: %s",
		 http_coding_fault_text(http_pipe_fault(x->down_body.pipe)));
	http_exchange_cut(x, x->extra);
	return HTTP_FLOW_REFUSED;
}

size_t http_response_room(const struct http_exchange *x)
{
	struct http_side *guest = x->filter->guest;

	if (x->tunnel)
		return http_tunnel_room_down(x);
	if (x->mask && !x->local)
		return http_mask_room(x);
	if (x->local || !x->response_begun)
		return 0;
	if (x->down_body.pipe)
		return http_content_room(&x->down_body, guest->ops->room(guest, x));
	return MIN(guest->ops->room(guest, x), HTTP_SLICE);
}

enum http_flow http_response_body(struct http_exchange *x, const uint8_t *p, size_t n)
{
	const struct http_way way = downward(x);
	int r;

	if (x->tunnel)
		return http_tunnel_down(x, p, n);
	if (x->local)
		return HTTP_FLOW_REFUSED;
	if (x->unread) {
		http_exchange_cut(x, "its host became a secret's while the reply passed unread");
		return HTTP_FLOW_REFUSED;
	}
	x->down += n;
	if (x->mask)
		return http_mask_body(x, p, n);
	r = x->down_body.pipe ? http_content_feed(&x->down_body, &way, p, n)
			      : way.to->ops->body(way.to, x, p, n);
	return r < 0 ? give_up_body(x, r) : HTTP_FLOW_ON;
}

void http_response_pump(struct http_exchange *x)
{
	const struct http_way way = downward(x);
	int r = 0;

	if (x->response_begun && !x->local && !x->response_done)
		r = http_content_pump(&x->down_body, &way);
	if (r < 0 && give_up_body(x, r) == HTTP_FLOW_ABORT)
		x->filter->over = HTTP_ABORT;
}

static int send_end(struct http_exchange *x, const struct http_head *trailers)
{
	struct http_side *guest = x->filter->guest;
	struct http_head out;
	int r = 0;

	if (trailers && guest->ops->room(guest, x) < MIN(http_head_size(trailers), HTTP_SLICE / 2))
		return -EAGAIN;
	if (trailers)
		r = http_heads_trailers(x, trailers, false, &out);
	if (r == 0)
		r = guest->ops->end(guest, x, trailers ? &out : NULL);
	http_heads_done(x->filter);
	return r;
}

enum http_flow http_response_end(struct http_exchange *x, const struct http_head *trailers)
{
	const struct http_way way = downward(x);
	enum http_flow fl;
	bool done = true;
	int r = 0;

	if (x->tunnel)
		return http_tunnel_down_end(x);
	if (x->local)
		return HTTP_FLOW_REFUSED;
	if (x->mask) {
		fl = http_mask_end(x);
		if (fl != HTTP_FLOW_ON)
			return fl;
		trailers = NULL;
	}
	if (x->down_body.pipe)
		r = http_content_end(&x->down_body, &way, &done);
	if (r == 0 && done)
		r = send_end(x, trailers);
	if (!done || r == -EAGAIN)
		return r < 0 && r != -EAGAIN ? give_up_body(x, r) : HTTP_FLOW_WAIT;
	if (r < 0)
		return give_up_body(x, r);
	http_content_fini(&x->down_body);
	x->response_done = true;
	http_exchange_settle(x);
	return HTTP_FLOW_ON;
}
