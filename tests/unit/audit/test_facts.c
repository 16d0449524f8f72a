/* SPDX-License-Identifier: Apache-2.0 */
/* The scan of an event's text against the parser: what it takes, and what it reads. */
#include "audit/audit_internal.h"

#include <setjmp.h>
#include <cmocka.h>

/* What the log takes, in the parser's words only. */
static json_t *parse(const char *text, size_t len)
{
	const char *key;
	json_t *v, *member, *item;
	bool ok = len >= 2 && len < AUDIT_EVENT_MAX && text[0] == '{' && text[len - 1] == '}';
	size_t at;

	for (size_t i = 0; i < len; i++)
		ok = ok && text[i] >= 0x20 && text[i] <= 0x7e;
	v = ok ? json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL) : NULL;
	ok = v && json_is_object(v) && audit_kind_known(audit_get(v, "kind"));
	json_object_foreach(v, key, member)
	{
		ok = ok && !audit_reserved(key, strlen(key)) && !json_is_object(member);
		json_array_foreach(member, at, item) ok =
			ok && !json_is_object(item) && !json_is_array(item);
	}
	if (ok)
		return v;
	json_decref(v);
	return NULL;
}

static void same_facts(const char *text, const struct audit_facts *a, const struct audit_facts *b)
{
	bool same = str_eq(a->kind, b->kind) && str_eq(a->event, b->event) &&
		    str_eq(a->verdict, b->verdict) && str_eq(a->observed, b->observed) &&
		    str_eq(a->outcome, b->outcome) && str_eq(a->result, b->result) &&
		    str_eq(a->rule, b->rule) && str_eq(a->id, b->id) &&
		    a->generation == b->generation && a->count == b->count &&
		    a->bytes_up == b->bytes_up && a->bytes_down == b->bytes_down &&
		    a->floor == b->floor && a->has_denial == b->has_denial;

	if (!same)
		fail_msg("read differently: %s", text);
}

/* 1: taken by the scan; 0: by the parser; -1: refused. */
static int compare(const char *text, size_t len)
{
	struct audit_facts scanned, parsed, got;
	json_t *v = parse(text, len), *tree;
	bool plain = audit_facts_scan(text, len, &scanned);
	int r = audit_event_check(text, len, &tree, &got);

	if (plain && !v)
		fail_msg("the scan takes what the parser refuses: %.*s", (int)len, text);
	if ((r == 0) != (v != NULL))
		fail_msg("%d instead of %s: %.*s", r, v ? "taken" : "refused", (int)len, text);
	if (v) {
		audit_facts_of(v, &parsed);
		same_facts(text, &parsed, &got);
		if (plain)
			same_facts(text, &parsed, &scanned);
	}
	if (r == 0)
		json_decref(tree);
	json_decref(v);
	return plain ? 1 : v ? 0 : -1;
}

