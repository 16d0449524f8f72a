/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's messages through the whole interceptor: [mode] then messages of
 * two length bytes (0x8000: over TCP) and their content. Every message gets exactly
 * one reply and one event, and a reply is a well-formed response to it that
 * fits, with nothing in it that the judge refused or the mode forbids.
 *
 * 0x4000: not a message but upstream's answer to the oldest question, as records
 * of the asked type, each a length byte and its rdata. Both bits: time goes by, in
 * tenths of a second, or for 0 the oldest question fails.
 */
#include "dns/dns_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_ASKS 256

static struct {
	struct dns *d;
	uint64_t now;
	struct dns_ask *asks[MAX_ASKS];
	size_t n_asks;
	unsigned replies, events;
	const uint8_t *msg;
	size_t len;
	enum dns_transport t;
	bool virtual, no_quic;
	bool changed; /* the policy, since the question */
} F;

static bool judge_query(void *ctx, const struct dns_question *q, bool *ret_exact,
			struct dns_denial *ret)
{
	struct name again;

	*ret_exact = q->name.s[0] == 'x';
	(void)ctx;
	/* The judge only ever sees canonical names. */
	if (name_parse(q->name.s, q->name.len, &again, NULL) < 0 || !name_equal(&again, &q->name))
		abort();
	memset(ret, 'x', sizeof(*ret));
	return q->name.s[0] != 'd' && (!F.changed || q->name.s[0] != 'c');
}

static bool judge_type(void *ctx, const struct dns_question *q)
{
	(void)ctx;
	return q->name.s[0] != 't';
}

static bool judge_alias(void *ctx, const struct dns_question *q, const struct name *alias,
			struct dns_denial *ret)
{
	(void)ctx, (void)q;
	memset(ret, 'z', sizeof(*ret));
	return alias->s[0] != 'd';
}

static void new_denial_id(void *ctx, char ret[static 40])
{
	(void)ctx;
	memset(ret, 'i', 40);
}

static bool refused(const struct ip_addr *a)
{
	return a->b[0] == 10;
}

static bool judge_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
			 struct dns_denial *ret)
{
	(void)ctx, (void)q;
	memset(ret, 'y', sizeof(*ret));
	return !refused(a);
}

static void on_event(void *ctx, const struct dns_event *e)
{
	(void)ctx;
	if (e->result < DNS_ANSWERED || e->result > DNS_BUDGET)
		abort();
	F.events++;
}

static int up_ask(void *up, struct dns_ask *a)
{
	(void)up;
	if (F.n_asks == MAX_ASKS)
		return -EIO;
	F.asks[F.n_asks++] = a;
	return 0;
}

static uint64_t up_now(void *up)
{
	(void)up;
	return F.now;
}

static void up_wake(void *up, uint64_t when)
{
	(void)up, (void)when;
}

static void up_free(void *up)
{
	(void)up;
}

static const struct dns_record record = { { 9, "s.example" }, { 4, { 9, 9, 9, 8 } } };

/* Any address in any reply; loopback is what "localhost" has. */
static void check_addr(const struct ip_addr *a)
{
	struct ip_addr loopback6 = { 6, { [15] = 1 } }, loopback4 = ip4(127, 0, 0, 1);

	if (ip_equal(a, &loopback4) || ip_equal(a, &loopback6) || ip_equal(a, &record.addr))
		return;
	if (F.virtual ? !dns_is_virtual(F.d, a) : refused(a))
		abort();
}

static void check_alpn(struct rd r)
{
	const uint8_t *p;
	uint8_t len;

	if (!rd_left(&r))
		abort();
	while (rd_left(&r)) {
		if (!rd_u8(&r, &len) || !len || !rd_bytes(&r, len, &p))
			abort();
		if (F.no_quic && len >= 2 && memcmp(p, "h3", 2) == 0 && (len == 2 || p[2] == '-'))
			abort();
	}
}

