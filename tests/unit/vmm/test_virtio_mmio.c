/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The register file: the way from reset to DRIVER_OK and every wrong turn on it, what is frozen
 * then, accesses of other widths, memory that is none. The device is the entropy source.
 */
#include "virtio_rig.h"

static uint64_t ignored(struct rig *r)
{
	struct virtio_counters c;

	virtio_count(r->d, &c);
	return c.ignored;
}

static void says_what_it_is(void **state)
{
	struct rig *r = *state;

	assert_int_equal(rig_read(r, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_DEVICE_ID), 4);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_STATUS), 0);
	assert_true(rig_offers(r) & VIRTIO_BIT(VIRTIO_F_VERSION_1));
	rig_write(r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	rig_write(r, VIRTIO_MMIO_QUEUE_SEL, 0);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_QUEUE_NUM_MAX), 64);
	rig_write(r, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	rig_write(r, VIRTIO_MMIO_QUEUE_SEL, UINT32_MAX);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	/* No shared memory region (4.2.2). */
	assert_int_equal(rig_read(r, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
}

static void status_goes_one_way(void **state)
{
	struct rig *r = *state;
	static const uint32_t bad[] = { 2, 4, 8, 9, 12, 7, 0x40 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		rig_write(r, VIRTIO_MMIO_STATUS, 0);
		rig_write(r, VIRTIO_MMIO_STATUS, bad[i]);
		assert_int_equal(rig_status(r), 0);
	}
	rig_start(r, ~UINT64_C(0));
	rig_write(r, VIRTIO_MMIO_STATUS, 3); /* bits are not taken back */
	assert_int_equal(rig_status(r), 15);
	rig_write(r, VIRTIO_MMIO_STATUS, 15 | 0x80);
	assert_int_equal(rig_status(r), 15 | 0x80);
	assert_false(virtio_runs(r->d, 0));
	rig_write(r, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(rig_status(r), 0);
	rig_start(r, 0);
	assert_true(virtio_runs(r->d, 0));
}

static void features_not_offered_are_refused(void **state)
{
	struct rig *r = *state;

	rig_write(r, VIRTIO_MMIO_STATUS, 1);
	rig_write(r, VIRTIO_MMIO_STATUS, 3);
	rig_write(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	rig_write(r, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	rig_write(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	rig_write(r, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	rig_write(r, VIRTIO_MMIO_STATUS, 11);
	assert_int_equal(rig_status(r), 3);
}

static void a_driver_before_1_0_is_refused(void **state)
{
	struct rig *r = *state;

	rig_write(r, VIRTIO_MMIO_STATUS, 3);
	rig_write(r, VIRTIO_MMIO_STATUS, 15);
	assert_int_equal(rig_status(r), 3);
	assert_false(r->d->active);
}

static void features_are_frozen_after_features_ok(void **state)
{
	struct rig *r = *state;
	uint64_t before;

	rig_features(r, 0);
	before = r->d->regs.accepted;
	rig_write(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	rig_write(r, VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
	assert_int_equal(r->d->regs.accepted, before);
}

static void queue_registers_before_their_time_do_nothing(void **state)
{
	struct rig *r = *state;

	rig_write(r, VIRTIO_MMIO_STATUS, 3);
	rig_queues(r);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(r->d->regs.q[0].place.size, 0);
}

/* CVE-2026-5747 of another monitor: the size changed after activation. */
static void a_running_queue_is_frozen(void **state)
{
	struct rig *r = *state;
	uint32_t head, len;

	rig_start(r, 0);
	rig_place(r, 0, 32768, 0, 0, 0);
	rig_write(r, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(r->d->vq[0].size, RIG_QUEUE);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_QUEUE_READY), 1);
	r->size[0] = RIG_QUEUE;
	rig_one(r, 0, RIG_DATA, 100, VRING_DESC_F_WRITE);
	assert_true(rig_take(r, 0, &head, &len));
	assert_int_equal(len, 100);
}

static void a_ready_queue_is_not_moved(void **state)
{
	struct rig *r = *state;

	rig_features(r, 0);
	rig_queues(r);
	rig_write(r, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x7770);
	assert_int_equal(r->d->regs.q[0].place.desc, RIG_DESC(0));
	rig_write(r, VIRTIO_MMIO_QUEUE_READY, 0);
	rig_write(r, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x7770);
	assert_int_equal(r->d->regs.q[0].place.desc, 0x7770);
}

static void a_queue_that_cannot_be_loses_the_device(void **state)
{
	struct rig *r = *state;
	static const struct virtq_place bad[] = {
		{ 0, 0x1000, 0x2000, 0x3000 },
		{ 3, 0x1000, 0x2000, 0x3000 },
		{ 128, 0x1000, 0x2000, 0x3000 }, /* above the maximum */
		{ 65536, 0x1000, 0x2000, 0x3000 },
		{ 0x80000000, 0x1000, 0x2000, 0x3000 },
		{ 64, 0x1008, 0x2000, 0x3000 },
		{ 64, 0x1000, 0x2001, 0x3000 },
		{ 64, 0x1000, 0x2000, 0x3002 },
		{ 64, RIG_LOW - 1008, 0x2000, 0x3000 }, /* the last descriptor is outside */
		{ 64, 0x1000, RIG_LOW - 132, 0x3000 },	/* used_event is */
		{ 64, 0x1000, 0x2000, RIG_LOW - 516 },	/* avail_event is */
		{ 64, UINT64_C(0xd0000000), 0x2000, 0x3000 },
		{ 64, 0x1000, UINT64_MAX - 1, 0x3000 },
		{ 64, 0x1000, 0x2000, UINT64_MAX - 3 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		rig_features(r, 0);
		rig_place(r, 0, bad[i].size, bad[i].desc, bad[i].avail, bad[i].used);
		rig_calls(r);
		rig_go(r);
		assert_true(rig_lost(r));
		assert_non_null(virtio_broken(r->d));
		assert_int_equal(rig_calls(r), 1);
		assert_int_equal(virtio_mmio_isr(r->d), VIRTIO_MMIO_INT_CONFIG);
		rig_kick(r, 0);
	}
	/* And it comes back with a reset. */
	rig_start(r, 0);
	assert_null(virtio_broken(r->d));
}

static void other_widths_and_no_registers_do_nothing(void **state)
{
	struct rig *r = *state;
	uint64_t v = UINT64_MAX, was;

	virtio_mmio_read(r->d, VIRTIO_MMIO_MAGIC_VALUE, &v, 1);
	assert_int_equal(v, UINT64_MAX - 0xff);
	virtio_mmio_read(r->d, VIRTIO_MMIO_MAGIC_VALUE, &v, 8);
	assert_int_equal(v, 0);
	v = 1;
	virtio_mmio_write(r->d, VIRTIO_MMIO_STATUS, &v, 1);
	virtio_mmio_write(r->d, VIRTIO_MMIO_STATUS, &v, 8);
	assert_int_equal(rig_status(r), 0);
	was = ignored(r);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_STATUS + 2), 0);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_QUEUE_NOTIFY), 0);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_CONFIG), 0); /* it has none */
	assert_int_equal(rig_read(r, 0xffc), 0);
	rig_write(r, VIRTIO_MMIO_MAGIC_VALUE, 1);
	rig_write(r, VIRTIO_MMIO_CONFIG, 1);
	rig_write(r, VIRTIO_MMIO_QUEUE_NOTIFY, 1); /* there is queue 0 only */
	rig_write(r, 0xff8, 1);			   /* far behind any configuration */
	assert_int_equal(ignored(r), was + 8);
}

static void a_kick_before_driver_ok_is_made_up_for(void **state)
{
	struct rig *r = *state;
	uint32_t head, len;

	rig_features(r, ~UINT64_C(0));
	rig_queues(r);
	rig_desc(r, 0, 0, RIG_DATA, 64, VRING_DESC_F_WRITE, 0);
	rig_offer(r, 0, 0);
	rig_kick(r, 0);
	assert_false(rig_take(r, 0, &head, &len));
	rig_go(r);
	rig_run(r);
	assert_true(rig_take(r, 0, &head, &len));
}

static void a_call_is_seen_and_acknowledged(void **state)
{
	struct rig *r = *state;

	rig_start(r, 0);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	rig_one(r, 0, RIG_DATA, 64, VRING_DESC_F_WRITE);
	assert_int_equal(rig_calls(r), 1);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	rig_write(r, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(virtio_mmio_isr(r->d), 0);
}

static void reset_stops_the_queues(void **state)
{
	struct rig *r = *state;
	uint32_t head, len;

	rig_start(r, 0);
	rig_desc(r, 0, 0, RIG_DATA, 64, VRING_DESC_F_WRITE, 0);
	rig_offer(r, 0, 0);
	rig_write(r, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	rig_write(r, VIRTIO_MMIO_STATUS, 0);
	rig_run(r);
	assert_false(rig_take(r, 0, &head, &len));
	assert_int_equal(rig_read(r, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

static void memory_is_memory_only(void **state)
{
	struct rig *r = *state;
	const struct gmem *m = &r->mem;
	struct gmem_region two[2];
	struct gmem bad;
	uint8_t b[8];

	assert_ptr_equal(gmem_at(m, 0, RIG_LOW), r->ram);
	assert_ptr_equal(gmem_at(m, RIG_HIGH_GPA + 5, 1), r->ram + RIG_LOW + 5);
	assert_null(gmem_at(m, 0, RIG_LOW + 1));
	assert_null(gmem_at(m, RIG_LOW, 0));
	assert_null(gmem_at(m, RIG_LOW - 1, 2));
	assert_null(gmem_at(m, RIG_HIGH_GPA - 1, 2));
	assert_null(gmem_at(m, 0xd0000000, 4));
	assert_null(gmem_at(m, 1, UINT64_MAX));
	assert_null(gmem_at(m, UINT64_MAX, 1));
	assert_int_equal(gmem_read(m, RIG_LOW - 4, b, 8), -EFAULT);
	assert_int_equal(gmem_write(m, RIG_LOW - 4, b, 8), -EFAULT);
	assert_int_equal(gmem_zero(m, RIG_LOW - 4, 8), -EFAULT);

	two[0] = two[1] = m->r[0];
	assert_int_equal(gmem_init(&bad, two, 2), -EINVAL);
	two[1].gpa = UINT64_MAX - 4095;
	assert_int_equal(gmem_init(&bad, two, 2), -EINVAL);
	two[1].gpa = RIG_LOW + 1;
	assert_int_equal(gmem_init(&bad, two, 2), -EINVAL);
	two[1].gpa = RIG_LOW;
	assert_int_equal(gmem_init(&bad, two, 2), 0);
	assert_int_equal(gmem_init(&bad, two, 0), -EINVAL);
}

static void discarded_pages_are_zero_and_gone(void **state)
{
	struct rig *r = *state;
	uint64_t given = 1;

	memset(r->ram + 0x80000, 7, 0x5000);
	assert_int_equal(gmem_discard(&r->mem, 0x80001, 0x3fff, &given), 0);
	assert_int_equal(given, 0x3000); /* whole pages only */
	assert_int_equal(r->ram[0x80fff], 7);
	assert_int_equal(r->ram[0x81000], 0);
	assert_int_equal(r->ram[0x83fff], 0);
	assert_int_equal(r->ram[0x84000], 7);
	assert_int_equal(gmem_discard(&r->mem, 0x80100, 0x100, &given), 0);
	assert_int_equal(given, 0);
	assert_int_equal(gmem_discard(&r->mem, RIG_LOW - 0x1000, 0x2000, &given), -EFAULT);
}

static void entropy_is_capped(void **state)
{
	struct rig *r = *state;
	uint32_t head, len;

	rig_start(r, ~UINT64_C(0));
	rig_one(r, 0, RIG_HIGH_GPA, 0x40000, VRING_DESC_F_WRITE);
	assert_true(rig_take(r, 0, &head, &len));
	assert_int_equal(len, 65536);
	assert_int_equal(r->ram[RIG_LOW + 65536], 0);
	assert_memory_not_equal(r->ram + RIG_LOW, r->ram + RIG_LOW + 65536, 64);
	rig_one(r, 0, RIG_DATA, 64, 0); /* nothing to write to */
	assert_true(rig_lost(r));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup_rng, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(says_what_it_is),
		T(status_goes_one_way),
		T(features_not_offered_are_refused),
		T(a_driver_before_1_0_is_refused),
		T(features_are_frozen_after_features_ok),
		T(queue_registers_before_their_time_do_nothing),
		T(a_running_queue_is_frozen),
		T(a_ready_queue_is_not_moved),
		T(a_queue_that_cannot_be_loses_the_device),
		T(other_widths_and_no_registers_do_nothing),
		T(a_kick_before_driver_ok_is_made_up_for),
		T(a_call_is_seen_and_acknowledged),
		T(reset_stops_the_queues),
		T(memory_is_memory_only),
		T(discarded_pages_are_zero_and_gone),
		T(entropy_is_capped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
