/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures (internal to tlsproxy): requests that a client signs with a key
 * cannot carry a placeholder that becomes the key. So the client signs with the placeholder
 * as its key; the signature is verified with the same placeholder, which shows
 * that it is this credential that is meant and that nothing of the request is a
 * surprise to its sender; then the request, as it goes out, is signed anew with the real key.
 *
 *   guest's head ─► sign_aws_parse ─► sign_aws_verify (placeholder) ─┐ judged, secrets put in,
 *   upstream's head ◄─ signature in its place ◄─ sign_aws_sign ◄─────┘ written anew
 *
 * Pure functions over a head: no clock, no state. Dates are the request's; whether
 * they are too old is for the server to say.
 */
#ifndef WEIR_TLSPROXY_SIGN_H
#define WEIR_TLSPROXY_SIGN_H

#include "tlsproxy/http_internal.h"

/* ---- limits ------------------------------------------------------------------------ */

/* Parameters of a query that is signed: they are sorted. */
#define SIGN_PARAMS_MAX 512
/* Names in SignedHeaders: each is looked up among the fields. */
#define SIGN_HEADERS_MAX HTTP_FIELDS_MAX
/* Region and service of a credential's scope: AWS's longest have some 30. */
#define SIGN_SCOPE_WORD_MAX 64
/* SignedHeaders as a whole: it is written anew, into storage that was reserved. */
#define SIGN_NAMES_MAX 4096
/* A timestamp that the client sends: it may become part of a signature's field. */
#define SIGN_TIMESTAMP_MAX 64
/* A template, and its parts. */
#define SIGN_TEMPLATE_MAX 1024
#define SIGN_PARTS_MAX 32

/* A body that is signed, kept until its head is out: a guest that sends without end. */
#define SIGN_BODY_MAX ((size_t)8 << 20)
/* All of them in the process: many flows at once. */
#define SIGN_BODIES_MAX ((size_t)128 << 20)

/* ---- a request as one side sees it --------------------------------------------------- */

struct sign_message {
	struct http_text method, target; /* target in origin form */
	struct http_text host;		 /* Host or :authority as it is sent */
	const struct http_field *fields;
	size_t n_fields;
};

/* ---- hashes (sign_hash.c) -------------------------------------------------------------- */

enum sign_hash { SIGN_SHA256 = 0, SIGN_SHA1 = 1, SIGN_SHA512 = 2 };
#define SIGN_HASH_MAX 64

/* Fetches the algorithms, once; before the process gives up opening files. */
must_check int sign_hash_init(void);
size_t sign_hash_size(enum sign_hash h);
must_check int sign_digest(enum sign_hash h, struct http_text t, uint8_t ret[static SIGN_HASH_MAX]);
/* RFC 2104, over the parts one after another. */
must_check int sign_mac(enum sign_hash h, const void *key, size_t key_len,
			const struct http_text *parts, size_t n, uint8_t ret[static SIGN_HASH_MAX]);
/* Lower case, 2 * n characters, no NUL. */
void sign_hex(const uint8_t *p, size_t n, char *out);

/* ---- AWS Signature Version 4 (sign_aws.c, sign_aws_parse.c, sign_aws_form.c) ------------ */

#define SIGN_HEX_LEN 64 /* a SHA-256 in hex */
#define SIGN_AWS_UNSIGNED "UNSIGNED-PAYLOAD"

/* What the client signed, and how it wrote it; texts point into the message. */
struct sign_aws {
	bool in_query;		     /* presigned */
	struct http_text credential; /* ID/DATE/REGION/SERVICE/aws4_request; '/' decoded or %2F */
	struct http_text id;
	struct http_text day, region, service;
	struct http_text date;	    /* YYYYMMDDTHHMMSSZ */
	struct http_text names;	    /* of SignedHeaders, between semicolons (or %3B) */
	struct http_text signature; /* 64 hex digits */
	struct http_text payload;   /* x-amz-content-sha256, or UNSIGNED-PAYLOAD; or
				     * empty: the hash of the body is needed */
};
/*
 * 1: m is signed with the credential of this id, 0: it is not. -EBADMSG: it is, but
 * in a way that cannot be verified or signed anew; *ret_why is a static sentence.
 */
must_check int sign_aws_parse(const struct sign_message *m, struct http_text id,
			      struct sign_aws *ret, const char **ret_why);

/*
 * How a client brought path and query into the form that is hashed. AWS's
 * services differ (S3 takes the path as it is sent, others normalise and escape
 * it once more), clients too: verification finds out, signing does the same.
 */
enum sign_aws_path {
	SIGN_AWS_PATH_NORMAL = 0, /* dot segments and empty ones gone, escaped once more */
	SIGN_AWS_PATH_AGAIN = 1,  /* escaped once more */
	SIGN_AWS_PATH_PLAIN = 2,  /* escapes brought into the one canonical form */
	SIGN_AWS_PATH_SENT = 3,	  /* as it is */
};
#define SIGN_AWS_PATHS 4
struct sign_aws_style {
	enum sign_aws_path path;
	bool query_sent; /* parameters only sorted, not escaped anew */
};

/* Names of SignedHeaders, one after another; false at the end. */
bool sign_aws_next_name(struct http_text *rest, struct http_text *ret);
/* Is a field of that name (or the host) part of the message. */
bool sign_aws_has(const struct sign_message *m, struct http_text name);
/*
 * The canonical request; appended to out, whose storage is reserved at once: the
 * head may hold values. payload: of sign_aws.payload, or 64 hex digits. Names
 * that the message does not have are left out when `lenient`, else -EBADMSG.
 */
