/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the record.
 *
 * Event texts come from processes that parse hostile bytes and may have been
 * taken over: such a process can add events, never change, reorder or number
 * them, and never break the file. So the text must be one JSON object of
 * printable ASCII with a known kind, flat (scalars and lists of scalars), without the
 * members that only the log may write. It is then written as it came.
 *
 *   {"_schema":"weir.audit/v1","seq":N,"time":T,"run":R,"sandbox":S,"from":F,
 *    <the event's members>,"prev":P,"hash":H}\n
 *
 * P is the H of the line before, 64 zeros on a run's first line. H is the hex
 * SHA-256 of the line's bytes from "{" on with ,"hash":"…" taken out, so the
 * object still ends with "}"; the newline is not part of it. Each run starts a
 * chain of its own: a file may hold several runs, one after the other, and
 * is locked while one writes.
 *
 * Errors stick: once a write failed every later call says so, and the caller
 * stops the run. What was written is cut back to the last whole line, so that
 * the record stays readable.
 */
#include "audit/audit_internal.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/sha.h>

struct audit_log {
	int fd;
	bool regular;
	off_t end; /* of what is in the file, when regular */
	int error; /* sticks */
	uint64_t seq;
	char run[AUDIT_RUN_MAX + 1];
	char sandbox[128]; /* escaped */
	char prev[AUDIT_HASH_HEX + 1];
	time_t date_of;
	char date[24]; /* of that second, up to the point */
	struct buf pending;
	struct audit_totals totals;
	struct audit_rules *rules;
	EVP_MD_CTX *sha;
	char line[AUDIT_LINE_MAX + 2];
};

static const char schema_head[] = "{\"_schema\":\"" AUDIT_SCHEMA "\"";

bool audit_kind_known(const char *kind)
{
	static const char *const kinds[] = { "run", "policy", "flow", "flow_end",
					     "dns", "tls",    "http", "secret" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (str_eq(kind, kinds[i]))
			return true;
	return false;
}

int audit_sha_new(EVP_MD_CTX **ret)
{
	EVP_MD *md = EVP_MD_fetch(NULL, "SHA256", NULL);
	EVP_MD_CTX *sha = EVP_MD_CTX_new();
	bool ok = md && sha && EVP_DigestInit_ex(sha, md, NULL);

	EVP_MD_free(md);
	if (!ok) {
		EVP_MD_CTX_free(sha);
		return -ENOMEM;
	}
	*ret = sha;
	return 0;
}

bool audit_sha256_hex(EVP_MD_CTX *sha, const void *p, size_t n, char ret[AUDIT_HASH_HEX + 1])
{
	static const char hex[] = "0123456789abcdef";
	uint8_t md[SHA256_DIGEST_LENGTH];

	if (!EVP_DigestInit_ex(sha, NULL, NULL) || !EVP_DigestUpdate(sha, p, n) ||
	    !EVP_DigestFinal_ex(sha, md, NULL))
		return false;
	for (size_t i = 0; i < sizeof(md); i++) {
		ret[2 * i] = hex[md[i] >> 4];
		ret[2 * i + 1] = hex[md[i] & 15];
	}
	ret[AUDIT_HASH_HEX] = 0;
	return true;
}

static bool run_ok(const char *run)
{
	size_t n = strlen(run);

	return n >= 1 && n <= AUDIT_RUN_MAX &&
	       strspn(run, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

/*
 * Only a record may be appended to: a mistyped path must not spoil another
 * file. A line torn by a crash is closed, so that ours starts on its own.
 */
static int check_existing(struct audit_log *l, off_t size)
{
	char head[sizeof(schema_head) - 1], last;

	if (size == 0)
		return 0;
	if (pread(l->fd, head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
	    memcmp(head, schema_head, sizeof(head)) != 0)
		return -EEXIST;
	if (pread(l->fd, &last, 1, size - 1) != 1)
		return -EIO;
	return last == '\n' ? 0 : buf_append(&l->pending, "\n", 1);
}

static int open_path(const char *path)
{
	/* Reading is for check_existing; no controlling terminal, no waiting for a FIFO's reader. */
	int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);

	return fd < 0 ? -errno : fd;
}

static int log_prepare(struct audit_log *l, bool own)
{
	struct stat st;

	if (fstat(l->fd, &st) < 0)
		return -errno;
	l->regular = S_ISREG(st.st_mode);
	if (!own)
		return l->regular ? (l->end = lseek(l->fd, 0, SEEK_END), 0) : 0;
	if (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
		return -EISDIR;
	if (!l->regular)
		return 0;
	/* Two writers would tear each other's chain. */
	if (flock(l->fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	l->end = st.st_size;
	return check_existing(l, st.st_size);
}

int audit_log_open(const char *path, int fd, const char *run, const char *name, struct audit_log **ret)
{
	cleanup_close int owned = path ? open_path(path) : fd;
	struct audit_log *l;
	size_t n;
	int r;

	if (owned < 0)
		return path ? owned : -EBADF;
	if (!run || !run_ok(run))
		return -EINVAL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->fd = owned;
	r = audit_rules_new(1, &l->rules);
	if (r == 0)
		r = audit_sha_new(&l->sha);
	if (r < 0) {
		audit_rules_free(l->rules);
		free(l);
		return r;
	}
	buf_init(&l->pending, AUDIT_PENDING_MAX);
	memcpy(l->run, run, strlen(run) + 1);
	if (name) {
		audit_escape(name, strlen(name), l->sandbox, sizeof(l->sandbox) - 1, &n);
		l->sandbox[n] = 0;
	}
	memset(l->prev, '0', AUDIT_HASH_HEX);
	r = log_prepare(l, path != NULL);
	if (r < 0) {
		buf_fini(&l->pending);
		audit_rules_free(l->rules);
		EVP_MD_CTX_free(l->sha);
		free(l);
		return r;
	}
	steal_fd(&owned);
	*ret = l;
	return 0;
}

const char *audit_log_why(int error)
{
	switch (error) {
	case -EEXIST:
		return "there is a file that is no record; name another one";
	case -EBUSY:
		return "another run is writing this record; name another one";
	case -ELOOP:
		return "is a symbolic link; name the file itself";
	case -EISDIR:
		return "is not a file";
	default:
		return strerror(-error);
	}
}

/* ---- checking ------------------------------------------------------------------- */

static bool printable(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] < 0x20 || p[i] > 0x7e)
			return false;
	return true;
}

static bool flat(const json_t *v)
{
	if (json_is_object(v))
		return false;
	for (size_t i = 0; i < json_array_size(v); i++)
		if (json_is_object(json_array_get(v, i)) || json_is_array(json_array_get(v, i)))
			return false;
	return true;
}

/* *ret_tree is the caller's while ret is in use; NULL when the scan could tell. */
int audit_event_check(const char *text, size_t len, json_t **ret_tree, struct audit_facts *ret)
{
	const char *key;
	json_t *v, *member;

	*ret_tree = NULL;
	if (audit_facts_scan(text, len, ret))
		return 0;
	if (len < 2 || len >= AUDIT_EVENT_MAX || text[0] != '{' || text[len - 1] != '}' ||
	    !printable(text, len))
		return -EINVAL;
	v = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	if (!v || !json_is_object(v) || !audit_kind_known(audit_get(v, "kind")))
		goto bad;
	json_object_foreach(v, key,
			    member) if (audit_reserved(key, strlen(key)) || !flat(member)) goto bad;
	audit_facts_of(v, ret);
	*ret_tree = v;
	return 0;
bad:
	json_decref(v);
	return -EINVAL;
}

/* ---- writing -------------------------------------------------------------------- */

/* Bytes written of p[0..n); *ret_error 0 when all were. */
static size_t write_some(int fd, const uint8_t *p, size_t n, int *ret_error)
{
	size_t at = 0;

	*ret_error = 0;
	while (at < n) {
		ssize_t r = write(fd, p + at, n - at);

		if (r >= 0) {
			at += (size_t)r;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN) {
			struct pollfd pfd = { .fd = fd, .events = POLLOUT };

			if (poll(&pfd, 1, AUDIT_WRITE_WAIT_MS) > 0)
				continue;
			errno = ETIMEDOUT;
		}
		*ret_error = -errno;
		break;
	}
	return at;
}

int audit_log_flush(struct audit_log *l)
{
	const uint8_t *p;
	size_t done, whole;

	if (l->error || l->pending.len == 0)
		return l->error;
	p = buf_at(&l->pending);
	done = write_some(l->fd, p, l->pending.len, &l->error);
	if (l->error && l->regular && done) {
		for (whole = done; whole && p[whole - 1] != '\n'; whole--)
			;
		/* Keeps the record readable; the error stands whether or not this works. */
		if (ftruncate(l->fd, l->end + (off_t)whole) == 0)
			done = whole;
	}
	l->end += (off_t)done;
	buf_consume(&l->pending, done);
	if (!l->error)
		buf_reset(&l->pending);
	return l->error;
}

/* The date changes once a second, and its formatting is the dearest part of a line. */
static void date_of(struct audit_log *l, time_t s)
{
	struct tm tm;

	if (l->date[0] && s == l->date_of)
		return;
	gmtime_r(&s, &tm);
	strftime(l->date, sizeof(l->date), "%Y-%m-%dT%H:%M:%S.", &tm);
	l->date_of = s;
}

static size_t put(struct audit_log *l, size_t at, const char *p, size_t n)
{
	assert(n <= sizeof(l->line) - at);
	memcpy(l->line + at, p, n);
	return at + n;
}

static size_t put_str(struct audit_log *l, size_t at, const char *s)
{
	return put(l, at, s, strlen(s));
}

/* With leading zeros up to `least` digits. */
static size_t put_u64(struct audit_log *l, size_t at, uint64_t v, size_t least)
{
	char digits[20];
	size_t n = sizeof(digits);

	do
		digits[--n] = (char)('0' + v % 10);
	while ((v /= 10) || sizeof(digits) - n < least);
	return put(l, at, digits + n, sizeof(digits) - n);
}

/* The whole line with its newline in l->line; returns its length, 0: it could not be hashed. */
static size_t format_line(struct audit_log *l, const char *from, const char *text, size_t len,
			  char hash[AUDIT_HASH_HEX + 1])
{
	uint64_t now = time_real_ns();
	size_t n;

	date_of(l, (time_t)(now / NS_PER_S));
	n = put_str(l, 0, schema_head);
	n = put_str(l, n, ",\"seq\":");
	n = put_u64(l, n, l->seq + 1, 1);
	n = put_str(l, n, ",\"time\":\"");
	n = put_str(l, n, l->date);
	n = put_u64(l, n, now % NS_PER_S, 9);
	n = put_str(l, n, "Z\",\"run\":\"");
	n = put_str(l, n, l->run);
	if (l->sandbox[0]) {
		n = put_str(l, n, "\",\"sandbox\":\"");
		n = put_str(l, n, l->sandbox);
	}
	n = put_str(l, n, "\",\"from\":\"");
	n = put_str(l, n, from);
	n = put_str(l, n, "\",");
	n = put(l, n, text + 1, len - 2);
	n = put_str(l, n, ",\"prev\":\"");
	n = put(l, n, l->prev, AUDIT_HASH_HEX);
	n = put_str(l, n, "\"}");
	if (!audit_sha256_hex(l->sha, l->line, n, hash))
		return 0;
	n = put_str(l, n - 1, ",\"hash\":\"");
	n = put(l, n, hash, AUDIT_HASH_HEX);
	return put_str(l, n, "\"}\n");
}

/* Only our own process says that another policy is in force. */
static void count_rules(struct audit_log *l, const char *from, const struct audit_facts *f)
{
	if (str_eq(f->kind, "policy")) {
		if (str_eq(from, "weir") && str_eq(f->event, "set"))
			audit_rules_restart(l->rules, f->generation);
		return;
	}
	audit_rules_add(l->rules, f);
}

int audit_log_append(struct audit_log *l, const char *from, const char *text, size_t len)
{
	char hash[AUDIT_HASH_HEX + 1];
	struct audit_facts facts;
	json_t *tree;
	size_t n;
	int r;

	if (l->error)
		return l->error;
	assert(run_ok(from) && strlen(from) <= 16);
	r = audit_event_check(text, len, &tree, &facts);
	if (r < 0)
		return r;
	n = format_line(l, from, text, len, hash);
	if (n == 0)
		r = -EIO;
	else if (n > l->pending.cap - l->pending.len)
		r = audit_log_flush(l);
	if (r == 0)
		r = buf_append(&l->pending, l->line, n);
	if (r == 0) {
		l->seq++;
		memcpy(l->prev, hash, sizeof(hash));
		audit_totals_add(&l->totals, &facts);
		count_rules(l, from, &facts);
		if (l->pending.len >= AUDIT_WRITE_AT)
			r = audit_log_flush(l);
	} else {
		/* An event that cannot be kept is as bad as one that cannot be written. */
		l->error = r;
	}
	json_decref(tree);
	return r;
}

json_t *audit_log_rules(const struct audit_log *l)
{
	return audit_rules_json(l->rules);
}

void audit_log_totals(const struct audit_log *l, struct audit_totals *ret)
{
	*ret = l->totals;
}

void audit_log_close(struct audit_log *l)
{
	if (!l)
		return;
	/* Nobody is left to tell: who wants to know flushes first. */
	if (audit_log_flush(l) == 0 && l->regular)
		fdatasync(l->fd);
	fd_close(l->fd);
	buf_fini(&l->pending);
	audit_rules_free(l->rules);
	EVP_MD_CTX_free(l->sha);
	free(l);
}
