/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions and bytes per rule: the log and a reader of its file count alike. */
#include "audit/audit_internal.h"

#include <setjmp.h>
#include <cmocka.h>
#include <unistd.h>

static char path[64];

static int setup(void **state)
{
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/weir-audit-rules-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static void add(struct audit_log *l, const char *from, const char *text)
{
	if (audit_log_append(l, from, text, strlen(text)) < 0)
		fail_msg("refused: %s", text);
}

static const json_t *rule(const json_t *counts, uint64_t generation, bool floor, const char *name)
{
	const json_t *list = json_object_get(counts, "rules");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *r = json_array_get(list, i);

		if (str_eq(audit_get(r, "rule"), name) &&
		    audit_get_u64(r, "generation") == generation &&
		    json_is_true(json_object_get(r, "floor")) == floor)
			return r;
	}
	return NULL;
}

static uint64_t count(const json_t *r, const char *class, const char *kind)
{
	return audit_get_u64(json_object_get(r, class), kind);
}

static const char *const first[] = {
	"{\"kind\":\"flow\",\"id\":\"r-f1\",\"verdict\":\"allow\",\"rule\":\"a\",\"generation\":1}",
	"{\"kind\":\"flow\",\"verdict\":\"deny\",\"rule\":\"default\",\"generation\":1,\"count\":"
	"41}",
	"{\"kind\":\"flow\",\"verdict\":\"deny\",\"rule\":\"default\",\"generation\":1}",
	"{\"kind\":\"flow\",\"verdict\":\"deny\",\"rule\":\"default\",\"floor\":true,"
	"\"generation\":1}",
	"{\"kind\":\"flow\",\"verdict\":\"deny\",\"detail\":\"no rule\",\"generation\":1}",
	"{\"kind\":\"dns\",\"name\":\"a.test\",\"verdict\":\"allow\",\"observed\":\"deny\","
	"\"result\":\"answered\",\"rule\":\"b\",\"generation\":1}",
	"{\"kind\":\"http\",\"id\":\"r-f1\",\"verdict\":\"fail\",\"outcome\":\"upstream_failed\","
	"\"rule\":\"a\",\"generation\":1}",
	"{\"kind\":\"flow_end\",\"id\":\"r-f1\",\"end\":\"closed\",\"bytes_up\":3,\"bytes_down\":"
	"4}",
	"{\"kind\":\"flow\",\"id\":\"r-f2\",\"verdict\":\"allow\",\"rule\":\"a\",\"generation\":1}",
};
static const char set[] = "{\"kind\":\"policy\",\"event\":\"set\",\"generation\":2,\"rules\":1}";
static const char *const second[] = {
	/* Decided before the sender had heard of the new policy. */
	"{\"kind\":\"flow\",\"id\":\"r-f3\",\"verdict\":\"allow\",\"rule\":\"a\",\"generation\":1}",
	"{\"kind\":\"flow_end\",\"id\":\"r-f2\",\"end\":\"policy\",\"bytes_up\":100,\"bytes_down\":"
	"200}",
	"{\"kind\":\"flow\",\"id\":\"r-f4\",\"verdict\":\"allow\",\"rule\":\"a\",\"generation\":2}",
	"{\"kind\":\"flow_end\",\"id\":\"r-f4\",\"end\":\"closed\",\"bytes_up\":10,\"bytes_down\":"
	"20}",
};

static void check_first(const json_t *counts)
{
	const json_t *a = rule(counts, 1, false, "a"), *d = rule(counts, 1, false, "default");

	assert_non_null(a);
	assert_non_null(d);
	assert_int_equal(count(a, "requests", "allow"), 1);
	assert_int_equal(count(d, "flows", "deny"), 42);
	assert_int_equal(count(d, "flows", "allow"), 0);
	assert_int_equal(count(rule(counts, 1, true, "default"), "flows", "deny"), 1);
	assert_int_equal(count(rule(counts, 1, false, "b"), "queries", "observed"), 1);
	assert_int_equal(count(rule(counts, 1, false, "b"), "queries", "allow"), 0);
}

static void test_log_and_file_agree(void **state)
{
	struct audit_view json = { .json = true };
	struct audit_log *l;
	char err[200], *text = NULL;
	json_t *counts;
	size_t n;
	FILE *f;

	(void)state;
	assert_int_equal(audit_log_open(path, -1, "r", NULL, &l), 0);
	for (size_t i = 0; i < ARRAY_SIZE(first); i++)
		add(l, "gateway", first[i]);
	counts = audit_log_rules(l);
	check_first(counts);
	assert_int_equal(audit_get_u64(rule(counts, 1, false, "a"), "bytes_down"), 4);
	json_decref(counts);
	/* Only our own process may say that another policy is in force. */
	add(l, "gateway", set);
	counts = audit_log_rules(l);
	assert_int_equal(json_array_size(json_object_get(counts, "rules")), 4);
	json_decref(counts);
	add(l, "weir", set);
	for (size_t i = 0; i < ARRAY_SIZE(second); i++)
		add(l, "gateway", second[i]);
	counts = audit_log_rules(l);
	assert_int_equal(json_array_size(json_object_get(counts, "rules")), 1);
	assert_int_equal(count(rule(counts, 2, false, "a"), "flows", "allow"), 1);
	assert_int_equal(audit_get_u64(rule(counts, 2, false, "a"), "bytes_up"), 10);
	json_decref(counts);
	audit_log_close(l);

	f = open_memstream(&text, &n);
	assert_int_equal(audit_rules_print(path, &json, f, err, sizeof(err)), 0);
	fclose(f);
	counts = json_loads(text, 0, NULL);
	free(text);
	check_first(counts);
	/* The whole record: what came late and ended late is its generation's. */
	assert_int_equal(count(rule(counts, 1, false, "a"), "flows", "allow"), 3);
	assert_int_equal(audit_get_u64(rule(counts, 1, false, "a"), "bytes_down"), 204);
	assert_int_equal(audit_get_u64(rule(counts, 2, false, "a"), "bytes_up"), 10);
	json_decref(counts);
}

/* A process that was taken over names endless rules: they are bounded, and counted as others. */
static void test_endless_rules(void **state)
{
	struct audit_rules *s;
	struct audit_facts f;
	json_t *e = json_pack("{s:s, s:s, s:i}", "kind", "flow", "verdict", "deny", "generation", 1);
	json_t *counts;
	char name[32];

	(void)state;
	assert_int_equal(audit_rules_new(0, &s), 0);
	for (unsigned i = 0; i < AUDIT_RULES_MAX + 10; i++) {
		snprintf(name, sizeof(name), "%u", i);
		json_object_set_new(e, "rule", json_string(name));
		audit_facts_of(e, &f);
		audit_rules_add(s, &f);
	}
	counts = audit_rules_json(s);
	assert_int_equal(json_array_size(json_object_get(counts, "rules")), AUDIT_RULES_MAX);
	assert_int_equal(audit_get_u64(counts, "others"), 10);
	json_decref(counts);
	json_decref(e);
	audit_rules_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_log_and_file_agree, setup, teardown),
		cmocka_unit_test(test_endless_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
