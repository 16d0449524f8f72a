/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums of what was used. Keys come from a record that anybody may have written;
 * they are canonical when they get here, and how many there are is bounded.
 */
#include "weir/suggest_uses.h"

#include "base/base.h"

#include <libpsl.h>
#include <stdio.h>

int suggest_uses_init(struct suggest_uses *u)
{
	*u = (struct suggest_uses){ .dests = json_object(), .notes = json_array() };
	if (u->dests && u->notes)
		return 0;
	suggest_uses_fini(u);
	return -ENOMEM;
}

void suggest_uses_fini(struct suggest_uses *u)
{
	json_decref(u->dests);
	json_decref(u->notes);
	*u = (struct suggest_uses){ 0 };
}

void suggest_note(struct suggest_uses *u, const char *fmt, ...)
{
	char text[600], quoted[1000];
	va_list ap;

	if (json_array_size(u->notes) >= SUGGEST_NOTES_MAX) {
		u->more_notes++;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_quote(text, strlen(text), quoted, sizeof(quoted));
	json_array_append_new(u->notes, json_string(quoted));
}

/* ---- trees of counters -------------------------------------------------------------------- */

/* Member that is an object, made when new. NULL: out of memory. */
static json_t *child(json_t *o, const char *key)
{
	json_t *c = json_object_get(o, key);

	if (c || !o)
		return c;
	c = json_object();
	return json_object_set_new(o, key, c) == 0 ? c : NULL;
}

static bool add(json_t *o, const char *key, uint64_t n)
{
	json_t *v = json_object_get(o, key);
	uint64_t sum = (uint64_t)json_integer_value(v) + MIN(n, (uint64_t)INT32_MAX);

	if (!o)
		return false;
	return json_object_set_new(o, key,
				   json_integer((json_int_t)MIN(sum, (uint64_t)INT64_MAX))) == 0;
}

static json_t *dest(struct suggest_uses *u, const struct suggest_dest *d)
{
	static const char *const kinds[] = { "name", "address", "host", "suffix" };
	char key[NAME_MAX_LEN + 32];
	json_t *o;

	snprintf(key, sizeof(key), "%s %s %s", d->ingress ? "ingress" : "egress", kinds[d->kind],
		 d->text);
	o = json_object_get(u->dests, key);
	if (o)
		return o;
	if (json_object_size(u->dests) >= SUGGEST_DESTS_MAX) {
		u->full = true;
		return NULL;
	}
	o = json_pack("{s:i, s:b, s:s}", "kind", d->kind, "ingress", d->ingress, "dest", d->text);
	if (json_object_set_new(u->dests, key, o) < 0) {
		u->full = true;
		return NULL;
	}
	return o;
}

/* ---- uses ------------------------------------------------------------------------------------ */

static void ports_text(struct port_range r, char out[static 16])
{
	if (r.lo == r.hi)
		snprintf(out, 16, "%u", r.lo);
	else
		snprintf(out, 16, "%u-%u", r.lo, r.hi);
}

void suggest_flow(struct suggest_uses *u, const struct suggest_dest *d, enum policy_proto proto,
		  struct port_range ports, bool read, uint64_t count)
{
	json_t *o = dest(u, d), *kind;
	char text[16];

	if (!o)
		return;
	ports_text(ports, text);
	kind = child(o, read ? "read" : "plain");
	if (!add(o, "flows", count) || !add(child(kind, policy_proto_name(proto)), text, count))
		u->full = true;
}

/* What two paths have in common, in whole segments: "/a/b/". In place. */
static void common_prefix(char *prefix, const char *path)
{
	size_t same = 0;

	while (prefix[same] && prefix[same] == path[same])
		same++;
	while (same && prefix[same - 1] != '/')
		same--;
	prefix[same] = 0;
}

/* Too many paths: their common prefix stands for them from now on. */
static bool fold_paths(struct suggest_uses *u, json_t *m, json_t *paths, const char *to)
{
	char prefix[2048] = "", note[1000];
	const char *key;
	json_t *v;
	bool first = true;

	json_object_foreach(paths, key, v)
	{
		if (first)
			snprintf(prefix, sizeof(prefix), "%s", key);
		else
			common_prefix(prefix, key);
		first = false;
	}
	snprintf(note, sizeof(note),
		 "%.300s: more than %d paths, so the rule takes all that begin alike", to,
		 SUGGEST_PATHS_MAX);
	suggest_note(u, "%s", note);
	return json_object_set_new(m, "prefix", json_string(prefix)) == 0 &&
	       json_object_del(m, "paths") == 0;
}

static bool add_path(struct suggest_uses *u, json_t *m, const char *path, const char *to)
{
	const char *prefix = json_string_value(json_object_get(m, "prefix"));
	char shorter[2048];
	json_t *paths;

	if (prefix) {
		snprintf(shorter, sizeof(shorter), "%s", prefix);
		common_prefix(shorter, path);
		return json_object_set_new(m, "prefix", json_string(shorter)) == 0;
	}
	paths = child(m, "paths");
	if (!add(paths, path, 1))
		return false;
	return json_object_size(paths) <= SUGGEST_PATHS_MAX || fold_paths(u, m, paths, to);
}

void suggest_request(struct suggest_uses *u, const struct suggest_dest *d, uint16_t port,
		     const char *method, const char *path)
{
	json_t *o = dest(u, d), *http;
	char text[16], to[400];

	if (!o)
		return;
	ports_text((struct port_range){ port, port }, text);
	snprintf(to, sizeof(to), "%.32s %.253s:%u", method, d->text, port);
	http = child(child(o, "http"), text);
	if (!add(o, "requests", 1) || !add_path(u, child(http, method), path, to))
		u->full = true;
}

void suggest_query(struct suggest_uses *u, const struct name *n, const char *qtype)
{
	json_t *o = dest(u, &(struct suggest_dest){ SUGGEST_NAME, false, n->s });

	if (o && (!add(o, "queries", 1) || (qtype && !add(child(o, "qtypes"), qtype, 1))))
		u->full = true;
}

void suggest_answer(struct suggest_uses *u, const struct ip_addr *a, const struct name *n)
{
	char ip[IP_STRLEN];
	json_t *o;

	o = dest(u, &(struct suggest_dest){ SUGGEST_ADDRESS, false, ip_format(a, ip) });
	if (o && json_object_set_new(o, "answer_for", json_string(n->s)) < 0)
		u->full = true;
}

/* ---- too many names ----------------------------------------------------------------------------- */

/* Adds one tree of counters to another. */
static bool merge(json_t *to, json_t *from)
{
	const char *key;
	json_t *v;

	json_object_foreach(from, key, v)
	{
		json_t *have = json_object_get(to, key);
		int r = 0;

		if (!have)
			r = json_object_set_new(to, key, json_deep_copy(v));
		else if (json_is_object(v) && json_is_object(have))
			r = merge(have, v) ? 0 : -1;
		else if (json_is_integer(v) && json_is_integer(have))
			r = json_integer_set(have, json_integer_value(have) + json_integer_value(v));
		if (r < 0)
			return false;
	}
	return true;
}

/* Paths that came together from many names: the bound is that of one. */
static bool refold(struct suggest_uses *u, json_t *http, const char *domain)
{
	const char *port, *method;
	json_t *methods, *m;

	json_object_foreach(http, port, methods) json_object_foreach(methods, method, m)
	{
		const char *prefix = json_string_value(json_object_get(m, "prefix"));
		json_t *paths = json_object_get(m, "paths");

		if (prefix && paths) {
			if (json_object_set_new(paths, prefix, json_integer(1)) < 0)
				return false;
		} else if (json_object_size(paths) <= SUGGEST_PATHS_MAX) {
			continue;
		}
		if (!fold_paths(u, m, paths, domain))
			return false;
	}
	return true;
}

static const char *domain_of(const char *name)
{
	const char *domain = psl_registrable_domain(psl_builtin(), name);

	return domain ? domain : name;
}

static bool is_query_name(const json_t *o)
{
	return json_integer_value(json_object_get(o, "kind")) == SUGGEST_NAME &&
	       !json_is_true(json_object_get(o, "ingress"));
}

static bool fold_name(struct suggest_uses *u, const char *domain, const char *key, json_t *o)
{
	struct suggest_dest d = { SUGGEST_SUFFIX, false, domain };
	json_t *to = dest(u, &d), *copy = json_deep_copy(o);
	bool ok;

	json_object_del(copy, "kind");
	json_object_del(copy, "ingress");
	json_object_del(copy, "dest");
	ok = to && copy && merge(to, copy) && json_object_del(u->dests, key) == 0;
	json_decref(copy);
	return ok;
}

void suggest_generalise(struct suggest_uses *u)
{
	json_t *counts = json_object(), *o;
	const char *key;
	void *tmp;

	json_object_foreach(u->dests, key, o)
	{
		if (is_query_name(o) &&
		    !add(counts, domain_of(json_string_value(json_object_get(o, "dest"))), 1))
			u->full = true;
	}
	json_object_foreach_safe(u->dests, tmp, key, o)
	{
		const char *domain = domain_of(json_string_value(json_object_get(o, "dest")));

		if (is_query_name(o) &&
		    json_integer_value(json_object_get(counts, domain)) > SUGGEST_NAMES_MAX &&
		    !fold_name(u, domain, key, o))
			u->full = true;
	}
	json_object_foreach(u->dests, key, o)
	{
		const char *domain = json_string_value(json_object_get(o, "dest"));

		if (json_integer_value(json_object_get(o, "kind")) != SUGGEST_SUFFIX)
			continue;
		suggest_note(
			u, "%.253s: more than %d names below it, so the rules take it and all below",
			domain, SUGGEST_NAMES_MAX);
		if (!refold(u, json_object_get(o, "http"), domain))
			u->full = true;
	}
	json_decref(counts);
}
