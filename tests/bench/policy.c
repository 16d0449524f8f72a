/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a policy decision takes, by number of rules, and what loading costs.
 *
 *   policy make KIND N > FILE     a policy of N rules: names, prefixes, mixed or doh
 *   policy list N > FILE          N entries of deny_domains
 *   policy load FILE              prints "SECONDS MIB" of loading it, MIB at its peak
 *   policy decide [MAX]           a line "KIND CASE N INDEX_NS WALK_NS" for each measurement
 *
 * A decision is one of 1024 flows in turn: a sandbox's flows are few and come
 * again. The walk over the list (policy_linear_decide) takes turns with the index
 * on the same flows, as the peer; both must agree. CPU time, the least of some
 * timings: what others do on the machine only ever adds.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define FLOWS 1024
#define REPEATS 15
#define WALK_REPEATS 3
#define SLICE_NS 10000000.0

/* DOH is MIXED behind a rule that denies group doh. */
enum kind { NAMES = 0, PREFIXES = 1, MIXED = 2, DOH = 3 };
static const char *const kinds[] = { "names", "prefixes", "mixed", "doh" };

/* A flow hits the rules, misses them, or has not shown its name yet; or it is a DNS query for the name. */
enum flow_case { HIT = 0, MISS = 1, UNKNOWN = 2, QUERY = 3 };
static const char *const cases[] = { "hit", "miss", "unknown", "query" };

static uint64_t number = 1;

