/* SPDX-License-Identifier: MIT */
/*
 * bench_pin.c - `sluice bench pin`: how fast pinned memory is had, beside the
 * fastest hand-written way to the same pages and the usual slow one.
 *
 * The ways take turns, and right before each timed run half as much again as
 * it needs is touched and freed: so the pages it gets are already backed by the
 * host of a virtual machine, which takes back what lies free for two seconds,
 * and what is timed is this kernel.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sluice/region.h>

#include "base/clock.h"
#include "commands.h"
#include "numbers.h"
#include "progress.h"
#include "units.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#define MAX_RUNS 1000
#define SIZE_2M (2ull << 20)
#define GIB (1ull << 30)

struct options {
	uint64_t size, page_size, threads, runs;
	int node;
	bool json;
};

/* One way to get memory: seconds of each run. */
struct way {
	double *seconds;
	double median;
};

struct bench {
	const struct options *opt;
	struct slc_ctx *ctx;
	struct slc_region_info info; /* of the last region */
	struct slc_residency where;
	int verify_err;
	int mlock_err; /* why memset + mlock did not lock */
	struct way region, populate, memset;
	/* The limit: zeroing those pages when they are mapped, at its best. */
	double zero_seconds;
	struct slc_progress progress;
	uint64_t done; /* bytes, for the progress line */
};

static void step_done(struct bench *b)
{
	b->done += b->opt->size;
	slc_progress_update(&b->progress, b->done, 0);
}

struct slice {
	pthread_t thread;
	char *addr;
	size_t len;
	int err;
};

static void *populate_slice(void *arg)
{
	struct slice *s = arg;

	s->err = madvise(s->addr, s->len, MADV_POPULATE_WRITE) ? errno : 0;
	return NULL;
}

static void *zero_slice(void *arg)
{
	struct slice *s = arg;

	memset(s->addr, 0, s->len);
	return NULL;
}

/* n threads, each one equal piece in whole huge pages. 0 or an errno. */
static int in_parallel(void *(*work)(void *), char *p, uint64_t len,
		       unsigned int n)
{
	uint64_t each = (len / n + SIZE_2M - 1) / SIZE_2M * SIZE_2M, off = 0;
	struct slice *slices = calloc(n, sizeof(*slices));
	unsigned int started = 0;
	int err = 0;

	if (!slices)
		return ENOMEM;
	for (; started < n && off < len; started++, off += each) {
		struct slice *s = &slices[started];

		s->addr = p + off;
		s->len = len - off < each ? len - off : each;
		err = pthread_create(&s->thread, NULL, work, s);
		if (err)
			break;
	}
	for (unsigned int i = 0; i < started; i++) {
		pthread_join(slices[i].thread, NULL);
		if (slices[i].err)
			err = slices[i].err;
	}
	free(slices);
	return err;
}

/*
 * No kernel gives memory that it has not zeroed: so much of it as the same
 * threads zero of pages that they have is the limit.
 */
static void run_zero(struct bench *b, struct slc_region *r)
{
	double began = slc_now_s(), seconds;

	if (in_parallel(zero_slice, slc_region_addr(r), b->info.len,
			b->info.threads))
		return;
	seconds = slc_now_s() - began;
	if (!b->zero_seconds || seconds < b->zero_seconds)
		b->zero_seconds = seconds;
}

static int run_region(struct bench *b, double *seconds)
{
	struct slc_region_attr attr = {
		.size = sizeof(attr),
		.len = b->opt->size,
		.page_size = b->opt->page_size,
		.node = b->opt->node,
		.threads = (uint32_t)b->opt->threads,
		.name = "bench",
	};
	struct slc_region *r;
	double began = slc_now_s();
	int err;

	err = slc_region_alloc(b->ctx, &attr, &r);
	if (err)
		return slc_cmd_fail(b->ctx, err);
	*seconds = slc_now_s() - began;
	b->info.size = sizeof(b->info);
	slc_region_query(r, &b->info);
	b->where.size = sizeof(b->where);
	b->verify_err = slc_region_verify(r, &b->where);
	run_zero(b, r);
	slc_region_put(r);
	step_done(b);
	return 0;
}


static uint64_t memory_available(void)
{
	uint64_t kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * 1024;
}

/* Touches and frees. A pool's pages stay its own: they need it only once. */
static void warm_up(struct bench *b, bool pool)
{
	uint64_t len = b->opt->size + b->opt->size / 2;
	uint64_t most = memory_available() / 10 * 9;
	char *p;

	if (pool)
		return;
	if (len > most)
		len = most;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0);
	if (p == MAP_FAILED)
		return;
	madvise(p, len, MADV_HUGEPAGE);
	in_parallel(populate_slice, p, len, b->info.threads);
	munmap(p, len);
}

