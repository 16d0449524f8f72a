/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The register file of a virtio device over MMIO (virtio 1.2 4.2.2) and the device's life.
 *
 *     0 ──► ACKNOWLEDGE ──► DRIVER ──► FEATURES_OK ──► DRIVER_OK        (virtio 1.2 3.1.1)
 *     ▲         features are written ┘   queues are set up ┘  │ active
 *     └──────────────── 0 is written: reset ◄─────────────────┴─ NEEDS_RESET, FAILED
 *
 * Status bits are only ever added, each after the ones before it. A register written in
 * another state than its own changes nothing. FEATURES_OK is refused, by not
 * reading back, for features that were not offered and for a driver of before 1.0.
 *
 * With DRIVER_OK the queues are taken as they stand: places are checked and become
 * pointers that no register leads to any more. Kicks that came before are made up for.
 *
 * Hostile: every access. The device is stopped before its registers are cleared, so that a
 * reset in the middle of anything leaves no half.
 */
#include "vmm/virtio_int.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAGIC 0x74726976u
#define VENDOR 0x52494557u /* "WEIR" */
/* Lines about one device that is lost. */
#define TOLD_MAX 8

/* The status on the way, as a driver writes it. */
#define STAGE_DRIVER (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define STAGE_FEATURES (STAGE_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)
#define STAGE_RUNS (STAGE_FEATURES | VIRTIO_CONFIG_S_DRIVER_OK)
#define DRIVER_BITS (STAGE_RUNS | VIRTIO_CONFIG_S_FAILED)

const uint64_t virtio_features_all = VIRTIO_BIT(VIRTIO_F_VERSION_1) |
				     VIRTIO_BIT(VIRTIO_RING_F_INDIRECT_DESC) |
				     VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX);

/* ---- calls and kicks ---------------------------------------------------- */

static void signal_event(int fd)
{
	static const uint64_t one = 1;

	/* A full counter is an event that was not taken yet. */
	(void)!write(fd, &one, sizeof(one));
}

static void call_driver(struct virtio_mmio *d, uint32_t bit)
{
	atomic_fetch_or(&d->isr, bit);
	d->count.calls++;
	signal_event(d->call);
}

void virtio_call_again(struct virtio_mmio *d)
{
	if (virtio_mmio_isr(d))
		signal_event(d->call);
}

uint32_t virtio_mmio_isr(const struct virtio_mmio *d)
{
	return atomic_load(&d->isr) | atomic_load(&d->isr_always);
}

void virtio_mmio_ack(struct virtio_mmio *d, uint32_t bits)
{
	atomic_fetch_and(&d->isr, ~bits);
}

/* Edge-triggered and never read: each write is one event, and nothing has to be cleared. */
static void on_kick(struct loop_io *io, uint32_t revents)
{
	struct virtio_kick *k = container_of(io, struct virtio_kick, io);
	unsigned queue = (unsigned)(k - k->dev->kicks);

	(void)revents;
	if (virtio_runs(k->dev, queue))
		k->dev->kind->kick(k->dev, queue);
}

void virtio_again(struct virtio_mmio *d, unsigned queue)
{
	signal_event(d->kicks[queue].fd);
}

void virtio_turn(struct virtio_mmio *d, unsigned queue, unsigned n)
{
	if (!virtio_runs(d, queue))
		return;
	if (virtq_wants_call(&d->vq[queue]))
		call_driver(d, VIRTIO_MMIO_INT_VRING);
	if (n >= VIRTIO_TURN)
		virtio_again(d, queue);
}

/* ---- life --------------------------------------------------------------- */

static void stop(struct virtio_mmio *d)
{
	if (!d->active)
		return;
	d->active = false;
	atomic_store(&d->isr_always, 0);
	if (d->kind->stop)
		d->kind->stop(d);
	for (unsigned i = 0; i < d->n_queues; i++)
		virtq_stop(&d->vq[i]);
}

