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
 *
 * Whoever kills us leaves nothing beside them: what is written has no name (O_TMPFILE) until it is
 * whole. A name that is taken cannot be given to it, so for a moment it has another, PATH.weir-new,
 * which is the same at every start, and so the next one's to take away. It is also where the content
 * is written on a file system that has no files without a name.
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
	char *fresh; /* the name on the way to it; NULL: a device */
	int fd;	     /* what will take its place; without a name, or as fresh */
	bool named;
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

/* In the folder of f, without a name; -EOPNOTSUPP: there are none here. */
static int open_nameless(const struct out_file *f)
{
	cleanup_free char *folder = strdup(f->path);
	char *slash = folder ? strrchr(folder, '/') : NULL;
	int fd;

	if (!folder)
		return -ENOMEM;
	if (slash)
		slash[slash == folder] = 0;
	fd = open(slash ? folder : ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
	/* Kernels and file systems differ in how they say that they do not know it. */
	return fd >= 0 ? fd : errno == EISDIR || errno == EINVAL ? -EOPNOTSUPP : -errno;
}

/* What is there is of somebody who was killed. */
static int free_name(const struct out_file *f)
{
	return unlink(f->fresh) < 0 && errno != ENOENT ? -errno : 0;
}

static int open_fresh(struct out_file *f)
{
	int r;

	f->fd = open_nameless(f);
	if (f->fd != -EOPNOTSUPP)
		return MIN(f->fd, 0);
	r = free_name(f);
	if (r < 0)
		return r;
	f->fd = open(f->fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	f->named = f->fd >= 0;
	return f->fd < 0 ? -errno : 0;
}

static int write_fresh(struct out_file *f, mode_t mode, const void *text, size_t len)
{
	int r;

	if (asprintf(&f->fresh, "%s.weir-new", f->path) < 0) {
		f->fresh = NULL;
		return -ENOMEM;
	}
	r = open_fresh(f);
	if (r < 0)
		return r;
	return fchmod(f->fd, mode) < 0 ? -errno : fd_write_all(f->fd, text, len);
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

static int give_name(struct out_file *f)
{
	char self[32];
	int r = free_name(f);

	snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
	if (r == 0 && linkat(AT_FDCWD, self, AT_FDCWD, f->fresh, AT_SYMLINK_FOLLOW) < 0)
		r = -errno;
	if (r < 0)
		return r;
	f->named = true;
	return 0;
}

static int put_in_place(struct out_file *f, struct conf_error *err)
{
	int r = 0;

	if (!f->fresh)
		return 0;
	if (!f->named)
		r = give_name(f);
	if (r == 0 && rename(f->fresh, f->path) < 0)
		r = -errno;
	if (r < 0)
		return out_failed(f, r, err);
	f->named = false;
	return 0;
}

static void out_fini(struct out_file *f)
{
	if (f->named)
		unlink(f->fresh);
	fd_close(f->fd);
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
	struct out_file ca = { .path = r->cfg->ca_out, .fd = -1 };
	struct out_file env = { .path = r->cfg->env_out, .fd = -1 };
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
