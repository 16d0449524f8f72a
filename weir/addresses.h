/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's own little network. Every sandbox has a network namespace (or
 * machine) to itself, so all use the same addresses.
 *
 * IPv4: 192.0.0.0/29 (RFC 7335), which no host routes and nobody assigns.
 * IPv6: a unique local prefix (RFC 4193) that spells "weir".
 * Names are answered from 198.18.0.0/15 (RFC 2544) and a /64 of the same prefix.
 */
#ifndef WEIR_ADDRESSES_H
#define WEIR_ADDRESSES_H

#include "base/base.h"

#define SANDBOX_IFNAME "eth0"
#define SANDBOX_MTU 1500
#define SANDBOX_PREFIX4 29
#define SANDBOX_PREFIX6 64

static const uint8_t gateway_mac[6] = { 0x02, 0x77, 0x65, 0x69, 0x72, 0x01 };
static const uint8_t guest_mac[6] = { 0x02, 0x77, 0x65, 0x69, 0x72, 0x02 };
static const struct ip_addr gateway_ip4 = { 4, { 192, 0, 0, 1 } };
static const struct ip_addr guest_ip4 = { 4, { 192, 0, 0, 2 } };
static const struct ip_addr gateway_ip6 = {
	6, { 0xfd, 0x77, 0x65, 0x69, 0x72, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 }
};
static const struct ip_addr guest_ip6 = {
	6, { 0xfd, 0x77, 0x65, 0x69, 0x72, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2 }
};
static const struct ip_prefix virtual_net4 = { { 4, { 198, 18 } }, 15 };
static const struct ip_prefix virtual_net6 = { { 6, { 0xfd, 0x77, 0x65, 0x69, 0x72, 0, 0, 1 } }, 64 };

static inline bool is_gateway(const struct ip_addr *a)
{
	return ip_equal(a, &gateway_ip4) || ip_equal(a, &gateway_ip6);
}

#endif
