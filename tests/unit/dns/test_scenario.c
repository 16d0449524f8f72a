/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replays tests/scenario/dns/NAME.txt against the resolver with a scripted
 * upstream and scripted time. One statement a line, # begins a comment; every
 * reply, event and upstream question must be accounted for by the end.
 *
 *	mode virtual|real             names N       pending N       grace SECONDS
 *	virtual4 PREFIX|none          virtual6 PREFIX|none
 *	record NAME ADDR              deny SUFFIX   filter PREFIX
 *	stale SECONDS
 *	budget NAMES BYTES QUERIES SECONDS           exact NAME
 *	unfilter PREFIX               the policy changes
 *	types SUFFIX                  MX, SRV and TXT may be asked below it
 *	untypes                       the policy changes
 *	no-quic                       dns_config.no_quic
 *	query ID TYPE NAME [tcp|tls] [edns=SIZE] [version=N] [opt=HEX] [class=N] [opcode=N]
 *	      [questions=N] [norad] [cd] [trail]   NAME: \DDD escapes, "." the root
 *	raw ID HEX                    a message as it is
 *	reply ID TEXT                 what came back, see reply_text()
 *	waiting ID                    nothing came back so far
 *	cancel ID
 *	ask TYPE NAME                 the next question upstream
 *	answer TYPE NAME RCODE [tc] [question=NAME] [RR ; RR ...]
 *	      RR: [@]OWNER TTL TYPE DATA, @ for the authority section; DATA: see put_data(), or
 *	      hex:BYTES
 *	fail TYPE NAME timeout|io|rcode
 *	event TEXT                    the next event, see on_event()
 *	resolve ID NAME               resolved ID ERROR ADDR...
 *	names ADDR = NAME...          virtual ADDR = NAME|none
 *	hold ADDR                     release ADDR       a flow begins, ends
 *	advance N(s|ms)
 *	repeat N query|reply|ask|event ... with %d counting from 1
 */
#include "words.h"

#include <dirent.h>

#define MAX_ITEMS 2048

struct asked {
	struct dns_ask *a;
	bool seen, done;
};

struct got {
	char id[16];
	struct dns_query *handle;
	struct dns_lookup *lookup;
	uint8_t question[DNS_QUESTION_MAX + 64];
	size_t question_len;
	uint16_t dns_id;
	bool rd, replied, checked;
	char text[4096];
};

static struct {
	struct dns *d;
	struct dns_config cfg;
	struct dns_record records[16];
	struct name deny[8];
	size_t n_deny;
	struct name exact[8];
	size_t n_exact;
	struct ip_prefix filter[8];
	size_t n_filter;
	struct name types[8];
	size_t n_types;
	uint64_t now, wake;
	struct asked asked[MAX_ITEMS];
	size_t n_asked;
	struct got got[MAX_ITEMS];
	size_t n_got;
	char *events[MAX_ITEMS];
	size_t n_events, events_read;
	uint16_t next_id;
} S;

static void add(char *out, const char *fmt, ...) printf_like(2, 3);
static void add(char *out, const char *fmt, ...)
{
	size_t n = strlen(out);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out + n, 4096 - n, fmt, ap);
	va_end(ap);
}

static void add_addrs(char *out, const char *key, const struct ip_addr *a, size_t n)
{
	char s[IP_STRLEN];

	for (size_t i = 0; i < n; i++)
		add(out, "%s%s", i ? "," : key, ip_format(&a[i], s));
}

/* ---- the policy, the record, the upstream ----------------------------------- */

static bool judge_query(void *ctx, const struct dns_question *q, bool *ret_exact,
			struct dns_denial *ret)
{
	*ret_exact = false;
	(void)ctx;
	for (size_t i = 0; i < S.n_exact; i++)
		*ret_exact |= name_equal(&q->name, &S.exact[i]);
	for (size_t i = 0; i < S.n_deny; i++) {
		if (!name_in_suffix(&q->name, &S.deny[i], true))
			continue;
		snprintf(ret->id, sizeof(ret->id), "d1");
		snprintf(ret->text, sizeof(ret->text), "denied by rule %zu", i + 1);
		return false;
	}
	return true;
}

static bool judge_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
			 struct dns_denial *ret)
{
	(void)ctx;
	(void)q;
	for (size_t i = 0; i < S.n_filter; i++) {
		if (!ip_in_prefix(a, &S.filter[i]))
			continue;
		snprintf(ret->id, sizeof(ret->id), "r1");
		snprintf(ret->text, sizeof(ret->text), "address not allowed");
		return false;
	}
	return true;
}

