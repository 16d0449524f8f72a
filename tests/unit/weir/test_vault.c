/* SPDX-License-Identifier: Apache-2.0 */
/* The vault: what was put in comes out whole, by the key, or not at all. */
#include "weir/config_internal.h"
#include "weir/vault.h"

#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const char value[] = "sk-0123456789abcdefghij";

static void open_vault(struct vault *v)
{
	struct conf_error err = { "" };

	if (vault_new(v, &err) < 0)
		fail_msg("%s", err.text);
}

static void assert_holds(const struct vault *v, const void *want, size_t len)
{
	struct locked out;
	size_t n;

	assert_int_equal(vault_read(v, &out, &n), 0);
	assert_int_equal(n, len);
	assert_memory_equal(out.p, want, len);
	locked_free(&out);
}

/* Parity: S10. */
static void test_writes_and_reads(void **state)
{
	uint8_t *big = malloc(VAULT_IMAGE_MAX + 1);
	struct locked out;
	struct vault v;
	size_t n;

	(void)state;
	open_vault(&v);
	assert_int_equal(vault_read(&v, &out, &n), -ENODATA);
	for (size_t len = 0; len < 5; len++) {
		assert_int_equal(vault_write(&v, value, len * 4), 0);
		assert_holds(&v, value, len * 4);
	}
	random_bytes(big, VAULT_IMAGE_MAX);
	assert_int_equal(vault_write(&v, big, VAULT_IMAGE_MAX + 1), -EFBIG);
	assert_holds(&v, value, 16);
	assert_int_equal(vault_write(&v, big, VAULT_IMAGE_MAX), 0);
	assert_holds(&v, big, VAULT_IMAGE_MAX);
	free(big);
	vault_free(&v);
}

/* In secret memory and in an ordinary memory file alike. */
static uint8_t *whole(const struct vault *v, size_t *ret_size)
{
	off_t size = lseek(v->fd, 0, SEEK_END);
	uint8_t *p;

	*ret_size = (size_t)(size > 0 ? size : 4 << 20);
	p = mmap(NULL, *ret_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	assert_true(p != MAP_FAILED);
	return p;
}

static void test_the_file_alone_says_nothing(void **state)
{
	struct vault v;
	size_t size;
	uint8_t *p;

	(void)state;
	open_vault(&v);
	assert_int_equal(vault_write(&v, value, sizeof(value)), 0);
	p = whole(&v, &size);
	assert_null(memmem(p, 65536, value, 8));
	munmap(p, size);
	v.key.p[0] ^= 1;
	assert_int_equal(vault_read(&v, &(struct locked){ 0 }, &size), -EBADMSG);
	vault_free(&v);
}

/* A writing that did not come to its end, or a bit that fell over: what was there before counts. */
static void test_torn(void **state)
{
	const size_t slot = VAULT_IMAGE_MAX + 65536;
	struct vault v;
	size_t size;
	uint8_t *p;

	(void)state;
	for (size_t at = 0; at < 52 + sizeof(value); at++) {
		if (at >= 52 && at < 56)
			continue; /* padding */
		open_vault(&v);
		assert_int_equal(vault_write(&v, "first", 5), 0);
		assert_int_equal(vault_write(&v, value, sizeof(value)), 0);
		p = whole(&v, &size);
		/* The first went to slot 0. */
		p[slot + at] ^= 0x10;
		munmap(p, size);
		assert_holds(&v, "first", 5);
		assert_int_equal(vault_write(&v, "third", 5), 0);
		assert_holds(&v, "third", 5);
		vault_free(&v);
	}
}

/* Who is forked without being meant has no key; who is meant has. */
static void test_key_is_inherited_on_purpose_only(void **state)
{
	struct vault v;
	int status;

	(void)state;
	open_vault(&v);
	assert_int_equal(vault_write(&v, value, sizeof(value)), 0);
	for (int share = 0; share < 2; share++) {
		pid_t pid;

		vault_share_key(&v, share);
		pid = fork();
		if (pid == 0) {
			struct locked out;
			size_t n;

			_exit(vault_own_key(&v) < 0 ? 2 : vault_read(&v, &out, &n) == 0);
		}
		vault_share_key(&v, false);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), share);
	}
	vault_free(&v);
}

static void test_image(void **state)
{
	struct kept_secret in[] = {
		{ "A", "placeholder-a", (const uint8_t *)value, strlen(value), UINT64_MAX - 5 },
		{ "NONE", "placeholder-b", NULL, 7, 0 }, /* its length says nothing */
	};
	struct kept_token tokens[] = {
		{ "A.access_token.1", "A", "placeholder-c", (const uint8_t *)value, strlen(value),
		  UINT64_MAX - 7, false },
		{ "A.refresh_token.2", "A", "placeholder-d", NULL, 0, 0, true },
	};
	struct kept_token room_for_tokens[KEPT_TOKENS_MAX];
	struct kept_secret room[CONFIG_SECRETS_MAX];
	struct kept k = { .ca_pem = "PEM",
			  .ca_key = (const uint8_t *)"\0key",
			  .ca_key_len = 4,
			  .secrets = in,
			  .n = 2,
			  .tokens = tokens,
			  .n_tokens = 2 };
	struct kept out = { .secrets = room, .tokens = room_for_tokens };
	size_t len = image_size(&k);
	uint8_t *p = malloc(len + 1);

	(void)state;
	image_put(&k, p);
	assert_int_equal(image_get(p, len, &out), 0);
	assert_string_equal(out.ca_pem, "PEM");
	assert_int_equal(out.ca_key_len, 4);
	assert_memory_equal(out.ca_key, "\0key", 4);
	assert_int_equal(out.n, 2);
	assert_string_equal(room[0].env, "A");
	assert_string_equal(room[0].placeholder, "placeholder-a");
	assert_int_equal(room[0].len, strlen(value));
	assert_memory_equal(room[0].value, value, strlen(value));
	assert_true(room[0].uses == UINT64_MAX - 5);
	assert_null(room[1].value);
	assert_int_equal(out.n_tokens, 2);
	assert_string_equal(room_for_tokens[0].env, "A.access_token.1");
	assert_string_equal(room_for_tokens[0].of, "A");
	assert_string_equal(room_for_tokens[0].placeholder, "placeholder-c");
	assert_memory_equal(room_for_tokens[0].value, value, strlen(value));
	assert_true(room_for_tokens[0].until == UINT64_MAX - 7 && !room_for_tokens[0].renews);
	assert_true(!room_for_tokens[1].value && room_for_tokens[1].renews);
	/* Cut anywhere, or longer: none. */
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *copy = malloc(cut ? cut : 1);

		memcpy(copy, p, cut);
		assert_int_equal(image_get(copy, cut, &out), -EBADMSG);
		free(copy);
	}
	p[len] = 0;
	assert_int_equal(image_get(p, len + 1, &out), -EBADMSG);
	put_be32(p, CONFIG_SECRETS_MAX + 1);
	assert_int_equal(image_get(p, len, &out), -EBADMSG);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writes_and_reads),
		cmocka_unit_test(test_the_file_alone_says_nothing),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_key_is_inherited_on_purpose_only),
		cmocka_unit_test(test_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
