/* SPDX-License-Identifier: Apache-2.0 */
/* Placeholders in names, however they are written there; and ordinary names. */
#include "secret_rig.h"

#include <setjmp.h>
#include <cmocka.h>

static uint32_t seed = 7;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

static void base32(const uint8_t *p, size_t n, char *out)
{
	static const char abc[] = "abcdefghijklmnopqrstuvwxyz234567";
	unsigned acc = 0, bits = 0;

	for (size_t i = 0; i < n; i++) {
		acc = acc << 8 | p[i];
		for (bits += 8; bits >= 5; bits -= 5)
			*out++ = abc[acc >> (bits - 5) & 31];
	}
	if (bits)
		*out++ = abc[acc << (5 - bits) & 31];
	*out = 0;
}

/* Text as labels of at most `most`, below example.com. */
static bool as_name(const char *text, size_t most, struct name *ret)
{
	char s[512] = "";
	size_t at = 0;

	for (size_t i = 0; text[i] && at < 300; i++) {
		if (i && i % most == 0)
			s[at++] = '.';
		s[at++] = text[i];
	}
	snprintf(s + at, sizeof(s) - at, ".example.com");
	return name_parse(s, strlen(s), ret, NULL) == 0;
}

static void write_as(unsigned how, const char *placeholder, char *out)
{
	uint8_t bytes[128];
	size_t lead = rnd(5), n = strlen(placeholder), len = 0;

	for (size_t i = 0; i < lead; i++)
		bytes[i] = (uint8_t)rnd(256);
	memcpy(bytes + lead, placeholder, n);
	if (how == 0) {
		memcpy(out, placeholder, n);
		len = n;
	} else if (how == 1) {
		len = secret_encode_hex(rnd(2), bytes, lead + n, (uint8_t *)out);
	} else if (how == 2) {
		base32(bytes, lead + n, out);
		return;
	} else {
		len = secret_base64_encode(bytes, lead + n, out);
		for (size_t i = 0; i < len; i++)
			out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
		while (len && out[len - 1] == '=')
			len--;
	}
	out[len] = 0;
}

static void s07_every_encoding_in_labels(void **state)
{
	static const char *const names[] = { "plain", "hex", "base32", "base64" };
	static const struct secret_spec spec[] = {
		{ "A", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "a.example.com", 31, 1 },
		{ "B", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "a.example.com", 31, 1 },
		{ "C", "sk-ant-api03-abcdefgh", "a.example.com", 31, 1 },
	};
	struct secret_set *set = secret_rig(spec, ARRAY_SIZE(spec));
	const char *ph[3];
	struct tlsproxy_finder *f;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		ph[i] = secret_set_placeholder(set, i);
	assert_int_equal(tlsproxy_finder_new(ph, 3, &f), 0);
	for (unsigned round = 0; round < 20000; round++) {
		size_t i = rnd(3), index = 99;
		unsigned how = rnd(4);
		const char *encoding = NULL;
		char text[512];
		struct name n;

		write_as(how, ph[i], text);
		/* '/' of one is in no name: left out, as a client would. */
		for (char *c = text; *c; c++)
			*c = *c == '/' || (how == 3 && (*c == '-' || *c == '_')) ? 'x' : *c;
		if (strchr(text, 'x') && (how == 3 || i == 1))
			continue;
		if (!as_name(text, 1 + rnd(63), &n))
			continue;
		if (!tlsproxy_finder_name(f, &n, &index, &encoding))
			fail_msg("%s not found in %s (%u)", ph[i], n.s, how);
		assert_int_equal(index, i);
		assert_string_equal(encoding, names[how]);
	}
	tlsproxy_finder_free(f);
	secret_set_unref(set);
}

static void s07_ordinary_names(void **state)
{
	static const char *const ordinary[] = {
		"example.com",
		"ghp.example.com",
		"sk-ant-api03.example.com",
		"a.b.c.d.e.f.g.example.com",
		"0123456789abcdef0123456789abcdef.cdn.example.net",
		"abcdefghijklmnopqrstuvwxyz234567.onion.example",
	};
	static const struct secret_spec spec = { "A", "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
						 "a.example.com", 31, 1 };
	struct secret_set *set = secret_rig(&spec, 1);
	const char *ph = secret_set_placeholder(set, 0), *encoding;
	struct tlsproxy_finder *f;
	size_t index;
	struct name n;

	(void)state;
	assert_int_equal(tlsproxy_finder_new(&ph, 1, &f), 0);
	for (size_t i = 0; i < ARRAY_SIZE(ordinary); i++) {
		assert_int_equal(name_parse(ordinary[i], strlen(ordinary[i]), &n, NULL), 0);
		if (tlsproxy_finder_name(f, &n, &index, &encoding))
			fail_msg("%s", ordinary[i]);
	}
	tlsproxy_finder_free(f);
	assert_int_equal(tlsproxy_finder_new(NULL, 0, &f), 0);
	assert_false(tlsproxy_finder_name(f, &n, &index, &encoding));
	tlsproxy_finder_free(f);
	assert_false(tlsproxy_finder_name(NULL, &n, &index, &encoding));
	secret_set_unref(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(s07_every_encoding_in_labels),
		cmocka_unit_test(s07_ordinary_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
