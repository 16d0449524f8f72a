/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tlsproxy: reads intercepted flows. TLS towards the sandbox with the
 * sandbox's own CA, verified TLS towards the world, HTTP/1 in between;
 * placeholders become secrets on the way out.
 *
 * It runs as its own process: it holds the secrets and the CA key, gets each
 * flow as two connected descriptors and opens no socket itself. Policy is
 * asked through callbacks. Bytes from both ends are hostile.
 *
 * HTTP per RFC 9110/9112; denials RFC 9457 (problem+json) and RFC 9209
 * (Proxy-Status); TLS 1.2 and 1.3; certificates RFC 5280.
 */
#ifndef WEIR_TLSPROXY_H
#define WEIR_TLSPROXY_H

#include <sys/uio.h>

#include "base/base.h"

/* ---- first bytes ----------------------------------------------------------- */

/*
 * What a client's first bytes are: a pure function over what has arrived,
 * used by the gateway before it decides whom a flow belongs to. A ClientHello is
 * read across records; SNI in canonical form.
 */
enum tlsproxy_sniff_kind {
	TLSPROXY_SNIFF_MORE = 0,    /* undecided: call again with more */
	TLSPROXY_SNIFF_TLS = 1,	    /* a complete ClientHello */
	TLSPROXY_SNIFF_HTTP = 2,    /* looks like an HTTP/1 request line (leading CRLF tolerated) */
	TLSPROXY_SNIFF_OTHER = 3,   /* neither */
	TLSPROXY_SNIFF_BAD_TLS = 4, /* a TLS record, but no ClientHello we can read */
	TLSPROXY_SNIFF_H2C = 5,	    /* HTTP/2 prior-knowledge preface */
};
struct tlsproxy_sniff {
	enum tlsproxy_sniff_kind kind;
	bool has_sni;
	struct name sni;
	bool sni_invalid; /* present but not a host name (an address, NUL, ...) */
	bool has_ech;	  /* real or GREASE: cannot be told apart */
	char alpn[64];	  /* comma-separated, printable, may be cut */
	/* ALPN was sent at all, and what of ours stands in it, however long it is. */
	bool has_alpn, offers_h2, offers_http1;
};
void tlsproxy_sniff(const uint8_t *p, size_t len, bool eof, struct tlsproxy_sniff *ret);

/*
 * The same for QUIC, versions 1 and 2 (RFC 9001, 9369): datagrams are all that
 * came so far, in order. MORE: a hello has begun; TLS: here it is; BAD_TLS: a
 * connection's beginning that cannot be read, or can be in two ways; OTHER: no
 * Initial packet among them. The algorithms are fetched once, which reads
 * files; nothing else does. NULL: out of memory, or OpenSSL lacks them.
 */
struct tlsproxy_quic;
struct tlsproxy_quic *tlsproxy_quic_new(void);
void tlsproxy_quic_free(struct tlsproxy_quic *q);
void tlsproxy_sniff_quic(struct tlsproxy_quic *q, const struct iovec *datagrams, size_t n,
			 struct tlsproxy_sniff *ret);

/* ---- secrets ------------------------------------------------------------------ */

enum tlsproxy_place {
	TLSPROXY_IN_HEADER = 1,
	TLSPROXY_IN_BASIC = 2,
	TLSPROXY_IN_QUERY = 4,
	TLSPROXY_IN_PATH = 8,
	TLSPROXY_IN_BODY = 16,
	TLSPROXY_IN_WEBSOCKET = 32, /* text messages */
};
#define TLSPROXY_PLACES_DEFAULT (TLSPROXY_IN_HEADER | TLSPROXY_IN_BASIC)

/*
 * Narrows a place: a field's name (case ignored), a key of the query, a field of
 * a body (http_rewrite.h says how it is written). A place with names is these names
 * and no other.
 */
struct tlsproxy_place_name {
	enum tlsproxy_place place; /* HEADER, QUERY or BODY */
	const char *name;
};
/* -EINVAL with *ret_why. */
must_check int tlsproxy_place_name_check(const struct tlsproxy_place_name *n, const char **ret_why);

