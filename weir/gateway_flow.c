/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a new flow to a verdict and a dialled address.
 *
 *   virtual address ─► its name is certain ─► real addresses ─┐
 *   real address ─► names it was handed out for (candidates) ─┼─► policy
 *                                                             │
 *   deny ─► refused at once, recorded                         │
 *   allow ─► dial, then answer the guest ◄────────────────────┤
 *   needs a name ─► shake hands, wait for the first bytes ◄───┘  (gateway_first.c)
 *
 * Every real address is judged, also behind a name that is allowed: a name
 * must not open what the rules close by address.
 */
#include "weir/gateway_int.h"

#include "weir/flow_name.h"

static const char *const proxy_itself = "the upstream proxy is not the sandbox's to use";
static const char *const no_name = "no name was given out for this address";

/* ---- life ---------------------------------------------------------------- */

struct flow *gateway_flow_alloc(struct gateway *gw, enum flow_kind kind, struct netstack_flow *ns)
{
	struct flow *f = pool_get(&gw->flow_pool);

	if (!f)
		return NULL;
	f->gw = gw;
	f->kind = kind;
	f->ns = ns;
	f->id = ++gw->next_flow;
	f->ruling = judge_refusal(&gw->judge);
	list_init(&f->queries);
	list_init(&f->quic_pieces);
	list_add_tail(&gw->all, &f->in_all);
	if (ns)
		netstack_flow_set_user(ns, f);
	return f;
}

void gateway_flow_free(struct flow *f)
{
	struct gateway *gw = f->gw;

	if (f->dial)
		dial_cancel(f->dial);
	free(f->dial);
	loop_timer_del(gw->loop, &f->deadline);
	if (f->lookup)
		dns_resolve_cancel(f->lookup);
	if (f->with_proxy)
		hmap_remove(&gw->flows, &f->by_id);
	gateway_proxy_forget(f);
	gateway_dns_cancel(f);
	gateway_quic_forget(f);
	gateway_publish_forget(f);
	if (f->held_names)
		dns_release(gw->dns, &netstack_flow_tuple(f->ns)->remote.addr);
	list_del(&f->in_all);
	free(f->candidates);
	pool_put(&gw->flow_pool, f);
}

void gateway_flow_end(void *ctx, struct netstack_flow *ns, enum netstack_end how,
		      const struct netstack_counts *c)
{
	struct flow *f = netstack_flow_user(ns);

	(void)ctx;
	if (!f)
		return;
	if (f->recorded)
		gateway_record_end(f, how, c);
	else if (how == NETSTACK_END_LIMIT)
		gateway_record_evicted(f);
	gateway_flow_free(f);
}

/* ---- verdicts ------------------------------------------------------------- */

static enum policy_proto policy_proto_of(const struct netstack_tuple *t)
{
	switch (t->proto) {
	case NETSTACK_TCP:
		return POLICY_TCP;
	case NETSTACK_UDP:
		return POLICY_UDP;
	case NETSTACK_ICMP:
		break;
	}
	return t->remote.addr.family == 4 ? POLICY_ICMPV4 : POLICY_ICMPV6;
}

struct policy_facts gateway_facts(const struct flow *f, const struct ip_addr *addr)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);

	return (struct policy_facts){
		.dir = POLICY_EGRESS,
		.proto = policy_proto_of(t),
		.addr = *addr,
		.is_host = is_gateway(&f->gw->cfg->net, &t->remote.addr),
		.port = t->remote.port,
		/* Only a TCP flow can still tell a request. */
		.http = t->proto == NETSTACK_TCP && !f->unreadable ? POLICY_UNKNOWN : POLICY_NONE,
	};
}

struct policy_facts gateway_flow_facts(const struct flow *f, const struct ip_addr *addr,
				       struct name names[static FLOW_NAMES])
{
	struct policy_facts facts = gateway_facts(f, addr);
	bool own = f->fact == POLICY_KNOWN && f->name.len;

	facts.name = f->fact;
	facts.names = names;
	if (f->fact == POLICY_NONE)
		return facts;
	if (own)
		names[facts.n_names++] = f->name;
	facts.name_unproven = own && f->unproven;
	facts.name_answered = f->fact == POLICY_KNOWN && !own;
	/* A name that is only claimed does not hide those that the address is known by. */
	for (size_t i = 0; (!own || f->unproven) && i < f->n_candidates; i++)
		names[facts.n_names++] = f->candidates[i];
	return facts;
}

