/* SPDX-License-Identifier: MIT */
/*
 * sluice bench storage: what a stream gets out of a drive, beside fio at its
 * best on the same file in the same run, alternating, medians.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sluice/stream.h>

#include "base/clock.h"
#include "commands.h"
#include "numbers.h"
#include "units.h"

#define GIB (1024.0 * 1024 * 1024)
#define RUNS_MAX 51
#define FIO_HUGE_PAGES 96 /* of 2 MiB: 128 blocks of 1 MiB and some */

/* One row of the table: a way to read the file, and who may do it better. */
struct work {
	const char *name, *what;
	uint64_t block;	     /* bytes of a sample, and of a fio block */
	uint64_t io_bytes;   /* read per run at most; 0: the whole file */
	uint32_t shuffle;    /* enum slc_shuffle */
	uint64_t flags;	     /* SLC_STREAM_* of ours */
	/* What may make fio best at it: the fastest of them is the peer. NULL:
	 * the peer is our own stream with `peer_flags`. */
	const char *const *fio;
	uint64_t peer_flags;
	double bar, cpu_bar; /* of the peer; cpu_bar 0: none */
};

#define FIO_DIRECT "--direct=1 --fixedbufs=1 --registerfiles=1 "

static const char *const fio_sequential[] = {
	FIO_DIRECT "--rw=read --iodepth=4 ",
	FIO_DIRECT "--rw=read --iodepth=8 ",
	FIO_DIRECT "--rw=read --iodepth=16 ",
	NULL,
};
static const char *const fio_random[] = {
	FIO_DIRECT "--rw=randread --iodepth=128 ",
	FIO_DIRECT "--rw=randread --iodepth=128 --iodepth_batch_submit=16 "
		   "--iodepth_batch_complete_min=8 --iodepth_batch_complete_max=128 ",
	FIO_DIRECT "--rw=randread --iodepth=128 --iodepth_batch_submit=32 "
		   "--iodepth_batch_complete_min=16 --iodepth_batch_complete_max=128 ",
	NULL,
};
static const char *const fio_hot[] = {
	"--direct=0 --invalidate=0 --fixedbufs=1 --registerfiles=1 --rw=read --iodepth=4 ",
	"--direct=0 --invalidate=0 --fixedbufs=1 --registerfiles=1 --rw=read --iodepth=16 ",
	NULL,
};
#define CALIBRATE 2 /* runs of each to find the fastest */

static const struct work works[] = {
	{ "seq-1m", "sequential, 1 MiB, CRC off", 1 << 20, 0,
	  SLC_SHUFFLE_NONE, SLC_STREAM_NOCRC,
	  fio_sequential, 0, 0.98, 1.1 },
	{ "seq-1m-crc", "sequential, CRC on against off", 1 << 20, 0,
	  SLC_SHUFFLE_NONE, 0, NULL, SLC_STREAM_NOCRC, 0.95, 0 },
	{ "shuffle-64k", "full shuffle, 64 KiB samples", 64 << 10, 0,
	  SLC_SHUFFLE_FULL, SLC_STREAM_NOCRC,
	  fio_random, 0, 0.97, 1.2 },
	{ "shuffle-4k", "full shuffle, 4 KiB samples", 4 << 10, 1u << 30,
	  SLC_SHUFFLE_FULL, SLC_STREAM_NOCRC,
	  fio_random, 0, 0.95, 1.2 },
	{ "hot-1m", "page cache hot, buffered", 1 << 20, 0, SLC_SHUFFLE_NONE,
	  SLC_STREAM_NOCRC | SLC_STREAM_BUFFERED,
	  fio_hot, 0, 0.9, 0 },
};
#define NWORKS (sizeof(works) / sizeof(works[0]))

struct rate {
	double bytes_per_s, cpu_s_per_gib;
};

