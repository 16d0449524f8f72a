/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a command: everything that can be looked up is, before the fork, so that the child
 * has little left that can fail; what fails there comes back over a pipe that execve closes.
 *
 * The child leads a session, hence a process group, of its own: one signal reaches all that it
 * starts. It inherits three descriptors and none of ours, which are close-on-exec.
 */
#include "agent/guest.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* Variables of a command: INIT's, the request's and ours. */
#define ENV_MAX (2 * AGENT_STRINGS_MAX + 64)

/* ---- resource limits ---------------------------------------------------------------- */

int spawn_rlimits(const struct agent_strings *list, struct failure *f)
{
	for (size_t i = 0; i < list->n; i++) {
		const char *why = "";
		struct rlimit r;
		int which;

		if (rlimit_parse(list->v[i], &which, &r, &why) < 0)
			return fail(f, AGENT_STAGE_RLIMIT, EINVAL, "\"%s\": %s", list->v[i], why);
		if (setrlimit((__rlimit_resource_t)which, &r) < 0)
			return fail(f, AGENT_STAGE_RLIMIT, errno, "limit \"%s\"", list->v[i]);
	}
	return 0;
}

/* ---- environment -------------------------------------------------------------------- */

struct env {
	const char **v;
	size_t n;
};

/* A later one of the same name wins. */
static void env_put(struct env *e, const char *entry)
{
	size_t name = strcspn(entry, "=");

	if (!entry[name] || !name)
		return;
	for (size_t i = 0; i < e->n; i++)
		if (strncmp(e->v[i], entry, name + 1) == 0) {
			e->v[i] = entry;
			return;
		}
	if (e->n < ENV_MAX)
		e->v[e->n++] = entry;
}

static const char *env_get(const struct env *e, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < e->n; i++)
		if (strncmp(e->v[i], name, n) == 0 && e->v[i][n] == '=')
			return e->v[i] + n + 1;
	return NULL;
}

struct own_vars {
	char home[600], user[80], logname[80], shell[600];
};

static void env_build(struct env *e, const struct spawn *s, const struct guest_user *u,
		      struct own_vars *own)
{
	snprintf(own->home, sizeof(own->home), "HOME=%s", u->home);
	snprintf(own->user, sizeof(own->user), "USER=%s", u->name);
	snprintf(own->logname, sizeof(own->logname), "LOGNAME=%s", u->name);
	snprintf(own->shell, sizeof(own->shell), "SHELL=%s", u->shell);
	env_put(e, "PATH=" DEFAULT_PATH);
	env_put(e, own->home);
	env_put(e, own->shell);
	if (*u->name) {
		env_put(e, own->user);
		env_put(e, own->logname);
	}
	if (s->x->flags & AGENT_EXEC_TTY)
		env_put(e, "TERM=xterm");
	for (size_t i = 0; i < s->config->env.n; i++)
		env_put(e, s->config->env.v[i]);
	for (size_t i = 0; i < s->x->env.n; i++)
		env_put(e, s->x->env.v[i]);
	e->v[e->n] = NULL;
}

/* ---- descriptors -------------------------------------------------------------------- */

/* What the child gets, and our ends of it. */
struct pipes {
	int child[3];
	int ours[3];
	int told[2]; /* the child's failure */
};

static void pipes_close(int *fd, size_t n)
{
	while (n--)
		fd_close(steal_fd(&fd[n]));
}

static int open_tty(struct pipes *p, const struct agent_exec *x, struct failure *f)
{
	struct winsize size = { .ws_row = (unsigned short)x->rows, .ws_col = (unsigned short)x->cols };
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;
	int unlock = 0;

	if (master < 0)
		return fail(f, AGENT_STAGE_TTY, errno, "/dev/ptmx");
	p->ours[0] = master;
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return fail(f, AGENT_STAGE_TTY, errno, "the terminal cannot be unlocked");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return fail(f, AGENT_STAGE_TTY, errno, "the terminal's other end");
	p->child[0] = slave;
	if (x->rows && x->cols)
		ioctl(master, TIOCSWINSZ, &size);
	return 0;
}

static int open_pipe(int *read_end, int *write_end, struct failure *f)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return fail(f, AGENT_STAGE_MEMORY, errno, "no pipe");
	*read_end = fds[0];
	*write_end = fds[1];
	return 0;
}

