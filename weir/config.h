/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `weir run` or `weir gateway` was asked to do: the configuration file and
 * the flags on top of it, fully checked before anything starts. Internal to weir/.
 */
#ifndef WEIR_CONFIG_H
#define WEIR_CONFIG_H

#include "base/base.h"
#include "dns/dns.h"
#include "image/image.h"
#include "netstack/netstack.h"
#include "policy/policy.h"
#include "tlsproxy/tlsproxy.h"
#include "weir/address_pick.h"
#include "weir/publish.h"
#include "weir/upstream.h"

enum weir_backend { BACKEND_AUTO = 0, BACKEND_KVM = 1, BACKEND_QEMU = 2, BACKEND_NETNS = 3 };

enum secret_source {
	SECRET_FROM_ENV = 1,	 /* arg: variable of weir's own environment */
	SECRET_FROM_FILE = 2,	 /* arg: path; one trailing newline is cut */
	SECRET_FROM_FD = 3,	 /* arg: descriptor number, read to its end */
	SECRET_FROM_COMMAND = 4, /* arg: run by /bin/sh -c, standard output, 30 s */
	SECRET_FROM_CALLER = 5,	 /* weir ctl gave a descriptor; arg: "" */
};

/* How a secret signs requests (struct tlsproxy_sign); texts that were not given are NULL. */
struct sign_config {
	enum tlsproxy_sign_kind kind;
	char *key_id, *session_token; /* AWS: env of other secrets */
	char *algorithm, *header, *timestamp_header, *signs, *format;
	struct tlsproxy_sign made; /* of these */
};

/* What a secret's value buys (tlsproxy_token_request): its placeholder stands for that token. */
struct token_config {
	enum tlsproxy_grant grant;
	enum tlsproxy_client_auth auth;
	char *host, *path; /* of the endpoint */
	uint16_t port;
	char *client_id, *scope, *audience;
	char *client_secret; /* env of another secret; NULL: none */
};

/*
 * Tokens that the sandbox asks for with the secret (struct tlsproxy_mask): which replies bring
 * them, and where they may go: the secret's hosts, and, but for refresh tokens, these.
 */
struct mask_config {
	char **paths, **fields;
	size_t n_paths, n_fields;
	struct tlsproxy_host_pattern *hosts;
	size_t n_hosts;
	unsigned places;
	struct tlsproxy_place_name *names; /* texts are ours */
	size_t n_names;
};

/* What narrows a secret beside hosts and places, see struct tlsproxy_secret; none by default. */
struct secret_terms {
	struct tlsproxy_place_name *names; /* texts are ours */
	size_t n_names;
	char **methods, **paths;
	size_t n_methods, n_paths;
	struct tlsproxy_host_pattern *passthrough;
	size_t n_passthrough;
	uint64_t max_uses;
	bool plain_http;
	char *shape; /* NULL: the value's */
};

/* One secret as configured; the value is read later, by the tlsproxy process only. */
struct secret_config {
	char *env; /* variable in the sandbox */
	enum secret_source source;
	char *arg;
	struct tlsproxy_host_pattern *hosts;
	size_t n_hosts;
	unsigned places;
	enum tlsproxy_violation on_violation;
	struct secret_terms terms;
	struct sign_config *sign;   /* NULL: the value is put in */
	struct token_config *token; /* NULL: the value itself is */
	struct mask_config *mask;   /* NULL: what it brings is the sandbox's */
	uint32_t refresh_s;	    /* command: run again so often; 0: never */
	uint32_t ttl_s;		    /* command, file: a value is good so long; 0: for ever */
	bool writes_token; /* command: the value is the token in its output (secret_token.h) */
};
/* Lists of ports. Stops a search for each flow that takes long. */
#define CONFIG_PROXY_PORTS_MAX 32

/* What the proxy is told of it; its texts stay s's. */
void secret_config_terms(const struct secret_config *s, struct tlsproxy_secret *ret);

/* Which command a configuration is for: what is run differs, nothing else. */
enum config_command { CONFIG_RUN = 0, CONFIG_GATEWAY = 1 };

enum link_kind {
	LINK_TAP = 1,	     /* path: the interface's name */
	LINK_FD = 2,	     /* fd: tells itself what it is */
	LINK_STREAM = 3,     /* a Unix socket, frames behind their length */
	LINK_DGRAM = 4,	     /* a Unix socket, a frame per datagram */
	LINK_VHOST_USER = 5, /* a Unix socket of the vhost-user protocol */
};

/* Where the machine is that `weir gateway` serves. */
struct link_config {
	enum link_kind kind; /* 0: none */
	char *text;	     /* as it was given, for messages and the record */
	char *path;
	char *peer;	 /* dgram: the only socket that is taken as the machine's; NULL: any */
	int fd;		 /* LINK_FD */
	bool vhost_user; /* LINK_FD: not to be told from a stream */
	bool connect;	 /* the machine's side listens */
	unsigned mode;	 /* of the socket we make */
};

/* Which names the CA that is made may sign for, if they can be listed. */
enum tls_constrain {
	TLS_CONSTRAIN_AUTO = 0,	  /* those of the operator's floor, which no policy widens */
	TLS_CONSTRAIN_POLICY = 1, /* those of the policy at the start: a later one cannot widen it */
	TLS_CONSTRAIN_OFF = 2,	  /* any */
};

