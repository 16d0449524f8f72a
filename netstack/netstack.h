/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netstack: the sandbox's link, from Ethernet to TCP, and the relay of each
 * guest flow to a file descriptor. It knows nothing of policy or names: it
 * reports a new flow and waits to be told what to do with it.
 *
 *    guest ── frames ──► flow_new(f) ──► the owner decides, now or later:
 *        netstack_flow_refuse   answered at once (RST, ICMP)
 *        netstack_flow_attach   here is a connected descriptor: relay
 *        netstack_flow_accept   (TCP) shake hands first, report the first bytes
 *        netstack_flow_local    (UDP, ICMP) the owner answers datagrams itself
 *
 * One loop, one thread. A flow handle is valid from flow_new (or
 * netstack_connect) until flow_end returns. All calls below may be made from
 * inside any callback, flow_end excepted.
 *
 * Bytes from the guest are hostile; nothing of the guest's can make these
 * functions fail other than by ending its own flow. TCP follows RFC 9293,
 * 7323, 5681, 6298, 6582, 5961 and 6528; IP 791/8200/815/5722; ICMP 792/4443;
 * ARP 826; NDP 4861, 4862, 8106; DHCP 2131, 8415.
 */
#ifndef WEIR_NETSTACK_H
#define WEIR_NETSTACK_H

#include "base/base.h"

struct netstack;
struct netstack_flow;

enum netstack_proto {
	NETSTACK_TCP = 1,
	NETSTACK_UDP = 2,
	NETSTACK_ICMP = 3, /* echo; guest.port is the identifier, remote.port 0 */
};

struct netstack_tuple {
	enum netstack_proto proto;
	struct endpoint guest;	/* the sandbox's end */
	struct endpoint remote; /* the other end, as the guest names it */
	bool inbound;		/* opened from outside (published port) */
};

/* How a flow that does not get through is answered. */
enum netstack_refusal {
	NETSTACK_DENIED = 1,	  /* TCP: RST. Else ICMP 3/13, ICMPv6 1/1 */
	NETSTACK_NO_HOST = 2,	  /* ICMP 3/1, ICMPv6 1/3 (TCP as well) */
	NETSTACK_NO_NET = 3,	  /* ICMP 3/0, ICMPv6 1/0 (TCP as well) */
	NETSTACK_PORT_CLOSED = 4, /* TCP: RST. Else ICMP 3/3, ICMPv6 1/4 */
	NETSTACK_SILENT = 5,	  /* nothing: what a silent peer looks like */
	NETSTACK_LIMIT = 6,	  /* flow table full; answered like DENIED */
	NETSTACK_MEMORY = 7,	  /* memory budget used up; answered like DENIED */
};

enum netstack_end {
	NETSTACK_END_CLOSED = 1, /* both directions finished in order */
	NETSTACK_END_GUEST_RESET = 2,
	NETSTACK_END_REMOTE_RESET = 3, /* descriptor failed: errno in counts */
	NETSTACK_END_REFUSED = 4,
	NETSTACK_END_TIMEOUT = 5, /* idle UDP/ICMP; TCP retransmissions ran out */
	NETSTACK_END_ABORTED = 6, /* netstack_flow_abort() */
	NETSTACK_END_LIMIT = 7,	  /* half open, and the oldest when there were too many */
};

/* An ICMP or ICMPv6 error, as its family numbers them. */
struct netstack_icmp {
	struct ip_addr from; /* who says so; its family is the error's */
	uint8_t type, code;
	uint32_t info; /* path MTU (too big), pointer (parameter problem) */
};

/* Exact: payload bytes in order that were handed to the other side. */
struct netstack_counts {
	uint64_t bytes_up;   /* guest to remote */
	uint64_t bytes_down; /* remote to guest */
	uint64_t packets_up, packets_down;
	uint64_t start_ns; /* monotonic */
	int error;	   /* errno of the descriptor, or 0 */
};

