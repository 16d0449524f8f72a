/* SPDX-License-Identifier: Apache-2.0 */
/* Taps as the gateway reads them: frames behind a 12-byte virtio-net header, all offloads on. */
#ifndef WEIR_TAP_H
#define WEIR_TAP_H

#include "base/base.h"
#include "policy/policy.h"

/* What the ring can hold before it drops; the kernel's default of 1000 loses bulk uploads. */
#define TAP_QUEUE_LEN 20000

/*
 * The interface called name in this network namespace: the one that is there,
 * or a new one, which is down and lives as long as the descriptor.
 */
must_check int tap_open(const char *name, int *ret_fd, struct conf_error *err);
/*
 * Header size and offloads of one that somebody else opened. err says what it
 * lacks; ret_name is its name.
 */
must_check int tap_prepare(int fd, char ret_name[static 16], struct conf_error *err);
/* Warns where the tap is a port of a bridge that this host is on as well (tap_bridge.c). */
void tap_check_bridge(const char *name);

#endif
