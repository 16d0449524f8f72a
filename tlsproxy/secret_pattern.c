/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the automata look for. Out: each placeholder in the forms that clients
 * give it, and encoded in ways that are never replaced. Back: each value, present
 * and former, in the forms that lanes do not undo. The latter are as secret as the
 * values: they and the automaton over them lie in a locked area.
 */
#include "tlsproxy/secret_internal.h"

/* Without `out` it only counts. */
struct writer {
	const struct secret_set *set;
	struct secret_pattern *out;
	size_t n;    /* patterns */
	size_t find; /* bytes to look for */
	uint8_t *at;
};

/* Whose: what an added pattern has in common with its siblings. */
struct subject {
	size_t secret, value;
	const uint8_t *p;
	size_t len;
};

typedef size_t encode_fn(unsigned variant, const uint8_t *p, size_t n, uint8_t *out);

static size_t encode_plain(unsigned variant, const uint8_t *p, size_t n, uint8_t *out)
{
	(void)variant;
	if (out)
		memcpy(out, p, n);
	return n;
}

static size_t encode_base64(unsigned variant, const uint8_t *p, size_t n, uint8_t *out)
{
	return secret_encode_base64(variant / 2, variant % 2, p, n, out);
}

static size_t encode_hex(unsigned variant, const uint8_t *p, size_t n, uint8_t *out)
{
	return secret_encode_hex(variant, p, n, out);
}

/* A JSON string in ASCII: what is beyond becomes \uXXXX, in pairs above U+FFFF. 0: not UTF-8. */
static size_t encode_json_ascii(unsigned variant, const uint8_t *p, size_t n, uint8_t *out)
{
	const char *hex = variant ? "0123456789ABCDEF" : "0123456789abcdef";
	size_t at = 0;

	for (size_t i = 0; i < n;) {
		uint32_t c, unit[2], units = 1;
		size_t len = secret_utf8(p + i, n - i, &c);

		if (len == 0)
			return 0;
		if (c < 0x80) {
			at += secret_encode_json(0, p + i, 1, out ? out + at : NULL);
			i++;
			continue;
		}
		unit[0] = c;
		if (c > 0xffff) {
			unit[0] = 0xd800 + ((c - 0x10000) >> 10);
			unit[1] = 0xdc00 + ((c - 0x10000) & 0x3ff);
			units = 2;
		}
		for (uint32_t u = 0; u < units; u++, at += 6) {
			if (!out)
				continue;
			out[at] = '\\';
			out[at + 1] = 'u';
			for (unsigned d = 0; d < 4; d++)
				out[at + 2 + d] = (uint8_t)hex[unit[u] >> (12 - 4 * d) & 15];
		}
		i += len;
	}
	return at;
}

static void add(struct writer *w, const struct subject *s, enum secret_form form, encode_fn *encode,
		unsigned variant, bool replaceable)
{
	size_t len = encode(variant, s->p, s->len, NULL);

	if (w->out) {
		w->out[w->n] = (struct secret_pattern){ .bytes = w->at,
							.len = (uint32_t)len,
							.secret = (uint16_t)s->secret,
							.form = (uint8_t)form,
							.variant = (uint8_t)variant,
							.value = (uint8_t)s->value,
							.replaceable = replaceable };
		w->at += encode(variant, s->p, s->len, w->at);
	}
	w->n++;
	w->find += len;
}

static bool has_any(const uint8_t *p, size_t n, const char *chars)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] && strchr(chars, p[i]))
			return true;
	return false;
}

/* Both alphabets where they differ. */
static void add_base64(struct writer *w, const struct subject *s, bool replaceable)
{
	for (unsigned phase = 0; phase < 3; phase++) {
		bool differs = false;
		size_t n = secret_encode_base64(phase, false, s->p, s->len, NULL);

		add(w, s, SECRET_BASE64, encode_base64, 2 * phase, replaceable);
		for (size_t bit = (8 * phase + 5) / 6 * 6 - 8 * phase; n; n--, bit += 6) {
			unsigned two = (unsigned)s->p[bit / 8] << 8;

			if (bit / 8 + 1 < s->len)
				two |= s->p[bit / 8 + 1];
			differs |= (two >> (10 - bit % 8) & 63) >= 62;
		}
		if (differs)
			add(w, s, SECRET_BASE64, encode_base64, 2 * phase + 1, replaceable);
	}
}

