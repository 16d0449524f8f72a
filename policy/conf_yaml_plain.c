/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML's scalars without quotes. Readers of YAML 1.1 and 1.2 disagree about many
 * of them (no, 010, 12:30:45, 1_000, ~), and a policy must not mean two things:
 * only null, true, false and plain decimal integers are more than text, and what
 * any common reader takes for something else than text is ambiguous.
 */
#include "base/base.h"
#include "policy/conf_yaml.h"

#include <strings.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* How many of the characters at s are in the set. */
static size_t span(const char *s, const char *end, const char *set)
{
	size_t n = 0;

	while (s + n < end && s[n] && strchr(set, s[n]))
		n++;
	return n;
}

static bool is_word(const char *s, size_t len, const char *word)
{
	return strlen(word) == len && strncasecmp(s, word, len) == 0;
}

static const char *ambiguous_word(const char *s, size_t len)
{
	static const struct {
		const char *word, *what;
	} words[] = {
		{ "true", "true" },	{ "false", "false" },	 { "yes", "true" },
		{ "no", "false" },	{ "on", "true" },	 { "off", "false" },
		{ "y", "true" },	{ "n", "false" },	 { "null", "null" },
		{ "~", "null" },	{ ".inf", "a number" },	 { "-.inf", "a number" },
		{ ".nan", "a number" }, { "+.inf", "a number" }, { "=", "a default" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (is_word(s, len, words[i].word))
			return words[i].what;
	return NULL;
}

/* [0-9][0-9_]* (":" [0-9_]+)+ ["." [0-9_]*]: base 60 to YAML 1.1. */
static bool is_base_60(const char *s, const char *end)
{
	size_t groups = 0;

	for (;; s++) {
		size_t n = span(s, end, "0123456789_");

		if (n == 0)
			return false;
		groups++;
		s += n;
		if (s == end || *s != ':')
			break;
	}
	if (s < end && *s == '.')
		s += 1 + span(s + 1, end, "0123456789_");
	return groups > 1 && s == end;
}

/* Digits with a point, an exponent or both. */
static bool is_fraction(const char *s, const char *end)
{
	size_t whole = span(s, end, "0123456789_"), part = 0;
	bool point, exponent;

	s += whole;
	point = s < end && *s == '.';
	if (point) {
		s++;
		part = span(s, end, "0123456789_");
		s += part;
	}
	if (whole + part == 0)
		return false;
	exponent = s < end && (*s == 'e' || *s == 'E');
	if (exponent) {
		s++;
		if (s < end && (*s == '+' || *s == '-'))
			s++;
		if (span(s, end, "0123456789") == 0)
			return false;
		s += span(s, end, "0123456789");
	}
	return (point || exponent) && s == end;
}

/* NNNN-N-N or NNNN-NN-NN, alone or with a time behind it. */
static bool is_date(const char *s, const char *end)
{
	for (size_t part = 0; part < 3; part++) {
		size_t n = span(s, end, "0123456789");

		if (part == 0 ? n != 4 : n != 1 && n != 2)
			return false;
		s += n;
		if (part < 2 && (s == end || *s++ != '-'))
			return false;
	}
	return s == end || strchr("Tt \t", *s);
}

static const char *ambiguous_number(const char *s, const char *end)
{
	const char *unsigned_s = s + (s < end && (*s == '-' || *s == '+'));
	size_t n = (size_t)(end - unsigned_s);

	if (n > 2 && unsigned_s[0] == '0' && strchr("xXoObB", unsigned_s[1]) &&
	    span(unsigned_s + 2, end, "0123456789abcdefABCDEF_") == n - 2)
		return "a number in another base";
	if (n && is_digit(unsigned_s[0]) && span(unsigned_s, end, "0123456789_") == n)
		return unsigned_s[0] == '0' && n > 1 ? "a number in base 8" : "a number";
	if (is_base_60(unsigned_s, end))
		return "a number in base 60";
	if (is_fraction(unsigned_s, end))
		return "a fraction";
	return is_date(s, end) ? "a date" : NULL;
}

/* "0", or digits that begin with another, after "-" or nothing; in range. */
static bool parse_integer(const char *s, const char *end, int64_t *ret)
{
	bool negative = s < end && *s == '-';
	int64_t n = 0;

	s += negative;
	if (s == end || (*s == '0' && end - s > 1))
		return false;
	for (; s < end; s++) {
		if (!is_digit(*s) || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_sub_overflow(n, *s - '0', &n))
			return false;
	}
	/* Counted downwards, since there is one more below zero. */
	if (!negative && __builtin_sub_overflow(0, n, &n))
		return false;
	*ret = n;
	return true;
}

enum yaml_plain conf_yaml_plain(const char *s, size_t len, int64_t *ret_n, const char **ret_what)
{
	if (len == 0 || (len == 4 && memcmp(s, "null", 4) == 0))
		return YAML_PLAIN_NULL;
	if (len == 4 && memcmp(s, "true", 4) == 0)
		return YAML_PLAIN_TRUE;
	if (len == 5 && memcmp(s, "false", 5) == 0)
		return YAML_PLAIN_FALSE;
	if (parse_integer(s, s + len, ret_n))
		return YAML_PLAIN_INTEGER;
	*ret_what = ambiguous_word(s, len);
	if (!*ret_what)
		*ret_what = ambiguous_number(s, s + len);
	return *ret_what ? YAML_PLAIN_AMBIGUOUS : YAML_PLAIN_TEXT;
}
