/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which image an archive holds: docker's manifest.json, or an OCI layout's index.json (OCI image
 * specification 1.1: image-layout, image-index, manifest, config).
 *
 * The chain of trust inside: a descriptor names a blob by the digest of its bytes, the configuration
 * names each layer by the digest of its unpacked bytes (diff_id), and the configuration's own digest
 * is the image's identity and our key. docker's manifest.json names files without
 * descriptors; there the configuration and its diff_ids are the chain, and file names that are
 * digests are held to it. What does not agree is refused, never repaired.
 *
 * All of it is foreign JSON: sizes are limited, every value's type is looked at.
 */
#include "image/bundle.h"

#include <stdio.h>

void oci_image_fini(struct oci_image *i)
{
	if (i->config)
		json_decref(i->config);
	free(i->layers);
	*i = (struct oci_image){ 0 };
}

struct selecting {
	const struct bundle *bundle;
	const char *reference;
	struct image_error *err;
};

static int broken(const struct selecting *s, const char *what)
{
	return image_fail(s->err, EBADMSG, "the image %s: %s", s->bundle->path, what);
}

/* ---- pieces ---- */

static const char *text(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v)
		       ? json_string_value(v)
		       : NULL;
}

static bool is_hex(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
			return false;
	return true;
}

/* "sha256:HEX" */
static bool take_digest(const char *s, char ret[static DIGEST_HEX])
{
	if (!s || !str_starts(s, "sha256:") || strlen(s + 7) != DIGEST_HEX - 1 ||
	    !is_hex(s + 7, DIGEST_HEX - 1))
		return false;
	memcpy(ret, s + 7, DIGEST_HEX);
	return true;
}

/* A file name that is a digest: ".../HEX" or "HEX.json". */
static bool name_digest(const char *name, char ret[static DIGEST_HEX])
{
	const char *last = strrchr(name, '/');

	last = last ? last + 1 : name;
	if (strlen(last) < DIGEST_HEX - 1 || !is_hex(last, DIGEST_HEX - 1) ||
	    (last[DIGEST_HEX - 1] && !str_eq(last + DIGEST_HEX - 1, ".json")))
		return false;
	memcpy(ret, last, DIGEST_HEX - 1);
	ret[DIGEST_HEX - 1] = '\0';
	return true;
}

static int read_json(const struct selecting *s, const char *name, const char *digest,
		     char *ret_digest, json_t **ret)
{
	const struct bundle_member *m = bundle_find(s->bundle, name);
	struct buf b = BUF_INIT(OCI_JSON_MAX);
	char got[DIGEST_HEX], quoted[128];
	json_error_t why;
	json_t *j = NULL;
	int r;

	log_quote(name, strlen(name), quoted, sizeof(quoted));
	if (!m)
		return image_fail(s->err, EBADMSG, "the image %s: %s is missing in it",
				  s->bundle->path, quoted);
	r = bundle_read(s->bundle, m, &b, got);
	if (r < 0)
		r = image_fail_sys(s->err, -r, "the image %s: cannot read %s", s->bundle->path,
				   quoted);
	else if (digest && digest[0] && !str_eq(digest, got))
		r = image_fail(
			s->err, EBADMSG,
			"the image %s: %s is not what its digest says (sha256:%s): damaged or "
			"changed",
			s->bundle->path, quoted, got);
	if (r == 0) {
		j = json_loadb((const char *)buf_at(&b), b.len, JSON_REJECT_DUPLICATES, &why);
		if (!j)
			r = image_fail(s->err, EBADMSG, "the image %s: %s:%d:%d: %s",
				       s->bundle->path, quoted, why.line, why.column, why.text);
	}
	buf_fini(&b);
	if (r < 0)
		return r;
	if (ret_digest)
		memcpy(ret_digest, got, sizeof(got));
	*ret = j;
	return 0;
}

static void blob_name(const char *digest, char out[static 128])
{
	snprintf(out, 128, "blobs/sha256/%s", digest);
}

/* ---- configuration ---- */

static json_t *copy_strings(const json_t *list)
{
	json_t *copy = json_array();
	size_t n = json_is_array(list) ? json_array_size(list) : 0;

	for (size_t i = 0; copy && i < n; i++) {
		json_t *v = json_array_get(list, i);

		if (json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v) &&
		    json_array_append(copy, v) < 0) {
			json_decref(copy);
			return NULL;
		}
	}
	return copy;
}

static json_t *copy_text(const json_t *o, const char *key)
{
	const char *s = text(o, key);

	return json_string(s ? s : "");
}

/* The part of it that running a command needs. */
static int keep_config(const struct selecting *s, const json_t *config, struct oci_image *i)
{
	const json_t *c = json_object_get(config, "config");

	i->config = json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:o}", "env", copy_strings(json_object_get(c, "Env")),
		"entrypoint", copy_strings(json_object_get(c, "Entrypoint")), "cmd",
		copy_strings(json_object_get(c, "Cmd")), "working_dir", copy_text(c, "WorkingDir"),
		"user", copy_text(c, "User"), "stop_signal", copy_text(c, "StopSignal"));
	return i->config ? 0 : image_fail(s->err, ENOMEM, "out of memory");
}

