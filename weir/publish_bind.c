/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket of a published port. When it cannot be had, the person is told
 * what is in the way: which process has the port, from which port on an
 * ordinary user may listen, or that the address is not this machine's.
 */
#include "weir/publish.h"

#include <ctype.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel cuts it to net.core.somaxconn. */
#define LISTEN_BACKLOG 4096
#define DATAGRAM_BUFFER (1 << 20)
/* Looking for the holder of a port: bounds the time an error takes. */
#define PIDS_MAX 32768
#define FDS_MAX 4096

/* ---- who has it ------------------------------------------------------------- */

/* The inode of a socket that is bound to this port (TCP: listens on it). 0: none. */
static unsigned long find_inode(const char *table, bool udp, uint16_t port)
{
	FILE *f = fopen(table, "re");
	unsigned long inode = 0;
	char *line = NULL;
	size_t size = 0;

	while (f && !inode && getline(&line, &size, f) > 0) {
		/* sl local:port remote:port state tx:rx tr:when retransmits uid timeout inode */
		char *rest = line, *word[10] = { 0 }, *colon;
		size_t n = 0;

		while (n < ARRAY_SIZE(word) && (word[n] = strsep(&rest, " \t\n")))
			n += word[n][0] != 0;
		colon = n == ARRAY_SIZE(word) ? strchr(word[1], ':') : NULL;
		if (colon && strtoul(colon + 1, NULL, 16) == port && (udp || str_eq(word[3], "0A")))
			inode = strtoul(word[9], NULL, 10);
	}
	free(line);
	if (f)
		fclose(f);
	return inode;
}

static bool process_has(const char *pid, const char *socket)
{
	char path[64 + NAME_MAX], target[64];
	bool found = false;
	struct dirent *e;
	DIR *d;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	d = opendir(path);
	while (d && !found && n++ < FDS_MAX && (e = readdir(d))) {
		ssize_t len;

		snprintf(path, sizeof(path), "/proc/%.20s/fd/%.20s", pid, e->d_name);
		len = readlink(path, target, sizeof(target) - 1);
		target[MAX(len, (ssize_t)0)] = 0;
		found = str_eq(target, socket);
	}
	if (d)
		closedir(d);
	return found;
}

/* "; process 123 (nginx) has it", or nothing where that cannot be seen. */
static void find_holder(const struct publish_config *p, char *out, size_t size)
{
	static const char *const tables[2][2] = { { "/proc/net/tcp", "/proc/net/tcp6" },
						  { "/proc/net/udp", "/proc/net/udp6" } };
	char socket[48], path[64], name[64] = "";
	unsigned long inode = 0;
	struct dirent *e;
	DIR *d;
	int n = 0;

	out[0] = 0;
	for (int i = 0; i < 2 && !inode; i++)
		inode = find_inode(tables[p->udp][i], p->udp, p->bind.port);
	d = inode ? opendir("/proc") : NULL;
	snprintf(socket, sizeof(socket), "socket:[%lu]", inode);
	while (d && !out[0] && n++ < PIDS_MAX && (e = readdir(d))) {
		struct buf text = BUF_INIT(64);

		if (!isdigit((unsigned char)e->d_name[0]) || !process_has(e->d_name, socket))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/comm", e->d_name);
		if (file_read(path, 64, &text) == 0)
			log_quote((char *)buf_at(&text), text.len - (text.len != 0), name,
				  sizeof(name));
		buf_fini(&text);
		snprintf(out, size, ": process %.20s (%s) has it", e->d_name, name);
	}
	if (d)
		closedir(d);
}

/* Below it a port needs a privilege. */
static unsigned first_free_port(void)
{
	struct buf text = BUF_INIT(16);
	unsigned port = 1024;

	if (file_read("/proc/sys/net/ipv4/ip_unprivileged_port_start", 16, &text) == 0 &&
	    buf_str(&text))
		port = (unsigned)strtoul(buf_str(&text), NULL, 10);
	buf_fini(&text);
	return port;
}

static int bind_failed(const struct publish_config *p, int r, struct conf_error *err)
{
	char text[ENDPOINT_STRLEN], why[160] = "";

	switch (-r) {
	case EACCES:
		snprintf(why, sizeof(why),
			 "; an ordinary user listens on ports from %u on: take one of those",
			 first_free_port());
		break;
	case EADDRINUSE:
		find_holder(p, why, sizeof(why) - 32);
		snprintf(why + strlen(why), sizeof(why) - strlen(why), "; take another port, or 0");
		break;
	case EADDRNOTAVAIL:
		snprintf(why, sizeof(why), "; this machine does not have that address");
		break;
	case EAFNOSUPPORT:
		snprintf(why, sizeof(why), "; this machine has no IPv%d", p->bind.addr.family);
		break;
	case EINVAL:
		snprintf(why, sizeof(why), "; an address of one link cannot be used here");
		break;
	default:
		break;
	}
	conf_error_set(err, "cannot listen on %s/%s: %s%s", endpoint_format(&p->bind, text),
		       p->udp ? "udp" : "tcp", strerror(-r), why);
	return r;
}

/* ---- binding ------------------------------------------------------------------ */

/* A wildcard socket answers a peer from the address that the peer wrote to. */
static void set_options(int fd, const struct publish_config *p)
{
	bool six = p->bind.addr.family == 6;
	int one = 1, size = DATAGRAM_BUFFER;

	if (six)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (!p->udp) {
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		return;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (six)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one));
	else
		(void)setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
}

int publish_bind(const struct publish_config *p, int *ret_fd, struct endpoint *ret_bound,
		 struct conf_error *err)
{
	int type = (p->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
	cleanup_close int fd = socket(p->bind.addr.family == 4 ? AF_INET : AF_INET6, type, 0);
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(&p->bind, &ss);
	struct endpoint bound;

	if (fd < 0)
		return bind_failed(p, -errno, err);
	set_options(fd, p);
	if (bind(fd, (struct sockaddr *)&ss, len) < 0 || (!p->udp && listen(fd, LISTEN_BACKLOG) < 0))
		return bind_failed(p, -errno, err);
	len = sizeof(ss);
	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return bind_failed(p, -errno, err);
	if (endpoint_from_sockaddr(&ss, &bound) < 0)
		return bind_failed(p, -EAFNOSUPPORT, err);
	*ret_bound = bound;
	*ret_fd = steal_fd(&fd);
	return 0;
}