/* splitmix64: also as a hash of a rule's number, so that rules can be made again. */
static uint64_t mix(uint64_t z)
{
	z = (z + UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static unsigned pick(size_t n)
{
	number = mix(number);
	return (unsigned)((number >> 16) % n);
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ---- rules ------------------------------------------------------------------------ */

static bool is_name(enum kind kind, size_t i)
{
	return kind == NAMES || (kind >= MIXED && i % 2);
}

/* Three labels, 20 bytes or so; the zone is shared by some. */
static void rule_name(size_t i, char *out, size_t size)
{
	snprintf(out, size, "h%llx.zone%u.example", (unsigned long long)(mix(i) & 0xffffffff),
		 (unsigned)(mix(i) >> 40 & 0xfff));
}

/* /12 to /32, and one in four IPv6, /40 to /72 or a host. */
static struct ip_prefix rule_prefix(size_t i)
{
	uint64_t m = mix(i), host = mix(m);
	uint8_t b[16] = { 0x2a, (uint8_t)(m >> 8), (uint8_t)(m >> 16), (uint8_t)(m >> 24) };
	struct ip_prefix p;

	if (i % 8 < 6) {
		b[0] = (uint8_t)(1 + m % 223);
		p = (struct ip_prefix){ ip_from_be(4, b), (uint8_t)(host % 8 ? 16 + host % 17 : 12) };
		if (p.addr.b[0] == 10 || p.addr.b[0] == 127)
			p.addr.b[0] = 11;
	} else {
		memcpy(b + 4, &host, sizeof(host));
		p = (struct ip_prefix){ ip_from_be(6, b), (uint8_t)(host % 4 ? 40 + host % 33 : 128) };
	}
	for (size_t bit = p.len; bit < ip_size(&p.addr) * 8; bit++)
		p.addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	return p;
}

static const char *rule_dest(enum kind kind, size_t i, char *out, size_t size)
{
	struct ip_prefix p;
	char ip[IP_STRLEN];

	if (is_name(kind, i)) {
		size_t n = (size_t)snprintf(out, size, "%s",
					    i % 10 < 7	 ? ""
					    : i % 10 < 9 ? "."
							 : "*.");

		rule_name(i, out + n, size - n);
		return out;
	}
	p = rule_prefix(i);
	snprintf(out, size, "%s/%u", ip_format(&p.addr, ip), p.len);
	return out;
}

static const char *rule_ports(enum kind kind, size_t i)
{
	static const char *const ports[] = { "", ",\"port\":443", ",\"ports\":[80,443]",
					     ",\"protocol\":\"tcp\",\"port\":\"8000-8099\"" };

	return kind >= MIXED ? ports[mix(i) >> 20 & 3] : "";
}

static void make_policy(enum kind kind, size_t n, FILE *out)
{
	char dest[128];

	fprintf(out, "{\"default_egress\":\"deny\",\"rules\":[\n");
	if (kind == DOH)
		fprintf(out, "{\"action\":\"deny\",\"destination\":\"doh\"},\n");
	for (size_t i = 0; i < n; i++)
		fprintf(out, "%s{\"action\":\"%s\",\"destination\":\"%s\"%s}", i ? ",\n" : "",
			mix(i) >> 33 & 1 ? "allow" : "deny", rule_dest(kind, i, dest, sizeof(dest)),
			rule_ports(kind, i));
	fprintf(out, "]}\n");
}

static void make_list(size_t n, FILE *out)
{
	char name[128];

	fprintf(out, "{\"deny_domains\":[\n");
	for (size_t i = 0; i < n; i++) {
		rule_name(i, name, sizeof(name));
		fprintf(out, "%s\"%s\"", i ? ",\n" : "", name);
	}
	fprintf(out, "]}\n");
}

/* Through a file, as users do. */
static struct policy *load_policy(enum kind kind, size_t n)
{
	char path[] = "/tmp/weir-bench-policy-XXXXXX.json";
	struct conf_error err = { "cannot write a file in /tmp" };
	int fd = mkstemps(path, (int)strlen(".json"));
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
	struct policy *p = NULL;
	int r = -EIO;

	if (f) {
		make_policy(kind, n, f);
		r = fclose(f) == 0 ? policy_load_file(path, &p, &err) : -EIO;
		unlink(path);
	}
	if (r < 0) {
		fprintf(stderr, "policy: %s\n", err.text);
		exit(1);
	}
	return p;
}

/* ---- flows --------------------------------------------------------------------------- */

struct flow {
	struct policy_facts facts;
	struct name name;
};
static struct flow flows[FLOWS];

static struct name name_of(const char *s)
{
	struct name n = { 0 };

	if (name_parse(s, strlen(s), &n, NULL) < 0)
		exit(1);
	return n;
}

/* Of rule i its name, or an address within its prefix. */
static void aim(struct flow *f, enum kind kind, size_t i)
{
	char text[128];
	struct ip_prefix p;

	if (is_name(kind, i)) {
		size_t below = i % 10 >= 7;

		memcpy(text, "www.", below * 4);
		rule_name(i, text + below * 4, sizeof(text) - 4);
		f->name = name_of(text);
		return;
	}
	p = rule_prefix(i);
	f->facts.addr = p.addr;
	for (size_t bit = p.len; bit < ip_size(&p.addr) * 8; bit++)
		f->facts.addr.b[bit / 8] |= (uint8_t)(pick(2) << (7 - bit % 8));
}

static void make_flow(struct flow *f, enum kind kind, enum flow_case c, size_t n)
{
	f->facts =
		(struct policy_facts){ .dir = POLICY_EGRESS,
				       .proto = POLICY_TCP,
				       .addr = ip4(93, 184, (uint8_t)pick(256), (uint8_t)pick(256)),
				       .port = pick(4) ? 443 : 8042,
				       .name = c == UNKNOWN ? POLICY_UNKNOWN : POLICY_KNOWN,
				       .names = &f->name,
				       .n_names = 1,
				       .http = POLICY_NONE };
	f->name = name_of("www.stranger.example");
	aim(f, kind, (c == MISS ? n + 1 : 0) + pick(c == MISS ? 1000000 : n));
}

static void make_flows(enum kind kind, enum flow_case c, size_t n)
{
	for (size_t i = 0; i < FLOWS; i++)
		make_flow(&flows[i], kind, c, n);
}

/* ---- timing ------------------------------------------------------------------------------ */

typedef struct policy_verdict decide_fn(const struct policy *p, const struct policy_facts *f);

static struct policy_verdict query(const struct policy *p, const struct policy_facts *f)
{
	return policy_decide_query(p, f->names);
}

static struct policy_verdict query_walk(const struct policy *p, const struct policy_facts *f)
{
	return policy_linear_query(p, f->names);
}

/* Nanoseconds each, over so many decisions. */
static double time_of(decide_fn *fn, const struct policy *p, size_t count)
{
	static volatile int sink;
	double start = now_ns();

	for (size_t i = 0; i < count; i++)
		sink += fn(p, &flows[i % FLOWS].facts).rule;
	return (now_ns() - start) / (double)count;
}

/* How many fit the slice; a slow one is timed over a few flows. */
static size_t count_of(decide_fn *fn, const struct policy *p)
{
	double each = time_of(fn, p, 8);
	double n = SLICE_NS / (each > 1 ? each : 1);

	return n < 8 ? 8 : n > 4e6 ? 4000000 : (size_t)n;
}

static void keep_less(double *least, double ns)
{
	*least = MIN(*least, ns);
}

static void check_same(const struct policy *p, decide_fn *index, decide_fn *walk)
{
	for (size_t i = 0; i < 16; i++) {
		struct policy_verdict a = index(p, &flows[i].facts);
		struct policy_verdict b = walk(p, &flows[i].facts);

		if (a.rule != b.rule || a.answer != b.answer) {
			fprintf(stderr, "policy: index and walk disagree\n");
			exit(1);
		}
	}
}

static void measure(const struct policy *p, enum kind kind, enum flow_case c, size_t n)
{
	decide_fn *index = c == QUERY ? query : policy_decide;
	decide_fn *walk = c == QUERY ? query_walk : policy_linear_decide;
	double ns = 1e18, walk_ns = 1e18;
	size_t count, walk_count;

	make_flows(kind, c, n);
	check_same(p, index, walk);
	count = count_of(index, p);
	walk_count = count_of(walk, p);
	for (size_t i = 0; i < REPEATS; i++) {
		if (i < WALK_REPEATS)
			keep_less(&walk_ns, time_of(walk, p, walk_count));
		keep_less(&ns, time_of(index, p, count));
	}
	printf("%s %s %zu %.1f %.1f\n", kinds[kind], cases[c], n, ns, walk_ns);
	fflush(stdout);
}

static int decide(size_t max)
{
	for (size_t n = 10; n <= max; n = n == 10 ? 1000 : n == 1000 ? 100000 : n * 10)
		for (int k = NAMES; k <= DOH; k++) {
			struct policy *p = load_policy((enum kind)k, n);

			/* Prefixes say nothing of a query. */
			for (int c = HIT; c <= (k == PREFIXES ? UNKNOWN : QUERY); c++)
				measure(p, (enum kind)k, (enum flow_case)c, n);
			policy_free(p);
		}
	return 0;
}

static int load(const char *path)
{
	struct policy *p = NULL;
	struct conf_error err = { "" };
	struct rusage usage;
	double start = now_ns(), ns;

	if (policy_load_file(path, &p, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	ns = now_ns() - start;
	getrusage(RUSAGE_SELF, &usage);
	printf("%.3f %.1f\n", ns / 1e9, (double)usage.ru_maxrss / 1024);
	policy_free(p);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && str_eq(argv[1], "make"))
		for (int k = NAMES; k <= DOH; k++)
			if (str_eq(argv[2], kinds[k])) {
				make_policy((enum kind)k, strtoul(argv[3], NULL, 10), stdout);
				return 0;
			}
	if (argc == 3 && str_eq(argv[1], "list")) {
		make_list(strtoul(argv[2], NULL, 10), stdout);
		return 0;
	}
	if (argc == 3 && str_eq(argv[1], "load"))
		return load(argv[2]);
	if (argc >= 2 && str_eq(argv[1], "decide"))
		return decide(argc > 2 ? strtoul(argv[2], NULL, 10) : 1000000);
	fprintf(stderr, "usage: policy make KIND N | list N | load FILE | decide [MAX]\n");
	return 2;
}
