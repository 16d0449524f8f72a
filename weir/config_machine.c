/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine of `weir run --backend kvm|qemu`, as flags and as the section
 * "machine" of a file: kernel, root file system, what is laid into it, size, and
 * as whom and where the command runs. The forms of volumes and of file operations are
 * image.h's. Lists are added to, other flags win over the file.
 */
#include "weir/config_internal.h"

#include <ctype.h>
#include <limits.h>
#include <sys/resource.h>

/* Less does not boot a stock kernel; more is more than machines have. */
#define MEMORY_MIN (UINT64_C(128) << 20)
#define MEMORY_MAX (UINT64_C(1) << 40)
#define MEMORY_DEFAULT (UINT64_C(1) << 30)
/* What weir's own monitor has interrupt lines and tables for. */
#define CPUS_MAX 8
/* Each is a disk, of which a machine has few. */
#define VOLUMES_MAX 8
#define PATCHES_MAX 1024
#define ENV_MAX 1024
/* Of 16 kinds; the last of one counts. */
#define RLIMITS_MAX 64

/* ---- flags of one value --------------------------------------------------------------- */

static int set_text(char **to, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

static int set_kernel(struct config_builder *b, const struct where *w, const char *text)
{
	(void)w;
	return set_text(&b->c->machine.kernel, text);
}

static int set_modules(struct config_builder *b, const struct where *w, const char *text)
{
	(void)w;
	return set_text(&b->c->machine.modules, text);
}

static int set_rootfs(struct config_builder *b, const struct where *w, const char *text)
{
	(void)w;
	return set_text(&b->c->machine.rootfs, text);
}

static int set_image(struct config_builder *b, const struct where *w, const char *text)
{
	(void)w;
	return set_text(&b->c->machine.image, text);
}

static int set_reference(struct config_builder *b, const struct where *w, const char *text)
{
	(void)w;
	return set_text(&b->c->machine.reference, text);
}

static int set_user(struct config_builder *b, const struct where *w, const char *text)
{
	(void)w;
	return set_text(&b->c->machine.user, text);
}

static int set_entrypoint(struct config_builder *b, const struct where *w, const char *text)
{
	(void)w;
	return set_text(&b->c->machine.entrypoint, text);
}

static int set_workdir(struct config_builder *b, const struct where *w, const char *text)
{
	if (text[0] != '/')
		return where_fail(w, b->err, "a folder of the machine, so an absolute path");
	return set_text(&b->c->machine.workdir, text);
}

static int set_memory(struct config_builder *b, const struct where *w, const char *text)
{
	uint64_t n;
	const char *why;

	if (size_parse(text, strlen(text), &n, &why) < 0)
		return where_fail(w, b->err, "%s; as 512MiB or 2GiB", why);
	if (n < MEMORY_MIN || n > MEMORY_MAX)
		return where_fail(w, b->err, "a machine has from 128MiB to 1TiB");
	b->c->machine.memory = n;
	return 0;
}

static int set_cpus(struct config_builder *b, const struct where *w, const char *text)
{
	uint64_t n;
	const char *why;

	if (uint_parse(text, strlen(text), 1, CPUS_MAX, &n, &why) < 0)
		return where_fail(w, b->err, "%s; from 1 to %d", why, CPUS_MAX);
	b->c->machine.cpus = (uint32_t)n;
	return 0;
}

/* ---- lists ------------------------------------------------------------------------------ */

/* What image/ says of a text, at the place where it stands. */
static int image_failed(struct config_builder *b, const struct where *w, int r,
			const struct image_error *e)
{
	if (r == -ENOMEM)
		return r;
	return where_fail(w, b->err, "%s", e->text[0] ? e->text : strerror(-r));
}

/* A relative path of the file starts at the file's folder. */
static int from_dir(const struct config_builder *b, const struct where *w, char **path)
{
	char *full = NULL;
	int r;

	if (w->flag || !*path || (*path)[0] == '/')
		return 0;
	r = config_from_dir(b, *path, &full);
	if (r < 0)
		return r;
	free(*path);
	*path = full;
	return 0;
}

static int add_volume(struct config_builder *b, const struct where *w, const char *text)
{
	struct machine_config *m = &b->c->machine;
	struct image_error e = { { 0 } };
	struct image_volume *v;
	int r;

	if (m->n_volumes == VOLUMES_MAX)
		return where_fail(w, b->err, "more than %d of them", VOLUMES_MAX);
	v = config_push(&m->volumes, &m->n_volumes, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->fd = -1;
	r = image_volume_parse(text, v, &e);
	if (r < 0) {
		m->n_volumes--;
		return image_failed(b, w, r, &e);
	}
	return from_dir(b, w, &v->source);
}

static int patches_added(struct config_builder *b, const struct where *w, size_t from)
{
	struct image_patches *p = &b->c->machine.patches;
	int r = 0;

	if (p->n > PATCHES_MAX)
		return where_fail(w, b->err, "more than %d operations", PATCHES_MAX);
	for (size_t i = from; r == 0 && i < p->n; i++)
		r = from_dir(b, w, &p->list[i].source);
	return r;
}

static int add_patch(struct config_builder *b, const struct where *w, const char *text)
{
	struct image_patches *p = &b->c->machine.patches;
	struct image_error e = { { 0 } };
	size_t from = p->n;
	int r = image_patch_parse(text, p, &e);

	return r < 0 ? image_failed(b, w, r, &e) : patches_added(b, w, from);
}

/* NAME=VALUE, or NAME alone: as it is in weir's own environment. */
static int add_env(struct config_builder *b, const struct where *w, const char *text)
{
	struct machine_config *m = &b->c->machine;
	size_t n = strcspn(text, "=");
	const char *own;
	char **slot;

	if (!n || isdigit((unsigned char)text[0]))
		return where_fail(w, b->err, "write NAME=VALUE, or NAME to pass weir's own on");
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)text[i]) && text[i] != '_')
			return where_fail(w, b->err, "a name is letters, digits and '_'");
	if (m->n_env == ENV_MAX)
		return where_fail(w, b->err, "more than %d of them", ENV_MAX);
	own = text[n] ? NULL : getenv(text);
	if (!text[n] && !own)
		return where_fail(w, b->err, "weir itself was started without this variable");
	slot = config_push(&m->env, &m->n_env, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	if (own)
		return asprintf(slot, "%s=%s", text, own) < 0 ? (*slot = NULL, -ENOMEM) : 0;
	*slot = strdup(text);
	return *slot ? 0 : -ENOMEM;
}

