/* SPDX-License-Identifier: Apache-2.0 */
/* weir policy replay and suggest on records: what a run did, judged again, and as a policy. */
#include "audit/audit.h"
#include "tests/unit/weir/cmd_run.h"

/* FILE: the policy; FILE2: the record. */

static struct audit_log *rec;

static void record_begin(void)
{
	unlink(file2);
	assert_int_equal(audit_log_open(file2, -1, "r-1", "demo", &rec), 0);
	assert_int_equal(audit_log_append(rec, "weir", "{\"kind\":\"run\",\"event\":\"begin\"}", 30),
			 0);
}

static void event(const char *text)
{
	if (audit_log_append(rec, "gateway", text, strlen(text)) < 0)
		fail_msg("no event: %s", text);
}

static void record_end(void)
{
	assert_int_equal(audit_log_append(rec, "weir", "{\"kind\":\"run\",\"event\":\"end\"}", 28),
			 0);
	assert_int_equal(audit_log_flush(rec), 0);
	audit_log_close(rec);
}

static void policy_is(const char *rules)
{
	char text[4096];
	int n = snprintf(
		text, sizeof(text),
		"{\"default_egress\":\"deny\",\"default_ingress\":\"deny\",\"rules\":[%s]}", rules);

	assert_int_equal(put_file(file, text, (size_t)n), 0);
}

static void says(const char *part)
{
	if (!strstr(out, part))
		fail_msg("no \"%s\" in:\n%s%s", part, out, err_out);
}

static void replays(int want)
{
	int status = run("policy replay FILE FILE2");

	if (status != want)
		fail_msg("%d instead of %d\n%s%s", status, want, out, err_out);
}

/* The suggestion becomes the policy; standard error stays in err_out. */
static void suggest(const char *args)
{
	char line[100];

	snprintf(line, sizeof(line), "policy suggest FILE2%s", args);
	if (run(line) != 0)
		fail_msg("%s", err_out);
	assert_int_equal(put_file(file, out, strlen(out)), 0);
}

#define QUERY(name, addr, given)                                                                   \
	"{\"kind\":\"dns\",\"name\":\"" name                                                       \
	"\",\"qtype\":\"A\",\"verdict\":\"allow\",\"result\":"                                     \
	"\"answered\",\"rule\":\"0\",\"answers\":[\"" addr "\"]" given "}"
#define GIVEN(addr) ",\"given\":[\"" addr "\"]"
#define FLOW(id, proto, dst, port, more)                                                           \
	"{\"kind\":\"flow\",\"id\":\"" id "\",\"dir\":\"egress\",\"proto\":\"" proto               \
	"\",\"dst\":\"" dst "\",\"port\":" port "," more "}"
#define VIRTUAL(name, up) "\"name\":\"" name "\",\"name_from\":\"virtual\",\"upstream\":\"" up "\","
#define ALLOW "\"verdict\":\"allow\",\"rule\":\"0\""
#define DENY "\"verdict\":\"deny\",\"rule\":\"default\",\"denial\":\"d\""
#define HTTP(id, method, host, path, more)                                                         \
	"{\"kind\":\"http\",\"id\":\"" id "\",\"method\":\"" method "\",\"host\":\"" host          \
	"\",\"path\":\"" path "\",\"tls\":false,\"status\":200," more "}"
#define FORWARDED "\"outcome\":\"forwarded\",\"verdict\":\"allow\",\"rule\":\"0\""

static void some_run(void)
{
	record_begin();
	event(QUERY("api.example.com", "93.184.216.34", GIVEN("198.18.0.1")));
	event(FLOW("f1", "tcp", "198.18.0.1", "443",
		   VIRTUAL("api.example.com", "93.184.216.34:443") ALLOW));
	event(FLOW("f2", "udp", "198.18.0.1", "123",
		   VIRTUAL("api.example.com", "93.184.216.34:123") ALLOW));
	event(FLOW("f3", "tcp", "198.18.0.1", "80",
		   VIRTUAL("api.example.com", "93.184.216.34:80") "\"intercepted\":true," ALLOW));
	event(HTTP("f3", "GET", "api.example.com", "/v1/me?x=1", FORWARDED));
	event(HTTP("f3", "POST", "api.example.com", "/v1/me", FORWARDED));
	event(FLOW("f4", "tcp", "9.9.9.9", "853",
		   "\"verdict\":\"deny\",\"detail\":\"refused anyway\""));
	event(FLOW("f5", "tcp", "10.0.0.1", "22", DENY));
	event(FLOW("f6", "tcp", "198.18.0.1", "81",
		   VIRTUAL("api.example.com", "93.184.216.34:81") "\"verdict\":\"fail\",\"rule\":"
								  "\"0\",\"detail\":\"refused\""));
	record_end();
}

