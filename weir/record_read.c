/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of a record as facts. */
#include "weir/record_read.h"

#include "base/base.h"
#include "dns/dns.h"

#include <stdio.h>

/* Flows whose requests may still follow: some 700 bytes each. */
#define FLOWS_MAX (128 * 1024)

/* ---- members -------------------------------------------------------------------------- */

bool record_get_ip(const json_t *e, const char *key, struct ip_addr *ret)
{
	const char *s = audit_get(e, key);

	return ip_parse(s, strlen(s), ret, NULL) == 0;
}

bool record_get_endpoint(const json_t *e, const char *key, struct endpoint *ret)
{
	const char *s = audit_get(e, key);

	return endpoint_parse(s, strlen(s), 0, ret, NULL) == 0;
}

bool record_get_name(const json_t *e, const char *key, struct name *ret)
{
	const char *s = audit_get(e, key);

	return name_parse(s, strlen(s), ret, NULL) == 0;
}

bool record_get_proto(const json_t *e, enum policy_proto *ret)
{
	static const struct {
		const char *word;
		enum policy_proto proto;
	} protos[] = { { "tcp", POLICY_TCP },
		       { "udp", POLICY_UDP },
		       { "icmpv4", POLICY_ICMPV4 },
		       { "icmpv6", POLICY_ICMPV6 } };

	for (size_t i = 0; i < ARRAY_SIZE(protos); i++)
		if (str_eq(audit_get(e, "proto"), protos[i].word)) {
			*ret = protos[i].proto;
			return true;
		}
	return false;
}

bool record_get_ports(const json_t *e, struct port_range *ret)
{
	uint64_t port = audit_get_u64(e, "port");
	const char *ports = audit_get(e, "ports");

	if (ports[0])
		return port_range_parse(ports, strlen(ports), ret, NULL) == 0;
	if (port > UINT16_MAX)
		return false;
	*ret = (struct port_range){ (uint16_t)port, (uint16_t)port };
	return true;
}

void record_each_ip(const json_t *e, const char *key,
		    void (*fn)(void *ctx, const struct ip_addr *a), void *ctx)
{
	const json_t *list = json_object_get(e, key);
	struct ip_addr a;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = json_string_value(json_array_get(list, i));

		if (s && ip_parse(s, strlen(s), &a, NULL) == 0)
			fn(ctx, &a);
	}
}

bool record_has_name(const struct name *names, size_t n, const struct name *name)
{
	for (size_t i = 0; i < n; i++)
		if (name_equal(&names[i], name))
			return true;
	return false;
}

enum audit_verdict record_verdict_of(const json_t *e)
{
	enum audit_verdict v = audit_verdict_of(e);

	if (v != AUDIT_V_OBSERVED)
		return v;
	return str_eq(audit_get(e, "verdict"), "fail") ? AUDIT_V_FAIL : AUDIT_V_ALLOW;
}

bool record_is_observed(const json_t *e)
{
	return audit_verdict_of(e) == AUDIT_V_OBSERVED;
}

/* ---- names ------------------------------------------------------------------------------ */

bool record_is_own_answer(const json_t *e)
{
	const char *detail = audit_get(e, "detail");

	return str_eq(detail, "static record") || str_eq(detail, "special-use name");
}

bool record_is_own_network(const json_t *e)
{
	const char *detail = audit_get(e, "detail");

	return str_eq(detail, "virtual address") || str_eq(detail, dns_own_detail);
}

int record_names_init(struct record_names *n)
{
	*n = (struct record_names){ 0 };
	if (replay_names_new(&n->given) == 0 && replay_names_new(&n->real) == 0)
		return 0;
	record_names_fini(n);
	return -ENOMEM;
}

void record_names_fini(struct record_names *n)
{
	replay_names_free(n->given);
	replay_names_free(n->real);
	*n = (struct record_names){ 0 };
}

struct learn {
	struct replay_names *to;
	const struct name *name;
};

static void learn_one(void *ctx, const struct ip_addr *a)
{
	const struct learn *l = ctx;

	replay_names_add(l->to, l->name, a);
}

void record_names_learn(struct record_names *n, const json_t *e, const struct name *name)
{
	bool instead = json_array_size(json_object_get(e, "given")) > 0;

	record_each_ip(e, instead ? "given" : "answers", learn_one,
		       &(struct learn){ n->given, name });
	record_each_ip(e, "answers", learn_one, &(struct learn){ n->real, name });
}

/* ---- flows ------------------------------------------------------------------------------- */

int record_flows_init(struct record_flows *t)
{
	*t = (struct record_flows){ 0 };
	hash_key_random(&t->key);
	pool_init(&t->pool, sizeof(struct record_flow), FLOWS_MAX);
	return hmap_init(&t->map, 64);
}

void record_flows_fini(struct record_flows *t)
{
	hmap_fini(&t->map);
	pool_fini(&t->pool);
}

static bool flow_id(const json_t *e, char *out, size_t size)
{
	char id[52];

	snprintf(out, size, "%.64s/%s", audit_get(e, "run"), audit_get_id(e, id, sizeof(id)));
	return id[0] != 0;
}

struct record_flow *record_flow_find(struct record_flows *t, const json_t *e)
{
	char id[120];

	if (!flow_id(e, id, sizeof(id)))
		return NULL;
	hmap_for_hash (it, &t->map, hash_bytes(&t->key, id, strlen(id))) {
		struct record_flow *f = container_of(it, struct record_flow, node);

		if (str_eq(f->id, id))
			return f;
	}
	return NULL;
}

void record_flow_keep(struct record_flows *t, const json_t *e, const struct record_flow *flow)
{
	struct record_flow *f;
	char id[120];

	if (!flow_id(e, id, sizeof(id)) || record_flow_find(t, e))
		return;
	f = pool_get(&t->pool);
	if (!f)
		return;
	*f = *flow;
	memcpy(f->id, id, sizeof(id));
	hmap_insert(&t->map, &f->node, hash_bytes(&t->key, id, strlen(id)));
}

bool record_flow_given(const struct record_flow *f, const struct record_names *n,
		       const struct name *shown, struct name *ret_names, size_t *ret_n)
{
	if (f->is_virtual) {
		ret_names[0] = f->name;
		*ret_n = 1;
	} else {
		*ret_n = replay_names_of(n->given, &f->dst, ret_names, REPLAY_CANDIDATES);
	}
	return shown && record_has_name(ret_names, *ret_n, shown);
}

const struct name *record_request_name(const struct record_flow *f, const json_t *e, struct name *host)
{
	if (json_is_true(json_object_get(e, "tls")) && f->sni.len)
		return &f->sni;
	return record_get_name(e, "host", host) ? host : NULL;
}
