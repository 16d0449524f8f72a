/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tlsproxy process: reads the secrets, gives up its rights, serves flows.
 * It has its own copy of the policy and asks it for every TLS name and every
 * request; the gateway's word that a flow may be dialled is not enough.
 *
 * It never waits for the gateway, which waits for it: what it sends there is
 * dropped when the gateway does not keep up.
 */
#include "weir/proxy.h"

#include "weir/addresses.h"
#include "weir/flow_name.h"
#include "weir/harden.h"
#include "weir/message.h"
#include "weir/proxy_masks.h"
#include "weir/proxy_tokens.h"
#include "weir/proxy_change.h"
#include "weir/proxy_secrets.h"
#include "weir/record.h"
#include "weir/secret_source.h"
#include "weir/tls_setup.h"
#include "weir/wiped_heap.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

struct proxy {
	const struct weir_config *cfg;
	struct loop *loop;
	struct tlsproxy *tp;
	struct proxy_secrets secrets;
	struct proxy_changes changes;
	struct record record;
	struct judge judge;
	struct worker worker; /* loads policies */
	struct loop_io gateway_io, supervisor_io;
	struct buf path;		/* scratch: a request's path, normalised */
	struct tlsproxy_finder *finder; /* of placeholders in TLS names */
};

static _Noreturn void fail(const struct proxy_spec *spec, const struct conf_error *err)
{
	if (msg_send_text(spec->supervisor, MSG_FAILED, 0, err->text) < 0)
		_exit(1);
	_exit(1);
}

static const char refused_doh[] =
	"DNS over HTTPS goes around the resolver that judges names; use the system's resolver, or "
	"allow it (dns.doh, --dns-doh, a rule on group doh)";

static void on_secret_event(void *ctx, const struct tlsproxy_secret_event *s);
static void on_terminate(void *ctx, const char *env);

/* ---- policy ------------------------------------------------------------------ */

static bool was_given(const struct tlsproxy_flow *f, const struct name *n)
{
	return flow_name_given(n, f->has_name ? &f->name : NULL, f->candidates, f->n_candidates);
}

/*
 * What stands for the address that an explicit proxy dials. A public proxy reaches what is
 * public. What one inside reaches by a name nobody knows: no rule allows it by its
 * address, and any that denies addresses may mean it.
 */
static struct ip_addr address_behind(const struct proxy *px, const struct tlsproxy_flow *f)
{
	if (!f->has_name || policy_group_of(&f->upstream.addr) != POLICY_GROUP_PUBLIC)
		return f->remote.addr;
	return policy_public_sample(px->judge.policy);
}

/* What the flow is known by, for facts that outlive the call: one at a time, in one thread. */
static struct policy_facts facts_of(const struct proxy *px, const struct tlsproxy_flow *f,
				    const struct name *name)
{
	static struct name names[1 + ARRAY_SIZE(f->candidates)];
	struct policy_facts facts = {
		.dir = POLICY_EGRESS,
		.proto = POLICY_TCP,
		.addr = f->upstream.addr,
		.is_host = is_gateway(&px->cfg->net, &f->remote.addr),
		.port = f->remote.port,
		.name = POLICY_NONE,
	};

	/* Judged as what it is to the sandbox, not as the loopback it stands for. */
	if (facts.is_host)
		facts.addr = f->remote.addr;
	if (f->connect)
		facts.addr = address_behind(px, f);
	if (!name && f->has_name)
		name = &f->name;
	if (name) {
		facts.name = POLICY_KNOWN;
		facts.names = names;
		facts.name_unproven = !was_given(f, name);
		names[facts.n_names++] = *name;
		/* A name that is only claimed does not hide those that the address is known by. */
		if (facts.name_unproven && f->has_name)
			names[facts.n_names++] = f->name;
		for (size_t i = 0; facts.name_unproven && i < f->n_candidates; i++)
			names[facts.n_names++] = f->candidates[i];
	}
	return facts;
}

