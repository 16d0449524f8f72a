/* SPDX-License-Identifier: Apache-2.0 */
/* Container archives for tests, with digests that are right until a test changes them. */
#ifndef WEIR_TEST_ARCHIVE_RIG_H
#define WEIR_TEST_ARCHIVE_RIG_H

#include "tests/unit/image/image_rig.h"

#include <zlib.h>

#define RIG_CONFIG                                                                                 \
	"\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{\"Env\":[\"A=b\",\"PATH=/bin\"],"    \
	"\"Entrypoint\":[\"/bin/sh\"],\"Cmd\":[\"-c\",\"id\"],\"WorkingDir\":\"/w\","              \
	"\"User\":\"1:2\",\"StopSignal\":\"SIGINT\"},\"rootfs\":{\"type\":\"layers\",\"diff_"      \
	"ids\":["

/* What is wrong with an archive. */
struct rig_archive {
	const char *arch;    /* NULL: amd64 */
	const char *drop;    /* part of a member's name that is left out */
	const char *twice;   /* part of a member's name that is there twice */
	bool change_layer;   /* the second layer is not what the digests say */
	bool wrong_count;    /* one diff_id too few */
	bool gzip;	     /* layers packed (OCI) */
	bool gzip_all;	     /* the archive packed as a whole */
	bool other_platform; /* (OCI) a manifest for arm64 and an attestation before ours */
};

static inline void rig_gzip(const struct buf *in, struct buf *out)
{
	z_stream z = { 0 };
	uint8_t *p;
	size_t size = in->len + 4096;

	assert_int_equal(buf_reserve(out, size, &p), 0);
	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = buf_at(in);
	z.avail_in = (unsigned)in->len;
	z.next_out = p;
	z.avail_out = (unsigned)size;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	buf_commit(out, size - z.avail_out);
	deflateEnd(&z);
}

static inline void rig_member(struct buf *tar, const struct rig_archive *how, const char *name,
			      const struct buf *content)
{
	int n = how->drop && strstr(name, how->drop)	 ? 0
		: how->twice && strstr(name, how->twice) ? 2
							 : 1;

	while (n-- > 0)
		rig_tar_add(tar, name, '0', NULL, buf_at(content), content->len);
}

static inline void rig_text(struct buf *b, const char *fmt, ...) printf_like(2, 3);
static inline void rig_text(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	assert_int_equal(buf_vprintf(b, fmt, ap), 0);
	va_end(ap);
}

static inline void rig_config(const struct rig_archive *how, const struct buf *layers, size_t n,
			      struct buf *out)
{
	char digest[DIGEST_HEX];

	rig_text(out, "{" RIG_CONFIG, how->arch ? how->arch : "amd64");
	for (size_t i = 0; i < n - how->wrong_count; i++) {
		rig_digest(&layers[i], digest);
		rig_text(out, "%s\"sha256:%s\"", i ? "," : "", digest);
	}
	rig_text(out, "]}}");
}

/* As `docker save` wrote for years: manifest.json, HEX.json, HEX/layer.tar. */
static inline void rig_docker(const struct rig_archive *how, struct buf *layers, size_t n,
			      struct buf *out)
{
	struct buf config = BUF_INIT(1 << 16), manifest = BUF_INIT(1 << 16);
	char digest[DIGEST_HEX], name[128];

	rig_config(how, layers, n, &config);
	rig_digest(&config, digest);
	rig_text(&manifest,
		 "[{\"Config\":\"%s.json\",\"RepoTags\":[\"x:latest\",\"x:1\"],\"Layers\":[", digest);
	snprintf(name, sizeof(name), "%s.json", digest);
	rig_member(out, how, name, &config);
	for (size_t i = 0; i < n; i++) {
		/* Short directory names: they are no digests of anything. */
		snprintf(name, sizeof(name), "%zu/layer.tar", i);
		rig_text(&manifest, "%s\"%s\"", i ? "," : "", name);
		if (how->change_layer && i == 1)
			buf_at(&layers[i])[layers[i].len - 1] ^= 1;
		rig_member(out, how, name, &layers[i]);
	}
	rig_text(&manifest, "]}]");
	rig_member(out, how, "manifest.json", &manifest);
	rig_tar_end(out);
	buf_fini(&config);
	buf_fini(&manifest);
}

static inline void rig_blob(struct buf *out, const struct rig_archive *how, const struct buf *b)
{
	char digest[DIGEST_HEX], name[128];

	rig_digest(b, digest);
	snprintf(name, sizeof(name), "blobs/sha256/%s", digest);
	rig_member(out, how, name, b);
}

static inline void rig_oci(const struct rig_archive *how, struct buf *layers, size_t n,
			   struct buf *out)
{
	struct buf config = BUF_INIT(1 << 16), manifest = BUF_INIT(1 << 16),
		   index = BUF_INIT(1 << 16);
	char digest[DIGEST_HEX], name[128];

	rig_config(how, layers, n, &config);
	rig_digest(&config, digest);
	rig_blob(out, how, &config);
	rig_text(&manifest,
		 "{\"schemaVersion\":2,\"config\":{\"digest\":\"sha256:%s\"},\"layers\":[", digest);
	for (size_t i = 0; i < n; i++) {
		struct buf packed = BUF_INIT(1 << 20);

		if (how->gzip)
			rig_gzip(&layers[i], &packed);
		else
			assert_int_equal(buf_append(&packed, buf_at(&layers[i]), layers[i].len), 0);
		rig_digest(&packed, digest);
		rig_text(&manifest, "%s{\"digest\":\"sha256:%s\"}", i ? "," : "", digest);
		snprintf(name, sizeof(name), "blobs/sha256/%s", digest);
		if (how->change_layer && i == 1)
			buf_at(&packed)[packed.len - 1] ^= 1;
		rig_member(out, how, name, &packed);
		buf_fini(&packed);
	}
	rig_text(&manifest, "]}");
	rig_digest(&manifest, digest);
	rig_blob(out, how, &manifest);
	rig_text(&index, "{\"manifests\":[");
	if (how->other_platform)
		rig_text(
			&index,
			"{\"digest\":\"sha256:00\",\"platform\":{\"os\":\"linux\",\"architecture\":"
			"\"arm64\"}},{\"digest\":\"x\",\"platform\":{\"os\":\"unknown\","
			"\"architecture\":\"unknown\"}},");
	rig_text(&index,
		 "{\"digest\":\"sha256:%s\",\"annotations\":{"
		 "\"org.opencontainers.image.ref.name\":\"x\"}}]}",
		 digest);
	rig_member(out, how, "index.json", &index);
	rig_tar_end(out);
	buf_fini(&config);
	buf_fini(&manifest);
	buf_fini(&index);
}

#endif
