/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues: chains of every shape that is allowed, each that is not, and who is
 * woken when. The device on the other end is the entropy source.
 */
#include "virtio_rig.h"

#define IN VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT
#define INDIRECT VRING_DESC_F_INDIRECT

/* ---- chains ------------------------------------------------------------- */

static void a_chain_is_served_in_its_order(void **state)
{
	struct rig *r = *state;
	uint32_t head, len;

	rig_start(r, 0);
	rig_desc(r, 0, 7, RIG_DATA, 10, IN | NEXT, 3);
	rig_desc(r, 0, 3, RIG_HIGH_GPA, 20, IN | NEXT, 63);
	rig_desc(r, 0, 63, RIG_DATA + 10, 0, IN | NEXT, 1); /* nothing, and allowed */
	rig_desc(r, 0, 1, RIG_DATA + 10, 30, IN, 999);	    /* no NEXT: next is nothing */
	rig_offer(r, 0, 7);
	rig_kick(r, 0);
	assert_true(rig_take(r, 0, &head, &len));
	assert_int_equal(head, 7);
	assert_int_equal(len, 60);
	assert_false(rig_take(r, 0, &head, &len));
}

static void indirect_tables_are_read(void **state)
{
	struct rig *r = *state;
	uint32_t head, len;

	rig_start(r, ~UINT64_C(0));
	rig_desc_at(r, RIG_DATA, 0, RIG_DATA + 0x1000, 8, IN | NEXT, 2);
	rig_desc_at(r, RIG_DATA, 2, RIG_HIGH_GPA, 16, IN, 0);
	rig_desc(r, 0, 0, RIG_DATA, 48, INDIRECT | IN, 0); /* IN says nothing of a table */
	rig_offer(r, 0, 0);
	rig_kick(r, 0);
	assert_true(rig_take(r, 0, &head, &len));
	assert_int_equal(len, 24);
	/* One piece in the ring, the rest in a table behind it (2.7.5.3.2). */
	rig_desc(r, 0, 1, RIG_DATA + 0x2000, 4, IN | NEXT, 0);
	rig_offer(r, 0, 1);
	rig_kick(r, 0);
	assert_true(rig_take(r, 0, &head, &len));
	assert_int_equal(len, 28);
}

static void the_longest_chain_is_served(void **state)
{
	struct rig *r = *state;
	uint32_t head, len;

	rig_start(r, ~UINT64_C(0));
	for (unsigned i = 0; i < VIRTQ_CHAIN_MAX; i++)
		rig_desc_at(r, RIG_DATA, i, RIG_HIGH_GPA + i, 1, IN | (i < 127 ? NEXT : 0),
			    (uint16_t)(i + 1));
	rig_one(r, 0, RIG_DATA, 16 * VIRTQ_CHAIN_MAX, INDIRECT);
	assert_true(rig_take(r, 0, &head, &len));
	assert_int_equal(len, VIRTQ_CHAIN_MAX);
	/* The same and one before it in the ring. */
	rig_desc(r, 0, 1, RIG_DATA, 1, IN | NEXT, 0);
	rig_offer(r, 0, 1);
	rig_kick(r, 0);
	assert_true(rig_lost(r));
}

/* ---- what is not a chain ------------------------------------------------ */

static void bad_outside(struct rig *r)
{
	rig_one(r, 0, RIG_LOW, 1, IN);
}

static void bad_beyond(struct rig *r)
{
	rig_one(r, 0, RIG_LOW - 50, 100, IN);
}

static void bad_window(struct rig *r)
{
	rig_one(r, 0, 0xd0000000, 4, IN); /* a device's registers */
}

static void bad_wrap(struct rig *r)
{
	rig_one(r, 0, UINT64_MAX - 3, 8, IN);
}

static void bad_order(struct rig *r)
{
	rig_desc(r, 0, 1, RIG_DATA, 8, 0, 0);
	rig_desc(r, 0, 0, RIG_DATA, 8, IN | NEXT, 1);
	rig_offer(r, 0, 0);
	rig_kick(r, 0);
}