/* What the sandbox is told in a 403, when the rule has no reason of its own. */
static const char *default_reason(const struct policy_verdict *v)
{
	if (v->floor)
		return v->rule < 0 ? "the operator's floor: " RECORD_NO_RULE
				   : "a rule of the operator's floor";
	return v->rule < 0 ? RECORD_NO_RULE : "";
}

static void fill_verdict(struct proxy *px, const struct ruling *r, const char *detail,
			 struct tlsproxy_verdict *ret)
{
	const struct policy_verdict *v = &r->by;
	char rule[24];

	*ret = (struct tlsproxy_verdict){
		.allow = r->answer != POLICY_ANSWER_DENY,
		.need_http = r->answer == POLICY_ANSWER_NEED_HTTP,
		.floor = r->ruled && v->floor,
		.tag = r->generation,
	};
	if (r->ruled)
		snprintf(ret->rule, sizeof(ret->rule), "%s", record_rule_name(v, rule));
	if (detail || v->reason)
		snprintf(ret->reason, sizeof(ret->reason), "%s", detail ? detail : v->reason);
	else if (v->answer == POLICY_ANSWER_DENY)
		snprintf(ret->reason, sizeof(ret->reason), "%s", default_reason(v));
	/* Allowed with a denial id: only observed. */
	if (!ret->allow || r->observed)
		record_denial_id(&px->record, ret->denial_id);
}

/* A placeholder in the TLS name: refused as it is in a request. */
static bool name_violates(struct proxy *px, const struct tlsproxy_flow *f, const struct name *sni,
			  struct tlsproxy_verdict *ret)
{
	struct tlsproxy_secret_event e = { .flow = f,
					   .violation = true,
					   .name = sni->s,
					   .detail = NULL,
					   .protocol = "sni",
					   .path = "",
					   .denial_id = "",
					   .method = NULL };
	struct tlsproxy_known k;
	size_t i;

	if (!tlsproxy_finder_name(px->finder, sni, &i, &e.encoding) || !tlsproxy_known(px->tp, i, &k))
		return false;
	e.env = k.env;
	e.action = k.on_violation;
	if (e.action != TLSPROXY_PASSTHROUGH) {
		*ret = (struct tlsproxy_verdict){ .reason = "a secret where it may not be: its "
							    "placeholder in the TLS name" };
		record_denial_id(&px->record, ret->denial_id);
		e.denial_id = ret->denial_id;
	}
	if (e.action != TLSPROXY_BLOCK)
		on_secret_event(px, &e);
	if (e.action == TLSPROXY_BLOCK_AND_TERMINATE)
		on_terminate(px, k.env);
	return e.action != TLSPROXY_PASSTHROUGH;
}

static void judge_tls(void *ctx, const struct tlsproxy_flow *f, bool has_sni,
		      const struct name *sni, struct tlsproxy_verdict *ret)
{
	struct proxy *px = ctx;
	struct policy_facts facts = facts_of(px, f, has_sni ? sni : NULL);
	struct ruling r = judge_facts(&px->judge, &facts);

	if (has_sni && name_violates(px, f, sni, ret))
		return;
	fill_verdict(px, &r, NULL, ret);
}

static bool reads_tls(const struct weir_config *cfg, const struct tlsproxy_flow *f)
{
	return weir_config_reads_port(cfg, f->remote.port) &&
	       !(f->has_name &&
		 tlsproxy_host_matches_any(cfg->tls_bypass, cfg->n_tls_bypass, &f->name));
}

static void judge_connect(void *ctx, const struct tlsproxy_flow *f, struct tlsproxy_verdict *ret)
{
	struct proxy *px = ctx;
	struct policy_facts facts = facts_of(px, f, NULL);
	struct ruling r = judge_facts(&px->judge, &facts);

	fill_verdict(px, &r, NULL, ret);
	ret->intercept = reads_tls(px->cfg, f);
}

/*
 * Its path can be read in two ways: refused by a rule that denies it anyhow, else
 * for this alone. *ret_detail is set when it matters to the rules.
 */
