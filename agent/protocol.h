/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host and the agent in the guest say to each other, over one stream:
 * the virtio console port named "agent". agent/README.md tells the protocol in
 * prose; this header is its wire format and its limits.
 *
 *   header   u32 length of the body, u32 id, u16 type, u16 flags; little endian
 *   body     bytes as they are (INPUT, OUTPUT, ERRORS), else fields:
 *            u16 tag, u32 length, value; integers are 4 or 8 bytes, texts end
 *            in their only NUL, a list is its tag once for each member
 *
 * Id 0 is the connection. Every other id is one request of the host, from its
 * first message to DONE, FAILED or EXITED, which ends it. The guest never
 * begins one. Bytes and entries flow under credit, each direction of each id.
 *
 * Texts and lists of these structures are borrowed: from the caller when a
 * message is written, from the message when it was read.
 */
#ifndef WEIR_AGENT_PROTOCOL_H
#define WEIR_AGENT_PROTOCOL_H

#include "base/base.h"

/* Generation of this protocol. Types and tags are only ever added. */
#define AGENT_PROTOCOL 1
#define AGENT_PORT_NAME "agent"

/* ---- limits, each with what it stops ------------------------------------------- */

#define AGENT_HEADER_LEN 12
/* A frame: nobody waits behind a longer one. */
#define AGENT_FRAME_MAX 65536
#define AGENT_BODY_MAX (AGENT_FRAME_MAX - AGENT_HEADER_LEN)
/* A request over several frames (AGENT_FLAG_MORE), which only the host may send. */
#define AGENT_MESSAGE_MAX (1 << 20)
/* Bytes that may be under way in one direction of one id before credit comes back. */
#define AGENT_WINDOW (256 << 10)
/* Ids at a time: processes and open files a host's mistake can pile up in the guest. */
#define AGENT_STREAMS_MAX 256
/* Members of one list: arguments, variables. */
#define AGENT_STRINGS_MAX 8192
/* Mounts of one INIT. */
#define AGENT_MOUNTS_MAX 64

/* The body goes on in the next frame, which has the same id and type. */
#define AGENT_FLAG_MORE 1

enum agent_type {
	/* Id 0. */
	AGENT_HELLO = 1, /* guest: struct agent_hello; its first */
	AGENT_INIT = 2,	 /* host, once: struct agent_init */
	AGENT_READY = 3, /* guest: INIT is done, requests may come; else FAILED */
	AGENT_LOG = 4,	 /* guest: struct agent_log */

	/* The host begins an id. */
	AGENT_EXEC = 16,     /* struct agent_exec: STARTED, OUTPUT and ERRORS, EXITED */
	AGENT_PUT = 17,	     /* struct agent_file: then INPUT, EOF; DONE: it stands there whole */
	AGENT_GET = 18,	     /* struct agent_file: ENTRY, OUTPUT, DONE */
	AGENT_LIST = 19,     /* struct agent_file: ENTRY for each, in no order; DONE */
	AGENT_STAT = 20,     /* struct agent_file: ENTRY, DONE */
	AGENT_MKDIR = 21,    /* struct agent_file: DONE; this and those below */
	AGENT_REMOVE = 22,   /* struct agent_file */
	AGENT_RENAME = 23,   /* struct agent_file: path becomes `to` */
	AGENT_SYMLINK = 24,  /* struct agent_file: path will lead to `to` */
	AGENT_CHANGE = 25,   /* struct agent_file: mode, owner, time as its flags say */
	AGENT_COPY = 26,     /* struct agent_file: a regular file of the guest to `to` */
	AGENT_METRICS = 32,  /* struct agent_every: SAMPLE once and DONE, or until CLOSE */
	AGENT_PING = 33,     /* DONE */
	AGENT_CLOCK = 34,    /* struct agent_clock: DONE */
	AGENT_SHUTDOWN = 35, /* struct agent_shutdown: DONE, then the machine ends */
	AGENT_CONNECT = 36,  /* struct agent_connect: STARTED, INPUT and OUTPUT, DONE */
	/* Of a hub, never of a guest. struct agent_attach: as EXEC, of a command that runs already. */
	AGENT_ATTACH = 37,

	/* Within an id, from the host. */
	AGENT_INPUT = 48,  /* bytes */
	AGENT_EOF = 49,	   /* no more of them */
	AGENT_RESIZE = 50, /* struct agent_resize */
	AGENT_SIGNAL = 51, /* struct agent_signal */
	AGENT_CLOSE =
		52, /* nobody waits for it any more: its processes are killed; its end is still told */

	/* Within an id, from either. */
	AGENT_CREDIT = 56, /* struct agent_credit: as many bytes more */

	/* Within an id, from the guest. */
	AGENT_STARTED = 64, /* struct agent_started */
	AGENT_OUTPUT = 65,  /* bytes */
	AGENT_ERRORS = 66,  /* bytes */
	AGENT_ENTRY = 67,   /* struct agent_entry; its body counts as bytes */
	AGENT_SAMPLE = 68,  /* struct agent_sample; its body counts as bytes */

