/* SPDX-License-Identifier: MIT */
#include "stream/dataset.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/crew.h"
#include "base/ctx.h"
#include "stream/members.h"

/* ---- identity ---- */

/* FNV-1a, 64 bit (draft-eastlake-fnv): an identity, not a defence. */
static uint64_t fnv(uint64_t h, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	while (n--)
		h = (h ^ *p++) * 0x100000001b3u;
	return h;
}

static uint64_t fnv_u64(uint64_t h, uint64_t v)
{
	uint8_t le[8];

	for (int i = 0; i < 8; i++)
		le[i] = (uint8_t)(v >> (8 * i));
	return fnv(h, le, sizeof(le));
}

uint64_t slc_fingerprint(uint64_t h, const char *path,
			 const struct slc_format *format, uint64_t size,
			 uint64_t record, uint32_t codec, uint64_t samples)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	/* With the NUL, so that neighbours cannot run together. */
	h = fnv(h, name, strlen(name) + 1);
	h = fnv(h, format->name, strlen(format->name) + 1);
	h = fnv_u64(h, size);
	h = fnv_u64(h, record);
	h = fnv_u64(h, codec);
	return fnv_u64(h, samples);
}

/* ---- life ---- */

static void dataset_free(struct slc_dataset *ds)
{
	for (uint64_t i = 0; i < ds->nshards; i++)
		slc_shard_fini(&ds->shards[i]);
	free(ds->shards);
	slc_ctx_close(ds->ctx);
	free(ds);
}

struct slc_dataset *slc_dataset_get(struct slc_dataset *ds)
{
	atomic_fetch_add_explicit(&ds->refs, 1, memory_order_relaxed);
	return ds;
}

void slc_dataset_put(struct slc_dataset *ds)
{
	/* Release pairs with the acquire of whoever drops the last one. */
	if (ds && atomic_fetch_sub_explicit(&ds->refs, 1,
					    memory_order_acq_rel) == 1)
		dataset_free(ds);
}

/* Numbers the samples of a shard after those of the shards before it. */
static int count_in(struct slc_dataset *ds, struct slc_shard *sh)
{
	sh->first = ds->nsamples;
	if (!slc_add(ds->nsamples, sh->table.n, &ds->nsamples) ||
	    !slc_add(ds->bytes, sh->size, &ds->bytes))
		return slc_fail(ds->ctx, -EOVERFLOW,
				"%s: the dataset has more than 2^64 samples or bytes",
				sh->path);
	ds->index_bytes += sh->table.mem_bytes +
			   (uint64_t)sh->nextents * sizeof(uint32_t);
	ds->fingerprint = slc_fingerprint(ds->fingerprint, sh->path,
					  sh->table.format, sh->size,
					  sh->record, sh->codec, sh->table.n);
	if (sh->sample_crc)
		ds->index_bytes += sh->table.n * sizeof(uint32_t);
	else
		ds->verified = false;
	return 0;
}

/* ---- every shard ---- */

/* Each may take the 128 MiB of the largest window. */
#define INFLATERS_MAX 8u
/* As many hide the time that a read takes, and share what the drive gives. */
#define SPARE_FROM 4u

struct indexing {
	struct slc_dataset *ds;
	struct slc_finds *finds;
	bool spare;
};

/* Says nothing: what fails is tried again by index_all(). */
static int index_quietly(void *user, uint64_t i)
{
	struct indexing *w = user;
	struct slc_shard *sh = &w->ds->shards[i];
	int err = slc_shard_index(NULL, &w->finds->v[i], w->spare, sh);

	if (err)
		slc_shard_fini(sh);
	return err;
}

static bool inflates(const struct slc_found *f)
{
	return f->codec && f->told != SLC_TOLD_MANIFEST;
}

/*
 * A shard is one read after the other, each where the one before says; so
 * many shards at once.
 */
static void index_at_once(struct indexing *w)
{
	unsigned int n = slc_source_readers(), few = INFLATERS_MAX;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t i = 0;

	if (cpus > 0 && cpus < few)
		few = (unsigned int)cpus;
	while (i < w->finds->n && !inflates(&w->finds->v[i]))
		i++;
	if (i < w->finds->n && n > few)
		n = few;
	if (n > w->finds->n)
		n = (unsigned int)w->finds->n;
	w->spare = n >= SPARE_FROM;
	if (n > 1)
		slc_crew(n, NULL, 0, w->finds->n, index_quietly, w);
}

