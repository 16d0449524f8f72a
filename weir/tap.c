/* SPDX-License-Identifier: Apache-2.0 */
/* Opening taps: our own in a sandbox, somebody else's for a gateway. */
#include "weir/tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define VNET_HDR_SIZE 12
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static const char node[] = "/dev/net/tun";

static int open_node(int *ret_fd, struct conf_error *err)
{
	int fd = open(node, O_RDWR | O_CLOEXEC | O_NONBLOCK), r = -errno;

	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	conf_error_set(err, "cannot open %s: %s; %s", node, strerror(-r),
		       r == -EACCES ? "as root: chmod 0666 /dev/net/tun (the default on Debian)"
				    : "is the tun module loaded?");
	return r;
}

static int attach_failed(const char *name, int e, struct conf_error *err)
{
	bool there = if_nametoindex(name) != 0;

	if (e == EBUSY)
		conf_error_set(err,
			       "tap %s: another process has it open; give each its own, "
			       "and join them with a bridge",
			       name);
	else if (e == EINVAL && there)
		conf_error_set(err, "%s: an interface of this name is there, and no tap", name);
	else if ((e == EPERM || e == EACCES) && there)
		conf_error_set(err,
			       "tap %s: not permitted: it belongs to another user; as root: "
			       "ip tuntap add %s mode tap vnet_hdr user %u",
			       name, name, (unsigned)geteuid());
	else if (e == EPERM || e == EACCES)
		conf_error_set(err,
			       "tap %s: there is none, and making one is not permitted; as "
			       "root: ip tuntap add %s mode tap vnet_hdr user %u",
			       name, name, (unsigned)geteuid());
	else
		conf_error_set(err, "tap %s: cannot be opened: %s", name, strerror(e));
	return -e;
}

static int set_offloads(int fd, const char *name, struct conf_error *err)
{
	unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
	int hdr = VNET_HDR_SIZE, r;

	/* UDP segmentation came with Linux 6.2. */
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr) == 0 &&
	    (ioctl(fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) == 0 ||
	     ioctl(fd, TUNSETOFFLOAD, offloads) == 0))
		return 0;
	r = -errno;
	conf_error_set(err, "tap %s: its offloads cannot be set: %s", name, strerror(-r));
	return r;
}

int tap_open(const char *name, int *ret_fd, struct conf_error *err)
{
	/* One that was made for several queues wants to hear so. */
	static const short flags[] = { IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
				       IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE };
	cleanup_close int fd = -1;
	int r = open_node(&fd, err), e = EINVAL;

	if (r < 0)
		return r;
	for (size_t i = 0; e == EINVAL && i < ARRAY_SIZE(flags); i++) {
		struct ifreq ifr = { .ifr_flags = flags[i] };

		snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
		e = ioctl(fd, TUNSETIFF, &ifr) < 0 ? errno : 0;
	}
	if (e)
		return attach_failed(name, e, err);
	r = set_offloads(fd, name, err);
	if (r == 0)
		*ret_fd = steal_fd(&fd);
	return r;
}

int tap_prepare(int fd, char ret_name[static 16], struct conf_error *err)
{
	struct ifreq ifr = { 0 };
	const char *lacks = NULL;
	int r;

	if (ioctl(fd, TUNGETIFF, &ifr) < 0) {
		conf_error_set(err, "no interface is attached to it (TUNSETIFF)");
		return -EINVAL;
	}
	if (!(ifr.ifr_flags & IFF_TAP))
		lacks = "IFF_TAP: it carries IP packets, not Ethernet frames";
	else if (!(ifr.ifr_flags & IFF_NO_PI))
		lacks = "IFF_NO_PI";
	else if (!(ifr.ifr_flags & IFF_VNET_HDR))
		lacks = "IFF_VNET_HDR";
	if (lacks) {
		conf_error_set(err,
			       "interface %.15s was opened without %s; open it with "
			       "IFF_TAP | IFF_NO_PI | IFF_VNET_HDR",
			       ifr.ifr_name, lacks);
		return -EINVAL;
	}
	r = set_offloads(fd, ifr.ifr_name, err);
	if (r == 0)
		snprintf(ret_name, 16, "%.15s", ifr.ifr_name);
	return r;
}
