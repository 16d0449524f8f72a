/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir policy suggest: from a record the smallest policy that allows what the
 * run used and nothing it did not.
 *
 * A person will use the result, and every text of the record was chosen by a
 * guest: a destination is a rule only in its canonical form, a name only when
 * the flow proved it, and what could not be written exactly is told.
 */
#include "weir/policy_cmd.h"

#include "base/base.h"
#include "weir/addresses.h"
#include "weir/record_read.h"
#include "weir/suggest_uses.h"

#include <stdio.h>

/* Bytes of one path that a rule takes as it is. */
#define PATTERN_MAX 1800
/* Methods that a rule can spell, of one host and port. */
#define METHODS_MAX 32

const char policy_help_suggest[] =
	"Usage: weir policy suggest RECORD.jsonl [OPTIONS]\n"
	"\n"
	"Writes the smallest policy that allows what the recorded run used, and nothing\n"
	"it did not: exact names with their ports, addresses where no name was proved,\n"
	"HTTP methods and paths where requests were read. Each rule's reason says what it\n"
	"was seen for; what had to be written wider than seen is told on standard error.\n"
	"\n"
	"  --observed      only what --observe let through and the policy denies\n"
	"  --from-denied   what the policy refused: the rules that would allow it\n"
	"                  (one of the two)\n"
	"\n"
	"Exit status: 0 written, 2 error, or the record is empty or broken.\n"
	"\n"
	"Example\n"
	"  weir run --backend netns --policy none --observe --audit run.jsonl -- ./agent\n"
	"  weir policy suggest run.jsonl >agent.json\n"
	"  weir policy replay agent.json run.jsonl\n";

enum wanted { WANT_USED = 0, WANT_OBSERVED = 1, WANT_DENIED = 2 };

struct suggest {
	enum wanted wanted;
	struct suggest_uses uses;
	struct record_nets nets;
	struct record_names names;
	struct record_flows flows;
	struct buf path;
	uint64_t unnamed; /* TCP flows to an address whose name nobody read */
	uint64_t unsaid;  /* that no rule can say */
	uint64_t floored; /* refused by the operator's floor */
};

static bool is_wanted(struct suggest *s, const json_t *e)
{
	enum audit_verdict v = record_verdict_of(e);
	bool observed = record_is_observed(e), dns = str_eq(audit_get(e, "kind"), "dns");
	bool answer = dns && (observed || str_eq(audit_get(e, "result"), "rebind"));

	/* What no rule decided no rule changes; but an answer is refused without naming one. */
	if (!audit_get(e, "rule")[0] && !answer)
		return false;
	if (s->wanted != WANT_DENIED)
		return v == AUDIT_V_ALLOW && (s->wanted == WANT_USED || observed);
	if (v == AUDIT_V_DENY && json_is_true(json_object_get(e, "floor"))) {
		s->floored += audit_count_of(e);
		return false;
	}
	return v == AUDIT_V_DENY;
}

/* ---- queries ---------------------------------------------------------------------------- */

struct answer {
	struct suggest *s;
	const struct name *name;
};

/* An internal address is an answer only where a rule opens it. */
static void take_answer(void *ctx, const struct ip_addr *a)
{
	const struct answer *t = ctx;

	if (policy_group_of(a) != POLICY_GROUP_PUBLIC)
		suggest_answer(&t->s->uses, a, t->name);
}

static void take_dns(struct suggest *s, const json_t *e)
{
	const char *type = audit_get(e, "qtype");
	bool answered = str_eq(audit_get(e, "result"), "answered") &&
			(str_eq(type, "MX") || str_eq(type, "SRV") || str_eq(type, "TXT"));
	struct name name;

	if (!record_get_name(e, "name", &name))
		return;
	if (record_verdict_of(e) == AUDIT_V_ALLOW)
		record_names_learn(&s->names, e, &name);
	if (!is_wanted(s, e) || record_is_own_network(e))
		return;
	suggest_query(&s->uses, &name, answered ? type : NULL);
	if (!record_is_own_answer(e))
		record_each_ip(e, "answers", take_answer, &(struct answer){ s, &name });
}

/* ---- flows -------------------------------------------------------------------------------- */

/* Destination as a rule names it; text is kept in out. */
struct target {
	struct suggest_dest dest;
	char text[NAME_MAX_LEN + 1];
};

static void target_name(const struct name *n, struct target *ret)
{
	memcpy(ret->text, n->s, n->len + 1U);
	ret->dest = (struct suggest_dest){ SUGGEST_NAME, false, ret->text };
}

