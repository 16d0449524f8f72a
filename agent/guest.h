/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program in the guest: what its files share. It is one process without
 * threads around one loop; what takes long (a command, a file) is a stream with
 * callbacks.
 */
#ifndef WEIR_AGENT_GUEST_H
#define WEIR_AGENT_GUEST_H

#include "agent/agent_int.h"
#include "base/base.h"

#include <sys/resource.h>

/* ---- failures -------------------------------------------------------------------- */

/* What AGENT_FAILED tells. */
struct failure {
	uint32_t stage;
	int err;
	char text[320];
};

/* Fills f; returns -err, or -EINVAL when err is 0. */
int fail(struct failure *f, enum agent_stage stage, int err, const char *fmt, ...) printf_like(4, 5);

/* ---- the guest ------------------------------------------------------------------- */

struct guest_stream;

struct guest {
	struct loop *loop;
	int port;
	bool is_init; /* pid 1: reaps everybody's, and ends the machine */
	bool machine; /* really one: may mount, reboot, set the clock; else a test's namespace */
	bool ready, inited, ending;
	struct frames in;
	struct buf out;
	struct loop_io io;
	struct loop_task flush;
	int signals; /* signalfd */
	struct loop_io signals_io;
	struct guest_stream *streams[AGENT_STREAMS_MAX];
	/* INIT as it came; config points into it. */
	uint8_t *init_body;
	struct scratch init_lists;
	struct agent_init config;
	/* Shutting down (guest_end.c). */
	struct loop_timer end_timer;
	struct agent_shutdown end;
	bool handed_off; /* pid 1 is the image's init */
};

/* Goes to the host and to the console. */
void guest_log(struct guest *g, enum agent_log_level level, const char *fmt, ...) printf_like(3, 4);

/* ---- before the conversation (guest_boot.c) ---------------------------------------- */

/* proc, sys, dev of a machine that has nothing yet; modules; the port, once the host is there. */
void boot_mounts(void);
void boot_modules(void);
must_check int boot_port(int *ret);

/* ---- the conversation (guest_conn.c) ------------------------------------------------ */

must_check int guest_start(struct guest *g);
/* Children and SIGTERM, as events; a new process needs its own. */
must_check int guest_watch_signals(struct guest *g);
/* Appends a message; a full buffer, which producers heed, is the end of the conversation. */
void guest_send(struct guest *g, uint32_t id, uint16_t type, const void *from);
void guest_send_bytes(struct guest *g, uint32_t id, uint16_t type, const void *p, size_t n);
/* So much waits for the host that nothing more should be made. */
bool guest_is_full(const struct guest *g);

/* A request under way. Embedded first in what the request keeps. */
struct guest_stream_ops {
	/* Any may be NULL. n is never more than the credit that was given. */
	void (*input)(struct guest_stream *s, const uint8_t *p, size_t n);
	void (*eof)(struct guest_stream *s);
	void (*resize)(struct guest_stream *s, const struct agent_resize *r);
	void (*signal)(struct guest_stream *s, int number);
	/* The host waits no more: end soon, and say so. */
	void (*close)(struct guest_stream *s);
	/* Credit came or the buffer has room: go on. */
	void (*pump)(struct guest_stream *s);
	/* The last call, after the end was sent. */
	void (*free)(struct guest_stream *s);
};

struct guest_stream {
	struct guest *g;
	uint32_t id;
	struct rules rules;
	const struct guest_stream_ops *ops;
	size_t consumed; /* input for which no credit was given yet */
	bool ended;
	struct loop_task reap; /* frees it, once nobody is in a callback of it */
};

/* Bytes that may be sent now: credit, and one frame's worth. */
size_t stream_room(const struct guest_stream *s);
void stream_bytes(struct guest_stream *s, uint16_t type, const void *p, size_t n);
/* STARTED, ENTRY, SAMPLE. False: no credit for it yet; nothing was sent. */
must_check bool stream_message(struct guest_stream *s, uint16_t type, const void *from);
/* n bytes of input found their place. */
void stream_consumed(struct guest_stream *s, size_t n);
/* Sends the end; s is freed once the current callback is over. */
void stream_done(struct guest_stream *s);
void stream_failed(struct guest_stream *s, const struct failure *f);
void stream_exited(struct guest_stream *s, const struct agent_exited *x);