static void bad_head(struct rig *r)
{
	rig_offer(r, 0, RIG_QUEUE);
	rig_kick(r, 0);
}

static void bad_next(struct rig *r)
{
	rig_desc(r, 0, 0, RIG_DATA, 8, IN | NEXT, RIG_QUEUE);
	rig_offer(r, 0, 0);
	rig_kick(r, 0);
}

static void bad_circle(struct rig *r)
{
	rig_desc(r, 0, 0, RIG_DATA, 8, IN | NEXT, 1);
	rig_desc(r, 0, 1, RIG_DATA, 8, IN | NEXT, 0);
	rig_offer(r, 0, 0);
	rig_kick(r, 0);
}

static void bad_circle_of_nothing(struct rig *r)
{
	rig_desc(r, 0, 0, RIG_DATA, 0, IN | NEXT, 0);
	rig_offer(r, 0, 0);
	rig_kick(r, 0);
}

static void bad_idx(struct rig *r)
{
	rig_idx(r, 0, RIG_QUEUE + 1);
	rig_kick(r, 0);
}

static void bad_idx_back(struct rig *r)
{
	rig_idx(r, 0, UINT16_MAX);
	rig_kick(r, 0);
}

static void bad_table_empty(struct rig *r)
{
	rig_one(r, 0, RIG_DATA, 0, INDIRECT);
}

static void bad_table_odd(struct rig *r)
{
	rig_one(r, 0, RIG_DATA, 24, INDIRECT);
}

static void bad_table_large(struct rig *r)
{
	rig_one(r, 0, RIG_DATA, 16 * (VIRTQ_CHAIN_MAX + 1), INDIRECT);
}

/* As many entries as wrap to a small 16-bit number. */
static void bad_table_wraps(struct rig *r)
{
	rig_one(r, 0, 0, 16 * 65537, INDIRECT);
}

static void bad_table_outside(struct rig *r)
{
	rig_one(r, 0, RIG_LOW - 16, 32, INDIRECT);
}

static void bad_table_next(struct rig *r)
{
	rig_desc(r, 0, 1, RIG_DATA, 8, IN, 0);
	rig_desc_at(r, RIG_DATA, 0, RIG_DATA, 8, IN, 0);
	rig_desc(r, 0, 0, RIG_DATA, 16, INDIRECT | NEXT, 1);
	rig_offer(r, 0, 0);
	rig_kick(r, 0);
}

static void bad_table_in_table(struct rig *r)
{
	rig_desc_at(r, RIG_DATA, 0, RIG_DATA, 16, INDIRECT, 0);
	rig_one(r, 0, RIG_DATA, 16, INDIRECT);
}

static void bad_table_leaves(struct rig *r)
{
	rig_desc_at(r, RIG_DATA, 0, RIG_DATA, 8, IN | NEXT, 1);
	rig_one(r, 0, RIG_DATA, 16, INDIRECT);
}

static void broken_rings_lose_the_device(void **state)
{
	struct rig *r = *state;
	static void (*const bad[])(struct rig * r) = {
		bad_outside,	   bad_beyond,	    bad_window,
		bad_wrap,	   bad_order,	    bad_head,
		bad_next,	   bad_circle,	    bad_circle_of_nothing,
		bad_idx,	   bad_idx_back,    bad_table_empty,
		bad_table_odd,	   bad_table_large, bad_table_wraps,
		bad_table_outside, bad_table_next,  bad_table_in_table,
		bad_table_leaves,
	};
	uint32_t head, len;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		rig_start(r, ~UINT64_C(0));
		rig_calls(r);
		bad[i](r);
		if (!rig_lost(r))
			fail_msg("case %zu is served", i);
		assert_non_null(virtio_broken(r->d));
		assert_true(virtio_mmio_isr(r->d) & VIRTIO_MMIO_INT_CONFIG);
		assert_true(rig_calls(r) >= 1);
		/* It stays lost. */
		rig_desc(r, 0, 0, RIG_DATA, 8, IN, 0);
		rig_idx(r, 0, r->offered[0]);
		rig_kick(r, 0);
		assert_true(rig_lost(r));
	}
	rig_start(r, 0);
	rig_one(r, 0, RIG_DATA, 8, IN);
	assert_true(rig_take(r, 0, &head, &len));
}

