/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway's judging on top of the whole stack, from the guest's frames to
 * connect(): real netstack, flows, resolver, dialling and record; of the world
 * only the calls that would leave the machine are replaced (the linker's
 * --wrap), and time, which passes when the script says so.
 *
 * What must hold, by a second reading of the policy that shares no code with it
 * (verdict_of below):
 *   - connect() and datagrams go to nothing but what the policy may allow, and no
 *     socket is made that is not connected at once
 *   - a flow to what can only be denied is over within flow_new, is on the record,
 *     and gets at most one RST or ICMP "prohibited" per packet, nothing else
 *   - frames to the guest are well-formed (fuzz_frame_check.h)
 *   - flows and accounted memory stay within what was configured; each flow that
 *     began ends; no descriptor is left
 */
#include "weir/gateway_int.h"

#include "fuzz_frame_check.h"
#include "fuzz_input.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_PSH 8
#define TCP_ACK 16

#define PORTS 4
#define FARS 32
#define SENT 256
#define MAX_TCP 10
#define MAX_UDP 8
#define MAX_ICMP 3
#define MEMORY (UINT64_C(1) << 20)

static const char rules[] =
	"{\"default_egress\":\"deny\",\"rules\":["
	"{\"id\":\"one-no\",\"action\":\"deny\",\"destination\":\"93.184.216.66\"},"
	"{\"id\":\"few\",\"action\":\"allow\",\"destination\":\"93.184.217.0/24\","
	"\"protocols\":[\"udp\",\"icmpv4\"],\"limit\":{\"connections\":3}},"
	"{\"id\":\"host\",\"action\":\"allow\",\"destination\":\"host\",\"protocol\":\"tcp\","
	"\"ports\":[8080]},"
	"{\"id\":\"name-no\",\"action\":\"deny\",\"destination\":\"bad.good.example\"},"
	"{\"id\":\"web\",\"action\":\"allow\",\"destination\":\"93.184.216.0/24\","
	"\"protocol\":\"tcp\",\"ports\":[80,443]},"
	"{\"id\":\"web6\",\"action\":\"allow\",\"destination\":\"2606:2800::/64\","
	"\"protocol\":\"tcp\",\"ports\":[443]},"
	"{\"id\":\"name\",\"action\":\"allow\",\"destination\":\".good.example\","
	"\"protocols\":[\"tcp\",\"udp\"],\"ports\":[443]}]}";
static const char nothing[] = "{\"default_egress\":\"deny\",\"rules\":[]}";

static const char *const names[] = { "good.example", "a.good.example", "bad.good.example",
				     "other.test" };

struct sent {
	uint8_t proto;
	uint16_t port, rport;
	struct ip_addr to;
	unsigned packets, refusals;
};

static struct world {
	struct gateway gw;
	struct gateway_spec spec;
	struct weir_config cfg;
	struct frame_link rules;
	int link, record, far[FARS];
	int ping; /* the last socket made for echo requests */
	unsigned next_far;
	unsigned begun, ended, denied, recorded;
	unsigned sockets, connects;
	bool narrow; /* the policy in force allows nothing */
	struct ip_addr answered[16], given[16];
	unsigned n_answered, n_given;
	struct sent sent[SENT];
	unsigned wild; /* packets whose destination the model does not know */
	uint32_t seq[PORTS], ack[PORTS];
	size_t mangle_at;
	uint8_t mangle;
	uint64_t now;
} w;

static struct policy *policies[2];
static struct weir_config *config;
static int resolver = -1; /* answers what the script says */
static struct endpoint resolver_at;

/* ---- the second reading of the policy --------------------------------------- */

enum verdict { NEVER, MAYBE };

static bool answered_for_good(const struct ip_addr *a)
{
	for (unsigned i = 0; i < MIN(w.n_answered, (unsigned)ARRAY_SIZE(w.answered)); i++)
		if (ip_equal(&w.answered[i], a))
			return true;
	return false;
}

/* As rules[] says; MAYBE: it depends on names, limits or what is under way. */
static enum verdict verdict_of(uint8_t proto, const struct ip_addr *a, uint16_t port, bool host)
{
	static const uint8_t web6[8] = { 0x26, 0x06, 0x28, 0x00 };

