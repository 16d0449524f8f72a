/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a published port. It is read from the right, because an IPv6
 * address has colons of its own: options behind a comma, the protocol behind a
 * slash, the guest's port, the host's port, and what is left is the address.
 */
#include "weir/publish.h"

#include <stdio.h>

static const char form[] =
	"a published port is [IP:]HOST:GUEST[/tcp|/udp][,proxy], an IPv6 address in brackets";

struct spec {
	struct publish_config one; /* all but the ports */
	bool both;		   /* "*" */
	struct port_range host, guest;
};

static int read_options(const char *s, struct spec *p, const char **ret_why)
{
	if (!str_eq(s, "proxy")) {
		*ret_why = "the only option behind a comma is \"proxy\"";
		return -EINVAL;
	}
	if (p->one.udp) {
		*ret_why = "\"proxy\" is for TCP: a datagram has no place for the header";
		return -EINVAL;
	}
	p->one.proxy_header = true;
	return 0;
}

/* "/udp,proxy", "/tcp", ",proxy" or nothing. */
static int read_tail(const char *s, struct spec *p, const char **ret_why)
{
	if (*s == '/') {
		size_t n = strcspn(s, ",");

		if (n != 4 || (memcmp(s, "/tcp", 4) != 0 && memcmp(s, "/udp", 4) != 0)) {
			*ret_why = "the protocol is /tcp or /udp";
			return -EINVAL;
		}
		p->one.udp = s[1] == 'u';
		s += n;
	}
	return *s == ',' ? read_options(s + 1, p, ret_why) : 0;
}

static int read_range(const char *s, size_t len, struct port_range *ret, const char **ret_why)
{
	int r;

	if (memchr(s, '-', len))
		return port_range_parse(s, len, ret, ret_why);
	r = port_parse(s, len, &ret->lo, ret_why);
	ret->hi = ret->lo;
	return r;
}

static int read_host_port(const char *s, size_t len, struct spec *p, const char **ret_why)
{
	if (len == 1 && *s == '0') {
		p->host = (struct port_range){ 0, 0 };
		return 0;
	}
	return read_range(s, len, &p->host, ret_why);
}

static int read_address(const char *s, size_t len, struct spec *p, const char **ret_why)
{
	bool brackets = len >= 2 && s[0] == '[' && s[len - 1] == ']';
	int r;

	p->both = len == 1 && *s == '*';
	if (p->both)
		return 0;
	r = brackets ? ip_parse(s + 1, len - 2, &p->one.bind.addr, ret_why)
		     : ip_parse(s, len, &p->one.bind.addr, ret_why);
	if (r == 0 && brackets != (p->one.bind.addr.family == 6)) {
		*ret_why = form;
		return -EINVAL;
	}
	return r;
}

/* [IP:]HOST:GUEST without its tail. */
static int read_ports(const char *s, size_t len, struct spec *p, const char **ret_why)
{
	const char *colon = memrchr(s, ':', len), *left;
	size_t n;
	int r;

	*ret_why = form;
	if (!colon)
		return -EINVAL;
	n = (size_t)(colon - s);
	r = read_range(colon + 1, len - n - 1, &p->guest, ret_why);
	if (r < 0)
		return r;
	if (n && s[n - 1] == ']') {
		*ret_why =
			"the host's port is missing: [IP:]HOST:GUEST, an IPv6 address in brackets";
		return -EINVAL;
	}
	left = n ? memrchr(s, ':', n) : NULL;
	if (!left) {
		p->one.bind.addr = ip4(127, 0, 0, 1);
		return read_host_port(s, n, p, ret_why);
	}
	r = read_host_port(left + 1, n - (size_t)(left + 1 - s), p, ret_why);
	return r < 0 ? r : read_address(s, (size_t)(left - s), p, ret_why);
}

static bool is_multicast(const struct ip_addr *a)
{
	return a->family == 4 ? a->b[0] >= 224 : a->b[0] == 0xff;
}

static int check(const struct spec *p, const char **ret_why)
{
	unsigned host = p->host.hi - p->host.lo, guest = p->guest.hi - p->guest.lo;

	if (is_multicast(&p->one.bind.addr)) {
		*ret_why = "not an address of this machine";
		return -EINVAL;
	}
	if (p->both && p->host.lo == 0) {
		*ret_why = "with \"*\" each family would be given another port: name the port, or "
			   "publish 0.0.0.0 and [::] one by one";
		return -EINVAL;
	}
	if (p->host.lo == 0 ? guest != 0 : host != guest) {
		*ret_why = "a range of host ports leads to as many guest ports: "
			   "8000-8009:9000-9009";
		return -EINVAL;
	}
	return 0;
}

static struct publish_config nth(const struct spec *p, unsigned i)
{
	static const struct ip_addr any[] = { { .family = 4 }, { .family = 6 } };
	unsigned port = p->both ? i / 2 : i;
	struct publish_config c = p->one;

	if (p->both)
		c.bind.addr = any[i % 2];
	c.bind.port = p->host.lo ? (uint16_t)(p->host.lo + port) : 0;
	c.guest_port = (uint16_t)(p->guest.lo + port);
	return c;
}

int publish_parse(const char *text, struct publish_config *ret, size_t *n, const char **ret_why)
{
	struct spec p = { 0 };
	size_t len = strcspn(text, "/,"), more;
	int r = read_tail(text + len, &p, ret_why);

	if (r == 0)
		r = read_ports(text, len, &p, ret_why);
	if (r == 0)
		r = check(&p, ret_why);
	if (r < 0)
		return r;
	more = (size_t)(p.host.hi - p.host.lo + 1) * (p.both ? 2 : 1);
	if (more > PUBLISH_MAX - *n) {
		*ret_why = "more published ports than a run can have (256)";
		return -E2BIG;
	}
	for (unsigned i = 0; i < more; i++)
		ret[*n + i] = nth(&p, i);
	*n += more;
	return 0;
}

static bool is_any(const struct ip_addr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->b, zero, ip_size(a)) == 0;
}

bool publish_clash(const struct publish_config *a, const struct publish_config *b)
{
	return a->udp == b->udp && a->bind.port && a->bind.port == b->bind.port &&
	       a->bind.addr.family == b->bind.addr.family &&
	       (ip_equal(&a->bind.addr, &b->bind.addr) || is_any(&a->bind.addr) ||
		is_any(&b->bind.addr));
}

const char *publish_format(const struct publish_config *p, const struct endpoint *bound,
			   char out[static PUBLISH_STRLEN])
{
	char host[ENDPOINT_STRLEN];

	snprintf(out, PUBLISH_STRLEN, "%s:%u/%s%s", endpoint_format(bound ? bound : &p->bind, host),
		 p->guest_port, p->udp ? "udp" : "tcp", p->proxy_header ? ",proxy" : "");
	return out;
}