enum tlsproxy_violation {
	TLSPROXY_BLOCK = 0,
	TLSPROXY_BLOCK_AND_LOG = 1, /* default */
	TLSPROXY_BLOCK_AND_TERMINATE = 2,
	TLSPROXY_PASSTHROUGH = 3, /* forward the placeholder as it is */
};

/* NAME or .suffix (apex and below) or *.suffix (below only). */
struct tlsproxy_host_pattern {
	struct name name;
	bool is_suffix;
	bool apex;
};
/* -EINVAL with *ret_why. */
must_check int tlsproxy_host_pattern_parse(const char *s, size_t len,
					   struct tlsproxy_host_pattern *ret, const char **ret_why);
bool tlsproxy_host_matches(const struct tlsproxy_host_pattern *p, const struct name *n);
/* One of the n patterns does. */
bool tlsproxy_host_matches_any(const struct tlsproxy_host_pattern *p, size_t n,
			       const struct name *name);

/*
 * Requests that are signed with a secret instead of carrying it. The client signs with
 * the placeholder as its key; what it signed is verified with the placeholder and signed
 * anew, as it goes out, with the value. The placeholder itself may then stand nowhere,
 * but that an HMAC's header may hold it in place of a signature.
 */
enum tlsproxy_sign_kind {
	TLSPROXY_SIGN_AWS = 1,	/* Signature Version 4, in Authorization or presigned */
	TLSPROXY_SIGN_HMAC = 2, /* RFC 2104 over a text made from the request */
};
struct tlsproxy_sign {
	enum tlsproxy_sign_kind kind;
	/* AWS: the secret (its env) that holds the access key id. */
	const char *key_id;
	/* HMAC; NULL is the default. */
	const char *algorithm;	      /* "sha256", "sha1", "sha512" */
	const char *header;	      /* the field that carries the signature */
	const char *timestamp_header; /* the field that carries {timestamp}; seconds of the epoch
				       * when the client sends none. NULL: none */
	const char *signs;	      /* template: "{body}", "v0:{timestamp}:{body}", ... */
	const char *format;	      /* of the field: "{hex}", "sha256={hex}", "{base64}" */
};
/* Of the definition alone; -EINVAL with a sentence. */
must_check int tlsproxy_sign_check(const struct tlsproxy_sign *s, char *err, size_t err_size);

/*
 * A secret with which the sandbox itself asks for tokens (RFC 6749). A reply to a request for
 * one of `at` that carried the secret, or a refresh token that came of it, or whose path is
 * one of `paths` or can be read in two ways, is read as a whole: each text in one of `fields`,
 * however deep, is a token, given to ops.mask, and the sandbox gets its placeholder. A reply
 * that cannot be read so is refused.
 */
#define TLSPROXY_MASK_FIELDS_MAX 16
struct tlsproxy_mask {
	const struct tlsproxy_host_pattern *at;
	size_t n_at;
	const char *const *paths; /* patterns, as tlsproxy_ops.path_matches reads them */
	size_t n_paths;
	const char *const *fields; /* keys of JSON */
	size_t n_fields;
	/* Where tokens may go besides `at`: what these hosts answer is read from the start. */
	const struct tlsproxy_host_pattern *hosts;
	size_t n_hosts;
};
/* A token of such a reply. Wiped afterwards. */
struct tlsproxy_fresh {
	const char *field, *value;
	size_t len;
	uint64_t life_s;  /* the reply's word; 0: none */
	uint64_t until_s; /* the same as seconds of the epoch; 0: none */
	bool renews;	  /* a refresh token */
};

/*
 * One secret. tlsproxy_new() and tlsproxy_secrets_replace() copy everything, the
 * value into locked memory that is wiped. What is NULL or 0 does not narrow.
 */
