/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One text on its way to the network, in whatever pieces it arrives; what is on
 * its way back is secret_scrub.c's.
 *
 * The text itself is one reading. Percent and JSON escapes are read by lanes
 * that run only while an escape is among the bytes that could still match:
 * before the first escape, and again some bytes after the last, a lane would be
 * in the same state as the text itself. Repeated escaping (%2561, \\u0061) is
 * undone in the lane too.
 *
 * Held bytes are not stored: they are a beginning of the pattern that the
 * state's node names.
 */
#include "tlsproxy/secret_internal.h"

#define BYTE_NONE 0x80 /* stands for a decoded character that is in no placeholder */

void secret_stream_out(struct secret_stream *s, const struct secret_set *set, bool replaces,
		       secret_decide *decide, void *ctx)
{
	*s = (struct secret_stream){
		.machine = &set->out,
		.set = set,
		.decide = decide,
		.ctx = ctx,
		.replaces = replaces,
	};
}

void secret_stream_back(struct secret_stream *s, const struct secret_set *set)
{
	*s = (struct secret_stream){
		.machine = &set->back,
		.set = set,
		.back = true,
		.replaces = true,
	};
	secret_scrub_init(&s->scrub);
}

void secret_stream_renew(struct secret_stream *s, const struct secret_set *set, bool fixed)
{
	s->machine = &set->back;
	s->set = set;
	s->scrub.fixed = fixed;
	secret_scrub_again(&s->scrub);
}

void secret_stream_fini(struct secret_stream *s)
{
	secret_scrub_fini(&s->scrub);
}

size_t secret_stream_held(const struct secret_stream *s)
{
	if (s->back)
		return s->scrub.n_held;
	return s->replaces ? s->machine->nodes[s->state].hold : 0;
}

/* One hit that began before these bytes may write so much, and each byte after it. */
static size_t growth_of(const struct secret_stream *s, size_t *ret_burst)
{
	size_t growth = s->back ? s->set->growth_back : s->set->growth_out;

	growth = s->replaces ? growth : 1;
	*ret_burst = growth == 1 ? 0 : s->back ? s->set->burst_back : s->set->burst_out;
	return growth;
}

size_t secret_stream_fits(const struct secret_stream *s, size_t room)
{
	size_t burst, growth = growth_of(s, &burst), held = secret_stream_held(s);

	return room > held + burst ? (room - held - burst) / growth : 0;
}

size_t secret_stream_end_room(const struct secret_stream *s)
{
	size_t burst, growth = growth_of(s, &burst), held = secret_stream_held(s);

	/* A match that was waited for in vain may hold others. */
	return s->back && s->set->nested ? held * growth + burst : held + burst;
}

bool secret_stream_keeps_length(const struct secret_stream *s, enum secret_escape how)
{
	if (!s->replaces)
		return true;
	return s->back ? s->set->keeps_back : secret_set_keeps_length(s->set, how);
}

/* ---- lanes --------------------------------------------------------------------------- */

/* A decoded byte moves the lane; true when a pattern ended that holds an escape. */
static bool lane_step(const struct secret_stream *s, struct secret_lane *l, uint8_t c, bool escaped,
		      size_t *ret_secret)
{
	const struct secret_machine *m = s->machine;
	uint32_t match;

	l->state = secret_machine_next(m, l->state, c);
	l->since = escaped ? 0 : l->since + 1;
	match = m->nodes[l->state].match;
	l->active = m->nodes[l->state].depth > l->since;
	if (!match || m->patterns[match - 1].len <= l->since)
		return false;
	*ret_secret = m->patterns[match - 1].secret;
	return true;
}

/* '%' begins an escape in either lane state; `before` is where the lane goes on from. */
static void lane_begin(struct secret_lane *l, uint32_t text_state)
{
	if (!l->active) {
		l->state = text_state;
		l->since = UINT32_MAX / 2;
	}
	l->phase = 1;
	l->n_digits = 0;
}