static bool judge_alias(void *ctx, const struct dns_question *q, const struct name *alias,
			struct dns_denial *ret)
{
	(void)ctx;
	(void)q;
	for (size_t i = 0; i < S.n_deny; i++) {
		if (!name_in_suffix(alias, &S.deny[i], true))
			continue;
		snprintf(ret->id, sizeof(ret->id), "a1");
		snprintf(ret->text, sizeof(ret->text), "alias denied by rule %zu", i + 1);
		return false;
	}
	return true;
}

static bool judge_type(void *ctx, const struct dns_question *q)
{
	(void)ctx;
	for (size_t i = 0; i < S.n_types; i++)
		if (name_in_suffix(&q->name, &S.types[i], true))
			return true;
	return false;
}

/* RESULT NAME|- TYPE udp|tcp|tls [real=A,..] [given=A] [id=ID] [DETAIL] */
static void on_event(void *ctx, const struct dns_event *e)
{
	static const char *const results[] = { "?",	   "ANSWERED", "EMPTY",
					       "NXDOMAIN", "DENIED",   "REBIND",
					       "FAILED",   "REFUSED",  "BUDGET" };
	char out[4096] = "";

	(void)ctx;
	add(out, "%s %s %s %s", results[e->result], e->q->name.len ? e->q->name.s : "-",
	    type_text(e->q->type),
	    e->q->transport == DNS_UDP	 ? "udp"
	    : e->q->transport == DNS_TCP ? "tcp"
					 : "tls");
	add_addrs(out, " real=", e->answers, e->n_answers);
	if (e->given)
		add_addrs(out, " given=", e->given, 1); /* of several, the first */
	if (e->denial_id)
		add(out, " id=%s", e->denial_id);
	if (e->detail)
		add(out, " %s", e->detail);
	if (S.n_events == MAX_ITEMS)
		die("too many events");
	S.events[S.n_events++] = strdup(out);
}

static void new_denial_id(void *ctx, char ret[static 40])
{
	(void)ctx;
	snprintf(ret, 40, "b1");
}

static int up_ask(void *up, struct dns_ask *a)
{
	(void)up;
	if (S.n_asked == MAX_ITEMS)
		die("too many questions");
	S.asked[S.n_asked++] = (struct asked){ .a = a };
	return 0;
}

static uint64_t up_now(void *up)
{
	(void)up;
	return S.now;
}

static void up_wake(void *up, uint64_t when)
{
	(void)up;
	S.wake = when;
}

static void up_free(void *up)
{
	(void)up;
}

static const struct dns_upstream fake = {
	.ask = up_ask, .now = up_now, .wake = up_wake, .free = up_free
};

static void start(void)
{
	static const struct dns_ops ops = { .judge_query = judge_query,
					    .judge_answer = judge_answer,
					    .event = on_event,
					    .judge_alias = judge_alias,
					    .judge_type = judge_type,
					    .new_denial_id = new_denial_id };

	if (S.d)
		return;
	S.cfg.records = S.records;
	if (dns_new_with(NULL, &S.cfg, &ops, NULL, &fake, NULL, &S.d) < 0)
		die("dns_new_with failed");
}

/* ---- queries and replies ----------------------------------------------------- */

static struct got *find(const char *id)
{
	for (size_t i = 0; i < S.n_got; i++)
		if (str_eq(S.got[i].id, id))
			return &S.got[i];
	return NULL;
}

static struct got *new_got(const char *id)
{
	struct got *g = &S.got[S.n_got];

	if (find(id))
		die("%s used twice", id);
	if (++S.n_got == MAX_ITEMS)
		die("too many queries");
	snprintf(g->id, sizeof(g->id), "%s", id);
	return g;
}

static void add_ede(char *out, const struct dns_msg *m, const struct dns_rr *rr)
{
	struct rd r = rd_init(m->p + rr->rdata, rr->rdlen);
	uint16_t code, len = 0;
	const uint8_t *p = NULL;

	while (rd_be16(&r, &code)) {
		if (!rd_be16(&r, &len) || !rd_bytes(&r, len, &p))
			die("malformed options in a reply");
		if (code != 15 || len < 2)
			die("option %u in a reply", code);
		add(out, " ede=%u%s%.*s", get_be16(p), len > 2 ? " " : "", len - 2,
		    (const char *)p + 2);
	}
}