static int check_platform(const struct selecting *s, const json_t *config)
{
	const char *arch = text(config, "architecture"), *os = text(config, "os");
	char quoted[64];

	if (os && !str_eq(os, "linux"))
		return image_fail(s->err, ENOTSUP, "the image %s is for %s, not Linux",
				  s->bundle->path, log_quote(os, strlen(os), quoted, sizeof(quoted)));
	if (arch && !str_eq(arch, "amd64"))
		return image_fail(s->err, ENOTSUP,
				  "the image %s is for %s and this machine is amd64: save it for "
				  "--platform linux/amd64",
				  s->bundle->path,
				  log_quote(arch, strlen(arch), quoted, sizeof(quoted)));
	return 0;
}

/* diff_ids join the layers, whose members are known. */
static int take_config(const struct selecting *s, const json_t *config, struct oci_image *i)
{
	const json_t *ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
	int r = check_platform(s, config);

	if (r < 0)
		return r;
	if (!json_is_array(ids) || json_array_size(ids) != i->n_layers)
		return broken(s, "its configuration and its manifest disagree on the layers");
	for (size_t n = 0; n < i->n_layers; n++) {
		const json_t *id = json_array_get(ids, n);

		if (!json_is_string(id) || !take_digest(json_string_value(id), i->layers[n].diff_id))
			return broken(s, "a layer's diff_id is no sha256 digest");
	}
	return keep_config(s, config, i);
}

static int new_layers(const struct selecting *s, const json_t *list, struct oci_image *i)
{
	size_t n = json_is_array(list) ? json_array_size(list) : 0;

	if (!json_is_array(list) || n > OCI_LAYERS_MAX)
		return broken(s, n ? "it has too many layers" : "its manifest has no layers");
	i->layers = calloc(MAX(n, (size_t)1), sizeof(*i->layers));
	if (!i->layers)
		return image_fail(s->err, ENOMEM, "out of memory");
	i->n_layers = n;
	return 0;
}

static int find_layer(const struct selecting *s, const char *name, struct oci_layer *l)
{
	l->member = name ? bundle_find(s->bundle, name) : NULL;
	return l->member ? 0 : broken(s, "a layer is missing in it (saved only in part?)");
}

/* ---- docker's manifest.json ---- */

static bool tag_matches(const char *tag, const char *reference)
{
	size_t n = strlen(reference);

	return str_eq(tag, reference) ||
	       (strncmp(tag, reference, n) == 0 && str_eq(tag + n, ":latest"));
}

static int docker_pick(const struct selecting *s, const json_t *list, const json_t **ret)
{
	size_t n = json_array_size(list), index;
	json_t *one, *tag;
	size_t t;

	if (!s->reference && n == 1) {
		*ret = json_array_get(list, 0);
		return 0;
	}
	if (!s->reference)
		return image_fail(s->err, EINVAL,
				  "%s holds %zu images: name one with --reference NAME:TAG",
				  s->bundle->path, n);
	json_array_foreach((json_t *)(uintptr_t)list, index, one)
	{
		json_array_foreach(json_object_get(one, "RepoTags"), t, tag)
		{
			if (json_is_string(tag) && tag_matches(json_string_value(tag), s->reference)) {
				*ret = one;
				return 0;
			}
		}
	}
	return image_fail(s->err, ENOENT, "%s holds no image called %s", s->bundle->path,
			  s->reference);
}

static int docker_image(const struct selecting *s, const json_t *manifest, struct oci_image *i)
{
	const json_t *layers = json_object_get(manifest, "Layers");
	const char *name = text(manifest, "Config");
	char digest[DIGEST_HEX] = "";
	json_t *config;
	int r = new_layers(s, layers, i);

	for (size_t n = 0; r == 0 && n < i->n_layers; n++) {
		json_t *v = json_array_get(layers, n);
		const char *layer = json_is_string(v) ? json_string_value(v) : NULL;

		r = find_layer(s, layer, &i->layers[n]);
		/* Only newer archives name layers by digest; "HASH/layer.tar" is another hash. */
		if (r == 0 && str_starts(layer, "blobs/sha256/"))
			(void)name_digest(layer, i->layers[n].digest);
	}
	if (r == 0 && !name)
		r = broken(s, "its manifest has no configuration");
	if (r < 0)
		return r;
	(void)name_digest(name, digest);
	r = read_json(s, name, digest, i->digest, &config);
	if (r < 0)
		return r;
	r = take_config(s, config, i);
	json_decref(config);
	return r;
}