/* Not an escape after all: its characters are themselves. */
static bool lane_literal(const struct secret_stream *s, struct secret_lane *l, uint8_t lead,
			 size_t *ret_secret)
{
	bool hit = false;

	l->phase = 0;
	if (!l->active)
		return false;
	hit = lane_step(s, l, lead, false, ret_secret);
	for (unsigned i = 0; !hit && l->active && i < l->n_digits; i++)
		hit = lane_step(s, l, l->digits[i], false, ret_secret);
	return hit;
}

static unsigned digits_value(const struct secret_lane *l)
{
	unsigned v = 0;

	for (unsigned i = 0; i < l->n_digits; i++)
		v = v << 4 | (unsigned)str_hex_digit(l->digits[i]);
	return v;
}

static bool percent_lane(struct secret_stream *s, uint8_t c, uint32_t text_before, size_t *ret_secret)
{
	struct secret_lane *l = &s->percent;

	if (l->phase && str_hex_digit(c) >= 0) {
		l->digits[l->n_digits++] = c;
		if (l->n_digits < 2)
			return false;
		if (digits_value(l) == '%') {
			/* %25: an escaped escape; the digits that follow decide. */
			l->n_digits = 0;
			return false;
		}
		l->phase = 0;
		c = (uint8_t)digits_value(l);
		return lane_step(s, l, c < 0x80 ? c : BYTE_NONE, true, ret_secret);
	}
	if (l->phase && lane_literal(s, l, '%', ret_secret))
		return true;
	if (c == '%') {
		lane_begin(l, text_before);
		return false;
	}
	return l->active && lane_step(s, l, c, false, ret_secret);
}

/* phase 1: after backslashes; 2: inside the digits of \uXXXX or \xXX. */
static bool json_lane(struct secret_stream *s, uint8_t c, uint32_t text_before, size_t *ret_secret)
{
	struct secret_lane *l = &s->json;

	if (l->phase == 2) {
		if (str_hex_digit(c) >= 0) {
			unsigned v;

			l->digits[l->n_digits++] = c;
			if (l->n_digits < l->want)
				return false;
			v = digits_value(l);
			l->phase = 0;
			return lane_step(s, l, v < 0x80 ? (uint8_t)v : BYTE_NONE, true, ret_secret);
		}
		l->phase = 0;
		l->active = false;
	}
	if (l->phase == 1) {
		if (c == '\\')
			return false;
		if (c == 'u' || c == 'x') {
			l->phase = 2;
			l->want = c == 'u' ? 4 : 2;
			l->n_digits = 0;
			return false;
		}
		l->phase = 0;
		/* \/ and \" are these characters; \n and the like are in no placeholder. */
		if (c == 'n' || c == 'r' || c == 't' || c == 'b' || c == 'f')
			c = BYTE_NONE;
		return lane_step(s, l, c, true, ret_secret);
	}
	if (c == '\\') {
		lane_begin(l, text_before);
		return false;
	}
	return l->active && lane_step(s, l, c, false, ret_secret);
}

static void forget(struct secret_stream *s)
{
	s->state = 0;
	s->percent = s->json = (struct secret_lane){ 0 };
}

/* ---- the text --------------------------------------------------------------------------- */

/*
 * Positions count the held bytes first: [0, held) were read by an earlier call
 * and are the beginning of `held_bytes`, then comes the input.
 */
struct piece {
	const uint8_t *held_bytes;
	size_t held;
	const uint8_t *p;
	size_t done; /* everything before has been written */
	struct buf *out;
};

static int write_to(struct piece *w, size_t to)
{
	int r = 0;

	assert(to >= w->done);
	if (!w->out)
		w->done = to;
	if (w->done < w->held && w->done < to) {
		size_t n = MIN(to, w->held) - w->done;

		r = buf_append(w->out, w->held_bytes + w->done, n);
		w->done += n;
	}
	if (r == 0 && w->done < to) {
		r = buf_append(w->out, w->p + (w->done - w->held), to - w->done);
		w->done = to;
	}
	return r;
}

