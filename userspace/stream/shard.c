/* SPDX-License-Identifier: MIT */
/* shard.c - one shard: from a file found to a table of its samples. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/ctx.h"
#include "base/open.h"
#include "stream/dataset.h"

void slc_shard_fini(struct slc_shard *sh)
{
	slc_table_fini(&sh->table);
	free(sh->path);
	free(sh->idx);
	free(sh->sample_crc);
	free(sh->extent_crc);
	memset(sh, 0, sizeof(*sh));
}

static void note_stat(struct slc_shard *sh, const struct stat *st)
{
	sh->size = (uint64_t)st->st_size;
	sh->inflated = sh->size;
	sh->mtime_ns = slc_stat_mtime_ns(st);
	sh->ctime_ns = slc_stat_ctime_ns(st);
	sh->dev = st->st_dev;
	sh->ino = st->st_ino;
}

/* ---- what was told against what is there ---- */

static int changed(struct slc_ctx *ctx, const char *path, const char *what,
		   uint64_t then, uint64_t now)
{
	return slc_fail(ctx, -ESTALE,
			"%s changed since it was packed (%s %" PRIu64
			", now %" PRIu64 "): run sluice pack again",
			path, what, then, now);
}

static int check_before(struct slc_ctx *ctx, const struct slc_found *f,
			const struct slc_shard *sh)
{
	if (f->told == SLC_TOLD_MANIFEST) {
		if (f->bytes != sh->size)
			return changed(ctx, f->path, "size", f->bytes,
				       sh->size);
		if (f->mtime_ns != sh->mtime_ns)
			return slc_fail(ctx, -ESTALE,
					"%s changed since it was packed (its time of change): run sluice pack again",
					f->path);
	}
	if (f->told == SLC_TOLD_INDEX && f->bytes != SLC_SIZE_UNKNOWN &&
	    f->bytes != sh->size)
		return slc_fail(ctx, -EBADMSG,
				"%s: %s: offset %" PRIu64
				": the file has %" PRIu64
				" bytes and its index.json says %" PRIu64,
				f->path, f->format->name,
				f->bytes < sh->size ? f->bytes : sh->size,
				sh->size, f->bytes);
	return 0;
}

static int check_after(struct slc_ctx *ctx, const struct slc_found *f,
		       const struct slc_shard *sh)
{
	if (f->told == SLC_TOLD_MANIFEST) {
		if (f->samples != sh->table.n)
			return changed(ctx, f->path, "samples", f->samples,
				       sh->table.n);
		if (f->inflated != sh->inflated)
			return changed(ctx, f->path, "inflated size",
				       f->inflated, sh->inflated);
	}
	if (f->told != SLC_TOLD_INDEX)
		return 0;
	if (f->samples != SLC_SIZE_UNKNOWN && f->samples != sh->table.n)
		return slc_fail(ctx, -EBADMSG,
				"%s: %s: offset 0: the file has %" PRIu64
				" samples and its index.json says %" PRIu64,
				f->path, f->format->name, sh->table.n,
				f->samples);
	if (f->inflated != SLC_SIZE_UNKNOWN && f->inflated != sh->inflated)
		return slc_fail(ctx, -EBADMSG,
				"%s: %s: offset 0: %" PRIu64
				" bytes when inflated and its index.json says %" PRIu64,
				f->path, f->format->name, sh->inflated,
				f->inflated);
	return 0;
}

/* ---- tables ---- */

static int outside(struct slc_ctx *ctx, const struct slc_found *f, uint64_t i)
{
	return slc_fail(ctx, -EBADMSG,
			"%s: manifest: sample %" PRIu64
			" lies outside the file: run sluice pack again",
			f->path, i);
}

static int check_blocks(struct slc_ctx *ctx, const struct slc_found *f,
			uint64_t size)
{
	uint64_t blocks = size / 512, end = 0;

	for (uint64_t i = 0; i < f->samples; i++) {
		uint64_t first = f->words[2 * i], count = f->words[2 * i + 1];

		if (first < end || !count || !slc_within(first, count, blocks))
			return outside(ctx, f, i);
		end = first + count;
	}
	return 0;
}

