/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drivers that break the rules of their rings, and memory that goes away: it costs the link,
 * is counted, and the next guest finds everything as new.
 */
#include "vhost_rig.h"

/* Head 0 is offered on ring q after breaking it; what then is left of the descriptors is the test's. */
struct bad {
	const char *what;
	unsigned ring;
	void (*make)(struct drv *d, struct dq *q);
	bool survives; /* it is malformed, no more */
};

#define OK_GPA (GPA_HIGH + 4096)
#define END_GPA (GPA_HIGH + (MEM_SIZE - MEM_LOW))

static void one(struct drv *d, struct dq *q, uint64_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	drv_desc(d, q->desc, 0, gpa, len, flags, next);
	drv_offer(d, q, 0);
}

static void bad_outside(struct drv *d, struct dq *q)
{
	one(d, q, END_GPA, 100, 0, 0);
}

static void bad_beyond(struct drv *d, struct dq *q)
{
	one(d, q, END_GPA - 50, 100, 0, 0);
}

static void bad_hole(struct drv *d, struct dq *q)
{
	one(d, q, MEM_LOW - 4, 100, 0, 0);
}

static void bad_wrap(struct drv *d, struct dq *q)
{
	one(d, q, UINT64_MAX - 10, 100, 0, 0);
}

static void bad_zero(struct drv *d, struct dq *q)
{
	one(d, q, OK_GPA, 0, 0, 0);
}

static void bad_direction(struct drv *d, struct dq *q)
{
	one(d, q, OK_GPA, 100, q == &d->q[VHOST_TX] ? 2 : 0, 0);
}

static void bad_later_direction(struct drv *d, struct dq *q)
{
	drv_desc(d, q->desc, 1, OK_GPA, 100, 2, 0);
	one(d, q, OK_GPA, 100, 1, 1);
}

static void bad_self_loop(struct drv *d, struct dq *q)
{
	one(d, q, OK_GPA, 100, 1, 0);
}

static void bad_loop(struct drv *d, struct dq *q)
{
	drv_desc(d, q->desc, 1, OK_GPA, 1, 1, 2);
	drv_desc(d, q->desc, 2, OK_GPA, 1, 1, 1);
	one(d, q, OK_GPA, 1, 1, 1);
}

static void bad_next(struct drv *d, struct dq *q)
{
	one(d, q, OK_GPA, 100, 1, (uint16_t)q->num);
}

static void bad_head(struct drv *d, struct dq *q)
{
	drv_offer(d, q, (uint16_t)q->num);
}

static void bad_index(struct drv *d, struct dq *q)
{
	one(d, q, OK_GPA, 100, 0, 0);
	q->avail_idx = (uint16_t)(q->avail_idx + q->num);
}

static void indirect(struct drv *d, struct dq *q, uint32_t len, uint16_t flags)
{
	drv_desc(d, 0x80000, 0, OK_GPA, 100, 0, 0);
	one(d, q, 0x80000, len, (uint16_t)(4 | flags), 1);
}

static void bad_indirect_len(struct drv *d, struct dq *q)
{
	indirect(d, q, 24, 0);
}

static void bad_indirect_empty(struct drv *d, struct dq *q)
{
	indirect(d, q, 0, 0);
}

static void bad_indirect_long(struct drv *d, struct dq *q)
{
	indirect(d, q, 16 * (LIMIT_VHOST_CHAIN + 1), 0);
}

static void bad_indirect_next(struct drv *d, struct dq *q)
{
	indirect(d, q, 16, 1);
}

static void bad_indirect_nested(struct drv *d, struct dq *q)
{
	drv_desc(d, 0x80000, 0, 0x80100, 16, 4, 0);
	one(d, q, 0x80000, 16, 4, 0);
}

static void bad_indirect_outside(struct drv *d, struct dq *q)
{
	one(d, q, MEM_LOW - 16, 32, 4, 0);
}

static void bad_indirect_chain(struct drv *d, struct dq *q)
{
	drv_desc(d, 0x80000, 0, OK_GPA, 100, 1, 2);
	drv_desc(d, 0x80000, 1, OK_GPA, 100, 0, 0);
	one(d, q, 0x80000, 32, 4, 0);
}

