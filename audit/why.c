/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything about one decision: found by its denial id, by its flow's id or, a
 * query, by its name, with all events of that flow, the rule, its reason and what would change it.
 *
 * Flow ids are counted per run, so a number names the flow of the last run in
 * the file that has it; a denial id is unique.
 */
#include "audit/audit_internal.h"

#include <stdio.h>

struct found {
	json_t *decision;
	json_t *flow;	/* the flow event, when there is one */
	json_t *events; /* array, all of the flow */
	char run[AUDIT_RUN_MAX + 1];
	char id[40]; /* of the flow; "" when the event has none */
	uint64_t number, begin_ns, time_ns;
	uint64_t more;	/* events beyond AUDIT_WHY_MAX */
	uint64_t count; /* queries refused with this denial id: a flood's share one */
};

/* Whether this event is what the person asks about; flows are asked for by number. */
static bool is_decision(const json_t *event, const char *id)
{
	char flow[40];

	if (str_eq(audit_get(event, "denial"), id))
		return true;
	return (str_eq(audit_get(event, "kind"), "flow") ||
		str_eq(audit_get(event, "kind"), "dns")) &&
	       str_eq(audit_get_id(event, flow, sizeof(flow)), id);
}

static bool is_refusal(const json_t *event)
{
	enum audit_verdict v = audit_verdict_of(event);

	return v == AUDIT_V_DENY || v == AUDIT_V_OBSERVED;
}

/* A query is asked for by its name: of several, a refusal before an answer, the latest of its kind. */
static bool is_query(const json_t *event, const char *name, const struct found *f)
{
	if (!str_eq(audit_get(event, "kind"), "dns") || !str_eq(audit_get(event, "name"), name))
		return false;
	return !f->decision || is_refusal(event) || !is_refusal(f->decision);
}

static void take(struct found *f, const struct audit_line *line)
{
	json_decref(f->decision);
	f->decision = json_incref(line->event);
	snprintf(f->run, sizeof(f->run), "%s", line->run);
	audit_get_id(line->event, f->id, sizeof(f->id));
	f->number = line->number;
	f->begin_ns = line->begin_ns;
	f->time_ns = line->time_ns;
}

static int find(struct audit_record *r, const char *id, struct found *f, char *err, size_t err_size)
{
	struct audit_line line;
	bool denial, by_id = false;
	struct name name;
	int rc;

	/* Names are on the record in their one form. */
	if (name_parse(id, strlen(id), &name, NULL) < 0)
		name = (struct name){ 0 };
	while ((rc = audit_record_next(r, &line, err, err_size)) > 0) {
		if (!is_decision(line.event, id)) {
			if (!by_id && name.len && is_query(line.event, name.s, f))
				take(f, &line);
			continue;
		}
		denial = str_eq(audit_get(line.event, "denial"), id);
		if (denial && str_eq(audit_get(line.event, "kind"), "dns"))
			f->count += audit_count_of(line.event);
		/*
		 * The first event with a denial id decided, later ones only carry it;
		 * but a leaked secret says more than the refused request around it.
		 */
		if (denial && f->decision && str_eq(audit_get(f->decision, "denial"), id) &&
		    audit_verdict_of(line.event) != AUDIT_V_VIOLATION)
			continue;
		by_id = true;
		take(f, &line);
	}
	if (rc < 0)
		return rc;
	return f->decision ? 0 : -ENOENT;
}

static int collect(struct audit_record *r, struct found *f, char *err, size_t err_size)
{
	struct audit_line line;
	char id[40];
	int rc = audit_record_rewind(r);

	f->events = json_array();
	if (rc < 0 || !f->events)
		return rc < 0 ? rc : -ENOMEM;
	while ((rc = audit_record_next(r, &line, err, err_size)) > 0) {
		bool same = f->id[0] && str_eq(line.run, f->run) &&
			    str_eq(audit_get_id(line.event, id, sizeof(id)), f->id);

		if (!same && line.number != f->number)
			continue;
		if (json_array_size(f->events) >= AUDIT_WHY_MAX && line.number != f->number) {
			f->more++;
			continue;
		}
		json_array_append(f->events, line.event);
		if (same && str_eq(audit_get(line.event, "kind"), "flow") && !f->flow)
			f->flow = json_incref(line.event);
	}
	return rc;
}

static void print_line(const char *label, const char *text, FILE *out)
{
	if (text[0])
		fprintf(out, "  %-9s%s\n", label, text);
}

static void print_head(const struct found *f, const char *id, const struct audit_view *v, FILE *out)
{
	struct audit_row row;
	char quoted[64], when[80];
	uint64_t ms = f->time_ns > f->begin_ns ? (f->time_ns - f->begin_ns) / NS_PER_MS : 0;
	const char *time = audit_get(f->decision, "time");
	char stamp[64];

	audit_row_fill(f->decision, &row);
	log_quote(id, strlen(id), quoted, sizeof(quoted));
	log_quote(time, strlen(time), stamp, sizeof(stamp));
	snprintf(when, sizeof(when), "%.40s (%llu.%03u s into the run)", stamp,
		 (unsigned long long)(ms / 1000), (unsigned)(ms % 1000));
	fprintf(out, "%s: %s%s%s\n", quoted, audit_color(v, row.verdict), audit_mark(row.verdict),
		audit_color_end(v));
	print_line("what", row.what, out);
	print_line("kind", row.kind, out);
	print_line("when", when, out);
	print_line("rule", row.rule, out);
	print_line("because", row.note, out);
	print_line("denial", row.denial, out);
	snprintf(when, sizeof(when), "%llu times", (unsigned long long)f->count);
	print_line("asked", f->count > 1 ? when : "", out);
}

