/* SPDX-License-Identifier: Apache-2.0 */
/* A call over HTTP/2 that is silent for longer than a flow may be idle: PINGs of either end keep it. */
#include <stdarg.h>
#include <stddef.h>
#include "session_rig.h"

#define IDLE_S 2
#define SILENT_MS 5000
#define PING_MS 200

enum { NOBODY, THE_CLIENT, THE_SERVER };

static const uint8_t settings[9] = { 0, 0, 0, 4 };
static const uint8_t ping[17] = { 0, 0, 8, 6, 0, 0, 0, 0, 0, 'a', 'l', 'i', 'v', 'e', '?', 0, 0 };
/* 204, and the end */
static const uint8_t answer[10] = { 0, 0, 1, 1, 5, 0, 0, 0, 1, 0x89 };

static void silence(struct flow_case *c, struct end *e, int me)
{
	for (unsigned ms = 0; ms < SILENT_MS; ms += PING_MS) {
		if (atomic_load(&c->phase) == me)
			end_write(e, ping, sizeof(ping));
		usleep(PING_MS * 1000);
	}
}

static void client(struct flow_case *c, struct end *e)
{
	static const char head[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	/* GET http://api.example.com/ */
	static const uint8_t request[] = { 0,	 0,    20,  1,	 5,   0,   0,	0,   1,	  0x82,
					   0x86, 0x84, 1,   15,	 'a', 'p', 'i', '.', 'e', 'x',
					   'a',	 'm',  'p', 'l', 'e', '.', 'c', 'o', 'm' };

	end_puts(e, head);
	end_write(e, settings, sizeof(settings));
	end_write(e, request, sizeof(request));
	silence(c, e, THE_CLIENT);
	client_read_all(c, e);
}

static void server(struct flow_case *c, struct end *e)
{
	char preface[24];

	/* In clear text it does not know what the client speaks before this is here. */
	for (size_t n = 0; n < sizeof(preface); n++)
		if (end_read(e, preface + n, 1) != 1)
			return;
	end_write(e, settings, sizeof(settings));
	silence(c, e, THE_SERVER);
	end_write(e, answer, sizeof(answer));
	usleep(200 * 1000);
}

static bool was_answered(const struct flow_case *c)
{
	return memmem(c->reply, c->n_reply, "\x01\x05\0\0\0\x01", 6) ||
	       memmem(c->reply, c->n_reply, "\x01\x04\0\0\0\x01", 6);
}

static void silent_call(void **state)
{
	struct tlsproxy_config cfg = { .idle_s = IDLE_S };

	(void)state;
	for (int who = NOBODY; who <= THE_SERVER; who++) {
		struct flow_case c = { .plain = true,
				       .flow_name = HOST,
				       .client = client,
				       .server = server,
				       .phase = who };
		struct rig rig;

		rig_up(&rig, &cfg);
		run_on(&rig, &c);
		rig_down(&rig);
		if (was_answered(&c) != (who != NOBODY))
			fail_msg("pings of %d: status %u, %zu bytes, reset %d", who, c.http.status,
				 c.n_reply, c.reset);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silent_call),
	};

	return cmocka_run_group_tests(tests, group_up, group_down);
}