	if (host)
		return proto == IPPROTO_TCP && port == 8080 ? MAYBE : NEVER;
	if (a->family == 6)
		return proto == IPPROTO_TCP && port == 443 && memcmp(a->b, web6, 8) == 0 ? MAYBE
											 : NEVER;
	if (a->b[0] == 93 && a->b[1] == 184 && a->b[2] == 216 && a->b[3] == 66)
		return NEVER;
	if (a->b[0] == 93 && a->b[1] == 184 && a->b[2] == 216 && proto == IPPROTO_TCP)
		return port == 443 || port == 80 ? MAYBE : NEVER;
	if (a->b[0] == 93 && a->b[1] == 184 && a->b[2] == 217 && proto != IPPROTO_TCP)
		return MAYBE;
	/* By name: only what our resolver has answered for one that is allowed. */
	return proto != IPPROTO_ICMP && port == 443 && answered_for_good(a) && a->b[0] != 10 ? MAYBE
											     : NEVER;
}

static bool is_virtual(const struct ip_addr *a)
{
	return ip_in_prefix(a, &w.cfg.net.virtual4) || ip_in_prefix(a, &w.cfg.net.virtual6);
}

/* What the guest writes to: can it be anything but denied? */
static bool hopeless(uint8_t proto, const struct ip_addr *a, uint16_t port)
{
	if (proto != IPPROTO_ICMP && proto != IPPROTO_ICMPV6 && port == 53)
		return false;
	if (is_virtual(a))
		return false;
	return verdict_of(proto, a, port, is_gateway(&w.cfg.net, a)) == NEVER;
}

/* ---- the world -------------------------------------------------------------- */

int __real_connect(int fd, const struct sockaddr *a, socklen_t n);
int __wrap_connect(int fd, const struct sockaddr *a, socklen_t n);
int __real_socket(int domain, int type, int proto);
int __wrap_socket(int domain, int type, int proto);
ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
int __real_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags);
uint64_t __wrap_time_mono_ns(void);

uint64_t __wrap_time_mono_ns(void)
{
	return w.now;
}

int __wrap_socket(int domain, int type, int proto)
{
	bool ping = proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
	/* The kernel may not let us have one for echo requests; it is replaced anyway. */
	int fd = __real_socket(ping ? AF_UNIX : domain, type, ping ? 0 : proto);

	if (fd >= 0)
		w.ping = ping ? fd : fd == w.ping ? -1 : w.ping;
	w.sockets += fd >= 0 && (domain == AF_INET || domain == AF_INET6);
	return fd;
}

static void must_be_allowed(uint8_t proto, const struct sockaddr *a)
{
	static const struct ip_addr loop6 = { 6, { [15] = 1 } }, loop4 = { 4, { 127, 0, 0, 1 } };
	struct sockaddr_storage ss = { 0 };
	struct endpoint to;

	memcpy(&ss, a,
	       a->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
	MUST(endpoint_from_sockaddr(&ss, &to) == 0);
	MUST(verdict_of(proto, &to.addr, to.port,
			ip_equal(&to.addr, &loop4) || ip_equal(&to.addr, &loop6)) == MAYBE);
}

static void keep_far(int fd)
{
	int *at = &w.far[w.next_far++ % FARS];

	fd_close(*at);
	*at = fd;
}

/* In place of a connection: a pair of sockets whose other end is the script's. */
static int connect_pair(int fd, int type)
{
	int sv[2];

	MUST(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) == 0);
	MUST(dup3(sv[0], fd, O_CLOEXEC) == fd);
	close(sv[0]);
	keep_far(sv[1]);
	return 0;
}

int __wrap_connect(int fd, const struct sockaddr *a, socklen_t n)
{
	static const int errors[] = { ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT, EACCES };
	int type = 0, proto = 0;
	socklen_t len = sizeof(type);
	uint8_t how;

	if (a->sa_family != AF_INET && a->sa_family != AF_INET6)
		return __real_connect(fd, a, n);
	MUST(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0);
	MUST(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &proto, &len) == 0);
	if (fd == w.ping)
		proto = a->sa_family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	MUST(!w.narrow);
	must_be_allowed((uint8_t)proto, a);
	w.connects++;
	how = next();
	if (how < ARRAY_SIZE(errors)) {
		errno = errors[how];
		return -1;
	}
	/* UDP stays what it is: what it sends is looked at below, and goes nowhere. */
	return proto == IPPROTO_UDP ? 0 : connect_pair(fd, type);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
	const struct sockaddr *a = m->msg_name;
	ssize_t n = 0;

	if (!a || (a->sa_family != AF_INET && a->sa_family != AF_INET6))
		return __real_sendmsg(fd, m, flags);
	MUST(!w.narrow);
	must_be_allowed(IPPROTO_UDP, a);
	for (size_t i = 0; i < m->msg_iovlen; i++)
		n += (ssize_t)m->msg_iov[i].iov_len;
	return n;
}