static int index_all(struct slc_dataset *ds, struct slc_finds *finds)
{
	struct indexing w = { .ds = ds, .finds = finds };
	int err;

	ds->shards = calloc(finds->n ? finds->n : 1, sizeof(*ds->shards));
	if (!ds->shards)
		return slc_fail(ds->ctx, -ENOMEM, "no memory for %" PRIu64
				" shards", finds->n);
	ds->verified = finds->n > 0;
	ds->fingerprint = SLC_FINGERPRINT_INIT;
	ds->nshards = finds->n;
	index_at_once(&w);
	/* In order, so that what is wrong first is what is said. */
	for (uint64_t i = 0; i < finds->n; i++) {
		struct slc_shard *sh = &ds->shards[i];

		err = sh->path ? 0 :
		      slc_shard_index(ds->ctx, &finds->v[i], false, sh);
		if (err)
			return err;
		if (inflates(&finds->v[i]))
			slc_log(ds->ctx, SLC_LOG_INFO,
				"inflated all of %s to find its samples (a manifest by sluice pack saves this)",
				sh->path);
		err = count_in(ds, sh);
		if (err)
			return err;
	}
	return 0;
}

static int take_attr(struct slc_ctx *ctx, const struct slc_dataset_attr *attr,
		     struct slc_taking *how)
{
	struct slc_dataset_attr a;
	int err;

	err = slc_attr_copy(ctx, &a, sizeof(a), attr, "slc_dataset_attr");
	if (err)
		return err;
	if (a.flags & ~(uint64_t)SLC_DATASET_RELIST)
		return slc_fail(ctx, -EINVAL,
				"slc_dataset_attr.flags is %#" PRIx64
				": only SLC_DATASET_RELIST is known", a.flags);
	how->lists_only = a.flags & SLC_DATASET_RELIST;
	how->record = a.record;
	how->format = NULL;
	if (a.format) {
		how->format = slc_format_by_name(a.format);
		if (!how->format)
			return slc_fail(ctx, -EINVAL,
					"format \"%s\" is not known: safetensors, gguf, npy, megatron, mds, tar or raw",
					a.format);
	}
	if (how->format == &slc_format_raw && !a.record)
		return slc_fail(ctx, -EINVAL,
				"format raw needs the bytes of a record: --record SIZE");
	if (how->format != &slc_format_raw && a.record)
		return slc_fail(ctx, -EINVAL,
				"a record size goes with format raw only: say format raw, or no record size");
	return 0;
}

int slc_dataset_open(struct slc_ctx *ctx, const char *const *paths,
		     uint32_t npaths, const struct slc_dataset_attr *attr,
		     struct slc_dataset **out)
{
	struct slc_finds finds = { 0 };
	struct slc_taking how;
	struct slc_dataset *ds;
	int err = slc_need(ctx, "slc_dataset_open", "ctx", ctx);

	if (!err)
		err = slc_need(ctx, "slc_dataset_open", "out", out);
	for (uint32_t i = 0; i < npaths && !err; i++)
		err = slc_need(ctx, "slc_dataset_open", "a path",
			       paths ? paths[i] : NULL);
	if (!err)
		err = take_attr(ctx, attr, &how);
	if (err)
		return err;
	if (!npaths)
		return slc_fail(ctx, -EINVAL, "no file or folder was named");
	ds = calloc(1, sizeof(*ds));
	if (!ds)
		return slc_fail(ctx, -ENOMEM, "no memory for a dataset");
	atomic_init(&ds->refs, 1);
	ds->ctx = slc_ctx_get(ctx);
	err = slc_collect(ctx, paths, npaths, &how, &finds);
	if (!err)
		err = index_all(ds, &finds);
	slc_finds_fini(&finds);
	if (err) {
		dataset_free(ds);
		return err;
	}
	*out = ds;
	return 0;
}

/* ---- questions ---- */

/* Copies as much of a filled info as the caller's version of it holds. */
static int give(struct slc_ctx *ctx, void *to, void *from, size_t size,
		const char *what)
{
	size_t room;

	memcpy(&room, to, sizeof(room));
	if (room < sizeof(room))
		return slc_fail(ctx, -EINVAL,
				"%s.size is %zu: set it to sizeof(struct %s)",
				what, room, what);
	if (room > size) {
		memset((uint8_t *)to + size, 0, room - size);
		room = size;
	}
	memcpy((uint8_t *)to + sizeof(size_t), (uint8_t *)from + sizeof(size_t),
	       room - sizeof(size_t));
	return 0;
}