static void bad_indirect_loop(struct drv *d, struct dq *q)
{
	drv_desc(d, 0x80000, 0, OK_GPA, 1, 1, 1);
	drv_desc(d, 0x80000, 1, OK_GPA, 1, 1, 0);
	one(d, q, 0x80000, 32, 4, 0);
}

static void short_header(struct drv *d, struct dq *q)
{
	one(d, q, OK_GPA, 11, 0, 0);
}

static void long_frame(struct drv *d, struct dq *q)
{
	one(d, q, GPA_HIGH, 1 << 20, 0, 0);
}

static void garbage(struct drv *d, struct dq *q)
{
	memset(drv_at(d, OK_GPA), 0xff, 2000);
	one(d, q, OK_GPA, 2000, 0, 0);
}

static const struct bad bads[] = {
	{ "outside", 1, bad_outside, false },
	{ "beyond", 1, bad_beyond, false },
	{ "hole", 1, bad_hole, false },
	{ "wrap", 1, bad_wrap, false },
	{ "zero", 1, bad_zero, false },
	{ "writable", 1, bad_direction, false },
	{ "writable later", 1, bad_later_direction, false },
	{ "loop of one", 1, bad_self_loop, false },
	{ "loop", 1, bad_loop, false },
	{ "next", 1, bad_next, false },
	{ "head", 1, bad_head, false },
	{ "index", 1, bad_index, false },
	{ "indirect length", 1, bad_indirect_len, false },
	{ "indirect empty", 1, bad_indirect_empty, false },
	{ "indirect long", 1, bad_indirect_long, false },
	{ "indirect and next", 1, bad_indirect_next, false },
	{ "indirect in indirect", 1, bad_indirect_nested, false },
	{ "indirect outside", 1, bad_indirect_outside, false },
	{ "indirect next", 1, bad_indirect_chain, false },
	{ "indirect loop", 1, bad_indirect_loop, false },
	{ "receive: read-only", 0, bad_direction, false },
	{ "receive: head", 0, bad_head, false },
	{ "receive: index", 0, bad_index, false },
	{ "receive: outside", 0, bad_outside, false },
	{ "short header", 1, short_header, true },
	{ "long frame", 1, long_frame, true },
	{ "garbage", 1, garbage, true },
};

static void one_bad(struct vrig *v, const struct bad *b)
{
	struct dq *q = &v->d.q[b->ring];
	uint64_t faults = rig_stats(&v->r).link_faults, mal;
	unsigned downs = v->downs;

	if (b->ring == VHOST_RX) { /* receives for the first time */
		drv_reset(&v->d);
		vrig_connect(v);
		vmm_start(&v->d, v->r.loop);
		downs = v->downs;
	}
	mal = rig_stats(&v->r).dropped_malformed;
	b->make(&v->d, q);
	drv_publish(&v->d, q);
	drv_kick_now(q);
	if (b->ring == VHOST_RX)
		(void)vrig_alive(v);
	rig_run(&v->r);
	assert_int_equal(v->downs - downs, !b->survives);
	assert_int_equal(rig_stats(&v->r).link_faults - faults, !b->survives);
	assert_int_equal(vrig_up(v), b->survives);
	if (b->survives) {
		assert_int_equal(rig_stats(&v->r).dropped_malformed, mal + 1);
		close(v->d.vmm);
		v->d.vmm = -1;
		rig_run(&v->r);
	}
}

static void test_hostile_rings(void **state)
{
	struct vrig v;
	unsigned fds;

	(void)state;
	vrig_open(&v, drv_all, true);
	new_guest(&v);
	fds = open_fds();
	for (unsigned i = 0; i < ARRAY_SIZE(bads); i++) {
		one_bad(&v, &bads[i]);
		new_guest(&v);
		assert_int_equal(open_fds(), fds);
	}
	assert_int_equal(v.lasts, 0);
	vrig_stop(&v);
}

