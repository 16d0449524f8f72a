/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk's bytes: an image, which may be read-only, or an image that is only ever read and a layer file
 * that takes what is written. Offsets and lengths are bytes, whole sectors, inside of the disk.
 */
#ifndef WEIR_VMM_VIRTIO_DISK_H
#define WEIR_VMM_VIRTIO_DISK_H

#include "vmm/virtio.h"

#include <sys/uio.h>

#define DISK_SECTOR 512

struct virtio_disk {
	int fd, layer; /* layer -1: there is none */
	bool read_only;
	uint64_t size; /* a multiple of DISK_SECTOR; behind the end of the image there are zeros */
	/* With a layer: */
	bool lasting;  /* it has a name, so that somebody may read it after us */
	bool unsynced; /* written to since the last flush */
	uint64_t n_clusters, data_at;
	uint8_t *present;   /* a bit per cluster: the layer has it */
	uint8_t *dirty;	    /* a byte per page of these bits: the file has older ones */
	size_t present_len; /* bytes, whole pages */
};

must_check int virtio_disk_open(struct virtio_disk *d, const struct virtio_block_setup *s,
				const char **ret_why);
/* Writes out what a flush would. */
void virtio_disk_close(struct virtio_disk *d);

/* len bytes, which v[0..n) holds at least. Negative errno. */
must_check int virtio_disk_read(struct virtio_disk *d, uint64_t off, uint64_t len,
				const struct iovec *v, unsigned n);
must_check int virtio_disk_write(struct virtio_disk *d, uint64_t off, uint64_t len,
				 const struct iovec *v, unsigned n);
/* What is there is of no use any more: it may read as zeros, and its room is given back where that can be. */
must_check int virtio_disk_discard(struct virtio_disk *d, uint64_t off, uint64_t len);
/* Zeros from here on; unmap: their room may be given back. */
must_check int virtio_disk_zero(struct virtio_disk *d, uint64_t off, uint64_t len, bool unmap);
/* What was written is there after a crash of the host. */
must_check int virtio_disk_flush(struct virtio_disk *d);

#endif
