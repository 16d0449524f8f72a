/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Classes of requests: one method and path for each set of HTTP conditions that
 * some request can meet together. Exact: path patterns are automata, first of
 * letters over a segment, then of segments over a path, and every set of them
 * that can match at once is found, or the answer is "too many".
 */
#include "base/base.h"
#include "policy/space.h"
#include "policy/space_walk.h"

/* ---- distinct texts ---------------------------------------------------------- */

struct texts {
	char **v;
	size_t n, size;
};

/* The number of a text; appended when it is new. SPACE_NONE: out of memory. */
static uint32_t text_id(struct texts *t, const char *s, size_t len)
{
	for (size_t i = 0; i < t->n; i++)
		if (strlen(t->v[i]) == len && memcmp(t->v[i], s, len) == 0)
			return (uint32_t)i;
	if (t->n == t->size) {
		size_t size = t->size ? t->size * 2 : 16;
		char **v = realloc(t->v, size * sizeof(*v));

		if (!v)
			return SPACE_NONE;
		t->v = v;
		t->size = size;
	}
	t->v[t->n] = strndup(s, len);
	return t->v[t->n] ? (uint32_t)t->n++ : SPACE_NONE;
}

static void texts_fini(struct texts *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i]);
	free(t->v);
}

struct finder {
	struct texts methods, paths, segments;
	struct walk_patterns of_letters, of_segments;
	struct walk_classes segs, words;
	bool letter[256];   /* stands in a pattern */
	uint32_t other;	    /* a letter that stands in none */
	uint32_t *class_of; /* of a segment text without star: the class of that very text */
	bool *generic;	    /* this class stands for every text that is not mentioned */
	uint32_t empty;	    /* the class of the empty segment */
};

/* ---- letters to segments ------------------------------------------------------- */

/*
 * The form of a segment so far: in an escape or not, and whether it could still be
 * a dot segment. Only what policy_path_normalise() lets pass is a path.
 */
enum dots { DOTS_EMPTY = 0, DOTS_ONE = 1, DOTS_TWO = 2, DOTS_NO = 3 };
#define FORM_PERCENT 4u		      /* behind the percent sign */
#define FORM_DIGIT(d) (8u + 4u * (d)) /* behind its first digit */

static bool is_unreserved(unsigned c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && c < 0x80 && strchr("-._~", (int)c));
}

static bool is_digit(unsigned c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
}

static uint32_t letter_form(void *ctx, uint32_t memo, uint32_t c)
{
	unsigned code;

	(void)ctx;
	if (memo == FORM_PERCENT)
		return is_digit(c) ? FORM_DIGIT((unsigned)str_hex_digit((int)c)) : WALK_REFUSED;
	if (memo >= 8) {
		if (!is_digit(c))
			return WALK_REFUSED;
		code = (memo - 8) / 4 << 4 | (unsigned)str_hex_digit((int)c);
		return code && code != '/' && code != '\\' && !is_unreserved(code) ? DOTS_NO
										   : WALK_REFUSED;
	}
	if (c == '%')
		return FORM_PERCENT;
	if (c == '.' && memo < DOTS_TWO)
		return memo + 1;
	if (c == ';' && (memo == DOTS_ONE || memo == DOTS_TWO))
		return WALK_REFUSED;
	return DOTS_NO;
}

static bool letter_whole(void *ctx, uint32_t memo)
{
	(void)ctx;
	return memo == DOTS_NO;
}

static bool letter_fits(void *ctx, uint32_t sym, uint32_t c)
{
	(void)ctx;
	return sym == c;
}

