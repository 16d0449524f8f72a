/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which root file system, and is it there already.
 *
 * Every kind has a key of what it follows from: a folder's key holds the state of each file in it
 * (so that it is read through at every start, names and times only), an archive's the digest of its
 * configuration, which holds those of its layers; operations, the room asked for and the user
 * who may or may not read files belong to it, too. An image that is given is used as it is.
 */
#include "image/root.h"
#include "image/bundle.h"
#include "image/ext4.h"

#include <fcntl.h>
#include <unistd.h>

#define FREE_BYTES (UINT64_C(4) << 30)

struct root_job {
	const struct image_root_options *options;
	struct tree *tree;
	struct busybox busybox;
	struct bundle bundle;
	struct oci_image image;
	struct image_store *store;
	struct notes notes;
	uint64_t free_bytes;
	char key[DIGEST_HEX];
};

/* ---- making ---- */

static bool ext4_whole(int fd, uint64_t size)
{
	return ext4_check(fd, size);
}

/* Where the agent mounts; what an image lacks is made, so that a read-only one will do as well. */
static int add_mount_points(struct tree *t, struct image_error *err)
{
	static const struct {
		const char *name;
		uint32_t mode;
	} dirs[] = { { "dev", 0755 }, { "proc", 0555 }, { "sys", 0555 },
		     { "run", 0755 }, { "tmp", 01777 }, { "etc", 0755 } };

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		struct tree_inode *inode;
		struct tree_node *n;

		if (tree_find(t, t->root, dirs[i].name, strlen(dirs[i].name)))
			continue;
		inode = tree_inode_new(S_IFDIR | dirs[i].mode);
		if (!inode ||
		    tree_add(t, t->root, dirs[i].name, strlen(dirs[i].name), inode, &n) < 0) {
			tree_inode_free(inode);
			return image_fail(err, ENOMEM, "out of memory");
		}
	}
	return 0;
}

/* The tree is complete but for the operations. */
static int write_tree(struct root_job *job, int fd, struct image_error *err)
{
	int r = patches_apply(job->options->patches, job->tree, &job->notes, err);

	if (r == 0)
		r = add_mount_points(job->tree, err);

	return r == 0 ? ext4_write(fd, job->tree, job->free_bytes, job->key, err) : r;
}

static int note_all(struct root_job *job, json_t *record)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < job->notes.n; i++)
		if (json_array_append_new(list, json_string(job->notes.list[i])) < 0)
			break;
	if (list && job->notes.more)
		(void)json_array_append_new(list, json_sprintf("and %zu more", job->notes.more));
	return json_object_set_new(record, "notes", list);
}

static int make_folder(void *ctx, int fd, json_t *record, struct image_error *err)
{
	struct root_job *job = ctx;
	int r = write_tree(job, fd, err);

	return r == 0 && note_all(job, record) < 0 ? image_fail(err, ENOMEM, "out of memory") : r;
}

static int make_minimal(void *ctx, int fd, json_t *record, struct image_error *err)
{
	struct root_job *job = ctx;
	int r = busybox_tree(&job->busybox, job->options->busybox_names, job->tree, err);

	(void)record;
	return r == 0 ? write_tree(job, fd, err) : r;
}

static int make_archive(void *ctx, int fd, json_t *record, struct image_error *err)
{
	struct root_job *job = ctx;
	int r = store_scratch(job->store, &job->tree->spool, err);

	if (r == 0)
		r = oci_apply(&job->bundle, &job->image, job->tree, err);
	if (r == 0)
		r = write_tree(job, fd, err);
	if (r == 0 && json_object_set(record, "config", job->image.config) < 0)
		r = image_fail(err, ENOMEM, "out of memory");
	return r;
}

/* ---- keys ---- */

static int key_begin(struct root_job *job, struct digest *d, const char *kind, struct image_error *err)
{
	int r = digest_init(d);

	if (r < 0)
		return image_fail(err, ENOMEM, "out of memory");
	digest_add_str(d, kind);
	digest_add_u64(d, geteuid());
	digest_add_u64(d, job->free_bytes);
	r = patches_digest(job->options->patches, d, err);
	if (r < 0)
		digest_fini(d);
	return r;
}

