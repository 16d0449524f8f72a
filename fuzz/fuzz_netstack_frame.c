/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole stack from the guest's side: the input is a script of frames (raw,
 * or packets with right addresses and checksums vouched for; some with their
 * payload partly in other memory), of decisions of the owner and of what the far
 * ends of attached descriptors do.
 *
 * What must hold: every flow that began ends exactly once; nothing is sent to
 * an address that is not the guest's; memory stays within its bounds; held
 * bytes only ever grow and never exceed their cap.
 */
#include "netstack/netstack_internal.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FLOWS 16
#define PORTS 4

struct world {
	struct loop *loop;
	struct netstack *ns;
	int link;
	struct rd in;
	struct netstack_flow *flow[FLOWS];
	int far[FLOWS]; /* other end of what was attached, -1 */
	unsigned begun, ended, live;
	uint32_t seq[PORTS], ack[PORTS];
	size_t cut, piece; /* the next frame: what is private of it, how the rest is cut; 0: whole */
};

static const uint8_t gateway_mac[6] = { 2, 0, 0, 0, 0, 1 };
static const uint8_t guest_mac[6] = { 2, 0, 0, 0, 0, 2 };
static const struct ip_addr guest4 = { 4, { 10, 9, 0, 2 } };
static const struct ip_addr guest6 = { 6, { 0xfd, [15] = 2 } };
static const struct ip_addr remote4 = { 4, { 192, 0, 2, 1 } };
static const struct ip_addr remote6 = { 6, { 0x20, 1, [15] = 1 } };

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x))                                                                          \
			abort();                                                                   \
	} while (0)

static uint8_t next(struct world *w)
{
	uint8_t b = 0;

	return rd_u8(&w->in, &b) ? b : 0;
}

/* ---- the owner --------------------------------------------------------- */

static int slot(struct world *w, const struct netstack_flow *f)
{
	for (int i = 0; i < FLOWS; i++)
		if (w->flow[i] == f)
			return i;
	return -1;
}

/* Over real sockets on loopback: the far end hears all flows of a port, and knows one to answer. */
static void attach_shared(struct world *w, int i)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int near = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int far = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct sockaddr_storage ss = { 0 };
	socklen_t n = sizeof(a);
	struct endpoint to;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	MUST(near >= 0 && far >= 0 && bind(far, (struct sockaddr *)&a, n) == 0);
	n = sizeof(ss);
	MUST(getsockname(far, (struct sockaddr *)&ss, &n) == 0);
	MUST(connect(near, (struct sockaddr *)&ss, n) == 0);
	MUST(endpoint_from_sockaddr(&ss, &to) == 0);
	fd_close(w->far[i]);
	w->far[i] = far;
	netstack_flow_attach_shared(w->flow[i], near, &to);
	if (recvfrom(far, (char[1]){ 0 }, 1, 0, (struct sockaddr *)&ss, &n) >= 0)
		MUST(connect(far, (struct sockaddr *)&ss, n) == 0);
}

static void attach(struct world *w, int i, bool hold)
{
	bool tcp = netstack_flow_tuple(w->flow[i])->proto == NETSTACK_TCP;
	int sv[2];

	if (w->flow[i]->fd >= 0 || w->flow[i]->sock || w->flow[i]->local)
		return;
	if (hold && netstack_flow_tuple(w->flow[i])->proto == NETSTACK_UDP) {
		attach_shared(w, i);
		return;
	}
	MUST(socketpair(AF_UNIX, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0, sv) == 0);
	fd_close(w->far[i]);
	w->far[i] = sv[1];
	netstack_flow_attach(w->flow[i], sv[0], hold);
}

static void decide(struct world *w, int i)
{
	struct netstack_flow *f = w->flow[i];
	uint8_t b = next(w);
	bool tcp;
	int fd;

	if (!f)
		return;
	tcp = netstack_flow_tuple(f)->proto == NETSTACK_TCP;
	switch (b % 10) {
	case 0:
		netstack_flow_refuse(f, (enum netstack_refusal)(1 + b / 10 % 6));
		break;
	case 1:
	case 2:
		attach(w, i, false);
		break;
	case 3:
		attach(w, i, true);
		break;
	case 4:
		if (tcp)
			netstack_flow_accept(f);
		else if (!f->sock)
			netstack_flow_local(f);
		break;
	case 5:
		netstack_flow_release(f);
		break;
	case 6:
		fd = netstack_flow_detach(f);
		if (fd >= 0)
			close(fd);
		break;
	case 7:
		netstack_flow_abort(f);
		break;
	case 8:
		netstack_flow_send(f, guest_mac, b % 7);
		break;
	default:
		break; /* later */
	}
}

