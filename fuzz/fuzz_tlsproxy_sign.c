/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that are signed. Any head: no crash, and what was parsed stays within
 * the head. Whatever is signed verifies with its key and not with another, in each
 * style; a path in canonical form is its own canonical form. An HMAC that was made
 * is the one that is expected.
 */
#include "tests/unit/tlsproxy/secret_rig.h"
#include "tlsproxy/sign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ID "AKIDEXAMPLE"
#define KEY "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

static struct http_text text(const char *s)
{
	return (struct http_text){ s, strlen(s) };
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* Host and whatever lower-case name the first field gives. */
static void names_of(const struct http_head *h, char *out, size_t size)
{
	char name[64] = "";
	size_t n = h->n_fields ? h->fields[0].name.len : 0;

	for (size_t i = 0; i < n && n < sizeof(name); i++) {
		char c = h->fields[0].name.s[i];

		if (c == '%')
			n = 0;
		name[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
	if (!n || n >= sizeof(name) || str_eq(name, "host"))
		snprintf(out, size, "host");
	else
		snprintf(out, size, strcmp(name, "host") < 0 ? "%s;host" : "host;%s", name);
}

static void round_trip(const struct sign_message *m, struct sign_aws *a)
{
	for (unsigned i = 0; i < 2 * SIGN_AWS_PATHS; i++) {
		struct sign_aws_style style = { .path = (enum sign_aws_path)(i / 2),
						.query_sent = i % 2 },
				      found;
		char made[SIGN_HEX_LEN];
		int r = sign_aws_sign(m, a, &style, text(SIGN_AWS_UNSIGNED), KEY, strlen(KEY), made);

		if (r == -E2BIG)
			return;
		must(r == 0);
		a->signature = (struct http_text){ made, SIGN_HEX_LEN };
		must(sign_aws_verify(m, a, text(SIGN_AWS_UNSIGNED), KEY, strlen(KEY), &found) == 0);
		must(sign_aws_verify(m, a, text(SIGN_AWS_UNSIGNED), "other", 5, &found) ==
		     -EKEYREJECTED);
	}
}

static void plain_is_stable(const struct sign_message *m, const struct sign_aws *a)
{
	struct sign_aws_style style = { .path = SIGN_AWS_PATH_PLAIN };
	struct buf one = BUF_INIT(8 * HTTP_HEAD_MAX), two = BUF_INIT(8 * HTTP_HEAD_MAX);
	struct sign_message again = *m;
	int r = sign_aws_canonical(m, a, &style, text("x"), true, &one);

	if (r == 0) {
		char *line = (char *)buf_at(&one) + m->method.len + 1;
		char *end = memchr(line, '\n', one.len);

		must(end != NULL);
		/* The path and, with '\n' for its mark, the query. */
		*end = '?';
		again.target.s = line;
		again.target.len = (size_t)((char *)memchr(line, '\n', one.len) - line);
		must(sign_aws_canonical(&again, a, &style, text("x"), true, &two) == 0);
		*end = '\n';
		must(one.len == two.len && memcmp(buf_at(&one), buf_at(&two), one.len) == 0);
	}
	buf_fini(&one);
	buf_fini(&two);
}

static void hmac_is_expected(const struct sign_message *m, struct http_text body)
{
	const struct tlsproxy_sign cfg = { .kind = TLSPROXY_SIGN_HMAC,
					   .header = "X-Sig",
					   .timestamp_header = "X-Time",
					   .signs = "{method}{target}{header:a}{timestamp}{body}" };
	struct buf one = BUF_INIT(1024), two = BUF_INIT(1024);
	struct sign_hmac h;
	char err[128];

	must(sign_hmac_init(&h, &cfg, err, sizeof(err)) == 0);
	must(sign_hmac_value(&h, m, text("1"), body, KEY, 8, &one) == 0);
	must(sign_hmac_value(&h, m, text("1"), body, KEY, 8, &two) == 0);
	must(one.len == 64 && memcmp(buf_at(&one), buf_at(&two), 64) == 0);
	sign_hmac_fini(&h);
	buf_fini(&one);
	buf_fini(&two);
}

static void one_head(const struct http_head *h, struct http_text body)
{
	struct sign_message m = {
		.method = h->method, .target = h->target, .fields = h->fields, .n_fields = h->n_fields
	};
	struct sign_aws a = { .day = text("20150830"),
			      .region = text("us-east-1"),
			      .service = text("service"),
			      .date = text("20150830T123600Z") };
	struct sign_aws_style style;
	const char *why = NULL;
	char names[128];
	int r;

	http_field_find(h, "Host", &m.host);
	names_of(h, names, sizeof(names));
	a.names = text(names);
	round_trip(&m, &a);
	plain_is_stable(&m, &a);
	hmac_is_expected(&m, body);
	r = sign_aws_parse(&m, text(ID), &a, &why);
	must(r == 0 || r == 1 || (r == -EBADMSG && why));
	if (r != 1)
		return;
	must(http_text_is(a.id, ID));
	r = sign_aws_verify(&m, &a, a.payload.len ? a.payload : text("x"), "other", 5, &style);
	must(r == -EKEYREJECTED || r == -E2BIG);
	/* The published signatures among the seeds are found to be true. */
	r = sign_aws_verify(&m, &a, a.payload.len ? a.payload : text("x"), KEY, strlen(KEY), &style);
	must(r == 0 || r == -EKEYREJECTED || r == -E2BIG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http_head h;
	struct http_refusal refusal;
	struct http_collect c;
	const char *why = NULL;
	size_t taken = 0;
	bool done = false;

	must(sign_hash_init() == 0);
	http_collect_init(&c, HTTP_COLLECT_REQUEST);
	if (http_collect_feed(&c, data, size, &taken, &done, &why) == 0 && done &&
	    http_head_request(&c, &h, &refusal) == 0)
		one_head(&h, (struct http_text){ (const char *)data + taken, size - taken });
	http_collect_fini(&c);
	return 0;
}
