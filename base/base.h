/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base: what every other folder stands on. Strict parsers for the texts a
 * policy rests on, bounded buffers, an event loop, logging. libc only.
 *
 * Conventions of the whole project:
 *  - fallible functions return 0 or a negative errno and are must_check;
 *  - out-parameters come last, are named ret_*, and are untouched on failure;
 *  - x_new/x_free live on the heap (free takes NULL), x_init/x_fini embedded;
 *  - time is uint64_t nanoseconds of CLOCK_MONOTONIC unless a name says else.
 */
#ifndef WEIR_BASE_H
#define WEIR_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

/* ---- language helpers ------------------------------------------------- */

#define must_check __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

/* Sums and products of sizes that come from outside: true on overflow. */
static inline bool add_overflows(size_t a, size_t b, size_t *ret)
{
	return __builtin_add_overflow(a, b, ret);
}

static inline bool mul_overflows(size_t a, size_t b, size_t *ret)
{
	return __builtin_mul_overflow(a, b, ret);
}

/* Scope-bound ownership: cleanup_free char *s = NULL; cleanup_close int fd = -1; */
static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}
void cleanup_closep(int *fd);
#define cleanup_free __attribute__((cleanup(cleanup_freep)))
#define cleanup_close __attribute__((cleanup(cleanup_closep)))

/* Hand an owned descriptor or pointer on, leaving nothing to clean up. */
static inline int steal_fd(int *fd)
{
	int r = *fd;

	*fd = -1;
	return r;
}

/* close(2) that keeps errno and ignores negative descriptors. */
void fd_close(int fd);

/* ---- cursors over foreign bytes --------------------------------------- */

/*
 * Every byte that came from outside is read through one of these. A read past
 * the end returns false and moves nothing.
 */
struct rd {
	const uint8_t *p;
	const uint8_t *end;
};

static inline struct rd rd_init(const void *p, size_t len)
{
	return (struct rd){ p, (const uint8_t *)p + len };
}

static inline size_t rd_left(const struct rd *r)
{
	return (size_t)(r->end - r->p);
}

must_check static inline bool rd_skip(struct rd *r, size_t n)
{
	if (rd_left(r) < n)
		return false;
	r->p += n;
	return true;
}

/* Points *ret into the input; nothing is copied. */
must_check static inline bool rd_bytes(struct rd *r, size_t n, const uint8_t **ret)
{
	if (rd_left(r) < n)
		return false;
	*ret = r->p;
	r->p += n;
	return true;
}

must_check static inline bool rd_copy(struct rd *r, void *dst, size_t n)
{
	if (rd_left(r) < n)
		return false;
	memcpy(dst, r->p, n);
	r->p += n;
	return true;
}

must_check static inline bool rd_u8(struct rd *r, uint8_t *ret)
{
	if (rd_left(r) < 1)
		return false;
	*ret = *r->p++;
	return true;
}

static inline uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, (uint16_t)(v >> 16));
	put_be16(p + 2, (uint16_t)v);
}

must_check static inline bool rd_be16(struct rd *r, uint16_t *ret)
{
	const uint8_t *p;

	if (!rd_bytes(r, 2, &p))
		return false;
	*ret = get_be16(p);
	return true;
}

must_check static inline bool rd_be24(struct rd *r, uint32_t *ret)
{
	const uint8_t *p;

	if (!rd_bytes(r, 3, &p))
		return false;
	*ret = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
	return true;
}

must_check static inline bool rd_be32(struct rd *r, uint32_t *ret)
{
	const uint8_t *p;

	if (!rd_bytes(r, 4, &p))
		return false;
	*ret = get_be32(p);
	return true;
}

/* ---- growable buffer with a hard cap ---------------------------------- */

/*
 * Bytes live at data[off .. off+len). Appending beyond `cap` bytes of content
 * fails with -ENOBUFS and changes nothing: a cap is set at birth, always.
 * Storage is allocated on first use and given back by buf_fini/buf_reset.
 */
struct buf {
	uint8_t *data;
	size_t off;
	size_t len;
	size_t size; /* allocated bytes */
	size_t cap;  /* hard limit for len */
};

