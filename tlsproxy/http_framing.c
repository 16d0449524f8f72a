/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a message ends (RFC 9112 6.3), refusing every shape that two
 * implementations read differently: Content-Length with Transfer-Encoding, more than
 * one of either, lists, signs, codings other than exactly "chunked".
 */
#include "tlsproxy/http_internal.h"

bool http_field_is_framing(struct http_text name)
{
	static const struct http_text names[] = {
		HTTP_TEXT("Content-Length"), HTTP_TEXT("Transfer-Encoding"),
		HTTP_TEXT("Host"),	     HTTP_TEXT("Connection"),
		HTTP_TEXT("Trailer"),	     HTTP_TEXT("TE"),
		HTTP_TEXT("Upgrade"),	     HTTP_TEXT("Expect"),
	};

	return http_text_among(name, names, ARRAY_SIZE(names));
}

/* 1*DIGIT, at most 18: no reader overflows. Zeros in front are read as octal by some. */
static bool length_parse(struct http_text t, uint64_t *ret)
{
	uint64_t v = 0;

	if (t.len == 0 || t.len > 18 || (t.len > 1 && t.s[0] == '0'))
		return false;
	for (size_t i = 0; i < t.len; i++) {
		if (t.s[i] < '0' || t.s[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(t.s[i] - '0');
	}
	*ret = v;
	return true;
}

static bool connection_too_long(const struct http_head *h)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n_fields; i++)
		if (http_text_ieq(h->fields[i].name, "Connection"))
			n += h->fields[i].value.len;
	return n > HTTP_CONNECTION_MAX;
}

static int read_framing(const struct http_head *h, struct http_framing *ret, const char **ret_why)
{
	struct http_text cl = { 0 }, te = { 0 };
	size_t n_cl = http_field_find(h, "Content-Length", &cl);
	size_t n_te = http_field_find(h, "Transfer-Encoding", &te);
	struct http_framing f = { 0 };

	if (connection_too_long(h))
		*ret_why = "Connection fields longer than 1024 bytes";
	else if (n_cl && n_te)
		*ret_why = "Content-Length together with Transfer-Encoding";
	else if (n_cl > 1)
		*ret_why = "more than one Content-Length";
	else if (n_te > 1)
		*ret_why = "more than one Transfer-Encoding";
	else if (n_te && h->minor == 0)
		*ret_why = "Transfer-Encoding in HTTP/1.0";
	else if (n_te && !http_text_ieq(te, "chunked"))
		*ret_why = "a transfer coding other than chunked";
	else if (n_cl && !length_parse(cl, &f.length))
		*ret_why = "Content-Length is not a plain number";
	else
		*ret_why = NULL;
	if (*ret_why)
		return -EBADMSG;
	f.has_length = n_cl != 0;
	if (n_te)
		f.body = HTTP_BODY_CHUNKED;
	else if (f.length)
		f.body = HTTP_BODY_LENGTH;
	*ret = f;
	return 0;
}

int http_framing_request(const struct http_head *h, struct http_framing *ret,
			 struct http_refusal *refusal)
{
	int r;

	refusal->status = 400;
	r = read_framing(h, ret, &refusal->why);
	if (r < 0)
		return r;
	if (http_field_has_token(h, "Connection", "Content-Length") ||
	    http_field_has_token(h, "Connection", "Transfer-Encoding") ||
	    http_field_has_token(h, "Connection", "Host")) {
		refusal->why = "Connection names a field that frames or routes the request";
		return -EBADMSG;
	}
	if (ret->body != HTTP_BODY_NONE && http_text_is(h->method, "TRACE")) {
		refusal->why = "TRACE with a body";
		return -EBADMSG;
	}
	return 0;
}

int http_framing_response(const struct http_head *h, bool head_request, struct http_framing *ret,
			  const char **ret_why)
{
	int r = read_framing(h, ret, ret_why);

	if (r < 0)
		return r;
	if (head_request || h->status < 200 || h->status == 204 || h->status == 304) {
		ret->body = HTTP_BODY_NONE;
		if (h->status < 200 || h->status == 204)
			ret->has_length = false;
	} else if (ret->body == HTTP_BODY_NONE && !ret->has_length) {
		ret->body = HTTP_BODY_CLOSE;
	}
	return 0;
}