static void test_same_verdicts(void **state)
{
	(void)state;
	some_run();
	policy_is("{\"action\":\"allow\",\"destination\":\".example.com\"}");
	replays(0);
	says("judged      7 decisions again: 7 as before");
	says("flow: failed on the way, whatever the policy (1)");
	says("flow: refused by no rule: refused anyway (1)");
	says("of 1 run, intact");
	assert_int_equal(run("policy replay FILE FILE2 --all"), 0);
	says("allowed as before, by rule 0 (was by rule 0)");
}

static void test_other_verdicts(void **state)
{
	json_t *o;

	(void)state;
	some_run();
	policy_is(
		"{\"action\":\"allow\",\"destination\":\"api.example.com\",\"http\":{\"methods\":"
		"[\"GET\"]}},{\"id\":\"ssh\",\"action\":\"allow\",\"destination\":\"10.0.0.0/8\"}");
	replays(1);
	says("deny         1 request    POST api.example.com:80/v1/me  was allowed by rule 0, now "
	     "denied by "
	     "default");
	says("allow        1 flow       tcp 10.0.0.1:22  was denied by default, now allowed by "
	     "rule 1 (ssh)");
	says("depends      1 flow       tcp api.example.com:443  was allowed by rule 0, now "
	     "depending on "
	     "requests that were not read");
	/* A datagram tells no request. */
	says("deny         1 flow       udp api.example.com:123");
	assert_int_equal(run("policy replay FILE FILE2 --json"), 1);
	o = json_loads(out, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(o, "now_denied")), 2);
	assert_int_equal(json_integer_value(json_object_get(o, "now_allowed")), 1);
	assert_int_equal(json_integer_value(json_object_get(o, "depends")), 1);
	assert_true(json_is_true(json_object_get(json_object_get(o, "record"), "intact")));
	json_decref(o);
	assert_int_equal(run("policy replay allow_all FILE2 --floor none"), 1);
	says("by the floor's default");
}

static void test_addresses_count(void **state)
{
	(void)state;
	some_run();
	/* Behind the name stands an address that another rule denies. */
	policy_is("{\"action\":\"deny\",\"destination\":\"93.184.216.0/24\"},"
		  "{\"action\":\"allow\",\"destination\":\".example.com\"}");
	replays(1);
	says("tcp api.example.com:443  was allowed by rule 0, now denied by rule 0");
}

static void test_real_names(void **state)
{
	(void)state;
	policy_is("{\"action\":\"allow\",\"destination\":\"api.example.com\"}");
	record_begin();
	event(QUERY("api.example.com", "93.184.216.34", ""));
	event(FLOW("1", "tcp", "93.184.216.34", "443",
		   "\"name\":\"api.example.com\",\"name_from\":\"sni\"," ALLOW));
	event(FLOW("2", "udp", "93.184.216.34", "443",
		   "\"name\":\"api.example.com\",\"name_from\":\"answer\"," ALLOW));
	record_end();
	replays(0);
	record_begin();
	/* The same claim, for an address that was never given out for it. */
	event(FLOW("1", "tcp", "93.184.216.35", "443",
		   "\"name\":\"api.example.com\",\"name_from\":\"sni\"," ALLOW));
	record_end();
	replays(1);
	says("tcp 93.184.216.35:443 that shows api.example.com  was allowed by rule 0, now denied");
	record_begin();
	event(QUERY("api.example.com", "93.184.216.34", ""));
	event(FLOW("1", "tcp", "93.184.216.34", "443",
		   "\"name\":\"api.example.com\",\"name_from\":\"answer\"," ALLOW));
	record_end();
	replays(1);
	says("now depending on a name that was not read");
}

