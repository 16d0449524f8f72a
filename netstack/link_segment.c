/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest's network card would do, for links that cannot ask it to: cut a
 * super-segment into frames (TCP over IPv4 and IPv6; UDP datagrams of one
 * size), complete checksums. Payload is not moved: a frame's data are pieces
 * of the super-segment's, read once, for the checksum. A link that has to copy
 * anyway uses link_copy(), which sums on the way.
 *
 * Input is of our own making. What does not add up is refused all the same
 * (-EINVAL), for it would be written over the end of a header.
 */
#include "netstack/netstack_internal.h"

/* Ethernet, IPv6 or IPv4 with options, TCP with options. */
#define HEAD_MAX (ETH_HEAD + 60 + 60)
#define TCP_SEQ 4
#define TCP_FLAGS 13
#define TCP_CWR 0x80
#define UDP_LEN 4

struct plan {
	const struct link_tx *tx;
	bool four, tcp, sum;
	size_t l4;	   /* transport header, from the Ethernet header on */
	size_t size;	   /* payload of one frame */
	size_t len;	   /* payload of all */
	struct csum addrs; /* pseudo header without the length */
};

static size_t data_len(const struct link_tx *tx)
{
	size_t n = 0;

	for (unsigned i = 0; i < tx->n_data; i++)
		n += tx->data[i].iov_len;
	return n;
}

static bool gso_ok(const struct plan *p)
{
	const struct link_tx *tx = p->tx;

	if (!tx->gso)
		return true;
	if (!tx->gso_size || tx->head_len - p->l4 < (p->tcp ? 20u : UDP_HEAD))
		return false;
	switch (tx->gso) {
	case LINK_GSO_TCP4:
		return p->tcp && p->four;
	case LINK_GSO_TCP6:
		return p->tcp && !p->four;
	case LINK_GSO_UDP:
		return !p->tcp;
	default:
		return false;
	}
}

/* The head holds all that will be looked at and written. */
static bool plan_ok(const struct plan *p)
{
	const struct link_tx *tx = p->tx;
	size_t ip = p->four ? 20 : IP6_HEAD, field = tx->csum_start + (size_t)tx->csum_off;

	if (tx->head_len < ETH_HEAD + ip || tx->head_len > HEAD_MAX || p->l4 < ETH_HEAD + ip ||
	    p->l4 + UDP_HEAD > tx->head_len || field + 2 > tx->head_len)
		return false;
	if (get_be16(tx->head + 12) != (p->four ? ETH_IP4 : ETH_IP6) || p->len > 65535)
		return false;
	return gso_ok(p);
}

static void pseudo(struct plan *p)
{
	const uint8_t *ip = p->tx->head + ETH_HEAD;
	uint8_t proto[2] = { 0, p->four ? ip[9] : ip[6] };

	if (p->four)
		csum_feed(&p->addrs, ip + 12, 8);
	else
		csum_feed(&p->addrs, ip + 8, 32);
	csum_feed(&p->addrs, proto, sizeof(proto));
}

/* Bytes [off, off + n) of the payload of tx. */
static unsigned slice(const struct link_tx *tx, size_t off, size_t n, struct iovec ret[2])
{
	unsigned used = 0;

	for (unsigned i = 0; i < tx->n_data && n; i++) {
		size_t len = tx->data[i].iov_len, skip = MIN(off, len), take = MIN(len - skip, n);

		off -= skip;
		n -= take;
		if (take)
			ret[used++] = (struct iovec){ (uint8_t *)tx->data[i].iov_base + skip, take };
	}
	return used;
}

/* Lengths and identification of the frame that carries [off, off + n). */
static void set_ip(const struct plan *p, uint8_t *ip, size_t l3_len, size_t nth)
{
	struct csum c = { 0 };
	size_t ihl = (ip[0] & 15u) * 4;

	if (!p->four) {
		put_be16(ip + 4, (uint16_t)(l3_len - IP6_HEAD));
		return;
	}
	put_be16(ip + 2, (uint16_t)l3_len);
	put_be16(ip + 4, (uint16_t)(get_be16(ip + 4) + nth));
	put_be16(ip + 10, 0);
	csum_feed(&c, ip, MIN(ihl, p->l4 - ETH_HEAD));
	csum_store(&c, ip + 10);
}

