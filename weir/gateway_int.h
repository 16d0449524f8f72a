/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the gateway process. */
#ifndef WEIR_GATEWAY_INT_H
#define WEIR_GATEWAY_INT_H

#include "weir/addresses.h"
#include "weir/dial.h"
#include "weir/gateway.h"
#include "weir/gateway_dns_repeats.h"
#include "weir/judge.h"
#include "weir/record.h"

/* What a flow needs beyond policy's word: names an address was handed out for. */
#define FLOW_CANDIDATES 8
/* A client that must speak first before a decision can be made has this long. */
#define FIRST_BYTES_WAIT (10 * NS_PER_S)
/* A client that sent a few bytes which could begin a request, and then waits. */
#define UNDECIDED_WAIT (NS_PER_S / 2)
/* A connection whose first packet may pass no more routers than this is a probe of the path;
 * no system's own default is as low. */
#define PROBE_HOPS 31
/* Refusals with a line of their own on the record; the rest of a flood is counted. */
#define REFUSED_EVENTS_PER_S 200
/* Destinations and reasons that are counted apart within a second: bounds lines and searching. */
#define REFUSAL_KINDS 32
/* Beyond them: one for each protocol, family and direction, denied or failed. */
#define REFUSAL_KINDS_WIDE 32
/* Peers of a published UDP port, each a flow of its own. */
#define PUBLISHED_UDP_PEERS 1024

enum flow_kind {
	FLOW_EGRESS = 1,
	FLOW_DNS = 2,	    /* queries, answered here; each has its own event */
	FLOW_ECHO = 3,	    /* ping of the gateway itself */
	FLOW_PUBLISHED = 4, /* from outside, relayed by netstack */
	FLOW_PUBLISHED_UDP = 5,
};

/* Refusals of one kind within a second. */
struct refusal {
	struct netstack_tuple tuple; /* of the first */
	uint8_t ip_proto;	     /* of packets that begin no flow; else 0 */
	bool deny;		     /* else: failed */
	bool wide;		     /* various destinations */
	struct ruling ruling;
	const char *detail; /* static text */
	struct name name;
	const char *name_from;
	uint64_t count;
	uint16_t port_first, port_last;
};

struct refusals {
	struct line_allowance lines;
	struct refusal kinds[REFUSAL_KINDS + REFUSAL_KINDS_WIDE];
	size_t n;
	struct loop_timer timer;
};

/*
 * Only observing: an answer went by way of a name that is denied. Kept until the
 * query's own event, which comes before other queries are read.
 */
#define OBSERVED_ALIASES 8
struct observed_alias {
	struct name asked; /* len 0: free */
	struct ruling ruling;
};

/* Placeholders of secrets, and what is done when one stands in a name (gateway_finder.c). */
#define GATEWAY_KNOWN_MAX 512 /* present and removed secrets of a tlsproxy */
struct known_name {
	char *env, *placeholder;
	enum tlsproxy_violation action;
};
struct known_list {
	struct known_name *v;
	size_t n;
};
struct name_finder {
	struct tlsproxy_finder *finder; /* over now */
	struct known_list now, next;	/* next: as it comes in */
	bool broken;			/* next is not whole */
};

/* What the tlsproxy has parked (gateway_parked.c): some connection to this name and address. */
#define GATEWAY_PARKED_MAX 512 /* twice what it keeps: a flood of words is forgotten */
struct parked_list {
	struct hmap map;
	struct list lru; /* newest last */
	size_t n;
};

struct gateway {
	const struct weir_config *cfg;
	struct judge judge;
	struct worker worker; /* loads policies */
	struct loop *loop;
	struct netstack *ns;
	struct dns *dns;
	struct tlsproxy_quic *quic;
	size_t quic_kept; /* struct quic_piece of all flows */
	struct record record;
	uint64_t link_faults; /* of a machine of our own: as many are on the record */
	struct audit_capture *capture;
	struct loop_io supervisor_io, proxy_io;
	int proxy;	 /* -1: none, or gone */
	bool proxy_gone; /* it died; its successor is awaited, or was while proxy_back is armed */
	struct loop_timer proxy_back;
	struct loop_task proxy_task, proxy_cut;
	struct list proxy_waiting; /* struct proxy_wait: for the turn's end, or a successor */
	struct name_finder finder;
	struct parked_list parked;
	uint64_t next_flow;
	struct hash_key key;
	struct hmap flows;	 /* by id, those that the tlsproxy has */
	struct hmap rule_limits; /* gateway_limits.c, of the policy in force */
	struct list all_limits;
	struct list all; /* struct flow */
	struct pool flow_pool, query_pool;
	struct upstream *upstream; /* NULL: everything is dialled directly */
	struct list ports;	   /* struct published */
	size_t n_ports;
	struct list fetches; /* connections for the tlsproxy itself */
	size_t n_fetches;
	struct refusals refusals;
	struct dns_repeats repeats;
	struct observed_alias observed[OBSERVED_ALIASES];
	size_t next_observed;
};

