/* SPDX-License-Identifier: Apache-2.0 */
/* A record as a person reads it: the table, the summary, why. */
#include "audit/audit.h"

#include <glob.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define FROM_GATEWAY "gateway"

static char path[64];

static void add(struct audit_log *l, const char *from, const char *text)
{
	if (audit_log_append(l, from, text, strlen(text)) < 0)
		fail_msg("refused: %s", text);
}

/* One query for each way in which it can end without an answer. */
static const char *const queries[] = {
	"{\"kind\":\"dns\",\"name\":\"cdn.example\",\"qtype\":\"A\",\"verdict\":\"deny\","
	"\"result\":"
	"\"denied\",\"denial\":\"q-alias\",\"detail\":\"the name is an alias of one denied by rule "
	"4\"}",
	"{\"kind\":\"dns\",\"name\":\"db.example\",\"qtype\":\"A\",\"verdict\":\"deny\",\"result\":"
	"\"rebind\",\"denial\":\"q-rebind\",\"answers\":[\"10.0.0.7\"]}",
	"{\"kind\":\"dns\",\"name\":\"x.t.example\",\"qtype\":\"A\",\"verdict\":\"deny\","
	"\"result\":"
	"\"budget\",\"denial\":\"q-budget\",\"detail\":\"too many names\"}",
	"{\"kind\":\"dns\",\"qtype\":\"A\",\"verdict\":\"deny\",\"result\":\"refused\",\"denial\":"
	"\"q-nohost\",\"detail\":\"not a canonical host name\"}",
	"{\"kind\":\"dns\",\"name\":\"busy.example\",\"qtype\":\"A\",\"verdict\":\"deny\","
	"\"result\":"
	"\"refused\",\"denial\":\"q-busy\",\"detail\":\"too many queries under way\"}",
	"{\"kind\":\"dns\",\"name\":\"mail.example\",\"qtype\":\"MX\",\"verdict\":\"allow\","
	"\"rule\":"
	"\"1\",\"result\":\"empty\",\"detail\":\"this type is not resolved\"}",
	"{\"kind\":\"dns\",\"name\":\"caa.example\",\"qtype\":\"TYPE257\",\"verdict\":\"allow\","
	"\"rule\":"
	"\"1\",\"result\":\"empty\",\"detail\":\"this type is not resolved\"}",
	"{\"kind\":\"dns\",\"name\":\"v4.example\",\"qtype\":\"A\",\"verdict\":\"deny\",\"result\":"
	"\"denied\",\"rule\":\"default\",\"denial\":\"q-v4\"}",
	"{\"kind\":\"dns\",\"name\":\"v4.example\",\"qtype\":\"AAAA\",\"verdict\":\"allow\","
	"\"rule\":"
	"\"1\",\"result\":\"empty\"}",
	"{\"kind\":\"dns\",\"name\":\"late.example\",\"qtype\":\"A\",\"verdict\":\"fail\",\"rule\":"
	"\"1\",\"result\":\"failed\",\"detail\":\"upstream did not answer in time\"}",
};