/* By hand: the pages the region got, and nothing else around the populate. */
static int run_populate(struct bench *b, double *seconds)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS, err = 0;
	uint64_t len = b->info.len, page = b->info.page_size, span;
	double began = slc_now_s();
	char *base, *p;

	if (b->info.page_kind == SLC_PAGE_HUGETLB)
		flags |= MAP_HUGETLB | __builtin_ctzll(page) << MAP_HUGE_SHIFT;
	span = len + (b->info.page_kind == SLC_PAGE_THP ? page : 0);
	base = mmap(NULL, span, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (base == MAP_FAILED)
		return slc_cmd_error(-ENOMEM,
				     "bench pin: cannot map %" PRIu64 " bytes by hand: %s",
				     span, strerror(errno));
	p = (char *)(((uintptr_t)base + page - 1) / page * page);
	if (b->info.page_kind == SLC_PAGE_THP)
		madvise(p, len, MADV_HUGEPAGE);
	else if (b->info.page_kind == SLC_PAGE_SMALL)
		madvise(p, len, MADV_NOHUGEPAGE);
	err = in_parallel(populate_slice, p, len, b->info.threads);
	*seconds = slc_now_s() - began;
	munmap(base, span);
	step_done(b);
	return err ? slc_cmd_error(-EIO,
				   "bench pin: MADV_POPULATE_WRITE by hand: %s%s",
				   strerror(err),
				   err == EINVAL ? " (needs Linux 5.14)" : "") :
		     0;
}

static int run_memset(struct bench *b, double *seconds)
{
	uint64_t len = b->info.len;
	double began = slc_now_s();
	char *p;

	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0);
	if (p == MAP_FAILED)
		return slc_cmd_error(-ENOMEM,
				     "bench pin: cannot map %" PRIu64 " bytes: %s",
				     len, strerror(errno));
	madvise(p, len, MADV_NOHUGEPAGE);
	memset(p, 0, len);
	b->mlock_err = mlock(p, len) ? errno : 0;
	*seconds = slc_now_s() - began;
	munmap(p, len);
	step_done(b);
	return 0;
}

/* Keeps the order of v, in which the runs are printed. */
static double median(const double *v, uint64_t n)
{
	double sorted[MAX_RUNS];

	memcpy(sorted, v, n * sizeof(*v));
	return slc_median(sorted, n);
}

/*
 * How many times faster the region was: the median over the rounds, since the
 * two runs of one round saw the same noise of the machine.
 */
static double times_faster(const struct bench *b, const struct way *than)
{
	double ratio[MAX_RUNS];

	for (uint64_t i = 0; i < b->opt->runs; i++)
		ratio[i] = than->seconds[i] / b->region.seconds[i];
	return slc_median(ratio, b->opt->runs);
}

/*
 * Each round: memset, then the other two in an order that changes, as the
 * first after memset finds memory in crumbs.
 */
static int run_all(struct bench *b)
{
	static int (*const run[])(struct bench *, double *) = {
		run_memset, run_region, run_populate
	};
	struct way *ways[] = { &b->memset, &b->region, &b->populate };
	double unused;
	bool pool;
	int err;

	/* Untimed: says what pages there are, and touches a pool's. */
	err = run_region(b, &unused);
	if (err)
		return err;
	pool = b->info.page_kind == SLC_PAGE_HUGETLB;
	for (uint64_t i = 0; i < b->opt->runs; i++)
		for (int turn = 0; turn < 3; turn++) {
			int w = turn && i % 2 ? 3 - turn : turn;

			if (turn == 1)
				warm_up(b, pool);
			warm_up(b, pool && turn);
			err = run[w](b, &ways[w]->seconds[i]);
			if (err)
				return err;
		}
	for (int w = 0; w < 3; w++)
		ways[w]->median = median(ways[w]->seconds, b->opt->runs);
	return 0;
}

static const char *kind_name(uint32_t kind)
{
	return kind == SLC_PAGE_HUGETLB ? "hugetlb" :
	       kind == SLC_PAGE_THP	? "thp" :
					  "small";
}

static const char *pin_name(uint32_t kind)
{
	return kind == SLC_PIN_MLOCK   ? "mlock" :
	       kind == SLC_PIN_HUGETLB ? "hugetlb" :
					 "none";
}

static uint64_t bytes_pinned(const struct bench *b)
{
	if (b->info.pin_kind == SLC_PIN_NONE || b->verify_err)
		return 0;
	return b->where.bytes - b->where.bytes_absent;
}

static double on_node(const struct bench *b)
{
	return b->verify_err ? 0 :
			       (double)b->where.bytes_on_node /
				       (double)b->where.bytes;
}

