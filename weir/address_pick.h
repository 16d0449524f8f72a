/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what was asked for to the addresses of a run: a slot of each pool that
 * the host has no route to, that no range of names lies in, and, where sandboxes
 * could meet, that no other one has. Nothing is counted anywhere: a slot is free
 * when nobody holds it, so slots never run out by use.
 */
#ifndef WEIR_ADDRESS_PICK_H
#define WEIR_ADDRESS_PICK_H

#include "policy/policy.h"
#include "weir/addresses.h"
#include "weir/host_routes.h"

/* What was asked for; family 0, or 0: nothing. */
struct net_wish {
	struct ip_prefix pool4, pool6;	     /* at most /30, /64 */
	struct ip_prefix virtual4, virtual6; /* names */
	uint16_t mtu;
	bool has_mac;
	uint8_t mac[6];	  /* of the guest */
	char domain[254]; /* told to those that ask by DHCP; "": none */
	bool no_dhcp;	  /* a gateway's machine is not told its addresses */
};

/* Sizes of slots cut from a pool. */
#define SLOT_LEN4 30
#define SLOT_LEN6 64

/* May this slot be had? What it says is not asked again. */
typedef bool slot_take_fn(void *ctx, const struct ip_prefix *slot);

/*
 * The first slot of pool that overlaps nothing of avoid and may be had; take NULL:
 * all may. -ENOSPC: everything overlaps. -EBUSY: what does not is taken.
 */
must_check int slot_pick(const struct ip_prefix *pool, uint8_t slot_len,
			 const struct ip_prefix *avoid, size_t n_avoid, slot_take_fn *take,
			 void *ctx, struct ip_prefix *ret);

/* Slots that this process holds, until slots_release(); zero-initialised. */
struct slots_held {
	struct slot_lock {
		int fd; /* 0: none */
		int dir;
		struct ip_prefix slot;
	} lock4, lock6;
};

/* How slots are had. */
enum slots_how {
	SLOTS_ALONE = 0, /* a namespace of its own: another sandbox may have the same */
	SLOTS_APART = 1, /* sandboxes meet on one host: each has its own */
	SLOTS_LOOK = 2,	 /* only to tell which it would be: nothing is held */
};

/*
 * Fills *net. Chooses the default addresses where nothing was asked for and the
 * host has no route to them. held may be NULL with SLOTS_LOOK. err names the pool and
 * the route that is in the way.
 */
must_check int addresses_settle(const struct net_wish *wish, const struct host_routes *routes,
				enum slots_how how, struct sandbox_net *net,
				struct slots_held *held, struct conf_error *err);
void slots_release(struct slots_held *held);

#endif
