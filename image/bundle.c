/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The archive around an image (docker save, OCI layout): a tar of small JSON files and of layers,
 * in any order. It is walked once for the places of its members, skipping their contents, and each
 * member is then read from its place. An archive that is packed as a whole is unpacked first,
 * into a file without a name.
 *
 * Names are looked up and compared, never opened: a member called "../../etc/passwd" is one
 * that nothing asks for. Two members of one name would let two readers see two images: refused.
 */
#include "image/bundle.h"
#include "image/store.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <unistd.h>

void bundle_fini(struct bundle *b)
{
	for (size_t i = 0; i < b->n; i++) {
		free(b->members[i].name);
		free(b->members[i].target);
	}
	free(b->members);
	fd_close(b->fd);
	free(b->path);
	*b = (struct bundle){ .fd = -1 };
}

/* ---- unpacking the whole ---- */

static int spool(struct stream *from, int fd)
{
	uint64_t sum = 0;
	const uint8_t *p;
	size_t n;
	int r;

	for (;;) {
		r = stream_next(from, &p, &n);
		if (r < 0 || n == 0)
			return r;
		if (n > LAYER_BYTES_MAX - sum)
			return -EFBIG;
		sum += n;
		r = fd_write_all(fd, p, n);
		if (r < 0)
			return r;
	}
}

static int unpack_whole(struct bundle *b, struct image_store *store, enum packing packing,
			struct image_error *err)
{
	struct stream_file *file = malloc(sizeof(*file));
	struct stream_unpack u;
	cleanup_close int fd = -1;
	struct stat st;
	int r;

	if (!file)
		return image_fail(err, ENOMEM, "out of memory");
	r = store_scratch(store, &fd, err);
	if (r < 0) {
		free(file);
		return r;
	}
	stream_file_init(file, b->fd, 0, b->len);
	r = stream_unpack_init(&u, &file->s, packing);
	if (r == 0) {
		r = spool(&u.s, fd);
		stream_unpack_fini(&u);
	}
	free(file);
	if (r == 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r < 0)
		return image_fail_sys(err, -r, "cannot unpack %s (%s)", b->path,
				      packing_name(packing));
	fd_close(b->fd);
	b->fd = steal_fd(&fd);
	b->len = (uint64_t)st.st_size;
	return 0;
}

/* ---- members ---- */

/* "./a/b" is "a/b". */
static const char *plain_name(const char *name)
{
	while (str_starts(name, "./"))
		name += 2;
	return name;
}

/* What links of old archives mean: "../HASH/layer.tar" from "HASH2/layer.tar", or a name as is. */
static const char *link_target(const char *target)
{
	while (str_starts(target, "../") || str_starts(target, "./"))
		target = strchr(target, '/') + 1;
	return target;
}

static int add_member(struct bundle *b, struct archive *a, struct archive_entry *entry)
{
	const char *name = archive_entry_pathname(entry), *target = archive_entry_symlink(entry);
	struct bundle_member *m;

	if (!target)
		target = archive_entry_hardlink(entry);
	/* Names that matter are ASCII. */
	if (!name || (!target && archive_entry_filetype(entry) != AE_IFREG))
		return 0;
	if (b->n >= BUNDLE_MEMBERS_MAX)
		return -E2BIG;
	m = reallocarray(b->members, b->n + 1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	b->members = m;
	m += b->n;
	*m = (struct bundle_member){ .name = strdup(plain_name(name)) };
	if (!m->name)
		return -ENOMEM;
	b->n++;
	m->pos = (uint64_t)archive_read_header_position(a);
	m->size = archive_entry_size(entry) > 0 ? (uint64_t)archive_entry_size(entry) : 0;
	if (target) {
		m->target = strdup(link_target(target));
		if (!m->target)
			return -ENOMEM;
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct bundle_member *)a)->name,
		      ((const struct bundle_member *)b)->name);
}

static int walk(struct bundle *b)
{
	struct stream_file *file = malloc(sizeof(*file));
	struct stream_source src = { .from = file ? &file->s : NULL, .file = file };
	struct archive *a = tar_reader_new();
	struct archive_entry *entry;
	int r = -ENOMEM, e = ARCHIVE_OK;

	if (file && a) {
		r = 0;
		stream_file_init(file, b->fd, 0, b->len);
		e = stream_source_open(a, &src);
		while (r == 0 && (e == ARCHIVE_OK || e == ARCHIVE_WARN)) {
			e = archive_read_next_header(a, &entry);
			if (e == ARCHIVE_OK || e == ARCHIVE_WARN)
				r = add_member(b, a, entry);
		}
		if (r == 0 && e != ARCHIVE_EOF)
			r = src.error ? src.error : -EBADMSG;
	}
	if (a)
		archive_read_free(a);
	free(file);
	return r;
}

