/* SPDX-License-Identifier: MIT */
#include "stream/collect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/crew.h"
#include "base/ctx.h"
#include "base/open.h"
#include "stream/dataset.h"
#include "stream/listing.h"
#include "stream/packed_file.h"
#include "stream/source_file.h"
#include "stream/walk.h"

#define HEAD_BYTES 512
#define HEADS 1024 /* of as many files at a time */

static const uint8_t megatron_magic[9] = "MMIDIDX\0";

static void found_fini(struct slc_found *f)
{
	free(f->path);
	free(f->idx);
	free(f->extent_crc);
	free(f->sample_crc);
	free(f->words);
}

void slc_finds_fini(struct slc_finds *finds)
{
	for (uint64_t i = 0; i < finds->n; i++)
		found_fini(&finds->v[i]);
	free(finds->v);
	memset(finds, 0, sizeof(*finds));
}

struct slc_found *slc_finds_add(struct slc_finds *finds)
{
	struct slc_found *f;

	if (finds->n == finds->cap) {
		uint64_t cap = finds->cap ? finds->cap * 2 : 16;

		f = realloc(finds->v, cap * sizeof(*f));
		if (!f)
			return NULL;
		finds->v = f;
		finds->cap = cap;
	}
	f = &finds->v[finds->n++];
	memset(f, 0, sizeof(*f));
	f->bytes = f->samples = f->inflated = SLC_SIZE_UNKNOWN;
	return f;
}

char *slc_path_beside(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');
	int n = slash ? (int)(slash - path + 1) : 0;
	char *out;

	if (name[0] == '/')
		n = 0;
	return asprintf(&out, "%.*s%s", n, path, name) < 0 ? NULL : out;
}

int slc_read_whole(struct slc_ctx *ctx, const char *path, uint64_t max,
		   uint8_t **out, uint64_t *len)
{
	struct slc_source_file src;
	uint8_t *bytes;
	int64_t got;
	int err;

	err = slc_source_file_open(ctx, path, &src);
	if (err)
		return err;
	if (src.base.size > max) {
		err = slc_fail(ctx, -EFBIG,
			       "%s has %llu bytes: a file of its kind has at most %llu",
			       path, (unsigned long long)src.base.size,
			       (unsigned long long)max);
		goto close_src;
	}
	bytes = malloc(src.base.size + 1);
	if (!bytes) {
		err = slc_fail(ctx, -ENOMEM, "no memory to read %s", path);
		goto close_src;
	}
	got = src.base.read(&src.base, 0, bytes, src.base.size);
	if (got < 0) {
		err = slc_fail(ctx, (int)got, "cannot read %s: %s", path,
			       strerror((int)-got));
		free(bytes);
		goto close_src;
	}
	bytes[got] = 0;
	*out = bytes;
	*len = (uint64_t)got;
close_src:
	slc_source_file_close(&src);
	return err;
}

int slc_fail_parse(struct slc_ctx *ctx, int err, const char *path,
		   const char *format, const struct slc_diag *diag)
{
	if (err == -ENOMEM)
		return slc_fail(ctx, err, "%s: %s: no memory for its index",
				path, format);
	if (!diag->what[0])
		return slc_fail(ctx, err, "%s: %s: cannot read it: %s", path,
				format, strerror(-err));
	return slc_fail(ctx, err, "%s: %s: offset %llu: %s", path, format,
			(unsigned long long)diag->off, diag->what);
}

/* ---- one file ---- */

struct head {
	uint8_t bytes[HEAD_BYTES];
	size_t n;
	bool there; /* has been read */
};

static int read_head(struct slc_ctx *ctx, const char *path, struct head *head)
{
	struct slc_source_file src;
	int64_t got;
	int err;

	if (head->there)
		return 0;
	err = slc_source_file_open(ctx, path, &src);
	if (err)
		return err;
	got = src.base.read(&src.base, 0, head->bytes, HEAD_BYTES);
	if (got < 0)
		err = slc_fail(ctx, (int)got, "cannot read %s: %s", path,
			       strerror((int)-got));
	head->there = got >= 0;
	head->n = got < 0 ? 0 : (size_t)got;
	slc_source_file_close(&src);
	return err;
}

