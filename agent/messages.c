/* SPDX-License-Identifier: Apache-2.0 */
/* The fields of each message, and what their texts must be. Tags are for ever. */
#include "agent/agent.h"
#include "agent/agent_int.h"

#define FIELD(st, m, t, k)                                                                         \
	{                                                                                          \
		.tag = (t), .kind = FIELD_##k, .offset = offsetof(struct st, m)                    \
	}
#define NEEDED(st, m, t, k)                                                                        \
	{                                                                                          \
		.tag = (t), .kind = FIELD_##k, .offset = offsetof(struct st, m), .needed = true    \
	}
#define TEXTS(st, m, t)                                                                            \
	{                                                                                          \
		.tag = (t), .kind = FIELD_TEXTS, .offset = offsetof(struct st, m),                 \
		.most = AGENT_STRINGS_MAX                                                          \
	}
#define SHAPE(st, f)                                                                               \
	{                                                                                          \
		.size = sizeof(struct st), .fields = (f), .n = ARRAY_SIZE(f)                       \
	}

static const struct field hello_fields[] = {
	NEEDED(agent_hello, protocol, 1, U32), FIELD(agent_hello, version, 2, TEXT),
	FIELD(agent_hello, kernel, 3, TEXT),   FIELD(agent_hello, boot_id, 4, TEXT),
	FIELD(agent_hello, uptime_ns, 5, U64),
};

static const struct field mount_fields[] = {
	FIELD(agent_mount, source, 1, TEXT), FIELD(agent_mount, target, 2, TEXT),
	FIELD(agent_mount, fs, 3, TEXT),     FIELD(agent_mount, options, 4, TEXT),
	FIELD(agent_mount, flags, 5, U32),
};
static const struct shape mount_shape = SHAPE(agent_mount, mount_fields);

static const struct field init_fields[] = {
	{ .tag = 1,
	  .kind = FIELD_PART,
	  .offset = offsetof(struct agent_init, root),
	  .part = &mount_shape },
	FIELD(agent_init, upper_device, 2, TEXT),
	FIELD(agent_init, upper_fs, 3, TEXT),
	{ .tag = 4,
	  .kind = FIELD_PARTS,
	  .offset = offsetof(struct agent_init, mounts),
	  .part = &mount_shape,
	  .most = AGENT_MOUNTS_MAX },
	FIELD(agent_init, hostname, 5, TEXT),
	FIELD(agent_init, interface, 6, TEXT),
	FIELD(agent_init, mtu, 7, U32),
	TEXTS(agent_init, addresses, 8),
	TEXTS(agent_init, gateways, 9),
	TEXTS(agent_init, resolvers, 10),
	TEXTS(agent_init, hosts, 11),
	FIELD(agent_init, ca_pem, 12, TEXT),
	FIELD(agent_init, roots_pem, 13, TEXT),
	TEXTS(agent_init, env, 14),
	FIELD(agent_init, user, 15, TEXT),
	FIELD(agent_init, cwd, 16, TEXT),
	TEXTS(agent_init, rlimits, 17),
	TEXTS(agent_init, handoff, 18),
	FIELD(agent_init, entropy, 19, BYTES),
	FIELD(agent_init, realtime_ns, 20, U64),
	FIELD(agent_init, flags, 21, U32),
	FIELD(agent_init, ca_hash, 22, TEXT),
};

static const struct field log_fields[] = {
	FIELD(agent_log, level, 1, U32),
	NEEDED(agent_log, text, 2, TEXT),
};

static const struct field exec_fields[] = {
	TEXTS(agent_exec, argv, 1),
	TEXTS(agent_exec, env, 2),
	FIELD(agent_exec, cwd, 3, TEXT),
	FIELD(agent_exec, user, 4, TEXT),
	TEXTS(agent_exec, rlimits, 5),
	FIELD(agent_exec, flags, 6, U32),
	FIELD(agent_exec, rows, 7, U32),
	FIELD(agent_exec, cols, 8, U32),
	FIELD(agent_exec, timeout_ms, 9, U64),
};

