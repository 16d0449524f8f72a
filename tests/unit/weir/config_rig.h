/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests of `weir run`'s configuration share: a directory of their own with the files that
 * their tables name, and what is accepted or refused, each with the words of its error.
 */
#ifndef WEIR_CONFIG_RIG_H
#define WEIR_CONFIG_RIG_H

#include "weir/config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/weir-config-XXXXXX";

static inline void put(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

static inline int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(mkdir("d", 0700), 0);
	put("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	put("d/ca2.pem", "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n");
	assert_int_equal(symlink("value", "link"), 0);
	put("key.pem", "-----BEGIN PRIVATE KEY-----\n");
	put("value", "abcdefgh\n");
	put("a@b=c", "abcdefgh\n");
	put("p.json",
	    "{\"policy\": {\"rules\": [{\"action\": \"allow\", \"destination\": \"x.com\"}]}}");
	put("http.json", "{\"policy\": {\"rules\": [{\"action\": \"allow\", \"destination\": "
			 "\"x.com\", \"http\": {\"methods\": [\"GET\"]}}]}}");
	setenv("API_KEY", "never-shown-value", 1);
	setenv("OTHER", "never-shown-value", 1);
	unsetenv("UNSET_KEY");
	return 0;
}

static inline int teardown(void **state)
{
	static const char *const files[] = { "ca.pem", "d/ca2.pem", "key.pem", "value",	   "a@b=c",
					     "p.json", "http.json", "c.json",  "d/c.json", "link" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlink(files[i]);
	rmdir("d");
	assert_int_equal(chdir("/"), 0);
	rmdir(dir);
	return 0;
}

#define MAX_ARGS 24
#define PIN_HEX "sha256/0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
#define PIN "sha256/AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
#define ARGS(...)                                                                                  \
	{                                                                                          \
		__VA_ARGS__, "--", "true"                                                          \
	}

static inline int load(const char *const *args, struct weir_config **c, struct conf_error *err)
{
	/* The configuration points into it, as it does into main's. */
	static char *argv[MAX_ARGS + 1];
	int argc = 0;

	memset(argv, 0, sizeof(argv));
	for (; args[argc]; argc++) {
		assert_true(argc < MAX_ARGS);
		argv[argc] = (char *)(uintptr_t)args[argc];
	}
	err->text[0] = 0;
	return weir_config_load(CONFIG_RUN, argc, argv, c, err);
}

static inline struct weir_config *good(const char *const *args)
{
	struct weir_config *c = NULL;
	struct conf_error err;

	if (load(args, &c, &err) != 0)
		fail_msg("refused: %s", err.text);
	return c;
}

static inline void check_bad(const char *const *args, const char *want, const char *what)
{
	struct weir_config *const untouched = (struct weir_config *)(uintptr_t)dir;
	struct weir_config *c = untouched;
	struct conf_error err;
	int r = load(args, &c, &err);

	if (getenv("SHOW"))
		printf("%s\n", err.text);
	if (r >= 0)
		fail_msg("accepted: %s (%s)", what, want);
	if (!strstr(err.text, want))
		fail_msg("%s: no \"%s\" in \"%s\"", what, want, err.text);
	if (strstr(err.text, "never-shown-value"))
		fail_msg("a value is shown: %s", err.text);
	assert_ptr_equal(c, untouched);
}

#endif
