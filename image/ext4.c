/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree becomes an ext4 file system.
 *
 * The file is sparse: blocks of zeros are never written, and in the guest it is the read-only
 * base of a layer that lives as long as its sandbox. Hence:
 *  - no journal: what a crash leaves is thrown away with the layer, and every write would be two;
 *  - inode tables are marked as zeroed (they are: holes), so that the guest's kernel does not
 *    write them in the background;
 *  - no reserved blocks, no check by number of mounts;
 *  - identifiers come from the key and times from the tree: equal input, equal bytes.
 */
#include "image/ext4.h"

#include <ext2fs/ext2fs.h>
#include <stdio.h>
#include <unistd.h>

#define BLOCK 4096u
#define GROUP_BYTES (UINT64_C(128) << 20) /* 8 * BLOCK blocks */
#define CHUNK (256u << 10)
/* Links of a folder, from below (EXT2_LINK_MAX is 65000). */
#define SUBDIRS_MAX 64990

/* Times inside the superblock; any fixed past will do. */
#define MADE_AT 1700000000

struct writer {
	struct tree *tree;
	ext2_filsys fs;
	struct image_error *err;
	blk64_t goal; /* where the next file may begin */
	uint8_t *chunk;
	const struct tree_node *at; /* for messages */
};

static int fail(struct writer *w, errcode_t e, const char *what)
{
	char path[256];

	if (e == EXT2_ET_NO_MEMORY)
		return image_fail(w->err, ENOMEM, "out of memory");
	/* Codes below 256 are errno. */
	if (e == ENOSPC || e == EDQUOT)
		return image_fail(w->err, (int)e, "the disk of the store is full (%s)", what);
	return image_fail(w->err, EIO, "cannot %s for %s: %s", what,
			  w->at ? tree_path(w->at, path, sizeof(path)) : "the image",
			  error_message(e));
}

/* ---- size ---- */

static uint64_t blocks_of(uint64_t bytes)
{
	return bytes / BLOCK + (bytes % BLOCK != 0);
}

/* From above: what content needs, with maps of files and entries of folders. */
static uint64_t content_blocks(const struct tree *t)
{
	uint64_t blocks = 0, names = 0;

	for (struct tree_node *n = t->root; n; n = tree_next(t->root, n)) {
		const struct tree_inode *i = n->inode;

		names += 8 + ((n->name_len + 3) & ~(size_t)3);
		if (S_ISDIR(i->mode))
			blocks += 1;
		if (S_ISLNK(i->mode))
			blocks += 1;
		if (i->xattrs)
			blocks += 1;
		/* One block in 64 for maps: extents of one chunk each in the worst case. */
		if (S_ISREG(i->mode))
			blocks += blocks_of(i->size) + blocks_of(i->size) / 64;
	}
	/* Folders are filled to half at worst: an entry that does not fit opens a new block. */
	return blocks + 2 * blocks_of(names);
}

static int make_fs(struct writer *w, int fd, uint64_t free_bytes)
{
	struct ext2_super_block p = { 0 };
	uint64_t content = content_blocks(w->tree) * BLOCK, size, inodes;
	char name[16];
	errcode_t e;

	/* Inodes: one for each name, and one for every 16 KiB of room, as mke2fs gives. */
	inodes = w->tree->n_nodes + 1024 + free_bytes / 16384;
	size = content + inodes * 256 + free_bytes;
	/* Bitmaps, descriptors, superblocks: below one block in 64. */
	size += size / 64 + (4 << 20);
	size = (size + GROUP_BYTES - 1) / GROUP_BYTES * GROUP_BYTES;
	if (inodes > UINT32_MAX || size > (UINT64_C(8) << 40))
		return image_fail(w->err, EFBIG, "the root file system would be too large");
	p.s_rev_level = EXT2_DYNAMIC_REV;
	p.s_log_block_size = 2;
	p.s_log_cluster_size = 2;
	p.s_inode_size = 256;
	p.s_min_extra_isize = 32;
	p.s_want_extra_isize = 32;
	p.s_desc_size = 64;
	p.s_log_groups_per_flex = 4;
	p.s_inodes_count = (uint32_t)inodes;

	ext2fs_blocks_count_set(&p, size / BLOCK);
	ext2fs_set_feature_dir_index(&p);
	ext2fs_set_feature_xattr(&p);
	ext2fs_set_feature_filetype(&p);
	ext2fs_set_feature_extents(&p);
	ext2fs_set_feature_64bit(&p);
	ext2fs_set_feature_flex_bg(&p);
	ext2fs_set_feature_sparse_super(&p);
	ext2fs_set_feature_large_file(&p);
	ext2fs_set_feature_huge_file(&p);
	ext2fs_set_feature_dir_nlink(&p);
	ext2fs_set_feature_extra_isize(&p);
	ext2fs_set_feature_metadata_csum(&p);
	if (ftruncate(fd, (off_t)size) < 0)
		return image_fail_sys(w->err, errno, "cannot make a file of %llu MiB in the store",
				      (unsigned long long)(size >> 20));
	snprintf(name, sizeof(name), "%d", fd);
	e = ext2fs_initialize(name, EXT2_FLAG_64BITS, &p, unixfd_io_manager, &w->fs);
	return e ? fail(w, e, "lay out a file system") : 0;
}

