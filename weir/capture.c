/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From frames to flows. A flow begins with the first packet between two ends
 * and is begun by whoever sent it, unless a SYN says otherwise. A SYN on a
 * connection whose fate is known begins another.
 */
#include "weir/capture.h"

#include "base/base.h"
#include "weir/addresses.h"

#define DNS_PORT 53

int capture_init(struct capture *c, const struct policy *p, const struct ip_prefix *guest)
{
	*c = (struct capture){ .policy = p,
			       .net = sandbox_net_default,
			       .budget.left = CAPTURE_STREAM_BYTES };
	list_init(&c->order);
	hash_key_random(&c->key);
	pool_init(&c->pool, sizeof(struct capture_flow), CAPTURE_FLOWS_MAX);
	if (guest) {
		c->guest = *guest;
		c->has_guest = true;
	}
	if (replay_names_new(&c->given) < 0 || hmap_init(&c->flows, 1024) < 0)
		return -ENOMEM;
	return replay_report_init(&c->report, false, true);
}

static void flow_free(struct capture *c, struct capture_flow *f)
{
	stream_fini(&f->up);
	stream_fini(&f->down);
	hmap_remove(&c->flows, &f->node);
	list_del(&f->in_order);
	pool_put(&c->pool, f);
}

void capture_fini(struct capture *c)
{
	list_for_each_safe (it, next, &c->order)
		flow_free(c, container_of(it, struct capture_flow, in_order));
	replay_names_free(c->given);
	replay_report_fini(&c->report);
	hmap_fini(&c->flows);
	pool_fini(&c->pool);
}

/* ---- which flow ------------------------------------------------------------------------ */

static void put_end(uint8_t *out, const struct endpoint *e)
{
	out[0] = e->addr.family;
	memcpy(out + 1, e->addr.b, 16);
	put_be16(out + 17, e->port);
}

/* The same for both directions. */
static uint64_t flow_hash(const struct capture *c, enum policy_proto proto,
			  const struct endpoint *a, const struct endpoint *b)
{
	uint8_t key[1 + 19 + 19], x[19], y[19];
	bool swap;

	put_end(x, a);
	put_end(y, b);
	swap = memcmp(x, y, sizeof(x)) > 0;
	key[0] = (uint8_t)proto;
	memcpy(key + 1, swap ? y : x, sizeof(x));
	memcpy(key + 20, swap ? x : y, sizeof(y));
	return hash_bytes(&c->key, key, sizeof(key));
}

static bool same_end(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && ip_equal(&a->addr, &b->addr);
}

static struct capture_flow *find(struct capture *c, enum policy_proto proto, const struct packet *p,
				 uint64_t hash)
{
	hmap_for_hash (it, &c->flows, hash) {
		struct capture_flow *f = container_of(it, struct capture_flow, node);

		if (f->proto == proto &&
		    ((same_end(&f->client, &p->src) && same_end(&f->server, &p->dst)) ||
		     (same_end(&f->client, &p->dst) && same_end(&f->server, &p->src))))
			return f;
	}
	return NULL;
}

static bool is_guest(const struct capture *c, const struct ip_addr *a)
{
	if (c->has_guest)
		return ip_in_prefix(a, &c->guest);
	return ip_equal(a, &c->net.guest4) || ip_equal(a, &c->net.guest6);
}

/* False: between two others. Without a known guest, whoever begins is the sandbox. */
static bool set_direction(const struct capture *c, struct capture_flow *f)
{
	bool client = is_guest(c, &f->client.addr), server = is_guest(c, &f->server.addr);

	f->ingress = !client && server;
	return client || server || !c->has_guest;
}

/* Judged with what is known, for there will be no more. */
static void flow_end(struct capture *c, struct capture_flow *f)
{
	if (f->state == CAPTURE_READING && !capture_judge_first(c, f, true))
		f->state = CAPTURE_DONE;
	if (f->state == CAPTURE_REQUESTS)
		capture_judge_requests(c, f);
	if (f->state == CAPTURE_REQUESTS && (f->up.lost || f->up.data.len))
		replay_report_apart(&c->report, "request: not whole in the capture", 1);
	f->state = CAPTURE_DONE;
}

