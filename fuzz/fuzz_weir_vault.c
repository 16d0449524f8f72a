/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one tlsproxy leaves to the next. The first byte chooses: 'i', the rest is an
 * image: what is read of it is written and read again as the same; else the rest are
 * places and bytes with which the file is spoilt after two writings: what is read is one
 * of the two, whole, or nothing.
 */
#include "weir/config_internal.h"
#include "weir/vault.h"

#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As weir/vault.c lays it out. */
#define SLOT_SIZE (VAULT_IMAGE_MAX + 65536)
#define SPOILT_MAX 256

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void must_equal(const struct kept *a, const struct kept *b)
{
	must(a->n == b->n && str_eq(a->ca_pem, b->ca_pem) && a->ca_key_len == b->ca_key_len &&
	     (!a->ca_key_len || memcmp(a->ca_key, b->ca_key, a->ca_key_len) == 0));
	for (size_t i = 0; i < a->n; i++) {
		const struct kept_secret *s = &a->secrets[i], *t = &b->secrets[i];

		must(str_eq(s->env, t->env) && str_eq(s->placeholder, t->placeholder) &&
		     s->uses == t->uses && !s->value == !t->value);
		must(!s->value ||
		     (s->len == t->len && (!s->len || memcmp(s->value, t->value, s->len) == 0)));
	}
	must(a->n_tokens == b->n_tokens);
	for (size_t i = 0; i < a->n_tokens; i++) {
		const struct kept_token *s = &a->tokens[i], *t = &b->tokens[i];

		must(str_eq(s->env, t->env) && str_eq(s->of, t->of) &&
		     str_eq(s->placeholder, t->placeholder) && s->until == t->until &&
		     s->renews == t->renews && !s->value == !t->value);
		must(!s->value ||
		     (s->len == t->len && (!s->len || memcmp(s->value, t->value, s->len) == 0)));
	}
}

static void as_image(const uint8_t *p, size_t size)
{
	static struct kept_secret first[CONFIG_SECRETS_MAX], second[CONFIG_SECRETS_MAX];
	static struct kept_token third[KEPT_TOKENS_MAX], fourth[KEPT_TOKENS_MAX];
	struct kept a = { .secrets = first, .tokens = third };
	struct kept b = { .secrets = second, .tokens = fourth };
	uint8_t *again;
	int r = image_get(p, size, &a);

	must(r == 0 || r == -EBADMSG);
	if (r < 0)
		return;
	must(image_size(&a) <= size);
	again = malloc(image_size(&a));
	must(again != NULL);
	image_put(&a, again);
	must(image_get(again, image_size(&a), &b) == 0);
	must_equal(&a, &b);
	free(again);
}

static void spoil(const struct vault *v, struct rd *r)
{
	uint8_t *p = mmap(NULL, 2 * SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	uint8_t slot, at, by;

	must(p != MAP_FAILED);
	while (rd_u8(r, &slot) && rd_u8(r, &at) && rd_u8(r, &by))
		p[(slot & 1 ? SLOT_SIZE : 0) + at] ^= by;
	munmap(p, 2 * SLOT_SIZE);
}

static void as_spoilt(const uint8_t *p, size_t size)
{
	static const char one[] = "the first", two[] = "the second one";
	struct rd r = rd_init(p, size);
	struct conf_error err = { "" };
	struct locked out;
	struct vault v;
	size_t n;
	int e;

	must(vault_new(&v, &err) == 0);
	must(vault_write(&v, one, sizeof(one)) == 0 && vault_write(&v, two, sizeof(two)) == 0);
	spoil(&v, &r);
	e = vault_read(&v, &out, &n);
	must(e == 0 || e == -EBADMSG || e == -ENODATA);
	if (e == 0) {
		must((n == sizeof(one) && memcmp(out.p, one, n) == 0) ||
		     (n == sizeof(two) && memcmp(out.p, two, n) == 0));
		locked_free(&out);
	}
	vault_free(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size && data[0] == 'i')
		as_image(data + 1, size - 1);
	else if (size && size <= SPOILT_MAX)
		as_spoilt(data + 1, size - 1);
	return 0;
}
