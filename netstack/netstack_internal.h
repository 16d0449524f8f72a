/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of netstack share. Layers call downwards by function and
 * upwards by function; the owner is called from flow.c and the two relays
 * only, and never from inside the TCP engine (notes are remembered and worked
 * off by a loop task), so that an owner may call anything from anywhere.
 *
 *    link_*.c ─► netstack ─► eth ─► ip4/ip6 (frag) ─► icmp · udp · relay_seg
 *                                                      └─► flow ─► relay_dgram
 *    everything that answers ─► ip_out ─► link
 */
#ifndef WEIR_NETSTACK_INTERNAL_H
#define WEIR_NETSTACK_INTERNAL_H

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "netstack/link.h"
#include "netstack/netstack.h"
#include "netstack/netstack_limits.h"
#include "netstack/rate.h"
#include "netstack/tcp.h"

#define ETH_HEAD 14
#define ETH_IP4 0x0800
#define ETH_ARP 0x0806
#define ETH_IP6 0x86dd

#define IP6_HEAD 40
#define UDP_HEAD 8
#define ICMP_HEAD 8

/* ---- checksums -------------------------------------------------------- */

/* Internet checksum over pieces of any length, RFC 1071. */
struct csum {
	uint64_t sum;
	bool odd;
};
void csum_feed(struct csum *c, const void *p, size_t n);
/* The same, and the bytes are copied to dst on the way. */
void csum_feed_copy(struct csum *c, void *dst, const void *p, size_t n);
void csum_feed_pseudo(struct csum *c, const struct ip_addr *src, const struct ip_addr *dst,
		      uint8_t proto, size_t len);
/* Folded sum, stored as it stands (partial) or complemented (final). */
void csum_store_partial(const struct csum *c, uint8_t *p);
void csum_store(const struct csum *c, uint8_t *p);
/* A sum that includes the checksum field: is it right? */
bool csum_good(const struct csum *c);

/* ---- packets ---------------------------------------------------------- */

/* A packet of the guest whose IP header, addresses and lengths have been checked. */
struct ip_pkt {
	struct ip_addr src, dst;
	uint8_t proto;
	const uint8_t *l3; /* whole packet, for quoting */
	size_t l3_len;
	const uint8_t *l4;
	size_t l4_len;
	/* TCP only: as many bytes more of payload, in memory that may change (link.h). */
	const struct iovec *tail;
	size_t tail_len;
	bool vouched, maybe_partial; /* as in struct link_rx */
	uint8_t gso;
	uint16_t gso_size;
};

static inline uint8_t ip_hop_limit(const uint8_t *l3)
{
	return l3[0] >> 4 == 4 ? l3[8] : l3[7];
}

/* May nobody fragment it? An IPv6 packet larger than the link is one its sender has cut up. */
static inline bool ip_dont_fragment(const uint8_t *l3, size_t len, size_t mtu)
{
	return l3[0] >> 4 == 4 ? l3[6] & 0x40 : len <= mtu;
}

/* A packet to the guest. head is the transport header, its checksum field zero. */
struct ip_out {
	const struct ip_addr *src, *dst;
	uint8_t proto;
	uint8_t hop_limit; /* 0: 64 */
	const uint8_t *head;
	size_t head_len;
	size_t csum_off; /* of the checksum field in head */
	struct iovec data[2];
	unsigned n_data;
	uint8_t gso;
	uint16_t gso_size;
};
#define IP_OUT_HEAD_MAX 60

/* True: sent (or lost for good). False: the link takes no more now, or it cannot be sent at all. */
bool ip_send(struct netstack *ns, const struct ip_out *o);
struct eth_fill;
/* TCP with len bytes of payload that fill brings (o->data is empty); as eth_send_in_place(). */
must_check int ip_send_in_place(struct netstack *ns, const struct ip_out *o, size_t len,
				const struct eth_fill *fill);
/* Bytes of a packet quoted in an ICMP error, as one piece: header with the given length. */
size_t ip_build_header(uint8_t *ret, const struct ip_addr *src, const struct ip_addr *dst,
		       uint8_t proto, uint8_t hop_limit, size_t payload_len);

