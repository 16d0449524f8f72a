/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns: the sandbox's resolver. Every query is judged before a packet leaves,
 * answered from static records, or asked upstream through c-ares; what was
 * answered is remembered, so that a later flow has a name.
 *
 * virtual answers: one address of weir's own per name, stable for the
 * sandbox's life; real answers: the addresses themselves, remembered for the
 * TTL plus a grace. Wire behaviour per RFC 1035, 2181, 2308, 6891, 7766, 8906,
 * 8914 (extended errors).
 *
 * It does not know policy: it asks through dns_ops. Guest bytes are hostile.
 */
#ifndef WEIR_DNS_H
#define WEIR_DNS_H

#include "base/base.h"

struct dns;

enum dns_mode { DNS_VIRTUAL = 0, DNS_REAL = 1 };
enum dns_transport { DNS_UDP = 0, DNS_TCP = 1, DNS_TLS = 2 /* DoT, read by the tlsproxy */ };

/* A name with fixed addresses (--dns-record NAME=IP); several lines may share a name. */
struct dns_record {
	struct name name;
	struct ip_addr addr;
};

/*
 * What may leave the machine in names below one registrable domain (public
 * suffix list, private section included): the names themselves are a channel.
 * Only questions that go upstream count, and only those whose name the policy
 * does not spell out (judge_query's *ret_exact). A budget fills up again to its
 * size within refill_s.
 */
struct dns_budget {
	bool off;
	uint32_t names;	   /* distinct names; 0: 256 */
	uint32_t bytes;	   /* of those names, above the registrable domain; 0: 6144 */
	uint32_t queries;  /* questions, repeated ones too; 0: 2048 */
	uint32_t refill_s; /* 0: 600 */
};

#define DNS_OWN_MAX 16

struct dns_config {
	enum dns_mode mode;
	const struct endpoint *upstreams; /* copied; in order of preference, at most 16 */
	size_t n_upstreams;
	/*
	 * Copied; answered as they are, never virtual. At most 32 for one name
	 * (-E2BIG), none in the virtual ranges (-EINVAL).
	 */
	const struct dns_record *records;
	size_t n_records;
	struct ip_prefix virtual4, virtual6;
	/*
	 * Names of the sandbox's own network, its gateway's and its own: copied, at most
	 * DNS_OWN_MAX (-E2BIG). Whoever asks may know them, so nobody is asked about
	 * them, and the reverse of all of own_nets is answered from here. An operator's
	 * record of the same name comes first.
	 */
	const struct dns_record *own;
	size_t n_own;
	struct ip_prefix own_nets[2]; /* family 0: none */
	uint32_t timeout_ms;	      /* per upstream attempt; 0: 5000 */
	uint32_t max_names;	      /* names remembered; 0: 65536 */
	/* Queries that wait for upstream; 0: 512. Of UDP or of TCP and TLS three quarters at most. */
	uint32_t max_pending;
	uint32_t pin_grace_s; /* real mode, beyond the TTL; 0: 300 */
	uint32_t stale_s; /* serve-stale (RFC 8767), beyond the TTL when upstream fails; 0: off */
	bool no_quic;	  /* HTTP/3 would be refused: HTTPS records do not offer it */
	struct dns_budget budget;
};

/* One query as it was understood; name is canonical. */
struct dns_question {
	struct name name;
	uint16_t type;
	enum dns_transport transport;
	struct endpoint guest;	/* who asked */
	struct endpoint server; /* whom it thought it asked */
};

enum dns_result {
	DNS_ANSWERED = 1, /* records were given */
	DNS_EMPTY = 2,	  /* NODATA: the type is not served, or upstream had none */
	DNS_NXDOMAIN = 3, /* upstream said so */
	DNS_DENIED = 4,	  /* policy: NXDOMAIN with EDE 15 Blocked */
	DNS_REBIND = 5,	  /* every answer was filtered: NXDOMAIN with EDE 17 Filtered */
	DNS_FAILED = 6,	  /* upstream failed: SERVFAIL with EDE 22/23 */
	DNS_REFUSED = 7,  /* malformed, not a host name, or over a limit; detail says which */
	DNS_BUDGET = 8,	  /* the suffix's budget is used up: as DENIED, detail says which part */
};

struct dns_event {
	const struct dns_question *q; /* name.len 0 when it could not be read */
	enum dns_result result;
	const struct ip_addr *answers; /* real addresses, hints too; of REBIND: those filtered */
	size_t n_answers;
	const struct ip_addr *given; /* what the guest got, when virtual; else NULL */
	const char *denial_id;	     /* for DENIED, REBIND and BUDGET */
	const char *detail;	     /* static text: why refused or failed; may be NULL */
	void *decision;		     /* NULL: judge_query has no way to give one */
};

/* A refusal's texts, which end up in the extended error. */
struct dns_denial {
	char id[40];	/* denial id */
	char text[160]; /* short, printable: "denied by rule no-evil" */
};

/* The detail of what was answered from dns_config.own: no rule had a say. */
extern const char dns_own_detail[];