static void target_address(const struct ip_addr *a, bool host, struct target *ret)
{
	char ip[IP_STRLEN];

	snprintf(ret->text, sizeof(ret->text), "%s", ip_format(a, ip));
	ret->dest = (struct suggest_dest){ host ? SUGGEST_HOST : SUGGEST_ADDRESS, false,
					   host ? "gateway" : ret->text };
}

/* Where an egress flow went: a name when it is proved, else the address. */
static void flow_target(struct suggest *s, const json_t *e, enum policy_proto proto,
			const struct record_flow *f, struct target *ret)
{
	struct name shown, names[REPLAY_CANDIDATES];
	const char *from = audit_get(e, "name_from");
	bool has_name = record_get_name(e, "name", &shown), answered;
	size_t n;

	target_address(&f->dst, f->is_host, ret);
	if (f->is_virtual) {
		target_name(&f->name, ret);
		return;
	}
	answered = has_name && str_eq(from, "answer");
	/* A datagram's name is what the address was given out for; of a refusal it is what was meant. */
	if (answered && (proto != POLICY_TCP || s->wanted == WANT_DENIED))
		target_name(&shown, ret);
	else if (answered)
		s->unnamed++;
	else if (has_name && record_flow_given(f, &s->names, &shown, names, &n))
		target_name(&shown, ret);
}

static void take_flow(struct suggest *s, const json_t *e)
{
	bool read = json_is_true(json_object_get(e, "intercepted")), wanted = is_wanted(s, e);
	struct record_flow f = { 0 };
	struct port_range ports;
	enum policy_proto proto;
	struct target to;
	struct endpoint peer;

	if (!wanted && record_verdict_of(e) != AUDIT_V_ALLOW)
		return;
	if (!record_get_proto(e, &proto) || !record_get_ip(e, "dst", &f.dst) ||
	    !record_get_ports(e, &ports)) {
		s->unsaid += wanted;
		return;
	}
	f.port = ports.lo;
	f.is_host = record_net_is_gateway(&s->nets, e, &f.dst);
	if (str_eq(audit_get(e, "dir"), "ingress")) {
		/* The sandbox saw its gateway where the peer is on this machine. */
		if (record_get_endpoint(e, "peer", &peer))
			target_address(&peer.addr, false, &to);
		else
			target_address(&f.dst, f.is_host, &to);
		to.dest.ingress = true;
		if (wanted)
			suggest_flow(&s->uses, &to.dest, proto, ports, false, audit_count_of(e));
		return;
	}
	f.is_virtual =
		str_eq(audit_get(e, "name_from"), "virtual") && record_get_name(e, "name", &f.name);
	record_flow_keep(&s->flows, e, &f);
	if (!wanted)
		return;
	flow_target(s, e, proto, &f, &to);
	suggest_flow(&s->uses, &to.dest, proto, ports, read, audit_count_of(e));
}

/* ---- requests ------------------------------------------------------------------------------- */

