/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's clock follows this machine's: after a suspend, a pause, a step of ours, and when it drifts.
 * It is asked what time it has, and set only when it is off by more than VM_CLOCK_OFF.
 */
#ifndef WEIR_VM_CLOCK_H
#define WEIR_VM_CLOCK_H

#include "agent/agent.h"

#define VM_CLOCK_OFF (100 * NS_PER_MS)
#define VM_CLOCK_INTERVAL (60 * NS_PER_S)

struct vm_clock {
	struct loop *loop;
	struct agent *agent;	     /* NULL: not started */
	struct agent_stream *stream; /* a question or an answer of ours, one at a time */
	struct loop_timer timer;
	struct loop_io step; /* readable when our own clock was set, or went on after a suspend */
	uint64_t asked;	     /* real time of the question */
	uint64_t off;	     /* by the last answer, at least */
};

/* The agent is ready. */
must_check int vm_clock_start(struct vm_clock *c, struct loop *l, struct agent *a);
/* Something may have happened to one of the clocks. */
void vm_clock_look(struct vm_clock *c);
/* Before the agent is freed, and when it is lost. */
void vm_clock_stop(struct vm_clock *c);
/* How far the machine's time is at least from ours, when it was read between two of ours. */
uint64_t vm_clock_off(uint64_t machine, uint64_t before, uint64_t after);

#endif