/*
 * RCODE [tc] [cd] [A=ADDR,..|TYPE=DATA.. ttl=N] [soa=N] [edns [ede=N TEXT]], or
 * "nothing". The rest of the header and the echoed question are checked always.
 */
static void reply_text(const struct got *g, const uint8_t *msg, size_t len, char *out)
{
	struct dns_msg m = { .p = msg, .len = len };
	struct ip_addr addrs[DNS_MAX_ADDRS];
	struct dns_header h;
	struct dns_rr rr;
	unsigned rcode, n_addrs = 0;
	char opt[4096] = "", soa[64] = "", data[4096] = "", one[1024];
	uint32_t ttl = 0;

	if (!len) {
		add(out, "nothing");
		return;
	}
	if (!dns_header_read(&m, &h) || !(h.flags & DNS_FLAG_QR) || !(h.flags & DNS_FLAG_RA) ||
	    h.flags & 0x0460 || h.id != g->dns_id || !!(h.flags & DNS_FLAG_RD) != g->rd)
		die("reply header: id %04x flags %04x", h.id, h.flags);
	if (h.qd &&
	    (len - m.at < g->question_len || memcmp(msg + m.at, g->question, g->question_len) != 0))
		die("the question is not echoed as it was sent");
	m.at += h.qd ? g->question_len : 0;
	rcode = h.flags & DNS_FLAG_RCODE;
	for (unsigned i = 0; i < (unsigned)h.an + h.ns + h.ar; i++) {
		if (!dns_rr_read(&m, &rr))
			die("malformed record in a reply");
		if (rr.type == DNS_TYPE_OPT) {
			rcode |= rr.ttl >> 24 << 4;
			add(opt, " edns");
			add_ede(opt, &m, &rr);
		} else if (rr.type == DNS_TYPE_SOA) {
			add(soa, " soa=%u", get_be32(msg + rr.rdata + rr.rdlen - 4));
		} else if (rr.type != DNS_TYPE_A && rr.type != DNS_TYPE_AAAA) {
			one[0] = '\0';
			data_text(msg, &rr, one, sizeof(one));
			add(data, " %s=%s", type_text(rr.type), one);
			ttl = rr.ttl;
		} else {
			addrs[n_addrs++] = ip_from_be(rr.rdlen == 4 ? 4 : 6, msg + rr.rdata);
			ttl = rr.ttl;
		}
	}
	if (m.at != len)
		die("bytes behind the reply");
	add(out, "%s%s%s", rcode_text(rcode), h.flags & DNS_FLAG_TC ? " tc" : "",
	    h.flags & DNS_FLAG_CD ? " cd" : "");
	if (n_addrs) {
		add(out, " %s", addrs[0].family == 4 ? "A" : "AAAA");
		add_addrs(out, "=", addrs, n_addrs);
	}
	add(out, "%s", data);
	if (n_addrs || data[0])
		add(out, " ttl=%u", ttl);
	add(out, "%s%s", soa, opt);
}

static void on_reply(void *user, const uint8_t *msg, size_t len)
{
	struct got *g = user;

	if (g->replied)
		die("%s: a second reply", g->id);
	g->replied = true;
	g->handle = NULL;
	reply_text(g, msg, len, g->text);
}

static void send_query(struct got *g, const uint8_t *msg, size_t len, enum dns_transport t)
{
	struct endpoint guest = { ip4(10, 0, 0, 2), 40000 }, server = { ip4(10, 0, 0, 1), 53 };
	/* An exact copy on the heap, so that the sanitizer sees every read beyond it. */
	uint8_t *copy = malloc(len ? len : 1);
	struct dns_query *q;

	if (len)
		memcpy(copy, msg, len);
	q = dns_query(S.d, copy, len, t, &guest, &server, on_reply, g);
	if (!!q == g->replied)
		die("handle and reply disagree");
	g->handle = q;
	free(copy);
}

