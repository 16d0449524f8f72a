/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files --ca-out and --env-out. Neither holds a secret: a certificate is
 * public, a placeholder is worth something only behind this gateway. The latter
 * are still nobody else's business, hence the mode.
 */
#include "weir/run_link_out.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Placeholders are as long as their secrets; both stay far below. */
#define ENV_OUT_MAX ((size_t)64 << 20)

static int write_out(const char *path, mode_t mode, const void *text, size_t len,
		     struct conf_error *err)
{
	cleanup_close int fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	int r = fd < 0 ? -errno : 0;

	/* One that was there keeps its place, not its mode; a device keeps that too. */
	if (r == 0 && fchmod(fd, mode) < 0)
		log_debug("%s: %s", path, strerror(errno));
	if (r == 0)
		r = fd_write_all(fd, text, len);
	if (r < 0)
		conf_error_set(err, "cannot write %s: %s", path, strerror(-r));
	return r;
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

static int write_env(const struct run *r, struct conf_error *err)
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
		rc = write_out(r->cfg->env_out, 0600, buf_at(&text), text.len, err);
	buf_fini(&text);
	return rc;
}

int run_link_out(const struct run *r, struct conf_error *err)
{
	int rc = 0;

	if (r->cfg->ca_out)
		rc = write_out(r->cfg->ca_out, 0644, r->ca_pem, strlen(r->ca_pem), err);
	if (rc == 0 && r->cfg->env_out)
		rc = write_env(r, err);
	return rc;
}