#define BUF_INIT(cap_bytes) ((struct buf){ .cap = (cap_bytes) })
void buf_init(struct buf *b, size_t cap);
void buf_fini(struct buf *b);
/* Like fini, but overwrites what was stored first: for secrets. */
void buf_fini_wiped(struct buf *b);
/* Forget the content; storage is kept when it is small. */
void buf_reset(struct buf *b);
must_check int buf_append(struct buf *b, const void *p, size_t n);
must_check int buf_append_str(struct buf *b, const char *s);
must_check int buf_printf(struct buf *b, const char *fmt, ...) printf_like(2, 3);
must_check int buf_vprintf(struct buf *b, const char *fmt, va_list ap) printf_like(2, 0);
/* Make room for n more bytes; *ret_p points at them. buf_commit() keeps them. */
must_check int buf_reserve(struct buf *b, size_t n, uint8_t **ret_p);
void buf_commit(struct buf *b, size_t n);
/* Drop n bytes at the front. n <= len. */
void buf_consume(struct buf *b, size_t n);
static inline uint8_t *buf_at(const struct buf *b)
{
	/* NULL stays NULL: an empty buffer may have no storage. */
	return b->off ? b->data + b->off : b->data;
}
/* Content as a C string (a NUL is kept behind it); NULL when out of memory. */
const char *buf_str(struct buf *b);

/* ---- fixed-size object pool ------------------------------------------- */

/*
 * Objects of one size, at most `limit` of them, recycled without malloc. What a
 * flood of them needed is given back slab by slab when they are put back.
 * pool_get returns zeroed memory, or NULL at the limit or out of memory;
 * the caller counts that as a refusal.
 */
struct pool_slab;
struct pool {
	size_t obj_size;
	size_t limit;
	size_t used;
	size_t slab_size; /* a power of two, and what slabs are aligned to */
	struct pool_slab *roomy, *full;
	size_t n_empty;
};

void pool_init(struct pool *p, size_t obj_size, size_t limit);
void pool_fini(struct pool *p);
void *pool_get(struct pool *p);
void pool_put(struct pool *p, void *obj);

/* ---- intrusive doubly linked list ------------------------------------- */

