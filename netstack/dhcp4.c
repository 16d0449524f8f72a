/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DHCP for IPv4 (RFC 2131, options RFC 2132): a server with one address for
 * one guest. There is nothing to remember: whoever asks on this link is the
 * guest, and the address is the one that everything else here expects of it.
 *
 *	DISCOVER                      OFFER; with rapid commit (RFC 4039) ACK
 *	REQUEST naming this server    ACK, or NAK for another address
 *	REQUEST after a reboot        ACK, or NAK: the address is of another network
 *	REQUEST to renew, rebind      ACK, or NAK
 *	INFORM                        ACK without a lease
 *	DECLINE, RELEASE              nothing: the address is the guest's all the same
 *
 * Hostile: every byte. Options are read once, front to back, within the
 * message; those in the overloaded fields (option 52) are not looked at, which
 * clients use for answers only. Relayed messages are not for us.
 */
#include "netstack/local.h"

#define HEAD 240 /* the fixed part and the cookie */
#define COOKIE 0x63825363
#define FLAG_BROADCAST 0x8000

enum message {
	DISCOVER = 1,
	OFFER = 2,
	REQUEST = 3,
	DECLINE = 4,
	ACK = 5,
	NAK = 6,
	RELEASE = 7,
	INFORM = 8,
};

enum option {
	OPT_PAD = 0,
	OPT_MASK = 1,
	OPT_ROUTER = 3,
	OPT_DNS = 6,
	OPT_HOST_NAME = 12,
	OPT_DOMAIN = 15,
	OPT_MTU = 26,
	OPT_REQUESTED = 50,
	OPT_LEASE = 51,
	OPT_TYPE = 53,
	OPT_SERVER = 54,
	OPT_MAX_SIZE = 57,
	OPT_T1 = 58,
	OPT_T2 = 59,
	OPT_CLIENT_ID = 61,
	OPT_RAPID_COMMIT = 80,
	OPT_END = 255,
};

struct request {
	const uint8_t *p; /* the fixed part */
	uint8_t type;
	struct ip_addr ciaddr, requested, server; /* family 0: absent */
	const uint8_t *client_id;
	uint8_t client_id_len;
	bool rapid;
	size_t max; /* of our answer */
};

/* The first of each option counts; a second one says nothing (RFC 3396 is for long ones). */
static void take_option(struct request *q, uint8_t code, const uint8_t *p, uint8_t n)
{
	if (code == OPT_TYPE && n == 1 && !q->type)
		q->type = p[0];
	else if (code == OPT_REQUESTED && n == 4 && !q->requested.family)
		q->requested = ip_from_be(4, p);
	else if (code == OPT_SERVER && n == 4 && !q->server.family)
		q->server = ip_from_be(4, p);
	else if (code == OPT_MAX_SIZE && n == 2)
		q->max = get_be16(p);
	else if (code == OPT_RAPID_COMMIT && n == 0)
		q->rapid = true;
	else if (code == OPT_CLIENT_ID && n && !q->client_id) {
		q->client_id = p;
		q->client_id_len = n;
	}
}

/* False: not a message of a client on this link. */
static bool parse(const uint8_t *p, size_t n, struct request *q)
{
	struct rd r = rd_init(p, n);
	const uint8_t *body;
	uint8_t code, len;

	*q = (struct request){ .p = p };
	/* One request, Ethernet, by no relay. */
	if (!rd_skip(&r, HEAD) || p[0] != 1 || p[1] != 1 || p[2] != 6 || p[3] != 0 ||
	    get_be32(p + 24) != 0 || get_be32(p + 236) != COOKIE)
		return false;
	if (get_be32(p + 12) != 0)
		q->ciaddr = ip_from_be(4, p + 12);
	while (rd_u8(&r, &code) && code != OPT_END) {
		if (code == OPT_PAD)
			continue;
		if (!rd_u8(&r, &len) || !rd_bytes(&r, len, &body))
			return false;
		take_option(q, code, body, len);
	}
	return q->type != 0;
}

/* What to say; 0: nothing. */
static uint8_t decide(const struct netstack_config *c, const struct request *q)
{
	bool ours = q->server.family && ip_equal(&q->server, &c->gateway4);

	switch (q->type) {
	case DISCOVER:
		return q->rapid ? ACK : OFFER;
	case INFORM:
		return ACK;
	case REQUEST:
		/* It has chosen a server: another one's business is not ours. */
		if (q->server.family && !ours)
			return 0;
		if (q->requested.family)
			return ip_equal(&q->requested, &c->guest4) ? ACK : NAK;
		return q->ciaddr.family && ip_equal(&q->ciaddr, &c->guest4) ? ACK : NAK;
	default:
		return 0;
	}
}