/* What a name server would call it, in one text: labels of letters, digits and hyphens (RFC 1123). */
static bool hostname_ok(const char *text)
{
	size_t label = 0, n = strlen(text);

	for (size_t i = 0; i < n; i++) {
		bool edge = !label || !text[i + 1] || text[i + 1] == '.';

		if (text[i] == '.' && !label)
			return false;
		if (text[i] != '.' && !isalnum((unsigned char)text[i]) && (text[i] != '-' || edge))
			return false;
		label = text[i] == '.' ? 0 : label + 1;
	}
	return label && n <= HOST_NAME_MAX;
}

static int set_hostname(struct config_builder *b, const struct where *w, const char *text)
{
	if (!hostname_ok(text))
		return where_fail(w, b->err,
				  "a host name is letters, digits, '-' and '.', up to %d of them",
				  HOST_NAME_MAX);
	return set_text(&b->c->machine.hostname, text);
}

static int add_rlimit(struct config_builder *b, const struct where *w, const char *text)
{
	struct machine_config *m = &b->c->machine;
	const char *why = "";
	struct rlimit r;
	char **slot;
	int which;

	if (rlimit_parse(text, &which, &r, &why) < 0)
		return where_fail(w, b->err, "%s", why);
	if (m->n_rlimits == RLIMITS_MAX)
		return where_fail(w, b->err, "more than %d of them", RLIMITS_MAX);
	slot = config_push(&m->rlimits, &m->n_rlimits, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = strdup(text);
	return *slot ? 0 : -ENOMEM;
}

/* ---- which flag, which key ----------------------------------------------------------------- */

enum { LIST = 1, PATH = 2, EMPTY = 4, ANY = 8 };

static const struct item {
	enum option option;
	const char *key;
	int (*set)(struct config_builder *b, const struct where *w, const char *text);
	unsigned how; /* LIST, PATH, EMPTY: may be "", ANY: not of a microVM only */
} items[] = {
	{ OPTION_KERNEL, "kernel", set_kernel, PATH },
	{ OPTION_MODULES, "modules", set_modules, PATH },
	{ OPTION_ROOTFS, "rootfs", set_rootfs, PATH },
	{ OPTION_IMAGE, "image", set_image, PATH },
	{ OPTION_IMAGE_NAME, "image_name", set_reference, 0 },
	{ OPTION_ENTRYPOINT, "entrypoint", set_entrypoint, EMPTY },
	{ OPTION_MEMORY, "memory", set_memory, 0 },
	{ OPTION_CPUS, "cpus", set_cpus, 0 },
	{ OPTION_USER, "user", set_user, 0 },
	{ OPTION_WORKDIR, "workdir", set_workdir, 0 },
	{ OPTION_VOLUME, "volumes", add_volume, LIST },
	{ OPTION_PATCH, "patches", add_patch, LIST },
	{ OPTION_ENV, "env", add_env, LIST },
	{ OPTION_HOSTNAME, "hostname", set_hostname, ANY },
	{ OPTION_RLIMIT, "rlimits", add_rlimit, LIST | ANY },
};

int config_machine_flags(struct config_builder *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(items); i++)
		for (size_t k = 0; k < b->o.of[items[i].option].n; k++) {
			struct where w = {
				.flag = option_name(items[i].option),
				/* A variable's value could be worth hiding. */
				.value = items[i].option == OPTION_ENV
						 ? NULL
						 : b->o.of[items[i].option].v[k],
			};
			int r = items[i].set(b, &w, b->o.of[items[i].option].v[k]);

			if (r < 0)
				return r;
		}
	return 0;
}

