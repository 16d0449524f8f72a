/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels: every packing of a bzImage, the size behind the payload, damage; which kernel is found; modules in order. */
#include "tests/unit/image/image_rig.h"

#include "image/elf.h"
#include "image/kernel.h"

#include <archive.h>
#include <archive_entry.h>
#include <elf.h>

/* ---- an ELF file that says what is asked ---- */

/* type ET_EXEC with a Xen PVH note, or ET_REL with .modinfo. */
static void make_elf(struct buf *b, uint16_t type, const void *info, size_t info_len)
{
	static const char names[] = "\0.modinfo\0.shstrtab";
	Elf64_Ehdr h = { .e_type = type, .e_machine = EM_X86_64, .e_version = 1, .e_ehsize = 64 };
	Elf64_Phdr ph = { .p_type = PT_NOTE };
	Elf64_Shdr s[3] = { 0 };
	uint32_t note[6] = { 4, 8, 18, 0x006e6558, 0x1000000, 0 };

	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	if (type == ET_EXEC) {
		h.e_phoff = sizeof(h);
		h.e_phentsize = sizeof(ph);
		h.e_phnum = 1;
		ph.p_offset = sizeof(h) + sizeof(ph);
		ph.p_filesz = sizeof(note);
		assert_int_equal(buf_append(b, &h, sizeof(h)), 0);
		assert_int_equal(buf_append(b, &ph, sizeof(ph)), 0);
		assert_int_equal(buf_append(b, note, sizeof(note)), 0);
		assert_int_equal(buf_append(b, info, info_len), 0);
		return;
	}
	h.e_shoff = sizeof(h) + info_len + sizeof(names);
	h.e_shentsize = sizeof(s[0]);
	h.e_shnum = 3;
	h.e_shstrndx = 2;
	s[1] = (Elf64_Shdr){
		.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_offset = sizeof(h), .sh_size = info_len
	};
	s[2] = (Elf64_Shdr){ .sh_name = 10,
			     .sh_type = SHT_STRTAB,
			     .sh_offset = sizeof(h) + info_len,
			     .sh_size = sizeof(names) };
	assert_int_equal(buf_append(b, &h, sizeof(h)), 0);
	assert_int_equal(buf_append(b, info, info_len), 0);
	assert_int_equal(buf_append(b, names, sizeof(names)), 0);
	assert_int_equal(buf_append(b, s, sizeof(s)), 0);
}

/* Packs with the library's writer, and puts the size behind as the kernel's build does. */
static void pack(const struct buf *in, int filter, bool trailer, struct buf *out)
{
	struct archive *a = archive_write_new();
	struct archive_entry *e = archive_entry_new();
	size_t used = 0, size = in->len + (1 << 16);
	uint8_t *p = malloc(size), le[4];

	assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
	assert_int_equal(archive_write_add_filter(a, filter), ARCHIVE_OK);
	archive_write_set_bytes_per_block(a, 0);
	archive_write_set_bytes_in_last_block(a, 1);
	assert_int_equal(archive_write_open_memory(a, p, size, &used), ARCHIVE_OK);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_pathname(e, "x");
	assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
	assert_int_equal(archive_write_data(a, buf_at(in), in->len), (la_ssize_t)in->len);
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_entry_free(e);
	archive_write_free(a);
	assert_int_equal(buf_append(out, p, used), 0);
	for (int i = 0; i < 4; i++)
		le[i] = (uint8_t)(in->len >> (8 * i));
	if (trailer)
		assert_int_equal(buf_append(out, le, sizeof(le)), 0);
	free(p);
}

/* Boot protocol 2.15, one setup sector, release behind the header. */
static void make_bzimage(struct buf *out, const struct buf *payload)
{
	uint8_t h[1024] = { 0 };

	h[0x1f1] = 1;
	memcpy(h + 0x202, "HdrS", 4);
	h[0x206] = 15;
	h[0x207] = 2;
	h[0x20e] = 0x80; /* + 0x200 */
	memcpy(h + 0x280, "6.1.0-56-test (builder) #1", 26);
	for (int i = 0; i < 4; i++)
		h[0x24c + i] = (uint8_t)(payload->len >> (8 * i));
	assert_int_equal(buf_append(out, h, sizeof(h)), 0);
	assert_int_equal(buf_append(out, buf_at(payload), payload->len), 0);
}

static void make_vmlinux(struct buf *b)
{
	struct buf text = BUF_INIT(1 << 20);

	/* Larger than a block of any packing, and not all alike. */
	for (int i = 0; i < 60000; i++)
		assert_int_equal(buf_printf(&text, "%d,", i * 7919 % 10007), 0);
	make_elf(b, ET_EXEC, buf_at(&text), text.len);
	buf_fini(&text);
}

static int extract(const struct buf *image, struct buf *out, char *release, bool *pvh,
		   struct image_error *err)
{
	buf_reset(out);
	return kernel_extract(buf_at(image), image->len, out, release, pvh, err);
}

