/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON form. A policy is the name of a preset, an object that names one
 * and adds deny lists, or an object with defaults, lists and rules.
 *
 * The list that is evaluated is, in this order: deny_domains,
 * deny_domain_suffixes, allow_domains, allow_domain_suffixes, rules.
 *
 * A missing default_egress is deny, unless deny lists are all there is: then
 * the user listed what must not be, and the rest is allowed. A missing
 * default_ingress is allow: nothing arrives but on ports that were published
 * one by one, so where nothing is published this opens nothing.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

#include <unistd.h>

static int fail_why(const struct conf *c, const struct why *why, int err, struct conf_error *ret)
{
	conf_fail(c, ret, "%s", why->text);
	return err;
}

/* A string that must be there. */
static int need_str(const struct conf *c, const char **ret, struct conf_error *err)
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

/* Singular and plural key of one thing; both is an error, not a merge. */
static int singular_or_plural(const struct conf *rule, const char *one, const char *many,
			      item_fn fn, struct policy_rule *r, struct conf_error *err)
{
	struct conf c1 = conf_member(rule, one), cn = conf_member(rule, many);

	if (c1.v && cn.v)
		return conf_fail(&c1, err, "\"%s\" and \"%s\" in one rule: give one of them", one,
				 many);
	return for_items(c1.v ? &c1 : &cn, fn, true, r, err);
}

static int proto_item(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	const char *s;
	struct why why;
	int e = need_str(c, &s, err);

	if (e < 0)
		return e;
	e = policy_rule_add_proto(r, s, &why);
	return e < 0 ? fail_why(c, &why, e, err) : 0;
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
	return e < 0 ? fail_why(c, &why, e, err) : 0;
}

static int method_item(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	const char *s;
	struct why why;
	int e = need_str(c, &s, err);

	if (e == 0)
		e = policy_rule_add_method(r, s, &why);
	else
		return e;
	return e < 0 ? fail_why(c, &why, e, err) : 0;
}

static int path_item(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	const char *s;
	struct why why;
	int e = need_str(c, &s, err);

	if (e < 0)
		return e;
	e = policy_rule_add_path(r, s, &why);
	return e < 0 ? fail_why(c, &why, e, err) : 0;
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

static int parse_dest_at(const struct conf *c, enum dest_hint hint, struct policy_rule *r,
			 struct conf_error *err)
{
	const char *s;
	struct why why;
	int e = need_str(c, &s, err);

	if (e < 0)
		return e;
	e = policy_dest_parse(s, hint, r, &why);
	return e < 0 ? fail_why(c, &why, e, err) : 0;
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
			return kind_of(keys[i], &hint, &why) < 0 ? -EINVAL
								 : parse_dest_at(&m, hint, r, err);
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
		if (need_str(&kind, &word, err) < 0)
			return -EINVAL;
		if (kind_of(word, &hint, &why) < 0)
			return fail_why(&kind, &why, -EINVAL, err);
		if (hint == DEST_HINT_ANY && !dest.v) {
			r->dest = DEST_ANY;
			return 0;
		}
	}
	if (!dest.v)
		return conf_fail(rule, err, "a rule needs a \"destination\"; \"*\" stands for any");
	if (!json_is_object(dest.v))
		return parse_dest_at(&dest, hint, r, err);
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
		return fail_why(&action, &why, -EINVAL, err);
	s = NULL;
	if (conf_str(&dir, &s, err) < 0)
		return -EINVAL;
	if (s && policy_dir_parse(s, &r->dirs, &why) < 0)
		return fail_why(&dir, &why, -EINVAL, err);
	s = NULL;
	if (conf_str(&id, &s, err) < 0)
		return -EINVAL;
	if (s && policy_rule_set_id(r, s, &why) < 0)
		return fail_why(&id, &why, -EINVAL, err);
	s = NULL;
	if (conf_str(&reason, &s, err) < 0)
		return -EINVAL;
	if (s && policy_rule_set_reason(r, s, &why) < 0)
		return fail_why(&reason, &why, -EINVAL, err);
	return 0;
}

static int load_rule(struct policy *p, const struct conf *c, struct conf_error *err)
{
	static const char *const keys[] = {
		"id",	    "action",	 "direction", "destination", "destination_kind",
		"protocol", "protocols", "port",      "ports",	     "http",
		"reason"
	};
	struct conf http = conf_member(c, "http");
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
	if (e == 0) {
		e = policy_add(p, &r, &why);
		if (e < 0)
			fail_why(c, &why, e, err);
	}
	policy_rule_fini(&r);
	return e;
}

