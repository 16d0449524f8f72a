/* SPDX-License-Identifier: Apache-2.0 */
/* What runs in a machine: the user's words and those of the image's configuration. */
#include "weir/vm.h"

static size_t count(char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

int vm_command(const struct weir_config *cfg, const struct image_config *image, char ***ret,
	       struct conf_error *err)
{
	const struct machine_config *m = &cfg->machine;
	char *own[] = { m->entrypoint && m->entrypoint[0] ? m->entrypoint : NULL, NULL };
	char *const *first = m->entrypoint ? own : image->entrypoint;
	/* Cmd are arguments to the image's own Entrypoint: to another one they mean nothing. */
	char *const *rest = cfg->command[0] ? cfg->command : m->entrypoint ? NULL : image->cmd;
	size_t n = count(first), more = count(rest);
	char **list;

	if (!n && !more) {
		conf_error_set(
			err, "the image has neither Entrypoint nor Cmd, so there is no command to "
			     "run: add one behind --");
		return -EINVAL;
	}
	list = calloc(n + more + 1, sizeof(*list));
	if (!list) {
		conf_error_set(err, "out of memory");
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++)
		list[i] = first[i];
	for (size_t i = 0; i < more; i++)
		list[n + i] = rest[i];
	if (!list[0][0]) {
		free(list);
		conf_error_set(err, "the image's command begins with an empty word: give another "
				    "with --entrypoint or behind --");
		return -EINVAL;
	}
	*ret = list;
	return 0;
}