static void test_counted_refusals(void **state)
{
	(void)state;
	record_begin();
	event("{\"kind\":\"flow\",\"dir\":\"egress\",\"proto\":\"tcp\",\"dst\":\"10.0.0.1\","
	      "\"ports\":"
	      "\"1000-1999\",\"count\":500," DENY "}");
	event("{\"kind\":\"flow\",\"dir\":\"egress\",\"proto\":\"tcp\",\"count\":70,\"verdict\":"
	      "\"deny\","
	      "\"detail\":\"various destinations\"}");
	record_end();
	policy_is("");
	replays(0);
	says("judged      500 decisions again: 500 as before");
	says("various destinations (70)");
	policy_is("{\"action\":\"allow\",\"destination\":\"10.0.0.0/8\"}");
	replays(1);
	says("allow      500 flows      tcp 10.0.0.1:1000-1999");
	policy_is("{\"action\":\"allow\",\"destination\":\"10.0.0.0/8\",\"ports\":[1500]}");
	replays(1);
	says("now depending on which of the ports it was");
}

static void test_queries(void **state)
{
	(void)state;
	record_begin();
	event(QUERY("db.example.com", "10.0.0.7", GIVEN("198.18.0.1")));
	event("{\"kind\":\"dns\",\"name\":\"in.example.com\",\"qtype\":\"A\",\"verdict\":\"deny\","
	      "\"result\":\"rebind\",\"denial\":\"d\",\"answers\":[\"10.9.9.9\"]}");
	event("{\"kind\":\"dns\",\"name\":\"x.other.example\",\"qtype\":\"A\",\"verdict\":\"deny\","
	      "\"result\":\"denied\",\"rule\":\"default\",\"denial\":\"d\"}");
	event("{\"kind\":\"dns\",\"name\":\"a.example.com\",\"qtype\":\"A\",\"verdict\":\"deny\","
	      "\"result\":\"budget\",\"denial\":\"d\",\"detail\":\"too many names\"}");
	event("{\"kind\":\"dns\",\"name\":\"1.0.18.198.in-addr.arpa\",\"qtype\":\"PTR\","
	      "\"verdict\":"
	      "\"allow\",\"rule\":\"0\",\"result\":\"answered\",\"detail\":\"virtual address\"}");
	record_end();
	policy_is("{\"action\":\"allow\",\"destination\":\".example.com\"}");
	replays(1);
	says("db.example.com  was allowed by rule 0, now denied by the filter of internal answers");
	says("judged      3 decisions again: 2 as before");
	says("refused by no rule: too many names (1)");
	policy_is("{\"action\":\"allow\",\"destination\":\".example.com\"},"
		  "{\"action\":\"allow\",\"destination\":\"10.0.0.0/8\"}");
	replays(1);
	says("in.example.com  was denied by the filter of internal answers, now allowed");
}

static void test_broken_record(void **state)
{
	static char text[20000];
	char *at;
	ssize_t n;
	int fd;

	(void)state;
	some_run();
	policy_is("{\"action\":\"allow\",\"destination\":\".example.com\"}");
	fd = open(file2, O_RDWR | O_CLOEXEC);
	n = read(fd, text, sizeof(text) - 1);
	at = memmem(text, (size_t)n, "10.0.0.1", 8);
	assert_int_equal(pwrite(fd, "8.8.8.88", 8, at - text), 8);
	close(fd);
	assert_int_equal(run("policy replay FILE FILE2"), 2);
	says("BROKEN");
	assert_non_null(strstr(err_out, "was changed"));
	assert_int_equal(run("policy suggest FILE2"), 2);
	assert_string_equal(out, "");
	assert_non_null(strstr(err_out, "the record is broken"));
	assert_int_equal(put_file(file2, "no record\n", 10), 0);
	assert_int_equal(run("policy replay FILE FILE2"), 2);
	assert_int_equal(run("policy suggest FILE2"), 2);
	assert_int_equal(run("policy replay FILE /nonexistent"), 2);
	assert_int_equal(run("policy replay FILE FILE2 --guest 10.0.0.1"), 2);
	assert_int_equal(run("policy suggest"), 2);
	assert_int_equal(run("policy suggest FILE2 --observed --from-denied"), 2);
}

/* ---- suggest ------------------------------------------------------------------------------ */

