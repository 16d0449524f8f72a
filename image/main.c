/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir-image: the library as a program. Archives and kernels may be anybody's, so weir has
 * them read by this process and not by one that holds a sandbox's secrets. One JSON object on
 * standard output; errors on standard error, status 1.
 */
#include "image/image.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>

static const char usage[] =
	"usage: weir-image [--store DIR] COMMAND [OPTIONS]\n"
	"  boot --agent FILE [--kernel FILE [--modules DIR]] [--pci] [--squashfs] [--erofs]\n"
	"        the kernel as ELF and the initial file system, from the store or made\n"
	"  root [--rootfs DIR|IMAGE | --image ARCHIVE [--reference NAME]] [--patch OP]... [--free "
	"SIZE]\n"
	"        a root file system, from the store or made; neither: the host's busybox\n"
	"  usage\n"
	"        what the store takes up\n"
	"  prune --keep SIZE\n"
	"        remove what was not used for the longest time (SIZE: 10GiB, ...)\n";

struct options {
	const char *store;
	struct image_boot_options boot;
	struct image_root_options root;
	struct image_patches patches;
	const char *keep;
};

static int fail(const struct image_error *err)
{
	fprintf(stderr, "weir-image: %s\n", err->text);
	return 1;
}

static int print(json_t *object)
{
	int r = object ? json_dumpf(object, stdout, JSON_INDENT(2)) : -1;

	if (r == 0)
		r = puts("") < 0 ? -1 : fflush(stdout);
	json_decref(object);
	return r < 0 ? 1 : 0;
}

static int cmd_boot(struct image_store *s, const struct options *o)
{
	struct image_error err;
	struct image_boot b;
	int r;

	if (!o->boot.agent) {
		fputs("weir-image: boot needs --agent FILE\n", stderr);
		return 1;
	}
	if (image_boot_open(s, &o->boot, &b, &err) < 0)
		return fail(&err);
	r = print(json_pack("{s:s, s:s, s:s, s:s, s:b}", "kernel", b.kernel_path, "initrd",
			    b.initrd_path, "source", b.source_path, "release", b.release, "pvh",
			    b.pvh));
	image_boot_fini(&b);
	return r;
}

