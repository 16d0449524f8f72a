/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's routes, dumped over rtnetlink. Local addresses and routes that
 * refuse (blackhole, unreachable) count: somebody means something by them.
 */
#include "weir/host_routes.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdio.h>

/* A host with all of the Internet's routes has a million. */
#define ROUTES_MAX ((size_t)4 << 20)
/* Shorter prefixes are parts of a default route, as VPNs write it. */
#define EVERYTHING 4

bool prefixes_overlap(const struct ip_prefix *a, const struct ip_prefix *b)
{
	if (!a->addr.family || a->addr.family != b->addr.family)
		return false;
	return a->len <= b->len ? ip_in_prefix(&b->addr, a) : ip_in_prefix(&a->addr, b);
}

const struct host_route *host_routes_overlap(const struct host_routes *r, const struct ip_prefix *p)
{
	for (size_t i = 0; i < r->n; i++)
		if (prefixes_overlap(&r->v[i].to, p))
			return &r->v[i];
	return NULL;
}

const char *prefix_text(const struct ip_prefix *p, char out[static PREFIX_STRLEN])
{
	char addr[IP_STRLEN];

	snprintf(out, PREFIX_STRLEN, "%s/%u", ip_format(&p->addr, addr), p->len);
	return out;
}

const char *host_route_text(const struct host_route *r, char out[static HOST_ROUTE_STRLEN])
{
	char to[PREFIX_STRLEN];

	prefix_text(&r->to, to);
	if (r->dev[0])
		snprintf(out, HOST_ROUTE_STRLEN, "%s (%s)", to, r->dev);
	else
		snprintf(out, HOST_ROUTE_STRLEN, "%s", to);
	return out;
}

/* ---- rtnetlink -------------------------------------------------------------------- */

struct attrs {
	struct ip_addr dst;
	uint32_t oif;
};

static int on_attr(const struct nlattr *a, void *data)
{
	struct attrs *t = data;
	uint16_t len = mnl_attr_get_payload_len(a);

	if (mnl_attr_get_type(a) == RTA_DST && len == ip_size(&t->dst))
		memcpy(t->dst.b, mnl_attr_get_payload(a), len);
	else if (mnl_attr_get_type(a) == RTA_OIF && len == sizeof(t->oif))
		t->oif = mnl_attr_get_u32(a);
	return MNL_CB_OK;
}

static bool counts(const struct rtmsg *rt)
{
	if ((rt->rtm_family != AF_INET && rt->rtm_family != AF_INET6) ||
	    rt->rtm_flags & RTM_F_CLONED || rt->rtm_dst_len < EVERYTHING)
		return false;
	return rt->rtm_type == RTN_UNICAST || rt->rtm_type == RTN_LOCAL ||
	       rt->rtm_type == RTN_BLACKHOLE || rt->rtm_type == RTN_UNREACHABLE ||
	       rt->rtm_type == RTN_PROHIBIT;
}

struct list_of {
	struct host_routes r;
	size_t size;
};

static int on_route(const struct nlmsghdr *h, void *data)
{
	struct list_of *l = data;
	const struct rtmsg *rt = mnl_nlmsg_get_payload(h);
	struct attrs t = { 0 };
	struct host_route *more, *new;

	if (h->nlmsg_type != RTM_NEWROUTE || !counts(rt))
		return MNL_CB_OK;
	t.dst.family = rt->rtm_family == AF_INET ? 4 : 6;
	if (rt->rtm_dst_len > 8 * ip_size(&t.dst) || mnl_attr_parse(h, sizeof(*rt), on_attr, &t) < 0)
		return MNL_CB_OK;
	if (l->r.n == l->size) {
		l->size = l->size ? 2 * l->size : 64;
		more = l->size > ROUTES_MAX ? NULL : reallocarray(l->r.v, l->size, sizeof(*more));
		if (!more) {
			errno = ENOMEM;
			return MNL_CB_ERROR;
		}
		l->r.v = more;
	}
	new = &l->r.v[l->r.n++];
	*new = (struct host_route){ .to = { t.dst, rt->rtm_dst_len } };
	if (t.oif && !if_indextoname(t.oif, new->dev))
		new->dev[0] = 0;
	return MNL_CB_OK;
}

static int dump(struct mnl_socket *nl, uint8_t family, uint32_t seq, struct list_of *l)
{
	size_t size = 32768;
	cleanup_free char *buf = malloc(size);
	struct nlmsghdr *h;
	struct rtmsg *rt;
	ssize_t n;
	int r = MNL_CB_OK;

	if (!buf)
		return -ENOMEM;
	h = mnl_nlmsg_put_header(buf);
	h->nlmsg_type = RTM_GETROUTE;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	h->nlmsg_seq = seq;
	rt = mnl_nlmsg_put_extra_header(h, sizeof(*rt));
	rt->rtm_family = family;
	if (mnl_socket_sendto(nl, h, h->nlmsg_len) < 0)
		return -errno;
	while (r > MNL_CB_STOP) {
		n = mnl_socket_recvfrom(nl, buf, size);
		if (n < 0)
			return -errno;
		r = mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(nl), on_route, l);
	}
	return r < 0 ? -errno : 0;
}

int host_routes_read(struct host_routes *ret)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct list_of l = { .size = 0 };
	int r;

	if (!nl)
		return -errno;
	r = mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
	if (r == 0)
		r = dump(nl, AF_INET, 1, &l);
	/* A kernel without IPv6 says so, and has no such routes. */
	if (r == 0 && dump(nl, AF_INET6, 2, &l) == -ENOMEM)
		r = -ENOMEM;
	mnl_socket_close(nl);
	if (r < 0) {
		free(l.r.v);
		return r;
	}
	*ret = l.r;
	return 0;
}

void host_routes_fini(struct host_routes *r)
{
	free(r->v);
	*r = (struct host_routes){ 0 };
}