static void do_query(char **w, size_t n)
{
	uint8_t msg[4096], opt[2048];
	struct dns_out o = { .p = msg, .cap = sizeof(msg) };
	struct got *g = new_got(w[1]);
	unsigned edns = 0, version = 0, class = 1, opcode = 0, questions = 1, flags = 0x100;
	size_t n_opt = 0;
	bool trail = false;
	enum dns_transport t = DNS_UDP;

	for (size_t i = 4; i < n; i++) {
		const char *eq = strchr(w[i], '=');

		if (str_eq(w[i], "tcp"))
			t = DNS_TCP;
		else if (str_eq(w[i], "tls"))
			t = DNS_TLS;
		else if (str_eq(w[i], "norad"))
			flags &= ~0x100u;
		else if (str_eq(w[i], "cd"))
			flags |= 0x10;
		else if (str_eq(w[i], "trail"))
			trail = true;
		else if (str_starts(w[i], "edns="))
			edns = (unsigned)number_of(eq + 1) | 0x10000;
		else if (str_starts(w[i], "version="))
			version = (unsigned)number_of(eq + 1);
		else if (str_starts(w[i], "class="))
			class = (unsigned)number_of(eq + 1);
		else if (str_starts(w[i], "opcode="))
			opcode = (unsigned)number_of(eq + 1);
		else if (str_starts(w[i], "questions="))
			questions = (unsigned)number_of(eq + 1);
		else if (str_starts(w[i], "opt="))
			n_opt = hex_of(eq + 1, opt, sizeof(opt));
		else
			die("unknown option %s", w[i]);
	}
	g->dns_id = S.next_id++;
	g->rd = flags & 0x100;
	dns_put_be16(&o, g->dns_id);
	dns_put_be16(&o, (uint16_t)(flags | opcode << 11));
	dns_put_be16(&o, (uint16_t)questions);
	dns_put_be32(&o, 0);
	dns_put_be16(&o, edns ? 1 : 0);
	for (unsigned i = 0; i < questions; i++) {
		size_t at = o.len;

		put_name(&o, w[3]);
		dns_put_be16(&o, type_of(w[2]));
		dns_put_be16(&o, (uint16_t) class);
		g->question_len = o.len - at;
		memcpy(g->question, msg + at, MIN(g->question_len, sizeof(g->question)));
	}
	if (edns) {
		dns_put_u8(&o, 0);
		dns_put_be16(&o, DNS_TYPE_OPT);
		dns_put_be16(&o, (uint16_t)edns);
		dns_put_be32(&o, version << 16);
		dns_put_be16(&o, (uint16_t)n_opt);
		dns_put(&o, opt, n_opt);
	}
	if (trail)
		dns_put_u8(&o, 0);
	start();
	send_query(g, msg, o.len, t);
}

static void do_raw(char **w)
{
	uint8_t msg[4096];
	struct got *g = new_got(w[1]);
	size_t n = hex_of(w[2], msg, sizeof(msg));

	if (n >= DNS_HEADER_LEN) {
		g->dns_id = get_be16(msg);
		g->rd = msg[2] & 1;
		/* Only replies without the question, or with one question at the usual place. */
		for (size_t at = DNS_HEADER_LEN; at < n && msg[at] < 64; at += msg[at] + 1u) {
			if (msg[at])
				continue;
			g->question_len = MIN(at + 5 - DNS_HEADER_LEN, sizeof(g->question));
			memcpy(g->question, msg + DNS_HEADER_LEN,
			       MIN(g->question_len, n - DNS_HEADER_LEN));
			break;
		}
	}
	start();
	send_query(g, msg, n, DNS_UDP);
}

static void expect(const char *what, const char *got, const char *want)
{
	if (!str_eq(got, want))
		die("%s\n  got:      %s\n  expected: %s", what, got, want);
}

static void do_reply(const char *id, const char *want)
{
	struct got *g = find(id);

	if (!g || !g->replied)
		die("%s: no reply", id);
	expect(id, g->text, want);
	g->checked = true;
}

/* ---- upstream ------------------------------------------------------------------ */

static void do_ask(char **w)
{
	char got[320], want[320];

	snprintf(want, sizeof(want), "%s %s", w[1], w[2]);
	for (size_t i = 0; i < S.n_asked; i++) {
		if (S.asked[i].seen)
			continue;
		S.asked[i].seen = true;
		snprintf(got, sizeof(got), "%s %s", type_text(S.asked[i].a->type),
			 S.asked[i].a->name.s);
		expect("ask", got, want);
		return;
	}
	die("nothing was asked upstream");
}

static struct dns_ask *take_ask(char **w)
{
	struct name n = name_of(w[2]);

