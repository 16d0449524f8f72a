/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The least that can carry a TCP stream from a tap to a host socket: one
 * segmentation-offload frame in, one write out, and back. No loss recovery, no
 * reassembly, no policy, no timers, blocking writes, one guest that behaves.
 * It is the yardstick for weir's stack on the same tap: what is above it is
 * the price of being a stack. Trusts everything: a bench, not a product.
 *
 *   relay NETNS ADDR   makes tap "eth0" in the network namespace at that path, answers
 *                      ARP for ADDR there, relays IPv4 TCP to sockets of its own one
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define CONNS 64
#define VNET sizeof(struct virtio_net_hdr_v1)
#define HEADS (14 + 20 + 20)
#define PIECE 65000
#define SCALE 8

struct conn {
	int fd; /* 0: free */
	uint16_t guest_port, port;
	uint32_t guest, addr; /* network order */
	uint32_t snd_una, snd_nxt, rcv_nxt, wnd;
	uint8_t scale;
	int ended, heard; /* our FIN was sent, the guest's came */
};

static struct conn conns[CONNS];
static int tap;
static uint8_t guest_mac[6], mac[6] = { 2, 0, 0, 0, 0, 1 };
static uint32_t gateway;
static uint8_t in[VNET + HEADS + 66000], out[PIECE];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint32_t sum(const void *p, size_t n, uint32_t s)
{
	const uint8_t *b = p;

	for (; n > 1; n -= 2, b += 2)
		s += (uint32_t)b[0] << 8 | b[1];
	return s;
}

static uint16_t fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

static void send_segment(struct conn *c, uint8_t flags, const uint8_t *opt, size_t n_opt,
			 const uint8_t *data, size_t len)
{
	size_t tcp_len = 20 + n_opt + len;
	struct virtio_net_hdr_v1 v = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				       .csum_start = 34,
				       .csum_offset = 16,
				       .hdr_len = (uint16_t)(HEADS + n_opt) };
	uint8_t h[HEADS + 40] = { 0 };
	struct iphdr ip = { .version = 4,
			    .ihl = 5,
			    .ttl = 64,
			    .protocol = IPPROTO_TCP,
			    .tot_len = htons((uint16_t)(20 + tcp_len)),
			    .frag_off = htons(0x4000),
			    .saddr = c->addr,
			    .daddr = c->guest };
	struct tcphdr t = { .source = c->port,
			    .dest = c->guest_port,
			    .seq = htonl(c->snd_nxt),
			    .ack_seq = htonl(c->rcv_nxt),
			    .window = htons(0xffff) };
	struct iovec iov[3];

	if (len > 1460) {
		v.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		v.gso_size = 1460;
	}
	t.doff = (uint8_t)(5 + n_opt / 4) & 15;
	((uint8_t *)&t)[13] = flags;
	ip.check = htons((uint16_t)~fold(sum(&ip, 20, 0)));
	t.check = htons(fold(sum(&ip.saddr, 8, (uint32_t)(IPPROTO_TCP + tcp_len))));
	memcpy(h, guest_mac, 6);
	memcpy(h + 6, mac, 6);
	h[12] = 8;
	memcpy(h + 14, &ip, 20);
	memcpy(h + 34, &t, 20);
	if (n_opt)
		memcpy(h + HEADS, opt, n_opt);
	iov[0] = (struct iovec){ &v, VNET };
	iov[1] = (struct iovec){ h, HEADS + n_opt };
	iov[2] = (struct iovec){ (void *)(uintptr_t)data, len };
	if (writev(tap, iov, 3) < 0)
		die("tap");
	c->snd_nxt += (uint32_t)len + !!(flags & (TH_SYN | TH_FIN));
}

static struct conn *find(uint16_t guest_port, uint16_t port, uint32_t addr)
{
	for (int i = 0; i < CONNS; i++)
		if (conns[i].fd && conns[i].guest_port == guest_port && conns[i].port == port &&
		    conns[i].addr == addr)
			return &conns[i];
	return NULL;
}

static void open_conn(const struct iphdr *ip, const struct tcphdr *t, const uint8_t *opt, size_t n)
{
	static const uint8_t syn[] = { 2, 4, 1460 >> 8, 1460 & 255, 1, 3, 3, SCALE };
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = t->dest,
				  .sin_addr.s_addr = ip->daddr };
	struct conn *c = conns;

	while (c < conns + CONNS && c->fd)
		c++;
	if (c == conns + CONNS)
		return;
	*c = (struct conn){ .guest_port = t->source,
			    .port = t->dest,
			    .guest = ip->saddr,
			    .addr = ip->daddr,
			    .rcv_nxt = ntohl(t->seq) + 1,
			    .snd_nxt = 1000 };
	for (size_t i = 0; i + 1 < n && opt[i];) {
		if (opt[i] == 3)
			c->scale = opt[i + 2];
		i += opt[i] == 1 ? 1 : opt[i + 1] ? opt[i + 1] : n;
	}
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("connect");
	c->wnd = ntohs(t->window);
	c->snd_una = c->snd_nxt;
	send_segment(c, TH_SYN | TH_ACK, syn, sizeof(syn), NULL, 0);
}

