/* SPDX-License-Identifier: Apache-2.0 */
/* What is done with a verdict: enforced, observed, and the floor below; one policy after another. */
#include "weir/judge.h"

#include "weir/message.h"
#include "weir/record.h"
#include "weir/sealed.h"

#include <setjmp.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static struct policy *load(const char *text)
{
	struct conf_error err = { "" };
	struct conf_doc *doc = NULL;
	struct policy *p = NULL;
	struct conf root;

	if (conf_doc_parse(text, strlen(text), "t", CONF_JSON, &doc, &err) < 0)
		fail_msg("%s", err.text);
	root = conf_root(doc);
	if (policy_load_conf(&root, &p, &err) < 0)
		fail_msg("%s", err.text);
	conf_doc_free(doc);
	return p;
}

static const char narrow[] = "{\"default_egress\":\"deny\",\"rules\":["
			     "{\"id\":\"no\",\"action\":\"deny\",\"destination\":\"b.x.test\"},"
			     "{\"id\":\"a\",\"action\":\"allow\",\"destination\":\".x.test\"}]}";
static const char low[] = "{\"default_egress\":\"allow\",\"rules\":["
			  "{\"id\":\"never\",\"action\":\"deny\",\"destination\":\"c.example\"},"
			  "{\"id\":\"meta\",\"action\":\"deny\",\"destination\":\"metadata\"}]}";

static struct name name(const char *s)
{
	struct name n;

	assert_int_equal(name_parse(s, strlen(s), &n, NULL), 0);
	return n;
}

static struct ruling query(const struct judge *j, const char *s)
{
	struct name n = name(s);

	return judge_name(j, &n);
}

static struct ruling flow(const struct judge *j, struct ip_addr addr, const char *s)
{
	struct name n = name(s);
	struct policy_facts f = {
		.dir = POLICY_EGRESS,
		.proto = POLICY_TCP,
		.addr = addr,
		.port = 443,
		.name = POLICY_KNOWN,
		.names = &n,
		.n_names = 1,
		.http = POLICY_NONE,
	};

	return judge_facts(j, &f);
}

static void test_enforced(void **state)
{
	struct policy *p = load(narrow);
	struct judge j;
	struct ruling r;

	(void)state;
	judge_init(&j, p, false);
	r = query(&j, "b.x.test");
	assert_int_equal(r.answer, POLICY_ANSWER_DENY);
	assert_true(r.ruled);
	assert_false(r.observed);
	assert_string_equal(r.by.rule_id, "no");
	assert_int_equal(r.generation, 1);
	assert_int_equal(query(&j, "a.x.test").answer, POLICY_ANSWER_ALLOW);
	assert_int_equal(flow(&j, ip4(93, 0, 0, 1), "x.example").answer, POLICY_ANSWER_DENY);
	assert_int_equal(judge_address(&j, &(struct ip_addr){ 4, { 10, 0, 0, 1 } }).answer,
			 POLICY_ANSWER_DENY);
	assert_true(judge_enforces(&j));
	judge_fini(&j);
	policy_free(p);
}

static void test_observed(void **state)
{
	struct policy *p = load(narrow);
	struct ip_addr inside = ip4(10, 0, 0, 1);
	struct judge j;
	struct ruling r;

	(void)state;
	judge_init(&j, p, true);
	r = query(&j, "b.x.test");
	assert_int_equal(r.answer, POLICY_ANSWER_ALLOW);
	assert_true(r.observed);
	assert_int_equal(r.by.answer, POLICY_ANSWER_DENY);
	assert_string_equal(r.by.rule_id, "no");
	assert_false(query(&j, "a.x.test").observed);
	r = judge_address(&j, &inside);
	assert_int_equal(r.answer, POLICY_ANSWER_ALLOW);
	assert_true(r.observed);
	assert_false(r.ruled);
	assert_false(judge_enforces(&j));

	/* With a floor: what it denies is denied, and by it. */
	policy_set_floor(p, load(low));
	r = query(&j, "c.example");
	assert_int_equal(r.answer, POLICY_ANSWER_DENY);
	assert_true(r.by.floor);
	assert_string_equal(r.by.rule_id, "never");
	assert_true(query(&j, "b.x.test").observed);
	r = flow(&j, ip4(169, 254, 169, 254), "a.x.test");
	assert_int_equal(r.answer, POLICY_ANSWER_DENY);
	assert_true(r.by.floor);
	assert_true(judge_enforces(&j));
	policy_free(p);
}

static struct loop *loop;

