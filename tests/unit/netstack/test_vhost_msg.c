/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-user messages: the orders VMMs send them in, what is refused, pauses, reboots, reconnects. */
#include "vhost_rig.h"

static void with_mac(struct netstack_config *cfg)
{
	memcpy(cfg->guest_mac, mac_guest, 6);
}

/* The guest's MAC, for VMMs that ask; without one the feature is not offered. */
static void test_mac(void **state)
{
	uint8_t config[12 + 60] = { 0 };
	uint32_t size = 60;
	struct vrig v;

	(void)state;
	vrig_open(&v, drv_all, false);
	assert_false(vmm_ask(&v.d, v.r.loop, 1) & VHOST_F(VHOST_F_MAC));
	vrig_stop(&v);
	vrig_adjust = with_mac;
	vrig_open(&v, drv_all | VHOST_F(VHOST_F_MAC), false);
	vrig_adjust = NULL;
	vmm_start(&v.d, v.r.loop); /* it is offered, and may be accepted */
	memcpy(config + 4, &size, 4);
	vmm_send(&v.d, 24, 1, config, sizeof(config), NULL, 0);
	assert_int_equal(vmm_reply(&v.d, v.r.loop, 24, config, sizeof(config)), sizeof(config));
	assert_memory_equal(config + 12, mac_guest, 6);
	drv_rx_fill(&v.d);
	assert_true(vrig_alive(&v));
	vrig_stop(&v);
}

/* Cloud Hypervisor's order: all sizes first, addresses before bases, enabled last. */
static void test_order_of_cloud_hypervisor(void **state)
{
	struct vrig v;
	uint8_t config[12 + 60] = { 0 };
	uint32_t size = 60;

	(void)state;
	vrig_open(&v, drv_all, false);
	(void)vmm_ask(&v.d, v.r.loop, 1);
	(void)vmm_ask(&v.d, v.r.loop, 15);
	vmm_u64(&v.d, 16, VHOST_F(VHOST_PROTO_REPLY_ACK) | VHOST_F(VHOST_PROTO_CONFIG), -1);
	vmm_send(&v.d, 3, 1, NULL, 0, NULL, 0);
	memcpy(config + 4, &size, 4);
	vmm_send(&v.d, 24, 1, config, sizeof(config), NULL, 0);
	assert_int_equal(vmm_reply(&v.d, v.r.loop, 24, config, sizeof(config)), sizeof(config));
	assert_int_equal(config[12 + 6], 1); /* link up */
	assert_int_equal(config[12 + 10] | config[12 + 11] << 8, 1500);
	vmm_u64(&v.d, 2, v.d.features, -1);
	vmm_memory(&v.d, 0);
	vmm_state(&v.d, 8, 0, v.d.q[0].num);
	vmm_state(&v.d, 8, 1, v.d.q[1].num);
	for (uint32_t i = 0; i < 2; i++) {
		vmm_addr(&v.d, i, 0);
		vmm_state(&v.d, 10, i, 0);
		vmm_u64(&v.d, 13, i, v.d.q[i].call);
		vmm_u64(&v.d, 12, i, v.d.q[i].kick);
	}
	drv_rx_fill(&v.d);
	rig_run(&v.r);
	/* Disabled: what is sent is taken and forgotten. */
	assert_false(vrig_alive(&v));
	assert_int_equal(rig_stats(&v.r).frames_in, 0);
	drv_tx_reclaim(&v.d);
	assert_int_equal(v.d.tx_n_free, TX_SLOTS);
	for (uint32_t i = 0; i < 2; i++)
		vmm_state(&v.d, 18, i, 1);
	rig_run(&v.r);
	assert_true(vrig_alive(&v));
	/* Reset: disabled, then stopped. */
	for (uint32_t i = 0; i < 2; i++)
		vmm_state(&v.d, 18, i, 0);
	assert_int_equal(vmm_stop_ring(&v.d, v.r.loop, 0), 1);
	assert_int_equal(vmm_stop_ring(&v.d, v.r.loop, 1), 2);
	assert_int_equal(v.downs, 0);
	vrig_stop(&v);
}

