/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A placeholder looks like its value to every format check and says nothing
 * of it: the same length, a well-known public prefix, the same punctuation in
 * the same positions, and random characters of the value's alphabet elsewhere.
 * A value with too few letters and digits for that gets random letters and
 * digits all over. What could not stand in a variable or a header (spaces, control
 * characters, more than ASCII) becomes a letter or digit too.
 *
 * Or it has a shape of its own: a prefix, a template, a JWT.
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

static const char alnum[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

static char random_alnum(void)
{
	return alnum[random_below(sizeof(alnum) - 1)];
}

static bool is_visible(uint8_t c)
{
	return c > ' ' && c < 0x7f;
}

static void like_the_value(const uint8_t *value, size_t len, bool keep_prefix, char *ret)
{
	struct shape s = shape_of(value, len, keep_prefix ? prefix_len(value, len) : 0);
	bool shaped = true;

	if (s.n_random < SECRET_MIN_RANDOM)
		s = shape_of(value, len, 0);
	if (s.n_random < SECRET_MIN_RANDOM) {
		shaped = false;
		s = (struct shape){ 0 };
	}
	for (size_t i = 0; i < len; i++) {
		if (i < s.from || (shaped && !class_of(value[i]) && is_visible(value[i])))
			ret[i] = (char)value[i];
		else if (shaped && class_of(value[i]))
			ret[i] = s.alphabet[random_below(s.n_alphabet)];
		else
			ret[i] = random_alnum();
	}
	ret[len] = 0;
}

bool secret_placeholder_fits(const char *placeholder, size_t placeholder_len, const uint8_t *value,
			     size_t len)
{
	if (placeholder_len != len)
		return false;
	for (size_t i = 0; i < len; i++) {
		uint8_t p = (uint8_t)placeholder[i];

		if (class_of(value[i]) ? !class_of(p) : p != value[i])
			return false;
	}
	return true;
}

/* ---- shapes ---------------------------------------------------------------------------- */

/* Nothing that is escaped anywhere but in a URL. */
static bool may_stand_in_shape(char c)
{
	return class_of((uint8_t)c) || (c && strchr("-._~:/=@!$,*#", c));
}

static bool is_prefix(const char *shape, size_t *ret_len)
{
	size_t n = strlen(shape);

	if (n < 3 || memcmp(shape + n - 3, "...", 3) != 0)
		return false;
	*ret_len = n - 3;
	return true;
}

static const char *why_no_shape(const char *shape)
{
	size_t n = strlen(shape), random = 0, prefix;

	if (n == 0 || n > TLSPROXY_SHAPE_MAX)
		return "a placeholder's shape has 1 to 256 characters";
	for (size_t i = 0; i < n; i++) {
		random += shape[i] == '*' || shape[i] == '#';
		if (!may_stand_in_shape(shape[i]))
			return "a placeholder is letters, digits and -._~:/=@!$, (and * and # for "
			       "random ones)";
	}
	if (is_prefix(shape, &prefix))
		return random ? "\"...\" stands for all that is random: no * or # before it" : NULL;
	return random >= SECRET_MIN_RANDOM
		       ? NULL
		       : "fewer than 8 random characters (* or #), or \"...\" at the end: it could "
			 "occur by chance";
}

int tlsproxy_shape_check(const char *shape, const char **ret_why)
{
	const char *why = str_eq(shape, "same") || str_eq(shape, "jwt") ? NULL : why_no_shape(shape);

	if (!why)
		return 0;
	if (ret_why)
		*ret_why = why;
	return -EINVAL;
}

/* The value's length, but enough random characters however short that is. */
static int fill_prefix(const char *shape, size_t prefix, size_t value_len, char *ret, size_t size)
{
	size_t n = MAX(value_len, prefix + SECRET_MIN_RANDOM);

	if (n < prefix + SECRET_MIN_RANDOM * 2)
		n = prefix + SECRET_PREFIX_RANDOM;
	if (n >= size)
		return -ENOBUFS;
	memcpy(ret, shape, prefix);
	for (size_t i = prefix; i < n; i++)
		ret[i] = random_alnum();
	ret[n] = 0;
	return 0;
}

static int fill_template(const char *shape, char *ret, size_t size)
{
	size_t n = strlen(shape);

	if (n >= size)
		return -ENOBUFS;
	for (size_t i = 0; i <= n; i++)
		ret[i] = shape[i] == '*'   ? random_alnum()
			 : shape[i] == '#' ? (char)('0' + random_below(10))
					   : shape[i];
	return 0;
}

/* Decodes as a JWT (RFC 7519) that has not expired, and that nobody signed. */
static int fill_jwt(char *ret, size_t size)
{
	static const char head[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
	static const char begin[] = "{\"exp\":4102444800,\"iss\":\"weir\",\"jti\":\"";
	enum { ID = 17, SIGNATURE = 43 }; /* lengths that leave no padding */
	uint8_t body[sizeof(begin) + ID + 2];
	size_t n = sizeof(begin) - 1, at;

	if (size < 256)
		return -ENOBUFS;
	memcpy(body, begin, n);
	for (size_t i = 0; i < ID; i++)
		body[n++] = (uint8_t)random_alnum();
	body[n++] = '"';
	body[n++] = '}';
	assert(n % 3 == 0 && (sizeof(head) - 1) % 3 == 0);
	at = secret_encode_base64(0, true, (const uint8_t *)head, sizeof(head) - 1, (uint8_t *)ret);
	ret[at++] = '.';
	at += secret_encode_base64(0, true, body, n, (uint8_t *)ret + at);
	ret[at++] = '.';
	for (size_t i = 0; i < SIGNATURE; i++)
		ret[at++] = i + 1 < SIGNATURE ? random_alnum() : 'A';
	ret[at] = 0;
	return 0;
}

int secret_placeholder_shape(const char *shape, const uint8_t *value, size_t value_len,
			     bool keep_prefix, char *ret, size_t size)
{
	size_t prefix;

	if (str_eq(shape, "jwt"))
		return fill_jwt(ret, size);
	if (!str_eq(shape, "same"))
		return is_prefix(shape, &prefix) ? fill_prefix(shape, prefix, value_len, ret, size)
						 : fill_template(shape, ret, size);
	if (value_len >= size)
		return -ENOBUFS;
	like_the_value(value, value_len, keep_prefix, ret);
	return 0;
}