#define TLSPROXY_SECRET_MIN 8
#define TLSPROXY_SECRET_MAX 4096
/* Of one secret; the record shows the longest in full. */
#define TLSPROXY_SECRET_NAMES_MAX 32
#define TLSPROXY_SECRET_NAME_MAX 128
struct tlsproxy_secret {
	const char *env; /* variable name, also the secret's name in the record */
	const char *value;
	size_t value_len;
	const struct tlsproxy_host_pattern *hosts;
	size_t n_hosts;	 /* 0: it has no valid value any more, whatever stands there */
	unsigned places; /* enum tlsproxy_place bits */
	const struct tlsproxy_place_name *names;
	size_t n_names;
	const char *const *methods; /* exact */
	size_t n_methods;
	const char *const *paths; /* patterns, as tlsproxy_ops.path_matches reads them */
	size_t n_paths;
	uint64_t max_uses; /* requests that carried it, in the sandbox's life */
	uint64_t uses;	   /* of these, those that a proxy before this has counted */
	/* It may go over plain HTTP too, where the flow's name and Host agree. */
	bool plain_http;
	/* Where its placeholder may stand as it is: neither replaced nor a violation. */
	const struct tlsproxy_host_pattern *passthrough;
	size_t n_passthrough;
	enum tlsproxy_violation on_violation;
	/* Shape of the placeholder, see tlsproxy_shape_check(); NULL: "same". */
	const char *shape;
	/* The one that a proxy before this gave out for it; NULL: one is made. */
	const char *placeholder;
	const struct tlsproxy_sign *sign; /* NULL: the value is put in */
	const struct tlsproxy_mask *mask; /* NULL: it buys nothing */
	const char *of;			  /* a token that this secret's reply brought; or NULL */
	bool renews;			  /* its replies are read like those of `of` */
	/* The value is still to come: ops.await is asked for it, requests that hold the
	 * placeholder for one of the hosts wait. Until then `value` is one that nobody knows. */
	bool awaited;
};
/*
 * -EINVAL with *ret_why when a value cannot be used in these places. At least 8
 * bytes, at most TLSPROXY_SECRET_MAX, no NUL. Headers take visible ASCII and inner
 * spaces; Basic no control characters (RFC 7617 2); WebSocket text UTF-8; path, query
 * and body any bytes, which are escaped as the place needs it.
 */
must_check int tlsproxy_secret_check_at(const char *value, size_t len, unsigned places,
					const char **ret_why);
/* For any place: visible ASCII without spaces. */
must_check int tlsproxy_secret_check(const char *value, size_t len, const char **ret_why);

/*
 * Shapes: "same" (the value's length and alphabet, a published prefix kept),
 * "jwt" (three base64url parts that decode as a JWT), "PREFIX..." (PREFIX and
 * random letters and digits), or a template in which each * is a random letter or
 * digit and each # a random digit. At least 8 random characters. -EINVAL with *ret_why.
 */
#define TLSPROXY_SHAPE_MAX 256
must_check int tlsproxy_shape_check(const char *shape, const char **ret_why);

/*
 * Looks for placeholders in names on their way out, where no value is at hand: a
 * DNS name or SNI. Any case, labels joined, hex, base32, base64url. Holds no value.
 */
struct tlsproxy_finder;
must_check int tlsproxy_finder_new(const char *const *placeholders, size_t n,
				   struct tlsproxy_finder **ret);
void tlsproxy_finder_free(struct tlsproxy_finder *f);
/* *ret_encoding is static: "plain", "hex", "base32", "base64". f may be NULL: never. */
bool tlsproxy_finder_name(const struct tlsproxy_finder *f, const struct name *n, size_t *ret_index,
			  const char **ret_encoding);

/* ---- whom we believe upstream ------------------------------------------------- */

/* SHA-256 of a public key of the verified chain (RFC 7469 2.4), or of the server's certificate. */
struct tlsproxy_pin {
	bool whole; /* of the certificate */
	uint8_t sha256[32];
};
/* "sha256/BASE64", "cert-sha256/HEX"; -EINVAL with *ret_why. */
must_check int tlsproxy_pin_parse(const char *s, struct tlsproxy_pin *ret, const char **ret_why);

enum tlsproxy_verify { TLSPROXY_VERIFY_DEFAULT = 0, TLSPROXY_VERIFY = 1, TLSPROXY_NO_VERIFY = 2 };

