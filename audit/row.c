/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event as the cells of a table row.
 *
 * Everything printed was chosen by a guest, a server or whoever edited the
 * file: it reaches the terminal as printable ASCII only, the rest as \xNN.
 */
#include "audit/audit_internal.h"

#include <stdio.h>

/* Appends quoted text to a bounded cell. */
static void cell_add(char *out, size_t size, const char *text, size_t len)
{
	size_t n = strlen(out);

	log_quote(text, len, out + n, size - n);
}

static void cell_str(char *out, size_t size, const char *text)
{
	cell_add(out, size, text, strlen(text));
}

static void cell_member(char *out, size_t size, const json_t *event, const char *key)
{
	const json_t *v = json_object_get(event, key);
	char number[32];

	if (json_is_string(v))
		cell_add(out, size, json_string_value(v), json_string_length(v));
	else if (json_is_integer(v)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
		cell_str(out, size, number);
	}
}

static bool has(const json_t *event, const char *key)
{
	const json_t *v = json_object_get(event, key);

	return json_is_integer(v) || (json_is_string(v) && json_string_length(v));
}

enum audit_verdict audit_verdict_of(const json_t *event)
{
	struct audit_facts f;

	audit_facts_of(event, &f);
	return audit_facts_verdict(&f);
}

uint64_t audit_count_of(const json_t *event)
{
	return MAX(audit_get_u64(event, "count"), UINT64_C(1));
}

/* ---- what an event is about ------------------------------------------------------ */

/* "name:port" or "addr:port", an IPv6 address in brackets. */
static void put_endpoint(const json_t *event, const char *host_key, char *out, size_t size)
{
	bool v6 = strchr(audit_get(event, host_key), ':') != NULL;

	/* The counted rest of a flood. */
	if (!has(event, host_key) && has(event, "count"))
		cell_str(out, size, "various destinations");
	if (v6 && has(event, "port"))
		cell_str(out, size, "[");
	cell_member(out, size, event, host_key);
	if (v6 && has(event, "port"))
		cell_str(out, size, "]");
	if (audit_get_u64(event, "port")) {
		cell_str(out, size, ":");
		cell_member(out, size, event, "port");
	}
}

void audit_row_target(const json_t *event, char *out, size_t size)
{
	const char *kind = audit_get(event, "kind");

	out[0] = 0;
	if (str_eq(kind, "dns"))
		cell_member(out, size, event, "name");
	else if (str_eq(kind, "tls"))
		cell_member(out, size, event, has(event, "sni") ? "sni" : "name");
	else if (str_eq(kind, "http") || str_eq(kind, "secret"))
		cell_member(out, size, event, "host");
	else
		put_endpoint(event, has(event, "name") ? "name" : "dst", out, size);
}

/* A member behind the words that lead to it; nothing when it is absent. */
static void cell_after(char *out, size_t size, const char *words, const json_t *event, const char *key)
{
	if (!has(event, key))
		return;
	cell_str(out, size, words);
	cell_member(out, size, event, key);
}

static void put_list(const json_t *event, const char *key, char *out, size_t size)
{
	const json_t *list = json_object_get(event, key);

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);

		cell_str(out, size, i ? ", " : "");
		cell_add(out, size, json_string_value(v), json_string_length(v));
	}
}

static void what_run(const json_t *e, char *out, size_t size)
{
	cell_member(out, size, e, "event");
	cell_str(out, size, " ");
	cell_member(out, size, e, has(e, "name") ? "name" : "sandbox");
	cell_after(out, size, " on ", e, "backend");
	cell_after(out, size, ": ", e, "command");
	cell_after(out, size, " on ", e, "link");
	cell_after(out, size, ", exit status ", e, "status");
	if (json_array_size(json_object_get(e, "servers"))) {
		cell_str(out, size, ": ");
		put_list(e, "servers", out, size);
	}
}

static void what_policy(const json_t *e, char *out, size_t size)
{
	cell_member(out, size, e, "event");
	cell_str(out, size, " generation ");
	cell_member(out, size, e, "generation");
	cell_after(out, size, ", rules ", e, "rules");
	cell_after(out, size, ", flows ended ", e, "flows_reset");
	cell_after(out, size, ", by uid ", e, "uid");
}

/* ", N times": one line that stands for many. */
static void put_times(const json_t *e, char *out, size_t size)
{
	if (!has(e, "count"))
		return;
	cell_str(out, size, ", ");
	cell_member(out, size, e, "count");
	cell_str(out, size, " times");
}

static void what_flow(const json_t *e, char *out, size_t size)
{
	cell_member(out, size, e, "proto");
	cell_str(out, size, str_eq(audit_get(e, "dir"), "ingress") ? " from " : " ");
	put_endpoint(e, has(e, "name") ? "name" : "dst", out, size);
	/* A virtual address says nothing that the name does not; what was dialled does. */
	if (has(e, "name") && has(e, "upstream")) {
		const char *up = audit_get(e, "upstream"), *colon = strrchr(up, ':');

		cell_str(out, size, " (");
		cell_add(out, size, up, colon ? (size_t)(colon - up) : strlen(up));
		cell_str(out, size, ")");
	} else if (has(e, "name") && has(e, "dst") && !str_eq(audit_get(e, "name_from"), "virtual")) {
		cell_str(out, size, " (");
		cell_member(out, size, e, "dst");
		cell_str(out, size, ")");
	}
	if (has(e, "count")) {
		cell_str(out, size, has(e, "ports") ? " ports " : "");
		cell_member(out, size, e, "ports");
	}
	put_times(e, out, size);
}

