/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DHCPv6 (RFC 8415, DNS options RFC 3646): a server with one address for one
 * guest, and the stateless answers for those that made an address themselves.
 *
 *	SOLICIT                   ADVERTISE; with rapid commit REPLY
 *	REQUEST, RENEW, REBIND    REPLY with the address; others get lifetime 0
 *	CONFIRM                   REPLY: on this link, or not
 *	DECLINE, RELEASE          REPLY: success, there is nothing to take back
 *	INFORMATION-REQUEST       REPLY with servers and domain
 *
 * There is no prefix to delegate and there are no temporary addresses: who asks
 * is told so. Hostile: every byte. Options are read once, front to back, at
 * most LIMIT_DHCP6_IAS identity associations and as many addresses in each are
 * looked at. Messages that RFC 8415 16 wants discarded get no answer.
 */
#include "netstack/local.h"

enum message {
	SOLICIT = 1,
	ADVERTISE = 2,
	REQUEST = 3,
	CONFIRM = 4,
	RENEW = 5,
	REBIND = 6,
	REPLY = 7,
	RELEASE = 8,
	DECLINE = 9,
	INFORMATION_REQUEST = 11,
};

enum option {
	OPT_CLIENT_ID = 1,
	OPT_SERVER_ID = 2,
	OPT_IA_NA = 3,
	OPT_IA_TA = 4,
	OPT_IA_ADDR = 5,
	OPT_STATUS = 13,
	OPT_RAPID_COMMIT = 14,
	OPT_DNS = 23,
	OPT_DOMAINS = 24,
	OPT_IA_PD = 25,
	OPT_REFRESH = 32,
};

enum status {
	SUCCESS = 0,
	NO_ADDRS = 2,
	NOT_ON_LINK = 4,
	NO_PREFIX = 6,
};

#define DUID_MIN 3
#define DUID_MAX 130
#define DUID_LL_LEN 10

struct ia {
	uint16_t type;
	uint32_t id;
	const uint8_t *p; /* its options */
	size_t n;
};

struct request {
	uint8_t type;
	const uint8_t *xid;
	const uint8_t *client, *server;
	size_t client_len, server_len;
	bool rapid;
	struct ia ia[LIMIT_DHCP6_IAS];
	size_t n_ia;
};

static bool take_ia(struct request *q, uint16_t code, const uint8_t *p, uint16_t n)
{
	size_t head = code == OPT_IA_TA ? 4 : 12;

	if (n < head)
		return false;
	if (q->n_ia < ARRAY_SIZE(q->ia))
		q->ia[q->n_ia++] = (struct ia){ code, get_be32(p), p + head, n - head };
	return true;
}

/* False: malformed. Twice the same identity is malformed too: two readings are possible. */
static bool take_option(struct request *q, uint16_t code, const uint8_t *p, uint16_t n)
{
	switch (code) {
	case OPT_CLIENT_ID:
		if (q->client || n < DUID_MIN || n > DUID_MAX)
			return false;
		q->client = p;
		q->client_len = n;
		return true;
	case OPT_SERVER_ID:
		if (q->server || n < DUID_MIN || n > DUID_MAX)
			return false;
		q->server = p;
		q->server_len = n;
		return true;
	case OPT_RAPID_COMMIT:
		q->rapid = true;
		return n == 0;
	case OPT_IA_NA:
	case OPT_IA_TA:
	case OPT_IA_PD:
		return take_ia(q, code, p, n);
	default:
		return true;
	}
}

static bool parse(const uint8_t *p, size_t n, struct request *q)
{
	struct rd r = rd_init(p, n);
	const uint8_t *body;
	uint16_t code, len;

	*q = (struct request){ 0 };
	if (!rd_u8(&r, &q->type) || !rd_bytes(&r, 3, &q->xid))
		return false;
	while (rd_left(&r))
		if (!rd_be16(&r, &code) || !rd_be16(&r, &len) || !rd_bytes(&r, len, &body) ||
		    !take_option(q, code, body, len))
			return false;
	return true;
}

/* DUID-LL (RFC 8415 11.4): the gateway's MAC, the same for the link's life. */
static void server_duid(const struct netstack_config *c, uint8_t out[static DUID_LL_LEN])
{
	put_be16(out, 3);
	put_be16(out + 2, 1);
	memcpy(out + 4, c->gateway_mac, 6);
}

static bool names_us(const struct netstack_config *c, const struct request *q)
{
	uint8_t own[DUID_LL_LEN];

	server_duid(c, own);
	return q->server && q->server_len == sizeof(own) && memcmp(q->server, own, sizeof(own)) == 0;
}

/* RFC 8415 16: which messages count. */
static bool valid(const struct netstack_config *c, const struct request *q)
{
	switch (q->type) {
	case SOLICIT:
	case CONFIRM:
	case REBIND:
		return q->client && !q->server;
	case REQUEST:
	case RENEW:
	case RELEASE:
	case DECLINE:
		return q->client && names_us(c, q);
	case INFORMATION_REQUEST:
		return q->n_ia == 0 && (!q->server || names_us(c, q));
	default:
		return false;
	}
}

/* ---- the answer ------------------------------------------------------------ */

struct out {
	uint8_t *p;
	size_t n;
	bool full;
};

static uint8_t *room(struct out *o, size_t n)
{
	uint8_t *p = o->p + o->n;

	if (o->full || DHCP_OUT_MAX - o->n < n) {
		o->full = true;
		return NULL;
	}
	o->n += n;
	return p;
}