void virtio_fail(struct virtio_mmio *d, const char *why)
{
	if (d->regs.status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	d->why = why;
	/* A guest may do this over and over; a few times tell enough. */
	if (d->count.broken++ < TOLD_MAX)
		log_warn("virtio %s: lost until the guest resets it: %s", d->kind->name, why);
	d->regs.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	stop(d);
	if (d->regs.status & VIRTIO_CONFIG_S_DRIVER_OK)
		call_driver(d, VIRTIO_MMIO_INT_CONFIG);
}

void virtio_config_changed(struct virtio_mmio *d)
{
	d->regs.generation++;
	if (d->regs.status & VIRTIO_CONFIG_S_DRIVER_OK)
		call_driver(d, VIRTIO_MMIO_INT_CONFIG);
}

void virtio_start(struct virtio_mmio *d, const struct virtio_state *s)
{
	bool event_idx = virtio_has(d, VIRTIO_RING_F_EVENT_IDX);
	bool indirect = virtio_has(d, VIRTIO_RING_F_INDIRECT_DESC);
	const char *why = NULL;

	for (unsigned i = 0; i < d->n_queues && !why; i++) {
		const struct virtio_queue_regs *q = &d->regs.q[i];

		if (!q->ready)
			continue;
		if (q->place.size > d->kind->queue_max)
			why = "a queue that is larger than offered";
		else
			(void)!virtq_start(&d->vq[i], d->mem, &q->place, event_idx, indirect, &why);
		if (s) {
			d->vq[i].next_avail = s->q[i].next_avail;
			d->vq[i].next_used = s->q[i].next_used;
			d->vq[i].called = s->q[i].called;
		}
	}
	d->active = true;
	if (!why && d->kind->start)
		why = d->kind->start(d);
	if (!why && s && d->kind->load)
		why = d->kind->load(d, s);
	if (why) {
		virtio_fail(d, why);
		return;
	}
	for (unsigned i = 0; i < d->n_queues; i++)
		if (virtq_started(&d->vq[i]))
			virtio_again(d, i);
}

static void reset(struct virtio_mmio *d)
{
	uint32_t generation = d->regs.generation;

	stop(d);
	d->regs = (struct virtio_regs){ .generation = generation };
	atomic_store(&d->isr, 0);
	d->why = NULL;
}

bool virtio_features_possible(const struct virtio_mmio *d, uint64_t accepted)
{
	return !(accepted & ~d->offered) && accepted & VIRTIO_BIT(VIRTIO_F_VERSION_1);
}

/* Each of the bits only with those before it. FAILED may come at any time. */
bool virtio_status_possible(uint32_t s)
{
	uint32_t steps = s & ~(uint32_t)VIRTIO_CONFIG_S_FAILED;

	return steps == 0 || steps == VIRTIO_CONFIG_S_ACKNOWLEDGE || steps == STAGE_DRIVER ||
	       steps == STAGE_FEATURES || steps == STAGE_RUNS;
}

static bool write_status(struct virtio_mmio *d, uint32_t v)
{
	uint32_t old = d->regs.status, was = old & DRIVER_BITS, added;

	if (v == 0) {
		reset(d);
		return true;
	}
	v &= DRIVER_BITS; /* NEEDS_RESET is read and written back with the others */
	if ((v & was) != was || !virtio_status_possible(v))
		return false;
	added = v & ~was;
	if (added & VIRTIO_CONFIG_S_FEATURES_OK && !virtio_features_possible(d, d->regs.accepted))
		v &= ~(uint32_t)(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	d->regs.status = v | (old & VIRTIO_CONFIG_S_NEEDS_RESET);
	if (d->regs.status & VIRTIO_CONFIG_S_FAILED)
		stop(d);
	else if (v & added & VIRTIO_CONFIG_S_DRIVER_OK && !d->why)
		virtio_start(d, NULL);
	return true;
}

/* ---- registers ---------------------------------------------------------- */

static struct virtio_queue_regs *selected(struct virtio_mmio *d)
{
	return d->regs.queue_sel < d->n_queues ? &d->regs.q[d->regs.queue_sel] : NULL;
}

static bool read_register(struct virtio_mmio *d, uint64_t offset, uint32_t *ret)
{
	const struct virtio_queue_regs *q = selected(d);

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		*ret = MAGIC;
		return true;
	case VIRTIO_MMIO_VERSION:
		*ret = 2;
		return true;
	case VIRTIO_MMIO_DEVICE_ID:
		*ret = d->kind->id;
		return true;
	case VIRTIO_MMIO_VENDOR_ID:
		*ret = VENDOR;
		return true;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		*ret = d->regs.offered_sel > 1 ? 0
					       : (uint32_t)(d->offered >> 32 * d->regs.offered_sel);
		return true;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		*ret = q ? d->kind->queue_max : 0;
		return true;
	case VIRTIO_MMIO_QUEUE_READY:
		*ret = q ? q->ready : 0;
		return true;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		*ret = virtio_mmio_isr(d);
		return true;
	case VIRTIO_MMIO_STATUS:
		*ret = d->regs.status;
		return true;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		*ret = d->regs.generation;
		return true;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		*ret = UINT32_MAX; /* there is no such region */
		return true;
	default:
		return false;
	}
}

static void set_low(uint64_t *p, uint32_t v)
{
	*p = (*p & ~(uint64_t)UINT32_MAX) | v;
}

static void set_high(uint64_t *p, uint32_t v)
{
	*p = (*p & UINT32_MAX) | (uint64_t)v << 32;
}

/* Between FEATURES_OK and DRIVER_OK, and only while the queue is not declared ready. */
static bool write_queue(struct virtio_mmio *d, uint64_t offset, uint32_t v)
{
	struct virtio_queue_regs *q = selected(d);
	uint32_t stage = d->regs.status & ~(uint32_t)VIRTIO_CONFIG_S_NEEDS_RESET;

	if (!q || stage != STAGE_FEATURES || (q->ready && offset != VIRTIO_MMIO_QUEUE_READY))
		return false;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		q->place.size = v;
		return true;
	case VIRTIO_MMIO_QUEUE_READY:
		q->ready = v & 1;
		return true;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		set_low(&q->place.desc, v);
		return true;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_high(&q->place.desc, v);
		return true;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		set_low(&q->place.avail, v);
		return true;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_high(&q->place.avail, v);
		return true;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		set_low(&q->place.used, v);
		return true;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_high(&q->place.used, v);
		return true;
	default:
		return false;
	}
}