struct dns_ops {
	/*
	 * May this name be asked? False: *ret_denial is filled. True: *ret_exact says
	 * that the policy spells this very name out, so that it needs no budget.
	 */
	bool (*judge_query)(void *ctx, const struct dns_question *q, bool *ret_exact,
			    struct dns_denial *ret_denial);
	/* May this address be an answer (rebinding)? False: *ret_denial is filled. */
	bool (*judge_answer)(void *ctx, const struct dns_question *q, const struct ip_addr *a,
			     struct dns_denial *ret_denial);
	/* One per query that was answered or refused. */
	void (*event)(void *ctx, const struct dns_event *e);
	/*
	 * May be NULL: any alias may. May the answer go by way of this name, the
	 * target of a CNAME? False: the whole answer is refused, *ret_denial is filled.
	 */
	bool (*judge_alias)(void *ctx, const struct dns_question *q, const struct name *alias,
			    struct dns_denial *ret_denial);
	/*
	 * May be NULL: none may. May MX, SRV or TXT be asked of this name? A, AAAA,
	 * HTTPS and SVCB always may; every other type is answered with NODATA here.
	 */
	bool (*judge_type)(void *ctx, const struct dns_question *q);
	/* May be NULL. Texts of a refusal that is the resolver's own (a budget): its denial id. */
	void (*new_denial_id)(void *ctx, char ret[static 40]);
};

must_check int dns_new(struct loop *loop, const struct dns_config *cfg, const struct dns_ops *ops,
		       void *ctx, struct dns **ret);
/*
 * Outstanding replies and lookups are dropped: their callbacks are not called.
 * Queries on TCP connections that were still open are reported by event().
 */
void dns_free(struct dns *d);

/*
 * Other upstreams from now on, in order of preference (at most 16, copied; -EINVAL: more,
 * or one without address or port). What is under way is asked of them as well, and may
 * still be answered by the old ones; failures are forgotten. Opens no file.
 */
must_check int dns_set_upstreams(struct dns *d, const struct endpoint *upstreams, size_t n);

/*
 * One query message from the guest. reply is called exactly once, now or
 * later, with the response message (len 0: nothing is to be sent, which only
 * happens for messages that may not be answered, RFC 8906, or when memory is short). Truncated to what the
 * transport and the query's EDNS size allow. Returns a handle for
 * dns_query_cancel() while the reply is outstanding, else NULL.
 */
struct dns_query;
typedef void dns_reply_fn(void *user, const uint8_t *msg, size_t len);
struct dns_query *dns_query(struct dns *d, const uint8_t *msg, size_t len, enum dns_transport t,
			    const struct endpoint *guest, const struct endpoint *server,
			    dns_reply_fn *reply, void *user);
void dns_query_cancel(struct dns_query *q); /* reply will not be called */

/*
 * One TCP connection from the guest, or what is inside a TLS one (RFC 7766, RFC
 * 7858: length-prefixed, pipelined, idle timeout 30 s). fd is a non-blocking
 * stream socket, taken over: on failure (-EMFILE at 128 connections) it is closed.
 */
must_check int dns_serve_tcp(struct dns *d, int fd, enum dns_transport t,
			     const struct endpoint *guest, const struct endpoint *server);

/* ---- names of addresses -------------------------------------------------- */

/* True when a lies in the virtual ranges (whether or not it was handed out). */
bool dns_is_virtual(const struct dns *d, const struct ip_addr *a);
/* The name a virtual address stands for; false: never handed out. */
bool dns_virtual_name(const struct dns *d, const struct ip_addr *a, struct name *ret);
/* Real mode: names this sandbox was given `a` for and that have not expired. */
size_t dns_names_of(struct dns *d, const struct ip_addr *a, struct name *ret, size_t max);
/*
 * Real mode: a flow to this address begins, or ends. While one lives, the names
 * the address has been given out for do not expire; then a grace begins anew.
 */
void dns_hold(struct dns *d, const struct ip_addr *a);
void dns_release(struct dns *d, const struct ip_addr *a);

/*
 * The real addresses behind a name, for dialling: remembered while the TTL
 * lasts, else asked again. cb gets addresses that passed judge_answer, IPv4
 * and IPv6, upstream's order; n 0 with error -ENOENT (no such name),
 * -ENODATA (it has none), -EPERM (none may be used), -EDQUOT (its budget is used up),
 * -ETIMEDOUT, -EIO. May be called before return: then NULL is returned. judge_query
 * is not asked (the flow's name was judged), judge_answer is, with a question
 * without endpoints. Static records are given as they are.
 */
typedef void dns_addrs_fn(void *user, int error, const struct ip_addr *addrs, size_t n);
struct dns_lookup;
struct dns_lookup *dns_resolve(struct dns *d, const struct name *n, dns_addrs_fn *cb, void *user);
void dns_resolve_cancel(struct dns_lookup *l);

/* ---- messages of others -------------------------------------------------- */

/* What a message in a packet capture says; see dns_peek(). */
#define DNS_PEEK_ADDRS 32
#define DNS_PEEK_ALIASES 16
struct dns_peek {
	bool response;
	bool has_name; /* what is asked for is a host name */
	struct name name;
	uint16_t type;
	struct ip_addr reverse; /* the address that an arpa name stands for; else family 0 */
	struct name aliases[DNS_PEEK_ALIASES]; /* of a response: the CNAMEs on the way */
	size_t n_aliases;
	struct ip_addr addrs[DNS_PEEK_ADDRS]; /* of a response: for the name or its last alias */
	size_t n_addrs;
};
/* A pure function over hostile bytes. False: not a standard query or response with one question. */
bool dns_peek(const uint8_t *msg, size_t len, struct dns_peek *ret);

#endif
