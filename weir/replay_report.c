/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a policy says now, grouped: decisions that look alike and came out alike
 * are one line with a count. Texts come from a record or a capture that anybody
 * may have written: they are printable before they get here, and bounded.
 */
#include "weir/replay.h"

#include "base/base.h"
#include "weir/wrap.h"

#include <stdio.h>

static const char *const now_words[] = { "deny", "allow", "depends" };

int replay_report_init(struct replay_report *r, bool has_was, bool all)
{
	*r = (struct replay_report){
		.has_was = has_was, .all = all, .groups = json_object(), .apart = json_object()
	};
	if (r->groups && r->apart)
		return 0;
	replay_report_fini(r);
	return -ENOMEM;
}

void replay_report_fini(struct replay_report *r)
{
	json_decref(r->groups);
	json_decref(r->apart);
	*r = (struct replay_report){ 0 };
}

const char *replay_by(const struct policy_verdict *v, char *out, size_t size)
{
	const char *whose = v->floor ? "the floor's " : "";
	char text[700];

	if (v->rule < 0)
		snprintf(text, sizeof(text), "%sdefault", whose);
	else
		snprintf(text, sizeof(text), "%srule %d%s%s%s%s%s", whose, v->rule,
			 v->rule_id ? " (" : "", v->rule_id ? v->rule_id : "",
			 v->rule_id ? ")" : "", v->reason ? ": " : "", v->reason ? v->reason : "");
	return log_quote(text, strlen(text), out, size);
}

enum replay_now replay_now_of(const struct policy_verdict *v)
{
	switch (v->answer) {
	case POLICY_ANSWER_ALLOW:
		return REPLAY_ALLOW;
	case POLICY_ANSWER_NEED_NAME:
	case POLICY_ANSWER_NEED_HTTP:
		return REPLAY_DEPENDS;
	case POLICY_ANSWER_DENY:
		break;
	}
	return REPLAY_DENY;
}

/* ---- counting ---------------------------------------------------------------------- */

static void count_up(json_t *o, const char *key, uint64_t n)
{
	json_t *v = json_object_get(o, key);
	uint64_t sum;

	if (__builtin_add_overflow((uint64_t)json_integer_value(v), n, &sum) || sum > INT64_MAX)
		sum = INT64_MAX;
	if (v)
		json_integer_set(v, (json_int_t)sum);
	else
		json_object_set_new(o, key, json_integer((json_int_t)sum));
}

static json_t *new_group(const struct replay_report *r, const struct replay_item *item)
{
	json_t *g = json_pack("{s:s, s:s, s:s, s:s, s:i}", "now", now_words[item->now], "unit",
			      item->unit, "what", item->what, "now_by", item->now_by, "count", 0);

	if (g && r->has_was) {
		json_object_set_new(g, "was", json_string(now_words[item->was]));
		json_object_set_new(g, "was_by", json_string(item->was_by));
	}
	return g;
}

void replay_report_add(struct replay_report *r, const struct replay_item *item)
{
	bool same = r->has_was && item->was == item->now;
	char key[1200];
	json_t *g;

	r->judged += item->count;
	r->now[item->now] += same ? 0 : item->count;
	r->same += same ? item->count : 0;
	if (same && !r->all)
		return;
	snprintf(key, sizeof(key), "%d %d %s %s %s %s", item->now, item->was, item->unit,
		 item->what, item->now_by, item->was_by);
	g = json_object_get(r->groups, key);
	if (!g && json_object_size(r->groups) < REPLAY_GROUPS_MAX) {
		g = new_group(r, item);
		json_object_set_new(r->groups, key, g);
	}
	if (g)
		count_up(g, "count", item->count);
	else
		r->ungrouped += item->count;
}

void replay_report_apart(struct replay_report *r, const char *why, uint64_t count)
{
	char quoted[200];

	log_quote(why, strlen(why), quoted, sizeof(quoted));
	if (!json_object_get(r->apart, quoted) && json_object_size(r->apart) >= REPLAY_APART_MAX)
		snprintf(quoted, sizeof(quoted), "for other reasons");
	count_up(r->apart, quoted, count);
}

bool replay_report_differs(const struct replay_report *r)
{
	return r->has_was && r->judged != r->same;
}

/* ---- showing -------------------------------------------------------------------------- */

static uint64_t count_of(const json_t *g)
{
	return (uint64_t)json_integer_value(json_object_get(g, "count"));
}

static const char *text_of(const json_t *g, const char *key)
{
	const char *s = json_string_value(json_object_get(g, key));

	return s ? s : "";
}

