/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files --ca-out and --env-out. Neither holds a secret: a certificate is
 * public, a placeholder is worth something only behind this gateway. The latter
 * are still nobody else's business, hence the mode.
 *
 * Machines trust and shells source what is in them, so a file that was there is
 * replaced, not written into: whoever owned it, has it open or linked it
 * elsewhere has no part in the new one, and nobody reads half of it. Both are
 * written before either takes its name.
 */
#include "weir/run_link_out.h"

#include "weir/message.h"
#include "weir/tls_setup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Placeholders are as long as their secrets; both stay far below. */
#define ENV_OUT_MAX ((size_t)64 << 20)

struct out_file {
	const char *path;
	char *fresh; /* what will take its place; NULL for a device */
};

static int out_failed(const struct out_file *f, int r, struct conf_error *err)
{
	conf_error_set(err, "cannot write %s: %s%s", f->path, strerror(-r),
		       r == -ELOOP ? "; name the file that the link leads to" : "");
	return r;
}

/* /dev/null and its like: nothing to replace. */
static int write_device(const struct out_file *f, const void *text, size_t len)
{
	cleanup_close int fd = open(f->path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd_write_all(fd, text, len);
}

static int write_fresh(struct out_file *f, mode_t mode, const void *text, size_t len)
{
	cleanup_close int fd = -1;
	int r;

	if (asprintf(&f->fresh, "%s.XXXXXX", f->path) < 0) {
		f->fresh = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(f->fresh, O_CLOEXEC);
	if (fd < 0) {
		r = -errno;
		free(f->fresh);
		f->fresh = NULL;
		return r;
	}
	return fchmod(fd, mode) < 0 ? -errno : fd_write_all(fd, text, len);
}

static int write_out(struct out_file *f, mode_t mode, const void *text, size_t len,
		     struct conf_error *err)
{
	struct stat st;
	bool there = lstat(f->path, &st) == 0;
	int r;

	if (there && S_ISLNK(st.st_mode))
		r = -ELOOP;
	else if (there && S_ISDIR(st.st_mode))
		r = -EISDIR;
	else if (there && !S_ISREG(st.st_mode))
		r = write_device(f, text, len);
	else
		r = write_fresh(f, mode, text, len);
	return r < 0 ? out_failed(f, r, err) : 0;
}

static int put_in_place(struct out_file *f, struct conf_error *err)
{
	if (!f->fresh)
		return 0;
	if (rename(f->fresh, f->path) < 0)
		return out_failed(f, -errno, err);
	free(f->fresh);
	f->fresh = NULL;
	return 0;
}

static void out_fini(struct out_file *f)
{
	if (f->fresh)
		unlink(f->fresh);
	free(f->fresh);
}

/*
 * NAME=VALUE as shells, env files of container engines and systemd's
 * EnvironmentFile= read it; quoted only where that is needed, because container
 * engines take quotes as part of the value.
 */
static int put_variable(struct buf *b, const char *name, const char *value)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_./+=:,@%^~-";
	bool quoted = !value[0] || strspn(value, plain) != strlen(value);
	int r = buf_printf(b, "%s=%s", name, quoted ? "'" : "");

	for (const char *p = value; r == 0 && *p; p++)
		r = quoted && *p == '\'' ? buf_append_str(b, "'\\''") : buf_append(b, p, 1);
	return r < 0 ? r : buf_append_str(b, quoted ? "'\n" : "\n");
}

static int write_env(const struct run *r, struct out_file *f, struct conf_error *err)
{
	struct buf text = BUF_INIT(ENV_OUT_MAX);
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->cfg->n_secrets; i++)
		rc = put_variable(&text, r->cfg->secrets[i].env, r->placeholders[i]);
	if (rc == 0)
		rc = put_variable(&text, "WEIR_SANDBOX", r->cfg->name);
	if (rc < 0)
		conf_error_set(err, "%s: %s", r->cfg->env_out, strerror(-rc));
	else
		rc = write_out(f, 0600, buf_at(&text), text.len, err);
	buf_fini(&text);
	return rc;
}

/* The sandbox's own first: some readers take only one. */
static int write_cas(const struct run *r, struct out_file *f, struct conf_error *err)
{
	struct buf text = BUF_INIT(TLS_HOST_CAS_MAX + MSG_TEXT_MAX);
	int rc = r->ca_pem ? buf_append_str(&text, r->ca_pem) : 0;

	if (rc == 0 && r->host_cas)
		rc = buf_append_str(&text, r->host_cas);
	if (rc < 0)
		conf_error_set(err, "%s: %s", f->path, strerror(-rc));
	else
		rc = write_out(f, 0644, buf_at(&text), text.len, err);
	buf_fini(&text);
	return rc;
}

int run_link_out(const struct run *r, struct conf_error *err)
{
	struct out_file ca = { .path = r->cfg->ca_out }, env = { .path = r->cfg->env_out };
	int rc = 0;

	if (ca.path)
		rc = write_cas(r, &ca, err);
	if (rc == 0 && env.path)
		rc = write_env(r, &env, err);
	if (rc == 0)
		rc = put_in_place(&ca, err);
	if (rc == 0)
		rc = put_in_place(&env, err);
	out_fini(&ca);
	out_fini(&env);
	return rc;
}
