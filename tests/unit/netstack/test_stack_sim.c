/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole stack over a bad cable: a guest (the engine again, with headers of its
 * own making), frames that are lost, doubled, delayed, put out of order and damaged
 * on their way in either direction, and an application behind a socket. Bulk both
 * ways, half closes by either side, silences from seconds to hours, on IPv4 and
 * IPv6, over a Unix pair (ring) and a TCP socket (peeked). Time is the test's
 * (--wrap=time_mono_ns), so a seed is the same run each time but for the kernel's
 * own TCP.
 *
 * Every byte must arrive once, in order and right; each side's end must be told to
 * the other; the flow must end with exact counts and leave no memory behind.
 *
 * STACK_SIM_SEEDS=N: N times as many seeds. STACK_SIM_FIRST=N: begin there.
 */
#include "frames.h"

#include <inttypes.h>

uint64_t __wrap_time_mono_ns(void);

static uint64_t clock_ns = 1000 * NS_PER_S;

uint64_t __wrap_time_mono_ns(void)
{
	return clock_ns;
}

struct parcel {
	struct parcel *next;
	uint64_t at;
	bool to_guest;
	size_t len;
	uint8_t b[];
};

struct side {
	uint64_t total, sent, got, silent_until;
	bool waits; /* for the other's end before it says anything */
	bool shut, eof;
};

struct sim {
	uint64_t seed, rng;
	unsigned loss, dup, reorder, corrupt, idle;
	bool six, tcp_far, naps;
	struct rig r;
	struct tcp_stack stack;
	struct tcp *t;
	uint64_t timer;
	bool closed;
	struct endpoint guest_ep, remote_ep;
	struct parcel *queue;
	struct side guest, far;
	bool over; /* the flow, with what follows */
	enum netstack_end how;
	struct netstack_counts counts;
	int fd; /* the application's */
	int near;
};

#define CHECK(s, x)                                                                                \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			print_error("seed %" PRIu64 ", %.3f s: %s (guest %s %" PRIu64 "/%" PRIu64  \
				    ", far %" PRIu64 "/%" PRIu64 ", %u ended by %d)\n",            \
				    (s)->seed, (double)clock_ns / 1e9, #x,                         \
				    (s)->t ? tcp_state_name((s)->t) : "-", (s)->guest.got,         \
				    (s)->far.total, (s)->far.got, (s)->guest.total, (s)->r.ended,  \
				    (int)(s)->r.how);                                              \
			fail();                                                                    \
		}                                                                                  \
	} while (0)

static uint64_t draw(struct sim *s)
{
	s->rng ^= s->rng << 13;
	s->rng ^= s->rng >> 7;
	s->rng ^= s->rng << 17;
	return s->rng * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

static bool chance(struct sim *s, unsigned per_thousand)
{
	return per_thousand && draw(s) % 1000 < per_thousand;
}

static uint8_t byte_of(const struct sim *s, int who, uint64_t off)
{
	uint64_t x = (off / 8 + (uint64_t)who * 7777 + s->seed) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint8_t)(x >> (8 * (off % 8)));
}

/* ---- the cable ------------------------------------------------------------- */

static uint32_t sum16(uint32_t c, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + 1 < n; i += 2)
		c += get_be16(p + i);
	if (n & 1)
		c += (uint32_t)p[n - 1] << 8;
	while (c >> 16)
		c = (c & 0xffff) + (c >> 16);
	return c;
}

/* Of a whole TCP segment behind its IP header, the field included. */
static uint32_t tcp_sum(const uint8_t *ip, size_t len)
{
	size_t head = ip[0] >> 4 == 4 ? 20 : 40, n = ip[0] >> 4 == 4 ? 8 : 32;
	uint32_t c = sum16((uint32_t)(IPPROTO_TCP + len - head), ip + (head == 20 ? 12 : 8), n);

	return sum16(c, ip + head, len - head);
}