/* The kick may come before everything else. */
static void test_order_kick_first(void **state)
{
	struct vrig v;

	(void)state;
	vrig_open(&v, drv_all & ~VHOST_F(VHOST_F_PROTOCOL_FEATURES), false);
	for (uint32_t i = 0; i < 2; i++)
		vmm_u64(&v.d, 12, i, v.d.q[i].kick);
	vmm_u64(&v.d, 2, v.d.features, -1);
	for (uint32_t i = 0; i < 2; i++) {
		vmm_addr(&v.d, i, 0);
		vmm_state(&v.d, 8, i, v.d.q[i].num);
		vmm_u64(&v.d, 13, i, v.d.q[i].call);
	}
	drv_rx_fill(&v.d);
	rig_run(&v.r);
	assert_false(vrig_up(&v));
	vmm_memory(&v.d, 0);
	rig_run(&v.r);
	assert_true(vrig_up(&v));
	assert_true(vrig_alive(&v));
	vrig_stop(&v);
}

static void test_reply_ack(void **state)
{
	struct vrig v;
	struct mem_table t = drv_table(0);
	uint64_t ack = 7, mtu = 1500;
	int fds[3];

	(void)state;
	vrig_open(&v, drv_all, false);
	vmm_u64(&v.d, 16, VHOST_F(VHOST_PROTO_REPLY_ACK) | VHOST_F(VHOST_PROTO_MTU), -1);
	vmm_send(&v.d, 20, 9, &mtu, 8, NULL, 0);
	assert_int_equal(vmm_reply(&v.d, v.r.loop, 20, &ack, 8), 8);
	assert_int_equal(ack, 0);
	mtu = 9000;
	vmm_send(&v.d, 20, 9, &mtu, 8, NULL, 0);
	assert_int_equal(vmm_reply(&v.d, v.r.loop, 20, &ack, 8), 8);
	assert_int_equal(ack, 1);
	fds[0] = fds[1] = fds[2] = v.d.mem_fd;
	vmm_send(&v.d, 5, 9, &t, 8 + 96, fds, 3);
	assert_int_equal(vmm_reply(&v.d, v.r.loop, 5, &ack, 8), 8);
	assert_int_equal(ack, 0);
	t.r[1].size *= 2;
	vmm_send(&v.d, 5, 9, &t, 8 + 96, fds, 3);
	assert_int_equal(vmm_reply(&v.d, v.r.loop, 5, &ack, 8), 8);
	assert_int_equal(ack, 1);
	rig_run(&v.r);
	assert_int_equal(v.lasts, 1);
	assert_int_equal(rig_stats(&v.r).link_faults, 1);
	vrig_stop(&v);
}

/* ---- what is refused ---------------------------------------------------- */

static void refused(struct vrig *v, bool running, uint32_t request, uint32_t flags, const void *p,
		    uint32_t n, int fd, size_t n_fds)
{
	uint64_t before;
	int fds[16];

	drv_reset(&v->d);
	vrig_connect(v);
	if (running)
		vmm_start(&v->d, v->r.loop);
	before = rig_stats(&v->r).link_faults;
	for (size_t i = 0; i < n_fds; i++)
		fds[i] = fd;
	vmm_send(&v->d, request, flags, p, n, fds, n_fds);
	rig_run(&v->r);
	if (rig_stats(&v->r).link_faults != before + 1)
		fprintf(stderr, "request %u of %u bytes with %zu descriptors\n", request, n, n_fds);
	assert_int_equal(rig_stats(&v->r).link_faults, before + 1);
	assert_false(vrig_up(v));
}

static void refused_table(struct vrig *v, struct mem_table t, unsigned n_fds, int fd)
{
	refused(v, false, 5, 1, &t, 8 + 32 * t.n, fd, n_fds);
}

static void refused_u64(struct vrig *v, bool running, uint32_t request, uint64_t value, int fd)
{
	refused(v, running, request, 1, &value, 8, fd, fd >= 0);
}

static void refused_state(struct vrig *v, bool running, uint32_t request, uint32_t i, uint32_t n)
{
	refused_u64(v, running, request, i | (uint64_t)n << 32, -1);
}

