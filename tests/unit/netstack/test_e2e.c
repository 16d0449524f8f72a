/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack against a real kernel: a child in its own network namespace with a
 * tap is the guest, a second child is a server on loopback, and this process
 * runs a netstack whose owner attaches everything. Needs the right to make a
 * network namespace and a tap; without it the test says so and is skipped.
 */
#include "netstack/netstack.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define BULK (64u << 20)
#define PORT_SERVER 7000
#define PORT_CLOSED 7009
#define PORT_DENIED 7010
#define PORT_NOHOST 7011
#define PORT_HELD 7012
#define SKIP 77

static uint16_t server_port; /* where PORT_SERVER really is, TCP and UDP */

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s: %s\n", __func__, __LINE__, #cond,              \
				strerror(errno));                                                  \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* ---- the server ------------------------------------------------------- */

static void pattern(uint8_t *p, size_t n, uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((at + i) * 2654435761u >> 11);
}

static bool pattern_ok(const uint8_t *p, size_t n, uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != (uint8_t)((at + i) * 2654435761u >> 11))
			return false;
	return true;
}

static void send_bulk(int fd, size_t total)
{
	static uint8_t b[65536];

	for (size_t at = 0; at < total; at += sizeof(b)) {
		pattern(b, sizeof(b), at);
		CHECK(fd_write_all(fd, b, sizeof(b)) == 0);
	}
}

static size_t recv_bulk(int fd)
{
	static uint8_t b[65536];
	size_t at = 0;
	ssize_t n;

	while ((n = read(fd, b, sizeof(b))) > 0) {
		CHECK(pattern_ok(b, (size_t)n, at));
		at += (size_t)n;
	}
	CHECK(n == 0);
	return at;
}

/* One letter says what the connection is for. */
static void serve_tcp(int fd)
{
	char what, b[4096];
	uint64_t got;
	ssize_t n;

	if (read(fd, &what, 1) != 1)
		return;
	switch (what) {
	case 'U': /* count what comes, say it, after the client's end */
		got = recv_bulk(fd);
		CHECK(fd_write_all(fd, &got, sizeof(got)) == 0);
		break;
	case 'S': /* the same, but slow to begin: every buffer on the way fills up */
		usleep(400000);
		got = recv_bulk(fd);
		CHECK(fd_write_all(fd, &got, sizeof(got)) == 0);
		break;
	case 'D':
		send_bulk(fd, BULK);
		break;
	case 'F': /* for ever, until the client has had enough */
		memset(b, 'f', sizeof(b));
		while (write(fd, b, sizeof(b)) > 0)
			;
		break;
	case 'E':
		while ((n = read(fd, b, sizeof(b))) > 0)
			CHECK(fd_write_all(fd, b, (size_t)n) == 0);
		break;
	case 'R': { /* answer, then reset */
		struct linger l = { 1, 0 };

		CHECK(fd_write_all(fd, "bye", 3) == 0);
		usleep(50000);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
		break;
	}
	default:
		CHECK(false);
	}
}

static void run_server(int ls, int us)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		struct pollfd p[2] = { { ls, POLLIN, 0 }, { us, POLLIN, 0 } };

		CHECK(poll(p, 2, -1) > 0);
		if (p[0].revents) {
			int fd = accept(ls, NULL, NULL);

			if (fork() == 0) {
				serve_tcp(fd);
				_exit(0);
			}
			close(fd);
		}
		if (p[1].revents) {
			static uint8_t b[65536];
			struct sockaddr_storage ss;
			socklen_t sl = sizeof(ss);
			ssize_t n = recvfrom(us, b, sizeof(b), 0, (struct sockaddr *)&ss, &sl);

			sendto(us, b, (size_t)n, 0, (struct sockaddr *)&ss, sl);
		}
	}
}

/* ---- the guest -------------------------------------------------------- */

static int tap_open(void)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), n = 12;
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	unsigned off = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;

	if (fd < 0)
		return -errno;
	strncpy(ifr.ifr_name, "tap0", IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &n) < 0)
		return -errno;
#ifdef TUN_F_USO4
	if (ioctl(fd, TUNSETOFFLOAD, off | TUN_F_USO4 | TUN_F_USO6) == 0)
		return fd;
#endif
	CHECK(ioctl(fd, TUNSETOFFLOAD, off) == 0);
	return fd;
}