void gateway_flow_deny(struct flow *f, const struct ruling *r, const char *detail)
{
	f->ruling = r ? *r : judge_refusal(&f->gw->judge);
	gateway_record_refusal(f, true, detail);
	f->recorded = true;
	if (f->early || f->upstream.port)
		netstack_flow_abort(f->ns);
	else
		netstack_flow_refuse(f->ns, policy_drops_denied(f->gw->judge.policy)
						    ? NETSTACK_SILENT
						    : NETSTACK_DENIED);
}

static enum netstack_refusal refusal_of(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return NETSTACK_PORT_CLOSED;
	case EACCES: /* the upstream proxy's own rules */
		return NETSTACK_DENIED;
	case ENETUNREACH:
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		return NETSTACK_NO_NET;
	case ETIMEDOUT:
		return NETSTACK_SILENT;
	default:
		return NETSTACK_NO_HOST;
	}
}

void gateway_flow_fail(struct flow *f, int error, const char *detail)
{
	gateway_record_refusal(f, false, detail ? detail : strerror(error));
	f->recorded = true;
	/* Once hands are shaken nothing but a reset is understood. */
	if (f->early || f->upstream.port)
		netstack_flow_abort(f->ns);
	else
		netstack_flow_refuse(f->ns, refusal_of(error));
}

/* On the record as allowed; from here on its end will be recorded too. */
void gateway_flow_allowed(struct flow *f)
{
	if (f->recorded)
		return;
	f->recorded = true;
	if (f->n_candidates) {
		f->held_names = true;
		dns_hold(f->gw->dns, &netstack_flow_tuple(f->ns)->remote.addr);
	}
	gateway_record_flow(f, "allow", NULL, NULL);
}

bool gateway_name_matters(const struct flow *f, const struct ip_addr *addr)
{
	struct policy_facts facts = gateway_facts(f, addr);

	facts.name = POLICY_UNKNOWN;
	facts.names = &f->name;
	facts.n_names = f->has_name;
	return policy_decide(f->gw->judge.policy, &facts).answer != POLICY_ANSWER_ALLOW;
}

/* Must the client's first bytes be seen before its bytes may pass? */
static bool must_look(const struct flow *f)
{
	const struct weir_config *cfg = f->gw->cfg;
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);

	return t->proto == NETSTACK_TCP &&
	       (f->ruling.answer == POLICY_ANSWER_NEED_HTTP || f->name_rests ||
		weir_config_reads_port(f->gw->cfg, t->remote.port) || cfg->n_secrets ||
		config_is_proxy_port(cfg, t->remote.port) || policy_has_http(f->gw->judge.policy));
}

static void on_dialled(void *user, int fd, int error, const struct endpoint *to)
{
	struct flow *f = user;
	struct netstack_icmp heard = f->dial->heard;
	const char *why = f->dial->why;
	struct endpoint upstream = *to;

	/* Its last act was this call; to is in it. */
	free(f->dial);
	f->dial = NULL;
	if (fd < 0 && heard.from.family && !f->early && !f->shaken) {
		gateway_record_refusal(f, false, strerror(error));
		f->recorded = true;
		netstack_flow_refuse_icmp(f->ns, &heard);
		return;
	}
	if (fd < 0) {
		gateway_flow_fail(f, error, why);
		return;
	}
	f->upstream = upstream;
	if (f->want_proxy) {
		gateway_to_proxy(f, fd);
		return;
	}
	if (netstack_flow_tuple(f->ns)->proto == NETSTACK_UDP) {
		gateway_flow_allowed(f);
		gateway_quic_watch(f, &upstream.addr);
		netstack_flow_attach_shared(f->ns, fd, &upstream);
		return;
	}
	/* With early handshakes the looking is behind us. */
	if (f->early || !must_look(f)) {
		gateway_flow_allowed(f);
		netstack_flow_attach(f->ns, fd, false);
	} else {
		netstack_flow_attach(f->ns, fd, true);
	}
}

/* QUIC would carry TLS past the proxy; refused, clients fall back to TCP at once. */
static bool is_hidden_quic(const struct flow *f)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);

	if (t->proto != NETSTACK_UDP)
		return false;
	/* Where any port is read, what it is has been looked at. */
	if (f->gw->cfg->tls_any_port && f->gw->cfg->tls_intercept)
		return t->remote.port == 443 || f->quic != QUIC_NONE;
	return weir_config_reads_port(f->gw->cfg, t->remote.port);
}

