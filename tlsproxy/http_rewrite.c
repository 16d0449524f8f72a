/* SPDX-License-Identifier: Apache-2.0 */
/* Which field a byte belongs to: one scanner per kind of body behind one interface. */
#include "tlsproxy/http_rewrite_int.h"

int http_rewrite_new(enum http_rewrite_kind kind, const struct http_field_names *names,
		     const char *boundary, size_t boundary_len, struct http_rewrite **ret)
{
	struct http_rewrite *r = calloc(1, sizeof(*r));
	int e = 0;

	if (!r)
		return -ENOMEM;
	r->kind = kind;
	r->names = names;
	r->valid = true;
	if (kind == HTTP_REWRITE_JSON)
		e = json_scan_new(r);
	else if (kind == HTTP_REWRITE_FORM)
		e = form_scan_new(r);
	else if (kind == HTTP_REWRITE_MULTIPART)
		e = multipart_scan_new(r, boundary, boundary_len);
	if (e < 0) {
		http_rewrite_free(r);
		return e;
	}
	*ret = r;
	return 0;
}

void http_rewrite_free(struct http_rewrite *r)
{
	if (!r)
		return;
	free(r->json);
	free(r->form);
	free(r->multipart);
	free(r);
}

void rewrite_run(struct http_rewrite *r, struct rd *in, const uint8_t *to, bool in_value,
		 struct http_segment *ret)
{
	size_t n = (size_t)(to - in->p);

	assert(n > 0);
	in_value = in_value && r->value;
	*ret = (struct http_segment){
		.p = in->p,
		.n = n,
		.names = in_value ? r->value : 0,
		.at = in_value ? r->at : 0,
	};
	r->at += in_value ? n : 0;
	in->p = to;
}

bool http_rewrite_next(struct http_rewrite *r, struct rd *in, struct http_segment *ret)
{
	if (rd_left(in) == 0)
		return false;
	if (r->kind == HTTP_REWRITE_JSON)
		return json_scan_next(r, in, ret);
	if (r->kind == HTTP_REWRITE_FORM)
		return form_scan_next(r, in, ret);
	if (r->kind == HTTP_REWRITE_MULTIPART)
		return multipart_scan_next(r, in, ret);
	rewrite_run(r, in, in->end, false, ret);
	return true;
}

bool http_rewrite_end(struct http_rewrite *r, struct http_segment *ret)
{
	return r->kind == HTTP_REWRITE_MULTIPART && multipart_scan_end(r, ret);
}

size_t http_rewrite_held(const struct http_rewrite *r)
{
	return r->kind == HTTP_REWRITE_MULTIPART ? multipart_scan_held(r) : 0;
}

bool http_rewrite_valid(const struct http_rewrite *r)
{
	return r->valid;
}
