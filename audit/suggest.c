/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What would change a decision: the smallest rule, as JSON and as a token of
 * --net-rule.
 *
 * A person will copy this into a file or a shell, and every text in the event
 * was chosen by a guest: destinations are used only in their one canonical
 * form, methods and paths only when they are plain, and what a pattern could
 * read as more than itself is not suggested at all.
 */
#include "audit/audit_internal.h"

#include <stdio.h>

bool audit_target_dest(const char *s, struct audit_target *t)
{
	struct name n;
	struct ip_addr a;
	char text[IP_STRLEN];

	if (ip_parse(s, strlen(s), &a, NULL) == 0) {
		snprintf(t->dest, sizeof(t->dest), "%s", ip_format(&a, text));
		t->v6 = a.family == 6;
		return true;
	}
	if (name_parse(s, strlen(s), &n, NULL) < 0)
		return false;
	memcpy(t->dest, n.s, n.len + 1U);
	t->label = !memchr(n.s, '.', n.len);
	return true;
}

/* The first of these members, of the event or its flow, that is a name or an address. */
static bool find_dest(const json_t *event, const json_t *flow, struct audit_target *t)
{
	static const char *const keys[] = { "host", "sni", "name", "dst" };
	struct authority au;
	const char *host = audit_get(event, "host");

	if (authority_parse(host, strlen(host), &au, NULL) == 0 && au.port) {
		char text[IP_STRLEN];

		t->port = au.port;
		return audit_target_dest(au.is_addr ? ip_format(&au.addr, text) : au.name.s, t);
	}
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (audit_target_dest(audit_get(event, keys[i]), t))
			return true;
	return flow && (audit_target_dest(audit_get(flow, "name"), t) ||
			audit_target_dest(audit_get(flow, "dst"), t));
}

static void find_proto(const json_t *event, const json_t *flow, struct audit_target *t)
{
	static const char *const protos[] = { "tcp", "udp", "icmpv4", "icmpv6" };
	const char *proto = audit_get(event, "proto");
	uint64_t port = audit_get_u64(event, "port");

	if (!proto[0] && flow)
		proto = audit_get(flow, "proto");
	if (!port && flow)
		port = audit_get_u64(flow, "port");
	for (size_t i = 0; i < ARRAY_SIZE(protos); i++)
		if (str_eq(proto, protos[i]))
			t->proto = protos[i];
	if (!t->port && port <= UINT16_MAX)
		t->port = (uint16_t)port;
	if (t->proto && str_starts(t->proto, "icmp"))
		t->port = 0;
	t->ingress = str_eq(audit_get(event, "dir"), "ingress") ||
		     (flow && str_eq(audit_get(flow, "dir"), "ingress"));
}

static json_t *one_string(const char *s)
{
	json_t *a = json_array();

	json_array_append_new(a, json_string(s));
	return a;
}

void audit_make_rule(const struct audit_target *t, struct audit_advice *ret)
{
	char port[8], host[NAME_MAX_LEN + 16];

	snprintf(port, sizeof(port), "%u", t->port);
	ret->rule = json_object();
	json_object_set_new(ret->rule, "action", json_string("allow"));
	if (t->ingress)
		json_object_set_new(ret->rule, "direction", json_string("ingress"));
	/* A name of one label could be read as a group or as "any": say that it is a name. */
	if (t->label)
		json_object_set_new(ret->rule, "destination", json_pack("{s:s}", "domain", t->dest));
	else
		json_object_set_new(ret->rule, "destination", json_string(t->dest));
	if (t->proto)
		json_object_set_new(ret->rule, "protocols", one_string(t->proto));
	if (t->proto && t->port)
		json_object_set_new(ret->rule, "ports", one_string(port));
	snprintf(host, sizeof(host), "%s%s%s",
		 t->v6	    ? "["
		 : t->label ? "domain="
			    : "",
		 t->dest, t->v6 ? "]" : "");
	snprintf(ret->token, sizeof(ret->token), "allow%s@%s%s%s%s%s", t->ingress ? ":ingress" : "",
		 host, t->proto ? ":" : "", t->proto ? t->proto : "",
		 t->proto && t->port ? ":" : "", t->proto && t->port ? port : "");
}

const char *audit_where(const json_t *event, char *out, size_t size)
{
	const char *rule = audit_get(event, "rule");
	char number[24], quoted[80];

	if (json_is_integer(json_object_get(event, "rule"))) {
		snprintf(number, sizeof(number), "%lld",
			 (long long)json_integer_value(json_object_get(event, "rule")));
		rule = number;
	}
	if (str_eq(rule, "default"))
		return "No rule matched, and the default refused it. To allow it, add this rule";
	log_quote(rule, strlen(rule), quoted, sizeof(quoted));
	snprintf(out, size, "To allow it, put this rule in front of rule %s", quoted);
	return out;
}

bool audit_has_rule(const json_t *event)
{
	return audit_get(event, "rule")[0] || json_is_integer(json_object_get(event, "rule"));
}

