/* SPDX-License-Identifier: Apache-2.0 */
/* What file system a file holds, by its superblock. The file may be anybody's; the guest's kernel mounts it, not the host's. */
#include "image/ext4.h"

#include <ext2fs/ext2fs.h>
#include <unistd.h>

/* Superblocks of ext4 and erofs begin here. */
#define SUPER_AT 1024

static uint16_t le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)le16(p) | (uint32_t)le16(p + 2) << 16;
}

static uint64_t le64(const uint8_t *p)
{
	return (uint64_t)le32(p) | (uint64_t)le32(p + 4) << 32;
}

/* linux/ext4: Documentation/filesystems/ext4/super.rst. False: none, or it cannot be true. */
static bool ext4_size(const uint8_t *sb, uint64_t *ret)
{
	uint64_t blocks = le32(sb + 0x4);
	uint32_t log = le32(sb + 0x18);

	if (le16(sb + 0x38) != 0xef53 || log > 6)
		return false;
	if (le32(sb + 0x60) & EXT4_FEATURE_INCOMPAT_64BIT)
		blocks |= (uint64_t)le32(sb + 0x150) << 32;
	/* RO_COMPAT metadata_csum: the superblock carries its own checksum. */
	if ((le32(sb + 0x64) & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM) &&
	    ext2fs_crc32c_le(~0u, sb, 0x3fc) != le32(sb + 0x3fc))
		return false;
	return blocks && !__builtin_mul_overflow(blocks, UINT64_C(1024) << log, ret);
}

int fs_probe(int fd, enum image_fs *ret_fs, uint64_t *ret_size)
{
	uint8_t b[SUPER_AT + 1024];
	ssize_t n = pread(fd, b, sizeof(b), 0);
	const uint8_t *sb = b + SUPER_AT;
	uint64_t size;

	if (n < 0)
		return -errno;
	if (n < (ssize_t)sizeof(b))
		return -EMEDIUMTYPE;
	if (memcmp(b, "hsqs", 4) == 0 && le16(b + 28) == 4) {
		*ret_fs = IMAGE_SQUASHFS;
		*ret_size = le64(b + 40);
		return 0;
	}
	if (le32(sb) == 0xe0f5e1e2 && sb[12] >= 9 && sb[12] <= 16) {
		*ret_fs = IMAGE_EROFS;
		*ret_size = (uint64_t)le32(sb + 36) << sb[12];
		return 0;
	}
	if (ext4_size(sb, &size)) {
		*ret_fs = IMAGE_EXT4;
		*ret_size = size;
		return 0;
	}
	return -EMEDIUMTYPE;
}

bool ext4_check(int fd, uint64_t size)
{
	enum image_fs fs;
	uint64_t need;

	return fs_probe(fd, &fs, &need) == 0 && fs == IMAGE_EXT4 && need <= size;
}
