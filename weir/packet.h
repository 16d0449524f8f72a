/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One frame of a packet capture, read: a pure function over hostile bytes.
 * Internal to weir/.
 */
#ifndef WEIR_PACKET_H
#define WEIR_PACKET_H

#include "base/base.h"

/* What a frame begins with; the values are libpcap's DLT_ numbers. */
enum packet_link {
	PACKET_LINK_NULL = 0,
	PACKET_LINK_ETHERNET = 1,
	PACKET_LINK_RAW = 12,
	PACKET_LINK_LOOP = 108,
	PACKET_LINK_SLL = 113,
	PACKET_LINK_IPV4 = 228,
	PACKET_LINK_IPV6 = 229,
	PACKET_LINK_SLL2 = 276,
};
bool packet_link_known(int link);

enum packet_kind {
	PACKET_UNREADABLE = 0, /* cut off or malformed */
	PACKET_TCP = 1,
	PACKET_UDP = 2,
	PACKET_ECHO = 3,     /* request */
	PACKET_CONTROL = 4,  /* ARP, NDP, ICMP errors and replies, IGMP: begins no flow */
	PACKET_FRAGMENT = 5, /* not the first: has no ports */
	PACKET_OTHER = 6,    /* another protocol; ip_proto tells */
};

#define PACKET_FIN 0x01
#define PACKET_SYN 0x02
#define PACKET_RST 0x04
#define PACKET_ACK 0x10

struct packet {
	enum packet_kind kind;
	struct endpoint src, dst; /* port 0 without ports */
	uint8_t ip_proto;
	uint8_t flags; /* TCP */
	uint32_t seq;
	const uint8_t *payload; /* into the frame */
	size_t len;
	bool cut; /* the payload is not whole: snapped, or the first of several fragments */
};

void packet_read(int link, const uint8_t *frame, size_t len, struct packet *ret);

#endif