static void write_text(const char *path, const char *s)
{
	int fd = open(path, O_WRONLY);

	if (fd >= 0 && write(fd, s, strlen(s)) < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	fd_close(fd);
}

static void set_in(struct sockaddr *sa, const char *a)
{
	struct sockaddr_in in = { .sin_family = AF_INET };

	inet_aton(a, &in.sin_addr);
	memcpy(sa, &in, sizeof(in));
}

static struct ip_addr v6(const char *s)
{
	struct ip_addr a;

	CHECK(ip_parse(s, strlen(s), &a, NULL) == 0);
	return a;
}

static void configure(void)
{
	struct ifreq ifr = { 0 };
	struct rtentry rt = { .rt_flags = RTF_UP | RTF_GATEWAY };
	struct in6_rtmsg rt6 = { .rtmsg_flags = RTF_UP | RTF_GATEWAY, .rtmsg_metric = 1 };
	struct {
		struct in6_addr a;
		uint32_t plen;
		int ifindex;
	} if6 = { .plen = 64 };
	int s = socket(AF_INET, SOCK_DGRAM, 0), s6 = socket(AF_INET6, SOCK_DGRAM, 0);

	write_text("/proc/sys/net/ipv6/conf/tap0/accept_dad", "0");
	strncpy(ifr.ifr_name, "lo", IFNAMSIZ - 1);
	ifr.ifr_flags = IFF_UP;
	CHECK(ioctl(s, SIOCSIFFLAGS, &ifr) == 0);
	strncpy(ifr.ifr_name, "tap0", IFNAMSIZ - 1);
	ifr.ifr_qlen = 20000;
	ioctl(s, SIOCSIFTXQLEN, &ifr);
	set_in(&ifr.ifr_addr, "10.9.0.2");
	CHECK(ioctl(s, SIOCSIFADDR, &ifr) == 0);
	set_in(&ifr.ifr_netmask, "255.255.255.0");
	CHECK(ioctl(s, SIOCSIFNETMASK, &ifr) == 0);
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	CHECK(ioctl(s, SIOCSIFFLAGS, &ifr) == 0);
	set_in(&rt.rt_dst, "0.0.0.0");
	set_in(&rt.rt_genmask, "0.0.0.0");
	set_in(&rt.rt_gateway, "10.9.0.1");
	CHECK(ioctl(s, SIOCADDRT, &rt) == 0);
	CHECK(ioctl(s, SIOCGIFINDEX, &ifr) == 0);
	if6.ifindex = ifr.ifr_ifindex;
	memcpy(&if6.a, v6("fd00:9::2").b, 16);
	if (s6 < 0 || ioctl(s6, SIOCSIFADDR, &if6) < 0)
		return;
	memcpy(&rt6.rtmsg_gateway, v6("fd00:9::1").b, 16);
	rt6.rtmsg_ifindex = ifr.ifr_ifindex;
	CHECK(ioctl(s6, SIOCADDRT, &rt6) == 0);
	close(s);
	close(s6);
}

static socklen_t remote(bool six, uint16_t port, struct sockaddr_storage *ss)
{
	struct endpoint e = { six ? v6("2001:db8::5") : ip4(203, 0, 113, 5), port };

	return endpoint_to_sockaddr(&e, ss);
}

static int dial(bool six, uint16_t port, int type)
{
	struct sockaddr_storage ss;
	socklen_t sl = remote(six, port, &ss);
	int fd = socket(six ? AF_INET6 : AF_INET, type, 0);
	struct timeval tv = { 20, 0 };

	CHECK(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (connect(fd, (struct sockaddr *)&ss, sl) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static double seconds(uint64_t since)
{
	return (double)(time_mono_ns() - since) / 1e9;
}

static void no_retransmits(int fd, const char *what)
{
	struct tcp_info i;
	socklen_t n = sizeof(i);

	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &n) == 0);
	if (i.tcpi_total_retrans)
		fprintf(stderr, "%s: guest sent %u segments again\n", what, i.tcpi_total_retrans);
}

static void guest_bulk(bool six)
{
	uint64_t got = 0, t0 = time_mono_ns();
	int fd = dial(six, PORT_SERVER, SOCK_STREAM);

	CHECK(fd >= 0);
	CHECK(write(fd, "U", 1) == 1);
	send_bulk(fd, BULK);
	CHECK(shutdown(fd, SHUT_WR) == 0);
	CHECK(read(fd, &got, sizeof(got)) == sizeof(got));
	CHECK(got == BULK);
	CHECK(read(fd, &got, 1) == 0);
	no_retransmits(fd, "up");
	close(fd);
	fprintf(stderr, "  IPv%d up   %.2f Gbit/s\n", six ? 6 : 4, BULK * 8e-9 / seconds(t0));
	t0 = time_mono_ns();
	fd = dial(six, PORT_SERVER, SOCK_STREAM);
	CHECK(fd >= 0);
	CHECK(write(fd, "D", 1) == 1);
	CHECK(recv_bulk(fd) == BULK);
	close(fd);
	fprintf(stderr, "  IPv%d down %.2f Gbit/s\n", six ? 6 : 4, BULK * 8e-9 / seconds(t0));
}

/* Windows close on both sides and open again; a reader that goes away in the middle. */
static void guest_pressure(bool six)
{
	static uint8_t b[65536];
	uint64_t got = 0;
	size_t n = 0;
	ssize_t r;
	int fd = dial(six, PORT_SERVER, SOCK_STREAM);

	CHECK(fd >= 0);
	CHECK(write(fd, "S", 1) == 1);
	send_bulk(fd, 24u << 20);
	CHECK(shutdown(fd, SHUT_WR) == 0);
	CHECK(read(fd, &got, sizeof(got)) == sizeof(got));
	CHECK(got == 24u << 20);
	close(fd);
	fd = dial(six, PORT_SERVER, SOCK_STREAM);
	CHECK(fd >= 0);
	CHECK(write(fd, "D", 1) == 1);
	usleep(400000);
	while ((r = read(fd, b, sizeof(b))) > 0) {
		CHECK(pattern_ok(b, (size_t)r, n));
		n += (size_t)r;
		if (n % 64 == 0)
			usleep(100);
	}
	CHECK(r == 0 && n == BULK);
	close(fd);
	for (unsigned i = 0; i < 20; i++) {
		fd = dial(six, PORT_SERVER, SOCK_STREAM);
		CHECK(fd >= 0);
		CHECK(write(fd, "F", 1) == 1);
		CHECK(read(fd, b, sizeof(b)) > 0);
		close(fd); /* with bytes unread: a reset */
	}
}

/* Small writes, answers awaited, then half close. */
static void guest_echo(bool six, uint16_t port)
{
	char b[2000], c[2000];
	int fd = dial(six, port, SOCK_STREAM);

	CHECK(fd >= 0);
	CHECK(write(fd, "E", 1) == 1);
	for (unsigned i = 0; i < 50; i++) {
		size_t n = 1 + i * 37, at = 0;

		memset(b, 'a' + (int)(i % 26), n);
		CHECK(write(fd, b, n) == (ssize_t)n);
		while (at < n) {
			ssize_t r = read(fd, c + at, n - at);

			CHECK(r > 0);
			at += (size_t)r;
		}
		CHECK(memcmp(b, c, n) == 0);
	}
	CHECK(shutdown(fd, SHUT_WR) == 0);
	CHECK(read(fd, c, 1) == 0);
	close(fd);
}

static void guest_failures(bool six)
{
	char b[8];
	uint64_t t0 = time_mono_ns();
	int fd;

	CHECK(dial(six, PORT_CLOSED, SOCK_STREAM) < 0 && errno == ECONNREFUSED);
	CHECK(dial(six, PORT_DENIED, SOCK_STREAM) < 0 && errno == ECONNREFUSED);
	CHECK(dial(six, PORT_NOHOST, SOCK_STREAM) < 0 && errno == EHOSTUNREACH);
	CHECK(seconds(t0) < 1.0);
	fd = dial(six, PORT_SERVER, SOCK_STREAM);
	CHECK(fd >= 0);
	CHECK(write(fd, "R", 1) == 1);
	CHECK(read(fd, b, 3) == 3);
	CHECK(read(fd, b, 1) < 0 && errno == ECONNRESET);
	close(fd);
}

static void guest_many(void)
{
	int fds[200];
	char b[3];

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = dial(i & 1, PORT_SERVER, SOCK_STREAM);
		CHECK(fds[i] >= 0);
		CHECK(write(fds[i], "Exy", 3) == 3);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		CHECK(recv(fds[i], b, 2, MSG_WAITALL) == 2 && memcmp(b, "xy", 2) == 0);
		close(fds[i]);
	}
}

static void guest_udp(bool six)
{
	static uint8_t b[60000], c[65536];
	static const size_t sizes[] = { 1, 0, 100, 1472, 1473, 9000, 60000 };
	int fd = dial(six, PORT_SERVER, SOCK_DGRAM);

	CHECK(fd >= 0);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		pattern(b, sizes[i], i);
		CHECK(send(fd, b, sizes[i], 0) == (ssize_t)sizes[i]);
		CHECK(recv(fd, c, sizeof(c), 0) == (ssize_t)sizes[i]);
		CHECK(memcmp(b, c, sizes[i]) == 0);
	}
	close(fd);
	/* Nobody there: the host's refusal arrives as the guest's own error. */
	fd = dial(six, PORT_CLOSED, SOCK_DGRAM);
	CHECK(send(fd, b, 10, 0) == 10);
	CHECK(recv(fd, c, sizeof(c), 0) < 0 && errno == ECONNREFUSED);
	close(fd);
	fd = dial(six, PORT_DENIED, SOCK_DGRAM);
	CHECK(send(fd, b, 10, 0) == 10);
	CHECK(recv(fd, c, sizeof(c), 0) < 0 && (errno == EHOSTUNREACH || errno == EACCES));
	close(fd);
}

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

