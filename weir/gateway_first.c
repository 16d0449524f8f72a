/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client's first bytes tell, and who gets the flow.
 *
 * A flow comes here in one of two states, always with its bytes held:
 *   dialled  the rules allow it so far; still open is whether the TLS name
 *            agrees with the flow's, and whether the tlsproxy has to read it
 *   early    the rules need a name: the handshake is done, nothing is dialled
 *
 * There is a third, as good as dialled: the tlsproxy has a connection for it. Only a hello
 * that it is to read can do with that; anything else, silence too, is dialled for
 * and then looked at.
 *
 * It leaves in one of three: relayed as it is, handed to the tlsproxy, or
 * reset and recorded. What cannot be read in time is judged as having no name.
 */
#include "weir/gateway_int.h"

#include "weir/flow_name.h"
#include "weir/host_hint.h"
#include "weir/message.h"

#include <strings.h>
#include <sys/socket.h>

/* Socket buffers of the pair to the tlsproxy, each way. */
#define PAIR_BUFFER (1 << 20)

#define HTTP_PORT 80

static bool was_given(const struct flow *f, const struct name *name)
{
	return flow_name_given(name, f->has_name ? &f->name : NULL, f->candidates, f->n_candidates);
}

/* A server name is the client's word: it opens no way past the reader of another host. */
static bool is_bypassed(const struct flow *f, const struct tlsproxy_sniff *s)
{
	const struct weir_config *cfg = f->gw->cfg;
	const struct name *name = s->has_sni ? &s->sni : f->has_name ? &f->name : NULL;

	return name && was_given(f, name) &&
	       tlsproxy_host_matches_any(cfg->tls_bypass, cfg->n_tls_bypass, name);
}

/* ---- to the tlsproxy --------------------------------------------------------- */

void gateway_to_proxy(struct flow *f, int upstream_fd)
{
	int sv[2], r, size = PAIR_BUFFER;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) < 0) {
		fd_close(upstream_fd);
		gateway_flow_fail(f, EMFILE, "out of descriptors");
		return;
	}
	for (int i = 0; i < 2; i++)
		(void)setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	r = gateway_proxy_send(f, sv[1], upstream_fd);
	if (r < 0) {
		fd_close(sv[0]);
		gateway_flow_fail(f, EIO, "the tlsproxy died and is not back yet: try again");
		return;
	}
	f->with_proxy = true;
	hmap_insert(&f->gw->flows, &f->by_id, hash_bytes(&f->gw->key, &f->id, sizeof(f->id)));
	gateway_flow_allowed(f);
	netstack_flow_attach(f->ns, sv[0], false);
}

/* ---- outcomes ----------------------------------------------------------------- */

/* Dialled flow: its held bytes go straight on. */
static void pass_on(struct flow *f)
{
	gateway_flow_allowed(f);
	netstack_flow_release(f->ns);
}

/* An early flow has its facts now: judge, then dial. name is f->name, or NULL. */
static void judge_early(struct flow *f, const struct name *name, bool read_on);

/* What cannot be read cannot be judged; while only observing it passes, and is recorded so. */
static void refuse_unread(struct flow *f, const char *detail)
{
	if (judge_enforces(&f->gw->judge)) {
		gateway_flow_deny(f, NULL, detail);
	} else if (f->early) {
		judge_early(f, NULL, false);
	} else {
		f->ruling = judge_own_refusal(&f->gw->judge);
		f->doubt = detail;
		pass_on(f);
	}
}

static void hand_over(struct flow *f, bool tls)
{
	int fd;

	f->proxy_tls = tls;
	if (!gateway_has_proxy(f->gw)) {
		gateway_flow_deny(f, NULL, "reading requests needs --tls-intercept");
		return;
	}
	if (f->undialled) {
		f->undialled = false;
		gateway_to_proxy(f, -1);
		return;
	}
	fd = netstack_flow_detach(f->ns);
	if (fd < 0)
		refuse_unread(f, "the server spoke before the request could be read");
	else
		gateway_to_proxy(f, fd);
}