/* Parameters in order, none of them ech or unknown, hints as addresses; the target the name or its host. */
static void check_service(const struct dns_wname *asked, const uint8_t *rdata, size_t len)
{
	struct dns_msg m = { .p = rdata, .len = len, .at = 2 };
	struct dns_wname target, host;
	unsigned next = 0;
	uint16_t key, size;
	struct rd r, value;

	if (len < 3 || !get_be16(rdata) || !dns_name_read(&m, false, &target) ||
	    (target.len > 1 && (!dns_wname_host(asked, &host) || !dns_wname_equal(&target, &host))))
		abort();
	r = rd_init(rdata + m.at, len - m.at);
	while (rd_left(&r)) {
		const uint8_t *p;

		if (!rd_be16(&r, &key) || !rd_be16(&r, &size) || !rd_bytes(&r, size, &p) ||
		    key < next || key > 6 || key == 5)
			abort();
		next = key + 1u;
		value = rd_init(p, size);
		if (key == 1)
			check_alpn(value);
		while ((key == 4 || key == 6) && rd_left(&value)) {
			struct ip_addr a;

			if (!rd_bytes(&value, key == 4 ? 4 : 16, &p))
				abort();
			a = ip_from_be(key == 4 ? 4 : 6, p);
			check_addr(&a);
		}
	}
}

static void check_rr(const struct dns_wname *asked, const uint8_t *msg, const struct dns_rr *rr)
{
	struct ip_addr a;

	if (rr->type == DNS_TYPE_A || rr->type == DNS_TYPE_AAAA) {
		if (rr->rdlen != (rr->type == DNS_TYPE_A ? 4 : 16))
			abort();
		a = ip_from_be(rr->type == DNS_TYPE_A ? 4 : 6, msg + rr->rdata);
		check_addr(&a);
	} else if (dns_type_is_service(rr->type)) {
		check_service(asked, msg + rr->rdata, rr->rdlen);
	}
}

static void on_reply(void *user, const uint8_t *msg, size_t len)
{
	struct dns_msg m = { .p = msg, .len = len };
	struct dns_wname asked = { .len = 1 };
	struct dns_header h;
	struct dns_rr rr;

	(void)user;
	F.replies++;
	if (len == 0)
		return;
	if (len > (F.t == DNS_UDP ? DNS_UDP_MAX : DNS_REPLY_MAX) || !dns_header_read(&m, &h) ||
	    !(h.flags & DNS_FLAG_QR) || h.qd > 1)
		abort();
	if (h.qd) {
		if (!dns_name_read(&m, false, &asked) || m.len - m.at < 4)
			abort();
		m.at += 4;
	}
	for (unsigned i = 0; i < (unsigned)h.an + h.ns + h.ar; i++)
		if (dns_rr_read(&m, &rr))
			check_rr(&asked, msg, &rr);
		else
			abort();
	if (m.at != m.len)
		abort();
}

static struct dns_ask *oldest(void)
{
	struct dns_ask *a = F.asks[0];

	memmove(F.asks, F.asks + 1, --F.n_asks * sizeof(F.asks[0]));
	return a;
}

/* Answers the oldest question with records of its type. */
static void answer_with(const uint8_t *p, size_t len)
{
	static uint8_t msg[DNS_ASK_MAX + 14 * 0x4000];
	struct dns_out o = { .p = msg, .cap = sizeof(msg) };
	struct rd r = rd_init(p, len);
	struct dns_ask *a = oldest();
	uint16_t n = 0;
	uint8_t size;

	o.len = dns_ask_build(1, &a->name, a->type, false, msg);
	msg[2] |= 0x80;
	while (rd_u8(&r, &size)) {
		const uint8_t *rdata;

		size = (uint8_t)MIN((size_t)size, rd_left(&r));
		if (!rd_bytes(&r, size, &rdata))
			abort();
		dns_put_be16(&o, 0xc00c);
		dns_put_be16(&o, a->type);
		dns_put_be16(&o, DNS_CLASS_IN);
		dns_put_be32(&o, 60);
		dns_put_be16(&o, size);
		dns_put(&o, rdata, size);
		n++;
	}
	put_be16(msg + 6, n);
	dns_upstream_done(F.d, a, 0, msg, o.len);
}

