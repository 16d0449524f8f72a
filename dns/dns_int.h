/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of dns/ share. The engine (query, lookup, cache, names) has no
 * sockets and no clock: it reaches the outside through struct dns_upstream,
 * which upstream.c fills in with c-ares and tests with a script.
 */
#ifndef WEIR_DNS_INT_H
#define WEIR_DNS_INT_H

#include "dns/dns.h"

/* ---- limits: every bound of the folder, and what it stops -------------- */

#define DNS_HEADER_LEN 12
#define DNS_WIRE_NAME_MAX 255 /* RFC 1035 2.3.4 */
#define DNS_QUESTION_MAX (DNS_WIRE_NAME_MAX + 4)

/* A name of pointers to pointers: time for the reader. Real ones have one or two. */
#define DNS_MAX_POINTERS 32
/* A 64 KiB answer of 12 byte records, walked once per link of the chain. */
#define DNS_MAX_RECORDS 512
/* CNAME chains without end. The longest seen in the field have ten links. */
#define DNS_MAX_CHAIN 16
/* Text of all names of a chain: memory of the cache. Real ones stay below half. */
#define DNS_MAX_ALIASES 1024
/*
 * An answer of thousands of addresses, judged and copied for every query. No
 * client tries more than a few: the first ones are kept, a subset that is no
 * RRset (RFC 2181 5) but an answer.
 */
#define DNS_MAX_ADDRS 32
/* Records of the other types: a thousand mail exchangers, each a copy in the cache. */
#define DNS_MAX_DATA_RECORDS 64
#define DNS_MAX_DATA ((size_t)14 * 1024) /* of one answer: it fits DNS_REPLY_MAX */
#define DNS_CACHE_DATA ((size_t)4 << 20) /* of all answers remembered */
/* A service record is judged hint by hint. Real ones have one or two of either. */
#define DNS_MAX_SERVICES 16
#define DNS_MAX_HINTS 8 /* of a family */
#define DNS_MAX_ALPN 255
/* Names below a wildcard that share an address: a reverse answer without end. */
#define DNS_MAX_REVERSE 8
/* Sections of a refused query that are looked through for its OPT. */
#define DNS_MAX_REFUSED_RECORDS 16
/* Distinct names asked once each: memory. The least recently used one goes. */
#define DNS_CACHE_ENTRIES 4096
/* Queries that an upstream does not answer pile up: memory of c-ares. */
#define DNS_MAX_ASKS 2048
#define DNS_DEFAULT_PENDING 512
/* One part in so many of those is kept from datagrams, and one from connections. */
#define DNS_SHARE_KEPT 4
#define DNS_DEFAULT_NAMES 65536
#define DNS_DEFAULT_TIMEOUT_MS 5000
#define DNS_DEFAULT_GRACE_S 300
/* Flows waiting for a name to be resolved, beside the guest's own queries. */
#define DNS_MAX_LOOKUPS 4096
/* One name that rotates addresses must not push out the pins of all others. */
#define DNS_PINS_PER_NAME 64
/* Thousands of names below a wildcard, all at one address: work for every flow to it. */
#define DNS_PINS_PER_ADDR 256
/* Candidates looked at when a pin has to go: a bound on the work per answer. */
#define DNS_EVICT_SCAN 16
/* A guest that opens connections and says nothing holds descriptors. */
#define DNS_TCP_CONNS 128
/* A guest that pipelines without reading: memory for replies not taken. */
#define DNS_TCP_OUTSTANDING 32
#define DNS_TCP_OUT_PAUSE ((size_t)64 * 1024)
/* Whatever those under way are answered with fits: no reply is lost to the bound. */
#define DNS_TCP_OUT_CAP (DNS_TCP_OUT_PAUSE + DNS_TCP_OUTSTANDING * (size_t)(2 + DNS_REPLY_MAX))
#define DNS_TCP_IDLE_NS (30 * NS_PER_S)
#define DNS_MAX_UPSTREAMS 16
/* A question goes to several servers when the first are silent: memory of c-ares. */
#define DNS_MAX_TRIES (2 * DNS_MAX_ASKS)
/* A server that is silent is tried again beside other questions. */
#define DNS_PROBE_MIN_NS (1 * NS_PER_S)
#define DNS_PROBE_MAX_NS (60 * NS_PER_S)

