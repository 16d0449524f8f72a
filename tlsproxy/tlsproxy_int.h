/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of tlsproxy share, all but HTTP and secrets (http.h). First
 * the caps, each with what it stops; then the parts from the bottom up:
 *
 *   certificates   ca, leaf_cache       what the guest is shown
 *   trust          upstream_roots_load           whom we believe upstream
 *   TLS            tls_*, resume_cache  contexts and sessions of both legs
 *   leg            one end of a flow: descriptor, TLS or not, two buffers
 *   session        one flow: hello, handshakes, relay, close
 */
#ifndef WEIR_TLSPROXY_INT_H
#define WEIR_TLSPROXY_INT_H

#include "tlsproxy/http.h"
#include "tlsproxy/tlsproxy.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <time.h>

/* ---- caps ------------------------------------------------------------------ */

/* A ClientHello; a post-quantum one has 2 KiB. Stops a guest from making the
 * gateway hold a hello that never ends. */
#define TLSPROXY_HELLO_MAX 16384
/* The same with record headers. Stops a hello cut into one-byte records, which
 * is six times as long on the wire and read again with every segment. */
#define TLSPROXY_HELLO_RAW_MAX 32768
/* Before an HTTP request (RFC 9112 2.2 asks for one). Stops an endless prefix. */
#define TLSPROXY_SNIFF_EMPTY_LINES 4
/* A method; the longest registered one has 17 bytes. Stops an endless token. */
#define TLSPROXY_SNIFF_METHOD_MAX 32
/* The body of a ClientHello message, without its 4-byte header. False: none that can be read. */
must_check bool sniff_hello(const uint8_t *p, size_t len, struct tlsproxy_sniff *s);
/* Largest datagram an Initial packet is looked for in, and packets in one datagram. */
#define TLSPROXY_QUIC_DATAGRAM 2048
#define TLSPROXY_QUIC_PACKETS 4

/* Flows at a time. Stops a guest from using up descriptors and memory. */
#define TLSPROXY_MAX_FLOWS 4096
/* A flow on which nothing moves. Stops flows that are opened and left. */
#define TLSPROXY_IDLE_S 3600
/* For the hello and for each handshake. Stops half-open handshakes from
 * holding their slot. */
#define TLSPROXY_HANDSHAKE_S 10
/* For the peer's FIN after ours; then the descriptor is closed anyway. Stops a
 * peer that never closes, and one that never stops sending. */
#define TLSPROXY_LINGER_S 3
/* To take our last bytes, without any progress. Stops the same. */
#define TLSPROXY_FLUSH_S 60
#define TLSPROXY_LINGER_BYTES ((size_t)1 << 20)
/* Leaves kept. Stops a guest that asks for ever new names (wildcard rules). */
#define TLSPROXY_LEAVES 1000
/* Upstream sessions kept for resumption; the same attack. */
#define TLSPROXY_RESUME 512
/* What one flow can make us hold per direction when its reader is slow. */
#define TLSPROXY_OUT_MAX ((size_t)256 << 10)
/* Above this, no more is read for that direction: back-pressure. What is left
 * to the maximum takes a whole head (HTTP_BUF_MIN). */
#define TLSPROXY_OUT_HIGH ((size_t)128 << 10)
/* With more flows than this, each may have less waiting. Stops a guest from
 * multiplying the buffers of one flow by thousands of flows that it does not read. */
#define TLSPROXY_CROWD 256
#define TLSPROXY_CROWD_BYTES ((size_t)16 << 10)
/* One read; and what of it the HTTP filter may leave for later. */
#define TLSPROXY_READ ((size_t)64 << 10)
/* Read by one leg in one wake-up. Stops one busy flow from starving the others. */
#define TLSPROXY_BUDGET ((size_t)256 << 10)
/* HTTP/2 is offered once the filter reads it: what we cannot read we do not speak. */
#define TLSPROXY_OFFER_H2 1
/* How long a guest may come back with a ticket, in seconds. Each is worth no more than
 * the certificate that it stands for, and nothing under another policy. */
