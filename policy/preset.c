/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies that have a name, profiles that compose, and the command line's
 * flags on top of a policy.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

enum preset {
	PRESET_NONE = 0,
	PRESET_PUBLIC_ONLY = 1,
	PRESET_NON_LOCAL = 2,
	PRESET_ALLOW_ALL = 3,
};

/* Profiles; canonical order of their rules is the order of the bits. */
#define PROFILE_PUBLIC 1u
#define PROFILE_PRIVATE 2u
#define PROFILE_HOST 4u

static const struct {
	const char *word;
	enum preset preset;
} preset_words[] = {
	{ "none", PRESET_NONE },
	{ "disabled", PRESET_NONE },
	{ "airgapped", PRESET_NONE },
	{ "public_only", PRESET_PUBLIC_ONLY },
	{ "public-only", PRESET_PUBLIC_ONLY },
	{ "public", PRESET_PUBLIC_ONLY },
	{ "default", PRESET_PUBLIC_ONLY },
	{ "non_local", PRESET_NON_LOCAL },
	{ "non-local", PRESET_NON_LOCAL },
	{ "allow_all", PRESET_ALLOW_ALL },
	{ "allow-all", PRESET_ALLOW_ALL },
	{ "all", PRESET_ALLOW_ALL },
};

const char *policy_preset_suggest(const char *word)
{
	const char *words[ARRAY_SIZE(preset_words)];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = preset_words[i].word;
	return str_suggest(word, words, ARRAY_SIZE(words));
}

static int add_group(struct policy *p, enum policy_action action, enum policy_group group,
		     struct why *why)
{
	struct policy_rule r = RULE_INIT;

	r.action = action;
	r.dest = POLICY_DEST_GROUP;
	r.group = group;
	return policy_add(p, &r, why);
}

int policy_add_dns(struct policy *p, enum policy_action action, uint8_t protos, struct why *why)
{
	struct policy_rule r = RULE_INIT;
	int err;

	r.action = action;
	r.dest = POLICY_DEST_GROUP;
	r.group = POLICY_GROUP_HOST;
	r.protos = protos;
	err = policy_rule_add_port(&r, (struct port_range){ 53, 53 }, why);
	if (err == 0)
		err = policy_add(p, &r, why);
	policy_rule_fini(&r);
	return err;
}

/* The DNS rule, then one rule per profile. */
static int add_profiles(struct policy *p, unsigned profiles, struct why *why)
{
	static const enum policy_group groups[] = { POLICY_GROUP_PUBLIC, POLICY_GROUP_PRIVATE,
						    POLICY_GROUP_HOST };
	int err = policy_add_dns(p, POLICY_ALLOW, POLICY_TCP | POLICY_UDP, why);

	for (unsigned i = 0; i < ARRAY_SIZE(groups) && err == 0; i++)
		if (profiles & 1u << i)
			err = add_group(p, POLICY_ALLOW, groups[i], why);
	return err;
}

/* With these defaults and, when there are some, the rules of the profiles. */
static int preset_new(enum policy_action egress, enum policy_action ingress, unsigned profiles,
		      struct policy **ret)
{
	struct policy *p = NULL;
	struct why why;
	int err = policy_new(egress, ingress, &p);

	if (err == 0 && profiles)
		err = add_profiles(p, profiles, &why);
	if (err == 0)
		err = policy_finish(p, &why);
	if (err < 0) {
		policy_free(p);
		return err;
	}
	*ret = p;
	return 0;
}

static int profiles_new(unsigned profiles, struct policy **ret)
{
	return preset_new(POLICY_DENY, POLICY_ALLOW, profiles, ret);
}

int policy_preset(const char *name, struct policy **ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(preset_words); i++) {
		if (!str_eq(name, preset_words[i].word))
			continue;
		switch (preset_words[i].preset) {
		case PRESET_NONE:
			return preset_new(POLICY_DENY, POLICY_DENY, 0, ret);
		case PRESET_PUBLIC_ONLY:
			return profiles_new(PROFILE_PUBLIC, ret);
		case PRESET_NON_LOCAL:
			return profiles_new(PROFILE_PUBLIC | PROFILE_PRIVATE, ret);
		case PRESET_ALLOW_ALL:
			return preset_new(POLICY_ALLOW, POLICY_ALLOW, 0, ret);
		}
	}
	return -ENOENT;
}

/* ---- flags ------------------------------------------------------------------- */

/* One word of --net. */
static int net_word(const char *s, size_t len, unsigned *profiles, const char **terminal,
		    struct why *why)
{
	static const char *const words[] = { "public", "private", "host", "all", "none" };
	char word[48];