static const struct {
	const char *text;
	int how;
} cases[] = {
	{ "{\"kind\":\"flow\",\"id\":\"r-f1\",\"dir\":\"egress\",\"proto\":\"tcp\",\"guest\":"
	  "\"10.64.0.2:4000\",\"dst\":\"10.99.0.1\",\"port\":443,\"verdict\":\"allow\",\"rule\":"
	  "\"0\",\"reason\":\"rule 0\",\"generation\":1,\"upstream\":\"10.99.0.1:443\"}",
	  1 },
	{ "{\"kind\":\"flow_end\",\"id\":\"r-f1\",\"end\":\"closed\",\"bytes_up\":100,\"bytes_"
	  "down\":"
	  "200,\"packets_up\":5,\"packets_down\":4,\"ms\":12}",
	  1 },
	{ "{\"kind\":\"dns\",\"name\":\"a.\\u00e9\\\"b\\\\\",\"answers\":[\"1.2.3.4\",\"::1\"],"
	  "\"given\":[],\"floor\":true,\"denial\":\"r-g1\",\"count\":7,\"observed\":\"deny\"}",
	  1 },
	{ "{\"kind\":\"http\",\"outcome\":\"denied\",\"x\":[1,-2,null,true,false],\"floor\":false}",
	  1 },
	{ "{\"kind\":\"secret\",\"event\":\"violation\",\"denial\":\"\"}", 1 },
	{ "{\"kind\":\"flow\",\"x\":999999999999999999}", 1 },
	{ "{\"kind\":\"flow\",\"x\":-0}", 0 },
	{ "{\"kind\":\"flow\",\"x\":9223372036854775807}", 0 },
	{ "{\"kind\":\"flow\",\"x\":9223372036854775808}", -1 },
	{ "{\"kind\":\"flow\",\"x\":1.5}", 0 },
	{ "{\"kind\":\"flow\",\"x\":1e400}", -1 },
	{ "{\"kind\":\"flow\",\"x\":01}", -1 },
	{ "{\"kind\":\"flow\",\"x\":-}", -1 },
	{ "{\"kind\":\"flow\",\"x\":+1}", -1 },
	{ "{\"kind\": \"flow\"}", 0 },
	{ "{\"k\\u0069nd\":\"flow\"}", 0 },
	{ "{\"kind\":\"fl\\u006fw\"}", 0 },
	{ "{\"kind\":\"flow\",\"rule\":\"a\\\"b\"}", 0 },
	{ "{\"kind\":\"flow\",\"rule\":5}", 0 },
	{ "{\"kind\":\"flow\",\"id\":12}", 0 },
	{ "{\"kind\":\"flow\",\"count\":\"18446744073709551615\"}", 0 },
	{ "{\"kind\":\"flow\",\"count\":-5}", 0 },
	{ "{\"kind\":\"flow\",\"\":1}", 0 },
	{ "{\"kind\":\"flow\",\"x\":\"\\u0000\"}", 0 },
	{ "{\"kind\":\"flow\",\"x\":\"\\ud83d\\ude00\"}", 0 },
	{ "{\"kind\":\"flow\",\"x\":\"\\ude00\"}", -1 },
	{ "{\"kind\":\"flow\",\"x\":\"\\u00g0\"}", -1 },
	{ "{\"kind\":\"flow\",\"x\":\"\\x\"}", -1 },
	{ "{\"kind\":\"flow\",\"x\":\"\\\"}", -1 },
	{ "{\"kind\":\"flow\",\"x\":\"}", -1 },
	{ "{\"kind\":\"flow\",\"x\"}", -1 },
	{ "{\"kind\":\"flow\",}", -1 },
	{ "{,\"kind\":\"flow\"}", -1 },
	{ "{\"kind\":\"flow\",\"x\":[1,]}", -1 },
	{ "{\"kind\":\"flow\",\"x\":[1 2]}", -1 },
	{ "{\"kind\":\"flow\",\"x\":[[]]}", -1 },
	{ "{\"kind\":\"flow\",\"x\":tru}", -1 },
	{ "{\"kind\":\"flow\",\"x\":trueish}", -1 },
	{ "{\"kind\":\"flow\",\"x\":1,\"x\":1}", -1 },
	{ "{\"kind\":\"flow\",\"x\":1,\"\\u0078\":1}", -1 },
	{ "{\"kind\":\"flow\",\"hash\":1}", -1 },
	{ "{\"kind\":\"flow\",\"run\":\"r\"}", -1 },
	{ "{\"kind\":\"flow\"}}", -1 },
	{ "{\"kind\":\"flow\"} ", -1 },
	{ "{\"kind\":\"nothing\"}", -1 },
	{ "{\"kind\":[\"flow\"]}", -1 },
	{ "{}", -1 },
	{ "{", -1 },
	{ "", -1 },
};

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int how = compare(cases[i].text, strlen(cases[i].text));

		if (how != cases[i].how)
			fail_msg("%d instead of %d: %s", how, cases[i].how, cases[i].text);
	}
}

