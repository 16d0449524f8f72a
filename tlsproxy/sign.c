/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request and the secret it is signed with. Three steps, as a request goes by:
 *
 *   sign_find    is it signed with one of our credentials, and which
 *   sign_verify  was it the placeholder's holder who signed this very request
 *   sign_apply   the head that goes out gets the signature of the value
 *
 * A request that is meant for us and does not verify is refused. Signing it
 * would make the real key answer for a request that nobody who was given the placeholder asked for;
 * passing it on would leave the server to say that signatures do not match.
 */
#include "tlsproxy/sign.h"

#include <stdio.h>

static struct http_text text(const char *s)
{
	return (struct http_text){ s, strlen(s) };
}

/* ---- definitions --------------------------------------------------------------------------- */

int tlsproxy_sign_check(const struct tlsproxy_sign *s, char *err, size_t err_size)
{
	struct sign_hmac h;
	int r;

	if (s->kind == TLSPROXY_SIGN_HMAC) {
		r = sign_hmac_init(&h, s, err, err_size);
		if (r == 0)
			sign_hmac_fini(&h);
		return r;
	}
	if (s->key_id && s->key_id[0])
		return 0;
	snprintf(err, err_size, "the secret that holds the access key id is missing");
	return -EINVAL;
}

static int find_key_id(const struct tlsproxy_secret *in, size_t n, size_t i, size_t *ret, char *err,
		       size_t err_size)
{
	const char *id = in[i].sign->key_id;

	for (size_t j = 0; j < n; j++)
		if (j != i && id && in[j].env && str_eq(in[j].env, id) && !in[j].sign) {
			*ret = j;
			return 0;
		}
	snprintf(err, err_size, "secret %s: its access key id \"%.64s\" is not another secret",
		 in[i].env, id ? id : "");
	return -EINVAL;
}

int sign_rule_new(const struct tlsproxy_secret *in, size_t n, size_t i, struct sign_rule **ret,
		  char *err, size_t err_size)
{
	struct sign_rule *rule = calloc(1, sizeof(*rule));
	char why[192] = "";
	int r = rule ? sign_hash_init() : -ENOMEM;

	if (r < 0)
		goto out;
	rule->kind = in[i].sign->kind;
	if (rule->kind == TLSPROXY_SIGN_AWS) {
		r = find_key_id(in, n, i, &rule->key_id, err, err_size);
	} else {
		r = sign_hmac_init(&rule->hmac, in[i].sign, why, sizeof(why));
		if (r == -EINVAL)
			snprintf(err, err_size, "secret %s: sign: %s", in[i].env, why);
	}
	if (r < 0)
		goto out;
	*ret = rule;
	return 0;
out:
	free(rule);
	return r;
}

void sign_rule_free(struct sign_rule *r)
{
	if (r)
		sign_hmac_fini(&r->hmac);
	free(r);
}

/* ---- finding --------------------------------------------------------------------------------- */

static const struct secret *secret_of(const struct sign_plan *p)
{
	return &p->set->secrets[p->secret];
}

static struct http_text placeholder_of(const struct secret *s)
{
	return text(s->placeholder);
}

static int find_aws(const struct sign_message *m, struct sign_plan *p, const char **ret_why)
{
	const struct secret *id = &p->set->secrets[p->rule->key_id];
	int r = sign_aws_parse(m, placeholder_of(id), &p->aws, ret_why);

	if (r < 0)
		return -EPERM;
	p->place = p->aws.in_query ? TLSPROXY_IN_QUERY : TLSPROXY_IN_HEADER;
	p->needs_body = r == 1 && p->aws.payload.len == 0;
	return r;
}

static bool timestamp_fits(const struct sign_message *m, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n_fields; i++)
		if (http_text_ieq(m->fields[i].name, name) &&
		    (n++ || !m->fields[i].value.len || m->fields[i].value.len > SIGN_TIMESTAMP_MAX))
			return false;
	return true;
}

static int find_hmac(const struct sign_message *m, struct sign_plan *p, const char **ret_why)
{
	const struct sign_hmac *h = &p->rule->hmac;
	struct http_text v = { 0 }, key = placeholder_of(secret_of(p));
	size_t n = 0;

	p->place = TLSPROXY_IN_HEADER;
	for (size_t i = 0; i < m->n_fields; i++)
		if (http_text_ieq(m->fields[i].name, h->header) && n++ == 0)
			v = m->fields[i].value;
	if (n == 0)
		return 0;
	if (n > 1) {
		*ret_why = "more than one signature";
		return -EPERM;
	}
	if (h->timestamp_header && !timestamp_fits(m, h->timestamp_header)) {
		*ret_why = "a signature's timestamp that is none, or more than one";
		return -EPERM;
	}
	p->bare = v.len == key.len && memcmp(v.s, key.s, key.len) == 0;
	p->needs_body = sign_hmac_needs_body(h);
	return 1;
}