static void memory_tables(struct vrig *v)
{
	struct mem_table t = drv_table(0);
	int mem = v->d.mem_fd, null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	refused_table(v, t, 2, mem);
	refused_table(v, t, 4, mem);
	refused_table(v, t, 0, -1);
	refused_table(v, t, 3, null);
	refused_table(v, t, 3, file);
	refused_table(v, t, 3, v->d.vmm);
	t.n = 0;
	refused_table(v, t, 0, -1);
	t.n = 9;
	refused(v, false, 5, 1, &t, 8 + 32 * 8, mem, 8);
	t = drv_table(0);
	refused(v, false, 5, 1, &t, 8 + 32 * 3 - 1, mem, 3);
	t.r[2].gpa--; /* over the one before */
	refused_table(v, t, 3, mem);
	t = drv_table(0);
	t.r[2].uva = t.r[1].uva + 4096;
	refused_table(v, t, 3, mem);
	t = drv_table(0);
	t.r[1].offset += 1;
	refused_table(v, t, 3, mem);
	t = drv_table(0);
	t.r[1].size = 0;
	refused_table(v, t, 3, mem);
	t = drv_table(0);
	t.r[1].size = UINT64_MAX;
	refused_table(v, t, 3, mem);
	t = drv_table(0);
	t.r[1].offset = UINT64_MAX - 4096;
	refused_table(v, t, 3, mem);
	t = drv_table(0);
	t.r[1].offset = INT64_MAX - 4096;
	refused_table(v, t, 3, mem);
	t = drv_table(0);
	t.r[0].gpa = UINT64_MAX - 4096;
	refused_table(v, t, 3, mem);
	/* The rings run elsewhere. */
	t = drv_table(1 << 20);
	refused(v, true, 5, 1, &t, 8 + 96, mem, 3);
	close(null);
	close(file);
}

static void test_refused(void **state)
{
	static const uint32_t unknown[] = { 0, 6, 7, 19, 21, 22, 23, 26, 31, 34, 37, 40, 4000, ~0U };
	uint8_t b[512] = { 0 };
	uint64_t addr[5] = { 0 };
	struct vrig v;
	unsigned fds;

	(void)state;
	vrig_open(&v, drv_all, true);
	new_guest(&v);
	fds = open_fds();
	memory_tables(&v);
	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++)
		refused(&v, false, unknown[i], 1, b, 8, -1, 0);
	for (uint32_t i = 1; i < 19; i++) {
		refused(&v, false, i, 1, b, 3, -1, 0);	       /* of a length it has not */
		refused(&v, false, i, 0, NULL, 0, -1, 0);      /* another version */
		refused(&v, false, i, 5, NULL, 0, -1, 0);      /* a reply */
		refused(&v, false, i, 0x11, NULL, 0, -1, 0);   /* flags that are none */
		refused(&v, false, i, 1, b, 8, v.d.mem_fd, 9); /* too many descriptors */
	}
	refused(&v, false, 1, 1, NULL, 0, v.d.mem_fd, 1);
	refused(&v, false, 2, 1, b, 8, v.d.mem_fd, 1);
	refused_u64(&v, false, 2, VHOST_F(33), -1); /* an IOMMU's */
	refused_u64(&v, true, 2, 0, -1);
	refused_u64(&v, false, 16, 1, -1);
	refused_state(&v, false, 8, 2, 256);
	refused_state(&v, false, 8, 0, 0);
	refused_state(&v, false, 8, 0, 255);
	refused_state(&v, false, 8, 0, 65536);
	refused_state(&v, true, 8, 0, 512);
	refused_state(&v, false, 10, 0, 65536);
	refused_state(&v, true, 10, 0, 0);
	refused_state(&v, false, 10, 2, 0);
	refused_state(&v, false, 11, 2, 0);
	refused_state(&v, false, 18, 0, 2);
	refused_state(&v, false, 18, 2, 1);
	refused(&v, true, 9, 1, addr, 40, -1, 0);
	addr[0] = 2;
	refused(&v, false, 9, 1, addr, 40, -1, 0);
	addr[0] = UINT64_C(1) << 32;
	refused(&v, false, 9, 1, addr, 40, -1, 0); /* logging */
	for (uint32_t r = 12; r < 15; r++) {
		refused_u64(&v, false, r, 0, -1);
		refused_u64(&v, false, r, 2, v.d.q[0].kick);
		refused_u64(&v, false, r, 0x200, v.d.q[0].kick);
		refused_u64(&v, false, r, 0x100, v.d.q[0].kick);
	}
	refused_u64(&v, false, 12, 0x100, -1); /* polling */
	refused_u64(&v, true, 12, 0, v.d.mem_fd);
	memset(b, 0, 12);
	b[4] = 61;
	refused(&v, false, 24, 1, b, 12 + 60, -1, 0);
	b[4] = 60;
	b[0] = 200;
	refused(&v, false, 24, 1, b, 12 + 60, -1, 0);
	refused(&v, false, 24, 1, b, 11, -1, 0);
	new_guest(&v);
	assert_int_equal(open_fds(), fds);
	assert_int_equal(v.lasts, 0);
	vrig_stop(&v);
}

