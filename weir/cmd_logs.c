/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sandbox in the background wrote: its log, which is JSON lines for its command and
 * plain text for weir's own words.
 *
 *   {"t":"2026-01-01T00:00:00.000Z","s":"stdout","d":"text"}
 */
#include "weir/cmd_exec.h"

#include "weir/cmd_ctl.h"
#include "weir/run_detach.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A line that is longer is shown in pieces, as text. */
#define LINE_MAX_LEN (1 << 20)
#define LOOK_MS 100
#define TAIL_MAX 1000000

static const char logs_help[] =
	"Usage: weir logs [OPTIONS] NAME|ID\n"
	"\n"
	"What a sandbox in the background (weir run --detach) wrote, until weir rm takes\n"
	"it away.\n"
	"\n"
	"  -f, --follow          and what it writes from now on, until it ends\n"
	"  -n, --tail N          only the last N pieces\n"
	"      --since TIME      only from then on: 2026-01-31T12:00:00Z, or 10m, 2h, 3d\n"
	"      --until TIME      only before then\n"
	"      --source SOURCE   stdout, stderr, output (both), or system: weir's\n"
	"                        own words\n"
	"  -t, --timestamps      the time in front of each piece\n"
	"      --json            as it is kept: one object a line\n"
	"\n"
	"Exit status: 0; 1 there is none of that name; 2 usage.\n";

enum source { SOURCE_ALL, SOURCE_STDOUT, SOURCE_STDERR, SOURCE_OUTPUT, SOURCE_SYSTEM };

struct logs {
	const char *word;	     /* as it was given */
	char name[CTL_NAME_MAX + 1]; /* of open_log() on */
	int dir, fd;
	bool follow, json, times;
	uint64_t tail;		   /* pieces; 0: all */
	char since[32], until[32]; /* RFC 3339, which sorts as text; "" none */
	enum source source;
	struct buf waiting; /* of a line that is not whole */
	/* The last `tail` lines, oldest at tail_at. */
	char **kept;
	size_t n_kept, kept_at;
};

/* ---- a line ------------------------------------------------------------------------- */

static bool wanted_source(const struct logs *l, const char *s)
{
	switch (l->source) {
	case SOURCE_ALL:
		return true;
	case SOURCE_STDOUT:
	case SOURCE_STDERR:
		return str_eq(s, l->source == SOURCE_STDOUT ? "stdout" : "stderr");
	case SOURCE_OUTPUT:
		return str_eq(s, "stdout") || str_eq(s, "stderr");
	case SOURCE_SYSTEM:
		return str_eq(s, "system");
	}
	return false;
}

/* The object of a line; plain text becomes one, without a time. NULL: no memory. */
static json_t *line_object(const char *line)
{
	json_t *o =
		str_starts(line, "{\"t\":") ? json_loads(line, JSON_REJECT_DUPLICATES, NULL) : NULL;
	char *text = NULL;

	if (json_is_string(json_object_get(o, "s")) && json_is_string(json_object_get(o, "d")))
		return o;
	json_decref(o);
	if (asprintf(&text, "%s\n", line) < 0)
		return NULL;
	o = json_pack("{s:s, s:s}", "s", str_starts(line, "weir") ? "system" : "stdout", "d", text);
	/* Not UTF-8: what was written there is not for people. */
	if (!o)
		o = json_pack("{s:s, s:s}", "s", "system", "d", "(a line that is no text)\n");
	free(text);
	return o;
}

static bool wanted_time(const struct logs *l, const char *t)
{
	return (!*l->since || strcmp(t, l->since) >= 0) && (!*l->until || strcmp(t, l->until) < 0);
}

static int show(const struct logs *l, const char *line)
{
	json_t *o = line_object(line);
	const char *s = json_string_value(json_object_get(o, "s"));
	const char *d = json_string_value(json_object_get(o, "d"));
	const char *t = json_string_value(json_object_get(o, "t"));
	FILE *to = s && str_eq(s, "stdout") ? stdout : stderr;
	int r = 0;

	if (l->json) {
		r = o ? json_dumpf(o, stdout, JSON_PRESERVE_ORDER | JSON_COMPACT) : 0;
		if (r == 0)
			r = putchar('\n') == EOF;
	} else if (d) {
		if (l->times)
			fprintf(to, "%s ", t ? t : "-");
		r = fputs(d, to) == EOF;
	}
	json_decref(o);
	return r ? -EIO : 0;
}

