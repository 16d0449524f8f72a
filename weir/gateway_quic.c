/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name that a QUIC connection asks for, as a fact for the rules.
 *
 * A new UDP flow's first datagrams wait in the stack. What begins like QUIC 1
 * or 2 is read before the flow is judged, on whatever port: its server name is
 * the client's word, as that of TLS over TCP is. It meets denials; it counts for
 * allows only where the address was given out for it. A hello that is spread
 * over several datagrams is waited for, shortly: its sender sends them at once.
 * A connection whose name cannot be read, or is encrypted, has none.
 *
 * Where another name would have made another verdict, the flow's later datagrams
 * are looked at as well: a hello that completes with a name that is not allowed
 * ends the flow before its last piece leaves. Honest limit: pieces of hellos that
 * are allowed each are not looked at together, should some be lost on their way.
 */
#include "weir/gateway_int.h"

#include "weir/flow_name.h"

/* As many as the stack keeps for a flow that is not decided. */
#define FIRST_DATAGRAMS 8

enum looks_like {
	NO_QUIC = 0,
	QUIC_READABLE, /* versions 1 and 2 */
	QUIC_OLDER, /* drafts and Google's own: keys of their own, which some servers still know */
};

/* Cheap, for all that is no QUIC: long header, a version that was ever in use. */
static enum looks_like begins_like(const uint8_t *p, size_t len)
{
	uint32_t version;

	if (len < 7 || !(p[0] & 0x80))
		return NO_QUIC;
	version = get_be32(p + 1);
	if (version == 1 || version == 0x6b3343cf)
		return QUIC_READABLE;
	/* RFC 9000 15: drafts; that of version 2; "Q046", "T051". */
	if (version >> 8 == 0xff0000 || version == 0x709a50c4 || version >> 16 == 0x5130 ||
	    version >> 16 == 0x5430)
		return QUIC_OLDER;
	return NO_QUIC;
}

static void sniff(const struct flow *f, struct tlsproxy_sniff *ret)
{
	struct iovec v[FIRST_DATAGRAMS];
	size_t n = 0, len;
	const uint8_t *p;

	*ret = (struct tlsproxy_sniff){ .kind = TLSPROXY_SNIFF_OTHER };
	while (n < FIRST_DATAGRAMS && (p = netstack_flow_waiting(f->ns, n, &len)))
		v[n++] = (struct iovec){ (void *)(uintptr_t)p, len };
	if (!n)
		return;
	switch (begins_like(v[0].iov_base, v[0].iov_len)) {
	case QUIC_READABLE:
		tlsproxy_sniff_quic(f->gw->quic, v, n, ret);
		break;
	case QUIC_OLDER:
		ret->kind = TLSPROXY_SNIFF_BAD_TLS;
		break;
	case NO_QUIC:
		break;
	}
}

/* An encrypted hello may be another's than the name in front of it says. */
static bool is_sealed(struct flow *f, const struct tlsproxy_sniff *s)
{
	const struct ip_addr *to = &netstack_flow_tuple(f->ns)->remote.addr;
	struct name certain, names[FLOW_CANDIDATES];
	bool has_name = dns_virtual_name(f->gw->dns, to, &certain);
	size_t n = has_name ? 0 : dns_names_of(f->gw->dns, to, names, FLOW_CANDIDATES);

	return s->has_ech && !flow_name_given(&s->sni, has_name ? &certain : NULL, names, n);
}

static enum flow_quic kind_of(struct flow *f, const struct tlsproxy_sniff *s)
{
	if (s->kind != TLSPROXY_SNIFF_TLS || s->sni_invalid)
		return QUIC_UNREAD;
	if (!s->has_sni)
		return QUIC_NAMELESS;
	return is_sealed(f, s) ? QUIC_SEALED : QUIC_NAMED;
}

static const char *doubt_of(enum flow_quic kind)
{
	switch (kind) {
	case QUIC_SEALED:
		return "the server name is encrypted, and the address was not given out for the "
		       "one in front of it";
	case QUIC_NAMELESS:
	case QUIC_UNREAD:
		return "no name could be read from the first datagrams";
	case QUIC_NONE:
	case QUIC_NAMED:
		break;
	}
	return NULL;
}

