/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sorted lists of sequence ranges, and the two uses of them: what of ours the
 * peer holds out of order (scoreboard, RFC 6675) and what of the peer's we
 * hold out of order (RFC 2018 blocks, RFC 2883 duplicates).
 *
 * A list exists only while it holds something and never grows beyond its
 * maximum: all work here is a walk over at most 64 entries, however the peer
 * cuts its segments. A range that finds no place is forgotten, which costs a
 * retransmission and nothing else.
 */
#include "netstack/tcp_int.h"

static struct tcp_ranges *ranges_get(struct tcp_ranges **rp, uint32_t max)
{
	if (!*rp)
		*rp = calloc(1, sizeof(**rp) + max * sizeof((*rp)->r[0]));
	return *rp;
}

bool tcp_ranges_add(struct tcp_ranges **rp, uint32_t max, uint32_t lo, uint32_t hi)
{
	struct tcp_ranges *l = ranges_get(rp, max);
	uint32_t i = 0, j;

	if (!l)
		return false;
	while (i < l->n && seq_lt(l->r[i].hi, lo))
		i++;
	for (j = i; j < l->n && seq_le(l->r[j].lo, hi); j++)
		;
	if (i == j) { /* touches none: a new one before i */
		if (l->n == max)
			return false;
		memmove(&l->r[i + 1], &l->r[i], (l->n - i) * sizeof(l->r[0]));
		l->n++;
	} else {
		lo = seq_min(lo, l->r[i].lo);
		hi = seq_max(hi, l->r[j - 1].hi);
		memmove(&l->r[i + 1], &l->r[j], (l->n - j) * sizeof(l->r[0]));
		l->n -= j - i - 1;
	}
	l->r[i] = (struct tcp_range){ lo, hi, ++l->stamp };
	return true;
}

void tcp_ranges_drop(struct tcp_ranges **rp)
{
	free(*rp);
	*rp = NULL;
}

void tcp_ranges_trim(struct tcp_ranges **rp, uint32_t seq)
{
	struct tcp_ranges *l = *rp;
	uint32_t i = 0;

	if (!l)
		return;
	while (i < l->n && seq_le(l->r[i].hi, seq))
		i++;
	memmove(&l->r[0], &l->r[i], (l->n - i) * sizeof(l->r[0]));
	l->n -= i;
	if (l->n == 0)
		tcp_ranges_drop(rp);
	else if (seq_lt(l->r[0].lo, seq))
		l->r[0].lo = seq;
}

/* Bytes of [lo, hi) that the list covers. */
uint32_t tcp_ranges_bytes(const struct tcp_ranges *l, uint32_t lo, uint32_t hi)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; l && i < l->n; i++)
		sum += seq_gap(seq_max(lo, l->r[i].lo), seq_min(hi, l->r[i].hi));
	return sum;
}

/* Take in the segment's blocks; returns how many bytes are newly known to have arrived. */
uint32_t tcp_sack_update(struct tcp *t, const struct tcp_seg *s)
{
	uint32_t before = tcp_ranges_bytes(t->score, t->snd_una, t->snd_nxt);

	if (!t->sack_on)
		return 0;
	for (unsigned i = 0; i < s->n_sack; i++) {
		uint32_t lo = s->sack[i].lo, hi = s->sack[i].hi;

		/* At or below snd_una: D-SACK or nonsense. Above snd_nxt: never sent. */
		if (!seq_lt(lo, hi) || seq_le(lo, t->snd_una) || seq_lt(t->snd_nxt, hi))
			continue;
		if (!tcp_ranges_add(&t->score, TCP_SCORE_MAX, lo, hi))
			break;
	}
	if (t->score && t->score->n == 0)
		tcp_ranges_drop(&t->score);
	return tcp_ranges_bytes(t->score, t->snd_una, t->snd_nxt) - before;
}

uint32_t tcp_sack_high(const struct tcp *t)
{
	return t->score && t->score->n ? t->score->r[t->score->n - 1].hi : t->snd_una;
}

uint32_t tcp_sack_hole(const struct tcp *t, uint32_t seq, uint32_t limit, uint32_t *ret_end)
{
	uint32_t end = limit;

	for (uint32_t i = 0; t->score && i < t->score->n; i++) {
		const struct tcp_range *r = &t->score->r[i];

		if (seq_le(r->hi, seq))
			continue;
		if (seq_le(r->lo, seq)) {
			seq = r->hi;
			continue;
		}
		end = seq_min(limit, r->lo);
		break;
	}
	*ret_end = end;
	return seq;
}

/* The most recently touched range whose stamp is below `below`; NULL: none left. */
static const struct tcp_range *most_recent(const struct tcp_ranges *l, uint32_t below)
{
	const struct tcp_range *best = NULL;

	for (uint32_t i = 0; l && i < l->n; i++)
		if (l->r[i].stamp < below && (!best || l->r[i].stamp > best->stamp))
			best = &l->r[i];
	return best;
}

unsigned tcp_sack_blocks(struct tcp *t, uint8_t *p, unsigned n)
{
	const struct tcp_range *r;
	uint32_t below = UINT32_MAX;
	unsigned k = 0;

	if (t->dsack_lo != t->dsack_hi && n) {
		put_be32(p, t->dsack_lo);
		put_be32(p + 4, t->dsack_hi);
		k++;
	}
	while (k < n && (r = most_recent(t->ooo, below))) {
		put_be32(p + 8 * k, r->lo);
		put_be32(p + 8 * k + 4, r->hi);
		below = r->stamp;
		k++;
	}
	return k;
}