/* What holds for some upstream hosts (struct tlsproxy_upstream). */
struct tls_upstream_config {
	bool is_addr;
	struct ip_addr addr;
	struct tlsproxy_host_pattern host;
	enum tlsproxy_verify verify;
	char *ca, *cert, *key; /* paths or NULL; key NULL: in cert */
	struct tlsproxy_pin *pins;
	size_t n_pins;
	unsigned says, by_flag; /* while it is read: which fields, and which from a flag */
};

/* The machine of a microVM backend; what was not given is NULL, 0 or empty. */
struct machine_config {
	char *kernel, *modules; /* as struct image_boot_options has them */
	char *rootfs, *image,
		*reference; /* as struct image_root_options; at most one of the first two */
	struct image_patches patches;
	struct image_volume *volumes; /* not open yet */
	size_t n_volumes;
	uint64_t memory; /* bytes */
	uint32_t cpus;	 /* 0: as many as suits the backend */
	char **env;	 /* NAME=VALUE */
	size_t n_env;
	char *user, *workdir;
	char *entrypoint; /* instead of the image's; "": none; NULL: the image's */
	/* Of namespaces, too. */
	char *hostname; /* NULL: the sandbox's name */
	char **rlimits; /* as rlimit_parse() has them */
	size_t n_rlimits;
};

/* How long a run lives, and how it is found again. */
struct life_config {
	bool detach;
	bool tty, input; /* detached: a terminal of its own; its input stays open for weir attach */
	char **labels;	 /* KEY=VALUE, each key once */
	size_t n_labels;
	uint32_t max_s, idle_s; /* 0: no end */
};

struct weir_config {
	enum weir_backend backend;
	struct life_config life;
	struct machine_config machine;
	char *name; /* [a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}; NULL: made up */
	bool json;
	enum log_level log_level;

	struct policy *policy; /* the operator's floor below it */
	bool observe;	       /* denials are recorded, not enforced */
	bool strict_names;     /* --net-strict: of every policy of this run */

	enum dns_mode dns_mode;
	struct endpoint *dns_servers; /* none: those of /etc/resolv.conf */
	size_t n_dns_servers;
	struct dns_record *dns_records;
	size_t n_dns_records;
	uint32_t dns_timeout_ms;
	uint32_t dns_stale_s; /* 0: off */
	struct dns_budget dns_budget;
	bool dns_doh; /* DNS over HTTPS, or TLS that offers it, may go around the resolver */

	bool tls_intercept;  /* asked for, or needed by a secret or an HTTP rule */
	bool tls_any_port;   /* wherever a client begins with TLS */
	uint16_t *tls_ports; /* {443} unless given */
	size_t n_tls_ports;
	/* Where explicit proxies are, beside 3128, 8080 and 8888. */
	uint16_t proxy_ports[CONFIG_PROXY_PORTS_MAX];
	size_t n_proxy_ports;
	bool tls_no_http2;		  /* HTTP/1.1 is spoken to both sides */
	char *tls_ca_cert, *tls_ca_key;	  /* an authority of the user's own; both or none */
	uint32_t tls_ca_hours;		  /* life of the one that is made; 0: the default */
	enum tls_constrain tls_constrain; /* what it may sign for */
	bool tls_no_verify; /* no upstream is verified, but where tls_upstreams say so */
	struct tls_upstream_config *tls_upstreams;
	size_t n_tls_upstreams;
	bool trust_host_cas; /* the sandbox gets this machine's authorities, intercepted or not */
	struct tlsproxy_host_pattern *tls_bypass;
	size_t n_tls_bypass;
	char **upstream_cas; /* PEM files */
	size_t n_upstream_cas;

	struct secret_config *secrets;
	size_t n_secrets;

	struct publish_config *publish;
	size_t n_publish;

	struct upstream_config upstream; /* the proxy that connections go through */

	uint32_t max_connections; /* TCP; 4096 unless given */
	uint32_t max_udp_flows, max_icmp_flows;
	uint32_t proxy_restarts; /* deaths of the tlsproxy within a minute that do not end the run */
	uint32_t max_half_open;	 /* of max_connections; 0: half */
	uint64_t memory;	 /* bytes of the relay's buffers; 0: by the number of connections */
	struct netstack_rates rates; /* up: egress, down: ingress */

	struct net_wish wish;	/* of addresses */
	struct sandbox_net net; /* the default until addresses_settle() */

	char *audit_path;   /* NULL: the default place */
	char *capture_path; /* NULL: none */

	/* NULL-terminated, points into argv; NULL for a gateway. Empty: the image's (vm_command.c). */
	char **command;

	struct link_config link; /* a gateway's */
	char *ca_out;		 /* where the CA's certificate is written, or NULL */
	char *env_out;		 /* where the placeholders are written, or NULL */
};
/* Is a proxy expected there, by custom or by the configuration? */
bool config_is_proxy_port(const struct weir_config *c, uint16_t port);

/*
 * argv: what follows `run` or `gateway`. On failure err says which flag or
 * FILE:LINE:COL, what is wrong and what to do; *ret is untouched. -ECANCELED:
 * --help was asked for.
 */
must_check int weir_config_load(enum config_command command, int argc, char **argv,
				struct weir_config **ret, struct conf_error *err);
/* text as behind --rate, or "egress=none": changes that direction of *rates. */
must_check int config_rate_change(const char *text, struct netstack_rates *rates,
				  struct conf_error *err);
void weir_config_free(struct weir_config *c);
/* Is TLS read that goes to this port (unless its host is bypassed)? */
bool weir_config_reads_port(const struct weir_config *c, uint16_t port);
/* The texts of `weir run --help` and `weir gateway --help`, in parts; NULL ends them. */
extern const char *const weir_help[][5];
void weir_help_print(enum config_command c);

#endif