/* What a UDP flow's first datagrams are. */
enum flow_quic {
	QUIC_NONE = 0, /* no QUIC that could be read, or not looked at */
	QUIC_NAMED,
	QUIC_NAMELESS, /* QUIC without a name */
	QUIC_SEALED,   /* its name is encrypted, another one stands in front of it */
	QUIC_UNREAD,   /* never complete, or nothing that a client sends */
};

struct flow {
	struct gateway *gw;
	struct netstack_flow *ns;
	uint64_t id;
	enum flow_kind kind;
	struct list in_all;
	struct hmap_node by_id; /* in gw->flows while with_proxy */
	bool with_proxy;
	bool recorded; /* its decision is on the record; an end will be too */
	bool has_name; /* the destination is a virtual address: the name is certain */
	struct name name;
	const char *name_from;	 /* "virtual", "answer", "sni", "http" */
	enum policy_fact fact;	 /* how far its name was known when it was judged */
	bool unproven;		 /* KNOWN: the client's word only */
	bool sealed;		 /* NONE: its server name is encrypted */
	struct name *candidates; /* of a real address; most flows have none */
	size_t n_candidates;
	bool name_rests;   /* the verdict would differ if the name were another */
	bool name_agrees;  /* nothing that it shows speaks of another name */
	bool held_names;   /* dns_hold() was called */
	bool unpoliced;	   /* a later policy ended it: told in its end */
	bool unreadable;   /* no request will ever be read from it */
	const char *doubt; /* why its name is missing, for the record */
	enum flow_quic quic;
	struct list quic_pieces; /* of hellos that are not complete yet */
	const char *quic_doubt; /* why it may ask for another name than that of its address, or NULL */
	bool early;		/* handshake done before dialling: the name comes first */
	bool undialled;		/* hands shaken, the tlsproxy has a connection for it */
	bool shaken;		/* it was undialled once */
	bool want_proxy;	/* for after a dial */
	bool proxy_tls;
	struct proxy_wait *waits_for_proxy; /* with_proxy, and it does not have it yet */
	const char *cut;		    /* why it was, for the record */
	bool offers_dot; /* its TLS would carry DNS, whatever the port (RFC 7858) */
	bool terminate;	 /* FLOW_DNS over TLS: the tlsproxy ends it, our resolver reads on */
	struct ruling ruling;
	struct endpoint upstream;
	struct dial *dial; /* while it is under way: idle flows are not to carry it */
	struct dns_lookup *lookup;
	struct loop_timer deadline;
	uint8_t first_byte;  /* of what could not be told yet */
	struct list queries; /* FLOW_DNS: asked and not answered */
	struct published *listener;
	struct endpoint peer; /* FLOW_PUBLISHED*: who really is there */
	bool is_peer;	      /* UDP: what follows is in use */
	struct hmap_node by_peer;
	struct list by_use;
	uint64_t used;	      /* when either side last spoke */
	struct ip_addr local; /* the address that the peer wrote to */
	unsigned local_link;
};

static inline bool flow_dialling(const struct flow *f)
{
	return f->dial && dial_active(f->dial);
}

struct msg;

/* gateway_flow.c: new flows to a verdict */
/*
 * Those of the addresses that may be dialled: all with the answer of the first, which becomes the
 * flow's. While only observing, those that the rules allow go before those they do not.
 */
size_t gateway_pick(struct flow *f, const struct endpoint *to, size_t n,
		    struct endpoint pass[static DIAL_MAX_ADDRS], struct ruling *ret_denied);
void gateway_flow_new(void *ctx, struct netstack_flow *ns);
void gateway_flow_end(void *ctx, struct netstack_flow *ns, enum netstack_end how,
		      const struct netstack_counts *c);