/* 16 bytes of the key each. */
static void identifiers(ext2_filsys fs, const char *seed)
{
	uint8_t b[32] = { 0 };

	for (size_t i = 0; i < sizeof(b) && seed[2 * i] && seed[2 * i + 1]; i++)
		b[i] = (uint8_t)(str_hex_digit(seed[2 * i]) << 4 | str_hex_digit(seed[2 * i + 1]));
	memcpy(fs->super->s_uuid, b, 16);
	/* RFC 9562: version 8 (custom), variant 10. */
	fs->super->s_uuid[6] = (uint8_t)((fs->super->s_uuid[6] & 0x0f) | 0x80);
	fs->super->s_uuid[8] = (uint8_t)((fs->super->s_uuid[8] & 0x3f) | 0x80);
	memcpy(fs->super->s_hash_seed, b + 16, 16);
}

static errcode_t reserve_inodes(ext2_filsys fs)
{
	ext2_badblocks_list none;
	errcode_t e;

	ext2fs_inode_alloc_stats2(fs, EXT2_BAD_INO, 1, 0);
	e = ext2fs_badblocks_list_create(&none, 0);
	if (!e) {
		e = ext2fs_update_bb_inode(fs, none);
		ext2fs_badblocks_list_free(none);
	}
	for (ext2_ino_t i = EXT2_ROOT_INO + 1; !e && i < EXT2_FIRST_INODE(fs->super); i++)
		ext2fs_inode_alloc_stats2(fs, i, 1, 0);
	return e;
}

static int prepare(struct writer *w, const char *seed)
{
	ext2_filsys fs = w->fs;
	errcode_t e;

	fs->now = MADE_AT;
	fs->super->s_mkfs_time = fs->super->s_lastcheck = fs->super->s_wtime = MADE_AT;
	fs->super->s_checksum_type = EXT2_CRC32C_CHKSUM;
	fs->super->s_max_mnt_count = -1;
	fs->super->s_checkinterval = 0;
	fs->super->s_def_hash_version = EXT2_HASH_HALF_MD4;
	fs->super->s_flags =
		(fs->super->s_flags & ~(uint32_t)EXT2_FLAGS_SIGNED_HASH) | EXT2_FLAGS_UNSIGNED_HASH;
	fs->super->s_errors = EXT2_ERRORS_CONTINUE;
	identifiers(fs, seed);
	ext2fs_init_csum_seed(fs);
	e = ext2fs_allocate_tables(fs);
	if (e)
		return fail(w, e, "lay out a file system");
	for (dgrp_t g = 0; g < fs->group_desc_count; g++) {
		ext2fs_bg_flags_set(fs, g, EXT2_BG_INODE_ZEROED);
		ext2fs_group_desc_csum_set(fs, g);
	}
	e = ext2fs_mkdir(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, NULL);
	if (!e)
		e = reserve_inodes(fs);
	return e ? fail(w, e, "lay out a file system") : 0;
}

/* ---- one inode ---- */

static void set_time(uint32_t *sec, uint32_t *extra, const struct tree_inode *i)
{
	*sec = (uint32_t)i->mtime;
	*extra = (i->mtime_nsec << 2) |
		 ((uint32_t)((i->mtime - (int64_t)(int32_t)(uint32_t)i->mtime) >> 32) & 3);
}

