/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON (RFC 8259), byte by byte: a stack of objects and arrays, a key being read, and for
 * each level where its path stands in every name. Everything a grammar can refuse is
 * refused, and from there on nothing is named, as another reader could see other fields
 * behind it. Whether strings are UTF-8 is not looked at: it moves no quote.
 */
#include "tlsproxy/http_rewrite_int.h"

enum json_state {
	JSON_VALUE = 0,	       /* a value has to come */
	JSON_VALUE_OR_END = 1, /* behind [ */
	JSON_KEY = 2,	       /* behind , in an object */
	JSON_KEY_OR_END = 3,   /* behind { */
	JSON_COLON = 4,
	JSON_BEHIND = 5, /* behind a value */
	JSON_IN_KEY = 6,
	JSON_IN_STRING = 7,
	JSON_IN_NUMBER = 8,
	JSON_IN_LITERAL = 9,
	JSON_INVALID = 10,
};

enum number {
	NUMBER_MINUS = 0,
	NUMBER_ZERO = 1, /* may end */
	NUMBER_INT = 2,	 /* may end */
	NUMBER_DOT = 3,
	NUMBER_FRAC = 4, /* may end */
	NUMBER_E = 5,
	NUMBER_SIGN = 6,
	NUMBER_EXP = 7, /* may end */
};

struct json_scan {
	enum json_state state;
	enum number number;
	const char *literal; /* what is left of it */
	/* Inside strings: 1 behind a backslash, 2..5 digits of \u still to come + 1. */
	uint8_t escape;
	uint16_t unit; /* UTF-16, its digits so far */
	uint16_t high; /* first half of a pair; 0: none */
	struct field_key key;
	size_t depth;
	bool array[HTTP_FIELD_DEPTH + 1];     /* kind of level 1.. */
	uint64_t index[HTTP_FIELD_DEPTH + 1]; /* of the next element */
	field_set sets[];		      /* for each level and name */
};

static field_set *sets_of(const struct http_rewrite *r, size_t depth)
{
	return r->json->sets + depth * field_names_count(r->names);
}

int json_scan_new(struct http_rewrite *r)
{
	/* One more than levels: for the value under way. */
	size_t n = (HTTP_FIELD_DEPTH + 2) * field_names_count(r->names);

	r->json = calloc(1, sizeof(*r->json) + n * sizeof(field_set));
	if (!r->json)
		return -ENOMEM;
	field_sets_begin(r->names, sets_of(r, 0));
	return 0;
}

static void invalid(struct http_rewrite *r)
{
	r->valid = false;
	r->json->state = JSON_INVALID;
}

/* ---- values ----------------------------------------------------------------------------- */

/* Where the value that begins stands, into the level below. */
static field_set *place_value(struct http_rewrite *r)
{
	struct json_scan *j = r->json;
	field_set *to = sets_of(r, j->depth + 1);
	char digits[24];
	size_t at = sizeof(digits);

	if (j->depth == 0)
		return sets_of(r, 0);
	if (!j->array[j->depth]) {
		field_sets_step(r->names, sets_of(r, j->depth), j->key.odd ? NULL : j->key.s,
				j->key.len, to);
		return to;
	}
	for (uint64_t i = j->index[j->depth]; at == sizeof(digits) || i; i /= 10)
		digits[--at] = (char)('0' + i % 10);
	field_sets_step(r->names, sets_of(r, j->depth), digits + at, sizeof(digits) - at, to);
	return to;
}

static void open_level(struct http_rewrite *r, bool array)
{
	struct json_scan *j = r->json;
	field_set *at = place_value(r);

	if (j->depth == HTTP_FIELD_DEPTH) {
		invalid(r);
		return;
	}
	if (j->depth == 0)
		memcpy(sets_of(r, 1), at, field_names_count(r->names) * sizeof(*at));
	j->depth++;
	j->array[j->depth] = array;
	j->index[j->depth] = 0;
	j->state = array ? JSON_VALUE_OR_END : JSON_KEY_OR_END;
}

static void close_level(struct http_rewrite *r, bool array)
{
	struct json_scan *j = r->json;

	if (j->depth == 0 || j->array[j->depth] != array) {
		invalid(r);
		return;
	}
	j->depth--;
	j->state = JSON_BEHIND;
}