bool gateway_hides_dns(const struct flow *f)
{
	return f->offers_dot && !f->gw->cfg->dns_doh && !judge_means_doh(&f->gw->judge, &f->ruling);
}

static void wait_for_name(struct flow *f)
{
	f->early = true;
	f->deadline.cb = gateway_first_timeout;
	loop_timer_set(f->gw->loop, &f->deadline, loop_now(f->gw->loop) + FIRST_BYTES_WAIT);
	netstack_flow_accept(f->ns);
}

size_t gateway_pick(struct flow *f, const struct endpoint *to, size_t n,
		    struct endpoint pass[static DIAL_MAX_ADDRS], struct ruling *ret_denied)
{
	struct name names[FLOW_NAMES];
	size_t n_pass = 0;

	for (int observed = 0; observed <= 1 && n_pass == 0; observed++)
		for (size_t i = 0; i < n && n_pass < DIAL_MAX_ADDRS; i++) {
			struct policy_facts facts = gateway_flow_facts(f, &to[i].addr, names);
			struct ruling r = judge_facts(&f->gw->judge, &facts);

			if (r.answer == POLICY_ANSWER_DENY && i == 0)
				*ret_denied = r;
			if (r.answer == POLICY_ANSWER_DENY || r.observed != observed)
				continue;
			if (n_pass == 0)
				f->ruling = r;
			if (r.answer == f->ruling.answer)
				pass[n_pass++] = to[i];
		}
	return n_pass;
}

/* False: the rule has as many flows as it may, and this one was refused. */
static bool limit_allows(struct flow *f, const struct ip_addr *addr)
{
	struct name names[FLOW_NAMES];
	struct policy_facts facts = gateway_flow_facts(f, addr, names);
	const char *full;

	/* It may be counted already: judged again while it is dialled. */
	netstack_flow_set_class(f->ns, NULL);
	full = gateway_limit_full(f->gw, &f->ruling, &facts);
	if (full) {
		gateway_flow_deny(f, NULL, full);
		return false;
	}
	gateway_limit_join(f, &facts);
	return true;
}

/*
 * What the proxy is to the sandbox: not there. Whoever could talk to it would
 * be asking it for any destination, unjudged. One address of several is enough:
 * told a name, the proxy takes whichever it likes.
 */
static bool reaches_proxy(const struct flow *f, const struct endpoint *to, size_t n)
{
	for (size_t i = 0; f->gw->upstream && i < n; i++)
		if (upstream_is(f->gw->upstream, &to[i]))
			return true;
	return false;
}

/* Through an upstream proxy goes TCP; of the rest, what goes around it. */
static size_t those_it_carries(const struct flow *f, const struct upstream *up, struct endpoint *to,
			       size_t n)
{
	size_t left = 0;

	if (!up || up->cfg->direct_udp || netstack_flow_tuple(f->ns)->proto == NETSTACK_TCP)
		return n;
	for (size_t i = 0; i < n; i++)
		if (upstream_bypasses(up->cfg, &to[i].addr))
			to[left++] = to[i];
	return left;
}

/* Only a name that is the address's own says which way; a client can write any. */
static bool goes_around(const struct flow *f, const struct upstream *up)
{
	return up && f->name.len && (f->has_name || !f->unproven) &&
	       upstream_bypasses_name(up->cfg, &f->name);
}

static void dial(struct flow *f, struct endpoint *to, size_t n)
{
	const struct upstream *up = f->gw->upstream;
	bool by_name;

	if (reaches_proxy(f, to, n)) {
		gateway_flow_deny(f, NULL, proxy_itself);
		return;
	}
	if (goes_around(f, up))
		up = NULL;
	n = those_it_carries(f, up, to, n);
	if (n == 0) {
		gateway_flow_deny(
			f, NULL,
			"only TCP goes through the upstream proxy; the rest may go around "
			"it by --proxy-udp direct or --proxy-bypass");
		return;
	}
	if (gateway_parked_serves(f, to, n))
		return;
	by_name = up && up->cfg->names && f->has_name;
	if (!f->dial)
		f->dial = calloc(1, sizeof(*f->dial));
	if (!f->dial) {
		gateway_flow_fail(f, ENOMEM, "no memory for another connection");
		return;
	}
	f->dial->hops = netstack_flow_hop_limit(f->ns);
	if (f->dial->hops > PROBE_HOPS)
		f->dial->hops = 0;
	dial_start(f->dial, f->gw->loop, netstack_flow_tuple(f->ns)->proto, to, by_name ? 1 : n, up,
		   by_name ? &f->name : NULL, on_dialled, f);
}