void capture_end(struct capture *c)
{
	list_for_each_safe (it, next, &c->order) {
		struct capture_flow *f = container_of(it, struct capture_flow, in_order);

		flow_end(c, f);
		flow_free(c, f);
	}
}

static struct capture_flow *begin(struct capture *c, enum policy_proto proto,
				  const struct packet *p, uint64_t hash)
{
	bool answer = p->kind == PACKET_TCP && (p->flags & PACKET_SYN) && (p->flags & PACKET_ACK);
	struct capture_flow *f = pool_get(&c->pool);

	if (!f && !list_empty(&c->order)) {
		struct capture_flow *oldest =
			container_of(c->order.next, struct capture_flow, in_order);

		flow_end(c, oldest);
		flow_free(c, oldest);
		f = pool_get(&c->pool);
	}
	if (!f)
		return NULL;
	f->proto = proto;
	f->client = answer ? p->dst : p->src;
	f->server = answer ? p->src : p->dst;
	f->midway = p->kind == PACKET_TCP && !(p->flags & PACKET_SYN);
	stream_init(&f->up, &c->budget);
	stream_init(&f->down, &c->budget);
	if (!set_direction(c, f)) {
		replay_report_apart(&c->report, "flow: between others than the guest", 1);
		f->state = CAPTURE_DONE;
	}
	hmap_insert(&c->flows, &f->node, hash);
	list_add_tail(&c->order, &f->in_order);
	return f;
}

/* ---- TCP ---------------------------------------------------------------------------------- */

/* Messages with their length in front (RFC 1035 4.2.2). */
static void take_messages(struct capture *c, struct stream *s, bool from_client)
{
	while (s->data.len >= 2) {
		const uint8_t *p = buf_at(&s->data);
		size_t len = get_be16(p);

		if (s->data.len - 2 < len)
			return;
		capture_judge_dns(c, from_client, p + 2, len);
		stream_consume(s, 2 + len);
	}
}

static void tcp_bytes(struct capture *c, struct capture_flow *f, const struct packet *p)
{
	bool up = same_end(&p->src, &f->client);
	struct stream *s = up ? &f->up : &f->down;

	if (f->state == CAPTURE_DONE || (!up && f->state != CAPTURE_QUERIES))
		return;
	if (p->flags & PACKET_SYN)
		stream_start(s, p->seq + 1);
	stream_add(s, p->seq + ((p->flags & PACKET_SYN) != 0), p->payload, p->len);
	/* What a snapped packet lacks is a gap that nothing will fill. */
	s->lost |= p->cut;
	if (f->state == CAPTURE_QUERIES)
		take_messages(c, s, up);
	else if (f->state == CAPTURE_READING && s->data.len)
		capture_judge_first(c, f, s->lost);
	if (f->state == CAPTURE_REQUESTS)
		capture_judge_requests(c, f);
	/* Whose fate is known needs no bytes. */
	if (f->state == CAPTURE_DONE) {
		stream_fini(&f->up);
		stream_fini(&f->down);
		stream_init(&f->up, &c->budget);
		stream_init(&f->down, &c->budget);
	}
}

static bool is_dns(const struct capture_flow *f)
{
	return f->server.port == DNS_PORT && !f->ingress;
}

static void take_tcp(struct capture *c, const struct packet *p)
{
	uint64_t hash = flow_hash(c, POLICY_TCP, &p->src, &p->dst);
	struct capture_flow *f = find(c, POLICY_TCP, p, hash);
	bool syn = (p->flags & PACKET_SYN) && !(p->flags & PACKET_ACK);

	/* The same ports again: another connection. */
	if (f && syn && (f->state != CAPTURE_READING || f->up.data.len)) {
		flow_end(c, f);
		flow_free(c, f);
		f = NULL;
	}
	if (!f) {
		/* The last words of one that was over before the capture began. */
		if (!(p->flags & PACKET_SYN) && p->len == 0)
			return;
		f = begin(c, POLICY_TCP, p, hash);
		if (!f)
			return;
		if (f->state == CAPTURE_READING && f->ingress) {
			capture_judge_flow(c, f);
			f->state = CAPTURE_DONE;
		} else if (f->state == CAPTURE_READING && is_dns(f)) {
			f->state = CAPTURE_QUERIES;
		}
	}
	tcp_bytes(c, f, p);
	if ((p->flags & (PACKET_FIN | PACKET_RST)) && f->state == CAPTURE_READING &&
	    (f->up.data.len || (p->flags & PACKET_RST)))
		capture_judge_first(c, f, true);
}

