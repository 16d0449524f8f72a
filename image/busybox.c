/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root file system when none is given: the host's busybox, its names as links to it, and the
 * few files and folders that programs expect. A busybox with libraries brings them along (the
 * loader and what it would load, found as the loader finds them), so that what the guest runs is
 * what the host has and keeps up to date.
 *
 * The host's programs are trusted; reading them still goes through the checked reader.
 */
#include "image/root.h"
#include "image/elf.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define PROGRAM_MAX (64 << 20)
#define LIBRARIES_MAX 64

/* ---- finding it ---- */

int busybox_find(struct busybox *ret, struct image_error *err)
{
	static const char *const places[] = { "/usr/bin/busybox", "/bin/busybox", "/usr/sbin/busybox",
					      "/sbin/busybox", "/usr/local/bin/busybox" };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		struct busybox b = { .fd = open(places[i], O_RDONLY | O_CLOEXEC) };

		if (b.fd < 0)
			continue;
		b.path = strdup(places[i]);
		if (b.path && fstat(b.fd, &b.st) == 0 && S_ISREG(b.st.st_mode)) {
			*ret = b;
			return 0;
		}
		busybox_fini(&b);
	}
	return image_fail(
		err, ENOENT,
		"no root file system was given and this machine has no busybox to make one "
		"of: sudo apt install busybox, or name one with --rootfs or --image");
}

void busybox_fini(struct busybox *b)
{
	fd_close(b->fd);
	free(b->path);
	*b = (struct busybox){ .fd = -1 };
}

/* ---- what it can do ---- */

/* What `busybox --list-full` prints: one path a line, "bin/ls". */
static int list_names(const char *path, struct buf *ret)
{
	char *argv[] = { "busybox", "--list-full", NULL };
	posix_spawn_file_actions_t fa;
	int out[2], r, status = 0;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	r = -posix_spawn_file_actions_init(&fa);
	if (r == 0)
		r = -posix_spawn_file_actions_adddup2(&fa, out[1], STDOUT_FILENO);
	if (r == 0)
		r = -posix_spawn(&pid, path, &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	fd_close(out[1]);
	if (r == 0) {
		r = fd_read_all(out[0], ret->cap, ret);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (r == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !ret->len))
			r = -ENOEXEC;
	}
	fd_close(out[0]);
	return r;
}

/* ---- making files ---- */

struct maker {
	struct tree *tree;
	struct image_error *err;
	int64_t mtime;
	unsigned n_libraries;
};

/* Takes i over, also when it fails. What is there already stays. */
static int put(struct maker *m, const char *path, struct tree_inode *i)
{
	struct tree_place place;
	struct tree_node *n;
	int r;

	if (!i)
		return image_fail(m->err, ENOMEM, "out of memory");
	i->mtime = m->mtime;
	r = tree_walk(m->tree, path, strlen(path), TREE_MAKE_DIRS, 0, &place);
	if (r == 0 && place.node) {
		tree_inode_free(i);
		return 0;
	}
	if (r == 0)
		r = tree_add(m->tree, place.dir, place.name, place.name_len, i, &n);
	if (r < 0) {
		tree_inode_free(i);
		return image_fail_sys(m->err, -r, "cannot make %s in the minimal root", path);
	}
	return 0;
}

static int put_dir(struct maker *m, const char *path, uint32_t mode)
{
	return put(m, path, tree_inode_new(S_IFDIR | mode));
}

static int put_bytes(struct maker *m, const char *path, uint32_t mode, const void *p, size_t len)
{
	struct tree_inode *i = tree_inode_new(S_IFREG | mode);

	if (i && tree_inode_set_bytes(i, p, len) < 0) {
		tree_inode_free(i);
		i = NULL;
	}
	return put(m, path, i);
}