static void judge_early(struct flow *f, const struct name *name, bool read_on)
{
	struct endpoint to = netstack_flow_tuple(f->ns)->remote;
	bool given = name && was_given(f, name);

	loop_timer_del(f->gw->loop, &f->deadline);
	f->want_proxy = read_on && gateway_has_proxy(f->gw);
	f->unreadable = !f->want_proxy;
	if (!name)
		f->doubt = f->sealed
				   ? "the server name is encrypted, and the address was not given "
				     "out for the one in front of it"
				   : "no name could be read from the first bytes";
	else if (!given)
		f->doubt = "the client names a host that this address was not given out for";
	f->fact = name ? POLICY_KNOWN : POLICY_NONE;
	f->unproven = name && !given;
	gateway_flow_judge(f, &to, 1);
}

/* The rules wanted a request and there will be none. */
static bool denied_without_http(struct flow *f, const char *detail)
{
	struct policy_facts facts;
	struct ruling r;

	if (f->ruling.answer != POLICY_ANSWER_NEED_HTTP)
		return false;
	f->unreadable = true;
	facts = gateway_facts(f, &f->upstream.addr);
	/* Judged as what it is to the sandbox, not as the loopback it stands for. */
	if (facts.is_host)
		facts.addr = netstack_flow_tuple(f->ns)->remote.addr;
	facts.name = f->has_name ? POLICY_KNOWN : POLICY_NONE;
	facts.names = &f->name;
	facts.n_names = f->has_name;
	r = judge_facts(&f->gw->judge, &facts);
	if (r.answer == POLICY_ANSWER_ALLOW) {
		f->ruling = r;
		gateway_limit_join(f, &facts);
		f->doubt = r.observed ? detail : f->doubt;
		return false;
	}
	gateway_flow_deny(f, &r, detail);
	return true;
}

/* ---- what it is ------------------------------------------------------------------ */

/*
 * With an encrypted ClientHello the name in front may stand for any other. It is
 * taken for the name only where the address was given out for it: ordinary
 * clients send random bytes in that extension, too, but dial what they asked for.
 */
static bool name_is_sealed(const struct flow *f, const struct tlsproxy_sniff *s)
{
	return s->has_ech && s->has_sni && !was_given(f, &s->sni);
}

/* Do the rules want a request of a flow that shows this server name? */
static bool wants_request(const struct flow *f, const struct tlsproxy_sniff *s)
{
	struct policy_facts facts;

	if (!f->early || !s->has_sni)
		return f->ruling.answer == POLICY_ANSWER_NEED_HTTP;
	facts = gateway_facts(f, &netstack_flow_tuple(f->ns)->remote.addr);
	facts.name = POLICY_KNOWN;
	facts.names = &s->sni;
	facts.n_names = 1;
	facts.name_unproven = !was_given(f, &s->sni);
	return judge_facts(&f->gw->judge, &facts).answer == POLICY_ANSWER_NEED_HTTP;
}

/* alpn: "h2,http/1.1" */
static bool lists_dot(const char *alpn)
{
	for (const char *end; *alpn; alpn = *end ? end + 1 : end) {
		end = alpn + strcspn(alpn, ",");
		if (end - alpn == 3 && memcmp(alpn, "dot", 3) == 0)
			return true;
	}
	return false;
}