int __wrap_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	for (unsigned i = 0; i < n; i++) {
		if (!m[i].msg_hdr.msg_name)
			return __real_sendmmsg(fd, m, n, flags);
		m[i].msg_len = (unsigned)__wrap_sendmsg(fd, &m[i].msg_hdr, flags);
	}
	return (int)n;
}

/* Answers the query that waits with an address of the script's choice. */
static void resolve(void)
{
	static const struct ip_addr addrs[] = { { 4, { 93, 184, 216, 7 } },
						{ 4, { 93, 184, 216, 66 } },
						{ 4, { 45, 33, 32, 156 } },
						{ 4, { 10, 1, 2, 3 } } };
	const struct ip_addr *a = &addrs[next() % ARRAY_SIZE(addrs)];
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	uint8_t b[600];
	ssize_t n = recvfrom(resolver, b, 512, 0, (struct sockaddr *)&from, &len);
	size_t at = 12;

	if (n < 17)
		return;
	while (at < (size_t)n && b[at])
		at += 1u + b[at];
	at += 5;
	if (at > (size_t)n)
		return;
	b[2] = 0x81;
	b[3] = 0x80;
	memset(b + 6, 0, 6);
	if (b[at - 3] == 1) { /* asks for A */
		b[7] = 1;
		memcpy(b + at, (uint8_t[]){ 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4 }, 12);
		memcpy(b + at + 12, a->b, 4);
		at += 16;
		/* Names below good.example; the one that is denied is never asked for. */
		if (memmem(b + 12, at - 12, "\4good\7example", 13) &&
		    !memmem(b + 12, at - 12, "\3bad\4good", 9))
			w.answered[w.n_answered++ % ARRAY_SIZE(w.answered)] = *a;
		MUST(!memmem(b + 12, at - 12, "\3bad\4good", 9) &&
		     !memmem(b + 12, at - 12, "\5other\4test", 11));
	}
	(void)sendto(resolver, b, at, 0, (struct sockaddr *)&from, len);
}

static void far_end(void)
{
	static uint8_t b[65536];
	uint8_t how = next();
	int *fd = &w.far[how % FARS];

	if (*fd < 0)
		return;
	switch (how / FARS % 6) {
	case 0:
	case 1:
		(void)!write(*fd, b, next() * 200u);
		break;
	case 2:
		(void)!read(*fd, b, sizeof(b));
		break;
	case 3:
		shutdown(*fd, SHUT_WR);
		break;
	case 4:
		shutdown(*fd, SHUT_RD);
		break;
	default:
		fd_close(steal_fd(fd));
	}
}

/* ---- the owner: gateway.c's own ops ------------------------------------------ */

static uint8_t ip_proto(const struct netstack_tuple *t)
{
	return t->proto == NETSTACK_TCP	   ? IPPROTO_TCP
	       : t->proto == NETSTACK_UDP  ? IPPROTO_UDP
	       : t->guest.addr.family == 4 ? IPPROTO_ICMP
					   : IPPROTO_ICMPV6;
}

static void on_new(void *ctx, struct netstack_flow *ns)
{
	struct netstack_tuple t = *netstack_flow_tuple(ns);
	unsigned ended = w.ended;

	w.begun++;
	gateway_flow_new(ctx, ns);
	if (t.proto != NETSTACK_UDP && hopeless(ip_proto(&t), &t.remote.addr, t.remote.port)) {
		MUST(w.ended > ended);
		w.denied++;
	}
}

static void on_end(void *ctx, struct netstack_flow *ns, enum netstack_end how,
		   const struct netstack_counts *c)
{
	w.ended++;
	gateway_flow_end(ctx, ns, how, c);
}

static void on_datagram(void *ctx, struct netstack_flow *ns, const uint8_t *p, size_t len)
{
	struct flow *f = netstack_flow_user(ns);

	(void)ctx;
	if (f->kind == FLOW_DNS)
		gateway_dns_udp(f, p, len);
	else if (f->kind == FLOW_ECHO)
		netstack_flow_send(ns, p, len);
}

static const struct netstack_ops ops = {
	.flow_new = on_new,
	.flow_bytes = gateway_flow_bytes,
	.flow_server_first = gateway_flow_server_first,
	.flow_datagram = on_datagram,
	.flow_waiting = gateway_flow_waiting,
	.flow_end = on_end,
	.packet_refused = gateway_packet_refused,
};