static void test_nul_in_the_text(void **state)
{
	static const char text[] = "{\"kind\":\"flow\",\"x\":\"a\0b\"}";

	(void)state;
	assert_int_equal(compare(text, sizeof(text) - 1), -1);
}

/* Many members and long texts are the parser's. */
static void test_bounds(void **state)
{
	char text[AUDIT_EVENT_MAX + 8];
	size_t n;

	(void)state;
	for (unsigned members = 30; members < 36; members++) {
		n = (size_t)snprintf(text, sizeof(text), "{\"kind\":\"flow\"");
		for (unsigned i = 1; i < members; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, ",\"k%u\":%u", i, i);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "}");
		assert_int_equal(compare(text, n), members <= 32);
	}
	for (int len = 1; len < 700; len += 7) {
		n = (size_t)snprintf(text, sizeof(text), "{\"kind\":\"flow\",\"rule\":\"%0*d\"}",
				     len, 1);
		assert_int_equal(compare(text, n), len < AUDIT_ROOM - 5);
		n = (size_t)snprintf(text, sizeof(text), "{\"kind\":\"flow\",\"id\":\"%0*d\"}", len,
				     1);
		assert_int_equal(compare(text, n), len < AUDIT_ID_MAX);
	}
	for (int len = AUDIT_EVENT_MAX - 40; len < AUDIT_EVENT_MAX - 10; len++) {
		n = (size_t)snprintf(text, sizeof(text), "{\"kind\":\"flow\",\"x\":\"%0*d\"}", len,
				     1);
		assert_int_equal(compare(text, n), n < AUDIT_EVENT_MAX ? 1 : -1);
	}
}

static uint64_t seed;

static unsigned next(unsigned below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(seed >> 33) % below;
}

/* Texts one or two changes away from those above: bytes that mean something in JSON, and any. */
static size_t mutate(const char *from, char *out, size_t size)
{
	static const char odd[] = "{}[]\",:\\0123456789-+.eEtfn u/b\x7f\x1f";
	size_t n = strlen(from);

	assert_true(n < size - 8);
	memcpy(out, from, n);
	for (unsigned changes = 1 + next(2); changes && n; changes--) {
		size_t at = next((unsigned)n), len = next(12);
		char c = next(4) ? odd[next(sizeof(odd) - 1)] : (char)next(256);

		len = MIN(len, n - at);
		switch (next(4)) {
		case 0:
			out[at] = c;
			break;
		case 1:
			memmove(out + at + 1, out + at, n - at);
			out[at] = c;
			n++;
			break;
		case 2:
			memmove(out + at, out + at + len, n - at - len);
			n -= len;
			break;
		default: /* a piece of it somewhere else */
			memmove(out + next((unsigned)(n - len) + 1), out + at, len);
		}
	}
	return n;
}

static void test_mutations(void **state)
{
	char text[1024];
	unsigned how[3] = { 0 };

	(void)state;
	seed = 20240601;
	for (unsigned i = 0; i < 200000; i++) {
		size_t n = mutate(cases[next(ARRAY_SIZE(cases))].text, text, sizeof(text));

		how[compare(text, n) + 1]++;
	}
	/* All three were met often enough to mean something. */
	for (size_t i = 0; i < 3; i++)
		if (how[i] < 1000)
			fail_msg("%u refused, %u parsed, %u scanned", how[0], how[1], how[2]);
}

/* What our own processes write is what the scan is for. */
static void test_built_events_are_plain(void **state)
{
	struct audit_event e;
	const char *text;
	size_t n;

	(void)state;
	audit_event_begin(&e, "http");
	audit_str(&e, "id", "k3v9qd2m-f12");
	audit_str(&e, "path", "/\x01\xff\xc3\xa9\"\\\n");
	audit_u64(&e, "bytes_up", 123456);
	audit_bool(&e, "floor", true);
	audit_array_begin(&e, "list");
	audit_str(&e, NULL, "a");
	audit_array_end(&e);
	text = audit_event_end(&e, &n);
	assert_int_equal(compare(text, n), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_nul_in_the_text),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_built_events_are_plain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