must_check int sign_aws_canonical(const struct sign_message *m, const struct sign_aws *a,
				  const struct sign_aws_style *style, struct http_text payload,
				  bool lenient, struct buf *out);
/*
 * The signature of m under key; a: date, scope, names and whether in the query.
 */
must_check int sign_aws_sign(const struct sign_message *m, const struct sign_aws *a,
			     const struct sign_aws_style *style, struct http_text payload,
			     const void *key, size_t key_len, char ret[static SIGN_HEX_LEN]);
/* 0 with the style that was found; -EKEYREJECTED: not made with this key. */
must_check int sign_aws_verify(const struct sign_message *m, const struct sign_aws *a,
			       struct http_text payload, const void *key, size_t key_len,
			       struct sign_aws_style *ret);
/* The Authorization of the request as it goes out: names it still has, the signature 64 zeros. */
must_check int sign_aws_write(const struct sign_message *m, const struct sign_aws *a,
			      struct http_text credential, struct buf *out);

/* The value of the parameter, still escaped. Counts those of that name. */
size_t sign_param_find(struct http_text target, const char *name, struct http_text *ret);

/* ---- HMAC by a template (sign_hmac.c) ------------------------------------------------------ */

enum sign_part_kind {
	SIGN_PART_TEXT = 0,
	SIGN_PART_METHOD,
	SIGN_PART_TARGET,
	SIGN_PART_PATH,
	SIGN_PART_QUERY,
	SIGN_PART_HOST,
	SIGN_PART_TIMESTAMP,
	SIGN_PART_BODY,
	SIGN_PART_BODY_SHA256, /* hex */
	SIGN_PART_HEADER,
	SIGN_PART_HEX, /* of formats only: the signature */
	SIGN_PART_BASE64,
};
struct sign_part {
	enum sign_part_kind kind;
	char *text; /* literal, or the field's name */
	size_t len;
};
/* "{method}\n{path}" and the like: "{{" is a brace. */
struct sign_template {
	struct sign_part parts[SIGN_PARTS_MAX];
	size_t n;
};
struct sign_hmac {
	enum sign_hash hash;
	char *header;		/* that carries the signature */
	char *timestamp_header; /* or NULL: the template has no {timestamp} */
	struct sign_template signs, format;
};
/* -EINVAL with a sentence in err. Texts may be NULL where there is a default. */
must_check int sign_hmac_init(struct sign_hmac *h, const struct tlsproxy_sign *cfg, char *err,
			      size_t err_size);
void sign_hmac_fini(struct sign_hmac *h);
bool sign_hmac_needs_body(const struct sign_hmac *h);
/* The header's value for this message. timestamp: where the message has none. */
must_check int sign_hmac_value(const struct sign_hmac *h, const struct sign_message *m,
			       struct http_text timestamp, struct http_text body, const void *key,
			       size_t key_len, struct buf *out);

/* ---- a request and its secret (sign.c) --------------------------------------------------------- */

/* How a secret signs; belongs to its set. */
struct sign_rule {
	enum tlsproxy_sign_kind kind;
	size_t key_id; /* AWS: index of the secret that holds the id */
	struct sign_hmac hmac;
};
/* Of in[i], which has a definition. -EINVAL with a sentence. */
must_check int sign_rule_new(const struct tlsproxy_secret *in, size_t n, size_t i,
			     struct sign_rule **ret, char *err, size_t err_size);
void sign_rule_free(struct sign_rule *r);

/* What is to be signed in one request; points into the message it was found in. */
struct sign_plan {
	const struct secret_set *set;
	size_t secret; /* index */
	const struct sign_rule *rule;
	enum tlsproxy_place place;
	bool bare;	 /* HMAC: the placeholder stands in place of the signature */
	bool needs_body; /* and that is all of it, before the head goes out */
	struct sign_aws aws;
	struct sign_aws_style style;
};
/*
 * 1 with a plan, 0: nothing is signed here. -EPERM: something is, and it is refused;
 * *ret_why is static and plan->secret set. a: whom the request is for; the connection is verified TLS.
 */
must_check int sign_find(const struct secret_set *set, const struct authority *a,
			 const struct sign_message *m, struct sign_plan *ret, const char **ret_why);
/* A field that sign_apply() writes: no secret is put in there, nor looked for. */
bool sign_owns_field(const struct sign_plan *p, struct http_text name);
/* The client's own signature is true; 0, or -EPERM with *ret_why. body: as the client sent it. */
must_check int sign_verify(struct sign_plan *p, const struct sign_message *m, struct http_text body,
			   const char **ret_why);
/*
 * Signs h, the head as it goes out with all secrets in it: sets values of fields, and
 * in a presigned target, the signature in place. New texts are appended to arena,
 * whose storage must not move: -ENOBUFS when it has no room (SIGN_ARENA). now_s: seconds of the epoch, where the
 * client sent no timestamp. -EPERM with *ret_why.
 */
#define SIGN_ARENA (2 * TLSPROXY_SECRET_MAX + SIGN_NAMES_MAX + 4096)
must_check int sign_apply(const struct sign_plan *p, struct http_head *h, struct http_text host,
			  struct http_text body, uint64_t now_s, struct buf *arena,
			  const char **ret_why);

#endif
