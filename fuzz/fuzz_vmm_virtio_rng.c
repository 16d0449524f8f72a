/* SPDX-License-Identifier: Apache-2.0 */
/* The entropy device: buffers of any size and shape; see fuzz_vmm_virtio.h for the rest. */
#include "fuzz_vmm_virtio.h"

static int make(struct run *r, uint8_t form)
{
	(void)form;
	return virtio_rng_new(loop, &mem, &r->d);
}

static const struct subject rng = { .make = make };

FUZZ_SUBJECT(rng)
