/* SPDX-License-Identifier: Apache-2.0 */
/* What the two fuzzers of the vhost-user link share: a stack behind one, and a VMM's voice. */
#ifndef WEIR_FUZZ_NETSTACK_VHOST_H
#define WEIR_FUZZ_NETSTACK_VHOST_H

#include "netstack/netstack_internal.h"
#include "netstack/vhost_int.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x))                                                                          \
			abort();                                                                   \
	} while (0)

#define MEM_SIZE (1u << 20)

struct world {
	struct loop *loop;
	struct netstack *ns;
	int vmm, mem_fd;
	uint8_t *mem;
	struct rd in;
	unsigned begun, ended, downs;
};

static uint8_t next(struct world *w)
{
	uint8_t b = 0;

	return rd_u8(&w->in, &b) ? b : 0;
}

static uint16_t next16(struct world *w)
{
	uint8_t lo = next(w);

	return (uint16_t)(lo | next(w) << 8);
}

/* Every flow is answered at once, in ways that send something to the guest. */
static void on_new(void *ctx, struct netstack_flow *f)
{
	struct world *w = ctx;
	int sv[2];

	w->begun++;
	if (netstack_flow_tuple(f)->proto != NETSTACK_TCP || w->begun % 3 == 0) {
		netstack_flow_refuse(f, NETSTACK_DENIED);
		return;
	}
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) == 0);
	(void)!write(sv[1], w->mem, 30000);
	close(sv[1]);
	netstack_flow_attach(f, sv[0], false);
}

static void on_end(void *ctx, struct netstack_flow *f, enum netstack_end how,
		   const struct netstack_counts *c)
{
	(void)f;
	(void)how;
	(void)c;
	((struct world *)ctx)->ended++;
}

static void on_down(void *ctx, const char *why, bool last)
{
	struct world *w = ctx;

	MUST(why && *why);
	MUST(last || w->ns->link->drv);
	w->downs++;
}

static void on_bytes(void *ctx, struct netstack_flow *f, const uint8_t *p, size_t len, bool eof)
{
	(void)ctx;
	(void)f;
	(void)p;
	(void)len;
	(void)eof;
}

static const struct netstack_ops ops = {
	.flow_new = on_new,
	.flow_end = on_end,
	.flow_bytes = on_bytes,
	.link_down = on_down,
};

static void world_begin(struct world *w, const uint8_t *data, size_t size)
{
	struct netstack_config cfg = {
		.gateway_mac = { 2, 0, 0, 0, 0, 1 },
		.gateway4 = ip4(10, 9, 0, 1),
		.guest4 = ip4(10, 9, 0, 2),
		.mtu = 1500,
		.max_tcp = 8,
		.max_udp = 8,
		.max_icmp = 8,
	};
	int sv[2];

	signal(SIGPIPE, SIG_IGN);
	log_setup("fuzz", LOG_LEVEL_ERROR);
	memset(w, 0, sizeof(*w));
	w->in = rd_init(data, size);
	w->mem_fd = memfd_create("guest", MFD_CLOEXEC);
	MUST(w->mem_fd >= 0 && ftruncate(w->mem_fd, MEM_SIZE) == 0);
	w->mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w->mem_fd, 0);
	MUST(w->mem != MAP_FAILED);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
	MUST(loop_new(&w->loop) == 0);
	w->vmm = sv[0];
	MUST(netstack_new(w->loop, NETSTACK_LINK_VHOST_USER, sv[1], &cfg, &ops, w, &w->ns) == 0);
}

static void world_step(struct world *w, unsigned n)
{
	while (n--)
		MUST(loop_step(w->loop, 0) == 0);
}

static void world_end(struct world *w)
{
	world_step(w, 4);
	netstack_free(w->ns);
	MUST(w->begun == w->ended);
	loop_free(w->loop);
	munmap(w->mem, MEM_SIZE);
	close(w->mem_fd);
	close(w->vmm);
}

static void vmm_send(struct world *w, uint32_t request, uint32_t flags, const void *p, uint32_t n,
		     const int *fds, size_t n_fds)
{
	uint32_t h[3] = { request, flags, n };
	struct iovec iov[2] = { { h, sizeof(h) }, { (void *)(uintptr_t)p, n } };
	union {
		char b[CMSG_SPACE(sizeof(int) * 16)];
		struct cmsghdr h;
	} c = { 0 };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
	uint8_t drop[600];

	if (n_fds) {
		m.msg_control = &c;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(&c.h), fds, sizeof(int) * n_fds);
	}
	(void)!sendmsg(w->vmm, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (recv(w->vmm, drop, sizeof(drop), MSG_DONTWAIT) > 0)
		;
}

#endif
