/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a record and checking that it is whole.
 *
 * A record may have been handed on and edited by anybody: every line is hostile. Lines
 * have a maximum length; a line that is not ours, out of order, or whose hash
 * or link does not hold is a break, which is kept for the verdict while
 * reading goes on. What the chain cannot show: that whole lines are missing at
 * the end of a run. A run without its end is therefore pointed out.
 */
#include "audit/audit_internal.h"

#include <stdio.h>
#include <time.h>

struct audit_record {
	FILE *f;
	bool again;	/* second reading: chain is already judged */
	uint64_t limit; /* lines of the first reading */
	uint64_t number;
	json_t *event;
	char run[AUDIT_RUN_MAX + 1];
	bool run_open;
	uint64_t seq;
	uint64_t begin_ns;
	char prev[AUDIT_HASH_HEX + 1];
	struct audit_chain chain;
	EVP_MD_CTX *sha;
	char line[AUDIT_LINE_MAX + 2];
};

const char *audit_get(const json_t *event, const char *key)
{
	const json_t *v = json_object_get(event, key);
	const char *s = json_string_value(v);

	/* With a NUL inside, what is before it would pass for the whole. */
	return s && strlen(s) == json_string_length(v) ? s : "";
}

uint64_t audit_get_u64(const json_t *event, const char *key)
{
	const json_t *v = json_object_get(event, key);
	uint64_t n;

	if (json_is_integer(v))
		return json_integer_value(v) < 0 ? 0 : (uint64_t)json_integer_value(v);
	if (json_is_string(v) &&
	    uint_parse(json_string_value(v), json_string_length(v), 0, UINT64_MAX, &n, NULL) == 0)
		return n;
	return 0;
}

const char *audit_get_id(const json_t *event, char *out, size_t size)
{
	const json_t *v = json_object_get(event, "id");

	if (json_is_integer(v))
		snprintf(out, size, "%lld", (long long)json_integer_value(v));
	else
		snprintf(out, size, "%s", audit_get(event, "id"));
	return out;
}

static void chain_break(struct audit_record *r, const char *fmt, ...) printf_like(2, 3);
static void chain_break(struct audit_record *r, const char *fmt, ...)
{
	va_list ap;

	if (r->again)
		return;
	if (r->chain.breaks < AUDIT_BREAKS_MAX) {
		va_start(ap, fmt);
		vsnprintf(r->chain.text[r->chain.breaks], sizeof(r->chain.text[0]), fmt, ap);
		va_end(ap);
	}
	r->chain.breaks++;
}

int audit_record_open(const char *path, struct audit_record **ret, char *err, size_t err_size)
{
	struct audit_record *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	r->limit = UINT64_MAX;
	rc = audit_sha_new(&r->sha);
	r->f = rc == 0 ? fopen(path, "re") : NULL;
	if (!r->f) {
		rc = rc ? rc : -errno;
		snprintf(err, err_size, "%s", strerror(-rc));
		EVP_MD_CTX_free(r->sha);
		free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

int audit_record_rewind(struct audit_record *r)
{
	if (fseeko(r->f, 0, SEEK_SET) < 0)
		return -errno;
	r->limit = r->number;
	r->again = true;
	r->number = 0;
	r->run[0] = 0;
	return 0;
}

void audit_record_close(struct audit_record *r)
{
	if (!r)
		return;
	json_decref(r->event);
	fclose(r->f);
	EVP_MD_CTX_free(r->sha);
	free(r);
}

const struct audit_chain *audit_record_chain(const struct audit_record *r)
{
	return &r->chain;
}

/* "2026-01-02T03:04:05.123456789Z", what the log writes and nothing else; 0: unreadable. */
uint64_t audit_time_parse(const char *s)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddddddddZ";
	static const uint8_t at[][2] = { { 0, 4 },  { 5, 2 },  { 8, 2 }, { 11, 2 },
					 { 14, 2 }, { 17, 2 }, { 20, 9 } };
	unsigned v[ARRAY_SIZE(at)];
	struct tm tm = { 0 };
	time_t t;

	if (strlen(s) != sizeof(shape) - 1)
		return 0;
	for (size_t i = 0; shape[i]; i++)
		if (shape[i] == 'd' ? s[i] < '0' || s[i] > '9' : s[i] != shape[i])
			return 0;
	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		v[i] = 0;
		for (size_t k = 0; k < at[i][1]; k++)
			v[i] = v[i] * 10 + (unsigned)(s[at[i][0] + k] - '0');
	}
	tm.tm_year = (int)v[0] - 1900;
	tm.tm_mon = (int)v[1] - 1;
	tm.tm_mday = (int)v[2];
	tm.tm_hour = (int)v[3];
	tm.tm_min = (int)v[4];
	tm.tm_sec = (int)v[5];
	t = timegm(&tm);
	return t < 0 ? 0 : (uint64_t)t * NS_PER_S + v[6];
}

/* Length of the next line in r->line; 0 at the end; -EMSGSIZE: longer than any of ours, skipped. */
static ssize_t read_line(struct audit_record *r)
{
	size_t n = 0;
	bool cut = false;
	int c;

	if (r->number >= r->limit)
		return 0;
	while ((c = getc_unlocked(r->f)) != EOF && c != '\n') {
		if (n < sizeof(r->line) - 1)
			r->line[n++] = (char)c;
		else
			cut = true;
	}
	if (ferror(r->f))
		return -EIO;
	if (c == EOF && n == 0)
		return 0;
	r->number++;
	r->line[n] = 0;
	if (c == EOF)
		chain_break(r, "line %llu is cut off: it has no end", (unsigned long long)r->number);
	return cut || n == 0 ? -EMSGSIZE : (ssize_t)n;
}

