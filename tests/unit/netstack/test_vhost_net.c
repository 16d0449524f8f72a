/* SPDX-License-Identifier: Apache-2.0 */
/* The vhost-user link with a driver that behaves: frames both ways, every set of features. */
#include "vhost_rig.h"

#include "netstack/netstack_internal.h"

static const uint64_t f_event = VHOST_F(VHOST_F_EVENT_IDX);
static const uint64_t f_indirect = VHOST_F(VHOST_F_INDIRECT_DESC);
static const uint64_t f_mrg = VHOST_F(VHOST_F_MRG_RXBUF);
static const uint64_t f_v1 = VHOST_F(VHOST_F_VERSION_1);
static const uint64_t f_proto = VHOST_F(VHOST_F_PROTOCOL_FEATURES);
static const uint64_t f_guest =
	VHOST_F(VHOST_F_GUEST_CSUM) | VHOST_F(VHOST_F_GUEST_TSO4) | VHOST_F(VHOST_F_GUEST_TSO6);

static void test_first_frame(void **state)
{
	struct vrig v;

	(void)state;
	vrig_start(&v, drv_all);
	assert_true(vrig_up(&v));
	drv_rx_fill(&v.d);
	assert_true(vrig_alive(&v));
	assert_true(drv_calls(&v.d.q[0]) > 0);
	close(v.d.vmm);
	v.d.vmm = -1;
	rig_run(&v.r);
	assert_int_equal(v.downs, 1);
	assert_int_equal(v.lasts, 1);
	assert_int_equal(rig_stats(&v.r).link_faults, 0);
	vrig_stop(&v);
}

/* ---- a TCP flow both ways ----------------------------------------------- */

static int far; /* the other end of the attached flow */

static void attach(struct rig *r, struct netstack_flow *f)
{
	int sv[2];

	(void)r;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	far = sv[1];
	netstack_flow_attach(f, sv[0], false);
}

static void segment(struct vrig *v, uint8_t flags, uint32_t seq, uint32_t ack, const uint8_t *p,
		    size_t n, bool vouched)
{
	static struct frame f;
	struct ip_addr guest = ip4(10, 9, 0, 2), remote = ip4(192, 0, 2, 1);

	frame_tcp(&f, &guest, 4000, &remote, 443, flags, seq, ack, p, n);
	if (vouched) {
		f.b[0] = 1;
		f.b[6] = 34;
		f.b[8] = 16;
		/* What is there is never looked at. */
		put_be16(f.b + L2 + 20 + 16, 0x1234);
		if (n > 1460) {
			f.b[1] = 1;
			f.b[4] = 1460 & 0xff;
			f.b[5] = 1460 >> 8;
		}
	}
	vrig_send(v, &f);
}

static void pattern(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((i + seed) * 2654435761u >> 13);
}

/* Up: one big segment; its bytes at the far end. */
static void flow_up(struct vrig *v, uint32_t *seq, uint32_t ack, size_t n, bool vouched)
{
	static uint8_t sent[65536], got[65536];
	size_t at = 0;
	ssize_t r;

	pattern(sent, n, *seq);
	segment(v, 0x18, *seq, ack, sent, n, vouched);
	while ((r = read(far, got + at, sizeof(got) - at)) > 0)
		at += (size_t)r;
	assert_int_equal(at, n);
	assert_memory_equal(sent, got, n);
	*seq += (uint32_t)n;
}

/* Down: what is written at the far end arrives in segments the driver can take. */
static void flow_down(struct vrig *v, uint32_t seq, uint32_t *ack, size_t n)
{
	static uint8_t sent[65536], got[65536];
	static struct frame f;
	size_t at = 0;
	bool tso = drv_has(&v->d, VHOST_F_GUEST_TSO4);

	pattern(sent, n, *ack);
	assert_int_equal(write(far, sent, n), n);
	for (unsigned tries = 0; at < n && tries < 200; tries++) {
		rig_run(&v->r);
		while (drv_rx(&v->d, &f)) {
			size_t off = L2 + 40, here;

			if (get_be16(f.b + VNET + 12) != 0x0800 || f.len <= off)
				continue;
			here = f.len - off;
			assert_int_equal(get_be16(f.b + L2 + 2), 40 + here);
			assert_int_equal(get_be32(f.b + L2 + 24), *ack);
			assert_true(at + here <= n);
			if (!tso)
				assert_true(here <= 1460 && f.b[1] == 0);
			if (!drv_has(&v->d, VHOST_F_GUEST_CSUM)) {
				struct ip_addr a = ip4(192, 0, 2, 1), b = ip4(10, 9, 0, 2);
				uint32_t s = sum_pseudo(&a, &b, 6, 20 + here);

				assert_int_equal(f.b[0], 0);
				assert_int_equal(sum_add(s, f.b + L2 + 20, 20 + here), 0xffff);
			}
			memcpy(got + at, f.b + off, here);
			at += here;
			*ack += (uint32_t)here;
		}
		segment(v, 0x10, seq, *ack, NULL, 0, true);
	}
	assert_int_equal(at, n);
	assert_memory_equal(sent, got, n);
}

