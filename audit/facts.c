/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What counting needs of an event, from its tree or straight from its text.
 *
 * The log takes two events for every connection, and a tree of each would cost
 * more than all else that is done with it. So the text of an event that is
 * written the plain way is checked and read in one scan. Plain is less than
 * JSON allows: no white space, no escapes in keys or in what is counted, no
 * fractions, no number of more than 18 digits. Whatever is not plain is not
 * refused here: it is left to the parser, which has the last word. So the scan
 * can only err by taking what the parser would not, and the tests compare the two.
 */
#include "audit/audit_internal.h"

#include <stddef.h>

#define MEMBER(name)                                                                               \
	{                                                                                          \
#name, sizeof(#name) - 1, offsetof(struct audit_facts, name)                       \
	}
static const struct {
	const char *key;
	size_t len;
	size_t at; /* in struct audit_facts */
} texts[] = {
	MEMBER(kind),	  MEMBER(event),  MEMBER(verdict), MEMBER(observed),
	MEMBER(outcome), MEMBER(result), MEMBER(rule),	   MEMBER(id),
}, numbers[] = {
	MEMBER(generation),
	MEMBER(count),
	MEMBER(bytes_up),
	MEMBER(bytes_down),
};

static const char **text_at(struct audit_facts *f, size_t at)
{
	return (const char **)(void *)((char *)f + at);
}

static uint64_t *number_at(struct audit_facts *f, size_t at)
{
	return (uint64_t *)(void *)((char *)f + at);
}

bool audit_reserved(const char *key, size_t len)
{
	static const char keys[][8] = { "_schema", "seq",  "time", "run",
					"sandbox", "from", "prev", "hash" };

	for (size_t i = 0; len < sizeof(keys[0]) && i < ARRAY_SIZE(keys); i++)
		if (memcmp(keys[i], key, len) == 0 && keys[i][len] == 0)
			return true;
	return false;
}

static void begin(struct audit_facts *f)
{
	f->room_used = 0;
	f->floor = f->has_denial = false;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		*text_at(f, texts[i].at) = "";
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		*number_at(f, numbers[i].at) = 0;
}

void audit_facts_of(const json_t *event, struct audit_facts *ret)
{
	const json_t *denial = json_object_get(event, "denial");

	begin(ret);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		*text_at(ret, texts[i].at) = audit_get(event, texts[i].key);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		*number_at(ret, numbers[i].at) = audit_get_u64(event, numbers[i].key);
	ret->id = audit_get_id(event, ret->room, AUDIT_ID_MAX);
	ret->floor = json_is_true(json_object_get(event, "floor"));
	ret->has_denial =
		json_is_integer(denial) || (json_is_string(denial) && json_string_length(denial));
}

/* ---- the scan -------------------------------------------------------------------- */

/* More members than that are left to the parser: each is compared with all before it. */
#define PLAIN_MEMBERS 32
#define PLAIN_DIGITS 18

enum plain_type {
	PLAIN_TEXT,
	PLAIN_ESCAPED,
	PLAIN_NUMBER,
	PLAIN_NEGATIVE,
	PLAIN_TRUE,
	PLAIN_OTHER
};

struct value {
	enum plain_type type;
	const char *p; /* PLAIN_TEXT: what is between the quotes */
	size_t len;
	uint64_t n; /* PLAIN_NUMBER */
};

struct scan {
	const char *p, *end;
};