/* Denied first, then what depends, then allowed; the most frequent first. */
static int by_weight(const void *pa, const void *pb)
{
	const json_t *a = *(json_t *const *)pa, *b = *(json_t *const *)pb;
	int c = strcmp(text_of(b, "now"), text_of(a, "now"));

	/* "allow" < "depends" < "deny": backwards is what is wanted. */
	if (c)
		return c;
	if (count_of(a) != count_of(b))
		return count_of(a) < count_of(b) ? 1 : -1;
	return strcmp(text_of(a, "what"), text_of(b, "what"));
}

/* The groups in the order of showing, borrowed; NULL: none, or out of memory. */
static json_t **sorted(const struct replay_report *r, size_t *ret_n)
{
	size_t n = json_object_size(r->groups), i = 0;
	json_t **list = n ? calloc(n, sizeof(*list)) : NULL, *g;
	const char *key;

	*ret_n = 0;
	if (!list)
		return NULL;
	json_object_foreach(r->groups, key, g) list[i++] = g;
	qsort(list, n, sizeof(*list), by_weight);
	*ret_n = n;
	return list;
}

static const char *done_word(const char *verdict)
{
	return str_eq(verdict, "allow")	 ? "allowed"
	       : str_eq(verdict, "deny") ? "denied"
					 : "depending";
}

static void print_group(const struct replay_report *r, const json_t *g)
{
	const char *now = text_of(g, "now"), *was = text_of(g, "was"), *unit = text_of(g, "unit");
	uint64_t n = count_of(g);
	char units[32], how[1600];

	if (str_eq(unit, "query"))
		snprintf(units, sizeof(units), n == 1 ? "query" : "queries");
	else
		snprintf(units, sizeof(units), "%s%s", unit, n == 1 ? "" : "s");
	if (r->has_was && str_eq(was, now))
		snprintf(how, sizeof(how), "%s as before, by %s (was by %s)", done_word(now),
			 text_of(g, "now_by"), text_of(g, "was_by"));
	else if (r->has_was)
		snprintf(how, sizeof(how), "was %s by %s, now %s%s%s", done_word(was),
			 text_of(g, "was_by"), done_word(now),
			 str_eq(now, "depends") ? " on " : " by ", text_of(g, "now_by"));
	else
		snprintf(how, sizeof(how), "%s %s", str_eq(now, "depends") ? "on" : "by",
			 text_of(g, "now_by"));
	wrap_printf(stdout, 26, "%-7s %6llu %-10s %s  %s", now, (unsigned long long)n, units,
		    text_of(g, "what"), how);
}

static void print_apart(const struct replay_report *r)
{
	const char *key;
	json_t *n;

	json_object_foreach(r->apart, key, n) wrap_printf(stdout, 12, "not judged  %s (%llu)", key,
							  (unsigned long long)json_integer_value(n));
}

void replay_report_print(const struct replay_report *r, const char *input)
{
	unsigned long long allow = r->now[REPLAY_ALLOW], deny = r->now[REPLAY_DENY];
	unsigned long long depends = r->now[REPLAY_DEPENDS];
	json_t **list;
	size_t n;

	list = sorted(r, &n);
	for (size_t i = 0; i < n; i++)
		print_group(r, list[i]);
	free(list);
	if (r->ungrouped)
		printf("and %llu more decisions that are only counted\n",
		       (unsigned long long)r->ungrouped);
	if (n)
		putchar('\n');
	if (r->has_was)
		wrap_printf(
			stdout, 12,
			"judged      %llu decisions again: %llu as before, %llu now allowed, %llu "
			"now denied, %llu depend on what the record does not tell",
			(unsigned long long)r->judged, (unsigned long long)r->same, allow, deny,
			depends);
	else
		wrap_printf(stdout, 12,
			    "judged      %llu: %llu allowed, %llu denied, %llu depend on what the "
			    "capture does not tell",
			    (unsigned long long)r->judged, allow, deny, depends);
	print_apart(r);
	wrap_printf(stdout, 12, "%s", input);
}

json_t *replay_report_json(const struct replay_report *r)
{
	json_t *list = json_array(), **groups, *o;
	size_t n;

	groups = sorted(r, &n);
	for (size_t i = 0; i < n; i++)
		json_array_append(list, groups[i]);
	free(groups);
	o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:O, s:o}", "judged", (json_int_t)r->judged,
		      r->has_was ? "now_allowed" : "allowed", (json_int_t)r->now[REPLAY_ALLOW],
		      r->has_was ? "now_denied" : "denied", (json_int_t)r->now[REPLAY_DENY],
		      "depends", (json_int_t)r->now[REPLAY_DEPENDS], "ungrouped",
		      (json_int_t)r->ungrouped, "not_judged", r->apart, "groups", list);
	if (o && r->has_was)
		json_object_set_new(o, "same", json_integer((json_int_t)r->same));
	return o;
}
