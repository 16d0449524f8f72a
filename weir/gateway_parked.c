/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows that need no dialling, because the tlsproxy has a verified connection to
 * their name at one of their addresses left from another flow.
 *
 *   verdict: dial ─► one is parked? ─► hands shaken, nothing dialled
 *        a hello that the tlsproxy is to read ─► handed over without an upstream
 *             it has none any more ─► MSG_FLOW_DIAL ─► resolved, judged, dialled: MSG_FLOW_DIALLED
 *        anything else, or nothing for a while ─► dialled, then looked at as always
 *
 * The address has been judged as one that is dialled. What the tlsproxy says it has is a hint and
 * nothing more: a wrong one costs a question, and an old one is forgotten (TLSPROXY_PARKED_S).
 * Only names that the address was given out for are served so, and never over an upstream
 * proxy. Where the rules need the name first, hello and verdict are behind it already: such a
 * flow is handed over at once.
 */
#include "weir/gateway_int.h"

#include "weir/message.h"

/* A client that says nothing waits for its server to speak: that has to be dialled. */
#define SILENCE_WAIT (NS_PER_S / 4)

struct parked {
	struct hmap_node node;
	struct list lru;
	struct name host;
	struct endpoint to;
	uint64_t until;
};

int gateway_parked_start(struct gateway *gw)
{
	list_init(&gw->parked.lru);
	return hmap_init(&gw->parked.map, 16);
}

static void drop(struct gateway *gw, struct parked *p)
{
	hmap_remove(&gw->parked.map, &p->node);
	list_del(&p->lru);
	gw->parked.n--;
	free(p);
}

void gateway_parked_forget(struct gateway *gw)
{
	list_for_each_safe (it, next, &gw->parked.lru)
		drop(gw, container_of(it, struct parked, lru));
}

void gateway_parked_end(struct gateway *gw)
{
	gateway_parked_forget(gw);
	hmap_fini(&gw->parked.map);
}

static uint64_t hash_of(const struct gateway *gw, const struct name *host)
{
	return hash_bytes(&gw->key, host->s, host->len);
}

static struct parked *find(const struct gateway *gw, const struct name *host,
			   const struct endpoint *to)
{
	hmap_for_hash (it, &gw->parked.map, hash_of(gw, host)) {
		struct parked *p = container_of(it, struct parked, node);

		if (name_equal(&p->host, host) && p->to.port == to->port &&
		    ip_equal(&p->to.addr, &to->addr))
			return p;
	}
	return NULL;
}

static void add(struct gateway *gw, const struct msg_parked *w)
{
	struct parked *p = calloc(1, sizeof(*p));

	if (!p)
		return;
	p->host = w->host;
	p->to = w->to;
	p->until = loop_now(gw->loop) + TLSPROXY_PARKED_S * NS_PER_S;
	hmap_insert(&gw->parked.map, &p->node, hash_of(gw, &p->host));
	list_add_tail(&gw->parked.lru, &p->lru);
	if (++gw->parked.n > GATEWAY_PARKED_MAX)
		drop(gw, container_of(gw->parked.lru.next, struct parked, lru));
}

void gateway_parked_word(struct gateway *gw, const struct msg *m, size_t len)
{
	const struct msg_parked *w = &m->parked;
	struct parked *p;

	if (len < sizeof(*w) || w->host.len > NAME_MAX_LEN || w->host.s[w->host.len])
		return;
	p = find(gw, &w->host, &w->to);
	if (p)
		drop(gw, p);
	if (m->head.value)
		add(gw, w);
}

/* ---- instead of dialling --------------------------------------------------------------------- */

static bool is_bypassed(const struct gateway *gw, const struct name *host)
{
	return tlsproxy_host_matches_any(gw->cfg->tls_bypass, gw->cfg->n_tls_bypass, host);
}

/* Is it one whose hello goes to the tlsproxy, if it sends one? */
static bool fits(const struct flow *f)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	uint8_t hops = netstack_flow_hop_limit(f->ns);

	return t->proto == NETSTACK_TCP && !f->shaken &&
	       f->early == (f->want_proxy && f->proxy_tls) && f->gw->proxy >= 0 &&
	       !f->gw->upstream && weir_config_reads_port(f->gw->cfg, t->remote.port) &&
	       !is_gateway(&f->gw->cfg->net, &t->remote.addr) && (!hops || hops > PROBE_HOPS);
}