/* Another policy is in force, or the first one again. */
static void reload(void)
{
	w.narrow = !w.narrow;
	w.gw.judge.policy = policies[w.narrow];
	w.gw.judge.generation++;
	gateway_rejudge(&w.gw);
}

/* ---- what comes to the guest --------------------------------------------------- */

static struct sent *sent_to(uint8_t proto, uint16_t port, const struct ip_addr *to, uint16_t rport)
{
	for (unsigned i = 0; i < SENT; i++) {
		struct sent *s = &w.sent[i];

		if (!s->proto)
			*s = (struct sent){ .proto = proto, .port = port, .to = *to, .rport = rport };
		if (s->proto == proto && s->port == port && s->rport == rport && ip_equal(&s->to, to))
			return s;
	}
	return NULL;
}

static void count_refusal(uint8_t proto, uint16_t port, const struct ip_addr *to, uint16_t rport)
{
	struct sent *s = sent_to(proto, port, to, rport);

	if (!s) {
		w.wild = 1u << 20;
		return;
	}
	s->refusals++;
	MUST(s->refusals <= s->packets + w.wild);
}

/* An error about a packet of the guest's to where nothing may go. */
static void check_error(const struct frame_seen *f)
{
	const uint8_t *q = f->l4 + 8, *t;
	bool four = f->src.family == 4;
	struct ip_addr to = { four ? 4 : 6, { 0 } };
	uint8_t proto = four ? q[9] : q[6];

	memcpy(to.b, four ? q + 16 : q + 24, four ? 4 : 16);
	t = q + (four ? (q[0] & 15) * 4 : 40);
	if (t + 8 > f->l4 + f->l4_len)
		return;
	if (proto == IPPROTO_TCP || proto == IPPROTO_UDP) {
		if (!hopeless(proto, &to, get_be16(t + 2)))
			return;
		count_refusal(proto, get_be16(t), &to, get_be16(t + 2));
	} else if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
		if (!hopeless(proto, &to, 0))
			return;
		count_refusal(proto, get_be16(t + 4), &to, 0);
	} else {
		return;
	}
	/* "Prohibited", or the hop limit that ends here; TCP is told by RST only. */
	if (four)
		MUST((f->l4[0] == 3 && f->l4[1] == 13 && proto != IPPROTO_TCP) ||
		     (f->l4[0] == 11 && w.wild));
	else
		MUST((f->l4[0] == 1 && f->l4[1] == 1 && proto != IPPROTO_TCP) ||
		     (f->l4[0] == 3 && w.wild));
}

static void learn_answer(const uint8_t *p, size_t n)
{
	/* Name pointers only, as our replies have them. */
	for (size_t i = 12; i + 16 <= n; i++)
		if (p[i] == 0xc0 && get_be16(p + i + 2) == 1 && get_be16(p + i + 10) == 4) {
			struct ip_addr a = { 4, { 0 } };

			memcpy(a.b, p + i + 12, 4);
			w.given[w.n_given++ % ARRAY_SIZE(w.given)] = a;
		}
}

static void note_segment(const struct frame_seen *f)
{
	uint16_t port = get_be16(f->l4 + 2);
	uint8_t flags = f->l4[13];

	if (port < 2000 || port >= 2000 + PORTS)
		return;
	w.ack[port - 2000] = get_be32(f->l4 + 4) + (uint32_t)(f->l4_len - (f->l4[12] >> 4) * 4u) +
			     !!(flags & 2) + (flags & 1);
}

static void take_frame(const uint8_t *b, size_t n)
{
	struct frame_seen f = frame_check(&w.rules, b, n);

	if (!f.l4)
		return;
	if (frame_is_error(&f)) {
		check_error(&f);
		return;
	}
	switch (f.proto) {
	case IPPROTO_TCP:
		if (hopeless(f.proto, &f.src, get_be16(f.l4))) {
			MUST(f.l4[13] & 4 && f.l4_len == (f.l4[12] >> 4) * 4u);
			count_refusal(f.proto, get_be16(f.l4 + 2), &f.src, get_be16(f.l4));
		}
		note_segment(&f);
		break;
	case IPPROTO_UDP:
		MUST(!hopeless(f.proto, &f.src, get_be16(f.l4)));
		if (get_be16(f.l4) == 53)
			learn_answer(f.l4 + 8, f.l4_len - 8);
		break;
	default:
		MUST((f.proto == IPPROTO_ICMPV6 && f.l4[0] > 129) || !hopeless(f.proto, &f.src, 0));
	}
}