/* Owner, mode and times of an inode that is there. */
static int set_attributes(struct writer *w, ext2_ino_t ino, const struct tree_inode *i)
{
	struct ext2_inode_large large = { 0 };
	struct ext2_inode *small = (struct ext2_inode *)(void *)&large;
	errcode_t e = ext2fs_read_inode_full(w->fs, ino, small, sizeof(large));

	if (e)
		return fail(w, e, "read an inode");
	large.i_mode = (uint16_t)i->mode;
	large.i_uid = (uint16_t)i->uid;
	large.i_gid = (uint16_t)i->gid;
	ext2fs_set_i_uid_high(large, (uint16_t)(i->uid >> 16));
	ext2fs_set_i_gid_high(large, (uint16_t)(i->gid >> 16));
	large.i_extra_isize = sizeof(large) - EXT2_GOOD_OLD_INODE_SIZE;
	set_time(&large.i_mtime, &large.i_mtime_extra, i);
	set_time(&large.i_ctime, &large.i_ctime_extra, i);
	set_time(&large.i_atime, &large.i_atime_extra, i);
	set_time(&large.i_crtime, &large.i_crtime_extra, i);
	e = ext2fs_write_inode_full(w->fs, ino, small, sizeof(large));
	return e ? fail(w, e, "write an inode") : 0;
}

static int set_xattrs(struct writer *w, ext2_ino_t ino, const struct tree_inode *i)
{
	struct ext2_xattr_handle *h;
	errcode_t e;

	if (!i->xattrs)
		return 0;
	e = ext2fs_xattrs_open(w->fs, ino, &h);
	if (e)
		return fail(w, e, "write extended attributes");
	for (const struct tree_xattr *x = i->xattrs; !e && x; x = x->next)
		e = ext2fs_xattr_set(h, x->name, x->value, x->len);
	if (e)
		(void)ext2fs_xattrs_close(&h);
	else
		e = ext2fs_xattrs_close(&h);
	return e ? fail(w, e, "write extended attributes") : 0;
}

static int new_inode(struct writer *w, ext2_ino_t dir, struct tree_inode *i, bool is_dir,
		     ext2_ino_t *ret)
{
	errcode_t e = ext2fs_new_inode(w->fs, dir, (int)i->mode, NULL, ret);

	if (e)
		return fail(w, e, "find an inode");
	ext2fs_inode_alloc_stats2(w->fs, *ret, 1, is_dir);
	i->number = *ret;
	return 0;
}

/* ---- contents ---- */

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Blocks for one chunk, then its bytes, extent by extent. */
static errcode_t write_chunk(struct writer *w, ext2_ino_t ino, struct ext2_inode *inode,
			     blk64_t first, unsigned n_blocks)
{
	struct ext2fs_extent x;
	ext2_extent_handle_t h;
	unsigned done = 0;
	errcode_t e;

	e = ext2fs_fallocate(w->fs, EXT2_FALLOCATE_FORCE_INIT, ino, inode, w->goal, first, n_blocks);
	if (e)
		return e;
	e = ext2fs_extent_open2(w->fs, ino, inode, &h);
	if (e)
		return e;
	while (!e && done < n_blocks) {
		blk64_t at = first + done;
		unsigned n;

		e = ext2fs_extent_goto(h, at);
		if (!e)
			e = ext2fs_extent_get(h, EXT2_EXTENT_CURRENT, &x);
		if (!e && (at < x.e_lblk || at >= x.e_lblk + x.e_len))
			e = EXT2_ET_EXTENT_NOT_FOUND;
		if (e)
			break;
		n = (unsigned)MIN((blk64_t)(n_blocks - done), x.e_lblk + x.e_len - at);
		e = io_channel_write_blk64(w->fs->io, x.e_pblk + (at - x.e_lblk), (int)n,
					   w->chunk + (size_t)done * BLOCK);
		w->goal = x.e_pblk + (at - x.e_lblk) + n;
		done += n;
	}
	ext2fs_extent_free(h);
	return e;
}

/* Next CHUNK bytes of a stream, or what is left; the rest of a block is zeroed. */
static int read_chunk(struct writer *w, struct stream *s, struct rd *left, size_t want)
{
	size_t have = 0;

	while (have < want) {
		size_t n;

		if (!rd_left(left)) {
			const uint8_t *p;
			int r = stream_next(s, &p, &n);

			if (r < 0)
				return r;
			if (n == 0)
				return -ESTALE;
			*left = rd_init(p, n);
		}
		n = MIN(want - have, rd_left(left));
		if (!rd_copy(left, w->chunk + have, n))
			return -EIO;
		have += n;
	}
	memset(w->chunk + have, 0, blocks_of(have) * BLOCK - have);
	return 0;
}

