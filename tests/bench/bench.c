/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measuring ends for tests/bench: a TCP echo server, and clients that time
 * round trips and whole connections. Trusts its peer: it is a bench, not a product.
 *
 *   bench serve ADDR PORT
 *   bench rr ADDR PORT SECONDS       one byte there and back, over and over
 *   bench crr ADDR PORT SECONDS      connect, one byte there and back, close
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
#include <sys/socket.h>
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

static int measure(const struct sockaddr_in *a, double seconds, bool each_connects)
{
	double begin = now_us(), end = begin + seconds * 1e6;
	size_t n = 0, failed = 0;
	int fd = each_connects ? -1 : dial(a);

	if (!each_connects && fd < 0)
		die("connect");
	while (now_us() < end && n < SAMPLES_MAX && failed < 1000) {
		double t = now_us();

		if (each_connects)
			fd = dial(a);
		if (fd >= 0 && ping(fd, each_connects))
			samples[n++] = now_us() - t;
		else
			failed++;
		if (each_connects && fd >= 0)
			close(fd);
	}
	return report(n, failed, now_us() - begin);
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

	if (argc < 4) {
		fprintf(stderr, "usage: bench serve|rr|crr ADDR PORT [SECONDS]\n");
		return 2;
	}
	a = address(argv[2], argv[3]);
	if (strcmp(argv[1], "serve") == 0)
		serve(&a);
	return measure(&a, argc > 4 ? strtod(argv[4], NULL) : 1, strcmp(argv[1], "crr") == 0);
}