static void post(struct sim *s, bool to_guest, const uint8_t *b, size_t n)
{
	struct parcel *p = malloc(sizeof(*p) + n), **at = &s->queue;

	assert_non_null(p);
	p->at = clock_ns + 30 * 1000;
	if (chance(s, s->reorder))
		p->at += draw(s) % (3 * NS_PER_MS);
	p->to_guest = to_guest;
	p->len = n;
	memcpy(p->b, b, n);
	/* What nobody has summed up cannot be seen to be damaged. */
	if (!(b[0] & 1) && chance(s, s->corrupt))
		p->b[L2 + draw(s) % (n - L2)] ^= (uint8_t)(1u << draw(s) % 8);
	while (*at && (*at)->at <= p->at)
		at = &(*at)->next;
	p->next = *at;
	*at = p;
}

static void cable(struct sim *s, bool to_guest, const uint8_t *b, size_t n)
{
	if (chance(s, s->loss))
		return;
	post(s, to_guest, b, n);
	if (chance(s, s->dup))
		post(s, to_guest, b, n);
}

/* ---- the guest ---------------------------------------------------------------- */

static size_t ip_head(struct sim *s, uint8_t *b, size_t payload)
{
	uint8_t *p = b + L2;

	memset(b, 0, L2 + 40);
	memcpy(b + VNET, mac_gw, 6);
	memcpy(b + VNET + 6, mac_guest, 6);
	put_be16(b + VNET + 12, s->six ? 0x86dd : 0x0800);
	if (s->six) {
		p[0] = 0x60;
		put_be16(p + 4, (uint16_t)payload);
		p[6] = IPPROTO_TCP;
		p[7] = 64;
		memcpy(p + 8, s->guest_ep.addr.b, 16);
		memcpy(p + 24, s->remote_ep.addr.b, 16);
		return 40;
	}
	p[0] = 0x45;
	put_be16(p + 2, (uint16_t)(20 + payload));
	p[6] = 0x40;
	p[8] = 64;
	p[9] = IPPROTO_TCP;
	memcpy(p + 12, s->guest_ep.addr.b, 4);
	memcpy(p + 16, s->remote_ep.addr.b, 4);
	put_be16(p + 10, (uint16_t)~sum16(0, p, 20));
	return 20;
}

static void guest_send(struct sim *s, const struct tcp_out *o)
{
	static uint8_t b[2000];
	size_t head = ip_head(s, b, o->head_len + o->data_len), n = L2 + head;
	uint8_t *tcp = b + n;

	CHECK(s, o->data_len + o->head_len <= 1500 - head);
	memcpy(b + n, o->head, o->head_len);
	n += o->head_len;
	for (unsigned i = 0; i < 2; i++) {
		if (o->data[i].len)
			memcpy(b + n, o->data[i].p, o->data[i].len);
		n += o->data[i].len;
	}
	put_be16(tcp + 16, 0);
	put_be16(tcp + 16, (uint16_t)~tcp_sum(b + L2, n - L2));
	cable(s, false, b, n);
}

static bool guest_emit(struct tcp *t, const struct tcp_out *o)
{
	guest_send(tcp_owner(t), o);
	return true;
}

static void guest_note(struct tcp *t, enum tcp_note n)
{
	struct sim *s = tcp_owner(t);

	s->closed |= n == TCP_CLOSED;
	/* A FIN that came again when we had forgotten is all that may go wrong. */
	if (n == TCP_RESET_BY_PEER || n == TCP_TIMED_OUT)
		CHECK(s, s->far.got == s->guest.total && s->guest.got == s->far.total && s->loss);
}

static void guest_set_timer(struct tcp *t, uint64_t when)
{
	struct sim *s = tcp_owner(t);

	s->timer = when;
}

static const struct tcp_ops guest_ops = { .emit = guest_emit,
					  .note = guest_note,
					  .set_timer = guest_set_timer };

static void guest_receive(struct sim *s, const uint8_t *b, size_t len)
{
	const uint8_t *ip = b + L2;
	size_t n = len - L2, head = s->six ? 40 : 20;
	struct tcp_seg g;
	struct tcp_out o;

	if (n < head + 20 || ip[0] >> 4 != (s->six ? 6 : 4) || ip[s->six ? 6 : 9] != IPPROTO_TCP ||
	    (!s->six && sum16(0, ip, 20) != 0xffff) || tcp_sum(ip, n) != 0xffff)
		return;
	CHECK(s, tcp_seg_parse(ip + head, n - head, &g) == 0);
	CHECK(s, g.src_port == s->remote_ep.port && g.dst_port == s->guest_ep.port);
	if (!s->closed)
		tcp_input(s->t, &g, clock_ns);
	else if (tcp_refuse(&g, &o))
		guest_send(s, &o);
}