/* Answers the oldest question: an address, none, no such name, or a failure. */
static void answer_one(uint8_t how)
{
	struct dns_ask *a = oldest();
	uint8_t msg[DNS_ASK_MAX];
	size_t len;

	len = dns_ask_build(1, &a->name, a->type, false, msg);
	msg[2] |= 0x80;
	if (how % 4 == 2)
		msg[3] |= DNS_RCODE_NXDOMAIN;
	if (how % 4 == 0) {
		static const uint8_t rr[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 9, 9, 9, 9 };

		msg[7] = 1;
		memcpy(msg + len, rr, sizeof(rr));
		msg[len + 12] = how & 16 ? 10 : 9;
		len += sizeof(rr);
	}
	dns_upstream_done(F.d, a, how % 4 == 3 ? -ETIMEDOUT : 0, msg, len);
}

static void time_goes_by(unsigned tenths)
{
	if (!tenths && F.n_asks)
		dns_upstream_done(F.d, oldest(), -ETIMEDOUT, NULL, 0);
	F.now += tenths * 100 * NS_PER_MS;
	dns_tick(F.d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct dns_ops ops = { .judge_query = judge_query,
					    .judge_answer = judge_answer,
					    .judge_type = judge_type,
					    .judge_alias = judge_alias,
					    .new_denial_id = new_denial_id,
					    .event = on_event };
	static const struct dns_upstream up = {
		.ask = up_ask, .now = up_now, .wake = up_wake, .free = up_free
	};
	struct endpoint e = { ip4(10, 0, 0, 2), 53 };
	struct dns_config cfg = {
		.virtual4 = { ip4(198, 18, 0, 0), 15 },
		.virtual6 = { { 6, { 0xfd, 0x77 } }, 64 },
		.max_pending = 16,
		.max_names = 8,
		.records = &record,
		.n_records = 1,
	};
	struct rd r = rd_init(data, size);
	unsigned sent = 0;
	uint8_t mode;

	if (!rd_u8(&r, &mode))
		return 0;
	memset(&F, 0, sizeof(F));
	F.now = NS_PER_S;
	cfg.mode = mode & 1;
	cfg.no_quic = F.no_quic = mode & 8;
	F.virtual = cfg.mode == DNS_VIRTUAL;
	if (mode & 16)
		cfg.virtual6 = (struct ip_prefix){ 0 };
	cfg.stale_s = mode & 32 ? 60 : 0;
	if (mode & 64)
		cfg.budget = (struct dns_budget){ .names = 3, .bytes = 40, .queries = 6 };
	if (dns_new_with(NULL, &cfg, &ops, NULL, &up, NULL, &F.d) < 0)
		abort();
	while (rd_left(&r) && sent < 64) {
		uint16_t len;
		const uint8_t *p;
		uint8_t *copy;
		bool is_answer;

		if (!rd_be16(&r, &len))
			break;
		if ((len & 0xc000) == 0xc000) {
			time_goes_by(len & 0x3fff);
			continue;
		}
		F.t = len & 0x8000 ? DNS_TCP : DNS_UDP;
		is_answer = len & 0x4000;
		len &= 0x3fff;
		if (len > rd_left(&r))
			len = (uint16_t)rd_left(&r);
		if (!rd_bytes(&r, len, &p))
			abort();
		if (is_answer) {
			if (F.n_asks)
				answer_with(p, len);
			continue;
		}
		copy = malloc(len ? len : 1);
		memcpy(copy, p, len);
		dns_query(F.d, copy, len, F.t, &e, &e, on_reply, NULL);
		free(copy);
		sent++;
		if (F.n_asks && mode & 2)
			answer_one((uint8_t)(mode >> 2 ^ sent));
		F.now += (uint64_t)(mode & 0xe0) * NS_PER_MS;
		F.changed ^= mode & 128;
		dns_tick(F.d);
	}
	while (F.n_asks)
		answer_one((uint8_t)(mode >> 2 ^ F.n_asks));
	if (F.replies != sent || F.events != sent)
		abort();
	dns_free(F.d);
	return 0;
}