static struct ruling judge_unreadable(struct proxy *px, const struct policy_facts *facts,
				      const char **ret_detail)
{
	struct ruling r = judge_facts(&px->judge, facts);

	if (!policy_has_http(px->judge.policy))
		return r;
	*ret_detail = "the path can be read in two ways";
	return r.by.answer == POLICY_ANSWER_DENY ? r : judge_own_refusal(&px->judge);
}

/*
 * DNS over HTTPS is denied unless the configuration, or a rule on group doh, means
 * it. A denial that is only observed means nothing: it stays on the record as it
 * is, or, with a floor, is a refusal that holds.
 */
static bool goes_around_resolver(const struct proxy *px, const struct tlsproxy_request *r,
				 const struct ruling *ruling)
{
	if (!r->doh || px->cfg->dns_doh || ruling->answer == POLICY_ANSWER_DENY)
		return false;
	if (ruling->observed)
		return judge_enforces(&px->judge);
	return !judge_means_doh(&px->judge, ruling);
}

static void judge_http(void *ctx, const struct tlsproxy_request *r, struct tlsproxy_verdict *ret)
{
	struct proxy *px = ctx;
	const struct name *name = r->has_sni		 ? &r->sni
				  : r->authority.is_addr ? NULL
							 : &r->authority.name;
	struct policy_facts facts = facts_of(px, r->flow, name);
	const char *path, *detail = NULL;
	struct ruling ruling;

	facts.http = POLICY_NONE;
	buf_reset(&px->path);
	/* "*" of OPTIONS has no path; rules by path do not match it. */
	if (r->target[0] == '/' &&
	    policy_path_normalise(r->target, strlen(r->target), &px->path) < 0) {
		ruling = judge_unreadable(px, &facts, &detail);
	} else {
		path = buf_str(&px->path);
		if (path) {
			facts.http = POLICY_KNOWN;
			facts.method = r->method;
			facts.path = path;
		}
		ruling = judge_facts(&px->judge, &facts);
	}
	if (!detail && goes_around_resolver(px, r, &ruling)) {
		detail = refused_doh;
		ruling = judge_own_refusal(&px->judge);
	}
	fill_verdict(px, &ruling, detail, ret);
}

static bool path_matches(void *ctx, const char *pattern, const char *target)
{
	struct proxy *px = ctx;
	const char *path;

	buf_reset(&px->path);
	if (target[0] != '/' || policy_path_normalise(target, strlen(target), &px->path) < 0)
		return false;
	path = buf_str(&px->path);
	return path && policy_path_match(pattern, path);
}

static void new_denial_id(void *ctx, char ret[static 40])
{
	struct proxy *px = ctx;

	record_denial_id(&px->record, ret);
}

/* ---- record ------------------------------------------------------------------- */

static void begin_event(struct proxy *px, struct audit_event *e, const char *kind,
			const struct tlsproxy_flow *f)
{
	char id[DENIAL_ID_LEN];

	record_flow_id(&px->record, f->id, id);
	audit_event_begin(e, kind);
	audit_str(e, "id", id);
}

static void add_verdict(struct audit_event *e, const struct tlsproxy_verdict *v)
{
	if (!v)
		return;
	if (v->allow && v->denial_id[0])
		audit_str(e, "observed", "deny");
	audit_str(e, "rule", v->rule);
	audit_str(e, "reason", v->reason);
	if (v->floor)
		audit_bool(e, "floor", true);
	audit_str(e, "denial", v->denial_id);
	/* None: the refusal is the proxy's own. */
	if (v->tag)
		audit_u64(e, "generation", v->tag);
}

/* Refused for its name before any rule was asked: a refusal all the same. */
static bool is_misnamed(const struct tlsproxy_tls_event *t)
{
	return !t->ok && !t->verdict && t->has_sni && t->flow->has_name &&
	       !name_equal(&t->sni, &t->flow->name);
}

