/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decisions and bytes per rule. The same counting serves the log while it writes
 * and a reader of what was written, so that both say the same.
 *
 *   a decision    an event with "rule" and "generation": of a flow, a query, a
 *                 request or a TLS name; one that stands for a flood counts as many
 *   its kind      deny; observed (would have been denied); else allow, also when
 *                 it failed on the way
 *   bytes         of a flow, when it ends, to the rule that allowed it
 *
 * A rule is a rule of one generation: another policy begins with nothing counted.
 * Rules and live flows are bounded; what is beyond is counted as "others".
 */
#include "audit/audit_internal.h"

#include <stdio.h>

enum rule_class { RULE_FLOWS = 0, RULE_QUERIES = 1, RULE_REQUESTS = 2, RULE_TLS = 3 };
#define RULE_CLASSES 4
enum rule_kind { RULE_ALLOW = 0, RULE_DENY = 1, RULE_OBSERVED = 2 };
#define RULE_KINDS 3

static const char *const class_names[] = { "flows", "queries", "requests", "tls" };
static const char *const kind_names[] = { "allow", "deny", "observed" };

struct rule_count {
	struct hmap_node node;
	uint64_t generation;
	bool floor;
	uint64_t n[RULE_CLASSES][RULE_KINDS];
	uint64_t up, down;
	char rule[];
};

struct live_flow {
	struct hmap_node node;
	struct rule_count *rule;
	char id[AUDIT_ID_MAX];
};

struct audit_rules {
	struct hash_key key;
	struct hmap rules, flows;
	struct rule_count **list; /* in the order they were first used */
	size_t n, size;
	uint64_t only; /* of this generation; 0: all */
	uint64_t others;
};

int audit_rules_new(uint64_t only, struct audit_rules **ret)
{
	struct audit_rules *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->only = only;
	hash_key_random(&s->key);
	if (hmap_init(&s->rules, 64) < 0 || hmap_init(&s->flows, 64) < 0) {
		audit_rules_free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

static void forget_flow(struct audit_rules *s, struct live_flow *f)
{
	hmap_remove(&s->flows, &f->node);
	free(f);
}

static void forget_flows(struct audit_rules *s)
{
	for (size_t i = 0; s->flows.buckets && i <= s->flows.mask; i++)
		while (s->flows.buckets[i])
			forget_flow(s, container_of(s->flows.buckets[i], struct live_flow, node));
}

void audit_rules_free(struct audit_rules *s)
{
	if (!s)
		return;
	forget_flows(s);
	for (size_t i = 0; i < s->n; i++)
		free(s->list[i]);
	free(s->list);
	hmap_fini(&s->flows);
	hmap_fini(&s->rules);
	free(s);
}

void audit_rules_restart(struct audit_rules *s, uint64_t only)
{
	forget_flows(s);
	for (size_t i = 0; i < s->n; i++) {
		hmap_remove(&s->rules, &s->list[i]->node);
		free(s->list[i]);
	}
	s->n = 0;
	s->others = 0;
	s->only = only;
}

static struct rule_count *rule_of(struct audit_rules *s, uint64_t generation, bool floor,
				  const char *rule)
{
	uint64_t h = hash_bytes(&s->key, rule, strlen(rule)) ^ generation << 1 ^ floor;
	struct rule_count *c, **list;

	hmap_for_hash (it, &s->rules, h) {
		c = container_of(it, struct rule_count, node);
		if (c->generation == generation && c->floor == floor && str_eq(c->rule, rule))
			return c;
	}
	if (s->n >= AUDIT_RULES_MAX)
		return NULL;
	if (s->n == s->size) {
		list = reallocarray(s->list, s->size ? s->size * 2 : 64, sizeof(*list));
		if (!list)
			return NULL;
		s->list = list;
		s->size = s->size ? s->size * 2 : 64;
	}
	c = calloc(1, sizeof(*c) + strlen(rule) + 1);
	if (!c)
		return NULL;
	c->generation = generation;
	c->floor = floor;
	memcpy(c->rule, rule, strlen(rule));
	hmap_insert(&s->rules, &c->node, h);
	s->list[s->n++] = c;
	return c;
}

static struct live_flow *find_flow(const struct audit_rules *s, const char *id, uint64_t h)
{
	hmap_for_hash (it, &s->flows, h) {
		struct live_flow *f = container_of(it, struct live_flow, node);

		if (str_eq(f->id, id))
			return f;
	}
	return NULL;
}

static void flow_begins(struct audit_rules *s, const char *id, struct rule_count *c)
{
	uint64_t h = hash_bytes(&s->key, id, strlen(id));
	struct live_flow *f;

	if (!id[0] || s->flows.count >= AUDIT_JOIN_MAX || find_flow(s, id, h))
		return;
	f = calloc(1, sizeof(*f));
	if (!f)
		return;
	memcpy(f->id, id, strlen(id));
	f->rule = c;
	hmap_insert(&s->flows, &f->node, h);
}

static void flow_ends(struct audit_rules *s, const struct audit_facts *e)
{
	struct live_flow *f = find_flow(s, e->id, hash_bytes(&s->key, e->id, strlen(e->id)));

	if (!f)
		return;
	f->rule->up += e->bytes_up;
	f->rule->down += e->bytes_down;
	forget_flow(s, f);
}

static bool class_of(const char *kind, enum rule_class *ret)
{
	static const char *const kinds[] = { "flow", "dns", "http", "tls" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (str_eq(kind, kinds[i])) {
			*ret = (enum rule_class)i;
			return true;
		}
	return false;
}

void audit_rules_add(struct audit_rules *s, const struct audit_facts *e)
{
	enum audit_verdict v;
	struct rule_count *c;
	enum rule_class class;
	enum rule_kind how;

	if (str_eq(e->kind, "flow_end")) {
		flow_ends(s, e);
		return;
	}
	if (!class_of(e->kind, &class) || !e->rule[0] || (s->only && e->generation != s->only))
		return;
	c = rule_of(s, e->generation, e->floor, e->rule);
	if (!c) {
		s->others += audit_facts_count(e);
		return;
	}
	v = audit_facts_verdict(e);
	how = audit_facts_observed(e) ? RULE_OBSERVED : v == AUDIT_V_DENY ? RULE_DENY : RULE_ALLOW;
	c->n[class][how] += audit_facts_count(e);
	if (class == RULE_FLOWS && (v == AUDIT_V_ALLOW || v == AUDIT_V_OBSERVED))
		flow_begins(s, e->id, c);
}

/* ---- showing ------------------------------------------------------------------------ */

static json_t *count_json(const struct rule_count *c)
{
	json_t *o = json_pack("{s:I, s:s, s:b}", "generation", (json_int_t)c->generation, "rule",
			      c->rule, "floor", c->floor);

	for (size_t i = 0; o && i < RULE_CLASSES; i++) {
		json_t *n = json_object();

		for (size_t k = 0; k < RULE_KINDS; k++)
			json_object_set_new(n, kind_names[k], json_integer((json_int_t)c->n[i][k]));
		json_object_set_new(o, class_names[i], n);
	}
	if (o) {
		json_object_set_new(o, "bytes_up", json_integer((json_int_t)c->up));
		json_object_set_new(o, "bytes_down", json_integer((json_int_t)c->down));
	}
	return o;
}

json_t *audit_rules_json(const struct audit_rules *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->n; i++)
		if (json_array_append_new(list, count_json(s->list[i])) < 0) {
			json_decref(list);
			return NULL;
		}
	return json_pack("{s:o, s:I}", "rules", list, "others", (json_int_t)s->others);
}

static uint64_t total(const json_t *rule, const char *kind)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < RULE_CLASSES; i++)
		sum += audit_get_u64(json_object_get(rule, class_names[i]), kind);
	return sum;
}

