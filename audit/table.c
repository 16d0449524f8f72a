/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record as a table for a person, and its summary.
 *
 * The file is read twice: once to judge the chain, to pair flows with their
 * ends and to add up; once to print. Rows keep the order of the record; a
 * flow's row carries the bytes and the duration of its end. The columns are
 * fixed but for WHAT, which takes what the terminal leaves; a refusal has a
 * second line with its reason and its denial id.
 */
#include "audit/audit_internal.h"

#include <stdio.h>

enum {
	COL_TIME = 8,
	COL_MARK = 5,
	COL_KIND = 6,
	COL_RULE = 12,
	COL_BYTES = 6,
	COL_MS = 8,
	/* Everything but WHAT, with one blank between two columns. */
	COL_FIXED = COL_TIME + COL_MARK + COL_KIND + COL_RULE + 2 * COL_BYTES + COL_MS + 7,
	COL_WHAT_MIN = 22,
};

static int what_width(const struct audit_view *v)
{
	int width = v->width ? (int)MIN(v->width, 400U) : 100;

	return MAX(width - COL_FIXED, COL_WHAT_MIN);
}

const char *audit_mark(enum audit_verdict v)
{
	static const char *const marks[] = { "", "allow", "deny", "fail", "used", "leak", "would" };

	return marks[v];
}

const char *audit_word(enum audit_verdict v)
{
	static const char *const words[] = { "none", "allow",	  "deny",    "fail",
					     "used", "violation", "observed" };

	return words[v];
}

const char *audit_color(const struct audit_view *v, enum audit_verdict verdict)
{
	static const char *const colors[] = { "",	  "\033[32m",	"\033[1;31m", "\033[33m",
					      "\033[36m", "\033[1;35m", "\033[33m" };

	return v->color ? colors[verdict] : "";
}

const char *audit_color_end(const struct audit_view *v)
{
	return v->color ? "\033[0m" : "";
}

static bool view_wants(const struct audit_view *v, const json_t *event)
{
	enum audit_verdict verdict = audit_verdict_of(event);
	const char *kind = audit_get(event, "kind");

	if (v->only_denied && verdict != AUDIT_V_DENY && verdict != AUDIT_V_VIOLATION &&
	    verdict != AUDIT_V_OBSERVED)
		return false;
	return !v->kind || str_eq(v->kind, kind) ||
	       (str_eq(v->kind, "flow") && str_eq(kind, "flow_end"));
}

void audit_put_cell(FILE *out, const char *text, int width)
{
	int n = (int)strlen(text);

	if (n <= width)
		fprintf(out, "%-*s", width, text);
	else
		fprintf(out, "%.*s..", width - 2, text);
}

void audit_row_head(const struct audit_view *v, FILE *out)
{
	fprintf(out, "%s%*s %-*s %-*s %-*s %-*s %*s %*s %*s%s\n", v->color ? "\033[2m" : "",
		COL_TIME, "TIME", COL_MARK, "", COL_KIND, "KIND", what_width(v), "WHAT", COL_RULE,
		"RULE", COL_BYTES, "UP", COL_BYTES, "DOWN", COL_MS, "TOOK", audit_color_end(v));
}

static void put_note(const struct audit_row *row, const struct audit_view *v, FILE *out)
{
	int indent = COL_TIME + COL_MARK + COL_KIND + 3;

	fprintf(out, "%*s%s%s", indent, "", audit_color(v, row->verdict),
		row->note[0]		       ? row->note
		: str_eq(row->rule, "default") ? "no rule matched, so the default decided"
					       : "refused by this rule");
	if (row->denial[0])
		fprintf(out, " [%s]", row->denial);
	fprintf(out, "%s\n", audit_color_end(v));
}