/* ---- frames of the stack: cut and summed, as hardware would ------------------------- */

static void cut(struct sim *s, uint8_t *b, size_t n)
{
	static uint8_t one[70000];
	size_t head = s->six ? 40 : 20, l4 = L2 + head, hdr = l4 + (b[l4 + 12] >> 4) * 4u;
	size_t mss = b[1] ? (size_t)(b[4] | b[5] << 8) : n - hdr, off = 0;
	uint8_t flags = b[l4 + 13];
	uint32_t seq = get_be32(b + l4 + 4);

	do {
		size_t k = MIN(mss, n - hdr - off);

		memcpy(one, b, hdr);
		memcpy(one + hdr, b + hdr + off, k);
		memset(one, 0, VNET);
		if (off + k < n - hdr)
			one[l4 + 13] = flags & (uint8_t) ~(TCP_FIN | TCP_PSH);
		put_be32(one + l4 + 4, seq + (uint32_t)off);
		if (s->six) {
			put_be16(one + L2 + 4, (uint16_t)(hdr - l4 + k));
		} else {
			put_be16(one + L2 + 2, (uint16_t)(hdr - L2 + k));
			put_be16(one + L2 + 10, 0);
			put_be16(one + L2 + 10, (uint16_t)~sum16(0, one + L2, 20));
		}
		put_be16(one + l4 + 16, 0);
		put_be16(one + l4 + 16, (uint16_t)~tcp_sum(one + L2, hdr - L2 + k));
		cable(s, true, one, hdr + k);
		off += k;
	} while (off < n - hdr);
}

static bool take_frames(struct sim *s)
{
	static uint8_t b[70000];
	bool any = false;
	ssize_t n;

	while ((n = read(s->r.fd, b, sizeof(b))) > 0) {
		uint16_t type = get_be16(b + VNET + 12);

		any = true;
		if (type != (s->six ? 0x86dd : 0x0800) || b[L2 + (s->six ? 6 : 9)] != IPPROTO_TCP)
			continue; /* neighbours, and errors about what was damaged */
		if (b[0] & 1)
			cut(s, b, (size_t)n);
		else
			cable(s, true, b, (size_t)n);
	}
	return any;
}

/* ---- applications --------------------------------------------------------------------- */

static bool silent(struct sim *s, struct side *a)
{
	if (clock_ns < a->silent_until)
		return true;
	if (!chance(s, s->idle))
		return false;
	a->silent_until = clock_ns + draw(s) % (30 * NS_PER_S);
	if (s->naps) { /* once: longer than it takes to be asked whether one lives */
		s->naps = false;
		a->silent_until += 9000 * NS_PER_S;
	}
	return true;
}

static bool may_send(const struct side *me)
{
	return !me->shut && !(me->waits && !me->eof);
}

static bool guest_turn(struct sim *s)
{
	struct side *g = &s->guest;
	const uint8_t *in[2];
	uint8_t *out[2];
	size_t len[2], n, most = 1 + draw(s) % 60000;
	bool any = false;

	if (silent(s, g))
		return false;
	n = tcp_rx_peek(s->t, in, len);
	n = MIN(n, most);
	for (size_t i = 0; i < n; i++)
		CHECK(s, (i < len[0] ? in[0][i] : in[1][i - len[0]]) == byte_of(s, 1, g->got + i));
	if (n) {
		g->got += n;
		tcp_rx_consume(s->t, n, clock_ns);
		any = true;
	}
	if (!g->eof && tcp_rx_eof(s->t) && tcp_rx_peek(s->t, in, len) == 0) {
		CHECK(s, g->got == s->far.total && s->far.shut);
		g->eof = any = true;
	}
	if (s->closed || !may_send(g))
		return any;
	n = tcp_tx_space(s->t, out, len);
	n = MIN(MIN(n, most), g->total - g->sent);
	for (size_t i = 0; i < n; i++)
		*(i < len[0] ? out[0] + i : out[1] + i - len[0]) = byte_of(s, 0, g->sent + i);
	if (n) {
		g->sent += n;
		tcp_tx_commit(s->t, n, clock_ns);
		any = true;
	}
	if (g->sent == g->total) {
		g->shut = any = true;
		tcp_shutdown(s->t, clock_ns);
	}
	return any;
}