static int put_link(struct maker *m, const char *path, const char *target)
{
	struct tree_inode *i = tree_inode_new(S_IFLNK | 0777);

	if (i && tree_inode_set_text(i, target, strlen(target)) < 0) {
		tree_inode_free(i);
		i = NULL;
	}
	return put(m, path, i);
}

/* ---- programs with their libraries ---- */

static int put_program(struct maker *m, const char *host, const char *path);

static int put_library(void *ctx, const char *name)
{
	static const char *const dirs[] = { "/lib/x86_64-linux-gnu",
					    "/usr/lib/x86_64-linux-gnu",
					    "/lib64",
					    "/usr/lib64",
					    "/lib",
					    "/usr/lib" };
	struct maker *m = ctx;
	char path[PATH_BYTES_MAX];

	if (strchr(name, '/') || strlen(name) > 255 || ++m->n_libraries > LIBRARIES_MAX)
		return image_fail(m->err, ENOEXEC, "a program of the minimal root needs \"%.60s\"",
				  name);
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", dirs[i], name);
		if (access(path, R_OK) == 0)
			return put_program(m, path, path);
	}
	return image_fail(m->err, ENOENT,
			  "the library %s of a program of the minimal root is not "
			  "on this machine",
			  name);
}

/* A copy of the host's file at path, and of what it needs, at the place where it has it. */
static int put_program(struct maker *m, const char *host, const char *path)
{
	struct buf b = BUF_INIT(PROGRAM_MAX);
	struct tree_place place;
	const char *interp, *search;
	struct elf elf;
	int r;

	if (tree_walk(m->tree, path, strlen(path), 0, 0, &place) == 0 && place.node)
		return 0;
	r = file_read(host, PROGRAM_MAX, &b);
	if (r < 0)
		r = image_fail_sys(m->err, -r, "cannot read %s", host);
	if (r == 0 && elf_open(buf_at(&b), b.len, &elf) < 0)
		r = image_fail(m->err, ENOEXEC, "%s is no program for x86-64", host);
	if (r == 0)
		r = put_bytes(m, path, 0755, buf_at(&b), b.len);
	/* In the tree before its libraries: two that need each other end. */
	if (r == 0 && elf_interp(&elf, &interp) == 0)
		r = put_program(m, interp, interp);
	if (r == 0 && elf_needed(&elf, put_library, m, &search) < 0)
		r = m->err && m->err->text[0] ? -ENOEXEC
					      : image_fail(m->err, ENOEXEC, "%s is damaged", host);
	buf_fini(&b);
	return r;
}

/* ---- the system ---- */

static const struct {
	const char *path;
	uint32_t mode;
} dirs[] = {
	{ "usr/bin", 0755 },	   { "usr/sbin", 0755 },
	{ "usr/lib", 0755 },	   { "usr/lib64", 0755 },
	{ "dev", 0755 },	   { "proc", 0555 },
	{ "sys", 0555 },	   { "run", 0755 },
	{ "tmp", 01777 },	   { "root", 0700 },
	{ "home", 0755 },	   { "mnt", 0755 },
	{ "etc", 0755 },	   { "opt", 0755 },
	{ "srv", 0755 },	   { "var/tmp", 01777 },
	{ "var/log", 0755 },	   { "var/lib", 0755 },
	{ "var/cache", 0755 },	   { "etc/ssl/certs", 0755 },
	{ "usr/local/bin", 0755 }, { "usr/share/udhcpc", 0755 },
};

static const struct {
	const char *path;
	const char *target;
} links[] = {
	/* One folder for programs, one for libraries, as distributions have them. */
	{ "bin", "usr/bin" },	  { "sbin", "usr/sbin" },  { "lib", "usr/lib" },
	{ "lib64", "usr/lib64" }, { "var/run", "../run" }, { "etc/mtab", "../proc/self/mounts" },
};