static void put(struct conn *c, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t r = send(c->fd, p, n, MSG_NOSIGNAL);

		if (r < 0)
			return; /* the far end is gone; the guest will be told by its end */
		p += r;
		n -= (size_t)r;
	}
}

/* The last acknowledgements are nobody's business. */
static void forget(struct conn *c)
{
	if (!c->ended || !c->heard)
		return;
	close(c->fd);
	c->fd = 0;
}

static void on_tcp(const uint8_t *p, size_t len)
{
	const struct iphdr *ip = (const void *)p;
	const struct tcphdr *t = (const void *)(p + 20);
	size_t total = ntohs(ip->tot_len), head = 20 + (size_t)t->doff * 4;
	uint8_t flags = ((const uint8_t *)t)[13];
	struct conn *c = find(t->source, t->dest, ip->daddr);

	if (total > len || head > total)
		return;
	if (flags & TH_SYN) {
		if (!c)
			open_conn(ip, t, p + 40, head - 40);
		return;
	}
	if (!c)
		return;
	if (flags & TH_RST) {
		close(c->fd);
		c->fd = 0;
		return;
	}
	c->wnd = (uint32_t)ntohs(t->window) << c->scale;
	c->snd_una = ntohl(t->ack_seq);
	if (ntohl(t->seq) == c->rcv_nxt && total > head) {
		put(c, p + head, total - head);
		c->rcv_nxt += (uint32_t)(total - head);
		if (!(flags & TH_FIN))
			send_segment(c, TH_ACK, NULL, 0, NULL, 0);
	}
	if (flags & TH_FIN && ntohl(t->seq) + (uint32_t)(total - head) == c->rcv_nxt) {
		c->rcv_nxt++;
		shutdown(c->fd, SHUT_WR);
		send_segment(c, TH_ACK, NULL, 0, NULL, 0);
		c->heard = 1;
		forget(c);
	}
}

static void on_arp(uint8_t *p)
{
	struct virtio_net_hdr_v1 v = { 0 };
	struct iovec iov[2] = { { &v, VNET }, { p, 42 } };

	if (p[21] != 1 || memcmp(p + 38, &gateway, 4) != 0)
		return;
	memcpy(guest_mac, p + 6, 6);
	memcpy(p, guest_mac, 6);
	memcpy(p + 6, mac, 6);
	p[21] = 2;
	memmove(p + 32, p + 22, 10);
	memcpy(p + 22, mac, 6);
	memcpy(p + 28, &gateway, 4);
	if (writev(tap, iov, 2) < 0)
		die("tap");
}

static void on_tap(void)
{
	ssize_t n = read(tap, in, sizeof(in));
	uint8_t *p = in + VNET;

	if (n < (ssize_t)VNET + 42)
		return;
	if (p[12] == 8 && p[13] == 6)
		on_arp(p);
	else if (p[12] == 8 && p[13] == 0 && n >= (ssize_t)(VNET + HEADS) && p[14] == 0x45 &&
		 p[23] == IPPROTO_TCP) {
		memcpy(guest_mac, p + 6, 6);
		on_tcp(p + 14, (size_t)n - VNET - 14);
	}
}

static size_t room(const struct conn *c)
{
	uint32_t used = c->snd_nxt - c->snd_una;

	return c->wnd > used ? c->wnd - used : 0;
}

static void on_host(struct conn *c)
{
	size_t n = room(c);
	ssize_t r = recv(c->fd, out, n < PIECE ? n : PIECE, 0);

	if (r > 0) {
		send_segment(c, TH_ACK | TH_PUSH, NULL, 0, out, (size_t)r);
	} else {
		send_segment(c, TH_FIN | TH_ACK, NULL, 0, NULL, 0);
		c->ended = 1;
		forget(c);
	}
}

static void open_tap(const char *path)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int hdr = VNET, here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there;

	there = open(path, O_RDONLY | O_CLOEXEC);
	if (here < 0 || there < 0 || setns(there, CLONE_NEWNET) < 0)
		die(path);
	snprintf(ifr.ifr_name, IFNAMSIZ, "eth0");
	tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (tap < 0 || ioctl(tap, TUNSETIFF, &ifr) < 0 || ioctl(tap, TUNSETVNETHDRSZ, &hdr) < 0 ||
	    ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0)
		die("tap");
	if (setns(here, CLONE_NEWNET) < 0)
		die("setns");
}

int main(int argc, char **argv)
{
	if (argc != 3 || inet_pton(AF_INET, argv[2], &gateway) != 1) {
		fprintf(stderr, "usage: relay NETNS ADDR\n");
		return 2;
	}
	open_tap(argv[1]);
	for (;;) {
		struct pollfd p[CONNS + 1] = { { tap, POLLIN, 0 } };
		struct conn *who[CONNS + 1];
		nfds_t n = 1;

		for (int i = 0; i < CONNS; i++)
			if (conns[i].fd && !conns[i].ended && room(&conns[i])) {
				p[n] = (struct pollfd){ conns[i].fd, POLLIN, 0 };
				who[n++] = &conns[i];
			}
		if (poll(p, n, -1) < 0)
			die("poll");
		for (nfds_t i = 1; i < n; i++)
			if (p[i].revents)
				on_host(who[i]);
		if (p[0].revents)
			on_tap();
	}
}