/*
 * What holds for some hosts. Of several that match, each field comes from the most specific
 * one that says it: a name before suffixes, a longer suffix before a shorter one, of two
 * alike *.SUFFIX before .SUFFIX. Files are PEM, and are read by tlsproxy_new().
 */
struct tlsproxy_upstream {
	bool is_addr; /* for addr, as it is dialled without a name; else for host */
	struct ip_addr addr;
	struct tlsproxy_host_pattern host;
	enum tlsproxy_verify verify;
	const char *ca_file;   /* authorities beside everybody's, or NULL */
	const char *cert_file; /* a client certificate and those above it, or NULL */
	const char *key_file;  /* its key; NULL: in cert_file */
	const struct tlsproxy_pin *pins;
	size_t n_pins; /* 0: none; else one of them must hold, in addition to the chain */
};

/* ---- the proxy ------------------------------------------------------------------ */

struct tlsproxy;

/* A flow as the gateway hands it over. */
struct tlsproxy_flow {
	uint64_t id; /* the gateway's, names the flow in the record */
	bool tls;    /* expect a ClientHello; else plain HTTP/1 */
	/*
	 * With tls: end TLS here and pass the bytes inside on to the second descriptor
	 * as they are, no HTTP and no TLS upstream (DoT, RFC 7858: the resolver is ours).
	 * The certificate names the SNI, or else the address of `remote`.
	 */
	bool terminate;
	/*
	 * Within a CONNECT, or a request in absolute form, to an explicit proxy that the guest
	 * dialled (never from the gateway): remote.port is the target's, name or else
	 * remote.addr its host. Where the host is a name remote.addr is unknown (family 0),
	 * as the proxy chooses it; upstream is the proxy.
	 */
	bool connect;
	struct endpoint remote;	  /* as the guest dialled it */
	struct endpoint upstream; /* what was dialled for it */
	bool has_name;		  /* the flow's name is known (virtual address) */
	struct name name;
	/* Real mode: names the address was handed out for; SNI must be one of them
	 * for an allow by name. Policy is told through judge; these are facts for it. */
	struct name candidates[8];
	size_t n_candidates;
};

/* What policy says of a TLS name or a request; texts are copied by the proxy. */
struct tlsproxy_verdict {
	bool allow;
	bool need_http;	    /* judge_tls, judge_connect: go on and judge every request */
	bool intercept;	    /* only for judge_connect: TLS inside is to be read */
	char rule[64];	    /* id or index, "default" */
	char reason[160];   /* the rule's reason, or "" */
	char denial_id[40]; /* when denied; also when allowed it may be set */
	bool floor;	    /* rule is one of the operator's floor */
	uint64_t tag;	    /* the judge's own, kept as it is */
};

struct tlsproxy_request {
	const struct tlsproxy_flow *flow;
	bool tls; /* arrived over TLS */
	/* A DNS query inside (RFC 8484 and its JSON and oblivious forms). Where only the
	 * response shows it, the request is judged once more, now with this set. */
	bool doh;
	bool has_sni;
	struct name sni;	    /* when tls and sent */
	struct authority authority; /* Host or absolute-form target */
	const char *method;
	const char *target; /* path and query as sent, NUL-terminated; may hold placeholders */
};

enum tlsproxy_http_outcome {
	TLSPROXY_HTTP_FORWARDED = 1,
	TLSPROXY_HTTP_DENIED = 2,	   /* 403 */
	TLSPROXY_HTTP_BAD_REQUEST = 3,	   /* 400: framing, syntax */
	TLSPROXY_HTTP_MISDIRECTED = 4,	   /* 421: Host, SNI and flow name disagree */
	TLSPROXY_HTTP_UPSTREAM_FAILED = 5, /* 502/504 */
	TLSPROXY_HTTP_VIOLATION = 6,	   /* 403: a secret where it may not be */
	TLSPROXY_HTTP_CANCELLED = 7, /* the guest gave it up unanswered; detail: did it go out */
};