/* As with TLS over TCP: denied, or while only observing let through and recorded so. */
static bool allow_disagreement(struct flow *f)
{
	if (judge_enforces(&f->gw->judge)) {
		gateway_flow_deny(f, NULL, f->quic_doubt);
		return false;
	}
	f->ruling = judge_own_refusal(&f->gw->judge);
	f->doubt = f->quic_doubt;
	return true;
}

void gateway_flow_judge(struct flow *f, const struct endpoint *to, size_t n)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	struct endpoint pass[DIAL_MAX_ADDRS];
	struct ruling denied = judge_refusal(&f->gw->judge);
	size_t n_pass = gateway_pick(f, to, n, pass, &denied);

	if (n_pass == 0) {
		gateway_flow_deny(f, &denied, f->doubt);
		return;
	}
	if (reaches_proxy(f, to, n)) {
		gateway_flow_deny(f, NULL, proxy_itself);
		return;
	}
	if (is_hidden_quic(f)) {
		gateway_flow_deny(f, NULL, HIDDEN_QUIC);
		return;
	}
	if (gateway_hides_dns(f)) {
		gateway_flow_deny(f, NULL, HIDDEN_DNS);
		return;
	}
	if (f->ruling.answer == POLICY_ANSWER_NEED_NAME) {
		wait_for_name(f);
		return;
	}
	if (!limit_allows(f, &pass[0].addr))
		return;
	f->name_rests = f->name_rests || (f->has_name && gateway_name_matters(f, &pass[0].addr));
	if (f->quic_doubt && f->name_rests && !allow_disagreement(f))
		return;
	/* What the sandbox calls its gateway is this machine's loopback, in either family. */
	if (is_gateway(&f->gw->cfg->net, &t->remote.addr)) {
		bool v6 = t->remote.addr.family == 6 && t->proto != NETSTACK_UDP;

		pass[v6] = (struct endpoint){ ip4(127, 0, 0, 1), t->remote.port };
		pass[!v6] = (struct endpoint){ { 6, { [15] = 1 } }, t->remote.port };
		n_pass = t->proto == NETSTACK_UDP ? 1 : 2;
	}
	dial(f, pass, n_pass);
}

/* ---- new flows ------------------------------------------------------------ */

static void on_addresses(void *user, int error, const struct ip_addr *addrs, size_t n)
{
	struct flow *f = user;
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	struct endpoint to[DIAL_MAX_ADDRS * 2];

	f->lookup = NULL;
	if (error == -EPERM) {
		gateway_flow_deny(f, NULL, "no address of this name may be used");
		return;
	}
	if (error == -EDQUOT) {
		gateway_flow_deny(f, NULL,
				  "too many questions about names of this domain: allow this one "
				  "in full, or set dns.budget");
		return;
	}
	if (n == 0) {
		gateway_flow_fail(f, error == -ETIMEDOUT ? ETIMEDOUT : EHOSTUNREACH,
				  "the name has no address");
		return;
	}
	n = MIN(n, ARRAY_SIZE(to));
	for (size_t i = 0; i < n; i++)
		to[i] = (struct endpoint){ addrs[i], t->remote.port };
	gateway_flow_judge(f, to, n);
}

/* DNS goes through us and nowhere else. */
static const char *other_resolution(const struct netstack_tuple *t)
{
	if (t->remote.port == 853)
		return t->proto == NETSTACK_TCP
			       ? "DNS over TLS is read only with --tls-intercept; the resolver is "
				 "on port 53"
			       : "DNS over QUIC is refused; the resolver is on port 53";
	if (t->proto == NETSTACK_UDP &&
	    (t->remote.port == 5353 || t->remote.port == 5355 || t->remote.port == 137))
		return "multicast DNS, LLMNR and NetBIOS names are refused";
	return NULL;
}

/* Most addresses have no name; idle flows are not to carry room for eight. */
static bool learn_candidates(struct flow *f, const struct ip_addr *a)
{
	struct name names[FLOW_CANDIDATES];
	size_t n = dns_names_of(f->gw->dns, a, names, FLOW_CANDIDATES);

	if (n == 0)
		return true;
	f->candidates = malloc(n * sizeof(*names));
	if (!f->candidates)
		return false;
	memcpy(f->candidates, names, n * sizeof(*names));
	f->n_candidates = n;
	return true;
}

