/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel, root and volumes by weir-image, see vm_image.h.
 *
 * No descriptor is taken from it. The user's own files are opened here, by the names the user gave;
 * what it made is looked up in the folder of the store where that command may write, by a name of
 * letters and digits, and has to be a plain file with this one name; the copy of a folder goes into a
 * file that was opened here. So no answer makes anything else of the user's a disk of the guest.
 */
#include "weir/vm_image.h"

#include "weir/vm.h"
#include "weir/vm_image_call.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The largest images take minutes to unpack; an archive may be made to take days. */
#define PATIENCE (3600 * NS_PER_S)
/* More than any image has, and than an agent takes. */
#define STRINGS_MAX 4096
#define STRING_BYTES_MAX (128 << 10)
#define STRINGS_BYTES_MAX (1 << 20)
#define NOTES_MAX 16
#define TEXT_MAX 4096

/* ---- calls ------------------------------------------------------------------------------ */

static int call(const char *program, const struct vm_args *a, int fd, json_t **ret,
		struct conf_error *err)
{
	struct vm_image_call c = { .program = program, .argv = a->v, .fd = fd, .patience = PATIENCE };

	if (a->error) {
		conf_error_set(err, "%s", strerror(-a->error));
		return a->error;
	}
	return vm_image_call(&c, ret, err);
}

static void begin(struct vm_args *a, const struct image_store *s, const char *command)
{
	vm_args_add(a, "weir-image");
	vm_args_add(a, "--store");
	vm_args_add(a, "%s", image_store_dir(s));
	vm_args_add(a, "%s", command);
}

static void option(struct vm_args *a, const char *name, const char *value)
{
	if (!value)
		return;
	vm_args_add(a, "%s", name);
	vm_args_add(a, "%s", value);
}

static int told(struct conf_error *err, int r, const struct image_error *e)
{
	conf_error_set(err, "%s", e->text[0] ? e->text : strerror(-r));
	return r;
}

/* ---- reading answers ---------------------------------------------------------------------- */

static int nonsense(struct conf_error *err, const char *what)
{
	conf_error_set(err,
		       "weir-image answered without a proper \"%s\"; was all of one version "
		       "installed?",
		       what);
	return -EPROTO;
}

/* A text of bounded length; it has no NUL, which jansson refuses. NULL: there is none. */
static const char *text(const json_t *o, const char *key, size_t max)
{
	const json_t *v = json_object_get(o, key);

	return json_is_string(v) && json_string_length(v) <= max ? json_string_value(v) : NULL;
}