static int setup(void **state)
{
	struct audit_log *l;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/weir-audit-view-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(audit_log_open(path, -1, "r-1", "demo", &l), 0);
	add(l, "weir",
	    "{\"kind\":\"run\",\"event\":\"begin\",\"name\":\"demo\",\"backend\":"
	    "\"netns\",\"command\":\"python3\",\"policy\":\"ab12\"}");
	add(l, FROM_GATEWAY,
	    "{\"kind\":\"dns\",\"name\":\"api.example.com\",\"qtype\":\"A\",\"transport\":\"udp\","
	    "\"verdict\":\"allow\",\"result\":\"answered\",\"rule\":\"gh-read\",\"answers\":"
	    "[\"93.184.216.34\"],\"given\":[\"198.18.0.1\"]}");
	add(l, FROM_GATEWAY,
	    "{\"kind\":\"flow\",\"id\":1,\"dir\":\"egress\",\"proto\":\"tcp\",\"guest\":"
	    "\"10.0.2.15:40000\",\"dst\":\"198.18.0.1\",\"port\":443,\"name\":\"api.example.com\","
	    "\"name_from\":\"virtual\",\"verdict\":\"allow\",\"rule\":\"gh-read\"}");
	add(l, "tlsproxy",
	    "{\"kind\":\"tls\",\"id\":1,\"sni\":\"api.example.com\",\"verdict\":\"allow\","
	    "\"rule\":\"gh-read\"}");
	add(l, "tlsproxy",
	    "{\"kind\":\"secret\",\"id\":1,\"secret\":\"API_KEY\",\"event\":\"used\",\"place\":"
	    "\"header\",\"host\":\"api.example.com\"}");
	add(l, "tlsproxy",
	    "{\"kind\":\"http\",\"id\":1,\"method\":\"GET\",\"host\":\"api.example.com\",\"path\":"
	    "\"/v1/x?q=1\",\"status\":200,\"outcome\":\"forwarded\",\"rule\":\"gh-read\","
	    "\"bytes_up\":0,\"bytes_down\":33000}");
	add(l, "tlsproxy",
	    "{\"kind\":\"http\",\"id\":1,\"method\":\"POST\",\"host\":\"api.example.com\",\"path\":"
	    "\"/v1/y?z=2\",\"status\":403,\"outcome\":\"denied\",\"rule\":\"3\",\"reason\":"
	    "\"writes go through review\",\"denial\":\"d-http\"}");
	add(l, "tlsproxy",
	    "{\"kind\":\"secret\",\"id\":1,\"secret\":\"API_KEY\",\"event\":\"violation\","
	    "\"place\":\"body\",\"encoding\":\"base64\",\"host\":\"evil.example\",\"action\":"
	    "\"block_and_log\",\"detail\":\"host not allowed\",\"denial\":\"d-leak\"}");
	add(l, FROM_GATEWAY,
	    "{\"kind\":\"flow\",\"id\":2,\"dir\":\"egress\",\"proto\":\"tcp\",\"dst\":"
	    "\"169.254.169.254\",\"port\":80,\"verdict\":\"deny\",\"rule\":\"default\","
	    "\"denial\":\"d-meta\"}");
	add(l, FROM_GATEWAY,
	    "{\"kind\":\"dns\",\"name\":\"evil.example\",\"qtype\":\"TXT\",\"transport\":\"udp\","
	    "\"verdict\":\"deny\",\"result\":\"denied\",\"rule\":\"no-evil\",\"denial\":\"d-"
	    "dns\"}");
	add(l, FROM_GATEWAY,
	    "{\"kind\":\"flow\",\"id\":3,\"dir\":\"egress\",\"proto\":\"udp\",\"dst\":"
	    "\"2001:db8::5\",\"port\":443,\"name\":\"\\u001b[2Jx\\u202e\",\"verdict\":\"deny\","
	    "\"rule\":\"2\",\"denial\":\"d-v6\"}");
	for (size_t i = 0; i < ARRAY_SIZE(queries); i++)
		add(l, FROM_GATEWAY, queries[i]);
	add(l, FROM_GATEWAY,
	    "{\"kind\":\"flow\",\"id\":4,\"dir\":\"egress\",\"proto\":\"udp\",\"dst\":"
	    "\"192.0.2.9\",\"port\":53,\"verdict\":\"allow\",\"observed\":\"deny\",\"rule\":"
	    "\"low\",\"floor\":true,\"generation\":1,\"denial\":\"d-seen\"}");
	add(l, "weir",
	    "{\"kind\":\"policy\",\"event\":\"set\",\"generation\":2,\"policy\":\"sha256:ab\","
	    "\"rules\":3,\"uid\":1000}");
	add(l, FROM_GATEWAY,
	    "{\"kind\":\"flow_end\",\"id\":1,\"end\":\"fin\",\"bytes_up\":1234,\"bytes_down\":"
	    "34567,\"packets_up\":10,\"packets_down\":30,\"ms\":1520}");
	add(l, "weir", "{\"kind\":\"run\",\"event\":\"end\",\"status\":0}");
	audit_log_close(l);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static char *show(const struct audit_view *v, int want)
{
	char err[256] = "", *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	int r = audit_print(path, v, f, err, sizeof(err));

	fclose(f);
	if (r != want)
		fail_msg("%d instead of %d: %s", r, want, err);
	return text;
}

static char *why(const char *id, bool json, int want)
{
	struct audit_view v = { .json = json };
	char err[256] = "", *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	int r = audit_why(path, id, &v, f, err, sizeof(err));

	fclose(f);
	if (r != want)
		fail_msg("%d instead of %d: %s", r, want, err);
	return text;
}

static void has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no \"%s\" in:\n%s", part, text);
}

static void has_not(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("\"%s\" in:\n%s", part, text);
}

