/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A resolver whose upstream is the test: questions pile up in F.asks until
 * fake_done() or fake_answer() ends one; the last reply and event are kept.
 */
#ifndef WEIR_TEST_DNS_FAKE_H
#define WEIR_TEST_DNS_FAKE_H

#include "dns/dns_int.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static struct {
	struct dns *d;
	uint64_t now;
	struct dns_ask *asks[64];
	size_t n_asks;
	unsigned events;
	enum dns_result result; /* of the last event */
	bool replied;
	size_t len;
	uint8_t reply[DNS_REPLY_MAX];
} F;

static int fake_ask(void *up, struct dns_ask *a)
{
	(void)up;
	assert_true(F.n_asks < ARRAY_SIZE(F.asks));
	F.asks[F.n_asks++] = a;
	return 0;
}

static uint64_t fake_now(void *up)
{
	(void)up;
	return F.now;
}

static void fake_wake(void *up, uint64_t when)
{
	(void)up, (void)when;
}

static void fake_free(void *up)
{
	(void)up;
}

/* For dns_ops.event. */
static void fake_event(void *ctx, const struct dns_event *e)
{
	(void)ctx;
	F.events++;
	F.result = e->result;
}

static inline void fake_new(const struct dns_config *cfg, const struct dns_ops *ops)
{
	static const struct dns_upstream up = {
		.ask = fake_ask, .now = fake_now, .wake = fake_wake, .free = fake_free
	};

	memset(&F, 0, sizeof(F));
	F.now = NS_PER_S;
	assert_int_equal(dns_new_with(NULL, cfg, ops, NULL, &up, NULL, &F.d), 0);
}

static inline void fake_reply(void *user, const uint8_t *msg, size_t len)
{
	(void)user;
	F.replied = true;
	F.len = len;
	if (len)
		memcpy(F.reply, msg, len);
}

/* A message from the guest, copied to the heap so that the sanitizer sees every read beyond it. */
static inline void fake_send(const uint8_t *msg, size_t len, enum dns_transport t)
{
	struct endpoint guest = { ip4(10, 0, 0, 2), 40000 }, server = { ip4(10, 0, 0, 1), 53 };
	uint8_t *copy = malloc(len ? len : 1);

	memcpy(copy, msg, len);
	F.replied = false;
	F.events = 0;
	dns_query(F.d, copy, len, t, &guest, &server, fake_reply, NULL);
	free(copy);
}

/* A plain query with an OPT. */
static inline void fake_query(const struct name *n, uint16_t type)
{
	uint8_t msg[DNS_ASK_MAX];

	fake_send(msg, dns_ask_build(7, n, type, true, msg), DNS_UDP);
}

/* The start of an answer to a; records are put behind it and counted at msg + 6. */
static inline struct dns_out fake_answer_begin(const struct dns_ask *a, uint8_t *msg, size_t cap)
{
	struct dns_out o = { .p = msg, .cap = cap };

	o.len = dns_ask_build(1, &a->name, a->type, false, msg);
	msg[2] |= 0x80;
	return o;
}

/* A record of the question's name. */
static inline void fake_put_rr(struct dns_out *o, uint16_t type, const void *rdata, size_t len)
{
	dns_put_be16(o, 0xc000 | DNS_HEADER_LEN);
	dns_put_be16(o, type);
	dns_put_be16(o, DNS_CLASS_IN);
	dns_put_be32(o, 60);
	dns_put_be16(o, (uint16_t)len);
	dns_put(o, rdata, len);
	put_be16(o->p + 6, (uint16_t)(get_be16(o->p + 6) + 1));
}

/* What the last reply says: rcode with the OPT's bits, the extended error's code or -1. */
struct fake_seen {
	struct dns_header h;
	unsigned rcode;
	int ede;
	struct dns_rr first; /* of the answer, when there is one */
};

static inline struct fake_seen fake_seen(void)
{
	struct dns_msg m = { .p = F.reply, .len = F.len };
	struct fake_seen s = { .ede = -1 };
	struct dns_wname qname;
	struct dns_rr rr;

	assert_true(F.replied && dns_header_read(&m, &s.h));
	s.rcode = s.h.flags & DNS_FLAG_RCODE;
	for (unsigned i = 0; i < s.h.qd; i++) {
		assert_true(dns_name_read(&m, false, &qname));
		m.at += 4;
	}
	for (unsigned i = 0; i < (unsigned)s.h.an + s.h.ns + s.h.ar; i++) {
		assert_true(dns_rr_read(&m, &rr));
		if (i == 0 && s.h.an)
			s.first = rr;
		if (rr.type != DNS_TYPE_OPT)
			continue;
		s.rcode |= rr.ttl >> 24 << 4;
		if (rr.rdlen >= 6)
			s.ede = get_be16(F.reply + rr.rdata + 4);
	}
	assert_int_equal(m.at, F.len);
	return s;
}

#endif