static int key_folder(struct root_job *job, const char *path, int fd, struct image_error *err)
{
	struct digest d;
	int r = key_begin(job, &d, "folder", err);

	if (r < 0) {
		fd_close(fd);
		return r;
	}
	r = scan_folder(job->tree, job->tree->root, fd, path, false, &d, &job->notes, err);
	if (r < 0) {
		digest_fini(&d);
		return r;
	}
	digest_end(&d, job->key);
	scan_give_to_root(job->tree, &job->notes);
	return 0;
}

static int key_minimal(struct root_job *job, struct image_error *err)
{
	struct digest d;
	int r = busybox_find(&job->busybox, err);

	if (r == 0)
		r = key_begin(job, &d, "minimal", err);
	if (r < 0)
		return r;
	digest_add_str(&d, job->busybox.path);
	r = digest_add_file(&d, job->busybox.fd, &job->busybox.st);
	if (r < 0) {
		digest_fini(&d);
		return image_fail_sys(err, -r, "cannot read %s", job->busybox.path);
	}
	digest_end(&d, job->key);
	return 0;
}

static int key_archive(struct root_job *job, const char *path, struct image_error *err)
{
	struct digest d;
	int r = bundle_open(path, job->store, &job->bundle, err);

	if (r == 0)
		r = oci_select(&job->bundle, job->options->reference, &job->image, err);
	if (r == 0)
		r = key_begin(job, &d, "archive", err);
	if (r < 0)
		return r;
	digest_add_str(&d, job->image.digest);
	digest_end(&d, job->key);
	return 0;
}

/* ---- results ---- */

static char **no_strings(void)
{
	return calloc(1, sizeof(char *));
}

/* A list of strings of the record; one that is not there is empty. */
static char **strings(const json_t *list)
{
	size_t n = json_array_size(list);
	char **s = calloc(n + 1, sizeof(*s));

	for (size_t i = 0; s && i < n; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		s[i] = strdup(text ? text : "");
		if (!s[i])
			break;
	}
	return s;
}

static char *string(const json_t *text)
{
	return strdup(json_is_string(text) ? json_string_value(text) : "");
}

static int set_config(struct image_root *root, const json_t *record, struct image_error *err)
{
	const json_t *c = record ? json_object_get(record, "config") : NULL;

	root->config = (struct image_config){
		.env = strings(json_object_get(c, "env")),
		.entrypoint = strings(json_object_get(c, "entrypoint")),
		.cmd = strings(json_object_get(c, "cmd")),
		.working_dir = string(json_object_get(c, "working_dir")),
		.user = string(json_object_get(c, "user")),
		.stop_signal = string(json_object_get(c, "stop_signal")),
	};
	if (!root->notes)
		root->notes = record ? strings(json_object_get(record, "notes")) : no_strings();
	if (root->config.env && root->config.entrypoint && root->config.cmd &&
	    root->config.working_dir && root->config.user && root->config.stop_signal && root->notes)
		return 0;
	return image_fail(err, ENOMEM, "out of memory");
}

static int get(struct image_store *s, struct root_job *job, const char *folder,
	       int (*make)(void *ctx, int fd, json_t *record, struct image_error *err),
	       struct image_root *ret, struct image_error *err)
{
	const struct store_maker maker = { make, ext4_whole, job };
	struct image_root root = { .fd = -1, .fs = IMAGE_EXT4 };
	struct store_item item;
	int r = store_get(s, folder, job->key, ".ext4", &maker, &item, err);

	if (r < 0)
		return r;
	root.fd = steal_fd(&item.fd);
	root.path = item.path;
	item.path = NULL;
	root.size = item.size;
	root.reused = item.reused;
	r = set_config(&root, item.record, err);
	store_item_fini(&item);
	if (r < 0)
		image_root_fini(&root);
	else
		*ret = root;
	return r;
}

/* ---- an image that is given ---- */

