/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies: every value, in whatever spelling, becomes the placeholder, across any
 * pieces.
 *
 * Lane 0 reads the text as it stands. Each other lane undoes one kind of escape (of which
 * the break of a line within base64 is one) and runs only while an escape is among the bytes that could still match: before it, and
 * again behind it, it would be in lane 0's state. A lane remembers where in the text
 * the beginning it has matched begins (tail); when the automaton gives up some of it, the
 * tail moves on by as many characters, read again. Each byte is so read twice at most.
 *
 * The leftmost match wins, of those the longest: one that could still be part of
 * a longer one waits. Behind it reading starts afresh.
 *
 * Held back is what could still be part of a match, and the few bytes before it that
 * may hold a character of base64 which the value shares.
 */
#include "tlsproxy/secret_internal.h"

/* The longest spelling of a character of base64, \u002f, and a break behind it. */
#define LEAD_MAX (6 + SECRET_BREAK_MAX)

void secret_scrub_init(struct secret_scrub *b)
{
	*b = (struct secret_scrub){ 0 };
	b->lanes[SECRET_LANE_TEXT].active = true;
}

void secret_scrub_again(struct secret_scrub *b)
{
	for (enum secret_lane_kind k = 0; k < SECRET_LANES; k++)
		b->lanes[k] = (struct secret_back_lane){ 0 };
	b->lanes[SECRET_LANE_TEXT].active = true;
	b->awake = 0;
	b->best.found = false;
	b->scanned = 0;
}

void secret_scrub_fini(struct secret_scrub *b)
{
	if (b->held) {
		explicit_bzero(b->held, b->held_size);
		free(b->held);
	}
	*b = (struct secret_scrub){ 0 };
}

/* ---- lanes --------------------------------------------------------------------------- */

static uint32_t depth_of(const struct secret_machine *m, uint32_t state)
{
	return m->nodes[state].depth;
}

/* The place `count` characters behind `from`. */
static size_t walk(enum secret_lane_kind kind, const struct secret_window *w, size_t from,
		   size_t count)
{
	struct secret_token t;

	if (kind == SECRET_LANE_TEXT)
		return from + count;
	for (; count && secret_token_read(kind, w, from, &t); count--)
		from += t.len;
	return from;
}

static void note_match(struct secret_scrub *b, const struct secret_match *m)
{
	struct secret_match *best = &b->best;

	if (!best->found || m->start < best->start || (m->start == best->start && m->end > best->end))
		*best = *m;
}

/* A lane read the character [at, end). */
static void lane_step(const struct secret_machine *m, struct secret_scrub *b,
		      enum secret_lane_kind kind, const struct secret_window *w, int c, size_t end)
{
	struct secret_back_lane *l = &b->lanes[kind];
	uint32_t had = depth_of(m, l->state), has;
	struct secret_match match = { .found = true, .lane = (uint8_t)kind, .end = end };
	const struct secret_node *node;

	if (!had)
		l->tail = l->at;
	l->at = end;
	if (c < 0) {
		l->state = 0;
		return;
	}
	l->state = secret_machine_next(m, l->state, (uint8_t)c);
	node = &m->nodes[l->state];
	has = node->depth;
	l->tail = has ? walk(kind, w, l->tail, had + 1 - has) : end;
	if (!node->match)
		return;
	match.pattern = (uint16_t)(node->match - 1);
	match.start = walk(kind, w, l->tail, has - m->patterns[match.pattern].len);
	note_match(b, &match);
}

/* What is matched begins behind a break of a line, not with it. */
static void leave_break(enum secret_lane_kind kind, const struct secret_window *w,
			struct secret_back_lane *l)
{
	struct secret_token t;

	if (kind == SECRET_LANE_LINES && l->state && l->tail < w->n &&
	    secret_token_leads(kind, secret_window_at(w, l->tail)) &&
	    secret_token_read(kind, w, l->tail, &t))
		l->tail += t.skip;
}

/* Characters up to `pos`; the last may reach beyond. */
static void lane_run(const struct secret_machine *m, struct secret_scrub *b,
		     enum secret_lane_kind kind, const struct secret_window *w, size_t pos)
{
	struct secret_back_lane *l = &b->lanes[kind];
	struct secret_token t;