void eth_input(struct netstack *ns, const struct link_rx *rx);
bool eth_send(struct netstack *ns, struct link_tx *tx);
/* Fills the 14 bytes; the guest's MAC must be known. */
void eth_header(const struct netstack *ns, uint8_t *p, uint16_t type);
/* Who writes payload to where the link wants it: exactly len bytes and 0, or a negative errno. */
struct eth_fill {
	int (*fill)(void *ctx, struct iovec *iov, unsigned n, size_t len);
	void *ctx;
};
/*
 * The same without a copy: len bytes (not 0) of payload, which fill brings, straight
 * into the guest's memory. -EAGAIN: the link takes no more now. Any other error:
 * nothing was sent, and eth_send() is to be tried.
 */
must_check int eth_send_in_place(struct netstack *ns, const struct link_tx *tx, size_t len,
				 const struct eth_fill *fill);
void eth_learn(struct netstack *ns, const uint8_t mac[6]);
/* Ask for the guest's MAC now and again until it is known. */
void eth_resolve(struct netstack *ns);
void eth_resolve_timer(struct loop_timer *t);

void ip4_input(struct netstack *ns, const uint8_t *p, size_t len, const struct link_rx *rx,
	       bool l2_multicast);
void ip6_input(struct netstack *ns, const uint8_t *p, size_t len, const struct link_rx *rx,
	       bool l2_multicast);
/* The upper protocols, by number. */
void ip_deliver(struct netstack *ns, const struct ip_pkt *k);
/* Of TCP and UDP; len bytes from the transport header on, the checksum's place in it. */
bool ip_checksum_ok(const struct ip_pkt *k, size_t len, size_t field);
/* Counted, reported, not answered. ports 0 when they are not known. */
void ip_refuse_quietly(struct netstack *ns, const struct ip_pkt *k, enum netstack_refusal how);

/* True: was neighbour discovery or listener noise, and is dealt with. */
bool ndp_input(struct netstack *ns, const struct ip_pkt *k, uint8_t hop_limit,
	       const uint8_t src_mac[6]);
void ndp_solicit_guest(struct netstack *ns);

/* ---- the link's own services (local.h) --------------------------------- */

/* True: was for one of them (DHCP, DHCPv6), and is dealt with. Before sources are judged. */
bool local_input4(struct netstack *ns, const struct ip_pkt *k, const uint8_t src_mac[6]);
bool local_input6(struct netstack *ns, const struct ip_pkt *k, const uint8_t src_mac[6]);
bool local_allowed(struct netstack *ns);

void router_start(struct netstack *ns);
void router_stop(struct netstack *ns);
/* A valid router solicitation. */
void router_solicited(struct netstack *ns, const struct ip_addr *src, const uint8_t mac[6],
		      bool unspecified);

/* An IPv6 address the guest may use: configured, or of its own making. */
struct guest6 {
	struct ip_addr addr;
	uint64_t seen_ns;
};
bool guest6_is(const struct netstack *ns, const struct ip_addr *a);
void guest6_seen(struct netstack *ns, const struct ip_addr *a);
void guest6_forget(struct netstack *ns);
/* Where something for the configured address really goes; others stay as they are. */
struct ip_addr guest6_target(const struct netstack *ns, const struct ip_addr *want);

/* ---- reassembly ------------------------------------------------------- */

struct frag_table {
	struct list sets; /* oldest first */
	size_t n, bytes;
	struct loop_timer timer;
	uint8_t *done; /* the datagram handed out last */
};

struct frag_piece {
	struct ip_addr src, dst;
	uint32_t id;
	uint8_t proto;	     /* protocol (v4) or next header (v6) */
	const uint8_t *head; /* IP header up to the fragment part */
	size_t head_len;
	size_t nh_off; /* v6: where in head the next-header byte stands */
	const uint8_t *p;
	size_t len;
	size_t off;
	bool more;
};
void frag_init(struct netstack *ns);
void frag_fini(struct netstack *ns);
/* The whole packet, from its IP header on, once complete; valid until the next call. */
const uint8_t *frag_input(struct netstack *ns, const struct frag_piece *k, size_t *ret_len);

/* ---- ICMP ------------------------------------------------------------- */

