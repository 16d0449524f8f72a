/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From sums to rules: for each destination as few rules as say no more than what
 * was used. Equal sets of ports share a rule across protocols, methods with equal
 * paths share one, and so do ports with equal requests.
 *
 * Port 53 is weir's own whatever address it is dialled at, so a rule for a name
 * with this port alone lets the name be asked and opens no connection.
 */
#include "weir/suggest_uses.h"

#include "base/base.h"

#include <stdio.h>

/* Ports of one rule; a policy takes 1024. */
#define PORTS_PER_RULE 1000

struct maker {
	struct suggest_uses *u;
	json_t *rules;
	size_t n_http;
	bool failed;
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static uint64_t number_of(const json_t *o, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

static enum suggest_kind kind_of(const json_t *o)
{
	return (enum suggest_kind)json_integer_value(json_object_get(o, "kind"));
}

/* ---- one rule ------------------------------------------------------------------------ */

static json_t *destination(const json_t *o)
{
	const char *dest = text_of(o, "dest");
	char suffix[NAME_MAX_LEN + 2];

	switch (kind_of(o)) {
	case SUGGEST_HOST:
		return json_pack("{s:s}", "group", "host");
	case SUGGEST_SUFFIX:
		snprintf(suffix, sizeof(suffix), ".%s", dest);
		return json_string(suffix);
	case SUGGEST_NAME:
		/* A name of one label could be read as a group. */
		return strchr(dest, '.') ? json_string(dest) : json_pack("{s:s}", "domain", dest);
	case SUGGEST_ADDRESS:
		break;
	}
	return json_string(dest);
}

static void put_count(char *out, size_t size, uint64_t n, const char *one, const char *many)
{
	size_t len = strlen(out);

	if (n)
		snprintf(out + len, size - len, "%s%llu %s", len > 6 ? ", " : "",
			 (unsigned long long)n, n == 1 ? one : many);
}

static void put_reason(json_t *rule, const json_t *o, const char *more)
{
	char text[400] = "seen: ";
	size_t len;

	put_count(text, sizeof(text), number_of(o, "flows"), "flow", "flows");
	put_count(text, sizeof(text), number_of(o, "requests"), "request", "requests");
	put_count(text, sizeof(text), number_of(o, "queries"), "query", "queries");
	if (strlen(text) <= 6)
		text[0] = 0;
	len = strlen(text);
	snprintf(text + len, sizeof(text) - len, "%s%s", len && more[0] ? "; " : "", more);
	json_object_set_new(rule, "reason", json_string(text));
}

static json_t *new_rule(struct maker *m, const json_t *o)
{
	json_t *rule = json_pack("{s:s}", "action", "allow");

	if (json_is_true(json_object_get(o, "ingress")))
		json_object_set_new(rule, "direction", json_string("ingress"));
	if (json_object_set_new(rule, "destination", destination(o)) < 0 ||
	    json_array_append_new(m->rules, rule) < 0)
		m->failed = true;
	return rule;
}

/* Of a query only the name counts; see above. */
static json_t *query_rule(struct maker *m, const json_t *o, const char *why)
{
	json_t *rule = new_rule(m, o);

	json_object_set_new(rule, "protocols", json_pack("[s]", "udp"));
	json_object_set_new(rule, "ports", json_pack("[s]", "53"));
	put_reason(rule, o, why);
	return rule;
}

/* ---- ports ------------------------------------------------------------------------------ */

static int by_port(const void *pa, const void *pb)
{
	unsigned long a = strtoul(*(const char *const *)pa, NULL, 10);
	unsigned long b = strtoul(*(const char *const *)pb, NULL, 10);

	return a < b ? -1 : a > b;
}

/* The keys of a counter in order of number, as an array of texts. */
static json_t *sorted_ports(json_t *counts)
{
	size_t n = json_object_size(counts), i = 0;
	const char **keys = calloc(n + 1, sizeof(*keys)), *key;
	json_t *list = json_array(), *v;

	if (!keys) {
		json_decref(list);
		return NULL;
	}
	json_object_foreach(counts, key, v) keys[i++] = key;
	qsort(keys, n, sizeof(*keys), by_port);
	for (i = 0; i < n; i++)
		json_array_append_new(list, json_string(keys[i]));
	free(keys);
	return list;
}

/* What is grouped, under a text that is equal for equal things. */
static json_t *group_of(json_t *groups, json_t *what, const char *what_key, const char *list_key)
{
	char *sig = json_dumps(what, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
	json_t *g = sig ? json_object_get(groups, sig) : NULL;

	if (sig && !g) {
		g = json_pack("{s:O, s:[]}", what_key, what, list_key);
		if (json_object_set_new(groups, sig, g) < 0)
			g = NULL;
	}
	free(sig);
	return g;
}

/* Rules with at most so many ports each. */
static void flow_rules(struct maker *m, const json_t *o, json_t *protos, json_t *ports,
		       const char *why)
{
	size_t n = json_array_size(ports), at = 0;

	do {
		json_t *rule = new_rule(m, o), *some = json_array();

		json_object_set(rule, "protocols", protos);
		for (size_t i = 0; i < PORTS_PER_RULE && at < n; i++)
			json_array_append(some, json_array_get(ports, at++));
		if (json_array_size(some))
			json_object_set(rule, "ports", some);
		json_decref(some);
		put_reason(rule, o, why);
	} while (at < n);
}

static bool is_icmp(const char *proto)
{
	return str_starts(proto, "icmp");
}

/* Protocols with equal ports share a rule; ICMP has none and stands alone. */
static void plain_rules(struct maker *m, const json_t *o, json_t *plain, const char *why)
{
	json_t *groups = json_object(), *counts, *g;
	const char *proto, *key;

	json_object_foreach(plain, proto, counts)
	{
		json_t *ports = is_icmp(proto) ? json_array() : sorted_ports(counts);

		g = group_of(groups, ports, "ports", "protos");
		if (!g || json_array_append_new(json_object_get(g, "protos"), json_string(proto)) < 0)
			m->failed = true;
		json_decref(ports);
	}
	json_object_foreach(groups, key, g)
		flow_rules(m, o, json_object_get(g, "protos"), json_object_get(g, "ports"), why);
	json_decref(groups);
}

/* ---- requests ------------------------------------------------------------------------------ */

/* The paths of one method as patterns. */
static json_t *path_list(const json_t *method)
{
	const char *prefix = json_string_value(json_object_get(method, "prefix")), *key;
	json_t *list = json_array(), *v;
	char pattern[2100];

	if (prefix) {
		snprintf(pattern, sizeof(pattern), "%s**", prefix);
		json_array_append_new(list, json_string(pattern));
		return list;
	}
	json_object_foreach(json_object_get(method, "paths"), key, v)
		json_array_append_new(list, json_string(key));
	return list;
}

/* {METHOD: paths} as [{"paths": [...], "methods": [...]}], equal paths together. */
static json_t *conditions_of(json_t *methods)
{
	json_t *groups = json_object(), *list = json_array(), *m, *g;
	const char *method, *key;

	json_object_foreach(methods, method, m)
	{
		json_t *paths = path_list(m);

		g = group_of(groups, paths, "paths", "methods");
		json_decref(paths);
		if (!g ||
		    json_array_append_new(json_object_get(g, "methods"), json_string(method)) < 0) {
			json_decref(groups);
			json_decref(list);
			return NULL;
		}
	}
	json_object_foreach(groups, key, g) json_array_append(list, g);
	json_decref(groups);
	return list;
}

static void request_rule(struct maker *m, const json_t *o, json_t *ports, const json_t *condition)
{
	json_t *methods = json_object_get(condition, "methods");
	json_t *paths = json_object_get(condition, "paths"), *rule = new_rule(m, o);
	json_t *http = json_object();

	json_object_set_new(rule, "protocols", json_pack("[s]", "tcp"));
	json_object_set(rule, "ports", ports);
	/* "*" stands for methods that a rule cannot spell. */
	if (!str_eq(json_string_value(json_array_get(methods, 0)), "*"))
		json_object_set(http, "methods", methods);
	json_object_set(http, "paths", paths);
	if (json_object_set_new(rule, "http", http) < 0)
		m->failed = true;
	put_reason(rule, o, "");
	m->n_http++;
}

static void request_rules(struct maker *m, const json_t *o, json_t *http)
{
	json_t *groups = json_object(), *methods, *g, *condition;
	const char *port, *key;
	size_t i;

	json_object_foreach(http, port, methods)
	{
		json_t *conditions = conditions_of(methods);

		g = conditions ? group_of(groups, conditions, "conditions", "ports") : NULL;
		if (!g || json_array_append_new(json_object_get(g, "ports"), json_string(port)) < 0)
			m->failed = true;
		json_decref(conditions);
	}
	json_object_foreach(groups, key, g)
		json_array_foreach(json_object_get(g, "conditions"), i, condition)
			request_rule(m, o, json_object_get(g, "ports"), condition);
	json_decref(groups);
}

/* ---- one destination ------------------------------------------------------------------------- */

/* Flows whose requests were to be read, and none came: the flow itself is what was used. */
static json_t *unread_flows(json_t *o)
{
	json_t *read = json_object_get(json_object_get(o, "read"), "tcp");
	json_t *http = json_object_get(o, "http");
	json_t *plain = json_object_get(json_object_get(o, "plain"), "tcp"), *left = json_object(),
	       *n;
	const char *port;

	json_object_foreach(read, port, n)
	{
		if (!json_object_get(http, port) && !json_object_get(plain, port))
			json_object_set(left, port, n);
	}
	return left;
}

/* Requests on a port that was also used without reading: the wider rule covers them. */
static void drop_covered(struct maker *m, json_t *o)
{
	json_t *http = json_object_get(o, "http"), *plain, *n;
	const char *port;

	plain = json_object_get(json_object_get(o, "plain"), "tcp");
	json_object_foreach(plain, port, n)
	{
		if (json_object_del(http, port) == 0)
			suggest_note(m->u,
				     "%s port %s was used without its requests being read, too: "
				     "the rule "
				     "takes any request",
				     text_of(o, "dest"), port);
	}
}

static void dest_rules(struct maker *m, json_t *o)
{
	size_t before = json_array_size(m->rules);
	json_t *unread, *rule, *qtypes, *n;
	const char *type;

	drop_covered(m, o);
	plain_rules(m, o, json_object_get(o, "plain"), "");
	unread = json_object();
	json_object_set_new(unread, "tcp", unread_flows(o));
	if (json_object_size(json_object_get(unread, "tcp")))
		plain_rules(m, o, unread, "no request was read");
	json_decref(unread);
	request_rules(m, o, json_object_get(o, "http"));
	if (json_object_get(o, "answer_for") && !json_object_get(o, "plain")) {
		char why[NAME_MAX_LEN + 64];

		snprintf(why, sizeof(why), "an internal answer for %s; opens no connection",
			 text_of(o, "answer_for"));
		query_rule(m, o, why);
	} else if (json_array_size(m->rules) == before && number_of(o, "queries")) {
		query_rule(m, o, "asked, never connected to");
	}
	/* A query is decided by the first rule for its name. */
	rule = json_array_get(m->rules, before);
	qtypes = json_array();
	json_object_foreach(json_object_get(o, "qtypes"), type, n)
		json_array_append_new(qtypes, json_string(type));
	if (rule && json_array_size(qtypes))
		json_object_set(rule, "qtypes", qtypes);
	json_decref(qtypes);
}

json_t *suggest_rules(struct suggest_uses *u, size_t *ret_http)
{
	struct maker m = { .u = u, .rules = json_array() };
	const char *key;
	json_t *o;

	json_object_foreach(u->dests, key, o) dest_rules(&m, o);
	if (m.failed || !m.rules) {
		json_decref(m.rules);
		return NULL;
	}
	*ret_http = m.n_http;
	return json_pack("{s:{s:s, s:s, s:o}}", "policy", "default_egress", "deny",
			 "default_ingress", "deny", "rules", m.rules);
}
