/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A placeholder looks like its value to every format check and says nothing
 * of it: the same length, a well-known public prefix, the same punctuation in
 * the same positions, and random characters of the value's alphabet elsewhere.
 * A value with too few letters and digits for that gets random letters and
 * digits all over ("unshaped").
 */
#include "tlsproxy/secret_internal.h"

/* Prefixes that vendors publish; SDKs and servers check them. Longest first where nested. */
static const char *const prefixes[] = {
	"sk-ant-api03-", "sk-ant-",	"sk-proj-",  "sk-svcacct-", "sk-or-v1-", "sk_live_",
	"sk_test_",	 "rk_live_",	"rk_test_",  "pk_live_",    "pk_test_",	 "sk-",
	"whsec_",	 "github_pat_", "ghp_",	     "gho_",	    "ghu_",	 "ghs_",
	"ghr_",		 "glpat-",	"gldt-",     "glrt-",	    "xoxb-",	 "xoxp-",
	"xoxa-",	 "xoxe-",	"xapp-",     "npm_",	    "pypi-",	 "AKIA",
	"ASIA",		 "AIza",	"ya29.",     "hf_",	    "gsk_",	 "xai-",
	"r8_",		 "dop_v1_",	"shpat_",    "SG.",	    "key-",	 "lin_api_",
	"ntn_",		 "secret_",	"dckr_pat_", "tskey-auth-", "tskey-",	 "sbp_",
	"nvapi-",	 "pplx-",	"fc-",	     "tvly-",	    "phc_",	 "PMAK-",
	"atlasv1.",	 "eyJ",
};

enum { LOWER = 1, UPPER = 2, DIGIT = 4 };

static unsigned class_of(uint8_t c)
{
	if (c >= 'a' && c <= 'z')
		return LOWER;
	if (c >= 'A' && c <= 'Z')
		return UPPER;
	return c >= '0' && c <= '9' ? DIGIT : 0;
}

static size_t prefix_len(const uint8_t *value, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		size_t n = strlen(prefixes[i]);

		if (len > n && memcmp(value, prefixes[i], n) == 0)
			return n;
	}
	return 0;
}

struct shape {
	size_t from;	   /* what stands before is kept */
	size_t n_random;   /* letters and digits from there on */
	char alphabet[63]; /* of them */
	size_t n_alphabet;
};

static void add_range(struct shape *s, char from, char to)
{
	for (char c = from; c <= to; c++)
		s->alphabet[s->n_alphabet++] = c;
}

static struct shape shape_of(const uint8_t *value, size_t len, size_t from)
{
	struct shape s = { .from = from };
	unsigned classes = 0;
	bool hex = true;

	for (size_t i = from; i < len; i++) {
		unsigned c = class_of(value[i]);

		if (!c)
			continue;
		s.n_random++;
		classes |= c;
		if ((c == LOWER && value[i] > 'f') || (c == UPPER && value[i] > 'F'))
			hex = false;
	}
	/* Few letters can all be below g by chance; digits alone say nothing. */
	hex = hex && s.n_random >= 16 && classes != DIGIT && classes != (LOWER | UPPER | DIGIT);
	if (classes & LOWER)
		add_range(&s, 'a', hex ? 'f' : 'z');
	if (classes & UPPER)
		add_range(&s, 'A', hex ? 'F' : 'Z');
	if (classes & DIGIT)
		add_range(&s, '0', '9');
	return s;
}

/* Uniform in [0, n), n <= 64: bytes beyond the last multiple are drawn again. */
static size_t random_below(size_t n)
{
	uint8_t b;

	do
		random_bytes(&b, 1);
	while (b >= 256 - 256 % n);
	return b % n;
}

bool secret_placeholder_make(const uint8_t *value, size_t len, bool keep_prefix, char *ret)
{
	struct shape s = shape_of(value, len, keep_prefix ? prefix_len(value, len) : 0);
	bool shaped = true;

	if (s.n_random < SECRET_MIN_RANDOM)
		s = shape_of(value, len, 0);
	if (s.n_random < SECRET_MIN_RANDOM) {
		shaped = false;
		s = (struct shape){ 0 };
		add_range(&s, 'a', 'z');
		add_range(&s, 'A', 'Z');
		add_range(&s, '0', '9');
	}
	for (size_t i = 0; i < len; i++) {
		if (i < s.from || (shaped && !class_of(value[i])))
			ret[i] = (char)value[i];
		else
			ret[i] = s.alphabet[random_below(s.n_alphabet)];
	}
	ret[len] = 0;
	return shaped;
}
