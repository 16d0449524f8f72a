/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies of token endpoints, through the filter, in both protocols on either side, coded or
 * not, cut in every way: the guest gets placeholders, or 502 and nothing. Row p9.3-18.
 */
#include "secret_rig.h"
#include "world_rig.h"

#define SECRET "client-secret-0123456789"
#define ACCESS "gho_16C7e42F292c6912E7710c838347Ae178B4a"
#define REFRESH "refresh/token+0123456789=="
#define ID "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ3aG8gdGhlIHVzZXIgaXMifQ.c2lnbmVkIGJ5IHRoZQ"
#define REPLY                                                                                      \
	"{\"access_token\":\"" ACCESS "\",\"expires_in\":60,\"nested\":[{\"id_token\":\"" ID       \
	"\"}],"                                                                                    \
	"\"refresh_token\":\"refresh\\/token+0123456789==\",\"echo\":\"<" ACCESS ">\"}"

static struct tlsproxy_host_pattern api, other;
static const char *const fields[] = { "access_token", "refresh_token", "id_token" };
static const char *const paths[] = { "/oauth" };
static struct tlsproxy_mask mask = { .at = &api,
				     .n_at = 1,
				     .fields = fields,
				     .n_fields = 3,
				     .paths = paths,
				     .n_paths = 1,
				     .hosts = &other,
				     .n_hosts = 1 };

/* What a keeper of tokens has: the secret, then them. */
static struct {
	struct tlsproxy_secret in[8];
	char text[8][4200], env[8][64];
	size_t n;
	unsigned asked;
	struct secret_set *set;
} keeper;

static struct secret_set *begin_set(void)
{
	char err[256] = "";

	api = (struct tlsproxy_host_pattern){ 0 };
	rig_must(tlsproxy_host_pattern_parse("api.example.com", 15, &api, NULL));
	rig_must(tlsproxy_host_pattern_parse("other.example.com", 17, &other, NULL));
	memset(&keeper, 0, sizeof(keeper));
	keeper.in[keeper.n++] = (struct tlsproxy_secret){ .env = "KEY",
							  .value = SECRET,
							  .value_len = strlen(SECRET),
							  .hosts = &api,
							  .n_hosts = 1,
							  .places = 63,
							  .mask = &mask,
							  .on_violation = TLSPROXY_BLOCK_AND_LOG };
	if (secret_set_new(keeper.in, 1, &keeper.set, err, sizeof(err)) < 0)
		fail_msg("%s", err);
	return keeper.set;
}

static int keep(struct rig *g, const char *env, const struct tlsproxy_fresh *list, size_t n)
{
	struct secret_set *next;
	char err[256] = "";

	keeper.asked++;
	assert_string_equal(env, "KEY");
	for (size_t i = 0; i < n; i++, keeper.n++) {
		memcpy(keeper.text[keeper.n], list[i].value, list[i].len);
		snprintf(keeper.env[keeper.n], sizeof(keeper.env[0]), "KEY.%s.%zu", list[i].field,
			 keeper.n);
		keeper.in[keeper.n] =
			(struct tlsproxy_secret){ .env = keeper.env[keeper.n],
						  .of = "KEY",
						  .value = keeper.text[keeper.n],
						  .value_len = list[i].len,
						  .hosts = &api,
						  .n_hosts = 1,
						  .places = 63,
						  .renews = list[i].renews,
						  .shape = str_eq(list[i].field, "id_token") ? "jwt"
											     : NULL,
						  .on_violation = TLSPROXY_BLOCK_AND_LOG };
	}
	if (secret_set_next(keeper.set, keeper.in, keeper.n, 1, &next, err, sizeof(err)) < 0)
		fail_msg("%s", err);
	secret_set_unref(keeper.set);
	keeper.set = next;
	http_filter_secrets(g->filter, next);
	return 0;
}

static const char *placeholder(size_t i)
{
	return keeper.set->secrets[i].placeholder;
}

static bool has(const struct buf *b, const char *what)
{
	return b->len && memmem(buf_at(b), b->len, what, strlen(what));
}

/* A request to that target, with this body; its reply. */
static void exchange(struct world *w, const char *target, const char *form, const char *coding,
		     const char *reply)
{
	struct buf in = BUF_INIT(WORLD_CAP);

	snprintf(w->request.method, sizeof(w->request.method), "POST");
	add_str(&w->request.target, target);
	add_str(&w->request.fields, "content-type: application/x-www-form-urlencoded\n");
	add_str(&w->request.body, form);
	w->request.chunked = rnd(2);
	w->reply.status = 200;
	add_str(&w->reply.reason, "OK");
	add_str(&w->reply.fields, "content-type: application/json\n");
	if (*coding)
		rig_must(buf_printf(&w->reply.fields, "content-encoding: %s\n", coding));
	add_str(&in, reply);
	world_code(true, coding, &in, &w->reply.body);
	w->reply.chunked = rnd(2);
	if (w->reply.chunked && rnd(2))
		add_str(&w->reply.trailers, "x-token: " ACCESS "\n");
	w->g.mask = keep;
	world_run(w);
	buf_fini(&in);
}

static void must_be_clean(const struct message *m)
{
	static const char *const values[] = { SECRET, ACCESS, REFRESH, "refresh\\/token", ID };
	const struct buf *all[] = { &m->fields, &m->body, &m->trailers, &m->reason };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		for (size_t k = 0; k < ARRAY_SIZE(values); k++)
			if (has(all[i], values[k]))
				fail_msg("%s in part %zu", values[k], i);
}

