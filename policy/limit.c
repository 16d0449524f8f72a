/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "limit" of a rule: what all flows that it allows may have together. Read,
 * checked, printed, and put into words for a comparison.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

static int parse_amount(const struct conf *c, bool bandwidth, uint64_t min, uint64_t max,
			uint64_t *ret, struct conf_error *err)
{
	char lo[SIZE_STRLEN], hi[SIZE_STRLEN];
	const char *text = NULL, *why;
	uint64_t n;
	int e = conf_str(c, &text, err);

	if (e < 0 || !text)
		return e;
	e = bandwidth ? bandwidth_parse(text, strlen(text), &n, &why)
		      : size_parse(text, strlen(text), &n, &why);
	if (e < 0)
		return conf_fail(c, err, "\"%.32s\": %s", text, why);
	if (n < min || n > max)
		return conf_fail(c, err, "\"%.32s\" is not from %s to %s", text,
				 bandwidth ? bandwidth_format(min, lo) : size_format(min, lo),
				 bandwidth ? bandwidth_format(max, hi) : size_format(max, hi));
	*ret = n;
	return 0;
}

int policy_load_limit(const struct conf *c, struct policy_rule *r, struct conf_error *err)
{
	static const char *const keys[] = { "bandwidth", "burst", "packets", "connections" };
	struct conf bandwidth = conf_member(c, "bandwidth"), burst = conf_member(c, "burst");
	struct conf packets = conf_member(c, "packets"), flows = conf_member(c, "connections");
	struct policy_limit l = { 0 };
	int e;

	if (!c->v)
		return 0;
	e = conf_only_keys(c, keys, ARRAY_SIZE(keys), err);
	if (e == 0)
		e = parse_amount(&bandwidth, true, POLICY_BANDWIDTH_MIN, POLICY_BANDWIDTH_MAX,
				 &l.bandwidth, err);
	if (e == 0)
		e = parse_amount(&burst, false, POLICY_BURST_MIN, POLICY_BURST_MAX, &l.burst, err);
	if (e == 0)
		e = conf_uint(&packets, 1, POLICY_PACKETS_MAX, &l.packets, err);
	if (e == 0)
		e = conf_uint(&flows, 1, POLICY_CONNECTIONS_MAX, &l.connections, err);
	if (e < 0)
		return e;
	if (!l.bandwidth && !l.packets && !l.connections)
		return conf_fail(c, err,
				 l.burst ? "a burst needs a \"bandwidth\""
					 : "\"limit\" needs \"bandwidth\", \"packets\" or "
					   "\"connections\"");
	if (l.burst && !l.bandwidth)
		return conf_fail(&burst, err, "a burst needs a \"bandwidth\"");
	r->limit = malloc(sizeof(*r->limit));
	if (!r->limit) {
		conf_error_set(err, "out of memory");
		return -ENOMEM;
	}
	*r->limit = l;
	return 0;
}

int policy_rule_check_limit(const struct policy_rule *r, struct why *why)
{
	if (!r->limit)
		return 0;
	if (r->action == POLICY_DENY)
		return why_set(why, "nothing passes by a deny rule: no \"limit\" in it");
	if (rule_has_http(r))
		return why_set(why,
			       "a limit is of flows, and http conditions are about the requests in "
			       "them: put the limit on a rule without \"http\"");
	return 0;
}

const struct policy_limit *policy_rule_limit(const struct policy *p, int rule)
{
	return rule >= 0 && (size_t)rule < p->n_rules ? p->rules[rule].limit : NULL;
}

bool policy_has_limits(const struct policy *p)
{
	for (size_t i = 0; i < p->n_rules; i++)
		if (p->rules[i].limit)
			return true;
	return false;
}

/* Takes over v; false when out of memory. */
static bool put(json_t *o, const char *key, json_t *v)
{
	return v && json_object_set_new(o, key, v) == 0;
}

json_t *policy_limit_json(const struct policy_limit *l)
{
	char text[SIZE_STRLEN];
	json_t *o = json_object();
	bool ok = o != NULL;

	if (l->bandwidth)
		ok = ok && put(o, "bandwidth", json_string(bandwidth_format(l->bandwidth, text)));
	if (l->burst)
		ok = ok && put(o, "burst", json_string(size_format(l->burst, text)));
	if (l->packets)
		ok = ok && put(o, "packets", json_integer((json_int_t)l->packets));
	if (l->connections)
		ok = ok && put(o, "connections", json_integer((json_int_t)l->connections));
	if (ok)
		return o;
	json_decref(o);
	return NULL;
}

/* ---- in words ---------------------------------------------------------------------- */

static void append(char *out, size_t size, const char *fmt, ...) printf_like(3, 4);
static void append(char *out, size_t size, const char *fmt, ...)
{
	size_t len = strlen(out);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out + len, size - len, fmt, ap);
	va_end(ap);
}

const char *policy_limit_format(const struct policy_limit *l, char out[static POLICY_LIMIT_STRLEN])
{
	char text[SIZE_STRLEN];

	out[0] = 0;
	if (!l)
		append(out, POLICY_LIMIT_STRLEN, "no limit");
	else if (l->bandwidth)
		append(out, POLICY_LIMIT_STRLEN, "%s/s", bandwidth_format(l->bandwidth, text));
	if (l && l->burst)
		append(out, POLICY_LIMIT_STRLEN, " (burst %s)", size_format(l->burst, text));
	if (l && l->packets)
		append(out, POLICY_LIMIT_STRLEN, "%s%llu packets/s", out[0] ? ", " : "",
		       (unsigned long long)l->packets);
	if (l && l->connections)
		append(out, POLICY_LIMIT_STRLEN, "%s%llu connections", out[0] ? ", " : "",
		       (unsigned long long)l->connections);
	return out;
}

bool policy_limit_equal(const struct policy_limit *a, const struct policy_limit *b)
{
	if (!a || !b)
		return a == b;
	return a->bandwidth == b->bandwidth && a->burst == b->burst && a->packets == b->packets &&
	       a->connections == b->connections;
}