/* What it is has been looked at: to a verdict. */
void gateway_flow_begin(struct flow *f);
struct flow *gateway_flow_alloc(struct gateway *gw, enum flow_kind kind, struct netstack_flow *ns);
void gateway_flow_free(struct flow *f);
/* Facts of this flow for one real address; name and http are still to be filled in. */
struct policy_facts gateway_facts(const struct flow *f, const struct ip_addr *addr);
/* All facts, with the name as it was learned; names is room for them. */
#define FLOW_NAMES (1 + FLOW_CANDIDATES)
struct policy_facts gateway_flow_facts(const struct flow *f, const struct ip_addr *addr,
				       struct name names[static FLOW_NAMES]);
/* Judges the addresses with the name as learned, dials those that pass; ends the flow when none does. */
void gateway_flow_judge(struct flow *f, const struct endpoint *to, size_t n);
/* Would the answer be another had the address come without its name? */
bool gateway_name_matters(const struct flow *f, const struct ip_addr *addr);
/* r NULL: no rule asked for it, detail says why. */
void gateway_flow_deny(struct flow *f, const struct ruling *r, const char *detail);
void gateway_flow_fail(struct flow *f, int error, const char *detail);
void gateway_flow_allowed(struct flow *f);
/* DNS over TLS on a port of its own choosing, which neither the configuration nor a rule means? */
bool gateway_hides_dns(const struct flow *f);
#define HIDDEN_QUIC "QUIC is refused where TLS is intercepted"
#define HIDDEN_DNS                                                                                 \
	"DNS over TLS is read on port 853 only (--tls-intercept), or allowed by --dns-doh"

/* gateway_first.c: what the first bytes tell, and who gets the flow */
void gateway_flow_bytes(void *ctx, struct netstack_flow *ns, const uint8_t *p, size_t len, bool eof);
void gateway_flow_server_first(void *ctx, struct netstack_flow *ns);
void gateway_first_timeout(struct loop_timer *t);
/* Hands guest and upstream (-1: undialled) to the tlsproxy. */
void gateway_to_proxy(struct flow *f, int upstream_fd);

/* gateway_proxy.c: the channel to the tlsproxy */
/* For its successor to come. Stops a sandbox from waiting on what never does. */
#define GATEWAY_PROXY_WAIT_NS (15 * NS_PER_S)
must_check int gateway_proxy_start(struct gateway *gw, int fd);
static inline bool gateway_has_proxy(const struct gateway *gw)
{
	return gw->proxy >= 0 || gw->proxy_gone;
}
/* Takes over both descriptors; they go at the end of the turn, or once there is a tlsproxy again. */
must_check int gateway_proxy_send(struct flow *f, int guest_fd, int upstream_fd);
void gateway_proxy_forget(struct flow *f);
void gateway_proxy_died(struct gateway *gw);
/* Its successor's channel, taken over. */
void gateway_proxy_back(struct gateway *gw, int fd);
bool gateway_flow_cut(void *ctx, struct netstack_flow *ns);

/* gateway_parked.c: flows that need no dialling */
must_check int gateway_parked_start(struct gateway *gw);
void gateway_parked_end(struct gateway *gw);
void gateway_parked_word(struct gateway *gw, const struct msg *m, size_t len);
void gateway_parked_forget(struct gateway *gw);
/* A verdict to dial: true when it need not be. to: what the rules allow. */
bool gateway_parked_serves(struct flow *f, const struct endpoint *to, size_t n);
/* It has to be after all: what was read of it is read again then. */
void gateway_parked_dial(struct flow *f);
/* The tlsproxy found none for this flow, which it has; a dial under way begins anew. */
void gateway_parked_late(struct flow *f);

/* gateway_fetch.c */
/* At a time. Stops a tlsproxy that was taken over from dialling without end. */
#define GATEWAY_FETCHES 64
struct msg_dial;
void gateway_fetch_dial(struct gateway *gw, const struct msg_dial *m);
void gateway_fetch_forget(struct gateway *gw);

