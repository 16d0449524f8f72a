/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom a request is for. Host, an absolute-form target, the TLS name, the port
 * dialled and the flow's name must all say the same: otherwise policy would be
 * asked about one host and another would get the request (421, RFC 9110 7.4).
 */
#include "tlsproxy/http_internal.h"

static int refuse(struct http_refusal *r, unsigned status, const char *why)
{
	*r = (struct http_refusal){ status, why };
	return -EBADMSG;
}

static bool authority_equal(const struct authority *a, const struct authority *b, uint16_t dflt)
{
	if (a->is_addr != b->is_addr || (a->port ? a->port : dflt) != (b->port ? b->port : dflt))
		return false;
	return a->is_addr ? ip_equal(&a->addr, &b->addr) : name_equal(&a->name, &b->name);
}

/* An HTTP/1.0 request without Host is for the only name there is. */
static void authority_from_flow(const struct http_filter *f, struct authority *ret)
{
	const struct tlsproxy_flow *flow = f->cfg.flow;

	*ret = (struct authority){ 0 };
	if (flow->remote.port != (f->cfg.tls ? 443 : 80))
		ret->port = flow->remote.port;
	if (f->cfg.has_sni) {
		ret->name = f->cfg.sni;
	} else if (flow->has_name) {
		ret->name = flow->name;
	} else {
		ret->is_addr = true;
		ret->addr = flow->remote.addr;
	}
}

static int host_parse(const struct http_filter *f, const struct http_head *h, struct authority *ret,
		      struct http_refusal *refusal)
{
	struct http_text host;
	size_t n = http_field_find(h, "Host", &host);
	const char *why = NULL;

	/* HTTP/2 has Host's text here if there is no :authority; both are equal if there are two. */
	if (h->http2) {
		host = h->authority;
		n = 1;
	}
	if (n > 1)
		return refuse(refusal, 400, "more than one Host");
	if (n == 0 && h->minor == 1)
		return refuse(refusal, 400, "no Host");
	if (n == 0) {
		authority_from_flow(f, ret);
		return 0;
	}
	if (authority_parse(host.s, host.len, ret, &why) < 0)
		return refuse(refusal, 400, "Host is not a valid host and port");
	return 0;
}

/* Path characters that servers read in two ways: backslash as slash, NUL as end, half an escape. */
static int path_check(struct http_text t, struct http_refusal *refusal)
{
	const char *query = memchr(t.s, '?', t.len);
	size_t n = query ? (size_t)(query - t.s) : t.len;

	for (size_t i = 0; i < n; i++) {
		if (t.s[i] == '\\')
			return refuse(refusal, 400, "backslash in the path");
		if (t.s[i] != '%')
			continue;
		if (n - i < 3 || str_hex_digit(t.s[i + 1]) < 0 || str_hex_digit(t.s[i + 2]) < 0)
			return refuse(refusal, 400, "broken percent escape in the path");
		if (t.s[i + 1] == '0' && t.s[i + 2] == '0')
			return refuse(refusal, 400, "NUL in the path");
	}
	return 0;
}

/* http://authority/path becomes /path; the authority must be Host's. */
static int absolute_form(const struct http_filter *f, struct http_head *h,
			 const struct authority *host, struct http_refusal *refusal)
{
	struct http_text t = h->target;
	bool https = t.len > 8 && str_ieq(t.s, 8, "https://");
	size_t skip = https ? 8 : 7, n = 0;
	struct authority a;

	if (!https && !(t.len > 7 && str_ieq(t.s, 7, "http://")))
		return refuse(refusal, 400, "request target is neither a path nor an http URI");
	t.s += skip;
	t.len -= skip;
	while (n < t.len && t.s[n] != '/' && t.s[n] != '?')
		n++;
	if (memchr(t.s, '@', n))
		return refuse(refusal, 400, "userinfo in the request target");
	if (authority_parse(t.s, n, &a, NULL) < 0)
		return refuse(refusal, 400, "invalid authority in the request target");
	if (!authority_equal(&a, host, https ? 443 : 80))
		return refuse(refusal, 400, "request target and Host name different hosts");
	if (https != f->cfg.tls)
		return refuse(refusal, 421, "the target's scheme is not that of the connection");
	h->target = (struct http_text){ t.s + n, t.len - n };
	if (h->target.len == 0)
		h->target = http_text_is(h->method, "OPTIONS") ? (struct http_text){ "*", 1 }
							       : (struct http_text){ "/", 1 };
	else if (h->target.s[0] == '?')
		return refuse(refusal, 400, "absolute target with a query but no path");
	return 0;
}

