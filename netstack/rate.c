/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token buckets of a stack (all flows of a direction) and of classes (the
 * flows of one policy rule). A flow that finds a bucket empty waits in that
 * bucket's queue; a timer serves the queue in order, each flow a few
 * milliseconds' worth, so that many flows share evenly and none starves.
 *
 *     relay ─► rate_allow ─► bytes that may go ─► relay moves them ─► rate_spend
 *                   └► 0: queued ─► timer ─► relay's turn ─► rate_allow ...
 *
 * Counted are payload bytes, and packets of at most one segment's size. Bare
 * acknowledgments, handshakes and ICMP errors cost nothing: starving them
 * would only make the other side send more. Flows that the owner answers
 * itself (its resolver) are left alone; it has budgets of its own.
 */
#include "netstack/netstack_internal.h"

/* Served to one flow at a time while others wait: this part of a second's worth. */
#define QUANTUM_PART 200
#define QUANTUM_MIN 1500
#define QUANTUM_MAX 65536
/* A burst that nobody chose: this part of a second's worth, and at least so much. */
#define BURST_PART 50
#define BURST_MIN 32768
#define PACKET_BURST_MIN 32
/* Above it the arithmetic would not fit; 128 Gbit/s is no limit anybody notices. */
#define RATE_MAX UINT64_C(16000000000)
#define DEPTH_MAX (INT64_MAX / 4)

/* ---- one bucket -------------------------------------------------------------- */

void rate_bucket_set(struct rate_bucket *b, uint64_t per_s, uint64_t depth, uint64_t now)
{
	per_s = MIN(per_s, RATE_MAX);
	depth = MIN(depth, (uint64_t)DEPTH_MAX);
	if (!b->per_s)
		*b = (struct rate_bucket){ .tokens = (int64_t)depth, .last = now };
	else
		b->tokens = MIN(rate_bucket_tokens(b, now), (int64_t)depth);
	b->per_s = per_s;
	b->depth = depth;
}

int64_t rate_bucket_tokens(struct rate_bucket *b, uint64_t now)
{
	uint64_t elapsed = now > b->last ? now - b->last : 0, s, part, earned;

	if (!b->per_s)
		return INT64_MAX;
	s = MIN(elapsed / NS_PER_S, UINT64_C(1000000));
	part = elapsed % NS_PER_S * b->per_s;
	earned = s * b->per_s + part / NS_PER_S;
	if (earned >= (uint64_t)((int64_t)b->depth - b->tokens)) {
		b->tokens = (int64_t)b->depth;
		b->last = now;
	} else if (earned) {
		b->tokens += (int64_t)earned;
		/* What is less than a token stays earned. */
		b->last = now - part % NS_PER_S / b->per_s;
	}
	return b->tokens;
}

void rate_bucket_spend(struct rate_bucket *b, uint64_t n)
{
	if (b->per_s)
		b->tokens = MAX(b->tokens - (int64_t)MIN(n, (uint64_t)DEPTH_MAX), -DEPTH_MAX);
}

uint64_t rate_bucket_wait(struct rate_bucket *b, uint64_t n, uint64_t now)
{
	int64_t have = rate_bucket_tokens(b, now);
	uint64_t missing;

	if (!b->per_s || have >= (int64_t)n)
		return 0;
	missing = (uint64_t)((int64_t)n - have);
	return missing / b->per_s * NS_PER_S +
	       (missing % b->per_s * NS_PER_S + b->per_s - 1) / b->per_s;
}

/* ---- gates -------------------------------------------------------------------- */

static uint64_t quantum(const struct rate_bucket *b, uint64_t least, uint64_t most)
{
	return MIN(MIN(MAX(b->per_s / QUANTUM_PART, least), most), MAX(b->depth, (uint64_t)1));
}

static bool gate_open(struct rate_gate *g)
{
	uint64_t now = ns_now(g->ns);

	return rate_bucket_tokens(&g->bytes, now) > 0 && rate_bucket_tokens(&g->packets, now) > 0;
}

/* When there is enough to be worth a wake-up. */
static void arm(struct rate_gate *g)
{
	uint64_t now = ns_now(g->ns), wait = 1;

	if (!g->n_waiting || loop_timer_armed(&g->timer))
		return;
	wait = MAX(wait,
		   rate_bucket_wait(&g->bytes, quantum(&g->bytes, QUANTUM_MIN, UINT64_MAX), now));
	wait = MAX(wait, rate_bucket_wait(&g->packets, quantum(&g->packets, 1, UINT64_MAX), now));
	loop_timer_set(g->ns->loop, &g->timer, now + wait);
}

