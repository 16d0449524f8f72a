/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wire behaviour, a table of queries and what a reply must be: RFC 8906 8 (what
 * servers get wrong), RFC 1035, 2181, 6891, 7766, 8482, 8914, 9619. Each row
 * names its paragraph. That every reply has the query's id, question, RD and CD, no
 * AA, AD or Z, no EDNS flag or option of the guest's, and fits, is checked always.
 */
#include "fake.h"
#include "words.h"

#define DROPPED (-1)

struct row {
	const char *rfc, *what;
	/* The query: flags without RD, which is always set, and with it cd, ad, opcode. */
	uint16_t flags;
	const char *name, *type;
	uint16_t class;
	uint16_t questions;
	/* EDNS size (0: no OPT), version, flags, options. */
	uint16_t edns, edns_flags;
	uint8_t version;
	const char *options;
	/* Bytes behind the question in place of an OPT: their number as additional records, and hex. */
	uint8_t extra_records;
	const char *extra;
	bool tcp, header_only;
	/* The reply. */
	int rcode;
	int ede; /* of a query with an OPT; 0: none, else code + 1 */
	unsigned answers;
	bool tc;
};

#define Q(t) .name = "host.example", .type = t, .questions = 1, .class = 1
#define EDNS .edns = 1232
#define EDE(code) ((code) + 1)