static int letter_letters(void *ctx, const uint32_t *live, size_t n, uint32_t memo,
			  int (*try)(void *arg, uint32_t letter), void *arg)
{
	const struct finder *f = ctx;
	bool tried[256] = { false };
	int r = 0;

	for (unsigned d = 0; d < 16 && memo >= FORM_PERCENT && r == 0; d++)
		r = try(arg, (uint32_t) "0123456789ABCDEF"[d]);
	if (memo >= FORM_PERCENT)
		return r;
	tried[f->other] = true;
	r = try(arg, f->other);
	/* An escape is letters to a star: any may follow where one could begin. */
	if (r == 0 && f->letter['%']) {
		tried['%'] = true;
		r = try(arg, '%');
	}
	for (size_t i = 0; i < n && r == 0; i++) {
		uint32_t c = f->of_letters.sym[live[i]];

		if (c < 256 && !tried[c]) {
			tried[c] = true;
			r = try(arg, c);
		}
	}
	return r;
}

static int segment_pattern(struct finder *f, const char *s)
{
	int r = walk_pattern_begin(&f->of_letters);

	for (; *s && r == 0; s++) {
		f->letter[(unsigned char)*s] = true;
		r = walk_pattern_add(&f->of_letters, *s == '*' ? WALK_LOOP : (unsigned char)*s);
	}
	return r < 0 ? r : walk_pattern_add(&f->of_letters, WALK_END);
}

static bool choose_other(struct finder *f)
{
	static const char from[] =
		"xyzabcdefghijklmnopqrstuvw0123456789-_~ABCDEFGHIJKLMNOPQRSTUVWXYZ!$&'()+,=:@";

	for (const char *c = from; *c; c++)
		if (!f->letter[(unsigned char)*c]) {
			f->other = (unsigned char)*c;
			return true;
		}
	return false;
}

static bool matches(const struct walk_class *c, uint32_t pattern)
{
	for (size_t i = 0; i < c->n_matches; i++)
		if (c->matches[i] == pattern)
			return true;
	return false;
}

static bool is_text(const struct finder *f, uint32_t segment)
{
	return !strchr(f->segments.v[segment], '*');
}

/* The class without the plain texts in it: what a text that is not mentioned matches. */
static bool same_stars(const struct finder *f, const struct walk_class *a, const struct walk_class *b)
{
	size_t i = 0, k = 0;

	for (;;) {
		while (i < a->n_matches && is_text(f, a->matches[i]))
			i++;
		while (k < b->n_matches && is_text(f, b->matches[k]))
			k++;
		if (i == a->n_matches || k == b->n_matches)
			return i == a->n_matches && k == b->n_matches;
		if (a->matches[i++] != b->matches[k++])
			return false;
	}
}

/* Where no unmentioned text meets exactly these stars, each mentioned one stands for itself. */
static void mark_generic(struct finder *f)
{
	for (size_t i = 0; i < f->segs.n; i++) {
		const struct walk_class *c = &f->segs.v[i];
		bool text = false, spare = false;

		for (size_t k = 0; k < c->n_matches; k++)
			if (is_text(f, c->matches[k])) {
				text = true;
				f->class_of[c->matches[k]] = (uint32_t)i;
			}
		for (size_t j = 0; j < f->segs.n && text && !spare; j++) {
			bool has_text = false;

			for (size_t k = 0; k < f->segs.v[j].n_matches; k++)
				has_text |= is_text(f, f->segs.v[j].matches[k]);
			spare = !has_text && same_stars(f, c, &f->segs.v[j]);
		}
		f->generic[i] = !text || !spare;
	}
}

static int find_segments(struct finder *f)
{
	static const struct walk_ops ops = { letter_fits, letter_letters, letter_form, letter_whole };
	int r = 0;

	for (size_t i = 0; i < f->segments.n && r == 0; i++)
		r = segment_pattern(f, f->segments.v[i]);
	if (r == 0 && !choose_other(f))
		r = -E2BIG;
	if (r == 0)
		r = walk_run(&f->of_letters, &ops, f, SPACE_STATES_MAX, &f->segs);
	if (r < 0)
		return r;
	f->class_of = calloc(f->segments.n + 1, sizeof(*f->class_of));
	f->generic = calloc(f->segs.n + 1, sizeof(*f->generic));
	if (!f->class_of || !f->generic)
		return -ENOMEM;
	f->empty = (uint32_t)f->segs.n;
	for (size_t i = 0; i < f->segments.n; i++)
		f->class_of[i] = f->segments.v[i][0] ? SPACE_NONE : f->empty;
	if (f->segs.n > 4000)
		return -E2BIG;
	mark_generic(f);
	return 0;
}