static bool is_wanted(const struct logs *l, const char *line)
{
	json_t *o = line_object(line);
	const char *s = json_string_value(json_object_get(o, "s"));
	const char *t = json_string_value(json_object_get(o, "t"));
	bool wanted = s && wanted_source(l, s) && wanted_time(l, t ? t : "");

	json_decref(o);
	return wanted;
}

static int on_line(struct logs *l, const char *line)
{
	char **place;

	if (!is_wanted(l, line))
		return 0;
	if (!l->kept)
		return show(l, line);
	place = &l->kept[l->kept_at];
	free(*place);
	*place = strdup(line);
	l->kept_at = (l->kept_at + 1) % l->tail;
	l->n_kept = MIN(l->n_kept + 1, (size_t)l->tail);
	return *place ? 0 : -ENOMEM;
}

/* ---- the file ----------------------------------------------------------------------- */

/* All that is there now. */
static int read_on(struct logs *l)
{
	char chunk[65536];
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = read(l->fd, chunk, sizeof(chunk))) > 0) {
		const char *p = chunk, *end = chunk + n;

		while (r == 0 && p < end) {
			const char *nl = memchr(p, '\n', (size_t)(end - p));

			if (!nl && l->waiting.len + (size_t)(end - p) < LINE_MAX_LEN) {
				r = buf_append(&l->waiting, p, (size_t)(end - p));
				break;
			}
			nl = nl ? nl : end;
			r = buf_append(&l->waiting, p, (size_t)(nl - p));
			if (r == 0)
				r = buf_str(&l->waiting) ? on_line(l, buf_str(&l->waiting)) : -ENOMEM;
			buf_reset(&l->waiting);
			p = nl + 1;
		}
	}
	return r < 0 ? r : n < 0 ? -errno : fflush(stdout) != 0 ? -EIO : 0;
}

static int show_kept(struct logs *l)
{
	char **kept = l->kept;
	size_t n = l->n_kept, at = (l->kept_at + (size_t)l->tail - n) % MAX(l->tail, 1u);
	int r = 0;

	l->kept = NULL;
	for (size_t i = 0; kept && i < n; i++) {
		char *line = kept[(at + i) % l->tail];

		if (r == 0)
			r = show(l, line);
		free(line);
	}
	free(kept);
	return r;
}

static bool is_over(const struct logs *l)
{
	char file[RUN_DETACH_FILE];

	run_detach_file(file, l->name, "ended");
	return faccessat(l->dir, file, F_OK, 0) == 0;
}

/* Whoever kills the supervisor leaves no word of the end. */
static bool is_gone(const struct logs *l)
{
	return !ctl_runs(l->name, NULL);
}

static int follow(struct logs *l)
{
	const struct timespec pause = { .tv_nsec = LOOK_MS * (long)NS_PER_MS };
	int r = 0;

	for (unsigned turn = 0; r == 0; turn++) {
		/* Asked before reading: what was written before the end is there then. */
		bool over = is_over(l) || (turn % 20 == 19 && is_gone(l));

		r = read_on(l);
		if (over)
			break;
		nanosleep(&pause, NULL);
	}
	return r;
}

