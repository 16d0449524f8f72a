/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration says of TLS, as the tlsproxy takes it. */
#ifndef WEIR_TLS_SETUP_H
#define WEIR_TLS_SETUP_H

#include "weir/config.h"

struct tls_setup {
	struct tlsproxy_upstream *upstreams;
	struct name *permitted;
};
/* Fills in the TLS part of *tc, which points into cfg and *s. */
must_check int tls_setup(const struct weir_config *cfg, struct tlsproxy_config *tc,
			 struct tls_setup *s);
void tls_setup_fini(struct tls_setup *s);

/*
 * The names that TLS can be for under this policy, when they can be listed: outwards it
 * denies by default, and every rule that allows TCP does so by name. *ret_n 0: they cannot be.
 */
must_check int tls_names_of(const struct policy *p, struct name **ret, size_t *ret_n);

/*
 * This machine's authorities, PEM, as other programs find them: SSL_CERT_FILE, else the
 * distribution's bundle. -ENOENT: there are none; err says so.
 */
#define TLS_HOST_CAS_MAX ((size_t)8 << 20)
must_check int tls_host_cas(struct buf *ret, struct conf_error *err);

#endif
