/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tap on a bridge. A bridge carries more than its ports: Linux itself is on it,
 * with a link-local address at once and whatever router advertisements tell, and
 * answers for all its other addresses. The machine at another port reaches this
 * host then without a word of the policy. Whoever made the bridge is told.
 */
#include "weir/tap.h"

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>

static int on_attr(const struct nlattr *a, void *data)
{
	if (mnl_attr_get_type(a) == IFLA_MASTER && mnl_attr_get_payload_len(a) == sizeof(uint32_t))
		*(uint32_t *)data = mnl_attr_get_u32(a);
	return MNL_CB_OK;
}

static int on_link(const struct nlmsghdr *h, void *data)
{
	return mnl_attr_parse(h, sizeof(struct ifinfomsg), on_attr, data);
}

/* Of the interface that this one is a port of; 0: of none, or nobody knows. */
static uint32_t master_of(unsigned index)
{
	/* A link's message can hold statistics of many kinds. */
	_Alignas(struct nlmsghdr) char buf[32768];
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	uint32_t master = 0;
	struct ifinfomsg *i;
	ssize_t n;

	h->nlmsg_type = RTM_GETLINK;
	h->nlmsg_flags = NLM_F_REQUEST;
	h->nlmsg_seq = 1;
	i = mnl_nlmsg_put_extra_header(h, sizeof(*i));
	i->ifi_index = (int)index;
	if (!nl)
		return 0;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0 &&
	    mnl_socket_sendto(nl, h, h->nlmsg_len) >= 0) {
		n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		if (n < 0 ||
		    mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), on_link, &master) < 0)
			master = 0;
	}
	mnl_socket_close(nl);
	return master;
}

static bool setting_is_1(const char *family, const char *bridge, const char *setting)
{
	struct buf text = BUF_INIT(64);
	char path[96];
	bool is;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, bridge, setting);
	/* A kernel without IPv6 has none of its settings. */
	is = file_read(path, 64, &text) < 0 || (text.len && *(const char *)buf_at(&text) == '1');
	buf_fini(&text);
	return is;
}

void tap_check_bridge(const char *name)
{
	uint32_t master = master_of(if_nametoindex(name));
	char bridge[IF_NAMESIZE];

	if (!master || !if_indextoname(master, bridge))
		return;
	if (!setting_is_1("ipv6", bridge, "disable_ipv6") ||
	    !setting_is_1("ipv4", bridge, "rp_filter"))
		log_warn(
			"this host is on the machine's link as well, by bridge %s, where no policy "
			"is asked; as root: sysctl -w net.ipv6.conf.%s.disable_ipv6=1 "
			"net.ipv4.conf.%s.rp_filter=1",
			bridge, bridge, bridge);
}