static void on_tls_event(void *ctx, const struct tlsproxy_tls_event *t)
{
	struct proxy *px = ctx;
	char denial[DENIAL_ID_LEN], upstream[ENDPOINT_STRLEN];
	struct audit_event e;

	begin_event(px, &e, "tls", t->flow);
	audit_str(&e, "sni", t->has_sni ? t->sni.s : NULL);
	audit_str(&e, "verdict",
		  is_misnamed(t) || (t->verdict && !t->verdict->allow) ? "deny"
		  : t->ok					       ? "allow"
								       : "fail");
	add_verdict(&e, t->verdict);
	if (is_misnamed(t)) {
		record_denial_id(&px->record, denial);
		audit_str(&e, "denial", denial);
	}
	if (t->unverified)
		audit_bool(&e, "unverified", true);
	if (t->reused)
		audit_bool(&e, "reused", true);
	if (t->dialled)
		audit_str(&e, "upstream", endpoint_format(&t->flow->upstream, upstream));
	audit_str(&e, "detail", t->detail);
	record_send(&px->record, &e);
}

static const char *outcome_name(enum tlsproxy_http_outcome o)
{
	switch (o) {
	case TLSPROXY_HTTP_FORWARDED:
		return "forwarded";
	case TLSPROXY_HTTP_DENIED:
		return "denied";
	case TLSPROXY_HTTP_BAD_REQUEST:
		return "bad_request";
	case TLSPROXY_HTTP_MISDIRECTED:
		return "misdirected";
	case TLSPROXY_HTTP_UPSTREAM_FAILED:
		return "upstream_failed";
	case TLSPROXY_HTTP_VIOLATION:
		return "violation";
	case TLSPROXY_HTTP_CANCELLED:
		return "cancelled";
	}
	return "unknown";
}

static void add_host(struct audit_event *e, const struct authority *a)
{
	char ip[IP_STRLEN];

	audit_str(e, "host", a->is_addr ? ip_format(&a->addr, ip) : a->name.s);
}

static void on_http_event(void *ctx, const struct tlsproxy_http_event *h)
{
	struct proxy *px = ctx;
	struct audit_event e;

	begin_event(px, &e, "http", h->req->flow);
	audit_str(&e, "method", h->req->method);
	add_host(&e, &h->req->authority);
	audit_str(&e, "path", h->req->target);
	audit_bool(&e, "tls", h->req->tls);
	audit_u64(&e, "status", h->status);
	audit_str(&e, "outcome", outcome_name(h->outcome));
	audit_str(&e, "verdict",
		  h->outcome == TLSPROXY_HTTP_FORWARDED || h->outcome == TLSPROXY_HTTP_CANCELLED
			  ? "allow"
		  : h->outcome == TLSPROXY_HTTP_UPSTREAM_FAILED ? "fail"
								: "deny");
	add_verdict(&e, h->verdict);
	/* Of a denial that was answered, the rule and its reason say more. */
	if (h->outcome != TLSPROXY_HTTP_DENIED || h->status != 403)
		audit_str(&e, "detail", h->detail);
	audit_u64(&e, "bytes_up", h->bytes_up);
	audit_u64(&e, "bytes_down", h->bytes_down);
	record_send(&px->record, &e);
}

static const char *place_name(enum tlsproxy_place p)
{
	switch (p) {
	case TLSPROXY_IN_HEADER:
		return "header";
	case TLSPROXY_IN_BASIC:
		return "basic";
	case TLSPROXY_IN_QUERY:
		return "query";
	case TLSPROXY_IN_PATH:
		return "path";
	case TLSPROXY_IN_BODY:
		return "body";
	case TLSPROXY_IN_WEBSOCKET:
		return "websocket";
	}
	return "name"; /* of the TLS handshake */
}

static const char *action_name(enum tlsproxy_violation a)
{
	switch (a) {
	case TLSPROXY_BLOCK:
		return "block";
	case TLSPROXY_BLOCK_AND_LOG:
		return "block_and_log";
	case TLSPROXY_BLOCK_AND_TERMINATE:
		return "block_and_terminate";
	case TLSPROXY_PASSTHROUGH:
		return "passthrough";
	}
	return "unknown";
}

