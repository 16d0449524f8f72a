/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which server is asked first. Those that answer come in the order of the
 * configuration; one that was silent or could not be reached comes after them, so
 * that not every question pays for it. It is tried again beside a question, which
 * does not wait for it, after a second, then two, four, up to a minute.
 *
 * An answer of any kind is a sign of health: a server's "I failed" is about the
 * name. No clock, no sockets: the time is an argument.
 */
#include "dns/dns_int.h"

void dns_health_answered(struct dns_health *h)
{
	*h = (struct dns_health){ 0 };
}

void dns_health_failed(struct dns_health *h, uint64_t asked_at, uint64_t now)
{
	uint64_t pause = DNS_PROBE_MIN_NS << MIN(h->fails, 10u);

	/* Many questions that were under way together are one failure. */
	if (h->fails && asked_at < h->failed_at)
		return;
	h->fails++;
	h->failed_at = now;
	h->probe_at = now + MIN(pause, DNS_PROBE_MAX_NS);
	h->probing = false;
}

int dns_health_next(const struct dns_health *const h[], size_t n, uint32_t tried)
{
	int best = -1;

	for (size_t i = 0; i < n; i++) {
		if (tried & UINT32_C(1) << i)
			continue;
		if (!h[i]->fails)
			return (int)i;
		if (best < 0 || h[i]->failed_at < h[best]->failed_at)
			best = (int)i;
	}
	return best;
}

int dns_health_probe(const struct dns_health *const h[], size_t n, uint64_t now)
{
	for (size_t i = 0; i < n; i++)
		if (h[i]->fails && !h[i]->probing && h[i]->probe_at <= now)
			return (int)i;
	return -1;
}