/* One call, ten datagrams: arrives at the tap as one frame where the kernel can do that. */
static void guest_uso(bool six)
{
	static uint8_t b[10000], c[2000];
	int fd = dial(six, PORT_SERVER, SOCK_DGRAM), size = 1000;

	if (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)) == 0) {
		pattern(b, sizeof(b), 0);
		CHECK(send(fd, b, sizeof(b), 0) == sizeof(b));
		for (unsigned i = 0; i < 10; i++) {
			CHECK(recv(fd, c, sizeof(c), 0) == 1000);
			CHECK(memcmp(c, b + i * 1000u, 1000) == 0);
		}
	}
	close(fd);
}

static uint16_t sum16(const uint8_t *p, size_t n)
{
	uint32_t s = 0;

	for (size_t i = 0; i + 1 < n; i += 2)
		s += get_be16(p + i);
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

static void guest_ping(bool six)
{
	uint8_t b[64] = { six ? 128 : 8 }, c[256];
	struct sockaddr_storage ss;
	socklen_t sl = remote(six, 0, &ss);
	int fd = socket(six ? AF_INET6 : AF_INET, SOCK_RAW, six ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	struct timeval tv = { 5, 0 };
	ssize_t n;
	size_t off;

	CHECK(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	put_be16(b + 4, 0x4711);
	put_be16(b + 6, 3);
	memset(b + 8, 'p', 56);
	if (!six)
		put_be16(b + 2, sum16(b, 64));
	CHECK(sendto(fd, b, 64, 0, (struct sockaddr *)&ss, sl) == 64);
	do {
		n = recv(fd, c, sizeof(c), 0);
		CHECK(n > 0);
		off = six ? 0 : (c[0] & 15u) * 4;
	} while (c[off] != (six ? 129 : 0));
	CHECK((size_t)n == off + 64);
	CHECK(get_be16(c + off + 4) == 0x4711 && get_be16(c + off + 6) == 3);
	CHECK(memcmp(c + off + 8, b + 8, 56) == 0);
	close(fd);
}

/* A published port: whoever connects gets an echo. */
static void guest_serve(int ctl)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(8080) };
	int ls = socket(AF_INET, SOCK_STREAM, 0), one = 1, fd;
	char b[4096];
	ssize_t n;

	setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	CHECK(bind(ls, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(ls, 5) == 0);
	CHECK(ipc_send(ctl, "L", 1, NULL, 0) == 0);
	fd = accept(ls, NULL, NULL);
	CHECK(fd >= 0);
	while ((n = read(fd, b, sizeof(b))) > 0)
		CHECK(fd_write_all(fd, b, (size_t)n) == 0);
	CHECK(n == 0);
	close(fd);
	close(ls);
}

static void run_guest(int ctl)
{
	uid_t uid = getuid();
	char map[64], go;
	size_t none;
	int tap;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNET | (uid ? CLONE_NEWUSER : 0)) < 0)
		_exit(SKIP);
	if (uid) {
		write_text("/proc/self/setgroups", "deny");
		snprintf(map, sizeof(map), "0 %u 1", uid);
		write_text("/proc/self/uid_map", map);
	}
	tap = tap_open();
	if (tap < 0)
		_exit(SKIP);
	configure();
	CHECK(ipc_send(ctl, "T", 1, &tap, 1) == 0);
	close(tap);
	CHECK(ipc_recv(ctl, &go, 1, NULL, 0, &none) == 1);
	for (int six = 0; six <= 1; six++) {
		guest_echo(six, PORT_SERVER);
		guest_echo(six, PORT_HELD);
		guest_failures(six);
		guest_udp(six);
		guest_uso(six);
		guest_ping(six);
		guest_bulk(six);
		guest_pressure(six);
	}
	guest_many();
	guest_serve(ctl);
	_exit(0);
}