struct row {
	const struct work *work;
	struct rate ours[RUNS_MAX], peer[RUNS_MAX];
	struct rate our_median, peer_median;
	double ratio, cpu_ratio; /* medians of the ratios run by run */
	const char *fio_args;	 /* of the fastest */
	uint32_t route;
	char reason[256];
};

struct options {
	const char *file, *dir, *only;
	uint64_t size;
	uint32_t runs, depth;
	bool json, no_fio, huge_set;
	char made[64]; /* the file that we made, by its descriptor */
	int made_fd;
};

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
	(void)sig;
	stopped = 1;
}

/* Ctrl-C ends the run in hand, so that the huge pages are given back. */
static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = stop };

	slc_cmd_on_stop(&sa);
}

static double cpu_s(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec * 1e-6 +
	       (double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec * 1e-6;
}

/* Reads the number in a file of /proc, or -1. */
static long read_number(const char *path)
{
	FILE *f = fopen(path, "re");
	long v = -1;

	if (f) {
		if (fscanf(f, "%ld", &v) != 1)
			v = -1;
		fclose(f);
	}
	return v;
}

static bool write_number(const char *path, long v)
{
	FILE *f = fopen(path, "we");
	bool ok;

	if (!f)
		return false;
	ok = fprintf(f, "%ld\n", v) > 0;
	return !fclose(f) && ok && read_number(path) >= v;
}

static int failed(const char *what)
{
	fprintf(stderr, "sluice: bench storage: %s: %s\n", what,
		slc_last_error(NULL));
	return 1;
}

/* ---- ours ---- */

static int drain(struct slc_stream *s, uint64_t limit, struct rate *out)
{
	struct slc_view views[64];
	uint64_t bytes = 0;
	double t = slc_now_s(), c = cpu_s();
	int n = 0;

	while (bytes < limit && !stopped && (n = slc_stream_next(s, views, 64)) > 0) {
		for (int i = 0; i < n; i++)
			bytes += views[i].len;
		slc_stream_release(s, views, (uint32_t)n);
	}
	if (stopped)
		return 1;
	if (n < 0)
		return failed("streaming");
	out->bytes_per_s = (double)bytes / (slc_now_s() - t);
	out->cpu_s_per_gib = (cpu_s() - c) / ((double)bytes / GIB);
	return 0;
}

static int measure_ours(struct slc_ctx *ctx, const struct options *o,
			struct row *row, uint64_t flags, struct rate *out)
{
	const struct work *w = row->work;
	struct slc_dataset_attr da = { .size = sizeof(da), .format = "raw",
				       .record = w->block };
	struct slc_stream_attr sa = { .size = sizeof(sa), .flags = flags,
				      .shuffle = w->shuffle, .seed = 1,
				      .depth = o->depth,
				      .node = SLC_NODE_CALLER };
	struct slc_stream_stats st = { .size = sizeof(st) };
	struct slc_dataset *ds;
	struct slc_stream *s;
	int err;

	if (slc_dataset_open(ctx, &o->file, 1, &da, &ds))
		return failed("opening the file as a dataset");
	if (slc_stream_open(ds, &sa, &s)) {
		slc_dataset_put(ds);
		return failed("opening a stream");
	}
	err = drain(s, w->io_bytes ? w->io_bytes : UINT64_MAX, out);
	slc_stream_stats(s, &st);
	row->route = st.nroutes ? st.routes[0].route : SLC_ROUTE_NONE;
	snprintf(row->reason, sizeof(row->reason), "%s",
		 st.nroutes ? st.routes[0].reason : "");
	slc_stream_close(s);
	slc_dataset_put(ds);
	return err;
}

/* ---- fio ---- */

static int parse_fio(const char *text, struct rate *out)
{
	json_t *root = json_loads(text, 0, NULL), *job, *rd;
	double seconds, bytes, cpu;

	job = json_array_get(json_object_get(root, "jobs"), 0);
	rd = json_object_get(job, "read");
	seconds = json_number_value(json_object_get(rd, "runtime")) / 1e3;
	bytes = json_number_value(json_object_get(rd, "io_bytes"));
	cpu = (json_number_value(json_object_get(job, "usr_cpu")) +
	       json_number_value(json_object_get(job, "sys_cpu"))) / 100 *
	      json_number_value(json_object_get(job, "job_runtime")) / 1e3;
	json_decref(root);
	if (!(seconds > 0) || !(bytes > 0))
		return -EBADMSG;
	out->bytes_per_s = bytes / seconds;
	out->cpu_s_per_gib = cpu / (bytes / GIB);
	return 0;
}

static int measure_fio(const struct options *o, const struct work *w,
		       const char *args, struct rate *out)
{
	static char text[1 << 17];
	char cmd[2048], amount[64] = "";
	size_t n;
	FILE *p;

	if (w->io_bytes)
		snprintf(amount, sizeof(amount), "--io_size=%llu",
			 (unsigned long long)w->io_bytes);
	/* The file's name goes through the environment: no quoting. */
	setenv("SLC_BENCH_FILE", o->file, 1);
	snprintf(cmd, sizeof(cmd),
		 "fio --name=peer --filename=\"$SLC_BENCH_FILE\" --readonly --thread --ioengine=io_uring --bs=%llu %s %s %s --output-format=json",
		 (unsigned long long)w->block, args,
		 o->huge_set ? "--iomem=mmaphuge --hugepage-size=2m" :
			       "--iomem=mmap", amount);
	p = popen(cmd, "re");
	if (!p)
		return -errno;
	n = fread(text, 1, sizeof(text) - 1, p);
	text[n] = '\0';
	if (pclose(p) || stopped || parse_fio(text, out)) {
		if (stopped)
			return -EINTR;
		fprintf(stderr, "sluice: bench storage: fio failed: %s\n%.300s\n",
			cmd, text);
		return -EIO;
	}
	return 0;
}

/* ---- the file ---- */

static int write_random(int fd, const char *path, uint64_t size)
{
	static uint64_t buf[(1 << 20) / 8];
	uint64_t state = 42;

	for (uint64_t done = 0; done < size; done += sizeof(buf)) {
		ssize_t n;

		if (stopped)
			return 1;
		/* Incompressible. */
		for (size_t i = 0; i < sizeof(buf) / 8; i++)
			buf[i] = slc_random64(&state);
		n = write(fd, buf, sizeof(buf));
		if (n == (ssize_t)sizeof(buf))
			continue;
		fprintf(stderr, "sluice: bench storage: writing %s: %s: try a smaller --size or another --dir\n",
			path, strerror(n < 0 ? errno : ENOSPC));
		return 1;
	}
	if (fsync(fd)) {
		fprintf(stderr, "sluice: bench storage: fsync of %s: %s\n",
			path, strerror(errno));
		return 1;
	}
	return 0;
}

/*
 * The file has no name from the start, so that nothing can leave it behind;
 * fio opens it by our descriptor.
 */
static int make_file(struct options *o)
{
	char name[4096];

	snprintf(name, sizeof(name), "%s/sluice-bench-XXXXXX", o->dir);
	o->made_fd = mkostemp(name, O_CLOEXEC);
	if (o->made_fd < 0) {
		fprintf(stderr, "sluice: bench storage: cannot make a file in %s: %s: name another folder with --dir\n",
			o->dir, strerror(errno));
		return 1;
	}
	unlink(name);
	snprintf(o->made, sizeof(o->made), "/proc/%d/fd/%d", (int)getpid(),
		 o->made_fd);
	o->file = o->made;
	return write_random(o->made_fd, o->dir, o->size);
}

/* Puts the file into the page cache (hot) or out of it. */
static void set_cached(const char *path, bool hot)
{
	static char buf[1 << 20];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (hot)
		while (read(fd, buf, sizeof(buf)) > 0)
			;
	else
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
}

/* ---- running ---- */

/* Which of the ways of fio is the fastest here and now. */
static int calibrate(const struct options *o, struct row *row)
{
	double best = 0;

	for (const char *const *args = row->work->fio; *args; args++) {
		double sum = 0;

		for (int i = 0; i < CALIBRATE; i++) {
			struct rate r;

			if (measure_fio(o, row->work, *args, &r))
				return 1;
			sum += r.bytes_per_s;
		}
		if (sum > best) {
			best = sum;
			row->fio_args = *args;
		}
	}
	return 0;
}

static bool has_peer(const struct options *o, const struct work *w)
{
	return !w->fio || !o->no_fio;
}

static int measure_peer(struct slc_ctx *ctx, const struct options *o,
			struct row *row, struct rate *out)
{
	if (!row->work->fio)
		return measure_ours(ctx, o, row, row->work->peer_flags, out);
	return o->no_fio ? 0 : measure_fio(o, row->work, row->fio_args, out);
}

static int run_row(struct slc_ctx *ctx, const struct options *o,
		   struct row *row)
{
	double v[4][RUNS_MAX], r[2][RUNS_MAX];
	const struct work *w = row->work;

	set_cached(o->file, w->flags & SLC_STREAM_BUFFERED);
	if (w->fio && !o->no_fio && calibrate(o, row))
		return 1;
	for (uint32_t i = 0; i < o->runs; i++) {
		/* Who goes first changes: neither always follows the other. */
		for (uint32_t k = 0; k < 2; k++)
			if ((i + k) % 2 ? measure_peer(ctx, o, row,
						       &row->peer[i]) :
					  measure_ours(ctx, o, row, w->flags,
						       &row->ours[i]))
				return 1;
		v[0][i] = row->ours[i].bytes_per_s;
		v[1][i] = row->ours[i].cpu_s_per_gib;
		v[2][i] = row->peer[i].bytes_per_s;
		v[3][i] = row->peer[i].cpu_s_per_gib;
		r[0][i] = v[2][i] > 0 ? v[0][i] / v[2][i] : 0;
		r[1][i] = v[3][i] > 0 ? v[1][i] / v[3][i] : 0;
	}
	row->our_median = (struct rate){ slc_median(v[0], o->runs),
					 slc_median(v[1], o->runs) };
	row->peer_median = (struct rate){ slc_median(v[2], o->runs),
					 slc_median(v[3], o->runs) };
	row->ratio = slc_median(r[0], o->runs);
	row->cpu_ratio = slc_median(r[1], o->runs);
	return 0;
}

static void print_head(const struct options *o)
{
	printf("%llu bytes, %u runs each, alternating, medians; %s\n",
	       (unsigned long long)o->size, o->runs,
	       o->no_fio ? "without fio: no limit is measured" :
	       o->huge_set ? "the limit is fio at its fastest, with huge pages, fixed buffers, registered files" :
			     "the limit is fio with base pages: no huge pages could be reserved for it");
	printf("%-30s %25s %6s", "work", "sluice", "s/GiB");
	printf(" %10s %6s %7s %5s", "peer", "s/GiB", "of peer", "CPU");
	printf("  route\n");
}

static void print_row(const struct options *o, const struct row *r)
{
	printf("%-30s %6.2f GB/s (%5.2f GiB/s) %6.3f", r->work->what,
	       r->our_median.bytes_per_s / 1e9,
	       r->our_median.bytes_per_s / GIB, r->our_median.cpu_s_per_gib);
	if (has_peer(o, r->work))
		printf(" %5.2f GB/s %6.3f %6.1f%% %4.2fx",
		       r->peer_median.bytes_per_s / 1e9,
		       r->peer_median.cpu_s_per_gib, r->ratio * 100,
		       r->cpu_ratio);
	printf("  %s%s%s\n", slc_route_name(r->route),
	       r->reason[0] ? ": " : "", r->reason);
	fflush(stdout);
}

static json_t *rates_json(const struct rate *r, uint32_t n,
			  const struct rate *mid)
{
	json_t *rates = json_array(), *cpus = json_array();

	for (uint32_t i = 0; i < n; i++) {
		json_array_append_new(rates, json_real(r[i].bytes_per_s));
		json_array_append_new(cpus, json_real(r[i].cpu_s_per_gib));
	}
	return json_pack("{s:f,s:f,s:o,s:o}", "bytes_per_second",
			 mid->bytes_per_s, "cpu_seconds_per_gib",
			 mid->cpu_s_per_gib, "runs_bytes_per_second", rates,
			 "runs_cpu_seconds_per_gib", cpus);
}

static json_t *row_json(const struct options *o, const struct row *r)
{
	json_t *j = json_pack("{s:s,s:s,s:I,s:s,s:s,s:o}", "work",
			      r->work->name, "what", r->work->what, "block",
			      (json_int_t)r->work->block, "route",
			      slc_route_name(r->route), "reason", r->reason,
			      "sluice", rates_json(r->ours, o->runs,
						   &r->our_median));

	if (!has_peer(o, r->work))
		return j;
	json_object_set_new(j, "peer_name", json_string(r->work->fio ?
			    "fio" : "sluice, CRC off"));
	json_object_set_new(j, "peer", rates_json(r->peer, o->runs,
						 &r->peer_median));
	if (r->fio_args)
		json_object_set_new(j, "fio_arguments",
				    json_string(r->fio_args));
	json_object_set_new(j, "limit_bytes_per_second",
			    json_real(r->peer_median.bytes_per_s));
	json_object_set_new(j, "fraction_of_limit", json_real(r->ratio));
	json_object_set_new(j, "cpu_ratio", json_real(r->cpu_ratio));
	json_object_set_new(j, "bar", json_real(r->work->bar));
	json_object_set_new(j, "cpu_bar", r->work->cpu_bar > 0 ?
			    json_real(r->work->cpu_bar) : json_null());
	return j;
}

static bool wanted(const struct options *o, const struct work *w)
{
	return !o->only || strstr(w->name, o->only);
}

static int run_all(struct slc_ctx *ctx, struct options *o)
{
	static struct row rows[NWORKS];
	json_t *list = json_array();
	int err = 0;

	if (!o->json)
		print_head(o);
	for (size_t i = 0; i < NWORKS && !err; i++) {
		if (!wanted(o, &works[i]))
			continue;
		rows[i].work = &works[i];
		err = run_row(ctx, o, &rows[i]);
		if (!err && !o->json)
			print_row(o, &rows[i]);
		if (!err)
			json_array_append_new(list, row_json(o, &rows[i]));
	}
	if (!err && o->json) {
		json_t *top = json_pack("{s:s,s:I,s:i,s:b,s:O}", "file",
					o->file, "bytes", (json_int_t)o->size,
					"runs", (int)o->runs, "fio_huge_pages",
					o->huge_set, "works", list);

		json_dumpf(top, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
		putchar('\n');
		json_decref(top);
	}
	json_decref(list);
	return err;
}

static const char doc[] =
	"Measures what a stream gets out of the drive below FILE (or below a temporary file of random data), beside fio at its best on the same file in the same run (checksums on: beside checksums off): alternating, medians, O_DIRECT except for the hot row.\v"
	"Columns: rate, CPU seconds per GiB, the same of the peer, the fraction of the peer's rate, CPU as a multiple of the peer's.\n"
	"fio gets huge pages, fixed buffers and registered files, at the queue depth or batching that is fastest on this file now; as root, huge pages are reserved for it during the run.\n\n"
	"Example: sluice bench storage --size 4G --runs 5 --json\n\n"
	"Exit status: 0 measured, 1 failed at run time, 2 bad usage.";

static const struct argp_option argp_options[] = {
	{ "size", 's', "SIZE", 0, "Bytes of the temporary file (4G)", 0 },
	{ "dir", 'd', "DIR", 0, "Where to make it (the current folder)", 0 },
	{ "runs", 'r', "N", 0, "Runs of each side, 1 to 51 (5)", 0 },
	{ "only", 'o', "NAME", 0, "Only works whose name holds NAME: seq-1m, seq-1m-crc, shuffle-64k, shuffle-4k, hot-1m", 0 },
	{ "depth", 'q', "N", 0, "I/Os in flight of ours (chosen by the stream)", 0 },
	{ "no-fio", 'n', NULL, 0, "Measure ours only", 0 },
	{ "json", 'j', NULL, 0, "One JSON object on stdout", 0 },
	{ 0 },
};

static uint32_t parse_count(const char *arg, uint64_t max,
			    struct argp_state *state)
{
	uint64_t v = 0;

	if (slc_parse_u64(arg, 1, max, &v))
		argp_error(state, "'%s': want a number from 1 to %llu", arg,
			   (unsigned long long)max);
	return (uint32_t)v;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 's':
		if (slc_parse_size(arg, &o->size) || o->size < (1 << 20) ||
		    o->size % (1 << 20))
			argp_error(state, "--size %s: want a multiple of 1M such as 4G", arg);
		return 0;
	case 'd':
		o->dir = arg;
		return 0;
	case 'r':
		o->runs = parse_count(arg, RUNS_MAX, state);
		return 0;
	case 'q':
		o->depth = parse_count(arg, 4096, state);
		return 0;
	case 'o':
		o->only = arg;
		for (size_t i = 0; i < NWORKS; i++)
			if (wanted(o, &works[i]))
				return 0;
		argp_error(state, "--only %s: no work has that name", arg);
		return 0;
	case 'n':
		o->no_fio = true;
		return 0;
	case 'j':
		o->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (o->file)
			argp_error(state, "one FILE at most");
		o->file = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* 0, or 2 after saying why FILE is none. */
static int check_file(struct options *o)
{
	struct stat st;

	if (!o->file)
		return 0;
	if (stat(o->file, &st)) {
		fprintf(stderr, "sluice: bench storage: %s: %s\n", o->file,
			strerror(errno));
		return 2;
	}
	if (!S_ISREG(st.st_mode) || st.st_size < (1 << 20) ||
	    st.st_size % (1 << 20)) {
		fprintf(stderr, "sluice: bench storage: %s: want a regular file of a multiple of 1 MiB, or no FILE: then one is made\n",
			o->file);
		return 2;
	}
	o->size = (uint64_t)st.st_size;
	return 0;
}

int slc_cmd_bench_storage(int argc, char **argv)
{
	static const char huge[] = "/proc/sys/vm/nr_hugepages";
	static const struct argp argp = { argp_options, parse, "[FILE]", doc,
					  NULL, NULL, NULL };
	struct options o = { .dir = ".", .size = 4ull << 30, .runs = 5,
			     .made_fd = -1 };
	struct slc_ctx *ctx;
	long pages_before;
	int err;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	err = check_file(&o);
	if (err)
		return err;
	if (!o.no_fio && system("command -v fio >/dev/null 2>&1")) {
		slc_cmd_warn("bench storage: fio is not installed, so no limit is measured: apt-get install fio (or --no-fio)");
		o.no_fio = true;
	}
	if (slc_ctx_open(NULL, &ctx))
		return failed("context");
	catch_signals();
	pages_before = read_number(huge);
	if (!o.no_fio && pages_before >= 0)
		o.huge_set = pages_before >= FIO_HUGE_PAGES ||
			     write_number(huge, FIO_HUGE_PAGES);
	err = o.file ? 0 : make_file(&o);
	if (!err)
		err = run_all(ctx, &o) ? 1 : 0;
	if (o.made_fd >= 0)
		close(o.made_fd);
	if (o.huge_set && pages_before < FIO_HUGE_PAGES)
		write_number(huge, pages_before);
	slc_ctx_close(ctx);
	return err;
}
