/* SPDX-License-Identifier: Apache-2.0 */
/* Where systems keep whom their programs trust. */
#include "base/base.h"

const char *const root_bundles[] = {
	"/etc/ssl/certs/ca-certificates.crt",		     /* Debian, Alpine, Arch, Gentoo */
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora, RHEL */
	"/etc/pki/tls/certs/ca-bundle.crt",		     /* older RHEL */
	"/etc/pki/tls/cert.pem",			     /* OpenSSL of RHEL */
	"/var/lib/ca-certificates/ca-bundle.pem",	     /* SUSE */
	"/etc/ssl/ca-bundle.pem",			     /* older SUSE */
	"/etc/ca-certificates/extracted/tls-ca-bundle.pem",  /* Arch */
	"/etc/ssl/certs/ca-bundle.crt",			     /* NixOS */
	"/etc/ssl/cert.pem",				     /* Alpine, BSD style */
	"/usr/lib/ssl/cert.pem",			     /* OpenSSL's default on Debian */
	"/usr/local/ssl/cert.pem",			     /* OpenSSL's own default */
	"/usr/local/share/certs/ca-root-nss.crt",	     /* FreeBSD */
	NULL,
};

/* What the tools that make the others read, so that they find it too. p11-kit reads some itself. */
const char *const root_anchors[] = {
	"/usr/local/share/ca-certificates",	     /* Debian, Alpine */
	"/etc/pki/ca-trust/source/anchors",	     /* Fedora, RHEL */
	"/etc/ca-certificates/trust-source/anchors", /* Arch */
	"/etc/pki/trust/anchors",		     /* SUSE */
	NULL,
};