/*
 * Questions below many domains: memory. All budgets together admit 2 * 16 * 256
 * names within one refill time, hence no more domains in use unless set higher.
 */
#define DNS_BUDGET_DOMAINS 8192
/* All domains together, as a multiple of one: a default of allow and many domains of one owner. */
#define DNS_BUDGET_ALL_FACTOR 16
/* Names that may be asked again as questions only; each doubling is one more bit a question. */
#define DNS_BUDGET_KNOWN_FACTOR 4
#define DNS_BUDGET_KNOWN 65536
#define DNS_BUDGET_REFILL_MAX_S 604800
/* Of a domain in a refusal's text, which has 160 bytes. */
#define DNS_BUDGET_SHOWN 32

/* Times. Upstream's TTL 0 still serves the flow that follows the answer. */
#define DNS_TTL_MIN_S 1
/* An attacker's year-long TTL must not outlive the truth by more than this. */
#define DNS_TTL_MAX_S 3600
#define DNS_NEGATIVE_MAX_S 300
/* RFC 9520: a failing upstream is not hammered, and is forgiven soon. */
#define DNS_FAILURE_S 1u
#define DNS_FAILURE_DOUBLINGS 3u
#define DNS_FAILURE_MEMORY_NS (30 * NS_PER_S)
/* RFC 8767 5: client response timer, TTL of stale data, failure recheck timer, maximum. */
#define DNS_STALE_WAIT_NS (1800 * NS_PER_MS)
#define DNS_STALE_TTL_S 30u
#define DNS_STALE_RETRY_S 30
#define DNS_STALE_MAX_S 604800
#define DNS_VIRTUAL_TTL_S 60
#define DNS_RECORD_TTL_S 60
#define DNS_DENIED_TTL_S 10
#define DNS_LOCAL_EMPTY_TTL_S 60
/* RFC 8305 3, Resolution Delay: how long one family waits for the other. */
#define DNS_FAMILY_WAIT_NS (50 * NS_PER_MS)

/* UDP: RFC 6891 6.2.3 floor; ceiling that never fragments (DNS flag day 2020). */
#define DNS_UDP_MIN 512
#define DNS_UDP_MAX 1232
#define DNS_REPLY_MAX 16384 /* TCP: header, question, DNS_MAX_DATA in records, OPT */
#define DNS_ASK_MAX 512	    /* header, question, OPT */

enum {
	DNS_TYPE_A = 1,
	DNS_TYPE_CNAME = 5,
	DNS_TYPE_SOA = 6,
	DNS_TYPE_PTR = 12,
	DNS_TYPE_HINFO = 13,
	DNS_TYPE_MX = 15,
	DNS_TYPE_TXT = 16,
	DNS_TYPE_AAAA = 28,
	DNS_TYPE_SRV = 33,
	DNS_TYPE_OPT = 41,
	DNS_TYPE_SVCB = 64,
	DNS_TYPE_HTTPS = 65,
	DNS_TYPE_IXFR = 251,
	DNS_TYPE_AXFR = 252,
	DNS_TYPE_ANY = 255,
	DNS_CLASS_IN = 1,
};

enum {
	DNS_RCODE_NOERROR = 0,
	DNS_RCODE_FORMERR = 1,
	DNS_RCODE_SERVFAIL = 2,
	DNS_RCODE_NXDOMAIN = 3,
	DNS_RCODE_NOTIMP = 4,
	DNS_RCODE_REFUSED = 5,
	DNS_RCODE_BADVERS = 16,
};

/* RFC 8914. */
enum {
	DNS_EDE_NONE = -1,
	DNS_EDE_OTHER = 0,
	DNS_EDE_STALE = 3,
	DNS_EDE_NOT_READY = 14,
	DNS_EDE_BLOCKED = 15,
	DNS_EDE_FILTERED = 17,
	DNS_EDE_STALE_NXDOMAIN = 19,
	DNS_EDE_NOT_SUPPORTED = 21,
	DNS_EDE_NO_REACHABLE_AUTHORITY = 22,
	DNS_EDE_NETWORK_ERROR = 23,
};

/* ---- msg.c: names, headers and queries ----------------------------------- */

/* A name as on the wire: uncompressed labels, ASCII letters lowered, with the root label. */
struct dns_wname {
	uint8_t len;
	uint8_t b[DNS_WIRE_NAME_MAX];
};