struct list {
	struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_add_tail(struct list *head, struct list *n)
{
	n->prev = head->prev;
	n->next = head;
	head->prev->next = n;
	head->prev = n;
}

/* Safe to call on an initialised node that is in no list. */
static inline void list_del(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

#define list_for_each(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
#define list_for_each_safe(it, tmp, head)                                                          \
	for (struct list *it = (head)->next, *tmp = it->next; it != (head); it = tmp, tmp = it->next)

/* ---- hash map (intrusive, keyed hash) --------------------------------- */

/* SipHash-2-4. The key is random per process, so a guest cannot aim collisions. */
struct hash_key {
	uint64_t k[2];
};
uint64_t hash_bytes(const struct hash_key *key, const void *p, size_t n);
/* Fills the key from getrandom(2). */
void hash_key_random(struct hash_key *key);

struct hmap_node {
	struct hmap_node *next;
	uint64_t hash;
};

struct hmap {
	struct hmap_node **buckets;
	size_t mask; /* buckets - 1, buckets a power of two */
	size_t count;
};

must_check int hmap_init(struct hmap *m, size_t initial);
void hmap_fini(struct hmap *m); /* the nodes are the caller's */
void hmap_insert(struct hmap *m, struct hmap_node *n, uint64_t hash);
void hmap_remove(struct hmap *m, struct hmap_node *n);
/* First node with this hash; the caller compares keys and walks with hmap_next. */
struct hmap_node *hmap_first(const struct hmap *m, uint64_t hash);
struct hmap_node *hmap_next(const struct hmap_node *n);
#define hmap_for_hash(it, map, h)                                                                  \
	for (struct hmap_node *it = hmap_first(map, h); it; it = hmap_next(it))

/* ---- time and randomness ---------------------------------------------- */

uint64_t time_mono_ns(void);
uint64_t time_real_ns(void);
/* Of a processor, used by this thread. */
uint64_t time_thread_ns(void);
/* getrandom(2) that never fails short; aborts only if the kernel has none. */
void random_bytes(void *p, size_t n);

/* ---- event loop ------------------------------------------------------- */

/* A thread that does not interrupt who gives it work while it is busy (busy.c). Times in ns. */
struct busy {
	bool on;		 /* false: it is left alone */
	bool batch;		 /* SCHED_BATCH now */
	uint64_t looked;	 /* when, last */
	uint64_t cpu;		 /* what it had used by then */
	bool doubt;		 /* whether that ended because its work had */
	uint64_t changed, pause; /* when the policy was; how long it stays then */
	uint64_t used;		 /* when it became batch: per cent of a processor */
};
/* now: monotonic. Nothing is ever done where the policy is another than SCHED_OTHER. */
void busy_begin(struct busy *b, uint64_t now);
/* At every turn. May change the policy: sched_setscheduler(2) has to be allowed. */
void busy_look(struct busy *b, uint64_t now);

/*
 * epoll, level-triggered. One loop per process, no threads. Callbacks may add,
 * change and remove any source, themselves included: a removed source is never
 * called again, even if its event was already fetched.
 */
struct loop;

struct loop_io {
	int fd;		 /* not owned */
	uint32_t events; /* EPOLLIN | EPOLLOUT ..., as last set */
	void (*cb)(struct loop_io *io, uint32_t revents);
	struct loop *loop; /* NULL when not added */
};

/* Deadline timer; O(log n). cb may re-arm. Zero-initialise before first use. */
struct loop_timer {
	void (*cb)(struct loop_timer *t);
	uint64_t when; /* ns, monotonic */
	size_t pos;    /* heap position + 1; 0 = not armed */
};

/* Work to run once before the loop sleeps again. Queuing twice is one run. */
struct loop_task {
	void (*cb)(struct loop_task *t);
	struct loop_task *next;
	bool queued;
};

must_check int loop_new(struct loop **ret_loop);
void loop_free(struct loop *l);
/* Runs until loop_stop(); returns its code, or negative errno. */
int loop_run(struct loop *l);
/* One iteration: waits at most timeout_ms (-1: until something happens). */
must_check int loop_step(struct loop *l, int timeout_ms);
void loop_stop(struct loop *l, int code);
/* From now on the process does not interrupt who gives it work while it is busy: see busy.c. */
void loop_give_way(struct loop *l);
/* Time at the start of this iteration; loop_now_update() reads the clock. */
uint64_t loop_now(const struct loop *l);
uint64_t loop_now_update(struct loop *l);

must_check int loop_io_add(struct loop *l, struct loop_io *io, int fd, uint32_t events,
			   void (*cb)(struct loop_io *io, uint32_t revents));
/* No system call when nothing changes. events 0 keeps only HUP/ERR. */
void loop_io_set(struct loop_io *io, uint32_t events);
void loop_io_del(struct loop_io *io); /* no-op when not added */
/*
 * As loop_io_del() where the descriptor is closed next and nobody else has a copy
 * of it: closing takes it out of the kernel's set, and one call is saved. With a
 * copy in other hands the kernel would go on telling of it.
 */
void loop_io_closing(struct loop_io *io);
/* The same descriptor and events, under another address and with another callback. */
void loop_io_move(struct loop_io *from, struct loop_io *to,
		  void (*cb)(struct loop_io *io, uint32_t revents));

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t when);
void loop_timer_del(struct loop *l, struct loop_timer *t);
static inline bool loop_timer_armed(const struct loop_timer *t)
{
	return t->pos != 0;
}

void loop_task_queue(struct loop *l, struct loop_task *t);
void loop_task_cancel(struct loop *l, struct loop_task *t);

/* ---- logging ---------------------------------------------------------- */

enum log_level {
	LOG_LEVEL_ERROR = 0,
	LOG_LEVEL_WARN = 1,
	LOG_LEVEL_INFO = 2,
	LOG_LEVEL_DEBUG = 3,
};

/*
 * Lines go to stderr as "weir[role]: text". Engines do not log; the program
 * and the edges do. Never pass a secret, a body or raw guest bytes:
 * use log_quote() for text that a guest chose.
 */
void log_setup(const char *role, enum log_level level);
enum log_level log_level_get(void);
/* So many bytes more of this process, and of each that it forks; then one line that says so. */
void log_limit(uint64_t bytes);
void log_line(enum log_level level, const char *fmt, ...) printf_like(2, 3);
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_level_get() >= LOG_LEVEL_DEBUG)                                            \
			log_line(LOG_LEVEL_DEBUG, __VA_ARGS__);                                    \
	} while (0)
/* Printable ASCII of at most size-1 bytes, everything else as \xNN. Returns out. */
const char *log_quote(const void *p, size_t len, char *out, size_t size);

/* ---- addresses -------------------------------------------------------- */

/* family 4 or 6; 0 means "no address". IPv4 uses b[0..3]; unused bytes are zero. */
struct ip_addr {
	uint8_t family;
	uint8_t b[16];
};

struct ip_prefix {
	struct ip_addr addr; /* host bits zero */
	uint8_t len;
};

struct endpoint {
	struct ip_addr addr;
	uint16_t port; /* host order */
};

struct port_range {
	uint16_t lo, hi; /* inclusive */
};

#define IP_STRLEN 46
#define ENDPOINT_STRLEN 56