static bool far_turn(struct sim *s)
{
	static uint8_t b[60000];
	struct side *f = &s->far;
	size_t most = 1 + draw(s) % sizeof(b);
	bool any = false;
	ssize_t n;

	if (s->near >= 0 || silent(s, f))
		return false;
	n = f->eof ? -1 : read(s->fd, b, most);
	for (ssize_t i = 0; i < n; i++)
		CHECK(s, b[i] == byte_of(s, 0, f->got + (uint64_t)i));
	if (n > 0) {
		f->got += (uint64_t)n;
		any = true;
	} else if (n == 0) {
		CHECK(s, f->got == s->guest.total && s->guest.shut);
		f->eof = any = true;
	} else {
		CHECK(s, f->eof || errno == EAGAIN);
	}
	if (!may_send(f))
		return any;
	n = (ssize_t)MIN(f->total - f->sent, most);
	for (ssize_t i = 0; i < n; i++)
		b[i] = byte_of(s, 1, f->sent + (uint64_t)i);
	n = write(s->fd, b, (size_t)n);
	if (n > 0) {
		f->sent += (uint64_t)n;
		any = true;
	}
	if (f->sent == f->total) {
		f->shut = any = true;
		assert_int_equal(shutdown(s->fd, SHUT_WR), 0);
	}
	return any;
}

/* ---- a run ------------------------------------------------------------------------------ */

static void on_new(struct rig *r, struct netstack_flow *f)
{
	struct sim *s = container_of(r, struct sim, r);

	/* A SYN doubled and held up on its way, when nothing is left that could know it. */
	if (r->begun > 1) {
		CHECK(s, s->over && s->dup && s->reorder);
		netstack_flow_refuse(f, NETSTACK_DENIED);
		return;
	}
	netstack_flow_attach(f, steal_fd(&s->near), false);
}

static void far_sockets(struct sim *s)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(a);
	int sv[2], l;

	if (!s->tcp_far) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
		s->near = sv[0];
		s->fd = sv[1];
		return;
	}
	l = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(l >= 0);
	assert_int_equal(bind(l, (struct sockaddr *)&a, n), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&a, &n), 0);
	s->near = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(s->near, (struct sockaddr *)&a, n), 0);
	assert_int_equal(fd_set_nonblock(s->near, true), 0);
	s->fd = accept4(l, NULL, NULL, SOCK_NONBLOCK);
	assert_true(s->fd >= 0);
	close(l);
}

static bool deliver(struct sim *s)
{
	bool any = false;

	while (s->queue && s->queue->at <= clock_ns) {
		struct parcel *p = s->queue;

		s->queue = p->next;
		any = true;
		if (p->to_guest)
			guest_receive(s, p->b, p->len);
		else /* as with a tap, what does not fit is lost */
			(void)!write(s->r.fd, p->b, p->len);
		free(p);
	}
	return any;
}

static void sooner(uint64_t *when, uint64_t t)
{
	if (t > clock_ns && t < *when)
		*when = t;
}

/* The stack's own timers are not known here: time goes in steps that grow while nothing happens. */
static void turn(struct sim *s, uint64_t *quantum)
{
	bool any = deliver(s);
	uint64_t when;

	if (s->timer && s->timer <= clock_ns && !s->closed) {
		s->timer = 0;
		tcp_timer(s->t, clock_ns);
		any = true;
	}
	any |= guest_turn(s);
	any |= far_turn(s);
	assert_int_equal(loop_step(s->r.loop, 0), 0);
	any |= take_frames(s);
	if (!s->over && s->r.ended) {
		s->over = true;
		s->how = s->r.how;
		s->counts = s->r.counts;
	}
	*quantum = any ? 20 * 1000 : MIN(*quantum * 2, NS_PER_S / 4);
	when = clock_ns + *quantum;
	if (s->queue)
		sooner(&when, s->queue->at);
	if (!s->closed)
		sooner(&when, s->timer);
	sooner(&when, s->guest.silent_until);
	sooner(&when, s->far.silent_until);
	clock_ns = when;
}

