/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a token endpoint answers: one HTTP/1.1 response with a small JSON body, read
 * with the same strictness as any other, then the token in it. Errors are told by their
 * registered code (RFC 6749 5.2); descriptions and everything else the server wrote stay
 * unread, as they may repeat what it was sent.
 */
#include "tlsproxy/token.h"

#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

enum { HEAD = 0, LENGTH = 1, CHUNKS = 2, TRAILERS = 3, CLOSE = 4, DONE = 5, FAILED = 6 };

void token_wipe(struct tlsproxy_token *t)
{
	explicit_bzero(t, sizeof(*t));
}

static void give_back(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

void token_wipe_json(void)
{
	json_set_alloc_funcs(malloc, give_back);
}

/* ---- JSON ------------------------------------------------------------------------------- */

static int bad(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EBADMSG;
}

/* Nesting of arrays and objects, strings skipped: before a parser that recurses sees it. */
static bool is_shallow(const char *p, size_t n)
{
	size_t depth = 0;
	bool string = false;

	for (size_t i = 0; i < n; i++) {
		if (string) {
			if (p[i] == '\\')
				i++;
			else if (p[i] == '"')
				string = false;
		} else if (p[i] == '"') {
			string = true;
		} else if (p[i] == '{' || p[i] == '[') {
			if (++depth > TOKEN_JSON_DEPTH)
				return false;
		} else if ((p[i] == '}' || p[i] == ']') && depth) {
			depth--;
		}
	}
	return true;
}

/* A string that may stand in a header; absent: 0 bytes. */
static int take_text(const json_t *o, const char *key, char *out, size_t *ret_len)
{
	const json_t *v = json_object_get(o, key);
	size_t n = json_string_length(v);
	const char *why;

	if (!v || json_is_null(v))
		return 0;
	if (!json_is_string(v) || tlsproxy_secret_check(json_string_value(v), n, &why) < 0)
		return -EBADMSG;
	memcpy(out, json_string_value(v), n + 1);
	*ret_len = n;
	return 0;
}

uint64_t token_time(const char *s)
{
	struct tm tm = { 0 };
	const char *end = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	time_t t;

	if (!end)
		return 0;
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	if (!str_eq(end, "Z"))
		return 0;
	t = timegm(&tm);
	return t > 0 ? (uint64_t)t : 0;
}

static int take_life(const json_t *o, uint64_t now_s, uint64_t *ret)
{
	const json_t *in = json_object_get(o, "expires_in"), *at = json_object_get(o, "expires_at");
	uint64_t s = TOKEN_LIFE_DEFAULT_S;

	if (json_is_integer(in) && json_integer_value(in) > 0) {
		s = (uint64_t)json_integer_value(in);
	} else if (json_is_string(in)) {
		/* Seen in the wild, against the RFC. */
		if (uint_parse(json_string_value(in), json_string_length(in), 1, UINT32_MAX, &s,
			       NULL) < 0)
			return -EBADMSG;
	} else if (in && !json_is_null(in)) {
		return -EBADMSG;
	} else if (json_is_string(at)) {
		s = token_time(json_string_value(at));
		if (s <= now_s)
			return -EBADMSG;
		s -= now_s;
	}
	*ret = MIN(s, (uint64_t)TOKEN_LIFE_MAX_S);
	return 0;
}

static int take_token(const json_t *o, uint64_t now_s, struct tlsproxy_token *t, const char **ret_why)
{
	const json_t *type = json_object_get(o, "token_type");
	int r = take_text(o, "access_token", t->access, &t->access_len);

	if (r == 0 && !t->access_len)
		r = take_text(o, "token", t->access, &t->access_len);
	if (r < 0)
		return bad(ret_why, "the token is not a text that can stand in a header");
	if (!t->access_len)
		return bad(ret_why, "there is no access_token in the reply");
	if (type && (!json_is_string(type) || strcasecmp(json_string_value(type), "bearer") != 0))
		return bad(ret_why, "the token is not a bearer token");
	if (take_text(o, "refresh_token", t->refresh, &t->refresh_len) < 0)
		return bad(ret_why, "the refresh token is not a text of a credential");
	if (take_life(o, now_s, &t->life_s) < 0)
		return bad(ret_why, "the token's lifetime cannot be read, or is over");
	return 0;
}

json_t *token_load_json(const void *p, size_t n)
{
	if (!n || !is_shallow(p, n))
		return NULL;
	return json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL);
}

int token_read_json(const void *p, size_t n, uint64_t now_s, struct tlsproxy_token *ret,
		    const char **ret_why)
{
	struct tlsproxy_token t = { 0 };
	json_t *o = token_load_json(p, n);
	int r;

	if (!json_is_object(o)) {
		json_decref(o);
		return bad(ret_why, "the reply is not a JSON object");
	}
	r = take_token(o, now_s, &t, ret_why);
	json_decref(o);
	if (r == 0)
		*ret = t;
	token_wipe(&t);
	return r;
}

