/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_trust.c and its parts, on folder trees as distributions have them. Instead of
 * mounts there are links: a place that is covered is moved aside and a link put there.
 */
#include "weir/sandbox_trust.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOST_ROOTS "the host's roots\n"
#define JKS "\xfe\xed\xfe\xed\0\0\0\2\0\0\0\0twenty bytes of a sum"

struct fixture {
	char top[PATH_MAX], root[PATH_MAX + 8], dir[PATH_MAX + 8];
	char *pem;
	struct guest_trust tree;
};

static char *make_pem(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	BIO *bio = BIO_new(BIO_s_mem());
	char *text, *out;
	long n;

	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
				   (const uint8_t *)"weir test", -1, -1, 0);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 60);
	X509_set_pubkey(cert, key);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
	n = BIO_get_mem_data(bio, &text);
	out = strndup(text, (size_t)n);
	BIO_free(bio);
	X509_free(cert);
	EVP_PKEY_free(key);
	return out;
}

static int keep_aside(const char *from, const char *to)
{
	return rename(from, to) < 0 ? -errno : 0;
}

static int lay_link(const char *file, const char *target)
{
	char aside[PATH_MAX];

	snprintf(aside, sizeof(aside), "%s.host", target);
	if (rename(target, aside) < 0 && errno != ENOENT)
		return -errno;
	return symlink(file, target) < 0 ? -errno : 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char name[] = "/tmp/weir-trust-XXXXXX";

	assert_non_null(mkdtemp(name));
	assert_non_null(realpath(name, f->top));
	snprintf(f->root, sizeof(f->root), "%s/root", f->top);
	snprintf(f->dir, sizeof(f->dir), "%s/own", f->top);
	assert_int_equal(mkdir(f->root, 0755), 0);
	assert_int_equal(mkdir(f->dir, 0755), 0);
	f->pem = make_pem();
	f->tree = (struct guest_trust){
		.root = f->root, .dir = f->dir, .ca_pem = f->pem, .lay = lay_link, .keep = keep_aside
	};
	*state = f;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	nftw(f->top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	guest_trust_fini(&f->tree);
	free(f->pem);
	free(f);
	return 0;
}

static const char *at(struct fixture *f, const char *path)
{
	static char full[4][PATH_MAX * 2]; /* several in one expression */
	static unsigned n;
	char *text = full[n++ % 4];

	snprintf(text, sizeof(full[0]), "%s%s", f->root, path);
	return text;
}

static void parents(struct fixture *f, const char *path)
{
	char part[PATH_MAX * 2];

	snprintf(part, sizeof(part), "%s", at(f, path));
	for (char *p = strchr(part + strlen(f->root) + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		if (mkdir(part, 0755) < 0)
			assert_int_equal(errno, EEXIST);
		*p = '/';
	}
}

static void put_bytes(struct fixture *f, const char *path, const void *data, size_t len)
{
	parents(f, path);
	assert_int_equal(guest_trust_write(at(f, path), data, len), 0);
}

static void put(struct fixture *f, const char *path, const char *text)
{
	put_bytes(f, path, text, strlen(text));
}

static void put_link(struct fixture *f, const char *path, const char *to)
{
	parents(f, path);
	assert_int_equal(symlink(to, at(f, path)), 0);
}

static void folder(struct fixture *f, const char *path)
{
	parents(f, path);
	assert_int_equal(mkdir(at(f, path), 0755), 0);
}

/* What a program would read there: the host's part and ours. */
static void assert_holds(struct fixture *f, const char *path, const char *host, const char *own)
{
	struct buf text = BUF_INIT(1 << 20);

	if (file_read(at(f, path), 1 << 20, &text) < 0)
		fail_msg("%s cannot be read", path);
	if (host && !strstr(buf_str(&text), host))
		fail_msg("%s has lost what it had: %s", path, buf_str(&text));
	if (own && !strstr(buf_str(&text), own))
		fail_msg("%s has no authority of ours: %s", path, buf_str(&text));
	buf_fini(&text);
}

static void assert_hashed(struct fixture *f, const char *path, unsigned number)
{
	BIO *bio = BIO_new_mem_buf(f->pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s/%08lx.%u", path,
		 X509_NAME_hash_ex(X509_get_subject_name(cert), NULL, NULL, NULL), number);
	assert_holds(f, name, NULL, f->pem);
	X509_free(cert);
	BIO_free(bio);
}

static void install(struct fixture *f)
{
	const char *what = NULL;
	int r = guest_trust_install(&f->tree, &what);

	if (r < 0)
		fail_msg("%s: %s", what, strerror(-r));
}

/* T08, weak-15: where each distribution's programs look. */
static void t08_debian(void **state)
{
	struct fixture *f = *state;

	put(f, "/usr/share/ca-certificates/a.crt", "a");
	put(f, "/etc/ssl/certs/ca-certificates.crt", HOST_ROOTS);
	put_link(f, "/etc/ssl/certs/a.pem", at(f, "/usr/share/ca-certificates/a.crt"));
	put_link(f, "/etc/ssl/certs/12345678.0", "a.pem");
	put_bytes(f, "/etc/ssl/certs/java/cacerts", JKS, 32);
	folder(f, "/usr/local/share/ca-certificates");
	install(f);
	assert_holds(f, "/etc/ssl/certs/ca-certificates.crt", HOST_ROOTS, f->pem);
	assert_holds(f, "/etc/ssl/certs/12345678.0", "a", NULL);
	assert_hashed(f, "/etc/ssl/certs", 0);
	assert_holds(f, "/usr/local/share/ca-certificates/weir-sandbox-ca.crt", NULL, f->pem);
	assert_int_equal(f->tree.n_stores, 1);
}

static void t08_alpine(void **state)
{
	struct fixture *f = *state;

	put(f, "/etc/ssl/certs/ca-certificates.crt", HOST_ROOTS);
	put_link(f, "/etc/ssl/cert.pem", "certs/ca-certificates.crt");
	install(f);
	assert_holds(f, "/etc/ssl/cert.pem", HOST_ROOTS, f->pem);
	assert_holds(f, "/etc/ssl/certs/ca-certificates.crt", HOST_ROOTS, f->pem);
	assert_hashed(f, "/etc/ssl/certs", 0);
}

static void t08_rhel(void **state)
{
	struct fixture *f = *state;

	put(f, "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", HOST_ROOTS);
	put_link(f, "/etc/pki/tls/certs/ca-bundle.crt",
		 at(f, "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"));
	put_link(f, "/etc/pki/tls/cert.pem", "certs/ca-bundle.crt");
	put_bytes(f, "/etc/pki/ca-trust/extracted/java/cacerts", JKS, 32);
	put_link(f, "/etc/pki/java/cacerts", at(f, "/etc/pki/ca-trust/extracted/java/cacerts"));
	put_link(f, "/usr/lib/jvm/java-17/lib/security/cacerts", at(f, "/etc/pki/java/cacerts"));
	put(f, "/etc/pki/ca-trust/source/anchors/mine.pem", "mine");
	put(f, "/etc/pki/ca-trust/extracted/pem/directory-hash/x.0", "x");
	install(f);
	assert_holds(f, "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", HOST_ROOTS, f->pem);
	assert_holds(f, "/etc/pki/tls/certs/ca-bundle.crt", HOST_ROOTS, f->pem);
	assert_holds(f, "/etc/pki/tls/cert.pem", HOST_ROOTS, f->pem);
	assert_holds(f, "/etc/pki/ca-trust/source/anchors/mine.pem", "mine", NULL);
	assert_holds(f, "/etc/pki/ca-trust/source/anchors/weir-sandbox-ca.crt", NULL, f->pem);
	assert_hashed(f, "/etc/pki/ca-trust/extracted/pem/directory-hash", 0);
	assert_hashed(f, "/etc/pki/tls/certs", 0);
	/* Three names of one store. */
	assert_int_equal(f->tree.n_stores, 1);
}

static void t08_arch_and_suse(void **state)
{
	struct fixture *f = *state;

	put(f, "/etc/ca-certificates/extracted/tls-ca-bundle.pem", HOST_ROOTS);
	put(f, "/etc/ca-certificates/extracted/cadir/x.pem", "x");
	put_link(f, "/etc/ssl/certs", "../ca-certificates/extracted/cadir");
	folder(f, "/etc/ca-certificates/trust-source");
	folder(f, "/etc/ca-certificates/trust-source/anchors");
	put(f, "/var/lib/ca-certificates/ca-bundle.pem", HOST_ROOTS);
	put_link(f, "/etc/ssl/ca-bundle.pem", at(f, "/var/lib/ca-certificates/ca-bundle.pem"));
	folder(f, "/var/lib/ca-certificates/openssl");
	put_bytes(f, "/var/lib/ca-certificates/java-cacerts", JKS, 32);
	folder(f, "/etc/pki");
	folder(f, "/etc/pki/trust");
	folder(f, "/etc/pki/trust/anchors");
	install(f);
	assert_holds(f, "/etc/ca-certificates/extracted/tls-ca-bundle.pem", HOST_ROOTS, f->pem);
	assert_hashed(f, "/etc/ssl/certs", 0);
	assert_holds(f, "/etc/ssl/certs/x.pem", "x", NULL);
	assert_holds(f, "/etc/ca-certificates/trust-source/anchors/weir-sandbox-ca.crt", NULL,
		     f->pem);
	assert_holds(f, "/etc/ssl/ca-bundle.pem", HOST_ROOTS, f->pem);
	assert_hashed(f, "/var/lib/ca-certificates/openssl", 0);
	assert_holds(f, "/etc/pki/trust/anchors/weir-sandbox-ca.crt", NULL, f->pem);
	assert_int_equal(f->tree.n_stores, 1);
}

/* A root whose name has the same hash keeps its place. */
static void test_hash_taken(void **state)
{
	struct fixture *f = *state;
	BIO *bio = BIO_new_mem_buf(f->pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	char name[64];

	snprintf(name, sizeof(name), "/etc/ssl/certs/%08lx.0",
		 X509_NAME_hash_ex(X509_get_subject_name(cert), NULL, NULL, NULL));
	put(f, name, "another");
	install(f);
	assert_holds(f, name, "another", NULL);
	assert_hashed(f, "/etc/ssl/certs", 1);
	X509_free(cert);
	BIO_free(bio);
}

static void put_p12(struct fixture *f, const char *path, const char *password)
{
	PKCS12 *p12 = PKCS12_init(NID_pkcs7_data);
	STACK_OF(PKCS7) *none = sk_PKCS7_new_null();
	uint8_t *der = NULL;
	int n;

	assert_int_equal(PKCS12_pack_authsafes(p12, none), 1);
	if (password)
		assert_int_equal(PKCS12_set_mac(p12, password, -1, NULL, 0, 0, EVP_sha256()), 1);
	n = i2d_PKCS12(p12, &der);
	assert_true(n > 0);
	put_bytes(f, path, der, (size_t)n);
	OPENSSL_free(der);
	sk_PKCS7_pop_free(none, PKCS7_free);
	PKCS12_free(p12);
}

/* How many of its certificates are ours; the code over the store is right. */
static int own_in_p12(struct fixture *f, const char *path, const char *password)
{
	struct buf text = BUF_INIT(65536);
	STACK_OF(PKCS7) * safes;
	const uint8_t *p;
	PKCS12 *p12;
	int found = 0;

	assert_int_equal(file_read(at(f, path), 65536, &text), 0);
	p = buf_at(&text);
	p12 = d2i_PKCS12(NULL, &p, (long)text.len);
	assert_non_null(p12);
	assert_int_equal(PKCS12_mac_present(p12), password != NULL);
	if (password)
		assert_int_equal(PKCS12_verify_mac(p12, password, -1), 1);
	safes = PKCS12_unpack_authsafes(p12);
	for (int i = 0; i < sk_PKCS7_num(safes); i++) {
		STACK_OF(PKCS12_SAFEBAG) *bags = PKCS12_unpack_p7data(sk_PKCS7_value(safes, i));

		for (int k = 0; k < sk_PKCS12_SAFEBAG_num(bags); k++) {
			char *name = PKCS12_get_friendlyname(sk_PKCS12_SAFEBAG_value(bags, k));

			found += name && strcmp(name, "weir-sandbox-ca") == 0;
			OPENSSL_free(name);
		}
		sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
	}
	sk_PKCS7_pop_free(safes, PKCS7_free);
	PKCS12_free(p12);
	buf_fini(&text);
	return found;
}

/* T08, weak-15: every JVM, in both forms of stores. */
static void t08_java(void **state)
{
	struct fixture *f = *state;

	put_p12(f, "/usr/lib/jvm/jdk-21/lib/security/cacerts", NULL);
	put_p12(f, "/opt/jdk8/jre/lib/security/cacerts", "changeit");
	put_p12(f, "/home/u/.sdkman/candidates/java/25-tem/lib/security/cacerts", NULL);
	put_p12(f, "/srv/java/lib/security/jssecacerts", NULL);
	put_p12(f, "/opt/other/lib/security/cacerts", "secret of somebody");
	put(f, "/opt/text/lib/security/cacerts",
	    "a text, and nothing that Java could read as a store");
	put_bytes(f, "/usr/local/openjdk-11/lib/security/cacerts", JKS, 32);
	f->tree.home = "/home/u";
	f->tree.java_home = "/srv/java";
	install(f);
	assert_int_equal(own_in_p12(f, "/usr/lib/jvm/jdk-21/lib/security/cacerts", NULL), 1);
	assert_int_equal(own_in_p12(f, "/opt/jdk8/jre/lib/security/cacerts", "changeit"), 1);
	assert_int_equal(
		own_in_p12(f, "/home/u/.sdkman/candidates/java/25-tem/lib/security/cacerts", NULL),
		1);
	assert_int_equal(own_in_p12(f, "/srv/java/lib/security/jssecacerts", NULL), 1);
	/* What cannot be opened stays, and the sandbox starts all the same. */
	assert_int_equal(own_in_p12(f, "/opt/other/lib/security/cacerts", "secret of somebody"), 0);
	assert_holds(f, "/opt/text/lib/security/cacerts", "a text", NULL);
}

static void test_a_home_is_no_pattern(void **state)
{
	struct fixture *f = *state;

	put_p12(f, "/home/u/.jdks/x/lib/security/cacerts", NULL);
	f->tree.home = "/home/*";
	install(f);
	assert_int_equal(f->tree.n_stores, 0);
}

/* T08, weak-15 */
static void t08_browsers(void **state)
{
	struct fixture *f = *state;

	put(f, "/etc/chromium/master_preferences", "prefs");
	put(f, "/etc/opt/chrome/policies/managed/other.json", "{}");
	put(f, "/usr/lib/firefox-esr/distribution/policies.json",
	    "{\"policies\": {\"DisableTelemetry\": true, \"Certificates\": {\"Install\": "
	    "[\"/a.pem\"]}}}");
	put(f, "/usr/lib/firefox/firefox", "program");
	put(f, "/etc/firefox/policies/policies.json", "no JSON");
	install(f);
	assert_holds(f, "/etc/chromium/policies/managed/weir-sandbox-ca.json", "CACertificates",
		     "\"MI");
	assert_holds(f, "/etc/chromium/master_preferences", "prefs", NULL);
	assert_holds(f, "/etc/opt/chrome/policies/managed/other.json", "{}", NULL);
	assert_holds(f, "/etc/opt/chrome/policies/managed/weir-sandbox-ca.json", "CACertificates",
		     "\"MI");
	assert_holds(f, "/usr/lib/firefox-esr/distribution/policies.json", "/a.pem", "/own/ca.pem");
	assert_holds(f, "/usr/lib/firefox-esr/distribution/policies.json", "DisableTelemetry", NULL);
	assert_holds(f, "/usr/lib/firefox/distribution/policies.json", "Install", "/own/ca.pem");
	assert_holds(f, "/etc/firefox/policies/policies.json", "no JSON", NULL);
}

static char ran[512];
static int run_result;

static int note_run(char *const *argv)
{
	ran[0] = 0;
	for (; *argv; argv++) {
		strncat(ran, *argv, sizeof(ran) - strlen(ran) - 1);
		strncat(ran, " ", sizeof(ran) - strlen(ran) - 1);
	}
	return run_result;
}

/* T08, weak-15: NSS's own tool changes a copy; when it fails, the original stays in view. */
static void t08_nss(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	put(f, "/home/u/.pki/nssdb/cert9.db", "certificates");
	put(f, "/home/u/.pki/nssdb/key4.db", "keys");
	f->tree.home = "/home/u";
	f->tree.run = note_run;
	run_result = 0;
	install(f);
	assert_non_null(strstr(ran, "/usr/bin/certutil -A -d sql:"));
	assert_non_null(strstr(ran, "/own/nssdb -n weir-sandbox-ca -t C,, -i "));
	assert_holds(f, "/home/u/.pki/nssdb/key4.db", "keys", NULL);
	assert_int_equal(lstat(at(f, "/home/u/.pki/nssdb"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
}

static void test_nss_that_fails(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	put(f, "/home/u/.pki/nssdb/cert9.db", "certificates");
	f->tree.home = "/home/u";
	f->tree.run = note_run;
	run_result = -EIO;
	install(f);
	assert_int_equal(lstat(at(f, "/home/u/.pki/nssdb"), &st), 0);
	assert_true(S_ISDIR(st.st_mode));
}

static void test_run(void **state)
{
	char *good[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, (char[]){ "exit 0" }, NULL };
	char *bad[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, (char[]){ "exit 3" }, NULL };
	char *slow[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, (char[]){ "exec sleep 60" }, NULL };
	char *none[] = { (char[]){ "/nothing" }, NULL };

	(void)state;
	assert_int_equal(guest_trust_run(good), 0);
	assert_int_equal(guest_trust_run(bad), -EIO);
	assert_int_equal(guest_trust_run(none), -EIO);
	assert_int_equal(guest_trust_run(slow), -ETIMEDOUT);
}

/* Nothing anywhere: the bundle is made all the same, for the variables that name it. */
static void test_bare(void **state)
{
	struct fixture *f = *state;
	struct buf text = BUF_INIT(65536);
	char path[PATH_MAX + 32];

	install(f);
	snprintf(path, sizeof(path), "%s/ca-bundle.pem", f->dir);
	assert_int_equal(file_read(path, 65536, &text), 0);
	assert_non_null(strstr(buf_str(&text), f->pem));
	buf_fini(&text);
	assert_int_equal(f->tree.n_folders, 0);
}

/* T09: more roots than the host's bundle has, with interception or without. */
static void t09_roots_of_the_host(void **state)
{
	struct fixture *f = *state;

	put(f, "/etc/ssl/certs/ca-certificates.crt", HOST_ROOTS);
	f->tree.ca_pem = NULL;
	f->tree.roots = "more roots\n";
	install(f);
	assert_holds(f, "/etc/ssl/certs/ca-certificates.crt", HOST_ROOTS, "more roots");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(t08_debian),      CASE(t08_alpine),
		CASE(t08_rhel),	       CASE(t08_arch_and_suse),
		CASE(test_hash_taken), CASE(t08_java),
		CASE(t08_browsers),    CASE(test_a_home_is_no_pattern),
		CASE(test_bare),       CASE(t09_roots_of_the_host),
		CASE(t08_nss),	       CASE(test_nss_that_fails),
		CASE(test_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
