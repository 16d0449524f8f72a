/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment of a command in a machine, before placeholders and trust are added
 * (run_environment). Of weir's own only what tells about the terminal and the language: the
 * rest is about another machine, and nobody said that it may be known in there.
 */
#include "weir/vm.h"

extern char **environ;

static const char *const passed[] = { "TERM", "COLORTERM", "LANG", "LANGUAGE", "TZ", "NO_COLOR" };

static bool may_pass(const char *entry)
{
	size_t n = strcspn(entry, "=");

	for (size_t i = 0; i < ARRAY_SIZE(passed); i++)
		if (strlen(passed[i]) == n && memcmp(passed[i], entry, n) == 0)
			return true;
	return str_starts(entry, "LC_");
}

/* The last of a name wins. */
static void set(struct vm_args *a, const char *entry)
{
	size_t n = strcspn(entry, "=") + 1;

	for (size_t i = 0; i < a->n; i++)
		if (strncmp(a->v[i], entry, n) == 0) {
			char *copy = strdup(entry);

			if (!copy) {
				a->error = -ENOMEM;
				return;
			}
			free(a->v[i]);
			a->v[i] = copy;
			return;
		}
	vm_args_add(a, "%s", entry);
}

int vm_environment(const struct weir_config *cfg, const struct vm_parts *parts, struct vm_args *ret)
{
	struct vm_args a = { 0 };

	set(&a, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	for (char **e = environ; *e; e++)
		if (may_pass(*e))
			set(&a, *e);
	for (char **e = parts->root.config.env; e && *e; e++)
		if (strchr(*e, '='))
			set(&a, *e);
	for (size_t i = 0; i < cfg->machine.n_env; i++)
		set(&a, cfg->machine.env[i]);
	if (a.error) {
		vm_args_fini(&a);
		return -ENOMEM;
	}
	*ret = a;
	return 0;
}
