/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine uses: processors, memory, disk, network, as its own kernel counts. */
#include "weir/cmd_exec.h"

#include "weir/cmd_ctl.h"
#include "weir/machine_call.h"

#include <stdio.h>
#include <unistd.h>

/* Between the two looks that a use of processors needs. */
#define LOOK_MS 500
#define INTERVAL_MAX_S 86400

static const char metrics_help[] =
	"Usage: weir metrics [--json] [--interval SECONDS] NAME|ID\n"
	"\n"
	"What a microVM uses, as its own kernel counts it: processors, memory, the root\n"
	"file system, disks, network, processes. Once, or one line each SECONDS until\n"
	"it is interrupted. What went through the gateway: weir ctl NAME metrics\n"
	"\n"
	"Exit status: 0; 1 there is none of that name, or it does not answer; 2 usage.\n";

struct watch {
	struct agent_sample last;
	bool have_last, json, once;
	unsigned lines;
};

static double percent(uint64_t part, uint64_t rest)
{
	return part + rest ? 100.0 * (double)part / (double)(part + rest) : 0;
}

static int print_json(const struct agent_sample *m, double cpu)
{
	json_t *o = json_pack(
		"{s:f, s:i, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:f}",
		"uptime_s", (double)m->uptime_ns / 1e9, "cpus", (int)m->cpus, "cpu_percent", cpu,
		"cpu_busy_ms", (json_int_t)(m->cpu_busy_ns / NS_PER_MS), "cpu_idle_ms",
		(json_int_t)(m->cpu_idle_ns / NS_PER_MS), "memory_bytes", (json_int_t)m->memory_total,
		"memory_available_bytes", (json_int_t)m->memory_available, "root_bytes",
		(json_int_t)m->root_total, "root_free_bytes", (json_int_t)m->root_free,
		"disk_read_bytes", (json_int_t)m->disk_read, "disk_written_bytes",
		(json_int_t)m->disk_written, "net_received_bytes", (json_int_t)m->net_received,
		"net_sent_bytes", (json_int_t)m->net_sent, "processes", (int)m->processes, "load1",
		(double)m->load1 / 100);
	int r = o ? json_dumpf(o, stdout, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6)) : -1;

	json_decref(o);
	return r == 0 && putchar('\n') != EOF && fflush(stdout) == 0 ? 0 : -EIO;
}

static const char *size(uint64_t n, char out[static 16])
{
	static const char units[] = "BKMGTPE";
	double v = (double)n;
	size_t u = 0;

	while (v >= 1024 && u + 2 < sizeof(units)) {
		v /= 1024;
		u++;
	}
	snprintf(out, 16, v >= 100 || !u ? "%.0f%c" : "%.1f%c", v, units[u]);
	return out;
}

static int print_line(struct watch *t, const struct agent_sample *m, double cpu)
{
	char s[8][16];

	if (t->lines++ % 20 == 0)
		printf("%6s %17s %17s %17s %17s %5s %6s\n", "CPU", "MEMORY", "ROOT",
		       "DISK READ/WRITE", "NET IN/OUT", "PROCS", "LOAD");
	printf("%5.1f%% %8s/%-8s %8s/%-8s %8s/%-8s %8s/%-8s %5u %6.2f\n", cpu,
	       size(m->memory_total > m->memory_available ? m->memory_total - m->memory_available : 0,
		    s[0]),
	       size(m->memory_total, s[1]),
	       size(m->root_total > m->root_free ? m->root_total - m->root_free : 0, s[2]),
	       size(m->root_total, s[3]), size(m->disk_read, s[4]), size(m->disk_written, s[5]),
	       size(m->net_received, s[6]), size(m->net_sent, s[7]), m->processes,
	       (double)m->load1 / 100);
	return fflush(stdout) == 0 ? 0 : -EIO;
}

/* The first only begins the interval. A counter that goes back is a guest's that lies. */
static int on_sample(struct machine_wait *w, const struct agent_sample *m)
{
	struct watch *t = w->arg;
	uint64_t busy, idle;
	int r = 0;

	if (t->have_last) {
		busy = m->cpu_busy_ns - MIN(t->last.cpu_busy_ns, m->cpu_busy_ns);
		idle = m->cpu_idle_ns - MIN(t->last.cpu_idle_ns, m->cpu_idle_ns);
		r = t->json ? print_json(m, percent(busy, idle))
			    : print_line(t, m, percent(busy, idle));
		if (r == 0 && t->once)
			r = -ECANCELED;
	}
	t->last = *m;
	t->have_last = true;
	return r;
}

static int watch(const char *name, struct watch *t, uint32_t interval_ms)
{
	struct machine_wait w = { .sample = on_sample, .arg = t };
	struct machine_call c;
	int r = machine_call_open(&c, name);

	if (r)
		return r;
	r = agent_metrics(c.agent, interval_ms, 0, &machine_wait_events, &w, &w.s);
	if (r == 0)
		r = machine_wait_end(&c, &w);
	machine_call_close(&c);
	if (r == -ECANCELED)
		return CTL_DONE;
	return ctl_complain(CTL_REFUSED, "%s: %s", name,
			    *w.why  ? w.why
			    : r < 0 ? strerror(-r)
				    : "the machine tells no more");
}

int cmd_metrics(int argc, char **argv)
{
	struct watch t = { .once = true };
	const char *name = NULL, *interval = NULL, *why;
	uint64_t seconds = 0;

	ctl_speak_as(argv[0]);
	for (int i = 1; i < argc; i++) {
		if (str_eq(argv[i], "--help") || str_eq(argv[i], "-h")) {
			fputs(metrics_help, stdout);
			return CTL_DONE;
		}
		if (str_eq(argv[i], "--json"))
			t.json = true;
		else if (str_starts(argv[i], "--interval="))
			interval = argv[i] + strlen("--interval=");
		else if (str_eq(argv[i], "--interval") && i + 1 < argc)
			interval = argv[++i];
		else if (argv[i][0] == '-' || name)
			return ctl_complain(CTL_USAGE, "%s: not known; see: weir metrics --help",
					    argv[i]);
		else
			name = argv[i];
	}
	if (!name)
		return ctl_complain(CTL_USAGE, "which sandbox? weir ps lists them");
	if (interval && uint_parse(interval, strlen(interval), 1, INTERVAL_MAX_S, &seconds, &why) < 0)
		return ctl_complain(CTL_USAGE, "--interval %s: %s", interval, why);
	t.once = !seconds;
	return watch(name, &t, seconds ? (uint32_t)seconds * 1000 : LOOK_MS);
}
