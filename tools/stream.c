/* SPDX-License-Identifier: MIT */
/* stream.c - `sluice stream`: samples in order, at the drive's limit. */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <sluice/stream.h>

#include "base/clock.h"
#include "commands.h"
#include "probe.h"
#include "progress.h"
#include "report.h"
#include "stream/token.h"
#include "units.h"

#define VIEWS 256
#define MEMORY_DEFAULT (256ull << 20)

enum {
	OPT_SHUFFLE = 256, OPT_SEED, OPT_EPOCH, OPT_RANK, OPT_WORLD, OPT_BATCH,
	OPT_MEMORY, OPT_DEPTH, OPT_FORMAT, OPT_RECORD, OPT_DROP, OPT_PAD,
	OPT_VERIFY, OPT_NO_CRC, OPT_RESUME, OPT_LIMIT, OPT_STRICT, OPT_BUFFERED,
	OPT_ENGINE, OPT_PAGE, OPT_NODE, OPT_LIST, OPT_JSON, OPT_NO_PROBE,
};

static const struct argp_option options[] = {
	{ "shuffle", OPT_SHUFFLE, "HOW", 0,
	  "none, shard (shards in random order) or full (default: none)", 1 },
	{ "seed", OPT_SEED, "N", 0, "of the shuffle (0)", 1 },
	{ "epoch", OPT_EPOCH, "N", 0, "another order for each epoch (0)", 1 },
	{ "rank", OPT_RANK, "R", 0, "this reader, from 0 (0)", 1 },
	{ "world", OPT_WORLD, "W", 0, "readers in all: each has every W-th (1)",
	  1 },
	{ "batch", OPT_BATCH, "N", 0, "samples per reader and step (1)", 1 },
	{ "drop-last", OPT_DROP, NULL, 0,
	  "drop the last samples that fill no step of all readers", 1 },
	{ "pad", OPT_PAD, NULL, 0,
	  "repeat samples from the start to fill the last step", 1 },
	{ "resume", OPT_RESUME, "TOKEN", 0,
	  "go on where another run stopped, with its order", 1 },
	{ "limit", OPT_LIMIT, "N", 0, "stop after N samples", 1 },
	{ "format", OPT_FORMAT, "NAME", 0,
	  "raw, npy, tar, mds, megatron, safetensors, gguf (default: by name and content)",
	  2 },
	{ "record", OPT_RECORD, "SIZE", 0, "of each record, with --format raw",
	  2 },
	{ "memory", OPT_MEMORY, "SIZE", 0, "pinned at most, all told (256M)",
	  3 },
	{ "depth", OPT_DEPTH, "N", 0, "reads in flight (chosen)", 3 },
	{ "page-size", OPT_PAGE, "SIZE", 0, "of the memory: 4K, 2M, 1G (2M)",
	  3 },
	{ "node", OPT_NODE, "N", 0, "NUMA node of the memory (the caller's)",
	  3 },
	{ "engine", OPT_ENGINE, "NAME", 0, "uring or sync", 3 },
	{ "buffered", OPT_BUFFERED, NULL, 0, "through the page cache", 3 },
	{ "strict", OPT_STRICT, NULL, 0, "a fallback is an error", 3 },
	{ "verify", OPT_VERIFY, NULL, 0,
	  "fail unless a manifest gives checksums", 4 },
	{ "no-crc", OPT_NO_CRC, NULL, 0, "compute no checksums", 4 },
	{ "list", OPT_LIST, NULL, 0,
	  "print key, bytes and CRC32C of each sample, split by tabs (see below)",
	  5 },
	{ "json", OPT_JSON, NULL, 0,
	  "print one JSON object on stdout; with --list on stderr", 5 },
	{ "no-limit-probe", OPT_NO_PROBE, NULL, 0,
	  "do not measure what plain reads reach", 5 },
	{ 0 },
};

struct args {
	struct slc_stream_attr stream;
	struct slc_dataset_attr dataset;
	const char **paths;
	uint32_t npaths;
	uint64_t limit; /* UINT64_MAX: none */
	uint32_t said;	/* SLC_SAID_*: options of the order that were given */
	bool list, json, probe;
};

static volatile sig_atomic_t stop;

#define TOLD_MAX 512

/* The probe's stream and ours say the same of the same: once is enough. */
static void log_once(void *user, enum slc_log_level level, const char *msg)
{
	char *told = user;

	if (level == SLC_LOG_WARN && !strncmp(told, msg, TOLD_MAX - 1))
		return;
	if (level == SLC_LOG_WARN)
		snprintf(told, TOLD_MAX, "%s", msg);
	slc_cmd_log(NULL, level, msg);
}

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

