/* SPDX-License-Identifier: Apache-2.0 */
/* Disks beside the root: a copy of a folder of the host, or an image as it is. */
#include "image/ext4.h"
#include "image/root.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define FREE_BYTES (UINT64_C(1) << 30)

void image_volume_fini(struct image_volume *v)
{
	fd_close(v->fd);
	free(v->source);
	free(v->target);
	*v = (struct image_volume){ .fd = -1 };
}

/* Absolute, and each part a name. */
bool guest_path_ok(const char *path)
{
	if (path[0] != '/' || strlen(path) >= PATH_BYTES_MAX)
		return false;
	for (const char *p = path; *p;) {
		size_t n;

		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (n > 255 || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n;
	}
	return true;
}

int image_volume_parse(const char *text, struct image_volume *ret, struct image_error *err)
{
	struct image_volume v = { .fd = -1 };
	size_t len = strlen(text);
	const char *colon;

	if (len >= 3 && (str_eq(text + len - 3, ":ro") || str_eq(text + len - 3, ":rw"))) {
		v.read_only = str_eq(text + len - 3, ":ro");
		len -= 3;
	}
	/* The guest's part begins at the last ":/": the host's may hold colons. */
	colon = NULL;
	for (const char *p = text; p + 1 < text + len; p++)
		if (p[0] == ':' && p[1] == '/')
			colon = p;
	if (!colon || colon == text)
		return image_fail(
			err, EINVAL,
			"volume \"%.200s\": expected HOST:GUEST[:ro] with GUEST absolute, as "
			"in ./data:/data:ro",
			text);
	v.source = strndup(text, (size_t)(colon - text));
	v.target = strndup(colon + 1, len - (size_t)(colon + 1 - text));
	if (!v.source || !v.target) {
		image_volume_fini(&v);
		return image_fail(err, ENOMEM, "out of memory");
	}
	if (!guest_path_ok(v.target) || v.target[strspn(v.target, "/")] == '\0') {
		image_volume_fini(&v);
		return image_fail(err, EINVAL,
				  "volume \"%.200s\": the place in the guest must be below / and "
				  "without \"..\"",
				  text);
	}
	*ret = v;
	return 0;
}

/* A copy of the folder dirfd (taken over). */
static int copy_folder(struct image_store *s, struct image_volume *v, int dirfd,
		       uint64_t free_bytes, struct image_error *err)
{
	char seed[DIGEST_HEX], *path = NULL;
	struct notes notes = { 0 };
	cleanup_close int fd = -1, final = -1;
	struct tree *t;
	uint8_t random[DIGEST_LEN];
	struct stat st, dir;
	int r = tree_new(&t);

	if (r < 0) {
		fd_close(dirfd);
		return image_fail(err, ENOMEM, "out of memory");
	}
	/* A disk of its own each time: nothing refers to it by its name. */
	random_bytes(random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(seed + 2 * i, 3, "%02x", random[i]);
	if (fstat(dirfd, &dir) == 0) {
		inode_from_stat(t->root->inode, &dir);
		t->root->inode->mode = S_IFDIR | (dir.st_mode & 07777);
	}
	r = scan_folder(t, t->root, dirfd, v->source, false, NULL, &notes, err);
	if (r == 0)
		scan_give_to_root(t, &notes);
	if (r == 0)
		r = store_scratch(s, &fd, err);
	if (r == 0)
		r = ext4_write(fd, t, free_bytes, seed, err);
	notes_fini(&notes);
	tree_free(t);
	if (r == 0 && fstat(fd, &st) < 0)
		r = image_fail_sys(err, errno, "cannot read what was written");
	/* Reading only: opened once more, so that the descriptor says so itself. */
	if (r == 0 && v->read_only) {
		if (asprintf(&path, "/proc/self/fd/%d", fd) < 0)
			return image_fail(err, ENOMEM, "out of memory");
		final = open(path, O_RDONLY | O_CLOEXEC);
		if (final < 0)
			r = image_fail_sys(err, errno, "cannot open %s", path);
		free(path);
	}
	if (r < 0)
		return r;
	v->fd = v->read_only ? steal_fd(&final) : steal_fd(&fd);
	v->size = (uint64_t)st.st_size;
	v->fs = IMAGE_EXT4;
	return 0;
}

static int open_image(struct image_volume *v, struct image_error *err)
{
	cleanup_close int fd =
		open(v->source, (v->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	uint64_t size;
	enum image_fs fs;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return image_fail_sys(err, errno, "cannot open the volume %s%s", v->source,
				      v->read_only ? "" : " for writing (\":ro\" reads only)");
	r = image_file_check(fd, v->source, &fs, &size, err);
	if (r < 0)
		return r;
	if (fs != IMAGE_EXT4 && !v->read_only)
		return image_fail(err, EROFS, "the volume %s is %s, which is read-only: add \":ro\"",
				  v->source, image_fs_name(fs));
	v->fd = steal_fd(&fd);
	v->size = size;
	v->fs = fs;
	return 0;
}

int image_volume_open(struct image_store *s, struct image_volume *v, uint64_t free_bytes,
		      struct image_error *err)
{
	int dirfd = open(v->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dirfd >= 0)
		return copy_folder(s, v, dirfd, free_bytes ? free_bytes : FREE_BYTES, err);
	if (errno != ENOTDIR)
		return image_fail_sys(err, errno, "cannot open the volume %s", v->source);
	return open_image(v, err);
}
