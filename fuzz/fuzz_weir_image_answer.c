/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What weir-image, taken over by an archive, may answer. The first byte says what it was asked
 * (enum ask) and how it ended; complaints follow, up to a NUL, then its answer. Beyond not crashing:
 *   - whatever is opened is a file of the folder where that command writes, or the one the user gave
 *   - a refusal says why; no text for a person has a control character or one that turns its direction
 *   - what the guest's command is told has the form that it relies on
 * The store is a real one, with traps in it: links out of it, a second name, a file that may be written to.
 */
#include "weir/vm_image.h"

#include "weir/vm_image_call.h"

#include "fuzz_must.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_vm_image_call(const struct vm_image_call *c, json_t **ret, struct conf_error *err);

#define HELPER "weir-image"
#define SIZE_GIVEN 1024

enum ask { ASK_BOOT, ASK_FOLDER, ASK_ARCHIVE, ASK_FILE, ASK_VOLUME, ASKS };

static const uint8_t *said;
static size_t said_len;
static int how; /* it ended; of wait(2) */

static char top[] = "/tmp/weir-fuzz-XXXXXX";
static struct image_store *store;

/* ---- the store --------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void remove_all(void)
{
	nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static char *path_of(const char *name)
{
	static char path[2][256];
	static unsigned at;
	char *p = path[at++ % 2];

	snprintf(p, sizeof(path[0]), "%s/%s", top, name);
	return p;
}

static void make(const char *name, mode_t mode)
{
	static const char content[SIZE_GIVEN];
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	MUST(fd >= 0 && write(fd, content, sizeof(content)) == SIZE_GIVEN);
	MUST(fchmod(fd, mode) == 0);
	close(fd);
}

static void set_up(void)
{
	static const char *const folders[] = { "kernel", "boot", "root", "archive" };
	struct image_error e;
	char name[64], other[80];

	MUST(mkdtemp(top) && atexit(remove_all) == 0);
	MUST(mkdir(path_of("store"), 0700) == 0 && mkdir(path_of("folder"), 0700) == 0);
	make("outside", 0400);
	make("image", 0600);
	MUST(image_store_open(path_of("store"), &store, &e) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		snprintf(name, sizeof(name), "store/%s/a", folders[i]);
		make(name, 0400);
		snprintf(name, sizeof(name), "store/%s/writable", folders[i]);
		make(name, 0600);
		snprintf(name, sizeof(name), "store/%s/link", folders[i]);
		MUST(symlink("../../outside", path_of(name)) == 0);
		snprintf(name, sizeof(name), "store/%s/second", folders[i]);
		make(name, 0400);
		snprintf(other, sizeof(other), "%s-name", name);
		MUST(link(path_of(name), path_of(other)) == 0);
		snprintf(name, sizeof(name), "store/%s/folder", folders[i]);
		MUST(mkdir(path_of(name), 0500) == 0);
	}
}

/* ---- what must hold ----------------------------------------------------------------------- */

static void must_be(int fd, const char *name)
{
	struct stat a, b;

	MUST(fstat(fd, &a) == 0 && stat(path_of(name), &b) == 0);
	MUST(a.st_dev == b.st_dev && a.st_ino == b.st_ino && S_ISREG(a.st_mode));
}

/* But for one that was cut off with the sentence. */
static void must_be_shown(const char *text)
{
	const uint8_t *p = (const uint8_t *)text;

	for (; *p; p++) {
		MUST(*p >= 0x20 && *p != 0x7f);
		MUST(!(p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0));
		MUST(!(p[0] == 0xe2 && p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae));
		MUST(!(p[0] == 0xe2 && p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
	}
}

static void must_be_config(const struct image_config *c)
{
	MUST(!c->working_dir[0] || c->working_dir[0] == '/');
	must_be_shown(c->user);
	for (char **v = c->env; *v; v++)
		MUST(strchr(*v, '=') && **v != '=');
	MUST(c->entrypoint && c->cmd && c->stop_signal);
}

int __wrap_vm_image_call(const struct vm_image_call *c, json_t **ret, struct conf_error *err)
{
	const uint8_t *nul = memchr(said, 0, said_len);
	size_t n = nul ? (size_t)(nul - said) : said_len;
	struct vm_image_said s = { BUF_INIT(VM_IMAGE_ANSWER_MAX), BUF_INIT(16 << 10) };
	int r;

	n = MIN(n, (size_t)16 << 10);
	MUST(buf_append(&s.complaint, said, n) == 0);
	if (nul)
		MUST(buf_append(&s.answer, nul + 1, said_len - (size_t)(nul + 1 - said)) == 0);
	r = vm_image_heard(&s, c->program, how, ret, err);
	buf_fini(&s.answer);
	buf_fini(&s.complaint);
	return r;
}

/* ---- what it is asked ---------------------------------------------------------------------- */

static int ask_boot(struct conf_error *err)
{
	struct image_boot_options o = { .agent = "agent" };
	struct image_boot b;
	int r = vm_image_boot(HELPER, store, &o, &b, err);

	if (r < 0)
		return r;
	must_be(b.kernel_fd, "store/kernel/a");
	must_be(b.initrd_fd, "store/boot/a");
	must_be_shown(b.release);
	must_be_shown(b.source_path);
	image_boot_fini(&b);
	return 0;
}

static int ask_root(enum ask ask, struct conf_error *err)
{
	struct image_root_options o = { .rootfs = ask == ASK_FOLDER ? path_of("folder")
						  : ask == ASK_FILE ? path_of("image")
								    : NULL,
					.archive = ask == ASK_ARCHIVE ? "archive.tar" : NULL };
	struct image_root root;
	int r = vm_image_root(HELPER, store, &o, &root, err);

	if (r < 0)
		return r;
	must_be(root.fd, ask == ASK_FILE     ? "image"
			 : ask == ASK_FOLDER ? "store/root/a"
					     : "store/archive/a");
	MUST(root.size == SIZE_GIVEN && (ask == ASK_FILE || root.fs == IMAGE_EXT4));
	must_be_config(&root.config);
	for (char **note = root.notes; *note; note++)
		must_be_shown(*note);
	image_root_fini(&root);
	return 0;
}

static int ask_volume(struct conf_error *err)
{
	struct image_volume v = { .source = path_of("image"), .target = NULL, .fd = -1 };
	int r;

	v.source = strdup(v.source);
	MUST(v.source != NULL);
	r = vm_image_volume(HELPER, store, &v, err);
	if (r == 0) {
		must_be(v.fd, "image");
		MUST(v.size == SIZE_GIVEN && v.fs <= IMAGE_EROFS);
	}
	image_volume_fini(&v);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int ends[] = { 0, 1 << 8, 3 << 8, 9 };
	struct conf_error err = { "" };
	enum ask ask;
	int r;

	if (!store) {
		set_up();
		log_setup("", LOG_LEVEL_ERROR);
	}
	if (!size)
		return 0;
	ask = data[0] % ASKS;
	/* Most of them end well. */
	how = data[0] < 200 ? 0 : ends[data[0] / ASKS % ARRAY_SIZE(ends)];
	said = data + 1;
	said_len = size - 1;
	r = ask == ASK_BOOT	? ask_boot(&err)
	    : ask == ASK_VOLUME ? ask_volume(&err)
				: ask_root(ask, &err);
	MUST(r == 0 || err.text[0]);
	must_be_shown(err.text);
	return 0;
}