static int check_bounds(struct slc_ctx *ctx, const struct slc_found *f,
			uint64_t size)
{
	for (uint64_t i = 0; i < f->samples; i++)
		if (f->words[i] > f->words[i + 1] || f->words[i + 1] > size)
			return outside(ctx, f, i);
	return 0;
}

/* A table as its manifest kept it, believed only within bounds. */
static int table_from_words(struct slc_ctx *ctx, struct slc_found *f,
			    struct slc_shard *sh)
{
	bool tar = f->format == &slc_format_tar;
	int err;

	if (f->codec)
		sh->inflated = f->inflated;
	err = tar ? check_blocks(ctx, f, sh->inflated) :
		    check_bounds(ctx, f, sh->inflated);
	if (err)
		return err;
	sh->table.kind = tar ? SLC_TABLE_BLOCKS : SLC_TABLE_OFFSETS;
	sh->table.n = f->samples;
	sh->table.words = f->words;
	sh->table.mem_bytes = f->nwords * sizeof(*f->words);
	f->words = NULL;
	return 0;
}

static int parse(struct slc_ctx *ctx, const struct slc_found *f,
		 const char *path, struct slc_source *src,
		 struct slc_shard *sh)
{
	struct slc_parse in = {
		.src = src,
		.data_size = sh->size,
		.record = f->record,
	};
	struct slc_diag diag = { .off = 0 };
	int err = f->format->parse(&in, &sh->table, &diag);

	if (err)
		return slc_fail_parse(ctx, err, path, f->format->name, &diag);
	return 0;
}

/* The checksum that the manifest has of an .idx covers every byte of it. */
static int check_idx(struct slc_ctx *ctx, const struct slc_found *f,
		     struct slc_source_file *idx)
{
	uint8_t *buf;
	uint32_t crc = 0;
	int64_t got;
	int err = 0;

	if (f->told != SLC_TOLD_MANIFEST)
		return 0;
	if (f->idx_bytes != idx->base.size)
		return changed(ctx, f->idx, "size", f->idx_bytes,
			       idx->base.size);
	buf = malloc(SLC_EXTENT_BYTES);
	if (!buf)
		return slc_fail(ctx, -ENOMEM, "no memory to read %s", f->idx);
	for (uint64_t at = 0; at < idx->base.size; at += (uint64_t)got) {
		got = idx->base.read(&idx->base, at, buf, SLC_EXTENT_BYTES);
		if (got <= 0) {
			err = slc_fail(ctx, got < 0 ? (int)got : -ENODATA,
				       "%s: cannot read it at offset %" PRIu64
				       ": %s", f->idx, at,
				       got < 0 ? strerror((int)-got) :
						 "the file got shorter");
			break;
		}
		crc = slc_crc32c(crc, buf, (uint64_t)got);
	}
	if (!err && crc != f->idx_crc)
		err = slc_fail(ctx, -ESTALE,
			       "%s changed since it was packed (checksum %08x, now %08x): run sluice pack again",
			       f->idx, f->idx_crc, crc);
	free(buf);
	return err;
}

static int index_pair(struct slc_ctx *ctx, struct slc_found *f,
		      struct slc_shard *sh)
{
	struct slc_source_file idx;
	struct stat st;
	int err;

	err = slc_stat_regular(ctx, f->path, &st);
	if (err)
		return err;
	note_stat(sh, &st);
	err = check_before(ctx, f, sh);
	if (err)
		return err;
	err = slc_source_file_open(ctx, f->idx, &idx);
	if (err)
		return err;
	err = check_idx(ctx, f, &idx);
	if (!err)
		err = parse(ctx, f, f->idx, &idx.base, sh);
	slc_source_file_close(&idx);
	return err;
}

/* What is wrong with the compressed data, where it is known. */
static int bad_inflate(struct slc_ctx *ctx, const struct slc_found *f,
		       const struct slc_source_inflate *z, int err)
{
	struct slc_diag diag = { .off = 0 };

	slc_bad(&diag, z->made, "%s",
		err == -EBADMSG ? slc_inflate_what(z->inf) : strerror(-err));
	return slc_fail_parse(ctx, err, f->path, f->format->name, &diag);
}