int tlsproxy_token_read(const void *p, size_t n, uint64_t now_s, struct tlsproxy_token *ret,
			const char **ret_why)
{
	const char *s = p;
	struct tlsproxy_token t = { .life_s = TOKEN_LIFE_DEFAULT_S };

	while (n && (s[n - 1] == '\n' || s[n - 1] == '\r'))
		n--;
	if (n && s[0] == '{')
		return token_read_json(p, n, now_s, ret, ret_why);
	if (tlsproxy_secret_check(s, n, ret_why) < 0)
		return -EBADMSG;
	memcpy(t.access, s, n);
	t.access_len = n;
	*ret = t;
	token_wipe(&t);
	return 0;
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

int token_reader_init(struct token_reader *r)
{
	uint8_t *p;

	*r = (struct token_reader){ .text = BUF_INIT(TOKEN_REPLY_MAX) };
	http_collect_init(&r->head, HTTP_COLLECT_RESPONSE);
	return buf_reserve(&r->text, TOKEN_REPLY_MAX, &p);
}

void token_reader_fini(struct token_reader *r)
{
	http_collect_fini(&r->head);
	buf_fini_wiped(&r->text);
}

static int fail(struct token_reader *r, const char *why)
{
	r->state = FAILED;
	snprintf(r->why, sizeof(r->why), "%s", why);
	return -EBADMSG;
}

static int read_head(struct token_reader *r)
{
	struct http_head *h = calloc(1, sizeof(*h));
	struct http_framing fr = { 0 };
	struct http_text coding = { 0 };
	const char *why = "no response";
	int e = h ? http_head_response(&r->head, h, &why) : -ENOMEM;

	if (e == 0 && h->status >= 200)
		e = http_framing_response(h, false, &fr, &why);
	if (e == 0 && http_field_find(h, "Content-Encoding", &coding) &&
	    !http_text_ieq(coding, "identity"))
		e = -EBADMSG, why = "the reply is compressed, which was not asked for";
	r->status = e == 0 ? h->status : 0;
	free(h);
	http_collect_fini(&r->head);
	if (e < 0)
		return fail(r, why);
	if (r->status < 200) {
		http_collect_init(&r->head, HTTP_COLLECT_RESPONSE);
		return r->status == 101 ? fail(r, "an upgrade that nobody asked for") : 0;
	}
	r->left = fr.length;
	r->state = fr.body == HTTP_BODY_NONE	  ? DONE
		   : fr.body == HTTP_BODY_LENGTH  ? (fr.length ? LENGTH : DONE)
		   : fr.body == HTTP_BODY_CHUNKED ? CHUNKS
						  : CLOSE;
	return 0;
}

/* Takes some; *ret_taken. */
static int step(struct token_reader *r, const uint8_t *p, size_t n, size_t *ret_taken)
{
	const uint8_t *data = p;
	const char *why = NULL;
	size_t len = n;
	bool done = false;
	int e = 0;

	switch (r->state) {
	case HEAD:
		e = http_collect_feed(&r->head, p, n, ret_taken, &done, &why);
		return e < 0 ? fail(r, why) : done ? read_head(r) : 0;
	case TRAILERS:
		e = http_collect_feed(&r->head, p, n, ret_taken, &done, &why);
		if (done)
			r->state = DONE;
		return e < 0 ? fail(r, why) : 0;
	case CHUNKS:
		e = http_chunks_feed(&r->chunks, p, n, ret_taken, &data, &len, &done, &why);
		if (e < 0)
			return fail(r, why);
		if (done) {
			r->state = TRAILERS;
			http_collect_init(&r->head, HTTP_COLLECT_TRAILERS);
		}
		break;
	case LENGTH:
		len = (size_t)MIN((uint64_t)n, r->left);
		r->left -= len;
		r->state = r->left ? LENGTH : DONE;
		*ret_taken = len;
		break;
	case CLOSE:
		*ret_taken = len;
		break;
	default:
		*ret_taken = n;
		return 0;
	}
	if (len && buf_append(&r->text, data, len) < 0)
		return fail(r, "the reply is too long");
	return 0;
}

/* "invalid_client" and the like: registered words only, nothing else is repeated. */
static void refusal(struct token_reader *r)
{
	static const char *const codes[] = {
		"invalid_request",     "invalid_client",	 "invalid_grant",
		"unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"access_denied",       "server_error",		 "temporarily_unavailable",
	};
	json_t *o = token_load_json(buf_at(&r->text), r->text.len);
	const char *code = json_string_value(json_object_get(o, "error"));
	const char *known = "";

	for (size_t i = 0; code && i < ARRAY_SIZE(codes); i++)
		if (str_eq(code, codes[i]))
			known = codes[i];
	snprintf(r->why, sizeof(r->why), "the token endpoint answered %u%s%s", r->status,
		 *known ? " " : "", known);
	json_decref(o);
}

static int finish(struct token_reader *r, uint64_t now_s, struct tlsproxy_token *ret)
{
	const char *why = NULL;

	r->state = FAILED;
	if (r->status != 200 && r->status != 201) {
		refusal(r);
		return -EBADMSG;
	}
	if (token_read_json(buf_at(&r->text), r->text.len, now_s, ret, &why) < 0)
		return fail(r, why);
	return 1;
}

int token_reader_feed(struct token_reader *r, const uint8_t *p, size_t n, bool eof, uint64_t now_s,
		      struct tlsproxy_token *ret)
{
	while (n && r->state != DONE && r->state != FAILED) {
		size_t taken = 0;
		int e = step(r, p, n, &taken);

		if (e < 0)
			return e;
		p += taken;
		n -= taken;
	}
	if (eof && r->state == CLOSE)
		r->state = DONE;
	if (r->state == DONE)
		return finish(r, now_s, ret);
	if (r->state == FAILED)
		return -EBADMSG;
	return eof ? fail(r, "the token endpoint closed the connection within its reply") : 0;
}
