/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services: for each direction, protocol and request, the ports between two
 * boundaries that rules draw. Extents with the same rules in play (told by a sum
 * of random numbers, one per rule) become one service.
 */
#include "base/base.h"
#include "policy/space.h"

struct sum {
	uint64_t v[2];
};

struct build {
	struct space *s;
	struct sum *of[2]; /* a number per rule */
	/* What the rules in play add up to: all ports, and from each port on. */
	struct sum all;
	struct sum *from; /* 65537 */
	uint32_t *bounds; /* ports at which from[] may differ from zero, sorted */
	size_t n_bounds;
};

static void plus(struct sum *a, struct sum b, bool minus)
{
	for (int i = 0; i < 2; i++)
		a->v[i] += minus ? ~b.v[i] + 1 : b.v[i];
}

static int init(struct build *b)
{
	bool *cut = calloc(65537, sizeof(*cut));

	b->from = calloc(65537, sizeof(*b->from));
	b->bounds = calloc(65537, sizeof(*b->bounds));
	if (!cut || !b->from || !b->bounds) {
		free(cut);
		return -ENOMEM;
	}
	cut[1] = true;
	for (size_t l = 0; l < b->s->n_lists; l++) {
		const struct policy *p = b->s->list[l].p;

		b->of[l] = calloc(p->n_rules + 1, sizeof(*b->of[l]));
		if (!b->of[l]) {
			free(cut);
			return -ENOMEM;
		}
		random_bytes(b->of[l], p->n_rules * sizeof(*b->of[l]));
		for (size_t i = 0; i < p->n_rules; i++)
			for (size_t k = 0; k < p->rules[i].n_ports; k++) {
				cut[p->rules[i].ports[k].lo] = true;
				cut[p->rules[i].ports[k].hi + 1] = true;
			}
	}
	for (uint32_t port = 1; port <= 65535; port++)
		if (cut[port])
			b->bounds[b->n_bounds++] = port;
	free(cut);
	return 0;
}

static int add(struct space *s, struct sum key, struct extent e)
{
	struct service *v = NULL;

	s->work += s->n_services / 8;
	if (s->work > SPACE_WORK_MAX)
		return -E2BIG;
	for (size_t i = 0; i < s->n_services && !v; i++)
		if (s->services[i].key[0] == key.v[0] && s->services[i].key[1] == key.v[1] &&
		    s->services[i].extents[0].dir == e.dir)
			v = &s->services[i];
	if (!v) {
		if (s->n_services == s->services_size) {
			size_t size = s->services_size ? s->services_size * 2 : 16;
			struct service *n = realloc(s->services, size * sizeof(*n));

			if (!n)
				return -ENOMEM;
			s->services = n;
			s->services_size = size;
		}
		v = &s->services[s->n_services++];
		*v = (struct service){ .key = { key.v[0], key.v[1] } };
	}
	if (v->n_extents == v->extents_size) {
		size_t size = v->extents_size ? v->extents_size * 2 : 4;
		struct extent *n = realloc(v->extents, size * sizeof(*n));

		if (!n)
			return -ENOMEM;
		v->extents = n;
		v->extents_size = size;
	}
	v->extents[v->n_extents++] = e;
	return 0;
}

/* One direction, protocol and request: sums up, then walks the ports. */
static int sweep(struct build *b, struct extent e)
{
	struct space *s = b->s;
	bool icmp = e.proto == POLICY_ICMPV4 || e.proto == POLICY_ICMPV6;
	struct sum now;
	int r = 0;

	b->all = (struct sum){ 0 };
	memset(b->from, 0, 65537 * sizeof(*b->from));
	for (size_t l = 0; l < s->n_lists; l++)
		for (size_t i = 0; i < s->list[l].p->n_rules; i++) {
			const struct policy_rule *rule = &s->list[l].p->rules[i];
			struct extent there = e;

			if (rule->n_ports && !icmp)
				there.ports = rule->ports[0];
			if (!space_in_play(s, rule, &there))
				continue;
			if (!rule->n_ports)
				plus(&b->all, b->of[l][i], false);
			for (size_t k = 0; k < rule->n_ports; k++) {
				plus(&b->from[rule->ports[k].lo], b->of[l][i], false);
				plus(&b->from[rule->ports[k].hi + 1], b->of[l][i], true);
			}
		}
	now = b->all;
	if (icmp)
		return add(s, now, e);
	for (size_t i = 0; i < b->n_bounds && r == 0; i++) {
		e.ports.lo = (uint16_t)b->bounds[i];
		e.ports.hi = i + 1 < b->n_bounds ? (uint16_t)(b->bounds[i + 1] - 1) : 65535;
		plus(&now, b->from[e.ports.lo], false);
		r = add(s, now, e);
	}
	return r;
}

static int sweep_all(struct build *b)
{
	static const struct {
		enum policy_dir dir;
		enum policy_proto proto;
	} kinds[] = {
		{ POLICY_EGRESS, POLICY_TCP },	  { POLICY_EGRESS, POLICY_UDP },
		{ POLICY_EGRESS, POLICY_ICMPV4 }, { POLICY_EGRESS, POLICY_ICMPV6 },
		{ POLICY_INGRESS, POLICY_TCP },	  { POLICY_INGRESS, POLICY_UDP },
	};
	int r = 0;

	for (size_t k = 0; k < ARRAY_SIZE(kinds) && r == 0; k++) {
		struct extent e = { .dir = kinds[k].dir, .proto = kinds[k].proto };
		bool read = e.dir == POLICY_EGRESS && e.proto == POLICY_TCP;

		for (; r == 0 && e.request < (read ? b->s->n_requests : 1); e.request++) {
			for (size_t l = 0; l < b->s->n_lists; l++)
				b->s->work += b->s->list[l].p->n_rules;
			b->s->work += 8192; /* clearing a sum per port */
			r = b->s->work > SPACE_WORK_MAX ? -E2BIG : sweep(b, e);
		}
	}
	return r;
}

int space_services_build(struct space *s, struct why *why)
{
	struct build b = { .s = s };
	int r = init(&b);

	if (r == 0)
		r = sweep_all(&b);
	free(b.of[0]);
	free(b.of[1]);
	free(b.from);
	free(b.bounds);
	if (r == -E2BIG)
		why_set(why, "too many different HTTP conditions and ports to compare them all");
	return r;
}