static int why_no_image(int fd, const char *path, struct image_error *err)
{
	uint8_t head[1024] = { 0 };

	if (pread(fd, head, sizeof(head), 0) < 4)
		return image_fail(err, EMEDIUMTYPE, "%s is empty", path);
	if (memcmp(head, "QFI\xfb", 4) == 0)
		return image_fail(err, EMEDIUMTYPE,
				  "%s is a qcow2 image: make it raw with qemu-img convert -O raw",
				  path);
	if (memcmp(head + 512, "EFI PART", 8) == 0 || (head[510] == 0x55 && head[511] == 0xaa))
		return image_fail(
			err, EMEDIUMTYPE,
			"%s is a disk with partitions: give the file system in one of them "
			"(losetup -P, or dd with the partition's offset)",
			path);
	if (packing_of(head, sizeof(head)) != PACKING_NONE)
		return image_fail(err, EMEDIUMTYPE,
				  "%s is packed (%s): unpack it, or give a container archive with "
				  "--image",
				  path, packing_name(packing_of(head, sizeof(head))));
	if (memcmp(head + 257, "ustar", 5) == 0)
		return image_fail(err, EMEDIUMTYPE, "%s is a tar archive: give it with --image",
				  path);
	return image_fail(
		err, EMEDIUMTYPE,
		"%s holds no file system that is known here (ext4, squashfs, erofs), or its "
		"superblock is damaged",
		path);
}

int image_file_check(int fd, const char *path, enum image_fs *ret_fs, uint64_t *ret_size,
		     struct image_error *err)
{
	struct stat st;
	enum image_fs fs;
	uint64_t need;
	int r;

	if (fstat(fd, &st) < 0)
		return image_fail_sys(err, errno, "cannot read %s", path);
	r = fs_probe(fd, &fs, &need);
	if (r == -EMEDIUMTYPE)
		return why_no_image(fd, path, err);
	if (r < 0)
		return image_fail_sys(err, -r, "cannot read %s", path);
	if (need > (uint64_t)st.st_size)
		return image_fail(err, EMEDIUMTYPE,
				  "%s is cut off: its %s has %llu bytes, the file %llu", path,
				  image_fs_name(fs), (unsigned long long)need,
				  (unsigned long long)st.st_size);
	if (st.st_size % 512)
		return image_fail(err, EMEDIUMTYPE,
				  "%s is no whole number of sectors: truncate -s %%4096 it", path);
	*ret_fs = fs;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

static int open_given(const char *path, int fd, const struct image_root_options *o,
		      struct image_root *ret, struct image_error *err)
{
	struct image_root root = { .fd = fd, .reused = true };
	int r = image_file_check(fd, path, &root.fs, &root.size, err);

	if (r == 0 && o->patches && o->patches->n)
		r = image_fail(
			err, ENOTSUP,
			"--patch works on folders and archives, not on the image %s: patch the "
			"folder it was made of",
			path);
	if (r == 0) {
		root.path = strdup(path);
		r = root.path ? set_config(&root, NULL, err)
			      : image_fail(err, ENOMEM, "out of memory");
	}
	if (r < 0)
		image_root_fini(&root);
	else
		*ret = root;
	return r;
}

/* ---- all kinds ---- */

static int open_rootfs(struct image_store *s, struct root_job *job, const char *path,
		       struct image_root *ret, struct image_error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return image_fail_sys(err, errno, "cannot open the root file system %s", path);
	if (!S_ISDIR(st.st_mode))
		return open_given(path, steal_fd(&fd), job->options, ret, err);
	r = key_folder(job, path, steal_fd(&fd), err);
	return r == 0 ? get(s, job, "root", make_folder, ret, err) : r;
}

int image_root_open(struct image_store *s, const struct image_root_options *o,
		    struct image_root *ret, struct image_error *err)
{
	struct root_job job = { .options = o,
				.busybox.fd = -1,
				.bundle.fd = -1,
				.store = s,
				.free_bytes = o->free_bytes ? o->free_bytes : FREE_BYTES };
	int r;

	if (o->rootfs && o->archive)
		return image_fail(err, EINVAL, "give --rootfs or --image, not both");
	r = tree_new(&job.tree);
	if (r < 0)
		return image_fail(err, ENOMEM, "out of memory");
	if (o->rootfs) {
		r = open_rootfs(s, &job, o->rootfs, ret, err);
	} else if (o->archive) {
		r = key_archive(&job, o->archive, err);
		if (r == 0)
			r = get(s, &job, "archive", make_archive, ret, err);
	} else {
		r = key_minimal(&job, err);
		if (r == 0)
			r = get(s, &job, "root", make_minimal, ret, err);
	}
	oci_image_fini(&job.image);
	bundle_fini(&job.bundle);
	busybox_fini(&job.busybox);
	notes_fini(&job.notes);
	tree_free(job.tree);
	return r;
}
