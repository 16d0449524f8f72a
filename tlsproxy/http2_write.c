/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A head as a list for nghttp2, which copies it (into memory that is wiped), makes its names
 * lower-case and encodes it. Sensitive fields are never indexed: neither our
 * table nor that of a hop beyond keeps them (RFC 7541 7.1.3).
 */
#include "tlsproxy/http2_internal.h"

#include <stdio.h>

void http2_fields_add(struct http2_fields *w, struct http_text name, struct http_text value,
		      bool sensitive)
{
	assert(w->n < ARRAY_SIZE(w->nv));
	w->nv[w->n++] = (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name.s, /* only read */
		.namelen = name.len,
		.value = (uint8_t *)(uintptr_t)value.s,
		.valuelen = value.len,
		.flags = sensitive ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE,
	};
	w->size += name.len + value.len + 32;
}

/* What only HTTP/1 connections have, and what is written here. */
static bool ends_here(const struct http_field *fld)
{
	static const char *const names[] = {
		"Connection", "Proxy-Connection", "Keep-Alive",	    "Transfer-Encoding", "Upgrade",
		"Host",	      "Content-Length",	  "HTTP2-Settings",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (http_text_ieq(fld->name, names[i]))
			return true;
	return http_text_ieq(fld->name, "TE") && !http_text_ieq(fld->value, "trailers");
}

int http2_fields_head(struct http2_fields *w, const struct http_head *h, const struct http_framing *fr)
{
	for (size_t i = 0; i < h->n_fields; i++) {
		const struct http_field *fld = &h->fields[i];

		if (ends_here(fld))
			continue;
		/* One is left for Content-Length. */
		if (w->n + 1 >= ARRAY_SIZE(w->nv))
			return -ENOBUFS;
		http2_fields_add(w, fld->name, fld->value, fld->sensitive);
	}
	if (fr && fr->has_length) {
		int n = snprintf(w->number, sizeof(w->number), "%llu",
				 (unsigned long long)fr->length);

		http2_fields_add(w, http_text_of("content-length"),
				 (struct http_text){ w->number, (size_t)n }, false);
	}
	return 0;
}

int http2_fields_fit(const struct http2_fields *w, const struct http2 *h)
{
	uint32_t max = nghttp2_session_get_remote_settings(h->session,
							   NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE);

	/* Ours has a limit too: nghttp2's for what it sends. */
	return w->size > max || w->size > 2 * HTTP_HEAD_MAX ? -ENOBUFS : 0;
}
