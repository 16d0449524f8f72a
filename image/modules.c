/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modules of one kernel. What a module needs is read from the module itself (.modinfo,
 * depends=), not from modules.dep: a package that was only unpacked has none. What is not a
 * file but in modules.builtin is in the kernel.
 *
 * The folder is the distribution's or the user's; still nothing of it is followed out of it (no
 * symbolic links), and depth, number and sizes have limits.
 */
#include "image/kernel.h"
#include "image/elf.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define DEPTH_MAX 16
#define NAME_MAX_BYTES 64

struct module_file {
	char name[NAME_MAX_BYTES];
	char *path; /* below the folder */
	struct stat st;
};

struct module_index {
	char *dir;
	int fd;
	struct module_file *files; /* by name */
	size_t n, size;
	struct buf builtin; /* modules.builtin: one path a line */
	bool has_builtin;
};

/* "kernel/net/foo-bar.ko.xz" is foo_bar. False: not a module's file name. */
static bool module_name(const char *path, size_t len, char ret[static NAME_MAX_BYTES])
{
	const char *slash = memrchr(path, '/', len), *dot;
	size_t n;

	if (slash) {
		len -= (size_t)(slash + 1 - path);
		path = slash + 1;
	}
	dot = memmem(path, len, ".ko", 3);
	if (!dot)
		return false;
	n = (size_t)(dot - path);
	if (n == 0 || n >= NAME_MAX_BYTES || (n + 3 < len && dot[3] != '.'))
		return false;
	for (size_t i = 0; i < n; i++)
		ret[i] = path[i] == '-' ? '_' : path[i];
	ret[n] = '\0';
	return true;
}

/* ---- what is there ---- */

static int index_add(struct module_index *x, const char *path, const struct stat *st)
{
	char name[NAME_MAX_BYTES];
	struct module_file *f;

	if (!module_name(path, strlen(path), name))
		return 0;
	if (x->n >= MODULE_FILES_MAX)
		return -E2BIG;
	if (x->n == x->size) {
		size_t size = x->size ? 2 * x->size : 1024;

		f = reallocarray(x->files, size, sizeof(*f));
		if (!f)
			return -ENOMEM;
		x->files = f;
		x->size = size;
	}
	f = &x->files[x->n];
	memcpy(f->name, name, sizeof(name));
	f->st = *st;
	f->path = strdup(path);
	if (!f->path)
		return -ENOMEM;
	x->n++;
	return 0;
}

/* path: below the folder, "" for itself. Depth is limited. */
static int walk(struct module_index *x, const char *path, unsigned depth)
{
	int fd = openat(x->fd, path[0] ? path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *e;
	DIR *d;
	int r = 0;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		r = -errno;
		fd_close(fd);
		return r;
	}
	while (r == 0 && (e = readdir(d))) {
		cleanup_free char *below = NULL;
		struct stat st;

		if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
			continue;
		if (asprintf(&below, "%s%s%s", path, path[0] ? "/" : "", e->d_name) < 0) {
			below = NULL;
			r = -ENOMEM;
		} else if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			r = errno == ENOENT ? 0 : -errno;
		} else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
			r = walk(x, below, depth + 1);
		} else if (S_ISREG(st.st_mode)) {
			r = index_add(x, below, &st);
		}
	}
	closedir(d);
	return r;
}

/* As depmod searches: what an administrator put into updates/ comes before the rest. */
static int by_name(const void *a, const void *b)
{
	const struct module_file *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	if (r == 0)
		r = (int)str_starts(y->path, "updates/") - (int)str_starts(x->path, "updates/");
	return r ? r : strcmp(x->path, y->path);
}