static bool is_plain_method(const char *m)
{
	size_t n = strspn(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

	return n && n <= METHODS_MAX && !m[n];
}

/*
 * The pattern for one path. A star of the path itself can only be said by a star;
 * a path too long is said by its beginning. True: it says more than the path.
 */
static bool make_pattern(const char *path, char *out, size_t size)
{
	size_t n = 0;
	bool wider = false;

	for (const char *p = path; *p && n + 4 < size; p++) {
		if (*p == '*' && n && out[n - 1] == '*')
			continue;
		wider |= *p == '*';
		out[n++] = *p;
	}
	out[n] = 0;
	if (strlen(path) + 4 < size)
		return wider;
	while (n && out[n - 1] != '/')
		n--;
	memcpy(out + n, "**", 3);
	return true;
}

static void add_request(struct suggest *s, const struct target *to, const json_t *e, uint16_t port)
{
	const char *path = audit_get(e, "path"), *method = audit_get(e, "method");
	char pattern[PATTERN_MAX];

	buf_reset(&s->path);
	if (path[0] != '/' || policy_path_normalise(path, strlen(path), &s->path) < 0 ||
	    !buf_str(&s->path)) {
		suggest_note(&s->uses,
			     "%.32s %.253s:%u%.100s has no form that a rule could name; left out",
			     method, to->dest.text, port, path);
		return;
	}
	if (make_pattern(buf_str(&s->path), pattern, sizeof(pattern)))
		suggest_note(&s->uses, "%.253s:%u%.200s is written wider than it was seen: %.200s",
			     to->dest.text, port, path, pattern);
	if (!is_plain_method(method)) {
		suggest_note(&s->uses, "%.253s:%u: a rule cannot name the method %.40s and takes any",
			     to->dest.text, port, method);
		method = "*";
	}
	suggest_request(&s->uses, &to->dest, port, method, pattern);
}

static void take_http(struct suggest *s, const json_t *e)
{
	struct record_flow *f = record_flow_find(&s->flows, e);
	struct name host, names[REPLAY_CANDIDATES];
	const struct name *shown;
	struct target to;
	size_t n;

	if (!is_wanted(s, e))
		return;
	if (!f || json_is_true(json_object_get(e, "truncated"))) {
		s->unsaid++;
		return;
	}
	shown = record_request_name(f, e, &host);
	if (record_flow_given(f, &s->names, shown, names, &n))
		target_name(shown, &to);
	else if (f->is_virtual)
		target_name(&f->name, &to);
	else
		target_address(&f->dst, f->is_host, &to);
	add_request(s, &to, e, f->port);
}

static void take_tls(struct suggest *s, const json_t *e)
{
	struct record_flow *f = record_flow_find(&s->flows, e);
	struct name sni;

	if (f && record_get_name(e, "sni", &sni))
		f->sni = sni;
}

static void take_event(struct suggest *s, const json_t *e)
{
	static const struct {
		const char *kind;
		void (*take)(struct suggest *s, const json_t *e);
	} kinds[] = {
		{ "flow", take_flow }, { "dns", take_dns }, { "tls", take_tls }, { "http", take_http }
	};

	record_net_learn(&s->nets, e);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (str_eq(audit_get(e, "kind"), kinds[i].kind))
			kinds[i].take(s, e);
}

/* ---- the result ------------------------------------------------------------------------------- */

static void tell(const struct suggest *s, size_t n_http)
{
	size_t i;
	json_t *note;

	json_array_foreach(s->uses.notes, i, note)
		policy_cmd_complain("suggest", "note: %s", json_string_value(note));
	if (s->uses.more_notes)
		policy_cmd_complain("suggest", "note: and %llu more of this kind",
				    (unsigned long long)s->uses.more_notes);
	if (s->unnamed)
		policy_cmd_complain(
			"suggest",
			"note: of %llu TCP flows nobody read a name, so the rules name "
			"their addresses; with virtual answers or --tls-intercept names are "
			"on the record",
			(unsigned long long)s->unnamed);
	if (s->unsaid)
		policy_cmd_complain(
			"suggest", "note: %llu events do not say enough for a rule and are left out",
			(unsigned long long)s->unsaid);
	if (s->floored)
		policy_cmd_complain(
			"suggest",
			"note: %llu refusals are the operator's floor, which no policy opens",
			(unsigned long long)s->floored);
	if (n_http)
		policy_cmd_complain("suggest",
				    "note: %zu rule%s read HTTP requests: over TLS that needs "
				    "--tls-intercept, or those flows are refused",
				    n_http, n_http == 1 ? "" : "s");
	if (json_object_size(s->uses.dests) == 0)
		policy_cmd_complain("suggest",
				    "note: the record has nothing %s: the policy "
				    "allows nothing",
				    s->wanted == WANT_OBSERVED ? "that --observe let through"
				    : s->wanted == WANT_DENIED ? "that a rule could open"
							       : "that was used");
}

/* What is printed is a policy, or it is not printed. */
static int check(const json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);
	struct conf_error err = { "out of memory" };
	struct conf_doc *doc = NULL;
	struct policy *p = NULL;
	int r = -ENOMEM;

	if (text)
		r = conf_doc_parse(text, strlen(text), "the suggestion", CONF_JSON, &doc, &err);
	if (r == 0) {
		struct conf top = conf_root(doc), c = conf_member(&top, "policy");

		r = policy_load_conf(&c, &p, &err);
	}
	if (r < 0)
		policy_cmd_complain("suggest", "what this run used is no policy: %s", err.text);
	policy_free(p);
	conf_doc_free(doc);
	free(text);
	return r;
}

/* Columns that a line of the result takes, where it can be cut. */
#define LINE_COLUMNS 80