static void on_new(void *ctx, struct netstack_flow *f)
{
	struct world *w = ctx;
	int i = slot(w, NULL);

	w->begun++;
	w->live++;
	if (i < 0) {
		netstack_flow_refuse(f, NETSTACK_LIMIT);
		return;
	}
	w->flow[i] = f;
	decide(w, i);
}

static void on_bytes(void *ctx, struct netstack_flow *f, const uint8_t *p, size_t len, bool eof)
{
	struct world *w = ctx;
	static const struct hash_key key;

	(void)eof;
	MUST(slot(w, f) >= 0 && len <= NETSTACK_HOLD_MAX);
	(void)hash_bytes(&key, p, len); /* every byte is readable */
	decide(w, slot(w, f));
}

static void on_first(void *ctx, struct netstack_flow *f)
{
	struct world *w = ctx;

	decide(w, slot(w, f));
}

static void on_datagram(void *ctx, struct netstack_flow *f, const uint8_t *p, size_t len)
{
	struct world *w = ctx;

	if (next(w) & 1)
		netstack_flow_send(f, p, len);
	else
		decide(w, slot(w, f));
}

static void on_end(void *ctx, struct netstack_flow *f, enum netstack_end how,
		   const struct netstack_counts *c)
{
	struct world *w = ctx;
	int i = slot(w, f);

	(void)how;
	(void)c;
	MUST(w->live > 0);
	w->live--;
	w->ended++;
	if (i < 0)
		return;
	w->flow[i] = NULL;
	fd_close(steal_fd(&w->far[i]));
}

static void on_frame(void *ctx, bool from_guest, const void *head, size_t head_len,
		     const void *payload, size_t payload_len)
{
	(void)ctx;
	(void)from_guest;
	(void)payload;
	(void)payload_len;
	MUST(head_len == 0 || head);
}

static void on_refused(void *ctx, const struct netstack_tuple *t, uint8_t proto,
		       enum netstack_refusal how)
{
	(void)ctx;
	(void)proto;
	(void)how;
	MUST(t->guest.addr.family == t->remote.addr.family);
}

static const struct netstack_ops ops = {
	.flow_new = on_new,
	.flow_bytes = on_bytes,
	.flow_server_first = on_first,
	.flow_datagram = on_datagram,
	.flow_end = on_end,
	.frame = on_frame,
	.packet_refused = on_refused,
};

/* ---- the link ---------------------------------------------------------- */

/* Remembers what the stack has sent on our ports, so that scripts can acknowledge it. */
static void note_segment(struct world *w, const uint8_t *p, size_t n)
{
	struct tcp_seg s;

	if (tcp_seg_parse(p, n, &s) < 0 || s.dst_port < 2000 || s.dst_port >= 2000 + PORTS)
		return;
	w->ack[s.dst_port - 2000] =
		s.seq + (uint32_t)s.len + !!(s.flags & TCP_SYN) + !!(s.flags & TCP_FIN);
}

static void check_frame(struct world *w, const uint8_t *b, size_t n)
{
	const uint8_t *p = b + 12 + ETH_HEAD;

	MUST(n >= 12 + ETH_HEAD);
	n -= 12 + ETH_HEAD;
	switch (get_be16(b + 24)) {
	case ETH_ARP:
		return;
	case ETH_IP4:
		MUST(n >= 20 && memcmp(p + 16, guest4.b, 4) == 0);
		MUST(get_be16(p + 2) == n);
		if (p[9] == IPPROTO_TCP)
			note_segment(w, p + 20, n - 20);
		return;
	case ETH_IP6:
		MUST(n >= 40 && get_be16(p + 4) == n - 40);
		/* Advertisements may go to its link-local address or to all nodes. */
		MUST(memcmp(p + 24, guest6.b, 16) == 0 || p[24] == 0xff || p[24] == 0xfe);
		if (p[6] == IPPROTO_TCP)
			note_segment(w, p + 40, n - 40);
		return;
	default:
		abort();
	}
}

