/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rule of the JSON form: action, direction, destination in all its
 * spellings, protocols, ports, http. A value that could be meant in two ways,
 * or that would match nothing or everything by accident, is refused at its place.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

int policy_conf_why(const struct conf *c, const struct why *why, int err, struct conf_error *ret)
{
	conf_fail(c, ret, "%s", why->text);
	return err;
}

int policy_conf_need_str(const struct conf *c, const char **ret, struct conf_error *err)
{
	*ret = NULL;
	if (c->v && json_is_string(c->v))
		return conf_str(c, ret, err);
	if (!c->v)
		return conf_fail(c, err, "\"%s\" is missing", c->key);
	return conf_str(c, ret, err);
}

/* ---- one value or a list of them ----------------------------------------------- */

typedef int (*item_fn)(const struct conf *c, struct policy_rule *r, struct conf_error *err);

static int for_items(const struct conf *c, item_fn fn, bool single_ok, struct policy_rule *r,
		     struct conf_error *err)
{
	size_t n = json_array_size(c->v);
	int e = 0;

	if (!c->v)
		return 0;
	if (!json_is_array(c->v))
		return single_ok ? fn(c, r, err) : conf_fail(c, err, "expected a list");
	if (n == 0)
		return conf_fail(c, err,
				 "an empty list matches nothing; leave \"%s\" out to match any",
				 c->key);
	for (size_t i = 0; i < n && e == 0; i++) {
		struct conf item = conf_element(c, i);

		e = fn(&item, r, err);
	}
	return e;
}

/* Singular and plural key of one thing: a list of both. None may be dropped, that would widen the rule. */
static int singular_or_plural(const struct conf *rule, const char *one, const char *many,
			      item_fn fn, struct policy_rule *r, struct conf_error *err)
{
	struct conf c1 = conf_member(rule, one), cn = conf_member(rule, many);

	int e = for_items(&c1, fn, true, r, err);

	return e < 0 ? e : for_items(&cn, fn, true, r, err);
}

typedef int (*word_fn)(struct policy_rule *r, const char *s, struct why *why);

static int word_item(const struct conf *c, word_fn add, struct policy_rule *r, struct conf_error *err)
{
	const char *s;
	struct why why;
	int e = policy_conf_need_str(c, &s, err);

	if (e < 0)
		return e;
	e = add(r, s, &why);
	return e < 0 ? policy_conf_why(c, &why, e, err) : 0;
}

static int proto_item(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	return word_item(c, policy_rule_add_proto, r, err);
}

static int port_range_object(const struct conf *c, struct port_range *ret, struct conf_error *err)
{
	static const char *const keys[] = { "start", "end" };
	struct conf start = conf_member(c, "start"), end = conf_member(c, "end");
	uint64_t lo = 0, hi = 0;

	if (conf_only_keys(c, keys, 2, err) < 0)
		return -EINVAL;
	if (!start.v || !end.v)
		return conf_fail(c, err, "a port range needs \"start\" and \"end\"");
	if (conf_uint(&start, 1, 65535, &lo, err) < 0 || conf_uint(&end, 1, 65535, &hi, err) < 0)
		return -EINVAL;
	if (lo > hi)
		return conf_fail(c, err, "port range %u-%u ends before it starts", (unsigned)lo,
				 (unsigned)hi);
	*ret = (struct port_range){ (uint16_t)lo, (uint16_t)hi };
	return 0;
}

static int port_item(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	struct port_range range = { 0, 0 };
	const char *reason = NULL;
	struct why why;
	uint64_t n = 0;
	int e;

	if (json_is_object(c->v)) {
		e = port_range_object(c, &range, err);
	} else if (json_is_string(c->v)) {
		const char *s = json_string_value(c->v);

		e = port_range_parse(s, strlen(s), &range, &reason);
		if (e < 0)
			return conf_fail(c, err, "port \"%.32s\": %s", s, reason);
	} else if (json_is_integer(c->v)) {
		e = conf_uint(c, 1, 65535, &n, err);
		range = (struct port_range){ (uint16_t)n, (uint16_t)n };
	} else {
		return conf_fail(c, err,
				 "a port is 443, \"443\", \"8000-8099\" or "
				 "{\"start\": 8000, \"end\": 8099}");
	}
	if (e < 0)
		return e;
	e = policy_rule_add_port(r, range, &why);
	return e < 0 ? policy_conf_why(c, &why, e, err) : 0;
}

static int method_item(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	return word_item(c, policy_rule_add_method, r, err);
}

static int path_item(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	return word_item(c, policy_rule_add_path, r, err);
}

static int qtype_item(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	return word_item(c, policy_rule_add_qtype, r, err);
}

static int load_qtypes(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	if (json_is_array(c->v) && json_array_size(c->v) == 0)
		return conf_fail(c, err, "an empty list opens nothing; leave \"qtypes\" out");
	return for_items(c, qtype_item, false, r, err);
}

static int load_http(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	static const char *const keys[] = { "methods", "paths" };
	struct conf methods = conf_member(c, "methods"), paths = conf_member(c, "paths");

	if (!c->v)
		return 0;
	if (conf_only_keys(c, keys, ARRAY_SIZE(keys), err) < 0)
		return -EINVAL;
	if (!methods.v && !paths.v)
		return conf_fail(c, err, "\"http\" needs \"methods\" or \"paths\"");
	if (for_items(&methods, method_item, false, r, err) < 0)
		return -EINVAL;
	return for_items(&paths, path_item, false, r, err);
}

/* ---- destination ---------------------------------------------------------------- */

static const struct {
	const char *word;
	enum dest_hint hint;
} dest_kinds[] = {
	{ "any", DEST_HINT_ANY },     { "ip", DEST_HINT_IP },
	{ "cidr", DEST_HINT_CIDR },   { "domain", DEST_HINT_DOMAIN },
	{ "group", DEST_HINT_GROUP }, { "domain_suffix", DEST_HINT_SUFFIX },
};

