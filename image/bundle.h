/* SPDX-License-Identifier: Apache-2.0 */
/* A container image's archive from outside: its members by name, read in any order, any number of times. */
#ifndef WEIR_IMAGE_BUNDLE_H
#define WEIR_IMAGE_BUNDLE_H

#include "image/stream.h"

#include <jansson.h>

struct tree;

struct bundle_member {
	char *name;
	char *target; /* a link: the name it stands for; NULL: a file */
	uint64_t pos; /* of its header */
	uint64_t size;
};

struct bundle {
	char *path; /* for messages */
	int fd;	    /* an unpacked tar */
	uint64_t len;
	struct bundle_member *members; /* by name */
	size_t n;
};

/* scratch: makes a file without a name, for an archive that is packed as a whole. */
must_check int bundle_open(const char *path, struct image_store *store, struct bundle *ret,
			   struct image_error *err);
void bundle_fini(struct bundle *b);
const struct bundle_member *bundle_find(const struct bundle *b, const char *name);

/* One member being read. */
struct bundle_reader {
	struct stream_file file;
	struct stream_source source;
	struct stream_entry entry;
	struct archive *archive;
};
must_check int bundle_reader_open(const struct bundle *b, const struct bundle_member *m,
				  struct bundle_reader *ret);
void bundle_reader_close(struct bundle_reader *r);
/* A whole small member and its digest; -EFBIG beyond OCI_JSON_MAX. */
must_check int bundle_read(const struct bundle *b, const struct bundle_member *m, struct buf *ret,
			   char ret_digest[static DIGEST_HEX]);

/* ---- what is in it (oci.c) ---- */

struct oci_layer {
	const struct bundle_member *member;
	char digest[DIGEST_HEX];  /* of the member; "": not told */
	char diff_id[DIGEST_HEX]; /* of the layer, unpacked */
};

struct oci_image {
	char digest[DIGEST_HEX]; /* of its configuration, which holds all diff_ids */
	json_t *config; /* as root.c keeps it: env, entrypoint, cmd, working_dir, user, stop_signal */
	struct oci_layer *layers; /* the lowest first */
	size_t n_layers;
};

/* The image of that name for x86-64 Linux, or the only one. */
must_check int oci_select(const struct bundle *b, const char *reference, struct oci_image *ret,
			  struct image_error *err);
void oci_image_fini(struct oci_image *i);

/* ---- its layers (layer.c) ---- */

/* All layers into the tree, each checked against its digests; the tree has a spool. */
must_check int oci_apply(const struct bundle *b, const struct oci_image *i, struct tree *t,
			 struct image_error *err);

/* One layer as tar, into a tree that holds those below it. number: from 1. */
struct layer_work {
	struct tree *tree;
	unsigned number;
	uint64_t whiteouts; /* names looked at so far */
	struct image_error *err;
};
must_check int layer_apply(struct layer_work *w, struct stream *tar);

#endif
