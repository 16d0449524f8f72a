/* SPDX-License-Identifier: Apache-2.0 */
/* Every cap of the folder (the TCP engine's apart), with what it stops. */
#ifndef WEIR_NETSTACK_LIMITS_H
#define WEIR_NETSTACK_LIMITS_H

/* Frames read per wake: a guest that floods the link must not starve sockets and timers. */
#define LIMIT_LINK_BATCH 64
/* Virtio and Ethernet header + the largest IP packet; longer reads are malformed. */
#define LIMIT_FRAME (12 + 14 + 40 + 65535)

/* Largest frame on a stream link, QEMU's own bound; a longer length is not a frame's. */
#define LIMIT_STREAM_FRAME ((4u << 10) + (64u << 10))

/* vhost-user: regions of guest memory (the protocol's own limit), all of them in this process. */
#define LIMIT_VHOST_REGIONS 8
#define LIMIT_VHOST_GUARDS 64
/* Entries of a ring (virtio 1.2 2.7), descriptors of one chain, buffers merged for one frame: a
 * driver that cuts its memory into single bytes costs us a bounded time, then its link. */
#define LIMIT_VHOST_RING 32768
#define LIMIT_VHOST_CHAIN 1024
#define LIMIT_VHOST_MERGE 256
/* Messages of the VMM per turn. */
#define LIMIT_VHOST_MESSAGES 32
/* One that connects and says nothing, or stops within a message, would keep out who waits. */
#define LIMIT_VHOST_PATIENCE_NS (10 * NS_PER_S)

/* Extension headers walked per IPv6 packet: chains of empty options cost us, not the sender. */
#define LIMIT_IP6_HEADERS 8
/* Bytes of IPv6 header chain, base header included; also what reassembly keeps of it. */
#define LIMIT_IP6_CHAIN 256

/* Datagrams being put together at once, their memory, pieces and age: fragment floods. */
#define LIMIT_FRAG_SETS 64
#define LIMIT_FRAG_BYTES (4u << 20)
#define LIMIT_FRAG_PIECES 128
#define LIMIT_FRAG_NS (15 * NS_PER_S)

/* Packets kept for a UDP or ICMP flow that the owner has not decided yet. */
#define LIMIT_PENDING_PACKETS 8
#define LIMIT_PENDING_BYTES 65536

/* Datagrams that one segmentation-offload frame may stand for (as Linux: UDP_MAX_SEGMENTS):
 * a gso_size of 1 would turn one frame into 65,000 system calls. */
#define LIMIT_USO_SEGMENTS 128

/* ICMP errors per second and in one burst: an error per packet would amplify a flood. */
#define LIMIT_ICMP_RATE 1000
#define LIMIT_ICMP_BURST 1000

/* One flow's turn: bytes moved per wake in each direction, datagrams per wake. */
#define LIMIT_RELAY_READ (256u << 10)
#define LIMIT_RELAY_WRITES 8
#define LIMIT_RELAY_READS 4
/*
 * Acknowledged bytes left in a socket's receive queue: fewer calls that way, but
 * they take from the window that the far end is given.
 */
#define LIMIT_UNCONSUMED (64u << 10)
#define LIMIT_UNCONSUMED_READS 16 /* small segments cost the kernel 1 KB each */
#define LIMIT_UNCONSUMED_NS (100 * NS_PER_MS)
/* Read into the ring, of a socket that could be peeked: at most, and not for less room. */
#define LIMIT_SMALL_READ (16u << 10)
#define LIMIT_SMALL_MIN 2048
/* A far end with Nagle's algorithm waits for the host's ACK: it gets one no later than this. */
#define LIMIT_HOST_ACK_NS (2 * NS_PER_MS)
#define LIMIT_DGRAM_BATCH 16
#define LIMIT_DGRAM_ROUNDS 4
#define LIMIT_DGRAM_SIZE 65536
/* Buffers of a busy socket, each way; the kernel's own limit comes first. */
#define LIMIT_DGRAM_BUFFER (1 << 20)