static const struct {
	const char *path;
	uint32_t mode;
	const char *text;
} files[] = {
	{ "etc/passwd", 0644,
	  "root:x:0:0:root:/root:/bin/sh\n"
	  "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
	  "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
	  "user:x:1000:1000:user:/home/user:/bin/sh\n" },
	{ "etc/group", 0644, "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\nuser:x:1000:\n" },
	{ "etc/shadow", 0600, "root:*:::::::\nuser:*:::::::\n" },
	{ "etc/hosts", 0644, "127.0.0.1 localhost\n::1 localhost ip6-localhost\n" },
	{ "etc/hostname", 0644, "weir\n" },
	{ "etc/resolv.conf", 0644, "" },
	{ "etc/nsswitch.conf", 0644,
	  "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n" },
	{ "etc/shells", 0644, "/bin/sh\n" },
	{ "etc/profile", 0644, "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin\n" },
	{ "etc/os-release", 0644,
	  "NAME=\"weir minimal\"\nID=weir-minimal\nPRETTY_NAME=\"weir's minimal root\"\n" },
};

static int put_system(struct maker *m)
{
	struct tree_inode *home;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(dirs); i++)
		r = put_dir(m, dirs[i].path, dirs[i].mode);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(links); i++)
		r = put_link(m, links[i].path, links[i].target);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++)
		r = put_bytes(m, files[i].path, files[i].mode, files[i].text, strlen(files[i].text));
	if (r < 0)
		return r;
	home = tree_inode_new(S_IFDIR | 0755);
	if (home)
		home->uid = home->gid = 1000;
	return put(m, "home/user", home);
}

/* The host's list of authorities: what the guest's TLS trusts beside the sandbox's own. */
static int put_authorities(struct maker *m)
{
	static const char bundle[] = "/etc/ssl/certs/ca-certificates.crt";
	struct buf b = BUF_INIT(8 << 20);
	int r = 0;

	if (file_read(bundle, b.cap, &b) == 0)
		r = put_bytes(m, bundle, 0644, buf_at(&b), b.len);
	buf_fini(&b);
	return r;
}

static int put_names(struct maker *m, const struct buf *names)
{
	const char *p = (const char *)buf_at(names);
	size_t left = names->len;
	int r = 0;

	while (r == 0 && left) {
		const char *nl = memchr(p, '\n', left);
		size_t len = nl ? (size_t)(nl - p) : left;
		char path[256];

		/* linuxrc is what an initial file system of long ago started. */
		if (len > 0 && len < sizeof(path) - 1 && !(len == 7 && memcmp(p, "linuxrc", 7) == 0)) {
			snprintf(path, sizeof(path), "%.*s", (int)len, p);
			/* A name that is a file already (busybox itself) stays. */
			r = put_link(m, path, "/usr/bin/busybox");
		}
		len += nl != NULL;
		p += len;
		left -= len;
	}
	return r;
}

int image_busybox_names(struct buf *ret, struct image_error *err)
{
	struct busybox b;
	int r = busybox_find(&b, err);

	if (r < 0)
		return r;
	r = list_names(b.path, ret);
	if (r < 0)
		r = image_fail_sys(err, -r, "cannot ask %s for its names", b.path);
	busybox_fini(&b);
	return r;
}

int busybox_tree(const struct busybox *b, const struct buf *given, struct tree *t,
		 struct image_error *err)
{
	struct maker m = { .tree = t, .err = err, .mtime = b->st.st_mtim.tv_sec };
	struct buf names = BUF_INIT(IMAGE_BUSYBOX_NAMES_MAX);
	int r;

	if (err)
		err->text[0] = '\0';
	t->root->inode->mtime = m.mtime;
	r = put_system(&m);
	if (r == 0)
		r = put_program(&m, b->path, "/usr/bin/busybox");
	if (r == 0)
		r = put_authorities(&m);
	if (r == 0 && !given)
		r = image_busybox_names(&names, err);
	if (r == 0)
		r = put_names(&m, given ? given : &names);
	buf_fini(&names);
	return r;
}