static json_int_t rate(const struct bench *b, const struct way *w)
{
	return (json_int_t)((double)b->info.len / w->median);
}

static double limit(const struct bench *b)
{
	return b->zero_seconds > 0 ? (double)b->info.len / b->zero_seconds : 0;
}

static double fraction_of_limit(const struct bench *b)
{
	return b->zero_seconds / b->region.median;
}

static json_t *json_way(const struct bench *b, const struct way *w)
{
	json_t *all = json_array();

	for (uint64_t i = 0; i < b->opt->runs; i++)
		json_array_append_new(all, json_real(w->seconds[i]));
	return json_pack("{s:f, s:I, s:o}", "seconds", w->median,
			 "bytes_per_second", rate(b, w),
			 "seconds_each", all);
}

static int print_json(const struct bench *b)
{
	const struct slc_region_info *i = &b->info;
	json_t *o;
	int err;

	o = json_pack(
		"{s:s, s:I, s:I, s:i, s:i, s:s, s:I, s:s, s:s, s:f, s:I, s:I, s:f, s:f, s:f}",
		"command", "bench pin", "bytes", (json_int_t)i->len, "runs",
		(json_int_t)b->opt->runs, "threads", (int)i->threads, "node",
		(int)i->node, "page_kind", kind_name(i->page_kind), "page_size",
		(json_int_t)i->page_size, "pin_kind", pin_name(i->pin_kind),
		"reason", i->reason, "seconds", b->region.median,
		"bytes_per_second", rate(b, &b->region),
		"limit_bytes_per_second", (json_int_t)limit(b),
		"fraction_of_limit", fraction_of_limit(b),
		"fraction_of_parallel_populate",
		times_faster(b, &b->populate), "ratio_to_memset_mlock",
		times_faster(b, &b->memset));
	if (!o)
		return slc_cmd_error(-ENOMEM, "bench pin: no memory for JSON");
	json_object_set_new(o, "on_node_fraction",
			    b->verify_err ? json_null() :
					    json_real(on_node(b)));
	json_object_set_new(o, "bytes_pinned",
			    json_integer((json_int_t)bytes_pinned(b)));
	json_object_set_new(o, "region", json_way(b, &b->region));
	json_object_set_new(o, "parallel_populate", json_way(b, &b->populate));
	json_object_set_new(o, "memset_mlock", json_way(b, &b->memset));
	json_object_set_new(o, "memset_mlock_locked",
			    json_boolean(!b->mlock_err));
	err = json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(o);
	return err ? slc_cmd_error(-EIO, "bench pin: cannot print the JSON") :
		     slc_cmd_flush();
}

static void print_way(const struct bench *b, const char *what,
		      const struct way *w)
{
	double bytes = (double)b->info.len / w->median;

	printf("  %-46s %8.2f %8.2f %9.3f\n", what, bytes / 1e9,
	       bytes / (double)GIB, w->median);
}

static int print_table(const struct bench *b)
{
	const struct slc_region_info *i = &b->info;
	char size[32], page[32], pinned[32], what[64];

	slc_human_bytes(size, sizeof(size), i->len);
	slc_human_bytes(page, sizeof(page), i->page_size);
	slc_human_bytes(pinned, sizeof(pinned), bytes_pinned(b));
	printf("%s, median of %" PRIu64 " runs each, in turn, on memory already touched once\n\n",
	       size, b->opt->runs);
	printf("  %-46s %8s %8s %9s\n", "", "GB/s", "GiB/s", "seconds");
	print_way(b, "sluice region, bound, touched and pinned", &b->region);
	snprintf(what, sizeof(what), "MADV_POPULATE_WRITE by hand, %u thread%s",
		 i->threads, i->threads == 1 ? "" : "s");
	print_way(b, what, &b->populate);
	print_way(b,
		  b->mlock_err ? "4 KiB mmap + memset (mlock refused), 1 thread" :
				 "4 KiB mmap + memset + mlock, 1 thread",
		  &b->memset);
	printf("\n  %.2f of the populate by hand, %.1f times memset + mlock (median of rounds)\n",
	       times_faster(b, &b->populate), times_faster(b, &b->memset));
	printf("  %.0f %% of the limit, %.2f GB/s: what the same threads zero of pages that are mapped\n",
	       100 * fraction_of_limit(b), limit(b) / 1e9);
	printf("  pages: %s %s, %u thread%s; pinned by %s: %s", page,
	       kind_name(i->page_kind), i->threads, i->threads == 1 ? "" : "s",
	       pin_name(i->pin_kind), pinned);
	if (b->verify_err)
		printf("; node not verified: %s\n", slc_last_error(b->ctx));
	else
		printf("; on node %d: %.2f %% of bytes (move_pages)\n", i->node,
		       100 * on_node(b));
	if (i->reason[0])
		printf("  why: %s\n", i->reason);
	if (b->mlock_err)
		printf("  why: mlock after memset was refused: %s (raise it with: ulimit -l %" PRIu64 ")\n",
		       strerror(b->mlock_err), i->len / 1024);
	return slc_cmd_flush();
}