/* ---- segments to paths ------------------------------------------------------------ */

/* Of a path: nothing yet, a segment that is not empty, the empty one that ends it. */
enum { PATH_NEW = 0, PATH_MORE = 1, PATH_OVER = 2 };

static bool segment_fits(void *ctx, uint32_t sym, uint32_t class)
{
	const struct finder *f = ctx;

	if (class == f->empty)
		return f->segments.v[sym][0] == 0;
	return matches(&f->segs.v[class], sym);
}

static uint32_t segment_form(void *ctx, uint32_t memo, uint32_t class)
{
	const struct finder *f = ctx;

	if (memo == PATH_OVER)
		return WALK_REFUSED;
	return class == f->empty ? PATH_OVER : PATH_MORE;
}

static bool segment_whole(void *ctx, uint32_t memo)
{
	(void)ctx;
	return memo != PATH_NEW;
}

static int segment_letters(void *ctx, const uint32_t *live, size_t n, uint32_t memo,
			   int (*try)(void *arg, uint32_t letter), void *arg)
{
	const struct finder *f = ctx;
	int r = memo == PATH_OVER ? 0 : try(arg, f->empty);

	for (uint32_t i = 0; i < f->segs.n && r == 0 && memo != PATH_OVER; i++)
		if (f->generic[i])
			r = try(arg, i);
	for (size_t i = 0; i < n && r == 0; i++) {
		uint32_t sym = f->of_segments.sym[live[i]], class;

		if (sym == WALK_LOOP || sym == WALK_END || !is_text(f, sym))
			continue;
		class = f->class_of[sym];
		if (class != SPACE_NONE && class != f->empty && !f->generic[class])
			r = try(arg, class);
	}
	return r;
}

/* Splits a pattern at its slashes; each segment text gets a number. */
static int path_pattern(struct finder *f, const char *s)
{
	int r = walk_pattern_begin(&f->of_segments);

	while (r == 0) {
		size_t n = strcspn(++s, "/");
		bool deep = n == 2 && s[0] == '*' && s[1] == '*';
		uint32_t sym = deep ? WALK_LOOP : text_id(&f->segments, s, n);

		if (sym == SPACE_NONE && !deep)
			return -ENOMEM;
		r = walk_pattern_add(&f->of_segments, sym);
		s += n;
		if (!*s)
			break;
	}
	return r < 0 ? r : walk_pattern_add(&f->of_segments, WALK_END);
}

static int path_text(const struct finder *f, const struct walk_class *w, struct buf *out)
{
	int r = 0;

	for (size_t i = 0; i < w->n_letters && r == 0; i++) {
		const struct walk_class *seg = &f->segs.v[w->letters[i]];

		r = buf_append(out, "/", 1);
		if (w->letters[i] == f->empty)
			continue;
		for (size_t k = 0; k < seg->n_letters && r == 0; k++)
			r = buf_append(out, &(char){ (char)seg->letters[k] }, 1);
	}
	return r;
}

/* ---- requests ------------------------------------------------------------------------ */

static int collect(const struct space *s, struct finder *f)
{
	for (size_t l = 0; l < s->n_lists; l++)
		for (size_t i = 0; i < s->list[l].p->n_rules; i++) {
			const struct policy_rule *r = &s->list[l].p->rules[i];

			for (size_t k = 0; k < r->n_methods; k++)
				if (text_id(&f->methods, r->methods[k], strlen(r->methods[k])) ==
				    SPACE_NONE)
					return -ENOMEM;
			for (size_t k = 0; k < r->n_paths; k++)
				if (text_id(&f->paths, r->paths[k], strlen(r->paths[k])) == SPACE_NONE)
					return -ENOMEM;
			if (f->paths.n > 4000 || f->methods.n > 1000)
				return -E2BIG;
		}
	for (size_t i = 0; i < f->paths.n; i++)
		if (path_pattern(f, f->paths.v[i]) < 0)
			return -ENOMEM;
	return 0;
}