#define TLSPROXY_TICKET_S 3600
/* Sessions that tickets may stand for, the oldest goes: about a kilobyte each. Stops a guest
 * from collecting them. */
#define TLSPROXY_TICKETS 4096
/* Upstream connections that wait for the next flow, and how long, in seconds: less than
 * servers keep them (2 and more), since the client of a new flow does not expect an end. Stops a
 * guest from having many hosts hold many of them. */
#define TLSPROXY_POOL 256
#define TLSPROXY_POOL_S 1
/* A stapled OCSP response; those of public authorities have up to 3 KiB. Stops a server from
 * having us check a long one. */
#define TLSPROXY_STAPLE_MAX 16384
/* How far its clock may be off ours, and how old it may be where it does not say its end. */
#define TLSPROXY_STAPLE_SKEW_S 300
#define TLSPROXY_STAPLE_AGE_S (7 * 24 * 3600)
/* A bundle of CA certificates; Debian's has 220 KiB. Stops reading a device. */
#define TLSPROXY_BUNDLE_MAX ((size_t)16 << 20)

/* How far back certificates are dated: a guest's clock may be off by a time
 * zone, or behind after it was suspended. */
#define TLSPROXY_BACKDATE_S (24 * 3600)
#define TLSPROXY_CA_HOURS 25
#define TLSPROXY_CA_HOURS_MAX (24 * 366)
#define TLSPROXY_LEAF_S (24 * 3600)
/* A leaf with less left than this is minted anew. */
#define TLSPROXY_LEAF_RENEW_S (2 * 3600)
/* Verified upstream sessions older than this are not resumed: the certificate
 * is looked at again at least this often. */
#define TLSPROXY_RESUME_S 3600

/* ---- whom a certificate is for --------------------------------------------- */

/* A name or an address. The text tells them apart: no canonical name reads as
 * an address (name_parse), so it serves as the key of both caches. */
struct identity {
	bool is_addr;
	struct ip_addr addr;
	char text[NAME_MAX_LEN + 1];
};
void identity_from_name(struct identity *id, const struct name *n);
void identity_from_addr(struct identity *id, const struct ip_addr *a);

/* ---- certificates ------------------------------------------------------------ */

SKM_DEFINE_STACK_OF(NC, NAME_CONSTRAINTS, NAME_CONSTRAINTS)
struct ca {
	EVP_PKEY *key;
	X509 *cert;
	/* Of files: those above it; what goes into a handshake; what they may sign for. */
	STACK_OF(X509) * chain, *presented;
	STACK_OF(NC) * constraints;
	char *pem; /* with those above it */
	time_t not_before, not_after;
	struct name *permitted;
	size_t n_permitted;
};
/* now is real time in seconds. hours: 0 for the default. */
must_check int ca_init(struct ca *ca, const struct name *permitted, size_t n, uint32_t hours,
		       time_t now);
/* From files; err says what is wrong with which. now as above. */
must_check int ca_load(struct ca *ca, const char *cert_file, const char *key_file, time_t now,
		       char *err, size_t err_size);
/* The one of a proxy before this (ca_keep.c). -EINVAL: they do not belong together. */
must_check int ca_restore(struct ca *ca, const char *pem, const uint8_t *key, size_t key_len);
void ca_fini(struct ca *ca);
must_check int ca_write_pem(struct ca *ca);
/* From its certificates: how long, for which names, what a handshake has to show, its PEM. */
must_check int ca_learn(struct ca *ca);
must_check int pem_certs_of(const void *text, size_t len, X509 **ret_first,
			    STACK_OF(X509) * *ret_rest);
/* The certificates and the private key of a file; -EINVAL with err. */
must_check int pem_certs(const char *path, X509 **ret_first, STACK_OF(X509) * *ret_rest, char *err,
			 size_t err_size);
