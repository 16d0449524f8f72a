/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image: what a microVM starts from. A kernel of the distribution and the initial
 * file system that brings the agent and its modules; a root file system made of a
 * folder, of a container image's archive or of the host's busybox; file
 * operations on it before the start; disks with a copy of host folders. All of it
 * is kept in a store and made once.
 *
 * Nothing here needs rights beyond the caller's, and nothing of an archive is
 * ever unpacked onto the host: its layers are merged as a tree in memory, and
 * the tree is written straight into an ext4 image.
 *
 * Sizes are bytes. Functions return 0 or a negative errno; with an error, err
 * (may be NULL) says what is wrong, where, and what to do about it. Functions
 * block: run them before the loop, or in a process of their own. Not for
 * threads that share a store object.
 */
#ifndef WEIR_IMAGE_H
#define WEIR_IMAGE_H

#include "base/base.h"

struct image_error {
	char text[512]; /* one line without a newline */
};

/* ---- store ------------------------------------------------------------- */

/*
 * A folder with what was made once: DIR/kernel, DIR/boot, DIR/root, DIR/archive, DIR/tmp. A name is
 * the SHA-256 of everything the content follows from, so a name never changes
 * its content. Files appear whole or not at all (written aside, synced,
 * renamed); one that does not fit its record is made again. Two processes that
 * want the same thing make it once: the second waits on a lock.
 */
struct image_store;

/*
 * dir NULL: $XDG_CACHE_HOME/weir, else $HOME/.cache/weir. Made (0700) when it
 * is not there; one that belongs to someone else is refused (-EPERM).
 */
must_check int image_store_open(const char *dir, struct image_store **ret, struct image_error *err);
void image_store_free(struct image_store *s);
/* Where it is; valid as long as s. */
const char *image_store_dir(const struct image_store *s);
/* What its files take up on the disk, and how many there are. */
must_check int image_store_usage(const struct image_store *s, uint64_t *ret_bytes, size_t *ret_files);
/*
 * Removes what was not used for the longest time until at most `keep` bytes are
 * left. A file that a sandbox has open stays readable to it.
 */
must_check int image_store_prune(struct image_store *s, uint64_t keep, uint64_t *ret_freed,
				 struct image_error *err);

/*
 * Opens what another process says it has put into a folder of the store: only a plain file of
 * the user's that has this one name and nobody may write to. folder is ours, name theirs.
 * -EPROTO: it is something else.
 */
must_check int image_store_take(const struct image_store *s, const char *folder, const char *name,
				int *ret_fd, uint64_t *ret_size, char **ret_path,
				struct image_error *err);

/* ---- kernel and initial file system -------------------------------------- */

/* What the guest's kernel must be able to do beyond ext4 on virtio-mmio. */
enum image_need {
	IMAGE_NEED_PCI = 1 << 0,      /* virtio-pci, for machines that have a PCI bus */
	IMAGE_NEED_SQUASHFS = 1 << 1, /* with overlay */
	IMAGE_NEED_EROFS = 1 << 2,    /* with overlay */
};

struct image_boot_options {
	const char *kernel;  /* bzImage or ELF; NULL: newest /boot/vmlinuz-* that has its modules */
	const char *modules; /* a folder as /lib/modules/RELEASE; NULL: the kernel's, where one is */
	const char *agent;   /* the static program that becomes /init */
	unsigned needs;	     /* enum image_need, or-ed */
};

/*
 * Descriptors are read-only, close-on-exec and the caller's until
 * image_boot_fini(). Paths are for programs that want a name (QEMU).
 */
struct image_boot {
	int kernel_fd;	   /* ELF, x86-64, uncompressed */
	int initrd_fd;	   /* newc cpio, uncompressed: /init, /modules/order, /modules/NAME.ko */
	bool pvh;	   /* the ELF has the entry that PVH loaders use (Xen note 18) */
	char *kernel_path; /* of kernel_fd */
	char *initrd_path; /* of initrd_fd */
	char *source_path; /* the file kernel_fd was extracted from */
	char *release;	   /* "6.1.0-56-cloud-amd64"; "" when the file does not tell */
};

must_check int image_boot_open(struct image_store *s, const struct image_boot_options *o,
			       struct image_boot *ret, struct image_error *err);
void image_boot_fini(struct image_boot *b);

/* ---- operations on a root file system before the start ------------------- */

enum image_patch_op {
	IMAGE_PATCH_TEXT,      /* path, content */
	IMAGE_PATCH_FILE,      /* path, content: any bytes */
	IMAGE_PATCH_APPEND,    /* path, content; the file has to be there */
	IMAGE_PATCH_COPY_FILE, /* source on the host, path */
	IMAGE_PATCH_COPY_DIR,  /* source on the host, path; merged into a folder that is there */
	IMAGE_PATCH_SYMLINK,   /* path, target */
	IMAGE_PATCH_MKDIR,     /* path; with its parents; one that is there is kept */
	IMAGE_PATCH_REMOVE,    /* path and all below; the path has to be there */
};

struct image_patch {
	enum image_patch_op op;
	char *path;   /* absolute, in the guest; parents are made, 0755 */
	char *source; /* on the host */
	char *target; /* of a symlink, as is */
	uint8_t *content;
	size_t content_len;
	int mode;     /* 07777; -1: 0644, 0755 or that of the source */
	bool replace; /* something at path gives way; else that is an error (-EEXIST) */
};

