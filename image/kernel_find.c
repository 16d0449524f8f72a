/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which kernel. A file that is named is taken, with the modules that are named, those of
 * /lib/modules/RELEASE, or those beside it (the tree of an unpacked package). Else the newest
 * /boot/vmlinuz-RELEASE that can be read and has its modules: what the distribution keeps current.
 */
#include "image/kernel.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* Enough of a bzImage for its header and release. */
#define HEAD_BYTES (64 << 10)

void kernel_place_fini(struct kernel_place *p)
{
	free(p->image);
	free(p->modules);
	*p = (struct kernel_place){ 0 };
}

static bool is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The first of these that is a folder of modules. */
static int first_folder(char *const *paths, size_t n, char **ret)
{
	for (size_t i = 0; i < n; i++)
		if (paths[i] && is_folder(paths[i])) {
			*ret = strdup(paths[i]);
			return *ret ? 0 : -ENOMEM;
		}
	return -ENOENT;
}

static char *join(const char *a, const char *b, const char *c)
{
	char *s;

	return asprintf(&s, "%s%s%s", a, b, c) < 0 ? NULL : s;
}

static int release_of_file(const char *path, char ret[static RELEASE_MAX])
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free uint8_t *head = malloc(HEAD_BYTES);
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (!head)
		return -ENOMEM;
	n = pread(fd, head, HEAD_BYTES, 0);
	if (n < 0)
		return -errno;
	kernel_release(head, (size_t)n, ret);
	return 0;
}

/* --modules DIR: DIR itself, or what holds it. */
static int named_modules(const char *dir, const char *release, char **ret, struct image_error *err)
{
	char *paths[3] = { 0 };
	int r = -ENOENT;

	if (!is_folder(dir))
		return image_fail(err, ENOENT, "%s is no folder of modules", dir);
	if (release[0]) {
		paths[0] = join(dir, "/lib/modules/", release);
		paths[1] = join(dir, "/", release);
	}
	paths[2] = strdup(dir);
	r = first_folder(paths, ARRAY_SIZE(paths), ret);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		free(paths[i]);
	return r < 0 ? image_fail_sys(err, -r, "modules %s", dir) : 0;
}

/* Modules of a kernel that was named without them; none is fine. */
static int modules_beside(const char *root, const char *image, const char *release, char **ret)
{
	char real[PATH_MAX], *slash, *paths[3] = { 0 };
	int r;

	if (!release[0])
		return -ENOENT;
	if (realpath(image, real)) {
		/* X/boot/vmlinuz goes with X/lib/modules. */
		slash = strrchr(real, '/');
		*slash = '\0';
		paths[0] = join(real, "/../lib/modules/", release);
		paths[1] = join(real, "/../usr/lib/modules/", release);
	}
	paths[2] = join(root, "/lib/modules/", release);
	r = first_folder(paths, ARRAY_SIZE(paths), ret);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		free(paths[i]);
	return r;
}

static int find_named(const char *root, const char *image, const char *modules,
		      struct kernel_place *ret, struct image_error *err)
{
	struct kernel_place p = { 0 };
	char release[RELEASE_MAX];
	int r = release_of_file(image, release);

	if (r < 0)
		return image_fail_sys(err, -r, "cannot read the kernel %s", image);
	p.image = strdup(image);
	if (!p.image)
		return image_fail(err, ENOMEM, "out of memory");
	r = modules ? named_modules(modules, release, &p.modules, err)
		    : modules_beside(root, image, release, &p.modules);
	if (r < 0 && (modules || r != -ENOENT)) {
		kernel_place_fini(&p);
		return r;
	}
	*ret = p;
	return 0;
}

/* What was found in /boot: the best so far, and one that is only missing something. */
struct candidates {
	const char *root;
	char *best;	  /* release */
	char *unreadable; /* file */
	char *no_modules; /* release */
};

static int replace(char **s, const char *with)
{
	char *copy = strdup(with);

	if (!copy)
		return -ENOMEM;
	free(*s);
	*s = copy;
	return 0;
}

static int consider(struct candidates *c, const char *release)
{
	cleanup_free char *image = join(c->root, "/boot/vmlinuz-", release);
	cleanup_free char *modules = join(c->root, "/lib/modules/", release);

	if (!image || !modules)
		return -ENOMEM;
	if (access(image, R_OK) < 0)
		return errno == EACCES ? replace(&c->unreadable, image) : 0;
	if (!is_folder(modules))
		return replace(&c->no_modules, release);
	/* 6.1.0-9 is before 6.1.0-56. */
	if (!c->best || strverscmp(release, c->best) > 0)
		return replace(&c->best, release);
	return 0;
}

static int find_newest(const char *root, struct kernel_place *ret, struct image_error *err)
{
	static const char install[] = "sudo apt install linux-image-cloud-amd64, or name one "
				      "with --kernel FILE --modules DIR";
	struct candidates c = { .root = root };
	cleanup_free char *boot = join(root, "/boot", "");
	struct dirent *e;
	DIR *d = boot ? opendir(boot) : NULL;
	int r = 0;

	while (d && r == 0 && (e = readdir(d)))
		if (str_starts(e->d_name, "vmlinuz-"))
			r = consider(&c, e->d_name + strlen("vmlinuz-"));
	if (d)
		closedir(d);
	if (r == 0 && c.best) {
		ret->image = join(root, "/boot/vmlinuz-", c.best);
		ret->modules = join(root, "/lib/modules/", c.best);
		if (!ret->image || !ret->modules) {
			kernel_place_fini(ret);
			r = -ENOMEM;
		}
	} else if (r == 0 && c.unreadable) {
		r = image_fail(err, EACCES,
			       "the kernel %s is for root to read only: make a copy with sudo "
			       "install -m 644 %s FILE and name it with --kernel FILE",
			       c.unreadable, c.unreadable);
	} else if (r == 0 && c.no_modules) {
		r = image_fail(
			err, ENOENT,
			"the kernel %s/boot/vmlinuz-%s has no modules in %s/lib/modules/%s: %s",
			root, c.no_modules, root, c.no_modules, install);
	} else if (r == 0) {
		r = image_fail(err, ENOENT, "there is no kernel in %s/boot for the microVM: %s",
			       root, install);
	}
	if (r == -ENOMEM)
		image_fail(err, ENOMEM, "out of memory");
	free(c.best);
	free(c.unreadable);
	free(c.no_modules);
	return r;
}

int kernel_find(const char *root, const char *image, const char *modules, struct kernel_place *ret,
		struct image_error *err)
{
	struct kernel_place p = { 0 };
	int r;

	if (image)
		r = find_named(root, image, modules, &p, err);
	else if (modules)
		r = image_fail(err, EINVAL,
			       "modules %s are given without their kernel: add --kernel", modules);
	else
		r = find_newest(root, &p, err);
	if (r == 0)
		*ret = p;
	return r;
}