static int open_pipes(struct pipes *p, const struct agent_exec *x, struct failure *f)
{
	int r = 0;

	*p = (struct pipes){ { -1, -1, -1 }, { -1, -1, -1 }, { -1, -1 } };
	if (open_pipe(&p->told[0], &p->told[1], f) < 0)
		return -f->err;
	if (x->flags & AGENT_EXEC_TTY)
		return open_tty(p, x, f);
	if (x->flags & AGENT_EXEC_INPUT)
		r = open_pipe(&p->child[0], &p->ours[0], f);
	else if ((p->child[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
		r = fail(f, AGENT_STAGE_MEMORY, errno, "/dev/null");
	if (r == 0)
		r = open_pipe(&p->ours[1], &p->child[1], f);
	if (r == 0)
		r = open_pipe(&p->ours[2], &p->child[2], f);
	return r;
}

/* ---- the child ---------------------------------------------------------------------- */

struct job {
	const struct spawn *s;
	const struct guest_user *user;
	const char **argv;
	char **env;
	const char *path;
	struct pipes *p;
};

static int take_descriptors(const struct job *j, struct failure *f)
{
	bool tty = j->s->x->flags & AGENT_EXEC_TTY;

	if (setsid() < 0)
		return fail(f, AGENT_STAGE_PRIVILEGE, errno, "no session");
	if (tty && ioctl(j->p->child[0], TIOCSCTTY, 0) < 0)
		return fail(f, AGENT_STAGE_TTY, errno, "the terminal cannot be ours");
	for (int i = 0; i < 3; i++)
		if (dup2(j->p->child[tty ? 0 : i], i) < 0)
			return fail(f, AGENT_STAGE_MEMORY, errno, "a standard descriptor");
	return 0;
}

/* What reaches the kernel, other processes' memory, devices, or mounts over what we laid. */
static const int restricted_caps[] = {
	CAP_SYS_ADMIN,	     CAP_SYS_MODULE, CAP_SYS_RAWIO,
	CAP_SYS_BOOT,	     CAP_SYS_TIME,   CAP_SYS_PTRACE,
	CAP_SYS_PACCT,	     CAP_SYS_NICE,   CAP_MKNOD,
	CAP_NET_ADMIN,	     CAP_MAC_ADMIN,  CAP_MAC_OVERRIDE,
	CAP_SYSLOG,	     CAP_WAKE_ALARM, CAP_BLOCK_SUSPEND,
	CAP_AUDIT_CONTROL,   CAP_AUDIT_READ, CAP_LINUX_IMMUTABLE,
	CAP_PERFMON,	     CAP_BPF,	     CAP_CHECKPOINT_RESTORE,
	CAP_DAC_READ_SEARCH,
};

static int restrict_rights(struct failure *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(restricted_caps); i++)
		if (prctl(PR_CAPBSET_DROP, restricted_caps[i], 0, 0, 0) < 0 && errno != EINVAL)
			return fail(f, AGENT_STAGE_PRIVILEGE, errno, "rights cannot be dropped");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail(f, AGENT_STAGE_PRIVILEGE, errno, "no_new_privs");
	return 0;
}

static int become(const struct job *j, struct failure *f)
{
	const struct guest_user *u = j->user;

	/* A namespace of one user, as in tests, has no groups to set. */
	if (setgroups(u->n_groups, u->groups) < 0 && !(errno == EPERM && u->uid == getuid()))
		return fail(f, AGENT_STAGE_PRIVILEGE, errno, "the groups of %s", u->name);
	if (setresgid(u->gid, u->gid, u->gid) < 0 || setresuid(u->uid, u->uid, u->uid) < 0)
		return fail(f, AGENT_STAGE_PRIVILEGE, errno, "user %u, group %u", u->uid, u->gid);
	return 0;
}

static void clean_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A file without "#!" that the kernel does not know is a script, as for shells. */
static void exec_script(const struct job *j, const char *path)
{
	size_t n = 0;
	const char **argv;

	while (j->argv[n])
		n++;
	argv = calloc(n + 2, sizeof(*argv));
	if (!argv)
		return;
	argv[0] = "/bin/sh";
	argv[1] = path;
	memcpy(argv + 2, j->argv + 1, n * sizeof(*argv));
	execve(argv[0], (char **)(uintptr_t)argv, j->env);
	free(argv);
}

/* errno of the try; 0 never comes back. ENOENT for what is there (its interpreter is not) is told apart. */
static int try_exec(const struct job *j, const char *path, struct failure *f)
{
	int err;

	execve(path, (char **)(uintptr_t)j->argv, j->env);
	err = errno;
	if (err == ENOEXEC)
		exec_script(j, path);
	if (err == ENOENT && access(path, F_OK) == 0) {
		fail(f, AGENT_STAGE_EXEC, err, "%.200s: its interpreter is missing", path);
		return EBADMSG;
	}
	return err;
}

static int look_up(const struct job *j, struct failure *f)
{
	const char *name = j->argv[0], *dir = j->path;
	int worst = ENOENT;

	while (*name && dir) {
		size_t n = strcspn(dir, ":");
		char path[4096];
		int err;

		snprintf(path, sizeof(path), "%.*s%s%s", (int)MIN(n, (size_t)3000), dir,
			 n ? "/" : "./", name);
		err = try_exec(j, path, f);
		if (err == EBADMSG)
			return -f->err;
		if (err != ENOENT && err != ENOTDIR)
			worst = err;
		dir = dir[n] ? dir + n + 1 : NULL;
	}
	return fail(f, worst == ENOENT ? AGENT_STAGE_LOOKUP : AGENT_STAGE_EXEC, worst, "%.200s: %s",
		    name, worst == ENOENT ? "not found in PATH" : "cannot be run");
}

static int run_program(const struct job *j, struct failure *f)
{
	int err;

	if (!strchr(j->argv[0], '/'))
		return look_up(j, f);
	err = try_exec(j, j->argv[0], f);
	if (err == EBADMSG)
		return -f->err;
	return fail(f, err == ENOENT || err == ENOTDIR ? AGENT_STAGE_LOOKUP : AGENT_STAGE_EXEC, err,
		    "%.200s: %s", j->argv[0], err == ENOENT ? "not found" : "cannot be run");
}

static void child(const struct job *j)
{
	const char *cwd = j->s->cwd && *j->s->cwd ? j->s->cwd : "/";
	struct failure f = { 0 };
	int r;

	clean_signals();
	r = take_descriptors(j, &f);
	if (r == 0)
		r = spawn_rlimits(&j->s->config->rlimits, &f);
	if (r == 0)
		r = spawn_rlimits(&j->s->x->rlimits, &f);
	if (r == 0 && j->s->config->flags & AGENT_INIT_RESTRICTED)
		r = restrict_rights(&f);
	if (r == 0)
		r = become(j, &f);
	if (r == 0 && chdir(cwd) < 0)
		r = fail(&f, AGENT_STAGE_CWD, errno, "%.250s", cwd);
	if (r == 0)
		r = run_program(j, &f);
	/* Nobody reads it when the agent has ended: nothing is to be done then. */
	if (write(j->p->told[1], &f, sizeof(f)) < 0)
		_exit(125);
	_exit(125);
}

/* ---- the parent --------------------------------------------------------------------- */

/* The child's failure, or its end of the pipe closed by execve. */
static int wait_started(int fd, pid_t pid, struct failure *f)
{
	ssize_t n;

	do
		n = read(fd, f, sizeof(*f));
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return 0;
	waitpid(pid, NULL, 0);
	f->text[sizeof(f->text) - 1] = 0;
	return n == (ssize_t)sizeof(*f) ? -f->err
					: fail(f, AGENT_STAGE_MEMORY, EIO, "the child is lost");
}

static int start(struct spawn *s, const struct job *j, struct failure *f)
{
	pid_t pid = fork();
	int r;

	if (pid < 0)
		return fail(f, AGENT_STAGE_MEMORY, errno, "no process");
	if (pid == 0)
		child(j);
	fd_close(steal_fd(&j->p->told[1]));
	r = wait_started(j->p->told[0], pid, f);
	if (r < 0)
		return r;
	s->pid = pid;
	return 0;
}

static const char **arguments(const struct spawn *s, const struct guest_user *u)
{
	bool shell = s->x->flags & AGENT_EXEC_SHELL;
	const char **argv = calloc(s->x->argv.n + 2, sizeof(*argv));

	if (!argv)
		return NULL;
	if (shell)
		argv[0] = u->shell;
	for (size_t i = 0; i < s->x->argv.n; i++)
		argv[i + shell] = s->x->argv.v[i];
	return argv;
}

int spawn_command(struct spawn *s, struct failure *f)
{
	struct own_vars own;
	struct guest_user user;
	struct pipes p;
	struct env env = { 0 };
	struct job j = { .s = s, .user = &user, .p = &p };
	int r = user_lookup(s->user, &user, f);

	if (r < 0)
		return r;
	env.v = calloc(ENV_MAX + 1, sizeof(*env.v));
	j.argv = arguments(s, &user);
	if (!env.v || !j.argv) {
		free(env.v);
		free(j.argv);
		return fail(f, AGENT_STAGE_MEMORY, ENOMEM, "no memory");
	}
	env_build(&env, s, &user, &own);
	j.env = (char **)(uintptr_t)env.v;
	j.path = env_get(&env, "PATH");
	if (!j.path)
		j.path = DEFAULT_PATH;
	r = open_pipes(&p, s->x, f);
	if (r == 0)
		r = start(s, &j, f);
	pipes_close(p.told, 2);
	pipes_close(p.child, 3);
	if (r == 0) {
		s->in = p.ours[0];
		s->out = p.ours[1];
		s->err = p.ours[2];
	} else {
		pipes_close(p.ours, 3);
	}
	free(j.argv);
	free(env.v);
	return r;
}