static void add_out(struct writer *w)
{
	for (size_t i = 0; i < w->set->n; i++) {
		const struct secret *sec = &w->set->secrets[i];
		struct subject s = { .secret = i,
				     .p = (const uint8_t *)sec->placeholder,
				     .len = sec->placeholder_len };

		add(w, &s, SECRET_PLAIN, encode_plain, 0, true);
		/* A form without anything to escape is the plain one. */
		for (unsigned v = 0; v < SECRET_PERCENT_VARIANTS; v++)
			if (secret_encode_percent(v, s.p, s.len, NULL) != s.len)
				add(w, &s, SECRET_PERCENT, secret_encode_percent, v, true);
		for (unsigned v = 0; v < SECRET_JSON_VARIANTS; v++)
			if (secret_encode_json(v, s.p, s.len, NULL) != s.len)
				add(w, &s, SECRET_JSON, secret_encode_json, v, true);
		add_base64(w, &s, false);
		for (unsigned v = 0; v < 2; v++)
			add(w, &s, SECRET_HEX, encode_hex, v, false);
	}
}

static void add_value(struct writer *w, const struct subject *s)
{
	bool ascii = true;

	for (size_t i = 0; i < s->len; i++)
		ascii &= s->p[i] < 0x80;
	add(w, s, SECRET_PLAIN, encode_plain, 0, true);
	for (unsigned v = 0; !ascii && v < 2; v++)
		if (encode_json_ascii(v, s->p, s->len, NULL))
			add(w, s, SECRET_PLAIN, encode_json_ascii, v, true);
	add_base64(w, s, true);
	for (unsigned v = 0; v < 2; v++)
		add(w, s, SECRET_HEX, encode_hex, v, true);
}

/* Present values first: of two that are equal, the first counts. */
static void add_back(struct writer *w)
{
	for (size_t k = 0; k <= SECRET_MAX_RETIRED; k++)
		for (size_t i = 0; i < w->set->n; i++) {
			const struct secret *sec = &w->set->secrets[i];
			struct subject s = { .secret = i, .value = k };

			if (k >= sec->n_values || !sec->values[k].len)
				continue;
			s.p = sec->values[k].bytes;
			s.len = sec->values[k].len;
			add_value(w, &s);
		}
}

/* ---- what streams need to know ---------------------------------------------------- */

/* The last bits of the character in front of a value that begins inside a group of three. */
static void note_leads(struct secret_set *set, uint8_t first)
{
	for (unsigned unknown = 0; unknown < 16; unknown++) {
		unsigned one = (unknown & 3) << 4 | first >> 4, two = unknown << 2 | first >> 6;

		for (unsigned url = 0; url < 2; url++) {
			set->lead[secret_base64_char(one, url)] = 1;
			set->lead[secret_base64_char(two, url)] = 1;
		}
	}
}

static void note_value(struct secret_set *set, const struct secret_value *v)
{
	if (!v->len)
		return;
	note_leads(set, v->bytes[0]);
	/* Any character may stand escaped, those that need none as well. */
	set->lanes |= 1u << SECRET_LANE_PERCENT | 1u << SECRET_LANE_JSON | 1u << SECRET_LANE_HTML |
		      1u << SECRET_LANE_LINES;
	if (has_any(v->bytes, v->len, "%"))
		set->lanes |= 1u << SECRET_LANE_PERCENT_1;
	if (has_any(v->bytes, v->len, "\\"))
		set->lanes |= 1u << SECRET_LANE_JSON_1;
	if (has_any(v->bytes, v->len, " "))
		set->lanes |= 1u << SECRET_LANE_FORM;
	set->keeps_back &= v->fits;
}

static void grow(size_t *growth, size_t put, size_t found)
{
	*growth = MAX(*growth, (put + found - 1) / found);
}

static void note_growth(struct secret_set *set, const struct secret *s)
{
	/* Every character of it escaped; in hex and base64 few are. */
	size_t back = SECRET_TOKEN_WRITE * (s->placeholder_len + 16);

	for (enum secret_escape how = SECRET_RAW; how <= SECRET_IN_JSON; how++) {
		size_t n = secret_escape(how, s->value, s->len, NULL);

		set->burst_out = MAX(set->burst_out, n);
		grow(&set->growth_out, n, s->placeholder_len);
	}
	for (size_t k = 0; k < s->n_values; k++) {
		if (!s->values[k].len || s->values[k].fits)
			continue;
		set->burst_back = MAX(set->burst_back, back);
		grow(&set->growth_back, back, s->values[k].len);
	}
}

/* Does a walk along any pattern meet the end of another, or go on behind one? */
static void note_nesting(struct secret_set *set)
{
	const struct secret_machine *m = &set->back;

	for (uint32_t i = 1; i < m->n_nodes && !set->nested; i++) {
		const struct secret_node *n = &m->nodes[i];

		set->nested = n->match && (n->child || m->patterns[n->match - 1].len < n->depth);
	}
}

