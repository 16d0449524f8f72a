/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balloon: lists of pages and reports that name anything, while the host changes its mind
 * about how much it wants. Never is a page outside of the guest's memory given back.
 */
#include "fuzz_vmm_virtio.h"

static int make(struct run *r, uint8_t form)
{
	(void)form;
	return virtio_balloon_new(loop, &mem, &r->d);
}

static void host_acts(struct run *r)
{
	uint64_t inflated, reported;

	virtio_balloon_target(r->d, take(r, 8));
	virtio_balloon_state(r->d, &inflated, &reported);
}

static const struct subject balloon = { .make = make, .host_acts = host_acts };

FUZZ_SUBJECT(balloon)
