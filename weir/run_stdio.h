/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptors of a sandboxed command in the background: pipes, or a terminal of the
 * sandbox's own. Our ends feed run_attach.c.
 */
#ifndef WEIR_RUN_STDIO_H
#define WEIR_RUN_STDIO_H

#include "weir/run_internal.h"

struct run_stdio {
	struct run *run;
	int child[3];	      /* for the sandbox; -1: none, or there is a terminal */
	int in, out[2];	      /* ours, or -1; a terminal: in is a copy of out[0] */
	struct loop_io in_io; /* while it takes no more */
	struct loop_io out_io[2];
};

#define RUN_STDIO_NONE                                                                             \
	{                                                                                          \
		.child = { -1, -1, -1 }, .in = -1, .out = { -1, -1 }                               \
	}

/* Pipes, unless the configuration asks for a terminal. What was opened when it fails is run_stdio_fini()'s. */
must_check int run_stdio_open(struct run_stdio *s, const struct life_config *l);
/* The sandbox has them; terminal: its master (taken over), or -1. */
must_check int run_stdio_given(struct run_stdio *s, int terminal);
/* The loop is there. */
must_check int run_stdio_listen(struct run_stdio *s, struct run *r);
/* The command is over: what it wrote last is taken in. */
void run_stdio_drain(struct run_stdio *s);
void run_stdio_fini(struct run_stdio *s);

#endif