static void open_string(struct http_rewrite *r)
{
	struct json_scan *j = r->json;

	j->state = JSON_IN_STRING;
	j->escape = 0;
	j->high = 0;
	r->value = field_sets_match(r->names, place_value(r));
	r->at = 0;
}

static void open_key(struct json_scan *j)
{
	j->state = JSON_IN_KEY;
	j->escape = 0;
	j->high = 0;
	j->key.len = 0;
	j->key.odd = false;
}

static void open_literal(struct json_scan *j, const char *rest)
{
	j->state = JSON_IN_LITERAL;
	j->literal = rest;
}

static void begin_value(struct http_rewrite *r, uint8_t c)
{
	struct json_scan *j = r->json;

	if (c == '"') {
		open_string(r);
	} else if (c == '{' || c == '[') {
		open_level(r, c == '[');
	} else if (c == '-' || (c >= '0' && c <= '9')) {
		j->state = JSON_IN_NUMBER;
		j->number = c == '-' ? NUMBER_MINUS : c == '0' ? NUMBER_ZERO : NUMBER_INT;
	} else if (c == 't') {
		open_literal(j, "rue");
	} else if (c == 'f') {
		open_literal(j, "alse");
	} else if (c == 'n') {
		open_literal(j, "ull");
	} else {
		invalid(r);
	}
}

static void behind_value(struct http_rewrite *r, uint8_t c)
{
	struct json_scan *j = r->json;

	if (c == ']' || c == '}') {
		close_level(r, c == ']');
	} else if (c == ',' && j->depth) {
		j->index[j->depth]++;
		j->state = j->array[j->depth] ? JSON_VALUE : JSON_KEY;
	} else {
		invalid(r);
	}
}

/* False: c is not part of the number any more. */
static bool number_byte(struct json_scan *j, uint8_t c, bool *ret_may_end)
{
	enum number n = j->number;
	bool digit = c >= '0' && c <= '9', e = c == 'e' || c == 'E';

	*ret_may_end = n == NUMBER_ZERO || n == NUMBER_INT || n == NUMBER_FRAC || n == NUMBER_EXP;
	if (digit && n == NUMBER_MINUS)
		j->number = c == '0' ? NUMBER_ZERO : NUMBER_INT;
	else if (digit && (n == NUMBER_DOT || n == NUMBER_FRAC))
		j->number = NUMBER_FRAC;
	else if (digit && (n == NUMBER_E || n == NUMBER_SIGN || n == NUMBER_EXP))
		j->number = NUMBER_EXP;
	else if (digit && n == NUMBER_INT)
		j->number = NUMBER_INT;
	else if (c == '.' && (n == NUMBER_ZERO || n == NUMBER_INT))
		j->number = NUMBER_DOT;
	else if (e && (n == NUMBER_ZERO || n == NUMBER_INT || n == NUMBER_FRAC))
		j->number = NUMBER_E;
	else if ((c == '+' || c == '-') && n == NUMBER_E)
		j->number = NUMBER_SIGN;
	else
		return false;
	return true;
}

/* ---- strings --------------------------------------------------------------------------------- */