void audit_rules_table(const json_t *counts, FILE *out)
{
	const json_t *list = json_object_get(counts, "rules");

	fprintf(out, "%4s  %-24s %10s %10s %10s %8s %8s\n", "GEN", "RULE", "ALLOWED", "DENIED",
		"OBSERVED", "UP", "DOWN");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *r = json_array_get(list, i);
		const char *rule = audit_get(r, "rule");
		char name[80], quoted[72], up[16], down[16];

		log_quote(rule, strlen(rule), quoted, sizeof(quoted));
		snprintf(name, sizeof(name), "%s%s",
			 json_is_true(json_object_get(r, "floor")) ? "floor:" : "", quoted);
		fprintf(out, "%4llu  %-24s %10llu %10llu %10llu %8s %8s\n",
			(unsigned long long)audit_get_u64(r, "generation"), name,
			(unsigned long long)total(r, "allow"), (unsigned long long)total(r, "deny"),
			(unsigned long long)total(r, "observed"),
			audit_bytes(audit_get_u64(r, "bytes_up"), up),
			audit_bytes(audit_get_u64(r, "bytes_down"), down));
	}
	if (audit_get_u64(counts, "others"))
		fprintf(out, "and %llu decisions of more rules than are counted\n",
			(unsigned long long)audit_get_u64(counts, "others"));
}

int audit_rules_print(const char *path, const struct audit_view *v, FILE *out, char *err,
		      size_t err_size)
{
	struct audit_record *r = NULL;
	struct audit_rules *s = NULL;
	struct audit_facts facts;
	struct audit_line line;
	json_t *counts = NULL;
	int rc = audit_rules_new(0, &s);

	if (rc == 0)
		rc = audit_record_open(path, &r, err, err_size);
	while (rc == 0 && (rc = audit_record_next(r, &line, err, err_size)) > 0) {
		audit_facts_of(line.event, &facts);
		audit_rules_add(s, &facts);
		rc = 0;
	}
	if (rc == 0) {
		counts = audit_rules_json(s);
		rc = counts ? 0 : -ENOMEM;
	}
	if (rc == 0 && !v->json)
		audit_rules_table(counts, out);
	else if (rc == 0) {
		rc = json_dumpf(counts, out, JSON_COMPACT | JSON_ENSURE_ASCII) < 0 ? -EIO : 0;
		fputc('\n', out);
	}
	if (rc == 0 && audit_record_chain(r)->breaks) {
		snprintf(err, err_size, "%s", audit_record_chain(r)->text[0]);
		rc = -EBADMSG;
	}
	json_decref(counts);
	audit_record_close(r);
	audit_rules_free(s);
	return rc;
}