static int index_members(struct bundle *b, struct image_error *err)
{
	int r = walk(b);

	if (r == -EBADMSG)
		return image_fail(
			err, EBADMSG,
			"%s is no tar archive, or a damaged one (it takes what docker save, "
			"podman save and skopeo copy oci-archive: write)",
			b->path);
	if (r == -E2BIG)
		return image_fail(err, E2BIG, "%s has more than %d members: no container image",
				  b->path, BUNDLE_MEMBERS_MAX);
	if (r < 0)
		return image_fail_sys(err, -r, "cannot read %s", b->path);
	if (b->n)
		qsort(b->members, b->n, sizeof(*b->members), by_name);
	for (size_t i = 1; i < b->n; i++)
		if (str_eq(b->members[i - 1].name, b->members[i].name)) {
			char quoted[128];

			return image_fail(err, EBADMSG, "%s has two members called \"%s\"", b->path,
					  log_quote(b->members[i].name, strlen(b->members[i].name),
						    quoted, sizeof(quoted)));
		}
	return 0;
}

int bundle_open(const char *path, struct image_store *store, struct bundle *ret,
		struct image_error *err)
{
	struct bundle b = { .fd = open(path, O_RDONLY | O_CLOEXEC) };
	uint8_t head[16];
	struct stat st;
	ssize_t n;
	int r = 0;

	if (b.fd < 0 || fstat(b.fd, &st) < 0 || (n = pread(b.fd, head, sizeof(head), 0)) < 0) {
		r = image_fail_sys(err, errno, "cannot read the image %s%s", path,
				   errno == EISDIR ? " (a folder in OCI layout: tar -C FOLDER -cf "
						     "FILE . first)"
						   : "");
		fd_close(b.fd);
		return r;
	}
	b.path = strdup(path);
	b.len = (uint64_t)st.st_size;
	if (!b.path)
		r = image_fail(err, ENOMEM, "out of memory");
	else if (!S_ISREG(st.st_mode))
		r = image_fail(err, EINVAL, "the image %s is no file", path);
	else if (packing_of(head, (size_t)n) != PACKING_NONE)
		r = unpack_whole(&b, store, packing_of(head, (size_t)n), err);
	if (r == 0)
		r = index_members(&b, err);
	if (r < 0)
		bundle_fini(&b);
	else
		*ret = b;
	return r;
}

const struct bundle_member *bundle_find(const struct bundle *b, const char *name)
{
	struct bundle_member key = { 0 };
	const struct bundle_member *m = NULL;
	cleanup_free char *copy = strdup(plain_name(name));

	/* A link to a link is enough for what archives hold. */
	for (int i = 0; copy && i < 3; i++) {
		key.name = copy;
		m = b->n ? bsearch(&key, b->members, b->n, sizeof(key), by_name) : NULL;
		if (!m || !m->target)
			return m;
		free(copy);
		copy = strdup(m->target);
	}
	return NULL;
}

/* ---- reading one ---- */

int bundle_reader_open(const struct bundle *b, const struct bundle_member *m,
		       struct bundle_reader *ret)
{
	struct archive_entry *entry;
	int e;

	ret->archive = tar_reader_new();
	if (!ret->archive)
		return -ENOMEM;
	stream_file_init(&ret->file, b->fd, m->pos, b->len);
	ret->source = (struct stream_source){ .from = &ret->file.s, .file = &ret->file };
	e = stream_source_open(ret->archive, &ret->source);
	if (e == ARCHIVE_OK)
		e = archive_read_next_header(ret->archive, &entry);
	if (e != ARCHIVE_OK && e != ARCHIVE_WARN) {
		e = ret->source.error;
		bundle_reader_close(ret);
		return e ? e : -EBADMSG;
	}
	stream_entry_init(&ret->entry, ret->archive, &ret->source.error);
	return 0;
}

void bundle_reader_close(struct bundle_reader *r)
{
	if (r->archive)
		archive_read_free(r->archive);
	r->archive = NULL;
}

int bundle_read(const struct bundle *b, const struct bundle_member *m, struct buf *ret,
		char ret_digest[static DIGEST_HEX])
{
	struct bundle_reader *reader = malloc(sizeof(*reader));
	struct stream_digest d;
	int r;

	if (!reader)
		return -ENOMEM;
	r = bundle_reader_open(b, m, reader);
	if (r == 0) {
		r = stream_digest_init(&d, &reader->entry.s, OCI_JSON_MAX);
		if (r == 0) {
			r = stream_read_all(&d.s, ret);
			if (r == 0)
				digest_end(&d.digest, ret_digest);
			stream_digest_fini(&d);
		}
		bundle_reader_close(reader);
	}
	free(reader);
	return r;
}
