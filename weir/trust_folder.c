/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder as it was, with a few files more.
 *
 * Mounting over a name needs the name to be there, so a file is added by covering its
 * whole folder. The cover holds links: those of the host as they are (they are relative
 * to where they lie, and the cover lies there), and for everything else a link to the
 * same entry of the host's folder, kept reachable aside. What a command writes there
 * ends with the sandbox.
 */
#include "weir/sandbox_trust.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder of roots has some hundreds; copying one of a million would hold up the start. */
#define ENTRIES_MAX 4096

static bool is_given(const char *name, const struct guest_trust_file *files, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t first = strcspn(files[i].path, "/");

		if (strlen(name) == first && memcmp(name, files[i].path, first) == 0)
			return true;
	}
	return false;
}

static int copy_entry(int from, const char *kept, int to, const char *name)
{
	char text[PATH_MAX];
	ssize_t n = readlinkat(from, name, text, sizeof(text) - 1);

	if (n >= 0)
		text[n] = 0;
	else if ((size_t)snprintf(text, sizeof(text), "%s/%s", kept, name) >= sizeof(text))
		return -ENAMETOOLONG;
	return symlinkat(text, to, name) < 0 ? -errno : 0;
}

static int copy_entries(const char *kept, int to, const struct guest_trust_file *files, size_t n)
{
	DIR *d = opendir(kept);
	struct dirent *de;
	unsigned left = ENTRIES_MAX;
	int r = d ? 0 : -errno;

	while (r == 0 && (de = readdir(d))) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
		    is_given(de->d_name, files, n))
			continue;
		r = left-- ? copy_entry(dirfd(d), kept, to, de->d_name) : -E2BIG;
	}
	if (d)
		closedir(d);
	return r;
}

static int make_parents(int dir, const char *path)
{
	char part[PATH_MAX];

	if ((size_t)snprintf(part, sizeof(part), "%s", path) >= sizeof(part))
		return -ENAMETOOLONG;
	for (char *slash = strchr(part, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (mkdirat(dir, part, 0755) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return 0;
}

static int add_file(int dir, const struct guest_trust_file *f)
{
	cleanup_close int fd = -1;
	int r = make_parents(dir, f->path);

	if (r < 0)
		return r;
	if (f->link)
		return symlinkat(f->link, dir, f->path) < 0 ? -errno : 0;
	fd = openat(dir, f->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	return fchmod(fd, 0644) < 0 ? -errno : fd_write_all(fd, f->data, f->len);
}

static int fill(const char *kept, const char *cover, const struct guest_trust_file *files, size_t n)
{
	cleanup_close int to = open(cover, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = to < 0 ? -errno : copy_entries(kept, to, files, n);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_file(to, &files[i]);
	return r;
}

int guest_trust_folder(struct guest_trust *t, const char *target,
		       const struct guest_trust_file *files, size_t n)
{
	char path[PATH_MAX], real[PATH_MAX];
	const char *kept, *cover, *place;
	struct stat st;
	int r;

	if ((size_t)snprintf(path, sizeof(path), "%s%s", t->root, target) >= sizeof(path) ||
	    !realpath(path, real) || stat(real, &st) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	kept = guest_trust_text(t, "%s/host-%u", t->dir, t->n_folders);
	cover = guest_trust_text(t, "%s/folder-%u", t->dir, t->n_folders++);
	place = guest_trust_text(t, "%s", real);
	if (!kept || !cover || !place)
		return -ENOMEM;
	if (mkdir(cover, 0755) < 0)
		return -errno;
	r = t->keep(real, kept);
	if (r == 0)
		r = fill(kept, cover, files, n);
	return r < 0 ? r : t->lay(cover, place);
}
