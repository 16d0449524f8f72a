/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The response of an exchange, from the upstream's side to the guest's. Values in
 * it become placeholders again. What cannot be passed on is 502 when nothing of it
 * was, else the guest's half is reset, so that the guest cannot take a part for the
 * whole.
 */
#include "tlsproxy/http_internal.h"

static enum http_flow bad(struct http_exchange *x, const char *why)
{
	http_response_fail(x, "http_protocol_error", why, false);
	return HTTP_FLOW_REFUSED;
}

void http_response_fail(struct http_exchange *x, const char *token, const char *why, bool retry)
{
	(void)retry;
	if (x->local)
		return;
	if (x->response_begun)
		http_exchange_cut(x, why);
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
		return bad(x, "too many interim responses");
	if (h->status == 100)
		x->expect = false;
	if (pass_head(x, h, &(struct http_framing){ 0 }) < 0)
		return bad(x, "an interim response that cannot be passed on");
	return HTTP_FLOW_ON;
}

static enum http_flow switch_protocols(struct http_exchange *x, const struct http_head *h)
{
	if (!x->websocket || !x->request_done || !http_field_has_token(h, "Upgrade", "websocket"))
		return bad(x, "101 that nobody asked for");
	if (http_tunnel_begin(x) < 0)
		return HTTP_FLOW_ABORT;
	if (pass_head(x, h, &(struct http_framing){ 0 }) < 0)
		return bad(x, "a response head that cannot be passed on");
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

static void begin_body(struct http_exchange *x, const struct http_head *h)
{
	struct http_text coding = { 0 };

	if (x->filter->n_secrets)
		secret_stream_back(&x->response_body, x->filter->cfg.secrets);
	x->response_plain = x->filter->n_secrets == 0 ||
			    (http_field_find(h, "Content-Encoding", &coding) &&
			     !http_field_has_token(h, "Content-Encoding", "identity"));
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
	if (!x->doh && http_doh_response(h) && hidden_doh_denied(x))
		return HTTP_FLOW_REFUSED;
	if (pass_head(x, h, fr) < 0)
		return bad(x, "a response head that cannot be passed on");
	x->response_begun = true;
	x->status = h->status;
	begin_body(x, h);
	return HTTP_FLOW_ON;
}

/* ---- bodies ------------------------------------------------------------------------------- */

static size_t held(const struct http_exchange *x)
{
	return x->response_plain ? 0 : secret_stream_held(&x->response_body);
}

size_t http_response_room(const struct http_exchange *x)
{
	const struct http_side *guest = x->filter->guest;
	size_t room, need;

	if (x->tunnel)
		return http_tunnel_room_down(x);
	if (x->local || !x->response_begun)
		return 0;
	need = held(x);
	room = guest->ops->room(guest, x);
	return room > need ? MIN(room - need, HTTP_SLICE) : 0;
}

static int send_scrubbed(struct http_exchange *x, const uint8_t *p, size_t n, bool end)
{
	struct http_side *guest = x->filter->guest;
	struct buf *b = &x->filter->scratch;
	int r = http_wiped_reserve(b, held(x) + n);

	if (r == 0)
		r = secret_stream_feed(&x->response_body, p, n, b);
	if (r == 0 && end)
		r = secret_stream_end(&x->response_body, b);
	if (r == 0 && b->len)
		r = guest->ops->body(guest, x, buf_at(b), b->len);
	http_cut(b, 0);
	return r;
}

enum http_flow http_response_body(struct http_exchange *x, const uint8_t *p, size_t n)
{
	struct http_side *guest = x->filter->guest;
	int r;

	if (x->tunnel)
		return http_tunnel_down(x, p, n);
	if (x->local)
		return HTTP_FLOW_REFUSED;
	r = x->response_plain ? guest->ops->body(guest, x, p, n) : send_scrubbed(x, p, n, false);
	if (r < 0)
		return HTTP_FLOW_ABORT;
	x->down += n;
	return HTTP_FLOW_ON;
}

enum http_flow http_response_end(struct http_exchange *x, const struct http_head *trailers)
{
	struct http_side *guest = x->filter->guest;
	size_t need = trailers ? http_head_size(trailers) : 0;
	struct http_head out;
	int r = 0;

	if (x->tunnel)
		return http_tunnel_down_end(x);
	if (x->local)
		return HTTP_FLOW_REFUSED;
	need += held(x);
	if (need && guest->ops->room(guest, x) < MIN(need, HTTP_SLICE))
		return HTTP_FLOW_WAIT;
	if (held(x))
		r = send_scrubbed(x, NULL, 0, true);
	if (r == 0 && trailers)
		r = http_heads_trailers(x, trailers, false, &out);
	if (r == 0)
		r = guest->ops->end(guest, x, trailers ? &out : NULL);
	http_heads_done(x->filter);
	if (r < 0)
		return HTTP_FLOW_ABORT;
	x->response_done = true;
	http_exchange_settle(x);
	return HTTP_FLOW_ON;
}