struct icmp_bucket {
	uint64_t last;
	uint64_t tokens; /* in millionths */
};

void icmp_input(struct netstack *ns, const struct ip_pkt *k);
/* An error about the guest's packet l3 (validated, contiguous). Rate-limited. */
void icmp_error(struct netstack *ns, const uint8_t *l3, size_t len, uint8_t type, uint8_t code,
		uint32_t info, bool from_dst);
/* The same with a router's word; from may be no address of the guest's: then it is ours. */
void icmp_error_from(struct netstack *ns, const uint8_t *l3, size_t len,
		     const struct netstack_icmp *e);
/* As the guest's IP version says what the other one said (RFC 7915). False: it has no words for it. */
bool icmp_translate(uint8_t guest_family, struct netstack_icmp *e);
/* Its hop limit ends here (RFC 1812 5.3.1): answered. True: the packet is dealt with. */
bool icmp_hops_end(struct netstack *ns, const struct ip_pkt *k);
void icmp_refusal(struct netstack *ns, const uint8_t *l3, size_t len, enum netstack_refusal how);
void icmp_protocol_unreachable(struct netstack *ns, const struct ip_pkt *k);
void icmp_too_big(struct netstack *ns, const uint8_t *l3, size_t len, uint32_t mtu);
bool icmp_echo_reply(struct netstack_flow *f, uint16_t seq, const void *p, size_t len);

void udp_input(struct netstack *ns, const struct ip_pkt *k);
bool udp_send(struct netstack_flow *f, const void *p, size_t len);
/* Several datagrams of size bytes, the last may be shorter; they must fit the MTU. */
bool udp_send_run(struct netstack_flow *f, const void *p, size_t len, size_t size);
/* Does a datagram of this size fit a frame of the guest's? */
bool udp_fits(const struct netstack_flow *f, size_t len);

void relay_tcp_input(struct netstack *ns, const struct ip_pkt *k);
/* A router of the guest's dropped a segment of ours: q is the packet quoted, from its IP header on. */
void relay_tcp_too_big(struct netstack *ns, const uint8_t *q, size_t len, uint32_t mtu);

/* ---- flows ------------------------------------------------------------ */

enum flow_state {
	FLOW_NEW = 1, /* reported, not decided */
	FLOW_OPEN,
	FLOW_ZOMBIE, /* ended for the owner; the TCP engine is still in TIME-WAIT or so */
	FLOW_DEAD,   /* waits for the loop task that frees it */
};

/* A packet kept until the owner has decided: relayed then, or quoted in a refusal. */
struct flow_pending {
	struct flow_pending *next;
	size_t len;	/* from the IP header on */
	size_t payload; /* offset of the datagram's payload */
	uint16_t seq;	/* echo */
	uint8_t bytes[];
};

/* Half-open connections with one remote host. */
struct half_dest {
	struct hmap_node node;
	struct ip_addr addr;
	struct list flows; /* oldest first */
	uint32_t n;
};

/* Of one direction: dials of the guest's, or connections that are opened towards it. */
struct half_open {
	struct list all; /* oldest first */
	struct hmap dests;
	struct half_dest *most; /* has had the most of late; may be NULL */
	uint32_t n, max;
};

struct netstack_flow {
	struct netstack *ns;
	struct hmap_node node;
	struct list all, work, blocked;
	struct netstack_tuple t;
	struct netstack_counts c;
	void *user;
	uint8_t state;
	bool local;   /* UDP, ICMP: the owner answers */
	bool watched; /* UDP: the owner is asked about each datagram */

	int fd; /* TCP; datagrams have their socket in sock */
	struct loop_io io;
	struct dgram_sock *sock;
	struct endpoint to;	    /* shared sock: who the remote really is */
	struct hmap_node by_remote; /* shared sock: in ns->remotes */
	struct loop_timer timer;    /* engine's (TCP) or idle (others) */
	uint64_t active_ns;	    /* last datagram either way */

	struct flow_pending *pending, **pending_tail;
	size_t pending_n, pending_bytes;
	uint16_t echo_seq; /* of the request delivered last */

	struct half_dest *half; /* TCP, not established on both sides: whose */
	struct list half_all, half_dest;

