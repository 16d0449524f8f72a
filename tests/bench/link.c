/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link without offload, with a real kernel at its other end:
 *
 *    this namespace                        a namespace of its own
 *    servers ◄─ stack (a process) ◄─ socket ─► shim (a process) ─► tap ─► guest0
 *
 * usage: link stream|dgram frame|batch|fast
 *
 * The stack dials every flow's port on loopback. The shim is what a VMM would
 * be: `frame` writes each frame of the guest by itself, as QEMU does, `batch`
 * up to 64 of them with one call; `fast` lets the kernel hand over
 * super-segments and cuts them in the shim, so that the guest's side does not
 * use up the machine the stack is measured on. Prints the two process ids and
 * runs until its input ends. link.py measures with it.
 */
#include "netstack/link.h"
#include "netstack/netstack.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			perror(#x);                                                                \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)
#define FRAME 70000
#define BATCH 64
#define RING "20000"

/* ---- the stack ------------------------------------------------------------ */

static void on_new(void *ctx, struct netstack_flow *f)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f);
	bool tcp = t->proto == NETSTACK_TCP;
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(t->remote.port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd;

	(void)ctx;
	if (t->proto == NETSTACK_ICMP) {
		netstack_flow_refuse(f, NETSTACK_DENIED);
		return;
	}
	fd = socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    fd_set_nonblock(fd, true) < 0) {
		fd_close(fd);
		netstack_flow_refuse(f, NETSTACK_PORT_CLOSED);
		return;
	}
	netstack_flow_attach(f, fd, false);
}

static void on_end(void *ctx, struct netstack_flow *f, enum netstack_end how,
		   const struct netstack_counts *c)
{
	(void)ctx;
	(void)f;
	(void)how;
	(void)c;
}

static int run_stack(enum netstack_link_kind kind, int fd)
{
	static const struct netstack_ops ops = { .flow_new = on_new, .flow_end = on_end };
	struct netstack_config cfg = {
		.gateway_mac = { 2, 0, 0, 0, 0, 1 },
		.gateway4 = ip4(10, 9, 0, 1),
		.guest4 = ip4(10, 9, 0, 2),
		.mtu = 1500,
		.max_tcp = 4096,
		.max_udp = 4096,
		.max_icmp = 16,
	};
	struct netstack *ns;
	struct loop *loop;

	MUST(loop_new(&loop) == 0);
	MUST(netstack_new(loop, kind, fd, &cfg, &ops, NULL, &ns) == 0);
	return loop_run(loop);
}

/* ---- the shim --------------------------------------------------------------- */

struct shim {
	int tap, sock;
	bool dgram, fast;
	unsigned batch;
	/* to the stack */
	uint8_t *frame; /* BATCH frames */
	uint8_t head[1024][128 + 4];
	struct iovec iov[1024 * 3];
	unsigned n_iov, n_head;
	/* from the stack */
	uint8_t in[256 << 10];
	size_t in_off, in_len;
};

static const struct link_caps no_caps;

/* Blocks: what the stack does not take stays in the tap's ring. */
static void send_iov(struct shim *s)
{
	unsigned i = 0;

	while (i < s->n_iov) {
		struct msghdr m = { .msg_iov = s->iov + i, .msg_iovlen = MIN(s->n_iov - i, 1000u) };
		ssize_t n = sendmsg(s->sock, &m, MSG_NOSIGNAL);

		if (n < 0)
			_exit(0); /* the stack has gone */
		while (i < s->n_iov && (size_t)n >= s->iov[i].iov_len)
			n -= (ssize_t)s->iov[i++].iov_len;
		if (n) {
			s->iov[i].iov_base = (uint8_t *)s->iov[i].iov_base + n;
			s->iov[i].iov_len -= (size_t)n;
		}
	}
	s->n_iov = s->n_head = 0;
}

static int put(void *ctx, const struct link_tx *one)
{
	struct shim *s = ctx;
	size_t skip = s->dgram ? 4 : 0;
	uint8_t *h;

	if (s->n_head == ARRAY_SIZE(s->head) || s->n_iov + 3 > ARRAY_SIZE(s->iov))
		send_iov(s);
	h = s->head[s->n_head++];
	MUST(one->head_len <= 128);
	put_be32(h, (uint32_t)link_tx_len(one));
	memcpy(h + 4, one->head, one->head_len);
	s->iov[s->n_iov++] = (struct iovec){ h + skip, 4 - skip + one->head_len };
	for (unsigned i = 0; i < one->n_data; i++)
		s->iov[s->n_iov++] = one->data[i];
	if (s->dgram)
		send_iov(s);
	return 0;
}

/* The virtio header's words on where a frame's headers end; ours is a kernel's. */
static void cut(struct shim *s, uint8_t *p, size_t n)
{
	struct virtio_net_hdr_v1 h;
	struct link_tx tx = { .head = p + sizeof(h) };
	size_t l4;

	memcpy(&h, p, sizeof(h));
	n -= sizeof(h);
	tx.head_len = n;
	if (h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		l4 = h.csum_start;
		tx.partial_csum = true;
		tx.csum_start = h.csum_start;
		tx.csum_off = h.csum_offset;
		tx.gso = h.gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
		tx.gso_size = h.gso_size;
		tx.head_len = h.csum_offset == 16 ? l4 + (tx.head[l4 + 12] >> 4) * 4u : l4 + 8;
	} else {
		tx.head_len = MIN(n, (size_t)64);
	}
	tx.n_data = n > tx.head_len;
	tx.data[0] = (struct iovec){ p + sizeof(h) + tx.head_len, n - tx.head_len };
	(void)link_segment(&tx, &no_caps, put, s);
}