struct netstack_ops {
	/* A flow begins. The owner may already decide inside the call. */
	void (*flow_new)(void *ctx, struct netstack_flow *f);
	/*
	 * Held TCP flow (accepted, or attached with hold): the in-order bytes
	 * the guest has sent so far, all of them from its first, each time more
	 * arrive; eof when it has closed its side. At most NETSTACK_HOLD_MAX;
	 * the window closes there.
	 */
	void (*flow_bytes)(void *ctx, struct netstack_flow *f, const uint8_t *p, size_t len,
			   bool eof);
	/*
	 * May be NULL: never. The descriptor has ended. True: not in order, its owner is
	 * gone; the guest is reset instead of being told an orderly end.
	 */
	bool (*flow_cut)(void *ctx, struct netstack_flow *f);
	/* Held and attached: the descriptor has bytes (or eof) and the guest has sent none yet. */
	void (*flow_server_first)(void *ctx, struct netstack_flow *f);
	/* Local UDP/ICMP flow: one datagram (payload) from the guest. */
	void (*flow_datagram)(void *ctx, struct netstack_flow *f, const uint8_t *p, size_t len);
	/* May be NULL. One more datagram has come for a UDP flow that is not decided yet. */
	void (*flow_waiting)(void *ctx, struct netstack_flow *f);
	/*
	 * May be NULL: all do. May this datagram of a watched UDP flow go on? The
	 * flow may be ended from here.
	 */
	bool (*flow_passes)(void *ctx, struct netstack_flow *f, const uint8_t *p, size_t len);
	/* The flow is over; every flow that began ends here exactly once. */
	void (*flow_end)(void *ctx, struct netstack_flow *f, enum netstack_end how,
			 const struct netstack_counts *c);
	/* May be NULL. Every frame on the link, without virtio header, for captures. */
	void (*frame)(void *ctx, bool from_guest, const void *head, size_t head_len,
		      const void *payload, size_t payload_len);
	/* May be NULL. A guest is there: not for a tap, which is up from its birth. */
	void (*link_up)(void *ctx);
	/*
	 * May be NULL. The guest is gone and its flows have ended, for the reason why (valid
	 * within the call); last: the link is over for good, even if nobody ever came.
	 */
	void (*link_down)(void *ctx, const char *why, bool last);
	/*
	 * May be NULL. A packet refused before a flow existed (limit, protocol). t
	 * inbound: a datagram for a port of the guest's from where it sent none to;
	 * remote is who really sent it.
	 */
	void (*packet_refused)(void *ctx, const struct netstack_tuple *t, uint8_t ip_proto,
			       enum netstack_refusal how);
};

#define NETSTACK_HOLD_MAX 65536

/*
 * What the link tells the guest of its addresses: a DHCP server with the one
 * lease, router advertisements for the guest's /64, a DHCPv6 server. Without
 * them the guest has to be told some other way, and asks in vain.
 */
struct netstack_autoconf {
	bool dhcp4; /* needs guest4 and gateway4, and prefix4 */
	/*
	 * Needs guest6 and gateway6 in one /64. All addresses of it but the
	 * gateway's are the guest's then: it makes them itself (RFC 4862).
	 */
	bool ra;
	bool dhcp6;	   /* needs guest6 and gateway6 */
	uint8_t prefix4;   /* length of the guest's IPv4 network, 8..30 */
	uint32_t lease_s;  /* 0: a day */
	char domain[254];  /* search domain, canonical; "": none */
	char hostname[64]; /* for DHCPv4; "": none */
};

struct netstack_config {
	uint8_t gateway_mac[6];
	/*
	 * What a VMM that asks (VHOST_USER) is told to give its guest; all zero: its own choice.
	 * A guest with another one is served all the same.
	 */
	uint8_t guest_mac[6];
	struct ip_addr gateway4, gateway6; /* answered by ARP/NDP; everything else goes via them */
	struct ip_addr guest4, guest6;	   /* other sources are dropped and counted */
	uint16_t mtu;			   /* of the link, 1280..65520 */
	uint32_t max_tcp, max_udp, max_icmp; /* concurrent flows */
	/*
	 * TCP flows of one direction that are not established on both sides yet;
	 * 0: half of max_tcp. When there are more the oldest ends (answered, with
	 * NETSTACK_END_LIMIT); if one host has a large part of them, its oldest. From
	 * outside: the oldest that the guest has not answered for 3 s, else no more begin.
	 */
	uint32_t max_half_open;
	/*
	 * Bytes of all buffers; 0: 256 MiB, or 32 KiB for each of max_tcp where that
	 * is more. Near it windows close, at it new flows are refused. Fixed tables and the kernel's socket buffers come on top.
	 */
	uint64_t memory;
	uint32_t udp_timeout_s; /* idle, both directions refresh; 0: 180. A question to a
					port below 1024, answered or not: 30 at most */
	struct netstack_autoconf autoconf;
};

