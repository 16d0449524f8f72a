/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard input, output, error and the terminal of weir itself, carried to and from a
 * command in a machine. Nothing blocks, and nothing is kept beyond what the
 * agent's credit lets come: who reads slowly slows the command down.
 */
#ifndef WEIR_VM_STDIO_H
#define WEIR_VM_STDIO_H

#include "agent/agent.h"
#include "base/base.h"

#include <termios.h>

/* Bytes that a filter may have held back from before. */
#define VM_STDIO_HELD 8

struct vm_stdio;

struct vm_output {
	struct vm_stdio *up;
	int fd;	     /* ours, or that of weir itself */
	bool own;    /* to be closed */
	bool socket; /* written to with MSG_DONTWAIT */
	bool broken; /* nobody reads it any more */
	struct buf waiting;
	struct loop_io io;
};

struct vm_stdio {
	struct loop *loop;
	struct agent_stream *stream; /* NULL: none yet, or over */
	bool tty;		     /* the command has a terminal: ours, raw */
	bool raw;
	struct termios saved;
	bool winch_open;
	struct loop_io winch;
	int in;
	bool in_own, in_socket, in_plain, in_over; /* plain: a file, which is always ready */
	struct loop_io in_io;
	struct loop_task in_task;
	bool no_input; /* the command has none: nothing is read */
	/*
	 * What was read from the terminal, on its way to the command: copies to out, which has room for
	 * VM_STDIO_HELD more, what is to go; NULL: all of it.
	 */
	size_t (*filter)(struct vm_stdio *s, const uint8_t *in, size_t n, uint8_t *out);
	/* Nobody reads what it writes any more; NULL: the command is told as one of this machine's is. */
	void (*unread)(struct vm_stdio *s);
	struct vm_output out[2];
	/* All that the command wrote is where it belongs; called once, after vm_stdio_ended(). */
	void (*drained)(struct vm_stdio *s);
	bool ended, told;
	struct loop_task drained_task;
};

/* Whether the command is to have a terminal: input and output are one, and it is ours now. */
bool vm_stdio_wants_tty(void);
void vm_stdio_size(uint32_t *ret_rows, uint32_t *ret_cols);
/* loop, drained and tty are set. Nothing is read before vm_stdio_attach(). */
must_check int vm_stdio_start(struct vm_stdio *s);
/* The command has begun; its stream stays the caller's. */
void vm_stdio_attach(struct vm_stdio *s, struct agent_stream *stream);
/* It wrote this. */
void vm_stdio_data(struct vm_stdio *s, enum agent_type type, const uint8_t *p, size_t n);
/* It reads again. */
void vm_stdio_room(struct vm_stdio *s);
/* We were stopped and go on. */
void vm_stdio_continued(struct vm_stdio *s);
/* Its stream is over: drained() is called, at once or when everything is written. */
void vm_stdio_ended(struct vm_stdio *s);
/* Nothing more is read or written; the terminal is as it was. */
void vm_stdio_stop(struct vm_stdio *s);

#endif