must_check int pem_key(const char *path, EVP_PKEY **ret, char *err, size_t err_size);
/* False: a leaf for it would violate our own name constraints. */
bool ca_covers(const struct ca *ca, const struct identity *id);
/* Shared by CA and leaves: serial, validity, subject, public key, one extension. */
must_check int cert_start(X509 *cert, EVP_PKEY *key, const char *cn, time_t not_before,
			  time_t not_after);
must_check int cert_add(X509 *cert, int nid, void *ext, bool critical);
must_check int cert_add_key_usage(X509 *cert, int bit);
EVP_PKEY *cert_new_key(void); /* P-256; NULL on failure */

/* Would a leaf for it be within these constraints? */
bool leaf_satisfies(const struct identity *id, NAME_CONSTRAINTS *nc);

struct leaf_cache {
	const struct ca *ca;
	EVP_PKEY *key; /* one for all leaves */
	struct hmap map;
	struct hash_key hash;
	struct list lru; /* most recent last */
	size_t count;
};
must_check int leaf_cache_init(struct leaf_cache *lc, const struct ca *ca);
void leaf_cache_fini(struct leaf_cache *lc);
/*
 * not_after: the end of what it stands for, which it does not outlive; 0: unknown.
 * *ret_cert stays the cache's; it lives at least until the next call.
 */
must_check int leaf_get(struct leaf_cache *lc, const struct identity *id, time_t now,
			time_t not_after, X509 **ret_cert);

/* ---- trust --------------------------------------------------------------------- */

/* System store and files into memory; no file is opened after it. */
must_check int upstream_roots_load(const char *const *files, size_t n, X509_STORE **ret_store,
				   char *err, size_t err_size);
must_check int upstream_roots_add(X509_STORE *store, const char *path, char *err, size_t err_size);

/* As whom we come. */
struct client_cert {
	X509 *cert;
	EVP_PKEY *key; /* NULL: as nobody */
	STACK_OF(X509) * chain;
};
/* One of tlsproxy_config.upstreams, read. */
struct trust_rule {
	bool is_addr;
	struct ip_addr addr;
	struct tlsproxy_host_pattern host;
	enum tlsproxy_verify verify;
	X509_STORE *store; /* everybody's authorities and its own; NULL: everybody's */
	struct client_cert cert;
	struct tlsproxy_pin *pins;
	size_t n_pins;
};
struct upstream_trust {
	X509_STORE *store;
	bool no_verify;
	struct trust_rule *rules; /* the most specific first */
	size_t n;
};
/* On failure too, upstream_trust_fini() is to be called. */
must_check int upstream_trust_init(struct upstream_trust *t, const struct tlsproxy_config *cfg,
				   char *err, size_t err_size);
void upstream_trust_fini(struct upstream_trust *t);

/* What holds for one host; what it points at is the trust's. */
struct upstream_terms {
	bool verify;
	X509_STORE *store;		/* NULL: everybody's */
	const struct client_cert *cert; /* NULL: none */
	const struct tlsproxy_pin *pins;
	size_t n_pins;
};
struct upstream_terms upstream_terms_of(const struct upstream_trust *t, const struct identity *id);

/* ---- TLS ------------------------------------------------------------------------- */

struct session;

/* Protocols inside (RFC 7301); bits where a set is meant. */
enum alpn { ALPN_NONE = 0, ALPN_HTTP1 = 1, ALPN_H2 = 2 };

/* What a verified connection upstream is good for, and nothing else. */
struct upstream_key {
	struct identity id;  /* whom the certificate was verified for */
	struct endpoint to;  /* who showed it */
	uint64_t generation; /* of the policy that let it be made */
	const void *cert;    /* the client certificate that was shown, or NULL */
};
bool upstream_key_equal(const struct upstream_key *a, const struct upstream_key *b);
uint64_t upstream_key_hash(const struct hash_key *hash, const struct upstream_key *k);

