/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An empty qcow2 image, version 3 (docs/interop/qcow2.txt of QEMU): four clusters of
 * 64 KiB and nothing else, so that no qemu-img is needed.
 *
 *   0  header
 *   1  table of reference counts: its first entry is cluster 2
 *   2  reference counts, 16 bits each: the clusters that there are
 *   3  first level of the address table: nothing is there, so everything is the base's
 *
 * The base is not named in the file: QEMU's command line says what it is.
 */
#include "weir/vm.h"

#include <endian.h>
#include <unistd.h>

#define CLUSTER_BITS 16
#define CLUSTER (UINT64_C(1) << CLUSTER_BITS)
/* A cluster of second-level entries, each for one cluster of data, is one entry of the first level. */
#define PER_L1 (CLUSTER * (CLUSTER / 8))
#define L1_MAX (CLUSTER / 8)

struct header {
	uint32_t magic, version;
	uint64_t backing_offset;
	uint32_t backing_size, cluster_bits;
	uint64_t size;
	uint32_t crypt_method, l1_size;
	uint64_t l1_offset, refcount_offset;
	uint32_t refcount_clusters, n_snapshots;
	uint64_t snapshots_offset;
	uint64_t incompatible, compatible, autoclear;
	uint32_t refcount_order, header_length;
} __attribute__((packed));
_Static_assert(sizeof(struct header) == 104, "the header of qcow2, version 3");

static int put(int fd, uint64_t at, const void *p, size_t n)
{
	ssize_t got = pwrite(fd, p, n, (off_t)at);

	return got == (ssize_t)n ? 0 : got < 0 ? -errno : -ENOSPC;
}

int vm_layer_qcow2(int fd, uint64_t size)
{
	uint64_t l1 = size / PER_L1 + (size % PER_L1 != 0);
	struct header h = {
		.magic = htobe32(0x514649fb), /* "QFI\xfb" */
		.version = htobe32(3),
		.cluster_bits = htobe32(CLUSTER_BITS),
		.size = htobe64(size),
		.l1_size = htobe32((uint32_t)l1),
		.l1_offset = htobe64(3 * CLUSTER),
		.refcount_offset = htobe64(CLUSTER),
		.refcount_clusters = htobe32(1),
		.refcount_order = htobe32(4),
		.header_length = htobe32(sizeof(h)),
	};
	uint64_t block = htobe64(2 * CLUSTER);
	uint16_t counts[4];
	int r;

	if (l1 > L1_MAX || size % 512)
		return -EFBIG;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		counts[i] = htobe16(1);
	if (ftruncate(fd, (off_t)(4 * CLUSTER)) < 0)
		return -errno;
	r = put(fd, 0, &h, sizeof(h));
	if (r == 0)
		r = put(fd, CLUSTER, &block, sizeof(block));
	return r < 0 ? r : put(fd, 2 * CLUSTER, counts, sizeof(counts));
}
