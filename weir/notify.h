/* SPDX-License-Identifier: Apache-2.0 */
/* Telling a service manager how we are (sd_notify(3): a datagram to $NOTIFY_SOCKET). */
#ifndef WEIR_NOTIFY_H
#define WEIR_NOTIFY_H

/* "READY=1" and the like. Without a manager that wants to know, nothing happens. */
void notify_manager(const char *state);

#endif