static bool ends_with(const char *path, const char *ending)
{
	size_t n = strlen(path), m = strlen(ending);

	return n > m && !strcasecmp(path + n - m, ending);
}

static bool starts_with(const struct head *head, const void *bytes, size_t n)
{
	return head->n >= n && !memcmp(head->bytes, bytes, n);
}

static uint32_t codec_of_name(const char *path)
{
	if (ends_with(path, ".gz") || ends_with(path, ".tgz"))
		return SLC_CODEC_GZIP;
	if (ends_with(path, ".zst") || ends_with(path, ".zstd"))
		return SLC_CODEC_ZSTD;
	return SLC_CODEC_NONE;
}

/* The other file of a Megatron pair: malloc'd. */
static char *partner(const char *path, const char *ending)
{
	char *out;

	if (asprintf(&out, "%.*s%s", (int)strlen(path) - 4, path, ending) < 0)
		return NULL;
	return out;
}

static bool exists(const char *path)
{
	struct stat st;

	return !stat(path, &st);
}

static int no_memory(struct slc_ctx *ctx, const char *path)
{
	return slc_fail(ctx, -ENOMEM, "no memory to open %s", path);
}

static int add_found(struct slc_ctx *ctx, const char *path, const char *idx,
		     const struct slc_format *format, uint32_t codec,
		     uint64_t record, struct slc_finds *finds)
{
	struct slc_found *f = slc_finds_add(finds);

	if (!f)
		return no_memory(ctx, path);
	f->path = strdup(path);
	f->idx = idx ? strdup(idx) : NULL;
	if (!f->path || (idx && !f->idx))
		return no_memory(ctx, path);
	f->format = format;
	f->codec = codec;
	f->record = record;
	return 0;
}

/*
 * An index without its data: what is wrong with the index itself comes before
 * what it lacks. Never 0.
 */
static int lone_idx(struct slc_ctx *ctx, const char *path, const char *data)
{
	struct slc_diag diag = { .off = 0 };
	struct slc_table table = { 0 };
	struct slc_source_file src;
	struct slc_parse in = { .src = &src.base, .data_size = INT64_MAX };
	int err = slc_source_file_open(ctx, path, &src);

	if (err)
		return err;
	err = slc_format_megatron.parse(&in, &table, &diag);
	slc_table_fini(&table);
	slc_source_file_close(&src);
	if (err)
		return slc_fail_parse(ctx, err, path, "megatron", &diag);
	return slc_fail(ctx, -ENOENT,
			"%s is a Megatron index, and its data %s is missing",
			path, data);
}

/*
 * Either file of a pair stands for both; in a folder the .idx brings the pair
 * and the .bin is passed over. 1 taken, 0 no pair.
 */
static int take_pair(struct slc_ctx *ctx, const char *path,
		     const struct head *head, bool forced, bool in_folder,
		     struct slc_finds *finds)
{
	bool is_idx = ends_with(path, ".idx"), both;
	char *other;
	int err = 1;

	if (!is_idx && !ends_with(path, ".bin")) {
		if (!forced || in_folder)
			return 0;
		return slc_fail(ctx, -EINVAL,
				"%s: a Megatron dataset is a pair NAME.bin and NAME.idx: name either",
				path);
	}
	other = partner(path, is_idx ? ".bin" : ".idx");
	if (!other)
		return no_memory(ctx, path);
	both = exists(other);
	if (is_idx) {
		/* Other tools write .idx files too. */
		if (!both && in_folder && !forced &&
		    !starts_with(head, megatron_magic, sizeof(megatron_magic)))
			err = 0;
		else if (!both)
			err = lone_idx(ctx, path, other);
	} else if (!both) {
		err = 0;
		if (!in_folder)
			err = slc_fail(ctx, -ENOENT,
				       "%s has no Megatron index %s beside it: add it, or say --format raw --record SIZE",
				       path, other);
	}
	if (err > 0 && !(in_folder && !is_idx)) {
		int add = add_found(ctx, is_idx ? other : path,
				    is_idx ? path : other, &slc_format_megatron,
				    SLC_CODEC_NONE, 0, finds);
		if (add)
			err = add;
	}
	free(other);
	return err;
}