static void test_suggests_what_was_used(void **state)
{
	static const char cases[] = "allow api.example.com:443\n"
				    "allow api.example.com:123/udp\n"
				    "allow api.example.com:80 GET /v1/me\n"
				    "allow api.example.com:80 POST /v1/me\n"
				    "deny api.example.com:80 GET /v1/you\n"
				    "deny api.example.com:80 PUT /v1/me\n"
				    "deny api.example.com:81\n"
				    "deny api.example.com:123\n"
				    "deny api.example.com:443/udp\n"
				    "deny api.example.com/icmp\n"
				    "deny b.api.example.com:443\n"
				    "deny example.com:443\n"
				    "deny 93.184.216.34:443\n"
				    "deny 10.0.0.1:22\n"
				    "deny ingress 203.0.113.9:80\n"
				    "allow dns api.example.com\n"
				    "deny dns example.com\n";

	(void)state;
	some_run();
	suggest("");
	assert_non_null(strstr(err_out, "--tls-intercept"));
	says("seen: 3 flows, 2 requests, 1 query");
	assert_int_equal(run("policy check FILE"), 0);
	replays(0);
	assert_int_equal(put_file(file2, cases, sizeof(cases) - 1), 0);
	if (run("policy test FILE FILE2") != 0)
		fail_msg("%s%s", out, err_out);
}

static void test_suggests_from_denied_and_observed(void **state)
{
	(void)state;
	record_begin();
	event(FLOW("1", "tcp", "10.0.0.1", "22", DENY));
	event(FLOW("2", "tcp", "10.0.0.2", "22", ALLOW ",\"observed\":\"deny\""));
	event(FLOW("3", "tcp", "10.0.0.3", "22", ALLOW));
	event("{\"kind\":\"dns\",\"name\":\"x.example\",\"qtype\":\"A\",\"verdict\":\"deny\","
	      "\"result\":\"denied\",\"rule\":\"default\",\"denial\":\"d\"}");
	record_end();
	suggest(" --from-denied");
	assert_int_equal(run("policy explain FILE --to 10.0.0.1:22"), 0);
	assert_int_equal(run("policy explain FILE --to x.example --dns"), 0);
	assert_int_equal(run("policy explain FILE --to 10.0.0.2:22"), 1);
	suggest(" --observed");
	assert_int_equal(run("policy explain FILE --to 10.0.0.2:22"), 0);
	assert_int_equal(run("policy explain FILE --to 10.0.0.1:22"), 1);
	assert_int_equal(run("policy explain FILE --to 10.0.0.3:22"), 1);
	suggest("");
	assert_int_equal(run("policy explain FILE --to 10.0.0.2:22"), 0);
	assert_int_equal(run("policy explain FILE --to 10.0.0.3:22"), 0);
	assert_int_equal(run("policy explain FILE --to 10.0.0.1:22"), 1);
	replays(0);
}

/* A name that was only asked opens no connection; an internal answer opens nothing but itself. */
static void test_suggests_queries(void **state)
{
	(void)state;
	record_begin();
	event(QUERY("db.example.com", "10.0.0.7", GIVEN("198.18.0.1")));
	event(QUERY("www.example.com", "93.184.216.34", GIVEN("198.18.0.2")));
	record_end();
	suggest("");
	says("asked, never connected to");
	says("an internal answer for db.example.com");
	replays(0);
	assert_int_equal(run("policy explain FILE --to www.example.com --dns"), 0);
	assert_int_equal(run("policy explain FILE --to www.example.com:443"), 1);
	assert_int_equal(run("policy explain FILE --to 10.0.0.7:443"), 1);
}

static void test_generalises_only_at_bounds(void **state)
{
	char text[400];

	(void)state;
	record_begin();
	event(FLOW("1", "tcp", "198.18.0.1", "80",
		   VIRTUAL("api.example.com", "93.184.216.34:80") "\"intercepted\":true," ALLOW));
	for (unsigned i = 0; i < 80; i++) {
		snprintf(text, sizeof(text),
			 HTTP("1", "GET", "api.example.com", "/v1/item/%u", FORWARDED), i);
		event(text);
	}
	event(HTTP("1", "get", "api.example.com", "/lower", FORWARDED));
	event(HTTP("1", "PUT", "api.example.com", "/a*b", FORWARDED));
	for (unsigned i = 0; i < 1001; i++) {
		snprintf(text, sizeof(text), QUERY("n%u.many.example", "93.184.216.34", ""), i);
		event(text);
	}
	record_end();
	suggest("");
	says("\"/v1/item/**\"");
	says("\".many.example\"");
	assert_non_null(strstr(err_out, "more than 64 paths"));
	assert_non_null(strstr(err_out, "more than 1000 names"));
	assert_non_null(strstr(err_out, "cannot name the method get"));
	assert_non_null(strstr(err_out, "/a*b is written wider"));
	replays(0);
	assert_int_equal(
		run("policy explain FILE --to api.example.com:80 --method GET --path /v1/x"), 1);
}

