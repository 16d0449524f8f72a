/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Payload that goes from the host's socket straight into the guest's buffers (room, recvmsg,
 * commit), with guests and VMMs that do their worst between those three. Where the kernel
 * cannot peek at an offset the same bytes arrive by copies.
 */
#include "vhost_rig.h"

#include <netinet/in.h>

#define MSS 536 /* of a SYN that says nothing */

static int far = -1; /* the other end of the attached flow */
static bool peeks;   /* the kernel can */
static uint32_t seq, ack;
static size_t at;	  /* bytes that have arrived */
static uint64_t captured; /* what the captures saw of them, summed */
static unsigned in_place, copied, cancelled;
static const struct link_driver *real;
static struct link_driver spy;
static void (*between)(struct ns_link *l); /* room and recvmsg */
static void (*before)(struct ns_link *l);  /* commit */
static struct vrig v;

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 2654435761u >> 13);
}

static int spy_room(struct ns_link *l, size_t head_len, size_t want, struct iovec *iov, unsigned *n)
{
	int r = real->room(l, head_len, want, iov, n);

	if (r == 0 && between)
		between(l);
	return r;
}

static int spy_commit(struct ns_link *l, const struct link_tx *tx, size_t len)
{
	*(tx ? &in_place : &cancelled) += 1;
	if (before)
		before(l);
	return real->commit(l, tx, len);
}

static int spy_write(struct ns_link *l, const struct link_tx *tx)
{
	int r = real->write(l, tx);

	copied += r == 0 && tx->n_data && tx->data[0].iov_len >= LIMIT_IN_PLACE;
	return r;
}

static void on_frame(void *ctx, bool from_guest, const void *head, size_t head_len,
		     const void *payload, size_t n)
{
	const uint8_t *p = payload;

	(void)ctx;
	(void)head;
	for (size_t i = 0; !from_guest && head_len == ETH_HEAD + 40 && i < n; i++)
		captured += p[i];
}

static void attach(struct rig *r, struct netstack_flow *f)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0), off = -1, fd;

	(void)r;
	assert_int_equal(bind(l, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&a, &n), 0);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	far = accept4(l, NULL, NULL, SOCK_NONBLOCK);
	assert_true(far >= 0);
	assert_int_equal(fd_set_nonblock(fd, true), 0);
	peeks = setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) == 0;
	close(l);
	netstack_flow_attach(f, fd, false);
}

static void segment(uint8_t flags)
{
	static struct frame f;
	struct ip_addr guest = ip4(10, 9, 0, 2), remote = ip4(192, 0, 2, 1);

	frame_tcp(&f, &guest, 4000, &remote, 443, flags, seq, ack, NULL, 0);
	vrig_send(&v, &f);
}

/* Checks what has come and acknowledges it. */
static void take(void)
{
	static struct frame f;
	bool any = false;

	while (drv_rx(&v.d, &f)) {
		size_t off = L2 + 40;

		if (get_be16(f.b + VNET + 12) != 0x0800 || f.len <= off ||
		    get_be32(f.b + L2 + 24) != ack)
			continue;
		assert_int_equal(get_be16(f.b + L2 + 2), f.len - L2);
		if (f.len - off > MSS) {
			assert_int_equal(f.b[1], LINK_GSO_TCP4);
			assert_int_equal(f.b[4] | f.b[5] << 8, MSS);
		}
		for (size_t i = off; i < f.len; i++)
			if (f.b[i] != byte_at(at++))
				fail_msg("byte %zu is another one", at - 1);
		ack += (uint32_t)(f.len - off);
		any = true;
	}
	if (any)
		segment(0x10);
}