static inline struct ip_addr ip4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return (struct ip_addr){ 4, { a, b, c, d } };
}
struct ip_addr ip_from_be(int family, const void *bytes); /* 4 or 16 bytes */
static inline size_t ip_size(const struct ip_addr *a)
{
	return a->family == 4 ? 4 : 16;
}
bool ip_equal(const struct ip_addr *a, const struct ip_addr *b);
bool ip_in_prefix(const struct ip_addr *a, const struct ip_prefix *p);
/* RFC 5952 text. Returns out. */
const char *ip_format(const struct ip_addr *a, char out[IP_STRLEN]);
/* "1.2.3.4:5", "[::1]:5". Returns out. */
const char *endpoint_format(const struct endpoint *e, char out[ENDPOINT_STRLEN]);
/* struct sockaddr_storage either way; sizes in bytes. */
socklen_t endpoint_to_sockaddr(const struct endpoint *e, struct sockaddr_storage *ret);
must_check int endpoint_from_sockaddr(const struct sockaddr_storage *ss, struct endpoint *ret);

/* ---- strict text parsers ---------------------------------------------- */

/*
 * One parser per kind of text, used wherever a person, a file or a peer gives
 * one. All take a length: nothing is ever handed on to a second parser that
 * would stop at a NUL. On failure they return -EINVAL and, when ret_why is not
 * NULL, set it to a static sentence that says what is wrong ("leading zero in
 * an IPv4 address", ...).
 */

/* Dotted quad without leading zeros, or RFC 4291 text without zone or brackets. */
must_check int ip_parse(const char *s, size_t len, struct ip_addr *ret, const char **ret_why);
/* ADDR/LEN, host bits zero. */
must_check int ip_prefix_parse(const char *s, size_t len, struct ip_prefix *ret,
			       const char **ret_why);
/* 1..65535, decimal, no sign, no leading zero. */
must_check int port_parse(const char *s, size_t len, uint16_t *ret, const char **ret_why);
/* "N" or "LO-HI". */
must_check int port_range_parse(const char *s, size_t len, struct port_range *ret,
				const char **ret_why);
/*
 * "1.2.3.4", "1.2.3.4:5", "2001:db8::1", "[2001:db8::1]:5". Without a port,
 * ret->port is default_port.
 */
must_check int endpoint_parse(const char *s, size_t len, uint16_t default_port,
			      struct endpoint *ret, const char **ret_why);
/* Bytes: "64KiB", "10MB"; letters of either case, the unit is needed. At least 1. */
must_check int size_parse(const char *s, size_t len, uint64_t *ret, const char **ret_why);
/* Bytes a second: "10mbit", or bytes as above. */
must_check int bandwidth_parse(const char *s, size_t len, uint64_t *ret, const char **ret_why);
/* As the largest unit that divides it; parses to the same. */
#define SIZE_STRLEN 32
const char *size_format(uint64_t n, char out[static SIZE_STRLEN]);
const char *bandwidth_format(uint64_t n, char out[static SIZE_STRLEN]);
/*
 * "nofile=1024" or "nofile=1024:4096", soft and hard, of the 16 kinds there are; *ret_which is
 * RLIMIT_NOFILE. -EINVAL: *ret_why says why.
 */
struct rlimit;
must_check int rlimit_parse(const char *text, int *ret_which, struct rlimit *ret,
			    const char **ret_why);
/* Decimal integer in [min, max]; no sign, no leading zero. */
must_check int uint_parse(const char *s, size_t len, uint64_t min, uint64_t max, uint64_t *ret,
			  const char **ret_why);

/*
 * Host name in canonical form: lower case, one trailing dot removed, labels
 * of letters, digits, hyphen and underscore (1..63 bytes, no hyphen at either
 * end), at most 253 bytes (RFC 1035 2.3.4). U-labels are refused: names here
 * are A-labels. A name whose last label is all digits or starts with 0x is
 * refused, because another parser could read it as an address.
 */
#define NAME_MAX_LEN 253
struct name {
	uint8_t len;
	char s[NAME_MAX_LEN + 1]; /* NUL-terminated */
};
must_check int name_parse(const char *s, size_t len, struct name *ret, const char **ret_why);
static inline bool name_equal(const struct name *a, const struct name *b)
{
	return a->len == b->len && memcmp(a->s, b->s, a->len) == 0;
}
/* True when n is suffix itself or a name below it, label-aligned. */
bool name_in_suffix(const struct name *n, const struct name *suffix, bool include_apex);
/* The same for a suffix in canonical form that is kept as bytes alone. */
bool name_ends_with(const struct name *n, const char *suffix, size_t len, bool include_apex);
/* Number of labels. */
unsigned name_labels(const struct name *n);

/*
 * HOST[:PORT] of a URL authority or Host header, RFC 3986 3.2 without
 * userinfo: host is a name, a dotted quad or a bracketed IPv6 address.
 * ret->port is 0 when none was given.
 */
