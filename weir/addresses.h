/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's own little network: one guest, its gateway, and the addresses
 * that stand for names. What a run uses is settled once, before anything starts
 * (addresses_settle), stays for the run's life, and is on the run's first
 * record line, so that whoever reads the record later knows it.
 *
 * Unless told otherwise: IPv4 192.0.0.0/29 (RFC 7335), which nobody is assigned;
 * IPv6 fd77:6569:7200::/64, unique local (RFC 4193), spelling "weir"; names in
 * 198.18.0.0/15 (RFC 2544) and fd77:6569:7200:1::/64. What the host has a route
 * to is not used for guest and gateway: the sandbox could not reach it any more.
 */
#ifndef WEIR_ADDRESSES_H
#define WEIR_ADDRESSES_H

#include "base/base.h"

#define SANDBOX_IFNAME "eth0"
#define SANDBOX_MTU 1500
#define SANDBOX_MTU_MIN 1280
#define SANDBOX_MTU_MAX 65520
/* The names that stand for the gateway, which is the host to the sandbox, and for the sandbox. */
#define SANDBOX_HOST_NAME "host.weir.internal"
#define SANDBOX_OWN_NAME "sandbox.weir.internal"
#define SANDBOX_HOST_NAME_MSB "host.microsandbox.internal"

/* The gateway is the first address of a slot, the guest the second. */
struct sandbox_net {
	uint16_t mtu;
	uint8_t gateway_mac[6], guest_mac[6];
	struct ip_prefix slot4, slot6;
	struct ip_addr gateway4, guest4, gateway6, guest6;
	struct ip_prefix virtual4, virtual6; /* names, when answers are virtual */
};

/* What is used when nothing was asked for and nothing is in the way. */
extern const struct sandbox_net sandbox_net_default;

static inline bool is_gateway(const struct sandbox_net *n, const struct ip_addr *a)
{
	return ip_equal(a, &n->gateway4) || ip_equal(a, &n->gateway6);
}

/* A slot's gateway and guest, and the slot itself; addr is the slot's first address. */
void sandbox_net_set4(struct sandbox_net *n, const struct ip_prefix *slot);
void sandbox_net_set6(struct sandbox_net *n, const struct ip_prefix *slot);

#endif
