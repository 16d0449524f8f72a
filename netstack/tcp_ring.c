/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte rings, and what they may cost.
 *
 * A ring is allocated when the first byte needs it, doubles as it fills, and
 * is given back when it has been empty for a while: an idle connection costs
 * its struct alone. The account (tcp_stack.mem_used) holds for each connection
 * the larger of what is allocated and what the offered window allows the peer
 * to make us allocate, so that a promise is paid for when it is made, not when
 * the bytes arrive. Windows within TCP_RX_FLOOR are promised on credit.
 */
#include "netstack/tcp_int.h"

static uint32_t pow2_ceil(size_t n)
{
	uint32_t v = 1;

	while (v < n && v < (UINT32_C(1) << 30))
		v <<= 1;
	return v;
}

uint32_t pow2_floor(size_t n)
{
	uint32_t v = pow2_ceil(n);

	return v > n ? v >> 1 : v;
}

/* Positions relative to off keep their bytes, whether they count in len or not. */
bool tcp_ring_reserve(struct tcp_ring *r, size_t size)
{
	uint32_t want = pow2_ceil(MAX(size, (size_t)TCP_RING_FIRST));
	uint8_t *p;

	if (size <= r->size)
		return true;
	if (want < size)
		return false;
	p = malloc(want);
	if (!p)
		return false;
	if (r->size) {
		memcpy(p, r->p + r->off, r->size - r->off);
		memcpy(p + (r->size - r->off), r->p, r->off);
	}
	free(r->p);
	r->p = p;
	r->size = want;
	r->off = 0;
	return true;
}

void tcp_ring_free(struct tcp_ring *r)
{
	free(r->p);
	*r = (struct tcp_ring){ 0 };
}

void tcp_ring_write(struct tcp_ring *r, uint32_t pos, const uint8_t *src, size_t n)
{
	uint32_t at = (r->off + pos) & (r->size - 1);
	size_t first = MIN(n, (size_t)(r->size - at));

	assert(pos + n <= r->size);
	memcpy(r->p + at, src, first);
	memcpy(r->p, src + first, n - first);
}

size_t tcp_ring_pieces(const struct tcp_ring *r, uint32_t pos, uint32_t n, const uint8_t *ret_p[2],
		       size_t ret_len[2])
{
	uint32_t at, first;

	ret_p[0] = ret_p[1] = NULL;
	ret_len[0] = ret_len[1] = 0;
	if (n == 0)
		return 0;
	assert((uint64_t)pos + n <= r->size);
	at = (r->off + pos) & (r->size - 1);
	first = MIN(n, r->size - at);
	ret_p[0] = r->p + at;
	ret_len[0] = first;
	if (first < n) {
		ret_p[1] = r->p;
		ret_len[1] = n - first;
	}
	return n;
}

void tcp_ring_consume(struct tcp_ring *r, uint32_t n)
{
	assert(n <= r->len);
	r->len -= n;
	if (r->size)
		r->off = (r->off + n) & (r->size - 1);
}

bool tcp_mem_pressure(const struct tcp *t)
{
	return t->stack->mem_alloc >= t->stack->mem_max;
}

bool tcp_mem_fits(const struct tcp *t, size_t more)
{
	const struct tcp_stack *s = t->stack;

	return s->mem_used <= s->mem_max && more <= s->mem_max - s->mem_used;
}

static void charge(size_t *account, size_t *had, size_t want)
{
	assert(*account >= *had);
	*account = *account - *had + want;
	*had = want;
}

/* What the receiving side may come to, whatever is allocated today. */
static size_t rx_liability(const struct tcp *t)
{
	size_t promise = (size_t)t->rx.len + tcp_rx_window(t);
	size_t n = t->rx.size;

	if (t->state <= TCP_S_HELD)
		return n;
	if (t->rx_cap > TCP_RX_FLOOR)
		n = MAX(n, (size_t)t->rx_cap);
	if (promise > TCP_RX_FLOOR)
		n = MAX(n, promise);
	return n;
}

size_t tcp_rx_growth_cost(const struct tcp *t, size_t cap)
{
	size_t now = rx_liability(t);

	return cap > now ? cap - now : 0;
}

void tcp_mem_update(struct tcp *t)
{
	charge(&t->stack->mem_used, &t->charged, rx_liability(t) + t->tx.size);
	charge(&t->stack->mem_alloc, &t->allocated, (size_t)t->rx.size + t->tx.size);
}