static void stop_waiting(struct rate_wait *w)
{
	if (!w->gate)
		return;
	w->gate->n_waiting--;
	w->gate = NULL;
	list_del(&w->node);
}

static void start_waiting(struct rate_gate *g, struct rate_wait *w)
{
	assert(!w->gate);
	w->gate = g;
	g->n_waiting++;
	list_add_tail(&g->waiting, &w->node);
	arm(g);
}

static void resume(struct netstack_flow *f)
{
	if (f->t.proto == NETSTACK_TCP)
		relay_tcp_run(f);
	else
		relay_dgram_resume(f);
}

static void on_timer(struct loop_timer *t)
{
	struct rate_gate *g = container_of(t, struct rate_gate, timer);
	struct netstack *ns = g->ns;
	/* Those that come back to the end of the queue wait for the next time. */
	size_t n = g->n_waiting;

	ns_enter(ns);
	while (n-- && g->n_waiting && !ns->dying && gate_open(g)) {
		struct rate_wait *w = container_of(g->waiting.next, struct rate_wait, node);
		struct netstack_flow *f =
			g->dir == RATE_UP ? container_of(w, struct netstack_flow, rate[RATE_UP])
					  : container_of(w, struct netstack_flow, rate[RATE_DOWN]);

		stop_waiting(w);
		w->turn = true;
		resume(f);
		w->turn = false;
	}
	if (!ns->dying)
		arm(g);
	ns_leave(ns);
}

static void gate_init(struct rate_gate *g, struct netstack *ns, enum rate_dir dir)
{
	g->ns = ns;
	g->dir = dir;
	list_init(&g->waiting);
	g->timer.cb = on_timer;
}

static void gate_set(struct rate_gate *g, const struct netstack_rate *r)
{
	uint64_t burst = r->burst ? r->burst : MAX(r->bytes / BURST_PART, (uint64_t)BURST_MIN);
	uint64_t now = ns_now(g->ns);

	rate_bucket_set(&g->bytes, r->bytes, burst, now);
	rate_bucket_set(&g->packets, r->packets,
			MAX(r->packets / BURST_PART, (uint64_t)PACKET_BURST_MIN), now);
	/* Whoever waits is looked at once more, by the new measure. */
	loop_timer_del(g->ns->loop, &g->timer);
	arm(g);
}

/* Nobody may wait for what is gone: they find out themselves what holds them now. */
static void gate_close(struct rate_gate *g)
{
	loop_timer_del(g->ns->loop, &g->timer);
	while (!list_empty(&g->waiting)) {
		struct rate_wait *w = container_of(g->waiting.next, struct rate_wait, node);

		stop_waiting(w);
	}
}

/* ---- flows ---------------------------------------------------------------------- */

/* What one packet of a flow carries at most. */
static size_t rate_unit(const struct netstack_flow *f)
{
	return f->t.guest.addr.family == 4 ? f->ns->tcp.mss4 : f->ns->tcp.mss6;
}

static bool unrated(const struct netstack_flow *f)
{
	return f->local && !f->t.inbound;
}

static struct rate_gate *gate_of(struct netstack_flow *f, enum rate_dir dir, unsigned i)
{
	if (i == 0)
		return &f->ns->rate[dir];
	return f->class ? &f->class->gate[dir] : NULL;
}

static size_t gate_allow(struct rate_gate *g, const struct rate_wait *w, size_t want, size_t unit)
{
	uint64_t now = ns_now(g->ns);
	int64_t bytes = rate_bucket_tokens(&g->bytes, now);
	int64_t packets = rate_bucket_tokens(&g->packets, now);

	if (bytes <= 0 || packets <= 0 || (g->n_waiting && !w->turn))
		return 0;
	if (g->n_waiting) {
		bytes = MIN(bytes, (int64_t)quantum(&g->bytes, QUANTUM_MIN, QUANTUM_MAX));
		packets = MIN(packets, (int64_t)quantum(&g->packets, 1, QUANTUM_MAX));
	}
	want = MIN((uint64_t)bytes, want);
	return (uint64_t)packets < want / unit + 1 ? MIN(want, (size_t)packets * unit) : want;
}

size_t rate_allow(struct netstack_flow *f, enum rate_dir dir, size_t want)
{
	struct rate_wait *w = &f->rate[dir];

	if (unrated(f))
		return want;
	if (w->gate)
		return 0;
	for (unsigned i = 0; i < 2; i++) {
		struct rate_gate *g = gate_of(f, dir, i);
		size_t n;

		if (!g || (!g->bytes.per_s && !g->packets.per_s))
			continue;
		n = gate_allow(g, w, want, rate_unit(f));
		if (n == 0) {
			f->ns->stats.delayed_rate++;
			start_waiting(g, w);
			return 0;
		}
		want = n;
	}
	return want;
}

