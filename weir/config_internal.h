/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files that make a struct weir_config share. All caps stand here.
 *
 *   argv ──► options.c (which flags, which values, the command)
 *   FILE ──► config_file.c (sections, keys, types)
 *                 │ one item at a time, with its place
 *                 ▼
 *            config_item.c, config_link.c (the one parser of each kind of item)
 *                 ▼
 *            config_check.c (what only the whole can show) ──► struct weir_config
 */
#ifndef WEIR_CONFIG_INTERNAL_H
#define WEIR_CONFIG_INTERNAL_H

#include "weir/config.h"

/* ---- caps: a generated configuration must not cost endless memory or time -------- */

#define CONFIG_SECRETS_MAX 256
/* Deaths of the tlsproxy within a minute. Stops whoever crashes it from guessing for ever. */
#define CONFIG_PROXY_RESTARTS_MAX 1000
#define CONFIG_SECRET_HOSTS_MAX 64
/* Of methods, and of paths: each is compared with every request that may carry it. */
#define CONFIG_SECRET_TERMS_MAX 64
/* A key of a reply that brings tokens. */
#define CONFIG_MASK_FIELD_MAX 64
/* A source's times: a month. */
#define CONFIG_SOURCE_MAX_S (31 * 24 * 3600)
#define CONFIG_DNS_SERVERS_MAX 16
#define CONFIG_DNS_RECORDS_MAX 4096
#define CONFIG_TLS_PORTS_MAX 64
#define CONFIG_BYPASS_MAX 1024
#define CONFIG_CAS_MAX 64
#define CONFIG_TLS_UPSTREAMS_MAX 256
#define CONFIG_PINS_MAX 16
/* A year: the longest a sandbox's CA may live. */
#define CONFIG_CA_HOURS_MAX 8784
#define CONFIG_CONNECTIONS_MAX 1000000
/* Less would not carry a page; more is more than machines have. */
#define CONFIG_MEMORY_MIN (UINT64_C(8) << 20)
#define CONFIG_MEMORY_MAX (UINT64_C(1) << 40)
/* Less is an outage; more than 128 Gbit/s is no limit. */
#define CONFIG_BANDWIDTH_MIN UINT64_C(1000)
#define CONFIG_BANDWIDTH_MAX UINT64_C(16000000000)
/* Less than a packet would let nothing pass. */
#define CONFIG_BURST_MIN UINT64_C(2048)
#define CONFIG_BURST_MAX (UINT64_C(1) << 32)
#define CONFIG_PACKETS_MAX UINT64_C(100000000)
#define CONFIG_DNS_TIMEOUT_MIN_MS 100
#define CONFIG_DNS_TIMEOUT_MAX_MS 60000
/* RFC 8767 5: "on the order of days to weeks, with a recommended cap of 604,800 seconds". */
#define CONFIG_DNS_STALE_MAX_S 604800
#define CONFIG_DNS_BUDGET_MAX 1000000
#define CONFIG_DNS_REFILL_MAX_S 86400
/* A bundle of all public authorities is some 250 KiB. */
#define CONFIG_CA_FILE_MAX ((size_t)8 << 20)
#define CONFIG_ENV_NAME_MAX 128
#define CONFIG_LINK_MAX 1024

/* ---- the command line -------------------------------------------------------------- */

