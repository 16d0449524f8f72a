/* SPDX-License-Identifier: Apache-2.0 */
/* What a record adds up to: decisions, traffic, top destinations, refusals with their ids, secrets, the chain's verdict. */
#include "audit/audit_internal.h"

#include <stdio.h>

#define SUMMARY_TOP 8
#define SUMMARY_DENIED 20

struct audit_summary {
	struct audit_totals totals;
	struct audit_tally dests;   /* n flows, a up, b down */
	struct audit_tally flows;   /* run/id; ref: its destination */
	struct audit_tally denied;  /* n times; note: last denial id */
	struct audit_tally secrets; /* a used, b violated */
	uint64_t first_ns, last_ns;
};

int audit_summary_new(struct audit_summary **ret)
{
	struct audit_summary *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	if (audit_tally_init(&s->dests, AUDIT_TALLY_MAX) < 0 ||
	    audit_tally_init(&s->flows, AUDIT_JOIN_MAX) < 0 ||
	    audit_tally_init(&s->denied, AUDIT_TALLY_MAX) < 0 ||
	    audit_tally_init(&s->secrets, AUDIT_TALLY_MAX) < 0) {
		audit_summary_free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

void audit_summary_free(struct audit_summary *s)
{
	if (!s)
		return;
	audit_tally_fini(&s->dests);
	audit_tally_fini(&s->flows);
	audit_tally_fini(&s->denied);
	audit_tally_fini(&s->secrets);
	free(s);
}

static void add_flow(struct audit_summary *s, const json_t *event, bool end)
{
	char id[40], key[AUDIT_RUN_MAX + 48], dest[300];
	struct audit_tally_item *flow, *it = NULL;

	snprintf(key, sizeof(key), "%s/%s", audit_get(event, "run"),
		 audit_get_id(event, id, sizeof(id)));
	if (!end) {
		if (audit_verdict_of(event) != AUDIT_V_ALLOW &&
		    audit_verdict_of(event) != AUDIT_V_OBSERVED)
			return;
		audit_row_target(event, dest, sizeof(dest));
		it = audit_tally_get(&s->dests, dest);
		flow = audit_tally_get(&s->flows, key);
		if (it)
			it->n++;
		if (flow)
			flow->ref = it;
		return;
	}
	flow = audit_tally_find(&s->flows, key);
	it = flow ? flow->ref : NULL;
	if (it) {
		it->a += audit_get_u64(event, "bytes_up");
		it->b += audit_get_u64(event, "bytes_down");
	}
}

static void add_denied(struct audit_summary *s, const json_t *event)
{
	struct audit_row row;
	struct audit_tally_item *it;
	char key[900];

	audit_row_fill(event, &row);
	/* A and AAAA of one name are one refusal to a person; a counted lot adds its number. */
	if (str_eq(row.kind, "dns") || audit_count_of(event) > 1)
		audit_row_target(event, row.what, sizeof(row.what));
	snprintf(key, sizeof(key), "%-6s %.*s", row.kind, 200, row.what);
	it = audit_tally_get(&s->denied, key);
	if (!it)
		return;
	it->n += audit_count_of(event);
	snprintf(it->note, sizeof(it->note), "%.47s", row.denial);
}

void audit_summary_add(struct audit_summary *s, const json_t *event, uint64_t time_ns)
{
	const char *kind = audit_get(event, "kind");
	enum audit_verdict verdict;
	struct audit_tally_item *it;
	struct audit_facts facts;
	char name[128];

	audit_facts_of(event, &facts);
	verdict = audit_facts_verdict(&facts);
	audit_totals_add(&s->totals, &facts);
	if (!s->first_ns)
		s->first_ns = time_ns;
	s->last_ns = MAX(s->last_ns, time_ns);
	if (str_eq(kind, "flow") || str_eq(kind, "flow_end"))
		add_flow(s, event, str_eq(kind, "flow_end"));
	if (verdict == AUDIT_V_DENY || verdict == AUDIT_V_VIOLATION || verdict == AUDIT_V_OBSERVED)
		add_denied(s, event);
	if (verdict == AUDIT_V_USED || verdict == AUDIT_V_VIOLATION) {
		const char *secret = audit_get(event, "secret");

		log_quote(secret, strlen(secret), name, sizeof(name));
		it = audit_tally_get(&s->secrets, name);
		if (it) {
			it->n++;
			it->a += verdict == AUDIT_V_USED;
			it->b += verdict == AUDIT_V_VIOLATION;
		}
	}
}

/* The widest text that leaves room for `rest` columns; what is not shown on a terminal is whole. */
static int room(const struct audit_view *v, int rest, int most)
{
	int left = v->width ? (int)MIN(v->width, 400U) - rest : most;

	return MAX(MIN(left, most), 24);
}

static void print_dests(struct audit_summary *s, const struct audit_view *v, FILE *out)
{
	size_t n = MIN(s->dests.count, (size_t)SUMMARY_TOP);
	char up[16], down[16];

	audit_tally_sort(&s->dests);
	for (size_t i = 0; i < n; i++) {
		const struct audit_tally_item *it = s->dests.items[i];

		fprintf(out, "%-11s", i ? "" : "reached");
		audit_put_cell(out, it->key, room(v, 47, 44));
		fprintf(out, " %5llu flow%s %7s up %7s down\n", (unsigned long long)it->n,
			it->n == 1 ? " " : "s", audit_bytes(it->a, up), audit_bytes(it->b, down));
	}
	if (s->dests.count > n || s->dests.others)
		fprintf(out, "%-11sand %llu more\n", "",
			(unsigned long long)(s->dests.count - n + s->dests.others));
}

static void print_denied(struct audit_summary *s, const struct audit_view *v, FILE *out)
{
	size_t n = MIN(s->denied.count, (size_t)SUMMARY_DENIED);
	/* Of a run that only observes, nothing was. */
	const char *label = s->totals.observed && !s->totals.denied ? "would deny" : "refused";

	audit_tally_sort(&s->denied);
	for (size_t i = 0; i < n; i++) {
		const struct audit_tally_item *it = s->denied.items[i];

		char times[40] = "", id[56] = "";
		int rest;

		if (it->n > 1)
			snprintf(times, sizeof(times), " (%llu times)", (unsigned long long)it->n);
		if (it->note[0])
			snprintf(id, sizeof(id), " [%s]", it->note);
		rest = 11 + (int)strlen(times) + (int)strlen(id);
		fprintf(out, "%s%-11s%s", audit_color(v, AUDIT_V_DENY), i ? "" : label,
			audit_color_end(v));
		audit_put_cell(out, it->key, MIN(room(v, rest, 200), (int)strlen(it->key)));
		fprintf(out, "%s%s\n", times, id);
	}
	if (s->denied.count > n || s->denied.others)
		fprintf(out, "%-11sand %llu more: --denied shows all\n", "",
			(unsigned long long)(s->denied.count - n + s->denied.others));
}

static void print_secrets(struct audit_summary *s, const struct audit_view *v, FILE *out)
{
	audit_tally_sort(&s->secrets);
	for (size_t i = 0; i < s->secrets.count; i++) {
		const struct audit_tally_item *it = s->secrets.items[i];

		fprintf(out, "%-11s%s used %llu time%s", i ? "" : "secrets", it->key,
			(unsigned long long)it->a, it->a == 1 ? "" : "s");
		if (it->b)
			fprintf(out, ", %sseen %llu time%s where it may not be%s",
				audit_color(v, AUDIT_V_VIOLATION), (unsigned long long)it->b,
				it->b == 1 ? "" : "s", audit_color_end(v));
		fputc('\n', out);
	}
}

static void print_chain(const struct audit_chain *chain, const struct audit_view *v, FILE *out)
{
	if (chain->events == 0) {
		fprintf(out, "no event is on record\n");
	} else if (chain->breaks == 0) {
		fprintf(out, "%srecord intact: %llu event%s%s\n", audit_color(v, AUDIT_V_ALLOW),
			(unsigned long long)chain->events, chain->events == 1 ? "" : "s",
			audit_color_end(v));
	} else {
		fprintf(out, "%srecord BROKEN in %llu place%s:%s\n", audit_color(v, AUDIT_V_DENY),
			(unsigned long long)chain->breaks, chain->breaks == 1 ? "" : "s",
			audit_color_end(v));
		for (size_t i = 0; i < MIN(chain->breaks, (uint64_t)AUDIT_BREAKS_MAX); i++)
			fprintf(out, "  %s\n", chain->text[i]);
		if (chain->breaks > AUDIT_BREAKS_MAX)
			fprintf(out, "  and %llu more\n",
				(unsigned long long)(chain->breaks - AUDIT_BREAKS_MAX));
	}
	if (chain->open_runs)
		fprintf(out, "%llu run%s without an end: still going, killed, or cut off here\n",
			(unsigned long long)chain->open_runs,
			chain->open_runs == 1 ? " is" : "s are");
}

void audit_summary_print(struct audit_summary *s, const struct audit_chain *chain,
			 const struct audit_view *v, FILE *out)
{
	const struct audit_totals *t = &s->totals;
	uint64_t ms = s->last_ns > s->first_ns ? (s->last_ns - s->first_ns) / NS_PER_MS : 0;
	char up[16], down[16];

	fprintf(out, "\n%-11s%llu allowed, %llu denied, %llu failed\n", "decisions",
		(unsigned long long)t->allowed, (unsigned long long)t->denied,
		(unsigned long long)t->failed);
	if (t->observed)
		fprintf(out, "%-11s%llu of the allowed would have been denied\n", "observed",
			(unsigned long long)t->observed);
	fprintf(out, "%-11s%s up, %s down, in %llu.%03u s\n", "traffic",
		audit_bytes(t->bytes_up, up), audit_bytes(t->bytes_down, down),
		(unsigned long long)(ms / 1000), (unsigned)(ms % 1000));
	print_dests(s, v, out);
	print_secrets(s, v, out);
	print_denied(s, v, out);
	print_chain(chain, v, out);
}
