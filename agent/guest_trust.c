/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom programs in the guest trust: the host's authority beside the image's own roots.
 *
 * One bundle is made in a tmpfs, of the first that the image has, and laid over every one
 * that it has; an image without any gets one. Folders of anchors get the authority as a file,
 * so that update-ca-certificates and its like find it later. Variables for programs with
 * lists of their own are the host's to send.
 */
#include "agent/guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUNDLE GUEST_DIR "/ca-bundle.pem"
#define OWN GUEST_DIR "/ca.pem"
#define BUNDLE_MAX (16 << 20)

/* The image's own roots, as far as it has any. */
static int read_first(struct buf *ret)
{
	for (size_t i = 0; root_bundles[i]; i++) {
		cleanup_close int fd = open(root_bundles[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		struct stat st;

		if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		return fd_read_all(fd, BUNDLE_MAX, ret);
	}
	return 0;
}

static int add_pem(struct buf *to, const char *pem)
{
	int r = pem && to->len && buf_at(to)[to->len - 1] != '\n' ? buf_append(to, "\n", 1) : 0;

	return r == 0 && pem ? buf_append_str(to, pem) : r;
}

static void lay_over_all(void)
{
	bool any = false;

	for (size_t i = 0; root_bundles[i]; i++) {
		int r = access(root_bundles[i], F_OK) == 0 ? lay_file(BUNDLE, root_bundles[i])
							   : -ENOENT;

		any |= r == 0;
		if (r < 0 && r != -ENOENT)
			log_warn("%s cannot be covered: %s", root_bundles[i], strerror(-r));
	}
	if (!any && lay_file(BUNDLE, root_bundles[0]) < 0)
		log_warn("%s cannot be made: %s", root_bundles[0], strerror(errno));
}

/* A read-only root has no room for these; the bundle is what counts. */
static void leave_copies(const struct agent_init *init)
{
	char path[256];

	for (size_t i = 0; root_anchors[i]; i++) {
		if (access(root_anchors[i], F_OK) < 0)
			continue;
		snprintf(path, sizeof(path), "%s/weir-sandbox-ca.crt", root_anchors[i]);
		if (write_file(path, init->ca_pem, strlen(init->ca_pem), 0644) < 0)
			log_debug("%s: %s", path, strerror(errno));
	}
	if (init->ca_hash && strlen(init->ca_hash) == 8 && !strchr(init->ca_hash, '/')) {
		snprintf(path, sizeof(path), "/etc/ssl/certs/%s.0", init->ca_hash);
		if (access(path, F_OK) < 0 &&
		    write_file(path, init->ca_pem, strlen(init->ca_pem), 0644) < 0)
			log_debug("%s: %s", path, strerror(errno));
	}
}

int trust_setup(const struct agent_init *init, struct failure *f)
{
	struct buf bundle = BUF_INIT(BUNDLE_MAX + 2 * AGENT_MESSAGE_MAX);
	int r;

	if (!init->ca_pem && !init->roots_pem)
		return 0;
	r = read_first(&bundle);
	if (r == 0)
		r = add_pem(&bundle, init->roots_pem);
	if (r == 0)
		r = add_pem(&bundle, init->ca_pem);
	if (r == 0)
		r = write_file(BUNDLE, buf_at(&bundle), bundle.len, 0644);
	if (r == 0 && init->ca_pem)
		r = write_file(OWN, init->ca_pem, strlen(init->ca_pem), 0644);
	buf_fini(&bundle);
	if (r < 0)
		return fail(f, AGENT_STAGE_TRUST, -r, BUNDLE);
	lay_over_all();
	if (init->ca_pem)
		leave_copies(init);
	return 0;
}
