/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts that go on without a stream: whatever is said to be clean, a stream finds nothing in,
 * and changes nothing of; what most heads consist of is clean.
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

static void must(int r)
{
	if (r < 0)
		fail_msg("%s", strerror(-r));
}

#define CAP ((size_t)1 << 16)

static struct secret_set *the_set(void)
{
	static const struct secret_spec spec[] = {
		{ "TOKEN", "s3cr3t-Value/of+24=chars", "api.example.com", TLSPROXY_IN_HEADER, 0 },
		{ "PASSWORD", "pa ss%wo\\rd&\"8", "api.example.com", TLSPROXY_IN_HEADER, 0 },
	};

	return secret_rig(spec, ARRAY_SIZE(spec));
}

/* ---- one value in every spelling ---------------------------------------------------------- */

enum spelling { PLAIN, PERCENT, JSON, HTML, HEX, BASE64, LINES, SPELLINGS };

static void spell(enum spelling how, const uint8_t *p, size_t n, struct buf *out)
{
	uint8_t text[256];
	size_t len;

	for (size_t i = 0; i < n && (how == PERCENT || how == JSON || how == HTML); i++)
		must(buf_printf(out,
				how == PERCENT ? "%%%02X"
				: how == JSON  ? "\\u%04x"
					       : "&#%u;",
				p[i]));
	if (how == PLAIN)
		must(buf_append(out, p, n));
	if (how == HEX)
		must(buf_append(out, text, secret_encode_hex(false, p, n, text)));
	if (how != BASE64 && how != LINES)
		return;
	len = secret_encode_base64(0, false, p, n, text);
	must(buf_append(out, text, len / 2));
	must(buf_append_str(out, how == LINES ? "\r\n" : ""));
	must(buf_append(out, text + len / 2, len - len / 2));
}

static void value_is_seen(const struct secret_set *set, size_t i, enum spelling how)
{
	struct buf text = BUF_INIT(CAP), mark = BUF_INIT(CAP);
	const struct secret *s = &set->secrets[i];

	must(buf_append_str(&text, "Bearer "));
	spell(how, s->value, s->len, &text);
	must(buf_append_str(&mark, "Bearer "));
	spell(how, (const uint8_t *)s->placeholder, s->placeholder_len, &mark);
	if (secret_clean_back(set, buf_at(&text), text.len))
		fail_msg("value %zu in spelling %d is taken for nothing", i, how);
	/* HTML and broken lines are spellings of replies alone. */
	if (how != HTML && how != LINES && secret_clean_out(set, buf_at(&mark), mark.len))
		fail_msg("placeholder %zu in spelling %d is taken for nothing", i, how);
	buf_fini(&text);
	buf_fini(&mark);
}

static void every_spelling_is_seen(void **state)
{
	struct secret_set *set = the_set();

	(void)state;
	for (size_t i = 0; i < set->n; i++)
		for (enum spelling how = 0; how < SPELLINGS; how++)
			value_is_seen(set, i, how);
	secret_set_unref(set);
}

/* ---- any text ------------------------------------------------------------------------------- */

static enum secret_verdict count(void *ctx, struct secret_hit *hit)
{
	(void)hit;
	++*(unsigned *)ctx;
	return SECRET_LEAVE;
}

/* Pieces of values and placeholders, seldom whole, and what escapes are made of. */
static void make_text(const struct secret_set *set, struct buf *out)
{
	static const char *const others[] = { "%",   "\\", "&",	      "+", "\r\n",
					      "%41", " ",  "; q=0.9", "x" };

	for (uint32_t i = 1 + rnd(5); i > 0; i--) {
		const struct secret *s = &set->secrets[rnd((uint32_t)set->n)];
		bool value = rnd(2);
		const uint8_t *p = value ? s->value : (const uint8_t *)s->placeholder;
		size_t n = value ? s->len : s->placeholder_len, from = rnd(4) ? rnd(4) : 0;

		if (rnd(4) == 0)
			must(buf_append_str(out, others[rnd(ARRAY_SIZE(others))]));
		else
			spell(rnd(8) ? PLAIN : rnd(SPELLINGS), p + from,
			      n - from - (rnd(3) ? rnd(4) : 0), out);
	}
}

static bool back_changes(const struct secret_set *set, const struct buf *in)
{
	struct buf out = BUF_INIT(CAP);
	struct secret_stream s;
	bool changed;

	secret_stream_back(&s, set);
	must(secret_stream_feed(&s, buf_at(in), in->len, &out));
	must(secret_stream_end(&s, &out));
	changed = out.len != in->len || memcmp(buf_at(&out), buf_at(in), in->len) != 0;
	secret_stream_fini(&s);
	buf_fini(&out);
	return changed;
}

static unsigned out_hits(const struct secret_set *set, const struct buf *in)
{
	struct secret_stream s;
	unsigned hits = 0;

	secret_stream_out(&s, set, false, count, &hits);
	must(secret_stream_feed(&s, buf_at(in), in->len, NULL));
	must(secret_stream_end(&s, NULL));
	return hits;
}

static void what_is_clean_holds_nothing(void **state)
{
	struct secret_set *set = the_set();
	unsigned clean[2] = { 0 }, found[2] = { 0 };

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		struct buf in = BUF_INIT(CAP);

		seed = round + 1;
		make_text(set, &in);
		if (secret_clean_back(set, buf_at(&in), in.len)) {
			if (back_changes(set, &in))
				fail_msg("round %u: a value in a clean reply", round);
			clean[0]++;
		} else if (back_changes(set, &in)) {
			found[0]++;
		}
		if (secret_clean_out(set, buf_at(&in), in.len)) {
			if (out_hits(set, &in))
				fail_msg("round %u: a placeholder in a clean request", round);
			clean[1]++;
		} else if (out_hits(set, &in)) {
			found[1]++;
		}
		buf_fini(&in);
	}
	/* The texts were of all kinds. */
	for (size_t i = 0; i < 2; i++)
		if (clean[i] < 1000 || found[i] < 1000)
			fail_msg("way %zu: %u clean, %u found", i, clean[i], found[i]);
	secret_set_unref(set);
}

static void most_of_a_head_is_clean(void **state)
{
	static const char *const texts[] = {
		"",
		"GET",
		"/api/v2/projects/17/issues?state=open",
		"Accept-Ranges",
		"Mon, 23 Nov 2026 00:52:10 GMT",
		"application/json; charset=utf-8",
		"max-age=31536000; includeSubDomains; preload",
		"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
		"W/\"6a1f2b3c-400-s3cr3t-Value/of\"",
	};
	struct secret_set *set = the_set();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (!secret_clean_out(set, texts[i], strlen(texts[i])))
			fail_msg("not clean on the way out: %s", texts[i]);
		if (!secret_clean_back(set, texts[i], strlen(texts[i])))
			fail_msg("not clean on the way back: %s", texts[i]);
	}
	secret_set_unref(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_spelling_is_seen),
		cmocka_unit_test(what_is_clean_holds_nothing),
		cmocka_unit_test(most_of_a_head_is_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