/* Whether the hash at the line's end is that of the rest; ret: the hash as written. */
static bool hash_holds(EVP_MD_CTX *sha, char *line, size_t len, char ret[AUDIT_HASH_HEX + 1])
{
	static const char key[] = ",\"hash\":\"";
	const size_t tail = sizeof(key) - 1 + AUDIT_HASH_HEX + 2;
	char want[AUDIT_HASH_HEX + 1] = "", saved;
	bool hashed;
	char *at;

	ret[0] = 0;
	if (len < tail)
		return false;
	at = line + len - tail;
	if (memcmp(at, key, sizeof(key) - 1) != 0 || memcmp(line + len - 2, "\"}", 2) != 0)
		return false;
	memcpy(ret, at + sizeof(key) - 1, AUDIT_HASH_HEX);
	ret[AUDIT_HASH_HEX] = 0;
	saved = *at;
	*at = '}';
	hashed = audit_sha256_hex(sha, line, (size_t)(at - line) + 1, want);
	*at = saved;
	return hashed && memcmp(want, ret, AUDIT_HASH_HEX) == 0;
}

static void run_begin(struct audit_record *r, const char *run)
{
	if (!r->again) {
		r->chain.runs++;
		if (r->run_open)
			r->chain.open_runs++;
	}
	snprintf(r->run, sizeof(r->run), "%s", run);
	r->run_open = true;
	r->seq = 0;
	r->begin_ns = 0;
	memset(r->prev, '0', AUDIT_HASH_HEX);
	r->prev[AUDIT_HASH_HEX] = 0;
}

static void check_chain(struct audit_record *r, size_t len, uint64_t seq)
{
	unsigned long long n = r->number;
	char hash[AUDIT_HASH_HEX + 1];

	if (!hash_holds(r->sha, r->line, len, hash))
		chain_break(r, "line %llu was changed: its hash does not hold", n);
	else if (seq != r->seq + 1)
		chain_break(r, "line %llu has number %llu after %llu: lines are missing or moved",
			    n, (unsigned long long)seq, (unsigned long long)r->seq);
	else if (!str_eq(audit_get(r->event, "prev"), r->prev))
		chain_break(r, "line %llu does not follow the line before it", n);
	/* Go on from what is here, so that one break is told once. */
	r->seq = seq;
	memcpy(r->prev, hash, sizeof(hash));
}

/* 1: an event; 0: a break, skip it; negative: not a record at all. */
static int parse_line(struct audit_record *r, size_t len, char *err, size_t err_size)
{
	const char *schema;
	bool plain = true;

	/* The log writes nothing else, and a terminal would obey the rest. */
	for (size_t i = 0; i < len; i++)
		plain &= r->line[i] >= 0x20 && r->line[i] <= 0x7e;
	json_decref(r->event);
	r->event = !plain ? NULL
			  : json_loadb(r->line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	schema = audit_get(r->event, "_schema");
	if (!json_is_object(r->event) || !str_eq(schema, AUDIT_SCHEMA)) {
		if (str_starts(schema, "weir.audit/"))
			snprintf(err,
				 err_size, "line %llu: written by another version of weir: this one reads " AUDIT_SCHEMA,
				 (unsigned long long)r->number);
		else if (r->number == 1)
			snprintf(err, err_size,
				 "line 1: not a record of weir (no \"_schema\": \"" AUDIT_SCHEMA
				 "\")");
		else {
			chain_break(r, "line %llu is not a line of the record",
				    (unsigned long long)r->number);
			return 0;
		}
		return -EINVAL;
	}
	if (!audit_kind_known(audit_get(r->event, "kind")) ||
	    strlen(audit_get(r->event, "run")) > AUDIT_RUN_MAX) {
		chain_break(r, "line %llu is of no known kind", (unsigned long long)r->number);
		return 0;
	}
	return 1;
}

/* The next line that is an event: its length; 0 at the end; negative: unreadable. */
static ssize_t next_event(struct audit_record *r, char *err, size_t err_size)
{
	for (;;) {
		ssize_t n = read_line(r);
		int rc;

		if (n == 0)
			return 0;
		if (n == -EIO) {
			snprintf(err, err_size, "cannot be read: %s", strerror(errno));
			return -EIO;
		}
		if (n < 0 && r->number == 1) {
			snprintf(err, err_size, "line 1: not a record of weir");
			return -EINVAL;
		}
		if (n < 0) {
			chain_break(r, "line %llu is not a line of the record",
				    (unsigned long long)r->number);
			continue;
		}
		rc = parse_line(r, (size_t)n, err, err_size);
		if (rc != 0)
			return rc < 0 ? rc : n;
	}
}

int audit_record_next(struct audit_record *r, struct audit_line *ret, char *err, size_t err_size)
{
	ssize_t n = next_event(r, err, err_size);

	if (n < 0)
		return (int)n;
	if (n == 0) {
		if (!r->again && r->run_open)
			r->chain.open_runs++;
		r->run_open = false;
		return 0;
	}
	ret->first_of_run = !str_eq(r->run, audit_get(r->event, "run")) || r->number == 1;
	if (ret->first_of_run)
		run_begin(r, audit_get(r->event, "run"));
	if (!r->again) {
		check_chain(r, (size_t)n, audit_get_u64(r->event, "seq"));
		r->chain.events++;
	}
	if (str_eq(audit_get(r->event, "kind"), "run") &&
	    str_eq(audit_get(r->event, "event"), "end"))
		r->run_open = false;
	ret->event = r->event;
	ret->text = r->line;
	ret->len = (size_t)n;
	ret->number = r->number;
	ret->time_ns = audit_time_parse(audit_get(r->event, "time"));
	if (ret->first_of_run)
		r->begin_ns = ret->time_ns;
	ret->begin_ns = r->begin_ns;
	ret->run = r->run;
	return 1;
}