static void on_secret_event(void *ctx, const struct tlsproxy_secret_event *s)
{
	struct proxy *px = ctx;
	struct audit_event e;

	if (!s->violation)
		proxy_token_used(s->env);
	begin_event(px, &e, "secret", s->flow);
	audit_str(&e, "secret", s->env);
	audit_str(&e, "event", s->violation ? "violation" : "used");
	audit_str(&e, "verdict",
		  !s->violation || s->action == TLSPROXY_PASSTHROUGH ? "allow" : "deny");
	audit_str(&e, "place", place_name(s->place));
	audit_str(&e, "name", s->name);
	audit_str(&e, "encoding", s->encoding);
	audit_str(&e, "protocol", s->protocol);
	audit_str(&e, "host", s->host);
	audit_str(&e, "method", s->method);
	audit_str(&e, "path", s->path);
	if (s->uses)
		audit_u64(&e, "uses", s->uses);
	audit_str(&e, "action", s->violation ? action_name(s->action) : NULL);
	audit_str(&e, "denial", s->denial_id);
	audit_str(&e, "detail", s->detail);
	record_send(&px->record, &e);
	if (!s->violation && s->uses)
		proxy_secrets_used(&px->secrets, s->env, s->uses);
}

/* ---- the other processes --------------------------------------------------------- */

static void on_flow_done(void *ctx, uint64_t id, bool reset)
{
	struct proxy *px = ctx;
	struct msg m = { .done = { .id = id, .reset = reset } };

	/* An orderly end the gateway sees by itself, in the descriptor. */
	if (reset &&
	    msg_send(px->gateway_io.fd, MSG_FLOW_DONE, 0, &m.done, sizeof(m.done), NULL, 0) < 0)
		log_debug("flow end not told");
}

static void on_parked(void *ctx, const struct name *host, const struct endpoint *to, bool any)
{
	struct proxy *px = ctx;
	struct msg_parked p = { .host = *host, .to = *to };

	/* Lost, it costs a connection or a question more. */
	if (msg_send(px->gateway_io.fd, MSG_PARKED, any, &p, sizeof(p), NULL, 0) < 0)
		log_debug("parked connection not told");
}

static void on_dial(void *ctx, uint64_t id)
{
	struct proxy *px = ctx;
	struct msg m = { .done = { .id = id } };

	/* Lost, the flow ends with a 504 of its own. */
	if (msg_send(px->gateway_io.fd, MSG_FLOW_DIAL, 0, &m.done, sizeof(m.done), NULL, 0) < 0)
		log_debug("wish for a connection not told");
}

static void on_terminate(void *ctx, const char *env)
{
	struct proxy *px = ctx;

	record_flush(&px->record);
	if (msg_send_text(px->record.sock, MSG_TERMINATE, 0, env) < 0)
		_exit(1);
}

static void on_keylog(void *ctx, const char *line)
{
	struct proxy *px = ctx;
	char text[512];

	snprintf(text, sizeof(text), "%s\n", line);
	if (msg_send_text(px->gateway_io.fd, MSG_KEYLOG, 0, text) < 0)
		log_debug("key log line not told");
}

/* Everything the gateway says is checked: it may have been taken over. */
static bool flow_is_sane(const struct tlsproxy_flow *f)
{
	bool ok = f->name.len <= NAME_MAX_LEN && f->name.s[f->name.len] == 0 &&
		  f->n_candidates <= ARRAY_SIZE(f->candidates) && (f->tls || !f->terminate) &&
		  (f->remote.addr.family == 4 || f->remote.addr.family == 6) &&
		  (f->upstream.addr.family == 4 || f->upstream.addr.family == 6);

	for (size_t i = 0; ok && i < f->n_candidates; i++)
		ok = f->candidates[i].len <= NAME_MAX_LEN &&
		     f->candidates[i].s[f->candidates[i].len] == 0;
	return ok;
}