static void test_empty_record(void **state)
{
	(void)state;
	record_begin();
	record_end();
	suggest("");
	assert_non_null(strstr(err_out, "allows nothing"));
	assert_int_equal(run("policy explain FILE --to 1.1.1.1:443"), 1);
	replays(0);
}

/* ---- any run ----------------------------------------------------------------------------------- */

static uint32_t seed = 1;

static unsigned pick(unsigned n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

/* One decision of some run; names and addresses agree with each other. */
static void random_event(unsigned id)
{
	static const char *const protos[] = { "tcp", "udp", "icmpv4" };
	static const unsigned ports[] = { 22, 80, 123, 443, 5432, 8080 };
	unsigned n = pick(12), proto = pick(3), port = proto == 2 ? 0 : ports[pick(6)];
	bool read = proto == 0 && pick(2);
	char text[800], where[200];

	if (pick(2))
		snprintf(where, sizeof(where),
			 "\"dst\":\"198.18.0.%u\",\"name\":\"h%u.d%u.example\",\"name_from\":"
			 "\"virtual\","
			 "\"upstream\":\"93.184.216.%u:%u\"",
			 n + 1, n, n % 3, n + 1, port ? port : 7);
	else
		snprintf(where, sizeof(where), "\"dst\":\"10.0.%u.%u\"", pick(3), n);
	snprintf(text, sizeof(text),
		 "{\"kind\":\"flow\",\"id\":%u,\"dir\":\"%s\",\"proto\":\"%s\",%s,\"port\":%u,"
		 "\"intercepted\":%s,%s}",
		 id, !strstr(where, "name") && proto < 2 && pick(4) == 0 ? "ingress" : "egress",
		 protos[proto], where, port, read ? "true" : "false", pick(5) ? ALLOW : DENY);
	event(text);
	for (unsigned i = pick(4); read && i; i--) {
		snprintf(text, sizeof(text),
			 "{\"kind\":\"http\",\"id\":%u,\"method\":\"%s\",\"host\":\"h%u.d%u."
			 "example\","
			 "\"path\":\"/p%u/q%u\",%s}",
			 id, pick(2) ? "GET" : "POST", n, n % 3, pick(5), pick(5), FORWARDED);
		event(text);
	}
	if (pick(3) == 0) {
		snprintf(text, sizeof(text),
			 QUERY("h%u.d%u.example", "93.184.216.9", GIVEN("198.18.0.1")), pick(12),
			 pick(3));
		event(text);
	}
}

/* Whatever a run did: all it was allowed passes, and others do not. */
static void test_any_run(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		unsigned n = 1 + pick(60);

		seed = round * 7919 + 1;
		record_begin();
		for (unsigned i = 0; i < n; i++)
			random_event(i);
		record_end();
		suggest("");
		if (run("policy replay FILE FILE2") == 2)
			fail_msg("round %u: %s", round, err_out);
		/* What was refused may have been allowed at another time; what was allowed still is. */
		if (strstr(out, "was allowed"))
			fail_msg("round %u: what was used is not allowed:\n%s", round, out);
		assert_int_equal(run("policy explain FILE --to 172.16.0.1:443"), 1);
		assert_int_equal(run("policy explain FILE --to h0.d0.example:4444"), 1);
		assert_int_equal(run("policy explain FILE --to x.h0.d0.example:443"), 1);
		assert_int_equal(run("policy explain FILE --to x.h0.d0.example --dns"), 1);
		assert_int_equal(run("policy explain FILE --to 93.184.216.34:443"), 1);
	}
}

static int make_files(void **state)
{
	(void)state;
	return put_file(file, "", 0) || put_file(file2, "", 0);
}

static int remove_files(void **state)
{
	(void)state;
	return unlink(file) || unlink(file2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_verdicts),
		cmocka_unit_test(test_other_verdicts),
		cmocka_unit_test(test_addresses_count),
		cmocka_unit_test(test_real_names),
		cmocka_unit_test(test_counted_refusals),
		cmocka_unit_test(test_queries),
		cmocka_unit_test(test_broken_record),
		cmocka_unit_test(test_suggests_what_was_used),
		cmocka_unit_test(test_suggests_from_denied_and_observed),
		cmocka_unit_test(test_suggests_queries),
		cmocka_unit_test(test_generalises_only_at_bounds),
		cmocka_unit_test(test_empty_record),
		cmocka_unit_test(test_any_run),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