static const struct field attach_fields[] = {
	FIELD(agent_attach, flags, 1, U32),
	FIELD(agent_attach, rows, 2, U32),
	FIELD(agent_attach, cols, 3, U32),
};
static const struct field started_fields[] = { FIELD(agent_started, pid, 1, U32) };
static const struct field resize_fields[] = {
	FIELD(agent_resize, rows, 1, U32),
	FIELD(agent_resize, cols, 2, U32),
};
static const struct field signal_fields[] = { NEEDED(agent_signal, number, 1, U32) };
static const struct field credit_fields[] = { NEEDED(agent_credit, bytes, 1, U32) };

static const struct field file_fields[] = {
	NEEDED(agent_file, path, 1, TEXT), FIELD(agent_file, to, 2, TEXT),
	FIELD(agent_file, flags, 3, U32),  FIELD(agent_file, mode, 4, U32),
	FIELD(agent_file, uid, 5, U32),	   FIELD(agent_file, gid, 6, U32),
	FIELD(agent_file, owner, 7, TEXT), FIELD(agent_file, mtime_ns, 8, U64),
	FIELD(agent_file, offset, 9, U64), FIELD(agent_file, length, 10, U64),
};

static const struct field entry_fields[] = {
	NEEDED(agent_entry, name, 1, TEXT),  FIELD(agent_entry, mode, 2, U32),
	FIELD(agent_entry, uid, 3, U32),     FIELD(agent_entry, gid, 4, U32),
	FIELD(agent_entry, size, 5, U64),    FIELD(agent_entry, mtime_ns, 6, U64),
	FIELD(agent_entry, links, 7, U32),   FIELD(agent_entry, inode, 8, U64),
	FIELD(agent_entry, target, 9, TEXT),
};

static const struct field every_fields[] = { FIELD(agent_every, interval_ms, 1, U32) };

static const struct field sample_fields[] = {
	FIELD(agent_sample, uptime_ns, 1, U64),	    FIELD(agent_sample, cpus, 2, U32),
	FIELD(agent_sample, cpu_busy_ns, 3, U64),   FIELD(agent_sample, cpu_idle_ns, 4, U64),
	FIELD(agent_sample, memory_total, 5, U64),  FIELD(agent_sample, memory_available, 6, U64),
	FIELD(agent_sample, root_total, 7, U64),    FIELD(agent_sample, root_free, 8, U64),
	FIELD(agent_sample, disk_read, 9, U64),	    FIELD(agent_sample, disk_written, 10, U64),
	FIELD(agent_sample, net_received, 11, U64), FIELD(agent_sample, net_sent, 12, U64),
	FIELD(agent_sample, processes, 13, U32),    FIELD(agent_sample, load1, 14, U32),
	FIELD(agent_sample, realtime_ns, 15, U64),
};

static const struct field clock_fields[] = { NEEDED(agent_clock, realtime_ns, 1, U64) };
static const struct field shutdown_fields[] = {
	FIELD(agent_shutdown, how, 1, U32),
	FIELD(agent_shutdown, grace_ms, 2, U32),
};
static const struct field connect_fields[] = { NEEDED(agent_connect, port, 1, U32) };
static const struct field failed_fields[] = {
	NEEDED(agent_failed, stage, 1, U32),
	FIELD(agent_failed, err, 2, U32),
	NEEDED(agent_failed, text, 3, TEXT),
};
static const struct field exited_fields[] = {
	FIELD(agent_exited, code, 1, U32),	FIELD(agent_exited, signal, 2, U32),
	FIELD(agent_exited, flags, 3, U32),	FIELD(agent_exited, user_ns, 4, U64),
	FIELD(agent_exited, system_ns, 5, U64), FIELD(agent_exited, max_rss, 6, U64),
};

