/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network card: its registers, and the front end of vhost-user against a back end that
 * answers as it likes, or not at all. Nobody waits for more than it has said.
 */
#include "fuzz_vmm_virtio.h"

/* What the back end says to request number `what`. */
static int reply(struct run *r, uint32_t what, uint64_t v, uint32_t more)
{
	struct {
		uint32_t head[3];
		uint64_t v;
	} __attribute__((packed)) m = { { what, 5, 8 + more }, v };

	return write(r->host, &m, sizeof(m)) < 0 ? -errno : 0;
}

static int make(struct run *r, uint8_t form)
{
	struct virtio_net_setup s = { .fd = r->guest, .mtu = 1500 };
	static const uint32_t order[] = { 1, 15, 3 };
	const char *why;

	(void)form;
	for (unsigned i = 0; i < 3; i++) /* of a wrong length, sometimes */
		(void)!reply(r, order[i], order[i] == 3 ? 0 : ~UINT64_C(0),
			     (uint32_t)take(r, 1) >> 7);
	if (rd_left(&r->in) == 0)
		shutdown(r->host, SHUT_WR);
	return virtio_net_new(loop, &mem, &s, &r->d, &why);
}

/*
 * The answers, each to what will be asked in this order, as many as the input says; one of them
 * may be a refusal.
 */
static void answer(struct run *r)
{
	static const uint8_t order[] = { 2, 5, 8, 10, 9, 13, 12, 18, 8, 10, 9, 13, 12, 18, 11, 11 };
	size_t n = take(r, 1) % (ARRAY_SIZE(order) + 1), refused = take(r, 1) ^ 0xff;

	for (size_t i = 0; i < n && reply(r, order[i], i == refused, 0) == 0; i++)
		;
	/* Nothing more comes, so nobody waits for it. */
	shutdown(r->host, SHUT_WR);
}

static const struct subject net = { .make = make, .before_start = answer };

FUZZ_SUBJECT(net)
