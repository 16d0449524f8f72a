/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run's addresses on the record, written and read back. Records from before
 * they were written down had no others than the default ones.
 */
#include "weir/record_net.h"

#include "weir/record_read.h"

#include <stdio.h>

static void write_pair(struct audit_event *e, const char *key, const struct ip_addr *a4,
		       const struct ip_addr *a6)
{
	char text[IP_STRLEN];

	audit_array_begin(e, key);
	if (a4->family)
		audit_str(e, NULL, ip_format(a4, text));
	if (a6->family)
		audit_str(e, NULL, ip_format(a6, text));
	audit_array_end(e);
}

static void write_prefix(struct audit_event *e, const struct ip_prefix *p)
{
	char text[IP_STRLEN + 4], addr[IP_STRLEN];

	if (!p->addr.family)
		return;
	snprintf(text, sizeof(text), "%s/%u", ip_format(&p->addr, addr), p->len);
	audit_str(e, NULL, text);
}

void record_net_write(struct audit_event *e, const struct sandbox_net *net)
{
	write_pair(e, "guest", &net->guest4, &net->guest6);
	write_pair(e, "gateway", &net->gateway4, &net->gateway6);
	audit_array_begin(e, "virtual");
	write_prefix(e, &net->virtual4);
	write_prefix(e, &net->virtual6);
	audit_array_end(e);
	audit_u64(e, "mtu", net->mtu);
}

/* ---- reading ------------------------------------------------------------------- */

static void take_gateway(void *ctx, const struct ip_addr *a)
{
	struct record_net *n = ctx;

	if (n->n < ARRAY_SIZE(n->gateways))
		n->gateways[n->n++] = *a;
}

void record_net_learn(struct record_nets *t, const json_t *e)
{
	struct record_net n = { .n = 0 };

	if (!str_eq(audit_get(e, "kind"), "run") || !str_eq(audit_get(e, "event"), "begin"))
		return;
	snprintf(n.run, sizeof(n.run), "%.64s", audit_get(e, "run"));
	record_each_ip(e, "gateway", take_gateway, &n);
	if (n.n == 0)
		return;
	t->v[t->next] = n;
	t->next = (t->next + 1) % RECORD_NETS_MAX;
	t->n = MIN(t->n + 1, (size_t)RECORD_NETS_MAX);
}

bool record_net_is_gateway(const struct record_nets *t, const json_t *e, const struct ip_addr *a)
{
	const char *run = audit_get(e, "run");

	/* The newest first: nearly always it is the only one. */
	for (size_t i = 1; i <= t->n; i++) {
		const struct record_net *n = &t->v[(t->next + RECORD_NETS_MAX - i) % RECORD_NETS_MAX];

		if (!str_eq(n->run, run))
			continue;
		for (size_t k = 0; k < n->n; k++)
			if (ip_equal(&n->gateways[k], a))
				return true;
		return false;
	}
	return is_gateway(&sandbox_net_default, a);
}
