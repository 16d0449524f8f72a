/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that read records. argv[0] is the command's name. Internal to weir/. */
#ifndef WEIR_CMD_AUDIT_H
#define WEIR_CMD_AUDIT_H

/*
 * weir audit [FILE] [--denied] [--kind K] [--json] [--color auto|always|never]
 * weir why ID [--audit FILE] [--json] [--color …]
 * Without a file: the newest default record (audit), all of them, newest first (why).
 * Exit status: 0 fine, 1 not found or the chain is broken, 2 usage or unreadable.
 */
int cmd_audit(int argc, char **argv);
int cmd_why(int argc, char **argv);

#endif
