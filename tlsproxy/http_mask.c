/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies of token endpoints that the sandbox asks itself (RFC 6749). What they bring is
 * worth as much as what it was bought with, so the sandbox gets a placeholder of it.
 *
 *   head ─► kept │ body ─► codings undone ─► whole ─► token_reply ─► ops.mask: secrets of their own
 *                │                                        │
 *                └──► without Content-Encoding ──► the same JSON with their placeholders ──► guest
 *
 * Nothing of such a reply goes on before all of it was read. One that is too long, has a
 * coding or a form that cannot be read, or a token that cannot be kept, is answered 502,
 * whatever its status was: who sent it may have put a token anywhere.
 *
 * Which reply is one does not rest on the guest's word: it is one when the request carried
 * what buys tokens. `paths` are for those that carry nothing of ours (a code with PKCE, say),
 * and a path that can be read in two ways is taken for each of them.
 *
 * What goes on is read for values once more, by the secrets as they are then: a token that
 * stands in another place of the reply as well becomes its placeholder there too.
 */
#include "tlsproxy/token.h"

#include <stdio.h>

struct http_mask {
	struct secret_set *set; /* that the request began with */
	const struct secret *secret;
	struct http_head *head; /* as it goes on */
	struct http_framing framing;
	struct http_coder *decoder; /* NULL: no coding */
	struct buf text;	    /* what came; then what goes on. Wiped */
	bool read;		    /* text is what goes on */
	size_t sent;		    /* of it */
};

/* ---- which ------------------------------------------------------------------------------- */

static bool matches(const struct http_exchange *x, const struct secret_mask *m, const char *target)
{
	const struct http_filter_config *cfg = &x->filter->cfg;

	if (!cfg->ops->path_matches || !m->n_paths || !target)
		return false;
	for (size_t i = 0; i < m->n_paths; i++)
		if (cfg->ops->path_matches(cfg->ctx, m->paths[i], target))
			return true;
	/* One that no pattern matches at all can be read in two ways. */
	return !cfg->ops->path_matches(cfg->ctx, "/**", target);
}

/* By its own target, or any that it may be taken for. */
static bool is_endpoint(const struct http_exchange *x, const struct secret_mask *m)
{
	const char *t = x->targets.texts;

	for (size_t i = 0; i < x->targets.n; i++, t += strlen(t) + 1)
		if (matches(x, m, t))
			return true;
	return matches(x, m, x->target);
}

/* It, or a refresh token that came of it. */
static bool carried(const struct http_exchange *x, size_t secret)
{
	const struct secret *s = &x->secrets->secrets[secret];

	for (size_t i = 0; i < x->n_secrets; i++) {
		const struct secret *o = &x->secrets->secrets[i];

		if ((i == secret || (o->renews && o->of && str_eq(o->of, s->env))) &&
		    http_secret_carried(x, i))
			return true;
	}
	return false;
}

static const struct secret *masks(const struct http_exchange *x)
{
	for (size_t i = 0; i < x->n_secrets; i++) {
		const struct secret *s = &x->secrets->secrets[i];

		if (secret_mask_at(s->mask, &x->authority) &&
		    (carried(x, i) || is_endpoint(x, s->mask)))
			return s;
	}
	return NULL;
}

bool http_mask_wanted(const struct http_exchange *x)
{
	return masks(x) != NULL;
}

/* ---- in ------------------------------------------------------------------------------------ */

void http_mask_free(struct http_mask *m)
{
	if (!m)
		return;
	secret_set_unref(m->set);
	free(m->head);
	http_coder_free(m->decoder);
	buf_fini_wiped(&m->text);
	free(m);
}

/* Its coding is undone for good. */
static void drop_coding(struct http_head *h)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n_fields; i++)
		if (!http_text_ieq(h->fields[i].name, "Content-Encoding"))
			h->fields[n++] = h->fields[i];
	h->n_fields = n;
}

static int mask_new(struct http_exchange *x, const struct http_head *h,
		    const struct http_codings *codings, struct http_mask **ret)
{
	struct http_mask *m = calloc(1, sizeof(*m));
	uint8_t *p;
	int r;

	if (!m)
		return -ENOMEM;
	m->set = secret_set_ref(x->secrets);
	m->secret = masks(x);
	m->text = BUF_INIT(HTTP_MASK_MAX);
	m->head = http_head_copy(h);
	/* All at once: growing would leave copies behind. */
	r = m->head ? buf_reserve(&m->text, HTTP_MASK_MAX, &p) : -ENOMEM;
	if (r == 0 && codings->n)
		r = http_decoder_new(codings, &m->decoder);
	if (r < 0) {
		http_mask_free(m);
		return r;
	}
	drop_coding(m->head);
	*ret = m;
	return 0;
}

enum http_flow http_mask_begin(struct http_exchange *x, const struct http_head *h,
			       const struct http_framing *fr)
{
	struct http_codings codings;

	(void)fr;
	if (!http_content_codings(h, &codings))
		return http_response_bad(x, "a token endpoint's reply in a content coding that "
					    "cannot be read");
	if (mask_new(x, h, &codings, &x->mask) < 0)
		return http_response_bad(x, "out of memory for a token endpoint's reply");
	return HTTP_FLOW_ON;
}

size_t http_mask_room(const struct http_exchange *x)
{
	return x->mask->read ? 0 : HTTP_SLICE;
}