/* One of the four bulk lists. An empty one is fine: it adds nothing. */
static int load_list(struct policy *p, const struct conf *c, enum policy_action action,
		     enum dest_hint hint, struct conf_error *err)
{
	if (c->v && !json_is_array(c->v))
		return conf_fail(c, err, "expected a list of names");
	for (size_t i = 0; i < json_array_size(c->v); i++) {
		struct conf item = conf_element(c, i);
		struct policy_rule r = RULE_INIT;
		struct why why;
		int e;

		r.action = action;
		e = parse_dest_at(&item, hint, &r, err);
		if (e == 0) {
			e = policy_add(p, &r, &why);
			if (e < 0)
				fail_why(&item, &why, e, err);
		}
		policy_rule_fini(&r);
		if (e < 0)
			return e;
	}
	return 0;
}

static int load_lists(struct policy *p, const struct conf *c, struct conf_error *err)
{
	struct conf dd = conf_member(c, "deny_domains");
	struct conf ds = conf_member(c, "deny_domain_suffixes");
	struct conf ad = conf_member(c, "allow_domains");
	struct conf as = conf_member(c, "allow_domain_suffixes");
	int e = load_list(p, &dd, POLICY_DENY, DEST_HINT_DOMAIN, err);

	if (e == 0)
		e = load_list(p, &ds, POLICY_DENY, DEST_HINT_SUFFIX, err);
	if (e == 0)
		e = load_list(p, &ad, POLICY_ALLOW, DEST_HINT_DOMAIN, err);
	if (e == 0)
		e = load_list(p, &as, POLICY_ALLOW, DEST_HINT_SUFFIX, err);
	return e;
}

static int load_rules(struct policy *p, const struct conf *rules, struct conf_error *err)
{
	size_t lists = p->n_rules, twice = 0;
	int e;

	if (rules->v && !json_is_array(rules->v))
		return conf_fail(rules, err, "expected a list of rules");
	for (size_t i = 0; i < json_array_size(rules->v); i++) {
		struct conf rule = conf_element(rules, i);

		e = load_rule(p, &rule, err);
		if (e < 0)
			return e;
	}
	e = policy_check_ids(p, &twice);
	if (e == -EEXIST) {
		struct conf rule = conf_element(rules, twice - lists);
		struct conf id = conf_member(&rule, "id");

		return conf_fail(&id, err, "id \"%s\" is taken by an earlier rule",
				 p->rules[twice].id);
	}
	if (e < 0)
		conf_error_set(err, "out of memory");
	return e;
}

/* ---- the policy ------------------------------------------------------------------ */

static const char *const policy_keys[] = { "default_egress",
					   "default_ingress",
					   "on_deny",
					   "preset",
					   "rules",
					   "deny_domains",
					   "deny_domain_suffixes",
					   "allow_domains",
					   "allow_domain_suffixes",
					   "policy" };
/* "policy" is only there to be suggested: see policy_load_file. */
#define N_POLICY_KEYS (ARRAY_SIZE(policy_keys) - 1)

static int load_action(const struct conf *up, const char *key, enum policy_action *ret,
		       struct conf_error *err)
{
	struct conf c = conf_member(up, key);
	const char *s = NULL;
	struct why why;

	if (conf_str(&c, &s, err) < 0)
		return -EINVAL;
	if (s && policy_action_parse(s, ret, &why) < 0)
		return fail_why(&c, &why, -EINVAL, err);
	return 0;
}

static int load_on_deny(const struct conf *up, bool *ret, struct conf_error *err)
{
	static const char *const words[] = { "refuse", "drop" };
	struct conf c = conf_member(up, "on_deny");
	const char *s = NULL;
	struct why why;

	if (conf_str(&c, &s, err) < 0)
		return -EINVAL;
	if (!s)
		return 0;
	if (!str_eq(s, "refuse") && !str_eq(s, "drop")) {
		policy_unknown(&why, "on_deny", s, words, 2);
		return conf_fail(&c, err, "%s (it is \"refuse\" or \"drop\")", why.text);
	}
	*ret = str_eq(s, "drop");
	return 0;
}

static int load_preset(const struct conf *c, struct policy **ret, struct conf_error *err)
{
	const char *s;
	int e = need_str(c, &s, err);

	if (e < 0)
		return e;
	e = policy_preset(s, ret);
	if (e == -ENOENT && policy_preset_suggest(s))
		return conf_fail(c, err, "unknown preset \"%.64s\"; did you mean \"%s\"?", s,
				 policy_preset_suggest(s));
	if (e == -ENOENT)
		return conf_fail(c, err,
				 "unknown preset \"%.64s\": it is none, public_only, non_local or "
				 "allow_all",
				 s);
	if (e < 0)
		conf_error_set(err, "out of memory");
	return e;
}

