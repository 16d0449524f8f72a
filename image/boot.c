/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest's kernel starts with: the kernel as ELF, and the initial file system, both kept.
 *
 * The initial file system is small on purpose (agent, and the modules up to the root's file
 * system): every byte of it is unpacked by the guest at each start. Nothing in it is secret; what a
 * sandbox is to be (network, secrets' placeholders, command) comes through the agent's channel.
 */
#include "image/kernel.h"
#include "image/elf.h"
#include "image/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* In the order of insertion. What a machine has not got (no PCI, no RNG) just finds no device. */
static const struct {
	const char *name;
	unsigned needs; /* all of these; 0: always */
	bool required;
} wanted[] = {
	{ "virtio_mmio", 0, true },
	{ "virtio_pci", IMAGE_NEED_PCI, true },
	/* First: the agent's channel and the console. */
	{ "virtio_console", 0, true },
	{ "virtio_blk", 0, true },
	{ "virtio_net", 0, true },
	{ "virtio_rng", 0, false },
	{ "virtio_balloon", 0, false },
	/* Asked for by name at run time (crc32c), so no depends= tells of it. */
	{ "crc32c_generic", 0, false },
	{ "ext4", 0, true },
	{ "squashfs", IMAGE_NEED_SQUASHFS, true },
	{ "erofs", IMAGE_NEED_EROFS, true },
	{ "overlay", IMAGE_NEED_SQUASHFS, true },
	{ "overlay", IMAGE_NEED_EROFS, true },
};

/* ---- kernel ---- */

static int write_out(int fd, const struct buf *b, struct image_error *err)
{
	int r = fd_write_all(fd, buf_at(b), b->len);

	return r < 0 ? image_fail_sys(err, -r, "cannot write to the store") : 0;
}

struct kernel_job {
	const char *path;
	int fd;
};

static int make_kernel(void *ctx, int fd, json_t *record, struct image_error *err)
{
	const struct kernel_job *job = ctx;
	struct buf file = BUF_INIT(KERNEL_MAX), elf = BUF_INIT(KERNEL_MAX);
	char release[RELEASE_MAX];
	struct image_error why;
	bool pvh;
	int r = fd_read_all(job->fd, KERNEL_MAX, &file);

	if (r < 0)
		r = image_fail_sys(err, -r, "cannot read the kernel %s", job->path);
	if (r == 0) {
		r = kernel_extract(buf_at(&file), file.len, &elf, release, &pvh, &why);
		if (r < 0)
			r = image_fail(err, -r, "the kernel %s: %s", job->path, why.text);
	}
	if (r == 0)
		r = write_out(fd, &elf, err);
	if (r == 0 && (json_object_set_new(record, "release", json_string(release)) < 0 ||
		       json_object_set_new(record, "pvh", json_boolean(pvh)) < 0))
		r = image_fail(err, ENOMEM, "out of memory");
	buf_fini(&file);
	buf_fini(&elf);
	return r;
}

static bool check_elf(int fd, uint64_t size)
{
	uint8_t head[64];
	struct elf elf;

	return size >= sizeof(head) && pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
	       elf_open(head, sizeof(head), &elf) == 0;
}

static int get_kernel(struct image_store *s, const char *path, char ret_key[static DIGEST_HEX],
		      struct store_item *ret, struct image_error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct kernel_job job = { .path = path, .fd = fd };
	const struct store_maker maker = { make_kernel, check_elf, &job };
	struct digest d;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return image_fail_sys(err, errno, "cannot read the kernel %s", path);
	if (!S_ISREG(st.st_mode))
		return image_fail(err, EINVAL, "the kernel %s is no file", path);
	r = digest_init(&d);
	if (r == 0) {
		digest_add_str(&d, "kernel");
		r = digest_add_file(&d, fd, &st);
		digest_end(&d, ret_key);
	}
	if (r < 0)
		return image_fail_sys(err, -r, "cannot read the kernel %s", path);
	return store_get(s, "kernel", ret_key, ".elf", &maker, ret, err);
}

/* ---- initial file system ---- */

struct initrd_job {
	const struct module_index *modules;
	const char *release;
	unsigned needs;
	const char *agent_path;
	int agent_fd;
};

static int check_agent(const struct buf *b, const char *path, struct image_error *err)
{
	const char *interp;
	struct elf elf;

	if (elf_open(buf_at(b), b->len, &elf) < 0 || !elf_is_program(&elf))
		return image_fail(err, ENOEXEC, "the agent %s is no program for x86-64", path);
	if (elf_interp(&elf, &interp) != -ENOENT)
		return image_fail(err, ENOEXEC,
				  "the agent %s needs libraries, and the guest has none when it "
				  "starts: build it static",
				  path);
	return 0;
}

static int add_modules(struct cpio *c, const struct module_set *set)
{
	struct buf order = BUF_INIT(MODULES_MAX * RELEASE_MAX);
	char name[RELEASE_MAX];
	int r = cpio_add(c, "modules", S_IFDIR | 0755, 0, 0, NULL, 0);

	for (size_t i = 0; r == 0 && i < set->n; i++) {
		const struct module *m = &set->list[i];

		snprintf(name, sizeof(name), "modules/%s.ko", m->name);
		r = buf_printf(&order, "/%s\n", name);
		if (r == 0)
			r = cpio_add(c, name, S_IFREG | 0644, 0, 0, buf_at(&m->data), m->data.len);
	}
	if (r == 0)
		r = cpio_add(c, "modules/order", S_IFREG | 0644, 0, 0, buf_at(&order), order.len);
	buf_fini(&order);
	return r;
}

static int pack(const struct module_set *set, const struct buf *agent, struct buf *out)
{
	static const char *const dirs[] = { "dev", "proc", "sys", "run", "mnt" };
	struct cpio c = { .out = out };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(dirs); i++)
		r = cpio_add(&c, dirs[i], S_IFDIR | 0755, 0, 0, NULL, 0);
	/* The kernel opens these before /init can make any. */
	if (r == 0)
		r = cpio_add(&c, "dev/console", S_IFCHR | 0600, 5, 1, NULL, 0);
	if (r == 0)
		r = cpio_add(&c, "dev/null", S_IFCHR | 0666, 1, 3, NULL, 0);
	if (r == 0)
		r = cpio_add(&c, "init", S_IFREG | 0755, 0, 0, buf_at(agent), agent->len);
	if (r == 0)
		r = add_modules(&c, set);
	return r == 0 ? cpio_end(&c) : r;
}