static const struct row rows[] = {
	/* RFC 8906 8.1: without EDNS. */
	{ "8906 8.1.1", "SOA, a type not served: no data", Q("SOA"), .rcode = 0 },
	{ "8906 8.1.2", "unknown type", Q("TYPE1000"), .rcode = 0 },
	{ "8906 8.1.3.1", "CD", .flags = 0x0010, Q("A"), .rcode = 0, .answers = 1 },
	{ "8906 8.1.3.2", "AD", .flags = 0x0020, Q("A"), .rcode = 0, .answers = 1 },
	{ "8906 8.1.3.3", "the reserved bit", .flags = 0x0040, Q("A"), .rcode = 0, .answers = 1 },
	{ "8906 8.1.3.4", "RD", Q("A"), .rcode = 0, .answers = 1 },
	{ "1035 4.1.1", "AA and TC in a query mean nothing", .flags = 0x0600, Q("A"), .rcode = 0,
	  .answers = 1 },
	{ "8906 8.1.4", "unknown opcode", .flags = 15 << 11, .header_only = true, .rcode = 4 },
	{ "1035 4.1.1", "STATUS", .flags = 2 << 11, Q("A"), .rcode = 4 },
	{ "1996", "NOTIFY", .flags = 4 << 11, Q("SOA"), .rcode = 4 },
	{ "2136", "UPDATE", .flags = 5 << 11, Q("SOA"), EDNS, .rcode = 4, .ede = EDE(21) },
	{ "8490", "DSO", .flags = 6 << 11, .header_only = true, .rcode = 4 },
	{ "8906 8.1.5", "TCP", Q("A"), .tcp = true, .rcode = 0, .answers = 1 },

	/* RFC 8906 8.2: with EDNS. */
	{ "8906 8.2.1", "EDNS", Q("A"), EDNS, .rcode = 0, .answers = 1 },
	{ "8906 8.2.2", "EDNS version 1", Q("A"), EDNS, .version = 1, .rcode = 16, .ede = EDE(21) },
	{ "8906 8.2.2", "EDNS version 255", Q("A"), EDNS, .version = 255, .rcode = 16,
	  .ede = EDE(21) },
	{ "8906 8.2.3", "unknown option", Q("A"), EDNS, .options = "00640000", .rcode = 0,
	  .answers = 1 },
	{ "8906 8.2.4", "unknown EDNS flag", Q("A"), EDNS, .edns_flags = 0x0040, .rcode = 0,
	  .answers = 1 },
	{ "8906 8.2.5", "version 1 and a flag", Q("A"), EDNS, .version = 1, .edns_flags = 0x40,
	  .rcode = 16, .ede = EDE(21) },
	{ "8906 8.2.6", "version 1 and an option", Q("A"), EDNS, .version = 1,
	  .options = "00640000", .rcode = 16, .ede = EDE(21) },
	{ "8906 8.2.7", "truncated: the OPT stays", .name = "big.example", .type = "A", .class = 1,
	  .questions = 1, .edns = 512, .rcode = 0, .tc = true },
	{ "8906 8.2.8", "DO", Q("A"), EDNS, .edns_flags = 0x8000, .rcode = 0, .answers = 1 },
	{ "8906 8.2.9", "DO and version 1", Q("A"), EDNS, .version = 1, .edns_flags = 0x8000,
	  .rcode = 16, .ede = EDE(21) },
	{ "8906 8.2.10", "NSID, client subnet, expire, cookie, padding", Q("A"), EDNS,
	  .options = "00030000"
		     "0008000400010000"
		     "00090000"
		     "000a00080102030405060708"
		     "000c00020000",
	  .rcode = 0, .answers = 1 },
	{ "6891 6.2.5", "EDNS over TCP", Q("A"), EDNS, .tcp = true, .rcode = 0, .answers = 1 },

	/* Two readings are refused, and say why where there is an OPF. */
	{ "9619", "no question", .name = "a.example", .type = "A", .questions = 0, .class = 1,
	  .rcode = 1 },
	{ "9619", "two questions", .name = "a.example", .type = "A", .class = 1, .questions = 2,
	  EDNS, .rcode = 1, .ede = EDE(0) },
	{ "7873 5.4", "no question but a cookie", .name = "a.example", .type = "A", .questions = 0,
	  .class = 1, EDNS, .options = "000a00080102030405060708", .rcode = 1, .ede = EDE(0) },
	{ "1035 4.1.1", "a response", .flags = 0x8000, Q("A"), .rcode = DROPPED },
	{ "1035 4.1", "bytes behind the message", Q("A"), .extra = "00", .rcode = 1 },
	{ "6891 6.1.1", "two OPT", Q("A"), EDNS, .extra_records = 1,
	  .extra = "00002904d0000000000000", .rcode = 1, .ede = EDE(0) },
	{ "6891 6.1.2", "an OPT with an owner", Q("A"), .extra_records = 1,
	  .extra = "016100002904d0000000000000", .rcode = 1 },
	{ "6891 6.1.2", "an option longer than the OPT", Q("A"), EDNS, .options = "000a0010aabb",
	  .rcode = 1, .ede = EDE(0) },
	{ "8945", "a signature that cannot be checked", Q("A"), .extra_records = 1,
	  .extra = "0000fa00ff000000000000", .rcode = 1 },
	{ "1035 3.2.4", "class CH", .name = "version.bind", .type = "TXT", .class = 3,
	  .questions = 1, EDNS, .rcode = 5, .ede = EDE(21) },
	{ "1035 3.2.5", "class ANY", .name = "a.example", .type = "A", .class = 255, .questions = 1,
	  EDNS, .rcode = 5, .ede = EDE(21) },
	{ "2136 2.4", "class NONE", .name = "a.example", .type = "A", .class = 254, .questions = 1,
	  .rcode = 5 },
	{ "5936", "AXFR", Q("AXFR"), .tcp = true, EDNS, .rcode = 5, .ede = EDE(21) },
	{ "6891 6.1.1", "OPT as a type", Q("OPT"), EDNS, .rcode = 1, .ede = EDE(0) },

	/* Every refusal of our own says why: RFC 8914. */
	{ "8914 4.16", "denied", .name = "x.evil.example", .type = "A", .class = 1, .questions = 1,
	  EDNS, .rcode = 3, .ede = EDE(15) },
	{ "8914 4.16", "denied, a type that is not served", .name = "x.evil.example",
	  .type = "NULL", .class = 1, .questions = 1, EDNS, .rcode = 3, .ede = EDE(15) },
	{ "8914 4.18", "every address filtered", .name = "inward.example", .type = "A", .class = 1,
	  .questions = 1, EDNS, .rcode = 3, .ede = EDE(17) },
	{ "8914 4.16", "no host's name", .name = "a\\032b.example", .type = "A", .class = 1,
	  .questions = 1, EDNS, .rcode = 3, .ede = EDE(15) },
	{ "8914 4.16", "the root", .name = ".", .type = "A", .class = 1, .questions = 1, EDNS,
	  .rcode = 0, .ede = EDE(15) },
	{ "8914 4.16", "a special-use name", .name = "x.onion", .type = "A", .class = 1,
	  .questions = 1, EDNS, .rcode = 3, .ede = EDE(15) },
	{ "8914 4.22", "a type that is not served", Q("DNSKEY"), EDNS, .rcode = 0, .ede = EDE(21) },
	{ "8914 4.22", "TXT without the policy's word", Q("TXT"), EDNS, .rcode = 0, .ede = EDE(21) },
	{ "8482 4.2", "ANY", Q("ANY"), EDNS, .rcode = 0, .ede = EDE(21), .answers = 1 },
	{ "8914 4.23", "upstream is silent", .name = "silent.example", .type = "A", .class = 1,
	  .questions = 1, EDNS, .rcode = 2, .ede = EDE(22) },
	{ "8914 4.24", "upstream cannot be reached", .name = "cut.example", .type = "A", .class = 1,
	  .questions = 1, EDNS, .rcode = 2, .ede = EDE(23) },

	/* Sizes: RFC 1035 4.2.1, 6891 6.2.3 to 6.2.5. */
	{ "1035 4.2.1", "512 without EDNS", .name = "big.example", .type = "A", .class = 1,
	  .questions = 1, .rcode = 0, .tc = true },
	{ "6891 6.2.3", "less than 512 is 512", .name = "mid.example", .type = "A", .class = 1,
	  .questions = 1, .edns = 100, .rcode = 0, .answers = 29 },
	{ "6891 6.2.3", "one record too many for 512", .name = "mid1.example", .type = "A",
	  .class = 1, .questions = 1, .edns = 512, .rcode = 0, .tc = true },
	{ "6891 6.2.3", "and not for 528", .name = "mid1.example", .type = "A", .class = 1,
	  .questions = 1, .edns = 528, .rcode = 0, .answers = 30 },
	{ "6891 6.2.5", "1232", .name = "big.example", .type = "A", .class = 1, .questions = 1,
	  .edns = 1232, .rcode = 0, .answers = 32 },
	{ "6891 6.2.5", "never more than 1232 over UDP", .name = "text.example", .type = "TXT",
	  .class = 1, .questions = 1, .edns = 65535, .rcode = 0, .tc = true },
	{ "7766 5", "all of it over TCP", .name = "text.example", .type = "TXT", .class = 1,
	  .questions = 1, .tcp = true, .rcode = 0, .answers = 60 },
	{ "7766 5", "whatever size EDNS says", .name = "text.example", .type = "TXT", .class = 1,
	  .questions = 1, .edns = 512, .tcp = true, .rcode = 0, .answers = 60 },
};