static bool is_flow(const struct msg *m, ssize_t n, size_t n_fds)
{
	return m->head.type == MSG_FLOW && (size_t)n >= sizeof(m->flow) &&
	       (n_fds == 2 ||
		(n_fds == 1 && m->flow.tls && (m->flow.has_name || m->flow.n_candidates))) &&
	       flow_is_sane(&m->flow);
}

static bool is_dialled(const struct msg *m, ssize_t n, size_t n_fds)
{
	return m->head.type == MSG_FLOW_DIALLED && (size_t)n >= sizeof(m->dialled) &&
	       n_fds == (m->head.value ? 0 : 1) &&
	       (n_fds == 0 || m->dialled.to.addr.family == 4 || m->dialled.to.addr.family == 6);
}

static void on_gateway(struct loop_io *io, uint32_t revents)
{
	struct proxy *px = container_of(io, struct proxy, gateway_io);
	int fds[2] = { -1, -1 };
	size_t n_fds = 0;
	struct msg m;
	ssize_t n = msg_recv(io->fd, &m, fds, 2, &n_fds);

	(void)revents;
	if (n == -ECONNRESET) {
		loop_stop(px->loop, 0);
		return;
	}
	if (n < 0)
		return;
	if (m.head.type == MSG_DIALLED && (size_t)n >= sizeof(m.dial) && n_fds < 2) {
		proxy_tokens_dialled(&m, n_fds ? fds[0] : -1);
		return;
	}
	if (is_dialled(&m, n, n_fds)) {
		tlsproxy_flow_dialled(px->tp, m.dialled.id, fds[0], &m.dialled.to,
				      strerror(m.head.value));
		return;
	}
	if (!is_flow(&m, n, n_fds)) {
		while (n_fds)
			fd_close(fds[--n_fds]);
		return;
	}
	if (tlsproxy_flow_start(px->tp, &m.flow, fds[0], fds[1]) < 0)
		log_debug("flow not started");
}

static size_t rejudge(void *ctx)
{
	struct proxy *px = ctx;

	return tlsproxy_rejudge(px->tp);
}

static void on_supervisor(struct loop_io *io, uint32_t revents)
{
	struct proxy *px = container_of(io, struct proxy, supervisor_io);
	size_t n_fds = 0;
	struct msg m;
	int fd = -1;
	ssize_t n = msg_recv(io->fd, &m, &fd, 1, &n_fds);

	(void)revents;
	if (n == -ECONNRESET)
		loop_stop(px->loop, 0);
	else if (n >= 0 && !judge_message(&px->judge, &m, (size_t)n, fd, rejudge, px) &&
		 !proxy_change_message(&px->changes, &m, (size_t)n, fd))
		fd_close(fd);
}

/* ---- start ------------------------------------------------------------------------ */

/* Descriptor secrets are read first, then everything that is not ours is closed. */
static void keep_only_ours(struct proxy_spec *spec)
{
	const int keep[] = { spec->supervisor, spec->gateway, spec->vault.fd };
	/* Two for each flow, and some to spare. */
	size_t above = 3 * (size_t)spec->cfg->max_connections + 1024;
	struct rlimit l = { .rlim_cur = 1024 };
	int high;

	rights_close_others(keep, ARRAY_SIZE(keep));
	/*
	 * A process that is killed closes its descriptors from the highest number on (the
	 * kernel works them off last in, first out). The channel goes above all others,
	 * so that the gateway has learned of the death when it sees a flow's end.
	 */
	(void)getrlimit(RLIMIT_NOFILE, &l);
	high = fcntl(spec->gateway, F_DUPFD_CLOEXEC, (int)MIN(above, (size_t)l.rlim_cur - 1));
	if (high >= 0) {
		fd_close(spec->gateway);
		spec->gateway = high;
	}
}

/*
 * Where the limit on locked memory can be lifted (by root, before it becomes
 * nobody), nothing of this process is ever written to swap: neither values, which
 * are locked in any case, nor what passes through its buffers.
 */
