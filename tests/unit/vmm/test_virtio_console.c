/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console: how ports are announced, the stream both ways with a slow reader on either side,
 * its end, and a console that nobody reads.
 */
#include "virtio_rig.h"

#include <linux/virtio_console.h>
#include <pthread.h>
#include <sys/socket.h>

#define IN VRING_DESC_F_WRITE

enum queue { RX0, TX0, CONTROL_RX, CONTROL_TX, RX1, TX1 };

struct con {
	struct rig r;
	int out[2], stream[2]; /* [0] is the test's */
	unsigned tx;	       /* chains sent through TX1 */
};

static int setup(void **state)
{
	struct con *c = calloc(1, sizeof(*c));
	struct virtio_console_setup s = { .port_name = "agent" };

	assert_non_null(c);
	rig_open(&c->r);
	assert_int_equal(pipe2(c->out, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c->stream), 0);
	assert_int_equal(fd_set_nonblock(c->stream[0], true), 0);
	assert_int_equal(fd_set_nonblock(c->out[0], true), 0);
	s.out_fd = c->out[1];
	s.stream_fd = c->stream[1];
	assert_int_equal(virtio_console_new(c->r.loop, &c->r.mem, &s, &c->r.d), 0);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct con *c = *state;

	rig_close(&c->r);
	for (unsigned i = 0; i < 2; i++) {
		fd_close(c->out[i]);
		fd_close(c->stream[i]);
	}
	free(c);
	return 0;
}

static void control(struct con *c, uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control m = { id, event, value };
	uint32_t head, len;

	memcpy(rig_at(&c->r, RIG_DATA), &m, sizeof(m));
	rig_one(&c->r, CONTROL_TX, RIG_DATA, sizeof(m), 0);
	assert_true(rig_take(&c->r, CONTROL_TX, &head, &len));
}

/* Puts buffers of 64 bytes for control messages, at RIG_DATA + 0x1000. */
static void control_room(struct con *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		rig_desc(&c->r, CONTROL_RX, i, RIG_DATA + 0x1000 + 64 * i, 64, IN, 0);
		rig_offer(&c->r, CONTROL_RX, (uint16_t)i);
	}
	rig_kick(&c->r, CONTROL_RX);
}

static void expect_control(struct con *c, uint32_t id, uint16_t event, uint16_t value,
			   const char *name)
{
	struct virtio_console_control m;
	uint32_t head = 0, len = 0;

	assert_true(rig_take(&c->r, CONTROL_RX, &head, &len));
	assert_int_equal(len, sizeof(m) + strlen(name));
	memcpy(&m, rig_at(&c->r, RIG_DATA + 0x1000 + 64 * head), sizeof(m));
	assert_int_equal(m.id, id);
	assert_int_equal(m.event, event);
	assert_int_equal(m.value, value);
	assert_memory_equal(rig_at(&c->r, RIG_DATA + 0x1000 + 64 * head + sizeof(m)), name,
			    strlen(name));
}

static bool told(struct con *c)
{
	return rig_used_idx(&c->r, CONTROL_RX) != c->r.taken[CONTROL_RX];
}

