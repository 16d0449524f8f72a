/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening the link of a gateway, before any right is given up.
 *
 *   tap      TUNSETIFF, its queue made long enough
 *   fd       what it is decides: a tap, a stream, datagrams; checked, not trusted
 *   sockets  made with the mode that was asked for; a name that is taken is
 *            freed only when nobody listens behind it. Two gateways that start
 *            on one name take turns: a name that one has freed and taken must not be
 *            freed by the other.
 */
#include "weir/link_open.h"

#include "weir/tap.h"

#include <fcntl.h>
#include <net/if.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* One machine at a time; others that try wait for it to leave. */
#define LINK_BACKLOG 4
/* Of 100 ms each: who is going may take this long, and another gateway in the same folder this. */
#define PROBES 5
#define TURN_TRIES 100

/* ---- taps ------------------------------------------------------------------------ */

/* Too short a queue loses what a bulk upload sends at once. */
static void check_queue(const char *name)
{
	cleanup_close int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
	if (s < 0 || ioctl(s, SIOCGIFTXQLEN, &ifr) < 0 || ifr.ifr_qlen >= TAP_QUEUE_LEN)
		return;
	ifr.ifr_qlen = TAP_QUEUE_LEN;
	if (ioctl(s, SIOCSIFTXQLEN, &ifr) < 0)
		log_warn("tap %s has a short queue, which loses packets of fast uploads; as root: "
			 "ip link set %s txqueuelen %d",
			 name, name, TAP_QUEUE_LEN);
}

static int open_tap(const struct link_config *l, struct link_handle *h, struct conf_error *err)
{
	bool there = if_nametoindex(l->path) != 0;
	int r = tap_open(l->path, &h->fd, err);

	if (r < 0)
		return r;
	h->kind = NETSTACK_LINK_TAP;
	check_queue(l->path);
	tap_check_bridge(l->path);
	if (!there)
		log_warn("made tap %s, which lives as long as weir and is still down: ip link set "
			 "%s up",
			 l->path, l->path);
	return 0;
}

/* ---- descriptors ------------------------------------------------------------------- */

static const char *what_it_is(mode_t mode)
{
	return S_ISREG(mode)	? "a file"
	       : S_ISDIR(mode)	? "a directory"
	       : S_ISFIFO(mode) ? "a pipe"
	       : S_ISCHR(mode)	? "a device"
	       : S_ISSOCK(mode) ? "a socket of another family"
				: "something else";
}

static int socket_option(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

static int check_socket(const struct link_config *l, struct link_handle *h, struct conf_error *err)
{
	int type = socket_option(l->fd, SO_TYPE);
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	h->listens = socket_option(l->fd, SO_ACCEPTCONN) == 1;
	h->kind = l->vhost_user		? NETSTACK_LINK_VHOST_USER
		  : type == SOCK_STREAM ? NETSTACK_LINK_STREAM
					: NETSTACK_LINK_DGRAM;
	if (l->vhost_user && type != SOCK_STREAM) {
		conf_error_set(err, "%s: vhost-user is spoken over a stream socket", l->text);
		return -EINVAL;
	}
	if (h->listens && type != SOCK_STREAM) {
		conf_error_set(err, "%s: only a stream socket may listen; give the connected one",
			       l->text);
		return -EINVAL;
	}
	if (!h->listens && getpeername(l->fd, (struct sockaddr *)&ss, &len) < 0) {
		conf_error_set(err, "%s: the socket neither listens nor is connected", l->text);
		return -EINVAL;
	}
	return 0;
}

static int check_tun(const struct link_config *l, struct link_handle *h, struct conf_error *err)
{
	struct conf_error why = { "" };
	char name[IFNAMSIZ];

	if (l->vhost_user || tap_prepare(l->fd, name, &why) < 0) {
		conf_error_set(err,
			       "%s: a link is a tap or a Unix socket (stream, dgram, "
			       "seqpacket); this is a device%s%s",
			       l->text, why.text[0] ? ": " : "", why.text);
		return -EINVAL;
	}
	h->kind = NETSTACK_LINK_TAP;
	check_queue(name);
	tap_check_bridge(name);
	return 0;
}

static int open_fd(const struct link_config *l, struct link_handle *h, struct conf_error *err)
{
	struct stat st;
	int r;

	if (fstat(l->fd, &st) < 0) {
		conf_error_set(err, "%s: %s", l->text, strerror(errno));
		return -errno;
	}
	if (S_ISSOCK(st.st_mode) && socket_option(l->fd, SO_DOMAIN) == AF_UNIX)
		r = check_socket(l, h, err);
	else if (S_ISCHR(st.st_mode))
		r = check_tun(l, h, err);
	else {
		conf_error_set(err,
			       "%s: a link is a tap or a Unix socket (stream, dgram, "
			       "seqpacket); this is %s",
			       l->text, what_it_is(st.st_mode));
		r = -EINVAL;
	}
	if (r < 0)
		return r;
	/* Programs that we start (secrets from commands) must not hold the link open. */
	if (fcntl(l->fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	h->fd = l->fd;
	return 0;
}

/* ---- sockets ------------------------------------------------------------------------ */

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	/* config_link.c saw to its length. */
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	return sa;
}

static int connect_path(int fd, const char *path)
{
	struct sockaddr_un sa = address_of(path);

	return connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
}

static void pause_a_little(void)
{
	struct timespec t = { .tv_nsec = (long)(100 * NS_PER_MS) };

	nanosleep(&t, NULL);
}

/*
 * Whether a socket is still behind the name, without being its guest: none of
 * ours is of this type, which the kernel says before it connects. Processes of a
 * weir that was killed this moment have a moment to go.
 */
static int probe(const char *path)
{
	int r = -EADDRINUSE;

	for (unsigned i = 0; i < PROBES && r != -ECONNREFUSED && r != -ENOENT; i++) {
		cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

		if (fd < 0)
			return -errno;
		if (i)
			pause_a_little();
		r = fd_set_nonblock(fd, true);
		if (r == 0)
			r = connect_path(fd, path);
	}
	return r;
}

/* A name that is taken: by a socket nobody has any more, or by what must stay. */
static int free_name(const struct link_config *l, struct conf_error *err)
{
	struct stat st;
	int r;

	if (lstat(l->path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode)) {
		conf_error_set(err, "%s: there is %s at this path; take another, or remove it",
			       l->text,
			       S_ISLNK(st.st_mode) ? "a symbolic link" : what_it_is(st.st_mode));
		return -EEXIST;
	}
	r = probe(l->path);
	if (r != -ECONNREFUSED && r != -ENOENT) {
		conf_error_set(err,
			       "%s: somebody listens there already; take another path, or "
			       "%s",
			       l->text,
			       l->kind == LINK_DGRAM
				       ? "is it the machine's own (then it is the peer=)?"
				       : "stream:PATH,connect when it is the machine");
		return -EADDRINUSE;
	}
	return unlink(l->path) < 0 && errno != ENOENT ? -errno : 0;
}

/* Bound under its name with its mode from the first moment on. */
static int bind_path(int fd, const struct link_config *l)
{
	struct sockaddr_un sa = address_of(l->path);
	mode_t old = umask(0777 & ~l->mode);
	int r = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;

	umask(old);
	return r;
}

/* The folder, locked; -1 where it may not be read, and then there are no turns. */
static int take_turn(const struct link_config *l, int *ret, struct conf_error *err)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	cleanup_close int fd = -1;

	snprintf(path, sizeof(path), "%s", l->path);
	fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == EACCES ? 0 : -errno;
	for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (i == TURN_TRIES) {
			conf_error_set(err, "%s: somebody holds a lock on its folder; take another",
				       l->text);
			return -EBUSY;
		}
		pause_a_little();
	}
	*ret = steal_fd(&fd);
	return 0;
}