	/* The end of an id. */
	AGENT_DONE = 80,
	AGENT_FAILED = 81, /* struct agent_failed */
	AGENT_EXITED = 82, /* struct agent_exited */
};

/* What failed, so that a caller need not read the text. */
enum agent_stage {
	AGENT_STAGE_REQUEST = 1,    /* the request itself: a field is missing or makes no sense */
	AGENT_STAGE_UNKNOWN = 2,    /* this agent does not know this type */
	AGENT_STAGE_LIMIT = 3,	    /* too many at a time */
	AGENT_STAGE_CLOSED = 4,	    /* the host sent CLOSE */
	AGENT_STAGE_MEMORY = 5,	    /* no memory, no descriptors, no process */
	AGENT_STAGE_USER = 10,	    /* no such user or group */
	AGENT_STAGE_CWD = 11,	    /* the working directory */
	AGENT_STAGE_TTY = 12,	    /* no terminal to be had */
	AGENT_STAGE_RLIMIT = 13,    /* a resource limit */
	AGENT_STAGE_PRIVILEGE = 14, /* taking on the user, dropping rights */
	AGENT_STAGE_LOOKUP = 15,    /* no program of that name: 127 to a shell */
	AGENT_STAGE_EXEC = 16,	    /* it is there and cannot be run: 126 to a shell */
	AGENT_STAGE_OPEN = 20,	    /* files: the path, as `err` says */
	AGENT_STAGE_READ = 21,
	AGENT_STAGE_WRITE = 22,
	AGENT_STAGE_COMMIT = 23, /* the finished file could not take its name */
	AGENT_STAGE_CONNECT = 24,
	AGENT_STAGE_ROOT = 30, /* INIT: the root file system */
	AGENT_STAGE_MOUNT = 31,
	AGENT_STAGE_NETWORK = 32,
	AGENT_STAGE_FILES = 33, /* resolv.conf, hosts, hostname */
	AGENT_STAGE_TRUST = 34,
	AGENT_STAGE_HANDOFF = 35,
	/* The host's own; never on the wire. */
	AGENT_STAGE_DEADLINE = 60, /* no answer in time */
	AGENT_STAGE_LOST = 61,	   /* the connection is over */
};

/* ---- what messages hold --------------------------------------------------------- */

struct agent_strings {
	const char *const *v;
	size_t n;
};

struct agent_bytes {
	const uint8_t *p;
	size_t n;
};

struct agent_hello {
	uint32_t protocol;
	const char *version; /* of the agent */
	const char *kernel;  /* uname -r */
	const char *boot_id; /* /proc/sys/kernel/random/boot_id */
	uint64_t uptime_ns;
};

#define AGENT_MOUNT_READONLY 1
#define AGENT_MOUNT_NOSUID 2
#define AGENT_MOUNT_NODEV 4
#define AGENT_MOUNT_NOEXEC 8
#define AGENT_MOUNT_BIND 16 /* source is a path, fs is not looked at */

struct agent_mount {
	const char *source; /* device, or path of the new root */
	const char *target; /* absolute; made when it is not there */
	const char *fs;
	const char *options; /* of the file system, or NULL */
	uint32_t flags;
};

/* The rest of security: a guest's root keeps what it needs for packages, and loses what reaches the kernel. */
#define AGENT_INIT_RESTRICTED 1

struct agent_init {
	/*
	 * The root. Without a device: the file system that the agent runs from. With
	 * AGENT_MOUNT_READONLY and an upper file system, the upper one (a device, or
	 * fs "tmpfs") takes what is written, by overlayfs.
	 */
	struct agent_mount root; /* target is not looked at */
	const char *upper_device, *upper_fs;
	const struct agent_mount *mounts; /* volumes, in order */
	size_t n_mounts;

	const char *hostname;
	const char *interface;		/* NULL: the first that is not lo */
	uint32_t mtu;			/* 0: as it is */
	struct agent_strings addresses; /* "ADDRESS/LENGTH", IPv4 and IPv6 */
	struct agent_strings gateways;	/* one address of each family */
	struct agent_strings resolvers; /* addresses; none: resolv.conf stays */
	struct agent_strings hosts;	/* all lines of /etc/hosts; none: it stays */

	const char *ca_pem;    /* authority to be trusted, or NULL */
	const char *ca_hash;   /* of its subject, as OpenSSL names files (\"1a2b3c4d\"), or NULL */
	const char *roots_pem; /* roots the host trusts besides the image's, or NULL */
	struct agent_strings env;     /* "NAME=VALUE" for every command */
	const char *user, *cwd;	      /* of commands that name none; NULL: root, / */
	struct agent_strings rlimits; /* "nofile=1024" or "nofile=1024:4096" */
	struct agent_strings handoff; /* an init that becomes pid 1, with arguments; none: the agent stays it */
	struct agent_bytes entropy; /* credited to the kernel's pool */
	uint64_t realtime_ns;	    /* 0: the clock is right */
	uint32_t flags;
};

