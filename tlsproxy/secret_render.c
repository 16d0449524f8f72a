/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was found in a reply, written again with the placeholder in its stead and
 * in the same spelling. Where the placeholder has as many characters as the value,
 * each is written like the one it replaces, in as many bytes: then no length
 * changes. In base64 the value shares characters with its neighbours; those keep
 * the neighbours' bits. A placeholder of another length is filled up there to the
 * value's place in the groups of three, so that what follows still decodes.
 */
#include "tlsproxy/secret_internal.h"

#define FILL '.'

static int emit_raw(struct secret_piece *x, size_t to)
{
	const struct secret_window *w = &x->w;
	int r = 0;

	if (x->done < w->n_held && x->done < to) {
		size_t n = MIN(to, w->n_held) - x->done;

		r = buf_append(x->out, w->held + x->done, n);
		x->done += n;
	}
	if (r == 0 && x->done < to) {
		r = buf_append(x->out, w->p + (x->done - w->n_held), to - x->done);
		x->done = to;
	}
	return r;
}

/* The bits under mask become others, if they are what they should be. */
static unsigned exchange_bits(unsigned six, unsigned mask, unsigned was, unsigned bits)
{
	return (six & mask) == was ? (six & ~mask) | bits : six;
}

static unsigned patched(const struct secret_scrub *b, size_t at, const struct secret_token *t)
{
	unsigned six = (unsigned)secret_base64_bits((uint8_t)t->c);

	if (!b->patch.set || b->patch.at != at)
		return six;
	return exchange_bits(six, b->patch.mask, b->patch.was, b->patch.bits);
}

static int emit_char(struct secret_piece *x, const struct secret_token *t, unsigned six, bool url)
{
	uint8_t out[SECRET_BREAK_MAX + SECRET_TOKEN_MAX];
	unsigned was = (unsigned)secret_base64_bits((uint8_t)t->c);
	uint8_t c = six == was ? (uint8_t)t->c : secret_base64_char(six, url);
	int r = buf_append(x->out, out, secret_token_like(t, c, out));

	x->done += t->len;
	return r;
}

int secret_emit(struct secret_scrub *b, struct secret_piece *x, size_t to)
{
	struct secret_token t;
	int r = 0;

	if (to <= x->done)
		return 0;
	if (b->patch.set && b->patch.at < to) {
		r = b->patch.at > x->done ? emit_raw(x, b->patch.at) : 0;
		if (r == 0 && x->done == b->patch.at && secret_token_base64(&x->w, x->done, &t) &&
		    t.c >= 0 && x->done + t.len <= to)
			r = emit_char(x, &t, patched(b, x->done, &t), b->patch.url);
		b->patch.set = false;
	}
	return r < 0 ? r : emit_raw(x, to);
}

/* ---- text ------------------------------------------------------------------------------ */

/* n characters c of the placeholder's spelling instead of the match's m tokens. */
static int write_chars(struct secret_piece *x, const struct secret_match *m, const uint8_t *c,
		       size_t n, bool same_count)
{
	uint8_t out[SECRET_BREAK_MAX + SECRET_TOKEN_MAX];
	struct secret_token t;
	size_t at = m->start;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (same_count && secret_token_read(m->lane, &x->w, at, &t)) {
			at += t.len;
			r = buf_append(x->out, out, secret_token_like(&t, c[i], out));
		} else {
			r = buf_append(x->out, out, secret_token_write(m->lane, c[i], out));
		}
	}
	x->done = m->end;
	return r;
}

static int render_text(struct secret_piece *x, const struct secret_match *m, const struct secret *s,
		       const struct secret_value *v)
{
	/* Without the same punctuation \" would have to become a letter: then all is written anew. */
	return write_chars(x, m, (const uint8_t *)s->placeholder, s->placeholder_len, v->fits);
}

/* ---- hex and base64: the placeholder encoded ---------------------------------------------- */

