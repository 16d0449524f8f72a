/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process of a machine's monitor, which runs code that a hostile guest talks to.
 *
 * States: created (waits for its id maps) → own root, own network with nothing in it
 * but the socket that is listened on → no rights → executed.
 *
 * What is left to it: the descriptors it was given, the programs and libraries of
 * this machine (read-only; QEMU's firmware and modules are among them), a few devices,
 * and what its own list of system calls lets through. It dies with its parent, and as pid 1
 * of its namespace takes along whatever it may have started.
 */
#include "weir/vm.h"

#include "weir/harden.h"
#include "weir/message.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMESPACES                                                                                 \
	(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)
#define BINDS_MAX 8
#define ROOT "/tmp" /* where the new root is put together; every system has it */

struct monitor {
	const struct vm_spawn_spec *spec;
	struct harden_ids ids;
	bool becomes; /* ids are not those of who starts it */
	int sock;
};

static _Noreturn void monitor_fail(const struct monitor *m, const struct conf_error *err)
{
	_exit(msg_send_text(m->sock, MSG_FAILED, 0, err->text) < 0 ? 2 : 1);
}

static _Noreturn void step_failed(const struct monitor *m, const char *step)
{
	struct conf_error err;

	conf_error_set(&err, "cannot isolate %s: %s: %s", m->spec->program, step, strerror(errno));
	monitor_fail(m, &err);
}

/* ---- who it is --------------------------------------------------------------------------- */

/*
 * Started by root it is nobody, in its own namespace, too: root without rights would still own
 * root's files. /dev/kvm that only root may open keeps it root.
 */
static struct harden_ids monitor_ids(const struct vm_spawn_spec *spec)
{
	struct harden_ids own = harden_own_ids(), ids = { RIGHTS_NOBODY, RIGHTS_NOBODY };
	struct stat st;

	if (own.uid != 0 || !spec->isolate || !rights_nobody_exists())
		return own;
	if (!spec->kvm || stat("/dev/kvm", &st) < 0 || (st.st_mode & 06) == 06)
		return ids;
	ids.gid = st.st_gid;
	if ((st.st_mode & 060) == 060)
		return ids;
	log_warn("/dev/kvm is for root alone: the monitor stays root, without rights");
	return own;
}

static int map_ids(pid_t pid, const struct monitor *m, struct conf_error *err)
{
	int r;

	if (!m->becomes)
		return harden_write_id_maps(pid, &m->ids, false, err);
	r = rights_write_other_ids(pid, m->ids.uid, m->ids.gid);
	if (r < 0)
		conf_error_set(err, "cannot make the monitor a user without rights: %s",
			       strerror(-r));
	return r;
}

/* Inside, with the maps written: what is opened before is opened as who started us. */
static void become(const struct monitor *m)
{
	int r = rights_become(m->ids.uid, m->ids.gid);

	if (r < 0) {
		errno = -r;
		step_failed(m, "becoming a user without rights");
	}
}

/* ---- its root ------------------------------------------------------------------------ */

static int set_attr(const char *path, uint64_t attrs)
{
	struct mount_attr attr = { .attr_set = attrs };

	return (int)syscall(SYS_mount_setattr, AT_FDCWD, path, AT_RECURSIVE, &attr, sizeof(attr));
}

/* A folder of this machine's, read-only; a link stays a link, what is not there is left out. */
static int lay_folder(const char *path)
{
	char to[PATH_MAX], target[PATH_MAX];
	struct stat st;
	ssize_t n;

	snprintf(to, sizeof(to), ROOT "%s", path);
	if (lstat(path, &st) < 0)
		return 0;
	if (S_ISLNK(st.st_mode)) {
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			return -1;
		target[n] = 0;
		return symlink(target, to);
	}
	if (!S_ISDIR(st.st_mode))
		return 0;
	if (mkdir(to, 0755) < 0 || mount(path, to, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -1;
	return set_attr(to, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
}

static int make_target(const char *name, char to[static PATH_MAX])
{
	int fd;

	snprintf(to, PATH_MAX, ROOT "%s", name);
	fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	fd_close(fd);
	return fd < 0 ? -1 : 0;
}

static int lay_file(const char *path)
{
	char to[PATH_MAX];

	return make_target(path, to) < 0 ? -1 : mount(path, to, NULL, MS_BIND, NULL);
}

/* tree: of open_tree(2) */
static int lay_bind(int tree, const char *name)
{
	char to[PATH_MAX];

	if (make_target(name, to) < 0 ||
	    syscall(SYS_move_mount, tree, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -1;
	return set_attr(to, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				    MOUNT_ATTR_NOEXEC);
}

static void own_root(const struct monitor *m)
{
	static const char *const folders[] = { "/usr", "/lib",	"/lib64", "/lib32",
					       "/bin", "/sbin", "/nix",	  "/gnu" };
	static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/urandom" };
	const struct vm_spawn_spec *s = m->spec;
	int binds[BINDS_MAX];

	assert(s->n_binds <= ARRAY_SIZE(binds));
	if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		step_failed(m, "private mounts");
	/* Before ROOT covers what may lie below it. */
	for (size_t i = 0; i < s->n_binds; i++) {
		binds[i] = (int)syscall(SYS_open_tree, AT_FDCWD, s->binds[i].path,
					OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		if (binds[i] < 0)
			step_failed(m, s->binds[i].path);
	}
	if (m->becomes)
		become(m);
	if (mount("none", ROOT, "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,nr_inodes=64,mode=755") < 0)
		step_failed(m, "a root of its own");
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		if (lay_folder(folders[i]) < 0)
			step_failed(m, folders[i]);
	if (mkdir(ROOT "/dev", 0755) < 0 || mkdir(ROOT "/etc", 0755) < 0 ||
	    mkdir(ROOT "/vm", 0755) < 0)
		step_failed(m, "folders");
	if (access("/etc/ld.so.cache", F_OK) == 0 && lay_file("/etc/ld.so.cache") < 0)
		step_failed(m, "/etc/ld.so.cache");
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		if (lay_file(devices[i]) < 0)
			step_failed(m, devices[i]);
	if (s->kvm && lay_file("/dev/kvm") < 0)
		step_failed(m, "/dev/kvm");
	for (size_t i = 0; i < s->n_binds; i++)
		if (lay_bind(binds[i], s->binds[i].name) < 0)
			step_failed(m, s->binds[i].path);
	if (chdir(ROOT) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
	    mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL) <
		    0 ||
	    chdir("/") < 0)
		step_failed(m, "entering its own root");
}

/* ---- its network ------------------------------------------------------------------------ */

/*
 * Its network namespace has no interface; a name without a path in it is seen by nobody
 * else and leaves nothing behind.
 */
static void listen_for_it(const struct monitor *m)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t n = strlen(m->spec->listen);

	memcpy(sa.sun_path + 1, m->spec->listen, n);
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&sa,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)) < 0 ||
	    listen(fd, 1) < 0)
		step_failed(m, "a socket for its network");
	if (msg_send(m->sock, MSG_LINK, 0, NULL, 0, &fd, 1) < 0)
		_exit(1);
}

/* ---- the process --------------------------------------------------------------------------- */

static void parent_lives(const struct monitor *m)
{
	struct pollfd p = { .fd = m->sock, .events = POLLIN };

	if (poll(&p, 1, 0) > 0 && p.revents & POLLHUP)
		_exit(1);
}

static void inherit(const struct monitor *m)
{
	const struct vm_spawn_spec *s = m->spec;
	int keep[34], null = open("/dev/null", O_RDWR | O_CLOEXEC);
	size_t n = 0;

	assert(s->n_fds + 1 < ARRAY_SIZE(keep));
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(s->errors, STDERR_FILENO) < 0)
		step_failed(m, "standard descriptors");
	keep[n++] = m->sock;
	for (size_t i = 0; i < s->n_fds; i++) {
		keep[n++] = s->fds[i];
		if (fcntl(s->fds[i], F_SETFD, 0) < 0)
			step_failed(m, "descriptors");
	}
	rights_close_others(keep, n);
}

static _Noreturn void monitor_main(const struct monitor *m)
{
	const struct vm_spawn_spec *spec = m->spec;
	int sock = m->sock;
	struct rlimit none = { 0, 0 };
	struct conf_error err = { { 0 } };
	sigset_t empty;
	struct msg go;
	char *envp[] = { NULL };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (msg_recv(sock, &go, NULL, 0, NULL) < 0 || go.head.type != MSG_GO)
		_exit(1);
	setsid();
	sigemptyset(&empty);
	sigprocmask(SIG_SETMASK, &empty, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGTTOU, SIG_DFL);
	setrlimit(RLIMIT_CORE, &none);
	inherit(m);
	if (spec->file_max && rights_limit(RLIMIT_FSIZE, spec->file_max) < 0)
		step_failed(m, "a limit of files");
	if (spec->isolate) {
		if (spec->listen)
			listen_for_it(m);
		own_root(m);
		if (harden_program(&err) < 0)
			monitor_fail(m, &err);
	} else if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		step_failed(m, "no_new_privs");
	}
	parent_lives(m);
	execve(spec->program, spec->argv, envp);
	conf_error_set(&err, "%s: cannot be executed: %s", spec->program, strerror(errno));
	monitor_fail(m, &err);
}

