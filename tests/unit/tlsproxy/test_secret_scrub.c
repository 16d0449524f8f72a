/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets planted in texts, in every spelling, cut in every way. Back: no value
 * comes through, in no spelling, and everything else does byte for byte. The text
 * is built together with what it must become, so nothing here searches.
 */
#include "secret_rig.h"

#include <setjmp.h>
#include <cmocka.h>

static uint64_t seed = 1;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % n;
}

#define CAP ((size_t)1 << 22)

static void must(int r)
{
	if (r < 0)
		fail_msg("%s", strerror(-r));
}

static void add(struct buf *b, const void *p, size_t n)
{
	must(buf_append(b, p, n));
}

/* ---- spellings ------------------------------------------------------------------------- */

enum spelling {
	PLAIN,
	PERCENT_RESERVED, /* upper case */
	PERCENT_ALL,	  /* lower case */
	PERCENT_SOME,
	PERCENT_TWICE,
	FORM,
	JSON,
	JSON_SLASH,
	JSON_U,
	JSON_SOME,
	JSON_TWICE,
	HTML,
	HTML_HEX,
	HEX_LOWER,
	HEX_UPPER,
	SPELLINGS
};

static bool reserved(uint8_t c)
{
	return !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		 strchr("-._~", c));
}

static void percent(struct buf *b, uint8_t c, bool upper)
{
	must(buf_printf(b, upper ? "%%%02X" : "%%%02x", c));
}

static void spell_html(struct buf *b, uint8_t c, bool hex)
{
	if (hex && reserved(c))
		must(buf_printf(b, "&#x%02X;", c));
	else if (c == '&')
		add(b, "&amp;", 5);
	else if (c == '<')
		add(b, "&lt;", 4);
	else if (c == '"')
		add(b, "&quot;", 6);
	else
		add(b, &c, 1);
}

static void spell_json(struct buf *b, uint8_t c, enum spelling how, bool pick)
{
	if (how == JSON_U || (how == JSON_SOME && pick))
		must(buf_printf(b, "\\u%04x", c));
	else if (c == '"' || c == '\\' || (how == JSON_SLASH && c == '/'))
		must(buf_printf(b, "\\%c", c));
	else
		add(b, &c, 1);
}

/* One character; `pick` is the same for a value and what it becomes. */
static void spell(struct buf *b, uint8_t c, enum spelling how, bool pick)
{
	switch (how) {
	case PERCENT_RESERVED:
		if (reserved(c))
			percent(b, c, true);
		else
			add(b, &c, 1);
		break;
	case PERCENT_ALL:
		percent(b, c, false);
		break;
	case PERCENT_SOME:
		if (pick || c == '%')
			percent(b, c, true);
		else
			add(b, &c, 1);
		break;
	case PERCENT_TWICE:
		must(buf_printf(b, "%%25%02x", c));
		break;
	case FORM:
		if (c == ' ')
			add(b, "+", 1);
		else if (reserved(c))
			percent(b, c, true);
		else
			add(b, &c, 1);
		break;
	case JSON:
	case JSON_SLASH:
	case JSON_U:
	case JSON_SOME:
		spell_json(b, c, how, pick);
		break;
	case JSON_TWICE:
		if (c == '"')
			add(b, "\\\\\\\"", 4);
		else if (c == '/')
			add(b, "\\\\/", 3);
		else
			add(b, &c, 1);
		break;
	case HTML:
	case HTML_HEX:
		spell_html(b, c, how == HTML_HEX);
		break;
	case HEX_LOWER:
		must(buf_printf(b, "%02x", c));
		break;
	case HEX_UPPER:
		must(buf_printf(b, "%02X", c));
		break;
	default:
		add(b, &c, 1);
	}
}

/* ---- the texts ---------------------------------------------------------------------------- */

#define N_VALUES 7
static const char *const values[N_VALUES] = {
	"ghp_16C7e42F292c6912E7710c838347Ae178B4a",
	"aB3+xY/9kLm\"Qr&7Ts=uV~w*z",
	"sk-ant-api03-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
	"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	"12345678abcd",
	"12345678abcdefgh", /* begins with another */
	"zz12345678abcdyy", /* holds another */
};

