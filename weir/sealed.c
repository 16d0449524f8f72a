/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed memory files: made by whoever has the text, mapped by who needs it. */
#include "weir/sealed.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

int sealed_new(const void *text, size_t len, int *ret_fd)
{
	cleanup_close int fd = memfd_create("weir", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, text, len);
	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

int sealed_map(int fd, struct sealed *ret)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *p;

	/* Not a memory file, or one that its maker could still change or cut under us. */
	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0 || st.st_size <= 0)
		return -EINVAL;
	if ((uint64_t)st.st_size > SEALED_MAX)
		return -EFBIG;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = (struct sealed){ p, (size_t)st.st_size };
	return 0;
}

void sealed_unmap(struct sealed *s)
{
	if (s->text)
		munmap((void *)(uintptr_t)s->text, s->len);
	*s = (struct sealed){ 0 };
}

static int digest(const void *text, size_t len, char ret[static 72])
{
	unsigned char sum[32];

	if (EVP_Digest(text, len, sum, NULL, EVP_sha256(), NULL) != 1)
		return -EIO;
	snprintf(ret, 72, "sha256:");
	for (size_t i = 0; i < sizeof(sum); i++)
		snprintf(ret + 7 + 2 * i, 3, "%02x", sum[i]);
	return 0;
}

int sealed_print_policy(const struct policy *p, int *ret_fd, char ret_digest[static 72])
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int r = f ? policy_print(p, f) : -ENOMEM;

	if (f && fclose(f) != 0 && r == 0)
		r = -ENOMEM;
	if (r == 0)
		r = digest(text, len, ret_digest);
	if (r == 0)
		r = sealed_new(text, len, ret_fd);
	free(text);
	return r;
}

int sealed_policy(int fd, const char *name, struct policy **ret, struct conf_error *err)
{
	struct conf_doc *doc = NULL;
	struct sealed s = { 0 };
	struct conf root;
	int r = sealed_map(fd, &s);

	if (r < 0) {
		conf_error_set(err, "%s: %s", name,
			       r == -EFBIG ? "too long for a policy" : "not a sealed memory file");
		return r;
	}
	r = conf_doc_parse(s.text, s.len, name, CONF_JSON, &doc, err);
	sealed_unmap(&s);
	if (r < 0)
		return r;
	root = conf_root(doc);
	r = policy_load_conf(&root, ret, err);
	conf_doc_free(doc);
	return r;
}