/* Loading is the worker's: its word comes by way of the loop. */
static uint64_t said(int sock, enum msg_type type)
{
	struct msg m;
	ssize_t n;

	while ((n = msg_recv(sock, &m, NULL, 0, NULL)) == -EAGAIN)
		assert_int_equal(loop_step(loop, 10000), 0);
	assert_true(n >= 0);
	assert_int_equal(m.head.type, type);
	return type == MSG_POLICY_REFUSED ? 0 : m.policy.generation;
}

static size_t rejudged;

static size_t rejudge(void *ctx)
{
	(void)ctx;
	return ++rejudged;
}

static void hear(struct judge *j, enum msg_type type, uint64_t generation, int fd)
{
	struct msg m = { .head.type = type, .policy = { .generation = generation } };

	assert_true(judge_message(j, &m, sizeof(m.policy), fd, rejudge, NULL));
}

static int text_fd(const char *text)
{
	int fd = -1;

	assert_int_equal(sealed_new(text, strlen(text), &fd), 0);
	return fd;
}

/* Prepared is not in force; a commit of another generation is none; the floor moves over. */
static void test_two_steps(void **state)
{
	struct worker w;
	struct record r;
	struct judge j;
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv), 0);
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(worker_start(&w, loop), 0);
	judge_init(&j, load(low), false);
	r = (struct record){ .sock = sv[0] };
	judge_listen(&j, &w, &r);
	policy_set_floor(j.policy, load(low));
	rejudged = 0;
	hear(&j, MSG_POLICY, 7, text_fd(narrow));
	assert_int_equal(said(sv[1], MSG_POLICY_READY), 7);
	assert_int_equal(query(&j, "b.x.test").answer, POLICY_ANSWER_ALLOW);
	hear(&j, MSG_POLICY_COMMIT, 6, -1);
	assert_int_equal(j.generation, 1);
	hear(&j, MSG_POLICY_COMMIT, 7, -1);
	assert_int_equal(said(sv[1], MSG_POLICY_DONE), 7);
	assert_int_equal(rejudged, 1);
	assert_int_equal(query(&j, "b.x.test").answer, POLICY_ANSWER_DENY);
	assert_int_equal(query(&j, "a.x.test").generation, 7);
	assert_non_null(policy_floor(j.policy));

	/* What cannot be loaded, and what was called off, changes nothing. */
	hear(&j, MSG_POLICY, 8, text_fd("{\"rules\":[{}]}"));
	said(sv[1], MSG_POLICY_REFUSED);
	hear(&j, MSG_POLICY, 9, text_fd(low));
	assert_int_equal(said(sv[1], MSG_POLICY_READY), 9);
	hear(&j, MSG_POLICY_ABORT, 9, -1);
	hear(&j, MSG_POLICY_COMMIT, 9, -1);
	assert_int_equal(j.generation, 7);
	assert_int_equal(rejudged, 1);

	/* Called off while it is loading, by an abort or by the next one: nobody hears of it. */
	hear(&j, MSG_POLICY, 10, text_fd(low));
	hear(&j, MSG_POLICY_ABORT, 10, -1);
	hear(&j, MSG_POLICY, 11, text_fd(low));
	hear(&j, MSG_POLICY_COMMIT, 11, -1);
	assert_int_equal(j.generation, 7);
	hear(&j, MSG_POLICY, 12, text_fd(low));
	assert_int_equal(said(sv[1], MSG_POLICY_READY), 12);
	hear(&j, MSG_POLICY_COMMIT, 11, -1);
	assert_int_equal(j.generation, 7);
	hear(&j, MSG_POLICY_COMMIT, 12, -1);
	assert_int_equal(said(sv[1], MSG_POLICY_DONE), 12);
	assert_int_equal(rejudged, 2);
	worker_stop(&w);
	policy_free(j.policy);
	judge_fini(&j);
	loop_free(loop);
	close(sv[0]);
	close(sv[1]);
}

static void test_only_sealed(void **state)
{
	struct conf_error err = { "" };
	struct sealed s;
	struct policy *p = NULL;
	int fd = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING), empty;

	(void)state;
	assert_int_equal(write(fd, low, strlen(low)), strlen(low));
	assert_int_equal(sealed_map(fd, &s), -EINVAL);
	assert_int_equal(sealed_map(-1, &s), -EINVAL);
	assert_int_equal(sealed_policy(fd, "policy", &p, &err), -EINVAL);
	assert_non_null(strstr(err.text, "sealed"));
	close(fd);
	empty = text_fd("");
	assert_int_equal(sealed_map(empty, &s), -EINVAL);
	close(empty);
	fd = text_fd(low);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(sealed_map(fd, &s), 0);
	assert_int_equal(s.len, strlen(low));
	sealed_unmap(&s);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_enforced),
		cmocka_unit_test(test_observed),
		cmocka_unit_test(test_two_steps),
		cmocka_unit_test(test_only_sealed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
