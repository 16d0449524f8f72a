/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network as INIT says it: lo, one interface, its addresses and gateways. No DHCP and no
 * router advertisements are waited for, so a command finds the network ready. A kernel without
 * IPv6 does without.
 */
#include "agent/guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define INTERFACE_PATIENCE_MS 10000

struct net {
	int s4, s6; /* sockets to ask by; s6 is -1 without IPv6 */
	char name[IFNAMSIZ];
};

static struct ifreq request(const char *name)
{
	struct ifreq r = { 0 };

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	return r;
}

static int bring_up(const struct net *n, const char *name)
{
	struct ifreq r = request(name);

	if (ioctl(n->s4, SIOCGIFFLAGS, &r) < 0)
		return -errno;
	r.ifr_flags |= IFF_UP;
	return ioctl(n->s4, SIOCSIFFLAGS, &r) < 0 ? -errno : 0;
}

/* The first interface that is an Ethernet's. */
static bool first_interface(char ret[static IFNAMSIZ])
{
	DIR *d = opendir("/sys/class/net");
	struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d))) {
		struct buf type = BUF_INIT(16);
		char path[300];

		snprintf(path, sizeof(path), "/sys/class/net/%s/type", e->d_name);
		if (*e->d_name != '.' && strlen(e->d_name) < IFNAMSIZ &&
		    file_read(path, 15, &type) == 0 && type.len == 2 &&
		    memcmp(buf_at(&type), "1\n", 2) == 0) {
			snprintf(ret, IFNAMSIZ, "%.15s", e->d_name);
			found = true;
		}
		buf_fini(&type);
	}
	if (d)
		closedir(d);
	return found;
}

static int find_interface(struct net *n, const char *wanted, struct failure *f)
{
	const struct timespec pause = { .tv_nsec = 5 * (long)NS_PER_MS };

	for (int ms = 0; ms < INTERFACE_PATIENCE_MS; ms += 5) {
		if (wanted && if_nametoindex(wanted)) {
			snprintf(n->name, sizeof(n->name), "%s", wanted);
			return 0;
		}
		if (!wanted && first_interface(n->name))
			return 0;
		nanosleep(&pause, NULL);
	}
	return fail(f, AGENT_STAGE_NETWORK, ENODEV, "no network interface %.20s",
		    wanted ? wanted : "");
}

/* ---- addresses ---------------------------------------------------------------------- */

static bool address_parse(const char *text, struct ip_addr *ret, uint8_t *ret_len)
{
	const char *slash = strchr(text, '/');
	uint64_t len;

	if (!slash || ip_parse(text, (size_t)(slash - text), ret, NULL) < 0 ||
	    uint_parse(slash + 1, strlen(slash + 1), 0, ret->family == 4 ? 32 : 128, &len, NULL) < 0)
		return false;
	*ret_len = (uint8_t)len;
	return true;
}

static void put_in4(struct sockaddr *sa, uint32_t be)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = be };

	memcpy(sa, &in, sizeof(in));
}

static int add_address4(const struct net *n, const struct ip_addr *a, uint8_t len)
{
	struct ifreq r = request(n->name);
	uint32_t be;

	memcpy(&be, a->b, 4);
	put_in4(&r.ifr_addr, be);
	if (ioctl(n->s4, SIOCSIFADDR, &r) < 0)
		return -errno;
	put_in4(&r.ifr_netmask, len ? htonl(UINT32_MAX << (32 - len)) : 0);
	return ioctl(n->s4, SIOCSIFNETMASK, &r) < 0 ? -errno : 0;
}

static int add_address6(const struct net *n, const struct ip_addr *a, uint8_t len)
{
	struct in6_ifreq r = { .ifr6_prefixlen = len, .ifr6_ifindex = (int)if_nametoindex(n->name) };

	if (n->s6 < 0)
		return 0;
	memcpy(&r.ifr6_addr, a->b, 16);
	return ioctl(n->s6, SIOCSIFADDR, &r) < 0 && errno != EEXIST ? -errno : 0;
}