static const char *const dest_kind_words[] = { "any",	 "ip",	  "cidr",
					       "domain", "group", "domain_suffix" };

static int kind_of(const char *word, enum dest_hint *ret, struct why *why)
{
	for (size_t i = 0; i < ARRAY_SIZE(dest_kinds); i++)
		if (str_eq(word, dest_kinds[i].word)) {
			*ret = dest_kinds[i].hint;
			return 0;
		}
	return policy_unknown(why, "destination_kind", word, dest_kind_words,
			      ARRAY_SIZE(dest_kind_words));
}

int policy_load_dest(const struct conf *c, enum dest_hint hint, struct policy_rule *r,
		     struct conf_error *err)
{
	const char *s;
	struct why why;
	int e = policy_conf_need_str(c, &s, err);

	if (e < 0)
		return e;
	e = policy_dest_parse(s, hint, r, &why);
	return e < 0 ? policy_conf_why(c, &why, e, err) : 0;
}

/* {"cidr": ...} and its like: one key, which is the kind. */
static int load_dest_object(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	static const char *const keys[] = { "ip", "cidr", "domain", "group", "domain_suffix" };

	if (conf_only_keys(c, keys, ARRAY_SIZE(keys), err) < 0)
		return -EINVAL;
	if (json_object_size(c->v) != 1)
		return conf_fail(c, err,
				 "a destination object has one of \"ip\", \"cidr\", "
				 "\"domain\", \"domain_suffix\", \"group\"");
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct conf m = conf_member(c, keys[i]);
		enum dest_hint hint;
		struct why why;

		if (m.v)
			return kind_of(keys[i], &hint, &why) < 0
				       ? -EINVAL
				       : policy_load_dest(&m, hint, r, err);
	}
	return -EINVAL;
}

static int load_dest(const struct conf *rule, struct policy_rule *r, struct conf_error *err)
{
	struct conf dest = conf_member(rule, "destination");
	struct conf kind = conf_member(rule, "destination_kind");
	enum dest_hint hint = DEST_HINT_GUESS;
	const char *word;
	struct why why;

	if (kind.v) {
		if (policy_conf_need_str(&kind, &word, err) < 0)
			return -EINVAL;
		if (kind_of(word, &hint, &why) < 0)
			return policy_conf_why(&kind, &why, -EINVAL, err);
		if (hint == DEST_HINT_ANY && !dest.v) {
			r->dest = POLICY_DEST_ANY;
			return 0;
		}
	}
	if (!dest.v)
		return conf_fail(rule, err, "a rule needs a \"destination\"; \"*\" stands for any");
	if (!json_is_object(dest.v))
		return policy_load_dest(&dest, hint, r, err);
	if (kind.v)
		return conf_fail(&kind, err,
				 "a destination object says its kind itself: leave "
				 "\"destination_kind\" out");
	return load_dest_object(&dest, r, err);
}

/* ---- rules ----------------------------------------------------------------------- */

static int load_rule_head(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	struct conf action = conf_member(c, "action"), dir = conf_member(c, "direction");
	struct conf id = conf_member(c, "id"), reason = conf_member(c, "reason");
	const char *s = NULL;
	struct why why;

	if (!action.v)
		return conf_fail(c, err, "a rule needs an \"action\": \"allow\" or \"deny\"");
	if (conf_str(&action, &s, err) < 0)
		return -EINVAL;
	if (policy_action_parse(s, &r->action, &why) < 0)
		return policy_conf_why(&action, &why, -EINVAL, err);
	s = NULL;
	if (conf_str(&dir, &s, err) < 0)
		return -EINVAL;
	if (s && policy_dir_parse(s, &r->dirs, &why) < 0)
		return policy_conf_why(&dir, &why, -EINVAL, err);
	s = NULL;
	if (conf_str(&id, &s, err) < 0)
		return -EINVAL;
	if (s && policy_rule_set_id(r, s, &why) < 0)
		return policy_conf_why(&id, &why, -EINVAL, err);
	s = NULL;
	if (conf_str(&reason, &s, err) < 0)
		return -EINVAL;
	if (s && policy_rule_set_reason(r, s, &why) < 0)
		return policy_conf_why(&reason, &why, -EINVAL, err);
	return 0;
}

int policy_load_rule(struct policy *p, const struct conf *c, struct conf_error *err)
{
	static const char *const keys[] = {
		"id",	    "action",	 "direction", "destination", "destination_kind",
		"protocol", "protocols", "port",      "ports",	     "http",
		"reason",   "qtypes",	 "limit"
	};
	struct conf http = conf_member(c, "http"), qtypes = conf_member(c, "qtypes");
	struct conf limit = conf_member(c, "limit");
	struct policy_rule r = RULE_INIT;
	struct why why;
	int e = conf_only_keys(c, keys, ARRAY_SIZE(keys), err);

	if (e == 0)
		e = load_rule_head(c, &r, err);
	if (e == 0)
		e = load_dest(c, &r, err);
	if (e == 0)
		e = singular_or_plural(c, "protocol", "protocols", proto_item, &r, err);
	if (e == 0)
		e = singular_or_plural(c, "port", "ports", port_item, &r, err);
	if (e == 0)
		e = load_http(&http, &r, err);
	if (e == 0)
		e = load_qtypes(&qtypes, &r, err);
	if (e == 0)
		e = policy_load_limit(&limit, &r, err);
	if (e == 0) {
		e = policy_add(p, &r, &why);
		if (e < 0)
			policy_conf_why(c, &why, e, err);
	}
	policy_rule_fini(&r);
	return e;
}