struct tlsproxy_http_event {
	const struct tlsproxy_request *req; /* fields that were not read are empty */
	enum tlsproxy_http_outcome outcome;
	unsigned status;			/* what the guest was answered; 0: nothing */
	const char *detail;			/* static text, may be NULL */
	const struct tlsproxy_verdict *verdict; /* may be NULL */
	uint64_t bytes_up, bytes_down;		/* body bytes */
};

struct tlsproxy_tls_event {
	const struct tlsproxy_flow *flow;
	bool ok;
	bool unverified; /* the upstream's certificate was not to be verified */
	bool reused;	 /* the upstream connection served another flow before */
	bool dialled;	 /* its upstream is what tlsproxy_flow_dialled() said */
	bool has_sni;
	struct name sni;
	const char *detail; /* why it failed: "upstream certificate: ...", "client rejected our certificate" */
	const struct tlsproxy_verdict *verdict;
};

struct tlsproxy_secret_event {
	const struct tlsproxy_flow *flow;
	const char *env; /* name of the secret, never its value */
	bool violation;
	enum tlsproxy_place place; /* where it was put in or seen */
	const char *name;	   /* of the field or key it stands in; "": none, or not known */
	const char *encoding;	   /* "plain", "percent", "base64", ... for violations */
	const char *detail;	   /* "host not allowed", "plain http", "TRACE", ... */
	const char *protocol;	   /* "h1", "h2", "ws", "sni" */
	const char *path;	   /* of the request, without its query; "": none */
	uint64_t uses;		   /* requests that carried it so far, this one included */
	enum tlsproxy_violation action;
	const char *denial_id;
	char host[NAME_MAX_LEN + 1];
	const char *method;
};

struct tlsproxy_ops {
	/* Before the upstream handshake: may the flow with this TLS name go on? */
	void (*judge_tls)(void *ctx, const struct tlsproxy_flow *f, bool has_sni,
			  const struct name *sni, struct tlsproxy_verdict *ret);
	/* Each request, after Host/SNI/flow agreement was checked by the proxy. */
	void (*judge_http)(void *ctx, const struct tlsproxy_request *r, struct tlsproxy_verdict *ret);
	/*
	 * A CONNECT or a request in absolute form to an explicit proxy: may the target be reached
	 * at all (f->connect is set)? NULL: neither is allowed.
	 */
	void (*judge_connect)(void *ctx, const struct tlsproxy_flow *f, struct tlsproxy_verdict *ret);
	/* Fresh denial id, for refusals that are the proxy's own (400, 421, violation). */
	void (*new_denial_id)(void *ctx, char ret[static 40]);
	void (*tls_event)(void *ctx, const struct tlsproxy_tls_event *e);
	void (*http_event)(void *ctx, const struct tlsproxy_http_event *e);
	void (*secret_event)(void *ctx, const struct tlsproxy_secret_event *e);
	/*
	 * The flow is over; reset: end it with RST rather than FIN. Descriptors are
	 * closed, but with reset the guest's only as soon as this returns: so the word can
	 * be passed on before the end of the stream is seen.
	 */
	void (*flow_done)(void *ctx, uint64_t id, bool reset);
	/* on_violation block_and_terminate. */
	void (*terminate)(void *ctx, const char *env);
	/*
	 * A request needs the value of an awaited secret. True: it is on its way, and
	 * tlsproxy_secrets_replace() brings it, or tlsproxy_wake() lets this be asked again.
	 * False: it cannot be had; the request is answered 502. May be NULL: never.
	 */
	bool (*await)(void *ctx, const char *env);
	/*
	 * A reply brought tokens for the secret `env`, on this flow. They are to be secrets with
	 * `of` env when this returns 0: it may call tlsproxy_secrets_replace(). Negative: the reply
	 * is refused. NULL: always.
	 */
	int (*mask)(void *ctx, const struct tlsproxy_flow *f, const char *env,
		    const struct tlsproxy_fresh *list, size_t n);
	/*
	 * Does a request target match a secret's path pattern? One that can be read in
	 * two ways matches none. May be NULL: no pattern matches.
	 */
	bool (*path_matches)(void *ctx, const char *pattern, const char *target);
	/* May be NULL: one NSS key-log line of the guest leg, for captures. */
	void (*keylog)(void *ctx, const char *line);
	/*
	 * Verified upstream connections are kept for a moment between two flows when both are
	 * set. parked: some wait for this name at this address, or (any false) none any more;
	 * said again while it lasts, at least every TLSPROXY_PARKED_S. dial: the flow that was started
	 * without an upstream finds none; tlsproxy_flow_dialled() is to follow, later.
	 */
	void (*parked)(void *ctx, const struct name *host, const struct endpoint *to, bool any);
	void (*dial)(void *ctx, uint64_t id);
};
/* In seconds: a word of parked that is older is worth nothing. */
#define TLSPROXY_PARKED_S 2

