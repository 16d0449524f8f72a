/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy as JSON that loads back to the same policy: plain rules, one a line,
 * keys and ports in a fixed order, so that two policies can be compared as text.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

/* Takes over v; false when out of memory. */
static bool put(json_t *o, const char *key, json_t *v)
{
	return v && json_object_set_new(o, key, v) == 0;
}

static bool push(json_t *list, json_t *v)
{
	return v && json_array_append_new(list, v) == 0;
}

static json_t *dest_json(const struct policy_rule *r)
{
	char text[NAME_MAX_LEN + 8];

	/* A name of one label would read as a misspelt group. */
	if (r->dest == POLICY_DEST_NAME && !strchr(r->name->s, '.'))
		return json_pack("{s:s}", "domain", r->name->s);
	return json_string(policy_dest_format(r, text, sizeof(text)));
}

static json_t *protos_json(uint8_t protos)
{
	json_t *list = json_array();
	bool ok = list != NULL;

	for (unsigned bit = POLICY_TCP; bit <= POLICY_ICMPV6 && ok; bit <<= 1)
		if (protos & bit)
			ok = push(list, json_string(policy_proto_name((enum policy_proto)bit)));
	if (ok)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *ports_json(const struct policy_rule *r)
{
	json_t *list = json_array();
	bool ok = list != NULL;

	for (size_t i = 0; i < r->n_ports && ok; i++)
		ok = push(list, r->ports[i].lo == r->ports[i].hi
					? json_sprintf("%u", r->ports[i].lo)
					: json_sprintf("%u-%u", r->ports[i].lo, r->ports[i].hi));
	if (ok)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *strings_json(char *const *s, size_t n)
{
	json_t *list = json_array();
	bool ok = list != NULL;

	for (size_t i = 0; i < n && ok; i++)
		ok = push(list, json_string(s[i]));
	if (ok)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *qtypes_json(uint8_t qtypes)
{
	json_t *list = json_array();
	bool ok = list != NULL;

	for (unsigned i = 0; policy_qtype_word(i) && ok; i++)
		if (qtypes & 1u << i)
			ok = push(list, json_string(policy_qtype_word(i)));
	if (ok)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *http_json(const struct policy_rule *r)
{
	json_t *o = json_object();
	bool ok = o != NULL;

	if (r->n_methods)
		ok = ok && put(o, "methods", strings_json(r->methods, r->n_methods));
	if (r->n_paths)
		ok = ok && put(o, "paths", strings_json(r->paths, r->n_paths));
	if (ok)
		return o;
	json_decref(o);
	return NULL;
}

/* plain: what it matches and does, not what it is called and how much it lets through. */
static json_t *rule_json(const struct policy_rule *r, bool plain)
{
	json_t *o = json_object();
	bool ok = o != NULL;

	if (r->id && !plain)
		ok = ok && put(o, "id", json_string(r->id));
	ok = ok && put(o, "action", json_string(policy_action_name(r->action)));
	ok = ok && put(o, "direction", json_string(policy_dir_name(r->dirs)));
	ok = ok && put(o, "destination", dest_json(r));
	if (r->protos)
		ok = ok && put(o, "protocols", protos_json(r->protos));
	if (r->n_ports)
		ok = ok && put(o, "ports", ports_json(r));
	if (rule_has_http(r))
		ok = ok && put(o, "http", http_json(r));
	if (r->qtypes)
		ok = ok && put(o, "qtypes", qtypes_json(r->qtypes));
	if (r->limit && !plain)
		ok = ok && put(o, "limit", policy_limit_json(r->limit));
	if (r->reason && !plain)
		ok = ok && put(o, "reason", json_string(r->reason));
	if (ok)
		return o;
	json_decref(o);
	return NULL;
}

char *policy_rule_plain(const struct policy_rule *r)
{
	json_t *o = rule_json(r, true);
	char *text = o ? json_dumps(o, JSON_PRESERVE_ORDER) : NULL;

	json_decref(o);
	return text;
}

static int print_rule(const struct policy_rule *r, bool last, FILE *out)
{
	json_t *o = rule_json(r, false);
	char *text = o ? json_dumps(o, JSON_PRESERVE_ORDER) : NULL;
	int err = text ? 0 : -ENOMEM;

	if (text && fprintf(out, "    %s%s\n", text, last ? "" : ",") < 0)
		err = -EIO;
	free(text);
	json_decref(o);
	return err;
}

int policy_print(const struct policy *p, FILE *out)
{
	int err = 0;

	fprintf(out,
		"{\n  \"default_egress\": \"%s\",\n  \"default_ingress\": \"%s\",\n"
		"  \"on_deny\": \"%s\",\n%s  \"rules\": [%s",
		policy_action_name(p->egress), policy_action_name(p->ingress),
		p->drop ? "drop" : "refuse", p->strict_names ? "  \"strict_names\": true,\n" : "",
		p->n_rules ? "\n" : "");
	for (size_t i = 0; i < p->n_rules && err == 0; i++)
		err = print_rule(&p->rules[i], i + 1 == p->n_rules, out);
	fprintf(out, "%s]\n}\n", p->n_rules ? "  " : "");
	if (err == 0 && ferror(out))
		err = -EIO;
	return err;
}