/* A text of the file; what a flag said is not overwritten, but checked. */
static int read_text(struct config_builder *b, const struct conf *c, const struct item *i)
{
	cleanup_free char *full = NULL;
	struct where w = { .conf = c };
	const char *text = NULL;
	int r = conf_str(c, &text, b->err);

	if (r < 0 || !text)
		return r;
	if (!text[0] && !(i->how & EMPTY))
		return conf_fail(c, b->err, "an empty text");
	if (option_value(&b->o, i->option))
		return 0;
	if (!(i->how & PATH))
		return i->set(b, &w, text);
	r = config_from_dir(b, text, &full);
	return r < 0 ? r : i->set(b, &w, full);
}

static int read_cpus(struct config_builder *b, const struct conf *c)
{
	uint64_t n = b->c->machine.cpus;
	int r = conf_uint(c, 1, CPUS_MAX, &n, b->err);

	if (r == 0 && !option_value(&b->o, OPTION_CPUS))
		b->c->machine.cpus = (uint32_t)n;
	return r;
}

/* Objects are operations as image.h has them in JSON, texts as on the command line. */
static int read_patches(struct config_builder *b, const struct conf *list)
{
	struct image_patches *p = &b->c->machine.patches;
	int r = 0;

	if (list->v && !json_is_array(list->v))
		return conf_fail(list, b->err, "expected a list: [...]");
	for (size_t i = 0; r == 0 && i < json_array_size(list->v); i++) {
		struct conf e = conf_element(list, i);
		struct where w = { .conf = &e };
		struct image_error why = { { 0 } };
		size_t from = p->n;
		char *json = NULL;

		if (json_is_string(e.v)) {
			r = add_patch(b, &w, json_string_value(e.v));
			continue;
		}
		/* image.h reads a list of them. */
		if (json_is_object(e.v)) {
			json_t *one = json_pack("[O]", e.v);

			json = json_dumps(one, JSON_COMPACT);
			json_decref(one);
		}
		if (!json)
			return conf_fail(&e, b->err, "expected an object or a text: \"mkdir:/x\"");
		r = image_patch_parse_json(json, strlen(json), "an operation", p, &why);
		free(json);
		r = r < 0 ? image_failed(b, &w, r, &why) : patches_added(b, &w, from);
	}
	return r;
}