/* ---- the policy and the upstream --------------------------------------------- */

static bool judge_query(void *ctx, const struct dns_question *q, bool *ret_exact,
			struct dns_denial *ret)
{
	(void)ctx;
	*ret_exact = true;
	snprintf(ret->id, sizeof(ret->id), "id-1");
	snprintf(ret->text, sizeof(ret->text), "denied by rule 1");
	return !strstr(q->name.s, "evil");
}

static bool judge_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
			 struct dns_denial *ret)
{
	(void)ctx, (void)q;
	snprintf(ret->id, sizeof(ret->id), "id-2");
	snprintf(ret->text, sizeof(ret->text), "a private address");
	return a->b[0] != 10;
}

static bool judge_type(void *ctx, const struct dns_question *q)
{
	(void)ctx;
	return str_starts(q->name.s, "text.");
}

static void answer_one(struct dns_ask *a)
{
	static uint8_t msg[32768];
	struct dns_out o = fake_answer_begin(a, msg, sizeof(msg));
	bool text = a->type == DNS_TYPE_TXT, inward = str_starts(a->name.s, "inward.");
	unsigned n = str_starts(a->name.s, "big.")    ? 32
		     : str_starts(a->name.s, "mid.")  ? 29
		     : str_starts(a->name.s, "mid1.") ? 30
		     : str_starts(a->name.s, "text.") ? 60
						      : 1;

	for (unsigned i = 0; i < n; i++) {
		uint8_t txt[201] = { 200, (uint8_t)i };
		uint8_t addr[4] = { inward ? 10 : 203, 0, 113, (uint8_t)i };

		fake_put_rr(&o, a->type, text ? txt : addr, text ? sizeof(txt) : sizeof(addr));
	}
	dns_upstream_done(F.d, a,
			  str_starts(a->name.s, "silent.") ? -ETIMEDOUT
			  : str_starts(a->name.s, "cut.")  ? -EIO
							   : 0,
			  msg, o.len);
}