static int render_hex(struct secret_piece *x, const struct secret_match *m, const struct secret *s,
		      const struct secret_value *v, bool upper)
{
	const uint8_t *ph = (const uint8_t *)s->placeholder;
	uint8_t two[2];
	cleanup_free uint8_t *text = malloc(2 * s->placeholder_len);

	if (!text)
		return -ENOMEM;
	for (size_t i = 0; i < s->placeholder_len; i++) {
		secret_encode_hex(upper, ph + i, 1, two);
		memcpy(text + 2 * i, two, 2);
	}
	return write_chars(x, m, text, 2 * s->placeholder_len, s->placeholder_len == v->len);
}

/* The character in front holds the value's first bits below those of what is before it. */
static int render_lead(struct secret_scrub *b, struct secret_piece *x, const struct secret_match *m,
		       uint8_t value, uint8_t placeholder, unsigned phase, bool url)
{
	unsigned n = phase == 1 ? 4 : 2, mask = (1u << n) - 1;
	struct secret_token t;
	size_t end;
	unsigned six;
	int r;

	if (!secret_token_before(&x->w, x->done, m->start, &t, &end))
		return secret_emit(b, x, m->start);
	/* It may be the one behind another value, with a break of a line between. */
	if (b->patch.set && b->patch.at == secret_break_before(&x->w, x->done, end - t.len))
		b->patch.at = end - t.len;
	r = secret_emit(b, x, end - t.len);
	if (r < 0)
		return r;
	six = exchange_bits(patched(b, x->done, &t), mask, value >> (8 - n), placeholder >> (8 - n));
	b->patch.set = false;
	return emit_char(x, &t, six, url);
}

static void set_tail(struct secret_scrub *b, const struct secret_match *m, uint8_t value,
		     uint8_t last, unsigned phase, size_t len, bool url)
{
	unsigned n = (unsigned)(8 * (phase + len) % 6), low = (1u << n) - 1;

	b->patch = (struct secret_patch){ .set = n != 0,
					  .at = m->end,
					  .mask = (uint8_t)(low << (6 - n)),
					  .was = (uint8_t)((value & low) << (6 - n)),
					  .bits = (uint8_t)((last & low) << (6 - n)),
					  .url = url };
}

static int render_base64(struct secret_scrub *b, struct secret_piece *x, const struct secret_match *m,
			 const struct secret *s, const struct secret_value *v, unsigned variant)
{
	unsigned phase = variant / 2;
	bool url = variant % 2;
	size_t fill = (v->len % 3 + 3 - s->placeholder_len % 3) % 3, n = s->placeholder_len + fill;
	cleanup_free uint8_t *plain = malloc(n), *text = malloc(2 * n);
	int r = 0;

	if (!plain || !text)
		return -ENOMEM;
	memcpy(plain, s->placeholder, s->placeholder_len);
	memset(plain + s->placeholder_len, FILL, fill);
	if (phase)
		r = render_lead(b, x, m, v->bytes[0], plain[0], phase, url);
	if (r == 0)
		r = secret_emit(b, x, m->start);
	if (r == 0)
		r = write_chars(x, m, text, secret_encode_base64(phase, url, plain, n, text),
				n == v->len);
	set_tail(b, m, v->bytes[v->len - 1], plain[n - 1], phase, v->len, url);
	return r;
}

int secret_render(const struct secret_set *set, struct secret_scrub *b, struct secret_piece *x,
		  const struct secret_match *m)
{
	const struct secret_pattern *p = &set->back.patterns[m->pattern];
	const struct secret *s = &set->secrets[p->secret];
	const struct secret_value *v = &s->values[p->value];
	int r;

	if (p->form == SECRET_BASE64)
		return render_base64(b, x, m, s, v, p->variant);
	r = secret_emit(b, x, m->start);
	b->patch.set = false;
	if (r < 0)
		return r;
	return p->form == SECRET_HEX ? render_hex(x, m, s, v, p->variant) : render_text(x, m, s, v);
}
