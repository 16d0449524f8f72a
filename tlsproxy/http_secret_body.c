/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies and upgraded connections as streams: what of their text secrets may go
 * into, and how values are written there. Where a secret is for some fields only, the
 * body is told apart into fields first (http_rewrite.h), and a hit counts for a field
 * when all of it lies in the value.
 */
#include "tlsproxy/http_internal.h"

#include <strings.h>

#define FORM(f) (1u << (f))

static bool text_has(struct http_text t, const char *what)
{
	size_t n = strlen(what);

	for (size_t i = 0; i + n <= t.len; i++)
		if (strncasecmp(t.s + i, what, n) == 0)
			return true;
	return false;
}

enum secret_escape http_place_escape(const struct http_place *place)
{
	return place->natural == SECRET_JSON	  ? SECRET_IN_JSON
	       : place->natural == SECRET_PERCENT ? SECRET_ALL_PERCENT
						  : SECRET_RAW;
}

static int open_rewrite(struct http_exchange *x, struct http_text type)
{
	const char *boundary = NULL;
	size_t len = 0;
	enum http_rewrite_kind kind = http_rewrite_kind(type.s, type.len, &boundary, &len);
	int r;

	if (!x->request_body.replaces || !x->secrets->fields || kind == HTTP_REWRITE_NONE)
		return 0;
	r = http_rewrite_new(kind, x->secrets->fields, boundary, len, &x->rewrite);
	/* A boundary that is none: nothing in the body is a field's. */
	return r == -EINVAL ? 0 : r;
}

int http_secret_body(struct http_exchange *x, const struct http_head *h, bool known)
{
	struct http_place *place = &x->body_place;
	struct http_text type = { 0 };

	*place = (struct http_place){ .x = x, .place = TLSPROXY_IN_BODY, .forms = FORM(SECRET_PLAIN) };
	if (!known)
		place->barred = "a content coding that cannot be read";
	if (http_field_find(h, "Content-Type", &type)) {
		if (text_has(type, "json"))
			place->natural = SECRET_JSON;
		else if (text_has(type, "x-www-form-urlencoded"))
			place->natural = SECRET_PERCENT;
		place->forms |= FORM(place->natural);
	}
	if (!x->n_secrets)
		return 0;
	secret_stream_out(&x->request_body, x->secrets, http_secret_may_replace(x, place),
			  http_secret_decide, place);
	http_rewrite_free(x->rewrite);
	x->rewrite = NULL;
	return type.len ? open_rewrite(x, type) : 0;
}

/* ---- requests ------------------------------------------------------------------------------ */

static int feed_segment(struct http_exchange *x, const struct http_segment *seg, struct buf *out)
{
	x->body_place.fields = seg->names;
	x->body_place.name_at = seg->at;
	return secret_stream_feed(&x->request_body, seg->p, seg->n, out);
}

static int up_feed(void *ctx, const uint8_t *p, size_t n, struct buf *out)
{
	struct http_exchange *x = ctx;
	struct rd in = rd_init(p, n);
	struct http_segment seg;
	int r = 0;

	if (!x->rewrite)
		return secret_stream_feed(&x->request_body, p, n, out);
	while (r == 0 && http_rewrite_next(x->rewrite, &in, &seg))
		r = feed_segment(x, &seg, out);
	return r;
}

static int up_end(void *ctx, struct buf *out)
{
	struct http_exchange *x = ctx;
	struct http_segment seg;
	int r = 0;

	while (r == 0 && x->rewrite && http_rewrite_end(x->rewrite, &seg))
		r = feed_segment(x, &seg, out);
	return r < 0 ? r : secret_stream_end(&x->request_body, out);
}

/* What the rewriter holds back comes on top. */
static size_t up_fits(void *ctx, size_t room)
{
	const struct http_exchange *x = ctx;
	size_t fits = secret_stream_fits(&x->request_body, room);
	size_t held = x->rewrite ? http_rewrite_held(x->rewrite) : 0;

	return fits > held ? fits - held : 0;
}

static size_t up_end_room(void *ctx)
{
	const struct http_exchange *x = ctx;
	size_t room = secret_stream_end_room(&x->request_body);

	if (x->rewrite)
		room += http_rewrite_held(x->rewrite) * x->secrets->growth_out;
	return MIN(room, HTTP_PIPE_ROOM);
}

static bool up_keeps_length(void *ctx)
{
	const struct http_exchange *x = ctx;

	return secret_stream_keeps_length(&x->request_body, http_place_escape(&x->body_place));
}

struct http_pipe_filter http_secret_up(struct http_exchange *x)
{
	return (struct http_pipe_filter){ .ctx = x,
					  .feed = up_feed,
					  .end = up_end,
					  .fits = up_fits,
					  .end_room = up_end_room,
					  .keeps_length = up_keeps_length };
}

/* ---- responses -------------------------------------------------------------------------------- */

/*
 * From the next byte on by the newest set, which knows the values of those before it as well.
 * Where the reply's length was told and a placeholder has another, finding that value ends it.
 */
static void to_newest(struct http_exchange *x)
{
	const struct secret_set *next = x->filter->secrets;
	bool told = x->down_body.pipe && !http_pipe_changes_length(x->down_body.pipe);

	if (x->reply_secrets == next)
		return;
	secret_stream_renew(&x->response_body, next, told);
	http_secret_reply(x);
}

static int down_feed(void *ctx, const uint8_t *p, size_t n, struct buf *out)
{
	struct http_exchange *x = ctx;

	to_newest(x);
	return secret_stream_feed(&x->response_body, p, n, out);
}

static int down_end(void *ctx, struct buf *out)
{
	struct http_exchange *x = ctx;

	to_newest(x);
	return secret_stream_end(&x->response_body, out);
}

static size_t down_fits(void *ctx, size_t room)
{
	struct http_exchange *x = ctx;

	to_newest(x);
	return secret_stream_fits(&x->response_body, room);
}

static size_t down_end_room(void *ctx)
{
	struct http_exchange *x = ctx;

	to_newest(x);
	return MIN(secret_stream_end_room(&x->response_body), HTTP_PIPE_ROOM);
}

static bool down_keeps_length(void *ctx)
{
	struct http_exchange *x = ctx;

	return secret_stream_keeps_length(&x->response_body, SECRET_RAW);
}

bool http_secret_reply(struct http_exchange *x)
{
	struct secret_set *old = x->reply_secrets, *next = x->filter->secrets;

	if (old != next) {
		x->reply_secrets = secret_set_ref(next);
		secret_set_unref(old);
	}
	for (size_t i = 0; i < secret_set_count(next); i++)
		x->secret_host |= secret_host_knows(&next->secrets[i], &x->authority);
	return secret_set_count(next) != 0;
}

void http_secret_changed(struct http_exchange *x)
{
	const struct secret_set *set = x->filter->secrets;
	bool read = x->tunnel ? http_tunnel_reads(x->tunnel) : x->down_body.pipe != NULL;

	if (x->local || x->connect || !(x->tunnel || x->response_begun) || read)
		return;
	for (size_t i = 0; i < secret_set_count(set); i++)
		x->unread |= secret_host_knows(&set->secrets[i], &x->authority);
}

struct http_pipe_filter http_secret_down(struct http_exchange *x)
{
	secret_stream_fini(&x->response_body);
	secret_stream_back(&x->response_body, x->reply_secrets);
	return (struct http_pipe_filter){ .ctx = x,
					  .feed = down_feed,
					  .end = down_end,
					  .fits = down_fits,
					  .end_room = down_end_room,
					  .keeps_length = down_keeps_length };
}