static void key_char(struct field_key *k, uint32_t c)
{
	if (c < 0x80) {
		field_key_add(k, (uint8_t)c);
		return;
	}
	if (c >= 0x10000) {
		field_key_add(k, (uint8_t)(0xf0 | c >> 18));
		field_key_add(k, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
	} else if (c >= 0x800) {
		field_key_add(k, (uint8_t)(0xe0 | c >> 12));
	} else {
		field_key_add(k, (uint8_t)(0xc0 | c >> 6));
	}
	if (c >= 0x800)
		field_key_add(k, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
	field_key_add(k, (uint8_t)(0x80 | (c & 0x3f)));
}

/* \uXXXX is complete. Half of a pair alone is no character: readers differ in it. */
static void key_unit(struct json_scan *j)
{
	bool low = j->unit >= 0xdc00 && j->unit <= 0xdfff;

	if (j->high && low)
		key_char(&j->key, 0x10000 + ((j->high & 0x3ffu) << 10) + (j->unit & 0x3ffu));
	else if (j->high || low)
		j->key.odd = true;
	else if (j->unit < 0xd800 || j->unit > 0xdbff)
		key_char(&j->key, j->unit);
	j->high = !j->high && j->unit >= 0xd800 && j->unit <= 0xdbff ? j->unit : 0;
}

static void key_byte(struct json_scan *j, uint8_t c)
{
	j->key.odd |= j->high != 0;
	field_key_add(&j->key, c);
}

static bool escape_byte(struct json_scan *j, uint8_t c)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at = c ? strchr(from, c) : NULL;
	int digit = str_hex_digit(c);

	if (j->escape == 1) {
		j->escape = c == 'u' ? 5 : 0;
		j->unit = 0;
		if (at && j->state == JSON_IN_KEY)
			key_byte(j, (uint8_t)to[at - from]);
		return at || c == 'u';
	}
	if (digit < 0)
		return false;
	j->unit = (uint16_t)(j->unit << 4 | digit);
	if (--j->escape == 1) {
		j->escape = 0;
		if (j->state == JSON_IN_KEY)
			key_unit(j);
	}
	return true;
}

/* A byte inside a key or a string, but for the closing quote. */
static void string_byte(struct http_rewrite *r, uint8_t c)
{
	struct json_scan *j = r->json;

	if (j->escape) {
		if (!escape_byte(j, c))
			invalid(r);
	} else if (c == '\\') {
		j->escape = 1;
	} else if (c < 0x20) {
		invalid(r);
	} else if (j->state == JSON_IN_KEY) {
		key_byte(j, c);
	}
}

/* ---- the text ----------------------------------------------------------------------------------- */

static void plain_byte(struct http_rewrite *r, uint8_t c)
{
	struct json_scan *j = r->json;
	bool may_end;

	if (j->state == JSON_IN_NUMBER) {
		if (number_byte(j, c, &may_end))
			return;
		if (!may_end) {
			invalid(r);
			return;
		}
		j->state = JSON_BEHIND;
	}
	if (j->state == JSON_IN_LITERAL) {
		if (c != *j->literal)
			invalid(r);
		else if (!*++j->literal)
			j->state = JSON_BEHIND;
		return;
	}
	if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
		return;
	if (j->state == JSON_BEHIND)
		behind_value(r, c);
	else if (j->state == JSON_VALUE_OR_END && c == ']')
		close_level(r, true);
	else if (j->state == JSON_KEY_OR_END && c == '}')
		close_level(r, false);
	else if (j->state == JSON_VALUE || j->state == JSON_VALUE_OR_END)
		begin_value(r, c);
	else if (j->state == JSON_COLON && c == ':')
		j->state = JSON_VALUE;
	else if (j->state != JSON_COLON && c == '"')
		open_key(j);
	else
		invalid(r);
}

static void any_byte(struct http_rewrite *r, uint8_t c)
{
	struct json_scan *j = r->json;

	if (j->state != JSON_IN_KEY && j->state != JSON_IN_STRING) {
		plain_byte(r, c);
	} else if (c == '"' && !j->escape) {
		j->key.odd |= j->state == JSON_IN_KEY && j->high;
		j->state = j->state == JSON_IN_KEY ? JSON_COLON : JSON_BEHIND;
	} else {
		string_byte(r, c);
	}
}

bool json_scan_next(struct http_rewrite *r, struct rd *in, struct http_segment *ret)
{
	struct json_scan *j = r->json;
	const uint8_t *p = in->p;
	bool inside = j->state == JSON_IN_STRING && r->value && (*p != '"' || j->escape);

	if (inside) {
		do {
			string_byte(r, *p++);
		} while (p < in->end && j->state == JSON_IN_STRING && (*p != '"' || j->escape));
		/* The byte that no string may hold is outside. */
		if (j->state == JSON_INVALID)
			p--;
		inside = p > in->p;
	}
	if (!inside) {
		p = in->p;
		if (j->state != JSON_INVALID)
			any_byte(r, *p);
		p++;
		while (p < in->end && j->state != JSON_INVALID &&
		       !(j->state == JSON_IN_STRING && r->value && (*p != '"' || j->escape)))
			any_byte(r, *p++);
		if (j->state == JSON_INVALID)
			p = in->end;
	}
	rewrite_run(r, in, p, inside, ret);
	return true;
}
