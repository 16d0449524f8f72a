/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run whose command has a machine of its own, as its three files share it.
 *
 *   run_vm.c          the machine: its monitor, what the supervisor asks, its end
 *   run_vm_agent.c    the agent in it: hello, set-up, ready, lost
 *   run_vm_command.c  the command that the agent runs, and who is attached to it
 */
#ifndef WEIR_RUN_VM_H
#define WEIR_RUN_VM_H

#include "weir/run.h"
#include "weir/run_internal.h"
#include "weir/vm.h"
#include "weir/vm_clock.h"
#include "weir/vm_stdio.h"
#include "weir/vm_tail.h"

/* From hello to ready, and until a command has begun. */
#define PATIENCE_AGENT (60 * NS_PER_S)

struct machine_run {
	struct run run;
	struct vm_choice choice;
	struct vm_parts parts;
	char **argv;			     /* what runs in there */
	int agent_fd, console_fd, errors_fd; /* ours, until the loop is there */
	struct agent *agent;
	struct agent_relay *relay; /* weir exec and its like; NULL before the first */
	bool ready;
	struct agent_stream *command;
	struct vm_stdio stdio;
	struct vm_clock clock;
	size_t owed; /* bytes of its output that were taken, and not told so yet */
	struct vm_tail console, errors;
	struct loop_timer patience;
	struct loop_io monitor;
	const char *waiting_for;
	bool shutting_down;
};

static inline struct machine_run *machine_of(struct run *r)
{
	return container_of(r, struct machine_run, run);
}

/* What is waited for, as the run's failure says it when patience (ns) ends. */
void machine_wait(struct machine_run *m, const char *what, uint64_t patience);
/* What the machine and its monitor had to say last. */
void machine_tell_tails(struct machine_run *m);

/* ---- run_vm_command.c --------------------------------------------------------------- */

/* When the agent is ready; fails the run when it cannot be asked. */
void machine_command_begin(struct machine_run *m);
/* Standard input and output of the command, or who may be attached to it; 0 or -errno. */
must_check int machine_command_listen(struct machine_run *m);

/* ---- run_vm_agent.c ----------------------------------------------------------------- */

/* Over m->agent_fd, which is the agent's from then on; 0 or -errno. */
must_check int machine_agent_listen(struct machine_run *m);
/* What failed, and why: the agent's words quoted, for a line of ours. */
void machine_failure(const struct agent_failed *f, char *ret, size_t size);
/* weir exec, cp and their like: a connection to the agent. */
void machine_agent_ask(struct machine_run *m, struct ctl_client *c);

#endif