static bool take(struct scan *s, char c)
{
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

/* \u followed by four digits: a character of its own, neither NUL nor half of a pair. */
static bool unicode_ok(const char *p)
{
	unsigned c = 0;

	for (size_t i = 0; i < 4; i++) {
		char d = p[i];

		if (d >= '0' && d <= '9')
			c = c << 4 | (unsigned)(d - '0');
		else if (d >= 'a' && d <= 'f')
			c = c << 4 | (unsigned)(d - 'a' + 10);
		else
			return false;
	}
	return c != 0 && (c < 0xd800 || c > 0xdfff);
}

/* Behind the opening quote, to behind the closing one. */
static bool scan_string(struct scan *s, struct value *ret)
{
	ret->type = PLAIN_TEXT;
	ret->p = s->p;
	while (s->p < s->end) {
		char c = *s->p++;

		if (c == '"') {
			ret->len = (size_t)(s->p - 1 - ret->p);
			return true;
		}
		if (c < 0x20 || c > 0x7e)
			return false;
		if (c != '\\')
			continue;
		ret->type = PLAIN_ESCAPED;
		if (s->p == s->end)
			return false;
		c = *s->p++;
		if (c == 'u') {
			if (s->end - s->p < 4 || !unicode_ok(s->p))
				return false;
			s->p += 4;
		} else if (!memchr("\"\\/bfnrt", c, 8)) {
			return false;
		}
	}
	return false;
}

static bool scan_number(struct scan *s, struct value *ret)
{
	const char *from;

	ret->type = take(s, '-') ? PLAIN_NEGATIVE : PLAIN_NUMBER;
	ret->n = 0;
	from = s->p;
	while (s->p < s->end && *s->p >= '0' && *s->p <= '9' && s->p - from <= PLAIN_DIGITS)
		ret->n = ret->n * 10 + (uint64_t)(*s->p++ - '0');
	if (s->p == from || s->p - from > PLAIN_DIGITS)
		return false;
	/* What comes next is checked by who asked: a fraction or exponent is neither comma nor end. */
	return *from != '0' || (s->p - from == 1 && ret->type == PLAIN_NUMBER);
}

static bool scan_word(struct scan *s, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return false;
	s->p += n;
	return true;
}

static bool scan_scalar(struct scan *s, struct value *ret)
{
	if (take(s, '"'))
		return scan_string(s, ret);
	if (s->p < s->end && (*s->p == '-' || (*s->p >= '0' && *s->p <= '9')))
		return scan_number(s, ret);
	if (scan_word(s, "true")) {
		ret->type = PLAIN_TRUE;
		return true;
	}
	ret->type = PLAIN_OTHER;
	return scan_word(s, "false") || scan_word(s, "null");
}

static bool scan_value(struct scan *s, struct value *ret)
{
	struct value item;

	if (!take(s, '['))
		return scan_scalar(s, ret);
	ret->type = PLAIN_OTHER;
	if (take(s, ']'))
		return true;
	do {
		if (!scan_scalar(s, &item))
			return false;
	} while (take(s, ','));
	return take(s, ']');
}

static bool key_is(const struct value *key, const char *name, size_t len)
{
	return len == key->len && memcmp(name, key->p, len) == 0;
}

/* With its NUL, kept beside the facts. */
static bool keep_text(struct audit_facts *f, const struct value *v, size_t at)
{
	char *copy = f->room + f->room_used;

	if (v->type != PLAIN_TEXT || v->len >= sizeof(f->room) - f->room_used)
		return false;
	memcpy(copy, v->p, v->len);
	copy[v->len] = 0;
	f->room_used += v->len + 1;
	*text_at(f, at) = copy;
	return true;
}

static bool keep(struct audit_facts *f, const struct value *key, const struct value *v)
{
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (key_is(key, texts[i].key, texts[i].len))
			return keep_text(f, v, texts[i].at);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (key_is(key, numbers[i].key, numbers[i].len)) {
			*number_at(f, numbers[i].at) = v->n;
			return v->type == PLAIN_NUMBER;
		}
	if (key_is(key, "floor", 5))
		f->floor = v->type == PLAIN_TRUE;
	else if (key_is(key, "denial", 6))
		f->has_denial = v->type == PLAIN_NUMBER || v->type == PLAIN_NEGATIVE ||
				((v->type == PLAIN_TEXT || v->type == PLAIN_ESCAPED) && v->len);
	return true;
}

static bool scan_member(struct scan *s, struct value *keys, size_t n, struct audit_facts *f)
{
	struct value *key = &keys[n], v = { 0 };

	if (n == PLAIN_MEMBERS || !take(s, '"') || !scan_string(s, key) ||
	    key->type != PLAIN_TEXT || key->len == 0 || audit_reserved(key->p, key->len))
		return false;
	for (size_t i = 0; i < n; i++)
		if (keys[i].len == key->len && memcmp(keys[i].p, key->p, key->len) == 0)
			return false;
	return take(s, ':') && scan_value(s, &v) && keep(f, key, &v);
}

bool audit_facts_scan(const char *text, size_t len, struct audit_facts *ret)
{
	struct scan s = { text, text + len };
	struct value keys[PLAIN_MEMBERS];
	size_t n = 0;

	begin(ret);
	if (len >= AUDIT_EVENT_MAX || !take(&s, '{'))
		return false;
	do {
		if (!scan_member(&s, keys, n++, ret))
			return false;
	} while (take(&s, ','));
	return take(&s, '}') && s.p == s.end && strlen(ret->id) < AUDIT_ID_MAX &&
	       audit_kind_known(ret->kind);
}

/* ---- what they come to ------------------------------------------------------------ */

bool audit_facts_observed(const struct audit_facts *f)
{
	return str_eq(f->observed, "deny");
}

uint64_t audit_facts_count(const struct audit_facts *f)
{
	return MAX(f->count, UINT64_C(1));
}

enum audit_verdict audit_facts_verdict(const struct audit_facts *f)
{
	static const struct {
		size_t key;
		const char *value;
		enum audit_verdict verdict;
	} words[] = {
#define VERDICT offsetof(struct audit_facts, verdict)
#define OUTCOME offsetof(struct audit_facts, outcome)
#define RESULT offsetof(struct audit_facts, result)
		{ VERDICT, "allow", AUDIT_V_ALLOW },
		{ VERDICT, "deny", AUDIT_V_DENY },
		{ VERDICT, "fail", AUDIT_V_FAIL },
		{ OUTCOME, "forwarded", AUDIT_V_ALLOW },
		{ OUTCOME, "cancelled", AUDIT_V_ALLOW },
		{ OUTCOME, "denied", AUDIT_V_DENY },
		{ OUTCOME, "bad_request", AUDIT_V_DENY },
		{ OUTCOME, "misdirected", AUDIT_V_DENY },
		{ OUTCOME, "violation", AUDIT_V_DENY },
		{ OUTCOME, "upstream_failed", AUDIT_V_FAIL },
		{ RESULT, "denied", AUDIT_V_DENY },
		{ RESULT, "rebind", AUDIT_V_DENY },
		{ RESULT, "refused", AUDIT_V_DENY },
		{ RESULT, "budget", AUDIT_V_DENY },
		{ RESULT, "failed", AUDIT_V_FAIL },
		{ RESULT, "answered", AUDIT_V_ALLOW },
		{ RESULT, "empty", AUDIT_V_ALLOW },
		{ RESULT, "nxdomain", AUDIT_V_ALLOW },
	};

	if (str_eq(f->kind, "secret")) {
		if (str_eq(f->event, "used"))
			return AUDIT_V_USED;
		return str_eq(f->event, "violation") ? AUDIT_V_VIOLATION : AUDIT_V_NONE;
	}
	if (str_eq(f->kind, "run") || str_eq(f->kind, "flow_end") || str_eq(f->kind, "policy"))
		return AUDIT_V_NONE;
	if (audit_facts_observed(f) && str_eq(f->verdict, "allow"))
		return AUDIT_V_OBSERVED;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (str_eq(*(const char *const *)(const void *)((const char *)f + words[i].key),
			   words[i].value))
			return words[i].verdict;
	return f->has_denial ? AUDIT_V_DENY : AUDIT_V_NONE;
}

void audit_totals_add(struct audit_totals *t, const struct audit_facts *f)
{
	t->events++;
	if (audit_facts_observed(f))
		t->observed += audit_facts_count(f);
	switch (audit_facts_verdict(f)) {
	case AUDIT_V_ALLOW:
	case AUDIT_V_OBSERVED:
		t->allowed += audit_facts_count(f);
		break;
	case AUDIT_V_DENY:
		t->denied += audit_facts_count(f);
		break;
	case AUDIT_V_FAIL:
		t->failed += audit_facts_count(f);
		break;
	case AUDIT_V_USED:
		t->secrets_used++;
		break;
	case AUDIT_V_VIOLATION:
		t->violations++;
		break;
	case AUDIT_V_NONE:
		break;
	}
	if (str_eq(f->kind, "flow_end")) {
		t->bytes_up += f->bytes_up;
		t->bytes_down += f->bytes_down;
	}
}