/* A message being read. at is an offset, because names point into the whole. */
struct dns_msg {
	const uint8_t *p;
	size_t len;
	size_t at;
};

struct dns_header {
	uint16_t id;
	uint16_t flags;
	uint16_t qd, an, ns, ar;
};

#define DNS_FLAG_QR 0x8000u
#define DNS_FLAG_TC 0x0200u
#define DNS_FLAG_RD 0x0100u
#define DNS_FLAG_RA 0x0080u
#define DNS_FLAG_CD 0x0010u
#define DNS_FLAG_OPCODE 0x7800u
#define DNS_FLAG_RCODE 0x000fu

/* One resource record; rdata is the range [rdata, rdata + rdlen) of the message. */
struct dns_rr {
	struct dns_wname owner;
	uint16_t type, class;
	uint32_t ttl;
	size_t rdata;
	uint16_t rdlen;
};

must_check bool dns_header_read(struct dns_msg *m, struct dns_header *ret);
/* Advances m past the name. pointers false: a compressed name is malformed. */
must_check bool dns_name_read(struct dns_msg *m, bool pointers, struct dns_wname *ret);
must_check bool dns_rr_read(struct dns_msg *m, struct dns_rr *ret);
bool dns_wname_equal(const struct dns_wname *a, const struct dns_wname *b);
/* True when n is zone or below it. */
bool dns_wname_in_zone(const struct dns_wname *n, const struct dns_wname *zone);
void dns_wname_from(const struct name *n, struct dns_wname *ret);
/* "_8443._https.host": the host, without the labels of the service. False: it has none. */
must_check bool dns_wname_host(const struct dns_wname *n, struct dns_wname *ret);
/* The host name it spells; -EINVAL when it is not a canonical one. */
must_check int dns_wname_to(const struct dns_wname *w, struct name *ret);

/* What a query said, once it was found well-formed. */
struct dns_request {
	uint16_t id;
	uint16_t copied_flags; /* RD, CD and opcode */
	uint16_t qtype, qclass;
	struct dns_wname qname;
	uint8_t question[DNS_QUESTION_MAX]; /* as sent, case included */
	uint16_t question_len;		    /* 0: none was readable */
	bool edns;
	uint8_t edns_version;
	uint16_t udp_size;
};

/*
 * 0: well-formed. > 0: the rcode to refuse it with. < 0: may not be answered.
 * Fills what could be read in any case; *ret_why says what was wrong.
 */
must_check int dns_request_read(const uint8_t *msg, size_t len, struct dns_request *ret,
				const char **ret_why);

/* Bounded output. Appending beyond cap sets full and writes nothing. */
struct dns_out {
	uint8_t *p;
	size_t len, cap;
	bool full;
};
void dns_put(struct dns_out *o, const void *p, size_t n);
void dns_put_u8(struct dns_out *o, uint8_t v);
void dns_put_be16(struct dns_out *o, uint16_t v);
void dns_put_be32(struct dns_out *o, uint32_t v);

/* ---- reply.c: what is sent ------------------------------------------------ */

/* Records of one type in a row, each two bytes of length and its rdata. */
struct dns_data {
	uint16_t type;
	uint16_t n;
	size_t len;
	const uint8_t *p;
};

struct dns_reply {
	uint16_t rcode; /* 12 bits */
	const struct ip_addr *addrs;
	size_t n_addrs;
	struct dns_data data;
	uint32_t ttl;
	bool soa; /* negative: a synthetic SOA carries soa_ttl (RFC 2308) */
	uint32_t soa_ttl;
	int ede; /* DNS_EDE_NONE */
	const char *ede_text, *ede_id;
};

/* Never fails: what does not fit in limit is truncated (TC). Returns the length. */
size_t dns_reply_build(const struct dns_request *rq, const struct dns_reply *r, size_t limit,
		       uint8_t out[static DNS_REPLY_MAX]);
/* The query for upstream: built anew from the canonical name, nothing of the guest in it. */
size_t dns_ask_build(uint16_t id, const struct name *n, uint16_t type, bool edns,
		     uint8_t out[static DNS_ASK_MAX]);

/* ---- edns.c: the OPT record (RFC 6891) and extended errors (RFC 8914) --- */

/* False: the options do not add up. */
must_check bool dns_opt_check(const struct dns_msg *m, const struct dns_rr *rr);
void dns_put_opt(struct dns_out *o, uint16_t udp_size, uint16_t rcode, int ede, const char *text,
		 const char *id);