static bool printable(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

static char **strings(const json_t *o, const char *key, size_t max, struct conf_error *err)
{
	const json_t *list = json_object_get(o, key);
	size_t n = json_array_size(list), bytes = 0;
	char **v;

	if (!json_is_array(list) || n > max) {
		nonsense(err, key);
		return NULL;
	}
	v = calloc(n + 1, sizeof(*v));
	for (size_t i = 0; v && i < n; i++) {
		const json_t *e = json_array_get(list, i);

		bytes += json_string_length(e);
		if (!json_is_string(e) || json_string_length(e) > STRING_BYTES_MAX ||
		    bytes > STRINGS_BYTES_MAX)
			break;
		v[i] = strdup(json_string_value(e));
		if (!v[i])
			break;
	}
	for (size_t i = 0; v && i < n; i++)
		if (!v[i]) {
			for (size_t k = 0; k < i; k++)
				free(v[k]);
			free(v);
			v = NULL;
		}
	if (!v)
		nonsense(err, key);
	return v;
}

/* NAME=VALUE, the name without what no name has. */
static bool env_ok(char *const *env)
{
	for (; *env; env++) {
		size_t n = strcspn(*env, "=");

		if (!n || !(*env)[n])
			return false;
		for (size_t i = 0; i < n; i++)
			if (!isgraph((unsigned char)(*env)[i]))
				return false;
	}
	return true;
}

static int read_config(const json_t *o, struct image_config *ret, struct conf_error *err)
{
	const char *dir = text(o, "working_dir", TEXT_MAX), *user = text(o, "user", 256),
		   *stop = text(o, "stop_signal", 32);

	if (!dir || (dir[0] && dir[0] != '/') || !printable(dir))
		return nonsense(err, "working_dir");
	if (!user || !printable(user) || !stop)
		return nonsense(err, "user");
	ret->env = strings(o, "env", STRINGS_MAX, err);
	ret->entrypoint = ret->env ? strings(o, "entrypoint", STRINGS_MAX, err) : NULL;
	ret->cmd = ret->entrypoint ? strings(o, "cmd", STRINGS_MAX, err) : NULL;
	if (!ret->cmd)
		return -EPROTO;
	if (!env_ok(ret->env))
		return nonsense(err, "env");
	ret->working_dir = strdup(dir);
	ret->user = strdup(user);
	ret->stop_signal = strdup(stop);
	return ret->working_dir && ret->user && ret->stop_signal ? 0 : nonsense(err, "config");
}

static bool read_fs(const json_t *o, enum image_fs *ret)
{
	const char *name = text(o, "fs", 16);

	for (int fs = IMAGE_EXT4; name && fs <= IMAGE_EROFS; fs++)
		if (str_eq(name, image_fs_name((enum image_fs)fs))) {
			*ret = (enum image_fs)fs;
			return true;
		}
	return false;
}

/* What stands behind the last slash; where it is, we know. */
static int open_kept(const struct image_store *s, const char *folder, const json_t *o,
		     const char *key, int *ret_fd, uint64_t *ret_size, char **ret_path,
		     struct conf_error *err)
{
	const char *path = text(o, key, TEXT_MAX), *slash = path ? strrchr(path, '/') : NULL;
	struct image_error e = { { 0 } };
	int r;

	if (!slash)
		return nonsense(err, key);
	r = image_store_take(s, folder, slash + 1, ret_fd, ret_size, ret_path, &e);
	return r < 0 ? told(err, r, &e) : 0;
}

/* ---- the root ----------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A file of the user's that was said to hold a file system. */
static int open_given(const char *path, struct image_root *root, struct conf_error *err)
{
	struct stat st;

	root->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	root->path = strdup(path);
	if (root->fd < 0 || !root->path || fstat(root->fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_size <= 0 || st.st_size % 512) {
		conf_error_set(err, "the root file system %s changed while it was looked at", path);
		return -EIO;
	}
	root->size = (uint64_t)st.st_size;
	return 0;
}

static int read_root(const struct image_store *s, const struct image_root_options *o,
		     const json_t *answer, struct image_root *root, struct conf_error *err)
{
	int r;

	if (!read_fs(answer, &root->fs))
		return nonsense(err, "fs");
	if (o->rootfs && !is_folder(o->rootfs)) {
		r = open_given(o->rootfs, root, err);
	} else {
		r = open_kept(s, o->archive ? "archive" : "root", answer, "path", &root->fd,
			      &root->size, &root->path, err);
		if (r == 0 && (root->fs != IMAGE_EXT4 || root->size % 512))
			r = nonsense(err, "fs");
	}
	if (r == 0)
		r = read_config(json_object_get(answer, "config"), &root->config, err);
	if (r == 0) {
		root->notes = strings(answer, "notes", NOTES_MAX, err);
		r = root->notes ? 0 : -EPROTO;
	}
	for (char **note = root->notes; r == 0 && *note; note++)
		vm_image_clean(*note);
	root->reused = json_is_true(json_object_get(answer, "reused"));
	return r;
}

/* Operations may have files in them: not for a command line. */
static int patches_file(const struct image_patches *p, int *ret_fd, struct conf_error *err)
{
	struct buf b = BUF_INIT(INT32_MAX);
	cleanup_close int fd = memfd_create("weir-patches", MFD_CLOEXEC);
	int r = fd < 0 ? -errno : image_patches_json(p, &b);

	if (r == 0)
		r = fd_write_all(fd, buf_at(&b), b.len);
	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	buf_fini(&b);
	if (r < 0) {
		conf_error_set(err, "--patch: cannot hand over the operations: %s", strerror(-r));
		return r;
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

int vm_image_root(const char *program, struct image_store *s, const struct image_root_options *o,
		  struct image_root *ret, struct conf_error *err)
{
	struct image_root root = { .fd = -1 };
	cleanup_close int patches = -1;
	struct vm_args a = { 0 };
	json_t *answer = NULL;
	int r = 0;

	begin(&a, s, "root");
	option(&a, "--rootfs", o->rootfs);
	option(&a, "--image", o->archive);
	option(&a, "--reference", o->reference);
	if (o->patches && o->patches->n) {
		r = patches_file(o->patches, &patches, err);
		vm_args_add(&a, "--patch");
		vm_args_add(&a, "@/proc/self/fd/%d", patches);
	}
	if (r == 0)
		r = call(program, &a, patches, &answer, err);
	vm_args_fini(&a);
	if (r == 0)
		r = read_root(s, o, answer, &root, err);
	json_decref(answer);
	if (r < 0)
		image_root_fini(&root);
	else
		*ret = root;
	return r;
}

/* ---- kernel and initial file system --------------------------------------------------------- */

static int read_boot(const struct image_store *s, const json_t *o, struct image_boot *b,
		     struct conf_error *err)
{
	const char *source = text(o, "source", TEXT_MAX), *release = text(o, "release", 256);
	uint64_t size;
	int r;

	if (!source || !release || !json_is_boolean(json_object_get(o, "pvh")))
		return nonsense(err, "source");
	r = open_kept(s, "kernel", o, "kernel", &b->kernel_fd, &size, &b->kernel_path, err);
	if (r == 0)
		r = open_kept(s, "boot", o, "initrd", &b->initrd_fd, &size, &b->initrd_path, err);
	if (r < 0)
		return r;
	b->pvh = json_is_true(json_object_get(o, "pvh"));
	b->source_path = strdup(source);
	b->release = strdup(release);
	if (!b->source_path || !b->release)
		return nonsense(err, "source");
	vm_image_clean(b->source_path);
	vm_image_clean(b->release);
	return 0;
}

int vm_image_boot(const char *program, struct image_store *s, const struct image_boot_options *o,
		  struct image_boot *ret, struct conf_error *err)
{
	struct image_boot boot = { .kernel_fd = -1, .initrd_fd = -1 };
	struct vm_args a = { 0 };
	json_t *answer = NULL;
	int r;

	begin(&a, s, "boot");
	option(&a, "--agent", o->agent);
	option(&a, "--kernel", o->kernel);
	option(&a, "--modules", o->modules);
	if (o->needs & IMAGE_NEED_PCI)
		vm_args_add(&a, "--pci");
	if (o->needs & IMAGE_NEED_SQUASHFS)
		vm_args_add(&a, "--squashfs");
	if (o->needs & IMAGE_NEED_EROFS)
		vm_args_add(&a, "--erofs");
	r = call(program, &a, -1, &answer, err);
	vm_args_fini(&a);
	if (r == 0)
		r = read_boot(s, answer, &boot, err);
	json_decref(answer);
	if (r < 0)
		image_boot_fini(&boot);
	else
		*ret = boot;
	return r;
}

/* ---- volumes --------------------------------------------------------------------------------- */

int vm_image_volume(const char *program, struct image_store *s, struct image_volume *v,
		    struct conf_error *err)
{
	struct image_error e = { { 0 } };
	enum image_fs fs = IMAGE_EXT4;
	struct vm_args a = { 0 };
	json_t *answer = NULL;
	bool folder;
	int r = image_volume_begin(s, v, &folder, &e);

	if (r < 0)
		return told(err, r, &e);
	begin(&a, s, "volume");
	option(&a, "--source", v->source);
	vm_args_add(&a, "--fd");
	vm_args_add(&a, "%d", v->fd);
	r = call(program, &a, v->fd, &answer, err);
	vm_args_fini(&a);
	if (r == 0 && (!read_fs(answer, &fs) || (folder && fs != IMAGE_EXT4)))
		r = nonsense(err, "fs");
	json_decref(answer);
	if (r < 0)
		return r;
	r = image_volume_end(v, fs, &e);
	return r < 0 ? told(err, r, &e) : 0;
}