static struct secret_set *fitting_set(void)
{
	struct secret_spec spec[N_VALUES];

	for (size_t i = 0; i < N_VALUES; i++)
		spec[i] = (struct secret_spec){ "E", values[i], "a.example.com", 31, 1 };
	return secret_rig(spec, N_VALUES);
}

/* Characters that begin no value and are of no spelling; and some that are. */
static void add_noise(struct buf *in, struct buf *want)
{
	static const char *const bits[] = {
		" ",   "{\"a\":", "\n\n", "}",	  "%",	     "%2",    "\\",	  "\\u00", "&",
		"&am", "ghp_",	  "Z2hw", "1234", "%25",     "&#x2F", "\xc3\xa4", "\0\1",  "==",
		"<b>", "\\\\",	  "+",	  "-",	  "sk-ant-", "67",    "QUJD",	  ".",	   "0x",
	};
	unsigned n = rnd(4);

	while (n--) {
		size_t i = rnd(ARRAY_SIZE(bits));
		size_t len = i == 16 ? 2 : strlen(bits[i]);

		add(in, bits[i], len);
		add(want, bits[i], len);
	}
	/* Nothing of what was added joins with what comes. */
	add(in, "\n", 1);
	add(want, "\n", 1);
}

static void add_text(const struct secret *s, enum spelling how, struct buf *in, struct buf *want)
{
	size_t letters = 0;

	/* Of a value whose digits are no letters nobody can tell. */
	for (size_t i = 0; i < s->len; i++)
		letters += (s->value[i] & 15) > 9;
	if (how == HEX_UPPER && !letters)
		how = HEX_LOWER;
	for (size_t i = 0; i < s->len; i++) {
		bool pick = rnd(2);

		spell(in, s->value[i], how, pick);
		spell(want, (uint8_t)s->placeholder[i], how, pick);
	}
}

/* In lines, as MIME, PEM and the contents of GitHub's API have it; columns 0: in one. */
static void add_lines(struct buf *b, const char *text, size_t len, size_t columns, const char *end)
{
	for (size_t i = 0, n; i < len; i += n) {
		n = columns ? MIN(columns, len - i) : len;
		add(b, text + i, n);
		if (columns && (i + n < len || len % 2))
			add(b, end, strlen(end));
	}
}

/* `phase` bytes, then the value, then others, all encoded. */
static void add_base64(const struct secret *s, unsigned phase, bool url, struct buf *in,
		       struct buf *want)
{
	static const char *const ends[] = { "\n", "\r\n", "\r", "\\n", "\\r\\n", "\\\\n", "\\u000a" };
	static const size_t widths[] = { 0, 0, 60, 64, 76, 4, 1, 17 };
	size_t columns = widths[rnd(ARRAY_SIZE(widths))];
	const char *end = ends[rnd(ARRAY_SIZE(ends))];
	uint8_t a[512], b[512];
	size_t n = phase + 3 * rnd(30), tail = rnd(5);
	char text[1024];
	size_t core = secret_encode_base64(phase, false, s->value, s->len, (uint8_t *)text);

	/* A value that is written alike in both alphabets does not tell which it was. */
	url = url && (memchr(text, '+', core) || memchr(text, '/', core));
	for (size_t i = 0; i < n + tail + s->len; i++)
		a[i] = b[i] = (uint8_t)rnd(256);
	memcpy(a + n, s->value, s->len);
	memcpy(b + n, s->placeholder, s->len);
	for (unsigned k = 0; k < 2; k++) {
		size_t len = secret_base64_encode(k ? b : a, n + s->len + tail, text);

		for (size_t i = 0; url && i < len; i++)
			text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
		while (url && len && text[len - 1] == '=')
			len--;
		add_lines(k ? want : in, text, len, columns, end);
	}
}

static void make_text(const struct secret_set *set, struct buf *in, struct buf *want)
{
	unsigned n = 1 + rnd(4);

	while (n--) {
		const struct secret *s = &set->secrets[rnd((uint32_t)set->n)];
		unsigned how = rnd(SPELLINGS + 6);

		add_noise(in, want);
		if (how >= SPELLINGS)
			add_base64(s, (how - SPELLINGS) % 3, (how - SPELLINGS) / 3, in, want);
		else
			add_text(s, how, in, want);
		add(in, "\n", 1);
		add(want, "\n", 1);
	}
	add_noise(in, want);
}