/* ---- rdata.c: records that are not addresses ------------------------------ */

/* Types that rdata.c reads: MX, SRV, TXT, SVCB, HTTPS. */
bool dns_type_is_data(uint16_t type);
/* Those of a service (RFC 9460): SVCB and HTTPS. */
bool dns_type_is_service(uint16_t type);

enum dns_rdata {
	DNS_RDATA_LEFT_OUT = 0, /* of no use here: the others count */
	DNS_RDATA_KEPT = 1,
	DNS_RDATA_ALIAS = 2, /* AliasMode: with it no record of the set counts (RFC 9460 2.4.1) */
};
/* Checks one record of an answer about asked and appends its rdata, rebuilt, to o; -EPROTO: malformed. */
must_check int dns_rdata_read(const struct dns_msg *m, const struct dns_rr *rr,
			      const struct dns_wname *asked, struct dns_out *o);

/* ---- svcb.c: service records (RFC 9460) ------------------------------------ */

enum {
	DNS_SVCB_MANDATORY = 0,
	DNS_SVCB_ALPN = 1,
	DNS_SVCB_NO_DEFAULT_ALPN = 2,
	DNS_SVCB_PORT = 3,
	DNS_SVCB_IPV4HINT = 4,
	DNS_SVCB_ECH = 5,
	DNS_SVCB_IPV6HINT = 6,
};

/* What is kept of one. */
struct dns_svcb {
	uint16_t priority;
	bool of_host; /* TargetName: the host of the asked name; else the asked name, "." on the wire */
	uint8_t keys, mandatory; /* a bit for each key */
	uint16_t port;
	uint8_t alpn_len;
	uint8_t alpn[DNS_MAX_ALPN];
	uint8_t n_hints;
	struct ip_addr hints[2 * DNS_MAX_HINTS]; /* IPv4 first */
};

/*
 * owner: of the record, which its target may spell out; asked: the name of the
 * question, whose host it may be. Result as dns_rdata_read().
 */
must_check int dns_svcb_read(const uint8_t *rdata, size_t len, const struct dns_wname *owner,
			     const struct dns_wname *asked, struct dns_svcb *ret);
/* Takes HTTP/3 out of what is offered. */
void dns_svcb_no_quic(struct dns_svcb *s);
/* False: with what was taken out of it the record must not be used. */
bool dns_svcb_usable(const struct dns_svcb *s);
void dns_svcb_put(struct dns_out *o, const struct dns_svcb *s, const struct dns_wname *asked);

/* ---- answer.c: what upstream said --------------------------------------- */

enum dns_found {
	DNS_FOUND_ADDRS = 1, /* records of the asked type, be it addresses or data */
	DNS_FOUND_NODATA = 2,
	DNS_FOUND_NXDOMAIN = 3,
	DNS_FOUND_FAILED = 4,
};

struct dns_rrset {
	enum dns_found found;
	/* FAILED: -ETIMEDOUT, -EIO, -EPROTO (unreadable), -EMSGSIZE (a bound), -EREMOTEIO (its rcode) */
	int error;
	uint32_t ttl; /* the least of the chain; negative: from the SOA */
	unsigned n_addrs;
	struct ip_addr addrs[DNS_MAX_ADDRS];
	uint8_t *row; /* owned, of data; see dns_rrset_fini() */
	struct dns_data data;
	bool left_out; /* records of the type were there that are not kept */
	/* The targets of the chain's CNAMEs in order, each with its NUL. */
	uint16_t aliases_len;
	char aliases[DNS_MAX_ALIASES];
};

/* Reads an answer to (name, type). Whatever does not fit the question is FAILED. */
void dns_answer_read(const uint8_t *msg, size_t len, const struct name *n, uint16_t type,
		     struct dns_rrset *ret);
void dns_rrset_fini(struct dns_rrset *rr);
must_check int dns_rrset_copy(const struct dns_rrset *from, struct dns_rrset *ret);

/* ---- the outside, as the engine sees it --------------------------------- */

struct dns_ask {
	struct name name;
	uint16_t type;
};