void audit_row_print(const struct audit_row *row, uint64_t offset_ns, int64_t ms,
		     const struct audit_view *v, FILE *out)
{
	bool refused = row->verdict == AUDIT_V_DENY || row->verdict == AUDIT_V_FAIL ||
		       row->verdict == AUDIT_V_VIOLATION || row->verdict == AUDIT_V_OBSERVED;
	char up[16] = "", down[16] = "", took[24] = "";

	if (row->has_bytes) {
		audit_bytes(row->up, up);
		audit_bytes(row->down, down);
	}
	if (ms >= 0)
		snprintf(took, sizeof(took), "%llu.%03us", (unsigned long long)ms / 1000,
			 (unsigned)(ms % 1000));
	fprintf(out, "%*llu.%03u %s%-*s%s %-*s ", COL_TIME - 4,
		(unsigned long long)(offset_ns / NS_PER_S),
		(unsigned)(offset_ns % NS_PER_S / NS_PER_MS), audit_color(v, row->verdict),
		COL_MARK, audit_mark(row->verdict), audit_color_end(v), COL_KIND, row->kind);
	if (row->has_bytes || ms >= 0) {
		audit_put_cell(out, row->what, what_width(v));
		fputc(' ', out);
		audit_put_cell(out, row->rule, COL_RULE);
		fprintf(out, " %*s %*s", COL_BYTES, up, COL_BYTES, down);
		if (ms >= 0)
			fprintf(out, " %*s", COL_MS, took);
		fputc('\n', out);
	} else if (row->rule[0]) {
		audit_put_cell(out, row->what, what_width(v));
		fprintf(out, " %.*s\n", COL_RULE + 2 * COL_BYTES + COL_MS + 3, row->rule);
	} else {
		/* Nothing to the right: the text may use the whole line. */
		fprintf(out, "%.*s\n", what_width(v) + COL_RULE + 2 * COL_BYTES + COL_MS + 4,
			row->what);
	}
	if (refused && (row->note[0] || row->denial[0]))
		put_note(row, v, out);
}

/* ---- pairing flows with their ends ------------------------------------------------- */

/* Key of a flow: run and id. In the item: n 1 a flow was seen, 2 its end as well; a, b bytes. */
static void flow_key(const struct audit_line *line, char *out, size_t size)
{
	char id[40];

	snprintf(out, size, "%s/%s", line->run, audit_get_id(line->event, id, sizeof(id)));
}

struct ends {
	struct audit_tally flows;
};

static void ends_add(struct ends *e, const struct audit_line *line)
{
	const char *kind = audit_get(line->event, "kind");
	struct audit_tally_item *it;
	char key[AUDIT_RUN_MAX + 48];

	flow_key(line, key, sizeof(key));
	if (str_eq(kind, "flow")) {
		it = audit_tally_get(&e->flows, key);
		if (it && it->n == 0)
			it->n = 1;
	} else if (str_eq(kind, "flow_end")) {
		it = audit_tally_find(&e->flows, key);
		if (!it || it->n != 1)
			return;
		it->n = 2;
		it->a = audit_get_u64(line->event, "bytes_up");
		it->b = audit_get_u64(line->event, "bytes_down");
		snprintf(it->note, sizeof(it->note), "%llu",
			 (unsigned long long)audit_get_u64(line->event, "ms"));
	}
}

static void print_event(struct ends *e, const struct audit_line *line, const struct audit_view *v,
			FILE *out)
{
	const char *kind = audit_get(line->event, "kind");
	struct audit_tally_item *it = NULL;
	char key[AUDIT_RUN_MAX + 48];
	struct audit_row row;
	int64_t ms = -1;

	if (str_eq(kind, "flow") || str_eq(kind, "flow_end")) {
		flow_key(line, key, sizeof(key));
		it = audit_tally_find(&e->flows, key);
	}
	/* Its bytes stand in the flow's own row. */
	if (str_eq(kind, "flow_end") && it && it->n == 2)
		return;
	audit_row_fill(line->event, &row);
	if (str_eq(kind, "flow_end"))
		ms = (int64_t)MIN(audit_get_u64(line->event, "ms"), (uint64_t)INT64_MAX);
	/* A later policy's denial of it is a row of its own, without them. */
	if (str_eq(kind, "flow") && it && it->n == 2 && row.verdict != AUDIT_V_DENY) {
		uint64_t took = 0;

		row.up = it->a;
		row.down = it->b;
		row.has_bytes = true;
		if (uint_parse(it->note, strlen(it->note), 0, INT64_MAX, &took, NULL) == 0)
			ms = (int64_t)took;
	}
	audit_row_print(&row, line->time_ns > line->begin_ns ? line->time_ns - line->begin_ns : 0,
			ms, v, out);
}