struct authority {
	bool is_addr;
	struct ip_addr addr; /* when is_addr */
	struct name name;    /* else */
	uint16_t port;
};
must_check int authority_parse(const char *s, size_t len, struct authority *ret,
			       const char **ret_why);

/* ---- strings ---------------------------------------------------------- */

bool str_eq(const char *a, const char *b);
bool str_starts(const char *s, const char *prefix);
/* Case-insensitive ASCII compare of length-counted text with a C string. */
bool str_ieq(const char *s, size_t len, const char *b);
/* Value of a hexadecimal digit in either case; -1: it is none. */
static inline int str_hex_digit(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}
/* The candidate within edit distance 2 (and less than half the word), or NULL. */
const char *str_suggest(const char *word, const char *const *candidates, size_t n);

/* ---- files and descriptors -------------------------------------------- */

/* Whole file, at most max bytes (-EFBIG beyond). Appends to ret's content. */
must_check int file_read(const char *path, size_t max, struct buf *ret);
must_check int fd_read_all(int fd, size_t max, struct buf *ret);
/* Writes everything, retrying short writes; for blocking descriptors. */
must_check int fd_write_all(int fd, const void *p, size_t n);
must_check int fd_set_nonblock(int fd, bool on);

/*
 * One message with up to IPC_MAX_FDS descriptors over a SOCK_SEQPACKET socket.
 * ipc_recv: returns the length, 0 at end, or negative errno. A message that
 * does not fit `size`, or more descriptors than the array takes, is -EMSGSIZE
 * and its descriptors are closed. Received descriptors are close-on-exec.
 */
#define IPC_MAX_FDS 4
must_check int ipc_send(int sock, const void *p, size_t n, const int *fds, size_t n_fds);
ssize_t ipc_recv(int sock, void *p, size_t size, int *ret_fds, size_t max_fds, size_t *ret_n_fds);
/* The same, but -EAGAIN when there is none, and without descriptors. */
ssize_t ipc_recv_now(int sock, void *p, size_t size);

/* ---- giving up rights -------------------------------------------------- */

/* Descriptors 0-2 and `keep` stay open, everything else is closed. */
void rights_close_others(const int *keep, size_t n);
/* Without groups, and for good. */
must_check int rights_become(uid_t uid, gid_t gid);
/*
 * -ENOENT: there is no nobody in this user namespace, and nothing was changed. Root of one
 * that somebody else made may have none to turn into; outside of it, that root is an ordinary
 * user already.
 */
must_check int rights_become_nobody(void);
#define RIGHTS_NOBODY 65534
bool rights_nobody_exists(void);
/*
 * Maps of a new user namespace, of the process pid (0: our own), as far as we may: the single
 * ids, or, with all, those that exist here one to one.
 */
must_check int rights_write_id_maps(pid_t pid, uid_t uid, gid_t gid, bool all);
/*
 * The same for ids that are not ours, of a process that did not begin to run: root's right, and
 * groups may still be set in there.
 */
must_check int rights_write_other_ids(pid_t pid, uid_t uid, gid_t gid);
/*
 * An empty, read-only root: a tmpfs that is pivoted into and sealed; in a mount namespace of our
 * own. A kernel's first root, an initramfs, cannot be exchanged: -EINVAL, or, with cover, it is covered.
 */
must_check int rights_enter_empty_root(bool cover);
/* Sets of capabilities, 1 << CAP_*. The bounding set: -EPERM without CAP_SETPCAP. */
must_check int rights_bound_capabilities(uint64_t bounding);
must_check int rights_keep_capabilities(uint64_t keep);
/* All that this process has or could use; all of them when that cannot be told. */
uint64_t rights_capabilities(void);
/* RLIMIT_*, soft and hard. */
must_check int rights_limit(int what, uint64_t n);
/*
 * Landlock, as much of it as the kernel knows: no file but what lies at or below these paths, no
 * TCP port, no abstract socket, no signal to others. What a path names is looked up now; one that
 * is not there is passed over. Reading is of files and folders, writing also makes and removes files;
 * nothing can be executed. Needs no_new_privs or CAP_SYS_ADMIN. -ENOTSUP: not in this kernel.
 */
struct rights_path {
	const char *path;
	bool write;
};
must_check int rights_forbid_files(const struct rights_path *but, size_t n);

/* ---- root certificates -------------------------------------------------- */

/*
 * Where systems keep them, as absolute names; NULL ends each. Of the bundles the first that is
 * there is the system's, whatever the others are links to. What lies among the anchors, the
 * tools that make bundles put into them.
 */
extern const char *const root_bundles[];
extern const char *const root_anchors[];

#endif