/* Token buckets of one direction; what is 0 has no limit. Payload is counted, not headers. */
struct netstack_rate {
	uint64_t bytes;	  /* per second, at most 16e9 */
	uint64_t burst;	  /* bytes that may go at once; 0: 20 ms' worth, 32 KiB at least */
	uint64_t packets; /* per second; 20 ms' worth, 32 at least, may go at once */
};
struct netstack_rates {
	struct netstack_rate up, down; /* from the guest, to the guest */
};

/*
 * Links. The descriptor is taken over and closed by netstack_free(). One that
 * is connected is one guest's and over with it (link_down, last); one that
 * listens serves one guest after the other: link_down(last = false), and the
 * next one starts from nothing.
 */
enum netstack_link_kind {
	/* None yet, fd -1: see netstack_relink(). */
	NETSTACK_LINK_NONE = 0,
	/* /dev/net/tun, IFF_TAP|IFF_NO_PI|IFF_VNET_HDR, 12-byte header (TUNSETVNETHDRSZ) */
	NETSTACK_LINK_TAP = 1,
	/*
	 * Stream socket, connected or listening: 4 bytes of length (big-endian),
	 * then the frame. QEMU -netdev stream, passt's and libkrun's format.
	 */
	NETSTACK_LINK_STREAM = 2,
	/* Datagram socket, connected: a datagram is a frame. QEMU -netdev dgram, vfkit. */
	NETSTACK_LINK_DGRAM = 3,
	/* vhost-user-net back end: Unix stream socket, connected to a VMM or listening. */
	NETSTACK_LINK_VHOST_USER = 4,
};

must_check int netstack_new(struct loop *loop, enum netstack_link_kind kind, int fd,
			    const struct netstack_config *cfg, const struct netstack_ops *ops,
			    void *ctx, struct netstack **ret);
/*
 * Another link in place of the one there is, whose guest and flows end
 * (link_down, not last). NETSTACK_LINK_NONE: none for now. On failure there is none, and fd
 * stays the caller's. Not from inside a callback.
 */
must_check int netstack_relink(struct netstack *ns, enum netstack_link_kind kind, int fd);
/* Ends every flow (flow_end is called) and closes the link. */
void netstack_free(struct netstack *ns);

const struct netstack_tuple *netstack_flow_tuple(const struct netstack_flow *f);
void netstack_flow_set_user(struct netstack_flow *f, void *user);
void *netstack_flow_user(const struct netstack_flow *f);
struct netstack_counts netstack_flow_counts(const struct netstack_flow *f);

/* Answer the flow's first packet with a refusal; flow_end follows (also before return). */
void netstack_flow_refuse(struct netstack_flow *f, enum netstack_refusal how);
/* The same with the very error that a router or the remote's host sent about our packet. */
void netstack_flow_refuse_icmp(struct netstack_flow *f, const struct netstack_icmp *e);
/* Hop limit (TTL) of the undecided flow's first packet as the guest sent it; 0: not known. */
uint8_t netstack_flow_hop_limit(const struct netstack_flow *f);
/* UDP, undecided: payload of the datagram number i from the guest that waits; NULL: no such. */
const uint8_t *netstack_flow_waiting(const struct netstack_flow *f, size_t i, size_t *ret_len);
/* UDP: from now on, what waits included, flow_passes is asked about each datagram of the guest's. */
void netstack_flow_watch(struct netstack_flow *f, bool on);
/* TCP: SYN-ACK now, hold what the guest sends. */
void netstack_flow_accept(struct netstack_flow *f);
/*
 * Relay to fd, which is taken over: a connected non-blocking stream socket
 * (TCP flows; any SOCK_STREAM), a connected UDP or ping socket (UDP, ICMP).
 * TCP: sends the SYN-ACK if it was not sent. hold: bytes from the guest are
 * held and reported until netstack_flow_release(), those that netstack_flow_accept()
 * held before once more; bytes to the guest flow.
 */
void netstack_flow_attach(struct netstack_flow *f, int fd, bool hold);
/*
 * UDP: relay to `to` over the host socket that all flows of this guest address
 * and port share (one for each IP version of `to`), so that every remote sees
 * the same host port: endpoint-independent mapping, RFC 4787. fd is a
 * non-blocking UDP socket that is connected to `to`, with no other option set;
 * taken over: it becomes that shared socket, is closed when there is one, or
 * stays this flow's alone when another flow of the port talks to `to` already.
 * Only remotes of live flows are heard.
 */
