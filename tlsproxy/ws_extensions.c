/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sec-WebSocket-Extensions (RFC 6455 9.1) for permessage-deflate (RFC 7692 7.1). Of a
 * client's offers those go on that can be carried out here; a server's answer is read
 * strictly, as both ends will act on it.
 */
#include "tlsproxy/ws_int.h"

struct params {
	struct ws_deflate_params p;
	unsigned seen; /* which parameters, to find one that is repeated */
};

enum param {
	SERVER_NO_TAKEOVER = 0,
	CLIENT_NO_TAKEOVER = 1,
	SERVER_BITS = 2,
	CLIENT_BITS = 3,
};
static const char *const names[] = {
	[SERVER_NO_TAKEOVER] = "server_no_context_takeover",
	[CLIENT_NO_TAKEOVER] = "client_no_context_takeover",
	[SERVER_BITS] = "server_max_window_bits",
	[CLIENT_BITS] = "client_max_window_bits",
};

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static struct rd trimmed(const uint8_t *p, size_t n)
{
	while (n && is_space(*p)) {
		p++;
		n--;
	}
	while (n && is_space(p[n - 1]))
		n--;
	return rd_init(p, n);
}

/*
 * What stands before the next `sep`, trimmed; false when nothing is left. A quoted string
 * may hold separators, but no value of ours needs one, so it never parses as anything.
 */
static bool next_part(struct rd *r, bool *more, uint8_t sep, struct rd *ret)
{
	const uint8_t *at = r->p;

	if (!*more)
		return false;
	while (at < r->end && *at != sep)
		at++;
	*ret = trimmed(r->p, (size_t)(at - r->p));
	*more = at < r->end;
	r->p = *more ? at + 1 : at;
	return true;
}

static bool text_is(struct rd r, const char *s)
{
	return str_ieq((const char *)r.p, rd_left(&r), s);
}

/* 8..15 without a leading zero, also in quotes. */
static bool bits_parse(struct rd v, uint8_t *ret)
{
	uint64_t n;

	if (rd_left(&v) > 2 && v.p[0] == '"' && v.end[-1] == '"') {
		v.p++;
		v.end--;
	}
	if (uint_parse((const char *)v.p, rd_left(&v), 8, 15, &n, NULL) < 0)
		return false;
	*ret = (uint8_t)n;
	return true;
}

static bool param_set(struct params *ps, enum param which, bool has_value, struct rd value,
		      bool answer)
{
	if (ps->seen & 1u << which)
		return false;
	ps->seen |= 1u << which;
	switch (which) {
	case SERVER_NO_TAKEOVER:
		ps->p.server_no_takeover = true;
		return !has_value;
	case CLIENT_NO_TAKEOVER:
		ps->p.client_no_takeover = true;
		return !has_value;
	case SERVER_BITS:
		return has_value && bits_parse(value, &ps->p.server_bits);
	default:
		/* In an offer it may stand without a value: "I can" (7.1.2.2). */
		return has_value ? bits_parse(value, &ps->p.client_bits) : !answer;
	}
}

static bool param_parse(struct params *ps, struct rd part, bool answer)
{
	const uint8_t *eq = part.p;
	struct rd name, value;
	bool has_value;

	while (eq < part.end && *eq != '=')
		eq++;
	has_value = eq < part.end;
	name = trimmed(part.p, (size_t)(eq - part.p));
	value = has_value ? trimmed(eq + 1, (size_t)(part.end - eq - 1)) : rd_init(eq, 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (text_is(name, names[i]))
			return param_set(ps, (enum param)i, has_value, value, answer);
	return false;
}

/* permessage-deflate with parameters that are known. */
static bool extension_parse(struct rd ext, bool answer, struct ws_deflate_params *ret)
{
	struct params ps = { .p = { .on = true, .server_bits = 15, .client_bits = 15 } };
	bool more = true;
	struct rd part;

	if (!next_part(&ext, &more, ';', &part) || !text_is(part, "permessage-deflate"))
		return false;
	while (next_part(&ext, &more, ';', &part))
		if (!param_parse(&ps, part, answer))
			return false;
	*ret = ps.p;
	return true;
}

int ws_extensions_offer(const char *s, size_t len, struct buf *out, bool *ret_any)
{
	struct rd r = rd_init(s, len), ext;
	struct ws_deflate_params params;
	size_t offers = 0;
	bool more = len <= WS_EXTENSIONS_MAX, any = false;
	int e = 0;

	while (e == 0 && offers++ < WS_OFFERS_MAX && next_part(&r, &more, ',', &ext)) {
		if (!extension_parse(ext, false, &params))
			continue;
		e = buf_append(out, ", ", any ? 2 : 0);
		if (e == 0)
			e = buf_append(out, ext.p, rd_left(&ext));
		any = true;
	}
	if (e == 0)
		*ret_any = any;
	return e;
}

int ws_extensions_accept(const char *s, size_t len, struct ws_deflate_params *ret)
{
	struct ws_deflate_params params = { 0 };
	struct rd ext = trimmed((const uint8_t *)s, len);

	if (rd_left(&ext) && !extension_parse(ext, true, &params))
		return -EPROTO;
	*ret = params;
	return 0;
}