static void test_table(void **state)
{
	struct audit_view v = { .width = 100 };
	char *t = show(&v, 0);

	(void)state;
	if (getenv("SHOW"))
		puts(t);
	has(t, "tcp api.example.com:443  ");
	has(t, "1.2k  34.6k   1.520s");
	has(t, "POST api.example.com/v1/y?z=2 403");
	has(t, "writes go through review [d-http]");
	has(t, "\\x1b[2Jx");
	has_not(t, "\033");
	has_not(t, "\xe2\x80\xae");
	has(t, "API_KEY used 1 time, seen 1 time where it may not be");
	has(t, "decisions  8 allowed, 10 denied, 1 failed");
	has(t, "observed   1 of the allowed would have been denied");
	has(t, "would flow   udp 192.0.2.9:53");
	has(t, "floor:low");
	has(t, "set generation 2, rules 3, by uid 1000");
	has(t, "traffic    1.2k up, 34.6k down");
	has(t, "record intact: 25 events");
	has_not(t, "without an end");
	for (const char *p = t; *p;) {
		size_t n = strcspn(p, "\n");

		if (n > 100)
			fail_msg("%zu columns: %.*s", n, (int)n, p);
		p += n + (p[n] == '\n');
	}
	free(t);
}

static void test_filters(void **state)
{
	struct audit_view denied = { .only_denied = true }, kind = { .kind = "dns" };
	struct audit_view json = { .json = true, .kind = "secret" }, color = { .color = true };
	char *t = show(&denied, 0);

	(void)state;
	has(t, "d-meta");
	has(t, "leak");
	has_not(t, "GET api");
	free(t);
	t = show(&kind, 0);
	has(t, "api.example.com A = 198.18.0.1");
	has_not(t, "POST api.example.com/v1/y?z=2 403   ");
	free(t);
	t = show(&json, 0);
	assert_int_equal(strncmp(t, "{\"_schema\"", 10), 0);
	has(t, "\"event\":\"used\"");
	has_not(t, "\"kind\":\"dns\"");
	free(t);
	t = show(&color, 0);
	has(t, "\033[1;31mdeny");
	free(t);
}

/* On a terminal of 80 columns no line is cut in two by it. */
static void test_width(void **state)
{
	struct audit_view v = { .width = 80 };
	char *texts[] = { show(&v, 0), NULL }, err[256] = "";
	size_t n;
	FILE *f = open_memstream(&texts[1], &n);

	(void)state;
	assert_int_equal(audit_why(path, "d-leak", &v, f, err, sizeof(err)), 0);
	fclose(f);
	for (size_t i = 0; i < 2; i++) {
		for (const char *p = texts[i]; *p;) {
			size_t len = strcspn(p, "\n");

			if (len > 80)
				fail_msg("%zu columns: %.*s", len, (int)len, p);
			p += len + (p[len] == '\n');
		}
		free(texts[i]);
	}
}

/* An emptied file is not an intact record. */
static void test_empty(void **state)
{
	char name[] = "/tmp/weir-empty-XXXXXX", err[256] = "", *text = NULL;
	struct audit_view v = { .width = 80 };
	int fd = mkstemp(name);
	size_t n;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(audit_print(name, &v, f, err, sizeof(err)), -EBADMSG);
	fclose(f);
	unlink(name);
	has(err, "no event is on record");
	has_not(text, "intact");
	free(text);
}

/* Secrets that change while it runs: said as what happened. */
static void test_secret_changes(void **state)
{
	static const struct {
		const char *fields, *said;
	} changes[] = {
		{ "\"event\":\"rotated\"", "KEY has another value" },
		{ "\"event\":\"removed\"", "KEY removed" },
		{ "\"event\":\"expired\"", "KEY has no value any more" },
		{ "\"event\":\"token\",\"host\":\"auth.example\"",
		  "KEY bought a token for auth.example" },
		{ "\"event\":\"refresh_failed\"", "KEY keeps its value: the source failed" },
	};
	char name[] = "/tmp/weir-changes-XXXXXX", err[256] = "", *text = NULL;
	struct audit_view v = { .kind = "secret" };
	struct audit_log *l;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	int fd = mkstemp(name);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(audit_log_open(name, -1, "r-2", "demo", &l), 0);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		char line[160];

		snprintf(line, sizeof(line), "{\"kind\":\"secret\",\"secret\":\"KEY\",%s}",
			 changes[i].fields);
		add(l, "weir", line);
	}
	add(l, "weir", "{\"kind\":\"run\",\"event\":\"end\",\"status\":0}");
	audit_log_close(l);
	assert_int_equal(audit_print(name, &v, f, err, sizeof(err)), 0);
	fclose(f);
	unlink(name);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
		has(text, changes[i].said);
	has_not(text, "seen in");
	free(text);
}

