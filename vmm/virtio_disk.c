/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image, and a layer over it.
 *
 * The layer is one sparse file: a page that says what it is, a bit per cluster of 4 KiB, then
 * the clusters, each at its own place. A cluster with its bit set is read from the layer,
 * any other from the image, which is never written to. A cluster that is written in part for
 * the first time is copied up before.
 *
 *     0        4096                data_at                        data_at + size
 *     │ header │ present bits ...  │ clusters, as on the disk ... │
 *
 * Such a disk is one with a write cache: what was flushed is there after a crash, of what was
 * not, any sector may be old or new and nothing else. That needs an order: clusters reach the
 * file, and then the bits that speak of them. So bits change in memory, and a flush writes them
 * out behind the clusters. Killed in between, the layer is as of the last flush, and
 * the guest's journal does the rest. A layer that has no name any more goes with this
 * process, so a flush has nothing to do.
 *
 * What is discarded becomes a hole in the layer, where it had clusters; the image's own stay
 * what they are, as a discard allows. Zeros are a hole, too, but one that the layer has. A hole is there at once,
 * before a flush: of what was not flushed, old (the image's) and new (zeros) may both come after a crash.
 *
 * Read-only is enforced here: there is no call that writes to an image which is that.
 */
#include "vmm/virtio_disk.h"
#include "vmm/virtq.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLUSTER UINT64_C(4096)
#define PAGE UINT64_C(4096)
#define HEADER_LEN PAGE
#define LAYER_VERSION 1
#define DATA_ALIGN (UINT64_C(64) << 10)
/* Bits for this many bytes are 128 MiB of memory, of which only what is used is there. */
#define LAYERED_MAX (UINT64_C(4) << 40)

/* Little-endian, like every machine that this monitor runs on. */
struct layer_header {
	char magic[8];
	uint32_t version, cluster;
	uint64_t size, data_at;
};
static const char layer_magic[8] = { 'w', 'e', 'i', 'r', 'l', 'a', 'y', 'r' };

/* ---- whole transfers ---------------------------------------------------- */

static void advance(struct iovec **v, unsigned *n, size_t done)
{
	while (*n && done >= (*v)->iov_len) {
		done -= (*v)->iov_len;
		(*v)++;
		(*n)--;
	}
	if (*n) {
		(*v)->iov_base = (uint8_t *)(*v)->iov_base + done;
		(*v)->iov_len -= done;
	}
}

/* What lies behind the file's end is zero. v is used up. */
static int read_all(int fd, uint64_t off, struct iovec *v, unsigned n)
{
	while (n) {
		ssize_t k = preadv(fd, v, (int)n, (off_t)off);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		if (k == 0)
			break;
		off += (uint64_t)k;
		advance(&v, &n, (size_t)k);
	}
	for (unsigned i = 0; i < n; i++)
		memset(v[i].iov_base, 0, v[i].iov_len);
	return 0;
}

static int write_all(int fd, uint64_t off, struct iovec *v, unsigned n)
{
	while (n) {
		ssize_t k = pwritev(fd, v, (int)n, (off_t)off);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EIO;
		off += (uint64_t)k;
		advance(&v, &n, (size_t)k);
	}
	return 0;
}

static int read_buf(int fd, uint64_t off, void *p, size_t n)
{
	struct iovec v = { p, n };

	return read_all(fd, off, &v, 1);
}

static int write_buf(int fd, uint64_t off, void *p, size_t n)
{
	struct iovec v = { p, n };

	return write_all(fd, off, &v, 1);
}

/* ---- clusters ----------------------------------------------------------- */

static bool present(const struct virtio_disk *d, uint64_t cluster)
{
	return d->present[cluster / 8] >> cluster % 8 & 1;
}

static void set_present(struct virtio_disk *d, uint64_t cluster)
{
	d->present[cluster / 8] |= (uint8_t)(1u << cluster % 8);
	d->dirty[cluster / 8 / PAGE] = 1;
}

/* Bytes from off on, at most len, that all come from the layer or all from the image. */
static uint64_t run_of(const struct virtio_disk *d, uint64_t off, uint64_t len, bool *ret_present)
{
	uint64_t end = off + len, at = off;
	bool is = present(d, off / CLUSTER);

	while (at < end && present(d, at / CLUSTER) == is)
		at = (at / CLUSTER + 1) * CLUSTER;
	*ret_present = is;
	return MIN(at, end) - off;
}

static int read_layered(struct virtio_disk *d, uint64_t off, uint64_t len, const struct iovec *v,
			unsigned n)
{
	uint64_t done = 0;
	int r = 0;

	while (r == 0 && done < len) {
		struct iovec part[VIRTQ_CHAIN_MAX];
		bool ours;
		uint64_t run = run_of(d, off + done, len - done, &ours);
		unsigned k = virtq_slice(v, n, done, run, part);

		r = ours ? read_all(d->layer, d->data_at + off + done, part, k)
			 : read_all(d->fd, off + done, part, k);
		done += run;
	}
	return r;
}

/* A cluster that a write changes in part has to be whole in the layer first. */
static int copy_up(struct virtio_disk *d, uint64_t cluster)
{
	uint8_t b[CLUSTER];
	int r;

	if (present(d, cluster))
		return 0;
	r = read_buf(d->fd, cluster * CLUSTER, b, sizeof(b));
	return r < 0 ? r : write_buf(d->layer, d->data_at + cluster * CLUSTER, b, sizeof(b));
}

static int write_layered(struct virtio_disk *d, uint64_t off, uint64_t len, const struct iovec *v,
			 unsigned n)
{
	uint64_t first = off / CLUSTER, last = (off + len - 1) / CLUSTER;
	struct iovec part[VIRTQ_CHAIN_MAX];
	int r = 0;

	d->unsynced = true;
	if (off % CLUSTER)
		r = copy_up(d, first);
	if (r == 0 && (off + len) % CLUSTER && (last != first || off % CLUSTER == 0))
		r = copy_up(d, last);
	if (r == 0)
		r = write_all(d->layer, d->data_at + off, part, virtq_slice(v, n, 0, len, part));
	if (r < 0)
		return r;
	for (uint64_t c = first; c <= last; c++)
		if (!present(d, c))
			set_present(d, c);
	return 0;
}

static int flush_layer(struct virtio_disk *d)
{
	if (!d->lasting || !d->unsynced)
		return 0;
	if (fdatasync(d->layer) < 0)
		return -errno;
	for (size_t page = 0; page < d->present_len / PAGE; page++) {
		int r;

		if (!d->dirty[page])
			continue;
		r = write_buf(d->layer, HEADER_LEN + page * PAGE, d->present + page * PAGE, PAGE);
		if (r < 0)
			return r;
		d->dirty[page] = 0;
	}
	if (fdatasync(d->layer) < 0)
		return -errno;
	d->unsynced = false;
	return 0;
}

/* ---- holes -------------------------------------------------------------- */

/* What a file system without holes costs; requests are bounded by their user. */
static int write_zeros(int fd, uint64_t off, uint64_t len)
{
	static const uint8_t zeros[64 << 10];
	int r = 0;

	while (r == 0 && len) {
		struct iovec v = { (void *)(uintptr_t)zeros, (size_t)MIN(len, sizeof(zeros)) };
		uint64_t n = v.iov_len;

		r = write_all(fd, off, &v, 1);
		off += n;
		len -= n;
	}
	return r;
}

static bool cannot(int err)
{
	return err == EOPNOTSUPP || err == ENOSYS || err == ENODEV;
}

/* 0 also where there are no holes to be had. */
static int punch(int fd, uint64_t off, uint64_t len)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) == 0)
		return 0;
	return cannot(errno) ? 0 : -errno;
}