static void test_packings(void **state)
{
	static const struct {
		int filter;
		bool trailer;
	} all[] = {
		{ ARCHIVE_FILTER_GZIP, false }, { ARCHIVE_FILTER_XZ, true },
		{ ARCHIVE_FILTER_ZSTD, true },	{ ARCHIVE_FILTER_BZIP2, true },
		{ ARCHIVE_FILTER_LZ4, true },
	};
	struct buf elf = BUF_INIT(1 << 20), out = BUF_INIT(KERNEL_MAX);
	char release[RELEASE_MAX];
	struct image_error err;
	bool pvh;

	(void)state;
	make_vmlinux(&elf);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct buf payload = BUF_INIT(2 << 20), image = BUF_INIT(2 << 20);

		pack(&elf, all[i].filter, all[i].trailer, &payload);
		make_bzimage(&image, &payload);
		if (extract(&image, &out, release, &pvh, &err) < 0)
			fail_msg("filter %d: %s", all[i].filter, err.text);
		assert_int_equal(out.len, elf.len);
		assert_memory_equal(buf_at(&out), buf_at(&elf), elf.len);
		assert_string_equal(release, "6.1.0-56-test");
		assert_true(pvh);
		/* The size behind the payload is compared. */
		if (all[i].trailer) {
			buf_at(&image)[image.len - 4] ^= 1;
			assert_int_equal(extract(&image, &out, release, &pvh, &err), -EBADMSG);
			assert_non_null(strstr(err.text, "should have"));
		}
		/* Cut off anywhere it is an error, and never more than the image holds. */
		for (size_t len = 0; len < image.len; len += 1 + len / 8) {
			struct buf cut = image;

			cut.len = len;
			assert_int_equal(extract(&cut, &out, release, &pvh, &err), -EBADMSG);
		}
		buf_fini(&payload);
		buf_fini(&image);
	}
	/* As it is. */
	assert_int_equal(extract(&elf, &out, release, &pvh, &err), 0);
	assert_int_equal(out.len, elf.len);
	assert_string_equal(release, "");
	buf_fini(&elf);
	buf_fini(&out);
}

/* ---- finding ---- */

static void touch_kernel(const char *root, const char *release, bool modules)
{
	struct buf payload = BUF_INIT(64), image = BUF_INIT(8192);
	char name[256];
	char *path;

	make_bzimage(&image, &payload);
	snprintf(name, sizeof(name), "boot/vmlinuz-%s", release);
	rig_write(root, name, buf_at(&image), image.len);
	snprintf(name, sizeof(name), "lib/modules/%s", release);
	path = rig_path(root, name);
	if (modules)
		assert_int_equal(mkdir(path, 0755), 0);
	free(path);
	buf_fini(&payload);
	buf_fini(&image);
}

static void make_folders(const char *root, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char *path = rig_path(root, names[i]);

		assert_int_equal(mkdir(path, 0755), 0);
		free(path);
	}
}

static void test_find(void **state)
{
	static const char *const folders[] = { "boot", "lib", "lib/modules" };
	char *root = rig_dir(), *path;
	struct kernel_place place;
	struct image_error err;

	(void)state;
	assert_int_equal(kernel_find(root, NULL, NULL, &place, &err), -ENOENT);
	assert_non_null(strstr(err.text, "apt install linux-image-cloud-amd64"));
	make_folders(root, folders, ARRAY_SIZE(folders));
	touch_kernel(root, "6.1.0-99", false);
	assert_int_equal(kernel_find(root, NULL, NULL, &place, &err), -ENOENT);
	assert_non_null(strstr(err.text, "has no modules"));
	/* 56 is after 9, and what has no modules is passed over. */
	touch_kernel(root, "6.1.0-9", true);
	touch_kernel(root, "6.1.0-56", true);
	assert_int_equal(kernel_find(root, NULL, NULL, &place, &err), 0);
	assert_non_null(strstr(place.image, "/boot/vmlinuz-6.1.0-56"));
	assert_non_null(strstr(place.modules, "/lib/modules/6.1.0-56"));
	kernel_place_fini(&place);
	/* Named: its modules are beside it by its own release, which is "6.1.0-56-test" in all of these. */
	path = rig_path(root, "boot/vmlinuz-6.1.0-9");
	assert_int_equal(kernel_find("/nowhere", path, NULL, &place, &err), 0);
	assert_null(place.modules);
	kernel_place_fini(&place);
	touch_kernel(root, "6.1.0-56-test", true);
	assert_int_equal(kernel_find("/nowhere", path, NULL, &place, &err), 0);
	assert_non_null(strstr(place.modules, "6.1.0-56-test"));
	kernel_place_fini(&place);
	assert_int_equal(kernel_find(root, NULL, root, &place, &err), -EINVAL);
	free(path);
	rig_remove(root);
	free(root);
}

/* ---- modules ---- */