static void test_why(void **state)
{
	static const struct {
		const char *id, *part;
	} cases[] = {
		{ "d-meta", "{\"action\":\"allow\",\"destination\":\"169.254.169.254\","
			    "\"protocols\":[\"tcp\"],\"ports\":[\"80\"]}" },
		{ "d-meta", "--net-rule allow@169.254.169.254:tcp:80\n" },
		{ "d-meta", "No rule matched, and the default refused it. To allow it" },
		{ "d-http", "put this rule in front of rule 3" },
		{ "d-http", "\"http\":{\"methods\":[\"POST\"],\"paths\":[\"/v1/y\"]}}" },
		{ "d-http", "for every request to it" },
		{ "d-http", "all events of this flow" },
		{ "d-http", "writes go through review" },
		{ "d-dns", "put this rule in front of rule no-evil" },
		{ "d-dns", "\"destination\":\"evil.example\",\"protocols\":[\"tcp\"],\"ports\":"
			   "[\"443\"],\"qtypes\":[\"TXT\"]}" },
		{ "q-alias", "goes by way of another name (an alias)" },
		{ "q-alias", "an alias of one denied by rule 4" },
		{ "q-alias", "allow@cdn.example:tcp:443" },
		{ "q-rebind", "The name's address is not public" },
		{ "q-rebind", "allow@10.0.0.7:tcp:443" },
		{ "q-budget", "A name that is spelled out needs no budget" },
		{ "q-budget", "allow@x.t.example:tcp:443" },
		{ "q-budget", "too many names" },
		{ "q-nohost", "what was asked for is no host name" },
		{ "q-busy", "No rule would change this: too many queries under way" },
		{ "mail.example", "these \"qtypes\"" },
		{ "mail.example", "\"qtypes\":[\"MX\"]" },
		{ "caa.example", "this type is never asked for" },
		{ "v4.example", "No rule matched, and the default refused it" },
		{ "V4.Example.", "allow@v4.example:tcp:443" },
		{ "late.example", "failed on the way" },
		{ "d-seen", "The operator's floor refused it" },
		{ "api.example.com", "Nothing was refused" },
		{ "d-v6", "allow@[2001:db8::5]:udp:443" },
		{ "d-leak", "which is never filled in" },
		{ "1", "Nothing was refused." },
		{ "1", "1.520s" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *t = why(cases[i].id, false, 0);

		if (getenv("SHOW"))
			puts(t);
		has(t, cases[i].part);
		free(t);
	}
	free(why("d-nope", false, -ENOENT));
	free(why("99", false, -ENOENT));
}

static void test_why_json(void **state)
{
	char *t = why("d-http", true, 0);

	(void)state;
	has(t, "\"id\":\"d-http\",\"verdict\":\"deny\"");
	has(t, "\"advice\":{\"text\":");
	has(t, "\"net_rule\":\"allow@api.example.com:tcp:443\"");
	free(t);
}

/* What the fuzzer starts from, as an ordinary test: any file is read, and printed as ASCII. */
static void test_corpus(void **state)
{
	struct audit_view v = { .width = 80 };
	char err[256], *text = NULL;
	glob_t g;
	size_t n;

	(void)state;
	if (glob("fuzz/corpus/audit_record/*", 0, NULL, &g) != 0) {
		print_message("SKIPPED: not run in the source directory\n");
		skip();
	}
	for (size_t i = 0; i < g.gl_pathc; i++) {
		FILE *f = open_memstream(&text, &n);
		int r = audit_print(g.gl_pathv[i], &v, f, err, sizeof(err));

		if (r != 0 && r != -EBADMSG && r != -EINVAL)
			fail_msg("%s: %d", g.gl_pathv[i], r);
		r = audit_why(g.gl_pathv[i], "d", &v, f, err, sizeof(err));
		if (r != 0 && r != -EBADMSG && r != -EINVAL && r != -ENOENT)
			fail_msg("%s: %d", g.gl_pathv[i], r);
		fclose(f);
		for (size_t k = 0; k < n; k++)
			if (text[k] != '\n' && (text[k] < 0x20 || text[k] > 0x7e))
				fail_msg("%s: byte 0x%02x is printed", g.gl_pathv[i], text[k] & 0xff);
		free(text);
	}
	globfree(&g);
}

/* The published schema says what the lines are. */
static void test_schema(void **state)
{
	char cmd[256];
	int status;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	snprintf(cmd, sizeof(cmd),
		 "exec /usr/bin/python3 tests/unit/audit/check_schema.py audit/schema.json %s", path);
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127)) {
		print_message("SKIPPED: python3 with jsonschema is not installed; lines are not "
			      "checked against audit/schema.json\n");
		skip();
	}
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_why),
		cmocka_unit_test(test_why_json),
		cmocka_unit_test(test_schema),
		cmocka_unit_test(test_corpus),
		cmocka_unit_test(test_width),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_secret_changes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