int vm_spawn(const struct vm_spawn_spec *spec, struct vm_process *ret, struct conf_error *err)
{
	struct monitor m = { .spec = spec, .ids = monitor_ids(spec) };
	int sv[2], r = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0) {
		r = -errno;
		conf_error_set(err, "socketpair: %s", strerror(-r));
		return r;
	}
	m.becomes = m.ids.uid != geteuid();
	m.sock = sv[1];
	pid = (pid_t)syscall(SYS_clone, (spec->isolate ? NAMESPACES : 0) | SIGCHLD, NULL, NULL,
			     NULL, NULL);
	if (pid < 0) {
		r = -errno;
		conf_error_set(err, "cannot isolate %s: new namespaces: %s; %s", spec->program,
			       strerror(-r), harden_why_no_namespaces(-r));
		fd_close(sv[0]);
		fd_close(sv[1]);
		return r;
	}
	if (pid == 0)
		monitor_main(&m);
	fd_close(sv[1]);
	if (spec->isolate)
		r = map_ids(pid, &m, err);
	if (r == 0) {
		r = msg_send(sv[0], MSG_GO, 0, NULL, 0, NULL, 0);
		if (r < 0)
			conf_error_set(err, "%s ended before it began", spec->program);
	}
	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		fd_close(sv[0]);
		return r;
	}
	*ret = (struct vm_process){ .pid = pid, .sock = sv[0] };
	return 0;
}