static void write_module(const char *dir, const char *name, const char *info, size_t len, int filter)
{
	struct buf elf = BUF_INIT(1 << 16), packed = BUF_INIT(1 << 16);

	make_elf(&elf, ET_REL, info, len);
	if (filter != ARCHIVE_FILTER_NONE)
		pack(&elf, filter, false, &packed);
	else
		assert_int_equal(buf_append(&packed, buf_at(&elf), elf.len), 0);
	rig_write(dir, name, buf_at(&packed), packed.len);
	buf_fini(&elf);
	buf_fini(&packed);
}
#define MODULE(dir, name, info, filter) write_module(dir, name, info, sizeof(info), filter)
#define MAGIC "vermagic=6.1.0-56-test SMP mod_unload "

static void test_modules(void **state)
{
	static const char *const folders[] = { "kernel", "kernel/net", "updates" };
	static const char builtin[] = "kernel/lib/built-in-one.ko\n";
	static const char *const order[] = { "base", "failover", "virtio_net" };
	char *dir = rig_dir();
	struct module_set set = { 0 };
	struct module_index *x;
	struct image_error err;
	const char *license;

	(void)state;
	make_folders(dir, folders, ARRAY_SIZE(folders));
	rig_write(dir, "modules.builtin", builtin, sizeof(builtin) - 1);
	MODULE(dir, "kernel/net/virtio-net.ko.xz", "depends=failover,built-in-one\0" MAGIC,
	       ARCHIVE_FILTER_XZ);
	MODULE(dir, "kernel/net/failover.ko.zst", "license=A\0depends=base\0" MAGIC,
	       ARCHIVE_FILTER_ZSTD);
	MODULE(dir, "updates/failover.ko", "license=B\0depends=base\0" MAGIC, ARCHIVE_FILTER_NONE);
	MODULE(dir, "kernel/base.ko.gz", "depends=\0" MAGIC, ARCHIVE_FILTER_GZIP);
	MODULE(dir, "kernel/a.ko", "depends=b\0" MAGIC, ARCHIVE_FILTER_NONE);
	MODULE(dir, "kernel/b.ko", "depends=a\0" MAGIC, ARCHIVE_FILTER_NONE);
	MODULE(dir, "kernel/other.ko", "depends=\0vermagic=6.2 SMP", ARCHIVE_FILTER_NONE);
	assert_int_equal(module_index_new(dir, &x, &err), 0);

	assert_int_equal(module_add(x, "virtio_net", true, "6.1.0-56-test", &set, &err), 0);
	assert_int_equal(module_add(x, "built_in_one", true, "6.1.0-56-test", &set, &err), 0);
	assert_int_equal(module_add(x, "failover", true, "6.1.0-56-test", &set, &err), 0);
	assert_int_equal(set.n, ARRAY_SIZE(order));
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		assert_string_equal(set.list[i].name, order[i]);
	/* What an administrator put into updates/ goes first. */
	assert_int_equal(
		module_info(buf_at(&set.list[1].data), set.list[1].data.len, "license", &license), 0);
	assert_string_equal(license, "B");

	assert_int_equal(module_add(x, "none", false, "6.1.0-56-test", &set, &err), 0);
	assert_int_equal(module_add(x, "none", true, "6.1.0-56-test", &set, &err), -ENOENT);
	assert_non_null(strstr(err.text, "none"));
	assert_int_equal(module_add(x, "a", true, "6.1.0-56-test", &set, &err), -ELOOP);
	assert_int_equal(module_add(x, "other", true, "6.1.0-56-test", &set, &err), -EINVAL);
	assert_non_null(strstr(err.text, "is for the kernel 6.2 and the kernel is 6.1.0-56-test"));
	module_set_fini(&set);
	module_index_free(x);
	rig_remove(dir);
	free(dir);
}

/* ---- the archive for the kernel ---- */

static void test_cpio(void **state)
{
	struct buf out = BUF_INIT(4096);
	struct cpio c = { .out = &out };

	(void)state;
	assert_int_equal(cpio_add(&c, "init", S_IFREG | 0755, 0, 0, "hello", 5), 0);
	assert_int_equal(cpio_end(&c), 0);
	assert_int_equal(out.len % 4, 0);
	/* magic, ino, mode; size and name's size; the name. */
	assert_memory_equal(buf_at(&out), "07070100000001000081ed", 22);
	assert_memory_equal(buf_at(&out) + 54, "00000005", 8);
	assert_memory_equal(buf_at(&out) + 94, "00000005", 8);
	assert_string_equal((char *)buf_at(&out) + 110, "init");
	assert_memory_equal(buf_at(&out) + 116, "hello", 5);
	assert_memory_equal(buf_at(&out) + 124, "070701", 6);
	assert_string_equal((char *)buf_at(&out) + 124 + 110, "TRAILER!!!");
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packings),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_modules),
		cmocka_unit_test(test_cpio),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
