/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vault: what one tlsproxy process leaves to the next, should it die: the
 * CA's key, the values of the secrets, and the placeholders that the sandbox
 * has. A memory file that the supervisor makes and keeps, and only the tlsproxy
 * maps. The supervisor never reads it, nobody else has its descriptor.
 *
 * The file is secret memory (memfd_secret(2), Linux 5.14 on) where the kernel
 * has it: not in the kernel's own map, out of reach of /proc/PID/mem and
 * /proc/PID/fd even for root; else an ordinary memory file. In both the content
 * is encrypted and authenticated (AES-256-GCM): a descriptor that leaked leads to
 * no value without the key, which stands in one locked page of the supervisor that
 * no other child inherits. And what a process that died in the midst of writing
 * left is recognised: there are two slots, and the newest whole one counts.
 *
 *     slot 0 │ head: magic, number, length, nonce, tag │ ciphertext │
 *     slot 1 │ ...
 *
 * The image that is kept is made and read by image_*() below.
 */
#ifndef WEIR_VAULT_H
#define WEIR_VAULT_H

#include "weir/config.h"

/* ---- memory for what is secret ----------------------------------------------- */

/* Whole pages: locked, not dumped, empty in a child, wiped when released. */
struct locked {
	uint8_t *p;
	size_t size;
};
must_check int locked_new(size_t size, struct locked *ret);
void locked_free(struct locked *l);

/* ---- the vault ---------------------------------------------------------------- */

/* An image: 256 secrets of the greatest length, keys and certificates. */
#define VAULT_IMAGE_MAX ((size_t)2 << 20)

struct vault {
	int fd; /* -1: none */
	struct locked key;
	bool secret; /* of memfd_secret(2) */
};
#define VAULT_NONE ((struct vault){ .fd = -1 })

/* The supervisor's. On failure err says why. */
must_check int vault_new(struct vault *ret, struct conf_error *err);
void vault_free(struct vault *v);
/* Around the fork of the tlsproxy, who alone is to have the key: true before, false after it. */
void vault_share_key(const struct vault *v, bool on);
/* In the child: the key into memory that is not inherited any further. */
must_check int vault_own_key(struct vault *v);

/* The tlsproxy's. -EFBIG: more than VAULT_IMAGE_MAX. What was there stays on failure. */
must_check int vault_write(const struct vault *v, const void *image, size_t len);
/* *ret is the caller's to free. -ENODATA: nothing was ever written; -EBADMSG: nothing whole. */
must_check int vault_read(const struct vault *v, struct locked *ret, size_t *ret_len);

/* ---- the image ------------------------------------------------------------------- */

struct kept_secret {
	const char *env;
	const char *placeholder;
	const uint8_t *value; /* NULL: it has none any more */
	size_t len;
	uint64_t uses; /* requests that carried it, where they are limited */
};

/* A token that a reply brought for a secret, in place of which the sandbox has a placeholder. */
#define KEPT_TOKENS_MAX 64
#define KEPT_TOKEN_NAME_MAX 224
struct kept_token {
	const char *env; /* its name among all secrets */
	const char *of;	 /* the secret's */
	const char *placeholder;
	const uint8_t *value; /* NULL: its time is over */
	size_t len;
	uint64_t until; /* seconds of the epoch; 0: nobody said */
	bool renews;	/* a refresh token */
};

struct kept {
	const char *ca_pem;
	const uint8_t *ca_key; /* DER */
	size_t ca_key_len;
	struct kept_secret *secrets; /* room for CONFIG_SECRETS_MAX */
	size_t n;
	struct kept_token *tokens; /* room for KEPT_TOKENS_MAX; the oldest first */
	size_t n_tokens;
};

/* Bytes that image_put() writes. */
size_t image_size(const struct kept *k);
void image_put(const struct kept *k, uint8_t *out);
/* Everything in *ret points into the image, but for secrets and tokens, which the caller gives. -EBADMSG. */
must_check int image_get(const uint8_t *p, size_t len, struct kept *ret);

#endif