static int setup(void **state)
{
	static const struct dns_ops ops = { .judge_query = judge_query,
					    .judge_answer = judge_answer,
					    .judge_type = judge_type,
					    .event = fake_event };
	struct dns_config cfg = { .mode = DNS_REAL };

	(void)state;
	fake_new(&cfg, &ops);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dns_free(F.d);
	return 0;
}

/* ---- one row ------------------------------------------------------------------- */

static size_t build(const struct row *t, uint8_t msg[static 1024], size_t *ret_question)
{
	struct dns_out o = { .p = msg, .cap = 1024 };
	uint8_t opt[256];
	size_t n_opt = t->options ? hex_of(t->options, opt, sizeof(opt)) : 0;

	dns_put_be16(&o, 0xbeef);
	dns_put_be16(&o, t->flags | DNS_FLAG_RD);
	dns_put_be16(&o, t->header_only ? 0 : t->questions);
	dns_put_be32(&o, 0);
	dns_put_be16(&o, (uint16_t)((t->edns ? 1 : 0) + t->extra_records));
	for (unsigned i = 0; !t->header_only && i < t->questions; i++) {
		put_name(&o, t->name);
		dns_put_be16(&o, type_of(t->type));
		dns_put_be16(&o, t->class);
	}
	*ret_question = o.len - DNS_HEADER_LEN;
	if (t->edns) {
		dns_put_u8(&o, 0);
		dns_put_be16(&o, DNS_TYPE_OPT);
		dns_put_be16(&o, t->edns);
		dns_put_be32(&o, (uint32_t)t->version << 16 | t->edns_flags);
		dns_put_be16(&o, (uint16_t)n_opt);
		dns_put(&o, opt, n_opt);
	}
	if (t->extra)
		o.len += hex_of(t->extra, msg + o.len, o.cap - o.len);
	return o.len;
}

#define check(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			print_error("RFC %s, %s: ", t->rfc, t->what);                              \
			print_error(__VA_ARGS__);                                                  \
			print_error("\n");                                                         \
			fail();                                                                    \
		}                                                                                  \
	} while (0)

/* The OPT: version 0, no flags, no option but one extended error. */
static int check_opt(const struct row *t, const struct dns_rr *rr, unsigned *rcode)
{
	struct rd r = rd_init(F.reply + rr->rdata, rr->rdlen);
	uint16_t code, len, info = 0;

	*rcode |= rr->ttl >> 24 << 4;
	check((rr->ttl & 0xffffff) == 0, "OPT version or flags %06x", rr->ttl & 0xffffff);
	check(rr->owner.len == 1, "OPT with an owner");
	check(rr->class >= DNS_UDP_MIN, "OPT size %u", rr->class);
	if (!rd_left(&r))
		return 0;
	check(rd_be16(&r, &code) && rd_be16(&r, &len) && code == 15 && len == rd_left(&r) &&
		      rd_be16(&r, &info),
	      "an option that is no extended error");
	check(rd_left(&r) > 0, "an extended error without a text");
	return EDE(info);
}

