/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine uses, as its kernel counts it: /proc, /sys/block, the root file system. */
#include "agent/guest.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX 65536
#define SECTOR 512
#define INTERVAL_MIN_MS 50

struct metrics {
	struct guest_stream s;
	struct loop_timer timer;
	uint64_t interval; /* ns; 0: once */
	bool due;
};

/* The number after its label, "MemTotal:" and a blank; 0 when there is none. */
static uint64_t number_after(const char *text, const char *label)
{
	const char *at = strstr(text, label);

	return at ? strtoull(at + strlen(label), NULL, 10) : 0;
}

static const char *read_text(const char *path, struct buf *text)
{
	buf_reset(text);
	/* Truncated, it still holds its first lines. */
	if (file_read(path, TEXT_MAX, text) < 0 && !text->len)
		return "";
	return buf_str(text) ? buf_str(text) : "";
}

static void read_cpu(struct agent_sample *m, struct buf *text)
{
	uint64_t tick = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
	const char *p = read_text("/proc/stat", text);
	uint64_t v[8] = { 0 };
	char *end;

	if (!str_starts(p, "cpu "))
		return;
	p += 4;
	/* user nice system idle iowait irq softirq steal */
	for (size_t i = 0; i < ARRAY_SIZE(v); i++, p = end)
		v[i] = strtoull(p, &end, 10);
	m->cpu_idle_ns = (v[3] + v[4]) * tick;
	m->cpu_busy_ns = (v[0] + v[1] + v[2] + v[5] + v[6]) * tick;
	m->cpus = (uint32_t)get_nprocs();
}

static void read_memory(struct agent_sample *m, struct buf *text)
{
	const char *p = read_text("/proc/meminfo", text);

	m->memory_total = number_after(p, "MemTotal:") * 1024;
	m->memory_available = number_after(p, "MemAvailable:") * 1024;
}

static void read_net(struct agent_sample *m, struct buf *text)
{
	const char *p = read_text("/proc/net/dev", text);

	while ((p = strchr(p, '\n'))) {
		const char *name = p + 1 + strspn(p + 1, " "), *colon = strchr(name, ':');
		char *end;

		p++;
		if (!colon || colon > p + strcspn(p, "\n") || str_starts(name, "lo:"))
			continue;
		m->net_received += strtoull(colon + 1, &end, 10);
		for (int i = 0; i < 7; i++)
			strtoull(end, &end, 10);
		m->net_sent += strtoull(end, NULL, 10);
	}
}

/* Whole devices that have a driver behind them; their partitions are not there. */
static void read_disks(struct agent_sample *m, struct buf *text)
{
	DIR *d = opendir("/sys/block");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[300];
		const char *p;
		char *end;

		if (*e->d_name == '.' || str_starts(e->d_name, "loop") ||
		    str_starts(e->d_name, "ram"))
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/stat", e->d_name);
		p = read_text(path, text);
		/* reads merged SECTORS ms writes merged SECTORS */
		strtoull(p, &end, 10);
		strtoull(end, &end, 10);
		m->disk_read += strtoull(end, &end, 10) * SECTOR;
		for (int i = 0; i < 3; i++)
			strtoull(end, &end, 10);
		m->disk_written += strtoull(end, NULL, 10) * SECTOR;
	}
	if (d)
		closedir(d);
}

static void read_all(struct agent_sample *m)
{
	struct buf text = BUF_INIT(TEXT_MAX + 1);
	struct statvfs root;
	struct timespec up;
	struct sysinfo info;

	*m = (struct agent_sample){ 0 };
	clock_gettime(CLOCK_BOOTTIME, &up);
	m->uptime_ns = (uint64_t)up.tv_sec * NS_PER_S + (uint64_t)up.tv_nsec;
	m->realtime_ns = time_real_ns();
	read_cpu(m, &text);
	read_memory(m, &text);
	read_net(m, &text);
	read_disks(m, &text);
	if (statvfs("/", &root) == 0) {
		m->root_total = (uint64_t)root.f_blocks * root.f_frsize;
		m->root_free = (uint64_t)root.f_bavail * root.f_frsize;
	}
	if (sysinfo(&info) == 0) {
		m->processes = info.procs;
		m->load1 = (uint32_t)(info.loads[0] * 100 >> SI_LOAD_SHIFT);
	}
	buf_fini(&text);
}

static struct metrics *metrics_of(struct guest_stream *s)
{
	return container_of(s, struct metrics, s);
}

static void metrics_pump(struct guest_stream *s)
{
	struct metrics *t = metrics_of(s);
	struct agent_sample m;

	if (!t->due)
		return;
	read_all(&m);
	/* A host that does not listen misses samples; it gets the next. */
	if (!stream_message(s, AGENT_SAMPLE, &m))
		return;
	t->due = false;
	if (t->interval)
		loop_timer_set(s->g->loop, &t->timer, loop_now_update(s->g->loop) + t->interval);
	else
		stream_done(s);
}

static void on_timer(struct loop_timer *timer)
{
	struct metrics *t = container_of(timer, struct metrics, timer);

	t->due = true;
	metrics_pump(&t->s);
}

static void metrics_close(struct guest_stream *s)
{
	stream_done(s);
}

static void metrics_free(struct guest_stream *s)
{
	loop_timer_del(s->g->loop, &metrics_of(s)->timer);
}

static const struct guest_stream_ops metrics_ops = {
	.close = metrics_close,
	.pump = metrics_pump,
	.free = metrics_free,
};

void metrics_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
		   const struct agent_every *e)
{
	struct metrics *t = stream_new(g, m, rules, sizeof(*t), &metrics_ops);

	if (!t)
		return;
	t->timer.cb = on_timer;
	if (e->interval_ms)
		t->interval = MAX(e->interval_ms, (uint32_t)INTERVAL_MIN_MS) * NS_PER_MS;
	t->due = true;
	metrics_pump(&t->s);
}