static json_t *strings(char *const *list)
{
	json_t *array = json_array();

	for (; array && *list; list++)
		if (json_array_append_new(array, json_string(*list)) < 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static int cmd_root(struct image_store *s, const struct options *o)
{
	const struct image_config *c;
	struct image_error err;
	struct image_root root;
	int r;

	if (image_root_open(s, &o->root, &root, &err) < 0)
		return fail(&err);
	c = &root.config;
	r = print(json_pack("{s:s, s:s, s:I, s:b, s:o, s:{s:o, s:o, s:o, s:s, s:s, s:s}}", "path",
			    root.path, "fs", image_fs_name(root.fs), "size", (json_int_t)root.size,
			    "reused", root.reused, "notes", strings(root.notes), "config", "env",
			    strings(c->env), "entrypoint", strings(c->entrypoint), "cmd",
			    strings(c->cmd), "working_dir", c->working_dir, "user", c->user,
			    "stop_signal", c->stop_signal));
	image_root_fini(&root);
	return r;
}

static int cmd_usage(struct image_store *s, const struct options *o)
{
	uint64_t bytes;
	size_t files;
	int r = image_store_usage(s, &bytes, &files);

	(void)o;
	if (r < 0) {
		fprintf(stderr, "weir-image: cannot read %s: %s\n", image_store_dir(s), strerror(-r));
		return 1;
	}
	return print(json_pack("{s:s, s:I, s:I}", "store", image_store_dir(s), "bytes",
			       (json_int_t)bytes, "files", (json_int_t)files));
}

static int parse_size(const char *option, const char *text, uint64_t *ret)
{
	const char *why;
	int r = size_parse(text, strlen(text), ret, &why);

	if (r < 0)
		fprintf(stderr, "weir-image: %s %s: %s\n", option, text, why);
	return r;
}

static int cmd_prune(struct image_store *s, const struct options *o)
{
	struct image_error err;
	uint64_t keep = 0, freed;

	if (o->keep && !str_eq(o->keep, "0") && parse_size("--keep", o->keep, &keep) < 0)
		return 1;
	if (image_store_prune(s, keep, &freed, &err) < 0)
		return fail(&err);
	return print(json_pack("{s:I}", "freed", (json_int_t)freed));
}

static const struct {
	const char *name;
	int (*run)(struct image_store *s, const struct options *o);
} commands[] = {
	{ "boot", cmd_boot },
	{ "root", cmd_root },
	{ "usage", cmd_usage },
	{ "prune", cmd_prune },
};

enum {
	OPT_STORE = 1,
	OPT_AGENT,
	OPT_KERNEL,
	OPT_MODULES,
	OPT_PCI,
	OPT_SQUASHFS,
	OPT_EROFS,
	OPT_KEEP,
	OPT_ROOTFS,
	OPT_IMAGE,
	OPT_REFERENCE,
	OPT_PATCH,
	OPT_FREE,
	OPT_HELP,
};

static const struct option long_options[] = {
	{ "store", required_argument, NULL, OPT_STORE },
	{ "agent", required_argument, NULL, OPT_AGENT },
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "modules", required_argument, NULL, OPT_MODULES },
	{ "pci", no_argument, NULL, OPT_PCI },
	{ "squashfs", no_argument, NULL, OPT_SQUASHFS },
	{ "erofs", no_argument, NULL, OPT_EROFS },
	{ "keep", required_argument, NULL, OPT_KEEP },
	{ "rootfs", required_argument, NULL, OPT_ROOTFS },
	{ "image", required_argument, NULL, OPT_IMAGE },
	{ "reference", required_argument, NULL, OPT_REFERENCE },
	{ "patch", required_argument, NULL, OPT_PATCH },
	{ "free", required_argument, NULL, OPT_FREE },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

static int parse(int argc, char **argv, struct options *o)
{
	struct image_error err;
	int c;

	o->root.patches = &o->patches;
	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case OPT_STORE:
			o->store = optarg;
			break;
		case OPT_AGENT:
			o->boot.agent = optarg;
			break;
		case OPT_KERNEL:
			o->boot.kernel = optarg;
			break;
		case OPT_MODULES:
			o->boot.modules = optarg;
			break;
		case OPT_PCI:
			o->boot.needs |= IMAGE_NEED_PCI;
			break;
		case OPT_SQUASHFS:
			o->boot.needs |= IMAGE_NEED_SQUASHFS;
			break;
		case OPT_EROFS:
			o->boot.needs |= IMAGE_NEED_EROFS;
			break;
		case OPT_KEEP:
			o->keep = optarg;
			break;
		case OPT_ROOTFS:
			o->root.rootfs = optarg;
			break;
		case OPT_IMAGE:
			o->root.archive = optarg;
			break;
		case OPT_REFERENCE:
			o->root.reference = optarg;
			break;
		case OPT_PATCH:
			if (image_patch_parse(optarg, &o->patches, &err) < 0)
				exit(fail(&err));
			break;
		case OPT_FREE:
			if (parse_size("--free", optarg, &o->root.free_bytes) < 0)
				exit(1);
			break;
		case OPT_HELP:
			fputs(usage, stdout);
			exit(0);
		default:
			return -EINVAL;
		}
	}
	return argc - optind == 1 ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	static struct options o;
	struct image_store *s;
	struct image_error err;
	int r;

	if (parse(argc, argv, &o) < 0) {
		fputs(usage, stderr);
		return 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!str_eq(argv[optind], commands[i].name))
			continue;
		if (image_store_open(o.store, &s, &err) < 0)
			return fail(&err);
		r = commands[i].run(s, &o);
		image_store_free(s);
		image_patches_fini(&o.patches);
		return r;
	}
	fprintf(stderr, "weir-image: there is no command \"%s\"\n%s", argv[optind], usage);
	return 1;
}
