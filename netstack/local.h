/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link's own services: what tells a guest its addresses. Each is an engine
 * over one message (bytes in, bytes out, no state: there is one guest and one
 * lease) and a few lines that know frames (local.c, ndp_router.c).
 *
 *    DISCOVER, REQUEST, INFORM ──► dhcp4.c        RFC 2131, 2132, 4039, 6842
 *    SOLICIT … INFORMATION-REQUEST ──► dhcp6.c    RFC 8415, 3646
 *    router solicitation, a clock ──► ndp_router.c RFC 4861, 4862, 8106
 *    addresses that the guest makes itself ──► guest6.c
 */
#ifndef WEIR_NETSTACK_LOCAL_H
#define WEIR_NETSTACK_LOCAL_H

#include "netstack/netstack_internal.h"

#define DHCP4_SERVER_PORT 67
#define DHCP4_CLIENT_PORT 68
#define DHCP6_CLIENT_PORT 546
#define DHCP6_SERVER_PORT 547
/* Longest answer of either: what fits a link of the smallest MTU. */
#define DHCP_OUT_MAX (1280 - 40 - 8)

/*
 * Answer one message (UDP payload). Returns the answer's length, 0 when there
 * is none. *ret_to: where it goes, an address or 255.255.255.255.
 */
size_t dhcp4_answer(const struct netstack_config *c, const uint8_t *p, size_t n,
		    uint8_t out[static DHCP_OUT_MAX], struct ip_addr *ret_to);
/* *ret_leased: the guest has been given the one address. */
size_t dhcp6_answer(const struct netstack_config *c, const uint8_t *p, size_t n,
		    uint8_t out[static DHCP_OUT_MAX], bool *ret_leased);
/* A router advertisement, checksum still zero. */
#define RA_MAX 400
size_t router_advertisement(const struct netstack_config *c, uint8_t out[static RA_MAX]);

/* "a.example" as DNS labels. Returns the length, 0 when it does not fit. */
size_t local_dns_name(const char *name, uint8_t *out, size_t size);

#endif
