/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request and the secret it is signed with: found, verified with the placeholder,
 * signed with the value as it goes out. The client's side is played by the same
 * functions with the placeholder as key; they are held against published numbers
 * in test_sign_aws.c and test_sign_hmac.c.
 */
#include "tlsproxy/secret_internal.h"
#include "tlsproxy/sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { ID = 0, KEY = 1, HOOK = 2 };

static struct secret_set *set;
static struct authority host, elsewhere;

static struct http_text text(const char *s)
{
	return (struct http_text){ s, strlen(s) };
}

static struct http_text content(struct buf *b)
{
	return (struct http_text){ (char *)buf_at(b), b->len };
}

static int setup(void **state)
{
	static const struct tlsproxy_sign aws = { .kind = TLSPROXY_SIGN_AWS, .key_id = "ID" };
	static const struct tlsproxy_sign hook = { .kind = TLSPROXY_SIGN_HMAC,
						   .header = "X-Sig",
						   .timestamp_header = "X-Time",
						   .signs = "{timestamp}.{body}",
						   .format = "v1={hex}" };
	struct tlsproxy_host_pattern p;
	struct tlsproxy_secret in[] = {
		{ .env = "ID", .value = "AKIAREALREALREALREAL", .places = TLSPROXY_IN_HEADER },
		{ .env = "KEY", .value = "real/real+realrealrealrealrealrealrealKEY", .sign = &aws },
		{ .env = "HOOK", .value = "whsec_realrealreal", .sign = &hook, .places = 31 },
	};
	char err[256];

	(void)state;
	assert_int_equal(tlsproxy_host_pattern_parse("api.example.com", 15, &p, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(in); i++) {
		in[i].value_len = strlen(in[i].value);
		in[i].hosts = &p;
		in[i].n_hosts = 1;
	}
	assert_int_equal(authority_parse("api.example.com", 15, &host, NULL), 0);
	assert_int_equal(authority_parse("example.com", 11, &elsewhere, NULL), 0);
	return secret_set_new(in, ARRAY_SIZE(in), &set, err, sizeof(err));
}

static int teardown(void **state)
{
	(void)state;
	secret_set_free(set);
	return 0;
}

/* ---- a client -------------------------------------------------------------------------------- */

struct request {
	struct http_head head;
	struct buf texts;
};

static void add(struct request *q, const char *name, struct http_text value)
{
	q->head.fields[q->head.n_fields++] =
		(struct http_field){ .name = text(name), .value = value };
}

static struct sign_message message(const struct http_head *h)
{
	return (struct sign_message){ .method = h->method,
				      .target = h->target,
				      .host = text("api.example.com"),
				      .fields = h->fields,
				      .n_fields = h->n_fields };
}

static const char *ph(size_t i)
{
	return secret_set_placeholder(set, i);
}

#define SCOPE "/20260101/eu-central-1/s3/aws4_request"

/* A request as an SDK sends it, signed with `key` in the name of `id`. */
static void aws_request(struct request *q, const char *id, const char *key, size_t key_len,
			const char *names, struct http_text payload)
{
	struct sign_aws a = { .day = text("20260101"),
			      .region = text("eu-central-1"),
			      .service = text("s3"),
			      .date = text("20260101T000000Z"),
			      .names = text(names) };
	struct sign_aws_style style = { .path = SIGN_AWS_PATH_SENT };
	struct sign_message m;
	char credential[128], made[SIGN_HEX_LEN];
	size_t before;

	*q = (struct request){ .texts = BUF_INIT(8192) };
	q->head.method = text("PUT");
	q->head.target = text("/bucket/a%20b?x=1");
	add(q, "Accept-Encoding", text("identity"));
	add(q, "X-Amz-Date", a.date);
	m = message(&q->head);
	assert_int_equal(sign_aws_sign(&m, &a, &style, payload, key, key_len, made), 0);
	snprintf(credential, sizeof(credential), "%s" SCOPE, id);
	assert_int_equal(sign_aws_write(&m, &a, text(credential), &q->texts), 0);
	before = q->texts.len - SIGN_HEX_LEN;
	memcpy(buf_at(&q->texts) + before, made, SIGN_HEX_LEN);
	add(q, "Authorization", content(&q->texts));
}

static void arena_init(struct buf *b)
{
	uint8_t *p;

	buf_init(b, SIGN_ARENA);
	assert_int_equal(buf_reserve(b, SIGN_ARENA, &p), 0);
}

static const char *field(const struct http_head *h, const char *name)
{
	static char out[4096];
	struct http_text v = { 0 };

	assert_int_equal(http_field_find(h, name, &v), 1);
	snprintf(out, sizeof(out), "%.*s", (int)v.len, v.s);
	return out;
}

/* ---- AWS ---------------------------------------------------------------------------------------- */

/* The body is hashed; Accept-Encoding is signed and does not go on. */
static void aws_is_signed_anew(void **state)
{
	static const char empty[] =
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	const struct secret *key = &set->secrets[KEY];
	struct sign_aws_style style;
	struct sign_message m;
	struct sign_plan plan;
	struct sign_aws again;
	const char *why = "";
	struct request q;
	struct buf arena;

	(void)state;
	aws_request(&q, ph(ID), ph(KEY), strlen(ph(KEY)), "accept-encoding;host;x-amz-date",
		    text(empty));
	m = message(&q.head);
	assert_int_equal(sign_find(set, &host, &m, &plan, &why), 1);
	assert_true(plan.needs_body);
	assert_int_equal(plan.secret, KEY);
	assert_int_equal(plan.place, TLSPROXY_IN_HEADER);
	assert_true(sign_owns_field(&plan, text("authorization")));
	assert_false(sign_owns_field(&plan, text("X-Amz-Date")));
	assert_int_equal(sign_verify(&plan, &m, text("x"), &why), -EPERM);
	assert_int_equal(sign_verify(&plan, &m, text(""), &why), 0);

	q.head.fields[0] = q.head.fields[--q.head.n_fields];
	arena_init(&arena);
	assert_int_equal(
		sign_apply(&plan, &q.head, text("api.example.com"), text("body"), 0, &arena, &why),
		0);
	assert_non_null(strstr(field(&q.head, "Authorization"),
			       "Credential=AKIAREALREALREALREAL" SCOPE
			       ", SignedHeaders=host;x-amz-date, Signature="));
	assert_null(strstr(field(&q.head, "Authorization"), ph(ID)));
	m = message(&q.head);
	assert_int_equal(sign_aws_parse(&m, text("AKIAREALREALREALREAL"), &again, &why), 1);
	assert_int_equal(
		sign_aws_verify(
			&m, &again,
			text("230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5"),
			key->value, key->len, &style),
		0);
	buf_fini(&arena);
	buf_fini(&q.texts);
}

static void presigned_is_signed_anew(void **state)
{
	const struct secret *key = &set->secrets[KEY];
	struct sign_aws a = { .in_query = true,
			      .day = text("20260101"),
			      .region = text("eu-central-1"),
			      .service = text("s3"),
			      .date = text("20260101T000000Z"),
			      .names = text("host") };
	struct sign_aws_style style = { .path = SIGN_AWS_PATH_SENT };
	char target[1024], made[SIGN_HEX_LEN + 1] = "", *id;
	struct request q = { .head = { .method = text("GET") } };
	struct sign_message m;
	struct sign_plan plan;
	const char *why = "";
	struct buf arena;

	(void)state;
	snprintf(target, sizeof(target),
		 "/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%s%%2F20260101%%2Feu-"
		 "central-1"
		 "%%2Fs3%%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&"
		 "X-Amz-SignedHeaders=host&X-Amz-Signature=",
		 ph(ID));
	q.head.target = text(target);
	m = message(&q.head);
	assert_int_equal(sign_aws_sign(&m, &a, &style, text(SIGN_AWS_UNSIGNED), ph(KEY),
				       strlen(ph(KEY)), made),
			 0);
	strncat(target, made, sizeof(target) - strlen(target) - 1);
	q.head.target = text(target);
	m = message(&q.head);
	assert_int_equal(sign_find(set, &host, &m, &plan, &why), 1);
	assert_false(plan.needs_body);
	assert_int_equal(plan.place, TLSPROXY_IN_QUERY);
	assert_false(sign_owns_field(&plan, text("Authorization")));
	assert_int_equal(sign_verify(&plan, &m, text(""), &why), 0);

	/* The id is put in as in any other query. */
	id = strstr(target, ph(ID));
	memcpy(id, "AKIAREALREALREALREAL", 20);
	arena_init(&arena);
	assert_int_equal(
		sign_apply(&plan, &q.head, text("api.example.com"), text(""), 0, &arena, &why), 0);
	m = message(&q.head);
	assert_int_equal(sign_aws_parse(&m, text("AKIAREALREALREALREAL"), &a, &why), 1);
	assert_int_equal(
		sign_aws_verify(&m, &a, text(SIGN_AWS_UNSIGNED), key->value, key->len, &style), 0);
	buf_fini(&arena);
}

/* Only who holds the placeholders is signed for, and only where the key may go. */
static void aws_refusals(void **state)
{
	struct sign_message m;
	struct sign_plan plan;
	const char *why = "";
	struct request q;

	(void)state;
	aws_request(&q, ph(ID), "guessed", 7, "host;x-amz-date", text("x"));
	m = message(&q.head);
	assert_int_equal(sign_find(set, &host, &m, &plan, &why), 1);
	assert_int_equal(sign_verify(&plan, &m, text(""), &why), -EPERM);
	assert_non_null(strstr(why, "not made with the placeholder"));
	/* Not its host: the id's placeholder is then a violation like any other. */
	assert_int_equal(sign_find(set, &elsewhere, &m, &plan, &why), 0);
	assert_int_equal(sign_find(NULL, &host, &m, &plan, &why), 0);
	buf_fini(&q.texts);

	aws_request(&q, "AKIDSOMEBODYELSES", "guessed", 7, "host;x-amz-date", text("x"));
	m = message(&q.head);
	assert_int_equal(sign_find(set, &host, &m, &plan, &why), 0);
	buf_fini(&q.texts);

	aws_request(&q, ph(ID), "guessed", 7, "host;x-amz-date", text("x"));
	add(&q, "X-Amz-Content-SHA256", text("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"));
	m = message(&q.head);
	assert_int_equal(sign_find(set, &host, &m, &plan, &why), -EPERM);
	assert_non_null(strstr(why, "chunk by chunk"));
	buf_fini(&q.texts);
}

/* ---- HMAC ----------------------------------------------------------------------------------------- */

static void hook_value(const char *key, size_t key_len, const char *time, const char *body,
		       char out[80])
{
	const struct http_text parts[] = { text(time), text("."), text(body) };
	uint8_t mac[SIGN_HASH_MAX];

	assert_int_equal(sign_mac(SIGN_SHA256, key, key_len, parts, 3, mac), 0);
	memcpy(out, "v1=", 3);
	sign_hex(mac, 32, out + 3);
	out[67] = 0;
}

static void hmac_is_signed_anew(void **state)
{
	const struct secret *hook = &set->secrets[HOOK];
	struct request q = { .head = { .method = text("POST"), .target = text("/h") } };
	char given[80], want[80];
	struct sign_message m;
	struct sign_plan plan;
	const char *why = "";
	struct buf arena;

	(void)state;
	assert_int_equal(hook->places, 0);
	hook_value(ph(HOOK), strlen(ph(HOOK)), "77", "{}", given);
	hook_value((const char *)hook->value, hook->len, "77", "{}", want);
	add(&q, "x-time", text("77"));
	add(&q, "x-sig", text(given));
	m = message(&q.head);
	assert_int_equal(sign_find(set, &host, &m, &plan, &why), 1);
	assert_true(plan.needs_body && !plan.bare);
	assert_true(sign_owns_field(&plan, text("X-SIG")));
	assert_int_equal(sign_verify(&plan, &m, text("{}"), &why), 0);
	assert_int_equal(sign_verify(&plan, &m, text("{ }"), &why), -EPERM);
	arena_init(&arena);
	assert_int_equal(
		sign_apply(&plan, &q.head, text("api.example.com"), text("{}"), 5, &arena, &why), 0);
	assert_string_equal(field(&q.head, "X-Sig"), want);
	assert_string_equal(field(&q.head, "X-Time"), "77");
	buf_fini(&arena);
}

/* The placeholder in place of a signature: made here, with the time if there is none. */
static void hmac_is_made(void **state)
{
	const struct secret *hook = &set->secrets[HOOK];
	struct request q = { .head = { .method = text("POST"), .target = text("/h") } };
	struct sign_message m;
	struct sign_plan plan;
	const char *why = "";
	struct buf arena;
	char want[80];

	(void)state;
	add(&q, "X-Sig", text(ph(HOOK)));
	m = message(&q.head);
	assert_int_equal(sign_find(set, &host, &m, &plan, &why), 1);
	assert_true(plan.bare);
	assert_int_equal(sign_verify(&plan, &m, text("{}"), &why), 0);
	arena_init(&arena);
	assert_int_equal(sign_apply(&plan, &q.head, text("api.example.com"), text("{}"), 1234567890,
				    &arena, &why),
			 0);
	hook_value((const char *)hook->value, hook->len, "1234567890", "{}", want);
	assert_string_equal(field(&q.head, "X-Sig"), want);
	assert_string_equal(field(&q.head, "X-Time"), "1234567890");
	buf_fini(&arena);
}

static void hmac_refusals(void **state)
{
	struct request q = { .head = { .method = text("POST"), .target = text("/h") } };
	char given[80], longer[SIGN_TIMESTAMP_MAX + 2];
	struct sign_message m;
	struct sign_plan plan;
	const char *why = "";

	(void)state;
	m = message(&q.head);
	assert_int_equal(sign_find(set, &host, &m, &plan, &why), 0);
	hook_value("guessed!", 8, "77", "", given);
	add(&q, "X-Time", text("77"));
	add(&q, "X-Sig", text(given));
	m = message(&q.head);
	assert_int_equal(sign_find(set, &host, &m, &plan, &why), 1);
	assert_int_equal(sign_verify(&plan, &m, text(""), &why), -EPERM);
	add(&q, "X-Sig", text(given));
	m = message(&q.head);
	assert_int_equal(sign_find(set, &host, &m, &plan, &why), -EPERM);
	q.head.n_fields--;
	memset(longer, '7', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	q.head.fields[0].value = text(longer);
	m = message(&q.head);
	assert_int_equal(sign_find(set, &host, &m, &plan, &why), -EPERM);
}

static void no_room_no_signature(void **state)
{
	struct request q = { .head = { .method = text("POST"), .target = text("/h") } };
	struct buf arena = BUF_INIT(SIGN_ARENA - 1);
	struct sign_message m;
	struct sign_plan plan;
	const char *why = "";
	uint8_t *p;

	(void)state;
	assert_int_equal(buf_reserve(&arena, SIGN_ARENA - 1, &p), 0);
	add(&q, "X-Sig", text(ph(HOOK)));
	m = message(&q.head);
	assert_int_equal(sign_find(set, &host, &m, &plan, &why), 1);
	arena.size = SIGN_ARENA - 1;
	assert_int_equal(sign_apply(&plan, &q.head, text("h"), text(""), 1, &arena, &why), -ENOBUFS);
	buf_fini(&arena);
}

static void an_id_that_is_not_there(void **state)
{
	static const struct tlsproxy_sign aws = { .kind = TLSPROXY_SIGN_AWS, .key_id = "OTHER" };
	const struct tlsproxy_secret in[] = {
		{ .env = "KEY", .value = "abcdefgh12345678", .value_len = 16, .sign = &aws },
	};
	struct secret_set *none = NULL;
	char err[256] = "";

	(void)state;
	assert_int_equal(secret_set_new(in, 1, &none, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "\"OTHER\" is not another secret"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aws_is_signed_anew),	cmocka_unit_test(presigned_is_signed_anew),
		cmocka_unit_test(aws_refusals),		cmocka_unit_test(hmac_is_signed_anew),
		cmocka_unit_test(hmac_is_made),		cmocka_unit_test(hmac_refusals),
		cmocka_unit_test(no_room_no_signature), cmocka_unit_test(an_id_that_is_not_there),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