	if (!l->active)
		return;
	/* Not asleep before it has read this far: another escape may begin behind a false one. */
	while (l->at <= pos) {
		if (!secret_token_read(kind, w, l->at, &t))
			return;
		if (t.escaped)
			l->escape_end = l->at + (t.plain ? t.skip : t.len);
		lane_step(m, b, kind, w, t.c, l->at + t.len);
		leave_break(kind, w, l);
	}
	l->active = l->state && l->tail < l->escape_end;
	if (!l->active)
		b->awake &= ~(1u << kind);
}

static void lanes_run(const struct secret_set *set, struct secret_scrub *b,
		      const struct secret_window *w, size_t pos)
{
	for (enum secret_lane_kind k = SECRET_LANE_TEXT + 1; b->awake >> k; k++)
		lane_run(&set->back, b, k, w, pos);
}

static void lanes_begin(const struct secret_set *set, struct secret_scrub *b, uint8_t c, size_t pos,
			const struct secret_back_lane *text)
{
	for (enum secret_lane_kind k = SECRET_LANE_TEXT + 1; k < SECRET_LANES; k++) {
		struct secret_back_lane *l = &b->lanes[k];

		if (!(set->lanes & 1u << k) || l->active || !secret_token_leads(k, c))
			continue;
		/* Nothing goes on behind this break, or begins with an escaped '/'. */
		if (k == SECRET_LANE_LINES && !text->state && (c != '\\' || !set->back.root['/']))
			continue;
		*l = *text;
		b->awake |= 1u << k;
		l->active = true;
		l->at = pos;
		l->escape_end = 0;
	}
}

static void read_byte(const struct secret_set *set, struct secret_scrub *b,
		      const struct secret_window *w, size_t pos)
{
	struct secret_back_lane *text = &b->lanes[SECRET_LANE_TEXT], before = *text;
	uint8_t c = secret_window_at(w, pos);

	text->at = pos;
	lane_step(&set->back, b, SECRET_LANE_TEXT, w, c, pos + 1);
	if (set->wakes.has[c] || (before.state && (c == '\n' || c == '\r')))
		lanes_begin(set, b, c, pos, &before);
	lanes_run(set, b, w, pos);
}

/* Could what lane l is reading become a match that begins no later than the best? */
static bool may_beat(const struct secret_machine *m, const struct secret_back_lane *l,
		     const struct secret_match *best)
{
	return l->active && l->state && l->tail <= best->start && m->nodes[l->state].child;
}

static bool is_settled(const struct secret_machine *m, const struct secret_scrub *b)
{
	for (enum secret_lane_kind k = 0; k < SECRET_LANES; k++)
		if (may_beat(m, &b->lanes[k], &b->best))
			return false;
	return true;
}

/* Writes it; reading goes on behind it. */
static int settle(const struct secret_set *set, struct secret_scrub *b, struct secret_piece *x)
{
	struct secret_match best = b->best;
	size_t from = x->done, written = x->out->len;
	int r;

	secret_scrub_again(b);
	b->scanned = best.end;
	r = secret_render(set, b, x, &best);
	if (r == 0 && b->fixed && x->out->len - written != x->done - from)
		return -EMSGSIZE;
	return r;
}

/* ---- what is held back -------------------------------------------------------------------- */

static size_t back_by(size_t at, size_t n)
{
	return at > n ? at - n : 0;
}

/* The last character may be one that a value, beginning next, has bits in, if it is not out. */
static size_t lead_at_end(const struct secret_set *set, const struct secret_piece *x)
{
	const struct secret_window *w = &x->w;
	struct secret_token t;
	size_t end;

	if (w->n && secret_token_before(w, back_by(w->n, LEAD_MAX), w->n, &t, &end) && set->lead[t.c])
		return end - t.len;
	return w->n;
}

/* What escapes blow up beyond any use is not followed for ever. */
static void give_up_long(struct secret_scrub *b)
{
	for (enum secret_lane_kind k = SECRET_LANE_TEXT + 1; b->awake >> k; k++) {
		struct secret_back_lane *l = &b->lanes[k];

		if (!l->active || !l->state || b->scanned < l->tail + SECRET_HOLD_MAX)
			continue;
		l->active = false;
		b->awake &= ~(1u << k);
	}
}