static int check_codec(struct slc_ctx *ctx, const char *path,
		       const struct slc_format *format, uint32_t codec)
{
	if (!codec || format == &slc_format_tar || format == &slc_format_mds)
		return 0;
	return slc_fail(ctx, -EINVAL,
			"%s: compressed %s is not read, only compressed tar and mds: decompress it first",
			path, format->name);
}

/* 1 taken, 0 not of a known format (only in a folder), or -errno. */
static int take_file(struct slc_ctx *ctx, const char *path, struct head *head,
		     const struct slc_taking *how, bool in_folder,
		     struct slc_finds *finds)
{
	const struct slc_format *format = how->format;
	uint32_t codec;
	int err;

	err = read_head(ctx, path, head);
	if (err)
		return err;
	if (format == &slc_format_raw) {
		err = add_found(ctx, path, NULL, format, SLC_CODEC_NONE,
				how->record, finds);
		return err ? err : 1;
	}
	if (!format || format == &slc_format_megatron) {
		err = take_pair(ctx, path, head, format != NULL, in_folder,
				finds);
		if (err)
			return err;
	}
	if (!format)
		format = slc_format_detect(path, head->bytes, head->n);
	/* Records have no look of their own: raw is only by wish. */
	if (!format || format == &slc_format_raw ||
	    format == &slc_format_megatron) {
		if (in_folder)
			return 0;
		return slc_fail(ctx, -EINVAL,
				"%s: its format is not known by name or by its first bytes: say --format",
				path);
	}
	codec = codec_of_name(path);
	/* Tars are renamed and recompressed; no tar begins like gzip or zstd. */
	if (format == &slc_format_tar &&
	    slc_codec_detect(head->bytes, head->n))
		codec = slc_codec_detect(head->bytes, head->n);
	err = check_codec(ctx, path, format, codec);
	if (!err)
		err = add_found(ctx, path, NULL, format, codec, 0, finds);
	return err ? err : 1;
}

/* ---- many files ---- */

struct look {
	const char *const *paths;
	struct head *heads;
};

/* Says nothing: what fails is tried again by read_head() of who needs it. */
static int look_at(void *user, uint64_t i)
{
	struct look *l = user;

	read_head(NULL, l->paths[i], &l->heads[i]);
	return 0;
}

/* Takes each path in order, but waits for the heads of many at once. */
static int take_each(struct slc_ctx *ctx, const char *const *paths, uint64_t n,
		     int (*take)(struct slc_ctx *ctx, const char *path,
				 struct head *head,
				 const struct slc_taking *how,
				 struct slc_finds *finds),
		     const struct slc_taking *how, struct slc_finds *finds)
{
	uint64_t cap = n < HEADS ? n : HEADS, some;
	struct head *heads = malloc((cap + 1) * sizeof(*heads));
	int err = 0;

	if (!heads)
		return slc_fail(ctx, -ENOMEM, "no memory for a list of files");
	for (uint64_t at = 0; at < n && !err; at += some) {
		struct look look = { paths + at, heads };

		some = n - at < cap ? n - at : cap;
		for (uint64_t i = 0; i < some; i++)
			heads[i].there = false;
		if (some > 1)
			slc_crew(slc_source_readers(), NULL, 0, some, look_at,
				 &look);
		for (uint64_t i = 0; i < some && !err; i++)
			err = take(ctx, paths[at + i], &heads[i], how, finds);
	}
	free(heads);
	return err;
}