/* Verified upstream sessions, one per key, least recent goes. */
struct resume_cache {
	struct hmap map;
	struct hash_key hash;
	struct list lru;
	size_t count;
};
must_check int resume_cache_init(struct resume_cache *rc);
void resume_cache_fini(struct resume_cache *rc);
/* Takes over one reference to sess. resumed: the handshake showed no certificate. */
void resume_put(struct resume_cache *rc, const struct upstream_key *k, bool resumed, time_t now,
		SSL_SESSION *sess);
/* Borrowed, or NULL. */
SSL_SESSION *resume_get(struct resume_cache *rc, const struct upstream_key *k, time_t now);
void resume_drop(struct resume_cache *rc, const struct upstream_key *k);
void resume_drop_all(struct resume_cache *rc);

must_check int tls_guest_ctx_new(struct tlsproxy *tp, SSL_CTX **ret);
must_check int tls_upstream_ctx_new(struct tlsproxy *tp, SSL_CTX **ret);
/* Ready to accept with this leaf; ready to connect to, and only to, s->key.id. */
must_check int tls_guest_new(const struct session *s, X509 *leaf, SSL **ret);
must_check int tls_upstream_new(const struct session *s, SSL **ret);
/*
 * After its handshake: verified, and speaking what we offered, which is *ret_alpn.
 * NULL, or why not (static text), with its token of RFC 9209 2.3.
 */
const char *tls_upstream_refused(const struct session *s, SSL *ssl, enum alpn *ret_alpn,
				 const char **ret_token);
/* Its part about the certificate: chain, pins, staple. */
const char *upstream_certificate_refused(const struct session *s, SSL *ssl);
/* An alert's number in words. */
const char *tls_alert_text(int alert);
/* "h2,http/1.1": of a set, static text. */
const char *alpn_names(unsigned set);
/* The text of the oldest error in OpenSSL's queue, which is cleared. Returns out. */
const char *tls_error_text(char *out, size_t size);

/* ---- leg -------------------------------------------------------------------------- */

enum leg_status {
	LEG_OK = 0,
	LEG_AGAIN = 1, /* nothing now */
	LEG_EOF = 2,   /* FIN on a plain leg, close_notify on a TLS leg */
	LEG_CUT = 3,   /* reset, FIN without close_notify, TLS error */
};

/*
 * One end of a flow. readable and writable say what the descriptor may still
 * give; they fall with EAGAIN and rise with epoll.
 */
struct leg {
	struct session *session;
	int fd; /* -1: closed */
	struct loop_io io;
	SSL *ssl;	 /* NULL: plain */
	struct buf head; /* read before TLS began: the ClientHello */
	struct buf in;	 /* read and not yet taken by the filter */
	struct buf out;	 /* to be written */
	size_t out_used; /* of its storage, from the front: the rest was never written */
	struct buf wire; /* records that go with the next call: of this turn, or not taken yet */
	size_t budget;	 /* bytes it may still read in this wake-up */
	uint64_t bytes_in;
	int error;	/* errno of the socket, 0 for none */
	int tls_reason; /* OpenSSL's reason of what ended the leg, 0 for none */
	bool readable, writable;
	bool tls_dead;	  /* TLS failed: no more calls but free */
	bool gone;	  /* HUP or ERR: no more events, only the rest to read */
	bool throttled;	  /* stopped by its budget: there is more */
	bool fd_eof;	  /* FIN seen */
	bool wr_dead;	  /* the peer reads no more: what we write is dropped */
	bool ended;	  /* EOF or CUT was reported */
	bool shut;	  /* FIN sent */
	bool owes_ticket; /* in front of the first bytes out */
	bool bulk;	  /* the last record read was full */
	bool dry;	  /* OpenSSL has given all that it was given by the wire */
	bool corked;	  /* short records wait in wire for more of them */
};

