/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc for OpenSSL, which wipes on the way back.
 *
 * A handshake takes and gives back hundreds of small blocks, and each read and write one of
 * 17 KiB: more than malloc keeps at hand, so that it splits and joins chunks all the while.
 * What was wiped is therefore kept here, by size, and given again. Which blocks lie here
 * stands beside them and not in them: nothing that writes into one that was given back
 * decides what is given next. One that is given back twice ends the process.
 */
#include "weir/wiped_heap.h"

#include "base/base.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <pthread.h>

/* Usable sizes of malloc's chunks are 24, 40, 56 and so on: a class for each, up to what
 * a connection's largest object takes. */
#define STEP 16
#define USABLE(i) ((i)*STEP + STEP / 2)
#define CLASSES 512
/* Of each so many, as far as that is no more bytes than these, and of all no more than those.
 * Many connections end at a time, and as many begin. */
#define KEPT_EACH 1024
#define KEPT_BYTES ((size_t)64 << 10)
#define KEPT_ALL ((size_t)2 << 20)
/* Buffers for a record, of which reading and writing take another size each. */
#define LARGE_MIN 16384
#define LARGE_MAX 18432
#define KEPT_LARGE 32

/* Where freed memory is watched, none of it is kept from the watcher. */
#if defined(__SANITIZE_ADDRESS__)
#define KEEPS false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEPS false
#endif
#endif
#ifndef KEEPS
#define KEEPS true
#endif

struct shelf {
	unsigned n, max;
	void **p; /* in places */
};

static bool wiping;
static pthread_t owner; /* the one thread that shelves are for */
static struct shelf shelves[CLASSES];
static void *places[CLASSES * KEPT_EACH / 16];
static size_t kept_bytes; /* on the shelves */
static struct {
	unsigned n;
	void *p[KEPT_LARGE];
} large;
static uintptr_t mark; /* first word of what lies here */

static bool keeps(void)
{
	return KEEPS && wiping && pthread_equal(pthread_self(), owner);
}

static void *unmarked(void *p)
{
	memset(p, 0, sizeof(mark));
	return p;
}

static void *large_take(size_t n)
{
	for (unsigned i = large.n; i--;) {
		void *p = large.p[i];

		if (malloc_usable_size(p) < n)
			continue;
		large.p[i] = large.p[--large.n];
		return unmarked(p);
	}
	return NULL;
}

static void *kept_take(size_t n)
{
	size_t i = MAX((n + STEP / 2 - 1) / STEP, (size_t)1);

	if (n >= LARGE_MIN && n <= LARGE_MAX)
		return large_take(n);
	if (i >= CLASSES || !shelves[i].n)
		return NULL;
	kept_bytes -= USABLE(i);
	return unmarked(shelves[i].p[--shelves[i].n]);
}

static bool shelve(void **at, unsigned *n, unsigned max, void *p)
{
	uintptr_t first;

	memcpy(&first, p, sizeof(first));
	for (unsigned i = 0; first == mark && i < *n; i++)
		if (at[i] == p)
			abort();
	if (*n == max)
		return false;
	at[(*n)++] = p;
	return true;
}

static bool kept_small(void *p, size_t i)
{
	struct shelf *s = &shelves[i];
	bool room = kept_bytes + USABLE(i) <= KEPT_ALL;

	if (!shelve(s->p, &s->n, room ? s->max : s->n, p))
		return false;
	kept_bytes += USABLE(i);
	return true;
}

/* False: no place for it. It is wiped in any case. */
static bool kept_give(void *p, size_t usable)
{
	size_t i = usable / STEP;
	bool kept = false;

	if (usable >= LARGE_MIN && usable <= LARGE_MAX)
		kept = shelve(large.p, &large.n, KEPT_LARGE, p);
	else if (i && i < CLASSES && usable == USABLE(i))
		kept = kept_small(p, i);
	explicit_bzero(p, usable);
	if (kept)
		memcpy(p, &mark, sizeof(mark));
	return kept;
}

static void *take(size_t n, const char *file, int line)
{
	void *p = keeps() ? kept_take(n) : NULL;

	(void)file;
	(void)line;
	return p ? p : malloc(n);
}

static void give(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	if (p && keeps()) {
		if (kept_give(p, malloc_usable_size(p)))
			return;
	} else if (p && wiping) {
		explicit_bzero(p, malloc_usable_size(p));
	}
	free(p);
}

/* What grows leaves no copy behind. */
static void *change(void *p, size_t n, const char *file, int line)
{
	size_t old;
	void *q;

	if (!wiping || !p)
		return realloc(p, n);
	if (n == 0) {
		give(p, file, line);
		return NULL;
	}
	old = malloc_usable_size(p);
	q = take(n, file, line);
	if (!q)
		return NULL;
	memcpy(q, p, MIN(old, n));
	give(p, file, line);
	return q;
}

void wiped_heap_prepare(void)
{
	/* Refused when OpenSSL has memory already: then it wipes what it knows to be secret. */
	if (!CRYPTO_set_mem_functions(take, change, give))
		log_debug("OpenSSL keeps its own way of giving memory back");
}

static void make_shelves(void)
{
	void **at = places;

	for (size_t i = 1; i < CLASSES; i++) {
		shelves[i].p = at;
		shelves[i].max = (unsigned)MIN(KEPT_BYTES / USABLE(i), (size_t)KEPT_EACH);
		at += shelves[i].max;
	}
	assert(at <= places + ARRAY_SIZE(places));
}

void wiped_heap_begin(void)
{
	make_shelves();
	random_bytes(&mark, sizeof(mark));
	owner = pthread_self();
	wiping = true;
}
