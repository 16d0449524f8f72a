/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container image's archive: members, manifest or index, configuration, layers by digest. An image that
 * is found has as many digests as layers, and its configuration is of the kinds that root.c takes.
 */
#include "image/bundle.h"
#include "image/tree.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* For archives that are packed as a whole: files without a name in a folder of its own. */
static struct image_store *store(void)
{
	static struct image_store *s;
	char dir[64];

	if (!s) {
		snprintf(dir, sizeof(dir), "/tmp/weir-fuzz-image-%d", getuid());
		if (image_store_open(dir, &s, NULL) < 0)
			abort();
	}
	return s;
}

static void apply(const struct bundle *b, const struct oci_image *i)
{
	struct image_error err;
	struct tree *t;

	if (tree_new(&t) < 0)
		return;
	t->spool = memfd_create("spool", MFD_CLOEXEC);
	assert(t->spool >= 0);
	if (oci_apply(b, i, t, &err) < 0)
		assert(memchr(err.text, 0, sizeof(err.text)) && err.text[0]);
	tree_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("archive", MFD_CLOEXEC);
	struct oci_image image;
	struct image_error err;
	struct bundle b;
	char path[32];

	assert(fd >= 0 && fd_write_all(fd, data, size) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (bundle_open(path, store(), &b, &err) == 0) {
		if (oci_select(&b, NULL, &image, &err) == 0) {
			assert(strlen(image.digest) == DIGEST_HEX - 1);
			assert(json_is_object(image.config));
			for (size_t i = 0; i < image.n_layers; i++)
				assert(image.layers[i].member &&
				       strlen(image.layers[i].diff_id) == DIGEST_HEX - 1);
			apply(&b, &image);
			oci_image_fini(&image);
		}
		if (oci_select(&b, "x", &image, &err) == 0)
			oci_image_fini(&image);
		bundle_fini(&b);
	}
	close(fd);
	return 0;
}