/* ---- the owner: attaches everything ------------------------------------ */

static struct netstack *stack;
static unsigned begun, ended;
static uint64_t up, down;
static bool release_seen;

static int host_dial(const struct netstack_tuple *t)
{
	bool udp = t->proto == NETSTACK_UDP;
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_port = htons(t->remote.port == PORT_CLOSED ? 1 : server_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&in, sizeof(in)) < 0) {
		close(fd);
		return -1;
	}
	assert_int_equal(fd_set_nonblock(fd, true), 0);
	return fd;
}

static void on_new(void *ctx, struct netstack_flow *f)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f);
	int fd;

	(void)ctx;
	begun++;
	if (t->proto == NETSTACK_ICMP) {
		netstack_flow_local(f);
	} else if (t->remote.port == PORT_DENIED) {
		netstack_flow_refuse(f, NETSTACK_DENIED);
	} else if (t->remote.port == PORT_NOHOST) {
		netstack_flow_refuse(f, NETSTACK_NO_HOST);
	} else if (t->remote.port == PORT_HELD) {
		netstack_flow_accept(f);
	} else {
		fd = host_dial(t);
		if (fd < 0)
			netstack_flow_refuse(f, NETSTACK_PORT_CLOSED);
		else
			netstack_flow_attach(f, fd, false);
	}
}

