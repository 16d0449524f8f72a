/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses of one sandbox, from its slots. */
#include "weir/addresses.h"

const struct sandbox_net sandbox_net_default = {
	.mtu = SANDBOX_MTU,
	.gateway_mac = { 0x02, 0x77, 0x65, 0x69, 0x72, 0x01 },
	.guest_mac = { 0x02, 0x77, 0x65, 0x69, 0x72, 0x02 },
	.slot4 = { { 4, { 192, 0, 0, 0 } }, 29 },
	.slot6 = { { 6, { 0xfd, 0x77, 0x65, 0x69, 0x72 } }, 64 },
	.gateway4 = { 4, { 192, 0, 0, 1 } },
	.guest4 = { 4, { 192, 0, 0, 2 } },
	.gateway6 = { 6, { 0xfd, 0x77, 0x65, 0x69, 0x72, [15] = 1 } },
	.guest6 = { 6, { 0xfd, 0x77, 0x65, 0x69, 0x72, [15] = 2 } },
	.virtual4 = { { 4, { 198, 18 } }, 15 },
	.virtual6 = { { 6, { 0xfd, 0x77, 0x65, 0x69, 0x72, 0, 0, 1 } }, 64 },
};

static struct ip_addr host_of(const struct ip_prefix *slot, uint8_t number)
{
	struct ip_addr a = slot->addr;

	a.b[ip_size(&a) - 1] |= number;
	return a;
}

void sandbox_net_set4(struct sandbox_net *n, const struct ip_prefix *slot)
{
	n->slot4 = *slot;
	n->gateway4 = host_of(slot, 1);
	n->guest4 = host_of(slot, 2);
}

void sandbox_net_set6(struct sandbox_net *n, const struct ip_prefix *slot)
{
	n->slot6 = *slot;
	n->gateway6 = host_of(slot, 1);
	n->guest6 = host_of(slot, 2);
}
