/* SPDX-License-Identifier: MIT */
/*
 * stream.c - the samples of a dataset in shuffled order: number, bytes, CRC32C.
 *
 *	cc stream.c -o stream $(pkg-config --cflags --libs sluice)
 *	./stream [-s SEED] PATH...
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sluice/stream.h>

#define BATCH 32

static void on_log(void *user, enum slc_log_level level, const char *msg)
{
	(void)user;
	if (level <= SLC_LOG_WARN)
		fprintf(stderr, "stream: %s\n", msg);
}

/* Takes every sample, prints it, gives its memory back. */
static int drain(struct slc_stream *s)
{
	struct slc_view views[BATCH];
	int n;

	while ((n = slc_stream_next(s, views, BATCH)) != 0) {
		if (n == -EINTR)
			continue;
		if (n < 0)
			return n;
		/* A trainer would use views[i].ptr here, without a copy. */
		for (int i = 0; i < n; i++)
			printf("%" PRIu64 "\t%" PRIu64 "\t%08" PRIx32 "\n",
			       views[i].sample, views[i].payload, views[i].crc);
		slc_stream_release(s, views, (uint32_t)n);
	}
	return 0;
}

static void summary(const struct slc_stream *s)
{
	struct slc_stream_stats st = { .size = sizeof(st) };

	if (slc_stream_stats(s, &st))
		return;
	fprintf(stderr, "%" PRIu64 " samples, %" PRIu64 " bytes, %" PRIu64
		" bytes pinned at most\n",
		st.samples, st.bytes, st.max_pinned_bytes);
	for (uint32_t i = 0; i < st.nroutes; i++)
		fprintf(stderr, "%" PRIu64 " bytes by %s%s%s\n",
			st.routes[i].bytes, slc_route_name(st.routes[i].route),
			*st.routes[i].reason ? ": " : "", st.routes[i].reason);
}

int main(int argc, char **argv)
{
	struct slc_ctx_attr ca = { .size = sizeof(ca), .log = on_log };
	struct slc_stream_attr sa = { .size = sizeof(sa),
				      .shuffle = SLC_SHUFFLE_FULL,
				      .memory = 64u << 20,
				      .node = SLC_NODE_CALLER /* 0 is node 0 */
				    };
	struct slc_ctx *ctx = NULL;
	struct slc_dataset *ds = NULL;
	struct slc_stream *s = NULL;
	int opt, err;

	while ((opt = getopt(argc, argv, "s:")) != -1) {
		if (opt != 's')
			return 2;
		sa.seed = strtoull(optarg, NULL, 0);
	}
	if (optind == argc) {
		fprintf(stderr, "usage: stream [-s SEED] PATH...\n");
		return 2;
	}
	err = slc_ctx_open(&ca, &ctx);
	if (!err)
		err = slc_dataset_open(ctx, (const char *const *)argv + optind,
				       (uint32_t)(argc - optind), NULL, &ds);
	if (!err)
		err = slc_stream_open(ds, &sa, &s);
	if (!err)
		err = drain(s);
	if (err)
		fprintf(stderr, "stream: %s\n", slc_last_error(ctx));
	else
		summary(s);
	slc_stream_close(s);
	slc_dataset_put(ds);
	slc_ctx_close(ctx);
	return err ? 1 : 0;
}