void netstack_flow_attach_shared(struct netstack_flow *f, int fd, const struct endpoint *to);
/* Let held bytes go to the attached descriptor, in order, and relay from here on. */
void netstack_flow_release(struct netstack_flow *f);
/*
 * Take the descriptor back (it becomes the caller's); the flow is held again
 * and no byte is lost: nothing read from it has been dropped, nothing held was
 * written. Only while held and before any byte was read from the descriptor.
 */
int netstack_flow_detach(struct netstack_flow *f);
/* UDP, ICMP: datagrams go to ops->flow_datagram; the first one right away. */
void netstack_flow_local(struct netstack_flow *f);
/* One datagram (payload) to the guest on a local flow; dropped and counted when it cannot go. */
void netstack_flow_send(struct netstack_flow *f, const void *p, size_t len);
/* End it now: RST for TCP, nothing for the others. flow_end follows before return. */
void netstack_flow_abort(struct netstack_flow *f);

/*
 * A flow towards the guest, for published ports (another one that is half open may
 * end inside; -ENOBUFS: too many flows, -ENOMEM: memory): from is what the guest sees
 * as its peer. TCP: fd is the accepted connection, taken over; handshake with
 * the guest, then relay; the guest's refusal resets the peer. UDP: fd is NULL
 * (-1) and the flow is local: netstack_flow_send() in, flow_datagram out.
 */
must_check int netstack_connect(struct netstack *ns, enum netstack_proto proto,
				const struct endpoint *from, const struct endpoint *guest, int fd,
				void *user, struct netstack_flow **ret);

/*
 * TCP, right after netstack_connect() and before the loop runs: bytes that the
 * guest gets before any of the descriptor's. They count as bytes_down. At most
 * 256; -ENOBUFS when they cannot be kept.
 */
must_check int netstack_flow_push(struct netstack_flow *f, const void *p, size_t len);

/*
 * Rates: of all flows together, and of the flows of a class, which share its
 * buckets. May be changed at any time. TCP and what goes to the guest waits for
 * its turn; datagrams of the guest beyond the rate are dropped and counted.
 * Flows that the owner answers itself (netstack_flow_local) are not slowed.
 */
void netstack_set_rates(struct netstack *ns, const struct netstack_rates *r);
struct netstack_class;
must_check int netstack_class_new(struct netstack *ns, const struct netstack_rates *r,
				  struct netstack_class **ret);
/* Its flows stay in it until they end or are put elsewhere. NULL is fine. */
void netstack_class_free(struct netstack_class *k);
uint32_t netstack_class_flows(const struct netstack_class *k);
/* k NULL: in none. */
void netstack_flow_set_class(struct netstack_flow *f, struct netstack_class *k);

/* Totals since start, for the record and the tests. */
struct netstack_stats {
	uint64_t frames_in, frames_out;
	uint64_t bytes_in, bytes_out;
	uint64_t dropped_malformed; /* length, checksum, header */
	uint64_t dropped_spoofed;   /* source is not the guest's */
	uint64_t dropped_link_full;
	uint64_t dropped_socket_full; /* batches of datagrams that a host socket did not take */
	uint64_t dropped_unsolicited; /* datagrams from where the guest sent none to */
	uint64_t icmp_from_guest;     /* errors: its word about our packets */
	uint64_t refused_limit;
	uint64_t fragments_dropped;
	uint64_t link_faults;  /* links lost because VMM or driver broke their rules */
	uint64_t retransmits;  /* TCP segments sent again */
	uint64_t dropped_rate; /* datagrams beyond the rate */
	uint64_t delayed_rate; /* times that a flow waited for its turn */
	uint32_t tcp_flows, udp_flows, icmp_flows;
	uint32_t half_open;
	uint64_t refused_memory;
	uint64_t evicted_half_open;
	uint64_t memory_used, memory_max;
	/* By enum netstack_proto, since start: payload to and from descriptors and the owner. */
	struct netstack_totals {
		uint64_t flows; /* that began */
		uint64_t bytes_up, bytes_down, packets_up, packets_down;
	} by_proto[4];
};
void netstack_stats_get(const struct netstack *ns, struct netstack_stats *ret);

#endif