static void p9_3_18_every_way(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		struct secret_set *set = begin_set();
		char form[128], want[2048];
		struct world w;

		world_seed = round + 1;
		world_init(&w, set, rnd(2), rnd(2));
		snprintf(form, sizeof(form), "a=b&client_secret=%s", placeholder(0));
		exchange(&w, "/anything", form, world_codings[rnd(ARRAY_SIZE(world_codings))], REPLY);
		assert_true(has(&w.up.body, SECRET));
		if (w.down.status != 200 || !w.down.ended)
			fail_msg("round %u: %u\n%s", round, w.down.status, rig_text(&w.g.log));
		must_be_clean(&w.down);
		assert_int_equal(keeper.asked, 1);
		assert_int_equal(keeper.n, 4);
		snprintf(want, sizeof(want),
			 "{\"access_token\":\"%s\",\"expires_in\":60,\"nested\":[{\"id_token\":\"%"
			 "s\"}],"
			 "\"refresh_token\":\"%s\",\"echo\":\"<%s>\"}",
			 placeholder(1), placeholder(2), placeholder(3), placeholder(1));
		if (w.down.body.len != strlen(want) ||
		    memcmp(buf_at(&w.down.body), want, strlen(want)) != 0)
			fail_msg("round %u:\n%.*s\n%s", round, (int)w.down.body.len,
				 (const char *)buf_at(&w.down.body), want);
		assert_false(has(&w.down.fields, "content-encoding"));
		world_fini(&w);
		secret_set_unref(keeper.set);
	}
}

/* Nothing of what cannot be read goes on, and no token was kept. */
static void p9_3_18_refused(void **state)
{
	static const char *const replies[] = {
		"access_token=" ACCESS "&token_type=bearer",
		"{\"access_token\":\"" ACCESS "\"",
		"{\"access_token\":\"" ACCESS "\"} {}",
		"{\"access_token\":\"" ACCESS "\",\"access_token\":1}",
		"{\"access_token\":\"" ACCESS "\",\"id_token\":\"short\"}",
		"{\"access_token\":\"" ACCESS "\",\"id_token\":123456789}",
		"{\"access_token\":\"" ACCESS "\",\"id_token\":\"with a space in it\"}",
		"{\"access_token\":\"" ACCESS "\",\"x\":\"\xff\"}",
		"[[[[[[[[[[[[[[[[[[[[\"" ACCESS "\"]]]]]]]]]]]]]]]]]]]]",
	};

	(void)state;
	for (unsigned round = 0; round < 4 * ARRAY_SIZE(replies); round++) {
		struct secret_set *set = begin_set();
		char form[128];
		struct world w;

		world_seed = round + 1;
		world_init(&w, set, round & 1, round & 2);
		snprintf(form, sizeof(form), "client_secret=%s", placeholder(0));
		exchange(&w, "/t", form, rnd(2) ? "gzip" : "", replies[round / 4]);
		if (w.down.status != 502)
			fail_msg("%s: %u", replies[round / 4], w.down.status);
		must_be_clean(&w.down);
		assert_int_equal(keeper.asked, 0);
		assert_null(strstr(rig_text(&w.g.log), ACCESS));
		world_fini(&w);
		secret_set_unref(keeper.set);
	}
}

/* By what was carried, or by the path, also one with two readings; else nothing is touched. */
static void p9_3_18_which(void **state)
{
	static const struct {
		const char *target, *form;
		bool masked;
	} cases[] = {
		{ "/oauth/token", "code=x", true },  { "/x//oauth", "code=x", true },
		{ "/x", "client_secret=%s", true },  { "/x", "code=x", false },
		{ "/x?client_secret=%s", "", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct secret_set *set = begin_set();
		char form[128], target[128];
		struct world w;

		world_seed = i + 1;
		world_init(&w, set, i & 1, i & 2);
		snprintf(form, sizeof(form), "%s", cases[i].form);
		snprintf(target, sizeof(target), "%s", cases[i].target);
		if (strstr(form, "%s"))
			snprintf(form, sizeof(form), "client_secret=%s", placeholder(0));
		if (strstr(target, "%s"))
			snprintf(target, sizeof(target), "/x?client_secret=%s", placeholder(0));
		exchange(&w, target, form, "", "{\"access_token\":\"" ACCESS "\"}");
		assert_int_equal(w.down.status, 200);
		assert_int_equal(has(&w.down.body, ACCESS), !cases[i].masked);
		assert_int_equal(keeper.asked, cases[i].masked);
		world_fini(&w);
		secret_set_unref(keeper.set);
	}
}

/* What buys tokens does not go out behind the beginning of a reply that was not kept back. */
static void p9_3_18_reply_has_begun(void **state)
{
	struct secret_set *set = begin_set();
	struct rig g;
	char text[256];

	(void)state;
	rig_prepare(&g, true, set);
	g.mask = keep;
	rig_start(&g);
	assert_true(rig_guest(&g, "POST /x HTTP/1.1\r\nHost: api.example.com\r\n"
				  "Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n"));
	assert_true(rig_upstream(
		&g, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"));
	snprintf(text, sizeof(text), "%zx\r\n%s\r\n", strlen(placeholder(0)), placeholder(0));
	rig_guest(&g, text);
	assert_null(strstr(rig_text(&g.up), SECRET));
	assert_non_null(strstr(rig_text(&g.log), "its reply has begun"));
	rig_free(&g);
	secret_set_unref(keeper.set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(p9_3_18_every_way),
		cmocka_unit_test(p9_3_18_refused),
		cmocka_unit_test(p9_3_18_which),
		cmocka_unit_test(p9_3_18_reply_has_begun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