struct tlsproxy_config {
	const struct tlsproxy_secret *secrets;
	size_t n_secrets;
	const char *const *upstream_ca_files; /* in addition to the system store */
	size_t n_upstream_ca_files;
	const struct tlsproxy_upstream *upstreams;
	size_t n_upstreams;
	/* No upstream is verified, unless one of upstreams says so. Nothing is put in there. */
	bool no_verify;
	/* An authority of the user's own, PEM; NULL: one is made, for this proxy alone. permitted
	 * and ca_hours are for that. */
	const char *ca_cert_file, *ca_key_file;
	/* Name constraints for the CA (RFC 5280 4.2.1.10); none: unconstrained. */
	const struct name *permitted;
	size_t n_permitted;
	uint32_t max_flows; /* 0: 4096 */
	uint32_t idle_s;    /* a flow without traffic; 0: 3600 */
	uint32_t ca_hours;  /* life of the CA; the sandbox's TLS ends with it; 0: 25 */
	bool no_http2;	    /* HTTP/2 is offered to neither side */
	/* The authority of a proxy whose successor this is; ca_pem NULL: a new one is made. */
	const char *ca_pem;
	const uint8_t *ca_key; /* as of tlsproxy_ca_key() */
	size_t ca_key_len;
};

/* err gets a sentence (which secret, which file, why). */
must_check int tlsproxy_new(struct loop *loop, const struct tlsproxy_config *cfg,
			    const struct tlsproxy_ops *ops, void *ctx, struct tlsproxy **ret,
			    char *err, size_t err_size);
/* Wipes. Flows that are still open end with flow_done(reset). Not from a callback. */
void tlsproxy_free(struct tlsproxy *tp);
/* The CA certificate, PEM; valid until tlsproxy_free. Never the key. */
const char *tlsproxy_ca_pem(const struct tlsproxy *tp);
/*
 * The CA's key (DER), for a successor: into memory of the caller's that is locked
 * and wiped as the values of secrets are. -ENOBUFS: it is longer than size.
 */
#define TLSPROXY_CA_KEY_MAX 8192
must_check int tlsproxy_ca_key(const struct tlsproxy *tp, uint8_t *out, size_t size, size_t *ret_len);
/* Placeholder of secret i of the present ones. Valid until they are replaced. */
const char *tlsproxy_placeholder(const struct tlsproxy *tp, size_t i);
/* What is looked for in requests: the present secrets, then names that are gone. */
struct tlsproxy_known {
	const char *env, *placeholder; /* valid until they are replaced */
	enum tlsproxy_violation on_violation;
};
/* False: there is no i-th. */
bool tlsproxy_known(const struct tlsproxy *tp, size_t i, struct tlsproxy_known *ret);
/*
 * From the next request on these are the secrets. A name that was there keeps its
 * placeholder and its count of uses, whatever its value is now; what is gone is
 * still recognised, and its placeholder a violation. Former values stay scrubbed from
 * replies for a while. Requests under way keep what they began with. On failure nothing
 * has changed and err says why. Not from a callback but ops.mask.
 */
must_check int tlsproxy_secrets_replace(struct tlsproxy *tp, const struct tlsproxy_secret *secrets,
					size_t n, char *err, size_t err_size);