/* Zero-initialise; grows with each parse. Operations run in this order. */
struct image_patches {
	struct image_patch *list;
	size_t n;
};

/*
 * One operation as the command line gives it; the last part takes the rest, colons
 * and all. A "!" behind the operation's name is replace.
 *   text:PATH:CONTENT  append:PATH:CONTENT  file:HOST:PATH  copy_file:HOST:PATH
 *   copy_dir:HOST:PATH  symlink:TARGET:PATH  mkdir:PATH  remove:PATH  @FILE
 * @FILE is JSON: an array of {"op": NAME, "path", "content" or "content_base64", "source",
 * "target", "mode": "0644", "replace": true}; unknown keys are errors. "copy"
 * is copy_file or copy_dir, by what the source is.
 */
must_check int image_patch_parse(const char *text, struct image_patches *p, struct image_error *err);
/* The JSON array itself; name is what errors call it. */
must_check int image_patch_parse_json(const char *json, size_t len, const char *name,
				      struct image_patches *p, struct image_error *err);
void image_patches_fini(struct image_patches *p);
/* As JSON that image_patch_parse_json() takes. */
must_check int image_patches_json(const struct image_patches *p, struct buf *ret);

/* ---- root file systems ---------------------------------------------------- */

enum image_fs {
	IMAGE_EXT4,
	IMAGE_SQUASHFS, /* read-only: the agent puts an overlay over it */
	IMAGE_EROFS,	/* the same */
};
/* As mount(2) calls it. */
const char *image_fs_name(enum image_fs fs);
/* What image_boot_options.needs has to hold for it. */
unsigned image_fs_needs(enum image_fs fs);

/* What a container image says of itself (OCI image config). All may be empty, none is NULL but in ends of lists. */
struct image_config {
	char **env;	   /* "NAME=value", NULL-terminated */
	char **entrypoint; /* NULL-terminated */
	char **cmd;	   /* NULL-terminated */
	char *working_dir; /* "" or absolute */
	char *user;	   /* "", "name", "uid", "name:group", ... */
	char *stop_signal; /* "" or "SIGTERM" */
};

/* At most one of rootfs and archive; neither: the minimal root of the host's busybox. */
struct image_root_options {
	/*
	 * A folder, or a file that holds a file system: ext4, squashfs, erofs. A
	 * folder's owners, modes, times, extended attributes, hard links and
	 * devices are kept as far as the caller may read them.
	 */
	const char *rootfs;
	/* A file of `docker save`, `podman save` or an OCI layout as tar; may be compressed. */
	const char *archive;
	/* Which image, when the archive holds several: NAME[:TAG]; NULL: the only one. */
	const char *reference;
	const struct image_patches *patches; /* may be NULL */
	/* Of image_busybox_names(), for a caller that can execute nothing any more; NULL: they are asked for. */
	const struct buf *busybox_names;
	uint64_t free_bytes; /* room for the guest's own files; 0: 4 GiB */
};

/* The descriptor is read-only, close-on-exec and the caller's until image_root_fini(). */
struct image_root {
	int fd;
	char *path;    /* of fd: in the store, or the user's own file */
	uint64_t size; /* a multiple of 512 */
	enum image_fs fs;
	bool reused; /* it was in the store */
	struct image_config config;
	/* What was left out of a folder and why, one line each; at most a handful, then a count. */
	char **notes; /* NULL-terminated */
};

must_check int image_root_open(struct image_store *s, const struct image_root_options *o,
			       struct image_root *ret, struct image_error *err);
void image_root_fini(struct image_root *r);

/* What `busybox --list-full` prints, the only program that is ever executed here. */
#define IMAGE_BUSYBOX_NAMES_MAX (64 << 10)
must_check int image_busybox_names(struct buf *ret, struct image_error *err);

/* ---- disks beside the root ------------------------------------------------ */

struct image_volume {
	char *source; /* on the host: a folder, or a file that holds a file system */
	char *target; /* absolute, in the guest */
	bool read_only;
	/* From image_volume_begin() on; size and fs from image_volume_end() on: */
	int fd; /* -1 before; opened for writing unless read_only */
	uint64_t size;
	enum image_fs fs;
};

/* HOST:GUEST[:ro|:rw]; GUEST is absolute and without "..". */
must_check int image_volume_parse(const char *text, struct image_volume *ret,
				  struct image_error *err);
void image_volume_fini(struct image_volume *v);
/*
 * A folder is copied into an ext4 image that has no name (in the folder tmp of the
 * store) and is gone with its last descriptor, free_bytes (0: 1 GiB) larger than its
 * content. An image is opened as it is; what the guest writes stays in it.
 *
 * In steps, as two processes share the work: v->fd is the file that is given, or an
 * empty one for a folder, which is filled; what file system a file holds is looked up; and what is
 * known then goes into v. Whatever fails, v->fd is image_volume_fini()'s.
 */
must_check int image_volume_begin(struct image_store *s, struct image_volume *v, bool *ret_folder,
				  struct image_error *err);
must_check int image_volume_fill(const char *source, int fd, uint64_t free_bytes,
				 struct image_error *err);
must_check int image_volume_probe(const char *source, int fd, enum image_fs *ret,
				  struct image_error *err);
must_check int image_volume_end(struct image_volume *v, enum image_fs fs, struct image_error *err);

/* An empty sparse file without a name in the store, of `size` bytes: the writable layer of one sandbox. */
must_check int image_layer_open(struct image_store *s, uint64_t size, int *ret_fd,
				struct image_error *err);

#endif