void leg_init(struct leg *leg, struct session *s, int fd);
/* Of one that is TCP: heads and last records must not wait for an ACK. */
void leg_no_delay(const struct leg *leg);
/* At once. abort_it: RST rather than FIN where it is TCP. */
void leg_close(struct leg *leg, bool abort_it);
/* The descriptor becomes the caller's. */
must_check int leg_take_fd(struct leg *leg);
must_check int leg_watch(struct leg *leg, struct loop *l,
			 void (*cb)(struct loop_io *io, uint32_t revents));
/* Note events. */
void leg_note(struct leg *leg, uint32_t revents);
/* Tell epoll what is wanted, from the flags. What is wanted no more it may tell once. */
void leg_arm(struct leg *leg, bool want_in);
/* From here on what TLS writes is gathered, as far as it is short. */
void leg_cork(struct leg *leg);
/* What was gathered goes out. True: that is how the peer's end was noticed (wr_dead). */
bool leg_uncork(struct leg *leg);
/* From the socket, past TLS: the count, 0 at its end, -EAGAIN, or its error. */
ssize_t leg_recv(struct leg *leg, void *p, size_t n);
/* Put TLS on the leg. Takes ssl over, also on failure. */
must_check int leg_start_tls(struct leg *leg, SSL *ssl);
/* 0 done, -EAGAIN, or -EPROTO: see OpenSSL's queue and the leg's flags. */
must_check int leg_handshake(struct leg *leg);
must_check enum leg_status leg_read(struct leg *leg, void *p, size_t n, size_t *ret_n);
/* All of out's storage at once: growing would leave copies of what is in it. */
must_check int leg_reserve(struct leg *leg);
/* Write what out holds, as far as it goes. True when something moved. */
bool leg_flush(struct leg *leg);
/* After out is empty: close_notify and FIN. True when done. */
bool leg_shutdown(struct leg *leg);

/*
 * With all it holds to another place, where cb is told what happens; `from` is watched, and
 * closed then. s is whom it serves from now on, or NULL.
 */
void leg_move(struct leg *from, struct leg *to, struct session *s,
	      void (*cb)(struct loop_io *io, uint32_t revents));

/* ---- upstream connections between flows --------------------------------------------- */

struct upstream_pool {
	struct loop *loop;
	/* tlsproxy_ops.parked; NULL: nobody is told. */
	void (*tell)(void *ctx, const struct name *host, const struct endpoint *to, bool any);
	void *ctx;
	struct hmap map;
	struct hash_key hash;
	struct list lru; /* most recent last */
	size_t count, max;
};
must_check int upstream_pool_init(struct upstream_pool *pool, struct loop *loop);
void upstream_pool_fini(struct upstream_pool *pool);
void upstream_pool_drop_all(struct upstream_pool *pool);
/* Is the session's upstream one that may be kept once it is answered? */
bool upstream_pool_wants(const struct session *s);
/* True: the session's upstream leg was taken over, and is closed here. */
bool upstream_pool_park(struct session *s);
/* True: the session has an upstream that is up in place of the one it had. */
bool upstream_pool_take(struct session *s);

/* ---- session ---------------------------------------------------------------------- */

enum session_state {
	SESSION_HELLO = 0,    /* guest's ClientHello, nothing answered yet */
	SESSION_UPSTREAM = 1, /* TLS handshake with the upstream */
	SESSION_GUEST = 2,    /* TLS handshake with the guest */
	SESSION_RELAY = 3,
	SESSION_CLOSING = 4, /* flushing, then FIN both ways */
	SESSION_DONE = 5,
	SESSION_FIRST = 6,  /* the first bytes of a plain flow, or of the one inside a CONNECT */
	SESSION_SPLICE = 7, /* inside a CONNECT, unread */
};

