/* SPDX-License-Identifier: Apache-2.0 */
/* The vault's file: made, sealed, opened. */
#include "weir/vault.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEY_LEN 32
#define NONCE_LEN 12
#define TAG_LEN 16
#define MAGIC UINT64_C(0x77656972766c7431)

struct head {
	uint64_t magic;
	uint64_t number; /* of the writing, from 1 on; 0: none, or it was not finished */
	uint64_t len;
	uint8_t nonce[NONCE_LEN];
	uint8_t tag[TAG_LEN];
};

/* A multiple of every page size there is. */
#define SLOT_SIZE (VAULT_IMAGE_MAX + 65536)

/* ---- locked memory ------------------------------------------------------------ */

static size_t whole_pages(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (n + page - 1) / page * page;
}

int locked_new(size_t size, struct locked *ret)
{
	size_t whole = whole_pages(MAX(size, (size_t)1));
	void *p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (p == MAP_FAILED)
		return -errno;
	if (mlock(p, whole) < 0 || madvise(p, whole, MADV_DONTDUMP) < 0 ||
	    madvise(p, whole, MADV_WIPEONFORK) < 0) {
		r = -errno;
		munmap(p, whole);
		return r;
	}
	*ret = (struct locked){ p, whole };
	return 0;
}

void locked_free(struct locked *l)
{
	if (l->p) {
		explicit_bzero(l->p, l->size);
		munmap(l->p, l->size);
	}
	*l = (struct locked){ 0 };
}

/* ---- the file ------------------------------------------------------------------ */

static int new_file(bool *ret_secret)
{
	/* Not known to this kernel (ENOSYS), or switched off (secretmem.enable=0): also ENOSYS. */
	int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);

	*ret_secret = fd >= 0;
	return fd >= 0 ? fd : memfd_create("weir-vault", MFD_CLOEXEC);
}

int vault_new(struct vault *ret, struct conf_error *err)
{
	struct vault v = VAULT_NONE;
	int r = locked_new(KEY_LEN, &v.key);

	if (r == 0) {
		random_bytes(v.key.p, KEY_LEN);
		v.fd = new_file(&v.secret);
		/* Sparse: only what is written takes memory. */
		if (v.fd < 0 || ftruncate(v.fd, (off_t)(2 * SLOT_SIZE)) < 0)
			r = -errno;
	}
	if (r < 0) {
		conf_error_set(err,
			       "no memory that stays out of swap (%s); is the limit on locked "
			       "memory (ulimit -l) too low?",
			       strerror(-r));
		vault_free(&v);
		return r;
	}
	*ret = v;
	return 0;
}

void vault_free(struct vault *v)
{
	fd_close(v->fd);
	locked_free(&v->key);
	*v = VAULT_NONE;
}

void vault_share_key(const struct vault *v, bool on)
{
	/* A child that did not get it could never read what is there: it says so and ends. */
	if (madvise(v->key.p, v->key.size, on ? MADV_KEEPONFORK : MADV_WIPEONFORK) < 0)
		log_debug("vault: %s", strerror(errno));
}

int vault_own_key(struct vault *v)
{
	/* Locks are not inherited. */
	if (mlock(v->key.p, v->key.size) < 0 || madvise(v->key.p, v->key.size, MADV_WIPEONFORK) < 0 ||
	    madvise(v->key.p, v->key.size, MADV_DONTDUMP) < 0)
		return -errno;
	return 0;
}

/* The first len bytes of a slot; unmapped by unmap_slot(). */
static int map_slot(const struct vault *v, unsigned slot, size_t len, int prot, struct locked *ret)
{
	size_t whole = whole_pages(len);
	void *p = mmap(NULL, whole, prot, MAP_SHARED, v->fd, (off_t)(slot * SLOT_SIZE));

	if (p == MAP_FAILED)
		return -errno;
	(void)madvise(p, whole, MADV_DONTFORK);
	*ret = (struct locked){ p, whole };
	return 0;
}