static void take_record(void)
{
	static char text[MSG_TEXT_MAX + 64];
	ssize_t n;

	while ((n = recv(w.record, text, sizeof(text) - 1, MSG_DONTWAIT)) > 0) {
		char *p = text, *end = text + n, *nl;

		*end = 0;
		p += MIN(offsetof(struct msg, text), (size_t)n);
		for (; p < end; p = nl + 1) {
			char *count;

			nl = memchr(p, '\n', (size_t)(end - p));
			nl = nl ? nl : end;
			*nl = 0;
			if (!strstr(p, "\"verdict\":\"deny\"") &&
			    !strstr(p, "\"verdict\":\"fail\""))
				continue;
			count = strstr(p, "\"count\":");
			w.recorded += count ? (unsigned)strtoul(count + 8, NULL, 10) : 1;
		}
	}
}

static void step(void)
{
	static uint8_t b[70000];
	struct netstack_stats s;
	ssize_t n;

	MUST(loop_step(w.gw.loop, 0) == 0);
	while ((n = read(w.link, b, sizeof(b))) > 0)
		take_frame(b, (size_t)n);
	take_record();
	netstack_stats_get(w.gw.ns, &s);
	MUST(s.tcp_flows <= MAX_TCP && s.udp_flows <= MAX_UDP && s.icmp_flows <= MAX_ICMP);
	MUST(s.memory_used <= s.memory_max);
	MUST(w.gw.flow_pool.used <= MAX_TCP + MAX_UDP + MAX_ICMP);
}

/* ---- what comes from the guest --------------------------------------------------- */

/* The model's own reading of what is about to be sent. */
static void count_packet(const uint8_t *b, size_t n)
{
	const uint8_t *p = b + 26, *t;
	bool four = get_be16(b + 24) == 0x0800;
	struct ip_addr to = { four ? 4 : 6, { 0 } };
	struct sent *s;
	uint8_t proto;

	if (n < 26 + 48)
		return;
	proto = four ? p[9] : p[6];
	memcpy(to.b, four ? p + 16 : p + 24, four ? 4 : 16);
	t = p + (four ? (p[0] & 15) * 4 : 40);
	if (t + 8 > b + n || (p[0] != 0x45 && p[0] >> 4 != 6) ||
	    (four && get_be16(p + 6) & 0x3fff) || (four ? p[8] : p[7]) < 2 ||
	    (proto != IPPROTO_TCP && proto != IPPROTO_UDP && proto != IPPROTO_ICMP &&
	     proto != IPPROTO_ICMPV6)) {
		w.wild++;
		return;
	}
	if (proto == IPPROTO_TCP || proto == IPPROTO_UDP)
		s = sent_to(proto, get_be16(t), &to, get_be16(t + 2));
	else
		s = sent_to(proto, get_be16(t + 4), &to, 0);
	if (s)
		s->packets++;
	else
		w.wild = 1u << 20;
}

static const struct ip_addr *destination(bool six)
{
	static const struct ip_addr four[] = {
		{ 4, { 93, 184, 216, 7 } },    { 4, { 93, 184, 216, 66 } },
		{ 4, { 93, 184, 217, 1 } },    { 4, { 45, 33, 32, 156 } },
		{ 4, { 7, 7, 7, 7 } },	       { 4, { 10, 1, 2, 3 } },
		{ 4, { 169, 254, 169, 254 } },
	};
	static const struct ip_addr others[] = { { 6, { 0x26, 0x06, 0x28, 0, [15] = 1 } },
						 { 6, { 0x2a, 0, [15] = 1 } } };
	uint8_t i = next();

	if (six)
		return i & 4 ? &w.cfg.net.gateway6 : &others[i & 1];
	if (i & 0x80)
		return &w.given[i % ARRAY_SIZE(w.given)];
	return i % 8 == 7 ? &w.cfg.net.gateway4 : &four[i % 8];
}