static void begin(bool listening, uint32_t rx_size, unsigned rx_bufs)
{
	static struct frame f;

	at = 0;
	captured = 0;
	in_place = copied = cancelled = 0;
	between = before = NULL;
	seq = 1000;
	ack = 0;
	vrig_open(&v, drv_all, listening);
	vrig_ops.frame = on_frame;
	v.d.rx_size = rx_size;
	v.d.rx_bufs = rx_bufs;
	if (listening)
		vrig_connect(&v);
	vmm_start(&v.d, v.r.loop);
	drv_rx_fill(&v.d);
	assert_true(vrig_up(&v));
	real = v.r.ns->link->drv;
	assert_non_null(real->room);
	spy = *real;
	spy.room = spy_room;
	spy.commit = spy_commit;
	spy.write = spy_write;
	v.r.ns->link->drv = &spy;
	v.r.on_new = attach;
	segment(0x02);
	seq++;
	do
		assert_true(drv_rx(&v.d, &f));
	while (get_be16(f.b + VNET + 12) != 0x0800);
	ack = get_be32(f.b + L2 + 24) + 1;
	segment(0x10);
	assert_true(far >= 0);
}

static void end(void)
{
	close(far);
	far = -1;
	vrig_stop(&v);
}

/* total bytes, of which the ones at `urgent` (0: none) are sent as that. */
static void transfer(size_t total, size_t urgent)
{
	static uint8_t b[65536];
	size_t sent = 0;
	uint64_t sum = 0, until = time_mono_ns() + 60 * NS_PER_S;

	while (at < total) {
		size_t n = MIN(sizeof(b), total - sent);
		ssize_t w;

		if (urgent > sent)
			n = MIN(n, urgent - sent);
		for (size_t i = 0; i < n; i++)
			b[i] = byte_at(sent + i);
		w = n ? send(far, b, n, urgent && sent == urgent - n ? MSG_OOB : 0) : 0;
		for (ssize_t i = 0; i < w; i++)
			sum += b[i];
		sent += w > 0 ? (size_t)w : 0;
		assert_int_equal(loop_step(v.r.loop, w > 0 ? 0 : 5), 0);
		rig_run(&v.r);
		take();
		assert_true(time_mono_ns() < until);
	}
	assert_int_equal(at, total);
	assert_int_equal(rig_stats(&v.r).retransmits, 0);
	assert_int_equal(captured, sum);
	assert_int_equal(rig_stats(&v.r).link_faults, 0);
}

/* p9.4-23: no copy of ours, and captures see every byte; buffers run out again and again, nothing is lost. */
static void test_straight(void **state)
{
	static const uint32_t sizes[] = { 1526, 2048, 4096, 16384 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		begin(false, sizes[i], i ? 64 : 100);
		transfer(3 << 20, 0);
		assert_int_equal(cancelled, 0);
		if (peeks) {
			assert_true(in_place > 20);
			/* The first look does not know yet that much will come. */
			assert_true(copied < in_place);
		}
		end();
	}
}

/* More pieces than one system call takes: by copies, all the same. */
static void test_crumbs(void **state)
{
	(void)state;
	begin(false, 256, 256);
	transfer(1 << 20, 0);
	if (peeks)
		assert_true(copied > 0);
	end();
}

/* A read that ends early, at an urgent mark: that segment goes the other way. */
static void test_urgent(void **state)
{
	(void)state;
	begin(false, 4096, 64);
	transfer(1 << 20, 300000);
	end();
}

static void rewrite(struct ns_link *l)
{
	(void)l;
	/* Ring, table and index, while they are ours. */
	memset(drv_at(&v.d, v.d.q[VHOST_RX].desc), 0xff, 16 * (size_t)v.d.q[VHOST_RX].num);
	memset(drv_at(&v.d, v.d.q[VHOST_RX].avail + 4), 0xff, 2 * (size_t)v.d.q[VHOST_RX].num);
	between = before = NULL;
}