static void print_run(const struct audit_line *line, const struct audit_view *v, FILE *out)
{
	char when[64], run[80], name[160];
	const char *sandbox = audit_get(line->event, "sandbox");
	const char *time = audit_get(line->event, "time");

	log_quote(line->run, strlen(line->run), run, sizeof(run));
	log_quote(sandbox, strlen(sandbox), name, sizeof(name));
	log_quote(time, strlen(time), when, sizeof(when));
	fprintf(out, "%srun %s%s%s, %.19sZ\n", line->number > 1 ? "\n" : "", run,
		name[0] ? " of sandbox " : "", name, when);
	audit_row_head(v, out);
}

/* ---- the two readings -------------------------------------------------------------- */

static int first_reading(struct audit_record *r, struct ends *ends, struct audit_summary *sum,
			 const struct audit_view *v, FILE *out, char *err, size_t err_size)
{
	struct audit_line line;
	int rc;

	while ((rc = audit_record_next(r, &line, err, err_size)) > 0) {
		if (v->json) {
			if (view_wants(v, line.event))
				fprintf(out, "%.*s\n", (int)line.len, line.text);
			continue;
		}
		ends_add(ends, &line);
		audit_summary_add(sum, line.event, line.time_ns);
	}
	return rc;
}

static int second_reading(struct audit_record *r, struct ends *ends, const struct audit_view *v,
			  FILE *out, char *err, size_t err_size)
{
	struct audit_line line;
	int rc = audit_record_rewind(r);

	if (rc < 0) {
		snprintf(err, err_size, "cannot be read twice: %s", strerror(-rc));
		return rc;
	}
	while ((rc = audit_record_next(r, &line, err, err_size)) > 0) {
		if (line.first_of_run)
			print_run(&line, v, out);
		if (view_wants(v, line.event))
			print_event(ends, &line, v, out);
	}
	return rc;
}

int audit_print(const char *path, const struct audit_view *v, FILE *out, char *err, size_t err_size)
{
	struct audit_record *r = NULL;
	struct audit_summary *sum = NULL;
	struct ends ends = { 0 };
	int rc;

	rc = audit_tally_init(&ends.flows, AUDIT_JOIN_MAX);
	if (rc == 0)
		rc = audit_summary_new(&sum);
	if (rc < 0) {
		snprintf(err, err_size, "%s", strerror(-rc));
		goto out;
	}
	rc = audit_record_open(path, &r, err, err_size);
	if (rc < 0)
		goto out;
	rc = first_reading(r, &ends, sum, v, out, err, err_size);
	if (rc == 0 && !v->json) {
		rc = second_reading(r, &ends, v, out, err, err_size);
		if (rc == 0)
			audit_summary_print(sum, audit_record_chain(r), v, out);
	}
	if (rc == 0 && audit_record_chain(r)->breaks) {
		snprintf(err, err_size, "%s", audit_record_chain(r)->text[0]);
		rc = -EBADMSG;
	} else if (rc == 0 && !audit_record_chain(r)->events) {
		/* A record that was emptied must not pass for an intact one. */
		snprintf(err, err_size, "no event is on record: nothing ran, or it was emptied");
		rc = -EBADMSG;
	}
out:
	audit_record_close(r);
	audit_summary_free(sum);
	audit_tally_fini(&ends.flows);
	return rc;
}
