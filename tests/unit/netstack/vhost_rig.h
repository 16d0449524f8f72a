/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests: the stack of frames.h behind a vhost-user link and its driver. */
#ifndef WEIR_TEST_VHOST_RIG_H
#define WEIR_TEST_VHOST_RIG_H

#include "frames.h"
#include "netstack/netstack_internal.h"
#include "vhost_driver.h"

#include <sys/un.h>

struct vrig {
	struct rig r; /* first: the stack's ctx */
	struct drv d;
	int listen_fd;
	unsigned downs, lasts;
	char why[192]; /* the last of them */
};

static struct sockaddr_un vrig_addr;

static void vrig_down(void *ctx, const char *why, bool last)
{
	struct vrig *v = ctx;

	assert_true(why && *why);
	snprintf(v->why, sizeof(v->why), "%s", why);
	v->downs++;
	v->lasts += last;
}

static struct netstack_ops vrig_ops;
static void (*vrig_adjust)(struct netstack_config *cfg);

static void vrig_connect(struct vrig *v)
{
	socklen_t n = sizeof(vrig_addr);

	fd_close(v->d.vmm);
	v->d.vmm = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(v->d.vmm, (struct sockaddr *)&vrig_addr, n), 0);
	rig_run(&v->r);
}

/* An abstract name, so that nothing is left behind. */
static int vrig_listen(void)
{
	socklen_t n = sizeof(vrig_addr);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	vrig_addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(vrig_addr.sun_path + 1, sizeof(vrig_addr.sun_path) - 1, "weir-test-%d-%d",
		 (int)getpid(), fd);
	assert_int_equal(bind(fd, (struct sockaddr *)&vrig_addr, n), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static void vrig_open(struct vrig *v, uint64_t features, bool listening)
{
	int sv[2] = { -1, -1 };

	memset(v, 0, sizeof(*v));
	rig_start(&v->r);
	netstack_free(v->r.ns);
	close(v->r.fd);
	v->r.fd = -1;
	vrig_ops = rig_ops;
	vrig_ops.link_down = vrig_down;
	drv_init(&v->d, features);
	if (vrig_adjust)
		vrig_adjust(&v->r.cfg);
	v->listen_fd = listening ? vrig_listen() : -1;
	if (!listening)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(netstack_new(v->r.loop, NETSTACK_LINK_VHOST_USER,
				      listening ? v->listen_fd : sv[1], &v->r.cfg, &vrig_ops, v,
				      &v->r.ns),
			 0);
	v->d.vmm = sv[0];
}

static void vrig_start(struct vrig *v, uint64_t features)
{
	vrig_open(v, features, false);
	vmm_start(&v->d, v->r.loop);
}

static void vrig_stop(struct vrig *v)
{
	netstack_free(v->r.ns);
	assert_int_equal(v->r.begun, v->r.ended);
	loop_free(v->r.loop);
	drv_fini(&v->d);
}

static bool vrig_up(const struct vrig *v)
{
	return v->r.ns->link->is_up;
}

static void vrig_send(struct vrig *v, const struct frame *f)
{
	assert_true(drv_tx(&v->d, f->b, f->len));
	rig_run(&v->r);
}

/* An ARP question, which is answered by one frame. */
static void vrig_arp(struct frame *f)
{
	uint8_t *a = f->b + L2;

	frame_eth(f, 0x0806);
	put_be16(a, 1);
	put_be16(a + 2, 0x0800);
	a[4] = 6;
	a[5] = 4;
	put_be16(a + 6, 1);
	memcpy(a + 8, mac_guest, 6);
	memcpy(a + 14, ip4(10, 9, 0, 2).b, 4);
	memcpy(a + 24, ip4(10, 9, 0, 1).b, 4);
	f->len += 28;
}

static bool vrig_alive(struct vrig *v)
{
	static struct frame f;

	vrig_arp(&f);
	if (!drv_tx(&v->d, f.b, f.len))
		return false;
	rig_run(&v->r);
	while (drv_rx(&v->d, &f))
		if (f.len == L2 + 28 && get_be16(f.b + L2 + 6) == 2)
			return true;
	return false;
}

/* The next machine at a listening link. */
static void new_guest(struct vrig *v)
{
	drv_reset(&v->d);
	vrig_connect(v);
	vmm_start(&v->d, v->r.loop);
	assert_true(vrig_up(v));
	drv_rx_fill(&v->d);
	assert_true(vrig_alive(v));
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int i = 0; i < 1024; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

#endif
