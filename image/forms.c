/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is the same for who reads kernels and images and for who only handles them: texts, names,
 * opening and closing. Like store_dir.c it looks at no byte of anybody's file.
 */
#include "image/image_int.h"
#include "image/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* ---- results ---- */

static void strings_free(char **s)
{
	for (char **p = s; p && *p; p++)
		free(*p);
	free(s);
}

void image_root_fini(struct image_root *r)
{
	fd_close(r->fd);
	free(r->path);
	strings_free(r->config.env);
	strings_free(r->config.entrypoint);
	strings_free(r->config.cmd);
	free(r->config.working_dir);
	free(r->config.user);
	free(r->config.stop_signal);
	strings_free(r->notes);
	*r = (struct image_root){ .fd = -1 };
}

void image_boot_fini(struct image_boot *b)
{
	fd_close(b->kernel_fd);
	fd_close(b->initrd_fd);
	free(b->kernel_path);
	free(b->initrd_path);
	free(b->source_path);
	free(b->release);
	*b = (struct image_boot){ .kernel_fd = -1, .initrd_fd = -1 };
}

const char *image_fs_name(enum image_fs fs)
{
	switch (fs) {
	case IMAGE_SQUASHFS:
		return "squashfs";
	case IMAGE_EROFS:
		return "erofs";
	case IMAGE_EXT4:
		break;
	}
	return "ext4";
}

unsigned image_fs_needs(enum image_fs fs)
{
	return fs == IMAGE_SQUASHFS ? IMAGE_NEED_SQUASHFS
	       : fs == IMAGE_EROFS  ? IMAGE_NEED_EROFS
				    : 0;
}

/* ---- volumes ---- */

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

int image_volume_begin(struct image_store *s, struct image_volume *v, bool *ret_folder,
		       struct image_error *err)
{
	cleanup_close int fd = open(v->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool folder = fd >= 0;
	int r = 0;

	if (folder) {
		r = store_scratch(s, &v->fd, err);
	} else if (errno != ENOTDIR) {
		r = image_fail_sys(err, errno, "cannot open the volume %s", v->source);
	} else {
		v->fd = open(v->source, (v->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
		if (v->fd < 0)
			r = image_fail_sys(err, errno, "cannot open the volume %s%s", v->source,
					   v->read_only ? "" : " for writing (\":ro\" reads only)");
	}
	if (r == 0)
		*ret_folder = folder;
	return r;
}

/* Reading only: opened once more, so that the descriptor says so itself. */
static int reopen_read_only(int *fd, struct image_error *err)
{
	char path[32];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", *fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	if (again < 0)
		return image_fail_sys(err, errno, "cannot open %s", path);
	fd_close(*fd);
	*fd = again;
	return 0;
}

int image_volume_end(struct image_volume *v, enum image_fs fs, struct image_error *err)
{
	struct stat st;
	int how = fcntl(v->fd, F_GETFL), r = 0;

	if (how < 0 || fstat(v->fd, &st) < 0)
		return image_fail_sys(err, errno, "cannot read what the volume %s is", v->source);
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size % 512)
		return image_fail(err, EMEDIUMTYPE, "the volume %s is no whole number of sectors",
				  v->source);
	if (fs != IMAGE_EXT4 && !v->read_only)
		return image_fail(err, EROFS, "the volume %s is %s, which is read-only: add \":ro\"",
				  v->source, image_fs_name(fs));
	if (v->read_only && (how & O_ACCMODE) != O_RDONLY)
		r = reopen_read_only(&v->fd, err);
	if (r == 0) {
		v->size = (uint64_t)st.st_size;
		v->fs = fs;
	}
	return r;
}
