/* SPDX-License-Identifier: MIT */
/* pack.c - sluice pack: checksums of files, kept in a manifest. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <sluice/stream.h>

#include "base/clock.h"
#include "commands.h"
#include "progress.h"
#include "units.h"

struct options {
	const char *out, *format;
	uint64_t record;
	char **paths;
	uint32_t npaths;
};

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
	(void)sig;
	stopped = 1;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'o':
		if (!strcmp(arg, "-"))
			argp_error(state,
				   "-o -: a manifest has an index file beside it, so it cannot go to standard output: name a file, -o NAME.slc.json");
		if (!*arg)
			argp_error(state,
				   "-o \"\": an empty name is no file: say -o NAME.slc.json");
		o->out = arg;
		return 0;
	case 'f':
		o->format = arg;
		return 0;
	case 'r':
		if (slc_parse_size(arg, &o->record) || !o->record)
			argp_error(state, "--record %s: not a size (4096, 64K)",
				   arg);
		return 0;
	case ARGP_KEY_ARGS:
		o->paths = state->argv + state->next;
		o->npaths = (uint32_t)(state->argc - state->next);
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which files? files, folders or a manifest");
		return 0;
	case ARGP_KEY_END:
		if (!o->out)
			argp_error(state, "where to? -o NAME.slc.json");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option long_options[] = {
	{ "output", 'o', "FILE", 0, "The manifest to write: NAME.slc.json", 0 },
	{ "format", 'f', "NAME", 0,
	  "Take every file as safetensors, gguf, npy, megatron, mds, tar or raw "
	  "(default: by name and first bytes)",
	  0 },
	{ "record", 'r', "SIZE", 0, "Bytes of a record, with --format raw", 0 },
	{ 0 },
};

static const struct argp argp = {
	.options = long_options,
	.parser = parse,
	.args_doc = "PATH... -o NAME.slc.json",
	.doc = "Reads every byte of the files, or of the files in folders, and "
	       "writes a manifest: which files, how many samples, the CRC32C of "
	       "each MiB; and beside it NAME.slc.CRC.idx with the CRC32C of "
	       "each sample. \"sluice stream NAME.slc.json\" then checks every "
	       "byte. A PATH that is a manifest stands for the files it lists, "
	       "so that they are packed again.\v"
	       "Example: sluice pack /data/train -o /data/train.slc.json\n\n"
	       "A manifest that is there is replaced at the end in one step; "
	       "when pack fails or is stopped it is as it was.\n\n"
	       "Exit codes: 0 packed, 1 failed (I/O, disk full), 2 usage or "
	       "malformed input.",
};

struct work {
	struct slc_progress progress;
};

static int progress(void *user, uint64_t done, uint64_t total)
{
	struct work *w = user;

	(void)total;
	slc_progress_update(&w->progress, done, 0);
	return stopped;
}

static void print_result(const struct options *o,
			 const struct slc_dataset_info *info, uint64_t ns)
{
	char bytes[32], samples[32], shards[32], rate[48], took[32];

	printf("%s: %s sample%s in %s file%s, %s, read in %s at %s\n", o->out,
	       slc_human_count(samples, sizeof(samples), info->samples),
	       info->samples == 1 ? "" : "s",
	       slc_human_count(shards, sizeof(shards), info->shards),
	       info->shards == 1 ? "" : "s",
	       slc_human_bytes(bytes, sizeof(bytes), info->bytes),
	       slc_human_time(took, sizeof(took), ns),
	       slc_human_rate(rate, sizeof(rate),
			      ns ? (double)info->bytes * 1e9 / (double)ns : 0));
}

static int pack(const struct options *o, struct slc_ctx *ctx,
		struct slc_dataset *ds)
{
	struct slc_dataset_info info = { .size = sizeof(info) };
	struct sigaction stop = { .sa_handler = on_signal };
	struct work w;
	struct slc_pack_attr attr = {
		.size = sizeof(attr), .progress = progress, .user = &w
	};
	uint64_t began = (uint64_t)slc_now_ns();
	int err;

	slc_dataset_query(ds, &info);
	/* Nothing is written yet: until here a signal may simply kill. */
	slc_cmd_on_stop(&stop);
	slc_progress_begin(&w.progress, "pack", info.bytes, 0, 0);
	err = slc_dataset_pack(ds, o->out, &attr);
	slc_progress_end(&w.progress);
	if (err == -ECANCELED) {
		slc_cmd_error(err, "stopped: nothing was written");
		return SLC_EXIT_FAILED;
	}
	if (err == -ESTALE || err == -EFBIG) {
		/* Nothing that was given is wrong: a file changed while it was
		 * read, or one that is written may not grow (ulimit -f). */
		slc_cmd_fail(ctx, err);
		return SLC_EXIT_FAILED;
	}
	if (err)
		return slc_cmd_fail(ctx, err);
	print_result(o, &info, (uint64_t)slc_now_ns() - began);
	return slc_cmd_flush();
}

int slc_cmd_pack(int argc, char **argv)
{
	struct options o = { .npaths = 0 };
	struct slc_dataset_attr attr = { .size = sizeof(attr),
					 .flags = SLC_DATASET_RELIST };
	struct slc_dataset *ds;
	struct slc_ctx *ctx;
	int err;

	err = argp_parse(&argp, argc, argv, 0, NULL, &o);
	if (err)
		return slc_cmd_error(-err, "%s", strerror(err));
	attr.format = o.format;
	attr.record = o.record;
	err = slc_cmd_open(o.paths, o.npaths, &attr, &ctx, &ds);
	if (err)
		return err;
	err = pack(&o, ctx, ds);
	slc_dataset_put(ds);
	slc_ctx_close(ctx);
	return err;
}