/* A deny takes "post" for POST, an allow does not; and a method that no rule names. */
static int add_methods(struct finder *f)
{
	size_t n = f->methods.n;
	char word[64];

	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(f->methods.v[i]);

		for (size_t k = 0; k < len; k++) {
			char c = f->methods.v[i][k];

			word[k] = c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
		}
		if (text_id(&f->methods, word, len) == SPACE_NONE)
			return -ENOMEM;
	}
	for (unsigned k = 0;; k++) {
		size_t had = f->methods.n;

		snprintf(word, sizeof(word), k == 0 ? "GET" : k == 1 ? "POST" : "METHOD%u", k);
		if (text_id(&f->methods, word, strlen(word)) == SPACE_NONE)
			return -ENOMEM;
		if (f->methods.n > had)
			return 0;
	}
}

static int add_request(struct space *s, const char *method, const char *path)
{
	struct space_request *q;

	if (s->n_requests == s->requests_size) {
		size_t size = s->requests_size ? s->requests_size * 2 : 16;

		q = realloc(s->requests, size * sizeof(*q));
		if (!q)
			return -ENOMEM;
		s->requests = q;
		s->requests_size = size;
	}
	q = &s->requests[s->n_requests];
	*q = (struct space_request){ 0 };
	if (method) {
		q->method = strdup(method);
		q->path = strdup(path);
	}
	s->n_requests++;
	return method && (!q->method || !q->path) ? -ENOMEM : 0;
}

static int add_path(struct space *s, const struct finder *f, const char *path)
{
	int r = 0;

	for (size_t i = 0; i < f->methods.n && r == 0; i++)
		r = s->n_requests < SPACE_REQUESTS_MAX ? add_request(s, f->methods.v[i], path)
						       : -E2BIG;
	return r;
}

static int find_requests(struct space *s, struct finder *f)
{
	static const struct walk_ops ops = { segment_fits, segment_letters, segment_form,
					     segment_whole };
	struct buf text = BUF_INIT((size_t)1 << 20);
	int r = collect(s, f);

	if (r == 0 && f->paths.n + f->methods.n == 0)
		return 0;
	if (r == 0)
		r = find_segments(f);
	if (r == 0)
		r = walk_run(&f->of_segments, &ops, f, SPACE_STATES_MAX, &f->words);
	if (r == 0)
		r = add_methods(f);
	for (size_t i = 0; i < f->words.n && r == 0; i++) {
		buf_reset(&text);
		r = path_text(f, &f->words.v[i], &text);
		if (r == 0 && text.len <= POLICY_PATH_MAX)
			r = buf_str(&text) ? add_path(s, f, buf_str(&text)) : -ENOMEM;
	}
	/* OPTIONS * is of no path; no pattern matches it. */
	if (r == 0)
		r = add_path(s, f, "*");
	buf_fini(&text);
	return r;
}

int space_requests_build(struct space *s, struct why *why)
{
	struct finder f = { 0 };
	int r = add_request(s, NULL, NULL);

	if (r == 0)
		r = find_requests(s, &f);
	texts_fini(&f.methods);
	texts_fini(&f.paths);
	texts_fini(&f.segments);
	walk_patterns_fini(&f.of_letters);
	walk_patterns_fini(&f.of_segments);
	walk_classes_fini(&f.segs);
	walk_classes_fini(&f.words);
	free(f.class_of);
	free(f.generic);
	if (r == -E2BIG)
		why_set(why, "too many different HTTP methods and paths to compare them all");
	return r;
}