enum option {
	OPTION_BACKEND = 0,
	OPTION_CONFIG,
	OPTION_POLICY,
	OPTION_NET,
	OPTION_NET_RULE,
	OPTION_NET_DEFAULT_EGRESS,
	OPTION_NET_DEFAULT_INGRESS,
	OPTION_NO_NET,
	OPTION_NET_STRICT,
	OPTION_POLICY_FLOOR,
	OPTION_OBSERVE,
	OPTION_SECRET,
	OPTION_SECRET_FILE,
	OPTION_SECRET_FD,
	OPTION_SECRET_COMMAND,
	OPTION_SECRET_VIOLATION,
	OPTION_TLS_INTERCEPT,
	OPTION_TLS_INTERCEPT_PORT,
	OPTION_HTTP_PROXY_PORT,
	OPTION_TLS_BYPASS,
	OPTION_UPSTREAM_CA,
	OPTION_NO_HTTP2,
	OPTION_TLS_CA_CERT,
	OPTION_TLS_CA_KEY,
	OPTION_TLS_CA_HOURS,
	OPTION_TLS_NAME_CONSTRAINTS,
	OPTION_TLS_NO_VERIFY,
	OPTION_TLS_NO_VERIFY_FOR,
	OPTION_TLS_UPSTREAM_CA_FOR,
	OPTION_TLS_CLIENT_CERT,
	OPTION_TLS_PIN,
	OPTION_TRUST_HOST_CAS,
	OPTION_DNS_SERVER,
	OPTION_DNS_RECORD,
	OPTION_DNS_ANSWERS,
	OPTION_DNS_BUDGET,
	OPTION_DNS_SERVE_STALE,
	OPTION_DNS_DOH,
	OPTION_PUBLISH,
	OPTION_PROXY,
	OPTION_PROXY_AUTH,
	OPTION_PROXY_BYPASS,
	OPTION_PROXY_NAMES,
	OPTION_PROXY_UDP,
	OPTION_IPV4_POOL,
	OPTION_IPV6_POOL,
	OPTION_DNS_POOL,
	OPTION_MTU,
	OPTION_MAC,
	OPTION_NO_DHCP,
	OPTION_AUDIT,
	OPTION_CAPTURE,
	OPTION_MAX_CONNECTIONS,
	OPTION_MAX_UDP_FLOWS,
	OPTION_MAX_ICMP_FLOWS,
	OPTION_MAX_HALF_OPEN,
	OPTION_MEMORY_BUDGET,
	OPTION_RATE,
	OPTION_NAME,
	OPTION_DETACH,
	OPTION_INTERACTIVE,
	OPTION_TTY,
	OPTION_LABEL,
	OPTION_MAX_DURATION,
	OPTION_IDLE_TIMEOUT,
	OPTION_KERNEL,
	OPTION_MODULES,
	OPTION_ROOTFS,
	OPTION_IMAGE,
	OPTION_IMAGE_NAME,
	OPTION_ENTRYPOINT,
	OPTION_VOLUME,
	OPTION_PATCH,
	OPTION_MEMORY,
	OPTION_CPUS,
	OPTION_ENV,
	OPTION_USER,
	OPTION_WORKDIR,
	OPTION_HOSTNAME,
	OPTION_RLIMIT,
	OPTION_LINK,
	OPTION_CA_OUT,
	OPTION_ENV_OUT,
	OPTION_JSON,
	OPTION_VERBOSE,
	OPTION_QUIET,
	OPTION_HELP,
	OPTIONS,
};

/* Values as they were typed; they point into argv. A flag without a value counts in n only. */
struct options {
	struct {
		const char **v;
		size_t n;
	} of[OPTIONS];
	char **command; /* of `weir run`; may be empty */
};
/* Nothing to run stands anywhere: -EINVAL. */
int options_no_command(struct conf_error *err);
must_check int options_parse(enum config_command command, int argc, char **argv,
			     struct options *ret, struct conf_error *err);
void options_fini(struct options *o);
const char *option_name(enum option o); /* "--backend" */
/* The only value, or NULL. */
static inline const char *option_value(const struct options *o, enum option i)
{
	return o->of[i].n ? o->of[i].v[0] : NULL;
}

/* ---- building ------------------------------------------------------------------------- */

/* Where a text came from: a flag, or a value in the file. */
struct where {
	const char *flag;	 /* "--secret", or NULL */
	const char *value;	 /* shown behind the flag; NULL where it could be a secret */
	const struct conf *conf; /* when flag is NULL */
};
/* err becomes "--flag value: text" or "FILE:LINE:COL: text"; returns -EINVAL. */
int where_fail(const struct where *w, struct conf_error *err, const char *fmt, ...) printf_like(3, 4);

struct config_builder {
	enum config_command command;
	struct weir_config *c;
	struct options o;
	struct conf_doc *doc; /* NULL: no --config */
	char *dir; /* of the file, with '/' at the end; relative paths in it start there */
	struct policy *policy; /* of the file */
	char *floor;	       /* path in the file */
	enum tlsproxy_violation on_violation;
	bool live_secret;     /* its value comes beside it, from a descriptor */
	char **secret_places; /* beside c->secrets: where each came from */
	struct conf_error *err;
};

/* Each checks one item as it was written and adds it to the configuration. */
must_check int config_add_dns_server(struct config_builder *b, const struct where *w,
				     const char *text);
must_check int config_add_dns_record(struct config_builder *b, const struct where *w,
				     const char *name, size_t name_len, const char *addr);
/* config_http.c */
must_check int config_add_proxy_port(struct config_builder *b, const struct where *w,
				     const char *text);
must_check int config_read_http(struct config_builder *b, const struct conf *c);
/* config_pem.c: PEM files that are there and hold one. */
must_check int config_check_cert(struct config_builder *b, const struct where *w, const char *path);
must_check int config_check_key(struct config_builder *b, const struct where *w, const char *path);
/* config_tls.c */
must_check int config_tls_pattern(struct config_builder *b, const struct where *w, const char *text,
				  size_t len, struct tlsproxy_host_pattern *ret);