void rate_spend(struct netstack_flow *f, enum rate_dir dir, size_t bytes, size_t packets)
{
	if (unrated(f))
		return;
	if (!packets)
		packets = (bytes + rate_unit(f) - 1) / rate_unit(f);
	for (unsigned i = 0; i < 2; i++) {
		struct rate_gate *g = gate_of(f, dir, i);

		if (!g)
			continue;
		rate_bucket_spend(&g->bytes, bytes);
		rate_bucket_spend(&g->packets, packets);
	}
}

bool rate_waiting(const struct netstack_flow *f, enum rate_dir dir)
{
	return f->rate[dir].gate != NULL;
}

bool rate_admit(struct netstack_flow *f, enum rate_dir dir, size_t packets)
{
	if (unrated(f))
		return true;
	for (unsigned i = 0; i < 2; i++) {
		struct rate_gate *g = gate_of(f, dir, i);

		if (g && !gate_open(g)) {
			f->ns->stats.dropped_rate += packets;
			return false;
		}
	}
	return true;
}

void rate_flow_init(struct netstack_flow *f)
{
	list_init(&f->rate[RATE_UP].node);
	list_init(&f->rate[RATE_DOWN].node);
}

static void class_put(struct netstack_class *k)
{
	if (--k->flows || !k->freed)
		return;
	gate_close(&k->gate[RATE_UP]);
	gate_close(&k->gate[RATE_DOWN]);
	list_del(&k->node);
	free(k);
}

void rate_flow_end(struct netstack_flow *f)
{
	/* Other flows may have this one's socket. */
	if (rate_waiting(f, RATE_DOWN) && f->t.proto != NETSTACK_TCP)
		relay_dgram_unpark(f);
	stop_waiting(&f->rate[RATE_UP]);
	stop_waiting(&f->rate[RATE_DOWN]);
	if (f->class)
		class_put(f->class);
	f->class = NULL;
}

/* ---- the stack and its classes ---------------------------------------------------- */

void rate_init(struct netstack *ns)
{
	list_init(&ns->classes);
	gate_init(&ns->rate[RATE_UP], ns, RATE_UP);
	gate_init(&ns->rate[RATE_DOWN], ns, RATE_DOWN);
}

void rate_fini(struct netstack *ns)
{
	gate_close(&ns->rate[RATE_UP]);
	gate_close(&ns->rate[RATE_DOWN]);
	while (!list_empty(&ns->classes)) {
		struct netstack_class *k =
			container_of(ns->classes.next, struct netstack_class, node);

		list_del(&k->node);
		gate_close(&k->gate[RATE_UP]);
		gate_close(&k->gate[RATE_DOWN]);
		free(k);
	}
}

void netstack_set_rates(struct netstack *ns, const struct netstack_rates *r)
{
	gate_set(&ns->rate[RATE_UP], &r->up);
	gate_set(&ns->rate[RATE_DOWN], &r->down);
}

int netstack_class_new(struct netstack *ns, const struct netstack_rates *r,
		       struct netstack_class **ret)
{
	struct netstack_class *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	k->ns = ns;
	list_add_tail(&ns->classes, &k->node);
	gate_init(&k->gate[RATE_UP], ns, RATE_UP);
	gate_init(&k->gate[RATE_DOWN], ns, RATE_DOWN);
	gate_set(&k->gate[RATE_UP], &r->up);
	gate_set(&k->gate[RATE_DOWN], &r->down);
	*ret = k;
	return 0;
}

void netstack_class_free(struct netstack_class *k)
{
	if (!k)
		return;
	k->freed = true;
	k->flows++;
	class_put(k);
}

uint32_t netstack_class_flows(const struct netstack_class *k)
{
	return k->flows;
}

void netstack_flow_set_class(struct netstack_flow *f, struct netstack_class *k)
{
	struct netstack *ns = f->ns;
	bool waited[2];

	if (!flow_live(f) || f->class == k)
		return;
	ns_enter(ns);
	for (int d = RATE_UP; d <= RATE_DOWN; d++) {
		/* What it waited for may not be its matter any more. */
		waited[d] = rate_waiting(f, d);
		stop_waiting(&f->rate[d]);
	}
	if (k)
		k->flows++;
	if (f->class)
		class_put(f->class);
	f->class = k;
	for (int d = RATE_UP; d <= RATE_DOWN; d++)
		if (waited[d])
			start_waiting(&ns->rate[d], &f->rate[d]);
	ns_leave(ns);
}
