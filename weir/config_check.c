/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only the whole configuration can show: options that contradict each
 * other, and secrets that could never be used. A secret that silently stays a
 * placeholder, or interception that is silently off, would be found out by the
 * sandbox at run time; here it is an error before anything starts.
 */
#include "weir/config_internal.h"

#include <stdio.h>

static bool has_flag(const struct config_builder *b, enum option o)
{
	return b->o.of[o].n > 0;
}

/* Whether every host of a is one of b. */
static bool pattern_covers(const struct tlsproxy_host_pattern *b,
			   const struct tlsproxy_host_pattern *a)
{
	if (!a->is_suffix)
		return tlsproxy_host_matches(b, &a->name);
	if (!b->is_suffix)
		return false;
	if (name_equal(&a->name, &b->name))
		return b->apex || !a->apex;
	return name_in_suffix(&a->name, &b->name, false);
}

int config_check_secret_hosts(const struct weir_config *c, const struct secret_config *s,
			      struct conf_error *err)
{
	for (size_t h = 0; h < s->n_hosts; h++)
		for (size_t k = 0; k < c->n_tls_bypass; k++)
			if (pattern_covers(&c->tls_bypass[k], &s->hosts[h])) {
				conf_error_set(
					err, "could never be used for %s%s, whose TLS is bypassed",
					s->hosts[h].is_suffix ? "*." : "", s->hosts[h].name.s);
				return -EINVAL;
			}
	return 0;
}

static int check_secret(struct config_builder *b, size_t i)
{
	const struct secret_config *s = &b->c->secrets[i];

	if (has_flag(b, OPTION_NO_NET) && !has_flag(b, OPTION_NET_RULE)) {
		conf_error_set(
			b->err,
			"%s: could never be used with --no-net; allow its hosts with --net-rule",
			b->secret_places[i]);
		return -EINVAL;
	}
	if (config_check_secret_hosts(b->c, s, b->err) < 0) {
		char why[sizeof(b->err->text)];

		memcpy(why, b->err->text, sizeof(why));
		conf_error_set(b->err, "%s: %s; remove the bypass or the host", b->secret_places[i],
			       why);
		return -EINVAL;
	}
	return 0;
}

/* "intercept": false is a wish, and something else needs it to be true. */
static int check_intercept_off(struct config_builder *b)
{
	struct conf root, tls, intercept;

	if (!b->doc || has_flag(b, OPTION_TLS_INTERCEPT))
		return 0;
	root = conf_root(b->doc);
	tls = conf_member(&root, "tls");
	intercept = conf_member(&tls, "intercept");
	if (!json_is_false(intercept.v))
		return 0;
	if (b->c->n_secrets)
		return conf_fail(&intercept, b->err,
				 "secrets need interception (%s); remove this line or the secrets",
				 b->secret_places[0]);
	if (policy_has_http(b->c->policy))
		return conf_fail(
			&intercept,
			b->err, "rules with \"http\" need interception; remove this line or the conditions");
	return 0;
}

static int file_missing(struct config_builder *b, const char *what, enum option flag, const char *why)
{
	conf_error_set(b->err, "%s: %s; add %s FILE", what, why, option_name(flag));
	return -EINVAL;
}

/*
 * Nobody else brings into the machine what is made here at the start. Without
 * it a secret could never be used, and every intercepted connection would fail.
 */
static int check_gateway(struct config_builder *b)
{
	const struct weir_config *c = b->c;
	char fd[16];

	if (!c->link.kind) {
		conf_error_set(b->err, "--link is missing: tap:NAME, fd:N, stream:PATH, "
				       "dgram:PATH or vhost-user:PATH");
		return -EINVAL;
	}
	snprintf(fd, sizeof(fd), "%d", c->link.fd);
	for (size_t i = 0; i < c->n_secrets; i++)
		if (c->link.kind == LINK_FD && c->secrets[i].source == SECRET_FROM_FD &&
		    str_eq(c->secrets[i].arg, fd)) {
			conf_error_set(b->err, "%s: descriptor %s is the link", b->secret_places[i],
				       fd);
			return -EINVAL;
		}
	if (c->n_secrets && !c->env_out)
		return file_missing(b, b->secret_places[0], OPTION_ENV_OUT,
				    "the machine needs its placeholder");
	if (c->tls_intercept && !c->ca_out)
		return file_missing(b, "TLS interception", OPTION_CA_OUT,
				    "the machine must trust weir's certificates");
	if (c->trust_host_cas && !c->ca_out)
		return file_missing(b, "--trust-host-cas", OPTION_CA_OUT,
				    "the machine must be given the authorities");
	if (!c->tls_intercept && !c->trust_host_cas && c->ca_out) {
		conf_error_set(b->err, "--ca-out: nothing is intercepted; add --tls-intercept");
		return -EINVAL;
	}
	return 0;
}

/* Files that we write, each to one end. */
static int check_distinct(struct config_builder *b)
{
	const struct weir_config *c = b->c;
	const struct {
		const char *what, *path;
	} files[] = {
		{ "record", c->audit_path },
		{ "capture", c->capture_path },
		{ "--ca-out", c->ca_out },
		{ "--env-out", c->env_out },
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		for (size_t k = i + 1; k < ARRAY_SIZE(files); k++)
			if (files[i].path && files[k].path && str_eq(files[i].path, files[k].path) &&
			    !str_eq(files[i].path, "/dev/null")) {
				conf_error_set(b->err, "%s: %s and %s cannot be the same file",
					       files[i].path, files[i].what, files[k].what);
				return -EINVAL;
			}
	return 0;
}

int config_check(struct config_builder *b)
{
	static const enum option tls_only[] = {
		OPTION_TLS_INTERCEPT_PORT, OPTION_TLS_BYPASS,	     OPTION_NO_HTTP2,
		OPTION_TLS_CA_CERT,	   OPTION_TLS_CA_HOURS,	     OPTION_TLS_NAME_CONSTRAINTS,
		OPTION_TLS_NO_VERIFY,	   OPTION_TLS_NO_VERIFY_FOR, OPTION_TLS_UPSTREAM_CA_FOR,
		OPTION_TLS_CLIENT_CERT,	   OPTION_TLS_PIN,
	};
	struct weir_config *c = b->c;
	int r = 0;

	if (has_flag(b, OPTION_QUIET) && has_flag(b, OPTION_VERBOSE)) {
		conf_error_set(b->err, "--quiet: contradicts --verbose; give one of them");
		return -EINVAL;
	}
	for (size_t i = 0; r == 0 && i < c->n_secrets; i++)
		r = check_secret(b, i);
	if (r == 0)
		r = config_check_sign(b);
	if (r == 0)
		r = config_check_token(b);
	if (r == 0)
		r = check_intercept_off(b);
	if (r == 0)
		r = config_check_limits(b);
	if (r < 0)
		return r;
	r = config_check_proxy(b);
	if (r < 0)
		return r;
	c->tls_intercept = c->tls_intercept || c->n_secrets || policy_has_http(c->policy);
	for (size_t i = 0; i < ARRAY_SIZE(tls_only); i++)
		if (!c->tls_intercept && has_flag(b, tls_only[i])) {
			conf_error_set(b->err, "%s: nothing is intercepted; add --tls-intercept",
				       option_name(tls_only[i]));
			return -EINVAL;
		}
	r = config_check_tls(b);
	if (r == 0)
		r = config_check_machine(b);
	if (r == 0)
		r = check_distinct(b);
	if (r == 0 && b->command == CONFIG_GATEWAY)
		r = check_gateway(b);
	return r;
}