static void step(struct world *w, bool drain)
{
	static uint8_t b[70000];
	ssize_t n;

	MUST(loop_step(w->loop, 0) == 0);
	while (drain && (n = read(w->link, b, sizeof(b))) > 0)
		check_frame(w, b, (size_t)n);
	MUST(w->ns->frags.bytes <= LIMIT_FRAG_BYTES && w->ns->frags.n <= LIMIT_FRAG_SETS);
	MUST(w->ns->tcp.mem_used <= LIMIT_TCP_MEM + 64u * 131072u);
}

static void put_eth(uint8_t *b, uint16_t type)
{
	memcpy(b + 12, gateway_mac, 6);
	memcpy(b + 18, guest_mac, 6);
	put_be16(b + 24, type);
}

/* An IP header of the guest's around n bytes of payload behind it; returns the frame's length. */
static size_t wrap(uint8_t *b, bool six, uint8_t proto, uint16_t frag, size_t n)
{
	struct csum c = { 0 };
	uint8_t *p = b + 12 + ETH_HEAD;

	memset(b, 0, 12);
	b[0] = 1; /* checksum vouched for */
	put_eth(b, six ? ETH_IP6 : ETH_IP4);
	if (six)
		return 12 + ETH_HEAD + n + ip_build_header(p, &guest6, &remote6, proto, 255, n);
	ip_build_header(p, &guest4, &remote4, proto, 64, n);
	put_be16(p + 6, frag);
	put_be16(p + 10, 0);
	csum_feed(&c, p, 20);
	csum_store(&c, p + 10);
	return 12 + ETH_HEAD + 20 + n;
}

/* In two parts: each byte in memory that ends where it may be read, and is gone behind the call. */
static void put_cut(struct world *w, const uint8_t *b, size_t n)
{
	static struct link_rx rx;
	size_t head = MIN(w->cut, n);
	uint8_t *p = malloc(head), *at[LINK_TAIL_MAX];

	MUST(p);
	memcpy(p, b + 12, head);
	link_rx_set(&rx, p, head);
	rx.vouched = b[0] & 1;
	for (b += 12 + head, n -= head; n; rx.n_tail++) {
		size_t k = rx.n_tail == LINK_TAIL_MAX - 1 ? n : MIN(n, w->piece);

		MUST((at[rx.n_tail] = malloc(k)));
		memcpy(at[rx.n_tail], b, k);
		rx.tail[rx.n_tail] = (struct iovec){ at[rx.n_tail], k };
		rx.tail_len += k;
		b += k;
		n -= k;
	}
	eth_input(w->ns, &rx);
	ns_flush_later(w->ns);
	for (unsigned i = 0; i < rx.n_tail; i++)
		free(at[i]);
	free(p);
	w->cut = 0;
}

static void put(struct world *w, const uint8_t *b, size_t n)
{
	if (w->cut && n > 12)
		put_cut(w, b, n - 12);
	else
		(void)!write(w->link, b, n);
}

static size_t take(struct world *w, uint8_t *dst, size_t max)
{
	size_t n = MIN((size_t)next(w) * 4, MIN(max, rd_left(&w->in)));

	return rd_copy(&w->in, dst, n) ? n : 0;
}

static void send_raw(struct world *w)
{
	uint8_t b[2048] = { 0 };
	uint8_t how = next(w);
	size_t n = take(w, b + (how & 1 ? 12 + ETH_HEAD : 0), 1024);

	if (how & 1) {
		put_eth(b, how & 2 ? ETH_IP6 : how & 4 ? ETH_ARP : ETH_IP4);
		b[0] = how >> 3 & 1;
		n += 12 + ETH_HEAD;
	}
	if (n)
		put(w, b, n);
}

static void send_packet(struct world *w, bool six, bool fragment)
{
	uint8_t b[2048];
	uint8_t proto = next(w), gso = next(w);
	size_t head = six ? 40 : 20;
	size_t n = take(w, b + 12 + ETH_HEAD + head, 1200);
	uint16_t frag = fragment ? (uint16_t)(next(w) << 8 | next(w)) & 0x3fff : 0;

	n = wrap(b, six, proto, frag, n);
	if (gso & 1) {
		b[1] = gso >> 1;
		b[4] = next(w);
	}
	put(w, b, n);
}