int slc_dataset_query(const struct slc_dataset *ds,
		      struct slc_dataset_info *info)
{
	struct slc_dataset_info i = {
		.samples = ds->nsamples,
		.shards = ds->nshards,
		.bytes = ds->bytes,
		.index_bytes = ds->index_bytes,
		.fingerprint = ds->fingerprint,
		.verified = ds->verified,
	};

	return give(ds->ctx, info, &i, sizeof(i), "slc_dataset_info");
}

int slc_dataset_shard(const struct slc_dataset *ds, uint64_t shard,
		      struct slc_shard_info *info)
{
	const struct slc_shard *sh;
	struct slc_shard_info i;

	if (shard >= ds->nshards)
		return slc_fail(ds->ctx, -ERANGE,
				"no shard %" PRIu64 ": the dataset has %" PRIu64,
				shard, ds->nshards);
	sh = &ds->shards[shard];
	i = (struct slc_shard_info){
		.path = sh->path,
		.format = sh->table.format->name,
		.codec = slc_codec_name(sh->codec),
		.bytes = sh->size,
		.samples = sh->table.n,
		.first = sh->first,
	};
	return give(ds->ctx, info, &i, sizeof(i), "slc_shard_info");
}

uint64_t slc_dataset_locate(const struct slc_dataset *ds, uint64_t g)
{
	uint64_t low = 0, high = ds->nshards;

	/* The last shard with first <= g: an empty one shares its first with
	 * the one after it. */
	while (high - low > 1) {
		uint64_t mid = low + (high - low) / 2;

		if (ds->shards[mid].first <= g)
			low = mid;
		else
			high = mid;
	}
	return low;
}

void slc_shard_describe(const struct slc_shard *sh, uint64_t local,
			struct slc_sample_info *info)
{
	const struct slc_table *t = &sh->table;

	slc_table_span(t, local, &info->off, &info->len);
	info->dtype = t->dtype;
	info->ndim = 0;
	if (t->fortran) {
		info->off = t->base;
		info->len = t->n * t->stride;
		info->ndim = t->ndim + 1;
		info->shape[0] = t->n;
		memcpy(info->shape + 1, t->shape, t->ndim * sizeof(*t->shape));
	} else if (t->kind == SLC_TABLE_TENSORS) {
		const struct slc_tensor *x = &t->tensors[local];

		info->dtype = t->format->dtype_name(x->dtype);
		info->ndim = x->ndim < SLC_DIMS_MAX ? x->ndim : SLC_DIMS_MAX;
		/* Scalars alone have no dims at all: dims is then NULL. */
		if (info->ndim)
			memcpy(info->shape, t->dims + x->shape,
			       info->ndim * sizeof(*t->dims));
	} else if (t->kind == SLC_TABLE_FIXED) {
		info->ndim = t->ndim;
		memcpy(info->shape, t->shape, t->ndim * sizeof(*t->shape));
	} else if (t->kind == SLC_TABLE_LENGTHS) {
		info->ndim = 1;
		info->shape[0] = t->words[local];
	}
}

int slc_dataset_sample(const struct slc_dataset *ds, uint64_t sample,
		       struct slc_sample_info *info)
{
	struct slc_sample_info i;
	const struct slc_shard *sh;
	uint64_t local;
	int n;

	if (sample >= ds->nsamples)
		return slc_fail(ds->ctx, -ERANGE,
				"no sample %" PRIu64
				": the dataset has %" PRIu64,
				sample, ds->nsamples);
	memset(&i, 0, sizeof(i));
	i.shard = slc_dataset_locate(ds, sample);
	sh = &ds->shards[i.shard];
	local = sample - sh->first;
	slc_shard_describe(sh, local, &i);
	n = sh->table.format->member ?
		    slc_members_key(ds->ctx, sh, local, i.key, sizeof(i.key)) :
		    slc_shard_key(sh, local, i.key, sizeof(i.key));
	if (n < 0)
		return n;
	if (n >= (int)sizeof(i.key))
		strcpy(i.key + sizeof(i.key) - 4, "...");
	return give(ds->ctx, info, &i, sizeof(i), "slc_sample_info");
}
