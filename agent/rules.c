/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may follow what within an id, and how many bytes. Each request has its
 * order of answers:
 *
 *   EXEC      STARTED (OUTPUT | ERRORS)* EXITED            or FAILED instead of STARTED
 *   ATTACH    as EXEC                                    FAILED at any point
 *   CONNECT   STARTED OUTPUT* DONE                         FAILED at any point
 *   PUT       DONE                                         after the host's INPUT* EOF
 *   GET       ENTRY OUTPUT* DONE
 *   STAT      ENTRY DONE
 *   LIST      ENTRY* DONE
 *   METRICS   SAMPLE DONE, or SAMPLE* until CLOSE
 *   others    DONE
 *
 * FAILED may end all of them. CREDIT may come in between, never above the window.
 * A side cannot know at once that the other has ended the id; who receives for an
 * id it does not know any more decides what that means, not this file.
 */
#include "agent/agent_int.h"

bool rules_is_request(uint16_t type)
{
	return (type >= AGENT_EXEC && type <= AGENT_COPY) ||
	       (type >= AGENT_METRICS && type <= AGENT_ATTACH);
}

int rules_begin(struct rules *r, uint16_t type, const union agent_body *b)
{
	if (!rules_is_request(type))
		return -EPROTO;
	*r = (struct rules){
		.request = type,
		.takes_input = type == AGENT_PUT || type == AGENT_CONNECT ||
			       (type == AGENT_EXEC && b->exec.flags & AGENT_EXEC_INPUT) ||
			       (type == AGENT_ATTACH && b->attach.flags & AGENT_ATTACH_INPUT),
		.once = type == AGENT_METRICS && !b->every.interval_ms,
		.guest_may = AGENT_WINDOW,
		.host_may = AGENT_WINDOW,
	};
	return 0;
}

static int spend(uint32_t *may, size_t n)
{
	if (n > *may)
		return -EPROTO;
	*may -= (uint32_t)n;
	return 0;
}

static int gain(uint32_t *may, uint32_t n)
{
	if (n > AGENT_WINDOW - *may)
		return -EPROTO;
	*may += n;
	return 0;
}

static bool is_command(const struct rules *r)
{
	return r->request == AGENT_EXEC || r->request == AGENT_ATTACH;
}

static bool sends_bytes(const struct rules *r)
{
	return is_command(r) || r->request == AGENT_GET || r->request == AGENT_LIST ||
	       r->request == AGENT_METRICS || r->request == AGENT_CONNECT;
}

static int once(bool allowed, bool *flag)
{
	if (!allowed || *flag)
		return -EPROTO;
	*flag = true;
	return 0;
}

int rules_from_host(struct rules *r, const struct agent_message *m, const union agent_body *b)
{
	if (r->closed)
		return -EPROTO;
	switch (m->type) {
	case AGENT_INPUT:
		return r->takes_input && !r->eof ? spend(&r->host_may, m->len) : -EPROTO;
	case AGENT_EOF:
		return once(r->takes_input, &r->eof);
	case AGENT_RESIZE:
	case AGENT_SIGNAL:
		return is_command(r) ? 0 : -EPROTO;
	case AGENT_CLOSE:
		return once(true, &r->closed);
	case AGENT_CREDIT:
		return sends_bytes(r) ? gain(&r->guest_may, b->credit.bytes) : -EPROTO;
	default:
		return -EPROTO;
	}
}

/* Whether bytes of this type may come now. */
static bool is_due(struct rules *r, uint16_t type)
{
	bool first = !r->seen_entry;

	switch (type) {
	case AGENT_OUTPUT:
		return r->request == AGENT_GET ? r->seen_entry : r->started;
	case AGENT_ERRORS:
		return is_command(r) && r->started;
	case AGENT_ENTRY:
		r->seen_entry = true;
		return r->request == AGENT_LIST ||
		       ((r->request == AGENT_GET || r->request == AGENT_STAT) && first);
	case AGENT_SAMPLE:
		r->seen_entry = true;
		return r->request == AGENT_METRICS && (first || !r->once);
	default:
		return false;
	}
}

static bool may_end(const struct rules *r, uint16_t type)
{
	switch (r->request) {
	case AGENT_EXEC:
		return r->started ? type == AGENT_EXITED : type == AGENT_FAILED;
	case AGENT_ATTACH:
		return type == AGENT_FAILED || (type == AGENT_EXITED && r->started);
	case AGENT_CONNECT:
		return type == AGENT_FAILED || (type == AGENT_DONE && r->started);
	case AGENT_GET:
	case AGENT_STAT:
		return type == AGENT_FAILED || (type == AGENT_DONE && r->seen_entry);
	case AGENT_METRICS:
		return type == AGENT_FAILED || (type == AGENT_DONE && (r->seen_entry || !r->once));
	default:
		return type == AGENT_FAILED || type == AGENT_DONE;
	}
}

int rules_from_guest(struct rules *r, const struct agent_message *m, const union agent_body *b)
{
	if (r->ended)
		return -EPROTO;
	switch (m->type) {
	case AGENT_STARTED:
		return once(is_command(r) || r->request == AGENT_CONNECT, &r->started);
	case AGENT_OUTPUT:
	case AGENT_ERRORS:
	case AGENT_ENTRY:
	case AGENT_SAMPLE:
		return is_due(r, m->type) ? spend(&r->guest_may, m->len) : -EPROTO;
	case AGENT_CREDIT:
		return r->takes_input ? gain(&r->host_may, b->credit.bytes) : -EPROTO;
	case AGENT_DONE:
	case AGENT_FAILED:
	case AGENT_EXITED:
		return once(may_end(r, m->type), &r->ended);
	default:
		return -EPROTO;
	}
}