/*
 * Both descriptors are connected stream sockets, taken over (also on failure).
 * upstream_fd -1, for TLS with a name that is read: nothing was dialled, as one was parked.
 * 0: flow_done will be called once. At max_flows that is at once, before this
 * returns, with reset and a tls_event. Negative (-ENOMEM, ...): the flow never
 * was, and flow_done is not called.
 */
must_check int tlsproxy_flow_start(struct tlsproxy *tp, const struct tlsproxy_flow *f, int guest_fd,
				   int upstream_fd);
/*
 * The answer to ops.dial: fd is connected to `to`, which the rules allow, and taken over; or
 * fd is -1 and why (static text) says what went wrong. A flow that is gone is no error. Not
 * from a callback.
 */
void tlsproxy_flow_dialled(struct tlsproxy *tp, uint64_t id, int fd, const struct endpoint *to,
			   const char *why);
/*
 * The policy is another one: every live flow's TLS name and the requests it is
 * carrying, upgraded connections included, are judged again, those no longer
 * allowed are reset (a tls_event or http_events, then flow_done). Between requests
 * there is nothing to judge: such a flow stays while its TLS name may. TLS sessions
 * of before, towards either side, are not resumed any more. Returns how many flows
 * were reset. Not from a callback.
 */
size_t tlsproxy_rejudge(struct tlsproxy *tp);

/* What waits for a secret's value looks again. Not from a callback. */
void tlsproxy_wake(struct tlsproxy *tp);

/* ---- access tokens ------------------------------------------------------------- */

/*
 * Tokens that are fetched outside the sandbox, RFC 6749: with client credentials (4.4)
 * or a refresh token (6). The caller has the credentials, says when, and dials.
 */
enum tlsproxy_grant { TLSPROXY_CLIENT_CREDENTIALS = 0, TLSPROXY_REFRESH_TOKEN = 1 };
enum tlsproxy_client_auth { TLSPROXY_CLIENT_BASIC = 0, TLSPROXY_CLIENT_POST = 1 }; /* 2.3.1 */
struct tlsproxy_token_request {
	enum tlsproxy_grant grant;
	enum tlsproxy_client_auth auth;
	const char *host, *path; /* of the endpoint: a name in canonical form, a path in origin form */
	uint16_t port;
	const char *client_id;	      /* may be NULL with a refresh token */
	const char *scope, *audience; /* may be NULL */
	const char *secret;	      /* of the client; NULL: a public client */
	size_t secret_len;
	const char *refresh; /* the refresh token */
	size_t refresh_len;
};

/* A server's word on how long a token is good is believed up to this. */
#define TLSPROXY_TOKEN_LIFE_MAX_S (30 * 86400)
struct tlsproxy_token {
	char access[TLSPROXY_SECRET_MAX + 1];
	size_t access_len;
	char refresh[TLSPROXY_SECRET_MAX + 1]; /* another refresh token (rotation), or "" */
	size_t refresh_len;
	uint64_t life_s;
};

/* For handshake and answer together. Stops an endpoint that hangs. */
#define TLSPROXY_FETCH_NS (20 * NS_PER_S)
struct tlsproxy_fetch;
/* token NULL: why says what failed, never quoting the server. The token is wiped afterwards. */
typedef void tlsproxy_fetched_fn(void *ctx, const struct tlsproxy_token *token, const char *why);
/*
 * Asks for a token over fd, a connected stream socket that is taken over (also on
 * failure); TLS is verified for q->host as for any upstream. cb is called once,
 * from the loop, unless cancelled; q is copied.
 */
must_check int tlsproxy_fetch_token(struct tlsproxy *tp, const struct tlsproxy_token_request *q,
				    int fd, tlsproxy_fetched_fn *cb, void *ctx,
				    struct tlsproxy_fetch **ret);
void tlsproxy_fetch_cancel(struct tlsproxy_fetch *f);
/*
 * What a command prints: a token alone, or JSON with "access_token" or "token" and
 * "expires_in" or "expires_at". now_s: seconds of the epoch. -EBADMSG with *ret_why, static.
 */
must_check int tlsproxy_token_read(const void *p, size_t n, uint64_t now_s,
				   struct tlsproxy_token *ret, const char **ret_why);

#endif