/* Everything before it may go out. */
static size_t hold_from(const struct secret_set *set, const struct secret_scrub *b,
			const struct secret_piece *x)
{
	const struct secret_window *w = &x->w;
	size_t from = lead_at_end(set, x);
	struct secret_token t;

	for (enum secret_lane_kind k = 0; k < SECRET_LANES; k++) {
		const struct secret_back_lane *l = &b->lanes[k];

		if (l->active && l->state)
			from = MIN(from, back_by(l->tail, LEAD_MAX));
		if (l->active && k != SECRET_LANE_TEXT)
			from = MIN(from, back_by(l->at, LEAD_MAX));
	}
	if (b->best.found)
		from = MIN(from, back_by(b->best.start, LEAD_MAX));
	if (b->patch.set && b->patch.at < w->n &&
	    (!secret_token_base64(w, b->patch.at, &t) || b->patch.at + t.len > from))
		from = MIN(from, b->patch.at);
	return from;
}

static size_t shifted(size_t at, size_t by)
{
	return at > by ? at - by : 0;
}

static void shift(struct secret_scrub *b, size_t by)
{
	for (enum secret_lane_kind k = 0; k < SECRET_LANES; k++) {
		struct secret_back_lane *l = &b->lanes[k];

		l->at = shifted(l->at, by);
		l->tail = shifted(l->tail, by);
		l->escape_end = shifted(l->escape_end, by);
	}
	b->best.start = shifted(b->best.start, by);
	b->best.end = shifted(b->best.end, by);
	b->patch.at = shifted(b->patch.at, by);
	b->scanned = shifted(b->scanned, by);
}

static int make_room(struct secret_scrub *b, size_t size)
{
	uint8_t *more;

	if (size <= b->held_size)
		return 0;
	size = MAX(size, 2 * b->held_size);
	more = malloc(size);
	if (!more)
		return -ENOMEM;
	if (b->held) {
		memcpy(more, b->held, b->n_held);
		explicit_bzero(b->held, b->held_size);
		free(b->held);
	}
	b->held = more;
	b->held_size = size;
	return 0;
}

/* Keeps the window from there on. */
static int keep(struct secret_scrub *b, const struct secret_window *w, size_t from)
{
	size_t n = w->n - from, old = from < b->n_held ? b->n_held - from : 0,
	       skip = from - MIN(from, b->n_held);
	int r = make_room(b, n);

	if (r < 0)
		return r;
	if (old)
		memmove(b->held, b->held + from, old);
	if (n > old)
		memcpy(b->held + old, w->p + skip, n - old);
	b->n_held = n;
	shift(b, from);
	return 0;
}

/* ---- feeding ---------------------------------------------------------------------------- */

/* Most bytes of most replies begin nothing. */
static size_t skip_dull(const struct secret_set *set, const struct secret_scrub *b,
			const struct secret_window *w, size_t i)
{
	if (b->lanes[SECRET_LANE_TEXT].state || b->best.found || b->awake)
		return i;
	if (i < w->n_held)
		i += byteset_find(&set->wakes, w->held + i, w->n_held - i);
	if (i >= w->n_held && i < w->n)
		i += byteset_find(&set->wakes, w->p + (i - w->n_held), w->n - i);
	return i;
}

/* Reads all there is; 0 or -errno. */
static int scan(const struct secret_set *set, struct secret_scrub *b, struct secret_piece *x)
{
	for (;;) {
		bool over;
		int r = 0;

		b->scanned = skip_dull(set, b, &x->w, b->scanned);
		over = b->scanned == x->w.n;
		if (!over)
			read_byte(set, b, &x->w, b->scanned++);
		else if (x->w.ended)
			lanes_run(set, b, &x->w, x->w.n);
		if (over && !(x->w.ended && b->best.found))
			return 0;
		if (b->best.found && (over || is_settled(&set->back, b)))
			r = settle(set, b, x);
		if (r < 0)
			return r;
	}
}

int secret_scrub_feed(struct secret_stream *s, const uint8_t *p, size_t n, bool end, struct buf *out)
{
	struct secret_scrub *b = &s->scrub;
	struct secret_piece x = { .out = out };
	size_t from;
	int r;

	x.w = (struct secret_window){
		.held = b->held, .n_held = b->n_held, .p = p, .n = b->n_held + n, .ended = end
	};
	r = scan(s->set, b, &x);
	if (r < 0)
		return r;
	if (!end)
		give_up_long(b);
	from = end ? x.w.n : MAX(hold_from(s->set, b, &x), x.done);
	r = secret_emit(b, &x, from);
	if (r == 0)
		r = keep(b, &x.w, MAX(from, x.done));
	if (end) {
		secret_scrub_fini(b);
		secret_scrub_init(b);
	}
	return r;
}