static void one_flow(struct vrig *v)
{
	static struct frame f;
	uint32_t seq = 1000, ack;

	v->r.on_new = attach;
	segment(v, 0x02, seq++, 0, NULL, 0, false);
	assert_int_equal(v->r.begun, 1);
	do
		assert_true(drv_rx(&v->d, &f));
	while (get_be16(f.b + VNET + 12) != 0x0800);
	assert_int_equal(f.b[L2 + 33], 0x12);
	ack = get_be32(f.b + L2 + 24) + 1;
	segment(v, 0x10, seq, ack, NULL, 0, false);
	flow_up(v, &seq, ack, 100, false);
	flow_up(v, &seq, ack, 1460, true);
	flow_up(v, &seq, ack, 1460, false);
	flow_up(v, &seq, ack, 40000, true);
	flow_down(v, seq, &ack, 10);
	flow_down(v, seq, &ack, 30000);
	flow_up(v, &seq, ack, 2000, true);
	flow_down(v, seq, &ack, 60000);
	close(far);
	rig_run(&v->r);
}

static void with_features(uint64_t features, unsigned pieces)
{
	struct vrig v;

	vrig_open(&v, features, false);
	v.d.pieces = pieces;
	v.d.indirect = features & f_indirect;
	if (!(features & f_mrg) && features & f_guest) {
		v.d.rx_size = 65568; /* what virtio asks of such a driver */
		v.d.rx_bufs = 16;
	}
	if (!v.d.indirect)
		v.d.rx_bufs = MIN(v.d.rx_bufs, 256 / pieces);
	vmm_start(&v.d, v.r.loop);
	assert_true(vrig_up(&v));
	drv_rx_fill(&v.d);
	assert_true(vrig_alive(&v));
	one_flow(&v);
	assert_true(vrig_up(&v));
	assert_int_equal(rig_stats(&v.r).link_faults, 0);
	assert_int_equal(rig_stats(&v.r).dropped_malformed, 0);
	assert_int_equal(rig_stats(&v.r).retransmits, 0);
	vrig_stop(&v);
}

static void test_feature_sets(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 32; i++) {
		uint64_t f = f_proto | (i & 1 ? f_event : 0) | (i & 2 ? f_indirect : 0) |
			     (i & 4 ? f_mrg : 0) | (i & 8 ? f_v1 : 0) | (i & 16 ? f_guest : 0);

		with_features(f, 1);
		with_features(f, 3);
		with_features(f, 8);
	}
	with_features(0, 2); /* a VMM and a driver of long ago */
	with_features(drv_all, 8);
}

/* ---- room and commit ---------------------------------------------------- */

static void test_room(void **state)
{
	static const size_t wants[] = { 1, 1000, 5000, 60000 };
	static struct frame f;
	struct iovec iov[LINK_ROOM_MAX];
	struct vrig v;
	struct ns_link *l;
	uint8_t head[54];
	unsigned n;

	(void)state;
	memset(head, 'h', sizeof(head));
	memcpy(head + 6, mac_gw, 6);
	vrig_start(&v, drv_all);
	drv_rx_fill(&v.d);
	rig_run(&v.r);
	l = v.r.ns->link;
	for (unsigned i = 0; i < ARRAY_SIZE(wants); i++)
		for (unsigned used = 0; used < 4; used++) {
			size_t len = wants[i] * used / 3, total = 0;
			struct link_tx tx = { .head = head, .head_len = sizeof(head) };

			assert_int_equal(l->drv->room(l, sizeof(head), wants[i], iov, &n), 0);
			for (unsigned k = 0; k < n; k++) {
				memset(iov[k].iov_base, 'p', iov[k].iov_len);
				total += iov[k].iov_len;
			}
			assert_int_equal(total, wants[i]);
			assert_int_equal(l->drv->commit(l, len ? &tx : NULL, len), 0);
			l->drv->flush(l);
			assert_int_equal(drv_rx(&v.d, &f), len != 0);
			if (!len)
				continue;
			assert_int_equal(f.len, VNET + sizeof(head) + len);
			assert_memory_equal(f.b + VNET, head, sizeof(head));
			assert_int_equal(f.b[VNET + sizeof(head)], 'p');
			assert_int_equal(f.b[f.len - 1], 'p');
			assert_false(drv_rx(&v.d, &f));
		}
	assert_true(vrig_alive(&v));
	vrig_stop(&v);
}