	for (size_t i = 0; i < S.n_asked; i++) {
		struct asked *a = &S.asked[i];

		if (a->done || a->a->type != type_of(w[1]) || !name_equal(&a->a->name, &n))
			continue;
		if (!a->seen)
			die("answered before \"ask\" has checked it");
		a->done = true;
		return a->a;
	}
	die("not asked: %s %s", w[1], w[2]);
	return NULL;
}

static void put_rr(struct dns_out *o, char **w)
{
	uint8_t data[2048];
	struct dns_out r = { .p = data, .cap = sizeof(data) };
	uint16_t type = type_of(w[2]);

	if (str_starts(w[3], "hex:")) {
		r.len = hex_of(w[3] + 4, data, sizeof(data));
	} else if (type == DNS_TYPE_A || type == DNS_TYPE_AAAA) {
		struct ip_addr a = addr_of(w[3]);

		dns_put(&r, a.b, ip_size(&a));
	} else if (dns_type_is_data(type)) {
		put_data(&r, type, w[3]);
	} else if (type == DNS_TYPE_CNAME) {
		put_name(&r, w[3]);
	} else if (type == DNS_TYPE_SOA) {
		dns_put(&r, "\0\0", 2);
		for (int i = 0; i < 4; i++)
			dns_put_be32(&r, 7);
		dns_put_be32(&r, (uint32_t)number_of(w[3]));
	} else {
		dns_put(&r, w[3], strlen(w[3]));
	}
	put_name(o, w[0][0] == '@' ? w[0] + 1 : w[0]);
	dns_put_be16(o, type);
	dns_put_be16(o, DNS_CLASS_IN);
	dns_put_be32(o, (uint32_t)number_of(w[1]));
	dns_put_be16(o, (uint16_t)r.len);
	dns_put(o, data, r.len);
}

static void do_answer(char **w, size_t n)
{
	static uint8_t msg[65535];
	struct dns_out o = { .p = msg, .cap = sizeof(msg) };
	struct dns_ask *a = take_ask(w);
	const char *question = w[2];
	unsigned an = 0, ns = 0, flags = 0x8180u | rcode_of(w[3]);
	size_t i = 4, len;
	uint8_t *copy;

	for (; i < n; i++) {
		if (str_eq(w[i], "tc"))
			flags |= 0x200;
		else if (str_starts(w[i], "question="))
			question = w[i] + 9;
		else
			break;
	}
	dns_put_be16(&o, 1);
	dns_put_be16(&o, (uint16_t)flags);
	dns_put_be16(&o, 1);
	dns_put_be32(&o, 0);
	dns_put_be16(&o, 0);
	put_name(&o, question);
	dns_put_be16(&o, a->type);
	dns_put_be16(&o, DNS_CLASS_IN);
	for (; i + 4 <= n; i += 5) {
		put_rr(&o, w + i);
		if (w[i][0] == '@')
			ns++;
		else
			an++;
		if (i + 4 < n && !str_eq(w[i + 4], ";"))
			die("records are separated by \";\"");
	}
	put_be16(msg + 6, (uint16_t)an);
	put_be16(msg + 8, (uint16_t)ns);
	len = o.len;
	copy = malloc(len);
	memcpy(copy, msg, len);
	dns_upstream_done(S.d, a, 0, copy, len);
	free(copy);
}

static void do_fail(char **w)
{
	struct dns_ask *a = take_ask(w);
	int error = str_eq(w[3], "timeout") ? -ETIMEDOUT
		    : str_eq(w[3], "rcode") ? -EREMOTEIO
					    : -EIO;

	dns_upstream_done(S.d, a, error, NULL, 0);
}

/* ---- the rest -------------------------------------------------------------------- */

static void on_addrs(void *user, int error, const struct ip_addr *addrs, size_t n)
{
	struct got *g = user;

	if (g->replied)
		die("%s: resolved twice", g->id);
	g->replied = true;
	g->lookup = NULL;
	add(g->text, "%s", error ? strerrorname_np(-error) : "0");
	for (size_t i = 0; i < n; i++)
		add_addrs(g->text, " ", &addrs[i], 1);
}

static void do_resolve(char **w)
{
	struct got *g = new_got(w[1]);
	struct name n = name_of(w[2]);
	struct dns_lookup *l;

	start();
	l = dns_resolve(S.d, &n, on_addrs, g);
	if (!!l == g->replied)
		die("handle and result disagree");
	g->lookup = l;
}

static void do_cancel(const char *id)
{
	struct got *g = find(id);

	if (!g || g->replied)
		die("%s: nothing to cancel", id);
	dns_query_cancel(g->handle);
	dns_resolve_cancel(g->lookup);
	g->replied = g->checked = true;
}