static void learned_tls(struct flow *f, const struct tlsproxy_sniff *s)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	bool read_on = (weir_config_reads_port(f->gw->cfg, t->remote.port) || wants_request(f, s)) &&
		       !is_bypassed(f, s);
	char denial[DENIAL_ID_LEN];

	/* Whoever reads the requests learns the name from them. */
	f->sealed = f->early && !read_on && name_is_sealed(f, s);
	if (s->has_sni && !f->sealed) {
		f->name_from = f->has_name ? f->name_from : "sni";
		if (!f->has_name)
			f->name = s->sni;
	}
	if (s->sni_invalid) {
		refuse_unread(f, "the TLS server name is not a host name");
		return;
	}
	if (s->has_sni && gateway_name_violates(f->gw, &s->sni, "sni", f->id, denial)) {
		gateway_flow_deny(f, NULL,
				  "a secret where it may not be: its placeholder in a TLS name");
		return;
	}
	f->offers_dot = lists_dot(s->alpn);
	if (f->early) {
		f->proxy_tls = true;
		judge_early(f, s->has_sni && !f->sealed ? &s->sni : NULL, read_on);
		return;
	}
	if (gateway_hides_dns(f)) {
		gateway_flow_deny(f, NULL, HIDDEN_DNS);
		return;
	}
	if (read_on) {
		hand_over(f, true);
		return;
	}
	f->name_agrees = !s->has_sni || name_equal(&s->sni, &f->name);
	if (f->has_name && f->name_rests && !f->name_agrees) {
		refuse_unread(
			f, s->has_ech ? "the TLS server name is not the name of the address, and "
					"an encrypted one (ECH) cannot be judged"
				      : "the TLS server name is not the name of the address");
		return;
	}
	if (!denied_without_http(f, "bypassed: its requests cannot be read"))
		pass_on(f);
}

/* What is, or may be, HTTP without TLS. */
static void read_plain(struct flow *f)
{
	if (f->gw->cfg->n_secrets || f->name_rests || f->ruling.answer == POLICY_ANSWER_NEED_HTTP)
		hand_over(f, false);
	else
		pass_on(f);
}

/*
 * To an explicit proxy: whom it is for stands in the request. On HTTP's own port an
 * absolute form is an ordinary request spelled long.
 */
static bool asks_proxy(const struct flow *f, const uint8_t *p, size_t len)
{
	const char *space = memchr(p, ' ', len);
	size_t left = space ? len - (size_t)(space + 1 - (const char *)p) : 0;

	if (len > 8 && memcmp(p, "CONNECT ", 8) == 0)
		return true;
	return left >= 7 && strncasecmp(space + 1, "http://", 7) == 0 &&
	       netstack_flow_tuple(f->ns)->remote.port != HTTP_PORT;
}

/* Do the rules speak of anything that a request to a proxy would hide from them? */
static bool proxy_matters(const struct flow *f)
{
	const struct policy *p = f->gw->judge.policy;

	return policy_has_names(p) || policy_has_http(p);
}

/* Returns false while more bytes are needed. */
static bool learned_http(struct flow *f, const uint8_t *p, size_t len, bool eof)
{
	struct host_hint host;

	if (f->early) {
		host_hint(p, len, &host);
		if (host.kind == HOST_HINT_MORE && !eof && len < NETSTACK_HOLD_MAX)
			return false;
		f->proxy_tls = false;
		f->name_from = "http";
		if (host.kind == HOST_HINT_NAME)
			f->name = host.name;
		judge_early(f, host.kind == HOST_HINT_NAME ? &f->name : NULL, true);
		return true;
	}
	if (proxy_matters(f) && asks_proxy(f, p, len))
		hand_over(f, false);
	else
		read_plain(f);
	return true;
}

/* Prior knowledge: its streams name hosts of their own, which only their reader sees. */
static void learned_h2c(struct flow *f)
{
	if (f->early) {
		f->proxy_tls = false;
		f->name_from = "http";
		judge_early(f, NULL, true);
	} else {
		read_plain(f);
	}
}

/* RFC 8446 5.1: content types 20 to 24; a server may skip an alert before the hello. */
static bool is_tls_record(uint8_t first_byte)
{
	return first_byte >= 20 && first_byte <= 24;
}

static void pass_unread(struct flow *f, const char *what)
{
	if (f->early)
		judge_early(f, NULL, false);
	else if (!denied_without_http(f, what))
		pass_on(f);
}

/* A protocol that names nobody: nothing in it speaks of another name. */
static void learned_other(struct flow *f, const char *what)
{
	f->name_agrees = true;
	pass_unread(f, what);
}

