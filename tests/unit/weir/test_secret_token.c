/* SPDX-License-Identifier: Apache-2.0 */
/* What a token command writes: the token takes its place, nothing else of it stays. */
#include "weir/secret_token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct {
	const char *text, *token;
	uint32_t life_s;
} good[] = {
	{ "abc.def-ghi", "abc.def-ghi", 0 },
	{ "{\"access_token\":\"tok\\u0065n-13\",\"expires_in\":3599}", "token-13", 3599 },
	{ "{\"token\":\"token-22\",\"refresh_token\":\"another-1\",\"expires_in\":\"60\"}",
	  "token-22", 60 },
	{ "{\"token\":\"token-22\"}", "token-22", 300 },
};

static const char *const bad[] = {
	"", "a b\nc", "{", "{}", "{\"token\":\"t\",\"token\":\"u\"}", "{\"token\":\"t\",\"expires_in\":true}"
};

static struct buf text_of(char *storage, size_t size, const char *text)
{
	memset(storage, 0, size);
	snprintf(storage, size, "%s", text);
	return (struct buf){
		.data = (uint8_t *)storage, .size = size, .cap = size, .len = strlen(text)
	};
}

static void taken(void **state)
{
	char storage[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct buf b = text_of(storage, sizeof(storage), good[i].text);
		uint32_t life = 7;
		const char *why = "";

		assert_int_equal(secret_token_take(&b, &life, &why), 0);
		assert_int_equal(b.len, strlen(good[i].token));
		assert_memory_equal(buf_at(&b), good[i].token, b.len);
		assert_int_equal(life, good[i].life_s);
		/* In its place, and alone there. */
		assert_ptr_equal(buf_at(&b), storage);
		for (size_t at = b.len; at < sizeof(storage); at++)
			assert_int_equal(storage[at], 0);
	}
}

static void refused(void **state)
{
	char storage[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct buf b = text_of(storage, sizeof(storage), bad[i]);
		uint32_t life = 7;
		const char *why = NULL;

		assert_int_equal(secret_token_take(&b, &life, &why), -EBADMSG);
		assert_non_null(why);
		assert_int_equal(life, 7);
		assert_string_equal(storage, bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