static struct netstack_stats stats(struct sim *s)
{
	struct netstack_stats st;

	netstack_stats_get(s->r.ns, &st);
	return st;
}

static void begin(struct sim *s, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	s->seed = seed;
	s->rng = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + 88172645463325252u;
	if (seed % 5) { /* every fifth cable is a good one */
		s->loss = (unsigned)(seed * 31 % 100);
		s->dup = seed % 3 ? 0 : 50;
		s->reorder = seed % 4 ? 0 : 100;
		s->corrupt = seed % 2 ? 0 : 30;
	}
	s->six = seed / 2 & 1;
	s->tcp_far = seed / 4 & 1;
	s->idle = seed % 7 ? 0 : 30;
	s->naps = seed % 49 == 0;
	s->guest.total = seed % 11 == 3 ? 0 : draw(s) % 150000;
	s->far.total = seed % 13 == 3 ? 0 : draw(s) % 150000;
	s->guest.waits = seed % 3 == 1;
	s->far.waits = seed % 3 == 2;
	s->near = -1;
	rig_start(&s->r);
	s->r.on_new = on_new;
	s->guest_ep = (struct endpoint){ s->six ? s->r.cfg.guest6 : s->r.cfg.guest4, 2000 };
	s->remote_ep = (struct endpoint){ s->six ? addr("2001:db8::5") : ip4(192, 0, 2, 5), 443 };
	s->stack = (struct tcp_stack){ .ops = &guest_ops,
				       .isn_key = { { seed, 7 } },
				       .mss4 = 1460,
				       .mss6 = 1440,
				       .tso_max = 1, /* one segment at a time */
				       .rx_max = 1 << 20,
				       .tx_max = 1 << 20,
				       .mem_max = 16 << 20 };
	far_sockets(s);
	assert_int_equal(tcp_new(&s->stack, &s->guest_ep, &s->remote_ep, s, &s->t), 0);
	tcp_connect(s->t, clock_ns);
}

static void end(struct sim *s)
{
	tcp_free(s->t);
	while (s->queue) {
		struct parcel *p = s->queue;

		s->queue = p->next;
		free(p);
	}
	close(s->fd);
	rig_stop(&s->r);
}

static void one(uint64_t seed)
{
	static struct sim s;
	uint64_t quantum = 20 * 1000, limit;

	begin(&s, seed);
	limit = clock_ns + 20000 * NS_PER_S;
	while (!(s.closed && s.over && s.guest.eof && s.far.eof && s.far.shut)) {
		CHECK(&s, clock_ns < limit);
		turn(&s, &quantum);
	}
	CHECK(&s, s.guest.got == s.far.total && s.far.got == s.guest.total);
	CHECK(&s, s.how == NETSTACK_END_CLOSED || (s.loss && s.how == NETSTACK_END_GUEST_RESET));
	CHECK(&s, s.counts.bytes_up == s.guest.total && s.counts.bytes_down == s.far.total);
	/* What was sent again must have been lost, or the cable was too wild to say. */
	if (!s.loss && !s.reorder && !s.corrupt && !s.idle && !s.tcp_far)
		CHECK(&s, stats(&s).retransmits == 0);
	/* TIME-WAIT and what else outlives the flow. */
	for (limit = clock_ns + 300 * NS_PER_S; stats(&s).tcp_flows || stats(&s).memory_used;) {
		CHECK(&s, clock_ns < limit);
		turn(&s, &quantum);
	}
	end(&s);
}

static void every_byte(void **state)
{
	const char *n = getenv("STACK_SIM_SEEDS"), *first = getenv("STACK_SIM_FIRST");
	uint64_t from = first ? strtoull(first, NULL, 10) : 0;

	(void)state;
	for (uint64_t i = 0; i < 250 * (n ? strtoull(n, NULL, 10) : 1); i++)
		one(from + i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
