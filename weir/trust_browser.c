/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Browsers keep lists of roots of their own. What they all read is a folder of the
 * administrator's policies, in which an authority may stand: Chromium's policy
 * CACertificates (since version 128) has the certificate in it, Firefox's Certificates
 * names its file. A browser's own data base (NSS, in the user's home) is left alone.
 */
#include "weir/sandbox_trust.h"

#include <jansson.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <sys/stat.h>

#define POLICY_MAX (1 << 20)

/* folder: the least deep that may be covered when those below it are not there. */
struct place {
	const char *folder, *below, *file;
};

static const struct place chromium[] = {
	{ "/etc/chromium", "policies/managed", "weir-sandbox-ca.json" },
	{ "/etc/chromium-browser", "policies/managed", "weir-sandbox-ca.json" },
	{ "/etc/brave", "policies/managed", "weir-sandbox-ca.json" },
	{ "/etc/opt", "chrome/policies/managed", "weir-sandbox-ca.json" },
	{ "/etc/opt", "chrome_for_testing/policies/managed", "weir-sandbox-ca.json" },
	{ "/etc/opt", "edge/policies/managed", "weir-sandbox-ca.json" },
};

static const struct place firefox[] = {
	{ "/etc/firefox", "policies", "policies.json" },
	{ "/etc/firefox-esr", "policies", "policies.json" },
	{ "/usr/lib/firefox", "distribution", "policies.json" },
	{ "/usr/lib/firefox-esr", "distribution", "policies.json" },
	{ "/usr/lib64/firefox", "distribution", "policies.json" },
};

static bool is_folder(const struct guest_trust *t, const char *path)
{
	char full[PATH_MAX];
	struct stat st;

	return (size_t)snprintf(full, sizeof(full), "%s%s", t->root, path) < sizeof(full) &&
	       stat(full, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The deepest folder of the place that there is is covered; the rest is made in the cover. */
static int cover_place(struct guest_trust *t, const struct place *p, const char *text)
{
	char folder[PATH_MAX], rest[PATH_MAX];
	const char *below = p->below;
	struct guest_trust_file file = { .path = rest, .data = text, .len = strlen(text) };

	if (!is_folder(t, p->folder))
		return 0;
	snprintf(folder, sizeof(folder), "%s", p->folder);
	while (*below) {
		size_t n = strcspn(below, "/");
		char deeper[PATH_MAX];

		if ((size_t)snprintf(deeper, sizeof(deeper), "%s/%.*s", folder, (int)n, below) >=
		    sizeof(deeper))
			return -ENAMETOOLONG;
		if (!is_folder(t, deeper))
			break;
		memcpy(folder, deeper, sizeof(folder));
		below += n + (below[n] == '/');
	}
	snprintf(rest, sizeof(rest), "%s%s%s", below, *below ? "/" : "", p->file);
	return guest_trust_folder(t, folder, &file, 1);
}

static void told(const struct place *p, int r)
{
	if (r < 0)
		log_warn("the sandbox's authority is not in %s/%s: %s", p->folder, p->below,
			 strerror(-r));
}

/* ---- Chromium ------------------------------------------------------------------------ */

static char *base64_der(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	uint8_t *der = NULL;
	int n = cert ? i2d_X509(cert, &der) : -1;
	char *text = n > 0 ? malloc((size_t)n * 2) : NULL;

	if (text)
		EVP_EncodeBlock((uint8_t *)text, der, n);
	OPENSSL_free(der);
	X509_free(cert);
	BIO_free(bio);
	return text;
}

static void cover_chromium(struct guest_trust *t)
{
	cleanup_free char *text = NULL, *cert = base64_der(t->ca_pem);

	if (!cert || asprintf(&text, "{\"CACertificates\": [\"%s\"]}\n", cert) < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(chromium); i++)
		told(&chromium[i], cover_place(t, &chromium[i], text));
}

/* ---- Firefox: one file, which may be there ---------------------------------------------- */

static json_t *member(json_t *object, const char *name, json_t *otherwise)
{
	json_t *v = json_object_get(object, name);

	if (v) {
		json_decref(otherwise);
		return v;
	}
	return json_object_set_new(object, name, otherwise) == 0 ? otherwise : NULL;
}

static char *with_certificate(json_t *whole, const char *file)
{
	json_t *policies = member(whole, "policies", json_object());
	json_t *certificates = member(policies, "Certificates", json_object());
	json_t *list = member(certificates, "Install", json_array());

	if (json_array_append_new(list, json_string(file)) < 0)
		return NULL;
	return json_dumps(whole, JSON_INDENT(2));
}

static void cover_firefox(struct guest_trust *t, const struct place *p)
{
	struct buf old = BUF_INIT(POLICY_MAX);
	char path[PATH_MAX], own[PATH_MAX];
	json_t *whole = NULL;
	char *text = NULL;

	snprintf(path, sizeof(path), "%s%s/%s/%s", t->root, p->folder, p->below, p->file);
	snprintf(own, sizeof(own), "%s/ca.pem", t->dir);
	if (file_read(path, POLICY_MAX, &old) == 0)
		whole = json_loadb((const char *)buf_at(&old), old.len, 0, NULL);
	else
		whole = json_object();
	if (whole)
		text = with_certificate(whole, own);
	told(p, text ? cover_place(t, p, text) : -EINVAL);
	free(text);
	json_decref(whole);
	buf_fini(&old);
}

void guest_trust_browsers(struct guest_trust *t)
{
	cover_chromium(t);
	for (size_t i = 0; i < ARRAY_SIZE(firefox); i++)
		if (is_folder(t, firefox[i].folder))
			cover_firefox(t, &firefox[i]);
}
