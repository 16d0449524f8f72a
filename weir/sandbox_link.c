/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's side of the wire, set up from inside its network namespace:
 * loopback, a tap named eth0 with offloads on, static addresses, default routes
 * to the gateway. No DHCP, no router advertisement, nothing to spoof.
 */
#include "weir/sandbox.h"

#include "weir/addresses.h"
#include "weir/tap.h"

#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <unistd.h>

static int failed(struct conf_error *err, const char *what)
{
	int r = -errno;

	conf_error_set(err, "cannot set up the sandbox's network: %s: %s", what, strerror(errno));
	return r;
}

static void sysctl_set(const char *path, const char *value)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	/* Absent on kernels without the feature, which then needs no setting. */
	if (fd >= 0 && fd_write_all(fd, value, strlen(value)) < 0)
		log_debug("cannot write %s: %s", path, strerror(errno));
}

/* Addresses are static and the only neighbour is ours. */
static void set_sysctls(void)
{
	char range[32];

	sysctl_set("/proc/sys/net/ipv6/conf/" SANDBOX_IFNAME "/accept_ra", "0");
	sysctl_set("/proc/sys/net/ipv6/conf/" SANDBOX_IFNAME "/router_solicitations", "0");
	sysctl_set("/proc/sys/net/ipv6/conf/" SANDBOX_IFNAME "/addr_gen_mode", "1");
	sysctl_set("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
	/* Lets ping work without privilege. */
	snprintf(range, sizeof(range), "%u %u", getegid(), getegid());
	sysctl_set("/proc/sys/net/ipv4/ping_group_range", range);
}

/* ---- rtnetlink ------------------------------------------------------------ */

struct request {
	union {
		char bytes[1024];
		struct nlmsghdr align;
	} buf;
	struct nlmsghdr *head;
};

static void *request_begin(struct request *q, uint16_t type, uint16_t flags, size_t body)
{
	q->head = mnl_nlmsg_put_header(q->buf.bytes);
	q->head->nlmsg_type = type;
	q->head->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	q->head->nlmsg_seq = 1;
	return mnl_nlmsg_put_extra_header(q->head, body);
}

/* Sends and waits for the kernel's acknowledgement; errno on failure. */
static int request_send(struct mnl_socket *nl, const struct request *q)
{
	char reply[4096];
	ssize_t n;

	if (mnl_socket_sendto(nl, q->head, q->head->nlmsg_len) < 0)
		return -1;
	n = mnl_socket_recvfrom(nl, reply, sizeof(reply));
	return n < 0 ? -1 : mnl_cb_run(reply, (size_t)n, 1, mnl_socket_get_portid(nl), NULL, NULL);
}

/* net NULL: loopback. */
static int link_up(struct mnl_socket *nl, const char *name, const struct sandbox_net *net)
{
	struct request q;
	struct ifinfomsg *ifi = request_begin(&q, RTM_NEWLINK, 0, sizeof(*ifi));

	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = (int)if_nametoindex(name);
	ifi->ifi_flags = ifi->ifi_change = IFF_UP;
	if (net) {
		mnl_attr_put(q.head, IFLA_ADDRESS, sizeof(net->guest_mac), net->guest_mac);
		mnl_attr_put_u32(q.head, IFLA_MTU, net->mtu);
		mnl_attr_put_u32(q.head, IFLA_TXQLEN, TAP_QUEUE_LEN);
	}
	return request_send(nl, &q);
}

static int addr_add(struct mnl_socket *nl, const struct ip_addr *a, uint8_t prefix)
{
	struct request q;
	struct ifaddrmsg *ifa =
		request_begin(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*ifa));

	ifa->ifa_family = a->family == 4 ? AF_INET : AF_INET6;
	ifa->ifa_prefixlen = prefix;
	ifa->ifa_flags = IFA_F_NODAD; /* nobody else is on this wire */
	ifa->ifa_index = if_nametoindex(SANDBOX_IFNAME);
	mnl_attr_put(q.head, IFA_LOCAL, ip_size(a), a->b);
	mnl_attr_put(q.head, IFA_ADDRESS, ip_size(a), a->b);
	return request_send(nl, &q);
}

static int default_route(struct mnl_socket *nl, const struct ip_addr *via)
{
	struct request q;
	struct rtmsg *rt = request_begin(&q, RTM_NEWROUTE, NLM_F_CREATE, sizeof(*rt));

	rt->rtm_family = via->family == 4 ? AF_INET : AF_INET6;
	rt->rtm_table = RT_TABLE_MAIN;
	rt->rtm_protocol = RTPROT_STATIC;
	rt->rtm_scope = RT_SCOPE_UNIVERSE;
	rt->rtm_type = RTN_UNICAST;
	mnl_attr_put(q.head, RTA_GATEWAY, ip_size(via), via->b);
	mnl_attr_put_u32(q.head, RTA_OIF, if_nametoindex(SANDBOX_IFNAME));
	return request_send(nl, &q);
}

static int configure(struct mnl_socket *nl, const struct sandbox_net *net, struct conf_error *err)
{
	if (link_up(nl, "lo", NULL) < 0)
		return failed(err, "loopback");
	if (link_up(nl, SANDBOX_IFNAME, net) < 0)
		return failed(err, SANDBOX_IFNAME);
	if (addr_add(nl, &net->guest4, net->slot4.len) < 0 || default_route(nl, &net->gateway4) < 0)
		return failed(err, "IPv4 address and route");
	/* A kernel without IPv6 gives an IPv4 sandbox, not an error. */
	if (access("/proc/sys/net/ipv6", F_OK) < 0)
		return 0;
	if (addr_add(nl, &net->guest6, net->slot6.len) < 0 || default_route(nl, &net->gateway6) < 0)
		return failed(err, "IPv6 address and route");
	return 0;
}

int sandbox_link_up(const struct sandbox_net *net, int *ret_fd, struct conf_error *err)
{
	cleanup_close int tap = -1;
	struct mnl_socket *nl;
	int r = tap_open(SANDBOX_IFNAME, &tap, err);

	if (r < 0)
		return r;
	set_sysctls();
	nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		r = failed(err, "netlink");
	else
		r = configure(nl, net, err);
	if (nl)
		mnl_socket_close(nl);
	if (r < 0)
		return r;
	*ret_fd = steal_fd(&tap);
	return 0;
}