static const struct parked *find_for(const struct flow *f, const struct name *host,
				     const struct endpoint *to, size_t n)
{
	const struct parked *p = NULL;

	if (is_bypassed(f->gw, host))
		return NULL;
	for (size_t i = 0; !p && i < n; i++)
		p = find(f->gw, host, &to[i]);
	return p && p->until > loop_now(f->gw->loop) ? p : NULL;
}

static const struct parked *find_any(const struct flow *f, const struct endpoint *to, size_t n)
{
	const struct parked *p = NULL;

	if (f->has_name)
		return find_for(f, &f->name, to, n);
	for (size_t i = 0; !p && i < f->n_candidates; i++)
		if (!f->early || name_equal(&f->name, &f->candidates[i]))
			p = find_for(f, &f->candidates[i], to, n);
	return p;
}

static void on_silence(struct loop_timer *t)
{
	gateway_parked_dial(container_of(t, struct flow, deadline));
}

bool gateway_parked_serves(struct flow *f, const struct endpoint *to, size_t n)
{
	struct gateway *gw = f->gw;
	const struct parked *p;

	if (list_empty(&gw->parked.lru) || !fits(f))
		return false;
	p = find_any(f, to, n);
	if (!p)
		return false;
	f->upstream = p->to;
	f->shaken = true;
	if (f->early) {
		gateway_to_proxy(f, -1);
		return true;
	}
	f->undialled = true;
	f->deadline.cb = on_silence;
	loop_timer_set(gw->loop, &f->deadline, loop_now(gw->loop) + SILENCE_WAIT);
	netstack_flow_accept(f->ns);
	return true;
}

void gateway_parked_dial(struct flow *f)
{
	f->undialled = false;
	loop_timer_del(f->gw->loop, &f->deadline);
	if (f->has_name)
		gateway_flow_begin(f);
	else
		gateway_flow_judge(f, &netstack_flow_tuple(f->ns)->remote, 1);
}

/* ---- dialled for the tlsproxy -------------------------------------------------------------------- */

static void answer(struct flow *f, int fd, int error)
{
	struct msg_dialled d = { .id = f->id, .to = f->upstream };
	struct gateway *gw = f->gw;
	int r = gw->proxy_gone
			? 0
			: msg_send(gw->proxy, MSG_FLOW_DIALLED, error, &d, sizeof(d), &fd, fd >= 0);

	fd_close(fd);
	if (r == -EPIPE || r == -ECONNRESET)
		gateway_proxy_died(gw);
	else if (r < 0)
		netstack_flow_abort(f->ns);
}

static void on_late_dialled(void *user, int fd, int error, const struct endpoint *to)
{
	struct flow *f = user;

	if (fd >= 0)
		f->upstream = *to;
	free(f->dial);
	f->dial = NULL;
	answer(f, fd, fd < 0 && !error ? ECONNREFUSED : MAX(error, 0));
}

static void dial_late(struct flow *f, const struct endpoint *to, size_t n)
{
	struct ruling denied = judge_refusal(&f->gw->judge);
	struct endpoint pass[DIAL_MAX_ADDRS];
	size_t n_pass = gateway_pick(f, to, n, pass, &denied);

	if (n_pass)
		f->dial = calloc(1, sizeof(*f->dial));
	if (f->dial)
		dial_start(f->dial, f->gw->loop, NETSTACK_TCP, pass, n_pass, NULL, NULL,
			   on_late_dialled, f);
	else
		answer(f, -1, n_pass ? ENOMEM : EACCES);
}

static void on_late_addresses(void *user, int error, const struct ip_addr *addrs, size_t n)
{
	struct flow *f = user;
	struct endpoint to[DIAL_MAX_ADDRS * 2];

	f->lookup = NULL;
	n = MIN(n, ARRAY_SIZE(to));
	for (size_t i = 0; i < n; i++)
		to[i] = (struct endpoint){ addrs[i], netstack_flow_tuple(f->ns)->remote.port };
	if (n)
		dial_late(f, to, n);
	else
		answer(f, -1, error == -EPERM ? EACCES : EHOSTUNREACH);
}

void gateway_parked_late(struct flow *f)
{
	struct dns_lookup *l;

	if (f->dial)
		dial_cancel(f->dial);
	free(f->dial);
	f->dial = NULL;
	if (!f->has_name) {
		dial_late(f, &netstack_flow_tuple(f->ns)->remote, 1);
		return;
	}
	l = dns_resolve(f->gw->dns, &f->name, on_late_addresses, f);
	/* NULL: on_late_addresses has run. */
	if (l)
		f->lookup = l;
}