static void lock_memory(void)
{
	struct rlimit l = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_MEMLOCK, &l) < 0 && getrlimit(RLIMIT_MEMLOCK, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		(void)setrlimit(RLIMIT_MEMLOCK, &l);
	}
	if (l.rlim_cur != RLIM_INFINITY || mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		log_info("only keys and values are locked in memory, not what passes through "
			 "(ulimit -l unlimited would let all of it be)");
}

static int start_tlsproxy(struct proxy *px, struct proxy_spec *spec, struct conf_error *err)
{
	static const struct tlsproxy_ops plain = {
		.judge_tls = judge_tls,
		.judge_http = judge_http,
		.judge_connect = judge_connect,
		.new_denial_id = new_denial_id,
		.tls_event = on_tls_event,
		.http_event = on_http_event,
		.secret_event = on_secret_event,
		.flow_done = on_flow_done,
		.terminate = on_terminate,
		.await = proxy_token_want,
		.mask = proxy_mask,
		.path_matches = path_matches,
		.parked = on_parked,
		.dial = on_dial,
	};
	static struct tlsproxy_ops ops;
	const struct weir_config *cfg = px->cfg;
	struct secret_config *all = NULL;
	struct secret_list list = { 0 };
	size_t n = 0;
	struct tlsproxy_config tc = {
		.max_flows = cfg->max_connections,
	};
	struct tls_setup tls = { 0 };
	char why[512] = "";
	int r;

	ops = plain;
	if (spec->keylog)
		ops.keylog = on_keylog;
	r = proxy_secrets_open(&px->secrets, !spec->restarts, err);
	keep_only_ours(spec);
	px->secrets.vault.fd = spec->vault.fd;
	if (r == 0)
		r = tls_setup(cfg, &tc, &tls);
	if (r == 0)
		r = loop_new(&px->loop);
	if (r == 0)
		r = proxy_secrets_removed(&px->secrets, &all, &n);
	if (r == 0)
		r = secret_list_new(all, n, &px->secrets.kept, &list);
	if (r == 0) {
		tc.secrets = list.v;
		tc.n_secrets = list.n;
		if (spec->restarts) {
			tc.ca_pem = px->secrets.kept.ca_pem;
			tc.ca_key = px->secrets.kept.ca_key;
			tc.ca_key_len = px->secrets.kept.ca_key_len;
		}
		r = tlsproxy_new(px->loop, &tc, &ops, px, &px->tp, why, sizeof(why));
		if (r < 0)
			conf_error_set(err, "the tlsproxy cannot start: %s",
				       *why ? why : strerror(-r));
	}
	/* What only its predecessors had is removed again, and remembered as that. */
	if (r == 0 && n > cfg->n_secrets)
		r = proxy_secrets_begin(&px->secrets, px->tp, err);
	secret_list_free(&list);
	free(all);
	tls_setup_fini(&tls);
	secret_wipe_environment(cfg);
	return r;
}

/* Names are looked through here and by the gateway, which is told what for. */
static void tell_known(void *ctx)
{
	struct proxy *px = ctx;
	const char *placeholders[2 * CONFIG_SECRETS_MAX];
	struct tlsproxy_known k;
	char text[KEPT_TOKEN_NAME_MAX + TLSPROXY_SECRET_MAX + 2];
	size_t n = 0;
	int r = 0;

	for (; n < ARRAY_SIZE(placeholders) && tlsproxy_known(px->tp, n, &k); n++) {
		placeholders[n] = k.placeholder;
		snprintf(text, sizeof(text), "%s=%s", k.env, k.placeholder);
		if (r == 0)
			r = msg_send_text(px->gateway_io.fd, MSG_KNOWN, k.on_violation, text);
	}
	if (r == 0)
		r = msg_send(px->gateway_io.fd, MSG_KNOWN_ALL, (int32_t)n, NULL, 0, NULL, 0);
	tlsproxy_finder_free(px->finder);
	px->finder = NULL;
	if (r < 0 || tlsproxy_finder_new(placeholders, n, &px->finder) < 0)
		log_warn("names are not looked through for placeholders: %s", strerror(-r));
}

