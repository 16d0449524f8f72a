/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AWS Signature Version 4 against published numbers: AWS's own suite of signed
 * requests (date 20150830T123600Z, region us-east-1, service "service") and the
 * examples of the S3 reference. Each is parsed, verified with its key, refused
 * with another, and signed to the same signature again.
 */
#include "tlsproxy/sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SUITE_ID "AKIDEXAMPLE"
#define SUITE_KEY "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define SUITE_AUTH                                                                                 \
	"Authorization:AWS4-HMAC-SHA256 "                                                          \
	"Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
#define SUITE_DATE "X-Amz-Date:20150830T123600Z\r\n"
#define SUITE_HOST "Host:example.amazonaws.com\r\n"
#define SUITE_QUERY                                                                                \
	"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1"     \
	"%2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&"          \
	"X-Amz-Expires=3600&"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

#define S3_ID "AKIAIOSFODNN7EXAMPLE"
#define S3_KEY "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define S3_AUTH                                                                                    \
	"Authorization: AWS4-HMAC-SHA256 "                                                         \
	"Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
#define S3_HOST "Host: examplebucket.s3.amazonaws.com\r\n"
#define S3_DATE "x-amz-date: 20130524T000000Z\r\n"
#define S3_EMPTY "x-amz-content-sha256: " EMPTY "\r\n"

struct vector {
	const char *name, *id, *key;
	const char *line, *fields; /* request line without version; fields, each with CRLF */
	const char *body_hash;
};

#define SUITE(name, line, fields)                                                                  \
	{                                                                                          \
		name, SUITE_ID, SUITE_KEY, line, fields, EMPTY                                     \
	}
#define S3(name, line, fields)                                                                     \
	{                                                                                          \
		name, S3_ID, S3_KEY, line, fields, ""                                              \
	}