struct dns_upstream {
	/*
	 * Ask upstream. On 0, dns_upstream_done() follows exactly once, not
	 * before ask has returned; *a lives until then.
	 */
	int (*ask)(void *up, struct dns_ask *a);
	uint64_t (*now)(void *up);
	/* Call dns_tick() at this time; replaces what was set before; 0: not at all. */
	void (*wake)(void *up, uint64_t when);
	/* After this no call into the engine. */
	void (*free)(void *up);
	/* dns_set_upstreams(), its arguments checked. NULL: cannot. */
	int (*set)(void *up, const struct endpoint *e, size_t n);
};

/* error 0: msg is the answer as received; else -ETIMEDOUT, -EIO, -EREMOTEIO. */
void dns_upstream_done(struct dns *d, struct dns_ask *a, int error, const uint8_t *msg, size_t len);
void dns_tick(struct dns *d);

/* health.c: whether a server answers, and whom to ask first. */
struct dns_health {
	unsigned fails; /* in a row; 0: it answers, as far as is known */
	uint64_t failed_at;
	uint64_t probe_at; /* when it may be tried again */
	bool probing;
};
void dns_health_answered(struct dns_health *h);
/* A question that was put at asked_at has come to nothing. */
void dns_health_failed(struct dns_health *h, uint64_t asked_at, uint64_t now);
/* Of n servers in order of preference, the next to ask; bits of tried: not this one. -1: none. */
int dns_health_next(const struct dns_health *const h[], size_t n, uint32_t tried);
/* The one that should be tried again by now, or -1. */
int dns_health_probe(const struct dns_health *const h[], size_t n, uint64_t now);

/* upstream.c. *d need not be usable before the first ask. */
must_check int dns_cares_new(struct loop *loop, struct dns *d, const struct dns_config *cfg,
			     void **ret_up);
extern const struct dns_upstream dns_cares;

/* dns.c. loop may be NULL when dns_serve_tcp is not used. up is taken over. */
must_check int dns_new_with(struct loop *loop, const struct dns_config *cfg,
			    const struct dns_ops *ops, void *ctx, const struct dns_upstream *up_ops,
			    void *up, struct dns **ret);

/* ---- cache.c: one entry per (name, type) that was asked ----------------- */

struct dns_entry {
	struct hmap_node node;
	struct list lru;     /* in dns_cache.lru when answered and in the table */
	struct list waiters; /* struct dns_wait, while pending */
	struct dns_ask ask;
	bool pending;
	bool in_table;
	bool exact; /* the policy spells the name out: no budget */
	unsigned refs;
	uint64_t asked, expires;
	struct dns_rrset rr;
	/* Serve-stale; see cache.c. */
	bool stale;	      /* rr has outlived its TTL */
	uint8_t fails;	      /* failures before this one */
	uint64_t stale_until; /* of rr, when it is no failure */
	struct dns_entry *old;
	struct list slow; /* in dns_cache.slow, while those who wait do not get old */
	uint64_t slow_at;
};

struct dns_cache {
	struct hmap table;
	struct pool pool;
	struct list lru;      /* least recently used first */
	struct list replaced; /* dns_entry.lru of the old ones that pending ones have */
	struct list slow;     /* pending ones that have an old answer, by slow_at */
	size_t asks;	      /* under way */
	size_t data;	      /* bytes of dns_rrset.data in all entries */
};

must_check int dns_cache_init(struct dns *d);
void dns_cache_fini(struct dns *d);
/* The current entry, asked for when there is none. NULL: over a limit. */
struct dns_entry *dns_entry_get(struct dns *d, const struct name *n, uint16_t type, bool exact);
/* Frees it when nothing holds it any more. */
void dns_entry_release(struct dns *d, struct dns_entry *e);
/* e->rr is what upstream said: it is pending no more. */
void dns_entry_answered(struct dns *d, struct dns_entry *e);
/* Back below DNS_CACHE_DATA, as far as nobody is reading. */
void dns_cache_trim(struct dns *d);

/* ---- gather.c: who waits for entries --------------------------------------- */

struct dns_wait {
	struct list link; /* in dns_entry.waiters */
	struct dns_entry *entry;
	struct dns_gather *gather;
};

/*
 * The results for one name, one or both families. done is called once, maybe
 * before start returns; it reads the entries and then calls dns_gather_end().
 */
struct dns_gather {
	struct dns *d;
	struct dns_wait wait[2];
	unsigned n_wait, pending;
	bool exact;	   /* set before dns_gather_start(): see dns_entry */
	struct list grace; /* in dns.grace: one family is here, the other is awaited */
	uint64_t grace_at;
	void (*done)(struct dns_gather *g);
};

