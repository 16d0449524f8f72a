/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HMAC signatures as webhooks and many APIs use them: a header that carries the
 * HMAC of a text made from the request. What the text is made of, and how the
 * header is written, are templates of the configuration:
 *
 *   signs   "v0:{timestamp}:{body}"     format  "v0={hex}"
 *
 * Templates come from the operator and are checked when they are read.
 */
#include "tlsproxy/sign.h"

#include <openssl/evp.h>
#include <stdio.h>

static struct http_text text(const char *s)
{
	return (struct http_text){ s, strlen(s) };
}

/* ---- templates ----------------------------------------------------------------------------- */

static const struct {
	const char *name;
	enum sign_part_kind kind;
} words[] = {
	{ "method", SIGN_PART_METHOD }, { "target", SIGN_PART_TARGET },
	{ "path", SIGN_PART_PATH },	{ "query", SIGN_PART_QUERY },
	{ "host", SIGN_PART_HOST },	{ "timestamp", SIGN_PART_TIMESTAMP },
	{ "body", SIGN_PART_BODY },	{ "body_sha256", SIGN_PART_BODY_SHA256 },
	{ "hex", SIGN_PART_HEX },	{ "base64", SIGN_PART_BASE64 },
};

static bool is_token(struct http_text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (!http_is_token_char((uint8_t)t.s[i]))
			return false;
	return t.len > 0;
}

static int add_part(struct sign_template *t, enum sign_part_kind kind, struct http_text s)
{
	struct sign_part *p = t->n ? &t->parts[t->n - 1] : NULL;
	char *more;

	if (kind == SIGN_PART_TEXT && p && p->kind == SIGN_PART_TEXT) {
		more = realloc(p->text, p->len + s.len + 1);
		if (!more)
			return -ENOMEM;
		p->text = more;
	} else {
		if (t->n == SIGN_PARTS_MAX)
			return -E2BIG;
		p = &t->parts[t->n++];
		*p = (struct sign_part){ .kind = kind, .text = malloc(s.len + 1) };
		if (!p->text)
			return -ENOMEM;
	}
	if (s.len)
		memcpy(p->text + p->len, s.s, s.len);
	p->len += s.len;
	p->text[p->len] = 0;
	return 0;
}

static int add_word(struct sign_template *t, struct http_text w, bool format, char *err,
		    size_t err_size)
{
	if (w.len > 7 && memcmp(w.s, "header:", 7) == 0 && !format) {
		w = (struct http_text){ w.s + 7, w.len - 7 };
		if (is_token(w))
			return add_part(t, SIGN_PART_HEADER, w);
	}
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		bool of_format = words[i].kind >= SIGN_PART_HEX;

		if (!http_text_is(w, words[i].name))
			continue;
		if (format != of_format && words[i].kind != SIGN_PART_TIMESTAMP)
			break;
		return add_part(t, words[i].kind, (struct http_text){ 0 });
	}
	snprintf(err, err_size,
		 format ? "\"{%.40s}\" is no part of a format; it has {hex}, {base64} and "
			  "{timestamp}"
			: "\"{%.40s}\" is no part of a request; there are {method}, {target}, "
			  "{path}, "
			  "{query}, {host}, {timestamp}, {header:NAME}, {body} and {body_sha256}",
		 w.s ? w.s : "");
	return -EINVAL;
}

/* "{{" and "}}" stand for braces. */
static int parse_template(const char *s, bool format, struct sign_template *t, char *err,
			  size_t err_size)
{
	int r = 0;

	if (strlen(s) > SIGN_TEMPLATE_MAX) {
		snprintf(err, err_size, "a template longer than %d characters", SIGN_TEMPLATE_MAX);
		return -EINVAL;
	}
	while (*s && r == 0) {
		size_t n = strcspn(s, "{}");
		const char *end;
		char word[64];

		if (n || s[0] == s[1]) {
			n = n ? n : 1;
			r = add_part(t, SIGN_PART_TEXT, (struct http_text){ s, n });
			s += *s == '{' || *s == '}' ? 2 : n;
			continue;
		}
		end = *s == '{' ? strchr(s, '}') : NULL;
		if (!end || (size_t)(end - s) > sizeof(word)) {
			snprintf(err, err_size,
				 "a brace in \"%.60s\" that is not closed; write {{ or }} "
				 "for the character",
				 s);
			return -EINVAL;
		}
		n = (size_t)(end - s) - 1;
		memcpy(word, s + 1, n);
		word[n] = 0;
		r = add_word(t, (struct http_text){ word, n }, format, err, err_size);
		s = end + 1;
	}
	if (r == -E2BIG) {
		snprintf(err, err_size, "more than %d parts", SIGN_PARTS_MAX);
		r = -EINVAL;
	}
	return r;
}

static bool has_part(const struct sign_template *t, enum sign_part_kind kind)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->parts[i].kind == kind)
			return true;
	return false;
}

static void template_fini(struct sign_template *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->parts[i].text);
	t->n = 0;
}

/* ---- the definition --------------------------------------------------------------------------- */

static int read_hash(const char *name, enum sign_hash *ret)
{
	static const char *const names[] = { "sha256", "sha1", "sha512" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!name || str_eq(name, names[i])) {
			*ret = (enum sign_hash)i;
			return 0;
		}
	return -EINVAL;
}

