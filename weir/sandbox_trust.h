/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom programs in the sandbox trust: wherever they look for roots, the sandbox's
 * own authority is found beside those of the host. Nothing of the host's is written:
 * what is there is covered, in the sandbox's mount namespace, by copies.
 *
 *   bundles    one PEM file of all roots, over every file that any distribution has
 *   folders    those of hashed names (OpenSSL) and of anchors (what update-ca-certificates,
 *              update-ca-trust and p11-kit read) get one more file
 *   key stores every JVM's cacerts, JKS or PKCS 12
 *   browsers   Chromium's and Firefox's policy files, in which an authority may stand
 *   NSS        the data base in the user's home, by NSS's own tool
 *
 * A place that is not there stays so: there is nothing to lay a file over.
 */
#ifndef WEIR_SANDBOX_TRUST_H
#define WEIR_SANDBOX_TRUST_H

#include "base/base.h"

/* Texts that must outlive the call; a host with more JVMs than fit keeps the rest as they are. */
#define TRUST_TEXTS 256

struct guest_trust {
	const char *root;   /* in front of every place; "" is the file system itself */
	const char *dir;    /* a folder of the sandbox's own, for the copies */
	const char *ca_pem; /* the authority, or NULL: roots only */
	const char *roots;  /* PEM of roots the host trusts besides its bundle, or NULL */
	const char *home;   /* of the user, or NULL */
	const char *java_home;
	/* Lays one of our files or folders over what is there; as sandbox_lay. */
	int (*lay)(const char *file, const char *target);
	/* Makes the folder `from` reachable at `to`, also once it is covered. */
	int (*keep)(const char *from, const char *to);
	/* Runs a program to its end, guest_trust_run; NULL: places that need one stay as they are. */
	int (*run)(char *const *argv);
	/* Internal: names given out, and the texts that lay() was given. */
	unsigned n_folders, n_stores, n_texts, n_seen;
	char *texts[TRUST_TEXTS];
	const char *seen[TRUST_TEXTS]; /* real paths that are covered */
};

/* Of the certificate's subject, as OpenSSL names files in folders of roots; false: it is none. */
bool guest_trust_hash(const char *pem, char ret[static 9]);
/*
 * Does all of it. An error is one of the bundle, by which everything stands; *ret_what is
 * then the place. Other places that cannot be covered are only logged: programs that
 * look there refuse what they are shown, and nothing passes by.
 */
must_check int guest_trust_install(struct guest_trust *t, const char **ret_what);

/* Gives back the texts. Not while anything that was laid is still watched. */
void guest_trust_fini(struct guest_trust *t);

/* ---- parts, each in a file of its own ------------------------------------------ */

/* A file that a covered folder gets: content, or where a link leads. The path may have folders in it. */
struct guest_trust_file {
	const char *path;
	const char *link;
	const void *data;
	size_t len;
};

/*
 * Covers a folder (root is put in front) with one that has the same entries and these
 * files, which win over an entry of the same name. 0 too when there is no such folder.
 */
must_check int guest_trust_folder(struct guest_trust *t, const char *target,
				  const struct guest_trust_file *files, size_t n);
/* Every JVM's store. */
void guest_trust_java(struct guest_trust *t);
/* Policy files of browsers. */
void guest_trust_browsers(struct guest_trust *t);

/* The NSS data base in the user's home. */
void guest_trust_nss(struct guest_trust *t);
/* 0: it ended well, within some seconds; it has no terminal, no input and no environment. */
must_check int guest_trust_run(char *const *argv);

/* A text that lives as long as t; NULL: no room or no memory. */
const char *guest_trust_text(struct guest_trust *t, const char *fmt, ...) printf_like(2, 3);
/* Has this place, by its real path, been covered before? Notes it when not. */
bool guest_trust_seen(struct guest_trust *t, const char *real);
/* A new file, readable by all. */
must_check int guest_trust_write(const char *path, const void *data, size_t len);

#endif