	snprintf(word, sizeof(word), "%.*s", (int)MIN(len, sizeof(word) - 1), s);
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		if (len != strlen(words[i]) || !str_eq(word, words[i]))
			continue;
		if (i < 3)
			*profiles |= 1u << i;
		else
			*terminal = words[i];
		return 0;
	}
	if (str_suggest(word, words, ARRAY_SIZE(words)))
		return policy_unknown(why, "profile", word, words, ARRAY_SIZE(words));
	return why_set(why, "unknown profile \"%s\": it is public, private, host, all or none", word);
}

static int net_new(const char *net, struct policy **ret, struct why *why)
{
	unsigned profiles = 0, n = 0;
	const char *terminal = NULL;
	int err = 0;

	for (const char *s = net;; s++) {
		size_t len = strcspn(s, ",");

		err = net_word(s, len, &profiles, &terminal, why);
		if (err < 0)
			return err;
		n++;
		s += len;
		if (!*s)
			break;
	}
	if (terminal && n > 1)
		return why_set(why, "\"%s\" stands alone: it cannot be combined", terminal);
	return terminal ? policy_preset(terminal, ret) : profiles_new(profiles, ret);
}

static int set_default(const char *flag, const char *text, enum policy_action *ret,
		       struct conf_error *err)
{
	struct why why;

	if (!text)
		return 0;
	if (policy_action_parse(text, ret, &why) < 0) {
		conf_error_set(err, "%s: %s", flag, why.text);
		return -EINVAL;
	}
	return 0;
}

static int check_no_net(const struct policy_flags *flags, struct conf_error *err)
{
	const char *other = NULL;

	if (!flags->no_net)
		return 0;
	if (flags->net && !str_eq(flags->net, "none"))
		other = "--net";
	else if (flags->default_egress && str_eq(flags->default_egress, "allow"))
		other = "--net-default-egress allow";
	else if (flags->default_ingress && str_eq(flags->default_ingress, "allow"))
		other = "--net-default-ingress allow";
	if (!other)
		return 0;
	conf_error_set(err, "--no-net contradicts %s: give one of them", other);
	return -EINVAL;
}

/* What a policy has beside defaults and rules moves on when those are replaced. */
static void take_settings(struct policy *p, struct policy *from)
{
	p->drop = from->drop;
	p->strict_names = from->strict_names;
	policy_set_floor(p, from->floor);
	from->floor = NULL;
}

/* What the token rules go in front of. Takes over base. */
static int below_tokens(struct policy *base, const struct policy_flags *flags, struct policy **ret,
			struct conf_error *err)
{
	struct policy *p = NULL;
	struct why why = { "out of memory" };
	int r = 0;

	if (flags->no_net)
		r = policy_new(POLICY_DENY, POLICY_DENY, &p);
	else if (flags->net)
		r = net_new(flags->net, &p, &why);
	else if (!base)
		r = policy_preset("public", &p);
	if (r < 0) {
		conf_error_set(err, "--net: %s", why.text);
		policy_free(base);
		return r;
	}
	if (p && base) {
		take_settings(p, base);
		policy_free(base);
	}
	*ret = p ? p : base;
	return 0;
}

int policy_compose(struct policy *base, const struct policy_flags *flags, struct policy **ret,
		   struct conf_error *err)
{
	struct policy *below = NULL, *p = NULL;
	struct why why = { "out of memory" };
	size_t twice;
	int r = check_no_net(flags, err);

	if (r < 0) {
		policy_free(base);
		return r;
	}
	r = below_tokens(base, flags, &below, err);
	if (r < 0)
		return r;
	r = policy_new(below->egress, below->ingress, &p);
	if (r < 0)
		goto out;
	take_settings(p, below);
	p->strict_names |= flags->strict_names;
	r = set_default("--net-default-egress", flags->default_egress, &p->egress, err);
	if (r == 0)
		r = set_default("--net-default-ingress", flags->default_ingress, &p->ingress, err);
	if (r < 0)
		goto out_err_set;
	for (size_t i = 0; i < flags->n_net_rules && r == 0; i++)
		r = policy_add_tokens(p, flags->net_rules[i], &why);
	if (r == 0)
		r = policy_add_all(p, below, &why);
	if (r == 0)
		r = policy_check_ids(p, &twice);
	if (r == 0)
		r = policy_finish(p, &why);
out:
	if (r < 0)
		conf_error_set(err, "--net-rule: %s", why.text);
out_err_set:
	policy_free(below);
	if (r < 0) {
		policy_free(p);
		return r;
	}
	*ret = p;
	return 0;
}