static void unmap_slot(struct locked *m)
{
	munmap(m->p, m->size);
}

static int read_head(const struct vault *v, unsigned slot, struct head *ret)
{
	struct locked m;
	int r = map_slot(v, slot, sizeof(*ret), PROT_READ, &m);

	if (r < 0)
		return r;
	memcpy(ret, m.p, sizeof(*ret));
	unmap_slot(&m);
	return 0;
}

static bool is_used(const struct head *h)
{
	return h->magic == MAGIC && h->number && h->len <= VAULT_IMAGE_MAX;
}

/* ---- AES-256-GCM ----------------------------------------------------------------- */

/* Everything of the head but the tag is authenticated with the text. */
static bool run_cipher(const struct vault *v, bool seal, struct head *h, const uint8_t *in,
		       uint8_t *out)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int len = (int)h->len, n = 0, aad = (int)offsetof(struct head, tag);
	bool ok = c && EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, v->key.p, h->nonce, seal);

	ok = ok && EVP_CipherUpdate(c, NULL, &n, (const uint8_t *)h, aad);
	ok = ok && EVP_CipherUpdate(c, out, &n, in, len) && n == len;
	if (ok && !seal)
		ok = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, h->tag);
	ok = ok && EVP_CipherFinal_ex(c, out + len, &n);
	if (ok && seal)
		ok = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, h->tag);
	EVP_CIPHER_CTX_free(c); /* wipes its key schedule */
	return ok;
}

/* ---- writing and reading ----------------------------------------------------------- */

int vault_write(const struct vault *v, const void *image, size_t len)
{
	struct head head[2], next = { .magic = MAGIC, .len = len };
	struct locked m;
	unsigned slot;
	int r;

	if (len > VAULT_IMAGE_MAX)
		return -EFBIG;
	for (unsigned i = 0; i < 2; i++) {
		r = read_head(v, i, &head[i]);
		if (r < 0)
			return r;
		if (!is_used(&head[i]))
			head[i].number = 0;
	}
	slot = head[1].number < head[0].number;
	next.number = MAX(head[0].number, head[1].number) + 1;
	random_bytes(next.nonce, sizeof(next.nonce));
	r = map_slot(v, slot, sizeof(next) + len, PROT_READ | PROT_WRITE, &m);
	if (r < 0)
		return r;
	/* Whoever dies from here on leaves the other slot. */
	memset(m.p, 0, sizeof(next));
	atomic_thread_fence(memory_order_seq_cst);
	if (run_cipher(v, true, &next, image, m.p + sizeof(next))) {
		atomic_thread_fence(memory_order_seq_cst);
		memcpy(m.p, &next, sizeof(next));
	} else {
		r = -EIO;
	}
	unmap_slot(&m);
	return r;
}

static int open_slot(const struct vault *v, unsigned slot, struct head *h, struct locked *ret)
{
	struct locked m, image;
	int r = map_slot(v, slot, sizeof(*h) + h->len, PROT_READ, &m);

	if (r < 0)
		return r;
	r = locked_new(h->len, &image);
	if (r == 0 && !run_cipher(v, false, h, m.p + sizeof(*h), image.p)) {
		locked_free(&image);
		r = -EBADMSG;
	}
	unmap_slot(&m);
	if (r == 0)
		*ret = image;
	return r;
}

int vault_read(const struct vault *v, struct locked *ret, size_t *ret_len)
{
	struct head head[2];
	bool any = false;
	int r;

	for (unsigned i = 0; i < 2; i++) {
		r = read_head(v, i, &head[i]);
		if (r < 0)
			return r;
		any = any || is_used(&head[i]);
	}
	for (unsigned i = 0, slot = head[1].number > head[0].number; i < 2; i++, slot = !slot) {
		if (!is_used(&head[slot]))
			continue;
		r = open_slot(v, slot, &head[slot], ret);
		if (r == 0)
			*ret_len = head[slot].len;
		if (r != -EBADMSG)
			return r;
	}
	return any ? -EBADMSG : -ENODATA;
}
