/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forms and queries (WHATWG URL 5.1): NAME=VALUE joined by &. A name is decoded before it
 * is compared; one with an escape that is none is no name's, as readers differ in it. Some
 * take ; for & as well: what stands behind one is no name's either, up to the next &.
 */
#include "tlsproxy/http_rewrite_int.h"

struct form_scan {
	bool in_value;
	uint8_t escape; /* digits still to come */
	uint8_t digits;
	struct field_key key;
};

int form_scan_new(struct http_rewrite *r)
{
	r->form = calloc(1, sizeof(*r->form));
	return r->form ? 0 : -ENOMEM;
}

static void name_byte(struct form_scan *f, uint8_t c)
{
	int digit = str_hex_digit(c);

	if (f->escape && digit < 0) {
		f->key.odd = true;
		f->escape = 0;
	}
	if (f->escape) {
		f->digits = (uint8_t)(f->digits << 4 | digit);
		if (--f->escape == 0)
			field_key_add(&f->key, f->digits);
	} else if (c == '%') {
		f->escape = 2;
		f->digits = 0;
	} else {
		field_key_add(&f->key, c == '+' ? ' ' : c);
	}
}

static void name_over(struct http_rewrite *r)
{
	struct form_scan *f = r->form;
	bool odd = f->key.odd || f->escape;

	r->value = odd ? 0 : field_names_of_key(r->names, f->key.s, f->key.len);
	r->at = 0;
	f->in_value = true;
}

static void outside_byte(struct http_rewrite *r, uint8_t c)
{
	struct form_scan *f = r->form;

	if (c == '&') {
		f->in_value = false;
		f->escape = 0;
		f->key.len = 0;
		f->key.odd = false;
	} else if (f->in_value && c == ';') {
		r->value = 0;
	} else if (!f->in_value && c == '=') {
		name_over(r);
	} else if (!f->in_value) {
		name_byte(f, c);
	}
}

static bool in_named_value(const struct http_rewrite *r, uint8_t c)
{
	return r->form->in_value && r->value && c != '&' && c != ';';
}

bool form_scan_next(struct http_rewrite *r, struct rd *in, struct http_segment *ret)
{
	const uint8_t *p = in->p;
	bool inside = in_named_value(r, *p);

	while (p < in->end && in_named_value(r, *p) == inside) {
		if (!inside)
			outside_byte(r, *p);
		p++;
	}
	rewrite_run(r, in, p, inside, ret);
	return true;
}
