/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client says of its AWS signature: in Authorization, or in the query of a
 * presigned URL. Read strictly and only when it names our credential: a request
 * that is signed with somebody else's is not our business. Whatever is ours and
 * not understood is refused here, with the way out, rather than by a
 * server that can only say that signatures do not match.
 */
#include "tlsproxy/sign.h"

#include <strings.h>

#define ALGORITHM "AWS4-HMAC-SHA256"
#define TERMINATOR "aws4_request"

static struct http_text text(const char *s)
{
	return (struct http_text){ s, strlen(s) };
}

static bool text_starts(struct http_text t, const char *s)
{
	return t.len >= strlen(s) && memcmp(t.s, s, strlen(s)) == 0;
}

static bool text_holds(struct http_text t, struct http_text what)
{
	return what.len && t.len >= what.len && memmem(t.s, t.len, what.s, what.len);
}

static int bad(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EBADMSG;
}

/* ---- queries -------------------------------------------------------------------------- */

size_t sign_param_find(struct http_text target, const char *name, struct http_text *ret)
{
	const char *mark = target.len ? memchr(target.s, '?', target.len) : NULL;
	const char *end = target.s + target.len;
	size_t n = 0;

	for (const char *p = mark; p && p < end;) {
		const char *amp, *eq, *stop;

		p++;
		amp = p < end ? memchr(p, '&', (size_t)(end - p)) : NULL;
		stop = amp ? amp : end;
		eq = p < stop ? memchr(p, '=', (size_t)(stop - p)) : NULL;
		if (eq && (size_t)(eq - p) == strlen(name) &&
		    memcmp(p, name, (size_t)(eq - p)) == 0 && n++ == 0)
			*ret = (struct http_text){ eq + 1, (size_t)(stop - eq - 1) };
		p = amp;
	}
	return n;
}

/* ---- the scope --------------------------------------------------------------------------- */

/* Up to the next '/' (or %2F). */
static bool next_word(struct http_text *rest, struct http_text *ret)
{
	for (size_t i = 0; i < rest->len; i++) {
		bool escaped = rest->len - i >= 3 && strncasecmp(rest->s + i, "%2f", 3) == 0;
		size_t skip = escaped ? 3 : 1;

		if (rest->s[i] != '/' && !escaped)
			continue;
		*ret = (struct http_text){ rest->s, i };
		rest->s += i + skip;
		rest->len -= i + skip;
		return true;
	}
	return false;
}