/* text: a port, or "any" */
must_check int config_add_tls_ports(struct config_builder *b, const struct where *w,
				    const char *text);
must_check int config_add_bypass(struct config_builder *b, const struct where *w, const char *text);
must_check int config_add_upstream_ca(struct config_builder *b, const struct where *w,
				      const char *path);
must_check int config_set_tls_ca_cert(struct config_builder *b, const struct where *w,
				      const char *text);
must_check int config_set_tls_ca_key(struct config_builder *b, const struct where *w,
				     const char *text);
must_check int config_set_tls_ca_hours(struct config_builder *b, const struct where *w,
				       const char *text);
must_check int config_set_constraints(struct config_builder *b, const struct where *w,
				      const char *text);
/* config_tls_host.c */
must_check int config_no_verify_for(struct config_builder *b, const struct where *w,
				    const char *text);
must_check int config_upstream_ca_for(struct config_builder *b, const struct where *w,
				      const char *text);
must_check int config_client_cert(struct config_builder *b, const struct where *w, const char *text);
must_check int config_pin(struct config_builder *b, const struct where *w, const char *text);
must_check int config_read_tls_hosts(struct config_builder *b, const struct conf *list);
must_check int config_read_tls(struct config_builder *b, const struct conf *c);
must_check int config_check_tls(struct config_builder *b);
void config_tls_fini(struct weir_config *c);
must_check int config_add_publish(struct config_builder *b, const struct where *w, const char *text);
/* config_upstream.c; the URL comes first, what goes around it is added to what is there. */
must_check int config_set_proxy(struct config_builder *b, const struct where *w, const char *text);
must_check int config_set_proxy_auth(struct config_builder *b, const struct where *w,
				     const char *text);
must_check int config_add_proxy_bypass(struct config_builder *b, const struct where *w,
				       const char *text);
must_check int config_set_proxy_udp(struct config_builder *b, const struct where *w,
				    const char *text);
/* The section "proxy". */
must_check int config_read_proxy(struct config_builder *b, const struct conf *c);
/* What only the whole shows: credentials and ways around a proxy that is not there. */
must_check int config_check_proxy(struct config_builder *b);
must_check int config_set_answers(struct config_builder *b, const struct where *w, const char *text);
/* "off": the only text there is; a budget's sizes stand in the file. */
must_check int config_set_budget(struct config_builder *b, const struct where *w, const char *text);
must_check int config_set_stale(struct config_builder *b, const struct where *w, const char *text);
must_check int config_set_doh(struct config_builder *b, const struct where *w, const char *text);
/* config_network.c */
must_check int config_set_ipv4_pool(struct config_builder *b, const struct where *w,
				    const char *text);
must_check int config_set_ipv6_pool(struct config_builder *b, const struct where *w,
				    const char *text);
must_check int config_add_dns_pool(struct config_builder *b, const struct where *w, const char *text);
must_check int config_set_mtu(struct config_builder *b, const struct where *w, const char *text);
must_check int config_set_mac(struct config_builder *b, const struct where *w, const char *text);
must_check int config_read_network(struct config_builder *b, const struct conf *c);
/* Replaces what was there. */
must_check int config_set_path(struct config_builder *b, const struct where *w, char **path,
			       const char *text);
/* KIND:WHERE[,OPTION...]; a relative path of the file starts at its folder. */
must_check int config_set_link(struct config_builder *b, const struct where *w, const char *text);
must_check int config_parse_violation(struct config_builder *b, const struct where *w,
				      const char *text, enum tlsproxy_violation *ret);

/* A secret while it is put together; config_add_secret takes over hosts and arg. */
struct secret_draft {
	const char *env;
	size_t env_len;
	enum secret_source source;
	char *arg;
	uint32_t refresh_s, ttl_s;
	bool writes_token;
	struct tlsproxy_host_pattern *hosts;
	size_t n_hosts;
	unsigned places;     /* 0: the default */
	unsigned not_places; /* left out of the default */
	struct secret_terms terms;
	bool has_violation;
	enum tlsproxy_violation on_violation;
	struct sign_config *sign;
	struct token_config *token;
	struct mask_config *mask;
};
must_check int config_check_env_name(struct config_builder *b, const struct where *w,
				     const char *name, size_t len);
must_check int secret_draft_host(struct config_builder *b, const struct where *w, const char *text,
				 size_t len, struct secret_draft *d);
must_check int secret_draft_place(struct config_builder *b, const struct where *w, const char *text,
				  size_t len, struct secret_draft *d);
must_check int config_add_secret(struct config_builder *b, const struct where *w,
				 struct secret_draft *d);
/* config_secret_terms.c: one item as it was written; an option of a flag, or members of the file. */
must_check int secret_draft_option(struct config_builder *b, const struct where *w,
				   const char *text, size_t len, struct secret_draft *d);