/* Datagrams put aside per socket while a wake's frames are read, and for how many sockets at once. */
#define LIMIT_STAGES 4
#define LIMIT_STAGE_DATAGRAMS 64
#define LIMIT_STAGE_BYTES (128u << 10)
/* One message with UDP_SEGMENT: what kernels before 6.9 take, and what fits an IP packet. */
#define LIMIT_GSO_SEGMENTS 64
#define LIMIT_GSO_BYTES 65000

/* Per connection buffers, and all of them together: a guest that opens many and reads none. */
#define LIMIT_TCP_RX (4u << 20)
#define LIMIT_TCP_TX (4u << 20)
/* What a connection may hold when memory is short (TCP_RX_PRESSURE, TCP_TX_FIRST), set aside
 * for each; and the part of the budget that may be set aside so. */
#define LIMIT_TCP_FLOW_MEM (24u << 10)
#define LIMIT_MEM_DEFAULT (UINT64_C(256) << 20)
/* Half-open connections of one host that make it the first to lose its oldest: this part of all. */
#define LIMIT_HALF_OPEN_HOG 4
/* A guest that has not answered a connection from outside for so long may lose it to a new one. */
#define LIMIT_HALF_OPEN_ANSWER_NS (3 * NS_PER_S)
/* Fewer than so many half open would be no use. */
#define LIMIT_HALF_OPEN_MIN 16
/* Once so many flows have begun or ended, what malloc keeps is given back: after a while in which rings
 * have become idle (tcp_timer.c) and no more than a few flows have begun or ended. */
#define LIMIT_TRIM_FLOWS 1024
#define LIMIT_TRIM_BUSY 64
#define LIMIT_TRIM_NS (2 * NS_PER_S)
/*
 * A guest silent for so long on an idle connection is asked whether it still has it
 * (RFC 9293 3.8.4: not sooner by default). One that forgot it answers with RST, a dead
 * one not at all: either way the flow and its descriptor go.
 */
#define LIMIT_TCP_KEEP_IDLE_NS (7200 * NS_PER_S)
/* The guest's own keep-alives make the host's socket send some: seconds. */
#define LIMIT_TCP_KEEP_S 75
/* Payload from here on is peeked straight into the guest's memory, where the link has room(). */
#define LIMIT_IN_PLACE (4u << 10)
/* Looks at a socket in a row that find less than that, until it is read as before. */
#define LIMIT_MUCH_LOOKS 4
/* Largest super-segment: the IP length field, less headers with all options. */
#define LIMIT_TSO (65535 - 40 - 60)
/* How long bytes already taken from a failed descriptor may take to reach the guest. */
#define LIMIT_RESET_LINGER_NS (10 * NS_PER_S)

/* Flow objects beyond the configured limits: ended ones live until the loop's next task run. */
#define LIMIT_FLOW_SLACK 1024

/* Idle life of an echo flow; its identifier is one ping process. */
#define LIMIT_ICMP_IDLE_S 60
#define LIMIT_UDP_IDLE_S 180
/* A question to a service (port below 1024) and its answer, or none: RFC 4787 REQ-5 allows less
 * than two minutes there only. */
#define LIMIT_UDP_QUERY_IDLE_S 30
#define LIMIT_UDP_QUERY_PACKETS 2

/* When the table is full, the datagram flow that is idle for longest, and for longer than this,
 * gives way to a new one, those that were never answered before the others: one flow per query
 * must not lock a guest out, not even for the second that a flood of them needs to fill the table. */
#define LIMIT_EVICT_NS (100 * NS_PER_MS)

/* How often the guest's MAC is asked for while something waits for it, and how many times. */
#define LIMIT_RESOLVE_NS (500 * NS_PER_MS)
#define LIMIT_RESOLVE_TRIES 20

/* Answers of DHCP and router discovery per second and in one burst: each costs a frame. */
#define LIMIT_LOCAL_RATE 50
#define LIMIT_LOCAL_BURST 50
/* Identity associations of one DHCPv6 message, and addresses in each, that are looked at. */
#define LIMIT_DHCP6_IAS 4
/* Addresses of the guest's own making that are remembered: it may make any number. */
#define LIMIT_GUEST6 4

#endif