static bool write_features(struct virtio_mmio *d, uint32_t v)
{
	uint32_t stage = d->regs.status & ~(uint32_t)VIRTIO_CONFIG_S_NEEDS_RESET;

	if (stage != STAGE_DRIVER)
		return false;
	/* Beyond bit 63 there is nothing to accept; Linux writes zeros there. */
	if (d->regs.accepted_sel > 1)
		return v == 0;
	if (d->regs.accepted_sel)
		set_high(&d->regs.accepted, v);
	else
		set_low(&d->regs.accepted, v);
	return true;
}

static bool write_register(struct virtio_mmio *d, uint64_t offset, uint32_t v)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		d->regs.offered_sel = v;
		return true;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		d->regs.accepted_sel = v;
		return true;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		return write_features(d, v);
	case VIRTIO_MMIO_QUEUE_SEL:
		d->regs.queue_sel = v;
		return true;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		if (v >= d->n_queues)
			return false;
		signal_event(d->kicks[v].fd);
		return true;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		virtio_mmio_ack(d, v);
		return true;
	case VIRTIO_MMIO_STATUS:
		return write_status(d, v);
	default:
		return write_queue(d, offset, v);
	}
}

static bool read_config(const struct virtio_mmio *d, uint64_t off, void *data, unsigned len)
{
	if (off >= d->config_len || len > d->config_len - off)
		return false;
	memcpy(data, d->config + off, len);
	return true;
}

static bool write_config(struct virtio_mmio *d, uint64_t off, const void *data, unsigned len)
{
	uint64_t bits;

	if (off >= d->config_len || len > d->config_len - off)
		return false;
	bits = (VIRTIO_BIT(len) - 1) << off; /* config_len is at most 64 */
	if (bits & ~d->kind->config_writable)
		return false;
	memcpy(d->config + off, data, len);
	d->kind->config_written(d);
	return true;
}