/* Refused for what the request is, whatever a rule said of it. */
static bool not_by_policy(const json_t *event)
{
	const char *outcome = audit_get(event, "outcome");

	return str_eq(outcome, "bad_request") || str_eq(outcome, "misdirected") ||
	       str_eq(outcome, "violation");
}

void audit_say(struct audit_advice *ret, const char *text)
{
	snprintf(ret->text, sizeof(ret->text), "%s", text);
}

/* No rule had a say: what was wrong is what the event's detail says. */
void audit_advise_no_rule(const json_t *event, struct audit_advice *ret)
{
	const char *detail = audit_get(event, "detail");
	char quoted[240];

	log_quote(detail, strlen(detail), quoted, sizeof(quoted));
	snprintf(ret->text, sizeof(ret->text), "No rule would change this: %s",
		 quoted[0] ? quoted : "it was not refused by the policy");
}

static void advise_flow(const json_t *event, const json_t *flow, struct audit_advice *ret)
{
	struct audit_target t = { 0 };
	char text[160];

	find_proto(event, flow, &t);
	if (str_eq(audit_get(event, "kind"), "tls")) {
		t.proto = "tcp";
		t.port = t.port ? t.port : 443;
	}
	if (!find_dest(event, flow, &t)) {
		audit_say(ret, "The destination has no form that a rule could name");
		return;
	}
	audit_say(ret, audit_where(event, text, sizeof(text)));
	audit_make_rule(&t, ret);
}

/* Plain in JSON, in a terminal, and as a pattern. */
static bool plain(const char *s, const char *refuse)
{
	for (; *s; s++)
		if (*s <= 0x20 || *s > 0x7e || strchr(refuse, *s))
			return false;
	return true;
}

static void advise_http(const json_t *event, const json_t *flow, struct audit_advice *ret)
{
	const char *method = audit_get(event, "method"), *path = audit_get(event, "path");
	char cut[AUDIT_STRING_MAX + 1];
	struct audit_target t = { .proto = "tcp" };
	char text[160];
	json_t *http;

	snprintf(cut, sizeof(cut), "%.*s", (int)strcspn(path, "?#"), path);
	find_proto(event, flow, &t);
	t.proto = "tcp";
	if (!find_dest(event, flow, &t) || cut[0] != '/' || !plain(cut, "*?[]{}\\\"'`$") ||
	    !method[0] || !plain(method, "*?[]{}\\\"'`$")) {
		audit_say(ret, "The request has no form that a rule could name exactly");
		return;
	}
	if (!t.port)
		t.port = 443;
	audit_say(ret, audit_where(event, text, sizeof(text)));
	audit_make_rule(&t, ret);
	ret->token_is_wider = true;
	http = json_object();
	json_object_set_new(http, "methods", one_string(method));
	json_object_set_new(http, "paths", one_string(cut));
	json_object_set_new(ret->rule, "http", http);
}

static void advise_secret(const json_t *event, const json_t *flow, struct audit_advice *ret)
{
	static const char *const places[] = { "header", "basic", "query", "path", "body" };
	const char *secret = audit_get(event, "secret"), *place = NULL;
	struct audit_target t = { 0 };
	bool env_ok =
		secret[0] && strspn(secret, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
					    "0123456789") == strlen(secret);
	const char *encoding = audit_get(event, "encoding");

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (str_eq(audit_get(event, "place"), places[i]))
			place = places[i];
	if (!env_ok || !find_dest(event, flow, &t)) {
		audit_advise_no_rule(event, ret);
		return;
	}
	if (encoding[0] && !str_eq(encoding, "plain")) {
		audit_say(ret, "The placeholder was sent encoded, which is never filled in: send "
			       "it as it is");
		return;
	}
	audit_say(ret,
		  "Only if this host may have this secret in this place, over verified TLS, add it "
		  "to the hosts and places it has");
	snprintf(ret->flag, sizeof(ret->flag), "--secret %s%s%s@%s", secret, place ? ":" : "",
		 place ? place : "", t.dest);
}

void audit_advise(const json_t *event, const json_t *flow, struct audit_advice *ret)
{
	const char *kind = audit_get(event, "kind");
	enum audit_verdict v = audit_verdict_of(event);

	*ret = (struct audit_advice){ 0 };
	if (str_eq(kind, "dns")) {
		audit_advise_dns(event, ret);
		return;
	}
	if (v != AUDIT_V_DENY && v != AUDIT_V_VIOLATION && v != AUDIT_V_OBSERVED) {
		audit_say(ret, v == AUDIT_V_FAIL ? AUDIT_SAY_FAILED : AUDIT_SAY_NOTHING);
		return;
	}
	if (v == AUDIT_V_VIOLATION)
		advise_secret(event, flow, ret);
	else if (!audit_has_rule(event) || not_by_policy(event))
		audit_advise_no_rule(event, ret);
	else if (str_eq(kind, "http"))
		advise_http(event, flow, ret);
	else
		advise_flow(event, flow, ret);
}

void audit_advice_fini(struct audit_advice *a)
{
	json_decref(a->rule);
	a->rule = NULL;
}