/* ---- folders ---- */

/* Answers slc_walk(): a folder with an MDS index.json is that dataset. */
static int mds_folder(struct slc_ctx *ctx, const char *folder, char **path)
{
	size_t n = strlen(folder);
	char *index;
	int err;

	if (asprintf(&index, "%s%sindex.json", folder,
		     n && folder[n - 1] == '/' ? "" : "/") < 0)
		return no_memory(ctx, folder);
	err = exists(index) ? slc_listing_kind(ctx, index) : 0;
	if (err == SLC_LISTING_MDS) {
		*path = index;
		return 1;
	}
	free(index);
	return err < 0 ? err : 0;
}

static int no_whole(struct slc_ctx *ctx, const char *folder, char **path)
{
	(void)ctx;
	(void)folder;
	(void)path;
	return 0;
}

static int take_in_folder(struct slc_ctx *ctx, const char *path,
			  struct head *head, const struct slc_taking *how,
			  struct slc_finds *finds)
{
	int kind = SLC_LISTING_NONE, taken, err = read_head(ctx, path, head);

	if (err)
		return err;
	/* Of any format: pack may write into the folder that it packs. */
	if (slc_packed_is_manifest(head->bytes, head->n) ||
	    slc_packed_is_index(head->bytes, head->n)) {
		slc_log(ctx, SLC_LOG_INFO,
			"left out %s: sluice pack wrote it, it is not data",
			path);
		return 0;
	}
	if (how->format != &slc_format_raw && ends_with(path, ".json")) {
		kind = slc_listing_kind(ctx, path);
		if (kind < 0)
			return kind;
	}
	if (kind == SLC_LISTING_MDS)
		return slc_listing_take(ctx, path, kind, how, finds);
	if (kind != SLC_LISTING_NONE) {
		slc_log(ctx, SLC_LOG_INFO,
			"left out %s: a list of files, not data", path);
		return 0;
	}
	taken = take_file(ctx, path, head, how, true, finds);
	if (!taken)
		slc_log(ctx, SLC_LOG_INFO,
			"left out %s: not of a format that sluice knows",
			path);
	return taken < 0 ? taken : 0;
}

static int take_folder(struct slc_ctx *ctx, const char *folder,
		       const struct slc_taking *how, struct slc_finds *finds)
{
	struct slc_paths paths = { 0 };
	uint64_t before = finds->n;
	int err;

	err = slc_walk(ctx, folder,
		       how->format == &slc_format_raw ? no_whole : mds_folder,
		       &paths);
	if (!err)
		err = take_each(ctx, (const char *const *)paths.v, paths.n,
				take_in_folder, how, finds);
	slc_paths_fini(&paths);
	if (!err && finds->n == before)
		return slc_fail(ctx, -ENOENT,
				"%s holds no file of a format that sluice knows (safetensors, gguf, npy, Megatron .bin and .idx, mds, tar)",
				folder);
	return err;
}

static int take_path(struct slc_ctx *ctx, const char *path, struct head *head,
		     const struct slc_taking *how, struct slc_finds *finds)
{
	struct stat st;
	int kind;

	if (stat(path, &st) < 0)
		return slc_fail_open(ctx, errno, path);
	if (S_ISDIR(st.st_mode))
		return take_folder(ctx, path, how, finds);
	if (how->format != &slc_format_raw) {
		kind = slc_listing_kind(ctx, path);
		if (kind < 0)
			return kind;
		if (kind != SLC_LISTING_NONE)
			return slc_listing_take(ctx, path, kind, how, finds);
	}
	kind = take_file(ctx, path, head, how, false, finds);
	return kind < 0 ? kind : 0;
}

int slc_collect(struct slc_ctx *ctx, const char *const *paths, uint64_t npaths,
		const struct slc_taking *how, struct slc_finds *finds)
{
	return take_each(ctx, paths, npaths, take_path, how, finds);
}
