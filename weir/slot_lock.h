/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which slots are in use, among the sandboxes of one user: a locked file per
 * slot, beside the control sockets. The lock goes with its process, however it
 * ends, so a slot is free again at once. Internal to weir/.
 */
#ifndef WEIR_SLOT_LOCK_H
#define WEIR_SLOT_LOCK_H

#include "weir/address_pick.h"

/* -EBUSY: another process has it. Others: there is no place for locks; then nobody is asked. */
int slot_lock_take(const struct ip_prefix *slot, struct slot_lock *ret);
void slot_lock_release(struct slot_lock *l);

#endif
