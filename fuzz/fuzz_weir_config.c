/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line and the configuration file. The first byte chooses: words
 * divided by NUL as argv, or the rest as the file. Nothing is started or
 * written by it; what is refused says why and leaves nothing behind.
 */
#include "weir/config.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define WORDS_MAX 16

static void load_for(enum config_command command, int argc, char **argv)
{
	struct weir_config *c = NULL;
	struct conf_error err = { "" };
	int r = weir_config_load(command, argc, argv, &c, &err);

	if (r < 0 && (c || (r != -ECANCELED && !err.text[0])))
		abort();
	if (r == 0 &&
	    (!c || !c->policy || (c->command ? !c->command[0] : !c->link.kind) || !c->n_tls_ports))
		abort();
	if (r == 0 && c->n_secrets && !c->tls_intercept)
		abort();
	for (const char *p = err.text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			abort();
	weir_config_free(c);
}

static void as_words(const uint8_t *p, size_t size)
{
	char *text = calloc(1, size + 1), *argv[WORDS_MAX + 1] = { 0 };
	size_t at = 0;
	int argc = 0;

	memcpy(text, p, size);
	while (at < size && argc < WORDS_MAX) {
		argv[argc++] = text + at;
		at += strlen(text + at) + 1;
	}
	/* Files of the machine are not the input's to open. */
	if (!memchr(text, '/', size)) {
		load_for(CONFIG_RUN, argc, argv);
		load_for(CONFIG_GATEWAY, argc, argv);
	}
	free(text);
}

static void as_file(const uint8_t *p, size_t size)
{
	char config[] = "--config", path[64], command[] = "true";
	char *argv[] = { config, path, command, NULL };
	int fd = memfd_create("config", MFD_CLOEXEC);

	if (fd < 0 || fd_write_all(fd, p, size) < 0)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!memmem(p, size, "file", 4) && !memmem(p, size, "upstream_ca", 11)) {
		load_for(CONFIG_RUN, 3, argv);
		load_for(CONFIG_GATEWAY, 2, argv);
	}
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	setenv("API_KEY", "value-value", 1);
	if (size && data[0] == 'w')
		as_words(data + 1, size - 1);
	else if (size)
		as_file(data + 1, size - 1);
	return 0;
}
