/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fields of bodies, shared by their files.
 *
 *   http_rewrite.c            the public calls
 *   http_rewrite_type.c       what a Content-Type says
 *   http_rewrite_names.c      names as paths of keys, matched key by key
 *   http_rewrite_json.c       JSON
 *   http_rewrite_form.c       forms and queries
 *   http_rewrite_multipart.c  multipart/form-data
 */
#ifndef WEIR_TLSPROXY_HTTP_REWRITE_INT_H
#define WEIR_TLSPROXY_HTTP_REWRITE_INT_H

#include "tlsproxy/http_limits.h"
#include "tlsproxy/http_rewrite.h"

/* ---- names -------------------------------------------------------------------------- */

/* Positions of a name that a path of keys may stand at: bit i is in front of key i. */
typedef uint32_t field_set;

/* For each name: where the empty path stands. */
void field_sets_begin(const struct http_field_names *names, field_set *ret);
/* One key further. key NULL: one that matches no name but * and **. */
void field_sets_step(const struct http_field_names *names, const field_set *from, const char *key,
		     size_t len, field_set *ret);
/* Which names end there. */
uint64_t field_sets_match(const struct http_field_names *names, const field_set *at);
/* Which names are for a value with a single key. */
uint64_t field_names_of_key(const struct http_field_names *names, const char *key, size_t len);
size_t field_names_count(const struct http_field_names *names);

/* A key as it is read, decoded. */
struct field_key {
	char s[HTTP_FIELD_KEY_MAX];
	size_t len;
	bool odd; /* too long, or readers would differ in it: it is no name's */
};
void field_key_add(struct field_key *k, uint8_t c);

/* ---- bodies ------------------------------------------------------------------------------ */

/*
 * A scanner yields the next run of bytes that are all in the value under way or all in
 * none, from *in, of which at least one byte is there; or what it held. False: all of *in
 * is held now.
 */
struct json_scan;
struct form_scan;
struct multipart_scan;

struct http_rewrite {
	enum http_rewrite_kind kind;
	const struct http_field_names *names;
	bool valid;
	uint64_t value; /* names of the value under way */
	uint64_t at;	/* bytes of it that were yielded */
	struct json_scan *json;
	struct form_scan *form;
	struct multipart_scan *multipart;
};

must_check int json_scan_new(struct http_rewrite *r);
must_check bool json_scan_next(struct http_rewrite *r, struct rd *in, struct http_segment *ret);
must_check int form_scan_new(struct http_rewrite *r);
must_check bool form_scan_next(struct http_rewrite *r, struct rd *in, struct http_segment *ret);
must_check int multipart_scan_new(struct http_rewrite *r, const char *boundary, size_t len);
must_check bool multipart_scan_next(struct http_rewrite *r, struct rd *in, struct http_segment *ret);
must_check bool multipart_scan_end(struct http_rewrite *r, struct http_segment *ret);
size_t multipart_scan_held(const struct http_rewrite *r);

/* The run from *in's beginning up to `to` belongs to the value (or not); moves *in. */
void rewrite_run(struct http_rewrite *r, struct rd *in, const uint8_t *to, bool in_value,
		 struct http_segment *ret);

/* ---- texts ----------------------------------------------------------------------------------- */

struct part_text {
	const char *s;
	size_t len;
};
/*
 * The next of *s = 1*( OWS ";" OWS NAME "=" VALUE ), of a Content-Type or a
 * Content-Disposition. 1; 0 at the end; -EINVAL. A quoted value is without its quotes;
 * one with a backslash is -EINVAL, as readers differ in what it means.
 */
int part_param_next(struct part_text *s, struct part_text *ret_name, struct part_text *ret_value);
/* What stands before the first ";", trimmed; *s goes on with it. */
struct part_text part_head(struct part_text *s);

#endif