/* A rule, its members on as few lines as it takes: a person reads and edits this. */
static int print_rule(const json_t *rule)
{
	const char *key;
	size_t at = 7, n;
	json_t *v;
	char *text;

	fputs("{", stdout);
	json_object_foreach((json_t *)(uintptr_t)rule, key, v)
	{
		text = json_dumps(v, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
		if (!text)
			return policy_cmd_complain("suggest", "out of memory");
		n = strlen(key) + strlen(text) + 6;
		if (at > 7 && at + n > LINE_COLUMNS) {
			fputs(",\n       ", stdout);
			at = 7;
		} else if (at > 7) {
			fputs(", ", stdout);
		}
		printf("\"%s\": ", key);
		policy_cmd_put_json(text);
		at += n;
		free(text);
	}
	fputs("}", stdout);
	return 0;
}

static int print(const json_t *o)
{
	json_t *policy = json_object_get(o, "policy"), *rules = json_object_get(policy, "rules"), *v;
	const char *key;
	size_t i;

	fputs("{ \"policy\": {\n", stdout);
	json_object_foreach(policy, key, v) if (v != rules)
		printf("    \"%s\": \"%s\",\n", key, json_string_value(v));
	fputs("    \"rules\": [", stdout);
	json_array_foreach(rules, i, v)
	{
		fputs(i ? ",\n      " : "\n      ", stdout);
		if (print_rule(v))
			return EXIT_ERROR;
	}
	puts(" ] } }");
	return 0;
}

static int write_policy(struct suggest *s)
{
	size_t n_http = 0;
	json_t *o;
	int e;

	suggest_generalise(&s->uses);
	if (s->uses.full)
		return policy_cmd_complain("suggest", "more destinations than a policy takes (%d)",
					   SUGGEST_DESTS_MAX);
	o = suggest_rules(&s->uses, &n_http);
	if (!o)
		return policy_cmd_complain("suggest", "out of memory");
	e = check(o) < 0 ? EXIT_ERROR : print(o);
	json_decref(o);
	if (e == 0 && fflush(stdout) != 0)
		e = policy_cmd_complain("suggest", "cannot write: %s", strerror(errno));
	if (e == 0)
		tell(s, n_http);
	return e;
}

static int suggest_from(struct suggest *s, const char *path)
{
	struct audit_record *rec = NULL;
	const struct audit_chain *chain;
	struct audit_line line;
	char err[256] = "";
	int rc = audit_record_open(path, &rec, err, sizeof(err)), e;

	while (rc >= 0 && (rc = audit_record_next(rec, &line, err, sizeof(err))) > 0)
		take_event(s, line.event);
	if (rc < 0) {
		e = policy_cmd_complain("suggest", "%s: %s", path, err[0] ? err : strerror(-rc));
	} else {
		chain = audit_record_chain(rec);
		/* Who changed it would write the policy. */
		if (chain->breaks)
			e = policy_cmd_complain("suggest", "%s: the record is broken: %s", path,
						chain->text[0]);
		else if (chain->events == 0)
			e = policy_cmd_complain("suggest",
						"%s: no event is on record: nothing "
						"ran, or it was emptied",
						path);
		else
			e = write_policy(s);
	}
	audit_record_close(rec);
	return e;
}

static int parse_args(int argc, char **argv, enum wanted *ret, const char **ret_path)
{
	static const char *const names[] = { "--observed", "--from-denied" };

	for (int i = 1; i < argc; i++) {
		bool observed = str_eq(argv[i], names[0]), denied = str_eq(argv[i], names[1]);

		if ((observed || denied) && *ret != WANT_USED)
			return policy_cmd_complain("suggest",
						   "one of --observed and --from-denied");
		if (observed || denied) {
			*ret = observed ? WANT_OBSERVED : WANT_DENIED;
		} else if (argv[i][0] == '-' && argv[i][1]) {
			return policy_cmd_unknown("suggest", argv[i], names, ARRAY_SIZE(names));
		} else if (*ret_path) {
			return policy_cmd_complain("suggest", "one argument too many: %s", argv[i]);
		} else {
			*ret_path = argv[i];
		}
	}
	if (!*ret_path)
		return policy_cmd_complain("suggest", "which record? see --help");
	return 0;
}

int policy_cmd_suggest(int argc, char **argv)
{
	struct suggest s = { .path = BUF_INIT(64 * 1024) };
	const char *path = NULL;
	int e = parse_args(argc, argv, &s.wanted, &path);

	if (e)
		return e;
	if (suggest_uses_init(&s.uses) < 0 || record_names_init(&s.names) < 0 ||
	    record_flows_init(&s.flows) < 0)
		e = policy_cmd_complain("suggest", "out of memory");
	else
		e = suggest_from(&s, path);
	suggest_uses_fini(&s.uses);
	record_names_fini(&s.names);
	record_flows_fini(&s.flows);
	buf_fini(&s.path);
	return e;
}
