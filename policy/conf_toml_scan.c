/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What toml++ (3.3) leaves to its caller, seen before it parses a text. It sets no
 * limit to the tables it makes for the dots of a key and frees them by recursion,
 * so dots and brackets outside strings and comments are counted here. And a header
 * that begins with something else than a name trips an assertion, as do letters
 * beyond ASCII outside strings and comments. Tables, lists and values are counted,
 * before toml++ allocates for them. Where the text is not valid otherwise, toml++
 * stops, and a wrong count here no longer matters.
 *
 * toml++ keeps what headers and dotted keys imply, and the arrays of tables, in lists
 * that it walks for later headers and keys: time that grows with the square of the
 * text. The steps of these walks are counted too, from above.
 */
#include "base/base.h"
#include "policy/conf_toml.h"
#include "policy/policy_limits.h"

struct scan {
	struct conf_tree *tree; /* takes the complaint */
	const char *s;
	size_t len, at;
	unsigned header; /* tables and lists of the last [header] */
	unsigned dots;	 /* of the key, or of the part of a header, that is being read */
	unsigned key;	 /* dots of the key whose value is being read */
	unsigned open[CONF_DEPTH_MAX];
	size_t lists, values; /* seen so far */
	size_t listed;	      /* at most so many are in the lists of toml++ */
	uint64_t steps;	      /* at most so many it takes through them */
	const char *array;    /* the name in the last "[[name]]", in the text */
	size_t array_len, array_dots;
	unsigned n_open, sum; /* brackets that are open, and what each of them weighs */
};

static bool is_quotes(const struct scan *c, size_t at, char q)
{
	return at + 2 < c->len && c->s[at] == q && c->s[at + 1] == q && c->s[at + 2] == q;
}

/* From a quote to behind the string. Up to two more quotes may end a long one. */
static void skip_string(struct scan *c)
{
	char q = c->s[c->at];

	if (!is_quotes(c, c->at, q)) {
		for (c->at++; c->at < c->len && c->s[c->at] != q && c->s[c->at] != '\n'; c->at++)
			if (q == '"' && c->s[c->at] == '\\')
				c->at++;
		c->at++;
		return;
	}
	for (c->at += 3; c->at < c->len && !is_quotes(c, c->at, q); c->at++)
		if (q == '"' && c->s[c->at] == '\\')
			c->at++;
	c->at += 3;
	for (unsigned i = 0; i < 2 && c->at < c->len && c->s[c->at] == q; i++)
		c->at++;
}

static unsigned depth(const struct scan *c)
{
	return 1 + c->header + c->sum + c->key + c->dots;
}

static void open_bracket(struct scan *c)
{
	/* depth() is bounded before and each weighs one at least: there is room. */
	c->lists++;
	c->open[c->n_open++] = c->key + 1;
	c->sum += c->key + 1;
	c->key = c->dots = 0;
}

static void close_bracket(struct scan *c)
{
	if (c->n_open)
		c->sum -= c->open[--c->n_open];
	c->key = c->dots = 0;
}

static int fail_depth(const struct scan *c)
{
	return conf_tree_fail_byte(c->tree, c->at, "nested deeper than %d levels", CONF_DEPTH_MAX);
}

/* TOML is ASCII there; some characters lead toml++ where it means never to be. */
static int fail_character(const struct scan *c)
{
	return conf_tree_fail_byte(c->tree, c->at,
				   "not valid TOML: this character stands in texts only: put "
				   "quotes around it");
}

/* toml++ takes some hundred bytes for each, and time to find them. */
static int check_number(const struct scan *c)
{
	if (c->lists > CONF_LISTS_MAX)
		return conf_tree_fail_byte(c->tree, c->at, "more than %zu tables and lists",
					   CONF_LISTS_MAX);
	if (c->values > CONF_VALUES_MAX)
		return conf_tree_fail_byte(c->tree, c->at, "more than %zu values", CONF_VALUES_MAX);
	if (c->steps > CONF_TOML_STEPS_MAX)
		return conf_tree_fail_byte(c->tree, c->at,
					   "too many tables with dots in their names before this: "
					   "write them as { } or below one [[ ]], or use JSON");
	return 0;
}

static bool is_ascii(char ch)
{
	return (unsigned char)ch < 0x80;
}

