/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instructions of the stack per byte of TCP payload over a vhost-user link and over a
 * tap (a socket pair), for vhost.sh, which counts what happens inside of loop_step():
 *
 *   vhost vhost|tap up|down MIB      prints bytes and the nanoseconds of CPU time in loop_step()
 *
 * The guest is a few lines of TCP with segmentation offload at the other end of
 * either link; the host's side of the flow is a TCP connection over loopback, as of
 * a dialled server. Everything runs in turns in one thread, so the count is nearly
 * the same on every run.
 */
#include "tests/unit/netstack/vhost_rig.h"

#include <fcntl.h>
#include <netinet/in.h>

#define SEGMENT 60000u
#define HEADS (L2 + 20 + 20)

static struct vrig rig;
static bool over_tap;
static int far = -1;
static uint32_t seq = 1000, ack, edge; /* ours, theirs, right edge of the window they offer */
static uint64_t got;

static void attach(struct rig *r, struct netstack_flow *f)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0), fd;

	(void)r;
	assert_int_equal(bind(l, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&a, &n), 0);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	far = accept4(l, NULL, NULL, SOCK_NONBLOCK);
	assert_true(far >= 0);
	assert_int_equal(fd_set_nonblock(fd, true), 0);
	close(l);
	netstack_flow_attach(f, fd, false);
}

static bool put(const struct frame *f)
{
	if (over_tap)
		return write(rig.r.fd, f->b, f->len) == (ssize_t)f->len;
	return drv_tx(&rig.d, f->b, f->len);
}

static bool take(struct frame *f)
{
	ssize_t n;

	if (!over_tap)
		return drv_rx(&rig.d, f);
	n = read(rig.r.fd, f->b, sizeof(f->b));
	f->len = n > 0 ? (size_t)n : 0;
	return n > 0;
}

static bool segment(uint8_t flags, size_t n)
{
	static struct frame f;
	static uint8_t payload[SEGMENT];
	struct ip_addr guest = ip4(10, 9, 0, 2), remote = ip4(192, 0, 2, 1);
	static const uint8_t options[8] = { 2, 4, 5, 0xb4, 3, 3, 10, 0 };
	bool syn = flags & 2;

	frame_tcp(&f, &guest, 4000, &remote, 443, flags, seq, ack, syn ? options : payload,
		  syn ? 8 : n);
	if (syn)
		f.b[L2 + 32] = 0x70;
	put_be16(f.b + L2 + 34, syn ? 65535 : 4096); /* 4 MiB */
	f.b[0] = 1;
	if (n > 1460) {
		f.b[1] = 1;
		f.b[4] = 1460 & 0xff;
		f.b[5] = 1460 >> 8;
	}
	return put(&f);
}

/* Whatever has come: acknowledgements are noted, payload is acknowledged, once. */
static void listen_to_it(void)
{
	static struct frame f;
	static bool owed;

	while (take(&f)) {
		const uint8_t *p = f.b + L2 + 20;
		size_t n;

		if (get_be16(f.b + VNET + 12) != 0x0800 || f.len < HEADS)
			continue;
		n = f.len - (L2 + 20) - (p[12] >> 4) * 4u;
		if (p[13] & 2) {
			unsigned scale = 0;

			for (unsigned i = 20; i + 2 < (p[12] >> 4) * 4u;
			     i += p[i] == 1 ? 1 : p[i + 1])
				if (p[i] == 3)
					scale = p[i + 2];
			ack = get_be32(p + 4) + 1;
			seq++;
			got = scale; /* kept until the handshake is over */
			assert_true(segment(0x10, 0));
			continue;
		}
		edge = get_be32(p + 8) + ((uint32_t)get_be16(p + 14) << got);
		if (!n)
			continue;
		assert_int_equal(get_be32(p + 4), ack);
		ack += (uint32_t)n;
		owed = true;
	}
	if (owed)
		owed = !segment(0x10, 0);
}

static uint64_t spent; /* in the loop, kernel included */

static void turn(void)
{
	uint64_t from = time_thread_ns();

	assert_int_equal(loop_step(rig.r.loop, 0), 0);
	spent += time_thread_ns() - from;
}

static void run_up(uint64_t total)
{
	static uint8_t b[1 << 20];
	uint64_t sent = 0, arrived = 0;

	while (arrived < total) {
		ssize_t n;

		while (sent < total && (int32_t)(edge - (seq + SEGMENT)) >= 0 &&
		       segment(0x18, SEGMENT)) {
			seq += SEGMENT;
			sent += SEGMENT;
		}
		turn();
		while ((n = read(far, b, sizeof(b))) > 0)
			arrived += (uint64_t)n;
		listen_to_it();
	}
	printf("%llu %llu\n", (unsigned long long)arrived, (unsigned long long)spent);
}

static void run_down(uint64_t total)
{
	static uint8_t b[1 << 20];
	uint32_t first = ack;
	uint64_t sent = 0, arrived = 0;

	while (arrived < total) {
		ssize_t n;

		while (sent < total && (n = write(far, b, MIN(sizeof(b), total - sent))) > 0)
			sent += (uint64_t)n;
		turn();
		listen_to_it();
		arrived += ack - first;
		first = ack;
	}
	printf("%llu %llu\n", (unsigned long long)arrived, (unsigned long long)spent);
}

int main(int argc, char **argv)
{
	uint64_t total;

	if (argc != 4)
		return 2;
	total = strtoull(argv[3], NULL, 10) << 20;
	over_tap = strcmp(argv[1], "tap") == 0;
	if (over_tap) {
		rig_start(&rig.r);
	} else {
		vrig_start(&rig, drv_all);
		rig.d.rx_size = 4096;
		rig.d.rx_bufs = 256;
		drv_rx_fill(&rig.d);
	}
	if (over_tap)
		fcntl(rig.r.fd, F_SETFL, O_NONBLOCK);
	/* No capture: it copies. */
	vrig_ops = rig_ops;
	vrig_ops.frame = NULL;
	rig.r.ns->ops = &vrig_ops;
	rig.r.on_new = attach;
	assert_true(segment(0x02, 0));
	for (unsigned i = 0; i < 20; i++) {
		turn();
		listen_to_it();
	}
	assert_true(far >= 0);
	edge = seq + 60000;
	if (strcmp(argv[2], "up") == 0)
		run_up(total);
	else
		run_down(total);
	return 0;
}