/* On to the end, which the size and the checksum of the codec need. */
static int read_to_end(struct slc_ctx *ctx, const struct slc_found *f,
		       struct slc_source_inflate *z)
{
	uint8_t *buf = malloc(1 << 16);
	int64_t got = 1;

	if (!buf)
		return slc_fail(ctx, -ENOMEM, "no memory to read %s", f->path);
	while (got > 0)
		got = z->base.read(&z->base, z->made, buf, 1 << 16);
	free(buf);
	return got ? bad_inflate(ctx, f, z, (int)got) : 0;
}

static int parse_inflated(struct slc_ctx *ctx, struct slc_found *f,
			  struct slc_source_file *file, struct slc_shard *sh)
{
	struct slc_source_inflate z;
	int err;

	err = slc_source_inflate_init(&z, f->codec, &file->base);
	if (err)
		return slc_fail(ctx, err, "no memory to inflate %s", f->path);
	err = parse(ctx, f, f->path, &z.base, sh);
	if (!err)
		err = read_to_end(ctx, f, &z);
	else if (z.err)
		err = bad_inflate(ctx, f, &z, z.err);
	sh->inflated = z.made;
	slc_source_inflate_fini(&z);
	return err;
}

/*
 * Names, dtypes and shapes come from the header: with a manifest they are
 * held against its checksums before the parser sees them.
 */
static int parse_plain(struct slc_ctx *ctx, struct slc_found *f,
		       struct slc_source_file *src, struct slc_shard *sh)
{
	int err;

	if (f->told == SLC_TOLD_MANIFEST && f->extent_crc)
		slc_source_file_verify(src, f->extent_crc);
	err = parse(ctx, f, f->path, &src->base, sh);
	if (src->mismatch)
		err = slc_fail_mismatch(ctx, f->path, "header", src);
	return err;
}

static int index_single(struct slc_ctx *ctx, struct slc_found *f, bool spare,
			struct slc_shard *sh)
{
	struct slc_source_file src;
	int err;

	err = slc_source_file_open(ctx, f->path, &src);
	if (err)
		return err;
	note_stat(sh, &src.st);
	err = check_before(ctx, f, sh);
	if (err)
		goto close_src;
	if (f->words) {
		err = table_from_words(ctx, f, sh);
	} else if (f->codec) {
		err = parse_inflated(ctx, f, &src, sh);
	} else {
		if (spare)
			slc_source_file_spare(&src);
		err = parse_plain(ctx, f, &src, sh);
	}
close_src:
	slc_source_file_close(&src);
	return err;
}

static void take(void *from, void *to)
{
	memcpy(to, from, sizeof(void *));
	memset(from, 0, sizeof(void *));
}

int slc_shard_index(struct slc_ctx *ctx, struct slc_found *f, bool spare,
		    struct slc_shard *sh)
{
	int err;

	sh->codec = f->codec;
	sh->record = f->record;
	err = f->idx ? index_pair(ctx, f, sh) :
		       index_single(ctx, f, spare, sh);
	if (err == -ENOENT && f->told == SLC_TOLD_MANIFEST)
		return slc_fail(ctx, err,
				"%s: the manifest lists it: bring it back, or run sluice pack again",
				slc_last_error(ctx));
	if (err)
		return err;
	sh->table.format = f->format;
	err = check_after(ctx, f, sh);
	if (err)
		return err;
	take(&f->path, &sh->path);
	take(&f->idx, &sh->idx);
	take(&f->sample_crc, &sh->sample_crc);
	take(&f->extent_crc, &sh->extent_crc);
	sh->nextents = sh->extent_crc ? f->nextents : 0;
	return 0;
}

int slc_shard_key(const struct slc_shard *sh, uint64_t local, char *buf,
		  size_t n)
{
	const struct slc_table *t = &sh->table;

	if (t->kind == SLC_TABLE_TENSORS)
		return snprintf(buf, n, "%s", t->names + t->tensors[local].name);
	/* An MDS sample is known by its number over all shards. */
	if (t->format == &slc_format_mds)
		local += sh->first;
	return snprintf(buf, n, "%" PRIu64, local);
}
