/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rule and the list of rules: the one validator.
 *
 * Whatever a rule came from (JSON, a token, a preset, a bulk list), its parts
 * are checked by the setters here and its sense by policy_add(). What could be
 * read in two ways, or could match nothing, is refused with what to write.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

int why_set(struct why *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->text, sizeof(w->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int no_memory(struct why *why)
{
	why_set(why, "out of memory");
	return -ENOMEM;
}

int policy_unknown(struct why *why, const char *what, const char *word,
		   const char *const *candidates, size_t n)
{
	const char *like = str_suggest(word, candidates, n);

	if (like)
		return why_set(why, "unknown %s \"%.64s\"; did you mean \"%s\"?", what, word, like);
	return why_set(why, "unknown %s \"%.64s\"", what, word);
}

/* ---- words ----------------------------------------------------------------- */

const char *policy_action_name(enum policy_action a)
{
	return a == POLICY_ALLOW ? "allow" : "deny";
}

const char *policy_dir_name(enum policy_dir d)
{
	return d == POLICY_EGRESS ? "egress" : d == POLICY_INGRESS ? "ingress" : "any";
}

int policy_action_parse(const char *s, enum policy_action *ret, struct why *why)
{
	static const char *const words[] = { "allow", "deny" };

	if (str_eq(s, "allow"))
		*ret = POLICY_ALLOW;
	else if (str_eq(s, "deny"))
		*ret = POLICY_DENY;
	else
		return str_suggest(s, words, 2)
			       ? policy_unknown(why, "action", s, words, 2)
			       : why_set(why, "unknown action \"%.64s\": it is allow or deny", s);
	return 0;
}

int policy_dir_parse(const char *s, enum policy_dir *ret, struct why *why)
{
	static const char *const words[] = { "egress", "ingress", "any" };

	if (str_eq(s, "egress"))
		*ret = POLICY_EGRESS;
	else if (str_eq(s, "ingress"))
		*ret = POLICY_INGRESS;
	else if (str_eq(s, "any"))
		*ret = POLICY_ANY_DIR;
	else
		return str_suggest(s, words, 3)
			       ? policy_unknown(why, "direction", s, words, 3)
			       : why_set(why, "unknown direction \"%.64s\": it is egress, ingress or any",
					 s);
	return 0;
}

/* By the number of the bit. */
static const char *const proto_words[] = { "tcp", "udp", "icmpv4", "icmpv6" };

const char *policy_proto_name(enum policy_proto p)
{
	for (unsigned i = 0; i < ARRAY_SIZE(proto_words); i++)
		if ((unsigned)p == 1u << i)
			return proto_words[i];
	return "?";
}

int policy_rule_add_proto(struct policy_rule *r, const char *s, struct why *why)
{
	for (unsigned i = 0; i < ARRAY_SIZE(proto_words); i++)
		if (str_eq(s, proto_words[i])) {
			r->protos |= (uint8_t)(1u << i);
			return 0;
		}
	if (str_eq(s, "any"))
		return why_set(why, "\"any\" is no protocol: leave the protocol out for any");
	if (str_suggest(s, proto_words, ARRAY_SIZE(proto_words)))
		return policy_unknown(why, "protocol", s, proto_words, ARRAY_SIZE(proto_words));
	return why_set(why, "unknown protocol \"%.64s\": it is tcp, udp, icmpv4 or icmpv6", s);
}

/* ---- parts of a rule -------------------------------------------------------- */

/* Keeps the list sorted and disjoint, so that two spellings print alike. */
int policy_rule_add_port(struct policy_rule *r, struct port_range range, struct why *why)
{
	struct port_range *p;
	size_t n = 0;

	if (range.lo == 0 || range.lo > range.hi)
		return why_set(why, "a port range goes from 1..65535 upwards");
	if (r->n_ports == POLICY_PORTS_MAX)
		return why_set(why, "more than %d port ranges in one rule", POLICY_PORTS_MAX);
	p = realloc(r->ports, (r->n_ports + 1) * sizeof(*p));
	if (!p)
		return no_memory(why);
	r->ports = p;
	/* Swallow what touches the new range, keep the rest, then insert in order. */
	for (size_t i = 0; i < r->n_ports; i++) {
		if ((uint32_t)p[i].hi + 1 < range.lo || (uint32_t)range.hi + 1 < p[i].lo) {
			p[n++] = p[i];
			continue;
		}
		range.lo = MIN(range.lo, p[i].lo);
		range.hi = MAX(range.hi, p[i].hi);
	}
	r->n_ports = n + 1;
	while (n > 0 && p[n - 1].lo > range.lo) {
		p[n] = p[n - 1];
		n--;
	}
	p[n] = range;
	return 0;
}

static int add_text(char ***list, size_t *n, const char *s, size_t len, struct why *why)
{
	char **l = realloc(*list, (*n + 1) * sizeof(*l));

	if (!l)
		return no_memory(why);
	*list = l;
	l[*n] = strndup(s, len);
	if (!l[*n])
		return no_memory(why);
	(*n)++;
	return 0;
}

int policy_rule_add_method(struct policy_rule *r, const char *s, struct why *why)
{
	size_t len = strlen(s);

	if (len == 0 || len > POLICY_METHOD_MAX)
		return why_set(why, "a method is 1 to %d characters", POLICY_METHOD_MAX);
	for (size_t i = 0; i < len; i++) {
		if (s[i] >= 'a' && s[i] <= 'z')
			return why_set(
				why, "method \"%s\": methods are case-sensitive, write capitals", s);
		if (!(s[i] >= 'A' && s[i] <= 'Z') && !(s[i] >= '0' && s[i] <= '9') && s[i] != '-' &&
		    s[i] != '_')
			return why_set(why, "\"%s\" is not an HTTP method", s);
	}
	if (r->n_methods == POLICY_METHODS_MAX)
		return why_set(why, "more than %d methods in one rule", POLICY_METHODS_MAX);
	return add_text(&r->methods, &r->n_methods, s, len, why);
}

int policy_rule_add_path(struct policy_rule *r, const char *s, struct why *why)
{
	struct buf b = BUF_INIT(POLICY_PATH_MAX);
	int err = policy_pattern_normalise(s, strlen(s), &b, why);

	if (err == 0 && r->n_paths == POLICY_PATHS_MAX)
		err = why_set(why, "more than %d paths in one rule", POLICY_PATHS_MAX);
	if (err == 0)
		err = add_text(&r->paths, &r->n_paths, (const char *)buf_at(&b), b.len, why);
	buf_fini(&b);
	return err;
}

int policy_rule_set_name(struct policy_rule *r, const struct name *n)
{
	struct rule_name *name = malloc(sizeof(*name) + n->len + 1u);

	if (!name)
		return -ENOMEM;
	name->len = n->len;
	memcpy(name->s, n->s, n->len + 1u);
	free(r->name);
	r->name = name;
	return 0;
}

struct name policy_rule_name(const struct policy_rule *r)
{
	struct name n = { .len = r->name->len };

	memcpy(n.s, r->name->s, n.len);
	return n;
}

bool policy_rule_names(const struct policy_rule *r, const struct name *n)
{
	if (r->dest == POLICY_DEST_NAME && n->len != r->name->len)
		return false;
	return name_ends_with(n, r->name->s, r->name->len, r->dest != POLICY_DEST_BELOW);
}

int policy_rule_set_id(struct policy_rule *r, const char *s, struct why *why)
{
	size_t len = strlen(s);

	if (len == 0 || len > POLICY_ID_MAX)
		return why_set(why, "an id is 1 to %d characters", POLICY_ID_MAX);
	if (strspn(s, "0123456789") == len)
		return why_set(why, "id \"%s\" reads as a rule's index: add a letter", s);
	for (size_t i = 0; i < len; i++)
		if (!(s[i] >= 'a' && s[i] <= 'z') && !(s[i] >= 'A' && s[i] <= 'Z') &&
		    !(s[i] >= '0' && s[i] <= '9') && !strchr("_.-", s[i]))
			return why_set(why,
				       "an id has letters, digits, \"_\", \".\" and \"-\" only");
	r->id = strdup(s);
	return r->id ? 0 : no_memory(why);
}

int policy_rule_set_reason(struct policy_rule *r, const char *s, struct why *why)
{
	size_t len = strlen(s);

	if (len > POLICY_REASON_MAX)
		return why_set(why, "a reason is at most %d bytes", POLICY_REASON_MAX);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return why_set(why, "control character in a reason");
	r->reason = strdup(s);
	return r->reason ? 0 : no_memory(why);
}

void policy_rule_fini(struct policy_rule *r)
{
	for (size_t i = 0; i < r->n_methods; i++)
		free(r->methods[i]);
	for (size_t i = 0; i < r->n_paths; i++)
		free(r->paths[i]);
	free(r->methods);
	free(r->paths);
	free(r->ports);
	free(r->name);
	free(r->limit);
	free(r->id);
	free(r->reason);
	*r = RULE_INIT;
}

/* ---- a rule's sense ---------------------------------------------------------- */

static int rule_check(const struct policy_rule *r, struct why *why)
{
	const uint8_t icmp = POLICY_ICMPV4 | POLICY_ICMPV6;

	if (r->n_ports && (r->protos & icmp))
		return why_set(why, "ICMP has no ports: a rule with ports takes tcp and udp only; "
				    "write a second rule for ICMP");
	if ((r->protos & icmp) && (r->dirs & POLICY_INGRESS))
		return why_set(why, "ICMP never arrives from outside: ingress rules take tcp and "
				    "udp only");
	if (rule_has_http(r) && (r->dirs & POLICY_INGRESS))
		return why_set(why, "requests are read on egress only: no http in an ingress rule");
	if (rule_has_http(r) && r->protos && r->protos != POLICY_TCP)
		return why_set(why, "http conditions need protocol tcp alone");
	if ((r->dest == POLICY_DEST_SUFFIX || r->dest == POLICY_DEST_BELOW) &&
	    !strchr(r->name->s, '.'))
		return why_set(why,
			       "suffix \"%s\" covers a whole top-level domain: give at least two "
			       "labels, such as \"example.%s\"",
			       r->name->s, r->name->s);
	if (r->dest == POLICY_DEST_GROUP && r->group == POLICY_GROUP_HOST && r->dirs == POLICY_INGRESS)
		return why_set(why,
			       "group host is the sandbox's gateway: no peer of an ingress flow");
	if (policy_rule_check_limit(r, why) < 0)
		return -EINVAL;
	return policy_rule_check_qtypes(r, why);
}

int policy_add(struct policy *p, struct policy_rule *r, struct why *why)
{
	int err = rule_check(r, why);

	if (err < 0)
		return err;
	if (p->n_rules == POLICY_RULES_MAX)
		return why_set(why, "more than %zu rules", POLICY_RULES_MAX);
	if (p->n_rules == p->rules_size) {
		size_t size = p->rules_size ? p->rules_size * 2 : 8;
		struct policy_rule *rules = realloc(p->rules, size * sizeof(*rules));

		if (!rules)
			return no_memory(why);
		p->rules = rules;
		p->rules_size = size;
	}
	policy_index_free(p->index);
	p->index = NULL;
	p->has_http |= rule_has_http(r);
	p->has_names |= rule_by_name(r);
	p->rules[p->n_rules++] = *r;
	*r = RULE_INIT;
	return 0;
}

int policy_add_all(struct policy *p, struct policy *from, struct why *why)
{
	/* Its rules are gone one by one. */
	policy_index_free(from->index);
	from->index = NULL;
	for (size_t i = 0; i < from->n_rules; i++) {
		int err = policy_add(p, &from->rules[i], why);

		if (err < 0)
			return err;
	}
	return 0;
}

/* ---- the list ---------------------------------------------------------------- */

struct id_at {
	const char *id;
	size_t rule;
};

static int id_compare(const void *a, const void *b)
{
	const struct id_at *x = a, *y = b;
	int c = strcmp(x->id, y->id);

	return c ? c : (x->rule > y->rule) - (x->rule < y->rule);
}

int policy_check_ids(const struct policy *p, size_t *ret_rule)
{
	struct id_at *ids = calloc(p->n_rules + 1, sizeof(*ids));
	size_t n = 0;
	int err = 0;

	if (!ids)
		return -ENOMEM;
	for (size_t i = 0; i < p->n_rules; i++)
		if (p->rules[i].id)
			ids[n++] = (struct id_at){ p->rules[i].id, i };
	qsort(ids, n, sizeof(*ids), id_compare);
	for (size_t i = 1; i < n && err == 0; i++)
		if (str_eq(ids[i - 1].id, ids[i].id)) {
			*ret_rule = ids[i].rule;
			err = -EEXIST;
		}
	free(ids);
	return err;
}

int policy_new(enum policy_action egress, enum policy_action ingress, struct policy **ret)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->egress = egress;
	p->ingress = ingress;
	*ret = p;
	return 0;
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n_rules; i++)
		policy_rule_fini(&p->rules[i]);
	free(p->rules);
	policy_index_free(p->index);
	policy_free(p->floor);
	free(p);
}

size_t policy_rule_count(const struct policy *p)
{
	return p->n_rules;
}

bool policy_has_http(const struct policy *p)
{
	return p->has_http || (p->floor && p->floor->has_http);
}

bool policy_has_names(const struct policy *p)
{
	return p->has_names || (p->floor && p->floor->has_names);
}

void policy_set_floor(struct policy *p, struct policy *floor)
{
	assert(!floor || !floor->floor);
	policy_free(p->floor);
	p->floor = floor;
}

struct policy *policy_take_floor(struct policy *p)
{
	struct policy *floor = p->floor;

	p->floor = NULL;
	return floor;
}

const struct policy *policy_floor(const struct policy *p)
{
	return p->floor;
}

bool policy_drops_denied(const struct policy *p)
{
	return p->drop;
}
