/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP errors from one IP version to the other (RFC 7915 4.2, 5.2), for a guest
 * whose flow goes out in the other version than it came in. Numbers only; the
 * packet quoted is always the guest's own.
 */
#include "netstack/icmp_types.h"
#include "netstack/netstack_internal.h"

#define V6_MORE_HEADER 20 /* bytes by which an IPv6 header is longer */

static bool four_to_six(struct netstack_icmp *e)
{
	/* By code of "unreachable"; 0 is "no route to destination" already. */
	static const uint8_t codes[16] = { [3] = 4, [9] = 1, [10] = 1, [13] = 1, [15] = 1 };

	if (e->type == V4_EXCEEDED) {
		e->type = V6_EXCEEDED;
		return e->code <= 1;
	}
	if (e->type != V4_UNREACHABLE || e->code >= ARRAY_SIZE(codes) || e->code == 14)
		return false;
	if (e->code == 4) {
		e->type = V6_TOO_BIG;
		e->code = 0;
		e->info += V6_MORE_HEADER;
	} else if (e->code == 2) {
		e->type = V6_PARAMETER;
		e->code = 1;
		e->info = 6; /* the next-header byte */
	} else {
		e->type = V6_UNREACHABLE;
		e->code = codes[e->code];
	}
	return true;
}

static bool six_to_four(struct netstack_icmp *e)
{
	static const uint8_t codes[] = { 1, 10, 1, 1, 3, 10, 1 };

	switch (e->type) {
	case V6_UNREACHABLE:
		if (e->code >= ARRAY_SIZE(codes))
			return false;
		e->type = V4_UNREACHABLE;
		e->code = codes[e->code];
		return true;
	case V6_TOO_BIG:
		e->type = V4_UNREACHABLE;
		e->code = 4;
		e->info -= MIN(e->info, (uint32_t)V6_MORE_HEADER);
		return true;
	case V6_EXCEEDED:
		e->type = V4_EXCEEDED;
		return e->code <= 1;
	case V6_PARAMETER:
		e->type = V4_UNREACHABLE;
		e->info = 0;
		if (e->code != 1)
			return false;
		e->code = 2;
		return true;
	default:
		return false;
	}
}

/* What may be said about a packet at all; anything else is no error that we know. */
static bool is_error(const struct netstack_icmp *e)
{
	if (e->from.family == 4)
		return (e->type == V4_UNREACHABLE && e->code <= 15) ||
		       (e->type == V4_EXCEEDED && e->code <= 1) || e->type == V4_PARAMETER;
	return e->type >= V6_UNREACHABLE && e->type <= V6_PARAMETER;
}

bool icmp_translate(uint8_t guest_family, struct netstack_icmp *e)
{
	bool too_big;

	if (!is_error(e))
		return false;
	if (e->from.family != guest_family) {
		if (!(guest_family == 6 ? four_to_six(e) : six_to_four(e)))
			return false;
		/* A router of the other version has no address here. */
		e->from = (struct ip_addr){ .family = guest_family };
	}
	too_big = guest_family == 4 ? e->type == V4_UNREACHABLE && e->code == 4
				    : e->type == V6_TOO_BIG;
	if (!too_big && e->type != (guest_family == 4 ? V4_PARAMETER : V6_PARAMETER))
		e->info = 0;
	return true;
}
