/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console: control messages for any port, a stream whose other end speaks, listens and goes
 * away when it likes, and a reader of hvc0 that may be slow. Form: whether there is a stream.
 */
#include "fuzz_vmm_virtio.h"

static int make(struct run *r, uint8_t form)
{
	struct virtio_console_setup s = { r->out[1], form & 1 ? -1 : r->guest, "agent" };

	return virtio_console_new(loop, &mem, &s, &r->d);
}

static void host_acts(struct run *r)
{
	uint8_t b[256];
	size_t n = take(r, 1) % sizeof(b);

	memset(b, 'h', n);
	(void)!send(r->host, b, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static const struct subject console = { .make = make, .host_acts = host_acts };

FUZZ_SUBJECT(console)
