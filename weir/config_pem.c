/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that a configuration names for TLS: certificates and keys in PEM form. That a
 * certificate is an authority's, or a key its own, the tlsproxy finds out, which alone reads
 * keys; here it is that the files are there and of the right kind.
 */
#include "weir/config_internal.h"

#include <stdio.h>
#include <sys/stat.h>

/* The file, where neither the flag's value nor the place in the configuration is just that. */
static const char *which(const struct where *w, const char *path, char out[static 160])
{
	out[0] = 0;
	if (w->flag && w->value && !str_eq(w->value, path))
		snprintf(out, 160, "%.150s ", path);
	return out;
}

/* A file that holds none would leave every server unverifiable: say it now. */
static int check_pem(struct config_builder *b, const struct where *w, const char *path,
		     const char *mark, const char *what)
{
	struct buf text = BUF_INIT(CONFIG_CA_FILE_MAX);
	char file[160];
	bool found = false;
	int r = file_read(path, CONFIG_CA_FILE_MAX, &text);

	if (r == 0)
		found = text.len && memmem(buf_at(&text), text.len, mark, strlen(mark));
	buf_fini_wiped(&text);
	if (r == -EFBIG || r == -ENOBUFS)
		return where_fail(w, b->err, "%slarger than %zu MiB", which(w, path, file),
				  CONFIG_CA_FILE_MAX >> 20);
	if (r < 0)
		return where_fail(w, b->err, "%scannot be read: %s", which(w, path, file),
				  strerror(-r));
	if (!found)
		return where_fail(w, b->err, "%sholds no %s in PEM form (\"%s\")",
				  which(w, path, file), what, mark);
	return 0;
}

int config_check_cert(struct config_builder *b, const struct where *w, const char *path)
{
	return check_pem(b, w, path, "BEGIN CERTIFICATE", "certificate");
}

/* PKCS #8, encrypted or not, and the older forms. */
int config_check_key(struct config_builder *b, const struct where *w, const char *path)
{
	struct stat st;
	char file[160];

	/* Anybody on the machine could sign as it. */
	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & S_IROTH)
		return where_fail(w, b->err,
				  "%scan be read by everybody on this machine: chmod o-r it",
				  which(w, path, file));
	return check_pem(b, w, path, "PRIVATE KEY-----", "private key");
}
