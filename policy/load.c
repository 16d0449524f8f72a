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

#include <sys/stat.h>

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
		e = policy_load_dest(&item, hint, &r, err);
		if (e == 0) {
			e = policy_add(p, &r, &why);
			if (e < 0)
				policy_conf_why(&item, &why, e, err);
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

		e = policy_load_rule(p, &rule, err);
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

static const char *const policy_keys[] = { "default_egress", "default_ingress",
					   "on_deny",	     "strict_names",
					   "preset",	     "rules",
					   "deny_domains",   "deny_domain_suffixes",
					   "allow_domains",  "allow_domain_suffixes",
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
		return policy_conf_why(&c, &why, -EINVAL, err);
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
	int e = policy_conf_need_str(c, &s, err);

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
			policy_conf_why(c, &why, e, err);
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
	struct conf strict = conf_member(c, "strict_names");
	size_t lists = (dd.v != NULL) + (ds.v != NULL);

	return lists && n == lists + (on_deny.v != NULL) + (strict.v != NULL) &&
	       json_array_size(dd.v) + json_array_size(ds.v) > 0;
}

static int load_object(const struct conf *c, struct policy *p, struct conf_error *err)
{
	struct conf preset = conf_member(c, "preset"), rules = conf_member(c, "rules");
	struct conf strict = conf_member(c, "strict_names");
	int e = conf_only_keys(c, policy_keys, N_POLICY_KEYS, err);

	if (e == 0)
		e = load_on_deny(c, &p->drop, err);
	if (e == 0)
		e = conf_bool(&strict, &p->strict_names, err);
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

/* All but the index. */
static int load_policy(const struct conf *c, struct policy **ret, struct conf_error *err)
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

/* Takes over p, frees it on failure. `where` is told with a complaint. */
static int finish(struct policy *p, const char *where, struct policy **ret, struct conf_error *err)
{
	struct why why;
	int e = policy_finish(p, &why);

	if (e < 0) {
		conf_error_set(err, "%s: %s", where, why.text);
		policy_free(p);
		return e;
	}
	*ret = p;
	return 0;
}

int policy_load_conf(const struct conf *c, struct policy **ret, struct conf_error *err)
{
	struct policy *p = NULL;
	int e = load_policy(c, &p, err);

	return e < 0 ? e : finish(p, "the policy", ret, err);
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
		return load_policy(root, ret, err);
	}
	for (size_t i = 0; i < N_POLICY_KEYS; i++) {
		struct conf m = conf_member(root, policy_keys[i]);

		if (m.v)
			return conf_fail(&m, err, "\"%s\" stands beside \"policy\": move it inside",
					 policy_keys[i]);
	}
	return load_policy(&section, ret, err);
}

int policy_load_file(const char *path, struct policy **ret, struct conf_error *err)
{
	struct conf_doc *doc = NULL;
	struct policy *p = NULL;
	struct conf root;
	int e = conf_doc_load(path, &doc, err);

	if (e < 0)
		return e;
	root = conf_root(doc);
	e = load_top(&root, &p, err);
	/* The index takes the room that the file had. */
	conf_doc_free(doc);
	return e < 0 ? e : finish(p, path, ret, err);
}

/* Many a project has a folder called "public": that is no policy file. */
static bool is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

int policy_load_file_or_preset(const char *arg, struct policy **ret, struct conf_error *err)
{
	int e;

	if (strpbrk(arg, "/.") || is_file(arg))
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
