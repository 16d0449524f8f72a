/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From argv to a struct weir_config: the flags are read first, then the file
 * that they name, then the policy is composed and the whole is checked.
 * Nothing is half applied: there is a complete configuration or an error.
 */
#include "weir/config_internal.h"

#include <stdio.h>

#define DEFAULT_DNS_TIMEOUT_MS 5000

/* ---- flags of one value --------------------------------------------------------------- */

int config_set_backend(struct config_builder *b, const struct where *w, const char *text)
{
	static const char *const names[] = {
		[BACKEND_AUTO] = "auto",
		[BACKEND_KVM] = "kvm",
		[BACKEND_QEMU] = "qemu",
		[BACKEND_NETNS] = "netns",
	};
	const char *near = str_suggest(text, names, ARRAY_SIZE(names));

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_eq(text, names[i])) {
			b->c->backend = (enum weir_backend)i;
			return 0;
		}
	if (near)
		return where_fail(w, b->err, "unknown backend; did you mean \"%s\"?", near);
	return where_fail(w, b->err, "a backend is auto, kvm, qemu or netns");
}

static int set_name(struct config_builder *b, const struct where *w, const char *text)
{
	static const char first[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	static const char all[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t n = strlen(text);

	if (n > 63 || strspn(text, first) == 0 || strspn(text, all) != n)
		return where_fail(
			w,
			b->err, "a name is up to 63 letters, digits, '_', '.' and '-', the first a letter or digit");
	b->c->name = strdup(text);
	return b->c->name ? 0 : -ENOMEM;
}

static int set_violation(struct config_builder *b, const struct where *w, const char *text)
{
	return config_parse_violation(b, w, text, &b->on_violation);
}

static int set_audit(struct config_builder *b, const struct where *w, const char *text)
{
	return config_set_path(b, w, &b->c->audit_path, text);
}

static int set_capture(struct config_builder *b, const struct where *w, const char *text)
{
	return config_set_path(b, w, &b->c->capture_path, text);
}

static int set_ca_out(struct config_builder *b, const struct where *w, const char *text)
{
	return config_set_path(b, w, &b->c->ca_out, text);
}

static int set_env_out(struct config_builder *b, const struct where *w, const char *text)
{
	return config_set_path(b, w, &b->c->env_out, text);
}

static int add_record(struct config_builder *b, const struct where *w, const char *text)
{
	const char *eq = strchr(text, '=');

	if (!eq)
		return where_fail(w, b->err, "write NAME=IP");
	return config_add_dns_record(b, w, text, (size_t)(eq - text), eq + 1);
}

static int add_secret(struct config_builder *b, const struct where *w, const char *text)
{
	(void)w;
	return config_secret_flag(b, text);
}

static int add_secret_file(struct config_builder *b, const struct where *w, const char *text)
{
	(void)w;
	return config_secret_from_flag(b, OPTION_SECRET_FILE, SECRET_FROM_FILE, text);
}

static int add_secret_fd(struct config_builder *b, const struct where *w, const char *text)
{
	(void)w;
	return config_secret_from_flag(b, OPTION_SECRET_FD, SECRET_FROM_FD, text);
}

static int add_secret_command(struct config_builder *b, const struct where *w, const char *text)
{
	(void)w;
	return config_secret_from_flag(b, OPTION_SECRET_COMMAND, SECRET_FROM_COMMAND, text);
}

static int apply_flags(struct config_builder *b)
{
	static const struct {
		enum option option;
		int (*fn)(struct config_builder *b, const struct where *w, const char *text);
	} setters[] = {
		{ OPTION_BACKEND, config_set_backend },
		{ OPTION_NAME, set_name },
		{ OPTION_SECRET_VIOLATION, set_violation },
		{ OPTION_SECRET, add_secret },
		{ OPTION_SECRET_FILE, add_secret_file },
		{ OPTION_SECRET_FD, add_secret_fd },
		{ OPTION_SECRET_COMMAND, add_secret_command },
		{ OPTION_TLS_INTERCEPT_PORT, config_add_tls_ports },
		{ OPTION_HTTP_PROXY_PORT, config_add_proxy_port },
		{ OPTION_TLS_BYPASS, config_add_bypass },
		{ OPTION_UPSTREAM_CA, config_add_upstream_ca },
		{ OPTION_TLS_CA_CERT, config_set_tls_ca_cert },
		{ OPTION_TLS_CA_KEY, config_set_tls_ca_key },
		{ OPTION_TLS_CA_HOURS, config_set_tls_ca_hours },
		{ OPTION_TLS_NAME_CONSTRAINTS, config_set_constraints },
		{ OPTION_TLS_NO_VERIFY_FOR, config_no_verify_for },
		{ OPTION_TLS_UPSTREAM_CA_FOR, config_upstream_ca_for },
		{ OPTION_TLS_CLIENT_CERT, config_client_cert },
		{ OPTION_TLS_PIN, config_pin },
		{ OPTION_DNS_SERVER, config_add_dns_server },
		{ OPTION_DNS_RECORD, add_record },
		{ OPTION_DNS_ANSWERS, config_set_answers },
		{ OPTION_DNS_BUDGET, config_set_budget },
		{ OPTION_DNS_SERVE_STALE, config_set_stale },
		{ OPTION_DNS_DOH, config_set_doh },
		{ OPTION_PUBLISH, config_add_publish },
		{ OPTION_PROXY, config_set_proxy },
		{ OPTION_PROXY_AUTH, config_set_proxy_auth },
		{ OPTION_PROXY_BYPASS, config_add_proxy_bypass },
		{ OPTION_PROXY_UDP, config_set_proxy_udp },
		{ OPTION_IPV4_POOL, config_set_ipv4_pool },
		{ OPTION_IPV6_POOL, config_set_ipv6_pool },
		{ OPTION_DNS_POOL, config_add_dns_pool },
		{ OPTION_MTU, config_set_mtu },
		{ OPTION_MAC, config_set_mac },
		{ OPTION_AUDIT, set_audit },
		{ OPTION_CAPTURE, set_capture },
		{ OPTION_LINK, config_set_link },
		{ OPTION_CA_OUT, set_ca_out },
		{ OPTION_ENV_OUT, set_env_out },
	};

	for (size_t i = 0; i < ARRAY_SIZE(setters); i++)
		for (size_t k = 0; k < b->o.of[setters[i].option].n; k++) {
			struct where w = {
				.flag = option_name(setters[i].option),
				.value = b->o.of[setters[i].option].v[k],
			};
			int r = setters[i].fn(b, &w, w.value);

			if (r < 0)
				return r;
		}
	b->c->upstream.names |= b->o.of[OPTION_PROXY_NAMES].n > 0;
	b->c->json = b->o.of[OPTION_JSON].n > 0;
	b->c->wish.no_dhcp = b->o.of[OPTION_NO_DHCP].n > 0;
	b->c->tls_intercept = b->o.of[OPTION_TLS_INTERCEPT].n > 0;
	b->c->tls_no_http2 = b->o.of[OPTION_NO_HTTP2].n > 0;
	b->c->tls_no_verify = b->o.of[OPTION_TLS_NO_VERIFY].n > 0;
	b->c->trust_host_cas = b->o.of[OPTION_TRUST_HOST_CAS].n > 0;
	b->c->observe = b->o.of[OPTION_OBSERVE].n > 0;
	b->c->strict_names = b->o.of[OPTION_NET_STRICT].n > 0;
	b->c->log_level = b->o.of[OPTION_QUIET].n	  ? LOG_LEVEL_ERROR
			  : b->o.of[OPTION_VERBOSE].n > 1 ? LOG_LEVEL_DEBUG
			  : b->o.of[OPTION_VERBOSE].n	  ? LOG_LEVEL_INFO
							  : LOG_LEVEL_WARN;
	return 0;
}

/* ---- the whole --------------------------------------------------------------------------- */

static int set_floor(struct config_builder *b)
{
	const char *flag = option_value(&b->o, OPTION_POLICY_FLOOR);
	struct policy *floor = NULL;
	int r;

	/* Two floors are two people's word; which of them is meant is not ours to guess. */
	if (flag && b->floor) {
		conf_error_set(b->err,
			       "--policy-floor contradicts \"policy_floor\" in the "
			       "configuration (%s): give one of them",
			       b->floor);
		return -EINVAL;
	}
	if (!flag && !b->floor)
		return 0;
	r = policy_load_file_or_preset(flag ? flag : b->floor, &floor, b->err);
	/* It would stand there and not hold: a floor says what may pass, not how much. */
	if (r == 0 && policy_has_limits(floor)) {
		conf_error_set(b->err,
			       "%s: a floor cannot have a \"limit\"; use --rate, or a limit in the "
			       "policy",
			       flag ? flag : b->floor);
		policy_free(floor);
		return -EINVAL;
	}
	if (r == 0)
		policy_set_floor(b->c->policy, floor);
	return r;
}

static int compose_policy(struct config_builder *b)
{
	struct policy_flags f = {
		.net = option_value(&b->o, OPTION_NET),
		.net_rules = b->o.of[OPTION_NET_RULE].v,
		.n_net_rules = b->o.of[OPTION_NET_RULE].n,
		.default_egress = option_value(&b->o, OPTION_NET_DEFAULT_EGRESS),
		.default_ingress = option_value(&b->o, OPTION_NET_DEFAULT_INGRESS),
		.no_net = b->o.of[OPTION_NO_NET].n > 0,
		.strict_names = b->c->strict_names,
	};
	const char *named = option_value(&b->o, OPTION_POLICY);
	struct policy *base = NULL;
	int r = 0;

	/* One of them would be dropped without a word, with its denials. */
	if (named && f.net) {
		conf_error_set(b->err, "--policy contradicts --net: give one of them; --net-rule "
				       "adds to a policy");
		return -EINVAL;
	}
	if (named)
		r = policy_load_file_or_preset(named, &base, b->err);
	if (r < 0)
		return r;
	if (!base) {
		base = b->policy;
		b->policy = NULL;
	}
	r = policy_compose(base, &f, &b->c->policy, b->err);
	return r < 0 ? r : set_floor(b);
}

static int build(struct config_builder *b)
{
	int r = apply_flags(b);

	if (r == 0)
		r = config_life_flags(b);
	if (r == 0)
		r = config_machine_flags(b);
	if (r == 0)
		r = config_limit_flags(b);
	if (r == 0 && option_value(&b->o, OPTION_CONFIG))
		r = config_read_file(b);
	if (r == 0)
		r = compose_policy(b);
	if (r == 0)
		r = config_check(b);
	if (r == 0 && b->c->n_tls_ports == 0) {
		uint16_t *port = config_push(&b->c->tls_ports, &b->c->n_tls_ports, sizeof(*port));

		if (!port)
			return -ENOMEM;
		*port = 443;
	}
	return r;
}

int weir_config_load(enum config_command command, int argc, char **argv, struct weir_config **ret,
		     struct conf_error *err)
{
	struct config_builder b = { .command = command,
				    .err = err,
				    .on_violation = TLSPROXY_BLOCK_AND_LOG };
	int r = options_parse(command, argc, argv, &b.o, err);

	if (r == 0) {
		b.c = calloc(1, sizeof(*b.c));
		r = b.c ? 0 : -ENOMEM;
	}
	if (r == 0) {
		config_limits_default(b.c);
		b.c->net = sandbox_net_default;
		b.c->dns_timeout_ms = DEFAULT_DNS_TIMEOUT_MS;
		b.c->command = b.o.command;
		r = build(&b);
	}
	for (size_t i = 0; b.c && b.secret_places && i < b.c->n_secrets; i++)
		free(b.secret_places[i]);
	free(b.secret_places);
	free(b.dir);
	free(b.floor);
	policy_free(b.policy);
	conf_doc_free(b.doc);
	options_fini(&b.o);
	if (r == -ENOMEM)
		conf_error_set(err, "out of memory");
	if (r < 0) {
		weir_config_free(b.c);
		return r;
	}
	*ret = b.c;
	return 0;
}

void config_secret_fini(struct secret_config *s)
{
	free(s->env);
	free(s->arg);
	free(s->hosts);
	secret_terms_fini(&s->terms);
	sign_config_free(s->sign);
	token_config_free(s->token);
	mask_config_free(s->mask);
	*s = (struct secret_config){ 0 };
}

void weir_config_free(struct weir_config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_secrets; i++)
		config_secret_fini(&c->secrets[i]);
	config_tls_fini(c);
	config_machine_fini(&c->machine);
	config_life_fini(&c->life);
	free(c->secrets);
	free(c->dns_servers);
	free(c->dns_records);
	free(c->publish);
	upstream_config_fini(&c->upstream);
	free(c->name);
	free(c->audit_path);
	free(c->capture_path);
	free(c->link.text);
	free(c->link.path);
	free(c->link.peer);
	free(c->ca_out);
	free(c->env_out);
	policy_free(c->policy);
	free(c);
}
