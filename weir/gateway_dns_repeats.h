/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the record says of queries, and how often it would say the same.
 *
 * A client that asks for one cached name ten thousand times a second would
 * write 5 MB a second to the host's disk, and hear its answers half as fast. So
 * a query that differs in nothing the record tells from one whose line was just
 * written is counted, when there are more than DNS_EVENTS_PER_S lines a second:
 * one line with their number follows within a second, and at the gateway's end.
 *
 * Exact: every query is in exactly one line's count, and equal means equal
 * in every member. Bounded: DNS_REPEAT_KINDS lines are remembered; beyond them
 * the longest unused gives way, its number written first.
 */
#ifndef WEIR_GATEWAY_DNS_REPEATS_H
#define WEIR_GATEWAY_DNS_REPEATS_H

#include "dns/dns.h"
#include "weir/judge.h"
#include "weir/record.h"

/* Lines that queries get of their own in a second, whether or not they repeat another. */
#define DNS_EVENTS_PER_S 200
/* Lines remembered, of some 1000 bytes each. */
#define DNS_REPEAT_KINDS 4096
/* A number waits this long for more, and goes on the record then. */
#define DNS_REPEAT_WAIT (NS_PER_S * 3 / 4)
/* What was last on the record longer ago than this gets a line at once. */
#define DNS_REPEAT_FRESH (2 * NS_PER_S)
/* Written in one go, between which the guest's packets are read: bounds how long they wait. */
#define DNS_REPEAT_BATCH 32
/* Lines with more or longer are not remembered. */
#define DNS_REPEAT_ANSWERS 16
#define DNS_REPEAT_DETAIL 160

/* The members of a query's line. What it points to is the caller's. */
struct dns_said {
	const struct dns_question *q;
	enum dns_result result;
	bool denied;
	struct ruling ruling;
	const char *denial; /* the guest was told it; NULL: it was not told any */
	bool own_denial;    /* it gets a denial id for the record alone */
	const char *detail;
	const struct ip_addr *answers;
	size_t n_answers;
	const struct ip_addr *given; /* one or NULL */
};

struct dns_repeats {
	struct hmap by_said;
	struct hash_key key;
	struct pool pool;
	struct list quiet;   /* remembered, nothing to write; the longest unused first */
	struct list counted; /* the first due first */
	struct loop_timer timer;
	struct line_allowance lines;
};

struct gateway;

must_check int gateway_dns_repeats_start(struct gateway *gw);
/* True: counted; false: write a line of its own, and then remember it. */
bool gateway_dns_counted(struct gateway *gw, const struct dns_said *s);
/* The line was just written; denial: the id in it, or NULL. */
void gateway_dns_remember(struct gateway *gw, const struct dns_said *s, const char *denial);
/*
 * A refusal of a name about to be told: the denial id of one that is on the record
 * and that it will be counted with. NULL: it needs one of its own.
 */
const char *gateway_dns_denial_again(struct gateway *gw, const struct dns_said *s);
/* Writes every number. */
void gateway_dns_repeats_flush(struct gateway *gw);
/* And forgets the lines: nothing points into the policy any more. */
void gateway_dns_repeats_forget(struct gateway *gw);

#endif