static int announce(const struct proxy *px, const struct proxy_spec *spec)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < px->cfg->n_secrets; i++)
		r = msg_send_text(spec->supervisor, MSG_PLACEHOLDER, (int32_t)i,
				  tlsproxy_placeholder(px->tp, i));
	if (r == 0)
		r = msg_send_text(spec->supervisor, MSG_CA, 0, tlsproxy_ca_pem(px->tp));
	if (r == 0)
		r = msg_send(spec->supervisor, MSG_READY, 0, NULL, 0, NULL, 0);
	for (size_t i = 0; r == 0 && i < px->cfg->n_secrets; i++)
		if (px->secrets.lives[i])
			r = msg_send_text(spec->supervisor, MSG_SECRET_LIFE,
					  (int32_t)px->secrets.lives[i], px->cfg->secrets[i].env);
	return r;
}

_Noreturn void proxy_main(struct proxy_spec *spec)
{
	static struct proxy px;
	struct conf_error err = { { 0 } };
	int r;

	harden_begin("weir-tlsproxy", spec->parent);
	log_setup("tlsproxy", log_level_get());
	px.cfg = spec->cfg;
	judge_init(&px.judge, spec->cfg->policy, spec->cfg->observe);
	judge_listen(&px.judge, &px.worker, &px.record);
	px.judge.generation = spec->generation;
	px.secrets.cfg = spec->cfg;
	px.secrets.vault = spec->vault;
	buf_init(&px.path, 1 << 17);
	lock_memory();
	wiped_heap_begin();
	r = start_tlsproxy(&px, spec, &err);
	/* Ids of its denials and those of its predecessors are not to be mistaken. */
	px.record = (struct record){ .sock = spec->supervisor,
				     .tag = 't',
				     .next_denial = (uint64_t)spec->restarts << 32 };
	snprintf(px.record.run, sizeof(px.record.run), "%s", spec->run);
	if (r < 0) {
		if (!err.text[0])
			conf_error_set(&err, "the tlsproxy cannot start: %s", strerror(-r));
		fail(spec, &err);
	}
	if (harden_isolate(HARDEN_TLSPROXY, &err) < 0)
		fail(spec, &err);
	record_batch(&px.record, px.loop);
	proxy_tokens_init(&px.secrets, px.tp, px.loop, &px.record, &px.gateway_io);
	proxy_masks_init(&px.secrets, px.tp, px.loop, &px.record, tell_known, &px);
	proxy_changes_init(&px.changes, &px.secrets, px.tp, px.loop, &px.record);
	r = loop_io_add(px.loop, &px.gateway_io, spec->gateway, EPOLLIN, on_gateway);
	if (r == 0)
		r = loop_io_add(px.loop, &px.supervisor_io, spec->supervisor, EPOLLIN, on_supervisor);
	if (r == 0)
		r = worker_start(&px.worker, px.loop);
	if (r == 0)
		r = fd_set_nonblock(spec->gateway, true);
	if (r == 0)
		r = proxy_secrets_keep(&px.secrets, px.tp, &err);
	if (r < 0 && err.text[0])
		fail(spec, &err);
	if (r < 0) {
		conf_error_set(&err, "the tlsproxy cannot start: %s", strerror(-r));
		fail(spec, &err);
	}
	if (harden_seccomp(HARDEN_TLSPROXY, &err) < 0)
		fail(spec, &err);
	tell_known(&px);
	px.changes.changed = tell_known;
	px.changes.ctx = &px;
	if (announce(&px, spec) < 0)
		_exit(1);
	r = loop_run(px.loop);
	proxy_changes_end(&px.changes);
	tlsproxy_free(px.tp);
	record_flush(&px.record);
	proxy_secrets_close(&px.secrets);
	_exit(r < 0 ? 1 : r);
}