	struct netstack_class *class;
	struct rate_wait rate[2]; /* enum rate_dir */

	/* TCP */
	struct tcp *tcp;
	struct loop_timer aux; /* reset linger; acknowledged bytes, acknowledgements that wait */
	uint32_t notes;	       /* 1 << enum tcp_note */
	bool accepted, established, hold;
	bool up_done, down_done; /* that direction's end has been passed on */
	bool up_broken;		 /* the descriptor takes no more */
	bool resetting;		 /* the descriptor failed; RST once the guest has what was read */
	bool tcp_closed;
	bool server_first, read_any;
	/*
	 * The descriptor is registered edge-triggered; these remember what the
	 * edges said. want_out: it refused bytes, EPOLLOUT is owed. in_ready: it
	 * may have bytes, or its end; false only after it said that it has none.
	 */
	bool want_out, in_ready, hup;
	bool drain;	   /* only EAGAIN says that it has none (relay_source.c) */
	bool no_room;	   /* the engine owes a TCP_WRITABLE */
	bool keepalive;	   /* the guest sends keep-alives, so does the socket */
	bool peek;	   /* the engine's send queue is the socket's receive queue */
	bool lost;	   /* the socket did not give again what it had shown */
	bool consume;	   /* even little of what was acknowledged */
	bool bulk;	   /* much comes at a time: it is peeked */
	bool ack_owed;	   /* for what was read; nothing went the other way since */
	uint8_t peeks;	   /* since the last time it was */
	uint64_t consumed; /* stream offset of the socket's first byte */
	uint64_t peek_at;  /* and of the byte that its next MSG_PEEK gives */
	uint64_t seen;	   /* it held at least the bytes up to here */
	uint8_t much;	   /* looks that only count, before one that is not worth it ends this */
	size_t reported;
	bool reported_eof;
	uint64_t committed;
};

struct netstack {
	struct loop *loop;
	struct netstack_config cfg;
	const struct netstack_ops *ops;
	void *ctx;

	struct ns_link *link; /* NULL: lost for good */
	bool link_full, mac_known;
	uint8_t guest_mac[6];
	struct loop_timer resolve;
	unsigned resolve_tries;
	uint8_t *scratch;	   /* HOLD_MAX linearised, captures: LIMIT_FRAME */
	uint8_t *dgrams;	   /* LIMIT_DGRAM_BATCH of 64 KiB and one more, made on first use */
	struct hmap maps, remotes; /* mappings by guest port; their flows by remote */
	struct pool socks;
	struct list blocked_socks, dead_socks;
	struct dgram_stage *stages; /* LIMIT_STAGES, made on first use */
	unsigned staged, next_stage;
	struct batch *up_batch;

	struct tcp_stack tcp;
	struct hmap flows;
	struct netstack_flow *found_last; /* in flows, or NULL */
	struct hash_key key;
	struct pool pool, tcps;
	struct list live[4];	   /* by protocol; UDP and ICMP longest idle first */
	struct list unanswered[4]; /* the same, UDP and ICMP that nothing came back for */
	struct list zombies, dead, work, blocked;
	struct list later; /* had their share of this turn; by flow.work */
	struct loop_timer again;
	struct loop_task task;
	/* What was peeked last: bytes [peeked_at, peeked_at + peeked_len) of that flow. */
	uint8_t *peek_buf;
	const struct netstack_flow *peeked;
	uint64_t peeked_at;
	size_t peeked_len;
	bool no_peek; /* this kernel has no SO_PEEK_OFF for TCP */
	uint32_t live_n[4], zombie_n;

	struct frag_table frags;
	struct half_open half[2];	/* [inbound] */
	uint64_t mem_other;		/* buffers that are not the TCP engine's */
	enum netstack_refusal why_full; /* of the last flow_create() that failed */
	uint32_t changed; /* flows that began or ended, as limit_flows_changed() counts */
	struct loop_timer trim;
	struct rate_gate rate[2]; /* enum rate_dir: of all flows */
	struct list classes;
	struct icmp_bucket icmp;