/* ---- the answer ------------------------------------------------------------ */

struct out {
	uint8_t *p;
	size_t n, max;
};

/* What does not fit is left out; one byte is kept for the end. */
static void put(struct out *o, uint8_t code, const void *p, size_t n)
{
	if (n > 255 || o->n + 2 + n + 1 > o->max)
		return;
	o->p[o->n++] = code;
	o->p[o->n++] = (uint8_t)n;
	memcpy(o->p + o->n, p, n);
	o->n += n;
}

static void put_u32(struct out *o, uint8_t code, uint32_t v)
{
	uint8_t b[4];

	put_be32(b, v);
	put(o, code, b, 4);
}

static void put_lease(struct out *o, uint32_t lease)
{
	put_u32(o, OPT_LEASE, lease);
	put_u32(o, OPT_T1, lease / 2);
	put_u32(o, OPT_T2, (uint32_t)((uint64_t)lease * 7 / 8));
}

static void put_network(struct out *o, const struct netstack_config *c)
{
	const struct netstack_autoconf *a = &c->autoconf;
	uint8_t mtu[2];

	put_u32(o, OPT_MASK, UINT32_MAX << (32 - a->prefix4));
	put(o, OPT_ROUTER, c->gateway4.b, 4);
	put(o, OPT_DNS, c->gateway4.b, 4);
	put_be16(mtu, c->mtu);
	put(o, OPT_MTU, mtu, 2);
}

static struct ip_addr destination(const struct netstack_config *c, const struct request *q,
				  uint8_t say)
{
	/* RFC 2131 4.1. A NAK always goes to all: its client's address is wrong. */
	if (say != NAK && q->ciaddr.family && ip_equal(&q->ciaddr, &c->guest4))
		return c->guest4;
	if (say == NAK || get_be16(q->p + 10) & FLAG_BROADCAST || q->type == INFORM)
		return ip4(255, 255, 255, 255);
	return c->guest4;
}

size_t dhcp4_answer(const struct netstack_config *c, const uint8_t *p, size_t n,
		    uint8_t out[static DHCP_OUT_MAX], struct ip_addr *ret_to)
{
	const struct netstack_autoconf *a = &c->autoconf;
	struct request q;
	uint8_t say = parse(p, n, &q) ? decide(c, &q) : 0;
	struct out o = { .p = out, .n = HEAD };

	if (!say)
		return 0;
	/* Every client takes 576 bytes of packet (RFC 2131 2); more only who says so. */
	o.max = MIN(MAX(q.max, (size_t)576) - 28, (size_t)DHCP_OUT_MAX);
	memset(out, 0, HEAD);
	memcpy(out, p, 16); /* op, hardware, xid, secs, flags, ciaddr */
	out[0] = 2;
	memset(out + 8, 0, 2);
	if (say == NAK || say == OFFER)
		memset(out + 12, 0, 4);
	if (say != NAK && q.type != INFORM)
		memcpy(out + 16, c->guest4.b, 4);
	memcpy(out + 28, p + 28, 16); /* chaddr */
	put_be32(out + 236, COOKIE);
	put(&o, OPT_TYPE, &say, 1);
	put(&o, OPT_SERVER, c->gateway4.b, 4);
	if (say != NAK && q.type != INFORM)
		put_lease(&o, a->lease_s);
	if (say != NAK)
		put_network(&o, c);
	if (q.client_id)
		put(&o, OPT_CLIENT_ID, q.client_id, q.client_id_len);
	if (q.type == DISCOVER && say == ACK)
		put(&o, OPT_RAPID_COMMIT, "", 0);
	if (say != NAK && a->hostname[0])
		put(&o, OPT_HOST_NAME, a->hostname, strlen(a->hostname));
	if (say != NAK && a->domain[0])
		put(&o, OPT_DOMAIN, a->domain, strlen(a->domain));
	out[o.n++] = OPT_END;
	/* BOOTP's length, which some clients insist on. */
	while (o.n < 300)
		out[o.n++] = OPT_PAD;
	*ret_to = destination(c, &q, say);
	return o.n;
}
