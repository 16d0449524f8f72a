/* SPDX-License-Identifier: Apache-2.0 */
/* What runs in a machine; which texts of weir-image's reach a terminal. */
#include "weir/vm.h"
#include "weir/vm_image_call.h"

#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

#define LIST(...) ((char *[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

static const struct {
	char *option; /* --entrypoint */
	char **command, **entrypoint, **cmd;
	const char *want; /* words with a '|' between; NULL: an error */
} cases[] = {
	{ NULL, LIST("a", "b"), LIST(), LIST(), "a|b" },
	{ NULL, LIST(), LIST("e", "1"), LIST("c"), "e|1|c" },
	{ NULL, LIST(), LIST(), LIST("c", "2"), "c|2" },
	{ NULL, LIST(), LIST("e"), LIST(), "e" },
	{ NULL, LIST("a"), LIST("e"), LIST("c"), "e|a" },
	{ "x", LIST(), LIST("e"), LIST("c"), "x" },
	{ "x", LIST("a"), LIST("e"), LIST("c"), "x|a" },
	{ "", LIST("a"), LIST("e"), LIST("c"), "a" },
	{ "", LIST(), LIST("e"), LIST("c"), NULL },
	{ NULL, LIST(), LIST(), LIST(), NULL },
	{ NULL, LIST("a"), LIST(""), LIST(), NULL },
};

/* V26: the image's and the user's, as container engines do. */
static void v26_put_together(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct weir_config cfg = { .command = cases[i].command,
					   .machine.entrypoint = cases[i].option };
		struct image_config image = { .entrypoint = cases[i].entrypoint, .cmd = cases[i].cmd };
		struct buf text = BUF_INIT(256);
		struct conf_error err;
		char **list = NULL;
		int r = vm_command(&cfg, &image, &list, &err);

		if (!cases[i].want) {
			assert_int_equal(r, -EINVAL);
			assert_non_null(strstr(err.text, "command"));
			continue;
		}
		assert_int_equal(r, 0);
		for (size_t k = 0; list[k]; k++)
			assert_int_equal(buf_printf(&text, "%s%s", k ? "|" : "", list[k]), 0);
		assert_string_equal(buf_str(&text), cases[i].want);
		buf_fini(&text);
		free(list);
	}
}

static void test_clean(void **state)
{
	static const struct {
		const char *text, *want;
	} texts[] = {
		{ "plain /path: no such file", "plain /path: no such file" },
		{ "\x1b[2Jgone\r\n\t", "?[2Jgone???" },
		{ "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7",
		  "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7" },
		/* CSI in one character, as Latin-1 and as UTF-8; cut off; too long; a surrogate; backwards. */
		{ "\x9b"
		  "2J",
		  "?2J" },
		{ "\xc2\x9b"
		  "2J",
		  "??2J" },
		{ "\xe2\x82", "??" },
		{ "\xc0\xaf\xe0\x80\xaf", "?????" },
		{ "\xed\xa0\x80", "???" },
		{ "\xe2\x80\xae"
		  "cba",
		  "???cba" },
		{ "\xf5\x80\x80\x80\x7f", "?????" },
	};
	char line[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		snprintf(line, sizeof(line), "%s", texts[i].text);
		vm_image_clean(line);
		assert_string_equal(line, texts[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v26_put_together),
		cmocka_unit_test(test_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
