/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's side of the wire, set up from inside its network namespace:
 * loopback, a tap named eth0 with offloads on, static addresses, default routes
 * to the gateway. No DHCP, no router advertisement, nothing to spoof.
 */
#include "weir/sandbox.h"

#include "weir/addresses.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* <linux/ipv6.h> and <netinet/in.h> cannot be included together. */
struct in6_ifreq {
	struct in6_addr addr;
	uint32_t prefixlen;
	int ifindex;
};

#define VNET_HDR_SIZE 12
/* What the ring can hold before it drops; the default of 1000 loses bulk uploads. */
#define TX_QUEUE_LEN 20000
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static int failed(struct conf_error *err, const char *what)
{
	int r = -errno;

	conf_error_set(err, "cannot set up the sandbox's network: %s: %s", what, strerror(errno));
	return r;
}

static int tap_open(struct conf_error *err, int *ret_fd)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
	int hdr = VNET_HDR_SIZE;
	cleanup_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		int r = -errno;

		conf_error_set(err, "cannot open /dev/net/tun: %s; %s", strerror(errno),
			       errno == EACCES
				       ? "as root: chmod 0666 /dev/net/tun (the default on Debian)"
				       : "is the tun module loaded?");
		return r;
	}
	snprintf(ifr.ifr_name, IFNAMSIZ, "%s", SANDBOX_IFNAME);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return failed(err, "TUNSETIFF");
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr) < 0)
		return failed(err, "TUNSETVNETHDRSZ");
	/* UDP segmentation came with Linux 6.2. */
	if (ioctl(fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) < 0 &&
	    ioctl(fd, TUNSETOFFLOAD, offloads) < 0)
		return failed(err, "TUNSETOFFLOAD");
	*ret_fd = steal_fd(&fd);
	return 0;
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

	sysctl_set("/proc/sys/net/ipv6/conf/" SANDBOX_IFNAME "/accept_dad", "0");
	sysctl_set("/proc/sys/net/ipv6/conf/" SANDBOX_IFNAME "/dad_transmits", "0");
	sysctl_set("/proc/sys/net/ipv6/conf/" SANDBOX_IFNAME "/accept_ra", "0");
	sysctl_set("/proc/sys/net/ipv6/conf/" SANDBOX_IFNAME "/router_solicitations", "0");
	sysctl_set("/proc/sys/net/ipv6/conf/" SANDBOX_IFNAME "/addr_gen_mode", "1");
	sysctl_set("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
	/* Lets ping work without privilege. */
	snprintf(range, sizeof(range), "%u %u", getegid(), getegid());
	sysctl_set("/proc/sys/net/ipv4/ping_group_range", range);
}

static int if_flags_up(int s, const char *name)
{
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
	if (ioctl(s, SIOCGIFFLAGS, &ifr) < 0)
		return -errno;
	ifr.ifr_flags |= IFF_UP | IFF_RUNNING;
	return ioctl(s, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

static void set_sockaddr4(struct sockaddr *sa, const struct ip_addr *a)
{
	struct sockaddr_storage ss;
	struct endpoint e = { .addr = *a };

	endpoint_to_sockaddr(&e, &ss);
	memcpy(sa, &ss, sizeof(*sa));
}

static int addr4_up(int s, struct conf_error *err)
{
	struct ifreq ifr = { 0 };
	struct rtentry rt = { .rt_flags = RTF_UP | RTF_GATEWAY };
	struct ip_addr mask = { .family = 4 }, any = { .family = 4 };

	put_be32(mask.b, 0xffffffffU << (32 - SANDBOX_PREFIX4));
	snprintf(ifr.ifr_name, IFNAMSIZ, "%s", SANDBOX_IFNAME);
	set_sockaddr4(&ifr.ifr_addr, &guest_ip4);
	if (ioctl(s, SIOCSIFADDR, &ifr) < 0)
		return failed(err, "IPv4 address");
	set_sockaddr4(&ifr.ifr_netmask, &mask);
	if (ioctl(s, SIOCSIFNETMASK, &ifr) < 0)
		return failed(err, "IPv4 netmask");
	if (if_flags_up(s, SANDBOX_IFNAME) < 0)
		return failed(err, "interface up");
	set_sockaddr4(&rt.rt_dst, &any);
	set_sockaddr4(&rt.rt_genmask, &any);
	set_sockaddr4(&rt.rt_gateway, &gateway_ip4);
	return ioctl(s, SIOCADDRT, &rt) < 0 ? failed(err, "IPv4 default route") : 0;
}

/* A host kernel without IPv6 gives an IPv4 sandbox, not an error. */
static int addr6_up(struct conf_error *err)
{
	cleanup_close int s = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct in6_ifreq ifr = { .prefixlen = SANDBOX_PREFIX6 };
	struct in6_rtmsg rt = { .rtmsg_flags = RTF_UP | RTF_GATEWAY, .rtmsg_metric = 1 };

	if (s < 0)
		return 0;
	ifr.ifindex = (int)if_nametoindex(SANDBOX_IFNAME);
	memcpy(&ifr.addr, guest_ip6.b, 16);
	if (ioctl(s, SIOCSIFADDR, &ifr) < 0)
		return errno == EOPNOTSUPP || errno == EACCES ? 0 : failed(err, "IPv6 address");
	rt.rtmsg_ifindex = ifr.ifindex;
	memcpy(&rt.rtmsg_gateway, gateway_ip6.b, 16);
	return ioctl(s, SIOCADDRT, &rt) < 0 ? failed(err, "IPv6 default route") : 0;
}

int sandbox_link_up(int *ret_fd, struct conf_error *err)
{
	cleanup_close int tap = -1;
	cleanup_close int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { 0 };
	int r;

	if (s < 0)
		return failed(err, "socket");
	r = tap_open(err, &tap);
	if (r < 0)
		return r;
	set_sysctls();
	snprintf(ifr.ifr_name, IFNAMSIZ, "%s", SANDBOX_IFNAME);
	ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(ifr.ifr_hwaddr.sa_data, guest_mac, 6);
	if (ioctl(s, SIOCSIFHWADDR, &ifr) < 0)
		return failed(err, "MAC address");
	ifr.ifr_qlen = TX_QUEUE_LEN;
	if (ioctl(s, SIOCSIFTXQLEN, &ifr) < 0)
		return failed(err, "queue length");
	ifr.ifr_mtu = SANDBOX_MTU;
	if (ioctl(s, SIOCSIFMTU, &ifr) < 0)
		return failed(err, "MTU");
	if (if_flags_up(s, "lo") < 0)
		return failed(err, "loopback up");
	r = addr4_up(s, err);
	if (r == 0)
		r = addr6_up(err);
	if (r < 0)
		return r;
	*ret_fd = steal_fd(&tap);
	return 0;
}