static void check_reply(const struct row *t, const uint8_t *query, size_t question)
{
	struct dns_msg m = { .p = F.reply, .len = F.len };
	size_t limit = t->tcp ? 65535 : t->edns ? MIN(MAX(t->edns, 512), 1232) : 512;
	struct dns_header h = { 0 };
	bool opt = false;
	unsigned rcode;
	struct dns_rr rr;
	int ede = 0;

	check(dns_header_read(&m, &h), "a reply of %zu bytes", F.len);
	check(F.len <= limit, "%zu bytes, %zu are allowed", F.len, limit);
	check(h.id == 0xbeef, "id %04x", h.id);
	check((h.flags & 0xfd70) == ((t->flags & 0x7810) | 0x8100), "flags %04x", h.flags);
	check(!!(h.flags & DNS_FLAG_TC) == t->tc, "TC is %d", !!(h.flags & DNS_FLAG_TC));
	rcode = h.flags & DNS_FLAG_RCODE;
	if (h.qd) {
		check(h.qd == 1 && t->questions == 1, "%u questions", h.qd);
		check(memcmp(F.reply + 12, query + 12, question) == 0, "the question differs");
		m.at += question;
	}
	check(h.an == t->answers, "%u answers", h.an);
	for (unsigned i = 0; i < (unsigned)h.an + h.ns + h.ar; i++) {
		check(dns_rr_read(&m, &rr), "record %u is malformed", i);
		if (rr.type != DNS_TYPE_OPT)
			continue;
		check(!opt && i >= (unsigned)h.an + h.ns, "OPT out of place");
		opt = true;
		ede = check_opt(t, &rr, &rcode);
	}
	check(m.at == F.len, "bytes behind the reply");
	check(opt == (t->edns > 0), "OPT: %d", opt);
	check((int)rcode == t->rcode, "rcode %u", rcode);
	check(ede == t->ede, "extended error %d", ede - 1);
}

static void test_rows(void **state)
{
	(void)state;
	at_file = "test_conformance.c";
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *t = &rows[i];
		uint8_t msg[1024];
		size_t question, len = build(t, msg, &question);

		at_line = (int)i;
		fake_send(msg, len, t->tcp ? DNS_TCP : DNS_UDP);
		while (F.n_asks)
			answer_one(F.asks[--F.n_asks]);
		check(F.replied, "no reply");
		check(F.events == 1, "%u events", F.events);
		if (t->rcode == DROPPED)
			check(F.len == 0, "a reply of %zu bytes", F.len);
		else
			check_reply(t, msg, question);
	}
}

/* RFC 1035 4.1.4: a question has no name to point back to; each pointer there is malformed. */
static void test_pointers(void **state)
{
	static const struct row pointer = { .rfc = "1035 4.1.4", .what = "pointer" };
	static const char *const names[] = {
		"c00c",	      /* itself */
		"c000",	      /* the header */
		"0161c00c",   /* its own start */
		"016100c00c", /* a whole name, then a pointer where the type is */
		"0161c0ff",   /* forwards */
		"4161",	      /* label types that are none (RFC 6891 5) */
		"8161",
	};
	const struct row *t = &pointer;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		uint8_t msg[64] = { 0xbe, 0xef, 1, 0, 0, 1 };
		size_t len = DNS_HEADER_LEN;

		len += hex_of(names[i], msg + len, sizeof(msg) - len);
		len += hex_of("00010001", msg + len, sizeof(msg) - len);
		F.n_asks = 0;
		fake_send(msg, len, DNS_UDP);
		check(F.n_asks == 0 && F.len >= DNS_HEADER_LEN, "%s was taken", names[i]);
		check((F.reply[3] & 0xf) == DNS_RCODE_FORMERR ||
			      (F.reply[3] & 0xf) == DNS_RCODE_REFUSED,
		      "%s: rcode %u", names[i], F.reply[3] & 0xf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pointers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