static void refused_rings(struct vrig *v, unsigned i, uint64_t desc, uint64_t avail, uint64_t used)
{
	uint64_t before = rig_stats(&v->r).link_faults;

	drv_reset(&v->d);
	v->d.q[i].desc += desc;
	v->d.q[i].avail += avail;
	v->d.q[i].used += used;
	vrig_connect(v);
	vmm_start(&v->d, v->r.loop);
	assert_int_equal(rig_stats(&v->r).link_faults, before + 1);
	assert_false(vrig_up(v));
}

static void test_ring_places(void **state)
{
	struct vrig v;

	(void)state;
	vrig_open(&v, drv_all, true);
	refused_rings(&v, 0, 8, 0, 0);
	refused_rings(&v, 0, 0, 1, 0);
	refused_rings(&v, 0, 0, 0, 2);
	refused_rings(&v, 1, MEM_LOW, 0, 0);
	refused_rings(&v, 1, 0, MEM_LOW - 0x44000 - 64, 0);
	refused_rings(&v, 1, 0, 0, UINT64_MAX - (UINT64_C(1) << 46));
	refused_rings(&v, 0, 0x4000, 0, 0);  /* descriptors over avail */
	refused_rings(&v, 1, 0, 0x4000, 0);  /* avail over used */
	refused_rings(&v, 0, 0, 0, 0x2C000); /* used of the one over the other's avail */
	new_guest(&v);
	vrig_stop(&v);
}

/* A message in single bytes, and one whose end never comes. */
static void test_pieces(void **state)
{
	uint32_t h[3] = { 1, 1, 0 }, big[3] = { 2, 1, 8 };
	uint64_t v64;
	struct vrig v;

	(void)state;
	vrig_open(&v, drv_all, true);
	new_guest(&v);
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(send(v.d.vmm, (uint8_t *)h + i, 1, 0), 1);
		rig_run(&v.r);
	}
	assert_int_equal(vmm_reply(&v.d, v.r.loop, 1, &v64, 8), 8);
	assert_true(vrig_alive(&v));
	assert_int_equal(send(v.d.vmm, big, 12, 0), 12);
	rig_run(&v.r);
	assert_true(vrig_alive(&v));
	close(v.d.vmm);
	v.d.vmm = -1;
	rig_run(&v.r);
	assert_false(vrig_up(&v));
	assert_int_equal(rig_stats(&v.r).link_faults, 1);
	new_guest(&v);
	vrig_stop(&v);
}

/* ---- one guest after the other ------------------------------------------ */

static void test_second_refused(void **state)
{
	struct vrig v;
	int fd;
	char c;

	(void)state;
	vrig_open(&v, drv_all, true);
	new_guest(&v);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&vrig_addr, sizeof(vrig_addr)), 0);
	rig_run(&v.r);
	assert_int_equal(read(fd, &c, 1), 0);
	close(fd);
	assert_true(vrig_alive(&v));
	for (unsigned i = 0; i < 5; i++) {
		new_guest(&v);
		assert_int_equal(v.downs, i + 1);
	}
	assert_int_equal(v.lasts, 0);
	assert_int_equal(rig_stats(&v.r).link_faults, 0);
	vrig_stop(&v);
}