/* Which bytes have to be looked at: c in a reply, and in a request. */
static void note_byte(struct secret_set *set, uint8_t c)
{
	bool out = c == '%' || c == '\\', back = false, breaks;

	for (enum secret_lane_kind k = 0; k < SECRET_LANE_LINES; k++)
		back |= (set->lanes & 1u << k) && secret_token_leads(k, c);
	/* A break wakes only within a text that has begun to match. */
	breaks = (set->lanes & 1u << SECRET_LANE_LINES) && secret_token_leads(SECRET_LANE_LINES, c);
	if (back || set->back.root[c])
		byteset_add(&set->wakes, c);
	if (back || breaks)
		byteset_add(&set->escapes, c);
	if (out || set->out.root[c])
		byteset_add(&set->wakes_out, c);
	if (out)
		byteset_add(&set->escapes_out, c);
}

static size_t shortest(const struct secret_machine *m)
{
	size_t n = SIZE_MAX;

	for (size_t i = 0; i < m->n_patterns; i++)
		n = MIN(n, (size_t)m->patterns[i].len);
	return n;
}

static void note_all(struct secret_set *set)
{
	set->keeps_back = true;
	set->growth_out = set->growth_back = 1;
	for (size_t i = 0; i < set->n; i++) {
		for (size_t k = 0; k < set->secrets[i].n_values; k++)
			note_value(set, &set->secrets[i].values[k]);
		note_growth(set, &set->secrets[i]);
	}
	set->lanes |= 1u << SECRET_LANE_TEXT;
	for (unsigned c = 0; c < 256; c++)
		note_byte(set, (uint8_t)c);
	set->shortest_out = shortest(&set->out);
	set->shortest_back = shortest(&set->back);
	note_nesting(set);
}

bool secret_set_grows(const struct secret_set *set)
{
	return set->growth_out > 1 || set->growth_back > 1;
}

bool secret_set_keeps_length(const struct secret_set *set, enum secret_escape how)
{
	/* What some client escapes, or we do. */
	static const char *const escaped[] = {
		[SECRET_RAW] = "",
		[SECRET_IN_PATH] = NULL,
		[SECRET_IN_QUERY] = NULL,
		[SECRET_ALL_PERCENT] = NULL,
		[SECRET_IN_JSON] = "\"\\/<>&='",
	};

	for (size_t i = 0; i < set->n_present; i++) {
		const struct secret *s = &set->secrets[i];
		const uint8_t *ph = (const uint8_t *)s->placeholder;

		if (!(s->places & (TLSPROXY_IN_BODY | TLSPROXY_IN_WEBSOCKET)))
			continue;
		if (s->len != s->placeholder_len ||
		    secret_escape(how, s->value, s->len, NULL) != s->len)
			return false;
		if (escaped[how] ? has_any(ph, s->len, escaped[how])
				 : secret_encode_percent(4, ph, s->len, NULL) != s->len ||
					   has_any(ph, s->len, "*"))
			return false;
	}
	return true;
}

/* ---- building ---------------------------------------------------------------------- */

static int build_out(struct secret_set *set)
{
	struct writer w = { .set = set };
	size_t size;
	int r;

	add_out(&w);
	set->out_patterns = calloc(w.n + 1, sizeof(*set->out_patterns));
	set->out_bytes = malloc(w.find + 1);
	if (!set->out_patterns || !set->out_bytes)
		return -ENOMEM;
	w = (struct writer){ .set = set, .out = set->out_patterns, .at = set->out_bytes };
	add_out(&w);
	r = secret_machine_size(w.out, w.n, &size);
	if (r < 0)
		return r;
	set->out_nodes = malloc(size);
	if (!set->out_nodes)
		return -ENOMEM;
	return secret_machine_build(&set->out, w.out, w.n, set->out_nodes);
}

static int build_back(struct secret_set *set)
{
	struct writer w = { .set = set };
	struct secret_node *nodes;
	size_t size;
	int r;

	add_back(&w);
	r = secret_area_init(&set->derived, w.find + (w.find + 1) * sizeof(struct secret_node) + 64);
	if (r < 0)
		return r;
	set->back_patterns = calloc(w.n + 1, sizeof(*set->back_patterns));
	w = (struct writer){ .set = set,
			     .out = set->back_patterns,
			     .at = secret_area_take(&set->derived, w.find) };
	if (!w.out || !w.at)
		return -ENOMEM;
	add_back(&w);
	r = secret_machine_size(w.out, w.n, &size);
	if (r < 0)
		return r;
	nodes = secret_area_take(&set->derived, size);
	if (!nodes)
		return -ENOMEM;
	return secret_machine_build(&set->back, w.out, w.n, nodes);
}

int secret_patterns_build(struct secret_set *set)
{
	int r = build_out(set);

	if (r == 0)
		r = build_back(set);
	if (r == 0)
		note_all(set);
	return r;
}
