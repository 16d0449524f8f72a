/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Users and groups as the image's /etc/passwd and /etc/group have them. No library is asked:
 * a static program has no name service, and the image's might run its code in pid 1.
 */
#include "agent/guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file of the image's, which may be anything. */
#define ACCOUNTS_MAX (4 << 20)
#define FIELDS_MAX 7

/* Regular files only: a FIFO would hold pid 1 up. */
static char *read_accounts(const char *path, struct buf *text)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    fd_read_all(fd, ACCOUNTS_MAX, text) < 0 || !buf_str(text))
		return NULL;
	return (char *)buf_at(text);
}

/* Cuts a line at its colons; the number of fields. */
static size_t split(char *line, char *ret[static FIELDS_MAX])
{
	size_t n = 0;

	while (line && n < FIELDS_MAX)
		ret[n++] = strsep(&line, ":");
	return n;
}

static bool number(const char *s, uint32_t *ret)
{
	uint64_t v;

	/* -1 means "leave as it is" to the calls that take ids. */
	if (uint_parse(s, strlen(s), 0, UINT32_MAX - 1, &v, NULL) < 0)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static void copy(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from);
}

/* By name, or by number when is_number; false: no such line. */
static bool find_user(const char *name, bool is_number, uint32_t id, struct guest_user *ret)
{
	struct buf text = BUF_INIT(ACCOUNTS_MAX);
	char *rest = read_accounts("/etc/passwd", &text), *line, *f[FIELDS_MAX];
	bool found = false;

	while (!found && (line = strsep(&rest, "\n"))) {
		uint32_t uid, gid;

		if (split(line, f) < FIELDS_MAX || !number(f[2], &uid) || !number(f[3], &gid) ||
		    (is_number ? uid != id : !str_eq(f[0], name)))
			continue;
		ret->uid = uid;
		ret->gid = gid;
		copy(ret->name, sizeof(ret->name), f[0]);
		copy(ret->home, sizeof(ret->home), f[5]);
		copy(ret->shell, sizeof(ret->shell), f[6]);
		found = true;
	}
	buf_fini(&text);
	return found;
}

static bool find_group(const char *name, gid_t *ret)
{
	struct buf text = BUF_INIT(ACCOUNTS_MAX);
	char *rest = read_accounts("/etc/group", &text), *line, *f[FIELDS_MAX];
	bool found = false;

	while (!found && (line = strsep(&rest, "\n"))) {
		uint32_t gid;

		if (split(line, f) < 3 || !str_eq(f[0], name) || !number(f[2], &gid))
			continue;
		*ret = gid;
		found = true;
	}
	buf_fini(&text);
	return found;
}

static bool is_member(char *members, const char *name)
{
	char *one;

	while ((one = strsep(&members, ",")))
		if (str_eq(one, name))
			return true;
	return false;
}

/* Groups that list the user. */
static void find_groups(struct guest_user *u)
{
	struct buf text = BUF_INIT(ACCOUNTS_MAX);
	char *rest = read_accounts("/etc/group", &text), *line, *f[FIELDS_MAX];

	u->groups[0] = u->gid;
	u->n_groups = 1;
	while (u->n_groups < GUEST_GROUPS_MAX && *u->name && (line = strsep(&rest, "\n"))) {
		uint32_t gid;

		if (split(line, f) >= 4 && number(f[2], &gid) && gid != u->gid &&
		    is_member(f[3], u->name))
			u->groups[u->n_groups++] = gid;
	}
	buf_fini(&text);
}

static int lookup(char *user, const char *group, struct guest_user *ret, struct failure *f)
{
	uint32_t id = 0;
	bool is_number = number(user, &id);

	*ret = (struct guest_user){ .home = "/", .shell = "/bin/sh" };
	if (!find_user(user, is_number, id, ret)) {
		/* An image need not know root, nor a number. */
		if (!is_number && !str_eq(user, "root"))
			return fail(f, AGENT_STAGE_USER, ENOENT, "no user \"%s\" in /etc/passwd",
				    user);
		ret->uid = id;
		if (id == 0) {
			copy(ret->name, sizeof(ret->name), "root");
			copy(ret->home, sizeof(ret->home), "/root");
		}
	}
	if (!*ret->shell)
		copy(ret->shell, sizeof(ret->shell), "/bin/sh");
	if (group && !number(group, &ret->gid) && !find_group(group, &ret->gid))
		return fail(f, AGENT_STAGE_USER, ENOENT, "no group \"%s\" in /etc/group", group);
	/* Who names the group wants that one. */
	if (group) {
		ret->groups[0] = ret->gid;
		ret->n_groups = 1;
	} else {
		find_groups(ret);
	}
	return 0;
}

int user_lookup(const char *text, struct guest_user *ret, struct failure *f)
{
	char copied[256], *rest = copied, *user;

	if (!text || !*text)
		text = "0";
	if (strlen(text) >= sizeof(copied))
		return fail(f, AGENT_STAGE_USER, EINVAL, "the user's name is too long");
	copy(copied, sizeof(copied), text);
	user = strsep(&rest, ":");
	return lookup(user, rest && *rest ? rest : NULL, ret, f);
}
