/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving and loading a device. Of its configuration only what a driver may write is the guest's;
 * the rest (a disk's size, an address, what a balloon is asked for) is as this host has it, and where
 * that differs the driver is told to look again.
 *
 * A chain that a device holds is put back into its queue: only the last one taken can be held, so the
 * queue is as if it had not been taken, and loading takes it again.
 *
 * Hostile: a state that is loaded. Registers are held to what a driver can write, queues go
 * through the same checks as at DRIVER_OK; their counters may be anything, as the rings may.
 */
#include "vmm/virtio_int.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

int virtio_save(struct virtio_mmio *d, struct virtio_state *ret)
{
	struct virtio_state s = { .id = d->kind->id, .n_queues = d->n_queues };
	const char *why = NULL;

	memcpy(s.config, d->config, sizeof(s.config));
	for (unsigned i = 0; i < d->n_queues; i++) {
		s.q[i].next_avail = d->vq[i].next_avail;
		s.q[i].next_used = d->vq[i].next_used;
		s.q[i].called = d->vq[i].called;
	}
	if (d->active && d->kind->save)
		why = d->kind->save(d, &s);
	if (why) {
		virtio_fail(d, why);
		return -EIO;
	}
	s.regs = d->regs;
	s.isr = atomic_load(&d->isr);
	*ret = s;
	return 0;
}

/* NULL: a driver can have brought this device there. */
static const char *check(const struct virtio_mmio *d, const struct virtio_state *s)
{
	uint32_t status = s->regs.status & ~(uint32_t)VIRTIO_CONFIG_S_NEEDS_RESET;

	if (s->id != d->kind->id || s->n_queues != d->n_queues)
		return "it is of another device";
	if (!virtio_status_possible(status))
		return "its status is none that a driver can come to";
	if (status & VIRTIO_CONFIG_S_FEATURES_OK && !virtio_features_possible(d, s->regs.accepted))
		return "its driver uses features that this device has not";
	return NULL;
}

static void load_config(struct virtio_mmio *d, const struct virtio_state *s)
{
	bool differs = false;

	for (unsigned i = 0; i < d->config_len; i++)
		if (d->kind->config_writable >> i & 1)
			d->config[i] = s->config[i];
		else
			differs |= d->config[i] != s->config[i];
	if (differs)
		virtio_config_changed(d);
}

int virtio_load(struct virtio_mmio *d, const struct virtio_state *s, const char **ret_why)
{
	const char *why = check(d, s);

	if (d->regs.status) {
		*ret_why = "the device is in use";
		return -EBUSY;
	}
	if (why) {
		*ret_why = why;
		return -EINVAL;
	}
	d->regs = s->regs;
	atomic_store(&d->isr, s->isr & (VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG));
	if (d->regs.status & VIRTIO_CONFIG_S_NEEDS_RESET)
		d->why = "it was lost before it was saved";
	else if (d->regs.status & VIRTIO_CONFIG_S_DRIVER_OK &&
		 !(d->regs.status & VIRTIO_CONFIG_S_FAILED))
		virtio_start(d, s);
	load_config(d, s);
	/* A call that was made may not have reached the processor. */
	virtio_call_again(d);
	return 0;
}