/* -EFBIG, -EBADMSG, -ENOMEM. */
static int unfold(struct http_mask *m, const uint8_t *p, size_t n, enum http_coding_op op)
{
	bool done = !m->decoder;
	int r = 0;

	if (!m->decoder && n > buf_room(&m->text))
		return -EFBIG;
	if (!m->decoder)
		return n ? buf_append(&m->text, p, n) : 0;
	while (r == 0 && !done) {
		size_t before = m->text.len, taken = 0;

		r = http_coder_run(m->decoder, p, n, op, &m->text, &taken, &done);
		if (r == 0 && !done && !taken && m->text.len == before)
			r = -EFBIG;
		if (r == 0 && taken) { /* no input may be NULL */
			p += taken;
			n -= taken;
		}
	}
	return r;
}

static enum http_flow unreadable(struct http_exchange *x, const char *why)
{
	snprintf(x->extra, sizeof(x->extra),
		 "a token endpoint's reply (status %u) that cannot be read is not passed on: %s",
		 x->mask->head->status, why);
	return http_response_bad(x, "a token endpoint's reply that cannot be read");
}

static enum http_flow cannot_unfold(struct http_exchange *x, int r)
{
	return unreadable(x, r == -EFBIG     ? "it is too long"
			     : r == -EBADMSG ? "its content coding is broken"
					     : "out of memory");
}

enum http_flow http_mask_body(struct http_exchange *x, const uint8_t *p, size_t n)
{
	int r = unfold(x->mask, p, n, HTTP_CODING_RUN);

	return r < 0 ? cannot_unfold(x, r) : HTTP_FLOW_ON;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* They become secrets; what is another secret's value anyhow is left to be found as that. */
static int make_secrets(struct http_exchange *x, const struct tlsproxy_fresh *list, size_t n)
{
	const struct http_filter_config *cfg = &x->filter->cfg;
	const char *of = x->mask->secret->env;
	struct tlsproxy_fresh fresh[HTTP_MASK_TOKENS_MAX];
	size_t n_fresh = 0;

	for (size_t i = 0; i < n; i++) {
		const struct secret *s =
			secret_of_value(x->filter->secrets, of, list[i].value, list[i].len);

		if (!s || s->of)
			fresh[n_fresh++] = list[i];
	}
	if (!n_fresh)
		return 0;
	return cfg->ops->mask ? cfg->ops->mask(cfg->ctx, cfg->flow, of, fresh, n_fresh) : -ENOSYS;
}

/* Whoever has the value now: its placeholder. */
static int put_placeholders(struct http_exchange *x, struct token_reply *t)
{
	const char *of = x->mask->secret->env;
	size_t n;
	const struct tlsproxy_fresh *list = token_reply_list(t, &n);
	int r = make_secrets(x, list, n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct secret *s =
			secret_of_value(x->filter->secrets, of, list[i].value, list[i].len);

		r = s ? token_reply_put(t, i, s->placeholder) : -ENOENT;
	}
	return r;
}

/* The text becomes what goes on. */
static enum http_flow read_all(struct http_exchange *x)
{
	struct http_mask *m = x->mask;
	const char *why = "out of memory";
	struct token_reply *t = NULL;
	int r = unfold(m, NULL, 0, HTTP_CODING_END);

	if (r < 0)
		return cannot_unfold(x, r);
	m->read = true;
	if (m->text.len == 0)
		return HTTP_FLOW_ON;
	r = token_reply_read(buf_at(&m->text), m->text.len,
			     (const char *const *)m->secret->mask->fields,
			     m->secret->mask->n_fields, &t, &why);
	if (r < 0)
		return unreadable(x, why);
	if (put_placeholders(x, t) < 0) {
		token_reply_free(t);
		return unreadable(x, "its tokens cannot be kept");
	}
	http_cut(&m->text, 0);
	r = token_reply_write(t, &m->text);
	token_reply_free(t);
	return r < 0 ? unreadable(x, "it is too long") : HTTP_FLOW_ON;
}

/* ---- out ------------------------------------------------------------------------------------- */

static enum http_flow send_head(struct http_exchange *x)
{
	struct http_side *guest = x->filter->guest;
	struct http_mask *m = x->mask;
	struct http_framing fr = { .body = HTTP_BODY_LENGTH,
				   .has_length = true,
				   .length = m->text.len };

	x->head_size = http_head_size(m->head);
	if (!guest->ops->ready(guest, x))
		return HTTP_FLOW_WAIT;
	return http_response_open(x, m->head, &fr);
}

enum http_flow http_mask_end(struct http_exchange *x)
{
	struct http_side *guest = x->filter->guest;
	const struct http_way way = { guest, x };
	struct http_mask *m = x->mask;
	enum http_flow fl = HTTP_FLOW_ON;

	if (!m->read)
		fl = read_all(x);
	if (fl == HTTP_FLOW_ON && !x->response_begun)
		fl = send_head(x);
	while (fl == HTTP_FLOW_ON && m->sent < m->text.len) {
		const uint8_t *p = buf_at(&m->text) + m->sent;
		size_t room = MIN(guest->ops->room(guest, x), HTTP_SLICE), n;
		int r;

		if (x->down_body.pipe)
			room = http_content_room(&x->down_body, room);
		n = MIN(room, m->text.len - m->sent);
		if (n == 0)
			return HTTP_FLOW_WAIT;
		r = x->down_body.pipe ? http_content_feed(&x->down_body, &way, p, n)
				      : guest->ops->body(guest, x, p, n);
		m->sent += n;
		if (r < 0)
			fl = HTTP_FLOW_ABORT;
	}
	return fl;
}