static const struct vector vectors[] = {
	SUITE("get-vanilla", "GET /",
	      SUITE_HOST SUITE_AUTH
	      "SignedHeaders=host;x-amz-date, Signature="
	      "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\r\n" SUITE_DATE),
	SUITE("post-vanilla", "POST /",
	      SUITE_HOST SUITE_AUTH
	      "SignedHeaders=host;x-amz-date, Signature="
	      "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b\r\n" SUITE_DATE),
	SUITE("get-header-key-duplicate", "GET /",
	      SUITE_HOST
	      "My-Header1:value2\r\nMy-Header1:value2\r\nMy-Header1:value1\r\n" SUITE_AUTH
	      "SignedHeaders=host;my-header1;x-amz-date, Signature="
	      "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea\r\n" SUITE_DATE),
	SUITE("get-header-value-order", "GET /",
	      SUITE_HOST
	      "My-Header1:value4\r\nMy-Header1:value1\r\nMy-Header1:value3\r\n"
	      "My-Header1:value2\r\n" SUITE_AUTH
	      "SignedHeaders=host;my-header1;x-amz-date, Signature="
	      "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01\r\n" SUITE_DATE),
	SUITE("get-header-value-trim", "GET /",
	      SUITE_HOST
	      "My-Header1: value1\r\nMy-Header2: \"a   b   c\"\r\n" SUITE_AUTH
	      "SignedHeaders=host;my-header1;my-header2;x-amz-date, Signature="
	      "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736\r\n" SUITE_DATE),
	SUITE("get-relative-relative-normalized", "GET /example1/example2/../..",
	      SUITE_HOST SUITE_AUTH
	      "SignedHeaders=host;x-amz-date, Signature="
	      "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\r\n" SUITE_DATE),
	SUITE("get-slashes-unnormalized", "GET //example//",
	      SUITE_HOST SUITE_AUTH
	      "SignedHeaders=host;x-amz-date, Signature="
	      "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5\r\n" SUITE_DATE),
	SUITE("get-vanilla-query-order-key-case", "GET /?Param2=value2&Param1=value1",
	      SUITE_HOST SUITE_AUTH
	      "SignedHeaders=host;x-amz-date, Signature="
	      "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500\r\n" SUITE_DATE),
	SUITE("get-vanilla-query-order-encoded", "GET /?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
	      SUITE_HOST SUITE_AUTH
	      "SignedHeaders=host;x-amz-date, Signature="
	      "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac\r\n" SUITE_DATE),
	SUITE("get-vanilla-query-unreserved",
	      "GET /?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz="
	      "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
	      SUITE_HOST SUITE_AUTH
	      "SignedHeaders=host;x-amz-date, Signature="
	      "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197\r\n" SUITE_DATE),
	/* The suite sends the character itself, which is escaped once; so it is a sent path here. */
	SUITE("get-utf8", "GET /%E1%88%B4",
	      SUITE_HOST SUITE_AUTH
	      "SignedHeaders=host;x-amz-date, Signature="
	      "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85\r\n" SUITE_DATE),
	SUITE("get-vanilla-with-session-token", "GET /",
	      SUITE_HOST SUITE_AUTH
	      "SignedHeaders=host;x-amz-date;x-amz-security-token, Signature="
	      "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8\r\n" SUITE_DATE
	      "X-Amz-Security-Token:"
	      "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267\r\n"),
	SUITE("post-x-www-form-urlencoded", "POST /",
	      "Content-Type:application/x-www-form-urlencoded\r\n" SUITE_HOST
	      "Content-Length:13\r\nx-amz-content-sha256:"
	      "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e\r\n" SUITE_AUTH
	      "SignedHeaders=content-length;content-type;host;x-amz-content-sha256;x-amz-date, "
	      "Signature="
	      "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b\r\n" SUITE_DATE),
	SUITE("get-vanilla-query-order-key-case, presigned",
	      "GET /?Param2=value2&Param1=value1&" SUITE_QUERY
	      "X-Amz-Signature=86012e2c9ad4d77369f5d81c11f75158aae4f895a085212cc6d3f923d300bed5",
	      SUITE_HOST SUITE_DATE),
	SUITE("get-utf8, presigned",
	      "GET /%E1%88%B4?" SUITE_QUERY
	      "X-Amz-Signature=10eae3f14a260bd3911cc6d008d3c576d143b05b62f09782a7a4b37f52178e44",
	      SUITE_HOST SUITE_DATE),
	S3("GET Object", "GET /test.txt",
	   S3_HOST S3_AUTH "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature="
			   "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\r\n"
			   "Range: bytes=0-9\r\n" S3_EMPTY S3_DATE),
	S3("PUT Object", "PUT /test%24file.text",
	   S3_HOST
	   "Date: Fri, 24 May 2013 00:00:00 GMT\r\n" S3_AUTH
	   "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,"
	   "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd\r\n" S3_DATE
	   "x-amz-storage-class: REDUCED_REDUNDANCY\r\nx-amz-content-sha256: "
	   "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\r\n"),
	S3("GET Bucket Lifecycle", "GET /?lifecycle",
	   S3_HOST S3_AUTH
	   "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature="
	   "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543\r\n" S3_DATE S3_EMPTY),
	S3("List Objects", "GET /?max-keys=2&prefix=J",
	   S3_HOST S3_AUTH
	   "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature="
	   "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7\r\n" S3_DATE S3_EMPTY),
	S3("presigned GET Object",
	   "GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE"
	   "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&"
	   "X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
	   "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
	   S3_HOST),
};

/* ---- requests from text --------------------------------------------------------------- */

struct request {
	struct http_collect bytes;
	struct http_head head;
	struct sign_message m;
};

static struct http_text text(const char *s)
{
	return (struct http_text){ s, strlen(s) };
}

static void request_init(struct request *q, const char *line, const char *fields)
{
	struct buf b = BUF_INIT(HTTP_HEAD_MAX);
	struct http_refusal refusal;
	const char *why = NULL;
	bool done = false;
	size_t taken;

	assert_int_equal(buf_printf(&b, "%s HTTP/1.1\r\n%s\r\n", line, fields), 0);
	http_collect_init(&q->bytes, HTTP_COLLECT_REQUEST);
	assert_int_equal(http_collect_feed(&q->bytes, buf_at(&b), b.len, &taken, &done, &why), 0);
	assert_true(done);
	buf_fini(&b);
	assert_int_equal(http_head_request(&q->bytes, &q->head, &refusal), 0);
	q->m = (struct sign_message){ .method = q->head.method,
				      .target = q->head.target,
				      .fields = q->head.fields,
				      .n_fields = q->head.n_fields };
	http_field_find(&q->head, "Host", &q->m.host);
}

static void request_fini(struct request *q)
{
	http_collect_fini(&q->bytes);
}

