/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measuring ends for tests/bench over TCP: an echo server, and clients that
 * time round trips and whole connections. Trusts its peer: it is a bench, not a product.
 *
 *   bench serve ADDR PORT
 *   bench rr ADDR PORT SECONDS        one byte there and back, over and over
 *   bench crr ADDR PORT SECONDS [N]   connect, one byte there and back, close; by N clients at once
 *   bench keep ADDR PORT SECONDS [N]  requests of 200 bytes over N connections that stay, one each in flight
 *   bench idle ADDR PORT 0 N          opens N connections, says so, holds them until its input ends
 *
 * A byte 'c' asks the server to close after it: the TIME-WAIT is then the
 * server's, and clients do not run out of ports and measure the search for one.
 *
 * A client prints "rate=PER_SECOND p50=US p99=US failed=N".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES_MAX (1u << 21)
#define EVENTS 256

static double samples[SAMPLES_MAX]; /* microseconds */

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	char *end;
	unsigned long n = strtoul(port, &end, 10);

	if (*end || n == 0 || n > 65535 || inet_pton(AF_INET, host, &a.sin_addr) != 1) {
		fprintf(stderr, "bench: %s %s is no address and port\n", host, port);
		exit(2);
	}
	a.sin_port = htons((uint16_t)n);
	return a;
}

static int dial(const struct sockaddr_in *a)
{
	struct timeval limit = { 5, 0 };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool ping(int fd, bool close_after)
{
	char c = close_after ? 'c' : 'x';

	return write(fd, &c, 1) == 1 && read(fd, &c, 1) == 1 &&
	       (!close_after || read(fd, &c, 1) == 0);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int report(size_t n, size_t failed, double us)
{
	if (n == 0) {
		fprintf(stderr, "bench: nothing succeeded, %zu failed\n", failed);
		return 1;
	}
	qsort(samples, n, sizeof(samples[0]), by_value);
	printf("rate=%.1f p50=%.1f p99=%.1f failed=%zu\n", (double)n / us * 1e6, samples[n / 2],
	       samples[n * 99 / 100], failed);
	return 0;
}

/* What one client does; its times go to into[0..max). */
static size_t client(const struct sockaddr_in *a, double seconds, bool each_connects, double *into,
		     size_t max, size_t *ret_failed)
{
	double end = now_us() + seconds * 1e6;
	size_t n = 0, failed = 0;
	int fd = each_connects ? -1 : dial(a);

	if (!each_connects && fd < 0)
		die("connect");
	while (now_us() < end && n < max && failed < 1000) {
		double t = now_us();

		if (each_connects)
			fd = dial(a);
		if (fd >= 0 && ping(fd, each_connects))
			into[n++] = now_us() - t;
		else
			failed++;
		if (each_connects && fd >= 0)
			close(fd);
	}
	*ret_failed = failed;
	return n;
}

static int measure(const struct sockaddr_in *a, double seconds, bool each_connects, size_t clients)
{
	const size_t share = SAMPLES_MAX / clients;
	size_t n = 0, failed = 0, (*got)[2];
	double *all, begin = now_us(), took;

	all = mmap(NULL, SAMPLES_MAX * sizeof(*all), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	got = mmap(NULL, clients * sizeof(*got), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		   -1, 0);
	if (all == MAP_FAILED || got == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < clients; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			got[i][0] = client(a, seconds, each_connects, all + i * share, share,
					   &got[i][1]);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
	took = now_us() - begin;
	for (size_t i = 0; i < clients; i++) {
		memcpy(samples + n, all + i * share, got[i][0] * sizeof(*all));
		n += got[i][0];
		failed += got[i][1];
	}
	return report(n, failed, took);
}

#define REQUEST 200
#define KEEP_MAX 1024

/* One request in flight on each of n connections, all by one process. */
static int keep(const struct sockaddr_in *a, double seconds, size_t n)
{
	static struct {
		int fd;
		size_t got;
		double sent;
	} c[KEEP_MAX];
	static char b[REQUEST] = { 'k' };
	struct epoll_event ev[KEEP_MAX];
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	double begin, end;
	size_t done = 0;

	for (size_t i = 0; i < n; i++) {
		struct epoll_event e = { .events = EPOLLIN, .data.u64 = i };

		c[i].fd = dial(a);
		if (c[i].fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, c[i].fd, &e) < 0)
			die("connect");
	}
	begin = now_us();
	end = begin + seconds * 1e6;
	for (size_t i = 0; i < n; i++) {
		c[i].sent = now_us();
		if (write(c[i].fd, b, REQUEST) != REQUEST)
			die("write");
	}
	while (now_us() < end && done < SAMPLES_MAX) {
		int k = epoll_wait(epoll, ev, KEEP_MAX, 1000);

		for (int i = 0; i < k && done < SAMPLES_MAX; i++) {
			size_t at = ev[i].data.u64;
			ssize_t r = read(c[at].fd, b, REQUEST - c[at].got);

			if (r <= 0)
				die("read");
			c[at].got += (size_t)r;
			if (c[at].got < REQUEST)
				continue;
			samples[done++] = now_us() - c[at].sent;
			c[at].got = 0;
			c[at].sent = now_us();
			b[0] = 'k';
			if (write(c[at].fd, b, REQUEST) != REQUEST)
				die("write");
		}
	}
	return report(done, 0, now_us() - begin);
}

static int idle(const struct sockaddr_in *a, size_t n)
{
	size_t ok = 0;
	char c;

	for (size_t i = 0; i < n; i++) {
		int fd = dial(a);

		if (fd >= 0 && ping(fd, false))
			ok++;
	}
	printf("idle=%zu\n", ok);
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	return ok == n ? 0 : 1;
}

static void serve_one(int epoll, int listener, int fd)
{
	char b[4096];
	struct epoll_event ev = { .events = EPOLLIN };
	int one = 1;
	ssize_t n;

	if (fd == listener) {
		fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		ev.data.fd = fd;
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
			die("epoll_ctl");
		return;
	}
	n = read(fd, b, sizeof(b));
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || write(fd, b, (size_t)n) != n || b[0] == 'c')
		close(fd);
}

static _Noreturn void serve(const struct sockaddr_in *a)
{
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = listener }, got[EVENTS];

	if (listener < 0 || epoll < 0)
		die("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (const struct sockaddr *)a, sizeof(*a)) < 0 || listen(listener, 4096) < 0)
		die("listen");
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev) < 0)
		die("epoll_ctl");
	for (;;) {
		int n = epoll_wait(epoll, got, EVENTS, -1);

		for (int i = 0; i < n; i++)
			serve_one(epoll, listener, got[i].data.fd);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in a;
	double seconds = argc > 4 ? strtod(argv[4], NULL) : 1;
	size_t n = argc > 5 ? strtoul(argv[5], NULL, 10) : 1;

	if (argc < 4) {
		fprintf(stderr, "usage: bench serve|rr|crr|keep|idle ADDR PORT [SECONDS [N]]\n");
		return 2;
	}
	a = address(argv[2], argv[3]);
	if (strcmp(argv[1], "serve") == 0)
		serve(&a);
	if (strcmp(argv[1], "idle") == 0)
		return idle(&a, n);
	if (strcmp(argv[1], "keep") == 0)
		return keep(&a, seconds, n < 1 ? 1 : n > KEEP_MAX ? KEEP_MAX : n);
	return measure(&a, seconds, strcmp(argv[1], "crr") == 0, n < 1 ? 1 : n > 64 ? 64 : n);
}
