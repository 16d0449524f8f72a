/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balloon: reported pages are gone from the memory file, whatever queue they come on; inflation by
 * page number; numbers and lengths that lead nowhere.
 */
#include "virtio_rig.h"

#include <linux/virtio_balloon.h>
#include <sys/stat.h>

#define IN VRING_DESC_F_WRITE
#define ALL ~UINT64_C(0)
#define PAGE 4096u

static int setup(void **state)
{
	struct rig *r = malloc(sizeof(*r));

	assert_non_null(r);
	rig_open(r);
	assert_int_equal(virtio_balloon_new(r->loop, &r->mem, &r->d), 0);
	*state = r;
	return 0;
}

/* Pages that the memory file has. */
static uint64_t pages(struct rig *r)
{
	struct stat st;

	assert_int_equal(fstat(r->memfd, &st), 0);
	return (uint64_t)st.st_blocks * 512 / PAGE;
}

static uint64_t reported(struct rig *r)
{
	uint64_t inflated, bytes;

	virtio_balloon_state(r->d, &inflated, &bytes);
	return bytes;
}

static void reports_on(struct rig *r, unsigned queue)
{
	uint64_t before;
	uint32_t head, len;

	rig_start(r, ALL);
	memset(r->ram, 1, RIG_DATA);
	memset(r->ram + RIG_LOW, 9, 64 * PAGE);
	rig_start(r, ALL);
	before = pages(r);
	rig_desc(r, queue, 0, RIG_HIGH_GPA, 32 * PAGE, IN | VRING_DESC_F_NEXT, 1);
	rig_desc(r, queue, 1, RIG_HIGH_GPA + 40 * PAGE, 16 * PAGE, IN, 0);
	rig_offer(r, queue, 0);
	rig_kick(r, queue);
	assert_true(rig_take(r, queue, &head, &len));
	assert_int_equal(len, 0);
	assert_int_equal(pages(r), before - 48);
	assert_int_equal(r->ram[RIG_LOW], 0);
	assert_int_equal(r->ram[RIG_LOW + 32 * PAGE], 9);
	assert_int_equal(r->ram[RIG_LOW + 40 * PAGE], 0);
	assert_int_equal(r->ram[RIG_LOW + 56 * PAGE], 9);
}

static void reported_pages_go_back(void **state)
{
	struct rig *r = *state;

	reports_on(r, 2); /* as Linux counts */
	assert_int_equal(reported(r), 48 * PAGE);
	reports_on(r, 4); /* as the specification does */
	assert_int_equal(reported(r), 2 * 48 * PAGE);
}

static void the_last_byte_of_memory_may_be_reported(void **state)
{
	struct rig *r = *state;
	uint32_t head, len;

	rig_start(r, ALL);
	rig_one(r, 2, RIG_HIGH_GPA, RIG_LOW, IN);
	assert_true(rig_take(r, 2, &head, &len));
	assert_int_equal(reported(r), RIG_LOW);
	rig_one(r, 2, RIG_HIGH_GPA + 1, PAGE, IN); /* no whole page */
	assert_int_equal(reported(r), RIG_LOW);
	rig_one(r, 2, RIG_HIGH_GPA + PAGE, RIG_LOW, IN);
	assert_true(rig_lost(r));
}

static void inflated_pages_go_back(void **state)
{
	struct rig *r = *state;
	uint32_t pfn[6] = { 0x100000, 0x100001, 0x100002, 0x100005, 0x100004, UINT32_MAX };
	uint32_t head, len, actual = 5;
	uint64_t inflated, bytes;

	rig_start(r, ALL);
	memset(r->ram + RIG_LOW, 9, 8 * PAGE);
	memcpy(rig_at(r, RIG_DATA), pfn, sizeof(pfn));
	rig_one(r, 0, RIG_DATA, sizeof(pfn), 0);
	assert_true(rig_take(r, 0, &head, &len));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(r->ram[RIG_LOW + i * PAGE], i < 3 || i == 4 || i == 5 ? 0 : 9);
	assert_int_equal(r->d->count.errors, 1); /* there is no such page */
	virtio_mmio_write(r->d, VIRTIO_MMIO_CONFIG + 4, &actual, 4);
	virtio_balloon_state(r->d, &inflated, &bytes);
	assert_int_equal(inflated, 5 * PAGE);
	/* Given back to the guest: nothing is lost. */
	memset(r->ram + RIG_LOW, 7, PAGE);
	rig_one(r, 1, RIG_DATA, sizeof(pfn), 0);
	assert_true(rig_take(r, 1, &head, &len));
	assert_int_equal(r->ram[RIG_LOW], 7);
}

static void a_target_is_told(void **state)
{
	struct rig *r = *state;
	uint32_t generation;

	rig_start(r, ALL);
	generation = rig_read(r, VIRTIO_MMIO_CONFIG_GENERATION);
	rig_calls(r);
	virtio_balloon_target(r->d, 10 * PAGE);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_CONFIG), 10);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_CONFIG_GENERATION), generation + 1);
	assert_int_equal(rig_calls(r), 1);
	assert_int_equal(virtio_mmio_isr(r->d), VIRTIO_MMIO_INT_CONFIG);
	rig_write(r, VIRTIO_MMIO_CONFIG, 3); /* ours to say */
	assert_int_equal(rig_read(r, VIRTIO_MMIO_CONFIG), 10);
}

static void lists_have_an_end(void **state)
{
	struct rig *r = *state;

	rig_start(r, ALL);
	rig_one(r, 0, RIG_DATA, 4096 * 4, 0);
	assert_false(rig_lost(r));
	rig_one(r, 0, RIG_DATA, 4097 * 4, 0);
	assert_true(rig_lost(r));
	rig_start(r, ALL);
	rig_one(r, 0, RIG_DATA, 3, 0);
	assert_true(rig_lost(r));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(reported_pages_go_back), T(the_last_byte_of_memory_may_be_reported),
		T(inflated_pages_go_back), T(a_target_is_told),
		T(lists_have_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