int config_read_machine(struct config_builder *b, const struct conf *c)
{
	const char *keys[ARRAY_SIZE(items) + 1];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(items); i++)
		keys[i] = items[i].key;
	keys[ARRAY_SIZE(items)] = "backend";
	r = conf_only_keys(c, keys, ARRAY_SIZE(keys), b->err);
	if (r == 0 && b->command != CONFIG_RUN)
		return conf_fail(c, b->err, "a section of weir run, not of weir gateway");
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(items); i++) {
		struct conf m = conf_member(c, items[i].key);

		if (items[i].option == OPTION_CPUS)
			r = read_cpus(b, &m);
		else if (items[i].option == OPTION_PATCH)
			r = read_patches(b, &m);
		else if (items[i].how & LIST)
			r = config_add_each(b, &m, items[i].set);
		else
			r = read_text(b, &m, &items[i]);
	}
	if (r == 0) {
		struct conf m = conf_member(c, "backend");
		struct where w = { .conf = &m };
		const char *text = NULL;

		r = conf_str(&m, &text, b->err);
		if (r == 0 && text && !option_value(&b->o, OPTION_BACKEND))
			r = config_set_backend(b, &w, text);
	}
	return r;
}

/* ---- the whole --------------------------------------------------------------------------- */

int config_check_machine(struct config_builder *b)
{
	struct weir_config *c = b->c;

	if (c->machine.rootfs && c->machine.image) {
		conf_error_set(b->err, "--rootfs contradicts --image: give one of them");
		return -EINVAL;
	}
	if (c->machine.reference && !c->machine.image) {
		conf_error_set(b->err, "--image-name: of which archive? add --image FILE");
		return -EINVAL;
	}
	for (size_t i = 0; c->backend == BACKEND_NETNS && i < ARRAY_SIZE(items); i++)
		if (b->o.of[items[i].option].n && !(items[i].how & ANY)) {
			conf_error_set(b->err,
				       "%s: of a microVM, and --backend netns has this machine's "
				       "kernel, files and environment; use --backend qemu or kvm",
				       option_name(items[i].option));
			return -EINVAL;
		}
	if (c->command && !c->command[0] && !c->machine.image &&
	    !(c->machine.entrypoint && c->machine.entrypoint[0]))
		return options_no_command(b->err);
	if (!c->machine.memory)
		c->machine.memory = MEMORY_DEFAULT;
	return 0;
}

void config_machine_fini(struct machine_config *m)
{
	free(m->kernel);
	free(m->modules);
	free(m->rootfs);
	free(m->image);
	free(m->reference);
	free(m->user);
	free(m->workdir);
	free(m->entrypoint);
	for (size_t i = 0; i < m->n_volumes; i++)
		image_volume_fini(&m->volumes[i]);
	free(m->volumes);
	for (size_t i = 0; i < m->n_env; i++)
		free(m->env[i]);
	free(m->env);
	free(m->hostname);
	for (size_t i = 0; i < m->n_rlimits; i++)
		free(m->rlimits[i]);
	free(m->rlimits);
	image_patches_fini(&m->patches);
}