	struct ip_addr gateway_ll; /* link-local, from the gateway's MAC */
	struct guest6 guest6[LIMIT_GUEST6];
	struct loop_timer ra_timer;
	unsigned ra_sent;
	uint64_t local_next; /* see local_allowed() */
	struct netstack_stats stats;
	uint16_t ip4_id;
	uint32_t ip6_id;

	unsigned depth; /* entries on the stack; freed at 0 when dying */
	bool dying;
};

/* Around everything the loop or the owner calls: netstack_free() may come in between. */
void ns_enter(struct netstack *ns);
void ns_leave(struct netstack *ns);
/* Frames were written or lent: the link is to be flushed before the loop sleeps. */
void ns_flush_later(struct netstack *ns);

static inline bool flow_live(const struct netstack_flow *f)
{
	return f->state == FLOW_NEW || f->state == FLOW_OPEN;
}

static inline uint64_t ns_now(const struct netstack *ns)
{
	return loop_now(ns->loop);
}

struct netstack_flow *flow_find(struct netstack *ns, const struct netstack_tuple *t);
/* ---- limit.c */

must_check int limit_init(struct netstack *ns);
void limit_fini(struct netstack *ns);
/* May a flow like this begin? Older ones may end for it. Sets ns->why_full. */
must_check bool limit_admit(struct netstack *ns, const struct netstack_tuple *t);
/* A TCP flow begins half open; false: out of memory. */
must_check bool limit_half_open(struct netstack_flow *f);
/* It is established on both sides, or over. */
void limit_half_open_end(struct netstack_flow *f);
/* The number of flows has changed. */
void limit_flows_changed(struct netstack *ns);
/* Buffers besides the engine's; false: the budget does not allow it. */
must_check bool limit_mem_take(struct netstack *ns, size_t n);
void limit_mem_give(struct netstack *ns, size_t n);

/* ---- flow.c */

/* NULL: there is no room (counted); ns->why_full says why. */
struct netstack_flow *flow_create(struct netstack *ns, const struct netstack_tuple *t);
void flow_finish(struct netstack_flow *f, enum netstack_end how);
/* Of flows that ended and of those that live; walks the latter. */
void flow_totals(const struct netstack *ns, struct netstack_totals ret[static 4]);
/* A zombie's (or failed newborn's) silent end. */
void flow_bury(struct netstack_flow *f);
void flow_work(struct netstack_flow *f);
/* As flow_work(), but after the other descriptors and the link had their turn. */
void flow_later(struct netstack_flow *f);
void flow_again_timer(struct loop_timer *t);
void flow_run_work(struct loop_task *t);
/* Flows that wait for a guest that never answered. */
void flow_fail_blocked(struct netstack *ns);
void flow_free_dead(struct netstack *ns);
/* False: over the bound, dropped. */
bool flow_keep(struct netstack_flow *f, const uint8_t *head, size_t head_len,
	       const uint8_t *payload, size_t len, uint16_t seq);
void flow_drop_pending(struct netstack_flow *f);
struct flow_pending *flow_take_pending(struct netstack_flow *f);
/* Refusal at the limit: reported and answered. */
void flow_refuse_limit(struct netstack *ns, const struct netstack_tuple *t, const struct ip_pkt *k);

extern const struct tcp_ops relay_tcp_ops;
void relay_tcp_run(struct netstack_flow *f);
/* tcp_ops.direct */
size_t relay_tcp_direct(struct netstack_flow *f, const struct iovec *iov, unsigned n);
void relay_tcp_attach(struct netstack_flow *f, int fd, bool hold);
void relay_tcp_accept(struct netstack_flow *f);
/* RST as the state of the handshake asks for. */
void relay_tcp_rst(struct netstack_flow *f);
int relay_tcp_open(struct netstack_flow *f);

/* ---- datagram flows --------------------------------------------------- */

/* ---- the socket as the engine's send queue (relay_source.c) ----------- */