void dns_gather_start(struct dns *d, struct dns_gather *g, const struct name *n,
		      const uint16_t *types, unsigned n_types, void (*done)(struct dns_gather *g));
/* What a gather of these would take. */
enum dns_need {
	DNS_NEED_NOTHING = 0,
	DNS_NEED_WAIT = 1, /* for what others have asked */
	DNS_NEED_ASK = 2,  /* a question to upstream */
};
enum dns_need dns_gather_needs(struct dns *d, const struct name *n, const uint16_t *types,
			       unsigned n_types);
/* Was one of these last asked for a query whose name the policy spells out? */
bool dns_cache_exact(struct dns *d, const struct name *n, const uint16_t *types, unsigned n_types);
/* The next moment at which somebody has waited long enough. */
void dns_set_wake(struct dns *d);
/* Lets go of the entries; also abandons a gather that is under way. */
void dns_gather_end(struct dns_gather *g);
/* Is any of the answers past its TTL? */
bool dns_gather_stale(const struct dns_gather *g);
/* Other servers: what the old ones failed at is asked again. */
void dns_cache_forget_failures(struct dns *d);
/* Seconds the answer may still be used. */
uint32_t dns_entry_ttl(const struct dns *d, const struct dns_entry *e);

/* ---- lookup.c: a gather's sum, and dns_resolve -------------------------- */

struct dns_sum {
	struct ip_addr addrs[2 * DNS_MAX_ADDRS]; /* those that passed judge_answer */
	size_t n_addrs;
	struct ip_addr filtered[2 * DNS_MAX_ADDRS]; /* those that did not */
	size_t n_filtered;
	bool nxdomain;
	bool alias_denied;	  /* by judge_alias; then there are no addrs */
	int error;		  /* of a failed family, else 0 */
	uint32_t ttl;		  /* least of the answered entries */
	struct dns_denial denial; /* of the last filtered address */
};

void dns_sum_up(struct dns *d, const struct dns_gather *g, const struct dns_question *q,
		struct dns_sum *ret);

struct dns_lookup {
	struct dns_gather g;
	struct dns_question q;
	dns_addrs_fn *cb;
	void *user;
	bool *ended; /* set when it ends before dns_resolve() has returned */
};

/* ---- names.c: virtual addresses, static records ------------------------- */

struct dns_names {
	struct hmap virt_by_name;
	struct dns_virt **virt; /* by number */
	size_t n_virt, virt_size, virt_limit;
	struct ip_prefix virt4, virt6;

	struct dns_record *records; /* sorted by name */
	size_t n_records;
	struct dns_record own[DNS_OWN_MAX];
	size_t n_own;
	struct ip_prefix own_nets[2];
};

must_check int dns_names_init(struct dns *d, const struct dns_config *cfg);
void dns_names_fini(struct dns *d);
/* The virtual address of this family for a name; -ENOSPC when none is left, -ENODATA without a range. */
must_check int dns_virtual_get(struct dns *d, const struct name *n, int family, struct ip_addr *ret);
/* Static records of a name; 0 when there are none. */
size_t dns_records_of(const struct dns *d, const struct name *n, const struct dns_record **ret);

/* ---- pins.c: names of real addresses ------------------------------------- */

struct dns_pins {
	struct hmap names, addrs;
	struct list all; /* least recently given first */
	size_t count, limit;
};

must_check int dns_pins_init(struct dns *d, size_t limit);
void dns_pins_fini(struct dns *d);
/* The guest was given a for n. */
void dns_pin(struct dns *d, const struct name *n, const struct ip_addr *a, uint32_t ttl);

/* ---- budget.c: what may leave in names ------------------------------------ */

/* When each bucket is full again. */
struct dns_buckets {
	uint64_t names, bytes, queries;
};

struct dns_budgets {
	struct dns_budget cfg; /* with its defaults filled in */
	struct psl_ctx_st *psl;
	struct hmap domains, known;
	struct pool domain_pool, known_pool;
	struct list lru;
	struct dns_buckets all;
};

must_check int dns_budget_init(struct dns *d, const struct dns_budget *cfg);
void dns_budget_fini(struct dns *d);
/*
 * May this question go upstream? True: it is charged, as a question only when the
 * name is known or was given before. False: *ret_denial.text says why.
 */