must_check int config_read_terms(struct config_builder *b, const struct conf *c,
				 struct secret_draft *d);
must_check int secret_pattern_add(struct config_builder *b, const struct where *w, const char *text,
				  size_t len, struct tlsproxy_host_pattern **list, size_t *n);
void secret_terms_fini(struct secret_terms *t);
/* Members that are lists: of patterns of paths, of places, of hosts; absent: nothing is added. */
must_check int config_read_paths(struct config_builder *b, const struct conf *c, char ***list,
				 size_t *n);
must_check int config_read_hosts(struct config_builder *b, const struct conf *c, const char *key,
				 struct tlsproxy_host_pattern **list, size_t *n);
void config_texts_free(char **texts, size_t n);
/* NULL: no place has this bit. */
const char *config_place_name(unsigned bit);
/* One element of the section "secrets". */
must_check int config_read_secret(struct config_builder *b, const struct conf *c);
/* -EINVAL: a host whose TLS is bypassed, so that the value could never be put in. */
must_check int config_check_secret_hosts(const struct weir_config *c, const struct secret_config *s,
					 struct conf_error *err);
void config_secret_fini(struct secret_config *s);
void secret_draft_fini(struct secret_draft *d);
/* ENV[:PLACES]@HOST[,HOST…] and ENV[:PLACES]=PATH@HOST[,HOST…] */
must_check int config_secret_flag(struct config_builder *b, const char *text);
must_check int config_secret_from_flag(struct config_builder *b, enum option option,
				       enum secret_source source, const char *text);

/* config_sign.c; *ret stays NULL when there is none. */
must_check int config_read_sign(struct config_builder *b, const struct conf *c,
				struct sign_config **ret);
void sign_config_free(struct sign_config *s);
/* That the secrets which signatures name are there; they get their places. */
must_check int config_check_sign(struct config_builder *b);

/* config_token.c; the same for tokens. */
must_check int config_read_token(struct config_builder *b, const struct conf *c,
				 struct token_config **ret);
void token_config_free(struct token_config *t);
must_check int config_check_token(struct config_builder *b);

/* config_mask.c; the same for tokens that the sandbox asks for. */
must_check int config_read_mask(struct config_builder *b, const struct conf *c,
				struct mask_config **ret);
void mask_config_free(struct mask_config *m);

/* config_source.c; c is "from", which may be absent. Sets source, arg and times of d. */
must_check int config_read_source(struct config_builder *b, const struct conf *c,
				  struct secret_draft *d);

/* config_limits.c */
void config_limits_default(struct weir_config *c);
must_check int config_limit_flags(struct config_builder *b);
must_check int config_read_limits(struct config_builder *b, const struct conf *c);
/* What only the whole can show. */
must_check int config_check_limits(struct config_builder *b);

/* config_life.c */
must_check int config_life_flags(struct config_builder *b);
void config_life_fini(struct life_config *l);

/* config_machine.c */
must_check int config_machine_flags(struct config_builder *b);
must_check int config_read_machine(struct config_builder *b, const struct conf *c);
must_check int config_check_machine(struct config_builder *b);
void config_machine_fini(struct machine_config *m);
/* config.c */
must_check int config_set_backend(struct config_builder *b, const struct where *w, const char *text);

/* That a value can be had from there; never the value. */
must_check int config_check_source(struct config_builder *b, const struct where *w,
				   enum secret_source source, const char *arg);
/*
 * "env:VAR", "file:PATH", "fd:N", "command:CMD". -ENODATA: nothing behind the
 * prefix, which is *ret_arg then; -EINVAL for anything else.
 */
must_check int config_parse_source(const char *text, enum secret_source *ret, const char **ret_arg);
/* One add function for each list of texts. */
must_check int config_add_each(struct config_builder *b, const struct conf *list,
			       int (*fn)(struct config_builder *b, const struct where *w,
					 const char *text));
/* A member that is a text, copied; untouched when it is absent. An empty one is refused. */
must_check int config_read_text(struct config_builder *b, const struct conf *c, const char *key,
				char **ret);
must_check int config_too_many(const struct config_builder *b, const struct where *w, size_t max);
/* A path of the file, meant from where the file is; untouched when it is absent. */
must_check int config_read_path(struct config_builder *b, const struct conf *c, char **ret);
/* A copy of text, in place of what was there. */
must_check int config_replace_text(char **to, const char *text);
must_check int config_from_dir(const struct config_builder *b, const char *path, char **ret);
must_check int config_read_file(struct config_builder *b);
must_check int config_check(struct config_builder *b);

/* A zeroed new last element of *array, or NULL; the count is raised. */
void *config_push(void *array, size_t *n, size_t elem_size);

#endif