static void open_port(struct con *c)
{
	rig_start(&c->r, ~UINT64_C(0));
	control(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	control(c, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	control(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

static void ports_are_announced_in_order(void **state)
{
	struct con *c = *state;

	rig_start(&c->r, ~UINT64_C(0));
	assert_int_equal(virtio_queues(c->r.d), 6);
	control_room(c, 20);
	assert_false(told(c));
	control(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_control(c, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	expect_control(c, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	control(c, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(c, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "");
	expect_control(c, 0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	control(c, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(c, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "agent");
	expect_control(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	assert_false(told(c));
}

/* A driver that asks and never reads. */
static void news_is_kept_until_there_is_room(void **state)
{
	struct con *c = *state;

	rig_start(&c->r, ~UINT64_C(0));
	for (unsigned i = 0; i < 1000; i++) {
		control(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
		control(c, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	}
	control_room(c, 20);
	expect_control(c, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	expect_control(c, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	expect_control(c, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "agent");
	expect_control(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	assert_false(told(c));
}

static void odd_control_messages_change_nothing(void **state)
{
	struct con *c = *state;

	rig_start(&c->r, ~UINT64_C(0));
	control_room(c, 20);
	control(c, 2, VIRTIO_CONSOLE_PORT_READY, 1);
	control(c, UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(c, 1, VIRTIO_CONSOLE_PORT_READY, 0);
	control(c, 1, 999, 1);
	control(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 0);
	assert_false(told(c));
	assert_false(rig_lost(&c->r));
	rig_one(&c->r, CONTROL_TX, RIG_DATA, 7, 0);
	assert_true(rig_lost(&c->r));
	rig_start(&c->r, ~UINT64_C(0));
	rig_one(&c->r, CONTROL_RX, RIG_DATA, 7, IN);
	assert_false(rig_lost(&c->r));
	control(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	assert_true(rig_lost(&c->r));
}

static void what_the_host_says_waits_for_an_open_port(void **state)
{
	struct con *c = *state;
	uint32_t head, len;

	rig_start(&c->r, ~UINT64_C(0));
	assert_int_equal(write(c->stream[0], "hello", 5), 5);
	rig_one(&c->r, RX1, RIG_DATA + 0x4000, 3, IN);
	assert_false(rig_take(&c->r, RX1, &head, &len));
	control(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	rig_run(&c->r);
	assert_true(rig_take(&c->r, RX1, &head, &len));
	assert_int_equal(len, 3);
	assert_memory_equal(rig_at(&c->r, RIG_DATA + 0x4000), "hel", 3);
	assert_int_equal(c->r.d->count.calls > 0, 1);
	rig_one(&c->r, RX1, RIG_DATA + 0x4000, 100, IN);
	assert_true(rig_take(&c->r, RX1, &head, &len));
	assert_int_equal(len, 2);
	/* Closed again: nothing is taken from the socket. */
	control(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	assert_int_equal(write(c->stream[0], "more", 4), 4);
	rig_one(&c->r, RX1, RIG_DATA + 0x4000, 100, IN);
	assert_false(rig_take(&c->r, RX1, &head, &len));
}

/* 4 MiB in chains of 20,000 bytes through a socket that holds less, read in odd pieces. */
static void nothing_is_lost_to_a_slow_reader(void **state)
{
	struct con *c = *state;
	size_t total = 4u << 20, sent = 0, got = 0;
	uint8_t b[7777];

	open_port(c);
	while (got < total) {
		uint32_t head, len;
		ssize_t n;

		while (sent < total && (uint16_t)(c->r.offered[TX1] - c->r.taken[TX1]) < 8) {
			unsigned i = c->r.offered[TX1] % 8;
			uint8_t *p = rig_at(&c->r, RIG_DATA + 0x8000 * (i + 1));
			uint32_t part = (uint32_t)MIN(20000, total - sent);

			for (size_t k = 0; k < part; k++)
				p[k] = (uint8_t)((sent + k) * 31 >> 3);
			rig_desc(&c->r, TX1, i, RIG_DATA + 0x8000 * (i + 1), part, 0, 0);
			rig_offer(&c->r, TX1, (uint16_t)i);
			sent += part;
		}
		rig_write(&c->r, VIRTIO_MMIO_QUEUE_NOTIFY, TX1);
		assert_int_equal(loop_step(c->r.loop, 0), 0);
		n = read(c->stream[0], b, sizeof(b));
		for (ssize_t k = 0; k < n; k++, got++)
			if (b[k] != (uint8_t)(got * 31 >> 3))
				fail_msg("byte %zu is another", got);
		while (rig_take(&c->r, TX1, &head, &len))
			assert_int_equal(len, 0);
	}
	assert_int_equal(got, total);
}

static void a_full_socket_does_not_keep_the_loop_busy(void **state)
{
	struct con *c = *state;
	uint32_t head, len;
	unsigned n = 0;

	open_port(c);
	for (unsigned i = 0; i < 16; i++) {
		rig_desc(&c->r, TX1, i, RIG_DATA, 0x10000, 0, 0);
		rig_offer(&c->r, TX1, (uint16_t)i);
	}
	rig_kick(&c->r, TX1);
	while (rig_take(&c->r, TX1, &head, &len))
		n++;
	assert_true(n < 16);
	/* It is asleep: a step that may wait, waits. */
	uint64_t before = time_mono_ns();
	assert_int_equal(loop_step(c->r.loop, 50), 0);
	assert_true(time_mono_ns() - before > 40 * NS_PER_MS);
	/* A reset forgets what was held. */
	rig_start(&c->r, ~UINT64_C(0));
	assert_false(rig_take(&c->r, TX1, &head, &len));
}

static void the_end_of_the_stream_is_told_after_its_bytes(void **state)
{
	struct con *c = *state;
	uint32_t head, len;

	open_port(c);
	control_room(c, 20);
	while (told(c)) /* what was announced */
		c->r.taken[CONTROL_RX]++;
	assert_int_equal(write(c->stream[0], "last words", 10), 10);
	fd_close(steal_fd(&c->stream[0]));
	rig_run(&c->r);
	assert_false(told(c));
	/* Gone, unread and no room to read it to: the loop sleeps all the same. */
	uint64_t before = time_mono_ns();
	assert_int_equal(loop_step(c->r.loop, 50), 0);
	assert_true(time_mono_ns() - before > 40 * NS_PER_MS);
	rig_one(&c->r, RX1, RIG_DATA + 0x4000, 4, IN);
	assert_true(rig_take(&c->r, RX1, &head, &len));
	rig_one(&c->r, RX1, RIG_DATA + 0x4000, 64, IN);
	assert_true(rig_take(&c->r, RX1, &head, &len));
	assert_int_equal(len, 6);
	assert_memory_equal(rig_at(&c->r, RIG_DATA + 0x4000), " words", 6);
	rig_one(&c->r, RX1, RIG_DATA + 0x4000, 64, IN);
	expect_control(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	/* What the guest says now goes nowhere, and does not get stuck. */
	rig_one(&c->r, TX1, RIG_DATA, 64, 0);
	assert_true(rig_take(&c->r, TX1, &head, &len));
	assert_false(rig_lost(&c->r));
}

static void a_receive_buffer_has_room(void **state)
{
	struct con *c = *state;

	open_port(c);
	rig_one(&c->r, RX1, RIG_DATA, 64, 0);
	assert_true(rig_lost(&c->r));
}

static void hvc0_is_written_out(void **state)
{
	struct con *c = *state;
	uint32_t head, len;
	char b[64];

	rig_start(&c->r, 0);
	memcpy(rig_at(&c->r, RIG_DATA), "Linux version", 13);
	rig_one(&c->r, TX0, RIG_DATA, 13, 0);
	assert_true(rig_take(&c->r, TX0, &head, &len));
	assert_int_equal(read(c->out[0], b, sizeof(b)), 13);
	assert_memory_equal(b, "Linux version", 13);
}

static void a_console_that_nobody_reads_drops(void **state)
{
	struct con *c = *state;
	struct virtio_counters count;
	uint32_t head, len;
	static uint8_t b[1 << 20];
	size_t kept = 0;

	rig_start(&c->r, 0);
	for (unsigned i = 0; i < 20; i++) {
		rig_one(&c->r, TX0, RIG_DATA, 0x10000, 0);
		assert_true(rig_take(&c->r, TX0, &head, &len));
	}
	virtio_count(c->r.d, &count);
	assert_in_range(count.dropped, 700000, 20 * 0x10000);
	for (unsigned i = 0; i < 400; i++) {
		ssize_t n = read(c->out[0], b, sizeof(b));

		kept += n > 0 ? (size_t)n : 0;
		rig_run(&c->r);
	}
	assert_int_equal(kept + count.dropped, 20 * 0x10000);
	/* Its reader gone, it goes on. */
	fd_close(steal_fd(&c->out[0]));
	for (unsigned i = 0; i < 3; i++) {
		rig_one(&c->r, TX0, RIG_DATA, 0x10000, 0);
		assert_true(rig_take(&c->r, TX0, &head, &len));
	}
}

static void *read_slowly(void *arg)
{
	struct con *c = arg;
	static uint8_t b[4096];
	size_t *n = calloc(1, sizeof(*n));

	for (unsigned i = 0; i < 300 && *n < 0x20000; i++) {
		ssize_t k = read(c->out[0], b, sizeof(b));

		*n += k > 0 ? (size_t)k : 0;
		usleep(1000);
	}
	return n;
}

/* More than the pipe holds, and then the machine ends: the reader gets it all. */
static void last_words_are_waited_for(void **state)
{
	struct con *c = *state;
	pthread_t t;
	void *n;

	rig_start(&c->r, 0);
	for (unsigned i = 0; i < 2; i++)
		rig_one(&c->r, TX0, RIG_DATA, 0x10000, 0);
	assert_int_equal(pthread_create(&t, NULL, read_slowly, c), 0);
	virtio_free(c->r.d);
	c->r.d = NULL;
	pthread_join(t, &n);
	assert_int_equal(*(size_t *)n, 0x20000);
	free(n);
}

static void a_file_takes_everything(void **state)
{
	struct con *c = *state;
	struct virtio_console_setup s = { .stream_fd = -1 };
	uint32_t head, len;

	virtio_free(c->r.d);
	s.out_fd = memfd_create("log", MFD_CLOEXEC);
	assert_int_equal(virtio_console_new(c->r.loop, &c->r.mem, &s, &c->r.d), 0);
	assert_int_equal(virtio_queues(c->r.d), 4);
	rig_start(&c->r, 0);
	for (unsigned i = 0; i < 20; i++)
		rig_one(&c->r, TX0, RIG_DATA, 0x10000, 0);
	assert_true(rig_take(&c->r, TX0, &head, &len));
	assert_int_equal(lseek(s.out_fd, 0, SEEK_END), 20 * 0x10000);
	close(s.out_fd);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(ports_are_announced_in_order),
		T(news_is_kept_until_there_is_room),
		T(odd_control_messages_change_nothing),
		T(what_the_host_says_waits_for_an_open_port),
		T(nothing_is_lost_to_a_slow_reader),
		T(a_full_socket_does_not_keep_the_loop_busy),
		T(the_end_of_the_stream_is_told_after_its_bytes),
		T(a_receive_buffer_has_room),
		T(hvc0_is_written_out),
		T(a_console_that_nobody_reads_drops),
		T(last_words_are_waited_for),
		T(a_file_takes_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