static const struct shape hello_shape = SHAPE(agent_hello, hello_fields);
static const struct shape init_shape = SHAPE(agent_init, init_fields);
static const struct shape log_shape = SHAPE(agent_log, log_fields);
static const struct shape exec_shape = SHAPE(agent_exec, exec_fields);
static const struct shape attach_shape = SHAPE(agent_attach, attach_fields);
static const struct shape started_shape = SHAPE(agent_started, started_fields);
static const struct shape resize_shape = SHAPE(agent_resize, resize_fields);
static const struct shape signal_shape = SHAPE(agent_signal, signal_fields);
static const struct shape credit_shape = SHAPE(agent_credit, credit_fields);
static const struct shape file_shape = SHAPE(agent_file, file_fields);
static const struct shape entry_shape = SHAPE(agent_entry, entry_fields);
static const struct shape every_shape = SHAPE(agent_every, every_fields);
static const struct shape sample_shape = SHAPE(agent_sample, sample_fields);
static const struct shape clock_shape = SHAPE(agent_clock, clock_fields);
static const struct shape shutdown_shape = SHAPE(agent_shutdown, shutdown_fields);
static const struct shape connect_shape = SHAPE(agent_connect, connect_fields);
static const struct shape failed_shape = SHAPE(agent_failed, failed_fields);
static const struct shape exited_shape = SHAPE(agent_exited, exited_fields);
static const struct shape empty_shape = { 0 };

static const struct shape *shape_of(uint16_t type)
{
	switch (type) {
	case AGENT_HELLO:
		return &hello_shape;
	case AGENT_INIT:
		return &init_shape;
	case AGENT_LOG:
		return &log_shape;
	case AGENT_EXEC:
		return &exec_shape;
	case AGENT_PUT ... AGENT_COPY:
		return &file_shape;
	case AGENT_METRICS:
		return &every_shape;
	case AGENT_CLOCK:
		return &clock_shape;
	case AGENT_SHUTDOWN:
		return &shutdown_shape;
	case AGENT_ATTACH:
		return &attach_shape;
	case AGENT_CONNECT:
		return &connect_shape;
	case AGENT_RESIZE:
		return &resize_shape;
	case AGENT_SIGNAL:
		return &signal_shape;
	case AGENT_CREDIT:
		return &credit_shape;
	case AGENT_STARTED:
		return &started_shape;
	case AGENT_ENTRY:
		return &entry_shape;
	case AGENT_SAMPLE:
		return &sample_shape;
	case AGENT_FAILED:
		return &failed_shape;
	case AGENT_EXITED:
		return &exited_shape;
	case AGENT_READY:
	case AGENT_PING:
	case AGENT_EOF:
	case AGENT_CLOSE:
	case AGENT_DONE:
		return &empty_shape;
	default:
		return NULL;
	}
}

bool message_is_bytes(uint16_t type)
{
	return type == AGENT_INPUT || type == AGENT_OUTPUT || type == AGENT_ERRORS;
}

bool agent_name_ok(const char *name)
{
	size_t n = strlen(name);

	return n && n <= 255 && !strchr(name, '/') && !str_eq(name, ".") && !str_eq(name, "..");
}

/* What the fields must be beyond their kind. */
static bool makes_sense(uint16_t type, const union agent_body *b)
{
	switch (type) {
	case AGENT_HELLO:
		return b->hello.protocol != 0;
	case AGENT_EXEC:
		return b->exec.argv.n || b->exec.flags & AGENT_EXEC_SHELL;
	case AGENT_ENTRY:
		return agent_name_ok(b->entry.name);
	case AGENT_CONNECT:
		return b->connect.port && b->connect.port <= UINT16_MAX;
	case AGENT_CREDIT:
		return b->credit.bytes != 0;
	case AGENT_RESIZE:
		return b->resize.rows <= UINT16_MAX && b->resize.cols <= UINT16_MAX;
	case AGENT_ATTACH:
		return b->attach.rows <= UINT16_MAX && b->attach.cols <= UINT16_MAX;
	case AGENT_SIGNAL:
		return b->signal.number >= 1 && b->signal.number <= 64;
	case AGENT_EXITED:
		return b->exited.code <= 255 && b->exited.signal <= 127;
	default:
		return true;
	}
}

int message_read(const struct agent_message *m, union agent_body *ret, struct scratch *s)
{
	const struct shape *sh;
	int r;

	if (message_is_bytes(m->type))
		return m->len ? 0 : -EPROTO;
	sh = shape_of(m->type);
	if (!sh)
		return -EPROTO;
	r = shape_read(sh, m->body, m->len, ret, s);
	return r == 0 && !makes_sense(m->type, ret) ? -EPROTO : r;
}

int message_write(uint16_t type, const void *from, struct buf *to)
{
	const struct shape *sh = shape_of(type);

	assert(sh && (from || !sh->n));
	return shape_write(sh, from, to);
}