/* Who says nothing, or half of a message, is waited for so long; who has said enough, for ever. */
static void test_patience(void **state)
{
	uint32_t h[3] = { 1, 1, 0 };
	struct link_vhost *l;
	unsigned fds;
	struct vrig v;

	(void)state;
	vrig_open(&v, drv_all, true);
	l = link_vhost(v.r.ns->link);
	fds = open_fds();
	for (unsigned half = 0; half < 2; half++) {
		vrig_connect(&v);
		assert_int_equal(send(v.d.vmm, h, half * 7, 0), half * 7);
		rig_run(&v.r);
		assert_true(loop_timer_armed(&l->patience));
		l->patience.cb(&l->patience);
		assert_int_equal(rig_stats(&v.r).link_faults, half + 1);
		assert_false(loop_timer_armed(&l->patience));
	}
	close(v.d.vmm);
	v.d.vmm = -1;
	assert_int_equal(open_fds(), fds);
	/* None of them was a machine. */
	assert_int_equal(v.downs, 0);
	vrig_connect(&v);
	assert_int_equal(send(v.d.vmm, h, 12, 0), 12);
	rig_run(&v.r);
	assert_false(loop_timer_armed(&l->patience));
	new_guest(&v);
	vmm_u64(&v.d, 99, 0, -1);
	rig_run(&v.r);
	assert_int_equal(v.downs, 1);
	assert_string_equal(v.why, "unknown request (request 99): not known here");
	vrig_stop(&v);
}

static void test_pause(void **state)
{
	struct vrig v;
	uint16_t base[2];
	static struct frame f;

	(void)state;
	vrig_open(&v, drv_all, true);
	new_guest(&v);
	assert_true(vrig_alive(&v));
	for (unsigned i = 0; i < 2; i++)
		base[i] = (uint16_t)vmm_stop_ring(&v.d, v.r.loop, i);
	assert_int_equal(base[0], v.d.q[0].used_seen);
	assert_int_equal(base[1], 2);
	/* Sent while nobody looks; goes on where it stood, on other memory addresses too. */
	vrig_arp(&f);
	assert_true(drv_tx(&v.d, f.b, f.len));
	rig_run(&v.r);
	assert_false(drv_rx(&v.d, &f));
	vmm_u64(&v.d, 2, v.d.features, -1);
	vmm_memory(&v.d, 0);
	for (unsigned i = 0; i < 2; i++)
		vmm_start_ring(&v.d, i, base[i]);
	rig_run(&v.r);
	assert_int_equal(v.downs, 0);
	assert_true(drv_rx(&v.d, &f));
	assert_true(vrig_alive(&v));
	/* A table that is sent again while the rings run. */
	vmm_memory(&v.d, 0);
	rig_run(&v.r);
	assert_true(vrig_alive(&v));
	vrig_stop(&v);
}

static void test_reboot(void **state)
{
	struct vrig v;

	(void)state;
	vrig_open(&v, drv_all, true);
	new_guest(&v);
	for (uint64_t i = 0; i < 3; i++) {
		(void)vmm_stop_ring(&v.d, v.r.loop, 0);
		(void)vmm_stop_ring(&v.d, v.r.loop, 1);
		assert_int_equal(v.downs, i);
		drv_reset(&v.d);
		/* Firmware with fewer features, then a kernel. */
		v.d.features =
			i == 0 ? VHOST_F(VHOST_F_VERSION_1) | VHOST_F(VHOST_F_PROTOCOL_FEATURES)
			       : drv_all;
		vmm_u64(&v.d, 2, v.d.features, -1);
		vmm_memory(&v.d, 0);
		vmm_start_ring(&v.d, 0, 0);
		vmm_start_ring(&v.d, 1, 0);
		rig_run(&v.r);
		assert_int_equal(v.downs, i + 1);
		assert_true(vrig_up(&v));
		assert_int_equal(v.r.ns->link->caps.csum, i != 0);
		assert_int_equal(v.r.ns->link->drv->room != NULL, i != 0);
		drv_rx_fill(&v.d);
		assert_true(vrig_alive(&v));
	}
	assert_int_equal(rig_stats(&v.r).link_faults, 0);
	vrig_stop(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mac),
		cmocka_unit_test(test_order_of_cloud_hypervisor),
		cmocka_unit_test(test_order_kick_first),
		cmocka_unit_test(test_reply_ack),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_ring_places),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_second_refused),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_reboot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