/* Accepted first: look at the bytes, attach held, take back, attach for good. */
static void on_bytes(void *ctx, struct netstack_flow *f, const uint8_t *p, size_t len, bool eof)
{
	int fd;

	(void)ctx;
	(void)eof;
	if (release_seen && netstack_flow_user(f))
		return;
	assert_true(len >= 1 && p[0] == 'E');
	netstack_flow_set_user(f, &stack);
	netstack_flow_attach(f, host_dial(netstack_flow_tuple(f)), true);
	fd = netstack_flow_detach(f);
	assert_true(fd >= 0);
	netstack_flow_attach(f, fd, true);
	netstack_flow_release(f);
	release_seen = true;
}

static void on_server_first(void *ctx, struct netstack_flow *f)
{
	(void)ctx;
	(void)f;
}

static void on_datagram(void *ctx, struct netstack_flow *f, const uint8_t *p, size_t len)
{
	(void)ctx;
	netstack_flow_send(f, p, len);
}

static void on_end(void *ctx, struct netstack_flow *f, enum netstack_end how,
		   const struct netstack_counts *c)
{
	(void)ctx;
	(void)f;
	(void)how;
	ended++;
	up += c->bytes_up;
	down += c->bytes_down;
}

static const struct netstack_ops ops = {
	.flow_new = on_new,
	.flow_bytes = on_bytes,
	.flow_server_first = on_server_first,
	.flow_datagram = on_datagram,
	.flow_end = on_end,
};

/* ---- published port: a client of ours whose connection is handed in ---- */

struct publish {
	struct loop_io io;
	int client;
	bool done;
};

static void on_control(struct loop_io *io, uint32_t revents)
{
	struct publish *p = container_of(io, struct publish, io);
	struct endpoint from = { ip4(192, 0, 2, 9), 5555 }, to = { ip4(10, 9, 0, 2), 8080 };
	struct netstack_flow *f;
	char c;
	size_t n;
	int sv[2];

	(void)revents;
	if (ipc_recv(io->fd, &c, 1, NULL, 0, &n) != 1) {
		loop_io_del(io);
		return;
	}
	assert_int_equal(c, 'L');
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	assert_int_equal(netstack_connect(stack, NETSTACK_TCP, &from, &to, sv[1], NULL, &f), 0);
	begun++;
	p->client = sv[0];
	assert_int_equal(write(sv[0], "published", 9), 9);
	shutdown(sv[0], SHUT_WR);
}

