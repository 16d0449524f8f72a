/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel image or a module that may be anybody's: bzImage header, payload of any packing, ELF
 * tables. What comes out is an ELF program inside the limit, and its texts end.
 */
#include "image/elf.h"
#include "image/kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count(void *ctx, const char *name)
{
	*(size_t *)ctx += strlen(name);
	return 0;
}

static void read_elf(const uint8_t *p, size_t len)
{
	static const char *const keys[] = { "depends", "vermagic" };
	const char *text, *search;
	size_t n = 0;
	struct elf elf;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (module_info(p, len, keys[i], &text) == 0)
			n += strlen(text);
	if (elf_open(p, len, &elf) < 0)
		return;
	if (elf_interp(&elf, &text) == 0)
		n += strlen(text);
	if (elf_needed(&elf, count, &n, &search) == 0 && search)
		n += strlen(search);
	(void)elf_has_pvh(&elf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf out = BUF_INIT(1 << 20);
	char release[RELEASE_MAX];
	struct image_error err;
	struct elf elf;
	bool pvh;

	if (kernel_extract(data, size, &out, release, &pvh, &err) == 0) {
		assert(out.len <= out.cap);
		assert(elf_open(buf_at(&out), out.len, &elf) == 0 && elf_is_program(&elf));
		assert(memchr(release, 0, sizeof(release)));
		read_elf(buf_at(&out), out.len);
	} else {
		assert(memchr(err.text, 0, sizeof(err.text)) && err.text[0]);
	}
	read_elf(data, size);
	buf_fini(&out);
	return 0;
}