/*
 * As with TLS over TCP: the name in front of an encrypted one is one that the
 * client asks for, and a hello that nobody can read may ask for any.
 */
const char *gateway_quic_doubt(const struct flow *f, enum flow_quic kind, const struct name *shown)
{
	switch (kind) {
	case QUIC_NAMED:
	case QUIC_SEALED:
		if (name_equal(shown, &f->name))
			return NULL;
		return "the QUIC server name is not the name of the address";
	case QUIC_UNREAD:
		return "a QUIC handshake that cannot be read";
	case QUIC_NONE:
	case QUIC_NAMELESS:
		break;
	}
	return NULL;
}

static void learn(struct flow *f, const struct tlsproxy_sniff *s)
{
	loop_timer_del(f->gw->loop, &f->deadline);
	if (s->kind == TLSPROXY_SNIFF_OTHER) {
		gateway_flow_begin(f);
		return;
	}
	f->quic = kind_of(f, s);
	f->doubt = doubt_of(f->quic);
	if (f->quic == QUIC_NAMED || f->quic == QUIC_SEALED)
		f->name = s->sni;
	if (f->quic == QUIC_NAMED)
		f->name_from = "sni";
	gateway_flow_begin(f);
}

static void on_late(struct loop_timer *t)
{
	struct flow *f = container_of(t, struct flow, deadline);
	struct tlsproxy_sniff none = { .kind = TLSPROXY_SNIFF_BAD_TLS };

	learn(f, &none);
}

void gateway_quic_look(struct flow *f)
{
	struct tlsproxy_sniff s;

	sniff(f, &s);
	if (s.kind != TLSPROXY_SNIFF_MORE) {
		learn(f, &s);
		return;
	}
	f->deadline.cb = on_late;
	loop_timer_set(f->gw->loop, &f->deadline, loop_now(f->gw->loop) + UNDECIDED_WAIT);
}

void gateway_flow_waiting(void *ctx, struct netstack_flow *ns)
{
	struct flow *f = netstack_flow_user(ns);
	struct tlsproxy_sniff s;

	(void)ctx;
	/* Judged already, and being resolved. */
	if (!f || f->deadline.cb != on_late || !loop_timer_armed(&f->deadline))
		return;
	sniff(f, &s);
	if (s.kind != TLSPROXY_SNIFF_MORE)
		learn(f, &s);
}

/* ---- later connections of a flow --------------------------------------------- */

/* A flow's hellos that are spread over datagrams. */
#define PIECES_MAX 16
/* All flows' together: some megabytes. */
#define PIECES_MAX_ALL 4096

struct quic_piece {
	struct list node;
	size_t len;
	uint8_t bytes[];
};

/* TLS is read wherever it is: what cannot be is refused wherever it is. */
static bool reads_any(const struct flow *f)
{
	return f->gw->cfg->tls_intercept && f->gw->cfg->tls_any_port;
}

void gateway_quic_watch(struct flow *f, const struct ip_addr *judged)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	bool host = is_gateway(&f->gw->cfg->net, &t->remote.addr);

	netstack_flow_watch(
		f->ns,
		f->kind == FLOW_EGRESS &&
			(reads_any(f) || gateway_name_matters(f, host ? &t->remote.addr : judged)));
}

/* Of one connection, by version and connection id. */
static bool is_same(const struct quic_piece *x, const uint8_t *p, size_t len)
{
	size_t n = 6 + (size_t)p[5];

	return x->len >= n && len >= n && memcmp(x->bytes + 1, p + 1, n - 1) == 0;
}

static void drop_piece(struct gateway *gw, struct quic_piece *x)
{
	list_del(&x->node);
	free(x);
	gw->quic_kept--;
}

void gateway_quic_forget(struct flow *f)
{
	while (!list_empty(&f->quic_pieces))
		drop_piece(f->gw, container_of(f->quic_pieces.next, struct quic_piece, node));
}