static int verify(const struct request *q, const struct sign_aws *a, const char *body_hash,
		  const char *key, struct sign_aws_style *style)
{
	return sign_aws_verify(&q->m, a, a->payload.len ? a->payload : text(body_hash), key,
			       strlen(key), style);
}

static void check_vector(const struct vector *v)
{
	struct sign_aws_style style;
	char made[SIGN_HEX_LEN + 1] = "";
	const char *why = "";
	struct sign_aws a;
	struct request q;

	request_init(&q, v->line, v->fields);
	if (sign_aws_parse(&q.m, text(v->id), &a, &why) != 1)
		fail_msg("%s: %s", v->name, why);
	if (verify(&q, &a, v->body_hash, v->key, &style) != 0)
		fail_msg("%s: the published signature does not verify", v->name);
	assert_int_equal(sign_aws_sign(&q.m, &a, &style,
				       a.payload.len ? a.payload : text(v->body_hash), v->key,
				       strlen(v->key), made),
			 0);
	assert_memory_equal(made, a.signature.s, SIGN_HEX_LEN);
	assert_int_equal(verify(&q, &a, v->body_hash, "another key", &style), -EKEYREJECTED);
	request_fini(&q);
}

static void published_signatures(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++)
		check_vector(&vectors[i]);
}