static void what_dns(const json_t *e, char *out, size_t size)
{
	const char *list = json_array_size(json_object_get(e, "given")) ? "given" : "answers";

	cell_member(out, size, e, "name");
	cell_str(out, size, " ");
	cell_member(out, size, e, "qtype");
	if (json_array_size(json_object_get(e, list))) {
		cell_str(out, size, " = ");
		put_list(e, list, out, size);
	} else if (has(e, "result")) {
		cell_str(out, size, " ");
		cell_member(out, size, e, "result");
	}
	put_times(e, out, size);
}

static void what_http(const json_t *e, char *out, size_t size)
{
	cell_member(out, size, e, "method");
	cell_str(out, size, " ");
	cell_member(out, size, e, "host");
	cell_member(out, size, e, "path");
	cell_after(out, size, " ", e, "status");
}

/* What became of a secret; where it stood or who was asked comes behind. */
static const char *secret_did(const char *event)
{
	static const struct {
		const char *event, *said;
	} all[] = {
		{ "used", " put in" },
		{ "violation", " seen in" },
		{ "set", " set anew" },
		{ "rotated", " has another value" },
		{ "hosts", " goes to other hosts" },
		{ "removed", " removed" },
		{ "refused", " stays as it was" },
		{ "refreshed", " has another value of its source" },
		{ "refresh_failed", " keeps its value: the source failed" },
		{ "expired", " has no value any more" },
		{ "token", " bought a token" },
		{ "token_failed", " bought no token" },
		{ "masked", " brought a token, kept outside" },
		{ "mask_failed", " brought tokens that cannot be kept" },
	};

	for (size_t i = 0; event && i < ARRAY_SIZE(all); i++)
		if (str_eq(event, all[i].event))
			return all[i].said;
	return " ";
}

static void what_secret(const json_t *e, char *out, size_t size)
{
	cell_member(out, size, e, "secret");
	cell_str(out, size, secret_did(audit_get(e, "event")));
	cell_after(out, size, " ", e, "place");
	if (has(e, "encoding") && !str_eq(audit_get(e, "encoding"), "plain")) {
		cell_str(out, size, " (");
		cell_member(out, size, e, "encoding");
		cell_str(out, size, ")");
	}
	cell_after(out, size, " for ", e, "host");
}

void audit_row_fill(const json_t *e, struct audit_row *ret)
{
	const char *kind = audit_get(e, "kind");

	*ret = (struct audit_row){ .verdict = audit_verdict_of(e) };
	cell_str(ret->kind, sizeof(ret->kind), str_eq(kind, "flow_end") ? "end" : kind);
	cell_str(ret->rule, sizeof(ret->rule),
		 json_is_true(json_object_get(e, "floor")) && has(e, "rule") ? "floor:" : "");
	cell_member(ret->rule, sizeof(ret->rule), e, "rule");
	cell_member(ret->note, sizeof(ret->note), e, "reason");
	if (has(e, "detail")) {
		cell_str(ret->note, sizeof(ret->note), ret->note[0] ? "; " : "");
		cell_member(ret->note, sizeof(ret->note), e, "detail");
	}
	if (str_eq(kind, "secret") && has(e, "action")) {
		cell_str(ret->note, sizeof(ret->note), ret->note[0] ? "; " : "");
		cell_member(ret->note, sizeof(ret->note), e, "action");
	}
	cell_member(ret->denial, sizeof(ret->denial), e, "denial");
	ret->has_bytes = has(e, "bytes_up") || has(e, "bytes_down");
	ret->up = audit_get_u64(e, "bytes_up");
	ret->down = audit_get_u64(e, "bytes_down");
	if (str_eq(kind, "run"))
		what_run(e, ret->what, sizeof(ret->what));
	else if (str_eq(kind, "policy"))
		what_policy(e, ret->what, sizeof(ret->what));
	else if (str_eq(kind, "dns"))
		what_dns(e, ret->what, sizeof(ret->what));
	else if (str_eq(kind, "tls"))
		audit_row_target(e, ret->what, sizeof(ret->what));
	else if (str_eq(kind, "http"))
		what_http(e, ret->what, sizeof(ret->what));
	else if (str_eq(kind, "secret"))
		what_secret(e, ret->what, sizeof(ret->what));
	else if (str_eq(kind, "flow"))
		what_flow(e, ret->what, sizeof(ret->what));
	else {
		cell_str(ret->what, sizeof(ret->what), "flow ");
		cell_member(ret->what, sizeof(ret->what), e, "id");
		cell_str(ret->what, sizeof(ret->what), " ");
		cell_member(ret->what, sizeof(ret->what), e, "end");
	}
}

const char *audit_bytes(uint64_t n, char out[16])
{
	static const char units[] = "kMGTPE";
	double v = (double)n;
	size_t u = 0;

	if (n < 1000) {
		snprintf(out, 16, "%u", (unsigned)n);
		return out;
	}
	for (v /= 1000; v >= 999.95 && u + 1 < sizeof(units) - 1; u++)
		v /= 1000;
	snprintf(out, 16, "%.1f%c", v, units[u]);
	return out;
}