static int write_value(struct piece *w, const struct secret *sec, enum secret_escape how)
{
	size_t n = secret_escape(how, sec->value, sec->len, NULL);
	uint8_t *dst;
	int r = buf_reserve(w->out, n, &dst);

	if (r < 0)
		return r;
	secret_escape(how, sec->value, sec->len, dst);
	buf_commit(w->out, n);
	return 0;
}

/* A pattern ended at position `at` of the text as it stands. */
static int text_hit(struct secret_stream *s, struct piece *w, const struct secret_pattern *pat,
		    size_t at)
{
	struct secret_hit hit = {
		.secret = pat->secret, .form = pat->form, .len = pat->len, .at = at - w->held
	};
	enum secret_verdict v = s->decide(s->ctx, &hit);
	int r;

	if (v == SECRET_STOP)
		return -EPERM;
	forget(s);
	if (v == SECRET_LEAVE)
		return write_to(w, at);
	assert(pat->replaceable && s->replaces && at >= pat->len && at - pat->len >= w->done);
	r = write_to(w, at - pat->len);
	if (r < 0)
		return r;
	w->done = at;
	return write_value(w, &s->set->secrets[pat->secret], hit.escape);
}

static bool lane_hit(struct secret_stream *s, uint8_t c, uint32_t before, struct secret_hit *ret)
{
	if (percent_lane(s, c, before, &ret->secret)) {
		ret->form = SECRET_ODD_PERCENT;
		s->percent = (struct secret_lane){ 0 };
		return true;
	}
	if (json_lane(s, c, before, &ret->secret)) {
		ret->form = SECRET_ODD_JSON;
		s->json = (struct secret_lane){ 0 };
		return true;
	}
	return false;
}

static bool lanes_asleep(const struct secret_stream *s)
{
	return !s->percent.active && !s->percent.phase && !s->json.active && !s->json.phase;
}

/* Most bytes of most bodies begin nothing. */
static size_t skip_dull(const struct secret_stream *s, const uint8_t *p, size_t i, size_t n)
{
	if (i >= n || s->state || !lanes_asleep(s))
		return i;
	return i + byteset_find(&s->set->wakes_out, p + i, n - i);
}

/* One byte. */
static int step(struct secret_stream *s, struct piece *w, uint8_t c, size_t end)
{
	uint32_t before = s->state, match;
	struct secret_hit hit = { 0 };

	s->state = secret_machine_next(s->machine, before, c);
	match = s->machine->nodes[s->state].match;
	if (match)
		return text_hit(s, w, &s->machine->patterns[match - 1], end);
	if (lane_hit(s, c, before, &hit) && s->decide(s->ctx, &hit) == SECRET_STOP)
		return -EPERM;
	return 0;
}

static int feed_out(struct secret_stream *s, const uint8_t *p, size_t n, struct buf *out)
{
	const struct secret_node *node = &s->machine->nodes[s->state];
	struct piece w = { .held = secret_stream_held(s), .p = p, .out = out };
	int r;

	w.held_bytes = s->machine->n_patterns ? s->machine->patterns[node->hold_at].bytes : NULL;
	for (size_t i = skip_dull(s, p, 0, n); i < n; i = skip_dull(s, p, i + 1, n)) {
		r = step(s, &w, p[i], w.held + i + 1);
		if (r < 0)
			return r;
	}
	return write_to(&w, w.held + n - secret_stream_held(s));
}

int secret_stream_feed(struct secret_stream *s, const uint8_t *p, size_t n, struct buf *out)
{
	return s->back ? secret_scrub_feed(s, p, n, false, out) : feed_out(s, p, n, out);
}

int secret_stream_end(struct secret_stream *s, struct buf *out)
{
	size_t held = secret_stream_held(s);
	const struct secret_node *node;
	int r = 0;

	if (s->back)
		return secret_scrub_feed(s, NULL, 0, true, out);
	node = &s->machine->nodes[s->state];
	if (held && out)
		r = buf_append(out, s->machine->patterns[node->hold_at].bytes, held);
	forget(s);
	return r;
}
