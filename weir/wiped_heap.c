/* SPDX-License-Identifier: Apache-2.0 */
/* malloc for OpenSSL, which wipes on the way back. */
#include "weir/wiped_heap.h"

#include "base/base.h"

#include <malloc.h>
#include <openssl/crypto.h>

static bool wiping;

static void *take(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return malloc(n);
}

static void give(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	if (p && wiping)
		explicit_bzero(p, malloc_usable_size(p));
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
	q = malloc(n);
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

void wiped_heap_begin(void)
{
	wiping = true;
}