int sign_find(const struct secret_set *set, const struct authority *a, const struct sign_message *m,
	      struct sign_plan *ret, const char **ret_why)
{
	for (size_t i = 0; set && i < set->n; i++) {
		const struct secret *s = &set->secrets[i];
		int r;

		if (!s->sign || !secret_host_allowed(s, a))
			continue;
		*ret = (struct sign_plan){ .set = set, .secret = i, .rule = s->sign };
		r = s->sign->kind == TLSPROXY_SIGN_AWS ? find_aws(m, ret, ret_why)
						       : find_hmac(m, ret, ret_why);
		if (r != 0)
			return r;
	}
	return 0;
}

bool sign_owns_field(const struct sign_plan *p, struct http_text name)
{
	if (!p->rule)
		return false;
	if (p->rule->kind == TLSPROXY_SIGN_HMAC)
		return http_text_ieq(name, p->rule->hmac.header);
	return !p->aws.in_query && http_text_ieq(name, "Authorization");
}

/* ---- verifying ---------------------------------------------------------------------------------- */

/* The payload's hash as it is signed: the client's own, or that of the body. */
static int payload_hash(const struct sign_aws *a, struct http_text body,
			char hex[static SIGN_HEX_LEN], struct http_text *ret)
{
	uint8_t hash[SIGN_HASH_MAX];
	int r = 0;

	*ret = a->payload;
	if (a->payload.len)
		return 0;
	r = sign_digest(SIGN_SHA256, body, hash);
	if (r < 0)
		return r;
	sign_hex(hash, sign_hash_size(SIGN_SHA256), hex);
	*ret = (struct http_text){ hex, SIGN_HEX_LEN };
	return 0;
}

static int verify_aws(struct sign_plan *p, const struct sign_message *m, struct http_text body,
		      const char **ret_why)
{
	struct http_text key = placeholder_of(secret_of(p)), payload;
	char hex[SIGN_HEX_LEN];
	int r = payload_hash(&p->aws, body, hex, &payload);

	if (r == 0)
		r = sign_aws_verify(m, &p->aws, payload, key.s, key.len, &p->style);
	if (r == -EKEYREJECTED) {
		*ret_why = "the AWS signature was not made with the placeholder of this credential";
		return -EPERM;
	}
	if (r == -E2BIG) {
		*ret_why = "a query with more parameters than can be signed";
		return -EPERM;
	}
	return r;
}

static bool same(struct http_text a, const struct buf *b)
{
	unsigned differ = a.len != b->len;

	for (size_t i = 0; i < a.len && !differ; i++)
		differ |= (unsigned)((uint8_t)a.s[i] ^ buf_at(b)[i]);
	return !differ;
}

static int verify_hmac(const struct sign_plan *p, const struct sign_message *m,
		       struct http_text body, const char **ret_why)
{
	const struct sign_hmac *h = &p->rule->hmac;
	struct http_text key = placeholder_of(secret_of(p)), given = { 0 };
	struct buf want = BUF_INIT(HTTP_HEAD_MAX);
	int r;

	if (p->bare)
		return 0;
	for (size_t i = 0; i < m->n_fields; i++)
		if (http_text_ieq(m->fields[i].name, h->header))
			given = m->fields[i].value;
	r = sign_hmac_value(h, m, text(""), body, key.s, key.len, &want);
	if (r == 0 && !same(given, &want)) {
		*ret_why = "the signature was not made with the placeholder of this secret";
		r = -EPERM;
	}
	buf_fini(&want);
	return r;
}

int sign_verify(struct sign_plan *p, const struct sign_message *m, struct http_text body,
		const char **ret_why)
{
	if (p->rule->kind == TLSPROXY_SIGN_AWS)
		return verify_aws(p, m, body, ret_why);
	return verify_hmac(p, m, body, ret_why);
}

/* ---- signing ---------------------------------------------------------------------------------------- */

static struct http_field *field_of(struct http_head *h, const char *name)
{
	for (size_t i = 0; i < h->n_fields; i++)
		if (http_text_ieq(h->fields[i].name, name))
			return &h->fields[i];
	return NULL;
}

/* What was appended to arena since. */
static struct http_text appended(const struct buf *arena, size_t since)
{
	return (struct http_text){ (char *)buf_at(arena) + since, arena->len - since };
}