/* Whatever is changed in a request, but for what is not signed, its signature is no longer true. */
static void changes_are_seen(void **state)
{
	static const struct {
		const char *line, *fields;
	} changed[] = {
		{ "PUT /test.txt", S3_HOST "Range: bytes=0-9\r\n" S3_EMPTY S3_DATE },
		{ "GET /test.txT", S3_HOST "Range: bytes=0-9\r\n" S3_EMPTY S3_DATE },
		{ "GET /test.txt?acl", S3_HOST "Range: bytes=0-9\r\n" S3_EMPTY S3_DATE },
		{ "GET /test.txt",
		  "Host: other.s3.amazonaws.com\r\nRange: bytes=0-9\r\n" S3_EMPTY S3_DATE },
		{ "GET /test.txt", S3_HOST "Range: bytes=0-8\r\n" S3_EMPTY S3_DATE },
		{ "GET /test.txt", S3_HOST "Range: bytes=0-9\r\nRange: x\r\n" S3_EMPTY S3_DATE },
		{ "GET /test.txt", S3_HOST S3_EMPTY S3_DATE },
		{ "GET /test.txt", S3_HOST "Range: bytes=0-9\r\n"
					   "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n" S3_DATE },
		{ "GET /test.txt",
		  S3_HOST "Range: bytes=0-9\r\n" S3_EMPTY "x-amz-date: 20130524T000001Z\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changed); i++) {
		char fields[1024];
		struct sign_aws_style style;
		const char *why = "";
		struct sign_aws a;
		struct request q;

		snprintf(fields, sizeof(fields),
			 S3_AUTH
			 "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature="
			 "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\r\n%s",
			 changed[i].fields);
		request_init(&q, changed[i].line, fields);
		assert_int_equal(sign_aws_parse(&q.m, text(S3_ID), &a, &why), 1);
		if (verify(&q, &a, "", S3_KEY, &style) != -EKEYREJECTED)
			fail_msg("change %zu is not seen", i);
		request_fini(&q);
	}
}

/* ---- what is refused, and what is nobody's business here ------------------------------------ */

#define SIG "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
#define CRED "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
#define V4 "Authorization: AWS4-HMAC-SHA256 "

static void refusals(void **state)
{
	static const struct {
		const char *line, *fields, *why;
	} cases[] = {
		{ "GET /", "Authorization: AWS4-ECDSA-P256-SHA256 " CRED "\r\n", "version 4A" },
		{ "GET /", "Authorization: AWS AKIDEXAMPLE:c2ln\r\n", "version 2" },
		{ "GET /", "Authorization: AWS4-HMAC-SHA512 " CRED "\r\n", "unknown algorithm" },
		{ "GET /", V4 CRED ", SignedHeaders=host, Signature=" SIG "\r\n", "X-Amz-Date" },
		{ "GET /", V4 CRED ", SignedHeaders=host, Signature=" SIG "\r\n" SUITE_DATE SUITE_DATE,
		  "malformed" },
		{ "GET /", V4 CRED ", SignedHeaders=x-amz-date, Signature=" SIG "\r\n" SUITE_DATE,
		  "cover the host" },
		{ "GET /", V4 CRED ", SignedHeaders=x-amz-date;host, Signature=" SIG "\r\n" SUITE_DATE,
		  "sorted" },
		{ "GET /", V4 CRED ", SignedHeaders=host;host, Signature=" SIG "\r\n" SUITE_DATE,
		  "sorted" },
		{ "GET /", V4 CRED ", SignedHeaders=Host, Signature=" SIG "\r\n" SUITE_DATE,
		  "malformed" },
		{ "GET /", V4 CRED ", SignedHeaders=host;;x, Signature=" SIG "\r\n" SUITE_DATE,
		  "malformed" },
		{ "GET /", V4 CRED ", SignedHeaders=host, Signature=00\r\n" SUITE_DATE, "no hash" },
		{ "GET /", V4 CRED ", " CRED ", SignedHeaders=host, Signature=" SIG "\r\n" SUITE_DATE,
		  "malformed" },
		{ "GET /", V4 CRED ", SignedHeaders=host\r\n" SUITE_DATE, "malformed" },
		{ "GET /",
		  V4 "Credential=AKIDEXAMPLE/20150830/us-east-1/service, SignedHeaders=host, "
		     "Signature=" SIG "\r\n" SUITE_DATE,
		  "ID/DATE" },
		{ "GET /",
		  V4 "Credential=AKIDEXAMPLEX/20150830/us-east-1/service/aws4_request, "
		     "SignedHeaders=host, Signature=" SIG "\r\n" SUITE_DATE,
		  "not known" },
		{ "GET /",
		  V4 CRED ", SignedHeaders=host, Signature=" SIG
			  "\r\nX-Amz-Date: 20150831T000000Z\r\n",
		  "not that of its scope" },
		{ "GET /",
		  V4 CRED ", SignedHeaders=host, Signature=" SIG "\r\n" SUITE_DATE
			  "X-Amz-Content-SHA256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\n",
		  "chunk by chunk" },
		{ "GET /",
		  V4 CRED ", SignedHeaders=host, Signature=" SIG "\r\n" SUITE_DATE
			  "X-Amz-Content-SHA256: none\r\n",
		  "no hash" },
		{ "GET /",
		  V4 CRED ", SignedHeaders=host, Signature=" SIG "\r\n" SUITE_DATE
			  "Authorization: x\r\n",
		  "more than one" },
		{ "GET /?" SUITE_QUERY, "", "lacks a parameter" },
		{ "GET /?" SUITE_QUERY "X-Amz-Signature=" SIG "&X-Amz-Signature=" SIG, "", "twice" },
		{ "GET /?X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F1&"
		  "X-Amz-Date=1&X-Amz-SignedHeaders=host&X-Amz-Signature=1",
		  "", "version 4A" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char fields[2048];
		const char *why = "";
		struct sign_aws a;
		struct request q;
		int r;

		snprintf(fields, sizeof(fields), SUITE_HOST "%s", cases[i].fields);
		request_init(&q, cases[i].line, fields);
		r = sign_aws_parse(&q.m, text(SUITE_ID), &a, &why);
		if (r != -EBADMSG || !strstr(why, cases[i].why))
			fail_msg("case %zu: %d \"%s\", expected \"%s\"", i, r, why, cases[i].why);
		request_fini(&q);
	}
}

static void others_are_left_alone(void **state)
{
	static const char *const fields[] = {
		SUITE_HOST,
		SUITE_HOST "Authorization: Bearer AKIDEXAMPLE\r\n",
		SUITE_HOST "Authorization: AWS4-HMAC-SHA256 nonsense\r\n",
		SUITE_HOST V4 "Credential=AKIDOTHER/20150830/us-east-1/service/aws4_request, "
			      "SignedHeaders=host, Signature=" SIG "\r\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		const char *why = "";
		struct sign_aws a;
		struct request q;

		request_init(&q, "GET /?X-Amz-Credential=AKIDOTHER%2F2015", fields[i]);
		assert_int_equal(sign_aws_parse(&q.m, text(SUITE_ID), &a, &why), 0);
		request_fini(&q);
	}
}

/* ---- canonical forms -------------------------------------------------------------------------- */

static void canonical_forms(void **state)
{
	static const struct {
		const char *target;
		enum sign_aws_path path;
		bool sent;
		const char *want; /* path and query line */
	} cases[] = {
		{ "/", SIGN_AWS_PATH_NORMAL, false, "/\n\n" },
		{ "/a//./b/../c/", SIGN_AWS_PATH_NORMAL, false, "/a/c/\n\n" },
		{ "/../../x", SIGN_AWS_PATH_NORMAL, false, "/x\n\n" },
		{ "/..", SIGN_AWS_PATH_NORMAL, false, "/\n\n" },
		{ "/a%20b", SIGN_AWS_PATH_NORMAL, false, "/a%2520b\n\n" },
		{ "//a%20b", SIGN_AWS_PATH_AGAIN, false, "//a%2520b\n\n" },
		{ "/a%2fb+c%7e", SIGN_AWS_PATH_PLAIN, false, "/a/b%2Bc~\n\n" },
		{ "/a%2fb+c%7e", SIGN_AWS_PATH_SENT, false, "/a%2fb+c%7e\n\n" },
		{ "/?b=2&a=2&a=1&c", SIGN_AWS_PATH_SENT, false, "/\na=1&a=2&b=2&c=\n" },
		{ "/?b=%7e+/&&a=%e1=%", SIGN_AWS_PATH_SENT, false, "/\na=%E1%3D%25&b=~%2B%2F\n" },
		{ "/?b=%7e+/&a=%e1", SIGN_AWS_PATH_SENT, true, "/\na=%e1&b=%7e+/\n" },
		{ "/?X-Amz-Signature=1&x=", SIGN_AWS_PATH_SENT, false, "/\nX-Amz-Signature=1&x=\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sign_aws_style style = { cases[i].path, cases[i].sent };
		struct sign_aws a = { .names = text("host") };
		struct sign_message m = { .method = text("GET"),
					  .target = text(cases[i].target),
					  .host = text("h") };
		struct buf out = BUF_INIT(4096);
		char want[256];

		snprintf(want, sizeof(want), "GET\n%shost:h\n\nhost\n" EMPTY, cases[i].want);
		assert_int_equal(sign_aws_canonical(&m, &a, &style, text(EMPTY), false, &out), 0);
		assert_string_equal(buf_str(&out), want);
		buf_fini(&out);
	}
}

static void too_many_parameters(void **state)
{
	struct sign_aws a = { .names = text("host") };
	struct sign_aws_style style = { 0 };
	struct buf target = BUF_INIT(8192), out = BUF_INIT(65536);

	(void)state;
	assert_int_equal(buf_append_str(&target, "/?"), 0);
	for (size_t i = 0; i <= SIGN_PARAMS_MAX; i++) {
		struct sign_message m = { .method = text("GET"), .host = text("h") };
		int want = i < SIGN_PARAMS_MAX ? 0 : -E2BIG;

		assert_int_equal(buf_append_str(&target, "a&"), 0);
		m.target = (struct http_text){ (char *)buf_at(&target), target.len };
		buf_fini(&out);
		buf_init(&out, 65536);
		assert_int_equal(sign_aws_canonical(&m, &a, &style, text(EMPTY), false, &out), want);
	}
	buf_fini(&target);
	buf_fini(&out);
}

/* Fields that do not go on are not signed; the rest of the list stays as it was. */
static void names_that_are_gone(void **state)
{
	const struct http_field fields[] = { { .name = text("X-Amz-Date"), .value = text("d") },
					     { .name = text("X-Kept"), .value = text("v") } };
	struct sign_message m = { .host = text("h"), .fields = fields, .n_fields = 2 };
	struct sign_aws a = { .names = text("accept-encoding;host;te;x-amz-date;x-kept;x-z") };
	struct buf out = BUF_INIT(4096);

	(void)state;
	assert_int_equal(sign_aws_write(&m, &a, text("ID/1/r/s/aws4_request"), &out), 0);
	assert_string_equal(
		buf_str(&out),
		"AWS4-HMAC-SHA256 Credential=ID/1/r/s/aws4_request, "
		"SignedHeaders=host;x-amz-date;x-kept, "
		"Signature=0000000000000000000000000000000000000000000000000000000000000000");
	buf_fini(&out);
}

static int setup(void **state)
{
	(void)state;
	return sign_hash_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_signatures),
		cmocka_unit_test(changes_are_seen),
		cmocka_unit_test(refusals),
		cmocka_unit_test(others_are_left_alone),
		cmocka_unit_test(canonical_forms),
		cmocka_unit_test(too_many_parameters),
		cmocka_unit_test(names_that_are_gone),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