static int write_data(struct writer *w, ext2_ino_t ino, struct ext2_inode *inode,
		      const struct tree_inode *i)
{
	struct tree_reader *reader = malloc(sizeof(*reader));
	struct rd left = { 0 };
	char path[256];
	errcode_t e = 0;
	int r;

	if (!reader)
		return image_fail(w->err, ENOMEM, "out of memory");
	r = tree_reader_open(w->tree, i, reader);
	if (r < 0)
		free(reader);
	for (uint64_t pos = 0; r == 0 && !e && pos < i->size; pos += CHUNK) {
		size_t n = (size_t)MIN(i->size - pos, (uint64_t)CHUNK);

		r = read_chunk(w, reader->s, &left, n);
		if (r == 0 && !all_zero(w->chunk, n))
			e = write_chunk(w, ino, inode, pos / BLOCK, (unsigned)blocks_of(n));
		if (r < 0) {
			tree_reader_close(reader);
			free(reader);
		}
	}
	if (r < 0)
		return image_fail_sys(
			w->err, -r, r == -ESTALE ? "%s changed while it was read" : "cannot read %s",
			tree_path(w->at, path, sizeof(path)));
	tree_reader_close(reader);
	free(reader);
	return e ? fail(w, e, "write data") : 0;
}

static int add_file(struct writer *w, ext2_ino_t ino, const struct tree_inode *i)
{
	struct ext2_inode_large large = { 0 };
	struct ext2_inode *inode = (struct ext2_inode *)(void *)&large;
	ext2_extent_handle_t h;
	errcode_t e;
	int r;

	large.i_mode = (uint16_t)i->mode;
	large.i_links_count = 1;
	large.i_extra_isize = sizeof(large) - EXT2_GOOD_OLD_INODE_SIZE;
	if (S_ISCHR(i->mode) || S_ISBLK(i->mode)) {
		/* The small form where it fits, as the kernel writes it. */
		if (i->major < 256 && i->minor < 256)
			large.i_block[0] = i->major << 8 | i->minor;
		else
			large.i_block[1] =
				(i->minor & 0xff) | i->major << 8 | (i->minor & ~0xffu) << 12;
	}
	if (S_ISREG(i->mode)) {
		e = ext2fs_extent_open2(w->fs, ino, inode, &h);
		if (e)
			return fail(w, e, "begin a file");
		ext2fs_extent_free(h);
		e = ext2fs_inode_size_set(w->fs, inode, (ext2_off64_t)i->size);
		if (e)
			return fail(w, e, "begin a file");
	}
	e = ext2fs_write_inode_full(w->fs, ino, inode, sizeof(large));
	if (e)
		return fail(w, e, "write an inode");
	if (!S_ISREG(i->mode) || i->size == 0)
		return 0;
	r = write_data(w, ino, inode, i);
	if (r < 0)
		return r;
	e = ext2fs_write_inode(w->fs, ino, inode);
	return e ? fail(w, e, "write an inode") : 0;
}

/* ---- names ---- */

static int file_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return EXT2_FT_REG_FILE;
	case S_IFDIR:
		return EXT2_FT_DIR;
	case S_IFLNK:
		return EXT2_FT_SYMLINK;
	case S_IFCHR:
		return EXT2_FT_CHRDEV;
	case S_IFBLK:
		return EXT2_FT_BLKDEV;
	case S_IFIFO:
		return EXT2_FT_FIFO;
	default:
		return EXT2_FT_SOCK;
	}
}

static int link_name(struct writer *w, ext2_ino_t dir, const char *name, ext2_ino_t ino, uint32_t mode)
{
	errcode_t e = ext2fs_link(w->fs, dir, name, ino, file_type(mode));

	if (e == EXT2_ET_DIR_NO_SPACE) {
		e = ext2fs_expand_dir(w->fs, dir);
		if (!e)
			e = ext2fs_link(w->fs, dir, name, ino, file_type(mode));
	}
	return e ? fail(w, e, "enter a name") : 0;
}

