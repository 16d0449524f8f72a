/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command in the background: all it writes goes into the log and to whoever is attached, and
 * what they type is its input. Where its ends are is the subject's business (run_stdio.c for
 * namespaces, run_vm.c for a machine).
 *
 *   weir attach ── control socket ──► one end of a stream socket, the hub's clients (agent/)
 *
 * The run's end waits for those who watch to have seen it; the hub bounds that.
 */
#include "weir/run_internal.h"

#include <unistd.h>

static void on_drained(void *arg)
{
	run_check_end(arg);
}

static void on_signal(int number, void *arg)
{
	struct run *r = arg;

	if (!r->ending)
		r->subject->signal(r, number);
}

int run_attach_start(struct run *r, const struct agent_hub_events *ev, void *arg)
{
	struct agent_hub_events own = *ev;

	assert(arg == r);
	own.drained = on_drained;
	own.signal = on_signal;
	r->attach.log.fd = STDOUT_FILENO;
	return agent_hub_new(r->loop, &own, arg, &r->attach.hub);
}

bool run_attach_output(struct run *r, enum agent_type type, const uint8_t *p, size_t n)
{
	run_life_active(r);
	run_log_write(&r->attach.log, type == AGENT_ERRORS ? "stderr" : "stdout", p, n);
	agent_hub_output(r->attach.hub, type, p, n);
	return !agent_hub_full(r->attach.hub);
}

void run_attach_pump(struct run *r)
{
	run_life_active(r);
	agent_hub_pump(r->attach.hub);
}

static int add_client(void *hub, int fd)
{
	return agent_hub_add(hub, fd);
}

void run_attach_client(struct run *r, struct ctl_client *c)
{
	const struct life_config *l = &r->cfg->life;

	if (!r->attach.hub) {
		run_ctl_refuse(c, "nothing to attach to: it has the terminal or the pipes of who "
				  "started it; in the background (weir run --detach) it would not");
		return;
	}
	run_ctl_hand_out(c, add_client, r->attach.hub,
			 json_pack("{s:b, s:s, s:b, s:b}", "ok", 1, "name", r->cfg->name, "tty",
				   l->tty, "input", l->input));
}

void run_attach_end(struct run *r)
{
	struct agent_exited e = { .code = (uint32_t)r->status & 255 };

	if (r->attach.hub)
		agent_hub_end(r->attach.hub, &e);
}

size_t run_attach_count(const struct run *r)
{
	return r->attach.hub ? agent_hub_clients(r->attach.hub) : 0;
}

void run_attach_free(struct run *r)
{
	agent_hub_free(r->attach.hub);
	r->attach.hub = NULL;
}