static bool is_word(struct http_text t)
{
	for (size_t i = 0; i < t.len; i++) {
		char c = t.s[i];

		if (!(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z') &&
		    c != '-' && c != '_' && c != '.')
			return false;
	}
	return t.len > 0 && t.len <= SIGN_SCOPE_WORD_MAX;
}

static bool are_digits(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return true;
}

static bool is_date(struct http_text t)
{
	return t.len == 16 && are_digits(t.s, 8) && t.s[8] == 'T' && are_digits(t.s + 9, 6) &&
	       t.s[15] == 'Z';
}

static int read_scope(struct sign_aws *a, const char **ret_why)
{
	struct http_text rest = a->credential;

	if (!next_word(&rest, &a->id) || !next_word(&rest, &a->day) || !next_word(&rest, &a->region) ||
	    !next_word(&rest, &a->service) || !http_text_is(rest, TERMINATOR))
		return bad(ret_why, "the credential of the AWS signature is not "
				    "ID/DATE/REGION/SERVICE/aws4_request");
	if (!is_word(a->region) || !is_word(a->service) || a->day.len != 8 ||
	    !are_digits(a->day.s, 8))
		return bad(ret_why, "the scope of the AWS signature is malformed");
	if (!is_date(a->date))
		return bad(ret_why, "an AWS signature without a readable X-Amz-Date");
	if (memcmp(a->date.s, a->day.s, 8) != 0)
		return bad(ret_why, "the AWS signature's date is not that of its scope");
	return 0;
}

/* ---- signed headers ------------------------------------------------------------------------ */

bool sign_aws_next_name(struct http_text *rest, struct http_text *ret)
{
	size_t i = 0, skip = 0;

	if (!rest->len)
		return false;
	for (; i < rest->len && !skip; i += !skip) {
		if (rest->s[i] == ';')
			skip = 1;
		else if (rest->len - i >= 3 && strncasecmp(rest->s + i, "%3b", 3) == 0)
			skip = 3;
	}
	*ret = (struct http_text){ rest->s, i };
	rest->s += i + skip;
	rest->len -= i + skip;
	return true;
}

static bool is_lower_token(struct http_text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (!http_is_token_char((uint8_t)t.s[i]) || (t.s[i] >= 'A' && t.s[i] <= 'Z') ||
		    t.s[i] == '%')
			return false;
	return t.len > 0;
}

static int check_names(struct http_text names, const char **ret_why)
{
	struct http_text name, last = { 0 };
	bool host = false;
	size_t n = 0;

	if (names.len > SIGN_NAMES_MAX)
		return bad(ret_why, "the SignedHeaders of the AWS signature are too long");
	while (sign_aws_next_name(&names, &name)) {
		size_t common = MIN(last.len, name.len);
		int order = n && common ? memcmp(last.s, name.s, common) : 0;

		if (!is_lower_token(name) || ++n > SIGN_HEADERS_MAX)
			return bad(ret_why, "the SignedHeaders of the AWS signature are malformed");
		if (n > 1 && (order > 0 || (order == 0 && last.len >= name.len)))
			return bad(ret_why,
				   "the SignedHeaders of the AWS signature are not sorted");
		host = host || http_text_is(name, "host");
		last = name;
	}
	return host ? 0 : bad(ret_why, "an AWS signature that does not cover the host");
}

/* ---- the payload ------------------------------------------------------------------------------ */

static bool is_hex(struct http_text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (str_hex_digit((uint8_t)t.s[i]) < 0)
			return false;
	return t.len == SIGN_HEX_LEN;
}

static int read_payload(const struct sign_message *m, struct sign_aws *a, const char **ret_why)
{
	struct http_text v = { 0 };
	size_t n = 0;

	for (size_t i = 0; i < m->n_fields; i++)
		if (http_text_ieq(m->fields[i].name, "X-Amz-Content-SHA256") && n++ == 0)
			v = m->fields[i].value;
	if (!n && a->in_query)
		n = sign_param_find(m->target, "X-Amz-Content-Sha256", &v);
	if (n > 1)
		return bad(ret_why, "more than one X-Amz-Content-SHA256");
	if (!n) {
		/* Presigned for S3: the body is not signed. */
		if (a->in_query && text_starts(a->service, "s3"))
			a->payload = text(SIGN_AWS_UNSIGNED);
		return 0;
	}
	a->payload = v;
	if (is_hex(v) || http_text_is(v, SIGN_AWS_UNSIGNED) ||
	    http_text_is(v, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"))
		return 0;
	if (text_starts(v, "STREAMING-"))
		return bad(ret_why, "a body that is signed chunk by chunk cannot be signed anew; "
				    "let the client "
				    "send it unsigned over TLS or signed as a whole");
	return bad(ret_why, "an X-Amz-Content-SHA256 that is no hash");
}

/* ---- both forms -------------------------------------------------------------------------------- */

static struct http_text trim(struct http_text t)
{
	while (t.len && (*t.s == ' ' || *t.s == '\t')) {
		t.s++;
		t.len--;
	}
	while (t.len && (t.s[t.len - 1] == ' ' || t.s[t.len - 1] == '\t'))
		t.len--;
	return t;
}

/* "Name=value" of the list into the one place it has. */
static bool take_item(struct http_text item, struct sign_aws *a)
{
	static const char *const names[] = { "Credential=", "SignedHeaders=", "Signature=" };
	struct http_text *const to[] = { &a->credential, &a->names, &a->signature };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		size_t n = strlen(names[i]);

		if (!text_starts(item, names[i]) || to[i]->s)
			continue;
		*to[i] = (struct http_text){ item.s + n, item.len - n };
		return true;
	}
	return false;
}

static int parse_header(const struct sign_message *m, struct http_text v, struct sign_aws *a,
			const char **ret_why)
{
	struct http_text rest = { v.s + strlen(ALGORITHM), v.len - strlen(ALGORITHM) };
	size_t dates = 0;

	while (rest.len) {
		const char *comma = memchr(rest.s, ',', rest.len);
		struct http_text item = { rest.s, comma ? (size_t)(comma - rest.s) : rest.len };

		rest.s += item.len + (comma != NULL);
		rest.len -= item.len + (comma != NULL);
		if (!take_item(trim(item), a))
			return bad(ret_why, "the Authorization of the AWS signature is malformed");
	}
	for (size_t i = 0; i < m->n_fields; i++)
		if (http_text_ieq(m->fields[i].name, "X-Amz-Date") && dates++ == 0)
			a->date = m->fields[i].value;
	if (!a->credential.s || !a->names.s || !a->signature.s || dates > 1)
		return bad(ret_why, "the Authorization of the AWS signature is malformed");
	return 0;
}

static int parse_query(const struct sign_message *m, struct sign_aws *a, const char **ret_why)
{
	struct http_text algorithm;

	a->in_query = true;
	if (sign_param_find(m->target, "X-Amz-Algorithm", &algorithm) != 1 ||
	    sign_param_find(m->target, "X-Amz-Credential", &a->credential) != 1 ||
	    sign_param_find(m->target, "X-Amz-Date", &a->date) != 1 ||
	    sign_param_find(m->target, "X-Amz-SignedHeaders", &a->names) != 1 ||
	    sign_param_find(m->target, "X-Amz-Signature", &a->signature) != 1)
		return bad(ret_why, "the presigned AWS URL lacks a parameter or has one twice");
	if (text_starts(algorithm, "AWS4-ECDSA"))
		return bad(ret_why,
			   "AWS signatures of version 4A are not supported; use one region");
	if (!http_text_is(algorithm, ALGORITHM))
		return bad(ret_why, "an AWS signature of an unknown algorithm");
	return 0;
}

/* What comes with an Authorization that names our id. */
static int parse_authorization(const struct sign_message *m, struct http_text v, struct sign_aws *a,
			       const char **ret_why)
{
	if (text_starts(v, ALGORITHM " "))
		return parse_header(m, v, a, ret_why);
	if (text_starts(v, "AWS4-ECDSA"))
		return bad(ret_why,
			   "AWS signatures of version 4A are not supported; use one region");
	if (text_starts(v, "AWS4-"))
		return bad(ret_why, "an AWS signature of an unknown algorithm");
	return bad(ret_why, "AWS signatures of version 2 are not supported; use version 4");
}

int sign_aws_parse(const struct sign_message *m, struct http_text id, struct sign_aws *ret,
		   const char **ret_why)
{
	struct sign_aws a = { 0 };
	struct http_text v = { 0 };
	size_t n = 0;
	int r;

	for (size_t i = 0; i < m->n_fields; i++)
		if (http_text_ieq(m->fields[i].name, "Authorization") && n++ == 0)
			v = m->fields[i].value;
	if (n && text_holds(v, id) && text_starts(v, "AWS")) {
		if (n > 1)
			return bad(ret_why, "more than one Authorization");
		r = parse_authorization(m, v, &a, ret_why);
	} else if (sign_param_find(m->target, "X-Amz-Credential", &v) && text_holds(v, id)) {
		r = parse_query(m, &a, ret_why);
	} else {
		return 0;
	}
	if (r == 0)
		r = read_scope(&a, ret_why);
	if (r < 0)
		return r;
	if (a.id.len != id.len || memcmp(a.id.s, id.s, id.len) != 0)
		return bad(ret_why, "the AWS signature names a credential that is not known here");
	if (!is_hex(a.signature))
		return bad(ret_why, "the AWS signature is no hash");
	r = check_names(a.names, ret_why);
	if (r == 0)
		r = read_payload(m, &a, ret_why);
	if (r < 0)
		return r;
	*ret = a;
	return 1;
}