int module_index_new(const char *dir, struct module_index **ret, struct image_error *err)
{
	struct module_index *x = calloc(1, sizeof(*x));
	cleanup_close int fd = -1;
	int r;

	if (!x)
		return image_fail(err, ENOMEM, "out of memory");
	buf_init(&x->builtin, 4 << 20);
	x->dir = strdup(dir);
	x->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = !x->dir ? -ENOMEM : x->fd < 0 ? -errno : walk(x, "", 0);
	if (r == 0 && x->n)
		qsort(x->files, x->n, sizeof(*x->files), by_name);
	if (r == 0) {
		fd = openat(x->fd, "modules.builtin", O_RDONLY | O_CLOEXEC);
		x->has_builtin = fd >= 0;
		if (fd >= 0)
			r = fd_read_all(fd, x->builtin.cap, &x->builtin);
	}
	if (r < 0) {
		module_index_free(x);
		return image_fail_sys(err, -r, "cannot read the modules in %s", dir);
	}
	*ret = x;
	return 0;
}

void module_index_free(struct module_index *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < x->n; i++)
		free(x->files[i].path);
	free(x->files);
	buf_fini(&x->builtin);
	fd_close(x->fd);
	free(x->dir);
	free(x);
}

void module_index_digest(const struct module_index *x, struct digest *d)
{
	digest_add_u64(d, x->n);
	for (size_t i = 0; i < x->n; i++) {
		const struct module_file *f = &x->files[i];

		digest_add_str(d, f->path);
		digest_add_u64(d, f->st.st_ino);
		digest_add_u64(d, (uint64_t)f->st.st_size);
		digest_add_u64(d, (uint64_t)f->st.st_ctim.tv_sec);
		digest_add_u64(d, (uint64_t)f->st.st_ctim.tv_nsec);
	}
	digest_add(d, buf_at(&x->builtin), x->builtin.len);
}

