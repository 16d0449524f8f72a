/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames, fields and rules, as either end reads them; the guest's is the one that joins
 * messages. Beyond not crashing: messages are the same however the bytes are cut; what was read
 * writes to a body that reads the same; no rule lets credit above the window.
 */
#include "agent/agent_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A digest of all messages: type, id, length and bytes. */
static uint64_t digest(uint64_t h, const void *p, size_t n)
{
	const uint8_t *b = p;

	while (n--)
		h = (h ^ *b++) * UINT64_C(0x100000001b3);
	return h;
}

static void same_again(const struct agent_message *m)
{
	struct buf once = BUF_INIT(AGENT_MESSAGE_MAX), twice = BUF_INIT(AGENT_MESSAGE_MAX);
	struct scratch lists = { 0 }, again = { 0 };
	struct agent_message written = *m;
	union agent_body b, c;

	if (!message_is_bytes(m->type) && message_read(m, &b, &lists) == 0 &&
	    message_write(m->type, &b, &once) == 0) {
		written.body = buf_at(&once);
		written.len = once.len;
		if (message_read(&written, &c, &again) < 0 ||
		    message_write(m->type, &c, &twice) < 0 || once.len != twice.len ||
		    (once.len && memcmp(buf_at(&once), buf_at(&twice), once.len) != 0))
			abort();
	}
	scratch_fini(&lists);
	scratch_fini(&again);
	buf_fini(&once);
	buf_fini(&twice);
}

/* The last request's stream takes all that follows, from both sides. */
static void follow(struct rules *r, const struct agent_message *m)
{
	struct scratch lists = { 0 };
	union agent_body b;

	if (message_read(m, &b, &lists) == 0) {
		if (rules_is_request(m->type)) {
			if (rules_begin(r, m->type, &b) < 0)
				abort();
		} else {
			struct rules before = *r;
			int from_host = rules_from_host(r, m, &b);
			int from_guest = rules_from_guest(r, m, &b);

			if (from_host == 0 && before.closed)
				abort();
			if (from_guest == 0 && before.ended)
				abort();
		}
		if (r->guest_may > AGENT_WINDOW || r->host_may > AGENT_WINDOW)
			abort();
	}
	scratch_fini(&lists);
}

static uint64_t read_all(const uint8_t *data, size_t size, size_t cut, size_t message_max, bool check)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	struct rules rules = { 0 };
	struct agent_message m;
	struct frames f;
	int r = 0;

	frames_init(&f, message_max);
	while (size && r >= 0) {
		size_t room, n;
		uint8_t *p;

		if (frames_room(&f, &p, &room) < 0 || !room)
			abort();
		n = MIN(MIN(cut, size), room);
		memcpy(p, data, n);
		frames_filled(&f, n);
		data += n;
		size -= n;
		while ((r = frames_next(&f, &m)) > 0) {
			if (m.len > MAX(message_max, (size_t)AGENT_BODY_MAX))
				abort();
			h = digest(h, &m.id, sizeof(m.id));
			h = digest(h, &m.type, sizeof(m.type));
			h = digest(h, m.body, m.len);
			if (check) {
				same_again(&m);
				follow(&rules, &m);
			}
		}
	}
	frames_fini(&f);
	return digest(h, &r, sizeof(r));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int joins = 0; joins < 2; joins++) {
		size_t most = joins ? AGENT_MESSAGE_MAX : 0;
		uint64_t whole = read_all(data, size, SIZE_MAX, most, true);

		if (size <= 4096 && read_all(data, size, 1, most, false) != whole)
			abort();
		if (read_all(data, size, 1000, most, false) != whole)
			abort();
	}
	return 0;
}
