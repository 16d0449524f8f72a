/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of the machine, and whom it belongs to.
 *
 *   ending: SIGTERM to all ──nobody is left, or grace is over──► SIGKILL ──► file systems ──► off
 *
 * With an init of the image's own as pid 1 (hand-off), that one is asked to end the machine the
 * way it understands, and the kernel is told when it does not.
 */
#include "agent/guest.h"

#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOUNTS_MAX 256
/* For what is still to be told the host. */
#define LAST_WORDS_MS 200

/* ---- hand-off ------------------------------------------------------------------------ */

/*
 * The child goes on as the agent; pid 1 becomes the image's init. The agent stays the
 * parent of its commands, and of what they leave behind.
 */
int handoff(struct guest *g, struct failure *f)
{
	const struct agent_strings *init = &g->config.handoff;
	char **argv = calloc(init->n + 1, sizeof(*argv));
	sigset_t none;
	pid_t pid;

	if (!argv)
		return fail(f, AGENT_STAGE_HANDOFF, ENOMEM, "no memory");
	for (size_t i = 0; i < init->n; i++)
		argv[i] = (char *)(uintptr_t)init->v[i];
	if (access(argv[0], X_OK) < 0) {
		int err = errno;

		fail(f, AGENT_STAGE_HANDOFF, err, "%.200s", argv[0]);
		free(argv);
		return -err;
	}
	if (!g->is_init) {
		free(argv);
		return fail(f, AGENT_STAGE_HANDOFF, EPERM, "the agent is not pid 1");
	}
	pid = fork();
	if (pid < 0) {
		free(argv);
		return fail(f, AGENT_STAGE_HANDOFF, errno, "no process");
	}
	if (pid == 0) {
		free(argv);
		setsid();
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		g->is_init = false;
		g->handed_off = true;
		/* That of our parent tells of its signals. */
		loop_io_del(&g->signals_io);
		fd_close(steal_fd(&g->signals));
		return guest_watch_signals(g) < 0 ? fail(f, AGENT_STAGE_HANDOFF, EIO, "no signals")
						  : 0;
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	execv(argv[0], argv);
	log_error("%s: %s", argv[0], strerror(errno));
	/* The agent lives on and the host sees no init: it may still look around. */
	for (;;)
		if (wait(NULL) < 0)
			pause();
}

/* ---- file systems ---------------------------------------------------------------------- */

/* Those that were mounted last go first; what is busy is made read-only at least. */
static void unmount_all(void)
{
	char *targets[MOUNTS_MAX];
	size_t n = 0;
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *e;

	while (mounts && n < MOUNTS_MAX && (e = getmntent(mounts)))
		if (str_starts(e->mnt_fsname, "/dev/") && !str_eq(e->mnt_dir, "/"))
			targets[n++] = strdup(e->mnt_dir);
	if (mounts)
		endmntent(mounts);
	while (n--) {
		if (targets[n] && umount2(targets[n], 0) < 0)
			mount(NULL, targets[n], NULL, MS_REMOUNT | MS_RDONLY, NULL);
		free(targets[n]);
	}
	if (chdir("/") == 0)
		mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

/* ---- the end --------------------------------------------------------------------------- */

static void last_words(struct guest *g)
{
	struct pollfd p = { .fd = g->port, .events = POLLOUT };

	while (g->io.loop && g->out.len && poll(&p, 1, LAST_WORDS_MS) > 0) {
		ssize_t n = write(g->port, buf_at(&g->out), g->out.len);

		if (n <= 0)
			break;
		buf_consume(&g->out, (size_t)n);
	}
}

static void finish(struct guest *g)
{
	if (!g->machine) {
		exec_kill_all(g, SIGKILL);
		last_words(g);
		loop_stop(g->loop, 0);
		return;
	}
	if (g->is_init)
		kill(-1, SIGKILL);
	last_words(g);
	sync();
	unmount_all();
	reboot(g->end.how == AGENT_SHUTDOWN_REBOOT ? RB_AUTOBOOT : RB_POWER_OFF);
	/* A machine without the means is halted by its kernel; the host ends it. */
	loop_stop(g->loop, 1);
}

static void on_end_timer(struct loop_timer *t)
{
	finish(container_of(t, struct guest, end_timer));
}

void end_check(struct guest *g)
{
	/* A child that can be waited for, and none that is over: somebody is left. */
	if (waitid(P_ALL, 0, &(siginfo_t){ 0 }, WEXITED | WNOHANG | WNOWAIT) == 0)
		return;
	if (errno == ECHILD && !g->handed_off)
		finish(g);
}

/* systemd takes the first; sysvinit's and busybox' take the others. */
static void ask_init(const struct guest *g)
{
	bool again = g->end.how == AGENT_SHUTDOWN_REBOOT;
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/1/exe", exe, sizeof(exe) - 1);

	exe[n > 0 ? n : 0] = 0;
	if (strstr(exe, "systemd"))
		kill(1, SIGRTMIN + (again ? 5 : 4));
	else
		kill(1, again ? SIGTERM : SIGUSR2);
}

void end_begin(struct guest *g, const struct agent_shutdown *how)
{
	if (g->ending)
		return;
	g->ending = true;
	g->end = *how;
	g->end_timer.cb = on_end_timer;
	if (g->handed_off)
		ask_init(g);
	else if (g->machine && g->is_init)
		kill(-1, SIGTERM);
	else
		exec_kill_all(g, SIGTERM);
	loop_timer_set(g->loop, &g->end_timer, loop_now_update(g->loop) + how->grace_ms * NS_PER_MS);
	end_check(g);
}