static void from_tap(struct shim *s)
{
	unsigned n = 0;

	for (; n < s->batch; n++) {
		uint8_t *p = s->frame + (size_t)n * FRAME;
		ssize_t len = read(s->tap, p, FRAME);

		if (len <= 0)
			break;
		if (s->fast) {
			cut(s, p, (size_t)len);
			continue;
		}
		put_be32(s->head[s->n_head], (uint32_t)len);
		s->iov[s->n_iov++] = (struct iovec){ s->head[s->n_head++], s->dgram ? 0 : 4 };
		s->iov[s->n_iov++] = (struct iovec){ p, (size_t)len };
		if (s->dgram)
			send_iov(s);
	}
	if (s->n_iov)
		send_iov(s);
}

static void to_tap(struct shim *s, uint8_t *p, size_t n)
{
	static const struct virtio_net_hdr_v1 none;
	struct iovec iov[2] = { { (void *)(uintptr_t)&none, s->fast ? sizeof(none) : 0 }, { p, n } };

	while (writev(s->tap, iov, 2) < 0 && errno == EAGAIN)
		;
}

static void from_sock(struct shim *s)
{
	ssize_t n;

	if (s->dgram) {
		while ((n = recv(s->sock, s->in, sizeof(s->in), MSG_DONTWAIT)) > 0)
			to_tap(s, s->in, (size_t)n);
		return;
	}
	memmove(s->in, s->in + s->in_off, s->in_len);
	s->in_off = 0;
	/* As much as QEMU reads at once. */
	n = recv(s->sock, s->in + s->in_len, s->batch == 1 ? 69632 : sizeof(s->in) - s->in_len,
		 MSG_DONTWAIT);
	if (n == 0)
		_exit(0);
	s->in_len += n > 0 ? (size_t)n : 0;
	while (s->in_len >= 4 && s->in_len - 4 >= get_be32(s->in + s->in_off)) {
		size_t len = get_be32(s->in + s->in_off);

		to_tap(s, s->in + s->in_off + 4, len);
		s->in_off += 4 + len;
		s->in_len -= 4 + len;
	}
}

static int open_tap(bool fast)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | (fast ? IFF_VNET_HDR : 0) };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK), size = 12;

	MUST(fd >= 0);
	snprintf(ifr.ifr_name, IFNAMSIZ, "guest0");
	MUST(ioctl(fd, TUNSETIFF, &ifr) == 0);
	if (fast) {
		MUST(ioctl(fd, TUNSETVNETHDRSZ, &size) == 0);
		MUST(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) == 0);
	}
	return fd;
}

static void run(const char *const *argv)
{
	pid_t pid = fork();
	int status;

	MUST(pid >= 0);
	if (pid == 0) {
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
}

static void configure(void)
{
	const char *const up[][12] = {
		{ "ip", "link", "set", "lo", "up", NULL },
		{ "ip", "link", "set", "guest0", "txqueuelen", RING, "mtu", "1500", "up", NULL },
		{ "ip", "address", "add", "10.9.0.2/24", "dev", "guest0", NULL },
		{ "ip", "route", "add", "default", "via", "10.9.0.1", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(up); i++)
		run(up[i]);
}

static int run_shim(bool dgram, const char *mode, int sock, int ready)
{
	struct shim *s = calloc(1, sizeof(*s));

	MUST(s && unshare(CLONE_NEWNET) == 0);
	s->fast = strcmp(mode, "fast") == 0;
	s->batch = strcmp(mode, "frame") == 0 ? 1 : BATCH;
	s->dgram = dgram;
	s->sock = sock;
	s->frame = malloc((size_t)BATCH * FRAME);
	MUST(s->frame);
	s->tap = open_tap(s->fast);
	configure();
	MUST(write(ready, "", 1) == 1);
	for (;;) {
		struct pollfd p[2] = { { s->tap, POLLIN, 0 }, { sock, POLLIN, 0 } };

		MUST(poll(p, 2, -1) >= 0);
		if (p[1].revents)
			from_sock(s);
		if (p[0].revents)
			from_tap(s);
	}
}

/* ---- both --------------------------------------------------------------------- */

int main(int argc, char **argv)
{
	int sv[2], ready[2], size = 1 << 20;
	bool dgram;
	pid_t stack, shim;
	char b;

	if (argc != 3) {
		fprintf(stderr, "usage: link stream|dgram frame|batch|fast\n");
		return 2;
	}
	dgram = strcmp(argv[1], "dgram") == 0;
	MUST(socketpair(AF_UNIX, dgram ? SOCK_DGRAM : SOCK_STREAM, 0, sv) == 0 && pipe(ready) == 0);
	setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	stack = fork();
	MUST(stack >= 0);
	if (stack == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(sv[1]);
		_exit(run_stack(dgram ? NETSTACK_LINK_DGRAM : NETSTACK_LINK_STREAM, sv[0]));
	}
	close(sv[0]);
	shim = fork();
	MUST(shim >= 0);
	if (shim == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(run_shim(dgram, argv[2], sv[1], ready[1]));
	}
	close(sv[1]);
	close(ready[1]);
	MUST(read(ready[0], &b, 1) == 1);
	printf("%d %d\n", stack, shim);
	fflush(stdout);
	while (read(0, &b, 1) > 0)
		;
	kill(stack, SIGKILL);
	kill(shim, SIGKILL);
	return 0;
}