/* Where what is inside could not be read; NULL: it can. */
static const char *why_no_connect(const struct http_filter *f, const struct http_head *h)
{
	if (f->cfg.flow->connect)
		return "CONNECT inside CONNECT is not read: ask one proxy for it";
	if (!f->cfg.ops->judge_connect)
		return "CONNECT is not available on this connection";
	if (f->cfg.tls)
		return "CONNECT inside TLS is not read: name the proxy as http://, if it takes "
		       "that "
		       "too, or have it bypassed";
	return h->http2 ? "CONNECT in HTTP/2 is not read: speak HTTP/1.1 to the proxy" : NULL;
}

/* host:port and nothing else (RFC 9112 3.2.3); Host, where it is sent, is the same. */
static int connect_target(const struct http_filter *f, const struct http_head *h,
			  struct authority *ret, struct http_refusal *refusal)
{
	const char *why = why_no_connect(f, h);
	struct http_text host;
	size_t n = http_field_find(h, "Host", &host);
	struct authority a, b;

	if (why)
		return refuse(refusal, 405, why);
	if (authority_parse(h->target.s, h->target.len, &a, NULL) < 0 || !a.port)
		return refuse(refusal, 400, "the target of CONNECT is not host:port");
	if (n > 1)
		return refuse(refusal, 400, "more than one Host");
	if (n == 1 &&
	    (authority_parse(host.s, host.len, &b, NULL) < 0 || !authority_equal(&a, &b, a.port)))
		return refuse(refusal, 400, "the target of CONNECT and Host name different hosts");
	*ret = a;
	return 0;
}

static bool is_flows_own(const struct http_filter *f, const struct authority *a)
{
	const struct tlsproxy_flow *flow = f->cfg.flow;

	if ((a->port ? a->port : 80) != flow->remote.port)
		return false;
	if (flow->has_name || !a->is_addr)
		return !a->is_addr && flow->has_name && name_equal(&a->name, &flow->name);
	return ip_equal(&a->addr, &flow->remote.addr);
}

bool http_is_proxied(const struct http_filter *f, const struct http_head *h)
{
	struct http_text t = h->target;
	struct authority a;
	size_t n = 7;

	if (f->cfg.tls || f->cfg.flow->connect || !f->cfg.ops->judge_connect || h->http2 ||
	    f->cfg.flow->remote.port == 80 || t.len <= n || !str_ieq(t.s, n, "http://"))
		return false;
	while (n < t.len && t.s[n] != '/' && t.s[n] != '?')
		n++;
	return authority_parse(t.s + 7, n - 7, &a, NULL) == 0 && !is_flows_own(f, &a);
}

static int check_flow(const struct http_filter *f, const struct authority *a,
		      struct http_refusal *refusal)
{
	const struct tlsproxy_flow *flow = f->cfg.flow;

	/* Without a port it means the connection's: some clients leave it out everywhere. */
	if (a->port && a->port != flow->remote.port)
		return refuse(refusal, 421, "Host names another port than the connection's");
	if (f->cfg.has_sni && (a->is_addr || !name_equal(&a->name, &f->cfg.sni)))
		return refuse(
			refusal,
			421, "Host is not the TLS server name: use a connection of its own for each host");
	if (flow->has_name && (a->is_addr || !name_equal(&a->name, &flow->name)))
		return refuse(
			refusal,
			421, "Host is not the name the connection was opened to: connect to that host itself");
	if (a->is_addr && !ip_equal(&a->addr, &flow->remote.addr))
		return refuse(refusal, 421, "Host is not the address the connection was opened to");
	if (f->cfg.tls && !a->is_addr && !f->cfg.has_sni && !flow->has_name)
		return refuse(
			refusal,
			421, "Host is a name, but the TLS connection has none: send it as the server name (SNI)");
	return 0;
}

int http_agree(const struct http_filter *f, struct http_head *h, struct authority *ret,
	       struct http_refusal *refusal)
{
	bool proxied = http_is_proxied(f, h);
	struct authority a;

	if (http_text_is(h->method, "CONNECT") && !h->protocol.len)
		return connect_target(f, h, ret, refusal);
	if (host_parse(f, h, &a, refusal) < 0)
		return -EBADMSG;
	*ret = a; /* also when it is refused: the record says whom the request named */
	if (http_text_is(h->target, "*")) {
		if (!http_text_is(h->method, "OPTIONS"))
			return refuse(refusal, 400, "target * with a method other than OPTIONS");
	} else if (h->target.s[0] != '/') {
		if (absolute_form(f, h, &a, refusal) < 0)
			return -EBADMSG;
	}
	if (path_check(h->target, refusal) < 0)
		return -EBADMSG;
	return proxied ? 0 : check_flow(f, &a, refusal);
}
