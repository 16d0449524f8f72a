/* SPDX-License-Identifier: Apache-2.0 */
/* Operations as JSON and as the command line's tokens: what is taken has all its parts and a path without "..". */
#include "image/image_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct image_patches *p)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct image_patch *one = &p->list[i];

		assert(one->path && guest_path_ok(one->path));
		assert(one->mode >= -1 && one->mode <= 07777);
		assert(one->op != IMAGE_PATCH_SYMLINK || one->target);
		assert((one->op != IMAGE_PATCH_COPY_FILE && one->op != IMAGE_PATCH_COPY_DIR) ||
		       one->source);
		assert((one->op != IMAGE_PATCH_TEXT && one->op != IMAGE_PATCH_APPEND) ||
		       one->content);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_patches p = { 0 };
	struct image_error err;
	char *text = strndup((const char *)data, size);

	assert(text);
	if (image_patch_parse_json((const char *)data, size, "patch", &p, &err) < 0)
		assert(p.n == 0 && err.text[0]);
	/* Not what reads files of the host. */
	if (text[0] != '@' && !str_starts(text, "file") && image_patch_parse(text, &p, &err) < 0)
		assert(err.text[0]);
	check(&p);
	image_patches_fini(&p);
	free(text);
	return 0;
}