/* p9.4-23: full: nothing is lost, and writing goes on when the driver has room again. */
static void test_full(void **state)
{
	static struct frame f;
	struct vrig v;
	struct iovec iov[LINK_ROOM_MAX];
	uint8_t head[60] = { 0 };
	struct link_tx tx = { .head = head, .head_len = sizeof(head) };
	struct ns_link *l;
	unsigned n, frames = 0;
	int r;

	(void)state;
	memcpy(head + 6, mac_gw, 6);
	vrig_start(&v, drv_all);
	l = v.r.ns->link;
	assert_int_equal(l->drv->write(l, &tx), -EAGAIN);
	assert_int_equal(l->drv->room(l, 60, 100, iov, &n), -EAGAIN);
	v.r.ns->link_full = true;
	drv_rx_fill(&v.d);
	assert_int_equal(v.d.q[0].kicks, 1);
	rig_run(&v.r);
	assert_false(v.r.ns->link_full);
	while ((r = l->drv->write(l, &tx)) == 0)
		frames++;
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(frames, v.d.rx_bufs);
	l->drv->flush(l);
	v.r.ns->link_full = true;
	for (unsigned i = 0; i < frames; i++)
		assert_true(drv_rx(&v.d, &f));
	assert_false(drv_rx(&v.d, &f));
	rig_run(&v.r);
	assert_false(v.r.ns->link_full);
	assert_true(vrig_alive(&v));
	vrig_stop(&v);
}

/* One kick for a burst of the driver's, one call for a burst of ours. */
static void notifications(uint64_t features, unsigned kicks)
{
	static struct frame f;
	struct vrig v;
	unsigned got = 0;

	vrig_start(&v, features);
	drv_rx_fill(&v.d);
	rig_run(&v.r);
	(void)drv_calls(&v.d.q[0]);
	v.d.q[1].kicks = 0;
	vrig_arp(&f);
	for (unsigned i = 0; i < 10; i++)
		assert_true(drv_tx(&v.d, f.b, f.len));
	assert_int_equal(v.d.q[1].kicks, kicks);
	rig_run(&v.r);
	assert_int_equal(drv_calls(&v.d.q[0]), 1);
	while (drv_rx(&v.d, &f))
		got++;
	assert_int_equal(got, 10);
	/* An answer that nobody waits for calls nobody. */
	if (drv_has(&v.d, VHOST_F_EVENT_IDX)) {
		struct dq *q = &v.d.q[0];

		drv_set16(&v.d, q->avail + 4 + 2 * (uint64_t)q->num, (uint16_t)(q->used_seen + 100));
	} else {
		drv_set16(&v.d, v.d.q[0].avail, 1);
	}
	vrig_arp(&f);
	vrig_send(&v, &f);
	assert_int_equal(drv_calls(&v.d.q[0]), 0);
	assert_true(drv_rx(&v.d, &f));
	vrig_stop(&v);
}

static void test_notifications(void **state)
{
	(void)state;
	notifications(drv_all, 1);
	notifications(drv_all & ~f_event, 10); /* asleep, and without a way to say "the first only" */
}

/* More than a turn's share in the ring: the rest is taken without another kick. */
static void test_turns(void **state)
{
	static struct frame f;
	struct vrig v;
	struct dq *q;

	(void)state;
	vrig_open(&v, drv_all, false);
	v.d.q[1].num = 1024;
	vmm_start(&v.d, v.r.loop);
	q = &v.d.q[1];
	vrig_arp(&f);
	drv_copy_to(&v.d, tx_gpa(0), f.b, f.len);
	for (uint16_t i = 0; i < 1000; i++) {
		drv_desc(&v.d, q->desc, i, tx_gpa(0), (uint32_t)f.len, 0, 0);
		drv_offer(&v.d, q, i);
	}
	drv_publish(&v.d, q);
	assert_int_equal(q->kicks, 1);
	assert_int_equal(loop_step(v.r.loop, 0), 0);
	assert_in_range(rig_stats(&v.r).frames_in, 1, 64);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(loop_step(v.r.loop, 0), 0);
	assert_int_equal(rig_stats(&v.r).frames_in, 1000);
	assert_int_equal(drv_get16(&v.d, q->used + 2), 1000);
	vrig_stop(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_frame),   cmocka_unit_test(test_feature_sets),
		cmocka_unit_test(test_room),	      cmocka_unit_test(test_full),
		cmocka_unit_test(test_notifications), cmocka_unit_test(test_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