static void print_events(const struct found *f, const struct audit_view *v, FILE *out)
{
	struct audit_row row;

	if (json_array_size(f->events) < 2)
		return;
	fprintf(out, "\nall events of this flow\n");
	audit_row_head(v, out);
	for (size_t i = 0; i < json_array_size(f->events); i++) {
		const json_t *e = json_array_get(f->events, i);
		uint64_t ns = audit_time_parse(audit_get(e, "time"));
		int64_t ms = -1;

		audit_row_fill(e, &row);
		if (str_eq(audit_get(e, "kind"), "flow_end"))
			ms = (int64_t)MIN(audit_get_u64(e, "ms"), (uint64_t)INT64_MAX);
		audit_row_print(&row, ns > f->begin_ns ? ns - f->begin_ns : 0, ms, v, out);
	}
	if (f->more)
		fprintf(out, "and %llu more\n", (unsigned long long)f->more);
}

/* Broken between words where the terminal ends. */
static void print_wrapped(const char *text, const char *end, const struct audit_view *v, FILE *out)
{
	size_t width = v->width ? MAX(v->width, 40U) : SIZE_MAX, column = 0;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (column && column + 1 + n + strlen(end) > width) {
			fputc('\n', out);
			column = 0;
		} else if (column) {
			fputc(' ', out);
			column++;
		}
		fprintf(out, "%.*s", (int)n, text);
		column += n;
		text += n + (text[n] == ' ');
	}
	fprintf(out, "%s\n", end);
}

static void print_advice(const struct audit_advice *a, const struct audit_view *v, FILE *out)
{
	char *rule = a->rule ? json_dumps(a->rule, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;

	fputc('\n', out);
	print_wrapped(a->text, rule || a->flag[0] ? ":" : ".", v, out);
	if (rule)
		fprintf(out, "  %s\n", rule);
	if (a->token[0])
		fprintf(out, "%s  --net-rule %s\n",
			a->token_is_wider ? "or, for every request to it:\n" : "", a->token);
	if (a->flag[0])
		fprintf(out, "  %s\n", a->flag);
	free(rule);
}

static int print_json(const struct found *f, const char *id, const struct audit_advice *a, FILE *out)
{
	json_t *advice = json_object(), *top = json_object();
	char *text;
	int rc = 0;

	json_object_set_new(advice, "text", json_string(a->text));
	if (a->rule)
		json_object_set(advice, "rule", a->rule);
	if (a->token[0])
		json_object_set_new(advice, "net_rule", json_string(a->token));
	if (a->flag[0])
		json_object_set_new(advice, "flag", json_string(a->flag));
	json_object_set_new(top, "id", json_string(id));
	json_object_set_new(top, "verdict", json_string(audit_word(audit_verdict_of(f->decision))));
	if (f->count > 1)
		json_object_set_new(top, "count", json_integer((json_int_t)f->count));
	json_object_set(top, "decision", f->decision);
	json_object_set(top, "events", f->events);
	json_object_set_new(top, "advice", advice);
	text = json_dumps(top, JSON_COMPACT | JSON_ENSURE_ASCII);
	if (!text)
		rc = -ENOMEM;
	/* jansson leaves DEL as it is; a terminal would not. */
	for (const char *p = text; p && *p; p++)
		if (*p == 0x7f)
			fputs("\\u007f", out);
		else
			fputc(*p, out);
	fputc('\n', out);
	free(text);
	json_decref(top);
	return rc;
}

static int show(const struct found *f, const char *id, const struct audit_view *v, FILE *out)
{
	struct audit_advice advice;
	int rc = 0;

	audit_advise(f->decision, f->flow != f->decision ? f->flow : NULL, &advice);
	if (v->json) {
		rc = print_json(f, id, &advice, out);
	} else {
		print_head(f, id, v, out);
		print_events(f, v, out);
		print_advice(&advice, v, out);
	}
	audit_advice_fini(&advice);
	return rc;
}

int audit_why(const char *path, const char *id, const struct audit_view *v, FILE *out, char *err,
	      size_t err_size)
{
	struct audit_record *r = NULL;
	struct found f = { 0 };
	int rc;

	rc = audit_record_open(path, &r, err, err_size);
	if (rc < 0)
		return rc;
	rc = find(r, id, &f, err, err_size);
	if (rc == -ENOENT)
		snprintf(err, err_size, "no decision with this id");
	if (rc == 0)
		rc = collect(r, &f, err, err_size);
	if (rc == 0)
		rc = show(&f, id, v, out);
	if (rc == 0 && audit_record_chain(r)->breaks) {
		snprintf(err, err_size, "%s", audit_record_chain(r)->text[0]);
		rc = -EBADMSG;
	}
	json_decref(f.decision);
	json_decref(f.flow);
	json_decref(f.events);
	audit_record_close(r);
	return rc;
}