static bool keep_piece(struct flow *f, const uint8_t *p, size_t len)
{
	struct quic_piece *x = f->gw->quic_kept < PIECES_MAX_ALL ? malloc(sizeof(*x) + len) : NULL;

	if (!x)
		return false;
	x->len = len;
	memcpy(x->bytes, p, len);
	list_add_tail(&f->quic_pieces, &x->node);
	f->gw->quic_kept++;
	return true;
}

/* This datagram with what came before it of its connection. False: no room for more of it. */
static bool sniff_again(struct flow *f, const uint8_t *p, size_t len, struct tlsproxy_sniff *ret)
{
	struct iovec v[PIECES_MAX + 1];
	size_t n = 0, all = 0;

	list_for_each (it, &f->quic_pieces) {
		struct quic_piece *x = container_of(it, struct quic_piece, node);

		all++;
		if (is_same(x, p, len))
			v[n++] = (struct iovec){ x->bytes, x->len };
	}
	v[n++] = (struct iovec){ (void *)(uintptr_t)p, len };
	tlsproxy_sniff_quic(f->gw->quic, v, n, ret);
	if (ret->kind == TLSPROXY_SNIFF_MORE)
		return all < PIECES_MAX && keep_piece(f, p, len);
	if (ret->kind == TLSPROXY_SNIFF_OTHER)
		return true;
	list_for_each_safe (it, next, &f->quic_pieces) {
		struct quic_piece *x = container_of(it, struct quic_piece, node);

		if (is_same(x, p, len))
			drop_piece(f->gw, x);
	}
	return true;
}

/* What it says now, judged as a new flow's would be. */
static struct ruling judge_again(const struct flow *f, enum flow_quic kind,
				 const struct tlsproxy_sniff *s)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	struct flow now = *f;
	struct name names[FLOW_NAMES];
	struct policy_facts facts;

	now.fact = kind == QUIC_NAMED ? POLICY_KNOWN : POLICY_NONE;
	now.name = kind == QUIC_NAMED ? s->sni : (struct name){ 0 };
	now.unproven = kind == QUIC_NAMED &&
		       !flow_name_given(&s->sni, NULL, f->candidates, f->n_candidates);
	facts = gateway_flow_facts(&now,
				   is_gateway(&f->gw->cfg->net, &t->remote.addr) ? &t->remote.addr
										 : &f->upstream.addr,
				   names);
	return judge_facts(&f->gw->judge, &facts);
}

/*
 * One UDP flow may carry several connections, or QUIC after anything else, and
 * each may ask for another name. Not a client's first packets (its later ones
 * use the server's connection id, with which none of them opens), not QUIC: passes.
 */
bool gateway_quic_passes(void *ctx, struct netstack_flow *ns, const uint8_t *p, size_t len)
{
	struct flow *f = netstack_flow_user(ns);
	struct tlsproxy_sniff s = { .kind = TLSPROXY_SNIFF_BAD_TLS };
	enum looks_like like = begins_like(p, len);
	enum flow_quic kind;
	const char *doubt;
	struct ruling r;

	(void)ctx;
	if (!f || like == NO_QUIC)
		return true;
	/* Lost, as any datagram may be. */
	if (like == QUIC_READABLE && !sniff_again(f, p, len, &s))
		return false;
	if (s.kind == TLSPROXY_SNIFF_MORE || s.kind == TLSPROXY_SNIFF_OTHER)
		return true;
	if (reads_any(f)) {
		gateway_flow_deny(f, NULL, HIDDEN_QUIC);
		return false;
	}
	kind = kind_of(f, &s);
	if (f->has_name) {
		doubt = gateway_quic_doubt(f, kind, &s.sni);
		if (!judge_enforces(&f->gw->judge))
			doubt = NULL;
		if (doubt)
			gateway_flow_deny(f, NULL, doubt);
		return !doubt;
	}
	r = judge_again(f, kind, &s);
	if (r.answer == POLICY_ANSWER_ALLOW)
		return true;
	doubt = doubt_of(kind);
	gateway_flow_deny(f, &r, doubt ? doubt : "a later connection of the flow asks for this name");
	return false;
}