static bool is_name_start(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
	       strchr("_-\"']", ch);
}

/* A name of so many dots is looked up: each part of it is searched for, and may be new. */
static void look_up(struct scan *c, size_t dots, size_t news)
{
	c->steps += (uint64_t)c->listed * (dots + 1);
	c->listed += news;
}

/* Of what is [name], or below it, only what is below is new: all else has been made by [[name]]. */
static bool is_below_array(const struct scan *c, const char *name, size_t len)
{
	return c->array && len >= c->array_len && memcmp(name, c->array, c->array_len) == 0 &&
	       (len == c->array_len || name[c->array_len] == '.');
}

static void count_header(struct scan *c, const char *name, size_t len, bool array)
{
	if (!is_below_array(c, name, len)) {
		look_up(c, c->dots, c->dots + array);
	} else if (len == c->array_len) {
		look_up(c, c->dots, 0);
		return;
	} else {
		look_up(c, c->dots, c->dots - MIN(c->dots, c->array_dots + 1) + array);
	}
	if (array) {
		c->array = name;
		c->array_len = len;
		c->array_dots = c->dots;
	}
}

/* "[a.b]" or "[[a.b]]" at the start of a line. */
static int read_header(struct scan *c)
{
	size_t name;

	c->lists++;
	c->header = c->dots = c->key = 0;
	for (; c->at < c->len && c->s[c->at] == '['; c->at++)
		if (c->header < 2)
			c->header++;
	while (c->at < c->len && (c->s[c->at] == ' ' || c->s[c->at] == '\t'))
		c->at++;
	if (c->at < c->len && !is_name_start(c->s[c->at]))
		return conf_tree_fail_byte(
			c->tree, c->at, "not valid TOML: a table's name is expected behind \"[\"");
	name = c->at;
	while (c->at < c->len && c->s[c->at] != ']' && c->s[c->at] != '\n') {
		if (c->s[c->at] == '"' || c->s[c->at] == '\'') {
			skip_string(c);
			continue;
		}
		c->dots += c->s[c->at] == '.';
		if (!is_ascii(c->s[c->at]))
			return fail_character(c);
		if (depth(c) > CONF_DEPTH_MAX)
			return fail_depth(c);
		c->at++;
	}
	/* Behind a string without an end we may be past the text. */
	count_header(c, c->s + name, MIN(c->at, c->len) - name, c->header == 2);
	c->header += c->dots;
	c->dots = 0;
	while (c->at < c->len && c->s[c->at] == ']')
		c->at++;
	return 0;
}

/* One character outside strings, comments and headers. */
static void read_char(struct scan *c, char ch)
{
	switch (ch) {
	case '.':
		c->dots++;
		break;
	case '=':
		c->values++;
		if (c->dots)
			look_up(c, c->dots, c->dots);
		c->key = c->dots;
		c->dots = 0;
		break;
	case '[':
	case '{':
		open_bracket(c);
		break;
	case ']':
	case '}':
		close_bracket(c);
		break;
	case ',':
		c->values++;
		c->key = c->dots = 0;
		break;
	case '\n':
		if (c->n_open == 0)
			c->key = c->dots = 0;
		break;
	default:
		break;
	}
}

/* One step from c->at: a header, a string, a comment or a character. */
static int read_step(struct scan *c, bool line_start)
{
	char ch = c->s[c->at];

	if (ch == '[' && line_start && c->n_open == 0)
		return read_header(c);
	if (ch == '"' || ch == '\'') {
		skip_string(c);
	} else if (ch == '#') {
		while (c->at < c->len && c->s[c->at] != '\n')
			c->at++;
	} else if (!is_ascii(ch)) {
		return fail_character(c);
	} else {
		read_char(c, ch);
		if (depth(c) > CONF_DEPTH_MAX)
			return fail_depth(c);
		c->at++;
	}
	return 0;
}

int conf_toml_scan(struct conf_tree *t, const char *text, size_t len)
{
	struct scan c = { .tree = t, .s = text, .len = len };
	bool line_start = true;
	int r = 0;

	while (c.at < len && r == 0) {
		char ch = text[c.at];

		r = read_step(&c, line_start);
		if (r == 0)
			r = check_number(&c);
		line_start = ch == '\n' || (line_start && (ch == ' ' || ch == '\t'));
	}
	return r;
}
