/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a token is fetched: when it is first wanted, again before it ends as long
 * as it is used, and after a failure with growing pauses, in which whoever wants it
 * is told at once that there is none.
 */
#include "weir/token_clock.h"

static bool is_good(const struct token_clock *c, uint64_t now)
{
	return c->has && now < c->until;
}

bool token_clock_want(struct token_clock *c, uint64_t now)
{
	c->wanted = true;
	return is_good(c, now);
}

bool token_clock_over(struct token_clock *c, uint64_t now)
{
	if (!c->has || now < c->until)
		return false;
	c->has = false;
	return true;
}

bool token_clock_due(const struct token_clock *c, uint64_t now)
{
	if (!c->wanted || c->fetching || now < c->retry)
		return false;
	return !is_good(c, now) || now >= c->renew;
}

void token_clock_begin(struct token_clock *c, uint64_t now)
{
	assert(!c->fetching);
	c->fetching = true;
	c->started = now;
}

void token_clock_got(struct token_clock *c, uint64_t now, uint64_t life_s)
{
	uint64_t life = MIN(life_s, (uint64_t)TLSPROXY_TOKEN_LIFE_MAX_S);
	uint64_t margin = MIN(life / 10, (uint64_t)TOKEN_MARGIN_S);

	*c = (struct token_clock){ .has = true,
				   .until = now + life * NS_PER_S,
				   .renew = now + (life - margin) * NS_PER_S };
}

void token_clock_failed(struct token_clock *c, uint64_t now)
{
	uint64_t pause = TOKEN_RETRY_MIN_NS << MIN(c->failures, 20u);

	c->fetching = false;
	c->failures++;
	c->retry = now + MIN(pause, (uint64_t)TOKEN_RETRY_MAX_NS);
}

uint64_t token_clock_next(const struct token_clock *c)
{
	if (c->fetching)
		return c->started + TLSPROXY_FETCH_NS;
	if (c->wanted)
		return MIN(MAX(c->has ? c->renew : 0, c->retry), c->has ? c->until : UINT64_MAX);
	return c->has ? c->until : UINT64_MAX;
}