/* Keys past ASCII have no short form. */
enum { KEY_SIZE = 300, KEY_PAGE, KEY_NODE, KEY_THREADS, KEY_RUNS, KEY_JSON };

static const struct argp_option argp_options[] = {
	{ "size", KEY_SIZE, "SIZE", 0,
	  "bytes to get (default: 6G, or a quarter of the memory available)",
	  0 },
	{ "page-size", KEY_PAGE, "SIZE", 0,
	  "4K, 2M or 1G (default: 2M if it can be had)", 0 },
	{ "node", KEY_NODE, "N", 0, "NUMA node (default: the caller's)", 0 },
	{ "threads", KEY_THREADS, "N", 0,
	  "threads that touch (default: one per CPU of the node)", 0 },
	{ "runs", KEY_RUNS, "N", 0, "runs of each way (default: 5)", 0 },
	{ "json", KEY_JSON, NULL, 0, "print one JSON object", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	uint64_t v;

	switch (key) {
	case KEY_SIZE:
		if (slc_parse_size(arg, &o->size) || !o->size)
			argp_error(state, "--size %s: not a size such as 6G",
				   arg);
		return 0;
	case KEY_PAGE:
		if (slc_parse_size(arg, &o->page_size) || !o->page_size)
			argp_error(state, "--page-size %s: use 4K, 2M or 1G",
				   arg);
		return 0;
	case KEY_NODE:
		if (slc_parse_u64(arg, 0, 1023, &v))
			argp_error(state, "--node %s: not a node's number", arg);
		o->node = (int)v;
		return 0;
	case KEY_THREADS:
		if (slc_parse_u64(arg, 1, 4096, &o->threads))
			argp_error(state, "--threads %s: use 1 to 4096", arg);
		return 0;
	case KEY_RUNS:
		if (slc_parse_u64(arg, 1, MAX_RUNS, &o->runs))
			argp_error(state, "--runs %s: use 1 to %d", arg,
				   MAX_RUNS);
		return 0;
	case KEY_JSON:
		o->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is not an option", arg);
		return EINVAL;
	}
	return ARGP_ERR_UNKNOWN;
}

/* A quarter of what is available, 6 GiB at most, in whole huge pages. */
static uint64_t default_size(void)
{
	uint64_t size = memory_available() / 4 / SIZE_2M * SIZE_2M;

	if (!size)
		return GIB;
	return size < 6 * GIB ? size : 6 * GIB;
}

static int bench(struct bench *b)
{
	uint64_t runs = b->opt->runs;
	double *seconds = calloc(3 * runs, sizeof(*seconds));
	int err;

	if (!seconds)
		return slc_cmd_error(-ENOMEM, "bench pin: no memory");
	b->region.seconds = seconds;
	b->populate.seconds = seconds + runs;
	b->memset.seconds = seconds + 2 * runs;
	slc_progress_begin(&b->progress, "pin", (3 * runs + 1) * b->opt->size, 0, 0);
	err = run_all(b);
	slc_progress_end(&b->progress);
	if (!err)
		err = b->opt->json ? print_json(b) : print_table(b);
	free(seconds);
	return err;
}

int slc_cmd_bench_pin(int argc, char **argv)
{
	static const struct argp argp = {
		argp_options, parse, NULL,
		"Times how fast pinned memory is had, beside a hand-written "
		"parallel populate and a plain memset + mlock.",
		NULL, NULL, NULL
	};
	struct options opt = { .node = SLC_NODE_CALLER, .runs = 5 };
	struct bench b = { .opt = &opt };
	int err;

	if (argp_parse(&argp, argc, argv, 0, NULL, &opt))
		return SLC_EXIT_INVALID;
	/* The other ways are ways to host memory: so is this one. */
	unsetenv("SLC_REGIONS");
	if (!opt.size)
		opt.size = default_size();
	if (opt.size > INT64_MAX / (6 * MAX_RUNS))
		return slc_cmd_error(-EINVAL, "--size: more than there can be");
	err = slc_ctx_open(NULL, &b.ctx);
	if (err)
		return slc_cmd_fail(NULL, err);
	err = bench(&b);
	slc_ctx_close(b.ctx);
	return err;
}
