/* SPDX-License-Identifier: Apache-2.0 */
/* When an access token is fetched, and whether there is one. Pure: times in nanoseconds of one clock. */
#ifndef WEIR_TOKEN_CLOCK_H
#define WEIR_TOKEN_CLOCK_H

#include "tlsproxy/tlsproxy.h"

/* Requests for one token while its endpoint fails: doubled with every failure. */
#define TOKEN_RETRY_MIN_NS (1 * NS_PER_S)
#define TOKEN_RETRY_MAX_NS (300 * NS_PER_S)
/* A token is renewed this long before it ends, or a tenth of its life. */
#define TOKEN_MARGIN_S 60

struct token_clock {
	bool has;      /* a token, good until `until` */
	bool fetching; /* one at a time */
	bool wanted;   /* used since it was fetched: renew it before it ends */
	uint64_t until, renew, retry, started;
	unsigned failures;
};
/* Somebody needs it. True: it is good now. */
bool token_clock_want(struct token_clock *c, uint64_t now);
/* Has the token just ended: told once. */
bool token_clock_over(struct token_clock *c, uint64_t now);
/* Is it time to fetch: begin then. */
bool token_clock_due(const struct token_clock *c, uint64_t now);
void token_clock_begin(struct token_clock *c, uint64_t now);
void token_clock_got(struct token_clock *c, uint64_t now, uint64_t life_s);
void token_clock_failed(struct token_clock *c, uint64_t now);
/* When to look again; UINT64_MAX: not by itself. */
uint64_t token_clock_next(const struct token_clock *c);

#endif