static int check(const struct sign_hmac *h, char *err, size_t err_size)
{
	const char *why = NULL;

	if (!h->signs.n)
		why = "nothing is signed: \"signs\" is empty";
	else if (!has_part(&h->format, SIGN_PART_HEX) && !has_part(&h->format, SIGN_PART_BASE64))
		why = "the format has neither {hex} nor {base64}";
	else if (!h->timestamp_header && (has_part(&h->signs, SIGN_PART_TIMESTAMP) ||
					  has_part(&h->format, SIGN_PART_TIMESTAMP)))
		why = "{timestamp} needs \"timestamp_header\": the field that carries it";
	for (size_t i = 0; !why && i < h->format.n; i++)
		for (size_t j = 0; !why && j < h->format.parts[i].len; j++)
			if (h->format.parts[i].text[j] < ' ' || h->format.parts[i].text[j] > '~')
				why = "the format has a character that no field can have";
	if (!why)
		return 0;
	snprintf(err, err_size, "%s", why);
	return -EINVAL;
}

static int copy_name(const char *s, const char *what, char **ret, char *err, size_t err_size)
{
	if (!s || !is_token(text(s)) || strlen(s) > 128 || http_field_is_framing(text(s))) {
		snprintf(err, err_size, "\"%s\" is not the name of a field", what);
		return -EINVAL;
	}
	*ret = strdup(s);
	return *ret ? 0 : -ENOMEM;
}

int sign_hmac_init(struct sign_hmac *h, const struct tlsproxy_sign *cfg, char *err, size_t err_size)
{
	int r;

	*h = (struct sign_hmac){ 0 };
	if (read_hash(cfg->algorithm, &h->hash) < 0) {
		snprintf(err, err_size, "the algorithm is sha256, sha1 or sha512");
		return -EINVAL;
	}
	r = copy_name(cfg->header, "header", &h->header, err, err_size);
	if (r == 0 && cfg->timestamp_header)
		r = copy_name(cfg->timestamp_header, "timestamp_header", &h->timestamp_header, err,
			      err_size);
	if (r == 0)
		r = parse_template(cfg->signs ? cfg->signs : "{body}", false, &h->signs, err,
				   err_size);
	if (r == 0)
		r = parse_template(cfg->format ? cfg->format : "{hex}", true, &h->format, err,
				   err_size);
	if (r == 0)
		r = check(h, err, err_size);
	if (r < 0)
		sign_hmac_fini(h);
	return r;
}

void sign_hmac_fini(struct sign_hmac *h)
{
	free(h->header);
	free(h->timestamp_header);
	template_fini(&h->signs);
	template_fini(&h->format);
	*h = (struct sign_hmac){ 0 };
}

bool sign_hmac_needs_body(const struct sign_hmac *h)
{
	return has_part(&h->signs, SIGN_PART_BODY) || has_part(&h->signs, SIGN_PART_BODY_SHA256);
}

/* ---- signing ------------------------------------------------------------------------------------ */

static struct http_text field_of(const struct sign_message *m, const char *name)
{
	for (size_t i = 0; i < m->n_fields; i++)
		if (http_text_ieq(m->fields[i].name, name))
			return m->fields[i].value;
	return (struct http_text){ "", 0 };
}

static struct http_text part_text(const struct sign_hmac *h, const struct sign_part *p,
				  const struct sign_message *m, struct http_text timestamp,
				  struct http_text body, struct http_text body_hash)
{
	const char *mark = m->target.len ? memchr(m->target.s, '?', m->target.len) : NULL;
	size_t path = mark ? (size_t)(mark - m->target.s) : m->target.len;
	struct http_text t;

	switch (p->kind) {
	case SIGN_PART_TEXT:
		return (struct http_text){ p->text, p->len };
	case SIGN_PART_METHOD:
		return m->method;
	case SIGN_PART_TARGET:
		return m->target;
	case SIGN_PART_PATH:
		return (struct http_text){ m->target.s, path };
	case SIGN_PART_QUERY:
		return (struct http_text){ mark ? mark + 1 : "", mark ? m->target.len - path - 1 : 0 };
	case SIGN_PART_HOST:
		return m->host;
	case SIGN_PART_TIMESTAMP:
		t = field_of(m, h->timestamp_header);
		return t.len ? t : timestamp;
	case SIGN_PART_BODY:
		return body;
	case SIGN_PART_BODY_SHA256:
		return body_hash;
	case SIGN_PART_HEADER:
		return field_of(m, p->text);
	case SIGN_PART_HEX:
	case SIGN_PART_BASE64:
		break;
	}
	return (struct http_text){ "", 0 };
}

int sign_hmac_value(const struct sign_hmac *h, const struct sign_message *m,
		    struct http_text timestamp, struct http_text body, const void *key,
		    size_t key_len, struct buf *out)
{
	size_t n = sign_hash_size(h->hash), n_sha = sign_hash_size(SIGN_SHA256);
	char hex[2 * SIGN_HASH_MAX], base64[SIGN_HASH_MAX * 2], sha[2 * SIGN_HASH_MAX];
	struct http_text parts[SIGN_PARTS_MAX], t;
	uint8_t mac[SIGN_HASH_MAX];
	int r = sign_digest(SIGN_SHA256, body, mac);

	sign_hex(mac, n_sha, sha);
	for (size_t i = 0; i < h->signs.n; i++)
		parts[i] = part_text(h, &h->signs.parts[i], m, timestamp, body,
				     (struct http_text){ sha, 2 * n_sha });
	if (r == 0)
		r = sign_mac(h->hash, key, key_len, parts, h->signs.n, mac);
	if (r < 0)
		return r;
	sign_hex(mac, n, hex);
	EVP_EncodeBlock((unsigned char *)base64, mac, (int)n);
	for (size_t i = 0; r == 0 && i < h->format.n; i++) {
		const struct sign_part *p = &h->format.parts[i];

		t = p->kind == SIGN_PART_HEX	  ? (struct http_text){ hex, 2 * n }
		    : p->kind == SIGN_PART_BASE64 ? text(base64)
						  : part_text(h, p, m, timestamp, body, text(""));
		r = buf_append(out, t.s, t.len);
	}
	return r;
}