/* ---- running -------------------------------------------------------------------------------- */

/* cut 0: whole; 1: bytes; else: pieces up to that. */
static void run(const struct secret_set *set, const struct buf *in, uint32_t cut, struct buf *out)
{
	struct secret_stream s;
	size_t at = 0, n;

	secret_stream_back(&s, set);
	while (at < in->len) {
		n = cut == 0 ? in->len : cut == 1 ? 1 : 1 + rnd(cut);
		n = MIN(n, in->len - at);
		must(secret_stream_feed(&s, buf_at(in) + at, n, out));
		at += n;
	}
	must(secret_stream_end(&s, out));
	assert_int_equal(secret_stream_held(&s), 0);
	secret_stream_fini(&s);
}

/* The same through a buffer that has no more room than it must. */
static void run_tight(const struct secret_set *set, const struct buf *in, struct buf *out)
{
	struct secret_stream s;
	size_t at = 0;

	secret_stream_back(&s, set);
	while (at < in->len) {
		struct buf small = BUF_INIT(secret_stream_held(&s) + 1 + rnd(2000));
		size_t n = MIN(secret_stream_fits(&s, small.cap), in->len - at);

		must(secret_stream_feed(&s, buf_at(in) + at, n, &small));
		at += n;
		add(out, buf_at(&small), small.len);
		buf_fini(&small);
	}
	must(secret_stream_end(&s, out));
	secret_stream_fini(&s);
}

static void show(const char *what, const struct buf *b)
{
	fprintf(stderr, "%s:", what);
	for (size_t i = 0; i < b->len; i++) {
		uint8_t c = buf_at(b)[i];

		fprintf(stderr, c >= ' ' && c < 0x7f ? "%c" : "<%02x>", c);
	}
	fprintf(stderr, "\n");
}

/* %6d is %6D: where no digit of the value's was a letter, its case is anybody's guess. */
static void fold_percent(struct buf *b)
{
	uint8_t *t = buf_at(b);

	for (size_t i = 0; i + 2 < b->len; i++)
		for (size_t k = 1; t[i] == '%' && k <= 2 + 2 * (t[i + 1] == '2'); k++)
			if (i + k < b->len && t[i + k] >= 'A' && t[i + k] <= 'F')
				t[i + k] |= 0x20;
}

static void check_same(const struct buf *in, const struct buf *got, const struct buf *want,
		       unsigned round, size_t how)
{
	if (got->len == want->len && memcmp(buf_at(got), buf_at(want), got->len) == 0)
		return;
	show("in  ", in);
	show("got ", got);
	show("want", want);
	fail_msg("round %u, cut %zu", round, how);
}

static unsigned rounds(void)
{
	const char *text = getenv("WEIR_SECRET_ROUNDS");
	uint64_t n;

	return text && uint_parse(text, strlen(text), 1, 100000000, &n, NULL) == 0 ? (unsigned)n
										   : 3000;
}

/* Parity: weak-17. */
/* Every value with a placeholder of its length and punctuation: nothing changes length. */
static void s07_lesson_33_every_spelling_every_cut(void **state)
{
	static const uint32_t cuts[] = { 0, 1, 3, 30 };
	struct secret_set *set = fitting_set();

	(void)state;
	assert_true(set->keeps_back && set->growth_back == 1);
	for (unsigned round = 0; round < rounds(); round++) {
		struct buf in = BUF_INIT(CAP), want = BUF_INIT(CAP);

		seed = round + 1;
		make_text(set, &in, &want);
		for (size_t i = 0; i <= ARRAY_SIZE(cuts); i++) {
			struct buf out = BUF_INIT(CAP);

			if (i < ARRAY_SIZE(cuts))
				run(set, &in, cuts[i], &out);
			else
				run_tight(set, &in, &out);
			fold_percent(&out);
			fold_percent(&want);
			check_same(&in, &out, &want, round, i);
			buf_fini(&out);
		}
		buf_fini(&in);
		buf_fini(&want);
	}
	secret_set_unref(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(s07_lesson_33_every_spelling_every_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