static void do_names(char **w, size_t n)
{
	struct ip_addr a = addr_of(w[1]);
	struct name names[16];
	size_t k = dns_names_of(S.d, &a, names, ARRAY_SIZE(names));

	if (k != n - 3)
		die("%zu names of %s, expected %zu", k, w[1], n - 3);
	for (size_t i = 0; i < k; i++) {
		bool found = false;

		for (size_t j = 3; j < n; j++)
			found |= str_eq(names[i].s, w[j]);
		if (!found)
			die("unexpected name %s", names[i].s);
	}
}

static void do_virtual(char **w)
{
	struct ip_addr a = addr_of(w[1]);
	struct name n;

	start();
	if (!dns_is_virtual(S.d, &a))
		die("%s is not virtual", w[1]);
	expect(w[1], dns_virtual_name(S.d, &a, &n) ? n.s : "none", w[3]);
}

static void do_advance(const char *s)
{
	uint64_t n = number_of(s);
	uint64_t to = S.now + n * (strstr(s, "ms") ? NS_PER_MS : NS_PER_S);

	while (S.wake && S.wake <= to) {
		S.now = MAX(S.now, S.wake);
		S.wake = 0;
		dns_tick(S.d);
	}
	S.now = to;
}

static void do_config(char **w)
{
	struct dns_record *r = &S.records[S.cfg.n_records];

	if (str_eq(w[0], "mode"))
		S.cfg.mode = str_eq(w[1], "real") ? DNS_REAL : DNS_VIRTUAL;
	else if (str_eq(w[0], "names"))
		S.cfg.max_names = (uint32_t)number_of(w[1]);
	else if (str_eq(w[0], "pending"))
		S.cfg.max_pending = (uint32_t)number_of(w[1]);
	else if (str_eq(w[0], "grace"))
		S.cfg.pin_grace_s = (uint32_t)number_of(w[1]);
	else if (str_eq(w[0], "virtual4"))
		S.cfg.virtual4 = prefix_of(w[1]);
	else if (str_eq(w[0], "virtual6"))
		S.cfg.virtual6 = prefix_of(w[1]);
	else if (str_eq(w[0], "record"))
		*r = (struct dns_record){ name_of(w[1]), addr_of(w[2]) }, S.cfg.n_records++;
	else if (str_eq(w[0], "deny"))
		S.deny[S.n_deny++] = name_of(w[1]);
	else if (str_eq(w[0], "types"))
		S.types[S.n_types++] = name_of(w[1]);
	else if (str_eq(w[0], "no-quic"))
		S.cfg.no_quic = true;
	else if (str_eq(w[0], "stale"))
		S.cfg.stale_s = (uint32_t)number_of(w[1]);
	else if (str_eq(w[0], "exact"))
		S.exact[S.n_exact++] = name_of(w[1]);
	else if (str_eq(w[0], "budget"))
		S.cfg.budget = (struct dns_budget){ .names = (uint32_t)number_of(w[1]),
						    .bytes = (uint32_t)number_of(w[2]),
						    .queries = (uint32_t)number_of(w[3]),
						    .refill_s = (uint32_t)number_of(w[4]) };
	else if (str_eq(w[0], "filter"))
		S.filter[S.n_filter++] = prefix_of(w[1]);
	else if (str_eq(w[0], "unfilter"))
		S.n_filter = 0;
	else if (str_eq(w[0], "untypes"))
		S.n_types = 0;
	else
		die("unknown statement %s", w[0]);
}

static void statement(const char *line);

static void do_repeat(const char *line)
{
	char one[2048];
	unsigned long n = number_of(line + strlen("repeat "));
	const char *rest = strchr(line + strlen("repeat "), ' ');

	for (unsigned long i = 1; i <= n; i++) {
		size_t k = 0;

		for (const char *p = rest + 1; *p && k < sizeof(one) - 16; p++) {
			if (p[0] == '%' && p[1] == 'd') {
				k += (size_t)snprintf(one + k, 16, "%lu", i);
				p++;
			} else {
				one[k++] = *p;
			}
		}
		one[k] = '\0';
		statement(one);
	}
}

/* The text behind n words. */
static const char *behind(const char *line, int n)
{
	while (n-- && line) {
		line = strchr(line, ' ');
		if (line)
			line++;
	}
	return line ? line : "";
}