/* ---- the rest ------------------------------------------------------------------------------- */

/* What configures the link (DHCP) is weir's own, and no flow. */
static bool is_dhcp(const struct packet *p)
{
	uint16_t a = MIN(p->src.port, p->dst.port), b = MAX(p->src.port, p->dst.port);

	return (a == 67 && b == 68) || (a == 546 && b == 547);
}

static void take_datagram(struct capture *c, const struct packet *p, enum policy_proto proto)
{
	uint64_t hash = flow_hash(c, proto, &p->src, &p->dst);
	struct capture_flow *f = find(c, proto, p, hash);

	if (!f) {
		f = begin(c, proto, p, hash);
		if (!f)
			return;
		if (f->state == CAPTURE_READING && proto == POLICY_UDP && is_dns(f)) {
			f->state = CAPTURE_QUERIES;
		} else if (f->state == CAPTURE_READING) {
			capture_judge_flow(c, f);
			f->state = CAPTURE_DONE;
		}
	}
	if (f->state == CAPTURE_QUERIES)
		capture_judge_dns(c, same_end(&p->src, &f->client), p->payload, p->len);
}

/*
 * Which addresses the sandbox's gateway has in this capture: its own words to
 * the sandbox's ARP and neighbour solicitations, which come before all else.
 * A capture of something else has no frame from its MAC.
 */
static void learn_gateway(struct capture *c, int link, const uint8_t *p, size_t len)
{
	const uint8_t *ip = p + 14;

	if (link != PACKET_LINK_ETHERNET || len < 14 + 28 ||
	    memcmp(p + 6, sandbox_net_default.gateway_mac, 6) != 0)
		return;
	if (get_be16(p + 12) == 0x0806 && get_be16(ip + 6) == 2) { /* ARP reply: who we are, who asked */
		c->net.gateway4 = ip_from_be(4, ip + 14);
		c->net.guest4 = ip_from_be(4, ip + 24);
	}
	/* A neighbour advertisement; the link-local address is the router's other one. */
	if (get_be16(p + 12) == 0x86dd && len >= 14 + 40 + 24 && ip[6] == 58 && ip[40] == 136 &&
	    ip[48] != 0xfe) {
		c->net.gateway6 = ip_from_be(6, ip + 48);
		if (ip[24] != 0xfe && ip[24] != 0xff)
			c->net.guest6 = ip_from_be(6, ip + 24);
	}
}

void capture_frame(struct capture *c, int link, const uint8_t *frame, size_t len)
{
	struct packet p;

	c->packets++;
	learn_gateway(c, link, frame, len);
	packet_read(link, frame, len, &p);
	switch (p.kind) {
	case PACKET_TCP:
		take_tcp(c, &p);
		break;
	case PACKET_UDP:
		if (is_dhcp(&p))
			replay_report_apart(&c->report, "packet: DHCP, the link's own", 1);
		else
			take_datagram(c, &p, POLICY_UDP);
		break;
	case PACKET_ECHO:
		take_datagram(c, &p, p.dst.addr.family == 6 ? POLICY_ICMPV6 : POLICY_ICMPV4);
		break;
	case PACKET_CONTROL:
		replay_report_apart(&c->report, "packet: ARP, NDP, ICMP replies and errors", 1);
		break;
	case PACKET_FRAGMENT:
		replay_report_apart(&c->report, "packet: a later fragment", 1);
		break;
	case PACKET_OTHER:
		replay_report_apart(&c->report, "packet: a protocol that is never carried", 1);
		break;
	case PACKET_UNREADABLE:
		replay_report_apart(&c->report, "packet: unreadable", 1);
		break;
	}
}