/* gateway_quic.c */
/* Leads to gateway_flow_begin(), at once or when the rest of a hello has come. */
void gateway_quic_look(struct flow *f);
void gateway_flow_waiting(void *ctx, struct netstack_flow *ns);
/* Later connections of a UDP flow: on where another name would have made another verdict. */
void gateway_quic_watch(struct flow *f, const struct ip_addr *judged);
bool gateway_quic_passes(void *ctx, struct netstack_flow *ns, const uint8_t *p, size_t len);
void gateway_quic_forget(struct flow *f);
/* Why a flow with a certain name does not go by it when it says shown; NULL: it does. */
const char *gateway_quic_doubt(const struct flow *f, enum flow_quic kind, const struct name *shown);

/* gateway_dns.c */
must_check int gateway_dns_start(struct gateway *gw, const struct gateway_spec *spec);
void gateway_dns_udp(struct flow *f, const uint8_t *p, size_t len);
void gateway_dns_tcp(struct flow *f);
void gateway_dns_tls(struct flow *f);
void gateway_dns_cancel(struct flow *f);
/* Other servers from now on. */
void gateway_dns_resolvers(struct gateway *gw, const struct endpoint *servers, size_t n);

/* The group, not the address: the sandbox need not learn what is inside. */
const char *gateway_rebinding_text(const struct ip_addr *a, char out[static 96]);
extern const char gateway_alias_denied[];
/* The ruling on a query: by its name, or for a service's by its host (policy_query_subject). */
struct ruling gateway_judge_question(struct gateway *gw, const struct dns_question *q);
/* A type that no rule lets be asked, and that is asked only because denials are not enforced. */
bool gateway_type_observed(const struct gateway *gw, const struct dns_question *q);

/* gateway_dns_record.c */
void gateway_dns_event(void *ctx, const struct dns_event *d);
/* denial may be NULL; count 0: one query, which has a line of its own. */
void gateway_dns_line(struct gateway *gw, const struct dns_said *s, const char *denial,
		      uint64_t count);

/* gateway_publish.c */
must_check int gateway_publish_start(struct gateway *gw, const struct gateway_spec *spec);
void gateway_publish_datagram(struct flow *f, const uint8_t *p, size_t len);
void gateway_publish_forget(struct flow *f);
struct msg;
/* The supervisor's word on published ports; fd is taken over when true is returned. */
bool gateway_publish_message(struct gateway *gw, const struct msg *m, size_t len, int fd);

/* Another peer's word on one that is connected: as when it came. */
struct ruling gateway_publish_judge(const struct flow *f);

/* gateway_reload.c */
/* Another policy is in force: what it does not allow ends. Returns how many flows did. */
size_t gateway_rejudge(void *gw);

/* gateway_limits.c */
/* Why no flow of this ruling may begin now; NULL: it may. facts may be NULL when it is allowed. */
const char *gateway_limit_full(struct gateway *gw, const struct ruling *r,
			       const struct policy_facts *facts);
/* Into the class of the rule that allows it now, or none. */
void gateway_limit_join(struct flow *f, const struct policy_facts *facts);
/* The policy that the limits stand in goes. */
void gateway_limits_forget(struct gateway *gw);

/* gateway_refusals.c */
/* True: part of a flood, and counted; false: it gets a line of its own. */
bool gateway_refusal_counted(struct gateway *gw, const struct refusal *r);
void gateway_refusals_flush(struct gateway *gw);

/* gateway_record.c */
/* A flow that is refused before anything was answered. */
void gateway_record_refusal(const struct flow *f, bool deny, const char *detail);
/* A flow that gave way to newer ones before anybody answered it. */
void gateway_record_evicted(const struct flow *f);
void gateway_record_counted(struct gateway *gw, const struct refusal *r);
void gateway_record_flow(const struct flow *f, const char *verdict, const char *denial,
			 const char *detail);
void gateway_record_end(const struct flow *f, enum netstack_end how, const struct netstack_counts *c);
void gateway_packet_refused(void *ctx, const struct netstack_tuple *t, uint8_t ip_proto,
			    enum netstack_refusal how);

/* gateway_finder.c */
struct msg;
void gateway_finder_word(struct gateway *gw, const struct msg *m);
/* Whose placeholder stands in the name; NULL: nobody's. */
const struct known_name *gateway_find(const struct gateway *gw, const struct name *n,
				      const char **ret_encoding);
/* The same with all that follows from it; true: it is denied by this id. flow 0: none. */
bool gateway_name_violates(struct gateway *gw, const struct name *n, const char *protocol,
			   uint64_t flow, char ret_denial[static DENIAL_ID_LEN]);

#endif