static void tables_need_to_be_agreed_on(void **state)
{
	struct rig *r = *state;

	rig_start(r, 0);
	rig_desc_at(r, RIG_DATA, 0, RIG_DATA + 64, 8, IN, 0);
	rig_one(r, 0, RIG_DATA, 16, INDIRECT);
	assert_true(rig_lost(r));
}

/* ---- who is woken ------------------------------------------------------- */

static void the_rings_go_round(void **state)
{
	struct rig *r = *state;
	uint32_t head, len;

	for (unsigned k = 0; k < 2; k++) {
		rig_start(r, k ? ~UINT64_C(0) : 0);
		for (unsigned i = 0; i < 70000; i++) {
			rig_desc(r, 0, i % RIG_QUEUE, RIG_DATA, 1 + i % 7, IN, 0);
			rig_offer(r, 0, (uint16_t)(i % RIG_QUEUE));
			rig_write(r, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
			assert_int_equal(loop_step(r->loop, 0), 0);
			assert_true(rig_take(r, 0, &head, &len));
			assert_int_equal(head, i % RIG_QUEUE);
			assert_int_equal(len, 1 + i % 7);
		}
	}
}

static void more_than_a_turn_is_served_all_the_same(void **state)
{
	struct rig *r = *state;
	uint32_t head, len;
	unsigned n = 0;

	rig_start(r, ~UINT64_C(0));
	for (unsigned i = 0; i < RIG_QUEUE; i++) {
		rig_desc(r, 0, i, RIG_DATA, 8, IN, 0);
		rig_offer(r, 0, (uint16_t)i);
	}
	rig_kick(r, 0);
	while (rig_take(r, 0, &head, &len))
		n++;
	assert_int_equal(n, RIG_QUEUE);
}

static void no_interrupt_is_obeyed(void **state)
{
	struct rig *r = *state;

	rig_start(r, 0);
	*rig_at(r, RIG_AVAIL(0)) = VRING_AVAIL_F_NO_INTERRUPT;
	rig_one(r, 0, RIG_DATA, 8, IN);
	assert_int_equal(rig_calls(r), 0);
	*rig_at(r, RIG_AVAIL(0)) = 0;
	rig_one(r, 0, RIG_DATA, 8, IN);
	assert_int_equal(rig_calls(r), 1);
}

static void used_event(struct rig *r, uint16_t v)
{
	memcpy(rig_at(r, RIG_AVAIL(0) + 4 + 2 * RIG_QUEUE), &v, 2);
}

static void events_are_told_once_passed(void **state)
{
	struct rig *r = *state;
	uint16_t avail_event;

	rig_start(r, ~UINT64_C(0));
	rig_run(r);
	used_event(r, 2); /* a call when the third is used */
	for (unsigned i = 0; i < 5; i++) {
		rig_one(r, 0, RIG_DATA, 8, IN);
		assert_int_equal(rig_calls(r), i == 2);
		/* The driver is to kick for the next one. */
		memcpy(&avail_event, rig_at(r, RIG_USED(0) + 4 + 8 * RIG_QUEUE), 2);
		assert_int_equal(avail_event, i + 1);
	}
	used_event(r, 5);
	rig_one(r, 0, RIG_DATA, 8, IN);
	assert_int_equal(rig_calls(r), 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup_rng, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(a_chain_is_served_in_its_order),
		T(indirect_tables_are_read),
		T(the_longest_chain_is_served),
		T(broken_rings_lose_the_device),
		T(tables_need_to_be_agreed_on),
		T(the_rings_go_round),
		T(more_than_a_turn_is_served_all_the_same),
		T(no_interrupt_is_obeyed),
		T(events_are_told_once_passed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
