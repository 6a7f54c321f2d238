/* SPDX-License-Identifier: MIT */
#include "stream/listing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/ctx.h"
#include "format/mds_index.h"
#include "format/st_index.h"
#include "stream/manifest.h"
#include "stream/packed_file.h"

#define HEAD_BYTES 512

static bool ends_with(const char *path, const char *ending)
{
	size_t n = strlen(path), m = strlen(ending);

	return n >= m && !strcasecmp(path + n - m, ending);
}

static bool is_index_json(const char *path)
{
	const char *slash = strrchr(path, '/');

	return !strcasecmp(slash ? slash + 1 : path, "index.json") ||
	       ends_with(path, ".index.json");
}

/* Sites have an index.json of their own: this one must speak of shards. */
static int mds_or_none(struct slc_ctx *ctx, const char *path)
{
	uint8_t *bytes;
	uint64_t len;
	bool is;
	int err;

	err = slc_read_whole(ctx, path, SLC_JSON_MAX, &bytes, &len);
	if (err == -EFBIG)
		return SLC_LISTING_NONE;
	if (err)
		return err;
	is = memmem(bytes, len, "\"shards\"", strlen("\"shards\""));
	free(bytes);
	return is ? SLC_LISTING_MDS : SLC_LISTING_NONE;
}

int slc_listing_kind(struct slc_ctx *ctx, const char *path)
{
	uint8_t head[HEAD_BYTES];
	struct slc_source_file src;
	int64_t got;
	int err;

	err = slc_source_file_open(ctx, path, &src);
	if (err)
		return err;
	got = src.base.read(&src.base, 0, head, sizeof(head));
	slc_source_file_close(&src);
	if (got < 0)
		return slc_fail(ctx, (int)got, "cannot read %s: %s", path,
				strerror((int)-got));
	if (slc_packed_is_manifest(head, (size_t)got))
		return SLC_LISTING_MANIFEST;
	if (ends_with(path, ".safetensors.index.json"))
		return SLC_LISTING_SAFETENSORS;
	if (is_index_json(path))
		return mds_or_none(ctx, path);
	return SLC_LISTING_NONE;
}

static int no_memory(struct slc_ctx *ctx, const char *path)
{
	return slc_fail(ctx, -ENOMEM, "no memory to read %s", path);
}

/* A find for the file `name` in the folder of `path`. */
static int add(struct slc_ctx *ctx, const char *path, const char *name,
	       const struct slc_format *format, struct slc_finds *finds,
	       struct slc_found **out)
{
	struct slc_found *f = slc_finds_add(finds);

	if (!f)
		return no_memory(ctx, path);
	f->path = slc_path_beside(path, name);
	if (!f->path)
		return no_memory(ctx, path);
	f->format = format;
	f->told = SLC_TOLD_INDEX;
	*out = f;
	return 0;
}

/* ---- MDS ---- */

/*
 * An inflated shard beside a compressed one is read in its place, as the
 * streaming library does when it has kept both.
 */
static int add_mds(struct slc_ctx *ctx, const char *path,
		   const struct slc_mds_shard *sh, struct slc_finds *finds)
{
	struct slc_found *f;
	struct stat st;
	int err = add(ctx, path, sh->raw, &slc_format_mds, finds, &f);

	if (err)
		return err;
	f->bytes = f->inflated = sh->raw_bytes;
	f->samples = sh->samples;
	if (!sh->zip || !stat(f->path, &st))
		return 0;
	free(f->path);
	f->path = slc_path_beside(path, sh->zip);
	if (!f->path)
		return no_memory(ctx, path);
	f->bytes = sh->zip_bytes;
	f->codec = sh->codec;
	return 0;
}

static int take_mds(struct slc_ctx *ctx, const char *path,
		    const uint8_t *bytes, uint64_t len,
		    struct slc_finds *finds)
{
	struct slc_diag diag = { .off = 0 };
	struct slc_mds_index index = { 0 };
	int err = slc_mds_index_parse(bytes, len, &index, &diag);

	if (err)
		return slc_fail_parse(ctx, err, path, "mds", &diag);
	if (!index.nshards)
		err = slc_fail(ctx, -ENOENT,
			       "%s: mds: it lists no shards, so there is no data: write the dataset again or leave it out",
			       path);
	for (uint64_t i = 0; i < index.nshards && !err; i++)
		err = add_mds(ctx, path, &index.shards[i], finds);
	slc_mds_index_fini(&index);
	return err;
}

/* ---- safetensors ---- */

static int bad_map(struct slc_ctx *ctx, const char *path, const char *tensor,
		   const char *file, const char *what)
{
	return slc_fail(ctx, -EBADMSG,
			"%s: safetensors: offset 0: tensor %s %s %s", path,
			tensor, what, file);
}

/*
 * Each tensor of a file must be mapped to that file, and as many tensors as
 * the map has in all must be there: then none is missing either.
 */
static int check_st_file(struct slc_ctx *ctx, const char *path,
			 const struct slc_st_index *index, uint64_t file,
			 uint64_t *tensors)
{
	struct slc_found f = { .format = &slc_format_safetensors };
	struct slc_shard sh = { .path = NULL };
	int err;

	f.path = slc_path_beside(path, index->files[file]);
	if (!f.path)
		return no_memory(ctx, path);
	err = slc_shard_index(ctx, &f, false, &sh);
	for (uint64_t i = 0; i < sh.table.n && !err; i++) {
		const char *name = sh.table.names + sh.table.tensors[i].name;

		if (slc_st_index_find(index, name) != (int64_t)file)
			err = bad_map(ctx, path, name, index->files[file],
				      "is not mapped to the file that has it:");
	}
	*tensors += sh.table.n;
	slc_shard_fini(&sh);
	free(f.path);
	return err;
}

static int take_st(struct slc_ctx *ctx, const char *path, const uint8_t *bytes,
		   uint64_t len, struct slc_finds *finds)
{
	struct slc_diag diag = { .off = 0 };
	struct slc_st_index index = { 0 };
	uint64_t tensors = 0;
	struct slc_found *f;
	int err = slc_st_index_parse(bytes, len, &index, &diag);

	if (err)
		return slc_fail_parse(ctx, err, path, "safetensors", &diag);
	for (uint64_t i = 0; i < index.nfiles && !err; i++) {
		err = check_st_file(ctx, path, &index, i, &tensors);
		if (!err)
			err = add(ctx, path, index.files[i],
				  &slc_format_safetensors, finds, &f);
	}
	if (!err && tensors != index.nentries)
		err = slc_fail(ctx, -EBADMSG,
			       "%s: safetensors: offset 0: the map names %" PRIu64
			       " tensors and its files hold %" PRIu64,
			       path, index.nentries, tensors);
	slc_st_index_fini(&index);
	return err;
}

int slc_listing_take(struct slc_ctx *ctx, const char *path, int kind,
		     const struct slc_taking *how, struct slc_finds *finds)
{
	uint8_t *bytes;
	uint64_t len;
	int err;

	if (kind == SLC_LISTING_MANIFEST)
		return slc_manifest_take(ctx, path, how, finds);
	err = slc_read_whole(ctx, path, SLC_JSON_MAX, &bytes, &len);
	if (err)
		return err;
	if (kind == SLC_LISTING_MDS)
		err = take_mds(ctx, path, bytes, len, finds);
	else
		err = take_st(ctx, path, bytes, len, finds);
	free(bytes);
	return err;
}