/* Without the features, what they allow is forbidden. */
static void test_not_negotiated(void **state)
{
	struct vrig v;

	(void)state;
	vrig_open(&v, drv_all & ~VHOST_F(VHOST_F_INDIRECT_DESC), true);
	new_guest(&v);
	indirect(&v.d, &v.d.q[1], 16, 0);
	drv_publish(&v.d, &v.d.q[1]);
	drv_kick_now(&v.d.q[1]);
	rig_run(&v.r);
	assert_false(vrig_up(&v));
	assert_int_equal(rig_stats(&v.r).link_faults, 1);
	vrig_stop(&v);
}

/* Buffers of a byte each: a small frame goes into many, a large one costs the link. */
static void test_crumbs(void **state)
{
	struct vrig v;
	uint8_t head[300] = { 0 };
	struct link_tx tx = { .head = head, .head_len = 60 };
	struct ns_link *l;

	(void)state;
	vrig_start(&v, drv_all);
	for (uint16_t i = 0; i < 256; i++) {
		drv_desc(&v.d, v.d.q[0].desc, i, OK_GPA, 1, 2, 0);
		drv_offer(&v.d, &v.d.q[0], i);
	}
	drv_publish(&v.d, &v.d.q[0]);
	l = v.r.ns->link;
	assert_int_equal(l->drv->write(l, &tx), 0);
	l->drv->flush(l);
	assert_int_equal(drv_get16(&v.d, v.d.q[0].used + 2), 72);
	for (uint16_t i = 0; i < 72; i++)
		drv_offer(&v.d, &v.d.q[0], i);
	drv_publish(&v.d, &v.d.q[0]);
	tx.head_len = sizeof(head);
	assert_int_equal(l->drv->write(l, &tx), -EPIPE);
	rig_run(&v.r);
	assert_int_equal(rig_stats(&v.r).link_faults, 1);
	vrig_stop(&v);
}

/* The VMM makes its file shorter under our feet. */
static void shrink(bool receive)
{
	struct vrig v;
	static struct frame f;

	vrig_open(&v, drv_all, true);
	new_guest(&v);
	if (receive) {
		vrig_arp(&f);
		assert_true(drv_tx_more(&v.d, f.b, f.len));
		drv_publish(&v.d, &v.d.q[1]);
	}
	assert_int_equal(ftruncate(v.d.mem_fd, receive ? MEM_LOW : 4096), 0);
	if (!receive) {
		/* The rings are gone, for our driver as well: a bare kick. */
		drv_kick_now(&v.d.q[1]);
	}
	rig_run(&v.r);
	assert_false(vrig_up(&v));
	assert_int_equal(rig_stats(&v.r).link_faults, 1);
	/* Another guest with whole memory is served. */
	assert_int_equal(ftruncate(v.d.mem_fd, MEM_SIZE), 0);
	new_guest(&v);
	vrig_stop(&v);
}

static void test_memory_shrinks(void **state)
{
	(void)state;
	shrink(false);
	shrink(true);
}

/* Everything between the file's end and the frame's: headers read, payload gone. */
static void test_memory_shrinks_for_good(void **state)
{
	struct vrig v;
	struct iovec iov[LINK_ROOM_MAX];
	uint8_t head[54] = { 0 };
	struct link_tx tx = { .head = head, .head_len = sizeof(head) };
	unsigned n;

	(void)state;
	vrig_open(&v, drv_all, true);
	new_guest(&v);
	rig_run(&v.r);
	assert_int_equal(v.r.ns->link->drv->room(v.r.ns->link, 54, 1000, iov, &n), 0);
	assert_int_equal(ftruncate(v.d.mem_fd, MEM_LOW), 0);
	assert_int_equal(v.r.ns->link->drv->commit(v.r.ns->link, &tx, 1000), 0);
	rig_run(&v.r);
	assert_false(vrig_up(&v));
	assert_int_equal(rig_stats(&v.r).link_faults, 1);
	vrig_stop(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_rings),
		cmocka_unit_test(test_not_negotiated),
		cmocka_unit_test(test_crumbs),
		cmocka_unit_test(test_memory_shrinks),
		cmocka_unit_test(test_memory_shrinks_for_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