static int add_addresses(const struct net *n, const struct agent_strings *list, struct failure *f)
{
	for (size_t i = 0; i < list->n; i++) {
		struct ip_addr a;
		uint8_t len;
		int r;

		if (!address_parse(list->v[i], &a, &len))
			return fail(f, AGENT_STAGE_NETWORK, EINVAL,
				    "\"%.80s\" is no ADDRESS/LENGTH", list->v[i]);
		r = a.family == 4 ? add_address4(n, &a, len) : add_address6(n, &a, len);
		if (r < 0)
			return fail(f, AGENT_STAGE_NETWORK, -r, "address %s", list->v[i]);
	}
	return 0;
}

/* ---- routes ------------------------------------------------------------------------- */

static int add_gateway4(const struct net *n, const struct ip_addr *a)
{
	char name[IFNAMSIZ];
	struct rtentry r = { .rt_flags = RTF_UP | RTF_GATEWAY, .rt_dev = name };
	uint32_t be;

	memcpy(name, n->name, sizeof(name));
	memcpy(&be, a->b, 4);
	put_in4(&r.rt_gateway, be);
	put_in4(&r.rt_dst, 0);
	put_in4(&r.rt_genmask, 0);
	return ioctl(n->s4, SIOCADDRT, &r) < 0 && errno != EEXIST ? -errno : 0;
}

static int add_gateway6(const struct net *n, const struct ip_addr *a)
{
	struct in6_rtmsg r = {
		.rtmsg_flags = RTF_UP | RTF_GATEWAY,
		.rtmsg_metric = 1024,
		.rtmsg_ifindex = (int)if_nametoindex(n->name),
	};

	if (n->s6 < 0)
		return 0;
	memcpy(&r.rtmsg_gateway, a->b, 16);
	return ioctl(n->s6, SIOCADDRT, &r) < 0 && errno != EEXIST ? -errno : 0;
}

static int add_gateways(const struct net *n, const struct agent_strings *list, struct failure *f)
{
	for (size_t i = 0; i < list->n; i++) {
		struct ip_addr a;
		int r;

		if (ip_parse(list->v[i], strlen(list->v[i]), &a, NULL) < 0)
			return fail(f, AGENT_STAGE_NETWORK, EINVAL, "\"%.80s\" is no address",
				    list->v[i]);
		r = a.family == 4 ? add_gateway4(n, &a) : add_gateway6(n, &a);
		if (r < 0)
			return fail(f, AGENT_STAGE_NETWORK, -r, "gateway %s", list->v[i]);
	}
	return 0;
}

/* ---- the whole ---------------------------------------------------------------------- */

static void set(const char *path, const char *value)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, value, strlen(value)) < 0)
		log_warn("%s: %s", path, strerror(errno));
}

/* Addresses are given, not guessed: nothing to wait for, nothing to be told by others. */
static void set6(const struct net *n, const char *what, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", n->name, what);
	set(path, value);
}

/* A kernel's own defaults are for machines with several users: ping and low ports are root's. */
static void set_for_all(void)
{
	set("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
	set("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
}

static int configure(struct net *n, const struct agent_init *init, struct failure *f)
{
	int r = find_interface(n, init->interface, f);
	struct ifreq mtu;

	if (r < 0)
		return r;
	mtu = request(n->name);
	mtu.ifr_mtu = (int)init->mtu;
	if (init->mtu && ioctl(n->s4, SIOCSIFMTU, &mtu) < 0)
		return fail(f, AGENT_STAGE_NETWORK, errno, "an MTU of %u", init->mtu);
	set6(n, "accept_ra", "0");
	set6(n, "autoconf", "0");
	set6(n, "accept_dad", "0");
	set_for_all();
	r = bring_up(n, n->name);
	if (r < 0)
		return fail(f, AGENT_STAGE_NETWORK, -r, "%s cannot be brought up", n->name);
	r = add_addresses(n, &init->addresses, f);
	return r < 0 ? r : add_gateways(n, &init->gateways, f);
}

int net_setup(const struct agent_init *init, struct failure *f)
{
	struct net n = {
		.s4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
		.s6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0),
	};
	int r = 0;

	if (n.s4 < 0)
		return fail(f, AGENT_STAGE_NETWORK, errno, "no socket");
	r = bring_up(&n, "lo");
	if (r < 0)
		r = fail(f, AGENT_STAGE_NETWORK, -r, "lo cannot be brought up");
	else if (init->addresses.n)
		r = configure(&n, init, f);
	fd_close(n.s4);
	fd_close(n.s6);
	return r;
}