static void send_ip(uint8_t proto, uint8_t *b, const struct ip_addr *to, size_t n)
{
	bool four = to->family == 4;
	uint8_t *p = b + 26;
	size_t head = four ? 20 : 40;

	memset(b, 0, 12);
	b[0] = 1;
	memcpy(b + 12, w.cfg.net.gateway_mac, 6);
	memcpy(b + 18, w.cfg.net.guest_mac, 6);
	put_be16(b + 24, four ? 0x0800 : 0x86dd);
	memset(p, 0, head);
	if (four) {
		uint32_t s;

		p[0] = 0x45;
		put_be16(p + 2, (uint16_t)(20 + n));
		p[8] = 64;
		p[9] = proto;
		memcpy(p + 12, w.cfg.net.guest4.b, 4);
		memcpy(p + 16, to->b, 4);
		s = frame_sum(0, p, 20);
		put_be16(p + 10, (uint16_t)~s);
	} else {
		p[0] = 0x60;
		put_be16(p + 4, (uint16_t)n);
		p[6] = proto;
		p[7] = 64;
		memcpy(p + 8, w.cfg.net.guest6.b, 16);
		memcpy(p + 24, to->b, 16);
	}
	n += 26 + head;
	/* Beyond the addresses: a header sum that is wrong would only be dropped. */
	if (w.mangle_at) {
		size_t at = 26 + head + w.mangle_at - 1;

		if (at < n)
			b[at] ^= w.mangle;
		w.mangle_at = 0;
	}
	count_packet(b, MAX(n, (size_t)26 + 48));
	(void)!write(w.link, b, n);
}

/* A ClientHello with this server name and little else. */
static size_t hello(uint8_t *p, const char *name)
{
	size_t n = strlen(name), at = 9;

	p[0] = 22, p[1] = 3, p[2] = 1;
	p[5] = 1, p[6] = 0;
	p[at++] = 3, p[at++] = 3;
	memset(p + at, 7, 32);
	at += 32;
	memcpy(p + at, (uint8_t[]){ 0, 0, 2, 0x13, 1, 1, 0 }, 7);
	at += 7;
	put_be16(p + at, (uint16_t)(n + 9));
	put_be16(p + at + 2, 0);
	put_be16(p + at + 4, (uint16_t)(n + 5));
	put_be16(p + at + 6, (uint16_t)(n + 3));
	p[at + 8] = 0;
	put_be16(p + at + 9, (uint16_t)n);
	memcpy(p + at + 11, name, n);
	at += 11 + n;
	put_be16(p + 3, (uint16_t)(at - 5));
	put_be16(p + 7, (uint16_t)(at - 9));
	return at;
}

static size_t payload(uint8_t *p)
{
	uint8_t how = next();
	size_t n;

	switch (how % 6) {
	case 0:
		return 0;
	case 1:
		return hello(p, names[how / 6 % ARRAY_SIZE(names)]);
	case 2:
		return (size_t)snprintf((char *)p, 128, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n",
					names[how / 6 % ARRAY_SIZE(names)]);
	case 3:
		n = next() * 5u;
		memset(p, how, n);
		return n;
	default:
		n = MIN(next(), rd_left(&input));
		return rd_copy(&input, p, n) ? n : 0;
	}
}

static const uint16_t services[] = { 443, 80, 53, 853, 22, 8080, 5353, 137 };

static void send_tcp(void)
{
	static uint8_t b[4096];
	uint8_t how = next(), flags = next();
	const struct ip_addr *to = destination(how & 1);
	unsigned port = how >> 1 & 3;
	uint8_t *p = b + 26 + (to->family == 4 ? 20 : 40);
	uint32_t seq = w.seq[port] + (uint32_t)(flags & 0x80 ? (int8_t)next() : 0);
	size_t n = payload(p + 20);

	memset(p, 0, 20);
	put_be16(p, (uint16_t)(2000 + port));
	put_be16(p + 2, services[how >> 3 & 7]);
	put_be32(p + 4, seq);
	put_be32(p + 8, flags & TCP_ACK ? w.ack[port] : 0);
	p[12] = 0x50;
	p[13] = flags & 0x3f;
	put_be16(p + 14, flags & 0x40 ? 0 : 60000);
	w.seq[port] = seq + (uint32_t)n + !!(flags & TCP_SYN) + !!(flags & TCP_FIN);
	send_ip(IPPROTO_TCP, b, to, n + 20);
}

/* A handshake and first bytes: what a script finds seldom by itself. */
static void open_tcp(void)
{
	static uint8_t b[4096];
	uint8_t how = next();
	const struct ip_addr *to = destination(how & 1);
	unsigned port = how >> 1 & 3;
	uint8_t *p = b + 26 + (to->family == 4 ? 20 : 40);

	for (int i = 0; i < 2; i++) {
		size_t n = i ? payload(p + 20) : 0;

		memset(p, 0, 20);
		put_be16(p, (uint16_t)(2000 + port));
		put_be16(p + 2, services[how >> 3 & 7]);
		put_be32(p + 4, w.seq[port]);
		put_be32(p + 8, i ? w.ack[port] : 0);
		p[12] = 0x50;
		p[13] = i ? TCP_ACK | TCP_PSH : TCP_SYN;
		put_be16(p + 14, 60000);
		w.seq[port] += (uint32_t)n + !i;
		send_ip(IPPROTO_TCP, b, to, n + 20);
		step();
	}
}

