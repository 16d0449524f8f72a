/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which values can be used where, and what a secret's definition says of a
 * host, a field or a key.
 */
#include "tlsproxy/http_internal.h"

#include <strings.h>

static const char *why_not_size(const char *value, size_t len)
{
	bool varied = false;

	if (len < TLSPROXY_SECRET_MIN)
		return "a secret has at least 8 bytes: a shorter one occurs in ordinary text";
	if (len > TLSPROXY_SECRET_MAX)
		return "a secret has at most 4096 bytes";
	for (size_t i = 0; i < len; i++)
		varied = varied || value[i] != value[0];
	if (!varied)
		return "all characters of the value are the same";
	return memchr(value, 0, len) ? "the value contains a NUL byte" : NULL;
}

static const char *why_not_header(const char *value, size_t len)
{
	if (value[0] == ' ' || value[len - 1] == ' ')
		return "the value begins or ends with a space, which a header does not keep";
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)value[i];

		if (c == '\n' || c == '\r')
			return "the value contains a line break (a trailing newline in a file?)";
		if (c < ' ' || c >= 0x7f)
			return "the value contains a control or non-ASCII character: it cannot "
			       "stand in a header";
	}
	return NULL;
}

static const char *why_not_basic(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
			return "the value contains a control character (a trailing newline in a "
			       "file?): it cannot stand in Basic credentials";
	return NULL;
}

static const char *why_not_websocket(const char *value, size_t len)
{
	uint32_t c;

	for (size_t i = 0, n; i < len; i += n) {
		n = secret_utf8((const uint8_t *)value + i, len - i, &c);
		if (n == 0)
			return "the value is not UTF-8: it cannot stand in a WebSocket's text";
	}
	return NULL;
}

int tlsproxy_secret_check_at(const char *value, size_t len, unsigned places, const char **ret_why)
{
	const char *why = why_not_size(value, len);

	if (!why && (places & TLSPROXY_IN_HEADER))
		why = why_not_header(value, len);
	if (!why && (places & TLSPROXY_IN_BASIC))
		why = why_not_basic(value, len);
	if (!why && (places & TLSPROXY_IN_WEBSOCKET))
		why = why_not_websocket(value, len);
	if (!why)
		return 0;
	if (ret_why)
		*ret_why = why;
	return -EINVAL;
}

int tlsproxy_secret_check(const char *value, size_t len, const char **ret_why)
{
	int r = tlsproxy_secret_check_at(value, len, TLSPROXY_IN_HEADER, ret_why);

	if (r < 0 || !memchr(value, ' ', len))
		return r;
	if (ret_why)
		*ret_why = "the value contains a space";
	return -EINVAL;
}

const char *secret_form_name(enum secret_form form)
{
	switch (form) {
	case SECRET_PLAIN:
		return "plain";
	case SECRET_PERCENT:
	case SECRET_ODD_PERCENT:
		return "percent";
	case SECRET_JSON:
	case SECRET_ODD_JSON:
		return "json";
	case SECRET_BASE64:
		return "base64";
	case SECRET_HEX:
		return "hex";
	case SECRET_HTML:
		return "html";
	case SECRET_BASE32:
		return "base32";
	}
	return "unknown";
}

static const char *why_no_field(const char *name, size_t len)
{
	struct http_field_names *names;
	const char *why = "out of memory";
	unsigned bit;

	if (http_field_names_new(&names) < 0)
		return why;
	if (http_field_names_add(names, name, len, &bit, &why) == 0)
		why = NULL;
	http_field_names_free(names);
	return why;
}

int tlsproxy_place_name_check(const struct tlsproxy_place_name *n, const char **ret_why)
{
	size_t len = strlen(n->name);
	const char *why = NULL;

	if (len == 0 || len > TLSPROXY_SECRET_NAME_MAX)
		why = "a name has 1 to 128 characters";
	for (size_t i = 0; !why && i < len; i++) {
		if ((unsigned char)n->name[i] < ' ' || n->name[i] == 0x7f)
			why = "a control character is in no name";
		else if (n->place == TLSPROXY_IN_HEADER && !http_is_token_char((uint8_t)n->name[i]))
			why = "not the name of a header field";
	}
	if (!why && n->place == TLSPROXY_IN_HEADER && http_secret_field_barred(n->name, len))
		why = "a field that servers pass on, log or act upon: the value would not stay "
		      "where it is sent";
	if (!why && n->place == TLSPROXY_IN_BODY)
		why = why_no_field(n->name, len);
	if (!why)
		return 0;
	if (ret_why)
		*ret_why = why;
	return -EINVAL;
}

static bool any_host(const struct tlsproxy_host_pattern *p, size_t n, const struct authority *a)
{
	return !a->is_addr && a->name.len > 0 && tlsproxy_host_matches_any(p, n, &a->name);
}

bool secret_host_allowed(const struct secret *s, const struct authority *a)
{
	return any_host(s->hosts, s->n_hosts, a);
}

bool secret_host_knows(const struct secret *s, const struct authority *a)
{
	/* An address may be that of any host. */
	if (a->is_addr)
		return s->n_hosts || s->n_former;
	return s->anywhere || any_host(s->hosts, s->n_hosts, a) ||
	       any_host(s->former, s->n_former, a);
}

bool secret_passes(const struct secret *s, const struct authority *a)
{
	return any_host(s->passthrough, s->n_passthrough, a);
}

bool secret_place_named(const struct secret *s, enum tlsproxy_place place)
{
	for (size_t i = 0; i < s->n_names; i++)
		if (s->names[i].place == place)
			return true;
	return false;
}

static bool name_is(const struct tlsproxy_place_name *p, const char *name, size_t len)
{
	if (strlen(p->name) != len)
		return false;
	return p->place == TLSPROXY_IN_HEADER ? strncasecmp(p->name, name, len) == 0
					      : memcmp(p->name, name, len) == 0;
}

bool secret_name_allowed(const struct secret *s, enum tlsproxy_place place, const char *name,
			 size_t len)
{
	if (!secret_place_named(s, place))
		return true;
	for (size_t i = 0; i < s->n_names; i++)
		if (s->names[i].place == place && name_is(&s->names[i], name, len))
			return true;
	return false;
}