static int another_link(struct writer *w, ext2_ino_t dir, const struct tree_node *n)
{
	struct ext2_inode inode;
	errcode_t e = ext2fs_read_inode(w->fs, n->inode->number, &inode);

	if (!e && inode.i_links_count >= SUBDIRS_MAX)
		return image_fail(w->err, EMLINK, "a file has more than %d names", SUBDIRS_MAX);
	if (!e) {
		inode.i_links_count++;
		e = ext2fs_write_inode(w->fs, n->inode->number, &inode);
	}
	if (e)
		return fail(w, e, "link a name");
	return link_name(w, dir, n->name, n->inode->number, n->inode->mode);
}

static int add_node(struct writer *w, struct tree_node *n)
{
	struct tree_inode *i = n->inode;
	ext2_ino_t dir = n->parent->inode->number, ino = 0;
	errcode_t e = 0;
	int r = 0;

	if (i->number)
		return another_link(w, dir, n);
	/* Folders and symlinks count themselves as used; the others are entered here. */
	if (S_ISDIR(i->mode) || S_ISLNK(i->mode)) {
		e = ext2fs_new_inode(w->fs, dir, (int)i->mode, NULL, &ino);
		if (!e)
			e = S_ISDIR(i->mode) ? ext2fs_mkdir(w->fs, dir, ino, NULL)
					     : ext2fs_symlink(w->fs, dir, ino, NULL, i->text);
		if (e)
			return fail(w, e, "make an inode");
		i->number = ino;
	} else {
		r = new_inode(w, dir, i, false, &ino);
		if (r == 0)
			r = add_file(w, ino, i);
	}
	if (r == 0)
		r = set_attributes(w, ino, i);
	if (r == 0)
		r = set_xattrs(w, ino, i);
	return r == 0 ? link_name(w, dir, n->name, ino, i->mode) : r;
}

/* fsck wants somewhere to put what it finds, with blocks that are there already. */
static int add_lost_found(struct writer *w)
{
	struct tree_inode attributes = { .mode = S_IFDIR | 0700, .mtime = MADE_AT };
	ext2_ino_t ino;
	errcode_t e;
	int r;

	if (tree_find(w->tree, w->tree->root, "lost+found", 10))
		return 0;
	e = ext2fs_new_inode(w->fs, EXT2_ROOT_INO, S_IFDIR | 0700, NULL, &ino);
	if (!e)
		e = ext2fs_mkdir(w->fs, EXT2_ROOT_INO, ino, NULL);
	for (int i = 0; !e && i < 3; i++)
		e = ext2fs_expand_dir(w->fs, ino);
	if (e)
		return fail(w, e, "make lost+found");
	r = set_attributes(w, ino, &attributes);
	return r == 0 ? link_name(w, EXT2_ROOT_INO, "lost+found", ino, S_IFDIR) : r;
}

static int add_all(struct writer *w)
{
	struct tree *t = w->tree;
	int r;

	for (struct tree_node *n = t->root; n; n = tree_next(t->root, n))
		n->inode->number = 0;
	t->root->inode->number = EXT2_ROOT_INO;
	r = add_lost_found(w);
	for (struct tree_node *n = tree_next(t->root, t->root); n && r == 0;
	     n = tree_next(t->root, n)) {
		w->at = n;
		r = add_node(w, n);
	}
	w->at = t->root;
	if (r == 0)
		r = set_attributes(w, EXT2_ROOT_INO, t->root->inode);
	if (r == 0)
		r = set_xattrs(w, EXT2_ROOT_INO, t->root->inode);
	w->at = NULL;
	return r;
}

int ext4_write(int fd, struct tree *t, uint64_t free_bytes, const char *seed, struct image_error *err)
{
	struct writer w = { .tree = t, .err = err };
	cleanup_close int own = dup(fd);
	errcode_t e;
	int r;

	w.chunk = malloc(CHUNK);
	if (!w.chunk || own < 0) {
		free(w.chunk);
		return image_fail(err, ENOMEM, "out of memory");
	}
	r = make_fs(&w, own, free_bytes);
	if (r == 0) {
		/* Closed with the file system. */
		(void)steal_fd(&own);
		r = prepare(&w, seed);
		if (r == 0)
			r = add_all(&w);
		if (r == 0) {
			e = ext2fs_close_free(&w.fs);
			r = e ? fail(&w, e, "finish the file system") : 0;
		}
		if (w.fs)
			ext2fs_free(w.fs);
	}
	free(w.chunk);
	return r;
}