static void send_udp(void)
{
	static uint8_t b[4096];
	uint8_t how = next();
	const struct ip_addr *to = destination(how & 1);
	uint8_t *p = b + 26 + (to->family == 4 ? 20 : 40);
	size_t n = payload(p + 8);

	memset(p, 0, 8);
	put_be16(p, (uint16_t)(3000 + (how >> 1 & 3)));
	put_be16(p + 2, services[how >> 3 & 7]);
	put_be16(p + 4, (uint16_t)(8 + n));
	send_ip(IPPROTO_UDP, b, to, 8 + n);
}

static void send_echo(void)
{
	uint8_t b[256] = { 0 }, how = next();
	const struct ip_addr *to = destination(how & 1);
	uint8_t *p = b + 26 + (to->family == 4 ? 20 : 40);

	p[0] = to->family == 4 ? 8 : 128;
	put_be16(p + 4, how >> 1 & 3);
	put_be16(p + 6, how);
	send_ip(to->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, b, to, 8 + (how >> 3));
}

static void ask(void)
{
	uint8_t b[512] = { 0 }, how = next();
	const char *name = names[how % ARRAY_SIZE(names)];
	uint8_t *p = b + 46, *q = p + 8 + 12;

	put_be16(p, (uint16_t)(3000 + (how >> 2 & 3)));
	put_be16(p + 2, 53);
	put_be16(p + 8, how);
	p[10] = 1;
	p[13] = 1;
	while (*name) {
		size_t n = strcspn(name, ".");

		*q++ = (uint8_t)n;
		memcpy(q, name, n);
		q += n;
		name += n + !!name[n];
	}
	*q++ = 0;
	put_be16(q, how & 0x40 ? 28 : 1);
	put_be16(q + 2, 1);
	q += 4;
	put_be16(p + 4, (uint16_t)(q - p));
	send_ip(IPPROTO_UDP, b, &w.cfg.net.gateway4, (size_t)(q - p));
}

static void run(void)
{
	while (rd_left(&input)) {
		uint8_t op = next();

		switch (op % 12) {
		case 0:
		case 1:
			send_tcp();
			break;
		case 2:
			open_tcp();
			break;
		case 3:
			send_udp();
			break;
		case 4:
			send_echo();
			break;
		case 5:
			ask();
			break;
		case 6:
			step();
			resolve();
			break;
		case 7:
			far_end();
			break;
		case 8:
			w.now += (next() + 1) * (op & 0x80 ? NS_PER_S : 20 * NS_PER_MS);
			break;
		case 9:
			w.mangle_at = 1u + next();
			w.mangle = next();
			break;
		case 10:
			if (op & 0x80)
				reload();
			break;
		default:
			break;
		}
		if (!(op & 0x40))
			step();
	}
}

/* ---- birth and death ----------------------------------------------------------------- */

static struct policy *policy_of(const char *text)
{
	struct conf_error err = { "" };
	struct conf_doc *doc;
	struct policy *p = NULL;
	struct conf root;

