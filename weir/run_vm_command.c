/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command in a machine: begun when its agent is ready, its input and output carried,
 * its end the run's. In the background the attached stand where weir's terminal does.
 */
#include "weir/run_vm.h"

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

/* A machine that writes to a disk of ours is told to end, so that nothing is lost. */
#define PATIENCE_SHUTDOWN (10 * NS_PER_S)
#define SHUTDOWN_GRACE_MS 1000

/* A folder's disk is a copy without a name. */
static bool keeps_what_is_written(const struct machine_run *m)
{
	struct stat st;

	for (size_t i = 0; i < m->parts.n_volumes; i++)
		if (!m->parts.volumes[i].read_only &&
		    (stat(m->parts.volumes[i].source, &st) < 0 || !S_ISDIR(st.st_mode)))
			return true;
	return false;
}

static void on_drained(struct vm_stdio *s)
{
	static const struct agent_stream_events none = { 0 };
	static const struct agent_shutdown how = { AGENT_SHUTDOWN_POWER_OFF, SHUTDOWN_GRACE_MS };
	struct machine_run *m = container_of(s, struct machine_run, stdio);
	struct agent_stream *ignored;

	if (m->run.ending)
		return;
	if (keeps_what_is_written(m) &&
	    agent_shutdown(m->agent, &how, 0, &none, NULL, &ignored) == 0) {
		m->shutting_down = true;
		machine_wait(m, "", PATIENCE_SHUTDOWN);
		return;
	}
	run_end(&m->run);
}

static void on_started(struct agent_stream *s, uint32_t pid, void *arg)
{
	struct machine_run *m = arg;

	(void)pid;
	loop_timer_del(m->run.loop, &m->patience);
	run_life_active(&m->run);
	run_detach_ready(&m->run);
	vm_stdio_attach(&m->stdio, s);
	if (m->run.cfg->life.detach)
		run_attach_pump(&m->run);
}

static void on_data(struct agent_stream *s, enum agent_type type, const uint8_t *p, size_t n,
		    void *arg)
{
	struct machine_run *m = arg;

	if (!m->run.cfg->life.detach) {
		run_life_active(&m->run);
		vm_stdio_data(&m->stdio, type, p, n);
	} else if (run_attach_output(&m->run, type, p, n)) {
		agent_stream_taken(s, n);
	} else {
		m->owed += n;
	}
}

static void on_room(struct agent_stream *s, void *arg)
{
	struct machine_run *m = arg;

	(void)s;
	if (m->run.cfg->life.detach) {
		run_attach_pump(&m->run);
		return;
	}
	run_life_active(&m->run);
	vm_stdio_room(&m->stdio);
}

static void tell_failure(const struct machine_run *m, const struct agent_failed *f)
{
	const char *name = m->argv[0];
	char text[768];

	if (f->stage == AGENT_STAGE_LOOKUP && !strchr(name, '/'))
		snprintf(text, sizeof(text), "not found in any folder of the machine's PATH");
	else if (f->stage == AGENT_STAGE_LOOKUP || f->stage == AGENT_STAGE_EXEC)
		snprintf(text, sizeof(text), "cannot be executed: %s",
			 strerror((int)(f->err & 0xfff)));
	else
		machine_failure(f, text, sizeof(text));
	log_error("%s: %s", name, text);
}

static void on_ended(struct agent_stream *s, const struct agent_end *e, void *arg)
{
	struct machine_run *m = arg;

	(void)s;
	m->command = NULL;
	/* The machine's end, which is told elsewhere. */
	if (e->kind == AGENT_ENDED_FAILED && e->failed.stage == AGENT_STAGE_LOST)
		return;
	loop_timer_del(m->run.loop, &m->patience);
	if (e->kind == AGENT_ENDED_FAILED)
		tell_failure(m, &e->failed);
	m->run.status = agent_end_status(e);
	vm_stdio_ended(&m->stdio);
}

static const struct agent_stream_events command_events = {
	.started = on_started,
	.data = on_data,
	.room = on_room,
	.ended = on_ended,
};

void machine_command_begin(struct machine_run *m)
{
	const char *const *argv = (const char *const *)m->argv;
	const struct life_config *l = &m->run.cfg->life;
	bool input = !l->detach || l->input, tty = l->detach ? l->tty : m->stdio.tty;
	struct agent_exec x = { .flags = (input ? AGENT_EXEC_INPUT : 0) | (tty ? AGENT_EXEC_TTY : 0) };
	int r;

	while (argv[x.argv.n])
		x.argv.n++;
	x.argv.v = argv;
	vm_stdio_size(&x.rows, &x.cols);
	machine_wait(m, "the machine did not start the command in time", PATIENCE_AGENT);
	r = agent_exec(m->agent, &x, 0, &command_events, m, &m->command);
	if (r < 0)
		run_fail(&m->run, "the machine cannot be asked to run the command: %s", strerror(-r));
}

/* ---- who is attached ---------------------------------------------------------------- */

/* What came while somebody was behind. */
static void on_hub_room(void *arg)
{
	struct machine_run *m = machine_of(arg);
	size_t n = m->owed;

	m->owed = 0;
	if (m->command)
		agent_stream_taken(m->command, n);
}

static size_t on_typed(const uint8_t *p, size_t n, void *arg)
{
	struct machine_run *m = machine_of(arg);
	size_t take = m->command ? MIN(n, agent_stream_room(m->command)) : 0;

	return take && agent_stream_write(m->command, p, take) == 0 ? take : 0;
}

static void on_resize(uint32_t rows, uint32_t cols, void *arg)
{
	struct machine_run *m = machine_of(arg);

	if (m->run.cfg->life.tty && m->command && agent_stream_resize(m->command, rows, cols) < 0)
		log_debug("the machine was not told the terminal's size");
}

static int start_attach(struct run *r)
{
	const struct agent_hub_events ev = {
		.input = r->cfg->life.input ? on_typed : NULL,
		.resize = on_resize,
		.room = on_hub_room,
	};

	return run_attach_start(r, &ev, r);
}

/* ---- what the machine's run asks ------------------------------------------------------ */

int machine_command_listen(struct machine_run *m)
{
	struct run *r = &m->run;
	int rc = 0;

	m->stdio = (struct vm_stdio){ .loop = r->loop,
				      .drained = on_drained,
				      .tty = vm_stdio_wants_tty(),
				      .no_input = r->cfg->life.detach };
	if (r->cfg->life.detach)
		rc = start_attach(r);
	return rc < 0 ? rc : vm_stdio_start(&m->stdio);
}
