/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir-image: the library as a program. Archives and kernels may be anybody's, so weir has
 * them read by this process and not by one that holds a sandbox's secrets. One JSON object on
 * standard output; errors on standard error, status 1.
 *
 * Each command says what it has to read and where it keeps what it makes, gives up everything
 * else (confine.c), and only then looks at a byte of it. boot and root are apart for that: who takes
 * over the one that reads an archive cannot change the kernels of others.
 */
#include "image/confine.h"
#include "image/image.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>

static const char usage[] =
	"usage: weir-image [--store DIR] COMMAND [OPTIONS]\n"
	"  boot --agent FILE [--kernel FILE [--modules DIR]] [--pci] [--squashfs] [--erofs]\n"
	"        the kernel as ELF and the initial file system, from the store or made\n"
	"  root [--rootfs DIR|IMAGE | --image ARCHIVE [--reference NAME]] [--patch OP]... [--free "
	"SIZE]\n"
	"        a root file system, from the store or made; neither: the host's busybox\n"
	"  volume --source DIR|IMAGE --fd N [--free SIZE]\n"
	"        fills the empty file open as N with a copy of DIR; or says what file system\n"
	"        the IMAGE open as N holds\n"
	"  usage\n"
	"        what the store takes up\n"
	"  prune --keep SIZE\n"
	"        remove what was not used for the longest time (SIZE: 10GiB, ...)\n";

struct options {
	const char *store;
	struct image_boot_options boot;
	struct image_root_options root;
	struct image_patches patches;
	const char *keep, *source, *probe;
	int fd;
	struct confine confine;
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

/* With the folders of the store that this command writes to; what failed before is r. */
static int confine(struct options *o, const struct image_store *s, const char *const *folders, int r)
{
	const char *why = "too many files to read";

	for (; r == 0 && *folders; folders++)
		r = confine_keep(&o->confine, s, *folders);
	if (r == 0)
		r = confine_process(&o->confine, o->probe, &why);
	if (r == -ENOTSUP && o->confine.archive)
		fputs("weir-image: this kernel has no Landlock, and an archive is not read "
		      "without, because it could reach other files: unpack it yourself and "
		      "name the folder (--rootfs), or use a kernel of Linux 5.13 or newer that "
		      "has it (lsm=landlock)\n",
		      stderr);
	else if (r < 0)
		fprintf(stderr, "weir-image: cannot isolate itself: %s: %s\n", why, strerror(-r));
	else if (r > 0)
		fputs("weir-image: this kernel has no Landlock: what reads images and kernels "
		      "could reach other files\n",
		      stderr);
	return r < 0 ? r : 0;
}

static int cmd_boot(struct image_store *s, struct options *o)
{
	static const char *const folders[] = { "kernel", "boot", "lock", NULL };
	struct image_error err;
	struct image_boot b;
	int r;

	if (!o->boot.agent) {
		fputs("weir-image: boot needs --agent FILE\n", stderr);
		return 1;
	}
	if (confine(o, s, folders, confine_boot(&o->confine, &o->boot)) < 0)
		return 1;
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

/* What it takes to make a root, before nothing can be executed any more. */
static int prepare_root(struct options *o, struct buf *names)
{
	const char *source = o->root.rootfs ? o->root.rootfs : o->root.archive;
	int r = confine_read(&o->confine, source);

	if (r == 0)
		r = confine_patches(&o->confine, &o->patches);
	if (r == 0 && !source)
		r = confine_busybox(&o->confine);
	o->confine.folders |= o->root.rootfs != NULL;
	o->confine.archive = o->root.archive != NULL;
	/* Should there be no busybox, image_root_open() says so. */
	if (!source && image_busybox_names(names, NULL) == 0)
		o->root.busybox_names = names;
	return r;
}

static int cmd_root(struct image_store *s, struct options *o)
{
	struct buf names = BUF_INIT(IMAGE_BUSYBOX_NAMES_MAX);
	const struct image_config *c;
	struct image_error err;
	struct image_root root;
	const char *const folders[] = { o->root.archive ? "archive" : "root", "lock", "tmp", NULL };
	int r = prepare_root(o, &names);

	if (confine(o, s, folders, r) < 0)
		return 1;
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
	buf_fini(&names);
	return r;
}

static int cmd_volume(struct image_store *s, struct options *o)
{
	static const char *const nothing[] = { NULL };
	enum image_fs fs = IMAGE_EXT4;
	struct image_error err;
	struct stat st;
	bool folder;
	int r;

	if (!o->source || o->fd < 0) {
		fputs("weir-image: volume needs --source DIR|IMAGE and --fd N\n", stderr);
		return 1;
	}
	folder = stat(o->source, &st) == 0 && S_ISDIR(st.st_mode);
	o->confine.folders = folder;
	r = folder ? confine_read(&o->confine, o->source) : 0;
	if (confine(o, s, nothing, r) < 0)
		return 1;
	r = folder ? image_volume_fill(o->source, o->fd, o->root.free_bytes, &err)
		   : image_volume_probe(o->source, o->fd, &fs, &err);
	return r < 0 ? fail(&err) : print(json_pack("{s:s}", "fs", image_fs_name(fs)));
}

static int cmd_usage(struct image_store *s, struct options *o)
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

static int parse_fd(const char *text, int *ret)
{
	const char *why;
	uint64_t n;
	int r = uint_parse(text, strlen(text), 3, 65535, &n, &why);

	if (r < 0)
		fprintf(stderr, "weir-image: --fd %s: %s\n", text, why);
	else
		*ret = (int)n;
	return r;
}

static int cmd_prune(struct image_store *s, struct options *o)
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
	int (*run)(struct image_store *s, struct options *o);
} commands[] = {
	{ "boot", cmd_boot },	{ "root", cmd_root },	{ "volume", cmd_volume },
	{ "usage", cmd_usage }, { "prune", cmd_prune },
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
	OPT_SOURCE,
	OPT_FD,
	OPT_PROBE,
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
	{ "source", required_argument, NULL, OPT_SOURCE },
	{ "fd", required_argument, NULL, OPT_FD },
	{ "probe", required_argument, NULL, OPT_PROBE },
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
		case OPT_SOURCE:
			o->source = optarg;
			break;
		case OPT_FD:
			if (parse_fd(optarg, &o->fd) < 0)
				exit(1);
			break;
		case OPT_PROBE:
			o->probe = optarg;
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
	static struct options o = { .fd = -1 };
	struct image_store *s;
	struct image_error err;
	int r;

	if (parse(argc, argv, &o) < 0) {
		fputs(usage, stderr);
		return 1;
	}
	rights_close_others(&o.fd, o.fd >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!str_eq(argv[optind], commands[i].name))
			continue;
		if (image_store_open(o.store, &s, &err) < 0)
			return fail(&err);
		r = commands[i].run(s, &o);
		image_store_free(s);
		image_patches_fini(&o.patches);
		confine_fini(&o.confine);
		return r;
	}
	fprintf(stderr, "weir-image: there is no command \"%s\"\n%s", argv[optind], usage);
	return 1;
}