struct session {
	struct tlsproxy *tp;
	struct list node;
	struct tlsproxy_flow flow;
	enum session_state state;
	bool reset;	 /* how flow_done tells it */
	bool event_sent; /* one tls_event; a second only when ok turns out wrong */
	bool event_ok;
	bool judged;	      /* verdict is set */
	bool mismatch;	      /* SNI and flow name disagree */
	bool refused;	      /* nothing may go upstream */
	bool tunnel;	      /* after 101 */
	bool reused;	      /* the upstream served another flow before */
	bool dialled;	      /* it was dialled when nothing was parked any more */
	struct list dialling; /* in tp->dialling while that is under way */
	bool looked;	      /* FIRST: at what came before */
	bool lingering;	      /* CLOSING: FIN sent, waiting for the guest's */
	unsigned fail_status; /* why the upstream failed: status, RFC 9209 token, detail */
	const char *fail_token;
	bool has_sni;
	struct name sni;
	struct upstream_key key; /* key.id: whose certificate both legs show */
	struct upstream_terms terms;
	bool offers_alpn; /* the guest sent ALPN; offer: what of ours is in it */
	unsigned offer;
	bool no_protocol; /* the guest's offer and what the upstream speaks have nothing in common */
	enum alpn alpn, upstream_alpn; /* of each leg; the guest's mirrors the upstream's */
	time_t upstream_expires;       /* its certificate; 0: none seen */
	struct tlsproxy_verdict verdict;
	struct leg guest, upstream;
	struct http_side *parted; /* of a parked HTTP/2 upstream, until there is a filter */
	struct http_filter *filter;
	struct loop_timer deadline; /* of the state; idle time in RELAY */
	struct loop_timer again;    /* budget used up, more to do */
	struct loop_timer tick;	    /* of the filter, which has no clock */
	uint64_t last_active;
	uint64_t from_guest, from_upstream; /* bytes the filter took */
	uint64_t answered;		    /* from_upstream when nothing was last owed */
	size_t discarded;
	char detail[256];
};

/* Drives the flow as far as it goes; may end and free it. */
void session_run(struct session *s);
/* Only mark; session_run() frees. */
void session_end(struct session *s, bool reset);
void session_set_state(struct session *s, enum session_state state);
void session_event(struct session *s, bool ok, const char *detail);
/* Steps: true when the state may have changed or bytes have moved. */
bool handshake_step(struct session *s);
void handshake_timeout(struct session *s);
/* In HELLO: this is the hello, and it stands in guest.head. */
bool handshake_hello(struct session *s, const struct tlsproxy_sniff *sniff);
bool first_step(struct session *s);
void first_timeout(struct session *s);
bool splice_step(struct session *s);
bool relay_step(struct session *s);
/* May more be read whose result goes to that leg? */
bool relay_has_room(const struct session *s, const struct leg *to);
bool relay_may_read_guest(const struct session *s);
bool relay_close_step(struct session *s);
/* In RELAY, of a flow that is not read (tlsproxy_flow.terminate). */
bool terminate_step(struct session *s);
must_check int session_start_filter(struct session *s);
/* What is up already and silent becomes the session's upstream. */
void session_adopt_upstream(struct session *s, struct leg *from);
/* To the upstream that is connected now, in HELLO or UPSTREAM. */
bool handshake_upstream(struct session *s);
/* UPSTREAM, and there will be none; detail: as the guest is told. */
bool handshake_no_upstream(struct session *s, unsigned status, const char *token, const char *detail);
/* Why a client may have left after the handshake without a request. */
const char *handshake_silence_text(struct session *s);

/* ---- the proxy ---------------------------------------------------------------------- */

struct tlsproxy {
	struct loop *loop;
	struct tlsproxy_ops ops;
	void *ctx;
	struct secret_set *secrets;
	struct ca ca;
	struct leaf_cache leaves;
	struct resume_cache resume;
	struct upstream_trust trust;
	struct upstream_pool pool;
	SSL_CTX *guest_ctx, *upstream_ctx;
	uint64_t generation; /* of the policy: told by tlsproxy_rejudge */
	bool offer_h2;
	struct list sessions;
	struct list dialling; /* struct session: ops.dial was called */
	size_t n_sessions, max_flows;
	uint64_t idle_ns, handshake_ns;
	uint8_t *scratch; /* TLSPROXY_READ bytes, wiped at the end */
};

#endif
