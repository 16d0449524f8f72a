/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent of a run's machine: what it says is checked by agent/, and nothing of it is
 * used but lines for people, quoted, and what the command's stream carries.
 */
#include "weir/run_vm.h"

#include "weir/sandbox_trust.h"

#include <stdio.h>

/* The agent is gone: so long until its machine is, whose end says more. */
#define PATIENCE_END (NS_PER_S)

/* At most this many bytes of what the agent says are quoted. */
#define QUOTED 120

void machine_failure(const struct agent_failed *f, char *ret, size_t size)
{
	const char *said = f->text ? f->text : "";
	char text[4 * QUOTED + 1];

	log_quote(said, MIN(strlen(said), (size_t)QUOTED), text, sizeof(text));
	snprintf(ret, size, "%s%s%s%s%s", agent_stage_text(f->stage), f->err ? ": " : "",
		 f->err ? strerror((int)(f->err & 0xfff)) : "", text[0] ? ": " : "", text);
}

static void on_hello(struct agent *a, const struct agent_hello *h, void *arg)
{
	struct machine_run *m = arg;
	struct vm_guest g = { .env = m->run.envp,
			      .ca_pem = m->run.ca_pem,
			      .roots_pem = m->run.host_cas };
	char kernel[128], hash[9];
	int r;

	if (g.ca_pem && guest_trust_hash(g.ca_pem, hash))
		g.ca_hash = hash;
	log_quote(h->kernel, MIN(strlen(h->kernel), (size_t)60), kernel, sizeof(kernel));
	log_info("the machine runs Linux %s; its agent spoke %llu ms after the start", kernel,
		 (unsigned long long)((time_mono_ns() - m->run.began) / NS_PER_MS));
	machine_wait(m, "the machine was not set up in time", PATIENCE_AGENT);
	r = vm_guest_init(a, m->run.cfg, &m->parts, &g);
	if (r < 0)
		run_fail(&m->run, "the machine cannot be told what it is: %s", strerror(-r));
}

static void on_ready(struct agent *a, void *arg)
{
	struct machine_run *m = arg;

	m->ready = true;
	if (vm_clock_start(&m->clock, m->run.loop, a) < 0)
		log_warn("the machine's clock will not be corrected while it runs");
	machine_command_begin(m);
}

static void on_init_failed(struct agent *a, const struct agent_failed *f, void *arg)
{
	struct machine_run *m = arg;
	char text[768];

	(void)a;
	machine_failure(f, text, sizeof(text));
	machine_tell_tails(m);
	run_fail(&m->run, "the machine cannot be set up: %s", text);
}

static void on_log(struct agent *a, const struct agent_log *l, void *arg)
{
	char text[1024];

	(void)a;
	(void)arg;
	log_quote(l->text, MIN(strlen(l->text), (size_t)250), text, sizeof(text));
	if (l->level == AGENT_LOG_ERROR || l->level == AGENT_LOG_WARN)
		log_warn("in the machine: %s", text);
	else
		log_info("in the machine: %s", text);
}

static void on_lost(struct agent *a, int err, const char *why, void *arg)
{
	struct machine_run *m = arg;

	(void)a;
	vm_clock_stop(&m->clock);
	agent_relay_free(m->relay);
	m->relay = NULL;
	m->ready = false;
	if (m->run.ending || m->shutting_down || m->stdio.ended)
		return;
	if (err == -EPROTO) {
		run_fail(&m->run, "the machine's agent broke its protocol: %s", why);
		return;
	}
	machine_wait(m, "the machine's agent is gone, and with it the command", PATIENCE_END);
}

static const struct agent_events agent_events = {
	.hello = on_hello,
	.ready = on_ready,
	.init_failed = on_init_failed,
	.log = on_log,
	.lost = on_lost,
};

int machine_agent_listen(struct machine_run *m)
{
	int rc = agent_new(m->run.loop, m->agent_fd, &agent_events, m, &m->agent);

	if (rc == 0)
		m->agent_fd = -1;
	return rc;
}

/* ---- weir exec and its like -------------------------------------------------------------- */

/* A connection to the agent for weir exec, cp, metrics and their like. */
static int add_client(void *to, int fd)
{
	struct machine_run *m = to;
	int rc = agent_relay_add(m->relay, fd);

	if (rc == 0)
		run_life_active(&m->run);
	return rc;
}

void machine_agent_ask(struct machine_run *m, struct ctl_client *c)
{
	int rc;

	if (!m->ready) {
		run_ctl_refuse(c, "the machine is not ready yet");
		return;
	}
	rc = m->relay ? 0 : agent_relay_new(m->run.loop, m->agent, &m->relay);
	if (rc < 0)
		run_ctl_refuse(c, "no connection to the machine's agent: %s", strerror(-rc));
	else
		run_ctl_hand_out(c, add_client, m, json_pack("{s:b}", "ok", 1));
}