static int write_credential(const struct sign_plan *p, struct buf *arena, struct http_text *ret)
{
	const struct secret *id = &p->set->secrets[p->rule->key_id];
	const struct sign_aws *a = &p->aws;
	const struct http_text parts[] = { { (const char *)id->value, id->len },
					   text("/"),
					   a->day,
					   text("/"),
					   a->region,
					   text("/"),
					   a->service,
					   text("/aws4_request") };
	size_t before = arena->len;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++)
		r = buf_append(arena, parts[i].s, parts[i].len);
	*ret = appended(arena, before);
	return r;
}

/* Where the signature goes: into the field, or among the parameters; NULL: nowhere. */
static char *aws_place(const struct sign_plan *p, struct http_head *h, const struct sign_message *m,
		       struct buf *arena)
{
	struct http_text at = { 0 }, credential;
	struct http_field *f;
	size_t before;

	if (p->aws.in_query) {
		if (sign_param_find(h->target, "X-Amz-Signature", &at) != 1 || at.len != SIGN_HEX_LEN)
			return NULL;
		/* In the arena of the head that goes out, which is written to. */
		return (char *)(uintptr_t)at.s;
	}
	f = field_of(h, "Authorization");
	if (!f || write_credential(p, arena, &credential) < 0)
		return NULL;
	before = arena->len;
	if (sign_aws_write(m, &p->aws, credential, arena) < 0)
		return NULL;
	f->value = appended(arena, before);
	f->sensitive = true;
	return (char *)(uintptr_t)f->value.s + f->value.len - SIGN_HEX_LEN;
}

/* A presigned URL names its fields itself: none of them may be missing. */
static bool covers_all(const struct sign_aws *a, const struct sign_message *m)
{
	struct http_text rest = a->names, name;

	while (sign_aws_next_name(&rest, &name))
		if (!sign_aws_has(m, name))
			return false;
	return true;
}

static int apply_aws(const struct sign_plan *p, struct http_head *h, struct sign_message *m,
		     struct http_text body, struct buf *arena, const char **ret_why)
{
	const struct secret *s = secret_of(p);
	struct http_text payload;
	char hex[SIGN_HEX_LEN], made[SIGN_HEX_LEN], *at;
	int r = payload_hash(&p->aws, body, hex, &payload);

	if (r < 0)
		return r;
	if (p->aws.in_query && !covers_all(&p->aws, m)) {
		*ret_why = "the presigned AWS URL covers a field that does not go on";
		return -EPERM;
	}
	at = aws_place(p, h, m, arena);
	if (!at)
		return -ENOBUFS;
	m->target = h->target;
	r = sign_aws_sign(m, &p->aws, &p->style, payload, s->value, s->len, made);
	if (r == -E2BIG)
		*ret_why = "a query with more parameters than can be signed";
	if (r < 0)
		return r == -E2BIG ? -EPERM : r;
	memcpy(at, made, SIGN_HEX_LEN);
	return 0;
}

static int add_timestamp(const struct sign_hmac *sh, struct http_head *h, uint64_t now_s,
			 struct buf *arena)
{
	size_t before = arena->len;
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)now_s);

	if (!sh->timestamp_header || field_of(h, sh->timestamp_header))
		return 0;
	if (h->n_fields == HTTP_FIELDS_MAX || buf_append(arena, digits, (size_t)n) < 0)
		return -ENOBUFS;
	h->fields[h->n_fields++] = (struct http_field){ .name = text(sh->timestamp_header),
							.value = appended(arena, before) };
	return 0;
}

static int apply_hmac(const struct sign_plan *p, struct http_head *h, struct sign_message *m,
		      struct http_text body, uint64_t now_s, struct buf *arena)
{
	const struct sign_hmac *sh = &p->rule->hmac;
	const struct secret *s = secret_of(p);
	struct http_field *f = field_of(h, sh->header);
	int r = f ? add_timestamp(sh, h, now_s, arena) : -ENOBUFS;
	size_t before = arena->len;

	if (r < 0)
		return r;
	m->n_fields = h->n_fields;
	r = sign_hmac_value(sh, m, text(""), body, s->value, s->len, arena);
	if (r < 0)
		return r;
	f->value = appended(arena, before);
	f->sensitive = true;
	return 0;
}

int sign_apply(const struct sign_plan *p, struct http_head *h, struct http_text host,
	       struct http_text body, uint64_t now_s, struct buf *arena, const char **ret_why)
{
	struct sign_message m = { .method = h->method,
				  .target = h->target,
				  .host = host,
				  .fields = h->fields,
				  .n_fields = h->n_fields };

	if (arena->size - arena->off - arena->len < SIGN_ARENA)
		return -ENOBUFS;
	if (p->rule->kind == TLSPROXY_SIGN_AWS)
		return apply_aws(p, h, &m, body, arena, ret_why);
	return apply_hmac(p, h, &m, body, now_s, arena);
}