/* Before the first read: true when bytes are to stay in the socket. */
bool relay_source_begin(struct netstack_flow *f);
/* The socket is somebody else's from here on; nothing has been read. */
void relay_source_undo(struct netstack_flow *f);
/* Show the engine what there is: bytes, 0 at the end of the stream, -errno. All must have been sent. */
ssize_t relay_source_peek(struct netstack_flow *f);
/* Is what comes next to be read into the ring instead? */
bool relay_source_small(struct netstack_flow *f);
/* n bytes were; all: and no more was there. */
void relay_source_took(struct netstack_flow *f, size_t n, bool all);
/* Bytes [off, off + n) of the stream, for a segment; valid until the next call. NULL: they are not there. */
const uint8_t *relay_source_fetch(struct netstack_flow *f, uint64_t off, size_t n);
/* Are they in hand already, by the last call? */
bool relay_source_at_hand(const struct netstack_flow *f, uint64_t off, size_t n);
/* The same bytes to where iov says, n in all. Negative: not all of them; fetch may do better. */
must_check int relay_source_fill(struct netstack_flow *f, uint64_t off, struct iovec *iov,
				 unsigned n_iov, size_t n);
bool relay_source_due(const struct netstack_flow *f);
/* Something is acknowledged, and nothing will come back to it yet. */
bool relay_source_waits(const struct netstack_flow *f);
/* Take acknowledged bytes out of the socket, when it is worth a call. */
void relay_source_consume(struct netstack_flow *f);
void relay_source_end(struct netstack_flow *f);

struct dgram {
	const uint8_t *p;
	size_t len;
	uint16_t seq; /* echo */
	uint8_t hops; /* the guest's hop limit, 0: unknown */
	bool df;
};

/* A host socket of one flow, or of all flows of a guest port (dgram_sock.c). */
struct dgram_sock {
	struct netstack *ns;
	struct loop_io io;
	struct list blocked;   /* in ns->blocked_socks: the link takes no more */
	struct hmap_node node; /* shared: in ns->maps */
	struct endpoint guest;
	struct netstack_flow *last; /* its flow; shared: the one last spoken of, or NULL */
	int fd, family;
	uint32_t flows;
	uint8_t hops; /* as the socket was told */
	bool df, df_told;
	bool shared, icmp, no_gso, gro_asked;
};

/* fd is taken over, also on failure. */
must_check int dgram_sock_own(struct netstack_flow *f, int fd);
must_check int dgram_sock_shared(struct netstack_flow *f, int fd, const struct endpoint *to);
void dgram_sock_leave(struct netstack_flow *f);
/* Whose is what comes from there? NULL: nobody's. */
struct netstack_flow *dgram_sock_flow(struct dgram_sock *s, const struct endpoint *from);
void dgram_sock_path(struct dgram_sock *s, uint8_t hops, bool df);
void dgram_sock_busy(struct dgram_sock *s);
void dgram_sock_free_dead(struct netstack *ns);

/* d stands for datagrams of size bytes each, the last may be shorter. */
void dgram_up(struct netstack_flow *f, const struct dgram *d, size_t size);
/* What was put aside goes out; s NULL: for all sockets. */
void dgram_up_flush(struct netstack *ns, const struct dgram_sock *s);

/* The socket's error queue and pending error, told to the flows they are about. */
void dgram_errors(struct dgram_sock *s);
/* Sending d failed for good. */
void dgram_error_sending(struct dgram_sock *s, struct netstack_flow *f, int error,
			 const struct dgram *d);

void relay_dgram_attach(struct netstack_flow *f, int fd, const struct endpoint *to);
void relay_dgram_local(struct netstack_flow *f);
/* From the guest to an open flow; as dgram_up(). */
void relay_dgram_up(struct netstack_flow *f, const struct dgram *d, size_t size);
/* From the owner to the guest; waits when the guest's MAC is not known yet. */
void relay_dgram_down(struct netstack_flow *f, const void *p, size_t len);
void relay_dgram_io(struct loop_io *io, uint32_t revents);
/* The link takes frames again. */
void relay_dgram_link_ready(struct netstack_flow *f);
void relay_dgram_wake_socks(struct netstack *ns);
void relay_dgram_idle(struct loop_timer *t);
void relay_dgram_resume(struct netstack_flow *f);
/* It waits for tokens no more: its socket is read again. */
void relay_dgram_unpark(struct netstack_flow *f);
void relay_dgram_touch(struct netstack_flow *f);

#endif