/* What was checked is what is used: the frame is where it was promised, the next one ends the link. */
static void rewritten(bool late)
{
	static uint8_t b[200000];

	begin(true, 4096, 64);
	transfer(100000, 0);
	*(late ? &before : &between) = rewrite;
	in_place = 0;
	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = byte_at(at + i);
	(void)!write(far, b, sizeof(b));
	for (unsigned i = 0; i < 200 && vrig_up(&v); i++)
		assert_int_equal(loop_step(v.r.loop, 5), 0);
	if (peeks)
		assert_true(in_place >= 1);
	assert_false(vrig_up(&v));
	assert_int_equal(rig_stats(&v.r).link_faults, 1);
	assert_int_equal(v.r.ended, 1);
	new_guest(&v);
	end();
}

static void test_rewritten(void **state)
{
	(void)state;
	rewritten(false);
	rewritten(true);
}

static void cut(struct ns_link *l)
{
	(void)l;
	assert_int_equal(ftruncate(v.d.mem_fd, MEM_LOW), 0);
	between = before = NULL;
}

/* recvmsg() finds no memory (EFAULT), or we find none (SIGBUS): the link's end, not the process's. */
static void taken_away(bool late)
{
	static uint8_t b[100000];

	begin(true, 4096, 64);
	transfer(100000, 0);
	*(late ? &before : &between) = cut;
	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = byte_at(at + i);
	assert_int_equal(write(far, b, sizeof(b)), sizeof(b));
	for (unsigned i = 0; i < 200 && vrig_up(&v); i++)
		assert_int_equal(loop_step(v.r.loop, 5), 0);
	if (!peeks)
		cut(NULL); /* the next copy finds it */
	assert_null(between);
	assert_null(before);
	if (peeks) {
		assert_int_equal(cancelled, late ? 0 : 1);
		assert_false(vrig_up(&v));
		assert_int_equal(rig_stats(&v.r).link_faults, 1);
		assert_int_equal(v.r.ended, 1);
	}
	assert_int_equal(ftruncate(v.d.mem_fd, MEM_SIZE), 0);
	new_guest(&v);
	end();
}

static void test_taken_away(void **state)
{
	(void)state;
	taken_away(false);
	taken_away(true);
}

/* Rooms that cannot be, asked of the driver itself. */
static void test_no_room(void **state)
{
	struct iovec iov[LINK_ROOM_MAX];
	struct ns_link *l;
	unsigned n;

	(void)state;
	begin(false, 256, 200);
	l = v.r.ns->link;
	assert_int_equal(real->room(l, 54, 0, iov, &n), -EINVAL);
	assert_int_equal(real->room(l, 54, 64 * 256, iov, &n), -EMSGSIZE);
	assert_int_equal(real->room(l, 54, 200 * 256, iov, &n), -EAGAIN);
	assert_int_equal(real->commit(l, NULL, 0), -EINVAL);
	assert_int_equal(real->room(l, 54, 62 * 256, iov, &n), 0);
	assert_int_equal(real->commit(l, NULL, 0), 0);
	transfer(50000, 0); /* nothing of it was used up */
	end();
}

/* A driver's buffer of no length, met on this way. */
static void test_no_length(void **state)
{
	struct iovec iov[LINK_ROOM_MAX];
	struct ns_link *l;
	unsigned n;

	(void)state;
	begin(true, 4096, 64);
	l = v.r.ns->link;
	for (unsigned i = 0; i < v.d.q[VHOST_RX].num; i++)
		drv_desc(&v.d, v.d.q[VHOST_RX].desc, i, rx_gpa(&v.d, 0), i % 8 == 7 ? 0 : 4096, 2, 0);
	assert_int_equal(real->room(l, 54, 60000, iov, &n), -EPIPE);
	rig_run(&v.r);
	assert_false(vrig_up(&v));
	assert_int_equal(rig_stats(&v.r).link_faults, 1);
	new_guest(&v);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_straight),   cmocka_unit_test(test_crumbs),
		cmocka_unit_test(test_urgent),	   cmocka_unit_test(test_rewritten),
		cmocka_unit_test(test_taken_away), cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_no_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