bool dns_budget_take(struct dns *d, const struct name *n, bool given, struct dns_denial *ret_denial);

/* ---- arpa.c: reverse names ------------------------------------------------- */

/* "4.3.2.1.in-addr.arpa" and its ip6.arpa sibling; false: some other name. */
bool dns_arpa_addr(const struct name *n, struct ip_addr *ret);
/* Is it, or is it below, the reverse of a network that has no meaning outside (RFC 6303)? */
bool dns_arpa_local(const struct name *n);

/* ---- special.c: names that are nobody's upstream (RFC 6761) ------------------ */

enum dns_special {
	DNS_SPECIAL_NO = 0,
	DNS_SPECIAL_LOOPBACK = 1, /* the guest itself */
	DNS_SPECIAL_NXDOMAIN = 2,
	DNS_SPECIAL_EMPTY = 3, /* there is such a name, without any record */
	DNS_SPECIAL_LOCAL = 4, /* a network's own: NXDOMAIN, unless the policy spells it out */
};
enum dns_special dns_special_of(const struct name *n);

/* ---- query.c: the life of a query ------------------------------------------------------ */

struct dns_query {
	struct dns_gather g;
	struct dns *d;
	struct dns_request rq;
	struct dns_question q;
	dns_reply_fn *reply;
	void *user;
	bool *ended;  /* set when it ends before dns_query() has returned, NULL afterwards */
	bool waiting; /* counted in dns.n_waiting */
};

/* Of the two shares of the queries that may wait, the one that this takes of. */
static inline unsigned dns_query_share(const struct dns_query *q)
{
	return q->q.transport != DNS_UDP;
}

/* ---- ending.c: the ends of a query --------------------------------------------------- */

struct dns_ending {
	enum dns_result result;
	struct dns_reply reply;
	const struct ip_addr *answers; /* for the event */
	size_t n_answers;
	const struct ip_addr *given;
	const char *denial_id;
	const char *detail;
};
struct dns_ending dns_ending(enum dns_result result, uint16_t rcode, int ede, const char *text);
/* Each of these is a query's end: it replies and reports, and q is invalid afterwards. */
void dns_finish(struct dns_query *q, const struct dns_ending *e);
void dns_finish_empty(struct dns_query *q, uint32_t ttl, int ede, const char *why);
void dns_finish_nxdomain(struct dns_query *q, uint32_t ttl, int ede, const char *why);
void dns_finish_refused(struct dns_query *q, uint16_t rcode, int ede, const char *why);
void dns_finish_denied(struct dns_query *q, enum dns_result result, int ede,
		       struct dns_denial *denial, const struct ip_addr *addrs, size_t n);
void dns_finish_failed(struct dns_query *q, int error);
/* Without a word: its last moment, nothing of it is in use any more. */
void dns_query_put(struct dns_query *q);

/* ---- local.c: answers that nobody else need be asked for ------------------- */

/* False: neither a name of the sandbox's own network nor the reverse of an address of it. */
bool dns_finish_own(struct dns_query *q);
/* False: not the reverse of an address that was given out. */
bool dns_finish_reverse(struct dns_query *q);
void dns_finish_records(struct dns_query *q, const struct dns_record *rec, size_t n);
void dns_finish_special(struct dns_query *q, enum dns_special what);
void dns_finish_any(struct dns_query *q);

/* ---- data.c: answers that are not addresses -------------------------------- */

void dns_finish_data(struct dns_query *q, struct dns_sum *s, const struct dns_data *data);

/* ---- tcp.c ------------------------------------------------------------------ */

void dns_tcp_close_all(struct dns *d);

struct dns {
	struct loop *loop;
	struct dns_ops ops;
	void *ctx;
	enum dns_mode mode;
	uint32_t pin_grace_s, stale_s;
	bool no_quic;
	struct hash_key key;
	const struct dns_upstream *up_ops;
	void *up;
	struct dns_cache cache;
	struct dns_names names;
	struct dns_pins pins;
	struct dns_budgets budgets;
	struct list grace;
	struct pool query_pool, lookup_pool;
	size_t max_pending;
	size_t n_waiting[2]; /* queries: by UDP, by connections */
	struct list conns;
	size_t n_conns;
	uint64_t tcp_idle_ns;
};

static inline uint64_t dns_now(const struct dns *d)
{
	return d->up_ops->now(d->up);
}

#endif