	if (conf_doc_parse(text, strlen(text), "rules", CONF_JSON, &doc, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	root = conf_root(doc);
	if (policy_load_conf(&root, &p, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	conf_doc_free(doc);
	return p;
}

static void once(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	struct sockaddr_storage ss = { 0 };
	socklen_t n = sizeof(ss);
	char command[] = "true", *argv[] = { command, NULL };
	struct conf_error err;

	if (resolver >= 0)
		return;
	signal(SIGPIPE, SIG_IGN);
	log_setup("fuzz", LOG_LEVEL_ERROR);
	policies[0] = policy_of(rules);
	policies[1] = policy_of(nothing);
	MUST(weir_config_load(CONFIG_RUN, 1, argv, &config, &err) == 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	resolver = __real_socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	MUST(resolver >= 0 && bind(resolver, (struct sockaddr *)&a, sizeof(a)) == 0);
	MUST(getsockname(resolver, (struct sockaddr *)&ss, &n) == 0);
	MUST(endpoint_from_sockaddr(&ss, &resolver_at) == 0);
}

static void begin(const uint8_t *data, size_t size)
{
	struct netstack_config cfg = {
		.mtu = 1500,
		.max_tcp = MAX_TCP,
		.max_udp = MAX_UDP,
		.max_icmp = MAX_ICMP,
		.memory = MEMORY,
	};
	struct gateway *gw = &w.gw;
	int link[2], record[2], r;

	memset(&w, 0, sizeof(w));
	memset(w.far, 0xff, sizeof(w.far));
	w.ping = -1;
	w.now = 1000 * NS_PER_S;
	input = rd_init(data, size);
	w.cfg = *config;
	w.cfg.dns_mode = next() & 1 ? DNS_REAL : DNS_VIRTUAL;
	w.cfg.net = sandbox_net_default;
	w.cfg.net.mtu = cfg.mtu;
	for (unsigned i = 0; i < ARRAY_SIZE(w.given); i++)
		w.given[i] = ip4(198, 18, 0, (uint8_t)i);
	memcpy(w.rules.gateway_mac, w.cfg.net.gateway_mac, 6);
	memcpy(w.rules.guest_mac, w.cfg.net.guest_mac, 6);
	w.rules.guest4 = cfg.guest4 = w.cfg.net.guest4;
	w.rules.guest6 = cfg.guest6 = w.cfg.net.guest6;
	w.rules.mtu = cfg.mtu;
	memcpy(cfg.gateway_mac, w.cfg.net.gateway_mac, 6);
	cfg.gateway4 = w.cfg.net.gateway4;
	cfg.gateway6 = w.cfg.net.gateway6;
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, link) == 0);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, record) == 0);
	w.link = link[0];
	w.record = record[0];
	w.spec.resolvers = &resolver_at;
	w.spec.n_resolvers = 1;
	w.spec.proxy = -1;
	gw->cfg = &w.cfg;
	gw->proxy = -1;
	judge_init(&gw->judge, policies[0], false);
	list_init(&gw->all);
	list_init(&gw->all_limits);
	list_init(&gw->ports);
	gw->record = (struct record){ .sock = record[1], .tag = 'g', .run = "fuzzfuzz" };
	hash_key_random(&gw->key);
	gw->quic = tlsproxy_quic_new();
	MUST(gw->quic && loop_new(&gw->loop) == 0);
	record_batch(&gw->record, gw->loop);
	MUST(hmap_init(&gw->flows, 16) == 0 && hmap_init(&gw->rule_limits, 16) == 0);
	MUST(gateway_parked_start(gw) == 0);
	MUST(gateway_dns_start(gw, &w.spec) == 0);
	pool_init(&gw->flow_pool, sizeof(struct flow), MAX_TCP + MAX_UDP + MAX_ICMP);
	r = netstack_new(gw->loop, NETSTACK_LINK_TAP, link[1], &cfg, &ops, gw, &gw->ns);
	MUST(r == 0);
}

/* As gateway_main() does, and then what a process's end would do. */
static void end(void)
{
	struct gateway *gw = &w.gw;

	gateway_limits_forget(gw);
	netstack_free(gw->ns);
	MUST(w.begun == w.ended && list_empty(&gw->all));
	if (getenv("WEIR_FUZZ_SHOW")) /* what a seed gets to */
		fprintf(stderr, "%u flows, %u denied, %u connected, %u answers\n", w.begun,
			w.denied, w.connects, w.n_answered);
	tlsproxy_quic_free(gw->quic);
	gateway_refusals_flush(gw);
	dns_free(gw->dns);
	gateway_dns_repeats_forget(gw);
	record_flush(&gw->record);
	take_record();
	MUST(w.recorded >= w.denied);
	MUST(w.sockets == w.connects);
	gateway_parked_end(gw);
	hmap_fini(&gw->rule_limits);
	hmap_fini(&gw->flows);
	hmap_fini(&gw->repeats.by_said);
	pool_fini(&gw->repeats.pool);
	pool_fini(&gw->query_pool);
	pool_fini(&gw->flow_pool);
	for (unsigned i = 0; i < FARS; i++)
		fd_close(w.far[i]);
	close(w.link);
	close(w.record);
	close(gw->record.sock);
	loop_free(gw->loop);
}

/* The lowest numbers are taken first: a descriptor that is left over shows. */
static int free_fd(void)
{
	int fd = dup(resolver);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char stale[512];
	int before;

	once();
	while (recv(resolver, stale, sizeof(stale), 0) > 0)
		;
	before = free_fd();
	begin(data, size);
	run();
	for (int i = 0; i < 4; i++) {
		w.now += NS_PER_S;
		step();
	}
	end();
	MUST(free_fd() == before);
	return 0;
}