static int wait_child(pid_t pid, struct loop *l)
{
	uint64_t end = time_mono_ns() + 120 * NS_PER_S;
	int st;

	for (;;) {
		pid_t r = waitpid(pid, &st, WNOHANG);

		if (r == pid)
			return WIFEXITED(st) ? WEXITSTATUS(st) : 128;
		if (time_mono_ns() > end) {
			kill(pid, SIGKILL);
			waitpid(pid, &st, 0);
			return 129;
		}
		assert_int_equal(loop_step(l, 50), 0);
	}
}

/* The guest is gone; its last connections are still being wound up. */
static void settle(struct loop *l, struct netstack_stats *ret)
{
	uint64_t end = time_mono_ns() + 5 * NS_PER_S;

	do {
		assert_int_equal(loop_step(l, 20), 0);
		netstack_stats_get(stack, ret);
	} while (ret->tcp_flows && time_mono_ns() < end);
}

static void bind_server(int *ret_ls, int *ret_us)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t n = sizeof(in);
	int big = 4 << 20;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*ret_ls = socket(AF_INET, SOCK_STREAM, 0);
	*ret_us = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(bind(*ret_ls, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(*ret_ls, 500), 0);
	assert_int_equal(getsockname(*ret_ls, (struct sockaddr *)&in, &n), 0);
	assert_int_equal(bind(*ret_us, (struct sockaddr *)&in, sizeof(in)), 0);
	setsockopt(*ret_us, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
	server_port = ntohs(in.sin_port);
}

/* This process does nothing but relay: its CPU time is the stack's. */
static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void test_real_kernel(void **state)
{
	struct netstack_config cfg = {
		.gateway_mac = { 2, 0, 0, 0, 0, 1 },
		.gateway4 = ip4(10, 9, 0, 1),
		.gateway6 = v6("fd00:9::1"),
		.guest4 = ip4(10, 9, 0, 2),
		.guest6 = v6("fd00:9::2"),
		.mtu = 1500,
		.max_tcp = 1000,
		.max_udp = 100,
		.max_icmp = 10,
	};
	struct publish pub = { .client = -1 };
	struct netstack_stats st;
	int ctl[2], ls, us, tap = -1, r;
	struct loop *l;
	pid_t guest, server;
	size_t n;
	char c, got[32];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ctl), 0);
	bind_server(&ls, &us);
	guest = fork();
	if (guest == 0) {
		close(ctl[0]);
		close(ls);
		close(us);
		run_guest(ctl[1]);
	}
	close(ctl[1]);
	if (ipc_recv(ctl[0], &c, 1, &tap, 1, &n) != 1 || n != 1) {
		waitpid(guest, &r, 0);
		if (WIFEXITED(r) && WEXITSTATUS(r) == SKIP) {
			print_message("skipped: no right to make a network namespace with a tap\n");
			skip();
		}
		fail_msg("guest setup failed");
	}
	server = fork();
	if (server == 0)
		run_server(ls, us);
	close(ls);
	close(us);
	assert_int_equal(loop_new(&l), 0);
	assert_int_equal(netstack_new(l, NETSTACK_LINK_TAP, tap, &cfg, &ops, NULL, &stack), 0);
	assert_int_equal(loop_io_add(l, &pub.io, ctl[0], EPOLLIN, on_control), 0);
	assert_int_equal(ipc_send(ctl[0], "G", 1, NULL, 0), 0);
	r = wait_child(guest, l);
	assert_int_equal(r, 0);
	settle(l, &st);
	assert_int_equal(read(pub.client, got, sizeof(got)), 9);
	assert_memory_equal(got, "published", 9);
	assert_int_equal(read(pub.client, got, 1), 0);
	close(pub.client);
	print_message("  stack: %lu segments sent again, %lu dropped by the link, %lu malformed, "
		      "%lu spoofed\n",
		      st.retransmits, st.dropped_link_full, st.dropped_malformed, st.dropped_spoofed);
	print_message("  stack: %.2f CPU-seconds per GB\n",
		      cpu_seconds() * 1e9 / (double)(up + down));
	assert_int_equal(st.dropped_malformed, 0);
	assert_int_equal(st.tcp_flows, 0);
	netstack_free(stack);
	assert_int_equal(begun, ended);
	assert_true(up > 2ull * BULK && down > 2ull * BULK);
	loop_io_del(&pub.io);
	loop_free(l);
	close(ctl[0]);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real_kernel),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
