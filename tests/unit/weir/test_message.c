/* SPDX-License-Identifier: Apache-2.0 */
/* What the processes say to each other, up to the longest of it. */
#include "weir/message.h"
#include "weir/record.h"

#include <setjmp.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

static int pair[2];

static int setup(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int teardown(void **state)
{
	(void)state;
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static void test_longest(void **state)
{
	static char text[MSG_TEXT_MAX + 1];
	struct msg m;

	(void)state;
	memset(text, 'x', sizeof(text));
	for (size_t len = MSG_TEXT_MAX - 2; len <= MSG_TEXT_MAX; len++) {
		assert_int_equal(msg_send(pair[0], MSG_EVENT, 7, text, len, NULL, 0), 0);
		assert_int_equal(msg_recv(pair[1], &m, NULL, 0, NULL), len);
		assert_int_equal(m.head.value, 7);
		assert_memory_equal(m.text, text, len);
		assert_int_equal(m.text[len], 0);
	}
	assert_int_equal(msg_send(pair[0], MSG_EVENT, 0, text, MSG_TEXT_MAX + 1, NULL, 0), -EMSGSIZE);
}

/* Without waiting, and nothing taken in that nobody asked for. */
static void test_now(void **state)
{
	struct msg m;
	char c;
	int fds[2];

	(void)state;
	assert_int_equal(msg_recv_now(pair[1], &m), -EAGAIN);
	assert_int_equal(msg_send_text(pair[0], MSG_EVENT, 7, "text"), 0);
	assert_int_equal(msg_recv_now(pair[1], &m), 4);
	assert_string_equal(m.text, "text");
	assert_int_equal(send(pair[0], "short", 5, 0), 5);
	assert_int_equal(msg_recv_now(pair[1], &m), -EPROTO);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(msg_send(pair[0], MSG_EVENT, 0, NULL, 0, &fds[1], 1), 0);
	assert_int_equal(close(fds[1]), 0);
	assert_int_equal(msg_recv_now(pair[1], &m), -EMSGSIZE);
	assert_int_equal(read(fds[0], &c, 1), 0);
	assert_int_equal(close(fds[0]), 0);
	assert_int_equal(shutdown(pair[0], SHUT_WR), 0);
	assert_int_equal(msg_recv_now(pair[1], &m), -ECONNRESET);
}

static void send_detail(struct record *r, size_t n)
{
	char text[MSG_TEXT_MAX];
	struct audit_event e;

	assert_true(n < sizeof(text));
	memset(text, 'y', n);
	text[n] = 0;
	audit_event_begin(&e, "run");
	audit_str(&e, "detail", text);
	record_send(r, &e);
}

/* Events of one turn fill a message to its last byte: it still arrives, and whole. */
static void test_full_batch(void **state)
{
	static struct record r;
	struct loop *loop;
	struct msg m;
	size_t frame;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	r.sock = pair[0];
	record_batch(&r, loop);
	send_detail(&r, 1700); /* a string is cut at 2048 */
	frame = r.pending - 1700;
	for (int i = 0; i < 3; i++)
		send_detail(&r, 1700);
	send_detail(&r, MSG_TEXT_MAX - r.pending - 1 - frame);
	assert_int_equal(r.pending, MSG_TEXT_MAX);
	record_flush(&r);
	assert_int_equal(msg_recv(pair[1], &m, NULL, 0, NULL), MSG_TEXT_MAX);
	assert_memory_equal(m.text + MSG_TEXT_MAX - 3, "y\"}", 3);
	loop_free(loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_longest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_now, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_batch, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