static void new_real(struct flow *f)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	bool tcp = t->proto == NETSTACK_TCP;

	if (!learn_candidates(f, &t->remote.addr)) {
		gateway_flow_fail(f, ENOMEM, "no memory for the names of an address");
		return;
	}
	/* The name in front of an encrypted one is nobody's here. */
	if (f->quic == QUIC_SEALED)
		f->name = (struct name){ 0 };
	/* A datagram of anything but QUIC tells no name; what the address was given out for is all there will be. */
	f->fact = tcp			  ? POLICY_UNKNOWN
		  : f->quic == QUIC_NAMED ? POLICY_KNOWN
		  : f->quic != QUIC_NONE  ? POLICY_NONE
		  : f->n_candidates	  ? POLICY_KNOWN
					  : POLICY_NONE;
	f->unproven = f->quic == QUIC_NAMED &&
		      !flow_name_given(&f->name, NULL, f->candidates, f->n_candidates);
	if (f->unproven)
		f->doubt = "the client names a host that this address was not given out for";
	gateway_flow_judge(f, &t->remote, 1);
}

static void new_virtual(struct flow *f)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	struct name shown = f->name;
	struct ruling r;

	if (!dns_virtual_name(f->gw->dns, &t->remote.addr, &f->name)) {
		gateway_flow_fail(f, EHOSTUNREACH, no_name);
		return;
	}
	f->quic_doubt = gateway_quic_doubt(f, f->quic, &shown);
	f->has_name = true;
	f->doubt = NULL;
	f->fact = POLICY_KNOWN;
	f->name_from = "virtual";
	/* Denied since it was given out: not even its resolution may leave. */
	r = judge_name(&f->gw->judge, &f->name);
	if (r.answer == POLICY_ANSWER_DENY) {
		gateway_flow_deny(f, &r, NULL);
		return;
	}
	struct dns_lookup *l = dns_resolve(f->gw->dns, &f->name, on_addresses, f);

	/* NULL: on_addresses has run, and the flow may be gone. */
	if (l)
		f->lookup = l;
}

static void new_gateway_echo(struct flow *f)
{
	struct name names[FLOW_NAMES];
	struct policy_facts facts;
	struct ruling r;

	f->fact = POLICY_NONE;
	facts = gateway_flow_facts(f, &netstack_flow_tuple(f->ns)->remote.addr, names);
	r = judge_facts(&f->gw->judge, &facts);
	if (r.answer != POLICY_ANSWER_ALLOW) {
		gateway_flow_deny(f, &r, NULL);
		return;
	}
	f->ruling = r;
	gateway_flow_allowed(f);
	netstack_flow_local(f->ns);
}

void gateway_flow_new(void *ctx, struct netstack_flow *ns)
{
	struct gateway *gw = ctx;
	const struct netstack_tuple *t = netstack_flow_tuple(ns);
	bool dns = t->proto != NETSTACK_ICMP && t->remote.port == 53;
	bool dot = t->proto == NETSTACK_TCP && t->remote.port == 853 && gw->cfg->tls_intercept &&
		   gateway_has_proxy(gw);
	bool echo = t->proto == NETSTACK_ICMP && is_gateway(&gw->cfg->net, &t->remote.addr);
	struct flow *f = gateway_flow_alloc(gw,
					    dns || dot ? FLOW_DNS
					    : echo     ? FLOW_ECHO
						       : FLOW_EGRESS,
					    ns);

	if (!f) {
		netstack_flow_refuse(ns, NETSTACK_LIMIT);
		return;
	}
	if (dns && t->proto == NETSTACK_TCP)
		gateway_dns_tcp(f);
	else if (dns)
		netstack_flow_local(ns);
	else if (dot)
		gateway_dns_tls(f);
	else if (echo)
		new_gateway_echo(f);
	else if (t->proto != NETSTACK_ICMP && other_resolution(t))
		gateway_flow_deny(f, NULL, other_resolution(t));
	else if (t->proto == NETSTACK_UDP && !is_hidden_quic(f))
		gateway_quic_look(f);
	else
		gateway_flow_begin(f);
}

void gateway_flow_begin(struct flow *f)
{
	if (dns_is_virtual(f->gw->dns, &netstack_flow_tuple(f->ns)->remote.addr))
		new_virtual(f);
	else
		new_real(f);
}