static int make_socket(const struct link_config *l, int type, struct link_handle *h,
		       struct conf_error *err)
{
	cleanup_close int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), turn = -1;
	struct stat st;
	int r = fd < 0 ? -errno : take_turn(l, &turn, err);

	if (r == 0)
		r = free_name(l, err);
	if (r == 0)
		r = bind_path(fd, l);
	if (r == 0) {
		h->made = strdup(l->path);
		if (!h->made || lstat(l->path, &st) < 0 ||
		    (type == SOCK_STREAM && listen(fd, LINK_BACKLOG) < 0)) {
			r = -errno;
			unlink(l->path);
		}
	}
	if (r < 0) {
		if (!err->text[0])
			conf_error_set(err, "%s: cannot make the socket: %s%s", l->text, strerror(-r),
				       r == -ENOENT ? "; its folder does not exist" : "");
		return r;
	}
	h->dev = st.st_dev;
	h->ino = st.st_ino;
	h->fd = steal_fd(&fd);
	return 0;
}

static int connect_socket(const struct link_config *l, struct link_handle *h, struct conf_error *err)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = fd < 0 ? -errno : connect_path(fd, l->path);

	if (r < 0) {
		conf_error_set(err, "%s: cannot connect: %s%s", l->text, strerror(-r),
			       r == -ENOENT || r == -ECONNREFUSED
				       ? "; start the machine first, or leave out \",connect\" and "
					 "let the machine connect"
				       : "");
		return r;
	}
	h->fd = steal_fd(&fd);
	return 0;
}

static int open_stream(const struct link_config *l, struct link_handle *h, struct conf_error *err)
{
	h->kind = l->kind == LINK_STREAM ? NETSTACK_LINK_STREAM : NETSTACK_LINK_VHOST_USER;
	h->listens = !l->connect;
	return l->connect ? connect_socket(l, h, err) : make_socket(l, SOCK_STREAM, h, err);
}

static int open_dgram(const struct link_config *l, struct link_handle *h, struct conf_error *err)
{
	h->kind = NETSTACK_LINK_DGRAM;
	h->listens = true;
	return make_socket(l, SOCK_DGRAM, h, err);
}

/* ---- all ------------------------------------------------------------------------------ */

int link_open(const struct link_config *l, struct link_handle *ret, struct conf_error *err)
{
	static int (*const openers[])(const struct link_config *l, struct link_handle *h,
				      struct conf_error *err) = {
		[LINK_TAP] = open_tap,		 [LINK_FD] = open_fd,
		[LINK_STREAM] = open_stream,	 [LINK_DGRAM] = open_dgram,
		[LINK_VHOST_USER] = open_stream,
	};
	struct link_handle h = { .fd = -1 };
	int r = openers[l->kind](l, &h, err);

	if (r < 0) {
		if (!err->text[0])
			conf_error_set(err, "%s: %s", l->text, strerror(-r));
		free(h.made);
		return r;
	}
	*ret = h;
	return 0;
}

void link_close(struct link_handle *h)
{
	struct stat st;

	/* Who replaced it by one of their own keeps that. While ours is open its inode is no other's. */
	if (h->made && lstat(h->made, &st) == 0 && st.st_dev == h->dev && st.st_ino == h->ino)
		unlink(h->made);
	fd_close(h->fd);
	h->fd = -1;
	free(h->made);
	h->made = NULL;
}