static void set_transport(const struct plan *p, uint8_t *l4, size_t off, size_t n, size_t head)
{
	if (!p->tcp) {
		put_be16(l4 + UDP_LEN, (uint16_t)(head + n));
		return;
	}
	put_be32(l4 + TCP_SEQ, get_be32(l4 + TCP_SEQ) + (uint32_t)off);
	if (off + n < p->len)
		l4[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (off)
		l4[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
}

/* RFC 768: a sum of zero is sent as ones; zero means "none". */
static void store_sum(const struct csum *c, const struct plan *p, uint8_t *field)
{
	csum_store(c, field);
	if (!p->tcp && get_be16(field) == 0)
		put_be16(field, 0xffff);
}

static struct csum pseudo_sum(const struct plan *p, size_t l4_len)
{
	struct csum c = p->addrs;
	uint8_t len[4];

	put_be32(len, (uint32_t)l4_len);
	csum_feed(&c, len, sizeof(len));
	return c;
}

/* Of all but the payload. */
static struct csum head_sum(const struct plan *p, uint8_t *head, size_t l4_len)
{
	struct csum c = pseudo_sum(p, l4_len);

	put_be16(head + p->l4 + p->tx->csum_off, 0);
	csum_feed(&c, head + p->l4, p->tx->head_len - p->l4);
	return c;
}

static void frame(const struct plan *p, size_t off, size_t n, size_t nth, uint8_t head[HEAD_MAX],
		  struct link_tx *ret)
{
	const struct link_tx *tx = p->tx;
	size_t l4_len = tx->head_len - p->l4 + n;
	struct csum c;

	memcpy(head, tx->head, tx->head_len);
	if (tx->gso) {
		set_ip(p, head + ETH_HEAD, p->l4 - ETH_HEAD + l4_len, nth);
		set_transport(p, head + p->l4, off, n, tx->head_len - p->l4);
	}
	*ret = (struct link_tx){ .head = head, .head_len = tx->head_len };
	ret->n_data = slice(tx, off, n, ret->data);
	if (!p->sum) { /* the guest's side completes it */
		c = pseudo_sum(p, l4_len);
		csum_store_partial(&c, head + p->l4 + tx->csum_off);
		ret->partial_csum = true;
		ret->csum_start = tx->csum_start;
		ret->csum_off = tx->csum_off;
		return;
	}
	c = head_sum(p, head, l4_len);
	for (unsigned i = 0; i < ret->n_data; i++)
		csum_feed(&c, ret->data[i].iov_base, ret->data[i].iov_len);
	store_sum(&c, p, head + p->l4 + tx->csum_off);
}

static bool guest_cuts(const struct link_tx *tx, const struct link_caps *caps)
{
	switch (tx->gso) {
	case LINK_GSO_TCP4:
		return caps->tso4 && caps->csum;
	case LINK_GSO_TCP6:
		return caps->tso6 && caps->csum;
	case LINK_GSO_UDP:
		return caps->uso && caps->csum;
	default:
		return true;
	}
}

static struct plan plan_of(const struct link_tx *tx, bool sum)
{
	return (struct plan){
		.tx = tx,
		.four = tx->head_len >= ETH_HEAD && get_be16(tx->head + 12) == ETH_IP4,
		.tcp = tx->csum_off == 16,
		.sum = sum,
		.l4 = tx->csum_start,
		.len = data_len(tx),
	};
}

int link_segment(const struct link_tx *tx, const struct link_caps *caps,
		 int (*put)(void *ctx, const struct link_tx *one), void *ctx)
{
	struct plan p = plan_of(tx, !caps->csum);
	uint8_t head[HEAD_MAX];
	struct link_tx one;
	size_t off = 0, nth = 0;
	int r;

	if (guest_cuts(tx, caps) && (caps->csum || !tx->partial_csum))
		return put(ctx, tx);
	if (!tx->partial_csum || !plan_ok(&p))
		return -EINVAL;
	pseudo(&p);
	p.size = tx->gso ? tx->gso_size : p.len;
	do {
		size_t n = MIN(p.size, p.len - off);

		frame(&p, off, n, nth++, head, &one);
		r = put(ctx, &one);
		off += n;
	} while (r == 0 && off < p.len);
	return r;
}

size_t link_copy(const struct link_tx *tx, uint8_t *dst)
{
	struct plan p = plan_of(tx, true);
	size_t at = tx->head_len;
	struct csum c = { 0 };
	bool sum = tx->partial_csum && plan_ok(&p);

	memcpy(dst, tx->head, tx->head_len);
	if (sum) {
		pseudo(&p);
		c = head_sum(&p, dst, tx->head_len - p.l4 + p.len);
	}
	for (unsigned i = 0; i < tx->n_data; at += tx->data[i++].iov_len)
		csum_feed_copy(&c, dst + at, tx->data[i].iov_base, tx->data[i].iov_len);
	if (sum)
		store_sum(&c, &p, dst + p.l4 + tx->csum_off);
	return at;
}