/*
 * A few bytes and then silence. A capital letter may be the first of a method
 * (on HTTP's own port any byte: some servers take "get"), 0x16 that of a
 * ClientHello: those are waited for and then given up, because
 * a request in two halves must not get past its reader. Anything else is a
 * protocol of its own whose server is to speak next.
 */
static void on_undecided(struct loop_timer *t)
{
	struct flow *f = container_of(t, struct flow, deadline);

	if (is_tls_record(f->first_byte))
		refuse_unread(f, "a TLS handshake that was not finished in time");
	else if (f->first_byte == '\r' || f->first_byte == '\n' ||
		 (f->first_byte >= 'A' && f->first_byte <= 'Z') ||
		 netstack_flow_tuple(f->ns)->remote.port == HTTP_PORT)
		read_plain(f);
	else
		learned_other(f, "the first bytes could not be read");
}

static void undecided(struct flow *f, uint8_t first_byte)
{
	uint64_t wait = is_tls_record(first_byte) ? FIRST_BYTES_WAIT : UNDECIDED_WAIT;

	if (f->early || loop_timer_armed(&f->deadline))
		return;
	f->first_byte = first_byte;
	f->deadline.cb = on_undecided;
	loop_timer_set(f->gw->loop, &f->deadline, loop_now(f->gw->loop) + wait);
}

/* A hello, and the tlsproxy's to read; or what may become one. */
static bool can_do_undialled(const struct flow *f, const struct tlsproxy_sniff *s, const uint8_t *p,
			     size_t len, bool eof)
{
	if (s->kind == TLSPROXY_SNIFF_MORE)
		return !eof && len < NETSTACK_HOLD_MAX && (len == 0 || is_tls_record(p[0]));
	return s->kind == TLSPROXY_SNIFF_TLS && !s->sni_invalid && !is_bypassed(f, s);
}

void gateway_flow_bytes(void *ctx, struct netstack_flow *ns, const uint8_t *p, size_t len, bool eof)
{
	struct flow *f = netstack_flow_user(ns);
	struct tlsproxy_sniff s;

	(void)ctx;
	/* Judged already; the bytes wait for the dial. */
	if (flow_dialling(f) || (f->shaken && f->lookup) ||
	    (f->early && !loop_timer_armed(&f->deadline)))
		return;
	tlsproxy_sniff(p, len, eof, &s);
	if (f->undialled && !can_do_undialled(f, &s, p, len, eof)) {
		gateway_parked_dial(f);
		return;
	}
	/* Its timer is that of the dial. */
	if (f->undialled && s.kind == TLSPROXY_SNIFF_MORE)
		return;
	if (!f->early && s.kind != TLSPROXY_SNIFF_MORE)
		loop_timer_del(f->gw->loop, &f->deadline);
	switch (s.kind) {
	case TLSPROXY_SNIFF_MORE:
		if (eof || len >= NETSTACK_HOLD_MAX)
			learned_other(f, "the first bytes could not be read");
		else if (len)
			undecided(f, p[0]);
		break;
	case TLSPROXY_SNIFF_TLS:
		learned_tls(f, &s);
		break;
	case TLSPROXY_SNIFF_HTTP:
		learned_http(f, p, len, eof);
		break;
	case TLSPROXY_SNIFF_BAD_TLS:
		refuse_unread(f, "a TLS handshake that cannot be read");
		break;
	case TLSPROXY_SNIFF_H2C:
		learned_h2c(f);
		break;
	case TLSPROXY_SNIFF_OTHER:
		learned_other(f, "neither TLS nor HTTP: there is no request to read");
		break;
	}
}

void gateway_flow_server_first(void *ctx, struct netstack_flow *ns)
{
	struct flow *f = netstack_flow_user(ns);

	(void)ctx;
	if (f->early || flow_dialling(f))
		return;
	loop_timer_del(f->gw->loop, &f->deadline);
	learned_other(f, "the server speaks first: there is no request to read");
}

void gateway_first_timeout(struct loop_timer *t)
{
	judge_early(container_of(t, struct flow, deadline), NULL, false);
}