static void want_size(struct argp_state *state, const char *name,
		      const char *arg, uint64_t *out)
{
	if (slc_parse_size(arg, out))
		argp_error(state, "--%s %s: not a size (4096, 64K, 256M)", name,
			   arg);
}

static uint64_t want_u64(struct argp_state *state, const char *name,
			 const char *arg, uint64_t min, uint64_t max)
{
	uint64_t v = min;

	if (slc_parse_u64(arg, min, max, &v))
		argp_error(state, "--%s %s: not a number from %llu to %llu",
			   name, arg, (unsigned long long)min,
			   (unsigned long long)max);
	return v;
}

static uint32_t want_shuffle(struct argp_state *state, const char *arg)
{
	static const char *const names[] = { "none", "shard", "full" };

	for (uint32_t i = 0; i < 3; i++)
		if (!strcmp(arg, names[i]))
			return i;
	argp_error(state, "--shuffle %s: none, shard or full", arg);
	return 0;
}

static void set_tail(struct argp_state *state, struct args *a, uint32_t tail)
{
	if (a->stream.tail && a->stream.tail != tail)
		argp_error(state,
			   "--drop-last and --pad contradict each other");
	a->stream.tail = tail;
	a->said |= SLC_SAID_TAIL;
}

/* The stream sees a 0 that was asked for as nothing asked: it is held against
 * the token here. */
static void check_resume(struct argp_state *state, const struct args *a)
{
	struct slc_token token;
	char why[300];

	if (slc_token_read(a->stream.resume, &token, why, sizeof(why)) ||
	    slc_token_agree(&token, &a->stream, a->said, why, sizeof(why)))
		argp_error(state, "--resume: %s", why);
}