static bool is_width(unsigned len)
{
	return len == 1 || len == 2 || len == 4 || len == 8;
}

void virtio_mmio_read(struct virtio_mmio *d, uint64_t offset, void *data, unsigned len)
{
	uint32_t v = 0;
	bool ok = false;

	memset(data, 0, len);
	if (offset >= VIRTIO_MMIO_CONFIG)
		ok = is_width(len) && read_config(d, offset - VIRTIO_MMIO_CONFIG, data, len);
	else if (len == 4 && read_register(d, offset, &v)) {
		memcpy(data, &v, 4);
		ok = true;
	}
	if (!ok)
		d->count.ignored++;
}

void virtio_mmio_write(struct virtio_mmio *d, uint64_t offset, const void *data, unsigned len)
{
	uint32_t v;
	bool ok = false;

	if (offset >= VIRTIO_MMIO_CONFIG) {
		ok = is_width(len) && write_config(d, offset - VIRTIO_MMIO_CONFIG, data, len);
	} else if (len == 4) {
		memcpy(&v, data, 4);
		ok = write_register(d, offset, v);
	}
	if (!ok)
		d->count.ignored++;
}

/* ---- for the devices ---------------------------------------------------- */

bool virtio_pop(struct virtio_mmio *d, unsigned queue, struct virtq_chain *c)
{
	const char *why = NULL;
	int r;

	if (!virtio_runs(d, queue))
		return false;
	r = virtq_pop(&d->vq[queue], c, &why);
	if (r < 0)
		virtio_fail(d, why);
	d->count.chains += r > 0;
	return r > 0;
}

void virtio_push(struct virtio_mmio *d, unsigned queue, const struct virtq_chain *c, uint32_t written)
{
	virtq_push(&d->vq[queue], c->head, written);
}

int virtio_init(struct virtio_mmio *d, const struct virtio_kind *kind, unsigned n_queues,
		struct loop *loop, const struct gmem *mem)
{
	int r = 0;

	assert(n_queues <= VIRTIO_QUEUES_MAX && kind->queue_max <= VIRTQ_SIZE_MAX);
	d->kind = kind;
	d->loop = loop;
	d->mem = mem;
	d->n_queues = n_queues;
	d->offered = virtio_features_all;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		d->kicks[i] = (struct virtio_kick){ .fd = -1, .dev = d };
	d->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->call < 0)
		r = -errno;
	for (unsigned i = 0; r == 0 && i < n_queues; i++) {
		struct virtio_kick *k = &d->kicks[i];

		k->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (k->fd < 0)
			r = -errno;
		else if (!kind->foreign)
			r = loop_io_add(loop, &k->io, k->fd, EPOLLIN | EPOLLET, on_kick);
	}
	if (r < 0) {
		for (unsigned i = 0; i < n_queues; i++) {
			loop_io_del(&d->kicks[i].io);
			fd_close(d->kicks[i].fd);
		}
		fd_close(d->call);
	}
	return r;
}

void virtio_free(struct virtio_mmio *d)
{
	if (!d)
		return;
	stop(d);
	if (d->kind->fini)
		d->kind->fini(d);
	for (unsigned i = 0; i < d->n_queues; i++) {
		loop_io_del(&d->kicks[i].io);
		fd_close(d->kicks[i].fd);
	}
	fd_close(d->call);
	free(d);
}

unsigned virtio_queues(const struct virtio_mmio *d)
{
	return d->n_queues;
}

int virtio_kick_fd(const struct virtio_mmio *d, unsigned queue)
{
	assert(queue < d->n_queues);
	return d->kicks[queue].fd;
}

int virtio_call_fd(const struct virtio_mmio *d)
{
	return d->call;
}

const char *virtio_name(const struct virtio_mmio *d)
{
	return d->kind->name;
}

const char *virtio_broken(const struct virtio_mmio *d)
{
	return d->why;
}

void virtio_count(const struct virtio_mmio *d, struct virtio_counters *ret)
{
	*ret = d->count;
}
