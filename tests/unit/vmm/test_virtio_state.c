/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices saved in the middle of their work and loaded into new ones over the same memory: nothing
 * is done twice, nothing is left out. And states that no driver can have made. (The network card's
 * is in test_virtio_net.c, with its back end.)
 */
#include "virtio_rig.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <sys/socket.h>

#define IN VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT
#define ALL ~UINT64_C(0)
#define DISK (64u << 10)
#define CHAIN 0x18000u

enum queue { RX0, TX0, CONTROL_RX, CONTROL_TX, RX1, TX1 };

/* A machine whose device can be made anew. */
struct moved {
	struct rig r;
	int disk;
	int stream[2]; /* [0] is the test's */
	int (*make)(struct moved *m);
};

static int make_rng(struct moved *m)
{
	return virtio_rng_new(m->r.loop, &m->r.mem, &m->r.d);
}

static int make_balloon(struct moved *m)
{
	return virtio_balloon_new(m->r.loop, &m->r.mem, &m->r.d);
}

static int make_block(struct moved *m)
{
	struct virtio_block_setup s = { .fd = m->disk, .layer_fd = -1 };
	const char *why;

	return virtio_block_new(m->r.loop, &m->r.mem, &s, &m->r.d, &why);
}

static int make_console(struct moved *m)
{
	struct virtio_console_setup s = { .out_fd = -1, .port_name = "agent" };
	const int small = 4096;

	fd_close(m->stream[0]);
	fd_close(m->stream[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, m->stream), 0);
	assert_int_equal(fd_set_nonblock(m->stream[0], true), 0);
	assert_int_equal(setsockopt(m->stream[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	s.stream_fd = m->stream[1];
	return virtio_console_new(m->r.loop, &m->r.mem, &s, &m->r.d);
}

static void begin(struct moved *m, int (*make)(struct moved *m))
{
	m->make = make;
	assert_int_equal(make(m), 0);
	rig_start(&m->r, ALL);
}

/* The device as bytes, and these into another one. */
static void move_to_new(struct moved *m, struct virtio_state *ret)
{
	const char *why = NULL;

	assert_int_equal(virtio_save(m->r.d, ret), 0);
	virtio_free(m->r.d);
	assert_int_equal(m->make(m), 0);
	assert_int_equal(virtio_load(m->r.d, ret, &why), 0);
	assert_null(virtio_broken(m->r.d));
	rig_run(&m->r);
}

static int setup(void **state)
{
	struct moved *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->stream[0] = m->stream[1] = -1;
	rig_open(&m->r);
	m->disk = memfd_create("disk", MFD_CLOEXEC);
	assert_int_equal(ftruncate(m->disk, DISK), 0);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct moved *m = *state;

	rig_close(&m->r);
	fd_close(m->disk);
	fd_close(m->stream[0]);
	fd_close(m->stream[1]);
	free(m);
	return 0;
}

static void taken(struct moved *m, unsigned queue, uint32_t head, uint32_t len)
{
	uint32_t h, n;

	assert_true(rig_take(&m->r, queue, &h, &n));
	assert_int_equal(h, head);
	assert_int_equal(n, len);
}

static void entropy(void **state)
{
	struct moved *m = *state;
	struct virtio_state s;

	begin(m, make_rng);
	rig_one(&m->r, 0, RIG_DATA, 64, IN);
	taken(m, 0, 0, 64);
	/* On offer, and the kick is lost with the old one. */
	rig_desc(&m->r, 0, 1, RIG_DATA + 64, 32, IN, 0);
	rig_offer(&m->r, 0, 1);
	move_to_new(m, &s);
	taken(m, 0, 1, 32);
	assert_int_equal(rig_used_idx(&m->r, 0), 2);
	assert_int_equal(rig_status(&m->r), 15);
	/* The interrupt of the first was not acknowledged: it comes again. */
	assert_true(s.isr & VIRTIO_MMIO_INT_VRING);
	assert_true(rig_calls(&m->r) >= 1);
	/* And at its next reset it is like any other. */
	rig_start(&m->r, 0);
	rig_one(&m->r, 0, RIG_DATA, 16, IN);
	taken(m, 0, 0, 16);
}

static void request(struct moved *m, uint32_t type, uint64_t sector, uint16_t data_flags, unsigned at)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };

	memcpy(rig_at(&m->r, RIG_DATA), &h, sizeof(h));
	rig_desc(&m->r, 0, at, RIG_DATA, sizeof(h), NEXT, (uint16_t)(at + 1));
	rig_desc(&m->r, 0, at + 1, RIG_DATA + 0x1000, 1024, NEXT | data_flags, (uint16_t)(at + 2));
	rig_desc(&m->r, 0, at + 2, RIG_DATA + 0x2000, 1, IN, 0);
	rig_offer(&m->r, 0, (uint16_t)at);
}

static void a_disk(void **state)
{
	struct moved *m = *state;
	struct virtio_state s;
	uint8_t b[1024];

	begin(m, make_block);
	memset(rig_at(&m->r, RIG_DATA + 0x1000), 'a', 1024);
	request(m, VIRTIO_BLK_T_OUT, 2, 0, 0);
	rig_kick(&m->r, 0);
	taken(m, 0, 0, 1);
	memset(rig_at(&m->r, RIG_DATA + 0x1000), 'b', 1024);
	request(m, VIRTIO_BLK_T_OUT, 8, 0, 3);
	move_to_new(m, &s);
	taken(m, 0, 3, 1);
	assert_int_equal(pread(m->disk, b, 1024, 1024), 1024);
	assert_int_equal(b[0], 'a');
	assert_int_equal(pread(m->disk, b, 1024, 4096), 1024);
	assert_int_equal(b[1023], 'b');
	memset(rig_at(&m->r, RIG_DATA + 0x1000), 0, 1024);
	request(m, VIRTIO_BLK_T_IN, 2, IN, 6);
	rig_kick(&m->r, 0);
	taken(m, 0, 6, 1025);
	assert_int_equal(*rig_at(&m->r, RIG_DATA + 0x1000), 'a');
}

/* The size is the host's word: what a state says of it counts for nothing, and the driver is told. */
static void a_disk_of_another_size(void **state)
{
	struct moved *m = *state;
	struct virtio_state s;
	uint32_t generation, capacity = 0;

	begin(m, make_block);
	generation = rig_read(&m->r, VIRTIO_MMIO_CONFIG_GENERATION);
	assert_int_equal(ftruncate(m->disk, DISK / 2), 0);
	move_to_new(m, &s);
	virtio_mmio_read(m->r.d, VIRTIO_MMIO_CONFIG, &capacity, 4);
	assert_int_equal(capacity, DISK / 2 / 512);
	assert_int_not_equal(rig_read(&m->r, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	assert_true(rig_read(&m->r, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
}

static void control(struct moved *m, uint32_t id, uint16_t event)
{
	struct virtio_console_control c = { id, event, 1 };
	uint32_t head, len;

	memcpy(rig_at(&m->r, RIG_DATA), &c, sizeof(c));
	rig_one(&m->r, CONTROL_TX, RIG_DATA, sizeof(c), 0);
	assert_true(rig_take(&m->r, CONTROL_TX, &head, &len));
}

/* What the stream's other end gets, with the device's turns in between; how much. */
static size_t hear(struct moved *m, uint8_t *out, size_t size)
{
	size_t n = 0;
	ssize_t k;

	while (n < size && (k = recv(m->stream[0], out + n, size - n, 0)) > 0) {
		n += (size_t)k;
		rig_run(&m->r);
	}
	return n;
}

static void a_stream_in_the_middle_of_a_chain(void **state)
{
	static uint8_t sent[2 * CHAIN], got[sizeof(sent) + 100];
	struct moved *m = *state;
	struct virtio_state s;
	size_t before;

	begin(m, make_console);
	control(m, 1, VIRTIO_CONSOLE_PORT_READY);
	control(m, 1, VIRTIO_CONSOLE_PORT_OPEN);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 31 + (i >> 8));
	memcpy(gmem_at(&m->r.mem, RIG_HIGH_GPA, sizeof(sent)), sent, sizeof(sent));
	/* A buffer to receive into is held, and so is the first chain, of which a part is out. */
	rig_one(&m->r, RX1, RIG_DATA + 0x4000, 64, IN);
	rig_desc(&m->r, TX1, 0, RIG_HIGH_GPA, CHAIN, 0, 0);
	rig_desc(&m->r, TX1, 1, RIG_HIGH_GPA + CHAIN, CHAIN, 0, 0);
	rig_offer(&m->r, TX1, 0);
	rig_offer(&m->r, TX1, 1);
	rig_kick(&m->r, TX1);
	assert_int_equal(rig_used_idx(&m->r, TX1), 0);
	/* What the old socket has taken is the host's: it is read from there. */
	assert_int_equal(virtio_save(m->r.d, &s), 0);
	before = (size_t)s.own.console.tx_off;
	assert_in_range(before, 1, CHAIN - 1);
	for (size_t n = 0; n < before; n++)
		assert_int_equal(recv(m->stream[0], got + n, 1, 0), 1);
	assert_true(recv(m->stream[0], got + before, 1, 0) < 0);
	move_to_new(m, &s);
	assert_int_equal(before + hear(m, got + before, sizeof(got) - before), sizeof(sent));
	assert_memory_equal(got, sent, sizeof(sent));
	taken(m, TX1, 0, 0);
	taken(m, TX1, 1, 0);
	/* The port is still open, and the buffer still waits. */
	assert_int_equal(send(m->stream[0], "hello", 5, 0), 5);
	rig_run(&m->r);
	taken(m, RX1, 0, 5);
	assert_memory_equal(rig_at(&m->r, RIG_DATA + 0x4000), "hello", 5);
}

/* What the driver was not told yet is told by the new one. */
static void news_of_ports(void **state)
{
	struct moved *m = *state;
	struct virtio_state s;
	struct virtio_console_control c;
	uint32_t head = 0, len;

	begin(m, make_console);
	control(m, 0, VIRTIO_CONSOLE_DEVICE_READY);
	move_to_new(m, &s);
	for (unsigned i = 0; i < 2; i++) {
		rig_desc(&m->r, CONTROL_RX, i, RIG_DATA + 64 * i, 64, IN, 0);
		rig_offer(&m->r, CONTROL_RX, (uint16_t)i);
	}
	rig_kick(&m->r, CONTROL_RX);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(rig_take(&m->r, CONTROL_RX, &head, &len));
		memcpy(&c, rig_at(&m->r, RIG_DATA + 64 * head), sizeof(c));
		assert_int_equal(c.event, VIRTIO_CONSOLE_PORT_ADD);
		assert_int_equal(c.id, i);
	}
}

static void a_balloon(void **state)
{
	struct moved *m = *state;
	struct virtio_state s;
	uint32_t actual = 3, pfn = RIG_HIGH_GPA >> VIRTIO_BALLOON_PFN_SHIFT;
	uint64_t inflated, reported;

	begin(m, make_balloon);
	virtio_mmio_write(m->r.d, VIRTIO_MMIO_CONFIG + 4, &actual, 4);
	*rig_at(&m->r, RIG_HIGH_GPA) = 7;
	memcpy(rig_at(&m->r, RIG_DATA), &pfn, sizeof(pfn));
	rig_desc(&m->r, 0, 0, RIG_DATA, sizeof(pfn), 0, 0);
	rig_offer(&m->r, 0, 0);
	move_to_new(m, &s);
	taken(m, 0, 0, 0);
	assert_int_equal(*rig_at(&m->r, RIG_HIGH_GPA), 0);
	virtio_balloon_state(m->r.d, &inflated, &reported);
	assert_int_equal(inflated, 3 * 4096);
}

/* ---- states that cannot be ------------------------------------------------ */

static void refused(struct moved *m, const struct virtio_state *s, int err)
{
	const char *why = NULL;

	assert_int_equal(virtio_load(m->r.d, s, &why), err);
	assert_non_null(why);
}

static void what_no_driver_can_have_done_is_refused(void **state)
{
	/* UNKNOWN bits, and steps without the ones before them. */
	static const uint32_t statuses[] = { 0x1f, 0x2f, 0x10f, 0x8000000f, 2, 4, 7, 8, 10, 13, 14 };
	struct moved *m = *state;
	struct virtio_state good, s;

	begin(m, make_rng);
	assert_int_equal(virtio_save(m->r.d, &good), 0);
	refused(m, &good, -EBUSY); /* one driver is enough */
	rig_write(&m->r, VIRTIO_MMIO_STATUS, 0);
	s = good;
	s.id = VIRTIO_ID_BLOCK;
	refused(m, &s, -EINVAL);
	s = good;
	s.n_queues = 2;
	refused(m, &s, -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		s = good;
		s.regs.status = statuses[i];
		refused(m, &s, -EINVAL);
	}
	s = good;
	s.regs.accepted |= VIRTIO_BIT(60);
	refused(m, &s, -EINVAL);
	s = good;
	s.regs.accepted &= ~VIRTIO_BIT(VIRTIO_F_VERSION_1);
	refused(m, &s, -EINVAL);
	assert_int_equal(rig_status(&m->r), 0);
}

static void lost_on_loading(struct moved *m, const struct virtio_state *s)
{
	const char *why;

	rig_write(&m->r, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(virtio_load(m->r.d, s, &why), 0);
	rig_run(&m->r);
	assert_true(rig_lost(&m->r));
	assert_non_null(virtio_broken(m->r.d));
}

static void what_no_queue_can_be_loses_the_device(void **state)
{
	struct moved *m = *state;
	struct virtio_state good, s;

	begin(m, make_rng);
	assert_int_equal(virtio_save(m->r.d, &good), 0);
	s = good;
	s.regs.q[0].place.used = UINT64_C(0xd0000000);
	lost_on_loading(m, &s);
	s = good;
	s.regs.q[0].place.size = 3;
	lost_on_loading(m, &s);
	s = good;
	s.q[0].next_avail = 30000; /* as if the driver had offered 35,536 */
	lost_on_loading(m, &s);
	s = good;
	s.regs.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	lost_on_loading(m, &s);
	rig_start(&m->r, ALL);
	rig_one(&m->r, 0, RIG_DATA, 16, IN);
	taken(m, 0, 0, 16);
}

static void a_chain_that_is_not_there_loses_the_console(void **state)
{
	struct moved *m = *state;
	struct virtio_state s;

	begin(m, make_console);
	assert_int_equal(virtio_save(m->r.d, &s), 0);
	s.own.console.tx_off = 5;
	lost_on_loading(m, &s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(entropy),
		TEST(a_disk),
		TEST(a_disk_of_another_size),
		TEST(a_stream_in_the_middle_of_a_chain),
		TEST(news_of_ports),
		TEST(a_balloon),
		TEST(what_no_driver_can_have_done_is_refused),
		TEST(what_no_queue_can_be_loses_the_device),
		TEST(a_chain_that_is_not_there_loses_the_console),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
