/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A question to a policy as a person writes it, and its answer: what `weir
 * policy explain` and `weir policy test` share. The answer is what the gateway
 * would do, name lookup included. Internal to weir/.
 */
#ifndef WEIR_POLICY_ASK_H
#define WEIR_POLICY_ASK_H

#include "policy/policy.h"

/* A path that was given once in two spellings is no longer than this. */
#define POLICY_ASK_PATH_MAX ((size_t)256 * 1024)

struct policy_ask {
	/* As written; NULL: not told. The texts outlive the question. */
	const char *to;	  /* HOST:PORT[/tcp|udp] or HOST/icmp; of a query the name */
	const char *ip;	  /* the address behind a name */
	const char *name; /* a name that the flow to an address proved */
	const char *method, *path;
	const char *type; /* of a query; NULL: A */
	bool query, gateway, ingress;

	/* What policy_ask_read() made of it. */
	struct authority host;
	enum policy_proto proto;
	struct ip_addr addr;
	bool addr_assumed; /* no address was told: it stands for some public one */
	struct name shown; /* name; len 0: none */
	struct buf path_norm;
};

struct policy_reply {
	bool allow;
	bool conditional;    /* depends on the request */
	bool by_no_name;     /* an address, and the flow could still show a name */
	bool answer_refused; /* ip is internal and not opened by the policy */
	bool intercepted;    /* port 53: the address never sees the packet */
	bool type_refused;   /* of a query: the name may be asked, not for this type */
	bool by_host;	     /* of a query for a service: it is judged by its host, subject */
	struct name subject;
	struct policy_verdict v;
	struct policy_verdict dns; /* whether the name may be asked; when the host is a name */
	struct policy_step *steps; /* owned */
	size_t n_steps;
};

/* What is wrong with a question: which of its texts, and a sentence. */
struct policy_ask_error {
	const char *field; /* "to", "ip", "name", "method", "path", "type", "gateway"; NULL: none in particular */
	char text[256];
};

#define POLICY_ASK_INIT ((struct policy_ask){ .path_norm = BUF_INIT(POLICY_ASK_PATH_MAX) })
void policy_ask_fini(struct policy_ask *q);
/* -EINVAL: err says what is wrong. */
must_check int policy_ask_read(struct policy_ask *q, const struct policy *p,
			       struct policy_ask_error *err);
/* -ENOMEM only. */
must_check int policy_ask_answer(struct policy_ask *q, const struct policy *p,
				 struct policy_reply *ret);
void policy_reply_fini(struct policy_reply *r);
/* One sentence: why it came out so. Returns out. */
const char *policy_reply_why(const struct policy_ask *q, const struct policy_reply *r, char *out,
			     size_t size);

/* Is this a word for a query's type? "A", "MX", "TYPE99". *ret is its number. */
bool policy_ask_read_type(const char *word, uint16_t *ret);
bool policy_ask_is_type(const char *word);
/* Whether the resolver asks for this type of a name that may be asked. */
bool policy_ask_type_served(const struct policy *p, const struct name *n, const char *type);
const char *policy_proto_text(enum policy_proto p); /* "tcp", "udp", "icmp" */
/* "3 (gh-read)", "default", "the floor's 0". Returns out. */
const char *policy_rule_text(bool floor, int rule, const char *id, char *out, size_t size);

#endif