static int open_log(struct logs *l)
{
	char file[RUN_DETACH_FILE];
	int r;

	if (strchr(l->word, '/'))
		return -ENOENT;
	run_detach_name(l->word, l->name);
	r = ctl_dir_open(&l->dir, NULL);
	if (r < 0)
		return r;
	run_detach_file(file, l->name, "log");
	l->fd = openat(l->dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return l->fd < 0 ? -errno : 0;
}

/* ---- words -------------------------------------------------------------------------- */

/* "10m" ago, or the text itself when it looks like a time. */
static bool parse_time(const char *text, char out[static 32])
{
	static const char units[] = "smhd";
	static const unsigned seconds[] = { 1, 60, 3600, 86400 };
	size_t len = strlen(text);
	const char *unit = len ? strchr(units, text[len - 1]) : NULL;
	uint64_t n;
	time_t when;
	struct tm tm;

	if (unit && uint_parse(text, len - 1, 0, 1000000, &n, NULL) == 0) {
		when = time(NULL) - (time_t)(n * seconds[unit - units]);
		return gmtime_r(&when, &tm) && strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
	}
	if (len < 10 || len > 30 || text[4] != '-' || text[7] != '-')
		return false;
	snprintf(out, 32, "%s", text);
	return true;
}

static bool parse_source(const char *text, enum source *ret)
{
	static const char *const names[] = { "all", "stdout", "stderr", "output", "system" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_eq(text, names[i])) {
			*ret = (enum source)i;
			return true;
		}
	return false;
}

static bool set_value(struct logs *l, const char *option, const char *value)
{
	if (str_eq(option, "--tail") || str_eq(option, "-n"))
		return uint_parse(value, strlen(value), 1, TAIL_MAX, &l->tail, NULL) == 0;
	if (str_eq(option, "--since"))
		return parse_time(value, l->since);
	if (str_eq(option, "--until"))
		return parse_time(value, l->until);
	return str_eq(option, "--source") && parse_source(value, &l->source);
}

/* NULL: there is no such option. */
static const char *what_it_wants(const char *option)
{
	if (str_eq(option, "--tail") || str_eq(option, "-n"))
		return "a number, from 1 to 1000000";
	if (str_eq(option, "--since") || str_eq(option, "--until"))
		return "a time, 2026-01-31T12:00:00Z, or how long ago: 10m, 2h, 3d";
	return str_eq(option, "--source") ? "stdout, stderr, output, system or all" : NULL;
}

static bool set_flag(struct logs *l, const char *word)
{
	if (str_eq(word, "--follow") || str_eq(word, "-f"))
		l->follow = true;
	else if (str_eq(word, "--timestamps") || str_eq(word, "-t"))
		l->times = true;
	else if (str_eq(word, "--json"))
		l->json = true;
	else
		return false;
	return true;
}

/* 0; 1: help; 2: complained of. */
static int parse(int argc, char **argv, struct logs *l)
{
	for (int i = 1; i < argc; i++) {
		char option[32];
		size_t len = strcspn(argv[i], "=");
		const char *value, *wants;

		if (str_eq(argv[i], "--help") || str_eq(argv[i], "-h"))
			return 1;
		if (argv[i][0] != '-' && !l->word) {
			l->word = argv[i];
			continue;
		}
		if (argv[i][0] == '-' && set_flag(l, argv[i]))
			continue;
		snprintf(option, sizeof(option), "%.*s", (int)MIN(len, sizeof(option) - 1), argv[i]);
		value = argv[i][len] ? argv[i] + len + 1 : i + 1 < argc ? argv[++i] : NULL;
		wants = what_it_wants(option);
		if (!wants)
			return ctl_complain(CTL_USAGE,
					    "%s: neither an option nor a second sandbox "
					    "belongs here; see: weir logs --help",
					    option);
		if (!value || !set_value(l, option, value))
			return ctl_complain(CTL_USAGE, "%s%s%s: write %s", option, value ? " " : "",
					    value ? value : "", wants);
	}
	return l->word ? 0 : ctl_complain(CTL_USAGE, "which sandbox? weir ps --all lists them");
}

static void logs_fini(struct logs *l)
{
	fd_close(l->fd);
	fd_close(l->dir);
	buf_fini(&l->waiting);
}

int cmd_logs(int argc, char **argv)
{
	struct logs l = { .dir = -1, .fd = -1, .waiting = BUF_INIT(2 * LINE_MAX_LEN) };
	int r;

	ctl_speak_as(argv[0]);
	r = parse(argc, argv, &l);
	if (r == 1)
		fputs(logs_help, stdout);
	if (r)
		return r == 1 ? CTL_DONE : r;
	r = open_log(&l);
	if (r == 0 && l.tail && !(l.kept = calloc((size_t)l.tail, sizeof(*l.kept))))
		r = -ENOMEM;
	if (r == 0)
		r = read_on(&l);
	if (r == 0)
		r = show_kept(&l);
	if (r == 0 && l.follow)
		r = follow(&l);
	logs_fini(&l);
	if (r == -ENOENT)
		return ctl_complain(CTL_REFUSED, "%s: nothing of that name ran in the background",
				    l.word);
	return r < 0 ? ctl_complain(CTL_REFUSED, "%s: %s", l.word, strerror(-r)) : CTL_DONE;
}

/* ---- of one that is over -------------------------------------------------------------- */

int logs_show_ended(const char *name, int *ret_status)
{
	struct logs l = { .word = name, .dir = -1, .fd = -1, .waiting = BUF_INIT(2 * LINE_MAX_LEN) };
	int r = open_log(&l);

	if (r == 0 && !is_over(&l))
		r = -ENOENT;
	if (r == 0)
		r = read_on(&l);
	if (r == 0)
		*ret_status = run_detach_status(l.dir, l.name);
	logs_fini(&l);
	return r;
}