enum agent_log_level {
	AGENT_LOG_ERROR = 0,
	AGENT_LOG_WARN = 1,
	AGENT_LOG_INFO = 2,
};

struct agent_log {
	uint32_t level; /* enum agent_log_level */
	const char *text;
};

#define AGENT_EXEC_TTY 1   /* a terminal; ERRORS never come */
#define AGENT_EXEC_INPUT 2 /* INPUT follows; else standard input is empty */
/* The user's shell (passwd, else /bin/sh) with argv as its arguments; argv may then be empty. */
#define AGENT_EXEC_SHELL 4

struct agent_exec {
	struct agent_strings argv; /* argv[0] is looked up in PATH */
	struct agent_strings env;  /* win over those of INIT */
	const char *cwd;	   /* NULL: as INIT says */
	const char *user;	   /* "user", "user:group", "1000:1000"; NULL: as INIT says */
	struct agent_strings rlimits;
	uint32_t flags;
	uint32_t rows, cols; /* of the terminal */
	uint64_t timeout_ms; /* then SIGKILL to the group; 0: none */
};

#define AGENT_ATTACH_INPUT 1 /* INPUT follows */

struct agent_attach {
	uint32_t flags;
	uint32_t rows, cols; /* of the terminal; 0: there is none */
};

struct agent_started {
	uint32_t pid; /* in the guest; 0 where there is none */
};

struct agent_resize {
	uint32_t rows, cols;
};

struct agent_signal {
	uint32_t number; /* of Linux on x86-64 */
};

struct agent_credit {
	uint32_t bytes;
};

#define AGENT_FILE_FOLLOW 1 /* a link at the end of the path is followed */
#define AGENT_FILE_PARENTS                                                                         \
	2 /* MKDIR, PUT: folders above are made; MKDIR of one that is there is fine */
#define AGENT_FILE_RECURSIVE 4 /* REMOVE: what is below, too */
#define AGENT_FILE_NEW 8       /* PUT, RENAME, COPY: only where nothing is yet */
#define AGENT_FILE_APPEND 16   /* PUT: to the end of what is there, in place */
#define AGENT_FILE_MODE 32     /* `mode` counts */
#define AGENT_FILE_OWNER 64    /* `uid` and `gid` count */
#define AGENT_FILE_TIME 128    /* `mtime_ns` counts */

struct agent_file {
	const char *path; /* absolute */
	const char *to;
	uint32_t flags;
	uint32_t mode; /* permission bits; without the flag 0644, 0755 for folders */
	uint32_t uid, gid;
	const char *owner; /* "user" or "user:group" of the guest, instead of uid and gid */
	uint64_t mtime_ns; /* since 1970 */
	uint64_t offset;   /* GET: where to begin */
	uint64_t length;   /* GET: at most as many bytes; 0: to the end */
};

struct agent_entry {
	const char *name; /* one component: checked by the reader of the message */
	uint32_t mode;	  /* type and permissions, st_mode of Linux */
	uint32_t uid, gid;
	uint64_t size;
	uint64_t mtime_ns;
	uint32_t links;
	uint64_t inode;
	const char *target; /* of a symbolic link */
};

struct agent_every {
	uint32_t interval_ms; /* 0: once */
};

/* Sums since boot, but for what is said to be of now. Bytes and nanoseconds. */
struct agent_sample {
	uint64_t uptime_ns;
	uint32_t cpus;
	uint64_t cpu_busy_ns; /* of all processors together */
	uint64_t cpu_idle_ns;
	uint64_t memory_total, memory_available; /* now */
	uint64_t root_total, root_free;		 /* now; the root file system */
	uint64_t disk_read, disk_written;
	uint64_t net_received, net_sent;
	uint32_t processes;   /* now */
	uint32_t load1;	      /* load average of a minute, in hundredths */
	uint64_t realtime_ns; /* now, since 1970; 0: an agent that does not tell */
};

struct agent_clock {
	uint64_t realtime_ns; /* set when off by more than 100 ms, never for less */
};

#define AGENT_SHUTDOWN_POWER_OFF 0
#define AGENT_SHUTDOWN_REBOOT 1

struct agent_shutdown {
	uint32_t how;
	uint32_t grace_ms; /* between SIGTERM and SIGKILL */
};

/* Of the guest's loopback, so that a port of the sandbox needs no way around the gateway. */
struct agent_connect {
	uint32_t port;
};

struct agent_failed {
	uint32_t stage; /* enum agent_stage */
	uint32_t err;	/* errno of Linux on x86-64; 0: none */
	const char *text;
};

#define AGENT_EXITED_TIMEOUT 1
#define AGENT_EXITED_CORE 2

struct agent_exited {
	uint32_t code;	 /* when signal is 0 */
	uint32_t signal; /* that ended it */
	uint32_t flags;
	uint64_t user_ns, system_ns; /* of it and of its children that it waited for */
	uint64_t max_rss;	     /* bytes */
};

#endif
