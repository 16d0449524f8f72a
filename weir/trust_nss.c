/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NSS keeps roots in a data base of the user's, ~/.pki/nssdb, which Chromium before its
 * policy for it, Electron and others read. Its form is NSS's own business: where its
 * certutil is installed, that adds the authority to a copy, which then covers the
 * original. A data base with a password is left as it is, and so is one that is not there.
 */
#include "weir/sandbox_trust.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DB_FILE_MAX (16 << 20)
/* It takes some milliseconds; a start does not wait for one that hangs. */
#define CERTUTIL_MS 3000

static const char *const db_files[] = { "cert9.db", "key4.db", "pkcs11.txt" };

static int copy_file(const char *from, const char *to)
{
	struct buf text = BUF_INIT(DB_FILE_MAX);
	cleanup_close int fd = -1;
	int r = file_read(from, DB_FILE_MAX, &text);

	if (r == 0) {
		fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		r = fd < 0 ? -errno : fd_write_all(fd, buf_at(&text), text.len);
	}
	/* The user's keys are in one of them. */
	buf_fini_wiped(&text);
	return r;
}

static int copy_db(const char *from, const char *to)
{
	int r = mkdir(to, 0700) < 0 ? -errno : 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(db_files); i++) {
		char a[PATH_MAX], b[PATH_MAX];

		if ((size_t)snprintf(a, sizeof(a), "%s/%s", from, db_files[i]) >= sizeof(a) ||
		    (size_t)snprintf(b, sizeof(b), "%s/%s", to, db_files[i]) >= sizeof(b))
			return -ENAMETOOLONG;
		if (access(a, F_OK) == 0)
			r = copy_file(a, b);
	}
	return r;
}

static void exec_quietly(char *const *argv)
{
	static char *const none[] = { NULL };
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		_exit(127);
	/* No terminal to ask for a password on. */
	setsid();
	execve(argv[0], argv, none);
	_exit(127);
}

int guest_trust_run(char *const *argv)
{
	struct timespec pause = { .tv_nsec = 2 * 1000 * 1000 };
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		exec_quietly(argv);
	for (unsigned ms = 0; ms < CERTUTIL_MS; ms += 2) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
		nanosleep(&pause, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -ETIMEDOUT;
}

static int add_authority(struct guest_trust *t, const char *db)
{
	char where[PATH_MAX], own[PATH_MAX], no_password[PATH_MAX];
	char *argv[] = { (char[]){ "/usr/bin/certutil" },
			 (char[]){ "-A" },
			 (char[]){ "-d" },
			 where,
			 (char[]){ "-n" },
			 (char[]){ "weir-sandbox-ca" },
			 (char[]){ "-t" },
			 (char[]){ "C,," },
			 (char[]){ "-i" },
			 own,
			 (char[]){ "-f" },
			 no_password,
			 NULL };
	int r;

	snprintf(where, sizeof(where), "sql:%s", db);
	snprintf(own, sizeof(own), "%s/ca.pem", t->dir);
	snprintf(no_password, sizeof(no_password), "%s/nss-no-password", t->dir);
	r = guest_trust_write(no_password, "\n", 1);
	return r < 0 ? r : t->run(argv);
}

void guest_trust_nss(struct guest_trust *t)
{
	char path[PATH_MAX], file[PATH_MAX + 16], real[PATH_MAX];
	const char *copy, *target;
	int r;

	if (!t->home || !t->run)
		return;
	if ((size_t)snprintf(path, sizeof(path), "%s%s/.pki/nssdb", t->root, t->home) >= sizeof(path) ||
	    !realpath(path, real))
		return;
	snprintf(file, sizeof(file), "%s/cert9.db", real);
	if (access(file, R_OK) < 0)
		return;
	copy = guest_trust_text(t, "%s/nssdb", t->dir);
	target = guest_trust_text(t, "%s", real);
	r = copy && target ? copy_db(real, copy) : -ENOMEM;
	if (r == 0)
		r = add_authority(t, copy);
	if (r == 0)
		r = t->lay(copy, target);
	if (r < 0)
		log_warn("the sandbox's authority is not in %s: %s; is certutil installed, and has "
			 "the data base no password?",
			 real, strerror(-r));
}
