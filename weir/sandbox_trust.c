/* SPDX-License-Identifier: Apache-2.0 */
/* The order of things, bundles, and folders of roots; see sandbox_trust.h. */
#include "weir/sandbox_trust.h"

#include <fcntl.h>
#include <limits.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUNDLE_MAX (16 << 20)
#define OWN_NAME "weir-sandbox-ca"

/* Where OpenSSL looks a root up by the hash of its name. */
static const char *const hashed[] = {
	"/etc/ssl/certs", /* Debian, Alpine; links elsewhere on Arch and SUSE */
	"/etc/pki/tls/certs",
	"/etc/pki/ca-trust/extracted/pem/directory-hash",
	"/var/lib/ca-certificates/openssl",
};

const char *guest_trust_text(struct guest_trust *t, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	if (t->n_texts == TRUST_TEXTS)
		return NULL;
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return NULL;
	t->texts[t->n_texts++] = text;
	return text;
}

void guest_trust_fini(struct guest_trust *t)
{
	while (t->n_texts)
		free(t->texts[--t->n_texts]);
}

bool guest_trust_seen(struct guest_trust *t, const char *real)
{
	const char *text;

	for (unsigned i = 0; i < t->n_seen; i++)
		if (strcmp(t->seen[i], real) == 0)
			return true;
	text = guest_trust_text(t, "%s", real);
	if (text)
		t->seen[t->n_seen++] = text;
	else
		log_warn("the sandbox's authority is not in %s: too many such places", real);
	return !text;
}

int guest_trust_write(const char *path, const void *data, size_t len)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	return fchmod(fd, 0644) < 0 ? -errno : fd_write_all(fd, data, len);
}

/* ---- bundles ----------------------------------------------------------------------- */

static int write_bundle(struct guest_trust *t, const char *path)
{
	struct buf text = BUF_INIT(BUNDLE_MAX);
	int r = -ENOENT;

	for (size_t i = 0; root_bundles[i] && r < 0; i++) {
		char from[PATH_MAX];

		snprintf(from, sizeof(from), "%s%s", t->root, root_bundles[i]);
		buf_reset(&text);
		r = file_read(from, BUNDLE_MAX / 2, &text);
	}
	r = buf_append_str(&text, "\n");
	if (r == 0 && t->roots)
		r = buf_append_str(&text, t->roots);
	if (r == 0 && t->ca_pem)
		r = buf_append_str(&text, t->ca_pem);
	if (r == 0)
		r = guest_trust_write(path, buf_at(&text), text.len);
	buf_fini(&text);
	return r;
}

/* The bundle over one place, once, whatever links lead there. */
static int lay_bundle(struct guest_trust *t, const char *bundle, const char *place)
{
	char real[PATH_MAX];
	const char *target = guest_trust_text(t, "%s%s", t->root, place);

	if (!target)
		return -ENOMEM;
	if (!realpath(target, real) || strcmp(real, bundle) == 0 || guest_trust_seen(t, real))
		return 0;
	return t->lay(bundle, target);
}

/* ---- folders ------------------------------------------------------------------------ */

static X509 *own_certificate(const struct guest_trust *t)
{
	BIO *bio = BIO_new_mem_buf(t->ca_pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return cert;
}

/* The first free name: two roots may have names of the same hash. */
static void hashed_name(const struct guest_trust *t, const char *folder, unsigned long hash,
			char ret[static 16])
{
	for (unsigned i = 0; i < 10; i++) {
		char path[PATH_MAX];
		struct stat st;

		snprintf(ret, 16, "%08lx.%u", hash & 0xffffffffUL, i);
		if ((size_t)snprintf(path, sizeof(path), "%s%s/%s", t->root, folder, ret) >=
			    sizeof(path) ||
		    lstat(path, &st) < 0)
			return;
	}
}

static bool has(const struct guest_trust *t, const char *folder, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s%s/%s", t->root, folder, name);
	return access(path, F_OK) == 0;
}

static int cover_hashed(struct guest_trust *t, const char *folder, unsigned long hash,
			const char *own, const char *bundle)
{
	static const char *const whole[] = { "ca-certificates.crt", "ca-bundle.crt" };
	struct guest_trust_file files[2 + ARRAY_SIZE(whole)];
	char name[16];
	size_t n = 0;

	hashed_name(t, folder, hash, name);
	files[n++] = (struct guest_trust_file){ .path = name, .link = OWN_NAME ".pem" };
	files[n++] = (struct guest_trust_file){ .path = OWN_NAME ".pem", .link = own };
	for (size_t i = 0; i < ARRAY_SIZE(whole); i++)
		if (has(t, folder, whole[i]))
			files[n++] = (struct guest_trust_file){ .path = whole[i], .link = bundle };
	return guest_trust_folder(t, folder, files, n);
}

static void told(const char *place, int r)
{
	if (r < 0)
		log_warn("the sandbox's authority is not in %s: %s", place, strerror(-r));
}

bool guest_trust_hash(const char *pem, char ret[static 9])
{
	struct guest_trust t = { .ca_pem = pem };
	X509 *cert = own_certificate(&t);
	unsigned long hash;
	int ok = 0;

	hash = cert ? X509_NAME_hash_ex(X509_get_subject_name(cert), NULL, NULL, &ok) : 0;
	X509_free(cert);
	if (ok)
		snprintf(ret, 9, "%08lx", hash & 0xffffffff);
	return ok;
}

static void cover_folders(struct guest_trust *t, const char *own, const char *bundle)
{
	X509 *cert = own_certificate(t);
	struct guest_trust_file anchor = { .path = OWN_NAME ".crt",
					   .data = t->ca_pem,
					   .len = strlen(t->ca_pem) };
	char path[PATH_MAX], real[PATH_MAX];
	unsigned long hash;
	int ok = 0;

	hash = cert ? X509_NAME_hash_ex(X509_get_subject_name(cert), NULL, NULL, &ok) : 0;
	X509_free(cert);
	for (size_t i = 0; i < ARRAY_SIZE(hashed) && ok; i++) {
		snprintf(path, sizeof(path), "%s%s", t->root, hashed[i]);
		if (realpath(path, real) && !guest_trust_seen(t, real))
			told(hashed[i], cover_hashed(t, hashed[i], hash, own, bundle));
	}
	for (size_t i = 0; root_anchors[i]; i++)
		told(root_anchors[i], guest_trust_folder(t, root_anchors[i], &anchor, 1));
}

int guest_trust_install(struct guest_trust *t, const char **ret_what)
{
	const char *bundle = guest_trust_text(t, "%s/ca-bundle.pem", t->dir);
	const char *own = guest_trust_text(t, "%s/ca.pem", t->dir);
	int r = bundle && own ? write_bundle(t, bundle) : -ENOMEM;

	*ret_what = "certificate bundle";
	if (r == 0 && t->ca_pem)
		r = guest_trust_write(own, t->ca_pem, strlen(t->ca_pem));
	/* Folders first: they hold some of the bundles and stores, which are covered in them. */
	if (r == 0 && t->ca_pem)
		cover_folders(t, own, bundle);
	for (size_t i = 0; r == 0 && root_bundles[i]; i++) {
		r = lay_bundle(t, bundle, root_bundles[i]);
		if (r < 0)
			*ret_what = root_bundles[i];
	}
	if (r == 0 && t->ca_pem) {
		guest_trust_java(t);
		guest_trust_browsers(t);
		guest_trust_nss(t);
	}
	return r;
}