static uint8_t *put_head(struct out *o, uint16_t code, size_t n)
{
	uint8_t *p = room(o, 4 + n);

	if (!p)
		return NULL;
	put_be16(p, code);
	put_be16(p + 2, (uint16_t)n);
	return p + 4;
}

static void put(struct out *o, uint16_t code, const void *data, size_t n)
{
	uint8_t *p = put_head(o, code, n);

	if (p && n)
		memcpy(p, data, n);
}

static void put_status(struct out *o, enum status s)
{
	uint8_t b[2];

	put_be16(b, (uint16_t)s);
	put(o, OPT_STATUS, b, 2);
}

static void put_address(struct out *o, const uint8_t *a, uint32_t lifetime)
{
	uint8_t *p = put_head(o, OPT_IA_ADDR, 24);

	if (!p)
		return;
	memcpy(p, a, 16);
	put_be32(p + 16, lifetime);
	put_be32(p + 20, lifetime);
}

/* Calls fn for the addresses that an association names, as many as are looked at. */
static void each_address(const struct ia *ia, void (*fn)(void *ctx, const uint8_t *a), void *ctx)
{
	struct rd r = rd_init(ia->p, ia->n);
	const uint8_t *body;
	uint16_t code, len;
	unsigned n = 0;

	while (n < LIMIT_DHCP6_IAS && rd_be16(&r, &code) && rd_be16(&r, &len) &&
	       rd_bytes(&r, len, &body))
		if (code == OPT_IA_ADDR && len >= 24) {
			fn(ctx, body);
			n++;
		}
}

struct answer {
	const struct netstack_config *c;
	const struct request *q;
	struct out o;
	bool leased; /* the one address has been given to an association */
	bool off_link;
	bool named; /* of CONFIRM: some address */
};

/* An address that it has from elsewhere: not any more. */
static void withdraw(void *ctx, const uint8_t *a)
{
	struct answer *w = ctx;

	if (memcmp(a, w->c->guest6.b, 16) != 0)
		put_address(&w->o, a, 0);
}

static void look_on_link(void *ctx, const uint8_t *a)
{
	struct answer *w = ctx;

	w->named = true;
	w->off_link |= memcmp(a, w->c->guest6.b, 8) != 0;
}

static void put_ia(struct answer *w, const struct ia *ia)
{
	size_t at = w->o.n, head = ia->type == OPT_IA_TA ? 4 : 12;
	uint8_t *p = put_head(&w->o, ia->type, head);
	uint32_t lease = w->c->autoconf.lease_s;
	bool give = ia->type == OPT_IA_NA && !w->leased;

	if (!p)
		return;
	memset(p, 0, head);
	put_be32(p, ia->id);
	if (give) {
		put_be32(p + 4, lease / 2);
		put_be32(p + 8, (uint32_t)((uint64_t)lease * 4 / 5));
		put_address(&w->o, w->c->guest6.b, lease);
		if (w->q->type == RENEW || w->q->type == REBIND)
			each_address(ia, withdraw, w);
		w->leased = true;
	} else {
		put_status(&w->o, ia->type == OPT_IA_PD ? NO_PREFIX : NO_ADDRS);
	}
	if (!w->o.full)
		put_be16(w->o.p + at + 2, (uint16_t)(w->o.n - at - 4));
}

static void put_servers(struct answer *w)
{
	const struct netstack_autoconf *a = &w->c->autoconf;
	uint8_t name[256], refresh[4];
	size_t n = local_dns_name(a->domain, name, sizeof(name));

	put(&w->o, OPT_DNS, w->c->gateway6.b, 16);
	if (n)
		put(&w->o, OPT_DOMAINS, name, n);
	if (w->q->type == INFORMATION_REQUEST) {
		put_be32(refresh, MAX(a->lease_s, 600u)); /* IRT_MINIMUM */
		put(&w->o, OPT_REFRESH, refresh, 4);
	}
}

/* False: it says nothing that could be answered. */
static bool put_body(struct answer *w)
{
	switch (w->q->type) {
	case CONFIRM:
		for (size_t i = 0; i < w->q->n_ia; i++)
			if (w->q->ia[i].type != OPT_IA_PD)
				each_address(&w->q->ia[i], look_on_link, w);
		put_status(&w->o, w->off_link ? NOT_ON_LINK : SUCCESS);
		return w->named;
	case RELEASE:
	case DECLINE:
		put_status(&w->o, SUCCESS);
		return true;
	default:
		for (size_t i = 0; i < w->q->n_ia; i++)
			put_ia(w, &w->q->ia[i]);
		put_servers(w);
		return true;
	}
}

size_t dhcp6_answer(const struct netstack_config *c, const uint8_t *p, size_t n,
		    uint8_t out[static DHCP_OUT_MAX], bool *ret_leased)
{
	uint8_t own[DUID_LL_LEN];
	struct request q;
	struct answer w = { .c = c, .q = &q, .o = { .p = out, .n = 4 } };
	bool commit;

	if (!parse(p, n, &q) || !valid(c, &q))
		return 0;
	commit = q.type != SOLICIT || q.rapid;
	out[0] = commit ? REPLY : ADVERTISE;
	memcpy(out + 1, q.xid, 3);
	server_duid(c, own);
	if (q.client)
		put(&w.o, OPT_CLIENT_ID, q.client, q.client_len);
	put(&w.o, OPT_SERVER_ID, own, sizeof(own));
	if (q.type == SOLICIT && q.rapid)
		put(&w.o, OPT_RAPID_COMMIT, NULL, 0);
	if (!put_body(&w) || w.o.full)
		return 0;
	*ret_leased = w.leased && commit;
	return w.o.n;
}