static const struct module_file *find(const struct module_index *x, const char *name)
{
	size_t lo = 0, hi = x->n;

	/* The first of equal names. */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(x->files[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < x->n && str_eq(x->files[lo].name, name) ? &x->files[lo] : NULL;
}

static bool builtin(const struct module_index *x, const char *name)
{
	const char *p = (const char *)buf_at(&x->builtin);
	size_t left = x->builtin.len;

	while (left) {
		const char *nl = memchr(p, '\n', left);
		size_t len = nl ? (size_t)(nl - p) : left;
		char one[NAME_MAX_BYTES];

		if (module_name(p, len, one) && str_eq(one, name))
			return true;
		len += nl != NULL;
		p += len;
		left -= len;
	}
	return false;
}

/* ---- one module ---- */

int module_info(const uint8_t *p, size_t len, const char *key, const char **ret)
{
	size_t key_len = strlen(key);
	struct elf elf;
	struct rd info;
	int r = elf_open(p, len, &elf);

	if (r == 0)
		r = elf_section(&elf, ".modinfo", &info);
	if (r < 0)
		return r;
	while (rd_left(&info)) {
		const uint8_t *nul = memchr(info.p, 0, rd_left(&info));
		size_t n;

		if (!nul)
			return -EBADMSG;
		n = (size_t)(nul - info.p);
		if (n > key_len && info.p[key_len] == '=' && memcmp(info.p, key, key_len) == 0) {
			*ret = (const char *)info.p + key_len + 1;
			return 0;
		}
		info.p = nul + 1;
	}
	return -ENOENT;
}

static int module_read(const struct module_index *x, const struct module_file *f, struct buf *ret,
		       struct image_error *err)
{
	cleanup_close int fd = openat(x->fd, f->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct buf packed = BUF_INIT(MODULE_MAX);
	struct stream_unpack u;
	struct stream_mem m;
	int r = fd < 0 ? -errno : fd_read_all(fd, MODULE_MAX, &packed);

	if (r == 0) {
		stream_mem_init(&m, buf_at(&packed), packed.len);
		r = stream_unpack_init(&u, &m.s, packing_of(buf_at(&packed), packed.len));
	}
	if (r == 0) {
		r = stream_read_all(&u.s, ret);
		stream_unpack_fini(&u);
	}
	buf_fini(&packed);
	return r < 0 ? image_fail_sys(err, -r, "cannot read the module %s/%s", x->dir, f->path) : 0;
}

static bool has(const struct module_set *set, const char *name)
{
	for (size_t i = 0; i < set->n; i++)
		if (str_eq(set->list[i].name, name))
			return true;
	return false;
}

/* A module of another kernel would be refused in the guest, where nobody sees why. */
static int check_release(const struct module_index *x, const struct module_file *f,
			 const struct buf *data, const char *release, struct image_error *err)
{
	size_t n = strlen(release);
	const char *magic;

	if (!n)
		return 0;
	if (module_info(buf_at(data), data->len, "vermagic", &magic) < 0)
		return image_fail(err, EBADMSG, "%s/%s is no kernel module", x->dir, f->path);
	if (strncmp(magic, release, n) != 0 || (magic[n] != ' ' && magic[n] != '\0'))
		return image_fail(err, EINVAL,
				  "the module %s/%s is for the kernel %.*s and the kernel is %s: "
				  "name the modules that belong to it with --modules",
				  x->dir, f->path, (int)strcspn(magic, " "), magic, release);
	return 0;
}

static int append(struct module_set *set, const char *name, struct buf *data)
{
	struct module *list = reallocarray(set->list, set->n + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	set->list = list;
	list[set->n].name = strdup(name);
	if (!list[set->n].name)
		return -ENOMEM;
	list[set->n++].data = *data;
	return 0;
}

static int add(const struct module_index *x, const char *name, bool required, const char *release,
	       struct module_set *set, unsigned depth, struct image_error *err);

/* "a,b,c" */
static int add_needed(const struct module_index *x, const char *list, const char *release,
		      struct module_set *set, unsigned depth, struct image_error *err)
{
	int r = 0;

	while (r == 0 && *list) {
		size_t n = strcspn(list, ",");
		char name[NAME_MAX_BYTES];

		if (n >= sizeof(name))
			return image_fail(err, EBADMSG,
					  "a module of %s needs another with a name "
					  "of %zu letters",
					  x->dir, n);
		for (size_t i = 0; i < n; i++)
			name[i] = list[i] == '-' ? '_' : list[i];
		name[n] = '\0';
		if (n)
			r = add(x, name, true, release, set, depth + 1, err);
		list += n + (list[n] == ',');
	}
	return r;
}

static int add(const struct module_index *x, const char *name, bool required, const char *release,
	       struct module_set *set, unsigned depth, struct image_error *err)
{
	const struct module_file *f;
	struct buf data = BUF_INIT(MODULE_MAX);
	const char *needs;
	int r;

	if (has(set, name) || builtin(x, name))
		return 0;
	f = find(x, name);
	/* A folder that does not tell what is built in was put together by someone who knows. */
	if (!f && (!required || !x->has_builtin))
		return 0;
	if (!f)
		return image_fail(err, ENOENT,
				  "the module %s is not in %s and not in the kernel: name another "
				  "folder with --modules, or a kernel that has it",
				  name, x->dir);
	if (depth > DEPTH_MAX || set->n >= MODULES_MAX)
		return image_fail(err, ELOOP, "the modules in %s need each other without end (at %s)",
				  x->dir, name);
	r = module_read(x, f, &data, err);
	if (r == 0)
		r = check_release(x, f, &data, release, err);
	if (r == 0 && module_info(buf_at(&data), data.len, "depends", &needs) == 0)
		r = add_needed(x, needs, release, set, depth, err);
	if (r == 0 && append(set, name, &data) < 0)
		r = image_fail(err, ENOMEM, "out of memory");
	if (r < 0)
		buf_fini(&data);
	return r;
}

int module_add(const struct module_index *x, const char *name, bool required, const char *release,
	       struct module_set *set, struct image_error *err)
{
	return x ? add(x, name, required, release, set, 0, err) : 0;
}

void module_set_fini(struct module_set *set)
{
	for (size_t i = 0; i < set->n; i++) {
		free(set->list[i].name);
		buf_fini(&set->list[i].data);
	}
	free(set->list);
	*set = (struct module_set){ 0 };
}