static int make_initrd(void *ctx, int fd, json_t *record, struct image_error *err)
{
	const struct initrd_job *job = ctx;
	struct buf agent = BUF_INIT(MODULE_MAX), out = BUF_INIT(KERNEL_MAX);
	struct module_set set = { 0 };
	int r = fd_read_all(job->agent_fd, MODULE_MAX, &agent);

	if (r < 0)
		r = image_fail_sys(err, -r, "cannot read the agent %s", job->agent_path);
	if (r == 0)
		r = check_agent(&agent, job->agent_path, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(wanted); i++)
		if ((wanted[i].needs & job->needs) == wanted[i].needs)
			r = module_add(job->modules, wanted[i].name, wanted[i].required,
				       job->release, &set, err);
	if (r == 0) {
		r = pack(&set, &agent, &out);
		if (r < 0)
			r = image_fail_sys(err, -r, "cannot pack the initial file system");
	}
	if (r == 0)
		r = write_out(fd, &out, err);
	if (r == 0 && json_object_set_new(record, "modules", json_integer((json_int_t)set.n)) < 0)
		r = image_fail(err, ENOMEM, "out of memory");
	module_set_fini(&set);
	buf_fini(&agent);
	buf_fini(&out);
	return r;
}

static bool check_cpio(int fd, uint64_t size)
{
	char head[6];

	return size % 4 == 0 && pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
	       memcmp(head, "070701", sizeof(head)) == 0;
}

static int get_initrd(struct image_store *s, const char *kernel_key, const char *release,
		      const char *modules, const struct image_boot_options *o,
		      struct store_item *ret, struct image_error *err)
{
	cleanup_close int fd = open(o->agent, O_RDONLY | O_CLOEXEC);
	struct initrd_job job = {
		.release = release, .needs = o->needs, .agent_path = o->agent, .agent_fd = fd
	};
	const struct store_maker maker = { make_initrd, check_cpio, &job };
	struct module_index *x = NULL;
	char key[DIGEST_HEX];
	struct digest d;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return image_fail_sys(err, errno, "cannot read the agent %s", o->agent);
	if (modules) {
		r = module_index_new(modules, &x, err);
		if (r < 0)
			return r;
	}
	r = digest_init(&d);
	if (r == 0) {
		digest_add_str(&d, "initrd");
		digest_add_str(&d, kernel_key);
		digest_add_u64(&d, o->needs);
		if (x)
			module_index_digest(x, &d);
		r = digest_add_file(&d, fd, &st);
		digest_end(&d, key);
	}
	job.modules = x;
	if (r < 0)
		r = image_fail_sys(err, -r, "cannot read the agent %s", o->agent);
	else
		r = store_get(s, "boot", key, ".cpio", &maker, ret, err);
	module_index_free(x);
	return r;
}

/* ---- both ---- */

int image_boot_open(struct image_store *s, const struct image_boot_options *o,
		    struct image_boot *ret, struct image_error *err)
{
	struct store_item kernel = { .fd = -1 }, initrd = { .fd = -1 };
	struct kernel_place place = { 0 };
	char key[DIGEST_HEX];
	const char *release;
	char *copy;
	int r = kernel_find("", o->kernel, o->modules, &place, err);

	if (r < 0)
		return r;
	r = get_kernel(s, place.image, key, &kernel, err);
	if (r == 0) {
		release = json_string_value(json_object_get(kernel.record, "release"));
		release = release ? release : "";
		r = get_initrd(s, key, release, place.modules, o, &initrd, err);
	}
	if (r == 0) {
		copy = strdup(release);
		if (!copy)
			r = image_fail(err, ENOMEM, "out of memory");
	}
	if (r == 0) {
		*ret = (struct image_boot){
			.kernel_fd = steal_fd(&kernel.fd),
			.initrd_fd = steal_fd(&initrd.fd),
			.pvh = json_is_true(json_object_get(kernel.record, "pvh")),
			.kernel_path = kernel.path,
			.initrd_path = initrd.path,
			.source_path = place.image,
			.release = copy,
		};
		kernel.path = initrd.path = place.image = NULL;
	}
	store_item_fini(&kernel);
	store_item_fini(&initrd);
	kernel_place_fini(&place);
	return r;
}
