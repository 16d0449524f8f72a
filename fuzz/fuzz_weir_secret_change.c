/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of the secrets as they come over the control socket, a line each. What is
 * refused says why in plain text and changes nothing; what is taken is in force as a
 * whole: names stand once, and each secret has hosts.
 */
#include "weir/config_internal.h"
#include "weir/secret_change.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static struct weir_config *start(void)
{
	char line[] = "--secret", spec[] = "KEY@api.example.com", command[] = "true";
	char *argv[] = { line, spec, command, NULL };
	struct conf_error err = { "" };
	struct weir_config *c = NULL;

	must(weir_config_load(CONFIG_RUN, 3, argv, &c, &err) == 0);
	return c;
}

static void check(const struct weir_config *c)
{
	must(c->n_secrets <= CONFIG_SECRETS_MAX);
	for (size_t i = 0; i < c->n_secrets; i++) {
		must(c->secrets[i].env && c->secrets[i].env[0]);
		must(secret_index(c, c->secrets[i].env) == i);
		must(c->secrets[i].n_hosts > 0 && c->secrets[i].hosts);
	}
}

static void one(struct weir_config *c, const char *text, size_t len)
{
	struct conf_error err = { "" };
	struct secret_config *next = NULL;
	struct secret_change change = { 0 };
	size_t n = c->n_secrets, at;

	if (secret_change_parse(c, text, len, &change, &err) < 0) {
		must(err.text[0] && !change.def && !change.env && c->n_secrets == n);
		for (const char *p = err.text; *p; p++)
			must((unsigned char)*p >= 0x20 && *p != 0x7f);
		return;
	}
	must(change.env && change.op);
	must(secret_change_preview(c, &change, &next, &n, &at) == 0);
	must(at <= n);
	secret_change_apply(c, &change, next, n);
	secret_change_fini(&change);
	check(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weir_config *c;
	const char *p = (const char *)data, *end = p + size, *nl;

	if (size > 16384)
		return 0;
	setenv("KEY", "value-value", 1);
	c = start();
	for (; p < end; p = nl < end ? nl + 1 : end) {
		nl = memchr(p, '\n', (size_t)(end - p));
		nl = nl ? nl : end;
		one(c, p, (size_t)(nl - p));
	}
	weir_config_free(c);
	return 0;
}
