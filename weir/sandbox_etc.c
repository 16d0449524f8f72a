/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of the sandbox's own, laid over the host's: who resolves names, which
 * names are local, whom to trust. They live in SANDBOX_DIR, on the sandbox's
 * /run, and go with it; nothing of the host's is written.
 */
#include "weir/sandbox.h"

#include "weir/addresses.h"
#include "weir/java_store.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUNDLE_MAX (16 << 20)

static const char *const bundles[] = {
	"/etc/ssl/certs/ca-certificates.crt",		     /* Debian, Alpine, Arch */
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora, RHEL */
	"/etc/pki/tls/certs/ca-bundle.crt",		     /* older RHEL */
	"/etc/ssl/ca-bundle.pem",			     /* SUSE */
	"/etc/ssl/cert.pem",				     /* Alpine, BSD style */
};

/* For every JDK of the distribution; in JKS form. */
static const char *const java_stores[] = {
	"/etc/ssl/certs/java/cacerts",		    /* Debian */
	"/etc/pki/ca-trust/extracted/java/cacerts", /* Fedora, RHEL */
};

static const char *const java_copies[ARRAY_SIZE(java_stores)] = {
	SANDBOX_DIR "/cacerts-0.jks",
	SANDBOX_DIR "/cacerts-1.jks",
};

static int failed(struct conf_error *err, const char *path, int r)
{
	conf_error_set(err, "cannot write the sandbox's %s: %s", path, strerror(-r));
	return r;
}

static int write_new(const char *path, const void *data, size_t len)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	return fchmod(fd, 0644) < 0 ? -errno : fd_write_all(fd, data, len);
}

static int write_resolv_conf(const struct sandbox_net *net, struct conf_error *err)
{
	static const char path[] = SANDBOX_DIR "/resolv.conf";
	char text[256], a4[IP_STRLEN], a6[IP_STRLEN];
	int r;

	snprintf(text, sizeof(text), "nameserver %s\nnameserver %s\n",
		 ip_format(&net->gateway4, a4), ip_format(&net->gateway6, a6));
	r = write_new(path, text, strlen(text));
	if (r == 0)
		r = sandbox_lay(path, "/etc/resolv.conf");
	return r < 0 ? failed(err, "/etc/resolv.conf", r) : 0;
}

static int write_hosts(const char *hostname, const struct sandbox_net *net, struct conf_error *err)
{
	static const char path[] = SANDBOX_DIR "/hosts";
	char text[512], a4[IP_STRLEN], a6[IP_STRLEN];
	int r;

	snprintf(text, sizeof(text),
		 "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
		 "127.0.1.1 %s\n"
		 "%s " SANDBOX_HOST_NAME " " SANDBOX_HOST_NAME_MSB "\n"
		 "%s " SANDBOX_HOST_NAME " " SANDBOX_HOST_NAME_MSB "\n",
		 hostname, ip_format(&net->gateway4, a4), ip_format(&net->gateway6, a6));
	r = write_new(path, text, strlen(text));
	if (r == 0)
		r = sandbox_lay(path, "/etc/hosts");
	return r < 0 ? failed(err, "/etc/hosts", r) : 0;
}

/* The system's roots and the sandbox's own, in one file; laid over each bundle that exists. */
static int write_bundle(const char *ca_pem, struct conf_error *err)
{
	struct buf text = BUF_INIT(BUNDLE_MAX);
	int r = -ENOENT;

	for (size_t i = 0; i < ARRAY_SIZE(bundles) && r < 0; i++)
		r = file_read(bundles[i], BUNDLE_MAX / 2, &text);
	r = buf_append_str(&text, "\n");
	if (r == 0)
		r = buf_append_str(&text, ca_pem);
	if (r == 0)
		r = write_new(SANDBOX_CA_BUNDLE, buf_at(&text), text.len);
	if (r == 0)
		r = write_new(SANDBOX_CA_ONLY, ca_pem, strlen(ca_pem));
	buf_fini(&text);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(bundles); i++)
		if (access(bundles[i], F_OK) == 0)
			r = sandbox_lay(SANDBOX_CA_BUNDLE, bundles[i]);
	return r < 0 ? failed(err, "certificate bundle", r) : 0;
}

/* Java's programs read neither bundle nor variable. A store in another form stays as it is. */
static int write_java_stores(const char *ca_pem, struct conf_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(java_stores); i++) {
		struct buf old = BUF_INIT(BUNDLE_MAX), text = BUF_INIT(BUNDLE_MAX);
		const char *path = java_copies[i];

		if (file_read(java_stores[i], BUNDLE_MAX / 2, &old) == 0 && old.len &&
		    java_store_add(buf_at(&old), old.len, ca_pem, &text) == 0) {
			r = write_new(path, buf_at(&text), text.len);
			if (r == 0)
				r = sandbox_lay(path, java_stores[i]);
		}
		buf_fini(&old);
		buf_fini(&text);
		if (r < 0)
			return failed(err, java_stores[i], r);
	}
	return 0;
}

int sandbox_etc(const struct sandbox_spec *spec, struct conf_error *err)
{
	int r = write_resolv_conf(spec->net, err);

	if (r == 0)
		r = write_hosts(spec->hostname, spec->net, err);
	if (r == 0 && spec->ca_pem)
		r = write_bundle(spec->ca_pem, err);
	if (r == 0 && spec->ca_pem)
		r = write_java_stores(spec->ca_pem, err);
	return r;
}