/* Deny lists in front of a preset's rules. */
static int load_with_preset(const struct conf *c, struct policy *p, struct conf_error *err)
{
	static const char *const not [] = { "rules", "default_egress", "default_ingress",
					    "allow_domains", "allow_domain_suffixes" };
	struct conf name = conf_member(c, "preset");
	struct policy *preset = NULL;
	struct why why;
	int e;

	for (size_t i = 0; i < ARRAY_SIZE(not ); i++) {
		struct conf m = conf_member(c, not [i]);

		if (m.v)
			return conf_fail(
				&m, err,
				"\"%s\" beside \"preset\": a preset takes deny lists only; "
				"\"weir policy show\" prints its rules to start from",
				not [i]);
	}
	e = load_preset(&name, &preset, err);
	if (e == 0)
		e = load_lists(p, c, err);
	if (e == 0) {
		p->egress = preset->egress;
		p->ingress = preset->ingress;
		e = policy_add_all(p, preset, &why);
		if (e < 0)
			fail_why(c, &why, e, err);
	}
	policy_free(preset);
	return e;
}

/* Deny lists are all there is: the rest is allowed. */
static bool only_deny_lists(const struct conf *c)
{
	size_t n = json_object_size(c->v);
	struct conf dd = conf_member(c, "deny_domains");
	struct conf ds = conf_member(c, "deny_domain_suffixes");
	struct conf on_deny = conf_member(c, "on_deny");
	size_t lists = (dd.v != NULL) + (ds.v != NULL);

	return lists && n == lists + (on_deny.v != NULL) &&
	       json_array_size(dd.v) + json_array_size(ds.v) > 0;
}

static int load_object(const struct conf *c, struct policy *p, struct conf_error *err)
{
	struct conf preset = conf_member(c, "preset"), rules = conf_member(c, "rules");
	int e = conf_only_keys(c, policy_keys, N_POLICY_KEYS, err);

	if (e == 0)
		e = load_on_deny(c, &p->drop, err);
	if (e < 0)
		return e;
	if (preset.v)
		return load_with_preset(c, p, err);
	p->egress = only_deny_lists(c) ? POLICY_ALLOW : POLICY_DENY;
	e = load_action(c, "default_egress", &p->egress, err);
	if (e == 0)
		e = load_action(c, "default_ingress", &p->ingress, err);
	if (e == 0)
		e = load_lists(p, c, err);
	if (e == 0)
		e = load_rules(p, &rules, err);
	return e;
}

int policy_load_conf(const struct conf *c, struct policy **ret, struct conf_error *err)
{
	struct policy *p = NULL;
	int e;

	if (json_is_string(c->v))
		return load_preset(c, ret, err);
	if (!json_is_object(c->v))
		return conf_fail(c, err, "a policy is an object or the name of a preset");
	e = policy_new(POLICY_DENY, POLICY_ALLOW, &p);
	if (e < 0)
		conf_error_set(err, "out of memory");
	else
		e = load_object(c, p, err);
	if (e < 0) {
		policy_free(p);
		return e;
	}
	*ret = p;
	return 0;
}

/* The top of a file: {"policy": ...} among other sections, or the policy itself. */
static int load_top(const struct conf *root, struct policy **ret, struct conf_error *err)
{
	struct conf section = conf_member(root, "policy");

	if (!section.v) {
		/* "polcy" at the top is told that "policy" was meant. */
		if (json_is_object(root->v) &&
		    conf_only_keys(root, policy_keys, ARRAY_SIZE(policy_keys), err) < 0)
			return -EINVAL;
		return policy_load_conf(root, ret, err);
	}
	for (size_t i = 0; i < N_POLICY_KEYS; i++) {
		struct conf m = conf_member(root, policy_keys[i]);

		if (m.v)
			return conf_fail(&m, err, "\"%s\" stands beside \"policy\": move it inside",
					 policy_keys[i]);
	}
	return policy_load_conf(&section, ret, err);
}

int policy_load_file(const char *path, struct policy **ret, struct conf_error *err)
{
	struct conf_doc *doc = NULL;
	struct conf root;
	int e = conf_doc_load(path, &doc, err);

	if (e < 0)
		return e;
	root = conf_root(doc);
	e = load_top(&root, ret, err);
	conf_doc_free(doc);
	return e;
}

int policy_load_file_or_preset(const char *arg, struct policy **ret, struct conf_error *err)
{
	int e;

	if (strpbrk(arg, "/.") || access(arg, F_OK) == 0)
		return policy_load_file(arg, ret, err);
	e = policy_preset(arg, ret);
	if (e == -ENOENT && policy_preset_suggest(arg))
		conf_error_set(err, "%.100s: no such file or preset; did you mean \"%s\"?", arg,
			       policy_preset_suggest(arg));
	else if (e == -ENOENT)
		conf_error_set(err,
			       "%.100s: no such file or preset (none, public_only, non_local, "
			       "allow_all)",
			       arg);
	else if (e < 0)
		conf_error_set(err, "out of memory");
	return e;
}