/* The options of the order. */
static error_t parse_order(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	struct slc_stream_attr *s = &a->stream;

	switch (key) {
	case OPT_SHUFFLE:
		s->shuffle = want_shuffle(state, arg);
		a->said |= SLC_SAID_SHUFFLE;
		return 0;
	case OPT_SEED:
		s->seed = want_u64(state, "seed", arg, 0, UINT64_MAX);
		a->said |= SLC_SAID_SEED;
		return 0;
	case OPT_EPOCH:
		s->epoch = want_u64(state, "epoch", arg, 0, UINT64_MAX);
		a->said |= SLC_SAID_EPOCH;
		return 0;
	case OPT_RANK:
		s->rank = (uint32_t)want_u64(state, "rank", arg, 0, UINT32_MAX);
		return 0;
	case OPT_WORLD:
		s->world = (uint32_t)want_u64(state, "world", arg, 1, UINT32_MAX);
		return 0;
	case OPT_BATCH:
		s->batch = (uint32_t)want_u64(state, "batch", arg, 1, UINT32_MAX);
		return 0;
	case OPT_DROP:
		set_tail(state, a, SLC_TAIL_DROP);
		return 0;
	case OPT_PAD:
		set_tail(state, a, SLC_TAIL_PAD);
		return 0;
	case OPT_RESUME:
		s->resume = arg;
		return 0;
	case OPT_LIMIT:
		a->limit = want_u64(state, "limit", arg, 0, UINT64_MAX - 1);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static error_t parse_how(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	struct slc_stream_attr *s = &a->stream;

	switch (key) {
	case OPT_FORMAT:
		a->dataset.format = arg;
		return 0;
	case OPT_RECORD:
		want_size(state, "record", arg, &a->dataset.record);
		if (!a->dataset.record)
			argp_error(state, "--record 0: a record has bytes");
		return 0;
	case OPT_MEMORY:
		want_size(state, "memory", arg, &s->memory);
		if (!s->memory)
			argp_error(state, "--memory 0: a stream needs memory");
		return 0;
	case OPT_DEPTH:
		s->depth = (uint32_t)want_u64(state, "depth", arg, 1, 4096);
		return 0;
	case OPT_PAGE:
		want_size(state, "page-size", arg, &s->page_size);
		return 0;
	case OPT_NODE:
		s->node = (int32_t)want_u64(state, "node", arg, 0, INT32_MAX);
		return 0;
	case OPT_ENGINE:
		s->engine = arg;
		return 0;
	case OPT_BUFFERED:
		s->flags |= SLC_STREAM_BUFFERED;
		return 0;
	case OPT_STRICT:
		s->flags |= SLC_STREAM_STRICT;
		return 0;
	case OPT_VERIFY:
		s->flags |= SLC_STREAM_VERIFY;
		return 0;
	case OPT_NO_CRC:
		s->flags |= SLC_STREAM_NOCRC;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;

	switch (key) {
	case OPT_LIST:
		a->list = true;
		return 0;
	case OPT_JSON:
		a->json = true;
		return 0;
	case OPT_NO_PROBE:
		a->probe = false;
		return 0;
	case ARGP_KEY_ARG:
		a->paths[a->npaths++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->npaths)
			argp_error(state, "which dataset? a manifest, files or folders");
		if (a->list && (a->stream.flags & SLC_STREAM_NOCRC))
			argp_error(state,
				   "--list prints checksums, --no-crc has none");
		if (a->stream.resume)
			check_resume(state, a);
		return 0;
	}
	if (parse_order(key, arg, state) == ARGP_ERR_UNKNOWN)
		return parse_how(key, arg, state);
	return 0;
}

static const struct argp parser = {
	.options = options,
	.parser = parse,
	.args_doc = "DATASET...",
	.doc = "Streams the samples of a dataset into pinned memory, in order and with "
	       "their checksums, and says how fast that was beside plain reads of the "
	       "same files. DATASET is a manifest of sluice pack, files or folders.\v"
	       "Example: sluice stream data.slc.json --shuffle full --seed 1\n\n"
	       "--list prints a line for each sample as it comes: key, bytes of "
	       "payload, CRC32C in hex. In a key a backslash is \\\\ and a control "
	       "byte \\xNN, so that tabs and ends of line are the list's own.\n\n"
	       "--json: bytes is the payload. limit_bytes_per_second is what plain "
	       "reads of the same files reach in this run, null where they were "
	       "not measured; fraction_of_limit is the part of it that the stream "
	       "reached. limit_counts says of which bytes: \"bytes\", or, where a "
	       "shard is compressed, \"bytes_read\", the stored bytes that were "
	       "read from all shards, as the CPU makes the others.\n\n"
	       "Exit codes: 0 done, 1 failed while running (I/O, a checksum, a "
	       "sample too large for the memory, a signal): what was printed "
	       "is good and not all, 2 usage or malformed input: nothing was "
	       "printed.",
};

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct session {
	const struct args *args;
	struct slc_ctx *ctx;
	struct slc_dataset *ds;
	struct slc_stream *stream;
	struct slc_list list;
	char *key;	/* of the sample being listed */
	size_t key_size;
	struct slc_progress progress;
	struct slc_report report;
	struct slc_probe probe;
	char no_limit[512]; /* why a probe failed */
	uint64_t pinned; /* by a probe, at most */
	double limits;	/* the sum of the probes */
	int nlimits;
};

/* The whole key of a view in se->key: its length or -errno. */
static int take_key(struct session *se, const struct slc_view *v)
{
	int got = slc_stream_key(se->stream, v, se->key, se->key_size);
	char *p;

	if (got < 0 || (size_t)got < se->key_size)
		return got;
	p = realloc(se->key, (size_t)got + 1);
	if (!p) {
		se->list.err = -ENOMEM;
		return -ENOMEM;
	}
	se->key = p;
	se->key_size = (size_t)got + 1;
	return slc_stream_key(se->stream, v, se->key, se->key_size);
}

/* Lines of whole samples, and of the last part of the others. */
static int list_views(struct session *se, const struct slc_view *v, int n)
{
	for (int i = 0; i < n; i++) {
		int got;

		if (!(v[i].flags & SLC_VIEW_LAST))
			continue;
		got = take_key(se, &v[i]);
		if (got < 0)
			return got;
		if (slc_list_add(&se->list, se->key, (size_t)got,
				 v[i].flags & SLC_VIEW_PARTIAL ?
					 v[i].sample_len : v[i].payload,
				 v[i].crc))
			return se->list.err;
	}
	return 0;
}

static uint64_t whole(const struct slc_view *v, int n)
{
	uint64_t samples = 0;

	for (int i = 0; i < n; i++)
		samples += v[i].flags & SLC_VIEW_LAST ? 1 : 0;
	return samples;
}

/* 0 at the end, the limit or a signal; else what went wrong. */
static int consume(struct session *se)
{
	const struct args *a = se->args;
	struct slc_view views[VIEWS];
	uint64_t samples = 0, bytes = 0;
	int n, err = 0;

	while (!stop && samples < a->limit && !err) {
		uint64_t room = a->limit - samples;

		n = slc_stream_next(se->stream, views,
				    room < VIEWS ? (uint32_t)room : VIEWS);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n;
		samples += whole(views, n);
		for (int i = 0; i < n; i++)
			bytes += views[i].payload;
		if (a->list)
			err = list_views(se, views, n);
		slc_stream_release(se->stream, views, (uint32_t)n);
		slc_progress_update(&se->progress, bytes, samples);
	}
	return err;
}

static void probe(struct session *se, unsigned int begin)
{
	double rate;

	if (!se->args->probe || stop || !se->probe.access)
		return;
	if (slc_probe_run(&se->probe, begin, &rate, &se->pinned)) {
		/* Told at the end: the stream may fail of the same. */
		snprintf(se->no_limit, sizeof(se->no_limit), "%s",
			 slc_last_error(se->ctx));
		return;
	}
	se->limits += rate;
	se->nlimits++;
}

/* The size and the pattern of the reads that the stream will make. */
static bool has_compressed(const struct slc_dataset *ds)
{
	struct slc_shard_info sh = { .size = sizeof(sh) };

	for (uint64_t i = 0; !slc_dataset_shard(ds, i, &sh); i++)
		if (*sh.codec)
			return true;
	return false;
}

static void plan_probe(struct session *se)
{
	const struct slc_stream_attr *s = &se->args->stream;
	const struct slc_dataset_info *di = &se->report.dataset;
	struct slc_probe *p = &se->probe;
	uint64_t mean = di->samples ? di->bytes / di->samples : 0;
	uint64_t world = s->world ? s->world : 1;

	*p = (struct slc_probe){
		.ctx = se->ctx, .ds = se->ds,
		.buffered = s->flags & SLC_STREAM_BUFFERED,
		.access = 1u << 20, .stride = 1u << 20,
		.memory = s->memory, .page_size = s->page_size,
		.node = s->node, .engine = s->engine, .stop = &stop,
	};
	if (!mean) {
		p->access = 0;
		return;
	}
	/* Neighbours within 4 KiB are read as one. */
	if (s->shuffle == SLC_SHUFFLE_FULL ||
	    (world > 1 && mean * (world - 1) > 4096)) {
		p->random = s->shuffle == SLC_SHUFFLE_FULL;
		p->access = mean < p->access ? mean : p->access;
		p->stride = p->random ? p->access : mean * world;
	}
	if (p->stride < p->access)
		p->stride = p->access;
	/* As the stream does, of whose memory no read takes more. */
	if (p->access > s->memory / 8)
		p->access = s->memory / 8 < 4096 ? 4096 :
			    s->memory / 8 / 4096 * 4096;
	if (p->random && p->access > 4096)
		p->access = p->stride = (p->access + 4095) / 4096 * 4096;
}

/* Keeps what the stream knows and closes it: its memory is the probe's next. */
static void finish(struct session *se, int err)
{
	struct slc_report *r = &se->report;
	struct slc_stream_stats *st = &r->stats;

	if (err && !se->list.err) /* else it is not the library's */
		snprintf(r->error, sizeof(r->error), "%s",
			 slc_last_error(se->ctx));
	slc_stream_stats(se->stream, st);
	for (uint32_t i = 0; i < st->nroutes; i++) {
		snprintf(r->reasons[i], sizeof(r->reasons[i]), "%s",
			 st->routes[i].reason);
		st->routes[i].reason = r->reasons[i];
	}
	slc_stream_token(se->stream, r->resume, sizeof(r->resume));
	r->stopped = stop && !err && st->samples < st->samples_total;
	snprintf(r->memory_reason, sizeof(r->memory_reason), "%s",
		 st->memory_reason);
	st->memory_reason = r->memory_reason;
	slc_stream_close(se->stream);
	se->stream = NULL;
}

static int run_stream(struct session *se)
{
	const struct args *a = se->args;
	struct slc_report *r = &se->report;
	double begin, cpu;
	uint64_t total;
	int err;

	r->stats.size = sizeof(r->stats);
	slc_stream_stats(se->stream, &r->stats);
	total = r->stats.samples_total < a->limit ? r->stats.samples_total :
						    a->limit;
	slc_progress_begin(&se->progress, "stream",
			   r->dataset.samples ?
				   (uint64_t)((double)r->dataset.bytes *
					      (double)total /
					      (double)r->dataset.samples) : 0,
			   total, se->nlimits && !r->inflated ?
				   se->limits / se->nlimits : 0);
	begin = slc_now_s();
	cpu = cpu_seconds();
	err = consume(se);
	r->seconds = slc_now_s() - begin;
	r->cpu_seconds = cpu_seconds() - cpu;
	slc_progress_end(&se->progress);
	finish(se, err);
	return err;
}

/* Prints what was asked for; the exit code. */
static int conclude(struct session *se, int err)
{
	const struct args *a = se->args;
	struct slc_report *r = &se->report;
	int code = SLC_EXIT_OK;

	if (err) {
		if (*r->error) /* else the list tells below */
			slc_cmd_error(err, "%s", r->error);
		code = SLC_EXIT_FAILED;
	}
	if (a->list && slc_list_flush(&se->list)) {
		slc_cmd_error(se->list.err, "cannot write the list: %s",
			      strerror(-se->list.err));
		code = SLC_EXIT_FAILED;
	}
	if (*se->no_limit && !err)
		slc_cmd_warn("the limit could not be measured: %s",
			     se->no_limit);
	if (r->stats.max_pinned_bytes < se->pinned)
		r->stats.max_pinned_bytes = se->pinned;
	if (se->nlimits)
		r->limit = se->limits / se->nlimits;
	if (a->json && slc_report_json(r, a->list ? stderr : stdout))
		code = slc_cmd_error(-ENOMEM, "no memory for the JSON");
	else if (!a->json && !a->list)
		slc_report_table(r, stdout);
	if (r->stopped) {
		fprintf(stderr, "sluice: stopped; resume with --resume %s\n",
			r->resume);
		code = SLC_EXIT_FAILED;
	}
	return code ? code : slc_cmd_flush();
}

/*
 * Only once there is a place in the order to tell: a signal while the dataset
 * opens ends the command at once. No SA_RESTART: a wait ends. RESETHAND: a
 * second signal kills.
 */
static void catch_signals(void)
{
	struct sigaction act = { .sa_handler = on_signal,
				 .sa_flags = SA_RESETHAND };

	slc_cmd_on_stop(&act);
}

static int run(struct session *se)
{
	const struct args *a = se->args;
	double begin = slc_now_s();
	int err;

	err = slc_dataset_open(se->ctx, a->paths, a->npaths, &a->dataset,
			       &se->ds);
	if (err)
		return slc_cmd_fail(se->ctx, err);
	catch_signals();
	se->report.open_seconds = slc_now_s() - begin;
	se->report.dataset.size = sizeof(se->report.dataset);
	slc_dataset_query(se->ds, &se->report.dataset);
	se->report.memory = a->stream.memory;
	se->report.inflated = has_compressed(se->ds);
	se->report.crc = !(a->stream.flags & SLC_STREAM_NOCRC);
	plan_probe(se);
	probe(se, 0);
	begin = slc_now_s();
	err = slc_stream_open(se->ds, &a->stream, &se->stream);
	if (err)
		return slc_cmd_fail(se->ctx, err);
	se->report.open_seconds += slc_now_s() - begin;
	err = run_stream(se);
	if (!err)
		probe(se, 8);
	return conclude(se, err);
}

/* More files at once cost nothing; the library itself never does this. */
static void raise_nofile(void)
{
	struct rlimit lim;

	if (!getrlimit(RLIMIT_NOFILE, &lim) && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

int slc_cmd_stream(int argc, char **argv)
{
	char told[TOLD_MAX] = "";
	const struct slc_ctx_attr ca = { .size = sizeof(ca), .log = log_once,
					 .log_user = told };
	struct args a = { .limit = UINT64_MAX, .probe = true };
	struct session se = { .args = &a };
	int code;

	a.stream.size = sizeof(a.stream);
	a.stream.node = SLC_NODE_CALLER;
	a.stream.memory = MEMORY_DEFAULT;
	a.stream.flags = SLC_STREAM_PARTS;
	a.dataset.size = sizeof(a.dataset);
	a.paths = calloc((size_t)argc + 1, sizeof(*a.paths));
	se.key_size = 4096;
	se.key = malloc(se.key_size);
	if (!a.paths || !se.key || slc_list_init(&se.list))
		return slc_cmd_error(-ENOMEM, "no memory");
	argp_parse(&parser, argc, argv, 0, NULL, &a);
	/* Nobody sees the limit beside a bare list. */
	if (a.list && !a.json)
		a.probe = false;
	raise_nofile();
	code = slc_ctx_open(&ca, &se.ctx) ? slc_cmd_fail(NULL, -ENOMEM) :
					    run(&se);
	slc_stream_close(se.stream);
	slc_dataset_put(se.ds);
	slc_ctx_close(se.ctx);
	slc_list_fini(&se.list);
	free(se.key);
	free(a.paths);
	return code;
}