/*
 * A stream of at least sizeof(struct guest_stream) bytes, zeroed, in the table: what a request
 * begins with. Frees itself by ops->free and free(3). NULL: no memory, told already.
 */
void *stream_new(struct guest *g, const struct agent_message *m, const struct rules *rules,
		 size_t size, const struct guest_stream_ops *ops);

/* ---- INIT (guest_init.c and the files named) ----------------------------------------- */

must_check int guest_init(struct guest *g, const struct agent_init *init, struct failure *f);
must_check int root_mount(const struct agent_init *init, struct failure *f); /* guest_root.c */
must_check int root_volumes(const struct agent_init *init, struct failure *f);
must_check int net_setup(const struct agent_init *init, struct failure *f);   /* guest_net.c */
must_check int etc_setup(const struct agent_init *init, struct failure *f);   /* guest_etc.c */
must_check int trust_setup(const struct agent_init *init, struct failure *f); /* guest_trust.c */
/* Does this process become the other's init's child? Returns in the agent, which may be a new process. */
must_check int handoff(struct guest *g, struct failure *f); /* guest_end.c */
/* Makes the folder and those above it, 0755. */
must_check int make_folders(const char *path);
/* Creates or replaces; for files of ours. */
must_check int write_file(const char *path, const void *p, size_t n, mode_t mode);
/* Lays the file over another (bind mount) where `target`, links followed, is there. */
must_check int lay_file(const char *file, const char *target);
/* Where the agent keeps files of its own; a tmpfs. */
#define GUEST_DIR "/run/weir"
void clock_set(struct guest *g, uint64_t realtime_ns);

/* ---- users (guest_user.c) -------------------------------------------------------------- */

#define GUEST_GROUPS_MAX 256
struct guest_user {
	uid_t uid;
	gid_t gid;
	gid_t groups[GUEST_GROUPS_MAX];
	size_t n_groups;
	char name[64], home[512], shell[512];
};
/* "user", "user:group", numbers; NULL: root. Reads the image's files, no library does. */
must_check int user_lookup(const char *text, struct guest_user *ret, struct failure *f);

/* ---- commands (guest_exec.c, guest_spawn.c) ---------------------------------------------- */

void exec_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
		const struct agent_exec *x);
/* A child of ours ended. True: it was a command's. */
bool exec_reaped(struct guest *g, pid_t pid, int status, const struct rusage *usage);
/* SIGKILL to every command's group. */
void exec_kill_all(struct guest *g, int signal);

struct spawn {
	const struct agent_exec *x;
	const struct agent_init *config;
	const char *user, *cwd;
	/* Results; -1 where there is none. The terminal is both in and out. */
	pid_t pid;
	int in, out, err;
};
must_check int spawn_command(struct spawn *s, struct failure *f);
must_check int spawn_rlimits(const struct agent_strings *list, struct failure *f);

/* ---- the rest ------------------------------------------------------------------------------ */

void file_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
		const struct agent_file *f); /* guest_file.c */
void put_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
	       const struct agent_file *f); /* guest_put.c */
void get_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
	       const struct agent_file *f); /* guest_get.c */
void list_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
		const struct agent_file *f);
/* What lstat or stat says; *ret_target must be freed by the caller. */
must_check int entry_read(int dir, const char *name, bool follow, struct agent_entry *ret,
			  char **ret_target);
/* Mode, owner and time as the flags say; path relative to dir. */
must_check int file_change(int fd, const struct agent_file *f, struct failure *why);
void metrics_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
		   const struct agent_every *e); /* guest_metrics.c */
void connect_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
		   const struct agent_connect *c); /* guest_connect.c */
/* Begins the end of the machine (guest_end.c); the conversation's, too. */
void end_begin(struct guest *g, const struct agent_shutdown *how);
/* A child ended while we are ending. */
void end_check(struct guest *g);

#endif