static int zero(int fd, uint64_t off, uint64_t len, bool unmap)
{
	int how = (unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;

	if (fallocate(fd, how, (off_t)off, (off_t)len) == 0)
		return 0;
	return cannot(errno) ? write_zeros(fd, off, len) : -errno;
}

/* Clusters that lie within whole: first to end. The disk's last may be shorter. */
static void whole_clusters(const struct virtio_disk *d, uint64_t off, uint64_t len,
			   uint64_t *ret_first, uint64_t *ret_end)
{
	*ret_first = (off + CLUSTER - 1) / CLUSTER;
	*ret_end = off + len == d->size ? d->n_clusters : (off + len) / CLUSTER;
}

static int discard_layered(struct virtio_disk *d, uint64_t off, uint64_t len)
{
	uint64_t at, end;
	int r = 0;

	whole_clusters(d, off, len, &at, &end);
	while (r == 0 && at < end) {
		uint64_t from = at;

		while (at < end && present(d, at))
			at++;
		if (at > from)
			r = punch(d->layer, d->data_at + from * CLUSTER, (at - from) * CLUSTER);
		while (at < end && !present(d, at))
			at++;
	}
	return r;
}

/* Less than a cluster. */
static int zero_part(struct virtio_disk *d, uint64_t off, uint64_t len)
{
	uint8_t zeros[CLUSTER] = { 0 };
	struct iovec v = { zeros, (size_t)len };

	return len ? write_layered(d, off, len, &v, 1) : 0;
}

static int zero_layered(struct virtio_disk *d, uint64_t off, uint64_t len, bool unmap)
{
	uint64_t first, end;
	int r;

	whole_clusters(d, off, len, &first, &end);
	if (first >= end) {
		uint64_t head = MIN(len, CLUSTER - off % CLUSTER);

		r = zero_part(d, off, head);
		return r < 0 ? r : zero_part(d, off + head, len - head);
	}
	r = zero_part(d, off, first * CLUSTER - off);
	if (r == 0)
		r = zero(d->layer, d->data_at + first * CLUSTER, (end - first) * CLUSTER, unmap);
	if (r < 0)
		return r;
	for (uint64_t c = first; c < end; c++)
		if (!present(d, c))
			set_present(d, c);
	d->unsynced = true;
	return off + len > end * CLUSTER ? zero_part(d, end * CLUSTER, off + len - end * CLUSTER) : 0;
}

/* ---- the disk ----------------------------------------------------------- */

int virtio_disk_read(struct virtio_disk *d, uint64_t off, uint64_t len, const struct iovec *v,
		     unsigned n)
{
	struct iovec all[VIRTQ_CHAIN_MAX];

	if (d->layer >= 0)
		return read_layered(d, off, len, v, n);
	return read_all(d->fd, off, all, virtq_slice(v, n, 0, len, all));
}

int virtio_disk_write(struct virtio_disk *d, uint64_t off, uint64_t len, const struct iovec *v,
		      unsigned n)
{
	struct iovec all[VIRTQ_CHAIN_MAX];

	if (d->read_only)
		return -EROFS;
	if (len == 0)
		return 0;
	if (d->layer >= 0)
		return write_layered(d, off, len, v, n);
	return write_all(d->fd, off, all, virtq_slice(v, n, 0, len, all));
}

int virtio_disk_discard(struct virtio_disk *d, uint64_t off, uint64_t len)
{
	if (d->read_only)
		return -EROFS;
	if (len == 0)
		return 0;
	return d->layer >= 0 ? discard_layered(d, off, len) : punch(d->fd, off, len);
}

int virtio_disk_zero(struct virtio_disk *d, uint64_t off, uint64_t len, bool unmap)
{
	if (d->read_only)
		return -EROFS;
	if (len == 0)
		return 0;
	return d->layer >= 0 ? zero_layered(d, off, len, unmap) : zero(d->fd, off, len, unmap);
}

int virtio_disk_flush(struct virtio_disk *d)
{
	if (d->read_only)
		return 0;
	if (d->layer >= 0)
		return flush_layer(d);
	return fdatasync(d->fd) < 0 ? -errno : 0;
}

/* ---- opening ------------------------------------------------------------ */

static int wrong(const char **ret_why, const char *why, int err)
{
	*ret_why = why;
	return err;
}

static uint64_t layer_size(const struct virtio_disk *d)
{
	return d->data_at + d->n_clusters * CLUSTER;
}

static int new_layer(struct virtio_disk *d, const char **ret_why)
{
	struct layer_header h = {
		.version = LAYER_VERSION,
		.cluster = CLUSTER,
		.size = d->size,
		.data_at = d->data_at,
	};
	int r;

	memcpy(h.magic, layer_magic, sizeof(h.magic));
	if (ftruncate(d->layer, (off_t)layer_size(d)) < 0)
		return wrong(ret_why, "the layer of a disk cannot be made as large as the disk",
			     -errno);
	r = write_buf(d->layer, 0, &h, sizeof(h));
	return r < 0 ? wrong(ret_why, "the layer of a disk cannot be written to", r) : 0;
}

static int old_layer(struct virtio_disk *d, uint64_t file_size, const char **ret_why)
{
	struct layer_header h;
	int r = read_buf(d->layer, 0, &h, sizeof(h));

	if (r == 0)
		r = read_buf(d->layer, HEADER_LEN, d->present, d->present_len);
	if (r < 0)
		return wrong(ret_why, "the layer of a disk cannot be read", r);
	if (memcmp(h.magic, layer_magic, sizeof(h.magic)) != 0)
		return wrong(ret_why, "the layer of a disk is some other file", -EINVAL);
	if (h.version != LAYER_VERSION || h.cluster != CLUSTER)
		return wrong(ret_why, "the layer of a disk is of another version", -EINVAL);
	if (h.size != d->size || h.data_at != d->data_at)
		return wrong(ret_why, "the layer belongs to a disk of another size", -EINVAL);
	if (file_size < layer_size(d))
		return wrong(ret_why, "the layer of a disk has been cut short", -EINVAL);
	return 0;
}

static int open_layer(struct virtio_disk *d, const char **ret_why)
{
	struct stat st;

	if (d->size > LAYERED_MAX)
		return wrong(ret_why, "a disk of more than 4 TiB cannot have a layer", -EFBIG);
	if (fstat(d->layer, &st) < 0 || !S_ISREG(st.st_mode))
		return wrong(ret_why, "the layer of a disk is no regular file", -EINVAL);
	d->lasting = st.st_nlink > 0;
	d->n_clusters = (d->size + CLUSTER - 1) / CLUSTER;
	d->present_len = (d->n_clusters / 8 + PAGE) & ~(PAGE - 1);
	d->data_at = (HEADER_LEN + d->present_len + DATA_ALIGN - 1) & ~(DATA_ALIGN - 1);
	d->present = calloc(1, d->present_len);
	d->dirty = calloc(1, d->present_len / PAGE);
	if (!d->present || !d->dirty)
		return wrong(ret_why, "no memory for the layer of a disk", -ENOMEM);
	return st.st_size ? old_layer(d, (uint64_t)st.st_size, ret_why) : new_layer(d, ret_why);
}

int virtio_disk_open(struct virtio_disk *d, const struct virtio_block_setup *s, const char **ret_why)
{
	off_t end = lseek(s->fd, 0, SEEK_END);
	int r = 0;

	*d = (struct virtio_disk){ .fd = s->fd, .layer = s->layer_fd, .read_only = s->read_only };
	if (end < 0)
		return wrong(ret_why, "the image of a disk has no size", -errno);
	if (end == 0)
		return wrong(ret_why, "the image of a disk is empty", -EINVAL);
	d->size = ((uint64_t)end + DISK_SECTOR - 1) & ~(uint64_t)(DISK_SECTOR - 1);
	/* Two machines that write to one file destroy it. Held until the last copy of the descriptor closes. */
	if (!d->read_only && flock(d->layer < 0 ? d->fd : d->layer, LOCK_EX | LOCK_NB) < 0)
		return wrong(ret_why, "another machine writes to this disk", -errno);
	if (d->layer >= 0)
		r = open_layer(d, ret_why);
	if (r < 0) {
		free(d->present);
		free(d->dirty);
		d->present = d->dirty = NULL;
	}
	return r;
}

void virtio_disk_close(struct virtio_disk *d)
{
	/* Nobody is left to tell. */
	(void)!virtio_disk_flush(d);
	free(d->present);
	free(d->dirty);
}