static void statement(const char *line)
{
	char copy[4096], *w[512];
	size_t n = 0;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *p = copy; n < ARRAY_SIZE(w); p++) {
		p += strspn(p, " ");
		if (!*p)
			break;
		w[n++] = p;
		p += strcspn(p, " ");
		if (!*p)
			break;
		*p = '\0';
	}
	if (n == 0)
		return;
	if (str_eq(w[0], "repeat")) {
		do_repeat(line);
	} else if (str_eq(w[0], "query") && n >= 4) {
		do_query(w, n);
	} else if (str_eq(w[0], "raw") && n == 3) {
		do_raw(w);
	} else if (str_eq(w[0], "reply") || str_eq(w[0], "resolved")) {
		do_reply(w[1], behind(line, 2));
	} else if (str_eq(w[0], "waiting")) {
		if (!find(w[1]) || find(w[1])->replied)
			die("%s is not waiting", w[1]);
	} else if (str_eq(w[0], "cancel")) {
		do_cancel(w[1]);
	} else if (str_eq(w[0], "ask") && n == 3) {
		do_ask(w);
	} else if (str_eq(w[0], "answer") && n >= 4) {
		do_answer(w, n);
	} else if (str_eq(w[0], "fail") && n == 4) {
		do_fail(w);
	} else if (str_eq(w[0], "event")) {
		if (S.events_read == S.n_events)
			die("no event");
		expect("event", S.events[S.events_read++], behind(line, 1));
	} else if (str_eq(w[0], "resolve") && n == 3) {
		do_resolve(w);
	} else if (str_eq(w[0], "names") && n >= 3) {
		do_names(w, n);
	} else if ((str_eq(w[0], "hold") || str_eq(w[0], "release")) && n == 2) {
		struct ip_addr a = addr_of(w[1]);

		start();
		(w[0][0] == 'h' ? dns_hold : dns_release)(S.d, &a);
	} else if (str_eq(w[0], "virtual") && n == 4) {
		do_virtual(w);
	} else if (str_eq(w[0], "advance")) {
		do_advance(w[1]);
	} else {
		do_config(w);
	}
}

static void all_accounted_for(void)
{
	for (size_t i = 0; i < S.n_asked; i++)
		if (!S.asked[i].seen)
			die("asked upstream, unmentioned: %s %s", type_text(S.asked[i].a->type),
			    S.asked[i].a->name.s);
	for (size_t i = 0; i < S.n_got; i++)
		if (S.got[i].replied && !S.got[i].checked)
			die("reply to %s, unmentioned: %s", S.got[i].id, S.got[i].text);
	if (S.events_read < S.n_events)
		die("event, unmentioned: %s", S.events[S.events_read]);
}

static void test_scenario(void **state)
{
	const char *path = *state;
	char line[4096];
	FILE *f = fopen(path, "re");

	memset(&S, 0, sizeof(S));
	at_file = path;
	at_line = 0;
	S.now = 1000 * NS_PER_S;
	S.next_id = 0x1000;
	S.cfg.virtual4 = prefix_of("198.18.0.0/15");
	S.cfg.virtual6 = prefix_of("fd77::/64");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		at_line++;
		line[strcspn(line, "#\n")] = '\0';
		for (size_t n = strlen(line); n && line[n - 1] == ' ';)
			line[--n] = '\0';
		statement(line);
	}
	fclose(f);
	all_accounted_for();
	dns_free(S.d);
	for (size_t i = 0; i < S.n_events; i++)
		free(S.events[i]);
}

int main(void)
{
	static struct CMUnitTest tests[64];
	static char paths[64][300];
	struct dirent **list;
	int n = scandir("tests/scenario/dns", &list, NULL, alphasort), k = 0;

	if (n < 0) {
		perror("tests/scenario/dns (run from the top of the tree)");
		return 1;
	}
	for (int i = 0; i < n; i++) {
		const char *dot = strrchr(list[i]->d_name, '.');

		if (dot && str_eq(dot, ".txt") && k < 64) {
			snprintf(paths[k], sizeof(paths[k]), "tests/scenario/dns/%s",
				 list[i]->d_name);
			tests[k] =
				(struct CMUnitTest){ paths[k], test_scenario, NULL, NULL, paths[k] };
			k++;
		}
		free(list[i]);
	}
	free(list);
	return _cmocka_run_group_tests("dns scenarios", tests, (size_t)k, NULL, NULL);
}