static int docker_select(const struct selecting *s, struct oci_image *i)
{
	const json_t *manifest = NULL;
	json_t *list;
	int r = read_json(s, "manifest.json", NULL, NULL, &list);

	if (r < 0)
		return r;
	r = json_is_array(list) && json_array_size(list) ? docker_pick(s, list, &manifest)
							 : broken(s, "its manifest.json is empty");
	if (r == 0)
		r = docker_image(s, manifest, i);
	json_decref(list);
	return r;
}

/* ---- OCI layout ---- */

static bool is_index(const char *type)
{
	return type && (str_eq(type, "application/vnd.oci.image.index.v1+json") ||
			str_eq(type, "application/vnd.docker.distribution.manifest.list.v2+json"));
}

/* A manifest for another platform, or for none (an attestation). */
static bool other_platform(const json_t *descriptor)
{
	const json_t *p = json_object_get(descriptor, "platform");
	const char *os = text(p, "os"), *arch = text(p, "architecture");

	return (os && !str_eq(os, "linux")) || (arch && !str_eq(arch, "amd64"));
}

static bool names_match(const json_t *descriptor, const char *reference)
{
	static const char *const keys[] = { "org.opencontainers.image.ref.name",
					    "io.containerd.image.name" };
	const json_t *notes = json_object_get(descriptor, "annotations");

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *name = text(notes, keys[i]);

		if (name && tag_matches(name, reference))
			return true;
	}
	return false;
}

/* The one descriptor of an index that is meant. */
static int oci_pick(const struct selecting *s, const json_t *index, bool by_name, const json_t **ret)
{
	const json_t *list = json_object_get(index, "manifests");
	const json_t *found = NULL;
	size_t n = 0;

	for (size_t i = 0; json_is_array(list) && i < json_array_size(list); i++) {
		const json_t *d = json_array_get(list, i);

		if (other_platform(d) || (by_name && !names_match(d, s->reference)))
			continue;
		if (!found)
			found = d;
		n++;
	}
	if (!found && by_name)
		return image_fail(s->err, ENOENT, "%s holds no image called %s", s->bundle->path,
				  s->reference);
	if (!found)
		return image_fail(s->err, ENOTSUP, "%s holds no image for linux/amd64",
				  s->bundle->path);
	if (n > 1)
		return image_fail(s->err, EINVAL,
				  "%s holds %zu images: name one with --reference NAME",
				  s->bundle->path, n);
	*ret = found;
	return 0;
}

static int oci_image(const struct selecting *s, const json_t *manifest, struct oci_image *i)
{
	const json_t *layers = json_object_get(manifest, "layers");
	char digest[DIGEST_HEX], name[128];
	json_t *config;
	int r;

	if (!take_digest(text(json_object_get(manifest, "config"), "digest"), digest))
		return broken(s, "its manifest has no configuration with a sha256 digest");
	r = new_layers(s, layers, i);
	for (size_t n = 0; r == 0 && n < i->n_layers; n++) {
		if (!take_digest(text(json_array_get(layers, n), "digest"), i->layers[n].digest))
			return broken(s, "a layer has no sha256 digest");
		blob_name(i->layers[n].digest, name);
		r = find_layer(s, name, &i->layers[n]);
	}
	if (r < 0)
		return r;
	blob_name(digest, name);
	r = read_json(s, name, digest, i->digest, &config);
	if (r < 0)
		return r;
	r = take_config(s, config, i);
	json_decref(config);
	return r;
}

static int oci_layout(const struct selecting *s, struct oci_image *i)
{
	bool by_name = s->reference != NULL;
	char digest[DIGEST_HEX], name[128];
	const json_t *d = NULL;
	json_t *at = NULL, *next;
	int r = read_json(s, "index.json", NULL, NULL, &at);

	for (int depth = 0; r == 0; depth++) {
		bool index;

		r = depth < OCI_DEPTH_MAX ? oci_pick(s, at, by_name, &d)
					  : broken(s, "its indexes do not end");
		if (r == 0 && !take_digest(text(d, "digest"), digest))
			r = broken(s, "its index names a manifest without a sha256 digest");
		if (r < 0)
			break;
		index = is_index(text(d, "mediaType"));
		blob_name(digest, name);
		r = read_json(s, name, digest, NULL, &next);
		if (r < 0)
			break;
		json_decref(at);
		at = next;
		by_name = false;
		if (!index) {
			r = oci_image(s, at, i);
			break;
		}
	}
	if (at)
		json_decref(at);
	return r;
}

int oci_select(const struct bundle *b, const char *reference, struct oci_image *ret,
	       struct image_error *err)
{
	const struct selecting s = { b, reference, err };
	struct oci_image i = { 0 };
	int r;

	if (bundle_find(b, "manifest.json"))
		r = docker_select(&s, &i);
	else if (bundle_find(b, "index.json"))
		r = oci_layout(&s, &i);
	else
		r = broken(&s,
			   "neither manifest.json (docker save) nor index.json (OCI layout) is in "
			   "it; a bare root file system goes to --rootfs as a folder");
	if (r < 0)
		oci_image_fini(&i);
	else
		*ret = i;
	return r;
}
