/* SPDX-License-Identifier: Apache-2.0 */
/* The scan of an event's text never takes what the parser refuses, and reads what the parser reads. */
#include "audit/audit_internal.h"

static void same(const char *a, const char *b)
{
	if (!str_eq(a, b))
		abort();
}

static bool is_flat(json_t *v)
{
	const char *key;
	json_t *member, *item;
	size_t at;

	json_object_foreach(v, key, member)
	{
		if (audit_reserved(key, strlen(key)) || json_is_object(member))
			return false;
		json_array_foreach(member, at, item) if (json_is_object(item) ||
							 json_is_array(item)) return false;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct audit_facts scanned, parsed;
	json_t *v;

	if (!audit_facts_scan(text, size, &scanned))
		return 0;
	for (size_t i = 0; i < size; i++)
		if (data[i] < 0x20 || data[i] > 0x7e)
			abort();
	v = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	if (!v || !json_is_object(v) || !audit_kind_known(audit_get(v, "kind")) || !is_flat(v))
		abort();
	audit_facts_of(v, &parsed);
	same(scanned.kind, parsed.kind);
	same(scanned.event, parsed.event);
	same(scanned.verdict, parsed.verdict);
	same(scanned.observed, parsed.observed);
	same(scanned.outcome, parsed.outcome);
	same(scanned.result, parsed.result);
	same(scanned.rule, parsed.rule);
	same(scanned.id, parsed.id);
	if (scanned.generation != parsed.generation || scanned.count != parsed.count ||
	    scanned.bytes_up != parsed.bytes_up || scanned.bytes_down != parsed.bytes_down ||
	    scanned.floor != parsed.floor || scanned.has_denial != parsed.has_denial)
		abort();
	json_decref(v);
	return 0;
}