static void send_tcp(struct world *w, bool six)
{
	static uint8_t b[70000];
	uint8_t *p = b + 12 + ETH_HEAD + (six ? 40 : 20);
	uint8_t port = next(w) % PORTS, flags = next(w), wnd = next(w);
	uint32_t seq = w->seq[port] + (uint32_t)(int8_t)next(w);
	size_t n = next(w) * (w->cut ? 250u : 4u); /* beyond what goes past the receive queue */

	memset(p, 0, 20 + n);
	put_be16(p, 2000 + port);
	put_be16(p + 2, 443);
	put_be32(p + 4, seq);
	put_be32(p + 8, flags & TCP_ACK ? w->ack[port] + (uint32_t)(int8_t)next(w) : 0);
	p[12] = 0x50;
	p[13] = flags & 0x3f;
	put_be16(p + 14, (uint16_t)(wnd << 8 | wnd));
	w->seq[port] = seq + (uint32_t)n + !!(flags & TCP_SYN) + !!(flags & TCP_FIN);
	put(w, b, wrap(b, six, IPPROTO_TCP, 0, n + 20));
}

static void far_end(struct world *w)
{
	static uint8_t b[65536];
	uint8_t how = next(w);
	int *fd = &w->far[how % FLOWS];

	if (*fd < 0)
		return;
	switch (how / FLOWS % 5) {
	case 0:
		(void)!write(*fd, b, next(w) * 257u);
		break;
	case 1:
		(void)!read(*fd, b, sizeof(b));
		break;
	case 2:
		shutdown(*fd, SHUT_WR);
		break;
	case 3:
		shutdown(*fd, SHUT_RD);
		break;
	default:
		fd_close(steal_fd(fd));
	}
}

static void publish(struct world *w)
{
	bool six = next(w) & 1, udp = next(w) & 1;
	struct endpoint from = { six ? remote6 : remote4, 443 };
	struct endpoint to = { six ? guest6 : guest4, (uint16_t)(2000 + next(w) % PORTS) };
	struct netstack_flow *f;
	int i = slot(w, NULL), sv[2];

	if (i < 0)
		return;
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) == 0);
	if (netstack_connect(w->ns, udp ? NETSTACK_UDP : NETSTACK_TCP, &from, &to, udp ? -1 : sv[0],
			     NULL, &f) < 0) {
		close(sv[0]);
		close(sv[1]);
		return;
	}
	if (udp)
		close(sv[0]);
	w->begun++;
	w->live++;
	w->flow[i] = f;
	w->far[i] = sv[1];
}

static void run(struct world *w)
{
	while (rd_left(&w->in)) {
		uint8_t op = next(w);

		switch (op % 12) {
		case 0:
			send_raw(w);
			break;
		case 1:
		case 2:
			send_packet(w, op % 12 == 2, false);
			break;
		case 3:
			send_packet(w, false, true);
			break;
		case 4:
		case 5:
		case 6:
			send_tcp(w, op & 0x80);
			break;
		case 7:
			decide(w, next(w) % FLOWS);
			break;
		case 8:
			far_end(w);
			break;
		case 9:
			publish(w);
			break;
		case 10:
			w->cut = 1u + next(w);
			w->piece = 1u + next(w) * 64u;
			break;
		default:
			break;
		}
		step(w, op & 0x40 || !(op & 0x20));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct netstack_config cfg = {
		.gateway4 = ip4(10, 9, 0, 1),
		.gateway6 = { 6, { 0xfd, [15] = 1 } },
		.guest4 = guest4,
		.guest6 = guest6,
		.mtu = 1500,
		.max_tcp = 6,
		.max_udp = 6,
		.max_icmp = 3,
	};
	static struct world w;
	int sv[2];

	signal(SIGPIPE, SIG_IGN);
	memset(&w, 0, sizeof(w));
	memset(w.far, 0xff, sizeof(w.far));
	memcpy(cfg.gateway_mac, gateway_mac, 6);
	w.in = rd_init(data, size);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv) == 0);
	MUST(loop_new(&w.loop) == 0);
	w.link = sv[0];
	MUST(netstack_new(w.loop, NETSTACK_LINK_TAP, sv[1], &cfg, &ops, &w, &w.ns) == 0);
	run(&w);
	for (unsigned i = 0; i < 4; i++)
		step(&w, true);
	netstack_free(w.ns);
	MUST(w.begun == w.ended && w.live == 0);
	for (unsigned i = 0; i < FLOWS; i++)
		fd_close(w.far[i]);
	close(w.link);
	loop_free(w.loop);
	return 0;
}
