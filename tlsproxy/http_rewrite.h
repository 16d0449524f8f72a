/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which field of a body a byte belongs to: JSON (RFC 8259), forms and queries
 * (application/x-www-form-urlencoded), multipart/form-data (RFC 7578). So a secret that
 * is restricted to named fields is replaced in their values and nowhere else.
 *
 *     {"auth":{"token":"AAAA"},"note":"AAAA"}      with the name auth.token
 *     00000000000000000011110000000000000000       which bytes are in a named value
 *
 * It changes no byte and holds back no more than a multipart delimiter: it yields the
 * body again as segments. What is in doubt is in no field: keys longer than
 * HTTP_FIELD_KEY_MAX, values deeper than HTTP_FIELD_DEPTH, and everything behind a byte
 * that a strict reader would refuse. Of keys that occur twice each value is judged by its
 * own key, as readers differ in which they take. Constant memory.
 *
 * Names are paths of keys:
 *     token         the value of that key, at the top
 *     auth.token    nested; also auth[token]
 *     items.0.id    an index counts as a key; also items[0].id
 *     items.*.id    * is any one key or index
 *     **.token      ** is any number of them, also none: that key wherever it stands
 *     a\.b          a backslash makes the next character part of the key: . * [ ] \
 * A path that ends in an object or array names no byte: name the strings in it (auth.**).
 * Forms and multipart have one key per value; a name is for it when the path matches
 * that single key, or when it is the key as it stands, dots and brackets included.
 */
#ifndef WEIR_TLSPROXY_HTTP_REWRITE_H
#define WEIR_TLSPROXY_HTTP_REWRITE_H

#include "base/base.h"

/* ---- names ---------------------------------------------------------------------------------- */

/* One bit for each; also what one key costs. */
#define HTTP_FIELD_NAMES_MAX 64
/* Keys in one name: one bit for each. */
#define HTTP_FIELD_PARTS_MAX 16

struct http_field_names;

must_check int http_field_names_new(struct http_field_names **ret);
void http_field_names_free(struct http_field_names *f);
/*
 * Adds a name; *ret_index is its bit (the same text yields the same). -EINVAL with
 * *ret_why, a static sentence: empty key, unbalanced bracket, too long, too many keys;
 * -ENOSPC: HTTP_FIELD_NAMES_MAX; -ENOMEM.
 */
must_check int http_field_names_add(struct http_field_names *f, const char *s, size_t len,
				    unsigned *ret_index, const char **ret_why);

/* ---- bodies --------------------------------------------------------------------------------------- */

enum http_rewrite_kind {
	HTTP_REWRITE_NONE = 0, /* nothing in it is a field's */
	HTTP_REWRITE_JSON = 1,
	HTTP_REWRITE_FORM = 2, /* bodies and queries alike */
	HTTP_REWRITE_MULTIPART = 3,
};

/*
 * What a Content-Type value stands for: application/json and +json, text/json; forms;
 * multipart/form-data. For multipart *ret_boundary is the boundary, within s or, when it was
 * quoted, without its quotes; a boundary that is missing, repeated or out of form makes it
 * HTTP_REWRITE_NONE.
 */
enum http_rewrite_kind http_rewrite_kind(const char *s, size_t len, const char **ret_boundary,
					 size_t *ret_boundary_len);

struct http_segment {
	const uint8_t *p; /* in the input, or in the rewriter: valid until the next call */
	size_t n;	  /* > 0 */
	/*
	 * Bit i: these bytes are in the value of name i, as they are written there: inside the
	 * quotes of a JSON string with its escapes, in a form with its percent escapes, in
	 * multipart as they are. 0: in no named value. Between two named values there is always
	 * a segment with 0.
	 */
	uint64_t names;
	/* Bytes of the same value before this segment: what began before it is not in the field. */
	uint64_t at;
};

struct http_rewrite;

/* names has to live as long; boundary (multipart) is copied. 0, -EINVAL (boundary), -ENOMEM. */
must_check int http_rewrite_new(enum http_rewrite_kind kind, const struct http_field_names *names,
				const char *boundary, size_t boundary_len, struct http_rewrite **ret);
void http_rewrite_free(struct http_rewrite *r);

/*
 * The next bytes of which the same is true; moves *in. False: *in is used up, and what is
 * held back (of multipart only) waits for more.
 *
 *     struct rd in = rd_init(p, n);
 *     while (http_rewrite_next(r, &in, &seg))
 *             use(seg.p, seg.n, seg.names);
 */
must_check bool http_rewrite_next(struct http_rewrite *r, struct rd *in, struct http_segment *ret);
/* The body is over: what is still held back, then false. */
must_check bool http_rewrite_end(struct http_rewrite *r, struct http_segment *ret);
/* Bytes held back now. */
size_t http_rewrite_held(const struct http_rewrite *r);
/* False once something was met that no strict reader takes: nothing is named from there on. */
bool http_rewrite_valid(const struct http_rewrite *r);

#endif
