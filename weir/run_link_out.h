/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine behind a gateway's link needs from us and gets from whoever
 * builds or starts it: the CA's certificate, the placeholders of the secrets.
 */
#ifndef WEIR_RUN_LINK_OUT_H
#define WEIR_RUN_LINK_OUT_H

#include "weir/run_internal.h"

/* Both files that were asked for, complete before the gateway says that it is ready. Replaced whole, never followed. */
must_check int run_link_out(const struct run *r, struct conf_error *err);

#endif
